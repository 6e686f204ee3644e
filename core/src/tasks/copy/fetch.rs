//! Gets the document of a node, from the source or the destination.
//!
//! Responsible for where a manifest is read from, that it is what its name says, and the choice of a
//! platform. Must not know what is asked of a destination (`exists`) nor what is put there
//! (`push`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::node::NodePhase;
use super::{CopyLocation, CopyState, ROOT};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, NotFound, RegistryErrors};
use crate::event::Event;
use crate::ids::NodeId;
use crate::manifest::media_type::{OCI_ARTIFACT, is_manifest_type};
use crate::manifest::{Content, Declared, Document, DocumentError};
use crate::op::{ManifestGet, Operation, Site};
use crate::platform::{self, Platform};
use crate::reference::Target;
use crate::sanitize::escape;
use crate::store::{StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::task::Platforms;
use crate::tasks::TaskPorts;

/// How many entries an error lists.
const LISTED: usize = 20;

impl CopyState {
    /// Fetches a document from the source into memory.
    pub(super) fn obtain(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.nodes[node.0].phase = NodePhase::Loading;
        match (&self.source, &self.destination) {
            (CopyLocation::Store { store, .. }, _)
            | (CopyLocation::Registry { .. }, CopyLocation::Store { store, .. }) => {
                load(node, *store, self.descriptor(node)?.digest.clone(), ports);
            }
            (CopyLocation::Registry { .. }, CopyLocation::Registry { .. }) => {
                self.fetch(node, ports)?
            }
        }
        Ok(())
    }

    /// The source's name stands for several images, each for another platform. One is chosen as among
    /// those of an index.
    pub(super) fn choose_entry(
        &mut self,
        node: NodeId,
        entries: &[Descriptor],
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let chosen = match &self.platforms {
            Platforms::One(wanted) if node == ROOT => choose(wanted, entries)?,
            Platforms::One(_) | Platforms::Several(_) | Platforms::All => {
                return Err(several(entries));
            }
        };
        // Nothing says which of two images for one platform is meant.
        let is_rival =
            |it: &Descriptor| it.platform == chosen.platform && it.digest != chosen.digest;
        if entries.iter().any(is_rival) {
            return Err(several(entries));
        }
        self.nodes[node.0].descriptor = Some(chosen);
        self.obtain(node, ports)
    }

    /// Requests a document from the source's registry, by its descriptor, or by the source's reference if
    /// it has none yet.
    fn fetch(&self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let CopyLocation::Registry {
            site, reference, ..
        } = &self.source
        else {
            return Err(Error::internal(
                "a document is requested from a store by GET",
            ));
        };
        let descriptor = self.nodes[node.0].descriptor.clone();
        let target = match &descriptor {
            Some(descriptor) => Target::Digest(descriptor.digest.clone()),
            None => reference.target(),
        };
        self.get(node, site.clone(), target, descriptor, ports);
        Ok(())
    }

    pub(super) fn get(
        &self,
        node: NodeId,
        site: Site,
        target: Target,
        descriptor: Option<Descriptor>,
        ports: &mut TaskPorts<'_>,
    ) {
        let limit = ports.limits().document;
        let op = ManifestGet::new(site.clone(), target, descriptor, limit);
        self.exchange(node, site, Operation::ManifestGet(op), ports);
    }

    /// The store does not have the document: request it from the registry, or fail.
    pub(super) fn not_loaded(&self, node: NodeId, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        match &self.source {
            CopyLocation::Registry { .. } => self.fetch(node, ports),
            CopyLocation::Store { .. } => {
                let (digest, image) = (&self.descriptor(node)?.digest, self.image());
                let what = format!("manifest {digest} is not in the layout, but {image} needs it");
                let kind = StoreErrorKind::Absent;
                Err(Error::Store(StoreError::new(kind, what)))
            }
        }
    }

    /// A document came out of a store: it must be what its digest says.
    pub(super) fn loaded(
        &mut self,
        node: NodeId,
        bytes: Vec<u8>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let parsed = match (&self.nodes[node.0].descriptor, &self.source) {
            (Some(descriptor), _) => {
                let declared = Declared::Descriptor(&descriptor.media_type);
                Document::parse_as(bytes, declared, &descriptor.digest)
            }
            (None, CopyLocation::Registry { reference, .. }) => {
                let digest = reference.digest();
                let digest =
                    digest.ok_or_else(|| Error::internal("a tag was loaded from a store"))?;
                Document::parse_as(bytes, Declared::ContentType(None), digest)
            }
            (None, CopyLocation::Store { .. }) => {
                return Err(Error::internal("a document was loaded before it was found"));
            }
        };
        let from_source = matches!(self.source, CopyLocation::Store { .. });
        match parsed {
            Ok(document) => self.got(node, document, ports),
            // A damaged copy at the destination is ignored.
            Err(_) if !from_source => self.not_loaded(node, ports),
            Err(DocumentError::Digest { expected, found }) => {
                Err(Error::mismatch("manifest in the layout", &expected, &found))
            }
            Err(error) => {
                let what = format!("manifest in the layout: {error}");
                Err(Error::Policy { what })
            }
        }
    }

    /// A document is here, verified.
    pub(super) fn got(
        &mut self,
        node: NodeId,
        document: Document,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        if node == ROOT && self.by_digest.is_empty() {
            let known = self.nodes[ROOT.0].descriptor.take();
            let platform = known.and_then(|known| known.platform);
            let mut descriptor = document.descriptor();
            descriptor.platform = platform;
            self.pinned.get_or_insert_with(|| descriptor.clone());
            if let (Platforms::One(wanted), Content::Index(index)) =
                (&self.platforms, document.content())
            {
                let root = &mut self.nodes[ROOT.0];
                root.descriptor = Some(choose(wanted, &index.manifests)?);
                root.depth += 1;
                if root.depth > ports.limits().depth {
                    let what = "indexes are nested too deeply".into();
                    return Err(Error::Policy { what });
                }
                return self.obtain(ROOT, ports);
            }
            self.choose_some(&document)?;
            self.check_destination(&document)?;
            self.by_digest.insert(descriptor.digest.clone(), ROOT);
            self.nodes[ROOT.0].descriptor = Some(descriptor.clone());
            ports.event(Event::Resolved(descriptor));
        }
        if !self.admits(node, &document)? {
            return self.unwanted(node, ports);
        }
        let descriptor = &mut self.nodes[node.0].descriptor;
        descriptor.get_or_insert_with(|| document.descriptor());
        let held = self.held + document.bytes().len() as u64;
        if held > ports.limits().documents {
            let what = "the manifests of this image are too large to be held together".into();
            return Err(Error::Policy { what });
        }
        self.held = held;
        self.nodes[node.0].document = Some(document);
        self.open(node, ports)
    }

    /// A destination that names a digest must be given exactly that.
    fn check_destination(&self, document: &Document) -> Result<(), Error> {
        let CopyLocation::Registry { reference, .. } = &self.destination else {
            return Ok(());
        };
        match reference.digest() {
            Some(digest) if digest != document.digest() => Err(Error::Policy {
                what: format!(
                    "the destination has the digest {digest}, but the image is {}",
                    document.digest()
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Requests a document from a store.
pub(super) fn load(node: NodeId, store: StoreId, digest: Digest, ports: &mut TaskPorts<'_>) {
    let limit = ports.limits().document;
    ports.store(node, store, StoreOp::Load { digest, limit });
}

/// Something that a document points to.
pub(super) enum Child<'a> {
    Manifest(&'a Descriptor),
    Config(&'a Descriptor),
    Blob(&'a Descriptor),
}

impl Child<'_> {
    pub(super) const fn digest(&self) -> &Digest {
        match self {
            Self::Manifest(descriptor) | Self::Config(descriptor) | Self::Blob(descriptor) => {
                &descriptor.digest
            }
        }
    }
}

impl Document {
    /// What the document points to, in order.
    pub(super) fn children(&self) -> impl Iterator<Item = Child<'_>> {
        (0..).map_while(|n| self.child(n))
    }

    /// The `n`th of them.
    pub(super) fn child(&self, n: usize) -> Option<Child<'_>> {
        match self.content() {
            Content::Image(image) if n == 0 => Some(Child::Config(&image.config)),
            Content::Image(image) => image.layers.get(n - 1).map(Child::Blob),
            Content::Artifact(artifact) => artifact.blobs.get(n).map(Child::Blob),
            Content::Index(index) => index.manifests.get(n).map(|entry| {
                let media_type = entry.media_type.as_str();
                if is_manifest_type(media_type) || media_type == OCI_ARTIFACT {
                    Child::Manifest(entry)
                } else {
                    Child::Blob(entry)
                }
            }),
        }
    }

    pub(super) fn config(&self) -> Option<Descriptor> {
        match self.content() {
            Content::Image(image) => Some(image.config.clone()),
            Content::Index(_) | Content::Artifact(_) => None,
        }
    }
}

/// The image for a platform, or an error that lists what there is (IDX-17).
pub(in crate::tasks) fn choose(
    wanted: &Platform,
    entries: &[Descriptor],
) -> Result<Descriptor, Error> {
    match platform::choose(wanted, entries) {
        Ok(chosen) => Ok(chosen.clone()),
        Err(error) => Err(Error::NotFound(NotFound {
            what: format!("an image for {wanted}"),
            request: None,
            status: None,
            errors: RegistryErrors::default(),
            hint: Some(format!("{error}")),
        })),
    }
}

/// A name in a store stands for several images, and nothing says which is meant.
fn several(entries: &[Descriptor]) -> Error {
    let mut listed = String::new();
    for (n, entry) in entries.iter().take(LISTED).enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        let platform = entry.platform.as_ref().map(|it| format!("{it}"));
        let platform = escape(&platform.unwrap_or_default(), 100);
        listed.push_str(&format!("{comma}{platform} ({})", entry.digest));
    }
    let more = entries.len().saturating_sub(LISTED);
    if more > 0 {
        listed.push_str(&format!(" and {more} more"));
    }
    let what = format!("the name has an image for each of several platforms: {listed}");
    Error::Store(StoreError::new(StoreErrorKind::Ambiguous, what))
}
