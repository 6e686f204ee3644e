//! A folder of open uploads.
//!
//! ```text
//!  <repository>-<upload>.json   an upload; its age is that of the file
//!  <repository>-<upload>.lock   locked by the process that goes on with it
//! ```
//!
//! Responsible for files that only their owner can read, that are complete at every moment, and of which there
//! are not too many. The names are hashes, so they tell nothing. Nothing is made durable: a file that a crash of
//! the machine leaves incomplete is ignored, and the blob is sent again.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use windlass_core::reference::Repository;
use windlass_core::{Algorithm, Digest, Registry, SavedUpload, UploadKey};

use super::UploadJournal;

/// More than an upload has: URLs have a few hundred bytes, and 64 KiB at most.
const MOST_BYTES: u64 = 128 * 1024;

/// More than this are not kept; the oldest are removed.
const MOST_FILES: usize = 256;

/// How often one upload is written. The newest of it is made up for later: an older position costs nothing, as
/// the registry is asked, but registries drop an upload for an older URL of it (PUSHB-38).
const PAUSE: Duration = Duration::from_millis(250);

/// What a process that was killed while it wrote has left is removed after this.
const HALF_WRITTEN: Duration = Duration::from_secs(60 * 60);

const PREFIX: &str = ".windlass-upload-";

/// Keeps uploads in a folder. One client has one; several processes may have the same folder.
#[derive(Debug)]
pub struct UploadFolder {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that this process goes on with, by name.
    held: BTreeMap<String, Held>,
    /// What went wrong first.
    problem: Option<String>,
}

#[derive(Debug)]
struct Held {
    lock: File,
    /// What was written last, and when.
    written: Option<(SavedUpload, Instant)>,
    /// What is to be written in its place, and since when.
    pending: Option<(SavedUpload, Instant)>,
}

impl Held {
    const fn new(lock: File) -> Self {
        Self {
            lock,
            written: None,
            pending: None,
        }
    }

    /// Whether something of the upload was written just now.
    fn is_recent(&self) -> bool {
        let written = self.written.as_ref();
        written.is_some_and(|(_, at)| at.elapsed() < PAUSE)
    }
}

