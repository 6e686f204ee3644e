//! Digests.
//!
//! Responsible for their grammar (image-spec `descriptor.md#digests`) and for which algorithms can
//! be verified. A digest of an unknown algorithm is passed on but never trusted (`REF-05`). A
//! [`Digest`] is safe in a URL path and in a file name (`SEC-04`). Must not know how it is computed (`hashing`).

use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

/// A digest algorithm that windlass can verify.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Algorithm {
    /// `sha256`: 64 lower-case hex digits.
    Sha256,
    /// `sha512`: 128 lower-case hex digits.
    Sha512,
}

impl Algorithm {
    /// The registered identifier.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn encoded_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A digest that follows the grammar and, if its algorithm is registered, has that algorithm's
/// length.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest {
    text: Arc<str>,
    colon: u8,
}

impl Digest {
    /// The longest digest accepted, in bytes. `sha512` needs 135; file systems allow names of 255.
    pub const MAX_LEN: usize = 255;

    /// The algorithm, if windlass can verify it.
    pub fn algorithm(&self) -> Option<Algorithm> {
        match self.algorithm_name() {
            "sha256" => Some(Algorithm::Sha256),
            "sha512" => Some(Algorithm::Sha512),
            _ => None,
        }
    }

    /// The part before the colon.
    pub fn algorithm_name(&self) -> &str {
        &self.text[..usize::from(self.colon)]
    }

    /// The part after the colon.
    pub fn encoded(&self) -> &str {
        &self.text[usize::from(self.colon) + 1..]
    }

    /// The whole digest.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        use core::fmt::Write as _;
        let mut text = algorithm.as_str().to_string();
        text.push(':');
        for byte in hash {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        // Both registered names have six letters.
        Self {
            text: text.into(),
            colon: 6,
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = text.split_once(':').ok_or(DigestError::Format)?;
        let is_component = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let is_encoded = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-');
        if text.len() > Self::MAX_LEN
            || !algorithm.split(['+', '.', '_', '-']).all(is_component)
            || encoded.is_empty()
            || !encoded.bytes().all(is_encoded)
        {
            return Err(DigestError::Format);
        }
        let colon = u8::try_from(algorithm.len()).map_err(|_| DigestError::Format)?;
        let digest = Self {
            text: text.into(),
            colon,
        };
        if let Some(known) = digest.algorithm() {
            if encoded.len() != known.encoded_len() {
                return Err(DigestError::Length { algorithm: known });
            }
            if !encoded
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            {
                return Err(DigestError::Format);
            }
        }
        Ok(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// It is not `algorithm:encoded`, or has an invalid character.
    #[error("not a digest: expected `algorithm:encoded`, for sha256 with 64 lower-case hex digits")]
    Format,
    /// The algorithm is known, and its encoded part has another length.
    #[error("wrong digest length for {algorithm}")]
    Length {
        /// The algorithm.
        algorithm: Algorithm,
    },
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;
    use crate::testing::mutations;

    type Row = (&'static str, &'static str, &'static str, usize, Found);
    type Found = Result<Option<Algorithm>, DigestError>;

    #[test]
    fn digests_are_read() {
        let form = Err(DigestError::Format);
        let length = |algorithm| Err(DigestError::Length { algorithm });
        let (sha256, sha512) = (Algorithm::Sha256, Algorithm::Sha512);
        let table: &[Row] = &[
            ("REF-04", "sha256:", "a", 64, Ok(Some(sha256))),
            ("REF-04", "sha512:", "b", 128, Ok(Some(sha512))),
            ("REF-04 upper case", "sha256:", "A", 64, form),
            ("REF-04 upper case", "SHA256:", "a", 64, form),
            ("REF-04 short", "sha256:", "a", 63, length(sha256)),
            ("REF-04 long", "sha256:", "a", 65, length(sha256)),
            ("REF-04 other length", "sha512:", "a", 64, length(sha512)),
            ("REF-04 no hex", "sha256:", "g", 64, form),
            ("REF-05", "multihash+base58:", "Q", 46, Ok(None)),
            ("REF-05", "sha256+b64u:", "L", 43, Ok(None)),
            ("REF-05", "a.b_c-d+e:", "=_-", 9, Ok(None)),
            ("SEC-04", "sha256:../../", "x", 1, form),
            ("SEC-04", "x:../", "x", 1, form),
            ("SEC-04", "..:", "x", 1, form),
            ("no algorithm", ":", "a", 64, form),
            ("empty part", "a++b:", "a", 4, form),
            ("nothing encoded", "sha256:", "", 1, form),
            ("no colon", "sha256", "a", 64, form),
            ("two colons", "x:a:", "a", 1, form),
            ("longest", "x:", "a", 253, Ok(None)),
            ("too long", "x:", "a", 254, form),
        ];
        for (row, start, repeated, count, expected) in table {
            let text = String::from(*start) + &repeated.repeat(*count);
            let found = text.parse::<Digest>();
            assert_eq!(
                found.as_ref().map(Digest::algorithm),
                expected.as_ref().copied(),
                "{row}"
            );
            mutations(&text, |text| {
                let Ok(digest) = text.parse::<Digest>() else {
                    return;
                };
                assert_eq!(digest.as_str(), text, "printing and reading are inverse");
                assert!(
                    !text.contains(['/', '\\', '\0', ' ', '\n']),
                    "SEC-04 {text}"
                );
                assert!(!digest.encoded().is_empty() && !digest.algorithm_name().is_empty());
            });
        }
    }

    #[test]
    fn an_unknown_algorithm_verifies_nothing() {
        let digest: Digest = "sha256+b64u:LCa0a2j".parse().expect("REF-05");
        assert!(!digest.verifies(b""), "REF-05");
    }
}
