//! A session, the calls that wait for its tasks, and its jobs that are outside.
//!
//! ```text
//!                 ┌──────────── Dispatcher ─────────────┐
//!  start, end ──▶ │ session ── event ─▶ its task's call │ ──▶ jobs and aborts, for the driver to run
//!                 │         ── line  ─▶ calls that trace│
//!                 └─────────────────────────────────────┘
//! ```
//!
//! Responsible for telling each call what happens to its task, and for giving up jobs that were aborted and do
//! not end. Must not know where a job runs: that is the driver's `J`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windlass_core::tape::Taped;
use windlass_core::{
    Done, Event, Failure, Job, JobId, Output, Task, TaskId, TaskReport, Time, transcript,
};

use crate::observer::Observer;
use crate::progress::ProgressRegistry;

/// How long an aborted job may take to end before it is given up. Drivers wait in slices, so only a store or a
/// credential helper that hangs takes this long; a cancelled call returns within 1 s.
const ABANDON: Duration = Duration::from_millis(800);

/// What a call is told.
#[derive(Debug)]
pub enum CallMessage {
    /// An event of its task.
    Event(Box<Event>),
    /// A line of the transcript.
    Line(String),
}

impl CallMessage {
    /// Tells the observer of the call. Returns the result of the task, if this was its last event.
    pub fn deliver(
        self,
        task: TaskId,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Option<Result<TaskReport, Failure>> {
        match self {
            Self::Event(event) => {
                if let Some(observer) = observer {
                    observer.event(task, &event);
                }
                let Event::Finished(result) = *event else {
                    return None;
                };
                Some(result)
            }
            Self::Line(line) => {
                if let Some(observer) = observer {
                    observer.trace(&line);
                }
                None
            }
        }
    }
}

/// A call that waits for its task, as a driver has it.
pub trait CallHandle {
    /// Who watches it.
    fn observer(&self) -> Option<&Arc<dyn Observer>>;

    /// Puts a message into its inbox. The call may be gone: its task is being cancelled then.
    fn send(&self, message: CallMessage);
}

/// What a driver does next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives for a moment on one stack")]
pub enum Next<C, J> {
    /// Run this job. [`Dispatcher::begin`] notes where it is.
    Job(Job),
    /// Stop this job: [`Dispatcher::abort`] it, or [`end`](Dispatcher::end) it if it has not begun.
    Abort(JobId),
    /// An aborted job did not end in time: what runs it is not waited for any longer.
    GaveUp(J),
    /// The task of this call is over.
    Ended(C),
    /// Nothing, until a job ends, a call starts or this time has passed.
    Wait(Option<Duration>),
}

/// A session with its calls `C` and its jobs `J`.
pub struct Dispatcher<C, J> {
    session: Taped,
    epoch: Instant,
    progress: ProgressRegistry,
    calls: BTreeMap<TaskId, C>,
    /// Those calls that want the transcript.
    tracing: BTreeSet<TaskId>,
    jobs: BTreeMap<JobId, J>,
    /// Jobs that were aborted, in that order. Those that ended since are still in it.
    aborted: VecDeque<(Instant, JobId)>,
}

impl<C: CallHandle, J> Dispatcher<C, J> {
    /// A dispatcher without calls. `progress` hears which observer watches which transfer.
    pub fn new(session: Taped, progress: ProgressRegistry) -> Self {
        Self {
            session,
            epoch: Instant::now(),
            progress,
            calls: BTreeMap::new(),
            tracing: BTreeSet::new(),
            jobs: BTreeMap::new(),
            aborted: VecDeque::new(),
        }
    }

