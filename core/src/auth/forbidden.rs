//! Refusals of credentials without a challenge: 403, and a 400 that says so.
//!
//! Private ECR answers an expired login so, and never with 401; ECR Public does even for public images.
//! Responsible for finding out whether such a response is about the credential: its source
//! has another one by now, or the request may go on anonymously. In all other cases the response is final, and it
//! means what the registry says: mostly that the user may not do this. Must not know what requests are for.
//!
//! ```text
//!  403 to a request with a secret
//!    ├─ its answer is at least 5 s old ─▶ asked again ─┬─ another secret ───▶ the request again
//!    │                                                 └─ the same, or none ─┐
//!    └─ younger, or asked again for this request before ────────────────────┤
//!                        the request again, anonymously ◀─ allowed, reads ──┼──▶ final
//! ```

use http::StatusCode;

use super::challenged::{ROUNDS, presented_by};
use super::credentials::{Reconsidered, Refused};
use super::{AuthOutput, AuthRequest, AuthState, Broker, Sent};
use crate::credential::CredentialAnswer;
use crate::error::{AuthError, RegistryErrors};
use crate::error_body::is_expired_login;
use crate::ids::ExchangeId;
use crate::time::Time;

impl Broker {
    /// Whether a response that is no challenge may be a refusal of the credential that the request carried.
    pub(super) fn is_forbidden(
        &self,
        id: ExchangeId,
        status: StatusCode,
        errors: impl FnOnce() -> RegistryErrors,
    ) -> bool {
        let state = self.requests.get(&id);
        let shown = state.and_then(shown).is_some();
        shown
            && match status {
                StatusCode::FORBIDDEN => true,
                StatusCode::BAD_REQUEST => errors().entries.iter().any(is_expired_login),
                _ => false,
            }
    }

    /// Decides on a response for which [`is_forbidden`](Self::is_forbidden) returned true. `None`: it waits
    /// for the source's answer.
    pub(super) fn forbidden(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        (status, errors): (StatusCode, RegistryErrors),
        now: Time,
    ) -> Option<AuthOutput> {
        let Some(credential) = shown(state).cloned().filter(|_| state.rounds < ROUNDS) else {
            return Some(AuthOutput::Stands(request.id));
        };
        let error = AuthError {
            request: request.line.clone(),
            status: status.as_u16(),
            presented: presented_by(state),
            errors,
            hint: None,
        };
        let refused = Refused { error, credential };
        if !self.is_confirmed(request, now) && self.ask_again(request, state, &refused, now) {
            return self.forbidden_again(request, state);
        }
        Some(self.without_another(request, state, &refused))
    }

    /// Decides when the source has answered, if it was asked because of this response.
    pub(super) fn forbidden_again(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
    ) -> Option<AuthOutput> {
        match self.reconsider(request, state) {
            Some(Reconsidered::Waits) => None,
            Some(Reconsidered::GoesOn) => {
                state.rounds += 1;
                Some(AuthOutput::Again(request.id))
            }
            Some(Reconsidered::Refused(refused)) => {
                self.confirm(request, &refused);
                Some(self.without_another(request, state, &refused))
            }
            None => Some(AuthOutput::Stands(request.id)),
        }
    }

    /// There is no other secret. Some registries forbid every HEAD (HTTP-21), so that it does not show that a
    /// credential is refused; the request that follows it does.
    fn without_another(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        refused: &Refused,
    ) -> AuthOutput {
        if request.is_head || !self.fall_back(request, refused) {
            return AuthOutput::Stands(request.id);
        }
        state.rounds += 1;
        AuthOutput::Again(request.id)
    }
}

/// The secret that the request carried, or that bought its token.
fn shown(state: &AuthState) -> Option<&CredentialAnswer> {
    let credential = match state.sent.as_ref()? {
        Sent::Nothing { .. } => return None,
        Sent::Direct(credential) => credential,
        Sent::Token { key, .. } => &key.credential,
    };
    credential.is_secret().then_some(credential)
}
