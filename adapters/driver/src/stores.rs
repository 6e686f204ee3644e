//! The stores a driver knows, and the partials its session holds open.
//!
//! Responsible for running a [`StoreCall`] against any [`Store`], and for partials that stay open
//! between two calls. The table's lock is never held while anything is read or written. A partial is
//! lent to several workers at once, which write to it one at a time, each for as long as a chunk takes.
//! Must not know what the session wants them for.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use windlass_core::call::{
    Body, Done, Interrupted, Outgoing, Source, TransportError, TransportErrorKind,
};
use windlass_core::{
    Digest, Hashing, StoreAnswer, StoreCall, StoreError, StoreErrorKind, StoreId, StoreOp,
};
use windlass_store::{Begun, Gathered, InUse, Partial, Store};

use crate::outgoing::OutgoingReader;

/// How much is read at once to be hashed or copied: enough that the system calls cost nothing
/// beside the hash, small enough for any stack of workers.
const CHUNK: usize = 256 * 1024;

/// By how much a document grows in memory while it is read: most have less.
const PIECE: usize = 16 * 1024;

/// The stores that a driver's session refers to by [`StoreId`], and the partials it holds open.
#[derive(Debug, Default)]
pub struct Stores {
    shared: Arc<Shared>,
}

impl Stores {
    /// Registers a store. The same store (by pointer) keeps its id as long as a task uses it.
    pub fn add(&self, store: &Arc<dyn Store>) -> StoreId {
        let mut table = self.shared.table();
        let next = StoreId(table.next);
        let id = *table.ids.entry(address(store)).or_insert(next);
        if id == next {
            table.next += 1;
        }
        let known = table.stores.entry(id).or_insert_with(|| Known {
            store: Arc::clone(store),
            users: 0,
            in_use: None,
            partials: HashMap::new(),
        });
        known.users += 1;
        id
    }

    /// Forgets a store that no task uses any more, once per `add`. Partials of it that are still
    /// held are released.
    pub fn forget(&self, store: StoreId) {
        // Dropped after the lock: closing files and removing a spool takes its time.
        let _known = {
            let mut table = self.shared.table();
            let Some(known) = table.stores.get_mut(&store) else {
                return;
            };
            known.users -= 1;
            if known.users > 0 {
                return;
            }
            let address = address(&known.store);
            table.ids.remove(&address);
            table.stores.remove(&store)
        };
    }

    /// Runs a step. Blocks.
    pub fn run(&self, call: StoreCall) -> Done {
        let answer = self.step(call.store(), call.op());
        call.finish(answer)
    }

    /// Whether the store has the blob that a request [needs](windlass_core::Call::stored).
    ///
    /// # Errors
    ///
    /// If the store cannot give the blob.
    pub fn check(&self, stored: Option<&(StoreId, Digest)>) -> Result<(), StoreError> {
        let Some((store, digest)) = stored else {
            return Ok(());
        };
        let store = self.shared.store(*store)?;
        let source = store.open(digest, 0)?;
        source.map(drop).ok_or_else(|| absent(digest, &*store))
    }

    /// Opens the bytes of a request's body; every byte is hashed by `outgoing`, and the last ones
    /// are held back until the digest matched.
    ///
    /// # Errors
    ///
    /// If the store cannot give the blob.
    pub fn outgoing(&self, body: &Body, outgoing: Outgoing) -> Result<OutgoingReader, StoreError> {
        let Source::Stored { store, digest } = &body.source else {
            let what = "the body of a relay is in no store";
            return Err(StoreError::new(StoreErrorKind::Unsupported, what));
        };
        let store = self.shared.store(*store)?;
        let source = store.open_to_send(digest, outgoing.size(), outgoing.position())?;
        let source = source.ok_or_else(|| absent(digest, &*store))?;
        Ok(OutgoingReader::new(source, digest, outgoing))
    }

    /// The same for a call's body and what the call says of it, if the digest can be hashed at all.
    ///
    /// # Errors
    ///
    /// If the body cannot be sent, with the end of the call.
    pub fn body(
        &self,
        body: &Body,
        outgoing: Option<Outgoing>,
    ) -> Result<OutgoingReader, Interrupted> {
        let Some(outgoing) = outgoing else {
            let why = "the digest algorithm of the blob is unknown";
            let why = TransportError::new(TransportErrorKind::Other, why);
            return Err(Interrupted::NotSent(why));
        };
        self.outgoing(body, outgoing).map_err(Interrupted::Store)
    }

