//! Values of response headers.
//!
//! Responsible for parsing them strictly enough to be safe and leniently enough for real registries
//! (`protocol.md` 4.1, 7, 11, 14). Must not know what a value means for an operation: nothing here
//! decides on retries, authentication or paging.

mod challenge;
mod date;
mod link;
mod quota;
mod range;
mod warning;

use alloc::format;
use alloc::string::String;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::redact::redact_urls;
use crate::sanitize::escape;

pub use challenge::{Challenge, challenges};
pub use date::{date, http_date, retry_after, rfc3339};
pub use link::{LinkError, next_link};
pub use quota::{Quota, quota};
pub use range::{ContentRange, range_header, unsatisfied_total};
pub use warning::warnings;

/// The response headers that have a meaning in this protocol. All others are dropped when a
/// response arrives, so this is also the list of headers on tapes, redacted. Some are for
/// operations that do not exist yet.
pub(crate) static READ: [HeaderName; 27] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::RANGE,
    header::LOCATION,
    header::LINK,
    header::WWW_AUTHENTICATE,
    header::RETRY_AFTER,
    header::DATE,
    header::ETAG,
    header::WARNING,
    header::ACCEPT_RANGES,
    HeaderName::from_static("docker-content-digest"),
    HeaderName::from_static("oci-chunk-min-length"),
    HeaderName::from_static("oci-subject"),
    HeaderName::from_static("oci-tag"),
    HeaderName::from_static("oci-filters-applied"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    // Those of `REQUEST_IDS`.
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-amzn-requestid"),
    HeaderName::from_static("x-amz-request-id"),
    HeaderName::from_static("x-ms-correlation-request-id"),
    HeaderName::from_static("x-ms-request-id"),
    HeaderName::from_static("x-github-request-id"),
    HeaderName::from_static("cf-ray"),
];

/// What registries and the networks before them call the id of a request: most of them, Amazon's API and its storage,
/// Azure, GitHub, Cloudflare.
const REQUEST_IDS: [&str; 7] = [
    "x-request-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-ms-correlation-request-id",
    "x-ms-request-id",
    "x-github-request-id",
    "cf-ray",
];

/// The id by which the operators of a registry find a request, from the first header that has one.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    /// A UUID has 36 characters; the longest ids that were seen have twice as many.
    const LONGEST: usize = 100;
    let mut values = REQUEST_IDS.iter().filter_map(|name| headers.get(*name));
    values.find_map(|value| {
        let id = value.to_str().ok()?.trim();
        (!id.is_empty()).then(|| escape(&redact_urls(id), LONGEST))
    })
}

/// Whether a response header is kept.
pub fn is_read(name: &HeaderName) -> bool {
    READ.contains(name)
}

/// The headers that are kept, in the order of [`READ`].
pub(crate) fn read(headers: &HeaderMap) -> HeaderMap {
    let mut read = HeaderMap::new();
    for name in &READ {
        for value in headers.get_all(name) {
            read.append(name.clone(), value.clone());
        }
    }
    read
}

/// The `Content-Type`, if it is a media type: `type/subtype`, with or without parameters. Anything
/// else is ignored and not shown.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.trim();
    let essence = value.split(';').next()?.trim_end();
    is_media_type(essence).then_some(value)
}

/// Whether a text is a media type without parameters: `type/subtype`.
pub(crate) fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_token);
    let parts = text.split_once('/');
    parts.is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

/// A note about `Content-Encoding` for an error about wrong content; empty if there is none.
///
/// No encoding is requested, so bodies are taken as they are (HTTP-16): most such headers are left
/// over from an upload to a storage service and do not describe the body.
pub(crate) fn encoding(headers: &HeaderMap) -> String {
    let said = headers.get(header::CONTENT_ENCODING);
    let said = said.map(|said| lossy(said.as_bytes())).unwrap_or_default();
    let said = said.trim();
    if said.is_empty() || said.eq_ignore_ascii_case("identity") {
        return String::new();
    }
    format!(" (sent with Content-Encoding `{}`)", escape(said, 40))
}

