//! Uploads that outlive their process: what another one, or a later task, needs to go on with them.
//!
//! Responsible for what is kept of an upload, its written form, and for which texts are one. What is brought back
//! may be a file from any source: it is used only for the same blob of the same repository at the same server, its
//! position is asked of the registry, and the digest is checked at the end as always. Must not know which uploads
//! are open (`exchanges::uploads`), requests (`op::blob_put`), nor files.

use alloc::string::{String, ToString as _};
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::reference::Repository;
use crate::registry::{Origin, Registry};
use crate::uri::Url;

/// Names an upload: one blob on its way to one repository.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UploadKey {
    pub(crate) registry: Registry,
    pub(crate) origin: Origin,
    pub(crate) repository: Repository,
    pub(crate) digest: Digest,
}

impl UploadKey {
    /// The registry by its name.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The repository.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The blob.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// The server, the repository and the blob, without secrets.
impl fmt::Display for UploadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin, repository, ..
        } = self;
        write!(f, "{origin} {repository} {}", self.digest)
    }
}

/// An upload that is open at a registry, as it is kept for another process.
///
/// Its URL is a secret: a program that has it can write to the upload. It is in [`to_json`](Self::to_json), and
/// nowhere else: not in `Debug`, and not on tapes.
#[derive(Clone, Eq, PartialEq)]
pub struct SavedUpload {
    pub(crate) key: UploadKey,
    pub(crate) size: u64,
    pub(crate) url: Url,
    /// How many bytes the registry has acknowledged. Only for people: the registry is asked.
    pub(crate) acknowledged: u64,
    /// The size of its chunks, and the least that the registry asked for.
    pub(crate) chunk: u64,
    pub(crate) least: u64,
    pub(crate) age: Duration,
}

impl fmt::Debug for SavedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedUpload")
            .field("key", &format_args!("{}", self.key))
            .field("acknowledged", &self.acknowledged)
            .finish_non_exhaustive()
    }
}

/// What became of an upload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UploadChange {
    /// It was opened, or has gone on: this takes the place of what was kept of it.
    Open(SavedUpload),
    /// It is over: nothing needs to be kept.
    Over(UploadKey),
    /// One that was offered is about to go on. If that is another process's to do by now,
    /// [`Session::leave_upload`](crate::Session::leave_upload) says so.
    Taken(SavedUpload),
}

impl SavedUpload {
    /// The longest age of one that is used. CNCF distribution removes uploads after a week, by default;
    /// other registries after hours.
    pub const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    /// Reads what [`to_json`](Self::to_json) wrote. An error does not repeat the text, which has a secret.
    ///
    /// # Errors
    ///
    /// [`NoUpload`] if it is not such a text, or its URL is not one of an upload in its repository.
    pub fn from_json(text: &str) -> Result<Self, NoUpload> {
        let form: UploadRepr = serde_json::from_str(text).map_err(|_| NoUpload(()))?;
        form.try_into()
    }

    /// The upload as a JSON object. It has a secret in it: keep it where only its user can read it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&UploadRepr::from(self)).expect("names and numbers can be written")
    }

    /// What it is an upload of.
    pub const fn key(&self) -> &UploadKey {
        &self.key
    }

    /// How many bytes the registry had acknowledged when this was written.
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The same, older by the time that has passed since it was kept.
    #[must_use]
    pub fn older_by(mut self, passed: Duration) -> Self {
        self.age = self.age.saturating_add(passed);
        self
    }

    /// Whether both are of one session at the registry, however far it is.
    pub fn is_same_session(&self, other: &Self) -> bool {
        self.key == other.key && self.url.path() == other.url.path()
    }

    /// The same with another URL, which stands for the secret one on a tape.
    pub(crate) fn with_url(&self, url: Url) -> Self {
        Self {
            url,
            ..self.clone()
        }
    }
}

/// Whether a URL may be that of an upload to this repository: on its server, below the repository's blobs. The
/// specification allows any URL, but one that was kept outside is used only if it can be checked.
pub(crate) fn is_upload_of(key: &UploadKey, url: &Url) -> bool {
    let path = url.path();
    let folder = alloc::format!("/{}/blobs/", key.repository);
    let is_escaped = ["%2e", "%2f", "%5c"]
        .iter()
        .any(|it| path.to_ascii_lowercase().contains(it));
    let rest = path.split_once(&*folder).map(|(_, rest)| rest);
    // An upload that is given up is deleted: that must not be a blob.
    let is_upload = rest.is_some_and(|rest| !rest.is_empty() && rest.parse::<Digest>().is_err());
    *url.origin() == key.origin && is_upload && !is_escaped
}

/// The text is not an upload that was kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an upload that windlass has kept")]
pub struct NoUpload(());

/// The written form.
#[derive(Deserialize, Serialize)]
pub(crate) struct UploadRepr {
    registry: Registry,
    origin: Origin,
    repository: Repository,
    digest: Digest,
    size: u64,
    url: String,
    acknowledged: u64,
    /// Without one, the rest is sent in one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunk: Option<u64>,
    #[serde(default)]
    least: u64,
    /// In microseconds.
    #[serde(with = "crate::written::micros")]
    age: Duration,
}

impl fmt::Debug for UploadRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an upload of {}", self.digest)
    }
}

impl From<&SavedUpload> for UploadRepr {
    fn from(upload: &SavedUpload) -> Self {
        let key = upload.key.clone();
        Self {
            registry: key.registry,
            origin: key.origin,
            repository: key.repository,
            digest: key.digest,
            size: upload.size,
            url: upload.url.as_str().to_string(),
            acknowledged: upload.acknowledged,
            chunk: (upload.chunk < u64::MAX).then_some(upload.chunk),
            least: upload.least,
            age: upload.age,
        }
    }
}

impl TryFrom<UploadRepr> for SavedUpload {
    type Error = NoUpload;

    fn try_from(form: UploadRepr) -> Result<Self, NoUpload> {
        let key = UploadKey {
            registry: form.registry,
            origin: form.origin,
            repository: form.repository,
            digest: form.digest,
        };
        let url = Url::parse(&form.url).map_err(|_| NoUpload(()))?;
        let is_whole = form.acknowledged <= form.size && form.chunk != Some(0);
        if !(is_whole && key.digest.algorithm().is_some() && is_upload_of(&key, &url)) {
            return Err(NoUpload(()));
        }
        Ok(Self {
            key,
            size: form.size,
            url,
            acknowledged: form.acknowledged,
            chunk: form.chunk.unwrap_or(u64::MAX),
            least: form.least,
            age: form.age,
        })
    }
}

impl Serialize for SavedUpload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        UploadRepr::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SavedUpload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An error of the written form could repeat a part of it.
        let value = serde_json::Value::deserialize(deserializer)?;
        let form: Result<UploadRepr, _> = serde_json::from_value(value);
        let upload = form.map_err(|_| NoUpload(())).and_then(Self::try_from);
        upload.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
