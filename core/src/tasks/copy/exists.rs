//! Asking a registry what it has: by the tag first, then by the digest.
//!
//! Responsible for the HEADs of manifests at a destination, and what their answers mean. Must not know how documents are fetched (`fetch`).

use super::{End, ROOT, Stage, There};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::ids::{NodeId, TaskId};
use crate::manifest::Document;
use crate::op::{ManifestHead, Operation};
use crate::reference::Target;
use crate::session::Session;
use crate::task::Foreign;

impl Session {
    /// Begins with a node whose document is here.
    pub(super) fn open(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        copying.nodes[node.0].stage = Stage::Open;
        let End::Registry { site, reference } = copying.destination.clone() else {
            return self.children(task, node);
        };
        let this = &mut copying.nodes[node.0];
        let target = match (&this.descriptor, reference.digest(), reference.target()) {
            // The tag first: it is the probe for authentication, and if it stands for this already
            // there is nothing to do (design §5).
            (_, None, target) if node == ROOT && !this.distrust => {
                this.stage = Stage::Asking;
                target
            }
            (Some(_), _, _) if !this.distrust && this.there == There::Unknown => {
                return self.ask_by_digest(task, node);
            }
            _ => return self.children(task, node),
        };
        let op = ManifestHead {
            site: site.clone(),
            target,
        };
        self.node_exchange(task, node, site, Operation::ManifestHead(op));
    }

    /// HEAD found something.
    pub(super) fn found(&mut self, task: TaskId, node: NodeId, digest: Option<Digest>) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let copying_includes = copying.foreign == Foreign::Included;
        let this = &mut copying.nodes[node.0];
        let ours = this
            .descriptor
            .as_ref()
            .map(|descriptor| &descriptor.digest);
        let is_other =
            |ours: &Digest, said: &Digest| ours.algorithm() == said.algorithm() && ours != said;
        let contradicts = ours.zip(digest.as_ref());
        let contradicts = contradicts.is_some_and(|(ours, said)| is_other(ours, said));
        if contradicts && matches!(this.there, There::Asking) {
            // It was asked for by its digest, and something else is there under that name.
            return self.absent(task, node);
        }
        match this.stage {
            Stage::Asking if ours == digest.as_ref() => {
                this.there = There::Tagged;
                self.skipped(task, node);
                self.foreign_or_on(task, node);
            }
            Stage::Asking => self.ask_by_digest(task, node),
            // A child that is fetched only if it is not there.
            Stage::Loading if this.there == There::Asking => {
                this.there = There::Yes;
                self.skipped(task, node);
                if copying_includes {
                    // Which foreign layers it has is said in it.
                    return self.obtain(task, node);
                }
                self.done(task, node);
            }
            Stage::Open => self.is_there(task, node),
            Stage::Finding
            | Stage::Loading
            | Stage::Putting
            | Stage::Listing
            | Stage::Comparing
            | Stage::Naming
            | Stage::Done => {}
        }
    }

    /// The destination has this manifest, and so everything below it: only its name is missing.
    fn is_there(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        copying.nodes[node.0].there = There::Yes;
        self.skipped(task, node);
        self.foreign_or_on(task, node);
    }

    /// The destination has a node. It may be there without its foreign layers: if those are wanted,
    /// they and nothing else below the node are moved.
    fn foreign_or_on(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        let (manifests, blobs) = this
            .document
            .as_ref()
            .map(Document::children)
            .unwrap_or_default();
        let may_lack = !manifests.is_empty() || blobs.iter().any(Descriptor::is_foreign);
        if copying.foreign == Foreign::Included && may_lack {
            this.stage = Stage::Open;
            return self.children(task, node);
        }
        self.go_on(task, node);
    }

    /// A node is at the destination with everything that is wanted below it.
    pub(super) fn go_on(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        let is_tagged = copying.nodes[node.0].there == There::Tagged;
        match self.destination_tag(task) {
            Some(_) if node == ROOT && !is_tagged => self.put_node(task, node),
            // It has its tag, or was asked for by its digest and has no other name.
            Some(_) | None if node == ROOT => self.arrived(task),
            Some(_) | None => self.done(task, node),
        }
    }

    /// HEAD found nothing.
    pub(super) fn absent(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        match this.stage {
            Stage::Asking => self.ask_by_digest(task, node),
            Stage::Loading if this.there == There::Asking => {
                this.there = There::No;
                self.obtain(task, node);
            }
            Stage::Open => {
                this.there = There::No;
                self.children(task, node);
            }
            Stage::Finding
            | Stage::Loading
            | Stage::Putting
            | Stage::Listing
            | Stage::Comparing
            | Stage::Naming
            | Stage::Done => {}
        }
    }

    /// The tag stands for something else, or for nothing: is the manifest there under its digest?
    ///
    /// Nothing below it is begun before the answer. Mounting or sending a blob that is there already
    /// rewrites the registry's record of it, and while it does, distribution tells others that the
    /// blob is missing, the PUT of this very manifest among them.
    fn ask_by_digest(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let End::Registry { site, .. } = copying.destination.clone() else {
            return;
        };
        // What comes from the same repository is there.
        let stays =
            matches!(&copying.source, End::Registry { site: source, .. } if *source == site);
        let this = &mut copying.nodes[node.0];
        this.stage = Stage::Open;
        if stays {
            return self.is_there(task, node);
        }
        this.there = There::Asking;
        let Some(descriptor) = &this.descriptor else {
            return;
        };
        let target = Target::Digest(descriptor.digest.clone());
        let op = ManifestHead {
            site: site.clone(),
            target,
        };
        self.node_exchange(task, node, site, Operation::ManifestHead(op));
    }

    /// The tag under which the root is to be found at the destination, if that is a registry's tag.
    fn destination_tag(&self, task: TaskId) -> Option<Target> {
        match &self.tasks.copy(task)?.destination {
            End::Registry { reference, .. } => match (reference.tag(), reference.target()) {
                (Some(tag), _) => Some(Target::Tag(tag.clone())),
                (None, Target::Tag(latest)) => Some(Target::Tag(latest)),
                (None, Target::Digest(_)) => None,
            },
            End::Store { .. } => None,
        }
    }
}
