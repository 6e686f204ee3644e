//! The machine in given states, without a session around it.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;
use crate::config::Config;
use crate::digest::Algorithm;
use crate::error::{ErrorKind, Measure};
use crate::event::{Event, SkipReason};
use crate::exchanges::Exchanges;
use crate::hashing::Hashing;
use crate::ids::JobId;
use crate::op::testing::site_of;
use crate::store_queue::StoreQueue;

/// Transfers under way at once.
const OPEN: usize = 64;
const STORE: StoreId = StoreId(1);
const SPOOL: StoreId = StoreId(2);
const A: TaskId = TaskId(0);
const B: TaskId = TaskId(1);
const C: TaskId = TaskId(2);

/// The machine, and what is around it.
struct Scenario {
    blobs: Blobs,
    exchanges: Exchanges,
    store_queue: StoreQueue,
    events: VecDeque<(TaskId, Event)>,
    config: Config,
    now: Time,
    jobs: u64,
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"blob")
}

fn fetched() -> Settlement {
    let mut hashing = Hashing::new(Algorithm::Sha256);
    hashing.update(b"blob");
    Settlement::Done(OpOutcome::Fetched {
        bytes: 4,
        range: 0..4,
        hashing,
        missed: None,
    })
}

fn mounted() -> OpOutcome {
    let from = MountFrom::Anywhere;
    OpOutcome::Mounted { from }
}

fn waiter(task: TaskId, source: &str) -> Waiter {
    Waiter {
        task,
        size: 4,
        wants: Wants::Task,
        source: BlobSource::Site(site_of(source)),
        scopes: Scopes::default(),
        spool: Some(SPOOL),
        mount_from: [].into(),
        urls: Vec::new(),
        is_named: true,
        recheck: Recheck::None,
    }
}

impl Scenario {
    fn new() -> Self {
        let config = Config::default();
        Self {
            blobs: Blobs::new(&Config::default()),
            exchanges: Exchanges::new(config.clone()),
            store_queue: StoreQueue::default(),
            events: VecDeque::new(),
            config,
            now: Time::from_micros(1_000_000),
            jobs: 0,
        }
    }

    /// A download into a store for these tasks, from a registry each, whose partial is about to be opened.
    fn beginning(tasks: &[(TaskId, &str)]) -> (Self, TransferId) {
        let mut scenario = Self::new();
        let key = BlobKey::Store(STORE, digest());
        for (task, source) in tasks {
            let (blobs, mut ports) = scenario.parts();
            blobs.want(key.clone(), waiter(*task, source), &mut ports);
        }
        let id = scenario.blobs.by_key[&key];
        assert_eq!(scenario.step(), "begin");
        (scenario, id)
    }

    /// The same with the partial open and empty.
    fn moving(tasks: &[(TaskId, &str)]) -> (Self, TransferId) {
        let (mut scenario, id) = Self::beginning(tasks);
        scenario.answer(id, StoreAnswer::Partial { len: 0 });
        (scenario, id)
    }

    /// An upload from one registry to another that waits until the blob is in the spool, and the download
    /// into the spool, which is being committed.
    fn spooling() -> (Self, TransferId, TransferId) {
        let mut scenario = Self::new();
        scenario.config.relays = false;
        let key = BlobKey::Repository(site_of("to.example/b"), digest());
        let (blobs, mut ports) = scenario.parts();
        blobs.want(key.clone(), waiter(A, "from.example/a"), &mut ports);
        let upload = scenario.blobs.by_key[&key];
        let download = scenario.blobs.by_key[&BlobKey::Store(SPOOL, digest())];
        assert_eq!(scenario.step(), "begin");
        scenario.answer(download, StoreAnswer::Partial { len: 0 });
        scenario.end(download, fetched());
        assert_eq!(scenario.step(), "commit");
        (scenario, upload, download)
    }

    fn parts(&mut self) -> (&mut Blobs, Ports<'_>) {
        let ports = Ports {
            exchanges: &mut self.exchanges,
            store_queue: &mut self.store_queue,
            events: &mut self.events,
            config: &self.config,
            now: self.now,
        };
        (&mut self.blobs, ports)
    }

