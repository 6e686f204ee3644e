//! Tokens: selecting one for a request, and fetching each once.
//!
//! Responsible for cached tokens and those being fetched, for whether a token service may receive
//! the credentials, and for the meaning of its refusals. Must not know challenges (`challenged`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use http::HeaderValue;

use super::challenged::ROUNDS;
use super::credentials::Refused;
use super::{
    AuthOutput, AuthRequest, AuthState, Broker, Fetching, HostAuth, Permit, Pinged, Sent,
    TokenEntry, TokenKey,
};
use crate::credential::{CredentialAnswer, Secret};
use crate::error::{AuthError, Error};
use crate::ids::ExchangeId;
use crate::op::{Grant, Token, TokenCredential};
use crate::realm::{self, Judgement};
use crate::registry::{Origin, Registry};
use crate::time::Time;
use crate::uri::Url;

/// The most tokens, refused unions, and warnings about withheld credentials that are remembered.
/// Realms and scopes are the registry's choice, so it could make a session collect them without end
/// (SEC-05); an evicted token costs one request.
pub(super) const KEYS: usize = 128;

impl Broker {
    /// Stores a new token.
    pub(super) fn granted(&mut self, key: &TokenKey, grant: Grant, now: Time) {
        self.generations += 1;
        // Refreshed early: a tenth of its lifetime, at most 30 s (users.md 4.5).
        let leeway = (grant.life / 10).min(30);
        let until = now + Duration::from_secs(grant.life - leeway);
        let entry = TokenEntry {
            generation: self.generations,
            ready: Some((grant.token, until)),
        };
        self.tokens.insert(key.clone(), entry);
        if let Some(fetched) = self.fetching.remove(key) {
            self.resume(fetched.parked);
        }
    }

    /// A token could not be fetched. Failures are not remembered, except for refused unions, which
    /// would be refused again.
    ///
    /// If the token service refused more scopes than a request needs, the request asks for fewer;
    /// otherwise the refusal is its result. 401 means wrong credentials whatever the scopes (AUTH-47),
    /// except from a service that answers 401 to scopes of several repositories (GitLab, clients.md
    /// C.10.1).
    pub(super) fn not_granted(&mut self, key: &TokenKey, error: Option<&Error>) {
        let Some(Fetching { before, mut parked }) = self.fetching.remove(key) else {
            return;
        };
        self.tokens.insert(key.clone(), before);
        let Some(error) = error else {
            return;
        };
        parked.retain(|id| self.requests.contains_key(id));
        let Error::Auth(refusal) = error else {
            if !parked.is_empty() {
                self.forget_scheme(&key.origin);
            }
            for id in parked {
                let output = if is_absent(error) && self.may_probe_again(id) {
                    AuthOutput::Resume(id)
                } else {
                    AuthOutput::Fail(id, error.clone())
                };
                self.outputs.push_back(output);
            }
            return;
        };
        self.remember_union(key, (**refusal).clone());
        let may_be_the_union = refusal.status != 401 || key.scopes.len() > 1;
        for id in &parked {
            let state = self.requests.entry(*id).or_default();
            if may_be_the_union && !state.split && state.is_union {
                state.split = true;
            } else {
                let error = (**refusal).clone();
                let credential = key.credential.clone();
                state.denied = Some(Refused { error, credential }.into());
            }
        }
        self.resume(parked);
    }

    /// There is no token service where an earlier challenge said. If this request was not challenged
    /// itself, it probes the host again: the challenge may have been a mistake, or is out of date.
    fn may_probe_again(&mut self, id: ExchangeId) -> bool {
        let state = self.requests.entry(id).or_default();
        state.rounds += 1;
        state.refused.is_none() && state.rounds <= ROUNDS
    }

    /// The exchanges that wait for a token that is being fetched.
    pub(crate) fn waiting_for_token(&self, key: &TokenKey) -> &[ExchangeId] {
        let fetching = self.fetching.get(key);
        fetching.map_or(&[], |it| &it.parked)
    }

