use std::string::ToString as _;

use super::*;
use crate::testing::mutations;

const B: &str = "https://reg.example:5000/v2/a/blobs/uploads/";

type Row = (
    &'static str,
    &'static str,
    &'static str,
    Result<&'static str, UrlError>,
);

const JOINS: &[Row] = &[
    (
        "V-D 1",
        "/v2/a/blobs/uploads/u1?_state=x%3D",
        B,
        Ok("https://reg.example:5000/v2/a/blobs/uploads/u1?_state=x%3D"),
    ),
    (
        "V-D 2",
        "https://reg.example:5000/v2/a/blobs/uploads/u1?_state=ab+c%2F%3D%3D",
        B,
        Ok("https://reg.example:5000/v2/a/blobs/uploads/u1?_state=ab+c%2F%3D%3D"),
    ),
    (
        "V-D 3",
        "u1?_state=x",
        B,
        Ok("https://reg.example:5000/v2/a/blobs/uploads/u1?_state=x"),
    ),
    (
        "V-D 5",
        "?s=1",
        "https://reg.example:5000/v2/a/blobs/uploads/u1",
        Ok("https://reg.example:5000/v2/a/blobs/uploads/u1?s=1"),
    ),
    (
        "V-D 6",
        "../../b/blobs/uploads/u2",
        B,
        Ok("https://reg.example:5000/v2/a/b/blobs/uploads/u2"),
    ),
    (
        "V-D 7",
        "/x/2",
        "https://up.example/x/1",
        Ok("https://up.example/x/2"),
    ),
    (
        "V-D 9",
        "https://s3.example/bucket/k?X-Amz-Signature=ab%2Bc&X-Amz-Date=2",
        B,
        Ok("https://s3.example/bucket/k?X-Amz-Signature=ab%2Bc&X-Amz-Date=2"),
    ),
    (
        "V-D 10",
        "http://reg.example:5000/v2/a/blobs/uploads/u1",
        B,
        Ok("http://reg.example:5000/v2/a/blobs/uploads/u1"),
    ),
    (
        "V-D 11",
        "https://REG.example:5000/v2/a/blobs/uploads/u1",
        B,
        Ok("https://REG.example:5000/v2/a/blobs/uploads/u1"),
    ),
    (
        "V-D 13",
        "https://reg.example:443/v2/x",
        "https://reg.example/v2/a/blobs/uploads/",
        Ok("https://reg.example:443/v2/x"),
    ),
    (
        "V-D 14",
        "reg.example:5000/v2/a/blobs/uploads/u1",
        B,
        Err(UrlError::Scheme),
    ),
    (
        "V-D 15",
        "10.0.0.1:5000/v2/a/blobs/uploads/u1",
        B,
        Err(UrlError::Format),
    ),
    ("V-D 17", "", B, Err(UrlError::Empty)),
    (
        "V-D 18",
        "/v2/a/blobs/uploads/u 1",
        B,
        Err(UrlError::Character),
    ),
    ("V-D 19", r"\\evil.example\x", B, Err(UrlError::Character)),
    ("SEC-09", r"/\evil.example/x", B, Err(UrlError::Character)),
    (
        "SEC-09 tab",
        "/\t/evil.example/x",
        B,
        Err(UrlError::Character),
    ),
    ("SEC-09 not ASCII", "/é", B, Err(UrlError::Character)),
    (
        "V-D 21",
        "/v2/a/%2e%2e/b",
        B,
        Ok("https://reg.example:5000/v2/a/%2e%2e/b"),
    ),
    (
        "V-D 22",
        "https://user:pw@reg.example:5000/v2/a/blobs/uploads/u1",
        B,
        Err(UrlError::UserInfo),
    ),
    ("V-D 23", "https:/v2/a/u1", B, Err(UrlError::NoAuthority)),
    (
        "no authority",
        "https:///v2/a/u1",
        B,
        Err(UrlError::NoAuthority),
    ),
    ("no authority", "//", B, Err(UrlError::NoAuthority)),
    ("no authority", "https:", B, Err(UrlError::NoAuthority)),
    (
        "other scheme",
        "ftp://reg.example/x",
        B,
        Err(UrlError::Scheme),
    ),
    (
        "other scheme",
        "data:text/plain,x",
        B,
        Err(UrlError::Scheme),
    ),
    (
        "port",
        "https://a:99999/",
        B,
        Err(UrlError::Authority(OriginError::Port)),
    ),
    (
        "host",
        "https://a%2eb/",
        B,
        Err(UrlError::Authority(OriginError::Host)),
    ),
    (
        "V-D 25",
        "https://169.254.169.254/latest",
        B,
        Ok("https://169.254.169.254/latest"),
    ),
    (
        "V-D 26",
        "https://127.0.0.1:8443/u1",
        B,
        Ok("https://127.0.0.1:8443/u1"),
    ),
    (
        "V-D 27",
        "http://127.0.0.1:5001/u1",
        "http://127.0.0.1:5000/v2/a/blobs/uploads/",
        Ok("http://127.0.0.1:5001/u1"),
    ),
    ("scheme in upper case", "HTTPS://a/x", B, Ok("https://a/x")),
    (
        "V-C 6",
        "//cdn.example/p?q",
        B,
        Ok("https://cdn.example/p?q"),
    ),
    (
        "dots in an absolute one",
        "https://a/b/../../c/./d?x/../y",
        B,
        Ok("https://a/c/d?x/../y"),
    ),
    (
        "dots at the end",
        "/a/b/..",
        B,
        Ok("https://reg.example:5000/a/"),
    ),
    (
        "a fragment is dropped",
        "/a#f?x",
        B,
        Ok("https://reg.example:5000/a"),
    ),
    (
        "only a fragment",
        "#f",
        "https://a/b?c",
        Ok("https://a/b?c"),
    ),
    ("empty path", "x?y", "https://a?b", Ok("https://a/x?y")),
    (
        "query on an empty path",
        "?y",
        "https://a?b",
        Ok("https://a?y"),
    ),
    (
        "no dots above the root",
        "../../../../../../x",
        B,
        Ok("https://reg.example:5000/x"),
    ),
    (
        "a double slash is a path here",
        "/a//b",
        B,
        Ok("https://reg.example:5000/a//b"),
    ),
];

