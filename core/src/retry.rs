//! When to retry, and when to give up.
//!
//! Responsible for counting attempts and for back-off. Must not know why an attempt failed:
//! `classify` decides what is transient.

use core::time::Duration;

use crate::config::Retry;
use crate::rng::Rng;

/// Progress that resets a transfer's attempts. A link that breaks every 200 KB must still finish,
/// and a finite blob can make progress only finitely often.
const PROGRESS: u64 = 64 * 1024;

/// The attempts of one operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tries {
    /// Consecutive failures without progress.
    failed: u32,
    /// The furthest position so far, so that starting over does not count as progress.
    furthest: u64,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// Retry after this wait; `attempt` attempts have failed.
    Again { attempt: u32, after: Duration },
    /// Give up after this many attempts.
    Enough { attempts: u32 },
}

impl Tries {
    /// Records a transfer's position. Returns whether that is progress.
    pub(crate) const fn reached(&mut self, position: u64) -> bool {
        let progress = position >= self.furthest + PROGRESS;
        if progress {
            self.furthest = position;
            self.failed = 0;
        }
        progress
    }

    /// Counts a failure. `asked` is the server's `Retry-After`.
    pub(crate) fn failed(
        &mut self,
        policy: &Retry,
        asked: Option<Duration>,
        rng: &mut Rng,
    ) -> Decision {
        self.failed += 1;
        if self.failed >= policy.attempts
            || asked.is_some_and(|asked| asked > policy.retry_after_cap)
        {
            return Decision::Enough {
                attempts: self.failed,
            };
        }
        let doubled = policy
            .base
            .saturating_mul(1_u32.checked_shl(self.failed - 1).unwrap_or(u32::MAX));
        let backoff = doubled.min(policy.cap);
        // A random wait from half the back-off to all of it, so that clients that failed together
        // do not return together.
        let half = u64::try_from(backoff.as_micros() / 2).unwrap_or(u64::MAX);
        let jittered = Duration::from_micros(half + rng.below(half + 1));
        let after = asked.map_or(jittered, |asked| asked.max(jittered));
        Decision::Again {
            attempt: self.failed,
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Retry {
        Retry {
            attempts: 3,
            ..Retry::default()
        }
    }

    #[test]
    fn tries_end_unless_there_is_progress() {
        let (mut tries, mut rng) = (Tries::default(), Rng::new(1));
        let mut attempts = |tries: &mut Tries| match tries.failed(&policy(), None, &mut rng) {
            Decision::Again { attempt, .. } => attempt,
            Decision::Enough { attempts } => 100 + attempts,
        };
        assert_eq!(attempts(&mut tries), 1);
        assert_eq!(attempts(&mut tries), 2);
        tries.reached(PROGRESS);
        assert_eq!(attempts(&mut tries), 1, "progress gives the tries back");
        tries.reached(PROGRESS + PROGRESS - 1);
        assert_eq!(attempts(&mut tries), 2, "too little progress does not");
        tries.reached(1000);
        assert_eq!(attempts(&mut tries), 103, "starting over is no progress");
    }

    /// HTTP-17: both forms are obeyed up to the cap; above it the task ends.
    #[test]
    fn retry_after_is_honoured_up_to_the_cap() {
        let mut rng = Rng::new(1);
        let wait = |asked: u64, rng: &mut Rng| {
            Tries::default().failed(&policy(), Some(Duration::from_secs(asked)), rng)
        };
        let Decision::Again { after, .. } = wait(60, &mut rng) else {
            panic!("within the cap")
        };
        assert_eq!(after, Duration::from_secs(60));
        assert_eq!(wait(61, &mut rng), Decision::Enough { attempts: 1 });
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let policy = Retry {
            attempts: 100,
            ..Retry::default()
        };
        let (mut tries, mut rng) = (Tries::default(), Rng::new(7));
        for n in 0..60 {
            let Decision::Again { after, .. } = tries.failed(&policy, None, &mut rng) else {
                panic!("there are tries left")
            };
            let full = policy.base.saturating_mul(1 << n.min(20)).min(policy.cap);
            assert!(after >= full / 2 && after <= full, "{n}: {after:?}");
        }
    }
}
