use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;

use http::{HeaderValue, Method};

use super::*;
use crate::digest::Algorithm;

mod bodies;
mod relays;

fn origin() -> Origin {
    "https://reg.example".parse().expect("an origin")
}

fn call_of(method: Method, payload: Payload, expect: Expect) -> Call {
    let mut request = http::Request::new(payload);
    *request.method_mut() = method;
    Call::new(JobId(7), origin(), request, expect, 10)
}

fn call(expect: Expect) -> Call {
    call_of(Method::GET, Payload::Empty, expect)
}

/// A blob of eight bytes, some of which are present.
fn blob(asked: &[u8]) -> Call {
    hashed_blob(asked.len() as u64, asked)
}

/// The same, where the hash may be behind.
fn hashed_blob(offset: u64, hashed: &[u8]) -> Call {
    let mut hashing = Hashing::new(Algorithm::Sha256);
    hashing.update(hashed);
    call(Expect::Blob {
        store: StoreId(3),
        digest: digest(),
        size: 8,
        offset,
        end: 8,
        shares: false,
        hashing,
    })
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"12345678")
}

fn head(status: u16, headers: &[(&'static str, &str)]) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("a value");
        head.headers_mut().append(*name, value);
    }
    head
}

fn ended(call: Call) -> Exchanged {
    let JobResult::Http(exchanged) = call.finish(Ok(())).into_outcome() else {
        panic!("it was an exchange");
    };
    *exchanged
}

/// What happens to a body, and the violation in its head.
fn shown(mut call: Call, status: u16, headers: &[(&'static str, &str)]) -> String {
    let receive = match call.head(head(status, headers)) {
        Receive::Collect => "collect".to_string(),
        Receive::Store { store, offset, .. } => format!("to {store} from {offset}"),
        Receive::Relay { keep } => format!("relay {} to {}", keep.start, keep.end),
        Receive::Discard { limit } => format!("discard {limit}"),
    };
    match ended(call).flaw {
        Some(flaw) => format!("{receive}: {flaw:?}"),
        None => receive,
    }
}

/// RNG-03 to RNG-06, HTTP-16, PULLB-04.
#[test]
fn heads_of_blobs() {
    let range = |said: &str| format!(r#"discard 0: Range {{ said: Some("{said}") }}"#);
    let length = |expected: u64, declared: u64| {
        format!("discard 0: Length {{ expected: {expected}, declared: {declared} }}")
    };
    type Row<'a> = (&'a [u8], u16, &'a [(&'static str, &'a str)], String);
    let part = ("content-range", "bytes 3-7/8");
    let table: &[Row<'_>] = &[
        (b"", 200, &[], "to s3 from 0".into()),
        (b"", 200, &[("content-length", "8")], "to s3 from 0".into()),
        (b"", 200, &[("content-length", "9")], length(8, 9)),
        (b"", 200, &[("content-length", "7")], length(8, 7)),
        (b"", 200, &[("content-length", "x")], "to s3 from 0".into()),
        (b"123", 200, &[], "to s3 from 0".into()),
        (
            b"123",
            200,
            &[("content-length", "8")],
            "to s3 from 0".into(),
        ),
        (b"123", 200, &[("content-length", "5")], length(8, 5)),
        (b"123", 206, &[part], "to s3 from 3".into()),
        (
            b"123",
            206,
            &[part, ("content-length", "5")],
            "to s3 from 3".into(),
        ),
        (b"123", 206, &[part, ("content-length", "8")], length(5, 8)),
        (
            b"123",
            206,
            &[("content-range", "bytes 3-7/*")],
            "to s3 from 3".into(),
        ),
        (
            b"123",
            206,
            &[("content-range", "bytes 3-5/8")],
            "to s3 from 3".into(),
        ),
        (
            b"123",
            206,
            &[("content-range", "bytes 3-8/9")],
            range("bytes 3-8/9"),
        ),
        (
            b"123",
            206,
            &[("content-range", "bytes 3-8/*")],
            range("bytes 3-8/*"),
        ),
        (
            b"123",
            206,
            &[("content-range", "bytes 3-7/9")],
            range("bytes 3-7/9"),
        ),
        (
            b"123",
            206,
            &[("content-range", "bytes 2-7/8")],
            range("bytes 2-7/8"),
        ),
        (
            b"123",
            206,
            &[("content-range", "bytes 4-7/8")],
            range("bytes 4-7/8"),
        ),
        (b"123", 206, &[part, part], range("bytes 3-7/8")),
        (
            b"123",
            206,
            &[part, ("content-type", "multipart/byteranges; boundary=x")],
            range("bytes 3-7/8"),
        ),
        (b"123", 206, &[], "discard 0: Range { said: None }".into()),
        (
            b"",
            206,
            &[("content-range", "bytes 0-7/8")],
            range("bytes 0-7/8"),
        ),
        (
            b"",
            200,
            &[("content-encoding", "identity")],
            "to s3 from 0".into(),
        ),
        (b"", 200, &[("content-encoding", "")], "to s3 from 0".into()),
        (
            b"",
            200,
            &[("content-encoding", "gzip")],
            "to s3 from 0".into(),
        ),
        (b"", 307, &[], "discard 65536".into()),
        (b"", 404, &[], "collect".into()),
    ];
    for (asked, status, headers, expected) in table {
        let found = shown(blob(asked), *status, headers);
        assert_eq!(
            found,
            *expected,
            "{} there, {status} {headers:?}",
            asked.len()
        );
    }
}

/// SEC-05: one limit for documents, another one for error bodies.
#[test]
fn heads_of_the_rest() {
    let document = || call(Expect::Document { limit: 100 });
    let announced = |length: &str| shown(document(), 200, &[("content-length", length)]);
    assert_eq!(announced("100"), "collect");
    assert_eq!(announced("101"), "discard 0: TooLarge { limit: 100 }");
    let packed = shown(document(), 200, &[("content-encoding", "br")]);
    assert_eq!(packed, "collect");
    assert_eq!(
        shown(document(), 500, &[("content-length", "101")]),
        "collect"
    );
    assert_eq!(shown(document(), 302, &[]), "discard 65536");
    assert_eq!(shown(call(Expect::Head), 200, &[]), "discard 65536");
    assert_eq!(shown(call(Expect::Head), 404, &[]), "collect");
    let asks = || call_of(Method::HEAD, Payload::Empty, Expect::Head);
    assert_eq!(shown(asks(), 404, &[]), "discard 65536");
}

/// PULLM-13.
#[test]
fn a_body_is_collected_up_to_its_limit() {
    for (status, limit, expect) in [
        (200, 20, Expect::Document { limit: 20 }),
        (500, 10, Expect::Document { limit: 20 }),
        (500, 10, Expect::Head),
    ] {
        let mut call = call(expect);
        assert_eq!(call.head(head(status, &[])), Receive::Collect);
        assert_eq!(call.data(&vec![b'a'; limit - 1]), Keep::All);
        assert_eq!(call.data(b"b"), Keep::All, "{status}: up to its limit");
        assert_eq!(call.data(b"c"), Keep::Stop, "{status}: beyond it");
        let exchanged = ended(call);
        let Received::Collected { bytes, cut } = exchanged.body else {
            panic!("{:?}", exchanged.body)
        };
        assert!(bytes.len() == limit && cut, "{status}");
        let flaw = Flaw::TooLarge {
            limit: limit as u64,
        };
        // An error body may be cut: it is an error all the same.
        assert_eq!(exchanged.flaw, (status == 200).then_some(flaw));
    }
}

/// SEC-06: stored bytes are bounded by the request, and hashed.
#[test]
fn a_blob_is_taken_up_to_its_end() {
    let mut call = blob(b"123");
    let part = head(206, &[("content-range", "bytes 3-7/8")]);
    assert_eq!((call.starts_at(), call.expects_bytes()), (3, Some(5)));
    call.head(part);
    assert_eq!(call.expects_bytes(), Some(5));
    assert_eq!(call.data(b"45"), Keep::All);
    assert_eq!(call.expects_bytes(), Some(3));
    assert_eq!(call.data(b"678"), Keep::All);
    assert_eq!(call.expects_bytes(), Some(0));
    assert_eq!(call.data(b"9"), Keep::Stop);
    let exchanged = ended(call);
    assert_eq!(exchanged.flaw, Some(Flaw::TooLong { expected: 8 }));
    let Received::Stored {
        hashing,
        from,
        to,
        range_end,
    } = exchanged.body
    else {
        panic!("{:?}", exchanged.body)
    };
    assert_eq!((from, to, range_end), (3, 8, 8));
    assert_eq!(hashing.digest(), digest(), "what is too much is not hashed");
}

/// Takes a body to its end: which bytes of the blob were stored, and the hash.
fn taken(mut call: Call, head: http::Response<()>, body: &[u8]) -> (u64, u64, Hashing) {
    call.head(head);
    assert_eq!(call.data(body), Keep::All);
    match ended(call).body {
        Received::Stored {
            hashing, from, to, ..
        } => (from, to, hashing),
        body @ (Received::Nothing | Received::Collected { .. } | Received::Relayed { .. }) => {
            panic!("{body:?}")
        }
    }
}

/// Bytes are counted and stored wherever the hash is. It follows once there is no gap.
#[test]
fn a_hash_that_is_behind_stays_behind() {
    for hashed in [b"".as_slice(), b"12"] {
        let call = hashed_blob(3, hashed);
        assert_eq!((call.starts_at(), call.expects_bytes()), (3, Some(5)));
        let part = head(206, &[("content-range", "bytes 3-7/8")]);
        let (from, to, hashing) = taken(call, part, b"45678");
        assert_eq!((from, to, hashing.len()), (3, 8, hashed.len() as u64));
    }
}

/// 200 to a range brings the whole blob, and what it replaces may have been other bytes.
#[test]
fn what_is_received_again_is_hashed_again() {
    for hashed in [b"".as_slice(), b"12", b"xy", b"xyz"] {
        let whole = head(200, &[]);
        let (from, to, hashing) = taken(hashed_blob(3, hashed), whole, b"12345678");
        assert_eq!((from, to, hashing.digest()), (0, 8, digest()));
    }
}

#[test]
fn what_is_no_blob_expects_no_bytes() {
    let mut call = call(Expect::Document { limit: 20 });
    assert_eq!((call.starts_at(), call.expects_bytes()), (0, None));
    call.head(head(200, &[("content-length", "5")]));
    assert_eq!(call.expects_bytes(), None);
}

#[test]
fn nothing_that_is_shown_shows_a_body() {
    let secret = Payload::Bytes(b"secret"[..].into());
    assert_eq!(format!("{secret:?}"), "Bytes(6)");
    assert_eq!(format!("{:?}", Payload::Empty), "Empty");
    let mut call = call_of(Method::POST, secret, Expect::Document { limit: 20 });
    assert_eq!(format!("{call:?}"), "Call(#7 POST)");
    call.head(head(200, &[("set-cookie", "secret")]));
    let _taken = call.data(b"secret");
    let shown = format!("{:?}", ended(call));
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("Collected(6 bytes)"), "{shown}");
    assert_eq!(format!("{:?}", Received::Nothing), "Nothing");
    let mut call = blob(b"");
    call.head(head(200, &[]));
    let _taken = call.data(b"123");
    let shown = format!("{:?}", ended(call).body);
    assert_eq!(shown, "Stored(3 of 8)");
    let names = format!("{} {}", JobId(3), TransferId(4));
    assert_eq!(names, "#3 t4");
}

#[test]
fn a_job_that_is_lost_says_which() {
    let done = Done::lost(JobId(9));
    assert_eq!(done.id(), JobId(9));
    assert!(matches!(done.outcome(), JobResult::Lost));
    let job = Job::Http(call(Expect::Head).into());
    assert_eq!(job.id(), JobId(7));
}

/// Echoed secrets are redacted (users.md 1.13).
#[test]
fn what_a_server_echoes_is_hidden() {
    let token = "eyJhbGciOiJub25lIn0.e30.";
    // alice:pass/word+1
    let pair = "YWxpY2U6cGFzcy93b3JkKzE=";
    let form = "grant_type=refresh_token&refresh_token=long/lived%2Bidentity%3D";
    let answer = |status: u16, presented: &str, said: &str| {
        let mut call = call_of(
            Method::POST,
            Payload::Bytes(form.as_bytes().into()),
            Expect::Document { limit: 100 },
        );
        let headers = call.request.headers_mut();
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_str(presented).expect("a value"),
        );
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        *call.request.uri_mut() = "https://reg.example/up?_state=0123456789abcdef&digest=sha256:0"
            .parse()
            .expect("a URL");
        call.limit = 1000;
        call.head(head(status, &[("warning", said)]));
        let _taken = call.data(said.as_bytes());
        let exchanged = ended(call);
        let warning = exchanged.headers[header::WARNING].to_str().expect("text");
        let Received::Collected { bytes, .. } = exchanged.body else {
            panic!("no body");
        };
        (String::from_utf8(bytes).expect("text"), warning.to_string())
    };
    let bearer = format!("Bearer {token}");
    let basic = format!("Basic {pair}");
    let hidden: &[(&str, &str)] = &[
        (&bearer, token),
        (&basic, pair),
        (&basic, "pass/word+1"),
        (&bearer, "long/lived+identity="),
        (&bearer, "long/lived%2Bidentity%3D"),
        (&bearer, "0123456789abcdef"),
    ];
    for (presented, secret) in hidden {
        let said = format!("you sent \"{secret}\", which is wrong");
        let (body, warning) = answer(403, presented, &said);
        assert!(!body.contains(secret), "{secret}: {body}");
        assert!(body.starts_with("you sent \"***"), "{body}");
        assert!(body.ends_with("\", which is wrong"), "{body}");
        assert_eq!(warning, body);
    }
    // In escapes: of the body the codes are left, of a header nothing.
    for escaped in ["pass%2Fword%2B1", r"pass\/word+1", "%70%61%73%73/word%2B1"] {
        let said = format!(r#"{{"errors":[{{"code":"DENIED","message":"not {escaped}"}}]}}"#);
        let denied = r#"{"errors":[{"code":"DENIED"}]}"#;
        assert_eq!(answer(403, &basic, &said), (denied.into(), String::new()));
    }
    // Content is not an error body, and text that is no secret stays.
    assert_eq!(answer(200, &bearer, token).0, token);
    let harmless = "sha256:0 of alice at /up is denied";
    assert_eq!(
        answer(403, &basic, harmless),
        (harmless.into(), harmless.into())
    );
}

/// A request without credentials still has an upload state to hide; the digest that it names is not one.
#[test]
fn an_upload_state_that_is_told_as_a_digest_is_hidden() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let (state, named) = (digest("a"), digest("b"));
    for (told, stays) in [(&named, true), (&state, false)] {
        let mut call = call_of(Method::PUT, Payload::Empty, Expect::Head);
        let query = format!("_state={}&digest={named}", &state["sha256:".len()..]);
        let uri = format!("https://reg.example/v2/a/blobs/uploads/1?{query}");
        *call.request.uri_mut() = uri.parse().expect("a URL");
        call.head(head(201, &[("docker-content-digest", told)]));
        let headers = ended(call).headers;
        assert_eq!(headers["docker-content-digest"] == **told, stays, "{told}");
    }
}

/// A secret that is cut by the connection, or at the limit of collected bytes, in each form at any
/// place: nothing of it is left, nor of what could be one.
#[test]
fn the_beginning_of_an_echo_is_hidden() {
    let token = "eyJhbGciOiJub25lIn0.e30.";
    let unicode: String = token
        .chars()
        .map(|char| format!("\\u{:04x}", u32::from(char)))
        .collect();
    let percent: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let nested = percent.replace('%', "%25");
    let before = "refused ".repeat(30);
    let reset = || Interrupted::Transport(TransportError::new(TransportErrorKind::Reset, "x"));
    for echo in [token, &unicode, &percent, &nested] {
        for end in 1..=echo.len() {
            let said = format!("{before}{}", &echo[..end]);
            for limit in [1000, said.len() as u64 - 1] {
                let mut call = call(Expect::Document { limit: 1000 });
                let presented = HeaderValue::from_static("Bearer eyJhbGciOiJub25lIn0.e30.");
                let headers = call.request.headers_mut();
                headers.insert(header::AUTHORIZATION, presented);
                call.limit = limit;
                call.head(head(403, &[]));
                let end = match call.data(said.as_bytes()) {
                    Keep::All => Err(reset()),
                    Keep::Stop => Ok(()),
                };
                let JobResult::Http(exchanged) = call.finish(end).into_outcome() else {
                    panic!("it was an exchange");
                };
                let Received::Collected { bytes, .. } = exchanged.body else {
                    panic!("no body");
                };
                let kept = String::from_utf8(bytes).expect("text");
                assert!(before.starts_with(&kept), "{kept}");
            }
        }
    }
}

/// The headers kept of a response to a request with this authorisation and query.
fn kept(presented: &str, query: &str, headers: &[(&'static str, &str)]) -> HeaderMap {
    let mut call = call(Expect::Document { limit: 100 });
    call.request.headers_mut().insert(
        header::AUTHORIZATION,
        HeaderValue::from_str(presented).expect("a value"),
    );
    let url = format!("https://reg.example/v2/team/app/manifests/v1{query}");
    *call.request.uri_mut() = url.parse().expect("a URL");
    call.head(head(200, headers));
    ended(call).headers
}

/// No header keeps a credential, in any form.
#[test]
fn no_header_keeps_a_credential() {
    const TOKEN: &str = "eyJhbGciOiJub25lIn0.e30.";
    // alice:pass/word+1
    const PAIR: &str = "YWxpY2U6cGFzcy93b3JkKzE=";
    let (bearer, basic) = (format!("Bearer {TOKEN}"), format!("Basic {PAIR}"));
    let echoes: &[(&str, &str, &str)] = &[
        (&bearer, &bearer, TOKEN),
        (&bearer, TOKEN, TOKEN),
        (&basic, &basic, PAIR),
        (&basic, "alice:pass/word+1", "pass/word+1"),
        (&basic, "cGFzcy93b3JkKzE", "cGFzcy93b3JkKz"),
        (&basic, "pass%2Fword%2B1", "pass%2Fword%2B1"),
        (&basic, "%70%61%73%73/word%2B1", "%70%61%73%73/word"),
        (&basic, "https://x/?q=pass%252Fword%252B1", "pass%252Fword"),
        (&basic, "application/pass/word+1", "pass/word+1"),
        (&basic, "bytes 0-1/pass/word+1", "pass/word+1"),
        (&basic, "sha256:pass/word+1", "pass/word+1"),
    ];
    for name in crate::header::READ.iter().map(http::HeaderName::as_str) {
        for (presented, said, secret) in echoes {
            let headers = kept(presented, "", &[(name, said)]);
            // An address may be dropped as a whole.
            let value = headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
            let value = String::from_utf8_lossy(value);
            // The query of an address is hidden, and may be needed for the request.
            let shown = match name {
                "location" => value.split('?').next().unwrap_or_default(),
                _ => &*value,
            };
            assert!(!shown.contains(secret), "{name}: {said} is kept as {value}");
        }
    }
}

/// The text of a violation does not repeat a secret either.
#[test]
fn a_flaw_repeats_no_credential() {
    let mut call = blob(b"123");
    let token = HeaderValue::from_static("Bearer eyJhbGciOiJub25lIn0.e30.");
    let headers = call.request.headers_mut();
    headers.insert(header::AUTHORIZATION, token);
    let said = ("content-range", "Bearer eyJhbGciOiJub25lIn0.e30.");
    call.head(head(206, &[said]));
    let flaw = format!("{:?}", ended(call).flaw);
    assert!(flaw.contains("Bearer ***"), "{flaw}");
}

/// These are needed by the protocol, whatever the password is.
#[test]
fn what_a_protocol_needs_is_kept() {
    let basic = |password: &str| {
        let pair = base64::engine::general_purpose::STANDARD;
        format!(
            "Basic {}",
            base64::Engine::encode(&pair, format!("alice:{password}"))
        )
    };
    let digest = digest().to_string();
    let query = "?_state=0123456789abcdef&digest=sha256:0";
    let table: &[(&str, &'static str, &str)] = &[
        ("12345678", "content-length", "12345678"),
        ("12345678", "content-range", "bytes 0-12345678/12345679"),
        ("12345678", "content-range", "bytes */12345678"),
        ("12345678", "range", "0-12345678"),
        ("12345678", "retry-after", "12345678"),
        ("12345678", "oci-chunk-min-length", "12345678"),
        ("bytes", "content-range", "bytes 1-2/3"),
        ("bytes", "accept-ranges", "bytes"),
        ("1994", "date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("1994", "retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
        (
            "application",
            "content-type",
            "application/vnd.oci.image.index.v1+json",
        ),
        ("json", "content-type", "application/json"),
        ("sha256", "docker-content-digest", &digest),
        ("identity", "content-encoding", "identity"),
        (
            "registry",
            "www-authenticate",
            r#"Bearer realm="https://a/",service="registry""#,
        ),
        (
            "reg.example",
            "www-authenticate",
            r#"Bearer realm="https://reg.example/token""#,
        ),
        ("team", "location", "/v2/team/app/blobs/uploads/1"),
        ("uploads", "location", "/v2/team/app/blobs/uploads/1"),
        ("pass/word+1", "location", "/up?_state=0123456789abcdef"),
        (
            "pass/word+1",
            "location",
            "https://cdn.example/x?sig=pass%2Fword%2B1",
        ),
        (
            "pass/word+1",
            "link",
            "</v2/_catalog?last=0123456789abcdef>; rel=\"next\"",
        ),
    ];
    for (password, name, value) in table {
        let headers = kept(&basic(password), query, &[(name, value)]);
        assert_eq!(headers[*name], *value, "{password}");
    }
}

/// The signature of the request's own URL is redacted in all headers but addresses.
#[test]
fn no_header_keeps_a_signature() {
    for (name, is_kept) in [
        ("content-type", false),
        ("warning", false),
        ("location", true),
    ] {
        let headers = kept(
            "Bearer x",
            "?sig=0123456789abcdef",
            &[(name, "/a?0123456789abcdef")],
        );
        let value = headers[name].to_str().expect("text");
        assert_eq!(
            value.contains("0123456789abcdef"),
            is_kept,
            "{name}: {value}"
        );
    }
}

/// The driver adds a proxy's credentials, and the proxy may echo them.
#[test]
fn the_credentials_of_a_proxy_are_hidden() {
    for (url, secret) in [
        (
            "http://px:pass%2Fword%2B1@proxy.example:3128",
            "pass/word+1",
        ),
        // px:pass/word+1
        (
            "http://px:pass%2Fword%2B1@proxy.example:3128",
            "cHg6cGFzcy93b3JkKzE=",
        ),
        ("px:pass-word-1@proxy.example", "pass-word-1"),
        ("http://a-token-only@proxy.example:3128", "a-token-only"),
    ] {
        let mut call = call(Expect::Document { limit: 100 });
        call.limit = 1000;
        call.through_proxy(url);
        call.head(head(403, &[("content-type", secret), ("warning", secret)]));
        let _taken = call.data(format!("you sent {secret}").as_bytes());
        let exchanged = ended(call);
        for value in exchanged.headers.values() {
            assert!(
                !value.to_str().is_ok_and(|it| it.contains(secret)),
                "{secret}"
            );
        }
        let Received::Collected { bytes, .. } = exchanged.body else {
            panic!("no body");
        };
        assert!(bytes.starts_with(b"you sent ***"), "{secret}");
    }
    let mut call = call(Expect::Document { limit: 100 });
    call.through_proxy("http://proxy.example:3128");
    call.head(head(403, &[("warning", "proxy.example:3128")]));
    assert_eq!(ended(call).headers[header::WARNING], "proxy.example:3128");
}
