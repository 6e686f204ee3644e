//! What a node points to: manifests and blobs.
//!
//! Responsible for beginning with all of it once, within the limits, and for repeating it if the
//! destination turns out to miss it. Must not know how blobs move (`blobs`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Blob, CopyState, End, Healed, Node, Stage, There};
use crate::blobs::{BlobKey, BlobSource, Delivery, Doubt, Waiter, Wants};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::event::{Event, Why};
use crate::ids::{NodeId, TaskId};
use crate::op::{ManifestHead, Operation};
use crate::reference::Target;
use crate::scope::Scopes;
use crate::session::Session;
use crate::store::{StoreId, StoreOp};
use crate::task::{Foreign, URLS};

impl Session {
    /// Begins with everything a node points to.
    pub(super) fn children(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        let this = &copying.nodes[node.0];
        let (depth, distrust) = (this.depth, this.distrust);
        let Some(document) = &this.document else {
            return;
        };
        let (manifests, mut blobs) = document.children();
        if matches!(this.there, There::Yes | There::Tagged) {
            blobs.retain(Descriptor::is_foreign);
        }
        if depth >= self.config.limits.depth && !manifests.is_empty() {
            let what = "indexes are nested too deeply".into();
            return self.fail(task, Error::Policy { what });
        }
        let known = copying.nodes.len() + copying.blobs.len() + copying.left_out.len();
        let objects = known + manifests.len() + blobs.len();
        // Those below a node that is healed were counted before.
        if objects > self.config.limits.objects && !distrust {
            let what = format!(
                "the image has more than {} parts",
                self.config.limits.objects
            );
            return self.fail(task, Error::Policy { what });
        }
        // Held back by one, so that the node is not put before all its children are known.
        self.tasks.copy_mut(task).expect("it is there").nodes[node.0].waiting = 1;
        for descriptor in manifests {
            self.child(task, node, descriptor, depth + 1, distrust);
        }
        for descriptor in blobs {
            self.blob(task, node, &descriptor, distrust);
        }
        self.child_done(task, node);
    }

    fn child(
        &mut self,
        task: TaskId,
        parent: NodeId,
        descriptor: Descriptor,
        depth: usize,
        distrust: bool,
    ) {
        if self.tasks.is_over(task) {
            return;
        }
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let known = copying.by_digest.get(&descriptor.digest).copied();
        if let Some(known) = known {
            let child = &mut copying.nodes[known.0];
            let again = distrust && child.stage == Stage::Done;
            if child.stage == Stage::Done && !again {
                return;
            }
            if !child.parents.contains(&parent) || again {
                child.parents.push(parent);
                copying.nodes[parent.0].waiting += 1;
            }
            if again {
                copying.nodes[known.0].distrust = true;
                copying.nodes[known.0].there = There::No;
                self.obtain(task, known);
            }
            return;
        }
        let id = NodeId(copying.nodes.len());
        let mut child = Node::new(Some(descriptor.clone()), depth);
        child.parents.push(parent);
        child.distrust = distrust;
        child.stage = Stage::Loading;
        copying.nodes.push(child);
        copying.by_digest.insert(descriptor.digest.clone(), id);
        copying.nodes[parent.0].waiting += 1;
        match (&copying.source, copying.destination.clone()) {
            // Fetching it would be for nothing if it is there.
            (End::Registry { .. }, End::Registry { site, .. }) if !distrust => {
                copying.nodes[id.0].there = There::Asking;
                let target = Target::Digest(descriptor.digest);
                let op = ManifestHead {
                    site: site.clone(),
                    target,
                };
                self.node_exchange(task, id, site, Operation::ManifestHead(op));
            }
            _ => self.obtain(task, id),
        }
    }

    fn blob(&mut self, task: TaskId, node: NodeId, descriptor: &Descriptor, distrust: bool) {
        if self.tasks.is_over(task) {
            return;
        }
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        if digest.algorithm().is_none() {
            let what = format!("blob {digest}: its algorithm cannot be verified");
            return self.fail(task, Error::Policy { what });
        }
        if descriptor.is_foreign() && copying.leaves_out(node, descriptor) {
            let layer = Descriptor::new(&descriptor.media_type, digest.clone(), size);
            if copying.left_out.insert(digest.clone(), layer).is_none() {
                let why = Why::Nondistributable;
                self.event(task, Event::Skipped { digest, size, why });
            }
            return;
        }
        let Some(doubt) = copying.claim(node, &digest, distrust) else {
            return;
        };
        let source = match &copying.source {
            End::Registry { site, .. } => BlobSource::Site(site.clone()),
            End::Store { store, .. } => BlobSource::Store(*store),
        };
        let waiter = Waiter {
            task,
            wants: Wants::Task,
            source,
            wish: match (&copying.source, &copying.destination) {
                (_, End::Registry { site, .. }) | (End::Registry { site, .. }, _) => {
                    copying.wish(site)
                }
                (End::Store { .. }, _) => Scopes::default(),
            },
            size,
            spool: copying.spool,
            mount: copying.from.clone(),
            urls: copying.urls(descriptor),
            doubt,
        };
        match copying.destination.clone() {
            End::Store { store, .. } => {
                if let Some(data) = embedded(descriptor) {
                    return self.embed(task, store, digest, data);
                }
                self.want_blob(BlobKey::Store(store, digest), waiter);
            }
            End::Registry { site, .. } => {
                self.want_blob(BlobKey::Repository(site, digest), waiter);
            }
        }
    }

