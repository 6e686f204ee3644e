//! A layout that is created when something is first stored in it.
//!
//! Responsible for creating no files if nothing is stored. Everything else is the work of
//! `windlass-store`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use windlass_core::{Descriptor, Digest, StoreError, StoreErrorKind};
use windlass_store::{Begun, Layout, Store};

/// A layout that may not exist yet.
#[derive(Debug)]
pub(crate) struct NewLayout {
    path: PathBuf,
    made: Mutex<Option<Layout>>,
}

impl NewLayout {
    /// A layout at `path`, where nothing exists now.
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            made: Mutex::default(),
        }
    }

    fn make(&self) -> Result<Layout, StoreError> {
        let mut made = self.made();
        if let Some(layout) = &*made {
            return Ok(layout.clone());
        }
        // If another process has created it meanwhile, this opens it.
        let layout = Layout::open_or_create(&self.path)?;
        *made = Some(layout.clone());
        Ok(layout)
    }

    fn there(&self) -> Option<Layout> {
        self.made().clone()
    }

    fn made(&self) -> MutexGuard<'_, Option<Layout>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for NewLayout {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.make()?.begin(digest, size)
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.make()?.begin_private(digest, size)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let there = self.there();
        there.map_or(Ok(false), |layout| layout.contains(digest, size))
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let there = self.there();
        there.map_or(Ok(None), |layout| Store::open(&layout, digest, offset))
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.make()?.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let there = self.there();
        there.map_or(Ok(()), |layout| layout.remove(digest))
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        let nothing = || {
            let what = format!("image layout {} is empty", self.path.display());
            Err(StoreError::new(StoreErrorKind::NoSuchName, what))
        };
        self.there()
            .map_or_else(nothing, |layout| layout.find(name))
    }

    fn find_all(&self, name: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        match self.there() {
            Some(layout) => layout.find_all(name),
            None => self.find(name).map(|found| vec![found]),
        }
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.make()?.tag(name, descriptor)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        match self.there() {
            Some(layout) => layout.referrers(subject),
            None => Ok(Vec::new()),
        }
    }

    fn add_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<(), StoreError> {
        self.make()?.add_referrers(subject, entries)
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::Algorithm;

    use super::*;

    #[test]
    fn it_is_made_by_what_is_stored_and_not_by_looking() {
        let digest = Digest::of(Algorithm::Sha256, b"hello");
        let entry = Descriptor::new("text/plain", digest.clone(), 5);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("layout");
        let layout = NewLayout::at(&path);
        assert!(!layout.contains(&digest, 5).expect("nothing there"));
        assert!(layout.open(&digest, 0).expect("nothing there").is_none());
        layout.remove(&digest).expect("nothing to remove");
        let error = layout.find(None).expect_err("nothing there");
        assert_eq!(error.kind(), StoreErrorKind::NoSuchName);
        assert!(
            !folder.path().join("deep").exists(),
            "looking makes nothing"
        );

        layout.put(&digest, b"hello").expect("it is made");
        layout.tag(Some("v1"), &entry).expect("it is there");
        assert!(layout.contains(&digest, 5).expect("it is there"));
        let found = Layout::open(&path).expect("a layout").find(Some("v1"));
        assert_eq!(found.expect("its name").digest, digest);
    }
}
