//! Blobs that both clients relay from one registry to another, and what goes wrong at either end: exact
//! requests, what is sent twice, and that nothing is written to disk.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

mod pair;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use windlass_core::{Error, ErrorKind};
use windlass_driver::CancelHandle;
use windlass_testbed::{Answer, Delivery, Options, Request};
use windlass_tests::drivers::{Driver, Faults, Setup, gets_blob, puts_blob};
use windlass_tests::{through_both, wait_for};

use pair::{
    LARGE, MIB, Pair, SIZE, bearer, before, first, has_token, noticing, ranges, statuses, take,
    unauthorized,
};

through_both!(
    the_source_breaks,
    the_source_breaks_and_does_not_go_on,
    the_source_stalls,
    the_source_sends_other_bytes,
    the_source_forgets_a_token,
    the_destination_breaks,
    the_destination_breaks_and_keeps_nothing,
    both_break,
    the_destination_stops_reading,
    the_destination_forgets_a_token,
    the_destination_refuses_the_size,
    the_destination_refuses_the_size_unread,
    the_destination_answers_early,
    cancelled_in_the_middle,
);

/// The place of the last byte of the blob.
const LAST: usize = SIZE - 1;

/// The driver asks for the rest while the destination waits: that is one request there.
fn the_source_breaks<D: Driver>() {
    const AT: usize = MIB + 5;
    let cut = |delivery: &mut Delivery| delivery.cut_body_after = Some(AT as u64);
    let pair = Pair::new(first(1, gets_blob, cut), Faults::new());
    pair.check(pair.copy(&D::new(&Setup::new())), SIZE as u64);
    pair.check_requests(
        &["GET blob 200", &format!("GET blob bytes={AT}-{LAST} 206")],
        &["HEAD blob 404", "POST upload 202", "PUT upload 201"],
    );
}

/// Refused within the job and once more, the source goes on later, and so does the destination.
fn the_source_breaks_and_does_not_go_on<D: Driver>() {
    let refused = AtomicUsize::new(2);
    let source = first(1, gets_blob, |delivery| {
        delivery.cut_body_after = Some(2 * MIB as u64);
    });
    let begun = AtomicUsize::new(0);
    let source = source.before(move |request, _| {
        let is_next = gets_blob(request) && begun.fetch_add(1, Ordering::SeqCst) > 0;
        let later = || Answer::error(StatusCode::BAD_GATEWAY, "UNAVAILABLE", "later");
        (is_next && take(&refused)).then(|| later().into())
    });
    let pair = Pair::new(source, noticing(Faults::new()));
    pair.check(pair.copy(&D::new(&Setup::new())), SIZE as u64);
    let [source, sink] = pair.requests();
    let broken = format!("GET blob bytes={}-{LAST} 502", 2 * MIB);
    assert_eq!(source[..2], ["GET blob 200".into(), broken]);
    assert_eq!(statuses(&source[2..3]), ["502"], "{source:?}");
    assert_eq!(source.len(), 4, "{source:?}");
    pair.check_goes_on(&sink);
}

/// As a break: the rest is asked for when nothing came for as long as a connection may idle.
fn the_source_stalls<D: Driver>() {
    const AT: usize = MIB + 5;
    let stall = |delivery: &mut Delivery| delivery.stall_after = Some(AT as u64);
    let pair = Pair::new(first(1, gets_blob, stall), Faults::new());
    pair.check(pair.copy(&D::new(&impatient())), SIZE as u64);
    pair.check_requests(
        &["GET blob 200", &format!("GET blob bytes={AT}-{LAST} 206")],
        &["HEAD blob 404", "POST upload 202", "PUT upload 201"],
    );
}

fn impatient() -> Setup {
    Setup::new().limits(Duration::from_secs(3), Duration::from_secs(60))
}

/// It is fetched twice; the destination never gets the end of it.
fn the_source_sends_other_bytes<D: Driver>() {
    let pair = Pair::new(Faults::new(), Faults::new());
    let digest = pair.image.blob_digests()[0].clone();
    let mut damaged = pair.image.config.to_vec();
    damaged[SIZE / 2] ^= 1;
    pair.source
        .with_model(|model| model.put_damaged_blob("a/b", &digest, damaged));
    let failure = pair.copy(&D::new(&Setup::new())).unwrap_err();
    assert!(matches!(failure.first(), Error::Mismatch(_)), "{failure:?}");
    assert_eq!(failure.kind(), ErrorKind::Mismatch);
    pair.check_absent();
    pair.check_requests(
        &["GET blob 200", "GET blob 200"],
        &[
            "HEAD blob 404",
            "POST upload 202",
            "PUT upload cut",
            "POST upload 202",
            "PUT upload cut",
            "DELETE upload 204",
            "DELETE upload 204",
        ],
    );
}

