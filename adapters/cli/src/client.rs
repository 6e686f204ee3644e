//! The one place that knows which driver and which store the command uses.

use std::path::Path;
use std::sync::Arc;

use windlass_core::{Config, Failure, Platforms, Reference, Report, StoreError};
pub(crate) use windlass_store::driver::Cancel;
use windlass_store::driver::{Credentials, Endpoint, Observer, Route, TimeLimits, Trust};
use windlass_store::{Layout, Store};

/// All that a client is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) trust: Trust,
    pub(crate) route: Arc<dyn Route>,
    pub(crate) time_limits: TimeLimits,
}

/// One end of a copy, ready for use.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// A registry.
    Registry(Reference),
    /// An entry of a store.
    Store {
        store: Arc<dyn Store>,
        name: Option<String>,
    },
}

/// Does the work: the blocking driver, which measures better than the async one.
#[derive(Clone, Debug)]
pub(crate) struct Client(windlass_blocking::Client);

impl Client {
    /// A client; says why there can be none.
    pub(crate) fn new(setup: Setup) -> Result<Self, String> {
        windlass_blocking::Client::builder()
            .config(setup.config)
            .credentials(setup.credentials)
            .trust(setup.trust)
            .route(setup.route)
            .time_limits(setup.time_limits)
            .build()
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Brings an image from one place to another.
    pub(crate) fn copy(
        &self,
        source: &End,
        destination: &End,
        platforms: Platforms,
        observer: Arc<dyn Observer>,
        cancel: &Cancel,
    ) -> Result<Report, Failure> {
        let request = self.0.copy(source.endpoint(), destination.endpoint());
        let request = match platforms {
            Platforms::All => request.all_platforms(),
            Platforms::One(platform) => request.platform(platform),
        };
        request.observer(observer).cancel(cancel).run()
    }

    /// Finds out what a reference stands for.
    pub(crate) fn resolve(
        &self,
        reference: &Reference,
        observer: Arc<dyn Observer>,
        cancel: &Cancel,
    ) -> Result<windlass_core::Descriptor, Failure> {
        let request = self.0.resolve(reference).observer(observer).cancel(cancel);
        request.run().map(|report| report.root)
    }
}

impl End {
    fn endpoint(&self) -> Endpoint {
        match self {
            Self::Registry(reference) => Endpoint::Registry(reference.clone()),
            Self::Store { store, name } => Endpoint::store(store, name.clone()),
        }
    }
}

/// Opens an image layout that must be there.
pub(crate) fn open_layout(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Layout::open(path)?))
}

/// Opens an image layout, making one if nothing is there.
pub(crate) fn open_or_create_layout(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Layout::open_or_create(path)?))
}
