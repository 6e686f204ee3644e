//! Documents that are changed: images, and indexes.
//!
//! Responsible for the members that a change is about, and for what depends on them (digests, sizes, the order of layers).
//! All other members are kept as they are, also those that are not known here. Must not know where documents come from
//! and go to.

mod created;
mod image;
mod index;

use alloc::format;
use alloc::string::String;

pub use self::created::is_time;
pub use self::image::{ChangedImage, ImageChange, NewLayer};
pub use self::index::IndexEdit;
use crate::digest::Digest;

/// Why a document cannot be changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is not what it should be.
    #[error("{what} cannot be changed: {why}")]
    Json {
        /// The document.
        what: &'static str,
        /// What is wrong, safe to print.
        why: String,
    },
    /// The document is no image, so that it has no layers in that sense and nothing that would be run.
    #[error("it is no image: its configuration is `{found}`")]
    NotAnImage {
        /// The media type of its configuration, safe to print.
        found: String,
    },
    /// The document is no index.
    #[error("it is no index: its type is `{found}`")]
    NotAnIndex {
        /// Its media type, safe to print.
        found: String,
    },
    /// A layer could not be appended: the configuration does not have one digest for each layer.
    #[error("the configuration has {found} digests for {layers} layers")]
    DiffIds {
        /// How many digests.
        found: usize,
        /// How many layers.
        layers: usize,
    },
    /// Docker's manifests have no such thing (MT-04).
    #[error("a Docker manifest cannot have {what}; OCI manifests can")]
    NotInDocker {
        /// What it cannot have.
        what: &'static str,
    },
    /// The media type is not that of a layer.
    #[error("`{found}` is no media type of a layer")]
    NotALayer {
        /// The media type, safe to print.
        found: String,
    },
    /// A name cannot be that of a variable.
    #[error("a variable cannot be called `{name}`")]
    Variable {
        /// The name, safe to print.
        name: String,
    },
    /// What an image is said to be made at is no time of RFC 3339, in the form that Go's tools read.
    #[error("`{found}` is no time, such as 2026-01-02T03:04:05Z")]
    Created {
        /// What was said, safe to print.
        found: String,
    },
    /// The index has no such entry.
    #[error("the index has no entry {digest}")]
    NoEntry {
        /// The digest.
        digest: Digest,
    },
    /// The index has nothing for a platform.
    #[error("the index has nothing for {wanted}, only for {offered}")]
    NoPlatform {
        /// The platform.
        wanted: String,
        /// What it has, safe to print.
        offered: String,
    },
}

impl EditError {
    fn manifest(why: String) -> Self {
        let what = "the manifest";
        Self::Json { what, why }
    }

    fn config(why: String) -> Self {
        let what = "the configuration";
        Self::Json { what, why }
    }

    fn index(why: String) -> Self {
        let what = "the index";
        Self::Json { what, why }
    }
}

/// `name` in an object that is a member.
fn at(member: &str, why: &str) -> String {
    format!("`{member}`: {why}")
}
