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
use windlass_core::call::{TransportError, TransportErrorKind};
use windlass_driver::{Connections, IDLE_AGE, ProxySelector, Tls};

use crate::exchange::origin;

/// Runtimes whose connections are kept at once. Few programs have more than two.
const RUNTIMES: usize = 64;

/// Hosts to which the connections of a runtime are kept. With one more, all that are not in use are closed,
/// and new ones are made: many hosts would hold many file descriptors, and few of them are asked again.
const HOSTS: usize = 256;

/// How clients for HTTP are made, and those that there are.
#[derive(Debug)]
pub(crate) struct Pools {
    connect: Duration,
    in_flight: usize,
    proxies: Arc<dyn ProxySelector>,
    tls: Tls,
    pools: Mutex<HashMap<Id, Kept>>,
}

#[derive(Debug)]
struct Kept {
    pool: Arc<Pool>,
    used: Instant,
}

/// The connections of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// For http only: needs no certificates. The other one keeps no connections.
    plain: [OnceCell<Result<Client, TransportError>>; 2],
    secure: [OnceCell<Result<Client, TransportError>>; 2],
    /// Where requests were answered lately, so that a connection is likely kept.
    lately: Mutex<BTreeMap<String, Instant>>,
}

impl Pools {
    pub(crate) fn new(
        tls: Tls,
        connect: Duration,
        in_flight: usize,
        proxies: Arc<dyn ProxySelector>,
    ) -> Self {
        Self {
            connect,
            in_flight,
            proxies,
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

    /// A client with the connections of a runtime.
    pub(crate) async fn client(
        &self,
        pool: &Pool,
        is_secure: bool,
        connections: Connections,
    ) -> Result<Client, TransportError> {
        let (clients, tls) = if is_secure {
            (&pool.secure, self.tls.clone())
        } else {
            (&pool.plain, Tls::none())
        };
        let (client, keeps) = match connections {
            Connections::Any => (&clients[0], self.in_flight),
            Connections::Fresh => (&clients[1], 0),
        };
        let made = client.get_or_init(|| self.make(tls, keeps)).await;
        made.clone()
    }

    async fn make(&self, tls: Tls, keeps: usize) -> Result<Client, TransportError> {
        // It may read the system's certificates.
        let config = spawn_blocking(move || tls.config()).await;
        let failed = |why: String| TransportError::new(TransportErrorKind::Other, why);
        let config = config.map_err(|_| failed("reading certificates panicked".into()))??;
        let proxies = Arc::clone(&self.proxies);
        let builder = Client::builder()
            .tls_backend_preconfigured(Arc::unwrap_or_clone(config))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(self.connect)
            .pool_max_idle_per_host(keeps)
            .pool_idle_timeout(IDLE_AGE)
            .proxy(Proxy::custom(move |url| {
                let origin = origin(Some(url.scheme()), Some(url.authority()))?;
                proxies.proxy(&origin).map(|proxy| proxy.url)
            }));
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

    pub(crate) fn note_answer(&self, host: &str) {
        self.lately().insert(host.to_owned(), Instant::now());
    }

    fn lately(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
