//! Responses: what the end of a job means for its exchange.
//!
//! Responsible for redirects, challenges, and for handing answers to operations. Must not know when
//! requests go out (`host`, `dispatch`), nor who gets a result (`settle`).

use alloc::format;
use alloc::string::String;

use http::Method;

use super::authorization::Held;
use super::host::Turn;
use super::{Exchange, Exchanges, Purpose, WARNINGS};
use crate::auth::AuthInput;
use crate::call::{Exchanged, Received};
use crate::digest::Digest;
use crate::error::{AuthError, Error, Measure, RequestLine};
use crate::event::Event;
use crate::exchanges::classify::{Class, classify, errors, follow};
use crate::header::{quota, warnings};
use crate::ids::{ExchangeId, JobId, TaskId};
use crate::op::{Answer, OpOutcome, Operation, Verdict};
use crate::rng::Rng;
use crate::time::Time;
use crate::uri::Url;

impl Exchanges {
    /// Applies a `Retry-After` from a response that no task waits for: it is for every request to the host.
    pub(super) fn note_later(
        &mut self,
        id: ExchangeId,
        exchanged: &Exchanged,
        job: JobId,
        now: Time,
    ) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return self.missing(id);
        };
        let draft = exchange.op.draft();
        let url = exchange.hop.clone().unwrap_or(draft.url);
        let line = exchange.line(&draft.method, &url);
        if let Class::Retry { after, .. } = classify(exchanged, &line) {
            self.congested(id, exchanged, job, after, now);
        }
    }

    /// Whether `/v2/` told its challenge: other tasks use it, even if the one that asked is over.
    fn is_answered_ping(&self, id: ExchangeId, exchanged: &Exchanged) -> bool {
        let exchange = self.exchanges.get(&id);
        let is_ping = exchange.is_some_and(|it| matches!(it.purpose, Purpose::Ping));
        is_ping && exchanged.status == Some(http::StatusCode::UNAUTHORIZED)
    }

    pub(super) fn ended(
        &mut self,
        id: ExchangeId,
        exchanged: Exchanged,
        job: JobId,
        now: Time,
        rng: &mut Rng,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return self.missing(id);
        };
        exchange.op.has_sent(&exchanged);
        let draft = exchange.op.draft();
        let url = exchange.hop.clone().unwrap_or(draft.url);
        let line = exchange.line(&draft.method, &url);
        if exchange.abandoned || matches!(exchange.purpose, Purpose::Cleanup) {
            return self.ended_unwanted(id, &exchanged, job, &url, now);
        }
        let task = exchange.task;
        let is_token = matches!(exchange.op, Operation::Token(_));
        let is_elsewhere = !is_token && exchange.is_foreign();
        let is_ping = matches!(exchange.purpose, Purpose::Ping);
        for warning in warnings(&exchanged.headers) {
            self.warn(task, warning);
        }
        if !is_token && !is_elsewhere {
            self.warn_of_quota(id, task, &exchanged);
        }
        let class = classify(&exchanged, &line);
        if matches!(class, Class::Challenged) && !is_elsewhere {
            self.refund(id);
        }
        match class {
            Class::Aborted => self.lost(id, now, rng),
            Class::Damaged { found } => {
                let Some(exchange) = self.exchanges.get(&id) else {
                    return self.missing(id);
                };
                let error = damaged(&exchange.op, &line, found);
                self.settle(id, Err(error));
            }
            Class::Fatal(error) => {
                if let Some(exchange) = self.exchanges.get_mut(&id)
                    && let Operation::BlobGet(op) = &mut exchange.op
                {
                    op.keep(exchanged.body);
                }
                self.failed(id, error);
            }
            Class::Retry { error, after } => {
                if exchanged.status.is_some_and(|status| status.is_success()) {
                    // The body broke off, but the credentials were good: one refused next is out of date.
                    self.accept(id, &url);
                }
                self.congested(id, &exchanged, job, after, now);
                self.retry(id, exchanged.body, error, after, now, rng);
            }
            Class::Challenged | Class::Redirected | Class::Answered if is_ping => {
                self.pinged(id, &exchanged, &url);
            }
            Class::Challenged => self.met_challenge(id, exchanged, url, line),
            Class::Redirected if is_token => {
                let what =
                    format!("{line}: redirected a request for a token, which is not followed");
                self.settle(id, Err(Error::Policy { what }));
            }
            Class::Redirected => self.redirected(id, &exchanged, &draft.method, &url, &line),
            Class::Answered => self.responded(id, exchanged, url, line),
        }
    }

    /// An exchange ended whose result no task waits for.
    fn ended_unwanted(
        &mut self,
        id: ExchangeId,
        exchanged: &Exchanged,
        job: JobId,
        url: &Url,
        now: Time,
    ) {
        self.note_later(id, exchanged, job, now);
        if self.exchanges.get(&id).is_some_and(|it| it.abandoned) {
            if self.is_answered_ping(id, exchanged) {
                self.pinged(id, exchanged, url);
            } else {
                self.abandoned(id);
            }
        // Not even a challenge is answered: some registries want a right for a cleanup that no push has
        // (PUSHB-43).
        } else if !self.goes_on_deleting(id, exchanged, url) {
            self.remove(id);
        }
    }

    /// Whether the request went where a redirect led. One for a token follows none.
    fn is_elsewhere(&self, id: ExchangeId) -> bool {
        let is_elsewhere = |it: &Exchange| !matches!(it.op, Operation::Token(_)) && it.is_foreign();
        self.exchanges.get(&id).is_some_and(is_elsewhere)
    }

    fn met_challenge(&mut self, id: ExchangeId, exchanged: Exchanged, url: Url, line: RequestLine) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return self.missing(id);
        };
        if self.is_elsewhere(id) {
            let what = format!(
                "{} answered 401, but credentials for `{}` are sent only on direct requests to it",
                url.origin(),
                exchange.site.registry
            );
            let request = line;
            self.failed(id, Error::Peer { request, what });
        } else if matches!(exchange.op, Operation::Token(_)) || exchange.site.is_authorized() {
            self.answered(id, exchanged, url, line);
        } else if let Some(doubt) = self.doubt(id, true, &exchanged, &url) {
            self.hold(id, Held::challenge(exchanged, url, line), doubt);
        } else {
            self.challenged(id, &exchanged, &url);
        }
    }

    fn responded(&mut self, id: ExchangeId, exchanged: Exchanged, url: Url, line: RequestLine) {
        self.uncongested(id);
        if self.is_elsewhere(id) && self.needs_new_redirect(id, &exchanged) {
            self.enqueue(id, Turn::First);
        } else if let Some(doubt) = self.doubt(id, false, &exchanged, &url) {
            self.hold(id, Held::response(exchanged, url, line), doubt);
        } else {
            self.answered(id, exchanged, url, line);
        }
    }

    /// Tells that a registry allows few further requests, and that it allows none: once each.
    fn warn_of_quota(&mut self, id: ExchangeId, task: TaskId, exchanged: &Exchanged) {
        let (Some(exchange), Some(quota)) = (self.exchanges.get(&id), quota(&exchanged.headers))
        else {
            return;
        };
        let registry = &exchange.site.registry;
        if let Some(left) = quota.shortage() {
            self.warn(task, format!("`{registry}` has {left}"));
        }
    }

    /// Tells a warning, if it was not told yet.
    fn warn(&mut self, task: TaskId, warning: String) {
        if self.warned.len() < WARNINGS && self.warned.insert(warning.clone()) {
            self.events.push_back((task, Event::Warning(warning)));
        }
    }

    /// Whether to ask the registry for a new redirect, because its storage refused the signed URL. Such
    /// URLs expire within about a minute (HTTP-15), and a request may have waited longer for a slot or a
    /// `Retry-After`. At most once until more bytes have come.
    fn needs_new_redirect(&mut self, id: ExchangeId, exchanged: &Exchanged) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        let position = exchange.op.position();
        // 400: an expired token at Google's storage.
        let refused = exchanged
            .status
            .is_some_and(|it| matches!(it.as_u16(), 400 | 403));
        let sends = matches!(&exchange.op, Operation::BlobPut(op) if op.sends_bytes());
        let reads = matches!(
            exchange.op,
            Operation::BlobGet(_) | Operation::ManifestGet(_) | Operation::RangeGet(_)
        );
        let hopped = exchange.hop.is_some();
        if !(refused && (reads || sends) && hopped) || exchange.asked_anew == Some(position) {
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
            return self.missing(id);
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
        let Some(exchange) = self.exchanges.get(&id) else {
            return self.missing(id);
        };
        let request = exchange.auth_request(id, url);
        let status = exchanged.status.unwrap_or(http::StatusCode::UNAUTHORIZED);
        let errors = errors(exchanged);
        let (headers, now) = (&exchanged.headers, self.now);
        let challenged = AuthInput::Challenged(request, status, headers, url, errors, now);
        self.broker.handle(challenged);
        self.serve_broker();
    }

    pub(super) fn answer_denied(&mut self, id: ExchangeId, denied: AuthError) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let draft = exchange.op.draft();
        let answer = Answer {
            request: exchange.line(&draft.method, &draft.url),
            url: draft.url,
            status: http::StatusCode::from_u16(denied.status)
                .unwrap_or(http::StatusCode::UNAUTHORIZED),
            headers: http::HeaderMap::new(),
            body: Received::Nothing,
            hashed: None,
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
            return self.missing(id);
        };
        let by_storage = exchange.hop.is_some() && exchange.is_foreign();
        let (presented, hint) = self.broker.explain(&exchange.auth_request(id, &url));
        let mut answer = Answer {
            request: line,
            url,
            status,
            headers: exchanged.headers,
            body: exchanged.body,
            hashed: exchanged.hashed,
            flaw: exchanged.flaw,
            denied: None,
            presented,
            hint,
        };
        if by_storage && status == http::StatusCode::FORBIDDEN {
            answer.denied = Some(AuthError {
                request: answer.request.clone(),
                status: status.as_u16(),
                presented: "the registry's signed URL".into(),
                errors: answer.errors(),
                hint: Some("the registry's storage may not serve your network".into()),
            });
        }
        self.conclude(id, answer);
    }

    /// The registry itself answered without asking who we are.
    pub(super) fn accept(&mut self, id: ExchangeId, url: &Url) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return self.missing(id);
        };
        if url.origin() == &exchange.site.origin
            && !exchange.is_foreign()
            && !matches!(exchange.op, Operation::Token(_))
        {
            let accepted = AuthInput::Accepted(id, &exchange.site.origin);
            self.broker.handle(accepted);
        }
    }

    /// Lets the operation judge an answer.
    fn conclude(&mut self, id: ExchangeId, answer: Answer) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return self.missing(id);
        };
        let (origin, registries) = (&exchange.site.origin, &mut self.registries);
        exchange.op.learn(&answer, || registries.entry(origin));
        if answer.denied.is_some() {
            self.broker.handle(AuthInput::RequestChanged(id));
        }
        let task = exchange.task;
        let (line, named) = (answer.request.clone(), answer.content_digest());
        let named = named.filter(|_| exchange.op.is_by_tag());
        let came = Some(&answer.body).filter(|it| it.of_blob() > 0).cloned();
        let ends_session = exchange.op.ends_session(&answer);
        let lost = exchange.op.lost_progress(Some(&answer));
        let is_silent = !answer.status.is_success();
        let unconfirmed = exchange.op.unconfirmed().filter(|_| is_silent);
        let verdict = exchange.op.clone().answer(answer);
        if let (Verdict::Failed(_), Operation::BlobPut(op), true) =
            (&verdict, &mut exchange.op, ends_session)
        {
            op.forget_session();
        }
        if let (Verdict::Failed(_), Operation::BlobGet(op)) = (&verdict, &mut exchange.op) {
            // It may go on elsewhere, and these were received all the same.
            op.keep(came.unwrap_or_default());
        }
        // By tag it decides nothing: content is named by what it hashes to. Registries that send the
        // digest of something else are common (clients.md C.17.9).
        if let (Some(named), Verdict::Done(OpOutcome::Document { document, .. })) =
            (named, &verdict)
            && named.algorithm().is_some()
            && !(named == *document.digest() || named.verifies(document.bytes()))
        {
            let found = document.digest();
            let what =
                format!("{line}: Docker-Content-Digest is {named}, but what came is {found}");
            self.warn(task, what);
        }
        for warning in [lost, unconfirmed].into_iter().flatten() {
            self.warn(task, warning);
        }
        self.proceed(id, verdict.of_request(&line));
    }

    fn proceed(&mut self, id: ExchangeId, verdict: Verdict) {
        match verdict {
            Verdict::Next(op) => {
                let Some(exchange) = self.exchanges.get_mut(&id) else {
                    return self.missing(id);
                };
                exchange.op = op;
                exchange.hop = None;
                exchange.visited.clear();
                exchange.is_vain = false;
                self.note_upload(id);
                self.enqueue(id, Turn::First);
            }
            Verdict::Done(mut outcome) => {
                if let OpOutcome::Present { unused } | OpOutcome::TakesNoParts { unused } =
                    &mut outcome
                    && let Some(session) = unused.take()
                    && let Some(exchange) = self.exchanges.get(&id)
                {
                    let (task, site) = (exchange.task, exchange.site.clone());
                    self.delete_upload(task, site, session);
                }
                self.settle(id, Ok(outcome));
            }
            Verdict::Failed(error) => self.settle(id, Err(error)),
        }
    }

    /// A request cannot succeed. If it was to save the sending of a blob, the blob is sent.
    pub(super) fn failed(&mut self, id: ExchangeId, error: Error) {
        if !self.go_on_plainly(id) {
            self.settle(id, Err(error));
        }
    }

    /// Whether an exchange was at a HEAD of a blob or at a mount, and goes on without.
    pub(super) fn go_on_plainly(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        let verdict = match exchange.purpose {
            Purpose::Owner(_) => exchange.op.clone().without_shortcut(),
            Purpose::Probe | Purpose::Ping | Purpose::Token(_) | Purpose::Cleanup => None,
        };
        let (task, op) = (exchange.task, &exchange.op);
        let warning = op.unconfirmed().or_else(|| op.lost_progress(None));
        let Some(verdict) = verdict else {
            return false;
        };
        if let Some(warning) = warning {
            self.warn(task, warning);
        }
        self.broker.handle(AuthInput::RequestChanged(id));
        self.proceed(id, verdict);
        true
    }
}

/// The stored blob does not match its digest; its end was held back, so the registry did not accept it.
fn damaged(op: &Operation, line: &RequestLine, found: Option<Digest>) -> Error {
    let expected = op.blob().map(|(digest, _)| Measure::from(digest));
    let found = found.as_ref().map(Measure::from);
    Error::mismatch(
        format!("{line}: the stored blob is damaged, and was not sent to its end"),
        expected.unwrap_or_else(|| Measure::unknown("another content")),
        found.unwrap_or_else(|| Measure::unknown("another size, or content that changes")),
    )
    .of_request(line)
}
