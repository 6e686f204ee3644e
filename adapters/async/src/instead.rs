//! Connections to another host than the URL's.
//!
//! reqwest asks a server for the name in the URL, and verifies its certificate for that name. To use another
//! one, the URL gets that name and connections go to the host's address.

use std::net::ToSocketAddrs as _;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::task::spawn_blocking;

/// Resolves any name to the addresses of one host.
#[derive(Debug)]
pub(crate) struct Instead {
    host: String,
}

impl Instead {
    /// The addresses of `host`; an IPv6 address may be in brackets.
    pub(crate) fn new(host: String) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Self {
            host: bare.to_owned(),
        }
    }
}

impl Resolve for Instead {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // The port is taken from the URL.
            let found = spawn_blocking(move || (host.as_str(), 0).to_socket_addrs()).await??;
            let found: Addrs = Box::new(found);
            Ok(found)
        })
    }
}
