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

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Id;
use tokio::sync::{mpsc, watch};
use windlass_core::{Done, Error, Event, Job, JobId, Task, TaskId, Time};
use windlass_driver::{
    CallHandle, CallMessage, ClientSession, Dispatcher, Next, Observer, Resources, StoreGuard,
};

use crate::stop::Stop;

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
    /// Jobs that are not placed yet.
    new: Vec<(Job, Stop)>,
    /// Jobs that wait for their runtime; `None` for any.
    waiting: HashMap<Option<Id>, BTreeMap<JobId, (Job, Stop)>>,
    /// The jobs outside of each task.
    jobs: BTreeMap<Option<TaskId>, BTreeSet<JobId>>,
    /// When the session is to be polled.
    next: Option<Instant>,
    /// Calls that do not look after their jobs any more.
    deserted: BTreeSet<TaskId>,
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
    /// When a job of it ended last.
    moved: Instant,
}

/// A runtime with calls.
#[derive(Debug)]
struct Home {
    /// Those whose attendants run. That of the first one wakes for all when time has passed.
    calls: BTreeSet<TaskId>,
    /// When that one wakes by itself.
    armed: Option<Instant>,
    /// When it last ran an attendant.
    seen: Instant,
}

/// A job outside.
#[derive(Debug)]
struct Outside {
    id: JobId,
    stop: watch::Sender<bool>,
    aborted: bool,
    /// For whom.
    task: Option<TaskId>,
    /// Where it runs.
    home: Option<Id>,
    /// Where it is to run, if it does not.
    waits_for: Option<Id>,
    is_exchange: bool,
}

