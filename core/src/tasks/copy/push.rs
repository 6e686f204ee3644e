//! Putting a node once everything below it is there, the name last.
//!
//! Responsible for the count of missing children, and for the end of a copy. Must not know how children
//! come to the destination (`children`).

use alloc::format;
use alloc::vec::Vec;

use super::fetch::load;
use super::node::{NodePhase, Presence};
use super::{CopyLocation, CopyState, ROOT};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::event::{Event, SkipReason};
use crate::ids::NodeId;
use crate::json::replace_lone_surrogates;
use crate::manifest::media_type::OCI_MANIFEST;
use crate::op::{ManifestPut, Operation};
use crate::platform::{self, Platform};
use crate::reference::Target;
use crate::referrers;
use crate::store::StoreOp;
use crate::task::{Platforms, Report, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::machine::TaskMachine as _;
use crate::totals::Delivery;

impl CopyState {
    pub(super) fn child_done(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        this.waiting = this.waiting.saturating_sub(1);
        if this.phase != NodePhase::Open || this.waiting > 0 {
            return Ok(());
        }
        match this.presence {
            Presence::Yes | Presence::Tagged => self.go_on(node, ports),
            Presence::Unknown | Presence::Asking | Presence::No => self.put_node(node, ports),
        }
    }

    pub(super) fn put_node(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        (this.phase, this.put_round) = (NodePhase::Putting, self.round);
        let (document, size) = (self.document(node)?, self.descriptor(node)?.size);
        let (bytes, digest) = (document.bytes().clone(), document.digest().clone());
        match &self.destination {
            CopyLocation::Store { store, .. } => {
                ports.store(node, *store, StoreOp::Put { digest, bytes });
            }
            CopyLocation::Registry { site, .. } => {
                // An image gets its tag after what belongs to it, such as its signatures, is there.
                let name = self
                    .name_of(node)
                    .filter(|_| node != ROOT || !self.carries());
                let target = name.unwrap_or_else(|| Target::Digest(digest.clone()));
                let op = ManifestPut {
                    site: site.clone(),
                    target,
                    tags: Vec::new(),
                    tags_refused: false,
                    descriptor: Descriptor::new(document.media_type(), digest, size),
                    bytes,
                    subject: referrers::subject(document).map(|subject| subject.digest.clone()),
                    condition: None,
                };
                self.exchange(node, site.clone(), Operation::ManifestPut(op), ports);
            }
        }
        Ok(())
    }

    /// A node was put.
    pub(super) fn put(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        if let Some(digest) = this.embedded.take() {
            this.phase = NodePhase::Done;
            return self.blob_settled(&digest, Ok(Delivery::Present), ports);
        }
        self.stored(node, ports)?;
        self.is_put(node, ports)
    }

    pub(super) fn stored(&self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let Descriptor { digest, size, .. } = self.descriptor(node)?.clone();
        ports.event(Event::Stored { digest, size });
        Ok(())
    }

    /// Goes on after a node was put and, if necessary, listed.
    pub(super) fn is_put(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if node == ROOT {
            if !self.carries() {
                self.nodes[ROOT.0].presence = Presence::Tagged;
            }
            return self.image_there(ports);
        }
        if self.companion_put(node, ports)? {
            return self.done(node, ports);
        }
        Ok(())
    }

    /// All content is at the destination. What is left is the name and, if one platform is wanted
    /// and an end is a store that can be asked cheaply, a look at the image's configuration.
    pub(super) fn content_complete(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let root = &mut self.nodes[ROOT.0];
        let config = match (&self.platforms, &root.document) {
            (Platforms::One(_), Some(document)) => document.config(),
            (Platforms::One(_) | Platforms::Several(_) | Platforms::All, _) => None,
        };
        let store = match (&self.destination, &self.source) {
            (CopyLocation::Store { store, .. }, _) | (_, CopyLocation::Store { store, .. }) => {
                Some(*store)
            }
            (CopyLocation::Registry { .. }, CopyLocation::Registry { .. }) => None,
        };
        match store.zip(config) {
            Some((store, config)) => {
                root.phase = NodePhase::Comparing;
                load(ROOT, store, config.digest, ports);
                Ok(())
            }
            None => self.write_name(ports),
        }
    }

    /// IDX-15: an image of another platform than the one wanted is taken, with a warning.
    pub(super) fn compare(&self, config: &[u8], ports: &mut TaskPorts<'_>) {
        let Platforms::One(wanted) = &self.platforms else {
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
        ports.event(Event::Warning(crate::sanitize::escape(&warning, 200)));
    }

    /// The name last: a kill at any instant leaves no name of an incomplete image. In a registry the
    /// manifest was put by its name, and further ones follow.
    pub(super) fn write_name(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let CopyLocation::Store { store, name } = &self.destination else {
            return self.put_tags(ports);
        };
        let name = name.clone();
        let descriptor = self.descriptor(ROOT)?.clone();
        self.nodes[ROOT.0].phase = NodePhase::Naming;
        ports.store(ROOT, *store, StoreOp::Tag { name, descriptor });
        Ok(())
    }

    pub(super) fn done(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        this.phase = NodePhase::Done;
        if let Some(document) = this.document.take() {
            self.held = self.held.saturating_sub(document.bytes().len() as u64);
        }
        for parent in core::mem::take(&mut this.parents) {
            self.child_done(parent, ports)?;
        }
        self.companion_done(node, ports)
    }

    pub(super) fn skipped(&self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let Descriptor { digest, size, .. } = self.descriptor(node)?.clone();
        let why = SkipReason::Present;
        ports.event(Event::Skipped { digest, size, why });
        Ok(())
    }

    pub(super) fn complete(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let root = self.descriptor(ROOT)?.clone();
        self.nodes[ROOT.0].phase = NodePhase::Done;
        self.tally.close();
        let totals = self.tally.totals();
        // One that is a layer of another kind elsewhere in the image was moved.
        let left_out = self.left_out.values();
        let left_out = left_out.filter(|layer| !self.blobs.contains_key(&layer.digest));
        let report = Report {
            root,
            tags: self.tags(),
            moved: totals.moved.blobs,
            bytes: totals.transferred,
            mounted: totals.mounted.blobs,
            present: totals.skipped.blobs,
            left_out: left_out.clone().count() as u64,
            absent: self.chosen.as_ref().map_or(0, |chosen| chosen.others),
            left_out_layers: left_out.take(Report::LISTED).cloned().collect(),
            unlisted: core::mem::take(&mut self.unlisted),
            carried: self.carried(),
            served: ports.take_served(),
        };
        ports.finish(TaskReport::Copied(report));
        Ok(())
    }
}

/// Whether an image for `is` runs where `wanted` is wanted.
fn runs(wanted: &Platform, is: &Platform) -> bool {
    let digest = Digest::of(crate::digest::Algorithm::Sha256, &[]);
    let mut entry = Descriptor::new(OCI_MANIFEST, digest, 0);
    entry.platform = Some(is.clone().into());
    !platform::order(wanted, &[entry]).is_empty()
}
