//! One simulated world: sessions against models, with everything going wrong that can.
//!
//! A run draws a world (registries, images, tasks, how often what goes wrong) and everything that
//! happens in it from one source of choices ([`Choose`]). While faults happen it must stay safe;
//! then they stop, every task is asked for again, and all must be good and complete.
//!
//! ```text
//!   choices ─▶ plan ─▶ world ─┬─ process: session, jobs, spool ─┐
//!    (seed,     what    order,│   ▲ dies at any step            ├─▶ two registry models
//!     bytes,    there   time, │   └ another one, from scratch   ├─▶ three stores
//!     list,     is      ends  │     or from a checkpoint        │
//!     all)              of    └─ process ───────────────────────┘
//!                       jobs       faults in between: exchange, mangle, greedy, local, trouble
//!   judged at each step: oracles   at the end: ending
//! ```
//!
//! What is judged: bytes are what their names say; nothing is committed twice, put before what it
//! names, or taken away; no secret goes to whom it is not for, or is shown, or written into a
//! checkpoint; slots; each token asked for once; everything ends, and well when faults have stopped;
//! no try is explained by a fault that was none; no more bytes and requests than needed; no session
//! holds more than follows from its limits; a task that resumes ends with what it had begun with; foreign
//! layers that are left out are told; mirrors are only read from, and never told what is not for them;
//! credentials that die are asked for again once.
//!
//! Lists of tags and referrers are whole; a deletion takes one tag, or one referrer with its entry in the list of
//! its subject; what belongs to an image comes with it, where that was asked for, or is told as missing. A stream
//! is held one chunk at a time, and put as it was read. A reader brings the bytes of its blob in order or an error at
//! the end, fetches none of them twice, and keeps no slot while it is not read.
//!
//! Exchanges run from head to end at once; what happens within a body (cuts, stalls, crashes, full disks)
//! happens between its pieces.
//!
//! CONTRIBUTING.md says how to run and replay worlds, and how to add a fault or an oracle.
//!
//! ```
//! use windlass_tests::sim;
//!
//! let run = sim::seeded(7);
//! assert_eq!(run.violation, None, "{}", run.transcript);
//! // The choices that were made are the run: they give it again.
//! assert_eq!(sim::replayed(&run.choices).transcript, run.transcript);
//! ```
//!
//! It stands beside [`world`](crate::world) and not upon it: that one runs one session and panics
//! where something is wrong, so that a test reads like a scene; this one has several processes that
//! die, delivers ends of jobs late, and must be able to go on to say what was wrong. They share the
//! store in memory and, of course, the registry model, which is `windlass-testbed`'s.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "there are many faults: a table names those that it is about"
)]
#![allow(clippy::large_enum_variant, reason = "a few of these live at once")]

mod answers;
mod arbitrary;
mod asked;
mod choose;
pub(crate) mod companions;
mod disk;
mod echoed;
mod ending;
mod exchange;
mod fault;
mod foreign;
mod greedy;
mod kept;
mod listed;
mod local;
mod mangle;
mod memory;
mod mirrors;
mod mortal;
mod occasions;
mod optional;
mod oracles;
mod plan;
mod readers;
mod recording;
mod relay;
mod resume;
mod secrets;
mod settings;
mod streams;
mod stubborn;
mod surprises;
mod tally;
mod totals;
mod trouble;
mod watch;
mod world;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

pub use choose::{Bytes, Choose, Every, List, Seeded, shrink};
pub use fault::Fault;
pub use memory::Held;
pub use plan::Operation;
pub(crate) use plan::Picture;
pub use tally::Tally;

use plan::{Access, Plan};
use world::World;

/// More steps per task than any world takes: who needs more goes in a circle.
const STEPS: usize = 20_000;

/// What became of a world.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// What must not be and was: the name of an oracle, a colon, what it saw.
    pub violation: Option<String>,
    /// The choices that were made.
    pub choices: Vec<u64>,
    /// What happened, a line for each thing.
    pub transcript: String,
    /// How often each of [`Fault::ALL`] happened.
    pub faults: [u32; Fault::ALL.len()],
    /// The tasks: what they were, whether several platforms were involved, whether they ended well
    /// while faults happened.
    pub tasks: Vec<(Operation, bool, bool)>,
    /// How often a process died.
    pub crashes: u32,
    /// How often another one went on from a checkpoint.
    pub resumed: u32,
    /// How many uploads of another process went on.
    pub taken: u32,
    /// What sessions held.
    pub held: Held,
}

