//! The ends of jobs, of every kind.
//!
//! Responsible for what a driver hands back. Questions and store operations end here, and not where they are
//! defined, because they know nothing of jobs of other kinds. Must not know what follows from a result.

use alloc::boxed::Box;
use alloc::format;

use serde::{Deserialize, Serialize};

use super::exchanged::Exchanged;
use super::relay::Relayed;
use super::transport::Interrupted;
use crate::credential::{CredentialCall, TimedAnswer};
use crate::ids::JobId;
use crate::store::{StoreAnswer, StoreCall, StoreError, StoreErrorKind};
use crate::written;

/// The end of a job, to be passed to [`Session::handle`](crate::Session::handle).
#[derive(Debug)]
#[must_use = "the session waits for it"]
pub struct Done {
    id: JobId,
    outcome: JobResult,
}

impl Done {
    pub(crate) const fn new(id: JobId, outcome: JobResult) -> Self {
        Self { id, outcome }
    }

    /// Whether a body could not be read or written because no file descriptor was left for it. A driver may close
    /// idle connections then, which perhaps have all of them; the session tries again. A connection that found none
    /// left is another matter: there is no idle one to its host.
    pub fn lacks_descriptor_for_body(&self) -> bool {
        let lacks = |it: &Exchanged| match &it.interrupted {
            Some(Interrupted::Store(error)) => error.kind() == StoreErrorKind::Descriptors,
            Some(_) | None => false,
        };
        match &self.outcome {
            JobResult::Http(exchanged) => lacks(exchanged),
            JobResult::Relay(relayed) => lacks(&relayed.source) || lacks(&relayed.sink),
            JobResult::Store(_) | JobResult::Credentials(_) | JobResult::Lost => false,
        }
    }

    /// The end of a job whose worker died. Its open body or hash is lost. The session retries an
    /// exchange; a lost store operation fails its task.
    pub const fn lost(id: JobId) -> Self {
        Self {
            id,
            outcome: JobResult::Lost,
        }
    }

    /// The job's id.
    pub const fn id(&self) -> JobId {
        self.id
    }

    pub(crate) const fn outcome(&self) -> &JobResult {
        &self.outcome
    }

    pub(crate) fn into_outcome(self) -> JobResult {
        self.outcome
    }
}

/// The result of a job. Its form on a tape has no secrets: `tape::allow` puts placeholders first.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobResult {
    Http(Box<Exchanged>),
    Relay(Box<Relayed>),
    Store(Result<StoreAnswer, StoreError>),
    Credentials(#[serde(with = "written::credential")] TimedAnswer),
    Lost,
}

impl StoreCall {
    /// Ends the call. The answer must fit the operation (see [`StoreOp`](crate::StoreOp)); any other counts as a
    /// failure of the store.
    #[must_use = "the session waits for it"]
    pub fn finish(self, answer: Result<StoreAnswer, StoreError>) -> Done {
        let answer = answer.and_then(|answer| {
            if self.op().takes(&answer) {
                return Ok(answer);
            }
            let what = format!(
                "the store answered `{}` with `{}`",
                self.op().name(),
                answer.name()
            );
            Err(StoreError::new(StoreErrorKind::Io, what))
        });
        Done::new(self.id(), JobResult::Store(answer))
    }
}

impl CredentialCall {
    /// Answers the question.
    pub fn finish(self, answer: impl Into<TimedAnswer>) -> Done {
        Done::new(self.id(), JobResult::Credentials(answer.into()))
    }
}
