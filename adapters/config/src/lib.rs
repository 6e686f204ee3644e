//! Configuration for windlass, from the files and variables that other registry clients read, too.
//!
//! - [`CredentialSearch`]: credentials from options, variables, the files of docker and podman, and
//!   credential helpers; [`credentials`] has the order;
//! - [`Explicit`]: a credential that the user gave for one registry only;
//! - [`Proxies`]: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`;
//! - [`Policy`]: which images may be used, from `policy.json`;
//! - [`VariableError`]: a variable whose value is not valid text;
//! - [`trust()`]: certificate authorities, from files and from `SSL_CERT_FILE`, `SSL_CERT_DIR`.
//!
//! Nothing here reads the environment itself: each function takes a lookup from a variable's name
//! to its value, so a program decides what it uses, and tests need no variables.
//!
//! This crate must not know the protocol: it provides credentials, proxies and root certificates.

use std::ffi::OsString;

pub mod credentials;
mod policy;
mod proxy;
mod trust;

pub use credentials::{CredentialSearch, Explicit, SearchOptions};
pub use policy::{Judgement, Policy, PolicyError, Requirement, Rule};
pub use proxy::{Proxies, ProxyError};
pub use trust::{TrustError, trust};

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
