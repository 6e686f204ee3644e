//! Async OCI registry client: windlass-core driven by reqwest and tokio.
//!
//! ```no_run
//! use windlass_async::{Client, Layout, Reference};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().build()?;
//! let reference: Reference = "docker.io/library/alpine:3".parse()?;
//! let images = Layout::open_or_create("images")?;
//! let report = client.pull(&reference, &images).run().await?;
//! println!("{} ({} bytes moved)", report.root.digest, report.bytes);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!  your tasks ── run().await ──▶ Session (behind a lock) ──▶ jobs ──▶ on the call's runtime
//!       ▲                              │                               │ reqwest; stores on the
//!       └────── events, in order ──────┘                               ▼ blocking pool
//! ```
//!
//! - [`Client`]: `Clone + Send + Sync`; all its calls share tokens, limits and connections.
//! - [`Request`]: what is asked, and how; does nothing before [`run`](Request::run).
//! - [`error`]: every error that is returned, and what errors are made of.
//! - [`driver`]: observers, cancellation, credentials, time limits, trust and proxies, the same as
//!   in the blocking client, from which this one differs in `.await` only.
//!
//! # Contract
//!
//! - Any runtime of tokio's will do, `current_thread` too, if time and IO are enabled, and calls on
//!   several runtimes can share a client. The jobs and timers of a call run on the runtime of that
//!   call, and connections are kept per runtime: a runtime that is dropped, not driven, or blocked by
//!   synchronous work does not stop calls on others. What is shared (a blob that two calls want, a
//!   token, a slot of a host) and is held by a runtime that is gone is taken over at once; held by one
//!   that does not run, it is taken over when another call has waited for about 3 seconds. The call
//!   that held it begins again when its runtime runs, from what the store has, and its observer sees
//!   a new task. Deadlines of other calls hold meanwhile.
//! - Events reach the observer from the future of `run`; byte counts from the blocking pool.
//! - Dropping the future cancels its task. So does a [`CancelHandle`], and then the call
//!   returns within a second, whatever the server or the store does.
//! - Nothing is read from the environment: no proxy, no certificates but those of the system.
//! - It sends what the core says, byte for byte, or not at all: reqwest rewrites some targets, and
//!   a request that has one fails. It adds `accept: */*` where the core says nothing.

mod client;
#[cfg(feature = "decompress")]
mod decompress;
mod engine;
mod exchange;
#[cfg(test)]
mod exchange_tests;
mod failures;
mod job;
mod pipe;
mod pools;
mod reader;
mod relay;
mod resolver;
#[cfg(feature = "tower")]
mod service;
mod state;
mod stop;
mod streams;
mod transfer;

pub use client::{Running, Tokio};
#[cfg(feature = "decompress")]
pub use decompress::Decompressed;
pub use reader::{BlobReader, UnverifiedReader};
pub use rustls;
#[cfg(feature = "tower")]
pub use service::{BoxError, ServiceBody, client_with_service};
pub use streams::{stream_of_bytes, stream_of_reader};
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
#[cfg(feature = "tape")]
pub use windlass_driver::TapeFile;
#[cfg(feature = "tracing")]
pub use windlass_driver::TracingObserver;
pub use windlass_driver::reports::*;
pub use windlass_driver::{
    AddTags, Anonymous, Artifact, Attached, BlobContent, BlobStream, BuildError, CancelHandle,
    Credentials, ImageChanged, ImageLocation, IndexChanged, LayerContent, Mount, Observer, Part,
    Procedure, Pull, PulledArtifact, Push, PutStream, RequestSpec, Requests, TimeLimits, TlsRoots,
    Transfer, UploadFolder, UploadJournal, error, host_platform,
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
pub type Client = driver::Client<Tokio>;

/// Sets a [`Client`] up.
pub type Builder = driver::Builder<Tokio>;

/// Something to be done by a [`Client`], and how.
pub type Request<'a, V> = driver::Request<'a, Tokio, V>;

/// The pages of a list, one after the other.
pub type ListPages<'a, R> = driver::ListPages<'a, Tokio, R>;

/// A blob in a repository, to be read.
pub type Blob<'a> = driver::Blob<'a, Tokio>;

/// Something that takes several requests, and how.
pub type ProcedureRequest<'a, P> = driver::ProcedureRequest<'a, Tokio, P>;

/// Compiles the examples of the workspace's README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
