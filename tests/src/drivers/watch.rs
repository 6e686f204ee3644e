//! An observer that tests look at.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windlass_core::call::TransferId;
use windlass_core::{Event, TaskId, Totals};
use windlass_driver::Observer;

type OnBytes = dyn Fn(u64) + Send + Sync;
type OnEvent = dyn Fn(&Event) + Send + Sync;

/// Watches a task, and tells others.
#[derive(Default)]
pub struct Watch {
    seen: Mutex<Seen>,
    changed: Condvar,
    on_bytes: Option<Box<OnBytes>>,
    on_event: Option<Box<OnEvent>>,
}

#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    lines: Vec<String>,
    positions: BTreeMap<TransferId, u64>,
    told: Vec<(TransferId, u64)>,
    totals: Vec<Totals>,
}

impl Watch {
    /// Watches and does nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Calls this with each position that a transfer reaches.
    pub fn on_bytes(act: impl Fn(u64) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            on_bytes: Some(Box::new(act)),
            ..Self::default()
        })
    }

    /// Calls this with each event.
    pub fn on_event(act: impl Fn(&Event) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            on_event: Some(Box::new(act)),
            ..Self::default()
        })
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// The transcript so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The totals so far.
    pub fn totals(&self) -> Vec<Totals> {
        self.lock().totals.clone()
    }

    /// The furthest any transfer is.
    pub fn furthest(&self) -> u64 {
        let seen = self.lock();
        seen.positions.values().copied().max().unwrap_or(0)
    }

    /// How far this transfer is, if that was ever told.
    pub fn position(&self, transfer: TransferId) -> Option<u64> {
        self.lock().positions.get(&transfer).copied()
    }

    /// Each position of the blob of this many bytes, in order, as it was told.
    pub fn positions(&self, size: u64) -> Vec<u64> {
        let seen = self.lock();
        let mut transfers = Vec::new();
        for event in &seen.events {
            if let Event::Started {
                transfer, size: it, ..
            } = event
                && *it == size
            {
                transfers.push(*transfer);
            }
        }
        let told = seen.told.iter().filter(|(it, _)| transfers.contains(it));
        told.map(|(_, position)| *position).collect()
    }

    /// Waits until some transfer is at least this far; a minute is a guard against hanging.
    pub fn wait_for_bytes(&self, position: u64) {
        let seen = self.lock();
        let short = |seen: &mut Seen| seen.positions.values().all(|at| *at < position);
        let minute = Duration::from_secs(60);
        let (_seen, waited) = self
            .changed
            .wait_timeout_while(seen, minute, short)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "no transfer got to {position}");
    }

    /// Waits until no transfer moves any more: none did for this long.
    pub fn wait_for_standstill(&self, long: Duration) {
        let mut seen = self.lock();
        loop {
            let before = seen.positions.clone();
            let same = |seen: &mut Seen| seen.positions == before;
            let (now, waited) = self
                .changed
                .wait_timeout_while(seen, long, same)
                .unwrap_or_else(PoisonError::into_inner);
            seen = now;
            if waited.timed_out() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn totals(&self, _: TaskId, totals: &Totals) {
        self.lock().totals.push(*totals);
    }

    fn event(&self, _: TaskId, event: &Event) {
        self.lock().events.push(event.clone());
        if let Some(act) = &self.on_event {
            act(event);
        }
    }

    fn bytes(&self, transfer: TransferId, position: u64) {
        let mut seen = self.lock();
        seen.positions.insert(transfer, position);
        seen.told.push((transfer, position));
        drop(seen);
        self.changed.notify_all();
        if let Some(act) = &self.on_bytes {
            act(position);
        }
    }

    fn trace(&self, line: &str) {
        self.lock().lines.push(line.to_owned());
    }

    fn traces(&self) -> bool {
        true
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
