//! Calls, the jobs that are outside for them, and where each of these runs.
//!
//! Responsible for running a job on the runtime of the call it is for, for handing it to another call
//! when that one is over, and for calls whose runtime stands still. Spawns nothing, never blocks.
//!
//! ```text
//!              ┌ its call is on this runtime, or over ─▶ runs here
//!  job ─ waits ┤
//!              └ its call is on another runtime ─▶ waits, and the call's attendant is woken
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Id;
use tokio::sync::{mpsc, watch};
use windlass_core::tape::RecordedSession;
use windlass_core::{Done, Error, Event, Job, JobId, Task, TaskId, Time};
use windlass_driver::{
    CallHandle, CallMessage, Dispatcher, Next, Observer, ProgressRegistry, StoreGuard,
};

use crate::job::Stop;

/// How often calls show that their runtime runs, while there is more than one.
const BEAT: Duration = Duration::from_millis(500);

/// How long a runtime may show nothing while a call on another one waits, before what its calls
/// hold is taken from them. Longer than a busy machine keeps a thread waiting.
const STILL: Duration = Duration::from_secs(2);

/// What the future that waits for a task is told.
pub(crate) enum Told {
    Message(CallMessage),
    /// The task was ended because its runtime stood still; it is to be started again.
    PutOff,
    /// The runtime shuts down.
    Gone,
}

#[derive(Debug)]
pub(crate) struct State {
    dispatcher: Dispatcher<Caller, Outside>,
    homes: HashMap<Id, Home>,
    /// Jobs that do not run yet.
    waiting: Vec<(Job, Stop)>,
    /// When the session is to be polled.
    next: Option<Instant>,
    /// Some call does not look after its jobs any more.
    deserted: bool,
    ended: Vec<Caller>,
}

/// A call.
pub(crate) struct Caller {
    told: mpsc::UnboundedSender<Told>,
    observer: Option<Arc<dyn Observer>>,
    /// Registered as long as the task has jobs, even if its future was dropped.
    _using: Arc<StoreGuard>,
    wake: mpsc::Sender<()>,
    /// Its runtime.
    home: Id,
    /// Whether its jobs are to run on its runtime; else on any.
    attended: bool,
    /// Whether it is to be started again.
    put_off: bool,
    /// When its attendant wakes by itself.
    armed: Option<Instant>,
    /// When a job of it ended last.
    moved: Instant,
}

/// A runtime with calls.
#[derive(Debug)]
struct Home {
    calls: usize,
    /// When it last ran an attendant.
    seen: Instant,
}

/// A job outside.
#[derive(Debug)]
struct Outside {
    stop: watch::Sender<bool>,
    aborted: bool,
    /// For whom.
    task: Option<TaskId>,
    /// Where it runs.
    home: Option<Id>,
    is_exchange: bool,
}

impl State {
    pub(crate) fn new(session: RecordedSession, progress: ProgressRegistry) -> Self {
        Self {
            dispatcher: Dispatcher::new(session, progress),
            homes: HashMap::new(),
            waiting: Vec::new(),
            next: None,
            deserted: false,
            ended: Vec::new(),
        }
    }

    pub(crate) fn start(
        &mut self,
        task: Task,
        stores: Arc<StoreGuard>,
        observer: Option<Arc<dyn Observer>>,
        told: mpsc::UnboundedSender<Told>,
        wake: mpsc::Sender<()>,
        home: Id,
    ) -> TaskId {
        let now = Instant::now();
        let caller = Caller {
            told,
            observer,
            _using: stores,
            wake,
            home,
            attended: true,
            put_off: false,
            armed: None,
            moved: now,
        };
        let task = self.dispatcher.start(task, caller);
        let known = self.homes.len();
        let seen = now;
        let home = self.homes.entry(home);
        home.or_insert(Home { calls: 0, seen }).calls += 1;
        if known == 1 && self.homes.len() == 2 {
            // From now on they watch each other.
            self.homes.values_mut().for_each(|home| home.seen = now);
            self.wake_all();
        }
        task
    }

    /// Ends a task early, if it is not over.
    pub(crate) fn cancel(&mut self, task: TaskId) -> bool {
        if let Some(caller) = self.dispatcher.call_mut(task) {
            caller.put_off = false;
        }
        self.dispatcher.cancel(task)
    }

    /// Cancels a task whose future was dropped.
    pub(crate) fn leave(&mut self, task: TaskId) -> bool {
        if let Some(caller) = self.dispatcher.call_mut(task) {
            caller.attended = false;
            self.deserted = true;
        }
        self.cancel(task)
    }

