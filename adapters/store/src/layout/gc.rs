//! Removes unreferenced content, safely beside running tasks.
//!
//! ```text
//!  lock index.json ─▶ first use ─▶ walk index.json: what is referred to
//!    ─▶ each other blob: older than the first use? ─no─▶ stays
//!                          │yes
//!                          ▼
//!                        set it aside ─▶ still older? ─no─▶ put it back
//!                                          │yes
//!                                          ▼
//!                                        remove
//! ```
//!
//! Set aside means renamed to `.windlass/collected/<algorithm>-<encoded>`. Files found there under
//! the lock of `index.json` were left by a killed `gc`, and are put back before an image is tagged.
//!
//! Responsible for never removing what `index.json` or a running task relies on. A task sets the
//! time of each blob that it finds or names ([`Layout::relies_on`]) and then checks that it still
//! exists, so either `gc` sees the new time or the task sees the removal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use windlass_core::{Digest, StoreError, StoreErrorKind};

use super::blob::stem;
use super::partial::{allocated, remove_if_at};
use super::walk::Node;
use super::{Layout, sys};

/// What [`Layout::gc`] removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Collected {
    /// Unreferenced blobs and manifests.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Partials that no process holds.
    pub partials: u64,
    /// Their bytes.
    pub partial_bytes: u64,
    /// Unreferenced blobs that a running task may rely on. They stay.
    pub in_use: u64,
}

impl Layout {
    /// Removes blobs and manifests that no entry of `index.json` refers to, directly or through
    /// indexes, manifests and subjects, and partials that no process holds: an interrupted transfer
    /// then starts over. Other processes may use the layout meanwhile; what they hold stays.
    ///
    /// # Errors
    ///
    /// [`Damaged`](StoreErrorKind::Damaged) if a referenced manifest cannot be read, since its
    /// references are then unknown; nothing is removed. Otherwise if the layout cannot be read or
    /// written.
    pub fn gc(&self) -> Result<Collected, StoreError> {
        let own = self.begin_use()?;
        let _lock = self.lock_index()?;
        self.restore_collected()?;
        let first_use = self.first_use(&own)?;
        let mut referred = BTreeSet::new();
        self.walk(self.all_entries()?, |descriptor, node| {
            let why = match node {
                Node::Manifest | Node::Blob | Node::Missing => {
                    referred.insert(descriptor.digest.clone());
                    return Ok(());
                }
                Node::Unreadable(error) => error.to_string(),
                Node::TooLarge => "it is larger than a manifest may be".into(),
            };
            let what = format!(
                "image layout {}: manifest {} cannot be read, so its references are unknown: {why}",
                self.path().display(),
                descriptor.digest
            );
            Err(StoreError::new(StoreErrorKind::Damaged, what))
        })?;
        let mut collected = Collected::default();
        self.ensure_private(&self.collected())?;
        for digest in self.stored()? {
            if !referred.contains(&digest) {
                self.collect(&digest, first_use, &mut collected)?;
            }
        }
        // The next run creates it again.
        let _ = fs::remove_dir(self.collected());
        self.collect_partials(&mut collected)?;
        Ok(collected)
    }

    /// Puts back what a killed `gc` had set aside, since a running task may have found it before.
    /// The caller holds the lock of `index.json`, so no `gc` is running.
    pub(super) fn restore_collected(&self) -> Result<(), StoreError> {
        let dir = self.collected();
        let failed = |error| sys::failed("list directory", &dir, &error);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if sys::is_absent(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_str().and_then(|name| name.split_once('-'));
            let name = name.map(|(algorithm, encoded)| format!("{algorithm}:{encoded}"));
            if let Some(digest) = name.and_then(|name| name.parse::<Digest>().ok()) {
                self.restore(&digest)?;
            }
        }
        Ok(())
    }

    /// The digests of all files with a blob's name.
    pub(super) fn stored(&self) -> Result<Vec<Digest>, StoreError> {
        let mut stored = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let dir = self.blobs().join(algorithm);
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if sys::is_absent(&error) => continue,
                Err(error) => return Err(sys::failed("list directory", &dir, &error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| sys::failed("list directory", &dir, &error))?;
                let name = entry.file_name();
                let name = name.to_str().map(|name| format!("{algorithm}:{name}"));
                stored.extend(name.and_then(|name| name.parse::<Digest>().ok()));
            }
        }
        Ok(stored)
    }

    /// Records that a running task relies on an existing blob. Returns whether it still exists
    /// afterwards.
    pub(super) fn relies_on(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        // A failure means a blob of another user or read-only media, where this user cannot
        // collect.
        sys::touch(&self.blob_path(digest));
        self.has_blob(digest, size)
    }

    fn collect(
        &self,
        digest: &Digest,
        first_use: SystemTime,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        if !self.has_blob_dir(digest)? {
            return Ok(());
        }
        let path = self.blob_path(digest);
        let Some((len, time)) = regular_file(&path)? else {
            return Ok(());
        };
        if time >= first_use {
            collected.in_use += 1;
            return Ok(());
        }
        let away = self.set_aside(digest)?;
        let is_wanted = regular_file(&away)?.is_some_and(|(_, time)| time >= first_use);
        if is_wanted {
            collected.in_use += 1;
            return self.restore(digest);
        }
        collected.blobs += 1;
        collected.blob_bytes += len;
        sys::remove(&away)
    }

    /// Sets a blob aside and returns its new path.
    pub(super) fn set_aside(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let (path, away) = (self.blob_path(digest), self.collected().join(stem(digest)));
        let failed = |error| sys::failed("set aside", &path, &error);
        fs::rename(&path, &away).map_err(failed)?;
        Ok(away)
    }

    /// Puts a blob back, durably: a task may tag an image of it next.
    fn restore(&self, digest: &Digest) -> Result<(), StoreError> {
        let (path, away) = (self.blob_path(digest), self.collected().join(stem(digest)));
        self.prepare_blob(digest)?;
        if regular_file(&path)?.is_some() {
            // It was stored again meanwhile.
            return sys::remove(&away);
        }
        fs::rename(&away, &path).map_err(|error| sys::failed("put back", &path, &error))?;
        self.named(digest);
        self.sync_blob_dirs()
    }

    fn collected(&self) -> PathBuf {
        self.private().join("collected")
    }

    fn collect_partials(&self, collected: &mut Collected) -> Result<(), StoreError> {
        let dir = self.partials();
        let failed = |error| sys::failed("list directory", &dir, &error);
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Ok(Some(file)) = sys::open_regular(&path) else {
                continue;
            };
            if !sys::try_lock(&file, &path)? {
                continue;
            }
            if sys::is_at(&file, &path)? {
                collected.partials += 1;
                collected.partial_bytes += allocated(&sys::stat(&file, &path)?);
                remove_if_at(&file, &path);
            }
            sys::unlock(&file);
        }
        Ok(())
    }
}

/// Length and time of a regular file; `None` if it is absent or something else.
fn regular_file(path: &Path) -> Result<Option<(u64, SystemTime)>, StoreError> {
    let failed = |error| sys::failed("look up", path, &error);
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => {
            let time = there.modified().map_err(failed)?;
            Ok(Some((there.len(), time)))
        }
        Ok(_) => Ok(None),
        Err(error) if sys::is_absent(&error) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}
