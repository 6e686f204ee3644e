//! Moving blobs: each once per session and destination, a store or a repository.
//!
//! Responsible for who waits for a blob and the steps it takes to move it. A blob is moved once per
//! (store, digest) or (repository, digest); tasks that want the same blob wait for it, and one takes over
//! when the one whose source is used fails (contract 8). Answers by a queue of [`BlobSettled`]. Must not
//! know manifests, nor what tasks do.
//!
//! ```text
//!  into a store:   Beginning ─┬─ complete ───────────────────────────────▶ over
//!                      ▲      ├─ partial ─▶ Hashing ─▶ Moving ─▶ Committing ─▶ over
//!                      └ timer┴─ busy                     │
//!                                                         └─ failed ─▶ Releasing ─▶ over
//!                             a large one is Fetching, in parts, instead of Hashing and Moving
//!
//!  to a repository: Checking / Mounting / Sending, with the blob spooled into a store first if it
//!                   is in the same registry and the mount was refused, or relaying it was in vain
//! ```

mod dividing;
mod download;
mod finish;
mod mounting;
mod opening;
mod parts;
mod seen;
mod transfer;
mod upload;
mod waiters;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use self::dividing::Dividing;
use self::opening::Openings;
use self::seen::Seen;
use self::transfer::{Phase, Transfer};
use crate::config::Config;
use crate::digest::Digest;
use crate::error::Error;
use crate::exchanges::Settlement;
use crate::ids::{ExchangeId, Owner, TaskId, TransferId};
use crate::op::{OpOutcome, Operation, Site};
use crate::ports::Ports;
use crate::scope::Scopes;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::task::MountFrom;
use crate::time::Time;
use crate::totals::Delivery;

/// How often a busy partial is asked about.
const BUSY_AGAIN: Duration = Duration::from_millis(500);
/// How long a busy partial may stand still before the blob is fetched apart from it: the idle limit
/// after which its owner would have given up, too.
const BUSY_IDLE: Duration = Duration::from_secs(60);

/// All blobs that are being moved, or wait for that.
#[derive(Debug)]
pub(crate) struct Blobs {
    begun: u64,
    transfers: BTreeMap<TransferId, Box<Transfer>>,
    by_key: BTreeMap<BlobKey, TransferId>,
    /// The transfers that each task has, or had, to do with.
    by_task: BTreeMap<TaskId, BTreeSet<TransferId>>,
    /// The transfers that send a blob, or sent it, from a spool.
    senders: BTreeMap<(StoreId, Digest), Vec<TransferId>>,
    openings: Openings,
    /// The transfers of which further parts may be asked for.
    dividing: Dividing,
    /// The transfers that are about to want slots for a store, and some that were.
    beginning: BTreeSet<(StoreId, TransferId)>,
    /// When busy partials are asked about again.
    wakes: BTreeSet<(Time, TransferId)>,
    seen: Seen,
    settled: VecDeque<BlobSettled>,
    /// The tasks that a transfer has nothing to do with any more, since they were taken.
    freed: Vec<TaskId>,
}

/// That a blob is where it was wanted, or cannot be had.
#[derive(Debug)]
pub(crate) struct BlobSettled {
    pub(crate) task: TaskId,
    pub(crate) wants: Wants,
    pub(crate) digest: Digest,
    pub(crate) result: Result<Delivery, Error>,
}

/// What needs a blob.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wants {
    /// The manifests of the task.
    Task,
    /// An upload, which needs it in this spool.
    Upload { upload: TransferId, spool: StoreId },
}

/// Where a blob goes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum BlobKey {
    Store(StoreId, Digest),
    Repository(Site, Digest),
}

impl BlobKey {
    const fn digest(&self) -> &Digest {
        match self {
            Self::Store(_, digest) | Self::Repository(_, digest) => digest,
        }
    }
}

/// Where a blob can be had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum BlobSource {
    Site(Site),
    Store(StoreId),
}

