//! Changes of an index: entries added, removed, and chosen by platform.
//!
//! Responsible for the entries. Must not know the documents that they stand for.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde_json::value::{RawValue, to_raw_value};

use super::EditError;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::manifest::media_type::OCI_INDEX;
use crate::manifest::members::Members;
use crate::manifest::{Content, Document};
use crate::platform::Platform;
use crate::sanitize::escape;

/// The annotation by which an entry says which other one it is about (IDX-13).
const ABOUT: &str = "vnd.docker.reference.digest";

/// An index that is being changed.
///
/// ```
/// use windlass_core::{edit::IndexEdit, Algorithm, Descriptor, Digest, Platform};
///
/// let digest = Digest::of(Algorithm::Sha256, b"a manifest");
/// let mut entry = Descriptor::new("application/vnd.oci.image.manifest.v1+json", digest, 10);
/// entry.platform = Some(Platform::new("linux", "amd64").into());
/// let mut index = IndexEdit::new();
/// index.add(&entry);
/// assert!(index.encode().starts_with(br#"{"schemaVersion":2,"mediaType":"#));
/// ```
#[derive(Clone, Debug)]
pub struct IndexEdit {
    media_type: String,
    members: Members,
    /// Each as it is read, and as it is written.
    entries: Vec<(Descriptor, Box<RawValue>)>,
}

impl IndexEdit {
    /// An OCI index without entries.
    pub fn new() -> Self {
        let mut members = Members::default();
        members.set("schemaVersion", &2);
        members.set("mediaType", OCI_INDEX);
        members.set("manifests", &[(); 0]);
        Self {
            media_type: OCI_INDEX.to_owned(),
            members,
            entries: Vec::new(),
        }
    }

    /// An existing index.
    ///
    /// # Errors
    ///
    /// [`EditError::NotAnIndex`].
    pub fn of(document: &Document) -> Result<Self, EditError> {
        let Content::Index(index) = document.content() else {
            let found = escape(document.media_type(), 200);
            return Err(EditError::NotAnIndex { found });
        };
        let members = Members::parse(document.bytes()).map_err(EditError::index)?;
        let entries = members.get::<Vec<Box<RawValue>>>("manifests");
        let entries = entries.map_err(EditError::index)?.unwrap_or_default();
        Ok(Self {
            media_type: document.media_type().to_owned(),
            members,
            entries: index.manifests.iter().cloned().zip(entries).collect(),
        })
    }

    /// Adds an entry as the last one, or in the place of the one with its digest.
    pub fn add(&mut self, entry: &Descriptor) {
        let new = written(entry);
        let known = self
            .entries
            .iter_mut()
            .find(|(it, _)| it.digest == entry.digest);
        match known {
            Some(known) => *known = new,
            None => self.entries.push(new),
        }
    }

    /// Adds entries, each in the place of those for the same platform, which are removed with what is about them: clients
    /// take the first entry that suits them. Entries that are added for one platform do not replace each other, nor does
    /// what is no image replace one. What was replaced.
    pub fn supersede(&mut self, added: &[Descriptor]) -> Vec<Digest> {
        let is_old = |entry: &&Descriptor| {
            added.iter().all(|new| new.digest != entry.digest)
                && added.iter().any(|new| is_for_the_same(entry, new))
        };
        let replaced = self.entries().filter(is_old);
        let replaced: Vec<Digest> = replaced.map(|entry| entry.digest.clone()).collect();
        let mut placed = Vec::new();
        for entry in added {
            let place = self.entries.iter().position(|(it, _)| {
                it.digest == entry.digest
                    || (replaced.contains(&it.digest) && is_for_the_same(it, entry))
            });
            let place = place.unwrap_or(self.entries.len());
            let new = written(entry);
            match self.entries.get_mut(place) {
                Some(known) => *known = new,
                None => self.entries.push(new),
            }
            placed.push(place);
        }
        let mut place = 0..;
        self.entries.retain(|(entry, _)| {
            let is_new = place.next().is_some_and(|it| placed.contains(&it));
            let is_again = || added.iter().any(|new| is_same(new, entry));
            let is_about = |it: &Digest| about(entry) == Some(it.as_str());
            let is_over = replaced.contains(&entry.digest) || replaced.iter().any(is_about);
            is_new || !(is_over || is_again())
        });
        replaced
    }

    /// Puts an entry in the place of another one, and removes those that are about that.
    ///
    /// # Errors
    ///
    /// [`EditError::NoEntry`].
    pub fn replace(&mut self, digest: &Digest, entry: &Descriptor) -> Result<(), EditError> {
        let known = self.entries.iter_mut().find(|(it, _)| it.digest == *digest);
        let Some(known) = known else {
            let digest = digest.clone();
            return Err(EditError::NoEntry { digest });
        };
        *known = written(entry);
        self.entries
            .retain(|(entry, _)| about(entry) != Some(digest.as_str()));
        Ok(())
    }

