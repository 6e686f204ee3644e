//! Copying an image: its manifests and what they point to, in the order that keeps both sides whole.
//!
//! Responsible for order: blobs, then the manifest over them, then the index over those, the name
//! last. Each manifest is a node; a node is put once everything below it is there. Must not know
//! how blobs move (`work`) nor requests (`op`).
//!
//! ```text
//!  root:  Finding ─▶ Loading ─▶ Asking ─┬─ the name stands for it ─────────────▶ over
//!                                       └─▶ Open (children under way) ─▶ Putting ─▶ Naming ─▶ over
//!  child:            Loading ─▶ Open ─┬─▶ Putting ─▶ Done
//!                                     └─ it is there with everything below ─▶ Done
//! ```

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, NotFound, Said};
use crate::event::{Event, Why};
use crate::manifest::media_type::{OCI_ARTIFACT, OCI_MANIFEST, is_manifest_type};
use crate::manifest::{Content, Declared, Document, DocumentError};
use crate::op::{ManifestGet, ManifestHead, ManifestPut, Operation, Outcome, Site};
use crate::platform::{self, Platform};
use crate::reference::{Reference, Repository, Target};
use crate::scope::Scopes;
use crate::session::Session;
use crate::store::{StoreAnswer, StoreError, StoreId, StoreOp};
use crate::task::{Failure, Platforms, Report, TaskId};
use crate::time::Time;
use crate::wire::ExchangeId;
use crate::work::{How, NodeId, Owner, Source, Waiter, WorkKey};

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
pub(crate) struct Copying {
    pub(crate) source: End,
    /// `None`: only find out what the source's reference stands for.
    pub(crate) destination: Option<End>,
    pub(crate) platforms: Platforms,
    pub(crate) spool: Option<StoreId>,
    pub(crate) from: Vec<Repository>,
    pub(crate) deadline: Option<Time>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) by_digest: BTreeMap<Digest, NodeId>,
    pub(crate) blobs: BTreeMap<Digest, Blob>,
    /// Bytes of the documents held.
    pub(crate) held: u64,
    pub(crate) report: Tally,
    pub(crate) exchanges: BTreeSet<ExchangeId>,
    pub(crate) steps: usize,
    pub(crate) ending: Option<Result<Report, Failure>>,
}

#[derive(Debug)]
pub(crate) struct Tally {
    moved: u64,
    bytes: u64,
    mounted: u64,
    present: u64,
}

