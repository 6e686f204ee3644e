//! Routes and host rules out of the files of others.
//!
//! Responsible for what an entry of a file means as a [`Route`] of the core, and for what it says about TLS.
//! Must not know which of several entries counts.

use std::collections::BTreeMap;

use windlass_core::config::{Capabilities, Endpoint, Mode, Prefix, References, Route, RouteScope};
use windlass_core::reference::{ReferenceError, Repository};
use windlass_core::{Config, Origin, Reference, Registry, Scheme};

use super::containerd::{HostEntry, HostsToml, origins};
use super::probe::Probe;
use super::registries::{MirrorPulls, RegistryEntry};
use super::rule::{HostRule, SourcedRule};

/// A route, and what its file says about the hosts in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) route: Option<Route>,
    pub(crate) hosts: Vec<(Origin, SourcedRule)>,
}

/// The route of a `hosts.toml` for a registry: the hosts in the order of the file, then the `server` (HOSTS-01 to
/// HOSTS-04, HOSTS-08).
///
/// `own` is where the registry itself is.
pub(crate) fn of_containerd(file: &HostsToml, registry: &Registry, own: &Origin) -> Found {
    let mut found = Found::default();
    let mut endpoints = Vec::new();
    for host in &file.hosts {
        let by = format!("{}, [host.\"{}\"]", file.path.display(), host.url.origin);
        for origin in origins(&host.url.origin, host) {
            found.hosts.push((origin.clone(), said(host, &by)));
            let mirror = Endpoint::mirror(origin).with_ns();
            endpoints.push(dressed(mirror, host, false));
        }
    }
    let server = &file.server;
    let by = file.path.display().to_string();
    let named = if file.has_server {
        &server.url.origin
    } else {
        own
    };
    for origin in origins(named, server) {
        found.hosts.push((origin.clone(), said(server, &by)));
        let upstream = if origin == *own {
            Endpoint::upstream()
        } else {
            Endpoint::upstream().at(origin).with_own_credentials()
        };
        endpoints.push(dressed(upstream, server, true));
    }
    let scope = RouteScope::registry(registry.clone(), None);
    found.route = Some(Route::new(scope, by, Mode::Replace, endpoints));
    found
}

/// What is asked of a host, with what headers, below which path.
fn dressed(endpoint: Endpoint, host: &HostEntry, may_push: bool) -> Endpoint {
    let granted = host.capabilities;
    let mut capabilities = Capabilities::NONE;
    (capabilities.pull, capabilities.resolve) = (granted.pull, granted.resolve);
    capabilities.push = granted.push && may_push;
    let mut endpoint = endpoint
        .with_capabilities(capabilities)
        .with_api(host.url.api.clone());
    for header in &host.headers {
        endpoint = endpoint.with_header(header.clone());
    }
    endpoint
}

fn said(host: &HostEntry, by: &str) -> SourcedRule {
    SourcedRule {
        rule: HostRule {
            ca: host.ca.clone(),
            clients: host.client.clone(),
            skip_verify: host.skip_verify,
            connect: host.dial_timeout,
            ..HostRule::default()
        },
        by: by.to_owned(),
    }
}

