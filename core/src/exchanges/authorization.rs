//! Does what the auth broker wants, and holds responses back that credentials could change.
//!
//! Responsible for what an [`AuthOutput`] means for an exchange. Must not know when credentials can be
//! shown (`auth`).

use http::StatusCode;

use super::classify::errors;
use super::host::Turn;
use super::{Exchange, Exchanges, Purpose, State};
use crate::auth::{AuthInput, AuthOutput, Doubt};
use crate::call::Exchanged;
use crate::error::{ErrorKind, RequestLine};
use crate::event::Event;
use crate::ids::ExchangeId;
use crate::op::{BlobHead, Operation, Ping, Site};
use crate::scope::Scopes;
use crate::uri::Url;

/// An answer that waits.
#[derive(Debug)]
pub(super) struct Held {
    /// Whether it is a 401 without a challenge.
    challenged: bool,
    exchanged: Exchanged,
    url: Url,
    line: RequestLine,
}

impl Held {
    /// A 401 that should have come with a challenge.
    pub(super) const fn challenge(exchanged: Exchanged, url: Url, line: RequestLine) -> Self {
        Self {
            challenged: true,
            exchanged,
            url,
            line,
        }
    }

    /// Any other response.
    pub(super) const fn response(exchanged: Exchanged, url: Url, line: RequestLine) -> Self {
        Self {
            challenged: false,
            exchanged,
            url,
            line,
        }
    }
}

impl Exchanges {
    /// Whether credentials could change an answer that the registry itself gave.
    pub(super) fn doubt(
        &self,
        id: ExchangeId,
        challenged: bool,
        exchanged: &Exchanged,
        url: &Url,
    ) -> Option<Doubt> {
        let exchange = self.exchanges.get(&id)?;
        let response = (exchanged.status?, &exchanged.headers);
        if matches!(exchange.op, Operation::Token(_)) || exchange.is_foreign() {
            return None;
        }
        self.broker
            .doubt(id, challenged, response, url, || errors(exchanged))
    }

    /// Keeps an answer that credentials could change until it is known whether it stands.
    pub(super) fn hold(&mut self, id: ExchangeId, held: Held, doubt: Doubt) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return self.missing(id);
        };
        match doubt {
            Doubt::Unshown => {
                exchange.held = Some(held.into());
                self.check_held(id);
            }
            Doubt::Refused => {
                let status = held.exchanged.status.unwrap_or(StatusCode::FORBIDDEN);
                let (errors, now) = (errors(&held.exchanged), self.now);
                exchange.held = Some(held.into());
                exchange.state = State::Parked;
                let request = exchange.auth_request(id, &exchange.url());
                self.broker
                    .handle(AuthInput::Forbidden(request, status, errors, now));
                self.serve_broker();
            }
        }
    }

    /// Goes on with an exchange whose answer is held.
    pub(super) fn check_held(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return self.missing(id);
        };
        exchange.state = State::Parked;
        let request = exchange.auth_request(id, &exchange.url());
        self.broker.handle(AuthInput::Doubtful(request));
        self.serve_broker();
    }

    /// Does what the broker wants. Exchanges that may go on wait in `unparked` until what is under way
    /// is done.
    pub(super) fn serve_broker(&mut self) {
        while let Some(output) = self.broker.poll() {
            match output {
                AuthOutput::Resume(id) => self.unparked.push(id),
                AuthOutput::Again(id) => self.again(id),
                AuthOutput::Stands(id) => self.stands(id),
                AuthOutput::Denied(id, denied) => {
                    if let Some(exchange) = self.exchanges.get_mut(&id) {
                        exchange.hop = None;
                        exchange.visited.clear();
                    }
                    self.answer_denied(id, denied);
                }
                // It would be no better for what comes instead.
                AuthOutput::Fail(id, error) if error.kind() == ErrorKind::Temporary => {
                    self.settle(id, Err(error));
                }
                AuthOutput::Fail(id, error) => self.failed(id, error),
                AuthOutput::Ask(question) => {
                    let registry = question.registry().clone();
                    self.asks.push(&registry, (self.next, question));
                }
                AuthOutput::Fetch(id, key, token) => {
                    let purpose = Purpose::Token(key);
                    self.add_for(id, purpose, |_| Some(Operation::Token(*token)));
                }
                AuthOutput::Probe(id) => {
                    if let Some((probe, site)) = self.add_for(id, Purpose::Probe, probe) {
                        let begun = AuthInput::ProbeBegan(&site.origin, probe);
                        self.broker.handle(begun);
                        self.promote(probe, &site.origin);
                    }
                }
                AuthOutput::Ping(id) => {
                    let ping = |exchange: &Exchange| {
                        let site = exchange.site.clone();
                        Some(Operation::Ping(Ping { site }))
                    };
                    if let Some((ping, site)) = self.add_for(id, Purpose::Ping, ping) {
                        self.promote(ping, &site.origin);
                    }
                }
                AuthOutput::Warn(id, warning) => {
                    if let Some(exchange) = self.exchanges.get(&id) {
                        let event = Event::Warning(warning);
                        self.events.push_back((exchange.task, event));
                    }
                }
            }
        }
    }

    /// Begins what `id` waits for, for the same task and site.
    fn add_for(
        &mut self,
        id: ExchangeId,
        purpose: Purpose,
        op: impl FnOnce(&Exchange) -> Option<Operation>,
    ) -> Option<(ExchangeId, Site)> {
        let exchange = self.exchanges.get(&id)?;
        let (task, site, op) = (exchange.task, exchange.site.clone(), op(exchange)?);
        let hurries = exchange.hurries;
        let scopes = match purpose {
            Purpose::Probe => exchange.scopes.clone(),
            Purpose::Owner(_) | Purpose::Token(_) | Purpose::Ping | Purpose::Cleanup => {
                Scopes::default()
            }
        };
        let added = self.add(purpose, task, site.clone(), op, scopes);
        if let Some(added) = self.exchanges.get_mut(&added) {
            added.hurries = hurries;
        }
        Some((added, site))
    }

    /// Sends a request again, with what the broker has learned. A probe has found it out.
    fn again(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if matches!(exchange.purpose, Purpose::Probe) {
            self.remove(id);
            return;
        }
        exchange.held = None;
        exchange.hop = None;
        exchange.visited.clear();
        self.enqueue(id, Turn::First);
    }

    fn stands(&mut self, id: ExchangeId) {
        let held = self.exchanges.get_mut(&id).and_then(|it| it.held.take());
        let Some(held) = held else {
            return;
        };
        if held.challenged {
            self.challenged(id, &held.exchanged, &held.url);
        } else {
            self.answered(id, held.exchanged, held.url, held.line);
        }
    }

    /// `/v2/` answered.
    pub(super) fn pinged(&mut self, id: ExchangeId, exchanged: &Exchanged, url: &Url) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let answer = exchanged.status.map(|status| (status, &exchanged.headers));
        self.broker
            .handle(AuthInput::Pinged(id, &exchange.site, answer, url));
        self.serve_broker();
        self.remove(id);
    }

    /// `/v2/` did not answer.
    pub(super) fn ping_failed(&mut self, id: ExchangeId, site: &Site) {
        let url = Ping { site: site.clone() }.url();
        self.broker.handle(AuthInput::Pinged(id, site, None, &url));
    }
}

/// The small request that probes for a large one.
fn probe(exchange: &Exchange) -> Option<Operation> {
    let Operation::BlobGet(op) = &exchange.op else {
        return None;
    };
    Some(Operation::BlobHead(BlobHead {
        site: exchange.site.clone(),
        digest: op.digest.clone(),
        size: op.size,
    }))
}
