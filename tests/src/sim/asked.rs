//! From a plan's tasks to those of a session.
//!
//! Responsible for names: where things are and where they go. Must not know what comes of it.

use windlass_core::{Copy, Place, Platforms, StoreId, Task, Time};

use super::plan::{Operation, Picture, Planned};
use crate::world::scenes::reference;

/// What is asked of a session for a task.
pub(crate) fn asked(at: usize, task: &Planned, ids: [StoreId; 4]) -> Task {
    let [source, target, second, spool] = ids;
    let from = format!("p{}", task.picture);
    let to = format!("t{at}");
    let registry = |registry: usize, rest: &str| {
        Place::Registry(reference(&format!("reg{registry}.example/{rest}")))
    };
    let read = registry(task.registry, &format!("src/app:{from}"));
    let written = registry(task.destination(), &format!("dst/one:{to}"));
    let named = |store, name| Place::Store {
        store,
        name: Some(name),
    };
    let (source, destination) = match task.operation {
        Operation::Resolve => {
            let name = format!("reg{}.example/src/app:{from}", task.registry);
            return by(Task::resolve(reference(&name)), task);
        }
        Operation::Pull => (read, named(target, to)),
        Operation::Push => (named(source, from), written),
        Operation::CopyWithin | Operation::CopyBetween => (read, written),
        Operation::LayoutCopy => (named(source, from), named(second, to)),
    };
    let platforms = if task.one {
        Platforms::One(Picture::platform())
    } else {
        Platforms::All
    };
    let copy = Copy {
        source,
        destination,
        platforms,
        spool: Some(spool),
        from: Vec::new(),
    };
    by(Task::copy(copy), task)
}

fn by(task: Task, planned: &Planned) -> Task {
    match planned.deadline {
        Some(deadline) => task.by(Time::ZERO + deadline),
        None => task,
    }
}
