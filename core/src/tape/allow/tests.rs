//! What is on a tape of each sort of result.

use core::time::Duration;
use std::boxed::Box;
use std::{format, vec};

use http::{StatusCode, header};

use super::*;
use crate::call::{Done, Flaw, Interrupted, JobId, Payload, TransportError, TransportErrorKind};
use crate::digest::Algorithm;
use crate::hashing::{Hashing, Marks};
use crate::header::{Challenge, challenges};
use crate::store::{StoreCall, StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::testing::mutations;

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.token-of-alice";
const PASSWORD: &str = "correct horse/battery";
const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// Free text, as a server may write it anywhere.
const FREE: &str = "eyJhbGciOiJFUzI1NiJ9.of-alice";

fn list() -> AllowList {
    let mut list = AllowList::new("");
    list.add_words(r#"{"start":{"resolve":"reg.example:5000/team/app:v1"}}"#);
    list
}

fn call(expect: Expect) -> Job {
    let request = http::Request::builder()
        .uri("https://reg.example:5000/v2/team/app/manifests/v1")
        .body(Payload::Empty)
        .expect("a request");
    let origin = "https://reg.example:5000".parse().expect("an origin");
    Job::Http(Box::new(Call::new(JobId(0), origin, request, expect, 1000)))
}

fn answered(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Exchanged {
    let headers = headers.iter().map(|(name, value)| {
        let name: http::HeaderName = name.parse().expect("a name");
        (
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        )
    });
    Exchanged {
        status: StatusCode::from_u16(status).ok(),
        headers: headers.collect(),
        body: Received::Collected {
            bytes: body.to_vec(),
            cut: false,
        },
        sent: 0,
        hashed: None,
        marks: Marks::default(),
        flaw: None,
        interrupted: None,
    }
}

fn kept(list: &mut AllowList, expect: Expect, exchanged: Exchanged) -> Exchanged {
    let outcome = JobResult::Http(exchanged.into());
    match list.keep(&call(expect), &outcome) {
        Ok(JobResult::Http(kept)) => *kept,
        _ => panic!("an exchange"),
    }
}

fn body(list: &mut AllowList, expect: Expect, status: u16, said: &[u8]) -> String {
    let kept = kept(list, expect, answered(status, &[], said));
    let Received::Collected { bytes, .. } = kept.body else {
        panic!("a body");
    };
    String::from_utf8(bytes).expect("text")
}

#[test]
fn headers_that_are_kept() {
    for (name, value, expected) in [
        (
            "content-type",
            "application/json; charset=utf-8",
            "application/json; charset=utf-8",
        ),
        (
            "content-type",
            "Application/vnd.oci.image.index.v1+json",
            "Application/vnd.oci.image.index.v1+json",
        ),
        ("content-type", "text/of-alice", "text/secret-1"),
        ("content-type", TOKEN, "secret-1"),
        ("content-length", "12", "12"),
        ("content-length", TOKEN, "secret-1"),
        ("retry-after", "7", "7"),
        ("retry-after", "soon", "secret-1"),
        (
            "date",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ),
        ("date", "Sun, 06 of-alice", "secret-1, secret-2 secret-3"),
        ("docker-content-digest", DIGEST, DIGEST),
        (
            "docker-content-digest",
            "blake3:of-alice",
            "secret-1:secret-2",
        ),
        ("docker-content-digest", "sha256:of", "sha256:secret-1"),
        ("oci-subject", DIGEST, DIGEST),
        ("etag", "\"of-alice\"", "\"secret-1\""),
        ("etag", "W/\"of-alice\"", "W/\"secret-1\""),
        ("content-encoding", "gzip", "gzip"),
        ("range", TOKEN, "secret-1"),
        (
            "link",
            "</v2/_catalog?last=of-alice>; rel=\"next\"",
            "</v2/_catalog?last=secret-1>; rel=\"next\"",
        ),
        (
            "warning",
            "299 - \"of alice\" \"Thu\", 110 x \"old\", 299 - \"of bob\", 299 - \"of alice\"",
            "299 - \"secret-1\", 299 - \"secret-2\"",
        ),
        (
            "www-authenticate",
            "Bearer realm=\"https://a.example:1/token?key=of-alice\",service=\"s\\\"s\",scope=\"repository:team/app:pull,push repository:x:* of-alice\"",
            "Bearer realm=\"https://a.example:1/token?secret-1=secret-2\",service=\"secret-3\\\"secret-3\",scope=\"repository:team/app:pull,push repository:secret-4:* secret-2\"",
        ),
        (
            "www-authenticate",
            "Bearer realm=\"https://alice:of-alice@a.example/token\"",
            "Bearer realm=\"https://secret-1:secret-2@secret-3/token\"",
        ),
        (
            "www-authenticate",
            "Negotiate c2VjcmV0LW9mLWFsaWNl",
            "Negotiate secret-1",
        ),
        ("www-authenticate", "OfAlice", "secret-1"),
    ] {
        let answer = answered(401, &[(name, value)], b"");
        let kept = kept(&mut list(), Expect::Head, answer);
        let found = kept.headers.get(name).map(|it| it.to_str().expect("text"));
        assert_eq!(found.unwrap_or_default(), expected, "{name}: {value}");
    }
}

#[test]
fn addresses() {
    let cdn = "https://cdn.example/docker/v2/blobs/of-alice/data?X-Sig=0123&X-Date=1#of-alice";
    let ours = format!("/v2/team/app/blobs/{DIGEST}?from=team/app&mount={DIGEST}");
    let table = [
        (
            "/v2/team/app/blobs/uploads/0123-4567?_state=0123&x",
            "https://reg.example:5000/v2/team/app/blobs/uploads/secret-1?secret-2=secret-3&secret-4".into(),
        ),
        (
            cdn,
            "https://cdn.example/secret-1/v2/blobs/secret-2/secret-3?secret-4=secret-5&secret-6=secret-7".into(),
        ),
        (&ours, format!("https://reg.example:5000{ours}")),
        (
            "/v2/team/app?from=of-alice&mount=md5:of-alice",
            "https://reg.example:5000/v2/team/app?from=secret-1&mount=secret-2:secret-1".into(),
        ),
        (
            "uploads/x",
            "https://reg.example:5000/v2/team/app/manifests/uploads/secret-1".into(),
        ),
        ("https://alice:pass@h/", NO_URL.into()),
        ("ftp://of-alice/", NO_URL.into()),
        ("", NO_URL.into()),
    ];
    for (address, expected) in table {
        let answer = answered(307, &[("location", address)], b"");
        let kept = kept(&mut list(), Expect::Head, answer);
        assert_eq!(kept.headers[header::LOCATION], *expected, "{address}");
    }
    // The same address has the same placeholders.
    let mut list = list();
    let mut kept = || {
        let answer = answered(307, &[("location", cdn)], b"");
        kept(&mut list, Expect::Head, answer).headers[header::LOCATION].clone()
    };
    assert_eq!(kept(), kept());
}

/// What is kept of an address is refused if the address is, and leads to the same host if not.
#[test]
fn an_address_leads_where_it_led() {
    let base = Url::parse("https://reg.example:5000/v2/team/app/manifests/v1").expect("a URL");
    for address in [
        "https://u:p@cdn.example:444/a/../b/c?sig=a%2Bb&x=1#f",
        "https://cdn.example:444/a?sig=1",
        "/v2/a?_state=0123&x=1",
    ] {
        mutations(address, |text| {
            let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else {
                return;
            };
            let all = HeaderMap::from_iter([(header::LOCATION, value)]);
            let found = list().headers(&all, Some(&base));
            let found = found[header::LOCATION].to_str().expect("text");
            let before = base.resolve_location(text.as_bytes());
            let after = base.resolve_location(found.as_bytes());
            assert_eq!(before.is_ok(), after.is_ok(), "{text}: {found}");
            if let (Ok(before), Ok(after)) = (before, after) {
                assert_eq!(before.origin(), after.origin(), "{text}: {found}");
            }
        });
    }
}

/// A challenge is read as it was, but for what it names.
#[test]
fn challenges_are_read_as_they_were() {
    let line = r#"Bearer realm="https://a/t",service="s\"s",scope="a b",scope=c, x="y", Basic"#;
    let url = Url::parse("https://reg.example/v2/").expect("a URL");
    mutations(line, |text| {
        let Ok(value) = HeaderValue::from_str(text) else {
            return;
        };
        let read = |value: HeaderValue| {
            let line = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value)]);
            let params =
                |it: &Challenge| ["realm", "service", "scope"].map(|name| it.param(name).is_some());
            let schemes = challenges(&line).into_iter();
            schemes
                .map(|it| (it.is_scheme("bearer"), params(&it)))
                .collect::<Vec<_>>()
        };
        let line = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value.clone())]);
        let written = list().headers(&line, Some(&url));
        let after = written[header::WWW_AUTHENTICATE].clone();
        assert_eq!(read(value), read(after), "{text}: {written:?}");
    });
}

