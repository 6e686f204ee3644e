//! What a registry holds, and ways to put it there and look at it without HTTP.
//!
//! Responsible for: repositories, sessions, seeding.
//! Must not know: requests.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Model;
use crate::{Digest, Image, Index, OCI_INDEX, OCI_MANIFEST};

/// One repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repository {
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
    pub(crate) manifests: BTreeMap<Digest, Manifest>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

/// One manifest, as it was pushed (PULLM-22).
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// One upload session.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) repository: String,
    /// The latest `_state`; older ones are stale.
    pub(crate) state: String,
    pub(crate) parts: Vec<Bytes>,
    pub(crate) length: u64,
    /// The length before the latest part.
    pub(crate) before: u64,
    /// A chunk below `OCI-Chunk-Min-Length` has come, so it has to be the last.
    pub(crate) short: bool,
    pub(crate) touched: Duration,
}

impl Upload {
    pub(crate) fn append(&mut self, part: &Bytes) {
        self.before = self.length;
        self.length += part.len() as u64;
        if !part.is_empty() {
            self.parts.push(part.clone());
        }
    }

    /// Loses what follows its first `length` bytes.
    fn shorten(&mut self, length: u64) {
        if length >= self.length {
            return;
        }
        let content = self.content();
        let kept =
            usize::try_from(length).map_or_else(|_| content.clone(), |it| content.slice(..it));
        self.parts = vec![kept];
        (self.length, self.before) = (length, 0);
    }

    /// The whole content; one part is not copied.
    pub(crate) fn content(&self) -> Bytes {
        match self.parts.as_slice() {
            [] => Bytes::new(),
            [only] => only.clone(),
            parts => Bytes::from(parts.concat()),
        }
    }
}

impl Model {
    /// Of each upload session is kept what comes before this byte, as at a registry that had acknowledged what it
    /// then lost.
    pub fn shorten_uploads(&mut self, length: u64) {
        self.uploads.values_mut().for_each(|it| it.shorten(length));
    }

    /// Puts a blob into a repository, which is created if need be.
    pub fn put_blob(&mut self, repository: &str, blob: impl Into<Bytes>) -> Digest {
        let blob = blob.into();
        let digest = Digest::sha256(&blob);
        self.repository(repository)
            .blobs
            .insert(digest.clone(), blob);
        digest
    }

    /// Puts bytes under a digest they need not have: what a damaged registry would serve.
    pub fn put_damaged_blob(&mut self, repository: &str, digest: &Digest, blob: impl Into<Bytes>) {
        self.repository(repository)
            .blobs
            .insert(digest.clone(), blob.into());
    }

    /// Puts a manifest, and a tag on it, into a repository. Nothing is checked.
    pub fn put_manifest(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        manifest: impl Into<Bytes>,
    ) -> Digest {
        let bytes = manifest.into();
        let digest = Digest::sha256(&bytes);
        let manifest = Manifest {
            media_type: media_type.to_owned(),
            bytes,
        };
        let repository = self.repository(repository);
        repository.manifests.insert(digest.clone(), manifest);
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), digest.clone());
        }
        digest
    }

    /// Puts a whole image into a repository: blobs, manifest and a tag.
    pub fn put_image(&mut self, repository: &str, tag: Option<&str>, image: &Image) -> Digest {
        for blob in image.blobs() {
            self.put_blob(repository, blob.clone());
        }
        self.put_manifest(repository, tag, OCI_MANIFEST, image.manifest.clone())
    }

    /// Puts an index into a repository; its images are put with [`put_image`](Self::put_image).
    pub fn put_index(&mut self, repository: &str, tag: Option<&str>, index: &Index) -> Digest {
        self.put_manifest(repository, tag, OCI_INDEX, index.manifest.clone())
    }

    /// Forgets every upload session, as a restarted registry may.
    pub fn forget_uploads(&mut self) {
        self.uploads.clear();
    }

    /// The bytes of a blob.
    pub fn blob_bytes(&self, repository: &str, digest: &Digest) -> Option<&Bytes> {
        self.repositories.get(repository)?.blobs.get(digest)
    }

    /// The media type and the bytes of a manifest.
    pub fn manifest_bytes(&self, repository: &str, digest: &Digest) -> Option<(&str, &Bytes)> {
        let manifest = self.repositories.get(repository)?.manifests.get(digest)?;
        Some((&manifest.media_type, &manifest.bytes))
    }

    /// What a tag points to.
    pub fn tag(&self, repository: &str, tag: &str) -> Option<&Digest> {
        self.repositories.get(repository)?.tags.get(tag)
    }

    /// The names of the repositories.
    pub fn repositories(&self) -> impl Iterator<Item = &str> {
        self.repositories.keys().map(String::as_str)
    }

    /// The digests of a repository's blobs.
    pub fn blob_digests(&self, repository: &str) -> BTreeSet<Digest> {
        let repository = self.repositories.get(repository);
        repository
            .map(|repository| repository.blobs.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// The digests of a repository's manifests.
    pub fn manifest_digests(&self, repository: &str) -> BTreeSet<Digest> {
        let repository = self.repositories.get(repository);
        repository
            .map(|r| r.manifests.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// How many upload sessions are open.
    pub fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    /// The repository, created if need be.
    pub(crate) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }
}
