//! Which files only this user can write.
//!
//! Responsible for detecting files that another user can write: through another name (a hard link
//! from an archive), as the owner, or by the mode. Must not know what the files are for.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use windlass_core::{StoreError, StoreErrorKind};

use super::{Layout, sys};

/// Write permission of group and others.
const WRITE_OF_OTHERS: u32 = 0o022;

/// The owner and mode of a new private file. A network share may give all files one owner, and some
/// file systems have no modes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    owner: u32,
    mode: u32,
}

impl Layout {
    /// Why another user may be able to write the file; `None` if only this user can.
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

    /// Creates a directory that belongs to this user and that no other user can write.
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
            // Files that other users have put into it are checked one by one.
            sys::close_dir(path)?;
        }
        Ok(())
    }

    /// Root is treated like any user: other users' files are not its own.
    fn is_owner(&self, file: &Metadata) -> bool {
        file.uid() == sys::user() || file.uid() == self.given().owner
    }

    fn given(&self) -> Given {
        *self.shared.given.get_or_init(|| {
            // A file without a name, so that nothing stays behind.
            let probe = tempfile::tempfile_in(self.path()).and_then(|file| file.metadata());
            let (owner, mode) = match probe {
                Ok(probe) => (probe.uid(), probe.permissions().mode()),
                Err(_) => (sys::user(), 0o600),
            };
            Given { owner, mode }
        })
    }
}
