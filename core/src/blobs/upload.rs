//! Moving a blob to a repository: from a store, by a mount, or by way of a spool.
//!
//! Responsible for how a blob gets there, and for what is in the spool. Must not know how blobs come
//! into a store (`download`).

use alloc::string::ToString;
use alloc::vec::Vec;

use super::{BlobKey, BlobSettled, BlobSource, Blobs, Phase, Recheck, Transfer, Waiter, Wants};
use crate::config::ChunkSizes;
use crate::digest::Digest;
use crate::error::Error;
use crate::hashing::Hashing;
use crate::ids::{Owner, TaskId, TransferId};
use crate::op::{
    BlobGet, BlobHead, BlobPut, Head, OpenUpload, Operation, Site, UploadSession, UploadSource,
    UploadStep,
};
use crate::ports::Ports;
use crate::scope::Scopes;
use crate::store::{StoreId, StoreOp};
use crate::totals::Delivery;
use crate::uploads::SavedUpload;

/// How often relayed bytes are sent again from the first one before the blob is fetched into a spool.
const REWINDS: u8 = 2;

impl Blobs {
    /// Chooses how a blob gets to a repository.
    pub(super) fn deliver(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let waiter = &self.get(id)?.first()?;
        let mut mounts = self.mounts(id, waiter, ports)?;
        let transfer = self.get(id)?;
        let (site, digest) = transfer.sent_to()?;
        let head = match waiter.recheck {
            Recheck::None => Head::for_size(transfer.size),
            Recheck::Missing | Recheck::Mounted => Head::Due,
            Recheck::Contradicted => Head::Never,
        };
        let source = match &waiter.source {
            BlobSource::Store(store) => Some(UploadSource::Store(*store)),
            // Two slots of one host may not be had at once.
            BlobSource::Site(from) if from.origin == site.origin || !ports.config.relays => None,
            BlobSource::Site(_) => Some(UploadSource::Relay),
        };
        if let (Some(UploadSource::Relay), 0) = (source, transfer.size) {
            let found = Hashing::for_digest(&digest).digest();
            if found != digest {
                return self.fail(id, Error::of_empty_blob(&digest, &found), ports);
            }
        }
        let step = match (mounts.pop(), head) {
            (Some(from), _) => UploadStep::Start { mount: Some(from) },
            (None, Head::Due) if source.is_none() => {
                transfer.phase = Phase::Checking;
                let op = BlobHead {
                    site: site.clone(),
                    digest,
                    size: waiter.size,
                };
                return self.exchange(id, (site, Operation::BlobHead(op)), waiter, ports);
            }
            (None, Head::Due) => UploadStep::Check { session: None },
            (None, Head::Done | Head::Never) if source.is_none() => {
                return self.spool(id, None, ports);
            }
            (None, Head::Done | Head::Never) => UploadStep::Start { mount: None },
        };
        transfer.phase = Phase::Sending { spooled: None };
        let left = source.and_then(|_| left_by_others(transfer, waiter, ports));
        let mut op = self.blob_put(id, (step, source, head), ports)?;
        op.mounts = mounts;
        if let Some(upload) = left {
            op.go_on_with(&upload);
            self.get(id)?.mounts.clear();
        }
        self.begin_put(id, op, waiter, ports)
    }

    fn send(
        &mut self,
        id: TransferId,
        waiter: &Waiter,
        how: (UploadStep, Option<UploadSource>, Head),
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let op = self.blob_put(id, how, ports)?;
        self.begin_put(id, op, waiter, ports)
    }

    fn begin_put(
        &mut self,
        id: TransferId,
        op: BlobPut,
        waiter: &Waiter,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let mut waiter = waiter.clone();
        // One token for all of them (PUSHB-53).
        waiter.scopes.merge(&op.mount_scopes());
        if let (Some(UploadSource::Relay), BlobSource::Site(from), 1..) =
            (op.source, &waiter.source, op.size)
        {
            let from = from.clone();
            return self.begin_relay(id, op, from, &waiter, ports);
        }
        let site = op.site.clone();
        self.exchange(id, (site, Operation::BlobPut(op)), &waiter, ports)
    }

