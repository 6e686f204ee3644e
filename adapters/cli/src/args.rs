//! The command line: argument types and help texts, nothing else.
//!
//! Responsible for the list of subcommands. The arguments of each are in a module by subject, and so are those that several
//! have in common. Must not know what a subcommand does.
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
mod json_help;
mod local;
mod login;
mod lookup;
mod many_tags;
mod mounting;
mod registry;
mod transfer;

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Parser, Subcommand};

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
    Blob, BlobGet, BlobHead, BlobPut, Catalog, Delete, Manifest, ManifestGet, ManifestPut, Missing,
    Part, Referrers, TagImage, Tags,
};
pub(crate) use self::transfer::{Copy, Pull, Push};
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

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pull an image from a registry into an image layout
    Pull(Pull),
    /// Push an image from an image layout to a registry
    Push(Push),
    /// Copy an image between registries and image layouts
    Copy(Copy),
    /// Print the digest that a reference resolves to
    Digest(Digest),
    /// List the tags of a repository, one a line
    ///
    /// Prints all of them in the registry's order, or none if they cannot all be read. Mirrors are not asked.
    Tags(Tags),
    /// List the repositories of a registry, one a line
    ///
    /// Many registries, Docker Hub among them, have no such list, or show it to administrators only.
    Catalog(Catalog),
    /// Let further tags refer to an image, without moving anything
    Tag(TagImage),
    /// Delete a tag, or a manifest with all its tags
    ///
    /// Without --with-manifest, of REPO:TAG the tag is deleted and nothing else. Where a registry cannot do that, the
    /// command fails, and names the tags that would be deleted with it.
    Delete(Delete),
    /// List what refers to an image: signatures, SBOMs and other artifacts
    ///
    /// Prints a tree: a line for each, with its digest and its artifact type, and below it what refers to that. The
    /// list comes from the registry, or from the referrers tag where a registry has no such list.
    Referrers(Referrers),
    /// Attach files to an image, an index or an artifact: an SBOM, a signature
    ///
    /// The files are pushed as an artifact whose subject is what REF stands for, by its digest alone, and its digest is
    /// printed. `windlass referrers` lists it. If the registry lists no referrers itself, it is added to the referrers
    /// tag.
    Attach(Attach),
    /// Push files as an artifact, or pull the files of one
    #[command(subcommand)]
    Artifact(Artifact),
    /// Get, head, put and delete single manifests
    #[command(subcommand)]
    Manifest(Manifest),
    /// Get, head, put and delete single blobs
    #[command(subcommand)]
    Blob(Blob),
    /// Print the configuration of an image, byte for byte
    Config(ShowConfig),
    /// Put layers on top of an image, and print the new digest
    ///
    /// The result goes to --to, and REF stays as it is. If that is another repository, the image is copied there first.
    Append(Append),
    /// Change annotations, labels and what an image runs as, and print the new digest
    ///
    /// The result goes to --to, and REF stays as it is. If that is another repository, the image is copied there first.
    Mutate(Mutate),
    /// Make an index of images, add, remove and filter its entries
    #[command(subcommand)]
    Index(Index),
    /// Print how this machine's configuration applies to a reference
    ///
    /// Prints which files were read, from where the image is fetched and in which order, which credential from which
    /// source would be used, certificates, proxies and the policy. Shows no secrets. Contacts no server, but
    /// runs credential helpers.
    Explain(Explain),
    /// Check a user name and password, and keep them for later commands
    ///
    /// Sends them to the registry. If it accepts them, they are kept where docker, podman and windlass find them: in
    /// the credential helper that the file names for the registry, otherwise in the file, which only you can
    /// read. The file is docker's config.json, unless --authfile or REGISTRY_AUTH_FILE names another one.
    Login(Login),
    /// Erase what a login has kept
    ///
    /// Erases it from the file and the credential helper that `windlass login` would use now.
    Logout(Logout),
    /// Verify an image layout, and list damaged and missing content
    ///
    /// Without NAME verifies all content. Prints one line for each manifest or blob that is damaged or
    /// missing. Exits with 6 if any is damaged, with 1 if some are only missing. To repair a layout, use
    /// `windlass pull --verify-existing`.
    Verify(Verify),
    /// Remove unreferenced content from an image layout
    ///
    /// Removes blobs and manifests that no name of the layout refers to, and partials of interrupted
    /// transfers, which then start over. Safe while transfers are running.
    Gc(Gc),
    /// Replay a tape and check that windlass still does the same
    ///
    /// Prints the transcript of a session recorded with --tape. Uses no network. If this windlass behaves
    /// differently, names the first request that differs and exits with 1.
    Replay(Replay),
    /// Demonstrate windlass with a local registry
    ///
    /// Makes an image of a folder, pushes it to a registry on a loopback port, pulls it into a second
    /// layout, copies it to another repository, and compares every byte. Shows every request. Needs no
    /// network and leaves no files behind.
    Demo(Demo),
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
