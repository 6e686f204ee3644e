//! Whose a job is: the task on whose behalf it runs.
//!
//! For drivers in which each task has a place of its own where its jobs run. Responsible for one
//! answer where several tasks want the same blob, token or credential. Changes nothing.

use crate::ids::{JobId, Owner, TaskId};
use crate::session::{Outside, Session};

impl Session {
    /// The task that a job outside runs for. If several wait for it, the one it was begun for, then
    /// the one that waits longest; `None` if none waits, or no such job is outside.
    ///
    /// The answer changes when a task ends or is cancelled: what others still wait for is theirs
    /// from then on.
    pub fn task_of(&self, job: JobId) -> Option<TaskId> {
        let task = |(owner, task)| match owner {
            Some(owner) => self.task_behind(owner),
            None => Some(task),
        };
        match self.outside.get(&job)? {
            Outside::Step => self.task_behind(self.store_queue.owner(job)?),
            Outside::Question => self.exchanges.question_wanted_by(job).find_map(task),
            Outside::Exchange(id, _) => self.exchanges.wanted_by(*id).find_map(task),
        }
    }

    fn task_behind(&self, owner: Owner) -> Option<TaskId> {
        match owner {
            Owner::Node(task, _) => Some(task),
            Owner::Transfer(id) => self.blobs.task_of(id),
        }
    }
}
