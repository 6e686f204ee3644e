//! Tapes: kept in memory while a test runs, and those that are committed.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use windlass_core::tape::{Sink, replay};

/// The lines of a tape, in memory.
#[derive(Default)]
pub struct Lines(Mutex<String>);

impl Lines {
    /// What was recorded so far.
    pub fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    /// It can be replayed as far as it goes, and there is no password on it.
    pub fn check(&self) {
        let tape = self.text();
        assert_eq!(replay(&tape).end, Ok(()), "{tape}");
        assert!(!tape.contains(crate::drivers::PASSWORD), "{tape}");
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl Sink for Lines {
    fn line(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_str(line);
        lines.push('\n');
    }
}

/// A line of a transcript as a replay has it: tapes have no user names.
pub fn without_users(line: &str) -> String {
    let Some((before, after)) = line.split_once("of `alice`") else {
        return line.to_owned();
    };
    format!("{before}of `user-1`{}", without_users(after))
}
