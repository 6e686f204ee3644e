//! What clients have learned about the connections they keep.
//!
//! Responsible for remembering to which hosts a kept connection broke before any answer. Must not know
//! connections.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use windlass_core::StoreErrorKind;

/// How long it is remembered that a kept connection broke. A server that closes connections without a
/// word does so each time; one that was restarted costs a few handshakes more.
const DOUBTFUL: Duration = Duration::from_secs(300);

/// For drivers: the hosts to which a kept connection broke lately before any byte of an answer came.
///
/// Some servers close a connection after each answer and do not say so. Most requests are simply sent
/// again on a fresh connection. The body of a blob is too large for that: it is not sent on a kept
/// connection to such a host in the first place.
#[derive(Debug, Default)]
pub struct KeptConnections {
    broken: Mutex<BTreeMap<String, Instant>>,
}

impl KeptConnections {
    /// A kept connection to this host broke before any answer.
    pub fn note_broken(&self, host: &str) {
        let mut broken = self.lock();
        broken.retain(|_, at| at.elapsed() < DOUBTFUL);
        broken.insert(host.into(), Instant::now());
    }

    /// Whether a blob is to be sent to this host on a fresh connection.
    pub fn are_doubtful(&self, host: &str) -> bool {
        let broken = self.lock();
        broken.get(host).is_some_and(|at| at.elapsed() < DOUBTFUL)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For drivers: whether a connection failed only because no file descriptor was left for it.
pub fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    windlass_store::error_kind(error) == StoreErrorKind::Descriptors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_doubted_after_a_connection_broke() {
        let kept = KeptConnections::default();
        assert!(!kept.are_doubtful("a:1"));
        kept.note_broken("a:1");
        assert!(kept.are_doubtful("a:1"));
        assert!(!kept.are_doubtful("a:2"));
    }
}
