//! The TLS configuration of a client.
//!
//! Responsible for turning [`TlsRoots`] into a configuration of rustls. Must not know connections.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use windlass_core::call::{TransportError, TransportErrorKind};

use crate::builder::BuildError;
use crate::tls::TlsRoots;

/// The TLS configuration of a client. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls {
    source: Source,
    made: Arc<OnceLock<Result<Arc<ClientConfig>, TransportError>>>,
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

impl Tls {
    /// A configuration that trusts these roots.
    ///
    /// # Errors
    ///
    /// If one of them is no certificate, or there is none at all.
    pub fn new(trusted: &TlsRoots) -> Result<Self, BuildError> {
        let mut roots = RootCertStore::empty();
        let given = trusted.roots.iter().flat_map(|roots| roots.iter());
        for certificate in given.chain(&trusted.extra) {
            let certificate = CertificateDer::from(certificate.as_slice()).into_owned();
            let added = roots.add(certificate);
            added.map_err(|error| BuildError::Certificate(error.to_string()))?;
        }
        #[cfg(feature = "native-roots")]
        if trusted.roots.is_none() {
            return Ok(Self::of(Source::WithSystem(roots)));
        }
        if roots.is_empty() {
            return Err(BuildError::NoRoots);
        }
        Ok(Self::of(Source::Roots(roots)))
    }

    /// The caller's own configuration, used as it is.
    pub fn ready(config: Arc<ClientConfig>) -> Self {
        Self::of(Source::Ready(config))
    }

    /// No certificate authority: for connections without TLS.
    pub fn none() -> Self {
        Self::of(Source::Roots(RootCertStore::empty()))
    }

    /// The configuration. The first call may read the system's certificates.
    ///
    /// # Errors
    ///
    /// If the system has no certificate that can be read.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TransportError> {
        self.made.get_or_init(|| self.source.make()).clone()
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            made: Arc::default(),
        }
    }
}

impl Source {
    fn make(&self) -> Result<Arc<ClientConfig>, TransportError> {
        match self {
            Self::Ready(config) => Ok(Arc::clone(config)),
            Self::Roots(roots) => Ok(Arc::new(config(roots.clone()))),
            #[cfg(feature = "native-roots")]
            Self::WithSystem(roots) => {
                let mut roots = roots.clone();
                let found = rustls_native_certs::load_native_certs();
                // Systems carry certificates that no library understands; one good one is enough.
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let detail = found
                        .errors
                        .first()
                        .map_or_else(String::new, |e| format!(": {e}"));
                    let why = format!("no certificate authorities found on this system{detail}");
                    return Err(TransportError::new(TransportErrorKind::Tls, why));
                }
                Ok(Arc::new(config(roots)))
            }
        }
    }
}

fn config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows every cipher suite of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
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
        assert_eq!(Tls::new(&none).map(drop), Err(BuildError::NoRoots));
        let broken = TlsRoots {
            extra: vec![b"no certificate".to_vec()],
            ..none
        };
        let refused = Tls::new(&broken).map(drop);
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
}
