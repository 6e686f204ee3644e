//! The blocking and the async client behind one trait, so that one test covers both.
//!
//! Responsible for: building clients, running and observing their calls, and a server with the faults
//! that a test chooses. Must not know: what any test expects.

mod rigged;

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use windlass_core::call::TransferId;
use windlass_core::config::{Concurrency, Retry};
use windlass_core::credential::{CredentialAnswer, Question, Secret, TimedAnswer};
use windlass_core::reference::Repository;
use windlass_core::{
    BlobRange, Checked, Config, Descriptor, Digest, Event, Failure, OpenedImage, Reference,
    Registry, Report, Tags, TaskId, TaskReport, Totals,
};
use windlass_driver::{
    AddressGuard, BlobStream, CancelHandle, Credentials, ImageLocation, MovesImage, Observer,
    Procedure, Pull, Push, RequestSpec, Sends, TimeLimits, TlsRoots, Transfer,
};
use windlass_store::{Store, StoreEntry, StoreHandle};
use windlass_testbed::{Answer, Delivery, Interceptor, Model, Request, Server};

use crate::images::Layout;
use crate::tapes::Lines;

pub use rigged::Rigged;

/// A client under test.
pub trait Driver: Clone + Send + Sync + 'static {
    /// The client's name, for messages.
    const NAME: &'static str;

    /// Makes a client.
    fn new(setup: &Setup) -> Self;

    /// Runs a call to completion.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn finish(&self, ask: Ask) -> Result<TaskReport, Failure>;

    /// The pages of a repository's tags, of this many names each.
    fn pages(&self, repository: &Reference, size: u32) -> Vec<Result<Tags, Failure>>;

    /// A stream that the client reads in its own way, of a reader that does not wait.
    fn stream(&self, reader: impl Read + Send + 'static) -> BlobStream;

    /// Does what is asked, which is a copy.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn run(&self, ask: Ask) -> Result<Report, Failure> {
        let report = self.finish(ask)?;
        Ok(report.copied().expect("it is a copy"))
    }

    /// Resolves a reference.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn resolve(&self, ask: Ask) -> Result<Descriptor, Failure> {
        let report = self.finish(ask)?;
        Ok(report.resolved().expect("a reference is resolved"))
    }

    /// Opens an image.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn open(&self, reference: &str) -> Result<OpenedImage, Failure>;

    /// Runs a procedure to completion.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn follow<P: Procedure>(&self, procedure: P, how: Ways) -> Result<P::Report, Failure>;

    /// Reads a blob while it arrives.
    fn reader(&self, repository: &str, blob: &Descriptor) -> Box<dyn Read + '_>;

    /// Reads some bytes of a blob as a stream.
    fn unverified(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Box<dyn Read + '_>;

    /// Reads what is compressed in a blob, and compares it with a diff_id if there is one.
    fn decompressed(
        &self,
        repository: &str,
        blob: &Descriptor,
        diff_id: Option<&Digest>,
    ) -> Box<dyn Read + '_>;

    /// Reads some bytes of a blob.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn range(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<BlobRange, Failure>;

    /// The tape of its session so far. Each call, and each reader at its end, checks that it can be replayed.
    fn tape(&self) -> String;
}

/// How a client is to be set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Of the session.
    pub config: Config,
    /// None by default.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// No roots by default.
    pub trust: TlsRoots,
    /// The usual ones by default.
    pub limits: TimeLimits,
    /// All by default.
    pub addresses: AddressGuard,
}

impl Setup {
    /// Defaults, but with short waits between tries, and before lists of referrers are read again.
    pub fn new() -> Self {
        let mut config = Config::default();
        config.retry = quick(5);
        config.settle = Duration::from_millis(20);
        Self {
            config,
            credentials: None,
            trust: TlsRoots::default(),
            limits: TimeLimits::default(),
            addresses: AddressGuard::default(),
        }
    }

    /// Limits the concurrent exchanges per host.
    #[must_use]
    pub fn in_flight(mut self, most: u32) -> Self {
        self.config.in_flight = Concurrency::at_most(most);
        self
    }

