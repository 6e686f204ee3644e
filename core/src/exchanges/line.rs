//! A line of exchanges that is cheap at both ends and in the middle.
//!
//! Responsible for order alone: tasks in the order in which they began, so that many of them finish one after
//! the other. Must not know what the exchanges wait for.

use alloc::collections::BTreeMap;

use crate::ids::{ExchangeId, TaskId};

/// A double-ended queue for each task, whose entries can be removed by their place, in logarithmic time.
#[derive(Debug, Default)]
pub(super) struct Line(BTreeMap<Place, ExchangeId>);

/// Where in its line an exchange is. Meaningless in any other line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place(TaskId, i64);

impl Line {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn push_back(&mut self, task: TaskId, id: ExchangeId) -> Place {
        let last = self.of(task).next_back();
        let place = last.map_or(0, |Place(_, last)| last + 1);
        self.insert(Place(task, place), id)
    }

    pub(super) fn push_front(&mut self, task: TaskId, id: ExchangeId) -> Place {
        let first = self.of(task).next();
        let place = first.map_or(0, |Place(_, first)| first - 1);
        self.insert(Place(task, place), id)
    }

    pub(super) fn pop_front(&mut self) -> Option<ExchangeId> {
        self.0.pop_first().map(|(_, id)| id)
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.0.remove(&place);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, task: TaskId) -> impl DoubleEndedIterator<Item = &Place> {
        let places = Place(task, i64::MIN)..=Place(task, i64::MAX);
        self.0.range(places).map(|(place, _)| place)
    }

    fn insert(&mut self, place: Place, id: ExchangeId) -> Place {
        self.0.insert(place, id);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_and_the_middle() {
        let mut line = Line::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(ExchangeId);
        let task = TaskId(1);
        line.push_back(task, a);
        let second = line.push_back(task, b);
        line.push_back(task, c);
        line.push_front(task, d);
        line.remove(second);
        assert_eq!(all(&mut line), [d, a, c]);
        assert!(line.is_empty());
    }

    #[test]
    fn an_older_task_goes_first() {
        let mut line = Line::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(ExchangeId);
        let (old, new) = (TaskId(1), TaskId(2));
        line.push_back(new, a);
        line.push_front(new, b);
        line.push_back(old, c);
        line.push_back(old, d);
        assert_eq!(all(&mut line), [c, d, b, a]);
    }

    fn all(line: &mut Line) -> alloc::vec::Vec<ExchangeId> {
        core::iter::from_fn(|| line.pop_front()).collect()
    }
}
