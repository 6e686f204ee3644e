//! What helpers have answered: each question runs one process, also if several threads ask it (CRED-29).
//!
//! Responsible for asking once, and for how long an answer counts. Must not know helpers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use windlass_core::credential::CredentialAnswer;

/// A helper, and the URLs that it is asked for, one after the other.
type Subject = (String, Vec<String>);
type Found = Result<Option<CredentialAnswer>, String>;

/// The answers so far.
#[derive(Default)]
pub(super) struct Known(Mutex<BTreeMap<Subject, Arc<Slot>>>);

/// The lock is held while the helper runs: others wait for its answer.
#[derive(Default)]
struct Slot(Mutex<Option<(Instant, Found)>>);

/// How many answers are remembered. Only a service that serves many registries has more.
const MOST: usize = 1_000;
/// How long it is remembered that there is nothing, or that the helper failed: long enough for the
/// repositories of one task, and too short to hide a login for long.
const NOTHING: Duration = Duration::from_secs(60);

impl Known {
    /// The answer that counts, or that of `ask`, and how old it is.
    pub(super) fn find(
        &self,
        subject: Subject,
        keep: Duration,
        ask: impl FnOnce() -> Found,
    ) -> (Found, Duration) {
        let slot = {
            let mut known = lock(&self.0);
            if known.len() >= MOST && !known.contains_key(&subject) {
                known.clear();
            }
            Arc::clone(known.entry(subject).or_default())
        };
        let mut answer = lock(&slot.0);
        if let Some((at, found)) = &*answer {
            let keep = match found {
                Ok(Some(_)) => keep,
                Ok(None) | Err(_) => keep.min(NOTHING),
            };
            let age = at.elapsed();
            if age < keep {
                return (found.clone(), age);
            }
        }
        let found = ask();
        *answer = Some((Instant::now(), found.clone()));
        (found, Duration::ZERO)
    }

    /// After a login or logout, nothing is known any more.
    pub(super) fn forget(&self) {
        lock(&self.0).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // An answer is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
