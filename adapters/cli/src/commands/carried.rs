//! Reports what was copied with an image, and what was not.

use serde_json::{Value, json};
use windlass_core::{ErrorKind, Report};

use super::unlisted;
use crate::exit::Problem;

/// A line about what was copied with the image, if that was asked for.
pub(super) fn note(report: &Report) -> Option<String> {
    let carried = report.carried.as_ref()?;
    let (copied, present) = (carried.copied, carried.present);
    Some(format!(
        "with it: {copied} artifacts copied, {present} already present"
    ))
}

pub(super) fn json(report: &Report) -> Value {
    let Some(carried) = &report.carried else {
        return Value::Null;
    };
    let not_carried = carried.not_carried.iter().map(|it| {
        json!({
            "subject": it.subject.as_str(),
            "digest": it.digest.as_ref().map(|digest| digest.as_str()),
            "artifactType": it.artifact_type,
            "why": it.why,
        })
    });
    json!({
        "copied": carried.copied,
        "present": carried.present,
        "failed": carried.failed,
        "notCopied": not_carried.collect::<Value>(),
    })
}

/// The end of a command whose image was copied without all that was to be copied with it, or without being listed at
/// what it refers to. The single failures were warned of when they happened.
pub(super) fn problem(report: &Report) -> Option<Problem> {
    let carried = report.carried.as_ref();
    let failed = carried
        .and_then(|it| it.not_carried.first())
        .map(|it| it.kind);
    let first = report.unlisted.first().map(|it| it.kind);
    let kind: ErrorKind = failed.or(first)?;
    let failed = carried.map_or(0, |it| it.failed);
    let missing = report.unlisted.len();
    let mut whats = Vec::new();
    if failed > 0 {
        whats.push(format!(
            "{failed} artifacts or lists of them could not be copied"
        ));
    }
    if missing > 0 {
        whats.push(format!(
            "{missing} manifests could not be listed at what they refer to"
        ));
    }
    let what = format!("the image was copied, but {}", whats.join(", and "));
    let hint = unlisted::hint_of_copy(report);
    Some(Problem::Incomplete { what, kind, hint })
}
