//! The control plane of HTTP: which exchange goes out when, and what becomes of it.
//!
//! Responsible for slots per host, order (continuations first), waits, redirects, tries. Every
//! exchange passes the auth broker on its way out and `classify` on its way back.
//! Must not know tasks: whoever wants an operation done gets its outcome as a [`Settled`].
//!
//! ```text
//!             ┌───────────── backing off ◀── may pass ──┐
//!             ▼                                         │
//!  begin ─▶ queued ──permit──▶ outside ──▶ classify ────┼─ answer ─▶ operation ─┬─▶ settled
//!             ▲  ▲    │                                 │                       │
//!             │  └─ parked ◀─ token, credential, probe  └─ redirect, challenge  └─ next ─┐
//!             └──────────────────────── continuations, first in line ◀───────────────────┘
//! ```

pub(crate) mod classify;
mod dispatch;
mod host;
mod looking;
mod responses;
mod wanted;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use http::Method;

use crate::auth::{Asking, Broker, Key, Memo};
use crate::call::{Call, Outcome as Ended};
use crate::config::Config;
use crate::credential::{CredentialAnswer, CredentialCall};
use crate::error::{Error, RequestLine};
use crate::event::Event;
use crate::ids::{ExchangeId, JobId, Owner, TaskId};
use crate::op::{Operation, Outcome, Site};
use crate::reference::Repository;
use crate::registry::{Origin, Registry};
use crate::retry::Tries;
use crate::rng::Rng;
use crate::scope::Scopes;
use crate::time::Time;
use crate::uri::Url;

use self::host::{Host, Turn};
use self::looking::Held;

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
    Done(Outcome),
    Failed(Error),
    /// The worker of a download died, and the hash of what it received is gone.
    Lost,
}

/// Token requests outside at once: they hold no slot of any host (contract 4).
const TOKEN_REQUESTS: usize = 4;
/// Questions for credentials outside at once: each may run a program.
const QUESTIONS: usize = 4;
/// How many different warnings of servers are told in a session.
const WARNINGS: usize = 100;
/// How long a task waits at its end for what it gives back.
const CLEANUP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Exchanges {
    config: Config,
    broker: Broker,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    hosts: BTreeMap<Origin, Host>,
    tokens: VecDeque<ExchangeId>,
    tokens_outside: usize,
    questions: BTreeMap<JobId, (Registry, Repository)>,
    asks: VecDeque<(Registry, Repository, Origin)>,
    aborts: VecDeque<JobId>,
    settled: VecDeque<Settled>,
    events: VecDeque<(TaskId, Event)>,
    warned: BTreeSet<String>,
    /// Repositories of a registry that it does not mount from: asking again would cost a round trip
    /// per blob (users.md 16.2).
    unmountable: BTreeSet<(Origin, Repository)>,
    /// Registries that take the bytes of a blob by PATCH only.
    patching: BTreeSet<Origin>,
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
    wish: Scopes,
    memo: Memo,
    tries: Tries,
    state: State,
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
    /// Nobody wants it any more.
    abandoned: bool,
    /// An answer without credentials that stands unless credentials can be shown.
    held: Option<alloc::boxed::Box<Held>>,
    /// When it is given up, if that was said.
    until: Option<Time>,
}

#[derive(Clone, Debug)]
enum Purpose {
    Owner(Owner),
    Token(Key),
    Probe,
    /// Asks `/v2/` for a challenge.
    Ping,
    /// Gives something back that is not needed, when its task has nothing else to do. Whether that
    /// works does not matter.
    Cleanup,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Queued,
    Parked,
    BackingOff(Time),
    Outside(JobId),
}

