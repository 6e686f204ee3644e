//! Which tasks use a layout now, for those who remove what nothing refers to.
//!
//! ```text
//!  DIR/.windlass/use/<pid>-<counter>    locked by its owner; its time is when the use began
//!
//!  a use:  begins ─▶ blob found or named: its time is set ─▶ … ─▶ index.json names it ─▶ ends
//!  gc:     keeps every blob whose time is not before the begin of the first use
//! ```
//!
//! Responsible for finding out, also of other processes and of those that were killed, when the first use
//! that goes on began. Must not know blobs.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use windlass_core::{StoreError, StoreErrorKind};

use super::partial::remove_if_at;
use super::{Layout, sys};

/// How often a free name is looked for.
const TURNS: usize = 64;

/// A use of a layout. Ends when it is dropped.
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
    /// When it began, by the clock of the file system.
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
            // Somebody who looks for those that ended may have taken it between the two.
            if sys::try_lock(&file, &path)? && sys::is_at(&file, &path)? {
                return Ok(Use { file, path });
            }
        }
        Err(StoreError::new(
            StoreErrorKind::Io,
            format!("found no free name in {}", self.uses().display()),
        ))
    }

    /// When the first of all uses that go on began, `own` among them. What killed processes left is
    /// removed.
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
