//! The lines of a tape.
//!
//! Responsible for their form. Must not know what may be on a tape (`allow`) nor what fits what
//! (`player`).
//!
//! ```text
//! {"tape":2,"windlass":"0.1.0","seed":7,"config":{…}}
//! {"start":{"resolve":"reg.example/a:v1"}}
//! {"poll":{"at":120,"out":{"job":"#0 > HEAD https://reg.example/v2/a/manifests/v1"}}}
//! {"done":{"job":0,"at":9154,"end":{"http":{"status":200,…}}}}
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::allow::is_border;
use crate::call::JobResult;
use crate::checkpoint;
use crate::config::Config;
use crate::sanitize::escape;
use crate::session::Output;
use crate::task::Task;
use crate::transcript;
use crate::uploads::SavedUpload;

/// The first line: what the session began with.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Header {
    /// The version of the tape's form.
    pub(super) tape: u64,
    /// Who made it.
    pub(super) windlass: String,
    pub(super) seed: u64,
    pub(super) config: Config,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checkpoint: Option<checkpoint::CheckpointRepr>,
}

/// Of the first line of any version, what is read before anything else.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) tape: u64,
    #[serde(default)]
    pub(super) windlass: String,
}

/// Every other line: something that the session was told or asked.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// A task was started.
    Start(Task),
    /// A task was cancelled.
    Cancel(u64),
    /// A job gave its slot back before it ended.
    Yield(u64),
    /// An upload that another process had left was offered.
    Upload(SavedUpload),
    /// An upload was left to another process.
    Left(SavedUpload),
    /// The session was polled.
    Poll {
        /// When, in microseconds.
        at: u64,
        /// What it wanted.
        out: Out,
    },
    /// A job came back.
    Done {
        job: u64,
        /// When, in microseconds.
        at: u64,
        end: JobResult,
    },
    /// The recording ends here, although the session went on.
    Broken(String),
}

/// What a session wanted, as the transcript has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Out {
    Job(String),
    Abort(String),
    Event(String),
    /// Until when, in microseconds, if anything happens by itself.
    Wait(Option<u64>),
    Idle,
}

impl Out {
    pub(super) fn of(output: &Output) -> Self {
        match output {
            Output::Job(job) => Self::Job(transcript::job(job)),
            Output::Abort(job) => Self::Abort(transcript::abort(*job)),
            Output::Event(task, event) => Self::Event(transcript::told(*task, event)),
            Output::Wait(until) => Self::Wait(until.map(crate::time::Time::as_micros)),
            Output::Idle => Self::Idle,
        }
    }

    /// The line of the transcript, if it has one for this.
    pub(super) fn line(self) -> Option<String> {
        match self {
            Self::Job(line) | Self::Abort(line) | Self::Event(line) => Some(line),
            Self::Wait(_) | Self::Idle => None,
        }
    }

    /// Whether both want the same. Free text in an event (an error, a warning) may have other words,
    /// and a wait another end: what follows from that is seen where something goes out.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.is(other, |this, other| {
            this == other || is_prose(this) && begin_alike(this, other)
        })
    }

    /// Whether this, of a session that was told placeholders, is what `live` is of the session that was
    /// told everything.
    pub(super) fn stands_for(&self, live: &Self) -> bool {
        self.is(live, |this, live| {
            begin_alike(this, live) && (is_prose(this) || is_same_but_for_placeholders(this, live))
        })
    }

    fn is(&self, other: &Self, is_same: fn(&str, &str) -> bool) -> bool {
        match (self, other) {
            (Self::Wait(_), Self::Wait(_)) | (Self::Idle, Self::Idle) => true,
            (Self::Job(this), Self::Job(other))
            | (Self::Abort(this), Self::Abort(other))
            | (Self::Event(this), Self::Event(other)) => is_same(this, other),
            _ => false,
        }
    }
}

impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // It can come from a tape that anybody made.
            Self::Job(line) | Self::Abort(line) | Self::Event(line) => {
                write!(f, "`{}`", escape(line, 500))
            }
            Self::Wait(_) => f.write_str("nothing before a while has passed or a job is back"),
            Self::Idle => f.write_str("nothing any more"),
        }
    }
}

/// Whether the first words are the same: `task0 * failed:`, `#1 > GET`.
fn begin_alike(this: &str, other: &str) -> bool {
    let words = |line| str::split(line, ' ').take(3);
    words(this).eq(words(other))
}

/// Word by word. How long the form of a request for a token is depends on what is in it.
fn is_same_but_for_placeholders(this: &str, live: &str) -> bool {
    let words = |line: &str| -> Vec<String> {
        let line = line.split(" with ").next().unwrap_or_default();
        line.split(is_border).map(Into::into).collect()
    };
    let (this, live) = (words(this), words(live));
    let is_same = |(this, live): (&String, &String)| this == live || this.starts_with("secret-");
    this.len() == live.len() && this.iter().zip(&live).all(is_same)
}

/// Whether an event has free text. The third word of a job's line is another one.
fn is_prose(line: &str) -> bool {
    let word = line.split(' ').nth(2).unwrap_or_default();
    matches!(word, "try" | "warning:" | "failed:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_the_same() {
        let event = |text: &str| Out::Event(text.into());
        let job = |text: &str| Out::Job(text.into());
        // (one, another, whether they count as the same, whether the first stands for the second)
        let table = [
            (job("#1 > GET a"), job("#1 > GET a"), true, true),
            (job("#1 > GET a"), job("#1 > GET b"), false, false),
            (job("#1 > GET a"), job("#1 > HEAD a"), false, false),
            (job("#1 > GET a"), job("#2 > GET a"), false, false),
            (
                job("#1 > GET h/secret-1?***"),
                job("#1 > GET h/b?***"),
                false,
                true,
            ),
            (
                job("#1 > GET h/sha256:secret-1"),
                job("#1 > GET h/sha256:123x"),
                false,
                true,
            ),
            (
                job("#1 > GET h/secret-1"),
                job("#1 > GET h/b/c"),
                false,
                false,
            ),
            (
                job("#1 > GET h/secret-1"),
                job("#1 > GET i/b"),
                false,
                false,
            ),
            (
                job("#1 > POST a with 1 bytes"),
                job("#1 > POST a with 2 bytes"),
                false,
                true,
            ),
            (Out::Wait(None), Out::Wait(Some(1)), true, true),
            (Out::Wait(None), Out::Idle, false, false),
            (Out::Idle, Out::Idle, true, true),
            (Out::Idle, job("#1 > GET a"), false, false),
            (
                event("task0 * failed: a"),
                event("task0 * failed: b"),
                true,
                true,
            ),
            (
                event("task0 * try 1 a"),
                event("task0 * try 1 b"),
                true,
                true,
            ),
            (
                event("task0 * warning: a"),
                event("task0 * warning: b"),
                true,
                true,
            ),
            (
                event("task0 * failed: a"),
                event("task1 * failed: a"),
                false,
                false,
            ),
            (
                event("task0 * stored a"),
                event("task0 * stored b"),
                false,
                false,
            ),
            (
                event("task0 * stored a"),
                event("task0 * skipped a"),
                false,
                false,
            ),
            (
                Out::Abort("#1 > abort".into()),
                Out::Abort("#2 > abort".into()),
                false,
                false,
            ),
        ];
        for (one, other, is_like, stands_for) in table {
            assert_eq!(one.is_like(&other), is_like, "{one} {other}");
            assert_eq!(other.is_like(&one), is_like, "{other} {one}");
            assert_eq!(one.stands_for(&other), stands_for, "{one} {other}");
        }
    }
}