    /// The blob came with its descriptor: write it, no request is needed (PULLM-18, PULLB-10).
    fn embed(&mut self, task: TaskId, store: StoreId, digest: Digest, data: Vec<u8>) {
        let size = data.len() as u64;
        let op = StoreOp::Put {
            digest: digest.clone(),
            bytes: data.into(),
        };
        let id = self.add_embedded(task, digest.clone());
        self.node_step(task, id, store, op);
        self.event(
            task,
            Event::Skipped {
                digest,
                size,
                why: Why::Embedded,
            },
        );
    }

    /// An embedded blob is written like a manifest: as a node without a document.
    fn add_embedded(&mut self, task: TaskId, digest: Digest) -> NodeId {
        let copying = self.tasks.copy_mut(task).expect("its parent is there");
        let id = NodeId(copying.nodes.len());
        let mut node = Node::new(None, 0);
        node.stage = Stage::Putting;
        node.embedded = Some(digest);
        copying.nodes.push(node);
        id
    }

    /// The registry misses something below: everything below is asked for again, and sent again where
    /// the registry contradicts itself. At first that is what it names now, then everything that it
    /// said it has; in the end layers are sent that were left out only because they have `urls`.
    pub(super) fn heal(&mut self, task: TaskId, node: NodeId, error: Error) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let has_urls = |layer: &Descriptor| !layer.is_nondistributable();
        let could_send_more = copying.left_out.values().any(has_urls);
        let healed = copying.nodes[node.0].healed;
        let contradicts = copying.contradict(&error, healed);
        copying.nodes[node.0].healed = match healed {
            Healed::Not => Healed::Once,
            Healed::Once if contradicts => Healed::Sent,
            Healed::Once | Healed::Sent if could_send_more => Healed::WithUrls,
            Healed::Once | Healed::Sent | Healed::WithUrls => return self.fail(task, error),
        };
        let this = &mut copying.nodes[node.0];
        this.distrust = true;
        this.there = There::No;
        this.stage = Stage::Open;
        self.event(
            task,
            Event::Warning(format!("{error}; sending what is missing")),
        );
        self.children(task, node);
    }
}

impl CopyState {
    /// Makes a manifest wait for a blob, if it has to. Whether the blob is to be moved now, and how far
    /// the registry is believed that it has it.
    fn claim(&mut self, node: NodeId, digest: &Digest, distrust: bool) -> Option<Doubt> {
        let mut doubt = if distrust && self.left_out.contains_key(digest) {
            // The registry demands a layer that was left out. A HEAD that finds it would be wrong.
            Doubt::Contradicted
        } else if distrust {
            Doubt::Missing
        } else {
            Doubt::None
        };
        let mut before = None;
        if let Some(blob) = self.blobs.get_mut(digest) {
            if !blob.done {
                blob.nodes.push(node);
                self.nodes[node.0].waiting += 1;
                return None;
            }
            if !distrust {
                return None;
            }
            before = match (blob.before, blob.how) {
                // That it was sent stays true.
                (Some(Delivery::Moved(bytes)), _) => Some(Delivery::Moved(bytes)),
                (Some(Delivery::Mounted | Delivery::Present) | None, how) => how,
            };
            doubt = match (blob.doubt, blob.how) {
                (Doubt::Contradicted, _) => Doubt::Contradicted,
                (Doubt::Mounted, _) | (_, Some(Delivery::Mounted)) => Doubt::Mounted,
                (
                    Doubt::None | Doubt::Missing,
                    Some(Delivery::Moved(_) | Delivery::Present) | None,
                ) => Doubt::Missing,
            };
        }
        let blob = Blob {
            nodes: alloc::vec![node],
            done: false,
            how: None,
            before,
            doubt,
        };
        self.blobs.insert(digest.clone(), blob);
        self.nodes[node.0].waiting += 1;
        Some(doubt)
    }

    /// Marks the blobs that the registry said it has and now says it misses. If it does not say which
    /// it misses, or misses something again, that may be any of them. Whether there are some.
    fn contradict(&mut self, error: &Error, healed: Healed) -> bool {
        let entries = error
            .registry_errors()
            .map(|errors| errors.entries.as_slice());
        let named = entries.unwrap_or_default().iter();
        let named: Vec<&Digest> = named.flat_map(|entry| &entry.digests).collect();
        let is_said = named.iter().any(|digest| self.blobs.contains_key(*digest));
        let mut any = false;
        for (digest, blob) in &mut self.blobs {
            let is_there = matches!(blob.how, Some(Delivery::Mounted | Delivery::Present));
            let is_meant = healed != Healed::Not || !is_said || named.contains(&digest);
            if is_there && is_meant && blob.doubt != Doubt::Contradicted {
                blob.doubt = Doubt::Contradicted;
                any = true;
            }
        }
        any
    }

    /// Whether a foreign layer is not moved.
    fn leaves_out(&self, node: NodeId, layer: &Descriptor) -> bool {
        let is_demanded =
            self.nodes[node.0].healed == Healed::WithUrls && !layer.is_nondistributable();
        self.foreign == Foreign::LeftOut && !is_demanded
    }

    /// Where else a blob may be had.
    fn urls(&self, descriptor: &Descriptor) -> Vec<String> {
        match self.foreign {
            Foreign::Included => descriptor.urls.iter().take(URLS).cloned().collect(),
            Foreign::LeftOut => Vec::new(),
        }
    }
}

/// The content of a descriptor that brings it along, if it is what it says; or that is known.
pub(super) fn embedded(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let known = (descriptor.size == 2).then(|| b"{}".to_vec());
    let candidates = [descriptor.data.clone(), known];
    candidates
        .into_iter()
        .flatten()
        .find(|data| data.len() as u64 == descriptor.size && descriptor.digest.verifies(data))
}
