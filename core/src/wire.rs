//! The control plane of HTTP: which exchange goes out when, and what becomes of it.
//!
//! Responsible for slots per host, order (continuations first), waits, redirects, tries. Every
//! exchange passes the auth broker on its way out and `exchange::classify` on its way back.
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

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use http::{HeaderValue, Method, header};

use crate::auth::{Asking, Broker, Key, Memo, Permit, Refused};
use crate::call::{Call, Done, Exchanged, JobId, Outcome as Ended, Payload, Received};
use crate::config::Config;
use crate::credential::{CredentialAnswer, CredentialCall};
use crate::digest::Digest;
use crate::error::{Error, RequestLine};
use crate::event::Event;
use crate::exchange::{Class, classify, follow, vet};
use crate::header::warnings;
use crate::op::{Answer, BlobHead, Draft, Operation, Outcome, Site, Verdict};
use crate::reference::Repository;
use crate::registry::{Origin, Registry};
use crate::retry::{Decision, Tries};
use crate::rng::Rng;
use crate::said;
use crate::scope::Scopes;
use crate::task::TaskId;
use crate::time::Time;
use crate::uri::Url;
use crate::work::Owner;

/// Names an exchange: one operation with all its requests.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ExchangeId(pub(crate) u64);

/// What came of an exchange, for its owner.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) owner: Owner,
    /// `None`: a worker died with it, and whatever it had is gone.
    pub(crate) result: Option<Result<Outcome, Error>>,
}

/// Token requests outside at once: they hold no slot of any host (contract 4).
const TOKEN_REQUESTS: usize = 4;
/// Questions for credentials outside at once: each may run a program.
const QUESTIONS: usize = 4;
/// How many different warnings of servers are told in a session.
const WARNINGS: usize = 100;

#[derive(Debug)]
pub(crate) struct Wire {
    config: Config,
    broker: Broker,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    hosts: BTreeMap<Origin, Host>,
    tokens: VecDeque<ExchangeId>,
    tokens_outside: usize,
    outside: BTreeMap<JobId, ExchangeId>,
    questions: BTreeMap<JobId, (Registry, Repository)>,
    asks: VecDeque<(Registry, Repository, Origin)>,
    aborts: VecDeque<JobId>,
    settled: VecDeque<Settled>,
    events: VecDeque<(TaskId, Event)>,
    warned: BTreeSet<String>,
    /// Repositories of a registry that it does not mount from: asking again would cost a round trip
    /// per blob (users.md 16.2).
    unmountable: BTreeSet<(Origin, Repository)>,
    next: u64,
    now: Time,
}

#[derive(Debug)]
struct Host {
    limit: u32,
    outside: u32,
    continuations: VecDeque<ExchangeId>,
    queue: VecDeque<ExchangeId>,
    /// Nothing goes out before this: the server asked for it.
    gate: Option<Time>,
    /// Jobs up to this one went out before the limit was last halved.
    halved: Option<JobId>,
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
    announced: bool,
    /// Whether it was outside before: what follows goes before everything that was not.
    begun: bool,
    /// Nobody wants it any more.
    abandoned: bool,
}

#[derive(Clone, Debug)]
enum Purpose {
    Owner(Owner),
    Token(Key),
    Probe,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Queued,
    Parked,
    BackingOff(Time),
    Outside(JobId),
}

impl Wire {
    pub(crate) fn new(config: Config) -> Self {
        let broker = Broker::new(config.trusted_realms.clone(), config.limits.token_body);
        Self {
            config,
            broker,
            exchanges: BTreeMap::new(),
            hosts: BTreeMap::new(),
            tokens: VecDeque::new(),
            tokens_outside: 0,
            outside: BTreeMap::new(),
            questions: BTreeMap::new(),
            asks: VecDeque::new(),
            aborts: VecDeque::new(),
            settled: VecDeque::new(),
            events: VecDeque::new(),
            warned: BTreeSet::new(),
            unmountable: BTreeSet::new(),
            next: 0,
            now: Time::ZERO,
        }
    }

