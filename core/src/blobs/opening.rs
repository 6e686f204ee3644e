//! How many partials are open at once, for each source and store.
//!
//! Responsible for whose turn it is to open one. Must not know what is written to them (`download`).

use super::{BlobSource, Blobs, Phase, Transfer};
use crate::error::Error;
use crate::ids::{Owner, TaskId, TransferId};
use crate::lanes::Lanes;
use crate::ports::Ports;
use crate::registry::Origin;
use crate::store::{StoreId, StoreOp};

/// Partials from one source in one store that are open at once: each holds a file open. More than the
/// requests to a host at once, as some of them are being opened or committed.
pub(super) const OPEN: usize = 64;

/// Who waits for whom: a store, and what it is written from.
pub(super) type Lane = (StoreId, Peer);

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Peer {
    Host(Origin),
    Store(StoreId),
}

/// Whether a transfer into a store has, or is about to have, a partial open.
#[derive(Clone, Debug, Default)]
pub(super) enum Opening {
    #[default]
    No,
    /// It waits for its turn, which tasks have in the order in which they began.
    Waiting(Lane, TaskId),
    Open(Lane),
}

/// The transfers that have a partial open, and those that wait for it.
#[derive(Debug)]
pub(super) struct Openings {
    pub(super) lanes: Lanes<Lane, (TaskId, TransferId)>,
    pub(super) open: usize,
    /// How many may be open at once over all lanes. Unlimited until the process runs out of file
    /// descriptors.
    pub(super) room: usize,
}

impl Default for Openings {
    fn default() -> Self {
        Self {
            lanes: Lanes::new(OPEN),
            open: 0,
            room: usize::MAX,
        }
    }
}

impl Blobs {
    /// Opens a partial for a transfer, now or when it is its turn.
    pub(super) fn open(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let waiter = transfer.first()?;
        let (store, _) = transfer.stored()?;
        let from = match &waiter.source {
            BlobSource::Site(site) => Peer::Host(site.origin.clone()),
            BlobSource::Store(from) => Peer::Store(*from),
        };
        let lane = (store, from);
        match &transfer.opening {
            Opening::Open(open) if *open == lane => return self.open_now(id, ports),
            Opening::Waiting(waiting, _) if *waiting == lane => return Ok(()),
            Opening::No | Opening::Open(_) | Opening::Waiting(..) => {}
        }
        let before = core::mem::take(&mut transfer.opening);
        transfer.opening = Opening::Waiting(lane.clone(), waiter.task);
        self.leave_lane(id, before);
        self.openings.lanes.push(&lane, (waiter.task, id));
        self.open_next(ports);
        Ok(())
    }

    /// Opens partials while there is room.
    pub(super) fn open_next(&mut self, ports: &mut Ports<'_>) {
        while self.openings.open < self.openings.room
            && let Some((_, id)) = self.openings.lanes.pop()
        {
            self.openings.open += 1;
            if let Some(transfer) = self.transfers.get_mut(&id)
                && let Opening::Waiting(lane, _) = core::mem::take(&mut transfer.opening)
            {
                transfer.opening = Opening::Open(lane);
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
        let (Some(task), true, false) = (transfer.task(), others, transfer.cancelling) else {
            return false;
        };
        let Opening::Open(lane) = core::mem::take(&mut transfer.opening) else {
            return false;
        };
        transfer.stage = Phase::Idle;
        transfer.opening = Opening::Waiting(lane.clone(), task);
        self.leave_lane(id, Opening::Open(lane.clone()));
        self.openings.lanes.push(&lane, (task, id));
        self.openings.room = self.openings.open;
        true
    }

    /// A transfer into a store ends: its partial is not open any more.
    pub(super) fn close(&mut self, id: TransferId, transfer: &mut Transfer) {
        let before = core::mem::take(&mut transfer.opening);
        self.leave_lane(id, before);
    }

    fn leave_lane(&mut self, id: TransferId, opening: Opening) {
        match opening {
            Opening::No => {}
            Opening::Waiting(lane, task) => self.openings.lanes.remove(&lane, (task, id)),
            Opening::Open(lane) => {
                self.openings.open -= 1;
                self.openings.lanes.done(&lane);
            }
        }
    }

    fn open_now(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
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
