//! The three names of a registry: as people write it, as it is contacted, as credentials are kept.

use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::reference::ReferenceError;

/// A registry as people name it: `docker.io`, `localhost:5000`, `[::1]:5000`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Registry(Arc<str>);

impl Registry {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, without port, without brackets' meaning lost.
    pub fn host(&self) -> &str {
        unimplemented!()
    }

    /// The port, if one is named.
    pub fn port(&self) -> Option<u16> {
        unimplemented!()
    }

    /// Whether this is Docker Hub.
    pub fn is_docker_hub(&self) -> bool {
        unimplemented!()
    }

    /// Where this registry is contacted unless configured otherwise.
    pub fn origin(&self) -> Origin {
        unimplemented!()
    }

    /// The key under which credentials for it are kept.
    pub fn credential_key(&self) -> CredentialKey {
        unimplemented!()
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Registry {
    type Err = ReferenceError;
    fn from_str(_text: &str) -> Result<Self, ReferenceError> {
        unimplemented!()
    }
}

/// The scheme of an origin.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// What is contacted: scheme, host and port. Credentials belong to exactly one of these.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Origin {
    scheme: Scheme,
    host: Arc<str>,
    port: u16,
}

impl Origin {
    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's default if none was written.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same host and port with another scheme.
    #[must_use]
    pub fn with_scheme(&self, _scheme: Scheme) -> Self {
        unimplemented!()
    }

    /// Whether the host is `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        unimplemented!()
    }

    /// Whether the host is a literal address that is private, loopback, link-local or unspecified,
    /// or `localhost`.
    pub fn is_private(&self) -> bool {
        unimplemented!()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

/// The name under which credentials for a registry are kept.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CredentialKey(Arc<str>);

impl CredentialKey {
    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
