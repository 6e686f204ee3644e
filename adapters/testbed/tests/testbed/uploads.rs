//! PUSHB and the upload part of conformance (8.5).

use http::Method;
use windlass_testbed::{Digest, Options, Uploads};

use crate::client::{Client, code, location, request};

pub(crate) const START: &str = "/v2/team/app/blobs/uploads/";

pub(crate) fn client(uploads: Uploads) -> Client {
    Client::new(Options {
        uploads,
        ..Options::default()
    })
}

pub(crate) fn start(client: &mut Client) -> String {
    let answer = client.post(START);
    assert_eq!(answer.status, 202);
    assert_eq!(answer.field("range"), Some("0-0"));
    location(&answer)
}

pub(crate) fn closing(session: &str, digest: &Digest) -> String {
    format!("{session}&digest={digest}")
}

/// Post+put with random, empty and `{}` data, in sha256 and sha512.
#[test]
fn post_then_put() {
    for data in [b"some bytes".as_slice(), b"", b"{}"] {
        for digest in [Digest::sha256(data), Digest::sha512(data)] {
            let mut client = client(Uploads::default());
            let start = client.post(&format!("{START}?digest-algorithm={}", digest.algorithm()));
            assert_eq!(start.status, 202);
            let answer = client.put(&closing(&location(&start), &digest), data);
            assert_eq!(answer.status, 201);
            assert_eq!(answer.field("docker-content-digest"), Some(digest.as_str()));
            let blob = client.get(&location(&answer));
            assert_eq!((blob.status.as_u16(), &blob.body[..]), (200, data));
            assert_eq!(client.model.open_uploads(), 0);
        }
    }
    let mut client = client(Uploads::default());
    assert_eq!(
        client.post(&format!("{START}?digest-algorithm=md5")).status,
        400
    );
}

/// Bytes by PATCH only: the session survives a PUT that brings some.
#[test]
fn a_put_may_have_to_be_empty() {
    let mut client = client(Uploads {
        put_bodies: false,
        ..Uploads::default()
    });
    let digest = Digest::sha256(b"data");
    let session = start(&mut client);
    let refused = client.put(&closing(&session, &digest), b"data");
    assert_eq!(
        (refused.status.as_u16(), code(&refused)),
        (405, "UNSUPPORTED".into())
    );
    let patch = request(Method::PATCH, &session).body(b"data".to_vec());
    let session = location(&client.ask(patch));
    assert_eq!(client.put(&closing(&session, &digest), b"").status, 201);
}

/// PUSHB-18: ignored unless asked for.
#[test]
fn one_request() {
    let target = format!("{START}?digest={}", Digest::sha256(b"data"));
    let post = |body: &[u8]| request(Method::POST, &target).body(body.to_vec());
    let mut ignoring = client(Uploads::default());
    let answer = ignoring.ask(post(b"data"));
    assert_eq!(answer.status, 202);
    let digest = Digest::sha256(b"data");
    assert_eq!(
        ignoring
            .put(&closing(&location(&answer), &digest), b"data")
            .status,
        201
    );

    let mut honouring = client(Uploads {
        one_request: true,
        ..Uploads::default()
    });
    assert_eq!(honouring.ask(post(b"data")).status, 201);
    let answer = honouring.ask(post(b"else"));
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (400, "DIGEST_INVALID")
    );
}

/// Chunks: one, many, the last in the PUT; `Range` after each is the blob so far (PUSHB-30).
#[test]
fn chunks() {
    let digest = Digest::sha256(b"aaaabbbbcc");
    let mut client = client(Uploads::default());
    let session = start(&mut client);
    let answer = client.patch(&session, Some("0-3"), b"aaaa");
    assert_eq!(
        (answer.status.as_u16(), answer.field("range")),
        (202, Some("0-3"))
    );
    let answer = client.patch(&location(&answer), Some("4-7"), b"bbbb");
    assert_eq!(
        (answer.status.as_u16(), answer.field("range")),
        (202, Some("0-7"))
    );
    let last = request(Method::PUT, &closing(&location(&answer), &digest))
        .header("content-range", "8-9")
        .body(&b"cc"[..]);
    assert_eq!(client.ask(last).status, 201);

    let session = start(&mut client);
    let answer = client.patch(&session, Some("0-9"), b"aaaabbbbcc");
    assert_eq!(
        client
            .put(&closing(&location(&answer), &digest), b"")
            .status,
        201
    );
}

