//! Servers that stall, and links that break: calls are cancelled at once, limits are kept, and
//! nothing is moved twice.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use windlass_core::call::TransportErrorKind;
use windlass_core::{Error, Event, Failure};
use windlass_driver::CancelHandle;
use windlass_testbed::{Answer, Delivery, Image, Model, Options, Request, Server, image};
use windlass_tests::drivers::{
    Ask, Blocking, Driver, Faults, Setup, Shelf, Watch, gets_blob, puts_blob, serve,
};
use windlass_tests::images::noise;
use windlass_tests::proxy::Proxy;
use windlass_tests::{through_both, wait_for};

through_both!(
    cancelled_before_the_head,
    cancelled_in_the_middle_of_a_body,
    cancelled_in_the_middle_of_a_large_body,
    cancelled_while_the_server_does_not_read,
    cancelled_before_it_began,
    one_cancel_ends_many_calls,
    a_stalled_download_is_noticed_and_resumed,
    a_stalled_upload_is_noticed,
    a_slow_upload_is_not_a_stalled_one,
    a_server_that_does_not_answer_is_noticed,
    an_answer_may_take_longer_than_idling,
    a_cut_resumes_without_hashing_again,
    a_link_that_cuts_again_and_again,
    a_kept_connection_that_breaks_costs_no_try,
);

/// How soon a cancelled call has to be back. Promised is one second, and nothing here would end by
/// itself for minutes; the rest is for a machine where many more threads want to run than can, and
/// where each of the few that take part in this may have to wait for its turn.
const PROMPT: Duration = Duration::from_secs(3);

/// Longer than any test takes.
const FOREVER: Duration = Duration::from_secs(300);

/// More than the kernel's buffers take, wherever they are.
const BEYOND_BUFFERS: usize = 24 << 20;

fn with(image: &Image) -> Model {
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), image);
    model
}

fn at(server: &Server, name: &str) -> String {
    format!("{}/{name}", server.host())
}

/// One layer of this size.
fn layer(size: usize) -> Image {
    image(&[noise(size, 5)])
}

/// Does this to downloads of layers while the switch is on.
fn on_layers(
    switch: &Arc<AtomicBool>,
    act: impl Fn(&mut Delivery) + Send + Sync + 'static,
) -> Faults {
    let switch = Arc::clone(switch);
    Faults::new().deliver(move |request: &Request, _, answer: Answer| {
        let is_layer = gets_blob(request) && answer.body.len() > 10_000;
        let mut delivery = Delivery::from(answer);
        if is_layer && switch.load(Ordering::SeqCst) {
            act(&mut delivery);
        }
        delivery
    })
}

fn on() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

/// Asks, waits until it is `ready` and cancels; the call has to be back in time.
#[track_caller]
fn cancelled<D: Driver>(client: &D, ask: Ask, ready: impl FnOnce()) {
    let cancel = CancelHandle::new();
    let ask = ask.cancelled_by(&cancel);
    let (result, took) = std::thread::scope(|scope| {
        let call = scope.spawn(|| client.run(ask));
        ready();
        cancel.cancel();
        let begun = Instant::now();
        (call.join().expect("no panic"), begun.elapsed())
    });
    let failure = result.expect_err("it was cancelled");
    assert!(matches!(failure.first(), Error::Cancelled), "{failure:?}");
    assert!(took < PROMPT, "{}: {took:?}", D::NAME);
}

/// The ranges that were asked for.
fn ranges(server: &Server) -> Vec<String> {
    let requests = server.requests();
    let values = requests
        .iter()
        .filter_map(|entry| entry.headers.get("range"));
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

fn kind(failure: &Failure) -> TransportErrorKind {
    let mut error = failure.first();
    if let Error::Exhausted { last, .. } = error {
        error = last;
    }
    let Error::Transport { error, .. } = error else {
        panic!("{failure:?}");
    };
    error.kind
}

fn cancelled_before_the_head<D: Driver>() {
    let switch = on();
    let asked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&asked);
    let faults = on_layers(&switch, move |delivery| {
        delivery.delay = Some(FOREVER);
        flag.store(true, Ordering::SeqCst);
    });
    let (server, _) = serve(with(&layer(2_000_000)), faults);
    let client = D::new(&Setup::new());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    cancelled(&client, ask.clone(), || {
        wait_for("the request", || asked.load(Ordering::SeqCst));
    });
    switch.store(false, Ordering::SeqCst);
    client.run(ask).unwrap();
    shelf.check_holds(&layer(2_000_000));
}

