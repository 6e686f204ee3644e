//! Configuration for windlass, from the files and variables that other registry clients read, too.
//!
//! - [`CredentialSearch`]: credentials from options, variables, the files of docker and podman, and
//!   credential helpers; [`credentials`] has the order;
//! - [`Explicit`]: a credential that the user gave for one registry only;
//! - [`hosts`]: mirrors, other addresses, blocked names and TLS of single hosts, from containerd's `hosts.toml`,
//!   podman's `registries.conf` and the folders `certs.d`;
//! - [`ConfigFile`]: windlass' own file, with all of this and more;
//! - [`Proxies`]: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`;
//! - [`Policy`]: which images may be used, from `policy.json`;
//! - [`VariableError`]: a variable whose value is not valid text;
//! - [`trust()`]: certificate authorities, from files and from `SSL_CERT_FILE`, `SSL_CERT_DIR`;
//! - [`explain()`]: what all of this means for one reference;
//! - [`identity()`]: a client certificate and its key.
//!
//! Nothing here reads the environment itself: each function takes a lookup from a variable's name
//! to its value, so a program decides what it uses, and tests need no variables.
//!
//! # Alone, blocking and async
//!
//! The crate needs neither a client of windlass nor an async runtime. What it does is short and blocking: it
//! reads small files, and runs credential helpers within [limits](credentials::HelperLimits). Both clients ask a
//! [`CredentialSearch`] on threads that may block. Other async programs do the same:
//! `tokio::task::spawn_blocking(move || search.find(&question)).await`.
//!
//! ```
//! use windlass_config::credentials::{CredentialAnswer, Credentials as _, Question};
//! use windlass_config::{CredentialSearch, Reference};
//!
//! let search = CredentialSearch::text("a secret", r#"{"auths":{"r.example":{"auth":"dXNlcjpwYXNz"}}}"#);
//! let reference: Reference = "r.example/team/app".parse()?;
//! match search.find(&Question::of(&reference)).answer {
//!     CredentialAnswer::Basic { username, .. } => assert_eq!(username, "user"),
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), windlass_core::reference::ReferenceError>(())
//! ```
//!
//! This crate must not know the protocol: it provides credentials, routes, proxies and certificates.

use std::ffi::OsString;

pub mod credentials;
mod document;
mod duration;
mod explain;
mod file;
pub mod hosts;
mod policy;
mod proxy;
#[cfg(test)]
mod testing;
mod trust;

pub use credentials::{CredentialSearch, Explicit, SearchOptions};
pub use document::{FileError, Finding, Position};
pub use explain::{ReferenceExplanation, SourceExplanation, explain};
pub use file::{ConfigFile, ConfigFileError};
pub use policy::{Judgement, Policy, PolicyError, Requirement, Rule};
pub use proxy::{Proxies, ProxyChoice, ProxyError};
pub use trust::{TrustError, identity, trust};
pub use windlass_core::{Reference, Registry};

/// A variable whose value is not valid text. It counts neither as set nor as unset: ignoring it
/// could bypass a proxy or use other credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the value of the variable {name} is not valid UTF-8")]
pub struct VariableError {
    name: &'static str,
}

impl VariableError {
    /// The variable.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The variable's value; an empty one counts as unset.
fn set(
    variables: &impl Fn(&str) -> Option<OsString>,
    name: &'static str,
) -> Result<Option<String>, VariableError> {
    let value = variables(name).filter(|value| !value.is_empty());
    let value = value.map(OsString::into_string).transpose();
    // The value is not shown: it may be a password.
    value.map_err(|_| VariableError { name })
}

/// A lookup in these variables, for tests.
#[cfg(test)]
fn among<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
    |name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.into())
    }
}

/// The same, with one variable whose value is not valid text.
#[cfg(all(test, unix))]
fn with_bad<'a>(
    bad: &'a str,
    variables: &'a [(&'a str, &'a str)],
) -> impl Fn(&str) -> Option<OsString> + 'a {
    use std::os::unix::ffi::OsStringExt as _;
    let among = among(variables);
    move |name| match name == bad {
        true => Some(OsString::from_vec(b"http://s3cret\xff".to_vec())),
        false => among(name),
    }
}
