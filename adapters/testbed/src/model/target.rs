//! Request targets: paths, queries and the endpoints they name.
//!
//! Responsible for: splitting a raw target, decoding what is encoded, the grammars of names and
//! tags (REF-01, REF-02).
//! Must not know: methods, rights, or what is stored.

use super::message::Refusal;
use crate::Digest;

/// A request target, split at the `?`.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
}

impl<'a> Target<'a> {
    pub(crate) fn parse(target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { path, query }
    }

    /// The first value of a query parameter, decoded as a form (PUSHB-08: `+` is a space).
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).next()
    }

    pub(crate) fn parameters(&self, name: &str) -> impl Iterator<Item = String> {
        form(self.query)
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value)
    }
}

/// The pairs of a query or a form body, decoded.
pub(crate) fn form(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (
            decode(&key.replace('+', " ")),
            decode(&value.replace('+', " ")),
        )
    })
}

/// Percent-decodes; what is not a valid escape stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escape = (bytes[i] == b'%')
            .then(|| text.get(i + 1..i + 3))
            .flatten()
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encodes everything but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The scheme and authority of `http://host:port/path`, and the path (`/` at least, no query).
pub(crate) fn split_url(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest
        .find(['/', '?'])
        .map_or((rest, ""), |at| rest.split_at(at));
    let path = path.split('?').next().unwrap_or("");
    (authority, if path.is_empty() { "/" } else { path })
}

/// A tag or a digest, as in `/manifests/<reference>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
}

/// An endpoint of the distribution API; names are valid, references as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Catalog,
    Tags { name: String },
    Manifest { name: String, reference: String },
    Blob { name: String, digest: String },
    Start { name: String },
    Upload { name: String, id: String },
    Referrers { name: String, digest: String },
}

impl Route {
    pub(crate) fn parse(path: &str) -> Result<Self, Refusal> {
        let unknown = || Refusal::new(404, "UNSUPPORTED", "no such endpoint");
        let rest = path.strip_prefix("/v2/").ok_or_else(unknown)?;
        let segments: Vec<&str> = rest.split('/').collect();
        let name = |parts: &[&str]| {
            let name = parts.join("/");
            if is_name(&name) {
                Ok(name)
            } else {
                Err(Refusal::new(400, "NAME_INVALID", "invalid repository name"))
            }
        };
        Ok(match segments.as_slice() {
            [""] => Self::Ping,
            ["_catalog"] => Self::Catalog,
            [parts @ .., "tags", "list"] => Self::Tags { name: name(parts)? },
            [parts @ .., "blobs", "uploads", ""] => Self::Start { name: name(parts)? },
            [parts @ .., "blobs", "uploads", id] => Self::Upload {
                name: name(parts)?,
                id: decode(id),
            },
            // PUSHB-03: the slash after `uploads` is part of the endpoint.
            [.., "blobs", "uploads"] => return Err(unknown()),
            [parts @ .., "manifests", reference] if !reference.is_empty() => Self::Manifest {
                name: name(parts)?,
                reference: decode(reference),
            },
            [parts @ .., "blobs", digest] if !digest.is_empty() => Self::Blob {
                name: name(parts)?,
                digest: decode(digest),
            },
            [parts @ .., "referrers", digest] if !digest.is_empty() => Self::Referrers {
                name: name(parts)?,
                digest: decode(digest),
            },
            _ => return Err(unknown()),
        })
    }

    /// The repository the endpoint belongs to.
    pub(crate) fn repository(&self) -> Option<&str> {
        match self {
            Self::Ping | Self::Catalog => None,
            Self::Tags { name }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Start { name }
            | Self::Upload { name, .. }
            | Self::Referrers { name, .. } => Some(name),
        }
    }
}

/// The digest in a path or a query; 400 unless it is one the model can check (PUSHB-22).
pub(crate) fn digest(text: &str) -> Result<Digest, Refusal> {
    let invalid = "the digest is malformed or its algorithm is not supported";
    Digest::parse(text).ok_or_else(|| Refusal::new(400, "DIGEST_INVALID", invalid))
}

/// What follows `/manifests/`.
pub(crate) fn reference(text: &str) -> Result<Reference, Refusal> {
    if text.contains(':') {
        return digest(text).map(Reference::Digest);
    }
    if is_tag(text) {
        return Ok(Reference::Tag(text.to_owned()));
    }
    Err(Refusal::new(400, "TAG_INVALID", "invalid tag"))
}

/// REF-02: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(crate) fn is_tag(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    text.len() <= 128
        && text.bytes().all(allowed)
        && text.bytes().next().is_some_and(|b| b != b'.' && b != b'-')
}

/// REF-01: components joined by slashes.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 255 && text.split('/').all(is_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    text.starts_with(alnum) && text.ends_with(alnum) && text.split(alnum).all(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "a/b", "a.b/c_d/e__f/g---h", "library/ubuntu", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "", "A", "a//b", "/a", "a/", "a..b", "a___b", ".a", "a-", "a b", "ä",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn routes() {
        let route = |path| Route::parse(path).map_err(|_| ());
        assert_eq!(route("/v2/"), Ok(Route::Ping));
        assert_eq!(route("/v2/_catalog"), Ok(Route::Catalog));
        assert_eq!(
            route("/v2/a/b/tags/list"),
            Ok(Route::Tags { name: "a/b".into() })
        );
        assert_eq!(
            route("/v2/a/blobs/uploads/"),
            Ok(Route::Start { name: "a".into() })
        );
        // A repository may be called like an endpoint.
        assert_eq!(
            route("/v2/blobs/uploads/manifests/tags"),
            Ok(Route::Manifest {
                name: "blobs/uploads".into(),
                reference: "tags".into()
            })
        );
        assert_eq!(
            route("/v2/a/blobs/sha256%3Aab"),
            Ok(Route::Blob {
                name: "a".into(),
                digest: "sha256:ab".into()
            })
        );
        for bad in [
            "/",
            "/v2",
            "/v1/",
            "/v2/a",
            "/v2/A/tags/list",
            "/v2/a/blobs/uploads",
        ] {
            assert!(route(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn decoding() {
        assert_eq!(decode("a%2Fb%zz%"), "a/b%zz%");
        assert_eq!(decode("%+1é%C3%A9"), "%+1éé");
        assert_eq!(form("a=1+2&b&c=%2B").count(), 3);
        assert_eq!(encode("a+b/c d"), "a%2Bb%2Fc%20d");
        assert_eq!(split_url("http://h:1/token?x=1"), ("h:1", "/token"));
        assert_eq!(split_url("http://h:1"), ("h:1", "/"));
    }
}
