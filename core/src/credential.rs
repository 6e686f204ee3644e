//! Credentials: asked for by the session, answered by the driver, never printed.

use alloc::string::String;
use core::fmt;

use crate::call::{Done, JobId, Outcome};
use crate::reference::Repository;
use crate::registry::{Origin, Registry};

/// A text that must never be shown: `Debug` and `Display` print `***`.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself. Whoever calls this says why it goes where it goes.
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

/// The question which credential to use. Asked once per registry and repository.
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

    /// The registry, as people name it.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The repository, for stores of credentials that tell them apart.
    pub const fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }

    /// Who will receive it: the registry itself or its token service.
    pub const fn recipient(&self) -> &Origin {
        &self.recipient
    }

    /// Hands the answer back.
    pub fn finish(self, answer: CredentialAnswer) -> Done {
        Done::new(self.id, Outcome::Credentials(answer))
    }
}

/// A credential, or why there is none.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum CredentialAnswer {
    /// Nothing is configured: go on anonymously.
    None,
    /// User name and password.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A ready bearer token for the registry itself (`registrytoken`, AUTH-74).
    Bearer(Secret),
    /// An identity token, to be exchanged at the token service (`identitytoken`, AUTH-33).
    Refresh(Secret),
    /// Something is configured and cannot be had, for instance a helper that cannot be run. Goes on
    /// anonymously; if that is refused, the error says both.
    Failed(String),
}
