//! Fetching one blob into a store.
//!
//! ```text
//!  begin ── the blob is wanted ──▶ settled ──▶ fetched
//! ```
//!
//! Responsible for the report of one transfer. Must not know how blobs move (`blobs`).

use alloc::format;

use crate::blobs::{BlobKey, BlobSource};
use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::op::Site;
use crate::scope::Scopes;
use crate::task::{FetchTask, Fetched, ReadAt, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::machine::TaskMachine;
use crate::totals::{Delivery, Totals};

/// A blob that is being fetched.
#[derive(Debug)]
pub(crate) struct FetchState {
    site: Site,
    task: FetchTask,
    totals: Totals,
}

impl FetchState {
    pub(super) fn new(task: FetchTask, read_at: ReadAt, exchanges: &Exchanges) -> Self {
        let site = exchanges.source(&task.source, read_at);
        Self {
            site,
            task,
            totals: Totals::default(),
        }
    }
}

impl TaskMachine for FetchState {
    fn requested(&self) -> TaskKind {
        TaskKind::Fetch(self.task.clone())
    }

    fn totals(&self) -> Totals {
        self.totals
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.check_source(&self.task.source)?;
        let digest = self.task.blob.digest.clone();
        if digest.algorithm().is_none() {
            let what = format!("blob {digest}: its algorithm cannot be verified");
            return Err(Error::Policy { what });
        }
        self.totals.plan(self.task.blob.size);
        let source = BlobSource::Site(self.site.clone());
        let scopes = Scopes::pull(&self.site.repository);
        let waiter = ports.waiter(source, self.task.blob.size, scopes);
        ports.want(BlobKey::Store(self.task.store, digest), waiter);
        Ok(())
    }

    fn blob_done(&mut self, delivery: Delivery, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.totals.settle(self.task.blob.size, None, delivery);
        let bytes = match delivery {
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