#[test]
fn error_bodies() {
    let page = "<E><Code>AccessDenied</Code><Id>key</Id><Message>of alice</Message></E>";
    let digests = format!(
        r#"{{"errors":[{{"code":"DENIED","message":"of alice","detail":{{"digest":"{DIGEST}","x":"y"}}}}]}}"#
    );
    let kept = format!(r#"{{"errors":[{{"code":"DENIED","detail":["{DIGEST}"]}}]}}"#);
    for (said, expected) in [
        (&*digests, &*kept),
        (
            r#"{"error":"invalid_grant","trace":"t"}"#,
            r#"{"errors":[{"code":"invalid_grant"}]}"#,
        ),
        (
            r#"{"error":"of-alice"}"#,
            r#"{"errors":[{"code":"OTHER"}]}"#,
        ),
        (r#"{"errors":[{"message":"of alice"}]}"#, ""),
        (page, r#"{"errors":[{"code":"AccessDenied"}]}"#),
        (FREE, ""),
        ("<html>of alice", ""),
        (r#"{"message":"#, ""),
        ("", ""),
    ] {
        let found = body(&mut list(), Expect::Head, 403, said.as_bytes());
        assert_eq!(found.trim_end(), expected, "{said}");
        assert!(found.len() >= said.len(), "{said}");
    }
    assert_eq!(body(&mut list(), Expect::Head, 403, b"a\xffb"), "   ");
}

#[test]
fn answers_of_token_services() {
    let date = ("date", "Thu, 01 Jan 2026 00:00:30 GMT");
    let table = [
        (
            200,
            r#"{"token":"0123456789","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#,
            r#"{"expires_in":270,"token":"secret-1"}"#,
        ),
        (
            200,
            r#"{"access_token":"0123456789","token":"9876543210","refresh_token":"9876543210"}"#,
            r#"{"expires_in":60,"token":"secret-1"}"#,
        ),
        (
            200,
            r#"{"token":"a\nb"}"#,
            r#"{"expires_in":60,"token":"secret-1\n"}"#,
        ),
        (200, r#"{"token":""}"#, ""),
        (
            200,
            r#"{"errors":[{"code":"DENIED"}]}"#,
            r#"{"errors":[{"code":"DENIED"}]}"#,
        ),
        (200, r#"{"token":"0123456789"#, ""),
        (200, FREE, ""),
        (
            401,
            r#"{"error":"invalid_grant","error_description":"of alice","refresh_token":"0123"}"#,
            r#"{"errors":[{"code":"invalid_grant"}]}"#,
        ),
    ];
    for (status, said, expected) in table {
        let answer = answered(status, &[date], said.as_bytes());
        let kept = kept(&mut list(), Expect::Token { limit: 1000 }, answer);
        let Received::Collected { bytes, .. } = kept.body else {
            panic!("a body");
        };
        assert_eq!(bytes.trim_ascii_end(), expected.as_bytes(), "{said}");
        assert!(bytes.len() >= said.len(), "{said}");
    }
}

#[test]
fn credentials() {
    let mut list = list();
    let mut shown = |answer: TimedAnswer| {
        let outcome = JobResult::Credentials(list.timed(&answer));
        serde_json::to_value(&outcome).expect("JSON")["credentials"].to_string()
    };
    let basic = |username: &str| CredentialAnswer::Basic {
        username: username.into(),
        password: Secret::new(PASSWORD),
    };
    for (answer, expected) in [
        (
            basic("alice"),
            r#"{"basic":{"password":"secret-2","username":"user-1"}}"#,
        ),
        (
            basic("a:b"),
            r#"{"basic":{"password":"secret-2","username":"user-3:"}}"#,
        ),
        (
            CredentialAnswer::Bearer(Secret::new(TOKEN)),
            r#"{"bearer":"secret-4"}"#,
        ),
        (
            CredentialAnswer::Bearer(Secret::new("a\nb")),
            r#"{"bearer":"secret-5\n"}"#,
        ),
        (
            CredentialAnswer::Refresh(Secret::new(TOKEN)),
            r#"{"refresh":"secret-4"}"#,
        ),
        (
            CredentialAnswer::Failed(format!("no `{TOKEN}`")),
            r#""failed""#,
        ),
        (CredentialAnswer::None, r#""none""#),
    ] {
        assert_eq!(shown(answer.into()), expected);
    }
    let expires = CredentialAnswer::Bearer(Secret::new(TOKEN)).valid_for(Duration::from_secs(60));
    let expected = r#"{"answer":{"bearer":"secret-4"},"validFor":60000000}"#;
    assert_eq!(shown(expires), expected);
    for line in [expected, r#""none""#, r#"{"refresh":"secret-4"}"#] {
        let line = format!(r#"{{"credentials":{line}}}"#);
        let read: JobResult = serde_json::from_str(&line).expect("it was written");
        assert_eq!(serde_json::to_string(&read).expect("JSON"), line);
    }
}

#[test]
fn documents() {
    let manifest = r#"{"schemaVersion":2,"manifests":[]}"#;
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    let bare = r#"{"schemaVersion":2}"#;
    for (said, expected) in [
        (manifest, manifest),
        (bare, "{}"),
        (
            r#"{"os":"linux","config":{"Env":["KEY=0123456789"]}}"#,
            "{}",
        ),
        (
            r#"{"errors":[{"code":"DENIED"}]}"#,
            r#"{"errors":[{"code":"DENIED"}]}"#,
        ),
        (r#"{"schemaVersion":2,"manifests":["of alice"]}"#, "{}"),
        ("<html>of alice", ""),
        ("{}", "{}"),
    ] {
        let mut list = list();
        let found = body(
            &mut list,
            Expect::Document { limit: 1000 },
            200,
            said.as_bytes(),
        );
        assert_eq!(found.trim_end(), expected);
        assert_eq!(found.len(), said.len());
    }
    // With a type beside it, it is one.
    let answer = answered(200, &[("content-type", artifact)], bare.as_bytes());
    let kept = kept(&mut list(), Expect::Document { limit: 1000 }, answer);
    assert!(matches!(kept.body, Received::Collected { bytes, .. } if bytes == bare.as_bytes()));
}

/// Names stay different names, and what is none stays none.
#[test]
fn lists_of_names() {
    let expect = || Expect::Document { limit: 1000 };
    for (said, expected) in [
        (
            r#"{"name":"a","tags":["w1","latest-1","w1","\u001b[2J","team"]}"#,
            r#"{"tags":["secret-1","secret-2","secret-1","-","team"]}"#,
        ),
        (
            r#"{"repositories":["team/app","x/team","X"]}"#,
            r#"{"repositories":["team/app","secret-1/team","-"]}"#,
        ),
        (r#"{"tags":null}"#, "{}"),
        (r#"{"name":"a"}"#, "{}"),
        (r#"{"name":"a","child":["w1"],"manifest":{}}"#, "{}"),
        (r#"["w1"]"#, ""),
        (r#"{"tags":[],"repositories":[]}"#, "{}"),
        (
            r#"{"tags":["team"],"repositories":["team/app"]}"#,
            r#"{"repositories":["team/app"],"tags":["team"]}"#,
        ),
        (
            r#"{"tags":["team"],"errors":[{"code":"NAME_UNKNOWN"}]}"#,
            r#"{"tags":["team"]}"#,
        ),
        (r#"{"tags":[1]}"#, ""),
    ] {
        let found = body(&mut list(), expect(), 200, said.as_bytes());
        assert_eq!(found.trim(), expected, "{said}");
    }
}

/// What has a secret in it and cannot be changed is not written.
#[test]
fn what_ends_a_recording() {
    let mut list = list();
    list.credential(&CredentialAnswer::Bearer(Secret::new(TOKEN)));
    let said = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"x":"{TOKEN}"}}}}"#);
    let document = call(Expect::Document { limit: 1000 });
    let outcome = JobResult::Http(answered(200, &[], said.as_bytes()).into());
    let why = list.keep(&document, &outcome).expect_err("a secret");
    assert_eq!(why, "a manifest has a secret in it");

    let mut list = AllowList::new("");
    list.credential(&CredentialAnswer::Bearer(Secret::new("token-of-alice")));
    let location = [("location", "https://token-of-alice.example/a")];
    let outcome = JobResult::Http(answered(307, &location, b"").into());
    let why = list.keep(&call(Expect::Head), &outcome);
    let why = why.expect_err("a secret");
    assert_eq!(why, "the name of a host has a secret in it");
}

/// What is loaded as the configuration of an image is one, whatever it looks like, and what has the
/// digest that was asked for is kept, whatever it is.
#[test]
fn documents_of_stores() {
    let config = r#"{"schemaVersion":2,"manifests":[],"config":{"Env":["KEY=0123456789"]},"os":"linux","architecture":"of-alice"}"#;
    let config_digest = Digest::of(Algorithm::Sha256, config.as_bytes());
    let image = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{config_digest}","size":9}},"layers":[]}}"#
    );
    let odd = r#"{"schemaVersion":1}"#;
    let mut list = list();
    let mut load = |document: &str, digest: Digest| {
        let op = StoreOp::Load {
            digest,
            limit: 1000,
        };
        let job = Job::Store(StoreCall::new(JobId(0), StoreId(0), op));
        let outcome = JobResult::Store(Ok(StoreAnswer::Loaded(document.into())));
        let Ok(JobResult::Store(Ok(StoreAnswer::Loaded(kept)))) = list.keep(&job, &outcome) else {
            panic!("a document");
        };
        assert_eq!(kept.len(), document.len());
        String::from_utf8(kept)
            .expect("text")
            .trim_end()
            .to_string()
    };
    let digest = |text: &str| Digest::of(Algorithm::Sha256, text.as_bytes());
    assert_eq!(load(odd, digest(odd)), odd);
    assert_eq!(load(odd, digest("another")), "{}");
    assert_eq!(load(&image, digest(&image)), image);
    let kept = r#"{"os":"linux","architecture":"secret-1"}"#;
    assert_eq!(load(config, digest(config)), kept);
}

/// Details are not written, and a result is read back as it was written.
#[test]
fn errors_are_kept_by_their_kinds() {
    let transport = TransportError::new(TransportErrorKind::Reset, FREE);
    let store = StoreError::new(StoreErrorKind::Io, FREE);
    let interrupted = |interrupted| Exchanged {
        interrupted: Some(interrupted),
        ..answered(200, &[], b"")
    };
    let flaw = Exchanged {
        flaw: Some(Flaw::Range {
            said: Some(FREE.into()),
        }),
        ..answered(206, &[], b"")
    };
    let stored = Exchanged {
        body: Received::Stored {
            hashing: Hashing::new(Algorithm::Sha512),
            from: 0,
            to: 0,
            range_end: 9,
        },
        ..answered(200, &[], b"")
    };
    let head = call(Expect::Head);
    let op = StoreOp::Find { name: None };
    let find = Job::Store(StoreCall::new(JobId(0), StoreId(0), op));
    let outcomes = vec![
        (
            &head,
            JobResult::Http(interrupted(Interrupted::Transport(transport.clone())).into()),
        ),
        (
            &head,
            JobResult::Http(interrupted(Interrupted::NotSent(transport)).into()),
        ),
        (
            &head,
            JobResult::Http(interrupted(Interrupted::Store(store.clone())).into()),
        ),
        (
            &head,
            JobResult::Http(interrupted(Interrupted::Aborted).into()),
        ),
        (&head, JobResult::Http(flaw.into())),
        (&head, JobResult::Http(stored.into())),
        (&head, JobResult::Lost),
        (&find, JobResult::Store(Err(store))),
        (&find, JobResult::Store(Ok(StoreAnswer::Absent))),
    ];
    for (job, outcome) in outcomes {
        let line = |outcome: JobResult| crate::transcript::done(&Done::new(JobId(0), outcome));
        let end = list().keep(job, &outcome).expect("it fits");
        let written = serde_json::to_string(&end).expect("JSON");
        assert!(!written.contains(FREE), "{written}");
        let read: JobResult = serde_json::from_str(&written).expect("it was written");
        assert_eq!(serde_json::to_string(&read).expect("JSON"), written);
        let words = |line: String| {
            line.split(' ')
                .take(3)
                .map(String::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(line(read)), words(line(outcome)), "{written}");
    }
    let lost = JobResult::Store(Ok(StoreAnswer::Absent));
    assert!(list().keep(&head, &lost).is_err(), "of another sort");
}
