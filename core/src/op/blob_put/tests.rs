use std::string::ToString as _;

use super::super::testing::{answer, site};
use super::*;

const FOREIGN: (&str, &str) = ("location", "https://evil.example/v2/a/b/blobs/x");
const LOCATION: (&str, &str) = ("location", "/v2/a/b/blobs/uploads/u1?_state=x");

fn put(stage: Stage) -> BlobPut {
    BlobPut {
        site: site(),
        digest: Digest::of(Algorithm::Sha256, b"hello"),
        size: 5,
        position: 0,
        hashing: Hashing::new(Algorithm::Sha256),
        transfer: TransferId(1),
        stage,
        source: Some(StoreId(0)),
        head: Head::Done,
        form: Form::Put,
        restarts: 0,
        sent: 0,
    }
}

/// The same for a large blob that was not checked yet.
fn large(stage: Stage) -> BlobPut {
    BlobPut {
        size: CHECK_FROM,
        head: Head::Due,
        ..put(stage)
    }
}

fn open() -> Url {
    Url::parse("https://reg.example/v2/a/b/blobs/uploads/u1?_state=x").expect("a URL")
}

const fn check() -> Stage {
    Stage::Check { session: None }
}

fn session() -> Stage {
    Stage::Put { session: open() }
}

fn mount() -> Stage {
    let mount = Some("c".parse().expect("a repository"));
    Stage::Start { mount }
}

fn shown(verdict: Verdict) -> String {
    match verdict {
        Verdict::Next(Operation::BlobPut(op)) => match op.stage {
            Stage::Check { session: None } => "check".into(),
            Stage::Check { session: Some(_) } => "check, with a session".into(),
            Stage::Start { mount: None } => "post".into(),
            Stage::Start { mount: Some(_) } => "mount".into(),
            Stage::Put { session } => format!("put to {}", session.as_str()),
            Stage::Patch { session } => format!("patch {}", session.as_str()),
            Stage::Close { session } => format!("close {}", session.as_str()),
        },
        Verdict::Next(_) => "another operation".into(),
        Verdict::Done(Outcome::Present { unused: None }) => "Present".into(),
        Verdict::Done(Outcome::Present { unused: Some(_) }) => "Present, delete".into(),
        Verdict::Done(Outcome::Sent { .. }) => "Sent".into(),
        Verdict::Done(outcome) => format!("{outcome:?}"),
        Verdict::Failed(error) => format!("{:?}", error.kind()),
    }
}

/// A blob found after the response to its last byte was lost counts as sent.
#[test]
fn a_blob_that_is_there_after_a_lost_answer_was_sent() {
    for (sent, found) in [
        (0, "Done(Present { unused: None })"),
        (4, "Done(Present { unused: None })"),
        (5, "Done(Sent { bytes: 5 })"),
        (9, "Done(Sent { bytes: 9 })"),
    ] {
        let mut op = put(session());
        op.interrupted();
        let mut op = Operation::BlobPut(op);
        op.has_sent(sent);
        let verdict = op.answer(answer(200, &[], b""));
        assert_eq!(format!("{verdict:?}"), found);
    }
}

/// PUSHB-20 and other responses of real registries.
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
        ("PUSHB-02", check(), 200, &[], "", "Present"),
        ("PUSHB-02", check(), 204, &[ours], "", "Present"),
        ("PUSHB-02", check(), 200, &[incomparable], "", "Present"),
        ("another", check(), 200, &[theirs], "", "post"),
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
        (
            "its place is of no use",
            mount(),
            201,
            &[FOREIGN],
            "",
            "Mounted",
        ),
        ("PUSHB-55", mount(), 201, &[incomparable], "", "Mounted"),
        ("another", mount(), 201, &[theirs], "", "post"),
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

