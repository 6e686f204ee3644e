//! Tasks: what callers ask for, each a machine of its own kind.
//!
//! Responsible for what tasks of all kinds have in common: their ids, deadlines, what they have under
//! way, and that each ends once. Must not know what a kind of task does (`resolve`, `copy`).

pub(crate) mod copy;
pub(crate) mod resolve;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use self::copy::CopyState;
use self::resolve::ResolveState;
use crate::error::Error;
use crate::ids::{ExchangeId, TaskId};
use crate::task::{Failure, TaskReport};
use crate::time::Time;

/// All tasks that are not finished.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    started: u64,
    tasks: BTreeMap<TaskId, TaskState>,
    /// The deadlines of the tasks whose end is not decided.
    deadlines: BTreeSet<(Time, TaskId)>,
    /// The tasks whose end is decided.
    ending: BTreeSet<TaskId>,
}

/// A task that is not finished.
#[derive(Debug)]
pub(crate) struct TaskState {
    pub(crate) deadline: Option<Time>,
    /// Its exchanges that are not settled.
    pub(crate) exchanges: BTreeSet<ExchangeId>,
    /// How many of its store steps are not answered.
    pub(crate) steps: usize,
    /// How it ends, once nothing of it is outside any more.
    pub(crate) ending: Option<Result<TaskReport, Failure>>,
    pub(crate) kind: Kind,
}

/// The kinds of tasks, each with its own state.
#[derive(Debug)]
pub(crate) enum Kind {
    Resolve(ResolveState),
    Copy(Box<CopyState>),
}

impl Tasks {
    /// Adds a task that has nothing under way yet.
    pub(crate) fn add(&mut self, deadline: Option<Time>, kind: Kind) -> TaskId {
        let id = TaskId(self.started);
        self.started += 1;
        let state = TaskState {
            deadline,
            exchanges: BTreeSet::new(),
            steps: 0,
            ending: None,
            kind,
        };
        self.tasks.insert(id, state);
        self.deadlines.extend(deadline.map(|at| (at, id)));
        id
    }

    /// Decides how a task ends, unless that is decided. Whether it was not. Further errors are added
    /// to the first one; that it was cancelled is none.
    pub(crate) fn end(&mut self, id: TaskId, result: Result<TaskReport, Error>) -> bool {
        let Some(state) = self.tasks.get_mut(&id) else {
            return false;
        };
        match (&mut state.ending, result) {
            (Some(Err(failure)), Err(error)) if error != Error::Cancelled => {
                let mut errors = core::mem::take(&mut failure.errors);
                errors.push(error);
                *failure = Failure::new(errors);
                false
            }
            (Some(_), _) => false,
            (ending @ None, result) => {
                *ending = Some(result.map_err(|error| Failure::new(alloc::vec![error])));
                if let Some(at) = state.deadline {
                    self.deadlines.remove(&(at, id));
                }
                self.ending.insert(id);
                true
            }
        }
    }

