//! Downloads that their callers do not read: their slots are for others (contract 4).
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::cell::RefCell;

use http::Method;
use windlass_core::call::JobId;
use windlass_core::{Config, Descriptor, Job, Task, TaskId};
use windlass_testbed::Model;
use windlass_tests::world::scenes::{
    digest, one_at_a_time, open, push, pushing, reference, small, world,
};
use windlass_tests::world::{Lot, World};

/// A world with this many blobs in which no GET ends.
fn holding(config: Config, blobs: usize) -> World {
    let mut model = Model::new(open());
    for n in 0..blobs {
        model.put_blob("a/b", format!("blob {n}"));
    }
    let mut world = world(config, model);
    world.lot = Box::new(|job| match job {
        Job::Http(call) if call.request().method() == Method::GET => Lot::Hold,
        Job::Http(_) | Job::Relay(_) | Job::Store(_) | Job::Credentials(_) => Lot::Run,
    });
    world
}

/// Starts to fetch the nth blob into a store of its own.
fn fetch(world: &mut World, n: usize) -> TaskId {
    let bytes = format!("blob {n}");
    let digest = digest(bytes.as_bytes());
    let blob = Descriptor::new("application/octet-stream", digest, bytes.len() as u64);
    let (store, _) = world.store();
    world.start(Task::fetch_blob(reference("reg.example/a/b"), blob, store))
}

/// The HTTP jobs that are outside.
fn jobs(world: &World) -> Vec<JobId> {
    let jobs = RefCell::new(Vec::new());
    world.outside(|job| {
        if matches!(job, Job::Http(_)) {
            jobs.borrow_mut().push(job.id());
        }
        true
    });
    jobs.into_inner()
}

#[test]
fn a_download_that_is_not_read_gives_its_slot_to_others() {
    let mut world = holding(one_at_a_time(), 4);
    let tasks: Vec<TaskId> = (0..4).map(|n| fetch(&mut world, n)).collect();
    world.run_still();
    let first = jobs(&world)[..].to_owned();
    assert_eq!(first.len(), 1, "the others wait for its slot");
    assert!(world.yield_slot(first[0]));
    assert!(!world.yield_slot(first[0]), "it has none any more");
    world.run_still();
    assert_eq!(jobs(&world).len(), 2);
    // The end of the first frees no other slot: the world counts them.
    world.let_go();
    for task in tasks {
        assert_eq!(world.finish(task).unwrap().fetched().unwrap().bytes, 6);
    }
    world.run_all();
    // One is a HEAD, which shows whether credentials are wanted.
    assert_eq!(world.take_log(0).len(), 5);
}

/// A retry needs a slot again, and can give it back again.
#[test]
fn a_job_that_was_not_read_and_is_lost_needs_a_slot_again() {
    let mut world = holding(one_at_a_time(), 2);
    let tasks = [fetch(&mut world, 0), fetch(&mut world, 1)];
    world.run_still();
    let first = jobs(&world)[0];
    assert!(world.yield_slot(first));
    world.run_still();
    world.let_go();
    let mut is_lost = false;
    world.lot = Box::new(move |job| {
        if job.id() == first && !core::mem::replace(&mut is_lost, true) {
            return Lot::Lose;
        }
        Lot::Run
    });
    for task in tasks {
        world.finish(task).unwrap();
    }
    world.run_all();
}

#[test]
fn a_bounded_number_of_downloads_gives_its_slots_to_others() {
    let mut world = holding(one_at_a_time(), 258);
    let tasks: Vec<TaskId> = (0..258).map(|n| fetch(&mut world, n)).collect();
    for n in 0..256 {
        world.run_still();
        let newest = jobs(&world).into_iter().max().unwrap();
        assert!(world.yield_slot(newest), "{n}");
    }
    world.run_still();
    let newest = jobs(&world).into_iter().max().unwrap();
    assert!(!world.yield_slot(newest));
    world.run_still();
    assert_eq!(jobs(&world).len(), 257, "the last one waits");
    world.let_go();
    for task in tasks {
        world.finish(task).unwrap();
    }
    world.run_all();
}

#[test]
fn what_is_no_download_keeps_its_slot() {
    let image = small();
    let (mut world, store, _) = pushing(Config::default(), open(), &image);
    let task = world.start(push(store));
    while world.step() {
        for job in jobs(&world) {
            assert!(!world.yield_slot(job), "{}", world.transcript());
        }
    }
    assert!(world.is_finished(task));
}
