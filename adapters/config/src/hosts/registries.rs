//! `registries.conf` (HOSTS-40 to HOSTS-45), version 2, as podman, skopeo and cri-o read it.
//!
//! Responsible for what a drop-in replaces, and for which entry is for a reference. Must not know where the files
//! are (`files`), nor how an entry is used.

mod files;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use windlass_core::sanitize::escape;
use windlass_core::{Origin, Reference};

pub use self::files::RegistriesFiles;
use crate::document::{FileError, Finding, Section, Source};

/// The file, its drop-ins, and what they say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RegistriesConf {
    /// The files that were read, in the order in which they replace each other.
    pub files: Vec<PathBuf>,
    /// `[[registry]]` by prefix.
    pub registries: BTreeMap<String, RegistryEntry>,
    /// `credential-helpers`: where credentials come from, in this order. `containers-auth.json` stands for
    /// the files of podman.
    pub credential_helpers: Option<Vec<String>>,
    /// `unqualified-search-registries`. Not searched: `alpine` is always Docker Hub's (HOSTS-44).
    pub unqualified_search: Vec<String>,
    /// `[aliases]`: short names and the full ones that they stand for, without a tag. Used only where
    /// asked for, see [`alias`](Self::alias).
    pub aliases: BTreeMap<String, String>,
    /// What is in the files and not read.
    pub findings: Vec<Finding>,
}

/// A `[[registry]]`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RegistryEntry {
    /// The references that it is for: a host, perhaps with a path, or `*.example.com`.
    pub prefix: String,
    /// What replaces the prefix. `None` for `*.example.com` without a location: the host stays.
    pub location: Option<String>,
    /// Whether TLS is not verified, and plain HTTP allowed where there is no TLS.
    pub insecure: bool,
    /// Whether nothing may be pulled from it or pushed to it.
    pub blocked: bool,
    /// What is asked first, for pulls, in this order.
    pub mirrors: Vec<MirrorEntry>,
    /// The file.
    pub path: PathBuf,
    /// The line it begins at.
    pub line: usize,
}

/// A `[[registry.mirror]]`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MirrorEntry {
    /// What replaces the prefix.
    pub location: String,
    /// Whether TLS is not verified, and plain HTTP allowed where there is no TLS.
    pub insecure: bool,
    /// Which pulls it is for.
    pub pulls: MirrorPulls,
}

/// Which pulls a mirror is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum MirrorPulls {
    /// All of them.
    #[default]
    All,
    /// Those by digest.
    DigestOnly,
    /// Those by tag.
    TagOnly,
}

impl RegistryEntry {
    /// What follows the prefix in a name (`host[:port]/repository`), if it is for that name: a prefix ends
    /// at `/`, `:`, `@` or the end. For `*.example.com` it is what follows the host without its port.
    fn rest<'n>(&self, name: &'n str) -> Option<&'n str> {
        let rest = match self.prefix.strip_prefix('*') {
            // `.example.com`, below any number of names.
            Some(suffix) => {
                let host = name.split(['/', ':', '@']).next().unwrap_or(name);
                let below = host.strip_suffix(suffix)?;
                if below.is_empty() {
                    return None;
                }
                &name[host.len()..]
            }
            None => name.strip_prefix(self.prefix.as_str())?,
        };
        (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(rest)
    }

    /// The name that the location has instead of `name`.
    pub fn located(&self, name: &str) -> Option<String> {
        self.replaced(name, self.location.as_deref())
    }

    /// The name that a mirror has instead of `name`.
    pub fn mirrored(&self, name: &str, mirror: &MirrorEntry) -> Option<String> {
        self.replaced(name, Some(&mirror.location))
    }

    fn replaced(&self, name: &str, location: Option<&str>) -> Option<String> {
        let rest = self.rest(name)?;
        Some(match location {
            Some(location) => format!("{location}{rest}"),
            None => name.to_owned(),
        })
    }
}

