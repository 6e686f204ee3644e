//! `--additional-tag`, for the commands that put an image or an artifact by a tag.
//!
//! Responsible for the option. Must not know which destinations can have further tags (`commands::additional_tags`).

use clap::Args;
use windlass_core::reference::Tag;

const ADDITIONAL_TAG_HELP: &str = "\
Let TAG refer to it, too; several with commas between them (repeatable)

All are written in one request where the registry takes several tags with a manifest, otherwise in one each. If one is \
refused, the command fails, and the tags before it stay. Of several destinations of a copy each that is a registry gets \
them; a layout has no such names.";

/// Further tags at the destination.
#[derive(Args, Debug)]
pub(crate) struct AdditionalTags {
    #[arg(
        long,
        value_name = "TAG",
        value_delimiter = ',',
        help = "Let TAG refer to it, too; several with commas between them (repeatable)",
        long_help = ADDITIONAL_TAG_HELP
    )]
    pub(crate) additional_tag: Vec<Tag>,
}
