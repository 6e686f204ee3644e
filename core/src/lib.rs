//! The OCI distribution protocol as a pure state machine: pull, push and copy container images
//! and artifacts without a socket, a file, a thread or a clock in it.
//!
//! Most programs want a driver that is ready made: `windlass-blocking` (threads and ureq) or
//! `windlass-async` (tokio and reqwest). This crate is for those who bring their own, and for
//! tests.
//!
//! # Example: a driver, whole
//!
//! Everything that has to be done outside is one loop. Here HTTP is a closure, the store a map and
//! time a number, so an image is pulled in no time.
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
//! A real driver does the same with workers: it runs jobs beside each other, sleeps where this one
//! sets the time forward, and reads `now` from a clock that began with the session. It streams
//! request bodies through [`Call::outgoing`] and response bodies through [`Call::data`], in pieces
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
//! The [`Session`] knows what is to be done next: order, slots per host, claims on blobs, tokens,
//! retries. A [`Job`] is one thing to be done, as an owned value that leaves the session, is run
//! from start to end by any worker, and comes back as a [`Done`]. So hashing is as parallel as the
//! workers are, nothing is copied for the core's sake, and redirects and challenges pass through
//! the session, where they are visible in its transcript.
//!
//! # The contract
//!
//! 1. [`poll`](Session::poll) returns one thing. Call it until it says [`Output::Wait`] or
//!    [`Output::Idle`]. `Wait` comes only when nothing else is due; the instant in it is later than
//!    the `now` that was given.
//! 2. [`handle`](Session::handle) may be called any number of times between two polls, with ends in
//!    any order. The end of a job that is not outside is ignored.
//! 3. Jobs are linear: a job's `finish` consumes it and is the only way to its [`Done`], except that
//!    a driver whose worker died owes the session [`Done::lost`]. A lost exchange is tried again, a
//!    lost download goes on from what the store holds, a lost question is asked again; a lost step
//!    of a store counts as a failure of the store.
//! 4. A slot is held exactly while an HTTP job is outside, and belongs to the origin of the job's
//!    registry, also when a redirect has led elsewhere. What goes on (after a redirect, a challenge,
//!    a wait; PUT after POST) queues for a slot again but goes before what is new. Exchanges that
//!    are parked, backing off or waiting for others hold none. Requests for tokens and steps of
//!    stores have bounds of their own. A lowered limit is reached by attrition.
//! 5. [`Output::Abort`] asks the driver to end an HTTP job soon; its `Done` is still to come. Each
//!    task, also one that is cancelled, fails or is late, gets exactly one [`Event::Finished`], as
//!    its last event and after its last job is back.
//! 6. Either something is outside, or an instant is waited for, or the session is idle. A task that
//!    waits for nothing is a defect: it fails with [`Error::Internal`], and the others go on.
//! 7. Ids are counters and never used twice in a session. The order of everything follows from the
//!    configuration, the seed and the calls alone.
//! 8. A blob is claimed once per session and destination (a store, or a repository of a registry).
//!    Tasks that want it too wait for it, and one of them takes over if the first one leaves.
//!
//! Time is handed in and never read; one that goes backwards is held. The seed is for jitter and
//! nothing else.
//!
//! # What a driver owes
//!
//! - Requests go out as they are: target and headers byte for byte, no redirect followed, nothing
//!   decoded, nothing added but what HTTP itself needs.
//! - Every byte of a blob on its way out passes [`Outgoing::hash`](call::Outgoing::hash) first, and
//!   only what it releases is sent: its end is held back until the digest matched.
//! - Every byte of a response passes [`Call::data`] before it is stored, and is stored only if that
//!   says [`Keep::All`](call::Keep::All).
//! - Between [`StoreOp::Begin`] that answered `Partial` and [`StoreOp::Commit`] or
//!   [`StoreOp::Release`], it keeps the partial open, and nobody else writes it.
//! - Limits on waiting (to connect, for an answer, for the next byte) are the driver's: it reports
//!   them as [`Interrupted`](call::Interrupted).
//!
//! # What this crate must not know
//!
//! Sockets, files, threads, clocks, randomness, the environment, and any HTTP library. `no_std`
//! keeps it honest: none of these can be named here. It is a lint on our own code and no promise of
//! portability, since the crate `http` needs std.
//!
//! # The modules
//!
//! | to ask and to be told | |
//! |---|---|
//! | [`Session`], [`Output`] | the machine, and what it wants next |
//! | [`task`] | what can be asked: resolve, pull, push, copy; what came of it |
//! | [`config`] | endpoints, concurrency, retries, limits, trusted token services |
//! | [`event`] | what a session tells while it works |
//! | [`error`] | errors, sorted by whose fault they are |
//! | [`checkpoint`] | what is still to be done, for another process to take up |
//! | [`transcript`] | a line for each thing that happened, without secrets |
//!
//! | to be run by a driver | |
//! |---|---|
//! | [`call`] | jobs and their ends; one HTTP exchange |
//! | [`store`] | steps in a store, and their answers |
//! | [`credential`] | the question for credentials, and secrets that cannot be printed |
//!
//! | vocabulary | |
//! |---|---|
//! | [`mod@reference`], [`registry`] | how people name images and registries, and what is contacted |
//! | [`digest`], [`hashing`], [`descriptor`] | the names of content, and pointers to it |
//! | [`manifest`], [`platform`] | documents, and which of them runs where |
//! | [`header`], [`uri`], [`scope`] | what servers say outside of bodies, read strictly |
//! | [`shown`] | text of others, made harmless to print |
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

mod auth;
mod blobs;
pub mod call;
pub mod checkpoint;
pub mod config;
pub mod credential;
pub mod descriptor;
pub mod digest;
pub mod error;
pub mod event;
mod exchanges;
pub mod hashing;
pub mod header;
mod ids;
pub mod manifest;
mod op;
pub mod platform;
mod ports;
mod realm;
pub mod reference;
mod referrers;
pub mod registry;
mod retry;
mod rng;
mod said;
pub mod scope;
mod secrets;
mod session;
pub mod shown;
pub mod store;
mod store_queue;
pub mod tape;
pub mod task;
mod tasks;
#[cfg(test)]
mod testing;
mod time;
pub mod transcript;
pub mod uri;
mod whose;
mod written;

pub use call::{Call, Done, Job, JobId};
pub use checkpoint::Checkpoint;
pub use config::Config;
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use hashing::Hashing;
/// The vocabulary of requests and answers, in the version that this crate speaks.
pub use http;
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{Origin, Registry, Scheme};
pub use session::{Output, Session};
pub use store::{StoreAnswer, StoreCall, StoreError, StoreErrorKind, StoreId, StoreOp};
pub use task::{Copy, Failure, Place, Platforms, Report, Task, TaskId, TaskReport, Unlisted};
pub use time::Time;
