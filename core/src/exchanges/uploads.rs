//! The uploads that a session has open, and those that it may go on with.
//!
//! Responsible for which open uploads are worth keeping, for telling the driver of them, and for judging
//! those that it brings back. Must not know when an upload goes on, is left or is deleted (`sessions`), nor how it is
//! written (`crate::uploads`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use crate::digest::Digest;
use crate::op::{BlobPut, Site};
use crate::time::Time;
use crate::uploads::{SavedUpload, UploadChange, UploadKey, is_upload_of};

/// How many uploads of other processes are remembered.
const LEFT: usize = 1024;

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

impl UploadKey {
    pub(crate) fn at(site: &Site, digest: &Digest) -> Self {
        Self {
            registry: site.registry.clone(),
            origin: site.origin.clone(),
            repository: site.repository.clone(),
            digest: digest.clone(),
        }
    }
}

impl SavedUpload {
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

#[cfg(test)]
mod tests;
