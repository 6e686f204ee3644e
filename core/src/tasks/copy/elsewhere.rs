//! Blobs that a store lacks, from the registry where the image comes from.
//!
//! Responsible for asking for each of them once. Must not know how they get from there to the destination (`blobs`).

use super::{CopyLocation, CopyState};
use crate::blobs::{BlobKey, BlobSource, Waiter};
use crate::digest::Digest;
use crate::error::Error;
use crate::store::StoreErrorKind;
use crate::tasks::TaskPorts;

impl CopyState {
    /// A blob cannot be had from the source. Whether it is now had from elsewhere: a store lacks it, and there is a
    /// registry that may have it.
    pub(super) fn take_from_elsewhere(
        &mut self,
        digest: &Digest,
        error: &Error,
        ports: &mut TaskPorts<'_>,
    ) -> bool {
        let is_absent =
            matches!(error, Error::Store(error) if error.kind() == StoreErrorKind::Absent);
        let (
            true,
            Some((_, from)),
            CopyLocation::Store { .. },
            CopyLocation::Registry { site, .. },
            Some(size),
        ) = (
            is_absent,
            &self.missing_from,
            &self.source,
            &self.destination,
            self.tally.size(digest),
        )
        else {
            return false;
        };
        let (from, key) = (
            from.clone(),
            BlobKey::Repository(site.clone(), digest.clone()),
        );
        let Some(blob) = self.blobs.get_mut(digest) else {
            return false;
        };
        if core::mem::replace(&mut blob.is_elsewhere, true) {
            return false;
        }
        let waiter = Waiter {
            recheck: blob.recheck,
            ..self.waiter(BlobSource::Site(from), size, ports)
        };
        ports.want(key, waiter);
        true
    }
}
