//! What the model was asked.
//!
//! Responsible for: one entry per request.
//! Must not know: why it was answered as it was.

use core::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};

use super::message::Request;
use super::target::Target;

/// One request that was answered, or that broke off.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The method.
    pub method: Method,
    /// The authority of the `Host` header.
    pub host: String,
    /// The raw target.
    pub target: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// How the request tried to identify its sender.
    pub credentials: Credentials,
    /// How many bytes of body had arrived.
    pub body: u64,
    /// The model's answer; `None` when the request broke off.
    pub status: Option<StatusCode>,
    /// When it was answered.
    pub at: Duration,
}

impl Entry {
    pub(crate) fn new(request: &Request, status: Option<StatusCode>, at: Duration) -> Self {
        Self {
            method: request.method.clone(),
            host: request.host.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            credentials: Credentials::of(request),
            body: request.body.len() as u64,
            status,
            at,
        }
    }

    /// The registry that the request says it is really for, as one to a mirror does: the value of `ns`.
    pub fn ns(&self) -> Option<String> {
        Target::parse(&self.target).parameter("ns")
    }

    /// `GET /v2/ 200`: the method, the raw target and the status.
    pub fn line(&self) -> String {
        let status = self
            .status
            .map_or_else(|| "cut".to_owned(), |s| s.as_str().to_owned());
        format!("{} {} {status}", self.method, self.target)
    }
}

/// The kind of an `Authorization` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// There is none.
    None,
    /// User name and password.
    Basic,
    /// A token.
    Bearer,
    /// Another scheme.
    Other,
}

impl Credentials {
    fn of(request: &Request) -> Self {
        let Some(value) = request.headers.get(header::AUTHORIZATION) else {
            return Self::None;
        };
        let scheme = value
            .as_bytes()
            .split(|&b| b == b' ')
            .next()
            .unwrap_or_default();
        if scheme.eq_ignore_ascii_case(b"basic") {
            Self::Basic
        } else if scheme.eq_ignore_ascii_case(b"bearer") {
            Self::Bearer
        } else {
            Self::Other
        }
    }
}
