//! The session: the control plane as one machine.
//!
//! Responsible for its surface (`start`, `cancel`, `poll`, `handle`), for the ids of jobs, and for
//! handing results from one machine to another: `tasks` decide what is needed, `blobs` how a blob moves,
//! `exchanges` and `store_queue` when something goes out. Results are drained when a job ends or a task
//! starts, and after a poll has looked for a job, so that their order follows from the calls alone.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::blobs::{Blobs, Wants};
use crate::call::{Done, Job, JobResult};
use crate::config::Config;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::event::Event;
use crate::exchanges::Exchanges;
use crate::ids::{ExchangeId, JobId, Owner, TaskId};
use crate::ports::Ports;
use crate::reference::Repository;
use crate::registry::Registry;
use crate::retry::Decision;
use crate::rng::Rng;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreOp};
use crate::store_queue::{Step, StoreQueue};
use crate::task::{Failure, Task};
use crate::tasks::{Below, Tasks};
use crate::time::Time;
use crate::totals::Totals;
use crate::uploads::{SavedUpload, UploadChange};

/// The machine. See the crate's documentation for its contract.
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Config,
    rng: Rng,
    now: Time,
    jobs: u64,
    pub(crate) outside: BTreeMap<JobId, Outside>,
    pub(crate) exchanges: Exchanges,
    pub(crate) store_queue: StoreQueue,
    pub(crate) blobs: Blobs,
    pub(crate) tasks: Tasks,
    events: VecDeque<(TaskId, Event)>,
    /// The task whose `Finished` was told last.
    finished: Option<TaskId>,
}

/// What a job outside belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outside {
    /// A question for credentials.
    Question,
    /// A step of a store.
    Step,
    /// A request of this exchange, whose result goes to this owner if it has one.
    Exchange(ExchangeId, Option<Owner>),
}

/// What a session wants next.
#[derive(Debug)]
#[must_use = "an output that is dropped is lost: jobs must be run, events told"]
pub enum Output {
    /// Run this job on any worker and hand its `Done` to [`Session::handle`].
    Job(Job),
    /// End this job soon; its `Done` still comes.
    Abort(JobId),
    /// Report this to those who watch the task.
    Event(TaskId, Event),
    /// Nothing to do before this instant, unless a `Done` comes first. `None`: wait for a `Done`.
    Wait(Option<Time>),
    /// Nothing to do at all: no task is unfinished and no job is outside.
    Idle,
}

impl Session {
    /// A session. The seed is for jitter and nothing else.
    pub fn new(config: Config, seed: u64) -> Self {
        let exchanges = Exchanges::new(config.clone());
        let blobs = Blobs::new(&config);
        Self {
            config,
            rng: Rng::new(seed),
            now: Time::ZERO,
            jobs: 0,
            outside: BTreeMap::new(),
            exchanges,
            store_queue: StoreQueue::default(),
            blobs,
            tasks: Tasks::new(seed),
            events: VecDeque::new(),
            finished: None,
        }
    }

    /// Begins a task. Its last event is [`Event::Finished`], and it always comes.
    pub fn start(&mut self, task: Task) -> TaskId {
        self.begin(task, None)
    }

    /// Begins a task whose source's name is known to stand for `pinned`, if it is.
    pub(crate) fn begin(&mut self, task: Task, pinned: Option<Descriptor>) -> TaskId {
        self.exchanges.begin_task();
        let (tasks, mut below) = self.tasks_and_below();
        let id = tasks.start(task, pinned, &mut below);
        self.settle();
        id
    }

    /// Ends a task early: its jobs are aborted, then its `Finished` event comes. Does nothing if
    /// the task is over.
    pub fn cancel(&mut self, task: TaskId) {
        if !self.tasks.is_ending(task) {
            self.fail(task, Error::Cancelled);
            self.tasks.cancelled(task);
        }
        self.settle();
    }

