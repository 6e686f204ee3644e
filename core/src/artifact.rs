//! The manifest of an artifact: something that is not an image to be run, such as an SBOM, a signature or a chart
//! (image-spec `manifest.md`, guidelines for artifact usage).
//!
//! Responsible for the form of the manifest, which the same parts always give the same bytes. Must not know where the
//! content of the parts is, nor how it is pushed.

mod titles;

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

pub use self::titles::{RESERVED, TitleError, Titled, check_title, titled};
use crate::descriptor::Descriptor;
use crate::manifest::media_type::{
    DOCKER_CONFIG, OCI_CONFIG, OCI_EMPTY, OCI_MANIFEST, is_type, is_valid,
};
use crate::manifest::{EMPTY_CONTENT, EMPTY_DIGEST, EMPTY_SIZE};
use crate::sanitize::escape;

/// The annotation of a layer that is a file: its name, with `/` between folders (MT-07).
pub const TITLE: &str = "org.opencontainers.image.title";

/// The manifest of an artifact, made from the descriptors of its parts.
///
/// Its members always have the same order, and annotations that of their names, so that the same parts give the same
/// digest. Nothing is added that was not given: no time of creation. The content of the parts, and of
/// [`empty_descriptor`] if [`has_empty`](Self::has_empty) says so, must be in the repository before the manifest.
///
/// ```
/// use windlass_core::{artifact::ArtifactManifest, Algorithm, Descriptor, Digest};
///
/// let sbom = br#"{"spdxVersion":"SPDX-2.3"}"#;
/// let digest = Digest::of(Algorithm::Sha256, sbom);
/// let layer = Descriptor::new("application/spdx+json", digest, sbom.len() as u64);
/// let manifest = ArtifactManifest::new("application/spdx+json").layer(layer).encode()?;
/// assert!(manifest.starts_with(br#"{"schemaVersion":2,"mediaType":"#));
/// # Ok::<(), windlass_core::artifact::ArtifactError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArtifactManifest {
    artifact_type: String,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
    annotations: BTreeMap<String, String>,
}

impl ArtifactManifest {
    /// An artifact of this type, a media type, without content (RFR-13).
    pub fn new(artifact_type: impl Into<String>) -> Self {
        Self {
            artifact_type: artifact_type.into(),
            config: None,
            layers: Vec::new(),
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Its configuration, of a type of its own. By default the empty object.
    #[must_use]
    pub fn config(mut self, config: Descriptor) -> Self {
        self.config = Some(config);
        self
    }

    /// One more part. Without any there is one that is the empty object, since some registries refuse a manifest
    /// without layers (RFR-15).
    #[must_use]
    pub fn layer(mut self, layer: Descriptor) -> Self {
        self.layers.push(layer);
        self
    }

    /// An annotation of the manifest. A later one of the same name replaces it.
    #[must_use]
    pub fn annotation(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(name.into(), value.into());
        self
    }

    /// The manifest that the artifact is about: of its descriptor the media type, the digest and the size.
    #[must_use]
    pub fn subject(mut self, subject: &Descriptor) -> Self {
        let Descriptor {
            media_type,
            digest,
            size,
            ..
        } = subject;
        self.subject = Some(Descriptor::new(media_type, digest.clone(), *size));
        self
    }

    /// Its parts.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// Whether a part of it is the empty object.
    pub const fn has_empty(&self) -> bool {
        self.config.is_none() || self.layers.is_empty()
    }

    /// The bytes of the manifest, whose media type is [`OCI_MANIFEST`].
    ///
    /// # Errors
    ///
    /// [`ArtifactError`].
    pub fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        self.check()?;
        Ok(self.bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Manifest<'a> {
            schema_version: u8,
            media_type: &'a str,
            artifact_type: &'a str,
            config: &'a Descriptor,
            layers: &'a [Descriptor],
            #[serde(skip_serializing_if = "Option::is_none")]
            subject: Option<&'a Descriptor>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            annotations: &'a BTreeMap<String, String>,
        }
        let empty = empty_descriptor();
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST,
            artifact_type: &self.artifact_type,
            config: self.config.as_ref().unwrap_or(&empty),
            layers: if self.layers.is_empty() {
                core::slice::from_ref(&empty)
            } else {
                &self.layers
            },
            subject: self.subject.as_ref(),
            annotations: &self.annotations,
        };
        serde_json::to_vec(&manifest).expect("text, numbers and maps of text")
    }

    fn check(&self) -> Result<(), ArtifactError> {
        let valid = |what: &'static str, media_type: &str| {
            let is_valid = is_valid(media_type);
            is_valid
                .then_some(())
                .ok_or_else(|| ArtifactError::MediaType {
                    what,
                    found: escape(media_type, 200),
                })
        };
        valid("artifact type", &self.artifact_type)?;
        for layer in &self.layers {
            valid("media type of a part", &layer.media_type)?;
        }
        let Some(config) = &self.config else {
            return Ok(());
        };
        valid("media type of the configuration", &config.media_type)?;
        let is_image = |known: &&str| is_type(&config.media_type, known);
        if [OCI_CONFIG, DOCKER_CONFIG].iter().any(is_image) {
            return Err(ArtifactError::ImageConfig);
        }
        Ok(())
    }
}

