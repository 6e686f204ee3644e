//! Answers that may be other ones with credentials: held back until that is known.
//!
//! Responsible for what the broker's [`Look`] means for an exchange, and for asking `/v2/`. Must not
//! know when credentials can be shown (`auth`).

use super::host::Turn;
use super::{Exchanges, Purpose, State};
use crate::auth::{Broker, Look};
use crate::call::Exchanged;
use crate::error::RequestLine;
use crate::event::Event;
use crate::ids::ExchangeId;
use crate::op::{Operation, Ping, Site};
use crate::scope::Scopes;
use crate::uri::Url;

/// An answer that waits.
#[derive(Debug)]
pub(super) struct Held {
    /// Whether it is one that a challenge should have come with.
    challenged: bool,
    exchanged: Exchanged,
    url: Url,
    line: RequestLine,
}

impl Exchanges {
    /// Whether credentials could change an answer that the registry itself gave.
    pub(super) fn is_doubtful(
        &self,
        id: ExchangeId,
        challenged: bool,
        exchanged: &Exchanged,
        url: &Url,
    ) -> bool {
        let (Some(exchange), Some(status)) = (self.exchanges.get(&id), exchanged.status) else {
            return false;
        };
        let is_token = matches!(exchange.op, Operation::Token(_));
        if is_token || exchange.is_foreign() {
            return false;
        }
        Broker::is_doubtful(&exchange.auth, challenged, status, &exchanged.headers, url)
    }

    /// Keeps the answer until it is known whether it stands.
    pub(super) fn hold(
        &mut self,
        id: ExchangeId,
        challenged: bool,
        exchanged: Exchanged,
        url: Url,
        line: RequestLine,
    ) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            let held = Held {
                challenged,
                exchanged,
                url,
                line,
            };
            exchange.held = Some(held.into());
            self.look(id);
        }
    }

    /// Goes on with an exchange whose answer is held.
    pub(super) fn look(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let needs = exchange.op.needs();
        let mut memo = core::mem::take(&mut exchange.auth);
        let exchange = &self.exchanges[&id];
        let asking = exchange.asking(id, &needs, &exchange.url());
        let look = self.broker.look(&asking, &mut memo);
        self.tell_warnings(id);
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        exchange.auth = memo;
        let (task, site) = (exchange.task, exchange.site.clone());
        match look {
            Look::Park => exchange.state = State::Parked,
            Look::Ask { recipient } => {
                exchange.state = State::Parked;
                self.asks
                    .push_back((site.registry, site.repository, recipient));
            }
            Look::Ping => {
                exchange.state = State::Parked;
                let op = Operation::Ping(Ping { site: site.clone() });
                let origin = site.origin.clone();
                let ping = self.add(Purpose::Ping, task, site, op, Scopes::default());
                self.promote(ping, &origin);
            }
            Look::Again if matches!(exchange.purpose, Purpose::Probe) => {
                // It has found out what it was to find out.
                self.remove(id);
            }
            Look::Again => {
                exchange.held = None;
                exchange.hop = None;
                exchange.visited.clear();
                self.enqueue(id, Turn::First);
            }
            Look::Stands => self.stands(id),
        }
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
        let site = exchange.site.clone();
        let answer = exchanged.status.map(|status| (status, &exchanged.headers));
        self.broker.pinged(&site, answer, url);
        self.tell_warnings(id);
        self.remove(id);
    }

    /// `/v2/` did not answer.
    pub(super) fn ping_failed(&mut self, site: &Site) {
        let url = Ping { site: site.clone() }.url();
        self.broker.pinged(site, None, &url);
    }

    /// Tells the warnings of the broker to the task of an exchange.
    pub(super) fn tell_warnings(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        for warning in self.broker.take_warnings() {
            self.events
                .push_back((exchange.task, Event::Warning(warning)));
        }
    }
}
