//! Servers that lie, stall and attack. Each test states the exit code, what is said, and how often
//! it was tried; nothing wrong may stand under a final name, and no credential may leave its
//! origin. Hermetic: nothing here needs a program from outside the workspace, except the small
//! file system of the full disk.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use windlass_tests::certs::Ca;
use windlass_tests::command::{
    AUTH, MISMATCH, NOT_FOUND, Outcome, REFUSED, TEMPORARY, USAGE, Windlass, tries,
};
use windlass_tests::hostile::{Good, Hostile, Reply, Request};
use windlass_tests::images::{self, Image, Layout, MANIFEST};
use windlass_tests::{Nobody, skipped};

const USER: &str = "alice";
const PASSWORD: &str = "hunter2 and more";

/// A registry that behaves but for one thing, an image in it, and a place to pull it to.
struct Attack {
    server: Hostile,
    layout: Layout,
    image: Image,
    good: Arc<Good>,
    out: Layout,
}

/// `answer` may answer a request instead of the good registry; it is told how many requests it
/// has answered so far.
fn attack(
    size: usize,
    answer: impl Fn(&Request, &Image, usize) -> Option<Reply> + Send + Sync + 'static,
) -> Attack {
    let (layout, image) = Layout::with_image(1, size, size as u64);
    let good = Arc::new(Good::serving(&layout, &image));
    let (serving, attacked, answered) = (good.clone(), image.clone(), AtomicUsize::new(0));
    let server = Hostile::start(move |request| {
        match answer(request, &attacked, answered.load(Ordering::SeqCst)) {
            Some(reply) => {
                answered.fetch_add(1, Ordering::SeqCst);
                reply
            }
            None => serving.answer(request),
        }
    });
    Attack {
        server,
        layout,
        image,
        good,
        out: Layout::absent(),
    }
}

impl Attack {
    /// A pull of the image.
    fn pull(&self) -> Windlass {
        let reference = self.server.reference("some/image:latest");
        Windlass::new(["pull", &reference, &self.out.oci()])
    }

    /// A push of the image under another name.
    fn push(&self) -> Windlass {
        let reference = self.server.reference("some/other:pushed");
        Windlass::new(["push", &self.layout.oci_named("latest"), &reference])
    }

    fn layer(&self) -> &str {
        &self.image.layers[0].digest
    }

    /// How often the layer was asked for with GET.
    fn layer_gets(&self) -> usize {
        self.server.count("GET", self.layer())
    }

    fn manifest_gets(&self) -> usize {
        self.server.count("GET", "/manifests/latest")
    }

    /// Nothing that was attacked is in the layout, and everything there is what its name says.
    fn nothing_kept(&self) {
        assert!(!self.out.has(self.layer()), "the layer was kept");
        self.out.check();
        if self.out.path.join("index.json").exists() {
            assert!(self.out.roots().is_empty(), "the image was named");
        }
    }

    fn all_kept(&self, done: &Outcome) {
        assert_eq!(done.digest(), self.image.manifest.digest);
        self.out.check_holds_exactly(self.image.all());
    }
}

/// Whether a request is the GET of the image's layer.
fn gets_layer(request: &Request, image: &Image) -> bool {
    request.method == "GET" && request.path().ends_with(&image.layers[0].digest)
}

/// Whether a request is for the manifest by tag.
fn gets_manifest(request: &Request) -> bool {
    request.path().ends_with("/manifests/latest")
}

/// The bytes of the layer of an image that `attack` made of this size.
fn layer_bytes(image: &Image, size: usize) -> Vec<u8> {
    let (layout, same) = Layout::with_image(1, size, size as u64);
    assert_eq!(same.layers, image.layers);
    layout.read(&image.layers[0].digest)
}

// ---- bodies (PULLB-02, PULLB-03, PULLB-11, RNG, SEC-02)

/// Error::Mismatch, exit 6: a wrong body is fetched once more from 0 and then given up.
#[test]
fn a_wrong_digest_is_tried_twice_and_not_kept() {
    let attack = attack(10_000, |request, image, _| {
        gets_layer(request, image)
            .then(|| Reply::new(200).body(vec![7; image.layers[0].size as usize]))
    });
    attack.pull().run().failed(MISMATCH, attack.layer());
    assert_eq!(attack.layer_gets(), 2);
    attack.nothing_kept();
}

/// The same once: the second body is good, the pull succeeds.
#[test]
fn a_wrong_digest_once_is_mended() {
    let attack = attack(10_000, |request, image, answered| {
        (gets_layer(request, image) && answered == 0)
            .then(|| Reply::new(200).body(vec![7; image.layers[0].size as usize]))
    });
    let done = attack.pull().run();
    attack.all_kept(&done);
    assert_eq!(attack.layer_gets(), 2);
}

/// Error::Mismatch, exit 6: a Content-Length other than the descriptor's size (PULLB-03) is seen
/// in the head; the body is not taken for the blob.
#[test]
fn a_body_shorter_or_longer_than_the_descriptor_is_refused() {
    for size in [9_000, 300_000] {
        let attack = attack(10_000, move |request, image, _| {
            gets_layer(request, image).then(|| Reply::new(200).body(vec![7; size]))
        });
        attack.pull().run().failed(MISMATCH, attack.layer());
        assert_eq!(attack.layer_gets(), 1, "{size} bytes");
        attack.nothing_kept();
    }
}

/// Error::Exhausted, exit 5: the length is right and the connection ends before it, again and
/// again without progress (HTTP-24). Tried as often as was said.
#[test]
fn a_body_cut_before_its_length_is_temporary() {
    let attack = attack(10_000, |request, image, _| {
        gets_layer(request, image).then(|| {
            let size = image.layers[0].size;
            let first = request.range().map_or(0, |(first, _)| first);
            let reply = match first {
                0 => Reply::new(200),
                _ => Reply::new(206).header(
                    "Content-Range",
                    format!("bytes {first}-{}/{size}", size - 1),
                ),
            };
            reply.claiming(size - first)
        })
    });
    attack
        .pull()
        .retries(2)
        .run()
        .failed(TEMPORARY, "tried 3 times");
    assert_eq!(attack.layer_gets(), tries(2));
    attack.nothing_kept();
}