/// A task that wants a blob.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) task: TaskId,
    /// The size of the blob, as its descriptor says for this one.
    pub(crate) size: u64,
    pub(crate) wants: Wants,
    pub(crate) source: BlobSource,
    pub(crate) scopes: Scopes,
    /// Where to put blobs on their way from one registry to another.
    pub(crate) spool: Option<StoreId>,
    /// Where the registry may mount it from, as the caller says.
    pub(crate) mount_from: Arc<[MountFrom]>,
    /// Where else it may be had, if the source is a registry that does not have it.
    pub(crate) urls: Vec<String>,
    /// Whether a manifest of the task names it, which a registry refuses without it.
    pub(crate) is_named: bool,
    pub(crate) recheck: Recheck,
}

/// Why a registry may be wrong about having a blob, and what it is not asked for that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Recheck {
    /// It is believed.
    None,
    /// It refused a manifest for something that is missing: a HEAD goes first.
    Missing,
    /// The same after it said that it mounted the blob: a HEAD goes first, and nothing is mounted.
    Mounted,
    /// It said that the blob is there, and then that it is not: the blob is sent.
    Contradicted,
}

impl Blobs {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            begun: 0,
            transfers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_task: BTreeMap::new(),
            senders: BTreeMap::new(),
            openings: Openings::new(config.transfers()),
            dividing: Dividing::default(),
            beginning: BTreeSet::new(),
            wakes: BTreeSet::new(),
            seen: Seen::default(),
            settled: VecDeque::new(),
            freed: Vec::new(),
        }
    }

    /// The next result, for what wanted the blob.
    pub(crate) fn take_settled(&mut self) -> Option<BlobSettled> {
        self.settled.pop_front()
    }

    /// The tasks that may have no blob to do with any more.
    pub(crate) fn take_freed(&mut self) -> Vec<TaskId> {
        core::mem::take(&mut self.freed)
    }

    /// When a busy partial is asked about again.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The task that a transfer is done for.
    pub(crate) fn task_of(&self, id: TransferId) -> Option<TaskId> {
        self.transfers.get(&id)?.task()
    }

    /// Asks again about blobs that other processes write.
    pub(crate) fn wake(&mut self, ports: &mut Ports<'_>) {
        while let Some((at, id)) = self.wakes.first().copied()
            && at <= ports.now
        {
            self.wakes.remove(&(at, id));
            let result = self.ask_again(id, ports);
            self.check(id, result, ports);
        }
    }

    /// Takes the answer to a store's step.
    pub(crate) fn step_ended(
        &mut self,
        id: TransferId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut Ports<'_>,
    ) {
        let result = self.stepped(id, answer, ports);
        self.check(id, result, ports);
    }

    /// Takes the end of an exchange.
    pub(crate) fn exchange_ended(
        &mut self,
        id: TransferId,
        exchange: ExchangeId,
        result: Settlement,
        ports: &mut Ports<'_>,
    ) {
        let result = self.exchanged(id, exchange, result, ports);
        self.check(id, result, ports);
    }
}

impl Blobs {
    fn get(&mut self, id: TransferId) -> Result<&mut Transfer, Error> {
        let transfer = self.transfers.get_mut(&id).map(|it| &mut **it);
        transfer.ok_or_else(|| Error::internal(&format!("there is no transfer {id}")))
    }

    /// A defect in a transfer: what wants the blob is told, and the transfer is given up.
    fn check(&mut self, id: TransferId, result: Result<(), Error>, ports: &mut Ports<'_>) {
        let Err(error) = result else {
            return;
        };
        self.abandon_parts(id, ports);
        let Some(transfer) = self.remove(id) else {
            return;
        };
        if let Some(exchange) = transfer.exchange {
            ports.exchanges.abandon(exchange);
        }
        ports.store_queue.abandon(Owner::Transfer(id));
        if let (true, BlobKey::Store(store, digest)) = (transfer.has_partial, &transfer.key) {
            let digest = digest.clone();
            ports.step(Owner::Transfer(id), *store, StoreOp::Release { digest });
        }
        for waiter in &transfer.waiters {
            self.tell(transfer.key.digest(), waiter, Err(error.clone()));
        }
        self.open_next(ports);
    }

