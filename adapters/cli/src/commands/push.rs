//! `windlass push`: pushes an image, with everything below it, from a layout to a registry.

use windlass_core::Platforms;

use super::Context;
use crate::args::Push;
use crate::authentication::Sides;
use crate::client::{Existing, Wanted};
use crate::exit::Problem;
use crate::place::Place;

pub(super) fn run(context: &Context, push: Push) -> Result<(), Problem> {
    let wanted = Wanted {
        platforms: push.platform.unwrap_or(Platforms::All),
        nondistributable: push.foreign.include_nondistributable,
        existing: Existing::Trusted,
    };
    context.keep_uploads(&push.resume);
    context.copy(
        "pushed",
        (
            Place::Layout(push.source),
            Place::Registry(push.destination),
        ),
        &wanted,
        &Sides::default(),
        &push.admission,
    )
}
