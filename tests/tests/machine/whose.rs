//! `Session::task_of`: the task that a job belongs to.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::cell::RefCell;

use windlass_core::call::JobId;
use windlass_core::{Config, Job};
use windlass_testbed::{Image, Options};
use windlass_tests::world::scenes::{
    alice, bearer, check_holds, digest, large, open, pull, pulling,
};
use windlass_tests::world::{Lot, World};

fn asks_for(job: &Job, part: &str) -> bool {
    matches!(job, Job::Http(call) if call.request().uri().path().contains(part))
}

/// The only job outside whose target has this in it, if there is one.
fn outside(world: &World, part: &str) -> Option<JobId> {
    let found = RefCell::new(Vec::new());
    world.outside(|job| {
        if asks_for(job, part) {
            found.borrow_mut().push(job.id());
        }
        true
    });
    let found = found.into_inner();
    assert!(found.len() < 2, "{}", world.transcript());
    found.first().copied()
}

/// A world in which requests for `held` stay outside.
fn holding(options: Options, image: &Image, held: &str) -> World {
    let (mut world, _, _) = pulling(Config::default(), options, image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let held = held.to_owned();
    world.lot = Box::new(move |job| {
        if asks_for(job, &held) {
            Lot::Hold
        } else {
            Lot::Run
        }
    });
    world
}

/// Two pulls of one image into one store wait for one request. It is for the first of them, and when
/// that one is cancelled, for the other.
fn two_pulls(options: Options, held: &str) {
    let image = large(300_000);
    let mut world = holding(options, &image, held);
    let (store, memory) = world.store();
    let (one, two) = (world.start(pull(store)), world.start(pull(store)));
    world.run_still();
    let job = outside(&world, held).expect("it is held");
    assert_eq!(world.session.task_of(job), Some(one));
    world.cancel(one);
    world.run_still();
    assert_eq!(world.session.task_of(job), Some(two));
    world.let_go();
    world.run(two).unwrap();
    world.run_all();
    assert_eq!(world.session.task_of(job), None);
    check_holds(&memory, &image);
}

#[test]
fn a_token_is_for_a_task_that_waits_for_it() {
    two_pulls(bearer(), "/token");
}

#[test]
fn a_blob_is_for_a_task_that_wants_it() {
    let layer = large(300_000).blobs().last().map(|layer| digest(layer));
    two_pulls(open(), layer.unwrap().as_str());
}

#[test]
fn a_token_that_nobody_waits_for_is_not_asked_for_again() {
    let image = large(300_000);
    let mut world = holding(bearer(), &image, "/token");
    let (store, memory) = world.store();
    let task = world.start(pull(store));
    world.run_still();
    let job = outside(&world, "/token").expect("it is held");
    world.cancel(task);
    world.run_still();
    assert_eq!(world.session.task_of(job), None);
    world.let_go();
    world.lot = Box::new(|_| Lot::Lose);
    world.run_all();
    let asked = |world: &World| world.lines_with("> GET https://reg.example/token").len();
    assert_eq!(asked(&world), 1, "{}", world.transcript());
    // Somebody who wants it later asks for it.
    world.let_go();
    let task = world.start(pull(store));
    world.run(task).unwrap();
    assert_eq!(asked(&world), 2, "{}", world.transcript());
    check_holds(&memory, &image);
}
