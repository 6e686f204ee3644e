//! Tasks in given states, without a session around them.
//!
//! ```text
//!  start ─▶ what it asks for: requests, steps of stores, blobs
//!              │ done, failed, replied, stored, settled
//!              └──────▶ what it asks for next, or how it ended
//! ```
//!
//! Responsible for what a task sees of the machines below: it is handed the outcome of an exchange, the answer of a
//! store or a blob without any of it having happened, so a test is about one machine and says what that asks for, as it
//! would go out. Content is shown by the names that the test gives it, in place of the digits of its digest. Must not
//! know what a kind of task does.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::blobs::Blobs;
use crate::call::{Call, Job, JobId, Payload};
use crate::config::Config;
use crate::credential::CredentialAnswer;
use crate::digest::Algorithm;
use crate::event::Event;
use crate::ids::Owner;
use crate::manifest::media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::manifest::{Declared, Document};
use crate::op::OpOutcome;
use crate::op::testing::answer;
use crate::ports::Ports;
use crate::rng::Rng;
use crate::store::{StoreErrorKind, StoreId, StoreOp};
use crate::store_queue::StoreQueue;

/// The store of most tasks.
pub(super) const STORE: StoreId = StoreId(1);
/// The repository of most tasks, as requests to it begin: they are shown without that.
const HOME: &str = "https://reg.example/v2/a/";

/// The machines below, with nothing to do.
pub(super) struct Machines {
    pub(super) blobs: Blobs,
    pub(super) exchanges: Exchanges,
    store_queue: StoreQueue,
    events: VecDeque<(TaskId, Event)>,
    config: Config,
    now: Time,
}

impl Default for Machines {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Machines {
    fn new(config: Config) -> Self {
        Self {
            blobs: Blobs::new(&config),
            exchanges: Exchanges::new(config.clone()),
            store_queue: StoreQueue::default(),
            events: VecDeque::new(),
            config,
            now: Time::ZERO,
        }
    }

    pub(super) fn below(&mut self) -> Below<'_> {
        let ports = Ports {
            exchanges: &mut self.exchanges,
            store_queue: &mut self.store_queue,
            events: &mut self.events,
            config: &self.config,
            now: self.now,
        };
        let blobs = &mut self.blobs;
        Below { blobs, ports }
    }
}

