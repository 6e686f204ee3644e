//! The control plane of HTTP: which exchange goes out when, and what becomes of it.
//!
//! Responsible for slots per host, order (continuations first, then older tasks), waits, redirects, tries. Every
//! exchange passes the auth broker on its way out and `classify` on its way back.
//! Must not know tasks: the owner of an exchange gets its outcome as a [`Settled`].
//!
//! ```text
//!             ┌───────────── backing off ◀── may pass ──┐
//!             ▼                                         │
//!  begin ─▶ queued ──permit──▶ outside ──▶ classify ────┼─ answer ─▶ operation ─┬─▶ settled
//!             ▲  ▲    │                                 │                       │
//!             │  └─ parked ◀─ token, credential, probe  └─ redirect, challenge  └─ next ─┐
//!             └──────────────────────── continuations, first in line ◀───────────────────┘
//! ```

mod advice;
mod authorization;
pub(crate) mod classify;
mod dispatch;
mod endpoints;
mod host;
mod line;
mod relay;
mod responses;
mod sessions;
mod settle;
mod spending;
mod uploads;
mod wanted;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use http::Method;

use crate::auth::{AuthInput, AuthRequest, Broker, CredentialKey, TokenKey};
use crate::call::{Job, JobResult};
use crate::capabilities::Registries;
use crate::config::Config;
use crate::credential::{CredentialAnswer, CredentialCall, Question};
use crate::error::{Error, RequestLine};
use crate::event::Event;
use crate::ids::{ExchangeId, JobId, Owner, TaskId};
use crate::lanes::Lanes;
use crate::op::{BlobGet, OpOutcome, Operation, Site};
use crate::registry::{Origin, Registry};
use crate::retry::Tries;
use crate::rng::Rng;
use crate::scope::Scopes;
use crate::time::Time;
use crate::uri::Url;

use self::authorization::Held;
use self::endpoints::{Fallback, Resting};
use self::host::{HOSTS, Host, Service, Spot, Turn};
use self::line::Lane;
use self::uploads::Uploads;

/// The end of an exchange, for its owner.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) exchange: ExchangeId,
    pub(crate) owner: Owner,
    pub(crate) result: Settlement,
}

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum Settlement {
    Done(OpOutcome),
    Failed(Error),
    /// The worker of a download died, and the hash of what it received is gone.
    Lost,
    /// Its owner abandoned it while it was outside, and its job is back.
    Abandoned,
}

/// Questions for credentials outside at once for each registry: each may run a program.
const QUESTIONS: usize = 4;
/// How many different warnings of servers are told in a session.
const WARNINGS: usize = 100;
/// How many jobs may be outside without a slot because their callers do not read: each keeps a connection, and a
/// thread of the driver.
const UNREAD: usize = 256;
/// The smallest difference between two instants.
const TICK: Duration = Duration::from_micros(1);

#[derive(Debug)]
pub(crate) struct Exchanges {
    config: Config,
    broker: Broker,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    hosts: BTreeMap<Service, Host>,
    /// Services with a free slot and a request that may go out.
    ready: BTreeSet<Service>,
    /// Services with a free slot whose requests all wait until this time.
    gates: BTreeSet<(Time, Service)>,
    /// How many hosts are remembered before those without work are forgotten.
    room: usize,
    /// When exchanges that are backing off go on, and when others are given up.
    timers: BTreeSet<(Time, ExchangeId)>,
    /// Probes, pings and cleanups of tasks, which are not over before these.
    errands: BTreeMap<TaskId, BTreeSet<ExchangeId>>,
    /// The tasks of errands that have begun or are over since they were taken.
    freed: Vec<TaskId>,
    /// Those that are outside without a slot: their callers do not read.
    unread: BTreeSet<ExchangeId>,
    questions: BTreeMap<JobId, CredentialKey>,
    /// Questions that are to be asked, in the order of the number.
    asks: Lanes<Registry, (u64, Box<Question>)>,
    /// Jobs that shall end soon. Some are back.
    aborts: VecDeque<(ExchangeId, JobId)>,
    settled: VecDeque<Settled>,
    /// Parked exchanges that the broker resumes.
    unparked: Vec<ExchangeId>,
    events: VecDeque<(TaskId, Event)>,
    warned: BTreeSet<String>,
    registries: Registries,
    /// Mirrors that are put back.
    resting: Resting,
    /// Uploads that are open, and that others have left.
    pub(crate) uploads: Uploads,
    /// What each endpoint has served for the tasks that have several.
    served: BTreeMap<TaskId, BTreeMap<Origin, u64>>,
    /// The exchange that was gone first when a job had ended.
    missing: Option<ExchangeId>,
    next: u64,
    /// The job that went out last.
    newest: JobId,
    now: Time,
}

