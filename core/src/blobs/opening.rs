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

/// A destination, and a source.
pub(super) type Lane = (Peer, Peer);

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Peer {
    Host(Origin),
    Store(StoreId),
}

/// Whether a transfer is under way: it has an exchange, or a partial that is open or about to be.
#[derive(Clone, Debug, Default)]
pub(super) enum Opening {
    #[default]
    No,
    /// It waits for its turn, which tasks have in the order in which they began.
    Waiting(BlobSource, TaskId),
    Open(BlobSource),
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
    /// Transfers are being begun. One that fails at once makes room for another, which is left to the
    /// outermost call.
    is_opening: bool,
}

impl Openings {
    /// Openings of this many transfers from each source to each destination.
    pub(super) const fn new(transfers: usize) -> Self {
        Self {
            uploads: Lanes::new(transfers),
            downloads: Lanes::new(transfers),
            open: 0,
            room: usize::MAX,
            is_opening: false,
        }
    }

    fn lanes(&mut self, (destination, _): &Lane) -> &mut Lanes<Lane, (TaskId, TransferId)> {
        match destination {
            Peer::Host(_) => &mut self.uploads,
            Peer::Store(_) => &mut self.downloads,
        }
    }

    /// A transfer is not under way any more, and does not wait for its turn.
    pub(super) fn leave(&mut self, id: TransferId, transfer: &mut Transfer) {
        match core::mem::take(&mut transfer.opening) {
            Opening::No => {}
            Opening::Waiting(source, task) => {
                let lane = transfer.lane(&source);
                self.lanes(&lane).remove(&lane, &(task, id));
            }
            Opening::Open(source) => {
                let lane = transfer.lane(&source);
                if let (Peer::Store(_), _) = lane {
                    self.open -= 1;
                }
                self.lanes(&lane).done(&lane);
            }
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
        match &transfer.opening {
            // A partial that is open cannot wait.
            Opening::Open(before) if transfer.has_partial || transfer.lane(before) == lane => {
                return self.open_now(id, ports);
            }
            Opening::Waiting(before, _) if transfer.lane(before) == lane => return Ok(()),
            Opening::No | Opening::Open(_) | Opening::Waiting(..) => {}
        }
        if let Some(transfer) = self.transfers.get_mut(&id) {
            self.openings.leave(id, transfer);
            transfer.opening = Opening::Waiting(waiter.source, waiter.task);
        }
        let most = match &self.get(id)?.key {
            BlobKey::Repository(site, _) => ports.config.uploads_for(&site.registry),
            BlobKey::Store(..) => None,
        };
        let lanes = self.openings.lanes(&lane);
        lanes.push_within(&lane, (waiter.task, id), most.unwrap_or(usize::MAX));
        self.open_next(ports);
        Ok(())
    }

    /// Begins transfers while there is room.
    pub(super) fn open_next(&mut self, ports: &mut Ports<'_>) {
        if core::mem::replace(&mut self.openings.is_opening, true) {
            return;
        }
        while let Some(id) = self.openings.pop() {
            if let Some(transfer) = self.transfers.get_mut(&id)
                && let Opening::Waiting(source, _) = core::mem::take(&mut transfer.opening)
            {
                transfer.opening = Opening::Open(source);
            }
            let result = self.open_now(id, ports);
            self.check(id, result, ports);
        }
        self.openings.is_opening = false;
    }

    /// No file descriptor was left for a partial. If others have theirs, this one waits until one of them is
    /// done, and fewer are open at once; else it cannot wait for that.
    pub(crate) fn step_back(&mut self, id: TransferId) -> bool {
        let others = self.openings.open > 1;
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return false;
        };
        let (Some(task), Opening::Open(source), true, false) = (
            transfer.task(),
            transfer.opening.clone(),
            others,
            transfer.cancelling,
        ) else {
            return false;
        };
        let lane = transfer.lane(&source);
        transfer.phase = Phase::Idle;
        transfer.opening = Opening::Waiting(source, task);
        self.openings.open -= 1;
        self.openings.downloads.done(&lane);
        self.openings.downloads.push(&lane, (task, id));
        self.openings.room = self.openings.open;
        true
    }

    fn open_now(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        if let BlobKey::Repository(..) = transfer.key {
            return self.deliver(id, ports);
        }
        transfer.phase = Phase::Beginning;
        let (store, digest) = transfer.stored()?;
        let op = StoreOp::Begin {
            digest,
            size: transfer.size,
            private: false,
        };
        self.beginning.insert((store, id));
        ports.step(Owner::Transfer(id), store, op);
        Ok(())
    }
}
