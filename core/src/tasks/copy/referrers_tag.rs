//! Listing a manifest at its subject, for registries that do not (RFR-02).
//!
//! ```text
//!  Putting ─ no OCI-Subject ─▶ in line for the list ─▶ Listing ─▶ over
//! ```
//!
//! Responsible for when that happens. Errors are reported in an event and in the report, and do not fail
//! the copy: the manifest is at the destination. Must not know how a list is changed (`referrers_list`), nor
//! whose turn it is (`lists`).

use super::{CopyState, End, Stage};
use crate::error::Error;
use crate::ids::NodeId;
use crate::op::Outcome;
use crate::referrers;
use crate::task::Report;
use crate::tasks::TaskPorts;
use crate::tasks::referrers_list::{Change, Changed, ListChange};

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
        let change = Change::Add(referrers::entry(document));
        let (site, subject) = (site.clone(), subject.digest.clone());
        let scopes = self.task_scopes(&site);
        let listing = ListChange::new(site, subject, change, scopes);
        let key = listing.key.clone();
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
        match self.listing(node)?.ended(node, result, ports)? {
            Changed::Going => return Ok(()),
            Changed::Over => {}
            Changed::GivenUp(unlisted) => {
                if self.unlisted.len() < Report::LISTED {
                    self.unlisted.push(unlisted);
                }
            }
        }
        if let Some(listing) = self.nodes[node.0].listing.take() {
            ports.lists.leave(&listing.key, (ports.task, node));
        }
        self.is_put(node, ports)
    }

    /// It is this manifest's turn.
    pub(in crate::tasks) fn read_list(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        self.listing(node)?.read(node, ports);
        Ok(())
    }

    fn listing(&mut self, node: NodeId) -> Result<&mut ListChange, Error> {
        let listing = self.nodes[node.0].listing.as_mut();
        listing.ok_or_else(|| Error::internal("a manifest is not on its way into a list"))
    }
}
