//! Futures, clients and runtimes that are dropped during a call.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use windlass_core::{Error, Event};
use windlass_driver::CancelHandle;
use windlass_testbed::{Answer, Delivery, Image, Model, Options, Request, Server, image};
use windlass_tests::drivers::{
    Ask, Blocking, Driver, Faults, Rigged, Setup, Shelf, Tokio, Watch, ask_async, async_client,
    gets_blob, puts_blob, runtime, serve,
};
use windlass_tests::images::noise;
use windlass_tests::{through_both, wait_for};

through_both!(a_store_that_hangs_does_not_keep_anybody);

/// One second is promised, and nothing here would end by itself for minutes; the rest is for a
/// machine where many more threads want to run than can.
const PROMPT: Duration = Duration::from_secs(3);

const STALLED: u64 = 700_001;

fn app() -> Image {
    image(&[noise(2_000_000, 5)])
}

fn at(server: &Server) -> String {
    format!("{}/team/app:v1", server.host())
}

/// A server whose downloads of layers stall while the switch is on.
fn stalling() -> (Server, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(true));
    let on = Arc::clone(&switch);
    let faults = Faults::new().deliver(move |request: &Request, _, answer: Answer| {
        let is_layer = gets_blob(request) && answer.body.len() > 10_000;
        let stalls = is_layer && on.load(Ordering::SeqCst);
        let mut delivery = Delivery::from(answer);
        delivery.stall_after = stalls.then_some(STALLED);
        delivery
    });
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &app());
    (serve(model, faults).0, switch)
}

fn ranges(server: &Server) -> usize {
    let requests = server.requests();
    requests
        .iter()
        .filter(|entry| entry.headers.contains_key("range"))
        .count()
}

/// Waits without keeping the runtime from its work.
async fn until(mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a call until the condition holds, and drops it. How long dropping took.
fn dropped<const N: usize>(
    client: &Tokio<N>,
    ask: Ask,
    condition: impl FnMut() -> bool,
) -> Duration {
    client.block_on(async {
        let mut call = Box::pin(client.ask(ask));
        tokio::select! {
            result = &mut call => panic!("{result:?}"),
            () = until(condition) => {}
        }
        let begun = Instant::now();
        drop(call);
        begun.elapsed()
    })
}

fn a_dropped_future<const N: usize>() {
    let (server, switch) = stalling();
    let client = Tokio::<N>::new(&Setup::new());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server), &shelf.store);
    let took = dropped(&client, ask.clone(), || shelf.files.partials() == [STALLED]);
    assert!(took < PROMPT, "{took:?}");
    switch.store(false, Ordering::SeqCst);
    // The same client goes on from there.
    client.run(ask).unwrap();
    shelf.check_holds(&app());
    assert_eq!(ranges(&server), 1);
}

fn a_dropped_client<const N: usize>() {
    let (server, switch) = stalling();
    let client = Tokio::<N>::new(&Setup::new());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server), &shelf.store);
    dropped(&client, ask, || shelf.files.partials() == [STALLED]);
    let begun = Instant::now();
    drop(client);
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    switch.store(false, Ordering::SeqCst);
    // Another one, as another process would, goes on from there.
    let ask = Ask::pull(&at(&server), &shelf.opened_again());
    Tokio::<N>::new(&Setup::new()).run(ask).unwrap();
    shelf.check_holds(&app());
    assert_eq!(ranges(&server), 1);
}

fn a_dropped_upload<const N: usize>() {
    let on = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&on);
    let faults = Faults::new().before(move |request, _| {
        (puts_blob(request) && switch.load(Ordering::SeqCst)).then(|| {
            let mut delivery = Delivery::from(Answer::new(http::StatusCode::OK));
            delivery.refuse_to_read_after = Some(100_000);
            delivery
        })
    });
    let big = image(&[noise(24 << 20, 7)]);
    let mut model = Model::new(Options::default());
    model.put_image("seed", Some("v1"), &big);
    let (server, _) = serve(model, faults);
    let shelf = Shelf::new();
    let seed = format!("{}/seed:v1", server.host());
    // Another client, since one that has pulled the blob would have it mounted.
    let other = Tokio::<N>::new(&Setup::new());
    other.run(Ask::pull(&seed, &shelf.store)).unwrap();
    let client = Tokio::<N>::new(&Setup::new());
    let watch = Watch::new();
    let ask = Ask::push(&shelf.store, &at(&server));
    let watched = ask.clone().watched(&watch);
    let took = dropped(&client, watched, || watch.furthest() >= 100_000);
    assert!(took < PROMPT, "{took:?}");
    on.store(false, Ordering::SeqCst);
    client.run(ask).unwrap();
    server.with_model(|model| assert_eq!(model.tag("team/app", "v1"), Some(&big.digest)));
}