/// The sorts of worlds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WorldKind {
    /// Anything may be, and anything go wrong: [`drawn`].
    Usual,
    /// Every answer is any answer: [`hostile`].
    Hostile,
    /// Registries try to make a session hold much: [`greedy`].
    Greedy,
    /// The usual one, in which sessions are recorded: [`taped`].
    Taped,
    /// The usual one, with mirrors of its registries: [`mirrored`].
    Mirrored,
    /// The usual one, in which copies take along what belongs to images: [`carrying`].
    Carrying,
    /// The usual one, in which tasks put streams: [`streaming`].
    Streaming,
    /// The usual one, in which tasks read blobs without a store: [`reading`].
    Reading,
    /// The usual one, in which tasks ask for what few do: [`optional`].
    Optional,
    /// One image, one operation, at most one fault; whether it has to sign in: [`every`].
    Tiny(Operation, bool),
}

impl WorldKind {
    /// The world of these choices.
    pub fn of(self, choose: &mut dyn Choose) -> Run {
        match self {
            Self::Usual => drawn(choose),
            Self::Hostile => hostile(choose),
            Self::Greedy => greedy(choose),
            Self::Taped => taped(choose),
            Self::Mirrored => mirrored(choose),
            Self::Carrying => carrying(choose),
            Self::Streaming => streaming(choose),
            Self::Reading => reading(choose),
            Self::Optional => optional(choose),
            Self::Tiny(operation, signs_in) => tiny(operation, signs_in, choose),
        }
    }

    /// The world of a seed.
    pub fn seeded(self, seed: u64) -> Run {
        self.of(&mut Seeded::new(seed))
    }

    /// The world of a list of choices.
    pub fn replayed(self, choices: &[u64]) -> Run {
        self.of(&mut List::new(choices))
    }
}

/// The usual world of a seed.
pub fn seeded(seed: u64) -> Run {
    WorldKind::Usual.seeded(seed)
}

/// The usual world of a list of choices.
pub fn replayed(choices: &[u64]) -> Run {
    WorldKind::Usual.replayed(choices)
}

/// The world of these choices.
pub fn drawn(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let plan = Plan::draw(&mut recorder);
    run(plan, recorder)
}

/// The same world, in which tapes run along.
pub fn taped(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let mut plan = Plan::draw(&mut recorder);
    plan.taped = true;
    run(plan, recorder)
}

/// A world in which registries have mirrors.
pub fn mirrored(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let plan = Plan::mirrored(&mut recorder);
    run(plan, recorder)
}

/// A world in which copies take along referrers, and what cosign keeps at tags.
pub fn carrying(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let plan = Plan::carrying(&mut recorder);
    run(plan, recorder)
}

/// A world in which blobs are put as streams.
pub fn streaming(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let plan = Plan::streaming(&mut recorder);
    run(plan, recorder)
}

/// A world in which blobs are read while they arrive, without a store, and images are opened.
pub fn reading(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let plan = Plan::reading(&mut recorder);
    run(plan, recorder)
}

/// A world in which images get several tags.
pub fn optional(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let plan = Plan::optional(&mut recorder);
    run(plan, recorder)
}

/// A world in which every registry answers everything with anything, until it has done so often; or some requests
/// always in the same way.
pub fn hostile(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let stubborn = match recorder.below(2) {
        0 => Vec::new(),
        _ => stubborn::Stubborn::draw(&mut recorder),
    };
    let mut plan = if !stubborn.is_empty() && recorder.below(4) == 3 {
        Plan::streaming(&mut recorder)
    } else {
        Plan::draw(&mut recorder)
    };
    plan.stubborn = stubborn;
    plan.swarm = fault::Swarm {
        rate: 1000,
        kinds: 1 << Fault::Arbitrary.place() | 1 << Fault::NewRealm.place(),
        crashes: 0,
        most: 500,
        even: false,
    };
    for setting in &mut plan.settings {
        setting.options.check_references = true;
    }
    run(plan, recorder)
}

/// A world in which every registry tries to make a session hold much.
pub fn greedy(choose: &mut dyn Choose) -> Run {
    let mut recorder = Recorder::new(choose);
    let plan = Plan::greedy(&mut recorder);
    run(plan, recorder)
}

