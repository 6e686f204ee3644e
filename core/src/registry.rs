//! The three names of a registry: as written, as contacted, and as the key of its credentials.
//!
//! Responsible for their grammar and for deriving one from another; Docker Hub has a different
//! value for each (REF-10). Must not know the configuration: endpoints, mirrors, credentials.

mod address;

use alloc::format;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::reference_error::ReferenceError;

const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";
/// Other names of Docker Hub. Go's reference package knows only the first (REF-08), but all of them
/// are one registry with one set of credentials and repositories.
const HUB_ALIASES: [&str; 3] = ["index.docker.io", HUB_HOST, "registry.hub.docker.com"];
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A registry as written: `docker.io`, `localhost:5000`, `[::1]:5000`.
///
/// The text is kept: two spellings of one host are two values here, and one [`Origin`]. A
/// [`Reference`](crate::Reference) that begins with a value of this type must parse again, so a
/// word like `registry`, which would be read as a repository on Docker Hub, is not a registry.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Registry(Arc<str>);

impl Registry {
    /// Docker Hub, `docker.io`.
    pub fn docker_hub() -> Self {
        Self(HUB.into())
    }

    /// The name of a registry that is known by its address only: the host, and the port unless it is the
    /// scheme's default. A host of one word keeps its port, or it would be read as a repository.
    pub fn at(origin: &Origin) -> Self {
        let host = origin.host();
        let is_default = origin.port() == origin.scheme().default_port();
        if is_default && looks_like_registry(host) {
            return Self(host.into());
        }
        Self(format!("{host}:{}", origin.port()).into())
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host as written, without the port; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        split_port(&self.0).0
    }

    /// The port, if given.
    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1?.parse().ok()
    }

    /// Whether this is Docker Hub, by any of its names. `docker.io:443` is not (REF-08); its other names
    /// are hosts, and may have that port.
    pub fn is_docker_hub(&self) -> bool {
        let host = match self.port() {
            Some(443) => self.host(),
            Some(_) | None => self.as_str(),
        };
        let is = |name: &&str| host.eq_ignore_ascii_case(name);
        self.0.eq_ignore_ascii_case(HUB) || HUB_ALIASES.iter().any(is)
    }

    /// Whether the host is `localhost`, below it, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        address::is_loopback(&self.host().to_ascii_lowercase())
    }

    /// The default origin of this registry.
    ///
    /// TLS, but plain HTTP for a loopback host unless its port is 443.
    pub fn origin(&self) -> Origin {
        if self.is_docker_hub() {
            return Origin {
                scheme: Scheme::Https,
                host: HUB_HOST.into(),
                port: 443,
            };
        }
        let scheme = match self.port() {
            Some(443) => Scheme::Https,
            _ if self.is_loopback() => Scheme::Http,
            _ => Scheme::Https,
        };
        let port = self.port().unwrap_or_else(|| scheme.default_port());
        Origin {
            scheme,
            host: address::canonical(self.host()),
            port,
        }
    }

    /// The key of its credentials. Two spellings of one host share it, with and without `:443`
    /// (REF-20).
    pub fn credential_key(&self) -> CredentialKey {
        if self.is_docker_hub() {
            return CredentialKey(HUB_KEY.into());
        }
        let host = self.host().to_ascii_lowercase();
        match self.port() {
            None | Some(443) => CredentialKey(host.into()),
            Some(port) => CredentialKey(format!("{host}:{port}").into()),
        }
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Registry {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError::Host {
            host: crate::sanitize::escape(text, 255),
        };
        let (host, port) = split_port(text);
        if text.len() > 255 || !is_registry_host(host) || !looks_like_registry(text) {
            return Err(wrong());
        }
        match port {
            Some(port) if is_port(port) => Ok(Self(text.into())),
            Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                Err(ReferenceError::Port)
            }
            Some(_) => Err(wrong()),
            None => Ok(Self(text.into())),
        }
    }
}

