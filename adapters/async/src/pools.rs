//! Kept connections, apart for each runtime.
//!
//! A connection is driven by a task of the runtime on which it was made, so another runtime must not
//! use it: it would hang while that one does not run, and break when it goes. Responsible for one set
//! of connections per runtime, for as long as it is used. Must not know requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, Proxy};
use tokio::runtime::{Handle, Id};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use windlass_core::Origin;
use windlass_core::call::{TransportError, TransportErrorKind};
use windlass_driver::{AddressGuard, Connections, HostTls, IDLE_AGE, ProxySelector, Tls};

use crate::exchange::origin;
use crate::resolver::Resolver;

/// Runtimes whose connections are kept at once. Few programs have more than two.
const RUNTIMES: usize = 64;

/// Hosts to which the connections of a runtime are kept. With one more, all that are not in use are closed,
/// and new ones are made: many hosts would hold many file descriptors, and few of them are asked again.
const HOSTS: usize = 256;

/// Hosts with settings of their own to which the connections of a runtime are kept: each has clients of its
/// own, since reqwest takes one TLS configuration for each client.
const OWN: usize = 64;

/// How clients for HTTP are made, and those that there are.
#[derive(Debug)]
pub(crate) struct Pools {
    connect: Duration,
    in_flight: usize,
    proxies: Arc<dyn ProxySelector>,
    addresses: AddressGuard,
    tls: Tls,
    pools: Mutex<HashMap<Id, Kept>>,
}

/// Who connects to the host of a URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// This client.
    Direct,
    /// A proxy: the addresses of its own host are not judged.
    Proxy,
}

#[derive(Debug)]
struct Kept {
    pool: Arc<Pool>,
    used: Instant,
}

/// The connections of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// For http only: needs no certificates.
    plain: Clients,
    secure: Clients,
    /// The same, connecting to allowed addresses only.
    judged_plain: Clients,
    judged_secure: Clients,
    /// For hosts with settings of their own, by whether addresses are judged.
    own: Mutex<BTreeMap<(Origin, bool), Arc<Own>>>,
    /// Where requests were answered lately, so that a connection is likely kept.
    lately: Mutex<BTreeMap<String, Instant>>,
}

/// A client that keeps connections, and one that keeps none.
type Clients = [OnceCell<Result<Client, TransportError>>; 2];

/// The connections to a host with settings of its own.
#[derive(Debug)]
struct Own {
    host: Arc<HostTls>,
    clients: Clients,
}

/// A client to be made.
struct Wanted {
    tls: Tls,
    host: Option<Arc<HostTls>>,
    /// Where connections go if the name in the URL is the server's other one.
    instead: Option<String>,
    /// Whether it connects to allowed addresses only.
    judges: bool,
    /// How many connections are kept.
    keeps: usize,
}

impl Pools {
    pub(crate) fn new(
        tls: Tls,
        connect: Duration,
        in_flight: usize,
        proxies: Arc<dyn ProxySelector>,
        addresses: AddressGuard,
    ) -> Self {
        Self {
            connect,
            in_flight,
            proxies,
            addresses,
            tls,
            pools: Mutex::default(),
        }
    }

    pub(crate) fn proxies(&self) -> &dyn ProxySelector {
        &*self.proxies
    }