fn cancelled_in_the_middle_of_a_body<D: Driver>() {
    const STALLED: u64 = 700_001;
    let switch = on();
    let faults = on_layers(&switch, |delivery| delivery.stall_after = Some(STALLED));
    let (server, _) = serve(with(&layer(2_000_000)), faults);
    let client = D::new(&Setup::new());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    // Whatever has arrived is soon in the store.
    cancelled(&client, ask.clone(), || {
        wait_for("everything sent is stored", || {
            shelf.files.partials() == [STALLED]
        });
    });
    assert_eq!(shelf.files.partials(), [STALLED]);
    switch.store(false, Ordering::SeqCst);
    client.run(ask).unwrap();
    shelf.check_holds(&layer(2_000_000));
    assert_eq!(ranges(&server), ["bytes=700001-1999999"]);
    assert!(shelf.files.partials().is_empty());
}

/// The same where reading and hashing overlap; and it is another client that goes on.
fn cancelled_in_the_middle_of_a_large_body<D: Driver>() {
    const STALLED: u64 = 9_000_001;
    const SOON: u64 = STALLED - (1 << 20);
    let switch = on();
    let faults = on_layers(&switch, |delivery| delivery.stall_after = Some(STALLED));
    let (server, _) = serve(with(&layer(12_000_000)), faults);
    let client = D::new(&Setup::new());
    let shelf = Shelf::new();
    let reference = at(&server, "team/app:v1");
    cancelled(&client, Ask::pull(&reference, &shelf.store), || {
        wait_for("nearly everything sent is stored", || {
            shelf
                .files
                .partials()
                .first()
                .is_some_and(|len| *len >= SOON)
        });
    });
    drop(client);
    let kept = shelf.files.partials();
    assert!(matches!(kept[..], [SOON..=STALLED]), "{kept:?}");
    switch.store(false, Ordering::SeqCst);
    let again = Ask::pull(&reference, &shelf.opened_again());
    let watch = Watch::new();
    D::new(&Setup::new()).run(again.watched(&watch)).unwrap();
    shelf.check_holds(&layer(12_000_000));
    assert_eq!(ranges(&server), [format!("bytes={}-11999999", kept[0])]);
    let resumes = |event: &Event| matches!(event, Event::Started { from, .. } if *from == kept[0]);
    assert!(watch.events().iter().any(resumes), "{:?}", watch.events());
}

/// A call that goes on where an earlier one ended has moved the rest only.
#[test]
fn a_report_counts_the_bytes_that_really_moved() {
    let switch = on();
    let faults = on_layers(&switch, |delivery| delivery.cut_body_after = Some(700_001));
    let (server, _) = serve(with(&layer(2_000_000)), faults);
    let client = Blocking::new(&Setup::new().attempts(1));
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    client.run(ask.clone()).unwrap_err();
    assert_eq!(shelf.files.partials(), [700_001]);
    switch.store(false, Ordering::SeqCst);
    let report = client.run(ask).unwrap();
    // The small configuration came with the first call or comes with this one.
    let rest = 2_000_000 - 700_001;
    assert!((rest..rest + 1000).contains(&report.bytes), "{report:?}");
}

fn cancelled_while_the_server_does_not_read<D: Driver>() {
    let switch = on();
    let faults = Faults::new().before({
        let switch = Arc::clone(&switch);
        move |request, _| {
            let stalls = puts_blob(request) && switch.load(Ordering::SeqCst);
            stalls.then(|| {
                let mut delivery = Delivery::from(Answer::new(http::StatusCode::OK));
                delivery.refuse_to_read_after = Some(100_000);
                delivery
            })
        }
    });
    let (server, _) = serve(Model::new(Options::default()), faults);
    let big = layer(BEYOND_BUFFERS);
    let shelf = filled(&big);
    let client = D::new(&Setup::new());
    let watch = Watch::new();
    let ask = Ask::push(&shelf.store, &at(&server, "team/app:v1"));
    cancelled(&client, ask.clone().watched(&watch), || {
        watch.wait_for_bytes(100_000);
        watch.wait_for_standstill(Duration::from_millis(300));
    });
    assert!(watch.furthest() < BEYOND_BUFFERS as u64, "it was not stuck");
    switch.store(false, Ordering::SeqCst);
    client.run(ask).unwrap();
    server.with_model(|model| {
        assert_eq!(model.tag("team/app", "v1"), Some(&big.digest));
    });
}

fn cancelled_before_it_began<D: Driver>() {
    let server = Server::start(with(&layer(20_000))).unwrap();
    let client = D::new(&Setup::new());
    let cancel = CancelHandle::new();
    cancel.cancel();
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    let failure = client.run(ask.clone().cancelled_by(&cancel)).unwrap_err();
    assert!(matches!(failure.first(), Error::Cancelled), "{failure:?}");
    client.run(ask).unwrap();
}