#[derive(Debug)]
struct Exchange {
    purpose: Purpose,
    task: TaskId,
    site: Site,
    op: Operation,
    scopes: Scopes,
    tries: Tries,
    state: State,
    /// When its last request went out.
    sent_at: Time,
    /// Where a redirect led, if one did.
    hop: Option<Url>,
    visited: Vec<Url>,
    /// How far it was when it last asked the registry for another address of its storage.
    asked_anew: Option<u64>,
    announced: bool,
    /// Whether it is a HEAD of a blob or a mount whose last try failed in a way that may last.
    is_vain: bool,
    /// Whether it was outside before: what follows goes before everything that was not.
    begun: bool,
    /// Its result is not wanted any more.
    abandoned: bool,
    /// An answer without credentials that stands unless credentials can be shown.
    held: Option<Box<Held>>,
    /// When it is given up, if that was said.
    until: Option<Time>,
    /// The other endpoints, if it is a read that has several.
    fallback: Option<Box<Fallback>>,
    /// The other exchange, if this is one of the two of a relay.
    partner: Option<ExchangeId>,
    /// Whether it, or what waits for it, has another endpoint left: it is not tried for long.
    hurries: bool,
}

#[derive(Clone, Debug)]
enum Purpose {
    Owner(Owner),
    Token(TokenKey),
    Probe,
    /// Asks `/v2/` for a challenge.
    Ping,
    /// Gives something back that is not needed, when its task has nothing else to do. Whether that
    /// works does not matter.
    Cleanup,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Queued(Spot),
    Parked,
    BackingOff(Time),
    Outside(JobId),
    /// For the other exchange of its relay.
    Waiting,
}

impl Exchanges {
    pub(crate) fn new(config: Config) -> Self {
        let broker = Broker::new(&config);
        let uploads = Uploads::new(config.keep_uploads);
        Self {
            uploads,
            config,
            broker,
            exchanges: BTreeMap::new(),
            hosts: BTreeMap::new(),
            ready: BTreeSet::new(),
            gates: BTreeSet::new(),
            room: HOSTS,
            timers: BTreeSet::new(),
            errands: BTreeMap::new(),
            freed: Vec::new(),
            unread: BTreeSet::new(),
            questions: BTreeMap::new(),
            asks: Lanes::new(QUESTIONS),
            aborts: VecDeque::new(),
            settled: VecDeque::new(),
            unparked: Vec::new(),
            events: VecDeque::new(),
            warned: BTreeSet::new(),
            registries: Registries::default(),
            resting: Resting::default(),
            served: BTreeMap::new(),
            missing: None,
            next: 0,
            newest: JobId(0),
            now: Time::ZERO,
        }
    }

    /// A task begins.
    pub(crate) fn begin_task(&mut self) {
        self.broker.handle(AuthInput::TaskBegan);
    }

