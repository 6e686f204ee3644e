//! Maps a question or an exchange in flight to the exchanges waiting for it.
//!
//! Responsible for whose a job is if several exchanges wait for it, and for not fetching what none
//! waits for. Must not know how blobs and manifests share exchanges (`blobs`).

use super::{Exchanges, Purpose};
use crate::auth::AuthInput;
use crate::ids::{ExchangeId, JobId, Owner, TaskId};

impl Exchanges {
    /// Which exchanges wait for the answer to a question, by owner and task. One that this module
    /// began for itself has no owner.
    pub(crate) fn question_wanted_by(
        &self,
        job: JobId,
    ) -> impl Iterator<Item = (Option<Owner>, TaskId)> {
        let asking = self
            .questions
            .get(&job)
            .map(|key| self.broker.waiting_for_credentials(key));
        let asking = asking.into_iter().flatten();
        asking.filter_map(|id| self.wants(*id))
    }

    /// Which exchanges wait for the end of this one: itself, or those that wait for the token it
    /// fetches.
    pub(crate) fn wanted_by(
        &self,
        id: ExchangeId,
    ) -> impl Iterator<Item = (Option<Owner>, TaskId)> {
        let exchange = self.exchanges.get(&id);
        let (itself, waiting) = match exchange.map(|exchange| &exchange.purpose) {
            Some(Purpose::Token(key)) => (None, self.broker.waiting_for_token(key)),
            Some(Purpose::Owner(_) | Purpose::Probe | Purpose::Ping | Purpose::Cleanup) | None => {
                (Some(id), &[][..])
            }
        };
        let all = itself.into_iter().chain(waiting.iter().copied());
        all.filter_map(|id| self.wants(id))
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
