//! Both calls of a relay, and the request for the rest of a body that broke off.

use super::*;
use crate::call::Relayed;

const SIZE: u64 = 200_000;

/// The source of a blob of which these bytes are needed.
fn source(offset: u64, end: u64) -> Call {
    let mut call = call(Expect::Relay {
        size: SIZE,
        offset,
        end,
    });
    call.request
        .headers_mut()
        .insert("accept", "*/*".parse().expect("a value"));
    call
}

/// What happens to a body, and the violation in its head.
fn shown(mut call: Call, status: u16, headers: &[(&'static str, &str)]) -> String {
    let receive = match call.head(head(status, headers)) {
        Receive::Relay { keep } => format!("{}..{}", keep.start, keep.end),
        Receive::Collect => "collect".into(),
        Receive::Discard { limit } => format!("discard {limit}"),
        Receive::Store { .. } => "store".into(),
    };
    match ended(call).flaw {
        Some(flaw) => format!("{receive}: {flaw:?}"),
        None => receive,
    }
}

/// RNG-03 to RNG-06: a 200 to a range is the whole blob, of which a part is needed.
#[test]
fn heads_of_sources() {
    let part = |range: &str| format!("bytes {range}/200000");
    let range = |said: &str| format!(r#"discard 0: Range {{ said: Some("{said}") }}"#);
    for (offset, end, status, said, length, expected) in [
        (0, SIZE, 200, "", "", "0..200000".into()),
        (0, SIZE, 200, "", "200000", "0..200000".into()),
        (
            0,
            SIZE,
            200,
            "",
            "7",
            "discard 0: Length { expected: 200000, declared: 7 }".into(),
        ),
        (50, SIZE, 200, "", "", "50..200000".into()),
        (50, 100, 200, "", "200000", "50..100".into()),
        (50, 100, 206, "50-99", "50", "0..50".into()),
        // Fewer bytes than were asked for: the rest is asked for later.
        (50, 100, 206, "50-79", "30", "0..50".into()),
        (50, 100, 206, "51-99", "", range("bytes 51-99/200000")),
        (50, 100, 206, "50-100", "", range("bytes 50-100/200000")),
        (0, SIZE, 206, "0-199999", "", range("bytes 0-199999/200000")),
        (0, SIZE, 404, "", "", "collect".into()),
        (0, SIZE, 307, "", "", "discard 65536".into()),
    ] {
        let mut headers = vec![];
        let range = part(said);
        if !said.is_empty() {
            headers.push(("content-range", range.as_str()));
        }
        if !length.is_empty() {
            headers.push(("content-length", length));
        }
        let found = shown(source(offset, end), status, &headers);
        assert_eq!(found, expected, "{offset} {end} {status} {said} {length}");
    }
}

fn relayed(call: Call) -> (u64, u64, u64, u32) {
    match ended(call).body {
        Received::Relayed {
            from,
            to,
            end,
            responses,
        } => (from, to, end, responses),
        body @ (Received::Nothing | Received::Collected { .. } | Received::Stored { .. }) => {
            panic!("{body:?}")
        }
    }
}

#[test]
fn a_body_is_counted_up_to_its_end() {
    let mut call = source(10, SIZE);
    call.head(head(206, &[("content-range", "bytes 10-199999/200000")]));
    assert_eq!(call.data(&[0; 90]), Keep::All);
    assert_eq!(call.expects_bytes(), Some(SIZE - 100));
    assert_eq!(call.data(&vec![0; 200_000]), Keep::Stop);
    assert_eq!(
        call.rest().map(drop),
        None,
        "nothing helps against too much"
    );
    assert!(matches!(call.flaw, Some(Flaw::TooLong { expected: SIZE })));
    assert_eq!(relayed(call), (10, 100, SIZE, 1));
}

/// The rest of a body that broke off is asked for where it broke off, like the first one otherwise.
#[test]
fn the_rest_is_asked_for() {
    let mut call = source(0, SIZE);
    assert_eq!(call.rest().map(drop), None, "it has not begun");
    call.head(head(200, &[]));
    assert_eq!(call.data(&[0; 100]), Keep::All);
    let rest = call.rest().expect("it broke off");
    assert_eq!(rest.headers()["range"], "bytes=100-199999");
    assert_eq!(rest.headers()["accept"], "*/*");
    assert_eq!(call.request().headers().get("range"), None);
    let wrong = [
        (200, "bytes 100-199999/200000"),
        (404, "bytes 100-199999/200000"),
        (206, "bytes 0-199999/200000"),
        (206, "bytes 99-199999/200000"),
        (206, "bytes 101-199999/200000"),
        (206, "bytes 100-199999/200001"),
        (206, "bytes 100-200000/*"),
    ];
    for (status, range) in wrong {
        let head = head(status, &[("content-range", range)]);
        assert!(!call.brings_rest(&head), "{status} {range}");
    }
    let short = [
        ("content-range", "bytes 100-99999/*"),
        ("content-length", "5"),
    ];
    assert!(!call.brings_rest(&head(206, &short)));
    assert!(call.brings_rest(&head(206, &[("content-range", "bytes 100-99999/*")])));
    assert_eq!(call.data(&vec![0; 99_900]), Keep::All);
    let rest = call.rest().expect("it has progressed");
    assert_eq!(rest.headers()["range"], "bytes=100000-199999");
    assert!(call.brings_rest(&head(206, &[("content-range", "bytes 100000-199999/*")])));
    assert_eq!(call.data(&[0; 10]), Keep::All);
    assert_eq!(call.rest().map(drop), None, "that was not worth a request");
    assert_eq!(relayed(call), (0, 100_010, SIZE, 3));
}

/// RNG-06: of a 200 to a range that broke off too early the rest is what is needed, not what lies before it.
#[test]
fn the_rest_of_a_whole_blob_begins_where_it_is_needed() {
    let mut call = source(1000, 50_000);
    let receive = call.head(head(200, &[]));
    assert_eq!(receive, Receive::Relay { keep: 1000..50_000 });
    assert_eq!(call.data(&[0; 100]), Keep::All);
    let rest = call.rest().expect("it broke off");
    assert_eq!(rest.headers()["range"], "bytes=1000-49999");
    let before = [("content-range", "bytes 100-49999/200000")];
    assert!(!call.brings_rest(&head(206, &before)));
    let rest = [
        ("content-range", "bytes 1000-49999/200000"),
        ("content-length", "49000"),
    ];
    assert!(call.brings_rest(&head(206, &rest)));
    assert_eq!(call.data(&[0; 49_000]), Keep::All);
    assert_eq!(call.expects_bytes(), Some(0));
    assert_eq!(relayed(call), (0, 50_000, 50_000, 2));
}

/// No server answers a range of all bytes as one, and a response to it would be refused.
#[test]
fn the_rest_of_which_nothing_came_is_no_range() {
    let mut call = source(0, SIZE);
    call.head(head(200, &[]));
    assert_eq!(call.rest().map(drop), None);
    assert_eq!(call.data(&[0; 1]), Keep::All);
    assert!(call.rest().is_some());
}

/// HTTP-17: a server that says "later" to the request for the rest is heard.
#[test]
fn a_rest_that_comes_later_ends_the_call() {
    for status in [429, 503] {
        let mut call = source(0, SIZE);
        call.head(head(200, &[]));
        assert_eq!(call.data(&[0; 1]), Keep::All);
        assert!(call.rest().is_some());
        assert!(!call.brings_rest(&head(status, &[("retry-after", "30")])));
        let error = TransportError::new(TransportErrorKind::Reset, "it broke off");
        let done = call.finish(Err(Interrupted::Transport(error)));
        let JobResult::Http(exchanged) = done.into_outcome() else {
            panic!("it was an exchange");
        };
        assert_eq!(exchanged.status.map(|it| it.as_u16()), Some(status));
        assert_eq!(exchanged.headers["retry-after"], "30");
        assert_eq!(exchanged.interrupted, None);
        assert_eq!(exchanged.body.of_blob(), 1);
    }
}

#[test]
fn the_ends_of_both_calls_are_one() {
    let relay = || {
        let payload = Payload::Body(Body {
            source: Source::Relayed { digest: digest() },
            offset: 0,
            len: 8,
            size: 8,
        });
        let before = Hashing::new(Algorithm::Sha256);
        let sink = call_of(Method::PUT, payload, Expect::Head);
        let sink = sink.for_transfer(TransferId(2), Some(before.into()));
        let asked = Expect::Relay {
            size: 8,
            offset: 0,
            end: 8,
        };
        Relay::new(call(asked), sink)
    };
    assert_eq!(relay().id(), JobId(7));
    let (source, sink) = relay().split();
    let mut meter = sink.outgoing().expect("a blob goes out");
    assert_eq!(meter.hash(b"12345678"), Ok(8), "the digest matches");
    let other = || Err(Interrupted::OtherCall);
    let done = Done::relayed(source.finish(Ok(())), sink.finish(other()));
    let JobResult::Relay(relayed) = done.into_outcome() else {
        panic!("it was a relay");
    };
    let Relayed { source, sink } = *relayed;
    assert_eq!((source.interrupted, sink.sent), (None, 8));
    assert_eq!(sink.interrupted, Some(Interrupted::OtherCall));
    let (source, sink) = relay().split();
    let lost = Done::relayed(Done::lost(source.id()), sink.finish(other()));
    assert!(matches!(lost.outcome(), JobResult::Lost));
}
