//! The control plane of stores: which steps are asked for, and whose answer is whose.
//!
//! Responsible for order, for a bound on steps outside at once, and for steps that go out again later. Must
//! not know what they are for.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::ids::{JobId, Owner};
use crate::retry::Tries;
use crate::store::{StoreCall, StoreId, StoreOp};
use crate::time::Time;

/// Steps outside at once. They wait for disks, not for a network: a few keep a disk busy.
const OUTSIDE: usize = 8;

/// A step, and how often it was tried.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) owner: Owner,
    pub(crate) store: StoreId,
    pub(crate) op: StoreOp,
    pub(crate) tries: Tries,
    /// Its answer is not wanted any more.
    pub(crate) abandoned: bool,
}

/// What became of abandoned steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned {
    /// The number of those that had not gone out and never will.
    pub(crate) dropped: usize,
    /// Some are outside; their answers still come.
    pub(crate) outside: bool,
}

#[derive(Debug)]
pub(crate) struct StoreQueue {
    queue: VecDeque<Step>,
    /// Those that go out again, and when.
    later: Vec<(Time, Step)>,
    outside: BTreeMap<JobId, Step>,
    aborts: VecDeque<JobId>,
    /// How many may be outside at once.
    most: usize,
}

impl Default for StoreQueue {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            later: Vec::new(),
            outside: BTreeMap::new(),
            aborts: VecDeque::new(),
            most: OUTSIDE,
        }
    }
}

impl StoreQueue {
    /// Asks for a step. Its owner gets the answer.
    pub(crate) fn begin(&mut self, owner: Owner, store: StoreId, op: StoreOp) {
        self.queue.push_back(Step {
            owner,
            store,
            op,
            tries: Tries::default(),
            abandoned: false,
        });
    }

    /// A step that did nothing, as no file descriptor was left, goes out again; fewer at once until one is
    /// good.
    pub(crate) fn again(&mut self, step: Step, at: Time) {
        self.most = (self.most / 2).max(1);
        self.later.push((at, step));
    }

    /// A step was good: one more at once.
    pub(crate) fn grow(&mut self) {
        self.most = (self.most + 1).min(OUTSIDE);
    }

    /// The next step that may go out.
    pub(crate) fn next(&mut self, job: JobId, now: Time) -> Option<StoreCall> {
        if self.outside.len() >= self.most {
            return None;
        }
        let due = self.later.iter().position(|(at, _)| *at <= now);
        let step = match due {
            Some(due) => self.later.remove(due).1,
            None => self.queue.pop_front()?,
        };
        let call = StoreCall::new(job, step.store, step.op.clone());
        self.outside.insert(job, step);
        Some(call)
    }

    /// Whose step this is, if it is outside.
    pub(crate) fn owner(&self, job: JobId) -> Option<Owner> {
        self.outside.get(&job).map(|step| step.owner)
    }

    /// Which step this was.
    pub(crate) fn take(&mut self, job: JobId) -> Option<Step> {
        self.outside.remove(&job)
    }

    /// When a step goes out that only waits for its time.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        let at = self.later.iter().map(|(at, _)| *at).min();
        at.filter(|_| self.outside.len() < self.most)
    }

    /// Abandons the steps of these owners: those that have not gone out are dropped, and those that
    /// are outside are aborted.
    pub(crate) fn abandon(&mut self, is_owner: impl Fn(&Owner) -> bool) -> Abandoned {
        let before = self.queue.len() + self.later.len();
        self.queue.retain(|step| !is_owner(&step.owner));
        self.later.retain(|(_, step)| !is_owner(&step.owner));
        let mut aborts = Vec::new();
        for (job, step) in &mut self.outside {
            if is_owner(&step.owner) {
                step.abandoned = true;
                aborts.push(*job);
            }
        }
        let abandoned = Abandoned {
            dropped: before - self.queue.len() - self.later.len(),
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
}
