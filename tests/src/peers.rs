//! Other tools, which must agree with windlass about content.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

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

/// The fsck of the crate `ocidir`: reads all images of a layout, and everything that these consist of. The number of
/// blobs that it verified. It takes an index for a broken image: it gets the layout with the images of each index in
/// place of that. What a sparse index lacks is not asked for.
#[track_caller]
pub fn ocidir_fsck(layout: &Path) -> usize {
    let plain = tempfile::tempdir().unwrap();
    for file in crate::files_below(&layout.join("blobs")) {
        let target = plain.path().join(file.strip_prefix(layout).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::hard_link(&file, &target)
            .or_else(|_| fs::copy(&file, &target).map(drop))
            .unwrap();
    }
    fs::copy(layout.join("oci-layout"), plain.path().join("oci-layout")).unwrap();
    let index: Value = read_json(&layout.join("index.json"));
    let mut images = BTreeMap::new();
    images_of(&index, layout, &mut images);
    let images: Vec<Value> = images.into_values().collect();
    let index = json!({ "schemaVersion": 2, "manifests": images });
    fs::write(plain.path().join("index.json"), index.to_string()).unwrap();
    let done = run("ocidir-fsck", |command| {
        command.arg(plain.path());
    });
    let count = String::from_utf8_lossy(&done.stdout).trim().parse();
    count.expect("it prints a number")
}

/// The images of an index that are there, by their digests.
fn images_of(index: &Value, layout: &Path, images: &mut BTreeMap<String, Value>) {
    for entry in index["manifests"].as_array().unwrap() {
        let digest = entry["digest"].as_str().unwrap();
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        if !path.exists() {
            continue;
        }
        let document = read_json(&path);
        if document["manifests"].is_array() {
            images_of(&document, layout, images);
        } else {
            images.insert(digest.to_owned(), entry.clone());
        }
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
