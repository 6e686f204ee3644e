//! Where credentials come from.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use windlass_core::credential::{CredentialAnswer, CredentialCall, Question, TimedAnswer};
use windlass_core::reference::Repository;
use windlass_core::{Done, Registry};

/// Finds credentials. Asked once per registry and repository, and again when the answer has expired or
/// was refused ([`Question::is_again`]).
///
/// It may block. The blocking client asks on a thread of its own, the async one on the blocking threads of the
/// call's runtime, where a source can also wait for a future, with `tokio::runtime::Handle::current().block_on`.
/// What waits for the answer is held up, and nothing else.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credential that the question is for, and how long it can be used if that is known.
    fn find(&self, question: &Question) -> TimedAnswer;

    /// Where the credentials for a registry are from, for people: a file, an option.
    fn source(&self, _registry: &Registry, _repository: Option<&Repository>) -> Option<String> {
        None
    }
}

/// For drivers: asks, and reports a panic as a source that failed. A question that is lost would be asked
/// again and again.
pub fn find_credentials(credentials: &dyn Credentials, call: CredentialCall) -> Done {
    let find = || credentials.find(call.question());
    let found = catch_unwind(AssertUnwindSafe(find));
    let failed = |_| CredentialAnswer::Failed("the source of credentials panicked".into()).into();
    let answer = found.unwrap_or_else(failed);
    call.finish(answer)
}

/// No credentials at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn find(&self, _: &Question) -> TimedAnswer {
        CredentialAnswer::None.into()
    }
}