/// Whatever a HEAD or a mount is refused with, the blob is sent. A large one is checked once before
/// that.
#[test]
fn neither_head_nor_mount_is_required() {
    for status in [
        300, 304, 400, 401, 403, 404, 405, 406, 410, 415, 418, 429, 451, 500, 501, 503, 505,
    ] {
        let refused = answer(status, &[], b"");
        for (op, expected) in [
            (put(check()), "post"),
            (large(check()), "post"),
            (put(mount()), "post"),
            (large(mount()), "check"),
        ] {
            if status < 400 && matches!(op.stage, Stage::Start { .. }) {
                continue;
            }
            assert_eq!(shown(op.answer(&refused)), expected, "{status}");
        }
        let op = large(Stage::Check {
            session: Some(open()),
        });
        let found = shown(op.answer(&refused));
        assert!(found.starts_with("put to "), "{status}: {found}");
    }
    for (stage, expected) in [
        (check(), Some("post")),
        (
            Stage::Check {
                session: Some(open()),
            },
            Some("put to https://reg.example/v2/a/b/blobs/uploads/u1?_state=x"),
        ),
        (session(), None),
        (mount(), Some("check")),
        (Stage::Start { mount: None }, None),
    ] {
        let found = large(stage).without_shortcut().map(shown);
        assert_eq!(found.as_deref(), expected);
    }
}

/// After a mount that did not happen, a large blob is checked once before it is sent. If it exists,
/// the session is deleted (PUSHB-44).
#[test]
fn a_large_blob_is_asked_for_after_a_mount_that_did_not_happen() {
    let opened = large(mount()).answer(&answer(202, &[LOCATION], b""));
    assert_eq!(shown(opened), "check, with a session");
    let checks = || Stage::Check {
        session: Some(open()),
    };
    let found = large(checks()).answer(&answer(200, &[], b""));
    assert_eq!(shown(found), "Present, delete");
    // Absent: without bytes at hand the session is kept for them.
    let held = BlobPut {
        source: None,
        ..large(checks())
    };
    let held = held.answer(&answer(404, &[], b""));
    assert!(matches!(held, Verdict::Done(Outcome::Opened(_))));
    // It was checked already.
    let asked = BlobPut {
        head: Head::Done,
        ..large(mount())
    };
    let found = shown(asked.answer(&answer(202, &[LOCATION], b"")));
    assert!(found.starts_with("put to"), "{found}");
}

/// After an untruthful answer the blob is sent without HEAD and mount.
#[test]
fn what_was_contradicted_is_left_out() {
    let op = || BlobPut {
        head: Head::Never,
        ..large(Stage::Start { mount: None })
    };
    let opened = op().answer(&answer(202, &[LOCATION], b""));
    assert!(shown(opened).starts_with("put to"));
    let mut sending = BlobPut {
        stage: session(),
        ..op()
    };
    let gone = sending.clone().answer(&answer(404, &[], b""));
    assert_eq!(shown(gone), "post");
    sending.interrupted();
    assert_eq!(shown(Verdict::Next(Operation::BlobPut(sending))), "post");
}

/// Some registries take bytes by PATCH only, and say so in several ways.
#[test]
fn a_put_with_a_body_may_be_refused() {
    let code = |code: &str| format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
    let (unsupported, unknown) = (code("UNSUPPORTED"), code("BLOB_UPLOAD_UNKNOWN"));
    let patch = "patch https://reg.example/v2/a/b/blobs/uploads/u1?_state=x";
    for (status, body, restarts, expected) in [
        (405, "", 0, patch),
        (405, "<html>", 0, patch),
        (501, "", 0, patch),
        (400, &*unsupported, 0, patch),
        (404, &unsupported, 0, patch),
        // The session may be gone: only the second time the PUT is to blame.
        (404, "", 0, "post"),
        (404, "", 1, patch),
        (404, &unknown, 1, "post"),
        (400, "", 0, "Refused"),
        (413, "", 0, "Refused"),
        (403, "", 0, "Auth"),
    ] {
        let op = BlobPut {
            restarts,
            ..put(session())
        };
        let found = shown(op.answer(&answer(status, &[], body.as_bytes())));
        assert_eq!(found, expected, "{status} {body} {restarts}");
    }
    // An empty PUT has no body that could be the reason (PUSHB-16).
    let empty = BlobPut {
        size: 0,
        ..put(session())
    };
    assert_eq!(shown(empty.answer(&answer(405, &[], b""))), "Refused");
}

