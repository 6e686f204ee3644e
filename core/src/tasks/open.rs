//! Opening an image: its manifest, then its configuration.
//!
//! ```text
//!  manifest ── of an image ─┬─ its configuration is embedded ───▶ opened
//!                           └─ GET of the configuration ────────▶ opened
//! ```
//!
//! Responsible for the limit on the configuration, which is in memory. Must not know how an image is chosen
//! (`manifest`).

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::descriptor::Descriptor;
use crate::error::{Error, Measure};
use crate::exchanges::Exchanges;
use crate::manifest::{Content, Document};
use crate::op::{OpOutcome, Operation, RangeGet, Site};
use crate::reference::Reference;
use crate::task::{Manifest, ManifestTask, OpenTask, OpenedImage, ReadAt, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::copy::embedded;
use crate::tasks::machine::{TaskMachine, unexpected};
use crate::tasks::manifest::ManifestState;

/// An image that is being opened.
#[derive(Debug)]
pub(crate) struct OpenState {
    site: Site,
    task: OpenTask,
    manifest: ManifestState,
    /// The manifest, and what it has, while the configuration is on its way.
    image: Option<Image>,
}

#[derive(Debug)]
struct Image {
    manifest: Manifest,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl OpenState {
    pub(super) fn new(task: OpenTask, read_at: ReadAt, exchanges: &Exchanges) -> Self {
        let site = exchanges.source(&task.reference, read_at);
        let manifest = ManifestTask {
            reference: task.reference.clone(),
            platform: Some(task.platform.clone()),
        };
        Self {
            site,
            task,
            manifest: ManifestState::new(manifest, read_at, exchanges),
            image: None,
        }
    }
}

impl TaskMachine for OpenState {
    fn requested(&self) -> TaskKind {
        TaskKind::Open(self.task.clone())
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.manifest.begin(ports)
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
            OpOutcome::Document { document, .. } => {
                if self.manifest.goes_on(&document, ports)? {
                    return Ok(());
                }
                self.opened(&document, ports)
            }
            OpOutcome::Part(part) => self.complete(part.bytes.into(), ports),
            _ => Err(unexpected("opening an image")),
        }
    }
}

impl OpenState {
    fn opened(&mut self, document: &Document, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let Content::Image(image) = document.content() else {
            let what = format!("{} is no image: it has no configuration", document.digest());
            return Err(Error::Policy { what });
        };
        let config = image.config.clone();
        self.image = Some(Image {
            manifest: ManifestState::told(document, ports),
            config: config.clone(),
            layers: image.layers.clone(),
        });
        if let Some(bytes) = embedded(&config) {
            return self.complete(bytes.into(), ports);
        }
        if config.digest.algorithm().is_none() {
            let what = format!("blob {}: its algorithm cannot be verified", config.digest);
            return Err(Error::Policy { what });
        }
        let limit = ports.limits().document;
        if config.size > limit {
            let what = format!(
                "the configuration {} has {} bytes; more than {limit} are not read into memory",
                config.digest, config.size
            );
            return Err(Error::Policy { what });
        }
        if config.size == 0 {
            // There is nothing to ask for.
            return self.empty(&config, ports);
        }
        let op = RangeGet::whole(self.site.clone(), config.digest, config.size);
        ports.ask(&self.site, Operation::RangeGet(op));
        Ok(())
    }

    fn empty(&mut self, config: &Descriptor, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        if config.digest.verifies(&[]) {
            return self.complete(Arc::new([]), ports);
        }
        let nothing = Measure::told(None, Some(0), "nothing");
        let what = format!("blob {}", config.digest);
        Err(Error::mismatch(what, &config.digest, nothing))
    }

    fn complete(&mut self, bytes: Arc<[u8]>, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let image = self.image.take();
        let image = image.ok_or_else(|| Error::internal("a configuration without an image"))?;
        let named = &self.task.reference;
        let digest = image.manifest.descriptor.digest.clone();
        let (registry, repository) = (named.registry().clone(), named.repository().clone());
        let reference = Reference::new(registry, repository, named.tag().cloned(), Some(digest));
        ports.finish(TaskReport::Opened(OpenedImage {
            reference,
            manifest: image.manifest,
            config: image.config,
            config_bytes: bytes,
            layers: image.layers,
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::TaskId;
    use crate::manifest::media_type::{OCI_CONFIG, OCI_MANIFEST};
    use crate::task::{BlobRange, Task};
    use crate::tasks::testing::{
        Scenario, blob, document, entry, got, image, index, layer, reference, status,
    };

    /// The manifest of an image with this configuration was read.
    fn opening(config: &Descriptor) -> (Scenario, TaskId) {
        let members = json!({"config": config, "layers": [layer("layer")]});
        opening_of(&document(OCI_MANIFEST, members), config)
    }

    fn opening_of(manifest: &Document, config: &Descriptor) -> (Scenario, TaskId) {
        let mut scenario = Scenario::new(&[("config", &config.digest)]);
        let platform = "linux/amd64".parse().expect("a platform");
        let id = scenario.start(Task::open(reference("reg.example/a:v1"), platform));
        scenario.done("GET manifests/v1", got(manifest));
        (scenario, id)
    }

    fn config() -> Descriptor {
        blob(OCI_CONFIG, "{\"os\": \"linux\"}")
    }

    /// The report names the image by its digest, so that what follows is about the same one.
    #[test]
    fn an_image_is_opened_with_its_configuration() {
        let (mut scenario, id) = opening(&config());
        let part = BlobRange {
            bytes: b"{\"os\": \"linux\"}".to_vec(),
            total: None,
        };
        scenario.done("GET blobs/sha256:config", OpOutcome::Part(part));
        let opened = scenario.report(id).opened().expect("it was opened");
        assert_eq!(opened.config_bytes(), b"{\"os\": \"linux\"}");
        let named = opened.reference.digest();
        assert_eq!(named, Some(&opened.manifest.descriptor.digest));
        assert_eq!(opened.layers().len(), 1);
    }

    /// PULLM-18, PULLB-10: what came with the manifest, and what is known, is not asked for. What was embedded and is
    /// something else is.
    #[test]
    fn an_embedded_configuration_is_not_asked_for() {
        let data = |data: &[u8]| Descriptor {
            data: Some(data.to_vec()),
            ..config()
        };
        for (config, is_here) in [
            (data(b"{\"os\": \"linux\"}"), true),
            (blob(OCI_CONFIG, "{}"), true),
            (data(b"{\"os\": \"other\"}"), false),
            (data(b"{"), false),
            (config(), false),
        ] {
            let (mut scenario, id) = opening(&config);
            assert_eq!(scenario.is_over(id), is_here, "{config:?}");
            let asked = scenario.asked();
            assert_eq!(asked.is_empty(), is_here, "{asked:?}");
        }
    }

    /// What would be in memory is bounded, and what cannot be verified is not taken.
    #[test]
    fn a_configuration_that_cannot_be_taken_is_not_asked_for() {
        let limit = crate::Config::default().limits.document;
        let unknown = "x:0123".parse().expect("a digest");
        let large = Descriptor {
            size: limit + 1,
            ..config()
        };
        for config in [large, Descriptor::new(OCI_CONFIG, unknown, 4)] {
            let (mut scenario, id) = opening(&config);
            assert_eq!(scenario.asked(), [""; 0]);
            let error = scenario.error(id);
            assert!(matches!(error, Error::Policy { .. }), "{error:?}");
        }
    }

    /// There is nothing to ask for, so what there is must be nothing.
    #[test]
    fn an_empty_configuration_is_one_of_no_bytes() {
        let (mut scenario, id) = opening(&blob(OCI_CONFIG, ""));
        let opened = scenario.report(id).opened().expect("it was opened");
        assert_eq!(opened.config_bytes(), b"");
        let wrong = Descriptor {
            size: 0,
            ..config()
        };
        let (mut scenario, id) = opening(&wrong);
        let error = scenario.error(id);
        assert!(matches!(error, Error::Mismatch(_)), "{error:?}");
    }

    #[test]
    fn what_is_no_image_cannot_be_opened() {
        let image = image(&[]);
        // An index without the platform is no image for it.
        let (mut scenario, id) = opening_of(&index(&[entry(&image, "linux/arm64")]), &config());
        let error = scenario.error(id);
        assert!(matches!(error, Error::NotFound(_)), "{error:?}");
        let artifact = document(
            crate::manifest::media_type::OCI_ARTIFACT,
            json!({"blobs": []}),
        );
        let (mut scenario, id) = opening_of(&artifact, &config());
        let error = scenario.error(id);
        assert!(matches!(error, Error::Policy { .. }), "{error:?}");
    }

    #[test]
    fn a_configuration_that_cannot_be_read_fails_the_task() {
        let (mut scenario, id) = opening(&config());
        scenario.failed("GET blobs/sha256:config", status(404));
        assert_eq!(scenario.error(id), status(404));
    }
}
