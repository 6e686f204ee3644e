//! A layout that is removed when it is no longer needed.
//!
//! Responsible for its life. What it does in between is a [`Layout`]'s matter, without the syncs:
//! nothing in it outlives the process.

use std::io::Read;
use std::path::Path;

use tempfile::TempDir;
use windlass_core::{Descriptor, Digest, StoreError};

use super::{Durability, Layout, sys};
use crate::store::{Begun, Store};

/// A temporary store, for content that only passes through. Its directory is removed on drop; a
/// kill leaves it to whatever clears the system's temporary files.
#[derive(Debug)]
pub struct Spool {
    layout: Layout,
    // Removed on drop.
    _dir: TempDir,
}

impl Layout {
    /// A temporary layout in the system's directory for temporary files.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn temporary() -> Result<Spool, StoreError> {
        Self::temporary_in(std::env::temp_dir())
    }

    /// A temporary layout in a new directory below `parent`. Whole layers may pass through it, so
    /// it should not be a small memory file system.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn temporary_in(parent: impl AsRef<Path>) -> Result<Spool, StoreError> {
        let parent = parent.as_ref();
        let dir = tempfile::Builder::new()
            .prefix("windlass-")
            .tempdir_in(parent)
            .map_err(|error| sys::failed("create a temporary directory in", parent, &error))?;
        let layout = Self::make(dir.path(), Durability::Temporary)?;
        Ok(Spool { layout, _dir: dir })
    }
}

impl Spool {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.layout.path()
    }
}

impl Store for Spool {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.layout.begin(digest, size)
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.layout.begin_private(digest, size)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.layout.contains(digest, size)
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        Store::open(&self.layout, digest, offset)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.layout.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.layout.remove(digest)
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.layout.find(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.layout.tag(name, descriptor)
    }
}
