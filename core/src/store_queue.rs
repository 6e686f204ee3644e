//! The control plane of stores: which steps go out, and who gets each answer.
//!
//! Responsible for order, for a bound on steps outside at once per store, and for steps that go out again
//! later. Must not know what they are for.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::ids::{JobId, NodeId, Owner, TaskId};
use crate::lanes::Lanes;
use crate::retry::Tries;
use crate::store::{StoreCall, StoreId, StoreOp};
use crate::time::Time;

/// Steps outside at once for each store. They wait for a disk, not for a network: a few keep it busy.
const OUTSIDE: usize = 8;

/// A step, and how often it was tried.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) owner: Owner,
    pub(crate) store: StoreId,
    pub(crate) op: StoreOp,
    pub(crate) tries: Tries,
    /// Nothing waits for its answer any more.
    pub(crate) abandoned: bool,
    state: StepState,
}

/// How far a step is.
#[derive(Clone, Copy, Debug)]
enum StepState {
    Queued,
    Later(Time),
    Outside(JobId),
}

/// Names a step. A counter, so the oldest goes out first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct StepId(u64);

/// What a step waits for: its store, and the one that it copies from.
type Lane = (StoreId, Option<StoreId>);

/// What became of abandoned steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned {
    /// How many had not gone out and never will.
    pub(crate) dropped: usize,
    /// Some are outside; their answers still come.
    pub(crate) outside: bool,
}

#[derive(Debug)]
pub(crate) struct StoreQueue {
    next: u64,
    steps: BTreeMap<StepId, Step>,
    owners: BTreeSet<(Owner, StepId)>,
    lanes: Lanes<Lane, StepId>,
    /// Steps that go out again, and when.
    later: BTreeSet<(Time, StepId)>,
    outside: BTreeMap<JobId, StepId>,
    aborts: VecDeque<JobId>,
}

impl Default for StoreQueue {
    fn default() -> Self {
        Self {
            next: 0,
            steps: BTreeMap::new(),
            owners: BTreeSet::new(),
            lanes: Lanes::new(OUTSIDE),
            later: BTreeSet::new(),
            outside: BTreeMap::new(),
            aborts: VecDeque::new(),
        }
    }
}

impl StoreQueue {
    /// Asks for a step. Its owner gets the answer.
    pub(crate) fn begin(&mut self, owner: Owner, store: StoreId, op: StoreOp) {
        let step = Step {
            owner,
            store,
            op,
            tries: Tries::default(),
            abandoned: false,
            state: StepState::Queued,
        };
        let (id, lane) = (self.add(step.owner), step.lane());
        self.steps.insert(id, step);
        self.lanes.push(&lane, id);
    }

    /// A step that did nothing, as no file descriptor was left, goes out again; fewer at once until one is
    /// good.
    pub(crate) fn again(&mut self, mut step: Step, at: Time) {
        self.lanes.shrink(&step.lane());
        step.state = StepState::Later(at);
        let id = self.add(step.owner);
        self.steps.insert(id, step);
        self.later.insert((at, id));
    }

    /// A step was good: one more at once.
    pub(crate) fn grow(&mut self, step: &Step) {
        self.lanes.grow(&step.lane());
    }

    /// The next step that may go out.
    pub(crate) fn next(&mut self, job: JobId, now: Time) -> Option<StoreCall> {
        while let Some((at, id)) = self.later.first().copied()
            && at <= now
        {
            self.later.remove(&(at, id));
            if let Some(step) = self.steps.get_mut(&id) {
                step.state = StepState::Queued;
                self.lanes.push(&step.lane(), id);
            }
        }
        let id = self.lanes.pop()?;
        let step = self.steps.get_mut(&id)?;
        step.state = StepState::Outside(job);
        self.outside.insert(job, id);
        Some(StoreCall::new(job, step.store, step.op.clone()))
    }

    /// The owner of a step, if it is outside.
    pub(crate) fn owner(&self, job: JobId) -> Option<Owner> {
        let step = self.steps.get(self.outside.get(&job)?)?;
        Some(step.owner)
    }

    /// Takes a step that is back.
    pub(crate) fn take(&mut self, job: JobId) -> Option<Step> {
        let id = self.outside.remove(&job)?;
        let step = self.remove(id)?;
        self.lanes.done(&step.lane());
        Some(step)
    }

    /// When a step goes out that only waits for its time.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Nothing waits for the steps of a transfer or a manifest any more: those that have not gone out are
    /// dropped, and those that are outside shall end soon.
    pub(crate) fn abandon(&mut self, owner: Owner) -> Abandoned {
        self.abandon_all(owner..=owner)
    }

