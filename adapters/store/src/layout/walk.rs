//! Walks the content that `index.json` refers to.
//!
//! Responsible for following manifests and indexes down to blobs, each once. Must not know what
//! happens to the content.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::iter;

use windlass_core::config::Limits;
use windlass_core::manifest::media_type::{OCI_ARTIFACT, is_manifest_type};
use windlass_core::manifest::{Content, Declared, Document, DocumentError};
use windlass_core::{Descriptor, Digest, StoreError};

use super::{Layout, sys};
use crate::store::Store as _;

/// The stored content of a descriptor.
#[derive(Debug)]
pub(super) enum Node {
    /// A manifest or an index with the right digest. Its references follow.
    Manifest,
    /// Content without references. It was not read.
    Blob,
    Missing,
    /// Bytes that are no manifest, or another one.
    Unreadable(DocumentError),
    /// More bytes than a manifest may have.
    TooLarge,
}

/// Referenced content.
struct Wanted {
    descriptor: Descriptor,
    /// Whether it is referenced as a manifest, whatever its media type.
    is_document: bool,
}

impl Layout {
    /// Follows the roots to everything below them and calls `found` once for each content. Subjects
    /// are followed, too: a signature is worthless without its image.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, and the errors of `found`.
    pub(super) fn walk(
        &self,
        roots: Vec<Descriptor>,
        mut found: impl FnMut(&Descriptor, Node) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut seen = BTreeSet::<Digest>::new();
        let mut left: Vec<Wanted> = roots.into_iter().map(Wanted::document).collect();
        while let Some(wanted) = left.pop() {
            if seen.insert(wanted.descriptor.digest.clone()) {
                let node = self.node(&wanted, &mut left)?;
                found(&wanted.descriptor, node)?;
            }
        }
        Ok(())
    }

    fn node(&self, wanted: &Wanted, left: &mut Vec<Wanted>) -> Result<Node, StoreError> {
        let Descriptor {
            digest, media_type, ..
        } = &wanted.descriptor;
        let Some(blob) = self.open(digest, 0)? else {
            return Ok(Node::Missing);
        };
        let is_manifest = is_manifest_type(media_type) || media_type == OCI_ARTIFACT;
        if !is_manifest && !wanted.is_document {
            return Ok(Node::Blob);
        }
        let limit = Limits::default().document;
        let mut bytes = Vec::new();
        let read = blob.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| sys::failed("read", &self.blob_path(digest), &error))?;
        let declared = Declared::ContentType(Some(media_type));
        let document = if bytes.len() as u64 > limit {
            Err(Node::TooLarge)
        } else {
            Document::parse_as(bytes, declared, digest).map_err(Node::Unreadable)
        };
        match document {
            Ok(document) => {
                Wanted::add_children(document.content(), left);
                Ok(Node::Manifest)
            }
            Err(why) if is_manifest => Ok(why),
            Err(_) => Ok(Node::Blob),
        }
    }
}

impl Wanted {
    const fn document(descriptor: Descriptor) -> Self {
        Self {
            descriptor,
            is_document: true,
        }
    }

    const fn blob(descriptor: Descriptor) -> Self {
        Self {
            descriptor,
            is_document: false,
        }
    }

    fn add_children(content: &Content, to: &mut Vec<Self>) {
        let subject = match content {
            Content::Image(image) => {
                let blobs = iter::once(&image.config).chain(&image.layers);
                to.extend(blobs.cloned().map(Self::blob));
                &image.subject
            }
            Content::Index(index) => {
                to.extend(index.manifests.iter().cloned().map(Self::document));
                &index.subject
            }
            Content::Artifact(artifact) => {
                to.extend(artifact.blobs.iter().cloned().map(Self::blob));
                &artifact.subject
            }
            // Content is non-exhaustive; an unknown form has no references.
            _ => &None,
        };
        to.extend(subject.clone().map(Self::document));
    }
}
