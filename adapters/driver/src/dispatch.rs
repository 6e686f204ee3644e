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

use windlass_core::{
    Call, Done, Event, Failure, Job, JobId, Origin, Output, Scheme, Task, TaskId, TaskReport, Time,
    Totals, UploadChange, transcript,
};

use crate::hosts::HostSelector;
use crate::observer::Observer;
use crate::progress::ProgressRegistry;
use crate::resources::Resources;
use crate::session::ClientSession;
use crate::uploads::UploadJournal;

/// How long an aborted job may take to end before it is given up. Drivers wait in slices, so only a store or a
/// credential helper that hangs takes this long; a cancelled call returns within 1 s.
const ABANDON: Duration = Duration::from_millis(800);

/// What a call is told.
#[derive(Debug)]
pub enum CallMessage {
    /// An event of its task.
    Event(Box<Event>),
    /// What its task has to do, and has done.
    Totals(Totals),
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
            Self::Totals(totals) => {
                if let Some(observer) = observer {
                    observer.totals(task, &totals);
                }
                None
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
    Ended(TaskId, C),
    /// Nothing, until a job ends, a call starts or this time has passed.
    Wait(Option<Duration>),
}

/// A session with its calls `C` and its jobs `J`.
pub struct Dispatcher<C, J> {
    session: ClientSession,
    epoch: Instant,
    progress: ProgressRegistry,
    hosts: Arc<dyn HostSelector>,
    uploads: Option<Arc<dyn UploadJournal>>,
    calls: BTreeMap<TaskId, C>,
    /// The hosts whose certificates are not verified and that a call was told of.
    unverified: BTreeMap<TaskId, BTreeSet<Origin>>,
    /// Those calls that want the transcript.
    tracing: BTreeSet<TaskId>,
    jobs: BTreeMap<JobId, J>,
    /// Jobs that were aborted, in that order. Those that ended since are still in it.
    aborted: VecDeque<(Instant, JobId)>,
}

impl<C: CallHandle, J> Dispatcher<C, J> {
    /// A dispatcher without calls. The progress registry of `resources` hears which observer watches which
    /// transfer.
    pub fn new(session: ClientSession, resources: &Resources) -> Self {
        Self {
            session,
            epoch: Instant::now(),
            progress: resources.progress.clone(),
            hosts: Arc::clone(&resources.hosts),
            uploads: resources.uploads.clone(),
            calls: BTreeMap::new(),
            unverified: BTreeMap::new(),
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
        self.offer_uploads(&task);
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

    /// The caller of a task does not read the blob that a job of it brings: the job gives its slot to other requests.
    /// Returns it if it did; then the session is to be polled.
    pub fn yield_slot(&mut self, task: TaskId) -> Option<&mut J> {
        let of_task = |job: &JobId| self.session.task_of(*job) == Some(task);
        let jobs: Vec<JobId> = self.jobs.keys().copied().filter(of_task).collect();
        let mut jobs = jobs.into_iter();
        let job = jobs.find(|job| self.session.yield_slot(*job))?;
        self.trace(|| transcript::yielded(job));
        self.jobs.get_mut(&job)
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
            let output = self.session.poll(self.now());
            self.keep_uploads();
            self.tell_totals();
            match output {
                Output::Job(job) => {
                    self.trace(|| transcript::job(&job));
                    self.warn_of_unverified(&job);
                    return Next::Job(job);
                }
                Output::Abort(id) => {
                    self.trace(|| transcript::abort(id));
                    return Next::Abort(id);
                }
                Output::Event(task, event) => {
                    if let Some(call) = self.tell(task, event) {
                        return Next::Ended(task, call);
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

    /// Offers what earlier processes have left of uploads to the repository that a task writes to.
    fn offer_uploads(&mut self, task: &Task) {
        let Some(uploads) = &self.uploads else {
            return;
        };
        if let Some((registry, repository)) = self.session.uploads_to(task) {
            for upload in uploads.left_open(&registry, &repository) {
                self.session.offer_upload(upload);
            }
        }
    }

    /// Keeps what became of uploads, before anything more is sent.
    fn keep_uploads(&mut self) {
        let Some(uploads) = &self.uploads else {
            return;
        };
        while let Some(change) = self.session.take_upload_change() {
            match change {
                UploadChange::Open(upload) => uploads.keep(&upload),
                UploadChange::Over(key) => uploads.forget(&key),
                UploadChange::Taken(upload) => {
                    if !uploads.take(&upload) {
                        self.session.leave_upload(&upload);
                    }
                }
            }
        }
    }

    /// Tells the calls whose tasks know more of what they have to do, or have done more.
    fn tell_totals(&mut self) {
        while let Some((task, totals)) = self.session.take_totals() {
            if let Some(call) = self.calls.get(&task)
                && call.observer().is_some()
            {
                call.send(CallMessage::Totals(totals));
            }
        }
    }

    /// Tells the call of a task. Returns the call if the task is over.
    fn tell(&mut self, task: TaskId, event: Event) -> Option<C> {
        self.trace(|| transcript::told(task, &event));
        let call = self.calls.get(&task)?;
        if let (Event::Started { transfer, .. }, Some(observer)) = (&event, call.observer()) {
            self.progress.add(*transfer, task, observer);
        }
        let is_last = matches!(event, Event::Finished(_));
        // Each message wakes what waits for the task, so there is none that has no effect.
        if is_last || call.observer().is_some() {
            call.send(CallMessage::Event(Box::new(event)));
        }
        if !is_last {
            return None;
        }
        self.tracing.remove(&task);
        self.unverified.remove(&task);
        self.progress.forget(task);
        self.calls.remove(&task)
    }

    /// Tells the call of a job, or all calls if it is for several, that its host's certificate is not
    /// verified: once for each host and call.
    fn warn_of_unverified(&mut self, job: &Job) {
        job.calls()
            .for_each(|call| self.warn_of_unverified_host(call));
    }

    fn warn_of_unverified_host(&mut self, exchange: &Call) {
        let origin = exchange.origin();
        let is_unverified = match self.hosts.host(origin) {
            Ok(Some(host)) => origin.scheme() == Scheme::Https && host.is_unverified(),
            Ok(None) | Err(_) => false,
        };
        if !is_unverified {
            return;
        }
        let meant = match self.session.task_of(exchange.id()) {
            Some(task) => self.calls.range(task..=task),
            None => self.calls.range(..),
        };
        for (task, call) in meant {
            let told = self.unverified.entry(*task).or_default();
            if told.insert(origin.clone()) {
                let what = format!("the certificate of {origin} is not verified");
                call.send(CallMessage::Event(Box::new(Event::Warning(what))));
            }
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread::sleep;

    use windlass_core::call::{Interrupted, TransportError, TransportErrorKind};
    use windlass_core::{Config, Error, ErrorKind};

    use super::*;
    use crate::hosts::{HostSettings, SameForAll};
    use crate::session::unrecorded;

    /// A call that keeps what it is told.
    #[derive(Clone)]
    struct Inbox {
        told: Arc<Mutex<Vec<String>>>,
        observer: Arc<dyn Observer>,
    }

    struct Traces(bool);

    impl Observer for Traces {
        fn event(&self, _: TaskId, _: &Event) {}

        fn traces(&self) -> bool {
            self.0
        }
    }

    impl Inbox {
        fn new(traces: bool) -> Self {
            Self {
                told: Arc::default(),
                observer: Arc::new(Traces(traces)),
            }
        }

        fn told(&self) -> Vec<String> {
            std::mem::take(&mut *self.told.lock().expect("no panic"))
        }
    }

    impl CallHandle for Inbox {
        fn observer(&self) -> Option<&Arc<dyn Observer>> {
            Some(&self.observer)
        }

        fn send(&self, message: CallMessage) {
            let told = match message {
                CallMessage::Event(event) => transcript::event(&event),
                CallMessage::Totals(totals) => format!("{} known", totals.known.blobs),
                CallMessage::Line(line) => format!("line {line}"),
            };
            self.told.lock().expect("no panic").push(told);
        }
    }

    fn dispatcher() -> Dispatcher<Inbox, &'static str> {
        let session = unrecorded(Config::default(), 1);
        Dispatcher::new(session, &resources(Arc::new(SameForAll)))
    }

    fn resources(hosts: Arc<dyn HostSelector>) -> Resources {
        Resources::new(hosts)
    }

    fn resolve() -> Task {
        Task::resolve("reg.example/app:v1".parse().expect("a reference"))
    }

    fn job(dispatcher: &mut Dispatcher<Inbox, &'static str>) -> Job {
        let next = dispatcher.poll();
        let Next::Job(job) = next else {
            panic!("no job, but {}", name(&next));
        };
        job
    }

    fn name(next: &Next<Inbox, &'static str>) -> String {
        match next {
            Next::Job(job) => transcript::job(job),
            Next::Abort(id) => transcript::abort(*id),
            Next::GaveUp(job) => format!("gave up {job}"),
            Next::Ended(..) => "ended".into(),
            Next::Wait(wait) => format!("wait, limited: {}", wait.is_some()),
        }
    }

    #[test]
    fn a_call_hears_of_its_task_until_that_is_over() {
        let mut dispatcher = dispatcher();
        let (first, second) = (Inbox::new(true), Inbox::new(false));
        let task = dispatcher.start(resolve(), first.clone());
        let other = dispatcher.start(resolve(), second.clone());
        let Job::Http(call) = job(&mut dispatcher) else {
            panic!("no exchange");
        };
        dispatcher.begin(call.id(), "call");
        let error = TransportError::new(TransportErrorKind::Tls, "no such authority");
        let done = call.finish(Err(Interrupted::Transport(error)));
        assert_eq!(dispatcher.end(done), Some("call"));
        let Next::Ended(_, ended) = dispatcher.poll() else {
            panic!("the task goes on");
        };
        assert!(Arc::ptr_eq(&ended.told, &first.told));
        let told = first.told();
        assert!(
            told[0].starts_with("line #0 > HEAD https://reg.example/"),
            "{told:?}"
        );
        assert!(told[1].starts_with("line #0 < "), "{told:?}");
        assert!(told[2].starts_with("line task0 * "), "{told:?}");
        assert!(
            !told[3].starts_with("line "),
            "its own event follows: {told:?}"
        );
        assert_eq!(told.len(), 4, "{told:?}");
        // Lines of others go to those that want them only.
        assert_eq!(second.told(), [""; 0]);
        assert!(!dispatcher.cancel(task));
        assert!(dispatcher.cancel(other));
        assert_eq!(dispatcher.calls().len(), 1);
    }

    #[test]
    fn each_call_is_told_once_that_a_host_is_not_verified() {
        let origin: Origin = "https://reg.example".parse().expect("an origin");
        let settings = Arc::new(HostSettings::default().skip_verification());
        let hosts = BTreeMap::from([(origin, settings)]);
        let session = unrecorded(Config::default(), 1);
        let mut dispatcher = Dispatcher::new(session, &resources(Arc::new(hosts)));
        let warning = "the certificate of https://reg.example is not verified";
        let failed = |job: Job, kind| {
            let Job::Http(call) = job else {
                panic!("no exchange");
            };
            let error = TransportError::new(kind, "failed");
            call.finish(Err(Interrupted::Transport(error)))
        };
        for _ in 0..2 {
            let inbox = Inbox::new(false);
            dispatcher.start(resolve(), inbox.clone());
            let first = job(&mut dispatcher);
            dispatcher.begin(first.id(), "first");
            let told = inbox.told();
            assert!(told.len() == 1 && told[0].ends_with(warning), "{told:?}");
            dispatcher.end(failed(first, TransportErrorKind::Reset));
            // The next attempt is to the same host.
            let Next::Wait(Some(wait)) = dispatcher.poll() else {
                panic!("it is tried again");
            };
            sleep(wait);
            let again = job(&mut dispatcher);
            dispatcher.begin(again.id(), "again");
            let told = inbox.told();
            assert!(!told.iter().any(|line| line.ends_with(warning)), "{told:?}");
            dispatcher.end(failed(again, TransportErrorKind::Tls));
            assert_eq!(name(&dispatcher.poll()), "ended");
        }
        assert!(
            dispatcher.unverified.is_empty(),
            "nothing is kept of calls that are over"
        );
    }

    #[test]
    fn an_aborted_job_that_does_not_end_is_given_up() {
        let mut dispatcher = dispatcher();
        let inbox = Inbox::new(false);
        let task = dispatcher.start(resolve(), inbox);
        let stuck = job(&mut dispatcher);
        dispatcher.begin(stuck.id(), "stuck");
        assert!(dispatcher.cancel(task));
        let Next::Abort(id) = dispatcher.poll() else {
            panic!("the job is not stopped");
        };
        assert_eq!(dispatcher.abort(id), Some(&mut "stuck"));
        let Next::Wait(Some(patience)) = dispatcher.poll() else {
            panic!("nothing is waited for");
        };
        assert!(patience <= ABANDON, "{patience:?}");
        sleep(patience);
        assert_eq!(name(&dispatcher.poll()), "gave up stuck");
        assert_eq!(name(&dispatcher.poll()), "ended");
        assert_eq!(name(&dispatcher.poll()), "wait, limited: false");
        // It comes back late.
        assert_eq!(dispatcher.end(Done::lost(stuck.id())), None);
    }

    #[test]
    fn an_aborted_job_that_ends_is_not_given_up() {
        let mut dispatcher = dispatcher();
        let task = dispatcher.start(resolve(), Inbox::new(false));
        let Job::Http(call) = job(&mut dispatcher) else {
            panic!("no exchange");
        };
        dispatcher.begin(call.id(), "call");
        assert!(dispatcher.cancel(task));
        let Next::Abort(id) = dispatcher.poll() else {
            panic!("the job is not stopped");
        };
        dispatcher.abort(id);
        dispatcher.end(call.finish(Err(Interrupted::Aborted)));
        assert_eq!(name(&dispatcher.poll()), "ended");
        assert_eq!(name(&dispatcher.poll()), "wait, limited: false");
    }

    #[test]
    fn the_last_event_is_the_result() {
        struct Counts(Mutex<usize>);
        impl Observer for Counts {
            fn event(&self, _: TaskId, _: &Event) {
                *self.0.lock().expect("no panic") += 1;
            }
        }
        let mut dispatcher = dispatcher();
        let task = dispatcher.start(resolve(), Inbox::new(false));
        let counts = Arc::new(Counts(Mutex::new(0)));
        let observer: Arc<dyn Observer> = Arc::<Counts>::clone(&counts);
        let warning = CallMessage::Event(Box::new(Event::Warning("x".into())));
        assert_eq!(warning.deliver(task, Some(&observer)), None);
        let line = CallMessage::Line("x".into());
        assert_eq!(line.deliver(task, Some(&observer)), None);
        let failure = Failure::new(vec![Error::Deadline]);
        let last = CallMessage::Event(Box::new(Event::Finished(Err(failure))));
        let result = last.deliver(task, Some(&observer));
        let kind = result.map(|result| result.map_err(|failure| failure.kind()));
        assert_eq!(kind, Some(Err(ErrorKind::Temporary)));
        assert_eq!(*counts.0.lock().expect("no panic"), 2);
    }
}
