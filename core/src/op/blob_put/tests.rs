use std::string::ToString as _;
use std::vec;

use super::super::testing::{answer, site};
use super::*;
use crate::uploads::SavedUpload;

const FOREIGN: (&str, &str) = ("location", "https://evil.example/v2/a/b/blobs/x");
const LOCATION: (&str, &str) = ("location", "/v2/a/b/blobs/uploads/u1?_state=x");

fn put(step: UploadStep) -> BlobPut {
    BlobPut {
        site: site(),
        digest: Digest::of(Algorithm::Sha256, b"hello"),
        size: 5,
        position: 0,
        hashing: Hashing::new(Algorithm::Sha256),
        transfer: TransferId(1),
        step,
        mounts: Vec::new(),
        source: Some(UploadSource::Store(StoreId(0))),
        head: Head::Done,
        patches: false,
        posts: false,
        chunk: u64::MAX,
        chunks: ChunkSizes::ANY,
        session: Session::default(),
        restarts: 0,
        rewinds: Some(2),
        in_one_request: false,
        sent: 0,
        given_up: None,
        stream: None,
        is_named: true,
    }
}

/// The same for a large blob that was not checked yet.
fn large(step: UploadStep) -> BlobPut {
    BlobPut {
        size: CHECK_FROM,
        head: Head::Due,
        ..put(step)
    }
}

/// Reads and sends this many bytes from the position on.
fn sends(op: &mut BlobPut, bytes: u64) {
    let mut read = Hashing::new(Algorithm::Sha256);
    read.update(&alloc::vec![0; usize::try_from(op.position + bytes).expect("small")]);
    op.has_sent(bytes, Some(&read));
}

fn open() -> Url {
    Url::parse("https://reg.example/v2/a/b/blobs/uploads/u1?_state=x").expect("a URL")
}

const fn check() -> UploadStep {
    UploadStep::Check { session: None }
}

fn session() -> UploadStep {
    UploadStep::Put { session: open() }
}

fn mount() -> UploadStep {
    let mount = Some("c".parse().expect("a repository"));
    UploadStep::Start { mount }
}

fn shown(verdict: Verdict) -> String {
    match verdict {
        Verdict::Next(Operation::BlobPut(op)) => match op.step {
            UploadStep::Check { session: None } => "check".into(),
            UploadStep::Check { session: Some(_) } => "check, with a session".into(),
            UploadStep::Start { mount: None } => "post".into(),
            UploadStep::Start { mount: Some(_) } => "mount".into(),
            UploadStep::Put { session } => format!("put to {}", session.as_str()),
            UploadStep::Patch { session } => format!("patch {}", session.as_str()),
            UploadStep::Status { session } => format!("status of {}", session.as_str()),
            UploadStep::Close { session } => format!("close {}", session.as_str()),
            UploadStep::Confirm => "confirm".into(),
        },
        Verdict::Next(_) => "another operation".into(),
        Verdict::Done(OpOutcome::Present { unused: None }) => "Present".into(),
        Verdict::Done(OpOutcome::Present { unused: Some(_) }) => "Present, delete".into(),
        Verdict::Done(OpOutcome::Sent { .. }) => "Sent".into(),
        Verdict::Done(OpOutcome::Mounted { .. }) => "Mounted".into(),
        Verdict::Done(outcome) => format!("{outcome:?}"),
        Verdict::Failed(error) => format!("{:?}", error.kind()),
    }
}

/// A blob found after the response to its last byte was lost counts as sent.
#[test]
fn a_blob_that_is_there_after_a_lost_answer_was_sent() {
    for (sent, found) in [
        (0, "Present, delete"),
        (4, "Present, delete"),
        (5, "Sent"),
        (9, "Sent"),
    ] {
        let mut op = put(session());
        op.interrupted();
        op.has_sent(sent, None);
        let op = Operation::BlobPut(op);
        assert_eq!(shown(op.answer(answer(200, &[], b""))), found);
    }
}

/// PUSHB-18: all bytes in the POST.
#[test]
fn answers_to_a_post_of_all_bytes() {
    let put_to = "put to https://reg.example/v2/a/b/blobs/uploads/u1?_state=x";
    let other = Digest::of(Algorithm::Sha256, b"other").to_string();
    let theirs = [("docker-content-digest", other.as_str())];
    type Row<'a> = (u16, &'a [(&'static str, &'a str)], &'a str, bool);
    let table: [Row<'_>; 7] = [
        (201, &[], "Sent", false),
        (201, &theirs, "Refused", false),
        (202, &[LOCATION], put_to, true),
        (202, &[], "Refused", true),
        (400, &[], "post", true),
        (404, &[], "post", false),
        (413, &[], "post", true),
    ];
    for (status, headers, expected, is_learnt) in table {
        let mut op = put(UploadStep::Start { mount: None });
        op.posts = true;
        assert!(op.sends_bytes() && op.draft().method == Method::POST);
        sends(&mut op, 5);
        let (mut known, answer) = (Capabilities::default(), answer(status, headers, b""));
        op.learn(&answer, || &mut known);
        assert_eq!(known.takes_no_posts, is_learnt, "{status}");
        let verdict = op.answer(&answer);
        if let Verdict::Next(Operation::BlobPut(next)) = &verdict {
            assert!(!next.posts && !next.has_begun(), "{status}");
        }
        assert_eq!(shown(verdict), expected, "{status}");
    }
    let known = Capabilities {
        takes_no_posts: true,
        ..Capabilities::default()
    };
    let mut op = put(UploadStep::Start { mount: None });
    op.posts = true;
    op.adapt(&known);
    assert!(!op.sends_bytes());
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
        UploadStep,
        u16,
        &'a [(&'static str, &'a str)],
        &'a str,
        &'a str,
    );
    let plain = || UploadStep::Start { mount: None };
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
        ("PUSHB-39", session(), 409, &[], "", "Refused"),
        ("PUSHB-39", session(), 413, &[], "", "Refused"),
        ("PUSHB-39", session(), 403, &[], "", "Auth"),
    ];
    for (row, step, status, headers, body, expected) in table {
        let answer = answer(*status, headers, body.as_bytes());
        let found = shown(put(step.clone()).answer(&answer));
        assert_eq!(found, *expected, "{row} {step:?} {status} {body}");
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
            if status < 400 && matches!(op.step, UploadStep::Start { .. }) {
                continue;
            }
            assert_eq!(shown(op.answer(&refused)), expected, "{status}");
        }
        let op = large(UploadStep::Check {
            session: Some(open()),
        });
        let found = shown(op.answer(&refused));
        assert!(found.starts_with("put to "), "{status}: {found}");
    }
    for (step, expected) in [
        (check(), Some("post")),
        (
            UploadStep::Check {
                session: Some(open()),
            },
            Some("put to https://reg.example/v2/a/b/blobs/uploads/u1?_state=x"),
        ),
        (session(), None),
        (mount(), Some("check")),
        (UploadStep::Start { mount: None }, None),
    ] {
        let found = large(step).without_shortcut().map(shown);
        assert_eq!(found.as_deref(), expected);
    }
}

