//! What the command asks of a client, and the one place that knows which store it uses.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use windlass_core::tape::Sink;
use windlass_core::{Config, Descriptor, Failure, Platforms, Reference, Report, StoreError};
pub(crate) use windlass_driver::{CancelHandle, Endpoint as End};
use windlass_driver::{Credentials, Observer, ProxySelector, RequestSpec, TimeLimits, TlsRoots};
use windlass_store::{Layout, Store};

use crate::new_layout::NewLayout;

/// All that a client is made of.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names of the clients' builders")]
pub struct Setup {
    pub config: Config,
    pub credentials: Arc<dyn Credentials>,
    pub trust: TlsRoots,
    pub route: Arc<dyn ProxySelector>,
    pub time_limits: TimeLimits,
    pub tape: Option<Arc<dyn Sink>>,
}

/// Makes a client; says why there can be none.
pub type Connect = fn(Setup) -> Result<Arc<dyn Driver>, String>;

/// A client as the command uses it.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Does what is ordered, and returns when it is done.
    ///
    /// # Errors
    ///
    /// Why it could not be done.
    fn run(
        &self,
        spec: RequestSpec,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Report, Failure>;
}

/// Which parts of an image are to be moved.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) platforms: Platforms,
    pub(crate) nondistributable: bool,
    pub(crate) existing: Existing,
}

/// What counts as there already in a layout.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Existing {
    /// Blobs of the right size.
    Trusted,
    /// Blobs that were hashed.
    Verified,
}

/// Does the work.
#[derive(Clone, Debug)]
pub(crate) struct Client(pub(crate) Arc<dyn Driver>);

impl Client {
    /// Brings an image from one place to another.
    pub(crate) fn copy(
        &self,
        source: &End,
        destination: &End,
        wanted: &Wanted,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Report, Failure> {
        let mut spec = RequestSpec::copy(source.clone(), destination.clone());
        spec.platforms(wanted.platforms.clone());
        if wanted.nondistributable {
            spec.include_nondistributable();
        }
        self.0.run(spec, observer, cancel)
    }

    /// Finds out what a reference stands for.
    pub(crate) fn resolve(
        &self,
        reference: &Reference,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Descriptor, Failure> {
        let report = self
            .0
            .run(RequestSpec::resolve(reference), observer, cancel)?;
        Ok(report.root)
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

/// Opens an image layout that is looked after, not transferred.
pub(crate) fn layout(path: &Path) -> Result<Layout, StoreError> {
    Layout::open(path)
}

/// Opens an image layout. Where nothing is, one is made as soon as there is something to store: a
/// reference that does not exist leaves nothing behind.
pub(crate) fn open_or_create_layout(
    path: &Path,
    existing: Existing,
) -> Result<Arc<dyn Store>, StoreError> {
    let is_nothing = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    if is_nothing {
        return Ok(Arc::new(NewLayout::at(path)));
    }
    let layout = Layout::open_or_create(path)?;
    Ok(Arc::new(match existing {
        Existing::Trusted => layout,
        Existing::Verified => layout.verifying_existing(),
    }))
}
