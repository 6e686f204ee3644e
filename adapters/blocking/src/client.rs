//! The driver: a pool of threads.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use windlass_core::Failure;
use windlass_driver::{Driver, Parts, RequestSpec, TypedReport, Watch};

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
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.0.close();
    }
}
