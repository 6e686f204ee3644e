//! The way back: what the end of a job makes of its exchange.
//!
//! Responsible for redirects, challenges, tries, and for who gets the outcome. Must not know when
//! anything goes out (`host`, `dispatch`).

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use http::Method;

use super::host::Turn;
use super::{Exchange, Exchanges, Purpose, Settled, Settlement, State, WARNINGS, line};
use crate::auth::{Broker, Key, Memo, Refused};
use crate::call::{Exchanged, Received};
use crate::digest::Digest;
use crate::error::{AuthError, Error, ErrorKind, RequestLine};
use crate::event::Event;
use crate::exchanges::classify::{Class, classify, follow};
use crate::header::warnings;
use crate::ids::{ExchangeId, JobId, TaskId};
use crate::op::{Answer, Operation, Outcome, UploadDelete, Verdict};
use crate::registry::Origin;
use crate::retry::{Decision, Tries};
use crate::rng::Rng;
use crate::said;
use crate::time::Time;
use crate::uri::Url;

impl Exchanges {
    pub(super) fn ended(
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
        exchange.op.has_sent(exchanged.sent);
        let draft = exchange.op.draft();
        let url = exchange.hop.clone().unwrap_or(draft.url);
        let line = line(&draft.method, &url);
        if exchange.abandoned {
            // Nobody wants it any more, but "later" is for all that its host is asked.
            if let Class::Retry { after, .. } = classify(&exchanged, &line) {
                self.congested(id, &exchanged, job, after, now);
            }
            self.abandoned(id);
            return;
        }
        if matches!(exchange.purpose, Purpose::Cleanup) {
            // Not even a challenge is answered: some registries want a right for it that no push has
            // (PUSHB-43).
            if let Class::Retry { after, .. } = classify(&exchanged, &line) {
                self.congested(id, &exchanged, job, after, now);
            }
            self.remove(id);
            return;
        }
        let task = exchange.task;
        let is_token = matches!(exchange.op, Operation::Token(_));
        let foreign = !is_token && exchange.is_foreign();
        let is_ping = matches!(exchange.purpose, Purpose::Ping);
        for warning in warnings(&exchanged.headers) {
            self.warn(task, warning);
        }
        let class = classify(&exchanged, &line);
        match class {
            Class::Aborted => self.lost(id, now, rng),
            Class::Damaged { found } => {
                let error = damaged(&self.exchanges[&id].op, &line, found);
                self.settle(id, Err(error));
            }
            Class::Fatal(error) => self.failed(id, error),
            Class::Retry { error, after } => {
                self.congested(id, &exchanged, job, after, now);
                self.retry(id, exchanged.body, error, after, now, rng);
            }
            Class::Challenged | Class::Redirected | Class::Answered if is_ping => {
                self.pinged(id, &exchanged, &url);
            }
            Class::Challenged if is_token => self.answered(id, exchanged, url, line),
            Class::Challenged if foreign => {
                let what = format!(
                    "{} answered 401, but credentials for `{}` are not for it",
                    url.origin(),
                    self.exchanges[&id].site.registry
                );
                self.failed(
                    id,
                    Error::Peer {
                        request: line,
                        what,
                    },
                );
            }
            Class::Challenged if self.is_doubtful(id, true, &exchanged, &url) => {
                self.hold(id, true, exchanged, url, line);
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
                if foreign && self.asks_anew(id, &exchanged) {
                    self.enqueue(id, Turn::First);
                } else if self.is_doubtful(id, false, &exchanged, &url) {
                    self.hold(id, false, exchanged, url, line);
                } else {
                    self.answered(id, exchanged, url, line);
                }
            }
        }
    }

    /// Tells a warning, if it was not told yet.
    fn warn(&mut self, task: TaskId, warning: String) {
        if self.warned.len() < WARNINGS && self.warned.insert(warning.clone()) {
            self.events.push_back((task, Event::Warning(warning)));
        }
    }

