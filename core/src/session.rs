//! The control plane.

use alloc::string::String;
use core::time::Duration;

use crate::call::{Done, Job, JobId};
use crate::config::Config;
use crate::event::Event;
use crate::task::{Task, TaskId};
use crate::time::Time;

/// The machine. See the crate's documentation for its contract.
#[derive(Debug)]
pub struct Session {
    _config: Config,
}

/// What a session wants next.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an output that is dropped is lost: jobs must be run, events told"]
pub enum Output {
    /// Run this job on any worker and hand its `Done` to [`Session::handle`].
    Job(Job),
    /// End this job soon; its `Done` still comes.
    Abort(JobId),
    /// Tell whoever watches this task.
    Event(TaskId, Event),
    /// Nothing to do before this instant, unless a `Done` comes first. `None`: wait for a `Done`.
    Wait(Option<Time>),
    /// Nothing to do at all: no task is unfinished.
    Idle,
}

impl Session {
    /// A session. The seed is for jitter and nothing else.
    pub fn new(config: Config, _seed: u64) -> Self {
        Self { _config: config }
    }

    /// Begins a task.
    pub fn start(&mut self, _task: Task) -> TaskId {
        unimplemented!()
    }

    /// Ends a task early: its jobs are aborted, then its `Finished` event comes.
    pub fn cancel(&mut self, _task: TaskId) {
        unimplemented!()
    }

    /// What is wanted next.
    pub fn poll(&mut self, _now: Time) -> Output {
        unimplemented!()
    }

    /// Takes the end of a job.
    pub fn handle(&mut self, _done: Done, _now: Time) {
        unimplemented!()
    }
}

#[expect(dead_code, reason = "skeleton")]
type Unused = (String, Duration);
