//! Who wants a blob, and who does not any more.
//!
//! Responsible for moving each blob once however many want it, and for stopping when nothing wants it.
//! Must not know how blobs move (`download`, `upload`).

use alloc::boxed::Box;

use super::opening::Opening;
use super::{BlobKey, Blobs, Phase, Recheck, Transfer, Waiter, Wants};
use crate::error::Error;
use crate::ids::{Owner, TaskId, TransferId};
use crate::ports::Ports;

impl Blobs {
    /// Wants a blob. It begins to move unless it does already.
    pub(crate) fn want(&mut self, key: BlobKey, waiter: Waiter, ports: &mut Ports<'_>) {
        let spools = waiter.wants != Wants::Task;
        if waiter.recheck != Recheck::None {
            self.forget_seen(&key);
        }
        if let Some(id) = self.by_key.get(&key).copied()
            && let Some(transfer) = self.transfers.get_mut(&id)
        {
            self.by_task.entry(waiter.task).or_default().insert(id);
            transfer.spools &= spools;
            transfer.waiters.push_back(waiter);
            return;
        }
        if self.is_known_to_be_there(&key, waiter.size, ports.now) {
            self.skip(&key, &waiter, ports);
            return;
        }
        let mut transfer = Transfer::new(key, waiter.size);
        transfer.spools = spools;
        let task = waiter.task;
        transfer.waiters.push_back(waiter);
        let id = self.add(transfer, task);
        let result = self.begin(id, ports);
        self.check(id, result, ports);
    }

    /// A task does not want its blobs any more. What nothing else wants stops.
    pub(crate) fn leave(&mut self, task: TaskId, ports: &mut Ports<'_>) {
        let ids = self.by_task.get(&task).cloned().unwrap_or_default();
        for id in ids {
            let result = self.unwant(id, task, &|waiter| waiter.task == task, ports);
            self.check(id, result, ports);
        }
    }

    /// Whether a task has still to do with a blob.
    pub(crate) fn is_working_for(&mut self, task: TaskId) -> bool {
        let Some(ids) = self.by_task.get_mut(&task) else {
            return false;
        };
        while let Some(id) = ids.first().copied() {
            if self.transfers.get(&id).is_some_and(|it| it.is_for(task)) {
                return true;
            }
            ids.remove(&id);
        }
        self.by_task.remove(&task);
        false
    }

    /// Adds a transfer, for a task.
    pub(super) fn add(&mut self, transfer: Transfer, task: TaskId) -> TransferId {
        let id = self.new_transfer();
        self.by_key.insert(transfer.key.clone(), id);
        self.by_task.entry(task).or_default().insert(id);
        self.transfers.insert(id, transfer.into());
        id
    }

    /// A number for a transfer.
    pub(crate) const fn new_transfer(&mut self) -> TransferId {
        self.begun += 1;
        TransferId(self.begun)
    }

    /// Removes a transfer from everything that names it.
    pub(super) fn remove(&mut self, id: TransferId) -> Option<Box<Transfer>> {
        let mut transfer = self.transfers.remove(&id)?;
        self.by_key.remove(&transfer.key);
        self.openings.leave(id, &mut transfer);
        self.forget_wake(id, &transfer.phase);
        self.dividing.remove(id);
        if let BlobKey::Store(store, _) = transfer.key {
            self.beginning.remove(&(store, id));
        }
        self.freed.extend(core::mem::take(&mut transfer.leaving));
        Some(transfer)
    }

    pub(super) fn forget_wake(&mut self, id: TransferId, phase: &Phase) {
        if let Phase::Busy {
            until: Some(until), ..
        } = phase
        {
            self.wakes.remove(&(*until, id));
        }
    }

    fn unwant(
        &mut self,
        id: TransferId,
        task: TaskId,
        leaves: &dyn Fn(&Waiter) -> bool,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let Some(transfer) = self.transfers.get_mut(&id) else {
            // It is over.
            return Ok(());
        };
        let before = transfer.waiters.len();
        let spool = transfer.waiters.front().and_then(|waiter| waiter.spool);
        let led = transfer.waiters.front().is_some_and(leaves);
        transfer.waiters.retain(|waiter| !leaves(waiter));
        if led {
            // What went wrong under one task is not held against the next.
            transfer.lost = 0;
        }
        // A spool goes away with its task: the next one begins again, with its own.
        let is_spooled = matches!(
            transfer.phase,
            Phase::Spooling { .. } | Phase::Sending { spooled: Some(_) }
        );
        let ends = transfer.waiters.is_empty() || (led && is_spooled);
        if transfer.waiters.len() == before {
            return Ok(());
        }
        if !ends {
            let next = transfer.waiters.front();
            if let (true, Some(exchange), Some(next)) = (led, transfer.exchange, next) {
                ports.exchanges.hand_over(exchange, next.task);
            }
            let parts = transfer.parts.as_deref();
            if let (true, Some(parts), Some(next)) = (led, parts, next) {
                for exchange in parts.exchanges() {
                    ports.exchanges.hand_over(exchange, next.task);
                }
            }
            if led && matches!(transfer.opening, Opening::Waiting(..)) {
                // It waits for its turn with what the one that left said of it.
                return self.begin(id, ports);
            }
            return Ok(());
        }
        transfer.leaving.push_back(task);
        (transfer.cancelling, transfer.failed) = (true, None);
        if let Some(exchange) = transfer.exchange
            && ports.exchanges.abandon(exchange)
        {
            return Ok(());
        }
        if self.abandon_parts(id, ports) {
            return Ok(());
        }
        let transfer = self.get(id)?;
        transfer.parts = None;
        if let (Phase::Spooling { .. }, Some(spool)) = (&transfer.phase, spool) {
            let spooled = BlobKey::Store(spool, transfer.key.digest().clone());
            if let Some(download) = self.by_key.get(&spooled).copied() {
                let this = Wants::Upload { upload: id, spool };
                let result = self.unwant(download, task, &|it| it.wants == this, ports);
                self.check(download, result, ports);
            }
            return self.stopped(id, ports);
        }
        if matches!(
            transfer.phase,
            Phase::Releasing(_) | Phase::Spoiled(_) | Phase::Clearing
        ) {
            // It is ending by itself, by a step that must not be dropped.
            return Ok(());
        }
        let steps = ports.store_queue.abandon(Owner::Transfer(id));
        if steps.outside {
            return Ok(());
        }
        self.stopped(id, ports)
    }
}
