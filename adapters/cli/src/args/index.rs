//! Indexes: made, and changed.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

use clap::{Args as ClapArgs, Subcommand};
use windlass_core::{Digest, Platform, Reference};

use super::Annotations;
use crate::location;

#[derive(Debug, Subcommand)]
pub(crate) enum Index {
    /// Make an index of images
    ///
    /// The platform of each is that of its configuration; of an index all entries are taken. Images of other repositories
    /// of the registry are copied, blobs mounted; those of other registries have to be in the repository.
    Create(IndexCreate),
    /// Add images to an index
    ///
    /// As in `index create`. An image replaces the entries for its platform, with what is about them, since clients take
    /// the first of several. The index is replaced, unless --to is given.
    Add(IndexAdd),
    /// Remove entries from an index
    ///
    /// With an image goes what is about it, such as its attestation. The index is replaced, unless --to is given. The
    /// images stay.
    Remove(IndexRemove),
    /// Keep only some platforms of an index
    ///
    /// With an image stays what is about it, such as its attestation. The index is replaced, unless --to is given. The
    /// images stay.
    Filter(IndexFilter),
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass index create registry.example/app:v1 registry.example/app:v1-amd64 registry.example/app:v1-arm64")]
pub(crate) struct IndexCreate {
    /// The index: [registry/]repository[:tag]
    #[arg(value_name = "DST", value_parser = location::registry)]
    pub(crate) destination: Reference,
    /// The images
    #[arg(value_name = "REF", value_parser = location::registry, required = true)]
    pub(crate) images: Vec<Reference>,
    #[command(flatten)]
    pub(crate) annotations: Annotations,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass index add registry.example/app:v1 registry.example/app:v1-s390x")]
pub(crate) struct IndexAdd {
    #[command(flatten)]
    pub(crate) index: Changed,
    /// The images
    #[arg(value_name = "REF", value_parser = location::registry, required = true)]
    pub(crate) images: Vec<Reference>,
    /// Add entries without replacing those for the same platform
    ///
    /// What is added comes behind them.
    #[arg(long)]
    pub(crate) beside: bool,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass index remove registry.example/app:v1 sha256:…")]
pub(crate) struct IndexRemove {
    #[command(flatten)]
    pub(crate) index: Changed,
    /// The digests of the entries
    #[arg(value_name = "DIGEST", required = true)]
    pub(crate) digests: Vec<Digest>,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass index filter --platform linux/amd64 --platform linux/arm64 ubuntu:24.04 --to registry.example/ubuntu:24.04")]
pub(crate) struct IndexFilter {
    #[command(flatten)]
    pub(crate) index: Changed,
    /// Keep the entries for PLATFORM (repeatable)
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system).
    #[arg(long, value_name = "PLATFORM", required = true)]
    pub(crate) platform: Vec<Platform>,
}

/// The index that is changed, and where the result goes.
#[derive(ClapArgs, Debug)]
pub(crate) struct Changed {
    /// The index: [registry/]repository[:tag][@digest]
    #[arg(value_name = "INDEX", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// Where the changed index goes: [registry/]repository[:tag] [default: INDEX]
    #[arg(long, short, value_name = "REF", value_parser = location::registry)]
    pub(crate) to: Option<Reference>,
    #[command(flatten)]
    pub(crate) annotations: Annotations,
    /// Remove an annotation of the index (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_annotation: Vec<String>,
}
