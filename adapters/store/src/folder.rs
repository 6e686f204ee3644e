//! A folder into which files are put under names that someone else has chosen.
//!
//! Responsible for staying in the folder: no symbolic link in it is followed, and a file gets its name at once and
//! whole. Must not know where the names come from: they are checked before
//! ([`check_title`](windlass_core::artifact::check_title)).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open, openat, renameat};
use rustix::io::Errno;
use windlass_core::artifact::check_title;
use windlass_core::{Digest, StoreError, StoreErrorKind};

use crate::layout::{Layout, error_kind};

/// The layout in the folder that has the files until all are complete.
const PARTIAL: &str = ".windlass-partial";

/// The name of a copy in there until it is complete. No file of an artifact has this name.
const COPY: &str = "copy";

/// A folder, and in it a layout from which files are moved to their names.
///
/// What was fetched before a failure stays in the layout, so that the next run goes on with it: what is complete there is
/// hashed before it is relied on. The folder itself may be reached through symbolic links. One process at a time should put files into a folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: OwnedFd,
    layout: Layout,
}

impl Folder {
    /// Opens a folder, or creates it with those above it.
    ///
    /// # Errors
    ///
    /// If it cannot be created, or something that is no layout has the place of its own in it.
    pub fn open_or_create(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|error| failed("create", &path, &error))?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = open(&path, flags, Mode::empty());
        let folder = folder.map_err(|error| failed("open", &path, &error.into()))?;
        let partial = path.join(PARTIAL);
        if partial.is_symlink() {
            return Err(refused(&partial, "it is a symbolic link"));
        }
        let layout = Layout::open_or_create(&partial)?.verifying_existing();
        Ok(Self {
            path,
            folder,
            layout,
        })
    }

    /// The layout that files are fetched into.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Gives a blob of the layout its names in the folder, with `/` between folders, which are created. The blob is moved
    /// to the last one and copied to the others. A file of that name is replaced, and so is a symbolic link, itself; a
    /// folder is not.
    ///
    /// # Errors
    ///
    /// If the blob is a symbolic link, or a name is not accepted, leads through a symbolic link, or cannot be written.
    pub fn put(&self, digest: &Digest, names: &[&str]) -> Result<(), StoreError> {
        for name in names {
            let checked = check_title(name);
            checked.map_err(|error| StoreError::new(StoreErrorKind::Denied, error.to_string()))?;
        }
        let Some((last, others)) = names.split_last() else {
            return Ok(());
        };
        let blobs = self.path.join(PARTIAL).join("blobs");
        let blob = blobs.join(digest.algorithm_name()).join(digest.encoded());
        if self.layout.is_behind_link(digest)? {
            return Err(refused(&blob, "it is a symbolic link, or behind one"));
        }
        for name in others {
            self.copy(&blob, name)?;
        }
        self.rename(&blob, last)
    }

    /// Removes the layout, with what is left in it.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn finish(self) -> Result<(), StoreError> {
        let partial = self.path.join(PARTIAL);
        drop(self.layout);
        fs::remove_dir_all(&partial).map_err(|error| failed("remove", &partial, &error))
    }

    /// Copies a file to a name: in the layout first, so that the name never stands for a part.
    fn copy(&self, from: &Path, name: &str) -> Result<(), StoreError> {
        let write = |error: io::Error| failed("write", &self.path.join(name), &error);
        let mut source = File::open(from).map_err(|error| failed("open", from, &error))?;
        let (folder, file) = self.parent(name)?;
        let folder = folder.as_ref().unwrap_or(&self.folder);
        let path = self.path.join(PARTIAL).join(COPY);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(write(error)),
            Ok(()) | Err(_) => {}
        }
        let mut copy = File::create_new(&path).map_err(write)?;
        io::copy(&mut source, &mut copy).map_err(write)?;
        copy.sync_data().map_err(write)?;
        renameat(CWD, &path, folder, file).map_err(|error| write(error.into()))
    }

    fn rename(&self, from: &Path, name: &str) -> Result<(), StoreError> {
        let (folder, file) = self.parent(name)?;
        let folder = folder.as_ref().unwrap_or(&self.folder);
        let moved = renameat(CWD, from, folder, file);
        moved.map_err(|error| failed("write", &self.path.join(name), &error.into()))
    }

    /// The folder of a file, if that is another one than this, and the last part of its name. Folders are created; none is
    /// entered through a symbolic link.
    fn parent<'a>(&self, name: &'a str) -> Result<(Option<OwnedFd>, &'a str), StoreError> {
        let Some((folders, file)) = name.rsplit_once('/') else {
            return Ok((None, name));
        };
        let mut parent: Option<OwnedFd> = None;
        let mut path = self.path.clone();
        for folder in folders.split('/') {
            path.push(folder);
            let above = parent.as_ref().unwrap_or(&self.folder);
            match mkdirat(above, folder, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed("create", &path, &error.into())),
            }
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            let opened = openat(above, folder, flags, Mode::empty());
            parent = Some(opened.map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => {
                    refused(&path, "it is no folder, or a symbolic link")
                }
                error => failed("open", &path, &error.into()),
            })?);
        }
        Ok((parent, file))
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::new(
        error_kind(error),
        format!("cannot {what} {}: {error}", path.display()),
    )
}

