//! Who waits for what is outside.
//!
//! Responsible for whose a job is if several exchanges wait for it, and for not fetching what none
//! waits for. Must not know how blobs and manifests share exchanges (`blobs`).

use alloc::vec::Vec;

use super::{Exchanges, Purpose};
use crate::auth::AuthInput;
use crate::ids::{ExchangeId, JobId, Owner, TaskId};

impl Exchanges {
    /// Which exchanges wait for the answer to a question, by owner and task. One that this module
    /// began for itself has no owner.
    pub(crate) fn question_wanted_by(&self, job: JobId) -> Vec<(Option<Owner>, TaskId)> {
        let Some(key) = self.questions.get(&job) else {
            return Vec::new();
        };
        let asking = self.broker.waiting_for_credentials(key);
        asking.iter().filter_map(|id| self.wants(*id)).collect()
    }

    /// Which exchanges wait for the end of this one: itself, or those that wait for the token it
    /// fetches.
    pub(crate) fn wanted_by(&self, id: ExchangeId) -> Vec<(Option<Owner>, TaskId)> {
        match self.exchanges.get(&id).map(|exchange| &exchange.purpose) {
            Some(Purpose::Token(key)) => {
                let waiting = self.broker.waiting_for_token(key);
                waiting.iter().filter_map(|id| self.wants(*id)).collect()
            }
            Some(Purpose::Owner(_) | Purpose::Probe | Purpose::Ping | Purpose::Cleanup) | None => {
                self.wants(id).into_iter().collect()
            }
        }
    }

    fn wants(&self, id: ExchangeId) -> Option<(Option<Owner>, TaskId)> {
        let exchange = self.exchanges.get(&id)?;
        match &exchange.purpose {
            Purpose::Owner(owner) => Some((Some(*owner), exchange.task)),
            Purpose::Probe | Purpose::Ping | Purpose::Cleanup => Some((None, exchange.task)),
            Purpose::Token(_) => None,
        }
    }

    /// Drops the request for a token that no exchange waits for.
    pub(super) fn drop_unwanted(&mut self, id: ExchangeId) -> bool {
        let Some(Purpose::Token(key)) = self.exchanges.get(&id).map(|exchange| &exchange.purpose)
        else {
            return false;
        };
        let waits = |id: &ExchangeId| self.exchanges.contains_key(id);
        if self.broker.waiting_for_token(key).iter().any(waits) {
            return false;
        }
        let key = key.clone();
        self.broker.handle(AuthInput::NotGranted(&key, None));
        self.remove(id);
        true
    }
}
