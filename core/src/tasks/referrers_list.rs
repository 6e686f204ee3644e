//! Changing the list of a manifest's referrers, for registries that keep none themselves (RFR-02, RFR-10).
//!
//! ```text
//!  in line for the list ─▶ reading ─┬─ it is as it should be ──▶ over
//!                             ▲     └─ it is not ─┐
//!                             └──── writing ◀─────┘
//! ```
//!
//! Responsible for that loop: a list that was written is read again, because another client may have
//! replaced it meanwhile. Must not know what a list looks like (`referrers`), whose turn it is (`lists`), nor
//! what becomes of a task whose list could not be changed.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::ids::NodeId;
use crate::manifest::Document;
use crate::manifest::media_type::OCI_INDEX;
use crate::op::{Condition, ManifestGet, ManifestPut, Operation, Outcome, Site};
use crate::reference::Target;
use crate::referrers;
use crate::scope::Scopes;
use crate::task::Unlisted;
use crate::tasks::TaskPorts;
use crate::tasks::lists::ListKey;

/// How often a list is written for one manifest, if others replace it again and again.
const WRITES: u8 = 4;

/// A change of the list of what refers to a manifest.
#[derive(Debug)]
pub(super) struct ListChange {
    pub(super) key: ListKey,
    subject: Digest,
    change: Change,
    scopes: Scopes,
    writes: u8,
    step: Step,
    /// The condition under which it was written last.
    condition: Option<Condition>,
    /// The list as it was written last: if it is gone, it is written again with all that was in it.
    wrote: Option<Arc<[u8]>>,
    /// The registry refused a condition that was true.
    unconditional: bool,
}

/// What is changed.
#[derive(Debug)]
pub(super) enum Change {
    Add(Descriptor),
    Remove(Digest),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Reading,
    Writing,
}

/// How far a change is.
#[derive(Debug)]
pub(super) enum Changed {
    /// A request is under way.
    Going,
    /// The list is as it should be.
    Over,
    /// It is not. The task's observer was told.
    GivenUp(Unlisted),
}

impl ListChange {
    pub(super) fn new(site: Site, subject: Digest, change: Change, scopes: Scopes) -> Self {
        Self {
            key: (site, referrers::tag(&subject)),
            subject,
            change,
            scopes,
            writes: 0,
            step: Step::Reading,
            condition: None,
            wrote: None,
            unconditional: false,
        }
    }

    /// Reads the list: it is this manifest's turn, or it wrote the list.
    pub(super) fn read(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) {
        self.step = Step::Reading;
        let (site, tag) = self.key.clone();
        let limit = ports.limits().document;
        let op = ManifestGet {
            is_rewritten: true,
            ..ManifestGet::new(site.clone(), Target::Tag(tag), None, limit)
        };
        ports.exchange(node, site, Operation::ManifestGet(op), self.scopes.clone());
    }

    /// Takes the result of an exchange about the list.
    pub(super) fn ended(
        &mut self,
        node: NodeId,
        result: Result<Outcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<Changed, Error> {
        match (self.step, result) {
            (Step::Reading, Ok(Outcome::Document { document, etag })) => {
                Ok(self.was_read(node, Some(&document), etag, ports))
            }
            (Step::Reading, Err(error)) if error.kind() == ErrorKind::NotFound => {
                Ok(self.was_read(node, None, None, ports))
            }
            (Step::Writing, Ok(Outcome::Put { .. } | Outcome::Outdated)) => {
                self.read(node, ports);
                Ok(Changed::Going)
            }
            (_, Ok(Outcome::Childless(error)) | Err(error)) => {
                Ok(self.give_up(error.kind(), &format!("{error}"), ports))
            }
            (step, Ok(outcome)) => {
                let what = format!("{step:?} of a referrers list ended in {outcome:?}");
                Err(Error::internal(&what))
            }
        }
    }

    /// The list is here, or there is none yet.
    fn was_read(
        &mut self,
        node: NodeId,
        list: Option<&Document>,
        etag: Option<String>,
        ports: &mut TaskPorts<'_>,
    ) -> Changed {
        let listed = |digest| match list {
            // GitLab takes such a tag for the digest that it is made of: an index would be taken for the list.
            Some(list) if *list.digest() == self.subject => {
                Err("the tag is not an OCI index of referrers but the subject".into())
            }
            Some(list) => referrers::lists(list, digest),
            None => Ok(false),
        };
        let is_right = match &self.change {
            Change::Add(entry) => listed(&entry.digest),
            Change::Remove(digest) => listed(digest).map(|is_listed| !is_listed),
        };
        let bytes = match is_right {
            Ok(true) => return Changed::Over,
            Ok(false) if self.writes == WRITES => Err(format!(
                "others replaced the list {WRITES} times, or the registry does not keep it"
            )),
            Ok(false) => self.changed(list, ports.limits().document),
            Err(why) => Err(why),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(why) => return self.give_up(ErrorKind::Refused, &why, ports),
        };
        // A condition that was refused although nothing has changed is not understood.
        let condition = match list {
            Some(_) => etag.map(Condition::Unchanged),
            None => Some(Condition::Absent),
        };
        self.unconditional |= condition.is_some() && self.condition == condition;
        self.condition = condition.filter(|_| !self.unconditional);
        self.writes += 1;
        self.wrote = Some(bytes.clone());
        self.step = Step::Writing;
        self.write(node, bytes, ports);
        Changed::Going
    }

    /// The list with the change, as bytes.
    fn changed(&self, list: Option<&Document>, limit: u64) -> Result<Arc<[u8]>, String> {
        match (&self.change, &self.wrote, list) {
            (_, Some(wrote), None) => Ok(wrote.clone()),
            (Change::Add(entry), _, list) => referrers::with(list, entry, limit).map(Into::into),
            (Change::Remove(digest), _, Some(list)) => {
                referrers::without(list, digest).map(Into::into)
            }
            (Change::Remove(_), None, None) => Err("there is no list".into()),
        }
    }

    fn write(&self, node: NodeId, bytes: Arc<[u8]>, ports: &mut TaskPorts<'_>) {
        let (site, tag) = self.key.clone();
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let op = ManifestPut {
            site: site.clone(),
            target: Target::Tag(tag),
            tags: alloc::vec::Vec::new(),
            descriptor: Descriptor::new(OCI_INDEX, digest, bytes.len() as u64),
            bytes,
            subject: None,
            condition: self.condition.clone(),
        };
        ports.exchange(node, site, Operation::ManifestPut(op), self.scopes.clone());
    }

    /// Tells that the list is not as it should be.
    fn give_up(&self, kind: ErrorKind, why: &str, ports: &mut TaskPorts<'_>) -> Changed {
        let (digest, what) = match &self.change {
            Change::Add(entry) => (&entry.digest, "added to"),
            Change::Remove(digest) => (digest, "removed from"),
        };
        let (subject, tag) = (&self.subject, &self.key.1);
        ports.event(Event::Warning(format!(
            "{digest} could not be {what} the referrers of {subject} at the tag {tag}: {why}"
        )));
        Changed::GivenUp(Unlisted {
            digest: digest.clone(),
            subject: subject.clone(),
            kind,
            why: why.into(),
        })
    }
}
