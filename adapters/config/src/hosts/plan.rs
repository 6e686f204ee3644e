//! The plan of a client: routes and hosts for the references that it is used for.
//!
//! Responsible for which rule counts for a reference, and for reading what is needed, once. Must not know
//! formats.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use windlass_core::config::{Route, RouteAction};
use windlass_core::{Config, Origin, Reference, Registry, Scheme};
use windlass_driver::{HostSelector, HostSettings};

use super::certs::{self, Certificates, Manner};
use super::containerd::{self, is_folder};
use super::registries::RegistriesConf;
use super::route::{Found, of_containerd, of_registries};
use super::rule::{Bundles, Fact, HostRule, Reached, RuleError, SourcedRule, merge};
use super::{HostName, HostsOptions};
use crate::document::{FileError, Finding};
use crate::file::ConfigFile;

/// How registries are reached on this machine.
///
/// ```no_run
/// use windlass_config::hosts::{Hosts, HostsOptions};
///
/// let options = HostsOptions::from_variables(|name| std::env::var_os(name))?;
/// let mut config = windlass_core::Config::default();
/// let plan = Hosts::new(options).plan(&["alpine:3.20".parse()?], &config)?;
/// config.routes = plan.routes().to_vec();
/// // Beside the configuration, a client gets `Arc::new(plan)` as its hosts.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hosts {
    options: HostsOptions,
    file: Option<Arc<ConfigFile>>,
}

/// What was found for some references: routes for a client's configuration, and how hosts are reached.
///
/// A client with this plan may be asked for other references, too: they go to their registries, reached as
/// `certs.d` and the caller say.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    routes: Vec<Route>,
    planned: Vec<Planned>,
    hosts: BTreeMap<Origin, Result<Reached, RuleError>>,
    looked: Vec<(PathBuf, bool)>,
    findings: Vec<Finding>,
    credential_helpers: Vec<String>,
}

/// Which rule counts for a reference.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Planned {
    /// The reference.
    pub reference: Reference,
    /// The file and the entry in it. `None` if nothing is said: the registry itself is contacted.
    pub rule: Option<String>,
    /// The hosts that are contacted first, in their order.
    pub origins: Vec<Origin>,
}

/// Why no plan can be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HostsError {
    /// A file that is needed cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate or key that is needed cannot be used.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// An entry of a file names something that cannot be contacted.
    #[error("{0}")]
    Entry(String),
    /// Two registries' files say different things about one host.
    #[error("{one} and {other} reach {origin} in different ways")]
    Conflict {
        /// The host.
        origin: Origin,
        /// A file.
        one: String,
        /// Another one.
        other: String,
    },
}

impl Hosts {
    /// What these options say. Reads nothing yet.
    pub const fn new(options: HostsOptions) -> Self {
        Self {
            options,
            file: None,
        }
    }

    /// With windlass' own file, which comes before all files of others.
    #[must_use]
    pub fn with_file(mut self, file: Arc<ConfigFile>) -> Self {
        self.file = Some(file);
        self
    }

    /// The plan for these references, whose registries are at the endpoints of `config`. Reads the folders of
    /// the registries, `registries.conf`, and the certificates of their hosts and of those in `certs.d`.
    ///
    /// # Errors
    ///
    /// If a file that one of the references needs cannot be used: its position is in the error. What is
    /// broken and for other hosts is reported when such a host is contacted.
    pub fn plan(&self, references: &[Reference], config: &Config) -> Result<Plan, HostsError> {
        let mut plan = Plan::default();
        let mut said = BTreeMap::<Origin, Vec<SourcedRule>>::new();
        self.add_own(&mut said);
        let registries = self.registries(&mut plan)?;
        let mut ruled = BTreeMap::<Origin, Vec<SourcedRule>>::new();
        let mut folders = Vec::new();
        for reference in references {
            let own = config.origin(reference.registry());
            let registries = registries.as_ref();
            let found = self.find(reference, config, registries, &mut folders, &mut plan)?;
            plan.add(reference, &own, found.route.clone());
            for (origin, new) in found.by_origin(reference, own) {
                match ruled.get(&origin) {
                    // Windlass' own file, or the caller, has the last word anyway.
                    Some(old) if !said.contains_key(&origin) => agree(&origin, old, &new)?,
                    Some(_) | None => drop(ruled.insert(origin, new)),
                }
            }
        }
        for (origin, rules) in ruled {
            said.entry(origin).or_default().extend(rules);
        }
        for (origin, rule) in folders {
            said.entry(origin).or_default().push(rule);
        }
        let broken = self.add_certs(&mut said, &mut plan)?;
        plan.reach(said, broken);
        plan.check()?;
        Ok(plan)
    }

