//! Jobs that no thread runs yet, and whose turn it is.
//!
//! Responsible for sharing the threads between hosts, stores and sources of credentials, so that those that
//! do not answer leave some to the others. Must not know threads.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::registry::{Origin, Registry};
use windlass_core::store::StoreId;
use windlass_core::{Job, JobId};

/// What a job waits for while it runs.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Lane {
    Host(Origin),
    Store(StoreId),
    Credentials(Registry),
}

impl Lane {
    pub(crate) fn of(job: &Job) -> Self {
        match job {
            Job::Http(call) => Self::Host(call.origin().clone()),
            // The source is read from as fast as the sink takes it.
            Job::Relay(relay) => Self::Host(relay.sink().origin().clone()),
            Job::Store(step) => Self::Store(step.store()),
            Job::Credentials(call) => Self::Credentials(call.question().registry().clone()),
        }
    }
}

/// Jobs that do not run, and how many of each lane do.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    lanes: BTreeMap<Lane, Jobs>,
    /// Lanes with jobs that do not run: how many of theirs do, and the first that does not.
    ready: BTreeSet<(usize, JobId, Lane)>,
}

#[derive(Debug, Default)]
struct Jobs {
    running: usize,
    waiting: BTreeMap<JobId, Job>,
}

impl Jobs {
    fn rank(&self, lane: &Lane) -> Option<(usize, JobId, Lane)> {
        let (first, _) = self.waiting.first_key_value()?;
        Some((self.running, *first, lane.clone()))
    }
}

impl Backlog {
    pub(crate) fn push(&mut self, lane: &Lane, job: Job) {
        self.change(lane, |jobs| jobs.waiting.insert(job.id(), job));
    }

    /// A job of the lane that runs the fewest jobs, if those are fewer than `share`. It runs until
    /// [`Backlog::done`].
    pub(crate) fn take(&mut self, share: usize) -> Option<Job> {
        let (running, _, lane) = self.ready.first()?;
        if *running >= share {
            return None;
        }
        let lane = lane.clone();
        self.change(&lane, |jobs| {
            jobs.running += 1;
            jobs.waiting.pop_first().map(|(_, job)| job)
        })
    }

    /// Removes a job that does not run.
    pub(crate) fn remove(&mut self, lane: &Lane, id: JobId) -> Option<Job> {
        self.change(lane, |jobs| jobs.waiting.remove(&id))
    }

    /// A job does not run any more.
    pub(crate) fn done(&mut self, lane: &Lane) {
        self.change(lane, |jobs| jobs.running -= 1);
    }

    fn change<T>(&mut self, lane: &Lane, change: impl FnOnce(&mut Jobs) -> T) -> T {
        let jobs = self.lanes.entry(lane.clone()).or_default();
        if let Some(rank) = jobs.rank(lane) {
            self.ready.remove(&rank);
        }
        let changed = change(jobs);
        if let Some(rank) = jobs.rank(lane) {
            self.ready.insert(rank);
        } else if jobs.running == 0 {
            self.lanes.remove(lane);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::{Config, Output, Session, Task, Time};

    use super::*;

    /// The first job of each of these tasks.
    fn jobs(hosts: &[&str]) -> Vec<Job> {
        let mut session = Session::new(Config::default(), 1);
        for (n, host) in hosts.iter().enumerate() {
            let reference = format!("{host}/app{n}:v1");
            session.start(Task::resolve(reference.parse().expect("a reference")));
        }
        let mut jobs = Vec::new();
        while let Output::Job(job) = session.poll(Time::ZERO) {
            jobs.push(job);
        }
        jobs
    }

    fn backlog(hosts: &[&str]) -> (Backlog, Vec<(JobId, Lane)>) {
        let (mut backlog, mut lanes) = (Backlog::default(), Vec::new());
        for job in jobs(hosts) {
            let lane = Lane::of(&job);
            lanes.push((job.id(), lane.clone()));
            backlog.push(&lane, job);
        }
        (backlog, lanes)
    }

    #[test]
    fn a_lane_with_fewer_jobs_goes_first() {
        // A host that nothing is known of has one request at once.
        let (mut backlog, lanes) = backlog(&["a.example", "b.example"]);
        let [(a, first), (b, second)] = &lanes[..] else {
            panic!("{lanes:?}");
        };
        assert_eq!(backlog.take(1).map(|job| job.id()), Some(*a));
        let again = jobs(&["a.example", "a.example"]).remove(0);
        backlog.push(first, again);
        assert_eq!(backlog.take(1).map(|job| job.id()), Some(*b));
        assert_eq!(backlog.take(1).map(|job| job.id()), None);
        assert_eq!(backlog.take(2).map(|job| job.id()), Some(*a));
        for lane in [first, first, second] {
            backlog.done(lane);
        }
        assert!(backlog.lanes.is_empty() && backlog.ready.is_empty());
    }

    #[test]
    fn a_job_that_does_not_run_is_removed() {
        let (mut backlog, lanes) = backlog(&["a.example"]);
        let [(id, lane)] = &lanes[..] else {
            panic!("{lanes:?}");
        };
        assert!(backlog.remove(lane, *id).is_some());
        assert!(backlog.remove(lane, *id).is_none());
        assert!(backlog.take(usize::MAX).is_none() && backlog.lanes.is_empty());
    }
}
