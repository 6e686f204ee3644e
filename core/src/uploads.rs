//! Uploads that outlive their process: what another one, or a later task, needs to go on with them.
//!
//! Responsible for which open uploads are worth keeping, for telling the driver of them, and for judging
//! those that it brings back. What is brought back may be a file of anybody's: it is used only for the same
//! blob of the same repository at the same server, its position is asked of the registry, and the digest is
//! checked at the end as always. Must not know requests (`op::blob_put`) nor files.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::op::{BlobPut, Site};
use crate::reference::Repository;
use crate::registry::{Origin, Registry};
use crate::time::Time;
use crate::uri::Url;

/// Names an upload: one blob on its way to one repository.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UploadKey {
    registry: Registry,
    origin: Origin,
    repository: Repository,
    digest: Digest,
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

    pub(crate) fn at(site: &Site, digest: &Digest) -> Self {
        Self {
            registry: site.registry.clone(),
            origin: site.origin.clone(),
            repository: site.repository.clone(),
            digest: digest.clone(),
        }
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
    key: UploadKey,
    size: u64,
    url: Url,
    /// How many bytes the registry has acknowledged. Only for people: the registry is asked.
    acknowledged: u64,
    /// The size of its chunks, and the least that the registry asked for.
    chunk: u64,
    least: u64,
    age: Duration,
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

/// How many uploads of other processes are remembered.
const LEFT: usize = 1024;

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

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    /// The same with another URL, which stands for the secret one on a tape.
    pub(crate) fn with_url(&self, url: Url) -> Self {
        Self {
            url,
            ..self.clone()
        }
    }

    pub(crate) const fn chunk(&self) -> u64 {
        self.chunk
    }

    pub(crate) const fn least(&self) -> u64 {
        self.least
    }

    /// What is kept of an operation, if another process could go on with it, for blobs from this size on.
    fn of(op: &BlobPut, from: u64) -> Option<Self> {
        let url = op.open_session()?;
        let key = UploadKey::at(&op.site, &op.digest);
        let is_kept = op.size >= from
            && !op.is_growing()
            && is_upload_of(&key, url)
            && url.path().starts_with(op.site.url("blobs/").path());
        is_kept.then(|| Self {
            size: op.size,
            url: url.clone(),
            acknowledged: op.acknowledged(),
            chunk: op.chunk,
            least: op.least_chunk(),
            age: Duration::ZERO,
            key,
        })
    }
}

/// Whether a URL may be that of an upload to this repository: on its server, below the repository's blobs. The
/// specification allows any URL, but one that was kept outside is used only if it can be checked.
fn is_upload_of(key: &UploadKey, url: &Url) -> bool {
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

/// The open uploads of a session, and those that it may go on with.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    /// From which size on open uploads are kept for others, if they are.
    keeps: Option<u64>,
    open: BTreeMap<UploadKey, Known>,
    /// Those that another process or an earlier task has left, and no transfer has taken up.
    left: BTreeMap<UploadKey, Known>,
    changed: BTreeSet<UploadKey>,
    /// Those that a transfer has taken up, and that the driver was not told of.
    taken: Vec<SavedUpload>,
}

#[derive(Debug)]
struct Known {
    /// With the age that it had then.
    upload: SavedUpload,
    since: Time,
}

impl Known {
    fn at(&self, now: Time) -> SavedUpload {
        let passed = now.since(self.since);
        self.upload.clone().older_by(passed)
    }
}

impl Uploads {
    pub(crate) fn new(keeps: Option<u64>) -> Self {
        Self {
            keeps,
            ..Self::default()
        }
    }

    /// Takes what another process has left.
    pub(crate) fn offer(&mut self, upload: SavedUpload, now: Time) {
        let is_used = upload.age < SavedUpload::LIFE && !self.open.contains_key(&upload.key);
        if is_used && self.left.len() < LEFT {
            let (key, since) = (upload.key.clone(), now);
            self.left.insert(key, Known { upload, since });
        }
    }

    /// What was left of an upload of this blob to this repository.
    pub(crate) fn take(&mut self, site: &Site, digest: &Digest, size: u64) -> Option<SavedUpload> {
        let key = UploadKey::at(site, digest);
        let left = self.left.remove(&key)?;
        let upload = left.upload.clone();
        let is_there = upload.url.path().starts_with(site.url("blobs/").path());
        let is_ours = upload.size == size && is_there;
        if is_ours {
            if self.keeps.is_some() {
                self.taken.push(left.upload.clone());
            }
            self.open.insert(key, left);
        } else {
            self.change(key);
        }
        is_ours.then_some(upload)
    }

    /// Notes how far an upload is.
    pub(crate) fn note(&mut self, op: &BlobPut, now: Time) {
        if self.keeps.is_none() && self.open.is_empty() {
            return;
        }
        let key = UploadKey::at(&op.site, &op.digest);
        let Some(mut upload) = SavedUpload::of(op, self.keeps.unwrap_or(0)) else {
            return self.over(key);
        };
        let before = self.open.get(&key);
        let is_known = before.is_some_and(|it| {
            (&it.upload.url, it.upload.acknowledged) == (&upload.url, upload.acknowledged)
        });
        if is_known {
            return;
        }
        let mut since = now;
        if let Some(before) = before.filter(|it| it.upload.is_same_session(&upload)) {
            (upload.age, since) = (before.upload.age, before.since);
        }
        self.open.insert(key.clone(), Known { upload, since });
        self.change(key);
    }

    /// The operation has ended, and its upload with it.
    pub(crate) fn ended(&mut self, op: &BlobPut) {
        if !self.open.is_empty() {
            self.over(UploadKey::at(&op.site, &op.digest));
        }
    }

    /// Nothing goes on with an upload for now. Whether it is kept: then it is not deleted.
    pub(crate) fn leave(&mut self, op: &BlobPut) -> bool {
        if self.keeps.is_none() || !op.has_begun() {
            return false;
        }
        let key = UploadKey::at(&op.site, &op.digest);
        let Some(known) = self.open.remove(&key) else {
            return false;
        };
        self.left.insert(key, known);
        true
    }

    /// Another process goes on with an upload that was taken up here.
    pub(crate) fn forget(&mut self, key: &UploadKey) {
        self.open.remove(key);
    }

    /// The next change that the driver is told. What is kept has the age of this moment.
    pub(crate) fn take_change(&mut self, now: Time) -> Option<UploadChange> {
        if let Some(upload) = self.taken.pop() {
            return Some(UploadChange::Taken(upload));
        }
        let key = self.changed.pop_first()?;
        let known = self.open.get(&key).or_else(|| self.left.get(&key));
        Some(match known {
            Some(known) => UploadChange::Open(known.at(now)),
            None => UploadChange::Over(key),
        })
    }

    /// Those that another process could go on with.
    pub(crate) fn saved(&self, now: Time) -> impl Iterator<Item = SavedUpload> {
        let all = self.open.values().chain(self.left.values());
        all.filter(|_| self.keeps.is_some())
            .map(move |known| known.at(now))
    }

    fn over(&mut self, key: UploadKey) {
        if self.open.remove(&key).is_some() {
            self.change(key);
        }
    }

    fn change(&mut self, key: UploadKey) {
        if self.keeps.is_some() {
            self.changed.insert(key);
        }
    }
}

#[cfg(test)]
mod tests;