    /// The number of attempts.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.config.retry = quick(attempts);
        self
    }

    /// The credentials of `alice`, for every registry.
    #[must_use]
    pub fn alice(mut self) -> Self {
        self.credentials = Some(Arc::new(Alice));
        self
    }

    /// These limits: connecting keeps its own.
    #[must_use]
    pub fn limits(mut self, idle: Duration, answer: Duration) -> Self {
        self.limits.idle = idle;
        self.limits.answer = answer;
        self
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// This many attempts, with negligible waits.
fn quick(attempts: u32) -> Retry {
    let mut retry = Retry::default();
    retry.attempts = attempts;
    retry.base = Duration::from_millis(2);
    retry.cap = Duration::from_millis(10);
    retry
}

/// The password of [`Setup::alice`].
pub use crate::tapes::PASSWORD;

#[derive(Debug)]
struct Alice;

impl Credentials for Alice {
    fn find(&self, _: &Question) -> TimedAnswer {
        let answer = CredentialAnswer::Basic {
            username: "alice".into(),
            password: Secret::new(PASSWORD),
        };
        answer.into()
    }
}

/// How a procedure is to be run.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// How long it may take.
    pub deadline: Option<Duration>,
    /// Who may end it early.
    pub cancel: Option<CancelHandle>,
}

impl Ways {
    fn tell<D, P>(
        self,
        mut steps: windlass_driver::Steps<'_, D, P>,
    ) -> windlass_driver::Steps<'_, D, P> {
        if let Some(deadline) = self.deadline {
            steps = steps.deadline(deadline);
        }
        if let Some(cancel) = &self.cancel {
            steps = steps.cancel(cancel);
        }
        steps
    }
}

/// A call, with its options.
#[derive(Clone)]
#[must_use = "nothing is asked before Driver::run"]
pub struct Ask {
    what: What,
    all: bool,
    observer: Option<Arc<dyn Observer>>,
    cancel: Option<CancelHandle>,
    spool: Option<Arc<dyn Store>>,
    mount_from: Vec<Repository>,
    foreign: bool,
    deadline: Option<Duration>,
}

#[derive(Clone)]
enum What {
    Check(Registry),
    Resolve(Reference),
    Pull(Reference, StoreEntry),
    Push(StoreEntry, Reference),
    Copy(ImageLocation, ImageLocation),
    Other(Box<RequestSpec>),
}

impl Ask {
    /// A request of any other kind.
    pub fn other(spec: RequestSpec) -> Self {
        Self::new(What::Other(Box::new(spec)))
    }

    /// Whether a registry accepts its credentials.
    pub fn check(registry: &str) -> Self {
        Self::new(What::Check(registry.parse().expect("a registry")))
    }

    /// Which digest it is.
    pub fn resolve(reference: &str) -> Self {
        Self::new(What::Resolve(parse(reference)))
    }

    /// From a registry into a store, without a name.
    pub fn pull(reference: &str, store: &Arc<dyn Store>) -> Self {
        Self::pull_to(reference, StoreHandle::from(store).unnamed())
    }

    /// From a registry into a store.
    pub fn pull_to(reference: &str, entry: impl Into<StoreEntry>) -> Self {
        Self::new(What::Pull(parse(reference), entry.into()))
    }

    /// The only entry of a store into a registry.
    pub fn push(store: &Arc<dyn Store>, reference: &str) -> Self {
        Self::push_from(StoreHandle::from(store).unnamed(), reference)
    }

    /// From a store into a registry.
    pub fn push_from(entry: impl Into<StoreEntry>, reference: &str) -> Self {
        Self::new(What::Push(entry.into(), parse(reference)))
    }

    /// From one reference to another.
    pub fn copy(source: &str, destination: &str) -> Self {
        Self::new(What::Copy(parse(source).into(), parse(destination).into()))
    }

    /// All of an index.
    pub fn all_platforms(mut self) -> Self {
        self.all = true;
        self
    }

    /// Who watches.
    pub fn watched(mut self, observer: &Arc<Watch>) -> Self {
        let observer: Arc<dyn Observer> = Arc::<Watch>::clone(observer);
        self.observer = Some(observer);
        self
    }

    /// Who may end it early.
    pub fn cancelled_by(mut self, cancel: &CancelHandle) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Where blobs between two registries stay meanwhile.
    pub fn spool(mut self, spool: &Arc<dyn Store>) -> Self {
        self.spool = Some(Arc::clone(spool));
        self
    }

