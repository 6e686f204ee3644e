//! Putting one manifest, under its digest or under tags.
//!
//! ```text
//!  loading, or getting ─▶ putting, perhaps in a certain one's place (`replacing`)
//!                            │
//!                            ├────────┬─ the registry lists no referrers ─▶ listing ─┐
//!                            ▲     └──────────────────────────────────────────────┤
//!                            └────────────── a tag is left ◀──────────────────────┴─▶ over
//! ```
//!
//! Responsible for which tags are put how: several at once where the registry takes that (PUSHM-09), else one
//! after the other. Must not know what the manifest refers to: that is at the registry, or the registry refuses
//! the manifest.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;

use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::exchanges::Exchanges;
use crate::header::is_media_type;
use crate::ids::NodeId;
use crate::manifest::media_type::is_manifest_type;
use crate::manifest::{Declared, Document};
use crate::op::{Condition, ManifestGet, ManifestPut, OpOutcome, Operation, Site};
use crate::reference::{Tag, Target};
use crate::referrers;
use crate::sanitize::escape;
use crate::scope::Scopes;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreOp};
use crate::task::{Put, PutSource, PutTask, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::lists::ListKey;
use crate::tasks::machine::TaskMachine;
use crate::tasks::referrers_list::{Change, ListChange, OneChange};
use crate::tasks::replacing::Replacing;

/// How many tags are put at once. A registry should take that many (PUSHM-09).
const BATCH: usize = 10;

const NODE: NodeId = NodeId(0);

/// A manifest that is being put.
#[derive(Debug)]
pub(crate) struct PutState {
    site: Site,
    task: PutTask,
    manifest: Option<Loaded>,
    /// Tags that do not refer to it yet.
    left: VecDeque<Tag>,
    /// Those that do.
    created: Vec<Tag>,
    /// The registry takes several tags at once, as far as is known.
    batches: bool,
    is_put: bool,
    /// Whether the registry said that it lists the manifest at its subject.
    was_listed: bool,
    listing: OneChange,
    /// What the first tag must stand for, until it is put.
    replacing: Option<Replacing>,
}

/// The manifest.
#[derive(Debug)]
struct Loaded {
    descriptor: Descriptor,
    bytes: alloc::sync::Arc<[u8]>,
    /// Its subject, and its entry in the list of that.
    about: Option<(Digest, Descriptor)>,
}

impl PutState {
    pub(super) fn new(task: PutTask, exchanges: &Exchanges) -> Self {
        let site = exchanges.destination(&task.destination);
        let mut left: VecDeque<Tag> = VecDeque::new();
        let own = task.destination.written_tag();
        let is_retag = matches!(task.source, PutSource::Repository(_));
        for tag in own.filter(|_| !is_retag).iter().chain(&task.tags) {
            if !left.contains(tag) {
                left.push_back(tag.clone());
            }
        }
        let first = left.front().filter(|_| !is_retag).cloned();
        let replaced = first.zip(task.replaces.clone());
        let replacing = replaced.map(|(tag, old)| Replacing::new(site.clone(), tag, old));
        Self {
            batches: exchanges.takes_tags(&site.origin),
            site,
            task,
            manifest: None,
            left,
            created: Vec::new(),
            is_put: false,
            was_listed: false,
            listing: OneChange::default(),
            replacing,
        }
    }
}

impl TaskMachine for PutState {
    fn requested(&self) -> TaskKind {
        TaskKind::Put(self.task.clone())
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.config().destination(&self.task.destination)?;
        let limit = ports.limits().document;
        match &self.task.source {
            PutSource::Store {
                store,
                digest,
                media_type,
            } => {
                if !is_media_type(media_type) {
                    let what = format!("`{}` is no media type", media_type.escape_debug());
                    return Err(Error::Policy { what });
                }
                let digest = digest.clone();
                ports.store(NODE, *store, StoreOp::Load { digest, limit });
            }
            PutSource::Repository(reference) => {
                let (site, target) = (self.site.clone(), reference.target());
                let op = ManifestGet::new(site, target, None, limit);
                self.exchange(Operation::ManifestGet(op), ports);
            }
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "outcomes of other operations are defects"
    )]
    fn exchange_ended(
        &mut self,
        _node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if self.listing.is_under_way() {
            return match self.listing.ended(result, ports)? {
                true => self.go_on(ports),
                false => Ok(()),
            };
        }
        if let Some(replacing) = &self.replacing
            && let Err(error) = &result
            && error.kind() == ErrorKind::NotFound
            && replacing.is_looking()
        {
            return Err(replacing.outdated(None, &self.manifest()?.descriptor.digest));
        }
        match result.map_err(|error| self.explained(error))? {
            OpOutcome::Document { document, etag } if self.manifest.is_some() => {
                self.looked(&document, etag, ports)
            }
            OpOutcome::Outdated => self.look(ports),
            OpOutcome::Document { document, .. } => {
                let (descriptor, bytes) = (document.descriptor(), document.bytes().clone());
                self.load(descriptor, bytes, Some(&document), ports)
            }
            OpOutcome::Put { listed } if self.replacing.is_some() => {
                self.was_listed = listed;
                self.look(ports)
            }
            OpOutcome::Put { listed } => {
                self.created.extend(self.left.pop_front());
                self.put(listed, ports)
            }
            OpOutcome::Tagged { listed, tags } => {
                self.tagged(tags.as_deref())?;
                self.put(listed, ports)
            }
            OpOutcome::Childless(error) => Err(self.explained(error)),
            outcome => {
                let what = format!("putting a manifest ended in {outcome:?}");
                Err(Error::internal(&what))
            }
        }
    }

    /// Takes the manifest from the store.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a store that has it loads it"
    )]
    fn step_ended(
        &mut self,
        _node: NodeId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let PutSource::Store {
            digest, media_type, ..
        } = &self.task.source
        else {
            return Err(Error::internal("a manifest of a registry is in a store"));
        };
        let bytes = match answer.map_err(Error::Store)? {
            StoreAnswer::Loaded(bytes) => bytes,
            answer => {
                let what = format!("manifest {digest} is not in the store: {}", answer.name());
                let error = StoreError::new(StoreErrorKind::Absent, what);
                return Err(Error::Store(error));
            }
        };
        if !digest.verifies(&bytes) {
            let found = Digest::of(Algorithm::Sha256, &bytes);
            return Err(Error::mismatch("manifest in the store", digest, &found));
        }
        let descriptor = Descriptor::new(media_type.clone(), digest.clone(), bytes.len() as u64);
        check_type(&bytes, media_type)?;
        let declared = Declared::Descriptor(media_type);
        let document = Document::parse_as(bytes.clone(), declared, digest);
        // Registries take manifests of other types, too; those have no subject that is known here.
        if let Err(error) = &document
            && is_manifest_type(media_type)
        {
            let what =
                format!("{error}, so that it is not known whether the manifest has a subject");
            ports.event(Event::Warning(what));
        }
        let document = document.ok();
        self.load(descriptor, bytes.into(), document.as_ref(), ports)
    }

    /// It is this manifest's turn to write the list, or the tag.
    fn read_list(&mut self, _node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if self.listing.is_under_way() {
            return self.listing.read(ports);
        }
        self.look(ports)
    }

    fn lists(&self) -> Vec<(&ListKey, NodeId)> {
        let replacing = self.replacing.iter().map(|it| (&it.key, NODE));
        replacing.chain(self.listing.lists()).collect()
    }
}

