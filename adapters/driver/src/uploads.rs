//! Unfinished uploads, kept for the process that comes next.
//!
//! Responsible for what a client needs of a place that keeps them, and for that place as a folder. Must not know
//! when an upload goes on: the session does.

mod folder;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use windlass_core::reference::Repository;
use windlass_core::{Registry, SavedUpload, UploadKey};

pub use folder::UploadFolder;

/// Keeps open uploads, so that a push that was killed goes on where the registry has it when it is run again.
///
/// Called while the client's session is locked: quick, and without calling the client. What cannot be kept is
/// sent again, so nothing here fails.
pub trait UploadJournal: Send + Sync + Debug {
    /// The uploads to a repository that earlier processes have left open, except those that this client goes on
    /// with. They stay open to others until one is taken.
    fn left_open(&self, registry: &Registry, repository: &Repository) -> Vec<SavedUpload>;

    /// One of [`left_open`](Self::left_open) is about to go on, and is this client's from now on. `false` if
    /// another process goes on with it, or did.
    fn take(&self, upload: &SavedUpload) -> bool;

    /// An upload was opened, or has gone on: this replaces what was kept of it. Called after each part of a
    /// blob, before the next one is sent.
    fn keep(&self, upload: &SavedUpload);

    /// An upload is over, or was deleted.
    fn forget(&self, key: &UploadKey);
}
