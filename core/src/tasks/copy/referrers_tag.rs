//! Listing a manifest at its subject, for registries that do not (RFR-02).
//!
//! ```text
//!  Putting ─ no OCI-Subject ─▶ in line for the list ─▶ reading ─┬─ it is listed ──────▶ over
//!                                                         ▲     └─ it is not ─┐
//!                                                         └──── writing ◀─────┘
//! ```
//!
//! Responsible for that loop: a list that was written is read again, because another client may have
//! replaced it meanwhile. Errors are reported in an event and in the report, and do not fail the copy: the
//! manifest is at the destination. Must not know what a list looks like (`referrers`), nor whose turn it
//! is (`lists`).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::{CopyState, End, Stage};
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::ids::NodeId;
use crate::manifest::Document;
use crate::manifest::media_type::OCI_INDEX;
use crate::op::{Condition, ManifestGet, ManifestPut, Operation, Outcome};
use crate::reference::Target;
use crate::referrers;
use crate::task::{Report, Unlisted};
use crate::tasks::TaskPorts;
use crate::tasks::lists::ListKey;

/// How often a list is written for one manifest, if others replace it again and again.
const WRITES: u8 = 4;

/// A manifest on its way into the list of what refers to its subject.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) key: ListKey,
    subject: Digest,
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

impl CopyState {
    /// A node was put at a registry that did not say that it lists it.
    pub(super) fn put_unlisted(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        self.stored(node, ports)?;
        let End::Registry { site, .. } = &self.destination else {
            return Err(Error::internal("a store does not list referrers"));
        };
        let document = self.document(node)?;
        let Some(subject) = referrers::subject(document) else {
            return self.is_put(node, ports);
        };
        let key = (site.clone(), referrers::tag(&subject.digest));
        let listing = Listing {
            key: key.clone(),
            subject: subject.digest.clone(),
            entry: referrers::entry(document),
            writes: 0,
            step: Step::Reading,
            condition: None,
            wrote: None,
            unconditional: false,
        };
        let this = &mut self.nodes[node.0];
        this.listing = Some(listing);
        this.stage = Stage::Listing;
        ports.lists.join(key, (ports.task, node));
        Ok(())
    }

    /// Takes the result of an exchange about a list.
    pub(super) fn listing_ended(
        &mut self,
        node: NodeId,
        result: Result<Outcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        match (self.listing(node)?.step, result) {
            (Step::Reading, Ok(Outcome::Document { document, etag })) => {
                self.list_read(node, Some(&document), etag, ports)
            }
            (Step::Reading, Err(error)) if error.kind() == ErrorKind::NotFound => {
                self.list_read(node, None, None, ports)
            }
            (Step::Writing, Ok(Outcome::Put { .. } | Outcome::Outdated)) => {
                self.read_list(node, ports)
            }
            (_, Ok(Outcome::Childless(error)) | Err(error)) => {
                self.give_up_list(node, error.kind(), &format!("{error}"), ports)
            }
            (step, Ok(outcome)) => {
                let what = format!("{step:?} of a referrers list ended in {outcome:?}");
                Err(Error::internal(&what))
            }
        }
    }

    /// Reads the list: it is this manifest's turn, or it wrote the list.
    pub(in crate::tasks) fn read_list(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let listing = self.listing(node)?;
        listing.step = Step::Reading;
        let (site, tag) = listing.key.clone();
        let limit = ports.limits().document;
        let op = ManifestGet {
            is_rewritten: true,
            ..ManifestGet::new(site.clone(), Target::Tag(tag), None, limit)
        };
        self.exchange(node, site, Operation::ManifestGet(op), ports);
        Ok(())
    }

    /// The list is here, or there is none yet.
    fn list_read(
        &mut self,
        node: NodeId,
        list: Option<&Document>,
        etag: Option<String>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let limit = ports.limits().document;
        let listing = self.listing(node)?;
        let digest = &listing.entry.digest;
        let listed = list.map_or(Ok(false), |list| referrers::lists(list, digest));
        let bytes: Result<Arc<[u8]>, String> = match listed {
            Ok(true) => return self.list_over(node, ports),
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
            Err(why) => return self.give_up_list(node, ErrorKind::Refused, &why, ports),
        };
        // A condition that was refused although nothing has changed is not understood.
        let condition = match list {
            Some(_) => etag.map(Condition::Unchanged),
            None => Some(Condition::Absent),
        };
        listing.unconditional |= condition.is_some() && listing.condition == condition;
        listing.condition = condition.filter(|_| !listing.unconditional);
        listing.writes += 1;
        listing.wrote = Some(bytes.clone());
        listing.step = Step::Writing;
        let (site, tag) = listing.key.clone();
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let op = ManifestPut {
            site: site.clone(),
            target: Target::Tag(tag),
            descriptor: Descriptor::new(OCI_INDEX, digest, bytes.len() as u64),
            bytes,
            subject: None,
            condition: listing.condition.clone(),
        };
        self.exchange(node, site, Operation::ManifestPut(op), ports);
        Ok(())
    }

    /// Reports that a manifest is not listed, and goes on.
    fn give_up_list(
        &mut self,
        node: NodeId,
        kind: ErrorKind,
        why: &str,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let listing = self.listing(node)?;
        let (digest, subject) = (listing.entry.digest.clone(), listing.subject.clone());
        ports.event(Event::Warning(format!(
            "{digest} could not be added to the referrers of {subject} at the tag {}: {why}",
            listing.key.1
        )));
        if self.unlisted.len() < Report::LISTED {
            self.unlisted.push(Unlisted {
                digest,
                subject,
                kind,
                why: why.into(),
            });
        }
        self.list_over(node, ports)
    }

    fn list_over(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if let Some(listing) = self.nodes[node.0].listing.take() {
            ports.lists.leave(&listing.key, (ports.task, node));
        }
        self.is_put(node, ports)
    }

    fn listing(&mut self, node: NodeId) -> Result<&mut Listing, Error> {
        let listing = self.nodes[node.0].listing.as_mut();
        listing.ok_or_else(|| Error::internal("a manifest is not on its way into a list"))
    }
}
