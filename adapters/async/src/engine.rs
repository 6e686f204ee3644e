//! The loop: polls the session and runs its jobs as tasks of tokio.
//!
//! ```text
//!              ┌──────────── lock ────────────┐
//!  whoever  ──▶│ poll: event → its call's inbox│── jobs, timer ──▶ spawned, unlocked
//!  comes by    │       abort → stop signal    │                       │
//!              └───────────▲──────────────────┘                       │
//!                          └───────────── handle, poll again ◀────────┘
//! ```
//!
//! There is no task of the client's own. Whoever changes something turns the session over with
//! [`Engine::turn`]: a call that starts, a job that ends, the one timer. So nothing runs while
//! nobody asks for anything, and a call's future only reads its inbox. If a runtime goes away and
//! takes its tasks with it, they say so when they are dropped, and calls on other runtimes turn. A
//! job that a runtime no longer takes is kept for whoever turns next.
//!
//! Responsible for tasks. Must not know what jobs do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use windlass_core::tape::Taped;
use windlass_core::{
    Done, Error, Event, Failure, Job, JobId, Output, Report, Task, TaskId, Time, transcript,
};
use windlass_store::driver::{Cancel, Observer, Using};

use crate::transfer::{Context, Stop};

/// How long an aborted job may take to end before it is given up: only a store or a credential
/// helper that hangs takes this long; a cancelled call returns within 1 s.
const ABANDON: Duration = Duration::from_millis(800);

/// A session and what it has outside.
#[derive(Debug)]
pub(crate) struct Engine {
    state: Mutex<State>,
    /// Something is due and nobody may be there to see to it.
    due: Notify,
    context: Context,
    epoch: Instant,
}

#[derive(Debug)]
struct State {
    session: Taped,
    calls: BTreeMap<TaskId, Watcher>,
    running: BTreeMap<JobId, Running>,
    /// Jobs that are outside for the session, but whose runtime went away before they began.
    stranded: Vec<(Job, Stop)>,
    timer: Option<Timer>,
}