/// After a mount that did not happen, a large blob is checked once before it is sent. If it exists,
/// the session is deleted (PUSHB-44).
#[test]
fn a_large_blob_is_asked_for_after_a_mount_that_did_not_happen() {
    let opened = large(mount()).answer(&answer(202, &[LOCATION], b""));
    assert_eq!(shown(opened), "check, with a session");
    let checks = || UploadStep::Check {
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
    assert!(matches!(held, Verdict::Done(OpOutcome::Opened(_))));
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
        ..large(UploadStep::Start { mount: None })
    };
    let opened = op().answer(&answer(202, &[LOCATION], b""));
    assert!(shown(opened).starts_with("put to"));
    let mut sending = BlobPut {
        step: session(),
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
    let size = code("SIZE_INVALID");
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
        (400, "", 0, patch),
        (400, &size, 0, "Refused"),
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
        ..put(UploadStep::Patch { session: open() })
    };
    let draft = patching().draft();
    assert_eq!(draft.headers[header::CONTENT_RANGE], "2-4");
    let Payload::Body(body) = &draft.payload else {
        panic!("{:?}", draft.payload);
    };
    assert_eq!((body.offset, body.len, body.size), (2, 3, 5));
    let (_, begins) = draft.transfer.expect("it moves a blob");
    assert_eq!(begins.expect("it has a hash").hashing.len(), 2);

    let mut whole = hashing.clone();
    whole.update(b"llo");
    let accepted = Answer {
        hashed: Some(whole),
        ..answer(202, &[LOCATION], b"")
    };
    let closing = next(patching().answer(&accepted));
    assert_eq!((closing.position, closing.hashing.len()), (5, 5));
    assert_eq!(Operation::BlobPut(closing.clone()).position(), 5);
    // Without a hash at home the one before the part is kept.
    let silent = next(patching().answer(&answer(202, &[LOCATION], b"")));
    assert_eq!((silent.position, silent.hashing.len()), (5, 2));
    let mut broken = closing.clone();
    broken.interrupted();
    assert!(matches!(
        broken.step,
        UploadStep::Check { session: Some(_) }
    ));
    assert_eq!(broken.position, 5, "the session may still have them");
    let gone = next(closing.answer(&answer(404, &[], b"")));
    assert_eq!((gone.position, gone.hashing.len()), (0, 0));
}

/// PUSHB-10, PUSHB-12, PUSHB-13, PUSHB-20: one PATCH with all bytes, then an empty PUT to the
/// newest location.
#[test]
fn bytes_by_patch() {
    let patching = || BlobPut {
        patches: true,
        ..put(UploadStep::Patch { session: open() })
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
        patches: true,
        ..put(UploadStep::Close { session: open() })
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
    let next = BlobPut {
        patches: true,
        ..put(UploadStep::Start { mount: None })
    };
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
    for step in [UploadStep::Start { mount: None }, mount()] {
        let op = BlobPut {
            source: None,
            ..put(step)
        };
        let verdict = op.answer(&answer(202, &[LOCATION], b""));
        assert!(matches!(verdict, Verdict::Done(OpOutcome::Opened(_))));
    }
}

/// PUSHB-23: a HEAD checks whether the blob arrived before it is sent again.
#[test]
fn a_lost_answer_is_asked_about() {
    let session = || open();
    for (op, expected) in [
        (
            put(UploadStep::Put { session: session() }),
            "check, with a session",
        ),
        (
            put(UploadStep::Patch { session: session() }),
            "check, with a session",
        ),
        (
            put(UploadStep::Close { session: session() }),
            "check, with a session",
        ),
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
        ..large(UploadStep::Put { session: session() })
    };
    assert_eq!(shown(gone.answer(&answer(404, &[], b""))), "check");
}

/// PUSHB-03, PUSHB-04, PUSHB-14.
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
            UploadStep::Start { mount: None },
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
    for (step, expected) in table {
        let octets = "application/octet-stream";
        if let Payload::Body(_) = put(step.clone()).draft().payload {
            let headers = put(step.clone()).draft().headers;
            assert_eq!(headers[header::CONTENT_TYPE], octets, "PUSHB-14");
        }
        assert_eq!(shown(put(step)), expected);
    }
    let empty = BlobPut {
        size: 0,
        ..put(session())
    };
    assert!(matches!(empty.draft().payload, Payload::Empty), "PUSHB-16");
    assert!(shown(empty).ends_with(" 0"), "PUSHB-16");
    let long = BlobPut {
        digest: Digest::of(Algorithm::Sha512, b"hello"),
        ..put(UploadStep::Start { mount: None })
    };
    let expected = "POST /v2/a/b/blobs/uploads/?digest-algorithm=sha512 0";
    assert_eq!(shown(long), expected, "PUSHB-17");
}

/// AUTH-60, AUTH-61: the scopes are those that the step needs.
#[test]
fn rights() {
    for (step, expected) in [
        (check(), "repository:a/b:pull"),
        (
            UploadStep::Start { mount: None },
            "repository:a/b:pull,push",
        ),
        (mount(), "repository:a/b:pull,push repository:c:pull"),
        (session(), "repository:a/b:pull,push"),
    ] {
        assert_eq!(put(step).needs().to_string(), expected);
    }
}

/// An error names the blob and its destination.
#[test]
fn errors_name_the_blob() {
    let digest = Digest::of(Algorithm::Sha256, b"hello").to_string();
    let wrong = br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
    let gone = br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#;
    for (step, status, body) in [(session(), 404, &gone[..]), (session(), 400, wrong)] {
        let op = BlobPut {
            restarts: RESTARTS,
            ..put(step)
        };
        let Verdict::Failed(error) = op.answer(&answer(status, &[], body)) else {
            panic!("it is refused")
        };
        let said = error.to_string();
        assert!(said.contains(&digest), "{said}");
        assert!(said.contains("reg.example/a/b"), "{said}");
    }
}

