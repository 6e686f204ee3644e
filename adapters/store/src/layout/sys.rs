//! The operating system: files that are not symlinks, locks, errors.
//!
//! Responsible for everything particular to Unix, and for turning a system error into a
//! [`StoreError`] that names the step and the path. Must not know layouts.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FlockOperation, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock,
    utimensat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use windlass_core::{StoreError, StoreErrorKind};

/// A system error of `what` on `path` as a store error.
pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::new(kind(error), format!("{what} {}: {error}", path.display()))
}

/// The kind of store error for a system error: the same for every store on a file system.
pub fn kind(error: &io::Error) -> StoreErrorKind {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => StoreErrorKind::Full,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => StoreErrorKind::Denied,
        Some(Errno::MFILE | Errno::NFILE) => StoreErrorKind::Descriptors,
        _ => StoreErrorKind::Io,
    }
}

/// Whether the path is absent. A path below a regular file (`ENOTDIR`) is an error instead, which
/// the caller should see.
pub(super) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Opens a regular file for reading; `None` if it is absent. Refuses symlinks, and never blocks on
/// a FIFO or a device (LAY-14).
pub(super) fn open_regular(path: &Path) -> Result<Option<File>, StoreError> {
    open_with(path, unfollowed(), |path| fs::symlink_metadata(path))
}

/// The same, but follows symlinks: for files that are only read.
pub(super) fn open_through_links(path: &Path) -> Result<Option<File>, StoreError> {
    let flags = unfollowed() & !OFlags::NOFOLLOW.bits().cast_signed();
    open_with(path, flags, |path| fs::metadata(path))
}

fn open_with(
    path: &Path,
    flags: i32,
    look: impl Fn(&Path) -> io::Result<Metadata>,
) -> Result<Option<File>, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    match options.open(path) {
        Ok(file) => {
            let metadata = stat(&file, path)?;
            regular(&metadata, path)?;
            Ok(Some(file))
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => {
            let refused = look(path).ok().and_then(|it| regular(&it, path).err());
            Err(refused.unwrap_or_else(|| failed("open", path, &error)))
        }
    }
}

/// Opens a file for reading and writing, or creates it, never through a symlink. Does not change an
/// existing file.
pub(super) fn open_or_create(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    options
        .truncate(false)
        .mode(0o600)
        .custom_flags(unfollowed());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) => {
            let there = fs::symlink_metadata(path).ok();
            let refused = there.and_then(|it| regular(&it, path).err());
            return Err(refused.unwrap_or_else(|| failed("create", path, &error)));
        }
    };
    regular(&stat(&file, path)?, path)?;
    Ok(file)
}

/// Creates a file with a blob's mode; `None` if the name is taken.
pub(super) fn create_new(path: &Path) -> Result<Option<File>, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o644);
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(failed("create", path, &error)),
    }
}

/// Creates a directory; refuses a symlink. Returns the metadata of an existing one, `None` if it
/// was created.
pub(super) fn ensure_dir(path: &Path, mode: u32) -> Result<Option<Metadata>, StoreError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match real_dir(path)? {
            Some(there) => Ok(Some(there)),
            // Another process removed it in between.
            None => Err(failed("create directory", path, &error)),
        },
        // A read-only file system reports this even if the directory exists.
        Err(error) => match real_dir(path) {
            Ok(Some(there)) => Ok(Some(there)),
            Ok(None) | Err(_) => Err(failed("create directory", path, &error)),
        },
    }
}

/// The directory at `path`, `None` if absent; refuses a symlink or a file in its place (LAY-14).
pub(super) fn real_dir(path: &Path) -> Result<Option<Metadata>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Some(metadata)),
        Ok(metadata) => Err(StoreError::new(
            StoreErrorKind::Denied,
            format!(
                "refused to use {}: it is {}, not a directory",
                path.display(),
                describe(&metadata)
            ),
        )),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed("look up", path, &error)),
    }
}

/// Opens a directory that is no symlink; `None` if absent.
pub(super) fn open_real_dir(path: &Path) -> Result<Option<File>, StoreError> {
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    match options.open(path) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed("open directory", path, &error)),
    }
}

pub(super) fn is_link(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_symlink()),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(failed("look up", path, &error)),
    }
}

/// Removes the permissions of group and others from a directory that is no symlink. Failures are
/// ignored, as in [`chmod`].
pub(super) fn close_dir(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(unfollowed());
    let dir = options
        .open(path)
        .map_err(|error| failed("open directory", path, &error))?;
    if stat(&dir, path)?.is_dir() {
        chmod(&dir, 0o700);
    }
    Ok(())
}

/// The user that this process writes files as.
pub(super) fn user() -> u32 {
    geteuid().as_raw()
}

