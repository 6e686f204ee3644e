//! The auth broker: the authorisation of each request, and the meaning of a refusal.
//!
//! Responsible for challenges, credentials and tokens of every host, for fetching each token once
//! however many requests need it, and for distinguishing "token expired" from "denied". Every
//! request of a session passes [`Broker::permit`]; nothing else attaches a secret (AUTH-70 to
//! AUTH-75). Must not know what requests are for, nor slots, retries or redirects.
//!
//! Three entrances: a request asks for a [`permit`](Broker::permit); what happened goes to
//! [`handle`](Broker::handle); what is to be done comes from [`poll`](Broker::poll). The state of each
//! request is kept here, from its first permit until it is [`Gone`](AuthInput::Gone). What is asked besides changes
//! nothing: whether a response is in [`doubt`](Broker::doubt), how an error [explains](Broker::explain) itself, and
//! who waits for credentials or a token.
//!
//! ```text
//!  per host:   Unknown ─first request─▶ Probing ─┬─ no challenge ─▶ Open
//!                 ▲                       │       ├─ Basic ───────▶ Basic
//!                 └───── no response ─────┘       └─ Bearer ──────▶ Bearer(realm, service)
//!              an Open host that refuses: `unchallenged`; 403 to a credential: `forbidden`
//!
//!  per token:  Empty ─▶ Fetching (others park) ─▶ Ready(generation) ─refused or expired─▶ Empty
//! ```

mod challenged;
mod credentials;
mod forbidden;
mod tokens;
mod unchallenged;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use http::{HeaderMap, HeaderValue, StatusCode};

pub(crate) use self::credentials::CredentialKey;
use self::credentials::{CREDENTIALS, CredentialState, Refused, Used};
use self::unchallenged::Pinged;
use crate::config::Config;
use crate::credential::{CredentialAnswer, Question, Secret, TimedAnswer};
use crate::error::{AuthError, Error, RegistryErrors, RequestLine};
use crate::ids::ExchangeId;
use crate::op::{Grant, Site, Token};
use crate::registry::{Origin, Registry};
use crate::scope::Scopes;
use crate::time::Time;
use crate::uri::Url;

/// The broker's state of one request.
#[derive(Clone, Debug, Default)]
struct AuthState {
    /// The authorization of the last attempt.
    sent: Option<Sent>,
    /// The token generation at the time of the last challenge. A token newer than this is fresh: if
    /// it is refused, too, fetching another will not help.
    refused: Option<u64>,
    /// Scopes that challenges to this request asked for in addition (AUTH-66).
    extra: Scopes,
    /// The union of scopes was refused: ask only for those that this request needs.
    split: bool,
    /// A token for more scopes than needed was refused: use only a token for exactly its own.
    exact_only: bool,
    /// Whether its task needs more scopes than the request.
    is_union: bool,
    rounds: u8,
    /// Whether `unchallenged` has decided on this request.
    is_decided: bool,
    /// The refusal of the request without credentials.
    refusal: Option<AuthError>,
    /// Why the token could not be fetched; becomes the request's result unless there are other
    /// credentials.
    denied: Option<Box<Refused>>,
    /// What it was authorised with.
    used: Option<Used>,
    /// Whether the driver was asked for other credentials because of it.
    asked_again: bool,
    /// Its refusal, which is final unless the driver has others.
    asked_about: Option<Box<Refused>>,
}

#[derive(Clone, Debug)]
enum Sent {
    Nothing {
        /// The host was taken for one that needs no credentials.
        is_open: bool,
    },
    /// The credential itself: a password or a configured token.
    Direct(CredentialAnswer),
    Token {
        key: TokenKey,
        generation: u64,
    },
}

impl AuthState {
    /// Another request follows in the same exchange; refusals of the previous one do not apply to
    /// it.
    fn request_changed(&mut self) {
        *self = Self {
            split: self.split,
            rounds: self.rounds,
            ..Self::default()
        };
    }

    /// The scopes of the request's own token.
    fn scopes(&self, request: &AuthRequest<'_>) -> Scopes {
        let scopes = if self.split {
            &request.required_scopes
        } else {
            request.task_scopes
        };
        let mut scopes = scopes.clone();
        scopes.merge(&self.extra);
        scopes
    }
}

/// What a request may do.
#[derive(Debug)]
pub(crate) enum Permit {
    /// Send it, with this authorisation.
    Go(Option<HeaderValue>),
    /// Park until [`AuthOutput::Resume`].
    Park,
    /// Authorisation was refused permanently.
    Denied(AuthError),
    /// Do not send it.
    Fail(Error),
}

