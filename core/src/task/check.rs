//! Checks: whether a registry accepts the credentials for it.

use core::fmt;

use super::{Task, TaskKind, TaskReport};
#[cfg(doc)]
use crate::error::Error;
use crate::registry::Registry;

impl Task {
    /// Check whether a registry accepts the credentials for it, with `GET /v2/`.
    ///
    /// The driver is asked for credentials only if the registry wants some, and for the whole registry: without
    /// a repository. It fails with [`Error::Auth`] if they are refused.
    pub const fn check(registry: Registry) -> Self {
        Self::new(TaskKind::Check(registry))
    }
}

impl TaskReport {
    /// What a check found out, if the task was one.
    pub fn checked(self) -> Option<Checked> {
        if let Self::Checked(checked) = self {
            return Some(checked);
        }
        None
    }
}

/// What a check of a registry found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// Whether the registry accepted a request without credentials, so that none were used.
    pub anonymous: bool,
    /// Whether the registry asked for credentials. If it did and [`anonymous`](Self::anonymous) is set, its
    /// token service gave an anonymous token: there were no credentials, or they could not be sent to it, and
    /// nothing is known about them.
    pub asked: bool,
}

/// One line, as in transcripts.
impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.anonymous {
            "accepted without credentials"
        } else {
            "accepted"
        })
    }
}
