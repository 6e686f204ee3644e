//! What a machine's files mean for one reference: which of them were read, where the image is fetched from, with
//! which credential, and by which rule.
//!
//! Responsible for telling it without secrets. Must not know formats of files.

use std::fmt;
use std::path::{Path, PathBuf};

use windlass_core::config::{Contact, RegistryKind};
use windlass_core::credential::Access;
use windlass_core::{Config, Reference};

use crate::credentials::Explanation;
use crate::hosts::{Fact, Plan};
use crate::{CredentialSearch, Proxies, ProxyChoice};

/// What applies to a reference on a machine. Its `Display` has a line for each fact.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReferenceExplanation {
    /// The reference.
    pub reference: Reference,
    /// The rule that says where it is: the file and the entry in it. `None`: at its registry.
    pub rule: Option<String>,
    /// Files and folders that were looked for, and whether they are there.
    pub files: Vec<(PathBuf, bool)>,
    /// Where it is read from, in the order in which that is tried; why it is not contacted, if it is blocked.
    pub sources: Result<Vec<SourceExplanation>, String>,
    /// Where it is pushed to: `origin/repository`, or why nothing is.
    pub destination: Result<String, String>,
    /// How the credential for pushes is found, if it is another one than for reading.
    pub write_credential: Option<Explanation>,
}

/// A server that has a reference, or a mirror of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SourceExplanation {
    /// `scheme://host[:port]`, the path of its API if that is not `/v2`, and the repository.
    pub url: String,
    /// Whether it is a mirror.
    pub is_mirror: bool,
    /// What it is asked for: `tags`, `content`.
    pub capabilities: Vec<&'static str>,
    /// The names of the headers that are added to requests.
    pub headers: Vec<String>,
    /// How its credential is found. Secrets are masked.
    pub credential: Explanation,
    /// The token services on other hosts that may get the credential.
    pub realms: Vec<String>,
    /// Which kind of registry it is taken for.
    pub kind: Option<RegistryKind>,
    /// The settings for single registries that are for it, the closest first.
    pub settings: Vec<String>,
    /// TLS material and limits of its own, with what says so; why they cannot be used.
    pub tls: Result<Vec<Fact>, String>,
    /// Which way it is reached.
    pub proxy: ProxyChoice,
}

/// Explains a reference. `plan` is for this reference, and `config` has the plan's routes. Runs credential helpers,
/// and contacts no server.
pub fn explain(
    reference: &Reference,
    config: &Config,
    plan: &Plan,
    credentials: &CredentialSearch,
    proxies: &Proxies,
) -> ReferenceExplanation {
    let source =
        |contact: &Contact| SourceExplanation::new(contact, config, plan, credentials, proxies);
    let planned = plan.planned().iter().find(|it| it.reference == *reference);
    ReferenceExplanation {
        reference: reference.clone(),
        rule: planned.and_then(|planned| planned.rule.clone()),
        files: plan
            .looked()
            .map(|(path, is_there)| (path.to_path_buf(), is_there))
            .collect(),
        sources: match config.sources(reference) {
            Ok(contacts) => Ok(contacts.iter().map(source).collect()),
            Err(why) => Err(why.to_string()),
        },
        write_credential: match config.destination(reference) {
            Ok(contact) if contact.separate_writes => {
                let (registry, repository) = (&contact.registry, &contact.repository);
                Some(credentials.explain_for(Access::Write, registry, Some(repository)))
            }
            Ok(_) | Err(_) => None,
        },
        destination: match config.destination(reference) {
            Ok(contact) => Ok(url(&contact)),
            Err(why) => Err(why.to_string()),
        },
    }
}

impl SourceExplanation {
    fn new(
        contact: &Contact,
        config: &Config,
        plan: &Plan,
        credentials: &CredentialSearch,
        proxies: &Proxies,
    ) -> Self {
        let asked = [
            ("tags", contact.capabilities.resolve),
            ("content", contact.capabilities.pull),
        ];
        let key = contact.registry.credential_key();
        let mut trusted = config.trusted_realms.iter();
        let realms = trusted
            .by_ref()
            .filter(|(registry, _)| registry.credential_key() == key);
        Self {
            url: url(contact),
            is_mirror: contact.is_mirror,
            capabilities: asked
                .into_iter()
                .filter_map(|(what, is_asked)| is_asked.then_some(what))
                .collect(),
            headers: contact
                .headers
                .iter()
                .map(|header| header.name().to_owned())
                .collect(),
            credential: credentials.explain_for(
                if contact.separate_writes {
                    Access::Read
                } else {
                    Access::Any
                },
                &contact.registry,
                Some(&contact.repository),
            ),
            kind: config.kind(&contact.registry),
            settings: config
                .settings(&contact.registry)
                .map(|settings| settings.rule.clone())
                .collect(),
            realms: realms.map(|(_, realm)| realm.to_string()).collect(),
            tls: match plan.facts(&contact.origin) {
                Ok(facts) => Ok(facts.to_vec()),
                Err(why) => Err(why.to_string()),
            },
            proxy: proxies.explain(&contact.origin),
        }
    }
}

fn url(contact: &Contact) -> String {
    format!("{}{}/{}", contact.origin, contact.api, contact.repository)
}

impl fmt::Display for ReferenceExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.reference.registry().is_docker_hub() {
            true => " (Docker Hub)",
            false => "",
        };
        writeln!(f, "reference: {}{name}", self.reference)?;
        writeln!(f, "rule: {}", self.rule.as_deref().unwrap_or("none"))?;
        for (path, is_there) in &self.files {
            writeln!(
                f,
                "{}: {}",
                if *is_there { "read" } else { "not there" },
                shown(path)
            )?;
        }
        match &self.sources {
            Err(why) => writeln!(f, "read from: nowhere: {why}")?,
            Ok(sources) => {
                for (at, source) in sources.iter().enumerate() {
                    writeln!(f, "read from, {}: {}", at + 1, source.url)?;
                    source.fmt_facts(f)?;
                }
            }
        }
        match &self.destination {
            Ok(url) => write!(f, "push to: {url}")?,
            Err(why) => write!(f, "push to: nowhere: {why}")?,
        }
        let own = self.write_credential.iter();
        for line in own.flat_map(|it| {
            it.to_string()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        }) {
            write!(f, "\n  credential: {line}")?;
        }
        Ok(())
    }
}

impl SourceExplanation {
    fn fmt_facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.is_mirror { "mirror" } else { "registry" };
        writeln!(f, "  {role} for {}", self.capabilities.join(" and "))?;
        if let Some(kind) = self.kind {
            writeln!(f, "  taken for {}", kind.habits().name)?;
        }
        for rule in &self.settings {
            writeln!(f, "  settings: {rule}")?;
        }
        for name in &self.headers {
            writeln!(f, "  header {name}: ***")?;
        }
        for line in self.credential.to_string().lines() {
            writeln!(f, "  credential: {line}")?;
        }
        for realm in &self.realms {
            writeln!(f, "  token service: {realm}")?;
        }
        match &self.tls {
            Ok(facts) => {
                for fact in facts {
                    writeln!(f, "  {} ({})", fact.what, fact.from)?;
                }
            }
            Err(why) => writeln!(f, "  cannot be contacted: {why}")?,
        }
        writeln!(f, "  {}", self.proxy)
    }
}

fn shown(path: &Path) -> String {
    windlass_core::sanitize::escape(&path.display().to_string(), 4096)
}