/// Whether the part before the first `/` of a reference names a registry (REF-07).
pub(crate) fn looks_like_registry(text: &str) -> bool {
    text == "localhost"
        || text
            .bytes()
            .any(|byte| matches!(byte, b'.' | b':') || byte.is_ascii_uppercase())
}

/// Domain labels, or an IPv6 address in brackets without zone and dots (REF-18).
fn is_registry_host(host: &str) -> bool {
    if host.starts_with('[') {
        return !host.contains('.') && address::ipv6(host).is_some();
    }
    host.split('.').all(|label| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
    })
}

/// Splits at the colon before the port, ignoring colons in brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let after = text.rfind(']').unwrap_or(0);
    match text[after..].find(':') {
        Some(colon) => (&text[..after + colon], Some(&text[after + colon + 1..])),
        None => (text, None),
    }
}

/// Digits from 1 to 65535 (REF-17).
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The scheme of an origin.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The scheme's default port.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Parses a scheme, ignoring case.
    pub(crate) fn named(text: &str) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|s| s.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Scheme, host and port of a server. Credentials belong to exactly one origin.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Origin {
    scheme: Scheme,
    host: Arc<str>,
    port: u16,
}

impl Origin {
    /// An origin. The case of `host` and the spelling of an IPv6 address do not matter.
    ///
    /// # Errors
    ///
    /// [`OriginError`] if `host` is invalid or `port` is 0.
    pub fn new(scheme: Scheme, host: &str, port: u16) -> Result<Self, OriginError> {
        if !address::is_host(host) {
            return Err(OriginError::Host);
        }
        if port == 0 {
            return Err(OriginError::Port);
        }
        Ok(Self {
            scheme,
            host: address::canonical(host),
            port,
        })
    }

    /// Parses `host[:port]` and nothing else.
    pub(crate) fn from_authority(scheme: Scheme, authority: &str) -> Result<Self, OriginError> {
        if authority.contains('@') {
            return Err(OriginError::UserInfo);
        }
        let (host, port) = split_port(authority);
        let port = match port {
            None => scheme.default_port(),
            Some(port) if is_port(port) => port.parse().map_err(|_| OriginError::Port)?,
            Some(_) => return Err(OriginError::Port),
        };
        Self::new(scheme, host, port)
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another scheme. The port stays, but a default port becomes the new
    /// scheme's default.
    #[must_use]
    pub fn with_scheme(&self, scheme: Scheme) -> Self {
        let is_default = self.port == self.scheme.default_port();
        let port = if is_default {
            scheme.default_port()
        } else {
            self.port
        };
        Self {
            scheme,
            host: self.host.clone(),
            port,
        }
    }

    /// Whether the host is `localhost`, below it, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        address::is_loopback(&self.host)
    }

    /// Whether the host is `localhost`, or a literal address that is loopback, private, link-local,
    /// shared (RFC 6598) or unspecified, in any spelling that some resolver accepts. A server must
    /// not send a client there (SEC-08).
    pub fn is_private(&self) -> bool {
        address::is_private(&self.host)
    }

    /// Whether both hosts are literal addresses (or `localhost`) in the same kind of network:
    /// loopback, private, or link-local.
    pub fn is_beside(&self, other: &Self) -> bool {
        address::is_beside(&self.host, &other.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// Parses `scheme://host[:port]`, or `host[:port]` for https.
impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text.split_once("://") {
            Some((scheme, authority)) => {
                let scheme = Scheme::named(scheme).ok_or(OriginError::Scheme)?;
                Self::from_authority(scheme, authority)
            }
            None => Self::from_authority(Scheme::Https, text),
        }
    }
}

/// Why a text is not an origin. Does not contain the text, which may hold a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The scheme is not `http` or `https`.
    #[error("the scheme must be http or https")]
    Scheme,
    /// The host is missing or has an invalid character.
    #[error("not a host name, an IPv4 address or an IPv6 address in brackets")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// It has a user name, perhaps with a password.
    #[error("a user name is not allowed here")]
    UserInfo,
}

/// The key of a registry's credentials.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CredentialKey(Arc<str>);

impl CredentialKey {
    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
