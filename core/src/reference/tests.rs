use std::string::{String, ToString as _};
use std::vec::Vec;

use super::*;
use crate::digest::Algorithm;
use crate::digest::DigestError;
use crate::testing::mutations;

/// `⟨64×a⟩` becomes 64 `a`.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('⟨') {
        let (inner, tail) = after.split_once('⟩').expect("a bracket is closed");
        let (count, what) = inner.split_once('×').expect("a count and a text");
        out.push_str(before);
        out.push_str(&what.repeat(count.parse().expect("a count")));
        rest = tail;
    }
    out + rest
}

type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// Item, input, registry, repository, tag, digest.
const ACCEPTED: &[Row] = &[
    ("V-A 1", "ubuntu", "docker.io", "library/ubuntu", "", ""),
    (
        "V-A 2",
        "ubuntu:22.04",
        "docker.io",
        "library/ubuntu",
        "22.04",
        "",
    ),
    (
        "V-A 3",
        "library/ubuntu",
        "docker.io",
        "library/ubuntu",
        "",
        "",
    ),
    (
        "V-A 5",
        "docker.io/library/ubuntu:latest",
        "docker.io",
        "library/ubuntu",
        "latest",
        "",
    ),
    (
        "V-A 6",
        "index.docker.io/ubuntu",
        "docker.io",
        "library/ubuntu",
        "",
        "",
    ),
    (
        "V-A 7",
        "index.docker.io/library/foo/bar",
        "docker.io",
        "library/foo/bar",
        "",
        "",
    ),
    (
        "Hub's other names",
        "registry-1.docker.io/ubuntu",
        "docker.io",
        "library/ubuntu",
        "",
        "",
    ),
    (
        "Hub's other names",
        "registry.hub.docker.com/ubuntu:24.04",
        "docker.io",
        "library/ubuntu",
        "24.04",
        "",
    ),
    (
        "Hub's other names",
        "REGISTRY-1.docker.io/team/app",
        "docker.io",
        "team/app",
        "",
        "",
    ),
    (
        "not Hub",
        "hub.docker.com/ubuntu",
        "hub.docker.com",
        "ubuntu",
        "",
        "",
    ),
    (
        "V-A 9",
        "docker.io:443/ubuntu",
        "docker.io:443",
        "ubuntu",
        "",
        "",
    ),
    ("V-A 10", "user/app:v1", "docker.io", "user/app", "v1", ""),
    ("V-A 11", "localhost/app", "localhost", "app", "", ""),
    (
        "V-A 13",
        "localhost:5000",
        "docker.io",
        "library/localhost",
        "5000",
        "",
    ),
    (
        "V-A 14",
        "test.com:5000",
        "docker.io",
        "library/test.com",
        "5000",
        "",
    ),
    (
        "V-A 15",
        "example.com",
        "docker.io",
        "library/example.com",
        "",
        "",
    ),
    ("V-A 17", "Foo/bar", "Foo", "bar", "", ""),
    (
        "V-A 19",
        "lowercase:Uppercase",
        "docker.io",
        "library/lowercase",
        "Uppercase",
        "",
    ),
    (
        "V-A 21",
        "app@sha256:⟨64×a⟩",
        "docker.io",
        "library/app",
        "",
        "sha256:⟨64×a⟩",
    ),
    (
        "REF-12",
        "a.b/app:x@sha256:⟨64×a⟩",
        "a.b",
        "app",
        "x",
        "sha256:⟨64×a⟩",
    ),
    (
        "V-A 25",
        "app@sha512:⟨128×b⟩",
        "docker.io",
        "library/app",
        "",
        "sha512:⟨128×b⟩",
    ),
    (
        "V-A 29",
        "example.com/⟨64×a⟩",
        "example.com",
        "⟨64×a⟩",
        "",
        "",
    ),
    ("V-A 30", "⟨63×a⟩", "docker.io", "library/⟨63×a⟩", "", ""),
    ("V-A 31", "[::1]:5000/app:x", "[::1]:5000", "app", "x", ""),
    (
        "V-A 35",
        "test_com/foo",
        "docker.io",
        "test_com/foo",
        "",
        "",
    ),
    (
        "V-A 37",
        "192.168.1.1:5000/app",
        "192.168.1.1:5000",
        "app",
        "",
        "",
    ),
    ("V-A 38", "a__b/c", "docker.io", "a__b/c", "", ""),
    ("V-A 41", "a--b---c/d", "docker.io", "a--b---c/d", "", ""),
    (
        "V-A 51",
        "app:⟨128×t⟩",
        "docker.io",
        "library/app",
        "⟨128×t⟩",
        "",
    ),
    ("V-A 54", "app:_x", "docker.io", "library/app", "_x", ""),
    (
        "V-A 65",
        "foo/sha256:abc",
        "docker.io",
        "foo/sha256",
        "abc",
        "",
    ),
    (
        "REF-14",
        "example.com/⟨255×a⟩",
        "example.com",
        "⟨255×a⟩",
        "",
        "",
    ),
    ("REF-20", "GHCR.io/a/b", "GHCR.io", "a/b", "", ""),
];

