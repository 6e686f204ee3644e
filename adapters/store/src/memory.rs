//! A store in memory.
//!
//! Responsible for blobs, partials and names within a limit on bytes. Must not verify what it is given: as with
//! every store, its caller has done that.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::referrers::is_digest_tag;
use windlass_core::{Descriptor, Digest, StoreError, StoreErrorKind};

use crate::referrers;
use crate::store::{Begun, Partial, Store};

/// How many names a store in memory has at the most.
const NAMES: usize = 100_000;

/// How many names an error lists.
const LISTED: usize = 20;

/// A store in memory, for images that are needed once, and for tests. Clones share it.
///
/// ```
/// use windlass_core::{Algorithm, Descriptor, Digest};
/// use windlass_store::{Begun, Memory, Store};
///
/// let memory = Memory::new(1 << 20);
/// let digest = Digest::of(Algorithm::Sha256, b"hello");
/// if let Begun::Ours(mut partial) = memory.begin(&digest, 5)? {
///     partial.append(b"hello")?;
///     partial.commit()?;
/// }
/// memory.tag(Some("v1"), &Descriptor::new("text/plain", digest.clone(), 5))?;
/// assert_eq!(memory.find(Some("v1"))?.digest, digest);
/// assert_eq!(memory.blob(&digest).as_deref().map(Vec::as_slice), Some(&b"hello"[..]));
/// # Ok::<(), windlass_core::StoreError>(())
/// ```
///
/// Blobs and partials together have at most as many bytes as [`new`](Self::new) is told. What would exceed that
/// fails with [`StoreErrorKind::Full`]. Nothing is removed unless [`Store::remove`] is called, and partials stay
/// until they are committed: a store is forgotten by dropping its last clone.
#[derive(Clone)]
pub struct Memory {
    contents: Arc<Mutex<Contents>>,
    /// Held while a referrers list is changed.
    lists: Arc<Mutex<()>>,
}

struct Contents {
    limit: u64,
    /// Bytes of blobs and partials.
    used: u64,
    blobs: BTreeMap<Digest, Arc<Vec<u8>>>,
    partials: BTreeMap<Digest, Slot>,
    names: Vec<(Option<String>, Descriptor)>,
}

/// A partial of which there is one per digest.
enum Slot {
    Free(Bytes),
    /// It has an owner, and this many bytes.
    Owned(u64),
}

/// The bytes of a partial.
#[derive(Default)]
struct Bytes {
    /// Those from the blob's first byte on.
    first: Vec<u8>,
    /// The parts behind a gap, by their offsets.
    apart: BTreeMap<u64, Vec<u8>>,
}

/// A partial of a [`Memory`], as [`Memory::partials`] lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MemoryPartial {
    /// Which blob.
    pub digest: Digest,
    /// Bytes from the blob's first byte on.
    pub len: u64,
    /// Whether it is being written.
    pub is_owned: bool,
}

impl Memory {
    /// An empty store for at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            contents: Arc::new(Mutex::new(Contents {
                limit,
                used: 0,
                blobs: BTreeMap::new(),
                partials: BTreeMap::new(),
                names: Vec::new(),
            })),
            lists: Arc::default(),
        }
    }

    /// The bytes of a complete blob.
    pub fn blob(&self, digest: &Digest) -> Option<Arc<Vec<u8>>> {
        self.lock().blobs.get(digest).cloned()
    }

    /// The digests of complete blobs, in order.
    pub fn digests(&self) -> Vec<Digest> {
        self.lock().blobs.keys().cloned().collect()
    }

    /// The partials, in the order of their digests. Private ones are not listed.
    pub fn partials(&self) -> Vec<MemoryPartial> {
        let contents = self.lock();
        let partials = contents.partials.iter();
        let listed = partials.map(|(digest, slot)| MemoryPartial {
            digest: digest.clone(),
            len: slot.len(),
            is_owned: matches!(slot, Slot::Owned(_)),
        });
        listed.collect()
    }

    /// The names and what they stand for, in the order in which they were given.
    pub fn names(&self) -> Vec<(Option<String>, Descriptor)> {
        self.lock().names.clone()
    }

    /// How many bytes blobs and partials have.
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // No change of the contents can panic half way.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_as(&self, digest: &Digest, size: u64, sort: Sort) -> Result<Begun, StoreError> {
        if digest.algorithm().is_none() {
            let why = format!("{digest} cannot be stored: its algorithm is unknown");
            return Err(StoreError::new(StoreErrorKind::Denied, why));
        }
        let mut contents = self.lock();
        if contents.has(digest, size) {
            return Ok(Begun::Complete);
        }
        if size > contents.limit {
            return Err(contents.full());
        }
        let bytes = match sort {
            Sort::Private => Bytes::default(),
            Sort::Shared => match contents.take_partial(digest) {
                Ok(bytes) => bytes,
                Err(len) => return Ok(Begun::Busy { len }),
            },
        };
        Ok(Begun::Ours(Box::new(Open {
            memory: self.clone(),
            digest: digest.clone(),
            sort,
            bytes: bytes.first,
            apart: bytes.apart,
        })))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = self.lock();
        f.debug_struct("Memory")
            .field("blobs", &contents.blobs.len())
            .field("used", &contents.used)
            .field("limit", &contents.limit)
            .finish_non_exhaustive()
    }
}