/// Calls that wait for each other's blobs end together.
fn one_cancel_ends_many_calls<D: Driver>() {
    let switch = on();
    let faults = on_layers(&switch, |delivery| delivery.stall_after = Some(300_000));
    let (server, _) = serve(with(&layer(2_000_000)), faults);
    let client = D::new(&Setup::new());
    let (shelf, cancel) = (Shelf::new(), CancelHandle::new());
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store).cancelled_by(&cancel);
    let resolved = Arc::new(AtomicUsize::new(0));
    let took = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let resolved = Arc::clone(&resolved);
                let watch = Watch::on_event(move |event| {
                    if matches!(event, Event::Resolved(_)) {
                        resolved.fetch_add(1, Ordering::SeqCst);
                    }
                });
                let (client, ask) = (client.clone(), ask.clone().watched(&watch));
                scope.spawn(move || client.run(ask))
            })
            .collect();
        wait_for("four calls under way", || {
            resolved.load(Ordering::SeqCst) == 4 && shelf.files.partials() == [300_000]
        });
        cancel.cancel();
        let begun = Instant::now();
        for call in calls {
            let failure = call.join().unwrap().unwrap_err();
            assert!(matches!(failure.first(), Error::Cancelled), "{failure:?}");
        }
        begun.elapsed()
    });
    assert!(took < PROMPT, "{took:?}");
}

fn a_stalled_download_is_noticed_and_resumed<D: Driver>() {
    let switch = on();
    let faults = on_layers(&switch, {
        let switch = Arc::clone(&switch);
        move |delivery| {
            delivery.stall_after = Some(500_000);
            switch.store(false, Ordering::SeqCst);
        }
    });
    let (server, _) = serve(with(&layer(2_000_000)), faults);
    let limits = Setup::new().limits(Duration::from_secs(4), FOREVER);
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    let watch = Watch::new();
    let report = D::new(&limits).run(ask.watched(&watch)).unwrap();
    shelf.check_holds(&layer(2_000_000));
    assert_eq!(ranges(&server), ["bytes=500000-1999999"]);
    let config = layer(2_000_000).config.len() as u64;
    assert_eq!(report.bytes, 2_000_000 + config);
    let stalls =
        |event: &Event| matches!(event, Event::Retrying { why, .. } if why.contains("stalled"));
    assert!(watch.events().iter().any(stalls), "{:?}", watch.events());

    // With a single try it is the end.
    switch.store(true, Ordering::SeqCst);
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    let failure = D::new(&limits.attempts(1)).run(ask).unwrap_err();
    assert_eq!(kind(&failure), TransportErrorKind::Idle, "{failure}");
    assert_eq!(shelf.files.partials(), [500_000]);
}

