//! Surprises: tasks that begin, are cancelled or written down at any step, and clocks.
//!
//! Responsible for when that happens. Must not know what follows from it.

use std::time::Duration;

use windlass_core::Time;

use super::fault::Fault;
use super::world::World;

impl World<'_> {
    /// Surprises, at any step.
    pub(crate) fn surprises(&mut self) -> bool {
        if self.calm || self.plan.swarm.even {
            return false;
        }
        match self.choose.below(64) {
            63 => self.start_later(),
            62 => self.choose_cancel(),
            61 => self.leap(),
            60 => self.move_tags(),
            50..60 => {
                let at = self.pick(self.processes.len());
                self.processes[at].saves = true;
                false
            }
            _ => false,
        }
    }

    /// Starts a task of the plan that has not begun, if there is one.
    pub(crate) fn start_later(&mut self) -> bool {
        let Some(at) = self.later.pop() else {
            return false;
        };
        self.lines.push(format!("= task {at} is asked for"));
        self.start(at);
        true
    }

    /// Now, or an instant that has passed: clocks may stand still or be set.
    pub(crate) fn slipped(&mut self, process: usize) -> Time {
        let now = self.time_of(process);
        let may = !self.plan.swarm.even && self.seldom();
        if !may || self.occasion(&[Fault::TimeSlips]).is_none() {
            return now;
        }
        let back = Duration::from_millis([5, 400, 1_000_000][self.pick(3)]);
        self.processes[process].watch.lose_ages();
        Time::ZERO + now.since(Time::ZERO).saturating_sub(back)
    }

    /// Much time passes at once.
    fn leap(&mut self) -> bool {
        if self.occasion(&[Fault::TimeLeaps]).is_none() {
            return false;
        }
        let seconds = [1, 61, 400, 4000, 40_000_000][self.pick(5)];
        self.lines.push(format!("~ {seconds} s"));
        self.now += Duration::from_secs(seconds);
        true
    }
}
