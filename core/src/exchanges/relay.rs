//! Relays: two exchanges that go out together, since one sends what the other receives.
//!
//! Responsible for taking the slots of both hosts at once, and for what the end of a relay means for each
//! of its exchanges. Must not know what responses mean (`responses`).
//!
//! ```text
//!  sink:   HEAD, POST, … ─▶ needs bytes ─▶ waiting ─┐                 ┌─ next part: waiting
//!                                                   ├─▶ one job ──────┤
//!  source:                               waiting ───┘                 └─ refused, redirected, broke off:
//!                                                                        its own way back to waiting
//! ```
//!
//! Neither holds a slot while it waits for the other, so relays in both directions cannot wait for each
//! other. The one that comes first in its line looks for the other one; if the other host has no slot, the
//! other one lines up there instead, and looks in turn.

use http::{StatusCode, header};

use super::host::Turn;
use super::line::Lane;
use super::{Exchange, Exchanges, State};
use crate::auth::AuthInput;
use crate::call::{Exchanged, Interrupted, Received, Relay, Relayed};
use crate::digest::Digest;
use crate::error::Error;
use crate::header::ContentRange;
use crate::ids::{ExchangeId, JobId, Owner, TaskId};
use crate::op::{BlobGet, BlobPut, OpOutcome, Operation};
use crate::rng::Rng;
use crate::scope::Scopes;
use crate::time::Time;

/// The two exchanges of a relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pair {
    pub(super) source: ExchangeId,
    pub(super) sink: ExchangeId,
}

impl Exchanges {
    /// Begins to send a blob that is fetched meanwhile. The owner gets the [`Settled`](super::Settled) of the
    /// sink, which ends the source; or that of the source, if it fails, and then abandons the sink.
    pub(crate) fn begin_relay(
        &mut self,
        owner: Owner,
        task: TaskId,
        (put, put_scopes): (BlobPut, Scopes),
        (get, get_scopes): (BlobGet, Scopes),
    ) -> (ExchangeId, ExchangeId) {
        let (from, to) = (get.site.clone(), put.site.clone());
        let sink = self.begin(owner, task, to, Operation::BlobPut(put), put_scopes);
        let source = self.begin(owner, task, from, Operation::BlobGet(get), get_scopes);
        self.leave_line(source);
        if let Some(exchange) = self.exchanges.get_mut(&source) {
            exchange.state = State::Waiting;
            // The sink is announced.
            exchange.announced = true;
            // It goes before what was not begun, as the sink does.
            exchange.begun = true;
            exchange.partner = Some(sink);
        }
        if let Some(exchange) = self.exchanges.get_mut(&sink) {
            exchange.partner = Some(source);
        }
        (sink, source)
    }

    /// The relay that the next request of this exchange is a part of, if it is of one.
    pub(super) fn pair_of(&self, id: ExchangeId) -> Option<Pair> {
        let exchange = self.exchanges.get(&id)?;
        let partner = exchange.partner?;
        if let Operation::BlobGet(_) = exchange.op {
            return Some(Pair {
                source: id,
                sink: partner,
            });
        }
        exchange.op.wants_relay().then_some(Pair {
            source: partner,
            sink: id,
        })
    }

    /// Sends both, if the other one of `first` is ready, too, and both have a slot and a permit.
    pub(super) fn relay(
        &mut self,
        first: ExchangeId,
        pair: Pair,
        job: JobId,
        now: Time,
    ) -> Option<Relay> {
        let Pair { source, sink } = pair;
        let other = if first == source { sink } else { source };
        self.wait(first);
        if !self.is_ready_to_relay(other) {
            return None;
        }
        if self.avoids(source) {
            // It lines up at another endpoint, and looks for the sink there.
            return None;
        }
        let from = self.exchanges.get(&source)?.service();
        let to = self.exchanges.get(&sink)?.service();
        // It would need two slots of one host, which may have only one.
        if from == to || self.is_vain_to_relay(sink) {
            self.go_on_without_relay(pair);
            return None;
        }
        self.leave_line(other);
        self.wait(other);
        let there = if first == source { &to } else { &from };
        if self
            .hosts
            .get(there)
            .is_some_and(|host| !host.is_open(Lane::Rest))
        {
            self.enqueue(other, Turn::First);
            return None;
        }
        // What the sink needs can change with what is known of its registry.
        let to_authorization = self.permit(sink, now)?;
        let Some(Operation::BlobPut(put)) = self.exchanges.get(&sink).map(|it| &it.op) else {
            self.not_of_a_relay(pair);
            return None;
        };
        let part = put.relayed_part();
        let get = self.exchanges.get_mut(&source)?;
        if let Operation::BlobGet(get) = &mut get.op {
            get.relay(part);
        }
        let from_authorization = self.permit(source, now)?;
        let get = self.send(source, job, from_authorization)?;
        let Some(put) = self.send(sink, job, to_authorization) else {
            // It has failed, and the source is gone with it.
            return None;
        };
        self.occupy(&from);
        self.occupy(&to);
        Some(Relay::new(get, put))
    }

