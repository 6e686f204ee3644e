//! Where credentials come from.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use windlass_core::credential::{CredentialAnswer, CredentialCall};
use windlass_core::reference::Repository;
use windlass_core::{Done, Origin, Registry};

/// Finds credentials. Asked once per registry and repository; may block.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credential for `repository` of `registry`; `recipient` is who will get to see it.
    fn find(
        &self,
        registry: &Registry,
        repository: Option<&Repository>,
        recipient: &Origin,
    ) -> CredentialAnswer;

    /// Where the credentials for a registry are from, for people: a file, an option.
    fn source(&self, _registry: &Registry, _repository: Option<&Repository>) -> Option<String> {
        None
    }
}

/// For drivers: asks, and reports a panic as a source that failed. A question that is lost would be asked
/// again and again.
pub fn find_credentials(credentials: &dyn Credentials, call: CredentialCall) -> Done {
    let find = || credentials.find(call.registry(), call.repository(), call.recipient());
    let found = catch_unwind(AssertUnwindSafe(find));
    let failed = |_| CredentialAnswer::Failed("the source of credentials panicked".into());
    let answer = found.unwrap_or_else(failed);
    call.finish(answer)
}

/// No credentials at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn find(&self, _: &Registry, _: Option<&Repository>, _: &Origin) -> CredentialAnswer {
        CredentialAnswer::None
    }
}
