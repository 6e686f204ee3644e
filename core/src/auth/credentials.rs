//! Credentials: asking the driver for them, and again when they have expired or were refused.
//!
//! Responsible for one question at a time per repository, for how long an answer is used, and for going
//! on anonymously where that is allowed. Must not know challenges (`challenged`) nor tokens (`tokens`).
//!
//! ```text
//!            ┌────────── expired; or refused, and at least 5 s old ──────────┐
//!            ▼                                                               │
//!  ─ask─▶ Asked (requests park) ─answer─▶ Answered ─────────────────────────┤
//!            │                                                               │ refused sooner, or for a
//!            ├─ after a refusal, the same secret ─▶ denied, or anonymous ◀──┘ second time
//!            └─ another one ─▶ the request again
//! ```

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::tokens::{bearer, withheld};
use super::{AuthOutput, AuthRequest, AuthState, Broker, Permit, Sent};
use crate::credential::{Access, CredentialAnswer, Question, TimedAnswer};
use crate::error::AuthError;
use crate::ids::ExchangeId;
use crate::op::{basic, can_be_sent};
use crate::redact::redact_urls;
use crate::reference::Repository;
use crate::registry::{Origin, Registry};
use crate::scope::Scopes;
use crate::time::Time;

/// Of how many repositories credentials are remembered.
pub(super) const CREDENTIALS: usize = 1_000;

/// How old an answer must be before the driver is asked again. One that is refused sooner was wrong when
/// it was given. It also bounds the questions for answers that expire at once.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// How long another 403 is no reason to ask for the same credentials once more.
const CONFIRMED: Duration = Duration::from_secs(60);

/// What a credential is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct CredentialKey {
    pub(crate) registry: Registry,
    pub(crate) repository: Repository,
    pub(crate) access: Access,
}

impl CredentialKey {
    /// What a question asks for.
    pub(crate) fn of(question: &Question) -> Self {
        let repository = question.repository().cloned();
        Self {
            registry: question.registry().clone(),
            repository: repository.unwrap_or_else(Repository::none),
            access: question.access(),
        }
    }
}

#[derive(Debug)]
pub(super) enum CredentialState {
    /// These exchanges wait for the answer.
    Asked(Vec<ExchangeId>),
    Answered(Answered),
}

/// What the driver answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answer: CredentialAnswer,
    at: Time,
    until: Option<Time>,
    /// It was refused for reading, so that requests which only read go on anonymously, until the next task
    /// begins.
    is_refused: bool,
    /// The source was asked again because of a 403, and gave the same.
    is_confirmed: bool,
}

impl Answered {
    /// Whether a request is anonymous although there is a secret.
    pub(super) fn is_left_out(&self, request: &AuthRequest<'_>) -> bool {
        self.is_refused && request.only_reads()
    }
}

/// What has become of a request whose refusal had the driver asked again.
pub(super) enum Reconsidered {
    /// There is no answer yet.
    Waits,
    /// There is another secret, or the answer is forgotten by now.
    GoesOn,
    /// There is no other secret.
    Refused(Box<Refused>),
}

/// What a request was authorised with.
#[derive(Clone, Debug)]
pub(super) struct Used {
    answer: CredentialAnswer,
    recipient: Origin,
}

/// A refusal, and the credential that was refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) error: AuthError,
    pub(super) credential: CredentialAnswer,
}

impl CredentialAnswer {
    /// Whether it has a secret.
    pub(super) const fn is_secret(&self) -> bool {
        match self {
            Self::Basic { .. } | Self::Bearer(_) | Self::Refresh(_) => true,
            Self::None | Self::Failed(_) => false,
        }
    }
}

impl Broker {
    /// The credential for a request; parks the request until the driver has answered.
    pub(super) fn credential(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        recipient: Origin,
        now: Time,
    ) -> Result<CredentialAnswer, Permit> {
        let key = key(request);
        let known = match self.credentials.get_mut(&key) {
            Some(CredentialState::Asked(parked)) => {
                parked.push(request.id);
                return Err(Permit::Park);
            }
            Some(CredentialState::Answered(known)) if known.until.is_none_or(|it| now < it) => {
                known
            }
            expired => {
                let again = expired.is_some();
                let mut question = question(request, recipient);
                if again {
                    question = question.again();
                }
                self.ask(key, alloc::vec![request.id], question);
                return Err(Permit::Park);
            }
        };
        let answer = known.answer.clone();
        let used = Used {
            answer: answer.clone(),
            recipient,
        };
        let is_anonymous = known.is_left_out(request);
        state.used = Some(used);
        if is_anonymous {
            return Ok(CredentialAnswer::None);
        }
        Ok(answer)
    }

