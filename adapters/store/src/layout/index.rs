//! `index.json`: a layout's names and their entries.
//!
//! Responsible for not losing concurrent changes. Must not know blobs, nor the document's form
//! (`entries`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use windlass_core::config::Limits;
use windlass_core::manifest::{Declared, Document, DocumentError, replace_lone_surrogates};
use windlass_core::{Descriptor, StoreError, StoreErrorKind};

use super::entries::{Index, Unreadable, as_digest};
use super::{Layout, read_small, sys};
use crate::store::Store as _;

/// The most bytes of an `index.json` that are read or written. It is held in memory once.
const INDEX_LIMIT: u64 = 64 * 1024 * 1024;

/// How long to wait for another process to rewrite `index.json`. That takes milliseconds; a process
/// that holds the lock longer is stopped or stuck on a dead network share.
const LOCK_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// The longest pause between two attempts to lock. It polls because a blocking `flock` cannot be
/// abandoned.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How often a rewrite starts over when tools that take no lock (containers/image,
/// go-containerregistry) change the file meanwhile.
const TURNS: usize = 64;

impl Layout {
    pub(super) fn find_entry(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        let mut entries = self.find_entries(name)?;
        if entries.len() == 1 {
            return Ok(entries.remove(0));
        }
        let platforms = entries.iter().take(20).map(|entry| {
            let platform = entry.platform.as_ref().map(ToString::to_string);
            format!("{:?} ({})", platform.unwrap_or_default(), entry.digest)
        });
        let platforms: Vec<String> = platforms.collect();
        let why = format!("there is an image for each of {}", platforms.join(", "));
        Err(self.not_found(StoreErrorKind::Ambiguous, &why))
    }

    /// The entry of this name, or several if each is for a platform.
    pub(super) fn find_entries(&self, name: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        let bytes = self.read_index()?;
        let index = self.parse_index(&bytes)?;
        let entries = match index.choose(name) {
            Ok(entries) => entries,
            Err((StoreErrorKind::NoSuchName, why)) => {
                let unnamed = name.and_then(|name| self.find_manifest(name).transpose());
                let missing = || Err(self.not_found(StoreErrorKind::NoSuchName, &why));
                return unnamed.unwrap_or_else(missing).map(|found| vec![found]);
            }
            Err((kind, why)) => return Err(self.not_found(kind, &why)),
        };
        entries.iter().map(|entry| self.read_entry(entry)).collect()
    }