impl Exchanges {
    pub(crate) fn new(config: Config) -> Self {
        let broker = Broker::new(config.trusted_realms.clone(), config.limits.token_body);
        Self {
            config,
            broker,
            exchanges: BTreeMap::new(),
            hosts: BTreeMap::new(),
            tokens: VecDeque::new(),
            tokens_outside: 0,
            questions: BTreeMap::new(),
            asks: VecDeque::new(),
            aborts: VecDeque::new(),
            settled: VecDeque::new(),
            events: VecDeque::new(),
            warned: BTreeSet::new(),
            unmountable: BTreeSet::new(),
            patching: BTreeSet::new(),
            next: 0,
            newest: JobId(0),
            now: Time::ZERO,
        }
    }

    /// Where a repository of a registry is contacted.
    pub(crate) fn site(&self, registry: &Registry, repository: &Repository) -> Site {
        let endpoints = &self.config.endpoints;
        let is_hub_too = |name: &&Registry| name.is_docker_hub() && registry.is_docker_hub();
        let key = endpoints.keys().find(is_hub_too).unwrap_or(registry);
        let origin = endpoints.get(key).cloned();
        Site {
            registry: registry.clone(),
            origin: origin.unwrap_or_else(|| registry.origin()),
            repository: repository.clone(),
        }
    }

    /// A task begins.
    pub(crate) fn begin_task(&mut self) {
        self.broker.begin_task();
    }

    /// Begins an operation. Its owner gets one [`Settled`], unless it abandons it.
    pub(crate) fn begin(
        &mut self,
        owner: Owner,
        task: TaskId,
        site: Site,
        op: Operation,
        wish: Scopes,
    ) -> ExchangeId {
        self.add(Purpose::Owner(owner), task, site, op, wish)
    }

    /// Nobody wants this exchange any more. Whether it is still outside; then it ends later.
    pub(crate) fn abandon(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        exchange.abandoned = true;
        if let State::Outside(job) = exchange.state {
            self.aborts.push_back(job);
            return true;
        }
        self.remove(id);
        false
    }

    /// A task fails: its probes and cleanups are abandoned. Others that waited for a probe ask for
    /// themselves.
    pub(crate) fn abandon_errands(&mut self, task: TaskId) {
        for id in self.errands_of(task) {
            self.abandon(id);
        }
    }

    /// Whether a probe or a cleanup of a task is not over yet.
    pub(crate) fn has_errand_of(&self, task: TaskId) -> bool {
        !self.errands_of(task).is_empty()
    }

    /// A task has nothing else to do: its cleanups go out now, and are given up after a while.
    pub(crate) fn clean_up(&mut self, task: TaskId, now: Time) {
        let waits = |exchange: &Exchange| {
            let is_cleanup = matches!(exchange.purpose, Purpose::Cleanup);
            is_cleanup && exchange.task == task && exchange.until.is_none()
        };
        let due = self.exchanges.iter_mut().filter(|(_, it)| waits(it));
        let mut ids = Vec::new();
        for (id, exchange) in due {
            exchange.until = Some(now + CLEANUP);
            ids.push(*id);
        }
        ids.into_iter().for_each(|id| self.enqueue(id, Turn::Last));
    }

    fn errands_of(&self, task: TaskId) -> Vec<ExchangeId> {
        let is_errand = |exchange: &Exchange| {
            exchange.task == task
                && matches!(
                    exchange.purpose,
                    Purpose::Probe | Purpose::Ping | Purpose::Cleanup
                )
        };
        let errands = self.exchanges.iter().filter(|(_, it)| is_errand(it));
        errands.map(|(id, _)| *id).collect()
    }

    /// Whether an exchange is not over yet.
    pub(crate) fn is_open(&self, id: ExchangeId) -> bool {
        self.exchanges.contains_key(&id)
    }

    pub(crate) fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Whether looking for a call made something that may go out at once.
    pub(crate) fn has_more(&self) -> bool {
        let tokens = !self.tokens.is_empty() && self.tokens_outside < TOKEN_REQUESTS;
        tokens || self.broker.has_woken()
    }

    pub(crate) fn take_abort(&mut self) -> Option<JobId> {
        self.aborts.pop_front()
    }

