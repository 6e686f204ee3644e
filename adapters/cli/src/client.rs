//! The one place that knows which driver and which store the command uses.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use windlass_core::{Config, Failure, Platforms, Reference, Report, StoreError};
use windlass_store::Store;
use windlass_store::driver::{Credentials, Observer, Route, TimeLimits, Trust};

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

/// Does the work.
#[derive(Clone, Debug)]
pub(crate) struct Client;

impl Client {
    /// A client; says why there can be none.
    pub(crate) fn new(_setup: Setup) -> Result<Self, String> {
        Ok(Self)
    }

    /// Brings an image from one place to another.
    pub(crate) fn copy(
        &self,
        _source: &End,
        _destination: &End,
        _platforms: Platforms,
        _observer: Arc<dyn Observer>,
        _cancel: &Cancel,
    ) -> Result<Report, Failure> {
        unimplemented!("the blocking client is connected here")
    }

    /// Finds out what a reference stands for.
    pub(crate) fn resolve(
        &self,
        _reference: &Reference,
        _observer: Arc<dyn Observer>,
        _cancel: &Cancel,
    ) -> Result<windlass_core::Descriptor, Failure> {
        unimplemented!("the blocking client is connected here")
    }
}

/// Asks running work to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Opens an image layout that must be there.
pub(crate) fn open_layout(_path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    unimplemented!("Layout::open is connected here")
}

/// Opens an image layout, making one if nothing is there.
pub(crate) fn open_or_create_layout(_path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    unimplemented!("Layout::open_or_create is connected here")
}
