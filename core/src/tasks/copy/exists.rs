//! Asking a registry what it has: by the tag first, then by the digest.
//!
//! Responsible for the HEADs of manifests at a destination, and what their answers mean. Must not know
//! how documents are fetched (`fetch`).

use super::fetch::Child;
use super::node::{NodePhase, Presence};
use super::{CopyLocation, CopyState, ROOT};
use crate::digest::Digest;
use crate::error::Error;
use crate::ids::NodeId;
use crate::manifest::media_type::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::op::{ManifestHead, Operation, Site};
use crate::reference::Target;
use crate::task::Foreign;
use crate::tasks::TaskPorts;

impl CopyState {
    /// Begins with a node whose document is here.
    pub(super) fn open(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.nodes[node.0].phase = NodePhase::Open;
        let CopyLocation::Registry {
            site, reference, ..
        } = &self.destination
        else {
            return self.children(node, ports);
        };
        if self.nodes[node.0].force_check {
            return self.children(node, ports);
        }
        let asks_by_name = node != ROOT || reference.digest().is_none();
        match self.name_of(node) {
            // The tag first: it is the probe for authentication, and if it stands for this content
            // already there is nothing to do (design §5).
            Some(name) if asks_by_name => {
                let site = site.clone();
                self.nodes[node.0].phase = NodePhase::Asking;
                self.head(node, site, name, ports);
                Ok(())
            }
            _ if self.nodes[node.0].presence == Presence::Unknown => {
                self.ask_by_digest(node, ports)
            }
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
        match this.phase {
            NodePhase::Asking if ours == digest => {
                this.presence = Presence::Tagged;
                self.skipped(node, ports)?;
                self.foreign_or_on(node, ports)
            }
            NodePhase::Asking => self.ask_by_digest(node, ports),
            // A child that is fetched only if it is not there.
            NodePhase::Loading if this.presence == Presence::Asking => {
                this.presence = Presence::Yes;
                self.skipped(node, ports)?;
                // Which foreign layers it has, and which images that may have referrers, is said in it.
                match self.foreign {
                    Foreign::Included => self.obtain(node, ports),
                    Foreign::LeftOut if self.carries() && !self.is_image(node)? => {
                        self.obtain(node, ports)
                    }
                    Foreign::LeftOut => self.done(node, ports),
                }
            }
            NodePhase::Open => self.is_present(node, ports),
            NodePhase::Finding
            | NodePhase::Loading
            | NodePhase::Putting
            | NodePhase::Listing
            | NodePhase::Carrying
            | NodePhase::Comparing
            | NodePhase::Naming
            | NodePhase::Done
            | NodePhase::Missed => Ok(()),
        }
    }

    /// The destination has this manifest, and so everything below it: only its name is missing.
    fn is_present(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.nodes[node.0].presence = Presence::Yes;
        self.skipped(node, ports)?;
        self.foreign_or_on(node, ports)
    }

    /// The destination has a node. It may be there without its foreign layers: if those are wanted,
    /// they and nothing else below the node are moved. Its manifests must be known if they may have referrers. An
    /// index may be there with other images than those that are wanted.
    fn foreign_or_on(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let moves_foreign = self.foreign == Foreign::Included;
        let carries = self.carries() && self.nodes[node.0].companion.is_none();
        let matters = |child| match child {
            Child::Manifest(_) => moves_foreign || carries,
            Child::Config(_) => false,
            Child::Blob(descriptor) => moves_foreign && descriptor.is_foreign(),
        };
        let document = self.nodes[node.0].document.as_ref();
        let matters = document.is_some_and(|document| document.children().any(matters));
        if matters || self.may_be_sparse(node) {
            self.nodes[node.0].phase = NodePhase::Open;
            return self.children(node, ports);
        }
        self.go_on(node, ports)
    }

    /// A node is at the destination with everything that is wanted below it.
    pub(super) fn go_on(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if node == ROOT {
            return self.image_there(ports);
        }
        let is_named = self.nodes[node.0].presence == Presence::Tagged;
        if (self.name_of(node).is_some() && !is_named) || self.puts_again(node) {
            return self.put_node(node, ports);
        }
        self.done(node, ports)
    }

    /// All of the image is at the destination. What is left is what belongs to it, and its name.
    pub(super) fn image_there(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if self.carries() {
            return self.carry_all(ports);
        }
        let is_tagged = self.nodes[ROOT.0].presence == Presence::Tagged;
        if self.name_of(ROOT).is_some() && !is_tagged {
            return self.put_node(ROOT, ports);
        }
        // It has its tag, or was asked for by its digest and has no other name.
        self.content_complete(ports)
    }

    /// HEAD found nothing.
    pub(super) fn absent(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        match this.phase {
            NodePhase::Asking => self.ask_by_digest(node, ports),
            NodePhase::Loading if this.presence == Presence::Asking => {
                this.presence = Presence::No;
                self.obtain(node, ports)
            }
            NodePhase::Open => {
                this.presence = Presence::No;
                self.children(node, ports)
            }
            NodePhase::Finding
            | NodePhase::Loading
            | NodePhase::Putting
            | NodePhase::Listing
            | NodePhase::Carrying
            | NodePhase::Comparing
            | NodePhase::Naming
            | NodePhase::Done
            | NodePhase::Missed => Ok(()),
        }
    }

    /// The tag stands for something else, or for nothing: is the manifest there under its digest?
    ///
    /// Nothing below it is begun before the answer. Mounting or sending a blob that is there already
    /// rewrites the registry's record of it, and while it does, distribution tells others that the
    /// blob is missing, the PUT of this very manifest among them.
    fn ask_by_digest(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        this.phase = NodePhase::Open;
        let CopyLocation::Registry { site, .. } = &self.destination else {
            return Err(Error::internal("a store is asked by HEAD"));
        };
        // What comes from the same repository is there.
        if matches!(&self.source, CopyLocation::Registry { site: source, .. } if source == site) {
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

    /// The name other than its digest by which a node is to be found in the destination's registry.
    pub(super) fn name_of(&self, node: NodeId) -> Option<Target> {
        let CopyLocation::Registry { reference, .. } = &self.destination else {
            return None;
        };
        if node != ROOT {
            return self.companion_tag(node).cloned().map(Target::Tag);
        }
        reference.written_tag().map(Target::Tag)
    }

    /// Whether a node is an image, which has no manifests below it.
    pub(super) fn is_image(&self, node: NodeId) -> Result<bool, Error> {
        let media_type = self.descriptor(node)?.media_type.as_str();
        Ok(matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST))
    }
}
