//! Where `registries.conf` and its drop-ins are (HOSTS-40).
//!
//! Responsible for the paths and their order. Must not know what is in the files.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::RegistriesConf;
use crate::document::{FileError, is_absent, read_text};
use crate::{VariableError, set};

/// The machine's file.
const SYSTEM: &str = "/etc/containers/registries.conf";

/// Which files are read.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RegistriesFiles {
    /// The file. It need not exist unless it was named.
    pub file: PathBuf,
    /// Whether the file was named, so that it must exist.
    pub is_named: bool,
    /// Folders with drop-ins, `*.conf`, in this order.
    pub folders: Vec<PathBuf>,
}

impl RegistriesFiles {
    /// The files that the tools for containers read: `CONTAINERS_REGISTRIES_CONF` (or the older
    /// `REGISTRIES_CONFIG_PATH`), otherwise `containers/registries.conf` below `$XDG_CONFIG_HOME` or
    /// `~/.config` if it exists, otherwise `/etc/containers/registries.conf` (HOSTS-40). The drop-ins are
    /// those beside the file; beside a file that a variable names there are none.
    ///
    /// # Errors
    ///
    /// If the value of one of these variables is not valid text.
    pub fn from_variables(
        variables: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, VariableError> {
        for name in ["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"] {
            if let Some(file) = set(&variables, name)? {
                return Ok(Self::named(file));
            }
        }
        let user = match set(&variables, "XDG_CONFIG_HOME")? {
            Some(folder) => Some(PathBuf::from(folder)),
            None => set(&variables, "HOME")?.map(|home| Path::new(&home).join(".config")),
        };
        let user = user.map(|folder| folder.join("containers/registries.conf"));
        let file = match user {
            Some(user) if user.exists() => user,
            Some(_) | None => PathBuf::from(SYSTEM),
        };
        Ok(Self {
            folders: vec![file.with_extension("conf.d")],
            file,
            is_named: false,
        })
    }

    /// This file alone.
    pub fn named(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            is_named: true,
            folders: Vec::new(),
        }
    }

    /// The files in their order: those that are there.
    fn all(&self) -> Result<Vec<PathBuf>, FileError> {
        let mut files = vec![self.file.clone()];
        for folder in &self.folders {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(FileError::unreadable(folder, &error)),
            };
            let paths = entries.flatten().map(|entry| entry.path());
            let is_conf = |path: &PathBuf| path.extension().is_some_and(|end| end == "conf");
            let mut found: Vec<_> = paths.filter(is_conf).collect();
            found.sort();
            files.extend(found);
        }
        Ok(files)
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read or is invalid.
    pub fn read(&self) -> Result<RegistriesConf, FileError> {
        let mut all = RegistriesConf::default();
        for path in self.all()? {
            match read_text(&path)? {
                Some(text) => all.add(&path, &text)?,
                None if self.is_named && path == self.file => {
                    return Err(FileError::new(&path, "there is no such file"));
                }
                None => {}
            }
        }
        Ok(all)
    }
}
