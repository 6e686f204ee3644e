//! Verifies stored content.
//!
//! Responsible for finding damaged and missing content. Must not repair anything.

use std::collections::BTreeSet;
use std::io::Read as _;

use windlass_core::{Descriptor, Digest, Hashing, StoreError};

use super::walk::Node;
use super::{Layout, sys};
use crate::store::Store as _;

/// The bytes read at once.
const CHUNK: usize = 256 * 1024;

/// What [`Layout::verify`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Verified {
    /// The number of blobs and manifests hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Content that does not match its digest, size or media type, with what was found.
    pub damaged: Vec<(Digest, String)>,
    /// Content that a manifest or an entry refers to and that is absent. Foreign layers may be
    /// absent.
    pub missing: Vec<Descriptor>,
    /// Whether `stop` ended the verification early.
    pub stopped: bool,
}

impl Layout {
    /// Hashes everything that an entry refers to; without a name, that of all entries and every
    /// other blob. Calls `stop` now and then; if it returns true, verification ends.
    ///
    /// # Errors
    ///
    /// [`NoSuchName`](windlass_core::StoreErrorKind::NoSuchName), or if the layout cannot be read.
    /// Damage is not an error.
    pub fn verify(
        &self,
        name: Option<&str>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Verified, StoreError> {
        let roots = match name {
            Some(_) => self.find_entries(name)?,
            None => self.all_entries()?,
        };
        let mut verified = Verified::default();
        let mut seen = BTreeSet::new();
        self.walk(roots, |descriptor, node| {
            let digest = &descriptor.digest;
            seen.insert(digest.clone());
            match node {
                Node::Manifest | Node::Blob => {
                    self.check(digest, Some(descriptor.size), &mut verified, stop)
                }
                Node::Missing => {
                    if !descriptor.is_foreign() {
                        verified.missing.push(descriptor.clone());
                    }
                    Ok(())
                }
                Node::Unreadable(error) => {
                    verified.damaged.push((digest.clone(), error.to_string()));
                    Ok(())
                }
                Node::TooLarge => {
                    let why = "it is larger than a manifest may be".to_owned();
                    verified.damaged.push((digest.clone(), why));
                    Ok(())
                }
            }
        })?;
        if name.is_none() {
            for digest in self.stored()? {
                if !seen.contains(&digest) {
                    self.check(&digest, None, &mut verified, stop)?;
                }
            }
        }
        Ok(verified)
    }

    fn check(
        &self,
        digest: &Digest,
        size: Option<u64>,
        verified: &mut Verified,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), StoreError> {
        if verified.stopped {
            return Ok(());
        }
        let Some((len, found)) = self.hash_blob(digest, stop)? else {
            verified.stopped = stop();
            return Ok(());
        };
        verified.blobs += 1;
        verified.bytes += len;
        if size.is_some_and(|size| size != len) {
            let why = format!("it has {len} bytes");
            verified.damaged.push((digest.clone(), why));
        } else if found != *digest {
            let why = format!("its bytes have the digest {found}");
            verified.damaged.push((digest.clone(), why));
        }
        Ok(())
    }

    /// Length and digest of a stored blob; `None` if it is absent, of an unknown algorithm, or
    /// `stop` returned true.
    pub(super) fn hash_blob(
        &self,
        digest: &Digest,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<(u64, Digest)>, StoreError> {
        let Some(algorithm) = digest.algorithm() else {
            return Ok(None);
        };
        let Some(mut blob) = self.open(digest, 0)? else {
            return Ok(None);
        };
        let mut hashing = Hashing::new(algorithm);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = blob.read(&mut chunk);
            let read =
                read.map_err(|error| sys::failed("read", &self.blob_path(digest), &error))?;
            if read == 0 {
                return Ok(Some((hashing.len(), hashing.digest())));
            }
            if stop() {
                return Ok(None);
            }
            hashing.update(&chunk[..read]);
        }
    }
}
