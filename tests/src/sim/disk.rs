//! A store that can be told to fail, and that notes what is done to it.
//!
//! Responsible for faults below the [`Store`] trait (no space, failed syncs, bytes that turned) and for counting
//! bytes and commits. The bytes themselves are a [`Memory`]'s. Must not decide when something fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::{Descriptor, Digest, StoreError, StoreErrorKind};
use windlass_store::{Begun, Partial, Store};

use crate::world::Memory;

/// A store. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) memory: Memory,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Bytes that were appended to partials.
    pub(crate) appended: u64,
    /// Sizes of blobs that were begun apart from their owner.
    pub(crate) apart: u64,
    /// Something was named.
    pub(crate) named: bool,
    /// Documents that were put.
    pub(crate) put: Vec<Digest>,
    /// Blobs that were removed, and their sizes.
    pub(crate) removed: Vec<(Digest, u64)>,
    /// A blob that was committed though it was there.
    pub(crate) twice: Option<Digest>,
    /// A blob that was to be committed though its bytes are others.
    pub(crate) unverified: Option<Digest>,
    /// How many more bytes fit.
    pub(crate) room: Option<u64>,
    /// Flip a byte in what is read.
    pub(crate) flips: bool,
    /// Fail to sync what is to get a name.
    pub(crate) sync_fails: bool,
    /// What could not be synced and was not written again since then.
    pub(crate) unsynced: BTreeSet<Digest>,
    committed: BTreeMap<Digest, ()>,
    private: BTreeMap<Digest, ()>,
}

impl Disk {
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrap(&self, digest: &Digest, begun: Begun) -> Begun {
        match begun {
            Begun::Ours(partial) => Begun::Ours(Box::new(Open {
                partial,
                disk: self.clone(),
                digest: digest.clone(),
            })),
            other => other,
        }
    }
}

impl Disk {
    /// What every store has to do before it gives a name. That of an image has no digest.
    fn sync(&self, digest: Option<&Digest>) -> Result<(), StoreError> {
        let mut notes = self.notes();
        let Some(digest) = digest else {
            return failed_sync(notes.sync_fails);
        };
        if !notes.sync_fails {
            notes.unsynced.remove(digest);
        } else if self.memory.bytes(digest).is_none() {
            notes.unsynced.insert(digest.clone());
        }
        failed_sync(notes.sync_fails)
    }
}

fn failed_sync(fails: bool) -> Result<(), StoreError> {
    if fails {
        return Err(StoreError::new(StoreErrorKind::Io, "sync: planned"));
    }
    Ok(())
}

impl Store for Disk {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        Ok(self.wrap(digest, self.memory.begin(digest, size)?))
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        let begun = self.memory.begin_private(digest, size)?;
        if let Begun::Ours(_) = begun {
            let mut notes = self.notes();
            notes.apart += size;
            notes.private.insert(digest.clone(), ());
        }
        Ok(self.wrap(digest, begun))
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.memory.contains(digest, size)
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let Some(mut source) = self.memory.open(digest, offset)? else {
            return Ok(None);
        };
        if !self.notes().flips {
            return Ok(Some(source));
        }
        let mut bytes = Vec::new();
        let read = source.read_to_end(&mut bytes);
        read.map_err(|error| StoreError::new(StoreErrorKind::Io, error.to_string()))?;
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        Ok(Some(Box::new(Cursor::new(bytes))))
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.sync(Some(digest))?;
        self.notes().put.push(digest.clone());
        self.memory.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let size = self.memory.bytes(digest).map_or(0, |it| it.len() as u64);
        let mut notes = self.notes();
        notes.committed.remove(digest);
        notes.removed.push((digest.clone(), size));
        drop(notes);
        self.memory.remove(digest)
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.memory.find(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.sync(None)?;
        self.notes().named = true;
        self.memory.tag(name, descriptor)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        self.memory.referrers(subject)
    }

    fn add_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<(), StoreError> {
        self.sync(None)?;
        self.notes().named = true;
        self.memory.add_referrers(subject, entries)
    }
}

/// A partial whose store may run out of space.
#[derive(Debug)]
struct Open {
    partial: Box<dyn Partial>,
    disk: Disk,
    digest: Digest,
}

impl Partial for Open {
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
        self.write_at(self.len(), bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let room = self.disk.notes().room.unwrap_or(u64::MAX);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.partial.write_at(offset, &bytes[..fits])?;
        let mut notes = self.disk.notes();
        notes.appended += fits as u64;
        notes.room = notes.room.map(|room| room - fits as u64);
        if fits < bytes.len() {
            return Err(StoreError::new(StoreErrorKind::Full, "no space left"));
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.partial.truncate(len)
    }

    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        let read = self.partial.read(0)?.read_to_end(&mut bytes);
        read.expect("it is in memory");
        if !self.digest.verifies(&bytes) {
            self.disk.notes().unverified = Some(self.digest.clone());
            return Err(StoreError::new(StoreErrorKind::Damaged, "not these bytes"));
        }
        if let Err(error) = self.disk.sync(Some(&self.digest)) {
            // They are not gone on with: the system shows bytes that may never reach the disk.
            self.partial.truncate(0)?;
            return Err(error);
        }
        let mut notes = self.disk.notes();
        let before = notes.committed.insert(self.digest.clone(), ());
        if before.is_some() && !notes.private.contains_key(&self.digest) {
            notes.twice = Some(self.digest.clone());
        }
        drop(notes);
        self.partial.commit()
    }
}
