//! The OCI image layout on disk (image-spec `image-layout.md`, LAY-01 to LAY-17).
//!
//! ```text
//! DIR/oci-layout                       {"imageLayoutVersion":"1.0.0"}
//! DIR/index.json                       the names; replaced under a lock, by rename
//! DIR/blobs/<algorithm>/<encoded>      complete blobs, put there by rename
//! DIR/.windlass/                       0700; other tools ignore it (LAY-05)
//!     partial/<algorithm>-<encoded>    a partial; the process that holds its lock owns it; one with gaps is
//!                                      longer than its blob, and says behind it what it holds
//!     partial/….<pid>-<counter>        a private partial, or a file about to be renamed
//!     index.lock                       held while index.json is replaced
//!     referrers.lock                   held while a list of referrers is changed
//!     use/<pid>-<counter>              a task that writes here, for `gc`
//!     collected/<algorithm>-<encoded>  a blob that `gc` is about to remove
//! ```
//!
//! Responsible for paths, atomicity, durability and permissions. Must not know registries or
//! sessions.
//!
//! `PROMISES.md` beside this crate's `Cargo.toml` lists what it promises, with the tests.
//!
//! **A kill or a power cut at any time.** A blob's bytes are synced before it gets its name. The
//! *names* of blobs are synced by `tag`, before `index.json` is replaced, not at each commit: a
//! name lost in a crash loses only a blob that nothing refers to yet, and one sync per directory
//! instead of one per blob makes images of many small layers fast. `index.json` is the old or the
//! new one, and everything it names exists.
//!
//! **A failed sync is final.** The system reports it once, and may then show bytes and names that
//! never reach the disk. So content that could not be synced is removed, and no image is tagged
//! after it.
//!
//! **Other users.** Only files that this user alone can write are written to: see `ours`.
//!
//! **Symbolic links** are followed for reading only: build tools make layouts of links into a
//! cache. A file behind a link is hashed before its first byte is sent. Nothing is written through
//! a link: `blobs`, what is in it, `.windlass` and `index.json` must then not be links. `DIR`
//! itself may be one (LAY-14).

mod blob;
mod check;
mod entries;
mod gc;
mod index;
mod ours;
mod partial;
mod record;
mod referrers;
mod spool;
mod sweep;
mod sys;
#[cfg(test)]
mod tests;
mod uses;
mod verify;
mod walk;

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use windlass_core::{Descriptor, Digest, StoreError, StoreErrorKind};

use self::check::Found;
pub use self::gc::Collected;
pub use self::spool::Spool;
pub use self::sys::kind as error_kind;
pub use self::verify::Verified;
use crate::store::{Begun, InUse, Store};

const PRIVATE: &str = ".windlass";
const VERSION: &str = "1.0.0";

/// The most bytes of an `oci-layout` file that are read. It has one short field; the rest is room
/// for extra ones.
const MARKER_LIMIT: u64 = 64 * 1024;

/// An OCI image layout. Clones refer to the same directory.
///
/// ```
/// use windlass_core::{Algorithm, Descriptor, Digest};
/// use windlass_store::{Begun, Layout, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("image");
/// let layout = Layout::open_or_create(&path)?;
/// let digest = Digest::of(Algorithm::Sha256, b"hello");
/// if let Begun::Ours(mut partial) = layout.begin(&digest, 5)? {
///     partial.append(b"hello")?;
///     partial.commit()?;
/// }
/// layout.tag(Some("v1"), &Descriptor::new("text/plain", digest.clone(), 5))?;
/// assert_eq!(layout.find(Some("v1"))?.digest, digest);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Any number of threads and processes may use the same directory at once. A partial has one owner,
/// determined by a lock and not by the file's existence: a killed process leaves bytes to resume
/// from, and nothing to clean up.
#[derive(Clone, Debug)]
pub struct Layout {
    shared: Arc<Shared>,
    existing: Existing,
}

/// When an existing blob counts as complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Existing {
    /// If its size is right.
    Sized,
    /// If its digest is right.
    Hashed,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    durability: Durability,
    swept: AtomicBool,
    /// What a new file has shown, once one was made.
    probed: OnceLock<blob::Probed>,
    /// Owner and mode of new files, once known.
    given: OnceLock<ours::Given>,
    unsynced: Mutex<blob::Unsynced>,
    subjects: Mutex<referrers::Subjects>,
}

