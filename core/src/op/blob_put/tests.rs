use std::string::ToString as _;

use super::super::testing::{answer, site};
use super::*;

const LOCATION: (&str, &str) = ("location", "/v2/a/b/blobs/uploads/u1?_state=x");

fn put(stage: Stage) -> BlobPut {
    BlobPut {
        site: site(),
        digest: Digest::of(Algorithm::Sha256, b"hello"),
        size: 5,
        transfer: TransferId(1),
        stage,
        source: Some(StoreId(0)),
        restarts: 0,
    }
}

fn session() -> Stage {
    let session = Url::parse("https://reg.example/v2/a/b/blobs/uploads/u1?_state=x");
    Stage::Put {
        session: session.expect("a URL"),
    }
}

fn mount() -> Stage {
    let mount = Some("c".parse().expect("a repository"));
    Stage::Start { mount }
}

fn shown(verdict: Verdict) -> String {
    match verdict {
        Verdict::Next(Operation::BlobPut(op)) => match op.stage {
            Stage::Check => "check".into(),
            Stage::Start { mount: None } => "post".into(),
            Stage::Start { mount: Some(_) } => "mount".into(),
            Stage::Put { session } => format!("put to {}", session.as_str()),
        },
        Verdict::Next(_) => "another operation".into(),
        Verdict::Done(outcome) => format!("{outcome:?}"),
        Verdict::Failed(error) => format!("{:?}", error.kind()),
    }
}

/// PUSHB-20 and what else is met in the field.
#[test]
fn answers() {
    let put_to = "put to https://reg.example/v2/a/b/blobs/uploads/u1?_state=x";
    let digest = Digest::of(Algorithm::Sha256, b"hello").to_string();
    let other = Digest::of(Algorithm::Sha256, b"other").to_string();
    let third = Digest::of(Algorithm::Sha512, b"other").to_string();
    let code = |code: &str| format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
    let (invalid, unknown, wrong) = (
        code("BLOB_UPLOAD_INVALID"),
        code("BLOB_UPLOAD_UNKNOWN"),
        code("DIGEST_INVALID"),
    );
    let ours = ("docker-content-digest", digest.as_str());
    let theirs = ("docker-content-digest", other.as_str());
    let incomparable = ("docker-content-digest", third.as_str());
    type Row<'a> = (
        &'a str,
        Stage,
        u16,
        &'a [(&'static str, &'a str)],
        &'a str,
        &'a str,
    );
    let plain = || Stage::Start { mount: None };
    let table: &[Row<'_>] = &[
        ("PUSHB-02", Stage::Check, 200, &[], "", "Present"),
        ("PUSHB-02", Stage::Check, 404, &[], "", "post"),
        ("PUSHB-02", Stage::Check, 405, &[], "", "post"),
        ("PUSHB-02", Stage::Check, 401, &[], "", "Auth"),
        ("PUSHB-02", Stage::Check, 403, &[], "", "Auth"),
        ("PUSHB-06", plain(), 202, &[LOCATION], "", put_to),
        ("PUSHB-20", plain(), 201, &[], "", "Present"),
        ("PUSHB-20", plain(), 200, &[LOCATION], "", put_to),
        ("no Location", plain(), 202, &[], "", "Refused"),
        (
            "SEC-09",
            plain(),
            202,
            &[("location", "ftp://x/")],
            "",
            "Refused",
        ),
        ("denied", plain(), 403, &[], "", "Auth"),
        ("PUSHB-51", mount(), 201, &[], "", "Mounted"),
        ("PUSHB-51", mount(), 202, &[LOCATION], "", put_to),
        ("PUSHB-54", mount(), 202, &[], "", "post"),
        ("PUSHB-54", mount(), 400, &[], "", "post"),
        ("PUSHB-54", mount(), 401, &[], "", "post"),
        ("PUSHB-54", mount(), 403, &[], "", "post"),
        ("PUSHB-54", mount(), 404, &[], "", "post"),
        ("PUSHB-54", mount(), 405, &[], "", "post"),
        ("PUSHB-20", session(), 201, &[], "", "Sent"),
        ("PUSHB-20", session(), 200, &[], "", "Sent"),
        ("PUSHB-20", session(), 204, &[], "", "Sent"),
        ("PUSHB-19", session(), 201, &[ours], "", "Sent"),
        ("PUSHB-19", session(), 201, &[theirs], "", "Refused"),
        ("PUSHB-19", session(), 201, &[incomparable], "", "Sent"),
        ("PUSHB-38", session(), 404, &[], "", "post"),
        ("PUSHB-38", session(), 416, &[], "", "post"),
        ("PUSHB-38", session(), 404, &[], &invalid, "post"),
        ("PUSHB-38", session(), 400, &[], &invalid, "post"),
        ("PUSHB-38", session(), 400, &[], &unknown, "post"),
        ("PUSHB-22", session(), 400, &[], &wrong, "post"),
        ("PUSHB-39", session(), 400, &[], "", "Refused"),
        ("PUSHB-39", session(), 413, &[], "", "Refused"),
        ("PUSHB-39", session(), 403, &[], "", "Auth"),
    ];
    for (row, stage, status, headers, body, expected) in table {
        let answer = answer(*status, headers, body.as_bytes());
        let found = shown(put(stage.clone()).answer(&answer));
        assert_eq!(found, *expected, "{row} {stage:?} {status} {body}");
    }
}

