//! Odd labels of real registries, through both clients: types, encodings, members and addresses that do
//! not matter are tolerated, and those that matter are checked strictly.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;

use serde_json::{Value, json};
use windlass_core::transcript;
use windlass_core::{Error, ErrorKind, Failure};
use windlass_tests::drivers::{Ask, Blocking, Driver, Many, Setup, Shelf, Watch};
use windlass_tests::hostile::{Good, Hostile, Reply, Request};
use windlass_tests::images::{Image, Layout, MANIFEST, digest};
use windlass_tests::through_both;

through_both!(
    types_that_are_none_of_a_manifest,
    encodings_that_nobody_asked_for,
    redirects_that_are_not_escaped,
    uploads_whose_location_is_not_escaped,
    locations_that_are_refused,
    members_that_are_carried_along,
    token_answers,
    errors_of_a_token_service_with_200,
    challenges,
    an_artifact_is_asked_for_by_its_type,
    a_digest_that_is_said_of_something_else,
    errors_with_200,
    an_index_without_platforms,
);

/// An image whose manifest was changed, in a layout and in a registry under `latest`.
fn changed(change: impl FnOnce(String) -> String) -> (Layout, Image, Good) {
    let (layout, mut image) = Layout::with_image(1, 3_000, 7);
    let text = String::from_utf8(layout.read(&image.manifest.digest)).unwrap();
    std::fs::remove_file(layout.blob_path(&image.manifest.digest)).unwrap();
    image.manifest = layout.add(change(text).as_bytes(), MANIFEST);
    let good = Good::serving(&layout, &image);
    (layout, image, good)
}

