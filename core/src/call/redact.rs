//! Redacts a request's own secrets in the response that echoes them.
//!
//! Registries and proxies that are being debugged put headers and forms into their answers, and answers
//! are shown, logged and pasted into bug reports. Responsible for every header that is kept of an answer,
//! and for its error body, before anything reads them. Must not know the secrets of other requests.

use alloc::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Call, Exchanged, Payload, Received};
use crate::digest::Digest;
use crate::header::{ContentRange, http_date, unsatisfied_total};
use crate::redact::{Redactor, decoded};

/// Words of the protocol. They are no secret, even if a password is one of them.
const VOCABULARY: &str = "bytes identity gzip deflate br zstd compress \
    Basic Bearer Negotiate realm service scope error insufficient_scope invalid_token repository \
    registry catalog pull push delete rel next artifactType https:// http:// sha256: sha512: \
    application/vnd.oci.image.index.v1+json application/vnd.oci.image.manifest.v1+json \
    application/vnd.docker.distribution.manifest.list.v2+json \
    application/vnd.docker.distribution.manifest.v2+json \
    application/vnd.docker.distribution.manifest.v1+prettyjws \
    application/octet-stream application/json text/plain text/html; charset=utf-8 multipart/byteranges";

/// Stands for a value that cannot be kept; it is no text, so nothing can be read of it.
const UNREADABLE: &[u8] = b"\xff";

impl Call {
    /// Redacts the secrets of the request in the headers of its answer.
    ///
    /// The query of an address stays: it is not shown anywhere, and the state of an upload is often the
    /// same in each address of it. An address with a credential before its query cannot be used without
    /// showing it, so it is not kept. Links lose credentials only.
    pub(super) fn redact_headers(&self, headers: &mut HeaderMap) {
        let uri = self.request.uri();
        let tells = |(name, value): (&HeaderName, &HeaderValue)| {
            !is_address(name) && !is_number(name, value) && !self.names(value)
        };
        // Most answers have no header that could hold a secret: a new address, a length, the digest that
        // was asked for.
        let query = uri.query().filter(|_| headers.iter().any(tells));
        let is_safe = if self.has_credentials() {
            headers.iter().all(|(name, value)| is_number(name, value))
        } else {
            query.is_none()
        };
        if is_safe {
            return;
        }
        let mut redactor = Redactor::default();
        redactor.allow(VOCABULARY);
        redactor.allow(uri.path());
        redactor.allow(uri.authority().map_or("", |it| it.as_str()));
        self.add_credentials(&mut redactor);
        let mut locations = headers.get_all(header::LOCATION).iter();
        if locations.any(|value| redactor.contains(before_query(value.as_bytes()))) {
            headers.remove(header::LOCATION);
        }
        for is_link in [true, false] {
            for (name, value) in headers.iter_mut() {
                let is_kept = name == header::LOCATION || is_number(name, value);
                if !is_kept && (name == header::LINK) == is_link {
                    let redacted = HeaderValue::from_bytes(&redactor.redact(value.as_bytes()));
                    *value = redacted.unwrap_or_else(|_| unreadable());
                }
            }
            redactor.add_query(query.unwrap_or_default());
        }
    }

    /// Redacts the secrets of the request in the body of its answer, if that is an error.
    pub(super) fn redact_body(&self, exchanged: &mut Exchanged) {
        let is_error = exchanged.status.is_some_and(|it| !it.is_success());
        if let Received::Collected { bytes, cut } = &mut exchanged.body
            && is_error
            && !bytes.is_empty()
        {
            let mut redactor = Redactor::default();
            self.add_credentials(&mut redactor);
            redactor.add_query(self.request.uri().query().unwrap_or_default());
            *bytes = if *cut || exchanged.interrupted.is_some() {
                redactor.redact_truncated(bytes)
            } else {
                redactor.redact(bytes)
            };
        }
    }

    /// Whether a value is a digest that the request names, too.
    fn names(&self, value: &HeaderValue) -> bool {
        let digest = value.to_str().ok().and_then(|it| it.parse::<Digest>().ok());
        let Some(digest) = digest else {
            return false;
        };
        let uri = self.request.uri();
        let parameters = uri.query().unwrap_or_default().split('&');
        let mut named = parameters.filter_map(|it| it.strip_prefix("digest="));
        uri.path().ends_with(digest.as_str()) || named.any(|it| it.ends_with(digest.encoded()))
    }

    /// Whether the request carries credentials, beside those in its address.
    fn has_credentials(&self) -> bool {
        let is_authorized = self.request.headers().contains_key(header::AUTHORIZATION);
        let has_form = matches!(self.request.body(), Payload::Bytes(_));
        is_authorized || has_form || self.proxy_login.is_some()
    }

    /// Adds the credentials that the request carries.
    pub(crate) fn add_credentials(&self, redactor: &mut Redactor) {
        let headers = self.request.headers();
        let presented = headers.get(header::AUTHORIZATION);
        let presented = presented.and_then(|value| value.to_str().ok()?.split_once(' '));
        if let Some((scheme, secret)) = presented {
            redactor.add(secret);
            let pair = STANDARD.decode(secret).unwrap_or_default();
            if let Some((_, password)) = String::from_utf8_lossy(&pair).split_once(':')
                && scheme.eq_ignore_ascii_case("basic")
            {
                redactor.add(password);
            }
        }
        let form = headers.get(header::CONTENT_TYPE);
        if let Payload::Bytes(bytes) = self.request.body()
            && form.is_some_and(|it| it == "application/x-www-form-urlencoded")
        {
            redactor.add_query(&String::from_utf8_lossy(bytes));
        }
        if let Some(login) = &self.proxy_login {
            let login = login.expose().as_bytes();
            let login = decoded(login).unwrap_or_else(|| login.to_vec());
            redactor.add(&STANDARD.encode(&login));
            let login = String::from_utf8_lossy(&login);
            redactor.add(login.split_once(':').map_or(&*login, |(_, it)| it));
        }
    }
}

/// Whether a header is an address, whose query stays.
fn is_address(name: &HeaderName) -> bool {
    name == header::LINK || name == header::LOCATION
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

fn before_query(address: &[u8]) -> &[u8] {
    let end = address.iter().position(|byte| *byte == b'?');
    &address[..end.unwrap_or(address.len())]
}

fn unreadable() -> HeaderValue {
    HeaderValue::from_bytes(UNREADABLE).expect("bytes beyond ASCII are allowed in headers")
}
