//! Moving a blob to a repository: from a store, by a mount, or by way of a spool.
//!
//! Responsible for how a blob gets there, and for what lies in the spool. Must not know how blobs come
//! into a store (`download`).

use alloc::string::ToString;

use super::{Doubt, How, Phase, Source, Waiter, Work, WorkKey};
use crate::digest::Digest;
use crate::error::Error;
use crate::ids::{Owner, TaskId};
use crate::op::{BlobHead, BlobPut, Form, Head, Operation, Stage};
use crate::scope::Scopes;
use crate::session::Session;
use crate::store::{StoreId, StoreOp};
use crate::uri::Url;

impl Session {
    /// Chooses how a blob gets to a repository.
    pub(super) fn deliver(&mut self, key: &WorkKey, waiter: &Waiter) {
        let (WorkKey::To(site, digest), Some(work)) = (key, self.works.get_mut(key)) else {
            return;
        };
        let head = match waiter.doubt {
            Doubt::None => Head::for_size(work.size),
            Doubt::Missing | Doubt::Mounted => Head::Due,
            Doubt::Contradicted => Head::Never,
        };
        let mount = match (&waiter.source, waiter.doubt) {
            (Source::Store(_), Doubt::None) => waiter.mount.clone(),
            (Source::Site(from), Doubt::None) if from.is_beside(site) => {
                Some(from.repository.clone())
            }
            (Source::Store(_) | Source::Site(_), _) => None,
        };
        let source = match &waiter.source {
            Source::Store(store) => Some(*store),
            Source::Site(_) => None,
        };
        let stage = match (mount, head) {
            (Some(from), _) => Stage::Start { mount: Some(from) },
            (None, Head::Due) if source.is_none() => {
                work.stage = Phase::Checking;
                let op = Operation::BlobHead(BlobHead {
                    site: site.clone(),
                    digest: digest.clone(),
                });
                return self.exchange(key, op, waiter);
            }
            (None, Head::Due) => Stage::Check { session: None },
            (None, Head::Done | Head::Never) if source.is_none() => return self.spool(key, None),
            (None, Head::Done | Head::Never) => Stage::Start { mount: None },
        };
        work.stage = Phase::Sending { spooled: None };
        self.send_blob(key, waiter, stage, source, head);
    }

    fn send_blob(
        &mut self,
        key: &WorkKey,
        waiter: &Waiter,
        stage: Stage,
        source: Option<StoreId>,
        head: Head,
    ) {
        let (WorkKey::To(site, digest), Some(work)) = (key, self.works.get(key)) else {
            return;
        };
        let op = BlobPut {
            site: site.clone(),
            digest: digest.clone(),
            size: work.size,
            transfer: work.transfer,
            stage,
            source,
            head,
            form: Form::Put,
            restarts: 0,
            sent: 0,
        };
        self.exchange(key, Operation::BlobPut(op), waiter);
    }

    /// It was asked for and is not there: it is mounted, if it can be, or comes through the spool.
    pub(super) fn not_there(&mut self, key: &WorkKey) {
        let (WorkKey::To(site, _), Some(work)) = (key, self.works.get_mut(key)) else {
            return;
        };
        if let Some(waiter) = work.waiters.front().cloned()
            && waiter.doubt != Doubt::Mounted
            && let Source::Site(from) = &waiter.source
            && from.is_beside(site)
        {
            work.stage = Phase::Sending { spooled: None };
            let mount = Some(from.repository.clone());
            return self.send_blob(key, &waiter, Stage::Start { mount }, None, Head::Done);
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
                doubt: Doubt::None,
                ..waiter
            },
        );
    }

    /// The blob is in the spool: send it.
    pub(super) fn spooled(&mut self, key: &WorkKey, result: Result<How, Error>) {
        let Some(work) = self.works.get_mut(key) else {
            return;
        };
        let Phase::Spooling { session } = &work.stage else {
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
        // It was asked for before it was fetched.
        let head = match waiter.doubt {
            Doubt::None | Doubt::Missing | Doubt::Mounted => Head::Done,
            Doubt::Contradicted => Head::Never,
        };
        self.send_blob(key, &waiter, stage, waiter.spool, head);
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