/// Takes the exclusive lock of an open file, without waiting. The lock belongs to the open file
/// description: it excludes other processes and other threads alike, and ends when the file is
/// closed, also by a crash.
pub(super) fn try_lock(file: &File, path: &Path) -> Result<bool, StoreError> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(failed("lock", path, &error.into())),
        }
    }
}

/// Releases a lock without waiting for the file to be closed: a process that another thread is just
/// starting (a credential helper) has a copy of every open file until it executes its program.
pub(super) fn unlock(file: &File) {
    let _ = flock(file, FlockOperation::Unlock);
}

/// Removes a file, if it exists.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(failed("remove", path, &error)),
    }
}

/// Sets a file's time to now. Failures are ignored.
pub(super) fn touch(path: &Path) {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
    };
    let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Whether `path` still names the open file. Called under the lock, it detects a rename or a
/// removal between open and lock.
pub(super) fn is_at(file: &File, path: &Path) -> Result<bool, StoreError> {
    let ours = stat(file, path)?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(there.dev() == ours.dev() && there.ino() == ours.ino()),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(failed("look up", path, &error)),
    }
}

pub(super) fn stat(file: &File, path: &Path) -> Result<Metadata, StoreError> {
    file.metadata()
        .map_err(|error| failed("look up", path, &error))
}

/// Makes a file's bytes and length durable. A wrong time or mode does no damage.
pub(super) fn sync_file(file: &File, path: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    tests::planned(path)?;
    file.sync_data()
        .map_err(|error| failed("sync", path, &error))
}

/// Opens a directory for a later sync, before its names change: a directory that cannot be opened
/// cannot be synced.
pub(super) fn open_dir(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(|error| failed("open directory", path, &error))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &File, path: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    tests::planned(path)?;
    match dir.sync_all() {
        Ok(()) => Ok(()),
        // Some network and user-space file systems cannot sync a directory and say so; they do not
        // need it either.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
        Err(error) => Err(failed("sync directory", path, &error)),
    }
}

/// Sets a file's mode. Failures are ignored: they occur where the file system has no modes (FAT,
/// some network shares).
pub(super) fn chmod(file: &File, mode: u32) {
    let _ = file.set_permissions(fs::Permissions::from_mode(mode));
}

fn unfollowed() -> i32 {
    // The flags fit: they are a C int.
    (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC)
        .bits()
        .cast_signed()
}

fn regular(metadata: &Metadata, path: &Path) -> Result<(), StoreError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Denied,
        format!(
            "refused to use {}: it is {}, not a regular file",
            path.display(),
            describe(metadata)
        ),
    ))
}

fn describe(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a regular file"
    } else {
        "a special file"
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;

    use super::*;

    type Fails = Box<dyn Fn(&str) -> bool>;

    thread_local! {
        static FAILING: RefCell<Option<Fails>> = const { RefCell::new(None) };
    }

    /// Runs `what` while syncs of these paths fail in this thread.
    pub(in crate::layout) fn with_failing_syncs<T>(
        of: impl Fn(&str) -> bool + 'static,
        what: impl FnOnce() -> T,
    ) -> T {
        FAILING.set(Some(Box::new(of)));
        let result = what();
        FAILING.set(None);
        result
    }

    pub(super) fn planned(path: &Path) -> Result<(), StoreError> {
        let text = path.to_string_lossy();
        if FAILING.with_borrow(|fails| fails.as_ref().is_some_and(|fails| fails(&text))) {
            return Err(failed("sync", path, &Errno::IO.into()));
        }
        Ok(())
    }

    #[test]
    fn errors_are_sorted_by_what_helps() {
        let cases = [
            (Errno::NOSPC, StoreErrorKind::Full),
            (Errno::DQUOT, StoreErrorKind::Full),
            (Errno::FBIG, StoreErrorKind::Full),
            (Errno::ACCESS, StoreErrorKind::Denied),
            (Errno::PERM, StoreErrorKind::Denied),
            (Errno::ROFS, StoreErrorKind::Denied),
            (Errno::MFILE, StoreErrorKind::Descriptors),
            (Errno::NFILE, StoreErrorKind::Descriptors),
            (Errno::NOTDIR, StoreErrorKind::Io),
            (Errno::IO, StoreErrorKind::Io),
        ];
        for (errno, expected) in cases {
            let error = failed("write", Path::new("/x/y"), &errno.into());
            assert_eq!(error.kind(), expected, "{errno:?}");
            assert!(error.detail().starts_with("write /x/y: "), "{error}");
        }
        let other = io::Error::other("no number");
        assert_eq!(kind(&other), StoreErrorKind::Io);
    }

    #[test]
    fn a_device_without_space_is_full() {
        use std::io::Write as _;
        let Ok(mut full) = OpenOptions::new().write(true).open("/dev/full") else {
            return;
        };
        let error = full.write_all(b"x").expect_err("/dev/full is full");
        assert_eq!(kind(&error), StoreErrorKind::Full);
    }
}