    /// Where a repository of a registry is contacted.
    pub(crate) fn site(&self, registry: &Registry, repository: &Repository) -> Site {
        let origin = self.config.endpoints.get(registry).cloned();
        Site {
            registry: registry.clone(),
            origin: origin.unwrap_or_else(|| registry.origin()),
            repository: repository.clone(),
        }
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

    /// Whether an exchange is not over yet.
    pub(crate) fn is_open(&self, id: ExchangeId) -> bool {
        self.exchanges.contains_key(&id)
    }

    /// The exchanges that this owner began and that are not over.
    pub(crate) fn owned_by(&self, owner: &Owner) -> Vec<ExchangeId> {
        self.exchanges
            .iter()
            .filter(|(_, exchange)| matches!(&exchange.purpose, Purpose::Owner(o) if o == owner))
            .map(|(id, _)| *id)
            .collect()
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

    /// The next request that may go out now.
    pub(crate) fn next_call(&mut self, job: JobId, now: Time) -> Option<Call> {
        self.wake(now);
        while self.tokens_outside < TOKEN_REQUESTS {
            let Some(id) = self.tokens.pop_front() else {
                break;
            };
            if let Some(call) = self.send(id, job, None) {
                self.tokens_outside += 1;
                return Some(call);
            }
        }
        let origins: Vec<Origin> = self.hosts.keys().cloned().collect();
        origins
            .into_iter()
            .find_map(|origin| self.next_call_to(&origin, job, now))
    }

    fn next_call_to(&mut self, origin: &Origin, job: JobId, now: Time) -> Option<Call> {
        loop {
            let host = self.hosts.get_mut(origin)?;
            if host.gate.is_some_and(|gate| gate > now) || host.outside >= host.limit {
                return None;
            }
            host.gate = None;
            let id = host
                .continuations
                .pop_front()
                .or_else(|| host.queue.pop_front())?;
            let Some(authorization) = self.permit(id, now) else {
                continue;
            };
            if let Some(call) = self.send(id, job, authorization) {
                self.hosts.get_mut(origin)?.outside += 1;
                return Some(call);
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
        let gated = self.hosts.values().filter_map(|host| {
            let waits = !host.continuations.is_empty() || !host.queue.is_empty();
            host.gate.filter(|_| waits && host.outside < host.limit)
        });
        backing.chain(gated).min()
    }

    /// Whether jobs of this part are outside.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.outside.is_empty() || !self.questions.is_empty()
    }

    /// Takes the end of a job; gives it back if it is not one of this part's.
    pub(crate) fn handle(&mut self, done: Done, now: Time, rng: &mut Rng) -> Option<Done> {
        let job = done.id();
        if let Some((registry, repository)) = self.questions.remove(&job) {
            match done.into_outcome() {
                Ended::Credentials(answer) => {
                    self.broker.answered(&registry, &repository, answer);
                }
                Ended::Lost => {
                    let failed =
                        CredentialAnswer::Failed("the question for credentials was lost".into());
                    self.broker.answered(&registry, &repository, failed);
                }
                Ended::Http(_) | Ended::Store(_) => {
                    let why = "the driver answered a question for credentials with something else";
                    let failed = CredentialAnswer::Failed(why.into());
                    self.broker.answered(&registry, &repository, failed);
                }
            }
            self.rouse();
            return None;
        }
        let Some(id) = self.outside.remove(&job) else {
            return Some(done);
        };
        self.aborts.retain(|abort| *abort != job);
        self.now = now;
        self.came_back(id);
        match done.into_outcome() {
            Ended::Http(exchanged) => self.ended(id, *exchanged, job, now, rng),
            Ended::Lost | Ended::Store(_) | Ended::Credentials(_) => self.lost(id, now, rng),
        }
        self.rouse();
        None
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
            state: State::Queued,
            hop: None,
            visited: Vec::new(),
            announced: false,
            begun: false,
            abandoned: false,
        };
        self.exchanges.insert(id, exchange);
        self.enqueue(id, Turn::Last);
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
        let host = self.hosts.entry(origin).or_insert_with(|| Host {
            limit: first,
            outside: 0,
            continuations: VecDeque::new(),
            queue: VecDeque::new(),
            gate: None,
            halved: None,
        });
        match turn {
            Turn::First if begun => host.continuations.push_back(id),
            Turn::First => host.queue.push_front(id),
            Turn::Last => host.queue.push_back(id),
        }
    }

    /// Asks the broker; `None` if the exchange does not go out now.
    fn permit(&mut self, id: ExchangeId, now: Time) -> Option<Option<HeaderValue>> {
        let exchange = self.exchanges.get_mut(&id)?;
        if let Operation::BlobPut(op) = &mut exchange.op
            && let Some(from) = op.mounts_from()
            && self
                .unmountable
                .contains(&(exchange.site.origin.clone(), from.clone()))
        {
            op.do_not_mount();
        }
        let url = exchange.url();
        if exchange.is_foreign() {
            // Foreign: no authorisation, and its challenges are not ours to answer.
            return Some(None);
        }
        let needs = exchange.op.needs();
        let mut memo = core::mem::take(&mut exchange.memo);
        let exchange = &self.exchanges[&id];
        let asking = exchange.asking(id, &needs, &url);
        let permit = self.broker.permit(&asking, &mut memo, now);
        for warning in self.broker.take_warnings() {
            self.events
                .push_back((exchange.task, Event::Warning(warning)));
        }
        let (task, site) = (exchange.task, exchange.site.clone());
        let exchange = self.exchanges.get_mut(&id)?;
        exchange.memo = memo;
        match permit {
            Permit::Go(authorization) => return Some(authorization),
            Permit::Park => exchange.state = State::Parked,
            Permit::Ask { recipient } => {
                exchange.state = State::Parked;
                self.asks
                    .push_back((site.registry, site.repository, recipient));
            }
            Permit::Fetch(key, token) => {
                exchange.state = State::Parked;
                let op = Operation::Token(*token);
                self.add(Purpose::Token(key), task, site, op, Scopes::default());
            }
            Permit::Probe => {
                exchange.state = State::Parked;
                let wish = exchange.wish.clone();
                if let Operation::BlobGet(op) = &exchange.op {
                    let digest = op.digest.clone();
                    let op = Operation::BlobHead(BlobHead {
                        site: site.clone(),
                        digest,
                    });
                    let origin = site.origin.clone();
                    let probe = self.add(Purpose::Probe, task, site, op, wish);
                    self.broker.probing(&origin, probe);
                    self.promote(probe, &origin);
                }
            }
            Permit::Denied(denied) => self.answer_denied(id, denied),
            Permit::Fail(error) => self.settle(id, Err(error)),
        }
        None
    }

    /// A probe goes before everything else that waits for its host.
    fn promote(&mut self, probe: ExchangeId, origin: &Origin) {
        if let Some(host) = self.hosts.get_mut(origin) {
            host.queue.retain(|id| *id != probe);
            host.continuations.push_front(probe);
        }
    }

    /// Makes the call, unless the request must not be made.
    fn send(
        &mut self,
        id: ExchangeId,
        job: JobId,
        authorization: Option<HeaderValue>,
    ) -> Option<Call> {
        let exchange = self.exchanges.get_mut(&id)?;
        let mut draft = exchange.op.draft();
        if let Some(hop) = &exchange.hop {
            draft.url = hop.clone();
        }
        let line = line(&draft.method, &draft.url);
        let registry = exchange.site.origin.clone();
        let is_token = matches!(exchange.op, Operation::Token(_));
        let vetted = if is_token {
            Ok(())
        } else {
            vet(&registry, draft.url.origin(), &registry, &line)
        };
        let request = vetted.and_then(|()| {
            request(&draft, &self.config.user_agent, authorization).ok_or_else(|| Error::Peer {
                request: line,
                what: "named a URL that cannot be sent unaltered".into(),
            })
        });
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                self.settle(id, Err(error));
                return None;
            }
        };
        let transfer = draft.transfer;
        let mut call = Call::new(
            job,
            draft.url.origin().clone(),
            request,
            draft.expect,
            self.config.limits.error_body,
        );
        if let Some((transfer, outgoing)) = transfer {
            call = call.for_transfer(transfer, outgoing);
            self.announce(id, &call);
        }
        let exchange = self.exchanges.get_mut(&id)?;
        exchange.state = State::Outside(job);
        exchange.begun = true;
        self.outside.insert(job, id);
        Some(call)
    }

