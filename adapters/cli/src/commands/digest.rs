//! `windlass digest`: resolves a reference to a digest.

use serde_json::json;
use windlass_core::Reference;

use super::Context;
use crate::exit::Problem;
use crate::location::Location;

pub(super) fn print(context: &Context, reference: &Reference) -> Result<(), Problem> {
    let registry = reference.registry();
    let given = context.common.authentication.owned_by(Some(registry))?;
    let client = context.client(&[reference], &given)?;
    let root = context.resolve(&client, &Location::Registry(reference.clone()))?;
    let line = if context.printer.is_json() {
        json!({
            "reference": reference.to_string(),
            "digest": root.digest.as_str(),
            "mediaType": root.media_type,
            "size": root.size,
        })
        .to_string()
    } else {
        root.digest.to_string()
    };
    context.printer.result(&line).map_err(Problem::Output)
}
