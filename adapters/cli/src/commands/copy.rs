//! `windlass copy`: an image from any place to any other, with everything below it.

use windlass_core::Platforms;

use super::Context;
use crate::args::Copy;
use crate::exit::Problem;

pub(super) fn run(context: &Context, copy: Copy) -> Result<(), Problem> {
    context.copy(
        "copied",
        copy.source,
        copy.destination,
        copy.platform.unwrap_or(Platforms::All),
    )
}
