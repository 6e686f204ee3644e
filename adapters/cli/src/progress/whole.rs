//! The progress of a whole task, as a line.
//!
//! Responsible for the numbers in it: how far the task is, how fast, and how long it will take. Must not know what
//! shows the line.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use windlass_core::Totals;

use super::{Seconds, Size};

/// What is known of a task.
#[derive(Debug, Default)]
pub(super) struct Whole {
    totals: Totals,
    /// Bytes of blobs that are moving: the sum of their positions.
    moving: u64,
    speed: Speed,
}

impl Whole {
    /// The task has to do, and has done, this much.
    pub(super) const fn set(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// A transfer begins at this position of its blob.
    pub(super) const fn begin(&mut self, position: u64) {
        self.moving = self.moving.saturating_add(position);
    }

    /// A transfer went from one position to another: back, if it starts over.
    pub(super) fn move_on(&mut self, from: u64, to: u64, now: Instant) {
        self.moving = self.moving.saturating_sub(from).saturating_add(to);
        self.speed.add(to.saturating_sub(from), now);
    }

    /// A transfer at this position is over: the totals have its blob.
    pub(super) const fn end(&mut self, position: u64) {
        self.moving = self.moving.saturating_sub(position);
    }

    /// The line, if there is anything to do.
    pub(super) fn line(&self, now: Instant) -> Option<String> {
        let (known, done) = (self.totals.known, self.totals.done());
        if known.blobs == 0 {
            return None;
        }
        let bytes = done.bytes.saturating_add(self.moving).min(known.bytes);
        let mut line = format!(
            "{} of {}, {} of {} blobs",
            Size(bytes),
            Size(known.bytes),
            done.blobs,
            known.blobs
        );
        let others = [
            (self.totals.mounted.blobs, "mounted"),
            (self.totals.skipped.blobs, "already there"),
        ];
        for (blobs, what) in others.into_iter().filter(|(blobs, _)| *blobs > 0) {
            let _infallible = write!(line, " ({blobs} {what})");
        }
        let left = known.bytes - bytes;
        if let Some(rate) = self.speed.rate(now).filter(|_| left > 0) {
            let _infallible = write!(line, ", {}/s", Size(rate));
            if rate > 0 {
                let left = Duration::from_secs(left.div_ceil(rate));
                let _infallible = write!(line, ", {} left", Seconds(left));
            }
        }
        Some(line)
    }
}

/// How fast bytes have moved of late. Those that are sent again count again.
#[derive(Debug, Default)]
struct Speed {
    moved: u64,
    /// How many had moved before which instant, the oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl Speed {
    /// What is older does not count.
    const WINDOW: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_millis(250);
    /// There is no speed before this time.
    const LEAST: Duration = Duration::from_secs(1);

    fn add(&mut self, bytes: u64, now: Instant) {
        let since = |at: &Instant| now.saturating_duration_since(*at);
        let last = self.samples.back();
        if last.is_none_or(|(at, _)| since(at) >= Self::STEP) {
            self.samples.push_back((now, self.moved));
        }
        // Over one that is too old there is one that is not.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| since(at) >= Self::WINDOW)
        {
            self.samples.pop_front();
        }
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Bytes a second.
    fn rate(&self, now: Instant) -> Option<u64> {
        let (at, moved) = self.samples.front()?;
        let took = now.saturating_duration_since(*at);
        if took < Self::LEAST {
            return None;
        }
        let bytes = u128::from(self.moved.saturating_sub(*moved));
        u64::try_from(bytes * 1000 / took.as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::Amount;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn totals(known: (u64, u64), moved: (u64, u64)) -> Totals {
        let amount = |(blobs, mib)| Amount::new(blobs, mib * MIB);
        let mut totals = Totals::default();
        totals.known = amount(known);
        totals.moved = amount(moved);
        totals
    }

    #[test]
    fn the_whole_is_what_is_done_and_what_moves() {
        let (mut whole, begun) = (Whole::default(), Instant::now());
        assert_eq!(whole.line(begun), None, "nothing is known");
        whole.set(totals((7, 100), (0, 0)));
        let line = |whole: &Whole, seconds| {
            let line = whole.line(begun + Duration::from_secs(seconds));
            line.expect("there are blobs")
        };
        assert_eq!(line(&whole, 0), "0 B of 100.0 MiB, 0 of 7 blobs");
        whole.begin(10 * MIB);
        assert_eq!(line(&whole, 0), "10.0 MiB of 100.0 MiB, 0 of 7 blobs");
        whole.move_on(10 * MIB, 10 * MIB, begun);
        let second = begun + Duration::from_secs(1);
        whole.move_on(10 * MIB, 20 * MIB, second);
        assert_eq!(
            line(&whole, 2),
            "20.0 MiB of 100.0 MiB, 0 of 7 blobs, 5.0 MiB/s, 16.0 s left"
        );
        // It is done: its bytes are in the totals.
        let mut done = totals((7, 100), (1, 20));
        done.mounted.blobs = 2;
        done.skipped.blobs = 3;
        whole.set(done);
        whole.end(20 * MIB);
        assert_eq!(
            line(&whole, 2),
            "20.0 MiB of 100.0 MiB, 6 of 7 blobs (2 mounted) (3 already there), 5.0 MiB/s, 16.0 s left"
        );
        whole.set(totals((7, 100), (7, 100)));
        assert_eq!(line(&whole, 2), "100.0 MiB of 100.0 MiB, 7 of 7 blobs");
    }

    /// A transfer that starts over goes back, and what moves again is speed.
    #[test]
    fn the_whole_goes_back() {
        let (mut whole, begun) = (Whole::default(), Instant::now());
        whole.set(totals((2, 10), (1, 2)));
        whole.begin(0);
        whole.move_on(0, 4 * MIB, begun);
        whole.move_on(4 * MIB, 0, begun + Duration::from_secs(1));
        whole.move_on(0, MIB, begun + Duration::from_secs(2));
        assert_eq!(
            whole.line(begun + Duration::from_secs(5)).as_deref(),
            Some("3.0 MiB of 10.0 MiB, 1 of 2 blobs, 1.0 MiB/s, 7.0 s left")
        );
    }

    #[test]
    fn a_speed_is_that_of_the_last_seconds() {
        let (mut speed, begun) = (Speed::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(speed.rate(at(9)), None, "nothing has moved");
        for second in 0..100 {
            speed.add(1000, at(second));
        }
        assert!(speed.samples.len() <= 12, "{}", speed.samples.len());
        assert_eq!(speed.rate(at(100)), Some(1000));
        assert_eq!(speed.rate(at(101)), Some(1000 * 11 / 12), "it stands still");
        let mut slow = Speed::default();
        slow.add(0, begun);
        assert_eq!(slow.rate(begun + Duration::from_millis(900)), None);
        assert_eq!(slow.rate(at(1)), Some(0));
    }
}
