//! From a plan's tasks to those of a session.
//!
//! Responsible for names: where things are and where they go. Must not know what comes of it.

use windlass_core::reference::Repository;
use windlass_core::{CopyTask, Paging, Place, Platforms, StoreId, Task, Time};

use super::plan::{OLD, Operation, Picture, Planned, SUBJECT};
use crate::world::scenes::{digest, reference};

/// What is asked of a session for a task.
pub(crate) fn asked(at: usize, task: &Planned, ids: [StoreId; 4]) -> Task {
    let [source, target, second, spool] = ids;
    let from = format!("p{}", task.picture);
    let to = format!("t{at}");
    let registry = |registry: usize, rest: &str| {
        Place::Registry(reference(&format!("reg{registry}.example/{rest}")))
    };
    let read = registry(task.registry, &format!("{}:{from}", task.read()));
    let written = registry(task.destination(), &format!("{}:{to}", task.written()));
    let named = |store, name| Place::Store {
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
            return by(Task::tags(reference(&name), Paging::default()), task);
        }
        Operation::Referrers => {
            let (registry, subject) = (task.registry, digest(SUBJECT));
            let name = format!("reg{registry}.example/{}@{subject}", task.read());
            return by(Task::referrers(reference(&name), None), task);
        }
        Operation::Delete => {
            let name = format!("reg{}.example/{}:{to}", task.registry, OLD.0);
            return by(Task::delete(reference(&name)), task);
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
    let copy = CopyTask {
        source,
        destination,
        platforms,
        spool: Some(spool),
        from: candidate(task),
    };
    let copy = Task::copy(copy);
    if task.included {
        return by(copy.including_nondistributable(), task);
    }
    by(copy, task)
}

/// Where the blobs of a push are at its registry, too.
fn candidate(task: &Planned) -> Option<Repository> {
    let knows = task.mounts && task.operation == Operation::Push;
    let repository = || task.read().parse().expect("a repository");
    knows.then(repository)
}

fn by(task: Task, planned: &Planned) -> Task {
    match planned.deadline {
        Some(deadline) => task.by(Time::ZERO + deadline),
        None => task,
    }
}
