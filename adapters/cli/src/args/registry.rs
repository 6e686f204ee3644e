//! Single manifests and blobs of registries.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use windlass_core::reference::Tag;
use windlass_core::{Platforms, Reference};

use super::{Mounting, file};
use crate::location;
use crate::uploads::Resume;

#[derive(Debug, Subcommand)]
pub(crate) enum Manifest {
    /// Print a manifest or index, byte for byte
    Get(ManifestGet),
    /// Print the digest of a manifest or index; with --json, its type and size, too
    Head(ManifestHead),
    /// Put a manifest or index, byte for byte
    ///
    /// What it refers to must be in the repository. If it has a subject and the registry lists no referrers itself,
    /// it is added to the list of its subject.
    Put(ManifestPut),
    /// Delete a manifest with all its tags
    ///
    /// It is removed from the list of its subject's referrers, if the repository has such a list. What it refers
    /// to stays, until the registry collects its garbage.
    Delete(ManifestDelete),
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass manifest get alpine:3.20
  windlass manifest get --platform linux/arm64 alpine:3.20 > manifest.json")]
pub(crate) struct ManifestGet {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// Of an index, the image for PLATFORM [default: the index]
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system).
    #[arg(long, value_name = "PLATFORM", value_parser = location::platform)]
    pub(crate) platform: Option<Platforms>,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass manifest head --json alpine:3.20")]
pub(crate) struct ManifestHead {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass manifest put registry.example/app:v1 manifest.json
  windlass manifest put --tag v1.2 --tag v1 registry.example/app:v1.2.3 - < manifest.json")]
pub(crate) struct ManifestPut {
    /// The destination: [registry/]repository[:tag], or repository@digest for no tag
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// The manifest; - for standard input
    #[arg(value_name = "FILE", value_parser = file())]
    pub(crate) file: PathBuf,
    /// The media type [default: as the manifest says]
    #[arg(long, value_name = "TYPE")]
    pub(crate) media_type: Option<String>,
    /// One more tag (repeatable)
    #[arg(
        long,
        visible_alias = "additional-tag",
        value_name = "TAG",
        value_delimiter = ','
    )]
    pub(crate) tag: Vec<Tag>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ManifestDelete {
    /// The manifest: [registry/]repository@digest
    #[arg(value_name = "REF@DIGEST", value_parser = location::by_digest)]
    pub(crate) reference: Reference,
    #[command(flatten)]
    pub(crate) missing: Missing,
}

/// What a deletion of nothing is.
#[derive(ClapArgs, Debug)]
pub(crate) struct Missing {
    /// Succeed if it is not there
    #[arg(long)]
    pub(crate) ignore_missing: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Blob {
    /// Fetch a blob, to standard output or into a file
    ///
    /// It is verified before the first byte is printed, and before the file gets its name.
    Get(BlobGet),
    /// Print the size of a blob in bytes
    Head(BlobHead),
    /// Put a file into a repository, and print its digest
    Put(BlobPut),
    /// Delete a blob from a repository
    Delete(BlobDelete),
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass blob get -o layer.tar.gz registry.example/app@sha256:…
  windlass blob get --range 0-511 registry.example/app@sha256:… | xxd

Run the same command with -o again to go on with an interrupted fetch: what was received is in FILE.partial.")]
pub(crate) struct BlobGet {
    /// The blob: [registry/]repository@digest
    #[arg(value_name = "REPO@DIGEST", value_parser = location::by_digest)]
    pub(crate) reference: Reference,
    /// Write it to FILE
    #[arg(long, short, value_name = "FILE", value_parser = file())]
    pub(crate) output: Option<PathBuf>,
    /// Only the bytes from A to B, which cannot be verified
    ///
    /// They are counted from 0; B is included.
    #[arg(long, value_name = "A-B", value_parser = range)]
    pub(crate) range: Option<Range<u64>>,
}

/// A range of bytes as HTTP writes it.
fn range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| is_number)
    };
    let range = text.split_once('-');
    let range = range.and_then(|(first, last)| Some(number(first)?..number(last)?.checked_add(1)?));
    let range = range.filter(|range| !range.is_empty());
    range.ok_or_else(|| "not a range of bytes, such as 0-1023".into())
}

#[derive(ClapArgs, Debug)]
pub(crate) struct BlobHead {
    /// The blob: [registry/]repository@digest
    #[arg(value_name = "REPO@DIGEST", value_parser = location::by_digest)]
    pub(crate) reference: Reference,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass blob put registry.example/app layer.tar.gz
  tar -c rootfs | zstd | windlass blob put registry.example/app -")]
pub(crate) struct BlobPut {
    /// The repository: [registry/]repository, with @digest to check the file
    #[arg(value_name = "REPO", value_parser = location::registry)]
    pub(crate) repository: Reference,
    /// The file, of any size; - for standard input, which is sent while it is read
    #[arg(value_name = "FILE", value_parser = file())]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) mounting: Mounting,
    #[command(flatten)]
    pub(crate) resume: Resume,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct BlobDelete {
    /// The blob: [registry/]repository@digest
    #[arg(value_name = "REPO@DIGEST", value_parser = location::by_digest)]
    pub(crate) reference: Reference,
    #[command(flatten)]
    pub(crate) missing: Missing,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass tag registry.example/app:1.2.3 1.2 1 latest")]
pub(crate) struct TagImage {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// The tags
    #[arg(value_name = "TAG", required = true)]
    pub(crate) tags: Vec<Tag>,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass delete registry.example/app:old                  the tag alone
  windlass delete --with-manifest registry.example/app:old  with its manifest and all tags of that
  windlass delete registry.example/app@sha256:…             the manifest and all its tags")]
pub(crate) struct Delete {
    /// The image: [registry/]repository, with :tag or @digest
    #[arg(value_name = "REF", value_parser = location::named)]
    pub(crate) reference: Reference,
    /// Delete the manifest that a tag refers to, and with it all its tags
    #[arg(long)]
    pub(crate) with_manifest: bool,
    #[command(flatten)]
    pub(crate) missing: Missing,
}

#[cfg(test)]
mod tests {
    #[test]
    fn ranges() {
        for (text, expected) in [
            ("0-0", Some(0..1)),
            ("5-9", Some(5..10)),
            ("9-5", None),
            ("5-", None),
            ("-5", None),
            ("5", None),
            ("+5-9", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(super::range(text).ok(), expected, "{text}");
        }
    }
}
