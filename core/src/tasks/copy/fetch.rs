//! Gets the document of a node, from the source or the destination.
//!
//! Responsible for where a manifest is read from, that it is what its name says, and the choice of a
//! platform. Must not know what is asked of a destination (`exists`) nor what is put there
//! (`push`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{End, ROOT, Stage};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, NotFound, RegistryErrors};
use crate::event::Event;
use crate::ids::{NodeId, TaskId};
use crate::manifest::media_type::{OCI_ARTIFACT, is_manifest_type};
use crate::manifest::{Content, Declared, Document, DocumentError};
use crate::op::{ManifestGet, Operation, Site};
use crate::platform::{self, Platform};
use crate::reference::Target;
use crate::sanitize::escape;
use crate::session::Session;
use crate::store::{StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::task::Platforms;

/// How many entries an error lists.
const LISTED: usize = 20;

impl Session {
    /// Fetches a document from the source into memory.
    pub(super) fn obtain(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        copying.nodes[node.0].stage = Stage::Loading;
        let Some(descriptor) = copying.nodes[node.0].descriptor.clone() else {
            return;
        };
        match (&copying.source, &copying.destination) {
            (End::Store { store, .. }, _) | (End::Registry { .. }, End::Store { store, .. }) => {
                let store = *store;
                self.load(task, node, store, descriptor.digest);
            }
            (End::Registry { site, .. }, _) => {
                let site = site.clone();
                self.get(task, node, site, descriptor);
            }
        }
    }

    /// The source's name stands for several images, each for another platform: they are chosen from as
    /// those of an index are.
    pub(super) fn choose_entry(&mut self, task: TaskId, entries: &[Descriptor]) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        let chosen = match &copying.platforms {
            Platforms::One(wanted) => choose(wanted, entries),
            Platforms::All => Err(several(entries)),
        };
        // Nothing says which of two images for one platform is meant.
        let rivals = |chosen: &Descriptor| {
            let is_rival =
                |it: &Descriptor| it.platform == chosen.platform && it.digest != chosen.digest;
            entries.iter().any(is_rival)
        };
        match chosen {
            Ok(chosen) if rivals(&chosen) => self.fail(task, several(entries)),
            Ok(chosen) => {
                copying.nodes[ROOT.0].descriptor = Some(chosen);
                self.obtain(task, ROOT);
            }
            Err(error) => self.fail(task, error),
        }
    }

    pub(super) fn load(&mut self, task: TaskId, node: NodeId, store: StoreId, digest: Digest) {
        let limit = self.limits().document;
        self.node_step(task, node, store, StoreOp::Load { digest, limit });
    }

    pub(super) fn get_root(&mut self, task: TaskId) {
        let limit = self.limits().document;
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        let End::Registry { site, reference } = copying.source.clone() else {
            return;
        };
        let op = ManifestGet::new(site.clone(), reference.target(), None, limit);
        self.node_exchange(task, ROOT, site, Operation::ManifestGet(op));
    }

    pub(super) fn get(&mut self, task: TaskId, node: NodeId, site: Site, descriptor: Descriptor) {
        let limit = self.limits().document;
        let target = Target::Digest(descriptor.digest.clone());
        let op = ManifestGet::new(site.clone(), target, Some(descriptor), limit);
        self.node_exchange(task, node, site, Operation::ManifestGet(op));
    }

    /// The store has not got the document: ask the registry, or give up.
    pub(super) fn not_loaded(&mut self, task: TaskId, node: NodeId) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        let descriptor = copying.nodes[node.0].descriptor.clone();
        match (&copying.source, descriptor) {
            (End::Registry { .. }, None) => self.get_root(task),
            (End::Registry { site, .. }, Some(descriptor)) => {
                let site = site.clone();
                self.get(task, node, site, descriptor);
            }
            (End::Store { .. }, descriptor) => {
                let digest = descriptor
                    .map(|d| format!("{}", d.digest))
                    .unwrap_or_default();
                let image = copying.image();
                let what = format!("manifest {digest} is not in the layout, but {image} needs it");
                let kind = StoreErrorKind::Absent;
                self.fail(task, Error::Store(StoreError::new(kind, what)));
            }
        }
    }

    /// A document came out of a store: it is what its name says, or worth nothing.
    pub(super) fn loaded(&mut self, task: TaskId, node: NodeId, bytes: Vec<u8>) {
        let Some(copying) = self.tasks.copy(task) else {
            return;
        };
        let from_source = matches!(copying.source, End::Store { .. });
        let parsed = match &copying.nodes[node.0].descriptor {
            Some(descriptor) => {
                let declared = Declared::Descriptor(&descriptor.media_type);
                Document::parse_as(bytes, declared, &descriptor.digest)
            }
            None => {
                let End::Registry { reference, .. } = &copying.source else {
                    return;
                };
                let Target::Digest(digest) = reference.target() else {
                    return;
                };
                Document::parse_as(bytes, Declared::ContentType(None), &digest)
            }
        };
        match parsed {
            Ok(document) => self.got(task, node, document),
            // A damaged copy at the destination counts as absent.
            Err(_) if !from_source => self.not_loaded(task, node),
            Err(DocumentError::Digest { expected, found }) => {
                let what = "manifest in the layout".into();
                let (expected, found) = (format!("{expected}"), format!("{found}"));
                self.fail(
                    task,
                    Error::Mismatch {
                        what,
                        expected,
                        found,
                    },
                );
            }
            Err(error) => {
                let what = format!("manifest in the layout: {error}");
                self.fail(task, Error::Policy { what });
            }
        }
    }

    /// A document is here, verified.
    pub(super) fn got(&mut self, task: TaskId, node: NodeId, document: Document) {
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        if node == ROOT && copying.by_digest.is_empty() {
            if copying.pinned.is_none() {
                let known = copying.nodes[ROOT.0].descriptor.as_ref();
                let mut pinned = document.descriptor();
                pinned.platform = known.and_then(|known| known.platform.clone());
                copying.pinned = Some(pinned);
            }
            if let (Platforms::One(wanted), Content::Index(index)) =
                (&copying.platforms, document.content())
            {
                return match choose(wanted, &index.manifests) {
                    Ok(chosen) => {
                        let root = &mut copying.nodes[ROOT.0];
                        root.descriptor = Some(chosen);
                        root.depth += 1;
                        if root.depth > self.config.limits.depth {
                            let what = "indexes are nested too deeply".into();
                            return self.fail(task, Error::Policy { what });
                        }
                        self.obtain(task, ROOT);
                    }
                    Err(error) => self.fail(task, error),
                };
            }
            if let Err(error) = self.check_destination(task, &document) {
                return self.fail(task, error);
            }
            let Some(copying) = self.tasks.copy_mut(task) else {
                return;
            };
            let mut descriptor = document.descriptor();
            if let Some(known) = copying.nodes[ROOT.0].descriptor.take() {
                descriptor.platform = known.platform;
            }
            copying.by_digest.insert(descriptor.digest.clone(), ROOT);
            copying.nodes[ROOT.0].descriptor = Some(descriptor.clone());
            self.event(task, Event::Resolved(descriptor));
        }
        let Some(copying) = self.tasks.copy_mut(task) else {
            return;
        };
        copying.held += document.bytes().len() as u64;
        if copying.held > self.config.limits.documents {
            let what = "the manifests of this image are too large to be held together".into();
            return self.fail(task, Error::Policy { what });
        }
        copying.nodes[node.0].document = Some(document);
        self.open(task, node);
    }

    /// A destination that names a digest must be given exactly that.
    fn check_destination(&self, task: TaskId, document: &Document) -> Result<(), Error> {
        let Some(End::Registry { reference, .. }) =
            self.tasks.copy(task).map(|copying| &copying.destination)
        else {
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

impl Document {
    /// What the document points to: manifests, and everything else.
    pub(super) fn children(&self) -> (Vec<Descriptor>, Vec<Descriptor>) {
        match self.content() {
            Content::Image(image) => {
                let mut blobs = Vec::with_capacity(1 + image.layers.len());
                blobs.push(image.config.clone());
                // Only layers can be foreign: an image is of no use without its configuration.
                blobs[0].urls.clear();
                blobs.extend_from_slice(&image.layers);
                (Vec::new(), blobs)
            }
            Content::Artifact(artifact) => (Vec::new(), artifact.blobs.clone()),
            Content::Index(index) => index.manifests.iter().cloned().partition(|entry| {
                is_manifest_type(&entry.media_type) || entry.media_type == OCI_ARTIFACT
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
fn choose(wanted: &Platform, entries: &[Descriptor]) -> Result<Descriptor, Error> {
    match platform::choose(wanted, entries) {
        Ok(chosen) => Ok(chosen.clone()),
        Err(error) => Err(Error::NotFound(NotFound {
            what: format!("an image for {wanted}"),
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
