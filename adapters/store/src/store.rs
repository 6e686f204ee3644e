//! What a store must do.

use std::fmt;
use std::io::Read;

use windlass_core::{Descriptor, Digest, StoreError};

/// A place for content, named by digests, and for names that stand for content.
///
/// Safe for concurrent use by threads; an implementation on shared media must also be safe for
/// concurrent use by processes. All calls may block.
pub trait Store: Send + Sync + fmt::Debug {
    /// What people know it by, in errors.
    fn title(&self) -> String {
        "the store".into()
    }

    /// Takes the exclusive right to write a blob. A stored blob of another size than `size` counts
    /// as absent.
    ///
    /// # Errors
    ///
    /// If the store cannot be used, or the digest's algorithm is unknown (LAY-13).
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError>;

    /// Like [`begin`](Self::begin), but never `Busy`: the bytes go into a partial of their own that
    /// nobody else writes and nobody resumes. For a blob whose owner has stalled: whichever commits
    /// first names it, and both have verified the same bytes.
    ///
    /// A store that has no such thing begins as usual.
    ///
    /// # Errors
    ///
    /// As for [`begin`](Self::begin).
    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.begin(digest, size)
    }

    /// Whether the blob is there under its final name with exactly this size.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError>;

    /// Opens a complete blob for reading from `offset`; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError>;

    /// Opens a complete blob of this size to be sent; `None` if it is not there. Unlike
    /// [`open`](Self::open) it must not give out bytes of something that may not be the blob at all, such as
    /// the end of a link that another user made. What is sent is hashed once more.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or [`Damaged`](windlass_core::StoreErrorKind::Damaged).
    fn open_to_send(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let _ = size;
        self.open(digest, 0)
    }

    /// Writes a small document under its final name, atomically. A damaged one of the same size
    /// is replaced. As for [`Partial::commit`], the name is durable before a later `tag` is.
    ///
    /// # Errors
    ///
    /// If it could not be written; then nothing is there under its name that was not before.
    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError>;

    /// Removes a blob, if it is there.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be removed.
    fn remove(&self, digest: &Digest) -> Result<(), StoreError>;

    /// The entry of that name; without a name the only entry.
    ///
    /// # Errors
    ///
    /// [`NoSuchName`](windlass_core::StoreErrorKind::NoSuchName) or
    /// [`Ambiguous`](windlass_core::StoreErrorKind::Ambiguous), listing the names there are.
    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError>;

    /// The entry of that name, or several that are each for another platform.
    ///
    /// # Errors
    ///
    /// As of [`find`](Self::find), which is all that a store needs where no two entries have one name.
    fn find_all(&self, name: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        Ok(vec![self.find(name)?])
    }

    /// Says that a task writes to the store until what is returned is dropped, so that nothing removes a
    /// blob that [`begin`](Self::begin) called complete. Asked before the first blob of a task. `None` is
    /// right for a store from which only its owner removes anything.
    ///
    /// # Errors
    ///
    /// If that could not be noted.
    fn in_use(&self) -> Result<Option<InUse>, StoreError> {
        Ok(None)
    }

    /// Names an entry atomically and durably, replacing what had that name; without a name adds
    /// the entry unnamed unless an entry of that digest is there.
    ///
    /// # Errors
    ///
    /// If it could not be written; then the old entries stand.
    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError>;
}

/// A use of a store, which ends when this is dropped. See [`Store::in_use`].
#[derive(Debug)]
pub struct InUse {
    _until_dropped: Box<dyn fmt::Debug + Send + Sync>,
}

impl InUse {
    /// A use that ends when `guard` is dropped.
    pub fn new(guard: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self {
            _until_dropped: Box::new(guard),
        }
    }
}

/// What came of [`Store::begin`].
#[derive(Debug)]
pub enum Begun {
    /// The blob is there.
    Complete,
    /// The blob is ours to write.
    Ours(Box<dyn Partial>),
    /// Another owner is writing it and has got this far.
    Busy {
        /// Bytes written so far.
        len: u64,
    },
}

/// A blob that is being written, owned exclusively. Dropping it keeps its bytes for a later
/// [`Store::begin`] and gives the right to write back.
pub trait Partial: Send + fmt::Debug {
    /// Bytes written so far.
    fn len(&self) -> u64;

    /// Whether nothing was written yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads back what was written, from the start.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn read(&mut self) -> Result<Box<dyn Read + '_>, StoreError>;

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// If not all could be written; [`len`](Self::len) still says how many are there.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Drops everything from `len` on.
    ///
    /// # Errors
    ///
    /// If it cannot be cut.
    fn truncate(&mut self, len: u64) -> Result<(), StoreError>;

    /// Gives the blob its final name. The caller has verified every byte. The bytes are durable
    /// when this returns; the name is durable before a later [`Store::tag`] is.
    ///
    /// # Errors
    ///
    /// If it could not be named; the bytes are kept as a partial.
    fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
