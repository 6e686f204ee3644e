//! How far transfers are.
//!
//! Responsible for telling each transfer's observer how far it is, often enough and not too often. Must not
//! know how bytes move.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use windlass_core::call::TransferId;
use windlass_core::{Call, Extents, TaskId};

use crate::observer::Observer;

/// How many transfers are remembered before those that no call and no observer wants are looked for.
const ROOM: usize = 64;

/// Which observer hears of which transfer. Clones share it.
#[derive(Clone, Default)]
pub struct ProgressRegistry(Arc<Mutex<Registered>>);

#[derive(Default)]
struct Registered {
    /// What the calls that fetch parts of one blob have stored together. It stays when none of them runs: the
    /// session that asks for the next one may not have heard of the end of the last ones.
    stored: BTreeMap<TransferId, Arc<Mutex<Extents>>>,
    observers: BTreeMap<TransferId, Arc<dyn Observer>>,
    transfers: BTreeMap<TaskId, Vec<TransferId>>,
    /// How many may be `stored` before those that are not wanted any more are looked for: a part that begins does not
    /// look at all others.
    room: usize,
}

impl ProgressRegistry {
    /// From now on `observer` hears of `transfer`, which belongs to `task`.
    pub fn add(&self, transfer: TransferId, task: TaskId, observer: &Arc<dyn Observer>) {
        let mut registered = self.lock();
        registered.transfers.entry(task).or_default().push(transfer);
        registered.observers.insert(transfer, Arc::clone(observer));
    }

    /// Forgets the transfers of a task that is over.
    pub fn forget(&self, task: TaskId) {
        let mut registered = self.lock();
        for transfer in registered.transfers.remove(&task).unwrap_or_default() {
            registered.observers.remove(&transfer);
            registered.forget_stored(transfer);
        }
    }

    /// A call begins that has a transfer for itself: what is stored is what was there before.
    fn alone(&self, transfer: TransferId, present: &Extents) -> Arc<Mutex<Extents>> {
        self.lock().stored.remove(&transfer);
        Arc::new(Mutex::new(present.clone()))
    }

    /// What the calls of a transfer store together, with what was there before.
    fn shared(&self, transfer: TransferId, present: &Extents) -> Arc<Mutex<Extents>> {
        let mut registered = self.lock();
        registered.sweep();
        let shared = Arc::clone(registered.stored.entry(transfer).or_default());
        drop(registered);
        let mut stored = shared.lock().unwrap_or_else(PoisonError::into_inner);
        present.iter().for_each(|part| stored.add(part));
        drop(stored);
        shared
    }

    fn find(&self, transfer: TransferId) -> Option<Arc<dyn Observer>> {
        self.lock().observers.get(&transfer).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered {
    /// Forgets what neither a call nor an observer wants to know, once there is a lot.
    fn sweep(&mut self) {
        let Self {
            stored,
            observers,
            room,
            ..
        } = self;
        if stored.len() < *room {
            return;
        }
        stored.retain(|transfer, it| Arc::strong_count(it) > 1 || observers.contains_key(transfer));
        *room = (stored.len() * 2).max(ROOM);
    }

    /// Forgets what no observer wants to know any more, unless a call does.
    fn forget_stored(&mut self, transfer: TransferId) {
        let stored = self.stored.get(&transfer);
        if stored.is_some_and(|it| Arc::strong_count(it) == 1) {
            self.stored.remove(&transfer);
        }
    }
}

impl fmt::Debug for ProgressRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transfers = self.lock().observers.len();
        write!(f, "ProgressRegistry({transfers} transfers)")
    }
}

/// How far one transfer is. Its observer is told every MiB or ten times a second, and at the end.
#[derive(Clone)]
pub struct Progress {
    registry: ProgressRegistry,
    transfer: Option<TransferId>,
    observer: Option<Arc<dyn Observer>>,
    /// What is in the store, if this is a download.
    stored: Option<Arc<Mutex<Extents>>>,
    /// Where this call begins.
    start: u64,
    position: u64,
    told: u64,
    told_at: Instant,
}

impl Progress {
    const BYTES: u64 = 1024 * 1024;
    const TIME: Duration = Duration::from_millis(100);

    /// The progress of a call; of one that transfers no blob nothing is told.
    pub fn new(registry: &ProgressRegistry, call: &Call) -> Self {
        let mut progress = Self::of(registry, call.transfer(), call.starts_at());
        let is_download = call.expects_bytes().is_some();
        if let Some(transfer) = call.transfer().filter(|_| is_download) {
            progress.stored = Some(if call.is_part() {
                registry.shared(transfer, call.present())
            } else {
                registry.alone(transfer, call.present())
            });
        }
        progress
    }

    fn of(registry: &ProgressRegistry, transfer: Option<TransferId>, position: u64) -> Self {
        Self {
            registry: registry.clone(),
            transfer,
            observer: None,
            stored: None,
            start: position,
            position,
            told: position,
            told_at: Instant::now(),
        }
    }

    /// That many more bytes have moved.
    pub fn add(&mut self, more: u64) {
        self.at(self.position + more);
    }

    /// The transfer is at this byte of its blob.
    pub fn at(&mut self, position: u64) {
        self.position = position;
        let enough = position.abs_diff(self.told) >= Self::BYTES;
        if self.transfer.is_some() && (enough || self.told_at.elapsed() >= Self::TIME) {
            self.tell();
        }
    }

    /// The transfer starts again at this byte; the next report has that position.
    pub const fn restart(&mut self, position: u64) {
        self.position = position;
    }

    /// Tells what was not told yet.
    pub fn end(&mut self) {
        if self.told != self.position {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let Some(transfer) = self.transfer else {
            return;
        };
        self.told_at = Instant::now();
        // The event that names the transfer may come after its first bytes.
        if self.observer.is_none() {
            self.observer = self.registry.find(transfer);
        }
        let Some(observer) = &self.observer else {
            return;
        };
        self.told = self.position;
        let Some(stored) = &self.stored else {
            return observer.bytes(transfer, self.position);
        };
        // Until it is told: another part would tell more before it, and this would look like a step back.
        let mut stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
        if self.position < self.start {
            // The whole blob came instead of what was asked for.
            self.start = 0;
            *stored = Extents::default();
        }
        stored.add(self.start..self.position);
        observer.bytes(transfer, stored.total());
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("transfer", &self.transfer)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