fn tiny(operation: Operation, signs_in: bool, choose: &mut dyn Choose) -> Run {
    let access = if signs_in {
        Access::Bearer
    } else {
        Access::Open
    };
    run(Plan::tiny(operation, access), Recorder::new(choose))
}

/// What came of trying all worlds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tried {
    /// How many there were.
    pub worlds: usize,
    /// Whether these were all.
    pub all: bool,
    /// The first that went wrong, and of which sort it is; it was the last that was tried.
    pub failed: Option<(WorldKind, Run)>,
}

/// Every world with at most one fault in which a tiny image is moved by this operation, with tokens or
/// without, up to `most` worlds of each. Faults of which there are endlessly many are left out, and so
/// are clocks and tags that move at any step.
pub fn every(operation: Operation, most: usize) -> Tried {
    let mut tried = Tried {
        worlds: 0,
        all: true,
        failed: None,
    };
    for sort in [false, true].map(|signs_in| WorldKind::Tiny(operation, signs_in)) {
        let mut every = Every::default();
        let enough = tried.worlds + most;
        while every.another() {
            if tried.worlds >= enough {
                tried.all = false;
                break;
            }
            let run = sort.of(&mut every);
            tried.worlds += 1;
            if run.violation.is_some() {
                tried.failed = Some((sort, run));
                return tried;
            }
        }
    }
    tried
}

/// Writes down what is chosen.
struct Recorder<'a> {
    choose: &'a mut dyn Choose,
    choices: Vec<u64>,
}

impl<'a> Recorder<'a> {
    fn new(choose: &'a mut dyn Choose) -> Self {
        Self {
            choose,
            choices: Vec::new(),
        }
    }
}

impl Choose for Recorder<'_> {
    fn below(&mut self, n: u64) -> u64 {
        let choice = self.choose.below(n);
        self.choices.push(choice);
        choice
    }
}

fn run(plan: Plan, mut recorder: Recorder<'_>) -> Run {
    let planned = plan.clone();
    let mut world = World::new(plan, &mut recorder);
    let mut well = vec![false; planned.tasks.len()];
    let panicked = caught(|| {
        live(&mut world);
        well = world
            .results
            .iter()
            .map(|it| matches!(it, Some(Ok(_))))
            .collect();
        if world.violation.is_none() {
            recover(&mut world);
        }
    });
    if let Some(panic) = panicked {
        world.violate(format!("panic: {panic}"));
    }
    let tasks = planned.tasks.iter().zip(well);
    let tasks = tasks.map(|(task, well)| {
        let several = planned.pictures[task.picture].is_index();
        (task.operation, several, well)
    });
    let mut transcript = world.lines.join("\n");
    transcript.push('\n');
    Run {
        violation: world.violation.take(),
        transcript,
        faults: world.fired,
        tasks: tasks.collect(),
        crashes: world.crashes,
        resumed: world.resumed,
        taken: world.journal.taken,
        held: world.held,
        choices: {
            drop(world);
            recorder.choices
        },
    }
}

/// Safety while things go wrong.
fn live(world: &mut World<'_>) {
    until_idle(world);
    world.check_requests();
    world.check_uploads();
}

/// Liveness when they have stopped.
fn recover(world: &mut World<'_>) {
    for left in (0..world.encores()).rev() {
        world.go_on(left > 0);
        until_idle(world);
        let good = |it: &Option<Result<_, _>>| matches!(it, Some(Ok(_)));
        if world.violation.is_some() {
            return;
        }
        if world.results.iter().all(good) {
            break;
        }
    }
    world.recover();
    until_idle(world);
    world.check_end();
}

fn until_idle(world: &mut World<'_>) {
    for _ in 0..STEPS * world.plan.tasks.len() {
        if world.violation.is_some() || !world.step() {
            return;
        }
    }
    world.violate("ends: it goes on for ever".into());
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs this; what it panicked with, and where.
fn caught(run: impl FnOnce()) -> Option<String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = PANIC.with_borrow_mut(|panic| match panic {
                Some(text) => {
                    *text = info.to_string();
                    true
                }
                None => false,
            });
            if !ours {
                before(info);
            }
        }));
    });
    PANIC.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    let text = PANIC.take();
    result.err().map(|_| text.unwrap_or_default())
}