/// PUSHB-44, PUSHB-56: one repository after the other, and no session is left open.
#[test]
fn mounts_are_tried_in_order() {
    let from = |name: &str| -> MountFrom { name.parse().expect("a place") };
    let several = || BlobPut {
        mounts: alloc::vec![from("*"), from("d")],
        ..large(mount())
    };
    let query = |op: &BlobPut| {
        let url = op.draft().url;
        let from = url.as_str().split_once("&from=").map(|(_, from)| from);
        (from.unwrap_or_default().to_string(), op.given_up.clone())
    };
    assert_eq!(
        several().needs().iter().collect::<Vec<_>>(),
        ["repository:a/b:pull,push", "repository:c:pull"]
    );
    assert_eq!(
        several().mount_scopes().iter().collect::<Vec<_>>(),
        ["repository:d:pull", "repository:c:pull"]
    );
    let mut op = several();
    assert_eq!(query(&op), ("c".into(), None));
    op = next(op.answer(&answer(202, &[LOCATION], b"")));
    assert_eq!(query(&op), ("d".into(), Some(open())));
    op.given_up = None;
    op = next(op.answer(&answer(403, &[], b"")));
    assert_eq!(query(&op), (String::new(), None));
    assert!(op.draft().url.as_str().contains("?mount=sha256"));
    let Verdict::Done(OpOutcome::Mounted { from: found }) =
        op.clone().answer(&answer(201, &[], b""))
    else {
        panic!("it is mounted")
    };
    assert_eq!(found, MountFrom::Anywhere);
    // The session of the last one is used.
    op = next(op.answer(&answer(202, &[LOCATION], b"")));
    let UploadStep::Check { session } = &op.step else {
        panic!("{:?}", op.step)
    };
    assert_eq!((session, &op.given_up), (&Some(open()), &None));

    // Those that are known to be refused are passed over, and after a failure none is tried.
    let mut known = Capabilities::default();
    for refused in ["c", "d"] {
        known.unmountable.insert(refused.parse().expect("a name"));
    }
    let mut op = several();
    assert!(op.adapt(&known));
    assert!(query(&op).0.is_empty() && op.draft().url.as_str().contains("mount="));
    known.searches_for_mounts = Some(false);
    let mut op = several();
    assert!(op.adapt(&known));
    assert!(matches!(op.step, UploadStep::Check { session: None }));
    let mut op = several();
    op.interrupted();
    assert!(matches!(op.step, UploadStep::Check { session: None }));
    assert_eq!(op.mounts, []);
}