    /// Where the destination may have its blobs, too.
    pub fn mount_from(mut self, repository: &str) -> Self {
        self.mount_from.push(repository.parse().unwrap());
        self
    }

    /// With foreign layers.
    pub fn foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// How long it may take.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    const fn new(what: What) -> Self {
        Self {
            what,
            all: false,
            observer: None,
            cancel: None,
            spool: None,
            mount_from: Vec::new(),
            foreign: false,
            deadline: None,
        }
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

fn parse(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A client over the driver `D`.
fn built<D: windlass_driver::Driver>(
    setup: &Setup,
    tape: Arc<Lines>,
) -> windlass_driver::Client<D> {
    let mut builder = windlass_driver::Client::builder()
        .config(setup.config.clone())
        .roots(setup.trust.clone())
        .time_limits(setup.limits)
        .addresses(setup.addresses.clone())
        .tape(tape)
        .seed(1);
    if let Some(credentials) = &setup.credentials {
        builder = builder.credentials(Arc::clone(credentials));
    }
    builder.build().unwrap()
}

/// Tells a request what is asked of requests of every kind.
fn told<'a, D, R>(
    request: windlass_driver::Request<'a, D, R>,
    ask: &Ask,
) -> windlass_driver::Request<'a, D, R> {
    let mut request = request;
    if let Some(observer) = &ask.observer {
        request = request.observer(Arc::clone(observer));
    }
    if let Some(cancel) = &ask.cancel {
        request = request.cancel(cancel);
    }
    if let Some(deadline) = ask.deadline {
        request = request.deadline(deadline);
    }
    request
}

/// What is asked, as a client over the driver `D` is asked.
enum Asked<'a, D> {
    Check(windlass_driver::Request<'a, D, Checked>),
    Resolve(windlass_driver::Request<'a, D, Descriptor>),
    Pull(windlass_driver::Request<'a, D, Pull>),
    Push(windlass_driver::Request<'a, D, Push>),
    Copy(windlass_driver::Request<'a, D, Transfer>),
    Other(windlass_driver::Request<'a, D, TaskReport>),
}

/// Tells a request what is asked of those that move an image.
fn told_image<'a, D, V: MovesImage>(
    request: windlass_driver::Request<'a, D, V>,
    ask: &Ask,
) -> windlass_driver::Request<'a, D, V> {
    let mut request = told(request, ask);
    if ask.all {
        request = request.all_platforms();
    }
    if ask.foreign {
        request = request.include_nondistributable();
    }
    request
}

/// Tells a request what is asked of those that send an image.
fn told_sender<'a, D, V: MovesImage + Sends>(
    request: windlass_driver::Request<'a, D, V>,
    ask: &Ask,
) -> windlass_driver::Request<'a, D, V> {
    let mut request = told_image(request, ask);
    for repository in &ask.mount_from {
        request = request.mount_from(repository.clone());
    }
    request
}

fn asked<'a, D>(client: &'a windlass_driver::Client<D>, ask: &Ask) -> Asked<'a, D> {
    match &ask.what {
        What::Check(registry) => Asked::Check(told(client.check(registry), ask)),
        What::Resolve(reference) => Asked::Resolve(told(client.resolve(reference), ask)),
        What::Other(spec) => Asked::Other(told(client.request((**spec).clone()), ask)),
        What::Pull(reference, entry) => {
            Asked::Pull(told_image(client.pull(reference, entry.clone()), ask))
        }
        What::Push(entry, reference) => {
            Asked::Push(told_sender(client.push(entry.clone(), reference), ask))
        }
        What::Copy(source, destination) => {
            let request = client.copy(source.clone(), destination.clone());
            let request = told_sender(request, ask);
            Asked::Copy(match &ask.spool {
                Some(spool) => request.spool(spool),
                None => request,
            })
        }
    }
}

/// A reader of a client, whose tape is checked when there is nothing more to read and when it is dropped.
struct Taped<R> {
    /// Dropped before the tape is checked, which then has how the client ended its task.
    reader: Option<R>,
    tape: Arc<Lines>,
}

impl<R> Taped<R> {
    fn around<'a>(reader: R, tape: &Arc<Lines>) -> Box<dyn Read + 'a>
    where
        R: Read + 'a,
    {
        Box::new(Self {
            reader: Some(reader),
            tape: Arc::clone(tape),
        })
    }
}

