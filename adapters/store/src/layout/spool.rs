//! A temporary layout.
//!
//! Responsible for its lifetime. Otherwise it is a [`Layout`] without syncs: it does not outlive
//! its process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::TempDir;
use windlass_core::{Descriptor, Digest, StoreError, StoreErrorKind};

use super::{Durability, Layout, sys};
use crate::store::{Begun, Store};

/// A temporary store for content between two registries. Its directory is removed on drop. A killed
/// process leaves it, and the next spool in the same place removes it: a spool is locked while its
/// process lives.
#[derive(Debug)]
pub struct Spool {
    layout: Layout,
    // Removed on drop, then unlocked.
    _dir: TempDir,
    _lock: File,
}

/// The prefix of a spool's name. tempfile adds [`RANDOM`] letters and digits.
const PREFIX: &str = "windlass-spool-";
const RANDOM: usize = 6;

/// Its content is not for other users.
const MODE: u32 = 0o700;

/// What a spool may contain.
const ENTRIES: [&str; 4] = ["oci-layout", "index.json", "blobs", ".windlass"];

/// How often another name is tried if another process sweeps a new one before it is locked.
const TRIES: usize = 16;

impl Layout {
    /// A temporary layout in the system's temporary directory.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn temporary() -> Result<Spool, StoreError> {
        Self::temporary_in(std::env::temp_dir())
    }

    /// A temporary layout in a new directory below `parent`. Whole layers may pass through it, so a
    /// small memory file system is unsuitable.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn temporary_in(parent: impl AsRef<Path>) -> Result<Spool, StoreError> {
        let parent = parent.as_ref();
        sweep(parent);
        let mut tries = 1;
        loop {
            let dir = tempfile::Builder::new()
                .prefix(PREFIX)
                .rand_bytes(RANDOM)
                .permissions(fs::Permissions::from_mode(MODE))
                .tempdir_in(parent)
                .map_err(|error| sys::failed("create a temporary directory in", parent, &error))?;
            match lock(dir.path())? {
                Some(lock) => {
                    let layout = Self::make(dir.path(), Durability::Temporary)?;
                    return Ok(Spool {
                        layout,
                        _dir: dir,
                        _lock: lock,
                    });
                }
                None if tries < TRIES => tries += 1,
                None => {
                    let what = format!(
                        "another process keeps removing files in {}",
                        parent.display()
                    );
                    return Err(StoreError::new(StoreErrorKind::Io, what));
                }
            }
        }
    }
}

