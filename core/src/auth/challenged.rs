//! What a challenge means: another attempt, or "denied".
//!
//! Responsible for learning a host's auth scheme from its challenges, and for distinguishing an
//! expired token from an insufficient one. Must not know how tokens are fetched (`tokens`).

use alloc::format;
use alloc::string::{String, ToString};

use http::{HeaderMap, StatusCode};

use super::credentials::Refused;
use super::{AuthOutput, AuthRequest, AuthState, Broker, HostAuth, Sent, TokenKey};
use crate::credential::CredentialAnswer;
use crate::error::{AuthError, RegistryErrors};
use crate::header::{Challenge, challenges};
use crate::ids::ExchangeId;
use crate::op::Answer;
use crate::registry::Origin;
use crate::scope::{Scope, Scopes};
use crate::time::Time;
use crate::uri::Url;

/// How often one request may be challenged, for whatever reasons.
pub(super) const ROUNDS: u8 = 10;
/// The longest realm and service together, in bytes. They are part of every token's key; real ones
/// have about a hundred bytes.
const REALM: usize = 2048;
/// How many scopes challenges may add to those of a request, and the longest of them: a name of 255
/// characters with its actions. They are part of every token's key. Real challenges name one or
/// two.
const SCOPES: usize = 8;
const SCOPE: usize = 512;

impl Broker {
    /// What a challenge to a request means: `Again` or `Denied`.
    pub(super) fn challenged(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        (status, headers, errors): (StatusCode, &HeaderMap, RegistryErrors),
        from: &Url,
        now: Time,
    ) -> AuthOutput {
        state.rounds += 1;
        let offered = challenges(headers);
        let scheme = &self.host(&request.site.origin).scheme;
        let was_probe = matches!(scheme, HostAuth::Probing(probe) if *probe == request.id);
        let learned = self.learn(&request.site.origin, &offered, from, request.id);
        let refusal = |broker: &Self, presented: String| AuthError {
            request: request.line.clone(),
            status: status.as_u16(),
            presented,
            errors: errors.clone(),
            hint: broker.hint(request),
        };
        let denied = |broker: &Self, presented: String| {
            AuthOutput::Denied(request.id, refusal(broker, presented))
        };
        if state.rounds > ROUNDS {
            return denied(self, "too many authentication rounds".into());
        }
        let nothing = Sent::Nothing { is_open: false };
        match state.sent.take().unwrap_or(nothing) {
            Sent::Nothing { .. } if !learned => {
                denied(self, "no credentials and no usable challenge".into())
            }
            Sent::Nothing { is_open } if state.refused.is_some() && !(was_probe || is_open) => {
                denied(self, "no credentials".into())
            }
            // Whatever was refused before, this shows nothing because another request had the scheme forgotten.
            Sent::Nothing { .. } => {
                state.refused = Some(self.generations);
                state.refusal = Some(refusal(self, "no credentials".into()));
                self.widen(request, state, &offered);
                AuthOutput::Again(request.id)
            }
            Sent::Direct(credential) => {
                let error = refusal(self, presented_directly(&credential));
                let refused = Refused { error, credential };
                if self.ask_again(request, state, &refused, now)
                    || self.fall_back(request, &refused)
                {
                    return AuthOutput::Again(request.id);
                }
                AuthOutput::Denied(request.id, refused.error)
            }
            Sent::Token { key, generation } => {
                let error = refusal(self, presented(&key));
                let again =
                    self.refuse_token(request, state, &key, generation, &offered, error.clone());
                if let Some(again) = again {
                    return again;
                }
                let credential = key.credential;
                let refused = Refused { error, credential };
                // A token service that has granted too little took the credentials for good.
                let insufficient = offered.iter().any(Challenge::wants_more_scope);
                if (!insufficient && self.ask_again(request, state, &refused, now))
                    || self.fall_back(request, &refused)
                {
                    return AuthOutput::Again(request.id);
                }
                AuthOutput::Denied(request.id, refused.error)
            }
        }
    }

    /// What a refused token means: `None` for "denied".
    fn refuse_token(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        key: &TokenKey,
        generation: u64,
        offered: &[Challenge],
        refusal: AuthError,
    ) -> Option<AuthOutput> {
        let entry = self.token_entry(key);
        if entry.is_none_or(|entry| entry.generation != generation) {
            // An old token was refused; there is a newer one, or one is being fetched.
            return Some(AuthOutput::Again(request.id));
        }
        if self.widen(request, state, offered) {
            state.refused = Some(self.generations);
            return Some(AuthOutput::Again(request.id));
        }
        let insufficient = offered.iter().any(Challenge::wants_more_scope);
        let fresh = state.refused.is_some_and(|before| generation > before);
        // A valid but insufficient token is kept: another one would not help here, and other
        // requests still need it.
        if !insufficient && let Some(entry) = self.token_entry(key) {
            entry.ready = None;
        }
        if !insufficient && !fresh {
            state.refused = Some(self.generations);
            return Some(AuthOutput::Again(request.id));
        }
        if !state.split && *request.task_scopes != request.required_scopes {
            state.split = true;
            self.refuse_wider(state, key, refusal);
            return Some(AuthOutput::Again(request.id));
        }
        if key.scopes != state.scopes(request) {
            // The refused token was another request's, for more scopes than needed here: try one of
            // its own.
            self.refuse_wider(state, key, refusal);
            return Some(AuthOutput::Again(request.id));
        }
        None
    }

