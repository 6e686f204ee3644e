//! What goes out to one host, and how much of it at once.
//!
//! Responsible for the line of a host, its slots, and making them fewer when it says "too much". Must
//! not know what the exchanges in it are about, nor whether they may go out (`dispatch`).

use alloc::collections::VecDeque;
use core::time::Duration;

use super::Exchanges;
use crate::call::{Exchanged, Interrupted, TransportErrorKind};
use crate::ids::{ExchangeId, JobId};
use crate::op::Operation;
use crate::store::StoreErrorKind;
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Host {
    limit: u32,
    outside: u32,
    continuations: VecDeque<ExchangeId>,
    queue: VecDeque<ExchangeId>,
    /// Nothing goes out before this: the server asked for it.
    gate: Option<Time>,
    /// Jobs up to this one went out before the limit was last halved.
    halved: Option<JobId>,
}

/// Where in the line of its host an exchange goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    First,
    Last,
}

impl Host {
    /// A host that may be sent to, so many requests at once.
    pub(super) const fn new(limit: u32) -> Self {
        Self {
            limit,
            outside: 0,
            continuations: VecDeque::new(),
            queue: VecDeque::new(),
            gate: None,
            halved: None,
        }
    }

    /// Puts an exchange in line; `begun` if it was outside before.
    pub(super) fn enqueue(&mut self, id: ExchangeId, turn: Turn, begun: bool) {
        match turn {
            Turn::First if begun => self.continuations.push_back(id),
            Turn::First => self.queue.push_front(id),
            Turn::Last => self.queue.push_back(id),
        }
    }

    /// Puts one that waits for its first turn before everything else.
    pub(super) fn promote(&mut self, id: ExchangeId) {
        self.queue.retain(|other| *other != id);
        self.continuations.push_front(id);
    }

    /// Takes whoever is first in line; continuations go before what is new.
    pub(super) fn take(&mut self) -> Option<ExchangeId> {
        self.gate = None;
        self.continuations
            .pop_front()
            .or_else(|| self.queue.pop_front())
    }

    /// Takes one out of the line.
    pub(super) fn remove(&mut self, id: ExchangeId) {
        self.queue.retain(|other| *other != id);
        self.continuations.retain(|other| *other != id);
    }

    /// A job goes out: it holds a slot.
    pub(super) const fn occupy(&mut self) {
        self.outside += 1;
    }

    /// A job is back: its slot is free.
    pub(super) const fn vacate(&mut self) {
        self.outside -= 1;
    }

    /// The answer to `job` was "too much": half as many, once for all that went out up to `newest`.
    fn shrink(&mut self, job: JobId, newest: JobId, least: u32) {
        if self.halved.is_none_or(|halved| halved < job) {
            self.limit = (self.limit / 2).max(least);
            self.halved = Some(newest);
        }
    }

    /// An answer was fine: one more at once.
    fn grow(&mut self, most: u32) {
        self.limit = (self.limit + 1).min(most);
    }

    /// Whether anything may go out now.
    pub(super) fn is_free(&self, now: Time) -> bool {
        self.gate.is_none_or(|gate| gate <= now) && self.has_slot()
    }

    /// When something in line may go out that only has to wait for its time.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        let waits = !self.continuations.is_empty() || !self.queue.is_empty();
        self.gate.filter(|_| waits && self.has_slot())
    }

    const fn has_slot(&self) -> bool {
        self.outside < self.limit
    }
}

impl Exchanges {
    /// 429 and 503 mean "too much", and so does a connection for which no file descriptor was left: fewer at
    /// once, once per event, and nobody before the time asked.
    pub(super) fn congested(
        &mut self,
        id: ExchangeId,
        exchanged: &Exchanged,
        job: JobId,
        asked: Option<Duration>,
        now: Time,
    ) {
        let status = exchanged.status.map_or(0, |status| status.as_u16());
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let Some(host) = self.hosts.get_mut(&exchange.site.origin) else {
            return;
        };
        let crowded = exchanged.interrupted.as_ref().is_some_and(is_crowded);
        if !(crowded || matches!(status, 429 | 503)) || matches!(exchange.op, Operation::Token(_)) {
            return;
        }
        host.shrink(job, self.newest, self.config.in_flight.least.max(1));
        if let Some(asked) = asked.filter(|asked| *asked <= self.config.retry.retry_after_cap) {
            host.gate = host.gate.max(Some(now + asked));
        }
    }

    pub(super) fn uncongested(&mut self, id: ExchangeId) {
        let most = self.config.in_flight.most;
        if let Some(exchange) = self.exchanges.get(&id)
            && let Some(host) = self.hosts.get_mut(&exchange.site.origin)
        {
            host.grow(most);
        }
    }
}

/// Whether it broke off only because no file descriptor was left, for the connection or for the body.
fn is_crowded(interrupted: &Interrupted) -> bool {
    match interrupted {
        Interrupted::Transport(error) | Interrupted::NotSent(error) => {
            error.kind == TransportErrorKind::Descriptors
        }
        Interrupted::Store(error) => error.kind() == StoreErrorKind::Descriptors,
        Interrupted::Damaged { .. } | Interrupted::Aborted => false,
    }
}
