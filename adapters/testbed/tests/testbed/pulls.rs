//! PING, PULLB, RNG, and the storage host.

use core::time::Duration;

use http::{Method, StatusCode};
use windlass_testbed::{
    Answer, BlobHeads, Digest, Labels, Model, Options, Ranges, Request, Signature, Storage, image,
};

use crate::client::{Client, code, location, request};

fn with_blob(options: Options, blob: &[u8]) -> (Client, String) {
    let mut client = Client::new(options);
    let digest = client.model.put_blob("team/app", blob.to_vec());
    (client, format!("/v2/team/app/blobs/{digest}"))
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect()
}

/// PING-01, PING-06.
#[test]
fn ping() {
    let mut client = Client::new(Options::default());
    assert_eq!(client.get("/v2/").status, 200);
    assert_eq!(client.head("/v2/").status, 200);
    assert_eq!(client.get("/v2").status, 301);
    assert_eq!(client.get("/").status, 404);
    assert_eq!(client.post("/v2/").status, 405);
}

/// Labels that decide nothing: the content is what it is. Addresses are good in their escaped form only.
#[test]
fn labels() {
    let app = image(&[b"layer".to_vec()]);
    let labelled = |storage: Option<Storage>| {
        let mut client = Client::new(Options {
            storage,
            labels: Labels {
                manifest_type: Some("text/html".into()),
                encoding: Some("gzip".into()),
                unescaped: true,
                ..Labels::default()
            },
            ..Options::default()
        });
        client.model.put_image("team/app", Some("v1"), &app);
        client
    };
    let mut client = labelled(None);
    let blob = format!("/v2/team/app/blobs/{}", app.blob_digests()[0]);
    for (target, bytes) in [
        ("/v2/team/app/manifests/v1", &app.manifest),
        (blob.as_str(), &app.config),
    ] {
        let answer = client.get(target);
        assert_eq!(answer.field("content-encoding"), Some("gzip"), "{target}");
        assert_eq!(&answer.body, bytes, "{target}");
    }
    let manifest = client.get("/v2/team/app/manifests/v1");
    assert_eq!(manifest.field("content-type"), Some("text/html"));

    let told = |answer: &Answer| {
        let value = answer.headers.get("location").expect("a Location");
        String::from_utf8(value.as_bytes().to_vec()).expect("UTF-8")
    };
    let escaped = |told: &str| {
        let mut sent = String::new();
        for byte in told.bytes() {
            match byte {
                b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{'..=b'}' | 128.. => {
                    sent.push_str(&format!("%{byte:02X}"));
                }
                _ => sent.push(char::from(byte)),
            }
        }
        sent
    };
    let upload = told(&client.post("/v2/team/app/blobs/uploads/"));
    let digest = format!("&digest={}", Digest::sha256(b"x"));
    let good = escaped(&upload);
    for (target, status) in [
        (upload + &digest, 416),
        (good.replace("%7b", "{") + &digest, 416),
        (good + &digest, 201),
    ] {
        assert_eq!(client.put(&target, b"x").status, status, "{target}");
    }

    let mut client = labelled(Some(Storage::new("http://storage.test")));
    let stored = told(&client.get(&blob));
    let stored = stored.strip_prefix("http://storage.test").expect("there");
    let asked = |target: &str| Request::new(Method::GET, "storage.test", target);
    assert_eq!(client.ask(asked(stored)).status, 403);
    assert_eq!(client.ask(asked(&escaped(stored))).status, 200);
}

