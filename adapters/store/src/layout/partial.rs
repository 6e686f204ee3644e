//! Files that wait for their final name.
//!
//! Responsible for writing them, and for renaming the file that is open and no other. Must not
//! know where a name comes from or who may have it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use windlass_core::{Digest, StoreError, StoreErrorKind};

use super::{Layout, sys};
use crate::store::Partial;

/// A written file that waits for its name. Dropped without it, it is removed.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Staged {
    pub(super) fn rename(self, to: &Path) -> Result<(), StoreError> {
        rename(&self.file, &self.path, to)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        remove_if_at(&self.file, &self.path);
    }
}

/// A blob under way. The lock is the open file's.
#[derive(Debug)]
pub(super) struct LayoutPartial {
    pub(super) layout: Layout,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) keeping: Keeping,
}

/// What becomes of the bytes if they are not committed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keeping {
    ForLater,
    OnlyNow,
}

impl Partial for LayoutPartial {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self) -> Result<Box<dyn Read + '_>, StoreError> {
        Ok(Box::new(Reader {
            file: &self.file,
            position: 0,
            end: self.len,
        }))
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        // By hand, not `write_all_at`: after a failure the length must be right.
        while !bytes.is_empty() {
            match self.file.write_at(bytes, self.len) {
                Ok(0) => return Err(self.failed("write", &io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.len += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("write", &error)),
            }
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        if len < self.len {
            self.file
                .set_len(len)
                .map_err(|error| self.failed("cut", &error))?;
            self.len = len;
        }
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let stored = sys::stat(&self.file, &self.path)?.len();
        if self.len != self.size || stored != self.size {
            return Err(StoreError::new(
                StoreErrorKind::Damaged,
                format!(
                    "refused to commit {}: {} has {stored} bytes, expected {}",
                    self.digest,
                    self.path.display(),
                    self.size
                ),
            ));
        }
        if self.layout.is_durable() {
            sync_file(&self.file, &self.path)?;
        }
        sys::chmod(&self.file, self.layout.blob_mode()?);
        rename(&self.file, &self.path, &self.layout.blob_path(&self.digest))
    }
}

impl LayoutPartial {
    fn failed(&self, what: &str, error: &io::Error) -> StoreError {
        sys::failed(what, &self.path, error)
    }
}

impl Drop for LayoutPartial {
    fn drop(&mut self) {
        // An empty one is not worth keeping.
        if self.keeping == Keeping::OnlyNow || self.len == 0 {
            remove_if_at(&self.file, &self.path);
        }
        sys::unlock(&self.file);
    }
}

/// Reads a partial without moving anything that a write depends on.
struct Reader<'a> {
    file: &'a File,
    position: u64,
    end: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..room], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

pub(super) fn sync_file(file: &File, path: &Path) -> Result<(), StoreError> {
    // Bytes and length are enough: a wrong time or mode damages nothing.
    file.sync_data()
        .map_err(|error| sys::failed("sync", path, &error))
}

/// Renames the file that is open, and no other that may have been put in its place.
fn rename(file: &File, from: &Path, to: &Path) -> Result<(), StoreError> {
    if !sys::is_at(file, from)? {
        return Err(StoreError::new(
            StoreErrorKind::Io,
            format!("{} was replaced while it was being written", from.display()),
        ));
    }
    fs::rename(from, to).map_err(|error| {
        let what = format!("rename {} to", from.display());
        sys::failed(&what, to, &error)
    })
}

pub(super) fn remove_if_at(file: &File, path: &Path) {
    if matches!(sys::is_at(file, path), Ok(true)) {
        let _ = fs::remove_file(path);
    }
}
