//! Tapes: a session written down so that anybody can replay it, without its secrets.
//!
//! A session is a function of its configuration, its seed, and what it is told: tasks, instants,
//! results of jobs. A tape has these, a line of JSON for each, and the session's outputs between them, so
//! that another version can be compared with it.
//!
//! ```text
//!  driver ──start, cancel, poll, handle──▶ RecordedSession ──▶ Session
//!                                           │  what is on the allow-list
//!                                           ▼
//!                                        Recorder ──▶ Player (a second session) ──▶ its outputs
//!                                           │                                        │
//!                                           └───────────── lines ◀───────────────────┘
//! ```
//!
//! The outputs on a tape are those of a second session that is told only what is on the tape. So a tape
//! replays as it was recorded, and no output can hold a secret that the inputs do not hold. If the second
//! session wants something else than the first, the recording ends, and the tape says why.
//!
//! On a tape are the names of images, repositories and hosts; statuses, media types, lengths, dates, known
//! codes of errors, digests, manifests, lifetimes of tokens and
//! credentials, and kinds of errors. Not on it are passwords,
//! tokens and user names, and text that a server, a store or a driver wrote freely: messages, details,
//! warnings, and words in paths and queries that are neither the protocol's nor the user's. Placeholders
//! stand for them (`allow`). No byte of a blob is on it, and of an image's configuration only the platform.
//!
//! Manifests and names of hosts are written as they came. If one has a credential in it that the session
//! has met, the recording ends.
//!
//! The implementations of serde of this crate's enums are the form of tapes, and change with [`VERSION`].
//!
//! # Example: recording and replaying
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use windlass_core::tape::{RecordedSession, TapeSink, replay};
//! use windlass_core::{Config, Output, Task, Time};
//!
//! #[derive(Debug, Default)]
//! struct Lines(Mutex<String>);
//!
//! impl TapeSink for Lines {
//!     fn line(&self, line: &str) {
//!         let mut lines = self.0.lock().expect("the lock is not poisoned");
//!         lines.push_str(line);
//!         lines.push('\n');
//!     }
//! }
//!
//! let lines = Arc::new(Lines::default());
//! let mut session = RecordedSession::new(Config::default(), 1, Some(lines.clone()));
//! session.start(Task::resolve("registry.example/team/app:v1".parse()?));
//! assert!(matches!(session.poll(Time::ZERO), Output::Job(_)));
//!
//! let replay = replay(&lines.0.lock().expect("the lock is not poisoned"));
//! assert_eq!(replay.end, Ok(()));
//! assert_eq!(replay.lines, ["#0 > HEAD https://registry.example/v2/team/app/manifests/v1"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allow;
mod line;
mod player;
mod recorder;
mod replay;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use self::recorder::Recorder;
use crate::call::{Done, JobId};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::reference::Repository;
use crate::registry::Registry;
use crate::session::{Output, Session};
use crate::task::{Task, TaskId};
use crate::time::Time;
use crate::totals::Totals;
use crate::uploads::{SavedUpload, UploadChange};

pub use self::replay::{Replay, ReplayError, replay};

/// The version of the form of tapes.
pub const VERSION: u64 = 2;

/// Takes the lines of a tape. Called while a driver's session is locked: quick, and without calling
/// the client. One sink takes one tape.
pub trait TapeSink: Send + Sync + fmt::Debug {
    /// The next line, without its end.
    fn line(&self, line: &str);

    /// Nothing more will come although the session goes on, for this reason. The line that says so on
    /// the tape was given to [`line`](Self::line) before.
    fn broken(&self, why: &str) {
        let _ = why;
    }
}

/// A session that may be recorded: the surface of [`Session`], for drivers.
#[derive(Debug)]
pub struct RecordedSession {
    session: Session,
    recorder: Option<Box<Recorder>>,
}

impl RecordedSession {
    /// A session, recorded if there is a sink. See [`Session::new`].
    pub fn new(config: Config, seed: u64, tape: Option<Arc<dyn TapeSink>>) -> Self {
        Self::resume(config, Checkpoint::default(), seed, tape).0
    }

    /// A session that goes on from a checkpoint. See [`Session::resume`].
    pub fn resume(
        config: Config,
        checkpoint: Checkpoint,
        seed: u64,
        tape: Option<Arc<dyn TapeSink>>,
    ) -> (Self, Vec<TaskId>) {
        let recorder = tape.map(|sink| Recorder::new(&config, seed, &checkpoint, sink).into());
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

    /// See [`Session::yield_slot`].
    pub fn yield_slot(&mut self, job: JobId) -> bool {
        let has_yielded = self.session.yield_slot(job);
        if let (true, Some(recorder)) = (has_yielded, &mut self.recorder) {
            recorder.yielded(job);
        }
        has_yielded
    }

    /// See [`Session::offer_upload`].
    pub fn offer_upload(&mut self, upload: SavedUpload) {
        if let Some(recorder) = &mut self.recorder {
            recorder.offer_upload(&upload);
        }
        self.session.offer_upload(upload);
    }

    /// See [`Session::leave_upload`].
    pub fn leave_upload(&mut self, upload: &SavedUpload) {
        if let Some(recorder) = &mut self.recorder {
            recorder.leave_upload(upload);
        }
        self.session.leave_upload(upload);
    }

    /// See [`Session::uploads_to`].
    pub fn uploads_to(&self, task: &Task) -> Option<(Registry, Repository)> {
        self.session.uploads_to(task)
    }

    /// See [`Session::take_upload_change`].
    pub fn take_upload_change(&mut self) -> Option<UploadChange> {
        self.session.take_upload_change()
    }

    /// See [`Session::take_totals`].
    pub fn take_totals(&mut self) -> Option<(TaskId, Totals)> {
        self.session.take_totals()
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
