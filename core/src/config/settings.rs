//! What is configured for some registries, in place of what is configured for all.
//!
//! Responsible for which of several settings counts. Must not know what a setting does.
//!
//! What is configured comes first, of several settings the one with the closest pattern; then what is configured
//! for all; then the registry's habits ([`RegistryKind`]).
//!
//! ```
//! use windlass_core::config::{Concurrency, Config, RegistrySettings};
//!
//! let mut slow = RegistrySettings::new("*.slow.example".parse()?, "my.toml: [slow]");
//! slow.in_flight = Some(Concurrency::at_most(2));
//! let mut config = Config::default();
//! config.registries.push(slow);
//!
//! assert_eq!(config.in_flight_for(&"reg.slow.example".parse()?).max, 2);
//! assert_eq!(config.in_flight_for(&"reg.example".parse()?).max, 64);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::habits::{ChunkSizes, RegistryKind};
use super::pattern::RegistryPattern;
use super::{Budget, Concurrency, Config, RequestHeader, Retry};
use crate::registry::Registry;
use crate::scope::{Scope, Scopes};

/// Settings for the registries that a pattern names. `None`, and an empty list, say nothing.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RegistrySettings {
    /// The registries. A mirror has the settings of its own host.
    pub pattern: RegistryPattern,
    /// Where it was written, for explanations: the file and the entry in it.
    pub rule: String,
    /// Which software or service it is, if its name does not tell, or tells wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RegistryKind>,
    /// How many HTTP exchanges may run at once: see [`Config::in_flight`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<Concurrency>,
    /// How many GETs of manifests may be sent in a time: see [`Config::manifests`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Budget>,
    /// How many blobs are uploaded at once from one source, at least 1. By default as many as suit its kind
    /// ([`Habits::uploads`](super::Habits)); [`Limits::transfers`](super::Limits) and the requests bound them, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploads: Option<usize>,
    /// The size of chunks: see [`Config::chunk_size`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u64>,
    /// Whether a small blob is sent in the POST that begins its upload: see [`Config::post_blobs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_blobs: Option<bool>,
    /// When and how often to retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Headers of every request to the registry, not of those to its storage or its token service. Of several
    /// patterns, and of an endpoint's own headers, the closest counts, name by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<RequestHeader>,
    /// Scopes that every token is asked for in addition. If they are refused, the token is asked for
    /// without them. Those of all patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// Whether there are credentials for writing that differ from those for reading: then the question for them
    /// says which are needed ([`Question::access`](crate::credential::Question::access)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separate_writes: Option<bool>,
}

impl RegistrySettings {
    /// Settings that say nothing yet.
    pub fn new(pattern: RegistryPattern, rule: impl Into<String>) -> Self {
        Self {
            pattern,
            rule: rule.into(),
            kind: None,
            in_flight: None,
            manifests: None,
            uploads: None,
            chunk_size: None,
            post_blobs: None,
            retry: None,
            headers: Vec::new(),
            scopes: Vec::new(),
            separate_writes: None,
        }
    }
}

