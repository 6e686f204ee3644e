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
pub(crate) struct Memo {
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
    own: bool,
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
    Token { key: Key, generation: u64 },
}

impl Memo {
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
    fn scopes(&self, asking: &Asking<'_>) -> Scopes {
        let scopes = if self.split {
            asking.needs
        } else {
            asking.wish
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
    Fetch(Key, alloc::boxed::Box<Token>),
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
pub(crate) struct Key {
    pub(crate) origin: Origin,
    realm: Url,
    service: Option<String>,
    credential: CredentialAnswer,
    scopes: Scopes,
}

/// A request as the broker sees it.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) id: ExchangeId,
    pub(crate) site: &'a Site,
    /// The union of the scopes that its task will need.
    pub(crate) wish: &'a Scopes,
    /// The scopes without which it cannot succeed.
    pub(crate) needs: &'a Scopes,
    /// Whether its response may be large.
    pub(crate) large: bool,
    pub(crate) line: RequestLine,
}

/// Of how many repositories credentials are remembered.
const CREDENTIALS: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Broker {
    hosts: BTreeMap<Origin, Host>,
    credentials: BTreeMap<(Registry, Repository), Asked>,
    /// The number of answers at which known ones are evicted.
    credentials_room: usize,
    /// At most [`KEYS`](tokens::KEYS), not counting those being fetched.
    tokens: BTreeMap<Key, Entry>,
    /// The number of tokens so far. Each token has its own generation, even if it was evicted.
    generations: u64,
    /// Unions of scopes that were refused, and the refusals; at most [`KEYS`](tokens::KEYS).
    unions: BTreeMap<Key, AuthError>,
    trusted: Vec<(Registry, Origin)>,
    token_limit: u64,
    /// The warnings about withheld credentials so far; each is given once.
    withheld: BTreeSet<(Registry, Origin)>,
    warnings: Vec<String>,
    woken: Vec<ExchangeId>,
    /// Hosts whose `/v2/` could not be asked for a challenge since the last task began.
    unpinged: Vec<Origin>,
}

#[derive(Debug)]
struct Host {
    scheme: Learned,
    parked: Vec<ExchangeId>,
    pinged: Pinged,
    /// The repository for which `look` first asked for credentials.
    asked: Option<(Registry, Repository)>,
}

#[derive(Clone, Debug)]
enum Learned {
    Unknown,
    Probing(ExchangeId),
    Open,
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

impl Learned {
    /// Whether the auth scheme is known.
    const fn is_known(&self) -> bool {
        matches!(self, Self::Basic | Self::Bearer { .. })
    }
}

#[derive(Debug)]
enum Asked {
    Asking(Vec<ExchangeId>),
    Answered(CredentialAnswer),
}

#[derive(Debug, Default)]
struct Entry {
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
            woken: Vec::new(),
            unpinged: Vec::new(),
        }
    }

    /// Decides on a request that is about to be sent to its registry.
    pub(crate) fn permit(&mut self, asking: &Asking<'_>, memo: &mut Memo, now: Time) -> Permit {
        if let Some(denied) = memo.denied.take() {
            return Permit::Denied(denied);
        }
        let host = self.host(&asking.site.origin);
        match host.scheme.clone() {
            Learned::Unknown if asking.large => {
                host.parked.push(asking.id);
                Permit::Probe
            }
            Learned::Probing(probe) if probe == asking.id => {
                memo.sent = Some(Sent::Nothing);
                Permit::Go(None)
            }
            Learned::Unknown => {
                host.scheme = Learned::Probing(asking.id);
                memo.sent = Some(Sent::Nothing);
                Permit::Go(None)
            }
            Learned::Probing(_) => {
                host.parked.push(asking.id);
                Permit::Park
            }
            Learned::Open => {
                memo.sent = Some(Sent::Nothing);
                Permit::Go(None)
            }
            Learned::Basic => {
                let recipient = asking.site.origin.clone();
                match self.credential(asking, recipient) {
                    Ok(credential) => self.direct(asking, credential, memo),
                    Err(permit) => permit,
                }
            }
            Learned::Bearer { realm, service } => {
                match self.credential(asking, realm.origin().clone()) {
                    Ok(CredentialAnswer::Bearer(secret)) => {
                        self.direct(asking, CredentialAnswer::Bearer(secret), memo)
                    }
                    Ok(credential) => self.bearer(asking, memo, now, realm, service, credential),
                    Err(permit) => permit,
                }
            }
        }
    }

    /// Records `probe` as this host's auth probe; requests with large responses wait for it.
    pub(crate) fn probing(&mut self, origin: &Origin, probe: ExchangeId) {
        self.host(origin).scheme = Learned::Probing(probe);
    }

    /// A request was answered without a challenge.
    pub(crate) fn accepted(&mut self, id: ExchangeId, origin: &Origin, memo: &mut Memo) {
        memo.refused = None;
        memo.refusal = None;
        let host = self.host(origin);
        if matches!(host.scheme, Learned::Unknown)
            || matches!(host.scheme, Learned::Probing(probe) if probe == id)
        {
            host.scheme = Learned::Open;
            let parked = core::mem::take(&mut host.parked);
            self.woken.extend(parked);
        }
    }

    /// A request ended without a response, or was abandoned. If it was the host's probe, a waiting
    /// request becomes the next one.
    pub(crate) fn gone(&mut self, id: ExchangeId, origin: &Origin) {
        if let Some(host) = self.hosts.get_mut(origin)
            && matches!(host.scheme, Learned::Probing(probe) if probe == id)
        {
            host.scheme = Learned::Unknown;
            let parked = core::mem::take(&mut host.parked);
            self.woken.extend(parked);
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
                .retain(|_, asked| matches!(asked, Asked::Asking(_)));
            self.credentials_room = CREDENTIALS.max(self.credentials.len() * 2);
        }
        self.credentials.insert(key, Asked::Asking(alloc::vec![by]));
    }

    /// The driver answered the question for credentials.
    pub(crate) fn answered(
        &mut self,
        registry: &Registry,
        repository: &Repository,
        answer: CredentialAnswer,
    ) {
        let key = (registry.clone(), repository.clone());
        if let Some(Asked::Asking(parked)) = self
            .credentials
            .insert(key, Asked::Answered(checked(answer)))
        {
            self.woken.extend(parked);
        }
    }

    /// Whether parked requests may ask for a permit again.
    pub(crate) const fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// The requests that may ask for a permit again.
    pub(crate) fn take_woken(&mut self) -> Vec<ExchangeId> {
        core::mem::take(&mut self.woken)
    }

    /// The new warnings.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        core::mem::take(&mut self.warnings)
    }

