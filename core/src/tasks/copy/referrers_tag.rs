//! Listing a manifest at its subject, for registries that do not (RFR-02).
//!
//! ```text
//!  Putting ─ no OCI-Subject ─▶ in line for the list ─▶ reading ─┬─ it is listed ──────▶ over
//!                                                         ▲     └─ it is not ─┐
//!                                                         └──── writing ◀─────┘
//! ```
//!
//! Responsible for that loop: what was written is read again, because somebody else may have replaced it
//! meanwhile. Whatever goes wrong is told, in an event and in the report, and is no failure of the copy:
//! the manifest is where it was to go. Must not know what a list looks like (`referrers`).

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{End, Stage};
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::ids::{NodeId, TaskId};
use crate::manifest::Document;
use crate::manifest::media_type::OCI_INDEX;
use crate::op::{Condition, ManifestGet, ManifestPut, Operation, Outcome, Site};
use crate::reference::{Tag, Target};
use crate::referrers;
use crate::session::Session;
use crate::task::{Report, Unlisted};

/// How often a list is written for one manifest, if others keep replacing it.
const WRITES: u8 = 4;

/// A manifest on its way into the list of what refers to its subject.
#[derive(Debug)]
pub(super) struct Listing {
    site: Site,
    subject: Digest,
    tag: Tag,
    entry: Descriptor,
    writes: u8,
    step: Step,
    /// The condition under which it was written last.
    condition: Option<Condition>,
    /// The list as it was written last: if it is gone, it is written again with all that was in it.
    wrote: Option<Arc<[u8]>>,
    /// The registry refused a condition that was true.
    unconditional: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Reading,
    Writing,
}

impl Session {
    /// A node was put at a registry that did not say that it lists it.
    pub(super) fn put_unlisted(&mut self, task: TaskId, node: NodeId) {
        self.stored(task, node);
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let End::Registry { site, .. } = copying.destination.clone() else {
            return;
        };
        let this = &mut copying.nodes[node.0];
        let Some(document) = &this.document else {
            return;
        };
        let Some(subject) = referrers::subject(document) else {
            return self.is_put(task, node);
        };
        let tag = referrers::tag(&subject.digest);
        let key = (site.clone(), tag.clone());
        this.listing = Some(Listing {
            site,
            subject: subject.digest.clone(),
            tag,
            entry: referrers::entry(document),
            writes: 0,
            step: Step::Reading,
            condition: None,
            wrote: None,
            unconditional: false,
        });
        this.stage = Stage::Listing;
        // One at a time, or one of ours would replace what the other wrote.
        let line = self.lists.entry(key).or_default();
        line.push_back((task, node));
        if line.len() == 1 {
            self.read_list(task, node);
        }
    }

    /// Takes the outcome of an exchange about a list.
    pub(super) fn listing_settled(
        &mut self,
        task: TaskId,
        node: NodeId,
        result: Result<Outcome, Error>,
    ) {
        let Some(listing) = self.listing(task, node) else {
            return;
        };
        match (listing.step, result) {
            (Step::Reading, Ok(Outcome::Document { document, etag })) => {
                self.list_read(task, node, Some(&document), etag);
            }
            (Step::Reading, Err(error)) if error.kind() == ErrorKind::NotFound => {
                self.list_read(task, node, None, None);
            }
            (Step::Writing, Ok(Outcome::Put { .. } | Outcome::Outdated)) => {
                self.read_list(task, node);
            }
            (_, Ok(Outcome::Childless(error)) | Err(error)) => {
                self.give_up_list(task, node, error.kind(), &format!("{error}"));
            }
            (step, Ok(outcome)) => {
                let what = format!("{step:?} of a referrers list ended in {outcome:?}");
                self.fail(task, Error::internal(&what));
            }
        }
    }

