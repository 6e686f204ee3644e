//! Putting a node once everything below it is there, the name last.
//!
//! Responsible for the count of missing children, and for the end of a copy. Must not know how children
//! come to the destination (`children`).

use alloc::format;
use alloc::vec::Vec;

use super::fetch::load;
use super::{CopyState, Counters, End, Presence, ROOT, Stage};
use crate::blobs::Delivery;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::event::{Event, SkipReason};
use crate::ids::NodeId;
use crate::manifest::media_type::OCI_MANIFEST;
use crate::manifest::replace_lone_surrogates;
use crate::op::{ManifestPut, Operation};
use crate::platform::{self, Platform};
use crate::reference::Target;
use crate::referrers;
use crate::store::StoreOp;
use crate::task::{Platforms, Report, TaskReport};
use crate::tasks::TaskPorts;

impl CopyState {
    pub(super) fn child_done(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        this.waiting = this.waiting.saturating_sub(1);
        if this.stage != Stage::Open || this.waiting > 0 {
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
        self.nodes[node.0].stage = Stage::Putting;
        let (document, size) = (self.document(node)?, self.descriptor(node)?.size);
        let (bytes, digest) = (document.bytes().clone(), document.digest().clone());
        match &self.destination {
            End::Store { store, .. } => {
                ports.store(node, *store, StoreOp::Put { digest, bytes });
            }
            End::Registry { site, reference } => {
                let target = match reference.tag() {
                    Some(tag) if node == ROOT => Target::Tag(tag.clone()),
                    None if node == ROOT && reference.digest().is_none() => reference.target(),
                    Some(_) | None => Target::Digest(digest.clone()),
                };
                let op = ManifestPut {
                    site: site.clone(),
                    target,
                    tags: Vec::new(),
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
            this.stage = Stage::Done;
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
        if node != ROOT {
            return self.done(node, ports);
        }
        self.content_complete(ports)
    }

    /// All content is at the destination. What is left is the name and, if one platform is wanted
    /// and an end is a store that can be asked cheaply, a look at the image's configuration.
    pub(super) fn content_complete(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let root = &mut self.nodes[ROOT.0];
        let config = match (&self.platforms, &root.document) {
            (Platforms::One(_), Some(document)) => document.config(),
            (Platforms::One(_) | Platforms::All, _) => None,
        };
        let store = match (&self.destination, &self.source) {
            (End::Store { store, .. }, _) | (_, End::Store { store, .. }) => Some(*store),
            (End::Registry { .. }, End::Registry { .. }) => None,
        };
        match store.zip(config) {
            Some((store, config)) => {
                root.stage = Stage::Comparing;
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
    /// manifest was put by its name.
    pub(super) fn write_name(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let End::Store { store, name } = &self.destination else {
            return self.complete(ports);
        };
        let name = name.clone();
        let descriptor = self.descriptor(ROOT)?.clone();
        self.nodes[ROOT.0].stage = Stage::Naming;
        ports.store(ROOT, *store, StoreOp::Tag { name, descriptor });
        Ok(())
    }

    pub(super) fn done(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let this = &mut self.nodes[node.0];
        this.stage = Stage::Done;
        if let Some(document) = this.document.take() {
            self.held = self.held.saturating_sub(document.bytes().len() as u64);
        }
        for parent in core::mem::take(&mut this.parents) {
            self.child_done(parent, ports)?;
        }
        Ok(())
    }

    pub(super) fn skipped(&self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let Descriptor { digest, size, .. } = self.descriptor(node)?.clone();
        let why = SkipReason::Present;
        ports.event(Event::Skipped { digest, size, why });
        Ok(())
    }

    pub(super) fn complete(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let root = self.descriptor(ROOT)?.clone();
        self.nodes[ROOT.0].stage = Stage::Done;
        let Counters {
            moved,
            bytes,
            mounted,
            present,
        } = self.counters;
        // One that is a layer of another kind elsewhere in the image was moved.
        let left_out = self.left_out.values();
        let left_out = left_out.filter(|layer| !self.blobs.contains_key(&layer.digest));
        let report = Report {
            root,
            moved,
            bytes,
            mounted,
            present,
            left_out: left_out.clone().count() as u64,
            left_out_layers: left_out.take(Report::LISTED).cloned().collect(),
            unlisted: core::mem::take(&mut self.unlisted),
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
    entry.platform = Some(is.clone());
    !platform::order(wanted, &[entry]).is_empty()
}
