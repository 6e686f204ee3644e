//! Asking a registry what it has: by the tag first, then by the digest.
//!
//! Responsible for the HEADs of manifests at a destination, and what their answers mean. Must not know
//! how documents are fetched (`fetch`).

use super::fetch::Child;
use super::{CopyState, End, Presence, ROOT, Stage};
use crate::digest::Digest;
use crate::error::Error;
use crate::ids::NodeId;
use crate::op::{ManifestHead, Operation, Site};
use crate::reference::Target;
use crate::task::Foreign;
use crate::tasks::TaskPorts;

impl CopyState {
    /// Begins with a node whose document is here.
    pub(super) fn open(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        this.stage = Stage::Open;
        let End::Registry { site, reference } = &self.destination else {
            return self.children(node, ports);
        };
        if this.force_check {
            return self.children(node, ports);
        }
        match reference.digest() {
            // The tag first: it is the probe for authentication, and if it stands for this content
            // already there is nothing to do (design §5).
            None if node == ROOT => {
                this.stage = Stage::Asking;
                let (site, target) = (site.clone(), reference.target());
                self.head(node, site, target, ports);
                Ok(())
            }
            _ if this.presence == Presence::Unknown => self.ask_by_digest(node, ports),
            _ => self.children(node, ports),
        }
    }

    /// HEAD found something.
    pub(super) fn found(
        &mut self,
        node: NodeId,
        digest: Option<&Digest>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        let ours = this.descriptor.as_ref().map(|it| &it.digest);
        let is_other = |(ours, found): (&Digest, &Digest)| {
            ours.algorithm() == found.algorithm() && ours != found
        };
        if ours.zip(digest).is_some_and(is_other) && this.presence == Presence::Asking {
            // It was asked for by its digest, and something else is there under that name.
            return self.absent(node, ports);
        }
        match this.stage {
            Stage::Asking if ours == digest => {
                this.presence = Presence::Tagged;
                self.skipped(node, ports)?;
                self.foreign_or_on(node, ports)
            }
            Stage::Asking => self.ask_by_digest(node, ports),
            // A child that is fetched only if it is not there.
            Stage::Loading if this.presence == Presence::Asking => {
                this.presence = Presence::Yes;
                self.skipped(node, ports)?;
                match self.foreign {
                    // Which foreign layers it has is said in it.
                    Foreign::Included => self.obtain(node, ports),
                    Foreign::LeftOut => self.done(node, ports),
                }
            }
            Stage::Open => self.is_present(node, ports),
            Stage::Finding
            | Stage::Loading
            | Stage::Putting
            | Stage::Listing
            | Stage::Comparing
            | Stage::Naming
            | Stage::Done => Ok(()),
        }
    }

    /// The destination has this manifest, and so everything below it: only its name is missing.
    fn is_present(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.nodes[node.0].presence = Presence::Yes;
        self.skipped(node, ports)?;
        self.foreign_or_on(node, ports)
    }

    /// The destination has a node. It may be there without its foreign layers: if those are wanted,
    /// they and nothing else below the node are moved.
    fn foreign_or_on(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let may_lack = |child| match child {
            Child::Manifest(_) => true,
            Child::Config(_) => false,
            Child::Blob(descriptor) => descriptor.is_foreign(),
        };
        let document = self.nodes[node.0].document.as_ref();
        let may_lack = document.is_some_and(|document| document.children().any(may_lack));
        if self.foreign == Foreign::Included && may_lack {
            self.nodes[node.0].stage = Stage::Open;
            return self.children(node, ports);
        }
        self.go_on(node, ports)
    }

    /// A node is at the destination with everything that is wanted below it.
    pub(super) fn go_on(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if node != ROOT {
            return self.done(node, ports);
        }
        let is_tagged = self.nodes[node.0].presence == Presence::Tagged;
        if self.wants_tag() && !is_tagged {
            return self.put_node(node, ports);
        }
        // It has its tag, or was asked for by its digest and has no other name.
        self.content_complete(ports)
    }

    /// HEAD found nothing.
    pub(super) fn absent(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        match this.stage {
            Stage::Asking => self.ask_by_digest(node, ports),
            Stage::Loading if this.presence == Presence::Asking => {
                this.presence = Presence::No;
                self.obtain(node, ports)
            }
            Stage::Open => {
                this.presence = Presence::No;
                self.children(node, ports)
            }
            Stage::Finding
            | Stage::Loading
            | Stage::Putting
            | Stage::Listing
            | Stage::Comparing
            | Stage::Naming
            | Stage::Done => Ok(()),
        }
    }

    /// The tag stands for something else, or for nothing: is the manifest there under its digest?
    ///
    /// Nothing below it is begun before the answer. Mounting or sending a blob that is there already
    /// rewrites the registry's record of it, and while it does, distribution tells others that the
    /// blob is missing, the PUT of this very manifest among them.
    fn ask_by_digest(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        this.stage = Stage::Open;
        let End::Registry { site, .. } = &self.destination else {
            return Err(Error::internal("a store is asked by HEAD"));
        };
        // What comes from the same repository is there.
        if matches!(&self.source, End::Registry { site: source, .. } if source == site) {
            return self.is_present(node, ports);
        }
        this.presence = Presence::Asking;
        let site = site.clone();
        let target = Target::Digest(self.descriptor(node)?.digest.clone());
        self.head(node, site, target, ports);
        Ok(())
    }

    pub(super) fn head(&self, node: NodeId, site: Site, target: Target, ports: &mut TaskPorts<'_>) {
        let op = ManifestHead {
            site: site.clone(),
            target,
        };
        self.exchange(node, site, Operation::ManifestHead(op), ports);
    }

    /// Whether the root is to be found by a tag at the destination.
    fn wants_tag(&self) -> bool {
        match &self.destination {
            End::Registry { reference, .. } => {
                reference.tag().is_some() || matches!(reference.target(), Target::Tag(_))
            }
            End::Store { .. } => false,
        }
    }
}
