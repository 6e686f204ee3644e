//! What is asked of a client, and what a client is set up with.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windlass_core::call::TransferId;
use windlass_core::credential::{CredentialAnswer, CredentialCall};
use windlass_core::reference::Repository;
use windlass_core::{
    Copy, Done, Error, Event, Failure, Origin, Place, Platform, Platforms, Reference, Registry,
    StoreErrorKind, StoreId, Task, TaskId, Time,
};
use windlass_store::{Layout, Store};

use crate::stores::Stores;

/// Watches a call. Called from worker threads; must be quick and must not call the client. A call is
/// one task, unless the async client had to begin it again.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, task: TaskId, event: &Event);

    /// A transfer has moved: so many bytes of its blob are now on the other side. May go back when
    /// a transfer starts over.
    fn bytes(&self, transfer: TransferId, position: u64) {
        let _ = (transfer, position);
    }

    /// A line of the live transcript: requests, answers and events, without secrets. A tape of the
    /// session replays to the same lines.
    fn trace(&self, line: &str) {
        let _ = line;
    }

    /// Whether [`trace`](Self::trace) is wanted at all.
    fn traces(&self) -> bool {
        false
    }
}

/// Finds credentials. Asked once per registry and repository; may block.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credential for `repository` of `registry`; `recipient` is who will get to see it.
    fn find(
        &self,
        registry: &Registry,
        repository: Option<&Repository>,
        recipient: &Origin,
    ) -> CredentialAnswer;

    /// Where the credentials for a registry are from, for people: a file, an option.
    fn source(&self, _registry: &Registry, _repository: Option<&Repository>) -> Option<String> {
        None
    }
}

/// For drivers: asks, and takes a panic for a source that failed. Lost, the question would be asked
/// again and again.
pub fn find_credentials(credentials: &dyn Credentials, call: CredentialCall) -> Done {
    let find = || credentials.find(call.registry(), call.repository(), call.recipient());
    let found = catch_unwind(AssertUnwindSafe(find));
    let failed = |_| CredentialAnswer::Failed("the source of credentials panicked".into());
    let answer = found.unwrap_or_else(failed);
    call.finish(answer)
}

/// For drivers: whether a connection failed only because no file descriptor was left for it.
pub fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    windlass_store::error_kind(error) == StoreErrorKind::Descriptors
}

/// No credentials at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn find(&self, _: &Registry, _: Option<&Repository>, _: &Origin) -> CredentialAnswer {
        CredentialAnswer::None
    }
}

/// How long may pass without anything happening. There is no limit on a whole transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TimeLimits {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Between two chunks of a body, in either direction.
    pub idle: Duration,
    /// From the last byte of a request to the first of its answer. Long, because registries hash
    /// and move a blob before they answer the PUT that ends it.
    pub answer: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(600),
        }
    }
}

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Certificates in DER form. `None`: those of the system.
    pub roots: Option<Arc<Vec<Vec<u8>>>>,
    /// Certificates in DER form that are trusted beside them.
    pub extra: Vec<Vec<u8>>,
}

/// Ends calls early. Clones share one state; one of them can serve any number of calls.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<Cancelling>>);

#[derive(Default)]
struct Cancelling {
    cancelled: bool,
    next: u64,
    listeners: BTreeMap<u64, Box<dyn Fn() + Send + Sync>>,
}

