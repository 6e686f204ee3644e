//! The store that [`World`](super::World) gives its tasks: [`windlass_store::Memory`], which is told what to hold
//! and checks what is committed.
//!
//! A test that holds a [`Partial`] of it acts as another process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::{Descriptor, Digest, StoreError};
use windlass_store::{Begun, Partial, Store};

/// More than any test stores.
const LIMIT: u64 = 1 << 32;

/// A store in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    store: windlass_store::Memory,
    /// Blobs that were begun and not committed, also those of which nothing came.
    begun: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            store: windlass_store::Memory::new(LIMIT),
            begun: Arc::default(),
        }
    }
}

impl Memory {
    /// Puts bytes in as a complete blob, whatever their digest is.
    pub fn blob(&self, digest: &Digest, bytes: &[u8]) {
        self.store.put(digest, bytes).expect("it is far from full");
    }

    /// Leaves a partial behind, as an earlier process would.
    pub fn partial(&self, digest: &Digest, bytes: &[u8]) {
        self.begun().insert(digest.clone());
        self.edit_partial(digest, |partial| *partial = bytes.to_vec());
    }

    /// Leaves a partial behind that has a gap, as an earlier process that fetched in parts would.
    pub fn partial_with_gap(&self, digest: &Digest, bytes: &[u8], gap: Range<usize>) {
        self.begun().insert(digest.clone());
        let begun = self.store.begin(digest, bytes.len() as u64);
        let Ok(Begun::Ours(mut partial)) = begun else {
            panic!("no other process is at it: {begun:?}")
        };
        let stored = partial.append(&bytes[..gap.start]);
        stored.expect("it is far from full");
        let stored = partial.write_at(gap.end as u64, &bytes[gap.end..]);
        stored.expect("it is far from full");
    }

    /// The complete blobs.
    pub fn blobs(&self) -> BTreeMap<Digest, Vec<u8>> {
        let digests = self.store.digests().into_iter();
        digests
            .filter_map(|digest| Some((digest.clone(), self.bytes(&digest)?)))
            .collect()
    }

    /// How far the partials are, by digest.
    pub fn partials(&self) -> BTreeMap<Digest, usize> {
        let begun = self.begun().clone().into_iter();
        let mut partials: BTreeMap<Digest, usize> = begun.map(|digest| (digest, 0)).collect();
        for partial in self.store.partials() {
            let len = partial.len.try_into().expect("it is in memory");
            partials.insert(partial.digest, len);
        }
        partials
    }

    /// How many bytes blobs and partials have, also behind gaps.
    pub fn used(&self) -> u64 {
        self.store.used()
    }

    /// The digests of partials that somebody owns.
    pub fn taken(&self) -> Vec<Digest> {
        let partials = self.store.partials().into_iter();
        let taken = partials.filter(|partial| partial.is_owned);
        taken.map(|partial| partial.digest).collect()
    }

    /// Changes the bytes of a partial without an owner, as a crash may.
    pub fn edit_partial(&self, digest: &Digest, edit: impl FnOnce(&mut Vec<u8>)) {
        // No blob has this size.
        let Ok(Begun::Ours(mut partial)) = self.store.begin(digest, LIMIT) else {
            return;
        };
        let mut bytes = read(&mut *partial);
        edit(&mut bytes);
        let replaced = partial.truncate(0).and_then(|()| partial.append(&bytes));
        replaced.expect("it is far from full");
    }

    /// The names and what they stand for.
    pub fn names(&self) -> Vec<(Option<String>, Descriptor)> {
        self.store.names()
    }

    /// The bytes of a complete blob.
    pub fn bytes(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.store.blob(digest).map(|bytes| bytes.to_vec())
    }

    fn begun(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self, digest: &Digest, begun: Begun, is_shared: bool) -> Begun {
        let Begun::Ours(partial) = begun else {
            return begun;
        };
        if is_shared {
            self.begun().insert(digest.clone());
        }
        Begun::Ours(Box::new(Checked {
            partial,
            memory: self.clone(),
            digest: digest.clone(),
            is_shared,
        }))
    }
}

fn read(partial: &mut dyn Partial) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut source = partial.read(0).expect("it is in memory");
    source.read_to_end(&mut bytes).expect("it is in memory");
    bytes
}

impl Store for Memory {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        let begun = self.store.begin(digest, size)?;
        Ok(self.checked(digest, begun, true))
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        let begun = self.store.begin_private(digest, size)?;
        Ok(self.checked(digest, begun, false))
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.store.contains(digest, size)
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.store.open(digest, offset)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.store.remove(digest)
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.store.find(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.store.tag(name, descriptor)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        self.store.referrers(subject)
    }

    fn add_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<(), StoreError> {
        self.store.add_referrers(subject, entries)
    }
}

/// A partial that panics if it is committed with other bytes than its digest's.
#[derive(Debug)]
struct Checked {
    partial: Box<dyn Partial>,
    memory: Memory,
    digest: Digest,
    is_shared: bool,
}

impl Partial for Checked {
    fn len(&self) -> u64 {
        self.partial.len()
    }

    fn read(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, StoreError> {
        self.partial.read(offset)
    }

    fn extents(&self) -> Vec<Range<u64>> {
        self.partial.extents()
    }

    fn is_append_only(&self) -> bool {
        self.partial.is_append_only()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.partial.append(bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.partial.write_at(offset, bytes)
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.partial.truncate(len)
    }

    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let bytes = read(&mut *self.partial);
        assert!(
            self.digest.verifies(&bytes),
            "bytes were committed unverified"
        );
        if self.is_shared {
            self.memory.begun().remove(&self.digest);
        }
        self.partial.commit()
    }
}
