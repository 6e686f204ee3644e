//! Which files are this user's alone.
//!
//! Responsible for telling a file that only this user can write from one that somebody else can: through
//! another name (a hard link that an archive brought along), as its owner, or by its mode. Must not know
//! what the files are for.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use windlass_core::{StoreError, StoreErrorKind};

use super::{Layout, sys};

/// Write permission of the group and of all others.
const WRITE_OF_OTHERS: u32 = 0o022;

/// Which owner and mode the file system gives to a new file that nobody else should write. A network share
/// may give all files one owner, and some file systems have no modes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    owner: u32,
    mode: u32,
}

impl Layout {
    /// Why somebody else may be able to write the file; `None` if only this user can.
    pub(super) fn not_ours(&self, file: &Metadata) -> Option<&'static str> {
        if file.is_file() && file.nlink() > 1 {
            return Some("it has more than one name (hard link)");
        }
        if !self.is_owner(file) {
            return Some("it belongs to another user");
        }
        let open = file.mode() & WRITE_OF_OTHERS;
        if open != 0 && self.given().mode & open != open {
            return Some("other users may write to it");
        }
        None
    }

    /// Makes sure that the directory is there, belongs to this user, and is writable by nobody else.
    pub(super) fn ensure_private(&self, path: &Path) -> Result<(), StoreError> {
        let Some(there) = self.ensure(path, 0o700)? else {
            return Ok(());
        };
        if !self.is_owner(&there) {
            return Err(StoreError::new(
                StoreErrorKind::Denied,
                format!(
                    "refused to use {}: it belongs to another user (uid {}); remove it, or use another folder",
                    path.display(),
                    there.uid()
                ),
            ));
        }
        if there.mode() & WRITE_OF_OTHERS != 0 {
            // What others put into it so far is looked at file by file.
            sys::close_dir(path)?;
        }
        Ok(())
    }

    /// Root is a user like any other here: what belongs to others is theirs.
    fn is_owner(&self, file: &Metadata) -> bool {
        file.uid() == sys::user() || file.uid() == self.given().owner
    }

    fn given(&self) -> Given {
        *self.shared.given.get_or_init(|| {
            // A file without a name: nothing stays behind.
            let probe = tempfile::tempfile_in(self.path()).and_then(|file| file.metadata());
            let (owner, mode) = match probe {
                Ok(probe) => (probe.uid(), probe.permissions().mode()),
                Err(_) => (sys::user(), 0o600),
            };
            Given { owner, mode }
        })
    }
}
