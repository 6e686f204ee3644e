//! The one place that knows the testbed: a registry on a loopback port, for the demo.

use std::io;

use windlass_testbed::{Entry, Model, Options, Server};

/// A registry of our own. Gone when dropped.
#[derive(Debug)]
pub(crate) struct LocalRegistry(Server);

impl LocalRegistry {
    pub(crate) fn start() -> io::Result<Self> {
        Server::start(Model::new(Options::default())).map(Self)
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.0.addr().to_string()
    }

    /// One line for each request so far, as the server saw it: method, target, status.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.0.requests().iter().map(Entry::line).collect()
    }
}
