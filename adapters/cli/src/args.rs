//! What people can type. Types and help texts only.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts, their brackets mean what can be left out"
)]

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand};
use windlass_core::{Origin, Platforms, Reference, Registry};

use crate::place::{self, InLayout, Place};
use crate::scheme::{self, Whom};

const ABOUT: &str = "Pull, push and copy container images and artifacts";

const LONG_ABOUT: &str = "\
Pull, push and copy container images and artifacts between OCI registries and image layouts.

Interrupted transfers go on where they stopped, also after a crash or Ctrl-C: run the same command \
again. Every byte is verified against its digest before it gets its final name. No daemon, no root.";

const EXAMPLES: &str = "\
Examples:
  windlass pull alpine:3.20 oci:images
  windlass push oci:images:3.20 registry.example/team/alpine:3.20
  windlass copy ghcr.io/org/app:1.2 registry.example/mirror/app:1.2
  windlass digest ubuntu:24.04
  windlass --tape bug.tape pull alpine:3.20 oci:images && windlass replay bug.tape
  windlass demo

Places:
  alpine, ghcr.io/org/app:1.2, host:5000/app@sha256:…    an image in a registry
  docker://REF                                           the same, spelled out
  oci:DIR[:NAME], oci:DIR@sha256:…                       an image in an OCI image layout

Credentials are those of `docker login` (config.json), unless --username is given.
Proxies are taken from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; certificate authorities
from the system, or from SSL_CERT_FILE and SSL_CERT_DIR if they are set.

Exit codes:
    0  done
    1  refused, or failed for good; a tape that no longer replays as it was recorded
    2  the command line, a reference, the configuration or a tape is wrong
    3  not found
    4  not authenticated, or not allowed
    5  failed in a way that may pass: try again later
    6  content is not what its digest says; it was not kept
  129  hung up (SIGHUP), unless that is ignored, as under nohup
  130  interrupted (Ctrl-C); what has arrived is kept for the next run
  143  terminated (SIGTERM); the same

The first Ctrl-C stops within a second, the second at once.";

const JSON_HELP: &str = "\
Print a JSON object instead of a digest

pull, push, copy:
  source, destination       as given, NAME filled in
  digest, mediaType, size   what was moved: a manifest or an index
  blobsMoved, bytesMoved    what really went over the network
  blobsMounted              taken by the registry from another repository
  blobsPresent              there already
  layersLeftOut             foreign layers that were not moved
  leftOut                   the first 100 of them: mediaType, digest, size
  unlisted                  manifests with a subject that the registry has, but that could not be
                            added to its list of what refers to it: digest, subject, why
  seconds                   how long it took
verify:
  blobs, bytes              what was hashed
  damaged                   of each its digest, and what was found
  missing                   of each its digest
gc:
  blobs, blobBytes          removed, since no name leads to them
  partials, partialBytes    removed: what interrupted transfers left
  inUse                     kept for transfers that are running
digest:
  reference                 as given
  digest, mediaType, size   what it stands for
replay:
  madeBy                    the version of windlass that made the tape
  lines                     the transcript
demo:
  ok, digest, blobs, bytes
  steps                     of each its name and how many requests it took";

const NONDISTRIBUTABLE_HELP: &str = "\
Move layers that are not for distribution, too, or that are said to be elsewhere

Base layers of old Windows images are of this kind: they have a media type of their own, or `urls` in \
the manifest. Most registries do not hold them. They are left out by default, and a warning says \
which. With this option they are fetched from the registry, and if it has not got them from their \
`urls`, without credentials, and verified like every other layer; a push sends them. Check that \
their licence allows that.";

const REALM_HELP: &str = "\
Let REGISTRY's credentials go to the token service at REALM

Credentials are only ever sent to the registry's own host, and to the token services of well-known \
registries. If a registry's token service is on another host, windlass asks it anonymously and says \
so in a warning that names the setting to give here. REALM is host[:port] (https) or a URL.";

const TAPE_HELP: &str = "\
Write what happens to FILE, without secrets, for `windlass replay`

A tape is a bug report: whoever has it can see and repeat what windlass did. Passwords, tokens, \
your user name and the queries of URLs are replaced. Of a query, digests stay, and the repository \
of a mount. What is said again is replaced if it has four bytes or more, but not if it is a part \
of a reference that you typed or of words that are on every tape. Your user name, and what is \
shorter than eight bytes, is found only as a word, and not in manifests. No byte of a blob is on \
the tape. Names of images, repositories and hosts, manifests, paths and error messages are on it, \
also those that name local files. A FILE of yours that is there is replaced; \
only you can read it.";

