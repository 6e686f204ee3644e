//! The registry model: a request and a time go in, an answer comes out.
//!
//! Responsible for: what is stored, the order of checks (host, access, size, endpoint), the log.
//! Must not know: sockets, threads, clocks, randomness, or any client.
//!
//! ```text
//!   Host ──┬─ storage host ──▶ storage    signed URLs, no Authorization
//!          ├─ upload host ───▶ uploads    the Location is the right
//!          ├─ body host ─────▶ uploads    signed URLs, no Authorization
//!          ├─ realm's path ──▶ token
//!          └─ else ─▶ access ─▶ size ─▶ manifests | blobs | uploads | lists | referrers
//! ```

mod access;
mod blobs;
mod contents;
mod labels;
mod lists;
mod log;
mod manifests;
mod message;
mod options;
mod redirected;
mod referrers;
mod storage;
mod target;
mod time;
mod token;
mod uploads;

use core::time::Duration;
use std::collections::BTreeMap;

use http::{HeaderValue, Method, StatusCode, header};

use contents::{Repository, Upload};
use message::Refusal;
use storage::Signed;
use target::{Route, Target, split_url};
use token::Refresh;

pub use access::{Announced, Auth, Basic, Bearer, Token, Unions, User};
pub use labels::Labels;
pub use log::{Credentials, Entry};
pub use message::{Answer, Request};
pub use options::{
    BlobHeads, Deletes, Filter, Location, Options, Pages, Ranges, Signature, Stale, Storage,
    UnreadableMount, UploadRange, Uploads,
};

/// A registry without a network: contents, sessions, tokens and a log.
///
/// Equal models that are asked the same at the same times answer the same.
/// A clone shares the bytes of blobs and manifests with its original.
#[derive(Clone, Debug, Default)]
pub struct Model {
    options: Options,
    repositories: BTreeMap<String, Repository>,
    uploads: BTreeMap<String, Upload>,
    tokens: BTreeMap<String, Token>,
    refresh_tokens: BTreeMap<String, Refresh>,
    signed: BTreeMap<String, Signed>,
    /// Requests whose bodies are to go to these addresses.
    redirected: BTreeMap<String, Request>,
    serial: u64,
    log: Vec<Entry>,
}

impl Model {
    /// An empty registry.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Answers one request. `now` is the time since the Unix epoch, as far as the model is
    /// concerned: it dates tokens and answers and ends lives, and nothing compares it to a clock.
    pub fn answer(&mut self, request: &Request, now: Duration) -> Answer {
        let answer = self.decide(request, now);
        self.send(request, answer, now)
    }

    /// The answer that needs no body to be known: bad credentials, a body that is too large.
    /// A server can give it after the head of the request. `None` says: read on and ask
    /// [`answer`](Self::answer); nothing is changed or logged then.
    pub fn refusal(&mut self, request: &Request, now: Duration) -> Option<Answer> {
        let target = Target::parse(&request.target);
        if self.role(request, &target) != Role::Registry {
            return None;
        }
        let route = Route::parse(target.path).ok()?;
        let refusal = self
            .check_access(request, &route, &target, now)
            .and_then(|()| self.check_size(request, declared_length(request)))
            .err()?;
        Some(self.send(request, refusal.into(), now))
    }

    /// Takes a request whose body broke off: `request.body` is what had arrived. There is no answer,
    /// but an upload session may keep the bytes ([`Uploads::keep_partial`]).
    pub fn cut(&mut self, request: &Request, now: Duration) {
        self.log.push(Entry::new(request, None, now));
        let stands_for;
        let (mut request, mut target) = (request, Target::parse(&request.target));
        let allowed = match self.role(request, &target) {
            Role::Registry => match Route::parse(target.path) {
                _ if self.sends_elsewhere(request) => false,
                Ok(route) => self.check_access(request, &route, &target, now).is_ok(),
                Err(_) => false,
            },
            Role::Uploads => true,
            Role::Bodies => match self.stands_for(request) {
                Some(asked) => {
                    stands_for = asked;
                    (request, target) = (&stands_for, Target::parse(&stands_for.target));
                    true
                }
                None => false,
            },
            Role::Storage | Role::Token | Role::Unknown => false,
        };
        if allowed && let Ok(Route::Upload { name, id }) = Route::parse(target.path) {
            self.keep_partial(&name, &id, request, &target, now);
        }
    }

