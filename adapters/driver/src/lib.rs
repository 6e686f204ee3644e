//! What the blocking and the async client of windlass share.
//!
//! - [`RequestSpec`], [`Endpoint`]: what is asked of a client.
//! - [`Observer`], [`CancelHandle`]: a call is watched and cancelled.
//! - [`Credentials`], [`TlsRoots`], [`ProxySelector`], [`TimeLimits`]: what a client is set up with.
//! - [`HostSelector`], [`HostSettings`]: hosts that are reached in ways of their own.
//! - [`Stores`]: the stores that a session refers to, and the partials that it holds open.
//! - [`Incoming`], [`OutgoingReader`]: bodies on their way into and out of a store.
//! - [`BlobReader`]: a blob that is read while it is fetched.
//! - [`Dispatcher`]: a session with the calls that wait for its tasks and the jobs that are outside.
//! - [`Progress`]: how far a transfer is.
//! - [`exchange`]: an exchange against a function instead of a connection, for tests.
//! - [`TapeFile`]: a file that a session is recorded in.
//! - [`UploadJournal`], [`UploadFolder`]: unfinished uploads, for the next process.
//! - [`read_file`]: a file that the user named, read within bounds.
//!
//! With the feature `client` also `Client`, `Builder` and `Request`, which are the same for every `Driver`, and
//! `Tls`.
//!
//! Must not know how HTTP is sent, nor when a job runs: that is what a driver is for.

mod address;
#[cfg(feature = "client")]
mod builder;
mod cancel;
#[cfg(feature = "client")]
mod client;
mod credentials;
#[cfg(feature = "decompress")]
mod decompress;
mod dispatch;
mod failure;
mod file;
mod hosts;
#[cfg(feature = "client")]
mod identities;
mod in_memory;
mod incoming;
mod kept;
mod limits;
mod observer;
mod outgoing;
mod progress;
mod proxy;
mod reader;
mod request;
mod resources;
mod stall;
mod stores;
mod tape;
mod tls;
#[cfg(feature = "client")]
mod tls_config;
#[cfg(feature = "client")]
mod unverified;
mod uploads;

pub use address::AddressGuard;
#[cfg(feature = "client")]
pub use builder::{BuildError, Builder, Settings};
pub use cancel::{CancelGuard, CancelHandle};
#[cfg(feature = "client")]
pub use client::{Blob, Client, Driver, Fetch, ListReport, Parts, Request, Watch};
pub use credentials::{Anonymous, Credentials, find_credentials};
#[cfg(feature = "decompress")]
pub use decompress::{Compression, Decompressed, DiffId};
pub use dispatch::{CallHandle, CallMessage, Dispatcher, Next};
pub use failure::{CLOSED_EARLY, accepted_early};
pub use file::read_file;
pub use hosts::{Authorities, HostSelector, HostSettings, Identity, SameForAll, Verification};
pub use in_memory::exchange;
pub use incoming::Incoming;
pub use kept::{
    Connections, IDLE_AGE, KeptConnections, UNHEARD, is_out_of_descriptors, may_repeat,
};
pub use limits::TimeLimits;
pub use observer::Observer;
pub use outgoing::{BodyOutcome, OutgoingReader};
pub use progress::{Progress, ProgressRegistry};
pub use proxy::{Direct, Proxy, ProxySelector};
pub use reader::{BlobReader, ReaderEnd, io_error};
pub use request::{BlobContent, Endpoint, RequestSpec, StoreGuard, TypedReport, host_platform};
pub use resources::Resources;
pub use stores::Stores;
pub use tape::TapeFile;
pub use tls::TlsRoots;
#[cfg(feature = "client")]
pub use tls_config::{HostTls, Tls, tls_error_kind};
pub use uploads::{UploadFolder, UploadJournal};
