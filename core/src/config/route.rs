//! Routes: where the repositories of a registry are contacted, and which are blocked.
//!
//! Responsible for the rules. They come from files such as containerd's `hosts.toml` and podman's
//! `registries.conf`, or from the API. Must not know these files, nor what a rule means for one
//! reference (`contact`).
//!
//! # Example: a mirror of Docker Hub
//!
//! ```
//! use windlass_core::config::{Config, Endpoint, Mode, Route};
//!
//! let mirror = Endpoint::mirror("https://mirror.example".parse()?).with_ns();
//! let mut config = Config::default();
//! config.routes.push(Route::new("docker.io".parse()?, "my.toml: [hub]", Mode::Prefer, vec![mirror]));
//!
//! let contacts = config.sources(&"docker.io/library/alpine:3".parse()?)?;
//! let origins: Vec<_> = contacts.iter().map(|it| it.origin.to_string()).collect();
//! assert_eq!(origins, ["https://mirror.example", "https://registry-1.docker.io"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ApiPath, RequestHeader};
use crate::reference::{ReferenceError, Repository};
use crate::registry::{Origin, Registry};

/// A rule: how the repositories in its scope are contacted, or that they are blocked.
///
/// Of the routes of a [`Config`](super::Config) the one with the longest scope applies, the first of several with the
/// same (HOSTS-42).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Route {
    /// What it applies to.
    pub scope: RouteScope,
    /// Where it was written, for errors: the file and the entry in it.
    pub rule: String,
    /// What it says.
    pub action: RouteAction,
}

impl Route {
    /// A route to these endpoints, which are tried in their order.
    pub fn new(
        scope: RouteScope,
        rule: impl Into<String>,
        mode: Mode,
        endpoints: Vec<Endpoint>,
    ) -> Self {
        Self {
            scope,
            rule: rule.into(),
            action: RouteAction::Endpoints { mode, endpoints },
        }
    }

    /// A route that blocks everything in its scope.
    pub fn blocked(scope: RouteScope, rule: impl Into<String>) -> Self {
        Self {
            scope,
            rule: rule.into(),
            action: RouteAction::Blocked,
        }
    }
}

/// What a route says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum RouteAction {
    /// Every task that reads from or writes to the scope fails before its first request, with
    /// [`RouteError::Blocked`](super::RouteError::Blocked).
    Blocked,
    /// These endpoints are contacted.
    Endpoints {
        /// Whether the registry itself is contacted for reading if it is not among the endpoints.
        mode: Mode,
        /// In the order in which they are tried.
        endpoints: Vec<Endpoint>,
    },
}

/// Whether the registry itself is read from although a route does not list it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Mode {
    /// After the endpoints of the route.
    #[default]
    Prefer,
    /// Never: nothing is read from anywhere but the endpoints of the route. Pushes go to the registry
    /// all the same.
    Replace,
}

/// The registries and repositories that a route applies to.
///
/// Written as a registry (`docker.io`), a registry and the first components of repositories
/// (`reg.example:5000/team`), a domain of which all hosts below are meant (`*.example.com`), or `*` for
/// every registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteScope(Scope);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Scope {
    Every,
    /// The hosts below this domain, in lower case.
    Below(Arc<str>),
    Registry(Registry, Option<Repository>),
}

impl RouteScope {
    /// Every registry.
    pub const EVERY: Self = Self(Scope::Every);

    /// A registry, or its repositories with this name or below it.
    pub const fn registry(registry: Registry, prefix: Option<Repository>) -> Self {
        Self(Scope::Registry(registry, prefix))
    }

    /// The first components of the repositories that it applies to.
    pub(super) const fn prefix(&self) -> Option<&Repository> {
        match &self.0 {
            Scope::Registry(_, prefix) => prefix.as_ref(),
            Scope::Every | Scope::Below(_) => None,
        }
    }

    /// How closely it describes a repository, if that is in it: a registry before a domain, then the
    /// longest.
    pub(super) fn rank(&self, registry: &Registry, repository: &Repository) -> Option<(u8, usize)> {
        match &self.0 {
            Scope::Every => Some((0, 0)),
            Scope::Below(domain) => {
                let host = registry.host().to_ascii_lowercase();
                let below = host.strip_suffix(&**domain)?;
                (below.len() > 1 && below.ends_with('.')).then_some((1, domain.len()))
            }
            Scope::Registry(name, _) if name.credential_key() != registry.credential_key() => None,
            Scope::Registry(_, None) => Some((2, 0)),
            Scope::Registry(_, Some(prefix)) => {
                below(repository, prefix).map(|_| (2, prefix.as_str().len()))
            }
        }
    }
}

/// The rest of a repository's name below a prefix, which ends at a `/` or at the end (HOSTS-42).
pub(super) fn below<'a>(repository: &'a Repository, prefix: &Repository) -> Option<&'a str> {
    let rest = repository.as_str().strip_prefix(prefix.as_str())?;
    match rest.strip_prefix('/') {
        Some(rest) => Some(rest),
        None => rest.is_empty().then_some(""),
    }
}

impl fmt::Display for RouteScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Scope::Every => f.write_str("*"),
            Scope::Below(domain) => write!(f, "*.{domain}"),
            Scope::Registry(registry, None) => registry.fmt(f),
            Scope::Registry(registry, Some(prefix)) => write!(f, "{registry}/{prefix}"),
        }
    }
}

