//! What a node points to: manifests and blobs.
//!
//! Responsible for beginning with all of it once, within the limits, and for repeating it if the
//! destination turns out to miss it. Must not know how blobs move (`work`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Blob, Copying, End, Healed, Node, Stage, There};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::event::{Event, Why};
use crate::op::{ManifestHead, Operation};
use crate::reference::Target;
use crate::scope::Scopes;
use crate::session::Session;
use crate::store::{StoreId, StoreOp};
use crate::task::{Foreign, TaskId, URLS};
use crate::work::{NodeId, Source, Waiter, WorkKey};

impl Session {
    /// Begins with everything a node points to.
    pub(super) fn children(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get(&task) else {
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
        self.tasks.get_mut(&task).expect("it is there").nodes[node.0].waiting = 1;
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
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        if copying.ending.is_some() {
            return;
        }
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
            (End::Registry { .. }, Some(End::Registry { site, .. })) if !distrust => {
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
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        if copying.ending.is_some() {
            return;
        }
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
        let known = copying
            .blobs
            .get_mut(&digest)
            .filter(|blob| !(blob.done && distrust));
        if let Some(blob) = known {
            if !blob.done {
                blob.nodes.push(node);
                copying.nodes[node.0].waiting += 1;
            }
            return;
        }
        let blob = Blob {
            nodes: alloc::vec![node],
            done: false,
        };
        copying.blobs.insert(digest.clone(), blob);
        copying.nodes[node.0].waiting += 1;
        let source = match &copying.source {
            End::Registry { site, .. } => Source::Site(site.clone()),
            End::Store { store, .. } => Source::Store(*store),
        };
        let waiter = Waiter {
            task,
            work: None,
            source,
            wish: match (&copying.source, &copying.destination) {
                (_, Some(End::Registry { site, .. })) | (End::Registry { site, .. }, _) => {
                    copying.wish(site)
                }
                (End::Store { .. }, _) => Scopes::default(),
            },
            size,
            spool: copying.spool,
            mount: copying.from.clone(),
            urls: copying.urls(descriptor),
            distrust,
        };
        match copying.destination.clone() {
            Some(End::Store { store, .. }) => {
                if let Some(data) = embedded(descriptor) {
                    return self.embed(task, store, digest, data);
                }
                self.want(WorkKey::Into(store, digest), waiter);
            }
            Some(End::Registry { site, .. }) => {
                self.want(WorkKey::To(site, digest), waiter);
            }
            None => {}
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
        let copying = self.tasks.get_mut(&task).expect("its parent is there");
        let id = NodeId(copying.nodes.len());
        let mut node = Node::new(None, 0);
        node.stage = Stage::Putting;
        node.embedded = Some(digest);
        copying.nodes.push(node);
        id
    }

    /// The registry misses something below: everything below is asked for and sent again, once; and
    /// once more with layers that were left out only because they have `urls`.
    pub(super) fn heal(&mut self, task: TaskId, node: NodeId, error: Error) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let has_urls = |layer: &Descriptor| !layer.is_nondistributable();
        let could_send_more = copying.left_out.values().any(has_urls);
        let this = &mut copying.nodes[node.0];
        this.healed = match this.healed {
            Healed::Not => Healed::Once,
            Healed::Once if could_send_more => Healed::WithUrls,
            Healed::Once | Healed::WithUrls => return self.fail(task, error),
        };
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

impl Copying {
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
