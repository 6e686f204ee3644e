//! `windlass gc`: removes unreferenced content from a layout.

use serde_json::json;

use super::{Context, store_failed};
use crate::args::Gc;
use crate::client;
use crate::exit::Problem;
use crate::progress::Size;

pub(super) fn run(context: &Context, gc: &Gc) -> Result<(), Problem> {
    let layout = client::layout(&gc.layout.path).map_err(store_failed)?;
    let collected = layout.gc().map_err(store_failed)?;
    let printer = &context.printer;
    printer.note(&format!(
        "removed {} blobs ({}) and {} partials ({}); kept {} blobs for running transfers",
        collected.blobs,
        Size(collected.blob_bytes),
        collected.partials,
        Size(collected.partial_bytes),
        collected.in_use
    ));
    if !printer.is_json() {
        return Ok(());
    }
    let line = json!({
        "blobs": collected.blobs,
        "blobBytes": collected.blob_bytes,
        "partials": collected.partials,
        "partialBytes": collected.partial_bytes,
        "inUse": collected.in_use,
    });
    printer.result(&line.to_string()).map_err(Problem::Output)
}