/// Whether content has to survive a power cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Durability {
    Durable,
    /// No: it is removed before the process ends.
    Temporary,
}

impl Layout {
    /// Opens an existing layout. Writes nothing, so it works on read-only media.
    ///
    /// # Errors
    ///
    /// [`NotALayout`](StoreErrorKind::NotALayout) if `path` is absent, is something else, or is a
    /// layout of a version other than 1.0.0.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let layout = Self::in_folder(path.as_ref(), Durability::Durable);
        match fs::metadata(layout.path()) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(layout.refuse("it is not a directory")),
            Err(error) if sys::is_absent(&error) => {
                return Err(layout.refuse("there is no such directory"));
            }
            Err(error) => return Err(sys::failed("open image layout", layout.path(), &error)),
        }
        if !layout.has_marker()? {
            return Err(layout.refuse("it has no `oci-layout` file"));
        }
        if !layout.has_index()? {
            return Err(layout.refuse("it has no `index.json`"));
        }
        Ok(layout)
    }

    /// Opens the layout at `path`, or creates one if `path` is absent or an empty directory.
    ///
    /// # Errors
    ///
    /// [`NotALayout`](StoreErrorKind::NotALayout) if `path` is something else; then nothing is
    /// written.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::make(path.as_ref(), Durability::Durable)
    }

    /// Verifies existing blobs by their digest before they are skipped; damaged ones are fetched
    /// again. By default only their size is checked.
    #[must_use]
    pub fn verifying_existing(mut self) -> Self {
        self.existing = Existing::Hashed;
        self
    }

    /// Checks a name before a transfer.
    ///
    /// # Errors
    ///
    /// [`Denied`](StoreErrorKind::Denied) if it is empty, or contains spaces or control characters.
    pub fn check_name(name: &str) -> Result<(), StoreError> {
        index::check_name(name)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.shared.root
    }

    fn make(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let layout = Self::in_folder(path, durability);
        let root = layout.path();
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(layout.refuse("it is not a directory")),
            Err(error) if sys::is_absent(&error) => {
                fs::create_dir_all(root)
                    .map_err(|error| sys::failed("create directory", root, &error))?;
            }
            Err(error) => return Err(sys::failed("open image layout", root, &error)),
        }
        // The marker first: a directory that has it may be completed, whatever else is missing.
        if !layout.has_marker()? {
            // Checked again: another process may have made it a layout in between.
            if !layout.is_vacant()? && !layout.has_marker()? {
                return Err(layout.refuse("it is not empty and has no `oci-layout` file"));
            }
            layout.prepare()?;
            let marker = format!("{{\"imageLayoutVersion\":\"{VERSION}\"}}");
            layout.replace(&root.join("oci-layout"), marker.as_bytes())?;
        }
        layout.refuse_linked_index()?;
        layout.ensure(&layout.blobs(), 0o777)?;
        if !layout.has_index()? {
            layout.create_index()?;
        }
        Ok(layout)
    }

    fn in_folder(path: &Path, durability: Durability) -> Self {
        Self {
            shared: Arc::new(Shared {
                root: path.to_path_buf(),
                durability,
                swept: AtomicBool::new(false),
                probed: OnceLock::new(),
                given: OnceLock::new(),
                unsynced: Mutex::default(),
                subjects: Mutex::default(),
            }),
            existing: Existing::Sized,
        }
    }

    fn refuse(&self, why: &str) -> StoreError {
        StoreError::new(
            StoreErrorKind::NotALayout,
            format!("{} is not an image layout: {why}", self.path().display()),
        )
    }

    /// Whether `oci-layout` exists; another version is an error (LAY-01).
    fn has_marker(&self) -> Result<bool, StoreError> {
        let path = self.path().join("oci-layout");
        let file = sys::open_through_links(&path)?;
        let Some(bytes) = read_small(file, &path, MARKER_LIMIT)? else {
            return Ok(false);
        };
        let marker: Value = serde_json::from_slice(&bytes)
            .map_err(|error| self.refuse(&format!("its `oci-layout` file is not JSON: {error}")))?;
        match marker.get("imageLayoutVersion").and_then(Value::as_str) {
            Some(VERSION) => Ok(true),
            Some(other) => Err(self.refuse(&format!(
                "its version is {other:?}, known is only \"{VERSION}\""
            ))),
            None => Err(self.refuse("its `oci-layout` file names no version")),
        }
    }

    fn has_index(&self) -> Result<bool, StoreError> {
        Ok(sys::open_through_links(&self.index_path())?.is_some())
    }

    /// Whether the directory can become a layout: it is empty except for the remains of an
    /// interrupted attempt, or for what every new ext file system has.
    fn is_vacant(&self) -> Result<bool, StoreError> {
        let fail = |error: io::Error| sys::failed("list directory", self.path(), &error);
        for entry in fs::read_dir(self.path()).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            if name != PRIVATE && name != "lost+found" {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Prepares `.windlass` for writing. Cheap; called before each write, so that removing
    /// `.windlass` under a long-lived process does no harm.
    fn prepare(&self) -> Result<(), StoreError> {
        self.ensure_private(&self.private())?;
        self.ensure_private(&self.partials())?;
        if !self.shared.swept.swap(true, Ordering::Relaxed) {
            self.sweep();
        }
        Ok(())
    }

    /// Creates a directory durably. Returns the metadata of one that existed.
    fn ensure(&self, path: &Path, mode: u32) -> Result<Option<Metadata>, StoreError> {
        let there = sys::ensure_dir(path, mode)?;
        if let (None, true, Some(parent)) = (&there, self.is_durable(), path.parent()) {
            let synced = sys::open_dir(parent).and_then(|dir| sys::sync_dir(&dir, parent));
            synced.inspect_err(|_| {
                // It is empty. If it stayed, the next attempt would not sync its name.
                let _ = fs::remove_dir(path);
            })?;
        }
        Ok(there)
    }

    fn is_durable(&self) -> bool {
        self.shared.durability == Durability::Durable
    }

    fn blobs(&self) -> PathBuf {
        self.path().join("blobs")
    }

    fn index_path(&self) -> PathBuf {
        self.path().join("index.json")
    }

    fn private(&self) -> PathBuf {
        self.path().join(PRIVATE)
    }

    fn partials(&self) -> PathBuf {
        self.private().join("partial")
    }
}

impl Store for Layout {
    fn title(&self) -> String {
        format!("the image layout {}", self.path().display())
    }

    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.begin_blob(digest, size)
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.begin_private_blob(digest, size)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        match self.open_blob(digest)? {
            Some(file) => Ok(sys::stat(&file, &self.blob_path(digest))?.len() == size),
            None => Ok(false),
        }
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let Some(mut file) = self.open_blob(digest)? else {
            return Ok(None);
        };
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))
                .map_err(|error| sys::failed("read", &self.blob_path(digest), &error))?;
        }
        Ok(Some(Box::new(file)))
    }

    fn open_to_send(
        &self,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        if self.is_behind_link(digest)? {
            // Bytes are sent before the last one is hashed, and a link may lead to anything.
            match self.check_blob(digest, size)? {
                Found::Good => {}
                Found::Absent => return Ok(None),
                Found::Damaged(why) => {
                    let why = format!("{}: {why}", self.blob_path(digest).display());
                    return Err(StoreError::new(StoreErrorKind::Damaged, why));
                }
            }
        }
        Store::open(self, digest, offset)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_blob(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        if !self.has_blob_dir(digest)? {
            return Ok(());
        }
        sys::remove(&self.blob_path(digest))
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.find_entry(name)
    }

    fn find_all(&self, name: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        self.find_entries(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.tag_entry(name, descriptor)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        self.find_referrers(subject)
    }

    fn add_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<(), StoreError> {
        self.add_to_list(subject, entries)
    }

    fn in_use(&self) -> Result<Option<InUse>, StoreError> {
        if !self.is_durable() {
            return Ok(None);
        }
        Ok(Some(InUse::new(self.begin_use()?)))
    }
}

/// Reads a file of bounded size; `None` if it is absent.
fn read_small(file: Option<File>, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let too_large = || {
        StoreError::new(
            StoreErrorKind::TooLarge,
            format!("{} is larger than {limit} bytes", path.display()),
        )
    };
    let len = sys::stat(&file, path)?.len();
    if len > limit {
        return Err(too_large());
    }
    // One byte more, so that the end is found without growing the buffer.
    let mut bytes = Vec::with_capacity(usize::try_from(len + 1).map_err(|_| too_large())?);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| sys::failed("read", path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(Some(bytes))
}