impl RegistriesConf {
    /// The meaning of one file's text.
    ///
    /// # Errors
    ///
    /// If it is invalid.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let mut conf = Self::default();
        conf.add(path, text)?;
        Ok(conf)
    }

    /// Adds a file, whose entries replace those with the same prefix, and whose lists replace the lists.
    fn add(&mut self, path: &Path, text: &str) -> Result<(), FileError> {
        let source = Source { path, text };
        let root = source.parse()?;
        let top = Section::root(source, &root);
        let mut findings = unread(&top, &TOP);
        if let Some(old) = top.section("registries")? {
            if let Some(new) = top.value("registry") {
                let what = "[registries] is of version 1 and excludes [[registry]]";
                return Err(top.error(new.span(), what));
            }
            self.add_version_1(&old)?;
        }
        let mut seen = BTreeMap::new();
        for section in top.sections("registry")? {
            let entry = entry(&section, &mut findings)?;
            if seen.insert(entry.prefix.clone(), ()).is_some() {
                let what = "another [[registry]] has the same prefix";
                return Err(section.error(section.at(), what));
            }
            self.registries.insert(entry.prefix.clone(), entry);
        }
        let texts = |key: &str| -> Result<Option<Vec<String>>, FileError> {
            let texts = top.strings(key)?;
            let owned = |texts: Vec<_>| texts.iter().map(owned).collect();
            Ok(texts.map(owned))
        };
        if let Some(helpers) = texts("credential-helpers")? {
            self.credential_helpers = Some(helpers);
        }
        if let Some(registries) = texts("unqualified-search-registries")? {
            self.unqualified_search = registries;
        }
        if let Some(aliases) = top.section("aliases")? {
            for (name, _) in aliases.entries() {
                let value = aliases.string(name.value)?;
                match value.map(|value| value.value).unwrap_or_default() {
                    // An empty one takes an earlier one away.
                    "" => drop(self.aliases.remove(name.value)),
                    value => drop(self.aliases.insert(name.value.into(), value.into())),
                }
            }
        }
        self.files.push(path.to_owned());
        self.findings.extend(findings);
        Ok(())
    }

    /// What files of version 1 say: lists of registries that are insecure, blocked, or searched.
    fn add_version_1(&mut self, old: &Section<'_>) -> Result<(), FileError> {
        for kind in ["insecure", "block", "search"] {
            let Some(section) = old.section(kind)? else {
                continue;
            };
            for text in section.strings("registries")?.unwrap_or_default() {
                let host = text.value.trim_end_matches('/').to_ascii_lowercase();
                if kind == "search" {
                    self.unqualified_search.push(host);
                    continue;
                }
                let line = old.source().position(text.at.start).line;
                let entry = self.registries.entry(host.clone());
                let entry = entry.or_insert_with(|| RegistryEntry {
                    prefix: host.clone(),
                    location: Some(host),
                    insecure: false,
                    blocked: false,
                    mirrors: Vec::new(),
                    path: old.source().path.to_owned(),
                    line,
                });
                entry.insecure |= kind == "insecure";
                entry.blocked |= kind == "block";
            }
        }
        Ok(())
    }

    /// The entry for a reference: the one with the longest prefix that matches (HOSTS-42).
    pub fn entry(&self, reference: &Reference) -> Option<&RegistryEntry> {
        let name = name(reference);
        let entries = self.registries.values();
        let matching = entries.filter(|entry| entry.rest(&name).is_some());
        matching.max_by_key(|entry| entry.prefix.len())
    }

    /// The reference that a short name (`fedora`, `fedora:40`) stands for by `[aliases]`. `None` for a name
    /// that has none, or that names a registry.
    ///
    /// # Errors
    ///
    /// If its alias is no name of a repository with its registry: it must not be read as another one.
    pub fn alias(&self, short: &str) -> Result<Option<Reference>, AliasError> {
        let end = short.find('@').or_else(|| {
            let path = short.rfind('/').map_or(0, |slash| slash + 1);
            short[path..].find(':').map(|colon| path + colon)
        });
        let (name, rest) = short.split_at(end.unwrap_or(short.len()));
        let Some(full) = self.aliases.get(name).filter(|_| !has_registry(name)) else {
            return Ok(None);
        };
        let wrong = |why: String| AliasError {
            alias: escape(name, 255),
            why,
        };
        if !has_registry(full) {
            return Err(wrong("it has no registry".to_owned()));
        }
        let reference: Result<Reference, _> = format!("{full}{rest}").parse();
        reference
            .map(Some)
            .map_err(|error| wrong(error.to_string()))
    }
}

