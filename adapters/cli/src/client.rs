//! What the command asks of a client, and the one place that knows which store it uses.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use windlass_core::{Descriptor, Failure, Platforms, Reference, Report, StoreError};
use windlass_driver::{BuildError, Driver, Observer, RequestSpec, Settings};
pub(crate) use windlass_driver::{CancelHandle, Endpoint as End};
use windlass_store::{Layout, Store};

use crate::new_layout::NewLayout;

/// Makes clients.
pub(crate) type Connect = Box<dyn Fn(Settings) -> Result<Client, BuildError>>;

/// Makes clients over the driver `D`; `wait` returns when what the driver runs is done.
pub(crate) fn connect<D, W>(wait: W) -> Connect
where
    D: Driver + Send + Sync + 'static,
    W: for<'a> Fn(D::Running<'a>) -> Result<Report, Failure> + Send + Sync + 'static,
{
    let wait = Arc::new(wait);
    Box::new(move |settings| {
        let client = windlass_driver::Client::<D>::builder();
        let client = client.settings(settings).build()?;
        let wait = Arc::clone(&wait);
        Ok(Client(Arc::new(Over { client, wait })))
    })
}

struct Over<D, W> {
    client: windlass_driver::Client<D>,
    wait: Arc<W>,
}

/// A client over any driver.
trait Run: Send + Sync {
    fn run(
        &self,
        spec: RequestSpec,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Report, Failure>;
}

impl<D, W> Run for Over<D, W>
where
    D: Driver + Send + Sync,
    W: for<'a> Fn(D::Running<'a>) -> Result<Report, Failure> + Send + Sync,
{
    fn run(
        &self,
        spec: RequestSpec,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Report, Failure> {
        let request = self.client.request(spec);
        (self.wait)(request.observer(observer).cancel(cancel).run())
    }
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
#[derive(Clone)]
pub(crate) struct Client(Arc<dyn Run>);

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
