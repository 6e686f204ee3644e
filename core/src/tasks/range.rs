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
