//! Several platforms of an index: which of its entries are copied. The index itself is copied as it is, and is then
//! sparse: it has entries that are not there (IDX-20).
//!
//! Responsible for the choice. Must not know how what was chosen is copied (`children`).

use alloc::collections::BTreeSet;

use super::fetch::choose;
use super::{CopyState, ROOT};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::ids::NodeId;
use crate::manifest::{Content, Document};
use crate::task::Platforms;

/// The annotation by which an entry says which other one it is about (IDX-13).
const ABOUT: &str = "vnd.docker.reference.digest";

/// What is copied of an index.
#[derive(Debug)]
pub(super) struct Chosen {
    entries: BTreeSet<Digest>,
    /// How many others it has.
    pub(super) others: u64,
}

impl CopyState {
    /// Chooses the entries of the root, if it is an index and several platforms are wanted: the best for each of them,
    /// and those that are about these, such as attestations.
    pub(super) fn choose_some(&mut self, root: &Document) -> Result<(), Error> {
        let (Platforms::Several(wanted), Content::Index(index)) = (&self.platforms, root.content())
        else {
            return Ok(());
        };
        let mut best = BTreeSet::new();
        for platform in wanted {
            best.insert(choose(platform, &index.manifests)?.digest);
        }
        let is_chosen = |entry: &&Descriptor| {
            let about = entry.annotations.get(ABOUT);
            let is_about = |digest: &Digest| about.is_some_and(|about| about == digest.as_str());
            best.contains(&entry.digest) || best.iter().any(is_about)
        };
        let entries = index.manifests.iter().filter(is_chosen);
        let entries: BTreeSet<Digest> = entries.map(|entry| entry.digest.clone()).collect();
        let is_other = |entry: &&Descriptor| !entries.contains(&entry.digest);
        let others = index.manifests.iter().filter(is_other).count() as u64;
        self.chosen = Some(Chosen { entries, others });
        Ok(())
    }

    /// Whether a child of a node is copied.
    pub(super) fn copies(&self, node: NodeId, child: &Digest) -> bool {
        let chosen = self.chosen.as_ref().filter(|_| node == ROOT);
        chosen.is_none_or(|chosen| chosen.entries.contains(child))
    }

    /// Whether a node may be at the destination without children that are wanted: another copy may have chosen others.
    pub(super) fn may_be_sparse(&self, node: NodeId) -> bool {
        node == ROOT && self.chosen.is_some()
    }
}