impl State {
    pub(crate) fn new(session: ClientSession, resources: &Resources) -> Self {
        Self {
            dispatcher: Dispatcher::new(session, resources),
            homes: HashMap::new(),
            new: Vec::new(),
            waiting: HashMap::new(),
            jobs: BTreeMap::new(),
            next: None,
            deserted: BTreeSet::new(),
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
            moved: now,
        };
        let task = self.dispatcher.start(task, caller);
        let known = self.homes.len();
        let home = self.homes.entry(home).or_insert_with(|| Home {
            calls: BTreeSet::new(),
            armed: None,
            seen: now,
        });
        home.calls.insert(task);
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

    /// Gives the slot of a task's job to others. Whether there is something to be done now.
    pub(crate) fn yield_slot(&mut self, task: TaskId) -> bool {
        self.dispatcher.yield_slot(task).is_some()
    }

    /// Cancels a task whose future was dropped.
    pub(crate) fn leave(&mut self, task: TaskId) -> bool {
        if let Some(caller) = self.dispatcher.call_mut(task) {
            caller.attended = false;
            self.deserted.insert(task);
        }
        self.cancel(task)
    }

    /// Ends a task whose runtime is gone.
    pub(crate) fn lose_runtime(&mut self, task: TaskId) -> bool {
        if let Some(caller) = self.dispatcher.calls().get(&task) {
            // Its future may be polled by another executor.
            drop(caller.told.send(Told::Gone));
            self.forget_attendant(caller.home, task);
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
        self.forget_job(task, outside.id);
        if let Some(caller) = task.and_then(|task| self.dispatcher.call_mut(task)) {
            caller.moved = Instant::now();
        }
        true
    }

    /// Takes a job back that did not begin because its runtime is gone.
    pub(crate) fn give_back(&mut self, job: Job, stop: Stop) {
        if let Some(outside) = self.dispatcher.job_mut(job.id()) {
            outside.home = None;
            self.new.push((job, stop));
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
        let works = |task: &TaskId| self.jobs_of(Some(*task)).next().is_some();
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

    /// When the attendant of a call is to wake by itself, if at all; `None` if the call is over.
    pub(crate) fn arm(&mut self, task: TaskId) -> Option<Option<Instant>> {
        let home = self.dispatcher.calls().get(&task)?.home;
        let beat = (self.homes.len() > 1).then(|| Instant::now() + BEAT);
        let home = self.homes.get_mut(&home);
        let Some(home) = home.filter(|home| home.calls.first() == Some(&task)) else {
            // Another one wakes for it.
            return Some(None);
        };
        home.armed = self.next.into_iter().chain(beat).min();
        Some(home.armed)
    }

    /// Takes everything the session has to say. Returns the jobs that are to run `here`, on the
    /// current runtime, if there is one.
    pub(crate) fn drain(&mut self, here: Option<Id>) -> Vec<(Job, Stop)> {
        let before = self.next;
        self.next = loop {
            match self.dispatcher.poll() {
                Next::Job(job) => self.take_job(job),
                Next::Abort(id) => self.abort(id),
                Next::GaveUp(outside) => {
                    self.forget_job(outside.task, outside.id);
                }
                Next::Ended(task, caller) => self.forget(task, caller),
                // What it stops is to be given up in time.
                Next::Wait(_) if !self.deserted.is_empty() => self.reassign(),
                Next::Wait(wait) => break wait.map(|wait| Instant::now() + wait),
            }
        };
        if let Some(next) = self.next
            && before.is_none_or(|before| next < before)
        {
            let late = |home: &&Home| home.armed.is_none_or(|at| at > next);
            let late = self.homes.values().filter(late);
            late.for_each(|home| self.wake(home));
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
            id: job.id(),
            stop,
            aborted: false,
            task: None,
            home: None,
            waits_for: None,
            is_exchange: matches!(job, Job::Http(_) | Job::Relay(_)),
        };
        self.jobs.entry(None).or_default().insert(job.id());
        self.dispatcher.begin(job.id(), outside);
        self.new.push((job, stopped));
    }

    fn abort(&mut self, id: JobId) {
        let Some(outside) = self.dispatcher.jobs().get(&id) else {
            return;
        };
        if outside.home.is_some() {
            return self.stop(id);
        }
        // It has not begun.
        if self.unplace(id).is_none() {
            self.new.retain(|(job, _)| job.id() != id);
        }
        self.end(Done::lost(id));
    }

    /// Stops a job that runs.
    fn stop(&mut self, id: JobId) {
        if let Some(outside) = self.dispatcher.abort(id) {
            outside.aborted = true;
            outside.stop.send_replace(true);
        }
    }

    /// Gives each new job its place. Takes those that are to run here.
    fn place(&mut self, here: Option<Id>) -> Vec<(Job, Stop)> {
        let mut jobs = Vec::new();
        for (job, stop) in std::mem::take(&mut self.new) {
            let id = job.id();
            let task = self.dispatcher.task_of(id);
            let caller = task.and_then(|task| self.attended(task));
            let home = caller.map(|caller| caller.home);
            let runs_here = here.is_some() && (home.is_none() || home == here);
            match caller {
                Some(caller) if !runs_here => caller.wake(),
                None if !runs_here => self.wake_all(),
                Some(_) | None => {}
            }
            self.note_task(id, task);
            if let Some(outside) = self.dispatcher.job_mut(id) {
                outside.home = if runs_here { here } else { None };
                outside.waits_for = home;
            }
            if runs_here {
                jobs.push((job, stop));
            } else {
                self.waiting
                    .entry(home)
                    .or_default()
                    .insert(id, (job, stop));
            }
        }
        if here.is_some() {
            let any = self.waiting.remove(&None).into_iter().flatten();
            let waiting = self.waiting.remove(&here).into_iter().flatten().chain(any);
            for (id, waited) in waiting {
                if let Some(outside) = self.dispatcher.job_mut(id) {
                    outside.home = here;
                }
                jobs.push(waited);
            }
        }
        jobs
    }

    /// Takes back a job that waits for its runtime.
    fn unplace(&mut self, id: JobId) -> Option<(Job, Stop)> {
        let home = self.dispatcher.jobs().get(&id)?.waits_for;
        let waiting = self.waiting.get_mut(&home)?;
        let job = waiting.remove(&id);
        if waiting.is_empty() {
            self.waiting.remove(&home);
        }
        job
    }

    /// Finds new calls for the jobs of calls that are over. A job that runs on the runtime of a call that
    /// wants it goes on; another one is stopped, and the session starts it again.
    fn reassign(&mut self) {
        let tasks = std::mem::take(&mut self.deserted).into_iter().map(Some);
        let deserted: Vec<JobId> = tasks
            .chain([None])
            .flat_map(|task| self.jobs_of(task))
            .collect();
        for id in deserted {
            if let Some(job) = self.unplace(id) {
                self.new.push(job);
            }
            let Some(outside) = self.dispatcher.jobs().get(&id) else {
                continue;
            };
            let (Some(home), false) = (outside.home, outside.aborted) else {
                continue;
            };
            let is_exchange = outside.is_exchange;
            let task = self.dispatcher.task_of(id);
            let wanted = task.and_then(|task| self.attended(task));
            let wanted = wanted.map(|caller| caller.home);
            // Steps of stores and questions go on without their runtime.
            let stays = !is_exchange || wanted == Some(home);
            let is_its_own = task.is_some() && wanted.is_none();
            if stays || is_its_own {
                self.note_task(id, task);
            } else {
                self.stop(id);
            }
        }
    }

    fn jobs_of(&self, task: Option<TaskId>) -> impl Iterator<Item = JobId> {
        self.jobs.get(&task).into_iter().flatten().copied()
    }

    /// Notes for whom a job is.
    fn note_task(&mut self, id: JobId, task: Option<TaskId>) {
        if let Some(outside) = self.dispatcher.job_mut(id) {
            let before = std::mem::replace(&mut outside.task, task);
            self.forget_job(before, id);
            self.jobs.entry(task).or_default().insert(id);
        }
    }

    fn forget_job(&mut self, task: Option<TaskId>, id: JobId) {
        if let Some(jobs) = self.jobs.get_mut(&task) {
            jobs.remove(&id);
            if jobs.is_empty() {
                self.jobs.remove(&task);
            }
        }
    }

    /// The call of a task, if it looks after its jobs.
    fn attended(&self, task: TaskId) -> Option<&Caller> {
        let caller = self.dispatcher.calls().get(&task);
        caller.filter(|caller| caller.attended)
    }

    fn forget(&mut self, task: TaskId, caller: Caller) {
        self.deserted.insert(task);
        self.forget_attendant(caller.home, task);
        self.ended.push(caller);
    }

    /// An attendant does not wake any more: another one on its runtime does, if there is one.
    fn forget_attendant(&mut self, home: Id, task: TaskId) {
        let Some(of) = self.homes.get_mut(&home) else {
            return;
        };
        let woke = of.calls.first() == Some(&task);
        of.calls.remove(&task);
        if of.calls.is_empty() {
            self.homes.remove(&home);
        } else if woke {
            of.armed = None;
            self.wake(&self.homes[&home]);
        }
    }

    /// Has an attendant of a runtime look after its calls.
    fn wake(&self, home: &Home) {
        let first = home.calls.first();
        let caller = first.and_then(|task| self.dispatcher.calls().get(task));
        if let Some(caller) = caller {
            caller.wake();
        }
    }

    fn wake_all(&self) {
        self.homes.values().for_each(|home| self.wake(home));
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
            message @ (CallMessage::Event(_) | CallMessage::Totals(_) | CallMessage::Line(_)) => {
                Told::Message(message)
            }
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
