//! Changing the list of a manifest's referrers, for registries that keep none themselves (RFR-02, RFR-10).
//!
//! ```text
//!  in line for the list ─▶ reading ─┬─ it is as it should be ──▶ over
//!            ▲               ▲ ▲    └─ it is not ─┐                ▲
//!            │               │ └─ it has changed ─┤                │
//!            │               └─ checking ◀─ entries are gone       │
//!            └── some time later ───────── writing ┴─ unchanged ───┘
//! ```
//!
//! Responsible for that loop. A registry that looks at conditions refuses a list that another client has changed since
//! it was read; whether it does is found out with the first list that is written there, by a condition that nothing
//! meets: so it costs such a registry one refusal, and others nothing. At those a list that was written is read
//! again later, because another client that had read it before may have replaced it. A registry may refuse a list that
//! names manifests it does not have: what others deleted, and did not remove from the list, is then looked for, and
//! left out. Must not know what a list looks like (`referrers`), whose turn it is (`lists`), nor what becomes of a task
//! whose list could not be changed.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::ids::NodeId;
use crate::manifest::Document;
use crate::manifest::media_type::OCI_INDEX;
use crate::op::{Condition, ManifestGet, ManifestPut, OpOutcome, Operation, Site};
use crate::reference::Target;
use crate::referrers;
use crate::scope::Scopes;
use crate::task::Unlisted;
use crate::tasks::TaskPorts;
use crate::tasks::lists::ListKey;
use crate::time::Time;

/// How often a list is written for one manifest, if others replace it again and again.
const WRITES: u8 = 4;
/// How many entries of a list are looked for at most, where the registry refuses it.
const CHECKED: usize = 1000;

/// A change of the list of what refers to a manifest.
#[derive(Debug)]
pub(super) struct ListChange {
    pub(super) key: ListKey,
    subject: Digest,
    change: Change,
    scopes: Scopes,
    writes: u8,
    step: Step,
    /// When the list was to be read.
    began: Time,
    /// The condition under which it was written last.
    condition: Option<Condition>,
    /// It was written on a condition that nothing meets instead.
    is_test: bool,
    /// The list as it was written last: if it is gone, it is written again with all that was in it.
    wrote: Option<Arc<[u8]>>,
    /// The registry refused a condition that was true.
    unconditional: bool,
    /// The registry refused the list because of entries that it does not have.
    dangling: Option<Dangling>,
}

/// The entries that a registry may not have.
#[derive(Debug)]
struct Dangling {
    /// How it refused the list.
    refusal: Error,
    /// Those that were not found, as far as they were looked for.
    entries: BTreeSet<Digest>,
    /// Why one could not be looked for.
    failure: Option<Error>,
}

/// What is changed.
#[derive(Debug)]
pub(super) enum Change {
    Add(Vec<Descriptor>),
    Remove(Digest),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Reading,
    Writing,
    /// The manifests that the list names are read. This many results are still to come.
    Checking {
        left: usize,
    },
}

