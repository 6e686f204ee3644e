//! How single hosts are reached: certificates, verification, time to connect.
//!
//! Responsible for the settings that a host has of its own, keyed by origin, so that what is for one host is
//! never used for another (HOSTS-24). Must not know where they are configured, nor TLS.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::Origin;

/// How one host is reached. The default is as the client reaches any host.
///
/// ```
/// use std::time::Duration;
/// use windlass_driver::HostSettings;
///
/// let settings = HostSettings::default()
///     .server_name("registry.example")
///     .connect(Duration::from_millis(200));
/// assert!(!settings.is_unverified());
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostSettings {
    /// Which certificate authorities are trusted.
    pub authorities: Authorities,
    /// What the client shows if the server asks for a certificate: the first whose issuer the server names, otherwise
    /// the first.
    pub identities: Vec<Identity>,
    /// Whether the server's certificate is verified.
    pub verification: Verification,
    /// The name that the certificate must have and that the server is asked for (SNI), instead of the
    /// host's.
    pub server_name: Option<String>,
    /// How long a connection may take to be made, TLS included, instead of the client's limit.
    pub connect: Option<Duration>,
}

/// Which certificate authorities are trusted for a host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Authorities {
    /// The client's.
    #[default]
    Client,
    /// The client's and these, in DER form.
    Also(Vec<Vec<u8>>),
    /// These alone, in DER form.
    Only(Vec<Vec<u8>>),
}

/// Whether a server's certificate is verified.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verification {
    /// It must be issued by a trusted authority for the server's name.
    #[default]
    Full,
    /// Any certificate is accepted. Any machine on the way can then read and change everything,
    /// credentials included. Clients tell each observer with a warning that names the host.
    Skipped,
}

/// A client certificate and its private key.
#[derive(Clone, Eq, PartialEq)]
pub struct Identity {
    chain: Arc<Vec<Vec<u8>>>,
    key: Arc<Vec<u8>>,
}

impl Identity {
    /// A certificate with its chain, that of the client first, and its private key: PKCS #8, SEC1 or PKCS
    /// #1. All in DER form.
    pub fn new(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Self {
        Self {
            chain: Arc::new(chain),
            key: Arc::new(key),
        }
    }

    /// The certificate and its chain, in DER form.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The private key, in DER form. Never print it.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.chain.len();
        write!(f, "Identity({certificates} certificates, ***)")
    }
}

impl HostSettings {
    /// Which certificate authorities are trusted.
    #[must_use]
    pub fn authorities(mut self, authorities: Authorities) -> Self {
        self.authorities = authorities;
        self
    }

    /// Adds what the client shows if the server asks for a certificate.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// Accepts any certificate: see [`Verification::Skipped`].
    #[must_use]
    pub const fn skip_verification(mut self) -> Self {
        self.verification = Verification::Skipped;
        self
    }

    /// The name that the certificate must have and that the server is asked for, instead of the host's.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// How long a connection may take to be made, TLS included.
    #[must_use]
    pub const fn connect(mut self, limit: Duration) -> Self {
        self.connect = Some(limit);
        self
    }

    /// Whether the server's certificate is not verified.
    pub fn is_unverified(&self) -> bool {
        self.verification == Verification::Skipped
    }

    /// Whether connections need a TLS configuration of their own.
    pub fn has_tls(&self) -> bool {
        self.authorities != Authorities::Client
            || !self.identities.is_empty()
            || self.is_unverified()
            || self.server_name.is_some()
    }
}

/// Decides how each host is reached.
pub trait HostSelector: Send + Sync + fmt::Debug {
    /// How this origin is reached; `None` as any other. Asked for every request, also where nothing may
    /// block: it must not read files.
    ///
    /// # Errors
    ///
    /// If the origin's settings cannot be used: the host is not contacted then, and the request fails
    /// with this text.
    fn host(&self, origin: &Origin) -> Result<Option<Arc<HostSettings>>, String>;
}

/// Every host is reached in the same way: what a client does unless it is told otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct SameForAll;

impl HostSelector for SameForAll {
    fn host(&self, _: &Origin) -> Result<Option<Arc<HostSettings>>, String> {
        Ok(None)
    }
}

/// These hosts have settings of their own.
impl HostSelector for BTreeMap<Origin, Arc<HostSettings>> {
    fn host(&self, origin: &Origin) -> Result<Option<Arc<HostSettings>>, String> {
        Ok(self.get(origin).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        let identity = Identity::new(vec![b"certificate".to_vec()], b"s3cret".to_vec());
        let settings = HostSettings::default().identity(identity);
        let shown = format!("{settings:?}");
        let secret = format!("{:?}", b"s3cret");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(!shown.contains(secret.trim_matches(['[', ']'])), "{shown}");
        assert!(settings.has_tls());
    }

    #[test]
    fn settings_are_for_one_origin() {
        let origin = |text: &str| text.parse::<Origin>().expect("an origin");
        let settings = Arc::new(HostSettings::default().skip_verification());
        let hosts = BTreeMap::from([(origin("https://r.example"), settings)]);
        let has = |text: &str| matches!(hosts.host(&origin(text)), Ok(Some(_)));
        assert!(has("https://r.example") && has("https://R.example:443"));
        for other in [
            "http://r.example",
            "https://r.example:5000",
            "https://a.r.example",
        ] {
            assert!(!has(other), "{other}");
        }
        let timed = HostSettings::default().connect(Duration::from_secs(1));
        assert!(!timed.has_tls(), "a time limit needs no configuration");
    }
}