const TLS_HELP: &str = "\
Speak TLS, also on loopback; with =HOST only to that registry

HOST is the registry as the reference names it, host[:port]; several are separated by commas.";

const PLAIN_HELP: &str = "\
Speak plain HTTP; with =HOST only to that registry

Plain HTTP is the default on loopback, unless the port is 443. Elsewhere credentials and content can \
be read and changed on their way, so a copy between two registries needs the HOST that is meant: \
--plain-http=registry.lan:5000. The other one stays on TLS. Docker Hub always does.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
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

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring an image from a registry into an image layout
    Pull(Pull),
    /// Bring an image from an image layout into a registry
    Push(Push),
    /// Bring an image from one place to another
    Copy(Copy),
    /// Print the digest that a reference stands for
    Digest(Digest),
    /// Hash what is in an image layout, and list what is damaged or missing
    ///
    /// Without a name everything that is there. Prints a line for each content that is not what its
    /// digest says, or that is not there, and ends with 6, or with 1 if none is damaged. To repair a
    /// layout: `windlass pull --verify-existing`.
    Verify(Verify),
    /// Remove from an image layout what nothing refers to
    ///
    /// Removes blobs and manifests that no name of the layout leads to, and what interrupted transfers
    /// left: these start over then. Transfers that run meanwhile lose nothing.
    Gc(Gc),
    /// Show what a tape says, and whether windlass would still do the same
    ///
    /// Prints the transcript of a session that was recorded with --tape, and contacts nobody. Ends
    /// with 1 and names the first request that differs if this windlass does something else.
    Replay(Replay),
    /// Show what windlass does, with a registry of its own on this machine
    ///
    /// Makes an image of a folder, pushes it to a registry on a loopback port, pulls it back into
    /// a second layout, copies it to another repository, and compares every byte. Shows every
    /// request. Needs no network and leaves nothing behind.
    Demo(Demo),
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass pull alpine oci:images                      as images:latest, for this machine
  windlass pull alpine:3.20 oci:images:stable          under another name
  windlass pull --platform all ubuntu oci:images       every platform, the index as it is
  windlass pull --platform linux/arm/v7 ubuntu oci:images")]
pub(crate) struct Pull {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = place::registry)]
    pub(crate) source: Reference,
    /// The layout, created if it is not there; NAME is REF's tag unless given
    #[arg(value_name = "oci:DIR[:NAME]", value_parser = place::into_layout)]
    pub(crate) destination: InLayout,
    /// Which image of an index: os/arch[/variant], arch alone for linux, or `all` [default: linux on this machine's arch]
    #[arg(long, value_name = "PLATFORM", value_parser = place::platforms)]
    pub(crate) platform: Option<Platforms>,
    /// Hash blobs that are there already, and fetch damaged ones again
    #[arg(long)]
    pub(crate) verify_existing: bool,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass push oci:images:3.20 registry.example/team/alpine:3.20
  windlass push oci:build localhost:5000/app           the only image in build, as app:latest")]
pub(crate) struct Push {
    /// The image; without NAME the only one in DIR; oci:DIR@DIGEST by its digest
    #[arg(value_name = "oci:DIR[:NAME]", value_parser = place::layout)]
    pub(crate) source: InLayout,
    /// Where to: [registry/]repository[:tag]
    #[arg(value_name = "REF", value_parser = place::registry)]
    pub(crate) destination: Reference,
    /// Which image of an index: os/arch[/variant], arch alone for linux, or `all` [default: all]
    #[arg(long, value_name = "PLATFORM", value_parser = place::platforms)]
    pub(crate) platform: Option<Platforms>,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass copy alpine:3.20 registry.example/mirror/alpine:3.20
  windlass copy registry.example/dev/app:7 registry.example/prod/app:7   blobs are mounted
  windlass copy --platform linux/amd64 docker://ghcr.io/org/app oci:images:app
  windlass copy oci:images:app oci:/media/usb/images

--username is for the registry of DST, or for that of SRC if DST is a layout. Credentials for the
other side come from docker's config.json. If one of two registries speaks plain HTTP, name it:
--plain-http=HOST.

Between two registries blobs pass through a temporary folder; TMPDIR says where. There, a single
image of another platform than --platform says is copied without the warning that layouts give.")]
pub(crate) struct Copy {
    /// The image: REF, docker://REF, oci:DIR[:NAME] or oci:DIR@DIGEST
    #[arg(value_name = "SRC")]
    pub(crate) source: Place,
    /// Where to: REF, docker://REF or oci:DIR[:NAME]
    #[arg(value_name = "DST", value_parser = place::destination)]
    pub(crate) destination: Place,
    /// Which image of an index: os/arch[/variant], arch alone for linux, or `all` [default: all]
    #[arg(long, value_name = "PLATFORM", value_parser = place::platforms)]
    pub(crate) platform: Option<Platforms>,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
}

/// What becomes of foreign layers.
#[derive(ClapArgs, Debug)]
pub(crate) struct Foreign {
    #[arg(
        long,
        help = "Move layers that are not for distribution, too, or that are said to be elsewhere",
        long_help = NONDISTRIBUTABLE_HELP
    )]
    pub(crate) include_nondistributable: bool,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass digest ubuntu:24.04")]
