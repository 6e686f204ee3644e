//! What waits for a host, a store or a token service that does not answer holds up nothing else.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_core::config::Concurrency;
use windlass_core::credential::CredentialCall;
use windlass_core::store::StoreId;
use windlass_core::{Call, Config, Job, Platforms, Task};
use windlass_testbed::{Image, Model, Options, image};
use windlass_tests::world::scenes::{bearer, check_holds, open, pull, reference, with_image};
use windlass_tests::world::{Lot, World};

/// Pulls of three blobs each: more than any bound on what is in flight.
const WAITING: u8 = 70;
/// Requests to a host at once, from the first one on.
const SLOTS: usize = 6;
const SILENT: &str = "silent.example";

/// Begins 70 pulls from a registry into a store of theirs, with this of their jobs unanswered. Then an
/// image from `reg.example` is pulled as fast as ever. Returns how many jobs are unanswered.
fn unanswered(
    options: &Options,
    registry: &str,
    is_silent: impl Fn(&Job, StoreId) -> bool + Clone + 'static,
) -> usize {
    let layers: Vec<Vec<u8>> = (0..40).map(|n| vec![n; 5]).collect();
    let wanted = image(&layers);
    let mut config = Config::default();
    config.in_flight = Concurrency::at_most(SLOTS as u32);
    let mut world = World::new(config);
    for host in [SILENT, "reg.example"] {
        let mut options = options.clone();
        // Each has tokens of its own.
        options.mark = host.into();
        let mut model = with_image(options, &wanted);
        (0..WAITING).for_each(|n| other(&mut model, n));
        world.registry(&[host], model);
    }
    let (theirs, _) = world.store();
    let silent = is_silent.clone();
    world.lot = Box::new(move |job| lot(silent(job, theirs)));
    for n in 0..WAITING {
        let from = reference(&format!("{registry}/team/{n}:v1"));
        let name = Some(n.to_string());
        world.start(Task::pull(from, theirs, name, Platforms::All));
    }
    world.run_still();
    let count = world.outside(|job| is_silent(job, theirs));
    let (store, memory) = world.store();
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &wanted);
    // Its requests go out at once, as if it were alone.
    let is_blob = |job: &Job| is_to(job, "reg.example", "/a/b/blobs/");
    world.lot = Box::new(move |job| lot(is_blob(job) || is_silent(job, theirs)));
    let (store, _) = world.store();
    world.start(pull(store));
    world.run_still();
    assert_eq!(world.outside(is_blob), SLOTS);
    world.let_go();
    world.run_all();
    count
}

const fn lot(is_held: bool) -> Lot {
    if is_held { Lot::Hold } else { Lot::Run }
}

fn other(model: &mut Model, n: u8) {
    let image: Image = image(&[vec![n, 1], vec![n, 2]]);
    model.put_image(&format!("team/{n}"), Some("v1"), &image);
}

fn is_to(job: &Job, host: &str, part: &str) -> bool {
    let is =
        |call: &Call| call.origin().host() == host && call.request().uri().path().contains(part);
    matches!(job, Job::Http(call) if is(call))
}

fn asks_for(job: &Job, host: &str) -> bool {
    let is = |call: &CredentialCall| call.question().registry().to_string() == host;
    matches!(job, Job::Credentials(question) if is(question))
}

#[test]
fn a_silent_registry_holds_up_no_other() {
    let count = unanswered(&open(), SILENT, |job, _| is_to(job, SILENT, "/blobs/"));
    assert_eq!(count, SLOTS);
}

#[test]
fn a_silent_store_holds_up_no_other() {
    let is_theirs = |job: &Job, theirs| matches!(job, Job::Store(step) if step.store() == theirs);
    assert_eq!(unanswered(&open(), "reg.example", is_theirs), 8);
}

#[test]
fn a_silent_token_service_holds_up_no_other() {
    let count = unanswered(&bearer(), SILENT, |job, _| is_to(job, SILENT, "/token"));
    assert_eq!(count, 4);
}

#[test]
fn unanswered_questions_for_credentials_hold_up_no_others() {
    let count = unanswered(&bearer(), SILENT, |job, _| asks_for(job, SILENT));
    assert_eq!(count, 4);
}
