//! Moving a blob into a store: hashing what is there, fetching the rest, giving it its name.
//!
//! Responsible for the steps between a partial that is open and its commit. Must not know who waits
//! for the blob, nor repositories (`upload`).

use alloc::format;

use super::{BlobSource, Blobs, Phase};
use crate::error::{Error, Measure};
use crate::extents::Extents;
use crate::hashing::Hashing;
use crate::ids::{Owner, TransferId};
use crate::op::{BlobGet, Operation};
use crate::ports::Ports;
use crate::store::StoreOp;

impl Blobs {
    /// A partial is open, with bytes of an earlier run in it if `len` is not 0.
    pub(super) fn begun_at(
        &mut self,
        id: TransferId,
        len: u64,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        transfer.unverified_prefix = len > 0;
        // An import hashes the prefix itself.
        if len == 0 || matches!(transfer.first()?.source, BlobSource::Store(_)) {
            return self.move_from(id, None, ports);
        }
        let (_, digest) = transfer.stored()?;
        let hashing = Hashing::for_digest(&digest);
        self.hash(id, (len, 0), hashing, ports)
    }

    /// All bytes are in the partial; `bytes` of them were received. Hashes those that are not hashed.
    pub(super) fn fetched(
        &mut self,
        id: TransferId,
        bytes: u64,
        hashing: Hashing,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let size = self.get(id)?.size;
        if hashing.len() == size {
            return self.commit(id, bytes, ports);
        }
        self.hash(id, (size, bytes), hashing, ports)
    }

    /// Hashes the first `len` bytes of the partial, of which `bytes` were received.
    fn hash(
        &mut self,
        id: TransferId,
        (len, bytes): (u64, u64),
        hashing: Hashing,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        transfer.phase = Phase::Hashing { len, bytes };
        let (store, digest) = transfer.stored()?;
        let op = StoreOp::Hash {
            digest,
            hashing,
            upto: len,
        };
        ports.step(Owner::Transfer(id), store, op);
        Ok(())
    }

    /// The first bytes are hashed: are they the whole blob?
    pub(super) fn hashed(
        &mut self,
        id: TransferId,
        (len, bytes): (u64, u64),
        hashing: Hashing,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        if len < transfer.size && hashing.len() == len {
            return self.move_from(id, Some(hashing), ports);
        }
        if hashing.len() == transfer.size && hashing.digest() == *transfer.key.digest() {
            return self.commit(id, bytes, ports);
        }
        self.discard(id, ports)
    }

    /// Fetches what `hashing` does not hold yet.
    pub(super) fn move_from(
        &mut self,
        id: TransferId,
        hashing: Option<Hashing>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let waiter = transfer.first()?;
        transfer.phase = Phase::Moving;
        let (size, was_wrong) = (transfer.size, transfer.is_single);
        let (store, digest) = transfer.stored()?;
        let site = match &waiter.source {
            BlobSource::Store(from) => {
                let op = StoreOp::Import {
                    from: *from,
                    digest,
                    size,
                };
                ports.step(Owner::Transfer(id), store, op);
                return Ok(());
            }
            BlobSource::Site(site) => site.clone(),
        };
        let hashing = hashing.unwrap_or_else(|| Hashing::for_digest(&digest));
        if size == 0 {
            // PULLB-06: there is nothing to ask for, and the digest says so.
            let found = hashing.digest();
            if found == digest {
                return self.commit(id, 0, ports);
            }
            return self.fail(id, Error::of_empty_blob(&digest, &found), ports);
        }
        let op = BlobGet {
            site: site.clone(),
            digest,
            size,
            store: Some(store),
            transfer: id,
            start: hashing.len(),
            position: hashing.len(),
            end: size,
            shares: false,
            present: Extents::first(hashing.len()),
            hashing,
            restarted: was_wrong,
            is_whole: false,
            shorts: 0,
            received: 0,
            urls: waiter.urls.clone(),
            url: None,
        };
        self.exchange(id, (site, Operation::BlobGet(op)), &waiter, ports)
    }

    /// The blob was copied from another store.
    pub(super) fn imported(
        &mut self,
        id: TransferId,
        hashing: Hashing,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (size, len) = (transfer.size, hashing.len());
        let (found, digest) = (hashing.digest(), transfer.key.digest());
        if len == size && found == *digest {
            return self.commit(id, size, ports);
        }
        let error = Error::mismatch(
            format!("blob {digest} in the layout it comes from"),
            Measure::of(digest, size),
            Measure::of(&found, len),
        );
        if core::mem::take(&mut transfer.unverified_prefix) {
            // It may be the earlier run's bytes that are wrong: once without them.
            return self.discard(id, ports);
        }
        self.fail(id, error, ports)
    }

    pub(super) fn commit(
        &mut self,
        id: TransferId,
        bytes: u64,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        transfer.phase = Phase::Committing { bytes };
        let size = transfer.size;
        let (store, digest) = transfer.stored()?;
        ports.step(Owner::Transfer(id), store, StoreOp::Commit { digest, size });
        Ok(())
    }

    pub(super) fn discard(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        transfer.phase = Phase::Discarding;
        let (store, digest) = transfer.stored()?;
        ports.step(Owner::Transfer(id), store, StoreOp::Discard { digest });
        Ok(())
    }
}
