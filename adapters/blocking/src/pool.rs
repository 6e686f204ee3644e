//! The loop: polls the session and runs its jobs on a pool of threads.
//!
//! ```text
//!            ┌──────────── lock ────────────┐
//!  thread ──▶│ poll: event → its task's call│── job ──▶ run, unlocked ──▶ lock, handle, again
//!            │       abort → stop flag      │
//!            │       wait  → condition      │
//!            └──────────────────────────────┘
//! ```
//!
//! Every thread does the same. One of them is always left out of the jobs, so that the session is
//! polled however many jobs block. Events are handed to the threads that wait for their task in
//! [`Pool::run`]: those call observers, in order, with nothing locked.
//!
//! Responsible for threads. Must not know what jobs do.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use windlass_core::call::Interrupted;
use windlass_core::tape::Taped;
use windlass_core::{
    Done, Error, Event, Failure, Job, JobId, Output, Report, Task, TaskId, Time, transcript,
};
use windlass_driver::{CancelHandle, Observer};

use crate::control::Control;
use crate::transfer::Context;

/// How long an aborted job may take to end before it is given up. Waits are sliced, so only a
/// store or a credential helper that hangs takes this long; a cancelled call returns within 1 s.
const ABANDON: Duration = Duration::from_millis(800);

/// How long a client that goes away waits for its threads.
const LEAVE: Duration = Duration::from_secs(1);

/// The deepest thing on a worker's stack is a TLS handshake that verifies an RSA chain, which
/// needs some 40 KiB in a build without optimisation.
pub(crate) const STACK: usize = 256 * 1024;

/// A session and the threads that run its jobs.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    left: Condvar,
    context: Context,
    epoch: Instant,
    most: usize,
}

#[derive(Debug)]
struct State {
    session: Taped,
    calls: BTreeMap<TaskId, Watcher>,
    running: BTreeMap<JobId, Running>,
    /// Jobs that no thread runs yet.
    backlog: VecDeque<Job>,
    /// Threads that will come back here.
    threads: usize,
    /// Those of them that run a job.
    busy: usize,
    /// Those of them that wait to be woken.
    waiting: usize,
    closing: bool,
}

#[derive(Debug)]
struct Watcher {
    told: Sender<Told>,
    observer: Watched,
}

#[derive(Clone)]
struct Watched(Option<Arc<dyn Observer>>);

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

#[derive(Debug)]
struct Running {
    control: Arc<Control>,
    aborted: Option<Instant>,
}

/// What the thread that waits for a task is told.
enum Told {
    Event(Box<Event>),
    Line(String),
}

#[expect(clippy::large_enum_variant, reason = "lives for a moment on one stack")]
enum Next {
    Run(Job),
    Wait(Option<Duration>),
}

