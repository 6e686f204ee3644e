//! A store in memory: what [`World`](super::World) gives its tasks.
//!
//! Responsible for being a [`Store`] like any other, with partials that have one owner. Whoever
//! holds a [`Partial`] of it outside of the session plays the other process.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::{Descriptor, Digest, StoreError, StoreErrorKind};
use windlass_store::{Begun, Partial, Store};

/// A store in memory. Clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    blobs: BTreeMap<Digest, Vec<u8>>,
    partials: BTreeMap<Digest, Partly>,
    names: Vec<(Option<String>, Descriptor)>,
}

#[derive(Clone, Default)]
struct Partly {
    bytes: Vec<u8>,
    taken: bool,
}

impl Memory {
    /// Puts bytes in as a complete blob.
    pub fn blob(&self, digest: &Digest, bytes: &[u8]) {
        self.lock().blobs.insert(digest.clone(), bytes.to_vec());
    }

    /// Leaves a partial behind, as an earlier process would.
    pub fn partial(&self, digest: &Digest, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        let partly = Partly {
            bytes,
            taken: false,
        };
        self.lock().partials.insert(digest.clone(), partly);
    }

    /// The complete blobs.
    pub fn blobs(&self) -> BTreeMap<Digest, Vec<u8>> {
        self.lock().blobs.clone()
    }

    /// How far the partials are, by digest.
    pub fn partials(&self) -> BTreeMap<Digest, usize> {
        let contents = self.lock();
        let partials = contents.partials.iter();
        partials
            .map(|(digest, partly)| (digest.clone(), partly.bytes.len()))
            .collect()
    }

    /// The digests of partials that somebody owns.
    pub fn taken(&self) -> Vec<Digest> {
        let contents = self.lock();
        let taken = contents.partials.iter().filter(|(_, partly)| partly.taken);
        taken.map(|(digest, _)| digest.clone()).collect()
    }

    /// Changes the bytes of a partial that nobody owns, as a crash may.
    pub fn edit_partial(&self, digest: &Digest, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut contents = self.lock();
        if let Some(partly) = contents.partials.get_mut(digest).filter(|it| !it.taken) {
            edit(&mut partly.bytes);
        }
    }

    /// The names and what they stand for.
    pub fn names(&self) -> Vec<(Option<String>, Descriptor)> {
        self.lock().names.clone()
    }

    /// The bytes of a complete blob.
    pub fn bytes(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.lock().blobs.get(digest).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} blobs)", self.lock().blobs.len())
    }
}

impl Store for Memory {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        if self.contains(digest, size)? {
            return Ok(Begun::Complete);
        }
        let mut contents = self.lock();
        let partly = contents.partials.entry(digest.clone()).or_default();
        if partly.taken {
            let len = partly.bytes.len() as u64;
            return Ok(Begun::Busy { len });
        }
        partly.taken = true;
        Ok(Begun::Ours(Box::new(Open {
            memory: self.clone(),
            digest: digest.clone(),
            shared: true,
            bytes: partly.bytes.clone(),
        })))
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        if self.contains(digest, size)? {
            return Ok(Begun::Complete);
        }
        Ok(Begun::Ours(Box::new(Open {
            memory: self.clone(),
            digest: digest.clone(),
            shared: false,
            bytes: Vec::new(),
        })))
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let contents = self.lock();
        let blob = contents.blobs.get(digest);
        Ok(blob.is_some_and(|bytes| bytes.len() as u64 == size))
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let Some(bytes) = self.lock().blobs.get(digest).cloned() else {
            return Ok(None);
        };
        let mut cursor = Cursor::new(bytes);
        cursor.set_position(offset);
        Ok(Some(Box::new(cursor)))
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.blob(digest, bytes);
        Ok(())
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.lock().blobs.remove(digest);
        Ok(())
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        let contents = self.lock();
        let entries: Vec<&Descriptor> = contents
            .names
            .iter()
            .filter(|(known, _)| name.is_none() || known.as_deref() == name)
            .map(|(_, descriptor)| descriptor)
            .collect();
        match entries.as_slice() {
            [only] => Ok((*only).clone()),
            [] => Err(StoreError::new(StoreErrorKind::NoSuchName, "no such name")),
            _ => Err(StoreError::new(
                StoreErrorKind::Ambiguous,
                "several entries",
            )),
        }
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        let mut contents = self.lock();
        contents.names.retain(|(known, old)| match name {
            Some(_) => known.as_deref() != name,
            None => old.digest != descriptor.digest,
        });
        let entry = (name.map(ToOwned::to_owned), descriptor.clone());
        contents.names.push(entry);
        Ok(())
    }
}

/// An open partial; its bytes are seen by others once it is written to.
#[derive(Debug)]
struct Open {
    memory: Memory,
    digest: Digest,
    shared: bool,
    bytes: Vec<u8>,
}

impl Open {
    fn publish(&self, taken: bool) {
        if self.shared {
            let bytes = self.bytes.clone();
            let partly = Partly { bytes, taken };
            self.memory
                .lock()
                .partials
                .insert(self.digest.clone(), partly);
        }
    }
}

impl Partial for Open {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&mut self) -> Result<Box<dyn Read + '_>, StoreError> {
        Ok(Box::new(self.bytes.as_slice()))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(bytes);
        self.publish(true);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.bytes.truncate(len.try_into().unwrap_or(usize::MAX));
        self.publish(true);
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let bytes = std::mem::take(&mut self.bytes);
        // The name first: a blob is committed once, by bytes that are its own.
        let found = Digest::of(
            self.digest.algorithm().expect("only these are begun"),
            &bytes,
        );
        assert_eq!(found, self.digest, "bytes were committed unverified");
        self.memory.blob(&self.digest, &bytes);
        if self.shared {
            self.memory.lock().partials.remove(&self.digest);
            self.shared = false;
        }
        Ok(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.publish(false);
    }
}
