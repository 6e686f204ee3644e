//! A world for a session, without sockets, threads or clocks.
//!
//! A [`World`] owns a [`Session`] and does what a driver does, one job at a time: HTTP goes to a
//! [`Model`] (or to whatever a rule says), steps go to stores in memory, credentials come from a
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
mod memory;
pub mod scenes;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use windlass_core::call::{
    Call, Done, Interrupted, Keep, Payload, TransportError, TransportErrorKind,
};
use windlass_core::credential::CredentialAnswer;
use windlass_core::{
    Config, Event, Failure, Job, JobId, Output, Report, Session, StoreId, Task, TaskId, Time,
    transcript,
};

use windlass_store::{Incoming, Store, Stores};
use windlass_testbed::{Answer, Model, Request};

pub use memory::Memory;

/// What becomes of an HTTP exchange.
#[derive(Clone, Debug)]
pub enum Fate {
    /// This answer; the model does not see the request.
    Say(Answer),
    /// The model's answer breaks off after so many bytes of its body.
    Cut(usize),
    /// The model takes the request and its answer is lost.
    Unanswered,
    /// The request breaks off after so many bytes of its body.
    Broken(usize),
    /// No connection.
    Unreachable,
    /// The worker dies once the model has answered.
    Lost,
    /// Nothing happens until the job is aborted.
    Hang,
}

/// Chooses one of the jobs outside.
pub type Pick = Box<dyn FnMut(&[Job]) -> usize>;

/// When a rule applies.
type When = Box<dyn Fn(&Request) -> bool>;

struct Rule {
    when: When,
    /// How many more matching requests are let through; `None` for a rule that always applies.
    left: Option<usize>,
    fate: Fate,
}

/// A secret and the hosts that may see it.
struct Guarded {
    secret: String,
    hosts: BTreeSet<String>,
}

/// A session and everything around it.
pub struct World {
    /// The session.
    pub session: Session,
    /// The models, in the order they were added.
    pub models: Vec<Model>,
    /// How long an HTTP exchange takes.
    pub latency: Duration,
    /// How many bytes a body brings at once.
    pub chunk: usize,
    /// Which of the jobs outside runs next. The default: the one that has been outside longest.
    pub pick: Pick,
    stores: Arc<Stores>,
    hosts: BTreeMap<String, usize>,
    credentials: BTreeMap<String, CredentialAnswer>,
    rules: Vec<Rule>,
    now: Time,
    outside: Vec<Job>,
    hanging: Vec<Job>,
    lines: Vec<String>,
    most: u32,
    guarded: Vec<Guarded>,
    unfinished: BTreeSet<TaskId>,
    finished: BTreeMap<TaskId, Result<Report, Failure>>,
}

impl World {
    /// The models' clock at the session's beginning, since the Unix epoch.
    pub const EPOCH: Duration = Duration::from_secs(1_800_000_000);
    /// More steps than any test takes: who needs more goes in a circle.
    const STEPS: usize = 100_000;

