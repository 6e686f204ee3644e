//! Fetching one large blob in several parts at once, into a partial that takes bytes at any offset.
//!
//! Responsible for which part is asked for next, for one hash that follows the bytes in order, and for going
//! on with one part at a time when the registry does not serve ranges. Must not know responses (`op`), nor
//! slots (`exchanges`).
//!
//! ```text
//!  hash of an earlier run's bytes ─▶ first part, alone ─┬─ all of it (200) ──────────────────▶ judge
//!                                                       └─ a range ─▶ parts beside each other ─┬─▶ judge
//!                                                                      └ one failed ─▶ one at a time ┘
//! ```
//!
//! The first part shows whether ranges are served, and whether the server is near: then all of the rest is the
//! second part. The first one carries the hash; a later one does if it begins where the
//! hash is. Bytes that arrive before their turn are hashed from the partial when it comes, while others
//! are fetched. If the digest is wrong in the end, the blob is fetched once more, as one stream.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use super::{BlobKey, BlobSource, Blobs, Phase, Transfer};
use crate::config::{Config, Slots};
use crate::error::Error;
use crate::event::Event;
use crate::exchanges::Settlement;
use crate::extents::Extents;
use crate::hashing::Hashing;
use crate::ids::{ExchangeId, Owner, TransferId};
use crate::op::{BlobGet, OpOutcome, Operation, Site};
use crate::ports::Ports;
use crate::scope::Scopes;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreId, StoreOp};
use crate::time::Time;

/// The parts of a blob that is being fetched.
#[derive(Debug)]
pub(super) struct Parts {
    /// Where they come from, also when the waiter that wanted them from there has left.
    site: Site,
    scopes: Scopes,
    /// What is in the partial, as far as is known.
    stored: Extents,
    running: BTreeMap<ExchangeId, Range<u64>>,
    /// The hash, as it was when it was last here.
    hashing: Hashing,
    /// The part that goes on with it.
    hashed_by: Option<ExchangeId>,
    /// How far a store's step goes on with it.
    hashing_to: Option<u64>,
    /// Whether a range was served.
    is_served: bool,
    /// When the first part was asked for.
    begun_at: Time,
    /// Whether the first part arrived so fast that one stream is as fast as several.
    is_near: bool,
    /// Whether what is missing is asked for one part after the other.
    is_single: bool,
    /// Bytes that were received.
    received: u64,
    /// What follows when nothing is outstanding any more.
    ending: Option<Ending>,
}

#[derive(Debug)]
enum Ending {
    Lost,
    Failed(Error),
}

impl Parts {
    fn new((site, scopes): (Site, Scopes), stored: Extents, hashing: Hashing) -> Self {
        Self {
            site,
            scopes,
            stored,
            running: BTreeMap::new(),
            hashing,
            hashed_by: None,
            hashing_to: None,
            is_served: false,
            begun_at: Time::ZERO,
            is_near: false,
            is_single: false,
            received: 0,
            ending: None,
        }
    }

    /// Whether a request or a store's step for it is outstanding.
    fn is_busy(&self) -> bool {
        self.hashing_to.is_some() || !self.running.is_empty()
    }

    /// The exchanges of the parts.
    pub(super) fn exchanges(&self) -> Vec<ExchangeId> {
        self.running.keys().copied().collect()
    }

    /// An exchange is gone.
    pub(super) fn forget(&mut self, exchange: ExchangeId) -> Option<Range<u64>> {
        if self.hashed_by == Some(exchange) {
            self.hashed_by = None;
        }
        self.running.remove(&exchange)
    }

    /// What is neither stored nor asked for.
    fn missing(&self, size: u64) -> Vec<Range<u64>> {
        let mut known = self.stored.clone();
        self.running.values().for_each(|it| known.add(it.clone()));
        known.gaps(size).collect()
    }

    /// The next part to ask for. One that would leave less than a part behind takes all.
    fn next(&self, size: u64, config: &Config, slots: Slots) -> Option<Range<u64>> {
        let missing = self.missing(size);
        let gap = missing.first()?.clone();
        let sizes = config.parts;
        let len = if self.is_single || (self.is_served && self.is_near) {
            u64::MAX
        } else if self.is_served {
            let missing = missing.iter().map(|gap| gap.end - gap.start).sum();
            sizes.next(missing, slots)
        } else {
            sizes.first()
        };
        let end = gap.start.saturating_add(len);
        let is_rest = self.is_served && gap.end.saturating_sub(end) < sizes.least;
        Some(gap.start..if is_rest { gap.end } else { end.min(gap.end) })
    }
}

