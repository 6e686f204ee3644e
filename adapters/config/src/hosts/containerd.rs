//! containerd's `hosts.toml` (HOSTS-01 to HOSTS-09).
//!
//! Responsible for the folder of a registry and for one file's meaning, as containerd has it. Where it differs:
//! a file that cannot be parsed is an error (HOSTS-06), and so is a file whose `server` is not a URL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;
use windlass_core::config::{RequestHeader, RequestHeaderError};
use windlass_core::credential::Secret;
use windlass_core::{Origin, Registry, Scheme};

use super::url::ApiUrl;
use crate::document::{FileError, Finding, Section, Source, is_absent, read_text};
use crate::duration;

/// The folder that containerd reads on most machines; where it exists, it is read without being named.
pub const HOSTS_DIR: &str = "/etc/containerd/certs.d";

/// The file in each folder.
const FILE: &str = "hosts.toml";

/// The folder for registries that have none.
const DEFAULT: &str = "_default";

/// What a host may be asked for. By digest, only `pull` is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Content by digest.
    pub pull: bool,
    /// What a tag stands for.
    pub resolve: bool,
    /// Uploads.
    pub push: bool,
    /// Lists of referrers.
    pub referrers: bool,
}

impl Capabilities {
    /// All of them: the default.
    pub const ALL: Self = Self {
        pull: true,
        resolve: true,
        push: true,
        referrers: true,
    };

    const NONE: Self = Self {
        pull: false,
        resolve: false,
        push: false,
        referrers: false,
    };
}

/// A host of a file, or its upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostEntry {
    /// Where its API is.
    pub url: ApiUrl,
    /// What it may be asked for.
    pub capabilities: Capabilities,
    /// Certificate authorities, files in PEM or DER form. Added to the others.
    pub ca: Vec<PathBuf>,
    /// Client certificates with their keys; the key may be in the file of the certificate.
    pub client: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether its certificate is not verified.
    pub skip_verify: Option<bool>,
    /// Headers that every request to it has. Their values may be secret, and are not printed.
    pub headers: Vec<RequestHeader>,
    /// How long a connection may take to be made.
    pub dial_timeout: Option<Duration>,
    /// The line it begins at.
    pub line: usize,
}

impl HostEntry {
    /// Whether a field is set that only TLS has a use for.
    pub fn has_tls(&self) -> bool {
        self.skip_verify.is_some() || !self.ca.is_empty() || !self.client.is_empty()
    }
}

/// A file, read.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostsToml {
    /// The file.
    pub path: PathBuf,
    /// The hosts, in the order of the file.
    pub hosts: Vec<HostEntry>,
    /// What is asked after all hosts, with the fields at the top of the file. It has no URL of its own if the
    /// file does not name a `server`: then it is the registry itself, with all capabilities (HOSTS-02).
    pub server: HostEntry,
    /// Whether the file names a `server`.
    pub has_server: bool,
    /// What is in the file and not read.
    pub findings: Vec<Finding>,
}

/// The folders to look for, below a root: the first that exists counts, and no other (HOSTS-09: Docker Hub's is
/// `docker.io`).
pub fn folders(registry: &Registry) -> Vec<String> {
    let host = registry.host().to_ascii_lowercase();
    let mut names = match registry.port() {
        _ if registry.is_docker_hub() => vec!["docker.io".to_owned()],
        Some(port) => vec![format!("{host}_{port}_"), format!("{host}:{port}")],
        None => vec![host],
    };
    names.push(DEFAULT.to_owned());
    names
}

/// The file in a folder. `None` if there is none, or it is empty: the folder holds certificates then, as
/// Docker's do (HOSTS-06).
///
/// # Errors
///
/// If it cannot be read, or its content is invalid.
pub fn read(folder: &Path, registry: &Registry) -> Result<Option<HostsToml>, FileError> {
    let path = folder.join(FILE);
    match read_text(&path)? {
        Some(text) if !text.trim().is_empty() => parse(&path, &text, registry).map(Some),
        Some(_) | None => Ok(None),
    }
}

/// Whether there is a folder at this path.
///
/// # Errors
///
/// If that cannot be found out.
pub(crate) fn is_folder(path: &Path) -> Result<bool, FileError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(FileError::unreadable(path, &error)),
    }
}

/// The meaning of a file's text for a registry.
///
/// # Errors
///
/// If its content is invalid.
pub fn parse(path: &Path, text: &str, registry: &Registry) -> Result<HostsToml, FileError> {
    const TOP: [&str; 2] = ["server", "host"];
    let source = Source { path, text };
    let root = source.parse()?;
    let top = Section::root(source, &root);
    let mut findings = Vec::new();
    let server = top.string("server")?.filter(|url| !url.value.is_empty());
    let (url, has_server) = match server {
        Some(url) => {
            let is_whole = top.boolean("override_path")?.unwrap_or_default();
            let parsed = ApiUrl::parse(url.value, is_whole);
            (parsed.map_err(|why| top.error(url.at, why))?, true)
        }
        None => (ApiUrl::of(registry.origin()), false),
    };
    let mut server = fields(&top, url, &mut findings)?;
    if !has_server {
        server.capabilities = Capabilities::ALL;
    }
    let unread = |section: &Section<'_>, more: &[&str]| -> Vec<Finding> {
        let known = [&FIELDS[..], more].concat();
        let unknown = section.unknown(&known);
        // containerd ignores them silently.
        let told = unknown.iter().map(|key| section.unread(key, false));
        told.collect()
    };
    findings.extend(unread(&top, &TOP));
    let mut hosts = Vec::new();
    let named = match top.section("host")? {
        Some(named) => named.named_sections()?,
        None => Vec::new(),
    };
    for (name, section) in named {
        let is_whole = section.boolean("override_path")?.unwrap_or_default();
        let url = ApiUrl::parse(name.value, is_whole);
        let url = url.map_err(|why| section.error(name.at.clone(), why))?;
        let mut host = fields(&section, url, &mut findings)?;
        host.line = source.position(name.at.start).line;
        hosts.push(host);
        findings.extend(unread(&section, &[]));
    }
    Ok(HostsToml {
        path: path.to_owned(),
        hosts,
        server,
        has_server,
        findings,
    })
}

