//! Which images may be used, for the commands that read one.
//!
//! Responsible for the options. Must not know how they are decided on (`crate::admission`).

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::file;
use crate::admission::{self, Program};

const POLICY_HELP: &str = "\
Use the policy in FILE [default: the system's containers policy.json]

The policy applies to the source: `transports.docker` to registries, `transports.oci` to image layouts. \
By default it is ~/.config/containers/policy.json, otherwise /etc/containers/policy.json; without a \
file every image is accepted. An image that is rejected ends the command before the first request, \
with exit code 1. windlass verifies no signatures: what needs one (`signedBy`, `sigstoreSigned`) is \
refused, unless --verify-with is given.";

const VERIFY_HELP: &str = "\
Run CMD with the image's digest; transfer the image only if it succeeds

CMD is split into words as a shell does, but run without one: variables, patterns and pipes need \
`sh -c '…' sh`. The image is added as the last argument, as registry/repository@digest or \
oci:DIR@digest. It is also in WINDLASS_VERIFY_REFERENCE; WINDLASS_VERIFY_NAME is SRC as given, \
WINDLASS_VERIFY_DIGEST the digest. If a policy applies, WINDLASS_VERIFY_POLICY is its file, \
WINDLASS_VERIFY_SCOPE the scope and WINDLASS_VERIFY_TYPES the types of the signatures that are \
needed. CMD runs once for every image that the policy does not reject, before anything of it is written; with \
--all-tags for several at once. \
Its standard error is shown, its standard output is not. The image is then transferred by that digest.";

/// Which images are admitted.
#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Policy")]
pub(crate) struct Admission {
    #[arg(
        long,
        value_name = "FILE",
        value_parser = file(),
        help = "Use the policy in FILE [default: the system's containers policy.json]",
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
