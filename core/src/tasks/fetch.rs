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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;
    use crate::task::Task;
    use crate::tasks::testing::{STORE, Scenario, layer, reference, status};
    use crate::totals::Amount;

    fn fetching() -> (Scenario, TaskId) {
        let mut scenario = Scenario::new(&[("layer", &layer("layer").digest)]);
        let from = reference("reg.example/a");
        let id = scenario.start(Task::fetch_blob(from, layer("layer"), STORE));
        (scenario, id)
    }

    /// What the store has, or another task moves, costs nothing: it counts as done, and not as moved.
    #[test]
    fn a_blob_is_fetched_once() {
        for (delivery, bytes, moved) in [
            (Delivery::Moved(9), 9, Amount::new(1, 5)),
            (Delivery::Present, 0, Amount::default()),
        ] {
            let (mut scenario, id) = fetching();
            assert_eq!(scenario.wanted(), ["s1 begin sha256:layer"]);
            assert_eq!(scenario.totals(id).known, Amount::new(1, 5));
            scenario.settled(id, &layer("layer").digest, delivery);
            assert_eq!(scenario.totals(id).moved, moved);
            let fetched = scenario.report(id).fetched().expect("it was fetched");
            assert_eq!((fetched.blob, fetched.bytes), (layer("layer"), bytes));
        }
    }

    #[test]
    fn what_cannot_be_had_fails_the_task() {
        let digest = layer("layer").digest;
        let other = layer("other").digest;
        for error in [status(404), Error::mismatch("blob", &digest, &other)] {
            let (mut scenario, id) = fetching();
            scenario.lost(id, &digest, error.clone());
            assert_eq!(scenario.error(id), error);
        }
    }

    /// REF-05: nothing is fetched that could not be verified.
    #[test]
    fn a_digest_of_an_unknown_algorithm_is_refused() {
        let mut scenario = Scenario::new(&[]);
        let mut blob = layer("layer");
        blob.digest = "x:0123".parse().expect("a digest");
        let id = scenario.start(Task::fetch_blob(reference("reg.example/a"), blob, STORE));
        assert_eq!(scenario.wanted(), [""; 0]);
        let error = scenario.error(id);
        assert!(matches!(error, Error::Policy { .. }), "{error:?}");
    }
}
