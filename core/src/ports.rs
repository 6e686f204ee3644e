//! What a machine may use of the others.
//!
//! Responsible for being all of it: a machine begins exchanges and store steps, tells events and reads
//! the configuration through this, and answers by a queue of its own.

use alloc::collections::VecDeque;

use crate::config::Config;
use crate::event::Event;
use crate::exchanges::Exchanges;
use crate::ids::{Owner, TaskId};
use crate::store::{StoreId, StoreOp};
use crate::store_queue::StoreQueue;
use crate::time::Time;

/// The machines below, lent for one call.
#[derive(Debug)]
pub(crate) struct Ports<'a> {
    pub(crate) exchanges: &'a mut Exchanges,
    pub(crate) store_queue: &'a mut StoreQueue,
    pub(crate) events: &'a mut VecDeque<(TaskId, Event)>,
    pub(crate) config: &'a Config,
    /// The latest instant that was handed in.
    pub(crate) now: Time,
}

impl Ports<'_> {
    /// The same, for a shorter time.
    pub(crate) const fn lend(&mut self) -> Ports<'_> {
        Ports {
            exchanges: self.exchanges,
            store_queue: self.store_queue,
            events: self.events,
            config: self.config,
            now: self.now,
        }
    }

    /// Asks a store for a step. `owner` gets the answer.
    pub(crate) fn step(&mut self, owner: Owner, store: StoreId, op: StoreOp) {
        self.store_queue.begin(owner, store, op);
    }

    /// Reports an event of a task.
    pub(crate) fn event(&mut self, task: TaskId, event: Event) {
        self.events.push_back((task, event));
    }
}
