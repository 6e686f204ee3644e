//! How much a session holds, and how much it may.
//!
//! Responsible for counting what is allocated on this thread while a session works, for what it gives
//! back when it goes, and for the bounds that follow from a plan. Must not know what is held for what.
//!
//! What a session holds cannot be seen from the outside while it lives, since jobs take memory out of
//! it and ends of jobs bring some in. But what is freed when it is dropped is exactly that; and worlds
//! drop sessions at any step, because processes die at any step.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use windlass_core::config::Limits;

use super::plan::{Plan, Planned};

/// What was found, at the most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Bytes that a session without unfinished tasks held.
    pub idle: u64,
    /// Bytes that a session held, with unfinished tasks or without.
    pub busy: u64,
    /// Bytes that were allocated at once within one call of a session, beyond what was there before.
    pub call: u64,
    /// How much of what it may hold a session held, in percent.
    pub share: u64,
}

impl Held {
    /// The larger of each.
    pub(crate) fn merge(&mut self, other: Self) {
        self.idle = self.idle.max(other.idle);
        self.busy = self.busy.max(other.busy);
        self.call = self.call.max(other.call);
        self.share = self.share.max(other.share);
    }
}

/// The bounds in a world. They follow from its limits alone, and not from what servers say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// What a session keeps without any task: its configuration, what it has learned of two hosts, the
    /// tokens of its tasks.
    fixed: u64,
    /// The parts of what the plan's tasks move, and the most that a task can be made to want. What was
    /// waited in line with them is kept, with nobody in it.
    parts: u64,
    most_parts: u64,
    /// What each answer of a server that is not the plan's may leave behind: a token with its key, a
    /// refused union, some warnings. The session forgets the oldest ones, so that there is an end to it.
    answer: u64,
    answers: u64,
    /// What an unfinished task may hold.
    task: u64,
    /// What one call may allocate.
    pub(crate) call: u64,
}

/// Bytes of one manifest or blob that is waited for: its descriptor, a node, a work, an exchange with
/// its request, and their keys, all of which hold a digest of 71 bytes.
const PART: u64 = 6 << 10;
/// Bytes of the keys of a task's tokens: for both ends together and alone.
const KEYS: u64 = 16 << 10;
/// Bytes of a place in all the lines where a part is waited for.
const LINE: u64 = 512;
/// A document is there as bytes, and read.
const READ: u64 = 8;

impl Bounds {
    pub(crate) fn of(plan: &Plan) -> Self {
        let Limits {
            document,
            documents,
            objects,
            error_body,
            token_body,
            ..
        } = plan.limits;
        let most = objects as u64 * PART;
        let parts = |task: &Planned| plan.pictures[task.picture].parts();
        Self {
            fixed: (64 << 10) + plan.tasks.len() as u64 * KEYS,
            parts: plan.tasks.iter().map(parts).sum::<usize>() as u64,
            most_parts: objects as u64 * plan.tasks.len() as u64,
            answer: token_body + error_body + (12 << 10),
            answers: 128,
            task: 64 * 1024 + documents * READ + most,
            call: 128 * 1024 + document * READ + 2 * most,
        }
    }

    /// What a session may hold with so many unfinished tasks, after so many answers that were not the
    /// plan's, which may have been about images of any size or not.
    pub(crate) fn held(&self, tasks: usize, answers: u64, endless: bool) -> u64 {
        let answers = answers.min(self.answers);
        let parts = if endless { self.most_parts } else { self.parts };
        self.fixed + parts * LINE + answers * self.answer + tasks as u64 * self.task
    }
}

/// Calls a session. What it answers, and how many bytes were allocated at once meanwhile.
pub(crate) fn call<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let mut value = None;
    // A panic must not leave the measuring open.
    let info = allocation_counter::measure(|| value = Some(catch_unwind(AssertUnwindSafe(call))));
    match value.expect("it ran") {
        Ok(value) => (value, info.bytes_max),
        Err(panic) => resume_unwind(panic),
    }
}

/// Drops a session. How many bytes it held.
pub(crate) fn dropped<S>(session: S) -> u64 {
    let info = allocation_counter::measure(|| drop(session));
    u64::try_from(-info.bytes_current).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use windlass_core::{Config, Session, Task};

    use super::*;

    #[test]
    fn what_a_session_holds_is_what_it_gives_back() {
        let empty = dropped(Session::new(Config::default(), 1));
        let mut session = Session::new(Config::default(), 1);
        let (_, peak) = call(|| {
            for n in 0..50 {
                let reference = format!("reg.example/a/b{n}:v1").parse().expect("a name");
                let _task = session.start(Task::resolve(reference));
            }
        });
        let held = dropped(session);
        assert!(
            held > empty + 50 * 100,
            "{held} bytes, {empty} without tasks"
        );
        assert!(peak >= held - empty, "{peak} bytes at once, {held} held");
    }
}
