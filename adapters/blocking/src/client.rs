//! The driver: a pool of threads.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use windlass_core::Failure;
use windlass_driver::{BlobReader, Driver, Fetch, Parts, RequestSpec, TypedReport, Watch};

use crate::exchange::Exchanges;
use crate::pool::{Pool, ThreadLimits};
use crate::transfer::Context;

/// Runs a session on threads. When the last clone goes, so do the threads.
#[derive(Clone, Debug)]
pub struct Threads(Arc<Inner>);

#[derive(Debug)]
struct Inner(Arc<Pool>);

impl Driver for Threads {
    type Running<'a, R: TypedReport> = Result<R, Failure>;
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
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.0.close();
    }
}
