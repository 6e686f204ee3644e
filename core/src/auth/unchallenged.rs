//! Finds out whether credentials could change a refusal without a challenge.
//!
//! Some registries answer anonymous requests with 404, 403 or a bare 401, and send a challenge for
//! `/v2/` only (AUTH-06). Responsible for finding that challenge, once per host, if there are
//! credentials for it. Must not know what requests are for.
//!
//! ```text
//!  response without credentials: 404, 403, bare 401
//!    ├─ no credentials for the registry ───────────────────────▶ final
//!    └─ credentials ─▶ GET /v2/, once per host ─┬─ no challenge ▶ final
//!                                               └─ a challenge ─▶ the request again, with credentials
//! ```

use alloc::vec::Vec;

use http::{HeaderMap, StatusCode};

use super::challenged::usable;
use super::credentials::{CredentialKey, CredentialState, key, question};
use super::{AuthOutput, AuthRequest, AuthState, Broker, HostAuth, Sent};
use crate::credential::{Access, CredentialAnswer};
use crate::header::challenges;
use crate::ids::ExchangeId;
use crate::op::Site;
use crate::realm::{self, Judgement};
use crate::registry::Origin;
use crate::uri::Url;

/// Whether a host's `/v2/` was asked for a challenge.
#[derive(Debug, Default)]
pub(super) enum Pinged {
    #[default]
    Never,
    /// The request is in flight; these exchanges wait for it.
    Asking(Vec<ExchangeId>),
    /// No reliable answer. The next task asks again.
    Failed,
    /// Answered; with a challenge that the credentials of the repository could not meet, or without one. Those of
    /// another repository may meet it.
    Over(Option<HostAuth>),
}

impl Broker {
    /// Whether credentials could change this response to a request without any. `challenged`: it is a 401, or a 403
    /// that wants a token with more scopes.
    pub(super) fn is_doubtful(
        &self,
        id: ExchangeId,
        challenged: bool,
        status: StatusCode,
        headers: &HeaderMap,
        from: &Url,
    ) -> bool {
        let state = self.requests.get(&id);
        if !state.is_some_and(|it| !it.is_decided && matches!(it.sent, Some(Sent::Nothing { .. })))
        {
            return false;
        }
        if !challenged {
            return matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
        }
        usable(&challenges(headers), from).is_none()
    }

    /// Decides on a request for which [`is_doubtful`](Self::is_doubtful) returned true. `None`: it stays
    /// parked.
    ///
    /// The driver is asked for the credentials of each repository: that there are none for one says nothing about
    /// its neighbour (CRED-42).
    pub(super) fn check_unchallenged(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
    ) -> Option<AuthOutput> {
        let stands = Some(AuthOutput::Stands(request.id));
        let origin = &request.site.origin;
        let host = self.host(origin);
        let is_over = matches!(host.pinged, Pinged::Over(None) | Pinged::Failed);
        if !host.scheme.is_known() && is_over {
            return stands;
        }
        let key = key(request);
        match self.credentials.get_mut(&key) {
            Some(CredentialState::Answered(answered))
                if !answered.answer.is_secret() || answered.is_left_out(request) =>
            {
                return stands;
            }
            Some(CredentialState::Answered(_)) => {}
            Some(CredentialState::Asked(parked)) => {
                parked.push(request.id);
                self.hold(request);
                return None;
            }
            None => {
                let question = question(request, origin.clone());
                self.ask(key, alloc::vec![request.id], question);
                self.hold(request);
                return None;
            }
        }
        let learned = self.host(origin).scheme.clone();
        if learned.is_known() {
            let fits = self.can_show(request.id, request.site, &learned);
            let host = self.host(origin);
            if fits || !matches!(host.pinged, Pinged::Never) {
                state.is_decided = true;
                return if fits {
                    Some(AuthOutput::Again(request.id))
                } else {
                    stands
                };
            }
            // These credentials cannot meet the known challenge. `/v2/` may send another one.
            host.scheme = HostAuth::Open;
        } else if let Pinged::Over(Some(unmet)) = &self.host(origin).pinged {
            let unmet = unmet.clone();
            state.is_decided = self.meet(request.id, request.site, unmet);
            return if state.is_decided {
                Some(AuthOutput::Again(request.id))
            } else {
                stands
            };
        }
        self.hold(request);
        let host = self.host(origin);
        match &mut host.pinged {
            Pinged::Never => {
                host.pinged = Pinged::Asking(alloc::vec![request.id]);
                Some(AuthOutput::Ping(request.id))
            }
            Pinged::Asking(parked) => {
                parked.push(request.id);
                None
            }
            Pinged::Failed | Pinged::Over(_) => stands,
        }
    }

