//! `windlass config`: the configuration of an image, byte for byte.

use serde_json::{Value, json};
use windlass_core::{OpenedImage, Platforms};
use windlass_driver::RequestSpec;

use super::Context;
use crate::args;
use crate::exit::Problem;

pub(super) fn run(context: &Context, words: &args::ShowConfig) -> Result<(), Problem> {
    let mut spec = RequestSpec::open(&words.reference);
    if let Some(platform) = &words.platform {
        spec.platforms(Platforms::One(platform.clone()));
    }
    let image: OpenedImage = context.ask(&words.reference, spec)?;
    let (printer, bytes) = (&context.printer, image.config_bytes());
    if !printer.is_json() {
        return printer.bytes(bytes).map_err(Problem::Output);
    }
    let descriptor = image.config_descriptor();
    // An artifact may have one that is no JSON.
    let config: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let line = json!({
        "reference": words.reference.to_string(),
        "manifest": image.digest().as_str(),
        "digest": descriptor.digest.as_str(),
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        "config": config,
    });
    printer.result(&line.to_string()).map_err(Problem::Output)
}