/// PULLB-01: GET and HEAD, there and not there; a HEAD has the length and no body.
#[test]
fn blobs() {
    let (mut client, target) = with_blob(Options::default(), b"content");
    let answer = client.get(&target);
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, &b"content"[..])
    );
    assert_eq!(answer.field("content-length"), Some("7"));
    assert_eq!(
        answer.field("docker-content-digest"),
        Some(Digest::sha256(b"content").as_str())
    );
    let answer = client.head(&target);
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert_eq!(answer.field("content-length"), Some("7"));

    let absent = format!("/v2/team/app/blobs/{}", Digest::sha256(b"other"));
    let answer = client.get(&absent);
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (404, "BLOB_UNKNOWN")
    );
    let answer = client.head(&absent);
    assert_eq!((answer.status.as_u16(), answer.body.len()), (404, 0));
    // The blob is in one repository only.
    let other = target.replace("team/app", "team/other");
    assert_eq!(client.get(&other).status, 404);
    assert_eq!(client.get("/v2/team/app/blobs/sha256:abc").status, 400);
    assert_eq!(client.get("/v2/Team/blobs/sha256:abc").status, 400);
}

/// PULLB-06: the empty blob is a blob.
#[test]
fn empty_blob() {
    let (mut client, target) = with_blob(Options::default(), b"");
    let answer = client.get(&target);
    assert_eq!(
        (answer.status.as_u16(), answer.field("content-length")),
        (200, Some("0"))
    );
    let answer = client.ask(request(Method::GET, &target).header("range", "bytes=0-"));
    assert_eq!(answer.status, 416);
    assert_eq!(answer.field("content-range"), Some("bytes */0"));
}

/// RNG-14: conformance's six ranges.
#[test]
fn six_ranges() {
    let blob = bytes(2048);
    let (mut client, target) = with_blob(Options::default(), &blob);
    for (range, status, content_range, part) in [
        (
            "500-1499",
            206,
            Some("bytes 500-1499/2048"),
            &blob[500..1500],
        ),
        ("500-", 206, Some("bytes 500-2047/2048"), &blob[500..]),
        ("-500", 206, Some("bytes 1548-2047/2048"), &blob[1548..]),
        (
            "2000-5000",
            206,
            Some("bytes 2000-2047/2048"),
            &blob[2000..],
        ),
        ("500-0", 200, None, &blob[..]),
    ] {
        let range = format!("bytes={range}");
        let answer = client.ask(request(Method::GET, &target).header("range", &range));
        assert_eq!(answer.status, status, "{range}");
        assert_eq!(answer.field("content-range"), content_range, "{range}");
        assert_eq!(&answer.body[..], part, "{range}");
    }
    let answer = client.ask(request(Method::GET, &target).header("range", "bytes=5000-10000"));
    assert_eq!(answer.status, 416);
    assert_eq!(answer.field("content-range"), Some("bytes */2048"));
}

/// RNG-02, RNG-05, RNG-06 and If-Range.
#[test]
fn other_ranges() {
    let blob = bytes(100);
    let (mut client, target) = with_blob(Options::default(), &blob);
    let ranged = || request(Method::GET, &target).header("range", "bytes=10-19");
    let head = client.ask(request(Method::HEAD, &target).header("range", "bytes=10-19"));
    assert_eq!(
        (head.status.as_u16(), head.field("content-length")),
        (200, Some("100"))
    );
    assert_eq!(
        client.ask(ranged().header("if-range", "\"other\"")).status,
        200
    );
    let etag = client.get(&target).field("etag").unwrap().to_owned();
    assert_eq!(client.ask(ranged().header("if-range", &etag)).status, 206);

    client.model.options_mut().ranges = Ranges::Shortened(4);
    let answer = client.ask(ranged());
    assert_eq!(answer.field("content-range"), Some("bytes 10-13/100"));
    assert_eq!(&answer.body[..], &blob[10..14]);

    client.model.options_mut().ranges = Ranges::Ignored;
    let answer = client.ask(ranged());
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 100));
    assert_eq!(answer.field("accept-ranges"), None);
}

