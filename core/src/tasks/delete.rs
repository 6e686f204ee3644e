//! Deleting a tag, or a manifest with all its tags.
//!
//! ```text
//!  a tag:       deleting ─┬─────────────────────────────────────────────────────────▶ over
//!                         └─ the registry deletes no tags ─▶ looking for the others ─▶ refused
//!  a manifest:  reading ─▶ deleting ─┬─ it has a subject ─▶ changing the list of that ─▶ over
//!                                    └───────────────────────────────────────────────▶ over
//! ```
//!
//! Responsible for deleting no more than was asked for: where only manifests can be deleted, that takes all
//! tags of one, and the error names them (DEL-06). Must not know requests.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::Lack;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::op::{
    Delete, DeleteOf, ManifestGet, ManifestHead, NameList, NamesOf, OpOutcome, Operation, Page,
    Site,
};
use crate::reference::{Tag, Target};
use crate::referrers;
use crate::scope::Scopes;
use crate::task::{DeleteTask, Deleted, Extent, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::lists::ListKey;
use crate::tasks::machine::{TaskMachine, unexpected};
use crate::tasks::referrers_list::{Change, ListChange, OneChange};

/// How many tags are looked at for those that refer to the same manifest: a request each.
const LOOKED_AT: usize = 100;

const NODE: NodeId = NodeId(0);

/// A deletion under way.
#[derive(Debug)]
pub(crate) struct DeleteState {
    site: Site,
    task: DeleteTask,
    phase: DeletePhase,
    /// The manifest, once that is known.
    digest: Option<Digest>,
    /// Its subject.
    subject: Option<Digest>,
    listing: OneChange,
}

#[derive(Debug)]
enum DeletePhase {
    Reading,
    Deleting,
    /// The registry refused to delete the tag. What does it refer to?
    Resolving(Error),
    /// Which tags are there?
    Listing(Error),
    /// Which of them refer to the same manifest?
    Comparing(Others),
    /// The manifest is deleted, and its subject's list is being changed.
    Unlisting,
}

/// The other tags of a manifest.
#[derive(Debug)]
struct Others {
    refusal: Error,
    tags: Vec<Tag>,
    is_same: Vec<bool>,
    /// How many of them are not known yet.
    open: usize,
    looked: Looked,
}

/// Which tags of a repository were looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Looked {
    AtAll,
    AtSome,
}

impl DeleteState {
    pub(super) fn new(task: DeleteTask, exchanges: &Exchanges) -> Self {
        let site = exchanges.destination(&task.reference);
        Self {
            site,
            task,
            phase: DeletePhase::Deleting,
            digest: None,
            subject: None,
            listing: OneChange::default(),
        }
    }
}

impl TaskMachine for DeleteState {
    fn requested(&self) -> TaskKind {
        TaskKind::Delete(DeleteTask {
            again: false,
            ..self.task.clone()
        })
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.config().destination(&self.task.reference)?;
        let target = self.task.reference.target();
        if matches!((&target, self.task.extent), (Target::Tag(_), Extent::Tag)) {
            self.delete(target, ports);
            return Ok(());
        }
        // Whether it has a subject is said in it (DEL-08).
        self.phase = DeletePhase::Reading;
        let op = ManifestGet::new(self.site.clone(), target, None, ports.limits().document);
        self.exchange(NODE, Operation::ManifestGet(op), ports);
        Ok(())
    }

