//! What the routes mean for one reference.
//!
//! Responsible for which route applies, and for the names and the order of its endpoints. Must not know
//! when the next endpoint is tried (`exchanges`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::route::below;
use super::{
    ApiPath, Capabilities, Config, Endpoint, Mode, Prefix, RequestHeader, Role, Route, RouteAction,
};
use crate::reference::{Reference, ReferenceError, Repository, Target};
use crate::registry::{Origin, Registry};

/// Where a repository is contacted: what a [`Route`] means for one reference.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct Contact {
    /// The name by which credentials are looked up and token services are judged: the registry's, or
    /// that of the mirror's host.
    pub registry: Registry,
    /// The server.
    pub origin: Origin,
    /// What is before the repository in the path.
    pub api: ApiPath,
    /// The repository's name there.
    pub repository: Repository,
    /// Whether it is a mirror.
    pub is_mirror: bool,
    /// The value of `ns=`, if it is sent.
    pub ns: Option<Registry>,
    /// What it is asked for.
    pub capabilities: Capabilities,
    /// Headers of requests to it.
    pub headers: Vec<RequestHeader>,
    /// Whether there are credentials for writing that differ from those for reading.
    pub separate_writes: bool,
}

impl Contact {
    /// A repository of a registry at an origin, of which nothing else is said.
    pub(crate) fn new(registry: Registry, origin: Origin, repository: Repository) -> Self {
        Self {
            registry,
            origin,
            api: ApiPath::default(),
            repository,
            is_mirror: false,
            ns: None,
            capabilities: Capabilities::ALL,
            headers: Vec::new(),
            separate_writes: false,
        }
    }
}

/// Why a reference is not contacted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A rule blocks it.
    #[error("`{image}` is blocked by {rule}")]
    Blocked {
        /// The registry and the repository.
        image: String,
        /// The rule: the file and the entry in it.
        rule: String,
    },
    /// A rule leaves no endpoint for what is asked.
    #[error("`{image}`: {rule} has no endpoint that may be asked to {what}")]
    NoEndpoint {
        /// The registry and the repository.
        image: String,
        /// The rule: the file and the entry in it.
        rule: String,
        /// `pull`, `resolve` or `push`.
        what: &'static str,
    },
    /// The name of the repository at an endpoint would be none.
    #[error("`{image}`: the name that {rule} gives it at {origin} is invalid: {error}")]
    Repository {
        /// The registry and the repository.
        image: String,
        /// The rule: the file and the entry in it.
        rule: String,
        /// The endpoint.
        origin: Origin,
        /// What is wrong with the name.
        error: ReferenceError,
    },
}

/// A rule that applies: where it was written, its mode and its endpoints.
type Applied<'a> = (&'a str, Mode, &'a [Endpoint]);

impl Config {
    /// The address of a registry itself: from [`endpoints`](Self::endpoints), or its default.
    pub fn origin(&self, registry: &Registry) -> Origin {
        let is_hub_too = |name: &&Registry| name.is_docker_hub() && registry.is_docker_hub();
        let key = self.endpoints.keys().find(is_hub_too).unwrap_or(registry);
        let origin = self.endpoints.get(key).cloned();
        origin.unwrap_or_else(|| registry.origin())
    }

    /// The route that applies to a repository, if there is one.
    pub fn route(&self, registry: &Registry, repository: &Repository) -> Option<&Route> {
        let ranked = self.routes.iter().filter_map(|route| {
            let rank = route.scope.rank(registry, repository)?;
            Some((rank, route))
        });
        // The last of several maxima is the first route.
        let closest = ranked.rev().max_by_key(|(rank, _)| *rank);
        closest.map(|(_, route)| route)
    }

    /// Where a reference is read from, in the order in which it is tried. The registry itself alone if
    /// there is no route.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if it is blocked, if nothing may be asked for it, or if an endpoint's name of the
    /// repository is invalid.
    pub fn sources(&self, reference: &Reference) -> Result<Vec<Contact>, RouteError> {
        let found = self.applied(reference)?;
        let Some((rule, mode, endpoints)) = found else {
            return Ok(alloc::vec![self.itself(reference)]);
        };
        let has_digest = reference.digest().is_some();
        let mut sources = Vec::new();
        for endpoint in endpoints {
            if endpoint.capabilities.references.includes(has_digest) {
                sources.push(self.contact(rule, endpoint, reference)?);
            }
        }
        if mode == Mode::Prefer && sources.iter().all(|it| it.is_mirror) {
            sources.push(self.itself(reference));
        }
        if !sources.iter().any(|it| it.capabilities.pull) {
            return Err(no_endpoint(reference, rule, "pull"));
        }
        let is_by_tag = matches!(reference.target(), Target::Tag(_));
        if is_by_tag && !sources.iter().any(|it| it.capabilities.resolve) {
            return Err(no_endpoint(reference, rule, "resolve"));
        }
        Ok(sources)
    }

    /// Where content for a reference is pushed: the registry itself.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if it is blocked, or if the registry must not be asked to store something.
    pub fn destination(&self, reference: &Reference) -> Result<Contact, RouteError> {
        let contact = self.upstream(reference)?;
        match self.applied(reference)? {
            Some((rule, ..)) if !contact.capabilities.push => {
                Err(no_endpoint(reference, rule, "push"))
            }
            Some(_) | None => Ok(contact),
        }
    }

    /// The registry itself, as its route says.
    pub(crate) fn upstream(&self, reference: &Reference) -> Result<Contact, RouteError> {
        let Some((rule, _, endpoints)) = self.applied(reference)? else {
            return Ok(self.itself(reference));
        };
        let mut upstreams = endpoints.iter().filter(|it| it.role == Role::Upstream);
        match upstreams.next() {
            Some(upstream) => self.contact(rule, upstream, reference),
            None => Ok(self.itself(reference)),
        }
    }