impl Cancel {
    /// A handle that is not cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every call that was given this handle, and those that will be. They return within a
    /// second.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        // Under the lock: a call that has returned hears nothing any more.
        for listener in state.listeners.values() {
            listener();
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// For drivers: calls `listener` when it is cancelled, at once if it is already, until the
    /// answer is dropped. The listener must not use this handle.
    pub fn on_cancel(&self, listener: impl Fn() + Send + Sync + 'static) -> Listening {
        let mut state = self.lock();
        if state.cancelled {
            listener();
        }
        let key = state.next;
        state.next += 1;
        state.listeners.insert(key, Box::new(listener));
        Listening(self.clone(), key)
    }

    fn lock(&self) -> MutexGuard<'_, Cancelling> {
        // A listener that panicked leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

/// Ends [`Cancel::on_cancel`] when it is dropped.
#[derive(Debug)]
#[must_use = "the listener hears nothing once this is dropped"]
pub struct Listening(Cancel, u64);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.lock().listeners.remove(&self.1);
    }
}

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

    fn place(&self, stores: &mut Using) -> Place {
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

/// What is asked of a client: a task in the words of its callers.
#[derive(Clone, Debug)]
pub struct Order {
    what: What,
    platforms: Platforms,
    spool: Option<Arc<dyn Store>>,
    from: Option<Repository>,
    deadline: Option<Duration>,
    nondistributable: bool,
}

#[derive(Clone, Debug)]
enum What {
    Resolve(Reference),
    Copy {
        source: Endpoint,
        destination: Endpoint,
    },
}

impl Order {
    /// Find out which digest a reference stands for.
    pub fn resolve(reference: &Reference) -> Self {
        Self::new(What::Resolve(reference.clone()), Platforms::All)
    }

    /// Bring an image into a store: of an index, what suits this machine's containers.
    pub fn pull(reference: &Reference, store: &Arc<dyn Store>) -> Self {
        let what = What::Copy {
            source: reference.into(),
            destination: Endpoint::store(store, None),
        };
        Self::new(what, Platforms::One(host_platform()))
    }

    /// Bring an image from a store into a registry, with everything that is below it.
    pub fn push(store: &Arc<dyn Store>, reference: &Reference) -> Self {
        Self::copy(Endpoint::store(store, None), reference.into())
    }

    /// Bring an image from one place to another, with everything that is below it.
    pub fn copy(source: Endpoint, destination: Endpoint) -> Self {
        let what = What::Copy {
            source,
            destination,
        };
        Self::new(what, Platforms::All)
    }

    /// The entry's name in the store that is pulled into or pushed from; of a copy between two
    /// stores, in the destination.
    pub fn name(&mut self, new: String) {
        let What::Copy {
            source,
            destination,
        } = &mut self.what
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

    /// Moves foreign layers too: see [`Task::including_nondistributable`].
    pub const fn include_nondistributable(&mut self) {
        self.nondistributable = true;
    }

    /// How long it may take at most.
    pub fn deadline(&mut self, deadline: Duration) {
        self.deadline = Some(deadline);
    }

    /// The task for a session, and what keeps its stores known.
    ///
    /// # Errors
    ///
    /// If a temporary store is needed and cannot be made.
    pub fn task(self, stores: &Arc<Stores>, now: Time) -> Result<(Task, Using), Failure> {
        let mut using = Using {
            stores: Arc::clone(stores),
            ids: Vec::new(),
        };
        let mut task = match &self.what {
            What::Resolve(reference) => Task::resolve(reference.clone()),
            What::Copy {
                source,
                destination,
            } => {
                let spool = match (&self.spool, source, destination) {
                    (Some(spool), _, _) => Some(Arc::clone(spool)),
                    (None, Endpoint::Registry(_), Endpoint::Registry(_)) => temporary_spool()?,
                    (None, _, _) => None,
                };
                Task::copy(Copy {
                    source: source.place(&mut using),
                    destination: destination.place(&mut using),
                    platforms: self.platforms,
                    spool: spool.map(|spool| using.add(&spool)),
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
        Ok((task, using))
    }

    const fn new(what: What, platforms: Platforms) -> Self {
        Self {
            what,
            platforms,
            spool: None,
            from: None,
            deadline: None,
            nondistributable: false,
        }
    }
}

/// The stores a task uses; forgotten when this is dropped, which must be after its last job.
#[derive(Debug)]
#[must_use = "the task's stores are forgotten when this is dropped"]
pub struct Using {
    stores: Arc<Stores>,
    ids: Vec<StoreId>,
}

impl Using {
    fn add(&mut self, store: &Arc<dyn Store>) -> StoreId {
        let id = self.stores.add(store);
        self.ids.push(id);
        id
    }
}

impl Drop for Using {
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

/// A store that is gone when nobody uses it any more.
fn temporary_spool() -> Result<Option<Arc<dyn Store>>, Failure> {
    match Layout::temporary() {
        Ok(spool) => Ok(Some(Arc::new(spool))),
        Err(error) => Err(Failure::new(vec![Error::Store(error)])),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn cancelling_is_heard_once_by_those_that_listen() {
        let heard = Arc::new(AtomicUsize::new(0));
        let count = || {
            let heard = Arc::clone(&heard);
            move || {
                heard.fetch_add(1, Ordering::SeqCst);
            }
        };
        let cancel = Cancel::new();
        let early = cancel.on_cancel(count());
        drop(cancel.on_cancel(count()));
        assert!(!cancel.is_cancelled());
        let other = cancel.clone();
        other.cancel();
        assert!(cancel.is_cancelled());
        assert_eq!(heard.load(Ordering::SeqCst), 1);
        let late = cancel.on_cancel(count());
        assert_eq!(heard.load(Ordering::SeqCst), 2);
        drop((early, late));
    }

    #[test]
    fn the_host_platform_is_linux() {
        let platform = host_platform();
        assert_eq!(platform.os, "linux");
        assert_ne!(platform.architecture, "x86_64");
    }
}
