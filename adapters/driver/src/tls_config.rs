//! The TLS configurations of a client: one for all hosts, and one for each host with settings of its own.
//!
//! Responsible for turning [`TlsRoots`] and [`HostSettings`] into configurations of rustls, and for keeping
//! what is for one host from every other. Must not know connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use windlass_core::Origin;
use windlass_core::call::{TransportError, TransportErrorKind};

use crate::builder::BuildError;
use crate::hosts::{Authorities, HostSelector, HostSettings, Identity, SameForAll};
use crate::identities::Identities;
use crate::tls::TlsRoots;
use crate::unverified::Unverified;

/// Hosts whose configurations are kept. When one more is needed, all are dropped.
const HOSTS: usize = 256;

/// The TLS configurations of a client. Clones share them.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Source,
    /// What signs and encrypts, unless the caller's own configuration says.
    crypto: Option<Arc<CryptoProvider>>,
    made: OnceLock<Result<Arc<ClientConfig>, TransportError>>,
    hosts: Arc<dyn HostSelector>,
    kept: Mutex<BTreeMap<Origin, Arc<HostTls>>>,
}

#[derive(Clone, Debug)]
enum Source {
    /// The caller's own.
    Ready(Arc<ClientConfig>),
    /// These roots alone.
    Roots(RootCertStore),
    /// These roots and those of the system.
    #[cfg(feature = "native-roots")]
    WithSystem(RootCertStore),
}

/// How one host with settings of its own is reached.
#[derive(Debug)]
pub struct HostTls {
    settings: Arc<HostSettings>,
    name: Option<ServerName<'static>>,
    made: OnceLock<Result<Arc<ClientConfig>, TransportError>>,
}

impl Tls {
    /// A configuration that trusts these roots, with this cryptography: by default that of the features of this crate,
    /// otherwise the process's default.
    ///
    /// # Errors
    ///
    /// If one of the roots is no certificate, there is none at all, or there is no cryptography.
    pub fn new(
        trusted: &TlsRoots,
        crypto: Option<Arc<CryptoProvider>>,
    ) -> Result<Self, BuildError> {
        let crypto = Some(crypto.or_else(built_in).ok_or(BuildError::NoCrypto)?);
        let mut roots = RootCertStore::empty();
        let given = trusted.roots.iter().flat_map(|roots| roots.iter());
        for certificate in given.chain(&trusted.extra) {
            let certificate = CertificateDer::from(certificate.as_slice()).into_owned();
            let added = roots.add(certificate);
            added.map_err(|error| BuildError::Certificate(error.to_string()))?;
        }
        #[cfg(feature = "native-roots")]
        if trusted.roots.is_none() {
            return Ok(Self::of(Source::WithSystem(roots), crypto));
        }
        #[cfg(all(feature = "bundled-roots", not(feature = "native-roots")))]
        if trusted.roots.is_none() {
            add_bundled(&mut roots);
        }
        if roots.is_empty() {
            return Err(BuildError::NoRoots);
        }
        Ok(Self::of(Source::Roots(roots), crypto))
    }

    /// The caller's own configuration, used as it is, for hosts without settings of their own.
    pub fn ready(config: Arc<ClientConfig>) -> Self {
        Self::of(Source::Ready(config), None)
    }

    /// No certificate authority: for connections without TLS.
    pub fn none() -> Self {
        Self::of(Source::Roots(RootCertStore::empty()), built_in())
    }

    /// The same cryptography without a certificate authority.
    #[must_use]
    pub fn without_roots(&self) -> Self {
        let shared = &*self.0;
        let crypto = match &shared.source {
            Source::Ready(config) => Some(Arc::clone(config.crypto_provider())),
            Source::Roots(_) => shared.crypto.clone(),
            #[cfg(feature = "native-roots")]
            Source::WithSystem(_) => shared.crypto.clone(),
        };
        Self::of(Source::Roots(RootCertStore::empty()), crypto)
    }

    /// The same, with hosts that have settings of their own.
    #[must_use]
    pub fn with_hosts(self, hosts: Arc<dyn HostSelector>) -> Self {
        Self(Arc::new(Shared {
            source: self.0.source.clone(),
            crypto: self.0.crypto.clone(),
            made: OnceLock::new(),
            hosts,
            kept: Mutex::default(),
        }))
    }

