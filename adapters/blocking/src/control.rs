//! The thread that holds a job's end of a connection, and what others may tell it.
//!
//! Responsible for the stop flag of a job and for what its connections found out. A worker's
//! thread is where ureq runs, so connections learn from a thread-local whose bytes they move; a
//! pooled connection has no other way to know. Must not know HTTP.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use windlass_driver::AddressGuard;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Control>>> = const { RefCell::new(None) };
}

/// What a job and its connection say to each other.
#[derive(Debug, Default)]
pub(crate) struct Control {
    stopped: AtomicBool,
    reused: AtomicBool,
    answered: AtomicBool,
    peer_stopped_reading: AtomicBool,
    heard: AtomicUsize,
    reading: Mutex<Option<Instant>>,
    /// Another job's half, which ends with this one.
    other: Mutex<Option<Arc<Self>>>,
    /// The peer may have answered although nothing was sent since.
    listens: AtomicBool,
    /// What judges the addresses that the job connects to.
    addresses: Mutex<AddressGuard>,
}

impl Control {
    /// Makes this the control of everything that the current thread does, until the guard drops.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        CURRENT.set(Some(Arc::clone(self)));
        Entered(())
    }

    /// The control of what the current thread does.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Asks the job to end soon. A blocked read or write notices within a slice of waiting.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        let other = self.other();
        if let Some(other) = &*other {
            other.stop();
        }
    }

    /// A control for the other exchange of a relay, which is stopped with this one.
    pub(crate) fn other_half(&self) -> Arc<Self> {
        let half = Arc::<Self>::default();
        *self.other() = Some(Arc::clone(&half));
        if self.is_stopped() {
            half.stop();
        }
        half
    }

    /// Asks the connection to see whether the peer has answered already, since there is nothing to send now.
    pub(crate) fn listen(&self) {
        self.listens.store(true, Relaxed);
    }

    /// Whether it was asked to. Said once.
    pub(crate) fn takes_listen(&self) -> bool {
        self.listens.swap(false, Relaxed)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Before a request is sent (again).
    pub(crate) fn begin(&self) {
        self.reused.store(false, Relaxed);
        self.answered.store(false, Relaxed);
        self.peer_stopped_reading.store(false, Relaxed);
        self.heard.store(0, Relaxed);
        *self.reading() = None;
    }

    /// Which addresses the job may connect to.
    pub(crate) fn guard(&self, addresses: AddressGuard) {
        *self.lock_addresses() = addresses;
    }

    pub(crate) fn addresses(&self) -> AddressGuard {
        self.lock_addresses().clone()
    }

    /// Before a piece of an answer's body is asked for.
    pub(crate) fn begin_read(&self) {
        self.heard.store(0, Relaxed);
        *self.reading() = Some(Instant::now());
    }

    /// Since when a piece of a body is awaited, if one is.
    pub(crate) fn reads_since(&self) -> Option<Instant> {
        *self.reading()
    }

    /// Bytes of an answer came.
    pub(crate) fn note_heard(&self, bytes: usize) {
        self.answered.store(true, Relaxed);
        self.heard.fetch_add(bytes, Relaxed);
    }

    /// How many bytes came that made neither a head nor a piece of a body yet.
    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Relaxed)
    }

    /// The connection had served another request before.
    pub(crate) fn note_reused(&self) {
        self.reused.store(true, Relaxed);
    }

    /// The peer has stopped reading: what is still to be sent need not be produced.
    pub(crate) fn note_peer_stopped_reading(&self) {
        self.peer_stopped_reading.store(true, Relaxed);
    }

    pub(crate) fn has_peer_stopped_reading(&self) -> bool {
        self.peer_stopped_reading.load(Relaxed)
    }

    /// A kept connection broke before any byte of an answer: most likely the server had closed it
    /// just before, and the request was never looked at.
    pub(crate) fn was_stale(&self) -> bool {
        self.reused.load(Relaxed) && !self.answered.load(Relaxed)
    }

    fn lock_addresses(&self) -> MutexGuard<'_, AddressGuard> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn other(&self) -> MutexGuard<'_, Option<Arc<Self>>> {
        self.other.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> MutexGuard<'_, Option<Instant>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends [`Control::enter`].
#[derive(Debug)]
pub(crate) struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}