    /// The next step of a store, which goes out and comes back at once.
    fn step(&mut self) -> &'static str {
        let job = JobId(self.jobs);
        self.jobs += 1;
        let Some(call) = self.store_queue.next(job, self.now) else {
            return "nothing";
        };
        self.store_queue.take(job).expect("it went out");
        match call.op() {
            StoreOp::Begin { private: false, .. } => "begin",
            StoreOp::Begin { private: true, .. } => "begin apart",
            StoreOp::Hash { .. } => "hash",
            StoreOp::Commit { .. } => "commit",
            StoreOp::Discard { .. } => "discard",
            StoreOp::Release { .. } => "release",
            StoreOp::Remove { .. } => "remove",
            StoreOp::Import { .. } => "import",
            StoreOp::Load { .. }
            | StoreOp::Put { .. }
            | StoreOp::Find { .. }
            | StoreOp::Gather { .. }
            | StoreOp::Referrers { .. }
            | StoreOp::AddReferrers { .. }
            | StoreOp::Tag { .. } => "another",
        }
    }

    fn answer(&mut self, id: TransferId, answer: StoreAnswer) {
        let (blobs, mut ports) = self.parts();
        blobs.step_ended(id, Ok(answer), &mut ports);
    }

    /// Ends the exchange of a transfer.
    fn end(&mut self, id: TransferId, result: Settlement) {
        let exchange = self.blobs.transfers[&id].exchange.expect("an exchange");
        self.exchanges.abandon(exchange);
        let (blobs, mut ports) = self.parts();
        blobs.exchange_ended(id, exchange, result, &mut ports);
    }

    fn leave(&mut self, task: TaskId) {
        let (blobs, mut ports) = self.parts();
        blobs.leave(task, &mut ports);
    }

    /// The results so far: the task, and how or why not.
    fn settled(&mut self) -> Vec<(TaskId, Result<Delivery, ErrorKind>)> {
        let mut all = Vec::new();
        while let Some(settled) = self.blobs.take_settled() {
            let result = settled.result.map_err(|error| error.kind());
            all.push((settled.task, result));
        }
        all
    }
}

/// PUSHB-24.
#[test]
fn a_blob_moves_once_for_two_tasks() {
    let (mut scenario, id) = Scenario::moving(&[(A, "reg.example/a"), (B, "reg.example/a")]);
    assert_eq!(scenario.blobs.task_of(id), Some(A));
    scenario.end(id, fetched());
    assert_eq!(scenario.step(), "commit");
    assert_eq!(scenario.settled(), []);
    scenario.answer(id, StoreAnswer::Written);
    let expected = [(A, Ok(Delivery::Moved(4))), (B, Ok(Delivery::Present))];
    assert_eq!(scenario.settled(), expected);
    let (digest, size) = (digest(), 4);
    let stored = Event::Stored {
        digest: digest.clone(),
        size,
    };
    let why = SkipReason::Elsewhere;
    let skipped = Event::Skipped { digest, size, why };
    assert_eq!(scenario.events, [(A, stored), (B, skipped)]);
    assert!(!scenario.blobs.is_working_for(A) && !scenario.blobs.is_working_for(B));
    assert!(scenario.blobs.transfers.is_empty() && scenario.blobs.by_key.is_empty());
    assert!(scenario.blobs.openings.is_empty() && scenario.blobs.by_task.is_empty());
}

#[test]
fn another_source_takes_over_after_the_partial_is_back() {
    let (mut scenario, id) = Scenario::moving(&[(A, "one.example/a"), (B, "two.example/a")]);
    let what = "no".to_string();
    scenario.end(id, Settlement::Failed(Error::Policy { what }));
    assert_eq!(scenario.settled(), []);
    assert_eq!(scenario.step(), "release");
    scenario.answer(id, StoreAnswer::Written);
    assert_eq!(scenario.settled(), [(A, Err(ErrorKind::Refused))]);
    assert_eq!(scenario.blobs.task_of(id), Some(B));
    assert_eq!(scenario.step(), "begin");
}

