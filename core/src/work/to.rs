//! Moving a blob to a repository: from a store, by a mount, or by way of a spool.
//!
//! Responsible for how a blob gets there, and for what lies in the spool. Must not know how blobs come
//! into a store (`into`).

use alloc::string::ToString;

use super::{How, Owner, Phase, Source, Waiter, Work, WorkKey};
use crate::digest::Digest;
use crate::error::Error;
use crate::op::{BlobHead, BlobPut, Operation, Site, Stage};
use crate::scope::Scopes;
use crate::session::Session;
use crate::store::{StoreId, StoreOp};
use crate::task::TaskId;
use crate::uri::Url;

/// From this size on a HEAD before an upload is worth its round trip (design §5).
const CHECK_FROM: u64 = 256 * 1024;

impl Session {
    /// Chooses how a blob gets to a repository.
    pub(super) fn deliver(&mut self, key: &WorkKey, site: &Site, digest: Digest, waiter: &Waiter) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let (size, transfer) = (work.size, work.transfer);
        let checks = size >= CHECK_FROM || waiter.distrust;
        let (stage, source) = match &waiter.source {
            Source::Store(store) => {
                let stage = match &waiter.mount {
                    Some(from) if !waiter.distrust => Stage::Start {
                        mount: Some(from.clone()),
                    },
                    Some(_) | None if checks => Stage::Check,
                    Some(_) | None => Stage::Start { mount: None },
                };
                (stage, Some(*store))
            }
            Source::Site(from) if from.is_beside(site) && !waiter.distrust => (
                Stage::Start {
                    mount: Some(from.repository.clone()),
                },
                None,
            ),
            Source::Site(_) if checks => {
                work.stage = Phase::Checking;
                let op = Operation::BlobHead(BlobHead {
                    site: site.clone(),
                    digest,
                });
                return self.exchange(key, op, waiter);
            }
            Source::Site(_) => return self.spool(key, None),
        };
        work.stage = Phase::Sending { spooled: None };
        let op = BlobPut {
            site: site.clone(),
            digest,
            size,
            transfer,
            stage,
            source,
            restarts: 0,
        };
        self.exchange(key, Operation::BlobPut(op), waiter);
    }

    /// It was asked for and is not there: it is mounted, if it can be, or comes through the spool.
    pub(super) fn not_there(&mut self, key: &WorkKey) {
        let (WorkKey::To(site, digest), Some(work)) = (key, self.works.get_mut(key)) else {
            return;
        };
        if let Some(waiter) = work.waiters.front_mut()
            && matches!(&waiter.source, Source::Site(from) if from.is_beside(site))
        {
            waiter.distrust = false;
            let waiter = waiter.clone();
            return self.deliver(key, site, digest.clone(), &waiter);
        }
        self.spool(key, None);
    }

    /// Brings the blob into the spool first.
    pub(super) fn spool(&mut self, key: &WorkKey, session: Option<Url>) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let Some(waiter) = work.waiters.front().cloned() else {
            return;
        };
        let Some(spool) = waiter.spool else {
            let what = "a copy between registries needs a store to spool blobs in".to_string();
            return self.fail_work(key, Error::Policy { what });
        };
        work.stage = Phase::Spooling { session };
        let spooled = WorkKey::Into(spool, key.digest().clone());
        let wish = match &waiter.source {
            Source::Site(site) => Scopes::pull(&site.repository),
            Source::Store(_) => Scopes::default(),
        };
        self.want(
            spooled,
            Waiter {
                work: Some(key.clone()),
                wish,
                ..waiter
            },
        );
    }

    /// The blob is in the spool: send it.
    pub(super) fn spooled(&mut self, key: &WorkKey, result: Result<How, Error>) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let (Phase::Spooling { session }, WorkKey::To(site, digest)) = (&work.stage, key) else {
            return;
        };
        let session = session.clone();
        let how = match result {
            Ok(how) => how,
            Err(error) => return self.fail_work(key, error),
        };
        let Some(waiter) = work.waiters.front().cloned() else {
            return;
        };
        work.stage = Phase::Sending {
            spooled: waiter.spool.map(|spool| (spool, how)),
        };
        let stage = match session {
            Some(session) => Stage::Put { session },
            None => Stage::Start { mount: None },
        };
        let op = BlobPut {
            site: site.clone(),
            digest: digest.clone(),
            size: work.size,
            transfer: work.transfer,
            stage,
            source: waiter.spool,
            restarts: 0,
        };
        self.exchange(key, Operation::BlobPut(op), &waiter);
    }

    /// The blob is in the repository; what was spooled is of no more use.
    pub(super) fn sent(&mut self, key: &WorkKey, spooled: Option<(StoreId, How)>, how: How) {
        let task = self
            .works
            .get(key)
            .and_then(|work| work.waiters.front())
            .map(|w| w.task);
        self.over(key, how);
        if let (Some((spool, How::Moved(_))), Some(task)) = (spooled, task) {
            self.clear(spool, key.digest(), task);
        }
    }

    /// Removes a blob from a spool, as a work of its own: whoever wants it there again waits until
    /// it is gone, and then begins anew.
    pub(super) fn clear(&mut self, spool: StoreId, digest: &Digest, task: TaskId) {
        let others = self
            .works
            .iter_mut()
            .filter(|(key, _)| key.digest() == digest);
        for (_, work) in others {
            if let Phase::Sending {
                spooled: Some((other, how)),
            } = &mut work.stage
                && *other == spool
            {
                // It is being sent from there once more; whoever does that clears it.
                *how = How::Moved(0);
                return;
            }
        }
        let key = WorkKey::Into(spool, digest.clone());
        if let Some(work) = self.works.get_mut(&key) {
            // Somebody is about to find it there.
            work.clears = true;
            return;
        }
        let transfer = self.next_transfer();
        let mut work = Work::new(0, transfer);
        work.leaving.push_back(task);
        work.stage = Phase::Clearing;
        self.works.insert(key.clone(), work);
        self.step(
            Owner::Work(key),
            spool,
            StoreOp::Remove {
                digest: digest.clone(),
            },
        );
    }
}
