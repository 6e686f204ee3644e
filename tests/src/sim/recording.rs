//! What is recorded in worlds in which tapes run along.
//!
//! Responsible for judging the tape of a session: it replays to what was recorded, no secret is on it,
//! and it goes on for as long as its session. Must not know what should be on it.

use windlass_core::tape::{ReplayError, replay};

use super::secrets;
use super::world::World;
use crate::tapes::Lines;

/// Why a tape may end before its session: a secret is where no placeholder can be.
const MAY_END: [&str; 2] = [
    "a manifest has a secret in it",
    "the name of a host has a secret in it",
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
