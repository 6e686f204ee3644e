//! From a plan's tasks to those of a session.
//!
//! Responsible for names: where things are and where they go. Must not know what comes of it.

use windlass_core::{
    CopyTask, Digest, MountFrom, Paging, Platforms, StoreId, Task, TaskLocation, Time,
};

use super::companions;
use super::optional::{self, OnePage};
use super::plan::{OLD, Operation, Picture, Planned, SUBJECT};
use crate::world::scenes::{digest, reference};

/// What is asked of a session for a task.
pub(crate) fn asked(at: usize, task: &Planned, picture: &Picture, ids: [StoreId; 4]) -> Task {
    let [source, target, second, spool] = ids;
    let from = format!("p{}", task.picture);
    let to = format!("t{at}");
    let registry = |registry: usize, rest: &str| {
        TaskLocation::Registry(reference(&format!("reg{registry}.example/{rest}")))
    };
    let read = registry(task.registry, &format!("{}:{from}", task.read()));
    let written = registry(task.destination(), &format!("{}:{to}", task.written()));
    let named = |store, name| TaskLocation::Store {
        store,
        name: Some(name),
    };
    let (source, destination) = match task.operation {
        Operation::Resolve => {
            let name = format!("reg{}.example/{}:{from}", task.registry, task.read());
            return by(Task::resolve(reference(&name)), task);
        }
        Operation::Tags => {
            let name = format!("reg{}.example/{}", task.registry, task.read());
            let paging = task
                .extra
                .page
                .map_or_else(Paging::default, OnePage::paging);
            return by(Task::tags(reference(&name), paging), task);
        }
        Operation::Referrers => {
            let (registry, subject) = (task.registry, listed(task, picture));
            let name = format!("reg{registry}.example/{}@{subject}", task.read());
            let artifact_type = task.extra.artifact_type();
            return by(Task::referrers(reference(&name), artifact_type), task);
        }
        Operation::Delete => {
            let name = format!("reg{}.example/{}{}", task.registry, OLD.0, old(at, task));
            return by(Task::delete(reference(&name)), task);
        }
        Operation::Open => {
            let name = format!("reg{}.example/{}:{from}", task.registry, task.read());
            return by(Task::open(reference(&name), Picture::platform()), task);
        }
        Operation::Stream | Operation::Read => {
            unreachable!("its store is made when it starts")
        }
        Operation::Pull => (read, named(target, to)),
        Operation::Push => (named(source, from), written),
        Operation::CopyWithin | Operation::CopyBetween => (read, written),
        Operation::LayoutCopy => {
            let into = if task.beside { target } else { second };
            (named(source, from), named(into, to))
        }
    };
    let platforms = if task.one {
        Platforms::One(Picture::platform())
    } else {
        Platforms::All
    };
    let copy = CopyTask::new(source, destination)
        .platforms(platforms)
        .spool(spool)
        .mount_from(candidates(task))
        .carry(task.extra.taken.carry());
    let copy = optional::with(Task::copy(copy), at, task);
    if task.included {
        return by(copy.including_nondistributable(), task);
    }
    by(copy, task)
}

/// What a list of referrers is asked for.
pub(crate) fn listed(task: &Planned, picture: &Picture) -> Digest {
    let of = task.extra.of;
    of.map_or_else(|| digest(SUBJECT), |at| companions::subject(picture, at))
}

/// The end of the name of what is deleted.
pub(crate) fn old(at: usize, task: &Planned) -> String {
    match task.extra.of {
        Some(_) => format!("@{}", companions::deleted(at)),
        None => format!(":t{at}"),
    }
}

/// Where the blobs of a push are at its registry, too.
fn candidates(task: &Planned) -> Vec<MountFrom> {
    let knows = task.mounts && task.operation == Operation::Push;
    let repository = || task.read().parse().expect("a repository");
    knows.then(repository).into_iter().collect()
}

/// The same with its deadline.
pub(crate) fn by(task: Task, planned: &Planned) -> Task {
    match planned.deadline {
        Some(deadline) => task.by(Time::ZERO + deadline),
        None => task,
    }
}
