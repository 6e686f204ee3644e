//! Hashes on the way through some content, to go back to.
//!
//! Responsible for how many are kept. Must not know why somebody goes back.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Hashing;

/// Hashes over the first bytes of some content. There are few of them, so they are further apart the further they are
/// behind: who goes back mostly goes back a little.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Marks(Vec<Hashing>);

impl Marks {
    /// How far apart they are at least, in bytes.
    pub(crate) const STEP: u64 = 4 * 1024 * 1024;
    /// How many there are at most.
    const MOST: usize = 8;

    /// Keeps a hash if it is far enough from the last one.
    pub(crate) fn note(&mut self, hashing: &Hashing) {
        let last = self.0.last().map_or(0, Hashing::len);
        if hashing.len() >= last.saturating_add(Self::STEP) {
            self.0.push(hashing.clone());
            self.thin();
        }
    }

    /// The longest one over no more than these bytes.
    pub(crate) fn upto(&self, position: u64) -> Option<&Hashing> {
        self.0.iter().rev().find(|it| it.len() <= position)
    }

    /// Takes those that were made after this position, in place of its own there.
    pub(crate) fn go_on(&mut self, position: u64, later: &Self) {
        self.0.retain(|it| it.len() <= position);
        for hashing in later.0.iter().filter(|it| it.len() > position) {
            self.0.push(hashing.clone());
            self.thin();
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn thin(&mut self) {
        if self.0.len() > Self::MOST {
            let mut at = 0;
            self.0.retain(|_| {
                at += 1;
                at % 2 == 1 || at > Self::MOST / 2
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    /// Hashes of which only the lengths are real.
    fn marks(upto: u64) -> Marks {
        let mut marks = Marks::default();
        let digest = Hashing::new(Algorithm::Sha256).digest();
        for mib in 1..=upto {
            let hashing = Hashing::told(mib << 20, digest.clone()).expect("it is known");
            marks.note(&hashing);
        }
        marks
    }

    fn lengths(marks: &Marks) -> Vec<u64> {
        marks.0.iter().map(|it| it.len() >> 20).collect()
    }

    #[test]
    fn few_are_kept_and_most_of_them_are_near() {
        assert_eq!(lengths(&marks(3)), [0; 0]);
        assert_eq!(lengths(&marks(33)), [4, 8, 12, 16, 20, 24, 28, 32]);
        assert_eq!(lengths(&marks(36)), [4, 12, 20, 24, 28, 32, 36]);
        let many = marks(10_000);
        let found = lengths(&many);
        assert!(found.len() <= Marks::MOST && found[0] == 4, "{found:?}");
        assert!(found.ends_with(&[9992, 9996, 10_000]), "{found:?}");
    }

    #[test]
    fn the_longest_that_is_not_too_long() {
        let marks = marks(12);
        let upto = |mib: u64| marks.upto(mib << 20).map(|it| it.len() >> 20);
        assert_eq!(
            [3, 4, 11, 12, 13].map(upto),
            [None, Some(4), Some(8), Some(12), Some(12)]
        );
    }

    #[test]
    fn what_was_read_again_counts() {
        let mut kept = marks(12);
        kept.go_on(9 << 20, &marks(16));
        assert_eq!(lengths(&kept), [4, 8, 12, 16]);
        kept.go_on(0, &Marks::default());
        assert!(kept.is_empty());
    }
}
