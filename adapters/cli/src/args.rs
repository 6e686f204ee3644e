//! The command line: argument types and help texts, nothing else.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

mod additional_tags;
mod artifact;
mod carry;
mod image;
mod index;
mod many_tags;
mod mounting;
mod registry;

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand};
use windlass_core::config::Budget;
use windlass_core::{Origin, Platforms, Reference, Registry};

pub(crate) use self::additional_tags::AdditionalTags;
pub(crate) use self::artifact::{Annotations, Artifact, ArtifactPull, ArtifactPush, Attach, Typed};
pub(crate) use self::carry::Carry;
pub(crate) use self::image::{Append, Changed as ChangedImage, Mutate, ShowConfig};
pub(crate) use self::index::{Changed as ChangedIndex, Index};
pub(crate) use self::many_tags::ManyTags;
pub(crate) use self::mounting::Mounting;
pub(crate) use self::registry::{
    Blob, BlobGet, BlobHead, BlobPut, Catalog, Delete, Manifest, ManifestGet, ManifestPut, Missing,
    Part, Referrers, TagImage, Tags,
};
use crate::admission::{self, Program};
use crate::authentication::{Authentication, Sides};
use crate::hosts::HostArgs;
use crate::location::{self, InLayout, Location};
use crate::scheme::{self, Whom};
use crate::uploads::Resume;

const ABOUT: &str = "Pull, push and copy container images and artifacts";

const LONG_ABOUT: &str = "\
Pull, push and copy container images and artifacts between OCI registries and image layouts.

To resume an interrupted transfer, run the same command again. All content is verified against its \
digest before it is committed. Needs no daemon and no root.";

/// What both helps have.
macro_rules! examples {
    () => {
        "\
Examples:
  windlass pull alpine:3.20 oci:images
  windlass push oci:images:3.20 registry.example/team/alpine:3.20
  windlass copy ghcr.io/org/app:1.2 registry.example/mirror/app:1.2
  windlass digest ubuntu:24.04
  windlass tags ghcr.io/org/app
  windlass --tape bug.tape pull alpine:3.20 oci:images && windlass replay bug.tape
  windlass demo

Places:
  alpine, ghcr.io/org/app:1.2, host:5000/app@sha256:…    an image in a registry
  docker://REF                                           the same, explicit
  oci:DIR[:NAME], oci:DIR@sha256:…                       an image in an OCI image layout"
    };
}

const EXAMPLES: &str = concat!(
    examples!(),
    "\n\n`windlass help` has the other options, where credentials come from, and the exit codes."
);

const LONG_EXAMPLES: &str = concat!(
    examples!(),
    "\n\n\
Credentials come from options, variables, podman's and docker's files, and the credential helpers
that these name; `windlass login --help` has the order.
Proxies come from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, certificate authorities from
SSL_CERT_FILE and SSL_CERT_DIR if set, otherwise from the system. Mirrors and certificates of single
hosts come from hosts.toml, registries.conf and certs.d. `windlass help` has the options for these.

Exit codes:
    0  success
    1  permanent failure, or a tape that does not replay as recorded
    2  invalid command line, reference, configuration or tape
    3  not found
    4  authentication failed or access denied
    5  temporary failure; retry later
    6  content does not match its digest; it was not kept
  129  hangup (SIGHUP), unless ignored, as under nohup
  130  interrupted (Ctrl-C); received data is kept for the next run
  143  terminated (SIGTERM); received data is kept for the next run

The first Ctrl-C stops within a second, the second at once."
);

const JSON_HELP: &str = "\
Print a JSON object instead of a digest

pull, push, copy:
  source, destination       as given, with NAME filled in
  digest, mediaType, size   the manifest or index that was moved
  tags                      the tags that refer to it now; none in a layout
  blobsMoved, bytesMoved    moved over the network
  blobsMounted              mounted from another repository
  blobsPresent              already at the destination
  layersLeftOut             number of foreign layers left out
  leftOut                   the first 100 of them: mediaType, digest, size
  entriesAbsent             number of entries of the index that were not wanted
  unlisted                  manifests that could not be added to the referrers
                            list of their subject: digest, subject, why
  carried                   what was copied with the image, or null: copied,
                            present, failed, and the first 100 that failed as
                            notCopied: subject, digest, artifactType, why
  served                    manifests and blobs per endpoint, if the source has
                            mirrors
  seconds                   elapsed time
copy --all-tags, --tags: an object for each tag, with the above and
  tag
  error                     why it was not copied, in place of the rest, or why
                            not all that refers to it was