    /// What the caller and windlass' own file say about hosts.
    fn add_own(&self, said: &mut BTreeMap<Origin, Vec<SourcedRule>>) {
        let mut add = |name: &HostName, rule: &HostRule, by: String| {
            for origin in name.origins() {
                let rule = rule.clone();
                let by = by.clone();
                said.entry(origin)
                    .or_default()
                    .push(SourcedRule { rule, by });
            }
        };
        for (name, (rule, by)) in &self.options.hosts {
            add(name, rule, by.clone());
        }
        for (name, rule) in self.file.iter().flat_map(|file| file.hosts()) {
            let path = self
                .file
                .as_ref()
                .map_or_else(|| Path::new(""), |file| file.path());
            add(name, rule, format!("{}, [host.\"{name}\"]", path.display()));
        }
    }

    fn registries(&self, plan: &mut Plan) -> Result<Option<RegistriesConf>, FileError> {
        let Some(files) = &self.options.registries else {
            return Ok(None);
        };
        let read = files.read()?;
        if !read.files.contains(&files.file) {
            plan.looked.push((files.file.clone(), false));
        }
        let looked = read.files.iter().map(|file| (file.clone(), true));
        plan.looked.extend(looked);
        plan.findings.extend(read.findings.iter().cloned());
        let helpers = read.credential_helpers.clone();
        plan.credential_helpers = helpers.unwrap_or_default();
        Ok(Some(read))
    }

    /// The rule for a reference.
    fn find(
        &self,
        reference: &Reference,
        config: &Config,
        registries: Option<&RegistriesConf>,
        folders: &mut Vec<(Origin, SourcedRule)>,
        plan: &mut Plan,
    ) -> Result<Found, HostsError> {
        let (registry, repository) = (reference.registry(), reference.repository());
        let place = config.origin(registry);
        let own = self
            .file
            .as_ref()
            .and_then(|file| file.mirror(registry, repository));
        if let Some(route) = own {
            return Ok(Found {
                route: Some(route),
                hosts: Vec::new(),
            });
        }
        let (named, default) = self.folder(registry, plan)?;
        if let Some(folder) = named
            && let Some(found) = tree(&folder, registry, &place, folders, plan)?
        {
            return Ok(found);
        }
        if let Some(entry) = registries.and_then(|it| it.entry(reference)) {
            let probe = self.options.probe.as_ref();
            let found = of_registries(entry, reference, config, probe);
            return found.map_err(HostsError::Entry);
        }
        if let Some(folder) = default
            && let Some(found) = tree(&folder, registry, &place, folders, plan)?
        {
            return Ok(found);
        }
        Ok(Found::default())
    }

    /// The folder of a registry in containerd's tree, and the one for all registries, if the registry has
    /// none.
    fn folder(
        &self,
        registry: &Registry,
        plan: &mut Plan,
    ) -> Result<(Option<PathBuf>, Option<PathBuf>), FileError> {
        let Some(tree) = &self.options.hosts_dir else {
            return Ok((None, None));
        };
        let mut folders = containerd::folders(registry);
        let default = folders.pop();
        for name in folders {
            let folder = tree.join(name);
            let is_there = is_folder(&folder)?;
            plan.looked.push((folder.clone(), is_there));
            if is_there {
                return Ok((Some(folder), None));
            }
        }
        let default = default.map(|name| tree.join(name));
        let Some(folder) = default else {
            return Ok((None, None));
        };
        let is_there = is_folder(&folder)?;
        plan.looked.push((folder.clone(), is_there));
        Ok((None, is_there.then_some(folder)))
    }

    /// What `certs.d` has for each host. Returns the folders that cannot be used.
    fn add_certs(
        &self,
        said: &mut BTreeMap<Origin, Vec<SourcedRule>>,
        plan: &mut Plan,
    ) -> Result<BTreeMap<Origin, FileError>, FileError> {
        let mut broken = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (origin, folder) in certs::all(&self.options.cert_roots)? {
            if !seen.insert(origin.clone()) {
                continue;
            }
            plan.looked.push((folder.clone(), true));
            match Certificates::read(&folder, Manner::Docker) {
                Ok(found) => {
                    let rule = found.into_said(&folder);
                    said.entry(origin).or_default().extend(rule);
                }
                Err(error) => drop(broken.insert(origin, error)),
            }
        }
        Ok(broken)
    }
}

