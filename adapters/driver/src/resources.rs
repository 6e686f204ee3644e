//! What jobs need beside connections.

use std::sync::Arc;

use windlass_core::{Done, Job, Origin};

use crate::credentials::{Anonymous, Credentials, find_credentials};
use crate::hosts::HostSelector;
use crate::progress::ProgressRegistry;
use crate::proxy::{Direct, Proxy, ProxySelector};
use crate::stores::Stores;
use crate::uploads::UploadJournal;

/// What the jobs of a client need beside connections. Clones share it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resources {
    /// The stores that the client's tasks use.
    pub stores: Arc<Stores>,
    /// Where credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// Who is told how far transfers are.
    pub progress: ProgressRegistry,
    /// Which proxies there are.
    pub proxies: Arc<dyn ProxySelector>,
    /// Which hosts are reached in ways of their own.
    pub hosts: Arc<dyn HostSelector>,
    /// Where unfinished uploads are kept, if they are.
    pub uploads: Option<Arc<dyn UploadJournal>>,
}

impl Resources {
    /// No store, no credentials, no proxy, and no unfinished uploads that are kept.
    pub fn new(hosts: Arc<dyn HostSelector>) -> Self {
        Self {
            stores: Arc::default(),
            credentials: Arc::new(Anonymous),
            progress: ProgressRegistry::default(),
            proxies: Arc::new(Direct),
            hosts,
            uploads: None,
        }
    }

    /// Runs a job that is no HTTP exchange: a step of a store, or a question for credentials. Blocks.
    pub fn step(&self, job: Job) -> Done {
        let id = job.id();
        match job {
            Job::Store(call) => self.stores.run(call),
            Job::Credentials(call) => find_credentials(&*self.credentials, call),
            Job::Http(_) | Job::Relay(_) => Done::lost(id),
        }
    }

    /// The proxy for this origin.
    pub fn proxy(&self, origin: &Origin) -> Option<Proxy> {
        self.proxies.proxy(origin)
    }
}