/// Why an alias of a short name cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the alias of {alias} in registries.conf is invalid: {why}")]
pub struct AliasError {
    alias: String,
    why: String,
}

/// Whether a name begins with a registry (REF-07).
fn has_registry(name: &str) -> bool {
    let is_registry = |first: &str| {
        let marks = |char: char| matches!(char, '.' | ':') || char.is_ascii_uppercase();
        first == "localhost" || first.contains(marks)
    };
    name.split_once('/')
        .is_some_and(|(first, _)| is_registry(first))
}

/// The name that prefixes are compared with: `host[:port]/repository[:tag]` or with `@digest`; Docker Hub is always
/// `docker.io`.
pub(crate) fn name(reference: &Reference) -> String {
    let (registry, repository) = (reference.registry(), reference.repository());
    let host = if registry.is_docker_hub() {
        "docker.io".to_owned()
    } else {
        registry.as_str().to_ascii_lowercase()
    };
    let target = match (reference.tag(), reference.digest()) {
        (_, Some(digest)) => format!("@{digest}"),
        (Some(tag), None) => format!(":{tag}"),
        (None, None) => String::new(),
    };
    format!("{host}/{repository}{target}")
}

const TOP: [&str; 9] = [
    "registry",
    "credential-helpers",
    "unqualified-search-registries",
    "short-name-mode",
    "aliases",
    "additional-layer-store-auth-helper",
    "registries",
    // Read by cri-o and older versions, and of no meaning here.
    "location",
    "version",
];

const REGISTRY: [&str; 7] = [
    "prefix",
    "location",
    "insecure",
    "blocked",
    "mirror-by-digest-only",
    "mirror",
    "pull-from-mirror",
];

const MIRROR: [&str; 3] = ["location", "insecure", "pull-from-mirror"];

/// The format's owner warns of keys that it does not know.
fn unread(section: &Section<'_>, known: &[&str]) -> Vec<Finding> {
    let unknown = section.unknown(known);
    unknown
        .iter()
        .map(|key| section.unread(key, true))
        .collect()
}

fn owned(text: &crate::document::Located<&str>) -> String {
    text.value.to_owned()
}

fn entry(section: &Section<'_>, findings: &mut Vec<Finding>) -> Result<RegistryEntry, FileError> {
    findings.extend(unread(section, &REGISTRY));
    let location = location(section, "location")?;
    let prefix = location_of(section, "prefix", Wildcard::Allowed)?;
    let wrong = |what: &str| Err(section.error(section.at(), what));
    let (prefix, location) = match (prefix, location) {
        (None, None) => return wrong("[[registry]] needs a location or a prefix"),
        (None, Some(location)) => (location.clone(), Some(location)),
        (Some(prefix), None) if !prefix.starts_with("*.") => {
            return wrong("[[registry]] needs a location, unless its prefix begins with \"*.\"");
        }
        (Some(prefix), location) => (prefix, location),
    };
    if let Some(value) = section.value("pull-from-mirror") {
        let what = "pull-from-mirror belongs into [[registry.mirror]]";
        return Err(section.error(value.span(), what));
    }
    let by_digest = section
        .boolean("mirror-by-digest-only")?
        .unwrap_or_default();
    let mirrors = section.sections("mirror")?;
    let mirrors = mirrors.iter().map(|mirror| {
        findings.extend(unread(mirror, &MIRROR));
        mirror_entry(mirror, by_digest)
    });
    Ok(RegistryEntry {
        prefix,
        location,
        mirrors: mirrors.collect::<Result<_, _>>()?,
        insecure: section.boolean("insecure")?.unwrap_or_default(),
        blocked: section.boolean("blocked")?.unwrap_or_default(),
        path: section.source().path.to_owned(),
        line: section.source().position(section.at().start).line,
    })
}

