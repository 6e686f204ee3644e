//! What is copied with an image because it belongs to it.

use clap::Args as ClapArgs;
use windlass_core::Carry as Carried;

const REFERRERS_HELP: &str = "\
Copy what refers to the image, too: signatures, SBOMs and other artifacts

They are looked for at each manifest that is copied, an index and its images, by the referrers API or at the \
referrers tag, and so is what refers to them. They are copied before the image gets its tag or name. What \
cannot be copied is listed; the image is copied nevertheless, and the exit code is that of the failure.";

/// What is copied with an image.
#[derive(ClapArgs, Debug)]
pub(crate) struct Carry {
    #[arg(
        short = 'r',
        long,
        help = "Copy what refers to the image, too: signatures, SBOMs and other artifacts",
        long_help = REFERRERS_HELP
    )]
    pub(crate) referrers: bool,
    /// With --referrers, only those of this artifact type (repeatable)
    #[arg(long, value_name = "TYPE", requires = "referrers")]
    pub(crate) artifact_type: Vec<String>,
    /// Copy what cosign keeps at tags made of digests: sha256-….sig, .att and .sbom
    #[arg(long)]
    pub(crate) digest_tags: bool,
}

impl Carry {
    pub(crate) fn wanted(self) -> Carried {
        let mut carry = Carried::default();
        carry.referrers = self.referrers;
        carry.artifact_types = self.artifact_type;
        carry.digest_tags = self.digest_tags;
        carry
    }
}
