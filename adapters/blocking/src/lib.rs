//! Blocking OCI registry client: windlass-core driven by ureq and threads, without an async
//! runtime.
//!
//! ```no_run
//! use windlass_blocking::{Client, Layout, Reference};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().build()?;
//! let reference: Reference = "docker.io/library/alpine:3".parse()?;
//! let images = Layout::open_or_create("images")?;
//! let report = client.pull(&reference, &images).run()?;
//! println!("{} ({} bytes moved)", report.root.digest, report.bytes);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!  your threads ── run() ──▶ Session (behind a lock) ──▶ jobs ──▶ threads, as many as jobs run
//!       ▲                        │                                  │ ureq over connections of
//!       └── events, in order ────┘                                  ▼ its own, stores
//! ```
//!
//! - [`Client`]: `Clone + Send + Sync`; all its calls share tokens, limits, connections, threads.
//! - [`Request`]: what is asked, and how; does nothing before [`run`](Request::run).
//! - [`error`]: every error that is returned, and what errors are made of.
//! - [`driver`]: observers, cancellation, credentials, time limits, trust and proxies, the same as
//!   in the async client.
//!
//! A store of your own needs nothing but this crate:
//!
//! ```
//! use std::io::Read;
//!
//! use windlass_blocking::{Begun, Descriptor, Digest, Memory, Store, StoreError};
//!
//! /// Images in memory that cannot be removed.
//! #[derive(Debug)]
//! struct Kept(Memory);
//!
//! impl Store for Kept {
//!     fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
//!         self.0.begin(digest, size)
//!     }
//!     fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
//!         self.0.contains(digest, size)
//!     }
//!     fn open(&self, digest: &Digest, at: u64) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
//!         self.0.open(digest, at)
//!     }
//!     fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
//!         self.0.put(digest, bytes)
//!     }
//!     fn remove(&self, _: &Digest) -> Result<(), StoreError> {
//!         Ok(())
//!     }
//!     fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
//!         self.0.find(name)
//!     }
//!     fn tag(&self, name: Option<&str>, image: &Descriptor) -> Result<(), StoreError> {
//!         self.0.tag(name, image)
//!     }
//! }
//! ```
//!
//! # Contract
//!
//! - `run` blocks until its task is through. Events reach the observer on the thread that called
//!   `run`; byte counts on the threads that move the bytes.
//! - Cancelling returns within a second, whatever the server or the store does. A thread that is
//!   stuck in a store by then is left behind and ends when the store lets it.
//! - Nothing is read from the environment: no proxy, no certificates but those of the system.
//! - It sends what the core says, byte for byte: no redirect is followed, nothing is decoded.

mod agents;
mod backlog;
mod client;
mod connection;
mod control;
mod dial;
mod exchange;
#[cfg(test)]
mod exchange_tests;
mod forward;
mod head;
mod pool;
mod relay;
mod stream;
mod transfer;

pub use client::{Threads, UnverifiedReader};
pub use rustls;
pub use windlass_core::call::{TransferId, TransportError, TransportErrorKind};
pub use windlass_core::event::SkipReason;
pub use windlass_core::reference::{Repository, Tag, Target};
#[cfg(feature = "tape")]
pub use windlass_core::tape::TapeSink;
pub use windlass_core::{
    Algorithm, Amount, Carry, Config, Digest, Error, ErrorKind, Event, Failure, ImageChange,
    ImageConfig, MountFrom, NewLayer, Origin, Paging, Platform, Platforms, Reference, Registry,
    SavedUpload, Scheme, StoreError, StoreErrorKind, TaskId, Totals, UploadKey, config, credential,
    http, image_config,
};
pub use windlass_driver as driver;
#[cfg(feature = "decompress")]
pub use windlass_driver::Decompressed;
#[cfg(feature = "tape")]
pub use windlass_driver::TapeFile;
#[cfg(feature = "tracing")]
pub use windlass_driver::TracingObserver;
pub use windlass_driver::reports::*;
pub use windlass_driver::{
    AddTags, Anonymous, Artifact, Attached, BlobContent, BlobReader, BlobStream, BuildError,
    CancelHandle, Credentials, ImageChanged, ImageLocation, IndexChanged, LayerContent, Mount,
    Observer, Part, Procedure, Pull, PulledArtifact, Push, PutStream, RequestSpec, Requests,
    TimeLimits, TlsRoots, Transfer, UploadFolder, UploadJournal, error, host_platform,
};
#[cfg(feature = "compress")]
pub use windlass_driver::{Compression, LayerStream};
#[cfg(feature = "oci-spec")]
pub use windlass_driver::{FromOciSpec, OciSpecError, ToOciSpec};
pub use windlass_store::{
    Begun, Collected, Files, Gathered, InUse, Layout, Memory, MemoryPartial, Partial, Preserve,
    Spool, Store, StoreEntry, StoreHandle, Verified,
};

/// A client of the OCI registries. Clones are cheap and share one session.
pub type Client = driver::Client<Threads>;

/// Sets a [`Client`] up.
pub type Builder = driver::Builder<Threads>;

/// Something to be done by a [`Client`], and how.
pub type Request<'a, V> = driver::Request<'a, Threads, V>;

/// The pages of a list, one after the other.
pub type ListPages<'a, R> = driver::ListPages<'a, Threads, R>;

/// A blob in a repository, to be read.
pub type Blob<'a> = driver::Blob<'a, Threads>;

/// Something that takes several requests, and how.
pub type ProcedureRequest<'a, P> = driver::ProcedureRequest<'a, Threads, P>;