impl PutState {
    /// The manifest is here.
    fn load(
        &mut self,
        descriptor: Descriptor,
        bytes: alloc::sync::Arc<[u8]>,
        document: Option<&Document>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if let Some(digest) = self.task.destination.digest()
            && *digest != descriptor.digest
            && matches!(self.task.source, PutSource::Store { .. })
        {
            let what = format!("the manifest for `{}`", self.task.destination);
            return Err(Error::mismatch(what, digest, &descriptor.digest));
        }
        let about = document.and_then(|document| {
            let subject = referrers::subject(document)?;
            Some((subject.digest.clone(), referrers::entry(document)))
        });
        ports.event(Event::Resolved(descriptor.clone()));
        self.manifest = Some(Loaded {
            descriptor,
            bytes,
            about,
        });
        match &self.replacing {
            Some(replacing) => ports.lists.join(replacing.key.clone(), (ports.task, NODE)),
            None => return self.go_on(ports),
        }
        Ok(())
    }

    /// Looks at what is at the tag.
    fn look(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let scopes = self.scopes();
        let replacing = self.replacing.as_mut();
        let replacing = replacing.ok_or_else(|| Error::internal("no tag is being replaced"))?;
        replacing.look(NODE, scopes, ports);
        Ok(())
    }

    /// Takes what is at the tag: the manifest is put, or was.
    fn looked(
        &mut self,
        found: &Document,
        etag: Option<String>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let new = self.manifest()?.descriptor.digest.clone();
        let replacing = self.replacing.as_mut();
        let replacing = replacing.ok_or_else(|| Error::internal("no tag is being replaced"))?;
        if let Some(condition) = replacing.found(found, etag, &new)? {
            let target = Target::Tag(replacing.key.1.clone());
            return self.send(target, Vec::new(), condition, ports);
        }
        if let Some(Replacing { key, .. }) = self.replacing.take() {
            ports.lists.leave(&key, (ports.task, NODE));
        }
        self.created.extend(self.left.pop_front());
        self.put(self.was_listed, ports)
    }

