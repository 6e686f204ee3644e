//! Copying an image: its manifests and what they point to, in the order that keeps both sides whole.
//!
//! Responsible for order: blobs, then the manifest over them, then the index over those, the name
//! last. Each manifest is a node; a node is put once everything below it is there. Methods return an
//! error to fail the task. Must not know how blobs move (`blobs`) nor requests (`op`).
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

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub(in crate::tasks) use self::children::embedded;
pub(in crate::tasks) use self::fetch::choose;
use self::fetch::load;
use crate::blobs::{Delivery, Doubt};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::manifest::Document;
use crate::op::{Operation, Outcome, Site};
use crate::reference::{Reference, Repository, Target};
use crate::scope::Scopes;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::task::{CopyTask, Foreign, Place, Platforms, TaskKind, Unlisted};
use crate::tasks::TaskPorts;
use crate::tasks::lists::ListKey;
use crate::tasks::referrers_list::ListChange;

/// One end of a copy.
#[derive(Clone, Debug)]
enum End {
    Registry {
        site: Site,
        reference: Reference,
    },
    Store {
        store: StoreId,
        name: Option<String>,
    },
}

impl End {
    fn new(place: Place, exchanges: &Exchanges, site: fn(&Exchanges, &Reference) -> Site) -> Self {
        match place {
            Place::Registry(reference) => Self::Registry {
                site: site(exchanges, &reference),
                reference,
            },
            Place::Store { store, name } => Self::Store { store, name },
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Registry { reference, .. } => Place::Registry(reference.clone()),
            Self::Store { store, name } => Place::Store {
                store: *store,
                name: name.clone(),
            },
        }
    }
}

/// A copy under way.
#[derive(Debug)]
pub(crate) struct CopyState {
    source: End,
    destination: End,
    platforms: Platforms,
    spool: Option<StoreId>,
    from: Option<Repository>,
    foreign: Foreign,
    /// What the source's name stands for, once that is known. It stays, even if the name moves.
    pinned: Option<Descriptor>,
    nodes: Vec<Node>,
    by_digest: BTreeMap<Digest, NodeId>,
    blobs: BTreeMap<Digest, Blob>,
    /// How often something was pushed again.
    round: u32,
    /// How many blobs are requested and not done.
    under_way: usize,
    /// Nodes with blobs that are not requested yet.
    unrequested: VecDeque<NodeId>,
    /// The scopes for blobs: clones share their memory.
    scopes: Scopes,
    /// Foreign layers that are not moved: type, digest and size.
    left_out: BTreeMap<Digest, Descriptor>,
    /// Bytes of the documents held.
    held: u64,
    /// Manifests that could not be listed at their subjects.
    unlisted: Vec<Unlisted>,
    counters: Counters,
}

/// How many blobs came to be at the destination in each way.
#[derive(Debug)]
struct Counters {
    moved: u64,
    bytes: u64,
    mounted: u64,
    present: u64,
}

