//! Hints that name an option of this command. The core's own hints know no options.
//!
//! Responsible for recognising the errors that newcomers meet first, by their text where they have
//! no kind. Must not know how an error is printed.

use windlass_core::call::{TransportError, TransportErrorKind};
use windlass_core::error::{AuthError, Refusal, RequestLine};
use windlass_core::{Error, Failure, Registry, Scheme, StoreErrorKind};

/// How rustls prints the one certificate error that it has no words for.
const AUTHORITY: &str = "Other(OtherError(CaUsedAsEndEntity))";

/// The error's text, with rustls' debug output replaced by words.
pub(crate) fn in_words(error: &Error) -> String {
    let said = error.to_string();
    said.replace(AUTHORITY, "it is the certificate of an authority")
}

/// The option that may solve `error`.
pub(crate) fn of(error: &Error) -> Option<String> {
    let error = error.innermost();
    if let Error::Transport { request, error } = error {
        if error.kind == TransportErrorKind::ProxyAuth {
            let why = "credentials for a proxy belong in its variable: \
                http://user:password@host:port";
            return Some(why.to_owned());
        }
        return tls(request, error);
    }
    if let Error::Store(error) = error
        && error.kind() == StoreErrorKind::Ambiguous
        && error.detail().contains("for each of several platforms")
    {
        return Some("select one with --platform OS/ARCH".to_owned());
    }
    if let Error::Registry(refusal) = error {
        return plain(refusal);
    }
    None
}

/// A hint for a failed copy between two registries.
pub(crate) fn between(
    from: &Registry,
    to: &Registry,
    failure: &Failure,
    is_given: bool,
) -> Option<String> {
    let first = failure.first();
    if let Error::Auth(error) = first
        && is_given
        && had_nothing_for(from, error)
    {
        return Some(format!(
            "--username applies to {to}; for {from} use --src-username, or run `windlass login {from}`"
        ));
    }
    let is_folder = matches!(first, Error::Store(_));
    is_folder.then(|| {
        "between repositories some blobs pass through a temporary folder; set TMPDIR to move it"
            .to_owned()
    })
}

/// Whether the request was refused although it carried credentials, judged by the core's text.
pub(crate) fn shows_credentials(error: &AuthError) -> bool {
    let words = [
        "credentials of `",
        "token of `",
        "identity token",
        "configured token",
    ];
    words.iter().any(|word| error.presented.contains(word))
}

/// Whether the request was refused for lack of credentials for `registry`, judged by the core's
/// text.
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
        // The peer answered, but not in TLS.
        let host = Registry::at(request.origin());
        return Some(format!(
            "{host} does not seem to speak TLS; if plain HTTP is acceptable, use --plain-http={host}"
        ));
    }
    if has("UnknownIssuer") {
        return Some(
            "if the certificate is from a private authority, add it with --ca-cert FILE".to_owned(),
        );
    }
    has("CaUsedAsEndEntity").then(|| {
        "the server must use a certificate issued by the authority, not the authority's own"
            .to_owned()
    })
}

fn plain(refusal: &Refusal) -> Option<String> {
    /// What Go's HTTPS server answers to plain HTTP.
    const WORDS: &str = "HTTP request to an HTTPS server";
    let says = |text: &str| {
        refusal
            .errors
            .entries
            .iter()
            .any(|it| it.message.contains(text))
    };
    // A response to HEAD has no body.
    let request = &refusal.request;
    let is_wordless = request.method() == "HEAD"
        && request.origin().scheme() == Scheme::Http
        && refusal.errors.entries.is_empty();
    if refusal.status != 400 || !(says(WORDS) || is_wordless) {
        return None;
    }
    let host = Registry::at(refusal.request.origin());
    Some(format!("{host} seems to speak TLS; use --tls={host}"))
}
