//! What the options of this command could do about an error. The core's own hints know of none.
//!
//! Responsible for recognising, by their words where there is nothing else, the errors that newcomers
//! meet first. Must not know how an error is printed.

use windlass_core::call::{TransportError, TransportErrorKind};
use windlass_core::error::{AuthError, Refusal, RequestLine};
use windlass_core::{Error, Failure, Registry, StoreErrorKind};

/// How rustls shows a certificate that is none for a server. Its other reasons are words.
const AUTHORITY: &str = "Other(OtherError(CaUsedAsEndEntity))";

/// The error, with what only programmers can read put into words.
pub(crate) fn in_words(error: &Error) -> String {
    let said = error.to_string();
    said.replace(AUTHORITY, "it is that of a certificate authority")
}

/// What an option could do about it.
pub(crate) fn of(error: &Error) -> Option<String> {
    if let Error::Exhausted { last, .. } = error {
        return of(last);
    }
    if let Error::Transport { request, error } = error {
        if error.kind == TransportErrorKind::ProxyAuth {
            let why = "credentials for a proxy belong in the variable that names it: \
                http://user:password@host:port";
            return Some(why.to_owned());
        }
        return tls(request, error);
    }
    if let Error::Store(error) = error
        && error.kind() == StoreErrorKind::Ambiguous
        && error.detail().contains("for each of several platforms")
    {
        return Some("--platform OS/ARCH chooses one".to_owned());
    }
    if let Error::Registry(refusal) = error {
        return plain(refusal);
    }
    None
}

/// What can be said about the failure of a copy from one registry to another.
pub(crate) fn between(
    from: &Registry,
    to: &Registry,
    failure: &Failure,
    username: Option<&String>,
) -> Option<String> {
    let first = failure.first();
    if let Error::Auth(error) = first
        && username.is_some()
        && had_nothing_for(from, error)
    {
        return Some(format!(
            "--username is for {to}; credentials for {from} come from docker's config.json, as \
             `docker login {from}` leaves them"
        ));
    }
    let is_folder = matches!(first, Error::Store(_));
    is_folder.then(|| {
        "between registries blobs pass through a temporary folder; TMPDIR moves it to another place"
            .to_owned()
    })
}

/// Whether credentials were shown to whoever refused, in the core's words.
pub(crate) fn shows_credentials(error: &AuthError) -> bool {
    let words = [
        "credentials of `",
        "token of `",
        "identity token",
        "configured token",
    ];
    words.iter().any(|word| error.presented.contains(word))
}

/// Whether this registry refused because there are no credentials for it, in the core's words.
fn had_nothing_for(registry: &Registry, error: &AuthError) -> bool {
    let words = format!("there are no credentials for `{registry}`");
    error.hint.as_ref() == Some(&words)
}

fn tls(request: &RequestLine, error: &TransportError) -> Option<String> {
    if error.kind != TransportErrorKind::Tls {
        return None;
    }
    let has = |word: &str| error.detail.contains(word);
    if has("InvalidContentType") {
        // What stands at the other end answered, but not in TLS.
        let host = host(request)?;
        return Some(format!(
            "{host} does not seem to speak TLS; if it is to be trusted in plain HTTP, say \
             --plain-http={host}"
        ));
    }
    if has("UnknownIssuer") {
        return Some(
            "if the certificate is from an authority of your own, give that authority's with \
             --ca-cert FILE"
                .to_owned(),
        );
    }
    has("CaUsedAsEndEntity").then(|| {
        "a server needs a certificate that an authority has issued to it, not the authority's own"
            .to_owned()
    })
}

fn plain(refusal: &Refusal) -> Option<String> {
    /// What servers written in Go say, and few others are registries.
    const WORDS: &str = "HTTP request to an HTTPS server";
    let line = refusal.request.to_string();
    let says = |text: &str| {
        refusal
            .said
            .entries
            .iter()
            .any(|it| it.message.contains(text))
    };
    // The answer to a HEAD has no words.
    let is_wordless = line.starts_with("HEAD http://") && refusal.said.entries.is_empty();
    if refusal.status != 400 || !(says(WORDS) || is_wordless) {
        return None;
    }
    let host = host(&refusal.request)?;
    Some(format!("if {host} speaks TLS, say --tls={host}"))
}

/// `host[:port]`, as the options take it.
fn host(request: &RequestLine) -> Option<String> {
    let line = request.to_string();
    let (_, rest) = line.split_once("://")?;
    Some(rest.split('/').next()?.to_owned())
}