    /// Ends a task whose runtime is gone.
    pub(crate) fn lose_runtime(&mut self, task: TaskId) -> bool {
        if let Some(caller) = self.dispatcher.calls().get(&task) {
            // Its future may be polled by another executor.
            drop(caller.told.send(Told::Gone));
        }
        let left = self.leave(task);
        if left {
            self.wake_all();
        }
        left
    }

    /// Takes the end of a job. Whether it was still waited for.
    pub(crate) fn end(&mut self, done: Done) -> bool {
        // If not, it took so long that it was given up.
        let Some(outside) = self.dispatcher.end(done) else {
            return false;
        };
        let task = outside.task;
        if let Some(caller) = task.and_then(|task| self.dispatcher.call_mut(task)) {
            caller.moved = Instant::now();
        }
        true
    }

    /// Takes a job back that did not begin because its runtime is gone.
    pub(crate) fn give_back(&mut self, job: Job, stop: Stop) {
        if let Some(outside) = self.dispatcher.job_mut(job.id()) {
            outside.home = None;
            self.waiting.push((job, stop));
            self.wake_all();
        }
    }

    /// Lets calls whose runtime stands still go, if others wait. `None` if the call of the attendant
    /// that asks is over.
    pub(crate) fn judge(&mut self, task: TaskId) -> Option<()> {
        let mine = self.dispatcher.calls().get(&task)?.home;
        let now = Instant::now();
        let home = self.homes.get_mut(&mine)?;
        // Who was late may have slept with all others: let them wake up first.
        let late = now.duration_since(home.seen) > 2 * BEAT;
        home.seen = now;
        let is_still = |id: &Id| {
            let home = self.homes.get(id);
            home.is_some_and(|home| now.duration_since(home.seen) >= STILL)
        };
        if late || !self.homes.keys().any(is_still) {
            return Some(());
        }
        let works = |task: &TaskId| {
            self.dispatcher
                .jobs()
                .values()
                .any(|it| it.task == Some(*task))
        };
        let starves = |(task, caller): (&TaskId, &Caller)| {
            let waits = now.duration_since(caller.moved) >= STILL && !works(task);
            caller.attended && waits && !is_still(&caller.home)
        };
        if !self.dispatcher.calls().iter().any(starves) {
            return Some(());
        }
        let holds = |(task, caller): &(&TaskId, &Caller)| {
            caller.attended && is_still(&caller.home) && works(task)
        };
        let holding = self.dispatcher.calls().iter().filter(holds);
        let holding: Vec<TaskId> = holding.map(|(task, _)| *task).collect();
        for task in holding {
            self.leave(task);
            if let Some(caller) = self.dispatcher.call_mut(task) {
                caller.put_off = true;
            }
        }
        Some(())
    }

    /// When the attendant of a call is to wake by itself; `None` if the call is over.
    pub(crate) fn arm(&mut self, task: TaskId) -> Option<Option<Instant>> {
        let caller = self.dispatcher.call_mut(task)?;
        let beat = (self.homes.len() > 1).then(|| Instant::now() + BEAT);
        caller.armed = self.next.into_iter().chain(beat).min();
        Some(caller.armed)
    }

    /// Takes everything the session has to say. Returns the jobs that are to run `here`, on the
    /// current runtime, if there is one.
    pub(crate) fn drain(&mut self, here: Option<Id>) -> Vec<(Job, Stop)> {
        let before = self.next;
        self.next = loop {
            match self.dispatcher.poll() {
                Next::Job(job) => self.take_job(job),
                Next::Abort(id) => self.abort(id),
                Next::GaveUp(_) => {}
                Next::Ended(caller) => self.forget(caller),
                // What it stops is to be given up in time.
                Next::Wait(_) if std::mem::take(&mut self.deserted) => self.reassign(),
                Next::Wait(wait) => break wait.map(|wait| Instant::now() + wait),
            }
        };
        if let Some(next) = self.next
            && before.is_none_or(|before| next < before)
        {
            let late = |caller: &&Caller| caller.armed.is_none_or(|at| at > next);
            self.dispatcher
                .calls()
                .values()
                .filter(late)
                .for_each(Caller::wake);
        }
        self.place(here)
    }

    /// Calls that are over.
    pub(crate) fn take_ended(&mut self) -> Vec<Caller> {
        std::mem::take(&mut self.ended)
    }

    /// Ends all calls: their inboxes are closed.
    pub(crate) fn forget_calls(&mut self) {
        self.dispatcher.drop_calls();
    }

