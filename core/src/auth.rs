//! The auth broker: what authorisation a request gets, and what a refusal of it means.
//!
//! Responsible for challenges, credentials and tokens of every host, for fetching each token once
//! however many requests want it, and for telling "the token is old" from "denied". Every request
//! of a session passes [`Broker::permit`]; nothing else attaches a secret (AUTH-70 to AUTH-75).
//! Must not know what requests are for, nor slots, retries or redirects.
//!
//! ```text
//!  per host:   Unknown ─first request─▶ Probing ─┬─ no challenge ─▶ Open
//!                 ▲                       │       ├─ Basic ───────▶ Basic
//!                 └─── it came to nothing ┘       └─ Bearer ──────▶ Bearer(realm, service)
//!
//!  per token:  Empty ─▶ Fetching (others park) ─▶ Ready(generation) ─refused or old─▶ Empty
//! ```

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::credential::{CredentialAnswer, Secret};
use crate::error::{AuthError, Error, RequestLine, Said};
use crate::header::{Challenge, challenges};
use crate::op::{Grant, Site, Token, TokenCredential, basic};
use crate::realm::{self, Judgement};
use crate::reference::Repository;
use crate::registry::{Origin, Registry};
use crate::scope::{Scope, Scopes};
use crate::time::Time;
use crate::uri::Url;
use crate::wire::ExchangeId;

/// How often one request may be answered with a challenge, whatever the reasons.
const ROUNDS: u8 = 10;

/// What the broker remembers about one request while it is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memo {
    /// What it carried when it was last sent.
    sent: Option<Sent>,
    /// Refusals since the last answer that was none.
    refusals: u8,
    /// Scopes that a challenge to this request asked for beyond ours (AUTH-66).
    extra: Scopes,
    /// The union of scopes was refused: ask for what this request needs alone.
    split: bool,
    rounds: u8,
    /// The refusal that a request without credentials got.
    refusal: Option<AuthError>,
    /// Why the token could not be had; makes the request's answer a refusal.
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
    /// The request got something done: tokens may die many times during a long transfer.
    pub(crate) const fn progressed(&mut self) {
        self.rounds = 0;
    }
}

/// What a request may do.
#[derive(Debug)]
pub(crate) enum Permit {
    /// Go, with this authorisation.
    Go(Option<HeaderValue>),
    /// Wait; it is woken by id.
    Park,
    /// Wait, and ask the driver for credentials meanwhile.
    Ask { recipient: Origin },
    /// Wait, and fetch this token meanwhile.
    Fetch(Key, alloc::boxed::Box<Token>),
    /// Nothing is known of the host and the answer would be large: wait, and send something small.
    Probe,
    /// Authorisation was refused for good: that is the answer.
    Denied(AuthError),
    /// It must not be tried.
    Fail(Error),
}

/// What a challenge means for the request that got it.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Ask for a permit again.
    Again,
    /// The answer is no.
    Denied(AuthError),
}

/// Names a token: who gave it to whom for what.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    origin: Origin,
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
    /// The union of scopes that its task will need.
    pub(crate) wish: &'a Scopes,
    /// The scopes without which it cannot succeed.
    pub(crate) needs: &'a Scopes,
    /// Whether its answer may be large.
    pub(crate) large: bool,
    pub(crate) line: RequestLine,
}

#[derive(Debug)]
pub(crate) struct Broker {
    hosts: BTreeMap<Origin, Host>,
    credentials: BTreeMap<(Registry, Repository), Asked>,
    tokens: BTreeMap<Key, Entry>,
    /// Unions of scopes that the token service refused, and how.
    unions: BTreeMap<Key, AuthError>,
    trusted: Vec<(Registry, Origin)>,
    token_limit: u64,
    /// Warnings about withheld credentials, each told once.
    withheld: BTreeSet<(Registry, Origin)>,
    warnings: Vec<String>,
    woken: Vec<ExchangeId>,
}

#[derive(Debug)]
struct Host {
    scheme: Learned,
    parked: Vec<ExchangeId>,
}

