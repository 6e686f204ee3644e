//! What the blocking and the async client of windlass share.
//!
//! - [`RequestSpec`], [`ImageLocation`]: what is asked of a client; [`reports`]: what it answers.
//! - [`Procedure`], [`Requests`]: operations of several requests, written once for all clients.
//! - [`Artifact`], [`PullArtifact`]: what is pushed, attached or pulled that is no image.
//! - [`ChangeImage`], [`ChangeIndex`]: images and indexes that are changed in a registry.
//! - [`Observer`], [`CancelHandle`]: a call is watched and cancelled.
//! - [`Credentials`], [`TlsRoots`], [`ProxySelector`], [`TimeLimits`]: what a client is set up with.
//! - [`HostSelector`], [`HostSettings`]: hosts that are reached in ways of their own.
//! - [`Stores`]: the stores that a session refers to, and the partials that it holds open.
//! - [`Incoming`], [`OutgoingReader`]: bodies on their way into and out of a store.
//! - [`RelaySource`], [`Release`]: bodies on their way from one exchange to another.
//! - [`BlobReader`]: a blob that is read while it is fetched.
//! - [`Dispatcher`]: a session with the calls that wait for its tasks and the jobs that are outside.
//! - [`Progress`]: how far a transfer is.
//! - [`exchange`]: an exchange against a function instead of a connection, for tests.
//! - [`UploadJournal`], [`UploadFolder`]: unfinished uploads, for the next process.
//! - [`error`]: what fails, and why.
//! - [`read_file`]: a file that the user named, read within bounds.
//!
//! With the feature `tape` also `TapeFile`, a file that a session is recorded in; with `tracing` also `TracingObserver`;
//! with `oci-spec` also `ToOciSpec` and `FromOciSpec`. With the feature `client` also `Client`, `Builder` and `Request`,
//! which are the same for every `Driver`, and `Tls`.
//!
//! Must not know how HTTP is sent, nor when a job runs: that is what a driver is for.

mod address;
mod artifact;
#[cfg(feature = "client")]
mod builder;
mod cancel;
mod change_image;
mod change_index;
mod choose;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "compress")]
mod compress;
#[cfg(any(feature = "compress", feature = "decompress"))]
mod compression;
mod copy_to_each;
mod credentials;
#[cfg(feature = "decompress")]
mod decompress;
mod dispatch;
pub mod error;
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
#[cfg(feature = "oci-spec")]
mod oci_spec;
mod outgoing;
mod procedure;
mod progress;
mod proxy;
mod reader;
mod relay;
mod repository;
mod request;
mod resources;
mod session;
mod spool;
mod stall;
mod stores;
mod streamed;
#[cfg(feature = "tape")]
mod tape;
mod tls;
#[cfg(feature = "client")]
mod tls_config;
#[cfg(feature = "tracing")]
mod tracing_observer;
#[cfg(feature = "client")]
mod unverified;
#[cfg(feature = "client")]
mod unverified_range;
mod uploads;

pub use address::AddressGuard;
pub use artifact::{Artifact, Attach, Attached, Part, PullArtifact, PulledArtifact, PushArtifact};
#[cfg(feature = "client")]
pub use builder::{BuildError, Builder, Settings};
pub use cancel::{CancelGuard, CancelHandle};
pub use change_image::{ChangeImage, ImageChanged, LayerContent};
pub use change_index::{ChangeIndex, IndexChanged};
pub use choose::Choose;
#[cfg(feature = "client")]
pub use client::{
    AddTags, Blob, Client, Driver, Fetch, ForOnePlatform, ListPages, ListReport, MayReadMirrors,
    Mount, MovesImage, Parts, ProcedureRequest, Pull, Push, PutStream, PutsTags, Request, Sends,
    Transfer, Verb, Watch,
};
#[cfg(feature = "compress")]
pub use compress::LayerStream;
#[cfg(any(feature = "compress", feature = "decompress"))]
pub use compression::Compression;
pub use copy_to_each::CopyToEach;
pub use credentials::{Anonymous, Credentials, find_credentials};
#[cfg(feature = "decompress")]
pub use decompress::{Decompressed, DiffId};
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
#[cfg(feature = "oci-spec")]
pub use oci_spec::{FromOciSpec, OciSpecError, ToOciSpec};
pub use outgoing::{BodyOutcome, OutgoingReader};
pub use procedure::{
    Procedure, Remaining, Requests, SIDE_BY_SIDE, at_once, on_threads, side_by_side,
};
pub use progress::{Progress, ProgressRegistry};
pub use proxy::{Direct, Proxy, ProxySelector};
pub use reader::{BlobReader, ReaderEnd, Unread, UnreadGuard, io_error};
pub use relay::{RelaySource, Release, SOURCE_ENDS, cannot_resend, relay_sides};
pub use request::{
    BlobContent, BlobStream, ImageLocation, RequestSpec, StoreGuard, TypedReport, host_platform,
    reports,
};
pub use resources::Resources;
pub use session::{ClientSession, unrecorded};
pub use stores::Stores;
#[cfg(feature = "tape")]
pub use tape::TapeFile;
pub use tls::TlsRoots;
#[cfg(feature = "client")]
pub use tls_config::{HostTls, Tls, tls_error_kind};
#[cfg(feature = "tracing")]
pub use tracing_observer::TracingObserver;
#[cfg(feature = "client")]
pub use unverified_range::RangePieces;
pub use uploads::{UploadFolder, UploadJournal};
