//! The trait of a store.

use std::fmt;
use std::io::Read;
use std::ops::Range;

use windlass_core::{Descriptor, Digest, StoreError, StoreErrorKind};

use crate::referrers;

/// A store of content by digest, and of names for content.
///
/// Safe for concurrent use by threads; an implementation on shared media must also be safe for
/// concurrent use by processes. All calls may block.
pub trait Store: Send + Sync + fmt::Debug {
    /// The store's name in error messages.
    fn title(&self) -> String {
        "the store".into()
    }

    /// Acquires the exclusive right to write a blob. A stored blob of another size than `size`
    /// counts as absent.
    ///
    /// # Errors
    ///
    /// If the store cannot be used, or the digest's algorithm is unknown (LAY-13).
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError>;

    /// Like [`begin`](Self::begin), but never `Busy`: the bytes go into a private partial that is
    /// neither shared nor resumed. For a blob whose owner has stalled: the first to commit names
    /// it, and both have verified the same bytes.
    ///
    /// The default, for a store without private partials, is [`begin`](Self::begin), which may
    /// answer `Busy`.
    ///
    /// # Errors
    ///
    /// As for [`begin`](Self::begin).
    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.begin(digest, size)
    }

    /// Whether the blob exists under its final name with exactly this size.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError>;

    /// Opens a complete blob for reading from `offset`; `None` if it is absent.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError>;

    /// Opens a complete blob of `size` bytes for an upload, from `offset` on; `None` if it is absent.
    /// Unlike [`open`](Self::open) it must not return bytes of something that may not be the blob, such
    /// as the target of a symlink that another user made. The bytes are hashed again while they are
    /// sent.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or [`Damaged`](StoreErrorKind::Damaged).
    fn open_to_send(
        &self,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let _ = size;
        self.open(digest, offset)
    }

    /// Writes a small document atomically under its final name. Replaces a damaged one of the same
    /// size. As for [`Partial::commit`], the name is durable before a later `tag` is.
    ///
    /// # Errors
    ///
    /// If it could not be written; then the store is unchanged.
    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError>;

    /// Removes a blob, if it exists.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be removed.
    fn remove(&self, digest: &Digest) -> Result<(), StoreError>;

    /// The entry of this name; without a name the only entry.
    ///
    /// # Errors
    ///
    /// [`NoSuchName`](StoreErrorKind::NoSuchName) or
    /// [`Ambiguous`](StoreErrorKind::Ambiguous), listing the existing names.
    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError>;

    /// The entry of this name, or several if each is for another platform.
    ///
    /// # Errors
    ///
    /// As for [`find`](Self::find), which is the default and enough for a store in which names are
    /// unique.
    fn find_all(&self, name: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        Ok(vec![self.find(name)?])
    }

    /// Marks the store as used by a task until the returned guard is dropped, so that no other
    /// process removes a blob that [`begin`](Self::begin) called complete. Called before the first
    /// blob of a task. `None` is right for a store from which only its owner removes anything.
    ///
    /// # Errors
    ///
    /// If the use could not be recorded.
    fn in_use(&self) -> Result<Option<InUse>, StoreError> {
        Ok(None)
    }

    /// Reads on in a stream until `upto` bytes of it were read in all, or it ends; `None`: until it ends. Those from
    /// `from` on are kept, and are opened as a blob under the digest of the result.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or bytes from `from` on are gone; [`Unsupported`](StoreErrorKind::Unsupported) by a store
    /// that is no stream, as most are.
    fn gather(&self, from: u64, upto: Option<u64>) -> Result<Gathered, StoreError> {
        let _ = (from, upto);
        let why = format!("{} is no stream", self.title());
        Err(StoreError::new(StoreErrorKind::Unsupported, why))
    }

    /// Sets the entry of a name atomically and durably, replacing any other. Without a name, adds
    /// the entry unnamed unless an entry of that digest exists.
    ///
    /// # Errors
    ///
    /// If it could not be written; then the entries are unchanged.
    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError>;

    /// What refers to a manifest, as descriptors. They may say anything: what refers to it is said in the manifests.
    ///
    /// The default is what [`add_referrers`](Self::add_referrers) has added.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or [`Damaged`](StoreErrorKind::Damaged).
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        referrers::listed(self, subject)
    }

    /// Adds manifests, which the store has, to what refers to another one.
    ///
    /// The default keeps them as registries without the referrers API do: in an index under the name of the
    /// referrers tag. It takes no lock, so of two writers at the same time one may be lost.
    ///
    /// # Errors
    ///
    /// If the list could not be read or written; then it is unchanged. [`Damaged`](StoreErrorKind::Damaged) if the
    /// name stands for something else.
    fn add_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<(), StoreError> {
        referrers::add(self, subject, entries)
    }
}