    fn exchange_ended(
        &mut self,
        node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let phase = core::mem::replace(&mut self.phase, DeletePhase::Deleting);
        match (phase, result) {
            (DeletePhase::Reading, result) => self.read(result, ports),
            (DeletePhase::Deleting, Ok(OpOutcome::Deleted)) => self.deleted(ports),
            (DeletePhase::Deleting, Ok(OpOutcome::Undeletable(mut refusal))) => {
                let kind = ports.config().kind(&self.site.registry);
                if let Some(advice) = kind.and_then(|it| it.habits().advice(Lack::Deletion)) {
                    // Its manifest cannot be deleted either, so its other tags do not matter.
                    refusal.replace_hint(advice.into());
                    return Err(refusal);
                }
                self.phase = DeletePhase::Resolving(refusal);
                let op = ManifestHead {
                    site: self.site.clone(),
                    target: self.task.reference.target(),
                };
                self.exchange(NODE, Operation::ManifestHead(op), ports);
                Ok(())
            }
            (DeletePhase::Deleting, Err(error)) => Err(error),
            (DeletePhase::Resolving(refusal), result) => self.resolved(refusal, result, ports),
            (DeletePhase::Listing(refusal), result) => self.tags_listed(refusal, result, ports),
            (DeletePhase::Comparing(others), result) => self.compared(others, node, result),
            (DeletePhase::Unlisting, result) => self.list_changed(result, ports),
            (DeletePhase::Deleting, Ok(_)) => Err(unexpected("a deletion")),
        }
    }

    /// It is this manifest's turn to write the list.
    fn read_list(&mut self, _node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.listing.read(ports)
    }

    fn lists(&self) -> Vec<(&ListKey, NodeId)> {
        self.listing.lists()
    }
}

impl DeleteState {
    /// The manifest was read, as far as it can be.
    fn read(
        &mut self,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let digest = match (result, self.task.reference.target()) {
            (Ok(OpOutcome::Document { document, .. }), _) => {
                let subject = referrers::subject(&document);
                self.subject = subject.map(|subject| subject.digest.clone());
                document.digest().clone()
            }
            (Err(error), target) if self.task.again && error.kind() == ErrorKind::NotFound => {
                if let Target::Digest(digest) = target {
                    self.digest = Some(digest);
                }
                self.finish(ports);
                return Ok(());
            }
            // What cannot be read can be deleted all the same.
            (Err(error), Target::Digest(digest)) if error.kind() == ErrorKind::Refused => {
                let warning =
                    format!("{error}; if it has a subject, it stays in the list of its referrers");
                ports.event(Event::Warning(warning));
                digest
            }
            (Err(error), _) => return Err(error),
            (Ok(_), _) => return Err(unexpected("reading a manifest")),
        };
        self.digest = Some(digest.clone());
        self.delete(Target::Digest(digest), ports);
        Ok(())
    }

    fn deleted(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let (Some(digest), Some(subject)) = (self.digest.clone(), self.subject.take()) else {
            self.finish(ports);
            return Ok(());
        };
        self.phase = DeletePhase::Unlisting;
        let change = Change::Remove(digest);
        let listing = ListChange::new(self.site.clone(), subject, change, self.scopes());
        self.listing.join(listing, ports);
        Ok(())
    }

    fn list_changed(
        &mut self,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        self.phase = DeletePhase::Unlisting;
        if self.listing.ended(result, ports)? {
            self.finish(ports);
        }
        Ok(())
    }

    fn finish(&mut self, ports: &mut TaskPorts<'_>) {
        ports.finish(TaskReport::Deleted(Deleted {
            digest: self.digest.take(),
            unlisted: self.listing.given_up.take(),
        }));
    }

    /// What the tag that cannot be deleted refers to, if the registry says so.
    fn resolved(
        &mut self,
        refusal: Error,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let Ok(OpOutcome::Found {
            digest: Some(digest),
            ..
        }) = result
        else {
            return Err(refused(refusal, None, &[], Looked::AtSome));
        };
        self.digest = Some(digest);
        self.phase = DeletePhase::Listing(refusal);
        let op = NameList {
            site: self.site.clone(),
            of: NamesOf::Tags,
            page: Page::After {
                name: None,
                size: Some(LOOKED_AT as u32 + 1),
            },
            limit: ports.limits().document,
        };
        self.exchange(NODE, Operation::NameList(op), ports);
        Ok(())
    }