    /// Begins an operation. Its owner gets one [`Settled`], unless it abandons it.
    pub(crate) fn begin(
        &mut self,
        owner: Owner,
        task: TaskId,
        site: Site,
        mut op: Operation,
        scopes: Scopes,
    ) -> ExchangeId {
        let (site, mut scopes, fallback) = self.endpoint(site, &mut op, scopes);
        scopes.merge(&self.config.scopes_for(&site.registry));
        let id = self.add(Purpose::Owner(owner), task, site, op, scopes);
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.hurries = fallback.as_ref().is_some_and(|it| it.has_more());
            exchange.fallback = fallback;
        }
        self.note_upload(id);
        id
    }

    /// Begins to fetch a further part of a blob. If it is `next` after all others have ended, it goes before
    /// what was not begun.
    pub(crate) fn begin_part(
        &mut self,
        owner: Owner,
        task: TaskId,
        op: BlobGet,
        scopes: Scopes,
        is_next: bool,
    ) -> ExchangeId {
        let site = op.site.clone();
        let id = self.begin(owner, task, site, Operation::BlobGet(op), scopes);
        if is_next {
            self.leave_line(id);
        }
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.announced = true;
            exchange.begun = is_next;
        }
        if is_next {
            self.enqueue(id, Turn::First);
        }
        id
    }

    /// Whether a host has slots for a further part of a blob: nothing waits for one, and some stay free for
    /// other tasks.
    pub(crate) fn has_room_for_part(&self, op: &BlobGet) -> bool {
        let mut first = Operation::BlobGet(op.clone());
        let (site, ..) = self.endpoint(op.site.clone(), &mut first, Scopes::default());
        let host = self.hosts.get(&Service::Registry(site.origin.clone()));
        let initial = self.config.in_flight_for(&site.registry).initial;
        host.map_or(initial > 1, Host::has_room)
    }

    /// Whether a host may have them: whether it does depends on the part if nothing was sent to it.
    pub(crate) fn may_have_room(&self, origin: &Origin) -> bool {
        let host = self.hosts.get(&Service::Registry(origin.clone()));
        host.is_none_or(Host::has_room)
    }

    /// How soon the first part of a blob has to be here for its server to be near. Where a server answers at once,
    /// each other request that is outside gives it as much time again; beside many, it is near in any case.
    pub(crate) fn near(&self, site: &Site) -> Duration {
        let parts = &self.config.parts;
        let host = self.hosts.get(&Service::Registry(site.origin.clone()));
        host.map_or(parts.near, |host| host.near(parts))
    }

    /// Whether an exchange waits for credentials, a token or a probe.
    pub(crate) fn is_parked(&self, id: ExchangeId) -> bool {
        let exchange = self.exchanges.get(&id);
        exchange.is_some_and(|it| matches!(it.state, State::Parked))
    }

    /// Abandons an exchange. Returns whether it is still outside; then it ends later.
    pub(crate) fn abandon(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        exchange.abandoned = true;
        if let State::Outside(job) = exchange.state {
            self.aborts.push_back((id, job));
            if let Some(until) = exchange.until {
                self.timers.remove(&(until, id));
            }
            return true;
        }
        self.give_up_upload(id, None);
        self.remove(id);
        false
    }

    /// The task that this exchange was for is over, and another one waits for it, too: what the exchange
    /// begins from now on is for that one.
    pub(crate) fn hand_over(&mut self, id: ExchangeId, task: TaskId) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.task = task;
            let partner = exchange.partner;
            if let Some(partner) = partner.and_then(|it| self.exchanges.get_mut(&it)) {
                partner.task = task;
            }
        }
    }

    /// A task fails: its probes are abandoned. Others that waited for a probe ask for themselves. Its cleanups
    /// are as useful as before.
    pub(crate) fn abandon_errands(&mut self, task: TaskId) {
        for id in self.errands_of(task) {
            let exchange = self.exchanges.get(&id);
            if exchange.is_some_and(|it| !matches!(it.purpose, Purpose::Cleanup)) {
                self.abandon(id);
            }
        }
    }

    /// Whether a probe or a cleanup of a task is not over yet.
    pub(crate) fn has_errand_of(&self, task: TaskId) -> bool {
        self.errands.contains_key(&task)
    }

    /// The tasks that may have no probe or cleanup any more, or have one that did not begin.
    pub(crate) fn take_freed(&mut self) -> Vec<TaskId> {
        core::mem::take(&mut self.freed)
    }

    /// A task has nothing else to do: its cleanups go out now, and are given up at `until`.
    pub(crate) fn clean_up(&mut self, task: TaskId, until: Time, now: Time) {
        for id in self.errands_of(task) {
            let Some(exchange) = self.exchanges.get_mut(&id) else {
                continue;
            };
            if !matches!(exchange.purpose, Purpose::Cleanup) || exchange.until.is_some() {
                continue;
            }
            if until <= now {
                self.abandon(id);
            } else {
                exchange.until = Some(until);
                self.timers.insert((until, id));
                self.enqueue(id, Turn::Last);
            }
        }
    }

    fn errands_of(&self, task: TaskId) -> Vec<ExchangeId> {
        let errands = self.errands.get(&task);
        errands.map_or_else(Vec::new, |errands| errands.iter().copied().collect())
    }

    pub(crate) fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Whether looking for a call made something that may go out at once.
    pub(crate) fn has_more(&self) -> bool {
        self.has_token_request() || !self.unparked.is_empty() || self.broker.has_output()
    }

    fn has_token_request(&self) -> bool {
        matches!(self.ready.first(), Some(Service::Tokens(_)))
    }

    pub(crate) fn take_abort(&mut self) -> Option<JobId> {
        while let Some((id, job)) = self.aborts.pop_front() {
            let exchange = self.exchanges.get(&id);
            if exchange.is_some_and(|it| it.state == State::Outside(job)) {
                return Some(job);
            }
        }
        None
    }

    pub(crate) fn take_event(&mut self) -> Option<(TaskId, Event)> {
        self.events.pop_front()
    }

    pub(crate) fn take_settled(&mut self) -> Option<Settled> {
        self.settled.pop_front()
    }

    /// A question for credentials that is to be asked now.
    pub(crate) fn next_question(&mut self, job: JobId) -> Option<CredentialCall> {
        let (_, question) = self.asks.pop()?;
        self.questions.insert(job, CredentialKey::of(&question));
        Some(CredentialCall::new(job, *question))
    }

    /// The next job that may go out now, and the exchange it is part of; of a relay that of the sink.
    pub(crate) fn next_job(&mut self, job: JobId, now: Time) -> Option<(ExchangeId, Job)> {
        self.now = self.now.max(now);
        self.wake(now);
        self.open_gates(now);
        while let Some(service) = self.ready.first().cloned() {
            if let Some(next) = self.next_job_for(&service, job, now) {
                return Some(next);
            }
            if matches!(service, Service::Registry(_)) && self.has_token_request() {
                // What the broker has to tell about it comes first.
                return None;
            }
        }
        None
    }

    fn next_job_for(
        &mut self,
        service: &Service,
        job: JobId,
        now: Time,
    ) -> Option<(ExchangeId, Job)> {
        loop {
            if !self.ready.contains(service) {
                return None;
            }
            let id = self.hosts.get_mut(service)?.take();
            self.host_changed(service);
            let id = id?;
            if self.drop_unwanted(id) || self.avoids(id) {
                continue;
            }
            if let Some(pair) = self.pair_of(id) {
                match self.relay(id, pair, job, now) {
                    Some(relay) => return Some((pair.sink, Job::Relay(relay.into()))),
                    None => continue,
                }
            }
            let Some(authorization) = self.permit(id, now) else {
                continue;
            };
            if let Some(call) = self.send(id, job, authorization) {
                self.spend(id, service);
                self.occupy(service);
                return Some((id, Job::Http(call.into())));
            }
        }
    }

    /// When something happens by itself.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let gate = self.gates.first().map(|(at, _)| *at);
        timer.into_iter().chain(gate).min()
    }

    /// A job's caller does not read: its slot is free for others. Whether it had one to give.
    pub(crate) fn yield_slot(&mut self, id: ExchangeId) -> bool {
        let is_download = self.exchanges.get(&id).is_some_and(|it| {
            // A relay's halves go as fast as each other.
            matches!(it.op, Operation::BlobGet(_)) && it.partner.is_none()
        });
        if !is_download || self.unread.len() >= UNREAD || self.unread.contains(&id) {
            return false;
        }
        self.came_back(id);
        self.unread.insert(id);
        true
    }

    /// Takes the answer to a question for credentials.
    pub(crate) fn question_ended(&mut self, job: JobId, outcome: JobResult, now: Time) {
        self.now = now;
        let Some(key) = self.questions.remove(&job) else {
            return;
        };
        self.asks.done(&key.registry);
        let answer = match outcome {
            JobResult::Credentials(answer) => answer,
            JobResult::Lost => {
                CredentialAnswer::Failed("the question for credentials was lost".into()).into()
            }
            JobResult::Http(_) | JobResult::Relay(_) | JobResult::Store(_) => {
                CredentialAnswer::Failed(
                    "the driver answered a question for credentials with something else".into(),
                )
                .into()
            }
        };
        let answered = AuthInput::Credentials(key, answer, now);
        self.broker.handle(answered);
        self.requeue_unparked();
    }

    /// Who gets the result of an exchange; `None` if it is for no owner above.
    pub(crate) fn owner_of(&self, id: ExchangeId) -> Option<Owner> {
        match self.exchanges.get(&id)?.purpose {
            Purpose::Owner(owner) => Some(owner),
            Purpose::Token(_) | Purpose::Probe | Purpose::Ping | Purpose::Cleanup => None,
        }
    }

    /// Notes that an exchange is gone with which something was to go on, which is a defect.
    const fn missing(&mut self, id: ExchangeId) {
        if self.missing.is_none() {
            self.missing = Some(id);
        }
    }

    /// Takes the end of a job of an exchange.
    pub(crate) fn call_ended(
        &mut self,
        (id, owner): (ExchangeId, Option<Owner>),
        job: JobId,
        outcome: JobResult,
        now: Time,
        rng: &mut Rng,
    ) {
        self.now = now;
        self.missing = None;
        self.came_back(id);
        let pair = self.relaying(id, job);
        let source = pair.map(|pair| pair.source);
        match (pair, outcome) {
            (Some(pair), JobResult::Relay(relayed)) => {
                self.relay_ended(pair, *relayed, job, now, rng);
            }
            (Some(pair), _) => self.relay_lost(pair, now, rng),
            (None, JobResult::Http(exchanged)) => self.ended(id, *exchanged, job, now, rng),
            (
                None,
                JobResult::Lost
                | JobResult::Relay(_)
                | JobResult::Store(_)
                | JobResult::Credentials(_),
            ) => self.lost(id, now, rng),
        }
        // Its owner would wait for ever.
        let gone = self.missing.filter(|it| *it == id || Some(*it) == source);
        if let (Some(_), Some(owner)) = (gone, owner) {
            let error = Error::internal("an exchange is gone before its end");
            self.settled.push_back(Settled {
                exchange: id,
                owner,
                result: Settlement::Failed(error),
            });
        }
        self.requeue_unparked();
    }

    fn add(
        &mut self,
        purpose: Purpose,
        task: TaskId,
        site: Site,
        op: Operation,
        scopes: Scopes,
    ) -> ExchangeId {
        let id = ExchangeId(self.next);
        self.next += 1;
        let exchange = Exchange {
            purpose,
            task,
            site,
            op,
            scopes,
            tries: Tries::default(),
            state: State::Parked,
            sent_at: Time::ZERO,
            hop: None,
            visited: Vec::new(),
            asked_anew: None,
            announced: false,
            is_vain: false,
            begun: false,
            abandoned: false,
            held: None,
            until: None,
            fallback: None,
            partner: None,
            hurries: false,
        };
        let waits = matches!(exchange.purpose, Purpose::Cleanup);
        if exchange.is_errand() {
            self.errands.entry(task).or_default().insert(id);
            self.freed.push(task);
        }
        self.exchanges.insert(id, exchange);
        if !waits {
            self.enqueue(id, Turn::Last);
        }
        id
    }

    fn enqueue(&mut self, id: ExchangeId, turn: Turn) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if let State::BackingOff(until) = exchange.state {
            self.timers.remove(&(until, id));
        }
        let (task, lane, begun) = (exchange.task, exchange.lane(), exchange.begun);
        let service = exchange.service();
        let allowance = self.allowance(&service, &exchange.site.registry);
        let spot = self.line_up(id, task, lane, (&service, allowance), turn, begun);
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.state = State::Queued(spot);
        }
    }

    /// A job of this exchange is back: its slot is free, unless it was before.
    fn came_back(&mut self, id: ExchangeId) {
        if self.unread.remove(&id) {
            return;
        }
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let service = exchange.service();
        if let Some(host) = self.hosts.get_mut(&service) {
            host.vacate();
        }
        self.host_changed(&service);
    }

    /// A job goes out: it holds a slot.
    fn occupy(&mut self, service: &Service) {
        if let Some(host) = self.hosts.get_mut(service) {
            host.occupy();
        }
        self.host_changed(service);
    }

    /// Takes an exchange out of where it waits.
    fn leave_line(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        match exchange.state {
            State::Queued(spot) => {
                exchange.state = State::Parked;
                let service = exchange.service();
                if let Some(host) = self.hosts.get_mut(&service) {
                    host.remove(spot);
                }
                self.host_changed(&service);
            }
            State::BackingOff(until) => {
                exchange.state = State::Parked;
                self.timers.remove(&(until, id));
            }
            State::Parked | State::Outside(_) | State::Waiting => {}
        }
    }

    fn remove(&mut self, id: ExchangeId) -> Option<Exchange> {
        self.leave_line(id);
        let exchange = self.exchanges.remove(&id)?;
        self.part_from(&exchange);
        if let Some(until) = exchange.until {
            self.timers.remove(&(until, id));
        }
        if let Some(errands) = self.errands.get_mut(&exchange.task)
            && errands.remove(&id)
            && errands.is_empty()
        {
            self.errands.remove(&exchange.task);
            self.freed.push(exchange.task);
        }
        if let Operation::BlobPut(op) = &exchange.op {
            self.uploads.ended(op);
        }
        let origin = &exchange.site.origin;
        self.broker.handle(AuthInput::Gone(id, origin));
        if matches!(exchange.purpose, Purpose::Ping) {
            self.broker.handle(AuthInput::PingGone(origin));
        }
        Some(exchange)
    }

    /// Puts those whose wait is over back in line, and gives up what was to end by now.
    fn wake(&mut self, now: Time) {
        let later = self.timers.split_off(&(now + TICK, ExchangeId(0)));
        let due = core::mem::replace(&mut self.timers, later);
        let mut due: Vec<ExchangeId> = due.into_iter().map(|(_, id)| id).collect();
        due.sort_unstable();
        due.dedup();
        let mut going_on = Vec::new();
        for id in due {
            let Some(exchange) = self.exchanges.get(&id) else {
                continue;
            };
            if exchange.until.is_some_and(|until| until <= now) {
                self.abandon(id);
            } else if matches!(exchange.state, State::BackingOff(at) if at <= now) {
                going_on.push(id);
            }
        }
        going_on
            .into_iter()
            .for_each(|id| self.enqueue(id, Turn::First));
        self.requeue_unparked();
    }

    fn requeue_unparked(&mut self) {
        self.serve_broker();
        while !self.unparked.is_empty() {
            let woken = core::mem::take(&mut self.unparked);
            let parked = |id: &ExchangeId| {
                let exchange = self.exchanges.get(id)?;
                (exchange.state == State::Parked).then_some((*id, exchange))
            };
            let woken: Vec<_> = woken.iter().filter_map(parked).collect();
            let is_held = |exchange: &Exchange| exchange.held.is_some();
            let of = |held: bool, begun: bool| {
                let those = woken
                    .iter()
                    .filter(move |(_, it)| is_held(it) == held && it.begun == begun);
                those.map(|(id, _)| *id)
            };
            let held: Vec<_> = of(true, true).collect();
            // Each is put in front of the others, so they go in reverse order.
            let others: Vec<_> = of(false, true).chain(of(false, false).rev()).collect();
            others
                .into_iter()
                .for_each(|id| self.enqueue(id, Turn::First));
            held.into_iter().for_each(|id| self.check_held(id));
            self.serve_broker();
        }
    }
}

