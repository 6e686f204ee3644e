//! Content stores for windlass.
//!
//! - [`Store`]: the trait of a store; small, synchronous, safe for concurrent use.
//! - [`Layout`]: the OCI image layout on disk.
//! - [`Spool`]: a temporary layout.
//! - [`Memory`]: a store in memory, within a limit on bytes.
//! - [`Files`]: files that are to be sent.
//! - [`StoreHandle`], [`StoreEntry`]: a store as it is handed to a client, and an image in it.
//! - [`Folder`]: files that get names which someone else chose.
//!
//! This crate must not know HTTP, sessions or jobs. It needs Unix: locks that end with their
//! process, and opening files without following symlinks. All system calls are in two modules, to
//! ease a port.

#[cfg(not(unix))]
compile_error!("windlass-store works on Unix only");

mod files;
mod folder;
mod handle;
mod layout;
mod memory;
mod referrers;
mod store;

pub use files::Files;
pub use folder::Folder;
pub use handle::{StoreEntry, StoreHandle};
pub use layout::{Collected, Layout, Spool, Verified, error_kind};
pub use memory::{Memory, MemoryPartial};
pub use store::{Begun, Gathered, InUse, Partial, Preserve, Store};
