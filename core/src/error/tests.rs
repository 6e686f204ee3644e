use std::collections::BTreeSet;
use std::string::ToString as _;
use std::vec;

use super::*;
use crate::digest::Algorithm;

fn line() -> RequestLine {
    RequestLine::ping()
}

/// The error of each kind of connection failure. A new kind does not compile until it is listed
/// here.
fn transport(kind: TransportErrorKind) -> (Error, ErrorKind) {
    let expected = match kind {
        TransportErrorKind::ProxyAuth => ErrorKind::Auth,
        TransportErrorKind::Resolve
        | TransportErrorKind::Connect
        | TransportErrorKind::Descriptors
        | TransportErrorKind::Reset
        | TransportErrorKind::Idle
        | TransportErrorKind::Answer
        | TransportErrorKind::Other => ErrorKind::Temporary,
        TransportErrorKind::Tls | TransportErrorKind::Forbidden | TransportErrorKind::Protocol => {
            ErrorKind::Refused
        }
    };
    let request = line();
    let error = TransportError::new(kind, "x");
    (Error::Transport { request, error }, expected)
}

/// The error of each kind of store failure, likewise.
fn store(kind: StoreErrorKind) -> (Error, ErrorKind) {
    let expected = match kind {
        StoreErrorKind::NoSuchName => ErrorKind::NotFound,
        StoreErrorKind::Damaged => ErrorKind::Mismatch,
        StoreErrorKind::Ambiguous
        | StoreErrorKind::Absent
        | StoreErrorKind::Full
        | StoreErrorKind::Denied
        | StoreErrorKind::NotALayout
        | StoreErrorKind::TooLarge
        | StoreErrorKind::Unsupported
        | StoreErrorKind::Io => ErrorKind::Refused,
        StoreErrorKind::Locked | StoreErrorKind::Descriptors => ErrorKind::Temporary,
    };
    (Error::Store(StoreError::new(kind, "x")), expected)
}

/// One error of each other variant.
fn others() -> [(Error, ErrorKind); 14] {
    let (request, errors, hint) = (line(), RegistryErrors::default(), None::<String>);
    let refusal = Refusal {
        request: request.clone(),
        status: 400,
        errors: errors.clone(),
        hint: hint.clone(),
    };
    let auth = AuthError {
        request: request.clone(),
        status: 401,
        presented: "no credentials".into(),
        errors: errors.clone(),
        hint: hint.clone(),
    };
    let missing = NotFound {
        what: "x".into(),
        request: None,
        status: None,
        errors,
        hint,
    };
    let mismatch = Error::mismatch("x", Measure::of_size(1), Measure::of_size(2));
    let exhausted = Error::Exhausted {
        attempts: 5,
        retry_after: None,
        last: Box::new(Error::Registry(Box::new(refusal.clone()))),
    };
    let blocked = RouteError::Blocked {
        image: "x".into(),
        rule: "y".into(),
    };
    let outdated = Error::Outdated {
        place: "x".into(),
        expected: Digest::of(Algorithm::Sha256, b""),
        found: None,
    };
    let endpoints = Error::Endpoints {
        told: Box::new(Error::NotFound(missing.clone())),
        others: vec![Error::Deadline],
    };
    [
        (Error::Route(Box::new(blocked)), ErrorKind::Refused),
        (endpoints, ErrorKind::NotFound),
        (Error::Registry(Box::new(refusal)), ErrorKind::Refused),
        (Error::NotFound(missing), ErrorKind::NotFound),
        (
            Error::Peer {
                request,
                what: "x".into(),
            },
            ErrorKind::Refused,
        ),
        (mismatch, ErrorKind::Mismatch),
        (Error::Auth(Box::new(auth)), ErrorKind::Auth),
        (Error::Policy { what: "x".into() }, ErrorKind::Refused),
        (outdated, ErrorKind::Temporary),
        (Error::Driver { what: "x".into() }, ErrorKind::Temporary),
        (exhausted, ErrorKind::Temporary),
        (Error::Deadline, ErrorKind::Temporary),
        (Error::Cancelled, ErrorKind::Cancelled),
        (Error::internal("x"), ErrorKind::Internal),
    ]
}

/// Exit codes follow from this total function.
#[test]
fn every_variant_has_its_kind() {
    let transports = [
        TransportErrorKind::Resolve,
        TransportErrorKind::Connect,
        TransportErrorKind::Descriptors,
        TransportErrorKind::Tls,
        TransportErrorKind::Forbidden,
        TransportErrorKind::ProxyAuth,
        TransportErrorKind::Reset,
        TransportErrorKind::Idle,
        TransportErrorKind::Answer,
        TransportErrorKind::Protocol,
        TransportErrorKind::Other,
    ];
    let stores = [
        StoreErrorKind::NoSuchName,
        StoreErrorKind::Ambiguous,
        StoreErrorKind::Absent,
        StoreErrorKind::Damaged,
        StoreErrorKind::Full,
        StoreErrorKind::Denied,
        StoreErrorKind::NotALayout,
        StoreErrorKind::TooLarge,
        StoreErrorKind::Unsupported,
        StoreErrorKind::Locked,
        StoreErrorKind::Descriptors,
        StoreErrorKind::Io,
    ];
    // A new variant does not compile until it has a number, and fails until it is in a list.
    let number = |error: &Error| match error {
        Error::Registry(_) => 0,
        Error::NotFound(_) => 1,
        Error::Peer { .. } => 2,
        Error::Mismatch(_) => 3,
        Error::Auth(_) => 4,
        Error::Transport { .. } => 5,
        Error::Store(_) => 6,
        Error::Policy { .. } => 7,
        Error::Exhausted { .. } => 8,
        Error::Deadline => 9,
        Error::Cancelled => 10,
        Error::Internal { .. } => 11,
        Error::Driver { .. } => 12,
        Error::Route(_) => 13,
        Error::Endpoints { .. } => 14,
        Error::Outdated { .. } => 15,
    };
    let transports = transports.into_iter().map(transport);
    let stores = stores.into_iter().map(store);
    let mut seen = BTreeSet::new();
    for (error, kind) in others().into_iter().chain(transports).chain(stores) {
        assert_eq!(error.kind(), kind, "{error:?}");
        seen.insert(number(&error));
    }
    assert!(seen.into_iter().eq(0..=15));
}

