//! URLs from servers, kept byte for byte.
//!
//! Responsible for resolving a `Location` against the request's URL (RFC 3986), for
//! percent-encoding bytes that no URL may contain, for appending to a query without changing it
//! (PUSHB-07), and for rejecting what another URL library would read differently (SEC-09): the
//! origin that was checked must be the one that is contacted. Must not know which origins may be
//! followed, nor who gets a credential.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write as _};
use core::ops::Range;

use crate::registry::{Origin, OriginError, Scheme};

/// An absolute `http` or `https` URL without user name and fragment.
///
/// Path and query are kept unchanged, so that signatures in them stay valid; only the scheme is put
/// into lower case. `Display` and `Debug` hide the query, because upload and storage URLs carry
/// capabilities there; [`as_str`](Self::as_str) is for the request.
///
/// A `'` and a `%2e` are kept, too, although some URL libraries rewrite them: a driver with such a
/// library must check for that.
///
/// # Example: an upload
///
/// ```
/// # use windlass_core::uri::Url;
/// let request = Url::parse("https://reg.example/v2/a/blobs/uploads/")?;
/// let upload = request.resolve("/v2/a/blobs/uploads/u1?_state=x%3D")?;
/// let commit = upload.with_query("digest", "sha256:abc");
/// assert_eq!(commit.as_str(), "https://reg.example/v2/a/blobs/uploads/u1?_state=x%3D&digest=sha256:abc");
/// assert_eq!(commit.to_string(), "https://reg.example/v2/a/blobs/uploads/u1?***");
/// # Ok::<(), windlass_core::uri::UrlError>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Url {
    raw: Arc<str>,
    origin: Origin,
    /// Where the path begins.
    path: usize,
}

impl Url {
    /// The longest URL accepted, in bytes: the limit of `http::Uri`.
    pub const MAX_LEN: usize = 65_534;

