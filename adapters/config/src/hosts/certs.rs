//! `certs.d`: folders of certificates by host, as docker, podman and skopeo read them (HOSTS-20 to HOSTS-24).
//!
//! Responsible for the folder of a host and for which files are what. Must not know what is in a file.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use windlass_core::Origin;

use super::containerd::is_folder;
use crate::document::{FileError, is_absent};
use crate::{VariableError, set};

/// What a folder of certificates holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Certificates {
    /// `*.crt`: certificate authorities, added to the others, in alphabetical order.
    pub authorities: Vec<PathBuf>,
    /// `*.cert` with `*.key`: client certificates and their keys, in alphabetical order.
    pub clients: Vec<(PathBuf, Option<PathBuf>)>,
}

/// Whose rules a folder follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// Docker's and podman's: a certificate of a client without a key is an error.
    Docker,
    /// containerd's: the key may be in the file of the certificate (HOSTS-21).
    Containerd,
}

impl Certificates {
    /// The certificates in a folder.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read, or a certificate has no key, or a key no certificate.
    pub fn read(folder: &Path, manner: Manner) -> Result<Self, FileError> {
        let unreadable = |error| FileError::unreadable(folder, &error);
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)?.take(MOST) {
            files.push(entry.map_err(unreadable)?.path());
        }
        files.sort();
        let mut found = Self::default();
        let ends = |file: &PathBuf, end: &str| file.extension().is_some_and(|it| it == end);
        for file in &files {
            if ends(file, "crt") {
                found.authorities.push(file.clone());
            } else if ends(file, "cert") {
                let key = file.with_extension("key");
                let key = files.contains(&key).then_some(key);
                if key.is_none() && manner == Manner::Docker {
                    let what = format!("missing key {} for this certificate", {
                        base(&file.with_extension("key"))
                    });
                    return Err(FileError::new(file, what));
                }
                found.clients.push((file.clone(), key));
            } else if ends(file, "key") && !files.contains(&file.with_extension("cert")) {
                let what = format!(
                    "missing client certificate {} for this key; certificate authorities end with .crt, \
                     client certificates with .cert",
                    base(&file.with_extension("cert"))
                );
                return Err(FileError::new(file, what));
            }
        }
        Ok(found)
    }
}

/// More files than this in one folder are a mistake.
const MOST: usize = 4096;

