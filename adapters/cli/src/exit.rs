//! How the command ends: errors, hints and the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::ContextValue;
use windlass_config::credentials::LoginError;
use windlass_core::tape::ReplayError;
use windlass_core::{Error, ErrorKind, Failure};

use crate::failure;
use crate::hint;
use crate::login;
use crate::printer::{Chatter, OutputFormat, Printer};

/// The exit codes that `--help` documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    Done,
    Refused,
    Usage,
    NotFound,
    Auth,
    Temporary,
    Mismatch,
    HungUp,
    Interrupted,
    Terminated,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Auth => 4,
            Self::Temporary => 5,
            Self::Mismatch => 6,
            // 128 plus the signal's number, as shells report it.
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The exit code for a kind of error.
    pub(crate) const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Mismatch => Self::Mismatch,
            ErrorKind::Auth => Self::Auth,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Temporary => Self::Temporary,
            ErrorKind::Cancelled => Self::Interrupted,
            ErrorKind::Internal => Self::Refused,
            // A kind that this version does not know is not retried.
            _ => Self::Refused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// The command line or the configuration is invalid.
    #[error("{0}")]
    Usage(String),
    /// The task failed.
    #[error("{failure}")]
    Failed {
        failure: Failure,
        /// What to do about it, given the command line.
        hint: Option<String>,
    },
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The tape diverges, or ends before its session.
    #[error("{error}")]
    Tape {
        error: ReplayError,
        hint: Option<String>,
    },
    /// A login could not be kept or erased.
    #[error("{0}")]
    Login(LoginError),
    /// Credentials that were to be checked were not used.
    #[error("{0}")]
    NotChecked(String),
    /// A part of what was asked for is done.
    #[error("{what}")]
    Incomplete {
        what: String,
        /// The kind of the first failure.
        kind: ErrorKind,
        /// What to do about the rest.
        hint: Option<String>,
    },
    /// The demo could not be set up, or found a difference.
    #[error("{0}")]
    Demo(String),
}

impl Problem {
    /// Whether the registry refused with this status.
    pub(crate) fn is_status(&self, status: u16) -> bool {
        let Self::Failed { failure, .. } = self else {
            return false;
        };
        matches!(failure.first(), Error::Registry(refusal) if refusal.status == status)
    }

    /// The kind of the failure.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { failure, .. } => failure.kind(),
            Self::Incomplete { kind, .. } => *kind,
            Self::NotChecked(_) => ErrorKind::Auth,
            Self::Usage(_)
            | Self::Output(_)
            | Self::Tape { .. }
            | Self::Login(_)
            | Self::Demo(_) => ErrorKind::Refused,
        }
    }

    /// What it is about, on one line.
    pub(crate) fn in_words(&self) -> String {
        if let Self::Failed { failure, .. } = self {
            return hint::in_words(failure.first());
        }
        self.to_string()
    }

    pub(crate) fn failed(error: Error) -> Self {
        Self::from(Failure::new(vec![error]))
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Failed { failure, .. } => Exit::of(failure.kind()),
            Self::Login(LoginError::File(_)) => Exit::Usage,
            Self::NotChecked(_) => Exit::Auth,
            Self::Incomplete { kind, .. } => Exit::of(*kind),
            Self::Login(_) | Self::Output(_) | Self::Tape { .. } | Self::Demo(_) => Exit::Refused,
        }
    }

    /// Prints the errors, then the hints; for programs all of it once more.
    pub(crate) fn tell(&self, printer: &Printer) {
        self.tell_people(printer);
        if printer.is_json() {
            printer.last(&failure::last_line(self).to_string());
        }
    }

    fn tell_people(&self, printer: &Printer) {
        match self {
            Self::Tape { error, hint } => {
                printer.error(&error.to_string());
                if let Some(hint) = hint {
                    printer.hint(hint);
                }
            }
            Self::Incomplete { what, hint, .. } => {
                printer.error(what);
                if let Some(hint) = hint {
                    printer.hint(hint);
                }
            }
            Self::Failed { failure, hint } => {
                tell_failure(failure, printer);
                let options = failure.errors().iter().find_map(hint::of);
                for hint in [hint.as_deref(), failure.hint(), options.as_deref()]
                    .into_iter()
                    .flatten()
                {
                    printer.hint(hint);
                }
            }
            Self::Usage(_)
            | Self::Login(_)
            | Self::NotChecked(_)
            | Self::Output(_)
            | Self::Demo(_) => printer.error(&self.to_string()),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Failed {
            failure,
            hint: None,
        }
    }
}

/// At most this many errors are printed; the rest are usually repetitions.
const LISTED: usize = 5;

