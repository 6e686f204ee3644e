//! Copying an image: its manifests and what they point to, in the order that keeps both sides whole.
//!
//! Responsible for order: blobs, then the manifest over them, then the index over those, the name
//! last. Each manifest is a node; a node is put once everything below it is there. Must not know
//! how blobs move (`blobs`) nor requests (`op`).
//!
//! ```text
//!  root:  Finding ─▶ Loading ─▶ Asking ─┬─ the name stands for it ─────────────▶ over
//!                                       └─▶ Open (children under way) ─▶ Putting ─▶ Naming ─▶ over
//!  child:            Loading ─▶ Open ─┬─▶ Putting ─▶ Done   (either may be Listing after Putting)
//!                                     └─ it is there with everything below ─▶ Done
//! ```

mod children;
mod exists;
mod fetch;
mod push;
mod referrers_tag;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use self::referrers_tag::Listing;
use crate::blobs::{BlobKey, Delivery, Doubt, Waiter};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::exchanges::Settlement;
use crate::ids::{ExchangeId, NodeId, Owner, TaskId};
use crate::manifest::Document;
use crate::op::{Operation, Outcome, Site};
use crate::reference::{Reference, Repository, Target};
use crate::scope::Scopes;
use crate::session::Session;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::task::{Copy, Foreign, Platforms, Unlisted};
use crate::tasks::Kind;

/// One end of a copy.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Registry {
        site: Site,
        reference: Reference,
    },
    Store {
        store: StoreId,
        name: Option<String>,
    },
}

/// A copy under way.
#[derive(Debug)]
pub(crate) struct CopyState {
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) platforms: Platforms,
    pub(crate) spool: Option<StoreId>,
    pub(crate) from: Option<Repository>,
    pub(crate) foreign: Foreign,
    /// What the source's name stands for, once resolved. It stays the same if the name moves.
    pub(crate) pinned: Option<Descriptor>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) by_digest: BTreeMap<Digest, NodeId>,
    pub(crate) blobs: BTreeMap<Digest, Blob>,
    /// Foreign layers that are not moved: type, digest and size.
    pub(crate) left_out: BTreeMap<Digest, Descriptor>,
    /// Bytes of the documents held.
    pub(crate) held: u64,
    /// Manifests that could not be listed at their subjects.
    pub(crate) unlisted: Vec<Unlisted>,
    pub(crate) report: Tally,
}

#[derive(Debug)]
pub(crate) struct Tally {
    moved: u64,
    bytes: u64,
    mounted: u64,
    present: u64,
}

impl Tally {
    /// Counts a blob, which was counted as `before` if it had to be sent again.
    const fn count(&mut self, before: Option<Delivery>, how: Delivery) {
        match before {
            Some(Delivery::Mounted) => self.mounted -= 1,
            Some(Delivery::Present) => self.present -= 1,
            // It was sent, whatever the registry says of it later.
            Some(Delivery::Moved(_)) => self.moved -= 1,
            None => {}
        }
        match (before, how) {
            (_, Delivery::Moved(bytes)) => {
                self.moved += 1;
                self.bytes = self.bytes.saturating_add(bytes);
            }
            (Some(Delivery::Moved(_)), Delivery::Mounted | Delivery::Present) => self.moved += 1,
            (_, Delivery::Mounted) => self.mounted += 1,
            (_, Delivery::Present) => self.present += 1,
        }
    }

    const NONE: Self = Self {
        moved: 0,
        bytes: 0,
        mounted: 0,
        present: 0,
    };
}

