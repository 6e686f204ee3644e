//! The claim on a blob: who wants it, and who does no longer.
//!
//! Responsible for moving each blob once however many want it, and for stopping when nobody does. Must
//! not know how blobs move (`download`, `upload`).

use super::{Phase, Waiter, Work, WorkKey};
use crate::ids::{Owner, TaskId};
use crate::session::Session;

impl Session {
    /// Makes somebody wait for a blob; begins to move it if nobody does yet.
    pub(crate) fn want(&mut self, key: WorkKey, waiter: Waiter) {
        let spools = waiter.work.is_some();
        if let Some(work) = self.works.get_mut(&key) {
            work.spools &= spools;
            work.waiters.push_back(waiter);
            return;
        }
        let transfer = self.next_transfer();
        let mut work = Work::new(waiter.size, transfer);
        work.spools = spools;
        work.waiters.push_back(waiter);
        self.works.insert(key.clone(), work);
        self.begin_work(&key);
    }

    /// A task does not want this blob any more. If nobody else does, it stops.
    pub(crate) fn unwant(&mut self, key: &WorkKey, task: TaskId) {
        self.unwant_if(key, task, &|waiter| waiter.task == task);
    }

    fn unwant_if(&mut self, key: &WorkKey, task: TaskId, leaves: &dyn Fn(&Waiter) -> bool) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let before = work.waiters.len();
        let spool = work.waiters.front().and_then(|waiter| waiter.spool);
        let led = work.waiters.front().is_some_and(leaves);
        work.waiters.retain(|waiter| !leaves(waiter));
        if led {
            // What went wrong under one task is not held against the next.
            work.lost = 0;
        }
        // A spool goes away with its task: the next one begins anew, with its own.
        let spooled = matches!(
            work.stage,
            Phase::Spooling { .. } | Phase::Sending { spooled: Some(_) }
        );
        let ends = work.waiters.is_empty() || (led && spooled);
        if work.waiters.len() == before {
            return;
        }
        if !ends {
            if let (true, Some(exchange), Some(next)) = (led, work.exchange, work.waiters.front()) {
                self.exchanges.hand_over(exchange, next.task);
            }
            return;
        }
        work.leaving.push_back(task);
        work.stopping = true;
        let spooling = matches!(work.stage, Phase::Spooling { .. });
        if let Some(exchange) = work.exchange
            && self.exchanges.abandon(exchange)
        {
            return;
        }
        if let (true, Some(spool)) = (spooling, spool) {
            let spooled = WorkKey::Into(spool, key.digest().clone());
            self.unwant_if(&spooled, task, &|waiter| waiter.work.as_ref() == Some(key));
            return self.stopped(key);
        }
        if matches!(
            work.stage,
            Phase::Releasing(_) | Phase::Spoiled(_) | Phase::Clearing
        ) {
            // It is ending by itself, by a step that must not be dropped.
            return;
        }
        let owner = Owner::Work(key.clone());
        if !self.store_queue.abandon(|other| *other == owner).outside {
            self.stopped(key);
        }
    }

    /// An exchange that was abandoned is gone.
    pub(crate) fn sweep_works(&mut self) {
        let gone: alloc::vec::Vec<WorkKey> = self
            .works
            .iter()
            .filter(|(_, work)| work.stopping)
            .filter(|(_, work)| work.exchange.is_some_and(|id| !self.exchanges.is_open(id)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(work) = self.works.get_mut(&key) {
                work.exchange = None;
            }
            self.stopped(&key);
        }
    }

    /// Whether a task still has to do with a blob.
    pub(crate) fn is_working_for(&self, task: TaskId) -> bool {
        self.works.values().any(|work| {
            work.leaving.contains(&task) || work.waiters.iter().any(|waiter| waiter.task == task)
        })
    }

    /// Works that a task waits for.
    pub(crate) fn works_of(&self, task: TaskId) -> alloc::vec::Vec<WorkKey> {
        self.works
            .iter()
            .filter(|(_, work)| work.waiters.iter().any(|waiter| waiter.task == task))
            .map(|(key, _)| key.clone())
            .collect()
    }
}