/// A Content-Length that is too small: only as many bytes are read, and if they match the digest, the
/// blob is accepted; the connection is not reused.
#[test]
fn bytes_after_the_announced_length_are_nobodys() {
    let attack = attack(10_000, |request, image, _| {
        gets_layer(request, image).then(|| {
            let mut bytes = layer_bytes(image, 10_000);
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad");
            Reply::new(200).body(bytes).claiming(image.layers[0].size)
        })
    });
    let done = attack.pull().jobs(1).run();
    attack.all_kept(&done);
    assert_eq!(attack.layer_gets(), 1);
}

/// Error::Mismatch, exit 6: a body without end, with and without the chunked coding, is left
/// when it is longer than the descriptor says; next to nothing of it is read.
#[test]
fn an_endless_body_is_left() {
    for chunked in [true, false] {
        let attack = attack(10_000, move |request, image, _| {
            gets_layer(request, image).then(|| {
                let endless = Reply::new(200).body(vec![7; 1 << 16]).repeated(1 << 20);
                if chunked {
                    endless.chunked()
                } else {
                    endless.without_length()
                }
            })
        });
        attack.pull().run().failed(MISMATCH, attack.layer());
        assert_eq!(attack.layer_gets(), 1);
        // What sockets hold on both sides, not what was read.
        assert!(
            attack.server.sent() < 64 << 20,
            "{} bytes",
            attack.server.sent()
        );
        attack.nothing_kept();
    }
}

/// HTTP-16: no Content-Encoding is requested, so the bytes are taken as they are. If they do not match,
/// Error::Mismatch, exit 6, names the encoding.
#[test]
fn a_content_encoding_says_nothing_as_long_as_the_digest_is_right() {
    for (coding, good) in [
        ("aws-chunked", true),
        ("gzip", true),
        ("br", true),
        ("gzip", false),
    ] {
        let attack = attack(10_000, move |request, image, _| {
            gets_layer(request, image).then(|| {
                let mut bytes = layer_bytes(image, 10_000);
                bytes[7] ^= u8::from(!good);
                Reply::new(200)
                    .header("Content-Encoding", coding)
                    .body(bytes)
            })
        });
        let done = attack.pull().run();
        let all = attack.server.requests();
        let identity = |r: &Request| r.header("accept-encoding").is_none_or(|v| v == "identity");
        assert!(all.iter().all(identity), "nobody asked for an encoding");
        if good {
            attack.all_kept(&done);
            assert_eq!(attack.layer_gets(), 1);
        } else {
            done.failed(MISMATCH, "sent with Content-Encoding `gzip`");
            attack.nothing_kept();
        }
    }
}

/// SEC-03, exit 1: one manifest type against another, in a header or in the document.
#[test]
fn one_manifest_type_against_another_is_refused() {
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    for said in [DOCKER, images::INDEX] {
        let attack = attack(1000, move |request, image, _| {
            gets_manifest(request).then(|| {
                let (layout, same) = Layout::with_image(1, 1000, 1000);
                assert_eq!(same.manifest, image.manifest);
                Reply::new(200)
                    .header("Content-Type", said)
                    .body(layout.read(&image.manifest.digest))
            })
        });
        attack.pull().run().failed(REFUSED, "but the document says");
        attack.nothing_kept();
    }
}

/// SEC-09, exit 1: control characters in a Location. Everything else in one is escaped, and stays
/// within the host that it is said to be of.
#[test]
fn a_location_with_what_no_url_has() {
    for (location, code, says) in [
        ("/a\tb", REFUSED, "the URL has an invalid character"),
        (
            r"http://127.0.0.1:1\@evil.example/x",
            REFUSED,
            "a user name",
        ),
        ("http://b\u{fc}cher.example/x", REFUSED, "host is invalid"),
        (r"\\evil.example\x y", NOT_FOUND, "not found"),
    ] {
        let attack = attack(1000, move |request, image, _| {
            if request.target.contains("evil") {
                assert!(request.target.contains("%5C%5Cevil.example%5Cx%20y"));
                return Some(Reply::new(404));
            }
            gets_layer(request, image).then(|| Reply::new(307).header("Location", location))
        });
        attack.pull().run().failed(code, says);
        attack.nothing_kept();
    }
}

/// RNG-06: 200 to a Range means start over with a fresh hash; the pull succeeds.
#[test]
fn a_200_to_a_range_starts_over() {
    let attack = attack(300_000, |request, image, _| {
        gets_layer(request, image).then(|| {
            let bytes = layer_bytes(image, 300_000);
            match request.range() {
                None => Reply::new(200)
                    .body(&bytes[..100_000])
                    .claiming(image.layers[0].size),
                Some(_) => Reply::new(200).body(bytes),
            }
        })
    });
    let done = attack.pull().jobs(1).run();
    attack.all_kept(&done);
    assert_eq!(attack.layer_gets(), 2);
    let layer_requests: Vec<_> = attack.server.requests();
    let range = layer_requests
        .iter()
        .find_map(Request::range)
        .expect("it resumed");
    assert_eq!(
        range,
        (100_000, Some(attack.image.layers[0].size - 1)),
        "closed, from the cut"
    );
}

/// V-E.1: a 206 that is not what was asked for is never appended. Where the rest is refused too,
/// the pull fails; nothing wrong is kept in any case.
#[test]
fn a_206_that_is_not_what_was_asked_is_never_appended() {
    let size = |image: &Image| image.layers[0].size;
    type Lie = fn(u64, u64) -> Option<String>;
    let lies: [(&str, i32, usize, Lie); 6] = [
        ("other start", REFUSED, 4, |_, size| {
            Some(format!("bytes 0-{}/{size}", size - 1))
        }),
        ("other total", REFUSED, 4, |first, size| {
            Some(format!("bytes {first}-{}/{}", size - 1, size + 1))
        }),
        ("last before first", REFUSED, 4, |first, size| {
            Some(format!("bytes {first}-3/{size}"))
        }),
        ("no total", REFUSED, 4, |first, size| {
            Some(format!("bytes {first}-{}", size - 1))
        }),
        ("unsatisfied form", REFUSED, 4, |_, size| {
            Some(format!("bytes */{size}"))
        }),
        ("absent", REFUSED, 4, |_, _| None),
    ];
    let mut outcomes = Vec::new();
    for (name, _, _, lie) in lies {
        let attack = attack(300_000, move |request, image, _| {
            gets_layer(request, image).then(|| {
                let bytes = layer_bytes(image, 300_000);
                match request.range() {
                    None => Reply::new(200)
                        .body(&bytes[..100_000])
                        .claiming(size(image)),
                    Some((first, _)) => {
                        let reply = Reply::new(206).body(vec![7; bytes.len() - first as usize]);
                        match lie(first, size(image)) {
                            Some(range) => reply.header("Content-Range", range),
                            None => reply,
                        }
                    }
                }
            })
        });
        let done = attack.pull().retries(2).jobs(1).run();
        assert!(done.stderr.contains(attack.layer()), "{name}: {done}");
        outcomes.push((name, done.code(), attack.layer_gets()));
        attack.nothing_kept();
    }
    assert_eq!(
        outcomes,
        lies.map(|(name, code, gets, _)| (name, code, gets))
    );
}

