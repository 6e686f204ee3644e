//! A call, with its options, and how a client is asked for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::reference::Repository;
use windlass_core::{Checked, Descriptor, Reference, Registry, TaskReport};
use windlass_driver::{
    CancelHandle, ImageLocation, MovesImage, Observer, Pull, Push, RequestSpec, Sends, Transfer,
};
use windlass_store::{Store, StoreEntry, StoreHandle};

use super::{Setup, Watch};
use crate::tapes::Lines;

/// A call, with its options.
#[derive(Clone)]
#[must_use = "nothing is asked before Driver::run"]
pub struct Ask {
    what: AskKind,
    all: bool,
    observer: Option<Arc<dyn Observer>>,
    cancel: Option<CancelHandle>,
    spool: Option<Arc<dyn Store>>,
    mount_from: Vec<Repository>,
    foreign: bool,
    deadline: Option<Duration>,
}

#[derive(Clone)]
enum AskKind {
    Check(Registry),
    Resolve(Reference),
    Pull(Reference, StoreEntry),
    Push(StoreEntry, Reference),
    Copy(ImageLocation, ImageLocation),
    Other(Box<RequestSpec>),
}

impl Ask {
    /// A request of any other kind.
    pub fn other(spec: RequestSpec) -> Self {
        Self::new(AskKind::Other(Box::new(spec)))
    }

    /// Whether a registry accepts its credentials.
    pub fn check(registry: &str) -> Self {
        Self::new(AskKind::Check(registry.parse().expect("a registry")))
    }

    /// Which digest it is.
    pub fn resolve(reference: &str) -> Self {
        Self::new(AskKind::Resolve(parse(reference)))
    }

    /// From a registry into a store, without a name.
    pub fn pull(reference: &str, store: &Arc<dyn Store>) -> Self {
        Self::pull_to(reference, StoreHandle::from(store).unnamed())
    }

    /// From a registry into a store.
    pub fn pull_to(reference: &str, entry: impl Into<StoreEntry>) -> Self {
        Self::new(AskKind::Pull(parse(reference), entry.into()))
    }

    /// The only entry of a store into a registry.
    pub fn push(store: &Arc<dyn Store>, reference: &str) -> Self {
        Self::push_from(StoreHandle::from(store).unnamed(), reference)
    }

    /// From a store into a registry.
    pub fn push_from(entry: impl Into<StoreEntry>, reference: &str) -> Self {
        Self::new(AskKind::Push(entry.into(), parse(reference)))
    }

    /// From one reference to another.
    pub fn copy(source: &str, destination: &str) -> Self {
        Self::new(AskKind::Copy(
            parse(source).into(),
            parse(destination).into(),
        ))
    }

    /// All of an index.
    pub fn all_platforms(mut self) -> Self {
        self.all = true;
        self
    }

    /// Who watches.
    pub fn watched(mut self, observer: &Arc<Watch>) -> Self {
        let observer: Arc<dyn Observer> = Arc::<Watch>::clone(observer);
        self.observer = Some(observer);
        self
    }

    /// Who may end it early.
    pub fn cancelled_by(mut self, cancel: &CancelHandle) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Where blobs between two registries stay meanwhile.
    pub fn spool(mut self, spool: &Arc<dyn Store>) -> Self {
        self.spool = Some(Arc::clone(spool));
        self
    }

    /// Where the destination may have its blobs, too.
    pub fn mount_from(mut self, repository: &str) -> Self {
        self.mount_from.push(repository.parse().unwrap());
        self
    }

    /// With foreign layers.
    pub fn foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// How long it may take.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    const fn new(what: AskKind) -> Self {
        Self {
            what,
            all: false,
            observer: None,
            cancel: None,
            spool: None,
            mount_from: Vec::new(),
            foreign: false,
            deadline: None,
        }
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

pub(super) fn parse(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A client over the driver `D`.
pub(super) fn built<D: windlass_driver::Driver>(
    setup: &Setup,
    tape: Arc<Lines>,
) -> windlass_driver::Client<D> {
    let mut builder = windlass_driver::Client::builder()
        .config(setup.config.clone())
        .roots(setup.trust.clone())
        .time_limits(setup.limits)
        .addresses(setup.addresses.clone())
        .tape(tape)
        .seed(1);
    if let Some(credentials) = &setup.credentials {
        builder = builder.credentials(Arc::clone(credentials));
    }
    builder.build().unwrap()
}

/// Tells a request what is asked of requests of every kind.
fn told<'a, D, R>(
    request: windlass_driver::Request<'a, D, R>,
    ask: &Ask,
) -> windlass_driver::Request<'a, D, R> {
    let mut request = request;
    if let Some(observer) = &ask.observer {
        request = request.observer(Arc::clone(observer));
    }
    if let Some(cancel) = &ask.cancel {
        request = request.cancel(cancel);
    }
    if let Some(deadline) = ask.deadline {
        request = request.deadline(deadline);
    }
    request
}

/// What is asked, as a client over the driver `D` is asked.
pub(super) enum ClientRequest<'a, D> {
    Check(windlass_driver::Request<'a, D, Checked>),
    Resolve(windlass_driver::Request<'a, D, Descriptor>),
    Pull(windlass_driver::Request<'a, D, Pull>),
    Push(windlass_driver::Request<'a, D, Push>),
    Copy(windlass_driver::Request<'a, D, Transfer>),
    Other(windlass_driver::Request<'a, D, TaskReport>),
}

/// Tells a request what is asked of those that move an image.
fn told_image<'a, D, V: MovesImage>(
    request: windlass_driver::Request<'a, D, V>,
    ask: &Ask,
) -> windlass_driver::Request<'a, D, V> {
    let mut request = told(request, ask);
    if ask.all {
        request = request.all_platforms();
    }
    if ask.foreign {
        request = request.include_nondistributable();
    }
    request
}

/// Tells a request what is asked of those that send an image.
fn told_sender<'a, D, V: MovesImage + Sends>(
    request: windlass_driver::Request<'a, D, V>,
    ask: &Ask,
) -> windlass_driver::Request<'a, D, V> {
    let mut request = told_image(request, ask);
    for repository in &ask.mount_from {
        request = request.mount_from(repository.clone());
    }
    request
}

pub(super) fn asked<'a, D>(
    client: &'a windlass_driver::Client<D>,
    ask: &Ask,
) -> ClientRequest<'a, D> {
    match &ask.what {
        AskKind::Check(registry) => ClientRequest::Check(told(client.check(registry), ask)),
        AskKind::Resolve(reference) => ClientRequest::Resolve(told(client.resolve(reference), ask)),
        AskKind::Other(spec) => ClientRequest::Other(told(client.request((**spec).clone()), ask)),
        AskKind::Pull(reference, entry) => {
            ClientRequest::Pull(told_image(client.pull(reference, entry.clone()), ask))
        }
        AskKind::Push(entry, reference) => {
            ClientRequest::Push(told_sender(client.push(entry.clone(), reference), ask))
        }
        AskKind::Copy(source, destination) => {
            let request = client.copy(source.clone(), destination.clone());
            let request = told_sender(request, ask);
            ClientRequest::Copy(match &ask.spool {
                Some(spool) => request.spool(spool),
                None => request,
            })
        }
    }
}