fn base(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The roots in which folders of hosts are looked for: the first folder that exists counts, and no other
/// (HOSTS-23). `$XDG_CONFIG_HOME` is `~/.config` unless set: `containers/certs.d` and `docker/certs.d` below
/// it, `/etc/containers/certs.d`, `/etc/docker/certs.d`.
///
/// # Errors
///
/// If the value of a variable is not valid text.
pub fn roots(variables: impl Fn(&str) -> Option<OsString>) -> Result<Vec<PathBuf>, VariableError> {
    let user = match set(&variables, "XDG_CONFIG_HOME")? {
        Some(folder) => Some(PathBuf::from(folder)),
        None => set(&variables, "HOME")?.map(|home| Path::new(&home).join(".config")),
    };
    let user = user.into_iter().flat_map(|user| {
        let below = ["containers/certs.d", "docker/certs.d"];
        below.map(|folder| user.join(folder))
    });
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"];
    Ok(user.chain(system.map(PathBuf::from)).collect())
}

/// The names of folders for an origin, the most specific first. Docker Hub's is `docker.io`, as references have
/// it, or the name of its host.
pub fn names(origin: &Origin) -> Vec<String> {
    let (host, port) = (origin.host(), origin.port());
    let mut names = vec![format!("{host}:{port}")];
    if port == origin.scheme().default_port() {
        names.push(host.to_owned());
    }
    if host == "registry-1.docker.io" && port == 443 {
        names.insert(0, "docker.io".to_owned());
    }
    names
}

/// The folder for an origin below the first of the roots that has one.
///
/// # Errors
///
/// If that cannot be found out. A folder that is missing is not an error, one that cannot be read is
/// (HOSTS-22).
pub fn folder(roots: &[PathBuf], origin: &Origin) -> Result<Option<PathBuf>, FileError> {
    for root in roots {
        for name in names(origin) {
            let folder = root.join(name);
            if is_folder(&folder)? {
                return Ok(Some(folder));
            }
        }
    }
    Ok(None)
}

/// All folders below the roots that have the name of a host, with the origin that each is for, in their order.
/// An origin may be in it twice: the first counts.
pub(crate) fn all(roots: &[PathBuf]) -> Result<Vec<(Origin, PathBuf)>, FileError> {
    let mut found = Vec::new();
    for root in roots {
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(FileError::unreadable(root, &error)),
        };
        let mut names: Vec<_> = entries.take(MOST).flatten().collect();
        names.sort_by_key(fs::DirEntry::file_name);
        // `host:443` before `host`, which are the same origin.
        let (with_port, without): (Vec<_>, Vec<_>) = names.into_iter().partition(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.contains(':'))
        });
        for entry in with_port.into_iter().chain(without) {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let host = if name == "docker.io" {
                "registry-1.docker.io"
            } else {
                name
            };
            if let Ok(origin) = format!("https://{host}").parse() {
                found.push((origin, entry.path()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(files: &[&str]) -> Self {
            let files: Vec<_> = files.iter().map(|file| (*file, "")).collect();
            Self(testing::folder(&files))
        }

        fn path(&self) -> &Path {
            self.0.path()
        }
    }

    fn origin(text: &str) -> Origin {
        text.parse().expect("an origin")
    }

    /// HOSTS-20.
    #[test]
    fn roots_of_users_come_first() {
        let at = |variables: &[(&str, &str)]| {
            let roots = roots(crate::among(variables)).expect("text");
            let shown: Vec<_> = roots
                .iter()
                .map(|root| root.display().to_string())
                .collect();
            shown.join(" ")
        };
        let system = "/etc/containers/certs.d /etc/docker/certs.d";
        assert_eq!(at(&[]), system);
        assert_eq!(
            at(&[("HOME", "/h")]),
            format!("/h/.config/containers/certs.d /h/.config/docker/certs.d {system}")
        );
        assert_eq!(
            at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]),
            format!("/x/containers/certs.d /x/docker/certs.d {system}")
        );
    }

    /// HOSTS-21.
    #[test]
    fn files_by_their_ends() {
        let folder = Folder::with(&[
            "b.crt", "a.crt", "z.cert", "z.key", "a.cert", "a.key", "README",
        ]);
        let found = Certificates::read(folder.path(), Manner::Docker).expect("good");
        let at = |name: &str| folder.path().join(name);
        assert_eq!(found.authorities, [at("a.crt"), at("b.crt")]);
        assert_eq!(
            found.clients,
            [
                (at("a.cert"), Some(at("a.key"))),
                (at("z.cert"), Some(at("z.key")))
            ]
        );
        let lone = Folder::with(&["c.cert"]);
        let error = Certificates::read(lone.path(), Manner::Docker).expect_err("no key");
        assert!(
            error
                .to_string()
                .ends_with("c.cert: missing key c.key for this certificate"),
            "{error}"
        );
        let found = Certificates::read(lone.path(), Manner::Containerd).expect("the key is inside");
        assert_eq!(found.clients, [(lone.path().join("c.cert"), None)]);
        // The usual mistake.
        let mistaken = Folder::with(&["c.crt", "c.key"]);
        for manner in [Manner::Docker, Manner::Containerd] {
            let error = Certificates::read(mistaken.path(), manner).expect_err("no .cert");
            let error = error.to_string();
            assert!(
                error.contains("c.key: missing client certificate c.cert"),
                "{error}"
            );
        }
    }

    /// HOSTS-22.
    #[test]
    fn a_missing_folder_is_none_and_an_unreadable_one_an_error() {
        let none = folder(
            &[PathBuf::from("/nonexistent")],
            &origin("https://r.example"),
        );
        assert_eq!(none, Ok(None));
        let error = Certificates::read(Path::new("/nonexistent"), Manner::Docker);
        assert!(
            error
                .expect_err("nothing")
                .to_string()
                .starts_with("/nonexistent: cannot read it")
        );
    }

    /// HOSTS-23.
    #[test]
    fn the_first_folder_counts() {
        let (one, two) = (
            Folder::with(&["r.example/x", "p.example:5000/x"]),
            Folder::with(&["r.example:443/x", "docker.io/x", "[::1]:5000/x"]),
        );
        let roots = [one.path().to_owned(), two.path().to_owned()];
        let table = [
            ("https://r.example", Some(one.path().join("r.example"))),
            (
                "https://p.example:5000",
                Some(one.path().join("p.example:5000")),
            ),
            ("https://p.example", None),
            ("https://r.example:5000", None),
            (
                "https://registry-1.docker.io",
                Some(two.path().join("docker.io")),
            ),
            ("https://[::1]:5000", Some(two.path().join("[::1]:5000"))),
        ];
        let listed = all(&roots).expect("readable");
        for (text, expected) in table {
            let origin = origin(text);
            assert_eq!(folder(&roots, &origin), Ok(expected.clone()), "{text}");
            let first = listed.iter().find(|(listed, _)| *listed == origin);
            assert_eq!(first.map(|(_, path)| path.clone()), expected, "{text}");
        }
    }
}
