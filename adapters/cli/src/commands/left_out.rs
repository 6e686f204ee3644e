//! Reports foreign layers that were left out, manifests that are not in their subject's referrers
//! list, and which endpoints have served the rest.

use serde_json::{Value, json};
use windlass_core::Report;

use super::unlisted;
use crate::progress::Size;

/// The warning about foreign layers, if any were left out.
pub(super) fn warning(report: &Report) -> Option<String> {
    /// More would fill the screen; `--json` lists more.
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
        "{what} left out: {}; --include-nondistributable includes {them}",
        layers.join(", ")
    ))
}

/// The note about entries of the index that were not wanted, if there are any.
pub(super) fn sparse(report: &Report) -> Option<String> {
    let Report { absent, .. } = report;
    (*absent > 0).then(|| {
        format!(
            "the index is sparse: {absent} of its entries were not copied; `windlass index filter` makes \
             an index without them"
        )
    })
}

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

pub(super) fn unlisted(report: &Report) -> Value {
    report.unlisted.iter().map(unlisted::described).collect()
}

/// Which endpoints have served manifests and blobs, if there were several to choose from.
pub(super) fn served(report: &Report) -> Option<String> {
    let served = report.served.iter();
    let served: Vec<String> = served
        .map(|(origin, count)| format!("{count} from {origin}"))
        .collect();
    let is_any = !served.is_empty();
    is_any.then(|| format!("manifests and blobs: {}", served.join(", ")))
}

pub(super) fn served_json(report: &Report) -> Value {
    let served = report.served.iter();
    served
        .map(|(origin, count)| (origin.to_string(), json!(count)))
        .collect()
}
