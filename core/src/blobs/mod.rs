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

mod download;
mod finish;
mod upload;
mod waiters;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::call::{TransportError, TransportErrorKind};
use crate::digest::Digest;
use crate::error::{Error, RequestLine};
use crate::exchanges::Settlement;
use crate::ids::{ExchangeId, Owner, TaskId, TransferId};
use crate::op::{Operation, Outcome, Site};
use crate::scope::Scopes;
use crate::session::Session;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::time::Time;
use crate::uri::Url;

/// Blobs that are being written at once: each holds a file open. Fewer while file descriptors are few.
pub(crate) const OPEN: usize = 64;
/// How often a busy partial is asked about.
const BUSY_AGAIN: Duration = Duration::from_millis(500);
/// How long a busy partial may stand still before the blob is fetched apart from it: the idle limit
/// after which its owner would have given up, too.
const BUSY_IDLE: Duration = Duration::from_secs(60);

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
    /// Where else it may be had, if the source is a registry that has not got it.
    pub(crate) urls: Vec<String>,
    pub(crate) doubt: Doubt,
}

/// Why a registry may be wrong about having a blob, and what it is not asked for that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Doubt {
    /// It is believed.
    None,
    /// It refused a manifest for something that is missing: a HEAD goes first.
    Missing,
    /// The same after it said that it mounted the blob: a HEAD goes first, and nothing is mounted.
    Mounted,
    /// It said that the blob is there, and then that it is not: the blob is sent.
    Contradicted,
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
    /// Where the blob is being fetched from, and where it may be had besides.
    using: Option<(Source, Vec<String>)>,
    /// How far the registry is believed while it is being sent.
    doubt: Doubt,
    /// How often a worker died with it.
    lost: u32,
    /// Whether a partial of the blob is held open for it.
    holds: bool,
    /// Whether it goes on from bytes of an earlier run that nobody has verified.
    inherits: bool,
    /// Whether it is wanted in a spool, on its way to somewhere else.
    spools: bool,
    /// It lies in a spool, and nobody else will remove it.
    clears: bool,
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
            doubt: Doubt::None,
            lost: 0,
            holds: false,
            inherits: false,
            spools: false,
            clears: false,
            stopping: false,
        }
    }
}

impl Work {
    /// The task it is done for: the one whose source is used, or one that waits for it to stop.
    pub(crate) fn task(&self) -> Option<TaskId> {
        let waiting = self.waiters.front().map(|waiter| waiter.task);
        waiting.or_else(|| self.leaving.front().copied())
    }
}

impl Session {
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
        let keys: Vec<WorkKey> = self
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
            if let (Phase::Committing { .. }, Ok(StoreAnswer::Written)) = (&stage, &answer) {
                // Too late: it is there. In a spool it would lie for ever.
                work.holds = false;
                work.clears = work.spools;
            }
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
    pub(crate) fn work_settled(&mut self, key: &WorkKey, exchange: ExchangeId, result: Settlement) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        if work.exchange != Some(exchange) {
            return;
        }
        work.exchange = None;
        if work.stopping {
            return self.stopped(key);
        }
        let outcome = match result {
            // The worker died; what it had taken is with the store. Begin again there.
            Settlement::Lost => return self.lost_work(key),
            Settlement::Failed(error) => return self.fail_work(key, error),
            Settlement::Done(outcome) => outcome,
        };
        let stage = core::mem::replace(&mut work.stage, Phase::Idle);
        match (stage, outcome) {
            (Phase::Moving, Outcome::Fetched { bytes }) => self.commit(key, bytes),
            (Phase::Checking, Outcome::Absent) => self.not_there(key),
            (Phase::Sending { spooled: None }, Outcome::Opened(session)) => {
                self.spool(key, Some(session));
            }
            (Phase::Sending { spooled }, Outcome::Sent { bytes }) => {
                let how = How::Moved(bytes);
                self.sent(key, spooled, how);
            }
            (Phase::Sending { spooled }, Outcome::Present { .. }) => {
                self.sent(key, spooled, How::Present);
            }
            (Phase::Sending { spooled }, Outcome::Mounted) => {
                self.sent(key, spooled, How::Mounted);
            }
            (Phase::Checking, Outcome::Present { .. }) => self.over(key, How::Present),
            (stage, outcome) => {
                let what = format!("{stage:?} of blob {} ended in {outcome:?}", key.digest());
                self.fail_work(key, Error::internal(&what));
            }
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
        work.using = Some((waiter.source.clone(), waiter.urls.clone()));
        (work.size, work.doubt) = (waiter.size, waiter.doubt);
        match key {
            WorkKey::Into(store, digest) => {
                if !self.opening.contains(key) && self.opening.len() >= self.room {
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
            WorkKey::To(..) => self.deliver(key, &waiter),
        }
    }

    /// No file descriptor was left for a partial. If others have theirs, this one waits until one of them is
    /// done, and fewer are open at once; else it cannot wait for that.
    pub(crate) fn steps_back(&mut self, key: &WorkKey) -> bool {
        let Some(work) = self.works.get_mut(key) else {
            return false;
        };
        if work.stopping || self.opening.len() < 2 {
            return false;
        }
        work.stage = Phase::Idle;
        self.opening.remove(key);
        self.room = self.opening.len();
        self.unopened.push_back(key.clone());
        true
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
            .exchanges
            .begin(owner, waiter.task, site, op, waiter.wish.clone());
        if let Some(work) = self.works.get_mut(key) {
            work.exchange = Some(id);
        }
    }
}
