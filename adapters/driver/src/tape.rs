//! A file for the tape of a session.
//!
//! Responsible for a file that others cannot read, and for remembering when it could not be written: a
//! transfer does not fail because its tape does. Must not know what is on it.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::geteuid;
use windlass_core::tape::TapeSink;

/// A tape has no secrets, but it names images and repositories: only its owner may read it.
const MODE: u32 = 0o600;

/// Takes a tape and writes it to a file, line by line: a process that is killed leaves what came
/// before.
#[derive(Debug)]
pub struct TapeFile(Mutex<State>);

#[derive(Debug)]
struct State {
    file: File,
    /// Why the tape is not complete, if it is not.
    gap: Option<String>,
}

impl TapeFile {
    /// An empty file, which only this user can read. It replaces a file of this user's, which is not
    /// written to: it may have other names, and others may have it open.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or if what is there is no regular file or is another user's.
    pub fn create(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(there) if there.is_symlink() => return Err(refused("it is a symbolic link")),
            Ok(there) if !there.is_file() => return Err(refused("it is no regular file")),
            Ok(there) if there.uid() != geteuid().as_raw() => {
                return Err(refused("it belongs to another user"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let mut beside = tempfile::Builder::new();
        beside.prefix(".windlass-tape-");
        beside.permissions(Permissions::from_mode(MODE));
        let file = beside.tempfile_in(folder)?.persist(path)?;
        Ok(Self(Mutex::new(State { file, gap: None })))
    }

    /// Whether everything is on the tape; else why it is not.
    ///
    /// # Errors
    ///
    /// What stopped the recording.
    pub fn complete(&self) -> Result<(), String> {
        match &self.lock().gap {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

impl TapeSink for TapeFile {
    fn line(&self, line: &str) {
        let mut state = self.lock();
        if state.gap.is_some() {
            return;
        }
        if let Err(error) = state.file.write_all(format!("{line}\n").as_bytes()) {
            // A tape with a hole would replay to another story: nothing more is written.
            state.gap = Some(error.to_string());
        }
    }

    fn broken(&self, why: &str) {
        self.lock().gap.get_or_insert_with(|| why.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        let metadata = fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    }

    #[test]
    fn a_tape_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tape");
        fs::write(&path, "another tape, which was longer").expect("it is written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("they are set");
        let tape = TapeFile::create(&path).expect("it is made");
        assert_eq!(mode(&path), 0o600);
        tape.line("one");
        tape.line("two");
        assert_eq!(fs::read_to_string(&path).expect("text"), "one\ntwo\n");
        assert_eq!(tape.complete(), Ok(()));
        let fresh = folder.path().join("fresh");
        drop(TapeFile::create(&fresh).expect("it is made"));
        assert_eq!(mode(&fresh), 0o600);
    }

    /// An existing file is never written to, even before its owner has been checked.
    #[test]
    fn what_is_there_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let target = at("target");
        fs::write(&target, "mine").expect("it is written");
        symlink(&target, at("symlink")).expect("a link");
        symlink(at("nothing"), at("dangling")).expect("a link");
        fs::create_dir(at("folder")).expect("a folder");
        let made = std::process::Command::new("mkfifo")
            .arg(at("fifo"))
            .status();
        assert!(made.is_ok_and(|status| status.success()), "a pipe");
        let mut refused = vec![at("symlink"), at("dangling"), at("folder"), at("fifo")];
        refused.push("/dev/null".into());
        fs::write(at("theirs"), "theirs").expect("it is written");
        // Only root can give a file away.
        if chown(at("theirs"), Some(61_001), None).is_ok() {
            refused.push(at("theirs"));
        }
        for path in refused {
            let error = TapeFile::create(&path).expect_err("not ours to write");
            assert_eq!(
                error.kind(),
                io::ErrorKind::PermissionDenied,
                "{}",
                path.display()
            );
        }
        assert_eq!(fs::read(at("theirs")).expect("it is there"), b"theirs");
        assert!(!at("nothing").exists());
        // Another name of a file keeps what is in it, and so does who has it open.
        fs::hard_link(&target, at("second")).expect("a link");
        let open = File::open(&target).expect("it is there");
        let tape = TapeFile::create(&at("second")).expect("its name is ours");
        tape.line("one");
        assert_eq!(fs::read(&target).expect("it is there"), b"mine");
        assert_eq!(io::read_to_string(open).expect("text"), "mine");
        assert_eq!(fs::read(at("second")).expect("it is there"), b"one\n");
        let left = fs::read_dir(folder.path()).expect("a folder");
        let beside = left
            .flatten()
            .filter(|it| it.file_name().to_string_lossy().starts_with('.'));
        assert_eq!(beside.count(), 0, "nothing is left beside them");
    }

    #[test]
    fn what_cannot_be_written_is_remembered() {
        let full = Path::new("/dev/full");
        let Ok(file) = File::options().write(true).open(full) else {
            return;
        };
        let tape = TapeFile(Mutex::new(State { file, gap: None }));
        tape.line("one");
        tape.broken("another reason");
        let why = tape.complete().expect_err("it is full");
        assert!(why.contains("space"), "{why}");
    }

    #[test]
    fn a_recording_that_ended_early_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let tape = TapeFile::create(&folder.path().join("tape")).expect("it is made");
        tape.broken("a reason");
        assert_eq!(tape.complete(), Err("a reason".to_owned()));
    }

    #[test]
    fn no_folder_no_tape() {
        let error = TapeFile::create(Path::new("/nowhere/tape")).expect_err("no such folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
