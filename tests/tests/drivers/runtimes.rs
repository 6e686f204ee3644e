//! One async client, two runtimes: one of them is parked, dropped or blocked in the middle of a call,
//! and the call on the other one does not notice.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use windlass_async::Client;
use windlass_core::{Error, Failure, TaskReport};
use windlass_testbed::{
    Answer, Auth, Bearer, Delivery, Image, Model, Options, Request, Server, User, image,
};
use windlass_tests::drivers::{
    Ask, Faults, PASSWORD, Setup, Shelf, ask_async, async_client, gets_blob, runtime, serve,
};
use windlass_tests::images::noise;

/// What hangs, hangs for ever; this is for slow machines.
const GUARD: Duration = Duration::from_secs(60);

/// How one of the two runtimes does not run.
#[derive(Clone, Copy, Debug)]
enum How {
    /// It is not driven. A runtime with threads of its own runs nevertheless.
    Parked,
    /// It is gone, in the middle of the call.
    Dropped,
    /// All its threads are busy with something that does not await.
    Blocked,
}

type Ended = Option<Result<TaskReport, Failure>>;

/// Where threads stand until it is opened.
#[derive(Default)]
struct Gate {
    entered: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn stand(&self) {
        self.entered.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// A call whose runtime does not run from the moment on that `moment` is true. Its thread ends after
/// the gate was opened, with what became of the call: `None` if its runtime was dropped.
fn stuck<const N: usize>(
    how: How,
    client: &Client,
    ask: Ask,
    moment: impl Fn() -> bool + Send + 'static,
    gate: &Arc<Gate>,
) -> JoinHandle<Ended> {
    let (client, gate_) = (client.clone(), Arc::clone(gate));
    let thread = thread::spawn(move || {
        let gate = gate_;
        let runtime = runtime(N);
        let mut call = Box::pin(async move { ask_async(&client, ask).await });
        let early = runtime.block_on(async {
            tokio::select! {
                biased;
                result = &mut call => Some(result),
                () = until(moment) => None,
            }
        });
        if early.is_some() {
            gate.entered.fetch_add(N.max(1), Ordering::SeqCst);
            return early;
        }
        match (how, N) {
            (How::Parked, _) => {
                gate.entered.fetch_add(N.max(1), Ordering::SeqCst);
                gate.stand();
                Some(runtime.block_on(call))
            }
            (How::Dropped, 0) => {
                // The future is left over.
                drop(runtime);
                gate.stand();
                None
            }
            (How::Dropped, _) => {
                drop(runtime.spawn(call));
                drop(runtime);
                gate.entered.fetch_add(N, Ordering::SeqCst);
                None
            }
            (How::Blocked, 0) => Some(runtime.block_on(async {
                gate.stand();
                call.await
            })),
            (How::Blocked, _) => {
                let call = runtime.spawn(call);
                for _ in 0..N {
                    let gate = Arc::clone(&gate);
                    runtime.spawn(async move { gate.stand() });
                }
                Some(runtime.block_on(call).unwrap())
            }
        }
    });
    wait_for("it stands still", || {
        gate.entered.load(Ordering::SeqCst) >= N.max(1)
    });
    thread
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < GUARD, "in vain: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Waits without keeping the runtime from its work, and without its clock.
async fn until(moment: impl Fn() -> bool) {
    while !moment() {
        tokio::task::yield_now().await;
    }
}

/// Asks on a runtime of its own, on a thread of its own.
fn asked<const N: usize>(client: &Client, ask: Ask) -> Box<Result<TaskReport, Failure>> {
    let (sender, receiver) = mpsc::channel();
    let client = client.clone();
    thread::spawn(move || {
        let result = runtime(N).block_on(ask_async(&client, ask));
        sender.send(Box::new(result))
    });
    receiver.recv_timeout(GUARD).expect("the call hangs")
}

/// A server with two images and tokens.
struct Stalling {
    server: Server,
    stalled: Arc<AtomicUsize>,
}

impl Stalling {
    /// One answer stalls: the first whose target has this in it, and that is no small document.
    fn at(what: &'static str) -> Self {
        let stalled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&stalled);
        let faults = Faults::new().deliver(move |request: &Request, _, answer: Answer| {
            let is_it = match what {
                "" => false,
                "/token" => request.target.contains(what),
                _ => gets_blob(request) && request.target.contains(what),
            };
            let is_it = is_it && answer.body.len() > 100;
            let stalls = is_it && count.load(Ordering::SeqCst) == 0;
            let mut delivery = Delivery::from(answer);
            if stalls {
                delivery.stall_after = Some(7);
                count.fetch_add(1, Ordering::SeqCst);
            }
            delivery
        });
        let auth = Auth::Bearer(Bearer {
            users: [("alice".into(), User::new(PASSWORD))].into(),
            anonymous_pull: false,
            ..Bearer::default()
        });
        let mut model = Model::new(Options {
            auth,
            ..Options::default()
        });
        model.put_image("team/first/app", Some("v1"), &first());
        model.put_image("team/other/app", Some("v1"), &other());
        let server = serve(model, faults).0;
        Self { server, stalled }
    }

    fn pull(&self, name: &str, shelf: &Shelf) -> Ask {
        let reference = format!("{}/team/{name}/app:v1", self.server.host());
        Ask::pull(&reference, &shelf.store).deadline(GUARD / 2)
    }

    fn resolve(&self, name: &str) -> Ask {
        Ask::resolve(&format!("{}/team/{name}/app:v1", self.server.host()))
    }

    /// Whether the answer stalls.
    fn stalls(&self) -> impl Fn() -> bool + Clone + Send + 'static {
        let stalled = Arc::clone(&self.stalled);
        move || stalled.load(Ordering::SeqCst) > 0
    }
}

fn first() -> Image {
    image(&[noise(300_000, 1), noise(10, 2)])
}

fn other() -> Image {
    image(&[noise(400_000, 3), noise(100_000, 4), noise(10, 5)])
}

/// True some time after it is asked first: other moments in other rounds.
fn after(round: u32) -> impl Fn() -> bool + Send + 'static {
    let begun = Instant::now();
    move || begun.elapsed() >= Duration::from_micros(700) * round
}

