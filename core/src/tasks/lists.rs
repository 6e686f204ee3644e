//! Whose turn it is to write a referrers list.
//!
//! Responsible for one writer at a time per list: of two that read the same list, one would replace
//! what the other wrote; and for those that look at a list again later. Must not know what is in a list.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use crate::ids::{NodeId, TaskId};
use crate::op::Site;
use crate::reference::Tag;
use crate::rng::Rng;
use crate::time::Time;

/// A referrers list: its tag in a repository.
pub(crate) type ListKey = (Site, Tag);

/// A manifest that is to be in a list.
pub(crate) type Writer = (TaskId, NodeId);

/// The lists that are being written, each with its writers in line: the first one writes.
#[derive(Debug)]
pub(crate) struct Lists {
    lines: BTreeMap<ListKey, BTreeMap<u64, Writer>>,
    /// How many have got in line so far.
    joined: u64,
    /// Writers that have become the first ones.
    turns: VecDeque<Writer>,
    /// Writers that get in line again at some time.
    later: BTreeSet<(Time, Writer, ListKey)>,
    /// Where each of all these is.
    places: BTreeMap<(Writer, ListKey), WriterPlace>,
    rng: Rng,
}

#[derive(Debug)]
enum WriterPlace {
    /// In the line of its list, behind those with lower numbers.
    Line(u64),
    Later(Time),
}

impl Lists {
    /// No lists. The seed is for jitter.
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            lines: BTreeMap::new(),
            joined: 0,
            turns: VecDeque::new(),
            later: BTreeSet::new(),
            places: BTreeMap::new(),
            rng: Rng::new(seed),
        }
    }

    /// Gets in line. The turn comes by [`take_turn`](Self::take_turn).
    pub(crate) fn join(&mut self, key: ListKey, writer: Writer) {
        if let Some(WriterPlace::Line(_)) = self.places.get(&(writer, key.clone())) {
            return;
        }
        self.leave(&key, writer);
        let line = self.lines.entry(key.clone()).or_default();
        line.insert(self.joined, writer);
        self.places
            .insert((writer, key), WriterPlace::Line(self.joined));
        self.joined += 1;
        if line.len() == 1 {
            self.turns.push_back(writer);
        }
    }

    /// Leaves the line to others, and gets in line again after this time, or up to a quarter earlier: writers of
    /// several processes that met once would else meet again.
    pub(crate) fn join_later(&mut self, key: ListKey, writer: Writer, now: Time, after: Duration) {
        self.leave(&key, writer);
        let quarter = after / 4;
        let jitter = self
            .rng
            .below(u64::try_from(quarter.as_micros()).unwrap_or(u64::MAX));
        let at = now + (after - quarter) + Duration::from_micros(jitter);
        self.later.insert((at, writer, key.clone()));
        self.places.insert((writer, key), WriterPlace::Later(at));
    }

    /// The time has come for some.
    pub(crate) fn expire(&mut self, now: Time) {
        while self.wakes_at().is_some_and(|at| at <= now)
            && let Some((_, writer, key)) = self.later.first().cloned()
        {
            self.join(key, writer);
        }
    }

    /// When the next one gets in line again.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        self.later.first().map(|(at, ..)| *at)
    }

    /// Leaves the line, if this writer is in it, or was to get in line again.
    pub(crate) fn leave(&mut self, key: &ListKey, writer: Writer) {
        let number = match self.places.remove(&(writer, key.clone())) {
            Some(WriterPlace::Line(number)) => number,
            Some(WriterPlace::Later(at)) => {
                self.later.remove(&(at, writer, key.clone()));
                return;
            }
            None => return,
        };
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        line.remove(&number);
        match line.first_key_value() {
            Some((next, writer)) if number < *next => self.turns.push_back(*writer),
            Some(_) => {}
            None => drop(self.lines.remove(key)),
        }
    }

    /// Leaves the line unless it is this writer's turn: then a request may be in flight.
    pub(crate) fn leave_unless_first(&mut self, key: &ListKey, writer: Writer) {
        let line = self.lines.get(key);
        let first = line.and_then(|line| line.values().next());
        if first != Some(&writer) {
            self.leave(key, writer);
        }
    }

    /// The next writer whose turn has come.
    pub(crate) fn take_turn(&mut self) -> Option<Writer> {
        self.turns.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::site_of;

    fn key(tag: &str) -> ListKey {
        (site_of("reg.example/a"), tag.parse().expect("a tag"))
    }

    #[test]
    fn one_at_a_time_per_list_in_order() {
        let mut lists = Lists::new(0);
        let writer = |task| (TaskId(task), NodeId(0));
        let [first, second, third, other] = [0, 1, 2, 3].map(writer);
        let (list, elsewhere) = (key("one"), key("two"));
        for writer in [first, second, third] {
            lists.join(list.clone(), writer);
        }
        lists.join(elsewhere.clone(), other);
        assert_eq!(lists.take_turn(), Some(first));
        assert_eq!(lists.take_turn(), Some(other));
        assert_eq!(lists.take_turn(), None);

        lists.leave_unless_first(&list, first);
        lists.leave_unless_first(&list, second);
        assert_eq!(lists.take_turn(), None);
        lists.leave(&list, first);
        assert_eq!(lists.take_turn(), Some(third));
        lists.leave(&list, third);
        lists.leave(&elsewhere, other);
        assert_eq!((lists.take_turn(), lists.lines.len()), (None, 0));
    }

    #[test]
    fn one_that_comes_back_leaves_the_line_to_others() {
        let mut lists = Lists::new(4);
        let [first, second] = [0, 1].map(|task| (TaskId(task), NodeId(0)));
        let (list, pause) = (key("one"), Duration::from_secs(1));
        for writer in [first, second] {
            lists.join(list.clone(), writer);
        }
        assert_eq!(lists.take_turn(), Some(first));
        lists.join_later(list.clone(), first, Time::ZERO, pause);
        assert_eq!(lists.take_turn(), Some(second));
        let at = lists.wakes_at().expect("it comes back");
        let earliest = Time::ZERO + pause * 3 / 4;
        assert!(earliest <= at && at < Time::ZERO + pause, "{at:?}");

        lists.expire(Time::from_micros(at.as_micros() - 1));
        assert_eq!(lists.wakes_at(), Some(at));
        lists.expire(at);
        assert_eq!((lists.wakes_at(), lists.take_turn()), (None, None));
        lists.leave(&list, second);
        assert_eq!(lists.take_turn(), Some(first));

        // One that does not come back after all.
        lists.join_later(list.clone(), first, at, pause);
        lists.leave_unless_first(&list, first);
        assert_eq!((lists.wakes_at(), lists.lines.len()), (None, 0));
    }

    /// Writers of several processes do not come back at the same time again and again.
    #[test]
    fn seeds_make_the_time_differ() {
        let at = |seed| {
            let mut lists = Lists::new(seed);
            let writer = (TaskId(0), NodeId(0));
            lists.join_later(key("one"), writer, Time::ZERO, Duration::from_secs(1));
            lists.wakes_at()
        };
        assert_eq!(at(1), at(1));
        assert_ne!(at(1), at(2));
    }
}
