//! The OCI distribution protocol as a pure state machine.
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
pub mod call;
pub mod config;
pub mod credential;
pub mod descriptor;
pub mod digest;
pub mod error;
pub mod event;
mod exchange;
mod graph;
pub mod hashing;
pub mod header;
pub mod manifest;
mod op;
pub mod platform;
mod realm;
pub mod reference;
pub mod registry;
mod retry;
mod rng;
mod said;
pub mod scope;
mod session;
mod steps;
pub mod store;
pub mod task;
#[cfg(test)]
mod testing;
mod time;
pub mod transcript;
pub mod uri;
mod wire;
mod work;

pub use call::{Call, Done, Job, JobId};
pub use config::Config;
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use hashing::Hashing;
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{Origin, Registry, Scheme};
pub use session::{Output, Session};
pub use store::{StoreAnswer, StoreCall, StoreError, StoreErrorKind, StoreId, StoreOp};
pub use task::{Copy, Failure, Place, Platforms, Report, Task, TaskId};
pub use time::Time;
