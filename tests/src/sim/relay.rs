//! A relay, and what goes wrong in it.
//!
//! Responsible for what a driver does with both exchanges: what of the source's body the sink has to send, and
//! which of them ends the other. What goes wrong in each of them is `exchange`'s.

use windlass_core::call::{
    Call, Done, Interrupted, Payload, Receive, Relay, TransportError, TransportErrorKind,
};
use windlass_driver::{RelaySource, Release};
use windlass_testbed::Request;

use super::exchange::{Carried, Delivery, EPOCH, bare, head, owner_of};
use super::fault::Fault;
use super::world::{Ran, World};

/// What the sink has to send.
struct Fed {
    release: Release,
    bytes: Vec<u8>,
    /// Why there is no more of it, other than the source's own fault.
    why: Option<Interrupted>,
    is_complete: bool,
}

/// What became of the source.
enum Fetched {
    Done(Done),
    Lost,
    Crashed,
}

impl World<'_> {
    /// Both exchanges of a relay, from the source's request to the sink's end.
    pub(crate) fn relay(&mut self, process: usize, relay: Relay, unwanted: bool) -> Ran {
        let (source, mut sink) = relay.split();
        let id = sink.id();
        let outgoing = sink.outgoing().expect("a body that is a blob has a meter");
        let mut fed = Fed {
            release: Release::new(outgoing),
            bytes: Vec::new(),
            why: None,
            is_complete: false,
        };
        let source = match self.fetch(process, source, &sink, &mut fed, unwanted) {
            Fetched::Done(done) => done,
            Fetched::Lost => return Ran::Done(Done::lost(id)),
            Fetched::Crashed => return Ran::Crashed,
        };
        sink.sent(fed.release.into_outgoing());
        let request = bare(sink.request()).body(fed.bytes);
        if !fed.is_complete {
            self.break_off(&request);
            let why = fed.why.unwrap_or(Interrupted::OtherCall);
            return Ran::Done(Done::relayed(source, sink.finish(Err(why))));
        }
        if let Payload::Body(body) = sink.request().body() {
            let body = body.clone();
            self.check_sent(&body, &request.body);
        }
        let sink = match self.carry(process, &sink, &request, unwanted) {
            Carried::Delivered(sort, delivery) => {
                match self.deliver(process, sink, sort, delivery) {
                    Ran::Done(done) => done,
                    ran @ (Ran::Crashed | Ran::Unread(_)) => return ran,
                }
            }
            Carried::Broke(why) => sink.finish(Err(why)),
            Carried::Lost => Done::lost(id),
        };
        Ran::Done(Done::relayed(source, sink))
    }

    fn fetch(
        &mut self,
        process: usize,
        mut source: Box<Call>,
        sink: &Call,
        fed: &mut Fed,
        unwanted: bool,
    ) -> Fetched {
        let request = bare(source.request());
        let carried = self.carry(process, &source, &request, unwanted);
        // Where it goes on depends on what the sink's registry has kept.
        self.economy.cut = None;
        let (sort, delivery) = match carried {
            Carried::Delivered(sort, delivery) => (sort, delivery),
            Carried::Broke(why) => return Fetched::Done(source.finish(Err(why))),
            Carried::Lost => {
                // The error names the request that is tried again.
                self.credit(sink);
                return Fetched::Lost;
            }
        };
        if delivery.lost {
            // The error names the request that is tried again.
            self.credit(sink);
            return Fetched::Lost;
        }
        let receive = source.head(head(&delivery.answer));
        let Receive::Relay { keep } = receive else {
            return match self.take_body(process, source, receive, sort, delivery) {
                Ran::Done(done) => Fetched::Done(done),
                // No reader takes it.
                Ran::Crashed | Ran::Unread(_) => Fetched::Crashed,
            };
        };
        let source = RelaySource::new(source, keep);
        self.each_disk(|notes| notes.room = None);
        if delivery.crash {
            return Fetched::Crashed;
        }
        Fetched::Done(self.pass_on(process, source, (delivery, unwanted), sink, fed))
    }

    /// Passes the body on in a few pieces. The sink may break off between them.
    fn pass_on(
        &mut self,
        process: usize,
        mut source: RelaySource,
        (delivery, unwanted): (Delivery, bool),
        sink: &Call,
        fed: &mut Fed,
    ) -> Done {
        let body = &delivery.answer.body;
        let body = &body[..delivery.kept.min(body.len())];
        let pieces = if self.plan.swarm.even { 2 } else { 3 };
        for chunk in body.chunks(body.len().div_ceil(pieces).max(1)) {
            let Some(keep) = source.chunk(chunk) else {
                break;
            };
            match fed.release.push(&chunk[keep]) {
                Ok(released) => fed.bytes.extend(released),
                Err(why) => {
                    fed.why = Some(why);
                    return source.finish(Err(Interrupted::OtherCall));
                }
            }
            if !source.is_complete()
                && !fed.bytes.is_empty()
                && self.seldom()
                && self.occasion(&[Fault::Broken]).is_some()
            {
                self.credit(sink);
                let error = TransportError::new(TransportErrorKind::Reset, "planned");
                fed.why = Some(Interrupted::Transport(error));
                return source.finish(Err(Interrupted::OtherCall));
            }
        }
        fed.is_complete = source.is_complete();
        let is_short = delivery.end.is_ok();
        if let Some(next) = self.rest(process, &mut source, is_short, unwanted) {
            return self.pass_on(process, source, (next, unwanted), sink, fed);
        }
        if !source.is_complete() && delivery.end.is_ok() {
            // The registry sends less than it is asked for, which is no fault.
            self.credit(source.call());
        }
        source.finish(delivery.end)
    }

    /// What the source brings when it is asked for the rest, where the first bytes came from. A driver need not do
    /// that, unless the registry has sent less than it was asked for.
    fn rest(
        &mut self,
        process: usize,
        source: &mut RelaySource,
        is_short: bool,
        unwanted: bool,
    ) -> Option<Delivery> {
        if source.is_complete() || self.plan.swarm.even {
            return None;
        }
        if !is_short && self.choose.below(2) == 0 {
            return None;
        }
        let request = bare(&source.rest()?);
        let watch = &self.processes[process].watch;
        let (found_dead, useless) = (watch.found_dead.clone(), watch.useless.clone());
        self.processes[process].watch.asks_for_rest(&request);
        let carried = self.carry(process, source.call(), &request, unwanted);
        self.economy.cut = None;
        let watch = &mut self.processes[process].watch;
        let Carried::Delivered(_, delivery) = carried else {
            // The session is told how the first response ended, not that the mirror is not there any more.
            watch.found_dead = found_dead;
            return None;
        };
        let goes_on = !delivery.crash && !delivery.lost;
        let rest = (goes_on && source.brings_rest(&head(&delivery.answer))).then_some(delivery);
        if rest.is_none() {
            // Nor is it told that its token was refused.
            watch.useless = useless;
        }
        rest
    }

    /// The sink's request ends after some of its bytes.
    fn break_off(&mut self, request: &Request) {
        let sent = request.body.len() as u64;
        let Some(owner) = owner_of(&request.host).filter(|_| sent > 0) else {
            return;
        };
        self.economy.sent += sent;
        self.economy.wasted += sent;
        let at = EPOCH + self.now;
        self.models[owner].cut(request, at);
    }
}
