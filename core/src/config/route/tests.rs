use std::format;
use std::string::{String, ToString as _};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::config::{Config, Contact, RouteError};
use crate::credential::Secret;
use crate::reference::Reference;

fn origin(text: &str) -> Origin {
    text.parse().expect("an origin")
}

fn mirror(text: &str) -> Endpoint {
    Endpoint::mirror(origin(text))
}

fn config(routes: Vec<Route>) -> Config {
    Config {
        routes,
        ..Config::default()
    }
}

fn route(scope: &str, mode: Mode, endpoints: Vec<Endpoint>) -> Route {
    Route::new(scope.parse().expect("a scope"), scope, mode, endpoints)
}

/// The mirror's name, its address and the repository there.
fn shown(contact: &Contact) -> String {
    let kind = if contact.is_mirror {
        "mirror"
    } else {
        "upstream"
    };
    let ns = contact.ns.as_ref();
    let ns = ns.map_or_else(String::new, |ns| format!(" ns={ns}"));
    format!(
        "{kind} {} {}{}/{}{ns}",
        contact.registry, contact.origin, contact.api, contact.repository
    )
}

fn sources(config: &Config, reference: &str) -> Result<Vec<String>, RouteError> {
    let sources = config.sources(&self::reference(reference))?;
    Ok(sources.iter().map(shown).collect())
}

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// HTTP-27.
#[test]
fn the_registry_elsewhere_has_its_own_credentials_or_those_of_the_name() {
    let elsewhere = Endpoint::upstream().at(origin("https://inner.example:5000"));
    for (endpoint, registry) in [
        (elsewhere.clone(), "reg.example"),
        (elsewhere.with_own_credentials(), "inner.example:5000"),
        (
            Endpoint::upstream()
                .at(origin("https://reg.example"))
                .with_own_credentials(),
            "reg.example",
        ),
    ] {
        let config = config(vec![route("reg.example", Mode::Replace, vec![endpoint])]);
        let reference = reference("reg.example/app:v1");
        let read = config.sources(&reference).expect("a route");
        assert_eq!(read[0].registry.as_str(), registry);
        let written = config.destination(&reference).expect("a route");
        assert_eq!(written.registry.as_str(), registry);
        assert!(!written.is_mirror);
    }
}

#[test]
fn scopes_are_printed_as_they_are_written() {
    for text in [
        "*",
        "*.example.com",
        "docker.io",
        "docker.io/library",
        "localhost",
        "reg.example:5000/a/b",
        "[::1]:5000/a",
    ] {
        let scope: RouteScope = text.parse().expect("a scope");
        assert_eq!(scope.to_string(), text);
        let json = serde_json::to_string(&scope).expect("JSON");
        assert_eq!(
            serde_json::from_str::<RouteScope>(&json).expect("a scope"),
            scope
        );
    }
    for text in [
        "",
        "*.",
        "*example.com",
        "*.example.com/a",
        "*.example.com:5000",
        "a.*.example",
        "registry",
        "reg.example/",
        "reg.example/A",
        "reg.example/a:v1",
        "https://reg.example",
    ] {
        assert!(text.parse::<RouteScope>().is_err(), "{text}");
    }
}

/// HOSTS-42: the longest scope wins, and it ends at a `/`.
#[test]
fn the_closest_route_applies() {
    let scopes = [
        "*",
        "*.example.com",
        "*.b.example.com",
        "a.example.com",
        "a.example.com/foo",
        "a.example.com/foo/bar",
        "reg.example:5000",
        "docker.io/library",
        "a.example.com/foo",
    ];
    let mut routes: Vec<Route> = scopes
        .into_iter()
        .map(|scope| route(scope, Mode::Prefer, vec![]))
        .collect();
    routes.last_mut().expect("a route").rule = "never: an equal one goes before".into();
    let config = config(routes);
    for (reference, rule) in [
        ("a.example.com/foo/bar/x", "a.example.com/foo/bar"),
        ("a.example.com/foo/bar", "a.example.com/foo/bar"),
        ("a.example.com/foo/barx", "a.example.com/foo"),
        ("a.example.com/foobar", "a.example.com"),
        ("A.example.com:443/foo", "a.example.com/foo"),
        ("x.example.com/foo", "*.example.com"),
        ("x.y.example.com:5000/foo", "*.example.com"),
        ("x.b.example.com/foo", "*.b.example.com"),
        ("b.example.com/foo", "*.example.com"),
        ("example.com/foo", "*"),
        ("notexample.com/foo", "*"),
        ("reg.example:5000/a", "reg.example:5000"),
        ("reg.example/a", "*"),
        ("alpine", "docker.io/library"),
        ("index.docker.io/library/alpine", "docker.io/library"),
        ("someone/alpine", "*"),
    ] {
        let reference: Reference = reference.parse().expect("a reference");
        let found = config.route(reference.registry(), reference.repository());
        assert_eq!(found.map(|it| it.rule.as_str()), Some(rule), "{reference}");
    }
}

