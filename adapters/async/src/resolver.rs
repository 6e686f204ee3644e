//! Names and addresses, where reqwest's own way does not do.
//!
//! reqwest asks a server for the name in the URL, and verifies its certificate for that name. To use another
//! one, the URL gets that name and connections go to the host's address. And it is to connect to allowed
//! addresses only.

use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::task::spawn_blocking;
use windlass_driver::AddressGuard;

/// Resolves names to addresses that may be connected to.
#[derive(Debug)]
pub(crate) struct Resolver {
    /// Any name is resolved to the addresses of this host.
    instead: Option<String>,
    addresses: AddressGuard,
}

impl Resolver {
    /// Resolves any name to the addresses of `instead`, if there is one; an IPv6 address may be in brackets.
    pub(crate) fn new(instead: Option<String>, addresses: AddressGuard) -> Arc<Self> {
        let bare = |host: String| host.trim_matches(['[', ']']).to_owned();
        Arc::new(Self {
            instead: instead.map(bare),
            addresses,
        })
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = self.instead.clone();
        let host = host.unwrap_or_else(|| name.as_str().to_owned());
        let addresses = self.addresses.clone();
        Box::pin(async move {
            let name = host.clone();
            // The port is taken from the URL.
            let found = spawn_blocking(move || (name.as_str(), 0).to_socket_addrs()).await??;
            let allowed = addresses.allowed(&host, found.collect())?;
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}
