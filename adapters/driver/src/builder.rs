//! How a client is set up.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::marker::PhantomData;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use windlass_core::Config;
#[cfg(feature = "tape")]
use windlass_core::tape::TapeSink;

use crate::address::AddressGuard;
use crate::client::{Client, Driver, Parts};
use crate::credentials::{Anonymous, Credentials};
use crate::hosts::{HostSelector, SameForAll};
use crate::limits::TimeLimits;
use crate::progress::ProgressRegistry;
use crate::proxy::{Direct, ProxySelector};
use crate::resources::Resources;
#[cfg(feature = "tape")]
use crate::session::ClientSession;
#[cfg(not(feature = "tape"))]
use crate::session::unrecorded;
use crate::tls::TlsRoots;
use crate::tls_config::Tls;
use crate::uploads::UploadJournal;

/// Blobs from this size on are worth keeping, by default: a smaller one is sent again in less time than it takes
/// to ask for what has arrived, nearly everywhere.
const KEEP_FROM: u64 = 1 << 20;

/// Everything that a client can be set up with. The default is anonymous, trusts the system's certificates and
/// uses no proxy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How the session behaves.
    pub config: Config,
    /// Where credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// Which certificate authorities are trusted.
    pub roots: TlsRoots,
    /// A TLS configuration instead of one that trusts `roots`.
    pub tls: Option<Arc<ClientConfig>>,
    /// What signs and encrypts, instead of what this crate's features say.
    pub crypto: Option<Arc<CryptoProvider>>,
    /// Which hosts are reached in ways of their own: certificates, verification, time to connect.
    pub hosts: Arc<dyn HostSelector>,
    /// Which origin is reached through which proxy.
    pub proxies: Arc<dyn ProxySelector>,
    /// Which addresses may be connected to.
    pub addresses: AddressGuard,
    /// How long may pass without anything happening.
    pub time_limits: TimeLimits,
    /// What the jitter of retries is derived from; drawn at random if there is none.
    pub seed: Option<u64>,
    /// Where the session is recorded.
    #[cfg(feature = "tape")]
    pub tape: Option<Arc<dyn TapeSink>>,
    /// Where unfinished uploads are kept.
    pub uploads: Option<Arc<dyn UploadJournal>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: Config::default(),
            credentials: Arc::new(Anonymous),
            roots: TlsRoots::default(),
            tls: None,
            crypto: None,
            hosts: Arc::new(SameForAll),
            proxies: Arc::new(Direct),
            addresses: AddressGuard::default(),
            time_limits: TimeLimits::default(),
            seed: None,
            #[cfg(feature = "tape")]
            tape: None,
            uploads: None,
        }
    }
}

/// Sets a [`Client`] up.
#[must_use = "nothing is made before build"]
pub struct Builder<D> {
    settings: Settings,
    driver: PhantomData<fn() -> D>,
}

impl<D> Builder<D> {
    /// All settings at once, instead of those that were made so far.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How the session behaves.
    pub fn config(mut self, config: Config) -> Self {
        self.settings.config = config;
        self
    }

    /// Where credentials come from. By default there are none.
    pub fn credentials(mut self, credentials: Arc<dyn Credentials>) -> Self {
        self.settings.credentials = credentials;
        self
    }

    /// Which certificate authorities are trusted. By default those of the system.
    pub fn roots(mut self, roots: TlsRoots) -> Self {
        self.settings.roots = roots;
        self
    }