/// Pulls from a registry that answers some requests otherwise.
fn pull<D: Driver>(
    good: Good,
    answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> (Result<(), Failure>, Shelf, Hostile) {
    let server =
        Hostile::start(move |request| answer(request).unwrap_or_else(|| good.answer(request)));
    let shelf = Shelf::new();
    let client = D::new(&Setup::new());
    let done = client.run(Ask::pull(&server.reference("a/b:latest"), &shelf.store));
    (done.map(drop), shelf, server)
}

fn gets(request: &Request, digest: &str) -> bool {
    request.method == "GET" && request.path().ends_with(digest)
}

fn error(done: Result<(), Failure>) -> Error {
    done.unwrap_err().errors()[0].clone()
}

fn types_that_are_none_of_a_manifest<D: Driver>() {
    for kind in [
        "binary/octet-stream",
        "text/html; charset=utf-8",
        "garbage",
        "\u{fc}/x",
        "",
    ] {
        let (layout, image, good) = changed(|text| text);
        let bytes = layout.read(&image.manifest.digest);
        let (done, shelf, _server) = pull::<D>(good, move |request| {
            let is_manifest = request.path().contains("/manifests/");
            let reply = Reply::new(200).body(bytes.clone());
            is_manifest.then(|| reply.header("Content-Type", kind))
        });
        done.unwrap_or_else(|error| panic!("{kind}: {error}"));
        shelf.files.check_holds_exactly(image.all());
    }
}

/// Neither HTTP library decodes by itself, and an encoding is not refused.
fn encodings_that_nobody_asked_for<D: Driver>() {
    for coding in [
        "aws-chunked",
        "gzip",
        "br",
        "zstd",
        "deflate",
        "x",
        "identity",
    ] {
        for wrong in [false, true] {
            let (layout, image, good) = changed(|text| text);
            let all: Vec<_> = image.all().map(|blob| blob.digest.clone()).collect();
            let layer = image.layers[0].digest.clone();
            let root = image.manifest.digest.clone();
            let (done, shelf, _server) = pull::<D>(good, move |request| {
                let name = request.path().rsplit('/').next()?.to_owned();
                let name = if name == "latest" { root.clone() } else { name };
                let mut bytes = all.contains(&name).then(|| layout.read(&name))?;
                if wrong && name == layer {
                    bytes[0] ^= 1;
                }
                let reply = Reply::new(200).header("Content-Encoding", coding);
                Some(reply.body(bytes))
            });
            if !wrong {
                done.unwrap_or_else(|error| panic!("{coding}: {error}"));
                shelf.files.check_holds_exactly(image.all());
                continue;
            }
            let error = error(done);
            assert_eq!(error.kind(), ErrorKind::Mismatch, "{coding}: {error}");
            let named = error
                .to_string()
                .contains(&format!("Content-Encoding `{coding}`"));
            assert_eq!(named, coding != "identity", "{error}");
            assert!(!shelf.files.has(&image.layers[0].digest));
        }
    }
}

/// The value of a header, and what it is sent as.
const LOCATIONS: [(&[u8], &str); 6] = [
    (b"/sto re/x?a=b c", "/sto%20re/x?a=b%20c"),
    (
        b"/store/{x}|y?name={a}|b^`",
        "/store/%7Bx%7D%7Cy?name=%7Ba%7D%7Cb%5E%60",
    ),
    (
        "/store/\u{fc}?name=\u{1f680}".as_bytes(),
        "/store/%C3%BC?name=%F0%9F%9A%80",
    ),
    (b"/store/\xfc?name=\xe9", "/store/%FC?name=%E9"),
    (b"/store/\"x\"?<a>=\\", "/store/%22x%22?%3Ca%3E=%5C"),
    (
        b"/store/a%2Fb%zz?x=a+b%3D&y=",
        "/store/a%2Fb%zz?x=a+b%3D&y=",
    ),
];

/// An answer with these bytes as its `Location`.
fn located(status: &str, location: &[u8]) -> Reply {
    let status = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nLocation: ");
    let head = [
        status.as_bytes(),
        location,
        b"\r\nConnection: close\r\n\r\n",
    ];
    Reply::raw(head.concat())
}

fn redirects_that_are_not_escaped<D: Driver>() {
    for (location, sent) in LOCATIONS {
        let (layout, image, good) = changed(|text| text);
        let layer = image.layers[0].digest.clone();
        let (done, shelf, _server) = pull::<D>(good, move |request| {
            if request.target == sent {
                return Some(Reply::new(200).body(layout.read(&layer)));
            }
            gets(request, &layer).then(|| located("307", location))
        });
        done.unwrap_or_else(|error| panic!("{sent}: {error}"));
        shelf.files.check_holds_exactly(image.all());
    }
}

fn uploads_whose_location_is_not_escaped<D: Driver>() {
    for (location, sent) in LOCATIONS {
        let (layout, image) = Layout::with_image(1, 3_000, 7);
        let good = Arc::new(Good::new());
        let serving = Arc::clone(&good);
        let server = Hostile::start(move |request| {
            if request.method == "POST" {
                return located("202", location);
            }
            if request.method == "PUT" && request.path().starts_with("/sto") {
                let all = format!("{sent}&digest=");
                assert!(request.target.starts_with(&all), "{}", request.target);
            }
            serving.answer(request)
        });
        let client = D::new(&Setup::new());
        let shelf = Shelf::of(layout);
        let done = client.run(Ask::push(&shelf.store, &server.reference("a/b:v1")));
        done.unwrap_or_else(|error| panic!("{sent}: {error}"));
        assert!(image.all().all(|blob| good.has(&blob.digest)), "{sent}");
    }
}

/// SEC-09: what would be another host for somebody else.
fn locations_that_are_refused<D: Driver>() {
    for location in [
        &b"/a\tb"[..],
        b"http://localhost\\@evil.example/x",
        b"http://us er@evil.example/x",
        "http://b\u{fc}cher.example/x".as_bytes(),
        b"ht tp://evil.example/x",
        b"file:///etc/pass wd",
        b"",
    ] {
        let (_layout, image, good) = changed(|text| text);
        let layer = image.layers[0].digest.clone();
        let (done, shelf, _server) = pull::<D>(good, move |request| {
            gets(request, &layer).then(|| located("307", location))
        });
        let error = error(done);
        let shown = String::from_utf8_lossy(location);
        assert_eq!(error.kind(), ErrorKind::Refused, "{shown}: {error}");
        assert!(!shelf.files.has(&image.layers[0].digest), "{shown}");
    }
}

fn members_that_are_carried_along<D: Driver>() {
    type Change = fn(String) -> String;
    let changes: [(&str, Change); 7] = [
        ("no version", |text| {
            text.replace("\"schemaVersion\":2", "\"x\":2")
        }),
        ("a version as text", |text| {
            text.replace("\"schemaVersion\":2", "\"schemaVersion\":\"2\"")
        }),
        ("null annotations", |text| {
            with_first(text, r#""annotations":null"#)
        }),
        ("a null annotation", |text| {
            with_first(text, r#""annotations":{"a":null,"b":1,"c":{"d":[]}}"#)
        }),
        ("half a character", |text| {
            with_first(text, r#""annotations":{"a":"\ud83d","\ude00":""}"#)
        }),
        ("other types", |text| {
            with_first(
                text,
                r#""artifactType":7,"annotations":[],"new":{"a":1,"a":2}"#,
            )
        }),
        ("in descriptors", |text| {
            text.replace(
                "\"size\":",
                r#""urls":null,"data":7,"annotations":{"a":null},"platform":[],"size":"#,
            )
        }),
    ];
    for (row, change) in changes {
        let (layout, image, good) = changed(change);
        let (done, shelf, _server) = pull::<D>(good, |_| None);
        done.unwrap_or_else(|error| panic!("{row}: {error}"));
        // Other libraries do not read all of these.
        shelf.files.check_content(image.all());
        // And goes where it is sent, byte for byte.
        let there = Arc::new(Good::new());
        let serving = Arc::clone(&there);
        let server = Hostile::start(move |request| serving.answer(request));
        let client = D::new(&Setup::new());
        let done = client.run(Ask::push(&shelf.store, &server.reference("a/b:v1")));
        done.unwrap_or_else(|error| panic!("{row}: {error}"));
        let tagged = there.tagged("v1").unwrap();
        assert_eq!(
            tagged,
            digest(&layout.read(&image.manifest.digest)),
            "{row}"
        );
    }
}

fn with_first(text: String, members: &str) -> String {
    text.replacen('{', &format!("{{{members},"), 1)
}

fn token_answers<D: Driver>() {
    let answers = [
        r#"{"token":"TOK","issued_at":"1457510670","expires_in":300}"#,
        r#"{"token":"TOK","issued_at":1457510670.5,"expires_in":"300.5"}"#,
        r#"{"token":"TOK","issued_at":null,"expires_in":null}"#,
        r#"{"token":null,"access_token":"TOK","issued_at":[],"expires_in":-1}"#,
        r#"{"token":"TOK","issued_at":{"a":"\ud83d"},"expires_in":true,"scope":7}"#,
    ];
    for answer in answers {
        let (_layout, image, good) = changed(|text| text);
        let (done, shelf, _server) = pull::<D>(good, move |request| {
            if request.path() == "/token" {
                return Some(Reply::new(200).body(answer));
            }
            let is_known = request.header("authorization") == Some("Bearer TOK");
            let host = request.header("host").unwrap_or_default();
            let challenge = format!("Bearer realm=\"http://{host}/token\"");
            (!is_known).then(|| Reply::new(401).header("WWW-Authenticate", challenge))
        });
        done.unwrap_or_else(|error| panic!("{answer}: {error}"));
        shelf.files.check_holds_exactly(image.all());
    }
}

/// What a token service says with 200 instead of a token is told.
fn errors_of_a_token_service_with_200<D: Driver>() {
    let (_layout, _image, good) = changed(|text| text);
    let (done, _shelf, _server) = pull::<D>(good, move |request| {
        if request.path() == "/token" {
            let said = r#"{"errors":[{"code":"DENIED","message":"say it"}],"token":""}"#;
            return Some(Reply::new(200).body(said));
        }
        let host = request.header("host").unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        Some(Reply::new(401).header("WWW-Authenticate", challenge))
    });
    let error = error(done);
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("say it"), "{error}");
}

fn challenges<D: Driver>() {
    let challenges = [
        "Basic realm=\"Registry",
        "Basic realm=\"the \"best\" registry\"",
        "Basic; realm=x",
        "Basic realm=\"Zugang f\u{fc}r alle\"",
        "Bearer realm=\"http://HOST/token\";service=\"s\";scope=\"repository:a/b:pull\"",
        "Bearer realm=http://HOST/token;service=s",
        "Bearer realm=\"http://HOST/token\",error=\"invalid_token\",error_description=\"cut of",
    ];
    for challenge in challenges {
        let (_layout, image, good) = changed(|text| text);
        let good = Arc::new(good);
        let server = Hostile::start(move |request| {
            if request.path() == "/token" {
                return Reply::new(200).body(r#"{"token":"TOK"}"#);
            }
            let shown = request.header("authorization").unwrap_or_default();
            if shown == "Bearer TOK" || shown.starts_with("Basic ") {
                return good.answer(request);
            }
            let host = request.header("host").unwrap_or_default();
            Reply::new(401).header("WWW-Authenticate", challenge.replace("HOST", host))
        });
        let shelf = Shelf::new();
        let client = D::new(&Setup::new().alice());
        let done = client.run(Ask::pull(&server.reference("a/b:latest"), &shelf.store));
        done.unwrap_or_else(|error| panic!("{challenge}: {error}"));
        shelf.files.check_holds_exactly(image.all());
    }
}

/// An index in a registry under `latest`.
fn index(good: &Good, layout: &Layout, entries: &[Value]) {
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
    let index = layout.add(index.to_string().as_bytes(), kind);
    good.add_all(layout, std::iter::once(&index));
    good.tag("latest", &index);
}

/// A strict registry answers 404 to who does not name the type.
fn an_artifact_is_asked_for_by_its_type<D: Driver>() {
    const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
    let (layout, image, good) = changed(|text| text);
    let blob = image.layers[0].descriptor();
    let artifact = json!({"mediaType": ARTIFACT, "artifactType": "a/b", "blobs": [blob]});
    let artifact = layout.add(artifact.to_string().as_bytes(), ARTIFACT);
    good.add_all(&layout, std::iter::once(&artifact));
    index(&good, &layout, &[artifact.descriptor()]);
    let child = artifact.digest.clone();
    let server = Hostile::start(move |request| {
        let accept = request.header("accept").unwrap_or_default();
        if request.path().ends_with(&child) && !accept.split(", ").any(|it| it == ARTIFACT) {
            return Reply::error(404, "MANIFEST_UNKNOWN", "not accepted");
        }
        good.answer(request)
    });
    let shelf = Shelf::new();
    let client = D::new(&Setup::new());
    let ask = Ask::pull(&server.reference("a/b:latest"), &shelf.store);
    client.run(ask.all_platforms()).unwrap();
    assert!(shelf.files.has(&artifact.digest));
}

/// By tag, content is named by what it hashes to; that somebody says otherwise is told.
fn a_digest_that_is_said_of_something_else<D: Driver>() {
    let (layout, image, good) = changed(|text| text);
    let bytes = layout.read(&image.manifest.digest);
    let other = digest(b"something else");
    let named = other.clone();
    let server = Hostile::start(move |request| {
        if !request.path().contains("/manifests/") {
            return good.answer(request);
        }
        Reply::new(200)
            .header("Content-Type", MANIFEST)
            .header("Docker-Content-Digest", &named)
            .body(bytes.clone())
    });
    let (shelf, watch) = (Shelf::new(), Arc::new(Watch::default()));
    let client = D::new(&Setup::new());
    let ask = Ask::pull(&server.reference("a/b:latest"), &shelf.store);
    client.run(ask.watched(&watch)).unwrap();
    shelf.files.check_holds_exactly(image.all());
    let told: Vec<String> = watch.events().iter().map(transcript::event).collect();
    let told = told
        .iter()
        .filter(|line| line.contains("Docker-Content-Digest"));
    let told: Vec<&String> = told.collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&other) && told[0].contains(&image.manifest.digest));
}

fn errors_with_200<D: Driver>() {
    for (body, kind) in [
        (
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"say it"}]}"#,
            ErrorKind::NotFound,
        ),
        (
            r#"{"errors":[{"code":"DENIED","message":"say it"}]}"#,
            ErrorKind::Auth,
        ),
        (
            r#"{"errors":[{"code":"UNSUPPORTED","message":"say it"}]}"#,
            ErrorKind::Refused,
        ),
    ] {
        let (_layout, _image, good) = changed(|text| text);
        let (done, _shelf, server) = pull::<D>(good, move |request| {
            let is_manifest = request.path().contains("/manifests/");
            is_manifest.then(|| Reply::new(200).header("Content-Type", MANIFEST).body(body))
        });
        let error = error(done);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("say it"), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

/// IDX-17: there is nothing to choose by, so the entries are listed and none is pulled.
fn an_index_without_platforms<D: Driver>() {
    let (layout, image, good) = changed(|text| text);
    let other = layout.add(b"{}", MANIFEST);
    index(
        &good,
        &layout,
        &[image.manifest.descriptor(), other.descriptor()],
    );
    let (done, shelf, _server) = pull::<D>(good, |_| None);
    let error = error(done);
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let hint = error.hint().unwrap();
    for entry in [&image.manifest, &other] {
        assert!(hint.contains(&entry.digest), "{hint}");
    }
    assert!(!shelf.files.has(&image.manifest.digest));
}

/// A pull from a registry that sends `count` unused headers of `size` bytes each.
fn with_headers<D: Driver>(count: usize, size: usize) -> Result<(), Failure> {
    let (_layout, image, good) = changed(|text| text);
    let good = Arc::new(good);
    let serving = Arc::clone(&good);
    let server = Hostile::start(move |request| {
        let fields = (0..count).map(|n| (format!("X-Field-{n}"), "v".repeat(size)));
        fields.fold(serving.answer(request), |reply, (name, value)| {
            reply.header(&name, value)
        })
    });
    let shelf = Shelf::new();
    let client = D::new(&Setup::new());
    let done = client.run(Ask::pull(&server.reference("a/b:latest"), &shelf.store));
    if done.is_ok() {
        shelf.files.check_holds_exactly(image.all());
    }
    done.map(drop)
}

/// Their bytes are limited, not their number.
#[test]
fn many_headers_for_the_blocking_client() {
    for (count, size) in [(120, 1), (150, 1), (3_000, 1), (400, 100)] {
        with_headers::<Blocking>(count, size).unwrap_or_else(|error| panic!("{count}: {error}"));
    }
    let error = error(with_headers::<Blocking>(800, 100));
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

/// reqwest has no setting for hyper's limit.
#[test]
fn many_headers_for_the_async_client() {
    with_headers::<Many>(90, 1).unwrap();
    let error = error(with_headers::<Many>(150, 1));
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}