/// Checks that two references' rules say the same about a host.
fn agree(origin: &Origin, one: &[SourcedRule], other: &[SourcedRule]) -> Result<(), HostsError> {
    let rules = |said: &[SourcedRule]| -> Vec<HostRule> {
        let rules = said.iter().map(|said| said.rule.clone());
        rules.filter(|rule| !rule.is_empty()).collect()
    };
    if rules(one) == rules(other) {
        return Ok(());
    }
    let by = |said: &[SourcedRule]| {
        said.first()
            .map_or_else(String::new, |said| said.by.clone())
    };
    Err(HostsError::Conflict {
        origin: origin.clone(),
        one: by(one),
        other: by(other),
    })
}

/// The `hosts.toml` of a folder, or the certificates in it.
fn tree(
    folder: &Path,
    registry: &Registry,
    place: &Origin,
    folders: &mut Vec<(Origin, SourcedRule)>,
    plan: &mut Plan,
) -> Result<Option<Found>, FileError> {
    if let Some(file) = containerd::read(folder, registry)? {
        plan.findings.extend(file.findings.iter().cloned());
        return Ok(Some(of_containerd(&file, registry, place)));
    }
    let found = Certificates::read(folder, Manner::Containerd)?;
    let origin = place.with_scheme(Scheme::Https);
    folders.extend(found.into_said(folder).map(|said| (origin, said)));
    Ok(None)
}

impl Certificates {
    fn into_said(self, folder: &Path) -> Option<SourcedRule> {
        let rule = HostRule {
            clients: self.clients,
            ca: self.authorities,
            ..HostRule::default()
        };
        let by = folder.display().to_string();
        (!rule.is_empty()).then_some(SourcedRule { rule, by })
    }
}

impl Plan {
    fn add(&mut self, reference: &Reference, own: &Origin, route: Option<Route>) {
        let origins = match route.as_ref().map(|route| &route.action) {
            Some(RouteAction::Endpoints { endpoints, .. }) => {
                let origins = endpoints.iter().map(|it| it.origin.as_ref());
                origins
                    .map(|origin| origin.unwrap_or(own).clone())
                    .collect()
            }
            Some(RouteAction::Blocked | _) => Vec::new(),
            None => vec![own.clone()],
        };
        self.planned.push(Planned {
            reference: reference.clone(),
            rule: route.as_ref().map(|route| route.rule.clone()),
            origins,
        });
        let route = route.filter(|route| !self.routes.contains(route));
        self.routes.extend(route);
    }

    /// Reads the certificates that were named.
    fn reach(
        &mut self,
        said: BTreeMap<Origin, Vec<SourcedRule>>,
        mut broken: BTreeMap<Origin, FileError>,
    ) {
        let mut bundles = Bundles::new();
        for (origin, mut said) in said {
            said.retain(|said| !said.rule.is_empty());
            if said.is_empty() {
                continue;
            }
            let reached = match broken.remove(&origin) {
                Some(error) => Err(RuleError::from(error)),
                None => merge(&said, &mut bundles),
            };
            self.hosts.insert(origin, reached);
        }
        for (origin, error) in broken {
            self.hosts.insert(origin, Err(error.into()));
        }
    }

    /// Fails for what the references need.
    fn check(&self) -> Result<(), RuleError> {
        for origin in self.planned.iter().flat_map(|planned| &planned.origins) {
            if let Some(Err(error)) = self.hosts.get(origin) {
                return Err(error.clone());
            }
        }
        Ok(())
    }

    /// The routes, for [`Config::routes`](windlass_core::Config::routes).
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Which rule counts for each reference, in their order.
    pub fn planned(&self) -> &[Planned] {
        &self.planned
    }

    /// The files and folders that were looked for, and whether they are there.
    pub fn looked(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.looked
            .iter()
            .map(|(path, found)| (path.as_path(), *found))
    }

    /// What is in the files and not read.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// `credential-helpers` of `registries.conf`, for
    /// [`SearchOptions`](crate::SearchOptions::credential_helpers).
    pub fn credential_helpers(&self) -> &[String] {
        &self.credential_helpers
    }

    /// How a host is reached that has settings of its own, and which source says each of them.
    ///
    /// # Errors
    ///
    /// If its certificates or keys cannot be used.
    pub fn facts(&self, origin: &Origin) -> Result<&[Fact], RuleError> {
        match self.hosts.get(origin) {
            Some(Ok(reached)) => Ok(&reached.facts),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(&[]),
        }
    }
}

impl HostSelector for Plan {
    fn host(&self, origin: &Origin) -> Result<Option<Arc<HostSettings>>, String> {
        match self.hosts.get(origin) {
            Some(Ok(reached)) => Ok(Some(Arc::clone(&reached.settings))),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(None),
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("no rule");
        write!(f, "{}: {rule}", self.reference)
    }
}

#[cfg(test)]
mod tests;
