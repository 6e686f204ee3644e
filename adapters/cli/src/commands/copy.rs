//! `windlass copy`: copies an image, with everything below it, between registries and layouts.

use windlass_core::Platforms;

use super::Context;
use crate::args::Copy;
use crate::client::{Existing, Wanted};
use crate::exit::Problem;

pub(super) fn run(context: &Context, copy: Copy) -> Result<(), Problem> {
    let wanted = Wanted {
        platforms: copy.platform.unwrap_or(Platforms::All),
        nondistributable: copy.foreign.include_nondistributable,
        existing: Existing::Trusted,
    };
    context.keep_uploads(&copy.resume);
    context.copy(
        "copied",
        (copy.source, copy.destination),
        &wanted,
        &copy.sides,
        &copy.admission,
    )
}
