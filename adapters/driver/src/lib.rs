//! What the blocking and the async client of windlass share.
//!
//! - [`RequestSpec`], [`Endpoint`]: what is asked of a client.
//! - [`Observer`], [`CancelHandle`]: a call is watched and cancelled.
//! - [`Credentials`], [`TlsRoots`], [`ProxySelector`], [`TimeLimits`]: what a client is set up with.
//! - [`Stores`]: the stores that a session refers to, and the partials that it holds open.
//! - [`Incoming`], [`OutgoingReader`]: bodies on their way into and out of a store.
//! - [`exchange`]: an exchange against a function instead of a connection, for tests.
//! - [`TapeFile`]: a file that a session is recorded in.
//! - [`read_file`]: a file that the user named, read within bounds.
//!
//! Must not know how HTTP is spoken, nor when a job runs: that is what a driver is for.

mod cancel;
mod credentials;
mod file;
mod in_memory;
mod incoming;
mod kept;
mod limits;
mod observer;
mod outgoing;
mod proxy;
mod request;
mod stall;
mod stores;
mod tape;
mod tls;

pub use cancel::{CancelGuard, CancelHandle};
pub use credentials::{Anonymous, Credentials, find_credentials};
pub use file::read_file;
pub use in_memory::exchange;
pub use incoming::Incoming;
pub use kept::{KeptConnections, is_out_of_descriptors};
pub use limits::TimeLimits;
pub use observer::Observer;
pub use outgoing::{BodyFailure, OutgoingReader};
pub use proxy::{Direct, Proxy, ProxySelector};
pub use request::{Endpoint, RequestSpec, StoreGuard, host_platform};
pub use stores::Stores;
pub use tape::TapeFile;
pub use tls::TlsRoots;
