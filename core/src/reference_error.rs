//! Why a text is not a reference, or not a part of one.
//!
//! Responsible for saying what was expected instead. It is apart from `reference` because the name of a registry,
//! which references begin with, fails with it, too. Must not know who parses what.

use alloc::string::String;

use crate::digest::DigestError;

/// Why a text is not a reference, or not a part of one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// It does not follow the grammar.
    #[error("not a reference: expected `[registry/]repository[:tag][@digest]`")]
    Format,
    /// It begins with a URL scheme (REF-19).
    #[error("a reference has no scheme; begin with the registry's name")]
    Scheme,
    /// The repository has an upper-case letter (REF-15).
    #[error("the repository must be lower case")]
    UpperCase,
    /// The repository is longer than 255 bytes (REF-14).
    #[error("the repository is longer than 255 bytes")]
    TooLong,
    /// The part before the first slash is no valid host (REF-16).
    #[error("`{host}` is not a registry: expected `host.domain`, `localhost` or `host:port`")]
    Host {
        /// That part, safe to print.
        host: String,
    },
    /// The port is out of range (REF-17).
    #[error("the registry's port must be from 1 to 65535")]
    Port,
    /// The tag is invalid (REF-02).
    #[error(
        "not a tag: expected up to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`"
    )]
    Tag,
    /// It is only a digest (REF-24).
    #[error("a digest needs a repository: expected `repository@sha256:…`")]
    MissingRepository,
    /// It is 64 hex digits, which could be an image ID (REF-13).
    #[error(
        "64 hex digits could be an image id. For a digest write `repository@sha256:…`, for a repository put its registry in front"
    )]
    BareHex,
    /// The digest is invalid.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The digest's algorithm cannot be verified (REF-05).
    #[error("the digest algorithm `{algorithm}` is not supported: expected sha256 or sha512")]
    Algorithm {
        /// The algorithm.
        algorithm: String,
    },
}