    /// A world with nothing in it.
    pub fn new(config: Config) -> Self {
        Self {
            most: config.in_flight.most,
            session: Session::new(config, 1),
            models: Vec::new(),
            latency: Duration::from_millis(10),
            chunk: 64 * 1024,
            pick: Box::new(|_| 0),
            stores: Arc::default(),
            hosts: BTreeMap::new(),
            credentials: BTreeMap::new(),
            rules: Vec::new(),
            now: Time::ZERO,
            outside: Vec::new(),
            hanging: Vec::new(),
            lines: Vec::new(),
            guarded: Vec::new(),
            unfinished: BTreeSet::new(),
            finished: BTreeMap::new(),
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

    /// Sets the credential for a registry. Its secret may be seen by these hosts.
    pub fn credential(&mut self, registry: &str, answer: CredentialAnswer, hosts: &[&str]) {
        let secrets = match &answer {
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
        self.credentials.insert(registry.to_owned(), answer);
    }

    /// Adds an empty store.
    pub fn store(&mut self) -> (StoreId, Memory) {
        let memory = Memory::default();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        (self.stores.add(&store), memory)
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

    /// Runs until this task is finished.
    ///
    /// # Errors
    ///
    /// The task's.
    pub fn run(&mut self, task: TaskId) -> Result<Report, Failure> {
        self.run_until(|world| world.finished.contains_key(&task));
        self.finished[&task].clone()
    }

    /// Runs until there is nothing to do. Checks that everything is finished and given back.
    pub fn run_all(&mut self) -> &BTreeMap<TaskId, Result<Report, Failure>> {
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

    /// Polls the session once, or runs one job if it waits. Whether there was anything to do.
    pub fn step(&mut self) -> bool {
        match self.session.poll(self.now) {
            Output::Job(job) => {
                self.lines.push(transcript::job(&job));
                self.outside.push(job);
                self.check_outside();
            }
            Output::Abort(id) => {
                self.lines.push(format!("{id} > abort"));
                self.abort(id);
            }
            Output::Event(task, event) => self.event(task, event),
            Output::Wait(until) => return self.wait(until),
            Output::Idle => {
                assert!(self.unfinished.is_empty(), "idle with unfinished tasks");
                assert!(self.outside.is_empty() && self.hanging.is_empty());
                self.check_secrets();
                return false;
            }
            other => panic!("what is {other:?}?"),
        }
        true
    }

    /// Where in virtual time the world is.
    pub const fn now(&self) -> Time {
        self.now
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

    /// What a model was asked, one line each; then its log is empty.
    pub fn take_log(&mut self, model: usize) -> Vec<String> {
        let log = self.models[model].log().iter();
        let lines = log.map(windlass_testbed::Entry::line).collect();
        self.models[model].clear_log();
        lines
    }

    fn wait(&mut self, until: Option<Time>) -> bool {
        assert!(
            until.is_none_or(|until| until > self.now),
            "{until:?} has passed"
        );
        if !self.outside.is_empty() {
            let picked = (self.pick)(&self.outside).min(self.outside.len() - 1);
            let job = self.outside.remove(picked);
            self.work(job);
            return true;
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
            Job::Store(call) => self.stores.run(call),
            Job::Credentials(call) => {
                let answer = self.credentials.get(call.registry().as_str()).cloned();
                call.finish(answer.unwrap_or(CredentialAnswer::None))
            }
            other => panic!("what is {other:?}?"),
        };
        self.done(done);
    }

    fn done(&mut self, done: Done) {
        self.lines.push(transcript::done(&done));
        self.session.handle(done, self.now);
    }

    fn abort(&mut self, id: JobId) {
        if self
            .outside
            .iter()
            .any(|job| job.id() == id && matches!(job, Job::Store(_)))
        {
            // A store's step cannot be broken off; its answer comes when it comes.
            return;
        }
        let mut found = None;
        for jobs in [&mut self.outside, &mut self.hanging] {
            if let Some(place) = jobs.iter().position(|job| job.id() == id) {
                found = Some(jobs.remove(place));
            }
        }
        let Some(Job::Http(call)) = found else {
            panic!("{id} is no HTTP job outside:\n{}", self.transcript());
        };
        self.done(call.finish(Err(Interrupted::Aborted)));
    }

    /// One exchange from head to end. Gives the call back if it hangs.
    fn http(&mut self, mut call: Box<Call>) -> Result<Done, Box<Call>> {
        let request = match self.request(&mut call) {
            Ok(request) => request,
            Err(reason) => return Ok(call.finish(Err(reason))),
        };
        self.check_request(&call, &request);
        let fate = self.fate(&request);
        self.now = self.now + self.latency;
        let at = Self::EPOCH + self.now.since(Time::ZERO);
        let place = self.hosts.get(&request.host).copied();
        let model = place.and_then(|place| self.models.get_mut(place));
        let broke = |kind| Err(Interrupted::Transport(TransportError::new(kind, "planned")));
        let answer = match (&fate, model) {
            (Some(Fate::Hang), _) => return Err(call),
            (Some(Fate::Say(answer)), Some(model)) => {
                model.note(&request, Some(answer.status), at);
                answer.clone()
            }
            (Some(Fate::Say(answer)), None) => answer.clone(),
            (Some(Fate::Broken(sent)), Some(model)) => {
                let sent = request.body.slice(..(*sent).min(request.body.len()));
                model.cut(&request.body(sent), at);
                return Ok(call.finish(broke(TransportErrorKind::Reset)));
            }
            (Some(Fate::Unreachable), _) | (_, None) => {
                let error = TransportError::new(TransportErrorKind::Connect, "planned");
                return Ok(call.finish(Err(Interrupted::NotSent(error))));
            }
            (Some(Fate::Cut(_) | Fate::Unanswered | Fate::Lost) | None, Some(model)) => {
                model.answer(&request, at)
            }
        };
        match fate {
            Some(Fate::Unanswered) => Ok(call.finish(broke(TransportErrorKind::Answer))),
            Some(Fate::Lost) => Ok(Done::lost(call.id())),
            Some(Fate::Cut(kept)) => {
                let end = broke(TransportErrorKind::Reset);
                Ok(self.receive(call, &answer, kept, end))
            }
            _ => Ok(self.receive(call, &answer, usize::MAX, Ok(()))),
        }
    }

    /// The request as a server sees it, its body read to its end.
    fn request(&self, call: &mut Call) -> Result<Request, Interrupted> {
        let outgoing = call.outgoing();
        let sent = call.request();
        let target = sent.uri().path_and_query().map_or("/", |it| it.as_str());
        let host = sent.uri().authority().map_or("", |it| it.as_str());
        let mut request = Request::new(sent.method().clone(), host, target);
        request.headers = sent.headers().clone();
        request.body = match sent.body() {
            Payload::Empty => Vec::new().into(),
            Payload::Bytes(bytes) => bytes.to_vec().into(),
            Payload::Body(body) => {
                let outgoing = outgoing.expect("a body that is a blob has a meter");
                let reader = self.stores.outgoing(body, outgoing);
                let mut reader = reader.map_err(Interrupted::Store)?;
                let mut bytes = Vec::new();
                let failure = reader.failure();
                if reader
                    .by_ref()
                    .take(body.len)
                    .read_to_end(&mut bytes)
                    .is_err()
                {
                    return Err(failure.take().expect("the reason of a failed read"));
                }
                bytes.into()
            }
            other => panic!("what is {other:?}?"),
        };
        Ok(request)
    }

    fn receive(
        &self,
        mut call: Box<Call>,
        answer: &Answer,
        kept: usize,
        end: Result<(), Interrupted>,
    ) -> Done {
        let mut head = http::Response::new(());
        *head.status_mut() = answer.status;
        *head.headers_mut() = answer.headers.clone();
        let receive = call.head(head);
        let mut incoming = Incoming::new(&self.stores, call, receive);
        let body = &answer.body[..kept.min(answer.body.len())];
        for chunk in body.chunks(self.chunk) {
            if !incoming.wants_body() || incoming.chunk(chunk) != Keep::All {
                return incoming.finish(Ok(()));
            }
        }
        incoming.finish(end)
    }

    fn fate(&mut self, request: &Request) -> Option<Fate> {
        let mut found = None;
        let mut spent = None;
        for (place, rule) in self.rules.iter_mut().enumerate() {
            if !(rule.when)(request) {
                continue;
            }
            match &mut rule.left {
                Some(0) if found.is_none() => {
                    (found, spent) = (Some(rule.fate.clone()), Some(place));
                }
                Some(left) => *left = left.saturating_sub(1),
                None => found = found.or_else(|| Some(rule.fate.clone())),
            }
        }
        if let Some(place) = spent {
            self.rules.remove(place);
        }
        found
    }

    fn event(&mut self, task: TaskId, event: Event) {
        self.lines
            .push(format!("{task} {}", transcript::event(&event)));
        self.check_text(&format!("{event:?}"));
        assert!(self.unfinished.contains(&task), "{task} is over: {event:?}");
        if let Event::Finished(result) = event {
            self.unfinished.remove(&task);
            assert!(self.finished.insert(task, result).is_none());
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
