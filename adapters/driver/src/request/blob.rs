//! Blobs that are put.

use std::path::Path;
use std::sync::Arc;

use windlass_core::reference::Target;
use windlass_core::{Algorithm, Digest, Error, Failure, Reference, StoreError};
use windlass_store::{Files, Memory, Store, StoreHandle};

/// The content of a blob that is put: bytes, a file, or a blob of a store.
#[derive(Clone, Debug)]
pub struct BlobContent(Content);

#[derive(Clone, Debug)]
enum Content {
    Bytes(Arc<[u8]>),
    Stored {
        store: Arc<dyn Store>,
        digest: Digest,
        size: u64,
    },
}

impl BlobContent {
    /// The content of a file, which is hashed now, with sha256. If it changes before it is sent, the request
    /// fails.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::file_hashed(path, Algorithm::Sha256)
    }

    /// The same with another algorithm.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn file_hashed(path: impl AsRef<Path>, algorithm: Algorithm) -> Result<Self, StoreError> {
        let files = Files::new();
        let (digest, size) = files.add(path.as_ref(), algorithm)?;
        Ok(Self::stored(files, digest, size))
    }

    /// A blob of a store, of `size` bytes.
    pub fn stored(store: impl Into<StoreHandle>, digest: Digest, size: u64) -> Self {
        let store = Arc::clone(store.into().store());
        Self(Content::Stored {
            store,
            digest,
            size,
        })
    }

    /// Its digest, sha256 unless it is a blob of a store, and its size in bytes.
    pub(crate) fn described(&self) -> (Digest, u64) {
        match &self.0 {
            Content::Bytes(bytes) => {
                let digest = Digest::of(Algorithm::Sha256, bytes);
                (digest, bytes.len() as u64)
            }
            Content::Stored { digest, size, .. } => (digest.clone(), *size),
        }
    }

    /// A store that has it, its name in a repository, and its size.
    pub(super) fn at(
        &self,
        repository: &Reference,
    ) -> Result<(Arc<dyn Store>, Reference, u64), Failure> {
        let (store, digest, size) = match &self.0 {
            Content::Bytes(bytes) => {
                let (store, digest) = held(bytes, repository.digest())?;
                (store, digest, bytes.len() as u64)
            }
            Content::Stored {
                store,
                digest,
                size,
            } => (Arc::clone(store), digest.clone(), *size),
        };
        if let Some(named) = repository.digest()
            && *named != digest
        {
            let what = format!("the blob for `{repository}`");
            return Err(Failure::new(vec![Error::mismatch(what, named, &digest)]));
        }
        Ok((store, repository.with_target(Target::Digest(digest)), size))
    }
}

/// A store that holds bytes under their digest: with the algorithm of `named`, if that is known.
pub(super) fn held(
    bytes: &Arc<[u8]>,
    named: Option<&Digest>,
) -> Result<(Arc<dyn Store>, Digest), Failure> {
    let algorithm = named.and_then(Digest::algorithm);
    let digest = Digest::of(algorithm.unwrap_or(Algorithm::Sha256), bytes);
    let store = Memory::new(bytes.len() as u64);
    let put = store.put(&digest, bytes);
    put.map_err(|error| Failure::new(vec![Error::Store(error)]))?;
    Ok((Arc::new(store), digest))
}

impl From<Vec<u8>> for BlobContent {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Content::Bytes(bytes.into()))
    }
}

impl From<&[u8]> for BlobContent {
    fn from(bytes: &[u8]) -> Self {
        Self(Content::Bytes(bytes.into()))
    }
}

impl From<Arc<[u8]>> for BlobContent {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(Content::Bytes(bytes))
    }
}
