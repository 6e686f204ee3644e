//! How many transfers are under way at once, for each source and destination.
//!
//! Responsible for whose turn it is to begin. A transfer that waits for its turn has no exchange and no
//! open partial, so thousands of them cost little. Must not know how blobs move (`download`,
//! `upload`).

use super::{BlobKey, BlobSource, Blobs, Phase, Transfer};
use crate::error::Error;
use crate::ids::{Owner, TaskId, TransferId};
use crate::lanes::Lanes;
use crate::ports::Ports;
use crate::registry::Origin;
use crate::store::{StoreId, StoreOp};

/// Transfers from one source to one destination that are under way at once. Each that goes into a store
/// holds a file open. More than the requests to a host at once, as some wait for a store.
pub(super) const OPEN: usize = 64;

/// A destination, and a source.
pub(super) type Lane = (Peer, Peer);

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Peer {
    Host(Origin),
    Store(StoreId),
}

/// Whether a transfer is under way. In a store it has, or is about to have, a partial open.
#[derive(Clone, Debug, Default)]
pub(super) enum Opening {
    #[default]
    No,
    /// It waits for its turn, which tasks have in the order in which they began.
    Waiting(TaskId),
    Open,
}

/// The transfers that are under way, and those that wait for their turn.
#[derive(Debug)]
pub(super) struct Openings {
    uploads: Lanes<Lane, (TaskId, TransferId)>,
    downloads: Lanes<Lane, (TaskId, TransferId)>,
    /// How many partials are open.
    pub(super) open: usize,
    /// How many may be open at once over all lanes. Unlimited until the process runs out of file
    /// descriptors.
    pub(super) room: usize,
}

impl Openings {
    fn lanes(&mut self, (destination, _): &Lane) -> &mut Lanes<Lane, (TaskId, TransferId)> {
        match destination {
            Peer::Host(_) => &mut self.uploads,
            Peer::Store(_) => &mut self.downloads,
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.uploads.is_empty() && self.downloads.is_empty()
    }

    /// The next transfer whose turn it is.
    fn pop(&mut self) -> Option<TransferId> {
        if let Some((_, id)) = self.uploads.pop() {
            return Some(id);
        }
        if self.open >= self.room {
            return None;
        }
        let (_, id) = self.downloads.pop()?;
        self.open += 1;
        Some(id)
    }
}

impl Default for Openings {
    fn default() -> Self {
        Self {
            uploads: Lanes::new(OPEN),
            downloads: Lanes::new(OPEN),
            open: 0,
            room: usize::MAX,
        }
    }
}

impl Transfer {
    fn lane(&self, source: &BlobSource) -> Lane {
        let to = match &self.key {
            BlobKey::Store(store, _) => Peer::Store(*store),
            BlobKey::Repository(site, _) => Peer::Host(site.origin.clone()),
        };
        let from = match source {
            BlobSource::Site(site) => Peer::Host(site.origin.clone()),
            BlobSource::Store(from) => Peer::Store(*from),
        };
        (to, from)
    }
}

impl Blobs {
    /// Begins a transfer for its first waiter, now or when it is its turn.
    pub(super) fn open(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let waiter = transfer.first()?;
        let lane = transfer.lane(&waiter.source);
        let before = transfer.using.replace((waiter.source, waiter.urls));
        let before = before.map(|(source, _)| transfer.lane(&source));
        match &transfer.opening {
            Opening::Open if before.as_ref() == Some(&lane) => return self.open_now(id, ports),
            Opening::Waiting(_) if before.as_ref() == Some(&lane) => return Ok(()),
            Opening::No | Opening::Open | Opening::Waiting(_) => {}
        }
        let opening = core::mem::replace(&mut transfer.opening, Opening::Waiting(waiter.task));
        self.leave_lane(id, opening, before);
        self.openings.lanes(&lane).push(&lane, (waiter.task, id));
        self.open_next(ports);
        Ok(())
    }

    /// Begins transfers while there is room.
    pub(super) fn open_next(&mut self, ports: &mut Ports<'_>) {
        while let Some(id) = self.openings.pop() {
            if let Some(transfer) = self.transfers.get_mut(&id) {
                transfer.opening = Opening::Open;
            }
            let result = self.open_now(id, ports);
            self.check(id, result, ports);
        }
    }

    /// No file descriptor was left for a partial. If others have theirs, this one waits until one of them is
    /// done, and fewer are open at once; else it cannot wait for that.
    pub(crate) fn step_back(&mut self, id: TransferId) -> bool {
        let others = self.openings.open > 1;
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return false;
        };
        let (Some(task), Some((source, _)), true, false, Opening::Open) = (
            transfer.task(),
            &transfer.using,
            others,
            transfer.cancelling,
            &transfer.opening,
        ) else {
            return false;
        };
        let lane = transfer.lane(source);
        transfer.stage = Phase::Idle;
        transfer.opening = Opening::Waiting(task);
        self.leave_lane(id, Opening::Open, Some(lane.clone()));
        self.openings.downloads.push(&lane, (task, id));
        self.openings.room = self.openings.open;
        true
    }

    /// A transfer is not under way any more.
    pub(super) fn close(&mut self, id: TransferId, transfer: &mut Transfer) {
        let opening = core::mem::take(&mut transfer.opening);
        let source = transfer.using.as_ref().map(|(source, _)| source);
        self.leave_lane(id, opening, source.map(|source| transfer.lane(source)));
    }

    fn leave_lane(&mut self, id: TransferId, opening: Opening, lane: Option<Lane>) {
        let Some(lane) = lane else {
            return;
        };
        match opening {
            Opening::No => {}
            Opening::Waiting(task) => self.openings.lanes(&lane).remove(&lane, &(task, id)),
            Opening::Open => {
                if let (Peer::Store(_), _) = lane {
                    self.openings.open -= 1;
                }
                self.openings.lanes(&lane).done(&lane);
            }
        }
    }

    fn open_now(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        if let BlobKey::Repository(..) = transfer.key {
            return self.deliver(id, ports);
        }
        transfer.stage = Phase::Beginning;
        let (store, digest) = transfer.stored()?;
        let op = StoreOp::Begin {
            digest,
            size: transfer.size,
            private: false,
        };
        ports.step(Owner::Transfer(id), store, op);
        Ok(())
    }
}
