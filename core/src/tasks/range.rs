//! Reading some bytes of a blob.
//!
//! ```text
//!  GET with a Range ──▶ the bytes
//! ```
//!
//! Responsible for the limit of their number, since they are in memory. Must not know what a server may
//! answer to a range (`op`).

use alloc::format;
use alloc::vec::Vec;

use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::op::{OpOutcome, Operation, RangeGet, Site};
use crate::task::{BlobRange, RangeTask, ReadAt, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::machine::{TaskMachine, unexpected};

/// Bytes of a blob that are being read.
#[derive(Debug)]
pub(crate) struct RangeState {
    site: Site,
    task: RangeTask,
}

impl RangeState {
    pub(super) fn new(task: RangeTask, read_at: ReadAt, exchanges: &Exchanges) -> Self {
        let site = exchanges.source(&task.source, read_at);
        Self { site, task }
    }
}

impl TaskMachine for RangeState {
    fn requested(&self) -> TaskKind {
        TaskKind::ReadRange(self.task.clone())
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.check_source(&self.task.source)?;
        let range = self.task.range.clone();
        let limit = ports.limits().document;
        if range.is_empty() {
            ports.finish(TaskReport::Range(BlobRange {
                bytes: Vec::new(),
                total: None,
            }));
            return Ok(());
        }
        if range.end - range.start > limit {
            let what = format!("a range of more than {limit} bytes is not read into memory");
            return Err(Error::Policy { what });
        }
        let op = RangeGet {
            site: self.site.clone(),
            digest: self.task.digest.clone(),
            range,
            is_whole: false,
        };
        ports.ask(&self.site, Operation::RangeGet(op));
        Ok(())
    }

    fn exchange_done(
        &mut self,
        outcome: OpOutcome,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let OpOutcome::Part(part) = outcome else {
            return Err(unexpected("reading a range"));
        };
        ports.finish(TaskReport::Range(part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::ops::Range;

    use super::*;
    use crate::ids::TaskId;
    use crate::task::Task;
    use crate::tasks::testing::{Scenario, layer, reference, status};

    fn reading(range: Range<u64>) -> (Scenario, TaskId) {
        let digest = layer("layer").digest;
        let mut scenario = Scenario::new(&[("layer", &digest)]);
        let from = reference("reg.example/a");
        let id = scenario.start(Task::read_range(from, digest, range));
        (scenario, id)
    }

    /// RNG-02: the range is inclusive. RNG-05: a server may send less, and the caller is told what there is.
    #[test]
    fn some_bytes_of_a_blob_are_read() {
        let (mut scenario, id) = reading(1..4);
        let part = BlobRange {
            bytes: b"ay".to_vec(),
            total: Some(5),
        };
        let get = "GET blobs/sha256:layer range bytes=1-3";
        scenario.done(get, OpOutcome::Part(part.clone()));
        assert_eq!(scenario.report(id).range(), Some(part));

        let (mut scenario, id) = reading(1..4);
        scenario.failed(get, status(416));
        assert_eq!(scenario.error(id), status(416));
    }

    /// No range of the protocol is empty (RNG-02).
    #[test]
    fn no_bytes_need_no_request() {
        let (mut scenario, id) = reading(3..3);
        let part = scenario.report(id).range().expect("it was read");
        assert_eq!((part.bytes, part.total), (Vec::new(), None));
    }

    #[test]
    fn more_than_the_limit_is_not_read_into_memory() {
        let limit = crate::Config::default().limits.document;
        for (range, is_refused) in [(7..limit + 7, false), (7..limit + 8, true)] {
            let (mut scenario, id) = reading(range);
            assert_eq!(scenario.asked().is_empty(), is_refused);
            if is_refused {
                let error = scenario.error(id);
                assert!(matches!(error, Error::Policy { .. }), "{error:?}");
            }
        }
    }
}
