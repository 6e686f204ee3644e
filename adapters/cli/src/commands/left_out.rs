//! What is told about the parts of an image that are not as they might be: foreign layers that were not
//! moved, manifests that are not listed at their subjects.

use serde_json::{Value, json};
use windlass_core::Report;

use crate::progress::Size;

/// A warning, if there are any.
pub(super) fn warning(report: &Report) -> Option<String> {
    /// More than this would fill the screen; `--json` lists more.
    const SHOWN: usize = 5;
    let (what, them) = match report.left_out {
        0 => return None,
        1 => ("1 foreign layer was".to_owned(), "it"),
        many => (format!("{many} foreign layers were"), "them"),
    };
    let layers = report.left_out_layers.iter().take(SHOWN);
    let mut layers: Vec<String> = layers
        .map(|layer| format!("{} ({})", layer.digest, Size(layer.size)))
        .collect();
    if report.left_out > layers.len() as u64 {
        layers.push("…".to_owned());
    }
    Some(format!(
        "{what} left out: {}; --include-nondistributable moves {them}, too",
        layers.join(", ")
    ))
}

/// The layers for JSON.
pub(super) fn listed(report: &Report) -> Value {
    let described = report.left_out_layers.iter().map(|layer| {
        json!({
            "mediaType": layer.media_type,
            "digest": layer.digest.as_str(),
            "size": layer.size,
        })
    });
    described.collect()
}

/// The manifests that are not listed, for JSON.
pub(super) fn unlisted(report: &Report) -> Value {
    let described = report.unlisted.iter().map(|unlisted| {
        json!({
            "digest": unlisted.digest.as_str(),
            "subject": unlisted.subject.as_str(),
            "why": unlisted.why,
        })
    });
    described.collect()
}
