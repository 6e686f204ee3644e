use alloc::string::{String, ToString as _};
use std::format;
use std::vec;

use super::*;
use crate::call::TransportError;
use crate::config::{Contact, Endpoint};
use crate::error::{Refusal, RequestLine};

fn site(host: &str, is_mirror: bool) -> Site {
    let origin = format!("https://{host}").parse().expect("an origin");
    let registry = host.parse().expect("a registry");
    let contact = Contact::new(registry, origin, "a/b".parse().expect("a repository"));
    Site::at(Contact {
        is_mirror,
        ..contact
    })
}

fn mirror(n: usize) -> Site {
    site(&format!("m{n}.example"), true)
}

fn seconds(n: u64) -> Time {
    Time::ZERO + Duration::from_secs(n)
}

#[test]
fn a_mirror_rests_for_a_while() {
    let mut resting = Resting::default();
    assert!(resting.add(&mirror(1), None, seconds(1)));
    assert!(!resting.add(&mirror(1), None, seconds(2)), "it did already");
    assert!(resting.has(&mirror(1), seconds(61)));
    assert!(!resting.has(&mirror(1), seconds(62)));
    assert!(!resting.has(&mirror(2), seconds(3)));
    let repository: Repository = "a/b".parse().expect("a repository");
    resting.add(&mirror(2), Some(repository), seconds(3));
    assert!(resting.has(&mirror(2), seconds(3)));
    let other: Repository = "a/c".parse().expect("a repository");
    resting.add(&mirror(3), Some(other), seconds(3));
    assert!(
        !resting.has(&mirror(3), seconds(3)),
        "only another of its repositories"
    );
    let itself = site("m1.example", false);
    assert!(
        !resting.has(&itself, seconds(3)),
        "it may be a registry, too"
    );
}

#[test]
fn few_rest_at_once() {
    let mut resting = Resting::default();
    for n in 0..RESTING + 5 {
        resting.add(&mirror(n), None, seconds(n as u64 / 100));
    }
    assert_eq!(resting.0.len(), RESTING);
    let now = seconds(RESTING as u64 / 100);
    assert!(resting.has(&mirror(RESTING + 4), now));
    let forgotten = (0..RESTING).filter(|n| !resting.has(&mirror(*n), now));
    assert_eq!(forgotten.count(), 5);
}

fn fallback(left: Vec<Site>) -> Fallback {
    Fallback {
        named: site("reg.example", false),
        scopes: Scopes::default(),
        left,
        errors: Vec::new(),
    }
}

/// Those that are put back are skipped; behind the registry itself they are not asked at all.
#[test]
fn which_endpoint_is_next() {
    let now = seconds(1);
    let mut resting = Resting::default();
    resting.add(&mirror(1), None, now);
    resting.add(&mirror(3), None, now);
    let names = |fallback: &mut Fallback| {
        let next = core::iter::from_fn(|| fallback.next(&resting, now));
        let names: Vec<String> = next.map(|site| site.registry.to_string()).collect();
        names.join(" ")
    };
    let mut all = fallback(vec![
        mirror(1),
        mirror(2),
        mirror(3),
        site("reg.example", false),
        mirror(4),
    ]);
    assert_eq!(names(&mut all), "m2.example reg.example m4.example");
    let mut mirrors = fallback(vec![mirror(1), mirror(2), mirror(3)]);
    assert_eq!(names(&mut mirrors), "m2.example m1.example m3.example");
}

fn refused(status: u16) -> Error {
    Error::Registry(
        Refusal {
            request: RequestLine::ping(),
            status,
            errors: RegistryErrors::default(),
            hint: None,
        }
        .into(),
    )
}

fn broken(kind: TransportErrorKind) -> Error {
    Error::Transport {
        request: RequestLine::ping(),
        error: TransportError::new(kind, "x"),
    }
}

fn exhausted(error: Error) -> Error {
    Error::Exhausted {
        attempts: 2,
        retry_after: None,
        last: error.into(),
    }
}

fn missing() -> Error {
    Error::NotFound(NotFound {
        what: "x".into(),
        request: None,
        status: None,
        errors: RegistryErrors::default(),
        hint: None,
    })
}

