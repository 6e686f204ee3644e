//! What is asked of a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::reference::Repository;
use windlass_core::{Failure, Platform, Platforms, Report};
use windlass_driver::{CancelHandle, Observer, RequestSpec};
use windlass_store::Store;

use crate::client::Client;

/// Something to be done, and how. Nothing happens before [`run`](Self::run).
#[must_use = "nothing happens before run"]
pub struct Request<'a> {
    client: &'a Client,
    spec: RequestSpec,
    observer: Option<Arc<dyn Observer>>,
    cancel: Option<CancelHandle>,
}

impl<'a> Request<'a> {
    pub(crate) const fn new(client: &'a Client, spec: RequestSpec) -> Self {
        Self {
            client,
            spec,
            observer: None,
            cancel: None,
        }
    }

    /// The entry's name in the store that is pulled into or pushed from. Without one, a pull adds
    /// an unnamed entry and a push takes the only entry.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name(name.into());
        self
    }

    /// Only the image of an index that suits this platform best.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.spec.platforms(Platforms::One(platform));
        self
    }

    /// All of an index.
    pub fn all_platforms(mut self) -> Self {
        self.spec.platforms(Platforms::All);
        self
    }

    /// A store for blobs on their way from one registry to another. A temporary one by default.
    pub fn spool(mut self, spool: &Arc<dyn Store>) -> Self {
        self.spec.spool(spool);
        self
    }

    /// A repository of the destination's registry that is likely to hold the image's blobs, to
    /// mount them from. One: asked again, it takes the place of the one before.
    pub fn from(mut self, repository: Repository) -> Self {
        self.spec.from(repository);
        self
    }

    /// Moves foreign layers too: those that are not to be distributed by their media type, and those
    /// whose descriptor has `urls`, from which they are fetched without credentials if the registry
    /// has not got them. Left out by default, which the report says. See
    /// [`Task::including_nondistributable`](windlass_core::Task::including_nondistributable).
    pub fn include_nondistributable(mut self) -> Self {
        self.spec.include_nondistributable();
        self
    }

    /// Fail if it takes longer than this in all.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.spec.deadline(deadline);
        self
    }

    /// Who watches.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// A handle that ends it early.
    pub fn cancel(mut self, cancel: &CancelHandle) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Does it, and returns when everything is done or nothing more can be. Needs a runtime of tokio's
    /// with time and IO enabled, of either flavour; the call's work runs there. Dropping the future
    /// cancels.
    ///
    /// # Errors
    ///
    /// Why it could not be done, the most telling reason first.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub async fn run(self) -> Result<Report, Failure> {
        let engine = self.client.engine();
        let stores = &engine.context().stores;
        let (task, using) = self.spec.task(stores, engine.now())?;
        engine.run(task, using, self.observer, self.cancel).await
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}