impl Contents {
    fn has(&self, digest: &Digest, size: u64) -> bool {
        let blob = self.blobs.get(digest);
        blob.is_some_and(|bytes| length(bytes) == size)
    }

    /// Takes the partial of a blob, empty if there was none. How long it is if it has an owner.
    fn take_partial(&mut self, digest: &Digest) -> Result<Bytes, u64> {
        let slot = self.partials.entry(digest.clone());
        let slot = slot.or_insert_with(|| Slot::Free(Bytes::default()));
        match slot {
            Slot::Free(bytes) => {
                let bytes = std::mem::take(bytes);
                *slot = Slot::Owned(length(&bytes.first));
                Ok(bytes)
            }
            Slot::Owned(len) => Err(*len),
        }
    }

    /// Accounts for `more` bytes.
    fn reserve(&mut self, more: u64) -> Result<(), StoreError> {
        let used = self.used.saturating_add(more);
        if used > self.limit {
            return Err(self.full());
        }
        self.used = used;
        Ok(())
    }

    fn insert(&mut self, digest: &Digest, bytes: Vec<u8>) {
        if let Some(before) = self.blobs.insert(digest.clone(), Arc::new(bytes)) {
            self.used -= length(&before);
        }
    }

    fn names_content(&self, descriptor: &Descriptor) -> bool {
        let mut entries = self.names.iter();
        entries.any(|(_, entry)| entry.digest == descriptor.digest)
    }

    fn full(&self) -> StoreError {
        let why = format!("the store in memory takes {} bytes at the most", self.limit);
        StoreError::new(StoreErrorKind::Full, why)
    }

    fn listed(&self) -> String {
        let names = self.names.iter().map(|(name, descriptor)| match name {
            Some(name) => format!("{name:?}"),
            None => descriptor.digest.to_string(),
        });
        let names: Vec<String> = names.take(LISTED).collect();
        match self.names.len() - names.len() {
            _ if names.is_empty() => "nothing".into(),
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }
}

impl Slot {
    fn len(&self) -> u64 {
        match self {
            Self::Free(bytes) => length(&bytes.first),
            Self::Owned(len) => *len,
        }
    }
}

impl Store for Memory {
    fn title(&self) -> String {
        "the store in memory".into()
    }

    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.begin_as(digest, size, Sort::Shared)
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.begin_as(digest, size, Sort::Private)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        Ok(self.lock().has(digest, size))
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let blob = self.blob(digest);
        Ok(blob.map(|blob| {
            let mut source = Cursor::new(Shared(blob));
            source.set_position(offset);
            let source: Box<dyn Read + Send> = Box::new(source);
            source
        }))
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let mut contents = self.lock();
        contents.reserve(length(bytes))?;
        contents.insert(digest, bytes.to_vec());
        Ok(())
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut contents = self.lock();
        if let Some(blob) = contents.blobs.remove(digest) {
            contents.used -= length(&blob);
        }
        Ok(())
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        let contents = self.lock();
        let entries = contents.names.iter();
        // A list of referrers is not what someone means who gives no name.
        let is_list = |known: &Option<String>| known.as_deref().is_some_and(is_digest_tag);
        let mut entries = entries.filter(|(known, _)| match name {
            Some(_) => known.as_deref() == name,
            None => !is_list(known),
        });
        match (entries.next(), entries.next()) {
            (Some((_, only)), None) => Ok(only.clone()),
            (None, _) => {
                let asked =
                    name.map_or_else(String::new, |name| format!("no entry is called {name:?}; "));
                let why = format!("{asked}the store in memory holds {}", contents.listed());
                Err(StoreError::new(StoreErrorKind::NoSuchName, why))
            }
            (Some(_), Some(_)) => {
                let why = format!("the store in memory holds {}", contents.listed());
                Err(StoreError::new(StoreErrorKind::Ambiguous, why))
            }
        }
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        let mut contents = self.lock();
        match name {
            Some(_) => contents.names.retain(|(known, _)| known.as_deref() != name),
            None if contents.names_content(descriptor) => return Ok(()),
            None => {}
        }
        if contents.names.len() >= NAMES {
            let why = format!("the store in memory has {NAMES} names, which is the most");
            return Err(StoreError::new(StoreErrorKind::Full, why));
        }
        let entry = (name.map(ToOwned::to_owned), descriptor.clone());
        contents.names.push(entry);
        Ok(())
    }