fn refused(path: &Path, why: &str) -> StoreError {
    let what = format!("refused to use {}: {why}", path.display());
    StoreError::new(StoreErrorKind::Denied, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

    use std::os::unix::fs::symlink;

    use windlass_core::Algorithm;

    use super::*;
    use crate::store::{Begun, Store as _};

    struct Place {
        temp: tempfile::TempDir,
        folder: Folder,
    }

    impl Place {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let folder = Folder::open_or_create(temp.path().join("a/b")).unwrap();
            Self { temp, folder }
        }

        fn put(&self, content: &[u8], names: &[&str]) -> Result<(), StoreError> {
            let digest = Digest::of(Algorithm::Sha256, content);
            self.folder.layout().put(&digest, content)?;
            self.folder.put(&digest, names)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.temp.path().join("a/b").join(name)
        }

        fn read(&self, name: &str) -> Vec<u8> {
            fs::read(self.path(name)).unwrap()
        }
    }

    #[test]
    fn files_get_their_names() {
        let place = Place::new();
        place.put(b"one", &["one", "x/y/copy", "x/copy"]).unwrap();
        place.put(b"two", &["x/two"]).unwrap();
        for name in ["one", "x/y/copy", "x/copy"] {
            assert_eq!(place.read(name), b"one", "{name}");
        }
        // What was there is replaced.
        place.put(b"new", &["x/two"]).unwrap();
        assert_eq!(place.read("x/two"), b"new");
        let root = place.path("");
        place.folder.finish().unwrap();
        let mut left: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["one", "x"], "nothing else is left");
    }

    #[test]
    fn no_link_is_followed() {
        let place = Place::new();
        let outside = place.temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), b"theirs").unwrap();
        symlink(&outside, place.path("folder")).unwrap();
        symlink(outside.join("file"), place.path("file")).unwrap();
        symlink(outside.join("new"), place.path(PARTIAL).join(COPY)).unwrap();

        let error = place.put(b"ours", &["folder/file"]).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Denied);
        assert!(error.to_string().contains("symbolic link"), "{error}");
        place.put(b"ours", &["folder2", "file"]).unwrap();
        assert_eq!(place.read("file"), b"ours");
        assert!(!place.path("file").is_symlink(), "the link is replaced");
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    /// What is in the layout may be of another run, or of someone else.
    #[test]
    fn what_was_there_is_verified() {
        let place = Place::new();
        let (content, damaged) = (b"content", b"CONTENT");
        let digest = Digest::of(Algorithm::Sha256, content);
        let layout = place.folder.layout();
        layout.put(&digest, content).unwrap();
        let is_complete = || matches!(layout.begin(&digest, 7).unwrap(), Begun::Complete);
        assert!(is_complete());
        let blobs = place.path(PARTIAL).join("blobs/sha256");
        let blob = blobs.join(digest.encoded());
        fs::remove_file(&blob).unwrap();
        fs::write(&blob, damaged).unwrap();
        assert!(!is_complete(), "it would be fetched again");

        // The right content behind a link may be replaced later.
        fs::remove_file(&blob).unwrap();
        let theirs = place.temp.path().join("theirs");
        fs::write(&theirs, content).unwrap();
        symlink(&theirs, &blob).unwrap();
        for names in [&["x"][..], &["y", "z"]] {
            let error = place.folder.put(&digest, names).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Denied);
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
        assert!(!place.path("x").exists() && !place.path("y").exists());
    }

    /// A copy that is being made is no file of the artifact.
    #[test]
    fn a_copy_does_not_replace_what_is_there() {
        let place = Place::new();
        let error = place.put(b"one", &["x/.windlass-copy"]).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Denied);
        place.put(b"one", &["x/copy"]).unwrap();
        place.put(b"two", &["x/a", "x/b"]).unwrap();
        for (name, content) in [("x/copy", b"one"), ("x/a", b"two"), ("x/b", b"two")] {
            assert_eq!(place.read(name), content);
        }
        assert_eq!(fs::read_dir(place.path("x")).unwrap().count(), 3);
    }

    #[test]
    fn what_cannot_have_its_name() {
        let place = Place::new();
        fs::create_dir_all(place.path("folder/inner")).unwrap();
        fs::write(place.path("file"), b"").unwrap();
        let table = [
            ("folder", StoreErrorKind::Io, "folder"),
            ("file/x", StoreErrorKind::Denied, "it is no folder"),
            ("../x", StoreErrorKind::Denied, "leads out of the folder"),
            ("/x", StoreErrorKind::Denied, "absolute path"),
        ];
        for (name, kind, what) in table {
            let error = place.put(b"content", &[name]).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(error.to_string().contains(what), "{name}: {error}");
        }
        assert!(place.path("folder/inner").is_dir());
    }

    #[test]
    fn a_place_that_is_taken() {
        let temp = tempfile::tempdir().unwrap();
        symlink(temp.path(), temp.path().join(PARTIAL)).unwrap();
        let error = Folder::open_or_create(temp.path()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Denied);
        let error = Folder::open_or_create("/dev/null/x").unwrap_err();
        assert!(error.to_string().contains("/dev/null/x"), "{error}");
    }
}