    /// The configuration for hosts without settings of their own. The first call may read the system's
    /// certificates.
    ///
    /// # Errors
    ///
    /// If the system has no certificate that can be read.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TransportError> {
        let shared = &*self.0;
        shared.made.get_or_init(|| shared.make()).clone()
    }

    /// How this host is reached, if it has settings of its own. Does not block.
    ///
    /// # Errors
    ///
    /// If its settings cannot be used.
    pub fn host(&self, origin: &Origin) -> Result<Option<Arc<HostTls>>, TransportError> {
        let found = self.0.hosts.host(origin).map_err(tls_error)?;
        let Some(settings) = found else {
            return Ok(None);
        };
        let mut kept = self.kept();
        if let Some(host) = kept.get(origin)
            && (Arc::ptr_eq(&host.settings, &settings) || host.settings == settings)
        {
            return Ok(Some(Arc::clone(host)));
        }
        if kept.len() >= HOSTS {
            kept.clear();
        }
        let host = Arc::new(HostTls::new(settings)?);
        kept.insert(origin.clone(), Arc::clone(&host));
        Ok(Some(host))
    }

    /// The configuration for a host with settings of its own. The first call may read the system's
    /// certificates.
    ///
    /// # Errors
    ///
    /// If a certificate or key of the host cannot be used, or no authority is trusted.
    pub fn config_for(&self, host: &HostTls) -> Result<Arc<ClientConfig>, TransportError> {
        if !host.settings.has_tls() {
            return self.config();
        }
        let made = host.made.get_or_init(|| self.make_for(&host.settings));
        made.clone()
    }

    fn make_for(&self, settings: &HostSettings) -> Result<Arc<ClientConfig>, TransportError> {
        let shared = &*self.0;
        let mut config = match &settings.authorities {
            // No authority is needed, and the system may have none.
            _ if settings.is_unverified() => shared.without_roots()?,
            Authorities::Client => (*self.config()?).clone(),
            Authorities::Also(own) => shared.config(trusting(shared.source.roots()?, own)?)?,
            Authorities::Only(own) => shared.config(trusting(RootCertStore::empty(), own)?)?,
        };
        // A session that was made under other settings must not be resumed under these.
        config.resumption = Resumption::default();
        let provider = Arc::clone(config.crypto_provider());
        if settings.is_unverified() {
            let accepts = Arc::new(Unverified::new(&provider));
            config.dangerous().set_certificate_verifier(accepts);
        }
        if !settings.identities.is_empty() {
            let all = settings.identities.iter();
            let all = all.map(|identity| certified(identity, &provider));
            let all = Identities::new(all.collect::<Result<_, _>>()?);
            config.client_auth_cert_resolver = Arc::new(all);
        }
        Ok(Arc::new(config))
    }

    fn of(source: Source, crypto: Option<Arc<CryptoProvider>>) -> Self {
        Self(Arc::new(Shared {
            source,
            crypto,
            made: OnceLock::new(),
            hosts: Arc::new(SameForAll),
            kept: Mutex::default(),
        }))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Origin, Arc<HostTls>>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostTls {
    fn new(settings: Arc<HostSettings>) -> Result<Self, TransportError> {
        let name = settings.server_name.clone().map(ServerName::try_from);
        let name = match name {
            None => None,
            Some(Ok(name @ ServerName::DnsName(_))) => Some(name),
            // An address is never sent in a handshake (RFC 6066 §3).
            Some(Ok(_) | Err(_)) => {
                return Err(tls_error("the server name that is set is no DNS name"));
            }
        };
        Ok(Self {
            settings,
            name,
            made: OnceLock::new(),
        })
    }

    /// The name that the server is asked for, if it is not the host's.
    pub const fn server_name(&self) -> Option<&ServerName<'static>> {
        self.name.as_ref()
    }

    /// How long a connection may take to be made.
    pub fn connect(&self) -> Option<Duration> {
        self.settings.connect
    }

    /// Whether the server's certificate is not verified.
    pub fn is_unverified(&self) -> bool {
        self.settings.is_unverified()
    }
}

