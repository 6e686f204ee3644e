//! `windlass push`: pushes an image, with everything below it, from a layout to a registry.

use windlass_core::Platforms;

use super::{Context, additional_tags};
use crate::args::Push;
use crate::authentication::Sides;
use crate::client::{Existing, Wanted};
use crate::exit::Problem;
use crate::location::Location;

pub(super) fn run(context: &Context, push: Push) -> Result<(), Problem> {
    let more_tags = additional_tags::wanted(&push.additional_tags, Some(&push.destination))?;
    let wanted = Wanted {
        platforms: push.platform.unwrap_or(Platforms::All),
        nondistributable: push.foreign.include_nondistributable,
        existing: Existing::Trusted,
        mount_from: push.mounting.mount_from,
        missing_from: push.missing_from,
        carry: push.carry.wanted(),
        more_tags,
    };
    context.keep_uploads(&push.resume);
    context.copy(
        "pushed",
        (
            Location::Layout(push.source),
            Location::Registry(push.destination),
        ),
        &wanted,
        &Sides::default(),
        &push.admission,
    )
}