    /// The connections of the current runtime. Forgets those that no connection can be left of.
    pub(crate) fn here(&self) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_used = |kept: &Kept| {
            Arc::strong_count(&kept.pool) > 1 || now.duration_since(kept.used) <= 2 * IDLE_AGE
        };
        pools.retain(|_, kept| is_used(kept));
        let here = Handle::current().id();
        if pools.len() >= RUNTIMES && !pools.contains_key(&here) {
            let oldest = pools.iter().min_by_key(|(_, kept)| kept.used);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                pools.remove(&oldest);
            }
        }
        let kept = pools.entry(here).or_insert_with(|| Kept {
            pool: Arc::default(),
            used: now,
        });
        kept.used = now;
        if kept.pool.lately().len() >= HOSTS {
            kept.pool = Arc::default();
        }
        Arc::clone(&kept.pool)
    }

    /// How this host is reached, if it has settings of its own.
    pub(crate) fn host(&self, origin: &Origin) -> Result<Option<Arc<HostTls>>, TransportError> {
        self.tls.host(origin)
    }

    /// A client with the connections of a runtime, for this origin.
    pub(crate) async fn client(
        &self,
        pool: &Pool,
        origin: &Origin,
        route: Route,
        is_secure: bool,
        connections: Connections,
    ) -> Result<Client, TransportError> {
        let judges = self.addresses.is_set() && route == Route::Direct;
        let host = self.host(origin)?;
        let own = host.clone().map(|host| pool.own(origin, judges, host));
        let (clients, tls) = match (&own, is_secure) {
            (Some(own), _) => (&own.clients, self.tls.clone()),
            (None, true) if judges => (&pool.judged_secure, self.tls.clone()),
            (None, true) => (&pool.secure, self.tls.clone()),
            (None, false) if judges => (&pool.judged_plain, self.tls.without_roots()),
            (None, false) => (&pool.plain, self.tls.without_roots()),
        };
        let (client, keeps) = match connections {
            Connections::Any => (&clients[0], self.in_flight),
            Connections::Fresh => (&clients[1], 0),
        };
        let has_name = host
            .as_ref()
            .is_some_and(|host| host.server_name().is_some());
        let wanted = Wanted {
            tls,
            host,
            instead: has_name.then(|| origin.host().to_owned()),
            judges,
            keeps,
        };
        let made = client.get_or_init(|| self.make(wanted)).await;
        made.clone()
    }

    async fn make(&self, wanted: Wanted) -> Result<Client, TransportError> {
        let Wanted {
            tls,
            host,
            instead,
            judges,
            keeps,
        } = wanted;
        let connect = host.as_ref().and_then(|host| host.connect());
        // It may read the system's certificates.
        let config = spawn_blocking(move || match host {
            Some(host) => tls.config_for(&host),
            None => tls.config(),
        });
        let config = config.await;
        let failed = |why: String| TransportError::new(TransportErrorKind::Other, why);
        let config = config.map_err(|_| failed("reading certificates panicked".into()))??;
        let proxies = Arc::clone(&self.proxies);
        let mut builder = Client::builder()
            .tls_backend_preconfigured(Arc::unwrap_or_clone(config))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(connect.unwrap_or(self.connect))
            .pool_max_idle_per_host(keeps)
            .pool_idle_timeout(IDLE_AGE)
            .proxy(Proxy::custom(move |url| {
                let origin = origin(Some(url.scheme()), Some(url.authority()))?;
                proxies.proxy(&origin).map(|proxy| proxy.url)
            }));
        if instead.is_some() || judges {
            let addresses = judges.then(|| self.addresses.clone());
            let resolver = Resolver::new(instead, addresses.unwrap_or_default());
            builder = builder.dns_resolver(resolver);
        }
        builder
            .build()
            .map_err(|_| failed("the HTTP client cannot be made".into()))
    }
}

impl Pool {
    /// Whether a connection that broke without an answer was most likely a kept one, which the
    /// server had just closed. reqwest does not say which connection it took. Says so once: the
    /// next one breaks for another reason.
    pub(crate) fn is_stale(&self, host: &str) -> bool {
        let answered = self.lately().remove(host);
        answered.is_some_and(|at| at.elapsed() <= 2 * IDLE_AGE)
    }

    /// The connections to a host with these settings. Settings that have changed make new ones.
    fn own(&self, origin: &Origin, judges: bool, host: Arc<HostTls>) -> Arc<Own> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (origin.clone(), judges);
        if let Some(kept) = own.get(&key)
            && Arc::ptr_eq(&kept.host, &host)
        {
            return Arc::clone(kept);
        }
        if own.len() >= OWN {
            own.clear();
        }
        let made = Arc::new(Own {
            host,
            clients: Clients::default(),
        });
        own.insert(key, Arc::clone(&made));
        made
    }

    pub(crate) fn note_answer(&self, host: &str) {
        self.lately().insert(host.to_owned(), Instant::now());
    }

    fn lately(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