#[derive(Debug)]
pub(crate) struct Node {
    /// Known from the start for everything but a root that is named by a tag.
    descriptor: Option<Descriptor>,
    document: Option<Document>,
    parents: Vec<NodeId>,
    depth: usize,
    stage: Stage,
    /// Children that are not there yet: manifests and blobs.
    waiting: usize,
    /// Whether the destination has it with everything below.
    there: There,
    /// What was done about children that the destination says are missing.
    healed: Healed,
    /// Do not believe that anything below is there.
    distrust: bool,
    /// It stands for a blob that came with its descriptor, not for a manifest.
    embedded: Option<Digest>,
    /// Its way into the list of its subject's referrers, while it is being listed.
    listing: Option<Listing>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Finding,
    Loading,
    Asking,
    Open,
    Putting,
    /// It is put, and is being listed at its subject.
    Listing,
    /// Looking at the image's configuration, to compare its platform.
    Comparing,
    Naming,
    Done,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum There {
    Unknown,
    Asking,
    No,
    /// It is there with everything below it, but perhaps without foreign layers.
    Yes,
    /// The same, and the tag stands for it.
    Tagged,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Healed {
    Not,
    /// Everything below was asked for again, and what the registry said it misses was sent.
    Once,
    /// Everything below that the registry said it has was sent.
    Sent,
    /// The same with layers that were left out only because they have `urls`: some registries demand
    /// them.
    WithUrls,
}

#[derive(Debug)]
pub(crate) struct Blob {
    /// Manifests that wait for it.
    nodes: Vec<NodeId>,
    done: bool,
    /// How it got to the destination.
    how: Option<Delivery>,
    /// The same when it was there first, and had to be asked for again.
    before: Option<Delivery>,
    doubt: Doubt,
}

const ROOT: NodeId = NodeId(0);

impl Session {
    /// Begins a copy.
    pub(crate) fn begin_copy(&mut self, task: TaskId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        copying.nodes.push(Node::new(copying.pinned.clone(), 0));
        if copying.pinned.is_some() {
            return self.obtain(task, ROOT);
        }
        match copying.source.clone() {
            End::Store { store, name } => {
                copying.nodes[ROOT.0].stage = Stage::Finding;
                self.node_step(task, ROOT, store, StoreOp::Find { name });
            }
            End::Registry { reference, .. } => {
                copying.nodes[ROOT.0].stage = Stage::Loading;
                match (reference.target(), &copying.destination) {
                    // What a digest names may be here already; a tag has to be asked about.
                    (Target::Digest(digest), End::Store { store, .. }) => {
                        let store = *store;
                        self.load(task, ROOT, store, digest);
                    }
                    (Target::Digest(_) | Target::Tag(_), _) => self.get_root(task),
                }
            }
        }
    }

    /// Takes the answer to a store's step that a node asked for.
    pub(crate) fn node_stepped(
        &mut self,
        task: TaskId,
        node: NodeId,
        answer: Result<StoreAnswer, StoreError>,
    ) {
        let Some(state) = self.tasks.get_mut(task) else {
            return;
        };
        state.steps -= 1;
        if state.ending.is_some() {
            return;
        }
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let stage = copying.nodes[node.0].stage;
        let answer = match answer {
            Ok(answer) => answer,
            // It is only looked at for a warning.
            Err(_) if stage == Stage::Comparing => return self.name(task),
            Err(error) => return self.fail(task, Error::Store(error)),
        };
        match (stage, answer) {
            (Stage::Finding, StoreAnswer::Found(descriptor)) => {
                copying.nodes[node.0].descriptor = Some(descriptor);
                self.obtain(task, node);
            }
            (Stage::Finding, StoreAnswer::Several(entries)) => self.choose_entry(task, &entries),
            (Stage::Loading, StoreAnswer::Loaded(bytes)) => self.loaded(task, node, bytes),
            (Stage::Loading, StoreAnswer::Absent) => self.not_loaded(task, node),
            (Stage::Putting, StoreAnswer::Written) => self.put(task, node),
            (Stage::Comparing, answer) => {
                if let StoreAnswer::Loaded(config) = answer {
                    self.compare(task, &config);
                }
                self.name(task);
            }
            (Stage::Naming, StoreAnswer::Written) => self.complete(task),
            // It, or what is above it, was found at the destination meanwhile.
            (Stage::Done, _) => {}
            (
                Stage::Open | Stage::Putting | Stage::Listing,
                StoreAnswer::Loaded(_) | StoreAnswer::Absent,
            ) => {}
            (stage, answer) => {
                let answer = answer.name();
                let what = format!("the store answered {stage:?} with {answer}");
                let error = StoreError::new(StoreErrorKind::Io, what);
                self.fail(task, Error::Store(error));
            }
        }
    }

    /// Takes the outcome of an exchange that a node began.
    pub(crate) fn node_settled(
        &mut self,
        task: TaskId,
        node: NodeId,
        exchange: ExchangeId,
        result: Settlement,
    ) {
        let Some(state) = self.tasks.get_mut(task) else {
            return;
        };
        state.exchanges.remove(&exchange);
        if state.ending.is_some() {
            return;
        }
        if matches!(state.kind, Kind::Resolve(_)) {
            return self.resolve_settled(task, result);
        }
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let result = match result {
            Settlement::Done(outcome) => Ok(outcome),
            Settlement::Failed(error) => Err(error),
            Settlement::Abandoned => return,
            Settlement::Lost => Err(Error::internal("an exchange of a manifest was lost")),
        };
        if copying.nodes[node.0].stage == Stage::Listing {
            return self.listing_settled(task, node, result);
        }
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => return self.fail(task, error),
        };
        match outcome {
            Outcome::Document { document, .. } => self.got(task, node, *document),
            Outcome::Found { digest, .. } => self.found(task, node, digest),
            Outcome::Absent => self.absent(task, node),
            Outcome::Put { listed: true } => self.put(task, node),
            Outcome::Put { listed: false } => self.put_unlisted(task, node),
            Outcome::Childless(error) => self.heal(task, node, error),
            outcome @ (Outcome::Fetched { .. }
            | Outcome::Present { .. }
            | Outcome::Mounted
            | Outcome::Opened(_)
            | Outcome::Sent { .. }
            | Outcome::Outdated
            | Outcome::Granted(_)) => {
                let what = format!("a manifest's exchange ended in {outcome:?}");
                self.fail(task, Error::internal(&what));
            }
        }
    }

    /// A blob is there, or cannot be had.
    pub(crate) fn blob_settled(
        &mut self,
        task: TaskId,
        digest: &Digest,
        result: Result<Delivery, Error>,
    ) {
        if self.tasks.is_over(task) {
            return;
        }
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let how = match result {
            Ok(how) => how,
            Err(Error::Store(error)) if error.kind() == StoreErrorKind::Absent => {
                let what = format!("{error}, but {} needs it", copying.image());
                let error = StoreError::new(StoreErrorKind::Absent, what);
                return self.fail(task, Error::Store(error));
            }
            Err(error) => return self.fail(task, error),
        };
        let Some(blob) = copying.blobs.get_mut(digest) else {
            return;
        };
        blob.done = true;
        blob.how = Some(how);
        copying.report.count(blob.before, how);
        for node in core::mem::take(&mut blob.nodes) {
            self.child_done(task, node);
        }
    }

    fn want_blob(&mut self, key: BlobKey, waiter: Waiter) {
        let (blobs, mut ports) = self.blobs_and_ports();
        blobs.want(key, waiter, &mut ports);
    }

    fn node_step(&mut self, task: TaskId, node: NodeId, store: StoreId, op: StoreOp) {
        if let Some(state) = self.tasks.get_mut(task) {
            state.steps += 1;
        }
        self.step(Owner::Node(task, node), store, op);
    }

    fn node_exchange(&mut self, task: TaskId, node: NodeId, site: Site, op: Operation) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        let wish = copying.wish(&site);
        let id = self
            .exchanges
            .begin(Owner::Node(task, node), task, site, op, wish);
        if let Some(state) = self.tasks.get_mut(task) {
            state.exchanges.insert(id);
        }
    }
}

