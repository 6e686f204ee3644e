//! Content stores for windlass, and the plumbing that both of its drivers share.
//!
//! - [`Store`]: what a store must do; small, synchronous, safe for concurrent use.
//! - [`Layout`]: the OCI image layout on disk, the store that windlass brings along.
//! - [`Spool`]: a layout that exists only as long as it is needed.
//! - [`Stores`]: the stores a driver knows and the partials its session holds open.
//! - [`Incoming`], [`OutgoingReader`]: bodies on their way into and out of a store.
//! - [`exchange`]: an exchange against a function instead of a connection, for tests.
//! - [`TapeFile`]: a file that a session is recorded in.
//! - [`read_file`]: a file that people named, read within bounds.
//! - [`driver`]: the vocabulary that the blocking and the async client have in common.
//!
//! This crate must not know what goes over HTTP. It needs Unix: locks that end with their process, and files that
//! are opened only if they are no symlinks. All of that is in one module, for when a port is wanted.

#[cfg(not(unix))]
compile_error!("windlass-store works on Unix only");

mod bounded;
pub mod driver;
mod incoming;
mod kept;
mod layout;
mod outgoing;
mod pace;
mod store;
mod stores;
mod tape;
mod whole;

pub use bounded::read_file;
pub use incoming::Incoming;
pub use layout::{Collected, Layout, Spool, Verified};
pub use outgoing::{Failure, OutgoingReader};
pub use store::{Begun, InUse, Partial, Store};
pub use stores::Stores;
pub use tape::TapeFile;
pub use whole::exchange;
