//! What goes out to one host, and how much of it at once.
//!
//! Responsible for the line of a host, its slots, and making them fewer when it says "too much". Must
//! not know what the exchanges in it are about, nor whether they may go out (`dispatch`).

use core::time::Duration;

use super::line::{Line, Place};
use super::{Exchanges, State};
use crate::auth::AuthInput;
use crate::call::{Exchanged, Interrupted, TransportErrorKind};
use crate::ids::{ExchangeId, JobId, TaskId};
use crate::registry::Origin;
use crate::store::StoreErrorKind;
use crate::time::Time;

/// Whose slots a request needs. Requests for tokens need none of a registry's (contract 4), and go before
/// others.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Service {
    Tokens(Origin),
    Registry(Origin),
}

/// Requests to a token service at once.
const TOKEN_REQUESTS: u32 = 4;

/// Continuations are in one line, whatever their task: few are there at once, and all have begun.
const ANY: TaskId = TaskId(0);

#[derive(Debug)]
pub(super) struct Host {
    limit: u32,
    outside: u32,
    continuations: Line,
    queue: Line,
    /// Nothing goes out before this: the server asked for it.
    gate: Option<Time>,
    /// The gate that something in line waits for.
    waits_until: Option<Time>,
    /// Jobs up to this one went out before the limit was last halved.
    halved: Option<JobId>,
}

/// Where an exchange waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spot {
    /// Among those of its host that were outside before.
    Continuation(Place),
    /// Among those of its host that were not.
    New(Place),
}

/// Where in the line of its host an exchange goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    First,
    Last,
}

impl Host {
    /// A host without requests, with at most `limit` slots.
    pub(super) const fn new(limit: u32) -> Self {
        Self {
            limit,
            outside: 0,
            continuations: Line::new(),
            queue: Line::new(),
            gate: None,
            waits_until: None,
            halved: None,
        }
    }

    /// Puts an exchange in line; `begun` if it was outside before.
    fn enqueue(&mut self, id: ExchangeId, task: TaskId, turn: Turn, begun: bool) -> Spot {
        match turn {
            Turn::First if begun => Spot::Continuation(self.continuations.push_back(ANY, id)),
            Turn::First => Spot::New(self.queue.push_front(task, id)),
            Turn::Last => Spot::New(self.queue.push_back(task, id)),
        }
    }

    /// Puts one before everything else.
    pub(super) fn promote(&mut self, id: ExchangeId, spot: Spot) -> Spot {
        self.remove(spot);
        Spot::Continuation(self.continuations.push_front(ANY, id))
    }

    /// Takes the first in line; continuations go before new exchanges.
    pub(super) fn take(&mut self) -> Option<ExchangeId> {
        self.gate = None;
        self.continuations
            .pop_front()
            .or_else(|| self.queue.pop_front())
    }

    /// Takes one out of the line.
    pub(super) fn remove(&mut self, spot: Spot) {
        match spot {
            Spot::Continuation(place) => self.continuations.remove(place),
            Spot::New(place) => self.queue.remove(place),
        }
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

    /// Whether something in line has a slot: it goes out now, or when the gate opens.
    pub(super) fn is_ready(&self) -> bool {
        self.has_slot() && !(self.continuations.is_empty() && self.queue.is_empty())
    }

    /// Whether nothing is lost but its limit if it is forgotten.
    pub(super) fn is_idle(&self, now: Time) -> bool {
        let waits = !(self.continuations.is_empty() && self.queue.is_empty());
        self.outside == 0 && !waits && self.gate.is_none_or(|gate| gate <= now)
    }

    /// Whether a slot is free that nothing waits for, and after that an eighth of all, for what comes next.
    pub(super) fn has_room(&self) -> bool {
        let waits = !(self.continuations.is_empty() && self.queue.is_empty());
        let reserved = (self.limit / 8).max(1);
        !waits && self.gate.is_none() && self.outside + reserved < self.limit
    }

    const fn has_slot(&self) -> bool {
        self.outside < self.limit
    }
}

impl Exchanges {
    /// 429, 503 and a connection for which no file descriptor was left mean "too much": halves the slots, once
    /// per event, and sends nothing before the time that the response asked for.
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
        let service = exchange.service();
        let Some(host) = self.hosts.get_mut(&service) else {
            return;
        };
        let crowded = exchanged.interrupted.as_ref().is_some_and(is_crowded);
        if !(crowded || matches!(status, 429 | 503)) || matches!(service, Service::Tokens(_)) {
            return;
        }
        host.shrink(job, self.newest, self.config.in_flight.min.max(1));
        if let Some(asked) = asked.filter(|asked| *asked <= self.config.retry.retry_after_cap) {
            host.gate = host.gate.max(Some(now + asked));
        }
        self.host_changed(&service);
    }