impl Tally {
    pub(crate) const NONE: Self = Self {
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
    /// It was refused for missing children once, and everything below was asked for anew.
    healed: bool,
    /// Do not believe that anything below is there.
    distrust: bool,
    /// It stands for a blob that came with its descriptor, not for a manifest.
    embedded: Option<Digest>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Finding,
    Loading,
    Asking,
    Open,
    Putting,
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
    Yes,
}

#[derive(Debug)]
pub(crate) struct Blob {
    /// Manifests that wait for it.
    nodes: Vec<NodeId>,
    done: bool,
}

const ROOT: NodeId = NodeId(0);

impl Session {
    /// Begins a copy, or the look-up of a reference.
    pub(crate) fn begin_copy(&mut self, task: TaskId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        copying.nodes.push(Node::new(None, 0));
        match copying.source.clone() {
            End::Store { store, name } => {
                copying.nodes[ROOT.0].stage = Stage::Finding;
                self.node_step(task, ROOT, store, StoreOp::Find { name });
            }
            End::Registry { site, reference } if copying.destination.is_none() => {
                copying.nodes[ROOT.0].stage = Stage::Asking;
                let op = ManifestHead {
                    site: site.clone(),
                    target: reference.target(),
                };
                self.node_exchange(task, ROOT, site, Operation::ManifestHead(op));
            }
            End::Registry { reference, .. } => {
                copying.nodes[ROOT.0].stage = Stage::Loading;
                match (reference.target(), &copying.destination) {
                    // What a digest names may be here already; a tag has to be asked about.
                    (Target::Digest(digest), Some(End::Store { store, .. })) => {
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
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        copying.steps -= 1;
        if copying.ending.is_some() {
            return;
        }
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
            (Stage::Open | Stage::Putting, StoreAnswer::Loaded(_) | StoreAnswer::Absent) => {}
            (stage, answer) => {
                let answer = answer.name();
                let what = format!("the store answered {stage:?} with {answer}");
                let error = StoreError::new(crate::store::StoreErrorKind::Io, what);
                self.fail(task, Error::Store(error));
            }
        }
    }

    /// Takes the outcome of an exchange that a node began.
    pub(crate) fn node_settled(
        &mut self,
        task: TaskId,
        node: NodeId,
        result: Option<Result<Outcome, Error>>,
    ) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        if copying.ending.is_some() {
            return;
        }
        let outcome = match result {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => return self.fail(task, error),
            None => unreachable!("only the moving of blobs is lost"),
        };
        match outcome {
            Outcome::Document(document) => self.got(task, node, *document),
            Outcome::Found {
                digest,
                size,
                media_type,
            } => {
                self.found(task, node, digest, size, media_type);
            }
            Outcome::Absent => self.absent(task, node),
            Outcome::Put => self.put(task, node),
            Outcome::Childless(error) => self.heal(task, node, error),
            Outcome::Fetched { .. }
            | Outcome::Present
            | Outcome::Mounted
            | Outcome::Opened(_)
            | Outcome::Sent
            | Outcome::Granted(_) => unreachable!("no manifest asks for this"),
        }
    }

    /// A blob is there, or cannot be had.
    pub(crate) fn blob_settled(
        &mut self,
        task: TaskId,
        digest: &Digest,
        result: Result<How, Error>,
    ) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        if copying.ending.is_some() {
            return;
        }
        let how = match result {
            Ok(how) => how,
            Err(error) => return self.fail(task, error),
        };
        let Some(blob) = copying.blobs.get_mut(digest) else {
            return;
        };
        blob.done = true;
        match how {
            How::Moved(bytes) => {
                copying.report.moved += 1;
                copying.report.bytes += bytes;
            }
            How::Mounted => copying.report.mounted += 1,
            How::Present => copying.report.present += 1,
        }
        for node in core::mem::take(&mut blob.nodes) {
            self.child_done(task, node);
        }
    }

    /// Fetches a document into memory from wherever the source is.
    fn obtain(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        copying.nodes[node.0].stage = Stage::Loading;
        let Some(descriptor) = copying.nodes[node.0].descriptor.clone() else {
            return;
        };
        match (&copying.source, &copying.destination) {
            (End::Store { store, .. }, _)
            | (End::Registry { .. }, Some(End::Store { store, .. })) => {
                let store = *store;
                self.load(task, node, store, descriptor.digest);
            }
            (End::Registry { site, .. }, _) => {
                let site = site.clone();
                self.get(task, node, site, descriptor);
            }
        }
    }

    fn load(&mut self, task: TaskId, node: NodeId, store: StoreId, digest: Digest) {
        let limit = self.limits().document;
        self.node_step(task, node, store, StoreOp::Load { digest, limit });
    }

    fn get_root(&mut self, task: TaskId) {
        let limit = self.limits().document;
        let Some(copying) = self.tasks.get(&task) else {
            return;
        };
        let End::Registry { site, reference } = copying.source.clone() else {
            return;
        };
        let op = ManifestGet::new(site.clone(), reference.target(), None, limit);
        self.node_exchange(task, ROOT, site, Operation::ManifestGet(op));
    }

    fn get(&mut self, task: TaskId, node: NodeId, site: Site, descriptor: Descriptor) {
        let limit = self.limits().document;
        let target = Target::Digest(descriptor.digest.clone());
        let op = ManifestGet::new(site.clone(), target, Some(descriptor), limit);
        self.node_exchange(task, node, site, Operation::ManifestGet(op));
    }

    /// The store has not got the document: ask the registry, or give up.
    fn not_loaded(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get(&task) else {
            return;
        };
        let descriptor = copying.nodes[node.0].descriptor.clone();
        match (&copying.source, descriptor) {
            (End::Registry { .. }, None) => self.get_root(task),
            (End::Registry { site, .. }, Some(descriptor)) => {
                let site = site.clone();
                self.get(task, node, site, descriptor);
            }
            (End::Store { .. }, descriptor) => {
                let digest = descriptor
                    .map(|d| format!("{}", d.digest))
                    .unwrap_or_default();
                let what = format!("manifest {digest} is not in the layout");
                let kind = crate::store::StoreErrorKind::Absent;
                self.fail(task, Error::Store(StoreError::new(kind, what)));
            }
        }
    }

    /// A document came out of a store: it is what its name says, or worth nothing.
    fn loaded(&mut self, task: TaskId, node: NodeId, bytes: Vec<u8>) {
        let Some(copying) = self.tasks.get(&task) else {
            return;
        };
        let from_source = matches!(copying.source, End::Store { .. });
        let parsed = match &copying.nodes[node.0].descriptor {
            Some(descriptor) => {
                let declared = Declared::Descriptor(&descriptor.media_type);
                Document::parse_as(bytes, declared, &descriptor.digest)
            }
            None => {
                let End::Registry { reference, .. } = &copying.source else {
                    return;
                };
                let Target::Digest(digest) = reference.target() else {
                    return;
                };
                Document::parse_as(bytes, Declared::ContentType(None), &digest)
            }
        };
        match parsed {
            Ok(document) => self.got(task, node, document),
            // A damaged copy at the destination is as good as none.
            Err(_) if !from_source => self.not_loaded(task, node),
            Err(DocumentError::Digest { expected, found }) => {
                let what = "manifest in the layout".into();
                let (expected, found) = (format!("{expected}"), format!("{found}"));
                self.fail(
                    task,
                    Error::Mismatch {
                        what,
                        expected,
                        found,
                    },
                );
            }
            Err(error) => {
                let what = format!("manifest in the layout: {error}");
                self.fail(task, Error::Policy { what });
            }
        }
    }

    /// A document is here, verified.
    fn got(&mut self, task: TaskId, node: NodeId, document: Document) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        if copying.destination.is_none() {
            return self.resolved(task, document.descriptor());
        }
        if node == ROOT && copying.by_digest.is_empty() {
            if let (Platforms::One(wanted), Content::Index(index)) =
                (&copying.platforms, document.content())
            {
                return match choose(wanted, &index.manifests) {
                    Ok(chosen) => {
                        let root = &mut copying.nodes[ROOT.0];
                        root.descriptor = Some(chosen);
                        root.depth += 1;
                        if root.depth > self.config.limits.depth {
                            let what = "indexes are nested too deeply".into();
                            return self.fail(task, Error::Policy { what });
                        }
                        self.obtain(task, ROOT);
                    }
                    Err(error) => self.fail(task, error),
                };
            }
            if let Err(error) = self.check_destination(task, &document) {
                return self.fail(task, error);
            }
            let Some(copying) = self.tasks.get_mut(&task) else {
                return;
            };
            let mut descriptor = document.descriptor();
            if let Some(known) = copying.nodes[ROOT.0].descriptor.take() {
                descriptor.platform = known.platform;
            }
            copying.by_digest.insert(descriptor.digest.clone(), ROOT);
            copying.nodes[ROOT.0].descriptor = Some(descriptor.clone());
            self.event(task, Event::Resolved(descriptor));
        }
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        copying.held += document.bytes().len() as u64;
        if copying.held > self.config.limits.documents {
            let what = "the manifests of this image are too large to be held together".into();
            return self.fail(task, Error::Policy { what });
        }
        copying.nodes[node.0].document = Some(document);
        self.open(task, node);
    }