fn refused() -> Vec<(&'static str, &'static str, ReferenceError)> {
    use ReferenceError as E;
    let host = |host: &str| E::Host { host: host.into() };
    let length = E::Digest(DigestError::Length {
        algorithm: Algorithm::Sha256,
    });
    let algorithm = |name: &str| E::Algorithm {
        algorithm: name.into(),
    };
    let format = E::Digest(DigestError::Format);
    alloc::vec![
        ("V-A 18", "foo/Bar", E::UpperCase),
        ("V-A 22", "app@sha256:⟨64×A⟩", format.clone()),
        ("V-A 23", "app@sha256:⟨63×a⟩", length),
        ("REF-24", "sha256:⟨64×a⟩", E::MissingRepository),
        ("V-A 26", "app@blake3:⟨64×a⟩", algorithm("blake3")),
        (
            "V-A 27",
            "app@sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
            algorithm("sha256+b64u"),
        ),
        ("REF-13", "⟨64×a⟩", E::BareHex),
        (
            "V-A 33",
            "[fe80::1%eth0]:5000/a",
            host("[fe80::1%eth0]:5000")
        ),
        ("V-A 34", "a_b.example/c", host("a_b.example")),
        ("V-A 39", "a___b/c", E::Format),
        ("V-A 42", "a-/b", E::Format),
        ("V-A 43", "-a/b", E::Format),
        ("V-A 45", "a//b", E::Format),
        ("V-A 46", "a/", E::Format),
        ("V-A 47", "/a", E::Format),
        ("V-A 49", "app:", E::Tag),
        ("V-A 50", "app@", format.clone()),
        ("REF-02", "app:⟨129×t⟩", E::Tag),
        ("REF-02", "app:-x", E::Tag),
        ("V-A 53", "app:.x", E::Tag),
        ("V-A 55", "app:x+y", E::Tag),
        ("V-A 57", "example.com/⟨256×a⟩", E::TooLong),
        ("REF-14 with library/", "docker.io/⟨248×a⟩", E::TooLong),
        ("V-A 58", "ubuntu\n", E::Format),
        ("V-A 59", " ubuntu", E::Format),
        ("V-A 61", "app@sha256:⟨64×a⟩:tag", format),
        ("V-A 62", "example.com:99999/app", E::Port),
        ("V-A 63", "example.com:/app", host("example.com:")),
        ("REF-19", "https://example.com/app", E::Scheme),
        ("REF-19", "u:p@example.com/app", host("u:p@example.com")),
        ("REF-16 terminal", "a.\u{1b}/c", host(r"a.\u{1b}")),
        ("empty", "", E::Format),
        ("not ASCII", "bücher/a", E::Format),
    ]
}

#[test]
fn references_are_read() {
    for (row, input, registry, repository, tag, digest) in ACCEPTED {
        let reference: Reference = expand(input).parse().expect(row);
        let text = |text: Option<&str>| text.unwrap_or_default().to_string();
        assert_eq!(reference.registry().as_str(), *registry, "{row}");
        assert_eq!(reference.repository().as_str(), expand(repository), "{row}");
        assert_eq!(text(reference.tag().map(Tag::as_str)), expand(tag), "{row}");
        assert_eq!(
            text(reference.digest().map(Digest::as_str)),
            expand(digest),
            "{row}"
        );
    }
}

#[test]
fn what_is_no_reference_is_told_why() {
    for (row, input, error) in refused() {
        assert_eq!(expand(input).parse::<Reference>(), Err(error), "{row}");
    }
}

#[test]
fn printing_and_reading_are_inverse() {
    let inputs = ACCEPTED.iter().map(|row| row.1);
    for input in inputs.chain(refused().into_iter().map(|row| row.1)) {
        mutations(&expand(input), |text| {
            let Ok(reference) = text.parse::<Reference>() else {
                return;
            };
            let printed = reference.to_string();
            assert_eq!(printed.parse(), Ok(reference), "{text}");
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/@[]+=-".contains(&b);
            assert!(printed.bytes().all(allowed), "{text}");
        });
    }
}

#[test]
fn a_reference_selects_one_thing() {
    let digest = expand("sha256:⟨64×a⟩");
    let table = [
        ("REF-11", "app".into(), "latest"),
        ("REF-11", "app:v1".into(), "v1"),
        ("REF-12", format!("app:v1@{digest}"), digest.as_str()),
    ];
    for (row, input, target) in table {
        let reference: Reference = input.parse().expect(row);
        assert_eq!(reference.target().to_string(), target, "{row}");
        assert_eq!(target.parse(), Ok(reference.target()), "{row}");
        let alone = reference.with_target(reference.target());
        assert_eq!(alone.target(), reference.target(), "{row}");
    }
}

#[test]
fn parts_are_normalised_too() {
    let table = [
        ("REF-09", "docker.io", "ubuntu", "docker.io/library/ubuntu"),
        ("REF-08", "index.docker.io", "a/b", "docker.io/a/b"),
        ("REF-09", "registry-1.docker.io", "a", "docker.io/library/a"),
        (
            "REF-09",
            "registry-1.docker.io:443",
            "a",
            "docker.io/library/a",
        ),
        ("REF-08", "docker.io:443", "a", "docker.io:443/a"),
        (
            "REF-09",
            "registry.hub.docker.com",
            "a",
            "docker.io/library/a",
        ),
        ("REF-09", "ghcr.io", "ubuntu", "ghcr.io/ubuntu"),
    ];
    for (row, registry, repository, expected) in table {
        let registry = registry.parse().expect(row);
        let reference = Reference::new(registry, repository.parse().expect(row), None, None);
        assert_eq!(reference.to_string(), expected, "{row}");
    }
}
