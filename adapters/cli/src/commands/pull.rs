//! `windlass pull`: pulls an image from a registry into a layout, by default for this machine's
//! platform.

use windlass_core::Platforms;
use windlass_driver::host_platform;

use super::Context;
use crate::args::Pull;
use crate::authentication::Sides;
use crate::client::{Existing, Wanted};
use crate::exit::Problem;
use crate::location::Location;

pub(super) fn run(context: &Context, pull: Pull) -> Result<(), Problem> {
    let wanted = Wanted {
        platforms: pull
            .platform
            .unwrap_or_else(|| Platforms::One(host_platform())),
        nondistributable: pull.foreign.include_nondistributable,
        existing: if pull.verify_existing {
            Existing::Verified
        } else {
            Existing::Trusted
        },
        mount_from: Vec::new(),
        missing_from: None,
        carry: pull.carry.wanted(),
        more_tags: Vec::new(),
    };
    context.copy(
        "pulled",
        (
            Location::Registry(pull.source),
            Location::Layout(pull.destination),
        ),
        &wanted,
        &Sides::default(),
        &pull.admission,
    )
}
