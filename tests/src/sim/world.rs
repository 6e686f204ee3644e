//! Processes, their sessions and their jobs, in virtual time.
//!
//! Responsible for the loop: what happens next, in which order, and what dies. A process is a
//! session and the driver around it; when it crashes, another one takes its place with the stores as
//! they are. Must not know HTTP (`exchange`) nor what must hold (`oracles`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use windlass_core::call::{Call, Done, Interrupted};
use windlass_core::tape::{RecordedSession, TapeSink};
use windlass_core::{
    Event, Failure, Job, JobId, Output, StoreId, TaskId, TaskReport, Time, transcript,
};
use windlass_driver::{StoreGuard, Stores};
use windlass_store::Store;
use windlass_testbed::{Model, Request, image};

use super::asked::{asked, by};
use super::choose::Choose;
use super::companions;
use super::disk::Disk;
use super::fault::Fault;
use super::foreign;
use super::kept::Journal;
use super::memory::{self, Bounds, Held};
use super::mirrors;
use super::mortal::Leases;
use super::optional;
use super::oracles::Economy;
use super::plan::{OLD, Operation, Plan, Planned, SOURCES};
use super::readers::{Body, Reading};
use super::resume::Saved;
use super::watch::Watch;
use crate::tapes::Lines;
use crate::world::scenes::{digest, fill_picture};

/// Everything there is.
pub(crate) struct World<'a> {
    pub(crate) choose: &'a mut dyn Choose,
    pub(crate) plan: Plan,
    pub(crate) models: [Model; 2],
    /// The host of foreign layers.
    pub(crate) far: Model,
    pub(crate) mirrors: Vec<mirrors::Running>,
    /// What is pushed from; what is pulled into; what layouts are copied into.
    pub(crate) disks: [Disk; 3],
    pub(crate) processes: Vec<Process>,
    pub(crate) now: Duration,
    pub(crate) fired: [u32; Fault::ALL.len()],
    /// No more faults.
    pub(crate) calm: bool,
    /// No more faults, and no client that has seen one is left.
    pub(crate) fresh: bool,
    /// Tasks may fail without any: sessions find out that they were misled.
    pub(crate) lenient: bool,
    pub(crate) lines: Vec<String>,
    pub(crate) violation: Option<String>,
    /// Requests that arrive after their job was given up.
    pub(crate) late: Vec<Request>,
    /// What was put and is to be in the list of what refers to its subject.
    pub(crate) listed: BTreeSet<Listed>,
    /// What went wrong with requests about such lists.
    pub(crate) list_faults: BTreeSet<Fault>,
    /// The documents that were put as such lists.
    pub(crate) lists: BTreeSet<windlass_testbed::Digest>,
    /// What a `Retrying` may be about: beginnings of its text.
    pub(crate) credits: Vec<String>,
    pub(crate) economy: Economy,
    /// The credentials that registries take.
    pub(crate) leases: [Leases; 2],
    /// The uploads that processes have left open, or have.
    pub(crate) journal: Journal,
    /// What sessions may hold, and what they held.
    pub(crate) bounds: Bounds,
    pub(crate) held: Held,
    /// Tasks of the plan that have not begun.
    pub(crate) later: Vec<usize>,
    pub(crate) results: Vec<Option<Result<TaskReport, Failure>>>,
    pub(crate) crashes: u32,
    pub(crate) resumed: u32,
    /// How often somebody was asked who is no registry of ours.
    pub(crate) strangers: u32,
}

