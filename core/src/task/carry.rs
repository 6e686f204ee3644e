//! What is copied with an image because it belongs to it, and what became of that.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::ErrorKind;

/// What a copy takes along that belongs to the image without being a part of it. By default nothing.
///
/// It is looked for at every manifest that is copied: an index and each of its images have referrers of their own.
/// What is found is copied like the image, before the image gets its tag or name; what refers to it follows, up to
/// [`LEVELS`](Self::LEVELS) deep. What cannot be copied is reported and does not fail the copy: see [`Carried`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Carry {
    /// The manifests that refer to the image by their `subject`: signatures, SBOMs and other artifacts.
    pub referrers: bool,
    /// Only referrers of these artifact types; of all types if it is empty. What refers to them comes with them,
    /// whatever its type is. A manifest's type is what it says itself, whatever a list does; but what a registry leaves
    /// out of its list, asked for one type, is not looked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifact_types: Vec<String>,
    /// What cosign keeps at tags made of a manifest's digest: `sha256-….sig`, `.att` and `.sbom`.
    pub digest_tags: bool,
}

impl Carry {
    /// How deep referrers of referrers are followed.
    pub const LEVELS: usize = 8;

    /// Nothing.
    pub const NOTHING: Self = Self {
        referrers: false,
        artifact_types: Vec::new(),
        digest_tags: false,
    };

    /// All referrers.
    pub fn referrers() -> Self {
        Self {
            referrers: true,
            ..Self::NOTHING
        }
    }

    /// Whether nothing is taken along.
    pub const fn is_nothing(&self) -> bool {
        !self.referrers && !self.digest_tags
    }
}

/// What was copied with an image.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Carried {
    /// How many manifests were copied.
    pub copied: u64,
    /// How many existed at the destination.
    pub present: u64,
    /// How many were found and not copied, and how many lists could not be read.
    pub failed: u64,
    /// The first [`Report::LISTED`](super::Report::LISTED) of them.
    pub not_carried: Vec<NotCarried>,
}

/// Something that belongs to an image and was not copied with it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NotCarried {
    /// The manifest that it belongs to.
    pub subject: Digest,
    /// What was not copied. `None` if what belongs to the subject could not be found out.
    pub digest: Option<Digest>,
    /// Its artifact type, if that is known.
    pub artifact_type: Option<String>,
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The error.
    pub why: String,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} present)", self.copied, self.present)?;
        if self.failed > 0 {
            write!(f, ", {} not", self.failed)?;
        }
        Ok(())
    }
}
