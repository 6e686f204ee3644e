//! Tasks: what callers ask for, each a machine of its own kind.
//!
//! Responsible for what tasks of all kinds have in common: their ids, deadlines, what they have in
//! flight, and that each ends once. A task's machine is called through [`TaskMachine`] with its
//! [`TaskPorts`]; an error that it returns fails its task. Must not know what a kind of task does
//! (`resolve`, `copy`).

mod blob;
mod check;
mod copy;
mod delete;
mod fetch;
mod list;
mod lists;
mod machine;
mod manifest;
mod open;
mod pages;
mod ports;
mod put;
mod range;
mod referrers;
mod referrers_list;
mod referrers_read;
mod replacing;
mod resolve;
mod stream;
#[cfg(test)]
mod testing;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use self::blob::BlobState;
use self::check::CheckState;
use self::copy::CopyState;
use self::delete::DeleteState;
use self::fetch::FetchState;
use self::list::ListState;
use self::lists::Lists;
use self::machine::TaskMachine;
use self::manifest::ManifestState;
use self::open::OpenState;
pub(crate) use self::ports::Below;
use self::ports::TaskPorts;
use self::put::PutState;
use self::range::RangeState;
use self::referrers::ReferrersState;
use self::resolve::ResolveState;
use self::stream::StreamState;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::exchanges::{Exchanges, Settlement};
use crate::ids::{ExchangeId, NodeId, TaskId};
use crate::reference::{Reference, Tag};
use crate::store::{StoreAnswer, StoreError};
use crate::task::{Failure, Foreign, ReadAt, Task, TaskKind, TaskReport};
use crate::time::Time;
use crate::totals::{Delivery, Totals};

/// How long a task that has done its work waits for what it gives back.
const CLEANUP: Duration = Duration::from_secs(1);

/// The same for one that failed or was cancelled, from then on: a cancelled call returns within a second, and
/// its other jobs have to end, too.
const CLEANUP_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// All tasks that are not finished.
#[derive(Debug)]
pub(crate) struct Tasks {
    started: u64,
    tasks: BTreeMap<TaskId, TaskState>,
    /// The deadlines of the tasks whose end is not decided.
    deadlines: BTreeSet<(Time, TaskId)>,
    /// The tasks whose end was decided, or which have less in flight, since they were taken.
    changed: BTreeSet<TaskId>,
    /// Those that were cancelled since the last poll.
    cancelled: Vec<TaskId>,
    /// Those that have changed since they were taken.
    totals: BTreeMap<TaskId, Totals>,
    lists: Lists,
}

/// A task that is not finished.
#[derive(Debug)]
pub(crate) struct TaskState {
    pub(crate) deadline: Option<Time>,
    pub(crate) read_at: ReadAt,
    pending: Pending,
    /// When it failed. Of one that is cancelled this is known at the next poll: nothing says before what time
    /// it is.
    decided: Option<Time>,
    /// How it ends, once it has nothing in flight any more.
    ending: Option<Result<TaskReport, Failure>>,
    /// How its totals were last.
    totals: Totals,
    machine: Box<dyn TaskMachine>,
}

impl TaskState {
    /// What was requested, and the content that its source's name was found to stand for.
    pub(crate) fn requested(&self) -> (TaskKind, Foreign, Option<Descriptor>) {
        let machine = &self.machine;
        (machine.requested(), machine.foreign(), machine.pinned())
    }

    /// Where the blobs are had that the source lacks.
    pub(crate) fn missing_from(&self) -> Option<Reference> {
        self.machine.missing_from()
    }

    /// The further tags that were requested.
    pub(crate) fn more_tags(&self) -> Vec<Tag> {
        self.machine.more_tags()
    }
}

/// What a task has in flight, other than blobs.
#[derive(Debug, Default)]
struct Pending {
    exchanges: BTreeSet<ExchangeId>,
    /// How many store operations.
    steps: usize,
}

