//! Tells a slow body from a stalled one.
//!
//! Responsible for one rule, the same for both drivers: a peer that sends a byte now and then keeps
//! every idle limit, and would hold a transfer for days (users.md 5.2). Must not know what moves.

use std::time::{Duration, Instant};

/// The least rate of a body: bytes per window of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MinRate {
    pub(crate) window: Duration,
    pub(crate) bytes: u64,
}

impl MinRate {
    /// 1 KiB/s over a minute: slower than any useful link, and a blob would take weeks.
    pub(crate) const DEFAULT: Self = Self {
        window: Duration::from_secs(60),
        bytes: 60 * 1024,
    };
}

/// Watches the rate of one body.
#[derive(Debug)]
pub(crate) struct StallDetector {
    least: MinRate,
    since: Instant,
    bytes: u64,
}

impl StallDetector {
    pub(crate) fn new(rate: MinRate) -> Self {
        Self {
            least: rate,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Whatever takes the bytes made the peer wait for so long.
    pub(crate) fn paused(&mut self, long: Duration) {
        self.since += long;
    }

    /// Counts bytes that came. Returns whether the body has stalled.
    pub(crate) fn moved(&mut self, bytes: usize) -> bool {
        self.bytes += bytes as u64;
        if self.bytes >= self.least.bytes {
            // Fast enough, whenever the window began: the clock need not be read.
            self.bytes = 0;
            self.since = Instant::now();
            return false;
        }
        self.since.elapsed() >= self.least.window
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const RATE: MinRate = MinRate {
        window: Duration::from_millis(50),
        bytes: 100,
    };

    #[test]
    fn a_few_bytes_per_window_are_a_stall() {
        let mut stall = StallDetector::new(RATE);
        assert!(!stall.moved(1), "the window has just begun");
        sleep(RATE.window);
        assert!(stall.moved(1));
    }

    #[test]
    fn a_pause_of_the_taker_is_no_stall() {
        let mut stall = StallDetector::new(RATE);
        assert!(!stall.moved(1), "the window has just begun");
        sleep(RATE.window);
        stall.paused(RATE.window);
        assert!(!stall.moved(1));
        sleep(RATE.window);
        assert!(stall.moved(1));
    }

    #[test]
    fn a_body_at_the_least_rate_has_not_stalled() {
        let mut stall = StallDetector::new(RATE);
        for _ in 0..3 {
            sleep(RATE.window);
            assert!(!stall.moved(100), "a whole window's worth came");
        }
    }
}