#[test]
fn locations_are_joined() {
    for (row, location, base, expected) in JOINS {
        let base = Url::parse(base).expect(row);
        let found = base.resolve(location);
        assert_eq!(
            found.as_ref().map(Url::as_str),
            expected.as_ref().copied(),
            "{row}"
        );
    }
}

/// What is escaped in a `Location`, and where it leads then.
#[test]
fn locations_are_escaped_where_they_must_be() {
    let origin = "https://reg.example:5000";
    let at = |path: &str| Ok(format!("{origin}{path}"));
    let table: &[(&[u8], Result<String, UrlError>)] = &[
        (b"/sto re/x", at("/sto%20re/x")),
        (b"/x?name={a}|b", at("/x?name=%7Ba%7D%7Cb")),
        ("/x?name=\u{fc}".as_bytes(), at("/x?name=%C3%BC")),
        (b"/x?name=\xfc", at("/x?name=%FC")),
        ("/\u{1f680}/x".as_bytes(), at("/%F0%9F%9A%80/x")),
        (b"/x?a=\"b\"&c=<d>", at("/x?a=%22b%22&c=%3Cd%3E")),
        (b"/x^`?^`", at("/x%5E%60?%5E%60")),
        (b"a b?c d#e f", at("/v2/a/blobs/uploads/a%20b?c%20d")),
        (b"?c d", at("/v2/a/blobs/uploads/?c%20d")),
        (b"/x/a b/../y", at("/x/y")),
        (b"//cdn.example/a b", Ok("https://cdn.example/a%20b".into())),
        (
            b"https://cdn.example/a b?c|d",
            Ok("https://cdn.example/a%20b?c%7Cd".into()),
        ),
        // What is escaped already, or needs not be, stays.
        (
            b"/a%2Fb%zz%?x=a+b%2B;'()*!$,:@[]~&=%20",
            at("/a%2Fb%zz%?x=a+b%2B;'()*!$,:@[]~&=%20"),
        ),
        // SEC-09: a backslash is a byte of a path, and never a slash.
        (
            br"\\evil.example\x",
            at("/v2/a/blobs/uploads/%5C%5Cevil.example%5Cx"),
        ),
        (br"/\evil.example/x", at("/%5Cevil.example/x")),
        (br"https:\\evil.example", Err(UrlError::NoAuthority)),
        (
            br"https://good.example\.evil.example/",
            Err(UrlError::Authority(OriginError::Host)),
        ),
        (
            br"https://good.example\@evil.example/",
            Err(UrlError::UserInfo),
        ),
        (b"https://us er@evil.example/", Err(UrlError::UserInfo)),
        (
            "https://b\u{fc}cher.example/".as_bytes(),
            Err(UrlError::Authority(OriginError::Host)),
        ),
        (
            b"https://a b.example/",
            Err(UrlError::Authority(OriginError::Host)),
        ),
        (b"ht tp://x/", Err(UrlError::Format)),
        (b"", Err(UrlError::Empty)),
        (b"/a\tb", Err(UrlError::Character)),
        (b"/a\r\nb", Err(UrlError::Character)),
        (b"/a\0b", Err(UrlError::Character)),
        (b"/a\x7fb", Err(UrlError::Character)),
        ("/a\tb\u{fc}".as_bytes(), Err(UrlError::Character)),
    ];
    let base = Url::parse(B).expect("a URL");
    for (location, expected) in table {
        let shown = String::from_utf8_lossy(location);
        let found = base.resolve_location(location);
        let found = found.map(|url| String::from(url.as_str()));
        assert_eq!(found, *expected, "{shown}");
    }
}

