//! Certificate authorities, from files and variables.
//!
//! Responsible for reading PEM and DER files into lists of certificates. Must not know TLS: the
//! verifier decides whether a certificate is valid.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` are read here, although the library that finds the system's
//! roots reads them, too: it skips files that it cannot read, so a misspelt path would show as an
//! unknown issuer. If neither is set, [`TlsRoots::roots`] stays `None`: the driver loads the
//! system's roots with its first TLS connection, and not at all without one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use windlass_driver::{Identity, TlsRoots, read_file};

use crate::{VariableError, set};

/// The certificate authorities to trust: those in the `extra` files, and the system's. If
/// `SSL_CERT_FILE` (one file) or `SSL_CERT_DIR` (folders, separated as in `PATH`) is set, their
/// certificates replace the system's.
///
/// Files hold certificates in PEM form, or one in DER form. In a folder, files without a
/// certificate are skipped, and so are missing folders, as long as one certificate was found.
///
/// # Errors
///
/// If a named file cannot be read or holds no certificate, if the folders hold none, or if the
/// value of a variable is not valid text.
pub fn trust(
    extra: &[PathBuf],
    variables: impl Fn(&str) -> Option<OsString>,
) -> Result<TlsRoots, TrustError> {
    let mut trust = TlsRoots::default();
    for path in extra {
        trust.extra.extend(certificates(path)?);
    }
    let file = set(&variables, "SSL_CERT_FILE")?;
    let folders = set(&variables, "SSL_CERT_DIR")?;
    if file.is_none() && folders.is_none() {
        return Ok(trust);
    }
    // Files and folders may have certificates in common.
    let mut roots = BTreeSet::new();
    if let Some(file) = file {
        roots.extend(certificates(Path::new(&file))?);
    }
    if let Some(folders) = folders {
        let before = roots.len();
        for folder in std::env::split_paths(&folders) {
            roots.extend(folder_certificates(&folder));
        }
        if before == 0 && roots.is_empty() {
            return Err(TrustError::EmptyFolders { folders });
        }
    }
    trust.roots = Some(Arc::new(roots.into_iter().collect()));
    Ok(trust)
}

/// The largest file of certificates; those of systems have less than 1 MiB.
const LARGEST: u64 = 16 << 20;
/// The largest file in a folder; most hold one certificate.
const LARGEST_OF_MANY: u64 = 1 << 20;
/// The most files read of a folder.
const MOST_FILES: usize = 4096;

