//! What refers to a manifest of a layout (LAY-16).
//!
//! No specification says how a layout lists that. regctl keeps an index under the name of the referrers tag, as in
//! registries without the referrers API; oras makes an entry without a name of each, which is found by reading all
//! entries. Both are read, and the first is written: oras finds it, too, because it follows indexes.
//!
//! Responsible for finding what either wrote, and for changing the list under a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use windlass_core::manifest::media_type::{OCI_ARTIFACT, is_manifest_type};
use windlass_core::{Algorithm, Descriptor, Digest, StoreError, StoreErrorKind, referrers};

use super::Layout;
use crate::referrers::{add, document, listed};

/// The entries with a subject, by that, in the `index.json` of this digest.
pub(super) type Subjects = Option<(Digest, BTreeMap<Digest, Vec<Descriptor>>)>;

impl Layout {
    pub(super) fn find_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let mut found = listed(self, subject)?;
        found.extend(self.entries_about(subject)?);
        let mut known = BTreeSet::new();
        found.retain(|entry| known.insert(entry.digest.clone()));
        Ok(found)
    }

    pub(super) fn add_to_list(
        &self,
        subject: &Digest,
        entries: &[Descriptor],
    ) -> Result<(), StoreError> {
        self.prepare()?;
        let _lock = self.lock(&self.private().join("referrers.lock"))?;
        add(self, subject, entries)
    }

    /// The entries of `index.json` that have this subject. All entries are read once for each `index.json`, as a
    /// copy asks for the referrers of many manifests.
    fn entries_about(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let version = Digest::of(Algorithm::Sha256, &self.read_index()?);
        let mut subjects = self
            .shared
            .subjects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_current = |known: &&(Digest, BTreeMap<_, _>)| known.0 == version;
        let (_, by_subject) = match subjects.take().filter(|known| is_current(&known)) {
            Some(known) => subjects.insert(known),
            None => subjects.insert((version, self.read_subjects()?)),
        };
        Ok(by_subject.get(subject).cloned().unwrap_or_default())
    }

    /// What cannot be read is left out: whether it refers to anything is not known, and the referrers of other
    /// images do not depend on it. `fsck` tells of it.
    fn read_subjects(&self) -> Result<BTreeMap<Digest, Vec<Descriptor>>, StoreError> {
        let mut by_subject: BTreeMap<_, Vec<Descriptor>> = BTreeMap::new();
        for entry in self.valid_entries()? {
            if !is_manifest_type(&entry.media_type) && entry.media_type != OCI_ARTIFACT {
                continue;
            }
            // A layout may lack content that it refers to (LAY-04).
            let document = match document(self, &entry) {
                Ok(Some(document)) => document,
                Ok(None) => continue,
                Err(error) if is_of_the_entry(error.kind()) => continue,
                Err(error) => return Err(error),
            };
            if let Some(subject) = referrers::subject(&document) {
                let referrer = referrers::entry(&document);
                by_subject
                    .entry(subject.digest.clone())
                    .or_default()
                    .push(referrer);
            }
        }
        Ok(by_subject)
    }
}

/// Whether an error concerns what an entry refers to, and not the layout.
fn is_of_the_entry(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Damaged | StoreErrorKind::TooLarge)
}