    pub(super) fn uncongested(&mut self, id: ExchangeId) {
        let most = self.config.in_flight.max;
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let service = exchange.service();
        if let (Service::Registry(_), Some(host)) = (&service, self.hosts.get_mut(&service)) {
            host.grow(most);
        }
        self.host_changed(&service);
    }

    /// Puts an exchange in the line of its host.
    pub(super) fn line_up(
        &mut self,
        id: ExchangeId,
        task: TaskId,
        service: &Service,
        turn: Turn,
        begun: bool,
    ) -> Spot {
        if !self.hosts.contains_key(service) {
            self.forget_hosts();
        }
        let first = match service {
            Service::Tokens(_) => TOKEN_REQUESTS,
            Service::Registry(_) => self.config.in_flight.initial.max(1),
        };
        let host = self.hosts.entry(service.clone());
        let spot = host
            .or_insert_with(|| Host::new(first))
            .enqueue(id, task, turn, begun);
        self.host_changed(service);
        spot
    }

    /// A probe goes before everything else that waits for its host.
    pub(super) fn promote(&mut self, probe: ExchangeId, origin: &Origin) {
        if let Some(exchange) = self.exchanges.get_mut(&probe)
            && let State::Queued(spot) = exchange.state
            && let Some(host) = self.hosts.get_mut(&Service::Registry(origin.clone()))
        {
            exchange.state = State::Queued(host.promote(probe, spot));
        }
    }

    /// Notes whether something may go out to a host of which something changed.
    pub(super) fn host_changed(&mut self, service: &Service) {
        let Some(host) = self.hosts.get_mut(service) else {
            return;
        };
        let gate = host.gate.filter(|_| host.is_ready());
        let before = core::mem::replace(&mut host.waits_until, gate);
        if before != gate {
            before.map(|at| self.gates.remove(&(at, service.clone())));
            self.gates.extend(gate.map(|at| (at, service.clone())));
        }
        if !host.is_ready() || gate.is_some() {
            self.ready.remove(service);
        } else if !self.ready.contains(service) {
            self.ready.insert(service.clone());
        }
    }

    /// Opens the gates whose time has come.
    pub(super) fn open_gates(&mut self, now: Time) {
        while let Some((at, service)) = self.gates.first().cloned()
            && at <= now
        {
            if let Some(host) = self.hosts.get_mut(&service) {
                host.gate = None;
            }
            self.host_changed(&service);
        }
    }

    /// Forgets hosts that have nothing to do if there are many: a client lives for days. Each time half
    /// of the room is free again, or it is not tried for as many new hosts as there are.
    fn forget_hosts(&mut self) {
        if self.hosts.len() < self.room {
            return;
        }
        let now = self.now;
        self.hosts.retain(|service, host| {
            let is_kept = !host.is_idle(now);
            if let (Service::Registry(origin), false) = (service, is_kept) {
                self.broker.handle(AuthInput::HostForgotten(origin));
            }
            is_kept
        });
        self.room = HOSTS.max(self.hosts.len() * 2);
        let hosts = &self.hosts;
        self.registries
            .retain(|origin| hosts.contains_key(&Service::Registry(origin.clone())));
    }
}

/// How many hosts are remembered although nothing waits for them.
pub(super) const HOSTS: usize = 500;

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