/// The keys of a host, and of the top of a file.
const FIELDS: [&str; 7] = [
    "capabilities",
    "ca",
    "client",
    "skip_verify",
    "header",
    "override_path",
    "dial_timeout",
];

fn fields(
    section: &Section<'_>,
    url: ApiUrl,
    findings: &mut Vec<Finding>,
) -> Result<HostEntry, FileError> {
    let beside = |file: &str| {
        let folder = section
            .source()
            .path
            .parent()
            .unwrap_or_else(|| Path::new(""));
        folder.join(file)
    };
    let ca = section.one_or_more("ca")?;
    let timeout = section.string("dial_timeout")?;
    let timeout = timeout.map(|text| {
        let limit = duration::parse(text.value);
        limit.map_err(|why| section.error(text.at, format!("dial_timeout is {why}")))
    });
    Ok(HostEntry {
        url,
        capabilities: capabilities(section)?,
        ca: ca.iter().map(|file| beside(file.value)).collect(),
        client: client(section, &beside)?,
        skip_verify: section.boolean("skip_verify")?,
        headers: headers(section, findings)?,
        // containerd takes no time at all for its default.
        dial_timeout: timeout.transpose()?.filter(|limit| !limit.is_zero()),
        line: section.source().position(section.at().start).line,
    })
}

fn capabilities(section: &Section<'_>) -> Result<Capabilities, FileError> {
    let Some(names) = section.strings("capabilities")? else {
        return Ok(Capabilities::ALL);
    };
    if names.is_empty() {
        return Ok(Capabilities::ALL);
    }
    let mut granted = Capabilities::NONE;
    for name in names {
        match name.value {
            "pull" => granted.pull = true,
            "resolve" => granted.resolve = true,
            "push" => granted.push = true,
            "referrers" => granted.referrers = true,
            _ => {
                let what = "unknown capability: expected pull, resolve, push or referrers";
                return Err(section.error(name.at, what));
            }
        }
    }
    Ok(granted)
}

/// `"file"`, `["file", …]` or `[["certificate", "key"], …]`.
fn client(
    section: &Section<'_>,
    beside: &impl Fn(&str) -> PathBuf,
) -> Result<Vec<(PathBuf, Option<PathBuf>)>, FileError> {
    const WHAT: &str = "client must be a file, a list of files or a list of [certificate, key]";
    let Some(value) = section.value("client") else {
        return Ok(Vec::new());
    };
    if let Some(file) = value.get_ref().as_str() {
        return Ok(vec![(beside(file), None)]);
    }
    let Some(list) = value.get_ref().as_array() else {
        return Err(section.error(value.span(), WHAT));
    };
    let pair = |item: &toml::Spanned<DeValue<'_>>| {
        let wrong = || section.error(item.span(), WHAT);
        if let Some(file) = item.get_ref().as_str() {
            return Ok((beside(file), None));
        }
        let pair = item.get_ref().as_array().ok_or_else(wrong)?;
        let texts: Vec<_> = pair.iter().map(|text| text.get_ref().as_str()).collect();
        match texts[..] {
            // containerd's second one may be empty.
            [Some(certificate), Some("")] => Ok((beside(certificate), None)),
            [Some(certificate), Some(key)] => Ok((beside(certificate), Some(beside(key)))),
            _ => Err(wrong()),
        }
    };
    list.iter().map(pair).collect()
}

/// Headers that the protocol needs cannot be set: they are left out, and that is a warning.
fn headers(
    section: &Section<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Vec<RequestHeader>, FileError> {
    let Some(table) = section.section("header")? else {
        return Ok(Vec::new());
    };
    let mut headers = Vec::new();
    for (key, _) in table.entries() {
        for text in table.one_or_more(key.value)? {
            match RequestHeader::new(key.value, Secret::new(text.value)) {
                Ok(header) => headers.push(header),
                Err(RequestHeaderError::Reserved { .. }) => findings.push(Finding {
                    what: format!("header {:?} cannot be set, ignored", key.value),
                    is_warning: true,
                    ..table.unread(&key, true)
                }),
                // SEC-14: a line break would begin another header.
                Err(error) => return Err(table.error(key.at.clone(), error.to_string())),
            }
        }
    }
    Ok(headers)
}

/// The origins that a host at this one is tried at: `http` with fields for TLS is tried with TLS first, on the same
/// port (HOSTS-08).
pub(crate) fn origins(origin: &Origin, host: &HostEntry) -> Vec<Origin> {
    if origin.scheme() == Scheme::Http && host.has_tls() {
        let secure = Origin::new(Scheme::Https, origin.host(), origin.port());
        let secure = secure.expect("its host and port are those of an origin");
        return vec![secure, origin.clone()];
    }
    vec![origin.clone()]
}

#[cfg(test)]
mod tests;