#[test]
fn without_a_route_the_registry_itself_is_asked() {
    let config = config(vec![]);
    let expected = ["upstream docker.io https://registry-1.docker.io/v2/library/alpine"];
    assert_eq!(sources(&config, "alpine").expect("sources"), expected);
}

/// HOSTS-01, HOSTS-02, HOSTS-04: in their order, the registry itself last, `ns=` for mirrors only.
#[test]
fn mirrors_go_before_the_registry() {
    let endpoints = vec![
        mirror("https://z.example").with_ns(),
        mirror("http://a.example:5000"),
        mirror("https://registry-1.docker.io").with_ns(),
        mirror("http://one"),
    ];
    let prefer = config(vec![route("docker.io", Mode::Prefer, endpoints.clone())]);
    let own = "upstream docker.io https://registry-1.docker.io/v2/a/b";
    let listed = [
        "mirror z.example https://z.example/v2/a/b ns=docker.io",
        "mirror a.example:5000 http://a.example:5000/v2/a/b",
        own,
        "mirror one:80 http://one/v2/a/b",
    ];
    assert_eq!(sources(&prefer, "a/b").expect("sources"), listed);
    let replace = config(vec![route("docker.io", Mode::Replace, endpoints)]);
    assert_eq!(sources(&replace, "a/b").expect("sources"), listed);
    let destination = replace.destination(&"a/b".parse().expect("a reference"));
    assert_eq!(shown(&destination.expect("a destination")), own);
}

#[test]
fn the_registry_is_last_if_it_is_not_listed() {
    let mirrors = vec![mirror("https://a.example"), mirror("https://b.example")];
    let config = config(vec![route("docker.io", Mode::Prefer, mirrors)]);
    let expected = [
        "mirror a.example https://a.example/v2/a/b",
        "mirror b.example https://b.example/v2/a/b",
        "upstream docker.io https://registry-1.docker.io/v2/a/b",
    ];
    assert_eq!(sources(&config, "a/b").expect("sources"), expected);
}

#[test]
fn the_registry_can_be_at_another_address() {
    let reference: Reference = "reg.example/a".parse().expect("a reference");
    let upstream = Endpoint::upstream().at(origin("http://10.0.0.1:5000"));
    let config = config(vec![route("reg.example", Mode::Prefer, vec![upstream])]);
    let expected = "upstream reg.example http://10.0.0.1:5000/v2/a";
    assert_eq!(
        sources(&config, "reg.example/a").expect("sources"),
        [expected]
    );
    assert_eq!(
        shown(&config.destination(&reference).expect("it is")),
        expected
    );

    let mut config = Config::default();
    let plain = origin("http://reg.example");
    config.endpoints.insert(reference.registry().clone(), plain);
    config.routes = vec![route("*", Mode::Prefer, vec![mirror("https://m.example")])];
    let expected = [
        "mirror m.example https://m.example/v2/a",
        "upstream reg.example http://reg.example/v2/a",
    ];
    assert_eq!(
        sources(&config, "reg.example/a").expect("sources"),
        expected
    );
}

/// HOSTS-42: the matched prefix is replaced. HOSTS-02: `override_path`.
#[test]
fn names_at_endpoints() {
    let with = |prefix: Prefix| mirror("https://m.example").with_prefix(prefix);
    let to = |text: &str| with(Prefix::Replaced(text.parse().expect("a repository")));
    let api = |text: &str| mirror("https://m.example").with_api(text.parse().expect("a path"));
    for (scope, endpoint, repository, expected) in [
        ("reg.example", with(Prefix::Kept), "a/b", "/v2/a/b"),
        ("reg.example", to("x"), "a/b", "/v2/x/a/b"),
        ("reg.example", with(Prefix::Removed), "a/b", "/v2/a/b"),
        ("reg.example/a", to("x/y"), "a/b", "/v2/x/y/b"),
        ("reg.example/a", with(Prefix::Removed), "a/b", "/v2/b"),
        ("reg.example/a/b", to("x"), "a/b", "/v2/x"),
        ("*", to("x"), "a/b", "/v2/x/a/b"),
        ("reg.example", api("/v2/x/y"), "a/b", "/v2/x/y/a/b"),
        ("reg.example", api("/api/x/v2"), "a/b", "/api/x/v2/a/b"),
        ("reg.example", api(""), "a/b", "/a/b"),
    ] {
        let config = config(vec![route(scope, Mode::Replace, vec![endpoint])]);
        let found = sources(&config, &format!("reg.example/{repository}")).expect("sources");
        assert_eq!(
            found,
            [format!("mirror m.example https://m.example{expected}")]
        );
    }
    let bare = config(vec![route(
        "reg.example/a",
        Mode::Prefer,
        vec![with(Prefix::Removed)],
    )]);
    let error = sources(&bare, "reg.example/a").expect_err("no name is left");
    assert_eq!(
        error.to_string(),
        format!(
            "`reg.example/a`: the name that reg.example/a gives it at https://m.example is invalid: {}",
            ReferenceError::Format
        )
    );
}

