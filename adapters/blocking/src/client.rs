//! The driver: a pool of threads.

use std::future::{Future, ready};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use windlass_core::Failure;
use windlass_driver::{
    BlobReader, Driver, Fetch, Parts, RangePieces, RequestSpec, TypedReport, Watch, at_once,
    io_error, on_threads,
};

use crate::exchange::Exchanges;
use crate::pool::{Pool, ThreadLimits};
use crate::transfer::Context;

/// Runs a session on threads. When the last clone goes, so do the threads.
#[derive(Clone, Debug)]
pub struct Threads(Arc<Inner>);

#[derive(Debug)]
struct Inner(Arc<Pool>);

impl Driver for Threads {
    type Running<'a, R: Send + 'static> = Result<R, Failure>;
    type Reader = BlobReader;

    fn new(parts: Parts) -> Self {
        // Beyond exchanges: store steps, tokens, credentials, and the one that polls.
        let threads = ThreadLimits::new(parts.in_flight);
        let context = Context {
            exchanges: Exchanges::new(parts.tls, &parts.limits, parts.in_flight, parts.addresses),
            resources: parts.resources,
            moving: AtomicUsize::new(0),
            parallelism: thread::available_parallelism().map_or(1, usize::from),
        };
        let pool = Pool::new(parts.session, context, threads);
        Self(Arc::new(Inner(pool)))
    }

    fn run<R: TypedReport>(&self, spec: RequestSpec, watch: Watch) -> Result<R, Failure> {
        let Inner(pool) = &*self.0;
        let (task, _stores) = spec.task(&pool.context().resources.stores, pool.now())?;
        R::of(pool.run(task, watch)?)
    }

    fn result<'a, R: Send + 'static>(
        running: Result<R, Failure>,
    ) -> impl Future<Output = Result<R, Failure>> + Send + 'a
    where
        Self: 'a,
    {
        ready(running)
    }

    fn run_all<R: TypedReport>(
        &self,
        specs: Vec<RequestSpec>,
        watch: Watch,
    ) -> impl Future<Output = Result<Vec<R>, Failure>> + Send {
        ready(on_threads(specs, |spec| self.run(spec, watch.clone())))
    }

    /// Every request of it has run when its future is made.
    fn follow<'a, R: Send + 'static>(
        &'a self,
        procedure: impl Future<Output = Result<R, Failure>> + Send + 'a,
    ) -> Result<R, Failure> {
        at_once(procedure)
    }

    /// The request has a thread of its own, which waits for it.
    fn read(&self, fetch: Fetch) -> BlobReader {
        let Fetch {
            reader,
            spec,
            watch,
            end,
            ..
        } = fetch;
        let threads = self.clone();
        let thread = thread::Builder::new().name("windlass-reader".into());
        // Without a thread the end is dropped, which the reader says.
        drop(thread.spawn(move || end.finish(threads.run(spec, watch))));
        reader
    }

    type UnverifiedReader<'a> = UnverifiedReader<'a>;

    fn read_unverified(&self, pieces: RangePieces) -> UnverifiedReader<'_> {
        UnverifiedReader {
            threads: self,
            pieces,
        }
    }
}

/// Reads some bytes of a blob. They are **not verified**. What a request fails with is the source of the error; the next
/// read tries again.
#[derive(Debug)]
pub struct UnverifiedReader<'a> {
    threads: &'a Threads,
    pieces: RangePieces,
}

impl Read for UnverifiedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let (false, Some(spec)) = (buffer.is_empty(), self.pieces.wanted()) {
            let piece = self.threads.run(spec, Watch::default());
            self.pieces.got(piece.map_err(io_error)?);
        }
        Ok(self.pieces.take(buffer))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.0.close();
    }
}
