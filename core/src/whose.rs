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
        let wanted_by = match self.outside.get(&job)? {
            Outside::Step => return self.task_behind(self.store_queue.owner(job)?),
            Outside::Question => self.exchanges.question_wanted_by(job),
            Outside::Exchange(id) => self.exchanges.wanted_by(*id),
        };
        let task = |(owner, task)| match owner {
            Some(owner) => self.task_behind(owner),
            None => Some(task),
        };
        wanted_by.into_iter().find_map(task)
    }

    fn task_behind(&self, owner: Owner) -> Option<TaskId> {
        match owner {
            Owner::Node(task, _) => Some(task),
            Owner::Transfer(id) => self.blobs.task_of(id),
        }
    }
}