impl<R: Read> Read for Taped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = self.reader.as_mut().expect("taken when it is dropped");
        let read = reader.read(buffer);
        if !matches!(read, Ok(1..)) {
            self.tape.check();
        }
        read
    }
}

impl<R> Drop for Taped<R> {
    fn drop(&mut self) {
        drop(self.reader.take());
        if !std::thread::panicking() {
            self.tape.check();
        }
    }
}

/// The blocking client.
#[derive(Clone, Debug)]
pub struct Blocking(pub windlass_blocking::Client, Arc<Lines>);

impl Blocking {
    fn taped<'a>(&self, reader: impl Read + 'a) -> Box<dyn Read + 'a> {
        Taped::around(reader, &self.1)
    }
}

impl Driver for Blocking {
    const NAME: &'static str = "blocking";

    fn new(setup: &Setup) -> Self {
        let tape = Arc::new(Lines::default());
        Self(built(setup, tape.clone()), tape)
    }

    fn finish(&self, ask: Ask) -> Result<TaskReport, Failure> {
        let result = match asked(&self.0, &ask) {
            Asked::Check(request) => request.run().map(TaskReport::Checked),
            Asked::Resolve(request) => request.run().map(TaskReport::Resolved),
            Asked::Pull(request) => request.run().map(TaskReport::Copied),
            Asked::Push(request) => request.run().map(TaskReport::Copied),
            Asked::Copy(request) => request.run().map(TaskReport::Copied),
            Asked::Other(request) => request.run(),
        };
        self.1.check();
        result
    }

    fn open(&self, reference: &str) -> Result<OpenedImage, Failure> {
        let image = self.0.open(&parse(reference)).run();
        self.1.check();
        image
    }

    fn follow<P: Procedure>(&self, procedure: P, how: Ways) -> Result<P::Report, Failure> {
        let result = how.tell(self.0.procedure(procedure)).run();
        self.1.check();
        result
    }

    fn reader(&self, repository: &str, blob: &Descriptor) -> Box<dyn Read + '_> {
        self.taped(self.0.blob(&parse(repository), blob).read())
    }

    fn unverified(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Box<dyn Read + '_> {
        self.taped(self.0.blob(&parse(repository), blob).read_unverified(range))
    }

    fn decompressed(
        &self,
        repository: &str,
        blob: &Descriptor,
        diff_id: Option<&Digest>,
    ) -> Box<dyn Read + '_> {
        let reader = self.0.blob(&parse(repository), blob).read();
        self.taped(reader.decompressed(diff_id))
    }

    fn range(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<BlobRange, Failure> {
        let bytes = self.0.blob(&parse(repository), blob).range(range).run();
        self.1.check();
        bytes
    }

    fn pages(&self, repository: &Reference, size: u32) -> Vec<Result<Tags, Failure>> {
        let pages = self.0.tags(repository).page_size(size).pages().collect();
        self.1.check();
        pages
    }

    fn stream(&self, reader: impl Read + Send + 'static) -> BlobStream {
        BlobStream::new(reader)
    }

    fn tape(&self) -> String {
        self.1.text()
    }
}

/// The async client on a runtime with this many threads; with none, on one that runs on the caller's
/// thread.
#[derive(Clone, Debug)]
pub struct Tokio<const THREADS: usize> {
    /// The client.
    pub client: windlass_async::Client,
    runtime: Arc<Running>,
    tape: Arc<Lines>,
}

/// The async client on `multi_thread`.
pub type Many = Tokio<2>;
/// The async client on `current_thread`.
pub type Single = Tokio<0>;

#[derive(Debug)]
struct Running(Option<Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        // A store that a test hangs must not hang the test.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A runtime with this many threads, or without threads of its own.
pub fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        0 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().unwrap()
}

impl<const THREADS: usize> Tokio<THREADS> {
    /// Runs a future on the client's runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = self.runtime.0.as_ref();
        runtime.expect("taken when it is dropped").block_on(future)
    }

    /// Asks the client.
    ///
    /// # Errors
    ///
    /// Those of the client.
    pub async fn ask(&self, ask: Ask) -> Result<TaskReport, Failure> {
        ask_async(&self.client, ask).await
    }
}