    /// The caller of a download does not read what comes, as one may that reads several one after the other: the job
    /// gives its slot to other requests, and ends without one. Whether it did: at most 256 jobs of a session are
    /// without a slot at once. An id that is not outside, or not of a download, is ignored.
    pub fn yield_slot(&mut self, job: JobId) -> bool {
        match self.outside.get(&job) {
            Some(Outside::Exchange(id, _)) => self.exchanges.yield_slot(*id),
            Some(Outside::Question | Outside::Step) | None => false,
        }
    }

    /// Offers an upload that another process has left open. A transfer of the same blob to the same
    /// repository goes on with it, after it has asked the registry how far it is. One that is too old, or
    /// not needed, is ignored.
    pub fn offer_upload(&mut self, upload: SavedUpload) {
        self.exchanges.uploads.offer(upload, self.now);
    }

    /// Leaves an upload that was [taken](UploadChange::Taken) to another process, which goes on with it: the blob
    /// is sent in a session of its own. Has no effect once a job of the upload has ended.
    pub fn leave_upload(&mut self, upload: &SavedUpload) {
        self.exchanges.leave_upload(upload.key());
    }

    /// The repository that a task would upload blobs to, by the names that uploads are kept under.
    pub fn uploads_to(&self, task: &Task) -> Option<(Registry, Repository)> {
        let site = self.exchanges.destination(task.kind.uploads_to()?);
        Some((site.registry.clone(), site.repository.clone()))
    }

    /// The next change of an upload that is to be kept. There are none unless
    /// [`Config::keep_uploads`] is set; then take all of them before a job that [`poll`](Self::poll)
    /// returned is run, and after the last [`handle`](Self::handle).
    pub fn take_upload_change(&mut self) -> Option<UploadChange> {
        self.exchanges.uploads.take_change(self.now)
    }

    /// The next task whose [`Totals`] have changed, with all changes at once. Take them after each
    /// [`poll`](Self::poll), before what it returned is acted upon: then they are known before bytes move. Those of a
    /// task that is over are dropped by the poll after its [`Event::Finished`]. They are on no tape and in no
    /// transcript: they follow from what is.
    pub fn take_totals(&mut self) -> Option<(TaskId, Totals)> {
        self.tasks.take_totals()
    }

    /// What is wanted next. Call it until it says [`Output::Wait`] or [`Output::Idle`].
    pub fn poll(&mut self, now: Time) -> Output {
        self.now = self.now.max(now);
        if let Some(task) = self.finished.take() {
            self.tasks.forget_totals(task);
        }
        self.expire();
        if let Some(job) = self
            .exchanges
            .take_abort()
            .or_else(|| self.store_queue.take_abort())
        {
            return Output::Abort(job);
        }
        self.drain_events();
        if let Some(event) = self.next_event() {
            return event;
        }
        loop {
            if let Some(job) = self.next_job() {
                return Output::Job(job);
            }
            // Looking for a job can settle things, and what is settled can want a job: a request
            // that must not be sent fails here, a token that is refused makes another one wanted.
            let (blobs, mut ports) = self.blobs_and_ports();
            let has_parts = blobs.add_parts(&mut ports);
            let more = has_parts || self.exchanges.has_settled() || self.exchanges.has_more();
            self.settle();
            self.drain_events();
            if let Some(event) = self.next_event() {
                return event;
            }
            if !more {
                break;
            }
        }
        // Looking for a job also gives up what is late.
        if let Some(job) = self.exchanges.take_abort() {
            return Output::Abort(job);
        }
        let wakes = [
            self.exchanges.wakes_at(),
            self.blobs.wakes_at(),
            self.store_queue.wakes_at(),
            self.tasks.wakes_at(),
        ];
        match wakes.into_iter().flatten().min() {
            Some(at) => Output::Wait(Some(
                at.max(self.now + core::time::Duration::from_micros(1)),
            )),
            None if !self.outside.is_empty() => Output::Wait(None),
            None => self.idle(),
        }
    }

