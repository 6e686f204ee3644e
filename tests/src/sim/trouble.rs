//! When something goes wrong: the drawing of faults, and processes that die.
//!
//! Responsible for how often, and for what is lost with a process. Must not know what a fault does.

use windlass_core::{Digest, TaskId};

use super::fault::Fault;
use super::memory;
use super::world::{Process, World};

impl World<'_> {
    pub(crate) fn choose_cancel(&mut self) -> bool {
        let candidates: Vec<(usize, TaskId)> = (0..self.processes.len())
            .flat_map(|at| self.processes[at].tasks.keys().map(move |id| (at, *id)))
            .collect();
        if candidates.is_empty() {
            return false;
        }
        if self.occasion(&[Fault::Cancelled]).is_none() {
            return false;
        }
        let at = usize::try_from(self.choose.below(candidates.len() as u64)).expect("small");
        let (process, id) = candidates[at];
        self.line(format!("{id} cancel"));
        self.call(process, |session| session.cancel(id));
        true
    }

    pub(crate) fn may_crash(&mut self) -> bool {
        let swarm = self.plan.swarm;
        let spent = self.crashes >= 4 || self.total() >= swarm.most;
        if self.calm || spent || swarm.crashes == 0 {
            return false;
        }
        let n = if swarm.even { 2 } else { 1000 };
        if self.choose.below(n) < n - if swarm.even { 1 } else { swarm.crashes } {
            return false;
        }
        let last = self.processes.len() as u64;
        let process = usize::try_from(self.choose.below(last)).expect("it is small");
        if self.processes[process].tasks.is_empty() {
            return false;
        }
        self.crash(process, Fault::Crash);
        true
    }

    /// The process dies; another one takes its place.
    pub(crate) fn crash(&mut self, process: usize, how: Fault) {
        self.fire(how);
        self.crashes += 1;
        let even = self.plan.swarm.even;
        if even {
            self.save(process);
        }
        let new = self.process();
        let dead = std::mem::replace(&mut self.processes[process], new);
        self.journal.release(process);
        self.count_dead(&dead);
        let mut saved = dead.saved.clone();
        // Its partials are given back as they are, as locks end with their process.
        self.bury(dead);
        for at in 1..3 {
            let memory = self.disks[at].memory.clone();
            for (digest, len) in memory.partials() {
                match self.occasion(&[Fault::PartialDamaged, Fault::PartialShorter]) {
                    Some(Fault::PartialDamaged) if len > 0 => {
                        memory.edit_partial(&digest, |bytes| bytes[0] ^= 1);
                        // What is fetched behind it is in vain, too. What was behind a gap is gone.
                        let size = self.size_of(&digest).unwrap_or(len as u64);
                        let times = if self.plan.parts.is_some() { 2 } else { 1 };
                        self.economy.wasted += size * times;
                    }
                    Some(_) => {
                        memory.edit_partial(&digest, |bytes| bytes.truncate(len / 2));
                        // What was behind a gap is gone, too.
                        let parted = self.plan.parts.and_then(|_| self.size_of(&digest));
                        self.economy.wasted += parted.unwrap_or((len - len / 2) as u64);
                    }
                    None => {}
                }
            }
        }
        let n = if even { 2 } else { 4 };
        if let Some(saved) = saved.take_if(|_| self.choose.below(n) > 0) {
            self.resume(process, saved);
        }
        self.start_tasks(process);
    }

    /// The size of a blob of this world.
    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        let mut pictures = self.plan.pictures.iter();
        pictures.find_map(|picture| picture.blobs(false).get(digest).copied())
    }

    /// What dies with a process was for nothing: its spool, what a registry stored without its learning of it.
    pub(crate) fn count_dead(&mut self, dead: &Process) {
        let stored: u64 = dead.running.iter().map(|running| running.stored).sum();
        self.economy.wasted += stored + dead.spool.memory.used();
        self.economy.retire(&dead.spool);
    }

    /// A process ends, and with it its session: what did that hold?
    pub(crate) fn bury(&mut self, process: Process) {
        let Process {
            session,
            running,
            tasks,
            tape,
            ..
        } = process;
        // What is outside is not the session's any more.
        drop(running);
        let held = memory::dropped(session);
        match tape {
            Some(tape) => self.check_tape(&tape),
            None => self.check_held(held, tasks.len()),
        }
    }

    /// Whether something goes wrong now, and what.
    pub(crate) fn occasion(&mut self, kinds: &[Fault]) -> Option<Fault> {
        let swarm = self.plan.swarm;
        if self.calm || swarm.rate == 0 || self.total() >= swarm.most {
            return None;
        }
        let kinds: Vec<Fault> = kinds.iter().copied().filter(|it| swarm.has(*it)).collect();
        if kinds.is_empty() {
            return None;
        }
        let n = kinds.len() as u64;
        let at = if swarm.even {
            self.choose.below(n + 1).checked_sub(1)?
        } else if self.choose.below(1000) < 1000 - swarm.rate {
            return None;
        } else {
            self.choose.below(n)
        };
        let fault = kinds[usize::try_from(at).expect("it is small")];
        self.fire(fault);
        Some(fault)
    }

    /// One time in four, for what could go wrong so often that little else would.
    pub(crate) fn seldom(&mut self) -> bool {
        self.plan.swarm.even || (!self.calm && self.choose.below(4) == 3)
    }

    pub(crate) fn fire(&mut self, fault: Fault) {
        self.fired[fault.place()] += 1;
        self.lines.push(format!("! {fault}"));
    }

    /// Whether nothing happened that a task may fail for.
    pub(crate) fn passes(&self) -> bool {
        let fired = Fault::ALL.iter().zip(self.fired);
        let mut fired = fired.filter(|(_, times)| *times > 0);
        // Who refuses two fresh tokens or addresses means it, and who forgets what it was sent twice
        // does so always.
        let once = [Fault::Revoked, Fault::Forgets, Fault::Expired];
        let once = once.iter().all(|fault| self.fired[fault.place()] <= 1);
        // A registry that has vouched for a blob in vain and then forgets it has been sent it already. So has one that
        // misses a foreign layer, which is sent last.
        let vouches = self.fired[Fault::Vouches.place()] > 0
            || self.models.iter().any(|model| model.options().vouches);
        let mut pictures = self.plan.pictures.iter();
        let misses = pictures.any(|picture| picture.foreign(false).next().is_some());
        let once = once && !((vouches || misses) && self.fired[Fault::Forgets.place()] > 0);
        let most = 2.min(u64::from(self.plan.attempts()) - 1);
        let survivable = self.total() <= most && once && !self.economy.refused;
        survivable && fired.all(|(fault, _)| fault.passes())
    }

    pub(crate) fn total(&self) -> u64 {
        self.fired.iter().map(|n| u64::from(*n)).sum()
    }
}
