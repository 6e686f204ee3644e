//! A file for the tape of a session.
//!
//! Responsible for a file that others cannot read, and for remembering when it could not be written: a
//! transfer does not fail because its tape does. Must not know what is on it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use windlass_core::tape::Sink;

/// Secrets are replaced on a tape, but whose images are moved is nobody else's business.
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
    /// An empty file, which only its owner can read. What was there before is gone.
    ///
    /// # Errors
    ///
    /// If it cannot be made or written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(MODE);
        let file = options.open(path)?;
        // One that was there may have been open to others; a device stays as it is.
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(MODE))?;
        }
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

impl Sink for TapeFile {
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
    use std::fs;

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

    #[test]
    fn what_cannot_be_written_is_remembered() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let before = mode(full);
        let tape = TapeFile::create(full).expect("it can be opened");
        assert_eq!(mode(full), before, "a device is not ours to change");
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
