//! Where a login is kept: the credential helper of a file, or the file (CRED-06, CRED-07, CRED-09).
//!
//! Responsible for storing and erasing credentials so that docker, podman and windlass find them
//! afterwards, or do not. Must not know whether a registry accepts them.

mod edit;
mod replace;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::json;
use windlass_core::Registry;
use windlass_core::credential::Secret;

use super::document::Document;
use super::entry::encode;
use super::file::{FileFormat, named_helper, read_optional};
use super::helper::Helpers;
use super::keys::{HUB, Wanted};
use super::places;
use crate::VariableError;

/// A file in which logins are kept, or which names the helper that keeps them.
#[derive(Clone, Debug)]
pub struct LoginFile {
    path: PathBuf,
    helpers: Helpers,
}

impl LoginFile {
    /// The file of `authfile`, otherwise of `REGISTRY_AUTH_FILE`, otherwise docker's `config.json`. `None`: there
    /// is no home folder for it.
    ///
    /// # Errors
    ///
    /// If the value of one of these variables is not valid text.
    pub fn from_variables(
        authfile: Option<PathBuf>,
        variables: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, VariableError> {
        let path = match authfile {
            Some(path) => Some(path),
            None => match places::authfile(&variables)? {
                Some(path) => Some(path),
                None => places::docker(&variables)?,
            },
        };
        Ok(path.map(|path| Self::new(path, Helpers::new(variables("PATH")))))
    }

    /// This file, and helpers if it names one.
    pub fn new(path: impl Into<PathBuf>, helpers: Helpers) -> Self {
        let path = path.into();
        Self { path, helpers }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a user name and password for a registry: in the helper that the file names for it, with an
    /// empty entry in the file, or in the file. What was kept for the registry is replaced, and everything else in
    /// the file stays.
    ///
    /// The file is replaced as a whole and can be read by its owner only. If it is a symbolic link, the file that
    /// the link leads to is replaced.
    ///
    /// # Errors
    ///
    /// If the helper fails, or if the file cannot be read, parsed or written. It is parsed before the helper
    /// is run.
    pub fn store(
        &self,
        registry: &Registry,
        username: &str,
        password: &Secret,
    ) -> Result<Kept, LoginError> {
        let wanted = wanted(registry);
        self.change(|text| {
            let helper = self.helper(text, &wanted)?.map(|(name, _)| name);
            let key = key(&wanted);
            let entry = match helper {
                Some(_) => json!({}),
                None => json!({ "auth": encode(username, password) }),
            };
            let text = edit::with_entry(&self.label(), text, &key, &entry, &wanted);
            let text = text.map_err(LoginError::File)?;
            let Some(name) = helper else {
                return Ok((Some(text), Kept::File(self.path.clone())));
            };
            let stored = self.helpers.store(&name, &key, username, password);
            stored.map_err(|error| LoginError::Helper(error.to_string()))?;
            Ok((Some(text), Kept::Helper(name)))
        })
    }

    /// Erases what is kept for a registry, under every spelling of its name. Where it was, if it was anywhere.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, parsed or written; if the helper fails, which leaves the file without
    /// the registry's entries.
    pub fn erase(&self, registry: &Registry) -> Result<Vec<Kept>, LoginError> {
        let wanted = wanted(registry);
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let erased = self.change(|text| {
            let mut erased = Vec::new();
            let edited = edit::without_entries(&self.label(), text, &wanted);
            let (changed, removed) = edited.map_err(LoginError::File)?;
            let by_helper = match self.helper(text, &wanted)? {
                Some((name, key)) => {
                    let urls = wanted.erased_urls(key.as_deref());
                    self.erase_from(&name, &urls).map(|is| is.then_some(name))
                }
                None => Ok(None),
            };
            if removed > 0 {
                erased.push(Kept::File(self.path.clone()));
            }
            // The file is changed even if the helper fails.
            let erased = by_helper.map(|by_helper| {
                erased.extend(by_helper.map(Kept::Helper));
                erased
            });
            Ok(((removed > 0).then_some(changed), erased))
        })?;
        erased.map_err(LoginError::Helper)
    }

    /// Whether the helper had something. Most helpers do not say, so it is asked first.
    fn erase_from(&self, name: &str, urls: &[String]) -> Result<bool, String> {
        let mut is_erased = false;
        for url in urls {
            let known = self.helpers.get(name, url);
            if known.map_err(|error| error.to_string())?.is_some() {
                let erased = self.helpers.erase(name, url);
                is_erased |= erased.map_err(|error| error.to_string())?;
            }
        }
        Ok(is_erased)
    }

    /// The helper that the file names for the registry, and the key that named it.
    fn helper(
        &self,
        text: &str,
        wanted: &Wanted<'_>,
    ) -> Result<Option<(String, Option<String>)>, LoginError> {
        let label = self.label();
        let named = Document::new(&label, text.as_bytes()).and_then(|document| {
            named_helper(&document, &document.members()?, FileFormat::Docker, wanted)
        });
        named.map_err(LoginError::File)
    }

    /// Changes the file while no other process does. `change` gets its text, and returns the new one if it
    /// differs.
    fn change<T>(
        &self,
        change: impl FnOnce(&str) -> Result<(Option<String>, T), LoginError>,
    ) -> Result<T, LoginError> {
        let path = self.path.display();
        let failed =
            |error: std::io::Error| LoginError::Io(format!("cannot write {path}: {error}"));
        let target = replace::target(&self.path).map_err(failed)?;
        let _locked = replace::lock(&target).map_err(failed)?;
        let bytes = read_optional(&target).map_err(LoginError::Io)?;
        let text = String::from_utf8(bytes.unwrap_or_default());
        let text = text.map_err(|_| LoginError::File(format!("{path} is not valid UTF-8")))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (changed, result) = change(text)?;
        if let Some(changed) = changed {
            replace::replace(&target, &changed).map_err(failed)?;
        }
        Ok(result)
    }

    fn label(&self) -> String {
        self.path.display().to_string()
    }
}

/// Where a login is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kept {
    /// In a credential helper, named without `docker-credential-`.
    Helper(String),
    /// In this file, readable by its owner, and not encrypted.
    File(PathBuf),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helper(name) => write!(f, "the credential helper `docker-credential-{name}`"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Why a login could not be kept or erased. Quotes no credential.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The file cannot be parsed: it has to be mended first.
    #[error("{0}")]
    File(String),
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(String),
    /// The helper is absent, or has failed.
    #[error("{0}")]
    Helper(String),
}

/// A whole registry.
fn wanted(registry: &Registry) -> Wanted<'static> {
    Wanted::new(registry, None, &registry.origin())
}

/// The key that every tool finds: docker and crane know Docker Hub by its URL only.
fn key(wanted: &Wanted<'_>) -> String {
    match wanted.is_docker_hub {
        true => HUB.to_owned(),
        false => wanted.host(),
    }
}

#[cfg(test)]
mod tests;