    /// Lends a partial that is held.
    pub(crate) fn lease(&self, store: StoreId, digest: &Digest) -> Result<Lease, StoreError> {
        self.shared.lease(store, digest)
    }

    pub(crate) fn step(&self, id: StoreId, op: &StoreOp) -> Result<StoreAnswer, StoreError> {
        let store = self.shared.store(id)?;
        let begins_use = matches!(
            op,
            StoreOp::Begin { .. } | StoreOp::Put { .. } | StoreOp::Gather { .. }
        );
        if begins_use {
            self.shared.use_store(id, &*store)?;
        }
        match op {
            StoreOp::Begin {
                digest,
                size,
                private,
            } => self.begin(id, &*store, digest, *size, *private),
            StoreOp::Load { digest, limit } => load(&*store, digest, *limit),
            StoreOp::Put { digest, bytes } => {
                store.put(digest, bytes)?;
                Ok(StoreAnswer::Written)
            }
            StoreOp::Hash {
                digest,
                hashing,
                upto,
            } => {
                let lease = self.lease(id, digest)?;
                let hashing = hash_on(&lease, digest, hashing.clone(), *upto)?;
                Ok(StoreAnswer::Hashed(hashing))
            }
            StoreOp::Commit { digest, size } => {
                self.lease(id, digest)?.commit(digest, *size)?;
                self.shared.drop_partial(id, digest);
                Ok(StoreAnswer::Written)
            }
            StoreOp::Discard { digest } => {
                let lease = self.lease(id, digest)?;
                lease.with(|partial| partial.truncate(0))?;
                Ok(StoreAnswer::Written)
            }
            StoreOp::Release { digest } => {
                // A partial that is not held needs no release.
                self.shared.drop_partial(id, digest);
                Ok(StoreAnswer::Written)
            }
            StoreOp::Import { from, digest, size } => {
                let from = self.shared.store(*from)?;
                import(&self.lease(id, digest)?, &*from, digest, *size)
            }
            StoreOp::Remove { digest } => {
                store.remove(digest)?;
                Ok(StoreAnswer::Written)
            }
            StoreOp::Find { name } => {
                let mut entries = store.find_all(name.as_deref())?;
                Ok(match entries.len() {
                    1 => StoreAnswer::Found(entries.remove(0)),
                    _ => StoreAnswer::Several(entries),
                })
            }
            StoreOp::Gather { from, upto } => {
                let Gathered {
                    digest,
                    size,
                    is_whole,
                    ..
                } = store.gather(*from, *upto)?;
                Ok(StoreAnswer::Gathered {
                    digest,
                    size,
                    is_whole,
                })
            }
            StoreOp::Referrers { subject } => Ok(StoreAnswer::Referrers(store.referrers(subject)?)),
            StoreOp::AddReferrers { subject, entries } => {
                store.add_referrers(subject, entries)?;
                Ok(StoreAnswer::Written)
            }
            StoreOp::Tag { name, descriptor } => {
                store.tag(name.as_deref(), descriptor)?;
                Ok(StoreAnswer::Written)
            }
        }
    }

