//! What is left of a budget that the user has given: a number of requests in any span of a length.
//!
//! Responsible for counting, and for who was told that it waits. Must not know what the requests are for.

use alloc::collections::{BTreeSet, VecDeque};

use crate::config::Budget;
use crate::ids::TaskId;
use crate::time::Time;

/// The requests of one host that its budget counts. Without a budget it counts none.
#[derive(Debug)]
pub(super) struct Spending {
    budget: Option<Budget>,
    /// When they went out, as far as they count: at most as many as the budget has. Only with the time of each is it
    /// certain that no span has more than it may.
    sent: VecDeque<Time>,
    /// The tasks that were told that they wait.
    told: BTreeSet<TaskId>,
}

impl Spending {
    pub(super) const fn new(budget: Option<Budget>) -> Self {
        Self {
            budget,
            sent: VecDeque::new(),
            told: BTreeSet::new(),
        }
    }

    /// A request goes out.
    pub(super) fn spend(&mut self, now: Time) {
        if self.budget.is_some() {
            self.sent.push_back(now);
        }
    }

    /// The request that went out then does not count.
    pub(super) fn refund(&mut self, sent: Time) {
        if let Ok(at) = self.sent.binary_search(&sent) {
            self.sent.remove(at);
        }
    }

    /// What went out long enough ago does not count any more.
    pub(super) fn renew(&mut self, now: Time) {
        let before = self.sent.len();
        while let Some(over) = self.over(self.sent.front())
            && over <= now
        {
            self.sent.pop_front();
        }
        if self.sent.len() < before {
            self.told.clear();
        }
    }

    /// Notes that this task is told of the pause; false if it was told before.
    pub(super) fn is_news_for(&mut self, task: TaskId) -> bool {
        self.told.insert(task)
    }

    /// When there is something left again, if nothing is left.
    pub(super) fn opens_at(&self) -> Option<Time> {
        let most = self.budget?.requests.max(1) as usize;
        // Of more than it has, those that went out first do not matter.
        let before = self.sent.len().checked_sub(most)?;
        self.over(self.sent.get(before))
    }

    /// Whether nothing counts any more.
    pub(super) fn is_idle(&self, now: Time) -> bool {
        self.over(self.sent.back()).is_none_or(|over| over <= now)
    }

    /// When a request does not count any more.
    fn over(&self, sent: Option<&Time>) -> Option<Time> {
        Some(*sent? + self.budget?.per)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn spending(requests: u32, seconds: u64) -> Spending {
        Spending::new(Some(Budget::new(requests, Duration::from_secs(seconds))))
    }

    /// Any span of ten seconds has at most two, not only those that begin with a request.
    #[test]
    fn no_span_has_more_than_the_budget() {
        let mut spending = spending(2, 10);
        assert!(spending.is_idle(at(0)));
        spending.spend(at(0));
        assert_eq!(spending.opens_at(), None);
        spending.spend(at(9));
        assert_eq!(spending.opens_at(), Some(at(10)));
        spending.renew(at(9));
        assert_eq!(spending.opens_at(), Some(at(10)), "too early");
        spending.renew(at(10));
        assert_eq!(spending.opens_at(), None);
        spending.spend(at(10));
        assert_eq!(spending.opens_at(), Some(at(19)));
        assert!(!spending.is_idle(at(19)) && spending.is_idle(at(20)));
    }

    #[test]
    fn what_is_given_back_does_not_count() {
        let mut spending = spending(1, 10);
        spending.spend(at(3));
        spending.refund(at(2));
        assert_eq!(spending.opens_at(), Some(at(13)));
        spending.refund(at(3));
        spending.refund(at(3));
        assert_eq!(spending.opens_at(), None);
    }

    #[test]
    fn a_task_is_told_once_per_pause() {
        let mut spending = spending(1, 10);
        spending.spend(at(0));
        assert!(spending.is_news_for(TaskId(1)));
        assert!(!spending.is_news_for(TaskId(1)));
        assert!(spending.is_news_for(TaskId(2)));
        spending.renew(at(10));
        assert!(spending.is_news_for(TaskId(1)));
    }

    #[test]
    fn without_a_budget_nothing_counts() {
        let mut spending = Spending::new(None);
        spending.spend(at(0));
        assert_eq!((spending.sent.len(), spending.opens_at()), (0, None));
    }
}