/// PUSHB-42: restarts end, and the last failure is told as what it is.
#[test]
fn restarts_end() {
    let wrong = br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
    for (body, expected) in [(&b""[..], "NotFound"), (wrong, "Mismatch")] {
        let mut op = put(session());
        for _ in 0..RESTARTS {
            let Verdict::Next(Operation::BlobPut(next)) = op.answer(&answer(404, &[], body)) else {
                panic!("it begins anew")
            };
            let opened = next.answer(&answer(202, &[LOCATION], b""));
            let Verdict::Next(Operation::BlobPut(next)) = opened else {
                panic!("it is opened")
            };
            op = next;
        }
        assert_eq!(shown(op.answer(&answer(404, &[], body))), expected);
    }
}

/// Without bytes at hand a session is handed back, to be used later.
#[test]
fn a_session_without_bytes_is_handed_back() {
    for stage in [Stage::Start { mount: None }, mount()] {
        let op = BlobPut {
            source: None,
            ..put(stage)
        };
        let verdict = op.answer(&answer(202, &[LOCATION], b""));
        assert!(matches!(verdict, Verdict::Done(Outcome::Opened(_))));
    }
}

/// PUSHB-23: whether the blob arrived is asked before it is sent again.
#[test]
fn a_lost_answer_is_asked_about() {
    for (stage, expected) in [(session(), "check"), (mount(), "post")] {
        let mut op = put(stage);
        op.interrupted();
        assert_eq!(shown(Verdict::Next(Operation::BlobPut(op))), expected);
    }
}

#[test]
fn requests() {
    let shown = |op: BlobPut| {
        let draft = op.draft();
        let length = draft.headers.get(header::CONTENT_LENGTH).cloned();
        let length = length.map(|value| value.to_str().unwrap_or("?").to_string());
        let length = length.unwrap_or_else(|| match draft.payload {
            Payload::Body(body) => body.len.to_string(),
            Payload::Empty | Payload::Bytes(_) => "-".into(),
        });
        let url = draft.url.as_str().replace("https://reg.example", "");
        format!("{} {url} {length}", draft.method)
    };
    let digest = Digest::of(Algorithm::Sha256, b"hello");
    let table = [
        (Stage::Check, format!("HEAD /v2/a/b/blobs/{digest} -")),
        (
            Stage::Start { mount: None },
            "POST /v2/a/b/blobs/uploads/ 0".into(),
        ),
        (
            mount(),
            format!("POST /v2/a/b/blobs/uploads/?mount={digest}&from=c 0"),
        ),
        (
            session(),
            format!("PUT /v2/a/b/blobs/uploads/u1?_state=x&digest={digest} 5"),
        ),
    ];
    for (stage, expected) in table {
        assert_eq!(shown(put(stage)), expected);
    }
    let empty = BlobPut {
        size: 0,
        ..put(session())
    };
    assert!(matches!(empty.draft().payload, Payload::Empty), "PUSHB-16");
    assert!(shown(empty).ends_with(" 0"), "PUSHB-16");
    let long = BlobPut {
        digest: Digest::of(Algorithm::Sha512, b"hello"),
        ..put(Stage::Start { mount: None })
    };
    let expected = "POST /v2/a/b/blobs/uploads/?digest-algorithm=sha512 0";
    assert_eq!(shown(long), expected, "PUSHB-17");
}

/// AUTH-60, AUTH-61: what is asked for is what the stage needs.
#[test]
fn rights() {
    for (stage, expected) in [
        (Stage::Check, "repository:a/b:pull"),
        (Stage::Start { mount: None }, "repository:a/b:pull,push"),
        (mount(), "repository:a/b:pull,push repository:c:pull"),
        (session(), "repository:a/b:pull,push"),
    ] {
        assert_eq!(put(stage).needs().to_string(), expected);
    }
}

/// An error names the blob and where it was to go.
#[test]
fn errors_name_the_blob() {
    let digest = Digest::of(Algorithm::Sha256, b"hello").to_string();
    let wrong = br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
    for (stage, status, body) in [(session(), 404, &b""[..]), (session(), 400, wrong)] {
        let op = BlobPut {
            restarts: RESTARTS,
            ..put(stage)
        };
        let Verdict::Failed(error) = op.answer(&answer(status, &[], body)) else {
            panic!("it is refused")
        };
        let said = error.to_string();
        assert!(said.contains(&digest), "{said}");
        assert!(said.contains("reg.example/a/b"), "{said}");
    }
}
