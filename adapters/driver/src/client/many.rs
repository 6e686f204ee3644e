//! One image to several destinations.

use windlass_core::reference::Tag;
use windlass_core::{Carry, Platforms};

use super::{Client, ProcedureRequest};
use crate::copy_to_each::CopyToEach;
use crate::request::ImageLocation;

impl<D> Client<D> {
    /// Copies an image to several destinations, and reads it from its source once. The report has what became of each, in
    /// their order: see [`CopyToEach`].
    pub fn copy_to_each(
        &self,
        source: impl Into<ImageLocation>,
        destinations: impl IntoIterator<Item = ImageLocation>,
    ) -> ProcedureRequest<'_, D, CopyToEach> {
        self.procedure(CopyToEach::new(source, destinations))
    }
}

impl<D> ProcedureRequest<'_, D, CopyToEach> {
    /// Which platforms of an index are wanted.
    pub fn platforms(mut self, platforms: Platforms) -> Self {
        self.procedure.platforms(platforms);
        self
    }

    /// What is copied with the image because it belongs to it.
    pub fn carry(mut self, carry: Carry) -> Self {
        self.procedure.carry(carry);
        self
    }

    /// Lets further tags refer to the image at each destination that is a registry.
    pub fn and_tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.procedure.and_tags(tags);
        self
    }

    /// Moves foreign layers, too.
    pub fn include_nondistributable(mut self) -> Self {
        self.procedure.include_nondistributable();
        self
    }
}
