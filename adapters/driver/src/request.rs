//! What is asked of a client.

use std::sync::Arc;
use std::time::Duration;

use windlass_core::reference::Repository;
use windlass_core::{
    Catalog, Checked, CopyTask, Descriptor, Error, Failure, Paging, Place, Platform, Platforms,
    Reference, Registry, Report, StoreId, Tags, Task, TaskReport, Time,
};
use windlass_store::{Layout, Store};

use crate::stores::Stores;

/// Where an image is or goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Endpoint {
    /// A registry.
    Registry(Reference),
    /// A store, under this name; without one, the only entry or an unnamed one.
    Store {
        /// The store.
        store: Arc<dyn Store>,
        /// The entry's name there.
        name: Option<String>,
    },
}

impl Endpoint {
    /// An entry of a store, for instance of an image layout.
    pub fn store(store: &Arc<dyn Store>, name: Option<String>) -> Self {
        Self::Store {
            store: Arc::clone(store),
            name,
        }
    }

    fn place(&self, stores: &mut StoreGuard) -> Place {
        match self {
            Self::Registry(reference) => Place::Registry(reference.clone()),
            Self::Store { store, name } => Place::Store {
                store: stores.add(store),
                name: name.clone(),
            },
        }
    }
}

impl From<&Reference> for Endpoint {
    fn from(reference: &Reference) -> Self {
        Self::Registry(reference.clone())
    }
}

impl From<Reference> for Endpoint {
    fn from(reference: Reference) -> Self {
        Self::Registry(reference)
    }
}

/// What a client is asked to do, with stores and references instead of ids.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    verb: Verb,
    platforms: Platforms,
    spool: Option<Arc<dyn Store>>,
    from: Option<Repository>,
    paging: Paging,
    deadline: Option<Duration>,
    nondistributable: bool,
}

#[derive(Clone, Debug)]
enum Verb {
    Check(Registry),
    Resolve(Reference),
    Tags(Reference),
    Catalog(Registry),
    Copy {
        source: Endpoint,
        destination: Endpoint,
    },
}

impl RequestSpec {
    /// Checks whether a registry accepts the credentials for it.
    pub fn check(registry: &Registry) -> Self {
        Self::new(Verb::Check(registry.clone()), Platforms::All)
    }

    /// Resolves a reference to a digest.
    pub fn resolve(reference: &Reference) -> Self {
        Self::new(Verb::Resolve(reference.clone()), Platforms::All)
    }

    /// Lists the tags of the reference's repository.
    pub fn tags(repository: &Reference) -> Self {
        Self::new(Verb::Tags(repository.clone()), Platforms::All)
    }

    /// Lists the repositories of a registry.
    pub fn catalog(registry: &Registry) -> Self {
        Self::new(Verb::Catalog(registry.clone()), Platforms::All)
    }

    /// Copies an image into a store: of an index, the image for Linux on this machine's architecture.
    pub fn pull(reference: &Reference, store: &Arc<dyn Store>) -> Self {
        let verb = Verb::Copy {
            source: reference.into(),
            destination: Endpoint::store(store, None),
        };
        Self::new(verb, Platforms::One(host_platform()))
    }

    /// Copies an image from a store into a registry, with everything below it.
    pub fn push(store: &Arc<dyn Store>, reference: &Reference) -> Self {
        Self::copy(Endpoint::store(store, None), reference.into())
    }

    /// Copies an image from one place to another, with everything below it.
    pub fn copy(source: Endpoint, destination: Endpoint) -> Self {
        let verb = Verb::Copy {
            source,
            destination,
        };
        Self::new(verb, Platforms::All)
    }

    /// The entry's name in the store that is pulled into or pushed from; of a copy between two
    /// stores, in the destination.
    pub fn name(&mut self, new: String) {
        let Verb::Copy {
            source,
            destination,
        } = &mut self.verb
        else {
            return;
        };
        for endpoint in [destination, source] {
            if let Endpoint::Store { name, .. } = endpoint {
                *name = Some(new);
                break;
            }
        }
    }

    /// Which platforms of an index are wanted.
    pub fn platforms(&mut self, platforms: Platforms) {
        self.platforms = platforms;
    }

    /// A store for blobs on their way from one registry to another.
    pub fn spool(&mut self, spool: &Arc<dyn Store>) {
        self.spool = Some(Arc::clone(spool));
    }

    /// A repository of the destination's registry that is likely to hold the image's blobs.
    pub fn from(&mut self, repository: Repository) {
        self.from = Some(repository);
    }

    /// Which part of a list is read.
    pub const fn paging(&mut self) -> &mut Paging {
        &mut self.paging
    }

