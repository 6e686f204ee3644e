//! The OCI distribution protocol as a pure state machine: pull, push and copy container images
//! and artifacts without a socket, a file, a thread or a clock in it.
//!
//! Most programs use a ready-made driver: `windlass-blocking` (threads and ureq) or `windlass-async`
//! (tokio and reqwest). This crate is for drivers of your own, and for tests.
//!
//! # Example: a complete driver
//!
//! A driver is one loop. Here HTTP is a closure, the store a map and time a number, so the image is
//! pulled without IO.
//!
//! ```
//! use std::collections::BTreeMap;
//! use windlass_core::{call::{Call, Done, Keep, Payload, Receive}, http::{Request, Response}, Job};
//! use windlass_core::{credential::CredentialAnswer, Algorithm, Config, Digest, Event, Failure};
//! use windlass_core::{Output, Platforms, Session, StoreAnswer, StoreCall, StoreError};
//! use windlass_core::{StoreErrorKind, StoreId, StoreOp, Task, TaskReport, Time};
//!
//! #[derive(Default)]
//! struct Memory {
//!     blobs: BTreeMap<Digest, Vec<u8>>,
//!     partials: BTreeMap<Digest, Vec<u8>>,
//!     names: BTreeMap<Option<String>, Digest>,
//! }
//!
//! fn step(call: StoreCall, store: &mut Memory) -> Done {
//!     let mut answer = Ok(StoreAnswer::Written);
//!     match call.op() {
//!         StoreOp::Begin { digest, .. } if store.blobs.contains_key(digest) => answer = Ok(StoreAnswer::Complete),
//!         StoreOp::Begin { .. } => answer = Ok(StoreAnswer::Partial { len: 0 }),
//!         StoreOp::Load { digest, .. } => {
//!             answer = Ok(store.blobs.get(digest).cloned().map_or(StoreAnswer::Absent, StoreAnswer::Loaded));
//!         }
//!         StoreOp::Put { digest, bytes } => drop(store.blobs.insert(digest.clone(), bytes.to_vec())),
//!         StoreOp::Commit { digest, .. } => store.blobs.extend(store.partials.remove_entry(digest)),
//!         StoreOp::Tag { name, descriptor } => {
//!             store.names.insert(name.clone(), descriptor.digest.clone());
//!         }
//!         other => answer = Err(StoreError::new(StoreErrorKind::Io, format!("cannot {other:?}"))),
//!     }
//!     call.finish(answer)
//! }
//!
//! type Registry<'a> = &'a dyn Fn(&Request<Payload>) -> Response<&'a [u8]>;
//!
//! fn exchange(mut call: Box<Call>, registry: Registry<'_>, store: &mut Memory) -> Done {
//!     let (head, body) = registry(call.request()).into_parts();
//!     let receive = call.head(Response::from_parts(head, ()));
//!     if let (Receive::Store { digest, offset, .. }, Keep::All) = (receive, call.data(body)) {
//!         let partial = store.partials.entry(digest).or_default();
//!         partial.truncate(offset as usize);
//!         partial.extend_from_slice(body);
//!     }
//!     call.finish(Ok(()))
//! }
//!
//! fn drive(task: Task, registry: Registry<'_>, store: &mut Memory) -> Result<TaskReport, Failure> {
//!     let (mut session, mut now) = (Session::new(Config::default(), 1), Time::ZERO);
//!     session.start(task);
//!     loop {
//!         let done = match session.poll(now) {
//!             Output::Job(Job::Http(call)) => exchange(call, registry, store),
//!             Output::Job(Job::Store(call)) => step(call, store),
//!             Output::Job(Job::Credentials(call)) => call.finish(CredentialAnswer::None),
//!             Output::Event(_, Event::Finished(result)) => return result,
//!             Output::Event(..) => continue,
//!             Output::Wait(Some(until)) => { now = until; continue; }
//!             other => unreachable!("every job ends before the next poll: {other:?}"),
//!         };
//!         session.handle(done, now);
//!     }
//! }
//!
//! // A registry with one image: a manifest, a configuration, a layer.
//! let digest = |bytes: &[u8]| Digest::of(Algorithm::Sha256, bytes);
//! let (config, layer) = (br#"{"os":"linux"}"#.as_slice(), b"the layer".as_slice());
//! let manifest = format!(
//!     r#"{{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
//!     "config": {{"mediaType": "application/vnd.oci.image.config.v1+json",
//!         "digest": "{}", "size": {}}},
//!     "layers": [{{"mediaType": "application/vnd.oci.image.layer.v1.tar",
//!         "digest": "{}", "size": {}}}]}}"#,
//!     digest(config), config.len(), digest(layer), layer.len(),
//! );
//! let registry = |request: &Request<Payload>| {
//!     let path = request.uri().path();
//!     let blob = [config, layer].into_iter().find(|blob| path.ends_with(digest(blob).as_str()));
//!     match (path, blob) {
//!         ("/v2/team/app/manifests/v1", _) => Response::builder()
//!             .header("content-type", "application/vnd.oci.image.manifest.v1+json")
//!             .body(manifest.as_bytes()),
//!         (_, Some(blob)) => Response::builder().body(blob),
//!         _ => Response::builder().status(404).body(&b""[..]),
//!     }
//!     .expect("a valid answer")
//! };
//!
//! let mut store = Memory::default();
//! let reference = "registry.example/team/app:v1".parse()?;
//! let task = Task::pull(reference, StoreId(0), Some("v1".into()), Platforms::All);
//! let report = drive(task, &registry, &mut store)?.copied().expect("a pull is a copy");
//!
//! assert_eq!((report.moved, report.bytes), (2, 23));
//! assert_eq!(store.blobs[&digest(layer)], layer);
//! assert_eq!(store.names[&Some("v1".to_string())], digest(manifest.as_bytes()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A real driver does the same with workers: it runs jobs concurrently, sleeps where this one
//! advances the time, and reads `now` from a clock that starts with the session. It streams
//! request bodies through [`Call::outgoing`] and response bodies through [`Call::data`], in chunks
//! of any size.
//!
//! # The picture
//!
//! ```text
//!             your program, or the windlass command
//!                 │ start(task)                ▲ events, report
//!         ┌───────▼────────────────────────────┴───────┐
//!         │ driver   blocking: threads, ureq           │   decides nothing
//!         │          async:    tokio, reqwest          │
//!         └───┬───────────▲────────────────┬───────────┘
//!       poll  │           │ handle(Done)   │ runs jobs on any thread
//!         ┌───▼───────────┴───┐        ┌───▼─────────────────────────────┐
//!         │ Session (control) │──Job──▶│ Call / StoreCall / … (data)     │  owned, Send, linear
//!         │ order, slots,     │        │ one HTTP exchange or store step;│  hashes bytes it is lent,
//!         │ auth, retry       │◀─Done──│ bytes never enter the session   │  keeps none
//!         └───────────────────┘        └─────────────────────────────────┘
//! ```
//!
//! The [`Session`] decides what happens next: order, slots per host, claims on blobs, tokens,
//! retries. A [`Job`] is an owned unit of work that leaves the session, is run by any worker, and
//! returns as a [`Done`]. So workers hash in parallel, no bytes are copied into the session, and
//! redirects and challenges pass through the session, where its transcript shows them.
//!
//! # The contract
//!
//! 1. [`poll`](Session::poll) returns one output. Call it until it returns [`Output::Wait`] or
//!    [`Output::Idle`]. `Wait` is returned only when nothing else is due; its instant is later than
//!    the `now` that was passed.
//! 2. [`handle`](Session::handle) may be called any number of times between two polls, with results
//!    in any order. The result of a job that is not in flight is ignored.
//! 3. Jobs are linear: a job's `finish` consumes it and is the only way to its [`Done`], except that
//!    a driver whose worker died must pass [`Done::lost`]. A lost exchange is retried, a lost
//!    download resumes from what the store holds, a lost question is asked again; a lost store
//!    operation counts as a failure of the store.
//! 4. A slot is held exactly while an HTTP job is in flight, a relay holds one of each host, and it belongs to the origin of the job's
//!    registry, even if a redirect has led elsewhere. Continuations (after a redirect, a challenge,
//!    a wait; PUT after POST) queue for a slot again, but before new exchanges. Exchanges that
//!    are parked, backing off or waiting for others hold none. Token requests and store operations
//!    have bounds of their own. A download that its caller does not read can
//!    [give its slot back](Session::yield_slot) before it ends. A lowered limit takes effect as jobs end.
//! 5. [`Output::Abort`] asks the driver to end an HTTP job soon; its `Done` is still required. Each
//!    task, even if it is cancelled, fails or misses its deadline, gets exactly one
//!    [`Event::Finished`], as its last event and after its last job has ended.
//! 6. A job is in flight, or the session waits for an instant, or it is idle. A task that waits for
//!    nothing is a bug: it fails with [`Error::Internal`], and the others continue.
//! 7. Ids are counters and never reused in a session. The order of everything is determined by the
//!    configuration, the seed and the calls alone.
//! 8. A blob is claimed once per session and destination (a store, or a repository of a registry).
//!    Other tasks that want it wait for it, and one of them takes over if the first one ends.
//!
//! Time is passed in and never read; if it goes backwards, the latest instant counts. The seed is for
//! jitter only.
//!
//! # Obligations of a driver
//!
//! - Send requests unchanged: target and headers byte for byte; follow no redirect, decode nothing,
//!   add nothing but what HTTP itself needs.
//! - Pass every byte of a blob through [`Outgoing::hash`](call::Outgoing::hash), and send only what it
//!   releases: its end is held back until the digest matched. Give the meter back with
//!   [`Call::sent`]: the next part goes on with its hash.
//! - Pass every byte of a response to [`Call::data`] before storing it, and store it only if the
//!   result is [`Keep::All`](call::Keep::All).
//! - Run both calls of a [`Relay`](call::Relay) at once: pass the bytes that
//!   [`Receive::Relay`](call::Receive::Relay) names through the sink's [`Outgoing`](call::Outgoing), and keep only a
//!   bounded number of them.
//! - After a [`StoreOp::Begin`] that answered `Partial`, keep the partial open and exclusive until
//!   [`StoreOp::Commit`] or [`StoreOp::Release`].
//! - Enforce time limits (to connect, for a response, for the next byte), and report them as
//!   [`Interrupted`](call::Interrupted).
//!
//! # What this crate must not know
//!
//! Sockets, files, threads, clocks, randomness, the environment, and any HTTP library. `no_std`
//! enforces that: none of these can be named here. It is a lint on this crate's code and no promise
//! of portability, since the crate `http` needs std.
//!
//! # The modules
//!
//! | for callers | |
//! |---|---|
//! | [`Session`], [`Output`] | the state machine, and its outputs |
//! | [`task`] | tasks (pull, push, copy, and operations on registries) and their results |
//! | [`config`] | routes, concurrency, retries, limits, trusted token services |
//! | [`event`], [`totals`] | progress events, and sums of them |
//! | [`error`] | errors, grouped by whose fault they are |
//! | [`checkpoint`] | unfinished tasks, for another process to resume |
//! | [`uploads`] | unfinished uploads, for another process to go on with |
//! | [`transcript`] | a line for each job, end and event, without secrets |
//!
//! | for drivers | |
//! |---|---|
//! | [`call`] | jobs and their results; one HTTP exchange |
//! | [`store`] | store operations, and their answers |
//! | [`credential`] | the question for credentials, and secrets that cannot be printed |
//!
//! | vocabulary | |
//! |---|---|
//! | [`mod@reference`], [`registry`] | names of images and registries, and origins |
//! | [`digest`], [`hashing`], [`descriptor`], [`extents`] | digests, pointers to content, parts of it |
//! | [`manifest`], [`platform`] | documents, and the selection of a platform |
//! | [`artifact`], [`edit`] | manifests of artifacts, made from their parts; images and indexes that are changed |
//! | [`header`], [`uri`], [`scope`] | values of response headers, parsed strictly |
//! | [`sanitize`] | text of servers and systems, made safe to print |
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]
#![allow(
    clippy::large_enum_variant,
    clippy::result_large_err,
    reason = "a few hundred of these live at once, for as long as a request: boxes would cost more"
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod artifact;
mod auth;
mod blobs;
pub mod call;
mod capabilities;
pub mod checkpoint;
pub mod config;
pub mod credential;
pub mod descriptor;
pub mod digest;
pub mod edit;
pub mod error;
mod error_body;
pub mod event;
mod exchanges;
pub mod extents;
pub mod hashing;
pub mod header;
mod ids;
pub mod image_config;
mod json;
mod lanes;
pub mod manifest;
mod op;
pub mod platform;
mod ports;
mod realm;
mod redact;
pub mod reference;
mod reference_error;
pub mod referrers;
pub mod registry;
mod retry;
mod rng;
pub mod sanitize;
pub mod scope;
mod session;
pub mod store;
mod store_queue;
pub mod tape;
pub mod task;
mod task_json;
mod tasks;
#[cfg(test)]
mod testing;
mod time;
pub mod totals;
pub mod transcript;
pub mod uploads;
pub mod uri;
mod whose;
mod written;

pub use artifact::ArtifactManifest;
pub use call::{Call, Done, Job, JobId};
pub use checkpoint::Checkpoint;
pub use config::Config;
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest};
pub use edit::{ImageChange, IndexEdit, NewLayer};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use extents::Extents;
pub use hashing::Hashing;
/// The vocabulary of requests and answers, in the version that this crate speaks.
pub use http;
pub use image_config::ImageConfig;
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{Origin, Registry, Scheme};
pub use session::{Output, Session};
pub use store::{StoreAnswer, StoreCall, StoreError, StoreErrorKind, StoreId, StoreOp};
pub use task::*;
pub use time::Time;
pub use totals::{Amount, Totals};
pub use uploads::{SavedUpload, UploadChange, UploadKey};
