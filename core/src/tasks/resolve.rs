//! Resolving a reference: which digest it stands for.
//!
//! ```text
//!  HEAD ─┬─ it says digest, size and type ─────────▶ resolved
//!        └─ it does not, or finds nothing ─▶ GET ──▶ resolved
//! ```
//!
//! Responsible for what an answer to HEAD must say to be believed. Must not know copies.

use alloc::format;

use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::event::Event;
use crate::exchanges::Exchanges;
use crate::manifest::media_type::{OCI_ARTIFACT, is_manifest_type};
use crate::op::{ManifestGet, ManifestHead, OpOutcome, Operation, Site};
use crate::reference::Reference;
use crate::task::{ReadAt, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::machine::{TaskMachine, unexpected};

/// A reference that is being resolved.
#[derive(Debug)]
pub(crate) struct ResolveState {
    site: Site,
    reference: Reference,
    pinned: Option<Descriptor>,
}

impl ResolveState {
    pub(super) fn new(reference: Reference, read_at: ReadAt, exchanges: &Exchanges) -> Self {
        let site = exchanges.source(&reference, read_at);
        Self {
            site,
            reference,
            pinned: None,
        }
    }
}

impl TaskMachine for ResolveState {
    fn requested(&self) -> TaskKind {
        TaskKind::Resolve(self.reference.clone())
    }

    fn pin(&mut self, root: Descriptor) {
        self.pinned = Some(root);
    }

    /// Begins, unless it is known what the reference stands for.
    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.check_source(&self.reference)?;
        if let Some(root) = self.pinned.take() {
            Self::resolved(root, ports);
            return Ok(());
        }
        let op = ManifestHead {
            site: self.site.clone(),
            target: self.reference.target(),
        };
        ports.ask(&self.site, Operation::ManifestHead(op));
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "outcomes of other operations are defects"
    )]
    fn exchange_done(
        &mut self,
        outcome: OpOutcome,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        match outcome {
            outcome @ OpOutcome::Found { .. } => {
                match self.found(&outcome, ports.limits().document)? {
                    Some(root) => Self::resolved(root, ports),
                    None => self.get(ports),
                }
            }
            // The answer to a HEAD does not say why (HTTP-22).
            OpOutcome::Absent => self.get(ports),
            OpOutcome::Document { document, .. } => Self::resolved(document.descriptor(), ports),
            _ => return Err(unexpected("resolving a reference")),
        }
        Ok(())
    }
}

impl ResolveState {
    fn get(&self, ports: &mut TaskPorts<'_>) {
        let (site, target) = (self.site.clone(), self.reference.target());
        let op = ManifestGet::new(site, target, None, ports.limits().document);
        ports.ask(&self.site, Operation::ManifestGet(op));
    }

    fn resolved(root: Descriptor, ports: &mut TaskPorts<'_>) {
        ports.event(Event::Resolved(root.clone()));
        ports.finish(TaskReport::Resolved(root));
    }

    /// The descriptor in the answer to a HEAD. `None` if it does not say enough, or nothing that can
    /// be: the document itself decides then.
    fn found(&self, outcome: &OpOutcome, limit: u64) -> Result<Option<Descriptor>, Error> {
        // Older registries do not say it in a HEAD (PULLM-12).
        let OpOutcome::Found {
            digest: Some(digest),
            size: Some(size),
            media_type: Some(media_type),
        } = outcome
        else {
            return Ok(None);
        };
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let is_plausible = (1..=limit).contains(size)
            && (is_manifest_type(media_type) || media_type == OCI_ARTIFACT);
        if !is_plausible {
            // Perhaps a proxy has answered.
            return Ok(None);
        }
        let expected = self.reference.digest();
        let expected = expected.filter(|it| it.algorithm() == digest.algorithm());
        match expected {
            // PULLM-10
            Some(expected) if expected != digest => {
                let what = format!("what the registry says of `{}`", self.reference);
                Err(Error::mismatch(what, expected, digest))
            }
            Some(_) | None => Ok(Some(Descriptor::new(media_type, digest.clone(), *size))),
        }
    }
}
