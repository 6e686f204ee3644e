//! A world for a session, without sockets, threads or clocks.
//!
//! A [`World`] owns a recorded [`Session`](windlass_core::Session) and does what a driver does, one
//! job at a time: HTTP goes to a [`Model`] (or to whatever a rule says), steps go to stores in memory, credentials come from a
//! table. Time is virtual: each exchange takes [`World::latency`], and when nothing is left to run
//! it jumps to the instant the session waits for. What comes out is a transcript, a line for each
//! job, end and event, which is the same in every run.
//!
//! ```
//! use windlass_core::{Config, Platforms, Task};
//! use windlass_testbed::{Model, Options, image};
//! use windlass_tests::world::{Fate, World};
//!
//! let mut model = Model::new(Options::default());
//! model.put_image("team/app", Some("v1"), &image(&[b"layer".to_vec()]));
//!
//! let mut world = World::new(Config::default());
//! world.registry(&["reg.example"], model);
//! // The first answer with the layer breaks after two bytes.
//! world.nth(2, |request| request.target.contains("/blobs/"), Fate::Cut(2));
//! let (store, _) = world.store();
//! let reference = "reg.example/team/app:v1".parse()?;
//! let task = world.start(Task::pull(reference, store, None, Platforms::All));
//! assert_eq!(world.run(task).expect("good").moved, 2);
//! assert!(world.transcript().contains("bytes=2-4"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! On every run it checks the session's contract (crate docs of `windlass-core`, design §4) and
//! that no secret is seen where it does not belong.

mod checks;
mod exchanges;
mod memory;
pub mod scenes;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use windlass_core::call::{Call, Done, Interrupted};
use windlass_core::credential::{Access, CredentialAnswer, TimedAnswer};
use windlass_core::tape::RecordedSession;
use windlass_core::{
    Checked, Checkpoint, Config, Descriptor, Error, ErrorKind, Event, Failure, Job, JobId, Output,
    Reference, Report, StoreError, StoreId, Task, TaskId, TaskReport, Time, Totals, transcript,
};

use windlass_driver::{BlobStream, RequestSpec, StoreGuard, Stores};
use windlass_store::Store;
use windlass_testbed::{Model, Request};

use crate::tapes::Lines;
pub use exchanges::Fate;
use exchanges::{Rule, When};
pub use memory::Memory;

/// A secret and the hosts that may see it.
struct Guarded {
    secret: String,
    hosts: BTreeSet<String>,
}

/// Chooses one of the jobs that are outside.
pub type Pick = Box<dyn FnMut(&[Job]) -> usize>;

/// What becomes of a job once its turn has come.
#[derive(Clone, Debug)]
pub enum Lot {
    /// It is worked on.
    Run,
    /// It stays outside until [`World::let_go`].
    Hold,
    /// Its worker dies before it did anything.
    Lose,
    /// A step that is not run: the store fails with this.
    Fail(StoreError),
}

/// A session and everything around it.
pub struct World {
    /// The session. It is recorded, and in the end its tape must say the same.
    pub session: RecordedSession,
    /// The models, in the order they were added.
    pub models: Vec<Model>,
    /// How long an HTTP exchange takes.
    pub latency: Duration,
    /// How many bytes a body brings at once.
    pub chunk: usize,
    /// Which of the jobs outside runs next. The default: the one that has been outside longest.
    pub pick: Pick,
    /// What becomes of it then. The default: it is worked on.
    pub lot: Box<dyn FnMut(&Job) -> Lot>,
    config: Config,
    stores: Arc<Stores>,
    known: Vec<Arc<dyn Store>>,
    streams: Vec<StoreGuard>,
    hosts: BTreeMap<String, usize>,
    credentials: BTreeMap<(String, Access), TimedAnswer>,
    rules: Vec<Rule>,
    now: Time,
    outside: Vec<Job>,
    /// Those of `outside` and `hanging` that gave their slots back.
    yielded: BTreeSet<JobId>,
    hanging: Vec<Job>,
    /// Relays of which the sink hangs, with the ends of their sources.
    hanging_sinks: Vec<(Done, Box<Call>)>,
    lines: Vec<String>,
    tape: Arc<Lines>,
    /// Where in `lines` the tape begins.
    taped_from: usize,
    most: u32,
    guarded: Vec<Guarded>,
    unfinished: BTreeSet<TaskId>,
    finished: BTreeMap<TaskId, Result<TaskReport, Failure>>,
    totals: BTreeMap<TaskId, Vec<Totals>>,
}

impl World {
    /// The models' clock at the session's beginning, since the Unix epoch.
    pub const EPOCH: Duration = Duration::from_secs(1_800_000_000);
    /// More steps than any test takes: who needs more goes in a circle.
    const STEPS: usize = 100_000;

