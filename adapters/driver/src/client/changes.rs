//! Images and indexes that a client changes, and the choice of an entry.

use windlass_core::{Descriptor, Digest, ImageChange, Platform, Reference};

use super::{Client, ProcedureRequest};
use crate::change_image::{ChangeImage, LayerContent};
use crate::change_index::ChangeIndex;
use crate::choose::Choose;

impl<D> Client<D> {
    /// Changes an image, and puts the result at another reference of any repository, or in its place. Of an index the
    /// image for Linux on this machine's architecture, unless [`platform`](ProcedureRequest::platform) is another. The
    /// report has the new digests. If the destination is another repository, the image itself is copied there first,
    /// without a tag. If an index is at the tag that the result goes to, the platform has to be said, and the entry for
    /// it is changed.
    pub fn change_image(
        &self,
        source: &Reference,
        destination: &Reference,
        change: ImageChange,
    ) -> ProcedureRequest<'_, D, ChangeImage> {
        self.procedure(ChangeImage::new(source, destination, change))
    }

    /// Makes an index of [images](ProcedureRequest::image), and puts it at a reference.
    pub fn create_index(&self, destination: &Reference) -> ProcedureRequest<'_, D, ChangeIndex> {
        self.procedure(ChangeIndex::create(destination))
    }

    /// Changes an index, and puts the result at another reference or in its place.
    pub fn change_index(
        &self,
        base: &Reference,
        destination: &Reference,
    ) -> ProcedureRequest<'_, D, ChangeIndex> {
        self.procedure(ChangeIndex::of(base, destination))
    }

    /// Lets the caller choose an entry of an index, by its number. The report is the reference of the image, by its digest:
    /// for [`open`](Self::open), [`pull`](Self::pull) and all others. What is no index needs no choice; if the entry is
    /// an index, the function is called again.
    pub fn choose<F>(&self, reference: &Reference, choose: F) -> ProcedureRequest<'_, D, Choose<F>>
    where
        F: FnMut(&[Descriptor]) -> Option<usize> + Send + 'static,
    {
        self.procedure(Choose::new(reference, choose))
    }
}

impl<D> ProcedureRequest<'_, D, ChangeImage> {
    /// One more layer on top.
    pub fn layer(mut self, layer: LayerContent) -> Self {
        self.procedure.layer(layer);
        self
    }

    /// Of an index, the image for this platform.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.procedure.platform(platform);
        self
    }
}

impl<D> ProcedureRequest<'_, D, ChangeIndex> {
    /// Adds an image, whose platform is that of its configuration; or, of an index, all entries. What is in another
    /// repository of the registry is copied, blobs mounted. What is at another registry has to be in the repository. It
    /// replaces the index's own entries for the same platform, since clients take the first of several: see
    /// [`beside`](Self::beside).
    pub fn image(mut self, reference: &Reference) -> Self {
        self.procedure.add(reference);
        self
    }

    /// What is added replaces no entries for the same platform.
    pub const fn beside(mut self) -> Self {
        self.procedure.beside();
        self
    }

    /// Removes an entry.
    pub fn remove(mut self, digest: Digest) -> Self {
        self.procedure.remove(digest);
        self
    }

    /// Keeps only the entries for this platform, and for others that are named so.
    pub fn keep(mut self, platform: Platform) -> Self {
        self.procedure.keep(platform);
        self
    }

    /// Sets an annotation of the index.
    pub fn annotation(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.procedure.annotation(name, Some(value.into()));
        self
    }

    /// Removes an annotation of the index.
    pub fn remove_annotation(mut self, name: impl Into<String>) -> Self {
        self.procedure.annotation(name, None);
        self
    }
}
