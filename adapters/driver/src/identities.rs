//! Which of several client certificates a server is shown.
//!
//! Responsible for choosing one that the server asks for. Must not know hosts.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, SignatureScheme};
use webpki::EndEntityCert;

/// The client certificates for a host, as folders of docker, podman and containerd have several.
#[derive(Debug)]
pub(crate) struct Identities(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    certified: Arc<CertifiedKey>,
    /// Who has issued the certificates of its chain. Of those that cannot be read it is unknown.
    issuers: Vec<DistinguishedName>,
}

impl Identities {
    pub(crate) fn new(certified: Vec<CertifiedKey>) -> Self {
        let candidate = |certified: CertifiedKey| Candidate {
            issuers: certified.cert.iter().filter_map(issuer).collect(),
            certified: Arc::new(certified),
        };
        Self(certified.into_iter().map(candidate).collect())
    }
}

impl ResolvesClientCert for Identities {
    /// The first that is issued by one of the authorities that the server names. If there is none, the first:
    /// some servers name others than those that they accept.
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let can_sign = |it: &&Candidate| it.certified.key.choose_scheme(schemes).is_some();
        let is_named = |it: &&Candidate| {
            let mut issuers = it.issuers.iter();
            issuers.any(|issuer| authorities.contains(&issuer.as_ref()))
        };
        let found = self.0.iter().filter(can_sign).find(is_named);
        let found = found.or_else(|| self.0.iter().find(can_sign));
        found.map(|it| Arc::clone(&it.certified))
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

fn issuer(certificate: &CertificateDer<'_>) -> Option<DistinguishedName> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    Some(DistinguishedName::in_sequence(certificate.issuer()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing to choose, and certificates that cannot be read: no panic, and nothing is named by accident.
    #[test]
    fn odd_ones() {
        let none = Identities::new(Vec::new());
        assert!(!none.has_certs() && none.resolve(&[], &[]).is_none());
        for junk in [&b""[..], b"junk", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert!(issuer(&CertificateDer::from(junk)).is_none());
        }
    }
}
