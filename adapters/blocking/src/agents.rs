//! One agent of ureq for each host.
//!
//! An agent compares each kept connection with every other whenever one is taken or given back. With an agent
//! per host a request costs the same however many other hosts there are.
//!
//! Responsible for the kept connections of each host, within bounds. Must not know requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::Uri;
use ureq::Agent;
use windlass_driver::IDLE_AGE;

/// Hosts whose connections are kept. Each keeps as many as it may have requests, so this bounds the
/// descriptors of idle connections.
const HOSTS: usize = 16;

/// Makes and keeps agents.
pub(crate) struct Agents {
    make: Box<dyn Fn() -> Agent + Send + Sync>,
    hosts: Mutex<BTreeMap<String, Kept>>,
}

struct Kept {
    agent: Agent,
    used: Instant,
}

impl Agents {
    pub(crate) fn new(make: impl Fn() -> Agent + Send + Sync + 'static) -> Self {
        Self {
            make: Box::new(make),
            hosts: Mutex::default(),
        }
    }

    /// The agent for requests to the host of this URL.
    pub(crate) fn for_uri(&self, uri: &Uri) -> Agent {
        let host = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", |authority| authority.as_str())
        );
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = hosts.get_mut(&host) {
            kept.used = Instant::now();
            return kept.agent.clone();
        }
        hosts.retain(|_, kept| kept.used.elapsed() < IDLE_AGE);
        if hosts.len() >= HOSTS {
            let oldest = hosts.iter().min_by_key(|(_, kept)| kept.used);
            let oldest = oldest.map(|(host, _)| host.clone());
            // Its idle connections are closed; those at work are when their requests end.
            oldest.and_then(|host| hosts.remove(&host));
        }
        let agent = (self.make)();
        let used = Instant::now();
        hosts.insert(
            host,
            Kept {
                agent: agent.clone(),
                used,
            },
        );
        agent
    }

    /// Forgets all hosts: their idle connections are closed, and those at work when their requests end.
    pub(crate) fn forget(&self) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.clear();
    }
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn agents_are_kept_for_the_hosts_used_last() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let agents = Agents::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Agent::new_with_defaults()
        });
        let ask = |host: usize| {
            let uri = format!("http://reg{host}.example/v2/");
            agents.for_uri(&uri.parse().expect("a URL"));
            made.load(Ordering::Relaxed)
        };
        for host in 0..HOSTS {
            assert_eq!(ask(host), host + 1);
        }
        assert_eq!(ask(0), HOSTS, "it is kept");
        assert_eq!(ask(HOSTS), HOSTS + 1, "a new one");
        assert_eq!(ask(0), HOSTS + 1, "it was used lately");
        assert_eq!(ask(1), HOSTS + 2, "it was the oldest");
    }

    /// Connections of one port or scheme are not those of another.
    #[test]
    fn an_origin_has_its_own_agent() {
        let agents = Agents::new(Agent::new_with_defaults);
        for uri in [
            "http://reg.example/v2/",
            "https://reg.example/v2/",
            "http://reg.example:81/",
        ] {
            agents.for_uri(&uri.parse().expect("a URL"));
        }
        assert_eq!(agents.hosts.lock().expect("no panic").len(), 3);
    }
}