    /// The names of all entries, each once, in their order.
    ///
    /// # Errors
    ///
    /// If `index.json` cannot be read.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let bytes = self.read_index()?;
        let names = self.parse_index(&bytes)?.names();
        Ok(names)
    }

    /// The descriptors of all entries.
    pub(super) fn all_entries(&self) -> Result<Vec<Descriptor>, StoreError> {
        let bytes = self.read_index()?;
        let index = self.parse_index(&bytes)?;
        index
            .entries()
            .map(|entry| self.read_entry(entry))
            .collect()
    }

    /// The descriptors of the entries that have one.
    pub(super) fn valid_entries(&self) -> Result<Vec<Descriptor>, StoreError> {
        let bytes = self.read_index()?;
        let index = self.parse_index(&bytes)?;
        let entries = index.entries().map(|entry| self.read_entry(entry));
        Ok(entries.filter_map(Result::ok).collect())
    }

    fn read_entry(&self, entry: &RawValue) -> Result<Descriptor, StoreError> {
        let entry = replace_lone_surrogates(entry.get().as_bytes());
        serde_json::from_slice(&entry).map_err(|error| {
            let path = self.index_path();
            StoreError::new(
                StoreErrorKind::NotALayout,
                format!("read {}: invalid descriptor: {error}", path.display()),
            )
        })
    }

    /// A manifest without an entry, by its digest: for instance an image of an index.
    fn find_manifest(&self, name: &str) -> Result<Option<Descriptor>, StoreError> {
        let Some(digest) = as_digest(name) else {
            return Ok(None);
        };
        let Some(blob) = self.open(&digest, 0)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let limit = Limits::default().document;
        let read = blob.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| sys::failed("read", &self.blob_path(&digest), &error))?;
        match Document::parse_as(bytes, Declared::ContentType(None), &digest) {
            Ok(document) => Ok(Some(document.descriptor())),
            Err(error @ DocumentError::Digest { .. }) => {
                let what = format!("image layout {}: {error}", self.path().display());
                Err(StoreError::new(StoreErrorKind::Damaged, what))
            }
            // It is another blob, or a large one.
            Err(_) => Ok(None),
        }
    }

    fn not_found(&self, kind: StoreErrorKind, why: &str) -> StoreError {
        StoreError::new(
            kind,
            format!("image layout {}: {why}", self.path().display()),
        )
    }

    pub(super) fn tag_entry(
        &self,
        name: Option<&str>,
        descriptor: &Descriptor,
    ) -> Result<(), StoreError> {
        if let Some(name) = name {
            check_name(name)?;
        }
        self.prepare()?;
        self.sync_blob_dirs()?;
        let _lock = self.lock_index()?;
        self.restore_collected()?;
        for _ in 0..TURNS {
            self.refuse_linked_index()?;
            let before = self.read_index()?;
            let index = self.parse_index(&before)?;
            let changed = index
                .with(name, descriptor)
                .map_err(|why| self.unreadable(why))?;
            let Some(changed) = changed else {
                return Ok(());
            };
            let len: usize = changed.pieces().map(str::len).sum();
            if len as u64 > INDEX_LIMIT {
                return Err(self.unreadable(Unreadable::TooLong));
            }
            let staged = self.stage(changed.pieces().map(str::as_bytes))?;
            let dir = sys::open_dir(self.path())?;
            // Compared as late as possible: other tools write in place and without a lock (LAY-12).
            if !is_same(&self.index_path(), &before)? {
                continue;
            }
            staged.rename(self, &self.index_path())?;
            if self.is_durable() {
                sys::sync_dir(&dir, self.path()).inspect_err(|_| self.put_back(&before))?;
            }
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::Io,
            format!(
                "rewrite {}: another program kept changing it",
                self.index_path().display()
            ),
        ))
    }

    /// Restores the old entries if the new ones may not be durable: the next run would take them
    /// for durable.
    fn put_back(&self, before: &[u8]) {
        let staged = self.stage([before].into_iter());
        // The caller reports the earlier failure.
        let _ = staged.and_then(|staged| staged.rename(self, &self.index_path()));
    }

    /// Writes an index without entries, unless one exists by then.
    pub(super) fn create_index(&self) -> Result<(), StoreError> {
        self.prepare()?;
        let _lock = self.lock_index()?;
        if self.has_index()? {
            return Ok(());
        }
        self.replace(&self.index_path(), Index::EMPTY.as_bytes())
    }

    /// Replacing a symlink would cut the layout off from the tool that made it; writing through it
    /// is worse.
    pub(super) fn refuse_linked_index(&self) -> Result<(), StoreError> {
        let path = self.index_path();
        if !sys::is_link(&path)? {
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::Denied,
            format!(
                "refused to write to {}: it is a symbolic link; copy the layout to another folder",
                path.display()
            ),
        ))
    }

    pub(super) fn read_index(&self) -> Result<Vec<u8>, StoreError> {
        let path = self.index_path();
        let bytes = read_small(sys::open_through_links(&path)?, &path, INDEX_LIMIT)?;
        bytes.ok_or_else(|| self.refuse("it has no `index.json`"))
    }

    fn parse_index<'a>(&self, bytes: &'a [u8]) -> Result<Index<'a>, StoreError> {
        Index::parse(bytes).map_err(|why| self.unreadable(why))
    }

    fn unreadable(&self, why: Unreadable) -> StoreError {
        match why {
            Unreadable::NoIndex(why) => {
                self.refuse(&format!("its `index.json` is no image index: {why}"))
            }
            Unreadable::TooLong => StoreError::new(
                StoreErrorKind::TooLarge,
                format!(
                    "{} has more than {} entries or {INDEX_LIMIT} bytes",
                    self.index_path().display(),
                    Index::MOST
                ),
            ),
        }
    }

    /// Waits for the lock of `index.json`; dropping the file releases it.
    pub(super) fn lock_index(&self) -> Result<File, StoreError> {
        self.lock(&self.private().join("index.lock"))
    }

    /// Waits for a lock; dropping the file releases it.
    pub(super) fn lock(&self, path: &Path) -> Result<File, StoreError> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(file) = self.open_shared(path)?
                && sys::try_lock(&file, path)?
                && self.keeps(&file, path)?
            {
                return Ok(file);
            }
            if begun.elapsed() > LOCK_PATIENCE {
                return Err(StoreError::new(
                    StoreErrorKind::Locked,
                    format!(
                        "lock {}: another process has held it for {} s",
                        path.display(),
                        LOCK_PATIENCE.as_secs()
                    ),
                ));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LOCK_PAUSE);
        }
    }
}

/// Whether the file still has these bytes.
fn is_same(path: &Path, bytes: &[u8]) -> Result<bool, StoreError> {
    let Some(file) = sys::open_regular(path)? else {
        return Ok(false);
    };
    let mut file = io::BufReader::with_capacity(64 * 1024, file);
    let mut left = bytes;
    let mut chunk = [0; 8 * 1024];
    loop {
        let read = file
            .read(&mut chunk)
            .map_err(|error| sys::failed("read", path, &error))?;
        if read == 0 {
            return Ok(left.is_empty());
        }
        match left.strip_prefix(&chunk[..read]) {
            Some(rest) => left = rest,
            None => return Ok(false),
        }
    }
}

/// Checks a name. The grammar of LAY-06 is only recommended, and tags such as `_x` and references
/// to `[::1]:5000` break it; so only names that would confuse users are refused.
pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    if !name.is_empty() && !name.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Denied,
        format!("refused to write the name {name:?}: it is empty, or has spaces in it"),
    ))
}