    /// Parses an absolute URL and drops its fragment.
    ///
    /// # Errors
    ///
    /// [`UrlError`]; [`UrlError::Altered`] for a path with `.` or `..`, which other libraries would
    /// remove.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Self::absolute(checked(text)?)?;
        if remove_dot_segments(url.path()) != url.path() {
            return Err(UrlError::Altered);
        }
        Ok(url)
    }

    /// Resolves the value of a `Location` header against the URL of its request.
    ///
    /// Servers send spaces, braces, quotes and letters beyond ASCII in it. These bytes are
    /// percent-encoded, as browsers do; every other byte is kept (PUSHB-07).
    ///
    /// # Errors
    ///
    /// [`UrlError`], as for [`resolve`](Self::resolve). The only bytes rejected are control
    /// characters.
    pub fn resolve_location(&self, location: &[u8]) -> Result<Self, UrlError> {
        self.resolve(&escaped(location)?)
    }

    /// Resolves a URL reference in a response against the URL of its request (RFC 3986 section
    /// 5.2).
    ///
    /// # Errors
    ///
    /// [`UrlError`], unless it is plainly a reference to an http or https URL. RFC 3986 allows an
    /// empty location; it is rejected because it carries no information.
    pub fn resolve(&self, location: &str) -> Result<Self, UrlError> {
        let text = checked(location)?;
        if scheme_of(text)?.is_some() {
            return Self::absolute(text)?.normalised();
        }
        let scheme = self.origin.scheme();
        if text.starts_with("//") {
            return Self::absolute(&format!("{scheme}:{text}"))?.normalised();
        }
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let base = &self.raw[..self.path];
        let mut raw = if path.is_empty() {
            // Only here the base's own path is kept.
            String::from(&self.raw[..self.path + self.raw_path().len()])
        } else if path.starts_with('/') {
            format!("{base}{}", remove_dot_segments(path))
        } else {
            let folder = self
                .path()
                .rfind('/')
                .map_or("/", |slash| &self.path()[..=slash]);
            format!("{base}{}", remove_dot_segments(&format!("{folder}{path}")))
        };
        match (query, self.query()) {
            (Some(query), _) => raw.extend(["?", query]),
            (None, Some(query)) if path.is_empty() => raw.extend(["?", query]),
            (None, _) => {}
        }
        Self::absolute(checked(&raw)?)
    }

    /// This URL with one more query parameter; the existing query is kept byte for byte (PUSHB-07).
    ///
    /// Invalid characters of the value are percent-encoded, and `+`, which servers would read as a
    /// space (PUSHB-08); `:`, `/`, `,`, `@`, `*` and `=` stay.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        self.append(name, value, b":/,@*=")
    }

    /// This URL with one more query parameter, in which everything but unreserved characters, `:`,
    /// `/`, `,` and `*` is percent-encoded: the usual form for `scope` at token services.
    #[must_use]
    pub fn with_encoded_query(&self, name: &str, value: &str) -> Self {
        self.append(name, value, b":/,*")
    }

    /// Scheme, host and port.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path; `/` if it is empty.
    pub fn path(&self) -> &str {
        match self.raw_path() {
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?`.
    pub fn query(&self) -> Option<&str> {
        let (_, query) = self.raw[self.path..].split_once('?')?;
        Some(query)
    }

    /// The whole URL. May contain a secret: not for logs.
    pub fn as_str(&self) -> &str {
        &self.raw
    }

    /// This URL for a request.
    ///
    /// # Errors
    ///
    /// [`UrlError::Altered`] if the `http` crate would send other bytes, [`UrlError::TooLong`] if
    /// [`with_query`](Self::with_query) exceeded the limit.
    pub fn to_http(&self) -> Result<http::Uri, UrlError> {
        if self.raw.len() > Self::MAX_LEN {
            return Err(UrlError::TooLong);
        }
        let scheme = self.origin.scheme().as_str();
        let authority = &self.raw[scheme.len() + 3..self.path];
        let mut target = String::from(self.path());
        if let Some(query) = self.query() {
            target.extend(["?", query]);
        }
        let uri = format!("{scheme}://{authority}{target}");
        let uri: http::Uri = uri.parse().map_err(|_| UrlError::Altered)?;
        let is_same = uri.scheme_str() == Some(scheme)
            && uri
                .authority()
                .is_some_and(|kept| kept.as_str() == authority)
            && uri
                .path_and_query()
                .is_some_and(|kept| kept.as_str() == target);
        if is_same {
            Ok(uri)
        } else {
            Err(UrlError::Altered)
        }
    }

    /// Parses text that [`checked`] accepted.
    fn absolute(text: &str) -> Result<Self, UrlError> {
        let scheme = scheme_of(text)?.ok_or(UrlError::Format)?;
        let scheme = Scheme::named(scheme).ok_or(UrlError::Scheme)?;
        let rest = &text[scheme.as_str().len() + 1..];
        let rest = rest.strip_prefix("//").ok_or(UrlError::NoAuthority)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = &rest[..end];
        if authority.is_empty() {
            return Err(UrlError::NoAuthority);
        }
        let origin = Origin::from_authority(scheme, authority).map_err(|error| match error {
            OriginError::UserInfo => UrlError::UserInfo,
            other @ (OriginError::Host | OriginError::Port | OriginError::Scheme) => {
                UrlError::Authority(other)
            }
        })?;
        let raw = format!("{scheme}://{rest}");
        if raw.len() > Self::MAX_LEN {
            return Err(UrlError::TooLong);
        }
        let path = scheme.as_str().len() + 3 + end;
        Ok(Self {
            raw: raw.into(),
            origin,
            path,
        })
    }

    /// Without dot segments, which RFC 3986 section 5.2.2 also removes from an absolute reference.
    fn normalised(self) -> Result<Self, UrlError> {
        let path = self.raw_path();
        let clean = remove_dot_segments(path);
        if clean == path {
            return Ok(self);
        }
        let end = self.path + path.len();
        Self::absolute(&format!(
            "{}{clean}{}",
            &self.raw[..self.path],
            &self.raw[end..]
        ))
    }

    fn append(&self, name: &str, value: &str, kept: &[u8]) -> Self {
        let mut raw = String::from(&*self.raw);
        match self.query() {
            None => raw.push('?'),
            Some(query) if query.is_empty() || query.ends_with('&') => {}
            Some(_) => raw.push('&'),
        }
        encode(name, b"", &mut raw);
        raw.push('=');
        encode(value, kept, &mut raw);
        Self {
            raw: raw.into(),
            origin: self.origin.clone(),
            path: self.path,
        }
    }

    fn raw_path(&self) -> &str {
        let rest = &self.raw[self.path..];
        rest.split_once('?').map_or(rest, |(path, _)| path)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path())?;
        if self.query().is_some() {
            f.write_str("?***")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The user information in a reference without query and fragment, up to the `@`. Accepts any text.
pub(crate) fn user_info(text: &str) -> Option<Range<usize>> {
    let (scheme, _) = text.split_once("//")?;
    if !scheme.is_empty() && (scheme.contains('/') || !scheme.ends_with(':')) {
        return None;
    }
    let start = scheme.len() + 2;
    let authority = text[start..].split('/').next()?;
    Some(start..start + authority.rfind('@')?)
}

/// Printable characters that no URL contains.
const NOT_IN_URLS: &[u8] = b" \"<>\\^`{|}";

/// A header's value with these and non-ASCII bytes percent-encoded.
pub(crate) fn escaped(value: &[u8]) -> Result<Cow<'_, str>, UrlError> {
    if value.iter().any(u8::is_ascii_control) {
        return Err(UrlError::Character);
    }
    let has_to = |byte: u8| !byte.is_ascii() || NOT_IN_URLS.contains(&byte);
    if let Ok(text) = str::from_utf8(value)
        && !value.iter().any(|byte| has_to(*byte))
    {
        return Ok(text.into());
    }
    let mut escaped = String::with_capacity(value.len());
    for byte in value {
        if has_to(*byte) {
            push_encoded(*byte, &mut escaped);
        } else {
            escaped.push(char::from(*byte));
        }
    }
    Ok(escaped.into())
}

/// `text` without its fragment, if every URL library leaves its bytes alone.
fn checked(text: &str) -> Result<&str, UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.len() > Url::MAX_LEN {
        return Err(UrlError::TooLong);
    }
    let is_fine = |byte: u8| byte.is_ascii_graphic() && !NOT_IN_URLS.contains(&byte);
    if !text.bytes().all(is_fine) {
        return Err(UrlError::Character);
    }
    Ok(text.split_once('#').map_or(text, |(text, _)| text))
}