impl Pool {
    pub(crate) fn new(session: Taped, context: Context, most: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                session,
                calls: BTreeMap::new(),
                running: BTreeMap::new(),
                backlog: VecDeque::new(),
                threads: 0,
                busy: 0,
                waiting: 0,
                closing: false,
            }),
            wake: Condvar::new(),
            left: Condvar::new(),
            context,
            epoch: Instant::now(),
            most,
        })
    }

    pub(crate) const fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn now(&self) -> Time {
        let micros = self.epoch.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Runs a task and tells its observer everything, on this thread.
    pub(crate) fn run(
        self: &Arc<Self>,
        task: Task,
        observer: Option<&Arc<dyn Observer>>,
        cancel: Option<&CancelHandle>,
    ) -> Result<Report, Failure> {
        let (task, told) = self.start(task, observer)?;
        let _cancelling = Cancelling { pool: self, task };
        let _listening = cancel.map(|cancel| {
            let pool = Arc::clone(self);
            cancel.on_cancel(move || pool.cancel(task))
        });
        for told in told {
            match (told, observer) {
                (Told::Event(event), observer) => {
                    if let Some(observer) = observer {
                        observer.event(task, &event);
                    }
                    if let Event::Finished(result) = *event {
                        return result;
                    }
                }
                (Told::Line(line), Some(observer)) => observer.trace(&line),
                (Told::Line(_), None) => {}
            }
        }
        panic!("a thread of the client panicked: a defect in windlass")
    }

    /// Ends everything and waits a little for the threads.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        for running in state.running.values() {
            running.control.stop();
        }
        self.wake.notify_all();
        let until = Instant::now() + LEAVE;
        while state.threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.left.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn start(
        self: &Arc<Self>,
        task: Task,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Result<(TaskId, Receiver<Told>), Failure> {
        let mut state = self.lock();
        self.attend(&mut state)?;
        let task = state.session.start(task);
        let (told, receiver) = channel();
        let observer = Watched(observer.cloned());
        state.calls.insert(task, Watcher { told, observer });
        Ok((task, receiver))
    }

    fn cancel(&self, task: TaskId) {
        let mut state = self.lock();
        if state.calls.contains_key(&task) {
            state.session.cancel(task);
            self.wake.notify_one();
        }
    }

    /// Sees to it that some thread polls soon.
    fn attend(self: &Arc<Self>, state: &mut State) -> Result<(), Failure> {
        if state.waiting > 0 {
            self.wake.notify_one();
            return Ok(());
        }
        if state.threads == self.most {
            // One of them is not busy and is about to poll.
            return Ok(());
        }
        let pool = Arc::clone(self);
        let builder = thread::Builder::new()
            .name("windlass".into())
            .stack_size(STACK);
        match builder.spawn(move || pool.work()) {
            Ok(_) => state.threads += 1,
            // Those that are there do it all, later.
            Err(_) if state.threads > state.busy => {}
            Err(error) => {
                let what = format!("no thread could be started: {error}");
                return Err(Failure::new(vec![Error::Policy { what }]));
            }
        }
        Ok(())
    }

    fn work(self: Arc<Self>) {
        let _alarm = Alarm(&self);
        let mut state = self.lock();
        while !state.closing {
            match self.next(&mut state) {
                Next::Run(job) => match self.run_job(state, job) {
                    Some(locked) => state = locked,
                    // It took so long that nobody counts on this thread any more.
                    None => return,
                },
                Next::Wait(limit) => {
                    state.waiting += 1;
                    state = match limit {
                        Some(limit) => {
                            let waited = self.wake.wait_timeout(state, limit);
                            waited.unwrap_or_else(PoisonError::into_inner).0
                        }
                        None => self
                            .wake
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner),
                    };
                    state.waiting -= 1;
                }
            }
        }
        state.threads -= 1;
        self.left.notify_all();
    }

    /// Runs a job without the lock. `None` if it was given up in the meantime.
    fn run_job<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
        job: Job,
    ) -> Option<MutexGuard<'a, State>> {
        let id = job.id();
        let control = match state.running.get(&id) {
            Some(running) => Arc::clone(&running.control),
            None => Arc::default(),
        };
        state.busy += 1;
        // There may be more to do, and the clock has to be watched. If there is no thread for
        // that, this one does it when it comes back.
        drop(self.attend(&mut state));
        drop(state);
        let run = AssertUnwindSafe(|| self.context.run(job, &control));
        let done = catch_unwind(run).unwrap_or_else(|_| Done::lost(id));
        let mut state = self.lock();
        state.running.remove(&id)?;
        state.busy -= 1;
        state.handle(done, self.now());
        Some(state)
    }

    /// Takes everything the session has to say, and only then a job: whoever watches a transfer is
    /// known before the transfer runs.
    fn next(&self, state: &mut State) -> Next {
        let until = loop {
            self.give_up(state);
            match state.session.poll(self.now()) {
                Output::Job(job) => {
                    state.trace(|| transcript::job(&job));
                    let running = Running {
                        control: Arc::default(),
                        aborted: None,
                    };
                    state.running.insert(job.id(), running);
                    state.backlog.push_back(job);
                }
                Output::Abort(id) => {
                    state.trace(|| transcript::abort(id));
                    self.abort(state, id);
                }
                Output::Event(task, event) => self.tell(state, task, event),
                Output::Wait(until) => break until,
                Output::Idle | _ => break None,
            }
        };
        let has_room = state.busy + 1 < self.most;
        if has_room && let Some(job) = state.backlog.pop_front() {
            return Next::Run(job);
        }
        let wait = until.map(|until| until.since(self.now()));
        Next::Wait(wait.into_iter().chain(state.patience()).min())
    }

    fn abort(&self, state: &mut State, id: JobId) {
        let position = state.backlog.iter().position(|job| job.id() == id);
        if let Some(job) = position.and_then(|position| state.backlog.remove(position)) {
            state.running.remove(&id);
            let done = match job {
                Job::Http(call) => call.finish(Err(Interrupted::Aborted)),
                Job::Store(_) | Job::Credentials(_) | _ => Done::lost(id),
            };
            state.handle(done, self.now());
        } else if let Some(running) = state.running.get_mut(&id) {
            running.control.stop();
            running.aborted.get_or_insert_with(Instant::now);
        }
    }

    /// Gives up jobs that were aborted and do not end, with their threads.
    fn give_up(&self, state: &mut State) {
        let is_stuck = |running: &Running| {
            running
                .aborted
                .is_some_and(|aborted| aborted.elapsed() >= ABANDON)
        };
        let stuck = state
            .running
            .iter()
            .filter(|(_, running)| is_stuck(running));
        let stuck: Vec<_> = stuck.map(|(id, _)| *id).collect();
        for id in stuck {
            state.running.remove(&id);
            state.busy -= 1;
            state.threads -= 1;
            state.handle(Done::lost(id), self.now());
        }
    }

    fn tell(&self, state: &mut State, task: TaskId, event: Event) {
        state.trace(|| transcript::told(task, &event));
        let Some(call) = state.calls.get(&task) else {
            return;
        };
        if let (Event::Started { transfer, .. }, Watched(Some(observer))) = (&event, &call.observer)
        {
            self.context.watching.add(*transfer, task, observer);
        }
        let is_last = matches!(event, Event::Finished(_));
        // The call may be unwinding; its task is being cancelled then.
        drop(call.told.send(Told::Event(Box::new(event))));
        if is_last {
            state.calls.remove(&task);
            self.context.watching.forget(task);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock raises the alarm, which leaves nobody waiting.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands the end of a job to the session.
    fn handle(&mut self, done: Done, now: Time) {
        self.trace(|| transcript::done(&done));
        self.session.handle(done, now);
    }

    /// How long until an aborted job is given up.
    fn patience(&self) -> Option<Duration> {
        let aborted = self.running.values().filter_map(|running| running.aborted);
        aborted
            .map(|aborted| ABANDON.saturating_sub(aborted.elapsed()))
            .min()
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        let traces = |call: &&Watcher| call.observer.0.as_ref().is_some_and(|o| o.traces());
        let mut tracing = self.calls.values().filter(traces).peekable();
        if tracing.peek().is_none() {
            return;
        }
        let line = line();
        for call in tracing {
            drop(call.told.send(Told::Line(line.clone())));
        }
    }
}

/// Cancels the task if its call ends early because an observer panicked.
struct Cancelling<'a> {
    pool: &'a Arc<Pool>,
    task: TaskId,
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        self.pool.cancel(self.task);
    }
}

/// Leaves nobody waiting when the session panics. Jobs that panic are caught before.
struct Alarm<'a>(&'a Pool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let mut state = self.0.lock();
        state.closing = true;
        state.threads -= 1;
        state.calls.clear();
        self.0.wake.notify_all();
        self.0.left.notify_all();
    }
}