/// PUSHB-52: whether a registry looks for blobs is known from its first response.
#[test]
fn a_mount_from_anywhere_shows_whether_that_works() {
    let anywhere = put(UploadStep::Start {
        mount: Some(MountFrom::Anywhere),
    });
    let learned = |status| {
        let mut known = Capabilities::default();
        anywhere.learn(&answer(status, &[], b""), || &mut known);
        known.searches_for_mounts
    };
    let expected = [
        (201, Some(true)),
        (202, None),
        (400, Some(false)),
        (500, None),
    ];
    for (status, expected) in expected {
        assert_eq!(learned(status), expected, "{status}");
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
    assert!(matches!(next.step, UploadStep::Start { mount: None }));
    let other = Some("d".parse().expect("a repository"));
    let mut other = put(UploadStep::Start { mount: other });
    assert!(!other.adapt(&known));

    let patching = BlobPut {
        patches: true,
        ..put(UploadStep::Patch { session: open() })
    };
    patching.learn(&answer(500, &[], b""), || unreachable!("it failed"));
    patching.learn(&answer(202, &[LOCATION], b""), || &mut known);
    let mut next = put(session());
    assert!(!next.adapt(&known));
    assert!(matches!(next.step, UploadStep::Patch { .. }));
}

const MIB: u64 = 1 << 20;

/// A blob of this size in an open session, of which `sent` bytes were just sent.
fn in_session(size: u64, chunk: u64, sent: u64) -> BlobPut {
    let mut op = BlobPut {
        size,
        chunk,
        head: Head::Done,
        ..put(UploadStep::Patch { session: open() })
    };
    sends(&mut op, sent);
    op
}

fn next(verdict: Verdict) -> BlobPut {
    match verdict {
        Verdict::Next(Operation::BlobPut(op)) => op,
        other @ (Verdict::Next(_) | Verdict::Done(_) | Verdict::Failed(_)) => panic!("{other:?}"),
    }
}

fn content_range(op: &BlobPut) -> String {
    let draft = op.draft();
    let range = draft.headers.get(header::CONTENT_RANGE);
    range.map_or("-", |it| it.to_str().expect("text")).into()
}

/// PUSHB-12, PUSHB-13, PUSHB-15: chunks of one size in order, then an empty PUT, then a HEAD.
#[test]
fn a_large_blob_goes_in_chunks() {
    let opened = BlobPut {
        size: 2 * MIB + 1,
        chunk: MIB,
        ..put(UploadStep::Start { mount: None })
    };
    let mut op = next(opened.answer(&answer(202, &[LOCATION], b"")));
    for (range, acknowledged) in [
        ("0-1048575", "0-1048575"),
        ("1048576-2097151", "0-2097151"),
        ("2097152-2097152", "bytes=0-2097152"),
    ] {
        assert_eq!(content_range(&op), range);
        let part = op.part_end() - op.position;
        sends(&mut op, part);
        op = next(op.answer(&answer(202, &[LOCATION, ("range", acknowledged)], b"")));
    }
    assert!(matches!(op.step, UploadStep::Close { .. }));
    let op = next(op.answer(&answer(201, &[], b"")));
    assert_eq!(op.draft().method, Method::HEAD);
    let confirmed = op
        .clone()
        .answer(&answer(200, &[("content-length", "2097153")], b""));
    assert_eq!(shown(confirmed), "Sent");
    // A HEAD that is refused says nothing.
    assert_eq!(shown(op.clone().answer(&answer(405, &[], b""))), "Sent");
    // clients.md C.8: only the last chunk was kept. It is sent once more, in one request.
    let mut op = next(op.answer(&answer(200, &[("content-length", "1")], b"")));
    assert_eq!(shown(Verdict::Next(Operation::BlobPut(op.clone()))), "post");
    op = next(op.answer(&answer(202, &[LOCATION], b"")));
    assert!(matches!(op.step, UploadStep::Put { .. }) && content_range(&op) == "-");
    sends(&mut op, 2 * MIB + 1);
    assert_eq!(shown(op.clone().answer(&answer(201, &[], b""))), "Sent");
    // No manifest would show that it is wrong: it is looked at again.
    let mut alone = op.clone();
    alone.is_named = false;
    let alone = next(alone.answer(&answer(201, &[], b"")));
    assert!(matches!(alone.step, UploadStep::Confirm));
    for (len, expected) in [("2097153", "Sent"), ("1", "Mismatch")] {
        let kept = alone.clone();
        let kept = kept.answer(&answer(200, &[("content-length", len)], b""));
        assert_eq!(shown(kept), expected);
    }
    // If that is refused for its size, chunks are all that is left, and the registry loses them.
    op = next(op.answer(&answer(413, &[], b"")));
    while matches!(op.step, UploadStep::Patch { .. }) {
        let part = op.part_end() - op.position;
        sends(&mut op, part);
        op = next(op.answer(&answer(202, &[LOCATION], b"")));
    }
    op = next(op.answer(&answer(201, &[], b"")));
    let kept = op.answer(&answer(200, &[("content-length", "1")], b""));
    let Verdict::Failed(Error::Mismatch(mismatch)) = kept else {
        panic!("{kept:?}");
    };
    assert_eq!(mismatch.found.size(), Some(1));
    let found = mismatch.found.to_string();
    assert_eq!(found, "1 bytes at the registry after an upload in parts");
}

/// PUSHB-02, clients.md C.8: what has another length is not the blob, no matter which client sent it.
#[test]
fn a_blob_of_another_length_is_not_there() {
    for (len, expected) in [("262144", "Present"), ("1", "post"), ("262145", "post")] {
        let verdict = large(check()).answer(&answer(200, &[("content-length", len)], b""));
        assert_eq!(shown(verdict), expected, "{len}");
    }
    // The response to the last byte was lost.
    for (len, expected) in [("5", "Sent"), ("1", "post")] {
        let mut op = put(session());
        sends(&mut op, 5);
        op.interrupted();
        let verdict = op.answer(&answer(200, &[("content-length", len)], b""));
        assert_eq!(shown(verdict), expected, "{len}");
    }
}

/// PUSHB-11: no chunk but the last is smaller than the registry asks for.
#[test]
fn chunks_have_the_least_size() {
    for (said, expected) in [
        ("5242880", "0-5242879"),
        ("0", "0-1048575"),
        ("-1", "0-1048575"),
        ("abc", "0-1048575"),
        ("18446744073709551616", "0-1048575"),
    ] {
        let op = BlobPut {
            size: 8 * MIB,
            chunk: MIB,
            ..put(UploadStep::Start { mount: None })
        };
        let least = ("oci-chunk-min-length", said);
        let op = next(op.answer(&answer(202, &[LOCATION, least], b"")));
        assert_eq!(content_range(&op), expected, "{said}");
    }
    // More than the whole blob: one request.
    let op = BlobPut {
        size: 8 * MIB,
        chunk: MIB,
        ..put(UploadStep::Start { mount: None })
    };
    let least = ("oci-chunk-min-length", "1099511627776");
    let op = next(op.answer(&answer(202, &[LOCATION, least], b"")));
    assert!(matches!(op.step, UploadStep::Put { .. }));
}

/// A proxy that limits bodies gets smaller ones, and so do later blobs.
#[test]
fn a_body_that_is_too_large_is_sent_in_chunks() {
    let large = || BlobPut {
        size: 20 * MIB,
        head: Head::Done,
        ..put(session())
    };
    let refused = answer(413, &[], b"<html>");
    let mut op = next(large().answer(&refused));
    for chunk in [16 * MIB, 4 * MIB, MIB, MIB / 4, MIB / 16] {
        assert_eq!(content_range(&op), format!("0-{}", chunk - 1));
        let verdict = op.clone().answer(&refused);
        if chunk == MIB / 16 {
            let Verdict::Failed(error) = verdict else {
                panic!("{verdict:?}")
            };
            let hint = error.hint().expect("a hint").to_string();
            assert!(hint.contains("limit the size"), "{hint}");
        } else {
            op = next(verdict);
        }
    }
    let mut known = Capabilities::default();
    large().learn(&refused, || &mut known);
    assert_eq!(known.chunk, Some(16 * MIB));
    let mut later = large();
    later.adapt(&known);
    assert_eq!(content_range(&later), "0-16777215");
    let mut small = put(session());
    small.adapt(&known);
    assert!(matches!(small.step, UploadStep::Put { .. }));
    // clients.md C.5: a first chunk that is "out of range" is too large. The session is over.
    let op = in_session(20 * MIB, 16 * MIB, 16 * MIB);
    let op = next(op.answer(&answer(416, &[], b"")));
    assert_eq!((op.chunk, op.position), (4 * MIB, 0));
    assert!(matches!(op.step, UploadStep::Start { mount: None }));
}

/// Bytes of requests that broke off may be at the registry, each as it was read then. They are read again and
/// compared with all hashes that are over more.
#[test]
fn bytes_of_several_attempts_are_compared() {
    let half = MIB / 2;
    let begun = || {
        let mut op = in_session(4 * MIB, 2 * MIB, 0);
        sends(&mut op, MIB);
        op.interrupted();
        let range = format!("0-{}", half - 1);
        next(op.answer(&answer(204, &[LOCATION, ("range", &range)], b"")))
    };
    for (second, stored, expected) in [
        // The bytes that the second one adds to the half MiB, those that are there then, and which hashes are before
        // the third one: the one that goes on, and the others.
        (MIB, MIB, (0, vec![MIB + half])),
        (half, MIB, (MIB, vec![])),
        (half - 1, half, (0, vec![MIB - 1, MIB])),
        (1, half, (0, vec![half + 1, MIB])),
        (1, half + 1, (half + 1, vec![MIB])),
        (1, half + 2, (0, vec![half + 1, MIB])),
        (1, MIB, (0, vec![half + 1, MIB])),
        // Nothing was sent, so there is nothing of it, but it was hashed.
        (0, half, (half, vec![MIB])),
    ] {
        let mut op = begun();
        assert_eq!(op.position, half);
        sends(&mut op, second);
        op.interrupted();
        let range = format!("0-{}", stored - 1);
        op = next(op.answer(&answer(204, &[LOCATION, ("range", &range)], b"")));
        assert_eq!(op.position, stored);
        let before = op.before();
        let lens: Vec<_> = before.earlier.iter().map(Hashing::len).collect();
        assert_eq!((before.hashing.len(), lens), expected, "{second} {stored}");
    }
}

/// Without a hash over them, or after too many attempts, bytes are sent again in a new session.
#[test]
fn bytes_that_cannot_be_compared_are_sent_again() {
    let status = answer(204, &[LOCATION, ("range", "0-65535")], b"");
    let broken = || {
        let mut op = in_session(4 * MIB, 2 * MIB, 0);
        sends(&mut op, MIB);
        op.interrupted();
        next(op.answer(&status))
    };
    let mut unknown = broken();
    unknown.has_sent(1, None);
    let mut many = broken();
    for less in 1..=8 {
        many.interrupted();
        assert!(matches!(many.step, UploadStep::Status { .. }), "{less}");
        many = next(many.answer(&status));
        let sent = MIB - many.position - less;
        sends(&mut many, sent);
    }
    for mut op in [unknown, many] {
        op.interrupted();
        assert!(matches!(op.step, UploadStep::Check { .. }));
        // The blob is not there: a new session, from the first byte on.
        op = next(op.answer(&answer(404, &[], b"")));
        assert_eq!((op.position, op.given_up), (0, Some(open())));
        assert!(matches!(op.step, UploadStep::Start { mount: None }));
    }
}

/// Sessions that an upload does not go on with are deleted, unless the registry has removed them.
#[test]
fn sessions_that_are_given_up() {
    let (put_at, put) = (put, || UploadStep::Put { session: open() });
    let patch = || UploadStep::Patch { session: open() };
    let status = || UploadStep::Status { session: open() };
    let unknown: &[u8] = br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#;
    let wrong: &[u8] = br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
    for (step, code, body, is_deleted) in [
        (put(), 404, &b""[..], false),
        (put(), 400, unknown, false),
        (put(), 400, wrong, false),
        (put(), 416, b"", true),
        (patch(), 404, b"", false),
        (patch(), 416, b"", true),
        (status(), 404, b"", false),
        (status(), 405, b"", true),
        (status(), 500, b"", true),
        // No `Range`.
        (status(), 204, b"", true),
    ] {
        let mut op = BlobPut {
            size: 10,
            position: 5,
            ..put_at(step.clone())
        };
        sends(&mut op, 1);
        let op = next(op.answer(&answer(code, &[], body)));
        let expected = is_deleted.then(open);
        assert_eq!(op.given_up, expected, "{step:?} {code}");
    }
    // The chunk was too large, and others are tried in another session.
    let mut op = in_session(40 * MIB, 16 * MIB, 0);
    op.position = 16 * MIB;
    let op = next(op.answer(&answer(413, &[], b"")));
    assert_eq!((op.chunk, op.given_up), (4 * MIB, Some(open())));
}

/// What another process has left is asked about first. Whatever it had written down, the registry's answer
/// says where the upload goes on; without one, it begins again (PUSHB-41).
#[test]
fn an_upload_of_another_process_goes_on_where_the_registry_is() {
    let size = 4 * MIB;
    for (status, range, expected) in [
        (204, Some("0-1048575"), Some("1048576-4194303")),
        // Less, or more, than it had been told.
        (204, Some("0-99"), Some("100-4194303")),
        (200, Some("bytes=0-3145727"), Some("3145728-4194303")),
        (204, Some("0-4194303"), Some("-")),
        (204, Some("0-4194304"), Some("-")),
        // Nothing, or one byte, or more than there is.
        (204, Some("0-0"), None),
        (204, Some("0-4194305"), None),
        (204, Some("0-x"), None),
        (204, None, None),
        (404, None, None),
        (405, Some("0-1048575"), None),
        (500, Some("0-1048575"), None),
    ] {
        for head in [Head::Due, Head::Done] {
            let mut op = BlobPut {
                size,
                head,
                ..put(UploadStep::Start { mount: None })
            };
            op.go_on_with(&left(2 * MIB));
            if head == Head::Due {
                assert!(shown(Verdict::Next(Operation::BlobPut(op.clone()))).starts_with("check"));
                op = next(op.answer(&answer(404, &[], b"")));
            }
            assert_eq!(op.draft().method, Method::GET);
            let mut headers = alloc::vec![LOCATION];
            headers.extend(range.map(|range| ("range", range)));
            let op = next(op.answer(&answer(status, &headers, b"")));
            let Some(expected) = expected else {
                assert!(
                    matches!(op.step, UploadStep::Start { mount: None }),
                    "{range:?}"
                );
                assert_eq!((op.position, op.acknowledged()), (0, 0));
                continue;
            };
            assert_eq!(content_range(&op), expected, "{range:?}");
            let draft = op.draft();
            if let Payload::Body(body) = &draft.payload {
                // All of the blob is read and hashed, as by the process that began.
                let before = draft.transfer.expect("a transfer").1.expect("hashes");
                assert_eq!((before.hashing.len(), before.earlier.is_empty()), (0, true));
                assert_eq!((body.offset + body.len, body.size), (size, size));
            }
        }
    }
    // It is there: the session is deleted.
    let mut op = BlobPut {
        size,
        head: Head::Due,
        ..put(UploadStep::Start { mount: None })
    };
    op.go_on_with(&left(MIB));
    assert_eq!(shown(op.answer(&answer(200, &[], b""))), "Present, delete");
}

/// A registry whose status says less than it has refuses what follows: our own count is right then (clients.md
/// C.13). A session that was complete already is closed, and what became of its parts is checked (C.8).
#[test]
fn an_upload_of_another_process_is_counted_by_its_own_count() {
    let inherited = |range| {
        let mut op = BlobPut {
            size: 4 * MIB,
            ..put(UploadStep::Start { mount: None })
        };
        op.go_on_with(&left(2 * MIB));
        next(op.answer(&answer(204, &[LOCATION, ("range", range)], b"")))
    };
    let op = next(inherited("0-99").answer(&answer(416, &[LOCATION], b"")));
    assert_eq!(content_range(&op), "2097152-4194303");
    let op = inherited("0-4194303");
    assert!(matches!(op.step, UploadStep::Close { .. }));
    assert_eq!(shown(op.answer(&answer(201, &[], b""))), "confirm");
}

/// If the registry's bytes turn out to be others, the upload begins again once.
#[test]
fn an_upload_of_another_process_that_does_not_fit_begins_again() {
    let mut op = put(UploadStep::Start { mount: None });
    op.size = 4 * MIB;
    op.go_on_with(&left(MIB));
    op = next(op.answer(&answer(204, &[LOCATION, ("range", "0-1048575")], b"")));
    sends(&mut op, 3 * MIB);
    op = next(op.answer(&answer(202, &[LOCATION], b"")));
    assert!(matches!(op.step, UploadStep::Close { .. }));
    let wrong: &[u8] = br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
    op = next(op.answer(&answer(400, &[], wrong)));
    assert_eq!((op.position, op.given_up.is_none()), (0, true));
    // The same is said to an end that comes twice, while the first one is still taken.
    assert!(matches!(op.step, UploadStep::Check { session: None }));
    let there = op.clone().answer(&answer(200, &[], b""));
    assert!(matches!(there, Verdict::Done(OpOutcome::Present { .. })));
    op = next(op.answer(&answer(404, &[], b"")));
    op = next(op.answer(&answer(202, &[LOCATION], b"")));
    sends(&mut op, 4 * MIB);
    assert_eq!(shown(op.answer(&answer(400, &[], wrong))), "Mismatch");
}

/// The bytes that another process has sent are read once, also if the request that sends the others breaks off
/// before its first byte.
#[test]
fn what_was_read_is_not_read_again() {
    let mut op = put(UploadStep::Start { mount: None });
    op.size = 4 * MIB;
    op.go_on_with(&left(2 * MIB));
    let status = answer(204, &[LOCATION, ("range", "0-2097151")], b"");
    let mut op = next(op.answer(&status));
    for (read, expected) in [
        (MIB, MIB),
        (10, MIB),
        (2 * MIB, 2 * MIB),
        (2 * MIB + 1, 2 * MIB),
    ] {
        let mut hashing = Hashing::new(Algorithm::Sha256);
        hashing.update(&alloc::vec![0; usize::try_from(read).expect("small")]);
        op.has_sent(0, Some(&hashing));
        op.interrupted();
        op = next(op.answer(&status));
        let before = op.before();
        let lens = (before.hashing.len(), before.earlier.is_empty(), op.position);
        assert_eq!(lens, (expected, true, 2 * MIB));
    }
}

/// Another process goes on with the upload: nothing is sent to its session, which is not deleted either.
#[test]
fn an_upload_of_another_process_is_left_to_it() {
    let size = 4 * MIB;
    let begun = |head| {
        let mut op = BlobPut {
            size,
            head,
            ..put(UploadStep::Start { mount: None })
        };
        op.go_on_with(&left(MIB));
        op
    };
    for head in [Head::Due, Head::Done] {
        let mut op = begun(head);
        assert!(op.leave_to_another());
        assert_eq!(op.open_session(), None);
        let statuses = [404, 204];
        for status in &statuses[..if head == Head::Due { 1 } else { 2 }] {
            let there = answer(*status, &[LOCATION, ("range", "0-1048575")], b"");
            assert_eq!(shown(op.clone().answer(&there)), "post", "{head:?}");
        }
        let op = next(op.without_shortcut().expect("a post"));
        assert_eq!((&op.given_up, op.position), (&None, 0));
        // From here on it has a session of its own.
        let op = next(op.answer(&answer(202, &[LOCATION], b"")));
        assert_eq!(op.open_session(), Some(&open()));
    }
    // Its blob is there meanwhile.
    let mut op = begun(Head::Due);
    assert!(op.leave_to_another());
    assert_eq!(shown(op.answer(&answer(200, &[], b""))), "Present");
    // What has gone on is not left any more, and what this process has opened is its own.
    let op = begun(Head::Done);
    let mut op = next(op.answer(&answer(204, &[LOCATION, ("range", "0-1048575")], b"")));
    assert!(!op.leave_to_another());
    assert!(op.open_session().is_some());
    assert!(!put(session()).leave_to_another());
}

/// An upload of which this many bytes were acknowledged.
fn left(acknowledged: u64) -> SavedUpload {
    let digest = Digest::of(Algorithm::Sha256, b"hello");
    let (size, url) = (4 * MIB, open());
    SavedUpload::from_json(&format!(
        r#"{{"registry":"reg.example","origin":"https://reg.example","repository":"a/b",
        "digest":"{digest}","size":{size},"url":"{}","acknowledged":{acknowledged},"age":0}}"#,
        url.as_str()
    ))
    .expect("an upload")
}