    /// `/v2/` was answered, or the request failed. A challenge that the credentials cannot meet,
    /// for instance because its token service may not receive them, changes nothing. Nor does a
    /// redirect: the challenge of another host does not apply.
    pub(super) fn pinged(
        &mut self,
        id: ExchangeId,
        site: &Site,
        answer: Option<(StatusCode, &HeaderMap)>,
        from: &Url,
    ) {
        let over = match answer {
            Some((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, headers)) => {
                Pinged::Over(usable(&challenges(headers), from))
            }
            Some((status, _)) if status.is_success() || status == StatusCode::NOT_FOUND => {
                Pinged::Over(None)
            }
            Some(_) | None => Pinged::Failed,
        };
        if matches!(over, Pinged::Failed) {
            self.unpinged.push(site.origin.clone());
        }
        let learned = match &over {
            Pinged::Over(learned) => learned.clone(),
            Pinged::Never | Pinged::Asking(_) | Pinged::Failed => None,
        };
        let host = self.host(&site.origin);
        if let Pinged::Asking(parked) = core::mem::replace(&mut host.pinged, over) {
            self.resume(parked);
        }
        if let Some(learned) = learned {
            self.meet(id, site, learned);
        }
    }

    /// Learns a challenge of `/v2/` if the credentials for a repository can meet it. Whether they can.
    fn meet(&mut self, id: ExchangeId, site: &Site, learned: HostAuth) -> bool {
        if !self.can_show(id, site, &learned) {
            return false;
        }
        let host = self.host(&site.origin);
        if !host.scheme.is_known() {
            host.scheme = learned;
            let parked = core::mem::take(&mut host.parked);
            self.resume(parked);
        }
        true
    }

    pub(super) fn ping_gone(&mut self, origin: &Origin) {
        if let Some(host) = self.hosts.get_mut(origin)
            && let Pinged::Asking(parked) = &mut host.pinged
        {
            let parked = core::mem::take(parked);
            host.pinged = Pinged::Never;
            self.resume(parked);
        }
    }

    pub(super) fn task_began(&mut self) {
        self.try_refused_credentials();
        for origin in core::mem::take(&mut self.unpinged) {
            if let Some(host) = self.hosts.get_mut(&origin)
                && matches!(host.pinged, Pinged::Failed)
            {
                host.pinged = Pinged::Never;
            }
        }
    }

    /// Lets other requests to the host wait for the result, as for the first request to a host.
    fn hold(&mut self, request: &AuthRequest<'_>) {
        let host = self.host(&request.site.origin);
        if matches!(host.scheme, HostAuth::Unknown | HostAuth::Open) {
            host.scheme = HostAuth::Probing(request.id);
        }
    }

    /// The credential for a repository that is known; one with a secret if there are two, for reading and for
    /// writing.
    fn known_credential(&self, site: &Site) -> Option<&CredentialAnswer> {
        let answers = [Access::Any, Access::Write, Access::Read].map(|access| {
            let key = CredentialKey {
                registry: site.registry.clone(),
                repository: site.repository.clone(),
                access,
            };
            match self.credentials.get(&key) {
                Some(CredentialState::Answered(known)) => Some(&known.answer),
                Some(CredentialState::Asked(_)) | None => None,
            }
        });
        let mut known = answers.iter().copied().flatten();
        let secret = known.clone().find(|answer| answer.is_secret());
        secret.or_else(|| known.next())
    }

    /// Whether the credentials for a repository fit the host's auth scheme.
    fn can_show(&mut self, id: ExchangeId, site: &Site, learned: &HostAuth) -> bool {
        let Some(credential) = self.known_credential(site).cloned() else {
            return false;
        };
        match (learned, &credential) {
            (HostAuth::Unknown | HostAuth::Probing(_) | HostAuth::Open, _)
            | (_, CredentialAnswer::None | CredentialAnswer::Failed(_))
            | (HostAuth::Basic, CredentialAnswer::Refresh(_)) => false,
            (HostAuth::Basic, CredentialAnswer::Basic { .. } | CredentialAnswer::Bearer(_))
            | (HostAuth::Bearer { .. }, CredentialAnswer::Bearer(_)) => true,
            (
                HostAuth::Bearer { realm, .. },
                CredentialAnswer::Basic { .. } | CredentialAnswer::Refresh(_),
            ) => match realm::judge(&site.registry, &site.origin, realm.origin(), &self.trusted) {
                Judgement::Trusted => true,
                Judgement::Anonymous => {
                    self.withhold(id, &site.registry, realm.origin(), credential);
                    false
                }
                Judgement::Refused(_) => false,
            },
        }
    }
}
