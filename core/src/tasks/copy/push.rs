//! Putting a node once everything below it is there, the name last.
//!
//! Responsible for the count of children that are missing, and for the end of a copy. Must not know
//! how children come to be there (`children`).

use alloc::format;

use super::{End, ROOT, Stage, Tally, There};
use crate::blobs::Delivery;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::event::{Event, Why};
use crate::ids::{NodeId, TaskId};
use crate::manifest::media_type::OCI_MANIFEST;
use crate::manifest::replace_lone_surrogates;
use crate::op::{ManifestPut, Operation};
use crate::platform::{self, Platform};
use crate::reference::Target;
use crate::referrers;
use crate::session::Session;
use crate::store::StoreOp;
use crate::task::{Platforms, Report, TaskReport};

impl Session {
    pub(super) fn child_done(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        this.waiting = this.waiting.saturating_sub(1);
        self.try_put(task, node);
    }

    /// Puts a node if everything below it is there.
    pub(super) fn try_put(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        let this = &copying.nodes[node.0];
        if self.tasks.is_over(task) || this.stage != Stage::Open || this.waiting > 0 {
            return;
        }
        match this.there {
            There::Yes | There::Tagged => self.go_on(task, node),
            There::Unknown | There::Asking | There::No => self.put_node(task, node),
        }
    }

    pub(super) fn put_node(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        this.stage = Stage::Putting;
        let (Some(document), Some(descriptor)) = (&this.document, &this.descriptor) else {
            return;
        };
        let (bytes, digest) = (document.bytes().clone(), document.digest().clone());
        let descriptor = Descriptor::new(document.media_type(), digest, descriptor.size);
        let subject = referrers::subject(document).map(|subject| subject.digest.clone());
        match copying.destination.clone() {
            End::Store { store, .. } => {
                let op = StoreOp::Put {
                    digest: descriptor.digest,
                    bytes,
                };
                self.node_step(task, node, store, op);
            }
            End::Registry { site, reference } => {
                let target = match reference.tag() {
                    Some(tag) if node == ROOT => Target::Tag(tag.clone()),
                    None if node == ROOT && reference.digest().is_none() => reference.target(),
                    Some(_) | None => Target::Digest(descriptor.digest.clone()),
                };
                let op = ManifestPut {
                    site: site.clone(),
                    target,
                    descriptor,
                    bytes,
                    subject,
                    condition: None,
                };
                self.node_exchange(task, node, site, Operation::ManifestPut(op));
            }
        }
    }

    /// A node was put.
    pub(super) fn put(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        if let Some(digest) = this.embedded.take() {
            this.stage = Stage::Done;
            return self.blob_settled(task, &digest, Ok(Delivery::Present));
        }
        self.stored(task, node);
        self.is_put(task, node);
    }

    pub(super) fn stored(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        if let Some(descriptor) = &copying.nodes[node.0].descriptor {
            let (digest, size) = (descriptor.digest.clone(), descriptor.size);
            self.event(task, Event::Stored { digest, size });
        }
    }

    /// Goes on after a node was put and, if it had to be, listed.
    pub(super) fn is_put(&mut self, task: TaskId, node: NodeId) {
        if node != ROOT {
            return self.done(task, node);
        }
        self.arrived(task);
    }

    /// Everything is where it was to go. What is left is a look at the image's configuration, if one
    /// platform is wanted and an end is a store that can be asked cheaply, and the name.
    pub(super) fn arrived(&mut self, task: TaskId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let config = match (&copying.platforms, &copying.nodes[ROOT.0].document) {
            (Platforms::One(_), Some(document)) => document.config(),
            (Platforms::One(_) | Platforms::All, _) => None,
        };
        let store = match (&copying.destination, &copying.source) {
            (End::Store { store, .. }, _) | (_, End::Store { store, .. }) => Some(*store),
            (End::Registry { .. }, End::Registry { .. }) => None,
        };
        match store.zip(config) {
            Some((store, config)) => {
                copying.nodes[ROOT.0].stage = Stage::Comparing;
                self.load(task, ROOT, store, config.digest);
            }
            None => self.name(task),
        }
    }

    /// IDX-15: an image of another platform than the one wanted is taken, with a word about it.
    pub(super) fn compare(&mut self, task: TaskId, config: &[u8]) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        let Platforms::One(wanted) = &copying.platforms else {
            return;
        };
        let config = replace_lone_surrogates(config);
        let Ok(is) = serde_json::from_slice::<Platform>(&config) else {
            return;
        };
        if is.os.is_empty() || is.architecture.is_empty() || runs(wanted, &is) {
            return;
        }
        let warning = format!("the image is for {is}, not for {wanted}");
        self.event(task, Event::Warning(crate::sanitize::escape(&warning, 200)));
    }

    /// The name last: a kill at any instant leaves nothing named that is not whole. In a registry
    /// the manifest was put by its name.
    pub(super) fn name(&mut self, task: TaskId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let End::Store { store, name } = copying.destination.clone() else {
            return self.complete(task);
        };
        copying.nodes[ROOT.0].stage = Stage::Naming;
        let Some(descriptor) = copying.nodes[ROOT.0].descriptor.clone() else {
            return;
        };
        self.node_step(task, ROOT, store, StoreOp::Tag { name, descriptor });
    }

    pub(super) fn done(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        this.stage = Stage::Done;
        if let Some(document) = this.document.take() {
            copying.held = copying.held.saturating_sub(document.bytes().len() as u64);
        }
        let parents = core::mem::take(&mut copying.nodes[node.0].parents);
        for parent in parents {
            self.child_done(task, parent);
        }
    }

    pub(super) fn skipped(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        if let Some(descriptor) = &copying.nodes[node.0].descriptor {
            let (digest, size) = (descriptor.digest.clone(), descriptor.size);
            self.event(
                task,
                Event::Skipped {
                    digest,
                    size,
                    why: Why::Present,
                },
            );
        }
    }

    pub(super) fn complete(&mut self, task: TaskId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let Some(root) = copying.nodes[ROOT.0].descriptor.clone() else {
            return;
        };
        copying.nodes[ROOT.0].stage = Stage::Done;
        let Tally {
            moved,
            bytes,
            mounted,
            present,
        } = copying.report;
        // One that is a layer of another kind elsewhere in the image was moved.
        let left_out = copying.left_out.values();
        let left_out = left_out.filter(|layer| !copying.blobs.contains_key(&layer.digest));
        let report = Report {
            root,
            moved,
            bytes,
            mounted,
            present,
            left_out: left_out.clone().count() as u64,
            left_out_layers: left_out.take(Report::LISTED).cloned().collect(),
            unlisted: core::mem::take(&mut copying.unlisted),
        };
        self.tasks.end(task, Ok(TaskReport::Copied(report)));
    }
}

/// Whether an image for `is` runs where `wanted` is wanted.
fn runs(wanted: &Platform, is: &Platform) -> bool {
    let digest = Digest::of(crate::digest::Algorithm::Sha256, &[]);
    let mut entry = Descriptor::new(OCI_MANIFEST, digest, 0);
    entry.platform = Some(is.clone());
    !platform::order(wanted, &[entry]).is_empty()
}
