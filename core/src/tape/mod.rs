//! Tapes: a session written down so that it can be played again, by anybody, without its secrets.
//!
//! A session is a function of its configuration, its seed, and what it is told: tasks, instants,
//! the ends of jobs. A tape has all of that, a line of JSON for each thing, and beside it what the
//! session wanted, so that another version of it can be held against it.
//!
//! ```text
//!  driver ──start, cancel, poll, handle──▶ Taped ──▶ Session
//!                                           │  the same, without secrets
//!                                           ▼
//!                                        Recorder ──▶ Player (a second session) ──▶ its outputs
//!                                           │                                        │
//!                                           └───────────── lines ◀───────────────────┘
//! ```
//!
//! What stands on a tape about outputs does not come from the session that has the secrets, but from
//! a second one that is told only what is written. So a tape replays as it was recorded, by
//! construction, and no output on it can hold a secret that its inputs do not hold. If what was left
//! out makes the second session want something else, the tape says so and ends; and once a document was
//! written otherwise than it came, also if it makes it say something else.
//!
//! What is on a tape: names of images, repositories and hosts, manifests, paths of URLs, error
//! messages, and the paths of local files that those of stores and helpers name. What is not:
//! passwords, tokens, queries of URLs (but for digests, and the repository that a blob is mounted
//! from), bytes of blobs (and of an image's configuration only its platform), what an error body
//! says beyond what people are shown, headers without a meaning in this protocol.
//!
//! Where a password or a token is said again, it is found if it has four bytes or more; what is
//! shorter than eight only as a word, and not in manifests. It is not looked for if it is a part of
//! what the user said before, or of words that stand on every tape.
//!
//! The name of a user is not on it where a credential was given. Where it is said again, in a message,
//! a header or an address, it is found as a word of four bytes or more, also percent-encoded; but not
//! in manifests, not in base64, and not if it is a part of what the user said, as in a repository's
//! name, or of those words.
//!
//! # Example: recording and replaying
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use windlass_core::tape::{Sink, Taped, replay};
//! use windlass_core::{Config, Output, Task, Time};
//!
//! #[derive(Debug, Default)]
//! struct Lines(Mutex<String>);
//!
//! impl Sink for Lines {
//!     fn line(&self, line: &str) {
//!         let mut lines = self.0.lock().expect("nobody panics");
//!         lines.push_str(line);
//!         lines.push('\n');
//!     }
//! }
//!
//! let lines = Arc::new(Lines::default());
//! let mut session = Taped::new(Config::default(), 1, Some(lines.clone()));
//! session.start(Task::resolve("registry.example/team/app:v1".parse()?));
//! assert!(matches!(session.poll(Time::ZERO), Output::Job(_)));
//!
//! let replay = replay(&lines.0.lock().expect("nobody panics"));
//! assert_eq!(replay.end, Ok(()));
//! assert_eq!(replay.lines, ["#0 > HEAD https://registry.example/v2/team/app/manifests/v1"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod configured;
mod done;
mod line;
mod player;
mod recorder;
mod replay;
mod scrub;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use self::recorder::Recorder;
use crate::call::{Done, JobId};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::session::{Output, Session};
use crate::task::{Task, TaskId};
use crate::time::Time;

pub use self::replay::{Replay, ReplayError, replay};

/// The version of the form of tapes.
pub const VERSION: u64 = 1;

/// Takes the lines of a tape. Called while a driver's session is locked: quick, and without calling
/// the client. One sink takes one tape.
pub trait Sink: Send + Sync + fmt::Debug {
    /// The next line, without its end.
    fn line(&self, line: &str);

    /// Nothing more will come although the session goes on, for this reason. The line that says so on
    /// the tape was given to [`line`](Self::line) before.
    fn broken(&self, why: &str) {
        let _ = why;
    }
}

/// A session that is recorded if somebody wants that: the surface of [`Session`], for drivers.
#[derive(Debug)]
pub struct Taped {
    session: Session,
    recorder: Option<Box<Recorder>>,
}

impl Taped {
    /// A session, recorded if there is a sink. See [`Session::new`].
    pub fn new(config: Config, seed: u64, tape: Option<Arc<dyn Sink>>) -> Self {
        let recorder = tape.map(|sink| Recorder::new(&config, seed, None, sink).into());
        Self {
            session: Session::new(config, seed),
            recorder,
        }
    }

    /// A session that goes on from a checkpoint. See [`Session::resume`].
    pub fn resume(
        config: Config,
        checkpoint: Checkpoint,
        seed: u64,
        tape: Option<Arc<dyn Sink>>,
    ) -> (Self, Vec<TaskId>) {
        let from = Some(&checkpoint);
        let recorder = tape.map(|sink| Recorder::new(&config, seed, from, sink).into());
        let (session, tasks) = Session::resume(config, checkpoint, seed);
        (Self { session, recorder }, tasks)
    }

    /// See [`Session::start`].
    pub fn start(&mut self, task: Task) -> TaskId {
        if let Some(recorder) = &mut self.recorder {
            recorder.start(&task);
        }
        self.session.start(task)
    }

    /// See [`Session::cancel`].
    pub fn cancel(&mut self, task: TaskId) {
        if let Some(recorder) = &mut self.recorder {
            recorder.cancel(task);
        }
        self.session.cancel(task);
    }

    /// See [`Session::poll`].
    pub fn poll(&mut self, now: Time) -> Output {
        let output = self.session.poll(now);
        if let Some(recorder) = &mut self.recorder {
            recorder.polled(now, &output);
        }
        output
    }

    /// See [`Session::handle`].
    pub fn handle(&mut self, done: Done, now: Time) {
        if let Some(recorder) = &mut self.recorder {
            recorder.handled(&done, now);
        }
        self.session.handle(done, now);
    }

    /// See [`Session::task_of`].
    pub fn task_of(&self, job: JobId) -> Option<TaskId> {
        self.session.task_of(job)
    }

    /// See [`Session::checkpoint`].
    pub fn checkpoint(&self) -> Checkpoint {
        self.session.checkpoint()
    }
}
