//! The loop: polls the session and runs its jobs on a pool of threads.
//!
//! ```text
//!            ┌──────────── lock ────────────┐
//!  thread ──▶│ poll: event → its task's call│── job ──▶ run, unlocked ──▶ lock, handle, again
//!            │       abort → stop flag      │
//!            │       wait  → condition      │
//!            └──────────────────────────────┘
//! ```
//!
//! Every thread does the same. One of them is always left out of the jobs, so that the session is
//! polled however many jobs block. There are as many threads as jobs run at once, so that a host or a
//! store that does not answer costs the others nothing; [`ThreadLimits`] bounds them, and the number of
//! those that wait for jobs. Events are handed to the threads that wait for their task in
//! [`Pool::run`]: those call observers, in order, with nothing locked.
//!
//! Responsible for threads. Must not know what jobs do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use windlass_core::call::Interrupted;
use windlass_core::{Call, Done, Error, Failure, Job, JobId, Task, TaskId, TaskReport, Time};
use windlass_driver::{CallHandle, CallMessage, ClientSession, Dispatcher, Next, Observer, Watch};

use crate::backlog::{Backlog, Lane};
use crate::control::Control;
use crate::transfer::Context;

/// How long a client that goes away waits for its threads.
const LEAVE: Duration = Duration::from_secs(1);

/// The deepest thing on a worker's stack is a TLS handshake that verifies an RSA chain, which
/// needs some 40 KiB in a build without optimisation.
pub(crate) const STACK: usize = 256 * 1024;

/// A session and the threads that run its jobs.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    left: Condvar,
    context: Context,
    threads: ThreadLimits,
    /// The size of a thread's stack.
    stack: usize,
}

/// How many threads there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadLimits {
    /// Those that wait for jobs. Others end.
    kept: usize,
    /// Jobs that run at once before hosts and stores have to share.
    free: usize,
}

impl ThreadLimits {
    /// For this many requests to a host at once.
    pub(crate) const fn new(in_flight: usize) -> Self {
        // Eight hosts that do not answer have 16 requests each, and one that did so quickly before has more.
        let free = in_flight.saturating_mul(2);
        Self {
            kept: in_flight.saturating_add(4),
            free: if free < 128 { 128 } else { free },
        }
    }

    /// How many jobs of one host or store may run while this many jobs do. The more threads wait already,
    /// the fewer of what is left a single one can take: hundreds have to be silent to take all.
    const fn share(self, busy: usize) -> usize {
        if busy < self.free {
            usize::MAX
        } else if busy < self.free / 2 * 3 {
            4
        } else if busy < self.most() {
            1
        } else {
            0
        }
    }

    /// How many jobs run at once.
    const fn most(self) -> usize {
        self.free.saturating_mul(2)
    }
}

#[derive(Debug)]
struct State {
    dispatcher: Dispatcher<Caller, Outside>,
    backlog: Backlog,
    /// Threads that will come back here.
    threads: usize,
    /// Those of them that run a job.
    busy: usize,
    /// Those of them whose job is not read by its caller: they do not count for the limits.
    unread: usize,
    /// Those of them that wait to be woken.
    waiting: usize,
    closing: bool,
}

/// A job outside.
#[derive(Debug)]
struct Outside {
    control: Arc<Control>,
    lane: Lane,
    /// Its caller does not read what it brings.
    is_unread: bool,
}

/// The thread that waits for a task.
struct Caller {
    inbox: Sender<CallMessage>,
    observer: Option<Arc<dyn Observer>>,
}

impl CallHandle for Caller {
    fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.observer.as_ref()
    }

    fn send(&self, message: CallMessage) {
        // The call may be unwinding; its task is being cancelled then.
        drop(self.inbox.send(message));
    }
}

#[expect(clippy::large_enum_variant, reason = "lives for a moment on one stack")]
enum Todo {
    Run(Job),
    Wait(Option<Duration>),
}

impl Pool {
    pub(crate) fn new(
        session: ClientSession,
        context: Context,
        threads: ThreadLimits,
    ) -> Arc<Self> {
        let dispatcher = Dispatcher::new(session, &context.resources);
        Arc::new(Self {
            state: Mutex::new(State {
                dispatcher,
                backlog: Backlog::default(),
                threads: 0,
                busy: 0,
                unread: 0,
                waiting: 0,
                closing: false,
            }),
            wake: Condvar::new(),
            left: Condvar::new(),
            context,
            threads,
            stack: STACK,
        })
    }

    pub(crate) const fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn now(&self) -> Time {
        self.lock().dispatcher.now()
    }

