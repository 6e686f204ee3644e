//! Content that is not what it should be.
//!
//! Responsible for digests and sizes that programs can compare, beside the words for people.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;

use super::{Error, RequestLine};
use crate::digest::Digest;

/// Content that does not match its digest or size.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Mismatch {
    /// What was transferred, and from where.
    pub what: String,
    /// What it should have been.
    pub expected: Measure,
    /// What it was.
    pub found: Measure,
    /// The request whose response it was, or whose body, if it was one of a single request.
    pub request: Option<RequestLine>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, expected, found) = (&self.what, &self.expected, &self.found);
        write!(f, "{what}: expected {expected}, got {found}")
    }
}

impl Error {
    /// The error for content that is not what it should be.
    pub fn mismatch(
        what: impl Into<String>,
        expected: impl Into<Measure>,
        found: impl Into<Measure>,
    ) -> Self {
        Self::Mismatch(Box::new(Mismatch {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
            request: None,
        }))
    }
}

impl Error {
    /// Says which request it is about, if it is about content and does not say so yet.
    pub(crate) fn of_request(mut self, line: &RequestLine) -> Self {
        if let Self::Mismatch(mismatch) = &mut self {
            mismatch.request.get_or_insert_with(|| line.clone());
        }
        self
    }
}

/// What is known of some content: its digest, its size, both, or neither. `Display` says it in words, and may say more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Measure {
    digest: Option<Digest>,
    size: Option<u64>,
    words: String,
}

impl Measure {
    /// Content of this digest and size, in bytes.
    pub fn of(digest: &Digest, size: u64) -> Self {
        Self::told(
            Some(digest.clone()),
            Some(size),
            format!("{digest} ({size} bytes)"),
        )
    }

    /// Content of this size, in bytes.
    pub fn of_size(size: u64) -> Self {
        Self::told(None, Some(size), format!("{size} bytes"))
    }

    /// Content of which only words say something.
    pub(crate) fn unknown(words: impl Into<String>) -> Self {
        Self::told(None, None, words)
    }

    /// The same with words of its own.
    pub(crate) fn told(
        digest: Option<Digest>,
        size: Option<u64>,
        words: impl Into<String>,
    ) -> Self {
        Self {
            digest,
            size,
            words: words.into(),
        }
    }

    /// Says more.
    pub(crate) fn adding(mut self, words: &str) -> Self {
        self.words.push_str(words);
        self
    }

    /// The digest, if it is known.
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The size in bytes, if it is known.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }
}

impl From<&Digest> for Measure {
    fn from(digest: &Digest) -> Self {
        Self::told(Some(digest.clone()), None, digest.as_str())
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}