pub(crate) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, TrustError> {
    let bytes = read_file(path, LARGEST).map_err(|error| TrustError::Read {
        path: path.to_owned(),
        error,
    })?;
    let found = decode(&bytes).map_err(|why| TrustError::Damaged {
        path: path.to_owned(),
        why,
    })?;
    if found.is_empty() {
        return Err(TrustError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

/// A client certificate with its chain, and its private key: PEM files, or DER files of one each. The key may be
/// in the file of the certificate.
///
/// # Errors
///
/// If a file cannot be read, or has no certificate, or no key.
pub fn identity(certificate: &Path, key: Option<&Path>) -> Result<Identity, TrustError> {
    let chain = certificates(certificate)?;
    let path = key.unwrap_or(certificate);
    let bytes = read_file(path, LARGEST).map_err(|error| TrustError::Key {
        path: path.to_owned(),
        why: format!("cannot read it: {error}"),
    })?;
    let key = if bytes.starts_with(&[0x30]) {
        PrivateKeyDer::try_from(bytes).map_err(ToOwned::to_owned)
    } else {
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| no_key(&bytes, &error))
    };
    let key = key.map_err(|why| TrustError::Key {
        path: path.to_owned(),
        why,
    })?;
    Ok(Identity::new(chain, key.secret_der().to_vec()))
}

fn no_key(bytes: &[u8], error: &pem::Error) -> String {
    if !matches!(error, pem::Error::NoItemsFound) {
        return "damaged key in it".to_owned();
    }
    // The usual reason, under a name of its own.
    let is_encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
    let found = if is_encrypted {
        "an encrypted key"
    } else {
        "no key"
    };
    format!("{found} in it; expected one in PEM form, not encrypted")
}

fn folder_certificates(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    // A folder that was prepared with `c_rehash` has each file under two names.
    let mut seen = BTreeSet::new();
    let mut is_new = |path: &Path| {
        fs::metadata(path).is_ok_and(|it| it.is_file() && seen.insert((it.dev(), it.ino())))
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_new(path))
        .take(MOST_FILES)
        .filter_map(|path| decode(&read_file(&path, LARGEST_OF_MANY).ok()?).ok())
        .flatten()
        .collect()
}

/// The certificates of a file; other PEM sections (keys, comments) are skipped.
fn decode(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    // A certificate in DER form is a SEQUENCE with a length of two bytes.
    if bytes.starts_with(&[0x30, 0x82]) {
        return Ok(vec![bytes.to_vec()]);
    }
    CertificateDer::pem_slice_iter(bytes)
        .map(|certificate| certificate.map(|certificate| certificate.as_ref().to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Why certificate authorities could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The value of a variable is not valid text.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// A named file cannot be read.
    #[error("cannot read certificates from {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The private key of a client certificate cannot be used.
    #[error("private key {}: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A named file holds no certificate.
    #[error("no certificate in {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A named file is not valid PEM.
    #[error("damaged certificate in {}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The folders of `SSL_CERT_DIR` hold no certificate.
    #[error("no certificate in the folders of SSL_CERT_DIR ({folders})")]
    EmptyFolders {
        /// The variable's value.
        folders: String,
    },
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pem(label: &str, content: &[u8]) -> String {
        let body = STANDARD.encode(content);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn nothing(_: &str) -> Option<OsString> {
        None
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, content).expect("a file");
            path
        }

        fn name(&self) -> String {
            self.0.path().to_str().expect("UTF-8").to_owned()
        }
    }

    #[test]
    fn system_roots_are_left_to_the_driver() {
        let trust = trust(&[], nothing).expect("nothing to read");
        assert!(trust.roots.is_none() && trust.extra.is_empty());
        let trust = super::trust(&[], |_| Some(OsString::new())).expect("nothing to read");
        assert!(trust.roots.is_none(), "an empty variable is unset");
    }

    #[test]
    fn files_of_several() {
        let folder = Folder::new();
        let text = [
            "a comment\n".to_owned(),
            pem("CERTIFICATE", b"one"),
            pem("PRIVATE KEY", b"none of ours"),
            pem("CERTIFICATE", b"two").replace('\n', "\r\n"),
        ];
        let der = [&[0x30, 0x82, 0, 1][..], b"x"].concat();
        let files = [
            folder.file("ca.pem", text.concat()),
            folder.file("ca.der", &der),
        ];
        let trust = trust(&files, nothing).expect("good files");
        assert!(trust.roots.is_none(), "the system's stay");
        assert_eq!(trust.extra, [b"one".to_vec(), b"two".to_vec(), der]);
    }

    #[test]
    fn bad_files_are_named() {
        let folder = Folder::new();
        let table = [
            (folder.0.path().join("absent.pem"), "cannot read"),
            (folder.file("empty.pem", ""), "no certificate in"),
            (
                folder.file("key.pem", pem("PRIVATE KEY", b"x")),
                "no certificate in",
            ),
            (
                folder.file("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"),
                "damaged certificate in",
            ),
        ];
        for (path, expected) in table {
            let name = path.to_str().expect("UTF-8").to_owned();
            let as_option = trust(&[path], nothing).expect_err("bad").to_string();
            let variable = |n: &str| (n == "SSL_CERT_FILE").then(|| name.clone().into());
            let as_variable = trust(&[], variable).expect_err("bad").to_string();
            for error in [as_option, as_variable] {
                assert!(error.starts_with(expected), "{error}");
                assert!(error.contains(&name), "{error}");
            }
        }
    }

    #[test]
    fn keys_of_client_certificates() {
        let folder = Folder::new();
        let (certificate, key) = (pem("CERTIFICATE", b"c"), pem("PRIVATE KEY", b"s3cret"));
        let both = folder.file("both.pem", format!("{key}{certificate}"));
        let alone = folder.file("c.pem", &certificate);
        let key = folder.file("k.pem", key);
        for found in [identity(&both, None), identity(&alone, Some(&key))] {
            let found = found.expect("good files");
            assert_eq!(
                (found.chain(), found.key()),
                (&[b"c".to_vec()][..], &b"s3cret"[..])
            );
        }
        let encrypted = folder.file("e.pem", pem("ENCRYPTED PRIVATE KEY", b"s3cret"));
        let cut = folder.file("cut.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n");
        let absent = folder.0.path().join("absent.pem");
        for (key, expected) in [
            (None, "no key in it"),
            (Some(&alone), "no key in it"),
            (Some(&encrypted), "an encrypted key in it"),
            (Some(&cut), "damaged key in it"),
            (Some(&absent), "cannot read it"),
        ] {
            let error = identity(&alone, key.map(PathBuf::as_path)).expect_err(expected);
            let error = error.to_string();
            assert!(
                error.starts_with("private key ") && error.contains(expected),
                "{error}"
            );
            let path = key.unwrap_or(&alone);
            assert!(error.contains(path.to_str().expect("UTF-8")), "{error}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_variable_that_is_no_text_is_an_error() {
        for bad in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            let error = trust(&[], crate::with_bad(bad, &[])).expect_err("no text");
            assert!(error.to_string().contains(bad), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    /// A file that is too large, or endless, is not read whole.
    #[test]
    fn files_are_bounded() {
        let folder = Folder::new();
        let large = folder.file("large.pem", "");
        let file = fs::File::options().write(true).open(&large);
        let resized = file.and_then(|file| file.set_len(LARGEST + 1));
        resized.expect("a sparse file");
        for path in [
            large,
            PathBuf::from("/dev/zero"),
            PathBuf::from("/dev/null"),
        ] {
            let name = path.to_str().expect("UTF-8").to_owned();
            let as_option = trust(std::slice::from_ref(&path), nothing);
            let variable = |n: &str| (n == "SSL_CERT_FILE").then(|| name.clone().into());
            for error in [as_option, trust(&[], variable)] {
                let error = error.expect_err("not read");
                assert!(matches!(error, TrustError::Read { .. }), "{error}");
                assert!(error.to_string().contains(&name), "{error}");
            }
        }
        // In a folder it counts as a file without a certificate.
        folder.file("a.pem", pem("CERTIFICATE", b"a"));
        let variable = |n: &str| (n == "SSL_CERT_DIR").then(|| folder.name().into());
        let roots = trust(&[], variable).expect("one is good").roots;
        assert_eq!(*roots.expect("a variable is set"), [b"a".to_vec()]);
    }

    #[test]
    fn variables_replace_the_system() {
        let (one, two, empty) = (Folder::new(), Folder::new(), Folder::new());
        let file = one.file("bundle.pem", pem("CERTIFICATE", b"bundle"));
        two.file("a.pem", pem("CERTIFICATE", b"a"));
        two.file("0123abcd.0", pem("CERTIFICATE", b"a"));
        two.file("README", "no certificate");
        let file = file.to_str().expect("UTF-8").to_owned();
        let read = |file: Option<&str>, folders: &[&str]| {
            let folders = std::env::join_paths(folders).expect("no separators within");
            trust(&[], |name| match name {
                "SSL_CERT_FILE" => file.map(OsString::from),
                "SSL_CERT_DIR" => Some(folders.clone()),
                _ => None,
            })
            .map(|trust| trust.roots.expect("a variable is set").to_vec())
        };
        let (a, bundle) = (b"a".to_vec(), b"bundle".to_vec());

        let got = read(Some(&file), &[]).expect("a bundle");
        assert_eq!(got, std::slice::from_ref(&bundle));
        let got = read(None, &["/nonexistent", &two.name()]).expect("a folder");
        assert_eq!(got, std::slice::from_ref(&a), "each certificate once");
        let got = read(Some(&file), &[&two.name()]).expect("both");
        assert_eq!(got, [a, bundle]);
        let error = read(None, &[&empty.name()]).expect_err("no certificate");
        assert!(error.to_string().contains(&empty.name()), "{error}");
    }
}
