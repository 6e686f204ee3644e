//! The one place that knows which driver and which store the command uses.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use windlass_core::tape::Sink;
use windlass_core::{Config, Descriptor, Failure, Platforms, Reference, Report, StoreError};
pub(crate) use windlass_store::driver::{Cancel, Endpoint as End};
use windlass_store::driver::{Credentials, Observer, Route, TimeLimits, Trust};
use windlass_store::{Layout, Store};

use crate::new_layout::NewLayout;

/// All that a client is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) trust: Trust,
    pub(crate) route: Arc<dyn Route>,
    pub(crate) time_limits: TimeLimits,
    pub(crate) tape: Option<Arc<dyn Sink>>,
}

/// Does the work.
#[derive(Clone, Debug)]
pub(crate) struct Client(windlass_blocking::Client);

impl Client {
    /// A client; says why there can be none.
    pub(crate) fn new(setup: Setup) -> Result<Self, String> {
        let mut builder = windlass_blocking::Client::builder()
            .config(setup.config)
            .credentials(setup.credentials)
            .trust(setup.trust)
            .route(setup.route)
            .time_limits(setup.time_limits);
        if let Some(tape) = setup.tape {
            builder = builder.tape(tape);
        }
        builder.build().map(Self).map_err(|error| error.to_string())
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
        let request = self.0.copy(source.clone(), destination.clone());
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
    ) -> Result<Descriptor, Failure> {
        let request = self.0.resolve(reference).observer(observer);
        request.cancel(cancel).run().map(|report| report.root)
    }
}

/// Whether an entry of a layout can have this name.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    Layout::check_name(name)
}

/// Opens an image layout that must be there.
pub(crate) fn open_layout(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Layout::open(path)?))
}

/// Opens an image layout. Where nothing is, one is made as soon as there is something to store: a
/// reference that does not exist leaves nothing behind.
pub(crate) fn open_or_create_layout(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let is_nothing = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    if is_nothing {
        return Ok(Arc::new(NewLayout::at(path)));
    }
    Ok(Arc::new(Layout::open_or_create(path)?))
}
