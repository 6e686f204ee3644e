//! Files that will get their final name.
//!
//! Responsible for writing them, and for renaming only the file that is open. Must not know where a
//! name comes from or who may have it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use windlass_core::{Digest, Extents, StoreError, StoreErrorKind};

use super::record::Record;
use super::{Layout, sys};
use crate::store::{Partial, Preserve};

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
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    /// What is stored.
    pub(super) extents: Extents,
    /// Names what is stored, if there are gaps.
    pub(super) record: Option<Record>,
    /// When it was last written.
    pub(super) recorded: Instant,
    /// Bytes in the file. Without a record, more than are stored until new bytes replace those behind.
    pub(super) stored: u64,
    /// The mode of the finished blob.
    pub(super) mode: u32,
    /// Whether gaps take up nothing. Otherwise there are none.
    pub(super) is_sparse: bool,
    pub(super) keeping: Keeping,
}

/// Whether an uncommitted partial is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keeping {
    ForLater,
    OnlyNow,
}

/// How often the record is written. What is lost in a crash takes as long to fetch again; a blob that takes
/// no longer is not synced twice.
const EVERY: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 1 });

impl Partial for LayoutPartial {
    fn len(&self) -> u64 {
        self.extents.prefix()
    }

    fn extents(&self) -> Vec<Range<u64>> {
        self.extents.iter().collect()
    }

    fn is_append_only(&self) -> bool {
        !self.is_sparse
    }

    fn read(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, StoreError> {
        let end = self.len();
        Ok(Box::new(Reader {
            file: &self.file,
            position: offset.min(end),
            end,
        }))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_at(self.len(), bytes)
    }

    fn write_at(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.saturating_add(bytes.len() as u64);
        let is_behind = offset > self.len();
        let has_gaps = self.record.is_some() || is_behind;
        if self.extents.overlaps(&(offset..end))
            || (has_gaps && end > self.size)
            || (is_behind && self.is_append_only())
        {
            let why = format!("cannot write bytes {offset} to {end} of {}", self.digest);
            return Err(StoreError::new(StoreErrorKind::Unsupported, why));
        }
        if is_behind && self.record.is_none() {
            self.begin_record()?;
        } else if self.record.is_none() {
            self.cut()?;
        }
        // Not `write_all_at`: after a failure it must be right what is stored.
        while !bytes.is_empty() {
            match self.file.write_at(bytes, offset) {
                Ok(0) => return Err(self.failed("write", &io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    let to = offset + written as u64;
                    self.extents.add(offset..to);
                    self.stored = self.stored.max(to);
                    (offset, bytes) = (to, &bytes[written..]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("write", &error)),
            }
        }
        Ok(())
    }

    fn preserve(&mut self) -> Option<Preserve> {
        let record = self.record.as_ref()?;
        if self.keeping == Keeping::OnlyNow || self.recorded.elapsed() < EVERY {
            return None;
        }
        // One waits for the disk, and the others go on writing.
        if record.is_saving() {
            return None;
        }
        self.recorded = Instant::now();
        let save = record.prepare(&self.extents);
        Some(Box::new(move || save.run()))
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.extents.truncate(len);
        if let Some(record) = &self.record {
            record.void();
            if self.extents.total() > self.extents.prefix() {
                return record.prepare(&self.extents).run();
            }
            self.end_record()?;
        }
        self.cut()
    }

    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let (stored, len) = (&self.extents, self.len());
        if len != self.size || stored.end() != self.size {
            return Err(self.damaged(stored.total()));
        }
        if let Some(record) = self.record.take() {
            record.void_and_wait();
            self.refuse_unsynced(&record);
        }
        self.cut()?;
        let stored = sys::stat(&self.file, &self.path)?.len();
        if stored != self.size {
            return Err(self.damaged(stored));
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
        self.layout.named(&self.digest);
        Ok(())
    }
}

impl LayoutPartial {
    /// The file gets gaps: before that, its record begins.
    fn begin_record(&mut self) -> Result<(), StoreError> {
        self.cut()?;
        let is_durable = self.layout.is_durable() && self.keeping == Keeping::ForLater;
        let (path, size) = (self.path.clone(), self.size);
        let begun = Record::begin(&self.file, path, size, is_durable, &self.extents);
        let stored = self.file.metadata().map(|it| it.len());
        self.stored = stored.unwrap_or(u64::MAX);
        self.record = Some(begun.inspect_err(|error| {
            if error.detail().starts_with("sync ") {
                self.keeping = Keeping::OnlyNow;
            }
        })?);
        self.recorded = Instant::now();
        Ok(())
    }

    /// There is no gap any more: the length of the file says what is stored. The bytes are synced first; so
    /// far only the record stood for them.
    fn end_record(&mut self) -> Result<(), StoreError> {
        let Some(record) = self.record.take() else {
            return Ok(());
        };
        record.void_and_wait();
        let synced = if self.extents.is_empty() {
            Ok(())
        } else {
            record.sync()
        };
        self.refuse_unsynced(&record);
        synced?;
        self.cut()
    }

    /// What could not be synced once is not kept.
    fn refuse_unsynced(&mut self, record: &Record) {
        if record.has_failed() {
            self.keeping = Keeping::OnlyNow;
        }
    }

    /// Truncates the file to what is stored, if it has no record.
    fn cut(&mut self) -> Result<(), StoreError> {
        let len = self.len();
        if self.stored > len {
            self.file
                .set_len(len)
                .map_err(|error| self.failed("cut", &error))?;
            self.stored = len;
        }
        Ok(())
    }

    fn damaged(&self, stored: u64) -> StoreError {
        StoreError::new(
            StoreErrorKind::Damaged,
            format!(
                "refused to commit {}: {} has {stored} bytes, expected {}",
                self.digest,
                self.path.display(),
                self.size
            ),
        )
    }

    fn failed(&self, what: &str, error: &io::Error) -> StoreError {
        sys::failed(what, &self.path, error)
    }

    /// Leaves behind what a later process goes on with. On a slow disk that is what the last record names, as
    /// after a kill: what is cancelled does not wait for a sync.
    fn leave(&mut self) -> Result<(), StoreError> {
        let Some(record) = &self.record else {
            return Ok(());
        };
        let record = record.clone();
        let left = if self.keeping == Keeping::OnlyNow || !record.is_quick() {
            Ok(())
        } else if self.extents.total() > self.extents.prefix() {
            record.prepare(&self.extents).run()
        } else {
            self.end_record()
        };
        // The file may have another owner soon.
        record.void();
        self.refuse_unsynced(&record);
        left
    }
}

impl Drop for LayoutPartial {
    fn drop(&mut self) {
        // What could not be recorded is not there for the next process.
        let _left = self.leave();
        // An empty partial is not worth keeping.
        let is_empty = self.stored == 0 || (self.record.is_some() && self.extents.is_empty());
        if self.keeping == Keeping::OnlyNow || is_empty {
            remove_if_at(&self.file, &self.path);
        }
        sys::unlock(&self.file);
    }
}

/// How many bytes of a partial its owner has written, as far as its file tells.
pub(super) fn written(file: &Metadata, size: u64) -> u64 {
    if file.len() <= size {
        return file.len();
    }
    // With gaps, its length says nothing.
    allocated(file).min(size)
}

/// The bytes that a file takes up: fewer than its length if it has gaps.
pub(super) fn allocated(file: &Metadata) -> u64 {
    /// The unit of `st_blocks`.
    const BLOCK: u64 = 512;
    file.len().min(file.blocks().saturating_mul(BLOCK))
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
