//! What goes out to one host, and how much of it at once.
//!
//! Responsible for the line of a host, its slots, making them fewer when it says "too much", and for pausing the lane
//! in which it said it. Must not know what the exchanges in it are about, nor whether they may go out (`dispatch`).
//!
//! The slots are for both lanes together, and so are they halved: they bound what a server has to do at once, whatever
//! that is. Only the time that it asks for may be about one lane's quota.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::line::{Lane, Line, Position};
use super::spending::Spending;
use super::{Exchange, Exchanges, State};
use crate::auth::AuthInput;
use crate::call::{Exchanged, Interrupted};
use crate::config::{Budget, Concurrency, Parts};
use crate::event::Event;
use crate::ids::{ExchangeId, JobId, TaskId};
use crate::registry::{Origin, Registry};
use crate::time::Time;

/// Whose slots a request needs. Requests for tokens need none of a registry's (contract 4), and go before
/// others.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Service {
    Tokens(Origin),
    Registry(Origin),
}

/// What a host may be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Requests at once.
    bounds: Concurrency,
    /// GETs of manifests in a time.
    manifests: Option<Budget>,
}

impl Allowance {
    /// Of a token service.
    const TOKENS: Self = Self {
        bounds: Concurrency {
            initial: 4,
            max: 4,
            min: 1,
        },
        manifests: None,
    };
}

/// An exchange is quick if it takes no longer than this and four times the shortest one: a connection that is made for
/// it takes up to three round trips more, and a small blob a moment.
const QUICK: Duration = Duration::from_millis(50);

/// Continuations are in one line, whatever their task: few are there at once, and all have begun.
const ANY: TaskId = TaskId(0);

#[derive(Debug)]
pub(super) struct Host {
    limit: u32,
    /// The bounds of `limit`.
    bounds: Concurrency,
    /// The shortest time that an exchange took.
    shortest: Option<Duration>,
    /// Good answers since the limit last grew, after it was halved.
    earned: u32,
    outside: u32,
    continuations: Line,
    queue: Line,
    /// Nothing of a lane goes out before this: the server asked for it.
    gates: [Option<Time>; 2],
    /// The GETs of manifests that count for the user's budget.
    spending: Spending,
    /// The first gate that something in line waits for.
    waits_until: Option<Time>,
    /// Jobs up to this one went out before the limit was last halved.
    halved: Option<JobId>,
}

/// Where an exchange waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spot {
    /// Among those of its host that were outside before.
    Continuation(Position),
    /// Among those of its host that were not.
    New(Position),
}

/// Where in the line of its host an exchange goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    First,
    Last,
}

impl Host {
    /// A host without requests.
    pub(super) const fn new(Allowance { bounds, manifests }: Allowance) -> Self {
        Self {
            limit: bounds.initial,
            bounds,
            shortest: None,
            earned: 0,
            outside: 0,
            continuations: Line::new(),
            queue: Line::new(),
            gates: [None; 2],
            spending: Spending::new(manifests),
            waits_until: None,
            halved: None,
        }
    }

    /// Puts an exchange in line; `begun` if it was outside before.
    fn enqueue(
        &mut self,
        id: ExchangeId,
        task: TaskId,
        lane: Lane,
        turn: Turn,
        begun: bool,
    ) -> Spot {
        match turn {
            Turn::First if begun => Spot::Continuation(self.continuations.push_back(ANY, lane, id)),
            Turn::First => Spot::New(self.queue.push_front(task, lane, id)),
            Turn::Last => Spot::New(self.queue.push_back(task, lane, id)),
        }
    }

    /// Puts one before everything else.
    pub(super) fn promote(&mut self, id: ExchangeId, spot: Spot) -> Spot {
        self.remove(spot);
        let (Spot::Continuation(position) | Spot::New(position)) = spot;
        Spot::Continuation(self.continuations.push_front(ANY, position.lane(), id))
    }

