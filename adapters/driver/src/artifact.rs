//! Artifacts with their content: pushed, and attached to what they are about.
//!
//! Responsible for the order: the content, then the manifest, then, by the session, the referrers list of the subject.
//! Must not know the form of the manifest ([`ArtifactManifest`]).

mod pull;

use std::collections::BTreeMap;
use std::path::Path;

use windlass_core::artifact::{ArtifactManifest, TITLE, empty_descriptor, titled};
use windlass_core::manifest::EMPTY_CONTENT;
use windlass_core::manifest::media_type::OCI_MANIFEST;
use windlass_core::reference::{Tag, Target};
use windlass_core::{
    Algorithm, BlobPut, Descriptor, Digest, Failure, Manifest, Platform, Platforms, Put, Reference,
    StoreError,
};

pub use self::pull::{PullArtifact, PulledArtifact};
use crate::procedure::{Procedure, Requests, refused};
use crate::request::{BlobContent, RequestSpec};

/// An artifact and its content: bytes, files, or blobs of a store.
///
/// ```
/// use windlass_driver::{Artifact, Part};
///
/// let sbom = br#"{"spdxVersion":"SPDX-2.3"}"#;
/// let artifact = Artifact::new("application/spdx+json")
///     .layer(Part::new("application/spdx+json", &sbom[..]).title("sbom.json"))
///     .annotation("org.opencontainers.image.created", "2026-01-02T03:04:05Z");
/// ```
#[derive(Clone, Debug)]
pub struct Artifact {
    manifest: ArtifactManifest,
    /// Of all parts, in order.
    contents: Vec<BlobContent>,
}

impl Artifact {
    /// An artifact of this type, a media type, without content.
    pub fn new(artifact_type: impl Into<String>) -> Self {
        Self {
            manifest: ArtifactManifest::new(artifact_type),
            contents: Vec::new(),
        }
    }

    /// Its configuration, of a type of its own. By default the empty object.
    #[must_use]
    pub fn config(mut self, part: Part) -> Self {
        self.manifest = self.manifest.config(part.descriptor());
        self.contents.push(part.content);
        self
    }

    /// One more part.
    #[must_use]
    pub fn layer(mut self, part: Part) -> Self {
        self.manifest = self.manifest.layer(part.descriptor());
        self.contents.push(part.content);
        self
    }

    /// An annotation of the manifest. A later one of the same name replaces it.
    #[must_use]
    pub fn annotation(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.manifest = self.manifest.annotation(name, value);
        self
    }

    /// The manifest that it is about. [`attach`](crate::Client::attach) sets it, too.
    #[must_use]
    pub fn subject(mut self, subject: &Descriptor) -> Self {
        self.manifest = self.manifest.subject(subject);
        self
    }

    /// The bytes of its manifest.
    ///
    /// # Errors
    ///
    /// [`Error::Policy`](windlass_core::Error::Policy) if a type is no media type, or the names of its files could not be pulled: see
    /// [`titled`](windlass_core::artifact::titled).
    pub fn manifest(&self) -> Result<Vec<u8>, Failure> {
        titled(self.manifest.layers()).map_err(|error| refused(&error))?;
        self.manifest.encode().map_err(|error| refused(&error))
    }

    /// Puts the content, each blob once, then the manifest.
    async fn push(
        self,
        reference: &Reference,
        more_tags: Vec<Tag>,
        manifest: Vec<u8>,
        requests: &impl Requests,
    ) -> Result<Put, Failure> {
        let empty = self.manifest.has_empty();
        let empty = empty.then(|| (empty_descriptor().digest, BlobContent::from(EMPTY_CONTENT)));
        let parts = self.contents.into_iter();
        let parts = parts.map(|content| (content.described().0, content));
        let blobs: BTreeMap<Digest, BlobContent> = parts.chain(empty).collect();
        let specs = blobs.into_iter().map(|(digest, content)| {
            let blob = reference.with_target(Target::Digest(digest));
            RequestSpec::put_blob(&blob, content)
        });
        let _put: Vec<BlobPut> = requests.ask_all(specs.collect()).await?;
        let mut spec = RequestSpec::put_manifest(reference, manifest, OCI_MANIFEST);
        for tag in more_tags {
            spec.add_tag(tag);
        }
        requests.ask(spec).await
    }
}