    fn begin(
        &self,
        id: StoreId,
        store: &dyn Store,
        digest: &Digest,
        size: u64,
        private: bool,
    ) -> Result<StoreAnswer, StoreError> {
        // A repeated `Begin`: the partial is held already. Those that it was lent to have lost it.
        if let Some(mut partial) = self.shared.take_back(id, digest) {
            // A pipe cannot be read again, to hash what it passed on: it takes the blob from its first byte.
            if !partial.is_empty() && partial.read(0).is_err() {
                partial.truncate(0)?;
            }
            let answer = opened(&*partial);
            self.shared.hold(id, digest, partial);
            return Ok(answer);
        }
        let begun = if private {
            store.begin_private(digest, size)?
        } else {
            store.begin(digest, size)?
        };
        match begun {
            Begun::Complete => Ok(StoreAnswer::Complete),
            Begun::Busy { len } => Ok(StoreAnswer::Busy { len }),
            Begun::Ours(partial) => {
                let answer = opened(&*partial);
                self.shared.hold(id, digest, partial);
                Ok(answer)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    stores: HashMap<StoreId, Known>,
    /// By the address of the store, which no other one has as long as it is known.
    ids: HashMap<usize, StoreId>,
}

#[derive(Debug)]
struct Known {
    store: Arc<dyn Store>,
    users: usize,
    /// Since the first blob or chunk was begun, until no task uses it any more.
    in_use: Option<Arc<InUse>>,
    partials: HashMap<Digest, Lease>,
}

fn address(store: &Arc<dyn Store>) -> usize {
    Arc::as_ptr(store).addr()
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Each change to the table is a single step, so a panic elsewhere left it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, id: StoreId) -> Result<Arc<dyn Store>, StoreError> {
        let known = self
            .table()
            .stores
            .get(&id)
            .map(|known| Arc::clone(&known.store));
        known.ok_or_else(|| {
            StoreError::new(StoreErrorKind::Io, format!("the store {id} is not known"))
        })
    }

    /// Tells the store that it is in use, once.
    fn use_store(&self, id: StoreId, store: &dyn Store) -> Result<(), StoreError> {
        let is_told = |table: &Table| {
            let known = table.stores.get(&id);
            known.is_none_or(|known| known.in_use.is_some())
        };
        if is_told(&self.table()) {
            return Ok(());
        }
        let in_use = store.in_use()?.map(Arc::new);
        // Of two that ask at once, one use is dropped: outside of the lock, since files are removed.
        let _superfluous = match self.table().stores.get_mut(&id) {
            Some(known) if known.in_use.is_none() => {
                known.in_use = in_use;
                None
            }
            Some(_) | None => in_use,
        };
        Ok(())
    }

    fn hold(&self, store: StoreId, digest: &Digest, partial: Box<dyn Partial>) {
        let _not_held = match self.table().stores.get_mut(&store) {
            Some(known) if !known.partials.contains_key(digest) => {
                known.partials.insert(digest.clone(), Lease::new(partial));
                None
            }
            // A worker that was given up and comes back late: what was begun since then stands. Or the store was
            // forgotten meanwhile: nothing would release the partial.
            Some(_) | None => Some(partial),
        };
    }

    fn lease(&self, store: StoreId, digest: &Digest) -> Result<Lease, StoreError> {
        let table = self.table();
        let known = table.stores.get(&store);
        let lease = known.and_then(|it| it.partials.get(digest)).cloned();
        drop(table);
        lease.ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Io,
                format!("no partial of {digest} is open in the store {store}"),
            )
        })
    }

    /// Takes a partial from all that it was lent to. `None` if none is held, or a worker that was given up
    /// is still writing to it; then it is released when that ends.
    fn take_back(&self, store: StoreId, digest: &Digest) -> Option<Box<dyn Partial>> {
        let mut table = self.table();
        let lease = table.stores.get_mut(&store)?.partials.remove(digest)?;
        drop(table);
        match lease.0.try_lock() {
            Ok(mut partial) => partial.take(),
            Err(TryLockError::Poisoned(partial)) => partial.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Releases a partial, if it is held.
    fn drop_partial(&self, store: StoreId, digest: &Digest) {
        // Not under the lock of the table: closing files takes its time.
        drop(self.take_back(store, digest));
    }
}

/// A partial that is lent. Clones share it, until it is taken back, committed or released.
#[derive(Clone, Debug)]
pub(crate) struct Lease(Arc<Mutex<Option<Box<dyn Partial>>>>);

impl Lease {
    fn new(partial: Box<dyn Partial>) -> Self {
        Self(Arc::new(Mutex::new(Some(partial))))
    }

    /// Works on the partial, alone.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut dyn Partial) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &mut *self.lock() {
            Some(partial) => work(&mut **partial),
            None => Err(StoreError::new(
                StoreErrorKind::Io,
                "the partial is not open any more",
            )),
        }
    }

    /// How many bytes it has from the blob's first byte on.
    pub(crate) fn len(&self) -> u64 {
        self.lock().as_ref().map_or(0, |partial| partial.len())
    }

    fn commit(&self, digest: &Digest, size: u64) -> Result<(), StoreError> {
        let mut partial = self.lock();
        let len = partial.as_ref().map_or(0, |partial| partial.len());
        if len != size {
            return Err(StoreError::new(
                StoreErrorKind::Damaged,
                format!("refused to commit {digest}: it has {len} bytes, expected {size}"),
            ));
        }
        match partial.take() {
            Some(partial) => partial.commit(),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Partial>>> {
        // A panic of a store leaves its partial as it is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer for a partial that was opened.
fn opened(partial: &dyn Partial) -> StoreAnswer {
    if partial.is_append_only() {
        let len = partial.len();
        return StoreAnswer::Partial { len };
    }
    StoreAnswer::Extents(partial.extents().into_iter().collect())
}

fn load(store: &dyn Store, digest: &Digest, limit: u64) -> Result<StoreAnswer, StoreError> {
    let Some(source) = store.open(digest, 0)? else {
        return Ok(StoreAnswer::Absent);
    };
    // Grows by pieces: doubled, a document of megabytes would need twice its size.
    let (mut bytes, mut source) = (Vec::new(), source.take(limit.saturating_add(1)));
    loop {
        bytes.reserve_exact(PIECE);
        let read = source.by_ref().take(PIECE as u64).read_to_end(&mut bytes);
        if read.map_err(|error| unreadable(digest, &error))? == 0 {
            break;
        }
    }
    bytes.shrink_to_fit();
    if bytes.len() as u64 > limit {
        return Err(StoreError::new(
            StoreErrorKind::TooLarge,
            format!("{digest} is larger than {limit} bytes"),
        ));
    }
    Ok(StoreAnswer::Loaded(bytes))
}

/// Goes on with a hash until it is over the partial's first `upto` bytes. Others may write meanwhile.
fn hash_on(
    lease: &Lease,
    digest: &Digest,
    mut hashing: Hashing,
    upto: u64,
) -> Result<Hashing, StoreError> {
    let mut buffer = vec![0; CHUNK];
    while hashing.len() < upto {
        let begun = hashing.len();
        let read = lease.with(|partial| {
            let mut source = partial.read(begun)?.take(upto - begun);
            read_some(&mut source, &mut buffer, digest)
        })?;
        if read == 0 {
            break;
        }
        hashing.update(&buffer[..read]);
    }
    if hashing.len() < upto {
        return Err(StoreError::new(
            StoreErrorKind::Io,
            format!(
                "the partial of {digest} is shorter than expected: {} of {upto} bytes",
                hashing.len()
            ),
        ));
    }
    Ok(hashing)
}

fn import(
    lease: &Lease,
    from: &dyn Store,
    digest: &Digest,
    size: u64,
) -> Result<StoreAnswer, StoreError> {
    // Only what is at the front is gone on with.
    let len = lease.len();
    let len = if len > size { 0 } else { len };
    lease.with(|partial| partial.truncate(len))?;
    let Some(mut source) = from.open(digest, len)? else {
        return Ok(StoreAnswer::Absent);
    };
    let mut hashing = hash_on(lease, digest, new_hashing(digest)?, len)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = read_some(&mut source, &mut buffer, digest)?;
        if read == 0 {
            break;
        }
        if read as u64 > size - hashing.len() {
            return Err(wrong_size(digest, "longer", size));
        }
        hashing.update(&buffer[..read]);
        lease.with(|partial| partial.append(&buffer[..read]))?;
    }
    if hashing.len() < size {
        return Err(wrong_size(digest, "shorter", size));
    }
    Ok(StoreAnswer::Hashed(hashing))
}

fn new_hashing(digest: &Digest) -> Result<Hashing, StoreError> {
    let algorithm = digest.algorithm().ok_or_else(|| {
        StoreError::new(
            StoreErrorKind::Denied,
            format!("cannot hash {digest}: its algorithm is unknown"),
        )
    })?;
    Ok(Hashing::new(algorithm))
}

fn read_some(
    source: &mut impl Read,
    buffer: &mut [u8],
    digest: &Digest,
) -> Result<usize, StoreError> {
    loop {
        match source.read(buffer) {
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(digest, &error)),
        }
    }
}

fn absent(digest: &Digest, store: &dyn Store) -> StoreError {
    StoreError::new(
        StoreErrorKind::Absent,
        format!("blob {digest} is not in {}", store.title()),
    )
}

fn wrong_size(digest: &Digest, how: &str, size: u64) -> StoreError {
    StoreError::new(
        StoreErrorKind::Damaged,
        format!("{digest} in the store is {how} than its {size} bytes"),
    )
}

pub(crate) fn unreadable(digest: &Digest, error: &io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Io, format!("read {digest}: {error}"))
}

#[cfg(test)]
mod tests;