/// Two runtimes share a client. The one that moves a blob is shut down: the call on it ends, and
/// the call on the other, which waits for that blob, moves it itself.
fn a_runtime_that_goes_away<const N: usize>() {
    let (server, switch) = stalling();
    let client = async_client(&Setup::new());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server), &shelf.store);
    let leaving = runtime(2);
    let first = leaving.spawn({
        let (client, ask) = (client.clone(), ask.clone());
        async move { ask_async(&client, ask).await }
    });
    wait_for("a blob is stuck", || shelf.files.partials() == [STALLED]);
    let resolved = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&resolved);
    let watch = Watch::on_event(move |event| {
        if matches!(event, Event::Resolved(_)) {
            flag.store(true, Ordering::SeqCst);
        }
    });
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let staying = runtime(N);
            let result = staying.block_on(ask_async(&client, ask.clone().watched(&watch)));
            // And it is good for more.
            staying.block_on(ask_async(&client, ask.clone())).unwrap();
            result
        });
        wait_for("the other call", || resolved.load(Ordering::SeqCst));
        switch.store(false, Ordering::SeqCst);
        let begun = Instant::now();
        leaving.shutdown_timeout(Duration::from_secs(10));
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        second.join().unwrap().unwrap();
    });
    shelf.check_holds(&app());
    assert_eq!(ranges(&server), 1);
    let ended = runtime(0).block_on(first);
    assert!(ended.unwrap_err().is_cancelled());
}

/// A call that was made while its runtime went away is not heard of again, and its client is as
/// good as before on another one.
fn a_client_outlives_its_runtime<const N: usize>() {
    let (server, switch) = stalling();
    let client = async_client(&Setup::new());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server), &shelf.store);
    let leaving = runtime(N);
    leaving.block_on(async {
        tokio::select! {
            result = ask_async(&client, ask.clone()) => panic!("{result:?}"),
            () = until(|| shelf.files.partials() == [STALLED]) => {}
        }
    });
    drop(leaving);
    switch.store(false, Ordering::SeqCst);
    runtime(N).block_on(ask_async(&client, ask)).unwrap();
    shelf.check_holds(&app());
    assert_eq!(ranges(&server), 1);
}

macro_rules! on_both_runtimes {
    ($($name:ident),* $(,)?) => {
        mod on_many {
            $(#[test] fn $name() { super::$name::<2>(); })*
        }
        mod on_one {
            $(#[test] fn $name() { super::$name::<0>(); })*
        }
    };
}

on_both_runtimes!(
    a_dropped_future,
    a_dropped_client,
    a_dropped_upload,
    a_runtime_that_goes_away,
    a_client_outlives_its_runtime,
);

/// A worker that is stuck in a store is left behind: its call is back in time, the client does
/// other things and goes away promptly.
fn a_store_that_hangs_does_not_keep_anybody<D: Driver>() {
    let (server, switch) = stalling();
    switch.store(false, Ordering::SeqCst);
    let shelf = Shelf::new();
    let rigged = Rigged::new(&shelf.store);
    rigged.hang();
    let client = D::new(&Setup::new());
    let cancel = CancelHandle::new();
    let ask = Ask::pull(&at(&server), &rigged.store()).cancelled_by(&cancel);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| client.run(ask));
        rigged.wait_until_hanging();
        cancel.cancel();
        let begun = Instant::now();
        let failure = call.join().unwrap().unwrap_err();
        assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
        assert!(matches!(failure.first(), Error::Cancelled), "{failure:?}");
    });
    let other = Shelf::new();
    client.run(Ask::pull(&at(&server), &other.store)).unwrap();
    other.check_holds(&app());
    let begun = Instant::now();
    drop(client);
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    rigged.go_on();
    // Once the store lets the worker go it lets its partial go.
    let again = Ask::pull(&at(&server), &shelf.opened_again());
    Blocking::new(&Setup::new()).run(again).unwrap();
    shelf.check_holds(&app());
}