    /// The same for the steps of all manifests of a task.
    pub(crate) fn abandon_task(&mut self, task: TaskId) -> Abandoned {
        let node = |node| Owner::Node(task, NodeId(node));
        self.abandon_all(node(0)..=node(usize::MAX))
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

    fn add(&mut self, owner: Owner) -> StepId {
        let id = StepId(self.next);
        self.next += 1;
        self.owners.insert((owner, id));
        id
    }

    fn remove(&mut self, id: StepId) -> Option<Step> {
        let step = self.steps.remove(&id)?;
        self.owners.remove(&(step.owner, id));
        Some(step)
    }

    fn abandon_all(&mut self, owners: RangeInclusive<Owner>) -> Abandoned {
        let (first, last) = owners.into_inner();
        let range = (first, StepId(0))..=(last, StepId(u64::MAX));
        let ids: Vec<StepId> = self.owners.range(range).map(|(_, id)| *id).collect();
        let mut abandoned = Abandoned {
            dropped: 0,
            outside: false,
        };
        for id in ids {
            let Some(step) = self.steps.get_mut(&id) else {
                continue;
            };
            match step.state {
                StepState::Outside(job) => {
                    step.abandoned = true;
                    abandoned.outside = true;
                    self.aborts.push_back(job);
                    continue;
                }
                StepState::Later(at) => drop(self.later.remove(&(at, id))),
                StepState::Queued => self.lanes.remove(&step.lane(), &id),
            }
            abandoned.dropped += 1;
            self.remove(id);
        }
        abandoned
    }
}

impl Step {
    const fn lane(&self) -> Lane {
        let from = match &self.op {
            StoreOp::Import { from, .. } => Some(*from),
            StoreOp::Begin { .. }
            | StoreOp::Load { .. }
            | StoreOp::Put { .. }
            | StoreOp::Hash { .. }
            | StoreOp::Commit { .. }
            | StoreOp::Discard { .. }
            | StoreOp::Release { .. }
            | StoreOp::Remove { .. }
            | StoreOp::Find { .. }
            | StoreOp::Gather { .. }
            | StoreOp::Referrers { .. }
            | StoreOp::AddReferrers { .. }
            | StoreOp::Tag { .. } => None,
        };
        (self.store, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};

    const A: StoreId = StoreId(1);
    const B: StoreId = StoreId(2);

    fn load() -> StoreOp {
        let digest = Digest::of(Algorithm::Sha256, b"{}");
        StoreOp::Load { digest, limit: 1 }
    }

    fn node(task: u64, node: usize) -> Owner {
        Owner::Node(TaskId(task), NodeId(node))
    }

    /// The stores of the steps that go out now.
    fn out(queue: &mut StoreQueue, jobs: &mut u64, now: Time) -> Vec<StoreId> {
        let next = || {
            *jobs += 1;
            queue.next(JobId(*jobs), now).map(|call| call.store())
        };
        core::iter::from_fn(next).collect()
    }

    #[test]
    fn a_silent_store_does_not_hold_up_another() {
        let (mut queue, mut jobs) = (StoreQueue::default(), 0);
        let import = StoreOp::Import {
            from: B,
            digest: Digest::of(Algorithm::Sha256, b"{}"),
            size: 2,
        };
        for step in 0..200 {
            queue.begin(node(0, step), B, load());
            queue.begin(node(0, step), A, import.clone());
        }
        queue.begin(node(1, 0), A, load());
        let out = out(&mut queue, &mut jobs, Time::ZERO);
        // Those that copy from it into the other one wait for it, too.
        assert_eq!(out.len(), 2 * OUTSIDE + 1);
        assert_eq!(out.last(), Some(&A));
    }

    #[test]
    fn abandoned_steps_are_dropped_or_aborted() {
        let (mut queue, mut jobs) = (StoreQueue::default(), 0);
        for step in 0..OUTSIDE + 3 {
            queue.begin(node(0, step), A, load());
        }
        queue.begin(node(1, 0), A, load());
        assert_eq!(out(&mut queue, &mut jobs, Time::ZERO).len(), OUTSIDE);
        let step = queue.take(JobId(1)).expect("it is outside");
        queue.again(step, Time::from_micros(5));
        let abandoned = queue.abandon_task(TaskId(0));
        assert_eq!((abandoned.dropped, abandoned.outside), (4, true));
        assert_eq!(queue.wakes_at(), None);
        for job in 2..=OUTSIDE as u64 {
            assert_eq!(queue.take_abort(), Some(JobId(job)));
            assert!(queue.take(JobId(job)).is_some_and(|step| step.abandoned));
        }
        assert_eq!(queue.take_abort(), None);
        assert_eq!(out(&mut queue, &mut jobs, Time::ZERO), [A]);
        assert!(queue.abandon(node(1, 0)).outside);
        assert!(queue.take(JobId(jobs - 1)).is_some());
        assert!(queue.steps.is_empty() && queue.owners.is_empty() && queue.lanes.is_empty());
    }

    #[test]
    fn a_step_that_goes_out_again_waits_for_its_time() {
        let (mut queue, mut jobs) = (StoreQueue::default(), 0);
        queue.begin(node(0, 0), A, load());
        assert_eq!(out(&mut queue, &mut jobs, Time::ZERO), [A]);
        let step = queue.take(JobId(1)).expect("it is outside");
        let at = Time::from_micros(5);
        queue.again(step, at);
        assert_eq!(out(&mut queue, &mut jobs, Time::from_micros(4)), []);
        assert_eq!(queue.wakes_at(), Some(at));
        assert_eq!(out(&mut queue, &mut jobs, at), [A]);
        assert_eq!(queue.wakes_at(), None);
    }
}