/// A part is what the registry does not have yet. A session that is begun again has nothing.
#[test]
fn a_part_begins_at_the_position() {
    let mut hashing = Hashing::new(Algorithm::Sha256);
    hashing.update(b"he");
    let patching = || BlobPut {
        position: 2,
        hashing: hashing.clone(),
        ..put(Stage::Patch { session: open() })
    };
    let draft = patching().draft();
    assert_eq!(draft.headers[header::CONTENT_RANGE], "2-4");
    let Payload::Body(body) = &draft.payload else {
        panic!("{:?}", draft.payload);
    };
    assert_eq!((body.offset, body.len, body.size), (2, 3, 5));
    let (_, begins) = draft.transfer.expect("it moves a blob");
    assert_eq!(begins.expect("it has a hash").len(), 2);

    let mut whole = hashing.clone();
    whole.update(b"llo");
    let accepted = Answer {
        hashed: Some(whole),
        ..answer(202, &[LOCATION], b"")
    };
    let next = |verdict| match verdict {
        Verdict::Next(Operation::BlobPut(op)) => op,
        other @ (Verdict::Next(_) | Verdict::Done(_) | Verdict::Failed(_)) => panic!("{other:?}"),
    };
    let closing = next(patching().answer(&accepted));
    assert_eq!((closing.position, closing.hashing.len()), (5, 5));
    assert_eq!(Operation::BlobPut(closing.clone()).position(), 5);
    // Without a hash at home the one before the part is kept.
    let silent = next(patching().answer(&answer(202, &[LOCATION], b"")));
    assert_eq!((silent.position, silent.hashing.len()), (5, 2));
    let mut broken = closing.clone();
    broken.interrupted();
    let gone = next(closing.answer(&answer(404, &[], b"")));
    for op in [broken, gone] {
        assert_eq!((op.position, op.hashing.len()), (0, 0), "{:?}", op.stage);
    }
}

/// PUSHB-10, PUSHB-12, PUSHB-13, PUSHB-20: one PATCH with all bytes, then an empty PUT to the
/// newest location.
#[test]
fn bytes_by_patch() {
    let patching = || BlobPut {
        form: Form::Patch,
        ..put(Stage::Patch { session: open() })
    };
    let draft = patching().draft();
    assert_eq!(draft.method, Method::PATCH);
    assert_eq!(draft.headers[header::CONTENT_RANGE], "0-4");
    assert_eq!(
        draft.headers[header::CONTENT_TYPE],
        "application/octet-stream"
    );
    assert!(matches!(draft.payload, Payload::Body(body) if body.len == 5));
    assert!(draft.transfer.is_some());
    let newer = ("location", "/v2/a/b/blobs/uploads/u1?_state=y");
    let range = ("range", "0-4");
    for status in [200, 201, 202, 204] {
        let closing = patching().answer(&answer(status, &[newer, range], b""));
        let expected = "close https://reg.example/v2/a/b/blobs/uploads/u1?_state=y";
        assert_eq!(shown(closing), expected, "{status}");
        let old = "close https://reg.example/v2/a/b/blobs/uploads/u1?_state=x";
        assert_eq!(shown(patching().answer(&answer(status, &[], b""))), old);
    }
    let closing = || BlobPut {
        form: Form::Patch,
        ..put(Stage::Close { session: open() })
    };
    let draft = closing().draft();
    assert_eq!(draft.method, Method::PUT);
    assert_eq!(draft.headers[header::CONTENT_LENGTH], "0");
    assert!(matches!(draft.payload, Payload::Empty));
    assert!(draft.url.as_str().contains("?_state=x&digest=sha256:"));
    for (status, expected) in [
        (201, "Sent"),
        (202, "Sent"),
        (404, "post"),
        (405, "Refused"),
    ] {
        assert_eq!(shown(closing().answer(&answer(status, &[], b""))), expected);
    }
    for (status, expected) in [
        (404, "post"),
        (416, "post"),
        (405, "Refused"),
        (413, "Refused"),
    ] {
        assert_eq!(
            shown(patching().answer(&answer(status, &[], b""))),
            expected
        );
    }
    // Later blobs for this host use PATCH at once.
    let mut next = put(session());
    next.do_patch();
    assert!(next.is_patching());
    let mut next = put(Stage::Start { mount: None });
    next.do_patch();
    let opened = shown(next.answer(&answer(202, &[LOCATION], b"")));
    assert!(opened.starts_with("patch "), "{opened}");
}

