//! Removes abandoned partials.
//!
//! Responsible for bounding what interrupted transfers leave behind, by age and by total size.
//! Never removes what a process has locked. Must not know blobs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use windlass_core::StoreError;

use super::partial::{allocated, remove_if_at};
use super::{Layout, sys};

/// The age at which an untouched partial is removed: long enough to resume a pull after a holiday,
/// short enough that abandoned ones do not fill the disk for ever.
const PARTIAL_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The age at which an unlocked file that cannot be resumed is removed: its process has died. The
/// day is for network file systems whose locks do not reach other machines.
const SCRATCH_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The total size of abandoned partials. Beyond it the oldest are removed: a few large images can
/// be resumed, and a tag that moves every night does not fill the disk.
const PARTIAL_BYTES: u64 = 8 << 30;

/// A younger partial counts as in use even if unlocked: a command may be about to retry.
const YOUNG: Duration = Duration::from_secs(60 * 60);

impl Layout {
    /// Removes partials that are too old, then the oldest until the total fits. Errors are ignored;
    /// the next write will report them.
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
            // Only scratch files have a dot: known algorithms and hex have none.
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
            bytes: allocated(&there),
            path,
        })
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    // A time in the future, or none, counts as young.
    fs::symlink_metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|time| {
            SystemTime::now()
                .duration_since(time)
                .is_ok_and(|old| old > age)
        })
}

/// Removes the file if it is unlocked and still that old. Returns whether it was removed.
fn sweep_file(path: &Path, age: Duration) -> Result<bool, StoreError> {
    let Some(file) = sys::open_regular(path)? else {
        return Ok(false);
    };
    // Its owner may have resumed between the look and the lock.
    if !sys::try_lock(&file, path)? || !is_older(path, age) {
        return Ok(false);
    }
    remove_if_at(&file, path);
    Ok(true)
}
