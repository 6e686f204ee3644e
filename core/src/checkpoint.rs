//! Checkpoints: a session's unfinished tasks, for another process to resume.
//!
//! Responsible for their content and JSON form. For pulls the store holds the progress, and registries
//! are asked again, so a checkpoint is small: the tasks, for each the descriptor that its name was
//! resolved to, and the open uploads if they are kept. Must not know files.
//!
//! # Example: a resumed pull keeps its content
//!
//! ```
//! use windlass_core::checkpoint::Checkpoint;
//! use windlass_core::{Config, Platforms, Session, StoreId, Task};
//!
//! let mut session = Session::new(Config::default(), 1);
//! let reference = "registry.example/team/app:v1".parse()?;
//! session.start(Task::pull(reference, StoreId(0), None, Platforms::All));
//! let saved = session.checkpoint().to_json();
//! drop(session); // the process dies, another one begins
//!
//! let checkpoint = Checkpoint::from_json(&saved)?;
//! let (session, tasks) = Session::resume(Config::default(), checkpoint, 2);
//! assert_eq!(tasks.len(), 1);
//! # drop(session);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::descriptor::Descriptor;
use crate::reference::Reference;
use crate::session::Session;
use crate::task::{Task, TaskId};
use crate::tasks::TaskState;
use crate::time::Time;
use crate::uploads::SavedUpload;

/// The unfinished tasks of a session.
///
/// It holds no credentials and tokens. With [`Config::keep_uploads`] it holds the URLs of open uploads, which
/// are secrets: keep it where only its user can read it.
#[derive(Clone, Debug, Default)]
#[must_use = "a checkpoint that is not kept is of no use"]
pub struct Checkpoint {
    pub(crate) tasks: Vec<Saved>,
    pub(crate) uploads: Vec<SavedUpload>,
}

/// One task of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Saved {
    /// Its deadline is what is left: a session begins at time zero.
    pub(crate) task: Task,
    /// What the source's name stands for, if that was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<Descriptor>,
}

impl Checkpoint {
    /// The version of the written form. The first one, which has no uploads, can be read, too.
    pub const VERSION: u64 = 2;

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if it is of a version that is not known, or is damaged.
    pub fn from_json(text: &str) -> Result<Self, CheckpointError> {
        let damaged = |error: serde_json::Error| CheckpointError::Damaged {
            why: crate::sanitize::escape(&error.to_string(), 200),
        };
        let Version { version } = serde_json::from_str(text).map_err(damaged)?;
        if !is_known(version) {
            return Err(CheckpointError::Version { found: version });
        }
        // An upload is not repeated in an error.
        let form: CheckpointRepr = serde_json::from_str(text).map_err(damaged)?;
        form.try_into()
    }

    /// The checkpoint as a JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&CheckpointRepr::from(self))
            .expect("names and numbers can be written")
    }

    /// How many tasks there are.
    pub const fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is nothing to be done.
    pub const fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl Session {
    /// What is still to be done. Tasks that are finished, or cancelled, or about to fail, are not in
    /// it: take it after [`poll`](Self::poll) said [`Output::Wait`](crate::Output::Wait), so that
    /// every event that belongs to it was told.
    pub fn checkpoint(&self) -> Checkpoint {
        let unfinished = self.tasks.unfinished();
        Checkpoint {
            tasks: unfinished.map(|(_, task)| task.saved(self.now())).collect(),
            uploads: self.exchanges.uploads.saved(self.now()).collect(),
        }
    }

    /// A session that goes on with the tasks of a checkpoint. They get new ids, in the order in which
    /// they were started.
    ///
    /// A task whose tag was resolved already goes on with that content, even if the tag points elsewhere by
    /// now; what it writes still gets the name that was asked for. If the content is gone, the task
    /// fails with [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// [`StoreId`](crate::StoreId)s are kept: the driver must know its stores by the same ids, which
    /// it does if it adds them in the same order as before. Deadlines are kept as the time that was
    /// left.
    pub fn resume(config: Config, checkpoint: Checkpoint, seed: u64) -> (Self, Vec<TaskId>) {
        let mut session = Self::new(config, seed);
        for upload in checkpoint.uploads {
            session.offer_upload(upload);
        }
        let tasks = checkpoint.tasks.into_iter();
        let ids = tasks.map(|saved| session.begin(saved.task.resumed(), saved.root));
        let ids = ids.collect();
        (session, ids)
    }
}

impl TaskState {
    fn saved(&self, now: Time) -> Saved {
        let (kind, foreign, root) = self.requested();
        let left = |deadline: Time| Time::ZERO + deadline.since(now);
        let task = Task {
            kind,
            deadline: self.deadline.map(left),
            foreign,
            read_at: self.read_at,
            missing_from: self.missing_from(),
            more_tags: self.more_tags(),
        };
        Saved { task, root }
    }
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct CheckpointRepr {
    version: u64,
    tasks: Vec<Saved>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    uploads: Vec<SavedUpload>,
}

const fn is_known(version: u64) -> bool {
    matches!(version, 1 | Checkpoint::VERSION)
}

impl Checkpoint {
    /// The written form of its tasks alone: on a tape there are no secrets.
    pub(crate) fn without_uploads(&self) -> CheckpointRepr {
        CheckpointRepr {
            version: Self::VERSION,
            tasks: self.tasks.clone(),
            uploads: Vec::new(),
        }
    }
}

impl From<&Checkpoint> for CheckpointRepr {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            version: Checkpoint::VERSION,
            tasks: checkpoint.tasks.clone(),
            uploads: checkpoint.uploads.clone(),
        }
    }
}

