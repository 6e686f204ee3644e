//! The loop: polls the session, and has the jobs of each call run on the runtime of that call.
//!
//! ```text
//!                ┌─────────────── lock ───────────────┐
//!  a job ends ──▶│ handle, poll: event → its call     │── jobs of a call of this runtime ──▶ spawned
//!  a call starts │               abort → stop signal  │── jobs of calls of others: they wait, and
//!  an attendant  │               job   → its call     │   the call's attendant is woken
//!                └────────────────────────────────────┘
//!
//!  attendant: a task per call, on the call's runtime; wakes when jobs wait for it and when the
//!  session wants to be polled
//! ```
//!
//! The client has no task of its own. [`Engine::turn`] is called by whatever changes something, on
//! any thread; it never spawns on another runtime than the current one, because a runtime that is
//! not driven would keep the job. A call's future only reads its inbox.
//!
//! Responsible for calls and their attendants. Must not know which job goes where (`state`), nor
//! what jobs do (`transfer`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use windlass_core::{Error, Failure, Task, TaskId, TaskReport, Time};
use windlass_driver::{ClientSession, Observer, StoreGuard, Watch};

use crate::job::Ticket;
use crate::state::{State, Told};
use crate::transfer::Context;

/// A session and what it has outside.
#[derive(Debug)]
pub(crate) struct Engine {
    state: Mutex<State>,
    context: Context,
}

impl Engine {
    pub(crate) fn new(session: ClientSession, context: Context) -> Arc<Self> {
        let state = State::new(session, &context.resources);
        Arc::new(Self {
            state: Mutex::new(state),
            context,
        })
    }

    pub(crate) const fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn now(&self) -> Time {
        self.lock().now()
    }

    /// Runs a task and tells its observer everything. Dropping the future cancels the task.
    pub(crate) async fn run(
        self: &Arc<Self>,
        task: Task,
        stores: StoreGuard,
        watch: Watch,
    ) -> Result<TaskReport, Failure> {
        let stores = Arc::new(stores);
        loop {
            let attempt = self.attempt(task.clone(), &stores, &watch);
            if let Some(result) = attempt.await {
                return result;
            }
            // It was put off. It goes on when this runtime runs tasks again.
            if Handle::current().spawn(async {}).await.is_err() {
                return Err(gone());
            }
        }
    }

    /// `None` if the task was put off because its runtime did not run.
    async fn attempt(
        self: &Arc<Self>,
        task: Task,
        stores: &Arc<StoreGuard>,
        watch: &Watch,
    ) -> Option<Result<TaskReport, Failure>> {
        let observer = watch.observer.as_ref();
        let (task, mut inbox) = match self.start(task, stores, observer) {
            Ok(started) => started,
            Err(failure) => return Some(Err(failure)),
        };
        let _leaving = Leaving(self, task);
        let _listening = watch.cancel.as_ref().map(|cancel| {
            let engine = Arc::clone(self);
            cancel.on_cancel(move || engine.cancel(task))
        });
        let _yielding = watch.unread.as_ref().map(|unread| {
            let engine = Arc::clone(self);
            unread.on_unread(move || engine.yield_slot(task))
        });
        self.turn();
        loop {
            let Some(told) = inbox.recv().await else {
                return Some(Err(panicked()));
            };
            match told {
                Told::Message(message) => {
                    if let Some(result) = message.deliver(task, observer) {
                        return Some(result);
                    }
                }
                Told::PutOff => return None,
                Told::Gone => return Some(Err(gone())),
            }
        }
    }

    fn start(
        self: &Arc<Self>,
        task: Task,
        stores: &Arc<StoreGuard>,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Result<(TaskId, mpsc::UnboundedReceiver<Told>), Failure> {
        let runtime = Handle::current();
        let (told, inbox) = mpsc::unbounded_channel();
        let (wake, woken) = mpsc::channel(1);
        let (stores, observer) = (Arc::clone(stores), observer.cloned());
        // What the session was doing when it panicked is not over.
        let mut state = self.state.lock().map_err(|_| panicked())?;
        let task = state.start(task, stores, observer, told, wake, runtime.id());
        drop(state);
        let attendant = Attendant {
            engine: Arc::downgrade(self),
            task,
        };
        // A runtime that shuts down drops it at once, which takes the lock.
        drop(runtime.spawn(attendant.attend(woken)));
        Ok((task, inbox))
    }

    fn cancel(self: &Arc<Self>, task: TaskId) {
        if self.lock().cancel(task) {
            self.turn();
        }
    }

    /// The reader of a task is not read: others get the slot of its job.
    fn yield_slot(self: &Arc<Self>, task: TaskId) {
        if self.lock().yield_slot(task) {
            self.turn();
        }
    }

    /// Takes everything the session has to say, and runs the jobs that belong here.
    pub(crate) fn turn(self: &Arc<Self>) {
        let _guard = PanicGuard::new(self);
        let runtime = Handle::try_current().ok();
        let here = runtime.as_ref().map(Handle::id);
        let mut state = self.lock();
        let jobs = state.drain(here);
        let ended = state.take_ended();
        drop(state);
        // Not under the lock: with a call goes its store.
        drop(ended);
        for (job, stop) in jobs {
            let runtime = runtime.as_ref();
            let runtime = runtime.expect("without a runtime no job is given out");
            Ticket::new(self, job, stop).run(runtime);
        }
    }

    /// What an attendant does. When it wants to be called again, or `None` if its call is over.
    fn look_after(self: &Arc<Self>, task: TaskId) -> Option<Option<Instant>> {
        self.lock().judge(task)?;
        self.turn();
        self.lock().arm(task)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic under the lock, `PanicGuard` ends all calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone() -> Failure {
    let what = "the runtime of this call is shutting down".into();
    Failure::new(vec![Error::Driver { what }])
}

fn panicked() -> Failure {
    let what = "a task of the client panicked".into();
    Failure::new(vec![Error::Internal { what }])
}

/// Cancels the task if its future is dropped before it is through.
struct Leaving<'a>(&'a Arc<Engine>, TaskId);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let Self(engine, task) = self;
        if engine.lock().leave(*task) {
            engine.turn();
        }
    }
}

/// Sees to a call on the call's runtime, also while its future is not polled. Dropped before the
/// call is over, it says that the runtime is gone.
struct Attendant {
    engine: Weak<Engine>,
    task: TaskId,
}

impl Attendant {
    async fn attend(self, mut woken: mpsc::Receiver<()>) {
        loop {
            let wake = self.engine.upgrade().map(|engine| {
                // The engine must not live as long as this waits.
                engine.look_after(self.task)
            });
            let woken = match wake.flatten() {
                None => return,
                Some(None) => woken.recv().await,
                Some(Some(at)) => tokio::select! {
                    woken = woken.recv() => woken,
                    () = sleep_until(at.into()) => Some(()),
                },
            };
            if woken.is_none() {
                return;
            }
        }
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.upgrade()
            && engine.lock().lose_runtime(self.task)
        {
            engine.turn();
        }
    }
}

/// Ends all calls when the session panics.
pub(crate) struct PanicGuard<'a> {
    engine: &'a Engine,
    /// It is not about a panic that was there before.
    panicking: bool,
}

impl<'a> PanicGuard<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        let panicking = thread::panicking();
        Self { engine, panicking }
    }
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() && !self.panicking {
            self.engine.lock().forget_calls();
        }
    }
}
