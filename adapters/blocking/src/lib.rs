//! Blocking OCI registry client: windlass-core driven by ureq and threads.
mod client;
mod control;
mod dial;
mod exchange;
#[cfg(test)]
mod exchange_tests;
mod stream;
mod tls;
mod wire;