/// Error::Transport, exit 1, one request: no HTTP at all, or the head of an answer without end.
/// Error::Exhausted, exit 5: no answer, tried as often as was said.
#[test]
fn what_is_not_http_is_refused() {
    let head = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'a'; 1 << 20]].concat();
    let (mut outcomes, mut expected) = (Vec::new(), Vec::new());
    for (raw, code, requests) in [
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), REFUSED, 1),
        (vec![b'a'; 1 << 20], REFUSED, 1),
        (head, REFUSED, 1),
        (Vec::new(), TEMPORARY, tries(1)),
    ] {
        let attack = attack(1000, move |_, _, _| Some(Reply::raw(raw.clone())));
        let done = attack.pull().retries(1).run();
        assert!(done.stderr.contains(&attack.server.host()), "{done}");
        outcomes.push((done.code(), attack.server.requests().len()));
        expected.push((code, requests));
    }
    assert_eq!(outcomes, expected);
}

// ---- origins (HTTP-04, HTTP-09, HTTP-11, HTTP-13, PUSHB-09, SEC-01)

/// Wraps a registry's answers so that it wants Basic.
fn behind_basic(request: &Request) -> Option<Reply> {
    let right = request.basic() == Some((USER.to_owned(), PASSWORD.to_owned()));
    let challenge = || Reply::error(401, "UNAUTHORIZED", "who is there?");
    (!right).then(|| challenge().header("WWW-Authenticate", "Basic realm=\"registry\""))
}

/// Error::Peer, exit 1: a redirect to where it came from is known at once, and not tried again.
#[test]
fn a_redirect_loop_ends() {
    let attack = attack(10_000, |request, image, _| {
        gets_layer(request, image).then(|| Reply::new(307).header("Location", &request.target))
    });
    attack.pull().run().failed(REFUSED, "redirects in a circle");
    assert_eq!(attack.layer_gets(), 1);
    attack.nothing_kept();
}

/// Error::Peer, exit 1: redirects to ever new places end after the limit: 10 redirects, 11 requests.
#[test]
fn redirects_without_end_are_given_up() {
    let attack = attack(10_000, |request, image, nth| {
        let elsewhere = format!("{}?hop={nth}", request.path());
        gets_layer(request, image).then(|| Reply::new(307).header("Location", elsewhere))
    });
    attack.pull().run().failed(REFUSED, "redirects too often");
    assert_eq!(attack.layer_gets(), 11);
    attack.nothing_kept();
}

/// HTTP-04: storage on another port is another origin. It gets the request, byte for byte as the
/// Location said, and no credential.
#[test]
fn a_redirect_to_another_port_carries_no_credential() {
    let (layout, image) = Layout::with_image(1, 10_000, 1);
    let bytes = layout.read(&image.layers[0].digest);
    let storage = Hostile::start(move |_| Reply::new(200).body(bytes.clone()));
    let target = "/bucket/a'b//x?sig=a%2Fb+c&X=1%20";
    let location = format!("{}{target}", storage.url());
    let good = Good::serving(&layout, &image);
    let layer = image.layers[0].digest.clone();
    let registry = Hostile::start(move |request| {
        if let Some(challenge) = behind_basic(request) {
            return challenge;
        }
        if request.path().ends_with(&layer) {
            return Reply::new(307).header("Location", &location);
        }
        good.answer(request)
    });
    let out = Layout::absent();
    let words = ["pull", &registry.reference("some/image:latest"), &out.oci()];
    let done = Windlass::new(words).user(USER, PASSWORD).run();
    // A client whose HTTP library would alter it may refuse it (design §4); this one need not.
    assert_eq!(done.digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());
    storage.never_heard(&[USER, PASSWORD, &format!("{USER}:{PASSWORD}")]);
    let requests = storage.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        requests[0].target, target,
        "HTTP-12: the query byte for byte"
    );
}

/// The same with a Location that nothing alters: it must be followed.
#[test]
fn a_redirect_to_storage_is_followed_without_credentials() {
    let (layout, image) = Layout::with_image(1, 10_000, 2);
    let bytes = layout.read(&image.layers[0].digest);
    let storage = Hostile::start(move |_| Reply::new(200).body(bytes.clone()));
    let location = format!("{}/bucket/x?sig=a%2Fb%2Bc&X=1", storage.url());
    let good = Good::serving(&layout, &image);
    let layer = image.layers[0].digest.clone();
    let registry = Hostile::start(move |request| {
        if let Some(challenge) = behind_basic(request) {
            return challenge;
        }
        if request.path().ends_with(&layer) {
            return Reply::new(307).header("Location", &location);
        }
        good.answer(request)
    });
    let out = Layout::absent();
    let words = ["pull", &registry.reference("some/image:latest"), &out.oci()];
    Windlass::new(words).user(USER, PASSWORD).run().digest();
    out.check_holds_exactly(image.all());
    storage.never_heard(&[USER, PASSWORD, &format!("{USER}:{PASSWORD}")]);
    assert_eq!(storage.requests().len(), 1);
    assert_eq!(storage.requests()[0].target, "/bucket/x?sig=a%2Fb%2Bc&X=1");
}

