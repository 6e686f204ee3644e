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

mod carry;
mod children;
mod companion;
mod elsewhere;
mod exists;
mod fetch;
mod node;
mod push;
mod referrers_tag;
mod sparse;
mod tags;
mod tally;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use self::carry::Carrying;
pub(in crate::tasks) use self::children::embedded;
pub(in crate::tasks) use self::fetch::choose;
use self::fetch::load;
use self::node::{Blob, Node, NodePhase};
use self::sparse::Chosen;
use self::tags::MoreTags;
use self::tally::Tally;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::manifest::Document;
use crate::op::{OpOutcome, Operation, Site};
use crate::reference::{Reference, Tag, Target};
use crate::scope::Scopes;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::task::{
    Carry, CopyTask, Foreign, MountFrom, Platforms, ReadAt, TaskKind, TaskLocation, Unlisted,
};
use crate::tasks::TaskPorts;
use crate::tasks::lists::ListKey;
use crate::tasks::machine::{TaskMachine, unexpected};
use crate::totals::{Delivery, Totals};

/// One end of a copy.
#[derive(Clone, Debug)]
enum CopyLocation {
    Registry {
        site: Site,
        /// Where lists about it are read.
        lists: Site,
        reference: Reference,
    },
    Store {
        store: StoreId,
        name: Option<String>,
    },
}

impl CopyLocation {
    fn new(
        location: TaskLocation,
        exchanges: &Exchanges,
        site: impl FnOnce(&Reference) -> Site,
    ) -> Self {
        match location {
            TaskLocation::Registry(reference) => Self::Registry {
                site: site(&reference),
                lists: exchanges.lists(&reference),
                reference,
            },
            TaskLocation::Store { store, name } => Self::Store { store, name },
        }
    }

    fn location(&self) -> TaskLocation {
        match self {
            Self::Registry { reference, .. } => TaskLocation::Registry(reference.clone()),
            Self::Store { store, name } => TaskLocation::Store {
                store: *store,
                name: name.clone(),
            },
        }
    }
}

/// A copy under way.
#[derive(Debug)]
pub(crate) struct CopyState {
    source: CopyLocation,
    destination: CopyLocation,
    platforms: Platforms,
    spool: Option<StoreId>,
    mount_from: Arc<[MountFrom]>,
    /// Where blobs are had that a store lacks.
    missing_from: Option<(Reference, Site)>,
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
    /// What is copied of the root, if not all.
    chosen: Option<Chosen>,
    /// Foreign layers that are not moved: type, digest and size.
    left_out: BTreeMap<Digest, Descriptor>,
    /// Bytes of the documents held.
    held: u64,
    /// Manifests that could not be listed at their subjects.
    unlisted: Vec<Unlisted>,
    tally: Tally,
    carry: Carry,
    carrying: Carrying,
    more_tags: MoreTags,
}

const ROOT: NodeId = NodeId(0);

impl CopyState {
    /// A copy of which only the caller's request is known.
    pub(in crate::tasks) fn new(
        copy: CopyTask,
        (foreign, read_at): (Foreign, ReadAt),
        (missing_from, more_tags): (Option<Reference>, Vec<Tag>),
        exchanges: &Exchanges,
    ) -> Self {
        let source = |reference: &Reference| exchanges.source(reference, read_at);
        let destination = |reference: &Reference| exchanges.destination(reference);
        let own_tag = match &copy.destination {
            TaskLocation::Registry(reference) => reference.written_tag(),
            TaskLocation::Store { .. } => None,
        };
        let mut state = Self {
            source: CopyLocation::new(copy.source, exchanges, source),
            destination: CopyLocation::new(copy.destination, exchanges, destination),
            platforms: copy.platforms,
            spool: copy.spool,
            mount_from: copy.mount_from.into(),
            missing_from: missing_from.map(|from| {
                let site = source(&from);
                (from, site)
            }),
            foreign,
            pinned: None,
            nodes: Vec::new(),
            by_digest: BTreeMap::new(),
            blobs: BTreeMap::new(),
            round: 0,
            under_way: 0,
            unrequested: VecDeque::new(),
            scopes: Scopes::default(),
            chosen: None,
            left_out: BTreeMap::new(),
            unlisted: Vec::new(),
            held: 0,
            tally: Tally::default(),
            carry: copy.carry,
            carrying: Carrying::default(),
            more_tags: MoreTags::new(own_tag.as_ref(), more_tags),
        };
        state.scopes = match (&state.source, &state.destination) {
            (_, CopyLocation::Registry { site, .. }) | (CopyLocation::Registry { site, .. }, _) => {
                state.task_scopes(site)
            }
            (CopyLocation::Store { .. }, CopyLocation::Store { .. }) => Scopes::default(),
        };
        state
    }
}

