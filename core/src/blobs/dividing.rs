//! The transfers of which further parts may be asked for.
//!
//! Responsible for finding those that could begin one without looking at all that wait for a slot of the same host.
//! Must not know parts (`parts`), nor slots.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::ids::TransferId;
use crate::registry::Origin;

/// The host that parts come from; `None` if it may be one of several.
type SourceHost = Option<Origin>;

/// Transfers, by the host that their parts come from.
#[derive(Debug, Default)]
pub(super) struct Dividing {
    hosts: BTreeMap<SourceHost, BTreeSet<TransferId>>,
    from: BTreeMap<TransferId, SourceHost>,
}

impl Dividing {
    /// Adds a transfer, if it is not there.
    pub(super) fn insert(&mut self, id: TransferId, from: SourceHost) {
        if self.from.get(&id) == Some(&from) {
            return;
        }
        self.remove(id);
        self.hosts.entry(from.clone()).or_default().insert(id);
        self.from.insert(id, from);
    }

    /// Removes a transfer, if it is there.
    pub(super) fn remove(&mut self, id: TransferId) {
        let Some(from) = self.from.remove(&id) else {
            return;
        };
        if let Some(transfers) = self.hosts.get_mut(&from) {
            transfers.remove(&id);
            if transfers.is_empty() {
                self.hosts.remove(&from);
            }
        }
    }

    /// The oldest transfer of each host.
    pub(super) fn oldest(&self) -> BTreeSet<(TransferId, SourceHost)> {
        let hosts = self.hosts.iter();
        let oldest = hosts.filter_map(|(from, transfers)| Some((*transfers.first()?, from)));
        oldest.map(|(id, from)| (id, from.clone())).collect()
    }

    /// The next younger one of the same host.
    pub(super) fn after(
        &self,
        id: TransferId,
        from: SourceHost,
    ) -> Option<(TransferId, SourceHost)> {
        let younger = TransferId(id.0.checked_add(1)?);
        let next = self.hosts.get(&from)?.range(younger..).next();
        next.map(|next| (*next, from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_its_transfers_in_their_order() {
        let origin = |name: &str| Some(name.parse().expect("an origin"));
        let (one, two) = (origin("https://one.example"), origin("https://two.example"));
        let ids = [0, 1, 2, 3, 4].map(TransferId);
        let mut dividing = Dividing::default();
        for (id, from) in ids.into_iter().zip([&two, &one, &two, &None, &two]) {
            dividing.insert(id, from.clone());
        }
        let oldest = BTreeSet::from([(ids[0], two.clone()), (ids[1], one.clone()), (ids[3], None)]);
        assert_eq!(dividing.oldest(), oldest);
        assert_eq!(
            dividing.after(ids[0], two.clone()),
            Some((ids[2], two.clone()))
        );
        assert_eq!(dividing.after(ids[1], one.clone()), None);
        // The parts of one come from another host now, and another one is over.
        dividing.insert(ids[2], one.clone());
        dividing.remove(ids[0]);
        let next = dividing.after(ids[0], two.clone());
        assert_eq!(next, Some((ids[4], two)));
        assert_eq!(dividing.after(ids[1], one.clone()), Some((ids[2], one)));
        ids.into_iter().for_each(|id| dividing.remove(id));
        assert!(dividing.hosts.is_empty() && dividing.from.is_empty());
    }
}