fn tell_failure(failure: &Failure, printer: &Printer) {
    let mut lines: Vec<String> = Vec::new();
    // After Ctrl-C it needs no telling that the task was cancelled.
    let errors = failure.errors().iter();
    for error in errors.filter(|error| error.kind() != ErrorKind::Cancelled) {
        let line = hint::in_words(error);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for line in lines.iter().take(LISTED) {
        printer.error(line);
    }
    if lines.len() > LISTED {
        printer.error(&format!("and {} more", lines.len() - LISTED));
    }
}

/// Prints clap's output: help and version to standard output, errors to standard error.
pub(crate) fn usage(error: clap::Error) -> Exit {
    let error = without_logins(error);
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed {
        // A failure to write to standard error cannot be reported.
        _ if error.use_stderr() => Exit::Usage,
        Ok(()) => Exit::Done,
        // The reader closed the pipe because it needs no more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            let problem = Problem::Output(error);
            problem.tell(&Printer::new(Chatter::Lines, OutputFormat::Text));
            problem.exit()
        }
    }
}

/// Hides user names and passwords in the parts of the command line that clap repeats.
fn without_logins(error: clap::Error) -> clap::Error {
    let mut error = error;
    let said: Vec<_> = error
        .context()
        .map(|(kind, value)| (kind, value.clone()))
        .collect();
    for (kind, value) in said {
        let hidden = match value {
            ContextValue::String(text) => ContextValue::String(login::hidden(&text).into_owned()),
            ContextValue::Strings(texts) => {
                let texts = texts.iter().map(|text| login::hidden(text).into_owned());
                ContextValue::Strings(texts.collect())
            }
            // Drop tips that repeat an argument.
            ContextValue::StyledStr(tip) if login::is_in(&tip.to_string()) => ContextValue::None,
            ContextValue::StyledStrs(tips) => {
                let tips = tips.into_iter();
                let tips = tips.filter(|tip| !login::is_in(&tip.to_string()));
                ContextValue::StyledStrs(tips.collect())
            }
            // Numbers, and variants that later versions of clap add.
            ContextValue::StyledStr(_)
            | ContextValue::None
            | ContextValue::Bool(_)
            | ContextValue::Number(_)
            | _ => continue,
        };
        error.insert(kind, hidden);
    }
    error
}

#[cfg(test)]
mod tests {
    use windlass_core::error::Measure;
    use windlass_core::{StoreError, StoreErrorKind};

    use super::*;

    #[test]
    fn every_kind_has_its_code() {
        let table = [
            (ErrorKind::Refused, 1),
            (ErrorKind::NotFound, 3),
            (ErrorKind::Auth, 4),
            (ErrorKind::Temporary, 5),
            (ErrorKind::Mismatch, 6),
            (ErrorKind::Cancelled, 130),
            (ErrorKind::Internal, 1),
        ];
        for (kind, code) in table {
            assert_eq!(Exit::of(kind).code(), code, "{kind:?}");
        }
        assert_eq!(Exit::Done.code(), 0);
        assert_eq!(Exit::Usage.code(), 2);
        assert_eq!(Exit::HungUp.code(), 129);
        assert_eq!(Exit::Terminated.code(), 143);
    }

    #[test]
    fn problems() {
        let io = || io::Error::other("full");
        assert_eq!(Problem::Usage(String::new()).exit(), Exit::Usage);
        assert_eq!(Problem::Output(io()).exit(), Exit::Refused);
        assert_eq!(Problem::Demo(String::new()).exit(), Exit::Refused);
        let tape = Problem::Tape {
            error: ReplayError::Broken {
                line: 1,
                why: String::new(),
            },
            hint: None,
        };
        assert_eq!(tape.exit(), Exit::Refused);
    }

    #[test]
    fn the_most_telling_of_several_decides() {
        // 6, 4, 3, 1, 5.
        let mismatch = || Error::mismatch("blob", Measure::of_size(1), Measure::of_size(2));
        let store = |kind| Error::Store(StoreError::new(kind, "x"));
        let refused = || store(StoreErrorKind::Full);
        let missing = || store(StoreErrorKind::NoSuchName);
        let temporary = || Error::Deadline;
        let table = [
            (vec![temporary(), refused(), mismatch()], 6),
            (vec![temporary(), refused(), missing()], 3),
            (vec![temporary(), refused()], 1),
            (vec![Error::Cancelled, temporary()], 5),
            (vec![Error::Cancelled], 130),
        ];
        for (errors, code) in table {
            let problem = Problem::from(Failure::new(errors));
            assert_eq!(problem.exit().code(), code, "{problem:?}");
        }
    }
}
