//! The command line: argument types and help texts, nothing else.
//!
//! The subcommands are listed in `commands`, and lists have their arguments beside what they do. Those of other
//! subcommands, and what several have in common, are in modules by subject. Must not know what a subcommand does, but
//! is built around the list of them.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

mod additional_tags;
mod admission;
mod artifact;
mod carry;
mod common;
mod help;
mod image;
mod index;
mod local;
mod login;
mod lookup;
mod many_tags;
mod mounting;
mod registry;
mod transfer;

use std::path::PathBuf;

use clap::Parser;
use clap::builder::{PathBufValueParser, TypedValueParser};

pub(crate) use self::additional_tags::AdditionalTags;
pub(crate) use self::admission::Admission;
pub(crate) use self::artifact::{Annotations, Artifact, ArtifactPull, ArtifactPush, Attach, Typed};
pub(crate) use self::carry::Carry;
pub(crate) use self::common::Common;
use self::help::{ABOUT, EXAMPLES, LONG_ABOUT, LONG_EXAMPLES};
pub(crate) use self::image::{Append, Changed as ChangedImage, Mutate, ShowConfig};
pub(crate) use self::index::{Changed as ChangedIndex, Index};
pub(crate) use self::local::{Demo, Gc, Replay, Verify};
pub(crate) use self::login::{Login, Logout};
pub(crate) use self::lookup::{Digest, Explain};
pub(crate) use self::many_tags::ManyTags;
pub(crate) use self::mounting::Mounting;
pub(crate) use self::registry::{
    Blob, BlobGet, BlobHead, BlobPut, Delete, Manifest, ManifestGet, ManifestPut, Missing, TagImage,
};
pub(crate) use self::transfer::{Copy, Pull, Push};
use crate::commands::Command;
use crate::location;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
    after_long_help = LONG_EXAMPLES,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A path of the command line.
pub(crate) fn file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(location::file)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
