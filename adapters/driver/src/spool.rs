//! A spool that is made when a blob has to go through it.
//!
//! Responsible for making none for the copies that need none, which are most. Must not know why one needs it.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use windlass_core::{Descriptor, Digest, StoreError};
use windlass_store::{Begun, InUse, Layout, Spool, Store};

/// A temporary store that is empty, and not made, until a blob is written to it.
#[derive(Debug, Default)]
pub(crate) struct LazySpool(Mutex<Option<Arc<Spool>>>);

impl LazySpool {
    fn made(&self) -> Option<Arc<Spool>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn make(&self) -> Result<Arc<Spool>, StoreError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = &*made {
            return Ok(Arc::clone(layout));
        }
        let layout = Arc::new(Layout::temporary()?);
        *made = Some(Arc::clone(&layout));
        Ok(layout)
    }
}

impl Store for LazySpool {
    fn title(&self) -> String {
        self.made()
            .map_or_else(|| "the spool".into(), |layout| layout.title())
    }

    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.make()?.begin(digest, size)
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.make()?.begin_private(digest, size)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.made()
            .map_or(Ok(false), |layout| layout.contains(digest, size))
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.made()
            .map_or(Ok(None), |layout| layout.open(digest, offset))
    }

    fn open_to_send(
        &self,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.made()
            .map_or(Ok(None), |layout| layout.open_to_send(digest, size, offset))
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.make()?.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.made().map_or(Ok(()), |layout| layout.remove(digest))
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.make()?.find(name)
    }

    fn in_use(&self) -> Result<Option<InUse>, StoreError> {
        self.make()?.in_use()
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.make()?.tag(name, descriptor)
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::Algorithm;

    use super::*;

    #[test]
    fn it_is_made_for_the_first_blob_and_removed_with_its_last_user() {
        let spool = LazySpool::default();
        let digest = Digest::of(Algorithm::Sha256, b"hello");
        assert!(!spool.contains(&digest, 5).expect("it is empty"));
        assert!(spool.open(&digest, 0).expect("it is empty").is_none());
        spool.remove(&digest).expect("nothing is to be removed");
        assert!(spool.made().is_none(), "nothing was written");
        spool.put(&digest, b"hello").expect("it is made");
        assert!(spool.contains(&digest, 5).expect("it is there"));
        let layout = spool.made().expect("it is made");
        let title = layout.title();
        drop((layout, spool));
        let folder = title.trim_matches('`');
        assert!(!std::path::Path::new(folder).exists(), "{title} is left");
    }
}
