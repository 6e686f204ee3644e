//! Manifests and indexes: documents that point to other content.
//!
//! Responsible for parsing them so that every reader of the same bytes sees the same document
//! (SEC-03): one shape, one type, no duplicate members. That holds for the members that are used
//! here; other members may have any value. The bytes are kept (PULLM-14), and with them unknown
//! members. Must not know where a document came from, nor what happens to the content it points to.

mod json;
pub mod media_type;
pub(crate) mod members;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::descriptor::{Descriptor, annotations};
use crate::digest::{Algorithm, Digest};
use crate::error_body;
use crate::json::carried;
use crate::sanitize::escape;

pub use self::json::MAX_DEPTH;
pub use crate::json::replace_lone_surrogates;

/// The content of the empty descriptor (RFR-14).
pub const EMPTY_CONTENT: &[u8] = b"{}";

/// The digest of [`EMPTY_CONTENT`].
pub const EMPTY_DIGEST: &str =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// The size of [`EMPTY_CONTENT`].
pub const EMPTY_SIZE: u64 = 2;

/// What is known of a document's type from outside. Anything but a manifest type is ignored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Declared<'a> {
    /// The `Content-Type` of the response, for a document fetched by tag, or by a digest without a
    /// known type. It must not contradict the document (PULLM-05).
    ContentType(Option<&'a str>),
    /// The media type in the document's descriptor. The document's own type takes precedence if
    /// both have the same form, such as Docker's and OCI's image manifests.
    Descriptor(&'a str),
}

/// A manifest or an index: bytes and parsed content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    media_type: String,
    digest: Digest,
    bytes: Arc<[u8]>,
    content: Content,
}

/// The parsed content.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// An image, or an artifact in the form of an image.
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
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The artifact type.
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
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The artifact type.
    pub artifact_type: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest of type `application/vnd.oci.artifact.manifest.v1+json`: read, never made.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Artifact {
    /// The content.
    pub blobs: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The artifact type.
    pub artifact_type: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Document {
    /// Parses a document of unknown digest; it gets its sha256 (PULLM-11).
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn parse(bytes: Vec<u8>, declared: Declared<'_>) -> Result<Self, DocumentError> {
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        Self::read(bytes, declared, digest)
    }

    /// Parses a document that must have the digest `expected` (PULLM-09).
    ///
    /// # Errors
    ///
    /// [`DocumentError`]; the digest is checked first.
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

    /// Its bytes, unchanged.
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The parsed content.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// A descriptor of the document: type, digest and size.
    pub fn descriptor(&self) -> Descriptor {
        let size = self.bytes.len() as u64;
        Descriptor::new(self.media_type.clone(), self.digest.clone(), size)
    }

    fn read(bytes: Vec<u8>, declared: Declared<'_>, digest: Digest) -> Result<Self, DocumentError> {
        let start = bytes.trim_ascii_start();
        let has_mark = bytes.starts_with(b"\xef\xbb\xbf");
        if !start.starts_with(b"{") && !has_mark {
            let start = error_body::shown_start(start);
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

/// The members that decide the type of a document.
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

/// The same members. Go ignores their case, so another spelling could give the document another
/// meaning elsewhere (PULLM-07).
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
    /// The media type: from the document, from outside, or from its shape.
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

    /// The type of a document that has none from either source (PULLM-08). A `null` list is one of
    /// Go's empty lists.
    fn shape(&self, keys: &BTreeSet<String>) -> Option<&'static str> {
        if self.manifests.is_some() || (self.config.is_none() && keys.contains("manifests")) {
            return Some(media_type::OCI_INDEX);
        }
        keys.contains("config").then_some(media_type::OCI_MANIFEST)
    }

    /// The `schemaVersion`. Absent and `null` leave it to the type; a number may be a string.
    fn schema_version(&self) -> Option<u64> {
        match &self.schema_version {
            None => Some(2),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        }
    }

    /// Checks that the document has the shape of its type and of no other (PULLM-07).
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
        // `null` counts as absent: Go writes empty lists that way.
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
        // A document is held while its blobs move, and may list thousands.
        let fit = |list: Option<Vec<Descriptor>>| {
            let mut list = list.unwrap_or_default();
            list.shrink_to_fit();
            list
        };
        if media_type == media_type::OCI_ARTIFACT {
            let blobs = fit(blobs);
            return Ok(Content::Artifact(Artifact {
                blobs,
                subject,
                artifact_type,
                annotations,
            }));
        }
        if media_type::is_index_type(media_type) {
            let manifests = fit(manifests);
            return Ok(Content::Index(Index {
                manifests,
                subject,
                artifact_type,
                annotations,
            }));
        }
        let config = config.ok_or(DocumentError::Missing { key: "config" })?;
        let layers = fit(layers);
        Ok(Content::Image(Image {
            config,
            layers,
            subject,
            artifact_type,
            annotations,
        }))
    }
}

/// A member's name as Go compares it: ignoring case, with the two letters beyond ASCII that fold
/// into it.
fn fold(key: &str) -> String {
    let fold = |char: char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => char.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

/// Why bytes are not a valid document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not a JSON object, perhaps a web page.
    #[error("not a manifest: it begins with `{start}`")]
    NotADocument {
        /// Their beginning, safe to print.
        start: String,
    },
    /// Not strict JSON, or a member has a wrong type.
    #[error("not a valid manifest: {why}")]
    Json {
        /// What is wrong, safe to print.
        why: String,
    },
    /// The media type is not one of a manifest or an index.
    #[error("not a manifest or index: its type is `{found}`")]
    Type {
        /// The type, safe to print.
        found: String,
    },
    /// The response's type contradicts the document's (PULLM-05).
    #[error("the answer's type is `{declared}`, but the document says `{said}`")]
    Contradiction {
        /// The type in the response.
        declared: String,
        /// The type in the document.
        said: String,
    },
    /// The document could also be read as another type (PULLM-07).
    #[error("the document is ambiguous: its type does not allow `{key}`")]
    Ambiguous {
        /// The member that does not belong to its type.
        key: String,
    },
    /// A required member is missing.
    #[error("the document has no `{key}`")]
    Missing {
        /// The member.
        key: &'static str,
    },
    /// `schemaVersion` is not 2.
    #[error("`schemaVersion` must be 2")]
    SchemaVersion {
        /// The value found.
        found: Option<u64>,
    },
    /// It is Docker's schema 1, which was withdrawn.
    #[error(
        "Docker image manifest version 2, schema 1 is not supported. Push the image again with a current client"
    )]
    Schema1,
    /// The content has another digest than the expected one.
    #[error("expected {expected}, found {found}")]
    Digest {
        /// The expected digest.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// The expected digest cannot be verified (REF-05).
    #[error("the digest algorithm `{algorithm}` is not supported")]
    Algorithm {
        /// Its algorithm.
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
