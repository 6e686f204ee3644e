//! `pull`, `push` and `copy`.
//!
//! Responsible for what is moved and how. Must not know which images a policy admits (`admission`), nor what the options
//! mean that other subcommands share with these.

use clap::Args as ClapArgs;
use windlass_core::{Platforms, Reference};

use super::{AdditionalTags, Admission, Carry, ManyTags, Mounting};
use crate::authentication::Sides;
use crate::location::{self, InLayout, Location};
use crate::uploads::Resume;

const NONDISTRIBUTABLE_HELP: &str = "\
Include foreign layers: nondistributable ones, and those with `urls`

Base layers of old Windows images are foreign, and most registries do not hold them. By default they \
are left out with a warning. With this option windlass fetches them from the registry, or without \
credentials from their `urls`, and pushes them. Check that their licence allows that.";

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
    /// Of an index, only what is for PLATFORM, or `all` [default: linux on this machine's arch]
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system). Of one platform the image is transferred, without
    /// the index; of several, separated by commas, the index too, as it is; `all` transfers everything.
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
    /// The image, by name or as oci:DIR@DIGEST; without NAME the only one in DIR
    #[arg(value_name = "oci:DIR[:NAME]", value_parser = location::layout)]
    pub(crate) source: InLayout,
    /// The destination: [registry/]repository[:tag]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) destination: Reference,
    /// Of an index, only what is for PLATFORM, or `all` [default: all]
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system). Of one platform the image is transferred, without
    /// the index; of several, separated by commas, the index too, as it is; `all` transfers everything.
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
    /// Take blobs that the layout lacks from REPO, where the image comes from
    ///
    /// REPO is [registry/]repository. The blobs are mounted if REPO is in the registry of REF, otherwise sent while they
    /// are fetched. All manifests must be in the layout.
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
    /// The destinations: REF, docker://REF or oci:DIR[:NAME]
    ///
    /// Of several, each gets the image; SRC is read once.
    #[arg(value_name = "DST", value_parser = location::destination, required = true, num_args = 1..)]
    pub(crate) destinations: Vec<Location>,
    /// Of an index, only what is for PLATFORM, or `all` [default: all]
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system). Of one platform the image is transferred, without
    /// the index; of several, separated by commas, the index too, as it is; `all` transfers everything.
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
