use std::string::ToString as _;

use super::*;
use crate::testing::mutations;

const REGISTRIES: &[(&str, &str, &str, &str)] = &[
    (
        "REF-10",
        "docker.io",
        "https://registry-1.docker.io",
        HUB_KEY,
    ),
    (
        "REF-08",
        "index.docker.io",
        "https://registry-1.docker.io",
        HUB_KEY,
    ),
    ("REF-08", "docker.io:443", "https://docker.io", "docker.io"),
    (
        "REF-08",
        "registry-1.docker.io:443",
        "https://registry-1.docker.io",
        HUB_KEY,
    ),
    (
        "REF-08",
        "Index.docker.io:443",
        "https://registry-1.docker.io",
        HUB_KEY,
    ),
    (
        "REF-08",
        "registry.hub.docker.com:443",
        "https://registry-1.docker.io",
        HUB_KEY,
    ),
    (
        "not Hub",
        "registry-1.docker.io:80",
        "https://registry-1.docker.io:80",
        "registry-1.docker.io:80",
    ),
    (
        "REF-08",
        "registry-1.docker.io",
        "https://registry-1.docker.io",
        HUB_KEY,
    ),
    (
        "REF-10",
        "Registry.Hub.Docker.com",
        "https://registry-1.docker.io",
        HUB_KEY,
    ),
    (
        "not Hub",
        "hub.docker.com",
        "https://hub.docker.com",
        "hub.docker.com",
    ),
    (
        "not Hub",
        "registry-1.docker.io.example",
        "https://registry-1.docker.io.example",
        "registry-1.docker.io.example",
    ),
    (
        "not Hub",
        "registry-1.docker.io:5000",
        "https://registry-1.docker.io:5000",
        "registry-1.docker.io:5000",
    ),
    ("REF-20", "GHCR.io", "https://ghcr.io", "ghcr.io"),
    ("REF-20", "ghcr.io:443", "https://ghcr.io", "ghcr.io"),
    (
        "HTTP-01",
        "reg.example:80",
        "https://reg.example:80",
        "reg.example:80",
    ),
    ("HTTP-01", "localhost", "http://localhost", "localhost"),
    ("HTTP-01", "localhost:443", "https://localhost", "localhost"),
    (
        "HTTP-01",
        "localhost:5000",
        "http://localhost:5000",
        "localhost:5000",
    ),
    (
        "HTTP-01",
        "reg.localhost:80",
        "http://reg.localhost",
        "reg.localhost:80",
    ),
    (
        "HTTP-01",
        "127.9.9.9:5000",
        "http://127.9.9.9:5000",
        "127.9.9.9:5000",
    ),
    ("V-A 31", "[::1]:5000", "http://[::1]:5000", "[::1]:5000"),
    (
        "REF-18",
        "[2001:DB8::1]",
        "https://[2001:db8::1]",
        "[2001:db8::1]",
    ),
    (
        "V-A 37",
        "192.168.1.1:5000",
        "https://192.168.1.1:5000",
        "192.168.1.1:5000",
    ),
];

#[test]
fn registries_have_three_names() {
    for (row, text, origin, key) in REGISTRIES {
        let registry: Registry = text.parse().expect(row);
        assert_eq!(registry.to_string(), *text, "{row}");
        assert_eq!(registry.origin().to_string(), *origin, "{row} {text}");
        assert_eq!(registry.credential_key().as_str(), *key, "{row} {text}");
        mutations(text, |text| {
            let Ok(registry) = text.parse::<Registry>() else {
                return;
            };
            let again = registry.origin().to_string().parse();
            assert_eq!(again, Ok(registry.origin()), "{text}");
            registry.credential_key();
        });
    }
}

#[test]
fn what_is_no_registry() {
    let host = |text: &str| ReferenceError::Host { host: text.into() };
    for text in [
        "",
        "a_b.example",
        "-a.example",
        "a-.example",
        "a..b",
        ".a",
        "a.",
        "[fe80::1%eth0]:5000",
        "[::1",
        "[1.2.3.4]",
        "[::ffff:1.2.3.4]",
        "[]",
        "a.b:",
        "a.b:x",
        "a.b:+1",
        "registry",
        "a:1:2",
        "https://a.b",
        "u@a.b",
        "[::1]x:5",
        "[::1]]:5",
    ] {
        assert_eq!(text.parse::<Registry>(), Err(host(text)), "{text}");
    }
    for text in ["example.com:99999", "example.com:0", "example.com:65536"] {
        assert_eq!(
            text.parse::<Registry>(),
            Err(ReferenceError::Port),
            "REF-17 {text}"
        );
    }
    assert!("example.com:65535".parse::<Registry>().is_ok());
}

#[test]
fn origins_are_read_and_printed() {
    let table = [
        ("https://REG.example:5000", Ok("https://reg.example:5000")),
        ("https://reg.example:443", Ok("https://reg.example")),
        ("http://reg.example:80", Ok("http://reg.example")),
        ("HTTP://reg.example:443", Ok("http://reg.example:443")),
        ("reg.example", Ok("https://reg.example")),
        ("a_b:5000", Ok("https://a_b:5000")),
        ("http://[0:0:0:0:0:0:0:1]:5000", Ok("http://[::1]:5000")),
        ("http://[::FFFF:7f00:1]", Ok("http://[::ffff:127.0.0.1]")),
        ("ftp://reg.example", Err(OriginError::Scheme)),
        ("://reg.example", Err(OriginError::Scheme)),
        ("https://", Err(OriginError::Host)),
        ("https://:5", Err(OriginError::Host)),
        ("https://a b", Err(OriginError::Host)),
        ("https://a/b", Err(OriginError::Host)),
        ("https://[::1", Err(OriginError::Port)),
        ("https://a%2e", Err(OriginError::Host)),
        ("https://a:0", Err(OriginError::Port)),
        ("https://a:", Err(OriginError::Port)),
        ("https://a:65536", Err(OriginError::Port)),
        ("https://u:p@a", Err(OriginError::UserInfo)),
    ];
    for (text, expected) in table {
        let found = text.parse::<Origin>();
        assert_eq!(
            found.map(|o| o.to_string()),
            expected.map(Into::into),
            "{text}"
        );
        mutations(text, |text| {
            if let Ok(origin) = text.parse::<Origin>() {
                assert_eq!(origin.to_string().parse(), Ok(origin.clone()), "{text}");
                let _ = (origin.is_private(), origin.is_loopback());
            }
        });
    }
}

#[test]
fn a_default_port_follows_the_scheme() {
    let table = [
        ("https://a", Scheme::Http, "http://a"),
        ("http://a", Scheme::Https, "https://a"),
        ("https://a:5000", Scheme::Http, "http://a:5000"),
        ("http://a:443", Scheme::Https, "https://a"),
    ];
    for (text, scheme, expected) in table {
        let origin: Origin = text.parse().expect(text);
        assert_eq!(origin.with_scheme(scheme).to_string(), expected, "{text}");
    }
}