/// Tasks, and what they have asked for.
pub(super) struct Scenario {
    tasks: Tasks,
    machines: Machines,
    jobs: u64,
    /// What was asked for and not answered.
    asked: Vec<Asked>,
    /// The same for blobs, since the last look at them.
    wanted: Vec<String>,
    /// The digits of digests, and what is shown in their place.
    names: Vec<(String, &'static str)>,
}

struct Asked {
    what: String,
    owner: (TaskId, NodeId),
    by: By,
}

enum By {
    Request { id: ExchangeId, call: Box<Call> },
    Step,
}

impl Scenario {
    /// No tasks, and content with these names.
    pub(super) fn new(names: &[(&'static str, &Digest)]) -> Self {
        Self::configured(names, Config::default())
    }

    pub(super) fn configured(names: &[(&'static str, &Digest)], config: Config) -> Self {
        let digits = |digest: &Digest| digest.encoded().into();
        Self {
            tasks: Tasks::new(0),
            machines: Machines::new(config),
            jobs: 0,
            asked: Vec::new(),
            wanted: Vec::new(),
            names: names.iter().map(|(name, it)| (digits(it), *name)).collect(),
        }
    }

    pub(super) fn start(&mut self, task: Task) -> TaskId {
        self.start_at(task, None)
    }

    /// Starts a task whose source's name was found to stand for `known` earlier.
    pub(super) fn start_at(&mut self, task: Task, known: Option<Descriptor>) -> TaskId {
        self.tasks.start(task, known, &mut self.machines.below())
    }

    /// The exchange of this request ends in an outcome.
    pub(super) fn done(&mut self, what: &str, outcome: OpOutcome) {
        self.end(what, Settlement::Done(outcome));
    }

    /// The exchange of this request fails.
    pub(super) fn failed(&mut self, what: &str, error: Error) {
        self.end(what, Settlement::Failed(error));
    }

    /// The registry answers this request, and something is learned about it.
    pub(super) fn replied(&mut self, what: &str, status: u16) {
        let By::Request { id, call } = self.take(what).by else {
            panic!("{what} is no request")
        };
        self.come_back(id, call, status);
        while let Some(settled) = self.machines.exchanges.take_settled() {
            if let Owner::Node(task, node) = settled.owner {
                let (exchange, result) = (settled.exchange, settled.result);
                let below = &mut self.machines.below();
                self.tasks
                    .exchange_ended((task, node), exchange, result, below);
            }
        }
    }

    /// The store answers this step.
    pub(super) fn stored(&mut self, what: &str, answer: StoreAnswer) {
        self.step(what, Ok(answer));
    }

    pub(super) fn store_failed(&mut self, what: &str, kind: StoreErrorKind) {
        self.step(what, Err(StoreError::new(kind, "the store failed")));
    }

    /// A blob is where it was wanted.
    pub(super) fn settled(&mut self, id: TaskId, digest: &Digest, delivery: Delivery) {
        self.blob(id, digest, Ok(delivery));
    }

    /// A blob cannot be had.
    pub(super) fn lost(&mut self, id: TaskId, digest: &Digest, error: Error) {
        self.blob(id, digest, Err(error));
    }

    pub(super) fn passes(&mut self, time: Duration) {
        self.machines.now = self.machines.now + time;
        self.tasks.expire(&mut self.machines.below());
    }

    /// What is asked for and not answered, but for blobs.
    pub(super) fn asked(&mut self) -> Vec<String> {
        self.look();
        self.asked.iter().map(|asked| asked.what.clone()).collect()
    }

    /// What the transfers of blobs that were wanted since the last look begin with: a request at the registry that is
    /// to have the blob, or a step of the store.
    pub(super) fn wanted(&mut self) -> Vec<String> {
        self.look();
        core::mem::take(&mut self.wanted)
    }

    /// The document that a request sends.
    pub(super) fn sent(&mut self, what: &str) -> Document {
        self.look();
        let asked = self.asked.iter().find(|asked| asked.what == what);
        let Some(By::Request { call, .. }) = asked.map(|asked| &asked.by) else {
            panic!("{what} is no request under way")
        };
        let Payload::Bytes(bytes) = call.request().body() else {
            panic!("{what} sends no document")
        };
        let media_type = call.request().headers().get("content-type");
        let media_type = media_type.and_then(|it| it.to_str().ok());
        let declared = Declared::ContentType(media_type);
        Document::parse(bytes.to_vec(), declared).expect("what is sent can be read")
    }

    /// The warnings since the last look.
    pub(super) fn warnings(&mut self) -> Vec<String> {
        let events = core::mem::take(&mut self.machines.events);
        let warnings = events.into_iter().filter_map(|(_, event)| {
            let Event::Warning(what) = event else {
                return None;
            };
            Some(self.named(&what))
        });
        warnings.collect()
    }

    /// How a task ended well. It waits for nothing then.
    pub(super) fn report(&mut self, id: TaskId) -> TaskReport {
        assert_eq!(self.asked(), [""; 0], "it is asked for at the end");
        match self.ending(id) {
            Ok(report) => report,
            Err(failure) => panic!("{failure:?}"),
        }
    }

    /// Why a task failed.
    pub(super) fn error(&mut self, id: TaskId) -> Error {
        match self.ending(id) {
            Ok(report) => panic!("{report:?}"),
            Err(failure) => failure.first().clone(),
        }
    }

    /// What a task that is not removed has to do, and has done.
    pub(super) fn totals(&self, id: TaskId) -> Totals {
        self.tasks.tasks[&id].machine.totals()
    }

    pub(super) fn is_over(&self, id: TaskId) -> bool {
        self.tasks.is_ending(id)
    }

    /// Whether a task that is over has to give something back.
    pub(super) fn cleans_up(&self, id: TaskId) -> bool {
        self.machines.exchanges.has_errand_of(id)
    }

    /// A text with names in place of digits.
    pub(super) fn named(&self, text: &str) -> String {
        let replaced = |text: String, (digits, name): &(String, &str)| text.replace(digits, name);
        self.names.iter().fold(text.into(), replaced)
    }

    fn ending(&mut self, id: TaskId) -> Result<TaskReport, Failure> {
        self.look();
        let ending = self.tasks.remove(id, &mut self.machines.below());
        ending.unwrap_or_else(|| panic!("it waits for {:?}", self.asked()))
    }

    fn end(&mut self, what: &str, settlement: Settlement) {
        let Asked { owner, by, .. } = self.take(what);
        let By::Request { id, call } = by else {
            panic!("{what} is no request")
        };
        // Of this answer the registry's credentials are learned, which others wait for, and nothing else.
        self.come_back(id, call, 409);
        let exchanges = &mut self.machines.exchanges;
        while exchanges.take_settled().is_some() {}
        exchanges.abandon(id);
        let below = &mut self.machines.below();
        self.tasks.exchange_ended(owner, id, settlement, below);
    }

    fn step(&mut self, what: &str, answer: Result<StoreAnswer, StoreError>) {
        let Asked { owner, by, .. } = self.take(what);
        assert!(matches!(by, By::Step), "{what} is no step");
        self.tasks
            .step_ended(owner, answer, &mut self.machines.below());
    }

    fn blob(&mut self, id: TaskId, digest: &Digest, result: Result<Delivery, Error>) {
        let below = &mut self.machines.below();
        self.tasks.blob_settled(id, digest, result, below);
    }

    /// The job of a request is back.
    fn come_back(&mut self, id: ExchangeId, mut call: Box<Call>, status: u16) {
        let mut head = http::Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        let _receive = call.head(head);
        let (job, now) = (call.id(), self.machines.now);
        let result = call.finish(Ok(())).into_outcome();
        let exchanges = &mut self.machines.exchanges;
        exchanges.call_ended((id, None), job, result, now, &mut Rng::new(0));
    }

    fn take(&mut self, what: &str) -> Asked {
        self.look();
        let found = self.asked.iter().position(|asked| asked.what == what);
        let found = found.unwrap_or_else(|| panic!("{what}: only {:?} is asked for", self.asked()));
        self.asked.remove(found)
    }

    /// Lets everything go out that may.
    fn look(&mut self) {
        // Questions for credentials, and what their answers lead to, come one look later.
        const LOOKS: usize = 3;
        let mut nothing = 0;
        while nothing < LOOKS {
            nothing = if self.next() { 0 } else { nothing + 1 };
        }
    }

    /// Lets the next job go out. Whether there was one.
    fn next(&mut self) -> bool {
        self.jobs += 1;
        let (job, now) = (JobId(self.jobs), self.machines.now);
        let Machines {
            exchanges,
            store_queue,
            ..
        } = &mut self.machines;
        if let Some(call) = store_queue.next(job, now) {
            let step = store_queue.take(job).expect("it went out");
            let what = self.named(&format!("{} {}", call.store(), Shown(call.op())));
            self.note(Some(step.owner), what, By::Step);
            return true;
        }
        if let Some(question) = exchanges.next_question(job) {
            let done = question.finish(CredentialAnswer::None);
            exchanges.question_ended(job, done.into_outcome(), now);
            return true;
        }
        let Some((id, Job::Http(call))) = exchanges.next_job(job, now) else {
            return false;
        };
        let owner = exchanges.wanted_by(id).next().and_then(|(owner, _)| owner);
        let what = self.named(&shown(&call));
        self.note(owner, what, By::Request { id, call });
        true
    }

    fn note(&mut self, owner: Option<Owner>, what: String, by: By) {
        match owner {
            Some(Owner::Node(task, node)) => {
                let owner = (task, node);
                self.asked.push(Asked { what, owner, by });
            }
            Some(Owner::Transfer(_)) => self.wanted.push(what),
            // A probe, or something that is given back.
            None => {}
        }
    }
}

/// A request: its method and target, and the headers that decide what it means.
fn shown(call: &Call) -> String {
    let (request, mut shown) = (call.request(), String::new());
    let target = request.uri().to_string();
    let target = target.strip_prefix(HOME).unwrap_or(&target);
    shown.push_str(&format!("{} {target}", request.method()));
    for name in ["if-match", "if-none-match", "range"] {
        if let Some(value) = request.headers().get(name) {
            let value = value.to_str().expect("it is text");
            shown.push_str(&format!(" {name} {value}"));
        }
    }
    shown
}

/// A step of a store.
struct Shown<'a>(&'a StoreOp);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())?;
        match self.0 {
            StoreOp::Find { name } => write!(f, " {}", name.as_deref().unwrap_or("-")),
            StoreOp::Tag { name, descriptor } => {
                let name = name.as_deref().unwrap_or("-");
                write!(f, " {name} {}", descriptor.digest)
            }
            StoreOp::Gather { from, upto } => match upto {
                Some(upto) => write!(f, " {from} to {upto}"),
                None => write!(f, " {from} to the end"),
            },
            StoreOp::Referrers { subject } => write!(f, " {subject}"),
            StoreOp::AddReferrers { subject, entries } => {
                write!(f, " {subject}:")?;
                entries
                    .iter()
                    .try_for_each(|entry| write!(f, " {}", entry.digest))
            }
            StoreOp::Begin { digest, .. }
            | StoreOp::Load { digest, .. }
            | StoreOp::Put { digest, .. }
            | StoreOp::Hash { digest, .. }
            | StoreOp::Commit { digest, .. }
            | StoreOp::Discard { digest }
            | StoreOp::Release { digest }
            | StoreOp::Import { digest, .. }
            | StoreOp::Remove { digest } => write!(f, " {digest}"),
        }
    }
}

/// The descriptor of this content.
pub(super) fn blob(media_type: &str, content: &str) -> Descriptor {
    let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
    Descriptor::new(media_type, digest, content.len() as u64)
}

/// The descriptor of a layer with this content.
pub(super) fn layer(content: &str) -> Descriptor {
    blob("application/vnd.oci.image.layer.v1.tar", content)
}

/// An image of these layers, with a configuration of its own.
pub(super) fn image(layers: &[Descriptor]) -> Document {
    let config = blob(OCI_CONFIG, &json!(layers).to_string());
    document(OCI_MANIFEST, json!({"config": config, "layers": layers}))
}

/// An artifact that refers to another manifest.
pub(super) fn referrer(subject: &Document, artifact_type: &str) -> Document {
    let config = blob("application/vnd.example.config", artifact_type);
    document(
        OCI_MANIFEST,
        json!({"config": config, "layers": [], "artifactType": artifact_type,
            "subject": subject.descriptor()}),
    )
}

/// An index of these entries.
pub(super) fn index(entries: &[Descriptor]) -> Document {
    document(OCI_INDEX, json!({"manifests": entries}))
}

/// The entry of a manifest for a platform.
pub(super) fn entry(document: &Document, platform: &str) -> Descriptor {
    let mut entry = document.descriptor();
    entry.platform = Some(
        platform
            .parse::<crate::Platform>()
            .expect("a platform")
            .into(),
    );
    entry
}

pub(super) fn document(media_type: &str, mut members: Value) -> Document {
    members["schemaVersion"] = 2.into();
    members["mediaType"] = media_type.into();
    let bytes = members.to_string().into_bytes();
    let declared = Declared::ContentType(Some(media_type));
    Document::parse(bytes, declared).expect("a document")
}

/// The manifests that an index has, as digests.
pub(super) fn listed(index: &Document) -> Vec<&Digest> {
    let entries = crate::referrers::entries(index).expect("an index");
    entries.iter().map(|entry| &entry.digest).collect()
}

/// A GET has found a document.
pub(super) fn got(document: &Document) -> OpOutcome {
    got_as(document, None)
}

/// The same with an `ETag`.
pub(super) fn got_as(document: &Document, etag: Option<&str>) -> OpOutcome {
    OpOutcome::Document {
        document: Box::new(document.clone()),
        etag: etag.map(Into::into),
    }
}

/// A HEAD has found a document.
pub(super) fn found(document: &Document) -> OpOutcome {
    OpOutcome::Found {
        digest: Some(document.digest().clone()),
        size: Some(document.bytes().len() as u64),
        media_type: Some(document.media_type().into()),
    }
}

/// What a store has loaded.
pub(super) fn loaded(document: &Document) -> StoreAnswer {
    StoreAnswer::Loaded(document.bytes().to_vec())
}

/// The error for an answer with this status.
pub(super) fn status(status: u16) -> Error {
    answer(status, &[], b"").failure("it")
}

/// The same with an error code.
pub(super) fn coded(status: u16, code: &str) -> Error {
    let body = json!({"errors": [{"code": code}]}).to_string();
    answer(status, &[], body.as_bytes()).failure("it")
}

pub(super) fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

pub(super) fn tags(names: &[&str]) -> Vec<Tag> {
    let tags = names.iter().map(|name| name.parse());
    tags.collect::<Result<_, _>>().expect("tags")
}
