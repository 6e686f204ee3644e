//! Files that will get their final name.
//!
//! Responsible for writing them, and for renaming only the file that is open. Must not know where a
//! name comes from or who may have it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use windlass_core::{Digest, StoreError, StoreErrorKind};

use super::{Layout, sys};
use crate::store::Partial;

/// A written file without its final name. Removed on drop.
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

/// A partial. The lock belongs to the open file.
#[derive(Debug)]
pub(super) struct LayoutPartial {
    pub(super) layout: Layout,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    /// Bytes in the file. More than `len` until new bytes replace those behind it.
    pub(super) stored: u64,
    /// The mode of the finished blob.
    pub(super) mode: u32,
    pub(super) keeping: Keeping,
}

/// Whether an uncommitted partial is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keeping {
    ForLater,
    OnlyNow,
}

impl Partial for LayoutPartial {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, StoreError> {
        Ok(Box::new(Reader {
            file: &self.file,
            position: offset.min(self.len),
            end: self.len,
        }))
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        if !bytes.is_empty() {
            self.cut()?;
        }
        // Not `write_all_at`: after a failure the length must be right.
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
            // The system reports a failed sync once. What is read from the file later may never
            // reach the disk.
            self.keeping = Keeping::OnlyNow;
            return Err(error);
        }
        sys::chmod(&self.file, self.mode);
        // The bytes may be older than the task.
        sys::touch(&self.path);
        let to = self.layout.blob_path(&self.digest);
        rename(&self.layout, &self.file, &self.path, &to)?;
        self.layout.named(to);
        Ok(())
    }
}

impl LayoutPartial {
    /// Truncates the file to `len`.
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
        // An empty partial is not worth keeping.
        if self.keeping == Keeping::OnlyNow || self.stored == 0 {
            remove_if_at(&self.file, &self.path);
        }
        sys::unlock(&self.file);
    }
}

/// Reads a partial without moving the file's position.
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

/// Rejects a file that has a second name or another owner by now.
fn check_ours(layout: &Layout, file: &File, path: &Path) -> Result<(), StoreError> {
    match layout.not_ours(&sys::stat(file, path)?) {
        None => Ok(()),
        Some(why) => Err(StoreError::new(
            StoreErrorKind::Denied,
            format!("refused to use {}: {why}", path.display()),
        )),
    }
}

/// Renames the open file, but no file that may have replaced it.
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
