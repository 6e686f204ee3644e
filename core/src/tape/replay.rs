//! Replaying: what a tape says now.
//!
//! Responsible for reading lines in order and for naming the first that does not hold any more.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::VERSION;
use super::line::{Header, Line, Version};
use super::player::Player;
use crate::sanitize::escape;

/// What came of replaying a tape.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Replay {
    /// The transcript: every job, end, abort and event, as far as it went.
    pub lines: Vec<String>,
    /// Whether it went to its end.
    pub end: Result<(), ReplayError>,
    /// The version of windlass that made the tape; empty if that cannot be read.
    pub made_by: String,
}

/// Why a tape was not replayed to its end. Lines of tapes are counted from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It is no tape, or not one any more.
    #[error("line {line} is damaged: {why}")]
    Damaged {
        /// Which line.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It was made by another version of windlass.
    #[error("a tape of version {found}, where {} is known", VERSION)]
    Version {
        /// Its version.
        found: u64,
    },
    /// windlass does something else now.
    #[error("line {line} diverges: on the tape there was {expected}, now there is {found}")]
    Diverged {
        /// Which line.
        line: usize,
        /// What windlass wanted when the tape was made.
        expected: String,
        /// What it wants now.
        found: String,
    },
    /// The recording ended before its session.
    #[error("the recording ended at line {line}: {why}")]
    Broken {
        /// Which line.
        line: usize,
        /// Why.
        why: String,
    },
}

/// Replays a tape.
///
/// A last line without an end is left out: a process that was killed leaves one.
///
/// # Example: what is no tape
///
/// ```
/// use windlass_core::tape::{ReplayError, replay};
///
/// let error = replay("{}\n").end.unwrap_err();
/// assert!(matches!(error, ReplayError::Damaged { line: 1, .. }));
/// ```
pub fn replay(tape: &str) -> Replay {
    let mut replay = Replay {
        lines: Vec::new(),
        end: Ok(()),
        made_by: String::new(),
    };
    replay.end = play(tape, &mut replay.lines, &mut replay.made_by);
    replay
}

fn play(tape: &str, shown: &mut Vec<String>, made_by: &mut String) -> Result<(), ReplayError> {
    let written = tape.rfind('\n').map_or("", |end| &tape[..end]);
    let mut lines = written.split('\n').enumerate();
    // What a tape says is shown, and it may be anybody's (SEC-11).
    let damaged = |line: usize, why: &dyn ToString| ReplayError::Damaged {
        line: line + 1,
        why: escape(&why.to_string(), 200),
    };
    let first = lines.next().map_or("", |(_, line)| line);
    let version: Version = serde_json::from_str(first).map_err(|error| damaged(0, &error))?;
    *made_by = escape(&version.windlass, 40);
    if version.tape != VERSION {
        return Err(ReplayError::Version {
            found: version.tape,
        });
    }
    let header: Header = serde_json::from_str(first).map_err(|error| damaged(0, &error))?;
    let mut player = Player::new(header).map_err(|why| damaged(0, &why))?;
    for (at, text) in lines {
        let line: Line = serde_json::from_str(text).map_err(|error| damaged(at, &error))?;
        if let Line::Broken(why) = line {
            let why = escape(&why, 200);
            return Err(ReplayError::Broken { line: at + 1, why });
        }
        if let Line::Poll { at: now, out } = line {
            let found = player.poll(now);
            if !found.is_like(&out) {
                return Err(ReplayError::Diverged {
                    line: at + 1,
                    expected: escape(&out.to_string(), 2000),
                    found: found.to_string(),
                });
            }
            shown.extend(found.line());
        } else {
            shown.extend(player.play(line).map_err(|why| damaged(at, &why))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_tape_is_shown_without_what_moves_a_cursor() {
        let header = concat!(
            r#"{"tape":2,"windlass":"x","seed":1,"config":{"inFlight":{"initial":2,"max":2,"min":1},"#,
            r#""retry":{"attempts":5,"base":1,"cap":1,"retryAfterCap":1},"limits":{"document":9,"#,
            r#""documents":9,"objects":9,"depth":4,"errorBody":9,"tokenBody":9,"redirects":1},"#,
            r#""userAgent":"x"}}"#
        );
        for line in [
            "{\"\u{7f}\":0}",
            "{\"poll\":{\"at\":1,\"out\":{\"job\":\"\\u001b[2J\"}}}",
        ] {
            let said = replay(&alloc::format!("{header}\n{line}\n"))
                .end
                .expect_err("it is wrong");
            let said = said.to_string();
            assert!(said.starts_with("line 2 "), "{said}");
            assert!(!said.chars().any(char::is_control), "{said:?}");
        }
    }
}