    /// Sends the blob while it is fetched.
    fn begin_relay(
        &mut self,
        id: TransferId,
        mut put: BlobPut,
        from: Site,
        waiter: &Waiter,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        if waiter.spool.is_none() {
            put.rewinds = None;
        }
        let get = BlobGet::relayed(from, put.digest.clone(), put.size, id, waiter.urls.clone());
        let scopes = Scopes::pull(&get.site.repository);
        let transfer = self.get(id)?;
        let (sink, source) = ports.exchanges.begin_relay(
            Owner::Transfer(id),
            waiter.task,
            (put, waiter.scopes.clone()),
            (get, scopes),
        );
        transfer.exchange = Some(sink);
        transfer.source = Some(source);
        Ok(())
    }

    fn blob_put(
        &mut self,
        id: TransferId,
        (step, source, head): (UploadStep, Option<UploadSource>, Head),
        ports: &Ports<'_>,
    ) -> Result<BlobPut, Error> {
        let transfer = self.get(id)?;
        let (site, digest) = transfer.sent_to()?;
        let chunk = ports.config.chunk_size_for(&site.registry);
        let kind = ports.config.kind(&site.registry);
        let posts = ports.config.posts_blobs_to(&site.registry);
        Ok(BlobPut {
            site,
            hashing: Hashing::for_digest(&digest),
            digest,
            size: transfer.size,
            position: 0,
            sent: 0,
            transfer: id,
            step,
            mounts: Vec::new(),
            source,
            head,
            patches: false,
            posts,
            chunk,
            chunks: kind.map_or(ChunkSizes::ANY, |kind| kind.habits().chunks),
            session: UploadSession::default(),
            restarts: 0,
            rewinds: Some(REWINDS),
            in_one_request: false,
            given_up: None,
            stream: None,
            is_named: transfer.first()?.is_named,
        })
    }

    /// A HEAD says that the blob is missing: it is mounted, if it can be, or comes through the spool.
    pub(super) fn not_there(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (site, _) = transfer.sent_to()?;
        let waiter = transfer.first()?;
        if let BlobSource::Site(from) = &waiter.source
            && waiter.recheck != Recheck::Mounted
            && from.is_beside(&site)
        {
            transfer.phase = Phase::Sending { spooled: None };
            let mount = Some(from.repository.clone().into());
            let step = UploadStep::Start { mount };
            return self.send(id, &waiter, (step, None, Head::Done), ports);
        }
        self.spool(id, None, ports)
    }

    /// Brings the blob into the spool first.
    pub(super) fn spool(
        &mut self,
        id: TransferId,
        session: Option<OpenUpload>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let waiter = transfer.first()?;
        transfer.phase = Phase::Spooling { session };
        let Some(spool) = waiter.spool else {
            let what = "a copy between registries needs a store to spool blobs in".to_string();
            return self.fail(id, Error::Policy { what }, ports);
        };
        let spooled = BlobKey::Store(spool, transfer.key.digest().clone());
        let scopes = match &waiter.source {
            BlobSource::Site(site) => Scopes::pull(&site.repository),
            BlobSource::Store(_) => Scopes::default(),
        };
        let waiter = Waiter {
            wants: Wants::Upload { upload: id, spool },
            scopes,
            recheck: Recheck::None,
            ..waiter
        };
        self.want(spooled, waiter, ports);
        Ok(())
    }

    /// Takes the result of the download into a spool that an upload waits for.
    pub(crate) fn spooled(
        &mut self,
        id: TransferId,
        spool: StoreId,
        settled: BlobSettled,
        ports: &mut Ports<'_>,
    ) {
        let waits = self.transfers.get(&id).is_some_and(|transfer| {
            let waiter = transfer.waiters.front();
            matches!(transfer.phase, Phase::Spooling { .. })
                && waiter.is_some_and(|it| it.task == settled.task && it.spool == Some(spool))
        });
        if waits {
            let result = self.send_spooled(id, spool, settled.result, ports);
            self.check(id, result, ports);
        } else if let Ok(Delivery::Moved(_)) = settled.result {
            // The upload was given up meanwhile, and what it had put into the spool is of no use.
            self.clear(spool, &settled.digest, settled.task, ports);
        }
    }