    /// Takes the first in line whose lane is open; continuations go before new exchanges.
    pub(super) fn take(&mut self) -> Option<ExchangeId> {
        let passed = Lane::ALL.map(|lane| self.has_passed(lane));
        let is_open = |lane| passed[lane as usize];
        self.continuations
            .pop_front(is_open)
            .or_else(|| self.queue.pop_front(is_open))
    }

    /// Takes one out of the line.
    pub(super) fn remove(&mut self, spot: Spot) {
        match spot {
            Spot::Continuation(position) => self.continuations.remove(position),
            Spot::New(position) => self.queue.remove(position),
        }
    }

    /// A job goes out: it holds a slot.
    pub(super) const fn occupy(&mut self) {
        self.outside += 1;
    }

    /// A job is back: its slot is free.
    pub(super) const fn vacate(&mut self) {
        self.outside = self.outside.saturating_sub(1);
    }

    /// How many jobs hold a slot.
    #[cfg(test)]
    pub(super) const fn outside(&self) -> u32 {
        self.outside
    }

    /// The answer to `job` was "too much": half as many, once for all that went out up to `newest`.
    fn shrink(&mut self, job: JobId, newest: JobId) {
        if self.halved.is_none_or(|halved| halved < job) {
            self.limit = (self.limit / 2).max(self.bounds.min).max(1);
            self.halved = Some(newest);
            self.earned = 0;
        }
    }

    /// A good answer came after this time: two more at once, if they were all in use, so that their number
    /// triples in the time of an answer. After trouble it is one more, for as many answers as there are slots. Beyond
    /// the first limit it takes quick answers, and each that is not quick takes a slot away: the server has enough
    /// to do, or the bytes need the time, not the round trips.
    fn grow(&mut self, took: Duration) {
        let shortest = self.shortest.map_or(took, |shortest| shortest.min(took));
        self.shortest = Some(shortest);
        let is_quick = took <= shortest * 4 + QUICK;
        if self.limit >= self.bounds.initial && !is_quick {
            self.limit = self.bounds.initial.max(self.limit - 1);
            return;
        }
        if self.outside + 1 < self.limit && !self.is_wanted() {
            return;
        }
        self.earned += 1;
        let more = match self.halved {
            None => 2,
            Some(_) if self.earned >= self.limit => 1,
            Some(_) => return,
        };
        self.earned = 0;
        self.limit = (self.limit + more).min(self.bounds.max);
    }

    /// How soon the first part of a blob has to be here for the host to be near.
    pub(super) fn near(&self, parts: &Parts) -> Duration {
        let (alone, requests) = (parts.near, self.outside + 1);
        match self.shortest {
            // More connections than these bring little: when the part is here says how busy both machines are.
            Some(shortest) if shortest < alone && requests >= (parts.most / 2).max(2) => {
                Duration::MAX
            }
            Some(shortest) if shortest <= alone / 4 => alone.saturating_mul(requests),
            Some(_) | None => alone,
        }
    }

    /// Nothing of a lane goes out before `until`.
    fn close(&mut self, lane: Lane, until: Time) {
        let gate = &mut self.gates[lane as usize];
        *gate = (*gate).max(Some(until));
    }

    /// Opens the gates whose time has come.
    fn open(&mut self, now: Time) {
        for gate in &mut self.gates {
            *gate = gate.filter(|at| *at > now);
        }
        self.spending.renew(now);
    }

    /// Whether something in line may go out now.
    pub(super) fn is_ready(&self) -> bool {
        self.has_slot() && self.is_wanted()
    }

    /// When a gate opens that something in line waits for, if there is a slot for it.
    fn opens_at(&self) -> Option<Time> {
        let waiting = Lane::ALL.into_iter().filter(|lane| self.has_line(*lane));
        let gates = waiting.filter_map(|lane| self.gate(lane));
        gates.min().filter(|_| self.has_slot())
    }

    /// Whether nothing is lost but its limit if it is forgotten.
    pub(super) fn is_idle(&self, now: Time) -> bool {
        let has_line = Lane::ALL.into_iter().any(|lane| self.has_line(lane));
        let has_gate = self.gates.iter().flatten().any(|gate| *gate > now);
        self.outside == 0 && !has_line && !has_gate && self.spending.is_idle(now)
    }