/// What happened.
#[derive(Debug)]
pub(crate) enum AuthInput<'a> {
    /// A task begins: questions that failed for earlier tasks may be asked again.
    TaskBegan,
    /// The probe of a host is this exchange; requests with large responses wait for it.
    ProbeBegan(&'a Origin, ExchangeId),
    /// The registry responded to a request without a challenge.
    Accepted(ExchangeId, &'a Origin),
    /// The response from this URL is a challenge, with this body.
    Challenged(
        AuthRequest<'a>,
        StatusCode,
        &'a HeaderMap,
        &'a Url,
        RegistryErrors,
        Time,
    ),
    /// The response is in doubt because it may refuse the credential ([`Doubt::Refused`]).
    Forbidden(AuthRequest<'a>, StatusCode, RegistryErrors, Time),
    /// The response is in doubt because credentials could change it ([`Doubt::Unshown`]). Sent again for any response in
    /// doubt when the pending question or ping has ended.
    Doubtful(AuthRequest<'a>),
    /// The driver answered the question for these credentials.
    Credentials(CredentialKey, TimedAnswer, Time),
    /// A token was fetched.
    Granted(&'a TokenKey, Grant, Time),
    /// A token was not fetched. Without an error: no request needs it any more.
    NotGranted(&'a TokenKey, Option<&'a Error>),
    /// `/v2/` was requested by this exchange, and this response came from this URL, if any.
    Pinged(
        ExchangeId,
        &'a Site,
        Option<(StatusCode, &'a HeaderMap)>,
        &'a Url,
    ),
    /// The request to `/v2/` ended without a response: a waiting exchange sends another.
    PingGone(&'a Origin),
    /// A request waits to be sent again, for another reason than a refusal: the credentials may expire meanwhile.
    TriedAgain(ExchangeId),
    /// A request made progress: tokens may expire many times during a long transfer.
    Progressed(ExchangeId),
    /// Another request follows in the same exchange.
    RequestChanged(ExchangeId),
    /// The exchange begins again at another URL.
    Restarted(ExchangeId),
    /// The exchange is over.
    Gone(ExchangeId, &'a Origin),
    /// Nothing has been sent to this host for a long time.
    HostForgotten(&'a Origin),
}

/// Why a response may not be the last word on its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Doubt {
    /// The request showed no credentials, and some could change the response.
    Unshown,
    /// It may refuse the credential that the request carried, and another could change it.
    Refused,
}

/// What is to be done. Exchanges are parked when they are named here first.
#[derive(Debug)]
pub(crate) enum AuthOutput {
    /// The exchange may ask for a permit again, or for its doubtful response to be decided on.
    Resume(ExchangeId),
    /// Send the request again.
    Again(ExchangeId),
    /// The response that waits is final.
    Stands(ExchangeId),
    /// The challenge is final.
    Denied(ExchangeId, AuthError),
    /// The token could not be fetched.
    Fail(ExchangeId, Error),
    /// Ask the driver this.
    Ask(Box<Question>),
    /// Fetch this token, first of all for this exchange.
    Fetch(ExchangeId, TokenKey, Box<Token>),
    /// Probe the host of this exchange with a small request: its auth scheme is unknown, and this
    /// response may be large.
    Probe(ExchangeId),
    /// Request a challenge from `/v2/`, for this exchange.
    Ping(ExchangeId),
    /// Warn the task of this exchange.
    Warn(ExchangeId, String),
}

/// The key of a token: issuer, recipient and scopes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct TokenKey {
    pub(crate) origin: Origin,
    realm: Url,
    service: Option<String>,
    credential: CredentialAnswer,
    scopes: Scopes,
}

/// A request as the broker sees it.
#[derive(Debug)]
pub(crate) struct AuthRequest<'a> {
    pub(crate) id: ExchangeId,
    pub(crate) site: &'a Site,
    /// The union of the scopes that its task will need.
    pub(crate) task_scopes: &'a Scopes,
    /// The scopes without which it cannot succeed.
    pub(crate) required_scopes: Scopes,
    /// Whether its response may be large.
    pub(crate) large: bool,
    pub(crate) is_head: bool,
    pub(crate) line: RequestLine,
}

#[derive(Debug)]
pub(crate) struct Broker {
    requests: BTreeMap<ExchangeId, AuthState>,
    hosts: BTreeMap<Origin, KnownHost>,
    credentials: BTreeMap<CredentialKey, CredentialState>,
    /// Those that were refused since the last task began, for reading.
    refused: Vec<CredentialKey>,
    /// The number of answers at which known ones are evicted.
    credentials_room: usize,
    /// Those that are not being fetched, at most [`KEYS`](tokens::KEYS) when a further one is.
    tokens: BTreeMap<TokenKey, TokenEntry>,
    fetching: BTreeMap<TokenKey, Fetching>,
    /// The number of tokens so far. Each token has its own generation, even if it was evicted.
    generations: u64,
    /// Unions of scopes that were refused, and the refusals; at most [`KEYS`](tokens::KEYS).
    unions: BTreeMap<TokenKey, AuthError>,
    trusted: Vec<(Registry, Origin)>,
    anonymous_fallback: bool,
    token_limit: u64,
    /// The warnings about withheld credentials so far; each is given once.
    withheld: BTreeSet<(Registry, Origin)>,
    outputs: VecDeque<AuthOutput>,
    /// Hosts whose `/v2/` could not be asked for a challenge since the last task began.
    unpinged: Vec<Origin>,
}

#[derive(Debug)]
struct KnownHost {
    scheme: HostAuth,
    parked: Vec<ExchangeId>,
    pinged: Pinged,
}

#[derive(Clone, Debug)]
enum HostAuth {
    Unknown,
    Probing(ExchangeId),
    Open,
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

impl HostAuth {
    /// Whether the auth scheme is known.
    const fn is_known(&self) -> bool {
        matches!(self, Self::Basic | Self::Bearer { .. })
    }
}

#[derive(Debug, Default)]
struct TokenEntry {
    generation: u64,
    ready: Option<(Secret, Time)>,
}

/// A token that is being fetched.
#[derive(Debug)]
struct Fetching {
    /// What was known of it before: it cannot be used any more.
    before: TokenEntry,
    parked: Vec<ExchangeId>,
}

impl Broker {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            requests: BTreeMap::new(),
            hosts: BTreeMap::new(),
            credentials: BTreeMap::new(),
            refused: Vec::new(),
            credentials_room: CREDENTIALS,
            tokens: BTreeMap::new(),
            fetching: BTreeMap::new(),
            generations: 0,
            unions: BTreeMap::new(),
            trusted: config.trusted_realms.clone(),
            anonymous_fallback: config.anonymous_fallback,
            token_limit: config.limits.token_body,
            withheld: BTreeSet::new(),
            outputs: VecDeque::new(),
            unpinged: Vec::new(),
        }
    }

    /// Decides on a request that is about to be sent to its registry.
    pub(crate) fn permit(&mut self, request: &AuthRequest<'_>, now: Time) -> Permit {
        let mut state = self.requests.remove(&request.id).unwrap_or_default();
        let permit = self.authorize(request, &mut state, now);
        self.requests.insert(request.id, state);
        permit
    }

    /// Takes what happened. What follows comes from [`poll`](Self::poll).
    pub(crate) fn handle(&mut self, input: AuthInput<'_>) {
        match input {
            AuthInput::TaskBegan => self.task_began(),
            AuthInput::ProbeBegan(origin, probe) => {
                self.host(origin).scheme = HostAuth::Probing(probe);
            }
            AuthInput::Accepted(id, origin) => self.accepted(id, origin),
            AuthInput::Challenged(request, status, headers, from, errors, now) => {
                let mut state = self.requests.remove(&request.id).unwrap_or_default();
                let response = (status, headers, errors);
                let output = self.challenged(&request, &mut state, response, from, now);
                self.requests.insert(request.id, state);
                self.outputs.push_back(output);
            }
            AuthInput::Forbidden(request, status, errors, now) => {
                let mut state = self.requests.remove(&request.id).unwrap_or_default();
                let output = self.forbidden(&request, &mut state, (status, errors), now);
                self.requests.insert(request.id, state);
                self.outputs.extend(output);
            }
            AuthInput::Doubtful(request) => {
                let mut state = self.requests.remove(&request.id).unwrap_or_default();
                let output = match state.asked_about {
                    Some(_) => self.forbidden_again(&request, &mut state),
                    None => self.check_unchallenged(&request, &mut state),
                };
                self.requests.insert(request.id, state);
                self.outputs.extend(output);
            }
            AuthInput::Credentials(key, answer, now) => self.answered(key, answer, now),
            AuthInput::Granted(key, grant, now) => self.granted(key, grant, now),
            AuthInput::NotGranted(key, error) => self.not_granted(key, error),
            AuthInput::Pinged(id, site, answer, from) => self.pinged(id, site, answer, from),
            AuthInput::PingGone(origin) => self.ping_gone(origin),
            AuthInput::Progressed(id) => self.change(id, |state| state.rounds = 0),
            AuthInput::TriedAgain(id) => self.change(id, |state| state.asked_again = false),
            AuthInput::RequestChanged(id) => self.change(id, AuthState::request_changed),
            AuthInput::Restarted(id) => self.change(id, |state| *state = AuthState::default()),
            AuthInput::Gone(id, origin) => self.gone(id, origin),
            AuthInput::HostForgotten(origin) => {
                if self
                    .hosts
                    .get(origin)
                    .is_some_and(|it| it.parked.is_empty())
                {
                    self.hosts.remove(origin);
                }
            }
        }
    }

    /// Whether credentials could change a response. `challenged`: it is a 401, or a 403 that wants a token with
    /// more scopes.
    pub(crate) fn doubt(
        &self,
        id: ExchangeId,
        challenged: bool,
        (status, headers): (StatusCode, &HeaderMap),
        from: &Url,
        errors: impl FnOnce() -> RegistryErrors,
    ) -> Option<Doubt> {
        if self.is_doubtful(id, challenged, status, headers, from) {
            return Some(Doubt::Unshown);
        }
        let is_refused = !challenged && self.is_forbidden(id, status, errors);
        is_refused.then_some(Doubt::Refused)
    }

    /// What is to be done next.
    pub(crate) fn poll(&mut self) -> Option<AuthOutput> {
        self.outputs.pop_front()
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    fn change(&mut self, id: ExchangeId, change: impl FnOnce(&mut AuthState)) {
        if let Some(state) = self.requests.get_mut(&id) {
            change(state);
        }
    }

    fn resume(&mut self, parked: Vec<ExchangeId>) {
        self.outputs
            .extend(parked.into_iter().map(AuthOutput::Resume));
    }

    fn authorize(&mut self, request: &AuthRequest<'_>, state: &mut AuthState, now: Time) -> Permit {
        if let Some(refused) = state.denied.take()
            && !self.ask_again(request, state, &refused, now)
            && !self.fall_back(request, &refused)
        {
            self.forget_scheme(&request.site.origin);
            let hint = self.hint(request);
            let error = refused.error;
            return Permit::Denied(AuthError { hint, ..error });
        }
        if let Some(permit) = self.asked_about(request, state) {
            return permit;
        }
        let host = self.host(&request.site.origin);
        match host.scheme.clone() {
            HostAuth::Unknown if request.large => {
                host.parked.push(request.id);
                self.outputs.push_back(AuthOutput::Probe(request.id));
                Permit::Park
            }
            HostAuth::Probing(probe) if probe == request.id => {
                state.sent = Some(Sent::Nothing { is_open: false });
                Permit::Go(None)
            }
            HostAuth::Unknown => {
                host.scheme = HostAuth::Probing(request.id);
                state.sent = Some(Sent::Nothing { is_open: false });
                Permit::Go(None)
            }
            HostAuth::Probing(_) => {
                host.parked.push(request.id);
                Permit::Park
            }
            HostAuth::Open => {
                state.sent = Some(Sent::Nothing { is_open: true });
                Permit::Go(None)
            }
            HostAuth::Basic => {
                let recipient = request.site.origin.clone();
                match self.credential(request, state, recipient, now) {
                    Ok(credential) => self.direct(request, credential, state, now),
                    Err(permit) => permit,
                }
            }
            HostAuth::Bearer { realm, service } => {
                match self.credential(request, state, realm.origin().clone(), now) {
                    Ok(CredentialAnswer::Bearer(secret)) => {
                        self.direct(request, CredentialAnswer::Bearer(secret), state, now)
                    }
                    Ok(credential) => self.bearer(request, state, now, realm, service, credential),
                    Err(permit) => permit,
                }
            }
        }
    }

    fn accepted(&mut self, id: ExchangeId, origin: &Origin) {
        self.change(id, |state| {
            state.refused = None;
            state.refusal = None;
            state.asked_again = false;
        });
        let host = self.host(origin);
        if matches!(host.scheme, HostAuth::Unknown)
            || matches!(host.scheme, HostAuth::Probing(probe) if probe == id)
        {
            host.scheme = HostAuth::Open;
            let parked = core::mem::take(&mut host.parked);
            self.resume(parked);
        }
    }

    /// If it was the host's probe, a waiting request becomes the next one.
    fn gone(&mut self, id: ExchangeId, origin: &Origin) {
        self.requests.remove(&id);
        if let Some(host) = self.hosts.get_mut(origin)
            && matches!(host.scheme, HostAuth::Probing(probe) if probe == id)
        {
            host.scheme = HostAuth::Unknown;
            let parked = core::mem::take(&mut host.parked);
            self.resume(parked);
        }
    }

    fn host(&mut self, origin: &Origin) -> &mut KnownHost {
        self.hosts
            .entry(origin.clone())
            .or_insert_with(|| KnownHost {
                scheme: HostAuth::Unknown,
                parked: Vec::new(),
                pinged: Pinged::Never,
            })
    }
}

#[cfg(test)]
mod tests;
