//! What may stand on a tape, kind by kind.

use alloc::string::String;
use std::string::ToString;
use std::{format, vec};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::call::{Expect, JobId};
use crate::digest::Algorithm;
use crate::testing::mutations;

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.token-of-alice";
const PASSWORD: &str = "correct horse/battery";

fn scrub() -> Scrub {
    Scrub::new()
}

fn knowing() -> Scrub {
    let mut scrub = Scrub::new();
    scrub.secrets.learn(TOKEN);
    scrub.secrets.learn(PASSWORD);
    scrub
}

fn answered(status: u16, headers: &[(&str, &str)], body: &str) -> HttpForm {
    let headers = headers.iter();
    HttpForm {
        status: Some(status),
        headers: headers
            .map(|(name, value)| ((*name).into(), Octets::Text((*value).into())))
            .collect(),
        body: BodyForm::Collected {
            bytes: Octets::new(body.as_bytes()),
            cut: false,
        },
        ..HttpForm::default()
    }
}

fn body(form: &HttpForm) -> String {
    let BodyForm::Collected { bytes, .. } = &form.body else {
        panic!("{form:?}");
    };
    String::from_utf8(bytes.bytes().expect("bytes")).expect("text")
}

fn header(name: &str, value: &str) -> String {
    let form = answered(200, &[(name, value)], "");
    let form = knowing().http(form, &Expect::Head);
    let value = form.headers[0].1.bytes().expect("bytes");
    value.into_iter().map(char::from).collect()
}

