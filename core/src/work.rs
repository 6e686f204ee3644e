//! Moving one blob: into a store, or to a repository.
//!
//! Responsible for the claim on a blob, the steps it takes to move it and who is told. Each work is
//! claimed once per session, by (store, digest) or (repository, digest); tasks that want the same
//! blob wait for it, and take over when the one whose source is used fails (contract 8).
//! Must not know manifests.
//!
//! ```text
//!  into a store:   Beginning ─┬─ complete ───────────────────────────────▶ over
//!                      ▲      ├─ partial ─▶ Hashing ─▶ Moving ─▶ Committing ─▶ over
//!                      └ timer┴─ busy                     │
//!                                                         └─ failed ─▶ Releasing ─▶ over
//!
//!  to a repository: Checking / Mounting / Sending, with the blob spooled into a store first if it
//!                   is in another registry or the mount was refused
//! ```

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use crate::call::{TransferId, TransportError, TransportErrorKind};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, RequestLine};
use crate::event::{Event, Why};
use crate::hashing::Hashing;
use crate::op::{BlobGet, BlobHead, BlobPut, Operation, Outcome, Site, Stage};
use crate::scope::Scopes;
use crate::session::Session;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::task::TaskId;
use crate::time::Time;
use crate::uri::Url;
use crate::wire::ExchangeId;

/// From this size on a HEAD before an upload is worth its round trip (design §5).
const CHECK_FROM: u64 = 256 * 1024;
/// Blobs that are being written at once: each holds a file open.
const OPEN: usize = 64;
/// How often a busy partial is asked about.
const BUSY_AGAIN: Duration = Duration::from_millis(500);
/// How long a busy partial may stand still before the blob is fetched apart from it: the idle limit
/// after which its owner would have given up, too.
const BUSY_IDLE: Duration = Duration::from_secs(60);

/// Who asked for something and gets its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Owner {
    /// A manifest of a task.
    Node(TaskId, NodeId),
    /// A blob.
    Work(WorkKey),
}

/// Names a manifest within its task.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct NodeId(pub(crate) usize);

/// Names the moving of a blob.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum WorkKey {
    Into(StoreId, Digest),
    To(Site, Digest),
}

impl WorkKey {
    const fn digest(&self) -> &Digest {
        match self {
            Self::Into(_, digest) | Self::To(_, digest) => digest,
        }
    }
}

/// Where a blob can be had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    Site(Site),
    Store(StoreId),
}

/// How a blob came to be where it was wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// Over the network or between stores: so many bytes.
    Moved(u64),
    Mounted,
    Present,
}

/// Somebody who wants a blob.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) task: TaskId,
    /// The size of the blob, as its descriptor says for this one.
    pub(crate) size: u64,
    /// The work that needs the blob spooled; `None` if the task's manifests need it.
    pub(crate) work: Option<WorkKey>,
    pub(crate) source: Source,
    pub(crate) wish: Scopes,
    /// Where to put blobs on their way from one registry to another.
    pub(crate) spool: Option<StoreId>,
    /// A repository from which the registry may mount it.
    pub(crate) mount: Option<crate::reference::Repository>,
    /// Do not believe that it is there: ask.
    pub(crate) distrust: bool,
}

#[derive(Debug)]
pub(crate) struct Work {
    size: u64,
    transfer: TransferId,
    waiters: VecDeque<Waiter>,
    /// Tasks that left and wait for this to stop.
    leaving: VecDeque<TaskId>,
    stage: Phase,
    exchange: Option<ExchangeId>,
    /// Where the blob is being fetched from.
    using: Option<Source>,
    /// How often a worker died with it.
    lost: u32,
    /// Whether a partial of the blob is held open for it.
    holds: bool,
    /// Whether it goes on from bytes of an earlier run that nobody has verified.
    inherits: bool,
    /// Wait for the outstanding exchange or step, then end.
    stopping: bool,
}