    /// Whether the registry is asked once more for an address that its storage does not take. Such
    /// addresses are signed for a minute or so (HTTP-15), and a request may have waited in line, or
    /// for as long as another one was told to. Once, until more bytes have come.
    fn asks_anew(&mut self, id: ExchangeId, exchanged: &Exchanged) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        let position = exchange.op.position();
        // 400: an expired token at Google's storage.
        let refused = exchanged
            .status
            .is_some_and(|it| matches!(it.as_u16(), 400 | 403));
        let reads = matches!(
            exchange.op,
            Operation::BlobGet(_) | Operation::ManifestGet(_)
        );
        let hopped = exchange.hop.is_some();
        if !(refused && reads && hopped) || exchange.asked_anew == Some(position) {
            return false;
        }
        exchange.asked_anew = Some(position);
        exchange.hop = None;
        exchange.visited.clear();
        true
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
            Err(error) => self.failed(id, error),
        }
    }

    pub(super) fn challenged(&mut self, id: ExchangeId, exchanged: &Exchanged, url: &Url) {
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

    pub(super) fn answer_denied(&mut self, id: ExchangeId, denied: AuthError) {
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
            presented: denied.presented.clone(),
            hint: denied.hint.clone(),
            denied: Some(denied),
        };
        if matches!(exchange.purpose, Purpose::Probe) {
            let error = answer.failure("blob");
            return self.settle(id, Err(error));
        }
        self.conclude(id, answer);
    }

    pub(super) fn answered(
        &mut self,
        id: ExchangeId,
        exchanged: Exchanged,
        url: Url,
        line: RequestLine,
    ) {
        self.accept(id, &url);
        let status = exchanged
            .status
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let by_storage = exchange.hop.is_some() && exchange.is_foreign();
        let needs = exchange.op.needs();
        let asking = exchange.asking(id, &needs, &url);
        let presented = self.broker.shown(&exchange.memo);
        let hint = self.broker.hint(&asking);
        let mut answer = Answer {
            request: line,
            url,
            status,
            headers: exchanged.headers,
            body: exchanged.body,
            flaw: exchanged.flaw,
            denied: None,
            presented,
            hint,
        };
        if by_storage && status == http::StatusCode::FORBIDDEN {
            answer.denied = Some(AuthError {
                request: answer.request.clone(),
                status: status.as_u16(),
                presented: "what the registry gave along".into(),
                said: answer.said(),
                hint: Some("the registry's storage may not serve your network".into()),
            });
        }
        self.conclude(id, answer);
    }

    /// The registry itself answered without asking who we are.
    fn accept(&mut self, id: ExchangeId, url: &Url) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if url.origin() == &exchange.site.origin
            && !exchange.is_foreign()
            && !matches!(exchange.op, Operation::Token(_))
        {
            let origin = exchange.site.origin.clone();
            self.broker.accepted(id, &origin, &mut exchange.memo);
        }
    }

    /// Lets the operation judge an answer.
    fn conclude(&mut self, id: ExchangeId, answer: Answer) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if let Operation::BlobPut(op) = &exchange.op {
            let origin = exchange.site.origin.clone();
            match op.mounts_from() {
                Some(from) if matches!(answer.status.as_u16(), 401 | 403 | 405) => {
                    self.unmountable.insert((origin, from.clone()));
                }
                None if op.is_patching() && answer.status.is_success() => {
                    self.patching.insert(origin);
                }
                Some(_) | None => {}
            }
        }
        if answer.denied.is_some() {
            exchange.memo.request_changed();
        }
        let task = exchange.task;
        let (line, named) = (answer.request.clone(), answer.content_digest());
        let named = named.filter(|_| exchange.op.is_by_tag());
        let verdict = exchange.op.clone().answer(answer);
        // By tag it decides nothing: content is named by what it hashes to. Registries that send the
        // digest of something else are common (clients.md C.17.9).
        if let (Some(named), Verdict::Done(Outcome::Document { document, .. })) = (named, &verdict)
            && named.algorithm().is_some()
            && !(named == *document.digest() || named.verifies(document.bytes()))
        {
            let found = document.digest();
            let what =
                format!("{line}: Docker-Content-Digest is {named}, but what came is {found}");
            self.warn(task, what);
        }
        self.proceed(id, verdict);
    }

    fn proceed(&mut self, id: ExchangeId, verdict: Verdict) {
        match verdict {
            Verdict::Next(op) => {
                let Some(exchange) = self.exchanges.get_mut(&id) else {
                    return;
                };
                exchange.op = op;
                exchange.hop = None;
                exchange.visited.clear();
                exchange.is_vain = false;
                self.enqueue(id, Turn::First);
            }
            Verdict::Done(Outcome::Present { unused }) => {
                if let Some(session) = unused {
                    self.give_back(id, session);
                }
                self.settle(id, Ok(Outcome::Present { unused: None }));
            }
            Verdict::Done(outcome) => self.settle(id, Ok(outcome)),
            Verdict::Failed(error) => self.settle(id, Err(error)),
        }
    }

    /// Deletes an upload session that an exchange has opened and does not need.
    fn give_back(&mut self, id: ExchangeId, session: Url) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let (task, site, wish) = (exchange.task, exchange.site.clone(), exchange.wish.clone());
        let op = Operation::UploadDelete(UploadDelete {
            site: site.clone(),
            session,
        });
        self.add(Purpose::Cleanup, task, site, op, wish);
    }

    /// A request cannot succeed. If it was to save the sending of a blob, the blob is sent.
    fn failed(&mut self, id: ExchangeId, error: Error) {
        if !self.go_on_plainly(id) {
            self.settle(id, Err(error));
        }
    }

    /// Whether an exchange was at a HEAD of a blob or at a mount, and goes on without.
    fn go_on_plainly(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        let verdict = match exchange.purpose {
            Purpose::Owner(_) => exchange.op.clone().without_shortcut(),
            Purpose::Probe | Purpose::Ping | Purpose::Token(_) | Purpose::Cleanup => None,
        };
        let Some(verdict) = verdict else {
            return false;
        };
        exchange.memo.request_changed();
        self.proceed(id, verdict);
        true
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
        // A HEAD is tried once more if it is refused with a 5xx, or fails where a redirect led. After
        // that it costs more than it may save.
        let refused = asked.is_none() && matches!(&error, Error::Registry(it) if it.status >= 500);
        let is_vain = (refused || exchange.hop.is_some())
            && matches!(exchange.purpose, Purpose::Owner(_))
            && exchange.op.clone().without_shortcut().is_some();
        if is_vain && exchange.is_vain {
            self.go_on_plainly(id);
            return;
        }
        exchange.is_vain = is_vain;
        exchange.op.interrupted(body);
        if exchange.tries.reached(exchange.op.position()) {
            exchange.memo.progressed();
        }
        // What a redirect led to is short-lived: start again at the registry (HTTP-15).
        exchange.hop = None;
        exchange.visited.clear();
        match exchange.tries.failed(&self.config.retry, asked, rng) {
            Decision::Again { attempt, after } => {
                let until = now + after.max(Duration::from_micros(1));
                exchange.state = State::BackingOff(until);
                self.timers.insert((until, id));
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
            Decision::Enough { .. } if is_vain => {
                // A mount is given up already.
                if !self.go_on_plainly(id) {
                    self.enqueue(id, Turn::First);
                }
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

    /// An exchange that nothing wants any more is back.
    fn abandoned(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.remove(id)
            && let Purpose::Owner(owner) = exchange.purpose
        {
            self.settled.push_back(Settled {
                exchange: id,
                owner,
                result: Settlement::Abandoned,
            });
        }
    }

    /// The worker died with the job, or ended it without being told to.
    pub(super) fn lost(&mut self, id: ExchangeId, now: Time, rng: &mut Rng) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if exchange.abandoned || matches!(exchange.purpose, Purpose::Cleanup) {
            self.abandoned(id);
            return;
        }
        if let (Operation::BlobGet(_), Purpose::Owner(_)) = (&exchange.op, &exchange.purpose) {
            // Its hash is gone: its owner begins again with what the store has.
            let exchange = self.remove(id).expect("it was just there");
            if let Purpose::Owner(owner) = exchange.purpose {
                self.settled.push_back(Settled {
                    exchange: id,
                    owner,
                    result: Settlement::Lost,
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

    pub(super) fn settle(&mut self, id: ExchangeId, result: Result<Outcome, Error>) {
        let result = match result {
            Ok(outcome) => Ok(outcome),
            Err(error) => match self.elsewhere(id, error) {
                Some(error) => Err(error),
                None => return,
            },
        };
        let Some(exchange) = self.remove(id) else {
            return;
        };
        let result = match &exchange.op {
            Operation::BlobPut(op) => {
                result.map_err(|error| error.about(&format!("blob {}", op.digest)))
            }
            Operation::BlobGet(_)
            | Operation::BlobHead(_)
            | Operation::ManifestGet(_)
            | Operation::ManifestHead(_)
            | Operation::ManifestPut(_)
            | Operation::Ping(_)
            | Operation::Token(_)
            | Operation::UploadDelete(_) => result,
        };
        match exchange.purpose {
            Purpose::Owner(owner) => {
                let result = match result {
                    Ok(outcome) => Settlement::Done(outcome),
                    Err(error) => Settlement::Failed(error),
                };
                self.settled.push_back(Settled {
                    exchange: id,
                    owner,
                    result,
                });
            }
            Purpose::Token(key) => self.token_settled(&key, result),
            Purpose::Ping => self.ping_failed(&exchange.site),
            Purpose::Cleanup => {}
            Purpose::Probe => {
                // What it found out, the broker knows. If it failed, so would those that it went
                // before.
                if let Err(error) = result {
                    self.probe_failed(&exchange.site.origin, &error);
                }
            }
        }
    }

    /// A foreign layer goes on at its next URL. The error is given back if there is none.
    fn elsewhere(&mut self, id: ExchangeId, mut error: Error) -> Option<Error> {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return Some(error);
        };
        let task = exchange.task;
        let Operation::BlobGet(op) = &mut exchange.op else {
            return Some(error);
        };
        // That a registry has not got such a layer is nothing to tell.
        let mut is_expected = op.url.is_none() && error.kind() == ErrorKind::NotFound;
        while let Some(next) = op.elsewhere(&error) {
            if !is_expected {
                let warning = format!("{error}; trying where else the layer may be");
                self.events.push_back((task, Event::Warning(warning)));
            }
            is_expected = false;
            let Err(refused) = next else {
                exchange.tries = Tries::default();
                exchange.memo = Memo::default();
                exchange.asked_anew = None;
                exchange.hop = None;
                exchange.visited.clear();
                self.enqueue(id, Turn::First);
                return None;
            };
            error = refused;
        }
        Some(error)
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
                    let refusal = AuthError {
                        hint,
                        ..refusal.clone()
                    };
                    if Broker::refuse(key, &asking, &mut memo, refusal) {
                        self.broker.doubt(&key.origin);
                    }
                    if let Some(exchange) = self.exchanges.get_mut(&id) {
                        exchange.memo = memo;
                    }
                    self.enqueue(id, Turn::First);
                }
                None => {
                    self.broker.doubt(&key.origin);
                    if error.kind() == ErrorKind::Temporary {
                        // It would be no better for what comes instead.
                        self.settle(id, Err(error.clone()));
                    } else {
                        self.failed(id, error.clone());
                    }
                }
            }
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
        | Operation::Ping(_)
        | Operation::Token(_)
        | Operation::UploadDelete(_) => "another content".to_string(),
    };
    Error::Mismatch {
        what: format!("{line}: the stored blob is damaged, and was not sent to its end"),
        expected,
        found: found.map_or_else(|| "another size".to_string(), |found| found.to_string()),
    }
}