/// Removes the spools of killed processes; failures are ignored.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if is_name(&entry.file_name()) && is_ours(&entry.path()) {
            // Locked until it is removed, so that it is not taken over.
            let dir = sys::open_real_dir(&entry.path()).ok().flatten();
            let lock = dir.filter(|dir| sys::try_lock(dir, &entry.path()).unwrap_or(false));
            if lock.is_some() {
                let _stays = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn is_name(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    random.is_some_and(|it| it.len() == RANDOM && it.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether this is a directory that only this user can enter, with nothing but a spool's content.
fn is_ours(path: &Path) -> bool {
    let is_private = fs::symlink_metadata(path).is_ok_and(|it| {
        it.is_dir() && it.uid() == sys::user() && it.permissions().mode() & 0o777 == MODE
    });
    let is_known = |name: &OsStr| ENTRIES.iter().any(|known| name == *known);
    is_private
        && fs::read_dir(path)
            .is_ok_and(|mut it| it.all(|it| it.is_ok_and(|it| is_known(&it.file_name()))))
}

/// Locks a new spool; `None` if another process is removing it. On a file system without locks
/// there is no lock, and nothing is swept there.
fn lock(path: &Path) -> Result<Option<File>, StoreError> {
    let dir = sys::open_real_dir(path)?;
    let Some(dir) = dir.filter(|dir| sys::try_lock(dir, path).unwrap_or(true)) else {
        return Ok(None);
    };
    Ok(sys::is_at(&dir, path)?.then_some(dir))
}

impl Spool {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.layout.path()
    }
}

impl Store for Spool {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.layout.begin(digest, size)
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.layout.begin_private(digest, size)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.layout.contains(digest, size)
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        Store::open(&self.layout, digest, offset)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.layout.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.layout.remove(digest)
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.layout.find(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.layout.tag(name, descriptor)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        self.layout.referrers(subject)
    }

    fn add_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<(), StoreError> {
        self.layout.add_referrers(subject, entries)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let entries = fs::read_dir(parent).expect("a folder").flatten();
        let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// A spool as a killed process leaves it.
    fn dead(parent: &Path, name: &str) {
        let path = parent.join(name);
        fs::create_dir_all(path.join("blobs/sha256")).expect("a folder");
        fs::create_dir_all(path.join(".windlass/partial")).expect("a folder");
        fs::write(path.join(".windlass/partial/x"), "half a blob").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
    }

    #[test]
    fn the_spools_of_the_dead_are_swept() {
        let parent = tempfile::tempdir().expect("a folder");
        let parent = parent.path();
        dead(parent, "windlass-spool-aB3dE6");
        fs::create_dir(parent.join("windlass-spool-zzzzzz")).expect("a folder");
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(parent.join("windlass-spool-zzzzzz"), mode).expect("a mode");
        let one = Layout::temporary_in(parent).expect("a spool");
        assert!(is_ours(one.path()), "as it will be looked for");
        let two = Layout::temporary_in(parent).expect("a spool");
        let mut left = vec![one.path().to_owned(), two.path().to_owned()];
        left.sort();
        let found: Vec<_> = names(parent).iter().map(|it| parent.join(it)).collect();
        assert_eq!(found, left, "those of the living stay");
        for spool in [one, two] {
            let digest = Digest::of(windlass_core::Algorithm::Sha256, b"x");
            spool.put(&digest, b"x").expect("it is alive");
        }
        assert!(names(parent).is_empty());
    }

    /// Other directories, and those of other users, are not touched.
    #[test]
    fn what_is_no_spool_stays() {
        let parent = tempfile::tempdir().expect("a folder");
        let parent = parent.path();
        let at = |name: &str| parent.join(name);
        for name in [
            "windlass-spool-aB3dE",
            "windlass-spool-aB3dE67",
            "windlass-aB3dE6",
        ] {
            dead(parent, name);
        }
        dead(parent, "windlass-spool-aB3d-6");
        dead(parent, "windlass-spool-public");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(at("windlass-spool-public"), mode).expect("a mode");
        dead(parent, "windlass-spool-others");
        fs::write(at("windlass-spool-others").join("thesis.txt"), "x").expect("a file");
        dead(parent, "elsewhere");
        symlink(at("elsewhere"), at("windlass-spool-linked")).expect("a link");
        fs::write(at("windlass-spool-afile1"), "x").expect("a file");
        dead(parent, "windlass-spool-locked");
        let held = lock(&at("windlass-spool-locked")).expect("a folder");
        assert!(held.is_some());
        // Only root can give a folder away.
        dead(parent, "windlass-spool-theirs");
        let theirs = at("windlass-spool-theirs");
        if std::os::unix::fs::chown(&theirs, Some(61_001), None).is_err() {
            fs::remove_dir_all(&theirs).expect("it is ours");
        }
        let before = names(parent);
        drop(Layout::temporary_in(parent).expect("a spool"));
        assert_eq!(names(parent), before);
        assert_eq!(names(&at("elsewhere")).len(), 2);
        drop(held);
        drop(Layout::temporary_in(parent).expect("a spool"));
        assert_eq!(names(parent).len(), before.len() - 1, "its process ended");
    }

    /// Spools that are created and swept at once never remove one that is in use.
    #[test]
    fn spools_that_are_made_at_once_are_not_swept() {
        let parent = tempfile::tempdir().expect("a folder");
        let make = || {
            for round in 0..20_u8 {
                let spool = Layout::temporary_in(parent.path()).expect("a spool");
                let digest = Digest::of(windlass_core::Algorithm::Sha256, &[round]);
                spool.put(&digest, &[round]).expect("it is there");
                assert!(spool.contains(&digest, 1).expect("it is there"));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(make);
            }
        });
        assert!(names(parent.path()).is_empty());
    }
}
