//! The session that a client runs: one that may be recorded, where the feature `tape` is on.
//!
//! Responsible for that choice. Both have the same methods. Must not know what runs the session.

use windlass_core::Config;

/// The session that a client runs.
#[cfg(feature = "tape")]
pub type ClientSession = windlass_core::tape::RecordedSession;

/// The session that a client runs.
#[cfg(not(feature = "tape"))]
pub type ClientSession = windlass_core::Session;

/// A session that is not recorded.
pub fn unrecorded(config: Config, seed: u64) -> ClientSession {
    #[cfg(feature = "tape")]
    return ClientSession::new(config, seed, None);
    #[cfg(not(feature = "tape"))]
    return ClientSession::new(config, seed);
}