impl Shared {
    fn make(&self) -> Result<Arc<ClientConfig>, TransportError> {
        match &self.source {
            Source::Ready(config) => Ok(Arc::clone(config)),
            Source::Roots(roots) => Ok(Arc::new(self.config(roots.clone())?)),
            #[cfg(feature = "native-roots")]
            Source::WithSystem(_) => Ok(Arc::new(self.config(self.source.roots()?)?)),
        }
    }

    /// A configuration whose roots do not matter.
    fn without_roots(&self) -> Result<ClientConfig, TransportError> {
        match &self.source {
            Source::Ready(config) => Ok((**config).clone()),
            Source::Roots(_) => self.config(RootCertStore::empty()),
            #[cfg(feature = "native-roots")]
            Source::WithSystem(_) => self.config(RootCertStore::empty()),
        }
    }

    fn config(&self, roots: RootCertStore) -> Result<ClientConfig, TransportError> {
        let crypto = self.crypto.clone();
        let crypto = crypto.ok_or_else(|| tls_error(BuildError::NoCrypto.to_string()))?;
        let builder = ClientConfig::builder_with_provider(crypto);
        let versions = builder.with_safe_default_protocol_versions();
        // A provider may lack the cipher suites of both versions.
        let versions = versions.map_err(|error| tls_error(error.to_string()))?;
        let mut config = versions.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Source {
    /// The roots that all hosts have. Those of a configuration of the caller's own are unknown.
    fn roots(&self) -> Result<RootCertStore, TransportError> {
        match self {
            Self::Ready(_) => Ok(RootCertStore::empty()),
            Self::Roots(roots) => Ok(roots.clone()),
            #[cfg(feature = "native-roots")]
            Self::WithSystem(roots) => {
                let mut roots = roots.clone();
                let found = rustls_native_certs::load_native_certs();
                // Systems carry certificates that no library understands; one good one is enough.
                roots.add_parsable_certificates(found.certs);
                #[cfg(feature = "bundled-roots")]
                if roots.is_empty() {
                    add_bundled(&mut roots);
                }
                if roots.is_empty() {
                    let detail = found
                        .errors
                        .first()
                        .map_or_else(String::new, |e| format!(": {e}"));
                    let why = format!("no certificate authorities found on this system{detail}");
                    return Err(tls_error(why));
                }
                Ok(roots)
            }
        }
    }
}

/// These roots and a host's own.
fn trusting(mut roots: RootCertStore, own: &[Vec<u8>]) -> Result<RootCertStore, TransportError> {
    for certificate in own {
        let certificate = CertificateDer::from(certificate.as_slice()).into_owned();
        let added = roots.add(certificate);
        added.map_err(|error| tls_error(format!("certificate that is to be trusted: {error}")))?;
    }
    if roots.is_empty() {
        return Err(tls_error("no certificate authority is trusted"));
    }
    Ok(roots)
}

fn certified(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TransportError> {
    let chain = identity.chain().iter();
    let chain = chain.map(|certificate| CertificateDer::from(certificate.as_slice()).into_owned());
    let key = PrivateKeyDer::try_from(identity.key().to_vec());
    let key = key.map_err(|_| tls_error("the client's private key cannot be read"))?;
    let certified = CertifiedKey::from_der(chain.collect(), key, provider);
    certified.map_err(|error| tls_error(format!("client certificate: {error}")))
}

fn tls_error(why: impl Into<String>) -> TransportError {
    TransportError::new(TransportErrorKind::Tls, why.into())
}

/// The cryptography of the features of this crate; without one, the process's default.
fn built_in() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "aws-lc-rs")]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    CryptoProvider::get_default().cloned()
}

/// Adds Mozilla's authorities.
#[cfg(feature = "bundled-roots")]
fn add_bundled(roots: &mut RootCertStore) {
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
}