#[test]
fn what_is_told_of_several_errors() {
    let verdict = |errors| {
        let mut all = Fallback {
            errors,
            ..fallback(vec![])
        };
        all.verdict().map(|error| error.to_string())
    };
    assert_eq!(verdict(vec![]), None);
    let only = verdict(vec![(true, missing())]);
    assert_eq!(only.as_deref(), Some("x: not found"));
    let own = verdict(vec![
        (false, missing()),
        (true, refused(500)),
        (false, refused(400)),
    ]);
    let get = "GET https://r.example/v2/";
    let expected = format!("{get}: 500; elsewhere: x: not found; {get}: 400");
    assert_eq!(own.as_deref(), Some(expected.as_str()));
    let none = verdict(vec![(false, refused(400)), (false, missing())]);
    let expected = format!("x: not found; elsewhere: {get}: 400");
    assert_eq!(none.as_deref(), Some(expected.as_str()));
}

/// A mirror that only lacks something is asked for the next thing; what a repository is refused says
/// nothing about others; a server that is not there has nothing.
#[test]
fn what_is_put_back() {
    use TransportErrorKind::{Connect, Reset, Tls};
    let store = crate::store::StoreError::new(crate::store::StoreErrorKind::Full, "x");
    for (error, expected) in [
        (missing(), "nothing"),
        (refused(400), "repository"),
        (exhausted(refused(500)), "repository"),
        (exhausted(refused(503)), "host"),
        (exhausted(refused(429)), "host"),
        (exhausted(broken(Connect)), "host"),
        (exhausted(broken(Reset)), "host"),
        (broken(Tls), "host"),
    ] {
        let found = match scope_of_rest(&error, &mirror(1)) {
            None => "nothing",
            Some(None) => "host",
            Some(Some(_)) => "repository",
        };
        assert_eq!(found, expected, "{error}");
        assert!(is_remote(&error), "{error}");
    }
    for error in [
        Error::Store(store),
        Error::Cancelled,
        Error::Deadline,
        broken(TransportErrorKind::Descriptors),
        exhausted(broken(TransportErrorKind::Descriptors)),
    ] {
        assert!(!is_remote(&error), "another endpoint is no better: {error}");
    }
}

/// A task with a route that forbids it has failed; it does not reach the registry by another way.
#[test]
fn an_operation_begins_at_the_first_endpoint() {
    use crate::config::{Config, Mode, Route};
    let mut config = Config::default();
    let at = |host: &str| Endpoint::mirror(format!("https://{host}").parse().expect("an origin"));
    let scope = "reg.example".parse().expect("a scope");
    let endpoints = vec![at("m1.example"), at("m2.example")];
    config
        .routes
        .push(Route::new(scope, "x", Mode::Prefer, endpoints));
    let mut exchanges = Exchanges::new(config);
    let reference: Reference = "reg.example/a/b:v1".parse().expect("a reference");
    let named = exchanges.source(&reference, ReadAt::Mirrors);
    let begun = |exchanges: &Exchanges| {
        let op = crate::op::ManifestHead {
            site: named.clone(),
            target: reference.target(),
        };
        let mut op = Operation::ManifestHead(op);
        let (site, _, fallback) = exchanges.endpoint(named.clone(), &mut op, Scopes::default());
        let left = fallback.expect("it has several").left.len();
        (site.registry.to_string(), left)
    };
    assert_eq!(begun(&exchanges), ("m1.example".into(), 2));
    exchanges.resting.add(&mirror(1), None, Time::ZERO);
    assert_eq!(begun(&exchanges), ("m2.example".into(), 1));
    exchanges.resting.add(&mirror(2), None, Time::ZERO);
    assert_eq!(begun(&exchanges), ("reg.example".into(), 0));
    let destination = exchanges.destination(&reference);
    assert!(destination.sources().is_empty());
    let itself = exchanges.source(&reference, ReadAt::Registry);
    assert!(itself.sources().is_empty());
    assert_eq!(itself.registry.as_str(), "reg.example");
}