    pub(super) fn bearer(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        now: Time,
        realm: Url,
        service: Option<String>,
        credential: CredentialAnswer,
    ) -> Permit {
        let site = request.site;
        let credential =
            match realm::judge(&site.registry, &site.origin, realm.origin(), &self.trusted) {
                Judgement::Trusted => credential,
                Judgement::Anonymous => {
                    self.withhold(request.id, &site.registry, realm.origin(), credential)
                }
                Judgement::Refused(why) => {
                    self.forget_scheme(&site.origin);
                    let what = format!("{}: {why}; it was not asked for a token", request.line);
                    return Permit::Fail(Error::Policy { what });
                }
            };
        let credential = match credential {
            // An anonymous token is the same whatever the reason for having no credentials: use one
            // key.
            CredentialAnswer::Failed(_) => CredentialAnswer::None,
            CredentialAnswer::None
            | CredentialAnswer::Basic { .. }
            | CredentialAnswer::Bearer(_)
            | CredentialAnswer::Refresh(_) => credential,
        };
        let mut key = TokenKey {
            origin: site.origin.clone(),
            realm: realm.clone(),
            service: service.clone(),
            credential,
            scopes: request.task_scopes.clone(),
        };
        if self.unions.contains_key(&key) {
            state.split = true;
        }
        state.is_union = *request.task_scopes != request.required_scopes;
        key.scopes = state.scopes(request);
        if let Some(refusal) = self.unions.get(&key) {
            return Permit::Denied(refusal.clone());
        }
        if let Some((found, generation, token)) = self.token(&key, state.exact_only, now) {
            state.sent = Some(Sent::Token {
                key: found,
                generation,
            });
            return Permit::Go(Some(bearer(&token)));
        }
        if let Some(fetching) = self.fetching.get_mut(&key) {
            fetching.parked.push(request.id);
            return Permit::Park;
        }
        self.make_room(&key, now);
        let fetching = Fetching {
            before: self.tokens.remove(&key).unwrap_or_default(),
            parked: alloc::vec![request.id],
        };
        self.fetching.insert(key.clone(), fetching);
        let token = Token {
            realm,
            service,
            scopes: key.scopes.clone(),
            credential: presented(&key.credential),
            limit: self.token_limit,
        };
        let fetch = AuthOutput::Fetch(request.id, key, token.into());
        self.outputs.push_back(fetch);
        Permit::Park
    }

    /// Remembers that scopes of several repositories are refused together; the first entries are
    /// evicted. Refusals of a single repository are not remembered: they may be transient, and
    /// would affect every push to it.
    pub(super) fn remember_union(&mut self, key: &TokenKey, refusal: AuthError) {
        if key.scopes.len() < 2 {
            return;
        }
        if self.unions.len() >= KEYS && !self.unions.contains_key(key) {
            self.unions.pop_first();
        }
        self.unions.insert(key.clone(), refusal);
    }

    /// Forgets the host's auth scheme after a failed token request, so that the next request probes
    /// again.
    pub(super) fn forget_scheme(&mut self, origin: &Origin) {
        let host = self.host(origin);
        if matches!(host.scheme, HostAuth::Bearer { .. }) {
            host.scheme = HostAuth::Unknown;
            if matches!(host.pinged, Pinged::Over(_)) {
                host.pinged = Pinged::Never;
            }
        }
    }

    /// Evicts tokens until there is room for one more: expired ones first, then the oldest, none
    /// that is being fetched.
    fn make_room(&mut self, key: &TokenKey, now: Time) {
        let room = KEYS.saturating_sub(self.fetching.len());
        if self.tokens.len() < room || self.tokens.contains_key(key) {
            return;
        }
        let is_good =
            |entry: &TokenEntry| entry.ready.as_ref().is_some_and(|(_, until)| *until > now);
        self.tokens.retain(|_, entry| is_good(entry));
        let mut generations: Vec<u64> = self.tokens.values().map(|it| it.generation).collect();
        generations.sort_unstable();
        let most = room.saturating_sub(1);
        if let Some(last) = generations.iter().rev().nth(most) {
            self.tokens.retain(|_, entry| entry.generation > *last);
        }
    }

    /// What is known of a token, also while it is being fetched.
    pub(super) fn token_entry(&mut self, key: &TokenKey) -> Option<&mut TokenEntry> {
        let fetching = self.fetching.get_mut(key).map(|it| &mut it.before);
        fetching.or_else(|| self.tokens.get_mut(key))
    }

    /// A valid token for `key`: its own, or unless `exact_only` is set, one with more scopes for the same
    /// recipient.
    fn token(
        &self,
        key: &TokenKey,
        exact_only: bool,
        now: Time,
    ) -> Option<(TokenKey, u64, Secret)> {
        let usable = |entry: &TokenEntry| match &entry.ready {
            Some((token, until)) if *until > now => Some((entry.generation, token.clone())),
            Some(_) | None => None,
        };
        if let Some((generation, token)) = self.tokens.get(key).and_then(usable) {
            return Some((key.clone(), generation, token));
        }
        if exact_only {
            return None;
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

    pub(super) fn withhold(
        &mut self,
        id: ExchangeId,
        registry: &Registry,
        realm: &Origin,
        credential: CredentialAnswer,
    ) -> CredentialAnswer {
        if !credential.is_secret() {
            return credential;
        }
        let is_told = self.withheld.len() >= KEYS;
        if !is_told && self.withheld.insert((registry.clone(), realm.clone())) {
            let warning = withheld(registry, realm);
            self.outputs.push_back(AuthOutput::Warn(id, warning));
        }
        CredentialAnswer::None
    }
}

pub(super) fn withheld(registry: &Registry, realm: &Origin) -> String {
    format!(
        "the credentials for `{registry}` were not sent to its token service {realm}, which is on \
         another host; if that is right, allow it with `--trust-realm {registry}={realm}`"
    )
}

pub(super) fn bearer(token: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .expect("a token's characters were checked when it came");
    value.set_sensitive(true);
    value
}

pub(super) fn presented(credential: &CredentialAnswer) -> TokenCredential {
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

/// Whether a server has no token service at this address, as it says.
fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Registry(refusal) if matches!(refusal.status, 404 | 405 | 410))
}
