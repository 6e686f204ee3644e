//! PUSHB: locations, stale states, mounts, and what broken requests leave behind.

use core::time::Duration;

use http::Method;
use windlass_testbed::{Digest, Location, Options, Stale, UploadRange, Uploads};

use crate::client::{Client, code, location, request};
use crate::uploads::{START, client, closing, start};

/// PUSHB-38, as CNCF v3 and as v2.8.
#[test]
fn stale_state() {
    let mut v3 = client(Uploads::default());
    let old = start(&mut v3);
    let new = location(&v3.patch(&old, None, b"aa"));
    assert_ne!(old, new);
    assert_eq!(v3.patch(&old, None, b"bb").status, 416);
    assert_eq!(
        v3.put(&closing(&old, &Digest::sha256(b"aa")), b"").status,
        416
    );
    let status = v3.get(&old);
    assert_eq!(
        (status.status.as_u16(), status.field("range")),
        (204, Some("0-1"))
    );
    assert_eq!(
        v3.patch(&new, None, b"bb").status,
        416,
        "the status rotated it"
    );
    assert_eq!(v3.patch(&location(&status), None, b"bb").status, 202);

    let mut v2 = client(Uploads {
        stale: Stale::Invalid,
        ..Uploads::default()
    });
    let old = start(&mut v2);
    let new = location(&v2.patch(&old, None, b"aa"));
    let answer = v2.get(&old);
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (404, "BLOB_UPLOAD_INVALID")
    );
    assert_eq!(v2.get(&new).status, 404, "the session is gone");
}

/// PUSHB-37: some servers help.
#[test]
fn helpful_416() {
    let mut client = client(Uploads {
        help_on_416: true,
        ..Uploads::default()
    });
    let session = start(&mut client);
    let session = location(&client.patch(&session, Some("0-3"), b"aaaa"));
    let answer = client.patch(&session, Some("9-9"), b"x");
    assert_eq!(
        (answer.status.as_u16(), answer.field("range")),
        (416, Some("0-3"))
    );
    assert_eq!(
        answer.field("content-length"),
        Some(answer.body.len().to_string().as_str())
    );
    assert_eq!(
        client.patch(&location(&answer), Some("4-4"), b"x").status,
        202
    );
}

/// N-5, PUSHB-43.
#[test]
fn cancel_and_expiry() {
    let mut client = client(Uploads {
        life: Some(Duration::from_secs(60)),
        ..Uploads::default()
    });
    let session = start(&mut client);
    assert_eq!(client.delete(&session).status, 204);
    assert_eq!(client.delete(&session).status, 404);
    let session = start(&mut client);
    client.now += Duration::from_secs(59);
    let session = location(&client.get(&session));
    client.now += Duration::from_secs(60);
    assert_eq!(client.get(&session).status, 404);
    // A session belongs to its repository.
    let session = start(&mut client).replace("team/app", "team/other");
    assert_eq!(client.get(&session).status, 404);
}

/// PUSHB-05, PUSHB-07, PUSHB-09.
#[test]
fn locations() {
    let mut absolute = client(Uploads {
        location: Location::Absolute,
        ..Uploads::default()
    });
    assert!(start(&mut absolute).starts_with("http://registry.test/v2/team/app/blobs/uploads/"));

    let mut signed = client(Uploads {
        signed_location: true,
        ..Uploads::default()
    });
    let session = start(&mut signed);
    let digest = Digest::sha256(b"x");
    let sorted = closing(
        &session.replace("&a=%7E1", "").replace("?z", "?a=%7E1&z"),
        &digest,
    );
    assert_eq!(signed.put(&sorted, b"x").status, 416);
    assert_eq!(
        signed
            .put(&closing(&session.replace("%7E", "~"), &digest), b"x")
            .status,
        416
    );
    assert_eq!(signed.put(&closing(&session, &digest), b"x").status, 201);

    let location = Location::Elsewhere("http://up.test".to_owned());
    let mut elsewhere = client(Uploads {
        location,
        ..Uploads::default()
    });
    let session = start(&mut elsewhere);
    let there = closing(session.strip_prefix("http://up.test").unwrap(), &digest);
    let put = || {
        let mut put = request(Method::PUT, &there).body(&b"x"[..]);
        put.host = "up.test".to_owned();
        put
    };
    assert_eq!(
        elsewhere
            .ask(put().header("authorization", "Bearer t"))
            .status,
        400
    );
    assert_eq!(elsewhere.ask(put()).status, 201);
}

/// HTTP-12, HTTP-15: the storage takes a body once, and says where the session is.
#[test]
fn bodies_elsewhere() {
    let mut client = client(Uploads {
        redirects: Some("http://put.test".to_owned()),
        ..Uploads::default()
    });
    let at_storage = |method, target: &str| {
        let mut asked = request(method, target).body(&b"x"[..]);
        asked.host = "put.test".to_owned();
        asked
    };
    let digest = Digest::sha256(b"xx");
    let session = start(&mut client);
    let answer = client.patch(&session, Some("0-0"), b"x");
    assert_eq!(answer.status, 307);
    let there = location(&answer);
    let there = there.strip_prefix("http://put.test").unwrap();
    assert_eq!(client.ask(at_storage(Method::HEAD, there)).status, 403);
    // That was the one request that it was good for.
    assert_eq!(client.ask(at_storage(Method::PATCH, there)).status, 403);
    let there = location(&client.patch(&session, Some("0-0"), b"x"));
    let there = there.strip_prefix("http://put.test").unwrap();
    let asked = at_storage(Method::PATCH, there).header("content-range", "0-0");
    let refused = asked.clone().header("authorization", "Bearer t");
    assert_eq!(client.ask(refused).status, 400);
    let answer = client.ask(asked);
    assert_eq!(answer.status, 202);
    let session = location(&answer);
    let session = session.strip_prefix("http://registry.test").unwrap();
    let there = location(&client.put(&closing(session, &digest), b"x"));
    let there = there.strip_prefix("http://put.test").unwrap();
    assert_eq!(client.ask(at_storage(Method::PUT, there)).status, 201);
}