login:
  registry, username
  kept                      the credential helper or file with the password
  verified                  whether the registry asked for credentials
logout:
  registry
  erased                    list of credential helpers and files
  remaining                 a place with other credentials, or null
verify:
  blobs, bytes              hashed
  damaged                   list of: digest, found
  missing                   list of: digest
gc:
  blobs, blobBytes          removed blobs that no name refers to
  partials, partialBytes    removed partials of interrupted transfers
  inUse                     blobs kept for running transfers
digest:
  reference                 as given
  digest, mediaType, size   the manifest or index it refers to
tags:
  repository, tags          the names
  hasMore                   whether --limit ended the list
catalog:
  registry, repositories, hasMore
tag, manifest put, artifact push, attach:
  reference, digest, mediaType, size
  tags                      the tags that refer to it now
  unlisted                  as above, or null
manifest get:
  reference, digest, mediaType, size
  manifest                  the parsed manifest
manifest head:
  reference, digest, mediaType, size
delete, manifest delete, blob delete:
  reference
  deleted                   false if it was not there, with --ignore-missing
  digest                    null if only a tag was deleted
  unlisted                  as above, or null
blob head:
  reference, digest, size
blob get, with --output:
  reference, digest, size
  file                      as given
referrers:
  reference
  subject                   the manifest that they refer to
  source                    api, tag or layout; null if there is none of them
  referrers                 list of: digest, mediaType, size, artifactType,
                            annotations, referrers; and error, if what refers
                            to it could not be listed
attach:
  subject                   the digest of what it is attached to
artifact pull:
  reference, digest, mediaType, size, bytesMoved
  files                     list of: name, digest, mediaType, size
  untitled                  the parts without a name, which are not fetched
config:
  reference
  manifest                  the digest of the image
  digest, mediaType, size   of the configuration
  config                    the parsed configuration, null if it is no JSON
append, mutate:
  reference, digest, mediaType, size, tags, unlisted
  base                      the digest of the image it was made of
  index                     the digest of the index it is in, or null
  config                    the digest of its configuration
  layers                    those that are new: digest, size, diffId
index create, add, remove, filter:
  reference, digest, mediaType, size, tags, unlisted
  entries                   list of: digest, mediaType, size, platform
  replaced                  the digests of those replaced by added ones
  copied                    the digests of those copied into the repository
blob put:
  repository, digest, size
  how                       sent, mounted or present
replay:
  madeBy                    the windlass version that made the tape
  lines                     the transcript
demo:
  ok, digest, blobs, bytes
  steps                     list of: name, requests";

const NONDISTRIBUTABLE_HELP: &str = "\
Include foreign layers: nondistributable ones, and those with `urls`

Base layers of old Windows images are foreign, and most registries do not hold them. By default they \
are left out with a warning. With this option windlass fetches them from the registry, or without \
credentials from their `urls`, and pushes them. Check that their licence allows that.";

const POLICY_HELP: &str = "\
Use the policy in FILE, in the form of containers-policy.json(5)

The policy applies to the source: `transports.docker` to registries, `transports.oci` to image layouts. \
By default it is ~/.config/containers/policy.json, otherwise /etc/containers/policy.json; without a \
file every image is accepted. An image that is rejected ends the command before the first request, \
with exit code 1. windlass verifies no signatures: what needs one (`signedBy`, `sigstoreSigned`) is \
refused, unless --verify-with is given.";

const VERIFY_HELP: &str = "\
Run CMD with the image's digest, and transfer the image only if it succeeds

CMD is split into words as a shell does, but run without one: variables, patterns and pipes need \
`sh -c '…' sh`. The image is added as the last argument, as registry/repository@digest or \
oci:DIR@digest. It is also in WINDLASS_VERIFY_REFERENCE; WINDLASS_VERIFY_NAME is SRC as given, \
WINDLASS_VERIFY_DIGEST the digest. If a policy applies, WINDLASS_VERIFY_POLICY is its file, \
WINDLASS_VERIFY_SCOPE the scope and WINDLASS_VERIFY_TYPES the types of the signatures that are \
needed. CMD runs once for every image that the policy does not reject, before anything of it is written; with \
--all-tags for several at once. \
Its standard error is shown, its standard output is not. The image is then transferred by that digest.";

const FALLBACK_HELP: &str = "\
Where credentials are refused for reading, go on without

A public image can then be pulled in spite of credentials that have expired, with a warning. Never for a \
push, nor for the destination of a copy. By default refused credentials end the command with exit \
code 4.";