fn mirror_entry(section: &Section<'_>, by_digest: bool) -> Result<MirrorEntry, FileError> {
    let Some(location) = location(section, "location")? else {
        let what = "[[registry.mirror]] needs a location";
        return Err(section.error(section.at(), what));
    };
    let pulls = section.string("pull-from-mirror")?;
    let pulls = match pulls.filter(|pulls| !pulls.value.is_empty()) {
        None if by_digest => MirrorPulls::DigestOnly,
        None => MirrorPulls::All,
        Some(pulls) if by_digest => {
            let what = "pull-from-mirror excludes mirror-by-digest-only of the registry";
            return Err(section.error(pulls.at, what));
        }
        Some(pulls) => match pulls.value {
            "all" => MirrorPulls::All,
            "digest-only" => MirrorPulls::DigestOnly,
            "tag-only" => MirrorPulls::TagOnly,
            _ => {
                let what = "pull-from-mirror must be all, digest-only or tag-only";
                return Err(section.error(pulls.at, what));
            }
        },
    };
    Ok(MirrorEntry {
        location,
        insecure: section.boolean("insecure")?.unwrap_or_default(),
        pulls,
    })
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Wildcard {
    Allowed,
    Refused,
}

fn location(section: &Section<'_>, key: &str) -> Result<Option<String>, FileError> {
    location_of(section, key, Wildcard::Refused)
}

/// `host[:port][/path]`, for a prefix also `*.host`. An empty one counts as none.
fn location_of(
    section: &Section<'_>,
    key: &str,
    wildcard: Wildcard,
) -> Result<Option<String>, FileError> {
    let Some(text) = section.string(key)? else {
        return Ok(None);
    };
    let location = text.value.trim_end_matches('/');
    if location.is_empty() {
        return Ok(None);
    }
    let wrong = |at: Range<usize>, what: &str| Err(section.error(at, format!("{key} {what}")));
    if location.contains("://") {
        // HOSTS-45.
        return wrong(text.at, "must not have a scheme: write host[:port][/path]");
    }
    if let Some(below) = location.strip_prefix("*.") {
        if wildcard == Wildcard::Refused {
            return wrong(text.at, "must not begin with \"*.\"");
        }
        if below.contains(['/', ':', '@', '*']) || below.is_empty() {
            return wrong(
                text.at,
                "with \"*.\" must be a host without a port or a path",
            );
        }
        return Ok(Some(location.to_ascii_lowercase()));
    }
    let (host, path) = location.split_once('/').unwrap_or((location, ""));
    let is_host = format!("https://{host}").parse::<Origin>().is_ok();
    let is_path = |path: &str| {
        let is_inner =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/:@".contains(&b);
        path.bytes().all(is_inner) && !path.split('/').any(|part| matches!(part, "." | ".." | ""))
    };
    if path.contains([':', '@']) && wildcard == Wildcard::Refused {
        return wrong(text.at, "must not have a tag or a digest");
    }
    if !is_host || !(path.is_empty() || is_path(path)) {
        return wrong(text.at, "must be host[:port][/path]");
    }
    let host = host.to_ascii_lowercase();
    Ok(Some(match path {
        "" => host,
        path => format!("{host}/{path}"),
    }))
}

#[cfg(test)]
mod tests;