impl TaskMachine for CopyState {
    fn requested(&self) -> TaskKind {
        TaskKind::Copy(CopyTask {
            source: self.source.location(),
            destination: self.destination.location(),
            platforms: self.platforms.clone(),
            spool: self.spool,
            mount_from: self.mount_from.to_vec(),
            carry: self.carry.clone(),
        })
    }

    fn foreign(&self) -> Foreign {
        self.foreign
    }

    fn more_tags(&self) -> Vec<Tag> {
        self.more_tags.requested.clone()
    }

    fn pinned(&self) -> Option<Descriptor> {
        self.pinned.clone()
    }

    fn totals(&self) -> Totals {
        self.tally.totals()
    }

    fn missing_from(&self) -> Option<Reference> {
        self.missing_from.as_ref().map(|(from, _)| from.clone())
    }

    fn pin(&mut self, root: Descriptor) {
        self.pinned = Some(root);
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if let CopyLocation::Registry { reference, .. } = &self.source {
            ports.check_source(reference)?;
            if self.carry.referrers {
                ports.config().lists(reference)?;
            }
        }
        if let CopyLocation::Registry { reference, .. } = &self.destination {
            ports.config().destination(reference)?;
        }
        if let Some((from, _)) = &self.missing_from {
            ports.check_source(from)?;
        }
        self.nodes.push(Node::new(self.pinned.clone(), 0));
        if self.pinned.is_some() {
            return self.obtain(ROOT, ports);
        }
        match &self.source {
            CopyLocation::Store { store, name } => {
                let op = StoreOp::Find { name: name.clone() };
                self.nodes[ROOT.0].phase = NodePhase::Finding;
                ports.store(ROOT, *store, op);
            }
            CopyLocation::Registry {
                site, reference, ..
            } => {
                match (reference.target(), &self.destination) {
                    // The content of a digest may be in the store already; a tag has to be asked for.
                    (Target::Digest(digest), CopyLocation::Store { store, .. }) => {
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

    fn step_ended(
        &mut self,
        node: NodeId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if self.nodes[node.0].companions.is_some() {
            return self.companions_stepped(node, answer, ports);
        }
        let stepped = self.stepped(node, answer, ports);
        self.isolate(node, stepped, ports)
    }

    fn exchange_ended(
        &mut self,
        node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let this = &self.nodes[node.0];
        if this.companions.as_ref().is_some_and(|it| it.is_reading()) {
            return self.list_read(node, result, ports);
        }
        if this.listing.is_some() {
            return self.listing_ended(node, result, ports);
        }
        if this.phase == NodePhase::Missed {
            return Ok(());
        }
        let result = result.map_err(|error| self.about_tags(node, error));
        let ended = result.and_then(|outcome| self.exchanged(node, outcome, ports));
        self.isolate(node, ended, ports)
    }

    fn blob_settled(
        &mut self,
        digest: &Digest,
        result: Result<Delivery, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let delivery = match result {
            Ok(delivery) => delivery,
            Err(error) => return self.blob_failed(digest, error, ports),
        };
        let blob = self.blobs.get_mut(digest);
        let blob =
            blob.ok_or_else(|| Error::internal("a blob came that the copy does not want"))?;
        blob.done = true;
        blob.delivery = Some(delivery);
        self.tally.settle(digest, blob.before, delivery);
        for node in core::mem::take(&mut blob.nodes) {
            let done = self.child_done(node, ports);
            self.isolate(node, done, ports)?;
        }
        self.request_more(ports)
    }

    fn read_list(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.listing(node)?.read(node, ports);
        Ok(())
    }

    fn lists(&self) -> Vec<(&ListKey, NodeId)> {
        let nodes = self.nodes.iter().enumerate();
        let lists = nodes.filter_map(|(n, node)| Some((&node.listing.as_ref()?.key, NodeId(n))));
        lists.collect()
    }
}

impl CopyState {
    fn stepped(
        &mut self,
        node: NodeId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let phase = self.nodes[node.0].phase;
        let answer = match answer {
            Ok(answer) => answer,
            // The configuration is only loaded for a warning.
            Err(_) if phase == NodePhase::Comparing => return self.write_name(ports),
            Err(error) => return Err(Error::Store(error)),
        };
        match (phase, answer) {
            (NodePhase::Finding, StoreAnswer::Found(descriptor)) => {
                self.nodes[node.0].descriptor = Some(descriptor);
                self.obtain(node, ports)
            }
            (NodePhase::Finding, StoreAnswer::Several(entries)) => {
                self.choose_entry(node, &entries, ports)
            }
            (NodePhase::Loading, StoreAnswer::Loaded(bytes)) => self.loaded(node, bytes, ports),
            (NodePhase::Loading, StoreAnswer::Absent) => self.not_loaded(node, ports),
            (NodePhase::Putting, StoreAnswer::Written) => self.put(node, ports),
            (NodePhase::Comparing, answer) => {
                if let StoreAnswer::Loaded(config) = answer {
                    self.compare(&config, ports);
                }
                self.write_name(ports)
            }
            (NodePhase::Naming, StoreAnswer::Written) if node == ROOT => self.complete(ports),
            (NodePhase::Naming, StoreAnswer::Written) => self.done(node, ports),
            // The node, or one above it, was found at the destination meanwhile, or was given up.
            (NodePhase::Done | NodePhase::Missed, _) => Ok(()),
            (
                NodePhase::Open | NodePhase::Putting | NodePhase::Listing,
                StoreAnswer::Loaded(_) | StoreAnswer::Absent,
            ) => Ok(()),
            (phase, answer) => {
                let answer = answer.name();
                let what = format!("the store answered {phase:?} with {answer}");
                Err(Error::Store(StoreError::new(StoreErrorKind::Io, what)))
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "outcomes of other operations are defects"
    )]
    fn exchanged(
        &mut self,
        node: NodeId,
        outcome: OpOutcome,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if node == ROOT && self.more_tags.are_under_way {
            return self.tags_put(outcome, ports);
        }
        match outcome {
            OpOutcome::Document { document, .. } => self.got(node, *document, ports),
            OpOutcome::Found { digest, .. } => self.found(node, digest.as_ref(), ports),
            OpOutcome::Absent => self.absent(node, ports),
            OpOutcome::Put { listed: true } => self.put(node, ports),
            OpOutcome::Put { listed: false } => self.put_unlisted(node, ports),
            OpOutcome::Childless(error) => self.repush(node, error, ports),
            _ => Err(unexpected("a manifest's exchange")),
        }
    }

    /// A blob cannot be had, so what needs it cannot be copied.
    fn blob_failed(
        &mut self,
        digest: &Digest,
        error: Error,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if self.take_from_elsewhere(digest, &error, ports) {
            return Ok(());
        }
        let blob = self.blobs.remove(digest);
        let before = blob.as_ref().and_then(|blob| blob.before);
        self.tally.give_up(digest, before);
        for node in blob.map(|blob| blob.nodes).unwrap_or_default() {
            let mut error = error.clone();
            if let Error::Store(missing) = &error
                && missing.kind() == StoreErrorKind::Absent
            {
                let what = format!("{missing}, but {} needs it", self.image_of(node));
                error = Error::Store(StoreError::new(StoreErrorKind::Absent, what));
            }
            self.isolate(node, Err(error), ports)?;
        }
        self.request_more(ports)
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

    /// What a node is a part of, for people: the image, or something that belongs to it.
    fn image_of(&self, node: NodeId) -> String {
        match &self.nodes[node.0].descriptor {
            Some(descriptor) if self.carries() => format!("manifest {}", descriptor.digest),
            Some(_) | None => self.image(),
        }
    }

    /// The image, for people.
    fn image(&self) -> String {
        let root = self.nodes.first().and_then(|root| root.descriptor.as_ref());
        let digest = root.map_or_else(String::new, |root| format!("{}", root.digest));
        match &self.source {
            CopyLocation::Store {
                name: Some(name), ..
            } => format!("image `{}` ({digest})", crate::sanitize::escape(name, 200)),
            CopyLocation::Store { name: None, .. } => format!("image {digest}"),
            CopyLocation::Registry { reference, .. } => format!("image `{reference}`"),
        }
    }

    /// The union of the scopes that the task needs at a registry. Every token request asks for all of
    /// them, so that one token serves the task (AUTH-65).
    fn task_scopes(&self, site: &Site) -> Scopes {
        let at = |end: &CopyLocation| match end {
            CopyLocation::Registry { site: other, .. } if other.origin == site.origin => {
                Some(other.repository.clone())
            }
            CopyLocation::Registry { .. } | CopyLocation::Store { .. } => None,
        };
        let mut scopes = Scopes::default();
        if let Some(to) = at(&self.destination) {
            scopes.merge(&Scopes::push(&to));
            for from in self.mount_from.iter().filter_map(MountFrom::repository) {
                scopes.merge(&Scopes::pull(from));
            }
            if let Some((_, from)) = &self.missing_from
                && from.origin == site.origin
            {
                scopes.merge(&Scopes::pull(&from.repository));
            }
        }
        if let Some(from) = at(&self.source) {
            scopes.merge(&Scopes::pull(&from));
        }
        scopes
    }
}

#[cfg(test)]
mod tests;
