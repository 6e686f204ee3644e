//! How many blobs an image has, and what became of them.
//!
//! Responsible for counting each digest once, however many manifests have it. Must not know when blobs are
//! requested (`children`).

use alloc::collections::BTreeMap;

use super::CopyState;
use super::fetch::Child;
use super::node::BlobRole;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::ids::NodeId;
use crate::totals::{Delivery, Totals};

#[derive(Debug, Default)]
pub(super) struct Tally {
    blobs: BTreeMap<Digest, Counted>,
    totals: Totals,
}

/// A blob that is known.
#[derive(Debug)]
struct Counted {
    /// As its first descriptor says.
    size: u64,
    /// How it counts, if it is at the destination.
    came: Option<Delivery>,
}

impl Tally {
    pub(super) const fn totals(&self) -> Totals {
        self.totals
    }

    /// The size of a blob.
    pub(super) fn size(&self, digest: &Digest) -> Option<u64> {
        self.blobs.get(digest).map(|blob| blob.size)
    }

    fn plan(&mut self, blob: &Descriptor) {
        if !self.blobs.contains_key(&blob.digest) {
            let size = blob.size;
            self.totals.plan(size);
            self.blobs
                .insert(blob.digest.clone(), Counted { size, came: None });
        }
    }

    /// A blob is at the destination, to which it had come `before` in another way, or in the same.
    pub(super) fn settle(&mut self, digest: &Digest, before: Option<Delivery>, now: Delivery) {
        let Some(blob) = self.blobs.get_mut(digest) else {
            return;
        };
        // It may be counted already, for another image of this copy that failed.
        let counted = blob.came.take();
        if let Some(was) = counted {
            self.totals.reopen(blob.size, was);
        }
        let before = before.or(counted);
        blob.came = Some(self.totals.settle(blob.size, before, now));
    }

    /// A blob that was at the destination has to be checked again.
    pub(super) fn reopen(&mut self, digest: &Digest) {
        if let Some(blob) = self.blobs.get_mut(digest)
            && let Some(was) = blob.came.take()
        {
            self.totals.reopen(blob.size, was);
        }
    }

    /// A blob cannot be had. `before`: how it had come to the destination before that was checked again.
    pub(super) fn give_up(&mut self, digest: &Digest, before: Option<Delivery>) {
        let Some(blob) = self.blobs.get_mut(digest) else {
            return;
        };
        match (blob.came, before) {
            (Some(_), _) => {}
            (None, Some(was)) => {
                self.totals.restore(blob.size, was);
                blob.came = Some(was);
            }
            (None, None) => {
                self.totals.give_up(blob.size);
                self.blobs.remove(digest);
            }
        }
    }

    /// All is done. What was planned and belongs to manifests that could not be copied will not come.
    pub(super) const fn close(&mut self) {
        self.totals.close();
    }
}

impl CopyState {
    /// Counts the blobs of a node that are going to be requested.
    pub(super) fn plan(&mut self, node: NodeId) -> Result<(), Error> {
        let mut tally = core::mem::take(&mut self.tally);
        let planned = self.document(node).map(|document| {
            let blobs = document.children();
            let blobs = blobs.filter_map(|child| self.wanted_blob(node, child));
            let blobs = blobs.filter(|(blob, role)| !self.leaves_out(node, blob, *role));
            blobs.for_each(|(blob, _)| tally.plan(blob));
        });
        self.tally = tally;
        planned
    }

    /// The blob that a child of a node is, and its role, unless it need not be moved.
    pub(super) fn wanted_blob<'a>(
        &self,
        node: NodeId,
        child: Child<'a>,
    ) -> Option<(&'a Descriptor, BlobRole)> {
        if !self.copies(node, child.digest()) {
            return None;
        }
        let is_present = self.nodes[node.0].is_present();
        match child {
            Child::Blob(layer) if !is_present || layer.is_foreign() => {
                Some((layer, BlobRole::Layer))
            }
            Child::Config(config) if !is_present => Some((config, BlobRole::Config)),
            Child::Blob(_) | Child::Config(_) | Child::Manifest(_) => None,
        }
    }
}
