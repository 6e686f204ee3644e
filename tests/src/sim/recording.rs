//! What is recorded in worlds in which tapes run along.
//!
//! Responsible for judging the tape of a session. Must not know what should be on it: it replays to
//! what was recorded, nobody's secret is on it, and it goes on for as long as its session.

use windlass_core::tape::{ReplayError, replay};

use super::secrets;
use super::world::World;
use crate::tapes::Lines;

/// Why a tape may end before its session: what was sent has a secret in it where nothing can stand in
/// its place, or was no manifest and more was made of it than may be written.
const MAY_END: [&str; 3] = [
    "a manifest has a secret in it",
    "the next line would have held a secret",
    "something else follows from a document that is not on the tape",
];

impl World<'_> {
    /// The tape of a session that is gone.
    pub(crate) fn check_tape(&mut self, tape: &Lines) {
        let text = tape.text();
        if let Some(line) = text.lines().find(|line| !secrets::find(line).is_empty()) {
            return self.violate(format!("tape: a secret is on it: {line}"));
        }
        match replay(&text).end {
            Ok(()) => {}
            Err(ReplayError::Broken { why, .. }) if MAY_END.contains(&why.as_str()) => {}
            Err(error) => self.violate(format!("tape: it does not replay to its end: {error:?}")),
        }
    }
}