/// The machine of a task of this kind.
fn machine(
    Task {
        kind,
        foreign,
        read_at,
        missing_from,
        more_tags,
        deadline: _,
    }: Task,
    exchanges: &Exchanges,
) -> Box<dyn TaskMachine> {
    match kind {
        TaskKind::Blob(task) => Box::new(BlobState::new(task, exchanges)),
        TaskKind::Check(registry) => Box::new(CheckState::new(&registry, exchanges)),
        TaskKind::Copy(task) => Box::new(CopyState::new(
            task,
            (foreign, read_at),
            (missing_from, more_tags),
            exchanges,
        )),
        TaskKind::Delete(task) => Box::new(DeleteState::new(task, exchanges)),
        TaskKind::Fetch(task) => Box::new(FetchState::new(task, read_at, exchanges)),
        TaskKind::List(task) => Box::new(ListState::new(task, exchanges)),
        TaskKind::Manifest(task) => Box::new(ManifestState::new(task, read_at, exchanges)),
        TaskKind::Open(task) => Box::new(OpenState::new(task, read_at, exchanges)),
        TaskKind::Put(task) => Box::new(PutState::new(task, exchanges)),
        TaskKind::ReadRange(task) => Box::new(RangeState::new(task, read_at, exchanges)),
        TaskKind::Referrers(task) => Box::new(ReferrersState::new(task, exchanges)),
        TaskKind::Resolve(reference) => Box::new(ResolveState::new(reference, read_at, exchanges)),
        TaskKind::Stream(task) => Box::new(StreamState::new(task, exchanges)),
    }
}

