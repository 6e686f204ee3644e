//! Checks blobs against their digests.
//!
//! Responsible for hashing them. Must not know what happens to damaged ones.

use std::io::{self, Read as _};

use windlass_core::{Digest, Hashing, StoreError};

use super::{Layout, sys};

/// The result of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Good,
    Absent,
    /// It does not match its digest or size.
    Damaged(String),
}

/// The bytes read at once: enough to make the cost of system calls negligible.
const CHUNK: usize = 256 * 1024;

impl Layout {
    /// Hashes a blob if it has this size.
    pub(super) fn check_blob(&self, digest: &Digest, size: u64) -> Result<Found, StoreError> {
        let path = self.blob_path(digest);
        let Some(mut file) = self.open_blob(digest)? else {
            return Ok(Found::Absent);
        };
        let len = sys::stat(&file, &path)?.len();
        if len != size {
            let why = format!("it has {len} bytes, expected {size}");
            return Ok(Found::Damaged(why));
        }
        let Some(algorithm) = digest.algorithm() else {
            return Ok(Found::Damaged("its algorithm is unknown".into()));
        };
        let mut hashing = Hashing::new(algorithm);
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                // It grows while it is read; there is no need to read to its end.
                Ok(_) if hashing.len() > size => break,
                Ok(read) => hashing.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(sys::failed("read", &path, &error)),
            }
        }
        let found = hashing.digest();
        if found == *digest {
            return Ok(Found::Good);
        }
        Ok(Found::Damaged(format!("its bytes hash to {found}")))
    }
}
