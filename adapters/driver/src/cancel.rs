//! A call is ended early.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ends calls early. Clones share one state; one of them can serve any number of calls.
#[derive(Clone, Default)]
pub struct CancelHandle(Arc<Mutex<Cancelling>>);

#[derive(Default)]
struct Cancelling {
    cancelled: bool,
    next: u64,
    listeners: BTreeMap<u64, Box<dyn Fn() + Send + Sync>>,
}

impl CancelHandle {
    /// A handle that is not cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every call that was given this handle, and those that will be. They return within a
    /// second.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        // Under the lock: after a call has returned, its listener is not called.
        for listener in state.listeners.values() {
            listener();
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// For drivers: calls `listener` on cancellation, at once if that has happened already, until the
    /// guard is dropped. The listener must not use this handle.
    pub fn on_cancel(&self, listener: impl Fn() + Send + Sync + 'static) -> CancelGuard {
        let mut state = self.lock();
        if state.cancelled {
            listener();
        }
        let key = state.next;
        state.next += 1;
        state.listeners.insert(key, Box::new(listener));
        CancelGuard(self.clone(), key)
    }

    fn lock(&self) -> MutexGuard<'_, Cancelling> {
        // A listener that panicked leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

/// Ends [`CancelHandle::on_cancel`] when it is dropped.
#[derive(Debug)]
#[must_use = "the listener is not called once this is dropped"]
pub struct CancelGuard(CancelHandle, u64);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.lock().listeners.remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn cancelling_is_heard_once_by_those_that_listen() {
        let heard = Arc::new(AtomicUsize::new(0));
        let count = || {
            let heard = Arc::clone(&heard);
            move || {
                heard.fetch_add(1, Ordering::SeqCst);
            }
        };
        let cancel = CancelHandle::new();
        let early = cancel.on_cancel(count());
        drop(cancel.on_cancel(count()));
        assert!(!cancel.is_cancelled());
        let other = cancel.clone();
        other.cancel();
        assert!(cancel.is_cancelled());
        assert_eq!(heard.load(Ordering::SeqCst), 1);
        let late = cancel.on_cancel(count());
        assert_eq!(heard.load(Ordering::SeqCst), 2);
        drop((early, late));
    }
}