#[derive(Clone, Debug)]
enum Phase {
    Idle,
    Beginning,
    /// Somebody else writes it: how far they were, since when.
    Busy {
        len: u64,
        since: Time,
        /// When it is asked about again; `None` while it is.
        until: Option<Time>,
    },
    /// Hashing what an earlier run left.
    Hashing {
        len: u64,
    },
    /// Throwing away what an earlier run left.
    Discarding,
    Moving,
    /// Giving it its name; so many bytes of it were moved.
    Committing {
        bytes: u64,
    },
    /// Giving the partial back; then it failed with this, or was stopped.
    Releasing(Option<Error>),
    Checking,
    /// Waiting until it is in the spool.
    Spooling {
        session: Option<Url>,
    },
    Sending {
        /// The spool that it is sent from, if it is, and whether it was put there for this.
        spooled: Option<(StoreId, How)>,
    },
    /// Removing it from the spool.
    Clearing,
    /// Throwing away bytes that are not the blob's; then it failed with this.
    Spoiled(Error),
}

impl Phase {
    /// When something is to be done without anybody's answer.
    const fn wakes_at(&self) -> Option<Time> {
        if let Self::Busy { until, .. } = self {
            *until
        } else {
            None
        }
    }
}

impl Work {
    const fn new(size: u64, transfer: TransferId) -> Self {
        Self {
            size,
            transfer,
            waiters: VecDeque::new(),
            leaving: VecDeque::new(),
            stage: Phase::Idle,
            exchange: None,
            using: None,
            lost: 0,
            holds: false,
            inherits: false,
            stopping: false,
        }
    }
}

impl Session {
    /// Makes somebody wait for a blob; begins to move it if nobody does yet.
    pub(crate) fn want(&mut self, key: WorkKey, waiter: Waiter) {
        if let Some(work) = self.works.get_mut(&key) {
            work.waiters.push_back(waiter);
            return;
        }
        let transfer = self.next_transfer();
        let mut work = Work::new(waiter.size, transfer);
        work.waiters.push_back(waiter);
        self.works.insert(key.clone(), work);
        self.begin_work(&key);
    }

    /// A task does not want this blob any more. If nobody else does, it stops.
    pub(crate) fn unwant(&mut self, key: &WorkKey, task: TaskId) {
        self.unwant_if(key, task, &|waiter| waiter.task == task);
    }

