//! Which key of a file is for which registry or repository (CRED-05, CRED-06, CRED-08, CRED-42, CRED-43).
//!
//! Responsible for the spellings of a registry's name. Must not know what a key leads to.

use windlass_core::credential::TimedAnswer;
use windlass_core::reference::Repository;
use windlass_core::{Origin, Registry, Scheme};

use super::helper::Helpers;

/// The key of Docker Hub in docker's files, and the URL that helpers know it by.
pub(super) const HUB: &str = "https://index.docker.io/v1/";

/// A registry or repository to find credentials for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Docker's key for it: `host[:port]`, for Docker Hub a URL.
    pub(super) key: String,
    pub(super) is_docker_hub: bool,
    pub(super) repository: Option<&'a str>,
    /// The scheme of the credential's recipient.
    pub(super) scheme: Scheme,
    /// Whether the last answer is of no use any more.
    pub(super) again: bool,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(
        registry: &Registry,
        repository: Option<&'a Repository>,
        recipient: &Origin,
    ) -> Self {
        let is_docker_hub = registry.is_docker_hub();
        let mut key = registry.credential_key().as_str().to_owned();
        // REF-08: `docker.io:443` is another registry than Docker Hub.
        if !is_docker_hub && is_hub(&key) {
            key.push_str(":443");
        }
        Self {
            key,
            is_docker_hub,
            repository: repository.map(Repository::as_str),
            scheme: recipient.scheme(),
            again: false,
        }
    }

    /// The host with its port, in lower case.
    pub(super) fn host(&self) -> String {
        if self.is_docker_hub {
            return "docker.io".to_owned();
        }
        host_of(&self.key).to_ascii_lowercase()
    }

    /// What a helper has for it. `key` is the one that chose the helper.
    pub(super) fn ask(
        &self,
        helpers: &Helpers,
        name: &str,
        key: Option<&str>,
    ) -> Result<Option<TimedAnswer>, String> {
        let urls = self.helper_urls(key);
        match self.again {
            true => helpers.find_again(name, &urls),
            false => helpers.find(name, &urls),
        }
    }

    /// What a credential helper is asked for, in this order (CRED-27). `key` is the one that chose the
    /// helper: its host may be spelled in another way, for instance with `:443`.
    pub(super) fn helper_urls(&self, key: Option<&str>) -> Vec<String> {
        if self.is_docker_hub {
            // podman asks for the name that people write.
            return vec![HUB.to_owned(), "docker.io".to_owned()];
        }
        let host = self.host();
        let mut urls = vec![host.clone()];
        let spelled = key.map(host_of).filter(|it| *it != host);
        urls.extend(spelled.map(ToOwned::to_owned));
        urls.push(format!("https://{host}"));
        urls
    }

    /// What a logout erases in a helper: all that a tool may have kept there for the registry.
    pub(super) fn erased_urls(&self, key: Option<&str>) -> Vec<String> {
        let mut urls = self.helper_urls(key);
        if self.is_docker_hub {
            // The tokens of docker's login in a browser.
            urls.extend(["access-token", "refresh-token"].map(|token| format!("{HUB}{token}")));
        } else if !has_port(&self.key) && self.scheme == Scheme::Https {
            urls.push(format!("{}:443", self.host()));
        }
        let mut kept = Vec::new();
        urls.retain(|url| {
            let is_new = !kept.contains(url);
            kept.push(url.clone());
            is_new
        });
        urls
    }
}

/// The entries whose key matches, the best match first: a key for the repository before one for its
/// namespace before one for the whole registry (CRED-42); the exact name before other spellings.
pub(super) fn by_fit<'a, V: 'a>(
    entries: impl Iterator<Item = (&'a String, &'a V)>,
    wanted: &Wanted<'_>,
) -> Vec<(&'a String, &'a V)> {
    let mut fitting: Vec<_> = entries
        .filter_map(|(key, value)| Some((fit(key, wanted)?, key, value)))
        .collect();
    fitting.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    fitting.into_iter().map(|(_, k, v)| (k, v)).collect()
}

/// Whether a key is for the whole registry, in any spelling.
pub(super) fn is_for_registry(key: &str, wanted: &Wanted<'_>) -> bool {
    let whole = Wanted {
        key: wanted.key.clone(),
        is_docker_hub: wanted.is_docker_hub,
        repository: None,
        scheme: wanted.scheme,
        again: wanted.again,
    };
    fit(key, &whole).is_some()
}

/// How well a key matches: the number of repository segments, then the spelling of the host.
fn fit(key: &str, wanted: &Wanted<'_>) -> Option<(usize, u8)> {
    let host = host_of(key);
    let spelling = if key == wanted.key {
        3
    } else if is_hub(host) != wanted.is_docker_hub {
        return None;
    } else if host.eq_ignore_ascii_case(host_of(&wanted.key)) {
        2
    } else if is_same_registry(host, wanted) {
        1
    } else {
        return None;
    };
    let bare = without_scheme(key);
    let path = bare.strip_prefix(host).unwrap_or_default();
    let path = path.trim_matches('/');
    // `https://host/v1/`: the path of an API, not a repository.
    if path.is_empty() || matches!(path, "v1" | "v2") {
        return Some((0, spelling));
    }
    let rest = wanted.repository.and_then(|it| it.strip_prefix(path));
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Some((path.split('/').count(), spelling));
    }
    // Docker reads no more than the host of a URL.
    (bare.len() < key.len()).then_some((0, 0))
}

/// Docker Hub has several names (CRED-05), and over TLS port 443 may be left out (CRED-08).
fn is_same_registry(host: &str, wanted: &Wanted<'_>) -> bool {
    let without_port = |name: &str| {
        let name = name.to_ascii_lowercase();
        match name.strip_suffix(":443") {
            Some(bare) if wanted.scheme == Scheme::Https => bare.to_owned(),
            _ => name,
        }
    };
    let (host, name) = (without_port(host), without_port(host_of(&wanted.key)));
    // Whether the key is Docker Hub's was compared before.
    host == name || wanted.is_docker_hub
}

/// Whether the host of a key is Docker Hub, by the rule for references.
fn is_hub(host: &str) -> bool {
    let registry: Result<Registry, _> = host.parse();
    registry.is_ok_and(|registry| registry.is_docker_hub())
}

fn has_port(host: &str) -> bool {
    host.rsplit(']')
        .next()
        .is_some_and(|rest| rest.contains(':'))
}

/// The `host[:port]` of a key, which may be a URL (CRED-06).
pub(super) fn host_of(key: &str) -> &str {
    let bare = without_scheme(key);
    bare.split('/').next().unwrap_or(bare)
}

fn without_scheme(key: &str) -> &str {
    match key.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") =>
        {
            rest
        }
        Some(_) | None => key,
    }
}