/// Whether `byte` may be part of an RFC 9110 token.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// A position in a header line. Every method moves forward or stays; none panics.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    const fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// Takes bytes while they are `wanted`.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().take_while(|byte| wanted(**byte)).count();
        self.at += len;
        &rest[..len]
    }

    /// Takes white space.
    fn skip_space(&mut self) {
        self.take_while(is_space);
    }

    /// Takes `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes a token; empty if there is none.
    fn token(&mut self) -> &'a [u8] {
        self.take_while(is_token)
    }

    /// Takes a quoted string, without its quotes and backslashes; `None` if it is unterminated.
    fn quoted(&mut self) -> Option<String> {
        if !self.take(b'"') {
            return None;
        }
        let mut text = alloc::vec::Vec::new();
        loop {
            let byte = self.next()?;
            match byte {
                b'"' => return Some(lossy(&text)),
                b'\\' => text.push(self.next()?),
                _ => text.push(byte),
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    const fn is_at_end(&self) -> bool {
        self.at >= self.line.len()
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a value has the form of the number, range or date that its header is for. A digit in it may
/// be one of a password, but cannot be replaced: transfers depend on it.
pub(crate) fn is_number(name: &HeaderName, value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str().map(str::trim) else {
        return false;
    };
    let is_count = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if name == header::CONTENT_LENGTH || name == "oci-chunk-min-length" {
        return is_count(text);
    }
    if quota::is_quota(name, text) {
        return true;
    }
    if name == header::CONTENT_RANGE {
        return ContentRange::parse(text).is_some() || unsatisfied_total(text).is_some();
    }
    if name == header::RANGE {
        let range = text.strip_prefix("bytes=").unwrap_or(text).split_once('-');
        return range.is_some_and(|(first, last)| is_count(first) && is_count(last));
    }
    if name == header::DATE || name == header::RETRY_AFTER {
        return is_count(text) || http_date(text).is_some();
    }
    name == header::ACCEPT_RANGES && matches!(text, "bytes" | "none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Call, Expect, JobId, JobResult, Payload};

    /// MT-01.
    #[test]
    fn a_content_type_is_a_media_type() {
        for (value, expected) in [
            ("text/plain", Some("text/plain")),
            (
                " a/b+json ; charset=utf-8 ",
                Some("a/b+json ; charset=utf-8"),
            ),
            ("a/b;c", Some("a/b;c")),
            ("Basic YWxpY2U6cGFzcw==", None),
            ("YWxpY2U6cGFzcw", None),
            ("a/b c/d", None),
            ("a/b/c", None),
            ("a/", None),
            ("/b", None),
            ("; a/b", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            let header = HeaderValue::from_str(value).expect("a value");
            headers.insert(header::CONTENT_TYPE, header);
            assert_eq!(content_type(&headers), expected, "{value}");
        }
        assert_eq!(content_type(&HeaderMap::new()), None);
    }

    /// A header that is not in the list does not reach the session, the id of an upload for instance
    /// (PUSHB-25).
    #[test]
    fn an_answer_keeps_the_headers_that_are_read_in_their_order() {
        let origin = "https://reg.example".parse().expect("an origin");
        let request = http::Request::new(Payload::Empty);
        let mut call = Call::new(JobId(0), origin, request, Expect::Head, 1000);
        let head = http::Response::builder()
            .header("x-token", "a")
            .header("set-cookie", "b")
            .header("docker-upload-uuid", "u")
            .header("warning", "299 - \"c\"")
            .header("Docker-Content-Digest", "d")
            .header("warning", "299 - \"e\"")
            .header("content-type", "f")
            .body(())
            .expect("a head");
        let _ = call.head(head);
        let JobResult::Http(exchanged) = call.finish(Ok(())).into_outcome() else {
            panic!("an exchange");
        };
        let kept = exchanged.headers.iter();
        let kept = kept.map(|(name, value)| (name.as_str(), value.to_str().expect("text")));
        let expected = [
            ("content-type", "f"),
            ("warning", "299 - \"c\""),
            ("warning", "299 - \"e\""),
            ("docker-content-digest", "d"),
        ];
        assert!(kept.eq(expected));
        assert!(READ.iter().all(is_read));
    }

    #[test]
    fn ids_of_requests() {
        let id = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name = HeaderName::from_static(name);
                assert!(is_read(&name), "{name}");
                map.append(name, HeaderValue::from_str(value).expect("a value"));
            }
            request_id(&map)
        };
        assert_eq!(id(&[]), None);
        assert_eq!(id(&[("x-request-id", " ")]), None);
        for name in REQUEST_IDS {
            assert_eq!(id(&[(name, "a-1")]).as_deref(), Some("a-1"));
        }
        let two = [("cf-ray", "ray"), ("x-request-id", " 7 ")];
        assert_eq!(id(&two).as_deref(), Some("7"));
        let long = "x".repeat(10_000);
        assert!(id(&[("cf-ray", &long)]).expect("an id").len() < 150);
    }
}
