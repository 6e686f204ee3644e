//! Checking a registry: whether it accepts the credentials for it.
//!
//! ```text
//!  GET /v2/ ── challenge, token, again ──▶ checked
//! ```
//!
//! Responsible for the report of one request. Must not know how a registry authenticates.

use alloc::format;

use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::op::{Check, Operation, Outcome, Site};
use crate::registry::Registry;
use crate::scope::Scopes;
use crate::task::{TaskKind, TaskReport};
use crate::tasks::TaskPorts;

/// A registry that is being checked.
#[derive(Debug)]
pub(crate) struct CheckState {
    site: Site,
}

impl CheckState {
    pub(super) fn new(registry: &Registry, exchanges: &Exchanges) -> Self {
        let site = exchanges.registry(registry);
        Self { site }
    }

    pub(super) fn requested(&self) -> TaskKind {
        TaskKind::Check(self.site.registry.clone())
    }

    pub(super) fn begin(&self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.config().admits(&self.site.registry)?;
        let site = self.site.clone();
        let op = Operation::Check(Check { site });
        ports.exchange(NodeId(0), self.site.clone(), op, Scopes::default());
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "outcomes of other operations are defects"
    )]
    pub(super) fn exchange_ended(outcome: Outcome, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        match outcome {
            Outcome::Accepted(checked) => {
                ports.finish(TaskReport::Checked(checked));
                Ok(())
            }
            outcome => {
                let what = format!("checking a registry ended in {outcome:?}");
                Err(Error::internal(&what))
            }
        }
    }
}
