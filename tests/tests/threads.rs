//! One client, many calls, one after the other: connections are kept, threads are not. A test of
//! its own process, because it counts all threads.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::{Duration, Instant};

use windlass_testbed::{Model, Options, Server, image};
use windlass_tests::drivers::{Ask, Blocking, Driver, Many, Setup, Shelf, Single};
use windlass_tests::images::noise;
use windlass_tests::proxy::Proxy;
use windlass_tests::wait_for;

const IN_FLIGHT: u32 = 4;
const CALLS: usize = 10;

/// Longer than clients keep a connection that is not used.
const AGED: Duration = Duration::from_secs(14);

#[test]
fn connections_are_kept_and_threads_are_not() {
    // Whatever the first one starts for good is not the second one's leak.
    measure::<Blocking>();
    for _ in 0..2 {
        let blocking = measure::<Blocking>();
        assert!(blocking <= IN_FLIGHT as usize + 4 + 1, "{blocking} threads");
    }
    measure::<Single>();
    measure::<Many>();
}

/// Asks for pulls and pushes one after the other. How many threads more there were at the end; they
/// are gone after it.
fn measure<D: Driver>() -> usize {
    let image = image(&[noise(300_000, 1), noise(20_000, 2), noise(10, 3)]);
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &image);
    let server = Server::start(model).unwrap();
    let proxy = Proxy::to(&server.host());
    let at = |name: &str| format!("{}/{name}", proxy.host());
    let before = threads("windlass") + threads("tokio");
    let client = D::new(&Setup::new().in_flight(IN_FLIGHT));
    let begun = Instant::now();
    for call in 0..CALLS {
        let shelf = Shelf::new();
        client
            .run(Ask::pull(&at("team/app:v1"), &shelf.store))
            .unwrap();
        shelf.check_holds(&image);
        client
            .run(Ask::push(&shelf.store, &at(&format!("r{call}:v1"))))
            .unwrap();
    }
    // hyper opens a new connection if the reusable one is not back in its pool yet, which is a
    // moment after the answer was read; what it did not need in the end is kept for later.
    let spare = usize::from(D::NAME != Blocking::NAME) * IN_FLIGHT as usize;
    // One that was not used for long is not used again, and on a slow machine that may happen.
    let aged = (begun.elapsed().as_secs() / AGED.as_secs()) as usize * IN_FLIGHT as usize;
    let connections = proxy.heard().len();
    assert!(
        connections <= IN_FLIGHT as usize + spare + aged,
        "{}: {connections}",
        D::NAME
    );
    let more = (threads("windlass") + threads("tokio")).saturating_sub(before);
    drop(client);
    if D::NAME == Blocking::NAME {
        // The client waits for its threads; they need not be off the list when it returns.
        wait_for("its threads are gone", || threads("windlass") == 0);
    } else {
        wait_for("its threads are gone", || threads("tokio") <= before);
    }
    more
}

/// How many threads of this process have a name that begins so.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.starts_with(name)).count()
}
