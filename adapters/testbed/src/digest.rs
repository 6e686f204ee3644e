//! Digests the model can check.
//!
//! Responsible for: the grammar of `sha256:…` and `sha512:…` (REF-04) and for hashing.
//! Must not know: what the bytes are, or where they are kept.

use core::fmt;

use sha2::{Digest as _, Sha256, Sha512};

/// A digest whose algorithm the model can compute: `sha256` or `sha512`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The sha256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(&Sha256::digest(bytes))))
    }

    /// The sha512 digest of `bytes`.
    pub fn sha512(bytes: &[u8]) -> Self {
        Self(format!("sha512:{}", hex(&Sha512::digest(bytes))))
    }

    /// Reads a digest; `None` for another algorithm, a wrong length or upper-case hex (REF-04).
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, encoded) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        let lower_hex = encoded
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (encoded.len() == length && lower_hex).then(|| Self(text.to_owned()))
    }

    /// The algorithm's name, before the colon.
    pub fn algorithm(&self) -> &str {
        self.0
            .split_once(':')
            .map_or("", |(algorithm, _)| algorithm)
    }

    /// The hexadecimal part, after the colon.
    pub fn encoded(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, encoded)| encoded)
    }

    /// The whole digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the concatenation of `parts` has this digest.
    pub fn matches<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let computed = match self.algorithm() {
            "sha512" => hash::<Sha512>(parts),
            _ => hash::<Sha256>(parts),
        };
        computed == self.encoded()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hash<'a, H: sha2::Digest>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = H::new();
    for part in parts {
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-16: well-known constants.
    #[test]
    fn known_constants() {
        assert_eq!(
            Digest::sha256(b"").as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            Digest::sha256(b"{}").as_str(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert!(
            Digest::sha512(b"{}")
                .as_str()
                .starts_with("sha512:27c74670adb75075fad058d5ceaf")
        );
        assert!(Digest::sha512(b"{}").matches([b"{".as_slice(), b"}"]));
    }

    /// REF-04: lower-case hex of the algorithm's length, nothing else.
    #[test]
    fn grammar() {
        let good = Digest::sha256(b"x").to_string();
        assert!(Digest::parse(&good).is_some());
        assert!(Digest::parse(&good.to_uppercase()).is_none());
        assert!(Digest::parse(&format!("sha256:{}", "A".repeat(64))).is_none());
        assert!(Digest::parse(&format!("sha256:{}", "a".repeat(63))).is_none());
        assert!(Digest::parse(&format!("sha512:{}", "a".repeat(64))).is_none());
        assert!(Digest::parse("md5:d41d8cd98f00b204e9800998ecf8427e").is_none());
        assert!(Digest::parse("sha256").is_none());
    }
}