    /// A world with nothing in it.
    pub fn new(config: Config) -> Self {
        let tape = Arc::new(Lines::default());
        Self {
            most: config.most_in_flight(),
            session: RecordedSession::new(config.clone(), 1, Some(tape.clone())),
            tape,
            taped_from: 0,
            models: Vec::new(),
            latency: Duration::from_millis(10),
            chunk: 64 * 1024,
            pick: Box::new(|_| 0),
            lot: Box::new(|_| Lot::Run),
            config,
            stores: Arc::default(),
            known: Vec::new(),
            streams: Vec::new(),
            hosts: BTreeMap::new(),
            credentials: BTreeMap::new(),
            rules: Vec::new(),
            now: Time::ZERO,
            outside: Vec::new(),
            yielded: BTreeSet::new(),
            hanging: Vec::new(),
            hanging_sinks: Vec::new(),
            lines: Vec::new(),
            guarded: Vec::new(),
            unfinished: BTreeSet::new(),
            finished: BTreeMap::new(),
            totals: BTreeMap::new(),
        }
    }

    /// Adds a model that is reached at these hosts: the registry's first, then those of its token
    /// service and its storage. Only the first may see tokens. Answers its place in `models`.
    pub fn registry(&mut self, hosts: &[&str], model: Model) -> usize {
        let place = self.models.len();
        let hosts = hosts.iter().map(|host| ((*host).to_owned(), place));
        self.hosts.extend(hosts);
        self.models.push(model);
        place
    }

    /// Sets the credential for a registry, perhaps in place of another one. Its secret may be seen by these
    /// hosts.
    pub fn credential(&mut self, registry: &str, answer: impl Into<TimedAnswer>, hosts: &[&str]) {
        self.credential_for(Access::Any, registry, answer, hosts);
    }

    /// Sets the credential for reading from a registry, or for writing to it.
    pub fn credential_for(
        &mut self,
        access: Access,
        registry: &str,
        answer: impl Into<TimedAnswer>,
        hosts: &[&str],
    ) {
        let answer = answer.into();
        let secrets = match &answer.answer {
            CredentialAnswer::Basic { username, password } => {
                let pair = format!("{username}:{}", password.expose());
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                vec![password.expose().to_owned(), encoded]
            }
            CredentialAnswer::Bearer(secret) | CredentialAnswer::Refresh(secret) => {
                vec![secret.expose().to_owned()]
            }
            CredentialAnswer::None | CredentialAnswer::Failed(_) | _ => Vec::new(),
        };
        let hosts: BTreeSet<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.guarded.extend(secrets.into_iter().map(|secret| {
            let hosts = hosts.clone();
            Guarded { secret, hosts }
        }));
        self.credentials
            .insert((registry.to_owned(), access), answer);
    }

    /// Adds an empty store.
    pub fn store(&mut self) -> (StoreId, Memory) {
        let memory = Memory::default();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        self.known.push(Arc::clone(&store));
        (self.stores.add(&store), memory)
    }

    /// A task that puts what a reader gives.
    pub fn put_stream(&mut self, to: &Reference, reader: impl Read + Send + 'static) -> Task {
        let spec = RequestSpec::put_stream(to, BlobStream::new(reader));
        let task = spec.task(&self.stores, Time::ZERO);
        let (task, stores) = task.expect("nothing is read yet");
        self.streams.push(stores);
        task
    }

    /// Forgets a store, as a driver does with a spool whose task is over.
    pub fn forget(&mut self, store: StoreId) {
        self.stores.forget(store);
    }

    /// What happens to the nth request (from 1) that this is true of.
    pub fn nth(&mut self, n: usize, when: impl Fn(&Request) -> bool + 'static, fate: Fate) {
        let (when, left) = (Box::new(when) as When, Some(n - 1));
        self.rules.push(Rule { when, left, fate });
    }

    /// What happens to all requests that this is true of, unless an earlier rule applies.
    pub fn all(&mut self, when: impl Fn(&Request) -> bool + 'static, fate: Fate) {
        let (when, left) = (Box::new(when) as When, None);
        self.rules.push(Rule { when, left, fate });
    }

    /// Starts a task.
    pub fn start(&mut self, task: Task) -> TaskId {
        let id = self.session.start(task);
        self.unfinished.insert(id);
        id
    }

    /// Cancels a task, with a line about it.
    pub fn cancel(&mut self, task: TaskId) {
        self.lines.push(format!("{task} cancel"));
        self.session.cancel(task);
    }

    /// The caller of a job outside does not read, with a line about it. Whether it gave its slot back.
    pub fn yield_slot(&mut self, job: JobId) -> bool {
        let has_yielded = self.session.yield_slot(job);
        if has_yielded {
            self.lines.push(transcript::yielded(job));
            self.yielded.insert(job);
        }
        has_yielded
    }

