use std::string::ToString as _;
use std::vec::Vec;

use http::{HeaderValue, Response};

use super::super::testing::site;
use super::*;

fn origin() -> Origin {
    site().origin.clone()
}
use crate::call::{Call, Done, Interrupted, JobId, JobResult, Keep, Receive};
use crate::digest::Algorithm;
use crate::error::RequestLine;
use crate::exchanges::classify::{Class, classify};

const SIZE: u64 = 1234;

fn content() -> Vec<u8> {
    (0..SIZE).map(|n| (n % 241) as u8).collect()
}

/// A fetch that has the first `from` bytes.
fn get(from: u64) -> BlobGet {
    let content = content();
    let mut hashing = Hashing::new(Algorithm::Sha256);
    hashing.update(&content[..usize::try_from(from).expect("it is small")]);
    BlobGet {
        site: site(),
        digest: Digest::of(Algorithm::Sha256, &content),
        size: SIZE,
        store: Some(StoreId(0)),
        transfer: TransferId(1),
        start: from,
        position: from,
        end: SIZE,
        shares: false,
        present: Extents::first(from),
        hashing,
        restarted: false,
        is_whole: false,
        shorts: 0,
        received: 0,
        urls: Vec::new(),
        url: None,
    }
}

/// Runs a call with this response, whose body is the blob from the named position, and shows what
/// was stored at which offset, and the result.
fn ran(op: BlobGet, status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> String {
    let (stored, done) = exchanged(&op, status, headers, body);
    stored + &concluded(op, done)
}

/// The error after the last attempt.
fn failure(headers: &[(&'static str, &str)], body: &[u8]) -> String {
    let op = BlobGet {
        restarted: true,
        ..get(0)
    };
    let (_, done) = exchanged(&op, 200, headers, body);
    match judged(op, done) {
        Ok(Verdict::Failed(error)) | Err((error, _)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn exchanged(
    op: &BlobGet,
    status: u16,
    headers: &[(&'static str, &str)],
    body: &[u8],
) -> (String, Done) {
    let draft = op.draft();
    let request = http::Request::new(draft.payload);
    let mut call = Call::new(JobId(0), origin(), request, draft.expect, 1000);
    let mut head = Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("a value");
        head.headers_mut().append(*name, value);
    }
    let receive = call.head(head);
    let stored = match &receive {
        Receive::Store { offset, .. } => format!("from {offset}, "),
        Receive::Collect => "collected, ".into(),
        Receive::Relay { keep } => format!("relays {} to {}, ", keep.start, keep.end),
        Receive::Discard { .. } => "discarded, ".into(),
    };
    if !matches!(receive, Receive::Discard { .. }) {
        for chunk in body.chunks(100) {
            if call.data(chunk) == Keep::Stop {
                break;
            }
        }
    }
    (stored, call.finish(Ok(())))
}

/// The verdict, or the error and the operation for a retry.
fn judged(mut op: BlobGet, done: Done) -> Result<Verdict, (Error, BlobGet)> {
    let JobResult::Http(exchanged) = done.into_outcome() else {
        panic!("an HTTP job ends as one")
    };
    let line = RequestLine::ping();
    let class = classify(&exchanged, &line);
    if let Class::Retry { error, .. } = class {
        op.take(exchanged.body);
        return Err((error, op));
    }
    assert!(matches!(class, Class::Answered), "{class:?}");
    let answer = Answer {
        request: line,
        url: site().url("blobs/x"),
        status: exchanged.status.expect("there was a head"),
        headers: exchanged.headers,
        body: exchanged.body,
        hashed: None,
        flaw: exchanged.flaw,
        denied: None,
        presented: "no credentials".into(),
        hint: None,
    };
    Ok(op.answer(answer))
}

fn concluded(op: BlobGet, done: Done) -> String {
    let verdict = match judged(op, done) {
        Ok(verdict) => verdict,
        Err((_, op)) => return format!("again from {}", op.hashing.len()),
    };
    match verdict {
        Verdict::Next(Operation::BlobGet(op)) if op.restarted => "start over".into(),
        Verdict::Next(Operation::BlobGet(op)) => format!("next from {}", op.hashing.len()),
        Verdict::Next(_) => "another operation".into(),
        Verdict::Done(OpOutcome::Fetched { .. }) => "Fetched".into(),
        Verdict::Done(outcome) => format!("{outcome:?}"),
        Verdict::Failed(error) => format!("{:?}", error.kind()),
    }
}

/// V-E.1, RNG-07, RNG-12: responses to a Range from byte 500 of 1234.
#[test]
fn answers_to_a_range() {
    let range = "content-range";
    let body = content();
    let rest = &body[500..];
    let more = [rest, b"x"].concat();
    type Headers<'a> = &'a [(&'static str, &'a str)];
    let table: &[(&str, u16, Headers<'_>, &[u8], &str)] = &[
        (
            "1",
            206,
            &[(range, "bytes 500-1233/1234")],
            rest,
            "from 500, Fetched",
        ),
        (
            "2",
            206,
            &[(range, "bytes 500-999/1234")],
            &rest[..500],
            "from 500, next from 1000",
        ),
        (
            "3",
            206,
            &[(range, "bytes 500-1233/*")],
            rest,
            "from 500, Fetched",
        ),
        (
            "5",
            206,
            &[(range, " bytes 500-1233/1234 ")],
            rest,
            "from 500, Fetched",
        ),
        (
            "6",
            206,
            &[(range, "bytes 0-1233/1234")],
            &body,
            "discarded, start over",
        ),
        (
            "7",
            206,
            &[(range, "bytes 500-1233/1235")],
            rest,
            "discarded, start over",
        ),
        (
            "9",
            206,
            &[(range, "bytes 5-3/10")],
            rest,
            "discarded, start over",
        ),
        (
            "10",
            206,
            &[(range, "bytes 500-1233")],
            rest,
            "discarded, start over",
        ),
        (
            "11",
            206,
            &[(range, "bytes=500-1233/1234")],
            rest,
            "discarded, start over",
        ),
        (
            "13",
            206,
            &[(range, "bytes */1234")],
            rest,
            "discarded, start over",
        ),
        ("14", 206, &[], rest, "discarded, start over"),
        (
            "15",
            206,
            &[(range, "bytes 500-600/1234, bytes 700-1233/1234")],
            rest,
            "discarded, start over",
        ),
        (
            "15, two lines",
            206,
            &[
                (range, "bytes 500-1233/1234"),
                (range, "bytes 500-1233/1234"),
            ],
            rest,
            "discarded, start over",
        ),
        (
            "17",
            206,
            &[
                (range, "bytes 500-1233/1234"),
                ("content-type", "multipart/byteranges; boundary=x"),
            ],
            rest,
            "discarded, start over",
        ),
        (
            "18",
            206,
            &[(range, "bytes 500-1233/1234")],
            &rest[..700],
            "from 500, again from 1200",
        ),
        (
            "19",
            206,
            &[(range, "bytes 500-1233/1234")],
            &more,
            "from 500, Mismatch",
        ),
        (
            "21",
            200,
            &[("content-length", "1234")],
            &body,
            "from 0, Fetched",
        ),
        ("21, cut", 200, &[], &body[..300], "from 0, again from 300"),
        (
            "23",
            416,
            &[(range, "bytes */1234")],
            b"",
            "collected, start over",
        ),
        ("25", 416, &[], b"", "collected, start over"),
        ("26", 404, &[], b"", "collected, NotFound"),
        (
            "a wrong length",
            206,
            &[(range, "bytes 500-1233/1234"), ("content-length", "735")],
            rest,
            "discarded, start over",
        ),
        (
            "encoded",
            206,
            &[(range, "bytes 500-1233/1234"), ("content-encoding", "gzip")],
            rest,
            "from 500, Fetched",
        ),
        ("forbidden", 403, &[], b"", "collected, Auth"),
    ];
    for (row, status, headers, body, expected) in table {
        assert_eq!(
            ran(get(500), *status, headers, body),
            *expected,
            "V-E.1 {row}"
        );
    }
}

/// HTTP-16: an encoding is no error. If the content does not match, the error names it.
#[test]
fn encodings() {
    let body = content();
    let mut wrong = body.clone();
    wrong[7] ^= 1;
    let long = [&body[..], b"x"].concat();
    for coding in ["aws-chunked", "gzip", "identity", "", "gzip, br", "\t"] {
        let header = ("content-encoding", coding);
        assert_eq!(ran(get(0), 200, &[header], &body), "from 0, Fetched");
        let short = ("content-length", "20");
        for (headers, body) in [
            (&[header][..], &wrong[..]),
            (&[header], &long),
            (&[header], &body[..20]),
            (&[header, short], &body),
        ] {
            let said = failure(headers, body);
            let name = format!("(sent with Content-Encoding `{coding}`)");
            let is_one = !matches!(coding, "identity" | "" | "\t");
            assert_eq!(said.contains(&name), is_one, "{coding}: {said}");
            assert_eq!(said.contains("Encoding"), is_one, "{coding}: {said}");
        }
    }
}

/// Without a Range a 206 is not acceptable.
#[test]
fn answers_from_the_start() {
    let body = content();
    let mut wrong = body.clone();
    wrong[7] ^= 1;
    let long = [&body[..], b"x"].concat();
    type Row<'a> = (
        &'a str,
        u16,
        &'a [(&'static str, &'a str)],
        &'a [u8],
        &'a str,
    );
    let table: &[Row<'_>] = &[
        ("whole", 200, &[], &body, "from 0, Fetched"),
        ("wrong", 200, &[], &wrong, "from 0, start over"),
        ("cut", 200, &[], &body[..700], "from 0, again from 700"),
        ("long", 200, &[], &long, "from 0, Mismatch"),
        (
            "length",
            200,
            &[("content-length", "1235")],
            &long,
            "discarded, Mismatch",
        ),
        (
            "206",
            206,
            &[("content-range", "bytes 0-1233/1234")],
            &body,
            "discarded, start over",
        ),
        ("empty", 204, &[], b"", "from 0, again from 0"),
        ("gone", 410, &[], b"", "collected, NotFound"),
    ];
    for (row, status, headers, body, expected) in table {
        assert_eq!(ran(get(0), *status, headers, body), *expected, "{row}");
    }
    // The second time it is a failure.
    let again = || BlobGet {
        restarted: true,
        ..get(0)
    };
    assert_eq!(ran(again(), 200, &[], &wrong), "from 0, Mismatch");
    let range = ("content-range", "bytes 0-1233/1234");
    assert_eq!(ran(again(), 206, &[range], &body), "discarded, Refused");
}

/// clients.md C.17: a mirror that refuses the Range of a large blob's first part is asked for all of it, although
/// there is another endpoint. What it sends without a Range is wrong once only.
#[test]
fn a_mirror_that_refuses_a_range_is_asked_without() {
    for status in [400, 416, 501] {
        let mut op = BlobGet { end: 500, ..get(0) };
        op.move_to(site(), false);
        let verdict = judged(op.clone(), exchanged(&op, status, &[], b"").1);
        let Ok(Verdict::Next(Operation::BlobGet(op))) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(op.draft().headers.get(header::RANGE), None);
        let wrong = [0; SIZE as usize];
        assert_eq!(ran(op, 200, &[], &wrong), "from 0, Mismatch");
    }
}

#[test]
fn a_range_is_closed() {
    // RNG-08, RNG-09: content has its digest, which no ETag improves on.
    for headers in [get(0).draft().headers, get(500).draft().headers] {
        assert_eq!(headers.get(header::IF_RANGE), None);
    }
    assert_eq!(get(0).draft().headers.get(header::RANGE), None);
    assert_eq!(get(500).draft().headers[header::RANGE], "bytes=500-1233");
    assert_eq!(get(1233).draft().headers[header::RANGE], "bytes=1233-1233");
}

#[test]
fn what_broke_off_is_kept() {
    let op = get(500);
    let draft = op.draft();
    let mut call = Call::new(
        JobId(0),
        origin(),
        http::Request::new(draft.payload),
        draft.expect,
        9,
    );
    let mut head = Response::new(());
    *head.status_mut() = http::StatusCode::PARTIAL_CONTENT;
    let range = HeaderValue::from_static("bytes 500-1233/1234");
    head.headers_mut().insert("content-range", range);
    assert!(matches!(
        call.head(head),
        Receive::Store { offset: 500, .. }
    ));
    assert_eq!(call.data(&content()[500..777]), Keep::All);
    let error = crate::call::TransportError::new(crate::call::TransportErrorKind::Idle, "x");
    let done = call.finish(Err(Interrupted::Transport(error)));
    assert_eq!(concluded(op, done), "again from 777");
}

/// The bytes are there, and whether they are the blob's is for its owner to find out.
#[test]
fn bytes_that_are_not_hashed_are_neither_good_nor_bad() {
    let op = BlobGet {
        hashing: Hashing::new(Algorithm::Sha256),
        ..get(500)
    };
    let range = [("content-range", "bytes 500-1233/1234")];
    let (stored, done) = exchanged(&op, 206, &range, &content()[500..]);
    assert_eq!(stored, "from 500, ");
    match judged(op, done) {
        Ok(Verdict::Done(OpOutcome::Fetched { bytes, hashing, .. })) => {
            assert_eq!((bytes, hashing.len()), (734, 0));
        }
        other => panic!("{other:?}"),
    }
}

/// RNG-05, RNG-15: fewer bytes than requested are legal, but not very few, many times.
#[test]
fn crumbs_end_and_pieces_do_not() {
    let body = std::vec![7; 40 * 64 * 1024];
    let digest = Digest::of(Algorithm::Sha256, &body);
    // How many responses of this length were accepted, and the result of the last one.
    let taken = |len: usize| {
        let mut op = BlobGet {
            digest: digest.clone(),
            size: body.len() as u64,
            ..get(0)
        };
        for (answers, piece) in (1..).zip(body.chunks(len)) {
            let from = op.position;
            let mut hashing = op.hashing.clone();
            hashing.update(piece);
            let verdict = op.answer(Answer {
                body: Received::Stored {
                    hashing,
                    from,
                    to: from + piece.len() as u64,
                    range_end: body.len() as u64,
                },
                ..super::super::testing::answer(206, &[], b"")
            });
            match verdict {
                Verdict::Next(Operation::BlobGet(next)) => {
                    assert_eq!(next.position, from + piece.len() as u64);
                    op = next;
                }
                Verdict::Done(OpOutcome::Fetched { bytes, .. }) => {
                    assert_eq!(bytes, body.len() as u64);
                    return (answers, String::new());
                }
                Verdict::Failed(error) => return (answers, error.to_string()),
                Verdict::Next(_) | Verdict::Done(_) => panic!("it fetches a blob"),
            }
        }
        panic!("the blob is complete but was not reported")
    };
    assert_eq!(taken(64 * 1024), (40, String::new()));
    let (answers, error) = taken(64 * 1024 - 1);
    assert_eq!(answers, u64::from(SHORTS) + 1);
    assert!(error.contains("per range request"), "{error}");
}

/// A foreign layer: where it is fetched after each failure, and what is kept of its bytes.
#[test]
fn where_else_it_may_be() {
    let missing = || Error::Policy { what: "no".into() };
    let wrong = || Error::mismatch("a", Measure::of_size(1), Measure::of_size(2));
    let full = || {
        let kind = crate::store::StoreErrorKind::Full;
        Error::Store(crate::store::StoreError::new(kind, "full"))
    };
    let (here, local, private) = ("reg.example", "localhost:5000", "10.0.0.1");
    let table: &[(&str, &str, Error, &str)] = &[
        ("https://cdn.example/l?sig=1", here, missing(), "from 7"),
        ("http://cdn.example/l", here, missing(), "from 7"),
        ("https://cdn.example/l", here, wrong(), "from 0"),
        ("https://cdn.example/l", here, full(), "nowhere"),
        ("ftp://cdn.example/l", here, missing(), "Refused"),
        ("file:///etc/passwd", here, missing(), "Refused"),
        ("https://u:p@cdn.example/l", here, missing(), "Refused"),
        ("layer", here, missing(), "Refused"),
        ("", here, missing(), "Refused"),
        // SEC-08.
        ("http://127.0.0.1/l", here, missing(), "Refused"),
        ("http://localhost:5000/l", here, missing(), "Refused"),
        ("http://a.localhost/l", here, missing(), "Refused"),
        ("http://[::1]/l", here, missing(), "Refused"),
        ("http://10.0.0.1/l", here, missing(), "Refused"),
        ("http://169.254.169.254/latest", here, missing(), "Refused"),
        ("http://0xa9fea9fe/latest", here, missing(), "Refused"),
        ("http://127.0.0.1/l", local, missing(), "from 7"),
        ("http://127.1/l", local, missing(), "Refused"),
        ("http://10.0.0.1/l", local, missing(), "Refused"),
        ("http://169.254.169.254/latest", local, missing(), "Refused"),
        ("http://192.168.1.1/l", private, missing(), "from 7"),
        ("http://127.0.0.1/l", private, missing(), "Refused"),
        (
            "http://169.254.169.254/latest",
            private,
            missing(),
            "Refused",
        ),
    ];
    for (url, registry, error, expected) in table {
        let mut op = get(7);
        let origin = registry.parse().expect("an origin");
        op.site = Site::new(op.site.registry.clone(), origin, op.site.repository.clone());
        op.urls.push((*url).into());
        let found = match op.elsewhere(error) {
            None => "nowhere".into(),
            Some(Ok(())) => {
                assert_eq!(op.draft().url.as_str(), *url);
                assert!(op.elsewhere(&missing()).is_none(), "it was the last one");
                std::format!("from {}", op.hashing.len())
            }
            Some(Err(error)) => std::format!("{:?}", error.kind()),
        };
        assert_eq!(found, *expected, "{url} for {registry} after {error}");
    }
}

/// A refusal at one of the `urls` is no authentication error.
#[test]
fn failures_elsewhere() {
    for (status, expected) in [
        (403, "collected, Refused"),
        (404, "collected, NotFound"),
        (400, "collected, Refused"),
    ] {
        let op = BlobGet {
            url: Some(Url::parse("https://cdn.example/l").expect("a URL")),
            ..get(0)
        };
        assert_eq!(ran(op, status, &[], b""), expected, "{status}");
    }
}

/// A part of the blob beside others: it never starts over, and what it has got is its outcome.
fn part() -> BlobGet {
    BlobGet {
        end: 800,
        shares: true,
        present: Extents::first(500),
        hashing: Hashing::new(Algorithm::Sha256),
        ..get(500)
    }
}

#[test]
fn answers_to_a_part() {
    let range = "content-range";
    let (all, body) = (content(), &content()[500..800]);
    let more = &content()[500..900];
    type Headers<'a> = &'a [(&'static str, &'a str)];
    let table: &[(&str, u16, Headers<'_>, &[u8], &str)] = &[
        (
            "RNG-05",
            206,
            &[(range, "bytes 500-799/1234")],
            body,
            "from 500, Fetched",
        ),
        (
            "any size",
            206,
            &[(range, "bytes 500-799/*")],
            body,
            "from 500, Fetched",
        ),
        (
            "less",
            206,
            &[(range, "bytes 500-599/1234")],
            &body[..100],
            "from 500, next from 0",
        ),
        (
            "more",
            206,
            &[(range, "bytes 500-899/1234")],
            more,
            "discarded, Refused",
        ),
        (
            "longer",
            206,
            &[(range, "bytes 500-799/1234")],
            more,
            "from 500, Mismatch",
        ),
        (
            "broken off",
            206,
            &[(range, "bytes 500-799/1234")],
            &body[..9],
            "from 500, again from 0",
        ),
        (
            "another",
            206,
            &[(range, "bytes 0-299/1234")],
            body,
            "discarded, Refused",
        ),
        ("none", 206, &[], body, "discarded, Refused"),
        ("RNG-06", 200, &[], &all, "discarded, Refused"),
        ("416", 416, &[], b"", "collected, Refused"),
        ("404", 404, &[], b"", "collected, NotFound"),
    ];
    for (name, status, headers, body, expected) in table {
        assert_eq!(ran(part(), *status, headers, body), *expected, "{name}");
    }
    let draft = part().draft();
    assert_eq!(draft.headers[header::RANGE], "bytes=500-799");
    assert_eq!(draft.present, Extents::first(500));
    let mut op = part();
    op.keep(Received::Stored {
        hashing: Hashing::new(Algorithm::Sha256),
        from: 500,
        to: 600,
        range_end: 800,
    });
    assert_eq!(op.draft().headers[header::RANGE], "bytes=600-799");
    assert_eq!(op.draft().present, Extents::first(600));
    let error = Error::Policy { what: "no".into() };
    let OpOutcome::Fetched {
        bytes,
        range,
        missed,
        ..
    } = op.fetched(Some(error))
    else {
        panic!("it has got something");
    };
    assert_eq!((bytes, range, missed.is_some()), (100, 500..600, true));
}

/// The first part is alone: if the whole blob comes instead, it is taken, also over several attempts.
#[test]
fn the_first_part_takes_the_whole_blob() {
    let first = || BlobGet { end: 100, ..get(0) };
    let all = content();
    assert_eq!(ran(first(), 200, &[], &all), "from 0, Fetched");
    let range = [("content-range", "bytes 0-99/1234")];
    assert_eq!(ran(first(), 206, &range, &all[..100]), "from 0, Fetched");
    let (_, done) = exchanged(&first(), 200, &[], &all[..700]);
    let Err((_, op)) = judged(first(), done) else {
        panic!("it broke off");
    };
    assert_eq!((op.position, op.end), (700, SIZE));
    assert_eq!(op.draft().headers[header::RANGE], "bytes=700-1233");
    let range = [("content-range", "bytes 700-1233/1234")];
    assert_eq!(ran(op, 206, &range, &all[700..]), "from 700, Fetched");
    for status in [400, 416, 501] {
        assert_eq!(ran(first(), status, &[], b""), "collected, start over");
    }
}