#[test]
fn bytes_that_are_not_the_blobs_are_discarded() {
    let (mut scenario, id) = Scenario::moving(&[(A, "reg.example/a")]);
    let error = Error::mismatch("blob", Measure::of_size(4), Measure::of_size(5));
    scenario.end(id, Settlement::Failed(error));
    for step in ["discard", "release"] {
        assert_eq!(scenario.step(), step);
        assert_eq!(scenario.settled(), []);
        scenario.answer(id, StoreAnswer::Written);
    }
    assert_eq!(scenario.settled(), [(A, Err(ErrorKind::Mismatch))]);
}

#[test]
fn a_prefix_of_an_earlier_run_is_hashed_first() {
    let (mut scenario, id) = Scenario::beginning(&[(A, "reg.example/a")]);
    scenario.answer(id, StoreAnswer::Partial { len: 4 });
    assert_eq!(scenario.step(), "hash");
    let mut hashing = Hashing::new(Algorithm::Sha256);
    hashing.update(b"blob");
    scenario.answer(id, StoreAnswer::Hashed(hashing));
    assert_eq!(scenario.step(), "commit");
    scenario.answer(id, StoreAnswer::Written);
    assert_eq!(scenario.settled(), [(A, Ok(Delivery::Moved(0)))]);
}

/// All bytes came, but the hash is over the first two only.
#[test]
fn bytes_that_are_not_hashed_yet_are_hashed_before_they_are_named() {
    for (stored, step) in [(b"blob", "commit"), (b"blub", "discard")] {
        let (mut scenario, id) = Scenario::moving(&[(A, "reg.example/a")]);
        let mut hashing = Hashing::new(Algorithm::Sha256);
        hashing.update(&stored[..2]);
        let behind = hashing.clone();
        let bytes = 4;
        let hashing = behind.clone();
        let all = OpOutcome::Fetched {
            bytes,
            range: 0..4,
            hashing,
            missed: None,
        };
        scenario.end(id, Settlement::Done(all));
        assert_eq!(scenario.step(), "hash");
        let mut hashing = behind;
        hashing.update(&stored[2..]);
        scenario.answer(id, StoreAnswer::Hashed(hashing));
        assert_eq!(scenario.step(), step);
        scenario.answer(id, StoreAnswer::Written);
        if step == "discard" {
            // It is fetched from its first byte.
            assert!(matches!(scenario.blobs.transfers[&id].phase, Phase::Moving));
            scenario.end(id, fetched());
            assert_eq!(scenario.step(), "commit");
            scenario.answer(id, StoreAnswer::Written);
        }
        assert_eq!(scenario.settled(), [(A, Ok(Delivery::Moved(4)))]);
    }
}

#[test]
fn a_task_leaves_when_its_partial_is_back() {
    let (mut scenario, id) = Scenario::moving(&[(A, "reg.example/a")]);
    scenario.leave(A);
    assert!(scenario.blobs.is_working_for(A));
    assert_eq!(scenario.step(), "release");
    scenario.answer(id, StoreAnswer::Written);
    assert!(!scenario.blobs.is_working_for(A));
    assert_eq!(scenario.settled(), []);
}

#[test]
fn a_task_leaves_when_its_exchange_is_back() {
    let mut scenario = Scenario::new();
    let key = BlobKey::Repository(site_of("reg.example/a"), digest());
    let waiter = Waiter {
        source: BlobSource::Store(STORE),
        ..waiter(A, "reg.example/a")
    };
    let (blobs, mut ports) = scenario.parts();
    blobs.want(key.clone(), waiter, &mut ports);
    let id = scenario.blobs.by_key[&key];
    let call = scenario.exchanges.next_job(JobId(9), scenario.now);
    let (exchange, _) = call.expect("a POST");
    assert_eq!(scenario.blobs.transfers[&id].exchange, Some(exchange));
    scenario.leave(A);
    assert!(scenario.blobs.is_working_for(A));
    let (blobs, mut ports) = scenario.parts();
    blobs.exchange_ended(id, exchange, Settlement::Abandoned, &mut ports);
    assert!(!scenario.blobs.is_working_for(A));
    assert_eq!(
        (scenario.step(), scenario.settled()),
        ("nothing", Vec::new())
    );
}

