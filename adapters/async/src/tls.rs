//! Whom to trust.
//!
//! Responsible for turning [`TlsRoots`] into a rustls configuration. Must not know connections.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use windlass_core::call::TransportError;
#[cfg(feature = "native-roots")]
use windlass_core::call::TransportErrorKind;
use windlass_driver::TlsRoots;

use crate::client::BuildError;

/// A configuration that is there, or that can be made when it is first needed.
#[derive(Clone, Debug)]
pub(crate) enum Tls {
    /// The caller's own.
    Ready(Arc<ClientConfig>),
    /// These roots and those of the system.
    #[cfg(feature = "native-roots")]
    WithSystem(RootCertStore),
}

impl Tls {
    pub(crate) fn new(trust: &TlsRoots) -> Result<Self, BuildError> {
        let mut roots = RootCertStore::empty();
        let given = trust.roots.iter().flat_map(|roots| roots.iter());
        for certificate in given.chain(&trust.extra) {
            let certificate = CertificateDer::from(certificate.as_slice()).into_owned();
            let added = roots.add(certificate);
            added.map_err(|error| BuildError::Certificate(error.to_string()))?;
        }
        #[cfg(feature = "native-roots")]
        if trust.roots.is_none() {
            return Ok(Self::WithSystem(roots));
        }
        if roots.is_empty() {
            return Err(BuildError::NoRoots);
        }
        Ok(Self::Ready(Arc::new(config(roots))))
    }

    /// For http only.
    pub(crate) fn none() -> Self {
        Self::Ready(Arc::new(config(RootCertStore::empty())))
    }

    /// The configuration. May read the system's certificates.
    pub(crate) fn config(&self) -> Result<ClientConfig, TransportError> {
        match self {
            Self::Ready(config) => Ok(config.as_ref().clone()),
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
                Ok(config(roots))
            }
        }
    }
}

fn config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows every cipher suite of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
