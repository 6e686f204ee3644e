//! Why tasks failed.

use alloc::vec::Vec;
use core::fmt;

use crate::error::{Error, ErrorKind};

/// Why a task failed: at least one error, the most informative first.
///
/// The text is that of the first error, which says everything; there is no [source](core::error::Error::source) that
/// would say it again. [`first`](Self::first) has what a program can use.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub(crate) errors: Vec<Error>,
}

impl Failure {
    /// A failure with these errors, sorted: content mismatch, authentication, not found, refused,
    /// temporary.
    ///
    /// # Panics
    ///
    /// If `errors` is empty.
    pub fn new(mut errors: Vec<Error>) -> Self {
        assert!(!errors.is_empty(), "a failure has a reason");
        errors.sort_by_key(|error| error.kind().rank());
        Self { errors }
    }

    /// The most informative error.
    pub fn first(&self) -> &Error {
        &self.errors[0]
    }

    /// All errors.
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }

    /// The kind of the most telling error.
    pub fn kind(&self) -> ErrorKind {
        self.first().kind()
    }

    /// What the user can do about it: the hint of the first error that has one.
    pub fn hint(&self) -> Option<&str> {
        self.errors.iter().find_map(Error::hint)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().fmt(f)
    }
}

impl core::error::Error for Failure {}
