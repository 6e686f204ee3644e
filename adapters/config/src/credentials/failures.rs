//! Telling each failure of a source once.
//!
//! Responsible for not repeating one: sources are consulted for each repository. Must not know sources.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Tells reasons to a function, if there is one.
#[derive(Default)]
pub(super) struct Failures {
    tell: Option<Box<Tell>>,
    told: Mutex<BTreeSet<String>>,
}

type Tell = dyn Fn(&str) + Send + Sync;

/// How many are remembered. A service that runs for long could have any number of them.
const MOST: usize = 1_000;

impl Failures {
    pub(super) fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            tell: Some(Box::new(tell)),
            told: Mutex::default(),
        }
    }

    pub(super) fn tell(&self, why: &str) {
        let Some(tell) = &self.tell else {
            return;
        };
        let is_new = {
            // A set is whole between two calls.
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= MOST {
                told.clear();
            }
            told.insert(why.to_owned())
        };
        if is_new {
            tell(why);
        }
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").finish_non_exhaustive()
    }
}