    /// Removes a task. How it ended, if that was decided.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Result<TaskReport, Failure>> {
        let state = self.tasks.remove(&id)?;
        self.ending.remove(&id);
        if let Some(at) = state.deadline {
            self.deadlines.remove(&(at, id));
        }
        state.ending
    }

    pub(crate) fn get(&self, id: TaskId) -> Option<&TaskState> {
        self.tasks.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut TaskState> {
        self.tasks.get_mut(&id)
    }

    pub(crate) fn copy(&self, id: TaskId) -> Option<&CopyState> {
        match &self.tasks.get(&id)?.kind {
            Kind::Copy(copy) => Some(copy),
            Kind::Resolve(_) => None,
        }
    }

    pub(crate) fn copy_mut(&mut self, id: TaskId) -> Option<&mut CopyState> {
        match &mut self.tasks.get_mut(&id)?.kind {
            Kind::Copy(copy) => Some(copy),
            Kind::Resolve(_) => None,
        }
    }

    /// The oldest task.
    pub(crate) fn first(&self) -> Option<TaskId> {
        self.tasks.first_key_value().map(|(id, _)| *id)
    }

    /// Whether a task is finished, or its end is decided.
    pub(crate) fn is_over(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_none_or(|it| it.ending.is_some())
    }

    /// The tasks whose end is not decided.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (TaskId, &TaskState)> {
        let tasks = self.tasks.iter().map(|(id, state)| (*id, state));
        tasks.filter(|(_, state)| state.ending.is_none())
    }

    /// The tasks whose end is decided and that wait for no step and no exchange.
    pub(crate) fn ending(&self) -> Vec<TaskId> {
        let is_done = |id: &&TaskId| {
            let state = self.tasks.get(*id);
            state.is_some_and(|it| it.steps == 0 && it.exchanges.is_empty())
        };
        self.ending.iter().filter(is_done).copied().collect()
    }

    /// The tasks whose deadline has come.
    pub(crate) fn late(&self, now: Time) -> Vec<TaskId> {
        let late = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        late.map(|(_, id)| *id).collect()
    }

    /// The next deadline.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Descriptor;
    use crate::digest::{Algorithm, Digest};
    use crate::op::Site;
    use crate::reference::Reference;

    fn kind() -> Kind {
        let reference: Reference = "reg.example/a:v1".parse().expect("a reference");
        let site = Site {
            registry: reference.registry().clone(),
            origin: reference.registry().origin(),
            repository: reference.repository().clone(),
        };
        Kind::Resolve(ResolveState::new(site, reference))
    }

    fn resolved() -> TaskReport {
        let digest = Digest::of(Algorithm::Sha256, b"{}");
        TaskReport::Resolved(Descriptor::new("a/b", digest, 2))
    }

    #[test]
    fn a_task_ends_once() {
        let mut tasks = Tasks::default();
        let (good, bad) = (tasks.add(None, kind()), tasks.add(None, kind()));
        assert!(tasks.end(good, Ok(resolved())));
        assert!(!tasks.end(good, Err(Error::Deadline)));
        assert!(tasks.end(bad, Err(Error::Deadline)));
        assert!(!tasks.end(bad, Ok(resolved())));
        assert_eq!(tasks.remove(good), Some(Ok(resolved())));
        assert_eq!(tasks.remove(good), None);
        assert!(!tasks.end(good, Ok(resolved())));
        let failure = tasks.remove(bad).expect("its end is decided");
        assert_eq!(failure.expect_err("it failed").errors(), [Error::Deadline]);
    }

    #[test]
    fn further_errors_are_added_but_for_cancelled() {
        let mut tasks = Tasks::default();
        let id = tasks.add(None, kind());
        for error in [Error::Cancelled, Error::Deadline, Error::Cancelled] {
            tasks.end(id, Err(error));
        }
        let failure = tasks.remove(id).expect("its end is decided");
        let failure = failure.expect_err("it failed");
        assert_eq!(failure.errors(), [Error::Deadline, Error::Cancelled]);
    }

    #[test]
    fn a_task_whose_end_is_decided_is_not_late_any_more() {
        let mut tasks = Tasks::default();
        let micros = Time::from_micros;
        let late = tasks.add(Some(micros(5)), kind());
        let later = tasks.add(Some(micros(9)), kind());
        tasks.add(None, kind());
        assert_eq!(
            (tasks.wakes_at(), tasks.late(micros(4))),
            (Some(micros(5)), Vec::new())
        );
        assert_eq!(tasks.late(micros(5)), [late]);
        tasks.end(late, Err(Error::Deadline));
        assert_eq!(tasks.wakes_at(), Some(micros(9)));
        assert_eq!(tasks.late(micros(9)), [later]);
    }

    #[test]
    fn a_task_with_a_step_outside_does_not_end() {
        let mut tasks = Tasks::default();
        let id = tasks.add(None, kind());
        tasks.get_mut(id).expect("it is there").steps = 1;
        assert!(!tasks.is_over(id));
        tasks.end(id, Err(Error::Cancelled));
        assert!(tasks.is_over(id));
        assert_eq!(tasks.ending(), []);
        tasks.get_mut(id).expect("it is there").steps = 0;
        assert_eq!(tasks.ending(), [id]);
    }
}