impl Transfer {
    /// Whether the blob is fetched in parts if these are in the partial.
    fn has_parts(&self, stored: &Extents, config: &Config) -> bool {
        /// With fewer requests to a host at once, none is left for a part.
        const REQUESTS: u32 = 3;
        let Some(waiter) = self.waiters.front() else {
            return false;
        };
        let in_flight = match &waiter.source {
            BlobSource::Site(site) => config.in_flight_for(&site.registry),
            BlobSource::Store(_) => config.in_flight,
        };
        let missing = self.size.saturating_sub(stored.total());
        // One stream to the end would bring again what is stored behind a gap.
        let has_gaps = stored.total() > stored.prefix();
        !self.is_single
            && missing > 0
            && stored.end() <= self.size
            && (missing >= config.parts.threshold || has_gaps)
            && config.parts.most > 1
            && in_flight.max >= REQUESTS
            && waiter.urls.is_empty()
    }
}

impl Blobs {
    /// A partial is open that takes bytes at any offset, with these parts of an earlier run in it.
    pub(super) fn begun_with(
        &mut self,
        id: TransferId,
        stored: Extents,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (waiter, is_large) = (transfer.first()?, transfer.has_parts(&stored, ports.config));
        let BlobSource::Site(site) = waiter.source.clone() else {
            return self.begun_at(id, stored.prefix(), ports);
        };
        if !is_large {
            return self.begun_at(id, stored.prefix(), ports);
        }
        transfer.unverified_prefix = !stored.is_empty();
        transfer.phase = Phase::Fetching;
        let hashing = Hashing::for_digest(transfer.key.digest());
        transfer.parts = Some(Box::new(Parts::new((site, waiter.scopes), stored, hashing)));
        self.go_on(id, ports)
    }

    /// Takes the end of a part.
    pub(super) fn part_ended(
        &mut self,
        id: TransferId,
        exchange: ExchangeId,
        result: Settlement,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let task = transfer.task();
        let Some(parts) = transfer.parts.as_deref_mut() else {
            return Err(transfer.defect("is not fetched in parts"));
        };
        let Some(asked) = parts.forget(exchange) else {
            // It was given up.
            return Ok(());
        };
        match result {
            Settlement::Abandoned => {}
            Settlement::Lost => return self.end_parts(id, Ending::Lost, ports),
            Settlement::Failed(error) => return self.end_parts(id, Ending::Failed(error), ports),
            Settlement::Done(OpOutcome::Fetched {
                bytes,
                range,
                hashing,
                missed,
            }) => {
                parts.received = parts.received.saturating_add(bytes);
                if range == asked && range.end < transfer.size && !parts.is_served {
                    parts.is_served = true;
                    let took = ports.now.since(parts.begun_at);
                    parts.is_near = took < ports.exchanges.near(&parts.site);
                }
                parts.stored.add(range);
                if hashing.len() > parts.hashing.len() && parts.hashing_to.is_none() {
                    parts.hashing = hashing;
                }
                match missed {
                    Some(error @ Error::Store(_)) => {
                        return self.end_parts(id, Ending::Failed(error), ports);
                    }
                    Some(error) if !core::mem::replace(&mut parts.is_single, true) => {
                        let warning = format!("{error}; asking for one part at a time");
                        if let Some(task) = task {
                            ports.event(task, Event::Warning(warning));
                        }
                    }
                    Some(_) | None => {}
                }
            }
            Settlement::Done(outcome) => {
                return Err(transfer.defect(&format!("ended in {outcome:?}")));
            }
        }
        self.go_on(id, ports)
    }

    /// Takes the answer to the step that hashes bytes that are in order now.
    pub(super) fn part_hashed(
        &mut self,
        id: TransferId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        transfer.phase = Phase::Fetching;
        let Some(parts) = transfer.parts.as_deref_mut() else {
            return Err(transfer.defect("is hashed, but not in parts"));
        };
        let upto = parts.hashing_to.take();
        let error = match answer {
            Ok(StoreAnswer::Hashed(hashing)) if Some(hashing.len()) == upto => {
                parts.hashing = hashing;
                return self.go_on(id, ports);
            }
            Ok(answer) => {
                let what = format!("the store hashed other bytes than asked for: {answer:?}");
                StoreError::new(StoreErrorKind::Io, what)
            }
            // What ended the parts has stopped the hashing, too.
            Err(_) if parts.ending.is_some() => return self.go_on(id, ports),
            Err(error) => error,
        };
        let ending = Ending::Failed(Error::Store(error));
        self.end_parts(id, ending, ports)
    }

