//! Ends of commands whose manifest was put or deleted, but not in the list of what refers to its subject.
//!
//! Responsible for what to do about it. Must not know why a list could not be changed: an observer was told.

use serde_json::{Value, json};
use windlass_core::referrers;
use windlass_core::{Deleted, Put, Reference, Report, Unlisted};

use crate::exit::Problem;

/// The end of a command that put a manifest.
pub(super) fn of_put(put: &Put) -> Result<(), Problem> {
    let Some(unlisted) = &put.unlisted else {
        return Ok(());
    };
    let what = format!(
        "{} was put, but is missing in the list of what refers to {}",
        unlisted.digest, unlisted.subject
    );
    let hint = "run the command again: the list is then changed again";
    Err(Problem::Incomplete {
        what,
        kind: unlisted.kind,
        hint: Some(hint.to_owned()),
    })
}

/// The end of a command that deleted a manifest.
pub(super) fn of_deleted(reference: &Reference, deleted: Option<&Deleted>) -> Result<(), Problem> {
    let Some(unlisted) = deleted.and_then(|deleted| deleted.unlisted.as_ref()) else {
        return Ok(());
    };
    let Unlisted {
        digest, subject, ..
    } = unlisted;
    let what =
        format!("{digest} was deleted, but is still in the list of what refers to {subject}");
    let (registry, repository) = (reference.registry(), reference.repository());
    let tag = referrers::tag(subject);
    Err(Problem::Incomplete {
        what,
        kind: unlisted.kind,
        hint: Some(format!(
            "remove it from the list: windlass index remove {registry}/{repository}:{tag} {digest}"
        )),
    })
}

/// What to do about artifacts that were copied and not listed.
pub(super) fn hint_of_copy(report: &Report) -> Option<String> {
    let hint = match &report.carried {
        _ if report.unlisted.is_empty() => return None,
        Some(_) => "run the command again: what is not listed is then put again",
        None => "copy what they refer to with --referrers: what is not listed is then put again",
    };
    Some(hint.to_owned())
}

/// It, for `--json`.
pub(super) fn described(unlisted: &Unlisted) -> Value {
    json!({
        "digest": unlisted.digest.as_str(),
        "subject": unlisted.subject.as_str(),
        "why": unlisted.why,
    })
}