    /// Where lists about a reference are read: at the registry itself, because those of a mirror are not its, unless
    /// the registry is replaced.
    ///
    /// # Errors
    ///
    /// As for [`sources`](Self::sources).
    pub(crate) fn lists(&self, reference: &Reference) -> Result<Contact, RouteError> {
        let sources = self.sources(reference)?;
        let own = sources.iter().position(|it| !it.is_mirror).unwrap_or(0);
        let chosen = sources.into_iter().nth(own);
        Ok(chosen.unwrap_or_else(|| self.itself(reference)))
    }

    /// Whether a registry itself may be contacted.
    ///
    /// # Errors
    ///
    /// [`RouteError::Blocked`].
    pub(crate) fn admits(&self, registry: &Registry) -> Result<(), RouteError> {
        match self.route(registry, &Repository::none()) {
            Some(route) if route.action == RouteAction::Blocked => Err(RouteError::Blocked {
                image: registry.to_string(),
                rule: route.rule.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// The registry itself, without a repository.
    pub(crate) fn address(&self, registry: &Registry) -> Contact {
        let none = Repository::none();
        let route = self.route(registry, &none);
        let contact = self.contact_at(registry.clone(), self.origin(registry), none);
        let endpoints = match route.map(|route| &route.action) {
            Some(RouteAction::Endpoints { endpoints, .. }) => endpoints.as_slice(),
            Some(RouteAction::Blocked) | None => &[],
        };
        let mut upstreams = endpoints.iter().filter(|it| it.role == Role::Upstream);
        let Some(upstream) = upstreams.next() else {
            return contact;
        };
        let mut headers = upstream.headers.clone();
        self.add_headers(registry, &mut headers);
        Contact {
            origin: upstream.origin.clone().unwrap_or(contact.origin),
            api: upstream.api.clone(),
            headers,
            ..contact
        }
    }

    /// The rule, mode and endpoints for a reference.
    fn applied(&self, reference: &Reference) -> Result<Option<Applied<'_>>, RouteError> {
        let Some(route) = self.route(reference.registry(), reference.repository()) else {
            return Ok(None);
        };
        match &route.action {
            RouteAction::Blocked => Err(RouteError::Blocked {
                image: image(reference),
                rule: route.rule.clone(),
            }),
            RouteAction::Endpoints { mode, endpoints } => Ok(Some((&route.rule, *mode, endpoints))),
        }
    }

    /// The registry itself, at its own address.
    pub(crate) fn itself(&self, reference: &Reference) -> Contact {
        let registry = reference.registry().clone();
        let origin = self.origin(&registry);
        self.contact_at(registry, origin, reference.repository().clone())
    }

    /// A repository of a registry at an origin, with what is configured for the registry.
    fn contact_at(&self, registry: Registry, origin: Origin, repository: Repository) -> Contact {
        let mut contact = Contact::new(registry, origin, repository);
        contact.separate_writes = self.has_separate_writes(&contact.registry);
        self.add_headers(&contact.registry, &mut contact.headers);
        contact
    }

    fn contact(
        &self,
        rule: &str,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<Contact, RouteError> {
        let itself = self.itself(reference);
        let origin = endpoint
            .origin
            .clone()
            .unwrap_or_else(|| itself.origin.clone());
        let is_mirror = endpoint.role == Role::Mirror && origin != itself.origin;
        let is_elsewhere = endpoint.own_credentials && origin != itself.origin;
        let registry = if is_mirror || is_elsewhere {
            Registry::at(&origin)
        } else {
            itself.registry.clone()
        };
        let scope = self.route(&itself.registry, &itself.repository);
        let prefix = scope.and_then(|route| route.scope.prefix());
        let renamed = endpoint.renamed(&itself.repository, prefix);
        let (api, repository) = renamed.map_err(|error| RouteError::Repository {
            image: image(reference),
            rule: rule.into(),
            origin: origin.clone(),
            error,
        })?;
        let mut headers = endpoint.headers.clone();
        self.add_headers(&registry, &mut headers);
        Ok(Contact {
            ns: (endpoint.ns && is_mirror).then_some(itself.registry),
            separate_writes: self.has_separate_writes(&registry),
            registry,
            origin,
            api,
            repository,
            is_mirror,
            capabilities: endpoint.capabilities,
            headers,
        })
    }
}

impl Endpoint {
    /// The path of its API and the name of a repository, of which the scope has `prefix`.
    fn renamed(
        &self,
        repository: &Repository,
        prefix: Option<&Repository>,
    ) -> Result<(ApiPath, Repository), ReferenceError> {
        let rest = match prefix.and_then(|prefix| below(repository, prefix)) {
            Some(rest) => rest,
            None => repository.as_str(),
        };
        let name = match &self.prefix {
            Prefix::Kept => repository.to_string(),
            Prefix::Removed => rest.into(),
            Prefix::Replaced(with) if rest.is_empty() => with.to_string(),
            Prefix::Replaced(with) => format!("{with}/{rest}"),
        };
        match self.api.repository() {
            // The same URL, and the scope that the token service expects.
            Some(within) => Ok((ApiPath::default(), format!("{within}/{name}").parse()?)),
            None => Ok((self.api.clone(), name.parse()?)),
        }
    }
}

fn image(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

fn no_endpoint(reference: &Reference, rule: &str, what: &'static str) -> RouteError {
    RouteError::NoEndpoint {
        image: image(reference),
        rule: rule.into(),
        what,
    }
}
