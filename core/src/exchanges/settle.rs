//! The end of an exchange: tried again, lost, or settled.
//!
//! Responsible for tries and for who gets the result: the owner, the broker, or another exchange that
//! waited. Must not know what responses mean (`responses`).

use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use super::endpoints::patience;
use super::host::Turn;
use super::{Exchange, Exchanges, Purpose, Settled, Settlement, State};
use crate::auth::{AuthInput, TokenKey};
use crate::call::{Received, TransportErrorKind};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::ids::ExchangeId;
use crate::op::{OpOutcome, Operation};
use crate::registry::Origin;
use crate::retry::{Decision, Tries};
use crate::rng::Rng;
use crate::time::Time;

impl Exchanges {
    pub(super) fn retry(
        &mut self,
        id: ExchangeId,
        body: Received,
        error: Error,
        asked: Option<Duration>,
        now: Time,
        rng: &mut Rng,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return self.missing(id);
        };
        // A HEAD is retried once if it is refused with a 5xx, or fails where a redirect led. After
        // that it costs more than it may save.
        let refused = asked.is_none() && matches!(&error, Error::Registry(it) if it.status >= 500);
        let is_vain = (refused || exchange.hop.is_some())
            && matches!(exchange.purpose, Purpose::Owner(_))
            && exchange.op.clone().without_shortcut().is_some();
        // The earlier failure may be permanent, so the shortcut is given up whatever this one is.
        if exchange.is_vain && asked.is_none() && self.go_on_plainly(id) {
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return self.missing(id);
        };
        if refused && matches!(exchange.purpose, Purpose::Probe) && !exchange.hurries {
            // It did not ask who is asking. If it asks at a GET, that is known then.
            let origin = exchange.site.origin.clone();
            self.broker.handle(AuthInput::Accepted(id, &origin));
            return self.settle(id, Ok(OpOutcome::Absent));
        }
        exchange.is_vain = is_vain;
        exchange.op.interrupted(body);
        if may_be_done(&error) {
            exchange.op.may_be_done();
        }
        self.note_upload(id);
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return self.missing(id);
        };
        if exchange.tries.reached(exchange.op.position()) {
            self.broker.handle(AuthInput::Progressed(id));
        }
        // What a redirect led to is short-lived: start again at the registry (HTTP-15).
        exchange.hop = None;
        exchange.visited.clear();
        let policy = self.config.retry_for(&exchange.site.registry);
        let policy = patience(policy, exchange, &error, asked);
        match exchange.tries.failed(&policy, asked, rng) {
            Decision::Again { attempt, after } => {
                let until = now + after.max(Duration::from_micros(1));
                exchange.state = State::BackingOff(until);
                self.timers.insert((until, id));
                self.broker.handle(AuthInput::TriedAgain(id));
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
    pub(super) fn abandoned(&mut self, id: ExchangeId) {
        self.give_up_upload(id, None);
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
            return self.missing(id);
        };
        if exchange.abandoned || matches!(exchange.purpose, Purpose::Cleanup) {
            self.abandoned(id);
            return;
        }
        if let (Operation::BlobGet(_), Purpose::Owner(owner)) = (&exchange.op, &exchange.purpose) {
            // Its hash is gone: its owner begins again with what the store has.
            let owner = *owner;
            self.remove(id);
            self.settled.push_back(Settled {
                exchange: id,
                owner,
                result: Settlement::Lost,
            });
            return;
        }
        let request = exchange.line(&exchange.op.draft().method, &exchange.url());
        let error =
            crate::call::TransportError::new(TransportErrorKind::Other, "the driver lost the job");
        let error = Error::Transport { request, error };
        self.retry(id, Received::Nothing, error, None, now, rng);
    }

    pub(super) fn settle(&mut self, id: ExchangeId, result: Result<OpOutcome, Error>) {
        let result = match result {
            Ok(outcome) => {
                let error = self.unserved(id, &outcome);
                if error.is_some_and(|error| self.next_endpoint(id, error).is_none()) {
                    return;
                }
                Ok(outcome)
            }
            Err(error) => {
                let error = self.next_endpoint(id, error);
                match error.and_then(|error| self.elsewhere(id, error)) {
                    Some(error) => Err(error),
                    None => return,
                }
            }
        };
        match &result {
            Ok(OpOutcome::Sent { .. }) => self.served_relay(id),
            Ok(outcome) => self.served(id, outcome),
            Err(error) => self.give_up_upload(id, Some(error)),
        }
        let Some(exchange) = self.remove(id) else {
            return self.missing(id);
        };
        let result = result.map_err(|error| self.advise(&exchange, error));
        let result = if let Operation::BlobPut(op) = &exchange.op {
            result.map_err(|error| error.about(&op.subject()))
        } else {
            result
        };
        match exchange.purpose {
            Purpose::Owner(owner) => {
                let result = match (result, exchange.op) {
                    (Ok(outcome), _) => Settlement::Done(outcome),
                    // What a part has got stays.
                    (Err(error), Operation::BlobGet(op)) if op.shares => {
                        Settlement::Done(op.fetched(Some(error)))
                    }
                    (Err(error), _) => Settlement::Failed(error),
                };
                self.settled.push_back(Settled {
                    exchange: id,
                    owner,
                    result,
                });
            }
            Purpose::Token(key) => self.token_settled(&key, result),
            Purpose::Ping => self.ping_failed(id, &exchange.site),
            Purpose::Cleanup => {}
            Purpose::Probe => {
                // The broker has its result. If it failed, the requests that waited for it would fail, too.
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
                let warning = format!("{error}; trying the layer's next URL");
                self.events.push_back((task, Event::Warning(warning)));
            }
            is_expected = false;
            let Err(refused) = next else {
                exchange.tries = Tries::default();
                exchange.begin_anew();
                self.broker.handle(AuthInput::Restarted(id));
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
        self.serve_broker();
        for id in core::mem::take(&mut self.unparked) {
            match self.exchanges.get(&id) {
                Some(exchange) if waited(exchange) => self.settle(id, Err(error.clone())),
                Some(exchange) if exchange.state == State::Parked => self.enqueue(id, Turn::First),
                Some(_) | None => {}
            }
        }
    }

    fn token_settled(&mut self, key: &TokenKey, result: Result<OpOutcome, Error>) {
        let defect;
        let input = match &result {
            Ok(OpOutcome::Granted(grant)) => AuthInput::Granted(key, grant.clone(), self.now),
            Ok(outcome) => {
                defect = Error::internal(&format!("a request for a token ended in {outcome:?}"));
                AuthInput::NotGranted(key, Some(&defect))
            }
            Err(error) => AuthInput::NotGranted(key, Some(error)),
        };
        self.broker.handle(input);
        self.serve_broker();
    }
}

/// Whether the server may have done what it was asked for, although it did not say so.
fn may_be_done(error: &Error) -> bool {
    use TransportErrorKind as Kind;
    if let Error::Registry(refusal) = error {
        return matches!(refusal.status, 500 | 502 | 504);
    }
    let Error::Transport { error, .. } = error else {
        return false;
    };
    match error.kind {
        Kind::Reset | Kind::Idle | Kind::Answer | Kind::Protocol | Kind::Other => true,
        Kind::Resolve
        | Kind::Connect
        | Kind::Descriptors
        | Kind::Tls
        | Kind::Forbidden
        | Kind::ProxyAuth => false,
    }
}
