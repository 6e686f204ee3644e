//! Whose turn it is to write a referrers list.
//!
//! Responsible for one writer at a time per list: of two that read the same list, one would replace
//! what the other wrote. Must not know what is in a list.

use alloc::collections::{BTreeMap, VecDeque};

use crate::ids::{NodeId, TaskId};
use crate::op::Site;
use crate::reference::Tag;

/// A referrers list: its tag in a repository.
pub(crate) type ListKey = (Site, Tag);

/// A manifest that is to be in a list.
pub(crate) type Writer = (TaskId, NodeId);

/// The lists that are being written, each with its writers in line: the first one writes.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    lines: BTreeMap<ListKey, VecDeque<Writer>>,
    /// Writers that have become the first ones.
    turns: VecDeque<Writer>,
}

impl Lists {
    /// Gets in line. The turn comes by [`take_turn`](Self::take_turn).
    pub(crate) fn join(&mut self, key: ListKey, writer: Writer) {
        let line = self.lines.entry(key).or_default();
        line.push_back(writer);
        if line.len() == 1 {
            self.turns.push_back(writer);
        }
    }

    /// Leaves the line, if this writer is in it.
    pub(crate) fn leave(&mut self, key: &ListKey, writer: Writer) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let led = line.front() == Some(&writer);
        line.retain(|other| *other != writer);
        match line.front() {
            Some(next) if led => self.turns.push_back(*next),
            Some(_) => {}
            None => drop(self.lines.remove(key)),
        }
    }

    /// Leaves the line unless it is this writer's turn: then a request may be in flight.
    pub(crate) fn leave_unless_first(&mut self, key: &ListKey, writer: Writer) {
        let first = self.lines.get(key).and_then(VecDeque::front);
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
        let mut lists = Lists::default();
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
}
