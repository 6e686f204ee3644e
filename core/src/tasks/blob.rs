//! One blob: whether it exists, put it, mount it, delete it.
//!
//! Responsible for what is needed before a blob can be moved: its size. Must not know how blobs move
//! (`blobs`).

use alloc::format;
use alloc::sync::Arc;

use crate::blobs::{BlobKey, BlobSource, Waiter};
use crate::digest::Digest;
use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::op::{BlobStat, Delete, DeleteOf, OpOutcome, Operation, Site};
use crate::reference::Reference;
use crate::scope::Scopes;
use crate::store::StoreId;
use crate::task::{
    BlobAction, BlobFound, BlobPut, BlobTask, Deleted, MountFrom, TaskKind, TaskReport,
};
use crate::tasks::TaskPorts;
use crate::tasks::machine::{TaskMachine, unexpected};
use crate::totals::{Delivery, Totals};

/// A task about one blob.
#[derive(Debug)]
pub(crate) struct BlobState {
    site: Site,
    /// Where it is mounted from.
    from: Option<Site>,
    task: BlobTask,
    size: u64,
    totals: Totals,
}

impl BlobState {
    pub(super) fn new(task: BlobTask, exchanges: &Exchanges) -> Self {
        let from = match &task.action {
            BlobAction::Mount { from, .. } => {
                let registry = task.reference.registry().clone();
                let from = Reference::new(registry, from.clone(), None, None);
                Some(exchanges.destination(&from))
            }
            BlobAction::Stat | BlobAction::Put { .. } | BlobAction::Delete => None,
        };
        Self {
            site: match &task.action {
                BlobAction::Stat => exchanges.lists(&task.reference),
                BlobAction::Put { .. } | BlobAction::Mount { .. } | BlobAction::Delete => {
                    exchanges.destination(&task.reference)
                }
            },
            from,
            size: 0,
            totals: Totals::default(),
            task,
        }
    }
}

impl TaskMachine for BlobState {
    fn requested(&self) -> TaskKind {
        TaskKind::Blob(BlobTask {
            again: false,
            ..self.task.clone()
        })
    }

    fn totals(&self) -> Totals {
        self.totals
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let digest = self.digest()?;
        match self.task.action {
            BlobAction::Stat => {
                ports.config().lists(&self.task.reference)?;
                self.stat(self.site.clone(), digest, ports);
            }
            BlobAction::Mount { .. } => {
                ports.config().destination(&self.task.reference)?;
                let from = self.from.clone();
                let from = from.ok_or_else(|| Error::internal("a mount is from somewhere"))?;
                self.stat(from, digest, ports);
            }
            BlobAction::Put {
                store,
                size,
                ref mount_from,
            } => {
                ports.config().destination(&self.task.reference)?;
                let mount = mount_from.as_slice().into();
                self.size = size;
                self.want(BlobSource::Store(store), (None, mount), digest, ports);
            }
            BlobAction::Delete => {
                ports.config().destination(&self.task.reference)?;
                ports.forget_seen(&BlobKey::Repository(self.site.clone(), digest.clone()));
                let op = Delete {
                    site: self.site.clone(),
                    of: DeleteOf::Blob(digest),
                    again: self.task.again,
                };
                self.exchange(self.site.clone(), Operation::Delete(op), ports);
            }
        }
        Ok(())
    }

    fn exchange_done(
        &mut self,
        outcome: OpOutcome,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let digest = self.digest()?;
        match (outcome, &self.task.action, &self.from) {
            (OpOutcome::Stat { size }, BlobAction::Stat, _) => {
                ports.finish(TaskReport::BlobFound(BlobFound { digest, size }));
            }
            (OpOutcome::Stat { size }, BlobAction::Mount { spool, .. }, Some(from)) => {
                let (spool, from) = (*spool, from.clone());
                self.size = size;
                self.want(
                    BlobSource::Site(from),
                    (Some(spool), [].into()),
                    digest,
                    ports,
                );
            }
            (OpOutcome::Deleted, BlobAction::Delete, _) => {
                ports.finish(TaskReport::Deleted(Deleted {
                    digest: Some(digest),
                    unlisted: None,
                }));
            }
            _ => return Err(unexpected("a request about a blob")),
        }
        Ok(())
    }

    fn blob_done(&mut self, delivery: Delivery, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.totals.settle(self.size, None, delivery);
        let how = delivery.into();
        ports.finish(TaskReport::BlobPut(BlobPut {
            digest: self.digest()?,
            size: self.size,
            how,
        }));
        Ok(())
    }
}

impl BlobState {
    fn want(
        &mut self,
        source: BlobSource,
        (spool, mount_from): (Option<StoreId>, Arc<[MountFrom]>),
        digest: Digest,
        ports: &mut TaskPorts<'_>,
    ) {
        self.totals.plan(self.size);
        let waiter = Waiter {
            spool,
            mount_from,
            is_named: false,
            ..ports.waiter(source, self.size, self.scopes())
        };
        let key = BlobKey::Repository(self.site.clone(), digest);
        // It may have gone since an earlier task, and no manifest shows that it has.
        ports.forget_seen(&key);
        ports.want(key, waiter);
    }

    fn stat(&self, site: Site, digest: Digest, ports: &mut TaskPorts<'_>) {
        let op = BlobStat::new(site.clone(), digest);
        self.exchange(site, Operation::BlobStat(op), ports);
    }

    fn exchange(&self, site: Site, op: Operation, ports: &mut TaskPorts<'_>) {
        ports.exchange(NodeId(0), site, op, self.scopes());
    }

    fn scopes(&self) -> Scopes {
        let repository = &self.site.repository;
        let mut scopes = match &self.task.action {
            BlobAction::Stat => Scopes::pull(repository),
            BlobAction::Put { .. } | BlobAction::Mount { .. } => Scopes::push(repository),
            BlobAction::Delete => Scopes::delete(repository),
        };
        match &self.task.action {
            BlobAction::Put { mount_from, .. } => {
                let from = mount_from.iter().filter_map(MountFrom::repository);
                from.for_each(|from| scopes.merge(&Scopes::pull(from)));
            }
            BlobAction::Mount { from, .. } => scopes.merge(&Scopes::pull(from)),
            BlobAction::Stat | BlobAction::Delete => {}
        }
        scopes
    }

    fn digest(&self) -> Result<Digest, Error> {
        let reference = &self.task.reference;
        let digest = reference.digest().cloned();
        let digest = digest.ok_or_else(|| Error::Policy {
            what: format!("a blob is named by its digest: `{reference}` has none"),
        })?;
        if digest.algorithm().is_none() {
            let what = format!("blob {digest}: its algorithm cannot be verified");
            return Err(Error::Policy { what });
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests;
