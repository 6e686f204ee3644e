//! What procedures do in repositories.
//!
//! Responsible for steps that several of them have in common.

use windlass_core::manifest::{Declared, Document};
use windlass_core::reference::Target;
use windlass_core::{Algorithm, Descriptor, Digest, Failure, Manifest, Reference, Report};

use crate::procedure::{Requests, refused};
use crate::request::{ImageLocation, RequestSpec};

/// Where a new document goes: to the tag; if there is a digest and no tag, to its own digest.
pub(crate) fn place(destination: &Reference, document: &[u8]) -> Reference {
    match (destination.tag(), destination.digest()) {
        (Some(tag), _) => destination.with_target(Target::Tag(tag.clone())),
        (None, Some(_)) => {
            let digest = Digest::of(Algorithm::Sha256, document);
            destination.with_target(Target::Digest(digest))
        }
        (None, None) => destination.clone(),
    }
}

/// Whether two references are in the same repository.
pub(crate) fn is_same(one: &Reference, other: &Reference) -> bool {
    (one.registry(), one.repository()) == (other.registry(), other.repository())
}

/// Whether what is made of `source` gets the tag that this has.
pub(crate) fn is_in_place(source: &Reference, destination: &Reference) -> bool {
    let tag = match (source.tag(), source.target()) {
        (Some(tag), _) => tag.clone(),
        (None, Target::Tag(tag)) => tag,
        (None, Target::Digest(_)) => return false,
    };
    is_same(source, destination) && place(destination, &[]).target() == Target::Tag(tag)
}

/// Copies what a reference's digest names into the repository of another reference, under its digest alone.
pub(crate) async fn copy(
    from: &Reference,
    to: &Reference,
    requests: &impl Requests,
) -> Result<Report, Failure> {
    let from = from.with_target(from.target());
    let to = to.with_target(from.target());
    let spec = RequestSpec::copy(ImageLocation::from(from), ImageLocation::from(to));
    requests.ask(spec).await
}

/// A manifest, parsed again.
pub(crate) fn parsed(manifest: &Manifest) -> Result<Document, Failure> {
    let Descriptor {
        media_type, digest, ..
    } = &manifest.descriptor;
    let declared = Declared::Descriptor(media_type);
    let document = Document::parse_as(manifest.bytes.to_vec(), declared, digest);
    document.map_err(|error| refused(&error))
}
