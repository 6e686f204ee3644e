//! The control plane of stores: which steps are asked for, and whose answer is whose.
//!
//! Responsible for order and for a bound on steps outside at once. Must not know what they are for.

use alloc::collections::{BTreeMap, VecDeque};

use crate::call::JobId;
use crate::store::{StoreCall, StoreId, StoreOp};
use crate::work::Owner;

/// Steps outside at once. They wait for disks, not for a network: a few keep a disk busy.
const OUTSIDE: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Steps {
    queue: VecDeque<(Owner, StoreId, StoreOp)>,
    outside: BTreeMap<JobId, Owner>,
}

impl Steps {
    /// Asks for a step. Its owner gets the answer.
    pub(crate) fn begin(&mut self, owner: Owner, store: StoreId, op: StoreOp) {
        self.queue.push_back((owner, store, op));
    }

    /// The next step that may go out.
    pub(crate) fn next(&mut self, job: JobId) -> Option<StoreCall> {
        if self.outside.len() >= OUTSIDE {
            return None;
        }
        let (owner, store, op) = self.queue.pop_front()?;
        self.outside.insert(job, owner);
        Some(StoreCall::new(job, store, op))
    }

    /// Whose step this was.
    pub(crate) fn take(&mut self, job: JobId) -> Option<Owner> {
        self.outside.remove(&job)
    }

    /// Drops steps that have not gone out. Whether one is outside.
    pub(crate) fn abandon(&mut self, is_owner: impl Fn(&Owner) -> bool) -> bool {
        self.queue.retain(|(owner, _, _)| !is_owner(owner));
        self.outside.values().any(is_owner)
    }

    /// Drops steps that have not gone out, and says how many.
    pub(crate) fn drop_queued(&mut self, is_owner: impl Fn(&Owner) -> bool) -> usize {
        let before = self.queue.len();
        self.queue.retain(|(owner, _, _)| !is_owner(owner));
        before - self.queue.len()
    }

    /// Whether steps are outside.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.outside.is_empty()
    }
}