impl FromStr for RouteScope {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text == "*" {
            return Ok(Self::EVERY);
        }
        if let Some(domain) = text.strip_prefix("*.") {
            // A host below it is a registry, so the domain is one with anything before it.
            let below: Registry = format!("x.{domain}").parse()?;
            if below.port().is_some() {
                return Err(ReferenceError::Port);
            }
            return Ok(Self(Scope::Below(domain.to_ascii_lowercase().into())));
        }
        let (registry, prefix) = match text.split_once('/') {
            Some((registry, prefix)) => (registry, Some(prefix.parse()?)),
            None => (text, None),
        };
        Ok(Self(Scope::Registry(registry.parse()?, prefix)))
    }
}

/// A server that is contacted for the repositories of a route, and how.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Endpoint {
    /// Whether it is the registry itself.
    pub role: Role,
    /// Where it is. The registry itself may have none here: then its own address counts, see
    /// [`Config::origin`](super::Config::origin).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What is before the name of a repository in the path of a request.
    #[serde(default)]
    pub api: ApiPath,
    /// What becomes of the first components of a repository's name.
    #[serde(default)]
    pub prefix: Prefix,
    /// What it is asked for.
    pub capabilities: Capabilities,
    /// Headers of every request to this origin. Not sent where a redirect leads, nor to token services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<RequestHeader>,
    /// Whether requests to a mirror have the query `ns=` with the registry's name (HOSTS-04).
    #[serde(default)]
    pub ns: bool,
    /// Whether the registry itself at another address has the credentials of that address, and not those of
    /// the name that leads there (HTTP-27). Mirrors always have their own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own_credentials: bool,
}

/// For serde.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes it like this"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Endpoint {
    /// A mirror. Its credentials are those of its own host, never the registry's (CRED-46), and nothing
    /// is pushed to it. Without `ns=`, for everything but pushes.
    pub fn mirror(origin: Origin) -> Self {
        Self {
            role: Role::Mirror,
            origin: Some(origin),
            api: ApiPath::default(),
            prefix: Prefix::Kept,
            capabilities: Capabilities::READ,
            headers: Vec::new(),
            ns: false,
            own_credentials: false,
        }
    }

    /// The registry itself, at its own address.
    pub fn upstream() -> Self {
        Self {
            role: Role::Upstream,
            origin: None,
            api: ApiPath::default(),
            prefix: Prefix::Kept,
            capabilities: Capabilities::ALL,
            headers: Vec::new(),
            ns: false,
            own_credentials: false,
        }
    }

    /// At another address. The registry keeps its credentials there, unless
    /// [`with_own_credentials`](Self::with_own_credentials) says otherwise.
    #[must_use]
    pub fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// With the credentials of its address. Files that lead from one name to another mean this: the user
    /// has logged in to the host that is contacted.
    #[must_use]
    pub const fn with_own_credentials(mut self) -> Self {
        self.own_credentials = true;
        self
    }

    /// With `ns=` in its requests.
    #[must_use]
    pub const fn with_ns(mut self) -> Self {
        self.ns = true;
        self
    }

    /// With its API below this path.
    #[must_use]
    pub fn with_api(mut self, api: ApiPath) -> Self {
        self.api = api;
        self
    }

    /// With other names of repositories.
    #[must_use]
    pub fn with_prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// For these requests.
    #[must_use]
    pub const fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, header: RequestHeader) -> Self {
        self.headers.push(header);
        self
    }
}

/// Whether an endpoint is the registry itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Role {
    /// The registry itself, perhaps at another address: it has the registry's credentials, and takes
    /// pushes.
    Upstream,
    /// Another registry, with credentials of its own, that is only read from. One at the registry's own
    /// origin counts as the registry.
    Mirror,
}

/// What becomes of the first components of a repository's name at an endpoint: those that the route's
/// scope names, or none.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Prefix {
    /// They stay.
    #[default]
    Kept,
    /// They are left out.
    Removed,
    /// These are in their place. `team/app` in the scope `reg.example/team` becomes `mirror/app` with
    /// `mirror`; in the scope `reg.example` it becomes `mirror/team/app`.
    Replaced(Repository),
}

/// What an endpoint is asked for (HOSTS-03).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Capabilities {
    /// Content by its digest.
    pub pull: bool,
    /// What a tag stands for.
    pub resolve: bool,
    /// To store content. Mirrors are never asked for that.
    pub push: bool,
    /// Which references it is used for at all.
    pub references: References,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self {
        push: true,
        ..Self::READ
    };

    /// Everything but to store content.
    pub const READ: Self = Self {
        resolve: true,
        ..Self::PULL
    };

    /// Content by its digest, and nothing else.
    pub const PULL: Self = Self {
        pull: true,
        ..Self::NONE
    };

    /// Nothing.
    pub const NONE: Self = Self {
        pull: false,
        resolve: false,
        push: false,
        references: References::All,
    };

    /// For such references only.
    #[must_use]
    pub const fn only(mut self, references: References) -> Self {
        self.references = references;
        self
    }
}

/// Which references a mirror is used for: `pull-from-mirror` of `registries.conf` (HOSTS-41).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum References {
    /// All.
    #[default]
    All,
    /// Those with a digest.
    WithDigest,
    /// Those without a digest.
    WithoutDigest,
}

impl References {
    pub(super) const fn includes(self, has_digest: bool) -> bool {
        match self {
            Self::All => true,
            Self::WithDigest => has_digest,
            Self::WithoutDigest => !has_digest,
        }
    }
}

#[cfg(test)]
mod tests;