/// A call ends and its runtime is kept, or goes, while the other call is in the middle.
fn a_call_that_is_over<const A: usize, const B: usize>() {
    for round in 0..14 {
        let server = Stalling::at("");
        let client = async_client(&Setup::new().alice());
        let (shelf, mine) = (Shelf::new(), Shelf::new());
        let theirs = server.pull("first", &shelf);
        let gate = Arc::new(Gate::default());
        let thread = thread::spawn({
            let (client, gate) = (client.clone(), Arc::clone(&gate));
            move || {
                let runtime = runtime(A);
                let result = runtime.block_on(ask_async(&client, theirs));
                if round % 2 == 0 {
                    gate.stand();
                }
                result
            }
        });
        asked::<B>(&client, server.pull("other", &mine)).unwrap();
        gate.open();
        mine.check_holds(&other());
        thread.join().unwrap().unwrap();
        shelf.check_holds(&first());
    }
}

/// A runtime stops at any moment of its call; the other call wants other things.
fn apart<const A: usize, const B: usize>(how: How) {
    for round in 0..12 {
        let server = Stalling::at("/first/");
        let client = async_client(&Setup::new().alice());
        let (shelf, mine) = (Shelf::new(), Shelf::new());
        let gate = Arc::new(Gate::default());
        if !matches!(how, How::Dropped) {
            // Else the other one may have to find out for both what the server wants.
            asked::<B>(&client, server.resolve("other")).unwrap();
        }
        let theirs = server.pull("first", &shelf);
        let stuck = if round % 2 == 0 {
            stuck::<A>(how, &client, theirs, after(round), &gate)
        } else {
            stuck::<A>(how, &client, theirs, server.stalls(), &gate)
        };
        asked::<B>(&client, server.pull("other", &mine)).unwrap();
        mine.check_holds(&other());
        gate.open();
        drop(client);
        // Its server is closed before: what it waits for does not come, then.
        drop(server);
        drop(stuck.join().unwrap());
    }
}

fn another_runtime_is_parked<const A: usize, const B: usize>() {
    apart::<A, B>(How::Parked);
}

fn another_runtime_is_dropped<const A: usize, const B: usize>() {
    apart::<A, B>(How::Dropped);
}

fn another_runtime_is_blocked<const A: usize, const B: usize>() {
    apart::<A, B>(How::Blocked);
}

/// Both want the same image in the same store, and the one that moves a blob loses its runtime.
fn a_shared_blob_of_a_dropped_runtime<const A: usize, const B: usize>() {
    for round in 0..8 {
        let server = Stalling::at("/first/");
        let client = async_client(&Setup::new().alice());
        let shelf = Shelf::new();
        let gate = Arc::new(Gate::default());
        let (theirs, stalls) = (server.pull("first", &shelf), server.stalls());
        let mine = thread::spawn({
            let (client, ask) = (client.clone(), server.pull("first", &shelf));
            let stalls = stalls.clone();
            move || {
                wait_for("theirs", stalls);
                asked::<B>(&client, ask)
            }
        });
        let later = Mutex::new(None);
        let moment = move || {
            stalls() && {
                let mut later = later.lock().unwrap();
                let later = later.get_or_insert_with(|| after(round));
                later()
            }
        };
        let stuck = stuck::<A>(How::Dropped, &client, theirs, moment, &gate);
        mine.join().unwrap().unwrap();
        shelf.check_holds(&first());
        gate.open();
        assert!(stuck.join().unwrap().is_none());
    }
}