struct Watcher {
    told: mpsc::UnboundedSender<Told>,
    observer: Option<Arc<dyn Observer>>,
    /// Known as long as the task has jobs, even if nobody waits for it any more.
    _using: Using,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

#[derive(Debug)]
struct Running {
    stop: watch::Sender<bool>,
    aborted: Option<Instant>,
}

#[derive(Debug)]
struct Timer {
    at: Instant,
    task: AbortHandle,
}

/// What the future that waits for a task is told.
enum Told {
    Event(Box<Event>),
    Line(String),
}

impl Engine {
    pub(crate) fn new(session: Taped, context: Context) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                session,
                calls: BTreeMap::new(),
                running: BTreeMap::new(),
                stranded: Vec::new(),
                timer: None,
            }),
            due: Notify::new(),
            context,
            epoch: Instant::now(),
        })
    }

    pub(crate) const fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn now(&self) -> Time {
        let micros = self.epoch.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Runs a task and tells its observer everything. Dropping the future cancels the task.
    pub(crate) async fn run(
        self: &Arc<Self>,
        task: Task,
        using: Using,
        observer: Option<Arc<dyn Observer>>,
        cancel: Option<Cancel>,
    ) -> Result<Report, Failure> {
        let runtime = Handle::current();
        let (task, mut inbox) = self.start(task, using, observer.clone());
        let _cancelling = Cancelling {
            engine: Arc::clone(self),
            task,
            runtime: runtime.clone(),
        };
        let _listening = cancel.map(|cancel| {
            let (engine, runtime) = (Arc::clone(self), runtime.clone());
            cancel.on_cancel(move || engine.cancel(task, &runtime))
        });
        self.turn(&runtime);
        loop {
            let told = tokio::select! {
                biased;
                told = inbox.recv() => told,
                () = self.due.notified() => {
                    if is_gone(&runtime) {
                        let what = "the runtime of this call is shutting down".into();
                        return Err(Failure::new(vec![Error::Policy { what }]));
                    }
                    self.turn(&runtime);
                    continue;
                }
            };
            match told.expect("a task of the client panicked: a defect in windlass") {
                Told::Event(event) => {
                    if let Some(observer) = &observer {
                        observer.event(task, &event);
                    }
                    if let Event::Finished(result) = *event {
                        return result;
                    }
                }
                Told::Line(line) => {
                    if let Some(observer) = &observer {
                        observer.trace(&line);
                    }
                }
            }
        }
    }

    fn start(
        &self,
        task: Task,
        using: Using,
        observer: Option<Arc<dyn Observer>>,
    ) -> (TaskId, mpsc::UnboundedReceiver<Told>) {
        let (told, inbox) = mpsc::unbounded_channel();
        let mut state = self.lock();
        let task = state.session.start(task);
        let watcher = Watcher {
            told,
            observer,
            _using: using,
        };
        state.calls.insert(task, watcher);
        (task, inbox)
    }

    fn cancel(self: &Arc<Self>, task: TaskId, runtime: &Handle) {
        let mut state = self.lock();
        if state.calls.contains_key(&task) {
            state.session.cancel(task);
            drop(state);
            self.turn(runtime);
        }
    }

    /// Takes everything the session has to say and sees to it.
    fn turn(self: &Arc<Self>, runtime: &Handle) {
        let _alarm = Alarm(self);
        let mut jobs = Vec::new();
        let mut state = self.lock();
        let until = self.drain(&mut state, &mut jobs);
        let timer = until.filter(|until| {
            // One that is early finds nothing to do and sets the next one.
            let is_earlier = |timer: &Timer| timer.at <= *until && !timer.task.is_finished();
            !state.timer.as_ref().is_some_and(is_earlier)
        });
        let mut is_gone = false;
        if let Some(at) = timer {
            let task = runtime.spawn(ring(Arc::downgrade(self), at)).abort_handle();
            // It cannot end by itself while the lock is held.
            is_gone = task.is_finished();
            if let Some(late) = state.timer.replace(Timer { at, task }) {
                late.task.abort();
            }
        }
        drop(state);
        for (job, stop) in jobs {
            // A runtime that shuts down drops it at once, which takes the lock.
            runtime.spawn(self.starting(job, stop));
        }
        if is_gone {
            self.call_for_somebody();
        }
    }

    /// Sees to it that some call turns the session over, on a runtime that is there.
    fn call_for_somebody(&self) {
        // One that waits may be about to go away as well; one that comes to wait must hear it too.
        self.due.notify_waiters();
        self.due.notify_one();
    }

    /// The instant at which to come back.
    fn drain(&self, state: &mut State, jobs: &mut Vec<(Job, Stop)>) -> Option<Instant> {
        let stranded = std::mem::take(&mut state.stranded);
        // Those that were given up meanwhile are nobody's.
        let wanted = |(job, _): &(Job, Stop)| state.running.contains_key(&job.id());
        jobs.extend(stranded.into_iter().filter(wanted));
        loop {
            self.give_up(state);
            let wait = match state.session.poll(self.now()) {
                Output::Job(job) => {
                    state.trace(|| transcript::job(&job));
                    let (stop, stopped) = watch::channel(false);
                    let running = Running {
                        stop,
                        aborted: None,
                    };
                    state.running.insert(job.id(), running);
                    jobs.push((job, stopped));
                    continue;
                }
                Output::Abort(id) => {
                    state.trace(|| transcript::abort(id));
                    if let Some(running) = state.running.get_mut(&id) {
                        running.stop.send_replace(true);
                        running.aborted.get_or_insert_with(Instant::now);
                    }
                    continue;
                }
                Output::Event(task, event) => {
                    self.tell(state, task, event);
                    continue;
                }
                Output::Wait(Some(until)) => Some(until.since(self.now())),
                Output::Wait(None) | Output::Idle | _ => None,
            };
            let patience = state.patience();
            let wait = wait.into_iter().chain(patience).min()?;
            return Some(Instant::now() + wait);
        }
    }

    /// A job as a task. If it is dropped before it began, the job is kept for another runtime.
    fn starting(self: &Arc<Self>, job: Job, stop: Stop) -> impl Future<Output = ()> + use<> {
        let mut starting = Starting {
            engine: Arc::clone(self),
            job: Some((job, stop)),
        };
        async move {
            if let Some((job, stop)) = starting.job.take() {
                Arc::clone(&starting.engine).work(job, stop).await;
            }
        }
    }

    async fn work(self: Arc<Self>, job: Job, stop: Stop) {
        let mut ending = Ending {
            engine: Arc::clone(&self),
            id: job.id(),
            runtime: Handle::current(),
            done: None,
        };
        let done = self.context.run(job, stop).await;
        ending.done = Some(done);
    }

    /// Gives up jobs that were aborted and do not end.
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
            state.handle(Done::lost(id), self.now());
        }
    }

    fn tell(&self, state: &mut State, task: TaskId, event: Event) {
        state.trace(|| transcript::told(task, &event));
        let Some(call) = state.calls.get(&task) else {
            return;
        };
        if let (Event::Started { transfer, .. }, Some(observer)) = (&event, &call.observer) {
            self.context.watching.add(*transfer, task, observer);
        }
        let is_last = matches!(event, Event::Finished(_));
        // The call's future may have been dropped.
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
        let traces = |call: &&Watcher| call.observer.as_ref().is_some_and(|o| o.traces());
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

/// Whether a runtime is shutting down: then it drops what is spawned at once.
fn is_gone(runtime: &Handle) -> bool {
    let probe = runtime.spawn(std::future::pending::<()>());
    let is_gone = probe.is_finished();
    probe.abort();
    is_gone
}

/// Turns the session over at that instant.
async fn ring(engine: Weak<Engine>, at: Instant) {
    let mut ringing = Ringing {
        engine,
        at,
        rang: false,
    };
    tokio::time::sleep_until(at.into()).await;
    ringing.rang = true;
    if let Some(engine) = ringing.engine.upgrade() {
        drop(ringing);
        engine.turn(&Handle::current());
    }
}

/// No timer is set any more when this is dropped, be it because its runtime goes away.
struct Ringing {
    engine: Weak<Engine>,
    at: Instant,
    rang: bool,
}

impl Drop for Ringing {
    fn drop(&mut self) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let mut state = engine.lock();
        if state
            .timer
            .as_ref()
            .is_some_and(|timer| timer.at == self.at)
        {
            state.timer = None;
            if !self.rang {
                engine.call_for_somebody();
            }
        }
    }
}