    /// Runs a task and tells its observer everything, on this thread.
    pub(crate) fn run(self: &Arc<Self>, task: Task, watch: Watch) -> Result<TaskReport, Failure> {
        let Watch {
            observer,
            cancel,
            unread,
            ..
        } = watch;
        let (task, inbox) = self.start(task, observer.as_ref())?;
        let _cancelling = Cancelling { pool: self, task };
        let _listening = cancel.map(|cancel| {
            let pool = Arc::clone(self);
            cancel.on_cancel(move || pool.cancel(task))
        });
        let _yielding = unread.map(|unread| {
            let pool = Arc::clone(self);
            unread.on_unread(move || pool.yield_slot(task))
        });
        for message in inbox {
            if let Some(result) = message.deliver(task, observer.as_ref()) {
                return result;
            }
        }
        Err(panicked())
    }

    /// Ends everything and waits a little for the threads.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        for outside in state.dispatcher.jobs().values() {
            outside.control.stop();
        }
        self.wake.notify_all();
        let until = Instant::now() + LEAVE;
        while state.threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.left.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn start(
        self: &Arc<Self>,
        task: Task,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Result<(TaskId, Receiver<CallMessage>), Failure> {
        // What the session was doing when it panicked is not over, and nothing polls it any more.
        let mut state = self.state.lock().map_err(|_| panicked())?;
        self.attend(&mut state)?;
        let (inbox, receiver) = channel();
        let observer = observer.cloned();
        let task = state.dispatcher.start(task, Caller { inbox, observer });
        Ok((task, receiver))
    }

    fn cancel(&self, task: TaskId) {
        if self.lock().dispatcher.cancel(task) {
            self.wake.notify_one();
        }
    }

    /// The reader of a task is not read: others get the slot of its job, and its share of the threads.
    fn yield_slot(self: &Arc<Self>, task: TaskId) {
        let mut state = self.lock();
        let Some(outside) = state.dispatcher.yield_slot(task) else {
            return;
        };
        outside.is_unread = true;
        let lane = outside.lane.clone();
        state.unread += 1;
        state.backlog.done(&lane);
        // Without a thread, the next that comes back polls.
        drop(self.attend(&mut state));
    }

    /// Sees to it that some thread polls soon.
    fn attend(self: &Arc<Self>, state: &mut State) -> Result<(), Failure> {
        if state.waiting > 0 {
            self.wake.notify_one();
            return Ok(());
        }
        if state.threads - state.unread > self.threads.most() {
            // One of them is not busy and is about to poll.
            return Ok(());
        }
        let pool = Arc::clone(self);
        let builder = thread::Builder::new()
            .name("windlass".into())
            .stack_size(self.stack);
        match builder.spawn(move || pool.work()) {
            Ok(_) => state.threads += 1,
            // Those that are there do it all, later.
            Err(_) if state.threads > state.busy => {}
            Err(error) => {
                let what = format!("no thread could be started: {error}");
                return Err(Failure::new(vec![Error::Driver { what }]));
            }
        }
        Ok(())
    }

    fn work(self: Arc<Self>) {
        let _guard = PanicGuard(&self);
        let mut state = self.lock();
        while !state.closing {
            match self.next(&mut state) {
                Todo::Run(job) => match self.run_job(state, job) {
                    Some(locked) => state = locked,
                    // The job was given up, and this thread with it.
                    None => return,
                },
                Todo::Wait(_) if state.waiting >= self.threads.kept => {
                    // One that stays has to know how long it may wait.
                    self.wake.notify_one();
                    break;
                }
                Todo::Wait(limit) => {
                    state.waiting += 1;
                    state = match limit {
                        Some(limit) => {
                            let waited = self.wake.wait_timeout(state, limit);
                            waited.unwrap_or_else(PoisonError::into_inner).0
                        }
                        None => self
                            .wake
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner),
                    };
                    state.waiting -= 1;
                }
            }
        }
        state.threads -= 1;
        self.left.notify_all();
    }

    /// Runs a job without the lock. `None` if it was given up in the meantime.
    fn run_job<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
        job: Job,
    ) -> Option<MutexGuard<'a, State>> {
        let id = job.id();
        let outside = state.dispatcher.jobs().get(&id);
        let control = outside.map(|outside| Arc::clone(&outside.control));
        let control = control.unwrap_or_default();
        state.busy += 1;
        // There may be more to do, and the clock has to be watched. If there is no thread for
        // that, this one does it when it comes back.
        drop(self.attend(&mut state));
        drop(state);
        let run = AssertUnwindSafe(|| self.context.run(job, &control));
        let done = catch_unwind(run).unwrap_or_else(|_| Done::lost(id));
        let mut state = self.lock();
        let outside = state.dispatcher.end(done)?;
        state.is_through(&outside);
        Some(state)
    }

    /// Drains the session before it takes a job: the observer of a transfer is known before the
    /// transfer runs.
    fn next(&self, state: &mut State) -> Todo {
        let wait = loop {
            match state.dispatcher.poll() {
                Next::Job(job) => {
                    let id = job.id();
                    let (control, lane) = (Arc::default(), Lane::of(&job));
                    state.backlog.push(&lane, job);
                    let outside = Outside {
                        control,
                        lane,
                        is_unread: false,
                    };
                    state.dispatcher.begin(id, outside);
                }
                Next::Abort(id) => state.abort(id),
                Next::GaveUp(outside) => {
                    // With its thread.
                    state.is_through(&outside);
                    state.threads -= 1;
                }
                Next::Ended(..) => {}
                Next::Wait(wait) => break wait,
            }
        };
        let share = self.threads.share(state.busy - state.unread);
        let job = state.backlog.take(share);
        job.map_or(Todo::Wait(wait), Todo::Run)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic under the lock, `PanicGuard` wakes all that wait.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn panicked() -> Failure {
    let what = "a thread of the client panicked".into();
    Failure::new(vec![Error::Internal { what }])
}

impl State {
    /// A job does not run any more.
    fn is_through(&mut self, outside: &Outside) {
        self.busy -= 1;
        if outside.is_unread {
            self.unread -= 1;
        } else {
            self.backlog.done(&outside.lane);
        }
    }

    fn abort(&mut self, id: JobId) {
        let outside = self.dispatcher.jobs().get(&id);
        let lane = outside.map(|outside| outside.lane.clone());
        if let Some(job) = lane.and_then(|lane| self.backlog.remove(&lane, id)) {
            let done = match job {
                Job::Http(call) => call.finish(Err(Interrupted::Aborted)),
                Job::Relay(relay) => {
                    let (source, sink) = relay.split();
                    let end = |call: Box<Call>| call.finish(Err(Interrupted::Aborted));
                    Done::relayed(end(source), end(sink))
                }
                Job::Store(_) | Job::Credentials(_) => Done::lost(id),
            };
            self.dispatcher.end(done);
        } else if let Some(outside) = self.dispatcher.abort(id) {
            outside.control.stop();
        }
    }
}

/// Cancels the task if its call ends early because an observer panicked.
struct Cancelling<'a> {
    pool: &'a Arc<Pool>,
    task: TaskId,
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        // Otherwise the task is over.
        if thread::panicking() {
            self.pool.cancel(self.task);
        }
    }
}