    /// A task is over: others need not wait for its lists any more.
    pub(crate) fn leave_lists(&mut self, task: TaskId) {
        let of_task =
            |line: &VecDeque<(TaskId, NodeId)>| line.iter().any(|(other, _)| *other == task);
        let lines = self.lists.iter().filter(|(_, line)| of_task(line));
        let keys: Vec<_> = lines.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(line) = self.lists.get_mut(&key) else {
                continue;
            };
            let led = line.front().is_some_and(|(other, _)| *other == task);
            line.retain(|(other, _)| *other != task);
            if led {
                self.next_in_line(&key);
            }
        }
    }

    fn read_list(&mut self, task: TaskId, node: NodeId) {
        let limit = self.limits().document;
        let Some(listing) = self.listing(task, node) else {
            return;
        };
        listing.step = Step::Reading;
        let site = listing.site.clone();
        let target = Target::Tag(listing.tag.clone());
        let op = ManifestGet {
            is_rewritten: true,
            ..ManifestGet::new(site.clone(), target, None, limit)
        };
        self.node_exchange(task, node, site, Operation::ManifestGet(op));
    }

    /// The list is here, or there is none yet.
    fn list_read(
        &mut self,
        task: TaskId,
        node: NodeId,
        list: Option<&Document>,
        etag: Option<String>,
    ) {
        let limit = self.limits().document;
        let Some(listing) = self.listing(task, node) else {
            return;
        };
        let digest = &listing.entry.digest;
        let listed = list.map_or(Ok(false), |list| referrers::lists(list, digest));
        let bytes: Result<Arc<[u8]>, String> = match listed {
            Ok(true) => return self.list_over(task, node),
            Ok(false) if listing.writes == WRITES => Err(format!(
                "others replaced the list {WRITES} times, or the registry does not keep it"
            )),
            Ok(false) => match (&listing.wrote, list) {
                (Some(wrote), None) => Ok(wrote.clone()),
                (Some(_) | None, list) => {
                    referrers::with(list, &listing.entry, limit).map(Into::into)
                }
            },
            Err(why) => Err(why),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(why) => return self.give_up_list(task, node, ErrorKind::Refused, &why),
        };
        // What was refused although nothing has changed is no condition.
        let condition = match list {
            Some(_) => etag.map(Condition::Unchanged),
            None => Some(Condition::Absent),
        };
        listing.unconditional |= condition.is_some() && listing.condition == condition;
        listing.condition = condition.filter(|_| !listing.unconditional);
        listing.writes += 1;
        listing.wrote = Some(bytes.clone());
        listing.step = Step::Writing;
        let site = listing.site.clone();
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let op = ManifestPut {
            site: site.clone(),
            target: Target::Tag(listing.tag.clone()),
            descriptor: Descriptor::new(OCI_INDEX, digest, bytes.len() as u64),
            bytes,
            subject: None,
            condition: listing.condition.clone(),
        };
        self.node_exchange(task, node, site, Operation::ManifestPut(op));
    }

    /// Tells that a manifest is not listed, and goes on.
    fn give_up_list(&mut self, task: TaskId, node: NodeId, kind: ErrorKind, why: &str) {
        let Some(listing) = self.listing(task, node) else {
            return;
        };
        let (digest, subject) = (listing.entry.digest.clone(), listing.subject.clone());
        let warning = format!(
            "{digest} could not be added to the referrers of {subject} at the tag {}: {why}",
            listing.tag
        );
        let unlisted = Unlisted {
            digest,
            subject,
            kind,
            why: why.into(),
        };
        self.event(task, Event::Warning(warning));
        if let Some(copying) = self.tasks.copy_mut(task)
            && copying.unlisted.len() < Report::LISTED
        {
            copying.unlisted.push(unlisted);
        }
        self.list_over(task, node);
    }

    fn list_over(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        if let Some(listing) = copying.nodes[node.0].listing.take() {
            let key = (listing.site, listing.tag);
            if let Some(line) = self.lists.get_mut(&key) {
                line.pop_front();
            }
            self.next_in_line(&key);
        }
        self.is_put(task, node);
    }

    /// Somebody has left a line: the next one that still wants to goes on.
    fn next_in_line(&mut self, key: &(Site, Tag)) {
        let tasks = &self.tasks;
        let wants = |task: &TaskId| !tasks.is_over(*task);
        let Some(line) = self.lists.get_mut(key) else {
            return;
        };
        line.retain(|(task, _)| wants(task));
        match line.front().copied() {
            Some((task, node)) => self.read_list(task, node),
            None => drop(self.lists.remove(key)),
        }
    }

    fn listing(&mut self, task: TaskId, node: NodeId) -> Option<&mut Listing> {
        self.tasks.copy_mut(task)?.nodes[node.0].listing.as_mut()
    }
}