    pub(crate) fn take_event(&mut self) -> Option<(TaskId, Event)> {
        self.events.pop_front()
    }

    pub(crate) fn take_settled(&mut self) -> Option<Settled> {
        self.settled.pop_front()
    }

    /// A question for credentials that is to be asked now.
    pub(crate) fn next_question(&mut self, job: JobId) -> Option<CredentialCall> {
        if self.questions.len() >= QUESTIONS {
            return None;
        }
        let (registry, repository, recipient) = self.asks.pop_front()?;
        self.questions
            .insert(job, (registry.clone(), repository.clone()));
        Some(CredentialCall::new(
            job,
            registry,
            Some(repository),
            recipient,
        ))
    }

    /// The next request that may go out now, and the exchange it is part of.
    pub(crate) fn next_call(&mut self, job: JobId, now: Time) -> Option<(ExchangeId, Call)> {
        self.wake(now);
        while self.tokens_outside < TOKEN_REQUESTS {
            let Some(id) = self.tokens.pop_front() else {
                break;
            };
            if self.drop_unwanted(id) {
                continue;
            }
            if let Some(call) = self.send(id, job, None) {
                self.tokens_outside += 1;
                return Some((id, call));
            }
        }
        let origins: Vec<Origin> = self.hosts.keys().cloned().collect();
        origins
            .into_iter()
            .find_map(|origin| self.next_call_to(&origin, job, now))
    }

    fn next_call_to(
        &mut self,
        origin: &Origin,
        job: JobId,
        now: Time,
    ) -> Option<(ExchangeId, Call)> {
        loop {
            let host = self.hosts.get_mut(origin)?;
            if !host.is_free(now) {
                return None;
            }
            let id = host.take()?;
            let Some(authorization) = self.permit(id, now) else {
                continue;
            };
            if let Some(call) = self.send(id, job, authorization) {
                self.hosts.get_mut(origin)?.occupy();
                return Some((id, call));
            }
        }
    }

