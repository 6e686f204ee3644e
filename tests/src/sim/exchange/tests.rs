//! Each fault of the network makes a difference: one that does nothing would count all the same, and
//! what it is said to explain would go unnoticed.

use std::collections::BTreeSet;

use windlass_core::{Job, Time};
use windlass_testbed::Storage;

use super::*;
use crate::sim::plan::{Operation, Plan};
use crate::sim::world::JobState;
use crate::world::scenes::digest;

/// What happens to stores, processes and clocks, and not in an exchange.
const ELSEWHERE: [Fault; 15] = [
    Fault::NoCredentials,
    Fault::StepFails,
    Fault::LostStep,
    Fault::StoreLies,
    Fault::SyncFails,
    Fault::ReadFlips,
    Fault::PartialDamaged,
    Fault::PartialShorter,
    Fault::Crash,
    Fault::TagMoves,
    Fault::Cancelled,
    Fault::Duplicate,
    Fault::EndsAnyway,
    Fault::TimeLeaps,
    Fault::TimeSlips,
];

#[test]
fn each_fault_makes_a_difference() {
    let operations = [Operation::Pull, Operation::Push, Operation::CopyWithin];
    let plans = operations.into_iter().flat_map(|operation| {
        [false, true].map(|stored| {
            let mut plan = Plan::tiny(operation, Access::Bearer);
            let storage = Storage::new("https://cdn0.example");
            plan.settings[0].options.storage = stored.then_some(storage);
            plan
        })
    });
    let mut idle = BTreeSet::from(Fault::ALL);
    for plan in plans {
        for number in 0.. {
            let Some(without) = served(&plan, number, None) else {
                break;
            };
            idle.retain(|fault| served(&plan, number, Some(*fault)).as_ref() == Some(&without));
        }
    }
    assert_eq!(idle, BTreeSet::from(ELSEWHERE));
}

/// What becomes of the request of this number, in a world in which an earlier run has left a part of
/// each blob; `None` if there are not so many.
fn served(plan: &Plan, number: usize, fault: Option<Fault>) -> Option<String> {
    let mut choose = List::new(&[]);
    let mut world = World::new(plan.clone(), &mut choose);
    for blob in plan.pictures[0].images[0].blobs() {
        let memory = &world.disks[1].memory;
        memory.partial(&digest(blob), &blob[..blob.len() / 2]);
    }
    for _ in 0..number {
        let call = next_request(&mut world)?;
        if let Ran::Done(done) = world.http(0, call, false) {
            world.call(0, |session| session.handle(done, Time::ZERO));
        }
    }
    let mut call = next_request(&mut world)?;
    let request = world.request(0, &mut call).ok()?;
    let sort = RequestKind::of(&request);
    let owner = owner_of(&request.host)?;
    let delivery = match world.serve(&request, sort, owner, fault) {
        Ok(it) => format!(
            "{:?} {} {:?} {} {}",
            it.answer, it.kept, it.end, it.lost, it.crash
        ),
        Err(reason) => format!("{reason:?}"),
    };
    let room = world.disks[1].notes().room;
    Some(format!("{delivery} {room:?} {:?}", world.models[owner]))
}

/// Goes on until a request is about to leave; that one, if there is another.
pub(crate) fn next_request(world: &mut World<'_>) -> Option<Box<Call>> {
    while world.step() {
        let running = &mut world.processes[0].running;
        let is_http =
            |work: &JobState| matches!(work, JobState::ToDo(job) if matches!(**job, Job::Http(_)));
        let at = running.iter().position(|it| is_http(&it.work));
        let work = at.map(|at| running.remove(at).work);
        if let Some(JobState::ToDo(job)) = work
            && let Job::Http(call) = *job
        {
            return Some(call);
        }
    }
    None
}