    /// Nothing is outside and nothing is waited for. A task that is not finished waits for nothing, which
    /// is a defect: it fails, rather than hang.
    fn idle(&mut self) -> Output {
        while let Some(task) = self.tasks.first() {
            self.fail(task, Error::internal("the task waits for nothing"));
            self.settle();
            self.drain_events();
            if self.tasks.first() == Some(task) {
                let (tasks, mut below) = self.tasks_and_below();
                let failed = tasks.remove(task, &mut below);
                let stuck = Error::internal("the task does not end");
                let failed = failed.unwrap_or_else(|| Err(Failure::new(alloc::vec![stuck])));
                self.events.push_back((task, Event::Finished(failed)));
            }
        }
        self.next_event().unwrap_or(Output::Idle)
    }

    fn next_event(&mut self) -> Option<Output> {
        let (task, event) = self.events.pop_front()?;
        if let Event::Finished(_) = event {
            self.finished = Some(task);
        }
        Some(Output::Event(task, event))
    }

    /// Takes the end of a job. An id that is not outside is ignored.
    pub fn handle(&mut self, done: Done, now: Time) {
        self.now = self.now.max(now);
        let job = done.id();
        let Some(outside) = self.outside.remove(&job) else {
            return;
        };
        let outcome = done.into_outcome();
        match outside {
            Outside::Question => self.exchanges.question_ended(job, outcome, self.now),
            Outside::Exchange(id, owner) => {
                self.exchanges
                    .call_ended((id, owner), job, outcome, self.now, &mut self.rng);
            }
            Outside::Step => self.step_ended(job, outcome),
        }
        self.settle();
    }

    /// Takes the end of a store's step.
    fn step_ended(&mut self, job: JobId, outcome: JobResult) {
        let Some(step) = self.store_queue.take(job) else {
            return;
        };
        let answer = match outcome {
            JobResult::Store(answer) => answer,
            JobResult::Lost
            | JobResult::Http(_)
            | JobResult::Relay(_)
            | JobResult::Credentials(_) => Err(StoreError::new(
                StoreErrorKind::Io,
                "the worker of a store's step was lost",
            )),
        };
        match self.stepped(step, &answer) {
            Some(Owner::Node(task, node)) => {
                let (tasks, mut below) = self.tasks_and_below();
                tasks.step_ended((task, node), answer, &mut below);
            }
            Some(Owner::Transfer(id)) => {
                let (blobs, mut ports) = self.blobs_and_ports();
                blobs.step_ended(id, answer, &mut ports);
            }
            None => {}
        }
    }

    /// The owner of this step; `None` if it is tried again because no file descriptor was left.
    fn stepped(
        &mut self,
        mut step: Step,
        answer: &Result<StoreAnswer, StoreError>,
    ) -> Option<Owner> {
        // What is to be committed is no longer open after a failure.
        let is_repeatable = !step.abandoned && !matches!(step.op, StoreOp::Commit { .. });
        match answer {
            Err(error) if error.kind() == StoreErrorKind::Descriptors && is_repeatable => {}
            Err(_) => return Some(step.owner),
            Ok(_) => {
                self.store_queue.grow(&step);
                return Some(step.owner);
            }
        }
        if let (Owner::Transfer(id), StoreOp::Begin { .. }) = (step.owner, &step.op)
            && self.blobs.step_back(id)
        {
            return None;
        }
        let decision = step.tries.failed(&self.config.retry, None, &mut self.rng);
        match decision {
            Decision::Again { after, .. } => {
                self.store_queue.again(step, self.now + after);
                None
            }
            Decision::Enough { .. } => Some(step.owner),
        }
    }

    fn fail(&mut self, task: TaskId, error: Error) {
        let (tasks, mut below) = self.tasks_and_below();
        tasks.fail(task, error, &mut below);
    }

