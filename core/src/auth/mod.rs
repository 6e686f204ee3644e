//! The auth broker: the authorisation of each request, and the meaning of a refusal.
//!
//! Responsible for challenges, credentials and tokens of every host, for fetching each token once
//! however many requests need it, and for distinguishing "token expired" from "denied". Every
//! request of a session passes [`Broker::permit`]; nothing else attaches a secret (AUTH-70 to
//! AUTH-75). Must not know what requests are for, nor slots, retries or redirects.
//!
//! ```text
//!  per host:   Unknown ─first request─▶ Probing ─┬─ no challenge ─▶ Open
//!                 ▲                       │       ├─ Basic ───────▶ Basic
//!                 └───── no response ─────┘       └─ Bearer ──────▶ Bearer(realm, service)
//!              an Open host that refuses: `look`
//!
//!  per token:  Empty ─▶ Fetching (others park) ─▶ Ready(generation) ─refused or expired─▶ Empty
//! ```

mod challenged;
mod look;
mod tokens;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use http::HeaderValue;

pub(crate) use self::look::Look;
use self::look::Pinged;
use self::tokens::{bearer, withheld};
use crate::credential::{CredentialAnswer, Secret};
use crate::error::{AuthError, Error, RequestLine};
use crate::ids::ExchangeId;
use crate::op::{Site, Token, basic, can_be_sent};
use crate::redact::redact_urls;
use crate::reference::Repository;
use crate::registry::{Origin, Registry};
use crate::scope::Scopes;
use crate::time::Time;
use crate::uri::Url;

/// The broker's state of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuthState {
    /// What it carried when it was last sent.
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
    rounds: u8,
    /// Whether `look` has decided on this request.
    looked: bool,
    /// The refusal of the request without credentials.
    refusal: Option<AuthError>,
    /// Why the token could not be fetched; becomes the request's result.
    denied: Option<AuthError>,
}

#[derive(Clone, Debug)]
enum Sent {
    Nothing,
    Basic { username: String },
    Ready,
    Token { key: TokenKey, generation: u64 },
}

impl AuthState {
    /// The request made progress: tokens may expire many times during a long transfer.
    pub(crate) const fn progressed(&mut self) {
        self.rounds = 0;
    }

    /// Another request follows in the same exchange; refusals of the previous one do not apply to
    /// it.
    pub(crate) fn request_changed(&mut self) {
        *self = Self {
            split: self.split,
            rounds: self.rounds,
            ..Self::default()
        };
    }

    /// The scopes of the request's own token.
    fn scopes(&self, request: &AuthRequest<'_>) -> Scopes {
        let scopes = if self.split {
            request.required_scopes
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
    /// Park; the broker wakes it by id.
    Park,
    /// Park, and ask the driver for credentials.
    Ask { recipient: Origin },
    /// Park, and fetch this token.
    Fetch(TokenKey, alloc::boxed::Box<Token>),
    /// Park, and probe the host with a small request: its auth scheme is unknown, and this response
    /// may be large.
    Probe,
    /// Authorisation was refused permanently.
    Denied(AuthError),
    /// Do not send it.
    Fail(Error),
}

/// What a challenge means for its request.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Ask for a permit again.
    Again,
    /// The refusal is final.
    Denied(AuthError),
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
    pub(crate) required_scopes: &'a Scopes,
    /// Whether its response may be large.
    pub(crate) large: bool,
    pub(crate) line: RequestLine,
}

/// Of how many repositories credentials are remembered.
const CREDENTIALS: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Broker {
    hosts: BTreeMap<Origin, Host>,
    credentials: BTreeMap<(Registry, Repository), CredentialState>,
    /// The number of answers at which known ones are evicted.
    credentials_room: usize,
    /// At most [`KEYS`](tokens::KEYS), not counting those being fetched.
    tokens: BTreeMap<TokenKey, TokenEntry>,
    /// The number of tokens so far. Each token has its own generation, even if it was evicted.
    generations: u64,
    /// Unions of scopes that were refused, and the refusals; at most [`KEYS`](tokens::KEYS).
    unions: BTreeMap<TokenKey, AuthError>,
    trusted: Vec<(Registry, Origin)>,
    token_limit: u64,
    /// The warnings about withheld credentials so far; each is given once.
    withheld: BTreeSet<(Registry, Origin)>,
    warnings: Vec<String>,
    unparked: Vec<ExchangeId>,
    /// Hosts whose `/v2/` could not be asked for a challenge since the last task began.
    unpinged: Vec<Origin>,
}

#[derive(Debug)]
struct Host {
    scheme: HostAuth,
    parked: Vec<ExchangeId>,
    pinged: Pinged,
    /// The repository for which `look` first asked for credentials.
    asked: Option<(Registry, Repository)>,
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

#[derive(Debug)]
enum CredentialState {
    Asked(Vec<ExchangeId>),
    Answered(CredentialAnswer),
}

#[derive(Debug, Default)]
struct TokenEntry {
    generation: u64,
    ready: Option<(Secret, Time)>,
    fetching: Option<Vec<ExchangeId>>,
}

impl Broker {
    pub(crate) const fn new(trusted: Vec<(Registry, Origin)>, token_limit: u64) -> Self {
        Self {
            hosts: BTreeMap::new(),
            credentials: BTreeMap::new(),
            credentials_room: CREDENTIALS,
            tokens: BTreeMap::new(),
            generations: 0,
            unions: BTreeMap::new(),
            trusted,
            token_limit,
            withheld: BTreeSet::new(),
            warnings: Vec::new(),
            unparked: Vec::new(),
            unpinged: Vec::new(),
        }
    }

