//! How long a client waits.

use std::time::Duration;

/// How long may pass without anything happening. There is no limit on a whole transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TimeLimits {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Between two chunks of a body, in either direction.
    pub idle: Duration,
    /// From the last byte of a request to the first of its answer. Long, because registries hash
    /// and move a blob before they answer the PUT that ends it.
    pub answer: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(600),
        }
    }
}
