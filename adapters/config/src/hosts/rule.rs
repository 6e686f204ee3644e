//! What one source says about how a host is reached, and how several of them become one.
//!
//! Responsible for which source wins, field by field, and for reading certificates and keys. Must not know
//! the formats of files that say it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::{Origin, Registry, Scheme};
use windlass_driver::{Authorities, HostSettings};

use crate::document::FileError;
use crate::trust::{self, TrustError};

/// A host by name, as people write it: `host[:port]`. Without a port it is at the default port of its scheme.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HostName(Registry);

impl HostName {
    /// The origins that it names: one for TLS and one without.
    pub(crate) fn origins(&self) -> Vec<Origin> {
        let (name, port) = (&self.0, self.0.port());
        if name.is_docker_hub() {
            return vec![name.origin()];
        }
        let at = |scheme: Scheme| {
            let port = port.unwrap_or_else(|| scheme.default_port());
            Origin::new(scheme, name.host(), port).ok()
        };
        [at(Scheme::Https), at(Scheme::Http)]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl From<Registry> for HostName {
    fn from(registry: Registry) -> Self {
        Self(registry)
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let registry = text.parse::<Registry>();
        let registry = registry.map_err(|_| "expected a host as in references, host[:port]");
        Ok(Self(registry?))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one source says about how a host is reached. What it does not say, the next one may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostRule {
    /// Files with certificate authorities, PEM or DER.
    pub ca: Vec<PathBuf>,
    /// Whether those are trusted alone. Otherwise they are added to the client's.
    pub only_ca: bool,
    /// Client certificates with their chains, and their keys; the key may be in the file of the certificate. The
    /// server is shown the first that is issued by an authority that it names, otherwise the first.
    pub clients: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether the server's certificate is verified.
    pub skip_verify: Option<bool>,
    /// The name that the server is asked for and must prove to have, instead of the host's.
    pub server_name: Option<String>,
    /// How long a connection may take to be made.
    pub connect: Option<Duration>,
}

impl HostRule {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule and who says it, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SourcedRule {
    pub(crate) rule: HostRule,
    pub(crate) by: String,
}

/// Why the certificates or keys of a host cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{by}: {why}")]
pub struct RuleError {
    by: String,
    why: String,
}

impl From<FileError> for RuleError {
    fn from(error: FileError) -> Self {
        Self {
            by: error.path().display().to_string(),
            why: error.reason().to_owned(),
        }
    }
}

/// One setting of a host, and where it comes from. For [`explain`](super::Plan::facts): files and names, no
/// secrets.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Fact {
    /// The setting.
    pub what: String,
    /// The file, option or entry that says it.
    pub from: String,
}

/// How a host is reached, and why.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) settings: Arc<HostSettings>,
    pub(crate) facts: Vec<Fact>,
}

/// Files that were read: a bundle may be named for many hosts.
pub(crate) type Bundles = BTreeMap<PathBuf, Result<Vec<Vec<u8>>, String>>;

/// Merges what several sources say about a host, the most important first: each field is that of the first source
/// that has it.
pub(crate) fn merge(said: &[SourcedRule], bundles: &mut Bundles) -> Result<Reached, RuleError> {
    let mut settings = HostSettings::default();
    let mut facts = Vec::new();
    let mut fact = |what: String, said: &SourcedRule| {
        let from = said.by.clone();
        facts.push(Fact { what, from });
    };
    if let Some(it) = said.iter().find(|it| !it.rule.ca.is_empty()) {
        let mut own = Vec::new();
        for file in &it.rule.ca {
            own.extend(bundle(file, it, bundles)?);
            let alone = if it.rule.only_ca { "only " } else { "" };
            fact(
                format!("{alone}certificate authorities of {}", file.display()),
                it,
            );
        }
        settings.authorities = if it.rule.only_ca {
            Authorities::Only(own)
        } else {
            Authorities::Also(own)
        };
    }
    if let Some(it) = said.iter().find(|it| !it.rule.clients.is_empty()) {
        for (certificate, key) in &it.rule.clients {
            let identity = trust::identity(certificate, key.as_deref());
            settings = settings.identity(identity.map_err(|error| refused(it, &error))?);
            let key = key.as_deref().unwrap_or(certificate);
            let files = [certificate, key].map(Path::display);
            fact(
                format!("client certificate {}, key {}", files[0], files[1]),
                it,
            );
        }
    }
    if let Some(it) = said.iter().find(|it| it.rule.skip_verify.is_some())
        && it.rule.skip_verify == Some(true)
    {
        settings = settings.skip_verification();
        fact("certificate not verified".to_owned(), it);
    }
    if let Some(it) = said.iter().find(|it| it.rule.server_name.is_some())
        && let Some(name) = &it.rule.server_name
    {
        settings = settings.server_name(name.clone());
        fact(format!("server name {name}"), it);
    }
    if let Some(it) = said.iter().find(|it| it.rule.connect.is_some())
        && let Some(limit) = it.rule.connect
    {
        settings = settings.connect(limit);
        fact(format!("connections within {limit:?}"), it);
    }
    Ok(Reached {
        settings: Arc::new(settings),
        facts,
    })
}

fn bundle(
    file: &Path,
    said: &SourcedRule,
    bundles: &mut Bundles,
) -> Result<Vec<Vec<u8>>, RuleError> {
    let read = || trust::certificates(file).map_err(|error| error.to_string());
    let found = bundles.entry(file.to_owned()).or_insert_with(read).clone();
    found.map_err(|why| RuleError {
        by: said.by.clone(),
        why,
    })
}

fn refused(said: &SourcedRule, error: &TrustError) -> RuleError {
    RuleError {
        by: said.by.clone(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(by: &str, rule: HostRule) -> SourcedRule {
        SourcedRule {
            rule,
            by: by.to_owned(),
        }
    }

    #[test]
    fn a_name_is_for_its_port() {
        let of = |text: &str| {
            let name: HostName = text.parse().expect("a name");
            let origins: Vec<_> = name.origins().iter().map(ToString::to_string).collect();
            origins.join(" ")
        };
        assert_eq!(of("r.example"), "https://r.example http://r.example");
        assert_eq!(
            of("r.example:5000"),
            "https://r.example:5000 http://r.example:5000"
        );
        assert_eq!(
            of("localhost:5000"),
            "https://localhost:5000 http://localhost:5000"
        );
        assert_eq!(of("docker.io"), "https://registry-1.docker.io");
        for bad in ["", "https://r.example", "r.example/x", "u:s3cret@r.example"] {
            let error = bad.parse::<HostName>().expect_err(bad);
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn each_field_is_that_of_the_first_source_that_has_it() {
        let first = HostRule {
            skip_verify: Some(false),
            connect: Some(Duration::from_secs(1)),
            ..HostRule::default()
        };
        let second = HostRule {
            skip_verify: Some(true),
            connect: Some(Duration::from_secs(2)),
            server_name: Some("r.example".to_owned()),
            ..HostRule::default()
        };
        let all = [said("one", first), said("two", second.clone())];
        let reached = merge(&all, &mut Bundles::new()).expect("no files");
        assert!(!reached.settings.is_unverified());
        assert_eq!(reached.settings.connect, Some(Duration::from_secs(1)));
        let facts: Vec<_> = reached
            .facts
            .iter()
            .map(|it| format!("{}: {}", it.from, it.what))
            .collect();
        assert_eq!(
            facts,
            ["two: server name r.example", "one: connections within 1s"]
        );
        let reached = merge(&[said("two", second)], &mut Bundles::new()).expect("no files");
        assert!(reached.settings.is_unverified());
    }

    #[test]
    fn errors_name_the_source_and_the_file() {
        let missing = PathBuf::from("/nonexistent/ca.pem");
        let ca = HostRule {
            ca: vec![missing.clone()],
            ..HostRule::default()
        };
        let client = HostRule {
            clients: vec![(missing, None)],
            ..HostRule::default()
        };
        for rule in [ca, client] {
            let error = merge(&[said("hosts.toml", rule)], &mut Bundles::new());
            let error = error.expect_err("no file").to_string();
            assert!(error.starts_with("hosts.toml: cannot read "), "{error}");
            assert!(error.contains("/nonexistent/ca.pem"), "{error}");
        }
    }
}