    fn send_spooled(
        &mut self,
        id: TransferId,
        spool: StoreId,
        result: Result<Delivery, Error>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let delivery = match result {
            Ok(delivery) => delivery,
            Err(error) => return self.fail(id, error, ports),
        };
        let waiter = transfer.first()?;
        let sending = Phase::Sending {
            spooled: Some((spool, delivery)),
        };
        let Phase::Spooling { session } = &mut transfer.phase else {
            return Err(transfer.defect("does not wait for a spool"));
        };
        let session = session.take();
        transfer.phase = sending;
        let left = left_by_others(transfer, &waiter, ports).filter(|_| session.is_none());
        // It was asked for before it was fetched.
        let head = match waiter.recheck {
            Recheck::None | Recheck::Missing | Recheck::Mounted => Head::Done,
            Recheck::Contradicted => Head::Never,
        };
        let key = (spool, transfer.key.digest().clone());
        self.senders.entry(key).or_default().push(id);
        let mut op = self.blob_put(
            id,
            (
                UploadStep::Start { mount: None },
                Some(UploadSource::Store(spool)),
                head,
            ),
            ports,
        )?;
        if let Some(session) = session {
            op.send_to(session);
        } else if let Some(upload) = left {
            op.go_on_with(&upload);
        }
        self.begin_put(id, op, &waiter, ports)
    }

    /// The blob is in the repository; the spooled copy is not needed any more.
    pub(super) fn sent(
        &mut self,
        id: TransferId,
        spooled: Option<(StoreId, Delivery)>,
        delivery: Delivery,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let task = transfer.waiters.front().map(|waiter| waiter.task);
        let digest = transfer.key.digest().clone();
        self.over(id, delivery, ports)?;
        if let (Some((spool, Delivery::Moved(_))), Some(task)) = (spooled, task) {
            self.clear(spool, &digest, task, ports);
        }
        Ok(())
    }

    /// Removes a blob from a spool, as a transfer of its own: what wants it there again waits until it
    /// is gone, and then begins again.
    pub(super) fn clear(
        &mut self,
        spool: StoreId,
        digest: &Digest,
        task: TaskId,
        ports: &mut Ports<'_>,
    ) {
        let senders = self.senders.remove(&(spool, digest.clone()));
        let mut senders = senders.unwrap_or_default();
        while let Some(id) = senders.pop() {
            let transfer = self.transfers.get_mut(&id);
            if let Some(Phase::Sending {
                spooled: Some((other, delivery)),
            }) = transfer.map(|transfer| &mut transfer.phase)
                && *other == spool
            {
                // It is being sent from there again, and removed after that.
                *delivery = Delivery::Moved(0);
                senders.push(id);
                self.senders.insert((spool, digest.clone()), senders);
                return;
            }
        }
        let key = BlobKey::Store(spool, digest.clone());
        let transfer = self.by_key.get(&key);
        if let Some(transfer) = transfer.and_then(|id| self.transfers.get_mut(id)) {
            // Something is about to find it there.
            transfer.remove_after = true;
            return;
        }
        let mut transfer = Transfer::new(key, 0);
        transfer.leaving.push_back(task);
        transfer.phase = Phase::Clearing;
        let id = self.add(transfer, task);
        let digest = digest.clone();
        ports.step(Owner::Transfer(id), spool, StoreOp::Remove { digest });
    }
}

/// An upload of the blob that another process, or an earlier task, has left open. If a registry is wrong about
/// what it has, it is not relied on.
fn left_by_others(
    transfer: &Transfer,
    waiter: &Waiter,
    ports: &mut Ports<'_>,
) -> Option<SavedUpload> {
    let (site, digest) = transfer.sent_to().ok()?;
    let is_believed = waiter.recheck == Recheck::None;
    let upload = ports.exchanges.take_left(&site, &digest, transfer.size);
    upload.filter(|_| is_believed)
}