/// PULLB-05, HTTP-12, HTTP-15: another host, a signature, and no Authorization.
#[test]
fn storage() {
    let storage = Storage::new("http://storage.test:9000");
    let options = Options {
        storage: Some(storage),
        ..Options::default()
    };
    let (mut client, target) = with_blob(options, b"content");
    assert_eq!(client.head(&target).status, 200);
    let answer = client.get(&target);
    assert_eq!(answer.status, 307);
    let location = location(&answer);
    let there = location
        .strip_prefix("http://storage.test:9000")
        .unwrap()
        .to_owned();
    let fetch = |target: &str| Request::new(Method::GET, "storage.test:9000", target);

    let answer = client.ask(fetch(&there));
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, &b"content"[..])
    );
    let answer = client.ask(fetch(&there).header("range", "bytes=3-"));
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (206, &b"tent"[..])
    );
    let answer = client.ask(fetch(&there).header("authorization", "Basic eDp5"));
    assert_eq!(answer.status, 400);
    // Byte for byte: an equal query in another spelling is not the one that was signed.
    assert_eq!(client.ask(fetch(&there.replace("%2F", "/"))).status, 403);
    assert_eq!(client.ask(fetch(&there.replace("%2b", "%2B"))).status, 403);
    // The registry is not on that host.
    assert_eq!(client.ask(fetch(&target)).status, 403);

    client.now += Duration::from_secs(60);
    assert_eq!(client.ask(fetch(&there)).status, 403);
}

#[test]
fn one_time_signature() {
    let mut storage = Storage::new("http://storage.test");
    storage.signature = Signature::OneTime;
    let options = Options {
        storage: Some(storage),
        ..Options::default()
    };
    let (mut client, target) = with_blob(options, b"content");
    let there = location(&client.get(&target)).replace("http://storage.test", "");
    let fetch = || Request::new(Method::GET, "storage.test", &there);
    assert_eq!(client.ask(fetch()).status, 200);
    assert_eq!(client.ask(fetch()).status, 403);
}

#[test]
fn hosts() {
    let mut options = Options::default();
    options.registry_hosts.insert("registry.test".to_owned());
    let mut client = Client::new(options);
    assert_eq!(client.get("/v2/").status, 200);
    assert_eq!(
        client
            .ask(Request::new(Method::GET, "other.test", "/v2/"))
            .status,
        421
    );
}

/// The same questions at the same times have the same answers, and a clone goes its own way.
#[test]
fn deterministic() {
    let run = || {
        let mut client = Client::new(Options::default());
        client
            .model
            .put_image("a", Some("t"), &image(&[b"layer".to_vec()]));
        let session = location(&client.post("/v2/a/blobs/uploads/"));
        client.patch(&session, None, b"bytes");
        client.get("/v2/a/manifests/t");
        format!("{:?}", client.model)
    };
    assert_eq!(run(), run());

    let mut original = Model::new(Options::default());
    let mut clone = original.clone();
    clone.put_blob("a", "x");
    assert_eq!(
        (
            original.repositories().count(),
            clone.repositories().count()
        ),
        (0, 1)
    );
    original.note(&request(Method::GET, "/v2/"), None, Duration::ZERO);
    assert_eq!((original.log().len(), clone.log().len()), (1, 0));
    assert_eq!(original.log()[0].line(), "GET /v2/ cut");
}

/// PUSHB-02: a HEAD of a blob that is there may be refused, by the registry or by its storage.
#[test]
fn refused_heads_of_blobs() {
    let mut client = Client::new(Options {
        blob_heads: BlobHeads::Refused(StatusCode::FORBIDDEN),
        storage: Some(Storage::new("http://storage.test")),
        ..Options::default()
    });
    let digest = client.model.put_blob("team/app", &b"data"[..]);
    let target = format!("/v2/team/app/blobs/{digest}");
    assert_eq!(client.head(&target).status, 403);
    client.model.options_mut().blob_heads = BlobHeads::Redirected;
    let answer = client.head(&target);
    assert_eq!(answer.status, 307);
    let signed = location(&answer);
    let signed = signed.strip_prefix("http://storage.test");
    let at_storage = |method| Request::new(method, "storage.test", signed.expect("it is there"));
    assert_eq!(client.ask(at_storage(Method::HEAD)).status, 403);
    assert_eq!(client.ask(at_storage(Method::GET)).status, 200);
    client.model.options_mut().blob_heads = BlobHeads::Answered;
    assert_eq!(client.head(&target).status, 200);
}