impl Config {
    /// The settings for a registry, the closest first.
    pub fn settings<'a>(
        &'a self,
        registry: &'a Registry,
    ) -> impl Iterator<Item = &'a RegistrySettings> {
        let mut ranked: Vec<_> = self
            .registries
            .iter()
            .filter_map(|it| Some((it.pattern.closeness(registry)?, it)))
            .collect();
        // The order of the list stays among those that are equally close.
        ranked.sort_by_key(|(closeness, _)| core::cmp::Reverse(*closeness));
        ranked.into_iter().map(|(_, settings)| settings)
    }

    /// Which kind of registry it is, as far as that is configured or its name tells.
    pub fn kind(&self, registry: &Registry) -> Option<RegistryKind> {
        let configured = self.said(registry, |it| it.kind);
        configured.or_else(|| RegistryKind::of(registry))
    }

    /// How many exchanges may run at once with a registry.
    pub fn in_flight_for(&self, registry: &Registry) -> Concurrency {
        self.said(registry, |it| it.in_flight)
            .unwrap_or(self.in_flight)
    }

    /// How many GETs of manifests a registry may be sent in a time, if that is bounded.
    pub fn manifests_for(&self, registry: &Registry) -> Option<Budget> {
        self.said(registry, |it| it.manifests).or(self.manifests)
    }

    /// The most exchanges that may run at once with any registry.
    pub fn most_in_flight(&self) -> u32 {
        let settings = self.registries.iter();
        let configured = settings.filter_map(|it| it.in_flight.map(|it| it.max));
        configured.max().unwrap_or(0).max(self.in_flight.max)
    }

    /// When to retry at a registry.
    pub fn retry_for(&self, registry: &Registry) -> Retry {
        self.said(registry, |it| it.retry).unwrap_or(self.retry)
    }

    /// Whether a small blob is sent to a registry in the POST that begins its upload.
    pub fn posts_blobs_to(&self, registry: &Registry) -> bool {
        let habit = || self.kind(registry).is_some_and(|kind| kind.habits().posts);
        let configured = self.said(registry, |it| it.post_blobs).or(self.post_blobs);
        configured.unwrap_or_else(habit)
    }

    /// The size of a registry's chunks; without one no blob is larger. A size that is configured for all registries is
    /// brought within what this one is known to take.
    pub fn chunk_size_for(&self, registry: &Registry) -> u64 {
        let is_for_this_one = self.said(registry, |it| it.chunk_size).is_some();
        match self.configured_chunk(registry) {
            Some(size) if is_for_this_one => size,
            Some(size) => self.chunks_taken(registry).nearest(size),
            None => {
                let habits = self.kind(registry).map(RegistryKind::habits);
                let from = habits.and_then(|habits| habits.chunk_from);
                from.unwrap_or(u64::MAX)
            }
        }
    }

    fn configured_chunk(&self, registry: &Registry) -> Option<u64> {
        /// With less, the requests are most of the work.
        const LEAST: u64 = 64 * 1024;
        let configured = self.said(registry, |it| it.chunk_size).or(self.chunk_size);
        configured.map(|size| size.max(LEAST))
    }

    fn chunks_taken(&self, registry: &Registry) -> ChunkSizes {
        let kind = self.kind(registry);
        kind.map_or(ChunkSizes::ANY, |kind| kind.habits().chunks)
    }

    /// The size of the chunks in which a stream is sent to a registry; `None` if it is known to take none.
    pub fn stream_chunk_for(&self, registry: &Registry) -> Option<u64> {
        let takes = self.chunks_taken(registry);
        let chunk = self.first_stream_chunk(registry);
        (takes != ChunkSizes::NONE).then(|| takes.nearest(chunk))
    }

    /// How much of a stream is read before anything is sent, whether or not the registry takes chunks.
    pub(crate) fn first_stream_chunk(&self, registry: &Registry) -> u64 {
        /// Few round trips, and a memory that is noticed nowhere.
        const DEFAULT: u64 = 16 << 20;
        let known = || match self.chunk_size_for(registry) {
            u64::MAX => DEFAULT,
            size => size,
        };
        self.configured_chunk(registry).unwrap_or_else(known)
    }

    /// How many blobs are uploaded at once from one source to a registry, if that is configured, or known of its kind.
    pub fn uploads_for(&self, registry: &Registry) -> Option<usize> {
        let configured = self.said(registry, |it| it.uploads);
        let habit = || self.kind(registry)?.habits().uploads;
        configured.or_else(habit).map(|most| most.max(1))
    }

    /// Whether the credentials for writing differ from those for reading.
    pub fn has_separate_writes(&self, registry: &Registry) -> bool {
        self.said(registry, |it| it.separate_writes)
            .unwrap_or(false)
    }

    /// The scopes that every token for a registry is asked for in addition.
    pub(crate) fn scopes_for(&self, registry: &Registry) -> Scopes {
        let mut scopes = Scopes::new();
        for settings in self.settings(registry) {
            for scope in &settings.scopes {
                scopes.insert(scope.clone());
            }
        }
        scopes
    }

    /// Adds the headers that are configured for a registry to those that its endpoint has.
    pub(super) fn add_headers(&self, registry: &Registry, headers: &mut Vec<RequestHeader>) {
        for settings in self.settings(registry) {
            for header in &settings.headers {
                if headers.iter().all(|it| it.name() != header.name()) {
                    headers.push(header.clone());
                }
            }
        }
    }

    /// What the closest settings that say something say.
    fn said<T>(
        &self,
        registry: &Registry,
        said: impl Fn(&RegistrySettings) -> Option<T>,
    ) -> Option<T> {
        if self.registries.is_empty() {
            return None;
        }
        self.settings(registry).find_map(said)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::string::ToString as _;
    use std::vec::Vec;

    use super::*;
    use crate::credential::Secret;

    const MIB: u64 = 1 << 20;

    fn settings(pattern: &str) -> RegistrySettings {
        RegistrySettings::new(pattern.parse().expect("a pattern"), "test")
    }

    fn registry(name: &str) -> Registry {
        name.parse().expect("a registry")
    }

    fn header(name: &str, value: &str) -> RequestHeader {
        RequestHeader::new(name, Secret::new(value)).expect("a header")
    }

    #[test]
    fn the_closest_setting_that_says_something_counts() {
        let mut config = Config::default();
        let mut every = settings("*");
        (every.chunk_size, every.uploads) = (Some(8 * MIB), Some(0));
        let mut domain = settings("*.example");
        domain.chunk_size = Some(1);
        let mut one = settings("reg.example");
        (one.in_flight, one.separate_writes) = (Some(Concurrency::at_most(70)), Some(true));
        config.registries = [every, domain, one].into();
        config.chunk_size = Some(3 * MIB);
        let budget = |requests| Some(Budget::new(requests, Duration::from_secs(1)));
        config.manifests = budget(7);
        config.registries[1].manifests = budget(8);

        let reg = registry("reg.example");
        assert_eq!(config.chunk_size_for(&reg), 64 * 1024, "the least");
        assert_eq!(config.chunk_size_for(&registry("a.org")), 8 * MIB);
        assert_eq!(config.uploads_for(&reg), Some(1), "the least");
        assert_eq!(config.in_flight_for(&reg).max, 70);
        assert_eq!(config.in_flight_for(&registry("a.example")).max, 64);
        assert_eq!(config.manifests_for(&reg), budget(8));
        assert_eq!(config.manifests_for(&registry("a.org")), budget(7));
        assert_eq!(config.most_in_flight(), 70);
        assert!(config.has_separate_writes(&reg));
        assert!(!config.has_separate_writes(&registry("a.example")));
        config.registries.clear();
        assert_eq!(config.chunk_size_for(&reg), 3 * MIB);
        assert_eq!(config.uploads_for(&reg), None);
    }

    #[test]
    fn what_is_configured_comes_before_habits() {
        let cloudflare = registry("registry.cloudflare.com");
        let mut config = Config::default();
        assert_eq!(config.chunk_size_for(&cloudflare), 64 * MIB);
        config.chunk_size = Some(100 * MIB);
        assert_eq!(config.chunk_size_for(&cloudflare), 100 * MIB);
        // A size for all registries suits not all of them; one for this registry is the user's to know.
        for (name, size, expected) in [
            ("ghcr.io", 16 * MIB, 4 * MIB),
            ("ghcr.io", MIB, MIB),
            ("1234.dkr.ecr.eu-west-1.amazonaws.com", MIB, 5 * MIB),
            ("europe-docker.pkg.dev", MIB, u64::MAX),
            ("reg.example", MIB, MIB),
        ] {
            let mut config = Config {
                chunk_size: Some(size),
                ..Config::default()
            };
            assert_eq!(config.chunk_size_for(&registry(name)), expected, "{name}");
            let mut one = settings(name);
            one.chunk_size = Some(size);
            config.registries.push(one);
            assert_eq!(config.chunk_size_for(&registry(name)), size, "{name}");
        }
        config.chunk_size = None;
        let mut other = settings("registry.cloudflare.com");
        other.kind = Some(RegistryKind::Distribution);
        config.registries.push(other);
        assert_eq!(config.kind(&cloudflare), Some(RegistryKind::Distribution));
        assert_eq!(config.chunk_size_for(&cloudflare), u64::MAX);

        let ecr = registry("1234.dkr.ecr.eu-west-1.amazonaws.com");
        assert_eq!(config.uploads_for(&ecr), Some(1));
        let mut many = settings("*.amazonaws.com");
        many.uploads = Some(8);
        config.registries.push(many);
        assert_eq!(config.uploads_for(&ecr), Some(8));

        let quay = registry("quay.io");
        assert!(config.posts_blobs_to(&quay) && !config.posts_blobs_to(&ecr));
        config.post_blobs = Some(false);
        assert!(!config.posts_blobs_to(&quay));
        let mut posts = settings("quay.io");
        posts.post_blobs = Some(true);
        config.registries.push(posts);
        assert!(config.posts_blobs_to(&quay) && !config.posts_blobs_to(&ecr));
    }

    #[test]
    fn headers_and_scopes_of_all_patterns() {
        let mut config = Config::default();
        let mut every = settings("*");
        every.headers = [header("x-a", "far"), header("x-b", "b")].into();
        every.scopes = ["repository:a/b:pull".parse().expect("a scope")].into();
        let mut one = settings("reg.example");
        one.headers = [header("x-a", "near"), header("x-c", "c")].into();
        one.scopes = ["repository:a/b:delete".parse().expect("a scope")].into();
        config.registries = [every, one].into();
        let mut headers = Vec::from([header("x-c", "own")]);
        config.add_headers(&registry("reg.example"), &mut headers);
        let shown: Vec<_> = headers
            .iter()
            .map(|it| (it.name(), it.value().expose()))
            .collect();
        assert_eq!(shown, [("x-c", "own"), ("x-a", "near"), ("x-b", "b")]);
        let scopes = config.scopes_for(&registry("reg.example"));
        assert_eq!(scopes.to_string(), "repository:a/b:delete,pull");
    }

    #[test]
    fn settings_are_read_as_they_were_written() {
        let mut all = settings("*.example");
        all.kind = Some(RegistryKind::Harbor);
        all.in_flight = Some(Concurrency::at_most(1));
        all.manifests = Some(Budget::new(1, Duration::from_secs(2)));
        all.uploads = Some(2);
        all.chunk_size = Some(3);
        all.post_blobs = Some(false);
        all.retry = Some(Retry::default());
        all.scopes = ["repository:a/b:pull".parse().expect("a scope")].into();
        all.separate_writes = Some(true);
        for settings in [settings("reg.example:5000"), all] {
            let written = serde_json::to_string(&settings).expect("JSON");
            let read: RegistrySettings = serde_json::from_str(&written).expect("as written");
            assert_eq!(read, settings);
        }
    }

    #[test]
    fn streams_go_in_chunks_that_a_registry_takes() {
        for (name, configured, expected) in [
            ("reg.example", None, Some(16 * MIB)),
            ("reg.example", Some(MIB), Some(MIB)),
            ("ghcr.io", None, Some(4 * MIB)),
            ("1234.dkr.ecr.eu-west-1.amazonaws.com", None, Some(10 * MIB)),
            (
                "1234.dkr.ecr.eu-west-1.amazonaws.com",
                Some(MIB),
                Some(5 * MIB),
            ),
            ("public.ecr.aws", None, None),
            ("public.ecr.aws", Some(MIB), None),
            ("europe-docker.pkg.dev", None, None),
            ("europe-docker.pkg.dev", Some(MIB), None),
        ] {
            let config = Config {
                chunk_size: configured,
                ..Config::default()
            };
            let found = config.stream_chunk_for(&registry(name));
            assert_eq!(found, expected, "{name} {configured:?}");
        }
    }
}