    /// Decides on a request that is about to be sent to its registry.
    pub(crate) fn permit(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        now: Time,
    ) -> Permit {
        if let Some(denied) = state.denied.take() {
            return Permit::Denied(denied);
        }
        let host = self.host(&request.site.origin);
        match host.scheme.clone() {
            HostAuth::Unknown if request.large => {
                host.parked.push(request.id);
                Permit::Probe
            }
            HostAuth::Probing(probe) if probe == request.id => {
                state.sent = Some(Sent::Nothing);
                Permit::Go(None)
            }
            HostAuth::Unknown => {
                host.scheme = HostAuth::Probing(request.id);
                state.sent = Some(Sent::Nothing);
                Permit::Go(None)
            }
            HostAuth::Probing(_) => {
                host.parked.push(request.id);
                Permit::Park
            }
            HostAuth::Open => {
                state.sent = Some(Sent::Nothing);
                Permit::Go(None)
            }
            HostAuth::Basic => {
                let recipient = request.site.origin.clone();
                match self.credential(request, recipient) {
                    Ok(credential) => self.direct(request, credential, state),
                    Err(permit) => permit,
                }
            }
            HostAuth::Bearer { realm, service } => {
                match self.credential(request, realm.origin().clone()) {
                    Ok(CredentialAnswer::Bearer(secret)) => {
                        self.direct(request, CredentialAnswer::Bearer(secret), state)
                    }
                    Ok(credential) => self.bearer(request, state, now, realm, service, credential),
                    Err(permit) => permit,
                }
            }
        }
    }

    /// Records `probe` as this host's auth probe; requests with large responses wait for it.
    pub(crate) fn probing(&mut self, origin: &Origin, probe: ExchangeId) {
        self.host(origin).scheme = HostAuth::Probing(probe);
    }

    /// A request was answered without a challenge.
    pub(crate) fn accepted(&mut self, id: ExchangeId, origin: &Origin, state: &mut AuthState) {
        state.refused = None;
        state.refusal = None;
        let host = self.host(origin);
        if matches!(host.scheme, HostAuth::Unknown)
            || matches!(host.scheme, HostAuth::Probing(probe) if probe == id)
        {
            host.scheme = HostAuth::Open;
            let parked = core::mem::take(&mut host.parked);
            self.unparked.extend(parked);
        }
    }

    /// A request ended without a response, or was abandoned. If it was the host's probe, a waiting
    /// request becomes the next one.
    pub(crate) fn gone(&mut self, id: ExchangeId, origin: &Origin) {
        if let Some(host) = self.hosts.get_mut(origin)
            && matches!(host.scheme, HostAuth::Probing(probe) if probe == id)
        {
            host.scheme = HostAuth::Unknown;
            let parked = core::mem::take(&mut host.parked);
            self.unparked.extend(parked);
        }
    }

    /// Forgets what was learned of hosts that are not kept.
    pub(crate) fn forget_hosts(&mut self, is_kept: impl Fn(&Origin) -> bool) {
        self.hosts
            .retain(|origin, host| is_kept(origin) || !host.parked.is_empty());
    }

    /// Notes that the driver is asked for the credentials of a repository. If many were asked for,
    /// those that are known are forgotten, and asked for again when they are needed.
    fn asked_for(&mut self, key: (Registry, Repository), by: ExchangeId) {
        if self.credentials.len() >= self.credentials_room {
            self.credentials
                .retain(|_, asked| matches!(asked, CredentialState::Asked(_)));
            self.credentials_room = CREDENTIALS.max(self.credentials.len() * 2);
        }
        self.credentials
            .insert(key, CredentialState::Asked(alloc::vec![by]));
    }