    /// A token for more scopes than needed was refused, so use one for exactly the needed scopes.
    /// Requests that need all of them are retried: they may have such a token, or get another one.
    fn refuse_wider(&mut self, state: &mut AuthState, key: &TokenKey, refusal: AuthError) {
        state.exact_only = true;
        state.refused = Some(self.generations);
        self.remember_union(key, refusal);
    }

    /// Learns a host's auth scheme from its challenges. Returns whether one of them can be met.
    fn learn(
        &mut self,
        origin: &Origin,
        offered: &[Challenge],
        from: &Url,
        id: ExchangeId,
    ) -> bool {
        let host = self.host(origin);
        // Harbor answers an insufficient token with Basic; the first Bearer challenge stays
        // (clients.md C.7.1).
        let learned = usable(offered, from).filter(|learned| {
            matches!(learned, HostAuth::Bearer { .. }) || !host.scheme.is_known()
        });
        let was_probe = matches!(host.scheme, HostAuth::Probing(probe) if probe == id);
        if let Some(learned) = learned {
            host.scheme = learned;
        } else if was_probe {
            host.scheme = HostAuth::Unknown;
        }
        if !matches!(host.scheme, HostAuth::Probing(_)) {
            let parked = core::mem::take(&mut host.parked);
            self.resume(parked);
        }
        self.host(origin).scheme.is_known()
    }

    /// Adds the scopes of a challenge to the request's own. Returns whether there were new ones.
    fn widen(
        &self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        offered: &[Challenge],
    ) -> bool {
        let have = state.scopes(request);
        let mut wanted = Scopes::default();
        let named = offered
            .iter()
            .filter_map(|challenge| challenge.param("scope"));
        let words = named.flat_map(str::split_whitespace);
        for word in words.filter(|word| word.len() <= SCOPE) {
            if state.extra.len() + wanted.len() >= SCOPES {
                break;
            }
            // Malformed ones are dropped: Oracle's `::` makes its own token service fail.
            if let Ok(scope) = word.parse::<Scope>() {
                wanted.insert(scope);
            }
        }
        if have.covers(&wanted) {
            return false;
        }
        state.extra.merge(&wanted);
        true
    }

    /// The credentials that a request carried, and a hint, for an error.
    pub(crate) fn explain(&self, request: &AuthRequest<'_>) -> (String, Option<String>) {
        let state = self.requests.get(&request.id);
        let presented = if request.site.is_authorized() {
            "the configured header".into()
        } else {
            state.map_or_else(|| Answer::NO_CREDENTIALS.into(), presented_by)
        };
        (presented, self.hint(request))
    }
}

pub(super) fn presented_by(state: &AuthState) -> String {
    match &state.sent {
        None | Some(Sent::Nothing { .. }) => Answer::NO_CREDENTIALS.into(),
        Some(Sent::Direct(credential)) => presented_directly(credential),
        Some(Sent::Token { key, .. }) => presented(key),
    }
}

fn presented_directly(credential: &CredentialAnswer) -> String {
    match credential {
        CredentialAnswer::Basic { username, .. } => format!("the credentials of `{username}`"),
        CredentialAnswer::Bearer(_) => "the configured token".into(),
        CredentialAnswer::None | CredentialAnswer::Refresh(_) | CredentialAnswer::Failed(_) => {
            "no credentials".into()
        }
    }
}

fn presented(key: &TokenKey) -> String {
    match &key.credential {
        CredentialAnswer::Basic { username, .. } => format!("a fresh token of `{username}`"),
        CredentialAnswer::Refresh(_) => "a fresh token for an identity token".into(),
        CredentialAnswer::None | CredentialAnswer::Bearer(_) | CredentialAnswer::Failed(_) => {
            Answer::ANONYMOUS_TOKEN.into()
        }
    }
}

/// The challenge to answer: Bearer if there is one, otherwise Basic (AUTH-05).
pub(super) fn usable(offered: &[Challenge], from: &Url) -> Option<HostAuth> {
    let mut bearer = offered
        .iter()
        .filter(|challenge| challenge.is_scheme("bearer"));
    let bearer = bearer.find_map(|challenge| {
        let realm = from.resolve(challenge.param("realm")?).ok()?;
        let service = challenge.param("service").map(ToString::to_string);
        let len = realm.as_str().len() + service.as_ref().map_or(0, String::len);
        (len <= REALM).then_some(HostAuth::Bearer { realm, service })
    });
    let basic = offered.iter().any(|challenge| challenge.is_scheme("basic"));
    bearer.or_else(|| basic.then_some(HostAuth::Basic))
}
