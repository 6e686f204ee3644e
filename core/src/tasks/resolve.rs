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
use crate::exchanges::Settlement;
use crate::ids::{NodeId, Owner, TaskId};
use crate::manifest::media_type::{OCI_ARTIFACT, is_manifest_type};
use crate::op::{ManifestGet, ManifestHead, Operation, Outcome, Site};
use crate::reference::Reference;
use crate::scope::Scopes;
use crate::session::Session;
use crate::task::TaskReport;
use crate::tasks::Kind;

/// A reference that is being resolved.
#[derive(Debug)]
pub(crate) struct ResolveState {
    site: Site,
    pub(crate) reference: Reference,
}

impl ResolveState {
    pub(crate) const fn new(site: Site, reference: Reference) -> Self {
        Self { site, reference }
    }

    /// The descriptor in the answer to a HEAD. `None` if it does not say enough, or nothing that can
    /// be: the document itself decides then.
    fn found(&self, outcome: &Outcome, limit: u64) -> Result<Option<Descriptor>, Error> {
        // Older registries do not say it in a HEAD (PULLM-12).
        let Outcome::Found {
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
            Some(expected) if expected != digest => Err(Error::Mismatch {
                what: format!("what the registry says of `{}`", self.reference),
                expected: format!("{expected}"),
                found: format!("{digest}"),
            }),
            Some(_) | None => Ok(Some(Descriptor::new(media_type, digest.clone(), *size))),
        }
    }
}

impl Session {
    /// Begins to resolve a reference.
    pub(crate) fn begin_resolve(&mut self, task: TaskId, known: Option<Descriptor>) {
        if let Some(root) = known {
            return self.resolved(task, root);
        }
        self.resolve_exchange(task, |state| {
            Operation::ManifestHead(ManifestHead {
                site: state.site.clone(),
                target: state.reference.target(),
            })
        });
    }

    /// Takes the result of its exchange.
    pub(crate) fn resolve_settled(&mut self, task: TaskId, result: Settlement) {
        let limit = self.limits().document;
        let Some(Kind::Resolve(state)) = self.tasks.get(task).map(|task| &task.kind) else {
            return;
        };
        let outcome = match result {
            Settlement::Done(outcome) => outcome,
            Settlement::Failed(error) => return self.fail(task, error),
            Settlement::Abandoned => return,
            Settlement::Lost => {
                return self.fail(task, Error::internal("a manifest's exchange was lost"));
            }
        };
        match outcome {
            outcome @ Outcome::Found { .. } => match state.found(&outcome, limit) {
                Ok(Some(root)) => self.resolved(task, root),
                Ok(None) => self.resolve_document(task),
                Err(error) => self.fail(task, error),
            },
            // The answer to a HEAD does not say why (HTTP-22).
            Outcome::Absent => self.resolve_document(task),
            Outcome::Document { document, .. } => self.resolved(task, document.descriptor()),
            outcome @ (Outcome::Put { .. }
            | Outcome::Childless(_)
            | Outcome::Fetched { .. }
            | Outcome::Present { .. }
            | Outcome::Mounted
            | Outcome::Opened(_)
            | Outcome::Sent { .. }
            | Outcome::Outdated
            | Outcome::Granted(_)) => {
                let what = format!("resolving a reference ended in {outcome:?}");
                self.fail(task, Error::internal(&what));
            }
        }
    }

    fn resolve_document(&mut self, task: TaskId) {
        let limit = self.limits().document;
        self.resolve_exchange(task, |state| {
            let (site, target) = (state.site.clone(), state.reference.target());
            Operation::ManifestGet(ManifestGet::new(site, target, None, limit))
        });
    }

    fn resolve_exchange(&mut self, task: TaskId, op: impl FnOnce(&ResolveState) -> Operation) {
        let Some(state) = self.tasks.get_mut(task) else {
            return;
        };
        let Kind::Resolve(resolve) = &state.kind else {
            return;
        };
        let (owner, site) = (Owner::Node(task, NodeId(0)), resolve.site.clone());
        let wish = Scopes::pull(&site.repository);
        let id = self.exchanges.begin(owner, task, site, op(resolve), wish);
        state.exchanges.insert(id);
    }

    fn resolved(&mut self, task: TaskId, root: Descriptor) {
        self.event(task, Event::Resolved(root.clone()));
        self.tasks.end(task, Ok(TaskReport::Resolved(root)));
    }
}
