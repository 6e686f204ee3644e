//! What becomes of HTTP exchanges.
//!
//! Responsible for requests as a server sees them, for answers, and for what goes wrong as planned.

use std::io::Read as _;

use windlass_core::call::{
    Call, Done, Interrupted, Keep, Payload, Receive, Relay, TransportError, TransportErrorKind,
};
use windlass_core::{Job, Time};
use windlass_driver::{Incoming, RelaySource, Release};
use windlass_testbed::{Answer, Request};

use super::World;

/// What becomes of an HTTP exchange.
#[derive(Clone, Debug)]
pub enum Fate {
    /// This answer; the model does not see the request.
    Say(Answer),
    /// The model's response breaks off after this many bytes of its body.
    Cut(usize),
    /// This response breaks off after this many bytes of its body; the model does not see the request.
    SayCut(Answer, usize),
    /// The model takes the request and its answer is lost.
    Unanswered,
    /// The request breaks off after this many bytes of its body.
    Broken(usize),
    /// No connection.
    Unreachable,
    /// Nothing was sent, for this reason.
    NotSent(TransportErrorKind),
    /// The worker dies once the model has answered.
    Lost,
    /// Nothing happens until the job is aborted.
    Hang,
}

/// What comes back of an exchange.
enum Served {
    /// This answer, this much of its body, and how that ended.
    Answer(Answer, usize, Result<(), Interrupted>),
    Broke(Interrupted),
    Lost,
    Hangs,
}

/// What a relay's sink has to send.
struct Fed {
    release: Release,
    bytes: Vec<u8>,
    damage: Option<Interrupted>,
    is_complete: bool,
}

/// A request without its body.
fn bare(sent: &http::Request<Payload>) -> Request {
    let target = sent.uri().path_and_query().map_or("/", |it| it.as_str());
    let host = sent.uri().authority().map_or("", |it| it.as_str());
    let mut request = Request::new(sent.method().clone(), host, target);
    request.headers = sent.headers().clone();
    request
}

fn head(answer: &Answer) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = answer.status;
    *head.headers_mut() = answer.headers.clone();
    head
}

/// When a rule applies.
pub(super) type When = Box<dyn Fn(&Request) -> bool>;

pub(super) struct Rule {
    pub(super) when: When,
    /// How many more matching requests are let through; `None` for a rule that always applies.
    pub(super) left: Option<usize>,
    pub(super) fate: Fate,
}

impl World {
    /// One exchange from head to end. Gives the call back if it hangs.
    pub(super) fn http(&mut self, mut call: Box<Call>) -> Result<Done, Box<Call>> {
        let request = match self.request(&mut call) {
            Ok(request) => request,
            Err(reason) => return Ok(call.finish(Err(reason))),
        };
        match self.serve(&call, &request) {
            Served::Hangs => Err(call),
            Served::Lost => Ok(Done::lost(call.id())),
            Served::Broke(why) => Ok(call.finish(Err(why))),
            Served::Answer(answer, kept, end) => Ok(self.receive(call, &answer, kept, end)),
        }
    }

    /// A relay from end to end: first the source, then the sink. `None` if it hangs.
    pub(super) fn relay(&mut self, relay: Box<Relay>) -> Option<Done> {
        let first = bare(relay.source().request());
        let served = self.serve(relay.source(), &first);
        if let Served::Hangs = served {
            self.hanging.push(Job::Relay(relay));
            return None;
        }
        let (source, mut sink) = relay.split();
        let release = Release::new(sink.outgoing().expect("a body that is a blob has a meter"));
        let mut fed = Fed {
            release,
            bytes: Vec::new(),
            damage: None,
            is_complete: false,
        };
        let source = match served {
            Served::Lost | Served::Hangs => return Some(Done::lost(sink.id())),
            Served::Broke(why) => source.finish(Err(why)),
            Served::Answer(answer, kept, end) => self.feed(source, answer, kept, end, &mut fed),
        };
        sink.sent(fed.release.into_outgoing());
        let not_fed = fed.damage.unwrap_or(Interrupted::OtherCall);
        let mut request = bare(sink.request());
        if !fed.is_complete {
            if !fed.bytes.is_empty() {
                let place = self.hosts.get(&request.host).copied();
                let at = Self::EPOCH + self.now.since(Time::ZERO);
                request.body = fed.bytes.into();
                if let Some(model) = place.and_then(|place| self.models.get_mut(place)) {
                    model.cut(&request, at);
                }
            }
            return Some(Done::relayed(source, sink.finish(Err(not_fed))));
        }
        request.body = fed.bytes.into();
        match self.serve(&sink, &request) {
            Served::Hangs => {
                self.hanging_sinks.push((source, sink));
                None
            }
            Served::Lost => Some(Done::lost(sink.id())),
            Served::Broke(why) => Some(Done::relayed(source, sink.finish(Err(why)))),
            Served::Answer(answer, kept, end) => {
                let sink = self.receive(sink, &answer, kept, end);
                Some(Done::relayed(source, sink))
            }
        }
    }

