//! Fetching one blob into a store.
//!
//! ```text
//!  begin ── the blob is wanted ──▶ settled ──▶ fetched
//! ```
//!
//! Responsible for the report of one transfer. Must not know how blobs move (`blobs`).

use alloc::format;
use alloc::vec::Vec;

use crate::blobs::{BlobKey, BlobSource, Delivery, Doubt, Waiter, Wants};
use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::op::Site;
use crate::scope::Scopes;
use crate::task::{FetchTask, Fetched, TaskKind, TaskReport};
use crate::tasks::TaskPorts;

/// A blob that is being fetched.
#[derive(Debug)]
pub(crate) struct FetchState {
    site: Site,
    task: FetchTask,
}

impl FetchState {
    pub(super) fn new(task: FetchTask, exchanges: &Exchanges) -> Self {
        let site = exchanges.source(&task.source);
        Self { site, task }
    }

    pub(super) fn requested(&self) -> TaskKind {
        TaskKind::Fetch(self.task.clone())
    }

    pub(super) fn begin(&self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.config().sources(&self.task.source)?;
        let digest = self.task.blob.digest.clone();
        if digest.algorithm().is_none() {
            let what = format!("blob {digest}: its algorithm cannot be verified");
            return Err(Error::Policy { what });
        }
        let waiter = Waiter {
            task: ports.task,
            size: self.task.blob.size,
            wants: Wants::Task,
            source: BlobSource::Site(self.site.clone()),
            wish: Scopes::pull(&self.site.repository),
            spool: None,
            mount: None,
            urls: Vec::new(),
            doubt: Doubt::None,
        };
        ports.want(BlobKey::Store(self.task.store, digest), waiter);
        Ok(())
    }

    pub(super) fn blob_settled(
        &self,
        result: Result<Delivery, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let bytes = match result? {
            Delivery::Moved(bytes) => bytes,
            Delivery::Mounted | Delivery::Present => 0,
        };
        ports.finish(TaskReport::Fetched(Fetched {
            blob: self.task.blob.clone(),
            bytes,
        }));
        Ok(())
    }
}
