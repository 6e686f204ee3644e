//! Checking a registry: whether it accepts the credentials for it.
//!
//! ```text
//!  GET /v2/ ── challenge, token, again ──▶ checked
//! ```
//!
//! Responsible for the report of one request. Must not know how a registry authenticates.

use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::op::{Check, OpOutcome, Operation, Site};
use crate::registry::Registry;
use crate::task::{TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::machine::{TaskMachine, unexpected};

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
}

impl TaskMachine for CheckState {
    fn requested(&self) -> TaskKind {
        TaskKind::Check(self.site.registry.clone())
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.config().admits(&self.site.registry)?;
        let site = self.site.clone();
        ports.ask(&self.site, Operation::Check(Check { site }));
        Ok(())
    }

    fn exchange_done(
        &mut self,
        outcome: OpOutcome,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let OpOutcome::Accepted(checked) = outcome else {
            return Err(unexpected("checking a registry"));
        };
        ports.finish(TaskReport::Checked(checked));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Checked, Task};
    use crate::tasks::testing::{Scenario, status};

    #[test]
    fn a_registry_accepts_the_credentials_or_does_not() {
        let checking = || {
            let mut scenario = Scenario::new(&[]);
            let id = scenario.start(Task::check("reg.example".parse().expect("a registry")));
            (scenario, id)
        };
        let checked = Checked {
            anonymous: true,
            asked: false,
        };
        let ping = "GET https://reg.example/v2/";
        let (mut scenario, id) = checking();
        scenario.done(ping, OpOutcome::Accepted(checked));
        assert_eq!(scenario.report(id).checked(), Some(checked));

        let (mut scenario, id) = checking();
        scenario.failed(ping, status(401));
        let error = scenario.error(id);
        assert!(matches!(error, Error::Auth(_)), "{error:?}");
    }
}
