//! A line of exchanges that is cheap at both ends and in the middle.
//!
//! Responsible for order alone. Must not know what the exchanges wait for.

use alloc::collections::BTreeMap;

use crate::ids::ExchangeId;

/// A double-ended queue whose entries can be removed by their place, in logarithmic time.
#[derive(Debug, Default)]
pub(super) struct Line(BTreeMap<Place, ExchangeId>);

/// Where in its line an exchange is. Meaningless in any other line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place(i64);

impl Line {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn push_back(&mut self, id: ExchangeId) -> Place {
        let place = self
            .0
            .last_key_value()
            .map_or(0, |(Place(last), _)| last + 1);
        self.insert(Place(place), id)
    }

    pub(super) fn push_front(&mut self, id: ExchangeId) -> Place {
        let place = self
            .0
            .first_key_value()
            .map_or(0, |(Place(first), _)| first - 1);
        self.insert(Place(place), id)
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
        line.push_back(a);
        let second = line.push_back(b);
        line.push_back(c);
        line.push_front(d);
        line.remove(second);
        let all: alloc::vec::Vec<_> = core::iter::from_fn(|| line.pop_front()).collect();
        assert_eq!(all, [d, a, c]);
        assert!(line.is_empty());
    }
}
