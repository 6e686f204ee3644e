//! Bodies of uploads that a storage service takes in the registry's place.
//!
//! Responsible for: addresses that are good for one request each.
//! Must not know: what becomes of the bytes (`uploads`).

use core::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use super::message::{Answer, Refusal, Request};
use super::target::{Route, Target, split_url};
use super::{Model, declared_length};

impl Model {
    /// Whether a host is the one that takes bodies.
    pub(crate) fn takes_bodies(&self, host: &str) -> bool {
        let redirects = self.options.uploads.redirects.as_ref();
        redirects.is_some_and(|url| split_url(url).0 == host)
    }

    /// Whether the body of this request to the registry is to be sent elsewhere.
    pub(crate) fn sends_elsewhere(&self, request: &Request) -> bool {
        let has_body = declared_length(request) > 0 || !request.body.is_empty();
        let is_upload = matches!(request.method, Method::PUT | Method::PATCH);
        self.options.uploads.redirects.is_some() && is_upload && has_body
    }

    /// 307 to the address for the body of this request.
    pub(crate) fn redirect_body(&mut self, request: &Request) -> Answer {
        let signature = self.opaque("sig");
        let base = self.options.uploads.redirects.clone().unwrap_or_default();
        let joint = if request.target.contains('?') {
            '&'
        } else {
            '?'
        };
        let target = format!("/bucket{}{joint}X-Sig={signature}", request.target);
        let location = format!("{base}{target}");
        let asked = Request {
            body: Bytes::new(),
            ..request.clone()
        };
        self.redirected.insert(target, asked);
        Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", location)
    }

    /// The request to the registry that this one, to the storage, stands for. Its address is spent.
    pub(crate) fn stands_for(&mut self, request: &Request) -> Option<Request> {
        let asked = self.redirected.remove(&request.target)?;
        (asked.method == request.method).then(|| Request {
            headers: request.headers.clone(),
            body: request.body.clone(),
            ..asked
        })
    }

    /// The host that takes bodies: no `Authorization` (HTTP-12), and no address twice (HTTP-15).
    pub(crate) fn body_host(
        &mut self,
        request: &Request,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        if request.headers.contains_key(header::AUTHORIZATION) {
            let message = "only one way to authorize is allowed";
            return Err(Refusal::new(400, "UNSUPPORTED", message));
        }
        let Some(asked) = self.stands_for(request) else {
            return Err(Refusal::new(403, "DENIED", "the signature is not valid"));
        };
        self.check_size(request, request.body.len() as u64)?;
        let target = Target::parse(&asked.target);
        let Route::Upload { name, id } = Route::parse(target.path)? else {
            return Err(Refusal::new(404, "UNSUPPORTED", "no such endpoint"));
        };
        let mut answer = self.upload(&asked, &name, &id, &target, now)?;
        // The session is at the registry.
        let location = answer.headers.get(header::LOCATION);
        if let Some(path) = location.and_then(|it| it.to_str().ok())
            && path.starts_with('/')
        {
            let url = format!("{}://{}{path}", self.options.scheme, asked.host);
            if let Ok(url) = HeaderValue::from_str(&url) {
                answer.headers.insert(header::LOCATION, url);
            }
        }
        Ok(answer)
    }
}
