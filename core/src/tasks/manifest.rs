//! Reading a manifest: what a reference stands for, or the image in it for a platform.
//!
//! Responsible for the choice of a platform. Must not know what becomes of the manifest.

use crate::error::Error;
use crate::event::Event;
use crate::exchanges::Exchanges;
use crate::manifest::{Content, Document};
use crate::op::{ManifestGet, OpOutcome, Operation, Site};
use crate::reference::Target;
use crate::task::{Manifest, ManifestTask, ReadAt, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::copy::choose;
use crate::tasks::machine::{TaskMachine, unexpected};

/// A manifest that is being read.
#[derive(Debug)]
pub(crate) struct ManifestState {
    site: Site,
    task: ManifestTask,
    /// How many indexes it was chosen from.
    depth: usize,
}

impl ManifestState {
    pub(super) fn new(task: ManifestTask, read_at: ReadAt, exchanges: &Exchanges) -> Self {
        let site = exchanges.source(&task.reference, read_at);
        Self {
            site,
            task,
            depth: 0,
        }
    }
}

impl TaskMachine for ManifestState {
    fn requested(&self) -> TaskKind {
        TaskKind::Manifest(self.task.clone())
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.check_source(&self.task.reference)?;
        let (site, target) = (self.site.clone(), self.task.reference.target());
        let op = ManifestGet::new(site, target, None, ports.limits().document);
        ports.ask(&self.site, Operation::ManifestGet(op));
        Ok(())
    }

    fn exchange_done(
        &mut self,
        outcome: OpOutcome,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let OpOutcome::Document { document, .. } = outcome else {
            return Err(unexpected("reading a manifest"));
        };
        self.got(&document, ports)
    }
}

impl ManifestState {
    fn got(&mut self, document: &Document, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if !self.goes_on(document, ports)? {
            let manifest = Self::told(document, ports);
            ports.finish(TaskReport::Manifest(manifest));
        }
        Ok(())
    }

    /// Whether this is an index from which an image is to be chosen, which is requested then.
    pub(super) fn goes_on(
        &mut self,
        document: &Document,
        ports: &mut TaskPorts<'_>,
    ) -> Result<bool, Error> {
        if let (Some(wanted), Content::Index(index)) = (&self.task.platform, document.content()) {
            self.depth += 1;
            if self.depth > ports.limits().depth {
                let what = "indexes are nested too deeply".into();
                return Err(Error::Policy { what });
            }
            let chosen = choose(wanted, &index.manifests)?;
            let (site, target) = (self.site.clone(), Target::Digest(chosen.digest.clone()));
            let op = ManifestGet::new(site, target, Some(chosen), ports.limits().document);
            ports.ask(&self.site, Operation::ManifestGet(op));
            return Ok(true);
        }
        Ok(false)
    }

    /// The manifest, of which the caller hears.
    pub(super) fn told(document: &Document, ports: &mut TaskPorts<'_>) -> Manifest {
        let descriptor = document.descriptor();
        ports.event(Event::Resolved(descriptor.clone()));
        let bytes = document.bytes().clone();
        Manifest { descriptor, bytes }
    }
}