    /// Moves foreign layers too: see [`Task::including_nondistributable`].
    pub const fn include_nondistributable(&mut self) {
        self.nondistributable = true;
    }

    /// The longest that the request may take.
    pub fn deadline(&mut self, deadline: Duration) {
        self.deadline = Some(deadline);
    }

    /// The task for a session, and what keeps its stores known.
    ///
    /// # Errors
    ///
    /// If a temporary store is needed and cannot be made.
    pub fn task(self, stores: &Arc<Stores>, now: Time) -> Result<(Task, StoreGuard), Failure> {
        let mut guard = StoreGuard {
            stores: Arc::clone(stores),
            ids: Vec::new(),
        };
        let mut task = match &self.verb {
            Verb::Check(registry) => Task::check(registry.clone()),
            Verb::Resolve(reference) => Task::resolve(reference.clone()),
            Verb::Tags(repository) => Task::tags(repository.clone(), self.paging),
            Verb::Catalog(registry) => Task::catalog(registry.clone(), self.paging),
            Verb::Copy {
                source,
                destination,
            } => {
                let spool = match (&self.spool, source, destination) {
                    (Some(spool), _, _) => Some(Arc::clone(spool)),
                    (None, Endpoint::Registry(_), Endpoint::Registry(_)) => temporary_spool()?,
                    (None, _, _) => None,
                };
                Task::copy(CopyTask {
                    source: source.place(&mut guard),
                    destination: destination.place(&mut guard),
                    platforms: self.platforms,
                    spool: spool.map(|spool| guard.add(&spool)),
                    from: self.from,
                })
            }
        };
        if let Some(deadline) = self.deadline {
            task = task.by(now + deadline);
        }
        if self.nondistributable {
            task = task.including_nondistributable();
        }
        Ok((task, guard))
    }

    fn new(verb: Verb, platforms: Platforms) -> Self {
        Self {
            verb,
            platforms,
            spool: None,
            from: None,
            paging: Paging::default(),
            deadline: None,
            nondistributable: false,
        }
    }
}

/// The report of one kind of task, which a request for such a task returns.
pub trait TypedReport: Sized + Send + 'static {
    /// Takes it out of what a task ended with.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if the task was of another kind.
    fn of(report: TaskReport) -> Result<Self, Failure>;
}

/// For requests whose kind is known only when they run.
impl TypedReport for TaskReport {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        Ok(report)
    }
}

impl TypedReport for Report {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.copied().ok_or_else(another_kind)
    }
}

/// Whether a registry accepts credentials.
impl TypedReport for Checked {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.checked().ok_or_else(another_kind)
    }
}

/// What a reference stands for.
impl TypedReport for Descriptor {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.resolved().ok_or_else(another_kind)
    }
}

impl TypedReport for Tags {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.tags().ok_or_else(another_kind)
    }
}

impl TypedReport for Catalog {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.catalog().ok_or_else(another_kind)
    }
}

fn another_kind() -> Failure {
    let what = "a task ended with the report of another kind of task".into();
    Failure::new(vec![Error::Internal { what }])
}

/// Registers the stores of a task. They are forgotten when this is dropped, which must be after the task's last
/// job.
#[derive(Debug)]
#[must_use = "the task's stores are forgotten when this is dropped"]
pub struct StoreGuard {
    stores: Arc<Stores>,
    ids: Vec<StoreId>,
}

impl StoreGuard {
    fn add(&mut self, store: &Arc<dyn Store>) -> StoreId {
        let id = self.stores.add(store);
        self.ids.push(id);
        id
    }
}

impl Drop for StoreGuard {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            self.stores.forget(id);
        }
    }
}

/// Linux on this machine's architecture: what containers on it run.
pub fn host_platform() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", None),
        "aarch64" => ("arm64", None),
        "x86" => ("386", None),
        "arm" => ("arm", Some("v7")),
        "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
        "powerpc64" => ("ppc64", None),
        "loongarch64" => ("loong64", None),
        // riscv64 and s390x have the same name in Go.
        other => (other, None),
    };
    let mut platform = serde_json::json!({ "os": "linux", "architecture": architecture });
    if let Some(variant) = variant {
        platform["variant"] = variant.into();
    }
    serde_json::from_value(platform).expect("these are the fields of a platform")
}

/// A store that removes itself with its last user.
fn temporary_spool() -> Result<Option<Arc<dyn Store>>, Failure> {
    match Layout::temporary() {
        Ok(spool) => Ok(Some(Arc::new(spool))),
        Err(error) => Err(Failure::new(vec![Error::Store(error)])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_platform_is_linux() {
        let platform = host_platform();
        assert_eq!(platform.os, "linux");
        assert_ne!(platform.architecture, "x86_64");
    }
}
