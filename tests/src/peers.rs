//! Other tools, which must agree with windlass about content.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::images::Layout;
use crate::registry::Registry;

/// Credentials for a peer, if any.
pub type Login<'a> = Option<(&'a str, &'a str)>;

/// A tool that pulls and pushes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// containers/image behind skopeo.
    Skopeo,
    /// go-containerregistry behind crane.
    Crane,
    /// regclient behind regctl.
    Regctl,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Skopeo, Self::Crane, Self::Regctl];

    /// The program it is.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Skopeo => "skopeo",
            Self::Crane => "crane",
            Self::Regctl => "regctl",
        }
    }

    /// Pulls all of `name` into an empty layout, under the name `latest` where the tool gives names.
    pub fn pull(self, registry: &Registry, name: &str, into: &Layout) {
        let from = registry.reference(name);
        match self {
            Self::Skopeo => skopeo(
                &[
                    "copy",
                    "-q",
                    "--all",
                    "--preserve-digests",
                    "--src-tls-verify=false",
                ],
                &[&format!("docker://{from}"), &into.oci_named("latest")],
            ),
            Self::Crane => {
                let path = into.path.to_str().unwrap();
                crane(&["pull", "--insecure", "--format", "oci", &from, path]);
            }
            Self::Regctl => {
                let to = format!("ocidir://{}:latest", into.path.display());
                regctl(registry, &["image", "copy", &from, &to]);
            }
        }
    }

    /// Pushes all of `latest` in a layout to `name`.
    pub fn push(self, layout: &Layout, registry: &Registry, name: &str) {
        let to = registry.reference(name);
        match self {
            Self::Skopeo => skopeo(
                &[
                    "copy",
                    "-q",
                    "--all",
                    "--preserve-digests",
                    "--dest-tls-verify=false",
                ],
                &[&layout.oci_named("latest"), &format!("docker://{to}")],
            ),
            Self::Crane => {
                let path = layout.path.to_str().unwrap();
                crane(&["push", "--insecure", path, &to]);
            }
            Self::Regctl => {
                let from = format!("ocidir://{}:latest", layout.path.display());
                regctl(registry, &["image", "copy", &from, &to]);
            }
        }
    }
}

/// Runs a program; panics with what it said unless it succeeds.
#[track_caller]
pub fn run(name: &str, configure: impl FnOnce(&mut Command)) -> Output {
    let program: PathBuf = crate::program(name).expect("the test asked for it");
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    // Nothing from the user's environment: no credentials, caches or proxies.
    command
        .env_clear()
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    configure(&mut command);
    let done = command.output().unwrap();
    assert!(
        done.status.success(),
        "{command:?}: {}\n{}{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    done
}

#[track_caller]
fn skopeo(options: &[&str], words: &[&str]) {
    // As root skopeo remembers mount candidates in /var; no test counts its requests.
    run("skopeo", |command| {
        command.arg("--insecure-policy").args(options).args(words);
    });
}

/// `skopeo inspect --raw` of a layout: what it takes for the root.
#[track_caller]
pub fn skopeo_inspect(layout: &Layout, name: &str) -> Vec<u8> {
    run("skopeo", |command| {
        command.args(["inspect", "--raw", &layout.oci_named(name)]);
    })
    .stdout
}

/// Runs crane.
#[track_caller]
pub fn crane(words: &[&str]) -> Output {
    run("crane", |command| {
        command.args(words);
    })
}

/// Runs regctl against a registry.
#[track_caller]
pub fn regctl(registry: &Registry, words: &[&str]) -> Output {
    let tls = if registry.secure() {
        "insecure"
    } else {
        "disabled"
    };
    let host = format!("reg={},tls={tls}", registry.host());
    run("regctl", |command| {
        command.args(["--host", &host]).args(words);
    })
}

/// `crane validate`: digests, sizes and unpacked layers of everything behind a reference.
#[track_caller]
pub fn crane_validate(registry: &Registry, name: &str) {
    crane(&[
        "validate",
        "--insecure",
        "--remote",
        &registry.reference(name),
    ]);
}

/// `umoci gc`: walks a whole layout and removes what nothing names.
#[track_caller]
pub fn umoci_gc(layout: &Path) {
    run("umoci", |command| {
        command.arg("gc").arg("--layout").arg(layout);
    });
}

/// The fsck of the crate `ocidir`: reads a layout whose names stand for images, and everything that these consist
/// of. The number of blobs that it verified.
#[track_caller]
pub fn ocidir_fsck(layout: &Path) -> usize {
    let done = run("ocidir-fsck", |command| {
        command.arg(layout);
    });
    let count = String::from_utf8_lossy(&done.stdout).trim().parse();
    count.expect("it prints a number")
}
