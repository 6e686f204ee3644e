//! A call is watched.

use windlass_core::call::TransferId;
use windlass_core::{Event, TaskId};

/// Watches a call. Called from worker threads; must be quick and must not call the client. A call is
/// one task, unless the async client had to begin it again.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, task: TaskId, event: &Event);

    /// A transfer has moved: so many bytes of its blob are now on the other side. May go back when
    /// a transfer starts over.
    fn bytes(&self, transfer: TransferId, position: u64) {
        let _ = (transfer, position);
    }

    /// A line of the live transcript: requests, answers and events, without secrets. A tape of the
    /// session replays to the same lines.
    fn trace(&self, line: &str) {
        let _ = line;
    }

    /// Whether [`trace`](Self::trace) is wanted at all.
    fn traces(&self) -> bool {
        false
    }
}
