//! The subcommands: what each is called, its help, and what it runs.
//!
//! Responsible for the list of them, and for running one. Must not know what they do.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

mod additional_tags;
mod artifact;
mod blob;
mod blob_get;
mod build;
mod carried;
mod change;
mod config;
mod context;
mod copy;
mod copy_many;
mod copy_to_each;
mod demo;
mod digest;
mod explain;
mod gc;
mod input;
mod json_help;
mod left_out;
mod list;
mod login;
mod manifest;
mod procedure;
mod pull;
mod push;
mod referrers;
mod replay;
mod transfer;
mod unlisted;
mod verify;

use std::sync::{Arc, OnceLock};

use clap::Subcommand;

use self::context::{Asker, Context, store_failed};
use self::list::{ListCatalog, ListTags};
use self::referrers::ListReferrers;
use crate::args::{
    Append, Args, Artifact, Attach, Blob, Copy, Delete, Demo, Digest, Explain, Gc, Index, Login,
    Logout, Manifest, Mutate, Pull, Push, Replay, ShowConfig, TagImage, Verify,
};
use crate::client::{CancelHandle, Connect};
use crate::exit::{Exit, Problem};
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::short_names;

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
    Tags(ListTags),
    /// List the repositories of a registry, one a line
    ///
    /// Many registries, Docker Hub among them, have no such list, or show it to administrators only.
    Catalog(ListCatalog),
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
    Referrers(ListReferrers),
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

impl Command {
    fn run(self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Pull(pull) => pull::run(context, pull),
            Self::Push(push) => push::run(context, push),
            Self::Copy(copy) => copy::run(context, copy),
            Self::Digest(digest) => digest::print(context, &digest.reference),
            Self::Tags(words) => list::tags(context, &words),
            Self::Catalog(words) => list::catalog(context, &words),
            Self::Tag(words) => manifest::tag(context, &words),
            Self::Delete(words) => manifest::delete(context, &words),
            Self::Referrers(words) => referrers::run(context, &words),
            Self::Attach(words) => artifact::attach(context, &words),
            Self::Artifact(command) => artifact::run(context, &command),
            Self::Manifest(command) => manifest::run(context, &command),
            Self::Blob(command) => blob::run(context, &command),
            Self::Config(words) => config::run(context, &words),
            Self::Append(words) => change::append(context, &words),
            Self::Mutate(words) => change::mutate(context, &words),
            Self::Index(command) => change::index(context, &command),
            Self::Explain(words) => explain::run(context, &words),
            Self::Login(login) => login::login(context, &login),
            Self::Logout(logout) => login::logout(context, &logout),
            Self::Verify(verify) => verify::run(context, &verify),
            Self::Gc(gc) => gc::run(context, &gc),
            Self::Replay(replay) => replay::run(context, &replay),
            Self::Demo(demo) => demo::run(context, &demo),
        }
    }
}

/// The members of what `--json` prints, for the help of that option. Programs depend on them.
pub(crate) fn json_help() -> String {
    let parts = [
        json_help::TRANSFERS_AND_LAYOUTS,
        list::JSON_HELP,
        json_help::MANIFESTS_AND_BLOBS,
        referrers::JSON_HELP,
        json_help::ARTIFACTS_AND_CHANGES,
    ];
    parts.join("\n")
}

pub(crate) fn run(args: Args, connect: Connect) -> Exit {
    let Args { common, command } = args;
    let printer = Arc::new(Printer::new(common.chatter(), common.output_format()));
    let context = Context {
        connect,
        common,
        printer: Arc::clone(&printer),
        cancel: CancelHandle::default(),
        interrupt: Interrupt::default(),
        tape: OnceLock::new(),
        credentials: OnceLock::new(),
        uploads: OnceLock::new(),
    };
    for name in short_names::told() {
        printer.note(&name);
    }
    let is_replay = matches!(command, Command::Replay(_));
    let checked = context.common.check().and_then(|()| {
        if is_replay && context.common.tape.is_some() {
            let why = "--tape cannot be used with replay";
            return Err(Problem::Usage(why.to_owned()));
        }
        Ok(())
    });
    let result = checked.and_then(|()| command.run(&context));
    context.check_tape();
    context.check_uploads();
    let Err(problem) = result else {
        return Exit::Done;
    };
    let asked = context.interrupt.asked();
    problem.tell(&printer);
    asked.unwrap_or_else(|| problem.exit())
}
