use super::*;
use crate::digest::Algorithm;
use crate::op::testing::{answer, site};

const CHUNK: u64 = 100_000;
const LOCATION: (&str, &str) = ("location", "/v2/a/b/blobs/uploads/u1?_state=x");

fn bytes(len: u64) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

fn digest(len: u64) -> (Digest, u64) {
    (Digest::of(Algorithm::Sha256, &bytes(len)), len)
}

fn hash(len: u64) -> Hashing {
    let mut hashing = Hashing::new(Algorithm::Sha256);
    hashing.update(&bytes(len));
    hashing
}

/// An upload of a stream, at its beginning.
fn begun() -> BlobPut {
    BlobPut::of_stream(
        site(),
        (StoreId(0), TransferId(1)),
        digest(CHUNK),
        (CHUNK, ChunkSizes::ANY),
    )
}

/// The same, at its first chunk.
fn first() -> BlobPut {
    next(begun(), 202, &[LOCATION])
}

/// The same, at a later chunk that ends at `end`, after those before it were taken.
fn later(from: u64, end: u64, has_ended: bool) -> BlobPut {
    let mut op = first();
    let mut upto = CHUNK;
    loop {
        op = so_far(taken(op, upto));
        upto = (upto + CHUNK).min(end);
        op.go_on(digest(upto), has_ended && upto == end);
        if op.position >= from {
            return op;
        }
    }
}