    fn unwant_if(&mut self, key: &WorkKey, task: TaskId, leaves: &dyn Fn(&Waiter) -> bool) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let before = work.waiters.len();
        let spool = work.waiters.front().and_then(|waiter| waiter.spool);
        let led = work.waiters.front().is_some_and(leaves);
        work.waiters.retain(|waiter| !leaves(waiter));
        // A spool goes away with its task: the next one begins anew, with its own.
        let spooled = matches!(
            work.stage,
            Phase::Spooling { .. } | Phase::Sending { spooled: Some(_) }
        );
        let ends = work.waiters.is_empty() || (led && spooled);
        if work.waiters.len() == before || !ends {
            return;
        }
        work.leaving.push_back(task);
        work.stopping = true;
        let spooling = matches!(work.stage, Phase::Spooling { .. });
        if let Some(exchange) = work.exchange
            && self.wire.abandon(exchange)
        {
            return;
        }
        if let (true, Some(spool)) = (spooling, spool) {
            let spooled = WorkKey::Into(spool, key.digest().clone());
            self.unwant_if(&spooled, task, &|waiter| waiter.work.as_ref() == Some(key));
            return self.stopped(key);
        }
        if matches!(
            work.stage,
            Phase::Releasing(_) | Phase::Spoiled(_) | Phase::Clearing
        ) {
            // It is ending by itself, by a step that must not be dropped.
            return;
        }
        let owner = Owner::Work(key.clone());
        if !self.steps.abandon(|other| *other == owner).outside {
            self.stopped(key);
        }
    }

    /// Whether a task still has to do with a blob.
    pub(crate) fn is_working_for(&self, task: TaskId) -> bool {
        self.works.values().any(|work| {
            work.leaving.contains(&task) || work.waiters.iter().any(|waiter| waiter.task == task)
        })
    }

    /// Works that a task waits for.
    pub(crate) fn works_of(&self, task: TaskId) -> alloc::vec::Vec<WorkKey> {
        self.works
            .iter()
            .filter(|(_, work)| work.waiters.iter().any(|waiter| waiter.task == task))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// When a work does something by itself.
    pub(crate) fn works_wake_at(&self) -> Option<Time> {
        self.works
            .values()
            .filter_map(|work| work.stage.wakes_at())
            .min()
    }

    /// Asks again about blobs that others write.
    pub(crate) fn wake_works(&mut self, now: Time) {
        let due = |work: &Work| work.stage.wakes_at().is_some_and(|until| until <= now);
        let keys: alloc::vec::Vec<WorkKey> = self
            .works
            .iter()
            .filter(|(_, work)| due(work))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            let WorkKey::Into(store, digest) = &key else {
                continue;
            };
            let Some(work) = self.works.get_mut(&key) else {
                continue;
            };
            let Phase::Busy { since, until, .. } = &mut work.stage else {
                continue;
            };
            *until = None;
            let private = now.since(*since) >= BUSY_IDLE;
            let op = StoreOp::Begin {
                digest: digest.clone(),
                size: work.size,
                private,
            };
            let store = *store;
            self.step(Owner::Work(key.clone()), store, op);
        }
    }

    /// Takes the answer to a step that a work asked for.
    pub(crate) fn work_stepped(
        &mut self,
        key: &WorkKey,
        answer: Result<StoreAnswer, StoreError>,
        now: Time,
    ) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        if let Ok(StoreAnswer::Partial { .. }) = answer {
            work.holds = true;
        }
        let stage = core::mem::replace(&mut work.stage, Phase::Idle);
        if let Phase::Releasing(error) = stage {
            work.holds = false;
            self.over_or_failed(key, error);
            return;
        }
        if let Phase::Clearing = stage {
            // What could not be removed goes with the spool.
            return self.over_or_failed(key, None);
        }
        if let (Phase::Spoiled(error), WorkKey::Into(store, digest)) = (&stage, key) {
            work.stage = Phase::Releasing(Some(error.clone()));
            let op = StoreOp::Release {
                digest: digest.clone(),
            };
            return self.step(Owner::Work(key.clone()), *store, op);
        }
        if work.stopping {
            self.stopped(key);
            return;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.fail_work(key, Error::Store(error)),
        };
        match (stage, answer) {
            (Phase::Beginning, StoreAnswer::Complete)
            | (Phase::Busy { .. }, StoreAnswer::Complete) => self.over(key, How::Present),
            (Phase::Beginning | Phase::Busy { .. }, StoreAnswer::Partial { len }) => {
                self.begun(key, len);
            }
            (Phase::Beginning, StoreAnswer::Busy { len }) => {
                work.stage = Phase::Busy {
                    len,
                    since: now,
                    until: Some(now + BUSY_AGAIN),
                };
            }
            (
                Phase::Busy {
                    len: before, since, ..
                },
                StoreAnswer::Busy { len },
            ) => {
                let since = if len == before { since } else { now };
                work.stage = Phase::Busy {
                    len,
                    since,
                    until: Some(now + BUSY_AGAIN),
                };
            }
            (Phase::Hashing { len }, StoreAnswer::Hashed(hashing)) => {
                self.hashed(key, len, hashing);
            }
            (Phase::Discarding, StoreAnswer::Written) => self.move_from(key, None),
            (Phase::Moving, StoreAnswer::Hashed(hashing)) => self.imported(key, hashing),
            (Phase::Moving, StoreAnswer::Absent) => {
                let what = format!(
                    "blob {} is not in the layout it should come from",
                    key.digest()
                );
                self.fail_work(
                    key,
                    Error::Store(StoreError::new(StoreErrorKind::Absent, what)),
                );
            }
            (Phase::Committing { bytes }, StoreAnswer::Written) => {
                work.holds = false;
                self.over(key, How::Moved(bytes));
            }
            (stage, answer) => {
                let what = format!("the store answered {stage:?} with {answer:?}");
                self.fail_work(key, Error::Store(StoreError::new(StoreErrorKind::Io, what)));
            }
        }
    }

    /// Takes the outcome of an exchange that a work began.
    pub(crate) fn work_settled(&mut self, key: &WorkKey, result: Option<Result<Outcome, Error>>) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        work.exchange = None;
        if work.stopping {
            return self.stopped(key);
        }
        let outcome = match result {
            // The worker died; what it had taken is with the store. Begin again there.
            None => return self.lost_work(key),
            Some(Err(error)) => return self.fail_work(key, error),
            Some(Ok(outcome)) => outcome,
        };
        let stage = core::mem::replace(&mut work.stage, Phase::Idle);
        match (stage, outcome) {
            (Phase::Moving, Outcome::Fetched { bytes }) => self.commit(key, bytes),
            (Phase::Checking, Outcome::Absent) => self.not_there(key),
            (Phase::Sending { spooled: None }, Outcome::Opened(session)) => {
                self.spool(key, Some(session));
            }
            (Phase::Sending { spooled }, Outcome::Sent) => {
                let how = How::Moved(work.size);
                self.sent(key, spooled, how);
            }
            (Phase::Sending { spooled }, Outcome::Present) => {
                self.sent(key, spooled, How::Present);
            }
            (Phase::Sending { spooled }, Outcome::Mounted) => {
                self.sent(key, spooled, How::Mounted);
            }
            (Phase::Checking, Outcome::Present) => self.over(key, How::Present),
            (stage, outcome) => unreachable!("{stage:?} does not end in {outcome:?}"),
        }
    }

    /// An exchange that was abandoned is gone.
    pub(crate) fn sweep_works(&mut self) {
        let gone: alloc::vec::Vec<WorkKey> = self
            .works
            .iter()
            .filter(|(_, work)| work.stopping)
            .filter(|(_, work)| work.exchange.is_some_and(|id| !self.wire.is_open(id)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(work) = self.works.get_mut(&key) {
                work.exchange = None;
            }
            self.stopped(&key);
        }
    }

    fn begin_work(&mut self, key: &WorkKey) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        work.stopping = false;
        let Some(waiter) = work.waiters.front().cloned() else {
            return;
        };
        work.using = Some(waiter.source.clone());
        work.size = waiter.size;
        match key {
            WorkKey::Into(store, digest) => {
                if !self.opening.contains(key) && self.opening.len() >= OPEN {
                    work.stage = Phase::Idle;
                    self.unopened.push_back(key.clone());
                    return;
                }
                self.opening.insert(key.clone());
                work.stage = Phase::Beginning;
                let op = StoreOp::Begin {
                    digest: digest.clone(),
                    size: work.size,
                    private: false,
                };
                self.step(Owner::Work(key.clone()), *store, op);
            }
            WorkKey::To(site, digest) => self.deliver(key, &site.clone(), digest.clone(), &waiter),
        }
    }

    /// The worker died; what it had taken over is with the store. Begins again there, unless that
    /// happens all the time.
    fn lost_work(&mut self, key: &WorkKey) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        work.lost += 1;
        if work.lost < self.config.retry.attempts {
            return self.begin_work(key);
        }
        let attempts = work.lost;
        let what = "the worker was lost";
        let last = Error::Transport {
            request: RequestLine(format!("GET blob {}", key.digest())),
            error: TransportError::new(TransportErrorKind::Other, what),
        };
        let error = Error::Exhausted {
            attempts,
            retry_after: None,
            last: last.into(),
        };
        self.fail_work(key, error);
    }

    /// Chooses how a blob gets to a repository.
    fn deliver(&mut self, key: &WorkKey, site: &Site, digest: Digest, waiter: &Waiter) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let (size, transfer) = (work.size, work.transfer);
        let checks = size >= CHECK_FROM || waiter.distrust;
        let (stage, source) = match &waiter.source {
            Source::Store(store) => {
                let stage = match &waiter.mount {
                    Some(from) if !waiter.distrust => Stage::Start {
                        mount: Some(from.clone()),
                    },
                    Some(_) | None if checks => Stage::Check,
                    Some(_) | None => Stage::Start { mount: None },
                };
                (stage, Some(*store))
            }
            Source::Site(from) if from.is_beside(site) && !waiter.distrust => (
                Stage::Start {
                    mount: Some(from.repository.clone()),
                },
                None,
            ),
            Source::Site(_) if checks => {
                work.stage = Phase::Checking;
                let op = Operation::BlobHead(BlobHead {
                    site: site.clone(),
                    digest,
                });
                return self.exchange(key, op, waiter);
            }
            Source::Site(_) => return self.spool(key, None),
        };
        work.stage = Phase::Sending { spooled: None };
        let op = BlobPut {
            site: site.clone(),
            digest,
            size,
            transfer,
            stage,
            source,
            restarts: 0,
        };
        self.exchange(key, Operation::BlobPut(op), waiter);
    }

    /// It was asked for and is not there: it is mounted, if it can be, or comes through the spool.
    fn not_there(&mut self, key: &WorkKey) {
        let (WorkKey::To(site, digest), Some(work)) = (key, self.works.get_mut(key)) else {
            return;
        };
        if let Some(waiter) = work.waiters.front_mut()
            && matches!(&waiter.source, Source::Site(from) if from.is_beside(site))
        {
            waiter.distrust = false;
            let waiter = waiter.clone();
            return self.deliver(key, site, digest.clone(), &waiter);
        }
        self.spool(key, None);
    }

    /// Brings the blob into the spool first.
    fn spool(&mut self, key: &WorkKey, session: Option<Url>) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let Some(waiter) = work.waiters.front().cloned() else {
            return;
        };
        let Some(spool) = waiter.spool else {
            let what = "a copy between registries needs a store to spool blobs in".to_string();
            return self.fail_work(key, Error::Policy { what });
        };
        work.stage = Phase::Spooling { session };
        let spooled = WorkKey::Into(spool, key.digest().clone());
        let wish = match &waiter.source {
            Source::Site(site) => Scopes::pull(&site.repository),
            Source::Store(_) => Scopes::default(),
        };
        self.want(
            spooled,
            Waiter {
                work: Some(key.clone()),
                wish,
                ..waiter
            },
        );
    }

    /// The blob is in the spool: send it.
    fn spooled(&mut self, key: &WorkKey, result: Result<How, Error>) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let (Phase::Spooling { session }, WorkKey::To(site, digest)) = (&work.stage, key) else {
            return;
        };
        let session = session.clone();
        let how = match result {
            Ok(how) => how,
            Err(error) => return self.fail_work(key, error),
        };
        let Some(waiter) = work.waiters.front().cloned() else {
            return;
        };
        work.stage = Phase::Sending {
            spooled: waiter.spool.map(|spool| (spool, how)),
        };
        let stage = match session {
            Some(session) => Stage::Put { session },
            None => Stage::Start { mount: None },
        };
        let op = BlobPut {
            site: site.clone(),
            digest: digest.clone(),
            size: work.size,
            transfer: work.transfer,
            stage,
            source: waiter.spool,
            restarts: 0,
        };
        self.exchange(key, Operation::BlobPut(op), &waiter);
    }

    /// The blob is in the repository; what was spooled is of no more use.
    fn sent(&mut self, key: &WorkKey, spooled: Option<(StoreId, How)>, how: How) {
        let task = self
            .works
            .get(key)
            .and_then(|work| work.waiters.front())
            .map(|w| w.task);
        self.over(key, how);
        if let (Some((spool, How::Moved(_))), Some(task)) = (spooled, task) {
            self.clear(spool, key.digest(), task);
        }
    }

    /// Removes a blob from a spool, as a work of its own: whoever wants it there again waits until
    /// it is gone, and then begins anew.
    fn clear(&mut self, spool: StoreId, digest: &Digest, task: TaskId) {
        let needed = |work: &Work| matches!(work.stage, Phase::Sending { spooled: Some((s, _)) } if s == spool);
        let shared = self
            .works
            .iter()
            .any(|(key, work)| key.digest() == digest && needed(work));
        let key = WorkKey::Into(spool, digest.clone());
        if shared || self.works.contains_key(&key) {
            return;
        }
        let transfer = self.next_transfer();
        let mut work = Work::new(0, transfer);
        work.leaving.push_back(task);
        work.stage = Phase::Clearing;
        self.works.insert(key.clone(), work);
        self.step(
            Owner::Work(key),
            spool,
            StoreOp::Remove {
                digest: digest.clone(),
            },
        );
    }

    fn begun(&mut self, key: &WorkKey, len: u64) {
        let WorkKey::Into(store, digest) = key else {
            return;
        };
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        work.inherits = len > 0;
        if len == 0 {
            return self.move_from(key, None);
        }
        if matches!(
            work.waiters.front().map(|w| &w.source),
            Some(Source::Store(_))
        ) {
            // An import hashes the prefix itself.
            return self.move_from(key, None);
        }
        work.stage = Phase::Hashing { len };
        let op = StoreOp::Hash {
            digest: digest.clone(),
            upto: len,
        };
        self.step(Owner::Work(key.clone()), *store, op);
    }

    /// The prefix is hashed: is it the whole blob already?
    fn hashed(&mut self, key: &WorkKey, len: u64, hashing: Hashing) {
        let WorkKey::Into(store, digest) = key else {
            return;
        };
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        if len < work.size && hashing.len() == len {
            return self.move_from(key, Some(hashing));
        }
        if hashing.len() == work.size && hashing.digest() == *digest {
            // An earlier run moved it.
            return self.commit(key, 0);
        }
        work.stage = Phase::Discarding;
        self.step(
            Owner::Work(key.clone()),
            *store,
            StoreOp::Discard {
                digest: digest.clone(),
            },
        );
    }

    fn move_from(&mut self, key: &WorkKey, hashing: Option<Hashing>) {
        let WorkKey::Into(store, digest) = key else {
            return;
        };
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let Some(waiter) = work.waiters.front().cloned() else {
            return;
        };
        work.stage = Phase::Moving;
        let (size, transfer, store) = (work.size, work.transfer, *store);
        match &waiter.source {
            Source::Store(from) => {
                let op = StoreOp::Import {
                    from: *from,
                    digest: digest.clone(),
                    size,
                };
                self.step(Owner::Work(key.clone()), store, op);
            }
            Source::Site(site) => {
                let algorithm = digest.algorithm().unwrap_or(Algorithm::Sha256);
                let op = BlobGet {
                    site: site.clone(),
                    digest: digest.clone(),
                    size,
                    store,
                    transfer,
                    hashing: hashing.unwrap_or_else(|| Hashing::new(algorithm)),
                    restarted: false,
                    shorts: 0,
                    received: 0,
                };
                if size == 0 {
                    // PULLB-06: there is nothing to ask for, and the digest says so.
                    let found = op.hashing.digest();
                    if found == *digest {
                        return self.commit(key, 0);
                    }
                    let error = Error::Mismatch {
                        what: format!("blob {digest}"),
                        expected: digest.to_string(),
                        found: found.to_string(),
                    };
                    return self.fail_work(key, error);
                }
                self.exchange(key, Operation::BlobGet(op), &waiter);
            }
        }
    }

    fn imported(&mut self, key: &WorkKey, hashing: Hashing) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let (size, len) = (work.size, hashing.len());
        let found = hashing.digest();
        if len == size && found == *key.digest() {
            return self.commit(key, size);
        }
        if let (true, WorkKey::Into(store, digest)) = (core::mem::take(&mut work.inherits), key) {
            // It may be the earlier run's bytes that are wrong: once without them.
            work.stage = Phase::Discarding;
            let digest = digest.clone();
            return self.step(
                Owner::Work(key.clone()),
                *store,
                StoreOp::Discard { digest },
            );
        }
        let error = Error::Mismatch {
            what: format!("blob {} in the layout it comes from", key.digest()),
            expected: format!("{} ({size} bytes)", key.digest()),
            found: format!("{found} ({len} bytes)"),
        };
        self.fail_work(key, error);
    }

    fn commit(&mut self, key: &WorkKey, bytes: u64) {
        let WorkKey::Into(store, digest) = key else {
            return;
        };
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        work.stage = Phase::Committing { bytes };
        let op = StoreOp::Commit {
            digest: digest.clone(),
            size: work.size,
        };
        self.step(Owner::Work(key.clone()), *store, op);
    }

    /// The one whose source is used failed. A partial that is held is given back first.
    fn fail_work(&mut self, key: &WorkKey, error: Error) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        if let (true, WorkKey::Into(store, digest)) = (work.holds, key) {
            let digest = digest.clone();
            let op = if matches!(error, Error::Mismatch { .. }) {
                // The next try must not begin with bytes that are not the blob's.
                work.stage = Phase::Spoiled(error);
                StoreOp::Discard { digest }
            } else {
                work.stage = Phase::Releasing(Some(error));
                StoreOp::Release { digest }
            };
            return self.step(Owner::Work(key.clone()), *store, op);
        }
        self.over_or_failed(key, Some(error));
    }

    /// Nothing is outstanding any more and nobody wants it: give the partial back, then end.
    fn stopped(&mut self, key: &WorkKey) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        if let (true, WorkKey::Into(store, digest)) = (work.holds, key) {
            if matches!(work.stage, Phase::Releasing(_)) {
                return;
            }
            work.stage = Phase::Releasing(None);
            let op = StoreOp::Release {
                digest: digest.clone(),
            };
            self.step(Owner::Work(key.clone()), *store, op);
            return;
        }
        self.over_or_failed(key, None);
    }

    /// Ends a work that was stopped or failed; whoever else waits takes over.
    fn over_or_failed(&mut self, key: &WorkKey, error: Option<Error>) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        work.leaving.clear();
        work.holds = false;
        work.stopping = false;
        let mut told = VecDeque::new();
        if let (Some(_), Some(using)) = (&error, work.using.take()) {
            // Those who would get the same from the same place would get the same error.
            let size = work.size;
            let same = |waiter: &Waiter| waiter.source == using && waiter.size == size;
            (told, work.waiters) = core::mem::take(&mut work.waiters)
                .into_iter()
                .partition(same);
        }
        self.next_waiter(key);
        if let Some(error) = error {
            for waiter in told {
                self.tell(key, &waiter, Err(error.clone()));
            }
        }
    }

    /// The blob is where it was wanted: tell everybody.
    fn over(&mut self, key: &WorkKey, how: How) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let (size, digest) = (work.size, key.digest().clone());
        let waiters = core::mem::take(&mut work.waiters);
        work.leaving.clear();
        self.next_waiter(key);
        for (i, waiter) in waiters.iter().enumerate() {
            if waiter.size != size {
                // The bytes were verified, so what was said of them to this one is wrong.
                let error = Error::Mismatch {
                    what: format!("blob {digest}"),
                    expected: format!("{} bytes", waiter.size),
                    found: format!("{size} bytes"),
                };
                self.tell(key, waiter, Err(error));
                continue;
            }
            // Only one of them moved it.
            let why = match how {
                How::Moved(_) if i == 0 => None,
                How::Moved(_) => Some(Why::Elsewhere),
                How::Mounted => Some(Why::Mounted),
                How::Present => Some(Why::Present),
            };
            let digest = digest.clone();
            let event = match why {
                None => Event::Stored { digest, size },
                Some(why) => Event::Skipped { digest, size, why },
            };
            if waiter.work.is_none() {
                self.event(waiter.task, event);
            }
            let how = if i == 0 { how } else { How::Present };
            self.tell(key, waiter, Ok(how));
        }
    }

    /// Goes on with whoever waits; without anybody the work is gone, and another one may begin.
    fn next_waiter(&mut self, key: &WorkKey) {
        let Some(work) = self.works.get(key) else {
            return;
        };
        if !work.waiters.is_empty() {
            return self.begin_work(key);
        }
        self.works.remove(key);
        self.opening.remove(key);
        while self.opening.len() < OPEN {
            let Some(next) = self.unopened.pop_front() else {
                return;
            };
            let waits = |work: &Work| matches!(work.stage, Phase::Idle) && !work.stopping;
            if self.works.get(&next).is_some_and(waits) {
                self.begin_work(&next);
            }
        }
    }

    fn tell(&mut self, key: &WorkKey, waiter: &Waiter, result: Result<How, Error>) {
        match &waiter.work {
            Some(work) => self.spooled(work, result),
            None => self.blob_settled(waiter.task, key.digest(), result),
        }
    }

    fn exchange(&mut self, key: &WorkKey, op: Operation, waiter: &Waiter) {
        let site = match (&op, &waiter.source) {
            (Operation::BlobGet(op), _) => op.site.clone(),
            (Operation::BlobHead(op), _) => op.site.clone(),
            (Operation::BlobPut(op), _) => op.site.clone(),
            (_, Source::Site(site)) => site.clone(),
            (_, Source::Store(_)) => return,
        };
        let owner = Owner::Work(key.clone());
        let id = self
            .wire
            .begin(owner, waiter.task, site, op, waiter.wish.clone());
        if let Some(work) = self.works.get_mut(key) {
            work.exchange = Some(id);
        }
    }
}
