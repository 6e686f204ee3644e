//! A job on a runtime.
//!
//! Responsible for exactly one end of each job, whatever becomes of the runtime: an HTTP exchange
//! that is dropped with its runtime is lost, a step of a store runs on and reports by itself, and
//! what was dropped before it began goes back. Must not know what jobs do (`transfer`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::Handle;
use windlass_core::{Done, Job, JobId};

use crate::engine::{Engine, PanicGuard};
use crate::stop::Stop;

/// The duty to report the end of a job.
pub(crate) struct Ticket {
    engine: Arc<Engine>,
    id: JobId,
    /// Until it begins.
    job: Option<(Job, Stop)>,
    done: Option<Done>,
}

impl Ticket {
    pub(crate) fn new(engine: &Arc<Engine>, job: Job, stop: Stop) -> Self {
        Self {
            engine: Arc::clone(engine),
            id: job.id(),
            job: Some((job, stop)),
            done: None,
        }
    }

    /// Begins the job.
    pub(crate) fn run(self, runtime: &Handle) {
        if matches!(self.job, Some((Job::Http(_) | Job::Relay(_), _))) {
            drop(runtime.spawn(self.exchange()));
        } else {
            // Not a task that waits for it: this thread goes on when the runtime is gone.
            drop(runtime.spawn_blocking(move || self.step()));
        }
    }

    /// Reports the end.
    pub(crate) fn end(mut self, done: Done) {
        self.done = Some(done);
    }

    /// Runs what may block, and reports the end; a panic is a worker that was lost.
    pub(crate) fn block(self, work: impl FnOnce() -> Done) {
        let done = catch_unwind(AssertUnwindSafe(work));
        let lost = Done::lost(self.id);
        self.end(done.unwrap_or(lost));
    }

    async fn exchange(mut self) {
        let engine = Arc::clone(&self.engine);
        match self.job.take() {
            Some((Job::Http(call), stop)) => engine.context().exchange(call, stop, self).await,
            Some((Job::Relay(relay), stop)) => {
                let done = engine.context().relay(*relay, stop).await;
                self.end(done);
            }
            Some((Job::Store(_) | Job::Credentials(_), _)) | None => {}
        }
    }

    fn step(mut self) {
        let engine = Arc::clone(&self.engine);
        if let Some((job, _)) = self.job.take() {
            self.block(|| engine.context().resources.step(job));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let engine = &self.engine;
        let _guard = PanicGuard::new(engine);
        if let Some((job, stop)) = self.job.take() {
            // Not run here: this runtime would drop it again.
            return engine.lock().give_back(job, stop);
        }
        let done = self.done.take().unwrap_or_else(|| Done::lost(self.id));
        if engine.lock().end(done) {
            engine.turn();
        }
    }
}