    fn take_job(&mut self, job: Job) {
        let (stop, stopped) = watch::channel(false);
        let outside = Outside {
            stop,
            aborted: false,
            task: None,
            home: None,
            is_exchange: matches!(job, Job::Http(_)),
        };
        self.dispatcher.begin(job.id(), outside);
        self.waiting.push((job, stopped));
    }

    fn abort(&mut self, id: JobId) {
        let outside = self.dispatcher.jobs().get(&id);
        if outside.is_some_and(|outside| outside.home.is_some()) {
            return self.stop(id);
        }
        // It has not begun.
        self.waiting.retain(|(job, _)| job.id() != id);
        self.dispatcher.end(Done::lost(id));
    }

    /// Stops a job that runs.
    fn stop(&mut self, id: JobId) {
        if let Some(outside) = self.dispatcher.abort(id) {
            outside.aborted = true;
            outside.stop.send_replace(true);
        }
    }

    /// Takes those jobs out of the waiting ones that are to run here.
    fn place(&mut self, here: Option<Id>) -> Vec<(Job, Stop)> {
        let mut jobs = Vec::new();
        for (job, stop) in std::mem::take(&mut self.waiting) {
            let task = self.dispatcher.task_of(job.id());
            let caller = task.and_then(|task| self.attended(task));
            let stays = match (caller, here) {
                (Some(caller), _) if Some(caller.home) != here => {
                    caller.wake();
                    true
                }
                (None, None) => {
                    self.wake_all();
                    true
                }
                (_, _) => false,
            };
            if let Some(outside) = self.dispatcher.job_mut(job.id()) {
                outside.task = task;
                outside.home = if stays { None } else { here };
            }
            if stays {
                self.waiting.push((job, stop));
            } else {
                jobs.push((job, stop));
            }
        }
        jobs
    }

    /// Finds new calls for the jobs of calls that are over. A job that runs on the runtime of a call that
    /// wants it goes on; another one is stopped, and the session starts it again.
    fn reassign(&mut self) {
        let is_deserted = |outside: &Outside| {
            let is_attended = outside.task.and_then(|task| self.attended(task)).is_some();
            !is_attended && outside.home.is_some() && !outside.aborted
        };
        let jobs = self.dispatcher.jobs().iter();
        let deserted: Vec<JobId> = jobs
            .filter(|(_, outside)| is_deserted(outside))
            .map(|(id, _)| *id)
            .collect();
        for id in deserted {
            let task = self.dispatcher.task_of(id);
            let caller = task.and_then(|task| self.attended(task));
            let home = caller.map(|caller| caller.home);
            let Some(outside) = self.dispatcher.job_mut(id) else {
                continue;
            };
            // Steps of stores and questions go on without their runtime.
            let stays = !outside.is_exchange || home == outside.home;
            let is_its_own = task.is_some() && home.is_none();
            if stays || is_its_own {
                outside.task = task;
            } else {
                self.stop(id);
            }
        }
    }

    /// The call of a task, if it looks after its jobs.
    fn attended(&self, task: TaskId) -> Option<&Caller> {
        let caller = self.dispatcher.calls().get(&task);
        caller.filter(|caller| caller.attended)
    }

    fn forget(&mut self, caller: Caller) {
        self.deserted = true;
        if let Some(home) = self.homes.get_mut(&caller.home) {
            home.calls -= 1;
            if home.calls == 0 {
                self.homes.remove(&caller.home);
            }
        }
        self.ended.push(caller);
    }

    fn wake_all(&self) {
        self.dispatcher.calls().values().for_each(Caller::wake);
    }

    pub(crate) fn now(&self) -> Time {
        self.dispatcher.now()
    }
}

fn is_cancelled(event: &Event) -> bool {
    let Event::Finished(Err(failure)) = event else {
        return false;
    };
    let is_it = |error: &Error| matches!(error, Error::Cancelled);
    failure.errors().iter().any(is_it)
}

impl CallHandle for Caller {
    fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.observer.as_ref()
    }

    fn send(&self, message: CallMessage) {
        let told = match message {
            CallMessage::Event(event) if self.put_off && is_cancelled(&event) => Told::PutOff,
            message @ (CallMessage::Event(_) | CallMessage::Line(_)) => Told::Message(message),
        };
        // The call's future may have been dropped.
        drop(self.told.send(told));
    }
}

impl Caller {
    /// Has its attendant look after it.
    fn wake(&self) {
        // One that is about to look, or is gone, needs no word.
        let _told = self.wake.try_send(());
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}