    /// The process dies, and another one resumes its checkpoint: jobs in flight are lost, and time
    /// starts at zero. Returns the new ids of the unfinished tasks.
    pub fn restart(&mut self) -> Vec<TaskId> {
        let saved = self.session.checkpoint().to_json();
        self.check_text(&saved);
        self.lines.push("~ another process".to_owned());
        self.outside.clear();
        self.hanging.clear();
        self.yielded.clear();
        self.hanging_sinks.clear();
        self.finished.clear();
        self.now = Time::ZERO;
        self.stores = Arc::default();
        for store in &self.known {
            self.stores.add(store);
        }
        let checkpoint = Checkpoint::from_json(&saved).expect("it was just written");
        self.tape = Arc::default();
        self.taped_from = self.lines.len();
        let tasks;
        (self.session, tasks) =
            RecordedSession::resume(self.config.clone(), checkpoint, 1, Some(self.tape.clone()));
        self.unfinished = tasks.iter().copied().collect();
        tasks
    }

    /// Runs until this copy is finished.
    ///
    /// # Errors
    ///
    /// The task's.
    pub fn run(&mut self, task: TaskId) -> Result<Report, Failure> {
        let report = self.finish(task)?;
        Ok(report.copied().expect("it is a copy"))
    }

    /// Runs until this registry is checked.
    ///
    /// # Errors
    ///
    /// The task's.
    pub fn check(&mut self, task: TaskId) -> Result<Checked, Failure> {
        let report = self.finish(task)?;
        Ok(report.checked().expect("a registry is checked"))
    }

    /// Runs until this reference is resolved.
    ///
    /// # Errors
    ///
    /// The task's.
    pub fn resolve(&mut self, task: TaskId) -> Result<Descriptor, Failure> {
        let report = self.finish(task)?;
        Ok(report.resolved().expect("a reference is resolved"))
    }

    /// Runs until this task is finished.
    ///
    /// # Errors
    ///
    /// The task's.
    pub fn finish(&mut self, task: TaskId) -> Result<TaskReport, Failure> {
        self.run_until(|world| world.finished.contains_key(&task));
        self.finished[&task].clone()
    }

    /// Runs until there is nothing to do. Checks that everything is finished and given back.
    pub fn run_all(&mut self) -> &BTreeMap<TaskId, Result<TaskReport, Failure>> {
        for _ in 0..Self::STEPS {
            if !self.step() {
                return &self.finished;
            }
        }
        panic!("it never ends:\n{}", self.transcript());
    }

    /// Runs until this is true.
    pub fn run_until(&mut self, mut end: impl FnMut(&Self) -> bool) {
        for _ in 0..Self::STEPS {
            if end(self) {
                return;
            }
            assert!(self.step(), "it stopped before:\n{}", self.transcript());
        }
        panic!("it never ends:\n{}", self.transcript());
    }

    /// Runs until all that is outside is held or hangs. Time does not jump.
    pub fn run_still(&mut self) {
        for _ in 0..Self::STEPS {
            if !self.turn(false) {
                return;
            }
        }
        panic!("it never comes to rest:\n{}", self.transcript());
    }

    /// Lets the jobs that are held go on, and from now on all.
    pub fn let_go(&mut self) {
        self.lot = Box::new(|_| Lot::Run);
        self.outside.append(&mut self.hanging);
    }

    /// The totals of a task so far, one after the other.
    pub fn totals(&self, task: TaskId) -> &[Totals] {
        self.totals.get(&task).map_or(&[], Vec::as_slice)
    }

    /// Whether a task is finished.
    pub fn is_finished(&self, task: TaskId) -> bool {
        self.finished.contains_key(&task)
    }

    /// How many jobs are outside that this is true of.
    pub fn outside(&self, is: impl Fn(&Job) -> bool) -> usize {
        let outside = self.outside.iter().chain(&self.hanging);
        outside.filter(|job| is(job)).count()
    }

    /// Polls the session once, or runs one job if it waits. Whether there was anything to do.
    pub fn step(&mut self) -> bool {
        self.turn(true)
    }

    fn turn(&mut self, jumps: bool) -> bool {
        let output = self.session.poll(self.now);
        while let Some((task, totals)) = self.session.take_totals() {
            self.totals.entry(task).or_default().push(totals);
        }
        match output {
            Output::Job(job) => {
                self.lines.push(transcript::job(&job));
                self.outside.push(job);
                self.check_outside();
            }
            Output::Abort(id) => {
                self.lines.push(transcript::abort(id));
                self.abort(id);
            }
            Output::Event(task, event) => self.event(task, event),
            Output::Wait(until) => return self.wait(until, jumps),
            Output::Idle => {
                assert!(self.unfinished.is_empty(), "idle with unfinished tasks");
                assert!(self.outside.is_empty() && self.hanging.is_empty());
                self.check_secrets();
                self.check_tape();
                return false;
            }
        }
        true
    }