#[test]
fn credentials() {
    let mut scrub = scrub();
    let basic = |username: &str| CredentialForm::Basic {
        username: username.into(),
        password: PASSWORD.into(),
    };
    let mut shown = |form| serde_json::to_string(&scrub.credentials(form)).expect("JSON");
    let table = [
        (
            shown(basic("alice")),
            r#"{"basic":{"username":"user-1","password":"secret-2"}}"#,
        ),
        (
            shown(basic("a:b")),
            r#"{"basic":{"username":"user-2:","password":"secret-2"}}"#,
        ),
        (
            shown(CredentialForm::Bearer(TOKEN.into())),
            r#"{"bearer":"secret-4"}"#,
        ),
        (
            shown(CredentialForm::Refresh("bad\ntoken".into())),
            r#"{"refresh":"secret-5---"}"#,
        ),
        (
            shown(CredentialForm::Failed(format!("no `{TOKEN}` for alice"))),
            r#"{"failed":"no `secret-4---------------------------` for xxxxx"}"#,
        ),
        (shown(CredentialForm::None), r#""none""#),
    ];
    for (found, expected) in table {
        assert_eq!(found, expected);
    }
}

#[test]
fn answers_of_token_services() {
    let token = Expect::Token { limit: 1000 };
    // (status, body, what stands on the tape)
    let table = [
        (
            200,
            r#"{"token":"0123456789","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#,
            r#"{"token":"secret-1--","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#,
        ),
        (
            200,
            r#"{"access_token":"0123456789","token":"0123456789","refresh_token":"9876543210"}"#,
            r#"{"access_token":"secret-1--","token":"secret-1--","xxxxxxxxxxxxx":"secret-2--"}"#,
        ),
        (
            200,
            r#"{"token":"T","pin":77}"#,
            r#"{"token":"x","xxx":11}"#,
        ),
        (200, r#"{"token":""}"#, r#"{"token":""}"#),
        (200, r#"{"token":"a\nb"}"#, r#"{"token":"xx\n"}"#),
        (200, "{\"token\":\"a\u{e9}\"}", r#"{"token":"x\n"}"#),
        (200, r#"{"token":"\ud83d"}"#, r#"{"token":"xxxx\n"}"#),
        (200, r#"{"token":"0123456789"#, "xxxxxxxxxxxxxxxxxxxx"),
        (200, "0123456789-token", "xxxxxxxxxxxxxxxx"),
        (200, "", ""),
        (
            401,
            r#"{"error":"invalid_grant","error_description":"no","refresh_token":"0123456789"}"#,
            r#"{"error":"invalid_grant","error_description":"no","xxxxxxxxxxxxx":"xxxxxxxxxx"}"#,
        ),
    ];
    for (status, said, expected) in table {
        let found = body(&scrub().http(answered(status, &[], said), &token));
        assert_eq!(found, expected);
        assert_eq!(found.len(), said.len(), "the transcript shows the length");
    }
}

#[test]
fn a_token_that_is_said_again_is_found() {
    let mut scrub = scrub();
    let granted = answered(200, &[], r#"{"token":"0123456789"}"#);
    scrub.http(granted, &Expect::Token { limit: 1000 });
    let said = r#"{"errors":[{"code":"DENIED","message":"not with 0123456789"}]}"#;
    let found = body(&scrub.http(answered(403, &[], said), &Expect::Head));
    let expected = r#"{"errors":[{"code":"DENIED","message":"not with secret-1--"}]}"#;
    assert_eq!(found, expected);
}

#[test]
fn headers() {
    let table = [
        ("content-type", "application/json", "application/json"),
        ("content-type", TOKEN, "secret-1---------------------------"),
        (
            "location",
            "/v2/a/blobs/uploads/u1?_state=0123",
            "/v2/a/blobs/uploads/u1?secret-3---",
        ),
        (
            "location",
            "https://h/correct%20horse%2Fbattery",
            "https://h/secret-2-----------------",
        ),
        (
            "link",
            "</v2/_catalog?last=x&n=1>; rel=\"next\", <//u@h/?x>",
            "</v2/_catalog?secret-3-->; rel=\"next\", <//secret-4@h/?secret-5>",
        ),
        (
            "www-authenticate",
            "Bearer realm=\"https://a/t?key=0123456789\",service=\"s\\\"s\",scope=\"x\",more=\"y\", Basic realm=r",
            "bearer realm=\"https://a/t?secret-3------\", service=\"s\\\"s\", scope=\"x\", basic realm=\"r\"",
        ),
        (
            "www-authenticate",
            "Bearer error=\"invalid_token\",error_description=\"token-of-alice\"",
            "bearer error=\"invalid_token\"",
        ),
        (
            "www-authenticate",
            "Negotiate c2VjcmV0LW9mLWFsaWNl",
            "negotiate",
        ),
        ("www-authenticate", "", ""),
        (
            "warning",
            "299 - \"see \\\"https://h/a?b=c\\\"\" \"Thu\", 110 x \"old\", 299 - \"not token-of-alice\"",
            "299 - \"see \\\"https://h/a?***\\\"\", 299 - \"not token-of-alice\"",
        ),
        (
            "warning",
            "299 - \"not eyJhbGciOiJFUzI1NiJ9.token-of-alice\"",
            "299 - \"not secret-1---------------------------\"",
        ),
    ];
    for (name, value, expected) in table {
        assert_eq!(header(name, value), expected);
    }
    // And bytes that are no text stay what they are.
    let mut scrub = scrub();
    assert_eq!(scrub.header("location", b"/a?\xff"), b"/a?secret-1\xff");
    assert_eq!(scrub.header("date", b"\xff"), b"\xff");
}

/// A challenge means what it meant.
#[test]
fn challenges_are_read_as_they_were() {
    let line = r#"Bearer realm="https://a/t",service="s\"s",scope="a b",scope=c, x="y", Basic"#;
    mutations(line, |text| {
        let Ok(value) = HeaderValue::from_str(text) else {
            return;
        };
        let read = |value: HeaderValue| {
            let line = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value)]);
            let known = |challenge: &Challenge| {
                let param = |name| challenge.param(name).map(ToString::to_string);
                let params = ["service", "scope", "error"].map(param);
                (
                    challenge.scheme.clone(),
                    params,
                    challenge.param("realm").is_some(),
                )
            };
            challenges(&line).iter().map(known).collect::<Vec<_>>()
        };
        let written = scrub().challenges(value.as_bytes());
        let after = HeaderValue::from_bytes(&written).expect("a header");
        assert_eq!(read(value), read(after), "{text}");
    });
}

#[test]
fn error_bodies() {
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let table = [
        (
            format!(
                r#"{{"errors":[{{"code":"A","message":"b","detail":{{"digest":"{digest}","x":"y"}}}}]}}"#
            ),
            format!(
                r#"{{"errors":[{{"code":"A","message":"b","detail":{{"xxxxxx":"{digest}","x":"x"}}}}]}}"#
            ),
        ),
        (
            r#"{"error":"e","trace":"t"}"#.into(),
            r#"{"error":"e","xxxxx":"x"}"#.into(),
        ),
        (
            format!("not with {TOKEN}"),
            "not with secret-1---------------------------".into(),
        ),
        (
            format!("<Error>{TOKEN}</Error>"),
            format!("<{}", filler(49)),
        ),
        (" <html>".into(), "<xxxxxx".into()),
        (
            "<E><Code>A</Code><Id>key</Id><Message>b</Message></E>".into(),
            format!("<Code>A</Code><Message>b</Message>{}", filler(19)),
        ),
        (
            format!("<E><Message>not {TOKEN}</Message></E>"),
            format!(
                "<Message>not secret-1---------------------------</Message>{}",
                filler(7)
            ),
        ),
        (
            "<E><Message>a&#x62;</Message></E>".into(),
            format!("<{}", filler(32)),
        ),
        (
            r#"{"message":"\u0063orrect horse\/battery"}"#.into(),
            filler(41),
        ),
        (
            r#"{"message":"correct horse\/battery"}"#.into(),
            r#"{"message":"secret-2--------------"}"#.into(),
        ),
        (r#"{"message":"#.into(), r#"{"message":"#.into()),
        (
            r#"{"message":"Get \"https://h/a?b=c\u0026d=e\": no"}"#.into(),
            r#"{"message":"Get \"https://h/a?xxxxxxxxxxxx\": no"}"#.into(),
        ),
        (String::new(), String::new()),
    ];
    for (said, expected) in table {
        let found = body(&knowing().http(answered(500, &[], &said), &Expect::Head));
        assert_eq!(found, expected, "{said}");
        assert_eq!(found.len(), said.len(), "the transcript shows the length");
    }
    // What is no text may be a compressed one.
    assert_eq!(knowing().error_body(b"a\xffb", false), [0xff; 3]);
}

/// A body that was cut, or whose connection broke, may end in the middle of what it echoes.
#[test]
fn error_bodies_that_were_cut() {
    let coded = STANDARD.encode(TOKEN);
    let table = [
        (
            format!("not with {}", &TOKEN[..30]),
            format!("not with {}", filler(30)),
        ),
        (
            format!(r#"{{"message":"not with {}"#, &TOKEN[..30]),
            format!(r#"{{"message":"not with {}"#, filler(30)),
        ),
        (
            format!(
                r#"{{"trace":"{}","message":"not with {}"#,
                "t".repeat(9),
                &coded[..20]
            ),
            format!(
                r#"{{"xxxxx":"{}","message":"not with {}"#,
                filler(9),
                filler(20)
            ),
        ),
        (
            format!("{} {}", "word ".repeat(40), &TOKEN[..30]),
            format!("{}  {}", "word ".repeat(40), filler(29)),
        ),
        (format!("<p>{}", &TOKEN[..30]), format!("<{}", filler(32))),
    ];
    for (said, expected) in table {
        let mut cut = answered(403, &[], &said);
        let BodyForm::Collected { cut: is_cut, .. } = &mut cut.body else {
            panic!("{cut:?}");
        };
        *is_cut = true;
        assert_eq!(body(&knowing().http(cut, &Expect::Head)), expected);
        let mut broken = answered(403, &[], &said);
        broken.broken = Some(BrokenForm::Aborted);
        assert_eq!(body(&knowing().http(broken, &Expect::Head)), expected);
    }
}

#[test]
fn documents() {
    let manifest = r#"{"schemaVersion":2,"manifests":[]}"#;
    let config = r#"{"os":"linux","config":{"Env":["KEY=0123456789"]},"architecture":"arm64"}"#;
    let page = r#"<html lang="en"><meta name="csrf-token" content="0123456789"></html>"#;
    let secret = format!(r#"{{"manifests":[],"annotations":{{"x":"{TOKEN}"}}}}"#);
    // (what came, what is written, whether that is something else, whether nothing is written)
    let table = [
        (manifest, manifest.to_string(), false, false),
        (
            config,
            r#"{"architecture":"arm64","os":"linux"}"#.into(),
            true,
            false,
        ),
        (
            r#"{"schemaVersion":2,"token":"0123456789"}"#,
            r#"{"schemaVersion":2}"#.into(),
            true,
            false,
        ),
        (&secret, filler(secret.len()), false, true),
        ("{}", "{}".into(), false, false),
        ("no JSON", "no JSON".into(), false, false),
        (page, format!("<html {}", filler(62)), true, false),
        (r#"{"token":"0123456789""#, filler(21), true, false),
    ];
    let document = Expect::Document { limit: 1000 };
    for (said, expected, alters, withholds) in table {
        let mut scrub = knowing();
        let found = body(&scrub.http(answered(200, &[], said), &document));
        assert_eq!(found.trim_end(), expected);
        assert_eq!(found.len(), said.len());
        assert_eq!(scrub.has_altered(), alters, "{said}");
        assert_eq!(scrub.has_withheld(), withholds, "{said}");
        let loaded = StoreForm::Loaded(Octets::new(said.as_bytes()));
        let StoreForm::Loaded(Octets::Text(found)) = knowing().store(loaded, None) else {
            panic!("a document");
        };
        assert_eq!(found.trim_end(), expected);
    }
}

/// What an image names as its configuration is one, whatever it looks like.
#[test]
fn a_configuration_that_looks_like_a_manifest() {
    let config = r#"{"manifests":[],"config":{"Env":["KEY=0123456789"]},"os":"linux"}"#;
    let digest = Digest::of(Algorithm::Sha256, config.as_bytes());
    let image = format!(r#"{{"config":{{"digest":"{digest}"}},"layers":[]}}"#);
    let mut scrub = knowing();
    let mut load = |document: &str| {
        let loaded = StoreForm::Loaded(Octets::new(document.as_bytes()));
        let digest = Digest::of(Algorithm::Sha256, document.as_bytes());
        let StoreForm::Loaded(Octets::Text(found)) = scrub.store(loaded, Some(&digest)) else {
            panic!("a document");
        };
        found.trim_end().to_string()
    };
    assert_eq!(load(config), config);
    assert_eq!(load(&image), image);
    assert_eq!(load(config), r#"{"os":"linux"}"#);
}

#[test]
fn what_drivers_and_stores_say() {
    use crate::call::{Done, Flaw, Interrupted, Outcome, TransportError, TransportErrorKind};
    use crate::store::{StoreError, StoreErrorKind};

    let detail = format!("after {TOKEN}");
    let exchanged = |flaw, interrupted| crate::call::Exchanged {
        status: None,
        headers: HeaderMap::new(),
        body: crate::call::Received::Nothing,
        sent: 0,
        flaw,
        interrupted,
    };
    let transport = TransportError::new(TransportErrorKind::Reset, detail.clone());
    let store = StoreError::new(StoreErrorKind::Io, detail.clone());
    let outcomes = vec![
        Outcome::Http(exchanged(None, Some(Interrupted::Transport(transport.clone()))).into()),
        Outcome::Http(exchanged(None, Some(Interrupted::NotSent(transport))).into()),
        Outcome::Http(exchanged(None, Some(Interrupted::Store(store.clone()))).into()),
        Outcome::Http(exchanged(Some(Flaw::Range { said: Some(detail) }), None).into()),
        Outcome::Store(Err(store)),
    ];
    for outcome in outcomes {
        let done = Done::new(JobId(0), outcome);
        let end = knowing().clean(None, End::from(done.outcome()));
        let written = serde_json::to_string(&end).expect("JSON");
        assert!(written.contains("after secret-1"), "{written}");
        assert!(!knowing().is_in(&written), "{written}");
    }
}
