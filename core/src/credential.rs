//! The question for credentials, which the driver answers, and secrets that cannot be printed.
//!
//! Responsible for the vocabulary. Must not know when credentials are asked for (`auth`), nor other kinds of
//! jobs: how an answer becomes the end of one is in `call`.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::ids::JobId;
use crate::reference::{Reference, Repository};
use crate::registry::{Origin, Registry};

/// A text that must not be printed: `Debug` and `Display` show `***`.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself. Say at the call why it may go where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a credential is to be used for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Access {
    /// Everything: one credential is for reading and for writing.
    #[default]
    Any,
    /// Reading.
    Read,
    /// Writing, and what is read by a task that writes.
    Write,
}

/// What is asked for: the credential for a repository of a registry.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Question {
    registry: Registry,
    repository: Option<Repository>,
    recipient: Origin,
    access: Access,
    again: bool,
}

impl Question {
    /// A first question.
    pub const fn new(
        registry: Registry,
        repository: Option<Repository>,
        recipient: Origin,
    ) -> Self {
        Self {
            registry,
            repository,
            recipient,
            access: Access::Any,
            again: false,
        }
    }

    /// The question for the credentials of a reference, which its registry receives.
    pub fn of(reference: &Reference) -> Self {
        let registry = reference.registry();
        let repository = Some(reference.repository().clone());
        Self::new(registry.clone(), repository, registry.origin())
    }

    /// The same question, for credentials that are for this only.
    pub const fn for_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The same question, asked again.
    pub const fn again(mut self) -> Self {
        self.again = true;
        self
    }

    /// The registry, as the reference names it.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The repository, for credential stores that distinguish them.
    pub const fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }

    /// The origin that will receive the credential: the registry or its token service.
    pub const fn recipient(&self) -> &Origin {
        &self.recipient
    }

    /// What the credential is for, where those for reading and writing differ
    /// ([`RegistrySettings::separate_writes`](crate::config::RegistrySettings::separate_writes)).
    pub const fn access(&self) -> Access {
        self.access
    }

    /// Whether the last answer has expired or was refused. A source that remembers answers must not give
    /// a remembered one now.
    pub const fn is_again(&self) -> bool {
        self.again
    }
}

/// A question for credentials. Asked once per registry, repository and [`Access`], and again when the answer has
/// expired ([`TimedAnswer::valid_for`]) or was refused. An answer is used for at least five seconds.
#[derive(Debug)]
#[must_use = "a call that is dropped leaves its task waiting for ever; report it with Done::lost"]
pub struct CredentialCall {
    id: JobId,
    question: Question,
}

impl CredentialCall {
    pub(crate) const fn new(id: JobId, question: Question) -> Self {
        Self { id, question }
    }

    /// The job's id.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// What is asked for.
    pub const fn question(&self) -> &Question {
        &self.question
    }
}

/// An answer, and how long it can be used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TimedAnswer {
    /// The answer.
    pub answer: CredentialAnswer,
    /// How long it can be used from now on; after that it is asked for again. `None`: until it is
    /// refused.
    pub valid_for: Option<Duration>,
}

impl From<CredentialAnswer> for TimedAnswer {
    /// An answer that can be used until it is refused.
    fn from(answer: CredentialAnswer) -> Self {
        Self {
            answer,
            valid_for: None,
        }
    }
}

/// A credential, or why there is none.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum CredentialAnswer {
    /// Nothing is configured: continue anonymously.
    None,
    /// User name and password.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A bearer token for the registry itself (`registrytoken`, AUTH-74).
    Bearer(Secret),
    /// An identity token, to be exchanged at the token service (`identitytoken`, AUTH-33).
    Refresh(Secret),
    /// A credential is configured but unavailable, for instance because a helper cannot be run. The
    /// session continues anonymously; if it is refused, the error says both.
    Failed(String),
}

impl CredentialAnswer {
    /// This answer, to be asked for again after this long.
    ///
    /// ```
    /// use std::time::Duration;
    /// use windlass_core::credential::{CredentialAnswer, Secret};
    ///
    /// let token = CredentialAnswer::Bearer(Secret::new("…")).valid_for(Duration::from_secs(3600));
    /// assert_eq!(token.valid_for, Some(Duration::from_secs(3600)));
    /// ```
    pub const fn valid_for(self, valid_for: Duration) -> TimedAnswer {
        TimedAnswer {
            answer: self,
            valid_for: Some(valid_for),
        }
    }
}
