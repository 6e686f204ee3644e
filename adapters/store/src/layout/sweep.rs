//! Removes partials that nobody comes back for.
//!
//! Responsible for bounds on what interrupted transfers leave behind: an age, and bytes in all. Never
//! removes what a process has locked. Must not know blobs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use windlass_core::StoreError;

use super::partial::remove_if_at;
use super::{Layout, sys};

/// When a partial that nobody touched is swept. Long enough for a pull that is taken up after a
/// holiday, short enough that abandoned ones do not fill the disk for ever.
const PARTIAL_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// When a file that nobody can resume is swept: one whose process died, as its lock is free. The
/// day is for network file systems whose locks do not reach other machines.
const SCRATCH_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How many bytes abandoned partials may have together. Beyond it the oldest go first: a few
/// large images can be taken up again, and a tag that moves every night does not fill the disk.
const PARTIAL_BYTES: u64 = 8 << 30;

/// A partial younger than this counts as under way, also if its lock is free: between two runs of a
/// command that is tried again.
const YOUNG: Duration = Duration::from_secs(60 * 60);

impl Layout {
    /// Removes what is too old, then the oldest of what is too much. No error: sweeping is a courtesy, the
    /// write that comes next will tell what is wrong.
    pub(super) fn sweep(&self) {
        self.sweep_to(PARTIAL_BYTES);
    }

    pub(super) fn sweep_to(&self, most: u64) {
        let Ok(entries) = fs::read_dir(self.partials()) else {
            return;
        };
        let mut partials = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            // Only scratch files have a dot: the names of known algorithms and hex have none.
            let is_scratch = entry.file_name().as_encoded_bytes().contains(&b'.');
            let age = if is_scratch { SCRATCH_AGE } else { PARTIAL_AGE };
            if is_older(&path, age) {
                let _ = sweep_file(&path, age);
            } else if !is_scratch && is_older(&path, YOUNG) {
                partials.extend(Abandoned::at(path));
            }
        }
        let mut bytes: u64 = partials.iter().map(|partial| partial.bytes).sum();
        partials.sort_by_key(|partial| partial.time);
        for partial in partials {
            if bytes <= most {
                return;
            }
            if let Ok(true) = sweep_file(&partial.path, YOUNG) {
                bytes -= partial.bytes;
            }
        }
    }
}

/// A partial that may be abandoned.
struct Abandoned {
    path: PathBuf,
    time: SystemTime,
    bytes: u64,
}

impl Abandoned {
    fn at(path: PathBuf) -> Option<Self> {
        let there = fs::symlink_metadata(&path).ok()?;
        Some(Self {
            time: there.modified().ok()?,
            bytes: there.len(),
            path,
        })
    }
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

/// Whether the file was removed: nobody had it locked, and it still was that old.
fn sweep_file(path: &Path, age: Duration) -> Result<bool, StoreError> {
    let Some(file) = sys::open_regular(path)? else {
        return Ok(false);
    };
    // Its owner may have woken up between the look and the lock.
    if !sys::try_lock(&file, path)? || !is_older(path, age) {
        return Ok(false);
    }
    remove_if_at(&file, path);
    Ok(true)
}