    /// A destination that names a digest must be given exactly that.
    fn check_destination(&self, task: TaskId, document: &Document) -> Result<(), Error> {
        let Some(Some(End::Registry { reference, .. })) =
            self.tasks.get(&task).map(|copying| &copying.destination)
        else {
            return Ok(());
        };
        match reference.digest() {
            Some(digest) if digest != document.digest() => Err(Error::Policy {
                what: format!(
                    "the destination names {digest}, but what would be pushed is {}",
                    document.digest()
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Begins with a node whose document is here.
    fn open(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        copying.nodes[node.0].stage = Stage::Open;
        let Some(End::Registry { site, reference }) = copying.destination.clone() else {
            return self.children(task, node);
        };
        let this = &mut copying.nodes[node.0];
        let target = match (&this.descriptor, reference.digest(), reference.target()) {
            // The tag first: it is the probe for authentication, and if it stands for this already
            // there is nothing to do (design §5).
            (_, None, target) if node == ROOT && !this.distrust => {
                this.stage = Stage::Asking;
                target
            }
            (Some(descriptor), _, _) if !this.distrust && this.there == There::Unknown => {
                this.there = There::Asking;
                Target::Digest(descriptor.digest.clone())
            }
            _ => return self.children(task, node),
        };
        let waits = this.stage == Stage::Asking;
        let op = ManifestHead {
            site: site.clone(),
            target,
        };
        self.node_exchange(task, node, site, Operation::ManifestHead(op));
        if !waits {
            self.children(task, node);
        }
    }

    /// HEAD found something.
    fn found(
        &mut self,
        task: TaskId,
        node: NodeId,
        digest: Option<Digest>,
        size: Option<u64>,
        media_type: Option<String>,
    ) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        if copying.destination.is_none() {
            let (Some(digest), Some(size)) = (digest, size) else {
                // Older registries do not say it in a HEAD (PULLM-12): compute it.
                return self.get_root(task);
            };
            if let Some(error) = self.contradicts(task, &digest) {
                return self.fail(task, error);
            }
            let media_type = media_type.unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default().trim();
            return self.resolved(task, Descriptor::new(media_type, digest, size));
        }
        let this = &mut copying.nodes[node.0];
        let ours = this
            .descriptor
            .as_ref()
            .map(|descriptor| &descriptor.digest);
        match this.stage {
            Stage::Asking if ours == digest.as_ref() => {
                self.skipped(task, node);
                self.complete(task);
            }
            Stage::Asking => self.ask_by_digest(task, node),
            // A child that is fetched only if it is not there.
            Stage::Loading if this.there == There::Asking => {
                this.there = There::Yes;
                self.skipped(task, node);
                self.done(task, node);
            }
            Stage::Open | Stage::Putting => {
                this.there = There::Yes;
                self.stop_children(task, node);
                self.skipped(task, node);
                let names = self.destination_tag(task);
                if node == ROOT && names.is_none() {
                    // It was asked for by its digest, and that is all its name.
                    return self.complete(task);
                }
                if node == ROOT {
                    self.put_node(task, node)
                } else {
                    self.done(task, node)
                }
            }
            Stage::Finding | Stage::Loading | Stage::Comparing | Stage::Naming | Stage::Done => {}
        }
    }

    /// What a reference's own digest has to say about the one that a registry claims (PULLM-10).
    fn contradicts(&self, task: TaskId, found: &Digest) -> Option<Error> {
        let End::Registry { reference, .. } = &self.tasks.get(&task)?.source else {
            return None;
        };
        let expected = reference
            .digest()
            .filter(|digest| digest.algorithm() == found.algorithm())?;
        (expected != found).then(|| Error::Mismatch {
            what: format!("what the registry says of `{reference}`"),
            expected: format!("{expected}"),
            found: format!("{found}"),
        })
    }

    /// The tag under which the root is to be found at the destination, if that is a registry's tag.
    fn destination_tag(&self, task: TaskId) -> Option<Target> {
        match &self.tasks.get(&task)?.destination {
            Some(End::Registry { reference, .. }) => match (reference.tag(), reference.target()) {
                (Some(tag), _) => Some(Target::Tag(tag.clone())),
                (None, Target::Tag(latest)) => Some(Target::Tag(latest)),
                (None, Target::Digest(_)) => None,
            },
            Some(End::Store { .. }) | None => None,
        }
    }

    /// HEAD found nothing.
    fn absent(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        if copying.destination.is_none() {
            // The answer to a HEAD does not say why (HTTP-22).
            return self.get_root(task);
        }
        let this = &mut copying.nodes[node.0];
        match this.stage {
            Stage::Asking => self.ask_by_digest(task, node),
            Stage::Loading if this.there == There::Asking => {
                this.there = There::No;
                self.obtain(task, node);
            }
            Stage::Open => {
                this.there = There::No;
                self.try_put(task, node);
            }
            Stage::Finding
            | Stage::Loading
            | Stage::Putting
            | Stage::Comparing
            | Stage::Naming
            | Stage::Done => {}
        }
    }

    /// The tag stands for something else, or for nothing: is the manifest there under its digest?
    fn ask_by_digest(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let Some(End::Registry { site, .. }) = copying.destination.clone() else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        this.stage = Stage::Open;
        this.there = There::Asking;
        let Some(descriptor) = &this.descriptor else {
            return;
        };
        let target = Target::Digest(descriptor.digest.clone());
        let op = ManifestHead {
            site: site.clone(),
            target,
        };
        self.node_exchange(task, node, site, Operation::ManifestHead(op));
        self.children(task, node);
    }

    /// Begins with everything a node points to.
    fn children(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get(&task) else {
            return;
        };
        let this = &copying.nodes[node.0];
        let (depth, distrust) = (this.depth, this.distrust);
        let Some(document) = &this.document else {
            return;
        };
        let (manifests, blobs) = document.children();
        if depth >= self.config.limits.depth && !manifests.is_empty() {
            let what = "indexes are nested too deeply".into();
            return self.fail(task, Error::Policy { what });
        }
        let objects = copying.nodes.len() + copying.blobs.len() + manifests.len() + blobs.len();
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
        let to_registry = matches!(copying.destination, Some(End::Registry { .. }));
        if to_registry && descriptor.is_nondistributable() {
            let why = Why::Nondistributable;
            return self.event(task, Event::Skipped { digest, size, why });
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
            mount: copying.from.first().cloned(),
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

    fn child_done(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        this.waiting = this.waiting.saturating_sub(1);
        self.try_put(task, node);
    }

    /// Puts a node if everything below it is there and it is known not to be there itself.
    fn try_put(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get(&task) else {
            return;
        };
        let this = &copying.nodes[node.0];
        let undecided = this.there == There::Asking;
        if copying.ending.is_none() && this.stage == Stage::Open && this.waiting == 0 && !undecided
        {
            self.put_node(task, node);
        }
    }

    fn put_node(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        this.stage = Stage::Putting;
        let (Some(document), Some(descriptor)) = (&this.document, &this.descriptor) else {
            return;
        };
        let (bytes, digest) = (document.bytes().clone(), document.digest().clone());
        let descriptor = Descriptor::new(document.media_type(), digest, descriptor.size);
        match copying.destination.clone() {
            Some(End::Store { store, .. }) => {
                let op = StoreOp::Put {
                    digest: descriptor.digest,
                    bytes,
                };
                self.node_step(task, node, store, op);
            }
            Some(End::Registry { site, reference }) => {
                let target = match reference.tag() {
                    Some(tag) if node == ROOT => Target::Tag(tag.clone()),
                    None if node == ROOT && reference.digest().is_none() => reference.target(),
                    Some(_) | None => Target::Digest(descriptor.digest.clone()),
                };
                let op = ManifestPut {
                    site: site.clone(),
                    target,
                    descriptor,
                    bytes,
                };
                self.node_exchange(task, node, site, Operation::ManifestPut(op));
            }
            None => {}
        }
    }

    /// A node was put.
    fn put(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        if let Some(digest) = this.embedded.take() {
            this.stage = Stage::Done;
            return self.blob_settled(task, &digest, Ok(How::Present));
        }
        if let Some(descriptor) = &this.descriptor {
            let (digest, size) = (descriptor.digest.clone(), descriptor.size);
            self.event(task, Event::Stored { digest, size });
        }
        if node != ROOT {
            return self.done(task, node);
        }
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let Some(End::Store { store, .. }) = copying.destination else {
            return self.complete(task);
        };
        let config = match (&copying.platforms, &copying.nodes[ROOT.0].document) {
            (Platforms::One(_), Some(document)) => document.config(),
            (Platforms::One(_) | Platforms::All, _) => None,
        };
        match config {
            Some(config) => {
                copying.nodes[ROOT.0].stage = Stage::Comparing;
                self.load(task, ROOT, store, config.digest);
            }
            None => self.name(task),
        }
    }

    /// IDX-15: an image of another platform than the one wanted is taken, with a word about it.
    fn compare(&mut self, task: TaskId, config: &[u8]) {
        let Some(copying) = self.tasks.get(&task) else {
            return;
        };
        let Platforms::One(wanted) = &copying.platforms else {
            return;
        };
        let Ok(is) = serde_json::from_slice::<Platform>(config) else {
            return;
        };
        if is.os.is_empty() || is.architecture.is_empty() || runs(wanted, &is) {
            return;
        }
        let warning = format!("the image is for {is}, not for {wanted}");
        self.event(task, Event::Warning(crate::header::escape(&warning, 200)));
    }

    /// The name last: a kill at any instant leaves nothing named that is not whole.
    fn name(&mut self, task: TaskId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let Some(End::Store { store, name }) = copying.destination.clone() else {
            return;
        };
        copying.nodes[ROOT.0].stage = Stage::Naming;
        let Some(descriptor) = copying.nodes[ROOT.0].descriptor.clone() else {
            return;
        };
        self.node_step(task, ROOT, store, StoreOp::Tag { name, descriptor });
    }

    fn done(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        this.stage = Stage::Done;
        if let Some(document) = this.document.take() {
            copying.held = copying.held.saturating_sub(document.bytes().len() as u64);
        }
        let parents = core::mem::take(&mut copying.nodes[node.0].parents);
        for parent in parents {
            self.child_done(task, parent);
        }
    }

    fn skipped(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get(&task) else {
            return;
        };
        if let Some(descriptor) = &copying.nodes[node.0].descriptor {
            let (digest, size) = (descriptor.digest.clone(), descriptor.size);
            self.event(
                task,
                Event::Skipped {
                    digest,
                    size,
                    why: Why::Present,
                },
            );
        }
    }

    /// The destination has this node and so all below it: what was begun below stops.
    fn stop_children(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        copying.nodes[node.0].waiting = 0;
        let mut unwanted = Vec::new();
        for (digest, blob) in &mut copying.blobs {
            let before = blob.nodes.len();
            blob.nodes.retain(|other| *other != node);
            if blob.nodes.is_empty() && before > 0 && !blob.done {
                unwanted.push(digest.clone());
            }
        }
        for digest in &unwanted {
            copying.blobs.remove(digest);
        }
        let orphans: Vec<NodeId> = (0..copying.nodes.len())
            .map(NodeId)
            .filter(|id| copying.nodes[id.0].parents == [node])
            .collect();
        if let Some(End::Registry { site, .. }) = copying.destination.clone() {
            for digest in unwanted {
                self.unwant(&WorkKey::To(site.clone(), digest), task);
            }
        }
        for orphan in orphans {
            self.stop_children(task, orphan);
            let Some(copying) = self.tasks.get_mut(&task) else {
                return;
            };
            let child = &mut copying.nodes[orphan.0];
            child.there = There::Unknown;
            child.parents.clear();
            child.stage = Stage::Done;
            let owner = Owner::Node(task, orphan);
            for id in self.wire.owned_by(&owner) {
                self.wire.abandon(id);
            }
        }
    }

    /// The registry misses something below: everything below is asked for anew, once.
    fn heal(&mut self, task: TaskId, node: NodeId, error: Error) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        if this.healed {
            return self.fail(task, error);
        }
        this.healed = true;
        this.distrust = true;
        this.there = There::No;
        this.stage = Stage::Open;
        self.event(
            task,
            Event::Warning(format!("{error}; sending what is missing")),
        );
        self.children(task, node);
    }

    fn resolved(&mut self, task: TaskId, descriptor: Descriptor) {
        if let Some(copying) = self.tasks.get_mut(&task) {
            copying.nodes[ROOT.0].descriptor = Some(descriptor.clone());
        }
        self.event(task, Event::Resolved(descriptor));
        self.complete(task);
    }

    fn complete(&mut self, task: TaskId) {
        let Some(copying) = self.tasks.get_mut(&task) else {
            return;
        };
        let Some(root) = copying.nodes[ROOT.0].descriptor.clone() else {
            return;
        };
        copying.nodes[ROOT.0].stage = Stage::Done;
        let Tally {
            moved,
            bytes,
            mounted,
            present,
        } = copying.report;
        copying.ending = Some(Ok(Report {
            root,
            moved,
            bytes,
            mounted,
            present,
        }));
    }

    fn node_step(&mut self, task: TaskId, node: NodeId, store: StoreId, op: StoreOp) {
        if let Some(copying) = self.tasks.get_mut(&task) {
            copying.steps += 1;
        }
        self.step(Owner::Node(task, node), store, op);
    }

    fn node_exchange(&mut self, task: TaskId, node: NodeId, site: Site, op: Operation) {
        let Some(copying) = self.tasks.get(&task) else {
            return;
        };
        let wish = copying.wish(&site);
        let id = self
            .wire
            .begin(Owner::Node(task, node), task, site, op, wish);
        if let Some(copying) = self.tasks.get_mut(&task) {
            copying.exchanges.insert(id);
        }
    }
}

impl Copying {
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
        if let Some(to) = self.destination.as_ref().and_then(at) {
            scopes.merge(&Scopes::push(&to));
            for from in self.from.iter().take(1) {
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
            healed: false,
            distrust: false,
            embedded: None,
        }
    }
}

impl Document {
    /// What the document points to: manifests, and everything else.
    fn children(&self) -> (Vec<Descriptor>, Vec<Descriptor>) {
        match self.content() {
            Content::Image(image) => {
                let config = core::iter::once(&image.config);
                (Vec::new(), config.chain(&image.layers).cloned().collect())
            }
            Content::Artifact(artifact) => (Vec::new(), artifact.blobs.clone()),
            Content::Index(index) => index.manifests.iter().cloned().partition(|entry| {
                is_manifest_type(&entry.media_type) || entry.media_type == OCI_ARTIFACT
            }),
        }
    }

    fn config(&self) -> Option<Descriptor> {
        match self.content() {
            Content::Image(image) => Some(image.config.clone()),
            Content::Index(_) | Content::Artifact(_) => None,
        }
    }
}

/// The image for a platform, or an error that lists what there is (IDX-17).
fn choose(wanted: &Platform, entries: &[Descriptor]) -> Result<Descriptor, Error> {
    match platform::choose(wanted, entries) {
        Ok(chosen) => Ok(chosen.clone()),
        Err(error) => Err(Error::NotFound(NotFound {
            what: format!("an image for {wanted}"),
            said: Said::default(),
            hint: Some(format!("{error}")),
        })),
    }
}

/// Whether an image for `is` runs where `wanted` is wanted.
fn runs(wanted: &Platform, is: &Platform) -> bool {
    let digest = Digest::of(crate::digest::Algorithm::Sha256, &[]);
    let mut entry = Descriptor::new(OCI_MANIFEST, digest, 0);
    entry.platform = Some(is.clone());
    !platform::order(wanted, &[entry]).is_empty()
}

/// The content of a descriptor that brings it along, if it is what it says; or that is known.
fn embedded(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let known = (descriptor.size == 2).then(|| b"{}".to_vec());
    let candidates = [descriptor.data.clone(), known];
    candidates
        .into_iter()
        .flatten()
        .find(|data| data.len() as u64 == descriptor.size && descriptor.digest.verifies(data))
}
