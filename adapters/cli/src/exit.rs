//! How the command ends: what is said about a failure, and the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::ContextValue;
use windlass_core::tape::ReplayError;
use windlass_core::{Error, ErrorKind, Failure};

use crate::hint;
use crate::login;
use crate::printer::{Chatter, Form, Printer};

/// The exit codes, as `--help` documents them.
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
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Auth => 4,
            Self::Temporary => 5,
            Self::Mismatch => 6,
            // 128 and the signal's number, as shells report it.
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The exit for a sort of error.
    pub(crate) const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Mismatch => Self::Mismatch,
            ErrorKind::Auth => Self::Auth,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Temporary => Self::Temporary,
            ErrorKind::Cancelled => Self::Interrupted,
            ErrorKind::Internal => Self::Refused,
            // A sort of error that this version does not know is no reason to try again.
            _ => Self::Refused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// What was typed, or is configured, makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It was tried and failed.
    #[error("{failure}")]
    Failed {
        /// How.
        failure: Failure,
        /// What can be done about it, in the light of what was asked for.
        hint: Option<String>,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// A tape tells another story now, or ends before its session did.
    #[error("{error}")]
    Tape {
        error: ReplayError,
        hint: Option<String>,
    },
    /// The demo could not be set up, or found something wrong.
    #[error("{0}")]
    Demo(String),
}

impl Problem {
    /// It failed for one reason.
    pub(crate) fn failed(error: Error) -> Self {
        Self::from(Failure::new(vec![error]))
    }

    /// How to exit for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Failed { failure, .. } => Exit::of(failure.first().kind()),
            Self::Output(_) | Self::Tape { .. } | Self::Demo(_) => Exit::Refused,
        }
    }

    /// Says what happened, and what can be done about it.
    pub(crate) fn tell(&self, printer: &Printer) {
        match self {
            Self::Tape { error, hint } => {
                printer.error(&error.to_string());
                if let Some(hint) = hint {
                    printer.hint(hint);
                }
            }
            Self::Failed { failure, hint } => {
                tell_failure(failure, printer);
                let errors = failure.errors();
                let core = errors.iter().find_map(Error::hint);
                let options = errors.iter().find_map(hint::of);
                for hint in [hint.as_deref(), core, options.as_deref()]
                    .into_iter()
                    .flatten()
                {
                    printer.hint(hint);
                }
            }
            Self::Usage(_) | Self::Output(_) | Self::Demo(_) => printer.error(&self.to_string()),
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

/// The most errors that are listed: the first tell the story, the rest repeat it.
const LISTED: usize = 5;

fn tell_failure(failure: &Failure, printer: &Printer) {
    let mut lines: Vec<String> = Vec::new();
    // Whoever pressed Ctrl-C knows that it was cancelled.
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

/// Prints what clap has to say: help and version to standard output, complaints to standard error.
pub(crate) fn usage(error: clap::Error) -> Exit {
    let error = without_logins(error);
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed {
        // There is nobody to tell that standard error cannot be written.
        _ if error.use_stderr() => Exit::Usage,
        Ok(()) => Exit::Done,
        // A reader that went away has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            let problem = Problem::Output(error);
            problem.tell(&Printer::new(Chatter::Lines, Form::Text));
            problem.exit()
        }
    }
}

/// The error without the user names and passwords in what it repeats of the command line.
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
            // Tips that quote what was typed.
            ContextValue::StyledStr(tip) if login::is_in(&tip.to_string()) => ContextValue::None,
            ContextValue::StyledStrs(tips) => {
                let tips = tips.into_iter();
                let tips = tips.filter(|tip| !login::is_in(&tip.to_string()));
                ContextValue::StyledStrs(tips.collect())
            }
            // Numbers, and what later versions of clap add.
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
        let mismatch = || Error::Mismatch {
            what: "blob".to_owned(),
            expected: "a".to_owned(),
            found: "b".to_owned(),
        };
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