/// Asks an async client on whatever runtime this is.
///
/// # Errors
///
/// Those of the client.
pub async fn ask_async(client: &windlass_async::Client, ask: Ask) -> Result<TaskReport, Failure> {
    match asked(client, &ask) {
        Asked::Check(request) => request.run().await.map(TaskReport::Checked),
        Asked::Resolve(request) => request.run().await.map(TaskReport::Resolved),
        Asked::Pull(request) => request.run().await.map(TaskReport::Copied),
        Asked::Push(request) => request.run().await.map(TaskReport::Copied),
        Asked::Copy(request) => request.run().await.map(TaskReport::Copied),
        Asked::Other(request) => request.run().await,
    }
}

/// Makes an async client.
pub fn async_client(setup: &Setup) -> windlass_async::Client {
    async_client_on(setup, Arc::default())
}

fn async_client_on(setup: &Setup, tape: Arc<Lines>) -> windlass_async::Client {
    built(setup, tape)
}

/// An async reader that is read on its client's runtime.
struct Polled<'a, const THREADS: usize, R> {
    client: &'a Tokio<THREADS>,
    reader: R,
}

impl<const THREADS: usize> Tokio<THREADS> {
    fn taped<'a>(&'a self, reader: impl AsyncRead + Unpin + 'a) -> Box<dyn Read + 'a> {
        let polled = Polled {
            client: self,
            reader,
        };
        Taped::around(polled, &self.tape)
    }
}

impl<const THREADS: usize, R: AsyncRead + Unpin> Read for Polled<'_, THREADS, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.client.block_on(self.reader.read(buffer))
    }
}

/// A reader that does not wait, for async code.
struct Ready<R>(R);

impl<R: Read + Unpin> AsyncRead for Ready<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.read(buffer.initialize_unfilled())?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<const THREADS: usize> Driver for Tokio<THREADS> {
    const NAME: &'static str = if THREADS == 0 {
        "async, current_thread"
    } else {
        "async, multi_thread"
    };

    fn new(setup: &Setup) -> Self {
        let tape = Arc::new(Lines::default());
        Self {
            client: async_client_on(setup, tape.clone()),
            tape,
            runtime: Arc::new(Running(Some(runtime(THREADS)))),
        }
    }

    fn pages(&self, repository: &Reference, size: u32) -> Vec<Result<Tags, Failure>> {
        let pages = self.client.tags(repository).page_size(size).pages();
        let mut pages = Box::pin(pages);
        let next = || self.block_on(poll_fn(|context| pages.as_mut().poll_next(context)));
        let pages = std::iter::from_fn(next).collect();
        self.tape.check();
        pages
    }

    fn stream(&self, reader: impl Read + Send + 'static) -> BlobStream {
        // It need not be `Unpin`.
        let reader: Box<dyn Read + Send> = Box::new(reader);
        self.block_on(async { windlass_async::stream_of_reader(Ready(reader)) })
    }

    fn finish(&self, ask: Ask) -> Result<TaskReport, Failure> {
        let result = self.block_on(self.ask(ask));
        self.tape.check();
        result
    }

    fn open(&self, reference: &str) -> Result<OpenedImage, Failure> {
        let image = self.block_on(self.client.open(&parse(reference)).run());
        self.tape.check();
        image
    }

    fn follow<P: Procedure>(&self, procedure: P, how: Ways) -> Result<P::Report, Failure> {
        let steps = how.tell(self.client.procedure(procedure));
        let result = self.block_on(steps.run());
        self.tape.check();
        result
    }

    fn reader(&self, repository: &str, blob: &Descriptor) -> Box<dyn Read + '_> {
        let reader = self.block_on(async { self.client.blob(&parse(repository), blob).read() });
        self.taped(reader)
    }

    fn unverified(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Box<dyn Read + '_> {
        let blob = self.client.blob(&parse(repository), blob);
        self.taped(blob.read_unverified(range))
    }

    fn decompressed(
        &self,
        repository: &str,
        blob: &Descriptor,
        diff_id: Option<&Digest>,
    ) -> Box<dyn Read + '_> {
        let reader = self.block_on(async { self.client.blob(&parse(repository), blob).read() });
        self.taped(reader.decompressed(diff_id))
    }

    fn range(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<BlobRange, Failure> {
        let blob = self.client.blob(&parse(repository), blob);
        let bytes = self.block_on(blob.range(range).run());
        self.tape.check();
        bytes
    }

    fn tape(&self) -> String {
        self.tape.text()
    }
}