/// HOSTS-03, HOSTS-41.
#[test]
fn an_endpoint_is_asked_for_what_it_may_be_asked_for() {
    let some = |capabilities| mirror("https://m.example").with_capabilities(capabilities);
    let (by_tag, by_digest) = ("reg.example/a:v1", format!("reg.example/a@{DIGEST}"));
    for (references, tag, digest) in [
        (References::All, 2, 2),
        (References::WithDigest, 1, 2),
        (References::WithoutDigest, 2, 1),
    ] {
        let mirror = some(Capabilities::ALL.only(references));
        let config = config(vec![route("reg.example", Mode::Prefer, vec![mirror])]);
        let count = |reference| sources(&config, reference).expect("sources").len();
        assert_eq!(
            (count(by_tag), count(&by_digest)),
            (tag, digest),
            "{references:?}"
        );
    }
    let pulls = some(Capabilities::PULL);
    let config_of = |mode, endpoint| config(vec![route("reg.example", mode, vec![endpoint])]);
    let replace = config_of(Mode::Replace, pulls);
    assert_eq!(sources(&replace, &by_digest).expect("sources").len(), 1);
    let error = sources(&replace, by_tag).expect_err("nothing resolves a tag");
    assert_eq!(
        error.to_string(),
        "`reg.example/a`: reg.example has no endpoint that may be asked to resolve"
    );
    let mut resolves = Capabilities::NONE;
    resolves.resolve = true;
    let neither = config_of(Mode::Replace, some(resolves));
    let error = sources(&neither, by_tag).expect_err("nothing has content");
    assert!(error.to_string().ends_with("asked to pull"), "{error}");
    let reads = Endpoint::upstream().with_capabilities(Capabilities::READ);
    let reads = config_of(Mode::Prefer, reads);
    let error = reads.destination(&by_tag.parse().expect("a reference"));
    let error = error.expect_err("nothing takes a push").to_string();
    assert!(error.ends_with("asked to push"), "{error}");
}

/// HOSTS-43: `blocked`, both ways, and the error names the rule.
#[test]
fn what_is_blocked_has_no_endpoint() {
    let scope = "docker.io/library".parse().expect("a scope");
    let config = config(vec![Route::blocked(scope, "/etc/x.conf: registry[0]")]);
    let alpine: Reference = "alpine".parse().expect("a reference");
    let expected = "`docker.io/library/alpine` is blocked by /etc/x.conf: registry[0]";
    for error in [
        config.sources(&alpine).map(drop),
        config.destination(&alpine).map(drop),
    ] {
        assert_eq!(error.expect_err("it is blocked").to_string(), expected);
    }
    assert!(sources(&config, "someone/alpine").is_ok());
}

#[test]
fn routes_are_read_as_they_were_written_but_for_secrets() {
    let header = RequestHeader::new("Authorization", Secret::new("Basic aGlkZGVu"));
    let endpoint = mirror("http://m.example:5000")
        .with_ns()
        .with_api("/x/v2".parse().expect("a path"))
        .with_prefix(Prefix::Replaced("y".parse().expect("a repository")))
        .with_capabilities(Capabilities::PULL.only(References::WithDigest))
        .with_header(header.expect("a header"));
    let upstream = Endpoint::upstream();
    let config = config(vec![
        route("*.example.com", Mode::Replace, vec![endpoint, upstream]),
        Route::blocked("reg.example/a".parse().expect("a scope"), "rule"),
    ]);
    let written = serde_json::to_string(&config).expect("JSON");
    assert!(!written.contains("aGlkZGVu"), "{written}");
    let read: Config = serde_json::from_str(&written).expect("it was written");
    let again = serde_json::to_string(&read).expect("JSON");
    assert_eq!(again, written);
    assert_eq!(format!("{read:?}"), format!("{config:?}"));
}