/// The connection breaks, and the rest is refused: the session gets another token, and goes on.
fn the_source_forgets_a_token<D: Driver>() {
    let cut = |delivery: &mut Delivery| delivery.cut_body_after = Some(2 * MIB as u64);
    let gets = |request: &Request| gets_blob(request) && has_token(request);
    let begun = AtomicUsize::new(0);
    let source = first(1, gets, cut).before(move |request, _| {
        let is_second = gets(request) && begun.fetch_add(1, Ordering::SeqCst) == 1;
        is_second.then(|| unauthorized(request))
    });
    let open = (Options::default(), noticing(Faults::new()));
    let pair = Pair::with((bearer(), source), open);
    let report = pair.copy(&D::new(&Setup::new().alice()));
    pair.check(report, SIZE as u64);
    let [source, sink] = pair.requests();
    let refused = format!("GET blob bytes={}-{LAST} 401", 2 * MIB);
    assert_eq!(source[..2], ["GET blob 200".into(), refused]);
    assert_eq!(source.len(), 3, "{source:?}");
    pair.check_goes_on(&sink);
}

/// The source is read again from where a hash is known, which is not behind what the destination has.
#[track_caller]
fn check_read_again(source: &[String], sink: &[String]) {
    let (needed, end) = ranges(sink, "PATCH")[0];
    if let Some((from, last)) = ranges(&source[source.len() - 1..], "GET").first() {
        assert!(*from <= needed, "{source:?}, {sink:?}");
        assert_eq!(*last, end);
    }
}

/// The destination says how much it has, and gets the rest.
fn the_destination_breaks<D: Driver>() {
    let mut pair = Pair::new(Faults::new(), noticing(Faults::new()));
    pair.make_larger();
    pair.proxy.cut_after_up(2 * MIB as u64);
    pair.check(pair.copy(&D::new(&Setup::new())), LARGE as u64);
    assert!(!pair.proxy.will_cut_up(), "it was not cut");
    let [source, sink] = pair.requests();
    assert_eq!(source.len(), 2, "{source:?}");
    check_read_again(&source, &sink);
    pair.check_goes_on(&sink);
}

/// It begins again, with another upload.
fn the_destination_breaks_and_keeps_nothing<D: Driver>() {
    const AT: u64 = 2 * MIB as u64;
    let mut options = Options::default();
    options.uploads.keep_partial = false;
    let open = (Options::default(), Faults::new());
    let mut pair = Pair::with(open, (options, noticing(Faults::new())));
    pair.make_larger();
    pair.proxy.cut_after_up(AT);
    pair.check(pair.copy(&D::new(&Setup::new())), LARGE as u64 + AT);
    pair.check_requests(
        &["GET blob 200", "GET blob 200"],
        &[
            "HEAD blob 404",
            "POST upload 202",
            "PUT upload cut",
            "GET upload 204",
            "POST upload 202",
            "PUT upload 201",
            "DELETE upload 204",
        ],
    );
}

/// The source first, then the destination while it gets the rest.
fn both_break<D: Driver>() {
    const AT: usize = MIB + 5;
    let cut = |delivery: &mut Delivery| delivery.cut_body_after = Some(AT as u64);
    let mut pair = Pair::new(first(1, gets_blob, cut), noticing(Faults::new()));
    pair.make_larger();
    pair.proxy.cut_after_up(2 * MIB as u64);
    pair.check(pair.copy(&D::new(&Setup::new())), LARGE as u64);
    assert!(!pair.proxy.will_cut_up(), "it was not cut");
    let [source, sink] = pair.requests();
    let rest = format!("GET blob bytes={AT}-{} 206", LARGE - 1);
    assert_eq!(source[..2], ["GET blob 200", rest.as_str()]);
    assert_eq!(source.len(), 3, "{source:?}");
    check_read_again(&source, &sink);
    pair.check_goes_on(&sink);
}

/// Until the connection has idled for long enough. What was sent and not read is sent again.
fn the_destination_stops_reading<D: Driver>() {
    const READ: u64 = MIB as u64;
    let stuck = || {
        let mut delivery = Delivery::from(Answer::new(StatusCode::OK));
        delivery.refuse_to_read_after = Some(READ);
        delivery
    };
    let mut pair = Pair::new(Faults::new(), before(puts_blob, stuck));
    pair.make_larger();
    pair.check(pair.copy(&D::new(&impatient())), 2 * LARGE as u64);
    let [source, sink] = pair.requests();
    assert_eq!(source.len(), 2, "{source:?}");
    check_read_again(&source, &sink);
    assert_eq!(ranges(&sink, "PATCH"), [(READ, LARGE as u64 - 1)]);
    pair.check_goes_on(&sink);
}