    /// Where in virtual time the world is.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Time passes, and the session is not told.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// The transcript so far.
    pub fn transcript(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    /// The lines of the transcript that have this in them, one below the other.
    pub fn lines_with(&self, what: &str) -> Vec<&str> {
        let lines = self.lines.iter().map(String::as_str);
        lines.filter(|line| line.contains(what)).collect()
    }

    /// The tape so far.
    pub fn tape(&self) -> String {
        self.tape.text()
    }

    /// What a model was asked, one line each; then its log is empty.
    pub fn take_log(&mut self, model: usize) -> Vec<String> {
        let log = self.models[model].log().iter();
        let lines = log.map(windlass_testbed::Entry::line).collect();
        self.models[model].clear_log();
        lines
    }

    fn wait(&mut self, until: Option<Time>, jumps: bool) -> bool {
        assert!(
            until.is_none_or(|until| until > self.now),
            "{until:?} has passed"
        );
        if !self.outside.is_empty() {
            let picked = (self.pick)(&self.outside).min(self.outside.len() - 1);
            let job = self.outside.remove(picked);
            match (self.lot)(&job) {
                Lot::Run => self.work(job),
                Lot::Hold => self.hanging.push(job),
                Lot::Lose => self.done(Done::lost(job.id())),
                Lot::Fail(error) => self.done(fail_step(job, error)),
            }
            return true;
        }
        if !jumps {
            return false;
        }
        let Some(until) = until else {
            let hang = self.hanging.len();
            panic!(
                "nothing happens any more, {hang} hang:\n{}",
                self.transcript()
            );
        };
        let waited = until.since(self.now).as_millis();
        self.lines.push(format!("~ {waited} ms"));
        self.now = until;
        true
    }

    fn work(&mut self, job: Job) {
        let done = match job {
            Job::Http(call) => match self.http(call) {
                Ok(done) => done,
                Err(call) => return self.hanging.push(Job::Http(call)),
            },
            Job::Relay(relay) => match self.relay(relay) {
                Some(done) => done,
                None => return,
            },
            Job::Store(call) => self.stores.run(call),
            Job::Credentials(call) => {
                let question = call.question();
                let key = (question.registry().as_str().to_owned(), question.access());
                let answer = self.credentials.get(&key).cloned();
                call.finish(answer.unwrap_or_else(|| CredentialAnswer::None.into()))
            }
        };
        self.done(done);
    }

    fn done(&mut self, done: Done) {
        self.lines.push(transcript::done(&done));
        self.session.handle(done, self.now);
    }

    fn abort(&mut self, id: JobId) {
        let mut outside = self.outside.iter().chain(&self.hanging);
        if outside.any(|job| job.id() == id && matches!(job, Job::Store(_))) {
            // A store's step cannot be broken off; its answer comes when it comes.
            return;
        }
        let mut found = None;
        for jobs in [&mut self.outside, &mut self.hanging] {
            if let Some(place) = jobs.iter().position(|job| job.id() == id) {
                found = Some(jobs.remove(place));
            }
        }
        let abort = |call: Box<Call>| call.finish(Err(Interrupted::Aborted));
        let sink = self.hanging_sinks.iter().position(|(it, _)| it.id() == id);
        let done = match (found, sink) {
            (Some(Job::Http(call)), _) => abort(call),
            (Some(Job::Relay(relay)), _) => {
                let (source, sink) = relay.split();
                Done::relayed(abort(source), abort(sink))
            }
            (None, Some(place)) => {
                let (source, sink) = self.hanging_sinks.remove(place);
                Done::relayed(source, abort(sink))
            }
            _ => panic!("{id} is no HTTP job outside:\n{}", self.transcript()),
        };
        self.done(done);
    }

    fn event(&mut self, task: TaskId, event: Event) {
        self.lines.push(transcript::told(task, &event));
        self.check_text(&format!("{event:?}"));
        assert!(self.unfinished.contains(&task), "{task} is over: {event:?}");
        if let Event::Finished(result) = event {
            if let Err(failure) = &result {
                let kinds = failure.errors().iter().map(Error::kind);
                assert!(
                    !kinds.into_iter().any(|kind| kind == ErrorKind::Internal),
                    "{failure}"
                );
            }
            self.unfinished.remove(&task);
            assert!(self.finished.insert(task, result).is_none());
        }
    }
}

fn fail_step(job: Job, error: StoreError) -> Done {
    match job {
        Job::Store(call) => call.finish(Err(error)),
        other @ (Job::Http(_) | Job::Relay(_) | Job::Credentials(_)) => {
            panic!("{other:?} is no step")
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}
