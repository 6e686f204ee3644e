//! The control plane of stores: which steps are asked for, and whose answer is whose.
//!
//! Responsible for order and for a bound on steps outside at once. Must not know what they are for.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::call::JobId;
use crate::store::{StoreCall, StoreId, StoreOp};
use crate::work::Owner;

/// Steps outside at once. They wait for disks, not for a network: a few keep a disk busy.
const OUTSIDE: usize = 8;

/// What became of abandoned steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned {
    /// So many had not gone out and never will.
    pub(crate) dropped: usize,
    /// Some are outside; their answers still come.
    pub(crate) outside: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Steps {
    queue: VecDeque<(Owner, StoreId, StoreOp)>,
    outside: BTreeMap<JobId, Owner>,
    aborts: VecDeque<JobId>,
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

    /// Nobody waits for the steps of these owners any more: those that have not gone out are
    /// dropped, and those that are outside shall end soon.
    pub(crate) fn abandon(&mut self, is_owner: impl Fn(&Owner) -> bool) -> Abandoned {
        let before = self.queue.len();
        self.queue.retain(|(owner, _, _)| !is_owner(owner));
        let outside = self.outside.iter().filter(|(_, owner)| is_owner(owner));
        let aborts: Vec<JobId> = outside.map(|(job, _)| *job).collect();
        let abandoned = Abandoned {
            dropped: before - self.queue.len(),
            outside: !aborts.is_empty(),
        };
        self.aborts.extend(aborts);
        abandoned
    }

    /// A step that shall end soon.
    pub(crate) fn take_abort(&mut self) -> Option<JobId> {
        while let Some(job) = self.aborts.pop_front() {
            if self.outside.contains_key(&job) {
                return Some(job);
            }
        }
        None
    }

    /// Whether steps are outside.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.outside.is_empty()
    }
}
