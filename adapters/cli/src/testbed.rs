//! The one place that knows the testbed: a registry on a loopback port, for the demo.

use std::io;

/// A registry of our own. Gone when dropped.
#[derive(Debug)]
pub(crate) struct LocalRegistry;

impl LocalRegistry {
    pub(crate) fn start() -> io::Result<Self> {
        unimplemented!("windlass_testbed::Server is connected here")
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        unimplemented!("windlass_testbed::Server is connected here")
    }

    /// One line for each request so far, as the server saw it: method, target, status.
    pub(crate) fn requests(&self) -> Vec<String> {
        unimplemented!("windlass_testbed::Server is connected here")
    }
}