    /// Removes an entry, and those that are about it.
    ///
    /// # Errors
    ///
    /// [`EditError::NoEntry`].
    pub fn remove(&mut self, digest: &Digest) -> Result<(), EditError> {
        let before = self.entries.len();
        self.entries
            .retain(|(entry, _)| entry.digest != *digest && about(entry) != Some(digest.as_str()));
        if self.entries.len() == before {
            let digest = digest.clone();
            return Err(EditError::NoEntry { digest });
        }
        Ok(())
    }

    /// Keeps the entries for these platforms, and those that are about them: attestations. A platform without a version
    /// of the operating system stands for all versions.
    ///
    /// # Errors
    ///
    /// [`EditError::NoPlatform`] if there is nothing for one of them.
    pub fn keep(&mut self, platforms: &[Platform]) -> Result<(), EditError> {
        let mut kept: Vec<Digest> = Vec::new();
        for wanted in platforms {
            let entries = self.entries.iter().map(|(entry, _)| entry);
            let found = entries.filter(|entry| is_for(entry, wanted));
            let found: Vec<Digest> = found.map(|entry| entry.digest.clone()).collect();
            if found.is_empty() {
                return Err(EditError::NoPlatform {
                    wanted: wanted.to_string(),
                    offered: self.offered(),
                });
            }
            kept.extend(found);
        }
        self.entries.retain(|(entry, _)| {
            let is_about = |kept: &Digest| about(entry) == Some(kept.as_str());
            kept.contains(&entry.digest) || kept.iter().any(is_about)
        });
        Ok(())
    }

    /// Sets an annotation of the index, or removes it.
    ///
    /// # Errors
    ///
    /// If the index has annotations that are no object.
    pub fn annotate(&mut self, name: &str, value: Option<&str>) -> Result<(), EditError> {
        let annotations = self.members.get::<Members>("annotations");
        let mut annotations = annotations.map_err(EditError::index)?.unwrap_or_default();
        annotations.set_or_remove(name, value);
        if annotations.is_empty() {
            self.members.remove("annotations");
        } else {
            self.members.set("annotations", &annotations);
        }
        Ok(())
    }

    /// The entries.
    pub fn entries(&self) -> impl Iterator<Item = &Descriptor> {
        self.entries.iter().map(|(entry, _)| entry)
    }

    /// The media type, which a change leaves as it is.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The bytes of the index.
    pub fn encode(&self) -> Vec<u8> {
        let mut members = self.members.clone();
        let entries: Vec<&RawValue> = self.entries.iter().map(|(_, raw)| &**raw).collect();
        members.set("manifests", &entries);
        members.to_vec()
    }

    fn offered(&self) -> String {
        const LISTED: usize = 64;
        let mut offered: Vec<String> = Vec::new();
        for platform in self.entries().filter_map(|entry| entry.platform.as_ref()) {
            let text = escape(&platform.to_string(), 100);
            if offered.len() < LISTED && !offered.contains(&text) {
                offered.push(text);
            }
        }
        if offered.is_empty() {
            return "no platform".into();
        }
        offered.join(", ")
    }
}

impl Default for IndexEdit {
    fn default() -> Self {
        Self::new()
    }
}

/// An entry, as it is read and as it is written.
fn written(entry: &Descriptor) -> (Descriptor, Box<RawValue>) {
    let raw = to_raw_value(entry).expect("text, numbers, lists and objects");
    (entry.clone(), raw)
}

/// The digest of the entry that this one is about.
fn about(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(ABOUT).map(String::as_str)
}

/// Whether two entries are one that is listed twice.
fn is_same(one: &Descriptor, other: &Descriptor) -> bool {
    let platform = |entry: &Descriptor| entry.platform.as_deref().map(Platform::normalized);
    one.digest == other.digest && platform(one) == platform(other)
}

/// Whether two entries are images for one platform. What is no image, such as an attestation, is for none.
fn is_for_the_same(one: &Descriptor, other: &Descriptor) -> bool {
    let platform = |entry: &Descriptor| {
        let platform = entry.platform.as_ref()?.normalized();
        let is_image = platform.os != "unknown" && about(entry).is_none();
        is_image.then_some((platform, entry.artifact_type.clone()))
    };
    platform(one).is_some_and(|one| platform(other) == Some(one))
}

/// Whether an entry is for exactly this platform.
fn is_for(entry: &Descriptor, wanted: &Platform) -> bool {
    let Some(platform) = &entry.platform else {
        return false;
    };
    let (mut is, wanted) = (platform.normalized(), wanted.normalized());
    if wanted.os_version.is_none() {
        is.os_version = None;
    }
    if wanted.os_features.is_empty() {
        is.os_features = Vec::new();
    }
    is == wanted
}

#[cfg(test)]
mod tests;