    /// Result for a refused request after the driver was asked again for credentials. `None`: it goes on, with another
    /// secret or anonymously.
    pub(super) fn asked_about(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
    ) -> Option<Permit> {
        match self.reconsider(request, state)? {
            Reconsidered::Waits => Some(Permit::Park),
            Reconsidered::GoesOn => None,
            Reconsidered::Refused(refused) if self.fall_back(request, &refused) => None,
            Reconsidered::Refused(refused) => {
                self.forget_scheme(&request.site.origin);
                let unchanged = "the credentials were asked for again, and there are no others";
                let hint = self.hint(request).or_else(|| Some(unchanged.into()));
                let error = refused.error;
                Some(Permit::Denied(AuthError { hint, ..error }))
            }
        }
    }

    /// What has become of a request whose refusal had the driver asked again, if it had.
    pub(super) fn reconsider(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
    ) -> Option<Reconsidered> {
        let refused = state.asked_about.take()?;
        match self.credentials.get_mut(&key(request)) {
            Some(CredentialState::Asked(parked)) => {
                parked.push(request.id);
                state.asked_about = Some(refused);
                return Some(Reconsidered::Waits);
            }
            Some(CredentialState::Answered(known))
                if known.answer.is_secret() && known.answer != refused.credential =>
            {
                return Some(Reconsidered::GoesOn);
            }
            Some(CredentialState::Answered(_)) => {}
            None => return Some(Reconsidered::GoesOn),
        }
        Some(Reconsidered::Refused(refused))
    }

    /// Remembers that a 403 was not about the credential.
    pub(super) fn confirm(&mut self, request: &AuthRequest<'_>, refused: &Refused) {
        if let Some(CredentialState::Answered(known)) = self.credentials.get_mut(&key(request)) {
            known.is_confirmed = known.answer == refused.credential;
        }
    }

    /// Whether the credential of a request was given again a short while ago, after a 403. Registries
    /// forbid many requests to users who may do others; each would have the source asked.
    pub(super) fn is_confirmed(&self, request: &AuthRequest<'_>, now: Time) -> bool {
        let known = match self.credentials.get(&key(request)) {
            Some(CredentialState::Answered(known)) => known,
            Some(CredentialState::Asked(_)) | None => return false,
        };
        known.is_confirmed && now.since(known.at) < CONFIRMED
    }

    /// Has the driver asked for the credentials of a repository. If many were asked for, those that are
    /// known are forgotten, and asked for again when they are needed.
    pub(super) fn ask(&mut self, key: CredentialKey, parked: Vec<ExchangeId>, question: Question) {
        if self.credentials.len() >= self.credentials_room {
            self.credentials
                .retain(|_, asked| matches!(asked, CredentialState::Asked(_)));
            self.credentials_room = CREDENTIALS.max(self.credentials.len() * 2);
        }
        self.outputs.push_back(AuthOutput::Ask(question.into()));
        self.credentials.insert(key, CredentialState::Asked(parked));
    }

    pub(super) fn answered(&mut self, key: CredentialKey, timed: TimedAnswer, now: Time) {
        let answered = Answered {
            answer: checked(timed.answer),
            at: now,
            until: timed.valid_for.map(|it| now + it.max(FRESH)),
            is_refused: false,
            is_confirmed: false,
        };
        let before = self
            .credentials
            .insert(key, CredentialState::Answered(answered));
        if let Some(CredentialState::Asked(parked)) = before {
            self.resume(parked);
        }
    }

    /// A request is refused for good, unless the driver has another credential by now: whether that is
    /// to be found out, or is the case. Once for each refused request, and not if the answer was just
    /// given.
    pub(super) fn ask_again(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        refused: &Refused,
        now: Time,
    ) -> bool {
        let Some(used) = state.used.clone() else {
            return false;
        };
        // A secret that was withheld was not refused.
        let shown = !used.answer.is_secret() || used.answer == refused.credential;
        if state.asked_again || !shown {
            return false;
        }
        let key = key(request);
        let asks = match self.credentials.get(&key) {
            Some(CredentialState::Answered(known)) if known.answer == used.answer => {
                if now.since(known.at) < FRESH {
                    return false;
                }
                true
            }
            // Another request has asked, or asks.
            Some(CredentialState::Answered(_) | CredentialState::Asked(_)) => false,
            None => true,
        };
        if asks {
            // The request parks when it asks for its next permit.
            self.ask(key, Vec::new(), question(request, used.recipient).again());
        }
        state.asked_again = true;
        let credential = used.answer;
        let error = refused.error.clone();
        state.asked_about = Some(Box::new(Refused { error, credential }));
        true
    }

    /// Whether a request whose credential was refused goes on anonymously: if that is allowed and its task
    /// only reads. All others like it do, then.
    pub(super) fn fall_back(&mut self, request: &AuthRequest<'_>, refused: &Refused) -> bool {
        let shown = refused.credential.is_secret();
        if !(self.anonymous_fallback && shown && request.only_reads()) {
            return false;
        }
        let key = key(request);
        let Some(CredentialState::Answered(known)) = self.credentials.get_mut(&key) else {
            return false;
        };
        if known.answer.is_secret() && known.answer != refused.credential {
            // There are others by now.
            return true;
        }
        if !core::mem::replace(&mut known.is_refused, true) {
            self.refused.push(key);
            let warning = format!(
                "{}; going on anonymously, as is allowed for reading",
                refused.error
            );
            self.outputs
                .push_back(AuthOutput::Warn(request.id, warning));
        }
        true
    }