/// HTTP-13: storage that asks for credentials itself gets none; its 401 is not ours to answer.
#[test]
fn a_challenge_from_elsewhere_is_not_answered() {
    let (layout, image) = Layout::with_image(1, 10_000, 3);
    let storage = Hostile::start(|_| {
        Reply::error(401, "UNAUTHORIZED", "tell me").header("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let location = format!("{}/x", storage.url());
    let good = Good::serving(&layout, &image);
    let layer = image.layers[0].digest.clone();
    let registry = Hostile::start(move |request| {
        if let Some(challenge) = behind_basic(request) {
            return challenge;
        }
        if request.path().ends_with(&layer) {
            return Reply::new(307).header("Location", &location);
        }
        good.answer(request)
    });
    let out = Layout::absent();
    let words = ["pull", &registry.reference("some/image:latest"), &out.oci()];
    let done = Windlass::new(words).user(USER, PASSWORD).run();
    done.failed(REFUSED, "401");
    storage.never_heard(&[USER, PASSWORD, &format!("{USER}:{PASSWORD}")]);
    assert_eq!(storage.requests().len(), 1, "asked once");
    assert!(!out.has(&image.layers[0].digest));
}

/// PUSHB-09: an upload session on another origin gets the blob and no credential.
#[test]
fn a_location_on_another_origin_carries_no_credential() {
    let (layout, image) = Layout::with_image(1, 10_000, 4);
    let good = Arc::new(Good::new());
    let foreign = good.clone();
    let storage = Hostile::start(move |request| foreign.answer(request));
    let base = storage.url();
    let registry = Hostile::start(move |request| match behind_basic(request) {
        Some(challenge) => challenge,
        None if request.method == "POST" => {
            Reply::new(202).header("Location", format!("{base}/uploads/1?state=x%2Fy"))
        }
        None => good.answer(request),
    });
    let reference = registry.reference("some/image:v1");
    let words = ["push", &layout.oci_named("latest"), &reference];
    let done = Windlass::new(words).user(USER, PASSWORD).run();
    assert_eq!(done.digest(), image.manifest.digest);
    storage.never_heard(&[USER, PASSWORD, &format!("{USER}:{PASSWORD}")]);
    let puts = storage.requests();
    assert_eq!(puts.len(), 2, "layer and config");
    for put in puts {
        assert!(
            put.target
                .starts_with("/uploads/1?state=x%2Fy&digest=sha256"),
            "{}",
            put.target
        );
    }
}

/// HTTP-11, Error::Policy or Error::Peer, exit 1: from https to http is refused, for blobs and
/// for upload sessions; the plain server never sees a connection.
#[test]
fn a_way_down_from_https_is_refused() {
    let ca = Ca::new();
    let (layout, image) = Layout::with_image(1, 10_000, 5);
    let plain = Hostile::start(|_| Reply::new(200));
    let location = format!("{}/x", plain.url());
    let good = Good::serving(&layout, &image);
    let registry = Hostile::start_tls(&ca, move |request| {
        if request.method == "POST" {
            return Reply::new(202).header("Location", &location);
        }
        if request.method == "GET" && request.path().contains("/blobs/") {
            return Reply::new(307).header("Location", &location);
        }
        good.answer(request)
    });
    let out = Layout::absent();
    let words = ["pull", &registry.reference("some/image:latest"), &out.oci()];
    Windlass::new(words)
        .tls(&ca.pem)
        .run()
        .failed(REFUSED, "http");
    let reference = registry.reference("some/other:v1");
    let other = Layout::with_image(1, 10_000, 6).0;
    let words = ["push", &other.oci_named("latest"), &reference];
    Windlass::new(words)
        .tls(&ca.pem)
        .run()
        .failed(REFUSED, "http");
    assert_eq!(plain.connections(), 0);
}

/// SEC-07: a plain connection to a server that speaks TLS fails, and TLS to one that does not
/// fails as well (HTTP-02): no fallback either way.
#[test]
fn tls_is_never_given_up() {
    let plain = Hostile::start(|_| Reply::new(200));
    let out = Layout::absent();
    let words = [
        "--tls",
        "pull",
        &plain.reference("a:latest"),
        &out.oci(),
        "--retries",
        "1",
        "--timeout",
        "1",
    ];
    let done = Windlass::new(words).run();
    // It waits for the end of a line, so that it is the handshake which takes too long.
    done.failed(TEMPORARY, "TLS handshake");
    let heard_http = plain
        .requests()
        .iter()
        .any(|r| r.method == "GET" || r.method == "HEAD");
    assert!(!heard_http, "it went on in plain http");
}

// ---- realms and tokens (AUTH-40…48, AUTH-80…85)

/// A registry that wants tokens from this realm and takes only `good-token`.
fn token_registry(realm: String) -> (Hostile, Image) {
    let (layout, image) = Layout::with_image(1, 2000, 7);
    let good = Good::serving(&layout, &image);
    let server = Hostile::start(move |request| {
        if request.header("authorization") == Some("Bearer good-token") {
            return good.answer(request);
        }
        let challenge = format!("Bearer realm=\"{realm}\",service=\"test\"");
        Reply::error(401, "UNAUTHORIZED", "a token, please").header("WWW-Authenticate", challenge)
    });
    (server, image)
}

fn token_reply() -> Reply {
    let body = r#"{"token":"good-token","expires_in":300}"#;
    Reply::new(200)
        .header("Content-Type", "application/json")
        .body(body)
}

fn pull_from(registry: &Hostile) -> (Windlass, Layout) {
    let out = Layout::absent();
    let words = ["pull", &registry.reference("some/image:latest"), &out.oci()];
    (Windlass::new(words), out)
}

/// A token that no header can carry is the token service's mistake, and is said to be. It is not shown.
#[test]
fn a_token_that_cannot_be_sent_is_the_services_mistake() {
    for token in [
        "s3cret\\r\\nX-Evil: 1",
        "s3cret\\n",
        "s3cret\\u0000",
        "s3cret\\u007f",
        "s3cret\\té",
        "s3cretÿ",
    ] {
        let tokens = Hostile::start(move |_| {
            Reply::new(200).body(format!(r#"{{"token":"{token}","expires_in":300}}"#))
        });
        let realm = format!("{}/token", tokens.url());
        let (registry, _) = token_registry(realm.clone());
        let (pull, out) = pull_from(&registry);
        let done = pull.args(["--trace"]).retries(3).run();
        done.failed(REFUSED, "sent a token that is invalid in a header");
        assert!(done.stderr.contains(&realm), "{token}: {done}");
        done.tells_nobody(&["s3cret"]);
        assert_eq!(tokens.requests().len(), 1, "{token}: it is asked once");
        let heard = registry.requests();
        assert!(heard.iter().all(|it| it.header("authorization").is_none()));
        assert!(heard.iter().all(|it| it.header("x-evil").is_none()));
        assert!(!out.path.exists(), "{token}");
    }
}

/// Design §4, realm policy: a realm on another host is asked without credentials, and a warning
/// names the setting; with the setting it gets them.
#[test]
fn a_realm_elsewhere_gets_no_credentials_unless_trusted() {
    let tokens = Hostile::start(|_| token_reply());
    let realm = tokens.url().replace("127.0.0.1", "localhost") + "/token";
    let (registry, image) = token_registry(realm.clone());
    let (command, out) = pull_from(&registry);
    let done = command.user(USER, PASSWORD).run();
    done.digest();
    out.check_holds_exactly(image.all());
    tokens.never_heard(&[USER, PASSWORD, &format!("{USER}:{PASSWORD}")]);
    assert_eq!(tokens.requests().len(), 1);
    assert!(
        done.stderr.contains("--trust-realm"),
        "the setting is named: {done}"
    );

    let (command, _out) = pull_from(&registry);
    let origin = realm.trim_end_matches("/token");
    let trust = format!("{}={origin}", registry.host());
    command
        .user(USER, PASSWORD)
        .args(["--trust-realm", &trust])
        .run()
        .digest();
    let asked = tokens.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[1].basic(),
        Some((USER.to_owned(), PASSWORD.to_owned()))
    );
}

/// AUTH-85, design §4: token requests never follow redirects.
#[test]
fn a_token_request_is_never_redirected() {
    let elsewhere = Hostile::start(|_| token_reply());
    let location = format!("{}/token", elsewhere.url());
    let tokens = Hostile::start(move |_| Reply::new(307).header("Location", &location));
    let (registry, _) = token_registry(format!("{}/token", tokens.url()));
    let (command, _out) = pull_from(&registry);
    let done = command.user(USER, PASSWORD).run();
    // The service is named.
    done.failed(REFUSED, &tokens.host());
    assert_eq!((tokens.requests().len(), elsewhere.connections()), (1, 0));
    assert_eq!(registry.requests().len(), 1);
}

/// Error::Exhausted, exit 5: a token service that is not there, and one that is broken for the
/// moment; the latter is tried as often as was said. The registry was asked once.
#[test]
fn a_token_service_that_is_down_is_temporary() {
    let nobody = Nobody::new();
    let gone = nobody.host();
    let (registry, _) = token_registry(format!("http://{gone}/token"));
    let (command, _out) = pull_from(&registry);
    command.retries(1).run().failed(TEMPORARY, &gone);
    assert_eq!(registry.requests().len(), 1);

    let tokens = Hostile::start(|_| Reply::new(503).header("Retry-After", "0"));
    let (registry, _) = token_registry(format!("{}/token", tokens.url()));
    let (command, _out) = pull_from(&registry);
    command.retries(1).run().failed(TEMPORARY, "503");
    assert_eq!(
        (registry.requests().len(), tokens.requests().len()),
        (1, tries(1))
    );
}

/// Error::Auth, exit 4: 401 for ever. With Bearer one fresh token is tried, with Basic the
/// credentials once; with nothing to offer nothing is tried again.
#[test]
fn a_401_for_ever_ends_after_a_fresh_token() {
    let tokens = Hostile::start(|_| {
        Reply::new(200)
            .header("Content-Type", "application/json")
            .body(r#"{"token":"bad-token"}"#)
    });
    let (registry, _) = token_registry(format!("{}/token", tokens.url()));
    let (command, _out) = pull_from(&registry);
    let done = command.user(USER, PASSWORD).run();
    done.failed(AUTH, "401")
        .tells_nobody(&["bad-token", PASSWORD]);
    assert_eq!((registry.requests().len(), tokens.requests().len()), (2, 1));

    let basic = Hostile::start(|_| {
        Reply::error(401, "UNAUTHORIZED", "never").header("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let (command, _out) = pull_from(&basic);
    command
        .user(USER, PASSWORD)
        .run()
        .failed(AUTH, "UNAUTHORIZED");
    assert_eq!(basic.requests().len(), 2);
    let (command, _out) = pull_from(&basic);
    command.run().failed(AUTH, "no credentials");
    assert_eq!(basic.requests().len(), 3);
}

/// Exit 4: 401 and 403 of the token service, asked once.
#[test]
fn a_refusal_of_the_token_service_is_final() {
    for status in [401, 403] {
        let tokens = Hostile::start(move |_| Reply::error(status, "DENIED", "not you"));
        let (registry, _) = token_registry(format!("{}/token", tokens.url()));
        let (command, _out) = pull_from(&registry);
        let done = command.user(USER, PASSWORD).run();
        done.failed(AUTH, &status.to_string())
            .tells_nobody(&[PASSWORD]);
        assert_eq!((registry.requests().len(), tokens.requests().len()), (1, 1));
    }
}

/// AUTH-40, AUTH-48: token answers that are none.
#[test]
fn a_token_answer_that_is_none_is_refused() {
    let html = || {
        Reply::new(200)
            .header("Content-Type", "text/html")
            .body("<html>log in</html>")
    };
    let answers: [Reply; 4] = [
        html(),
        Reply::new(200).body("{}"),
        Reply::new(200).body(r#"{"token":"a\r\nX-Evil: 1"}"#),
        Reply::new(200)
            .body(vec![b' '; 1 << 16])
            .repeated(1 << 12)
            .without_length(),
    ];
    for answer in answers {
        let tokens = Hostile::start(move |_| answer.clone());
        let (registry, _) = token_registry(format!("{}/token", tokens.url()));
        let (command, _out) = pull_from(&registry);
        let done = command.user(USER, PASSWORD).run();
        // The service is named.
        done.failed(REFUSED, &tokens.host());
        assert_eq!(tokens.requests().len(), 1, "{done}");
        assert!(
            tokens.sent() < 64 << 20,
            "{} bytes were taken",
            tokens.sent()
        );
        assert!(
            registry
                .requests()
                .iter()
                .all(|r| r.header("x-evil").is_none())
        );
    }
}

/// Exit 4: 403 of the registry is final (design §4), one request.
#[test]
fn a_403_is_denied() {
    let attack = attack(1000, |request, _, _| {
        gets_manifest(request).then(|| Reply::error(403, "DENIED", "not for you"))
    });
    attack.pull().run().failed(AUTH, "DENIED");
    assert_eq!(attack.server.requests().len(), 1);
}

// ---- statuses and waits (HTTP-17…19)

/// 429 with seconds, and with a date read against the answer's own Date (which is long ago here):
/// the wait is kept and then it works. Two tries.
#[test]
fn a_429_is_waited_for() {
    let second = |request: &Request, _: &Image, answered| {
        (gets_manifest(request) && answered == 0)
            .then(|| Reply::error(429, "TOOMANYREQUESTS", "slow").header("Retry-After", "1"))
    };
    let date = |request: &Request, _: &Image, answered| {
        (gets_manifest(request) && answered == 0).then(|| {
            Reply::error(429, "TOOMANYREQUESTS", "slow")
                .header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
                .header("Retry-After", "Sun, 06 Nov 1994 08:49:38 GMT")
        })
    };
    for attack in [attack(1000, second), attack(1001, date)] {
        let done = attack.pull().run();
        attack.all_kept(&done);
        assert_eq!(attack.manifest_gets(), 2);
        assert!(done.took >= Duration::from_secs(1), "it waited: {done}");
    }
}

/// Error::Exhausted, exit 5 at once: a wait above the cap (60 s) is not waited for; the time is in
/// the message. One try.
#[test]
fn an_absurd_retry_after_ends_at_once() {
    let attack = attack(1000, |request, _, _| {
        gets_manifest(request)
            .then(|| Reply::error(429, "TOOMANYREQUESTS", "go away").header("Retry-After", "86400"))
    });
    let done = attack.pull().run();
    done.failed(TEMPORARY, "429");
    assert!(
        done.stderr.contains("86400") || done.stderr.contains("24 h"),
        "the time: {done}"
    );
    assert_eq!(attack.manifest_gets(), 1);
}

/// 5xx and then good: exit 0, one try for each.
#[test]
fn a_5xx_is_tried_again() {
    let attack = attack(1000, |request, _, answered| {
        let statuses = [500, 502, 503];
        let status = statuses.get(answered).filter(|_| gets_manifest(request))?;
        Some(Reply::new(*status).header("Retry-After", "0"))
    });
    let done = attack.pull().retries(4).run();
    attack.all_kept(&done);
    assert_eq!(attack.manifest_gets(), 4);
}

/// Error::Exhausted, exit 5: 503 for ever, tried as often as was said; 408 and 429 alike.
#[test]
fn a_status_that_may_pass_is_tried_as_often_as_said() {
    for status in [408, 429, 500, 502, 503, 504] {
        let attack = attack(1000, move |_, _, _| {
            Some(Reply::error(status, "UNAVAILABLE", "later").header("Retry-After", "0"))
        });
        attack
            .pull()
            .retries(2)
            .run()
            .failed(TEMPORARY, &status.to_string());
        assert_eq!(attack.manifest_gets(), tries(2), "{status}");
    }
}

/// Exit 5: no listener; connections that end without a response.
#[test]
fn no_connection_is_temporary() {
    let out = Layout::absent();
    let nobody = Nobody::new();
    let gone = nobody.host();
    let words = [
        "pull",
        &format!("{gone}/a:latest"),
        &out.oci(),
        "--retries",
        "1",
    ];
    Windlass::new(words).run().failed(TEMPORARY, &gone);
    let attack = attack(1000, |_, _, _| Some(Reply::raw([])));
    attack
        .pull()
        .retries(1)
        .run()
        .failed(TEMPORARY, &attack.server.host());
    assert_eq!(attack.manifest_gets(), tries(1));
}

/// Error::Registry, exit 1: other 4xx are final, with the registry's own code and words, escaped
/// (ERR-05, SEC-11).
#[test]
fn a_refusal_is_told_in_the_registrys_words_without_control_characters() {
    let attack = attack(1000, |request, _, _| {
        gets_manifest(request)
            .then(|| Reply::error(400, "NAME_INVALID", "no\u{1b}[31m such\u{202e} name"))
    });
    let done = attack.pull().run();
    done.failed(REFUSED, "NAME_INVALID");
    assert!(
        !done.stderr.contains("\u{1b}[31m") && !done.stderr.contains('\u{202e}'),
        "{done}"
    );
    assert_eq!(attack.manifest_gets(), 1);
}

/// Error::NotFound, exit 3, one request.
#[test]
fn a_404_is_not_found() {
    let attack = attack(1000, |request, _, _| {
        gets_manifest(request).then(|| Reply::error(404, "MANIFEST_UNKNOWN", "gone fishing"))
    });
    attack.pull().run().failed(NOT_FOUND, "gone fishing");
    assert_eq!(attack.manifest_gets(), 1);
}

/// Error::Transport, exit 1, one request: interim answers without end, and trailers without end
/// after the last chunk. Next to nothing is read of any.
#[test]
fn interim_answers_and_trailers_without_end_are_left() {
    const TIMES: u64 = 1 << 20;
    let interim = |_: &[u8]| Reply::raw([]).body("HTTP/1.1 100 Continue\r\n\r\n".repeat(40));
    let hints = |_: &[u8]| Reply::raw([]).body("HTTP/1.1 103 Hints\r\nX: y\r\n\r\n".repeat(40));
    let trailers = |bytes: &[u8]| {
        let mut raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        raw.extend(format!("{:x}\r\n", bytes.len()).as_bytes());
        raw.extend(bytes);
        raw.extend(b"\r\n0\r\n");
        Reply::raw(raw).body("X-A: b\r\n".repeat(128))
    };
    type Endless = fn(&[u8]) -> Reply;
    let replies: [Endless; 3] = [interim, hints, trailers];
    for reply in replies {
        for of_manifest in [true, false] {
            let reply = |bytes: &[u8]| reply(bytes).repeated(TIMES);
            let (manifest, layer) = (reply(b"{}"), reply(&[7; 1000]));
            let attack = attack(1000, move |request, image, _| {
                let is_it = if of_manifest {
                    gets_manifest(request)
                } else {
                    gets_layer(request, image)
                };
                let reply = if of_manifest { &manifest } else { &layer };
                is_it.then(|| reply.clone())
            });
            let done = attack.pull().jobs(1).run();
            done.failed(REFUSED, &attack.server.host());
            let gets = if of_manifest {
                attack.manifest_gets()
            } else {
                attack.layer_gets()
            };
            assert_eq!(gets, 1, "{done}");
            assert!(attack.server.sent() < 48 << 20, "{}", attack.server.sent());
        }
    }
}

// ---- documents (PULLM-05…17, SEC-03, SEC-04, SEC-05)

/// Exit 1: a manifest of 100 MB is refused by its Content-Length, and without one when it passes
/// the limit; error bodies of 100 MB are cut. Next to nothing is read of any.
#[test]
fn documents_of_100_mb_are_not_read() {
    let manifest = || Reply::new(200).header("Content-Type", MANIFEST);
    let error = || Reply::new(400).header("Content-Type", "application/json");
    for (name, reply) in [
        (
            "manifest",
            manifest().body(vec![b' '; 1 << 16]).repeated(1600),
        ),
        (
            "endless manifest",
            manifest()
                .body(vec![b' '; 1 << 16])
                .repeated(1600)
                .without_length(),
        ),
        ("error", error().body(vec![b' '; 1 << 16]).repeated(1600)),
        (
            "endless error",
            error().body(vec![b' '; 1 << 16]).repeated(1600).chunked(),
        ),
    ] {
        let attack = attack(1000, move |request, _, _| {
            gets_manifest(request).then(|| reply.clone())
        });
        let done = attack.pull().run();
        done.failed(REFUSED, &attack.server.host());
        assert_eq!(attack.manifest_gets(), 1, "{name}");
        assert!(
            attack.server.sent() < 48 << 20,
            "{name}: {} bytes",
            attack.server.sent()
        );
        attack.nothing_kept();
    }
}

/// A manifest that is not one: exit 1 (Error::Peer), one request, nothing written.
#[test]
fn a_manifest_that_is_none_is_refused() {
    let good = format!(
        r#"{{"mediaType":"application/octet-stream","digest":"{}","size":2}}"#,
        images::digest(b"{}")
    );
    let with = |layers: &str, more: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{good},"layers":[{layers}]{more}}}"#
        )
    };
    let layer = |digest: &str, size: &str| {
        format!(r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":{size}}}"#)
    };
    let hex = "a".repeat(64);
    let fine = format!("sha256:{hex}");
    let documents = [
        ("ambiguous", with("", r#","manifests":[]"#)),
        ("path for a digest", with(&layer("sha256:../../x", "5"), "")),
        ("encoded path", with(&layer("sha256:%2e%2e%2fx", "5"), "")),
        (
            "short digest",
            with(&layer(&format!("sha256:{}", &hex[1..]), "5"), ""),
        ),
        (
            "upper-case digest",
            with(&layer(&fine.to_uppercase(), "5"), ""),
        ),
        ("negative size", with(&layer(&fine, "-5"), "")),
        ("fractional size", with(&layer(&fine, "1.5"), "")),
        (
            "absurd size",
            with(&layer(&fine, "99999999999999999999"), ""),
        ),
        ("duplicate layers", with("", r#","layers":[]"#)),
        (
            "schema version",
            with("", "").replace(":2,\"media", ":1,\"media"),
        ),
        ("truncated", with("", "").trim_end_matches('}').to_owned()),
        (
            "other media type",
            with("", "").replace(MANIFEST, images::INDEX),
        ),
        ("deep", "[".repeat(100_000)),
        (
            "not UTF-8",
            String::from("{\"schemaVersion\":2,\"x\":\"\u{fffd}\"}"),
        ),
        ("empty", String::new()),
    ];
    for (name, document) in documents {
        let mut bytes = document.clone().into_bytes();
        if name == "not UTF-8" {
            let at = bytes.len() - 5;
            bytes[at] = 0xFF;
        }
        let attack = attack(1000, move |request, _, _| {
            gets_manifest(request).then(|| {
                Reply::new(200)
                    .header("Content-Type", MANIFEST)
                    .body(bytes.clone())
            })
        });
        // Where the digest that is a path would lead to; others may have a file of that name there.
        let outside = attack.out.path.parent().unwrap().join("x");
        let before = std::fs::read(&outside).ok();
        let done = attack.pull().run();
        assert_eq!(done.status.code(), Some(REFUSED), "{name}: {done}");
        assert!(!done.stderr.contains("panicked"), "{name}: {done}");
        assert!(
            done.stderr.contains(&attack.server.host()),
            "{name}: {done}"
        );
        assert_eq!(attack.server.requests().len(), 1, "{name}");
        attack.nothing_kept();
        assert_eq!(std::fs::read(&outside).ok(), before, "{name}");
    }
}

/// Exit 1: a page of a captive portal with status 200 is not a manifest.
#[test]
fn html_with_200_is_refused() {
    let attack = attack(1000, |request, _, _| {
        gets_manifest(request).then(|| {
            Reply::new(200)
                .header("Content-Type", "text/html")
                .body("<html>Sign in</html>")
        })
    });
    attack
        .pull()
        .run()
        .failed(REFUSED, "not a manifest: it begins with `<html>");
    assert_eq!(attack.server.requests().len(), 1);
    attack.nothing_kept();
}

/// Error::Mismatch, exit 6: a manifest asked for by digest that has another (PULLM-09).
#[test]
fn a_manifest_with_another_digest_is_refused() {
    let attack = attack(1000, |request, _, _| {
        request.path().contains("/manifests/sha256:").then(|| {
            let body = r#"{"schemaVersion":2,"layers":[]}"#;
            Reply::new(200).header("Content-Type", MANIFEST).body(body)
        })
    });
    let digest = attack.image.manifest.digest.clone();
    let reference = attack.server.reference(&format!("some/image@{digest}"));
    let words = ["pull", &reference, &attack.out.oci_named("x")];
    Windlass::new(words).run().failed(MISMATCH, &digest);
    assert_eq!(attack.server.requests().len(), 2);
    attack.nothing_kept();
}

// ---- uploads

/// A push to a registry that behaves arrives: what the tests below take away from.
#[test]
fn a_push_arrives() {
    let attack = attack(300_000, |_, _, _| None);
    let done = attack.push().run();
    assert_eq!(done.digest(), attack.image.manifest.digest);
    assert_eq!(
        attack.good.tagged("pushed"),
        Some(attack.image.manifest.digest.clone())
    );
}

/// Error::Mismatch, exit 6: a blob damaged in the layout is never committed: not a small one, not
/// a large one whose damage is in its first byte or its last, not one that is shorter or longer
/// than it should be. Nothing is tagged.
#[test]
fn a_damaged_blob_is_never_committed() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("first byte", |bytes| bytes[0] ^= 1),
        ("last byte", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("shorter", |bytes| bytes.truncate(bytes.len() - 1)),
        ("longer", |bytes| bytes.push(0)),
    ];
    for size in [10_000, 3_000_000] {
        for (name, damage) in damages {
            let (layout, image) = Layout::with_image(1, size, 11);
            let good = Arc::new(Good::new());
            let serving = good.clone();
            let server = Hostile::start(move |request| serving.answer(request));
            let layer = &image.layers[0].digest;
            let mut bytes = layout.read(layer);
            damage(&mut bytes);
            std::fs::write(layout.blob_path(layer), &bytes).unwrap();
            let reference = server.reference("some/image:v1");
            let words = ["push", &layout.oci_named("latest"), &reference];
            let done = Windlass::new(words).run();
            done.failed(MISMATCH, layer);
            assert!(
                !good.has(layer) && !good.has(&images::digest(&bytes)),
                "{name} of {size}"
            );
            assert_eq!(good.tagged("v1"), None);
            // The server must not have seen a whole body either: it could have committed it.
            let whole =
                |r: &Request| r.method == "PUT" && r.body.len() as u64 >= image.layers[0].size;
            assert!(
                !server.requests().iter().any(whole),
                "{name} of {size} was sent whole"
            );
        }
    }
}

/// PUSHM-04: a registry that says it stored something else is not believed: Error::Peer, exit 1, one request.
#[test]
fn another_digest_after_a_push_is_an_error() {
    let attack = attack(1000, |request, _, _| {
        (request.method == "PUT" && request.path().contains("/manifests/")).then(|| {
            let digest = images::digest(b"something else");
            Reply::new(201)
                .header("Location", "/x")
                .header("Docker-Content-Digest", digest)
        })
    });
    let done = attack.push().run();
    done.failed(REFUSED, &attack.image.manifest.digest);
    assert_eq!(attack.server.count("PUT", "/manifests/pushed"), 1);
}

/// Exit 1: a registry that refuses the manifest says why (PUSHM-13), and is asked once.
#[test]
fn a_refused_manifest_is_told_in_the_registrys_words() {
    let attack = attack(1000, |request, _, _| {
        (request.method == "PUT" && request.path().contains("/manifests/"))
            .then(|| Reply::error(400, "MANIFEST_INVALID", "no thanks"))
    });
    attack.push().run().failed(REFUSED, "no thanks");
    assert_eq!(attack.server.count("PUT", "/manifests/pushed"), 1);
}

/// Exit 5: uploads that fail with 503 are tried as often as was said, and then abandoned.
#[test]
fn an_upload_that_cannot_begin_is_temporary() {
    let attack = attack(1000, |request, _, _| match request.method.as_str() {
        // The registry serves the image for the pulls; this one must not be there yet.
        "HEAD" => Some(Reply::new(404)),
        "POST" => Some(Reply::new(503).header("Retry-After", "0")),
        _ => None,
    });
    attack
        .push()
        .jobs(1)
        .retries(2)
        .run()
        .failed(TEMPORARY, "503");
    assert_eq!(attack.good.tagged("pushed"), None);
    let posts = attack.server.count("POST", "/blobs/uploads/");
    // The first blob that has had its tries ends the push. How many the other one has had by then is
    // up to the jitter of their waits.
    assert!(
        (tries(2)..=2 * tries(2)).contains(&posts),
        "{posts} for a layer and a config"
    );
}

// ---- the store and the command line

/// Error::Store, exit 1: a layout below a regular file cannot be made; the path is named.
#[test]
fn a_store_below_a_regular_file_is_refused() {
    let attack = attack(1000, |_, _, _| None);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let to = format!("oci:{}/layout", file.display());
    let reference = attack.server.reference("some/image:latest");
    let done = Windlass::new(["pull", &reference, &to]).run();
    done.failed(REFUSED, file.to_str().unwrap());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a folder");
}

/// Error::Store, exit 1: a full disk, here a file system of 1 MiB. What stands under final names
/// is whole, and nothing was tagged.
#[test]
fn a_full_disk_is_told() {
    let attack = attack(8 << 20, |_, _, _| None);
    let dir = tempfile::tempdir().unwrap();
    let Some(_mounted) = SmallDisk::mount(dir.path()) else {
        skipped("no tmpfs can be mounted here (needs root)");
        return;
    };
    let to = format!("oci:{}/layout", dir.path().display());
    let reference = attack.server.reference("some/image:latest");
    let done = Windlass::new(["pull", &reference, &to]).run();
    done.failed(REFUSED, "space");
    assert_eq!(attack.layer_gets(), 1, "a full disk is not tried again");
    let blobs = windlass_tests::files_below(&dir.path().join("layout/blobs"));
    for blob in blobs {
        let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&blob).unwrap();
        assert_eq!(images::digest(&bytes), format!("sha256:{name}"));
    }
    let index = std::fs::read_to_string(dir.path().join("layout/index.json")).unwrap_or_default();
    assert!(
        !index.contains(&attack.image.manifest.digest),
        "named although it is not whole"
    );
}

/// A file system of 1 MiB, taken away when dropped.
struct SmallDisk<'a>(&'a std::path::Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a std::path::Path) -> Option<Self> {
        let mut command = std::process::Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(path);
        command
            .output()
            .ok()?
            .status
            .success()
            .then_some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}

/// Exit 2, without a request: what was typed makes no sense.
#[test]
fn nonsense_on_the_command_line_is_a_usage_error() {
    let server = Hostile::start(|_| Reply::new(500));
    let host = server.host();
    let reference = |name: &str| format!("{host}/{name}");
    let upper = reference("UPPER:latest");
    let escape = reference("a/../b:latest");
    let short = reference("a@sha256:abc");
    for words in [
        vec![],
        vec!["frobnicate"],
        vec!["pull"],
        vec!["pull", &upper, "oci:/tmp/x"],
        vec!["pull", &escape, "oci:/tmp/x"],
        vec!["pull", &short, "oci:/tmp/x"],
        vec!["pull", "a b", "oci:/tmp/x"],
        vec!["digest", &upper],
        vec!["--jobs", "none", "digest", "x"],
    ] {
        let done = Windlass::new(&words).run();
        done.ended_with(USAGE);
        assert!(done.stdout.is_empty() && !done.stderr.is_empty(), "{done}");
    }
    assert_eq!(server.connections(), 0);
}