    /// Whether a slot is free that nothing waits for, and after that an eighth of all, for what comes next.
    pub(super) fn has_room(&self) -> bool {
        let reserved = (self.limit / 8).max(1);
        !self.is_wanted() && self.has_passed(Lane::Rest) && self.outside + reserved < self.limit
    }

    /// All that waits for a slot.
    pub(super) fn queued(&self) -> impl Iterator<Item = ExchangeId> {
        let lanes = Lane::ALL.into_iter();
        lanes.flat_map(|lane| self.continuations.ids(lane).chain(self.queue.ids(lane)))
    }

    /// Whether something waits for nothing but a slot.
    fn is_wanted(&self) -> bool {
        let mut lanes = Lane::ALL.into_iter();
        lanes.any(|lane| self.has_passed(lane) && self.has_line(lane))
    }

    fn has_line(&self, lane: Lane) -> bool {
        !(self.continuations.is_empty(lane) && self.queue.is_empty(lane))
    }

    /// Whether a request may go out now.
    pub(super) fn is_open(&self, lane: Lane) -> bool {
        self.has_slot() && self.has_passed(lane)
    }

    fn has_passed(&self, lane: Lane) -> bool {
        self.gate(lane).is_none()
    }

    /// Before when nothing of a lane goes out.
    fn gate(&self, lane: Lane) -> Option<Time> {
        let budget = match lane {
            Lane::Manifests => self.spending.opens_at(),
            Lane::Rest => None,
        };
        self.gates[lane as usize].max(budget)
    }

    const fn has_slot(&self) -> bool {
        self.outside < self.limit
    }
}