/// PUSHB-42: restarts are bounded, and the last failure is reported unchanged.
#[test]
fn restarts_end() {
    let wrong = br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
    let gone = br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#;
    for (body, expected) in [(&gone[..], "NotFound"), (wrong, "Mismatch")] {
        let mut op = put(session());
        for _ in 0..RESTARTS {
            let Verdict::Next(Operation::BlobPut(next)) = op.answer(&answer(404, &[], body)) else {
                panic!("it starts a new upload")
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

/// Without bytes at hand the session is handed back for later use.
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

/// PUSHB-23: a HEAD checks whether the blob arrived before it is sent again.
#[test]
fn a_lost_answer_is_asked_about() {
    let session = || open();
    for (op, expected) in [
        (put(Stage::Put { session: session() }), "check"),
        (put(Stage::Patch { session: session() }), "check"),
        (put(Stage::Close { session: session() }), "check"),
        (put(mount()), "post"),
        (large(mount()), "check"),
    ] {
        let mut op = op;
        op.interrupted();
        assert_eq!(shown(Verdict::Next(Operation::BlobPut(op))), expected);
    }
    // It may also have arrived if its session is gone.
    let gone = BlobPut {
        head: Head::Done,
        ..large(Stage::Put { session: session() })
    };
    assert_eq!(shown(gone.answer(&answer(404, &[], b""))), "check");
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
        (check(), format!("HEAD /v2/a/b/blobs/{digest} -")),
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

/// AUTH-60, AUTH-61: the scopes are those that the stage needs.
#[test]
fn rights() {
    for (stage, expected) in [
        (check(), "repository:a/b:pull"),
        (Stage::Start { mount: None }, "repository:a/b:pull,push"),
        (mount(), "repository:a/b:pull,push repository:c:pull"),
        (session(), "repository:a/b:pull,push"),
    ] {
        assert_eq!(put(stage).needs().to_string(), expected);
    }
}

/// An error names the blob and its destination.
#[test]
fn errors_name_the_blob() {
    let digest = Digest::of(Algorithm::Sha256, b"hello").to_string();
    let wrong = br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
    let gone = br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#;
    for (stage, status, body) in [(session(), 404, &gone[..]), (session(), 400, wrong)] {
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

/// users.md 16.2: what one upload learns, others adapt to.
#[test]
fn a_registry_is_known_by_what_it_refused() {
    let (mut known, before) = (Capabilities::default(), put(mount()));
    for status in [201, 202, 404, 429, 500] {
        before.learn(&answer(status, &[], b""), || {
            unreachable!("{status} says nothing")
        });
    }
    assert!(!put(mount()).adapt(&known));
    before.learn(&answer(405, &[], b""), || &mut known);
    let mut next = put(mount());
    assert!(next.adapt(&known));
    assert!(matches!(next.stage, Stage::Start { mount: None }));
    let other = Some("d".parse().expect("a repository"));
    let mut other = put(Stage::Start { mount: other });
    assert!(!other.adapt(&known));

    let patching = put(Stage::Patch { session: open() });
    patching.learn(&answer(500, &[], b""), || unreachable!("it failed"));
    patching.learn(&answer(202, &[LOCATION], b""), || &mut known);
    let mut next = put(session());
    assert!(!next.adapt(&known));
    assert!(matches!(next.stage, Stage::Patch { .. }));
}