    /// Tells that a blob begins to move, once.
    fn announce(&mut self, id: ExchangeId, call: &Call) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let (digest, size) = match &exchange.op {
            Operation::BlobGet(op) => (op.digest.clone(), op.size),
            Operation::BlobPut(op) => (op.digest.clone(), op.size),
            Operation::BlobHead(_)
            | Operation::ManifestGet(_)
            | Operation::ManifestHead(_)
            | Operation::ManifestPut(_)
            | Operation::Token(_) => return,
        };
        if let (Some(transfer), false) = (call.transfer(), exchange.announced) {
            exchange.announced = true;
            let from = call.starts_at();
            let event = Event::Started {
                transfer,
                digest,
                size,
                from,
            };
            self.events.push_back((exchange.task, event));
        }
    }

    /// A job of this exchange is back: its slot is free.
    fn came_back(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if matches!(exchange.op, Operation::Token(_)) {
            self.tokens_outside -= 1;
        } else if let Some(host) = self.hosts.get_mut(&exchange.site.origin) {
            host.outside -= 1;
        }
    }

    fn ended(
        &mut self,
        id: ExchangeId,
        exchanged: Exchanged,
        job: JobId,
        now: Time,
        rng: &mut Rng,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if exchange.abandoned {
            self.remove(id);
            return;
        }
        let task = exchange.task;
        let draft = exchange.op.draft();
        let url = exchange.hop.clone().unwrap_or(draft.url);
        let line = line(&draft.method, &url);
        for warning in warnings(&exchanged.headers) {
            if self.warned.len() < WARNINGS && self.warned.insert(warning.clone()) {
                self.events.push_back((task, Event::Warning(warning)));
            }
        }
        let is_token = matches!(exchange.op, Operation::Token(_));
        let foreign = !is_token && exchange.is_foreign();
        let class = classify(&exchanged, &line);
        match class {
            Class::Aborted => self.lost(id, now, rng),
            Class::Damaged { found } => {
                let error = damaged(&self.exchanges[&id].op, &line, found);
                self.settle(id, Err(error));
            }
            Class::Fatal(error) => self.settle(id, Err(error)),
            Class::Retry { error, after } => {
                self.congested(id, &exchanged, job, after, now);
                self.retry(id, exchanged.body, error, after, now, rng);
            }
            Class::Challenged if is_token => self.answered(id, exchanged, url, line),
            Class::Challenged if foreign => {
                let what = format!(
                    "{} answered 401, but credentials for `{}` are not for it",
                    url.origin(),
                    self.exchanges[&id].site.registry
                );
                self.settle(
                    id,
                    Err(Error::Peer {
                        request: line,
                        what,
                    }),
                );
            }
            Class::Challenged => self.challenged(id, &exchanged, &url),
            Class::Redirected if is_token => {
                let what =
                    format!("{line}: redirected a request for a token, which is not followed");
                self.settle(id, Err(Error::Policy { what }));
            }
            Class::Redirected => self.redirected(id, &exchanged, &draft.method, &url, &line),
            Class::Answered => {
                self.uncongested(id);
                self.answered(id, exchanged, url, line);
            }
        }
    }

    fn redirected(
        &mut self,
        id: ExchangeId,
        exchanged: &Exchanged,
        method: &Method,
        url: &Url,
        line: &RequestLine,
    ) {
        self.accept(id, url);
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let mut to = follow(exchanged, method, url, &exchange.site.origin, line);
        if let Ok(next) = &to {
            exchange.visited.push(url.clone());
            let peer = |what: &str| Error::Peer {
                request: line.clone(),
                what: what.into(),
            };
            if exchange.visited.contains(next) {
                to = Err(peer("redirects in a circle"));
            } else if exchange.visited.len() > self.config.limits.redirects {
                to = Err(peer("redirects too often"));
            }
        }
        match to {
            Ok(next) => {
                exchange.hop = Some(next);
                self.enqueue(id, Turn::First);
            }
            Err(error) => self.settle(id, Err(error)),
        }
    }

    fn challenged(&mut self, id: ExchangeId, exchanged: &Exchanged, url: &Url) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let needs = exchange.op.needs();
        let mut memo = core::mem::take(&mut exchange.memo);
        let exchange = &self.exchanges[&id];
        let asking = exchange.asking(id, &needs, url);
        let status = exchanged.status.unwrap_or(http::StatusCode::UNAUTHORIZED);
        let said = match &exchanged.body {
            Received::Collected { bytes, .. } => said::read(bytes),
            Received::Nothing | Received::Stored { .. } => crate::error::Said::default(),
        };
        let refused =
            self.broker
                .challenged(&asking, &mut memo, status, &exchanged.headers, url, said);
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.memo = memo;
            exchange.hop = None;
            exchange.visited.clear();
        }
        match refused {
            // It has found out what it was to find out.
            Refused::Again if matches!(self.exchanges[&id].purpose, Purpose::Probe) => {
                self.remove(id);
            }
            Refused::Again => self.enqueue(id, Turn::First),
            Refused::Denied(denied) => self.answer_denied(id, denied),
        }
    }

    fn answer_denied(&mut self, id: ExchangeId, denied: crate::error::AuthError) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let draft = exchange.op.draft();
        let answer = Answer {
            request: line(&draft.method, &draft.url),
            url: draft.url,
            status: http::StatusCode::from_u16(denied.status)
                .unwrap_or(http::StatusCode::UNAUTHORIZED),
            headers: http::HeaderMap::new(),
            body: Received::Nothing,
            flaw: None,
            denied: Some(denied),
        };
        self.conclude(id, answer);
    }

    fn answered(&mut self, id: ExchangeId, exchanged: Exchanged, url: Url, line: RequestLine) {
        self.accept(id, &url);
        let answer = Answer {
            request: line,
            url,
            status: exchanged
                .status
                .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR),
            headers: exchanged.headers,
            body: exchanged.body,
            flaw: exchanged.flaw,
            denied: None,
        };
        self.conclude(id, answer);
    }

    /// The registry itself answered without asking who we are.
    fn accept(&mut self, id: ExchangeId, url: &Url) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if url.origin() == &exchange.site.origin && !matches!(exchange.op, Operation::Token(_)) {
            let origin = exchange.site.origin.clone();
            self.broker.accepted(id, &origin, &mut exchange.memo);
        }
    }

    /// Lets the operation judge an answer.
    fn conclude(&mut self, id: ExchangeId, answer: Answer) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if let Operation::BlobPut(op) = &exchange.op
            && let Some(from) = op.mounts_from()
            && matches!(answer.status.as_u16(), 401 | 403 | 405)
        {
            let from = from.clone();
            self.unmountable
                .insert((exchange.site.origin.clone(), from));
        }
        match exchange.op.clone().answer(answer) {
            Verdict::Next(op) => {
                exchange.op = op;
                exchange.hop = None;
                exchange.visited.clear();
                self.enqueue(id, Turn::First);
            }
            Verdict::Done(outcome) => self.settle(id, Ok(outcome)),
            Verdict::Failed(error) => self.settle(id, Err(error)),
        }
    }

    fn retry(
        &mut self,
        id: ExchangeId,
        body: Received,
        error: Error,
        asked: Option<Duration>,
        now: Time,
        rng: &mut Rng,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        exchange.op.interrupted(body);
        if exchange.tries.reached(exchange.op.position()) {
            exchange.memo.progressed();
        }
        // What a redirect led to is short-lived: start again at the registry (HTTP-15).
        exchange.hop = None;
        exchange.visited.clear();
        match exchange.tries.failed(&self.config.retry, asked, rng) {
            Decision::Again { attempt, after } => {
                exchange.state = State::BackingOff(now + after.max(Duration::from_micros(1)));
                let why = error.to_string();
                self.events.push_back((
                    exchange.task,
                    Event::Retrying {
                        attempt,
                        after,
                        why,
                    },
                ));
            }
            Decision::Enough { attempts } => {
                let last = error.into();
                self.settle(
                    id,
                    Err(Error::Exhausted {
                        attempts,
                        retry_after: asked,
                        last,
                    }),
                );
            }
        }
    }

    /// 429 and 503 mean "too much": fewer at once, once per event, and nobody before the time asked.
    fn congested(
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
        if !matches!(status, 429 | 503) || matches!(exchange.op, Operation::Token(_)) {
            return;
        }
        if host.halved.is_none_or(|halved| halved < job) {
            host.limit = (host.limit / 2).max(self.config.in_flight.least.max(1));
            host.halved = Some(JobId(
                self.outside.keys().map(|job| job.0).max().unwrap_or(job.0),
            ));
        }
        if let Some(asked) = asked.filter(|asked| *asked <= self.config.retry.retry_after_cap) {
            host.gate = host.gate.max(Some(now + asked));
        }
    }

    fn uncongested(&mut self, id: ExchangeId) {
        let most = self.config.in_flight.most;
        if let Some(exchange) = self.exchanges.get(&id)
            && let Some(host) = self.hosts.get_mut(&exchange.site.origin)
        {
            host.limit = (host.limit + 1).min(most);
        }
    }

    /// The worker died with the job, or ended it without being told to.
    fn lost(&mut self, id: ExchangeId, now: Time, rng: &mut Rng) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if exchange.abandoned {
            self.remove(id);
            return;
        }
        if let (Operation::BlobGet(_), Purpose::Owner(_)) = (&exchange.op, &exchange.purpose) {
            // Its hash is gone: its owner begins again with what the store has.
            let exchange = self.remove(id).expect("it was just there");
            if let Purpose::Owner(owner) = exchange.purpose {
                self.settled.push_back(Settled {
                    owner,
                    result: None,
                });
            }
            return;
        }
        let draft = exchange.op.draft();
        let error = crate::call::TransportError::new(
            crate::call::TransportErrorKind::Other,
            "the worker was lost",
        );
        let error = Error::Transport {
            request: line(&draft.method, &draft.url),
            error,
        };
        self.retry(id, Received::Nothing, error, None, now, rng);
    }

    fn settle(&mut self, id: ExchangeId, result: Result<Outcome, Error>) {
        let Some(exchange) = self.remove(id) else {
            return;
        };
        match exchange.purpose {
            Purpose::Owner(owner) => {
                self.settled.push_back(Settled {
                    owner,
                    result: Some(result),
                });
            }
            Purpose::Token(key) => self.token_settled(&key, result),
            Purpose::Probe => {
                // What it found out, the broker knows. If it failed, so would those that it went
                // before.
                if let Err(error) = result {
                    self.probe_failed(&exchange.site.origin, &error);
                }
            }
        }
    }

    fn probe_failed(&mut self, origin: &Origin, error: &Error) {
        let waited = |exchange: &Exchange| {
            exchange.state == State::Parked
                && exchange.site.origin == *origin
                && matches!(exchange.op, Operation::BlobGet(_))
        };
        for id in self.broker.take_woken() {
            match self.exchanges.get(&id) {
                Some(exchange) if waited(exchange) => self.settle(id, Err(error.clone())),
                Some(exchange) if exchange.state == State::Parked => self.enqueue(id, Turn::First),
                Some(_) | None => {}
            }
        }
    }

    fn token_settled(&mut self, key: &Key, result: Result<Outcome, Error>) {
        let error = match result {
            Ok(Outcome::Granted(grant)) => {
                self.broker.granted(key, grant, self.now);
                return;
            }
            Ok(_) => return,
            Err(error) => error,
        };
        let refusal = if let Error::Auth(refusal) = &error {
            Some((**refusal).clone())
        } else {
            None
        };
        for id in self.broker.not_granted(key, refusal.as_ref()) {
            let Some(exchange) = self.exchanges.get_mut(&id) else {
                continue;
            };
            let needs = exchange.op.needs();
            let mut memo = core::mem::take(&mut exchange.memo);
            let exchange = &self.exchanges[&id];
            match &refusal {
                Some(refusal) => {
                    let asking = exchange.asking(id, &needs, &exchange.url());
                    let hint = self.broker.hint(&asking);
                    let refusal = crate::error::AuthError {
                        hint,
                        ..refusal.clone()
                    };
                    Broker::refuse(key, &asking, &mut memo, refusal);
                    if let Some(exchange) = self.exchanges.get_mut(&id) {
                        exchange.memo = memo;
                    }
                    self.enqueue(id, Turn::First);
                }
                None => self.settle(id, Err(error.clone())),
            }
        }
    }

    fn remove(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.exchanges.remove(&id)?;
        self.tokens.retain(|other| *other != id);
        if let Some(host) = self.hosts.get_mut(&exchange.site.origin) {
            host.queue.retain(|other| *other != id);
            host.continuations.retain(|other| *other != id);
        }
        self.broker.gone(id, &exchange.site.origin);
        Some(exchange)
    }

    /// Puts those whose wait is over back in line.
    fn wake(&mut self, now: Time) {
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
        let woken = self.broker.take_woken();
        let parked = |id: &ExchangeId| {
            let exchange = self.exchanges.get(id)?;
            (exchange.state == State::Parked).then_some((*id, exchange.begun))
        };
        let (begun, fresh): (Vec<_>, Vec<_>) = woken
            .iter()
            .filter_map(parked)
            .partition(|(_, begun)| *begun);
        // Those go to the front one by one, so the last one first.
        for (id, _) in begun.into_iter().chain(fresh.into_iter().rev()) {
            self.enqueue(id, Turn::First);
        }
    }
}

