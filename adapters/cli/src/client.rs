//! The interface between the command and a client. Only this file knows which store is used.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use windlass_core::reference::Tag;
use windlass_core::{
    Carry, Checked, Descriptor, Failure, MountFrom, Platforms, Reference, Registry, Report,
    StoreError, TaskReport,
};
use windlass_driver::{BuildError, Driver, Observer, RequestSpec, Settings, TypedReport};
pub(crate) use windlass_driver::{CancelHandle, ImageLocation};
use windlass_store::{Layout, Store};

use crate::new_layout::NewLayout;

/// Builds clients.
pub(crate) type Connect = Box<dyn Fn(Settings) -> Result<Client, BuildError> + Send + Sync>;

/// Builds clients over the driver `D`; `wait` waits for a request that the driver runs.
pub(crate) fn connect<D, W>(wait: W) -> Connect
where
    D: Driver + Send + Sync + 'static,
    W: for<'a> Fn(D::Running<'a, TaskReport>) -> Result<TaskReport, Failure>
        + Send
        + Sync
        + 'static,
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
    ) -> Result<TaskReport, Failure>;
}

impl<D, W> Run for Over<D, W>
where
    D: Driver + Send + Sync,
    W: for<'a> Fn(D::Running<'a, TaskReport>) -> Result<TaskReport, Failure> + Send + Sync,
{
    fn run(
        &self,
        spec: RequestSpec,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<TaskReport, Failure> {
        let request = self.client.request(spec);
        (self.wait)(request.observer(observer).cancel(cancel).run())
    }
}

/// What to copy of an image.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) platforms: Platforms,
    pub(crate) nondistributable: bool,
    pub(crate) existing: Existing,
    /// Where the destination may have the blobs, too.
    pub(crate) mount_from: Vec<MountFrom>,
    /// Where blobs come from that a layout lacks.
    pub(crate) missing_from: Option<Reference>,
    pub(crate) carry: Carry,
    /// Further tags, if it comes into a registry.
    pub(crate) more_tags: Vec<Tag>,
}

/// Which blobs of a layout are skipped because they exist.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Existing {
    /// Those of the right size.
    Trusted,
    /// Those whose digest matches.
    Verified,
}

#[derive(Clone)]
pub(crate) struct Client(Arc<dyn Run>);

impl Client {
    /// Copies an image.
    pub(crate) fn copy(
        &self,
        source: &ImageLocation,
        destination: &ImageLocation,
        wanted: &Wanted,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Report, Failure> {
        let mut spec = RequestSpec::copy(source.clone(), destination.clone());
        spec.platforms(wanted.platforms.clone());
        if wanted.nondistributable {
            spec.include_nondistributable();
        }
        for from in &wanted.mount_from {
            spec.mount_from(from.clone());
        }
        if let Some(repository) = &wanted.missing_from {
            spec.missing_from(repository);
        }
        spec.carry(wanted.carry.clone());
        spec.and_tags(wanted.more_tags.iter().cloned());
        Report::of(self.0.run(spec, observer, cancel)?)
    }

    /// Runs a request of any other kind.
    pub(crate) fn ask<R: TypedReport>(
        &self,
        spec: RequestSpec,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<R, Failure> {
        R::of(self.0.run(spec, observer, cancel)?)
    }

    /// Checks whether a registry accepts the credentials for it.
    pub(crate) fn check(
        &self,
        registry: &Registry,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Checked, Failure> {
        let spec = RequestSpec::check(registry);
        Checked::of(self.0.run(spec, observer, cancel)?)
    }

    /// Resolves a reference to its manifest's descriptor.
    pub(crate) fn resolve(
        &self,
        reference: &Reference,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Descriptor, Failure> {
        let spec = RequestSpec::resolve(reference);
        Descriptor::of(self.0.run(spec, observer, cancel)?)
    }
}

/// Checks the name of a layout's entry.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    Layout::check_name(name)
}

/// Opens an existing layout for a transfer.
pub(crate) fn open_layout(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Layout::open(path)?))
}

/// Opens an existing layout for maintenance.
pub(crate) fn layout(path: &Path) -> Result<Layout, StoreError> {
    Layout::open(path)
}

/// Opens a layout. If the path is missing or empty, the layout is created when something is first
/// stored, so that a failed command leaves no files behind.
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