/// In the middle of an upload in chunks: the chunk is fetched and sent again.
fn the_destination_forgets_a_token<D: Driver>() {
    let chunks = AtomicUsize::new(0);
    let sink = Faults::new().before(move |request, _| {
        let is_chunk = request.method == Method::PATCH && has_token(request);
        let is_second = is_chunk && chunks.fetch_add(1, Ordering::SeqCst) == 1;
        is_second.then(|| unauthorized(request))
    });
    let open = (Options::default(), Faults::new());
    let pair = Pair::with(open, (bearer(), sink));
    let mut setup = Setup::new().alice();
    setup.config.chunk_size = Some(MIB as u64);
    let report = pair.copy(&D::new(&setup));
    pair.check(report, (SIZE + MIB) as u64);
    let [source, sink] = pair.requests();
    let chunk = |n: usize| format!("{}-{}", n * MIB, (n + 1) * MIB - 1);
    let gets = |n: usize| format!("GET blob bytes={} 206", chunk(n));
    assert_eq!(source, [gets(0), gets(1), gets(1), gets(2), gets(3)]);
    let patches = |n: usize, status: u16| format!("PATCH upload {} {status}", chunk(n));
    let expected = [
        patches(0, 202),
        patches(1, 401),
        patches(1, 202),
        patches(2, 202),
        patches(3, 202),
    ];
    let sent = sink.iter().filter(|line| line.starts_with("PATCH"));
    assert_eq!(
        sent.collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
}

/// After it has read all of it: the blob is sent in chunks that it takes.
fn the_destination_refuses_the_size<D: Driver>() {
    refused_by_size::<D>(Faults::new());
}

/// The refusal comes before the bytes do.
fn the_destination_refuses_the_size_unread<D: Driver>() {
    refused_by_size::<D>(Faults::new().early());
}

fn refused_by_size<D: Driver>(faults: Faults) {
    let limited = Options {
        max_body: Some(MIB as u64),
        ..Options::default()
    };
    let pair = Pair::with((Options::default(), Faults::new()), (limited, faults));
    let report = pair.copy(&D::new(&Setup::new()));
    pair.check(report, 3 * SIZE as u64);
    let [source, sink] = pair.requests();
    let accepted: Vec<String> = sink
        .iter()
        .filter(|line| line.starts_with("PATCH") && line.ends_with("202"))
        .map(|line| line.split(' ').nth(2).unwrap().to_owned())
        .collect();
    let chunk = |n: usize| format!("{}-{}", n * MIB, (n + 1) * MIB - 1);
    assert_eq!(accepted, [0, 1, 2, 3].map(chunk), "{sink:?}");
    let fetched: Vec<String> = source
        .iter()
        .rev()
        .take(4)
        .map(|line| line.split(' ').nth(2).unwrap().to_owned())
        .collect();
    let expected = [3, 2, 1, 0].map(|n| format!("bytes={}", chunk(n)));
    assert_eq!(fetched, expected, "{source:?}");
}

/// A 201 to a body that it has not read is not believed: it is asked for the blob, and gets it.
fn the_destination_answers_early<D: Driver>() {
    let said = || {
        let mut delivery = Delivery::from(Answer::new(StatusCode::CREATED));
        delivery.close_after = true;
        delivery
    };
    let sink = before(
        |request| request.method == Method::PUT && puts_blob(request),
        said,
    );
    let mut pair = Pair::new(Faults::new(), sink);
    pair.make_larger();
    let report = pair.copy(&D::new(&Setup::new()));
    pair.check(report, 2 * LARGE as u64);
}

/// Both connections end, and the upload is deleted.
fn cancelled_in_the_middle<D: Driver>() {
    let stall = |delivery: &mut Delivery| delivery.stall_after = Some(2 * MIB as u64);
    let pair = Pair::new(first(1, gets_blob, stall), Faults::new());
    let client = D::new(&Setup::new());
    let cancel = CancelHandle::new();
    let ask = pair.ask().cancelled_by(&cancel);
    let (result, took) = std::thread::scope(|scope| {
        let copy = scope.spawn(|| client.run(ask));
        wait_for("bytes at the destination", || {
            pair.proxy.passed_up() > MIB as u64
        });
        let begun = Instant::now();
        cancel.cancel();
        (copy.join().unwrap(), begun.elapsed())
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(took < Duration::from_secs(3), "{took:?}");
    pair.check_absent();
    pair.check_requests(
        &["GET blob 200"],
        &[
            "HEAD blob 404",
            "POST upload 202",
            "PUT upload cut",
            "DELETE upload 204",
        ],
    );
}
