//! A registry on a loopback port, for the demo. Only this file uses the testbed.

use std::io;

use windlass_testbed::{Entry, Model, Options, Server};

/// A local registry. Stops when dropped.
#[derive(Debug)]
pub(crate) struct LocalRegistry(Server);

impl LocalRegistry {
    pub(crate) fn start() -> io::Result<Self> {
        Server::start(Model::new(Options::default())).map(Self)
    }

    pub(crate) fn address(&self) -> String {
        self.0.addr().to_string()
    }

    /// A line for each request so far: method, target, status.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.0.requests().iter().map(Entry::line).collect()
    }
}
