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

/// How long a connection is kept unused: shorter than the 20 s and more after which servers and
/// load balancers commonly close theirs, so that few requests meet a closed one.
pub const IDLE_AGE: Duration = Duration::from_secs(15);

/// How much of a blob may have been sent on a connection that broke for the request to be sent again in
/// silence. Of more than that the registry may have some, and the session asks it how much.
pub const UNHEARD: u64 = 64 * 1024;

/// Whether a request may be sent a second time without the session knowing. A PATCH adds bytes to an upload, so
/// one that broke off is followed by a status request (PUSHB-40). A PUT without a body ends an upload, and a
/// registry that stores the blob just then may fail both.
pub fn may_repeat<B>(request: &http::Request<B>) -> bool {
    let length = request.headers().get(http::header::CONTENT_LENGTH);
    match *request.method() {
        http::Method::PATCH => false,
        http::Method::PUT => length.is_none_or(|length| length != "0"),
        _ => true,
    }
}

/// Which connections a request may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connections {
    /// A kept one, if there is one.
    Any,
    /// A new one.
    Fresh,
}

/// For drivers: the hosts to which a kept connection broke lately before any byte of an answer came.
///
/// Some servers close a connection after each answer and do not say so. Most requests are simply sent
/// again on a fresh connection. The body of a blob is too large for that, and some requests
/// [may not be repeated](may_repeat): these are not sent on a kept connection to such a host in the first place.
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

    /// Which connections to this host a request may take that is not repeated, or whose body is a blob.
    pub fn for_once(&self, host: &str) -> Connections {
        let broken = self.lock();
        let is_doubtful = broken.get(host).is_some_and(|at| at.elapsed() < DOUBTFUL);
        if is_doubtful {
            Connections::Fresh
        } else {
            Connections::Any
        }
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
        assert_eq!(kept.for_once("a:1"), Connections::Any);
        kept.note_broken("a:1");
        assert_eq!(kept.for_once("a:1"), Connections::Fresh);
        assert_eq!(kept.for_once("a:2"), Connections::Any);
    }
}