/// A part of an artifact.
#[derive(Clone, Debug)]
pub struct Part {
    media_type: String,
    content: BlobContent,
    annotations: BTreeMap<String, String>,
}

impl Part {
    /// A part of this media type.
    pub fn new(media_type: impl Into<String>, content: impl Into<BlobContent>) -> Self {
        Self {
            media_type: media_type.into(),
            content: content.into(),
            annotations: BTreeMap::new(),
        }
    }

    /// A file, which is hashed now, and whose title is its name without the folders.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn file(path: impl AsRef<Path>, media_type: impl Into<String>) -> Result<Self, StoreError> {
        let content = BlobContent::file(&path)?;
        let name = path.as_ref().file_name().unwrap_or_default();
        Ok(Self::new(media_type, content).title(name.to_string_lossy()))
    }

    /// The name of the file that it is when it is pulled, with `/` between folders.
    #[must_use]
    pub fn title(self, title: impl Into<String>) -> Self {
        self.annotation(TITLE, title)
    }

    /// An annotation. A later one of the same name replaces it.
    #[must_use]
    pub fn annotation(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(name.into(), value.into());
        self
    }

    fn descriptor(&self) -> Descriptor {
        let (digest, size) = self.content.described();
        let mut descriptor = Descriptor::new(&self.media_type, digest, size);
        descriptor.annotations.clone_from(&self.annotations);
        descriptor
    }
}

/// Pushes an artifact to a reference.
#[derive(Debug)]
pub struct PushArtifact {
    reference: Reference,
    artifact: Artifact,
    more_tags: Vec<Tag>,
}

impl PushArtifact {
    /// By the reference's tag, or by its digest, which must be that of the manifest.
    pub fn new(reference: &Reference, artifact: Artifact) -> Self {
        Self {
            reference: reference.clone(),
            artifact,
            more_tags: Vec::new(),
        }
    }

    /// Further tags that refer to it.
    pub fn and_tags(&mut self, tags: impl IntoIterator<Item = Tag>) {
        self.more_tags.extend(tags);
    }
}

impl Procedure for PushArtifact {
    type Report = Put;

    async fn run(self, requests: &impl Requests) -> Result<Put, Failure> {
        let manifest = self.artifact.manifest()?;
        self.artifact
            .push(&self.reference, self.more_tags, manifest, requests)
            .await
    }
}

/// Attaches an artifact to an image, an index or another artifact.
#[derive(Debug)]
pub struct Attach {
    subject: Reference,
    platform: Option<Platform>,
    artifact: Artifact,
}

/// An artifact that was attached.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Attached {
    /// What it is about.
    pub subject: Descriptor,
    /// The artifact.
    pub artifact: Put,
}

impl Attach {
    /// To what the reference stands for by now.
    pub fn new(subject: &Reference, artifact: Artifact) -> Self {
        Self {
            subject: subject.clone(),
            platform: None,
            artifact,
        }
    }

    /// Of an index, to the image for this platform.
    pub fn platform(&mut self, platform: Platform) {
        self.platform = Some(platform);
    }
}

impl Procedure for Attach {
    type Report = Attached;

    /// A mirror may have an older image at the tag, so it is not asked.
    async fn run(self, requests: &impl Requests) -> Result<Attached, Failure> {
        let subject: Descriptor = match self.platform {
            None => {
                let mut spec = RequestSpec::resolve(&self.subject);
                spec.without_mirrors();
                requests.ask(spec).await?
            }
            Some(platform) => {
                let mut spec = RequestSpec::manifest(&self.subject);
                spec.platforms(Platforms::One(platform));
                spec.without_mirrors();
                requests.ask::<Manifest>(spec).await?.descriptor
            }
        };
        let artifact = self.artifact.subject(&subject);
        let manifest = artifact.manifest()?;
        let digest = Digest::of(Algorithm::Sha256, &manifest);
        let reference = self.subject.with_target(Target::Digest(digest));
        let artifact = artifact
            .push(&reference, Vec::new(), manifest, requests)
            .await?;
        Ok(Attached { subject, artifact })
    }
}
