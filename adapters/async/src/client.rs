//! The driver: the callers' runtimes of tokio.

use std::pin::Pin;
use std::sync::Arc;

use windlass_core::Failure;
use windlass_driver::{Driver, Parts, RequestSpec, TypedReport, Watch};

use crate::engine::Engine;
use crate::exchange::Exchanges;
use crate::transfer::Context;

/// Runs a session on the runtimes of its callers. It has no task of its own: the work of a call runs on the
/// runtime of that call.
#[derive(Clone, Debug)]
pub struct Tokio(Arc<Engine>);

/// What [`run`](crate::Request::run) returns. It needs a runtime of tokio with time and IO enabled, of either
/// flavour; the work of the call runs there. Dropping it cancels the task. Polled outside of a runtime, it
/// panics.
pub type Running<'a, R> = Pin<Box<dyn Future<Output = Result<R, Failure>> + Send + 'a>>;

impl Driver for Tokio {
    type Running<'a, R: TypedReport> = Running<'a, R>;

    fn new(parts: Parts) -> Self {
        let proxies = Arc::clone(&parts.resources.proxies);
        let context = Context {
            exchanges: Exchanges::new(parts.tls, parts.limits, parts.in_flight, proxies),
            resources: parts.resources,
        };
        Self(Engine::new(parts.session, context))
    }

    fn run<R: TypedReport>(&self, spec: RequestSpec, watch: Watch) -> Running<'_, R> {
        let engine = &self.0;
        Box::pin(async move {
            let stores = &engine.context().resources.stores;
            let (task, guard) = spec.task(stores, engine.now())?;
            R::of(engine.run(task, guard, watch).await?)
        })
    }
}
