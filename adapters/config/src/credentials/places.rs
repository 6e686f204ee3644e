//! Where files with credentials are (CRED-01, CRED-40, CRED-41).
//!
//! Responsible for the paths that follow from variables. Must not read a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::process::getuid;

use super::file::{AuthFile, FileFormat};
use crate::{VariableError, set};

/// The file of `REGISTRY_AUTH_FILE`.
pub(super) fn authfile(
    variables: &impl Fn(&str) -> Option<OsString>,
) -> Result<Option<PathBuf>, VariableError> {
    Ok(set(variables, "REGISTRY_AUTH_FILE")?.map(PathBuf::from))
}

/// Docker's: `$DOCKER_CONFIG/config.json`, otherwise `.docker/config.json` in the home folder (CRED-01).
pub(super) fn docker(
    variables: &impl Fn(&str) -> Option<OsString>,
) -> Result<Option<PathBuf>, VariableError> {
    let folder = match set(variables, "DOCKER_CONFIG")? {
        Some(folder) => Some(PathBuf::from(folder)),
        None => home(variables)?.map(|home| home.join(".docker")),
    };
    Ok(folder.map(|folder| folder.join("config.json")))
}

/// All files that may be there: podman's, docker's, and the one that docker had before (CRED-41).
pub(super) fn files(
    variables: &impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<AuthFile>, VariableError> {
    let mut found = Vec::new();
    let mut podman = |folder: PathBuf| {
        let path = folder.join("auth.json");
        found.push(AuthFile::optional(path, FileFormat::Podman));
    };
    // Elsewhere there is no folder for each session.
    if cfg!(target_os = "linux") {
        podman(match set(variables, "XDG_RUNTIME_DIR")? {
            Some(folder) => Path::new(&folder).join("containers"),
            None => Path::new("/run/containers").join(getuid().as_raw().to_string()),
        });
    }
    let config = match set(variables, "XDG_CONFIG_HOME")? {
        Some(folder) => Some(PathBuf::from(folder)),
        None => home(variables)?.map(|home| home.join(".config")),
    };
    if let Some(folder) = config {
        podman(folder.join("containers"));
    }
    if let Some(path) = docker(variables)? {
        found.push(AuthFile::optional(path, FileFormat::Docker));
    }
    if let Some(home) = home(variables)? {
        found.push(AuthFile::optional(home.join(".dockercfg"), FileFormat::Old));
    }
    Ok(found)
}

fn home(variables: &impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, VariableError> {
    Ok(set(variables, "HOME")?.map(PathBuf::from))
}