/// V-E.2, PUSHB-33: where an upload goes on after a part was accepted. Every `Range` that differs from our
/// own count is cross-checked once.
#[test]
fn ranges_of_accepted_parts() {
    for (row, acknowledged, range, expected) in [
        (1, 0, Some("0-1048575"), "patch"),
        (2, MIB, Some("0-2097151"), "patch"),
        (3, MIB, Some("1048576-2097151"), "patch"),
        (5, 0, Some("bytes 0-1048575"), "patch"),
        (6, 0, Some("0-1048576"), "patch"),
        (7, 0, Some("0-524287"), "status"),
        (9, MIB, Some("0-1048575"), "status"),
        (10, MIB, Some("0-524287"), "status"),
        (11, 0, Some("0-9999999"), "status"),
        (13, 0, Some("0-0"), "status"),
        (15, 0, None, "patch"),
        (22, 0, Some("0-"), "patch"),
        (22, 0, Some("-5"), "patch"),
        (22, 0, Some("abc"), "patch"),
        (22, 0, Some("5-3"), "patch"),
        (22, 0, Some("0-18446744073709551616"), "patch"),
    ] {
        let mut op = in_session(4 * MIB, MIB, acknowledged);
        op.position = acknowledged;
        sends(&mut op, MIB);
        let mut headers = alloc::vec![LOCATION];
        headers.extend(range.map(|range| ("range", range)));
        let op = next(op.answer(&answer(202, &headers, b"")));
        let found = shown(Verdict::Next(Operation::BlobPut(op.clone())));
        assert!(found.starts_with(expected), "{row}: {found}");
        assert_eq!(op.position, acknowledged + MIB, "{row}");
    }
}

