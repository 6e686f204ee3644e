//! Reading what refers to a manifest.
//!
//! ```text
//!  a tag: asking ─▶ getting ─┐
//!  a digest ─────────────────┴▶ listing ─▶ listed
//! ```
//!
//! Responsible for what the reference stands for. Must not know how a list is read (`referrers_read`).

use super::referrers_read::ListReader;
use crate::digest::Digest;
use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::op::{ManifestGet, ManifestHead, OpOutcome, Operation, Site};
use crate::reference::Target;
use crate::scope::Scopes;
use crate::task::{ReferrersTask, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::machine::{TaskMachine, unexpected};

/// A list of referrers that is being read.
#[derive(Debug)]
pub(crate) struct ReferrersState {
    site: Site,
    task: ReferrersTask,
    /// The list, once its subject is known.
    reader: Option<ListReader>,
}

/// A task has one thing in flight at a time.
const NODE: NodeId = NodeId(0);

impl ReferrersState {
    pub(super) fn new(task: ReferrersTask, exchanges: &Exchanges) -> Self {
        // Mirrors may have neither the API nor the tag.
        let site = exchanges.lists(&task.reference);
        Self {
            site,
            task,
            reader: None,
        }
    }
}

impl TaskMachine for ReferrersState {
    fn requested(&self) -> TaskKind {
        TaskKind::Referrers(self.task.clone())
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.config().lists(&self.task.reference)?;
        match self.task.reference.target() {
            Target::Digest(subject) => self.list(subject, ports),
            target @ Target::Tag(_) => {
                let site = self.site.clone();
                let op = ManifestHead { site, target };
                ports.ask(&self.site, Operation::ManifestHead(op));
            }
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "outcomes of other operations are defects"
    )]
    fn exchange_ended(
        &mut self,
        _node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if let Some(reader) = &mut self.reader {
            if let Some(referrers) = reader.ended(NODE, result, ports)? {
                ports.finish(TaskReport::Referrers(referrers));
            }
            return Ok(());
        }
        match result? {
            OpOutcome::Found {
                digest: Some(digest),
                ..
            } => self.list(digest, ports),
            // The answer to a HEAD does not say why (HTTP-22).
            OpOutcome::Found { .. } | OpOutcome::Absent => {
                let (site, target) = (self.site.clone(), self.task.reference.target());
                let op = ManifestGet::new(site, target, None, ports.limits().document);
                ports.ask(&self.site, Operation::ManifestGet(op));
            }
            OpOutcome::Document { document, .. } => self.list(document.digest().clone(), ports),
            _ => return Err(unexpected("resolving a subject")),
        }
        Ok(())
    }
}

impl ReferrersState {
    fn list(&mut self, subject: Digest, ports: &mut TaskPorts<'_>) {
        let (site, artifact_type) = (self.site.clone(), self.task.artifact_type.clone());
        let scopes = Scopes::pull(&self.site.repository);
        let reader = ListReader::new(site, subject, artifact_type, scopes);
        self.reader.insert(reader).begin(NODE, ports);
    }
}

#[cfg(test)]
mod tests;
