//! A package outside the workspace, made by `cargo new`.
//!
//! Responsible for its manifest and its build. Must not know what the program does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A program of one file that depends on crates of this checkout, as the program of any user does.
pub(crate) struct Package {
    folder: TempDir,
    name: &'static str,
}

impl Package {
    /// The package of a program. It resolves what it depends on to the versions that the workspace has.
    pub(crate) fn new(name: &'static str, source: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let package = Self { folder, name };
        package.cargo(|command| {
            let words = ["new", "--quiet", "--vcs", "none", "--edition", "2024"];
            command.args(words).arg(name).current_dir(&package.folder);
        });
        std::fs::write(package.path("src/main.rs"), source).unwrap();
        std::fs::copy(workspace().join("Cargo.lock"), package.path("Cargo.lock")).unwrap();
        package
    }

    /// A dependency on a crate of the checkout, in this folder.
    pub(crate) fn on_ours(self, crate_name: &str, folder: &str) -> Self {
        let path = workspace().join(folder);
        self.on(crate_name, &format!("{{ path = {path:?} }}"))
    }

    /// A dependency, as it is written in `Cargo.toml`.
    pub(crate) fn on(self, crate_name: &str, value: &str) -> Self {
        let manifest = std::fs::OpenOptions::new()
            .append(true)
            .open(self.path("Cargo.toml"));
        writeln!(manifest.unwrap(), "{crate_name} = {value}").unwrap();
        self
    }

    /// Builds it and returns the program.
    pub(crate) fn build(&self) -> PathBuf {
        self.in_package(&["build", "--quiet"]);
        target().join("debug").join(self.name)
    }

    /// The names of the packages that it consists of.
    pub(crate) fn tree(&self) -> Vec<String> {
        let words = ["tree", "--quiet", "-e", "normal", "--prefix", "none"];
        let tree = String::from_utf8(self.in_package(&words).stdout).unwrap();
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        names.map(str::to_owned).collect()
    }

    fn in_package(&self, words: &[&str]) -> Output {
        self.cargo(|command| {
            command.args(words).current_dir(self.path(""));
        })
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(self.name).join(below)
    }

    #[track_caller]
    fn cargo(&self, configure: impl FnOnce(&mut Command)) -> Output {
        let mut command = Command::new(env!("CARGO"));
        // All packages share what they depend on; nothing debugs it.
        command
            .env("CARGO_TARGET_DIR", target())
            .env("CARGO_PROFILE_DEV_DEBUG", "0");
        configure(&mut command);
        succeeded(&mut command)
    }
}

/// Runs a command and returns what it wrote; panics unless it succeeds.
#[track_caller]
pub(crate) fn succeeded(command: &mut Command) -> Output {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{command:?}: {}\n{said}",
        done.status
    );
    done
}

fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests is a folder of the workspace")
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside")
}