#[test]
fn a_result_that_comes_after_another_exchange_began_is_ignored() {
    let (mut scenario, id) = Scenario::moving(&[(A, "reg.example/a")]);
    let stale = ExchangeId(1000);
    let (blobs, mut ports) = scenario.parts();
    blobs.exchange_ended(id, stale, Settlement::Lost, &mut ports);
    assert!(matches!(scenario.blobs.transfers[&id].phase, Phase::Moving));
    assert_eq!(
        (scenario.step(), scenario.settled()),
        ("nothing", Vec::new())
    );
}

#[test]
fn a_defect_fails_those_that_want_the_blob() {
    let (mut scenario, id) = Scenario::moving(&[(A, "reg.example/a"), (B, "reg.example/a")]);
    scenario.end(id, Settlement::Done(mounted()));
    let internal = Err(ErrorKind::Internal);
    assert_eq!(scenario.settled(), [(A, internal), (B, internal)]);
    assert_eq!(scenario.step(), "release");
    assert!(!scenario.blobs.is_working_for(A) && !scenario.blobs.is_working_for(B));
    assert!(scenario.blobs.openings.is_empty());
}

#[test]
fn a_busy_partial_is_asked_about_and_then_left_alone() {
    let (mut scenario, id) = Scenario::beginning(&[(A, "reg.example/a")]);
    scenario.answer(id, StoreAnswer::Busy { len: 2 });
    assert_eq!(scenario.blobs.wakes_at(), Some(scenario.now + BUSY_AGAIN));
    for (wait, expected) in [
        (BUSY_AGAIN / 2, "nothing"),
        (BUSY_AGAIN / 2, "begin"),
        (BUSY_IDLE, "begin apart"),
    ] {
        scenario.now = scenario.now + wait;
        let (blobs, mut ports) = scenario.parts();
        blobs.wake(&mut ports);
        assert_eq!(scenario.step(), expected);
        if expected == "begin" {
            assert_eq!(scenario.blobs.wakes_at(), None);
            scenario.answer(id, StoreAnswer::Busy { len: 2 });
        }
    }
    scenario.answer(id, StoreAnswer::Busy { len: 2 });
    scenario.leave(A);
    assert_eq!(scenario.blobs.wakes_at(), None);
    assert!(!scenario.blobs.is_working_for(A));
}

#[test]
fn no_more_partials_are_open_than_there_is_room_for() {
    let mut scenario = Scenario::new();
    let keys: Vec<_> = (0..=OPEN)
        .map(|n| Digest::of(Algorithm::Sha256, n.to_string().as_bytes()))
        .map(|digest| BlobKey::Store(STORE, digest))
        .collect();
    for key in &keys {
        let (blobs, mut ports) = scenario.parts();
        blobs.want(key.clone(), waiter(A, "reg.example/a"), &mut ports);
    }
    for _ in 0..OPEN {
        assert_eq!(scenario.step(), "begin");
    }
    assert_eq!(scenario.step(), "nothing");
    let first = scenario.blobs.by_key[&keys[0]];
    scenario.answer(first, StoreAnswer::Complete);
    assert_eq!(scenario.step(), "begin");
    // No file descriptor is left: those that are not open wait until there is room.
    let second = scenario.blobs.by_key[&keys[1]];
    assert!(scenario.blobs.step_back(second));
    assert_eq!(scenario.blobs.openings.room, OPEN - 1);
    let third = scenario.blobs.by_key[&keys[2]];
    scenario.answer(third, StoreAnswer::Complete);
    assert_eq!(scenario.step(), "begin");
}