/// Ends all calls when the session panics. A job that panics is caught before.
struct PanicGuard<'a>(&'a Pool);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let mut state = self.0.lock();
        state.closing = true;
        state.threads -= 1;
        state.dispatcher.drop_calls();
        self.0.wake.notify_all();
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_more_threads_are_busy_the_fewer_a_host_can_take() {
        for (in_flight, free) in [(1, 128), (16, 128), (64, 128), (256, 512)] {
            let threads = ThreadLimits::new(in_flight);
            let busy = [
                0,
                free - 1,
                free,
                free / 2 * 3 - 1,
                free / 2 * 3,
                free * 2 - 1,
                free * 2,
            ];
            let shares = busy.map(|busy| threads.share(busy));
            let expected = [usize::MAX, usize::MAX, 4, 4, 1, 1, 0];
            assert_eq!(shares, expected, "{in_flight}");
        }
    }

    use std::sync::atomic::AtomicUsize;

    use windlass_core::{Config, ErrorKind, Origin};
    use windlass_driver::{HostSelector, HostSettings, Resources, SameForAll, TimeLimits, Tls};

    use super::*;
    use crate::exchange::Exchanges;

    fn pool(hosts: Arc<dyn HostSelector>) -> Arc<Pool> {
        let context = Context {
            exchanges: Exchanges::new(
                Tls::none(),
                &TimeLimits::default(),
                1,
                windlass_driver::AddressGuard::default(),
            ),
            resources: Resources::new(hosts),
            moving: AtomicUsize::new(0),
            parallelism: 1,
        };
        Pool::new(
            windlass_driver::unrecorded(Config::default(), 1),
            context,
            ThreadLimits::new(1),
        )
    }

    fn resolve(pool: &Arc<Pool>) -> Failure {
        let task = Task::resolve("reg.example/app:v1".parse().expect("a reference"));
        let result = pool.run(task, Watch::default());
        result.expect_err("there is no registry")
    }

    /// A system that has no thread left may have one later.
    #[test]
    fn a_client_without_a_thread_fails_by_its_driver() {
        let mut pool = pool(Arc::new(SameForAll));
        // No address space has room for it.
        Arc::get_mut(&mut pool).expect("nothing runs").stack = 1 << 47;
        let failure = resolve(&pool);
        assert!(matches!(failure.first(), Error::Driver { .. }), "{failure}");
        assert_eq!(failure.kind(), ErrorKind::Temporary);
    }

    /// What is asked about a host while the session is locked.
    #[derive(Debug)]
    struct Panics;

    impl HostSelector for Panics {
        fn host(&self, _: &Origin) -> Result<Option<Arc<HostSettings>>, String> {
            panic!("a defect");
        }
    }

    #[test]
    fn calls_after_a_panic_fail_as_the_one_that_met_it() {
        let pool = pool(Arc::new(Panics));
        for _ in 0..2 {
            assert_eq!(resolve(&pool).kind(), ErrorKind::Internal);
        }
        pool.close();
    }
}