    /// Notes a request that something in front of the model answered.
    pub fn note(&mut self, request: &Request, status: Option<StatusCode>, now: Duration) {
        self.log.push(Entry::new(request, status, now));
    }

    /// The behaviour, to change it while the model is in use.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Empties the log.
    pub fn clear_log(&mut self) {
        self.log.clear();
    }

    /// Makes every token useless, as a restarted token service would.
    pub fn revoke_tokens(&mut self) {
        for token in self.tokens.values_mut() {
            token.accepted = false;
        }
    }

    /// Makes a refresh token useless.
    pub fn revoke_refresh_token(&mut self, token: &str) {
        self.refresh_tokens.remove(token);
    }

    /// The behaviour.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Every request so far, in the order they were answered.
    pub fn log(&self) -> &[Entry] {
        &self.log
    }

    /// Every token that was issued, by its text.
    pub fn tokens(&self) -> &BTreeMap<String, Token> {
        &self.tokens
    }

    /// Everything that must not be seen anywhere else: passwords, tokens, refresh tokens.
    pub fn secrets(&self) -> Vec<String> {
        let empty = BTreeMap::new();
        let users = match &self.options.auth {
            Auth::Open => &empty,
            Auth::Basic(basic) => &basic.users,
            Auth::Bearer(bearer) => &bearer.users,
        };
        let passwords = users.values().map(|user| &user.password);
        passwords
            .chain(self.tokens.keys())
            .chain(self.refresh_tokens.keys())
            .cloned()
            .collect()
    }

    fn decide(&mut self, request: &Request, now: Duration) -> Answer {
        let target = Target::parse(&request.target);
        let answered = match self.role(request, &target) {
            Role::Storage => return self.storage(request, now),
            Role::Token => return self.token(request, &target, now),
            Role::Uploads => self.upload_host(request, &target, now),
            Role::Bodies => self.body_host(request, now),
            Role::Registry => self.registry(request, &target, now),
            Role::Unknown => Err(Refusal::new(421, "UNSUPPORTED", "no such host")),
        };
        answered.unwrap_or_else(Answer::from)
    }

    fn role(&self, request: &Request, target: &Target<'_>) -> Role {
        let is = |url: &str| split_url(url).0 == request.host;
        if self
            .options
            .storage
            .as_ref()
            .is_some_and(|storage| is(&storage.url))
        {
            return Role::Storage;
        }
        if let Location::Elsewhere(url) = &self.options.uploads.location
            && is(url)
        {
            return Role::Uploads;
        }
        if self.takes_bodies(&request.host) {
            return Role::Bodies;
        }
        if self.is_token_request(request, target) {
            return Role::Token;
        }
        let hosts = &self.options.registry_hosts;
        if hosts.is_empty() || hosts.contains(&request.host) {
            Role::Registry
        } else {
            Role::Unknown
        }
    }