#[test]
fn partials_that_wait_for_a_source_or_a_store_hold_up_no_others() {
    let mut scenario = Scenario::new();
    let mut want = |store: StoreId, task: TaskId, source: &str| {
        let digest = Digest::of(Algorithm::Sha256, scenario.jobs.to_string().as_bytes());
        scenario.jobs += 1;
        let (blobs, mut ports) = scenario.parts();
        blobs.want(
            BlobKey::Store(store, digest),
            waiter(task, source),
            &mut ports,
        );
        scenario.step()
    };
    for _ in 0..OPEN {
        assert_eq!(want(STORE, A, "silent.example/a"), "begin");
    }
    for _ in OPEN..200 {
        assert_eq!(want(STORE, A, "silent.example/a"), "nothing");
    }
    // The same store from another host, and another store from the same host.
    assert_eq!(want(STORE, B, "reg.example/a"), "begin");
    assert_eq!(want(SPOOL, B, "silent.example/a"), "begin");
    scenario.leave(A);
    scenario.leave(B);
    assert!(scenario.blobs.openings.is_empty());
    assert_eq!(scenario.blobs.openings.open, 0);
}

#[test]
fn a_transfer_that_waits_for_its_turn_is_the_next_task_s() {
    let mut scenario = Scenario::new();
    let others: Vec<_> = (0..OPEN).map(|n| n.to_string()).collect();
    for other in &others {
        let key = BlobKey::Store(STORE, Digest::of(Algorithm::Sha256, other.as_bytes()));
        let (blobs, mut ports) = scenario.parts();
        blobs.want(key, waiter(C, "reg.example/a"), &mut ports);
        assert_eq!(scenario.step(), "begin");
    }
    let key = BlobKey::Store(STORE, digest());
    for (task, size) in [(A, 3), (B, 4)] {
        let (blobs, mut ports) = scenario.parts();
        let waiter = Waiter {
            size,
            ..waiter(task, "reg.example/a")
        };
        blobs.want(key.clone(), waiter, &mut ports);
        assert_eq!(scenario.step(), "nothing");
    }
    let id = scenario.blobs.by_key[&key];
    assert_eq!(scenario.blobs.transfers[&id].size, 3);
    scenario.leave(A);
    assert_eq!(scenario.blobs.transfers[&id].size, 4);
    scenario.leave(C);
    assert_eq!(scenario.step(), "begin");
}

#[test]
fn what_was_spooled_is_removed_after_it_was_sent() {
    let (mut scenario, upload, download) = Scenario::spooling();
    scenario.answer(download, StoreAnswer::Written);
    let settled = scenario.blobs.take_settled().expect("it is in the spool");
    let Wants::Upload { upload: id, spool } = settled.wants else {
        panic!("{settled:?}");
    };
    assert_eq!((id, spool), (upload, SPOOL));
    let (blobs, mut ports) = scenario.parts();
    blobs.spooled(id, spool, settled, &mut ports);
    assert_eq!(scenario.step(), "nothing");
    scenario.end(upload, Settlement::Done(OpOutcome::Sent { bytes: 4 }));
    assert_eq!(scenario.settled(), [(A, Ok(Delivery::Moved(4)))]);
    assert!(scenario.blobs.is_working_for(A));
    assert_eq!(scenario.step(), "remove");
    let clearing = scenario.blobs.by_key[&BlobKey::Store(SPOOL, digest())];
    scenario.answer(clearing, StoreAnswer::Written);
    assert!(!scenario.blobs.is_working_for(A));
}

/// A relay in which both exchanges have begun: the transfer, its sink, its source.
fn relaying() -> (Scenario, TransferId, ExchangeId, ExchangeId) {
    let mut scenario = Scenario::new();
    let key = BlobKey::Repository(site_of("to.example/b"), digest());
    let (blobs, mut ports) = scenario.parts();
    blobs.want(key.clone(), waiter(A, "from.example/a"), &mut ports);
    let id = scenario.blobs.by_key[&key];
    let transfer = &scenario.blobs.transfers[&id];
    let sink = transfer.exchange.expect("the blob is sent");
    let source = transfer.source.expect("and fetched");
    (scenario, id, sink, source)
}

/// It is not spooled, and its sink is what it waits for.
#[test]
fn a_blob_of_another_registry_is_relayed() {
    let (mut scenario, id, sink, _) = relaying();
    assert_eq!(scenario.step(), "nothing");
    let sent = Settlement::Done(OpOutcome::Sent { bytes: 4 });
    let (blobs, mut ports) = scenario.parts();
    blobs.exchange_ended(id, sink, sent, &mut ports);
    assert_eq!(scenario.settled(), [(A, Ok(Delivery::Moved(4)))]);
    assert!(!scenario.blobs.is_working_for(A));
}