/// Where in the line of its host an exchange goes.
#[derive(Clone, Copy, Debug)]
enum Turn {
    First,
    Last,
}

impl Exchange {
    /// Where the next request goes.
    fn url(&self) -> Url {
        self.hop.clone().unwrap_or_else(|| self.op.draft().url)
    }

    /// Whether the next request is on somebody else's word: credentials that a redirect left behind
    /// are not taken up again when another one leads back (as in Go, CVE-2024-45336).
    fn is_foreign(&self) -> bool {
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

/// The stored blob is not what its digest says; its end was held back, so nobody took it.
fn damaged(op: &Operation, line: &RequestLine, found: Option<Digest>) -> Error {
    let expected = match op {
        Operation::BlobPut(op) => op.digest.to_string(),
        Operation::BlobGet(_)
        | Operation::BlobHead(_)
        | Operation::ManifestGet(_)
        | Operation::ManifestHead(_)
        | Operation::ManifestPut(_)
        | Operation::Token(_) => "another content".to_string(),
    };
    Error::Mismatch {
        what: format!("{line}: the stored blob is damaged, and was not sent to its end"),
        expected,
        found: found.map_or_else(|| "another size".to_string(), |found| found.to_string()),
    }
}

fn line(method: &Method, url: &Url) -> RequestLine {
    RequestLine(format!("{method} {url}"))
}

/// Adds what every request has.
fn request(
    draft: &Draft,
    user_agent: &str,
    authorization: Option<HeaderValue>,
) -> Option<http::Request<Payload>> {
    let mut request = http::Request::new(draft.payload.clone());
    *request.method_mut() = draft.method.clone();
    *request.uri_mut() = draft.url.to_http().ok()?;
    let headers = request.headers_mut();
    *headers = draft.headers.clone();
    let user_agent = HeaderValue::from_str(user_agent);
    let user_agent = user_agent.unwrap_or_else(|_| HeaderValue::from_static("windlass"));
    headers.insert(header::USER_AGENT, user_agent);
    // The digest is over the stored bytes: nothing may be encoded on the way (HTTP-16).
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    // Said here, so that no HTTP library says it in its own way.
    headers
        .entry(header::ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    let length = match &draft.payload {
        Payload::Empty => None,
        Payload::Bytes(bytes) => Some(bytes.len() as u64),
        Payload::Body(body) => Some(body.len),
    };
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, authorization);
    }
    Some(request)
}
