//! windlass' own configuration file, in TOML: `windlass.example.toml` beside this crate's sources has every key
//! with its meaning, and `windlass.schema.json` its JSON schema.
//!
//! Responsible for finding the file, and for what its sections mean for a client. Unlike the files of others, an
//! unknown key is an error: it would be a setting that silently has no effect.

mod content;
mod error;
mod limits;
mod registry;
#[cfg(test)]
mod schema;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use windlass_core::config::{
    Capabilities, Config, Endpoint, Mode, Prefix, References, RegistrySettings, RequestHeader,
    Route, RouteScope,
};
use windlass_core::credential::{Access, Secret};
use windlass_core::reference::Repository;
use windlass_core::{Registry, Scheme};

use self::content::{Content, Location, MirrorMode, MirrorReferences, MirrorSection};
use self::registry::PatternText;
use crate::document::{FileError, read_text};
use crate::hosts::{HostName, HostRule};
use crate::{CredentialSearch, Proxies, VariableError, set};

/// The machine's file.
const SYSTEM: &str = "/etc/windlass/config.toml";

/// The file, read.
///
/// ```
/// use std::path::Path;
/// use windlass_config::ConfigFile;
///
/// let text = r#"
///     [mirror."docker.io"]
///     url = "https://mirror.example/hub"
///     [limits]
///     jobs = 4
/// "#;
/// let file = ConfigFile::parse(Path::new("config.toml"), text)?;
/// let mut config = windlass_core::Config::default();
/// file.apply(&mut config);
/// assert_eq!(config.in_flight.max, 4);
/// # Ok::<(), windlass_config::FileError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    content: Content,
    hosts: Vec<(HostName, HostRule)>,
    /// Of `[mirror]` and of blocked names.
    routes: Vec<Route>,
    /// Of `[registry]`.
    registries: Vec<RegistrySettings>,
}