/// V-E.2, PUSHB-32, PUSHB-34, PUSHB-36: where it goes on after a status request.
#[test]
fn status_responses() {
    let patch = |from: u64| format!("{from}-{}", from + MIB - 1);
    for (acknowledged, sent, status, range, expected) in [
        // A part broke off: the registry has some of it, all of it, or none.
        (MIB, MIB / 2, 204, Some("0-1200000"), patch(1_200_001)),
        (MIB, MIB, 204, Some("0-2097151"), patch(2 * MIB)),
        (MIB, MIB / 2, 204, Some("0-1048575"), patch(MIB)),
        // Nothing, or one byte.
        (0, MIB / 2, 200, Some("0-0"), "post".into()),
        (0, MIB / 2, 204, Some("0--1"), patch(0)),
        // More than was sent, or nothing that is a range: our own count.
        (MIB, MIB / 2, 204, Some("0-9999999"), patch(MIB)),
        (MIB, MIB / 2, 204, None, patch(MIB)),
        (0, MIB / 2, 204, None, "post".into()),
        (0, MIB / 2, 204, Some("0-9999999"), "post".into()),
        // One too many.
        (0, MIB / 2, 204, Some("0-524288"), patch(MIB / 2)),
        (MIB, MIB / 2, 404, None, "post".into()),
        (MIB, MIB / 2, 405, None, "post".into()),
    ] {
        let mut op = in_session(4 * MIB, MIB, 0);
        if acknowledged > 0 {
            op = next(op.answer(&answer(202, &[LOCATION], b"")));
        }
        sends(&mut op, sent);
        op.interrupted();
        assert!(matches!(op.step, UploadStep::Status { .. }), "{op:?}");
        assert_eq!(op.draft().method, Method::GET);
        let newer = ("location", "/v2/a/b/blobs/uploads/u1?_state=y");
        let mut headers = alloc::vec![newer];
        headers.extend(range.map(|range| ("range", range)));
        let op = next(op.answer(&answer(status, &headers, b"")));
        match &op.step {
            UploadStep::Patch { session } => {
                assert!(session.as_str().ends_with("_state=y"), "PUSHB-10");
                assert_eq!(content_range(&op), expected, "{range:?}");
            }
            UploadStep::Start { .. } => {
                assert_eq!((op.position, expected.as_str()), (0, "post"), "{range:?}");
            }
            other @ (UploadStep::Check { .. }
            | UploadStep::Put { .. }
            | UploadStep::Status { .. }
            | UploadStep::Close { .. }
            | UploadStep::Confirm) => panic!("{other:?}"),
        }
    }
}

/// clients.md C.2: a registry that reports a stale range, also to a status request, and refuses what it
/// has already: our own count is right.
#[test]
fn a_stale_range_costs_two_requests() {
    let stale = ("range", "0-1048575");
    let mut op = in_session(4 * MIB, MIB, MIB);
    op = next(op.answer(&answer(201, &[LOCATION, stale], b"")));
    sends(&mut op, MIB);
    op = next(op.answer(&answer(201, &[LOCATION, stale], b"")));
    assert!(matches!(op.step, UploadStep::Status { .. }));
    op = next(op.answer(&answer(204, &[LOCATION, stale], b"")));
    assert_eq!(content_range(&op), "1048576-2097151");
    sends(&mut op, MIB);
    op = next(op.answer(&answer(416, &[], b"")));
    assert_eq!(content_range(&op), "2097152-3145727");
    // It is not believed again.
    sends(&mut op, MIB);
    op = next(op.answer(&answer(201, &[LOCATION, stale], b"")));
    assert_eq!(content_range(&op), "3145728-4194303");
}