impl CopyState {
    /// A copy of which nothing is known yet but what was asked, and perhaps what the source's name
    /// stands for.
    pub(crate) fn new(
        copy: Copy,
        ends: (End, End),
        foreign: Foreign,
        pinned: Option<Descriptor>,
    ) -> Self {
        Self {
            source: ends.0,
            destination: ends.1,
            platforms: copy.platforms,
            spool: copy.spool,
            from: copy.from,
            foreign,
            pinned,
            nodes: Vec::new(),
            by_digest: BTreeMap::new(),
            blobs: BTreeMap::new(),
            left_out: BTreeMap::new(),
            unlisted: Vec::new(),
            held: 0,
            report: Tally::NONE,
        }
    }

    /// The image, for people.
    fn image(&self) -> String {
        let root = self.nodes.first().and_then(|root| root.descriptor.as_ref());
        let digest = root.map_or_else(String::new, |root| format!("{}", root.digest));
        match &self.source {
            End::Store {
                name: Some(name), ..
            } => format!("image `{}` ({digest})", crate::sanitize::escape(name, 200)),
            End::Store { name: None, .. } => format!("image {digest}"),
            End::Registry { reference, .. } => format!("image `{reference}`"),
        }
    }

    /// The union of scopes that the task will need at a registry: asked for from the start, so that
    /// one token serves it all (AUTH-65).
    fn wish(&self, site: &Site) -> Scopes {
        let at = |end: &End| match end {
            End::Registry { site: other, .. } if other.origin == site.origin => {
                Some(other.repository.clone())
            }
            End::Registry { .. } | End::Store { .. } => None,
        };
        let mut scopes = Scopes::default();
        if let Some(to) = at(&self.destination) {
            scopes.merge(&Scopes::push(&to));
            if let Some(from) = &self.from {
                scopes.merge(&Scopes::pull(from));
            }
        }
        if let Some(from) = at(&self.source) {
            scopes.merge(&Scopes::pull(&from));
        }
        scopes
    }
}

impl Node {
    const fn new(descriptor: Option<Descriptor>, depth: usize) -> Self {
        Self {
            descriptor,
            document: None,
            parents: Vec::new(),
            depth,
            stage: Stage::Loading,
            waiting: 0,
            there: There::Unknown,
            healed: Healed::Not,
            distrust: false,
            embedded: None,
            listing: None,
        }
    }
}
