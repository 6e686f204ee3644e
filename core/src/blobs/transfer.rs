//! The state of one transfer: who wants the blob, and how far it is.
//!
//! Responsible for what its fields say together. Must not know other transfers.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::opening::Opening;
use super::parts::Parts;
use super::{BlobKey, BlobSource, Recheck, Waiter};
use crate::digest::Digest;
use crate::error::Error;
use crate::ids::{ExchangeId, TaskId};
use crate::op::OpenUpload;
use crate::op::Site;
use crate::store::StoreId;
use crate::task::MountFrom;
use crate::time::Time;
use crate::totals::Delivery;

#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) key: BlobKey,
    pub(super) size: u64,
    pub(super) waiters: VecDeque<Waiter>,
    /// Tasks that left and wait for this to stop.
    pub(super) leaving: VecDeque<TaskId>,
    pub(super) phase: Phase,
    pub(super) exchange: Option<ExchangeId>,
    /// What fetches the blob while the exchange sends it, if that is a relay.
    pub(super) source: Option<ExchangeId>,
    /// Why it could not be fetched, until the exchange has ended.
    pub(super) failed: Option<Error>,
    /// Its parts, if it is fetched in several.
    pub(super) parts: Option<Box<Parts>>,
    /// Whether it is not fetched in parts, because they were wrong.
    pub(super) is_single: bool,
    /// Bytes that were received before it began again.
    pub(super) received: u64,
    /// Where the blob is being fetched from, and where it may be had besides.
    pub(super) using: Option<(BlobSource, Vec<String>)>,
    /// How far the registry is believed while it is being sent.
    pub(super) recheck: Recheck,
    /// The repositories from which it was to be mounted, in their order.
    pub(super) mounts: Vec<MountFrom>,
    /// How often a worker died with it.
    pub(super) lost: u32,
    pub(super) opening: Opening,
    /// Whether a partial of the blob is held open for it.
    pub(super) has_partial: bool,
    /// Whether it goes on from bytes of an earlier run that are not verified.
    pub(super) unverified_prefix: bool,
    /// Whether it is wanted in a spool, on its way to somewhere else.
    pub(super) spools: bool,
    /// It is in a spool, from which this transfer has to remove it.
    pub(super) remove_after: bool,
    /// Wait for the outstanding exchange or step, then end.
    pub(super) cancelling: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Idle,
    Beginning,
    /// Another process writes it: how far it was, since when.
    Busy {
        len: u64,
        since: Time,
        /// When it is asked about again; `None` while it is.
        until: Option<Time>,
    },
    /// Hashing the first bytes of the partial, of which some were received; an earlier run left the
    /// others.
    Hashing {
        len: u64,
        bytes: u64,
    },
    /// Removing what an earlier run left.
    Discarding,
    Moving,
    /// Fetching its parts.
    Fetching,
    /// Giving it its name, after `bytes` of it were moved.
    Committing {
        bytes: u64,
    },
    /// Giving the partial back; then it failed with this, or was cancelled.
    Releasing(Option<Error>),
    Checking,
    /// Waiting until it is in the spool.
    Spooling {
        session: Option<OpenUpload>,
    },
    Sending {
        /// The spool that it is sent from, if it is, and whether it was put there for this.
        spooled: Option<(StoreId, Delivery)>,
    },
    /// Removing it from the spool.
    Clearing,
    /// Removing bytes that do not have the digest; then it fails with this error.
    Spoiled(Error),
}

impl Transfer {
    pub(super) fn new(key: BlobKey, size: u64) -> Self {
        Self {
            key,
            size,
            // Almost always the only one, and there are thousands of transfers.
            waiters: VecDeque::with_capacity(1),
            leaving: VecDeque::new(),
            phase: Phase::Idle,
            exchange: None,
            source: None,
            failed: None,
            parts: None,
            is_single: false,
            received: 0,
            using: None,
            recheck: Recheck::None,
            mounts: Vec::new(),
            lost: 0,
            opening: Opening::No,
            has_partial: false,
            unverified_prefix: false,
            spools: false,
            remove_after: false,
            cancelling: false,
        }
    }

    /// The task it is done for: the one whose source is used, or one that waits for it to stop.
    pub(super) fn task(&self) -> Option<TaskId> {
        let waiting = self.waiters.front().map(|waiter| waiter.task);
        waiting.or_else(|| self.leaving.front().copied())
    }

    /// Whether it has to do with a task.
    pub(super) fn is_for(&self, task: TaskId) -> bool {
        self.leaving.contains(&task) || self.waiters.iter().any(|waiter| waiter.task == task)
    }

    /// The store it goes into, and its digest.
    pub(super) fn stored(&self) -> Result<(StoreId, Digest), Error> {
        match &self.key {
            BlobKey::Store(store, digest) => Ok((*store, digest.clone())),
            BlobKey::Repository(..) => Err(self.defect("is not on its way into a store")),
        }
    }

    /// The repository it goes to, and its digest.
    pub(super) fn sent_to(&self) -> Result<(Site, Digest), Error> {
        match &self.key {
            BlobKey::Repository(site, digest) => Ok((site.clone(), digest.clone())),
            BlobKey::Store(..) => Err(self.defect("is not on its way to a repository")),
        }
    }

    /// The waiter whose source is used.
    pub(super) fn first(&self) -> Result<Waiter, Error> {
        let first = self.waiters.front().cloned();
        first.ok_or_else(|| self.defect("is moved, but not wanted"))
    }

    pub(super) fn defect(&self, what: &str) -> Error {
        let (digest, phase) = (self.key.digest(), &self.phase);
        Error::internal(&format!("blob {digest} {what} ({phase:?})"))
    }

    /// Takes the waiters with the same source, URLs and size: the error applies to them, too.
    pub(super) fn same_source(
        &mut self,
        (source, urls): &(BlobSource, Vec<String>),
    ) -> VecDeque<Waiter> {
        let size = self.size;
        let same = |waiter: &Waiter| {
            waiter.source == *source && waiter.urls == *urls && waiter.size == size
        };
        let told;
        (told, self.waiters) = core::mem::take(&mut self.waiters)
            .into_iter()
            .partition(same);
        told
    }
}
