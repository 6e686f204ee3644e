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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::error::ErrorKind;
    use crate::manifest::Document;
    use crate::manifest::media_type::OCI_MANIFEST;
    use crate::task::Task;
    use crate::tasks::testing::{Scenario, found, got, image, reference, status};

    fn resolving(named: &str, image: &Document) -> (Scenario, crate::task::TaskId) {
        let mut scenario = Scenario::new(&[("image", image.digest())]);
        let id = scenario.start(Task::resolve(reference(named)));
        (scenario, id)
    }

    /// PULLM-12: the answer to a HEAD is believed if it says everything, and something that can be. Otherwise the
    /// document is read.
    #[test]
    fn what_a_head_does_not_say_is_read() {
        let image = image(&[]);
        let (digest, size) = (image.digest(), image.bytes().len() as u64);
        let limit = crate::Config::default().limits.document;
        let said = |digest: Option<&Digest>, size: Option<u64>, media_type: Option<&str>| {
            OpOutcome::Found {
                digest: digest.cloned(),
                size,
                media_type: media_type.map(Into::into),
            }
        };
        let typed = "application/vnd.oci.image.manifest.v1+json; charset=utf-8";
        for (outcome, is_believed) in [
            (found(&image), true),
            (said(Some(digest), Some(size), Some(typed)), true),
            (said(Some(digest), Some(limit), Some(OCI_MANIFEST)), true),
            (said(None, Some(size), Some(OCI_MANIFEST)), false),
            (said(Some(digest), None, Some(OCI_MANIFEST)), false),
            (said(Some(digest), Some(size), None), false),
            // A page of a proxy.
            (said(Some(digest), Some(size), Some("text/html")), false),
            (said(Some(digest), Some(0), Some(OCI_MANIFEST)), false),
            (
                said(Some(digest), Some(limit + 1), Some(OCI_MANIFEST)),
                false,
            ),
            // HTTP-22: why there is nothing, only the answer to a GET says.
            (OpOutcome::Absent, false),
        ] {
            let what = alloc::format!("{outcome:?}");
            let (mut scenario, id) = resolving("reg.example/a:v1", &image);
            scenario.done("HEAD manifests/v1", outcome);
            if !is_believed {
                scenario.done("GET manifests/v1", got(&image));
            }
            let root = scenario.report(id).resolved().expect("it was resolved");
            assert_eq!(root.digest, *digest, "{what}");
            assert_eq!(root.media_type, OCI_MANIFEST, "{what}");
        }
    }

    #[test]
    fn nothing_is_found_only_by_a_get() {
        let image = image(&[]);
        let (mut scenario, id) = resolving("reg.example/a:v1", &image);
        scenario.done("HEAD manifests/v1", OpOutcome::Absent);
        scenario.failed("GET manifests/v1", status(404));
        assert_eq!(scenario.error(id).kind(), ErrorKind::NotFound);
    }

    /// PULLM-10: a digest of the same algorithm must be the one that was asked for; one of another may be of the same
    /// content.
    #[test]
    fn a_digest_is_compared_with_the_reference() {
        let image = image(&[]);
        let other = Digest::of(Algorithm::Sha256, b"other");
        let sha512 = Digest::of(Algorithm::Sha512, image.bytes());
        for (said, is_wrong) in [(image.digest(), false), (&sha512, false), (&other, true)] {
            let named = alloc::format!("reg.example/a@{}", image.digest());
            let (mut scenario, id) = resolving(&named, &image);
            let outcome = OpOutcome::Found {
                digest: Some(said.clone()),
                size: Some(10),
                media_type: Some(OCI_MANIFEST.into()),
            };
            scenario.done("HEAD manifests/sha256:image", outcome);
            if is_wrong {
                let error = scenario.error(id);
                assert!(matches!(error, Error::Mismatch(_)), "{error:?}");
            } else {
                let root = scenario.report(id).resolved().expect("it was resolved");
                assert_eq!(root.digest, *said);
            }
        }
    }

    /// A task from a checkpoint keeps what its name stood for.
    #[test]
    fn what_is_known_is_not_asked_for() {
        let image = image(&[]);
        let mut scenario = Scenario::new(&[]);
        let task = Task::resolve(reference("reg.example/a:v1"));
        let id = scenario.start_at(task, Some(image.descriptor()));
        let root = scenario.report(id).resolved();
        assert_eq!(root, Some(image.descriptor()));
    }
}
