//! What is silent, and what a healthy registry pays for it; and many pulls with little time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use windlass_store::{Memory, Store};
use windlass_testbed::{Answer, Auth, Bearer, Delivery, Interceptor, Model, Options, Request};
use windlass_tests::drivers::{Rigged, gets_blob};

use super::{
    Call, Client, Failed, LAYER, Registry, at_most, measure, named, of_layers, ratio, say,
};

/// What may be silent.
pub(crate) const SILENT: [&str; 3] = ["registry", "store", "tokens"];
/// What a store in memory may hold.
const ROOM: u64 = 1 << 30;
/// Pulls of three blobs that wait for it.
const WAITING: usize = 70;
/// Layers of the healthy image.
const LAYERS: usize = 300;
/// Pulls of the healthy image of which the fastest counts.
const TRIES: usize = 5;
/// Pulls with a deadline.
const PULLS: usize = 2_000;
const DEADLINE: Duration = Duration::from_secs(7);
/// A pull beside what is silent takes this much of its time alone, at most.
const BESIDE: f64 = 1.5;
/// Of many at once as many finish, but for a few.
const ALL_AT_ONCE: f64 = 1.02;
/// How far away the registry is in that case, so that not all are done in time.
const AWAY: Duration = Duration::from_millis(15);

pub(crate) fn isolation() -> Result<(), Failed> {
    say("a pull from a healthy registry, alone and while 210 transfers wait for what is silent");
    for client in ["blocking", "async"] {
        for silent in SILENT {
            let healthy = Registry::start(&["blobs", &LAYERS.to_string()])?;
            let other = Registry::start(&["silent", silent])?;
            let cost = measure(&[client, "isolation", &healthy.host, &other.host, silent])?;
            let (alone, beside) = (cost.parts[0], cost.parts[1]);
            say(&format!(
                "{client:8} silent {silent:8}  alone: {alone:.0} ms  beside: {beside:.0} ms   ratio {:.2}",
                beside / alone
            ));
            let what = format!("{client} beside a silent {silent}");
            at_most(&what, beside / alone, BESIDE);
        }
    }
    Ok(())
}

pub(crate) fn deadlines() -> Result<(), Failed> {
    say("of 2,000 pulls with a deadline of 7 s, how many finish");
    for client in ["blocking", "async"] {
        let mut finished = Vec::new();
        for at_once in [48, PULLS] {
            let registry = Registry::start(&["away", &PULLS.to_string()])?;
            let at_once = at_once.to_string();
            let cost = measure(&[client, "deadlines", &registry.host, &at_once])?;
            finished.push(cost.parts[0]);
        }
        say(&format!(
            "{client:8} 48 at once: {}  all at once: {}   ratio {:.2}",
            finished[0],
            finished[1],
            finished[1] / finished[0]
        ));
        let what = format!("{client}, of 48 at once to all at once");
        at_most(&what, finished[0] / finished[1].max(1.0), ALL_AT_ONCE);
    }
    Ok(())
}

/// The registry that a pull waits for: it does not send blobs, or no tokens, or it is as any other.
pub(crate) fn silent(what: &str) -> (Model, Arc<dyn Interceptor>) {
    let mut options = Options::default();
    if what == "tokens" {
        options.auth = Auth::Bearer(Bearer {
            realm: "http://{host}/token".into(),
            ..Bearer::default()
        });
    }
    let mut model = Model::new(options);
    for pull in 0..WAITING {
        let image = of_layers(2, LAYER, 1_000_000 + pull * 2);
        model.put_image(&format!("app{pull}"), Some("v1"), &image);
    }
    let is_silent: fn(&Request) -> bool = match what {
        "registry" => gets_blob,
        "tokens" => |request| request.target.starts_with("/token"),
        _ => |_| false,
    };
    (model, late(Duration::from_secs(3600), is_silent))
}

/// A registry that is some way away.
pub(crate) fn away() -> Arc<dyn Interceptor> {
    late(AWAY, |_| true)
}

fn late(delay: Duration, is_late: fn(&Request) -> bool) -> Arc<dyn Interceptor> {
    Arc::new(move |request: &Request, _: usize, answer: Answer| {
        let mut delivery = Delivery::from(answer);
        delivery.delay = is_late(request).then_some(delay);
        delivery
    })
}

/// How long the healthy pull takes, in milliseconds, alone and beside what waits.
pub(crate) fn run_isolation(
    client: &Client,
    healthy: &str,
    other: &str,
    silent: &str,
) -> Result<[f64; 2], Failed> {
    let alone = fastest(client, healthy)?;
    let inner: Arc<dyn Store> = Arc::new(Memory::new(ROOM));
    let rigged = Rigged::new(&inner);
    if silent == "store" {
        rigged.hang();
    }
    for pull in 0..WAITING {
        let from = format!("{other}/app{pull}:v1").parse()?;
        let (call, client) = (Call::Pull(from, rigged.store()), client.clone());
        // They are there until the process ends.
        thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || client.run(&call).is_ok())?;
    }
    thread::sleep(Duration::from_secs(2));
    Ok([alone, fastest(client, healthy)?])
}

fn fastest(client: &Client, host: &str) -> Result<f64, Failed> {
    let mut fastest = f64::MAX;
    for _ in 0..TRIES {
        let store: Arc<dyn Store> = Arc::new(Memory::new(ROOM));
        let begun = Instant::now();
        client.run(&Call::Pull(named(host, "v1")?, store))?;
        fastest = fastest.min(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(fastest)
}

/// How many pulls finish in time.
pub(crate) fn run_deadlines(client: &Client, host: &str, at_once: usize) -> Result<f64, Failed> {
    let store: Arc<dyn Store> = Arc::new(Memory::new(ROOM));
    let until = Instant::now() + DEADLINE;
    let finished = Arc::new(AtomicUsize::new(0));
    let pull = |task: usize| {
        let from = named(host, &task.to_string())?;
        let (store, finished) = (Arc::clone(&store), Arc::clone(&finished));
        Ok(Call::PullUntil(from, store, until, finished))
    };
    let calls: Result<Vec<Call>, Failed> = (0..PULLS).map(pull).collect();
    client.run_all(calls?, at_once)?;
    Ok(ratio(finished.load(Relaxed)))
}