    /// When something happens by itself.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        let backing = self
            .exchanges
            .values()
            .filter_map(|exchange| match exchange.state {
                State::BackingOff(until) => Some(until),
                State::Queued | State::Parked | State::Outside(_) => None,
            });
        let gated = self.hosts.values().filter_map(Host::wakes_at);
        let ending = self.exchanges.values().filter(|it| !it.abandoned);
        let ending = ending.filter_map(|exchange| exchange.until);
        backing.chain(gated).chain(ending).min()
    }

    /// Takes the answer to a question for credentials.
    pub(crate) fn question_ended(&mut self, job: JobId, outcome: Ended) {
        let Some((registry, repository)) = self.questions.remove(&job) else {
            return;
        };
        let answer = match outcome {
            Ended::Credentials(answer) => answer,
            Ended::Lost => CredentialAnswer::Failed("the question for credentials was lost".into()),
            Ended::Http(_) | Ended::Store(_) => CredentialAnswer::Failed(
                "the driver answered a question for credentials with something else".into(),
            ),
        };
        self.broker.answered(&registry, &repository, answer);
        self.rouse();
    }

    /// Takes the end of a job of an exchange.
    pub(crate) fn call_ended(
        &mut self,
        id: ExchangeId,
        job: JobId,
        outcome: Ended,
        now: Time,
        rng: &mut Rng,
    ) {
        self.aborts.retain(|abort| *abort != job);
        self.now = now;
        self.came_back(id);
        match outcome {
            Ended::Http(exchanged) => self.ended(id, *exchanged, job, now, rng),
            Ended::Lost | Ended::Store(_) | Ended::Credentials(_) => self.lost(id, now, rng),
        }
        self.rouse();
    }

    fn add(
        &mut self,
        purpose: Purpose,
        task: TaskId,
        site: Site,
        op: Operation,
        wish: Scopes,
    ) -> ExchangeId {
        let id = ExchangeId(self.next);
        self.next += 1;
        let exchange = Exchange {
            purpose,
            task,
            site,
            op,
            wish,
            memo: Memo::default(),
            tries: Tries::default(),
            state: State::Parked,
            hop: None,
            visited: Vec::new(),
            asked_anew: None,
            announced: false,
            is_vain: false,
            begun: false,
            abandoned: false,
            held: None,
            until: None,
        };
        let waits = matches!(exchange.purpose, Purpose::Cleanup);
        self.exchanges.insert(id, exchange);
        if !waits {
            self.enqueue(id, Turn::Last);
        }
        id
    }

    fn enqueue(&mut self, id: ExchangeId, turn: Turn) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        exchange.state = State::Queued;
        if matches!(exchange.op, Operation::Token(_)) {
            self.tokens.push_back(id);
            return;
        }
        let (origin, begun) = (exchange.site.origin.clone(), exchange.begun);
        let first = self.config.in_flight.first.max(1);
        let host = self.hosts.entry(origin);
        let host = host.or_insert_with(|| Host::new(first));
        host.enqueue(id, turn, begun);
    }

    /// A job of this exchange is back: its slot is free.
    fn came_back(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if matches!(exchange.op, Operation::Token(_)) {
            self.tokens_outside -= 1;
        } else if let Some(host) = self.hosts.get_mut(&exchange.site.origin) {
            host.vacate();
        }
    }

    fn remove(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.exchanges.remove(&id)?;
        self.tokens.retain(|other| *other != id);
        if let Some(host) = self.hosts.get_mut(&exchange.site.origin) {
            host.remove(id);
        }
        self.broker.gone(id, &exchange.site.origin);
        if matches!(exchange.purpose, Purpose::Ping) {
            self.broker.ping_gone(&exchange.site.origin);
        }
        Some(exchange)
    }

    /// Puts those whose wait is over back in line, and gives up what was to end by now.
    fn wake(&mut self, now: Time) {
        let late = |exchange: &Exchange| {
            !exchange.abandoned && exchange.until.is_some_and(|until| until <= now)
        };
        let late = self.exchanges.iter().filter(|(_, it)| late(it));
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.abandon(id);
        }
        let due: Vec<ExchangeId> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| matches!(exchange.state, State::BackingOff(t) if t <= now))
            .map(|(id, _)| *id)
            .collect();
        due.into_iter().for_each(|id| self.enqueue(id, Turn::First));
        self.rouse();
    }

    fn rouse(&mut self) {
        while self.broker.has_woken() {
            let woken = self.broker.take_woken();
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
            // Those go to the front one by one, so the last one first.
            let others: Vec<_> = of(false, true).chain(of(false, false).rev()).collect();
            others
                .into_iter()
                .for_each(|id| self.enqueue(id, Turn::First));
            held.into_iter().for_each(|id| self.look(id));
        }
    }
}

impl Exchange {
    /// Where the next request goes.
    fn url(&self) -> Url {
        self.hop.clone().unwrap_or_else(|| self.op.draft().url)
    }

    /// Whether the next request is on somebody else's word: credentials that a redirect left behind
    /// are not taken up again when another one leads back (as in Go, CVE-2024-45336).
    fn is_foreign(&self) -> bool {
        if matches!(&self.op, Operation::BlobGet(op) if op.url.is_some()) {
            // A manifest named the URL. Even if it leads to the registry, credentials are not for it.
            return true;
        }
        let is_other = |url: &Url| url.origin() != &self.site.origin;
        is_other(&self.url()) || self.visited.iter().any(is_other)
    }

    fn asking<'a>(&'a self, id: ExchangeId, needs: &'a Scopes, url: &Url) -> Asking<'a> {
        Asking {
            id,
            site: &self.site,
            wish: &self.wish,
            needs,
            large: matches!(self.op, Operation::BlobGet(_)),
            line: line(&self.op.draft().method, url),
        }
    }
}

fn line(method: &Method, url: &Url) -> RequestLine {
    RequestLine(format!("{method} {url}"))
}