/// How far a change is.
#[derive(Debug)]
pub(super) enum Changed {
    /// A request is under way, or the list is looked at again later.
    Going,
    /// The list is as it should be.
    Over,
    /// It is not, because of these manifests. The task's observer was told.
    GivenUp(Vec<Unlisted>),
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
            began: Time::ZERO,
            condition: None,
            is_test: false,
            wrote: None,
            unconditional: false,
            dangling: None,
        }
    }

    /// Reads the list: it is this manifest's turn.
    pub(super) fn read(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) {
        self.step = Step::Reading;
        self.began = ports.now();
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
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<Changed, Error> {
        match (self.step, result) {
            (Step::Reading, Ok(OpOutcome::Document { document, etag })) => {
                Ok(self.was_read(node, Some(&document), etag, ports))
            }
            (Step::Reading, Err(error)) if error.kind() == ErrorKind::NotFound => {
                Ok(self.was_read(node, None, None, ports))
            }
            (Step::Writing, Ok(OpOutcome::Put { .. })) => Ok(self.was_written(node, ports)),
            (Step::Writing, Ok(OpOutcome::Outdated)) => Ok(self.was_refused(node, ports)),
            (Step::Reading, Err(error)) if self.writes > 0 => {
                let why = format!("it was written, but could not be looked at again: {error}");
                Ok(self.give_up(error.kind(), &why, ports))
            }
            (Step::Checking { left }, result) => self.checked(node, left, result, ports),
            (Step::Writing, Ok(OpOutcome::Childless(error))) => {
                Ok(self.was_refused_for_entries(node, error, ports))
            }
            (_, Ok(OpOutcome::Childless(error)) | Err(error)) => {
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
            Change::Add(entries) => {
                let listed = entries.iter().map(|entry| listed(&entry.digest));
                listed
                    .reduce(|all, one| Ok(all? && one?))
                    .unwrap_or(Ok(true))
            }
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
        let known = ports.looks_at_conditions(&self.key.0.origin);
        self.is_test = self.condition.is_some() && known.is_none();
        self.writes += 1;
        self.wrote = Some(bytes.clone());
        self.step = Step::Writing;
        self.write(node, bytes, ports);
        Changed::Going
    }

    /// The registry has the list as it was written.
    fn was_written(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Changed {
        let known = ports.looks_at_conditions(&self.key.0.origin);
        if self.condition.is_some() && !self.is_test && known == Some(true) {
            return Changed::Over;
        }
        let (now, least) = (ports.now(), ports.config().settle);
        if least.is_zero() {
            self.read(node, ports);
            return Changed::Going;
        }
        let (writer, after) = ((ports.task, node), self.settle(least, now));
        let key = self.key.clone();
        ports.lists.join_later(key, writer, now, after);
        Changed::Going
    }

    /// The registry looked at the condition, and it was not met.
    fn was_refused(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Changed {
        match (&self.wrote, core::mem::replace(&mut self.is_test, false)) {
            (Some(bytes), true) => self.write(node, bytes.clone(), ports),
            (Some(_) | None, _) => self.read(node, ports),
        }
        Changed::Going
    }

    /// The registry does not have everything that the list names, and takes no such index. Distribution says so
    /// (`MANIFEST_BLOB_UNKNOWN`), and a list names what is gone as soon as it was deleted by another client.
    fn was_refused_for_entries(
        &mut self,
        node: NodeId,
        refusal: Error,
        ports: &mut TaskPorts<'_>,
    ) -> Changed {
        let wrote = self.wrote.as_deref().unwrap_or_default();
        let ours: &[Descriptor] = match &self.change {
            Change::Add(added) => added,
            Change::Remove(_) => &[],
        };
        // What is no descriptor is left as it is.
        let (mut listed, mut entries) = (referrers::descriptors(wrote), BTreeSet::new());
        listed.retain(|it| {
            let is_ours = ours.iter().any(|ours| ours.digest == it.digest);
            !is_ours && entries.insert(it.digest.clone())
        });
        if self.dangling.is_some() || entries.is_empty() || entries.len() > CHECKED {
            return self.give_up(refusal.kind(), &format!("{refusal}"), ports);
        }
        self.step = Step::Checking { left: listed.len() };
        let site = self.key.0.clone();
        for entry in listed {
            let target = Target::Digest(entry.digest.clone());
            let limit = ports.limits().document;
            // Asked for by its type, too: some registries say 404 to requests that do not accept it.
            let op = ManifestGet::new(site.clone(), target, Some(entry), limit);
            let op = Operation::ManifestGet(op);
            ports.exchange(node, site.clone(), op, self.scopes.clone());
        }
        self.dangling = Some(Dangling {
            refusal,
            entries,
            failure: None,
        });
        Changed::Going
    }

    /// One of the list's manifests was found, or not. Once all were looked for, the list is read again.
    fn checked(
        &mut self,
        node: NodeId,
        left: usize,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<Changed, Error> {
        let dangling = self.dangling.as_mut();
        let dangling = dangling.ok_or_else(|| Error::internal("no entries are looked for"))?;
        match result {
            Ok(OpOutcome::Document { document, .. }) => {
                dangling.entries.remove(document.digest());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => dangling.failure = Some(error),
            Ok(outcome) => {
                let what = format!("an entry of a referrers list ended in {outcome:?}");
                return Err(Error::internal(&what));
            }
        }
        if left > 1 {
            self.step = Step::Checking { left: left - 1 };
            return Ok(Changed::Going);
        }
        let are_known = dangling.failure.is_none() && !dangling.entries.is_empty();
        if !are_known {
            let error = dangling.failure.as_ref().unwrap_or(&dangling.refusal);
            let (kind, why) = (error.kind(), format!("{error}"));
            return Ok(self.give_up(kind, &why, ports));
        }
        // The registry had no objection to the condition.
        self.condition = None;
        self.wrote = self
            .wrote
            .take()
            .and_then(|wrote| self.without_gone(&wrote).ok());
        self.read(node, ports);
        Ok(Changed::Going)
    }

    /// A list without the entries that are known to be gone.
    fn without_gone(&self, list: &[u8]) -> Result<Arc<[u8]>, String> {
        match &self.dangling {
            Some(dangling) => referrers::without(list, &dangling.entries).map(Into::into),
            None => Ok(list.into()),
        }
    }

    /// How long after it was written the list is read again. What other clients write then, they have read after
    /// that: reading and writing takes them about as long as it took here.
    fn settle(&self, least: Duration, now: Time) -> Duration {
        /// Other clients are not as near, and their requests wait for others, too.
        const GAPS: u32 = 4;
        /// Longer than any client waits for a registry that answers.
        const MOST: Duration = Duration::from_secs(30);
        let gap = now.since(self.began);
        let after = least.max(gap.saturating_mul(GAPS));
        let doubled = 1 << self.writes.saturating_sub(1);
        after.saturating_mul(doubled).min(MOST.max(least))
    }

    /// The list with the change, as bytes.
    fn changed(&self, list: Option<&Document>, limit: u64) -> Result<Arc<[u8]>, String> {
        match (&self.change, &self.wrote, list) {
            (_, Some(wrote), None) => Ok(wrote.clone()),
            (Change::Add(entries), _, list) => {
                let list = referrers::with(list, entries, limit)?;
                self.without_gone(&list)
            }
            (Change::Remove(digest), _, Some(list)) => {
                let removed = [digest.clone()].into();
                let list = referrers::without(list.bytes(), &removed)?;
                self.without_gone(&list)
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
            tags: Vec::new(),
            tags_refused: false,
            descriptor: Descriptor::new(OCI_INDEX, digest, bytes.len() as u64),
            bytes,
            subject: None,
            condition: match self.is_test {
                true => Some(Condition::Never),
                false => self.condition.clone(),
            },
        };
        ports.exchange(node, site, Operation::ManifestPut(op), self.scopes.clone());
    }

    /// Tells that the list is not as it should be.
    fn give_up(&self, kind: ErrorKind, why: &str, ports: &mut TaskPorts<'_>) -> Changed {
        let (digests, what): (Vec<_>, _) = match &self.change {
            Change::Add(entries) => (entries.iter().map(|it| &it.digest).collect(), "added to"),
            Change::Remove(digest) => (alloc::vec![digest], "removed from"),
        };
        let (subject, tag) = (&self.subject, &self.key.1);
        let given_up = digests.into_iter().map(|digest| {
            ports.event(Event::Warning(format!(
                "{digest} could not be {what} the referrers of {subject} at the tag {tag}: {why}"
            )));
            Unlisted {
                digest: digest.clone(),
                subject: subject.clone(),
                kind,
                why: why.into(),
            }
        });
        Changed::GivenUp(given_up.collect())
    }
}

/// The change of a list by a task that has one manifest.
#[derive(Debug, Default)]
pub(super) struct OneChange {
    change: Option<ListChange>,
    /// Why the list could not be changed.
    pub(super) given_up: Option<Unlisted>,
}

impl OneChange {
    /// The node of the one manifest.
    const NODE: NodeId = NodeId(0);

    /// Waits for the turn to change the list.
    pub(super) fn join(&mut self, change: ListChange, ports: &mut TaskPorts<'_>) {
        let turn = (ports.task, Self::NODE);
        ports.lists.join(change.key.clone(), turn);
        self.change = Some(change);
    }

    /// It is the manifest's turn.
    pub(super) fn read(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.change()?.read(Self::NODE, ports);
        Ok(())
    }

    /// Takes the result of an exchange about the list. Whether the change is over.
    pub(super) fn ended(
        &mut self,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<bool, Error> {
        match self.change()?.ended(Self::NODE, result, ports)? {
            Changed::Going => return Ok(false),
            Changed::Over => {}
            Changed::GivenUp(unlisted) => self.given_up = unlisted.into_iter().next(),
        }
        if let Some(change) = self.change.take() {
            ports.lists.leave(&change.key, (ports.task, Self::NODE));
        }
        Ok(true)
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.change.is_some()
    }

    pub(super) fn lists(&self) -> Vec<(&ListKey, NodeId)> {
        let change = self.change.iter();
        change.map(|change| (&change.key, Self::NODE)).collect()
    }

    fn change(&mut self) -> Result<&mut ListChange, Error> {
        let change = self.change.as_mut();
        change.ok_or_else(|| Error::internal("no referrers list is being changed"))
    }
}

#[cfg(test)]
mod tests;