fn answered(op: BlobPut, status: u16, headers: &[(&'static str, &str)]) -> Verdict {
    op.answer(&answer(status, headers, b""))
}

/// The registry has taken the part up to `end`.
fn taken(mut op: BlobPut, end: u64) -> Verdict {
    op.has_sent(end - op.position, Some(&hash(end)));
    let mut answer = answer(202, &[LOCATION], b"");
    answer.hashed = Some(hash(end));
    op.answer(&answer)
}

#[track_caller]
fn next(op: BlobPut, status: u16, headers: &[(&'static str, &str)]) -> BlobPut {
    let verdict = answered(op, status, headers);
    let Verdict::Next(Operation::BlobPut(op)) = verdict else {
        panic!("it does not go on: {verdict:?}");
    };
    op
}

#[track_caller]
fn so_far(verdict: Verdict) -> BlobPut {
    let Verdict::Done(OpOutcome::SentSoFar(op)) = verdict else {
        panic!("it is not sent so far: {verdict:?}");
    };
    *op
}

/// What is sent next: the method, and from which byte to which.
fn drafted(op: &BlobPut) -> String {
    let draft = op.draft();
    let range = draft.headers.get("content-range");
    let range = range.and_then(|it| it.to_str().ok()).unwrap_or_default();
    format!("{} {range}", draft.method)
}

#[test]
fn a_chunk_after_the_other_and_then_the_end() {
    assert_eq!(drafted(&begun()), "POST ");
    assert_eq!(drafted(&first()), "PATCH 0-99999");
    let op = so_far(taken(first(), CHUNK));
    assert_eq!((op.position, op.needed_from()), (CHUNK, CHUNK));
    assert_eq!(
        drafted(&later(CHUNK, 2 * CHUNK, false)),
        "PATCH 100000-199999"
    );
    let op = later(2 * CHUNK, 2 * CHUNK + 5, true);
    assert_eq!(drafted(&op), "PATCH 200000-200004");
    let Verdict::Next(Operation::BlobPut(op)) = taken(op, 2 * CHUNK + 5) else {
        panic!("it is not closed");
    };
    assert_eq!(drafted(&op), "PUT ");
    let (digest, _) = digest(2 * CHUNK + 5);
    assert!(op.draft().url.as_str().ends_with(digest.as_str()));
    // It may end where a chunk does.
    assert_eq!(drafted(&later(CHUNK, CHUNK, true)), "PUT ");
}

/// What is read again is what was kept, and the hash goes on from there.
#[test]
fn a_broken_chunk_is_read_again_from_what_is_kept() {
    for (range, expected) in [
        // Nothing of the chunk, some of it, all of it.
        ("0-99999", "PATCH 100000-199999"),
        ("0-149999", "PATCH 150000-199999"),
        ("0-199998", "PATCH 199999-199999"),
    ] {
        let mut op = later(CHUNK, 2 * CHUNK, false);
        op.has_sent(CHUNK, Some(&hash(2 * CHUNK)));
        op.interrupted();
        assert_eq!(drafted(&op), "GET ");
        let op = next(op, 204, &[LOCATION, ("range", range)]);
        assert_eq!(drafted(&op), expected);
        assert!(op.before().hashing.len() >= CHUNK, "a byte was dropped");
    }
    let mut op = later(CHUNK, 2 * CHUNK, false);
    op.has_sent(CHUNK, Some(&hash(2 * CHUNK)));
    op.interrupted();
    let mut op = so_far(answered(op, 204, &[LOCATION, ("range", "0-199999")]));
    // Only the response was lost: the chunk is not kept beside the next one.
    assert_eq!(op.needed_from(), 2 * CHUNK);
    op.go_on(digest(3 * CHUNK), false);
    assert_eq!(drafted(&op), "PATCH 200000-299999");
    assert_eq!(op.before().hashing.len(), 2 * CHUNK);
}

/// A registry that has lost the session lacks what was dropped.
#[test]
fn what_was_dropped_is_not_asked_for() {
    let broken = || {
        let mut op = later(CHUNK, 2 * CHUNK, false);
        op.has_sent(7, Some(&hash(CHUNK + 7)));
        op.interrupted();
        op
    };
    let expected = "`reg.example/a/b` has lost the upload of a stream after 100000 bytes, which cannot be read again; \
                    put it from a file";
    let Verdict::Failed(error) = answered(broken(), 404, &[]) else {
        panic!("it goes on");
    };
    assert_eq!(error.to_string(), expected);
    // Our own count is right: less may be the Range of an earlier part (clients.md C.2.4), and not all registries have
    // status requests.
    let unhelpful: &[(u16, &[(&str, &str)])] = &[
        (204, &[LOCATION, ("range", "0-99998")]),
        (204, &[LOCATION]),
        (405, &[]),
        (501, &[]),
    ];
    for (status, headers) in unhelpful {
        let mut op = next(broken(), *status, headers);
        // Unless that is refused, a few times.
        for _ in 0..super::super::parts::CHECKS {
            assert_eq!(drafted(&op), "PATCH 100000-199999", "{status}");
            op = next(op, 416, &[]);
            assert_eq!(drafted(&op), "GET ", "{status}");
            op = next(op, *status, headers);
        }
        let Verdict::Failed(error) = answered(op, 416, &[]) else {
            panic!("{status}: it goes on");
        };
        assert_eq!(error.to_string(), expected, "{status}");
    }
    let Some(Verdict::Next(Operation::BlobPut(op))) = broken().without_shortcut() else {
        panic!("it does not go on without a status");
    };
    assert_eq!(drafted(&op), "PATCH 100000-199999");
    // The last chunk is no exception.
    let op = later(CHUNK, CHUNK + 5, true);
    assert!(matches!(answered(op, 404, &[]), Verdict::Failed(_)));
    // Of the first chunk nothing was dropped.
    let mut op = first();
    op.has_sent(CHUNK, Some(&hash(CHUNK)));
    op.interrupted();
    assert_eq!(drafted(&next(op, 404, &[])), "POST ");
}

#[test]
fn the_first_chunk_shows_whether_chunks_are_taken() {
    let code = |code: &str| format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
    let (unsupported, unknown) = (code("UNSUPPORTED"), code("BLOB_UPLOAD_UNKNOWN"));
    for (status, body, takes_none) in [
        (405, "", true),
        (411, "", true),
        (501, "", true),
        (400, "", true),
        (404, "", true),
        (415, &*unsupported, true),
        (422, &unsupported, true),
        (404, &unknown, false),
        (400, &code("DIGEST_INVALID"), false),
        (416, "", false),
        (413, "", false),
        (409, "", false),
    ] {
        let answer = answer(status, &[], body.as_bytes());
        assert_eq!(
            first().takes_no_parts(&answer),
            takes_none,
            "{status} {body}"
        );
        let verdict = first().answer(&answer);
        let is_over = matches!(verdict, Verdict::Done(OpOutcome::TakesNoParts { .. }));
        assert_eq!(is_over, takes_none, "{status} {body} {verdict:?}");
        let op = later(CHUNK, 2 * CHUNK, false);
        assert!(!op.takes_no_parts(&answer), "{status}: it has taken one");
    }
    let mut learned = crate::capabilities::Capabilities::default();
    first().learn(&answer(405, &[], b""), || &mut learned);
    assert!(learned.takes_no_parts);
}

/// PUSHB-11: what is too little for a chunk waits for more.
#[test]
fn a_registry_may_want_larger_chunks() {
    let least = ("oci-chunk-min-length", "150000");
    let mut op = so_far(answered(begun(), 202, &[LOCATION, least]));
    assert_eq!(
        (op.position, op.least_chunk(), op.needed_from()),
        (0, 150_000, 0)
    );
    op.go_on(digest(150_000), false);
    assert_eq!(drafted(&op), "PATCH 0-149999");
    // The last one may be smaller.
    let mut op = so_far(taken(op, 150_000));
    op.go_on(digest(150_007), true);
    assert_eq!(drafted(&op), "PATCH 150000-150006");
}

#[test]
fn nothing_is_there_before_it_was_sent() {
    let Verdict::Failed(error) = answered(begun(), 201, &[LOCATION]) else {
        panic!("it is believed");
    };
    assert_eq!(error.kind(), crate::error::ErrorKind::Refused);
}