    /// A TLS configuration of your own, for all hosts that [`hosts`](Self::hosts) does not name. It is used
    /// as it is: [`roots`](Self::roots) has no effect then, and ALPN, if any, must offer `http/1.1` only.
    /// A host that is named trusts its own [`Authorities`](crate::Authorities) alone.
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.settings.tls = Some(config);
        self
    }

    /// What signs and encrypts: by default aws-lc-rs with the features `fips` and `aws-lc-rs`, ring with the feature
    /// `ring`, otherwise the default provider of the process.
    pub fn crypto(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.settings.crypto = Some(provider);
        self
    }

    /// Which hosts are reached in ways of their own: certificates, verification, time to connect. By
    /// default none is.
    pub fn hosts(mut self, hosts: Arc<dyn HostSelector>) -> Self {
        self.settings.hosts = hosts;
        self
    }

    /// Which origin is reached through which proxy. By default none is; the environment is not read.
    pub fn proxies(mut self, proxies: Arc<dyn ProxySelector>) -> Self {
        self.settings.proxies = proxies;
        self
    }

    /// Which addresses may be connected to, for services that must not be led into their own network. By
    /// default all.
    pub fn addresses(mut self, addresses: AddressGuard) -> Self {
        self.settings.addresses = addresses;
        self
    }

    /// How long may pass without anything happening.
    pub fn time_limits(mut self, limits: TimeLimits) -> Self {
        self.settings.time_limits = limits;
        self
    }

    /// What the jitter of retries is derived from; drawn at random by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Records what the client's session is told, without secrets, so that it can be replayed: see
    /// [`tape`](windlass_core::tape) and [`TapeFile`](crate::TapeFile). A sink is for one client.
    #[cfg(feature = "tape")]
    pub fn tape(mut self, tape: Arc<dyn TapeSink>) -> Self {
        self.settings.tape = Some(tape);
        self
    }

    /// Keeps unfinished uploads, so that a push that was killed goes on when it is run again by a client with
    /// the same journal: see [`UploadFolder`](crate::UploadFolder). Then sessions of uploads that are cancelled,
    /// or fail for a reason that may pass, are not deleted at the registry. By default nothing is kept, and
    /// they are. Blobs that are smaller than [`Config::keep_uploads`], 1 MiB by default, are not kept.
    /// A journal is for one client.
    pub fn uploads(mut self, uploads: Arc<dyn UploadJournal>) -> Self {
        self.settings.uploads = Some(uploads);
        self
    }

    /// Makes the client. Nothing runs and no server is contacted yet.
    ///
    /// # Errors
    ///
    /// If a certificate that is to be trusted cannot be read, none is trusted at all, or there is no cryptography.
    pub fn build(self) -> Result<Client<D>, BuildError>
    where
        D: Driver,
    {
        self.build_with(D::new)
    }

    /// Makes the client over a driver that is made of more than these parts.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build).
    pub fn build_with(self, driver: impl FnOnce(Parts) -> D) -> Result<Client<D>, BuildError>
    where
        D: Driver,
    {
        let mut settings = self.settings;
        let keep_from = settings.config.keep_uploads.unwrap_or(KEEP_FROM);
        settings.config.keep_uploads = settings.uploads.is_some().then_some(keep_from);
        let tls = match settings.tls {
            Some(config) => Tls::ready(config),
            None => Tls::new(&settings.roots, settings.crypto)?,
        };
        let tls = tls.with_hosts(Arc::clone(&settings.hosts));
        let in_flight = settings.config.most_in_flight();
        let seed = settings.seed;
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        #[cfg(feature = "tape")]
        let session = ClientSession::new(settings.config, seed, settings.tape);
        #[cfg(not(feature = "tape"))]
        let session = unrecorded(settings.config, seed);
        let parts = Parts {
            resources: Resources {
                stores: Arc::default(),
                credentials: settings.credentials,
                progress: ProgressRegistry::default(),
                proxies: settings.proxies,
                hosts: settings.hosts,
                uploads: settings.uploads,
            },
            tls,
            addresses: settings.addresses,
            limits: settings.time_limits,
            in_flight: usize::try_from(in_flight).unwrap_or(usize::MAX),
            session,
        };
        Ok(Client::new(driver(parts)))
    }
}

impl<D> Default for Builder<D> {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            driver: PhantomData,
        }
    }
}

impl<D> Clone for Builder<D> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            driver: PhantomData,
        }
    }
}

impl<D> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
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
    /// Nothing is there to sign and encrypt with.
    #[error(
        "there is no cryptography for TLS: enable the feature ring or aws-lc-rs, or set a provider with Builder::crypto"
    )]
    NoCrypto,
}
