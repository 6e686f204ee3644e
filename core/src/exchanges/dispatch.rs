//! The way out: a permit, a request, a call.
//!
//! Responsible for asking the broker, for what every request has, and for telling that a blob begins
//! to move. Must not know what answers mean (`responses`).

use http::{HeaderValue, header};

use super::{Exchanges, Purpose, State};
use crate::auth::{AuthInput, Permit};
use crate::call::{Call, Payload};
use crate::config::RequestHeader;
use crate::error::Error;
use crate::event::Event;
use crate::exchanges::classify::vet;
use crate::ids::{ExchangeId, JobId};
use crate::op::{Draft, Operation};
use crate::time::Time;

impl Exchanges {
    /// Asks the broker; `None` if the exchange does not go out now.
    pub(super) fn permit(&mut self, id: ExchangeId, now: Time) -> Option<Option<HeaderValue>> {
        let exchange = self.exchanges.get_mut(&id)?;
        // What a redirect led to is for the request that was redirected, and for no other.
        if exchange.hop.is_none()
            && let Some(known) = self.registries.known(&exchange.site.origin)
            && exchange.op.adapt(known)
        {
            self.broker.handle(AuthInput::RequestChanged(id));
        }
        if matches!(exchange.purpose, Purpose::Ping | Purpose::Token(_)) {
            return Some(None);
        }
        let url = exchange.url();
        if exchange.is_foreign() || exchange.site.is_authorized() {
            // Foreign: no authorisation, and its challenges are not ours to answer. Or its configuration
            // has one.
            return Some(None);
        }
        let permit = self.broker.permit(&exchange.auth_request(id, &url), now);
        self.serve_broker();
        match permit {
            Permit::Go(authorization) => return Some(authorization),
            Permit::Park => self.exchanges.get_mut(&id)?.state = State::Parked,
            Permit::Denied(denied) => self.answer_denied(id, denied),
            Permit::Fail(error) => self.settle(id, Err(error)),
        }
        None
    }

    /// Makes the call, unless the request must not be made.
    pub(super) fn send(
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
        let line = exchange.line(&draft.method, &draft.url);
        let registry = exchange.site.origin.clone();
        let vetted = if matches!(exchange.op, Operation::Token(_)) {
            Ok(())
        } else if let Operation::BlobGet(op) = &exchange.op
            && op.url.is_some()
        {
            op.vet(draft.url.origin())
        } else {
            vet(&registry, draft.url.origin(), &registry, &line)
        };
        let is_ours = !matches!(exchange.op, Operation::Token(_)) && !exchange.is_foreign();
        let configured: &[RequestHeader] = if is_ours { &exchange.site.headers } else { &[] };
        let request = vetted.and_then(|()| {
            let user_agent = &self.config.user_agent;
            let request = request(&draft, configured, user_agent, authorization);
            request.ok_or_else(|| Error::Peer {
                request: line,
                what: "returned a URL that is not a valid HTTP target".into(),
            })
        });
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                self.settle(id, Err(error));
                return None;
            }
        };
        let (transfer, stored, present) = (draft.transfer, draft.stored, draft.present);
        let mut call = Call::new(
            job,
            draft.url.origin().clone(),
            request,
            draft.expect,
            self.config.limits.error_body,
        );
        if let Some((transfer, outgoing)) = transfer {
            call = call.for_transfer(transfer, outgoing).beside(present);
            self.announce(id, &call);
        }
        if let Some((store, digest)) = stored {
            call = call.for_stored(store, digest);
        }
        let exchange = self.exchanges.get_mut(&id)?;
        exchange.state = State::Outside(job);
        exchange.sent_at = self.now;
        exchange.begun = true;
        self.newest = job;
        Some(call)
    }

    /// Tells that a blob begins to move, once.
    fn announce(&mut self, id: ExchangeId, call: &Call) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let Some((digest, size)) = exchange.op.blob() else {
            return;
        };
        let digest = digest.clone();
        if let (Some(transfer), false) = (call.transfer(), exchange.announced) {
            exchange.announced = true;
            let from = call.present().total();
            let event = Event::Started {
                transfer,
                digest,
                size,
                from,
            };
            self.events.push_back((exchange.task, event));
        }
    }
}

/// Adds what every request has.
pub(super) fn request(
    draft: &Draft,
    configured: &[RequestHeader],
    user_agent: &str,
    authorization: Option<HeaderValue>,
) -> Option<http::Request<Payload>> {
    let mut request = http::Request::new(draft.payload.clone());
    *request.method_mut() = draft.method.clone();
    *request.uri_mut() = draft.url.to_http().ok()?;
    let headers = request.headers_mut();
    *headers = draft.headers.clone();
    let configured = configured.iter().filter_map(RequestHeader::to_http);
    headers.extend(configured);
    let user_agent = HeaderValue::from_str(user_agent);
    let user_agent = user_agent.unwrap_or_else(|_| HeaderValue::from_static("windlass"));
    headers.entry(header::USER_AGENT).or_insert(user_agent);
    // The digest is over the stored bytes: nothing may be encoded on the way (HTTP-16).
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    // Set here, so that no HTTP library adds its own.
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