    /// Asks whether another process still writes a blob.
    fn ask_again(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (store, digest) = transfer.stored()?;
        let size = transfer.size;
        let Phase::Busy { since, until, .. } = &mut transfer.phase else {
            return Err(transfer.defect("is not busy"));
        };
        *until = None;
        let private = ports.now.since(*since) >= BUSY_IDLE;
        let op = StoreOp::Begin {
            digest,
            size,
            private,
        };
        ports.step(Owner::Transfer(id), store, op);
        Ok(())
    }

    fn busy(&mut self, id: TransferId, len: u64, since: Time, now: Time) -> Result<(), Error> {
        let until = now + BUSY_AGAIN;
        self.get(id)?.phase = Phase::Busy {
            len,
            since,
            until: Some(until),
        };
        self.wakes.insert((until, id));
        Ok(())
    }

    fn stepped(
        &mut self,
        id: TransferId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let now = ports.now;
        let transfer = self.get(id)?;
        if let Phase::Fetching = transfer.phase {
            return self.part_hashed(id, answer, ports);
        }
        if let Ok(StoreAnswer::Partial { .. } | StoreAnswer::Extents(_)) = answer {
            transfer.has_partial = true;
        }
        let phase = core::mem::replace(&mut transfer.phase, Phase::Idle);
        if let Phase::Releasing(error) = phase {
            transfer.has_partial = false;
            return self.over_or_failed(id, error, ports);
        }
        if let Phase::Clearing = phase {
            // What could not be removed goes with the spool.
            return self.over_or_failed(id, None, ports);
        }
        if let Phase::Spoiled(error) = phase {
            return self.release(id, Some(error), ports);
        }
        if transfer.cancelling
            && let (Phase::Committing { .. }, Ok(StoreAnswer::Written)) = (&phase, &answer)
        {
            // Too late: it is there. In a spool it would stay.
            transfer.has_partial = false;
            transfer.remove_after = transfer.spools;
        }
        if transfer.cancelling {
            return self.stopped(id, ports);
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.fail(id, Error::Store(error), ports),
        };
        match (phase, answer) {
            (Phase::Beginning | Phase::Busy { .. }, StoreAnswer::Complete) => {
                self.over(id, Delivery::Present, ports)
            }
            (Phase::Beginning | Phase::Busy { .. }, StoreAnswer::Partial { len }) => {
                self.begun_at(id, len, ports)
            }
            (Phase::Beginning | Phase::Busy { .. }, StoreAnswer::Extents(stored)) => {
                self.begun_with(id, stored, ports)
            }
            (Phase::Beginning, StoreAnswer::Busy { len }) => self.busy(id, len, now, now),
            (
                Phase::Busy {
                    len: before, since, ..
                },
                StoreAnswer::Busy { len },
            ) => {
                let since = if len == before { since } else { now };
                self.busy(id, len, since, now)
            }
            (Phase::Hashing { len, bytes }, StoreAnswer::Hashed(hashing)) => {
                self.hashed(id, (len, bytes), hashing, ports)
            }
            (Phase::Discarding, StoreAnswer::Written) => self.move_from(id, None, ports),
            (Phase::Moving, StoreAnswer::Hashed(hashing)) => self.imported(id, hashing, ports),
            (Phase::Moving, StoreAnswer::Absent) => {
                let digest = transfer.key.digest();
                let what = format!("blob {digest} is not in the layout it should come from");
                let error = StoreError::new(StoreErrorKind::Absent, what);
                self.fail(id, Error::Store(error), ports)
            }
            (Phase::Committing { bytes }, StoreAnswer::Written) => {
                transfer.has_partial = false;
                self.over(id, Delivery::Moved(bytes), ports)
            }
            (phase, answer) => {
                let what = format!("the store answered {phase:?} with {answer:?}");
                let error = StoreError::new(StoreErrorKind::Io, what);
                self.fail(id, Error::Store(error), ports)
            }
        }
    }

