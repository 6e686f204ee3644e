//! Registries, stores and token services that do not answer cost a healthy registry nothing.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use windlass_driver::CancelHandle;
use windlass_testbed::{Answer, Auth, Bearer, Delivery, Model, Options, Request, Server, image};
use windlass_tests::drivers::{Ask, Driver, Faults, Rigged, Setup, Shelf, gets_blob, serve};
use windlass_tests::images::noise;
use windlass_tests::{through_both, wait_for};

through_both!(
    silent_registries_cost_a_healthy_one_nothing,
    a_silent_store_costs_others_nothing,
    a_silent_token_service_costs_others_nothing,
);

/// Pulls of three blobs each: more than all bounds on what is in flight for one host or store.
const WAITING: usize = 40;

/// Requests to a host at once.
const IN_FLIGHT: u32 = 4;

/// Longer than any test takes.
const FOREVER: Duration = Duration::from_secs(600);

/// Three of them have more requests in flight than the client keeps threads.
fn silent_registries_cost_a_healthy_one_nothing<D: Driver>() {
    let silent = [(); 3].map(|()| Silent::new(Options::default(), gets_blob));
    let is_stuck = || {
        silent
            .iter()
            .all(|silent| silent.requests() == IN_FLIGHT as usize)
    };
    let begun: Vec<&Server> = silent.iter().map(|silent| &silent.server).collect();
    pull_beside::<D>(Options::default(), &begun, &Shelf::new(), is_stuck, || {});
}

fn a_silent_store_costs_others_nothing<D: Driver>() {
    let other = Silent::new(Options::default(), |_| false);
    let shelf = Shelf::new();
    let rigged = Rigged::new(&shelf.store);
    rigged.hang();
    let store = Shelf {
        store: rigged.store(),
        ..shelf
    };
    let is_stuck = || rigged.hanging() == IN_FLIGHT as usize;
    let go_on = || rigged.go_on();
    pull_beside::<D>(
        Options::default(),
        &[&other.server],
        &store,
        is_stuck,
        go_on,
    );
}

fn a_silent_token_service_costs_others_nothing<D: Driver>() {
    let is_token = |request: &Request| request.target.starts_with("/token");
    let silent = Silent::new(bearer(), is_token);
    let is_stuck = || silent.requests() == 4;
    pull_beside::<D>(bearer(), &[&silent.server], &Shelf::new(), is_stuck, || {});
}

/// A registry with many images that does not answer some requests.
struct Silent {
    server: Server,
    requests: Arc<AtomicUsize>,
}

impl Silent {
    fn new(options: Options, is_silent: fn(&Request) -> bool) -> Self {
        let mut model = Model::new(options);
        for n in 0..WAITING {
            let layers = [noise(10, 2 * n as u64), noise(10, 2 * n as u64 + 1)];
            model.put_image(&format!("app{n}"), Some("v1"), &image(&layers));
        }
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&requests);
        let late = Faults::new().deliver(move |request: &Request, _, answer: Answer| {
            let mut delivery = Delivery::from(answer);
            if is_silent(request) {
                seen.fetch_add(1, Ordering::SeqCst);
                delivery.delay = Some(FOREVER);
            }
            delivery
        });
        let (server, _) = serve(model, late);
        Self { server, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn bearer() -> Options {
    Options {
        auth: Auth::Bearer(Bearer {
            realm: "http://{host}/token".into(),
            ..Bearer::default()
        }),
        ..Options::default()
    }
}

/// Pulls all images of these registries at once. When they are stuck, an image is pulled from another one.
fn pull_beside<D: Driver>(
    options: Options,
    servers: &[&Server],
    shelf: &Shelf,
    is_stuck: impl Fn() -> bool,
    go_on: impl Fn(),
) {
    let wanted = image(&[noise(100_000, 1_001), noise(10, 1_002)]);
    let mut model = Model::new(options);
    model.put_image("team/app", Some("v1"), &wanted);
    let healthy = Server::start(model).unwrap();
    let client = D::new(&Setup::new().in_flight(IN_FLIGHT).limits(FOREVER, FOREVER));
    std::thread::scope(|scope| {
        let end = End(CancelHandle::new(), go_on);
        for server in servers {
            for n in 0..WAITING {
                let from = format!("{}/app{n}:v1", server.host());
                let ask = Ask::pull(&from, &shelf.store).cancelled_by(&end.0);
                let client = &client;
                scope.spawn(move || client.run(ask).unwrap_err());
            }
        }
        wait_for("the pulls are stuck", &is_stuck);
        let store = Shelf::new();
        let from = format!("{}/team/app:v1", healthy.host());
        let ask = Ask::pull(&from, &store.store).cancelled_by(&end.0);
        let pull = scope.spawn(|| client.run(ask));
        wait_for("the healthy pull is over", || pull.is_finished());
        pull.join().unwrap().unwrap();
        store.check_holds(&wanted);
    });
}

/// Ends what is stuck, also when the test fails.
struct End<F: Fn()>(CancelHandle, F);

impl<F: Fn()> Drop for End<F> {
    fn drop(&mut self) {
        let Self(cancel, go_on) = self;
        cancel.cancel();
        go_on();
    }
}
