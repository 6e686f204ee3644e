//! What a node points to: manifests and blobs.
//!
//! Responsible for beginning with all of it once, within the limits, and for repeating it if the
//! destination turns out to miss it. Must not know how blobs move (`blobs`).

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::fetch::Child;
use super::node::{Blob, BlobRole, Node, NodePhase, Presence, Repushed};
use super::{CopyLocation, CopyState};
use crate::blobs::{BlobKey, BlobSource, Recheck, Waiter};
use crate::config::Limits;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::event::{Event, SkipReason};
use crate::ids::NodeId;
use crate::reference::Target;
use crate::scope::Scopes;
use crate::store::{StoreId, StoreOp};
use crate::task::{Foreign, Task};
use crate::tasks::TaskPorts;
use crate::totals::Delivery;

impl CopyState {
    /// Begins with everything a node points to.
    pub(super) fn children(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let document = self.document(node)?;
        let is_manifest = |child| match child {
            Child::Manifest(descriptor) if self.copies(node, &descriptor.digest) => {
                Some(descriptor.clone())
            }
            Child::Manifest(_) | Child::Config(_) | Child::Blob(_) => None,
        };
        let manifests: Vec<_> = document.children().filter_map(is_manifest).collect();
        let children = document.children().count();
        let limits = ports.limits();
        if self.nodes[node.0].depth >= limits.depth && !manifests.is_empty() {
            let what = "indexes are nested too deeply".into();
            return Err(Error::Policy { what });
        }
        // Those below a node that is pushed again were counted before.
        if !self.nodes[node.0].force_check {
            self.check_objects(children, limits)?;
        }
        // Held back by one, so that the node is not put before all its children are known.
        self.nodes[node.0].waiting = 1;
        self.nodes[node.0].requested = 0;
        for descriptor in manifests {
            self.child(node, descriptor, ports)?;
        }
        self.plan(node)?;
        self.foresee_mounts(node, ports)?;
        if !self.request_blobs(node, ports)? {
            self.unrequested.push_back(node);
        }
        Ok(())
    }

    /// Adds what mounting the blobs of a node needs to the scopes for all of them, so that one token serves them.
    fn foresee_mounts(&mut self, node: NodeId, ports: &TaskPorts<'_>) -> Result<(), Error> {
        let CopyLocation::Registry { site, .. } = &self.destination else {
            return Ok(());
        };
        let blob = |child| match child {
            Child::Config(blob) | Child::Blob(blob) => Some((&blob.digest, blob.size)),
            Child::Manifest(_) => None,
        };
        let blobs = self.document(node)?.children().filter_map(blob);
        for from in ports.foreseen_mounts(site, blobs) {
            self.scopes.merge(&Scopes::pull(&from));
        }
        Ok(())
    }

