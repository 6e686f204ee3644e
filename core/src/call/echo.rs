//! Secrets of a request that its own answer repeats.
//!
//! Registries and proxies that are being debugged put headers and forms into their answers, and answers
//! are shown, logged and pasted into bug reports. Responsible for taking the secrets of a request out of
//! every header that is kept of its answer, and out of its error body, before anything reads them. Must
//! not know the secrets of other requests.

use alloc::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Exchanged, Payload, Received};
use crate::credential::Secret;
use crate::digest::Digest;
use crate::header::{ContentRange, http_date, unsatisfied_total};
use crate::secrets::{Secrets, unquoted};

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

/// What was sent.
pub(super) struct Sent<'a> {
    request: &'a http::Request<Payload>,
    /// `user:password` for a proxy, percent-encoded.
    proxy_login: Option<&'a Secret>,
}

impl<'a> Sent<'a> {
    pub(super) const fn new(
        request: &'a http::Request<Payload>,
        proxy_login: Option<&'a Secret>,
    ) -> Self {
        Self {
            request,
            proxy_login,
        }
    }

    /// Replaces the secrets of what was sent in the headers of its answer.
    ///
    /// The query of an address stays: it is not shown anywhere, and the state of an upload is often the same
    /// in each address of it. An address with a credential before its query cannot be used without showing
    /// it, so it is not kept. Links lose credentials only.
    pub(super) fn clean_headers(&self, headers: &mut HeaderMap) {
        let tells = |(name, value): (&HeaderName, &HeaderValue)| {
            !is_address(name) && !is_number(name, value) && !self.names(value)
        };
        // Most answers tell nothing in which a secret could be: a new address, a length, the digest asked for.
        let query = self.request.uri().query();
        let query = query.filter(|_| headers.iter().any(tells));
        let is_safe = if self.has_credentials() {
            headers.iter().all(|(name, value)| is_number(name, value))
        } else {
            query.is_none()
        };
        if is_safe {
            return;
        }
        let mut secrets = Secrets::default();
        secrets.publish(VOCABULARY);
        if let Some(authority) = self.request.uri().authority() {
            secrets.publish(authority.as_str());
        }
        secrets.publish(self.request.uri().path());
        self.learn_credentials(&mut secrets);
        let mut locations = headers.get_all(header::LOCATION).iter();
        if locations.any(|value| secrets.is_in(before_query(value.as_bytes()))) {
            headers.remove(header::LOCATION);
        }
        for (name, value) in headers.iter_mut() {
            if name == header::LINK {
                *value = cleaned(&secrets, value);
            }
        }
        if let Some(query) = query {
            secrets.learn_query(query);
        }
        for (name, value) in headers.iter_mut() {
            if !is_address(name) && !is_number(name, value) {
                *value = cleaned(&secrets, value);
            }
        }
    }

    /// Replaces the secrets of what was sent in the body of its answer, if that is an error.
    pub(super) fn clean_body(&self, exchanged: &mut Exchanged) {
        let is_error = exchanged.status.is_some_and(|it| !it.is_success());
        let (body, cut) = match &mut exchanged.body {
            Received::Collected { bytes, cut } if is_error && !bytes.is_empty() => (bytes, *cut),
            Received::Collected { .. } | Received::Nothing | Received::Stored { .. } => return,
        };
        let mut secrets = Secrets::default();
        self.learn_credentials(&mut secrets);
        if let Some(query) = self.request.uri().query() {
            secrets.learn_query(query);
        }
        // A body that broke off may have done so within a secret.
        *body = if cut || exchanged.interrupted.is_some() {
            secrets.clean_cut(body)
        } else {
            secrets.clean(body)
        };
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

    /// Whether the request carried any, beside those in its address.
    fn has_credentials(&self) -> bool {
        let is_authorized = self.request.headers().contains_key(header::AUTHORIZATION);
        let has_form = matches!(self.request.body(), Payload::Bytes(_));
        is_authorized || has_form || self.proxy_login.is_some()
    }

    fn learn_credentials(&self, secrets: &mut Secrets) {
        let request = self.request;
        let presented = request.headers().get(header::AUTHORIZATION);
        let presented = presented.and_then(|value| value.to_str().ok());
        if let Some((scheme, secret)) = presented.and_then(|value| value.split_once(' ')) {
            secrets.learn(secret);
            if scheme.eq_ignore_ascii_case("basic")
                && let Ok(pair) = STANDARD.decode(secret)
                && let Some((_, password)) = String::from_utf8_lossy(&pair).split_once(':')
            {
                secrets.learn(password);
            }
        }
        let form = request.headers().get(header::CONTENT_TYPE);
        let is_form = form.is_some_and(|it| it == "application/x-www-form-urlencoded");
        if let Payload::Bytes(bytes) = request.body()
            && is_form
        {
            secrets.learn_query(&String::from_utf8_lossy(bytes));
        }
        if let Some(login) = self.proxy_login {
            let login = unquoted(login.expose().as_bytes())
                .unwrap_or_else(|| login.expose().as_bytes().to_vec());
            secrets.learn(&STANDARD.encode(&login));
            let login = String::from_utf8_lossy(&login);
            secrets.learn(
                login
                    .split_once(':')
                    .map_or(&*login, |(_, password)| password),
            );
        }
    }
}

/// Whether a header is an address, whose query stays.
fn is_address(name: &HeaderName) -> bool {
    name == header::LINK || name == header::LOCATION
}

/// Whether a value has the form of the number, range or date that its header is for. A digit in it may
/// be one of a password, but cannot be replaced: transfers depend on it.
fn is_number(name: &HeaderName, value: &HeaderValue) -> bool {
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

fn cleaned(secrets: &Secrets, value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(&secrets.clean(value.as_bytes())).unwrap_or_else(|_| unreadable())
}

fn unreadable() -> HeaderValue {
    HeaderValue::from_bytes(UNREADABLE).expect("bytes beyond ASCII are allowed in headers")
}
