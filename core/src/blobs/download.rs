//! Moving a blob into a store: hashing what is there, fetching the rest, giving it its name.
//!
//! Responsible for the steps between a partial that is open and its commit. Must not know who waits
//! for the blob, nor repositories (`upload`).

use alloc::format;
use alloc::string::ToString;

use super::{Phase, Source, WorkKey};
use crate::digest::Algorithm;
use crate::error::Error;
use crate::hashing::Hashing;
use crate::ids::Owner;
use crate::op::{BlobGet, Operation};
use crate::session::Session;
use crate::store::StoreOp;

impl Session {
    pub(super) fn begun(&mut self, key: &WorkKey, len: u64) {
        let WorkKey::Into(store, digest) = key else {
            return;
        };
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        work.inherits = len > 0;
        if len == 0 {
            return self.move_from(key, None);
        }
        if matches!(
            work.waiters.front().map(|w| &w.source),
            Some(Source::Store(_))
        ) {
            // An import hashes the prefix itself.
            return self.move_from(key, None);
        }
        work.stage = Phase::Hashing { len };
        let op = StoreOp::Hash {
            digest: digest.clone(),
            upto: len,
        };
        self.step(Owner::Work(key.clone()), *store, op);
    }

    /// The prefix is hashed: is it the whole blob already?
    pub(super) fn hashed(&mut self, key: &WorkKey, len: u64, hashing: Hashing) {
        let WorkKey::Into(store, digest) = key else {
            return;
        };
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        if len < work.size && hashing.len() == len {
            return self.move_from(key, Some(hashing));
        }
        if hashing.len() == work.size && hashing.digest() == *digest {
            // An earlier run moved it.
            return self.commit(key, 0);
        }
        work.stage = Phase::Discarding;
        self.step(
            Owner::Work(key.clone()),
            *store,
            StoreOp::Discard {
                digest: digest.clone(),
            },
        );
    }

    pub(super) fn move_from(&mut self, key: &WorkKey, hashing: Option<Hashing>) {
        let WorkKey::Into(store, digest) = key else {
            return;
        };
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let Some(waiter) = work.waiters.front().cloned() else {
            return;
        };
        work.stage = Phase::Moving;
        let (size, transfer, store) = (work.size, work.transfer, *store);
        match &waiter.source {
            Source::Store(from) => {
                let op = StoreOp::Import {
                    from: *from,
                    digest: digest.clone(),
                    size,
                };
                self.step(Owner::Work(key.clone()), store, op);
            }
            Source::Site(site) => {
                let algorithm = digest.algorithm().unwrap_or(Algorithm::Sha256);
                let op = BlobGet {
                    site: site.clone(),
                    digest: digest.clone(),
                    size,
                    store,
                    transfer,
                    hashing: hashing.unwrap_or_else(|| Hashing::new(algorithm)),
                    restarted: false,
                    shorts: 0,
                    received: 0,
                    urls: waiter.urls.clone(),
                    url: None,
                };
                if size == 0 {
                    // PULLB-06: there is nothing to ask for, and the digest says so.
                    let found = op.hashing.digest();
                    if found == *digest {
                        return self.commit(key, 0);
                    }
                    let error = Error::Mismatch {
                        what: format!("blob {digest}"),
                        expected: digest.to_string(),
                        found: found.to_string(),
                    };
                    return self.fail_work(key, error);
                }
                self.exchange(key, Operation::BlobGet(op), &waiter);
            }
        }
    }

    pub(super) fn imported(&mut self, key: &WorkKey, hashing: Hashing) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let (size, len) = (work.size, hashing.len());
        let found = hashing.digest();
        if len == size && found == *key.digest() {
            return self.commit(key, size);
        }
        if let (true, WorkKey::Into(store, digest)) = (core::mem::take(&mut work.inherits), key) {
            // It may be the earlier run's bytes that are wrong: once without them.
            work.stage = Phase::Discarding;
            let digest = digest.clone();
            return self.step(
                Owner::Work(key.clone()),
                *store,
                StoreOp::Discard { digest },
            );
        }
        let error = Error::Mismatch {
            what: format!("blob {} in the layout it comes from", key.digest()),
            expected: format!("{} ({size} bytes)", key.digest()),
            found: format!("{found} ({len} bytes)"),
        };
        self.fail_work(key, error);
    }

    pub(super) fn commit(&mut self, key: &WorkKey, bytes: u64) {
        let WorkKey::Into(store, digest) = key else {
            return;
        };
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        work.stage = Phase::Committing { bytes };
        let op = StoreOp::Commit {
            digest: digest.clone(),
            size: work.size,
        };
        self.step(Owner::Work(key.clone()), *store, op);
    }
}
