//! Blobs: finding them, owning partials, committing.
//!
//! ```text
//!  begin ──▶ complete? ─yes─▶ Complete
//!              │no
//!              ▼
//!            open partial, try lock ─taken─▶ Busy
//!              │locked
//!              ▼
//!            still at its path? ─no──▶ retry: it was committed or swept in between
//!              │yes
//!              ▼
//!            only this user's? ─no──▶ remove this name, retry
//!              │yes
//!              ▼
//!            complete by now? ─yes─▶ remove the partial, Complete
//!              │no
//!              ▼
//!            Ours ──append…──▶ commit: sync, still at its path?, rename
//! ```
//!
//! Responsible for exclusive ownership across threads and processes, and for giving the name to
//! exactly the bytes that were verified. Must not know `index.json`.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write as _};
use std::mem;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use windlass_core::{Digest, Extents, StoreError, StoreErrorKind};

use super::partial::{Keeping, LayoutPartial, Staged, allocated, written};
use super::record::Record;
use super::{Existing, Layout, read_small, sys};
use crate::store::{Begun, Partial as _};

/// How often `begin` and unique names retry. Each retry means that another process has just
/// committed, swept or taken the name; a handful in a row is already hard to provoke.
const TURNS: usize = 64;

/// Blobs whose names are not yet durable.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Digests, not paths: there are thousands, and each shares its text with the descriptor.
    names: Vec<Digest>,
    /// A sync has failed.
    failed: bool,
}

/// What a new file shows of where the layout is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probed {
    /// The mode of finished blobs: 0644 less the umask.
    pub(super) mode: u32,
    /// Whether gaps in a file take up nothing.
    pub(super) is_sparse: bool,
}

/// Whether a gap in this empty file takes up nothing. Where it is filled with zeros (vfat, exfat), a partial that
/// gets its last bytes first costs as much writing as all of the blob, and what its file takes up does not say how
/// much of it came.
fn is_sparse(file: &File) -> bool {
    /// Larger than a cluster.
    const GAP: u64 = 1 << 20;
    file.set_len(GAP).is_ok() && file.metadata().is_ok_and(|it| allocated(&it) < GAP / 2)
}

