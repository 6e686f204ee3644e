//! What a task may use of the machines below it.
//!
//! Responsible for what tasks of all kinds need alike: exchanges and store operations are counted until
//! they end, and carry the task's id. Must not know what a kind of task does.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Pending;
use super::lists::Lists;
use crate::blobs::{BlobKey, BlobSource, Blobs, Recheck, Waiter, Wants};
use crate::config::{Config, Limits, RouteError};
use crate::digest::Digest;
use crate::event::Event;
use crate::ids::{NodeId, Owner, TaskId, TransferId};
use crate::op::{Operation, Site};
use crate::ports::Ports;
use crate::reference::{Reference, Repository};
use crate::registry::Origin;
use crate::scope::Scopes;
use crate::store::{StoreId, StoreOp};
use crate::task::{ReadAt, TaskReport};
use crate::time::Time;
use crate::uri::Url;

/// The machines below the tasks, lent for one call.
#[derive(Debug)]
pub(crate) struct Below<'a> {
    pub(crate) blobs: &'a mut Blobs,
    pub(crate) ports: Ports<'a>,
}

impl Below<'_> {
    /// The same, for a shorter time.
    pub(super) const fn lend(&mut self) -> Below<'_> {
        Below {
            blobs: self.blobs,
            ports: self.ports.lend(),
        }
    }
}

/// The same, for one task.
#[derive(Debug)]
pub(super) struct TaskPorts<'a> {
    pub(super) task: TaskId,
    pub(super) read_at: ReadAt,
    pub(super) pending: &'a mut Pending,
    pub(super) lists: &'a mut Lists,
    pub(super) below: Below<'a>,
    /// The task's result, once it is complete.
    pub(super) report: Option<TaskReport>,
}

impl TaskPorts<'_> {
    /// Fails if the reference's route leaves nothing that the task may read from.
    pub(super) fn check_source(&self, reference: &Reference) -> Result<(), RouteError> {
        match self.read_at {
            ReadAt::Mirrors => self.config().sources(reference).map(drop),
            ReadAt::Registry => self.config().upstream(reference).map(drop),
        }
    }

    /// Begins an exchange. `node` gets the result.
    pub(super) fn exchange(&mut self, node: NodeId, site: Site, op: Operation, scopes: Scopes) {
        let owner = Owner::Node(self.task, node);
        let exchanges = &mut self.below.ports.exchanges;
        let id = exchanges.begin(owner, self.task, site, op, scopes);
        self.pending.exchanges.insert(id);
    }

    /// Begins an exchange of a task that has one in flight at a time, with the scopes that it needs.
    pub(super) fn ask(&mut self, site: &Site, op: Operation) {
        let scopes = op.needs();
        self.exchange(NodeId(0), site.clone(), op, scopes);
    }

    /// Requests a store operation. `node` gets the answer.
    pub(super) fn store(&mut self, node: NodeId, store: StoreId, op: StoreOp) {
        self.pending.steps += 1;
        let owner = Owner::Node(self.task, node);
        self.below.ports.step(owner, store, op);
    }

    /// What wants a blob that a manifest names, from this source and no other place.
    pub(super) fn waiter(&self, source: BlobSource, size: u64, scopes: Scopes) -> Waiter {
        Waiter {
            task: self.task,
            size,
            wants: Wants::Task,
            source,
            scopes,
            spool: None,
            mount_from: [].into(),
            urls: Vec::new(),
            is_named: true,
            recheck: Recheck::None,
        }
    }

    /// Requests a blob. The task gets the result.
    pub(super) fn want(&mut self, key: BlobKey, waiter: Waiter) {
        self.below.blobs.want(key, waiter, &mut self.below.ports);
    }

    /// A number for a transfer that is the task's own.
    pub(super) fn new_transfer(&mut self) -> TransferId {
        self.below.blobs.new_transfer()
    }

    /// The size of the chunks in which a registry takes a stream; `None` if it takes none.
    pub(super) fn stream_chunk(&self, site: &Site) -> Option<u64> {
        self.below.ports.exchanges.stream_chunk(site)
    }

    /// Deletes an upload session that is not gone on with.
    pub(super) fn delete_upload(&mut self, site: Site, session: Url) {
        let exchanges = &mut self.below.ports.exchanges;
        exchanges.delete_upload(self.task, site, session);
    }

    /// A repository may not have a blob, whatever the session has seen there.
    pub(super) fn forget_seen(&mut self, key: &BlobKey) {
        self.below.blobs.forget_seen(key);
    }

    /// The repositories of a registry from which these blobs will probably be mounted.
    pub(super) fn foreseen_mounts<'a>(
        &self,
        to: &Site,
        blobs: impl Iterator<Item = (&'a Digest, u64)>,
    ) -> Vec<Repository> {
        let now = self.below.ports.now;
        self.below.blobs.foreseen_mounts(to, blobs, now)
    }

    /// How many manifests and blobs each endpoint has served.
    pub(super) fn take_served(&mut self) -> BTreeMap<Origin, u64> {
        self.below.ports.exchanges.take_served(self.task)
    }

    /// Whether a registry may take several tags with a manifest.
    pub(super) fn takes_tags(&self, registry: &Origin) -> bool {
        self.below.ports.exchanges.takes_tags(registry)
    }

    /// Whether a registry looks at the condition of a PUT; `None` if that is unknown.
    pub(super) fn looks_at_conditions(&self, registry: &Origin) -> Option<bool> {
        self.below.ports.exchanges.looks_at_conditions(registry)
    }

    pub(super) const fn now(&self) -> Time {
        self.below.ports.now
    }

    /// Whether a registry may have the referrers API.
    pub(super) fn lists_referrers(&self, registry: &Origin) -> bool {
        self.below.ports.exchanges.lists_referrers(registry)
    }

    pub(super) fn event(&mut self, event: Event) {
        self.below.ports.event(self.task, event);
    }

    pub(super) const fn config(&self) -> &Config {
        self.below.ports.config
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.config().limits
    }

    /// The task is complete.
    pub(super) fn finish(&mut self, report: TaskReport) {
        self.report = Some(report);
    }
}