impl TryFrom<CheckpointRepr> for Checkpoint {
    type Error = CheckpointError;

    fn try_from(form: CheckpointRepr) -> Result<Self, CheckpointError> {
        if !is_known(form.version) {
            return Err(CheckpointError::Version {
                found: form.version,
            });
        }
        let contradicts = |Saved { task, root }: &Saved| {
            let named = task.kind.source().and_then(Reference::digest);
            named.is_some_and(|named| root.as_ref().is_some_and(|root| root.digest != *named))
        };
        if form.tasks.iter().any(contradicts) {
            let why = "a root does not match the digest in its reference".into();
            return Err(CheckpointError::Damaged { why });
        }
        Ok(Self {
            tasks: form.tasks,
            uploads: form.uploads,
        })
    }
}

/// Why a text is not a checkpoint.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It was written by another version of windlass.
    #[error(
        "a checkpoint of version {found}, where {} is known",
        Checkpoint::VERSION
    )]
    Version {
        /// Its version.
        found: u64,
    },
    /// It is not what was written.
    #[error("a damaged checkpoint: {why}")]
    Damaged {
        /// What is wrong with it, and where.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::task_json::tests::tasks;
    use crate::testing::mutations;

    const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn session() -> Session {
        let mut session = Session::new(Config::default(), 1);
        for task in tasks() {
            session.start(task);
        }
        session
    }

    #[test]
    fn what_is_resumed_is_what_was_saved() {
        let before = session().checkpoint();
        assert_eq!((before.len(), before.is_empty()), (tasks().len(), false));
        let written = before.to_json();
        let read = Checkpoint::from_json(&written).expect("it was written");
        let (after, ids) = Session::resume(Config::default(), read, 2);
        assert_eq!(ids.len(), tasks().len());
        assert_eq!(after.checkpoint().to_json(), written);
        for (saved, task) in after.checkpoint().tasks.iter().zip(tasks()) {
            assert_eq!(format!("{:?}", saved.task), format!("{task:?}"));
        }
    }

    #[test]
    fn of_a_deadline_is_kept_what_is_left() {
        let mut session = Session::new(Config::default(), 1);
        let reference: Reference = "reg.example/a".parse().expect("a reference");
        let micros = Time::from_micros;
        session.start(Task::resolve(reference.clone()).by(micros(1_000)));
        session.start(Task::resolve(reference).by(micros(500)));
        let _ = session.poll(micros(400));
        let saved = session.checkpoint().tasks;
        let left: Vec<_> = saved.iter().map(|saved| saved.task.deadline).collect();
        assert_eq!(left, [Some(micros(600)), Some(micros(100))]);
        // One whose deadline has passed is over, so it is not written.
        let _ = session.poll(micros(500));
        assert_eq!(session.checkpoint().len(), 1);
    }

    #[test]
    fn tasks_that_end_are_not_saved() {
        let mut session = session();
        session.cancel(TaskId(0));
        assert_eq!(session.checkpoint().len(), tasks().len() - 1);
    }

    #[test]
    fn a_resolved_reference_needs_no_request() {
        let digest = Digest::of(Algorithm::Sha256, b"{}");
        let root = Descriptor::new("a/b", digest, 2);
        let task = Task::resolve("reg.example/a:v1".parse().expect("a reference"));
        let checkpoint = Checkpoint {
            tasks: alloc::vec![Saved {
                task,
                root: Some(root.clone()),
            }],
            ..Checkpoint::default()
        };
        let (mut session, _) = Session::resume(Config::default(), checkpoint, 1);
        let mut told = Vec::new();
        while let crate::Output::Event(_, event) = session.poll(Time::ZERO) {
            told.push(event);
        }
        assert_eq!(told[0], crate::Event::Resolved(root));
        assert!(matches!(&told[1..], [crate::Event::Finished(Ok(_))]));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let task = r#"{"resolve":"reg.example/a"}"#;
        let pinned = format!(r#"{{"resolve":"reg.example/a@{EMPTY}"}}"#);
        let other = EMPTY.replace("ff8a", "ff8b");
        let root = |digest: &str| format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":2}}"#);
        let one = |task: &str, root: &str| {
            format!(r#"{{"version":1,"tasks":[{{"task":{task},"root":{root}}}]}}"#)
        };
        let table = [
            (one(task, "null"), "good"),
            (one(task, &root(EMPTY)), "good"),
            (one(&pinned, &root(EMPTY)), "good"),
            (r#"{"version":1,"tasks":[]}"#.into(), "good"),
            (r#"{"version":1,"tasks":[],"more":1}"#.into(), "good"),
            (one(&pinned, &root(&other)), "a root does not match"),
            (one(task, &root("sha256:abc")), "damaged"),
            (one(r#"{"fetch":"a"}"#, "null"), "damaged"),
            (one(r#"{"resolve":"a b"}"#, "null"), "not a reference"),
            (
                r#"{"version":3,"tasks":[]}"#.into(),
                "of version 3, where 2 is known",
            ),
            (r#"{"version":1}"#.into(), "tasks"),
            ("{}".into(), "version"),
            ("[]".into(), "damaged"),
            (String::new(), "damaged"),
        ];
        for (text, expected) in table {
            match Checkpoint::from_json(&text) {
                Ok(_) => assert_eq!(expected, "good", "{text}"),
                Err(error) => assert!(error.to_string().contains(expected), "{text}: {error}"),
            }
            mutations(&text, |text| {
                if let Ok(read) = Checkpoint::from_json(text) {
                    let _ = Session::resume(Config::default(), read, 1);
                }
            });
        }
    }
}