    fn tags_listed(
        &mut self,
        refusal: Error,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let Ok(OpOutcome::Names(page)) = result else {
            return Err(refused(refusal, self.digest.as_ref(), &[], Looked::AtSome));
        };
        let own = self.task.reference.target();
        let tags = page.names.iter().filter_map(|name| name.parse().ok());
        let mut tags: Vec<Tag> = tags
            .filter(|tag: &Tag| Target::Tag(tag.clone()) != own)
            .collect();
        // A registry without links sends as many as were asked for; and what is no tag may be one to it.
        let is_dropped = page.names.iter().any(|name| name.parse::<Tag>().is_err());
        let has_more = page.next.is_some() || page.names.len() > LOOKED_AT || is_dropped;
        let looked = if has_more {
            Looked::AtSome
        } else {
            Looked::AtAll
        };
        tags.truncate(LOOKED_AT);
        if tags.is_empty() {
            return Err(refused(refusal, self.digest.as_ref(), &[], looked));
        }
        for (n, tag) in tags.iter().enumerate() {
            let op = ManifestHead {
                site: self.site.clone(),
                target: Target::Tag(tag.clone()),
            };
            self.exchange(NodeId(n), Operation::ManifestHead(op), ports);
        }
        self.phase = DeletePhase::Comparing(Others {
            refusal,
            is_same: alloc::vec![false; tags.len()],
            open: tags.len(),
            tags,
            looked,
        });
        Ok(())
    }

    fn compared(
        &mut self,
        mut others: Others,
        node: NodeId,
        result: Result<OpOutcome, Error>,
    ) -> Result<(), Error> {
        others.open = others.open.saturating_sub(1);
        match (result, others.is_same.get_mut(node.0)) {
            (Ok(OpOutcome::Found { digest, .. }), Some(is_same)) => {
                *is_same = digest.is_some() && digest == self.digest;
            }
            // It is not known, so the list may not be complete.
            (Ok(_) | Err(_), _) => others.looked = Looked::AtSome,
        }
        if others.open > 0 {
            self.phase = DeletePhase::Comparing(others);
            return Ok(());
        }
        let same = others.tags.iter().zip(&others.is_same);
        let same: Vec<&Tag> = same.filter(|(_, is)| **is).map(|(tag, _)| tag).collect();
        let digest = self.digest.as_ref();
        Err(refused(others.refusal, digest, &same, others.looked))
    }

    fn delete(&mut self, target: Target, ports: &mut TaskPorts<'_>) {
        self.phase = DeletePhase::Deleting;
        let op = Delete {
            site: self.site.clone(),
            of: DeleteOf::Manifest(target),
            again: self.task.again,
        };
        self.exchange(NODE, Operation::Delete(op), ports);
    }

    fn exchange(&self, node: NodeId, op: Operation, ports: &mut TaskPorts<'_>) {
        ports.exchange(node, self.site.clone(), op, self.scopes());
    }

    /// A list is changed by a push.
    fn scopes(&self) -> Scopes {
        let repository = &self.site.repository;
        let mut scopes = Scopes::delete(repository);
        if self.task.extent == Extent::Manifest || self.task.reference.digest().is_some() {
            scopes.merge(&Scopes::push(repository));
        }
        scopes
    }
}

/// The registry deletes no tag alone, and a manifest that other tags refer to is not deleted unasked.
fn refused(mut refusal: Error, digest: Option<&Digest>, same: &[&Tag], looked: Looked) -> Error {
    let manifest = match digest {
        Some(digest) => format!("its manifest {digest}"),
        None => "its manifest".into(),
    };
    let mut names = String::new();
    for (n, tag) in same.iter().enumerate() {
        names.push_str(if n == 0 { " `" } else { ", `" });
        names.push_str(tag.as_str());
        names.push('`');
    }
    let others = match (same.len(), looked) {
        (0, Looked::AtSome) => "may delete other tags, too".into(),
        (0, Looked::AtAll) => "would delete no other tag".into(),
        (_, Looked::AtSome) => format!("would delete{names}, too, and perhaps other tags"),
        (_, Looked::AtAll) => format!("would delete{names}, too"),
    };
    refusal.replace_hint(format!(
        "the registry deletes no tag alone; deleting {manifest} {others}"
    ));
    refusal
}

#[cfg(test)]
mod tests;
