//! Blobs: how they are found, owned while they are under way, and given their names.
//!
//! ```text
//!  begin ──▶ complete? ─yes─▶ Complete
//!              │no
//!              ▼
//!            open partial, try lock ─taken─▶ Busy
//!              │ours
//!              ▼
//!            still at its path? ─no──▶ once more: it was committed or swept in between
//!              │yes
//!              ▼
//!            complete by now? ─yes─▶ remove the partial, Complete
//!              │no
//!              ▼
//!            Ours ──append…──▶ commit: sync, still at its path?, rename
//! ```
//!
//! Responsible for exclusive ownership across threads and processes, and for the bytes that were
//! verified being the bytes that get the name. Must not know `index.json`.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use windlass_core::{Digest, StoreError, StoreErrorKind};

use super::partial::{Keeping, LayoutPartial, Staged, remove_if_at, sync_file};
use super::{Layout, read_small, sys};
use crate::store::{Begun, Partial as _};

/// How often `begin` and unique names try again. Each turn means that another process has just
/// committed, swept or taken the name; a handful in a row is already hard to provoke.
const TURNS: usize = 64;

/// When a partial that nobody touched is swept. Long enough for a pull that is taken up after a
/// holiday, short enough that abandoned ones do not fill the disk for ever.
const PARTIAL_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// When a file that nobody can resume is swept: one whose process died, as its lock is free. The
/// day is for network file systems whose locks do not reach other machines.
const SCRATCH_AGE: Duration = Duration::from_secs(24 * 60 * 60);

