//! A line of exchanges that is cheap at both ends and in the middle.
//!
//! Responsible for order alone: tasks in the order in which they began, so that many of them finish one after
//! the other. Must not know what the exchanges wait for, nor why a lane is closed.

use alloc::collections::BTreeMap;

use crate::ids::{ExchangeId, TaskId};

/// What registries meter apart: Docker Hub counts GETs of manifests only. A `Retry-After` in one lane does not close the
/// other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Lane {
    /// GETs of manifests.
    Manifests,
    /// Everything else.
    Rest,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Manifests, Self::Rest];
}

/// A double-ended queue for each task, whose entries can be removed by their position, in logarithmic time, and which
/// can pass over the entries of a lane.
#[derive(Debug, Default)]
pub(super) struct Line([BTreeMap<Position, ExchangeId>; 2]);

/// Where in its line an exchange is. Meaningless in any other line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Position {
    task: TaskId,
    /// Counted over both lanes.
    at: i64,
    lane: Lane,
}

impl Position {
    pub(super) const fn lane(self) -> Lane {
        self.lane
    }
}

impl Line {
    pub(super) const fn new() -> Self {
        Self([BTreeMap::new(), BTreeMap::new()])
    }

    pub(super) fn push_back(&mut self, task: TaskId, lane: Lane, id: ExchangeId) -> Position {
        let last = Lane::ALL.map(|lane| self.of(task, lane).next_back());
        let at = last.into_iter().flatten().max().map_or(0, |last| last + 1);
        self.insert(Position { task, at, lane }, id)
    }

    pub(super) fn push_front(&mut self, task: TaskId, lane: Lane, id: ExchangeId) -> Position {
        let first = Lane::ALL.map(|lane| self.of(task, lane).next());
        let at = first.into_iter().flatten().min().map_or(0, |it| it - 1);
        self.insert(Position { task, at, lane }, id)
    }

    /// Takes the first entry of those lanes that are open.
    pub(super) fn pop_front(&mut self, is_open: impl Fn(Lane) -> bool) -> Option<ExchangeId> {
        let open = Lane::ALL.into_iter().filter(|lane| is_open(*lane));
        let first = open.filter_map(|lane| self.0[lane as usize].first_key_value());
        let position = *first.min()?.0;
        self.0[position.lane as usize].remove(&position)
    }

    pub(super) fn remove(&mut self, position: Position) {
        self.0[position.lane as usize].remove(&position);
    }

    /// Whether there is no entry of a lane.
    pub(super) fn is_empty(&self, lane: Lane) -> bool {
        self.0[lane as usize].is_empty()
    }

    /// All of a lane, in their order.
    pub(super) fn ids(&self, lane: Lane) -> impl Iterator<Item = ExchangeId> {
        self.0[lane as usize].values().copied()
    }

    fn of(&self, task: TaskId, lane: Lane) -> impl DoubleEndedIterator<Item = i64> {
        let position = |at| Position { task, at, lane };
        let positions = self.0[lane as usize].range(position(i64::MIN)..=position(i64::MAX));
        positions.map(|(position, _)| position.at)
    }

    fn insert(&mut self, position: Position, id: ExchangeId) -> Position {
        self.0[position.lane as usize].insert(position, id);
        position
    }
}

#[cfg(test)]
mod tests {
    use super::Lane::{Manifests, Rest};
    use super::*;

    #[test]
    fn both_ends_and_the_middle() {
        let mut line = Line::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(ExchangeId);
        let task = TaskId(1);
        line.push_back(task, Rest, a);
        let second = line.push_back(task, Manifests, b);
        line.push_back(task, Manifests, c);
        line.push_front(task, Manifests, d);
        line.remove(second);
        assert_eq!(all(&mut line, &Lane::ALL), [d, a, c]);
        assert!(Lane::ALL.into_iter().all(|lane| line.is_empty(lane)));
    }

    #[test]
    fn an_older_task_goes_first() {
        let mut line = Line::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(ExchangeId);
        let (old, new) = (TaskId(1), TaskId(2));
        line.push_back(new, Rest, a);
        line.push_front(new, Rest, b);
        line.push_back(old, Manifests, c);
        line.push_back(old, Rest, d);
        assert_eq!(all(&mut line, &Lane::ALL), [c, d, b, a]);
    }

    #[test]
    fn a_closed_lane_is_passed_over_and_keeps_its_order() {
        let mut line = Line::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(ExchangeId);
        let task = TaskId(1);
        line.push_back(task, Manifests, a);
        line.push_back(task, Rest, b);
        line.push_back(task, Manifests, c);
        assert_eq!(all(&mut line, &[Rest]), [b]);
        assert!(line.is_empty(Rest) && !line.is_empty(Manifests));
        line.push_back(task, Rest, d);
        assert_eq!(all(&mut line, &Lane::ALL), [a, c, d]);
    }

    fn all(line: &mut Line, open: &[Lane]) -> alloc::vec::Vec<ExchangeId> {
        core::iter::from_fn(|| line.pop_front(|lane| open.contains(&lane))).collect()
    }
}