#[test]
fn a_relay_fails_with_its_source() {
    let (mut scenario, id, _, source) = relaying();
    let failed = Settlement::Failed(Error::Cancelled);
    let (blobs, mut ports) = scenario.parts();
    blobs.exchange_ended(id, source, failed, &mut ports);
    let settled = scenario.settled();
    assert_eq!(settled, [(A, Err(ErrorKind::Cancelled))]);
    assert!(!scenario.blobs.is_working_for(A));
}

/// A request of the sink that is outside ends first.
#[test]
fn a_relay_whose_source_failed_waits_for_its_sink() {
    let (mut scenario, id, sink, source) = relaying();
    let (job, _) = scenario
        .exchanges
        .next_job(JobId(9), scenario.now)
        .expect("a POST");
    assert_eq!(job, sink);
    let failed = Settlement::Failed(Error::Cancelled);
    let (blobs, mut ports) = scenario.parts();
    blobs.exchange_ended(id, source, failed, &mut ports);
    assert_eq!(scenario.settled(), []);
    assert_eq!(scenario.exchanges.take_abort(), Some(JobId(9)));
    let (blobs, mut ports) = scenario.parts();
    blobs.exchange_ended(id, sink, Settlement::Abandoned, &mut ports);
    assert_eq!(scenario.settled(), [(A, Err(ErrorKind::Cancelled))]);
}

/// The spool is what remains.
#[test]
fn a_blob_that_cannot_be_relayed_is_spooled() {
    let (mut scenario, id, sink, _) = relaying();
    let unrelayed = Settlement::Done(OpOutcome::Unrelayed(None));
    let (blobs, mut ports) = scenario.parts();
    blobs.exchange_ended(id, sink, unrelayed, &mut ports);
    assert_eq!(scenario.step(), "begin");
}

/// The result is in the queue when its upload is given up.
#[test]
fn what_was_spooled_for_an_upload_that_is_gone_is_removed() {
    let (mut scenario, upload, download) = Scenario::spooling();
    scenario.answer(download, StoreAnswer::Written);
    scenario.leave(A);
    assert!(!scenario.blobs.transfers.contains_key(&upload));
    let settled = scenario.blobs.take_settled().expect("it is in the spool");
    let (blobs, mut ports) = scenario.parts();
    blobs.spooled(upload, SPOOL, settled, &mut ports);
    assert!(scenario.blobs.is_working_for(A));
    assert_eq!(scenario.step(), "remove");
}

/// It waits for its turn while the spool still has the blob of an upload that is gone.
#[test]
fn what_is_removed_from_a_spool_does_not_begin_meanwhile() {
    let mut scenario = Scenario::new();
    let others: Vec<_> = (0..OPEN)
        .map(|n| Digest::of(Algorithm::Sha256, n.to_string().as_bytes()))
        .map(|digest| BlobKey::Store(SPOOL, digest))
        .collect();
    for key in &others {
        let (blobs, mut ports) = scenario.parts();
        blobs.want(key.clone(), waiter(B, "reg.example/a"), &mut ports);
        assert_eq!(scenario.step(), "begin");
    }
    let key = BlobKey::Store(SPOOL, digest());
    let (blobs, mut ports) = scenario.parts();
    blobs.want(key.clone(), waiter(A, "reg.example/a"), &mut ports);
    blobs.clear(SPOOL, &digest(), B, &mut ports);
    assert_eq!(scenario.step(), "nothing");
    let id = scenario.blobs.by_key[&key];
    scenario.leave(A);
    assert_eq!(scenario.step(), "remove");
    let first = scenario.blobs.by_key[&others[0]];
    scenario.answer(first, StoreAnswer::Complete);
    assert_eq!(scenario.step(), "nothing");
    scenario.answer(id, StoreAnswer::Written);
    assert!(!scenario.blobs.is_working_for(A));
    assert!(!scenario.blobs.transfers.contains_key(&id));
}
