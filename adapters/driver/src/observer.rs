//! A call is watched.

use windlass_core::call::TransferId;
use windlass_core::{Event, TaskId, Totals};

/// Watches a request. Events and lines come in order, from the thread or the future that runs the request;
/// positions come from the threads that move bytes. Must be quick and must not call the client. A request is
/// one task, unless the async client had to start it again.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, task: TaskId, event: &Event);

    /// The task knows more of what it has to do, or has done more of it: comes before the first bytes of a manifest's
    /// blobs, and with each blob that is done. Blobs that are moving are not done: with their positions these are the
    /// progress of the whole.
    fn totals(&self, task: TaskId, totals: &Totals) {
        let _ = (task, totals);
    }

    /// A transfer has moved: this many bytes of its blob are now on the other side. The position goes back
    /// when a transfer starts over.
    fn bytes(&self, transfer: TransferId, position: u64) {
        let _ = (transfer, position);
    }

    /// A line of the live transcript: requests, answers and events, without secrets. A tape of the
    /// session replays to the same lines.
    fn trace(&self, line: &str) {
        let _ = line;
    }

    /// Whether [`trace`](Self::trace) is wanted at all. Asked once, when a task starts.
    fn traces(&self) -> bool {
        false
    }
}
