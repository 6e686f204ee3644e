//! Who waits for what is outside.
//!
//! Responsible for whose a job is if several exchanges wait for it, and for not fetching what none
//! waits for. Must not know how blobs and manifests share exchanges (`blobs`).

use alloc::vec::Vec;

use super::{Exchanges, Purpose};
use crate::ids::{ExchangeId, JobId, Owner, TaskId};

impl Exchanges {
    /// For whom a job is outside: the exchanges that wait for its end, by owner and task. What the
    /// exchanges began for themselves has no owner.
    pub(crate) fn wanted_by(&self, job: JobId) -> Vec<(Option<&Owner>, TaskId)> {
        let of = |id: &ExchangeId| {
            let exchange = self.exchanges.get(id)?;
            match &exchange.purpose {
                Purpose::Owner(owner) => Some((Some(owner), exchange.task)),
                Purpose::Probe | Purpose::Ping | Purpose::Cleanup => Some((None, exchange.task)),
                Purpose::Token(_) => None,
            }
        };
        if let Some((registry, repository)) = self.questions.get(&job) {
            let asking = self.broker.asking(registry, repository);
            return asking.iter().filter_map(of).collect();
        }
        let Some(id) = self.outside.get(&job) else {
            return Vec::new();
        };
        match self.exchanges.get(id).map(|exchange| &exchange.purpose) {
            Some(Purpose::Token(key)) => self.broker.fetching(key).iter().filter_map(of).collect(),
            Some(Purpose::Owner(_) | Purpose::Probe | Purpose::Ping | Purpose::Cleanup) | None => {
                of(id).into_iter().collect()
            }
        }
    }

    /// A token that nobody waits for any more is not asked for.
    pub(super) fn drop_unwanted(&mut self, id: ExchangeId) -> bool {
        let Some(Purpose::Token(key)) = self.exchanges.get(&id).map(|exchange| &exchange.purpose)
        else {
            return false;
        };
        let waits = |id: &ExchangeId| self.exchanges.contains_key(id);
        if self.broker.fetching(key).iter().any(waits) {
            return false;
        }
        let key = key.clone();
        self.broker.not_granted(&key, None);
        self.remove(id);
        true
    }
}
