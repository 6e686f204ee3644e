//! Credentials given by the user.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use windlass_core::Registry;
use windlass_core::credential::{Secret, TimedAnswer};
use windlass_core::reference::Repository;

use super::entry::{basic, bearer};
use super::token_file::TokenFile;

/// A credential for one registry, or for one repository of it. Others never get it.
#[derive(Clone, Debug)]
pub struct Explicit {
    registry: Registry,
    repository: Option<Repository>,
    secret: GivenSecret,
    origin: String,
}

#[derive(Clone, Debug)]
enum GivenSecret {
    Password {
        username: String,
        password: Secret,
    },
    Token(Secret),
    /// With a user name, its content is a password.
    File {
        username: Option<String>,
        file: Arc<TokenFile>,
    },
}

impl Explicit {
    /// A user name and password.
    pub fn password(registry: Registry, username: impl Into<String>, password: Secret) -> Self {
        let username = username.into();
        Self::new(registry, GivenSecret::Password { username, password })
    }

    /// A token that is sent to the registry as it is, like the `registrytoken` of docker's
    /// configuration.
    pub fn token(registry: Registry, token: Secret) -> Self {
        Self::new(registry, GivenSecret::Token(token))
    }

    /// A file with a token, or with the password of a user. It may change: it is read again after a minute, and
    /// when its content was refused. White space around the content is ignored. A pipe is read once.
    pub fn file(registry: Registry, username: Option<String>, path: impl Into<PathBuf>) -> Self {
        let file = Arc::new(TokenFile::new(path.into()));
        Self::new(registry, GivenSecret::File { username, file })
    }

    /// For one repository only, where the registry's others need another identity.
    #[must_use]
    pub fn repository(mut self, repository: Repository) -> Self {
        self.repository = Some(repository);
        self
    }

    /// Where it is from, for messages: an option, for instance.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = origin.into();
        self
    }

    fn new(registry: Registry, secret: GivenSecret) -> Self {
        Self {
            registry,
            repository: None,
            secret,
            origin: "the command line".to_owned(),
        }
    }

    pub(super) fn is_for(&self, registry: &Registry, repository: Option<&Repository>) -> bool {
        self.registry.credential_key() == registry.credential_key()
            && (self.repository.is_none() || self.repository.as_ref() == repository)
    }

    pub(super) const fn is_for_repository(&self) -> bool {
        self.repository.is_some()
    }

    pub(super) fn answer(&self) -> TimedAnswer {
        match &self.secret {
            // To the broker, which sends them to this registry or its token service only.
            GivenSecret::Password { username, password } => {
                basic(username, password.expose()).into()
            }
            GivenSecret::Token(token) => bearer(token.expose()).into(),
            GivenSecret::File { username, file } => file.answer(username.as_deref()),
        }
    }
}

/// Where it is from.
impl fmt::Display for Explicit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}