/// Makes tests of functions that are generic over a [`Driver`]: one for the blocking client, two
/// for the async one.
#[macro_export]
macro_rules! through_both {
    ($($name:ident),* $(,)?) => {
        $crate::through_both!(@ blocking $crate::drivers::Blocking, $($name)*);
        $crate::through_both!(@ multi_thread $crate::drivers::Many, $($name)*);
        $crate::through_both!(@ current_thread $crate::drivers::Single, $($name)*);
    };
    (@ $module:ident $driver:ty, $($name:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    super::$name::<$driver>();
                }
            )*
        }
    };
}

type OnBytes = dyn Fn(u64) + Send + Sync;
type OnEvent = dyn Fn(&Event) + Send + Sync;

/// Watches a task, and tells others.
#[derive(Default)]
pub struct Watch {
    seen: Mutex<Seen>,
    changed: Condvar,
    on_bytes: Option<Box<OnBytes>>,
    on_event: Option<Box<OnEvent>>,
}

#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    lines: Vec<String>,
    positions: BTreeMap<TransferId, u64>,
    told: Vec<(TransferId, u64)>,
    totals: Vec<Totals>,
}

impl Watch {
    /// Watches and does nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Calls this with each position that a transfer reaches.
    pub fn on_bytes(act: impl Fn(u64) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            on_bytes: Some(Box::new(act)),
            ..Self::default()
        })
    }

    /// Calls this with each event.
    pub fn on_event(act: impl Fn(&Event) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            on_event: Some(Box::new(act)),
            ..Self::default()
        })
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// The transcript so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The totals so far.
    pub fn totals(&self) -> Vec<Totals> {
        self.lock().totals.clone()
    }

    /// The furthest any transfer is.
    pub fn furthest(&self) -> u64 {
        let seen = self.lock();
        seen.positions.values().copied().max().unwrap_or(0)
    }

    /// How far this transfer is, if that was ever told.
    pub fn position(&self, transfer: TransferId) -> Option<u64> {
        self.lock().positions.get(&transfer).copied()
    }

    /// Each position of the blob of this many bytes, in order, as it was told.
    pub fn positions(&self, size: u64) -> Vec<u64> {
        let seen = self.lock();
        let mut transfers = Vec::new();
        for event in &seen.events {
            if let Event::Started {
                transfer, size: it, ..
            } = event
                && *it == size
            {
                transfers.push(*transfer);
            }
        }
        let told = seen.told.iter().filter(|(it, _)| transfers.contains(it));
        told.map(|(_, position)| *position).collect()
    }

    /// Waits until some transfer is at least this far; a minute is a guard against hanging.
    pub fn wait_for_bytes(&self, position: u64) {
        let seen = self.lock();
        let short = |seen: &mut Seen| seen.positions.values().all(|at| *at < position);
        let minute = Duration::from_secs(60);
        let (_seen, waited) = self
            .changed
            .wait_timeout_while(seen, minute, short)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "no transfer got to {position}");
    }

    /// Waits until no transfer moves any more: none did for this long.
    pub fn wait_for_standstill(&self, long: Duration) {
        let mut seen = self.lock();
        loop {
            let before = seen.positions.clone();
            let same = |seen: &mut Seen| seen.positions == before;
            let (now, waited) = self
                .changed
                .wait_timeout_while(seen, long, same)
                .unwrap_or_else(PoisonError::into_inner);
            seen = now;
            if waited.timed_out() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn totals(&self, _: TaskId, totals: &Totals) {
        self.lock().totals.push(*totals);
    }

    fn event(&self, _: TaskId, event: &Event) {
        self.lock().events.push(event.clone());
        if let Some(act) = &self.on_event {
            act(event);
        }
    }

    fn bytes(&self, transfer: TransferId, position: u64) {
        let mut seen = self.lock();
        seen.positions.insert(transfer, position);
        seen.told.push((transfer, position));
        drop(seen);
        self.changed.notify_all();
        if let Some(act) = &self.on_bytes {
            act(position);
        }
    }

    fn trace(&self, line: &str) {
        self.lock().lines.push(line.to_owned());
    }

    fn traces(&self) -> bool {
        true
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// A layout on disk, and the store that a client is given.
#[derive(Debug)]
pub struct Shelf {
    /// The files.
    pub files: Layout,
    /// The store.
    pub store: Arc<dyn Store>,
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Self {
        Self::of(Layout::absent())
    }

    /// One over these files.
    pub fn of(files: Layout) -> Self {
        let store = windlass_store::Layout::open_or_create(&files.path).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        Self { files, store }
    }

    /// The same files as another process would open them.
    pub fn opened_again(&self) -> Arc<dyn Store> {
        Arc::new(windlass_store::Layout::open_or_create(&self.files.path).unwrap())
    }

    /// Asserts that it holds this image, byte for byte, and nothing else.
    #[track_caller]
    pub fn check_holds(&self, image: &windlass_testbed::Image) {
        self.check_holds_all(&[image], 0);
    }

    /// Asserts that it holds these images and `more` other documents.
    #[track_caller]
    pub fn check_holds_all(&self, images: &[&windlass_testbed::Image], more: usize) {
        let mut digests: Vec<String> = Vec::new();
        for image in images {
            digests.extend(image.blob_digests().iter().map(ToString::to_string));
            digests.push(image.digest.to_string());
        }
        digests.sort();
        digests.dedup();
        for digest in &digests {
            assert!(self.files.has(digest), "{digest} is missing");
        }
        assert_eq!(self.files.check(), digests.len() + more);
    }
}

impl Default for Shelf {
    fn default() -> Self {
        Self::new()
    }
}

type Before = dyn Fn(&Request, usize) -> Option<Delivery> + Send + Sync;
type Deliver = dyn Fn(&Request, usize, Answer) -> Delivery + Send + Sync;

/// Faults of requests and responses; counts concurrent requests.
#[derive(Default)]
pub struct Faults {
    before: Option<Box<Before>>,
    deliver: Option<Box<Deliver>>,
    early: bool,
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What happens after the head of a request: see [`Interceptor::before`].
    #[must_use]
    pub fn before(
        mut self,
        act: impl Fn(&Request, usize) -> Option<Delivery> + Send + Sync + 'static,
    ) -> Self {
        self.before = Some(Box::new(act));
        self
    }

    /// What happens to answers: see [`Interceptor::deliver`].
    #[must_use]
    pub fn deliver(
        mut self,
        act: impl Fn(&Request, usize, Answer) -> Delivery + Send + Sync + 'static,
    ) -> Self {
        self.deliver = Some(Box::new(act));
        self
    }

    /// Refusals come before the body is read.
    #[must_use]
    pub const fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// The most requests that were open at once, from their heads to the begin of their answers.
    pub fn most_open(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl Interceptor for Faults {
    fn before(&self, request: &Request, nth: usize) -> Option<Delivery> {
        let instead = self.before.as_ref().and_then(|act| act(request, nth));
        if instead.is_none() {
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(open, Ordering::SeqCst);
        }
        instead
    }

    fn early(&self, _: &Request, _: usize) -> bool {
        self.early
    }

    fn deliver(&self, request: &Request, nth: usize, answer: Answer) -> Delivery {
        let delivery = match &self.deliver {
            Some(act) => act(request, nth, answer),
            None => answer.into(),
        };
        self.open.fetch_sub(1, Ordering::SeqCst);
        delivery
    }
}

/// Serves a model with these faults.
pub fn serve(model: Model, faults: Faults) -> (Server, Arc<Faults>) {
    let faults = Arc::new(faults);
    let interceptor: Arc<dyn Interceptor> = Arc::<Faults>::clone(&faults);
    let server = Server::start_with(model, interceptor).unwrap();
    (server, faults)
}

/// Whether a request gets a blob, wherever it is stored.
pub fn gets_blob(request: &Request) -> bool {
    let blob = request.target.contains("/blobs/sha256:") || request.target.starts_with("/bucket/");
    request.method == "GET" && blob
}

/// Whether a request brings the bytes of a blob.
pub fn puts_blob(request: &Request) -> bool {
    request.target.contains("/blobs/uploads/") && matches!(request.method.as_str(), "PUT" | "PATCH")
}
