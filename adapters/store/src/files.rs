//! Files as a store: what is to be sent, where it is.
//!
//! Responsible for reading files as the blobs that they were when they were added. Must not know what they
//! are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use windlass_core::hashing::Hashing;
use windlass_core::{Algorithm, Descriptor, Digest, StoreError};

use crate::layout::error_kind;
use crate::memory::Memory;
use crate::store::{Begun, Store};

/// A store of files, which stay where they are, and of small documents in memory. For pushing: the blobs of an
/// artifact are files, its manifest is in memory.
///
/// A file is hashed when it is added. If it changes before it is sent, the transfer fails: what is sent is hashed
/// again.
#[derive(Debug)]
pub struct Files {
    files: RwLock<BTreeMap<Digest, (PathBuf, u64)>>,
    documents: Memory,
}

/// Bytes of all documents in memory.
const DOCUMENTS: u64 = 64 << 20;

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

impl Files {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            files: RwLock::default(),
            documents: Memory::new(DOCUMENTS),
        }
    }

    /// Adds a file. Its digest and its size in bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn add(
        &self,
        path: impl Into<PathBuf>,
        algorithm: Algorithm,
    ) -> Result<(Digest, u64), StoreError> {
        let path = path.into();
        let mut file = File::open(&path).map_err(|error| failed(&path, &error))?;
        let mut hashing = Hashing::new(algorithm);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let len = file.read(&mut buffer);
            let len = len.map_err(|error| failed(&path, &error))?;
            if len == 0 {
                break;
            }
            hashing.update(&buffer[..len]);
        }
        let (size, digest) = (hashing.len(), hashing.digest());
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.insert(digest.clone(), (path, size));
        Ok((digest, size))
    }

    fn file(&self, digest: &Digest) -> Option<(PathBuf, u64)> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(digest).cloned()
    }
}

impl Store for Files {
    fn title(&self) -> String {
        "the files".into()
    }

    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        if self.contains(digest, size)? {
            return Ok(Begun::Complete);
        }
        self.documents.begin(digest, size)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        match self.file(digest) {
            Some((_, there)) => Ok(there == size),
            None => self.documents.contains(digest, size),
        }
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let Some((path, _)) = self.file(digest) else {
            return self.documents.open(digest, offset);
        };
        let opened = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        });
        let file = opened.map_err(|error| failed(&path, &error))?;
        Ok(Some(Box::new(file)))
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.documents.put(digest, bytes)
    }

    /// Removes a document, or forgets a file.
    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        if files.remove(digest).is_some() {
            return Ok(());
        }
        self.documents.remove(digest)
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.documents.find(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.documents.tag(name, descriptor)
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    let what = format!("cannot read {}: {error}", path.display());
    StoreError::new(error_kind(error), what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

    use windlass_core::StoreErrorKind;

    use super::*;

    fn read(store: &Files, digest: &Digest, offset: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = store.open(digest, offset).unwrap()?;
        file.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn files_and_documents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"of a file").unwrap();
        let store = Files::new();
        let (digest, size) = store.add(&path, Algorithm::Sha512).unwrap();
        assert_eq!(digest, Digest::of(Algorithm::Sha512, b"of a file"));
        assert_eq!(
            (size, read(&store, &digest, 5)),
            (9, Some(b"file".to_vec()))
        );
        assert!(store.contains(&digest, 9).unwrap());
        assert!(!store.contains(&digest, 8).unwrap());
        assert!(matches!(store.begin(&digest, 9), Ok(Begun::Complete)));

        let document = Digest::of(Algorithm::Sha256, b"{}");
        assert_eq!(read(&store, &document, 0), None);
        store.put(&document, b"{}").unwrap();
        assert_eq!(read(&store, &document, 1), Some(b"}".to_vec()));
        let descriptor = Descriptor::new("a/b", document.clone(), 2);
        store.tag(Some("v1"), &descriptor).unwrap();
        assert_eq!(store.find(Some("v1")).unwrap(), descriptor);
        store.remove(&document).unwrap();
        store.remove(&digest).unwrap();
        assert_eq!(read(&store, &document, 0), None);
        assert_eq!(read(&store, &digest, 0), None);
        assert!(path.exists(), "the file stays");
    }

    #[test]
    fn a_file_that_is_not_there() {
        let error = Files::new().add("/nonexistent/file", Algorithm::Sha256);
        let error = error.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/file"), "{error}");
        assert_eq!(error.kind(), StoreErrorKind::Io);
    }
}
