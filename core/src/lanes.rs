//! Bounds on concurrency, each with a key: what waits for one host or store holds up no other.
//!
//! Responsible for how many items of a lane are admitted at once, and for their order. Must not know what
//! the items are.

use alloc::collections::{BTreeMap, BTreeSet};

/// Items, each in the lane of its key. Every lane admits a limited number of them, the smallest first.
#[derive(Debug)]
pub(crate) struct Lanes<K, T> {
    /// Those that have items.
    lanes: BTreeMap<K, Lane<T>>,
    /// Admitted items that were not taken yet.
    admitted: BTreeSet<T>,
    most: usize,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: BTreeSet<T>,
    /// How many items are admitted, and not done.
    active: usize,
    most: usize,
}

impl<K: Clone + Ord, T: Ord> Lanes<K, T> {
    /// Lanes that admit this many items each.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            admitted: BTreeSet::new(),
            most,
        }
    }

    /// Adds an item to its lane.
    pub(crate) fn push(&mut self, key: &K, item: T) {
        self.push_within(key, item, self.most);
    }

    /// Adds an item to its lane, which admits at most this many if the item is its first.
    pub(crate) fn push_within(&mut self, key: &K, item: T, most: usize) {
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane {
            waiting: BTreeSet::new(),
            active: 0,
            most: most.min(self.most),
        });
        lane.waiting.insert(item);
        self.admit(key);
    }

    /// Takes the smallest item that is admitted. [`Lanes::done`] ends it.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.admitted.pop_first()
    }

    /// Removes an item that was not taken.
    pub(crate) fn remove(&mut self, key: &K, item: &T) {
        if self.admitted.remove(item) {
            self.done(key);
        } else if let Some(lane) = self.lanes.get_mut(key) {
            lane.waiting.remove(item);
            self.admit(key);
        }
    }

    /// An item that was taken is done.
    pub(crate) fn done(&mut self, key: &K) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.active -= 1;
            self.admit(key);
        }
    }

    /// Halves how many items a lane admits.
    pub(crate) fn shrink(&mut self, key: &K) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.most = (lane.most / 2).max(1);
        }
    }

    /// A lane that was shrunk admits one more.
    pub(crate) fn grow(&mut self, key: &K) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.most = (lane.most + 1).min(self.most);
            self.admit(key);
        }
    }

    /// Admits what there is room for, and forgets a lane without items.
    fn admit(&mut self, key: &K) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        while lane.active < lane.most
            && let Some(item) = lane.waiting.pop_first()
        {
            lane.active += 1;
            self.admitted.insert(item);
        }
        if lane.active == 0 {
            self.lanes.remove(key);
        }
    }
}

#[cfg(test)]
impl<K, T> Lanes<K, T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.admitted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn all(lanes: &mut Lanes<char, u8>) -> Vec<u8> {
        core::iter::from_fn(|| lanes.pop()).collect()
    }

    #[test]
    fn a_full_lane_does_not_hold_up_another() {
        let mut lanes = Lanes::new(2);
        for item in [5, 3, 4, 1] {
            lanes.push(&'a', item);
        }
        lanes.push(&'b', 2);
        assert_eq!(all(&mut lanes), [2, 3, 5]);
        lanes.done(&'a');
        assert_eq!(all(&mut lanes), [1]);
        lanes.remove(&'a', &4);
        for _ in 0..2 {
            lanes.done(&'a');
        }
        assert_eq!(all(&mut lanes), [0; 0]);
        lanes.done(&'b');
        assert!(lanes.is_empty());
    }

    #[test]
    fn what_is_removed_before_it_is_taken_makes_room() {
        let mut lanes = Lanes::new(1);
        lanes.push(&'a', 1);
        lanes.push(&'a', 2);
        lanes.remove(&'a', &1);
        assert_eq!(all(&mut lanes), [2]);
        lanes.done(&'a');
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_lane_that_was_shrunk_grows_again() {
        let mut lanes = Lanes::new(4);
        for item in 0..9 {
            lanes.push(&'a', item);
        }
        assert_eq!(all(&mut lanes), [0, 1, 2, 3]);
        lanes.shrink(&'a');
        lanes.done(&'a');
        lanes.done(&'a');
        assert_eq!(all(&mut lanes), [0; 0]);
        lanes.done(&'a');
        assert_eq!(all(&mut lanes), [4]);
        lanes.grow(&'a');
        assert_eq!(all(&mut lanes), [5]);
    }
}