    /// The two exchanges of the relay that this job is, if it is one.
    pub(super) fn relaying(&self, sink: ExchangeId, job: JobId) -> Option<Pair> {
        let source = self.exchanges.get(&sink)?.partner?;
        let is_outside = self.exchanges.get(&source)?.state == State::Outside(job);
        is_outside.then_some(Pair { source, sink })
    }

    /// The worker died with both.
    pub(super) fn relay_lost(&mut self, pair: Pair, now: Time, rng: &mut Rng) {
        self.came_back(pair.source);
        self.wait(pair.source);
        self.leave_redirect(pair.source);
        self.lost(pair.sink, now, rng);
    }

    /// Takes the ends of both. The one that ended because of the other has no verdict of its own.
    pub(super) fn relay_ended(
        &mut self,
        pair: Pair,
        relayed: Relayed,
        job: JobId,
        now: Time,
        rng: &mut Rng,
    ) {
        let Pair { source, sink } = pair;
        self.came_back(source);
        self.wait(source);
        self.wait(sink);
        let Relayed {
            source: received,
            sink: sent,
        } = relayed;
        let is_abandoned = self.exchanges.get(&sink).is_some_and(|it| it.abandoned);
        if is_abandoned {
            self.note_later(source, &received, job, now);
            return self.ended(sink, sent, job, now, rng);
        }
        let is_aborted = |it: &Exchanged| matches!(it.interrupted, Some(Interrupted::Aborted));
        let ended_together = is_of_other(&received) && is_of_other(&sent);
        if ended_together || is_aborted(&received) || is_aborted(&sent) {
            self.leave_redirect(source);
            return self.lost(sink, now, rng);
        }
        if let Some(Interrupted::Damaged { found }) = &sent.interrupted {
            return self.relay_spoiled(pair, sent.sent, found.as_ref());
        }
        if is_of_other(&sent) {
            self.cut_off(sink, &sent, leads_on(&received));
        } else {
            self.ended(sink, sent, job, now, rng);
        }
        if !self.exchanges.contains_key(&source) {
            // The sink is over, one way or the other.
            return;
        }
        let is_short = is_short_range(&received) && self.stop_relaying(sink);
        if is_of_other(&received) || is_delivered(&received) || is_short {
            self.delivered(source, received.body);
            // It waits for the sink, which `cut_off` left waiting if it had not begun.
            if is_short && is_waiting(self.exchanges.get(&sink)) {
                self.enqueue(sink, Turn::First);
            }
        } else {
            self.ended(source, received, job, now, rng);
        }
    }

    /// An exchange is over, and with it the source of its relay.
    pub(super) fn part_from(&mut self, exchange: &Exchange) {
        let Some(partner) = exchange.partner else {
            return;
        };
        if matches!(exchange.op, Operation::BlobPut(_)) {
            self.remove(partner);
        }
    }