    /// The driver answered the question for credentials.
    pub(crate) fn answered(
        &mut self,
        registry: &Registry,
        repository: &Repository,
        answer: CredentialAnswer,
    ) {
        let key = (registry.clone(), repository.clone());
        if let Some(CredentialState::Asked(parked)) = self
            .credentials
            .insert(key, CredentialState::Answered(checked(answer)))
        {
            self.unparked.extend(parked);
        }
    }

    /// Whether parked requests may ask for a permit again.
    pub(crate) const fn has_unparked(&self) -> bool {
        !self.unparked.is_empty()
    }

    /// The requests that may ask for a permit again.
    pub(crate) fn take_unparked(&mut self) -> Vec<ExchangeId> {
        core::mem::take(&mut self.unparked)
    }

    /// The new warnings.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        core::mem::take(&mut self.warnings)
    }

    /// A hint for a refusal: why there are no credentials, if so.
    pub(crate) fn hint(&self, request: &AuthRequest<'_>) -> Option<String> {
        let registry = &request.site.registry;
        let key = (registry.clone(), request.site.repository.clone());
        match self.credentials.get(&key) {
            Some(CredentialState::Answered(CredentialAnswer::Failed(why))) => Some(why.clone()),
            Some(CredentialState::Answered(CredentialAnswer::None)) => {
                Some(format!("there are no credentials for `{registry}`"))
            }
            Some(CredentialState::Answered(_)) => self
                .withheld
                .iter()
                .find(|(name, _)| name == registry)
                .map(|(_, realm)| withheld(registry, realm)),
            Some(CredentialState::Asked(_)) | None => None,
        }
    }

    /// The exchanges that wait for these credentials.
    pub(crate) fn asking(&self, registry: &Registry, repository: &Repository) -> &[ExchangeId] {
        let key = (registry.clone(), repository.clone());
        match self.credentials.get(&key) {
            Some(CredentialState::Asked(parked)) => parked,
            Some(CredentialState::Answered(_)) | None => &[],
        }
    }

    fn host(&mut self, origin: &Origin) -> &mut Host {
        self.hosts.entry(origin.clone()).or_insert_with(|| Host {
            scheme: HostAuth::Unknown,
            parked: Vec::new(),
            pinged: Pinged::Never,
            asked: None,
        })
    }

    fn credential(
        &mut self,
        request: &AuthRequest<'_>,
        recipient: Origin,
    ) -> Result<CredentialAnswer, Permit> {
        let key = (
            request.site.registry.clone(),
            request.site.repository.clone(),
        );
        match self.credentials.get_mut(&key) {
            Some(CredentialState::Answered(answer)) => Ok(answer.clone()),
            Some(CredentialState::Asked(parked)) => {
                parked.push(request.id);
                Err(Permit::Park)
            }
            None => {
                self.asked_for(key, request.id);
                Err(Permit::Ask { recipient })
            }
        }
    }

    /// Authorises a request without a token service.
    fn direct(
        &self,
        request: &AuthRequest<'_>,
        credential: CredentialAnswer,
        state: &mut AuthState,
    ) -> Permit {
        let (sent, value) = match credential {
            CredentialAnswer::Basic { username, password } => {
                let value = basic(&username, password.expose());
                (Sent::Basic { username }, Some(value))
            }
            CredentialAnswer::Bearer(secret) => (Sent::Ready, Some(bearer(&secret))),
            CredentialAnswer::None | CredentialAnswer::Refresh(_) | CredentialAnswer::Failed(_) => {
                // The same request would get the same answer.
                if let Some(refusal) = state.refusal.take() {
                    return Permit::Denied(AuthError {
                        hint: self.hint(request),
                        ..refusal
                    });
                }
                (Sent::Nothing, None)
            }
        };
        state.sent = Some(sent);
        Permit::Go(value)
    }
}

/// Credentials that cannot be sent count as absent, with a reason (AUTH-73). A helper's message is
/// escaped.
fn checked(answer: CredentialAnswer) -> CredentialAnswer {
    match answer {
        CredentialAnswer::Basic { username, .. } if username.contains(':') => {
            CredentialAnswer::Failed(
                "the user name contains a `:`, which Basic authentication does not allow".into(),
            )
        }
        CredentialAnswer::Bearer(secret) if !can_be_sent(secret.expose()) => {
            CredentialAnswer::Failed(
                "the token contains characters that are invalid in a header".into(),
            )
        }
        CredentialAnswer::Failed(why) => CredentialAnswer::Failed(redact_urls(&why)),
        CredentialAnswer::None
        | CredentialAnswer::Basic { .. }
        | CredentialAnswer::Bearer(_)
        | CredentialAnswer::Refresh(_) => answer,
    }
}

#[cfg(test)]
mod tests;