/// The descriptor of the empty object, which has its content embedded (RFR-14).
pub fn empty_descriptor() -> Descriptor {
    let digest = EMPTY_DIGEST.parse().expect("the digest of `{}`");
    let mut empty = Descriptor::new(OCI_EMPTY, digest, EMPTY_SIZE);
    empty.data = Some(EMPTY_CONTENT.to_owned());
    empty
}

/// Why there is no such artifact.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// A type is no media type (MT-01).
    #[error("the {what} is no media type: `{found}`")]
    MediaType {
        /// Which one.
        what: &'static str,
        /// What it is, safe to print.
        found: String,
    },
    /// The configuration has the type of an image's, so that the artifact would be taken for an image (RFR-14).
    #[error("the configuration of an artifact has a media type of its own, not that of an image's")]
    ImageConfig,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::manifest::{Content, Declared, Document};

    fn part(media_type: &str, content: &[u8]) -> Descriptor {
        let digest = Digest::of(Algorithm::Sha256, content);
        Descriptor::new(media_type, digest, content.len() as u64)
    }

    /// RFR-14 a, RFR-15: no content.
    #[test]
    fn an_artifact_without_content() {
        let artifact = ArtifactManifest::new("application/vnd.x.note")
            .annotation("b", "2")
            .annotation("a", "1");
        assert!(artifact.has_empty());
        let empty = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="}"#;
        let expected = alloc::format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.x.note","config":{empty},"layers":[{empty}],"annotations":{{"a":"1","b":"2"}}}}"#
        );
        let bytes = artifact.encode().expect("an artifact");
        assert_eq!(core::str::from_utf8(&bytes), Ok(&*expected));
    }

    /// RFR-14 b and c: content, and a configuration of its own.
    #[test]
    fn the_same_parts_give_the_same_bytes() {
        let mut subject = part("application/vnd.oci.image.index.v1+json", b"an index");
        let artifact = ArtifactManifest::new("application/vnd.x")
            .layer(part("text/plain", b"one"))
            .layer(part("text/plain", b"two"))
            .subject(&subject)
            .config(part("application/vnd.x.config+json", br#"{"a":1}"#));
        assert!(!artifact.has_empty());
        let bytes = artifact.encode().expect("an artifact");
        assert_eq!(artifact.encode(), Ok(bytes.clone()));
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        assert_eq!(
            digest.as_str(),
            "sha256:d52c6a4b581b9e6f58ed550c617640e9d54a724dac1d55b72a7c9494bcda60aa",
            "the digest of what 0.1.0 makes"
        );

        // Only what identifies the subject is taken over.
        subject.annotations.insert("a".into(), "1".into());
        subject.data = Some(b"an index".to_vec());
        let again = artifact.subject(&subject).encode().expect("an artifact");
        assert_eq!(again, bytes);

        let document = Document::parse(bytes, Declared::ContentType(None)).expect("it is read");
        let Content::Image(image) = document.content() else {
            panic!("an artifact has the form of an image: {document:?}");
        };
        assert_eq!(image.artifact_type.as_deref(), Some("application/vnd.x"));
        assert_eq!(image.config.media_type, "application/vnd.x.config+json");
        assert_eq!(image.layers.len(), 2);
        let found = image.subject.as_ref().map(|it| &it.digest);
        assert_eq!(found, Some(&subject.digest));
    }

    #[test]
    fn what_is_no_artifact() {
        let of = |artifact_type: &str| ArtifactManifest::new(artifact_type);
        let type_of = |what, found: &str| {
            Err(ArtifactError::MediaType {
                what,
                found: found.into(),
            })
        };
        let table = [
            ("RFR-13", of(""), type_of("artifact type", "")),
            ("MT-01", of("sbom"), type_of("artifact type", "sbom")),
            (
                "MT-01 a part",
                of("a/b").layer(part("a b/c", b"")),
                type_of("media type of a part", "a b/c"),
            ),
            (
                "MT-01 the configuration",
                of("a/b").config(part("a/", b"")),
                type_of("media type of the configuration", "a/"),
            ),
            (
                "RFR-14 an image",
                of("a/b").config(part(OCI_CONFIG, b"{}")),
                Err(ArtifactError::ImageConfig),
            ),
            (
                "RFR-14 Docker's",
                of("a/b").config(part(DOCKER_CONFIG, b"{}")),
                Err(ArtifactError::ImageConfig),
            ),
        ];
        for (row, artifact, expected) in table {
            assert_eq!(artifact.encode(), expected, "{row}");
        }
    }
}