    /// The tasks, and the machines that they use.
    fn tasks_and_below(&mut self) -> (&mut Tasks, Below<'_>) {
        let ports = Ports {
            exchanges: &mut self.exchanges,
            store_queue: &mut self.store_queue,
            events: &mut self.events,
            config: &self.config,
            now: self.now,
        };
        let below = Below {
            blobs: &mut self.blobs,
            ports,
        };
        (&mut self.tasks, below)
    }

    /// The blobs, and the machines that they use.
    fn blobs_and_ports(&mut self) -> (&mut Blobs, Ports<'_>) {
        let (_, Below { blobs, ports }) = self.tasks_and_below();
        (blobs, ports)
    }

    /// The latest instant that was handed in.
    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    fn next_job(&mut self) -> Option<Job> {
        let id = JobId(self.jobs);
        let (outside, job) = if let Some(question) = self.exchanges.next_question(id) {
            (Outside::Question, Job::Credentials(question))
        } else if let Some(step) = self.store_queue.next(id, self.now) {
            (Outside::Step, Job::Store(step))
        } else if let Some((exchange, job)) = self.exchanges.next_job(id, self.now) {
            let owner = self.exchanges.owner_of(exchange);
            (Outside::Exchange(exchange, owner), job)
        } else if let Some(question) = self.exchanges.next_question(id) {
            // Looking for a call can raise a question.
            (Outside::Question, Job::Credentials(question))
        } else {
            return None;
        };
        self.outside.insert(id, outside);
        self.jobs += 1;
        Some(job)
    }

    /// Fails the tasks whose deadline has come, and asks again about blobs that others write.
    fn expire(&mut self) {
        let (tasks, mut below) = self.tasks_and_below();
        tasks.expire(&mut below);
        let (blobs, mut ports) = self.blobs_and_ports();
        blobs.wake(&mut ports);
        self.settle();
    }

    /// Hands results to those that wait for them, until nothing more follows from it.
    fn settle(&mut self) {
        loop {
            if let Some(settled) = self.blobs.take_settled() {
                match settled.wants {
                    Wants::Task => {
                        let (tasks, mut below) = self.tasks_and_below();
                        let (digest, result) = (&settled.digest, settled.result);
                        tasks.blob_settled(settled.task, digest, result, &mut below);
                    }
                    Wants::Upload { upload, spool } => {
                        let (blobs, mut ports) = self.blobs_and_ports();
                        blobs.spooled(upload, spool, settled, &mut ports);
                    }
                }
            } else if let Some(settled) = self.exchanges.take_settled() {
                let (exchange, result) = (settled.exchange, settled.result);
                match settled.owner {
                    Owner::Node(task, node) => {
                        let (tasks, mut below) = self.tasks_and_below();
                        tasks.exchange_ended((task, node), exchange, result, &mut below);
                    }
                    Owner::Transfer(id) => {
                        let (blobs, mut ports) = self.blobs_and_ports();
                        blobs.exchange_ended(id, exchange, result, &mut ports);
                    }
                }
            } else {
                break;
            }
        }
        self.finish_tasks();
    }

    fn drain_events(&mut self) {
        while let Some((task, event)) = self.exchanges.take_event() {
            // Before `Finished`, which is the last one.
            if self.tasks.contains(task) {
                self.events.push_back((task, event));
            }
        }
    }

    /// Those whose end is decided and that wait for no exchange, of the tasks of which something has ended: thousands
    /// may wait for a store that hangs.
    fn tasks_to_look_at(&mut self) -> Vec<TaskId> {
        let freed = self.blobs.take_freed().into_iter();
        let freed = freed.chain(self.exchanges.take_freed());
        self.tasks.take_changed(freed)
    }