/// PUSHB-11, PUSHB-31 and sizes.
#[test]
fn minimum_and_lies() {
    let mut strict = client(Uploads {
        chunk_min_length: Some(4),
        ..Uploads::default()
    });
    let answer = strict.post(START);
    assert_eq!(answer.field("oci-chunk-min-length"), Some("4"));
    let answer = strict.patch(&location(&answer), Some("0-1"), b"aa");
    assert_eq!(answer.status, 202);
    assert_eq!(
        strict.patch(&location(&answer), Some("2-3"), b"bb").status,
        400
    );

    for (range, second) in [
        (UploadRange::ChunkOnly, Some("4-7")),
        (UploadRange::OffByOne, Some("0-8")),
        (UploadRange::Absent, None),
    ] {
        let mut client = client(Uploads {
            range,
            ..Uploads::default()
        });
        let first = location(&client.post(START));
        let answer = client.patch(&first, Some("0-3"), b"aaaa");
        let answer = client.patch(&location(&answer), Some("4-7"), b"bbbb");
        assert_eq!(answer.field("range"), second);
    }

    let mut small = Client::new(Options {
        max_body: Some(4),
        ..Options::default()
    });
    let session = location(&small.post(START));
    assert_eq!(small.patch(&session, Some("0-4"), b"aaaaa").status, 413);
    assert_eq!(small.patch(&session, Some("0-3"), b"aaaa").status, 202);
    let mut no_chunks = Client::new(Options {
        chunked_bodies: false,
        ..Options::default()
    });
    let chunked = request(Method::POST, START).header("transfer-encoding", "chunked");
    assert_eq!(no_chunks.ask(chunked).status, 411);
}

/// PUSHB-50 to 52, PUSHB-55.
#[test]
fn mounts() {
    let mut client = client(Uploads::default());
    let digest = client.model.put_blob("base", "layer");
    let answer = client.post(&format!("{START}?mount={digest}&from=base"));
    assert_eq!(answer.status, 201);
    assert_eq!(location(&answer), format!("/v2/team/app/blobs/{digest}"));
    assert_eq!(client.get(&location(&answer)).status, 200);

    // A missing blob, a missing repository, no source: a session each.
    let other = Digest::sha256(b"other");
    assert_eq!(
        client
            .post(&format!("{START}?mount={other}&from=base"))
            .status,
        202
    );
    assert_eq!(
        client
            .post(&format!("{START}?mount={other}&from=none"))
            .status,
        202
    );
    let target = format!("/v2/new/blobs/uploads/?mount={digest}");
    assert_eq!(client.post(&target).status, 202);
    client.model.options_mut().uploads.anonymous_mount = true;
    assert_eq!(client.post(&target).status, 201);
    assert_eq!(
        client
            .post(&format!("{START}?mount=sha256:x&from=base"))
            .status,
        400
    );
}

/// What a broken PATCH or PUT leaves behind, and where the status says to go on (PUSHB-40).
#[test]
fn broken_requests() {
    for keep_partial in [true, false] {
        let mut client = client(Uploads {
            keep_partial,
            ..Uploads::default()
        });
        let session = start(&mut client);
        let part = request(Method::PATCH, &session)
            .header("content-range", "0-9")
            .body("12345");
        client.model.cut(&part, client.now);
        let status = client.get(&session);
        let range = if keep_partial { "0-4" } else { "0-0" };
        assert_eq!(status.field("range"), Some(range));
        if keep_partial {
            let answer = client.patch(&location(&status), Some("5-9"), b"67890");
            let digest = Digest::sha256(b"1234567890");
            assert_eq!(
                client
                    .put(&closing(&location(&answer), &digest), b"")
                    .status,
                201
            );
        }
    }
}

/// PUSHB-55 at registries that know no mounts, and one that says it did what it did not.
#[test]
fn mounts_that_do_not_happen() {
    let mut client = client(Uploads {
        mounts: false,
        ..Uploads::default()
    });
    let digest = client.model.put_blob("base", &b"data"[..]);
    let mount = format!("{START}?mount={digest}&from=base");
    assert_eq!(client.post(&mount).status, 202);
    client.model.options_mut().uploads.mounts = true;
    client.model.options_mut().vouches = true;
    assert_eq!(client.post(&mount).status, 201);
    assert_eq!(client.model.blob_bytes("team/app", &digest), None);
    let target = format!("/v2/team/app/blobs/{digest}");
    assert_eq!(client.head(&target).status, 200);
    assert_eq!(client.get(&target).status, 404);
}
