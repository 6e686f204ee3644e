//! The client and how it is set up.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use rustls::ClientConfig;
use windlass_core::tape::{Sink, Taped};
use windlass_core::{Config, Reference};
use windlass_driver::{
    Anonymous, Credentials, Endpoint, ProxySelector, RequestSpec, TimeLimits, TlsRoots,
};
use windlass_store::Store;

use crate::exchange::Exchanges;
use crate::pool::Pool;
use crate::request::Request;
use crate::tls::Tls;
use crate::transfer::{Context, Watching};

/// An OCI registry client. Clones are cheap and share one session: tokens, limits, connections and
/// threads. When the last one goes, so do the threads.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner(Arc<Pool>);

impl Client {
    /// A client to be set up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Brings an image from a registry into a store: of an index, the image for Linux on this
    /// machine's architecture, unless told otherwise.
    pub fn pull(&self, reference: &Reference, store: &Arc<dyn Store>) -> Request<'_> {
        Request::new(self, RequestSpec::pull(reference, store))
    }

    /// Brings an image from a store into a registry, with everything that is below it.
    pub fn push(&self, store: &Arc<dyn Store>, reference: &Reference) -> Request<'_> {
        Request::new(self, RequestSpec::push(store, reference))
    }

    /// Brings an image from one place to another, with everything that is below it.
    pub fn copy(
        &self,
        source: impl Into<Endpoint>,
        destination: impl Into<Endpoint>,
    ) -> Request<'_> {
        Request::new(self, RequestSpec::copy(source.into(), destination.into()))
    }

    /// Finds out which digest a reference stands for: the report's root.
    pub fn resolve(&self, reference: &Reference) -> Request<'_> {
        Request::new(self, RequestSpec::resolve(reference))
    }

    /// Does what an order says that was put together elsewhere.
    pub fn request(&self, spec: RequestSpec) -> Request<'_> {
        Request::new(self, spec)
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0.0
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Sets a [`Client`] up. Everything has a default: anonymous, the system's certificates, no proxy.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is made before build"]
pub struct Builder {
    config: Config,
    credentials: Option<Arc<dyn Credentials>>,
    roots: TlsRoots,
    tls: Option<Arc<ClientConfig>>,
    proxies: Option<Arc<dyn ProxySelector>>,
    limits: TimeLimits,
    seed: Option<u64>,
    tape: Option<Arc<dyn Sink>>,
}

impl Builder {
    /// How the session behaves.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where credentials come from.
    pub fn credentials(mut self, credentials: Arc<dyn Credentials>) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Which certificate authorities are trusted.
    pub fn roots(mut self, roots: TlsRoots) -> Self {
        self.roots = roots;
        self
    }

    /// A TLS configuration of your own, for instance with a client certificate. It is used as it
    /// is: [`roots`](Self::roots) has no effect then, and ALPN, if any, must offer `http/1.1` only.
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Which origin is reached through which proxy. Variables of the environment are not looked at.
    pub fn proxies(mut self, proxies: Arc<dyn ProxySelector>) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// How long may pass without anything happening.
    pub fn time_limits(mut self, limits: TimeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What the jitter of retries is derived from; drawn at random by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Writes down what the client's session is told, without secrets, so that it can be replayed: see
    /// [`tape`](windlass_core::tape) and [`TapeFile`](windlass_driver::TapeFile). A sink is for one
    /// client.
    pub fn tape(mut self, tape: Arc<dyn Sink>) -> Self {
        self.tape = Some(tape);
        self
    }

    /// Makes the client. No thread runs and nothing is contacted yet.
    ///
    /// # Errors
    ///
    /// If a certificate that is to be trusted cannot be read, or none is trusted at all.
    pub fn build(self) -> Result<Client, BuildError> {
        let tls = match self.tls {
            Some(config) => Tls::Ready(config),
            None => Tls::new(&self.roots)?,
        };
        let in_flight = usize::try_from(self.config.in_flight.most).unwrap_or(usize::MAX);
        // Beyond exchanges: store steps, tokens, credentials, and the one that polls.
        let threads = in_flight.saturating_add(4);
        let seed = self
            .seed
            .unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let context = Context {
            exchanges: Exchanges::new(tls, &self.limits, in_flight),
            stores: Arc::default(),
            credentials: self.credentials.unwrap_or_else(|| Arc::new(Anonymous)),
            proxies: self.proxies,
            watching: Watching::default(),
            moving: AtomicUsize::new(0),
            parallelism: thread::available_parallelism().map_or(1, usize::from),
        };
        let session = Taped::new(self.config, seed, self.tape);
        Ok(Client(Arc::new(Inner(Pool::new(
            session, context, threads,
        )))))
    }
}

/// Why a client cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A certificate that is to be trusted cannot be read.
    #[error("certificate that is to be trusted: {0}")]
    Certificate(String),
    /// No certificate authority is trusted, so that no https server could be contacted.
    #[error("no certificate authority is trusted")]
    NoRoots,
}