/// Keeps a job that its runtime dropped before it began.
struct Starting {
    engine: Arc<Engine>,
    job: Option<(Job, Stop)>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.engine.lock().stranded.push(job);
            self.engine.call_for_somebody();
        }
    }
}

/// Reports the end of a job, even if it panicked or its runtime went away.
struct Ending {
    engine: Arc<Engine>,
    id: JobId,
    runtime: Handle,
    done: Option<Done>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let engine = &self.engine;
        let _alarm = Alarm(engine);
        let mut state = engine.lock();
        if state.running.remove(&self.id).is_none() {
            // It took so long that it was given up.
            return;
        }
        let is_lost = self.done.is_none();
        let done = self.done.take().unwrap_or_else(|| Done::lost(self.id));
        state.handle(done, engine.now());
        drop(state);
        if is_lost {
            // This runtime may be going away; let another one try first.
            engine.call_for_somebody();
        }
        engine.turn(&self.runtime);
    }
}

/// Cancels the task if its future is dropped before it is through.
struct Cancelling {
    engine: Arc<Engine>,
    task: TaskId,
    runtime: Handle,
}

impl Drop for Cancelling {
    fn drop(&mut self) {
        self.engine.cancel(self.task, &self.runtime);
    }
}

/// Leaves nobody waiting when the session panics.
struct Alarm<'a>(&'a Engine);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().calls.clear();
        }
    }
}
