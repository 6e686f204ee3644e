//! Manifests and indexes: documents that point to other content.
//!
//! Responsible for reading them so that everyone who reads the same bytes sees the same document
//! (SEC-03): one shape, one type, no member twice. That holds for the members that are used here; a
//! member that is only carried along may have any value. The bytes are kept (PULLM-14), and with
//! them every member that is not known. Must not know where a document came from, nor what is done
//! with what it points to.

mod json;
pub mod media_type;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::descriptor::{Descriptor, annotations, carried};
use crate::digest::{Algorithm, Digest};
use crate::said;
use crate::shown::escape;

pub use json::{MAX_DEPTH, replace_lone_surrogates};

/// The content of the empty descriptor (RFR-14).
pub const EMPTY_CONTENT: &[u8] = b"{}";

/// The digest of [`EMPTY_CONTENT`].
pub const EMPTY_DIGEST: &str =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// The size of [`EMPTY_CONTENT`].
pub const EMPTY_SIZE: u64 = 2;

/// What was said about a document beside it. What is no type of a manifest says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Declared<'a> {
    /// The `Content-Type` of the answer, for a document asked for by tag, or by a digest that came
    /// without a type. It must not contradict the document (PULLM-05).
    ContentType(Option<&'a str>),
    /// The media type in the descriptor by which the document was found. The document's own type is
    /// taken instead if it is one of the same form, such as Docker's and OCI's image manifest.
    Descriptor(&'a str),
}

/// A manifest or an index: its bytes, and what they say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    media_type: String,
    digest: Digest,
    bytes: Arc<[u8]>,
    content: Content,
}

/// What a document says.
#[expect(
    clippy::large_enum_variant,
    reason = "few are alive at a time, and a box hides the fields"
)]
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// An image, or an artifact in its form.
    Image(Image),
    /// A list of documents.
    Index(Index),
    /// An artifact in the withdrawn form of the 1.1 release candidates.
    Artifact(Artifact),
}

/// An image manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Image {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
    /// The document that this one is about.
    pub subject: Option<Descriptor>,
    /// The type of artifact.
    pub artifact_type: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An index.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Index {
    /// The entries, in order.
    pub manifests: Vec<Descriptor>,
    /// The document that this one is about.
    pub subject: Option<Descriptor>,
    /// The type of artifact.
    pub artifact_type: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest of type `application/vnd.oci.artifact.manifest.v1+json`: met, never made.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Artifact {
    /// The content.
    pub blobs: Vec<Descriptor>,
    /// The document that this one is about.
    pub subject: Option<Descriptor>,
    /// The type of artifact.
    pub artifact_type: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Document {
    /// Reads a document of which no digest is known; it gets its sha256 (PULLM-11).
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn parse(bytes: Vec<u8>, declared: Declared<'_>) -> Result<Self, DocumentError> {
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        Self::read(bytes, declared, digest)
    }

    /// Reads a document that must have the digest `expected` (PULLM-09).
    ///
    /// # Errors
    ///
    /// [`DocumentError`]; the digest is looked at before anything else.
    pub fn parse_as(
        bytes: Vec<u8>,
        declared: Declared<'_>,
        expected: &Digest,
    ) -> Result<Self, DocumentError> {
        let algorithm = expected.algorithm().ok_or_else(|| {
            let algorithm = escape(expected.algorithm_name(), 40);
            DocumentError::Algorithm { algorithm }
        })?;
        let found = Digest::of(algorithm, &bytes);
        if found != *expected {
            return Err(DocumentError::Digest {
                expected: expected.clone(),
                found,
            });
        }
        Self::read(bytes, declared, found)
    }

    /// Its media type, in lower case and without parameters.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Its digest.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its bytes as they were served.
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// What it says.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// A descriptor that points to it: type, digest and size.
    pub fn descriptor(&self) -> Descriptor {
        let size = self.bytes.len() as u64;
        Descriptor::new(self.media_type.clone(), self.digest.clone(), size)
    }

    fn read(bytes: Vec<u8>, declared: Declared<'_>, digest: Digest) -> Result<Self, DocumentError> {
        let start = bytes.trim_ascii_start();
        let has_mark = bytes.starts_with(b"\xef\xbb\xbf");
        if !start.starts_with(b"{") && !has_mark {
            let start = said::shown_start(start);
            return Err(DocumentError::NotADocument { start });
        }
        let (checked, keys) = json::check(&bytes)?;
        let raw: Raw = json::read(&checked)?;
        let media_type = raw.media_type(&keys, declared)?;
        raw.check(&keys, &media_type)?;
        let content = raw.into_content(&media_type)?;
        Ok(Self {
            media_type,
            digest,
            bytes: bytes.into(),
            content,
        })
    }
}

/// Every field that decides what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<Value>,
    media_type: Option<String>,
    #[serde(default, deserialize_with = "carried")]
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
    manifests: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "annotations")]
    annotations: BTreeMap<String, String>,
}

