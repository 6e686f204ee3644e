//! Whether blobs are what their names say.
//!
//! Responsible for hashing them. Must not know what is done about those that are damaged.

use std::io::{self, Read as _};

use windlass_core::{Digest, Hashing, StoreError};

use super::{Layout, sys};

/// What was found of a blob.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Good,
    Absent,
    /// It is not what its digest or its size says.
    Damaged(String),
}

/// How much is read at once: enough that the system calls cost nothing beside the hash.
const CHUNK: usize = 256 * 1024;

impl Layout {
    /// Hashes a blob, if it has this size.
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
                // It grows while it is read: it need not be read to its end.
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