    /// Ends the tasks that have nothing outside any more (contract 5). What they give back does not wait for a store
    /// that hangs.
    fn finish_tasks(&mut self) {
        for id in self.tasks_to_look_at() {
            if self.blobs.is_working_for(id) {
                continue;
            }
            if self.exchanges.has_errand_of(id) {
                let Some(until) = self.tasks.cleans_up_until(id, self.now) else {
                    continue;
                };
                self.exchanges.clean_up(id, until, self.now);
            }
            if self.exchanges.has_errand_of(id) || self.tasks.waits_for_store(id) {
                continue;
            }
            self.drain_events();
            let (tasks, mut below) = self.tasks_and_below();
            let Some(result) = tasks.remove(id, &mut below) else {
                continue;
            };
            self.events.push_back((id, Event::Finished(result)));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::error::ErrorKind;

    fn session(tasks: usize) -> Session {
        let mut session = Session::new(Config::default(), 1);
        for _ in 0..tasks {
            let reference = "reg.example/a:v1".parse().expect("a reference");
            session.start(Task::resolve(reference));
        }
        session
    }

    /// The events that a session tells before it waits, and the jobs that it wants.
    fn polled(session: &mut Session) -> (Vec<(TaskId, Event)>, Vec<JobId>) {
        let (mut events, mut jobs) = (vec![], vec![]);
        for _ in 0..100 {
            match session.poll(Time::ZERO) {
                Output::Event(task, event) => events.push((task, event)),
                Output::Job(job) => jobs.push(job.id()),
                Output::Abort(_) => {}
                Output::Wait(_) | Output::Idle => return (events, jobs),
            }
        }
        unreachable!("a session of two tasks does not want that much");
    }

    #[test]
    fn a_task_that_waits_for_nothing_fails() {
        let mut session = session(1);
        let (_, jobs) = polled(&mut session);
        // A defect: the job is forgotten.
        assert!(session.outside.remove(&jobs[0]).is_some());
        let (events, jobs) = polled(&mut session);
        let [(TaskId(0), Event::Finished(Err(failure)))] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(failure.first().kind(), ErrorKind::Internal);
        assert_eq!(jobs, []);
        assert!(matches!(session.poll(Time::ZERO), Output::Idle));
    }

    /// The owner fails; a task at another registry goes on.
    #[test]
    fn an_exchange_that_is_gone_fails_its_task_alone() {
        let mut session = session(1);
        let elsewhere = "other.example/a:v1".parse().expect("a reference");
        session.start(Task::resolve(elsewhere));
        let (_, jobs) = polled(&mut session);
        let (gone, left) = (session.task_of(jobs[0]), session.task_of(jobs[1]));
        assert!(session.exchanges.lose(jobs[0]));
        session.handle(Done::lost(jobs[0]), Time::ZERO);
        let (events, _) = polled(&mut session);
        let [(failed, Event::Finished(Err(failure)))] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(Some(*failed), gone);
        assert_eq!(failure.first().kind(), ErrorKind::Internal);
        assert_ne!(left, gone);
        assert_eq!(session.task_of(jobs[1]), left);
    }

    #[test]
    fn a_task_that_cannot_end_yet_is_not_looked_at_again() {
        let mut session = session(1);
        let (_, jobs) = polled(&mut session);
        session.cancel(TaskId(0));
        assert_eq!(polled(&mut session), (vec![], vec![]));
        assert!(session.tasks.is_ending(TaskId(0)));
        assert_eq!(session.tasks_to_look_at(), []);
        session.handle(Done::lost(jobs[0]), Time::ZERO);
        assert_eq!(polled(&mut session).0.len(), 1);
    }

    #[test]
    fn the_end_of_a_job_that_is_not_outside_is_ignored() {
        let mut session = session(1);
        let (_, jobs) = polled(&mut session);
        session.handle(Done::lost(JobId(7)), Time::ZERO);
        assert_eq!(polled(&mut session), (vec![], vec![]));
        assert_eq!(session.task_of(jobs[0]), Some(TaskId(0)));
        assert_eq!(session.task_of(JobId(7)), None);
    }
}