    fn wait(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.state = State::Waiting;
        }
    }

    /// Whether an exchange waits for the other one, or is in line with the request that they send together.
    fn is_ready_to_relay(&self, id: ExchangeId) -> bool {
        let state = self.exchanges.get(&id).map(|exchange| exchange.state);
        match state {
            Some(State::Waiting) => true,
            Some(State::Queued(_)) => self.pair_of(id).is_some(),
            Some(State::Parked | State::BackingOff(_) | State::Outside(_)) | None => false,
        }
    }

    /// The source has delivered what it was asked for, or was ended by the sink: it waits for what is next.
    fn delivered(&mut self, source: ExchangeId, body: Received) {
        if body.of_blob() == 0 {
            self.leave_redirect(source);
            return;
        }
        self.uncongested(source);
        let Some(exchange) = self.exchanges.get_mut(&source) else {
            return self.missing(source);
        };
        exchange.op.interrupted(body);
        let url = exchange.url();
        let has_progressed = exchange.tries.reached(exchange.op.position());
        if has_progressed {
            self.broker.handle(AuthInput::Progressed(source));
        }
        self.accept(source, &url);
        self.leave_redirect(source);
    }

    /// A source's next request goes to its registry: what a redirect led to is short-lived, and gone to once
    /// (HTTP-15).
    fn leave_redirect(&mut self, source: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(&source) {
            exchange.begin_anew();
        }
    }

    /// The sink stopped because the source did, which is no failure of the sink. If `is_led_on`, the source was redirected
    /// or challenged.
    fn cut_off(&mut self, sink: ExchangeId, sent: &Exchanged, is_led_on: bool) {
        let Some(exchange) = self.exchanges.get_mut(&sink) else {
            return self.missing(sink);
        };
        exchange.op.has_sent(sent);
        let is_sent = sent.sent > 0;
        // An address that a redirect gave is still good for a request that was not sent, unless it has to wait:
        // two sides that both redirect would lead each other on for ever.
        if is_sent || !is_led_on {
            exchange.begin_anew();
        }
        if !is_sent {
            return;
        }
        exchange.op.interrupted(Received::Nothing);
        self.note_upload(sink);
        self.broker.handle(AuthInput::RequestChanged(sink));
        self.enqueue(sink, Turn::First);
    }

    /// What was relayed is not the blob. It is fetched once more, then from another endpoint, if there is one.
    fn relay_spoiled(&mut self, pair: Pair, sent: u64, found: Option<&Digest>) {
        let Pair { source, sink } = pair;
        if let Some(exchange) = self.exchanges.get_mut(&sink)
            && let Operation::BlobPut(op) = &mut exchange.op
        {
            op.has_sent(sent, None);
            op.was_spoiled();
            exchange.begin_anew();
        }
        self.note_upload(sink);
        self.broker.handle(AuthInput::RequestChanged(sink));
        self.enqueue(sink, Turn::First);
        let Some(exchange) = self.exchanges.get_mut(&source) else {
            return self.missing(source);
        };
        let Operation::BlobGet(op) = &mut exchange.op else {
            return self.not_of_a_relay(pair);
        };
        if op.relay_again() {
            return self.leave_redirect(source);
        }
        let error = op.relayed_wrong(found);
        self.settle(source, Err(error));
    }

    /// A source whose ranges end before the parts of the sink, and where the rest cannot be had, would use up its
    /// attempts: the blob goes through a store, if there is one. Returns whether there is.
    fn stop_relaying(&mut self, sink: ExchangeId) -> bool {
        let op = self.exchanges.get_mut(&sink).map(|it| &mut it.op);
        let Some(Operation::BlobPut(op)) = op else {
            return false;
        };
        let has_store = op.rewinds.is_some();
        if has_store {
            op.rewinds = Some(0);
        }
        has_store
    }

    /// Whether the bytes were sent again so often that a store is better.
    fn is_vain_to_relay(&self, sink: ExchangeId) -> bool {
        let op = self.exchanges.get(&sink).map(|exchange| &exchange.op);
        matches!(op, Some(Operation::BlobPut(op)) if op.rewinds == Some(0))
    }

    /// The blob is fetched into a store first, and sent from there.
    fn go_on_without_relay(&mut self, pair: Pair) {
        let sink = pair.sink;
        let Some(exchange) = self.exchanges.get_mut(&sink) else {
            return self.missing(sink);
        };
        let Operation::BlobPut(op) = &mut exchange.op else {
            return self.not_of_a_relay(pair);
        };
        let session = op.without_relay();
        self.note_upload(sink);
        self.settle(sink, Ok(OpOutcome::Unrelayed(session)));
    }

    /// The pair is not a `BlobGet` and a `BlobPut`: a defect, which must end both, since each waits for the other.
    fn not_of_a_relay(&mut self, pair: Pair) {
        self.remove(pair.source);
        let error = Error::internal("a relay's exchanges are not a download and an upload");
        self.settle(pair.sink, Err(error));
    }
}

fn is_waiting(exchange: Option<&Exchange>) -> bool {
    exchange.is_some_and(|exchange| exchange.state == State::Waiting)
}

fn is_of_other(exchanged: &Exchanged) -> bool {
    matches!(exchanged.interrupted, Some(Interrupted::OtherCall))
}

/// Whether a response names another address to go to, or asks for credentials.
fn leads_on(exchanged: &Exchanged) -> bool {
    let status = exchanged.status;
    status.is_some_and(|status| status.is_redirection() || status == StatusCode::UNAUTHORIZED)
}

/// Whether a source has passed on all that it was asked for.
fn is_delivered(exchanged: &Exchanged) -> bool {
    let came = matches!(&exchanged.body, Received::Relayed { to, end, .. } if to >= end);
    came && exchanged.flaw.is_none()
}

/// Whether a source has passed on all that its `Content-Range` promised, and that was less than it was asked for.
fn is_short_range(exchanged: &Exchanged) -> bool {
    let Received::Relayed { to, end, .. } = exchanged.body else {
        return false;
    };
    let range = exchanged.headers.get(header::CONTENT_RANGE);
    let range = range.and_then(|it| ContentRange::parse(it.to_str().ok()?));
    to < end && range.is_some_and(|range| range.last.checked_add(1) == Some(to))
}

#[cfg(test)]
mod tests;
