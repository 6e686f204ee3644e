//! Which tasks use a layout now, for `gc`.
//!
//! ```text
//!  DIR/.windlass/use/<pid>-<counter>    locked by its owner; its time is the start of the use
//!
//!  a use:  begins ─▶ blob found or named: its time is set ─▶ … ─▶ index.json names it ─▶ ends
//!  gc:     keeps every blob whose time is not before the start of the first use
//! ```
//!
//! Responsible for the start of the first use that is still running, in any process; uses of killed
//! processes do not count. Must not know blobs.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use windlass_core::{StoreError, StoreErrorKind};

use super::partial::remove_if_at;
use super::{Layout, sys};

/// How often to look for a free name.
const TURNS: usize = 64;

/// A use of a layout, until it is dropped.
#[derive(Debug)]
pub(super) struct Use {
    file: File,
    path: PathBuf,
}

impl Drop for Use {
    fn drop(&mut self) {
        remove_if_at(&self.file, &self.path);
        sys::unlock(&self.file);
    }
}

impl Use {
    /// Its start, by the clock of the file system.
    pub(super) fn since(&self) -> Result<SystemTime, StoreError> {
        modified(&self.file, &self.path)
    }
}

impl Layout {
    pub(super) fn begin_use(&self) -> Result<Use, StoreError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        self.prepare()?;
        self.ensure_private(&self.uses())?;
        for _ in 0..TURNS {
            let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.uses().join(format!("{}-{counter}", process::id()));
            let Some(file) = sys::create_new(&path)? else {
                continue;
            };
            // A `gc` that looks for ended uses may have taken it in between.
            if sys::try_lock(&file, &path)? && sys::is_at(&file, &path)? {
                return Ok(Use { file, path });
            }
        }
        Err(StoreError::new(
            StoreErrorKind::Io,
            format!("no unused name found in {}", self.uses().display()),
        ))
    }

    /// The start of the first running use, `own` among them. Removes the files of killed processes.
    pub(super) fn first_use(&self, own: &Use) -> Result<SystemTime, StoreError> {
        let uses = self.uses();
        let mut first = own.since()?;
        let entries =
            fs::read_dir(&uses).map_err(|error| sys::failed("list directory", &uses, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| sys::failed("list directory", &uses, &error))?;
            let path = entry.path();
            if path == own.path {
                continue;
            }
            let Some(file) = sys::open_regular(&path)? else {
                continue;
            };
            if sys::try_lock(&file, &path)? {
                remove_if_at(&file, &path);
                sys::unlock(&file);
            } else {
                first = first.min(modified(&file, &path)?);
            }
        }
        Ok(first)
    }

    fn uses(&self) -> PathBuf {
        self.private().join("use")
    }
}

fn modified(file: &File, path: &std::path::Path) -> Result<SystemTime, StoreError> {
    let metadata = sys::stat(file, path)?;
    metadata
        .modified()
        .map_err(|error| sys::failed("look up", path, &error))
}