/// Something in the list of its subject: in which registry and repository, of what, and what.
pub(crate) type Listed = (usize, &'static str, windlass_core::Digest, String);

/// The stores that every process knows. Those of streams come after them.
pub(crate) const STORES: usize = 4;

/// A session and the driver around it.
pub(crate) struct Process {
    pub(crate) session: RecordedSession,
    /// What is recorded of it.
    pub(crate) tape: Option<Arc<Lines>>,
    pub(crate) stores: Arc<Stores>,
    pub(crate) spool: Disk,
    /// Those of `World::disks`, then the spool's.
    ids: [StoreId; STORES],
    pub(crate) begun: Duration,
    pub(crate) running: Vec<Running>,
    pub(crate) tasks: BTreeMap<TaskId, usize>,
    /// Token requests so far.
    pub(crate) fetched: BTreeMap<String, u32>,
    /// Its last checkpoint, and whether it is to take one.
    pub(crate) saved: Option<Saved>,
    pub(crate) saves: bool,
    /// What tasks that were resumed must end with.
    pub(crate) pinned: BTreeMap<TaskId, String>,
    /// What keeps its streams known, and whose they are.
    pub(crate) streams: Vec<(usize, StoreGuard)>,
    /// Its readers, in the order of their stores, and the jobs of those that are not read.
    pub(crate) readers: Vec<Reading>,
    pub(crate) unread: Vec<Running>,
    /// Tasks that were not in a checkpoint any more.
    pub(crate) ending: BTreeSet<TaskId>,
    pub(crate) watch: Watch,
}

/// A job outside.
pub(crate) struct Running {
    pub(crate) id: JobId,
    pub(crate) work: JobState,
    /// The registries whose slots it holds.
    pub(crate) slots: Vec<usize>,
    /// The token request that it is.
    pub(crate) token: Option<String>,
    /// It is a question for credentials.
    pub(crate) question: bool,
    /// Bytes of a blob that the registry has stored, which the session does not know yet.
    pub(crate) stored: u64,
    /// It was reported already.
    pub(crate) echo: bool,
    /// It was to be aborted, and ends by itself.
    pub(crate) unwanted: bool,
}

pub(crate) enum JobState {
    ToDo(Box<Job>),
    /// The rest of what a reader gets.
    Unread(Box<Body>),
    Done(Done),
}

/// What came of a job.
pub(crate) enum Ran {
    Done(Done),
    /// The process died with it.
    Crashed,
    /// The reader that it is for is not read.
    Unread(Box<Body>),
}

impl<'a> World<'a> {
    pub(crate) fn new(plan: Plan, choose: &'a mut dyn Choose) -> Self {
        let models = plan.settings.clone().map(|it| Model::new(it.options));
        let disks: [Disk; 3] = Default::default();
        for (at, picture) in plan.pictures.iter().enumerate() {
            fill_picture(&disks[0].memory, picture, &format!("p{at}"));
        }
        let images = plan.pictures.iter().flat_map(|it| &it.images);
        let far = foreign::host(images);
        let mirrors = plan.mirrors.start(&plan.pictures);
        let mut world = Self {
            choose,
            far,
            mirrors,
            economy: Economy::default(),
            leases: Default::default(),
            journal: Journal::default(),
            bounds: Bounds::of(&plan),
            held: Held::default(),
            later: later(&plan),
            results: plan.tasks.iter().map(|_| None).collect(),
            plan,
            models,
            disks,
            processes: Vec::new(),
            now: Duration::ZERO,
            fired: [0; Fault::ALL.len()],
            calm: false,
            fresh: false,
            lenient: false,
            lines: Vec::new(),
            violation: None,
            late: Vec::new(),
            listed: BTreeSet::new(),
            list_faults: BTreeSet::new(),
            lists: BTreeSet::new(),
            credits: Vec::new(),
            crashes: 0,
            resumed: 0,
            strangers: 0,
        };
        world.put_tags();
        world.inherit();
        world.share();
        for at in 0..world.plan.processes {
            let process = world.process();
            world.processes.push(process);
            world.start_tasks(at);
        }
        world
    }

    /// What is read from has its tags.
    fn put_tags(&mut self) {
        for (at, picture) in self.plan.pictures.iter().enumerate() {
            for model in &mut self.models {
                for tag in optional::names(&self.plan, at) {
                    picture.seed(model, SOURCES[at % SOURCES.len()], &tag);
                }
            }
        }
        for (at, task) in self.plan.tasks.iter().enumerate() {
            if task.operation == Operation::Delete && !self.plan.carries {
                let (model, old) = (&mut self.models[task.registry], image(&[]));
                for tag in [format!("t{at}"), OLD.1.to_owned()] {
                    model.put_image(OLD.0, Some(&tag), &old);
                }
            }
        }
        self.put_old();
    }

    /// So do referrers that are deleted.
    fn put_old(&mut self) {
        if !self.plan.carries {
            return;
        }
        for registry in 0..2 {
            let tasks = self.plan.tasks.iter().enumerate();
            let here = tasks.filter(|(_, task)| {
                task.operation == Operation::Delete && task.registry == registry
            });
            let here: Vec<usize> = here.map(|(at, _)| at).collect();
            companions::seed_old(&mut self.models[registry], &here);
        }
    }

    /// Partials that an earlier run has left.
    fn inherit(&mut self) {
        if self.plan.swarm.even || self.choose.below(3) == 0 {
            return;
        }
        let pictures = self.plan.pictures.clone();
        for blob in pictures
            .iter()
            .flat_map(|it| &it.images)
            .flat_map(|it| it.blobs())
        {
            let half = blob.len() / 2;
            if half > 0 && self.choose.below(2) == 1 {
                self.disks[1].memory.partial(&digest(blob), &blob[..half]);
            }
        }
    }

    /// Blobs that others have pushed to where tasks write.
    fn share(&mut self) {
        if self.plan.swarm.even || self.choose.below(2) == 0 {
            return;
        }
        let tasks = self.plan.tasks.clone();
        for task in tasks.iter().filter(|it| it.operation.writes_to_registry()) {
            let images = self.plan.pictures[task.picture].images.clone();
            for blob in images.iter().flat_map(|it| it.blobs()) {
                if self.choose.below(2) == 1 {
                    self.models[task.destination()].put_blob(task.written(), blob.clone());
                }
            }
        }
    }

    /// How often the sessions that lived through it are asked for everything once more: they must be
    /// as good as new, but may have to find out first that they were misled. Not where nothing went
    /// wrong: what is asked for a second time is counted there. Whom the driver told that there are no
    /// credentials believes it.
    pub(crate) fn encores(&mut self) -> usize {
        let fired = |fault: &Fault| self.fired[fault.place()] > 0;
        if self.total() == 0 || fired(&Fault::NoCredentials) || self.plan.swarm.even {
            return 0;
        }
        let misled = Fault::ALL.iter().any(|it| fired(it) && it.misleads());
        let wanted = self.choose.below(2) == 1;
        usize::from(wanted) * (1 + usize::from(misled))
    }

    /// Faults off, every task again, in the sessions that there are.
    pub(crate) fn go_on(&mut self, lenient: bool) {
        self.lenient = lenient;
        self.pacify("= nothing goes wrong any more, and they are asked again");
        for process in 0..self.processes.len() {
            // What was refused then may be granted now.
            self.processes[process].watch.useless.clear();
            self.start_tasks(process);
        }
    }

    fn pacify(&mut self, line: &str) {
        self.calm = true;
        // Nothing is outside, so what went wrong was told.
        self.credits.clear();
        self.economy.cut = None;
        self.later.clear();
        for request in std::mem::take(&mut self.late) {
            self.arrive_late(&request);
        }
        self.lines.push(line.into());
        self.put_tags();
        for (at, task) in self.plan.tasks.iter_mut().enumerate() {
            task.deadline = None;
            self.results[at] = None;
        }
    }

    /// Faults off, one new process, every task again.
    pub(crate) fn recover(&mut self) {
        self.expect_little();
        self.lenient = false;
        for process in std::mem::take(&mut self.processes) {
            self.count_dead(&process);
            self.bury(process);
        }
        self.journal.release_all();
        self.pacify("= from here on nothing goes wrong");
        for task in &mut self.plan.tasks {
            task.process = 0;
        }
        self.fresh = true;
        let process = self.process();
        self.processes.push(process);
        self.start_tasks(0);
    }

    pub(crate) fn process(&self) -> Process {
        let stores = Arc::new(Stores::default());
        let tape = self.new_tape();
        let spool = Disk::default();
        let [a, b, c] = &self.disks;
        let ids = [a, b, c, &spool].map(|disk| {
            let store: Arc<dyn Store> = Arc::new(disk.clone());
            stores.add(&store)
        });
        Process {
            session: RecordedSession::new(
                self.plan.config(),
                self.plan.jitter,
                sink(tape.as_ref()),
            ),
            tape,
            stores,
            spool,
            ids,
            begun: self.now,
            running: Vec::new(),
            tasks: BTreeMap::new(),
            fetched: BTreeMap::new(),
            saved: None,
            saves: false,
            pinned: BTreeMap::new(),
            streams: Vec::new(),
            readers: Vec::new(),
            unread: Vec::new(),
            ending: BTreeSet::new(),
            watch: Watch::default(),
        }
    }

    /// The tape of a session to be.
    pub(crate) fn new_tape(&self) -> Option<Arc<Lines>> {
        self.plan.taped.then(Arc::default)
    }

    /// Starts the tasks of a process that were asked for, are not over and not under way.
    pub(crate) fn start_tasks(&mut self, process: usize) {
        for at in 0..self.plan.tasks.len() {
            let is_here = self.plan.tasks[at].process == process;
            let runs = self.processes[process].tasks.values().any(|it| *it == at);
            if is_here && !runs && self.results[at].is_none() && !self.later.contains(&at) {
                self.start(at);
            }
        }
    }

    /// Starts a task, perhaps once more.
    pub(crate) fn start(&mut self, at: usize) {
        let task = self.plan.tasks[at];
        self.expect(&task);
        let asked = match task.operation {
            Operation::Stream => by(self.put_stream(at, &task), &task),
            Operation::Read => by(self.read_blob(at), &task),
            _ => {
                let picture = &self.plan.pictures[task.picture];
                asked(at, &task, picture, self.processes[task.process].ids)
            }
        };
        self.offer_uploads(task.process, &asked);
        let id = self.call(task.process, |session| session.start(asked));
        self.processes[task.process].tasks.insert(id, at);
    }

    /// What a task that starts needs to move.
    pub(crate) fn expect(&mut self, task: &Planned) {
        let picture = &self.plan.pictures[task.picture];
        self.economy
            .starts(task, picture, &self.models[task.destination()]);
    }

    /// One step. Whether there was anything to do.
    pub(crate) fn step(&mut self) -> bool {
        if self.may_crash() || self.surprises() {
            return true;
        }
        let mut until = None;
        let mut idle = true;
        for at in 0..self.processes.len() {
            let now = self.time_of(at);
            let output = self.call(at, |session| session.poll(now));
            self.keep_uploads(at);
            self.watch_totals(at);
            match output {
                Output::Job(job) => self.take_job(at, job),
                Output::Abort(id) => self.abort(at, id),
                Output::Event(task, event) => self.take_event(at, task, event),
                Output::Wait(wake) => {
                    idle = false;
                    // All that is to be told is told.
                    if std::mem::take(&mut self.processes[at].saves) {
                        self.save(at);
                    }
                    if let Some(wake) = wake {
                        self.check_wait(wake, now);
                        let wake = self.now + wake.since(now);
                        until = Some(until.map_or(wake, |other: Duration| other.min(wake)));
                    }
                    continue;
                }
                Output::Idle => {
                    let process = &self.processes[at];
                    let waits = process.running.iter().any(|it| !it.echo);
                    let over = process.tasks.is_empty() && !waits && process.unread.is_empty();
                    self.check(over, || "ends: idle with something unfinished".into());
                    continue;
                }
            }
            return true;
        }
        let outside: usize = self.processes.iter().map(|it| it.running.len()).sum();
        if idle && outside == 0 {
            return self.start_later();
        }
        self.proceed(outside, until);
        true
    }

    /// The sessions only wait: something outside happens.
    fn proceed(&mut self, outside: usize, until: Option<Duration>) {
        let reorders = self.plan.reorders;
        // Where all is tried, there is one way to be late by so many steps.
        let n = if self.plan.swarm.even { 2 } else { 4 };
        if !self.late.is_empty() && (outside == 0 || self.choose.below(n) == n - 1) {
            let request = self.late.remove(0);
            return self.arrive_late(&request);
        }
        if self.reads_again(outside == 0 && until.is_none()) {
            return;
        }
        if self.plan.swarm.even && !self.calm && self.choose_cancel() {
            return;
        }
        let skips = reorders && until.is_some() && self.choose.below(16) == 15;
        if outside > 0 && !skips {
            self.run_one(outside);
            // Several ends may come between two polls.
            while reorders && self.choose.below(4) == 3 {
                let left: usize = self.processes.iter().map(|it| it.running.len()).sum();
                if left == 0 || self.violation.is_some() {
                    return;
                }
                self.run_one(left);
            }
            return;
        }
        match until {
            Some(until) => {
                self.lines
                    .push(format!("~ {} ms", (until - self.now).as_millis()));
                self.now = until;
            }
            None => self.violate("ends: nothing happens any more".into()),
        }
    }

    /// Runs one of so many jobs outside.
    fn run_one(&mut self, outside: usize) {
        let last = if self.plan.reorders {
            outside as u64
        } else {
            1
        };
        let mut at = usize::try_from(self.choose.below(last)).expect("it is small");
        for process in 0..self.processes.len() {
            let here = self.processes[process].running.len();
            if at < here {
                return self.run(process, at);
            }
            at -= here;
        }
    }

    /// Runs a job, or reports one that has run.
    fn run(&mut self, process: usize, at: usize) {
        let running = self.processes[process].running.remove(at);
        let work = match running.work {
            JobState::Done(done) => return self.report(process, done),
            work => work,
        };
        // Its slots are taken until it is reported.
        let (slots, token, id) = (running.slots, running.token, running.id);
        let (question, unwanted) = (running.question, running.unwanted);
        let before = self.economy.stored;
        let ran = match work {
            JobState::ToDo(job) => match *job {
                Job::Http(call) => self.http(process, call, unwanted),
                Job::Relay(relay) => self.relay(process, *relay, unwanted),
                Job::Store(call) => Ran::Done(self.store_step(process, call)),
                Job::Credentials(call) => Ran::Done(self.credentials(process, call)),
            },
            JobState::Unread(body) => self.pass_on_to_reader(process, *body, unwanted),
            JobState::Done(done) => Ran::Done(done),
        };
        let done = match ran {
            Ran::Done(done) => done,
            Ran::Crashed => return self.crash(process, Fault::CrashInBody),
            Ran::Unread(body) => {
                let aside = Running {
                    id,
                    work: JobState::Unread(body),
                    slots,
                    token,
                    question,
                    stored: 0,
                    echo: false,
                    unwanted,
                };
                return self.put_aside(process, aside);
            }
        };
        self.line(transcript::done(&done));
        if self.plan.reorders && self.choose.below(3) == 2 {
            let work = JobState::Done(done);
            let stored = self.economy.stored - before;
            self.processes[process].running.push(Running {
                id,
                work,
                slots,
                token,
                question,
                stored,
                echo: false,
                unwanted,
            });
        } else {
            self.report(process, done);
        }
    }

    fn report(&mut self, process: usize, done: Done) {
        let (id, now) = (done.id(), self.slipped(process));
        self.watch_end(process, id, now);
        self.begin_lease(process, id);
        self.call(process, |session| session.handle(done, now));
        self.keep_uploads(process);
        if self.seldom() && self.occasion(&[Fault::Duplicate]).is_some() {
            // The only end that can come twice: a `Done` cannot be copied, but a driver may take a job
            // that has ended for lost.
            self.processes[process].running.push(Running {
                id,
                work: JobState::Done(Done::lost(id)),
                slots: Vec::new(),
                token: None,
                question: false,
                stored: 0,
                echo: true,
                unwanted: false,
            });
        }
    }

    fn take_job(&mut self, process: usize, job: Job) {
        self.line(transcript::job(&job));
        let id = job.id();
        let (mut slots, mut token) = (Vec::new(), None);
        for call in job.calls() {
            self.check_expired(call);
            self.check_kept(process, call);
            let (slot, asked) = self.check_job(process, call);
            slots.extend(slot);
            token = asked;
        }
        if let Job::Credentials(call) = &job {
            self.check_question(process, call);
        }
        let question = matches!(job, Job::Credentials(_));
        self.check_whose(process, &job);
        let work = JobState::ToDo(Box::new(job));
        self.processes[process].running.push(Running {
            id,
            work,
            slots,
            token,
            question,
            stored: 0,
            echo: false,
            unwanted: false,
        });
        self.check_slots(process);
    }

    pub(crate) fn abort(&mut self, process: usize, id: JobId) {
        self.line(format!("{id} > abort"));
        self.take_up(process, id);
        let Process { running, watch, .. } = &mut self.processes[process];
        let is_it = |it: &Running| it.id == id && !it.echo;
        let Some(at) = running.iter().position(is_it) else {
            return self.violate(format!("jobs: {id} is to be aborted and is not outside"));
        };
        // A store's step cannot be broken off; its answer comes when it comes.
        let calls: Vec<_> = match &running[at].work {
            JobState::ToDo(job) => job.calls().collect(),
            JobState::Unread(_) | JobState::Done(_) => Vec::new(),
        };
        let http = !calls.is_empty() || matches!(running[at].work, JobState::Unread(_));
        watch.watch_abort(id, calls);
        // Few jobs are aborted.
        if !http || (0..2).any(|_| self.occasion(&[Fault::EndsAnyway]).is_some()) {
            self.processes[process].running[at].unwanted = true;
            return;
        }
        let running = &mut self.processes[process].running;
        let aborted = |call: Box<Call>| call.finish(Err(Interrupted::Aborted));
        let done = match running.remove(at).work {
            JobState::Done(_) => return,
            JobState::Unread(body) => body.abort(),
            JobState::ToDo(job) => match *job {
                Job::Http(call) => aborted(call),
                Job::Relay(relay) => {
                    let (source, sink) = relay.split();
                    Done::relayed(aborted(source), aborted(sink))
                }
                Job::Store(_) | Job::Credentials(_) => {
                    return self.violate(format!("jobs: {id} is to be aborted and is no HTTP job"));
                }
            },
        };
        self.line(transcript::done(&done));
        self.report(process, done);
    }

    pub(crate) fn take_event(&mut self, process: usize, id: TaskId, event: Event) {
        self.line(format!("{id} {}", transcript::event(&event)));
        self.check_text(&format!("{event:?}"));
        let Some(at) = self.processes[process].tasks.get(&id).copied() else {
            return self.violate(format!("finished: {id} is over: {event:?}"));
        };
        self.check_ending(process, id, &event);
        self.check_anonymous(at, &event);
        self.watch_stored(process, id, &event);
        self.watch_left_out(process, id, &event);
        match event {
            Event::Retrying {
                attempt,
                after,
                why,
            } => {
                self.check_retry(attempt, after);
                self.check_blame(&why);
            }
            Event::Finished(result) => {
                self.watch_finished(process, &result);
                self.check_result(at, &result);
                if let Ok(TaskReport::Copied(report)) = &result {
                    self.check_left_out(process, id, at, report);
                    self.check_listed(process, id, at, report);
                    self.check_carried(at, report);
                    self.check_tagged(at, report);
                    self.check_totals(process, id, report);
                }
                if let Ok(report) = &result {
                    self.check_answer(at, report);
                }
                self.check_reader(process, at, &result);
                if let Some(pinned) = self.processes[process].pinned.remove(&id) {
                    self.check_pinned(at, &pinned, &result);
                }
                self.processes[process].tasks.remove(&id);
                self.check_left(process, id);
                self.results[at] = Some(result);
            }
            _ => {}
        }
    }

    pub(crate) fn pick(&mut self, n: usize) -> usize {
        usize::try_from(self.choose.below(n as u64)).expect("it is small")
    }

    /// Calls a session, and looks at what that takes.
    pub(crate) fn call<T>(
        &mut self,
        process: usize,
        call: impl FnOnce(&mut RecordedSession) -> T,
    ) -> T {
        let session = &mut self.processes[process].session;
        let (value, bytes) = memory::call(|| call(session));
        // What is recorded is not the session's.
        if !self.plan.taped {
            self.check_call(bytes);
        }
        value
    }

    pub(crate) fn time_of(&self, process: usize) -> Time {
        Time::ZERO + (self.now - self.processes[process].begun)
    }
}

/// Where a session writes its tape.
pub(crate) fn sink(tape: Option<&Arc<Lines>>) -> Option<Arc<dyn TapeSink>> {
    let tape = Arc::clone(tape?);
    Some(tape)
}

/// The tasks that are asked for later, the first one last. One at least begins at once.
fn later(plan: &Plan) -> Vec<usize> {
    let later = (1..plan.tasks.len()).filter(|at| plan.tasks[*at].later);
    later.rev().collect()
}