/// The server's message is separate from the text of windlass.
#[test]
fn a_servers_words_stand_in_brackets() {
    let shown = |entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(code, message)| RegistryError {
            code: (*code).into(),
            message: (*message).into(),
            digests: vec![],
            detail: None,
        });
        let missing = NotFound {
            what: "manifest".into(),
            request: None,
            status: None,
            errors: RegistryErrors {
                entries: entries.collect(),
                request_id: None,
            },
            hint: None,
        };
        missing.to_string()
    };
    let table: [(&[(&str, &str)], &str); 6] = [
        (&[], "manifest: not found"),
        (&[("", "")], "manifest: not found"),
        (&[("A", "b")], "manifest: not found (A: b)"),
        (&[("A", "")], "manifest: not found (A)"),
        (&[("A", "b"), ("", "c")], "manifest: not found (A: b; c)"),
        (
            &[("A", ""), ("B", ""), ("C", ""), ("D", ""), ("E", "")],
            "manifest: not found (A; B; C and 2 more)",
        ),
    ];
    for (entries, expected) in table {
        assert_eq!(shown(entries), expected);
    }
}

/// Programs can compare what people read.
#[test]
fn a_mismatch_has_digests_and_sizes() {
    let digest = Digest::of(Algorithm::Sha256, b"");
    let error = Error::mismatch("x", &digest, Measure::of(&digest, 7).adding(" of gzip"));
    assert_eq!(
        error.to_string(),
        alloc::format!("x: expected {digest}, got {digest} (7 bytes) of gzip")
    );
    let Error::Mismatch(mismatch) = &error else {
        panic!("{error}")
    };
    let (expected, found) = (&mismatch.expected, &mismatch.found);
    assert_eq!((expected.digest(), expected.size()), (Some(&digest), None));
    assert_eq!((found.digest(), found.size()), (Some(&digest), Some(7)));
}

/// What programs ask of an error is that of the innermost one, however often and wherever it was tried.
#[test]
fn errors_within_errors_are_asked() {
    let refusal = Refusal {
        request: line(),
        status: 503,
        errors: RegistryErrors::default(),
        hint: None,
    };
    let tried = Error::Exhausted {
        attempts: 5,
        retry_after: None,
        last: Box::new(Error::Registry(refusal.into())),
    };
    let several = |told| Error::Endpoints {
        told: Box::new(told),
        others: vec![Error::Deadline],
    };
    let error = several(tried);
    assert_eq!(error.request(), Some(&line()));
    assert_eq!((error.status(), error.attempts()), (Some(503), Some(5)));
    assert!(error.registry_errors().is_some() && error.as_mismatch().is_none());
    let digest = Digest::of(Algorithm::Sha256, b"");
    let error = several(Error::mismatch("x", &digest, Measure::of(&digest, 7)));
    let mismatch = error.as_mismatch().expect("a mismatch");
    assert_eq!(mismatch.found.size(), Some(7));
    assert_eq!((error.status(), error.attempts()), (None, None));
    assert_eq!(error.request(), None);
}

/// Programs that print the chain of sources print nothing twice.
#[test]
fn the_text_of_an_error_says_what_is_within_and_there_is_no_source() {
    let errors = others().map(|(error, _)| error).into_iter();
    for error in errors.chain([store(StoreErrorKind::Full).0]) {
        let failure = crate::Failure::new(vec![error.clone()]);
        assert_eq!(failure.to_string(), error.to_string());
        assert!(core::error::Error::source(&error).is_none(), "{error}");
        assert!(core::error::Error::source(&failure).is_none(), "{error}");
    }
}

/// The text is what people see, the accessors what programs use; neither has what the query says.
#[test]
fn a_request_line_has_parts() {
    let (put, hub) = (http::Method::PUT, crate::Registry::docker_hub());
    let line = |url: &str| {
        let url = crate::uri::Url::parse(url).expect("a URL");
        RequestLine::new(&hub, &put, &url)
    };
    let plain = line("http://Mirror.example:5000/v2/a/blobs/uploads/");
    assert_eq!(plain.method(), "PUT");
    assert_eq!(plain.registry().as_str(), "docker.io");
    assert_eq!(plain.origin().to_string(), "http://mirror.example:5000");
    assert_eq!(plain.path(), "/v2/a/blobs/uploads/");
    assert!(!plain.has_query());
    let error = Error::Peer {
        request: line("https://r.example/v2/u?_state=secret"),
        what: "answered 200".into(),
    };
    let error = error.about("blob x").about("a mount");
    assert_eq!(
        error.to_string(),
        "PUT https://r.example/v2/u?*** (blob x) (a mount): answered 200"
    );
    let Error::Peer { request, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((request.path(), request.has_query()), ("/v2/u", true));
    assert!(request.about().eq(["blob x", "a mount"]));
    assert!(!alloc::format!("{error:?}").contains("secret"), "{error:?}");
    assert_eq!(
        line("https://r.example").to_string(),
        "PUT https://r.example/"
    );
}
