//! What becomes of HTTP exchanges.
//!
//! Responsible for requests as a server sees them, for answers, and for what goes wrong as planned.

use std::io::Read as _;

use windlass_core::Time;
use windlass_core::call::{
    Call, Done, Interrupted, Keep, Payload, TransportError, TransportErrorKind,
};
use windlass_driver::Incoming;
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
        self.check_request(&call, &request);
        let fate = self.fate(&request);
        self.now = self.now + self.latency;
        let at = Self::EPOCH + self.now.since(Time::ZERO);
        let place = self.hosts.get(&request.host).copied();
        let model = place.and_then(|place| self.models.get_mut(place));
        let broke = |kind| Err(Interrupted::Transport(TransportError::new(kind, "planned")));
        let answer = match (&fate, model) {
            (Some(Fate::Hang), _) => return Err(call),
            (Some(Fate::Say(answer) | Fate::SayCut(answer, _)), Some(model)) => {
                model.note(&request, Some(answer.status), at);
                answer.clone()
            }
            (Some(Fate::Say(answer) | Fate::SayCut(answer, _)), None) => answer.clone(),
            (Some(Fate::Broken(sent)), Some(model)) => {
                let sent = request.body.slice(..(*sent).min(request.body.len()));
                model.cut(&request.body(sent), at);
                return Ok(call.finish(broke(TransportErrorKind::Reset)));
            }
            (Some(Fate::NotSent(kind)), _) => {
                let error = TransportError::new(*kind, "planned");
                return Ok(call.finish(Err(Interrupted::NotSent(error))));
            }
            (Some(Fate::Unreachable), _) | (_, None) => {
                let error = TransportError::new(TransportErrorKind::Connect, "planned");
                return Ok(call.finish(Err(Interrupted::NotSent(error))));
            }
            (Some(Fate::Cut(_) | Fate::Unanswered | Fate::Lost) | None, Some(model)) => {
                model.answer(&request, at)
            }
        };
        match fate {
            Some(Fate::Unanswered) => Ok(call.finish(broke(TransportErrorKind::Answer))),
            Some(Fate::Lost) => Ok(Done::lost(call.id())),
            Some(Fate::Cut(kept) | Fate::SayCut(_, kept)) => {
                let end = broke(TransportErrorKind::Reset);
                Ok(self.receive(call, &answer, kept, end))
            }
            _ => Ok(self.receive(call, &answer, usize::MAX, Ok(()))),
        }
    }

    /// The request as a server sees it, its body read to its end.
    fn request(&self, call: &mut Call) -> Result<Request, Interrupted> {
        let checked = self.stores.check(call.stored());
        checked.map_err(Interrupted::Store)?;
        let (outgoing, mut home) = (call.outgoing(), None);
        let sent = call.request();
        let target = sent.uri().path_and_query().map_or("/", |it| it.as_str());
        let host = sent.uri().authority().map_or("", |it| it.as_str());
        let mut request = Request::new(sent.method().clone(), host, target);
        request.headers = sent.headers().clone();
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
        let mut head = http::Response::new(());
        *head.status_mut() = answer.status;
        *head.headers_mut() = answer.headers.clone();
        let receive = call.head(head);
        let mut incoming = Incoming::new(&self.stores, call, receive);
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