const REALM_HELP: &str = "\
Send REGISTRY's credentials to the token service at REALM

REALM is host[:port] (https) or a URL. By default credentials go only to the registry's own host and \
to the token services of well-known registries. Any other token service is asked anonymously, with \
a warning that names the value to give here.";

const TAPE_HELP: &str = "\
Record the session to FILE, without secrets, for `windlass replay`

Attach a tape to a bug report. Passwords, tokens, your user name and queries of URLs are redacted, \
and it holds no bytes of blobs. It does hold names of hosts, repositories and images, manifests, error \
messages and local paths. An existing FILE of yours is replaced. Only you can read the file.";

const TLS_HELP: &str = "\
Use TLS, also on loopback; with =HOST for that registry only

HOST is host[:port] as in the reference. Separate several by commas.";

const PLAIN_HELP: &str = "\
Use plain HTTP; with =HOST for that registry only

Plain HTTP is insecure, and the default only on loopback, except on port 443. A copy between two \
registries needs HOST, for instance --plain-http=registry.lan:5000; the other registry stays on TLS. \
Docker Hub is never contacted over plain HTTP.";

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

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass pull alpine oci:images                      as images:latest, for this platform
  windlass pull alpine:3.20 oci:images:stable          under another name
  windlass pull --platform all ubuntu oci:images       all platforms, the index unchanged
  windlass pull --platform linux/arm/v7 ubuntu oci:images
  windlass pull --platform amd64,arm64 ubuntu oci:images   the index with only these of its images")]
pub(crate) struct Pull {
    /// The image: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) source: Reference,
    /// The layout, created if missing; NAME defaults to REF's tag
    #[arg(value_name = "oci:DIR[:NAME]", value_parser = location::into_layout)]
    pub(crate) destination: InLayout,
    /// Platforms to select from an index: os/arch[/variant], arch (linux) or */arch (any system), several with commas between them, or `all` [default: linux on this machine's arch]
    #[arg(long, value_name = "PLATFORM", value_parser = location::platforms)]
    pub(crate) platform: Option<Platforms>,
    /// Verify existing blobs, and fetch damaged ones again
    #[arg(long)]
    pub(crate) verify_existing: bool,
    #[command(flatten)]
    pub(crate) carry: Carry,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
    #[command(flatten)]
    pub(crate) admission: Admission,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass push oci:images:3.20 registry.example/team/alpine:3.20
  windlass push oci:build localhost:5000/app           the only image in build, as app:latest
  windlass push --additional-tag 1.2,1,latest oci:build localhost:5000/app:1.2.3")]
pub(crate) struct Push {
    /// The image, by name or as oci:DIR@DIGEST; NAME may be left out if DIR has one image
    #[arg(value_name = "oci:DIR[:NAME]", value_parser = location::layout)]
    pub(crate) source: InLayout,
    /// The destination: [registry/]repository[:tag]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) destination: Reference,
    /// Platforms to select from an index: os/arch[/variant], arch (linux) or */arch (any system), several with commas between them, or `all` [default: all]
    #[arg(long, value_name = "PLATFORM", value_parser = location::platforms)]
    pub(crate) platform: Option<Platforms>,
    #[command(flatten)]
    pub(crate) additional_tags: AdditionalTags,
    #[command(flatten)]
    pub(crate) carry: Carry,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
    #[command(flatten)]
    pub(crate) mounting: Mounting,
    /// Take blobs that the layout lacks from REPO, where the image comes from: [registry/]repository
    ///
    /// They are mounted if REPO is in the registry of REF, otherwise sent while they are fetched. All manifests must be in
    /// the layout.
    #[arg(long, value_name = "REPO", value_parser = location::registry)]
    pub(crate) missing_from: Option<Reference>,
    #[command(flatten)]
    pub(crate) resume: Resume,
    #[command(flatten)]
    pub(crate) admission: Admission,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass copy alpine:3.20 registry.example/mirror/alpine:3.20
  windlass copy registry.example/dev/app:7 registry.example/prod/app:7   blobs are mounted
  windlass copy --platform linux/amd64 docker://ghcr.io/org/app oci:images:app
  windlass copy oci:images:app oci:/media/usb/images
  windlass copy -r ghcr.io/org/app:1.2 registry.example/mirror/app:1.2   with signatures and SBOMs
  windlass copy --tags '1.*' ghcr.io/org/app registry.example/mirror/app
  windlass copy --all-tags oci:images registry.example/mirror/app

--username is for the registry of DST, or of SRC if DST is a layout. --src-username and
--dest-username are for one side; in a copy within one registry, for the repository of that side. If
one of two registries uses plain HTTP, give --plain-http=HOST.

Between two registries each blob is sent while it is fetched. If the destination keeps nothing of
an upload that broke off, or refuses a mount, blobs pass through a temporary folder below TMPDIR. If
SRC is a single image of another platform than --platform, a copy between registries gives no
warning.")]
pub(crate) struct Copy {
    /// The image: REF, docker://REF, oci:DIR[:NAME] or oci:DIR@DIGEST
    #[arg(value_name = "SRC")]
    pub(crate) source: Location,
    /// The destination: REF, docker://REF or oci:DIR[:NAME]. Of several, each gets the image; SRC is read once
    #[arg(value_name = "DST", value_parser = location::destination, required = true, num_args = 1..)]
    pub(crate) destinations: Vec<Location>,
    /// Platforms to select from an index: os/arch[/variant], arch (linux) or */arch (any system), several with commas between them, or `all` [default: all]
    #[arg(long, value_name = "PLATFORM", value_parser = location::platforms)]
    pub(crate) platform: Option<Platforms>,
    #[command(flatten)]
    pub(crate) additional_tags: AdditionalTags,
    #[command(flatten)]
    pub(crate) many: ManyTags,
    #[command(flatten)]
    pub(crate) carry: Carry,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
    #[command(flatten)]
    pub(crate) sides: Sides,
    #[command(flatten)]
    pub(crate) mounting: Mounting,
    #[command(flatten)]
    pub(crate) resume: Resume,
    #[command(flatten)]
    pub(crate) admission: Admission,
}

/// How foreign layers are handled.
#[derive(ClapArgs, Debug)]
pub(crate) struct Foreign {
    #[arg(
        long,
        help = "Include foreign layers: nondistributable ones, and those with `urls`",
        long_help = NONDISTRIBUTABLE_HELP
    )]
    pub(crate) include_nondistributable: bool,
}