/// The scheme, if any. Otherwise the first segment must not contain a colon (RFC 3986 section 4.2).
fn scheme_of(text: &str) -> Result<Option<&str>, UrlError> {
    let end = text.find(['/', '?']).unwrap_or(text.len());
    let Some((scheme, _)) = text[..end].split_once(':') else {
        return Ok(None);
    };
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_inner) {
        return Err(UrlError::Format);
    }
    if Scheme::named(scheme).is_none() {
        return Err(UrlError::Scheme);
    }
    Ok(Some(scheme))
}

/// RFC 3986 section 5.2.4 for an absolute path. `%2e` is left alone.
fn remove_dot_segments(path: &str) -> String {
    let Some(rest) = path.strip_prefix('/') else {
        return path.into();
    };
    let mut out = String::new();
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if is_last {
            out.push('/');
        }
    }
    out
}

fn encode(text: &str, kept: &[u8], out: &mut String) {
    for byte in text.bytes() {
        let is_unreserved =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_unreserved || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_encoded(byte, out);
        }
    }
}

fn push_encoded(byte: u8, out: &mut String) {
    write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
}

/// Why a URL is not accepted. Does not contain the text, which may hold a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It is empty.
    #[error("the URL is empty")]
    Empty,
    /// White space, a control character, a backslash, or another character that no URL contains.
    #[error("the URL has an invalid character")]
    Character,
    /// It is neither absolute nor relative.
    #[error("not a valid URL")]
    Format,
    /// The scheme is not `http` or `https`.
    #[error("the URL's scheme is not http or https")]
    Scheme,
    /// There is a scheme but no host.
    #[error("the URL has no host")]
    NoAuthority,
    /// The host or the port is invalid.
    #[error("the URL's host is invalid: {0}")]
    Authority(OriginError),
    /// It has a user name, perhaps with a password.
    #[error("the URL has a user name, which is not allowed")]
    UserInfo,
    /// An HTTP library would send other bytes.
    #[error("an HTTP library would change the URL")]
    Altered,
    /// It is longer than [`Url::MAX_LEN`].
    #[error("the URL is longer than 65534 bytes")]
    TooLong,
}

#[cfg(test)]
mod tests;