    /// Requests show refused credentials again: what was refused to one task may be granted to the next.
    pub(super) fn try_refused_credentials(&mut self) {
        for key in core::mem::take(&mut self.refused) {
            if let Some(CredentialState::Answered(known)) = self.credentials.get_mut(&key) {
                known.is_refused = false;
            }
        }
    }

    /// A hint for a refusal: why there are no credentials, if so.
    pub(super) fn hint(&self, request: &AuthRequest<'_>) -> Option<String> {
        let registry = &request.site.registry;
        let Some(CredentialState::Answered(known)) = self.credentials.get(&key(request)) else {
            return None;
        };
        match &known.answer {
            CredentialAnswer::Failed(why) => Some(why.clone()),
            CredentialAnswer::None => Some(format!("there are no credentials for `{registry}`")),
            CredentialAnswer::Basic { .. }
            | CredentialAnswer::Bearer(_)
            | CredentialAnswer::Refresh(_)
                if known.is_left_out(request) =>
            {
                Some(format!(
                    "the credentials for `{registry}` were refused, so that the request was anonymous"
                ))
            }
            CredentialAnswer::Basic { .. }
            | CredentialAnswer::Bearer(_)
            | CredentialAnswer::Refresh(_) => self
                .withheld
                .iter()
                .find(|(name, _)| name == registry)
                .map(|(_, realm)| withheld(registry, realm)),
        }
    }

    /// The exchanges that wait for these credentials.
    pub(crate) fn waiting_for_credentials(&self, key: &CredentialKey) -> &[ExchangeId] {
        match self.credentials.get(key) {
            Some(CredentialState::Asked(parked)) => parked,
            Some(CredentialState::Answered(_)) | None => &[],
        }
    }

    /// Authorises a request without a token service.
    pub(super) fn direct(
        &mut self,
        request: &AuthRequest<'_>,
        credential: CredentialAnswer,
        state: &mut AuthState,
        now: Time,
    ) -> Permit {
        let value = match &credential {
            CredentialAnswer::Basic { username, password } => {
                Some(basic(username, password.expose()))
            }
            CredentialAnswer::Bearer(secret) => Some(bearer(secret)),
            CredentialAnswer::None | CredentialAnswer::Refresh(_) | CredentialAnswer::Failed(_) => {
                // The same request would get the same answer.
                if let Some(refusal) = state.refusal.take() {
                    return self.refused_anonymously(request, state, refusal, now);
                }
                state.sent = Some(Sent::Nothing { is_open: false });
                return Permit::Go(None);
            }
        };
        state.sent = Some(Sent::Direct(credential));
        Permit::Go(value)
    }

    fn refused_anonymously(
        &mut self,
        request: &AuthRequest<'_>,
        state: &mut AuthState,
        refusal: AuthError,
        now: Time,
    ) -> Permit {
        let refused = Refused {
            error: refusal,
            credential: CredentialAnswer::None,
        };
        if self.ask_again(request, state, &refused, now)
            && let Some(CredentialState::Asked(parked)) = self.credentials.get_mut(&key(request))
        {
            parked.push(request.id);
            return Permit::Park;
        }
        let hint = self.hint(request);
        Permit::Denied(AuthError {
            hint,
            ..refused.error
        })
    }
}

impl AuthRequest<'_> {
    /// Whether its task only reads from its registry.
    fn only_reads(&self) -> bool {
        self.task_scopes.only_read() && self.required_scopes.only_read()
    }

    /// What its credential is for. A request that needs no scope reads.
    fn access(&self) -> Access {
        let reads = |scopes: &Scopes| scopes.is_empty() || scopes.only_read();
        if !self.site.separate_writes {
            Access::Any
        } else if reads(self.task_scopes) && reads(&self.required_scopes) {
            Access::Read
        } else {
            Access::Write
        }
    }
}

pub(super) fn key(request: &AuthRequest<'_>) -> CredentialKey {
    CredentialKey {
        registry: request.site.registry.clone(),
        repository: request.site.repository.clone(),
        access: request.access(),
    }
}

/// The question for the credentials of a request.
pub(super) fn question(request: &AuthRequest<'_>, recipient: Origin) -> Question {
    let key = key(request);
    let repository = Some(key.repository).filter(|it| !it.is_none());
    Question::new(key.registry, repository, recipient).for_access(key.access)
}

/// Credentials that cannot be sent count as absent, with a reason (AUTH-73). A helper's message is
/// escaped.
pub(super) fn checked(answer: CredentialAnswer) -> CredentialAnswer {
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
