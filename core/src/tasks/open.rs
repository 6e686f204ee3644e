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
