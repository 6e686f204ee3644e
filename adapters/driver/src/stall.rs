//! Telling a slow body from one that is as good as stalled.
//!
//! Responsible for one rule, the same for both drivers: a peer that sends a byte now and then keeps
//! every idle limit, and would hold a transfer for days (users.md 5.2). Must not know what moves.

use std::time::{Duration, Instant};

/// How fast a body must at least be, and over which time that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    pub(crate) window: Duration,
    pub(crate) bytes: u64,
}

impl Floor {
    /// 1 KiB/s over a minute: slower than any line that is of use, and any blob would take weeks.
    pub(crate) const DEFAULT: Self = Self {
        window: Duration::from_secs(60),
        bytes: 60 * 1024,
    };
}

/// The pace of one body.
#[derive(Debug)]
pub(crate) struct Pace {
    floor: Floor,
    since: Instant,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(floor: Floor) -> Self {
        Self {
            floor,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// So many bytes came. Whether the body is as good as stalled.
    pub(crate) fn moved(&mut self, bytes: usize) -> bool {
        self.bytes += bytes as u64;
        if self.bytes >= self.floor.bytes {
            // Fast enough, whenever the window began: no clock needs to be read for that.
            self.bytes = 0;
            self.since = Instant::now();
            return false;
        }
        self.since.elapsed() >= self.floor.window
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const FLOOR: Floor = Floor {
        window: Duration::from_millis(50),
        bytes: 100,
    };

    #[test]
    fn crumbs_are_a_stall() {
        let mut pace = Pace::new(FLOOR);
        assert!(!pace.moved(1), "the window has just begun");
        sleep(FLOOR.window);
        assert!(pace.moved(1));
    }

    #[test]
    fn whoever_keeps_the_floor_is_not_stalled() {
        let mut pace = Pace::new(FLOOR);
        for _ in 0..3 {
            sleep(FLOOR.window);
            assert!(!pace.moved(100), "a whole window's worth came");
        }
    }
}