/// Which images are admitted.
#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Policy")]
pub(crate) struct Admission {
    #[arg(
        long,
        value_name = "FILE",
        value_parser = file(),
        help = "Use the policy in FILE [default: ~/.config/containers/policy.json, or the system's]",
        long_help = POLICY_HELP
    )]
    pub(crate) policy: Option<PathBuf>,
    /// Use no policy
    #[arg(long, conflicts_with = "policy")]
    pub(crate) insecure_policy: bool,
    #[arg(
        long,
        value_name = "CMD",
        value_parser = admission::program,
        help = "Run CMD with the image's digest; transfer the image only if it succeeds",
        long_help = VERIFY_HELP
    )]
    pub(crate) verify_with: Option<Program>,
    /// Kill CMD after SECONDS
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        default_value_t = admission::TIMEOUT
    )]
    pub(crate) verify_timeout: u64,
}

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

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
The first source that has a credential for a registry is used:
  1. --username, --token-stdin, --token-file; of a copy also --src-… and --dest-…
  2. WINDLASS_AUTH_<HOST>_USERNAME with …_PASSWORD; …_TOKEN or …_TOKEN_FILE. <HOST> is host[:port]
     in capitals, with __ for - and _ for . and : as in WINDLASS_AUTH_GHCR_IO_TOKEN
  3. DOCKER_AUTH_CONFIG, the text of a config.json
  4. --authfile or REGISTRY_AUTH_FILE, instead of 5
  5. containers/auth.json in XDG_RUNTIME_DIR, then in XDG_CONFIG_HOME (~/.config);
     config.json in DOCKER_CONFIG (~/.docker); ~/.dockercfg
A file may name credential helpers: programs docker-credential-NAME in PATH.

Examples:
  windlass login registry.example --username me --password-stdin < password
  windlass login docker.io --username me --password-stdin --authfile auth.json < token")]