impl Counters {
    /// Counts a blob. `before`: how it was counted before it had to be sent again.
    const fn count(&mut self, before: Option<Delivery>, now: Delivery) {
        match before {
            Some(Delivery::Mounted) => self.mounted -= 1,
            Some(Delivery::Present) => self.present -= 1,
            // It was sent, whatever the registry says of it later.
            Some(Delivery::Moved(_)) => self.moved -= 1,
            None => {}
        }
        match (before, now) {
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
struct Node {
    /// Known from the start for everything but a root that is named by a tag.
    descriptor: Option<Descriptor>,
    document: Option<Document>,
    parents: Vec<NodeId>,
    depth: usize,
    stage: Stage,
    /// Children that are not there yet: manifests and blobs.
    waiting: usize,
    /// How many of its children were requested, if they are blobs.
    requested: usize,
    /// Whether the destination has it with everything below.
    presence: Presence,
    /// What was done about children that the destination says are missing.
    repushed: Repushed,
    /// Check everything below again, whatever the destination said about it.
    force_check: bool,
    /// It stands for a blob that came with its descriptor, not for a manifest.
    embedded: Option<Digest>,
    /// Its way into the referrers list of its subject.
    listing: Option<ListChange>,
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
enum Presence {
    Unknown,
    Asking,
    No,
    /// It is there with everything below it, but perhaps without foreign layers.
    Yes,
    /// The same, and the tag stands for it.
    Tagged,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Repushed {
    Not,
    /// Everything below was checked again, and what the registry said it misses was sent.
    Once,
    /// Everything below that the registry said it has was sent.
    Sent,
    /// The same with layers that were left out only because they have `urls`: some registries demand
    /// them.
    WithUrls,
}

#[derive(Debug)]
struct Blob {
    /// Manifests that wait for it.
    nodes: Vec<NodeId>,
    done: bool,
    /// How it came to the destination.
    delivery: Option<Delivery>,
    /// The same before it had to be checked again.
    before: Option<Delivery>,
    doubt: Doubt,
    /// When it was requested: how often something was pushed again before.
    round: u32,
}

const ROOT: NodeId = NodeId(0);

impl CopyState {
    /// A copy of which only the caller's request is known.
    pub(in crate::tasks) fn new(copy: CopyTask, foreign: Foreign, exchanges: &Exchanges) -> Self {
        let mut state = Self {
            source: End::new(copy.source, exchanges, Exchanges::source),
            destination: End::new(copy.destination, exchanges, Exchanges::destination),
            platforms: copy.platforms,
            spool: copy.spool,
            from: copy.from,
            foreign,
            pinned: None,
            nodes: Vec::new(),
            by_digest: BTreeMap::new(),
            blobs: BTreeMap::new(),
            round: 0,
            under_way: 0,
            unrequested: VecDeque::new(),
            scopes: Scopes::default(),
            left_out: BTreeMap::new(),
            unlisted: Vec::new(),
            held: 0,
            counters: Counters::NONE,
        };
        state.scopes = match (&state.source, &state.destination) {
            (_, End::Registry { site, .. }) | (End::Registry { site, .. }, _) => {
                state.task_scopes(site)
            }
            (End::Store { .. }, End::Store { .. }) => Scopes::default(),
        };
        state
    }

    /// The copy as requested, and the content that its source was found to stand for.
    pub(in crate::tasks) fn requested(&self) -> (TaskKind, Foreign, Option<Descriptor>) {
        let copy = CopyTask {
            source: self.source.place(),
            destination: self.destination.place(),
            platforms: self.platforms.clone(),
            spool: self.spool,
            from: self.from.clone(),
        };
        (TaskKind::Copy(copy), self.foreign, self.pinned.clone())
    }

    /// Begins. `known` is the content that the source's name was found to stand for earlier.
    pub(in crate::tasks) fn begin(
        &mut self,
        known: Option<Descriptor>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if let End::Registry { reference, .. } = &self.source {
            ports.config().sources(reference)?;
        }
        if let End::Registry { reference, .. } = &self.destination {
            ports.config().destination(reference)?;
        }
        self.pinned = known;
        self.nodes.push(Node::new(self.pinned.clone(), 0));
        if self.pinned.is_some() {
            return self.obtain(ROOT, ports);
        }
        match &self.source {
            End::Store { store, name } => {
                let op = StoreOp::Find { name: name.clone() };
                self.nodes[ROOT.0].stage = Stage::Finding;
                ports.store(ROOT, *store, op);
            }
            End::Registry { site, reference } => {
                match (reference.target(), &self.destination) {
                    // The content of a digest may be in the store already; a tag has to be asked for.
                    (Target::Digest(digest), End::Store { store, .. }) => {
                        load(ROOT, *store, digest, ports);
                    }
                    (Target::Digest(_) | Target::Tag(_), _) => {
                        let (site, target) = (site.clone(), reference.target());
                        self.get(ROOT, site, target, None, ports);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the answer to a store operation of a node.
    pub(in crate::tasks) fn step_ended(
        &mut self,
        node: NodeId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let stage = self.nodes[node.0].stage;
        let answer = match answer {
            Ok(answer) => answer,
            // The configuration is only loaded for a warning.
            Err(_) if stage == Stage::Comparing => return self.write_name(ports),
            Err(error) => return Err(Error::Store(error)),
        };
        match (stage, answer) {
            (Stage::Finding, StoreAnswer::Found(descriptor)) => {
                self.nodes[node.0].descriptor = Some(descriptor);
                self.obtain(node, ports)
            }
            (Stage::Finding, StoreAnswer::Several(entries)) => self.choose_entry(&entries, ports),
            (Stage::Loading, StoreAnswer::Loaded(bytes)) => self.loaded(node, bytes, ports),
            (Stage::Loading, StoreAnswer::Absent) => self.not_loaded(node, ports),
            (Stage::Putting, StoreAnswer::Written) => self.put(node, ports),
            (Stage::Comparing, answer) => {
                if let StoreAnswer::Loaded(config) = answer {
                    self.compare(&config, ports);
                }
                self.write_name(ports)
            }
            (Stage::Naming, StoreAnswer::Written) => self.complete(ports),
            // The node, or one above it, was found at the destination meanwhile.
            (Stage::Done, _) => Ok(()),
            (
                Stage::Open | Stage::Putting | Stage::Listing,
                StoreAnswer::Loaded(_) | StoreAnswer::Absent,
            ) => Ok(()),
            (stage, answer) => {
                let answer = answer.name();
                let what = format!("the store answered {stage:?} with {answer}");
                Err(Error::Store(StoreError::new(StoreErrorKind::Io, what)))
            }
        }
    }

    /// Takes the result of an exchange of a node.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "outcomes of other operations are defects"
    )]
    pub(in crate::tasks) fn exchange_ended(
        &mut self,
        node: NodeId,
        result: Result<Outcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if self.nodes[node.0].stage == Stage::Listing {
            return self.listing_ended(node, result, ports);
        }
        match result? {
            Outcome::Document { document, .. } => self.got(node, *document, ports),
            Outcome::Found { digest, .. } => self.found(node, digest.as_ref(), ports),
            Outcome::Absent => self.absent(node, ports),
            Outcome::Put { listed: true } => self.put(node, ports),
            Outcome::Put { listed: false } => self.put_unlisted(node, ports),
            Outcome::Childless(error) => self.repush(node, error, ports),
            outcome => {
                let what = format!("a manifest's exchange ended in {outcome:?}");
                Err(Error::internal(&what))
            }
        }
    }

    /// A blob is at the destination, or cannot be had.
    pub(in crate::tasks) fn blob_settled(
        &mut self,
        digest: &Digest,
        result: Result<Delivery, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let delivery = match result {
            Ok(delivery) => delivery,
            Err(Error::Store(error)) if error.kind() == StoreErrorKind::Absent => {
                let what = format!("{error}, but {} needs it", self.image());
                let error = StoreError::new(StoreErrorKind::Absent, what);
                return Err(Error::Store(error));
            }
            Err(error) => return Err(error),
        };
        let blob = self.blobs.get_mut(digest);
        let blob =
            blob.ok_or_else(|| Error::internal("a blob came that the copy does not want"))?;
        blob.done = true;
        blob.delivery = Some(delivery);
        self.counters.count(blob.before, delivery);
        for node in core::mem::take(&mut blob.nodes) {
            self.child_done(node, ports)?;
        }
        self.request_more(ports)
    }

    /// The referrers lists that nodes are to be in.
    pub(in crate::tasks) fn lists(&self) -> impl Iterator<Item = (&ListKey, NodeId)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(n, node)| Some((&node.listing.as_ref()?.key, NodeId(n))))
    }

    fn exchange(&self, node: NodeId, site: Site, op: Operation, ports: &mut TaskPorts<'_>) {
        let scopes = self.task_scopes(&site);
        ports.exchange(node, site, op, scopes);
    }

    fn descriptor(&self, node: NodeId) -> Result<&Descriptor, Error> {
        let descriptor = self.nodes[node.0].descriptor.as_ref();
        descriptor.ok_or_else(|| Error::internal("a manifest has no descriptor yet"))
    }

    fn document(&self, node: NodeId) -> Result<&Document, Error> {
        let document = self.nodes[node.0].document.as_ref();
        document.ok_or_else(|| Error::internal("a manifest is not here"))
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

    /// The union of the scopes that the task needs at a registry. Every token request asks for all of
    /// them, so that one token serves the task (AUTH-65).
    fn task_scopes(&self, site: &Site) -> Scopes {
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
            requested: 0,
            presence: Presence::Unknown,
            repushed: Repushed::Not,
            force_check: false,
            embedded: None,
            listing: None,
        }
    }
}