/// The keys that decide. Go reads them in any case, so a second spelling would mean something else
/// to others (PULLM-07).
const DECIDING: [&str; 8] = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "fsLayers",
    "blobs",
    "subject",
];

impl Raw {
    /// The one media type: said in the document, said beside it, or seen from its shape.
    fn media_type(
        &self,
        keys: &BTreeSet<String>,
        declared: Declared<'_>,
    ) -> Result<String, DocumentError> {
        let own = self.media_type.as_deref().and_then(media_type::essence);
        let (beside, by_descriptor) = match declared {
            Declared::ContentType(value) => (value.and_then(media_type::essence), false),
            Declared::Descriptor(value) => (media_type::essence(value), true),
        };
        let is_schema1 =
            |found: &Option<String>| found.as_deref().is_some_and(media_type::is_schema1);
        if is_schema1(&own) || is_schema1(&beside) || self.schema_version() == Some(1) {
            return Err(DocumentError::Schema1);
        }
        let known = |found: &Option<String>| {
            let found = found.clone();
            found.filter(|found| media_type::is_document_type(found))
        };
        match (known(&beside), known(&own)) {
            (Some(beside), Some(own)) if beside == own => Ok(own),
            (Some(beside), Some(own))
                if by_descriptor && media_type::is_same_form(&beside, &own) =>
            {
                Ok(own)
            }
            (Some(beside), Some(own)) => Err(DocumentError::Contradiction {
                declared: beside,
                said: own,
            }),
            (Some(only), None) | (None, Some(only)) => Ok(only),
            (None, None) => match own {
                None => self.shape(keys).map(Into::into),
                Some(_) => None,
            }
            .ok_or_else(|| {
                let found = self.media_type.as_deref().or(match declared {
                    Declared::ContentType(value) => value,
                    Declared::Descriptor(value) => Some(value),
                });
                DocumentError::Type {
                    found: escape(found.unwrap_or("none"), 100),
                }
            }),
        }
    }

