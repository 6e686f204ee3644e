//! Credentials given by the user.

use std::sync::Arc;

use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::reference::Repository;
use windlass_core::{Origin, Registry};
use windlass_driver::Credentials;

/// A user name and password for named registries. Other registries use `others`: a password for one
/// registry must not reach another.
#[derive(Clone, Debug)]
pub struct Explicit {
    username: String,
    password: Secret,
    registries: Vec<Registry>,
    others: Arc<dyn Credentials>,
}

impl Explicit {
    /// This user name and password for `registries`; `others` for all others.
    pub fn new(
        username: impl Into<String>,
        password: Secret,
        registries: impl IntoIterator<Item = Registry>,
        others: Arc<dyn Credentials>,
    ) -> Self {
        Self {
            username: username.into(),
            password,
            registries: registries.into_iter().collect(),
            others,
        }
    }

    fn is_for(&self, registry: &Registry) -> bool {
        let key = registry.credential_key();
        self.registries.iter().any(|it| it.credential_key() == key)
    }
}

impl Credentials for Explicit {
    fn find(
        &self,
        registry: &Registry,
        repository: Option<&Repository>,
        recipient: &Origin,
    ) -> CredentialAnswer {
        if !self.is_for(registry) {
            return self.others.find(registry, repository, recipient);
        }
        CredentialAnswer::Basic {
            username: self.username.clone(),
            password: self.password.clone(),
        }
    }

    fn source(&self, registry: &Registry, repository: Option<&Repository>) -> Option<String> {
        if self.is_for(registry) {
            return Some("the command line".to_owned());
        }
        self.others.source(registry, repository)
    }
}