    fn exchanged(
        &mut self,
        id: TransferId,
        exchange: ExchangeId,
        result: Settlement,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        if transfer.parts.is_some() {
            return self.part_ended(id, exchange, result, ports);
        }
        if let (Some(sink), true) = (transfer.exchange, transfer.source == Some(exchange)) {
            return self.source_ended(id, sink, result, ports);
        }
        if transfer.exchange != Some(exchange) {
            // Another one took its place.
            return Ok(());
        }
        (transfer.exchange, transfer.source) = (None, None);
        if transfer.cancelling {
            return self.stopped(id, ports);
        }
        if let Some(error) = transfer.failed.take() {
            return self.fail(id, error, ports);
        }
        let outcome = match result {
            // The worker died; what it had taken is with the store. Begin again there.
            Settlement::Lost => return self.lost(id, ports),
            Settlement::Abandoned => return Err(transfer.defect("was abandoned")),
            Settlement::Failed(error) => return self.fail(id, error, ports),
            Settlement::Done(outcome) => outcome,
        };
        let phase = core::mem::replace(&mut transfer.phase, Phase::Idle);
        match (phase, outcome) {
            (Phase::Moving, OpOutcome::Fetched { bytes, hashing, .. }) => {
                let bytes = bytes.saturating_add(transfer.received);
                self.fetched(id, bytes, hashing, ports)
            }
            (Phase::Checking, OpOutcome::Absent) => self.not_there(id, ports),
            (Phase::Checking, OpOutcome::Present { .. }) => self.over(id, Delivery::Present, ports),
            (Phase::Sending { spooled: None }, OpOutcome::Opened(session)) => {
                self.mounts_ended(id, None)?;
                self.spool(id, Some(session), ports)
            }
            (Phase::Sending { spooled: None }, OpOutcome::Unrelayed(session)) => {
                self.spool(id, session, ports)
            }
            (Phase::Sending { spooled }, OpOutcome::Sent { bytes }) => {
                self.mounts_ended(id, None)?;
                if spooled.is_none() {
                    self.note_relayed(id, ports.now)?;
                }
                self.sent(id, spooled, Delivery::Moved(bytes), ports)
            }
            (Phase::Sending { spooled }, OpOutcome::Present { .. }) => {
                self.mounts_ended(id, None)?;
                self.sent(id, spooled, Delivery::Present, ports)
            }
            (Phase::Sending { spooled }, OpOutcome::Mounted { from }) => {
                self.mounts_ended(id, Some(&from))?;
                self.sent(id, spooled, Delivery::Mounted, ports)
            }
            (phase, outcome) => {
                transfer.phase = phase;
                Err(transfer.defect(&format!("ended in {outcome:?}")))
            }
        }
    }

    /// The blob cannot be fetched, so it cannot be sent.
    fn source_ended(
        &mut self,
        id: TransferId,
        sink: ExchangeId,
        result: Settlement,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        transfer.source = None;
        let Settlement::Failed(error) = result else {
            return Err(transfer.defect("was not fetched"));
        };
        if ports.exchanges.abandon(sink) {
            // It ends first.
            transfer.failed = Some(error);
            return Ok(());
        }
        transfer.exchange = None;
        if transfer.cancelling {
            return self.stopped(id, ports);
        }
        self.fail(id, error, ports)
    }

    /// Begins to move a blob for its first waiter.
    fn begin(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        transfer.cancelling = false;
        let waiter = transfer.first()?;
        transfer.using = Some((waiter.source, waiter.urls));
        (transfer.size, transfer.recheck) = (waiter.size, waiter.recheck);
        (transfer.is_single, transfer.received) = (false, 0);
        transfer.parts = None;
        transfer.phase = Phase::Idle;
        self.open(id, ports)
    }

    /// The worker died; what it had taken over is with the store. Begins again there, unless that
    /// happens all the time.
    fn lost(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        transfer.lost += 1;
        if transfer.lost < ports.config.retry.attempts {
            return self.begin(id, ports);
        }
        let attempts = transfer.lost;
        // There may have been several requests.
        let what = format!("blob {}: the driver lost the job", transfer.key.digest());
        let last = Error::Driver { what };
        let error = Error::Exhausted {
            attempts,
            retry_after: None,
            last: last.into(),
        };
        self.fail(id, error, ports)
    }

    fn exchange(
        &mut self,
        id: TransferId,
        (site, op): (Site, Operation),
        waiter: &Waiter,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (owner, scopes) = (Owner::Transfer(id), waiter.scopes.clone());
        let exchange = ports.exchanges.begin(owner, waiter.task, site, op, scopes);
        transfer.exchange = Some(exchange);
        Ok(())
    }
}
