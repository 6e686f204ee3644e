//! Answers that try to make a client hold much.
//!
//! Responsible for being large within what HTTP libraries let through, in headers, bodies, parts and
//! names that change all the time. Must not know what a client may hold (`memory`).

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use windlass_core::config::Limits;
use windlass_testbed::{Answer, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Request};

use super::choose::Choose;
use super::listed;
use super::mangle::token_service;
use super::plan::Access;

/// The limits of a session in a world: low, so that little is needed to reach them.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.document = 32 << 10;
    limits.documents = 96 << 10;
    limits.objects = 120;
    limits.transfers = 2;
    limits.error_body = 8 << 10;
    limits.token_body = 4 << 10;
    limits
}

/// A number that no other answer has, for names that must differ.
fn serial(choose: &mut dyn Choose) -> u64 {
    choose.below(1 << 32)
}

/// The answer as it was, among useless headers.
pub(crate) fn noisy(choose: &mut dyn Choose, mut answer: Answer) -> Answer {
    let salt = serial(choose);
    let some = [20, 200][usize::from(choose.below(4) == 3)];
    for n in 0..some {
        let name = HeaderName::from_bytes(format!("x-noise-{n}").as_bytes()).expect("a name");
        let value = format!("{salt} {}", "noise ".repeat(20));
        let value = HeaderValue::from_str(&value).expect("a value");
        answer.headers.append(name, value);
    }
    for n in 0..choose.below(20) {
        let text = format!("299 - \"warning {n} of {salt}: {}\"", "long ".repeat(100));
        let value = HeaderValue::from_str(&text).expect("a value");
        answer.headers.append(header::WARNING, value);
    }
    answer
}

/// A body that is longer than every limit.
pub(crate) fn bloated(choose: &mut dyn Choose, request: &Request) -> Answer {
    let reads = request.method == Method::GET;
    let status = match choose.below(5) {
        0 if reads => StatusCode::OK,
        // That a list of referrers is absent is believed: the next one is written in its place.
        0 | 1 if listed::is_list(request) => StatusCode::BAD_GATEWAY,
        0 | 1 => StatusCode::NOT_FOUND,
        2 => StatusCode::INTERNAL_SERVER_ERROR,
        3 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    };
    let len = [40_000, 150_000][usize::from(choose.below(4) == 3)];
    let mut body: Vec<u8> = match choose.below(4) {
        0 => b"[".to_vec(),
        1 => br#"{"schemaVersion":2,"annotations":{"a":""#.to_vec(),
        2 => br#"{"errors":[{"code":"X","message":""#.to_vec(),
        _ => br#"{"token":""#.to_vec(),
    };
    body.resize(len, b'x');
    let answer = Answer::new(status);
    let answer = match choose.below(3) {
        0 => answer.header("content-length", len.to_string()),
        1 => answer.header("content-type", OCI_MANIFEST),
        _ => answer,
    };
    if request.method == Method::HEAD {
        answer
    } else {
        answer.body(body)
    }
}

/// A document with about as many parts as a session takes.
pub(crate) fn endless(choose: &mut dyn Choose) -> Answer {
    let salt = serial(choose);
    let parts = limits().objects - 2 + usize::try_from(choose.below(4)).expect("it is small");
    let part = |media_type: &str, n: usize| {
        let digest = windlass_testbed::Digest::sha256(format!("{salt} {n}").as_bytes());
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#,
            n + 1
        )
    };
    let list = |media_type: &str| {
        let parts: Vec<String> = (0..parts).map(|n| part(media_type, n)).collect();
        parts.join(",")
    };
    let (media_type, body) = if choose.below(2) == 0 {
        let config = part(OCI_CONFIG, parts);
        (
            OCI_MANIFEST,
            format!(r#""config":{config},"layers":[{}]"#, list(OCI_LAYER)),
        )
    } else {
        (
            OCI_INDEX,
            format!(r#""manifests":[{}]"#, list(OCI_MANIFEST)),
        )
    };
    let body = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}",{body}}}"#);
    Answer::new(StatusCode::OK)
        .header("content-type", media_type)
        .body(body.into_bytes())
}

/// Another realm each time, as long as they may be or longer, and scopes nobody asked for.
pub(crate) fn new_realm(choose: &mut dyn Choose, owner: usize, access: Access) -> Answer {
    let salt = serial(choose);
    let pad = "x".repeat([10, 1900, 5000][usize::try_from(choose.below(3)).expect("small")]);
    let realm = format!("{}?n={salt}&pad={pad}", token_service(owner, access));
    let scopes: Vec<String> = (0..choose.below(60))
        .map(|n| format!("repository:made-up/{salt}/{n}:pull"))
        .collect();
    let error = ["", ",error=\"insufficient_scope\""][usize::from(choose.below(2) == 1)];
    let challenge = format!(
        "Bearer realm=\"{realm}\",service=\"testbed\",scope=\"{}\"{error}",
        scopes.join(" ")
    );
    Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who is asking?")
        .header("www-authenticate", challenge)
}