/// What a failure of TLS means: a record that was damaged on the way may arrive next time, a certificate stays
/// wrong.
pub fn tls_error_kind(error: &rustls::Error) -> TransportErrorKind {
    if matches!(
        error,
        rustls::Error::DecryptError | rustls::Error::PeerSentOversizedRecord
    ) {
        TransportErrorKind::Reset
    } else {
        TransportErrorKind::Tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_cannot_be_used_are_refused() {
        let none = TlsRoots {
            roots: Some(Arc::default()),
            extra: Vec::new(),
        };
        assert_eq!(Tls::new(&none, None).map(drop), Err(BuildError::NoRoots));
        let broken = TlsRoots {
            extra: vec![b"no certificate".to_vec()],
            ..none
        };
        let refused = Tls::new(&broken, None).map(drop);
        assert!(
            matches!(refused, Err(BuildError::Certificate(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn a_configuration_is_made_once_and_offers_http_1_only() {
        let tls = Tls::none();
        let clone = tls.clone();
        let (first, second) = (tls.config(), clone.config());
        let (first, second) = (first.expect("no roots are fine"), second.expect("the same"));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.alpn_protocols, [b"http/1.1".to_vec()]);
    }

    /// A provider that the program brings comes before the features.
    #[cfg(feature = "native-roots")]
    #[test]
    fn a_provider_of_the_programs_own() {
        let own = Arc::new(CryptoProvider {
            cipher_suites: Vec::new(),
            ..(*built_in().expect("a feature is on, in tests")).clone()
        });
        let system = TlsRoots::default();
        let tls = Tls::new(&system, Some(own)).expect("there are roots");
        let error = tls
            .without_roots()
            .config()
            .expect_err("it has no cipher suites");
        assert_eq!(error.kind, TransportErrorKind::Tls);
        let tls = Tls::new(&system, None).expect("there are roots");
        assert!(tls.without_roots().config().is_ok());
    }

    fn with(settings: HostSettings) -> (Tls, Origin) {
        let origin: Origin = "https://r.example".parse().expect("an origin");
        let hosts = BTreeMap::from([(origin.clone(), Arc::new(settings))]);
        (Tls::none().with_hosts(Arc::new(hosts)), origin)
    }

    fn refused(settings: HostSettings) -> TransportError {
        let (tls, origin) = with(settings);
        let host = tls.host(&origin).expect("a good name").expect("settings");
        tls.config_for(&host).expect_err("it cannot be used")
    }

    #[test]
    fn a_host_has_a_configuration_of_its_own() {
        let (tls, origin) = with(HostSettings::default().skip_verification());
        let host = tls.host(&origin).expect("good").expect("settings");
        let again = tls.host(&origin).expect("good").expect("settings");
        assert!(Arc::ptr_eq(&host, &again) && host.is_unverified());
        let own = tls.config_for(&host).expect("good");
        assert_eq!(own.alpn_protocols, [b"http/1.1".to_vec()]);
        assert!(!Arc::ptr_eq(&own, &tls.config().expect("good")));
        let other: Origin = "https://r.example:444".parse().expect("an origin");
        assert!(tls.host(&other).expect("good").is_none());
        // A time limit alone changes nothing about TLS.
        let (tls, origin) = with(HostSettings::default().connect(Duration::from_secs(1)));
        let host = tls.host(&origin).expect("good").expect("settings");
        let shared = tls.config_for(&host).expect("good");
        assert!(Arc::ptr_eq(&shared, &tls.config().expect("good")));
    }

    #[test]
    fn what_cannot_be_used_is_an_error_of_that_host() {
        let settings = HostSettings::default;
        let broken = Authorities::Only(vec![b"no certificate".to_vec()]);
        let identity = Identity::new(vec![b"certificate".to_vec()], b"s3cret".to_vec());
        for (settings, expected) in [
            (
                settings().authorities(Authorities::Only(Vec::new())),
                "no certificate authority",
            ),
            (
                settings().authorities(broken),
                "certificate that is to be trusted: ",
            ),
            (
                settings().skip_verification().identity(identity),
                "the client's private key cannot be read",
            ),
        ] {
            let error = refused(settings);
            assert_eq!(error.kind, TransportErrorKind::Tls);
            assert!(error.detail.starts_with(expected), "{}", error.detail);
        }
        for bad in ["not a name", "10.0.0.1", "[::1]", ""] {
            let (tls, origin) = with(HostSettings::default().server_name(bad));
            let error = tls.host(&origin).expect_err("no name");
            assert_eq!(error.detail, "the server name that is set is no DNS name");
        }
    }
}
