//! Images: their configuration, and changes of them.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

use std::path::PathBuf;

use clap::Args as ClapArgs;
use windlass_core::edit::is_time;
use windlass_core::{Platform, Reference};

use super::artifact::pair;
use super::file;
use crate::location;
use crate::uploads::Resume;

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass config alpine:3.20
  windlass config --platform linux/arm64 alpine:3.20 | jq .config.Env")]
pub(crate) struct ShowConfig {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// Of an index, the image for PLATFORM [default: linux on this machine's arch]
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system).
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass append alpine:3.20 files.tar.gz --to registry.example/team/app:v1
  windlass append --platform linux/arm64 registry.example/base:1 a.tar b.tar -t registry.example/base:1-with-files")]
pub(crate) struct Append {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// The layers, the lowest first: tar files, plain or compressed with gzip or zstd
    #[arg(value_name = "FILE", value_parser = file(), required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) result: Changed,
    #[command(flatten)]
    pub(crate) resume: Resume,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass mutate registry.example/app:v1 -t registry.example/app:v1-labelled --label maintainer=me
  windlass mutate registry.example/app:v1 -t registry.example/app:v1 --env DEBUG= --entrypoint /app --entrypoint serve")]
pub(crate) struct Mutate {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// Set an annotation of the manifest (repeatable)
    #[arg(long = "annotation", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) annotations: Vec<(String, String)>,
    /// Set a label (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Set a variable of the environment (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Set the program, then its first arguments (repeatable)
    ///
    /// The image's further arguments are removed, unless --cmd is given.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) entrypoint: Vec<String>,
    /// Set the further arguments, one at a time (repeatable)
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
    /// Set the user, and perhaps a group
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Set the folder that the program starts in
    #[arg(long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Remove an annotation (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_annotation: Vec<String>,
    /// Remove a label (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_label: Vec<String>,
    /// Remove a variable (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_env: Vec<String>,
    #[command(flatten)]
    pub(crate) result: Changed,
}

/// What a change is made of, and where the result goes.
#[derive(ClapArgs, Debug)]
pub(crate) struct Changed {
    /// Where the changed image goes: [registry/]repository[:tag]
    #[arg(long, short, value_name = "REF", value_parser = location::registry)]
    pub(crate) to: Reference,
    /// Of an index, the image for PLATFORM [default: linux on this machine's arch]
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system).
    ///
    /// If the index is at the tag that the changed image goes to, this is needed, and the entry of the index is changed.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// Say that it was made at TIME, as in 2026-01-02T03:04:05Z [default: as before]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) created: Option<String>,
}

fn time(text: &str) -> Result<String, String> {
    if is_time(text) {
        return Ok(text.to_owned());
    }
    Err("it is no time, such as 2026-01-02T03:04:05Z".to_owned())
}