impl UploadFolder {
    /// Uploads in this folder. It is made when there is something to keep; then only its owner can read it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            state: Mutex::default(),
        }
    }

    /// Why uploads were not kept, or one was ignored, if that happened: for a warning. It has no secret.
    pub fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.json"))
    }

    fn lock_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.lock"))
    }

    /// The names of all uploads, with their files' ages. Those that are too old are removed, and so is what
    /// nothing belongs to.
    fn swept(&self, state: &mut State) -> io::Result<Vec<(String, Duration)>> {
        check_folder(&self.path)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let (name, metadata) = (entry.file_name(), entry.metadata());
            let (Some(name), Ok(metadata)) = (name.to_str(), metadata) else {
                continue;
            };
            let age = age(&metadata);
            if let Some(name) = name.strip_suffix(".json").filter(|name| is_name(name)) {
                found.push((name.to_owned(), age));
            } else if let Some(name) = name.strip_suffix(".lock").filter(|name| is_name(name)) {
                if age > HALF_WRITTEN
                    && !self.file(name).exists()
                    && let Some(lock) = self.lock_or_note(state, name)
                {
                    self.unlock(name, lock);
                }
            } else if name.starts_with(PREFIX) && age > HALF_WRITTEN {
                drop(fs::remove_file(entry.path()));
            }
        }
        found.sort_by_key(|(_, age)| *age);
        for (name, _) in found.iter().skip(MOST_FILES) {
            self.remove_unless_locked(state, name);
        }
        found.truncate(MOST_FILES);
        found.retain(|(name, age)| {
            let is_old = *age >= SavedUpload::LIFE;
            if is_old {
                self.remove_unless_locked(state, name);
            }
            !is_old
        });
        Ok(found)
    }

    fn remove_unless_locked(&self, state: &mut State, name: &str) {
        if let Some(lock) = self.lock_or_note(state, name) {
            drop(fs::remove_file(self.file(name)));
            self.unlock(name, lock);
        }
    }

    /// Locks an upload. `None` if another process or client has it; an error if it is unknown whether one has.
    fn lock(&self, name: &str) -> io::Result<Option<File>> {
        let path = self.lock_file(name);
        for _ in 0..3 {
            let file =
                private(OpenOptions::new().create(true).write(true).truncate(false)).open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Another process may have removed it between the two.
            let (ours, there) = (file.metadata()?, fs::symlink_metadata(&path));
            if there.is_ok_and(|it| (it.dev(), it.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Locks an upload, as [`lock`](Self::lock) does, and notes why it cannot be locked.
    fn lock_or_note(&self, state: &mut State, name: &str) -> Option<File> {
        self.lock(name).unwrap_or_else(|error| {
            note(state, &self.lock_file(name), &error);
            None
        })
    }

    /// Gives a lock back. Its file goes first: what opens it meanwhile sees that.
    fn unlock(&self, name: &str, lock: File) {
        drop(fs::remove_file(self.lock_file(name)));
        drop(lock);
    }

    /// Locks an upload for as long as this client goes on with it. `None` if another process has it.
    fn hold<'a>(&self, state: &'a mut State, name: &str) -> io::Result<Option<&'a mut Held>> {
        if !state.held.contains_key(name) {
            make_folder(&self.path)?;
            let Some(lock) = self.lock_or_note(state, name) else {
                return Ok(None);
            };
            state.held.insert(name.to_owned(), Held::new(lock));
        }
        Ok(state.held.get_mut(name))
    }

    /// Reads an upload. `None` if it is gone.
    fn read(&self, name: &str) -> io::Result<Option<SavedUpload>> {
        let path = self.file(name);
        let file = match private(OpenOptions::new().read(true)).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        check_owner(&metadata)?;
        if !metadata.is_file() {
            return Err(refused("it is no regular file"));
        }
        let mut text = String::new();
        file.take(MOST_BYTES).read_to_string(&mut text)?;
        let upload = SavedUpload::from_json(&text).map_err(io::Error::other)?;
        if name_of(upload.key()) != name {
            return Err(refused("it is of another upload"));
        }
        Ok(Some(upload.older_by(age(&metadata))))
    }

    fn write(&self, name: &str, upload: &SavedUpload) -> io::Result<()> {
        let mut beside = tempfile::Builder::new();
        beside.prefix(PREFIX);
        beside.permissions(Permissions::from_mode(0o600));
        let mut file = beside.tempfile_in(&self.path)?;
        file.write_all(upload.to_json().as_bytes())?;
        file.persist(self.file(name))?;
        Ok(())
    }

    fn keep_in(&self, state: &mut State, upload: &SavedUpload) -> io::Result<()> {
        let name = name_of(upload.key());
        // Another process sends the same blob to the same place: the file is that one's.
        let Some(held) = self.hold(state, &name)? else {
            return Ok(());
        };
        let written = held.written.as_ref();
        let is_known = written.is_some_and(|(before, _)| before.is_same_session(upload));
        if is_known && held.is_recent() {
            held.pending = Some((upload.clone(), Instant::now()));
            return Ok(());
        }
        self.write(&name, upload)?;
        held.written = Some((upload.clone(), Instant::now()));
        held.pending = None;
        Ok(())
    }

    /// Writes what was not written when it came: what is due, or all of it.
    fn catch_up(&self, state: &mut State, all: bool) {
        let mut failed = Vec::new();
        for (name, held) in &mut state.held {
            if !all && held.is_recent() {
                continue;
            }
            let Some((upload, since)) = held.pending.take() else {
                continue;
            };
            let upload = upload.older_by(since.elapsed());
            match self.write(name, &upload) {
                Ok(()) => held.written = Some((upload, Instant::now())),
                Err(error) => failed.push(error),
            }
        }
        for error in failed {
            note(state, &self.path, &error);
        }
    }
}

impl UploadJournal for UploadFolder {
    fn left_open(&self, registry: &Registry, repository: &Repository) -> Vec<SavedUpload> {
        let mut state = self.state();
        let names = match self.swept(&mut state) {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                note(&mut state, &self.path, &error);
                return Vec::new();
            }
        };
        let of_repository = repository_hash(registry, repository);
        let mut found = Vec::new();
        for (name, _) in names {
            if !name.starts_with(&of_repository) || state.held.contains_key(&name) {
                continue;
            }
            match self.read(&name) {
                Ok(upload) => found.extend(upload),
                Err(error) => note(&mut state, &self.file(&name), &error),
            }
        }
        found
    }

    fn take(&self, upload: &SavedUpload) -> bool {
        let mut state = self.state();
        let name = name_of(upload.key());
        match self.hold(&mut state, &name) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(error) => {
                note(&mut state, &self.path, &error);
                return false;
            }
        }
        // It may have gone on since it was offered, to its end or in another session.
        let is_same = match self.read(&name) {
            Ok(found) => found.is_some_and(|found| found.is_same_session(upload)),
            Err(error) => {
                note(&mut state, &self.file(&name), &error);
                false
            }
        };
        if !is_same && let Some(held) = state.held.remove(&name) {
            self.unlock(&name, held.lock);
        }
        is_same
    }

    fn keep(&self, upload: &SavedUpload) {
        let mut state = self.state();
        if let Err(error) = self.keep_in(&mut state, upload) {
            note(&mut state, &self.path, &error);
        }
        self.catch_up(&mut state, false);
    }

    fn forget(&self, key: &UploadKey) {
        let name = name_of(key);
        let Some(held) = self.state().held.remove(&name) else {
            return;
        };
        drop(fs::remove_file(self.file(&name)));
        self.unlock(&name, held.lock);
    }
}