    fn registry(
        &mut self,
        request: &Request,
        target: &Target<'_>,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        if target.path == "/v2" {
            // PING-06.
            return Ok(Answer::new(StatusCode::MOVED_PERMANENTLY).header("location", "/v2/"));
        }
        let route = Route::parse(target.path)?;
        self.check_access(request, &route, target, now)?;
        self.check_size(request, request.body.len() as u64)?;
        match (&request.method, route) {
            (&Method::GET | &Method::HEAD, Route::Ping) => {
                Ok(Answer::new(StatusCode::OK).json(&serde_json::json!({})))
            }
            (&Method::GET, Route::Catalog) => self.catalog(target),
            (&Method::GET, Route::Tags { name }) => self.tags(&name, target),
            (&Method::GET, Route::Referrers { name, digest }) => {
                self.referrers(&name, &digest, target)
            }
            (_, Route::Manifest { name, reference }) => {
                self.manifest(request, &name, &reference, target)
            }
            (_, Route::Blob { name, digest }) => self.blob(request, &name, &digest, now),
            (&Method::POST, Route::Start { name }) => {
                self.start_upload(request, &name, target, now)
            }
            (_, Route::Upload { .. }) if self.sends_elsewhere(request) => {
                Ok(self.redirect_body(request))
            }
            (_, Route::Upload { name, id }) => self.upload(request, &name, &id, target, now),
            (
                _,
                Route::Ping
                | Route::Catalog
                | Route::Tags { .. }
                | Route::Referrers { .. }
                | Route::Start { .. },
            ) => Err(method_not_allowed()),
        }
    }

    /// The host of [`Location::Elsewhere`]: sessions and nothing else, and no `Authorization`.
    fn upload_host(
        &mut self,
        request: &Request,
        target: &Target<'_>,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        if request.headers.contains_key(header::AUTHORIZATION) {
            return Err(Refusal::new(
                400,
                "UNSUPPORTED",
                "only one way to authorize is allowed",
            ));
        }
        self.check_size(request, request.body.len() as u64)?;
        match Route::parse(target.path)? {
            Route::Upload { name, id } => self.upload(request, &name, &id, target, now),
            Route::Ping
            | Route::Catalog
            | Route::Tags { .. }
            | Route::Manifest { .. }
            | Route::Blob { .. }
            | Route::Start { .. }
            | Route::Referrers { .. } => Err(Refusal::new(404, "UNSUPPORTED", "no such endpoint")),
        }
    }

    fn check_size(&self, request: &Request, length: u64) -> Result<(), Refusal> {
        let chunked = request.headers.contains_key(header::TRANSFER_ENCODING);
        if chunked && !self.options.chunked_bodies {
            return Err(Refusal::new(
                411,
                "SIZE_INVALID",
                "Content-Length is required",
            ));
        }
        match self.options.max_body {
            Some(max) if length > max => Err(Refusal::new(
                413,
                "SIZE_INVALID",
                "the request body is too large",
            )),
            _ => Ok(()),
        }
    }

    /// What every answer has in common, and the log.
    fn send(&mut self, request: &Request, mut answer: Answer, now: Duration) -> Answer {
        let bodiless = answer.status == StatusCode::NO_CONTENT
            || answer.status == StatusCode::NOT_MODIFIED
            || answer.status.is_informational();
        if !bodiless {
            let length = HeaderValue::from(answer.body.len());
            answer
                .headers
                .entry(header::CONTENT_LENGTH)
                .or_insert(length);
        }
        if bodiless || request.method == Method::HEAD {
            answer.body = bytes::Bytes::new();
        }
        if self.options.date {
            answer = answer.header("date", time::http_date(now));
        }
        self.log.push(Entry::new(request, Some(answer.status), now));
        answer
    }

    /// An unguessable text that is the same in every run.
    fn opaque(&mut self, label: &str) -> String {
        let serial = self.next();
        let mark = &self.options.mark;
        let digest = crate::Digest::sha256(format!("{mark}{label} {serial}").as_bytes());
        format!("{mark}{label}.{serial}.{}", &digest.encoded()[..32])
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

/// Which part of the model a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Registry,
    Storage,
    Uploads,
    Bodies,
    Token,
    Unknown,
}

fn declared_length(request: &Request) -> u64 {
    request
        .field(header::CONTENT_LENGTH)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

fn method_not_allowed() -> Refusal {
    Refusal::new(405, "UNSUPPORTED", "the operation is unsupported")
}
