//! Which key of a file is for which registry.

use windlass_core::Scheme;

use super::*;
use crate::credentials::keys::{HUB, is_for_registry};

#[test]
fn keys() {
    // (key in the file, asked for, found): CRED-05, CRED-06, CRED-08.
    let table = [
        ("r.example", "r.example", true),
        ("R.Example", "r.example", true),
        ("r.example", "R.EXAMPLE", true),
        ("https://r.example", "r.example", true),
        ("HTTPS://R.Example/", "r.example", true),
        ("https://r.example/", "r.example", true),
        ("https://r.example/v1/", "r.example", true),
        ("https://r.example/api/docker", "r.example", true),
        ("http://r.example/v2/", "r.example", true),
        ("r.example/v2/", "r.example", true),
        ("r.example:443", "r.example", true),
        ("r.example", "r.example:443", true),
        ("r.example:5000", "r.example", false),
        ("r.example", "r.example:5000", false),
        ("https://r.example:5000/v2/", "r.example:5000", true),
        ("example", "r.example", false),
        ("r.example.evil", "r.example", false),
        ("evil.r.example", "r.example", false),
        ("ftp://r.example", "r.example", false),
        ("r.example/team", "r.example", false),
        ("[::1]:5000", "[::1]:5000", true),
        ("https://index.docker.io/v1/", "docker.io", true),
        ("https://index.docker.io/v1", "docker.io", true),
        ("index.docker.io", "docker.io", true),
        ("docker.io", "docker.io", true),
        ("docker.io", "index.docker.io", true),
        ("registry-1.docker.io", "docker.io", true),
        ("registry.hub.docker.com", "docker.io", true),
        ("https://registry.hub.docker.com/v2/", "docker.io", true),
        ("docker.io", "registry-1.docker.io:443", true),
        ("registry-1.docker.io:443", "docker.io", true),
        // REF-08: that is another registry.
        ("docker.io", "docker.io:443", false),
        ("index.docker.io", "docker.io:443", false),
        ("docker.io:443", "docker.io:443", true),
        ("docker.io:443", "docker.io", false),
        ("hub.docker.com", "docker.io", false),
        ("hub.docker.io", "docker.io", false),
    ];
    for (key, asked, found) in table {
        let file = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpw"}}}}}}"#);
        let expected = if found {
            basic("u", "p")
        } else {
            CredentialAnswer::None
        };
        assert_eq!(ask(&file, asked), expected, "{key} for {asked}");
    }
}

#[test]
fn port_443_is_the_default_of_tls_only() {
    let file = CredentialSearch::text("FILE", r#"{"auths":{"r.example:443":{"auth":"dTpw"}}}"#);
    let registry: Registry = "r.example".parse().expect("a registry");
    let over = |scheme| {
        let recipient = registry.origin().with_scheme(scheme);
        let question = Question::new(registry.clone(), None, recipient);
        file.find(&question).answer
    };
    assert_eq!(over(Scheme::Https), basic("u", "p"));
    assert_eq!(over(Scheme::Http), CredentialAnswer::None);
}

#[test]
fn the_best_key_wins() {
    let entry =
        |key: &str, user: &str| format!(r#""{key}":{{"username":"{user}","password":"p"}}"#);
    let entries = [
        entry("https://r.example/v1/", "url"),
        entry("r.example", "host"),
        entry("r.example:443", "port"),
        entry("r.example/a", "a"),
        entry("R.example/a/b", "ab"),
        entry("https://r.example/c", "c"),
        r#""e.example":{}"#.to_owned(),
        entry("https://e.example", "second"),
        entry("docker.io/library/x", "x"),
        entry("docker.io", "hub"),
    ];
    let file = format!(r#"{{"auths":{{{}}}}}"#, entries.join(","));
    // CRED-42: the most specific key; CRED-06: the exact key, then other spellings; CRED-43.
    let table = [
        ("r.example", "host"),
        ("r.example/d", "host"),
        ("r.example/a", "a"),
        ("r.example/ab", "host"),
        ("r.example/a/b", "ab"),
        ("r.example/a/b/c", "ab"),
        ("r.example/c/d", "c"),
        ("r.example/cd", "host"),
        ("e.example", "second"),
        ("docker.io/library/x", "x"),
        ("docker.io/library/xy", "hub"),
    ];
    for (reference, expected) in table {
        assert_eq!(user(&ask(&file, reference)), expected, "{reference}");
    }
}

/// V-G "auth.json keys".
#[test]
fn namespaces_are_tried_from_the_longest() {
    let mut keys = vec![
        "reg.example:5000/a/b/c",
        "reg.example:5000/a/b",
        "reg.example:5000/a",
        "reg.example:5000",
        "https://reg.example:5000/v2/",
    ];
    while let Some(first) = keys.first() {
        let entries = keys.iter();
        let entries =
            entries.map(|key| format!(r#""{key}":{{"username":"{key}","password":"p"}}"#));
        let entries: Vec<_> = entries.collect();
        let file = format!(r#"{{"auths":{{{}}}}}"#, entries.join(","));
        assert_eq!(user(&ask(&file, "reg.example:5000/a/b/c")), *first);
        keys.remove(0);
    }
}

/// CRED-27: what a helper is asked for.
#[test]
fn helpers_are_asked_for_hosts() {
    let urls = |registry: &str, key: Option<&str>| {
        let registry: Registry = registry.parse().expect("a registry");
        Wanted::new(&registry, None, &registry.origin()).helper_urls(key)
    };
    assert_eq!(urls("docker.io", Some("docker.io")), [HUB, "docker.io"]);
    assert_eq!(urls("R.example", None), ["r.example", "https://r.example"]);
    let expected = ["r.example", "r.example:443", "https://r.example"];
    assert_eq!(
        urls("r.example", Some("https://r.example:443/v1/")),
        expected
    );
    let expected = ["r.example:5000", "https://r.example:5000"];
    assert_eq!(urls("r.example:5000", Some("r.example:5000")), expected);
}

#[test]
fn a_namespace_is_not_the_registry() {
    let registry: Registry = "r.example".parse().expect("a registry");
    let wanted = Wanted::new(&registry, None, &registry.origin());
    for (key, is) in [
        ("r.example", true),
        ("https://r.example/v1/", true),
        ("r.example/team", false),
        ("other.example", false),
    ] {
        assert_eq!(is_for_registry(key, &wanted), is, "{key}");
    }
}