impl Layout {
    pub(super) fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        Ok(self.blob_len(digest)? == Some(size))
    }

    /// Opens a complete blob for reading; follows symlinks.
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        sys::open_through_links(&self.blob_path(digest))
    }

    /// Whether the blob is behind a symlink.
    pub(crate) fn is_behind_link(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(sys::is_link(&self.blobs())?
            || sys::is_link(&self.blob_dir(digest))?
            || sys::is_link(&self.blob_path(digest))?)
    }

    /// Whether a task may rely on the blob: it exists and, if asked for, matches its digest.
    fn is_complete(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        if !self.has_blob(digest, size)? {
            return Ok(false);
        }
        let is_intact = match self.existing {
            Existing::Sized => true,
            Existing::Hashed => self
                .hash_blob(digest, &|| false)?
                .is_some_and(|(_, found)| found == *digest),
        };
        Ok(is_intact && self.relies_on(digest, size)?)
    }

    /// Whether the blob's directory exists. Neither it nor `blobs` may be a symlink if it is
    /// written to (LAY-14).
    pub(super) fn has_blob_dir(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(sys::real_dir(&self.blobs())?.is_some()
            && sys::real_dir(&self.blob_dir(digest))?.is_some())
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_dir(digest).join(digest.encoded())
    }

    pub(super) fn begin_blob(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.writable(digest)?;
        for _ in 0..TURNS {
            if self.is_complete(digest, size)? {
                return Ok(Begun::Complete);
            }
            self.prepare_blob(digest)?;
            let path = self.partials().join(stem(digest));
            let Some(file) = self.open_shared(&path)? else {
                continue;
            };
            if !sys::try_lock(&file, &path)? {
                let len = written(&sys::stat(&file, &path)?, size);
                return Ok(Begun::Busy { len });
            }
            if self.keeps(&file, &path)? {
                return self.own(file, path, Keeping::ForLater, digest, size);
            }
        }
        Err(self.restless(digest))
    }

    /// Opens or creates a file that several processes use. `None` if the existing file belonged to
    /// another user and could not be opened; then it is removed and the caller retries.
    pub(super) fn open_shared(&self, path: &Path) -> Result<Option<File>, StoreError> {
        let error = match sys::open_or_create(path) {
            Ok(file) => return Ok(Some(file)),
            Err(error) => error,
        };
        let is_foreign = |file: &Metadata| file.is_file() && self.not_ours(file).is_some();
        match fs::symlink_metadata(path) {
            // No process of this user can have it open.
            Ok(there) if error.kind() == StoreErrorKind::Denied && is_foreign(&there) => {
                sys::remove(path).map(|()| None)
            }
            Ok(_) | Err(_) => Err(error),
        }
    }

    /// Whether a locked file is still at its path and only this user can write it. Otherwise the
    /// name is removed, which only the holder of the file's lock does: so a file that replaces it
    /// is not removed.
    pub(super) fn keeps(&self, file: &File, path: &Path) -> Result<bool, StoreError> {
        if !sys::is_at(file, path)? {
            return Ok(false);
        }
        let there = sys::stat(file, path)?;
        if self.not_ours(&there).is_some() {
            sys::remove(path)?;
            return Ok(false);
        }
        if there.mode() & 0o600 != 0o600 {
            // The umask has removed our own rights; the file could never be opened again.
            sys::chmod(file, 0o600);
        }
        Ok(true)
    }

    pub(super) fn begin_private_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Begun, StoreError> {
        self.writable(digest)?;
        if self.is_complete(digest, size)? {
            return Ok(Begun::Complete);
        }
        self.prepare_blob(digest)?;
        let (file, path) = self.scratch(&stem(digest))?;
        self.own(file, path, Keeping::OnlyNow, digest, size)
    }

    pub(super) fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.writable(digest)?;
        if self.has_document(digest, bytes)? && self.relies_on(digest, bytes.len() as u64)? {
            return Ok(());
        }
        self.prepare_blob(digest)?;
        let path = self.blob_path(digest);
        self.stage([bytes].into_iter())?.rename(self, &path)?;
        self.named(digest);
        Ok(())
    }

    /// Replaces a small file of the layout, atomically and durably.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let staged = self.stage([bytes].into_iter())?;
        let dir = sys::open_dir(self.path())?;
        staged.rename(self, path)?;
        if self.is_durable() {
            // The system reports a failed sync only once, so the name would never be synced.
            sys::sync_dir(&dir, self.path()).inspect_err(|_| drop(fs::remove_file(path)))?;
        }
        Ok(())
    }

    /// Records that a blob has its name, which is not durable yet.
    pub(super) fn named(&self, digest: &Digest) {
        if self.is_durable() {
            self.unsynced().names.push(digest.clone());
        }
    }

    /// Writes pieces to a temporary file and syncs it, ready for a rename.
    pub(super) fn stage<'a>(
        &self,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Staged, StoreError> {
        self.prepare()?;
        let (file, path) = self.scratch("new")?;
        let staged = Staged { file, path };
        write_pieces(&staged.file, pieces)
            .map_err(|error| sys::failed("write", &staged.path, &error))?;
        if self.is_durable() {
            sys::sync_file(&staged.file, &staged.path)?;
        }
        Ok(staged)
    }

    /// Makes the names of all blobs durable. If that fails, the names given since the last success
    /// are removed and this layout tags no image any more: the system reports a failed sync only
    /// once, and what it shows afterwards may not be on the disk.
    pub(super) fn sync_blob_dirs(&self) -> Result<(), StoreError> {
        if !self.is_durable() {
            return Ok(());
        }
        let mut unsynced = self.unsynced();
        if unsynced.failed {
            return Err(StoreError::new(
                StoreErrorKind::Io,
                format!("an earlier sync of {} failed", self.blobs().display()),
            ));
        }
        let blobs = self.blobs();
        for path in [blobs.join("sha256"), blobs.join("sha512"), blobs] {
            if sys::real_dir(&path)?.is_none() {
                continue;
            }
            let dir = sys::open_dir(&path)?;
            if let Err(error) = sys::sync_dir(&dir, &path) {
                unsynced.failed = true;
                for digest in mem::take(&mut unsynced.names) {
                    let _ = fs::remove_file(self.blob_path(&digest));
                }
                return Err(error);
            }
        }
        unsynced.names.clear();
        Ok(())
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        // A panic leaves at most a name that is not recorded.
        let unsynced = self.shared.unsynced.lock();
        unsynced.unwrap_or_else(PoisonError::into_inner)
    }

    /// Wraps a locked file that is still at its path.
    fn own(
        &self,
        file: File,
        path: PathBuf,
        keeping: Keeping,
        digest: &Digest,
        size: u64,
    ) -> Result<Begun, StoreError> {
        let stored = sys::stat(&file, &path)?.len();
        // Determined now, so that a commit needs no file descriptor.
        let Probed { mode, is_sparse } = self.probed()?;
        let (file, is_durable) = (Arc::new(file), self.is_durable());
        let record = match keeping {
            Keeping::ForLater => Record::read(&file, path.clone(), (size, stored), is_durable),
            Keeping::OnlyNow => None,
        };
        // Without a record, a longer file was begun with a wrong size. It is truncated when the first byte
        // arrives.
        let (record, extents) = match record {
            Some((record, extents)) => (Some(record), extents),
            None if stored > size => (None, Extents::default()),
            None => (None, Extents::first(stored)),
        };
        let mut partial = LayoutPartial {
            layout: self.clone(),
            digest: digest.clone(),
            size,
            file,
            path,
            extents,
            record,
            recorded: Instant::now(),
            stored,
            mode,
            is_sparse,
            keeping,
        };
        if partial.is_append_only() && partial.record.is_some() {
            // It was written elsewhere.
            partial.truncate(partial.len())?;
        }
        // A process that committed it had the lock before us.
        if self.is_complete(digest, size)? {
            partial.keeping = Keeping::OnlyNow;
            return Ok(Begun::Complete);
        }
        Ok(Begun::Ours(Box::new(partial)))
    }

    /// Creates a file with a unique name, locked against the sweep.
    fn scratch(&self, stem: &str) -> Result<(File, PathBuf), StoreError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        for _ in 0..TURNS {
            let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{stem}.{}-{counter}", process::id());
            let path = self.partials().join(name);
            // The name may be taken: containers share volumes, and each has a process 1.
            let Some(file) = sys::create_new(&path)? else {
                continue;
            };
            if sys::try_lock(&file, &path)? && sys::is_at(&file, &path)? {
                return Ok((file, path));
            }
        }
        Err(StoreError::new(
            StoreErrorKind::Io,
            format!("no unused name found in {}", self.partials().display()),
        ))
    }

    /// What a new file shows. Reading the umask would change it for all threads, so the mode is taken from the
    /// file.
    fn probed(&self) -> Result<Probed, StoreError> {
        if let Some(probed) = self.shared.probed.get() {
            return Ok(*probed);
        }
        let (file, path) = self.scratch("probe")?;
        let probe = Staged { file, path };
        let mode = sys::stat(&probe.file, &probe.path)?.permissions().mode() & 0o777;
        let is_sparse = is_sparse(&probe.file);
        let probed = Probed { mode, is_sparse };
        Ok(*self.shared.probed.get_or_init(|| probed))
    }

    fn blob_len(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        if !self.has_blob_dir(digest)? {
            return Ok(None);
        }
        let path = self.blob_path(digest);
        match fs::symlink_metadata(&path) {
            // Anything but a regular file counts as absent and is replaced, not followed.
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if sys::is_absent(&error) => Ok(None),
            Err(error) => Err(sys::failed("look up", &path, &error)),
        }
    }

    /// Whether the document is stored undamaged: it is small, so its bytes are compared.
    fn has_document(&self, digest: &Digest, bytes: &[u8]) -> Result<bool, StoreError> {
        let size = bytes.len() as u64;
        if !self.has_blob(digest, size)? {
            return Ok(false);
        }
        let path = self.blob_path(digest);
        let stored = read_small(sys::open_regular(&path)?, &path, size)?;
        Ok(stored.is_some_and(|stored| stored == bytes))
    }

    pub(super) fn prepare_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        self.prepare()?;
        self.ensure(&self.blobs(), 0o777)?;
        self.ensure(&self.blob_dir(digest), 0o777)?;
        Ok(())
    }

    fn blob_dir(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.algorithm_name())
    }

    /// Content that cannot be verified is not written (LAY-13).
    fn writable(&self, digest: &Digest) -> Result<(), StoreError> {
        if digest.algorithm().is_some() {
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::Denied,
            format!(
                "refused to write {digest} to {}: its algorithm is unknown, so it cannot be verified",
                self.path().display()
            ),
        ))
    }

    fn restless(&self, digest: &Digest) -> StoreError {
        StoreError::new(
            StoreErrorKind::Io,
            format!(
                "the partial of {digest} in {} kept being replaced by others",
                self.private().display()
            ),
        )
    }
}

fn write_pieces<'a>(file: &File, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    for piece in pieces {
        writer.write_all(piece)?;
    }
    writer.flush()
}

/// The file name of a digest in a directory for all algorithms.
pub(super) fn stem(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm_name(), digest.encoded())
}