    /// The session's time.
    pub fn now(&self) -> Time {
        let micros = self.epoch.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Starts a task for a call.
    pub fn start(&mut self, task: Task, call: C) -> TaskId {
        let task = self.session.start(task);
        if call.observer().is_some_and(|observer| observer.traces()) {
            self.tracing.insert(task);
        }
        self.calls.insert(task, call);
        task
    }

    /// Cancels a task. Whether it was not over yet.
    pub fn cancel(&mut self, task: TaskId) -> bool {
        let is_waited_for = self.calls.contains_key(&task);
        if is_waited_for {
            self.session.cancel(task);
        }
        is_waited_for
    }

    /// The calls whose tasks are not over.
    pub const fn calls(&self) -> &BTreeMap<TaskId, C> {
        &self.calls
    }

    /// The call of a task that is not over.
    pub fn call_mut(&mut self, task: TaskId) -> Option<&mut C> {
        self.calls.get_mut(&task)
    }

    /// Drops all calls: what waits for their messages sees that there will be none.
    pub fn drop_calls(&mut self) {
        self.calls.clear();
        self.tracing.clear();
    }

    /// The task that a job runs for, if it is for one alone and that is not over.
    pub fn task_of(&self, job: JobId) -> Option<TaskId> {
        self.session.task_of(job)
    }

    /// The jobs that are outside.
    pub const fn jobs(&self) -> &BTreeMap<JobId, J> {
        &self.jobs
    }

    /// A job that is outside.
    pub fn job_mut(&mut self, id: JobId) -> Option<&mut J> {
        self.jobs.get_mut(&id)
    }

    /// Notes where a job is.
    pub fn begin(&mut self, id: JobId, job: J) {
        self.jobs.insert(id, job);
    }

    /// Gives a job that is outside a limited time to end. The driver tells whatever runs it.
    pub fn abort(&mut self, id: JobId) -> Option<&mut J> {
        let job = self.jobs.get_mut(&id)?;
        self.aborted.push_back((Instant::now(), id));
        Some(job)
    }

    /// Takes the end of a job. `None` if it was given up before.
    pub fn end(&mut self, done: Done) -> Option<J> {
        let job = self.jobs.remove(&done.id())?;
        self.handle(done);
        Some(job)
    }

    /// What to do next. Tells calls what happens to their tasks on the way.
    pub fn poll(&mut self) -> Next<C, J> {
        loop {
            if let Some(job) = self.give_up() {
                return Next::GaveUp(job);
            }
            match self.session.poll(self.now()) {
                Output::Job(job) => {
                    self.trace(|| transcript::job(&job));
                    return Next::Job(job);
                }
                Output::Abort(id) => {
                    self.trace(|| transcript::abort(id));
                    return Next::Abort(id);
                }
                Output::Event(task, event) => {
                    if let Some(call) = self.tell(task, event) {
                        return Next::Ended(call);
                    }
                }
                Output::Wait(until) => {
                    let until = until.map(|until| until.since(self.now()));
                    return Next::Wait(until.into_iter().chain(self.patience()).min());
                }
                Output::Idle => return Next::Wait(self.patience()),
            }
        }
    }

    fn handle(&mut self, done: Done) {
        self.trace(|| transcript::done(&done));
        let now = self.now();
        self.session.handle(done, now);
    }

    /// Tells the call of a task. Returns the call if the task is over.
    fn tell(&mut self, task: TaskId, event: Event) -> Option<C> {
        self.trace(|| transcript::told(task, &event));
        let call = self.calls.get(&task)?;
        if let (Event::Started { transfer, .. }, Some(observer)) = (&event, call.observer()) {
            self.progress.add(*transfer, task, observer);
        }
        let is_last = matches!(event, Event::Finished(_));
        call.send(CallMessage::Event(Box::new(event)));
        if !is_last {
            return None;
        }
        self.tracing.remove(&task);
        self.progress.forget(task);
        self.calls.remove(&task)
    }

    /// An aborted job that did not end in time.
    fn give_up(&mut self) -> Option<J> {
        while let Some((at, id)) = self.aborted.front() {
            let is_outside = self.jobs.contains_key(id);
            if is_outside && at.elapsed() < ABANDON {
                return None;
            }
            let id = *id;
            self.aborted.pop_front();
            let job = self.end(Done::lost(id));
            if job.is_some() {
                return job;
            }
        }
        None
    }

    /// How long until an aborted job is given up.
    fn patience(&self) -> Option<Duration> {
        let mut aborted = self.aborted.iter();
        let (at, _) = aborted.find(|(_, id)| self.jobs.contains_key(id))?;
        Some(ABANDON.saturating_sub(at.elapsed()))
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.tracing.is_empty() {
            return;
        }
        let line = line();
        for task in &self.tracing {
            if let Some(call) = self.calls.get(task) {
                call.send(CallMessage::Line(line.clone()));
            }
        }
    }
}

impl<C, J> fmt::Debug for Dispatcher<C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("calls", &self.calls.len())
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}
