//! The async client as its users see it.

mod credentials;
#[cfg(feature = "tower")]
mod service;