    /// Takes what the source of a relay answers, and what it answers when it is asked for the rest.
    fn feed(
        &mut self,
        mut call: Box<Call>,
        mut answer: Answer,
        mut kept: usize,
        mut end: Result<(), Interrupted>,
        fed: &mut Fed,
    ) -> Done {
        let receive = call.head(head(&answer));
        let Receive::Relay { keep } = receive else {
            return self.collect(
                Incoming::new(&self.stores, call, receive),
                &answer,
                kept,
                end,
            );
        };
        let mut source = RelaySource::new(call, keep);
        loop {
            let body = &answer.body[..kept.min(answer.body.len())];
            for chunk in body.chunks(self.chunk) {
                let Some(keep) = source.chunk(chunk) else {
                    break;
                };
                match fed.release.push(&chunk[keep]) {
                    Ok(released) => fed.bytes.extend(released),
                    Err(why) => {
                        fed.damage = Some(why);
                        return source.finish(Err(Interrupted::OtherCall));
                    }
                }
            }
            fed.is_complete = source.is_complete();
            let next = (!fed.is_complete).then(|| source.rest()).flatten();
            let Some(request) = next.map(|next| bare(&next)) else {
                return source.finish(end);
            };
            let Served::Answer(next, more, then) = self.serve(source.call(), &request) else {
                return source.finish(end);
            };
            if !source.brings_rest(&head(&next)) {
                return source.finish(end);
            }
            (answer, kept, end) = (next, more, then);
        }
    }

    /// What a server makes of a request, and what of that comes back.
    fn serve(&mut self, call: &Call, request: &Request) -> Served {
        self.check_request(call, request);
        let fate = self.fate(request);
        self.now = self.now + self.latency;
        let at = Self::EPOCH + self.now.since(Time::ZERO);
        let place = self.hosts.get(&request.host).copied();
        let model = place.and_then(|place| self.models.get_mut(place));
        let broke = |kind| Interrupted::Transport(TransportError::new(kind, "planned"));
        let answer = match (&fate, model) {
            (Some(Fate::Hang), _) => return Served::Hangs,
            (Some(Fate::Say(answer) | Fate::SayCut(answer, _)), Some(model)) => {
                model.note(request, Some(answer.status), at);
                answer.clone()
            }
            (Some(Fate::Say(answer) | Fate::SayCut(answer, _)), None) => answer.clone(),
            (Some(Fate::Broken(sent)), Some(model)) => {
                let sent = request.body.slice(..(*sent).min(request.body.len()));
                model.cut(&request.clone().body(sent), at);
                return Served::Broke(broke(TransportErrorKind::Reset));
            }
            (Some(Fate::NotSent(kind)), _) => {
                let error = TransportError::new(*kind, "planned");
                return Served::Broke(Interrupted::NotSent(error));
            }
            (Some(Fate::Unreachable), _) | (_, None) => {
                let error = TransportError::new(TransportErrorKind::Connect, "planned");
                return Served::Broke(Interrupted::NotSent(error));
            }
            (Some(Fate::Cut(_) | Fate::Unanswered | Fate::Lost) | None, Some(model)) => {
                model.answer(request, at)
            }
        };
        match fate {
            Some(Fate::Unanswered) => Served::Broke(broke(TransportErrorKind::Answer)),
            Some(Fate::Lost) => Served::Lost,
            Some(Fate::Cut(kept) | Fate::SayCut(_, kept)) => {
                Served::Answer(answer, kept, Err(broke(TransportErrorKind::Reset)))
            }
            _ => Served::Answer(answer, usize::MAX, Ok(())),
        }
    }

    /// The request as a server sees it, its body read to its end.
    fn request(&self, call: &mut Call) -> Result<Request, Interrupted> {
        let checked = self.stores.check(call.stored());
        checked.map_err(Interrupted::Store)?;
        let (outgoing, mut home) = (call.outgoing(), None);
        let sent = call.request();
        let mut request = bare(sent);
        request.body = match sent.body() {
            Payload::Empty => Vec::new().into(),
            Payload::Bytes(bytes) => bytes.to_vec().into(),
            Payload::Body(body) => {
                let outgoing = outgoing.expect("a body that is a blob has a meter");
                let reader = self.stores.outgoing(body, outgoing);
                let mut reader = reader.map_err(Interrupted::Store)?;
                let mut bytes = Vec::new();
                let outcome = reader.outcome();
                if reader
                    .by_ref()
                    .take(body.len)
                    .read_to_end(&mut bytes)
                    .is_err()
                {
                    return Err(outcome.failure().expect("the reason of a failed read"));
                }
                home = outcome.outgoing();
                bytes.into()
            }
        };
        if let Some(outgoing) = home {
            call.sent(outgoing);
        }
        Ok(request)
    }

    fn receive(
        &self,
        mut call: Box<Call>,
        answer: &Answer,
        kept: usize,
        end: Result<(), Interrupted>,
    ) -> Done {
        let receive = call.head(head(answer));
        self.collect(
            Incoming::new(&self.stores, call, receive),
            answer,
            kept,
            end,
        )
    }

    fn collect(
        &self,
        mut incoming: Incoming,
        answer: &Answer,
        kept: usize,
        end: Result<(), Interrupted>,
    ) -> Done {
        let body = &answer.body[..kept.min(answer.body.len())];
        for chunk in body.chunks(self.chunk) {
            if !incoming.wants_body() || incoming.chunk(chunk) != Keep::All {
                return incoming.finish(Ok(()));
            }
        }
        incoming.finish(end)
    }

    fn fate(&mut self, request: &Request) -> Option<Fate> {
        let mut found = None;
        let mut spent = None;
        for (place, rule) in self.rules.iter_mut().enumerate() {
            if !(rule.when)(request) {
                continue;
            }
            match &mut rule.left {
                Some(0) if found.is_none() => {
                    (found, spent) = (Some(rule.fate.clone()), Some(place));
                }
                Some(left) => *left = left.saturating_sub(1),
                None => found = found.or_else(|| Some(rule.fate.clone())),
            }
        }
        if let Some(place) = spent {
            self.rules.remove(place);
        }
        found
    }
}