/// Both want the same image in the same store, and the one that moves a blob does not run. The other
/// one takes the blob over after a while, and it goes on when its runtime does.
fn a_shared_blob<const A: usize, const B: usize>(how: How) {
    let server = Stalling::at("/first/");
    let client = async_client(&Setup::new().alice());
    let shelf = Shelf::new();
    let gate = Arc::new(Gate::default());
    let (theirs, stalls) = (server.pull("first", &shelf), server.stalls());
    let stuck = stuck::<A>(how, &client, theirs, stalls, &gate);
    asked::<B>(&client, server.pull("first", &shelf)).unwrap();
    shelf.check_holds(&first());
    gate.open();
    stuck.join().unwrap().expect("its runtime runs").unwrap();
}

fn a_shared_blob_of_a_blocked_runtime<const A: usize, const B: usize>() {
    a_shared_blob::<A, B>(How::Blocked);
}

/// A future is dropped while it moves what another call waits for, and its runtime is kept.
fn a_shared_blob_of_a_dropped_future<const A: usize, const B: usize>() {
    let server = Stalling::at("/first/");
    let client = async_client(&Setup::new().alice());
    let shelf = Shelf::new();
    let (theirs, stalls) = (server.pull("first", &shelf), server.stalls());
    let leaving = runtime(A);
    let mine = thread::spawn({
        let (client, ask) = (client.clone(), server.pull("first", &shelf));
        let stalls = stalls.clone();
        move || {
            wait_for("theirs", stalls);
            asked::<B>(&client, ask)
        }
    });
    leaving.block_on(async {
        let call = Box::pin(ask_async(&client, theirs));
        tokio::select! {
            biased;
            result = call => panic!("{result:?}"),
            () = until(stalls) => {}
        }
    });
    mine.join().unwrap().unwrap();
    shelf.check_holds(&first());
}

/// The token that both need is being fetched on a runtime that does not run.
fn a_token_of_a_blocked_runtime<const A: usize, const B: usize>() {
    let server = Stalling::at("/token");
    let client = async_client(&Setup::new().alice());
    let (shelf, mine) = (Shelf::new(), Shelf::new());
    let gate = Arc::new(Gate::default());
    let theirs = server.pull("first", &shelf);
    let stuck = stuck::<A>(How::Blocked, &client, theirs, server.stalls(), &gate);
    asked::<B>(&client, server.pull("first", &mine)).unwrap();
    mine.check_holds(&first());
    gate.open();
    stuck.join().unwrap().expect("its runtime runs").unwrap();
}

/// A runtime that does not run holds the only slot of a host: the others get it after a while, and
/// their deadlines hold meanwhile.
fn a_slot_of_a_blocked_runtime<const A: usize, const B: usize>() {
    let server = Stalling::at("/first/");
    let client = async_client(&Setup::new().alice().in_flight(1));
    let (shelf, mine) = (Shelf::new(), Shelf::new());
    let gate = Arc::new(Gate::default());
    let (theirs, stalls) = (server.pull("first", &shelf), server.stalls());
    let stuck = stuck::<A>(How::Blocked, &client, theirs, stalls, &gate);
    let hasty = server
        .pull("other", &mine)
        .deadline(Duration::from_millis(50));
    let failure = asked::<B>(&client, hasty).unwrap_err();
    assert!(matches!(failure.first(), Error::Deadline), "{failure:?}");
    asked::<B>(&client, server.pull("other", &mine)).unwrap();
    mine.check_holds(&other());
    gate.open();
    stuck.join().unwrap().expect("its runtime runs").unwrap();
    shelf.check_holds(&first());
}

macro_rules! on_two_runtimes {
    ($($name:ident),* $(,)?) => {
        on_two_runtimes!(@ one_one 0, 0, $($name)*);
        on_two_runtimes!(@ one_many 0, 2, $($name)*);
        on_two_runtimes!(@ many_one 2, 0, $($name)*);
        on_two_runtimes!(@ many_many 2, 2, $($name)*);
    };
    (@ $module:ident $a:literal, $b:literal, $($name:ident)*) => {
        mod $module {
            $(#[test] fn $name() { super::$name::<$a, $b>(); })*
        }
    };
}

on_two_runtimes!(
    a_call_that_is_over,
    another_runtime_is_parked,
    another_runtime_is_dropped,
    another_runtime_is_blocked,
    a_shared_blob_of_a_dropped_runtime,
    a_shared_blob_of_a_blocked_runtime,
    a_shared_blob_of_a_dropped_future,
    a_token_of_a_blocked_runtime,
    a_slot_of_a_blocked_runtime,
);

/// A runtime with threads of its own is never parked.
#[test]
fn a_shared_blob_of_a_parked_runtime() {
    a_shared_blob::<0, 0>(How::Parked);
    a_shared_blob::<0, 2>(How::Parked);
}
