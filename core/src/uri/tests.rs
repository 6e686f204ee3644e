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
            let Ok(url) = base.resolve(location) else {
                return;
            };
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
