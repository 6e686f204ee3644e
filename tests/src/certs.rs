//! A test CA and certificates for 127.0.0.1.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// A certificate authority that is trusted only where a test says so.
#[derive(Debug)]
pub struct Ca {
    /// The certificate, for `--ca-cert` and `SSL_CERT_FILE`.
    pub pem: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

/// A server's certificate and key.
#[derive(Debug)]
pub struct Leaf {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The certificate, DER.
    pub cert_der: Vec<u8>,
    /// The private key, PKCS #8 DER.
    pub key_der: Vec<u8>,
}

impl Ca {
    /// Makes a CA of its own.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "windlass test CA");
        // Servers present it themselves in one test.
        params.subject_alt_names = CertificateParams::new(["127.0.0.1".to_owned()])
            .unwrap()
            .subject_alt_names;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let pem = dir.path().join("ca.pem");
        std::fs::write(&pem, cert.pem()).unwrap();
        Self {
            pem,
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    /// A certificate for 127.0.0.1 and localhost.
    pub fn leaf(&self) -> Leaf {
        self.leaf_for(&["127.0.0.1", "localhost"])
    }

    /// A certificate for these names or addresses.
    pub fn leaf_for(&self, names: &[&str]) -> Leaf {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "windlass test server");
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.dir.path().join(format!("{}.{end}", names.join("-")));
        let leaf = Leaf {
            cert: file("crt"),
            key: file("key"),
            cert_der: cert.der().to_vec(),
            key_der: key.serialize_der(),
        };
        std::fs::write(&leaf.cert, cert.pem()).unwrap();
        std::fs::write(&leaf.key, key.serialize_pem()).unwrap();
        leaf
    }

    /// The CA's own certificate where a server's should be, as a misconfigured server has it.
    pub fn itself(&self) -> Leaf {
        let pem = std::fs::read(&self.pem).unwrap();
        let der = CertificateDer::from_pem_slice(&pem).unwrap();
        Leaf {
            cert: self.pem.clone(),
            key: PathBuf::new(),
            cert_der: der.to_vec(),
            key_der: self.issuer.key().serialize_der(),
        }
    }

    /// A folder with `ca.crt` in it, as other tools want it (`--cert-dir`).
    pub fn cert_dir(&self) -> PathBuf {
        let dir = self.dir.path().join("certs");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::copy(&self.pem, dir.join("ca.crt")).unwrap();
        dir
    }
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<Path> for Ca {
    fn as_ref(&self) -> &Path {
        &self.pem
    }
}