impl Exchanges {
    /// 429, 503 and a connection for which no file descriptor was left mean "too much": halves the slots, once
    /// per event, and sends nothing in this lane before the time that the response asked for.
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
        let crowded = exchanged.interrupted.as_ref();
        let crowded = crowded.is_some_and(Interrupted::is_out_of_descriptors);
        if !(crowded || matches!(status, 429 | 503)) || matches!(service, Service::Tokens(_)) {
            return;
        }
        host.shrink(job, self.newest);
        let cap = self
            .config
            .retry_for(&exchange.site.registry)
            .retry_after_cap;
        if let Some(asked) = asked.filter(|asked| *asked <= cap) {
            host.close(exchange.lane(), now + asked);
        }
        self.host_changed(&service);
    }

    pub(super) fn uncongested(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let (service, took) = (exchange.service(), self.now.since(exchange.sent_at));
        if let (Service::Registry(_), Some(host)) = (&service, self.hosts.get_mut(&service)) {
            host.grow(took);
        }
        self.host_changed(&service);
    }

    /// What the service of a registry may be asked for.
    pub(super) fn allowance(&self, service: &Service, registry: &Registry) -> Allowance {
        match service {
            Service::Tokens(_) => Allowance::TOKENS,
            Service::Registry(_) => {
                let bounds = self.config.in_flight_for(registry);
                Allowance {
                    bounds: Concurrency {
                        initial: bounds.initial.max(1),
                        ..bounds
                    },
                    manifests: self.config.manifests_for(registry),
                }
            }
        }
    }

    /// A request goes out: it counts for the budget if it is for a manifest. The tasks that have to wait then are
    /// told.
    pub(super) fn spend(&mut self, id: ExchangeId, service: &Service) {
        let lane = self.exchanges.get(&id).map(Exchange::lane);
        let (Some(Lane::Manifests), Some(host)) = (lane, self.hosts.get_mut(service)) else {
            return;
        };
        host.spending.spend(self.now);
        if host.spending.opens_at().is_some() {
            let waiting = host.continuations.ids(Lane::Manifests);
            let waiting = waiting.chain(host.queue.ids(Lane::Manifests));
            for id in waiting.collect::<Vec<_>>() {
                self.tell_pause(id, service);
            }
        }
    }

    /// A request for a manifest was not answered but challenged: it does not count.
    pub(super) fn refund(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let (service, sent_at) = (exchange.service(), exchange.sent_at);
        if let (Lane::Manifests, Some(host)) = (exchange.lane(), self.hosts.get_mut(&service)) {
            host.spending.refund(sent_at);
            self.host_changed(&service);
        }
    }

    /// Tells a task that it waits for a budget, if it does, once per pause.
    fn tell_pause(&mut self, id: ExchangeId, service: &Service) {
        /// Less is not worth telling.
        const LEAST: Duration = Duration::from_secs(1);
        let (Some(exchange), Some(host)) = (self.exchanges.get(&id), self.hosts.get_mut(service))
        else {
            return;
        };
        let registry = &exchange.site.registry;
        let after = host.spending.opens_at().map(|until| until.since(self.now));
        if let (Some(after), Some(budget)) = (after, self.config.manifests_for(registry))
            && after >= LEAST
            && host.spending.is_news_for(exchange.task)
        {
            let registry = registry.clone();
            let event = Event::Paused {
                registry,
                budget,
                after,
            };
            self.events.push_back((exchange.task, event));
        }
    }

    /// Puts an exchange in the line of its host.
    pub(super) fn line_up(
        &mut self,
        id: ExchangeId,
        task: TaskId,
        lane: Lane,
        (service, allowance): (&Service, Allowance),
        turn: Turn,
        begun: bool,
    ) -> Spot {
        if !self.hosts.contains_key(service) {
            self.forget_hosts();
        }
        let host = self.hosts.entry(service.clone());
        let spot = host
            .or_insert_with(|| Host::new(allowance))
            .enqueue(id, task, lane, turn, begun);
        if lane == Lane::Manifests {
            self.tell_pause(id, service);
        }
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
        let gate = host.opens_at();
        let before = core::mem::replace(&mut host.waits_until, gate);
        if before != gate {
            before.map(|at| self.gates.remove(&(at, service.clone())));
            self.gates.extend(gate.map(|at| (at, service.clone())));
        }
        if !host.is_ready() {
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
                host.open(now);
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
        // One half of a relay is in no line while it waits for the other one, and takes a slot with it.
        let waiting = self.exchanges.values();
        let waiting = waiting.filter(|it| it.state == State::Waiting);
        let waiting: BTreeSet<Service> = waiting.map(Exchange::service).collect();
        self.hosts.retain(|service, host| {
            let is_kept = !host.is_idle(now) || waiting.contains(service);
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

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(1);

    fn host(most: u32, manifests: Option<Budget>) -> Host {
        Host::new(Allowance {
            bounds: Concurrency::at_most(most),
            manifests,
        })
    }

    /// A host of which all slots are in use.
    fn busy() -> Host {
        let mut host = host(64, None);
        host.enqueue(ExchangeId(1), TaskId(1), Lane::Rest, Turn::Last, false);
        host.grow(SOON);
        host
    }

    fn after(host: &mut Host, answers: u32, took: Duration) -> u32 {
        (0..answers).for_each(|_| host.grow(took));
        host.limit
    }

    #[test]
    fn a_host_that_answers_at_once_is_near_beside_others() {
        let mut host = host(64, None);
        let parts = Parts {
            near: SOON,
            ..Parts::of_at_least(1)
        };
        assert_eq!(host.near(&parts), SOON, "nothing is known of it");
        host.outside = 4;
        host.grow(SOON);
        assert_eq!(host.near(&parts), SOON, "it may be as far away");
        host.grow(SOON / 4);
        assert_eq!(host.near(&parts), SOON * 5);
        host.outside = 5;
        assert_eq!(host.near(&parts), Duration::MAX, "half of the most");
        assert_eq!(host.near(&Parts::of_at_least(1)), Duration::ZERO);
        host.outside = 0;
        let two = Parts { most: 2, ..parts };
        assert_eq!(host.near(&two), SOON, "it is alone");
    }

    #[test]
    fn the_limit_grows_while_answers_are_quick() {
        let mut host = busy();
        assert_eq!(host.limit, 18);
        // As long as four round trips and a moment.
        assert_eq!(after(&mut host, 3, Duration::from_millis(250)), 24);
        assert_eq!(after(&mut host, 1, Duration::from_millis(251)), 23);
        assert_eq!(after(&mut host, 100, SOON), 64);
        assert_eq!(after(&mut host, 100, LATE), 16);
        // Up to the first limit it takes no quick ones.
        host.limit = 3;
        assert_eq!(after(&mut host, 100, LATE), 16);
    }

    #[test]
    fn the_limit_does_not_grow_unused() {
        let mut host = host(64, None);
        assert_eq!(after(&mut host, 100, SOON), 16);
        host.outside = 15;
        assert_eq!(after(&mut host, 1, SOON), 18);
        assert_eq!(after(&mut host, 100, SOON), 18);
    }

    #[test]
    fn after_trouble_the_limit_is_halved_and_grows_slowly() {
        let mut host = busy();
        host.limit = 64;
        host.shrink(JobId(1), JobId(9));
        assert_eq!(host.limit, 32);
        // The same event.
        host.shrink(JobId(9), JobId(10));
        assert_eq!(host.limit, 32);
        host.shrink(JobId(10), JobId(11));
        assert_eq!(host.limit, 16);
        assert_eq!(after(&mut host, 15, SOON), 16);
        assert_eq!(after(&mut host, 1, SOON), 17);
        assert_eq!(after(&mut host, 16, SOON), 17);
        assert_eq!(after(&mut host, 1, SOON), 18);
        (12..30).for_each(|job| host.shrink(JobId(job), JobId(job)));
        assert_eq!(host.limit, 1);
    }

    /// Of what is in line, that whose lane is not closed goes out, in its order; the gates open one by one.
    #[test]
    fn a_lane_that_is_closed_holds_up_no_other() {
        let (soon, late) = (Time::ZERO + SOON, Time::ZERO + LATE);
        let mut host = host(2, None);
        for (id, lane) in [(1, Lane::Manifests), (2, Lane::Rest), (3, Lane::Manifests)] {
            host.enqueue(ExchangeId(id), TaskId(1), lane, Turn::Last, false);
        }
        host.close(Lane::Manifests, late);
        host.close(Lane::Manifests, soon);
        assert!(host.is_ready() && host.is_open(Lane::Rest) && !host.is_open(Lane::Manifests));
        assert_eq!(host.opens_at(), Some(late));
        assert_eq!(host.take(), Some(ExchangeId(2)));
        assert!(
            !host.is_ready() && host.has_room(),
            "only of the other lane"
        );
        host.close(Lane::Rest, soon);
        assert!(!host.has_room());
        host.open(soon);
        assert!(!host.is_ready() && host.is_open(Lane::Rest) && !host.is_idle(late));
        host.outside = 2;
        assert_eq!(host.opens_at(), None, "there is no slot to wait for");
        host.outside = 0;
        host.open(late);
        assert_eq!(host.take(), Some(ExchangeId(1)));
        assert_eq!(host.take(), Some(ExchangeId(3)));
        assert!(host.is_idle(late));
    }

    #[test]
    fn a_budget_that_is_used_up_closes_the_lane_of_manifests() {
        let mut host = host(2, Some(Budget::new(1, LATE)));
        for (id, lane) in [(1, Lane::Manifests), (2, Lane::Rest)] {
            host.enqueue(ExchangeId(id), TaskId(1), lane, Turn::Last, false);
        }
        host.spending.spend(Time::ZERO);
        assert_eq!(host.opens_at(), Some(Time::ZERO + LATE));
        // The later one counts.
        host.close(Lane::Manifests, Time::ZERO + SOON);
        assert_eq!(host.opens_at(), Some(Time::ZERO + LATE));
        assert_eq!(host.take(), Some(ExchangeId(2)));
        assert!(!host.is_ready() && host.is_open(Lane::Rest));
        host.open(Time::ZERO + LATE);
        assert_eq!(host.take(), Some(ExchangeId(1)));
    }
}
