//! The async client, on runtimes of both kinds.

use std::future::poll_fn;
use std::io::{self, Read};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use windlass_core::{
    BlobRange, Descriptor, Digest, Failure, OpenedImage, Reference, Tags, TaskReport,
};
use windlass_driver::{BlobStream, Procedure};

use super::ask::{ClientRequest, asked, built, parse};
use super::{Ask, Driver, Setup, TapedReader, Ways};
use crate::tapes::Lines;

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
        ClientRequest::Check(request) => request.run().await.map(TaskReport::Checked),
        ClientRequest::Resolve(request) => request.run().await.map(TaskReport::Resolved),
        ClientRequest::Pull(request) => request.run().await.map(TaskReport::Copied),
        ClientRequest::Push(request) => request.run().await.map(TaskReport::Copied),
        ClientRequest::Copy(request) => request.run().await.map(TaskReport::Copied),
        ClientRequest::Other(request) => request.run().await,
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
        TapedReader::around(polled, &self.tape)
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
