//! `windlass copy`: copies an image, with everything below it, between registries and layouts.

use windlass_core::Platforms;

use super::transfer::reference;
use super::{Context, additional_tags, copy_many, copy_to_each};
use crate::args::Copy;
use crate::client::{Existing, Wanted};
use crate::exit::Problem;
use crate::location::Location;

pub(super) fn run(context: &Context, copy: Copy) -> Result<(), Problem> {
    let several_tags = !copy.additional_tags.additional_tag.is_empty();
    let mut wanted = Wanted {
        platforms: copy.platform.unwrap_or(Platforms::All),
        nondistributable: copy.foreign.include_nondistributable,
        existing: Existing::Trusted,
        mount_from: copy.mounting.mount_from,
        missing_from: None,
        carry: copy.carry.wanted(),
        more_tags: Vec::new(),
    };
    context.keep_uploads(&copy.resume);
    let destination = match <[Location; 1]>::try_from(copy.destinations) {
        Ok([destination]) => destination,
        Err(_) if copy.many.is_many() => {
            let why = "--all-tags and --tags take one destination";
            return Err(Problem::Usage(why.to_owned()));
        }
        Err(_) if !wanted.mount_from.is_empty() => {
            let why = "--mount-from takes one destination";
            return Err(Problem::Usage(why.to_owned()));
        }
        Err(destinations) => {
            wanted.more_tags =
                additional_tags::wanted_at_each(&copy.additional_tags, &destinations)?;
            let ends = (copy.source, destinations);
            return copy_to_each::run(context, ends, &wanted, &copy.sides, &copy.admission);
        }
    };
    if copy.many.is_many() && several_tags {
        let why = "--additional-tag is for one image: it cannot be used with --all-tags or --tags";
        return Err(Problem::Usage(why.to_owned()));
    }
    wanted.more_tags = additional_tags::wanted(&copy.additional_tags, reference(&destination))?;
    if copy.many.is_many() {
        let ends = (&copy.source, &destination);
        return copy_many::run(
            context,
            ends,
            &copy.many,
            &wanted,
            (&copy.sides, &copy.admission),
        );
    }
    context.copy(
        "copied",
        (copy.source, destination),
        &wanted,
        &copy.sides,
        &copy.admission,
    )
}