/// Uploads that are kept are another process's from now on.
impl Drop for UploadFolder {
    fn drop(&mut self) {
        let mut state = self.state();
        self.catch_up(&mut state, true);
        let held = std::mem::take(&mut state.held);
        drop(state);
        for (name, held) in held {
            self.unlock(&name, held.lock);
        }
    }
}

fn note(state: &mut State, path: &Path, error: &io::Error) {
    let what = || format!("{}: {error}", path.display());
    state.problem.get_or_insert_with(what);
}

/// Opens a file for its owner alone, and none that a symbolic link leads to.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.mode(0o600).custom_flags(flags.bits().cast_signed())
}

fn make_folder(path: &Path) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    folder.recursive(true).mode(0o700).create(path)?;
    check_folder(path)
}

/// Others must not be able to put files there, nor to read them.
fn check_folder(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Err(refused("it is no folder"));
    }
    check_owner(&metadata)
}

fn check_owner(metadata: &Metadata) -> io::Result<()> {
    if metadata.uid() != geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(refused("other users have access to it"));
    }
    Ok(())
}

fn refused(why: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

/// The time since a file was written; none if its clock is ahead.
fn age(metadata: &Metadata) -> Duration {
    let written = metadata.modified().ok();
    written.and_then(|at| at.elapsed().ok()).unwrap_or_default()
}

/// The name of an upload's files.
fn name_of(key: &UploadKey) -> String {
    let repository = repository_hash(key.registry(), key.repository());
    format!("{repository}{}", &hash(&key.to_string())[..32])
}

/// What the names of all uploads to a repository begin with.
fn repository_hash(registry: &Registry, repository: &Repository) -> String {
    let hash = hash(&format!("{registry} {repository}"));
    format!("{}-", &hash[..16])
}

fn hash(text: &str) -> String {
    let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
    digest.encoded().to_owned()
}

fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    name.len() == 16 + 1 + 32 && name.bytes().all(is_inner)
}
