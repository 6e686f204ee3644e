//! `--mount-from`, for the commands that send blobs.

use clap::Args;
use windlass_core::MountFrom;

/// Where the registry may have the blobs already.
#[derive(Args, Debug)]
pub(crate) struct Mounting {
    /// Mount blobs from REPO of the same registry where possible (repeatable)
    ///
    /// The registry is asked for it before a blob is sent: of up to 4 repositories if the blob has more than 10 MiB, of 3
    /// if it has more than 100 KiB, otherwise of one. In a copy within one registry the source is the first of them.
    /// '*' asks the registry to look through all its repositories, which few registries do.
    #[arg(long, value_name = "REPO")]
    pub(crate) mount_from: Vec<MountFrom>,
}