/// PUSHB-07: for each byte, the others stay unchanged.
#[test]
fn every_byte_of_a_location_is_kept_or_escaped() {
    let base = Url::parse(B).expect("a URL");
    for byte in 0..=255_u8 {
        for place in ["/a", "/a?b="] {
            let location = [place.as_bytes(), &[byte], b"c%2f+"].concat();
            let found = base.resolve_location(&location);
            if byte.is_ascii_control() {
                assert_eq!(found, Err(UrlError::Character), "{byte}");
                continue;
            }
            let url = found.expect("a URL");
            let kept = match byte {
                b'#' => String::from(place),
                b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{'..=b'}' | 128.. => {
                    format!("{place}%{byte:02X}c%2f+")
                }
                _ => format!("{place}{}c%2f+", char::from(byte)),
            };
            let origin = "https://reg.example:5000";
            assert_eq!(url.as_str(), format!("{origin}{kept}"), "{byte}");
            let sent = url.to_http().expect("it can be sent");
            assert_eq!(sent.path_and_query().map(|it| it.as_str()), Some(&*kept));
        }
    }
}

/// RFC 3986 section 5.4, those rows that stay within http.
#[test]
fn the_examples_of_the_rfc() {
    let base = Url::parse("http://a/b/c/d;p?q").expect("the RFC's base");
    let table = [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        ("g#s", "http://a/b/c/g"),
        (";x", "http://a/b/c/;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
    ];
    for (location, expected) in table {
        let found = base.resolve(location).expect(location);
        assert_eq!(found.as_str(), expected, "RFC 3986 5.4 {location}");
    }
}

#[test]
fn what_is_joined_is_sent_as_it_is() {
    for (row, location, base, _) in JOINS {
        let base = Url::parse(base).expect(row);
        mutations(location, |location| {
            let escaped = base.resolve_location(location.as_bytes());
            let Ok(url) = escaped else {
                assert!(base.resolve(location).is_err(), "{row} {location}");
                return;
            };
            if let Ok(kept) = base.resolve(location) {
                assert_eq!(kept, url, "{row} {location}");
            }
            assert_eq!(
                Url::parse(url.as_str()).as_ref(),
                Ok(&url),
                "{row} {location}"
            );
            let uri = url
                .to_http()
                .unwrap_or_else(|e| panic!("{e} {}", url.as_str()));
            let host = uri.host().expect("a host").to_ascii_lowercase();
            if !host.starts_with('[') {
                assert_eq!(host, url.origin().host(), "{row} {location}");
            }
            let port = uri.port_u16();
            let port = port.unwrap_or_else(|| url.origin().scheme().default_port());
            assert_eq!(port, url.origin().port(), "{row} {location}");
        });
    }
}

#[test]
fn hosts_are_compared_without_case_and_default_port() {
    for (row, one, other) in [
        ("V-D 11", B, "https://REG.example:5000/x"),
        (
            "V-D 13",
            "https://reg.example/a",
            "https://reg.example:443/b",
        ),
    ] {
        let origin = |text| Url::parse(text).expect(row).origin().clone();
        assert_eq!(origin(one), origin(other), "{row}");
    }
}

/// V-D, PUSHB-08.
#[test]
fn a_digest_is_appended() {
    let table = [
        ("V-D a", "https://r/u1", "https://r/u1?digest=D"),
        (
            "V-D b",
            "https://r/u1?_state=x%3D",
            "https://r/u1?_state=x%3D&digest=D",
        ),
        ("V-D c", "https://r/u1?", "https://r/u1?digest=D"),
        ("V-D d", "https://r/u1?a=1&", "https://r/u1?a=1&digest=D"),
        ("V-D e", "https://r/u1?flag", "https://r/u1?flag&digest=D"),
        (
            "V-D f",
            "https://r/u1?b=2&a=1&X-Sig=ab%2Bc",
            "https://r/u1?b=2&a=1&X-Sig=ab%2Bc&digest=D",
        ),
        (
            "V-D g",
            "https://r/u1?x=a+b;c=d",
            "https://r/u1?x=a+b;c=d&digest=D",
        ),
        (
            "V-D h",
            "https://r/u1?next=https://z/?q",
            "https://r/u1?next=https://z/?q&digest=D",
        ),
        ("V-D i", "https://r/u1#f", "https://r/u1?digest=D"),
        (
            "V-D j",
            "https://r/u1?digest=old",
            "https://r/u1?digest=old&digest=D",
        ),
    ];
    let digest = String::from("sha256:") + &"a".repeat(64);
    for (row, url, expected) in table {
        let url = Url::parse(url).expect(row).with_query("digest", &digest);
        let expected = expected.strip_suffix('D').expect(row).to_string() + &digest;
        assert_eq!(url.as_str(), expected, "{row}");
        assert!(url.to_http().is_ok(), "{row}");
    }
    let url = Url::parse("https://r/u1").expect("V-D k");
    let url = url.with_query("digest", "sha256+b64u:LCa");
    assert_eq!(
        url.as_str(),
        "https://r/u1?digest=sha256%2Bb64u:LCa",
        "V-D k"
    );
}

#[test]
fn parameters_are_encoded() {
    let url = Url::parse("https://a/t").expect("a URL");
    let scope = url.with_encoded_query("scope", "repository:a/b:pull,push registry:catalog:*");
    assert_eq!(
        scope.as_str(),
        "https://a/t?scope=repository:a/b:pull,push%20registry:catalog:*",
        "AUTH-63"
    );
    let all: String = (1..128u8).map(char::from).chain(['é']).collect();
    for url in [url.with_query("x", &all), url.with_encoded_query("x", &all)] {
        assert!(url.to_http().is_ok());
        assert_eq!(Url::parse(url.as_str()), Ok(url));
    }
    let filter = url.with_query("artifactType", "application/vnd.x+json");
    assert_eq!(
        filter.query(),
        Some("artifactType=application/vnd.x%2Bjson"),
        "RFR-08"
    );
}

#[test]
fn nothing_secret_is_printed() {
    let url = Url::parse("https://Reg.example:443/u1?sig=secret").expect("a URL");
    assert_eq!(
        format!("{url} {url:?}"),
        "https://reg.example/u1?*** https://reg.example/u1?***"
    );
    let url = Url::parse("http://reg.example:5000").expect("a URL");
    assert_eq!(url.to_string(), "http://reg.example:5000/");
}

#[test]
fn what_is_no_url() {
    let long = String::from("https://a/") + &"x".repeat(Url::MAX_LEN);
    let table = [
        ("/relative", UrlError::Format),
        ("reg.example/x", UrlError::Format),
        ("https://a/b/../c", UrlError::Altered),
        ("https://a/b/.", UrlError::Altered),
        ("https://a/b\nc", UrlError::Character),
        (&long, UrlError::TooLong),
    ];
    for (text, error) in table {
        assert_eq!(Url::parse(text), Err(error), "{text:.40}");
    }
    let url = Url::parse("https://a/").expect("a URL");
    assert_eq!(url.with_query("x", &long).to_http(), Err(UrlError::TooLong));
}