impl Exchange {
    /// Whether its task waits for it at its end.
    const fn is_errand(&self) -> bool {
        matches!(
            self.purpose,
            Purpose::Probe | Purpose::Ping | Purpose::Cleanup
        )
    }

    /// What its requests need a slot of.
    fn service(&self) -> Service {
        if let Operation::Token(op) = &self.op {
            return Service::Tokens(op.realm.origin().clone());
        }
        Service::Registry(self.site.origin.clone())
    }

    /// Among which of its host's requests it is. What another server was asked for after a redirect is not counted
    /// as a manifest.
    fn lane(&self) -> Lane {
        let is_here = |url: &Url| url.origin() == &self.site.origin;
        if matches!(self.op, Operation::ManifestGet(_)) && self.hop.as_ref().is_none_or(is_here) {
            return Lane::Manifests;
        }
        Lane::Rest
    }

    /// Where the next request goes.
    fn url(&self) -> Url {
        self.hop.clone().unwrap_or_else(|| self.op.draft().url)
    }

    /// Whether another server chose the URL of the next request: credentials that a redirect left behind
    /// are not taken up again when another one leads back (as in Go, CVE-2024-45336).
    fn is_foreign(&self) -> bool {
        if matches!(&self.op, Operation::BlobGet(op) if op.url.is_some()) {
            // A manifest named the URL. Even if it leads to the registry, credentials are not for it.
            return true;
        }
        let is_other = |url: &Url| url.origin() != &self.site.origin;
        is_other(&self.url()) || self.visited.iter().any(is_other)
    }

    /// What a redirect led to does not count any more: the next request goes to the registry.
    fn begin_anew(&mut self) {
        self.asked_anew = None;
        self.hop = None;
        self.visited.clear();
    }

    fn line(&self, method: &Method, url: &Url) -> RequestLine {
        RequestLine::new(&self.site.registry, method, url)
    }

    fn auth_request(&self, id: ExchangeId, url: &Url) -> AuthRequest<'_> {
        let method = self.op.draft().method;
        AuthRequest {
            id,
            site: &self.site,
            task_scopes: &self.scopes,
            required_scopes: self.op.needs(),
            large: matches!(self.op, Operation::BlobGet(_)),
            is_head: method == Method::HEAD,
            line: self.line(&method, url),
        }
    }
}

#[cfg(test)]
mod tests;
