//! References to images.
//!
//! Responsible for the grammar that the Docker family shares (`protocol.md` 1), and stricter than
//! Go's package in two places (REF-16, REF-17). These types are safe in a URL (REF-21). Must not
//! know how a registry is contacted.

use alloc::format;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::digest::Digest;
use crate::registry::{Registry, looks_like_registry};
use crate::sanitize::escape;

pub use crate::reference_error::ReferenceError;

/// A repository name that follows the OCI grammar.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Repository(Arc<str>);

impl Repository {
    /// The longest name accepted, in bytes (REF-14).
    pub const MAX_LEN: usize = 255;

    /// No repository: what belongs to a whole registry.
    pub(crate) fn none() -> Self {
        Self("".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if !text
            .split('/')
            .all(|part| is_component(&part.to_ascii_lowercase()))
        {
            return Err(ReferenceError::Format);
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase);
        }
        if text.len() > Self::MAX_LEN {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self(text.into()))
    }
}

/// Lower-case letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_in_words = |byte: Option<&u8>| byte.is_some_and(|byte| is_word(*byte));
    let mut separators = text.split(|char: char| u8::try_from(char).is_ok_and(is_word));
    ends_in_words(bytes.first())
        && ends_in_words(bytes.last())
        && separators.all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

/// A tag that follows the OCI grammar.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The longest tag, in bytes (REF-02).
    pub const MAX_LEN: usize = 128;

    /// `latest`, the default if there is neither a tag nor a digest.
    pub fn latest() -> Self {
        Self("latest".into())
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let is_tag = (1..=Self::MAX_LEN).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.bytes().all(is_inner);
        if is_tag {
            Ok(Self(text.into()))
        } else {
            Err(ReferenceError::Tag)
        }
    }
}

/// What a reference selects in its repository: a tag or a digest, never both (REF-03).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Target {
    /// A tag.
    Tag(Tag),
    /// A digest.
    Digest(Digest),
}

impl Target {
    /// The text after `/manifests/` in a URL.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses a digest if there is a colon, otherwise a tag.
impl FromStr for Target {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}

/// A parsed reference.
///
/// Printed as `registry/repository[:tag][@digest]` with the defaults filled in, except for the tag
/// `latest`. That text parses to the same value.
///
/// # Example: defaults are Docker Hub's
///
/// ```
/// # use windlass_core::Reference;
/// let reference: Reference = "ubuntu:24.04".parse()?;
/// assert_eq!(reference.to_string(), "docker.io/library/ubuntu:24.04");
/// # Ok::<(), windlass_core::reference::ReferenceError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reference {
    registry: Registry,
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl Reference {
    /// A reference from its parts. On Docker Hub a repository of one component is put below
    /// `library` (REF-09).
    ///
    /// With a digest whose algorithm cannot be verified, the printed text does not parse.
    pub fn new(
        registry: Registry,
        repository: Repository,
        tag: Option<Tag>,
        digest: Option<Digest>,
    ) -> Self {
        if !registry.is_docker_hub() {
            return Self {
                registry,
                repository,
                tag,
                digest,
            };
        }
        let registry = Registry::docker_hub();
        let repository = if repository.as_str().contains('/') {
            repository
        } else {
            Repository(format!("library/{repository}").into())
        };
        Self {
            registry,
            repository,
            tag,
            digest,
        }
    }

    /// The same repository with another tag or digest.
    #[must_use]
    pub fn with_target(&self, target: Target) -> Self {
        let (tag, digest) = match target {
            Target::Tag(tag) => (Some(tag), None),
            Target::Digest(digest) => (None, Some(digest)),
        };
        let (registry, repository) = (self.registry.clone(), self.repository.clone());
        Self {
            registry,
            repository,
            tag,
            digest,
        }
    }

    /// The registry, as written.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The repository.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag as written.
    pub const fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest as written.
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag that is written if something is put here: the one it has, otherwise `latest` (REF-12), unless it is
    /// put by its digest alone.
    pub(crate) fn written_tag(&self) -> Option<Tag> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag.clone()),
            (None, None) => Some(Tag::latest()),
            (None, Some(_)) => None,
        }
    }

    /// The digest if there is one, otherwise the tag, otherwise `latest` (REF-11, REF-12).
    pub fn target(&self) -> Target {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, Some(tag)) => Target::Tag(tag.clone()),
            (None, None) => Target::Tag(Tag::latest()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains("://") {
            return Err(ReferenceError::Scheme);
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::BareHex);
        }
        let is_digest = |digest: Digest| digest.algorithm().is_some();
        if text.parse().is_ok_and(is_digest) {
            return Err(ReferenceError::MissingRepository);
        }
        let (registry, rest) = match text.split_once('/') {
            Some((first, rest)) if looks_like_registry(first) => (first.parse()?, rest),
            _ => (Registry::docker_hub(), text),
        };
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(parse_digest(digest)?)),
            None => (rest, None),
        };
        let (path, tag) = match name.split_once(':') {
            Some((path, tag)) => (path, Some(tag.parse()?)),
            None => (name, None),
        };
        let reference = Self::new(registry, path.parse()?, tag, digest);
        if reference.repository.as_str().len() > Repository::MAX_LEN {
            return Err(ReferenceError::TooLong);
        }
        Ok(reference)
    }
}

/// A digest in a typed reference must be verifiable (REF-06).
fn parse_digest(text: &str) -> Result<Digest, ReferenceError> {
    let digest: Digest = text.parse()?;
    if digest.algorithm().is_none() {
        let algorithm = escape(digest.algorithm_name(), 40);
        return Err(ReferenceError::Algorithm { algorithm });
    }
    Ok(digest)
}

#[cfg(test)]
mod tests;
