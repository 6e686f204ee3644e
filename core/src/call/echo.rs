//! What a server says again of what it was sent.
//!
//! Registries and proxies that somebody is debugging put headers and forms into their errors, and errors
//! are shown, logged and pasted into bug reports. Responsible for taking the secrets of a request out of
//! its own answer, before anybody reads it. Must not know the secrets of other requests.

use alloc::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};

use super::{Exchanged, Payload, Received};
use crate::secrets::Secrets;

/// Replaces them in what people are shown: the body of an error, and warnings.
pub(super) fn hide(request: &http::Request<Payload>, exchanged: &mut Exchanged) {
    let is_error = exchanged.status.is_some_and(|it| !it.is_success());
    let body = match &mut exchanged.body {
        Received::Collected { bytes, cut } if is_error && !bytes.is_empty() => Some((bytes, *cut)),
        Received::Collected { .. } | Received::Nothing | Received::Stored { .. } => None,
    };
    if body.is_none() && !exchanged.headers.contains_key(header::WARNING) {
        return;
    }
    let mut secrets = Secrets::default();
    learn(request, &mut secrets);
    if let Some((body, cut)) = body {
        // What broke off may have done so within a secret.
        *body = if cut || exchanged.interrupted.is_some() {
            secrets.clean_cut(body)
        } else {
            secrets.clean(body)
        };
    }
    if let header::Entry::Occupied(mut warnings) = exchanged.headers.entry(header::WARNING) {
        for warning in warnings.iter_mut() {
            // Placeholders are legal in headers.
            if let Ok(cleaned) = HeaderValue::from_bytes(&secrets.clean(warning.as_bytes())) {
                *warning = cleaned;
            }
        }
    }
}

fn learn(request: &http::Request<Payload>, secrets: &mut Secrets) {
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
    if let Some(query) = request.uri().query() {
        secrets.learn_query(query);
    }
    let form = request.headers().get(header::CONTENT_TYPE);
    let is_form = form.is_some_and(|it| it == "application/x-www-form-urlencoded");
    if let Payload::Bytes(bytes) = request.body()
        && is_form
    {
        secrets.learn_query(&String::from_utf8_lossy(bytes));
    }
}