impl Tasks {
    /// No tasks. The seed is for jitter.
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            started: 0,
            tasks: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            changed: BTreeSet::new(),
            cancelled: Vec::new(),
            totals: BTreeMap::new(),
            lists: Lists::new(seed),
        }
    }

    /// Starts a task. `known` is the content that its source's name was found to stand for earlier.
    pub(crate) fn start(
        &mut self,
        task: Task,
        known: Option<Descriptor>,
        below: &mut Below<'_>,
    ) -> TaskId {
        let (deadline, read_at) = (task.deadline, task.read_at);
        let mut machine = machine(task, below.ports.exchanges);
        if let Some(root) = known {
            machine.pin(root);
        }
        let id = self.add(deadline, read_at, machine);
        self.run(id, below, |machine, ports| machine.begin(ports));
        id
    }

    /// Takes the end of an exchange that a task began.
    pub(crate) fn exchange_ended(
        &mut self,
        (id, node): (TaskId, NodeId),
        exchange: ExchangeId,
        settlement: Settlement,
        below: &mut Below<'_>,
    ) {
        if let Some(state) = self.tasks.get_mut(&id) {
            state.pending.exchanges.remove(&exchange);
            self.changed.insert(id);
        }
        let result = match settlement {
            Settlement::Done(outcome) => Ok(outcome),
            Settlement::Failed(error) => Err(error),
            Settlement::Abandoned => return,
            Settlement::Lost => Err(Error::internal("an exchange of a manifest was lost")),
        };
        self.run(id, below, |machine, ports| {
            machine.exchange_ended(node, result, ports)
        });
    }

    /// Takes the answer to a store operation that a task requested.
    pub(crate) fn step_ended(
        &mut self,
        (id, node): (TaskId, NodeId),
        answer: Result<StoreAnswer, StoreError>,
        below: &mut Below<'_>,
    ) {
        if let Some(state) = self.tasks.get_mut(&id) {
            state.pending.steps -= 1;
            self.changed.insert(id);
        }
        self.run(id, below, |machine, ports| {
            machine.step_ended(node, answer, ports)
        });
    }

    /// Takes the end of a blob that a task requested.
    pub(crate) fn blob_settled(
        &mut self,
        id: TaskId,
        digest: &Digest,
        result: Result<Delivery, Error>,
        below: &mut Below<'_>,
    ) {
        self.run(id, below, |machine, ports| {
            machine.blob_settled(digest, result, ports)
        });
    }

    /// Fails the tasks whose deadline has come, and lets others look at their lists again.
    pub(crate) fn expire(&mut self, below: &mut Below<'_>) {
        for id in core::mem::take(&mut self.cancelled) {
            if let Some(state) = self.tasks.get_mut(&id) {
                state.decided = Some(below.ports.now);
                self.changed.insert(id);
            }
        }
        for id in self.late(below.ports.now) {
            self.fail(id, Error::Deadline, below);
        }
        self.lists.expire(below.ports.now);
        self.take_turns(below);
    }

    /// Ends a task with an error, unless its end is decided: what it has in flight is aborted.
    pub(crate) fn fail(&mut self, id: TaskId, error: Error, below: &mut Below<'_>) {
        if !self.end(id, Err(error)) {
            return;
        }
        let Some(state) = self.tasks.get_mut(&id) else {
            return;
        };
        let ports = &mut below.ports;
        state.decided = Some(ports.now);
        let pending = &mut state.pending;
        pending.exchanges.retain(|it| ports.exchanges.abandon(*it));
        ports.exchanges.abandon_errands(id);
        pending.steps -= ports.store_queue.abandon_task(id).dropped;
        below.blobs.leave(id, ports);
        if let Some((site, session)) = state.machine.take_session() {
            ports.exchanges.delete_upload(id, site, session);
        }
        for (key, node) in state.machine.lists() {
            self.lists.leave_unless_first(key, (id, node));
        }
    }

    /// Removes a task. How it ended, if that was decided.
    pub(crate) fn remove(
        &mut self,
        id: TaskId,
        below: &mut Below<'_>,
    ) -> Option<Result<TaskReport, Failure>> {
        let state = self.tasks.remove(&id)?;
        below.ports.exchanges.take_served(id);
        if let Some(at) = state.deadline {
            self.deadlines.remove(&(at, id));
        }
        for (key, node) in state.machine.lists() {
            self.lists.leave(key, (id, node));
        }
        self.take_turns(below);
        state.ending
    }

    /// Lets a task act, unless its end is decided. An error fails it.
    fn run(
        &mut self,
        id: TaskId,
        below: &mut Below<'_>,
        act: impl FnOnce(&mut dyn TaskMachine, &mut TaskPorts<'_>) -> Result<(), Error>,
    ) {
        self.act(id, below, act);
        self.take_turns(below);
    }

    fn take_turns(&mut self, below: &mut Below<'_>) {
        while let Some((id, node)) = self.lists.take_turn() {
            self.act(id, below, |machine, ports| machine.read_list(node, ports));
        }
    }

    fn act(
        &mut self,
        id: TaskId,
        below: &mut Below<'_>,
        act: impl FnOnce(&mut dyn TaskMachine, &mut TaskPorts<'_>) -> Result<(), Error>,
    ) {
        let Some(state) = self.tasks.get_mut(&id) else {
            return;
        };
        if state.ending.is_some() {
            return;
        }
        let mut ports = TaskPorts {
            task: id,
            read_at: state.read_at,
            pending: &mut state.pending,
            lists: &mut self.lists,
            below: below.lend(),
            report: None,
        };
        let result = act(&mut *state.machine, &mut ports);
        let report = ports.report;
        let totals = state.machine.totals();
        if core::mem::replace(&mut state.totals, totals) != totals {
            self.totals.insert(id, totals);
        }
        match (result, report) {
            (Err(error), _) => self.fail(id, error, below),
            (Ok(()), Some(report)) => {
                self.end(id, Ok(report));
                // Blobs of a manifest that was taken along, and failed without failing the task.
                below.blobs.leave(id, &mut below.ports);
            }
            (Ok(()), None) => {}
        }
    }

    /// Adds a task that has nothing in flight yet.
    fn add(
        &mut self,
        deadline: Option<Time>,
        read_at: ReadAt,
        machine: Box<dyn TaskMachine>,
    ) -> TaskId {
        let id = TaskId(self.started);
        self.started += 1;
        let state = TaskState {
            deadline,
            read_at,
            pending: Pending::default(),
            decided: None,
            ending: None,
            totals: Totals::default(),
            machine,
        };
        self.tasks.insert(id, state);
        self.deadlines.extend(deadline.map(|at| (at, id)));
        id
    }

    /// Decides how a task ends, unless that is decided. Whether it was not. Further errors are added
    /// to the first one; that it was cancelled is none.
    fn end(&mut self, id: TaskId, result: Result<TaskReport, Error>) -> bool {
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
                self.changed.insert(id);
                true
            }
        }
    }

    /// The next task whose totals have changed.
    pub(crate) fn take_totals(&mut self) -> Option<(TaskId, Totals)> {
        self.totals.pop_first()
    }

    /// The totals of a task are not wanted any more.
    pub(crate) fn forget_totals(&mut self, id: TaskId) {
        self.totals.remove(&id);
    }

    pub(crate) fn contains(&self, id: TaskId) -> bool {
        self.tasks.contains_key(&id)
    }

    /// The oldest task.
    pub(crate) fn first(&self) -> Option<TaskId> {
        self.tasks.first_key_value().map(|(id, _)| *id)
    }

    /// The tasks whose end is not decided.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (TaskId, &TaskState)> {
        let tasks = self.tasks.iter().map(|(id, state)| (*id, state));
        tasks.filter(|(_, state)| state.ending.is_none())
    }

    /// Those whose end is decided and that wait for no exchange, of the tasks that have changed since they were
    /// taken, and of `freed`.
    pub(crate) fn take_changed(&mut self, freed: impl Iterator<Item = TaskId>) -> Vec<TaskId> {
        let mut changed = core::mem::take(&mut self.changed);
        changed.extend(freed);
        changed.retain(|id| {
            let state = self.tasks.get(id);
            state.is_some_and(|it| it.ending.is_some() && it.pending.exchanges.is_empty())
        });
        changed.into_iter().collect()
    }

    /// Whether a task waits for a store operation.
    pub(crate) fn waits_for_store(&self, id: TaskId) -> bool {
        let state = self.tasks.get(&id);
        state.is_some_and(|it| it.pending.steps > 0)
    }

    /// Whether the end of a task is decided.
    pub(crate) fn is_ending(&self, id: TaskId) -> bool {
        let state = self.tasks.get(&id);
        state.is_some_and(|it| it.ending.is_some())
    }

    /// A task was cancelled, at the time that the next poll will tell.
    pub(crate) fn cancelled(&mut self, id: TaskId) {
        if let Some(state) = self.tasks.get_mut(&id) {
            state.decided = None;
            self.cancelled.push(id);
        }
    }

    /// Until when a task waits at its end for what it gives back, once that is known.
    pub(crate) fn cleans_up_until(&self, id: TaskId, now: Time) -> Option<Time> {
        let state = self.tasks.get(&id)?;
        match state.ending {
            Some(Err(_)) => Some(state.decided? + CLEANUP_AFTER_FAILURE),
            Some(Ok(_)) | None => Some(now + CLEANUP),
        }
    }

    /// The tasks whose deadline has come.
    fn late(&self, now: Time) -> Vec<TaskId> {
        let late = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        late.map(|(_, id)| *id).collect()
    }

    /// The next deadline, or when a list is looked at again.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        deadline.into_iter().chain(self.lists.wakes_at()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Machines, Scenario, layer, reference, tags};
    use super::*;
    use crate::config::{Config, Route, RouteScope};
    use crate::digest::Algorithm;
    use crate::error::ErrorKind;
    use crate::op::OpOutcome;
    use crate::reference::Target;
    use crate::store::StoreId;
    use crate::task::{Paging, Platforms};

    fn task() -> Task {
        Task::resolve("reg.example/a:v1".parse().expect("a reference"))
    }

    fn resolving() -> Box<dyn TaskMachine> {
        let exchanges = Exchanges::new(Config::default());
        machine(task(), &exchanges)
    }

    fn resolved() -> TaskReport {
        let digest = Digest::of(Algorithm::Sha256, b"{}");
        TaskReport::Resolved(Descriptor::new("a/b", digest, 2))
    }

    #[test]
    fn a_task_ends_once() {
        let mut tasks = Tasks::new(0);
        let (good, bad) = (
            tasks.add(None, ReadAt::Mirrors, resolving()),
            tasks.add(None, ReadAt::Mirrors, resolving()),
        );
        assert!(tasks.end(good, Ok(resolved())));
        assert!(!tasks.end(good, Err(Error::Deadline)));
        assert!(tasks.end(bad, Err(Error::Deadline)));
        assert!(!tasks.end(bad, Ok(resolved())));
        let mut machines = Machines::default();
        let mut below = machines.below();
        assert_eq!(tasks.remove(good, &mut below), Some(Ok(resolved())));
        assert_eq!(tasks.remove(good, &mut below), None);
        assert!(!tasks.end(good, Ok(resolved())));
        let failure = tasks.remove(bad, &mut below).expect("its end is decided");
        assert_eq!(failure.expect_err("it failed").errors(), [Error::Deadline]);
    }

    #[test]
    fn further_errors_are_added_but_for_cancelled() {
        let mut tasks = Tasks::new(0);
        let id = tasks.add(None, ReadAt::Mirrors, resolving());
        for error in [Error::Cancelled, Error::Deadline, Error::Cancelled] {
            tasks.end(id, Err(error));
        }
        let failure = tasks.remove(id, &mut Machines::default().below());
        let failure = failure.expect("its end is decided");
        let failure = failure.expect_err("it failed");
        assert_eq!(failure.errors(), [Error::Deadline, Error::Cancelled]);
    }

    #[test]
    fn a_task_whose_end_is_decided_is_not_late_any_more() {
        let mut tasks = Tasks::new(0);
        let micros = Time::from_micros;
        let late = tasks.add(Some(micros(5)), ReadAt::Mirrors, resolving());
        let later = tasks.add(Some(micros(9)), ReadAt::Mirrors, resolving());
        tasks.add(None, ReadAt::Mirrors, resolving());
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
        let mut tasks = Tasks::new(0);
        let id = tasks.add(None, ReadAt::Mirrors, resolving());
        let set_steps = |tasks: &mut Tasks, steps| {
            tasks.tasks.get_mut(&id).expect("it is there").pending.steps = steps;
        };
        set_steps(&mut tasks, 1);
        tasks.end(id, Err(Error::Cancelled));
        assert!(tasks.waits_for_store(id));
        set_steps(&mut tasks, 0);
        assert!(!tasks.waits_for_store(id));
        assert_eq!(tasks.take_changed([].into_iter()), [id]);
        assert_eq!(tasks.take_changed([].into_iter()), []);
        assert_eq!(tasks.take_changed([id].into_iter()), [id]);
    }
    #[test]
    fn a_defect_fails_the_task_and_aborts_what_it_has_in_flight() {
        let (mut tasks, mut machines) = (Tasks::new(0), Machines::default());
        let mut below = machines.below();
        let id = tasks.start(task(), None, &mut below);
        let head = |tasks: &Tasks| tasks.tasks[&id].pending.exchanges.first().copied();
        let exchange = head(&tasks).expect("a HEAD");
        // It is over, as one that settles is.
        assert!(!below.ports.exchanges.abandon(exchange));
        let wrong = Settlement::Done(OpOutcome::Sent { bytes: 0 });
        tasks.exchange_ended((id, NodeId(0)), exchange, wrong, &mut below);
        assert_eq!(head(&tasks), None);
        assert_eq!(tasks.take_changed([].into_iter()), [id]);
        let failure = tasks.remove(id, &mut below).expect("it is over");
        let failure = failure.expect_err("it failed");
        assert_eq!(failure.first().kind(), ErrorKind::Internal);

        // So does an answer of a store that it did not ask.
        let id = tasks.start(task(), None, &mut below);
        tasks.tasks.get_mut(&id).expect("it is there").pending.steps = 1;
        tasks.step_ended((id, NodeId(0)), Ok(StoreAnswer::Absent), &mut below);
        let failure = tasks.remove(id, &mut below).expect("it is over");
        assert_eq!(
            failure.expect_err("it failed").first().kind(),
            ErrorKind::Internal
        );
    }

    /// A task of each kind, about one registry.
    fn of_each_kind() -> Vec<Task> {
        let (tagged, store) = (reference("reg.example/a:v1"), StoreId(1));
        let blob = layer("layer");
        let named = tagged.with_target(Target::Digest(blob.digest.clone()));
        let content = (store, blob.digest.clone());
        let registry = tagged.registry().clone();
        alloc::vec![
            Task::resolve(tagged.clone()),
            Task::manifest(tagged.clone(), None),
            Task::open(tagged.clone(), "linux/amd64".parse().expect("a platform")),
            Task::put_manifest(content, "a/b".into(), tagged.clone(), Vec::new()),
            Task::tag(tagged.clone(), tags(&["v2"])),
            Task::delete(tagged.clone()),
            Task::delete_manifest(tagged.clone()),
            Task::referrers(tagged.clone(), None),
            Task::tags(tagged.clone(), Paging::default()),
            Task::catalog(registry.clone(), Paging::default()),
            Task::check(registry),
            Task::find_blob(named.clone()),
            Task::delete_blob(named.clone()),
            Task::put_blob(store, 5, named.clone(), Vec::new()),
            Task::mount_blob("b/c".parse().expect("a repository"), named, store),
            Task::put_stream(store, tagged.clone()),
            Task::read_range(tagged.clone(), blob.digest.clone(), 1..2),
            Task::fetch_blob(tagged.clone(), blob, store),
            Task::pull(tagged.clone(), store, None, Platforms::All),
            Task::push(store, None, tagged, Platforms::All),
        ]
    }

    /// Whatever a task is about, a blocked registry is not asked, nor is a store for what would be put there.
    #[test]
    fn nothing_is_asked_of_a_blocked_registry() {
        for task in of_each_kind() {
            let config = Config {
                routes: alloc::vec![Route::blocked(RouteScope::EVERY, "blocked")],
                ..Config::default()
            };
            let mut scenario = Scenario::configured(&[], config);
            let id = scenario.start(task.clone());
            assert_eq!(scenario.asked(), [""; 0], "{task:?}");
            assert_eq!(scenario.wanted(), [""; 0], "{task:?}");
            let error = scenario.error(id);
            assert!(matches!(error, Error::Route(_)), "{task:?}: {error:?}");
        }
    }

    /// An outcome or an answer of what was not asked for is a defect, or one of a driver: the task fails, and does not
    /// wait for ever.
    #[test]
    fn what_was_not_asked_for_fails_a_task_of_any_kind() {
        for task in of_each_kind() {
            let mut scenario = Scenario::new(&[]);
            let id = scenario.start(task.clone());
            let Some(asked) = scenario.asked().pop() else {
                // It wants a blob.
                assert_eq!(scenario.wanted().len(), 1, "{task:?}");
                continue;
            };
            if asked.starts_with("s1") {
                scenario.stored(&asked, StoreAnswer::Complete);
            } else {
                scenario.done(&asked, OpOutcome::TakesNoParts { unused: None });
            }
            assert!(scenario.is_over(id), "{task:?}");
            scenario.error(id);
        }
    }
}