impl Layout {
    pub(super) fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        Ok(self.blob_len(digest)? == Some(size))
    }

    /// Whether the blob's directory is there. Neither it nor `blobs` may be a symlink (LAY-14).
    pub(super) fn has_blob_dir(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(sys::real_dir(&self.blobs())? && sys::real_dir(&self.blob_dir(digest))?)
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_dir(digest).join(digest.encoded())
    }

    pub(super) fn begin_blob(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.writable(digest)?;
        for _ in 0..TURNS {
            if self.has_blob(digest, size)? {
                return Ok(Begun::Complete);
            }
            self.prepare_blob(digest)?;
            let path = self.partials().join(stem(digest));
            let file = sys::open_or_create(&path)?;
            if !sys::try_lock(&file, &path)? {
                let len = sys::stat(&file, &path)?.len();
                return Ok(Begun::Busy { len });
            }
            if sys::is_at(&file, &path)? {
                return self.own(file, path, Keeping::ForLater, digest, size);
            }
        }
        Err(self.restless(digest))
    }

    pub(super) fn begin_private_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Begun, StoreError> {
        self.writable(digest)?;
        if self.has_blob(digest, size)? {
            return Ok(Begun::Complete);
        }
        self.prepare_blob(digest)?;
        let (file, path) = self.scratch(&stem(digest))?;
        self.own(file, path, Keeping::OnlyNow, digest, size)
    }

    pub(super) fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.writable(digest)?;
        if self.has_document(digest, bytes)? {
            return Ok(());
        }
        self.prepare_blob(digest)?;
        self.replace(&self.blob_path(digest), bytes)
    }

    /// Writes a small file under its final name, atomically: a temporary file, synced and renamed.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let staged = self.stage(bytes)?;
        staged.rename(path)?;
        match (self.is_durable(), path.parent()) {
            // The names of blobs are made durable before something refers to them: see `super`.
            (true, Some(parent)) if parent == self.path() => sys::sync_dir(parent),
            (_, _) => Ok(()),
        }
    }

    /// Writes a temporary file and syncs it, ready to be renamed.
    pub(super) fn stage(&self, bytes: &[u8]) -> Result<Staged, StoreError> {
        self.prepare()?;
        let (file, path) = self.scratch("new")?;
        let staged = Staged { file, path };
        staged
            .file
            .write_all_at(bytes, 0)
            .map_err(|error| sys::failed("write", &staged.path, &error))?;
        if self.is_durable() {
            sync_file(&staged.file, &staged.path)?;
        }
        Ok(staged)
    }

    /// Makes the names of all blobs durable.
    pub(super) fn sync_blob_dirs(&self) -> Result<(), StoreError> {
        if !self.is_durable() {
            return Ok(());
        }
        for algorithm in ["sha256", "sha512"] {
            let dir = self.blobs().join(algorithm);
            if sys::real_dir(&dir)? {
                sys::sync_dir(&dir)?;
            }
        }
        Ok(())
    }

    /// Removes what nobody has touched for long. Never what somebody has locked; and no error:
    /// sweeping is a courtesy, the write that comes next will tell what is wrong.
    pub(super) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.partials()) else {
            return;
        };
        for entry in entries.flatten() {
            // Only scratch files have a dot: the names of known algorithms and hex have none.
            let is_scratch = entry.file_name().as_encoded_bytes().contains(&b'.');
            let age = if is_scratch { SCRATCH_AGE } else { PARTIAL_AGE };
            if is_older(&entry.path(), age) {
                let _ = sweep_file(&entry.path(), age);
            }
        }
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
        let len = sys::stat(&file, &path)?.len();
        let mut partial = LayoutPartial {
            layout: self.clone(),
            digest: digest.clone(),
            size,
            file,
            path,
            len,
            keeping,
        };
        // Whoever committed it had the lock before us.
        if self.has_blob(digest, size)? {
            partial.keeping = Keeping::OnlyNow;
            return Ok(Begun::Complete);
        }
        if len > size {
            // Of another size, so of other content: whoever began it had a wrong descriptor.
            partial.truncate(0)?;
        }
        Ok(Begun::Ours(Box::new(partial)))
    }

    /// Creates a file of a name nobody else uses, locked against the sweep.
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
            format!("found no free name in {}", self.partials().display()),
        ))
    }

    /// The mode of finished blobs: 0644 without what the umask forbids. The umask cannot be read
    /// without changing it for all threads, so a file that the system creates tells.
    pub(super) fn blob_mode(&self) -> Result<u32, StoreError> {
        if let Some(mode) = self.shared.mode.get() {
            return Ok(*mode);
        }
        let (file, path) = self.scratch("mode")?;
        let probe = Staged { file, path };
        let mode = sys::stat(&probe.file, &probe.path)?.permissions().mode() & 0o777;
        Ok(*self.shared.mode.get_or_init(|| mode))
    }

    fn blob_len(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        if !self.has_blob_dir(digest)? {
            return Ok(None);
        }
        let path = self.blob_path(digest);
        match fs::symlink_metadata(&path) {
            // What is no regular file counts as absent and is replaced, not followed.
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if sys::is_absent(&error) => Ok(None),
            Err(error) => Err(sys::failed("look up", &path, &error)),
        }
    }

    /// Whether the document is stored and undamaged: it is small and at hand, so it is compared.
    fn has_document(&self, digest: &Digest, bytes: &[u8]) -> Result<bool, StoreError> {
        let size = bytes.len() as u64;
        if !self.has_blob(digest, size)? {
            return Ok(false);
        }
        let stored = read_small(&self.blob_path(digest), size)?;
        Ok(stored.is_some_and(|stored| stored == bytes))
    }

    fn prepare_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        self.prepare()?;
        self.ensure(&self.blobs(), 0o777)?;
        self.ensure(&self.blob_dir(digest), 0o777)
    }

    fn blob_dir(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.algorithm_name())
    }

    /// What cannot be verified is not written (LAY-13).
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

fn stem(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm_name(), digest.encoded())
}

fn is_older(path: &Path, age: Duration) -> bool {
    // A time in the future, or none at all, is young.
    fs::symlink_metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|time| {
            SystemTime::now()
                .duration_since(time)
                .is_ok_and(|old| old > age)
        })
}

fn sweep_file(path: &Path, age: Duration) -> Result<(), StoreError> {
    let Some(file) = sys::open_regular(path)? else {
        return Ok(());
    };
    // Its owner may have woken up between the look and the lock.
    if sys::try_lock(&file, path)? && is_older(path, age) {
        remove_if_at(&file, path);
    }
    Ok(())
}
