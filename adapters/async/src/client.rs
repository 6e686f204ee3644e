//! The driver: the callers' runtimes of tokio.

use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Handle;
use windlass_core::Failure;
use windlass_driver::{
    Driver, Fetch, Parts, RangePieces, RequestSpec, TypedReport, Watch, side_by_side,
};

use crate::engine::Engine;
use crate::exchange::Exchanges;
use crate::pipe::Spare;
use crate::reader::{BlobReader, UnverifiedReader};
#[cfg(feature = "tower")]
use crate::service::Sends;
use crate::transfer::Context;

/// Runs a session on the runtimes of its callers. It has no task of its own: the work of a call runs on the
/// runtime of that call.
#[derive(Clone, Debug)]
pub struct Tokio(Arc<Engine>);

/// What [`run`](crate::Request::run) returns. It needs a runtime of tokio with time and IO enabled, of either
/// flavour; the work of the call runs there. Dropping it cancels the task. Polled outside of a runtime, it
/// panics.
pub type Running<'a, R> = Pin<Box<dyn Future<Output = Result<R, Failure>> + Send + 'a>>;

impl Tokio {
    #[cfg(feature = "tower")]
    pub(crate) fn with_service(parts: Parts, service: Box<dyn Sends>) -> Self {
        Self::over(parts, |exchanges| exchanges.through(service))
    }

    fn over(parts: Parts, changed: impl FnOnce(Exchanges) -> Exchanges) -> Self {
        let proxies = Arc::clone(&parts.resources.proxies);
        let exchanges = Exchanges::new(
            parts.tls,
            parts.limits,
            parts.in_flight,
            proxies,
            parts.addresses,
        );
        let context = Context {
            exchanges: changed(exchanges),
            resources: parts.resources,
            spare: Spare::default(),
        };
        Self(Engine::new(parts.session, context))
    }
}

impl Driver for Tokio {
    type Running<'a, R: Send + 'static> = Running<'a, R>;
    type Reader = BlobReader;

    fn new(parts: Parts) -> Self {
        Self::over(parts, |exchanges| exchanges)
    }

    fn run<R: TypedReport>(&self, spec: RequestSpec, watch: Watch) -> Running<'_, R> {
        let engine = &self.0;
        Box::pin(async move {
            let stores = &engine.context().resources.stores;
            let (task, guard) = spec.task(stores, engine.now())?;
            R::of(engine.run(task, guard, watch).await?)
        })
    }

    fn result<'a, R: Send + 'static>(
        running: Running<'a, R>,
    ) -> impl Future<Output = Result<R, Failure>> + Send + 'a
    where
        Self: 'a,
    {
        running
    }

    fn run_all<R: TypedReport>(
        &self,
        specs: Vec<RequestSpec>,
        watch: Watch,
    ) -> impl Future<Output = Result<Vec<R>, Failure>> + Send {
        let futures = specs.into_iter().map(|spec| self.run(spec, watch.clone()));
        side_by_side(futures.collect())
    }

    fn follow<'a, R: Send + 'static>(
        &'a self,
        procedure: impl Future<Output = Result<R, Failure>> + Send + 'a,
    ) -> Running<'a, R> {
        Box::pin(procedure)
    }

    /// The request is a task of the runtime that the caller is on.
    fn read(&self, fetch: Fetch) -> BlobReader {
        let Fetch {
            reader,
            spec,
            watch,
            end,
            ..
        } = fetch;
        let tokio = self.clone();
        // Without a runtime the end is dropped, which the reader says.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(async move { end.finish(tokio.run(spec, watch).await) }));
        }
        BlobReader::new(reader)
    }

    type UnverifiedReader<'a> = UnverifiedReader<'a>;

    fn read_unverified(&self, pieces: RangePieces) -> UnverifiedReader<'_> {
        UnverifiedReader::new(self, pieces)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use windlass_core::{Error, ErrorKind, Origin};
    use windlass_driver::{HostSelector, HostSettings};

    /// Another executor may poll the future of a call.
    #[test]
    fn a_call_fails_by_its_driver_if_its_runtime_is_gone() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        let client = crate::Client::builder().build().expect("a client");
        let reference = "reg.invalid/app:v1".parse().expect("a reference");
        let mut running = client.resolve(&reference).run();
        let mut context = Context::from_waker(Waker::noop());
        {
            let _entered = runtime.enter();
            assert!(running.as_mut().poll(&mut context).is_pending());
        }
        drop(runtime);
        let Poll::Ready(result) = running.as_mut().poll(&mut context) else {
            panic!("it waits for a runtime that is gone");
        };
        let failure = result.expect_err("its runtime is gone");
        assert!(matches!(failure.first(), Error::Driver { .. }), "{failure}");
        assert_eq!(failure.kind(), ErrorKind::Temporary);
    }

    /// What is asked about a host while the session is locked.
    #[derive(Debug)]
    struct Panics;

    impl HostSelector for Panics {
        fn host(&self, _: &Origin) -> Result<Option<Arc<HostSettings>>, String> {
            panic!("a defect");
        }
    }

    #[tokio::test]
    async fn calls_after_a_panic_fail() {
        let client = crate::Client::builder().hosts(Arc::new(Panics)).build();
        let client = client.expect("a client");
        let resolve = || {
            let client = client.clone();
            tokio::spawn(async move {
                let reference = "reg.invalid/app:v1".parse().expect("a reference");
                client.resolve(&reference).run().await
            })
        };
        assert!(resolve().await.is_err(), "the call that met it panics");
        let later = tokio::time::timeout(Duration::from_secs(60), resolve()).await;
        let failure = later.expect("it ends").expect("it does not panic");
        let failure = failure.expect_err("there is no registry");
        assert_eq!(failure.kind(), ErrorKind::Internal);
    }
}
