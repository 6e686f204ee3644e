//! What `--json` says of a failure.
//!
//! Responsible for the members that programs read in place of the messages. Must not know where they are printed.

use serde_json::{Value, json};
use windlass_core::Error;
use windlass_core::error::Measure;

use crate::exit::{Exit, Problem};

/// The last line of standard error.
pub(crate) fn last_line(problem: &Problem) -> Value {
    json!({ "error": problem.in_words(), "failure": described(problem) })
}

/// What is known of `problem` beside its text.
pub(crate) fn described(problem: &Problem) -> Value {
    let error = match problem {
        Problem::Failed { failure, .. } => Some(failure.first()),
        Problem::Usage(_)
        | Problem::Output(_)
        | Problem::Tape { .. }
        | Problem::Login(_)
        | Problem::NotChecked(_)
        | Problem::Incomplete { .. }
        | Problem::Demo(_) => None,
    };
    let request = error.and_then(Error::request);
    let errors = error.and_then(Error::registry_errors);
    let codes = errors.into_iter().flat_map(|errors| &errors.entries);
    let codes = codes.map(|entry| entry.code.as_str());
    let codes: Vec<&str> = codes.filter(|code| !code.is_empty()).collect();
    let mismatch = error.and_then(Error::as_mismatch);
    json!({
        "kind": kind(problem.exit()),
        "registry": request.map(|request| request.registry().as_str()),
        "server": request.map(|request| request.origin().to_string()),
        "method": request.map(|request| request.method()),
        "path": request.map(|request| request.path()),
        "status": error.and_then(Error::status),
        "codes": codes,
        "requestId": errors.and_then(|errors| errors.request_id.as_deref()),
        "expected": mismatch.map(|mismatch| measured(&mismatch.expected)),
        "found": mismatch.map(|mismatch| measured(&mismatch.found)),
        "attempts": error.and_then(Error::attempts),
    })
}

fn measured(content: &Measure) -> Value {
    let digest = content.digest().map(|digest| digest.as_str());
    json!({ "digest": digest, "size": content.size() })
}

/// A word for each exit code.
const fn kind(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "none",
        Exit::Refused => "refused",
        Exit::Usage => "usage",
        Exit::NotFound => "notFound",
        Exit::Auth => "auth",
        Exit::Temporary => "temporary",
        Exit::Mismatch => "mismatch",
        Exit::HungUp | Exit::Interrupted | Exit::Terminated => "cancelled",
    }
}
