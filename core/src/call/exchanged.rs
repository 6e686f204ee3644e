//! The result of an exchange: head, body, and protocol violations.
//!
//! Responsible for keeping headers and bodies out of Debug output. Must not know what a response
//! means (`classify`, `op`).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::transport::Interrupted;
use crate::digest::Digest;
use crate::hashing::{Hashing, Marks};
use crate::written;

/// How an HTTP exchange ended.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Exchanged {
    #[serde(
        default,
        with = "written::status",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) status: Option<StatusCode>,
    #[serde(
        default,
        with = "written::headers",
        skip_serializing_if = "HeaderMap::is_empty"
    )]
    pub(crate) headers: HeaderMap,
    #[serde(default, skip_serializing_if = "Received::is_nothing")]
    pub(crate) body: Received,
    /// How many bytes of a blob went out, in all tries that the driver made of the request.
    #[serde(default)]
    pub(crate) sent: u64,
    /// The hash over the blob after this part of it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hashed: Option<Hashing>,
    /// Hashes over fewer bytes of it.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub(crate) marks: Marks,
    /// A breach of the rules by the peer that made the rest of the body worthless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flaw: Option<Flaw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interrupted: Option<Interrupted>,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Received {
    /// No head came, or the body was of no interest.
    #[default]
    Nothing,
    /// A small body, at most as long as the limit; `cut` if there was more.
    Collected {
        #[serde(with = "written::text")]
        bytes: Vec<u8>,
        cut: bool,
    },
    /// The bytes `from..to` of a blob, of at most `from..range_end`, went to the store. The hash is
    /// over no more than the bytes before `to`.
    Stored {
        hashing: Hashing,
        from: u64,
        to: u64,
        range_end: u64,
    },
    /// The bytes `from..to` of a blob were passed on to the other call of a relay, which needs those up to
    /// `end`. They came in this many responses.
    Relayed {
        from: u64,
        to: u64,
        end: u64,
        responses: u32,
    },
}

impl Received {
    /// How many bytes of a blob it brought.
    pub(crate) const fn of_blob(&self) -> u64 {
        match self {
            Self::Stored { from, to, .. } | Self::Relayed { from, to, .. } => *to - *from,
            Self::Nothing | Self::Collected { .. } => 0,
        }
    }

    const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

// Headers and bodies of answers hold tokens and upload locations: their Debug shows lengths.
impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanged")
            .field("status", &self.status)
            .field("body", &self.body)
            .field("hashed", &self.hashed)
            .field("flaw", &self.flaw)
            .field("interrupted", &self.interrupted)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Collected { bytes, .. } => write!(f, "Collected({} bytes)", bytes.len()),
            Self::Stored { to, range_end, .. } => write!(f, "Stored({to} of {range_end})"),
            Self::Relayed { to, end, .. } => write!(f, "Relayed({to} of {end})"),
        }
    }
}

/// What a peer did wrong within one exchange.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flaw {
    /// A document or header block over its limit (bytes).
    TooLarge { limit: u64 },
    /// More bytes than the descriptor or the range allows.
    TooLong { expected: u64 },
    /// The whole blob in response to one of several ranges (RNG-06).
    Whole,
    /// A declared length that differs from the descriptor's size.
    Length { expected: u64, declared: u64 },
    /// A 206 that does not say, or does not match, what was asked.
    Range {
        /// The header, which is not on tapes.
        #[serde(skip)]
        said: Option<String>,
    },
    /// A small blob that is not the one with the digest that was asked for.
    Digest {
        /// The digest of what came.
        found: Digest,
    },
}

/// The declared length of a body; `None` if missing or not a number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}
