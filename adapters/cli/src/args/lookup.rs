//! `digest` and `explain`: what a reference stands for, and what this machine makes of it.
//!
//! Responsible for their arguments. Must not know how a reference is resolved.

use clap::Args as ClapArgs;
use windlass_core::Reference;

use super::Admission;
use crate::location;

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass digest ubuntu:24.04")]
pub(crate) struct Digest {
    /// The image: [registry/]repository[:tag]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass explain registry.example.com/team/app:v1")]
pub(crate) struct Explain {
    /// The image: [registry/]repository[:tag]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    #[command(flatten)]
    pub(crate) admission: Admission,
}
