//! Processes that go on where another one was.
//!
//! Responsible for checkpoints: taken at some step, kept as text, read after a crash; and for what a
//! task that is resumed must end with. Must not know when processes die.

use serde_json::Value;
use windlass_core::checkpoint::Checkpoint;
use windlass_core::tape::RecordedSession;
use windlass_core::{Event, Failure, TaskId, TaskReport};
use windlass_testbed::{Image, image};

use super::asked::{listed, old};
use super::fault::Fault;
use super::plan::{OLD, Operation, SOURCES};
use super::readers::Reading;
use super::world::{World, sink};

/// What a process has written down of its tasks.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    text: String,
    /// The tasks of the streams that the process has read, and those of its readers.
    streams: Vec<usize>,
    readers: Vec<usize>,
    /// The tasks in it, and what each one's source was found to stand for.
    tasks: Vec<(usize, Option<String>)>,
}

impl World<'_> {
    /// A process writes down what it has still to do.
    pub(crate) fn save(&mut self, process: usize) {
        let text = self.call(process, |session| session.checkpoint().to_json());
        let mut written: Value = serde_json::from_str(&text).expect("a checkpoint is JSON");
        // The URLs of open uploads are there for another process, as secrets.
        written.as_object_mut().map(|it| it.remove("uploads"));
        self.check_text(&written.to_string());
        let asked = self.processes[process].tasks.clone();
        let mut left = asked.into_iter();
        let mut ending = Vec::new();
        let mut tasks = Vec::new();
        for entry in written["tasks"].as_array().into_iter().flatten() {
            let at = loop {
                match left.next() {
                    Some((_, at)) if self.is_about(process, at, &entry["task"]) => break at,
                    Some((id, at)) => ending.push((id, at)),
                    None => {
                        return self
                            .violate(format!("checkpoint: one has a task too many: {entry}"));
                    }
                }
            };
            let pinned = entry["root"]["digest"].as_str().map(ToOwned::to_owned);
            tasks.push((at, pinned));
        }
        ending.extend(left);
        // Questions about one reference look the same: which of them it is cannot be told.
        let tells = |at: usize| {
            let operation = self.plan.tasks[at].operation;
            !operation.moves_nothing() || matches!(operation, Operation::Delete | Operation::Read)
        };
        let ending = ending.into_iter().filter(|(_, at)| tells(*at));
        let ending: Vec<TaskId> = ending.map(|(id, _)| id).collect();
        self.processes[process].ending.extend(ending);
        self.lines
            .push(format!("= a checkpoint of {} tasks", tasks.len()));
        let streams = &self.processes[process].streams;
        let streams = streams.iter().map(|(at, _)| *at).collect();
        let readers = self.processes[process].readers.iter();
        let readers = readers.map(Reading::task).collect();
        self.processes[process].saved = Some(Saved {
            text,
            streams,
            readers,
            tasks,
        });
    }

    /// What is not in a checkpoint has nothing to do any more but to end.
    pub(crate) fn check_ending(&mut self, process: usize, id: TaskId, event: &Event) {
        // What it had begun may be wanted by others, too, and goes on under its name.
        let goes_on = matches!(
            event,
            Event::Resolved(_) | Event::Stored { .. } | Event::Skipped { .. }
        );
        if goes_on && self.processes[process].ending.contains(&id) {
            self.violate(format!(
                "checkpoint: {id} was not in one, and goes on: {event:?}"
            ));
        }
    }

    /// A new process goes on with what another one had written down, and with what was asked for
    /// since then.
    pub(crate) fn resume(&mut self, process: usize, saved: Saved) {
        self.resumed += 1;
        self.lines.push("= it goes on from the checkpoint".into());
        let checkpoint = match Checkpoint::from_json(&saved.text) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return self.violate(format!("checkpoint: one cannot be read: {error}")),
        };
        let (config, jitter) = (self.plan.config(), self.plan.jitter);
        let tape = self.new_tape();
        let (session, ids) =
            RecordedSession::resume(config, checkpoint, jitter, sink(tape.as_ref()));
        self.processes[process].session = session;
        self.processes[process].tape = tape;
        self.lose_streams(process, &saved.streams);
        self.read_anew(&saved.readers);
        self.check(ids.len() == saved.tasks.len(), || {
            "checkpoint: not all of it is resumed".into()
        });
        for (id, (at, pinned)) in ids.into_iter().zip(saved.tasks.clone()) {
            let task = self.plan.tasks[at];
            self.expect(&task);
            self.results[at] = None;
            self.processes[process].tasks.insert(id, at);
            if let Some(pinned) = pinned {
                self.processes[process].pinned.insert(id, pinned);
            }
        }
        // The process with the checkpoint may die, too.
        self.processes[process].saved = Some(saved);
    }

    /// The tags that are read from stand for something else now.
    pub(crate) fn move_tags(&mut self) -> bool {
        if self.occasion(&[Fault::TagMoves]).is_none() {
            return false;
        }
        let other = other();
        for model in &mut self.models {
            for at in 0..self.plan.pictures.len() {
                model.put_image(SOURCES[at % SOURCES.len()], Some(&format!("p{at}")), &other);
            }
        }
        // The task that begins now moves this blob, in and out, and the first task later.
        let bytes: usize = other.blobs().map(|blob| blob.len()).sum();
        self.economy.wasted += (2 * bytes * self.plan.tasks.len()) as u64;
        true
    }

    /// A task that was resumed ends with what its source stood for when it was written down.
    pub(crate) fn check_pinned(
        &mut self,
        at: usize,
        pinned: &str,
        result: &Result<TaskReport, Failure>,
    ) {
        let Ok(report) = result else {
            return;
        };
        let task = self.plan.tasks[at];
        let picture = &self.plan.pictures[task.picture];
        let chooses = task.one && !task.operation.moves_nothing();
        let expected = if chooses && pinned == picture.root(false).as_str() {
            picture.root(true).to_string()
        } else if chooses {
            // The choice from an index that is none of ours.
            return;
        } else {
            pinned.to_owned()
        };
        let Some(root) = report.root() else {
            return;
        };
        let found = &root.digest;
        if found.as_str() != expected {
            self.violate(format!(
                "checkpoint: task {at} was resumed with {expected} and ended with {found}"
            ));
        }
    }

    /// Whether this is how a task is written.
    fn is_about(&self, process: usize, at: usize, written: &Value) -> bool {
        let task = self.plan.tasks[at];
        if task.operation == Operation::Resolve {
            let (registry, repository) = (task.registry, task.read());
            let name = format!("reg{registry}.example/{repository}:p{}", task.picture);
            return written["resolve"].as_str() == Some(&name);
        }
        let at_registry = |rest: &str| format!("reg{}.example/{rest}", task.registry);
        if task.operation == Operation::Tags {
            return written["list"]["of"]["tags"].as_str() == Some(&at_registry(task.read()));
        }
        if task.operation == Operation::Stream {
            return self.is_stream_of(process, at, &written["stream"]);
        }
        if task.operation == Operation::Read {
            return self.is_reader_of(process, at, &written["fetch"]);
        }
        if task.operation == Operation::Open {
            let image = at_registry(&format!("{}:p{}", task.read(), task.picture));
            return written["open"]["reference"].as_str() == Some(&image);
        }
        if task.operation == Operation::Referrers {
            let picture = &self.plan.pictures[task.picture];
            let subject = format!("{}@{}", task.read(), listed(&task, picture));
            return written["referrers"]["reference"].as_str() == Some(&at_registry(&subject));
        }
        let name = format!("t{at}");
        if task.operation == Operation::Delete {
            let tag = at_registry(&format!("{}{}", OLD.0, old(at, &task)));
            return written["delete"]["reference"].as_str() == Some(&tag);
        }
        let destination = &written["copy"]["destination"];
        destination["store"]["name"].as_str() == Some(&name)
            || destination["registry"]
                .as_str()
                .is_some_and(|it| it.ends_with(&format!(":{name}")))
    }
}

/// The image that tags move to.
fn other() -> Image {
    image(&[b"other".to_vec()])
}