pub(crate) struct Digest {
    /// The image: [registry/]repository[:tag]
    #[arg(value_name = "REF", value_parser = place::registry)]
    pub(crate) reference: Reference,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass verify oci:images
  windlass verify oci:images:3.20")]
pub(crate) struct Verify {
    /// The layout, or an image in it
    #[arg(value_name = "oci:DIR[:NAME]", value_parser = place::layout)]
    pub(crate) layout: InLayout,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass gc oci:images")]
pub(crate) struct Gc {
    /// The layout
    #[arg(value_name = "oci:DIR", value_parser = place::whole_layout)]
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
    /// The folder to make an image of [default: a few files that windlass brings along]
    #[arg(value_name = "FOLDER", value_parser = file())]
    pub(crate) folder: Option<PathBuf>,
    /// Keep both layouts in this folder
    #[arg(long, value_name = "DIR", value_parser = file())]
    pub(crate) keep: Option<PathBuf>,
}

/// What can be given before or after the verb.
#[derive(ClapArgs, Debug)]
pub(crate) struct Common {
    /// The user name for the registry, of a copy that of DST; needs --password-stdin
    #[arg(
        long,
        global = true,
        value_name = "USER",
        help_heading = "Authentication"
    )]
    pub(crate) username: Option<String>,
    /// Read the password or token from the first line of standard input
    #[arg(long, global = true, help_heading = "Authentication")]
    pub(crate) password_stdin: bool,
    #[arg(
        long,
        global = true,
        value_name = "REGISTRY=REALM",
        value_parser = place::trusted_realm,
        help = "Let REGISTRY's credentials go to the token service at REALM (repeatable)",
        long_help = REALM_HELP,
        help_heading = "Authentication"
    )]
    pub(crate) trust_realm: Vec<(Registry, Origin)>,

    #[arg(
        long,
        global = true,
        value_name = "HOST",
        value_parser = scheme::whom,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = scheme::ALL,
        help = "Speak TLS, also on loopback; with =HOST only to that registry",
        long_help = TLS_HELP,
        help_heading = "Connection"
    )]
    pub(crate) tls: Vec<Whom>,
    #[arg(
        long,
        global = true,
        value_name = "HOST",
        value_parser = scheme::whom,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = scheme::ALL,
        help = "Speak plain HTTP; with =HOST only to that registry",
        long_help = PLAIN_HELP,
        help_heading = "Connection"
    )]
    pub(crate) plain_http: Vec<Whom>,
    /// Trust the certificate authorities in FILE as well: PEM or DER (repeatable)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        value_parser = file(),
        help_heading = "Connection"
    )]
    pub(crate) ca_cert: Vec<PathBuf>,
    /// At most N requests at once, per registry [default: 16]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=256),
        help_heading = "Connection"
    )]
    pub(crate) jobs: Option<u32>,
    /// Try again N times; progress gives a transfer all its tries back [default: 4]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(0..=100),
        help_heading = "Connection"
    )]
    pub(crate) retries: Option<u32>,
    /// Give up on a connection when nothing has moved for so long [default: 60]
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        help_heading = "Connection"
    )]
    pub(crate) timeout: Option<u64>,

    #[arg(
        long,
        global = true,
        help = "Print a JSON object instead of a digest",
        long_help = JSON_HELP,
        help_heading = "Output"
    )]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Show requests, answers and events as they happen, without secrets, instead of progress
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) trace: bool,
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        value_parser = file(),
        help = "Write what happens to FILE, without secrets, for `windlass replay`",
        long_help = TAPE_HELP,
        help_heading = "Output"
    )]
    pub(crate) tape: Option<PathBuf>,
}

fn file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(place::file)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