    /// A hint for a refusal: why there are no credentials, if so.
    pub(crate) fn hint(&self, asking: &Asking<'_>) -> Option<String> {
        let registry = &asking.site.registry;
        let key = (registry.clone(), asking.site.repository.clone());
        match self.credentials.get(&key) {
            Some(Asked::Answered(CredentialAnswer::Failed(why))) => Some(why.clone()),
            Some(Asked::Answered(CredentialAnswer::None)) => {
                Some(format!("there are no credentials for `{registry}`"))
            }
            Some(Asked::Answered(_)) => self
                .withheld
                .iter()
                .find(|(name, _)| name == registry)
                .map(|(_, realm)| withheld(registry, realm)),
            Some(Asked::Asking(_)) | None => None,
        }
    }

    /// The exchanges that wait for these credentials.
    pub(crate) fn asking(&self, registry: &Registry, repository: &Repository) -> &[ExchangeId] {
        let key = (registry.clone(), repository.clone());
        match self.credentials.get(&key) {
            Some(Asked::Asking(parked)) => parked,
            Some(Asked::Answered(_)) | None => &[],
        }
    }

    fn host(&mut self, origin: &Origin) -> &mut Host {
        self.hosts.entry(origin.clone()).or_insert_with(|| Host {
            scheme: Learned::Unknown,
            parked: Vec::new(),
            pinged: Pinged::Never,
            asked: None,
        })
    }

    fn credential(
        &mut self,
        asking: &Asking<'_>,
        recipient: Origin,
    ) -> Result<CredentialAnswer, Permit> {
        let key = (asking.site.registry.clone(), asking.site.repository.clone());
        match self.credentials.get_mut(&key) {
            Some(Asked::Answered(answer)) => Ok(answer.clone()),
            Some(Asked::Asking(parked)) => {
                parked.push(asking.id);
                Err(Permit::Park)
            }
            None => {
                self.asked_for(key, asking.id);
                Err(Permit::Ask { recipient })
            }
        }
    }

    /// Authorises a request without a token service.
    fn direct(&self, asking: &Asking<'_>, credential: CredentialAnswer, memo: &mut Memo) -> Permit {
        let (sent, value) = match credential {
            CredentialAnswer::Basic { username, password } => {
                let value = basic(&username, password.expose());
                (Sent::Basic { username }, Some(value))
            }
            CredentialAnswer::Bearer(secret) => (Sent::Ready, Some(bearer(&secret))),
            CredentialAnswer::None | CredentialAnswer::Refresh(_) | CredentialAnswer::Failed(_) => {
                // The same request would get the same answer.
                if let Some(refusal) = memo.refusal.take() {
                    return Permit::Denied(AuthError {
                        hint: self.hint(asking),
                        ..refusal
                    });
                }
                (Sent::Nothing, None)
            }
        };
        memo.sent = Some(sent);
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
