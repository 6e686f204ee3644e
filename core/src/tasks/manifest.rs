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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;
    use crate::manifest::Document;
    use crate::task::Task;
    use crate::tasks::testing::{
        Scenario, entry, found, got, image, index, layer, reference, status,
    };

    fn reading(platform: Option<&str>, names: &[(&'static str, &Document)]) -> (Scenario, TaskId) {
        let names: alloc::vec::Vec<_> = names
            .iter()
            .map(|(name, it)| (*name, it.digest()))
            .collect();
        let mut scenario = Scenario::new(&names);
        let platform = platform.map(|it| it.parse().expect("a platform"));
        let id = scenario.start(Task::manifest(reference("reg.example/a:v1"), platform));
        (scenario, id)
    }

    /// PULLM-14: the bytes are those that the registry has.
    #[test]
    fn without_a_platform_an_index_is_what_it_is() {
        let index = index(&[entry(&image(&[]), "linux/amd64")]);
        let (mut scenario, id) = reading(None, &[]);
        scenario.done("GET manifests/v1", got(&index));
        let manifest = scenario.report(id).manifest().expect("it was read");
        assert_eq!(manifest.bytes, *index.bytes());
        assert_eq!(manifest.descriptor, index.descriptor());
    }

    #[test]
    fn the_image_for_a_platform_is_read_through_indexes() {
        let (arm, amd) = (image(&[layer("arm")]), image(&[layer("amd")]));
        let inner = index(&[entry(&arm, "linux/arm64")]);
        let outer = index(&[entry(&amd, "linux/amd64"), entry(&inner, "linux/arm64")]);
        let names = [("arm", &arm), ("inner", &inner)];
        let (mut scenario, id) = reading(Some("linux/arm64"), &names);
        scenario.done("GET manifests/v1", got(&outer));
        scenario.done("GET manifests/sha256:inner", got(&inner));
        scenario.done("GET manifests/sha256:arm", got(&arm));
        let manifest = scenario.report(id).manifest().expect("it was read");
        assert_eq!(manifest.descriptor.digest, *arm.digest());
    }

    /// IDX-17: what there is, is said; no entry is taken for want of a better one.
    #[test]
    fn an_index_without_the_platform_is_an_error_that_lists_what_it_has() {
        let index = index(&[entry(&image(&[]), "linux/amd64")]);
        let (mut scenario, id) = reading(Some("linux/s390x"), &[]);
        scenario.done("GET manifests/v1", got(&index));
        let error = scenario.error(id);
        assert!(matches!(error, Error::NotFound(_)), "{error:?}");
        assert!(error.hint().is_some_and(|it| it.contains("linux/amd64")));
    }

    /// IDX-15.
    #[test]
    fn an_image_is_taken_whatever_its_platform_is() {
        let image = image(&[]);
        let (mut scenario, id) = reading(Some("linux/s390x"), &[]);
        scenario.done("GET manifests/v1", got(&image));
        let manifest = scenario.report(id).manifest().expect("it was read");
        assert_eq!(manifest.descriptor.digest, *image.digest());
    }

    /// An index may lead to others for ever: each costs a request.
    #[test]
    fn nested_indexes_have_a_limit() {
        let depth = crate::Config::default().limits.depth;
        let mut indexes = alloc::vec![index(&[entry(&image(&[]), "linux/arm64")])];
        for n in 0..depth {
            let next = index(&[entry(&indexes[n], "linux/arm64")]);
            indexes.push(next);
        }
        let (mut scenario, id) = reading(Some("linux/arm64"), &[]);
        for index in indexes.iter().rev() {
            assert!(!scenario.is_over(id));
            let asked = scenario.asked();
            scenario.done(&asked[0], got(index));
        }
        let error = scenario.error(id);
        assert!(matches!(error, Error::Policy { .. }), "{error:?}");
    }

    #[test]
    fn what_cannot_be_read_fails_the_task() {
        for status_code in [404, 403, 400] {
            let expected = status(status_code);
            let (mut scenario, id) = reading(None, &[]);
            scenario.failed("GET manifests/v1", status(status_code));
            assert_eq!(scenario.error(id), expected);
        }
        // The answer to a HEAD has no manifest.
        let (mut scenario, id) = reading(None, &[]);
        scenario.done("GET manifests/v1", found(&image(&[])));
        let error = scenario.error(id);
        assert!(matches!(error, Error::Internal { .. }), "{error:?}");
    }
}