#[derive(Clone, Debug)]
enum Learned {
    Unknown,
    Probing(ExchangeId),
    Open,
    Basic,
    Bearer { realm: Url, service: Option<String> },
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
            tokens: BTreeMap::new(),
            unions: BTreeMap::new(),
            trusted,
            token_limit,
            withheld: BTreeSet::new(),
            warnings: Vec::new(),
            woken: Vec::new(),
        }
    }

    /// Decides what a request that is about to be sent to its own registry may do.
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

    /// A request is being probed for: whoever asked with a large answer waits for this one.
    pub(crate) fn probing(&mut self, origin: &Origin, probe: ExchangeId) {
        self.host(origin).scheme = Learned::Probing(probe);
    }

    /// A request got an answer that is no challenge.
    pub(crate) fn accepted(&mut self, id: ExchangeId, origin: &Origin, memo: &mut Memo) {
        memo.refusals = 0;
        let host = self.host(origin);
        if matches!(host.scheme, Learned::Unknown)
            || matches!(host.scheme, Learned::Probing(probe) if probe == id)
        {
            host.scheme = Learned::Open;
            let parked = core::mem::take(&mut host.parked);
            self.woken.extend(parked);
        }
    }

    /// A request ended without an answer, or is gone: if others waited for what it would find out,
    /// one of them finds out instead.
    pub(crate) fn gone(&mut self, id: ExchangeId, origin: &Origin) {
        if let Some(host) = self.hosts.get_mut(origin)
            && matches!(host.scheme, Learned::Probing(probe) if probe == id)
        {
            host.scheme = Learned::Unknown;
            let parked = core::mem::take(&mut host.parked);
            self.woken.extend(parked);
        }
    }

    /// A request was answered with a challenge.
    pub(crate) fn challenged(
        &mut self,
        asking: &Asking<'_>,
        memo: &mut Memo,
        status: StatusCode,
        headers: &HeaderMap,
        from: &Url,
        said: Said,
    ) -> Refused {
        memo.rounds += 1;
        let offered = challenges(headers);
        let learned = self.learn(&asking.site.origin, &offered, from, asking.id);
        let refusal = |broker: &Self, presented: String| AuthError {
            request: asking.line.clone(),
            status: status.as_u16(),
            presented,
            said: said.clone(),
            hint: broker.hint(asking),
        };
        let denied = |broker: &Self, presented: String| Refused::Denied(refusal(broker, presented));
        if memo.rounds > ROUNDS {
            return denied(self, "ever new tokens".into());
        }
        match memo.sent.take().unwrap_or(Sent::Nothing) {
            Sent::Nothing if !learned => {
                denied(self, "no credentials and no usable challenge".into())
            }
            Sent::Nothing if memo.refusals > 0 => denied(self, "no credentials".into()),
            Sent::Nothing => {
                memo.refusals = 1;
                memo.refusal = Some(refusal(self, "no credentials".into()));
                self.widen(asking, memo, &offered);
                Refused::Again
            }
            Sent::Basic { username } => denied(self, format!("the credentials of `{username}`")),
            Sent::Ready => denied(self, "the configured token".into()),
            Sent::Token { key, generation } => {
                let refusal = refusal(self, self.presented(&key));
                self.refuse_token(asking, memo, &key, generation, &offered, refusal.clone())
                    .unwrap_or(Refused::Denied(refusal))
            }
        }
    }

    /// What a token that was refused means: `None` for "denied".
    fn refuse_token(
        &mut self,
        asking: &Asking<'_>,
        memo: &mut Memo,
        key: &Key,
        generation: u64,
        offered: &[Challenge],
        refusal: AuthError,
    ) -> Option<Refused> {
        let entry = self.tokens.entry(key.clone()).or_default();
        if entry.generation != generation {
            // Refused with an old token; there is a newer one, or one is under way.
            return Some(Refused::Again);
        }
        if self.widen(asking, memo, offered) {
            memo.refusals = 1;
            return Some(Refused::Again);
        }
        // Good, but not for this: another one like it would be no better, and other requests still
        // need it.
        let insufficient = offered.iter().any(Challenge::wants_more_scope);
        if !insufficient && memo.refusals == 0 {
            memo.refusals = 1;
            self.tokens.entry(key.clone()).or_default().ready = None;
            return Some(Refused::Again);
        }
        if !memo.split && asking.wish != asking.needs {
            memo.split = true;
            memo.refusals = 1;
            self.unions.insert(key.clone(), refusal);
            return Some(Refused::Again);
        }
        None
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

    /// A token came.
    pub(crate) fn granted(&mut self, key: &Key, grant: Grant, now: Time) {
        let entry = self.tokens.entry(key.clone()).or_default();
        entry.generation += 1;
        // Refreshed a little early: a tenth of its life, 30 s at the most (users.md 4.5).
        let leeway = (grant.life / 10).min(30);
        let until = now + Duration::from_secs(grant.life - leeway);
        entry.ready = Some((grant.token, until));
        let parked = entry.fetching.take().unwrap_or_default();
        self.woken.extend(parked);
    }

    /// A token could not be had. Returns who waited for it and cannot go on. Failures are not
    /// remembered, except that a union was refused: it would be again.
    pub(crate) fn not_granted(
        &mut self,
        key: &Key,
        refusal: Option<&AuthError>,
    ) -> Vec<ExchangeId> {
        if let Some(refusal) = refusal
            && key.scopes.len() > 1
        {
            self.unions.insert(key.clone(), refusal.clone());
        }
        self.tokens
            .get_mut(key)
            .and_then(|entry| entry.fetching.take())
            .unwrap_or_default()
    }

    /// Tells a request that waited for a token that the token service refused. If it had asked for
    /// more than it needs, it asks for less; else that is its answer.
    ///
    /// 401 means wrong credentials, whatever is asked for (AUTH-47), except where a service says it
    /// to scopes of several repositories (GitLab, clients.md C.10.1).
    pub(crate) fn refuse(key: &Key, asking: &Asking<'_>, memo: &mut Memo, error: AuthError) {
        let may_be_the_union = error.status != 401 || key.scopes.len() > 1;
        if may_be_the_union && !memo.split && asking.wish != asking.needs {
            memo.split = true;
        } else {
            memo.denied = Some(error);
        }
    }

    /// Whether somebody may ask for a permit again.
    pub(crate) const fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Those that may ask for a permit again.
    pub(crate) fn take_woken(&mut self) -> Vec<ExchangeId> {
        core::mem::take(&mut self.woken)
    }

    /// Warnings to tell.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        core::mem::take(&mut self.warnings)
    }

    /// Adds the reason why there are no credentials, if there is one, to the hint of a refusal.
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

    fn host(&mut self, origin: &Origin) -> &mut Host {
        self.hosts.entry(origin.clone()).or_insert_with(|| Host {
            scheme: Learned::Unknown,
            parked: Vec::new(),
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
                self.credentials
                    .insert(key, Asked::Asking(alloc::vec![asking.id]));
                Err(Permit::Ask { recipient })
            }
        }
    }

    fn bearer(
        &mut self,
        asking: &Asking<'_>,
        memo: &mut Memo,
        now: Time,
        realm: Url,
        service: Option<String>,
        credential: CredentialAnswer,
    ) -> Permit {
        let site = asking.site;
        let credential =
            match realm::judge(&site.registry, &site.origin, realm.origin(), &self.trusted) {
                Judgement::Trusted => credential,
                Judgement::Anonymous => self.withhold(&site.registry, realm.origin(), credential),
                Judgement::Refused(why) => {
                    let what = format!("{}: {why}; it was not asked for a token", asking.line);
                    return Permit::Fail(Error::Policy { what });
                }
            };
        let credential = match credential {
            // Asked for without credentials, it is the same token, whyever there are none.
            CredentialAnswer::Failed(_) => CredentialAnswer::None,
            other => other,
        };
        let mut key = Key {
            origin: site.origin.clone(),
            realm: realm.clone(),
            service: service.clone(),
            credential,
            scopes: asking.wish.clone(),
        };
        if self.unions.contains_key(&key) {
            memo.split = true;
        }
        if memo.split {
            key.scopes = asking.needs.clone();
        }
        key.scopes.merge(&memo.extra);
        if let Some(refusal) = self.unions.get(&key) {
            return Permit::Denied(refusal.clone());
        }
        if let Some((found, generation, token)) = self.token(&key, now) {
            memo.sent = Some(Sent::Token {
                key: found,
                generation,
            });
            return Permit::Go(Some(bearer(&token)));
        }
        let entry = self.tokens.entry(key.clone()).or_default();
        if let Some(parked) = &mut entry.fetching {
            parked.push(asking.id);
            return Permit::Park;
        }
        entry.fetching = Some(alloc::vec![asking.id]);
        let token = Token {
            realm,
            service,
            scopes: key.scopes.clone(),
            credential: presented(&key.credential),
            limit: self.token_limit,
        };
        Permit::Fetch(key, token.into())
    }

    /// Authorises at the registry itself, without a token service.
    fn direct(&self, asking: &Asking<'_>, credential: CredentialAnswer, memo: &mut Memo) -> Permit {
        let (sent, value) = match credential {
            CredentialAnswer::Basic { username, password } => {
                let value = basic(&username, password.expose());
                (Sent::Basic { username }, Some(value))
            }
            CredentialAnswer::Bearer(secret) => (Sent::Ready, Some(bearer(&secret))),
            CredentialAnswer::None | CredentialAnswer::Refresh(_) | CredentialAnswer::Failed(_) => {
                // Asking the same again would get the same answer.
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

    /// A token that is good for `key`: its own, or one with more rights for the same recipient.
    fn token(&self, key: &Key, now: Time) -> Option<(Key, u64, Secret)> {
        let usable = |entry: &Entry| match &entry.ready {
            Some((token, until)) if *until > now => Some((entry.generation, token.clone())),
            Some(_) | None => None,
        };
        if let Some((generation, token)) = self.tokens.get(key).and_then(usable) {
            return Some((key.clone(), generation, token));
        }
        self.tokens
            .iter()
            .filter(|(other, _)| {
                other.origin == key.origin
                    && other.realm == key.realm
                    && other.service == key.service
                    && other.credential == key.credential
                    && other.scopes.covers(&key.scopes)
                    && !self.unions.contains_key(*other)
            })
            .find_map(|(other, entry)| {
                usable(entry).map(|(generation, token)| (other.clone(), generation, token))
            })
    }

    fn withhold(
        &mut self,
        registry: &Registry,
        realm: &Origin,
        credential: CredentialAnswer,
    ) -> CredentialAnswer {
        if matches!(
            credential,
            CredentialAnswer::None | CredentialAnswer::Failed(_)
        ) {
            return credential;
        }
        if self.withheld.insert((registry.clone(), realm.clone())) {
            self.warnings.push(withheld(registry, realm));
        }
        CredentialAnswer::None
    }

    /// Notes what a host's challenges say; whether one of them can be met.
    fn learn(
        &mut self,
        origin: &Origin,
        offered: &[Challenge],
        from: &Url,
        id: ExchangeId,
    ) -> bool {
        let bearer = offered
            .iter()
            .filter(|challenge| challenge.is_scheme("bearer"))
            .find_map(|challenge| {
                let realm = from.resolve(challenge.param("realm")?).ok()?;
                let service = challenge.param("service").map(ToString::to_string);
                Some(Learned::Bearer { realm, service })
            });
        let basic = offered.iter().any(|challenge| challenge.is_scheme("basic"));
        let host = self.host(origin);
        let learned = match (bearer, &host.scheme) {
            (Some(bearer), _) => Some(bearer),
            // Harbor answers an insufficient token with Basic; the first Bearer challenge stands
            // (clients.md C.7.1).
            (None, Learned::Bearer { .. } | Learned::Basic) => None,
            (None, Learned::Unknown | Learned::Probing(_) | Learned::Open) => {
                basic.then_some(Learned::Basic)
            }
        };
        let was_probe = matches!(host.scheme, Learned::Probing(probe) if probe == id);
        if let Some(learned) = learned {
            host.scheme = learned;
        } else if was_probe {
            host.scheme = Learned::Unknown;
        }
        if !matches!(host.scheme, Learned::Probing(_)) {
            let parked = core::mem::take(&mut host.parked);
            self.woken.extend(parked);
        }
        matches!(
            self.host(origin).scheme,
            Learned::Basic | Learned::Bearer { .. }
        )
    }

    /// Takes over scopes that a challenge names beyond ours; whether there were any.
    fn widen(&self, asking: &Asking<'_>, memo: &mut Memo, offered: &[Challenge]) -> bool {
        let mut have = if memo.split {
            asking.needs.clone()
        } else {
            asking.wish.clone()
        };
        have.merge(&memo.extra);
        let mut wanted = Scopes::default();
        let named = offered
            .iter()
            .filter_map(|challenge| challenge.param("scope"));
        for word in named.flat_map(str::split_whitespace) {
            // Malformed ones are dropped: Oracle's `::` makes its own token service fail.
            if let Ok(scope) = word.parse::<Scope>() {
                wanted.insert(scope);
            }
        }
        if have.covers(&wanted) {
            return false;
        }
        memo.extra.merge(&wanted);
        true
    }

    fn presented(&self, key: &Key) -> String {
        match &key.credential {
            CredentialAnswer::Basic { username, .. } => format!("a fresh token of `{username}`"),
            CredentialAnswer::None
            | CredentialAnswer::Bearer(_)
            | CredentialAnswer::Refresh(_)
            | CredentialAnswer::Failed(_) => "a fresh anonymous token".into(),
        }
    }
}

fn withheld(registry: &Registry, realm: &Origin) -> String {
    format!(
        "the credentials for `{registry}` were not sent to its token service {realm}, which is on \
         another host; if that is right, allow it with `--trust-realm {registry}={realm}`"
    )
}

fn bearer(token: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .expect("a token's characters were checked when it came");
    value.set_sensitive(true);
    value
}

fn presented(credential: &CredentialAnswer) -> TokenCredential {
    match credential {
        CredentialAnswer::Basic { username, password } => TokenCredential::Basic {
            username: username.clone(),
            password: password.clone(),
        },
        CredentialAnswer::Refresh(secret) => TokenCredential::Refresh(secret.clone()),
        CredentialAnswer::None | CredentialAnswer::Bearer(_) | CredentialAnswer::Failed(_) => {
            TokenCredential::Anonymous
        }
    }
}

/// What cannot be sent is as good as not there, and says why (AUTH-73).
fn checked(answer: CredentialAnswer) -> CredentialAnswer {
    match answer {
        CredentialAnswer::Basic { username, .. } if username.contains(':') => {
            CredentialAnswer::Failed("the user name has a `:`, which Basic cannot carry".into())
        }
        CredentialAnswer::Bearer(secret) if HeaderValue::from_str(secret.expose()).is_err() => {
            CredentialAnswer::Failed("the token has characters that no header can carry".into())
        }
        CredentialAnswer::None
        | CredentialAnswer::Basic { .. }
        | CredentialAnswer::Bearer(_)
        | CredentialAnswer::Refresh(_)
        | CredentialAnswer::Failed(_) => answer,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::op::testing::site;

    const BEARER: &str = r#"Bearer realm="https://reg.example/token",service="s""#;
    const INVALID: &str =
        r#"Bearer realm="https://reg.example/token",service="s",error="invalid_token""#;
    const MORE: &str =
        r#"Bearer realm="https://reg.example/token",service="s",error="insufficient_scope""#;
    const BASIC: &str = r#"Basic realm="r""#;

    /// A broker and requests to one repository, which all need to pull and wish to push.
    struct Bench {
        broker: Broker,
        site: Site,
        wish: Scopes,
        needs: Scopes,
        memos: BTreeMap<u64, Memo>,
        fetching: Vec<Key>,
        now: Time,
    }

    impl Bench {
        fn new(wish: &str, needs: &str) -> Self {
            Self {
                broker: Broker::new(Vec::new(), 1000),
                site: site(),
                wish: Scopes::from_challenge(wish),
                needs: Scopes::from_challenge(needs),
                memos: BTreeMap::new(),
                fetching: Vec::new(),
                now: Time::ZERO,
            }
        }

        /// Most requests wish for what they need.
        fn pulling() -> Self {
            Self::new("repository:a/b:pull", "repository:a/b:pull")
        }

        fn asking<'a>(site: &'a Site, wish: &'a Scopes, needs: &'a Scopes, id: u64) -> Asking<'a> {
            Asking {
                id: ExchangeId(id),
                site,
                wish,
                needs,
                large: false,
                line: RequestLine("GET".into()),
            }
        }

        /// What request `id` may do.
        fn permit(&mut self, id: u64) -> String {
            let asking = Self::asking(&self.site, &self.wish, &self.needs, id);
            let memo = self.memos.entry(id).or_default();
            match self.broker.permit(&asking, memo, self.now) {
                Permit::Go(None) => "go".into(),
                Permit::Go(Some(value)) => {
                    assert!(value.is_sensitive());
                    format!("go with {}", value.to_str().expect("visible characters"))
                }
                Permit::Park => "park".into(),
                Permit::Ask { recipient } => format!("ask for {recipient}"),
                Permit::Fetch(key, token) => {
                    self.fetching.push(key);
                    format!("fetch {} with {}", token.scopes, token.presented())
                }
                Permit::Probe => "probe".into(),
                Permit::Denied(error) => format!("denied with {}", error.presented),
                Permit::Fail(error) => format!("fail {:?}", error.kind()),
            }
        }

        /// Request `id` is answered with this challenge.
        fn refused(&mut self, id: u64, status: u16, challenge: &str) -> String {
            let asking = Self::asking(&self.site, &self.wish, &self.needs, id);
            let memo = self.memos.entry(id).or_default();
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(challenge).expect("a value");
            headers.insert("www-authenticate", value);
            let status = StatusCode::from_u16(status).expect("a status");
            let url = self.site.url("manifests/v1");
            let said = Said::default();
            match self
                .broker
                .challenged(&asking, memo, status, &headers, &url, said)
            {
                Refused::Again => "again".into(),
                Refused::Denied(error) => format!("denied with {}", error.presented),
            }
        }

        fn accepted(&mut self, id: u64) {
            let origin = self.site.origin.clone();
            let memo = self.memos.entry(id).or_default();
            self.broker.accepted(ExchangeId(id), &origin, memo);
        }

        fn answered(&mut self, answer: CredentialAnswer) {
            let (registry, repository) = (self.site.registry.clone(), self.site.repository.clone());
            self.broker.answered(&registry, &repository, answer);
        }

        fn granted(&mut self, token: &str) -> usize {
            let key = self.fetching.remove(0);
            let token = Secret::new(token);
            self.broker
                .granted(&key, Grant { token, life: 300 }, self.now);
            self.broker.take_woken().len()
        }

        /// Request 0 has found out that tokens are wanted, and has one.
        fn with_token(mut self) -> Self {
            assert_eq!(self.permit(0), "go");
            assert_eq!(self.refused(0, 401, BEARER), "again");
            assert!(self.permit(0).starts_with("ask"));
            self.answered(CredentialAnswer::None);
            assert!(self.permit(0).starts_with("fetch"));
            self.granted("T1");
            assert_eq!(self.permit(0), "go with Bearer T1");
            self
        }
    }

    fn alice() -> CredentialAnswer {
        CredentialAnswer::Basic {
            username: "alice".into(),
            password: Secret::new("pa55"),
        }
    }

    /// AUTH 4.6, rows 1, 2 and 4: without a token it goes without; a challenge is met once.
    #[test]
    fn no_token_then_one_then_cached() {
        let mut bench = Bench::pulling().with_token();
        bench.accepted(0);
        assert_eq!(bench.permit(1), "go with Bearer T1");
    }

    /// Row 3: expired or nearly so.
    #[test]
    fn a_token_that_expires_soon_is_fetched_first() {
        let mut bench = Bench::pulling().with_token();
        bench.now = Time::ZERO + Duration::from_secs(269);
        assert_eq!(bench.permit(1), "go with Bearer T1");
        bench.now = Time::ZERO + Duration::from_secs(270);
        assert_eq!(
            bench.permit(1),
            "fetch repository:a/b:pull with no credentials"
        );
    }

    /// Row 5: a token that was good is dropped and fetched once; a second refusal is the answer.
    #[test]
    fn an_invalid_token_is_replaced_once() {
        for challenge in [BEARER, INVALID] {
            let mut bench = Bench::pulling().with_token();
            bench.accepted(0);
            assert_eq!(bench.permit(1), "go with Bearer T1");
            assert_eq!(bench.refused(1, 401, challenge), "again");
            assert!(bench.permit(1).starts_with("fetch"));
            bench.granted("T2");
            assert_eq!(bench.permit(1), "go with Bearer T2");
            let denied = "denied with a fresh anonymous token";
            assert_eq!(bench.refused(1, 401, challenge), denied);
        }
    }

    /// Row 6: a challenge that names more than was asked for is met, for this request alone.
    #[test]
    fn more_scope_is_asked_for_once() {
        let more = format!(r#"{MORE},scope="repository:other:pull :: junk""#);
        for status in [401, 403] {
            let mut bench = Bench::pulling().with_token();
            assert_eq!(bench.refused(0, status, &more), "again");
            let both = "fetch repository:a/b:pull repository:other:pull junk with no credentials";
            assert_eq!(bench.permit(0), both);
            bench.granted("T2");
            assert_eq!(bench.permit(0), "go with Bearer T2");
            let denied = "denied with a fresh anonymous token";
            assert_eq!(bench.refused(0, status, &more), denied);
            // AUTH-66: it widens nothing for others; the token is one for them all the same.
            assert!(bench.permit(1).starts_with("go with Bearer T"));
        }
    }

    /// Row 7: a good token that is not enough is kept, and no other one is fetched.
    #[test]
    fn not_enough_is_an_answer() {
        let mut bench = Bench::pulling().with_token();
        let denied = "denied with a fresh anonymous token";
        assert_eq!(bench.refused(0, 403, MORE), denied);
        assert_eq!(bench.permit(1), "go with Bearer T1");
    }

    /// Row 8.
    #[test]
    fn basic_is_tried_once() {
        let mut bench = Bench::pulling();
        assert_eq!(bench.permit(0), "go");
        assert_eq!(bench.permit(1), "park");
        assert_eq!(bench.refused(0, 401, BASIC), "again");
        assert_eq!(bench.broker.take_woken(), [ExchangeId(1)]);
        assert_eq!(bench.permit(0), "ask for https://reg.example");
        assert_eq!(bench.permit(1), "park");
        bench.answered(alice());
        assert_eq!(bench.broker.take_woken(), [ExchangeId(0), ExchangeId(1)]);
        assert_eq!(bench.permit(0), "go with Basic YWxpY2U6cGE1NQ==");
        assert_eq!(
            bench.refused(0, 401, BASIC),
            "denied with the credentials of `alice`"
        );
    }

    /// Row 11: the token service is on a host that must not be asked at all.
    #[test]
    fn a_realm_that_is_refused() {
        for realm in ["http://reg.example/token", "https://10.0.0.1/token"] {
            let mut bench = Bench::pulling();
            assert_eq!(bench.permit(0), "go");
            let challenge = format!(r#"Bearer realm="{realm}""#);
            assert_eq!(bench.refused(0, 401, &challenge), "again");
            assert!(bench.permit(0).starts_with("ask"));
            bench.answered(alice());
            assert_eq!(bench.permit(0), "fail Refused");
        }
    }

    #[test]
    fn no_challenge_or_none_that_can_be_met() {
        for challenge in ["", "Negotiate", r#"Bearer service="s""#, "Basic2 x"] {
            let mut bench = Bench::pulling();
            assert_eq!(bench.permit(0), "go");
            let denied = "denied with no credentials and no usable challenge";
            assert_eq!(bench.refused(0, 401, challenge), denied, "{challenge}");
            // The next one finds out for itself.
            assert_eq!(bench.permit(1), "go");
        }
    }

    /// Harbor: the Bearer challenge stands, whatever a later one says (clients.md C.7.1).
    #[test]
    fn basic_after_bearer() {
        let mut bench = Bench::pulling().with_token();
        bench.accepted(0);
        assert_eq!(bench.permit(1), "go with Bearer T1");
        assert_eq!(bench.refused(1, 401, BASIC), "again");
        assert!(bench.permit(1).starts_with("fetch"));
    }

    /// AUTH-71, and a refusal of an old token is none.
    #[test]
    fn one_fetch_for_all_who_wait() {
        let mut bench = Bench::pulling().with_token();
        bench.accepted(0);
        for id in 1..50 {
            assert_eq!(bench.permit(id), "go with Bearer T1");
        }
        for id in 1..49 {
            assert_eq!(bench.refused(id, 401, INVALID), "again");
        }
        assert!(bench.permit(1).starts_with("fetch"));
        for id in 2..49 {
            assert_eq!(bench.permit(id), "park");
        }
        assert_eq!(bench.granted("T2"), 48);
        assert_eq!(bench.permit(1), "go with Bearer T2");
        // The last answer comes late, and is about a token that is gone.
        assert_eq!(bench.refused(49, 401, INVALID), "again");
        assert_eq!(bench.permit(49), "go with Bearer T2");
        assert!(bench.fetching.is_empty());
    }

    /// A union that the token service or the registry refuses is split, once and for all.
    #[test]
    fn a_union_is_split_once() {
        let union = "repository:a/b:pull,push repository:c:pull";
        let start = || {
            let mut bench = Bench::new(union, "repository:a/b:pull");
            assert_eq!(bench.permit(0), "go");
            assert_eq!(bench.refused(0, 401, BEARER), "again");
            assert!(bench.permit(0).starts_with("ask"));
            bench.answered(alice());
            let fetch = format!("fetch {union} with the credentials of `alice`");
            assert_eq!(bench.permit(0), fetch);
            bench
        };
        let split = "fetch repository:a/b:pull with the credentials of `alice`";

        let mut at_realm = start();
        let key = at_realm.fetching.remove(0);
        let error = |status| AuthError {
            request: RequestLine("GET".into()),
            status,
            presented: "x".into(),
            said: Said::default(),
            hint: None,
        };
        let waited = at_realm.broker.not_granted(&key, Some(&error(403)));
        assert_eq!(waited, [ExchangeId(0)]);
        let asking = Bench::asking(&at_realm.site, &at_realm.wish, &at_realm.needs, 0);
        let memo = at_realm.memos.get_mut(&0).expect("it asked");
        Broker::refuse(&key, &asking, memo, error(403));
        assert_eq!(at_realm.permit(0), split);
        assert_eq!(at_realm.permit(1), "park", "it is split for others too");

        let mut at_registry = start();
        at_registry.granted("T1");
        assert_eq!(at_registry.permit(0), "go with Bearer T1");
        assert_eq!(at_registry.refused(0, 401, INVALID), "again");
        assert_eq!(at_registry.permit(0), split);
        assert_eq!(at_registry.permit(1), "park", "it is split for others too");
        at_registry.granted("T2");
        assert_eq!(at_registry.permit(0), "go with Bearer T2");
        // What needs the whole union is not tried any more.
        at_registry.needs = at_registry.wish.clone();
        assert!(
            at_registry
                .permit(2)
                .starts_with("denied with a fresh token")
        );

        // GitLab says 401 to a union, too (clients.md C.10.1).
        let mut refused = start();
        let asking = Bench::asking(&refused.site, &refused.wish, &refused.needs, 0);
        let memo = refused.memos.get_mut(&0).expect("it asked");
        Broker::refuse(&key, &asking, memo, error(401));
        assert_eq!(refused.permit(0), split);
    }

    /// AUTH-47: wrong credentials are wrong for less as well.
    #[test]
    fn wrong_credentials_are_presented_once() {
        let mut bench = Bench::new("repository:a/b:pull,push", "repository:a/b:pull");
        assert_eq!(bench.permit(0), "go");
        assert_eq!(bench.refused(0, 401, BEARER), "again");
        assert!(bench.permit(0).starts_with("ask"));
        bench.answered(alice());
        assert!(
            bench
                .permit(0)
                .starts_with("fetch repository:a/b:pull,push")
        );
        let key = bench.fetching.remove(0);
        let error = AuthError {
            request: RequestLine("GET".into()),
            status: 401,
            presented: "x".into(),
            said: Said::default(),
            hint: None,
        };
        let asking = Bench::asking(&bench.site, &bench.wish, &bench.needs, 0);
        let memo = bench.memos.get_mut(&0).expect("it asked");
        assert_eq!(
            bench.broker.not_granted(&key, Some(&error)),
            [ExchangeId(0)]
        );
        Broker::refuse(&key, &asking, memo, error);
        assert_eq!(bench.permit(0), "denied with x");
    }

    /// Whatever is answered, a request is challenged a bounded number of times.
    #[test]
    fn challenges_for_ever_end() {
        let mut bench = Bench::pulling().with_token();
        for round in 0.. {
            // As if the registry redirected to itself and then asked again.
            bench.accepted(0);
            if bench.refused(0, 401, INVALID) != "again" {
                assert!(round <= u32::from(ROUNDS));
                return;
            }
            assert!(bench.permit(0).starts_with("fetch"));
            bench.granted(&format!("T{round}"));
            assert!(bench.permit(0).starts_with("go with Bearer"));
        }
    }

    /// What is asked with a large answer waits for something small.
    #[test]
    fn a_large_answer_waits_for_a_probe() {
        let mut bench = Bench::pulling();
        let mut asking = Bench::asking(&bench.site, &bench.wish, &bench.needs, 0);
        asking.large = true;
        let mut memo = Memo::default();
        let permit = bench.broker.permit(&asking, &mut memo, Time::ZERO);
        assert!(matches!(permit, Permit::Probe));
        bench.broker.probing(&bench.site.origin, ExchangeId(9));
        assert_eq!(bench.permit(1), "park");
        assert_eq!(bench.permit(9), "go");
        bench.accepted(9);
        assert_eq!(bench.broker.take_woken(), [ExchangeId(0), ExchangeId(1)]);
        assert_eq!(bench.permit(1), "go");
    }

    /// A probe that comes to nothing is replaced by another one.
    #[test]
    fn a_probe_that_is_gone() {
        let mut bench = Bench::pulling();
        assert_eq!(bench.permit(0), "go");
        assert_eq!(bench.permit(1), "park");
        let origin = bench.site.origin.clone();
        bench.broker.gone(ExchangeId(0), &origin);
        assert_eq!(bench.broker.take_woken(), [ExchangeId(1)]);
        assert_eq!(bench.permit(1), "go");
        assert_eq!(bench.permit(2), "park");
    }

    /// AUTH-73, and what no header can carry.
    #[test]
    fn credentials_that_cannot_be_sent() {
        let colon = CredentialAnswer::Basic {
            username: "a:b".into(),
            password: Secret::new("x"),
        };
        for answer in [colon, CredentialAnswer::Bearer(Secret::new("a\nb"))] {
            assert!(matches!(checked(answer), CredentialAnswer::Failed(_)));
        }
    }
}
