//! Content stores for windlass.
//!
//! - [`Store`]: what a store must do; small, synchronous, safe for concurrent use.
//! - [`Layout`]: the OCI image layout on disk, the store that windlass brings along.
//! - [`Spool`]: a layout that exists only as long as it is needed.
//! - [`Memory`]: a store in memory, within a limit on bytes.
//!
//! This crate must not know what goes over HTTP, nor sessions and their jobs. It needs Unix: locks that end with
//! their process, and files that are opened only if they are no symlinks. All of that is in one module, for when
//! a port is wanted.

#[cfg(not(unix))]
compile_error!("windlass-store works on Unix only");

mod layout;
mod memory;
mod store;

pub use layout::{Collected, Layout, Spool, Verified, error_kind};
pub use memory::{Memory, MemoryPartial};
pub use store::{Begun, InUse, Partial, Store};
