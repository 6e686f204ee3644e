//! Subcommands that need no registry: `verify`, `gc`, `replay` and `demo`.
//!
//! Responsible for the layouts and files that they are about. Must not know what is in those.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::file;
use crate::location::{self, InLayout};

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass verify oci:images
  windlass verify oci:images:3.20")]
pub(crate) struct Verify {
    /// The layout, or an image in it
    #[arg(value_name = "oci:DIR[:NAME]", value_parser = location::layout)]
    pub(crate) layout: InLayout,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass gc oci:images")]
pub(crate) struct Gc {
    /// The layout
    #[arg(value_name = "oci:DIR", value_parser = location::whole_layout)]
    pub(crate) layout: InLayout,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass --tape bug.tape pull alpine:3.20 oci:images
  windlass replay bug.tape")]
pub(crate) struct Replay {
    /// The tape
    #[arg(value_name = "FILE", value_parser = file())]
    pub(crate) file: PathBuf,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Demo {
    /// The folder to make an image of [default: a few built-in files]
    #[arg(value_name = "FOLDER", value_parser = file())]
    pub(crate) folder: Option<PathBuf>,
    /// Keep both layouts in this folder
    #[arg(long, value_name = "DIR", value_parser = file())]
    pub(crate) keep: Option<PathBuf>,
}