fn a_stalled_upload_is_noticed<D: Driver>() {
    let faults = Faults::new().before(|request, _| {
        puts_blob(request).then(|| {
            let mut delivery = Delivery::from(Answer::new(http::StatusCode::OK));
            delivery.refuse_to_read_after = Some(100_000);
            delivery
        })
    });
    let (server, _) = serve(Model::new(Options::default()), faults);
    let shelf = filled(&layer(BEYOND_BUFFERS));
    let setup = Setup::new()
        .attempts(1)
        .limits(Duration::from_secs(1), FOREVER);
    let ask = Ask::push(&shelf.store, &at(&server, "team/app:v1"));
    let begun = Instant::now();
    let failure = D::new(&setup).run(ask).unwrap_err();
    // The config is stuck as well, but so small that it was all sent.
    let mut kinds: Vec<_> = failure
        .errors()
        .iter()
        .map(|error| kind(&Failure::new(vec![error.clone()])))
        .collect();
    kinds.dedup();
    assert_eq!(kinds, [TransportErrorKind::Idle], "{failure}");
    // Not only when connecting would have taken too long as well.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// The link is so slow that the upload takes several times the limit, and something moves all the
/// time.
fn a_slow_upload_is_not_a_stalled_one<D: Driver>() {
    let server = Server::start(Model::new(Options::default())).unwrap();
    let proxy = Proxy::to(&server.host());
    // What buffers take at once makes pauses of less than a second.
    proxy.limit_up(4 << 20);
    let big = layer(40 << 20);
    let shelf = filled(&big);
    let idle = Duration::from_secs(3);
    let client = D::new(&Setup::new().attempts(1).limits(idle, FOREVER));
    let ask = Ask::push(&shelf.store, &format!("{}/team/app:v1", proxy.host()));
    let begun = Instant::now();
    client.run(ask).unwrap();
    assert!(begun.elapsed() > 3 * idle, "it was not slow");
    server.with_model(|model| {
        assert_eq!(model.tag("team/app", "v1"), Some(&big.digest));
    });
}

fn a_server_that_does_not_answer_is_noticed<D: Driver>() {
    let switch = on();
    let faults = on_layers(&switch, |delivery| delivery.delay = Some(FOREVER));
    let (server, _) = serve(with(&layer(2_000_000)), faults);
    let mut setup = Setup::new()
        .attempts(1)
        .limits(FOREVER, Duration::from_secs(1));
    setup.limits.connect = Duration::from_secs(2);
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    let begun = Instant::now();
    let failure = D::new(&setup).run(ask).unwrap_err();
    assert_eq!(kind(&failure), TransportErrorKind::Answer, "{failure}");
    assert!(begun.elapsed() < FOREVER / 5);
}

/// Registries hash and move a blob before they answer, and that is not idling.
fn an_answer_may_take_longer_than_idling<D: Driver>() {
    let faults = Faults::new().deliver(|request: &Request, _, answer: Answer| {
        let mut delivery = Delivery::from(answer);
        delivery.delay = puts_blob(request).then_some(Duration::from_secs(8));
        delivery
    });
    let (server, _) = serve(Model::new(Options::default()), faults);
    let shelf = filled(&layer(2_000_000));
    let setup = Setup::new()
        .attempts(1)
        .limits(Duration::from_secs(4), FOREVER);
    let ask = Ask::push(&shelf.store, &at(&server, "team/app:v1"));
    D::new(&setup).run(ask).unwrap();
}

fn a_cut_resumes_without_hashing_again<D: Driver>() {
    let switch = on();
    let faults = on_layers(&switch, {
        let switch = Arc::clone(&switch);
        move |delivery| {
            delivery.cut_body_after = Some(1_234_567);
            switch.store(false, Ordering::SeqCst);
        }
    });
    let (server, _) = serve(with(&layer(2_000_000)), faults);
    let (shelf, watch) = (Shelf::new(), Watch::new());
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    let report = D::new(&Setup::new()).run(ask.watched(&watch)).unwrap();
    shelf.check_holds(&layer(2_000_000));
    assert_eq!(ranges(&server), ["bytes=1234567-1999999"]);
    assert_eq!(
        report.bytes,
        2_000_000 + layer(2_000_000).config.len() as u64
    );
    check_never_hashed(&watch);
}

#[track_caller]
fn check_never_hashed(watch: &Watch) {
    let lines = watch.lines();
    assert!(lines.iter().any(|line| line.contains(": commit ")));
    assert!(
        !lines.iter().any(|line| line.contains(": hash ")),
        "{lines:#?}"
    );
}

/// Every connection breaks after 200 KB: three tries are enough, since each makes progress.
fn a_link_that_cuts_again_and_again<D: Driver>() {
    let faults = on_layers(&on(), |delivery| {
        if delivery.answer.body.len() > 200_000 {
            delivery.cut_body_after = Some(200_000);
        }
    });
    let (server, _) = serve(with(&layer(2_000_000)), faults);
    let (shelf, watch) = (Shelf::new(), Watch::new());
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    let client = D::new(&Setup::new().attempts(3));
    let report = client.run(ask.watched(&watch)).unwrap();
    shelf.check_holds(&layer(2_000_000));
    let expected: Vec<_> = (1..10)
        .map(|n| format!("bytes={}-1999999", n * 200_000))
        .collect();
    assert_eq!(ranges(&server), expected);
    assert_eq!(
        report.bytes,
        2_000_000 + layer(2_000_000).config.len() as u64
    );
    check_never_hashed(&watch);
}

/// The connection of the POST breaks under the PUT. Whether the blob was taken does not matter: a
/// registry that has taken it does not know the session any more. Of a blob of more than 64 KiB the registry
/// would be asked what it has.
fn a_kept_connection_that_breaks_costs_no_try<D: Driver>() {
    let image = layer(60_000);
    let shelf = filled(&image);
    let broken = AtomicBool::new(false);
    let faults = Faults::new().deliver(move |request: &Request, _, answer: Answer| {
        let mut delivery = Delivery::from(answer);
        let is_layer = puts_blob(request) && request.body.len() == 60_000;
        delivery.reset_before_head = is_layer && !broken.swap(true, Ordering::SeqCst);
        delivery
    });
    let (server, _) = serve(Model::new(Options::default()), faults);
    let watch = Watch::new();
    let client = D::new(&Setup::new().in_flight(1).attempts(1));
    let ask = Ask::push(&shelf.store, &at(&server, "team/app:v1")).watched(&watch);
    let report = client.run(ask).unwrap();
    assert_eq!(report.moved, 2);
    let retries = |event: &Event| matches!(event, Event::Retrying { .. });
    assert!(!watch.events().iter().any(retries), "{}", D::NAME);
}

/// A shelf that holds this image.
fn filled(image: &Image) -> Shelf {
    let server = Server::start(with(image)).unwrap();
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    Blocking::new(&Setup::new()).run(ask).unwrap();
    shelf
}
