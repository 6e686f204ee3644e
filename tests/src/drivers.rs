//! The blocking and the async client behind one trait, so that one test covers both.
//!
//! Responsible for: building clients, running and observing their calls (`ask`, `blocking`, `on_tokio`, `watch`), stores
//! that they use (`shelf`, `rigged`), and a server with the faults that a test chooses. Must not know: what any test
//! expects.

mod ask;
mod blocking;
mod faults;
mod on_tokio;
mod rigged;
mod shelf;
mod watch;

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::config::{Concurrency, Retry};
use windlass_core::credential::{CredentialAnswer, Question, Secret, TimedAnswer};
use windlass_core::{
    BlobRange, Config, Descriptor, Digest, Failure, OpenedImage, Reference, Report, Tags,
    TaskReport,
};
use windlass_driver::{
    AddressGuard, BlobStream, CancelHandle, Credentials, Procedure, TimeLimits, TlsRoots,
};

use crate::tapes::Lines;

pub use ask::Ask;
pub use blocking::Blocking;
pub use faults::{Faults, gets_blob, puts_blob, serve};
pub use on_tokio::{Many, Single, Tokio, ask_async, async_client, runtime};
pub use rigged::Rigged;
pub use shelf::Shelf;
pub use watch::Watch;

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
        mut request: windlass_driver::ProcedureRequest<'_, D, P>,
    ) -> windlass_driver::ProcedureRequest<'_, D, P> {
        if let Some(deadline) = self.deadline {
            request = request.deadline(deadline);
        }
        if let Some(cancel) = &self.cancel {
            request = request.cancel(cancel);
        }
        request
    }
}

/// A reader of a client, whose tape is checked when there is nothing more to read and when it is dropped.
struct TapedReader<R> {
    /// Dropped before the tape is checked, which then has how the client ended its task.
    reader: Option<R>,
    tape: Arc<Lines>,
}

impl<R> TapedReader<R> {
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

impl<R: Read> Read for TapedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = self.reader.as_mut().expect("taken when it is dropped");
        let read = reader.read(buffer);
        if !matches!(read, Ok(1..)) {
            self.tape.check();
        }
        read
    }
}

impl<R> Drop for TapedReader<R> {
    fn drop(&mut self) {
        drop(self.reader.take());
        if !std::thread::panicking() {
            self.tape.check();
        }
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