    /// The type of a document that nobody says the type of (PULLM-08). A list that is `null` is one
    /// of Go's without entries.
    fn shape(&self, keys: &BTreeSet<String>) -> Option<&'static str> {
        if self.manifests.is_some() || (self.config.is_none() && keys.contains("manifests")) {
            return Some(media_type::OCI_INDEX);
        }
        keys.contains("config").then_some(media_type::OCI_MANIFEST)
    }

    /// What `schemaVersion` says. Absent and `null` say nothing but what the type says, too, and a
    /// number may be written as text.
    fn schema_version(&self) -> Option<u64> {
        match &self.schema_version {
            None => Some(2),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        }
    }

    /// Whether the document has the shape of its type and of no other (PULLM-07).
    fn check(&self, keys: &BTreeSet<String>, media_type: &str) -> Result<(), DocumentError> {
        for key in keys {
            let exact = DECIDING.iter().find(|name| fold(name) == fold(key));
            if exact.is_some_and(|name| name != key) {
                return Err(DocumentError::Ambiguous {
                    key: escape(key, 60),
                });
            }
        }
        let is_artifact = media_type == media_type::OCI_ARTIFACT;
        let found = self.schema_version();
        if found != Some(2) {
            return Err(DocumentError::SchemaVersion { found });
        }
        // `null` counts as absent: Go writes empty lists so.
        let has = |key: &'static str| match key {
            "config" => self.config.is_some(),
            "layers" => self.layers.is_some(),
            "manifests" => self.manifests.is_some(),
            _ => self.fs_layers.is_some(),
        };
        let foreign: &[&'static str] = if is_artifact {
            &["config", "layers", "manifests", "fsLayers"]
        } else if media_type::is_index_type(media_type) {
            &["config", "layers", "fsLayers"]
        } else {
            &["manifests", "fsLayers"]
        };
        match foreign.iter().find(|key| has(key)) {
            Some(key) => Err(DocumentError::Ambiguous { key: (*key).into() }),
            None if media_type::is_index_type(media_type) && !keys.contains("manifests") => {
                Err(DocumentError::Missing { key: "manifests" })
            }
            None => Ok(()),
        }
    }

    fn into_content(self, media_type: &str) -> Result<Content, DocumentError> {
        let Self {
            config,
            layers,
            manifests,
            blobs,
            subject,
            artifact_type,
            annotations,
            ..
        } = self;
        if media_type == media_type::OCI_ARTIFACT {
            let blobs = blobs.unwrap_or_default();
            return Ok(Content::Artifact(Artifact {
                blobs,
                subject,
                artifact_type,
                annotations,
            }));
        }
        if media_type::is_index_type(media_type) {
            let manifests = manifests.unwrap_or_default();
            return Ok(Content::Index(Index {
                manifests,
                subject,
                artifact_type,
                annotations,
            }));
        }
        let config = config.ok_or(DocumentError::Missing { key: "config" })?;
        let layers = layers.unwrap_or_default();
        Ok(Content::Image(Image {
            config,
            layers,
            subject,
            artifact_type,
            annotations,
        }))
    }
}

/// A key as Go compares it: without case, and with the two letters beyond ASCII that fold into it.
fn fold(key: &str) -> String {
    let fold = |char: char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => char.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

/// Why bytes are not taken for a document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// They are no JSON object at all, maybe a web page.
    #[error("not a manifest: it begins with `{start}`")]
    NotADocument {
        /// How they begin, safe to print.
        start: String,
    },
    /// They are not strict JSON, or a field has a wrong type.
    #[error("not a valid manifest: {why}")]
    Json {
        /// What is wrong, safe to print.
        why: String,
    },
    /// The media type is none of a manifest or an index.
    #[error("not a manifest or index: its type is `{found}`")]
    Type {
        /// The type, safe to print.
        found: String,
    },
    /// The answer says one type, the document another (PULLM-05).
    #[error("the answer's type is `{declared}`, but the document says `{said}`")]
    Contradiction {
        /// The type that the answer says.
        declared: String,
        /// The type that the document says.
        said: String,
    },
    /// The document could be read as one of another type (PULLM-07).
    #[error("the document is ambiguous: its type does not allow `{key}`")]
    Ambiguous {
        /// The field that does not belong there.
        key: String,
    },
    /// A required field is missing.
    #[error("the document has no `{key}`")]
    Missing {
        /// The field.
        key: &'static str,
    },
    /// `schemaVersion` is not 2.
    #[error("`schemaVersion` must be 2")]
    SchemaVersion {
        /// What it is.
        found: Option<u64>,
    },
    /// It is of Docker's schema 1, which was withdrawn.
    #[error(
        "Docker image manifest version 2, schema 1 is not supported. Push the image again with a current client"
    )]
    Schema1,
    /// The content has another digest than the one asked for.
    #[error("expected {expected}, found {found}")]
    Digest {
        /// The digest asked for.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// The digest asked for cannot be verified (REF-05).
    #[error("the digest algorithm `{algorithm}` is not supported")]
    Algorithm {
        /// Its name.
        algorithm: String,
    },
}

impl From<serde_json::Error> for DocumentError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json {
            why: escape(&error.to_string(), 200),
        }
    }
}

#[cfg(test)]
mod tests;