/// Why there is no file to read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// The value of a variable that names a place is not valid text.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ConfigFile {
    /// The file of this machine and user: the one that `WINDLASS_CONFIG` names, otherwise the first that
    /// exists of `windlass/config.toml` below `$XDG_CONFIG_HOME` (`~/.config`) and
    /// `/etc/windlass/config.toml`. They are not mixed. `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is invalid, or `WINDLASS_CONFIG` names one that does not exist.
    pub fn from_variables(
        variables: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, ConfigFileError> {
        if let Some(path) = set(&variables, "WINDLASS_CONFIG")? {
            return Ok(Some(Self::read(Path::new(&path))?));
        }
        let user = match set(&variables, "XDG_CONFIG_HOME")? {
            Some(folder) => Some(PathBuf::from(folder)),
            None => set(&variables, "HOME")?.map(|home| Path::new(&home).join(".config")),
        };
        let user = user.map(|folder| folder.join("windlass/config.toml"));
        for path in user.into_iter().chain([PathBuf::from(SYSTEM)]) {
            if let Some(text) = read_text(&path)? {
                return Ok(Some(Self::parse(&path, &text)?));
            }
        }
        Ok(None)
    }

    /// This file.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is invalid.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = read_text(path)?;
        let text = text.ok_or_else(|| FileError::new(path, "there is no such file"))?;
        Self::parse(path, &text)
    }

    /// The meaning of a file's text. Paths in it are relative to the folder of `path`.
    ///
    /// # Errors
    ///
    /// If it is invalid: with line and column, and for an unknown key with the one that was likely meant.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let content = error::parse(path, text)?;
        let wrong = |why: &str| Err(FileError::new(path, why));
        if content.tls.only_ca && content.tls.ca.0.is_empty() {
            return wrong("[tls]: only-ca needs ca");
        }
        if content.proxy.password_file.is_some() && content.proxy.username.is_none() {
            return wrong("[proxy]: password-file needs username");
        }
        let beside = |file: &PathBuf| path.parent().unwrap_or_else(|| Path::new("")).join(file);
        let hosts = content.host.iter().map(|(name, section)| {
            let rule = section.rule(&beside);
            let rule =
                rule.map_err(|why| FileError::new(path, format!("[host.\"{name}\"]: {why}")));
            Ok((name.0.clone(), rule?))
        });
        let hosts = hosts.collect::<Result<_, FileError>>()?;
        let mirrors = content.mirror.iter().map(|(scope, section)| {
            let rule = format!("{}, [mirror.\"{}\"]", path.display(), scope.0);
            let wrong = |why| FileError::new(path, format!("[mirror.\"{}\"]: {why}", scope.0));
            route(&scope.0, section, rule).map_err(wrong)
        });
        let blocked = content.blocked.iter().map(|scope| {
            let rule = format!("{}, blocked \"{}\"", path.display(), scope.0);
            Ok(Route::blocked(scope.0.clone(), rule))
        });
        // Of a name that is mirrored and blocked, the latter counts.
        let routes = blocked.chain(mirrors).collect::<Result<_, FileError>>()?;
        let mut config = Config::default();
        content.limits.apply(&mut config);
        let registries = content.registry.iter().map(|(pattern, section)| {
            let section_name = format!("[registry.\"{pattern}\"]");
            let rule = format!("{}, {section_name}", path.display());
            let settings = section.settings(&pattern.0, rule, &config);
            settings.map_err(|why| FileError::new(path, format!("{section_name}: {why}")))
        });
        let registries = registries.collect::<Result<_, FileError>>()?;
        Ok(Self {
            path: path.to_owned(),
            hosts,
            routes,
            registries,
            content,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets what it says about requests, retries and token services, for all registries and for single ones, and
    /// which registries it reaches without TLS. Mirrors come with a [`Plan`](crate::hosts::Plan).
    pub fn apply(&self, config: &mut Config) {
        self.content.limits.apply(config);
        config.registries.extend_from_slice(&self.registries);
        for pair in &self.content.trusted_realm {
            let pair = (pair.registry.0.clone(), pair.realm.0.clone());
            config.trusted_realms.push(pair);
        }
        for (name, section) in &self.content.host {
            if section.plain_http
                && let Ok(registry) = name.0.to_string().parse::<Registry>()
            {
                let origin = registry.origin().with_scheme(Scheme::Http);
                config.endpoints.insert(registry, origin);
            }
        }
    }

    /// How long to wait, where it says so.
    pub fn apply_time_limits(&self, limits: &mut windlass_driver::TimeLimits) {
        self.content.limits.apply_time_limits(limits);
    }

    /// What it says about single hosts.
    pub fn hosts(&self) -> &[(HostName, HostRule)] {
        &self.hosts
    }

    /// The route for a repository, if one of its mirrors or blocked names is for it: the closest.
    pub(crate) fn mirror(&self, registry: &Registry, repository: &Repository) -> Option<Route> {
        let mut config = Config::default();
        config.routes.clone_from(&self.routes);
        config.route(registry, repository).cloned()
    }

    /// Files of certificate authorities that are trusted for all hosts, and whether they are trusted alone.
    pub fn authorities(&self) -> (Vec<PathBuf>, bool) {
        let tls = &self.content.tls;
        let files = tls.ca.iter().map(|file| self.beside(file));
        (files.collect(), tls.only_ca)
    }

    /// The folder with containerd's tree, if it is named.
    pub fn hosts_dir(&self) -> Option<PathBuf> {
        self.content.hosts_dir.as_ref().map(|it| self.beside(it))
    }

    /// `registries.conf`, if it is named.
    pub fn registries_conf(&self) -> Option<PathBuf> {
        let file = self.content.registries_conf.as_ref();
        file.map(|it| self.beside(it))
    }

    /// Whether short names are read as the aliases of `registries.conf` say, with
    /// [`RegistriesConf::alias`](crate::hosts::registries::RegistriesConf::alias).
    pub const fn short_names(&self) -> bool {
        self.content.short_names
    }

    /// Roots of `certs.d`, if they are named: instead of the usual ones.
    pub fn certs_dirs(&self) -> Option<Vec<PathBuf>> {
        let folders = self.content.certs_dirs.as_ref()?;
        Some(folders.iter().map(|it| self.beside(it)).collect())
    }

    /// The file with credentials, if it is named, like `REGISTRY_AUTH_FILE`.
    pub fn auth_file(&self) -> Option<PathBuf> {
        let file = self.content.credentials.auth_file.as_ref();
        file.map(|it| self.beside(it))
    }

    /// Adds the files with credentials that are for reading or for writing only to a search.
    pub fn add_credentials(&self, mut search: CredentialSearch) -> CredentialSearch {
        for (PatternText(pattern), section) in &self.content.registry {
            let files = [
                (Access::Read, &section.read_auth_file),
                (Access::Write, &section.write_auth_file),
            ];
            for (access, file) in files {
                if let Some(file) = file {
                    search = search.file_for(access, pattern.clone(), self.beside(file));
                }
            }
        }
        search
    }

    /// Credential helpers that are asked for every registry: names without `docker-credential-`.
    pub fn credential_helpers(&self) -> &[String] {
        &self.content.credentials.helpers
    }

    /// Whether to ask anonymously where stored credentials are refused for reading, if it says so.
    pub const fn anonymous_fallback(&self) -> Option<bool> {
        self.content.credentials.anonymous_fallback
    }

    /// The `policy.json`, if it is named.
    pub fn policy(&self) -> Option<PathBuf> {
        self.content.policy.as_ref().map(|it| self.beside(it))
    }

    /// Its proxies, beside the environment's, which come first.
    ///
    /// # Errors
    ///
    /// If the file with the password of its proxies cannot be read.
    pub fn proxies(
        &self,
        variables: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Proxies, FileError> {
        let proxy = &self.content.proxy;
        let login = match (&proxy.username, &proxy.password_file) {
            (None, _) => None,
            (Some(user), file) => Some((user.clone(), self.password(file.as_deref())?)),
        };
        let own = crate::proxy::Own {
            http: proxy.http.as_ref().map(|url| &*url.0),
            https: proxy.https.as_ref().map(|url| &*url.0),
            no_proxy: proxy.no_proxy.as_deref(),
            login: login.as_ref(),
            by: &self.path,
        };
        Ok(Proxies::with_own(&own, variables))
    }

    /// The first line of a file.
    fn password(&self, file: Option<&Path>) -> Result<Secret, FileError> {
        let Some(file) = file else {
            return Ok(Secret::new(""));
        };
        let file = self.beside(file);
        let text = read_text(&file)?;
        let text = text.ok_or_else(|| FileError::new(&file, "there is no such file"))?;
        Ok(Secret::new(text.lines().next().unwrap_or_default()))
    }

    fn beside(&self, file: &Path) -> PathBuf {
        self.path
            .parent()
            .unwrap_or_else(|| Path::new(""))
            .join(file)
    }
}

fn route(scope: &RouteScope, section: &MirrorSection, rule: String) -> Result<Route, String> {
    let references = match section.references {
        MirrorReferences::All => References::All,
        MirrorReferences::WithDigest => References::WithDigest,
        MirrorReferences::WithoutDigest => References::WithoutDigest,
    };
    let capabilities = Capabilities::READ.only(references);
    let headers = section.header.iter().map(|(name, value)| {
        let header = RequestHeader::new(name, Secret::new(value.0.clone()));
        header.map_err(|error| error.to_string())
    });
    let headers = headers.collect::<Result<Vec<_>, _>>()?;
    let endpoints = section.url.iter().map(|Location { origin, path }| {
        let mut endpoint = Endpoint::mirror(origin.clone()).with_capabilities(capabilities);
        endpoint = endpoint.with_prefix(match path {
            Some(path) => Prefix::Replaced(path.clone()),
            None if scope.to_string().contains('/') => Prefix::Removed,
            None => Prefix::Kept,
        });
        if section.ns {
            endpoint = endpoint.with_ns();
        }
        for header in &headers {
            endpoint = endpoint.with_header(header.clone());
        }
        endpoint
    });
    let endpoints: Vec<Endpoint> = endpoints.collect();
    if endpoints.is_empty() {
        return Err("needs a url".to_owned());
    }
    let mode = match section.mode {
        MirrorMode::Prefer => Mode::Prefer,
        MirrorMode::Replace => Mode::Replace,
    };
    Ok(Route::new(scope.clone(), rule, mode, endpoints))
}

#[cfg(test)]
mod tests;
