//! How much a task has to do, and how much of it is done.
//!
//! Responsible for the sums, and for what a blob counts as (`Delivery`). Must not know which blobs they are of, nor how
//! one is moved (`blobs`).

/// How a blob came to be where it was wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// Over the network or between stores: this many bytes.
    Moved(u64),
    Mounted,
    Present,
}

/// A number of blobs, and their size together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Amount {
    /// How many blobs.
    pub blobs: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Amount {
    /// This number of blobs, which have this many bytes together.
    pub const fn new(blobs: u64, bytes: u64) -> Self {
        Self { blobs, bytes }
    }

    const fn add(&mut self, size: u64) {
        self.blobs = self.blobs.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
    }

    const fn subtract(&mut self, size: u64) {
        self.blobs = self.blobs.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
    }
}

/// The blobs of a task: how many it has to do with, and what became of them. Each digest counts once, with the size
/// that its first descriptor says, however many manifests have it.
///
/// Blobs are known once their manifest is read, so `known` grows while the manifests of an index are fetched, before
/// the blobs of each move. Not counted are manifests, layers that are left out, and what is below a manifest that the
/// destination has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Totals {
    /// All blobs that are known by now.
    pub known: Amount,
    /// Those of them that were moved.
    pub moved: Amount,
    /// Those that the registry mounted from another repository.
    pub mounted: Amount,
    /// Those that were not moved: they were there, came with their descriptor, or were moved for another task.
    pub skipped: Amount,
    /// The bytes of blobs that are done that were really sent or received: a byte that was sent twice counts twice,
    /// one that an earlier process fetched does not count.
    pub transferred: u64,
}

impl Totals {
    /// What is not done yet: what is moving, and what waits.
    pub const fn remaining(&self) -> Amount {
        let done = self.done();
        Amount {
            blobs: self.known.blobs.saturating_sub(done.blobs),
            bytes: self.known.bytes.saturating_sub(done.bytes),
        }
    }

    /// What is at its destination: moved, mounted or skipped.
    pub const fn done(&self) -> Amount {
        let (moved, mounted, skipped) = (self.moved, self.mounted, self.skipped);
        Amount {
            blobs: moved
                .blobs
                .saturating_add(mounted.blobs)
                .saturating_add(skipped.blobs),
            bytes: moved
                .bytes
                .saturating_add(mounted.bytes)
                .saturating_add(skipped.bytes),
        }
    }

    /// A blob has to come to the destination.
    pub(crate) const fn plan(&mut self, size: u64) {
        self.known.add(size);
    }

    /// It cannot be had.
    pub(crate) const fn give_up(&mut self, size: u64) {
        self.known.subtract(size);
    }

    /// It is at the destination. `before`: how it had come there before that had to be checked again. Returns how it
    /// counts.
    pub(crate) const fn settle(
        &mut self,
        size: u64,
        before: Option<Delivery>,
        now: Delivery,
    ) -> Delivery {
        if let Delivery::Moved(bytes) = now {
            self.transferred = self.transferred.saturating_add(bytes);
        }
        let counts = counts_as(before, now);
        self.amount(counts).add(size);
        counts
    }

    /// It has to be checked again.
    pub(crate) const fn reopen(&mut self, size: u64, was: Delivery) {
        self.amount(was).subtract(size);
    }

    /// It could not be had again. What is known of it is what was known before.
    pub(crate) const fn restore(&mut self, size: u64, was: Delivery) {
        self.amount(was).add(size);
    }

    /// Nothing else will move.
    pub(crate) const fn close(&mut self) {
        self.known = self.done();
    }

    const fn amount(&mut self, delivery: Delivery) -> &mut Amount {
        match delivery {
            Delivery::Moved(_) => &mut self.moved,
            Delivery::Mounted => &mut self.mounted,
            Delivery::Present => &mut self.skipped,
        }
    }
}

/// How a blob counts: what was sent was sent, whatever the registry says of it later.
const fn counts_as(before: Option<Delivery>, now: Delivery) -> Delivery {
    match before {
        Some(Delivery::Moved(bytes)) => Delivery::Moved(bytes),
        Some(Delivery::Mounted | Delivery::Present) | None => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_that_is_sent_again_counts_once_and_its_bytes_twice() {
        let mut totals = Totals::default();
        totals.plan(10);
        totals.plan(5);
        totals.settle(10, None, Delivery::Moved(12));
        assert_eq!(totals.remaining(), Amount { blobs: 1, bytes: 5 });
        totals.reopen(10, Delivery::Moved(12));
        assert_eq!(
            totals.remaining(),
            Amount {
                blobs: 2,
                bytes: 15
            }
        );
        totals.settle(10, Some(Delivery::Moved(12)), Delivery::Moved(10));
        totals.settle(5, None, Delivery::Mounted);
        assert_eq!(totals.remaining(), Amount::default());
        assert_eq!((totals.moved.blobs, totals.mounted.bytes), (1, 5));
        assert_eq!(totals.transferred, 22);
    }

    #[test]
    fn what_was_sent_stays_sent() {
        let mut totals = Totals::default();
        totals.plan(10);
        totals.settle(10, None, Delivery::Moved(10));
        totals.reopen(10, Delivery::Moved(10));
        totals.settle(10, Some(Delivery::Moved(10)), Delivery::Present);
        assert_eq!((totals.moved.blobs, totals.skipped.blobs), (1, 0));
        totals.reopen(10, Delivery::Moved(10));
        totals.restore(10, Delivery::Moved(10));
        assert_eq!((totals.moved.blobs, totals.transferred), (1, 10));
    }

    #[test]
    fn what_cannot_be_had_is_not_known_any_more() {
        let mut totals = Totals::default();
        [1, 2, 4].into_iter().for_each(|size| totals.plan(size));
        totals.settle(2, None, Delivery::Present);
        totals.give_up(4);
        assert_eq!(totals.known, Amount { blobs: 2, bytes: 3 });
        totals.close();
        assert_eq!(totals.known, Amount { blobs: 1, bytes: 2 });
        assert_eq!(totals.remaining(), Amount::default());
    }
}
