//! The end of a work: who is told, and who goes on.
//!
//! Responsible for giving back what is held first, and for who takes over when the one whose source is
//! used fails. Must not know how blobs move (`download`, `upload`).

use alloc::collections::VecDeque;
use alloc::format;

use super::{Doubt, How, OPEN, Phase, Waiter, Work, WorkKey};
use crate::error::Error;
use crate::event::{Event, Why};
use crate::ids::Owner;
use crate::session::Session;
use crate::store::StoreOp;

impl Session {
    /// The one whose source is used failed. A partial that is held is given back first.
    pub(super) fn fail_work(&mut self, key: &WorkKey, error: Error) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        if let (true, WorkKey::Into(store, digest)) = (work.holds, key) {
            let digest = digest.clone();
            let op = if matches!(error, Error::Mismatch { .. }) {
                // The next try must not begin with bytes that are not the blob's.
                work.stage = Phase::Spoiled(error);
                StoreOp::Discard { digest }
            } else {
                work.stage = Phase::Releasing(Some(error));
                StoreOp::Release { digest }
            };
            return self.step(Owner::Work(key.clone()), *store, op);
        }
        self.over_or_failed(key, Some(error));
    }

    /// Nothing is outstanding any more and nobody wants it: give the partial back, then end.
    pub(super) fn stopped(&mut self, key: &WorkKey) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        if let (true, WorkKey::Into(store, digest)) = (work.holds, key) {
            if matches!(work.stage, Phase::Releasing(_)) {
                return;
            }
            work.stage = Phase::Releasing(None);
            let op = StoreOp::Release {
                digest: digest.clone(),
            };
            self.step(Owner::Work(key.clone()), *store, op);
            return;
        }
        self.over_or_failed(key, None);
    }

    /// The blob is where it was wanted: tell everybody.
    pub(super) fn over(&mut self, key: &WorkKey, how: How) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let (size, digest) = (work.size, key.digest().clone());
        self.room = (self.room + 1).min(OPEN);
        // Whoever gets what nobody else clears has put it there, as it were.
        let how = match how {
            How::Present if work.clears => How::Moved(0),
            How::Present | How::Moved(_) | How::Mounted => how,
        };
        work.clears = false;
        // Some do not take the registry's word for it.
        let is_word = work.doubt != Doubt::Contradicted && !matches!(how, How::Moved(_));
        let stays = |waiter: &Waiter| is_word && waiter.doubt == Doubt::Contradicted;
        let waiters: VecDeque<Waiter>;
        (work.waiters, waiters) = core::mem::take(&mut work.waiters)
            .into_iter()
            .partition(stays);
        work.leaving.clear();
        self.next_waiter(key);
        for (i, waiter) in waiters.iter().enumerate() {
            if waiter.size != size {
                // The bytes were verified, so what was said of them to this one is wrong.
                let error = Error::Mismatch {
                    what: format!("blob {digest}"),
                    expected: format!("{} bytes", waiter.size),
                    found: format!("{size} bytes"),
                };
                self.tell(key, waiter, Err(error));
                continue;
            }
            // Only one of them moved it.
            let why = match how {
                How::Moved(_) if i == 0 => None,
                How::Moved(_) => Some(Why::Elsewhere),
                How::Mounted => Some(Why::Mounted),
                How::Present => Some(Why::Present),
            };
            let digest = digest.clone();
            let event = match why {
                None => Event::Stored { digest, size },
                Some(why) => Event::Skipped { digest, size, why },
            };
            if waiter.work.is_none() {
                self.event(waiter.task, event);
            }
            let how = if i == 0 { how } else { How::Present };
            self.tell(key, waiter, Ok(how));
        }
    }

    /// Ends a work that was stopped or failed; whoever else waits takes over.
    pub(super) fn over_or_failed(&mut self, key: &WorkKey, error: Option<Error>) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let task = work.leaving.front().copied();
        let task = task.or_else(|| work.waiters.front().map(|waiter| waiter.task));
        let mut spool = None;
        if let Phase::Sending {
            spooled: Some((used, How::Moved(_))),
        } = work.stage
        {
            spool = Some(used);
        }
        work.leaving.clear();
        work.holds = false;
        work.stopping = false;
        work.stage = Phase::Idle;
        if let (Some(spool), Some(task)) = (spool, task) {
            self.clear(spool, key.digest(), task);
        }
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let mut told = VecDeque::new();
        if let (Some(_), Some((source, urls))) = (&error, work.using.take()) {
            // Those who would get the same from the same place would get the same error.
            let size = work.size;
            let same = |waiter: &Waiter| {
                waiter.source == source && waiter.urls == urls && waiter.size == size
            };
            (told, work.waiters) = core::mem::take(&mut work.waiters)
                .into_iter()
                .partition(same);
        }
        let clears = work.clears && work.waiters.is_empty();
        if let (true, WorkKey::Into(spool, digest)) = (clears, key) {
            work.clears = false;
            work.leaving.extend(task);
            work.stage = Phase::Clearing;
            let op = StoreOp::Remove {
                digest: digest.clone(),
            };
            self.step(Owner::Work(key.clone()), *spool, op);
        } else {
            self.next_waiter(key);
        }
        if let Some(error) = error {
            for waiter in told {
                self.tell(key, &waiter, Err(error.clone()));
            }
        }
    }

    /// Goes on with whoever waits; without anybody the work is gone, and another one may begin.
    fn next_waiter(&mut self, key: &WorkKey) {
        let Some(work) = self.works.get(key) else {
            return;
        };
        if !work.waiters.is_empty() {
            return self.begin_work(key);
        }
        self.works.remove(key);
        self.opening.remove(key);
        while self.opening.len() < self.room {
            let Some(next) = self.unopened.pop_front() else {
                return;
            };
            let waits = |work: &Work| matches!(work.stage, Phase::Idle) && !work.stopping;
            if self.works.get(&next).is_some_and(waits) {
                self.begin_work(&next);
            }
        }
    }

    fn tell(&mut self, key: &WorkKey, waiter: &Waiter, result: Result<How, Error>) {
        match &waiter.work {
            Some(work) => self.spooled(work, result),
            None => self.blob_settled(waiter.task, key.digest(), result),
        }
    }
}