/// A use of a store, until it is dropped. See [`Store::in_use`].
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

/// The result of [`Store::begin`].
#[derive(Debug)]
pub enum Begun {
    /// The blob is complete.
    Complete,
    /// The caller now owns the partial.
    Ours(Box<dyn Partial>),
    /// Another owner is writing the blob.
    Busy {
        /// Bytes written so far.
        len: u64,
    },
}

/// The result of [`Store::gather`]: what was read of a stream so far.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Gathered {
    /// Its digest.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// Whether the stream has ended there.
    pub is_whole: bool,
}

impl Gathered {
    /// What was read of a stream that has not ended.
    pub const fn new(digest: Digest, size: u64) -> Self {
        Self {
            digest,
            size,
            is_whole: false,
        }
    }
}

/// Makes durable what a partial holds. See [`Partial::preserve`].
pub type Preserve = Box<dyn FnOnce() -> Result<(), StoreError> + Send>;

/// A blob that is being written, with exclusive ownership. All offsets and lengths are in bytes.
///
/// A store that only appends implements [`append`](Self::append) and is done. One that takes bytes at any
/// offset overrides [`extents`](Self::extents), [`is_append_only`](Self::is_append_only) and
/// [`write_at`](Self::write_at).
///
/// Dropping a partial keeps at least its first [`len`](Self::len) bytes for a later [`Store::begin`] and ends
/// the ownership. A partial that is found after a crash must not count bytes that were never written, so the
/// length of a file says enough only about a partial to which bytes were only appended.
pub trait Partial: Send + fmt::Debug {
    /// How many bytes are stored from the blob's first byte on, without a gap.
    fn len(&self) -> u64;

    /// Whether the blob's first byte is not stored.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parts of the blob that are stored, in order, none of them empty, with gaps between them.
    fn extents(&self) -> Vec<Range<u64>> {
        let first = 0..self.len();
        Vec::from_iter((!first.is_empty()).then_some(first))
    }

    /// Whether [`write_at`](Self::write_at) takes no other offset than [`len`](Self::len).
    fn is_append_only(&self) -> bool {
        true
    }

    /// Reads the first [`len`](Self::len) bytes, from `offset` on.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn read(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, StoreError>;

    /// Writes bytes at [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// If not all could be written; [`len`](Self::len) counts those that were.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Writes bytes at `offset` of the blob, of which none is stored yet.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](StoreErrorKind::Unsupported), with nothing written, if some of them are stored
    /// already, or if there would be a gap and the store only appends. Otherwise as for
    /// [`append`](Self::append).
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let len = self.len();
        if offset == len {
            return self.append(bytes);
        }
        let why = format!("cannot write at byte {offset} of a partial of {len} bytes");
        Err(StoreError::new(StoreErrorKind::Unsupported, why))
    }

    /// What makes durable that is stored so far, if it is time for that: to be run while others go on writing.
    /// After an error the partial is not worth keeping.
    ///
    /// Called after each write. The default, for a store that needs nothing of the kind, is `None`.
    fn preserve(&mut self) -> Option<Preserve> {
        None
    }

    /// Drops the bytes from `len` on, also those behind a gap.
    ///
    /// # Errors
    ///
    /// If the partial cannot be truncated.
    fn truncate(&mut self, len: u64) -> Result<(), StoreError>;

    /// Gives the blob its final name. The caller has verified every byte. On return the bytes are
    /// durable; the name is durable before a later [`Store::tag`] is.
    ///
    /// # Errors
    ///
    /// If it could not be named; the bytes are kept as a partial.
    fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
