//! The question for credentials, which the driver answers, and secrets that cannot be printed.

use alloc::string::String;
use core::fmt;

use crate::call::{Done, JobId, JobResult};
use crate::reference::Repository;
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

/// A question for credentials. Asked once per registry and repository.
#[derive(Debug)]
#[must_use = "a call that is dropped leaves its task waiting for ever; report it with Done::lost"]
pub struct CredentialCall {
    id: JobId,
    registry: Registry,
    repository: Option<Repository>,
    recipient: Origin,
}

impl CredentialCall {
    pub(crate) const fn new(
        id: JobId,
        registry: Registry,
        repository: Option<Repository>,
        recipient: Origin,
    ) -> Self {
        Self {
            id,
            registry,
            repository,
            recipient,
        }
    }

    /// The job's id.
    pub const fn id(&self) -> JobId {
        self.id
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

    /// Answers the question.
    pub fn finish(self, answer: CredentialAnswer) -> Done {
        Done::new(self.id, JobResult::Credentials(answer))
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
