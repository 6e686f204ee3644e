//! Configuration for windlass: what people have set up on their machine, in the files and
//! variables that every other registry client reads too.
//!
//! - [`DockerConfig`]: credentials from docker's `config.json`;
//! - [`Explicit`]: a user name and password given by hand, for named registries only;
//! - [`Proxies`]: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`;
//! - [`trust()`]: certificate authorities, from files and from `SSL_CERT_FILE`, `SSL_CERT_DIR`.
//!
//! Nothing here reads the environment on its own: each takes a function from a variable's name to
//! its value, so a program decides what it listens to, and a test needs no variables.
//!
//! This crate must not know the protocol: it answers which credential, which proxy, which roots.

mod docker;
mod explicit;
mod proxy;
mod trust;

pub use docker::DockerConfig;
pub use explicit::Explicit;
pub use proxy::{Proxies, ProxyError};
pub use trust::{TrustError, trust};

/// The variable's value if it is set and not empty: an empty variable counts as unset.
fn set(variables: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    variables(name).filter(|value| !value.is_empty())
}