    fn add_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<(), StoreError> {
        let _writer = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        referrers::add(self, subject, entries)
    }
}

/// The bytes of a blob that is being read.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sort {
    /// The one partial of its digest, which others go on with.
    Shared,
    /// Forgotten when it is dropped.
    Private,
}

/// A partial that has an owner. Its bytes are here, and accounted for in the store.
struct Open {
    memory: Memory,
    digest: Digest,
    sort: Sort,
    bytes: Vec<u8>,
    /// The parts behind a gap, by their offsets.
    apart: BTreeMap<u64, Vec<u8>>,
}

impl Open {
    /// How many bytes it has in all.
    fn used(&self) -> u64 {
        length(&self.bytes) + self.apart.values().map(|part| length(part)).sum::<u64>()
    }

    /// Keeps bytes behind a gap.
    fn add_apart(&mut self, offset: u64, bytes: &[u8]) {
        let before = self.apart.range_mut(..offset).next_back();
        match before.filter(|(start, part)| **start + length(part) == offset) {
            Some((_, part)) => part.extend_from_slice(bytes),
            None => drop(self.apart.insert(offset, bytes.to_vec())),
        }
    }

    /// Tells the store how long it is.
    fn note_len(&self, contents: &mut Contents) {
        if self.sort == Sort::Shared {
            let slot = Slot::Owned(length(&self.bytes));
            contents.partials.insert(self.digest.clone(), slot);
        }
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("digest", &self.digest)
            .field("sort", &self.sort)
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Partial for Open {
    fn len(&self) -> u64 {
        length(&self.bytes)
    }

    fn read(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, StoreError> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(Box::new(self.bytes.get(offset..).unwrap_or_default()))
    }

    fn extents(&self) -> Vec<Range<u64>> {
        let first = (0, &self.bytes);
        let apart = self.apart.iter().map(|(offset, part)| (*offset, part));
        let mut extents: Vec<Range<u64>> = Vec::new();
        for (offset, part) in std::iter::once(first).chain(apart) {
            let end = offset + length(part);
            match extents.last_mut() {
                Some(before) if before.end == offset => before.end = end,
                _ if offset == end => {}
                Some(_) | None => extents.push(offset..end),
            }
        }
        extents
    }

    fn is_append_only(&self) -> bool {
        false
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_at(self.len(), bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(end) = offset.checked_add(length(bytes)) else {
            return Err(unwritable(offset, "the blob cannot be so long"));
        };
        let mut extents = self.extents().into_iter();
        if extents.any(|stored| stored.start < end && offset < stored.end) {
            return Err(unwritable(offset, "some of these bytes are stored"));
        }
        let memory = self.memory.clone();
        let mut contents = memory.lock();
        contents.reserve(length(bytes))?;
        if offset == self.len() {
            self.bytes.extend_from_slice(bytes);
        } else if !bytes.is_empty() {
            self.add_apart(offset, bytes);
        }
        while let Some(mut part) = self.apart.remove(&self.len()) {
            self.bytes.append(&mut part);
        }
        self.note_len(&mut contents);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        let memory = self.memory.clone();
        let mut contents = memory.lock();
        let before = self.used();
        let room = |offset| usize::try_from(len - offset).unwrap_or(usize::MAX);
        self.bytes.truncate(room(0));
        drop(self.apart.split_off(&len));
        if let Some(mut last) = self.apart.last_entry() {
            let room = room(*last.key());
            last.get_mut().truncate(room);
        }
        contents.used -= before - self.used();
        self.note_len(&mut contents);
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        if let Some(offset) = self.apart.keys().next() {
            let (digest, len) = (&self.digest, self.len());
            let why = format!("refused to commit {digest}: bytes {len} to {offset} are missing");
            return Err(StoreError::new(StoreErrorKind::Damaged, why));
        }
        let memory = self.memory.clone();
        let mut contents = memory.lock();
        contents.insert(&self.digest, std::mem::take(&mut self.bytes));
        // What is left is empty: dropping it removes the partial.
        drop(contents);
        Ok(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut contents = self.memory.lock();
        match self.sort {
            Sort::Private => contents.used -= self.used(),
            Sort::Shared if self.used() == 0 => {
                contents.partials.remove(&self.digest);
            }
            Sort::Shared => {
                let slot = Slot::Free(Bytes {
                    first: std::mem::take(&mut self.bytes),
                    apart: std::mem::take(&mut self.apart),
                });
                contents.partials.insert(self.digest.clone(), slot);
            }
        }
    }
}

fn unwritable(offset: u64, why: &str) -> StoreError {
    let why = format!("cannot write at byte {offset} of a partial: {why}");
    StoreError::new(StoreErrorKind::Unsupported, why)
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

#[cfg(test)]
mod tests;