/// A stream has no `Content-Range`.
#[test]
fn stream() {
    let mut client = client(Uploads::default());
    let session = start(&mut client);
    let answer = client.patch(&session, None, b"streamed");
    assert_eq!(
        (answer.status.as_u16(), answer.field("range")),
        (202, Some("0-7"))
    );
    let digest = Digest::sha256(b"streamed");
    assert_eq!(
        client
            .put(&closing(&location(&answer), &digest), b"")
            .status,
        201
    );
}

/// Out of order: 416, then the status tells where to go on (PUSHB-36).
#[test]
fn out_of_order() {
    let mut client = client(Uploads::default());
    let session = start(&mut client);
    let answer = client.patch(&session, Some("4-7"), b"bbbb");
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (416, "RANGE_INVALID")
    );
    assert_eq!(answer.field("location"), None);
    let status = client.get(&session);
    assert_eq!(
        (status.status.as_u16(), status.field("range")),
        (204, Some("0-0"))
    );
    let answer = client.patch(&location(&status), Some("0-3"), b"aaaa");
    let next = location(&answer);
    // An acknowledged chunk again is out of order (v1.1.1 suite).
    assert_eq!(client.patch(&next, Some("0-3"), b"aaaa").status, 416);
    let status = client.get(&next);
    assert!(status.field("range").unwrap().starts_with("0-3"));
    assert_eq!(status.field("content-length"), None);
    // N-6: the closing PUT too.
    let wrong = request(
        Method::PUT,
        &closing(&location(&status), &Digest::sha256(b"aaaacc")),
    )
    .header("content-range", "9-10")
    .body(&b"cc"[..]);
    assert_eq!(client.ask(wrong).status, 416);
}

/// V-E.2's wrong headers: RFC form, wrong length, nonsense.
#[test]
fn malformed_content_range() {
    let mut client = client(Uploads::default());
    let session = start(&mut client);
    for range in [
        "bytes 0-3/*",
        "0-3/4",
        "0-",
        "-3",
        "abc",
        "0-99999999999999999999",
    ] {
        assert_eq!(
            client.patch(&session, Some(range), b"aaaa").status,
            400,
            "{range}"
        );
    }
    let answer = client.patch(&session, Some("0-4"), b"aaaa");
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (400, "SIZE_INVALID")
    );
    let typed = request(Method::PATCH, &session).header("content-type", "text/plain");
    assert_eq!(client.ask(typed.body(&b"x"[..])).status, 415);
    // Nothing of this was stored.
    assert_eq!(client.patch(&session, Some("0-3"), b"aaaa").status, 202);
}

/// PUSHB-22: a wrong digest is 400 and ends the session; a malformed one is 400.
#[test]
fn wrong_digest() {
    let mut client = client(Uploads::default());
    let session = start(&mut client);
    assert_eq!(
        client
            .put(&format!("{session}&digest=sha256:zz"), b"data")
            .status,
        400
    );
    assert_eq!(client.put(&session, b"data").status, 400);
    let other = Digest::sha256(b"other");
    let answer = client.put(&closing(&session, &other), b"data");
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (400, "DIGEST_INVALID")
    );
    let answer = client.get(&session);
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (404, "BLOB_UPLOAD_UNKNOWN")
    );
    assert_eq!(
        client.get(&format!("/v2/team/app/blobs/{other}")).status,
        404
    );
}