    /// Sends the next request, or ends.
    fn go_on(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let manifest = self.manifest()?;
        let digest = manifest.descriptor.digest.clone();
        if self.is_put && self.left.is_empty() {
            ports.finish(TaskReport::Put(Put {
                descriptor: manifest.descriptor.clone(),
                tags: core::mem::take(&mut self.created),
                unlisted: self.listing.given_up.take(),
            }));
            return Ok(());
        }
        // PUSHM-11: what is put by a tag gets a sha256 digest.
        let needs_digest = digest.algorithm() != Some(Algorithm::Sha256);
        let (target, tags) = match self.left.front() {
            None => (Target::Digest(digest), Vec::new()),
            Some(_) if self.batches && (self.left.len() > 1 || needs_digest) => {
                let tags = self.left.iter().take(BATCH).cloned().collect();
                (Target::Digest(digest), tags)
            }
            Some(_) if needs_digest => {
                let what = format!(
                    "the registry takes no tags for a manifest by its digest, which {digest} needs"
                );
                return Err(Error::Policy { what });
            }
            Some(tag) => (Target::Tag(tag.clone()), Vec::new()),
        };
        self.send(target, tags, None, ports)
    }

    fn send(
        &self,
        target: Target,
        tags: Vec<Tag>,
        condition: Option<Condition>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let manifest = self.manifest()?;
        let op = ManifestPut {
            site: self.site.clone(),
            target,
            tags,
            tags_refused: false,
            descriptor: manifest.descriptor.clone(),
            bytes: manifest.bytes.clone(),
            subject: manifest.about.as_ref().map(|(subject, _)| subject.clone()),
            condition,
        };
        self.exchange(Operation::ManifestPut(op), ports);
        Ok(())
    }

    /// The registry took the manifest with several tags: those that it named exist. Those that it did not name
    /// are put one by one (PUSHM-10).
    fn tagged(&mut self, named: Option<&[String]>) -> Result<(), Error> {
        self.batches = named.is_some_and(|named| !named.is_empty());
        let named = named.unwrap_or_default();
        let batch = self.left.len().min(BATCH);
        let mut refused = VecDeque::new();
        for _ in 0..batch {
            let tag = self.left.pop_front();
            let tag = tag.ok_or_else(|| Error::internal("fewer tags than were put"))?;
            if named.iter().any(|named| named == tag.as_str()) {
                self.created.push(tag);
            } else {
                refused.push_back(tag);
            }
        }
        // One at a time from now on, or the same ones would be refused again.
        self.batches &= refused.is_empty();
        refused.append(&mut self.left);
        self.left = refused;
        Ok(())
    }

    fn put(&mut self, listed: bool, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let is_first = !core::mem::replace(&mut self.is_put, true);
        let manifest = self.manifest()?;
        let Descriptor { digest, size, .. } = manifest.descriptor.clone();
        let about = manifest.about.clone();
        if is_first {
            ports.event(Event::Stored { digest, size });
        }
        let Some((subject, entry)) = about.filter(|_| is_first && !listed) else {
            return self.go_on(ports);
        };
        let (change, scopes) = (Change::Add(alloc::vec![entry]), self.scopes());
        let listing = ListChange::new(self.site.clone(), subject, change, scopes);
        self.listing.join(listing, ports);
        Ok(())
    }

    /// The error, with the tags that were created before.
    fn explained(&self, error: Error) -> Error {
        let Some(tag) = self.left.front().filter(|_| self.manifest.is_some()) else {
            return error;
        };
        match self.created.len() {
            0 => error.about(&format!("tag {tag}")),
            created => error.about(&format!("tag {tag}, after {created} others")),
        }
    }

    fn exchange(&self, op: Operation, ports: &mut TaskPorts<'_>) {
        ports.exchange(NODE, self.site.clone(), op, self.scopes());
    }

    fn scopes(&self) -> Scopes {
        Scopes::push(&self.site.repository)
    }

    fn manifest(&self) -> Result<&Loaded, Error> {
        let manifest = self.manifest.as_ref();
        manifest.ok_or_else(|| Error::internal("a manifest is put before it is here"))
    }
}

/// PUSHM-02: a document that says its type is put as that.
fn check_type(bytes: &[u8], media_type: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "mediaType")]
        media_type: String,
    }
    match serde_json::from_slice::<Typed>(bytes) {
        Ok(own) if own.media_type != media_type => {
            let own = escape(&own.media_type, 200);
            let what = format!("the manifest says that its type is `{own}`, not `{media_type}`");
            Err(Error::Policy { what })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