/// PUSHB-36, PUSHB-42: an out-of-order part leads to a status request, a few times.
#[test]
fn out_of_order_parts_are_asked_about() {
    let mut op = in_session(4 * MIB, MIB, MIB);
    op = next(op.answer(&answer(202, &[LOCATION], b"")));
    for _ in 0..3 {
        sends(&mut op, MIB);
        op = next(op.answer(&answer(416, &[], b"")));
        assert!(matches!(op.step, UploadStep::Status { .. }));
        op = next(op.answer(&answer(204, &[LOCATION, ("range", "0-1048575")], b"")));
        assert_eq!(content_range(&op), "1048576-2097151");
    }
    op = next(op.answer(&answer(416, &[], b"")));
    // A session is also gone if the blob is there.
    assert_eq!(shown(Verdict::Next(Operation::BlobPut(op))), "check");
}

/// PUSHB-42, clients.md C.2.5: a registry that refuses a part in each session is given up, whatever it answers to the
/// status request. The last refusal is reported.
#[test]
fn parts_that_are_refused_in_each_session_end() {
    type Status<'a> = (u16, Option<&'a str>);
    let statuses: [Status<'_>; 7] = [
        (204, Some("0-0")),
        (204, Some("0-99999999")),
        (204, None),
        (200, None),
        (404, None),
        (405, None),
        (503, None),
    ];
    // Which request for bytes is refused: the PUT of all, or a PATCH from this position on.
    for refused_from in [None, Some(0), Some(MIB)] {
        for (status, range) in statuses {
            let mut op = BlobPut {
                size: 4 * MIB,
                chunk: refused_from.map_or(u64::MAX, |_| MIB),
                // Those that are tried instead when the first chunk is refused are not asked about.
                chunks: ChunkSizes {
                    least: MIB,
                    ..ChunkSizes::ANY
                },
                ..put(UploadStep::Start { mount: None })
            };
            let (mut opened, mut asked, mut ended) = (0, 0, None);
            for _ in 0..100 {
                let headers = [Some(LOCATION), range.map(|range| ("range", range))];
                let headers: Vec<_> = headers.into_iter().flatten().collect();
                let verdict = match &op.step {
                    UploadStep::Check { .. } => op.answer(&answer(404, &[], b"")),
                    UploadStep::Start { .. } => {
                        opened += 1;
                        op.answer(&answer(202, &[LOCATION], b""))
                    }
                    UploadStep::Status { .. } => {
                        asked += 1;
                        if status == 503 {
                            op.without_shortcut().expect("it goes on")
                        } else {
                            op.answer(&answer(status, &headers, b""))
                        }
                    }
                    UploadStep::Patch { .. } if refused_from.is_some_and(|it| op.position < it) => {
                        sends(&mut op, MIB);
                        op.answer(&answer(202, &[LOCATION], b""))
                    }
                    UploadStep::Put { .. }
                    | UploadStep::Patch { .. }
                    | UploadStep::Close { .. } => {
                        let bytes = op.part_end() - op.position;
                        sends(&mut op, bytes);
                        op.answer(&answer(416, &[], b""))
                    }
                    UploadStep::Confirm => unreachable!("it never ends"),
                };
                match verdict {
                    Verdict::Next(Operation::BlobPut(next)) => op = next,
                    over @ (Verdict::Next(_) | Verdict::Done(_) | Verdict::Failed(_)) => {
                        ended = Some(over);
                        break;
                    }
                }
            }
            let case = format!("{refused_from:?}, {status} {range:?}");
            let ended = ended.unwrap_or_else(|| panic!("{case}: goes on for ever"));
            let Verdict::Failed(Error::Registry(refusal)) = ended else {
                panic!("{case}: {ended:?}");
            };
            assert_eq!(refusal.status, 416, "{case}");
            assert_eq!(opened, 1 + u32::from(RESTARTS), "{case}");
            assert!(asked <= 3 * opened, "{case}: {asked}");
        }
    }
}

/// A registry that takes no blob in parts, or not in those that are configured, gets it in one request (clients.md
/// C.5).
#[test]
fn parts_that_are_refused_are_sent_in_one_request() {
    let code = |code: &str| format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
    let (unsupported, size) = (code("UNSUPPORTED"), code("SIZE_INVALID"));
    let denied = code("DENIED");
    for (status, body, is_sent_whole) in [
        (405, "", true),
        (501, "", true),
        (411, "", true),
        (400, &*unsupported, true),
        (400, &size, true),
        (404, &unsupported, true),
        (400, "", false),
        (400, &denied, false),
        (403, "", false),
    ] {
        for position in [0, MIB] {
            let mut op = in_session(4 * MIB, MIB, MIB);
            if position > 0 {
                op = next(op.answer(&answer(202, &[LOCATION], b"")));
                sends(&mut op, MIB);
            }
            let refused = answer(status, &[], body.as_bytes());
            let mut known = Capabilities::default();
            op.learn(&refused, || &mut known);
            let is_of_all = is_sent_whole && body != size;
            assert_eq!(known.takes_no_parts, is_of_all, "{status} {body}");
            if !is_sent_whole {
                let verdict = op.answer(&refused);
                assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
                continue;
            }
            let post = next(op.answer(&refused));
            assert_eq!(
                shown(Verdict::Next(Operation::BlobPut(post.clone()))),
                "post"
            );
            let whole = next(post.answer(&answer(202, &[LOCATION], b"")));
            assert!(matches!(whole.step, UploadStep::Put { .. }), "{status}");
            if !is_of_all {
                continue;
            }
            // Later blobs go in one request at once.
            let mut later = in_session(4 * MIB, MIB, 0);
            later.step = UploadStep::Start { mount: None };
            assert!(!later.adapt(&known));
            let later = next(later.answer(&answer(202, &[LOCATION], b"")));
            assert!(matches!(later.step, UploadStep::Put { .. }));
        }
    }
    // Behind a proxy that takes no large bodies the blob cannot be sent: that ends, too.
    for refusal in [&unsupported, &size] {
        let (mut op, mut known) = (in_session(64 * MIB, u64::MAX, 0), Capabilities::default());
        op.step = session();
        let mut refusals = 0;
        let ended = loop {
            op.adapt(&known);
            let refused = match &op.step {
                UploadStep::Check { .. } => answer(404, &[], b""),
                UploadStep::Start { .. } => answer(202, &[LOCATION], b""),
                UploadStep::Put { .. }
                | UploadStep::Patch { .. }
                | UploadStep::Status { .. }
                | UploadStep::Close { .. }
                | UploadStep::Confirm
                    if op.part_end() - op.position > 16 * MIB =>
                {
                    answer(413, &[], b"")
                }
                UploadStep::Put { .. }
                | UploadStep::Patch { .. }
                | UploadStep::Status { .. }
                | UploadStep::Close { .. }
                | UploadStep::Confirm => answer(400, &[], refusal.as_bytes()),
            };
            if op.sends_bytes() {
                refusals += 1;
                assert!(refusals < 10, "it goes on for ever");
                let bytes = op.part_end() - op.position;
                sends(&mut op, bytes.min(MIB));
            }
            op.learn(&refused, || &mut known);
            match op.answer(&refused) {
                Verdict::Next(Operation::BlobPut(next)) => op = next,
                over @ (Verdict::Next(_) | Verdict::Done(_) | Verdict::Failed(_)) => break over,
            }
        };
        assert_eq!(refusals, 3, "all of it, a part, and all of it");
        let Verdict::Failed(Error::Registry(refused)) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(refused.status, 413);
    }
    // One that finds the digest wrong at the end, though all parts were taken.
    for code in ["DIGEST_INVALID", "BLOB_UPLOAD_INVALID"] {
        let mut op = in_session(2 * MIB, MIB, MIB);
        op.step = UploadStep::Close { session: open() };
        let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
        let begun = next(op.answer(&answer(400, &[], body.as_bytes())));
        let opened = BlobPut {
            step: UploadStep::Start { mount: None },
            head: Head::Done,
            ..begun
        };
        let whole = next(opened.answer(&answer(202, &[LOCATION], b"")));
        assert!(matches!(whole.step, UploadStep::Put { .. }), "{code}");
    }
}