/// The route of a `[[registry]]`, and what it says about its hosts (HOSTS-41 to HOSTS-43).
///
/// # Errors
///
/// If a name in it is none that references can have.
pub(crate) fn of_registries(
    entry: &RegistryEntry,
    reference: &Reference,
    config: &Config,
    probe: Option<&Probe>,
) -> Result<Found, String> {
    let registry = reference.registry();
    let own = config.origin(registry);
    let rule = format!(
        "{}:{}, [[registry]] {}",
        entry.path.display(),
        entry.line,
        entry.prefix
    );
    let wrong = |error| format!("{rule}: {error}");
    let path = entry.prefix.split_once('/').map(|(_, path)| path);
    let scope = if entry.prefix.starts_with("*.") {
        // For this host alone: its address is in the route.
        RouteScope::registry(registry.clone(), None)
    } else if path.is_some_and(|path| path.contains([':', '@'])) {
        // A tag or a digest of one repository.
        RouteScope::registry(registry.clone(), Some(reference.repository().clone()))
    } else {
        let scope = entry.prefix.parse();
        scope.map_err(|error: ReferenceError| wrong(error.to_string()))?
    };
    if entry.blocked {
        return Ok(Found {
            route: Some(Route::blocked(scope, rule)),
            hosts: Vec::new(),
        });
    }
    let mut found = Found::default();
    let mut endpoints = Vec::new();
    let has_path = path.is_some();
    for mirror in &entry.mirrors {
        let place = RegistryPrefix::parse(&mirror.location, config).map_err(wrong)?;
        let by = format!("{rule}, mirror {}", mirror.location);
        let references = match mirror.pulls {
            MirrorPulls::All => References::All,
            MirrorPulls::DigestOnly => References::WithDigest,
            MirrorPulls::TagOnly => References::WithoutDigest,
        };
        for origin in place.origins(mirror.insecure, probe) {
            found.insecure(mirror.insecure, &origin, &by);
            let capabilities = Capabilities::READ.only(references);
            endpoints.push(
                Endpoint::mirror(origin)
                    .with_prefix(place.prefix(has_path))
                    .with_capabilities(capabilities),
            );
        }
    }
    // Another name for the same registry is no other place.
    let moved = entry.location.as_ref().filter(|it| **it != entry.prefix);
    let place = match moved {
        Some(location) => RegistryPrefix::parse(location, config).map_err(wrong)?,
        None => RegistryPrefix {
            origin: own.clone(),
            path: None,
        },
    };
    for origin in place.origins(entry.insecure, probe) {
        found.insecure(entry.insecure, &origin, &rule);
        let upstream = Endpoint::upstream();
        endpoints.push(match moved {
            Some(_) => upstream
                .at(origin)
                .with_own_credentials()
                .with_prefix(place.prefix(has_path)),
            None if origin == own => upstream,
            None => upstream.at(origin),
        });
    }
    found.route = Some(Route::new(scope, rule, Mode::Replace, endpoints));
    Ok(found)
}

impl Found {
    /// What the rule for a reference says about each host, in the order of its file. Without a rule, nothing
    /// is said about the registry.
    pub(crate) fn by_origin(
        self,
        reference: &Reference,
        own: Origin,
    ) -> BTreeMap<Origin, Vec<SourcedRule>> {
        let mut by_origin = BTreeMap::<Origin, Vec<SourcedRule>>::new();
        if self.route.is_none() {
            let said = SourcedRule {
                rule: HostRule::default(),
                by: format!("what no file says for {}", reference.registry()),
            };
            by_origin.insert(own, vec![said]);
        }
        for (origin, said) in self.hosts {
            by_origin.entry(origin).or_default().push(said);
        }
        by_origin
    }

    /// What `insecure` says about a host.
    fn insecure(&mut self, is_insecure: bool, origin: &Origin, by: &str) {
        let rule = HostRule {
            skip_verify: (is_insecure && origin.scheme() == Scheme::Https).then_some(true),
            ..HostRule::default()
        };
        let by = by.to_owned();
        self.hosts.push((origin.clone(), SourcedRule { rule, by }));
    }
}

/// A location: a registry, and what repositories there begin with.
struct RegistryPrefix {
    origin: Origin,
    path: Option<Repository>,
}

impl RegistryPrefix {
    fn parse(location: &str, config: &Config) -> Result<Self, String> {
        let (host, path) = match location.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (location, None),
        };
        let named = |error: ReferenceError| format!("location {location}: {error}");
        let registry: Registry = host.parse().map_err(named)?;
        Ok(Self {
            origin: config.origin(&registry),
            path: path.map(str::parse).transpose().map_err(named)?,
        })
    }

    /// Where it is tried: an insecure one with TLS that is not verified, then without, unless it is known
    /// which of both it speaks.
    fn origins(&self, is_insecure: bool, probe: Option<&Probe>) -> Vec<Origin> {
        let origin = &self.origin;
        if !is_insecure || *origin == Registry::docker_hub().origin() {
            return vec![origin.clone()];
        }
        let [secure, plain] =
            [Scheme::Https, Scheme::Http].map(|scheme| origin.with_scheme(scheme));
        match probe.and_then(|probe| probe.scheme(&secure)) {
            Some(Scheme::Https) => vec![secure],
            Some(Scheme::Http) => vec![plain],
            None => vec![secure, plain],
        }
    }

    /// What becomes of the prefix that names a path, or of the host alone.
    fn prefix(&self, has_path: bool) -> Prefix {
        match &self.path {
            Some(path) => Prefix::Replaced(path.clone()),
            None if has_path => Prefix::Removed,
            None => Prefix::Kept,
        }
    }
}
