//! Counting over many runs, and whether they were worth it.
//!
//! Responsible for sums and thresholds: a simulation in which nothing happens finds nothing.

use std::fmt;

use super::Run;
use super::fault::Fault;
use super::memory::Held;
use super::plan::Operation;

/// Sums over runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    runs: u64,
    /// With three faults or more.
    eventful: u64,
    crashed: u64,
    resumed: u64,
    taken: u64,
    tasks: u64,
    well: u64,
    several: u64,
    operations: [u64; Operation::ALL.len()],
    faults: Vec<u64>,
    choices: u64,
    held: Held,
}

impl Tally {
    /// Adds a run.
    pub fn add(&mut self, run: &Run) {
        self.faults.resize(Fault::ALL.len(), 0);
        self.runs += 1;
        let total: u32 = run.faults.iter().sum();
        self.eventful += u64::from(total >= 3);
        self.crashed += u64::from(run.crashes > 0);
        self.resumed += u64::from(run.resumed > 0);
        self.choices += run.choices.len() as u64;
        self.hold(run);
        for (sum, fired) in self.faults.iter_mut().zip(run.faults) {
            *sum += u64::from(fired);
        }
        for (operation, several, well) in &run.tasks {
            self.tasks += 1;
            self.well += u64::from(*well);
            self.several += u64::from(*several);
            self.operations[*operation as usize] += 1;
        }
    }

    /// Looks only at what was held in a run, and at the uploads that went on: it is of another sort.
    pub fn hold(&mut self, run: &Run) {
        self.taken += u64::from(run.taken);
        self.held.merge(run.held);
    }

    /// Adds another one's sums.
    pub fn merge(&mut self, other: &Self) {
        self.faults.resize(Fault::ALL.len(), 0);
        self.runs += other.runs;
        self.eventful += other.eventful;
        self.crashed += other.crashed;
        self.resumed += other.resumed;
        self.taken += other.taken;
        self.tasks += other.tasks;
        self.well += other.well;
        self.several += other.several;
        self.choices += other.choices;
        self.held.merge(other.held);
        for (sum, more) in self.operations.iter_mut().zip(other.operations) {
            *sum += more;
        }
        for (sum, more) in self.faults.iter_mut().zip(&other.faults) {
            *sum += more;
        }
    }

    /// How many runs there were.
    pub const fn runs(&self) -> u64 {
        self.runs
    }

    /// What there was too little of, for so many runs: in 100,000 each fault 1,000 times and each
    /// operation 10,000 times; three faults in 30 % of the runs; in 20 % a crash after which another
    /// process went on from a checkpoint; 20 uploads taken over; half of the tasks good.
    pub fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        let mut least = |what: String, has: u64, least: u64| {
            if has < least {
                lacks.push(format!("{what}: {has}, at least {least} wanted"));
            }
        };
        // Of few runs, shares vary.
        let share = if self.runs < 20_000 { 300 } else { 200 };
        for (fault, count) in Fault::ALL.into_iter().zip(&self.faults) {
            least(fault.to_string(), *count, self.runs / share);
        }
        for (operation, count) in Operation::USUAL.iter().zip(self.operations) {
            least(format!("{operation:?}"), count, self.runs / 10);
        }
        least("several platforms".into(), self.several, self.runs / 10);
        least(
            "runs with three faults".into(),
            self.eventful,
            self.runs * 3 / 10,
        );
        least("runs resumed".into(), self.resumed, self.runs / 5);
        // In worlds with options, which are few.
        least("uploads taken over".into(), self.taken, self.runs / 5000);
        least("tasks that ended well".into(), self.well, self.tasks / 2);
        lacks
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: u64, whole: u64| part * 100 / whole.max(1);
        writeln!(
            f,
            "{} runs, {} choices in each",
            self.runs,
            self.choices / self.runs.max(1)
        )?;
        writeln!(
            f,
            "  three faults or more: {} %",
            percent(self.eventful, self.runs)
        )?;
        writeln!(
            f,
            "  crashed: {} %, and resumed from a checkpoint: {} %",
            percent(self.crashed, self.runs),
            percent(self.resumed, self.runs)
        )?;
        writeln!(
            f,
            "  uploads that another process went on with: {}",
            self.taken
        )?;
        let well = percent(self.well, self.tasks);
        writeln!(
            f,
            "  {} tasks, {well} % good while things went wrong",
            self.tasks
        )?;
        for (operation, count) in Operation::ALL.into_iter().zip(self.operations) {
            writeln!(f, "    {operation:?} {count}")?;
        }
        writeln!(f, "    with several platforms {}", self.several)?;
        let Held {
            idle,
            busy,
            call,
            share,
        } = self.held;
        writeln!(
            f,
            "  a session held at most {busy} bytes, {idle} when idle; one call took {call}; at most \
             {share} % of what they may"
        )?;
        writeln!(f, "  faults:")?;
        for (fault, count) in Fault::ALL.into_iter().zip(&self.faults) {
            writeln!(f, "    {fault} {count}")?;
        }
        Ok(())
    }
}
