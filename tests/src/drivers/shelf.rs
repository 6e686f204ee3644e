//! Layouts on disk for clients.

use std::sync::Arc;

use windlass_store::Store;

use crate::images::Layout;

/// A layout on disk, and the store that a client is given.
#[derive(Debug)]
pub struct Shelf {
    /// The files.
    pub files: Layout,
    /// The store.
    pub store: Arc<dyn Store>,
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Self {
        Self::of(Layout::absent())
    }

    /// One over these files.
    pub fn of(files: Layout) -> Self {
        let store = windlass_store::Layout::open_or_create(&files.path).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        Self { files, store }
    }

    /// The same files as another process would open them.
    pub fn opened_again(&self) -> Arc<dyn Store> {
        Arc::new(windlass_store::Layout::open_or_create(&self.files.path).unwrap())
    }

    /// Asserts that it holds this image, byte for byte, and nothing else.
    #[track_caller]
    pub fn check_holds(&self, image: &windlass_testbed::Image) {
        self.check_holds_all(&[image], 0);
    }

    /// Asserts that it holds these images and `more` other documents.
    #[track_caller]
    pub fn check_holds_all(&self, images: &[&windlass_testbed::Image], more: usize) {
        let mut digests: Vec<String> = Vec::new();
        for image in images {
            digests.extend(image.blob_digests().iter().map(ToString::to_string));
            digests.push(image.digest.to_string());
        }
        digests.sort();
        digests.dedup();
        for digest in &digests {
            assert!(self.files.has(digest), "{digest} is missing");
        }
        assert_eq!(self.files.check(), digests.len() + more);
    }
}

impl Default for Shelf {
    fn default() -> Self {
        Self::new()
    }
}
