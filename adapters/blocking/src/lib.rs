//! Blocking OCI registry client: windlass-core driven by ureq and threads, without an async
//! runtime.
//!
//! ```no_run
//! use std::sync::Arc;
//! use windlass_blocking::{Client, Reference, Store};
//! use windlass_store::Layout;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().build()?;
//! let reference: Reference = "docker.io/library/alpine:3".parse()?;
//! let store: Arc<dyn Store> = Arc::new(Layout::open_or_create("images")?);
//! let report = client.pull(&reference, &store).name("3").run()?;
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
//! - [`driver`]: observers, cancellation, credentials, time limits, trust and proxies, the same as
//!   in the async client.
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
mod stream;
mod transfer;

pub use client::Threads;
pub use rustls;
pub use windlass_core::reference::{Repository, Tag};
pub use windlass_core::{
    BlobDelivery, BlobFound, BlobPut, BlobRange, Catalog, Checked, Config, Deleted, Descriptor,
    Digest, Error, ErrorKind, Event, Failure, Fetched, ImageConfig, ImageLayer, Manifest,
    OpenedImage, Platform, Put, Reference, Referrers, ReferrersSource, Registry, Report, Tags,
    TaskId, TaskReport,
};
pub use windlass_driver as driver;
#[cfg(feature = "decompress")]
pub use windlass_driver::Decompressed;
pub use windlass_driver::{BlobContent, BlobReader, BuildError};
pub use windlass_store::Store;

/// A client of the OCI registries. Clones are cheap and share one session.
pub type Client = driver::Client<Threads>;

/// Sets a [`Client`] up.
pub type Builder = driver::Builder<Threads>;

/// Something to be done by a [`Client`], and how.
pub type Request<'a, R = Report> = driver::Request<'a, Threads, R>;