    /// Begins further parts while hosts have room for them. Whether any was begun.
    pub(crate) fn add_parts(&mut self, ports: &mut Ports<'_>) -> bool {
        let mut has_begun = false;
        // In the order in which they began. Those behind the first one that its host has no room for are not
        // looked at.
        let mut next = self.dividing.oldest();
        while let Some((id, from)) = next.pop_first() {
            let may_have_room = |ports: &Ports<'_>| {
                let from = from.as_ref();
                from.is_none_or(|from| ports.exchanges.may_have_room(from))
            };
            if !may_have_room(ports) {
                continue;
            }
            while self.add_part(id, ports) {
                has_begun = true;
            }
            next.extend(self.dividing.after(id, from));
        }
        has_begun
    }

    fn add_part(&mut self, id: TransferId, ports: &mut Ports<'_>) -> bool {
        let transfer = self.transfers.get(&id).filter(|it| !it.cancelling);
        let dividing = transfer.and_then(|transfer| {
            let parts = transfer.parts.as_deref()?;
            parts.is_dividing(ports.config).then_some((transfer, parts))
        });
        let Some((transfer, parts)) = dividing else {
            self.dividing.remove(id);
            return false;
        };
        // Each that waits for a token will take a slot.
        let mut running = parts.running.keys();
        if running.any(|it| ports.exchanges.is_parked(*it)) {
            return false;
        }
        let Some(range) = parts.next(transfer.size, ports.config, Slots::Free) else {
            self.dividing.remove(id);
            return false;
        };
        if let BlobKey::Store(store, _) = transfer.key
            && self.is_beginning(store)
        {
            return false;
        }
        let result = match self.part(id, range) {
            Ok(op) if ports.exchanges.has_room_for_part(&op) => self.begin_part(id, op, ports),
            Ok(_) => return false,
            Err(error) => Err(error),
        };
        let has_begun = result.is_ok();
        self.check(id, result, ports);
        has_begun
    }

    /// Whether other blobs for a store are about to want slots.
    fn is_beginning(&mut self, store: StoreId) -> bool {
        let all = (store, TransferId(0))..=(store, TransferId(u64::MAX));
        while let Some((_, id)) = self.beginning.range(all.clone()).next().copied() {
            let transfer = self.transfers.get(&id);
            if transfer.is_some_and(|it| matches!(it.phase, Phase::Beginning)) {
                return true;
            }
            self.beginning.remove(&(store, id));
        }
        false
    }

    /// Abandons what is outstanding for the parts of a blob. Whether some of it still comes back.
    pub(super) fn abandon_parts(&mut self, id: TransferId, ports: &mut Ports<'_>) -> bool {
        self.dividing.remove(id);
        let transfer = self.transfers.get_mut(&id);
        let Some(parts) = transfer.and_then(|it| it.parts.as_deref_mut()) else {
            return false;
        };
        for exchange in parts.exchanges() {
            if !ports.exchanges.abandon(exchange) {
                parts.forget(exchange);
            }
        }
        if parts.hashing_to.is_some() && !ports.store_queue.abandon(Owner::Transfer(id)).outside {
            parts.hashing_to = None;
        }
        parts.is_busy()
    }

    /// Ends all parts; what follows happens when nothing is outstanding any more.
    fn end_parts(
        &mut self,
        id: TransferId,
        ending: Ending,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        if let Some(parts) = transfer.parts.as_deref_mut() {
            // An error goes before a worker that died.
            let is_told = matches!(parts.ending, Some(Ending::Failed(_)));
            if !is_told {
                parts.ending = Some(ending);
            }
        }
        self.abandon_parts(id, ports);
        self.go_on(id, ports)
    }

    /// Hashes what is in order, asks for the next part if none is outstanding, or ends.
    fn go_on(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (size, cancelling) = (transfer.size, transfer.cancelling);
        let Some(parts) = transfer.parts.as_deref_mut() else {
            return Err(transfer.defect("is not fetched in parts"));
        };
        if cancelling || parts.ending.is_some() {
            return self.end_when_idle(id, ports);
        }
        let is_alone = !parts.running.is_empty() && !parts.shares();
        let in_order = parts.stored.prefix();
        let waits = parts.hashing_to.is_some() || parts.hashed_by.is_some() || is_alone;
        if in_order > parts.hashing.len() && !waits {
            parts.hashing_to = Some(in_order);
            let (hashing, upto) = (parts.hashing.clone(), in_order);
            let (store, digest) = transfer.stored()?;
            let op = StoreOp::Hash {
                digest,
                hashing,
                upto,
            };
            ports.step(Owner::Transfer(id), store, op);
        }
        let transfer = self.get(id)?;
        let Some(parts) = transfer.parts.as_deref() else {
            return Err(transfer.defect("is not fetched in parts"));
        };
        let is_idle = parts.running.is_empty();
        let next = if is_idle {
            // Whether slots are free is asked for any part.
            parts.next(size, ports.config, Slots::Taken)
        } else {
            None
        };
        match next {
            // The only one may begin the blob again: it is not read meanwhile.
            Some(_) if parts.hashing_to.is_some() && !parts.shares() => Ok(()),
            Some(range) => self.next_part(id, range, ports),
            None if parts.is_busy() => {
                self.note_dividing(id, ports.config);
                Ok(())
            }
            None => self.judge(id, ports),
        }
    }

    fn next_part(
        &mut self,
        id: TransferId,
        range: Range<u64>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let op = self.part(id, range)?;
        let slots = if ports.exchanges.has_room_for_part(&op) {
            Slots::Free
        } else {
            Slots::Taken
        };
        let transfer = self.get(id)?;
        let parts = transfer.parts.as_deref();
        let range = parts.and_then(|it| it.next(transfer.size, ports.config, slots));
        let op = BlobGet {
            end: range.map_or(op.end, |range| range.end),
            ..op
        };
        self.begin_part(id, op, ports)?;
        self.note_dividing(id, ports.config);
        Ok(())
    }

    fn note_dividing(&mut self, id: TransferId, config: &Config) {
        let transfer = self.transfers.get(&id);
        let parts = transfer.and_then(|it| it.parts.as_deref());
        match parts.filter(|it| it.is_dividing(config)) {
            Some(parts) => {
                let site = &parts.site;
                let is_one = site.sources().is_empty();
                self.dividing
                    .insert(id, is_one.then(|| site.origin.clone()));
            }
            None => self.dividing.remove(id),
        }
    }

    /// A request for a part.
    fn part(&mut self, id: TransferId, range: Range<u64>) -> Result<BlobGet, Error> {
        let transfer = self.get(id)?;
        let (store, digest) = transfer.stored()?;
        let Some(parts) = transfer.parts.as_deref() else {
            return Err(transfer.defect("is not fetched in parts"));
        };
        let is_here = parts.hashing_to.is_none() && parts.hashed_by.is_none();
        let hashing = if is_here && parts.hashing.len() == range.start {
            parts.hashing.clone()
        } else {
            parts.hashing.restarted()
        };
        Ok(BlobGet {
            site: parts.site.clone(),
            digest,
            size: transfer.size,
            store: Some(store),
            transfer: id,
            start: range.start,
            position: range.start,
            end: range.end,
            shares: parts.shares(),
            present: parts.stored.clone(),
            hashing,
            restarted: false,
            is_whole: false,
            shorts: 0,
            received: 0,
            urls: Vec::new(),
            url: None,
        })
    }

    fn begin_part(
        &mut self,
        id: TransferId,
        op: BlobGet,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let (range, now) = (op.start..op.end, ports.now);
        let transfer = self.get(id)?;
        let (owner, task) = (Owner::Transfer(id), transfer.first()?.task);
        let Some(parts) = transfer.parts.as_deref_mut() else {
            return Err(transfer.defect("is not fetched in parts"));
        };
        let scopes = parts.scopes.clone();
        let is_first = !(parts.is_served || parts.is_single);
        let is_next = parts.running.is_empty();
        let carries = op.hashing.len() == op.start && op.start == parts.hashing.len();
        let exchange = if is_first {
            let site = op.site.clone();
            ports
                .exchanges
                .begin(owner, task, site, Operation::BlobGet(op), scopes)
        } else {
            ports.exchanges.begin_part(owner, task, op, scopes, is_next)
        };
        parts.running.insert(exchange, range);
        if is_first {
            parts.begun_at = now;
        }
        if carries && parts.hashing_to.is_none() && parts.hashed_by.is_none() {
            parts.hashed_by = Some(exchange);
        }
        Ok(())
    }

    /// All parts are there, and hashed.
    fn judge(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        self.dividing.remove(id);
        let transfer = self.get(id)?;
        let Some(parts) = transfer.parts.take() else {
            return Err(transfer.defect("is not fetched in parts"));
        };
        if parts.hashing.digest() == *transfer.key.digest() {
            return self.commit(id, parts.received, ports);
        }
        transfer.is_single = true;
        transfer.received = parts.received;
        self.discard(id, ports)
    }

    fn end_when_idle(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        if transfer.parts.as_ref().is_some_and(|it| it.is_busy()) {
            return Ok(());
        }
        let parts = transfer.parts.take();
        let ending = parts.and_then(|it| it.ending);
        transfer.phase = Phase::Idle;
        if transfer.cancelling {
            return self.stopped(id, ports);
        }
        match ending {
            Some(Ending::Failed(error)) => self.fail(id, error, ports),
            Some(Ending::Lost) | None => self.lost(id, ports),
        }
    }
}

impl Parts {
    /// Whether parts are fetched beside each other.
    const fn shares(&self) -> bool {
        self.is_served && !self.is_single
    }

    /// Whether a further part may be asked for.
    fn is_dividing(&self, config: &Config) -> bool {
        let most = usize::try_from(config.parts.most).unwrap_or(usize::MAX);
        self.shares() && !self.is_near && self.ending.is_none() && self.running.len() < most
    }
}
