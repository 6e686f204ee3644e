//! The model against the distribution spec, and the server against raw sockets.

mod access;
mod client;
mod lists;
mod manifests;
mod pulls;
mod server;
mod sessions;
mod uploads;