/// A proxy lets through nothing but parts, and the session is gone at the end: parts are sent again.
#[test]
fn a_session_that_is_gone_at_the_end_of_parts() {
    let known = Capabilities {
        chunk: Some(MIB),
        ..Capabilities::default()
    };
    let gone = br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#;
    for (restarts, expected) in [(0, "0-1048575"), (1, "-")] {
        let mut op = in_session(2 * MIB, MIB, MIB);
        (op.step, op.restarts) = (UploadStep::Close { session: open() }, restarts);
        op = next(op.answer(&answer(404, &[], gone)));
        (op.step, op.head) = (UploadStep::Start { mount: None }, Head::Done);
        op = next(op.answer(&answer(202, &[LOCATION], b"")));
        op.adapt(&known);
        assert_eq!(content_range(&op), expected);
    }
}

/// clients.md C.2.4: a registry with wrong `Range`s that takes no status requests. What it answers with success it has.
#[test]
fn a_wrong_range_that_cannot_be_asked_about_costs_one_request() {
    let wrong = ("range", "0-9");
    for status in [404, 405, 503] {
        let mut op = in_session(4 * MIB, MIB, MIB);
        op = next(op.answer(&answer(202, &[LOCATION, wrong], b"")));
        assert!(matches!(op.step, UploadStep::Status { .. }));
        assert_eq!(op.lost_progress(None), None);
        let refused = answer(status, &[], b"");
        assert_eq!(op.lost_progress(Some(&refused)), None);
        op = next(if status == 503 {
            op.without_shortcut().expect("it goes on")
        } else {
            op.answer(&refused)
        });
        for part in ["1048576-2097151", "2097152-3145727", "3145728-4194303"] {
            assert_eq!(content_range(&op), part, "{status}");
            sends(&mut op, MIB);
            op = next(op.answer(&answer(202, &[LOCATION, wrong], b"")));
        }
        assert!(matches!(op.step, UploadStep::Close { .. }));
    }
}

/// Whatever makes an upload of many bytes begin again, it is told.
#[test]
fn beginning_again_is_told() {
    for (status, range, expected) in [
        (404, None, "answers 404 when it is asked"),
        (405, None, "answers 405 when it is asked"),
        (200, None, "does not say"),
        (204, Some("0-0"), "does not say"),
        (204, Some("0-99999999"), "does not say"),
        (204, Some("0-65535"), ""),
    ] {
        let mut op = in_session(4 * MIB, MIB, MIB / 2);
        op.interrupted();
        let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
        let told = op.lost_progress(Some(&answer(status, &headers, b"")));
        assert_eq!(told.is_some(), !expected.is_empty(), "{status} {range:?}");
        let told = told.unwrap_or_default();
        assert!(told.contains(expected), "{told}");
    }
    let mut op = in_session(4 * MIB, MIB, MIB / 2);
    op.interrupted();
    let told = op.lost_progress(None).expect("no answer at all");
    assert!(told.contains("does not say how much"), "{told}");
}

/// PUSHB-31: a registry whose `Range` ends one byte too late refuses what follows that: our own count is right.
#[test]
fn a_range_of_one_byte_too_many_is_not_believed_twice() {
    let mut op = in_session(4 * MIB, MIB, MIB);
    op = next(op.answer(&answer(202, &[LOCATION], b"")));
    sends(&mut op, MIB);
    op = next(op.answer(&answer(416, &[], b"")));
    op = next(op.answer(&answer(204, &[LOCATION, ("range", "0-1048576")], b"")));
    assert_eq!(content_range(&op), "1048577-2097152");
    sends(&mut op, MIB - 1);
    op = next(op.answer(&answer(416, &[], b"")));
    assert_eq!(content_range(&op), "1048576-2097151");
}

/// PUSHB-23, PUSHB-40: after a lost answer to all bytes a HEAD is first, then the status.
#[test]
fn a_large_upload_that_breaks_goes_on() {
    let sending = |sent: u64| {
        let mut op = BlobPut {
            size: 4 * MIB,
            head: Head::Done,
            ..put(session())
        };
        sends(&mut op, sent);
        op.interrupted();
        op
    };
    let step = |op: &BlobPut| shown(Verdict::Next(Operation::BlobPut(op.clone())));
    let small = sending(1000);
    assert_eq!(step(&small), "check, with a session");
    let small = small.answer(&answer(404, &[], b""));
    assert_eq!(shown(small), "post", "not worth a status request");
    assert!(step(&sending(MIB)).starts_with("status"));
    let all = sending(4 * MIB);
    assert_eq!(step(&all), "check, with a session");
    assert_eq!(shown(all.clone().answer(&answer(200, &[], b""))), "Sent");
    let absent = next(all.answer(&answer(404, &[], b"")));
    assert!(step(&absent).starts_with("status"));
    // All of it is in the session: only the end was lost (PUSHB-23).
    let range = ("range", "0-4194303");
    let complete = next(absent.clone().answer(&answer(204, &[LOCATION, range], b"")));
    assert!(step(&complete).starts_with("close"));
    // The session may be gone because the blob was stored since it was asked for.
    let mut stored = next(absent.answer(&answer(404, &[], b"")));
    assert_eq!(step(&stored), "check");
    stored = next(stored.answer(&answer(404, &[], b"")));
    assert_eq!(step(&stored), "post");
    // A status request that fails is not required.
    let given_up = sending(MIB).without_shortcut().map(shown);
    assert_eq!(given_up.as_deref(), Some("post"));
}
