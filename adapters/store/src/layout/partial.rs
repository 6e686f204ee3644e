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
    pub(super) fn rename(self, layout: &Layout, to: &Path) -> Result<(), StoreError> {
        rename(layout, &self.file, &self.path, to)
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
    /// Bytes in the file. More than `len` until a byte comes that takes the place of those behind.
    pub(super) stored: u64,
    /// What the blob's mode will be.
    pub(super) mode: u32,
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
        if !bytes.is_empty() {
            self.cut()?;
        }
        // By hand, not `write_all_at`: after a failure the length must be right.
        while !bytes.is_empty() {
            match self.file.write_at(bytes, self.len) {
                Ok(0) => return Err(self.failed("write", &io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.len += written as u64;
                    self.stored = self.len;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("write", &error)),
            }
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.len = len.min(self.len);
        self.cut()
    }

    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.cut()?;
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
        check_ours(&self.layout, &self.file, &self.path)?;
        if self.layout.is_durable()
            && let Err(error) = sys::sync_file(&self.file, &self.path)
        {
            // The system reports it once. What is read of the file from now on may never reach the disk.
            self.keeping = Keeping::OnlyNow;
            return Err(error);
        }
        sys::chmod(&self.file, self.mode);
        // All of it may have been here long before the task began.
        sys::touch(&self.path);
        let to = self.layout.blob_path(&self.digest);
        rename(&self.layout, &self.file, &self.path, &to)?;
        self.layout.named(to);
        Ok(())
    }
}

impl LayoutPartial {
    /// Drops what is in the file behind `len`.
    fn cut(&mut self) -> Result<(), StoreError> {
        if self.stored > self.len {
            self.file
                .set_len(self.len)
                .map_err(|error| self.failed("cut", &error))?;
            self.stored = self.len;
        }
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) -> StoreError {
        sys::failed(what, &self.path, error)
    }
}

impl Drop for LayoutPartial {
    fn drop(&mut self) {
        // An empty one is not worth keeping.
        if self.keeping == Keeping::OnlyNow || self.stored == 0 {
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

/// What got a second name meanwhile, or an owner who is not us, gets no name of ours.
fn check_ours(layout: &Layout, file: &File, path: &Path) -> Result<(), StoreError> {
    match layout.not_ours(&sys::stat(file, path)?) {
        None => Ok(()),
        Some(why) => Err(StoreError::new(
            StoreErrorKind::Denied,
            format!("refused to use {}: {why}", path.display()),
        )),
    }
}

/// Renames the file that is open, and no other that may have been put in its place.
fn rename(layout: &Layout, file: &File, from: &Path, to: &Path) -> Result<(), StoreError> {
    check_ours(layout, file, from)?;
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
