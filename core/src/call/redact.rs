//! Redacts a request's own secrets in the response that echoes them.
//!
//! Registries and proxies that are being debugged put headers and forms into their answers, and answers
//! are shown, logged and pasted into bug reports. Responsible for every header that is kept of an answer,
//! and for its error body, before anything reads them. Must not know the secrets of other requests.

use alloc::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};

use super::{Call, Exchanged, Payload, Received};
use crate::error_body;
use crate::header::is_number;
use crate::redact::{Redactor, VOCABULARY, decoded};

impl Call {
    /// Redacts the secrets of the request in the headers of its answer.
    ///
    /// The query of an address stays: it is not shown anywhere, and the state of an upload is often the
    /// same in each address of it. An address with a credential before its query cannot be used without
    /// showing it, so it is not kept. Links lose credentials only.
    pub(super) fn redact_headers(&self, headers: &mut HeaderMap) {
        let uri = self.request.uri();
        let query = uri.query().unwrap_or_default();
        let has_secrets = self.has_credentials() || !query.is_empty();
        if !has_secrets || headers.iter().all(|(name, value)| is_number(name, value)) {
            return;
        }
        let mut redactor = Redactor::default();
        redactor.allow(VOCABULARY);
        redactor.allow(uri.path());
        redactor.allow(uri.authority().map_or("", |it| it.as_str()));
        self.add_credentials(&mut redactor);
        let tells = |value: &HeaderValue| {
            let mut parts = value.as_bytes().split(|byte| *byte == b'?');
            redactor.contains(parts.next().unwrap_or_default())
        };
        let mut locations = headers.get_all(header::LOCATION).iter();
        if locations.any(tells) {
            headers.remove(header::LOCATION);
        }
        for is_link in [true, false] {
            for (name, value) in headers.iter_mut() {
                let is_kept = name == header::LOCATION || is_number(name, value);
                if !is_kept && (name == header::LINK) == is_link {
                    let redacted = redactor.redact(value.as_bytes());
                    *value = HeaderValue::from_bytes(&redacted.unwrap_or_default())
                        .expect("only bytes were left out, and stars added");
                }
            }
            redactor.add_query(query);
        }
    }

    /// Redacts the secrets of the request in the body of its answer, if that is an error. If one is there
    /// in escapes, the codes are left. The end of a body that was cut may be the beginning of a secret.
    pub(super) fn redact_body(&self, exchanged: &mut Exchanged) {
        let is_error = exchanged.status.is_some_and(|it| !it.is_success());
        if let Received::Collected { bytes, cut } = &mut exchanged.body
            && is_error
            && !bytes.is_empty()
        {
            let mut redactor = Redactor::default();
            self.add_credentials(&mut redactor);
            redactor.add_query(self.request.uri().query().unwrap_or_default());
            let redacted = redactor.redact(bytes);
            *bytes = redacted.unwrap_or_else(|| error_body::codes(bytes));
            if *cut || exchanged.interrupted.is_some() {
                let end = redactor.longest() * br"\u0000".len();
                bytes.truncate(bytes.len().saturating_sub(end));
            }
        }
    }

    /// Whether the request carries credentials, beside those in its address.
    fn has_credentials(&self) -> bool {
        let headers = self.request.headers();
        let is_authorized = headers.contains_key(header::AUTHORIZATION)
            || headers.values().any(HeaderValue::is_sensitive);
        let has_form = matches!(self.request.body(), Payload::Bytes(_));
        is_authorized || has_form || self.proxy_login.is_some()
    }

    /// Adds the credentials that the request carries.
    pub(crate) fn add_credentials(&self, redactor: &mut Redactor) {
        let headers = self.request.headers();
        // Those of the endpoint's configuration.
        for value in headers.values().filter(|it| it.is_sensitive()) {
            redactor.add(value.to_str().unwrap_or_default());
        }
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
