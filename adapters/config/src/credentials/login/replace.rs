//! Replaces a file as a whole (CRED-09, SEC-15).
//!
//! Responsible for a file that is complete at every moment, that only its owner can read, and that is
//! changed by one process at a time. Must not know its content.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// The file to replace: what a symbolic link leads to, if there is one.
pub(super) fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(target) => return Ok(target),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Perhaps a link to a file that is not there yet.
    match fs::read_link(path) {
        Ok(link) => Ok(folder(path).join(link)),
        Err(_) => Ok(path.to_owned()),
    }
}

/// Makes the folder of a file, for its owner only, and locks it until the lock is dropped.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    /// Another login takes milliseconds.
    const PATIENCE: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(20);
    let folder = folder(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let locked = File::open(folder)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match flock(&locked, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(locked),
            Err(error) if error != rustix::io::Errno::WOULDBLOCK => return Err(error.into()),
            Err(_) if Instant::now() >= until => {
                let why = "another process is changing it";
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Replaces the file, or makes it.
pub(super) fn replace(path: &Path, content: &str) -> io::Result<()> {
    let mut beside = tempfile::Builder::new();
    beside.prefix(".windlass-login-");
    beside.permissions(Permissions::from_mode(0o600));
    let mut file = beside.tempfile_in(folder(path))?;
    file.write_all(content.as_bytes())?;
    if let Ok(old) = fs::metadata(path) {
        // `sudo` must not take the file from its owner; without the right to do so it is ours.
        let _kept = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    folder.unwrap_or_else(|| Path::new("."))
}