    /// Requests the next blobs of a node, unless enough are under way: then they are requested as others
    /// arrive. Until then each costs only its descriptor. Returns whether all are requested.
    fn request_blobs(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<bool, Error> {
        // More than the transfers between the source and the destination, so that these are never short
        // of blobs.
        let ahead = 2 * ports.config().transfers();
        while self.under_way < ahead {
            let this = &mut self.nodes[node.0];
            let requested = this.requested;
            this.requested += 1;
            let Some(child) = self.document(node)?.child(requested) else {
                self.child_done(node, ports)?;
                return Ok(true);
            };
            if let Some((blob, role)) = self.wanted_blob(node, child) {
                let blob = blob.clone();
                self.blob(node, blob, role, ports)?;
            }
        }
        Ok(false)
    }

    /// Fewer blobs are under way: others are requested.
    pub(super) fn request_more(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let fewer = self.under_way.checked_sub(1);
        self.under_way = fewer.ok_or_else(|| Error::internal("a blob was settled twice"))?;
        while let Some(node) = self.unrequested.pop_front() {
            match self.request_blobs(node, ports) {
                Ok(true) => {}
                Ok(false) => {
                    self.unrequested.push_front(node);
                    break;
                }
                Err(error) => self.isolate(node, Err(error), ports)?,
            }
        }
        Ok(())
    }

    /// Fails if the image has more objects than the limit, `more` of them still to come.
    pub(super) fn check_objects(&self, more: usize, limits: &Limits) -> Result<(), Error> {
        let objects = self.by_digest.len() + self.blobs.len() + self.left_out.len() + more;
        if objects <= limits.objects {
            return Ok(());
        }
        let what = format!("the image has more than {} parts", limits.objects);
        Err(Error::Policy { what })
    }

    fn child(
        &mut self,
        parent: NodeId,
        descriptor: Descriptor,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let (depth, force_check) = (
            self.nodes[parent.0].depth + 1,
            self.nodes[parent.0].force_check,
        );
        if let Some(known) = self.by_digest.get(&descriptor.digest).copied() {
            let child = &mut self.nodes[known.0];
            if child.phase == NodePhase::Missed {
                let what = format!("{} could not be copied", descriptor.digest);
                return Err(Error::Policy { what });
            }
            let again = force_check && child.phase == NodePhase::Done;
            if child.phase == NodePhase::Done && !again {
                return Ok(());
            }
            if again {
                child.force_check = true;
                child.presence = Presence::No;
            }
            if !child.parents.contains(&parent) || again {
                child.parents.push(parent);
                self.nodes[parent.0].waiting += 1;
            }
            if again {
                return self.obtain(known, ports);
            }
            return Ok(());
        }
        let id = NodeId(self.nodes.len());
        let mut child = Node::new(Some(descriptor.clone()), depth);
        child.parents.push(parent);
        child.force_check = force_check;
        self.nodes.push(child);
        self.by_digest.insert(descriptor.digest.clone(), id);
        if self.is_there(parent, id)? {
            self.nodes[id.0].presence = Presence::Yes;
            self.nodes[id.0].phase = NodePhase::Done;
            return Ok(());
        }
        self.nodes[parent.0].waiting += 1;
        match (&self.source, &self.destination) {
            // A manifest that the destination has need not be fetched.
            (CopyLocation::Registry { .. }, CopyLocation::Registry { site, .. })
                if !force_check =>
            {
                let site = site.clone();
                self.nodes[id.0].presence = Presence::Asking;
                self.head(id, site, Target::Digest(descriptor.digest), ports);
                Ok(())
            }
            _ => self.obtain(id, ports),
        }
    }

    /// Whether a child need not be looked at, because a registry that has its parent has it, too.
    fn is_there(&self, parent: NodeId, child: NodeId) -> Result<bool, Error> {
        if self.may_be_sparse(parent) {
            return Ok(false);
        }
        let parent = self.nodes[parent.0].presence;
        let has_parent = matches!(parent, Presence::Yes | Presence::Tagged);
        Ok(has_parent && self.foreign == Foreign::LeftOut && self.is_image(child)?)
    }

    fn blob(
        &mut self,
        node: NodeId,
        descriptor: Descriptor,
        role: BlobRole,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        if digest.algorithm().is_none() {
            let what = format!("blob {digest}: its algorithm cannot be verified");
            return Err(Error::Policy { what });
        }
        if self.leaves_out(node, &descriptor, role) {
            let layer = Descriptor::new(&descriptor.media_type, digest.clone(), size);
            let known = self.left_out.get(&digest);
            if known.is_none() {
                let why = SkipReason::Nondistributable;
                self.check_objects(1, ports.limits())?;
                let digest = digest.clone();
                ports.event(Event::Skipped { digest, size, why });
            }
            // Manifests may differ about its media type. One that has it only with `urls` counts, since
            // a registry may demand it for that one.
            if known.is_none_or(Descriptor::is_nondistributable) {
                self.left_out.insert(digest, layer);
            }
            return Ok(());
        }
        let Some(recheck) = self.claim(node, &digest) else {
            return Ok(());
        };
        if !self.nodes[node.0].force_check {
            self.check_objects(0, ports.limits())?;
        }
        self.under_way += 1;
        let key = match &self.destination {
            CopyLocation::Store { store, .. } => {
                if let Some(data) = embedded(&descriptor) {
                    let store = *store;
                    self.embed(store, digest, data, ports);
                    return Ok(());
                }
                BlobKey::Store(*store, digest)
            }
            CopyLocation::Registry { site, .. } => BlobKey::Repository(site.clone(), digest),
        };
        let source = match &self.source {
            CopyLocation::Registry { site, .. } => BlobSource::Site(site.clone()),
            CopyLocation::Store { store, .. } => BlobSource::Store(*store),
        };
        let urls = match self.foreign {
            Foreign::Included if role == BlobRole::Layer => descriptor
                .urls
                .into_iter()
                .take(Task::FOREIGN_URLS)
                .collect(),
            Foreign::Included | Foreign::LeftOut => Vec::new(),
        };
        let waiter = Waiter {
            urls,
            recheck,
            ..self.waiter(source, size, ports)
        };
        ports.want(key, waiter);
        Ok(())
    }

    /// What wants a blob from this source.
    pub(super) fn waiter(&self, source: BlobSource, size: u64, ports: &TaskPorts<'_>) -> Waiter {
        Waiter {
            spool: self.spool,
            mount_from: Arc::clone(&self.mount_from),
            ..ports.waiter(source, size, self.scopes.clone())
        }
    }

    /// The blob came with its descriptor: write it without a request (PULLM-18, PULLB-10). It is
    /// written as manifests are, as a node without a document.
    fn embed(&mut self, store: StoreId, digest: Digest, data: Vec<u8>, ports: &mut TaskPorts<'_>) {
        let id = NodeId(self.nodes.len());
        let mut node = Node::new(None, 0);
        node.phase = NodePhase::Putting;
        node.embedded = Some(digest.clone());
        self.nodes.push(node);
        let (size, why) = (data.len() as u64, SkipReason::Embedded);
        let op = StoreOp::Put {
            digest: digest.clone(),
            bytes: data.into(),
        };
        ports.store(id, store, op);
        ports.event(Event::Skipped { digest, size, why });
    }

    /// The registry misses something below: everything below is checked again, and sent again where
    /// the registry contradicts itself. At first that is what it names now, then everything that it
    /// said it has; in the end layers are sent that were left out only because they have `urls`.
    pub(super) fn repush(
        &mut self,
        node: NodeId,
        error: Error,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let has_urls = |layer: &Descriptor| !layer.is_nondistributable();
        let could_send_more = self.left_out.values().any(has_urls);
        let before = self.nodes[node.0].repushed;
        let put = self.nodes[node.0].put_round;
        let contradicts = self.contradict(&error, before, put);
        let this = &mut self.nodes[node.0];
        this.repushed = match before {
            Repushed::Not => Repushed::Once,
            Repushed::Once if contradicts => Repushed::Sent,
            Repushed::Once | Repushed::Sent if could_send_more => Repushed::WithUrls,
            Repushed::Once | Repushed::Sent | Repushed::WithUrls => return Err(error),
        };
        this.force_check = true;
        this.presence = Presence::No;
        this.phase = NodePhase::Open;
        self.round += 1;
        ports.event(Event::Warning(format!("{error}; sending what is missing")));
        self.children(node, ports)
    }

    /// Makes a manifest wait for a blob, if it has to. Whether the blob is to be moved now, and how far
    /// the registry is believed that it has it.
    fn claim(&mut self, node: NodeId, digest: &Digest) -> Option<Recheck> {
        let force_check = self.nodes[node.0].force_check;
        let mut recheck = if force_check && self.left_out.contains_key(digest) {
            // The registry demands a layer that was left out. A HEAD that finds it would be wrong.
            Recheck::Contradicted
        } else if force_check {
            Recheck::Missing
        } else {
            Recheck::None
        };
        let mut before = None;
        if let Some(blob) = self.blobs.get_mut(digest) {
            if !blob.done {
                blob.nodes.push(node);
                self.nodes[node.0].waiting += 1;
                return None;
            }
            if !force_check || blob.round == self.round {
                return None;
            }
            before = match (blob.before, blob.delivery) {
                // That it was sent stays true.
                (Some(Delivery::Moved(bytes)), _) => Some(Delivery::Moved(bytes)),
                (Some(Delivery::Mounted | Delivery::Present) | None, delivery) => delivery,
            };
            recheck = match (blob.recheck, blob.delivery) {
                (Recheck::Contradicted, _) => Recheck::Contradicted,
                (Recheck::Mounted, _) | (_, Some(Delivery::Mounted)) => Recheck::Mounted,
                (
                    Recheck::None | Recheck::Missing,
                    Some(Delivery::Moved(_) | Delivery::Present) | None,
                ) => Recheck::Missing,
            };
        }
        if before.is_some() {
            self.tally.reopen(digest);
        }
        let blob = Blob {
            nodes: alloc::vec![node],
            done: false,
            delivery: None,
            before,
            recheck,
            is_elsewhere: false,
            round: self.round,
        };
        self.blobs.insert(digest.clone(), blob);
        self.nodes[node.0].waiting += 1;
        Some(recheck)
    }

    /// Marks the blobs that the registry said it has and now says it misses. If it does not say which
    /// it misses, or misses something again, that may be any of them. Whether there are some that were not sent
    /// before the manifest was put, in this round: another manifest that was refused meanwhile may have
    /// marked them, or be sending them.
    fn contradict(&mut self, error: &Error, repushed: Repushed, put: u32) -> bool {
        let entries = error
            .registry_errors()
            .map(|errors| errors.entries.as_slice());
        let named = entries.unwrap_or_default().iter();
        let named: Vec<&Digest> = named.flat_map(|entry| &entry.digests).collect();
        let is_said = named.iter().any(|digest| self.blobs.contains_key(*digest));
        let mut any = false;
        for (digest, blob) in &mut self.blobs {
            let is_there = matches!(blob.delivery, Some(Delivery::Mounted | Delivery::Present));
            let is_meant = repushed != Repushed::Not || !is_said || named.contains(&digest);
            if is_there && is_meant {
                blob.recheck = Recheck::Contradicted;
            }
            let is_unsent = is_there || !blob.done || blob.round > put;
            any |= is_unsent && blob.recheck == Recheck::Contradicted;
        }
        any
    }

    /// Whether a foreign layer is not moved.
    pub(super) fn leaves_out(&self, node: NodeId, blob: &Descriptor, role: BlobRole) -> bool {
        let is_demanded =
            self.nodes[node.0].repushed == Repushed::WithUrls && !blob.is_nondistributable();
        let is_foreign = role == BlobRole::Layer && blob.is_foreign();
        is_foreign && self.foreign == Foreign::LeftOut && !is_demanded
    }
}

/// The content of a descriptor that brings it along, if it is what it says; or that is known.
pub(in crate::tasks) fn embedded(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let known = (descriptor.size == 2).then(|| b"{}".to_vec());
    let candidates = [descriptor.data.clone(), known];
    candidates
        .into_iter()
        .flatten()
        .find(|data| data.len() as u64 == descriptor.size && descriptor.digest.verifies(data))
}