pub(crate) struct Login {
    /// The registry: host[:port], or docker.io
    #[arg(value_name = "HOST", value_parser = location::login_host)]
    pub(crate) registry: Registry,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass logout registry.example")]
pub(crate) struct Logout {
    /// The registry: host[:port], or docker.io
    #[arg(value_name = "HOST", value_parser = location::login_host)]
    pub(crate) registry: Registry,
}

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

/// Options that may stand before or after the subcommand.
#[derive(ClapArgs, Debug)]
#[command(mut_args(|arg| arg.global(true)))]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) authentication: Authentication,
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
    #[arg(
        long,
        hide_short_help = true,
        help = "Where credentials are refused for reading, go on without",
        long_help = FALLBACK_HELP,
        help_heading = "Authentication"
    )]
    pub(crate) anonymous_fallback: bool,
    #[arg(
        long,
        value_name = "REGISTRY=REALM",
        value_parser = location::trusted_realm,
        help = "Send REGISTRY's credentials to the token service at REALM (repeatable)",
        long_help = REALM_HELP,
        help_heading = "Authentication"
    )]
    pub(crate) trust_realm: Vec<(Registry, Origin)>,

    #[arg(
        long,
        value_name = "HOST",
        value_parser = scheme::whom,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = scheme::ALL,
        help = "Use TLS, also on loopback; with =HOST for that registry only",
        long_help = TLS_HELP,
        help_heading = "Connection"
    )]
    pub(crate) tls: Vec<Whom>,
    #[arg(
        long,
        value_name = "HOST",
        value_parser = scheme::whom,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = scheme::ALL,
        help = "Use plain HTTP; with =HOST for that registry only",
        long_help = PLAIN_HELP,
        help_heading = "Connection"
    )]
    pub(crate) plain_http: Vec<Whom>,
    /// Also trust the certificate authorities in FILE, PEM or DER (repeatable)
    #[arg(
        long,
        value_name = "FILE",
        value_parser = file(),
        help_heading = "Connection"
    )]
    pub(crate) ca_cert: Vec<PathBuf>,
    /// Run at most N requests per registry at once [default: 64, more than 16 only where answers are quick]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=256),
        help_heading = "Connection"
    )]
    pub(crate) jobs: Option<u32>,
    /// Get at most N manifests in a TIME from each registry, and wait for the next ones: 100/6h, 5/m
    #[arg(
        long,
        value_name = "N/TIME",
        hide_short_help = true,
        help_heading = "Connection"
    )]
    pub(crate) manifests: Option<Budget>,
    /// Retry a failed request N times; progress resets the count [default: 4]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(0..=100),
        hide_short_help = true,
        help_heading = "Connection"
    )]
    pub(crate) retries: Option<u32>,
    /// Upload larger blobs in chunks of SIZE bytes: 5M, 512K, 65536 [default: as the registry needs]
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = chunk_size,
        hide_short_help = true,
        help_heading = "Connection"
    )]
    pub(crate) chunk_size: Option<u64>,
    /// Download a large blob in up to N parts at once; 1 for a single stream [default: 12]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=64),
        hide_short_help = true,
        help_heading = "Connection"
    )]
    pub(crate) parts: Option<u32>,
    /// Time out a connection on which nothing moves for this long [default: 60]
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        help_heading = "Connection"
    )]
    pub(crate) timeout: Option<u64>,

    #[arg(
        long,
        help = "Print a JSON object instead of a digest",
        long_help = JSON_HELP,
        help_heading = "Output"
    )]
    pub(crate) json: bool,
    /// Print errors only
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Print requests, responses and events, without secrets, instead of progress
    #[arg(long, help_heading = "Output")]
    pub(crate) trace: bool,
    #[arg(
        long,
        value_name = "FILE",
        value_parser = file(),
        help = "Record the session to FILE, without secrets, for `windlass replay`",
        long_help = TAPE_HELP,
        help_heading = "Output"
    )]
    pub(crate) tape: Option<PathBuf>,
}

/// A number of bytes, with K, M or G for powers of 1024.
fn chunk_size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['K', 'k']) {
        Some(number) => (number, 1 << 10),
        None => match text.strip_suffix(['M', 'm']) {
            Some(number) => (number, 1 << 20),
            None => match text.strip_suffix(['G', 'g']) {
                Some(number) => (number, 1 << 30),
                None => (text, 1_u64),
            },
        },
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let size = number.parse::<u64>().ok().filter(|_| is_number);
    match size.and_then(|size| size.checked_mul(unit)) {
        Some(size) if size >= 64 << 10 => Ok(size),
        Some(_) => Err("chunks have at least 64K".into()),
        None => Err("not a number of bytes, such as 5M".into()),
    }
}

pub(crate) fn file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(location::file)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// PUSHB-35: no chunk is so small that the registry's count of it could mean another.
    #[test]
    fn sizes_of_chunks() {
        for (text, expected) in [
            ("65536", Some(65536)),
            ("64K", Some(65536)),
            ("5M", Some(5 << 20)),
            ("1g", Some(1 << 30)),
            ("1", None),
            ("63K", None),
            ("", None),
            ("M", None),
            ("+5M", None),
            ("5MB", None),
            ("17179869184G", None),
        ] {
            assert_eq!(super::chunk_size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
