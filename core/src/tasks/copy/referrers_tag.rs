//! Listing a manifest at its subject, for registries that do not (RFR-02).
//!
//! ```text
//!  Putting ─ no OCI-Subject ─▶ in line for the list ─▶ Listing ─▶ over
//! ```
//!
//! Responsible for when that happens. Errors are reported in an event and in the report, and do not fail
//! the copy: the manifest is at the destination. Must not know how a list is changed (`referrers_list`), nor
//! whose turn it is (`lists`).

use super::node::NodePhase;
use super::{CopyLocation, CopyState};
use crate::error::Error;
use crate::ids::NodeId;
use crate::op::OpOutcome;
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
        // A companion is listed with all others of its subject.
        if self.is_unlisted(node)? {
            return self.is_put(node, ports);
        }
        let CopyLocation::Registry { site, .. } = &self.destination else {
            return Err(Error::internal("a store does not list referrers"));
        };
        let document = self.document(node)?;
        let Some(subject) = referrers::subject(document).map(|it| it.digest.clone()) else {
            return self.is_put(node, ports);
        };
        let change = Change::Add(alloc::vec![referrers::entry(document)]);
        let site = site.clone();
        let scopes = self.task_scopes(&site);
        let listing = ListChange::new(site, subject, change, scopes);
        let key = listing.key.clone();
        let this = &mut self.nodes[node.0];
        this.listing = Some(listing);
        this.phase = NodePhase::Listing;
        ports.lists.join(key, (ports.task, node));
        Ok(())
    }

    /// Takes the result of an exchange about a list.
    pub(super) fn listing_ended(
        &mut self,
        node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        match self.listing(node)?.ended(node, result, ports)? {
            Changed::Going => return Ok(()),
            Changed::Over => {}
            Changed::GivenUp(unlisted) => {
                let left = Report::LISTED.saturating_sub(self.unlisted.len());
                self.unlisted.extend(unlisted.into_iter().take(left));
            }
        }
        if let Some(listing) = self.nodes[node.0].listing.take() {
            ports.lists.leave(&listing.key, (ports.task, node));
        }
        if self.nodes[node.0].companions.is_some() {
            return self.companions_listed(node, ports);
        }
        self.is_put(node, ports)
    }

    pub(super) fn listing(&mut self, node: NodeId) -> Result<&mut ListChange, Error> {
        let listing = self.nodes[node.0].listing.as_mut();
        listing.ok_or_else(|| Error::internal("a manifest is not on its way into a list"))
    }
}
