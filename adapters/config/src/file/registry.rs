//! `[registry."PATTERN"]`: what is asked of some registries, and how, in place of what `[limits]` says for all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use windlass_core::config::{
    Concurrency, Config, RegistryKind, RegistryPattern, RegistrySettings, RequestHeader,
};
use windlass_core::credential::Secret;
use windlass_core::scope::Scope;

#[cfg(test)]
use super::content::OneOrMoreTexts;
use super::content::{DurationText, OneOrMore, SecretText};
use super::limits::{BudgetText, ChunkSize, Jobs, Retries};

/// What is asked of some registries, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RegistrySection {
    /// Which service or software it is, where its name does not tell: docker-hub, ghcr, ecr, ecr-public, acr, gar,
    /// mcr, quay, harbor, gitlab, artifactory, nexus, cloudflare, zot, distribution.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) kind: Option<KindText>,
    /// Requests at once, from 1 to 256.
    #[cfg_attr(test, schemars(range(min = 1, max = 256)))]
    pub(super) jobs: Option<Jobs>,
    /// GETs of manifests in a time, such as "100/6h": those that exceed it wait.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) manifests: Option<BudgetText>,
    /// Blobs that are uploaded at once, from 1 to 256.
    #[cfg_attr(test, schemars(range(min = 1, max = 256)))]
    pub(super) uploads: Option<Jobs>,
    /// Bytes of a chunk: larger blobs are uploaded in chunks. By default in one request.
    #[cfg_attr(test, schemars(range(min = 65536)))]
    pub(super) chunk_size: Option<ChunkSize>,
    /// Whether blobs of at most 64 KiB are sent in the request that begins their upload, to save a round trip. By
    /// default where the registry is known to store them.
    pub(super) post_blobs: Option<bool>,
    /// How often a failed request is sent again, from 0 to 100.
    #[cfg_attr(test, schemars(range(min = 0, max = 100)))]
    pub(super) retries: Option<Retries>,
    /// The longest Retry-After that is obeyed, such as "60s".
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) retry_after: Option<DurationText>,
    /// Headers of requests to the registry, not of those to its storage or its token service.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) header: BTreeMap<String, SecretText>,
    /// Scopes that tokens are asked for in addition, such as "repository:team/base:pull".
    #[cfg_attr(test, schemars(with = "OneOrMoreTexts"))]
    pub(super) scope: OneOrMore<ScopeText>,
    /// The file with the credentials for reading, in the form of docker's config.json, in place of all others.
    pub(super) read_auth_file: Option<PathBuf>,
    /// The file with the credentials for writing, likewise.
    pub(super) write_auth_file: Option<PathBuf>,
}

impl RegistrySection {
    /// The settings that it stands for. What it does not say of retries is as `config` has it.
    pub(super) fn settings(
        &self,
        pattern: &RegistryPattern,
        rule: String,
        config: &Config,
    ) -> Result<RegistrySettings, String> {
        let mut settings = RegistrySettings::new(pattern.clone(), rule);
        settings.kind = self.kind.as_ref().map(|kind| kind.0);
        settings.in_flight = self.jobs.map(|Jobs(jobs)| Concurrency::at_most(jobs));
        settings.manifests = self.manifests.as_ref().map(|budget| budget.0);
        settings.uploads = self.uploads.map(|Jobs(uploads)| uploads as usize);
        settings.chunk_size = self.chunk_size.map(|ChunkSize(size)| size);
        settings.post_blobs = self.post_blobs;
        if self.retries.is_some() || self.retry_after.is_some() {
            let mut retry = config.retry;
            if let Some(Retries(retries)) = self.retries {
                retry.attempts = retries + 1;
            }
            if let Some(DurationText(longest)) = self.retry_after {
                retry.retry_after_cap = longest;
            }
            settings.retry = Some(retry);
        }
        let headers = self.header.iter().map(|(name, value)| {
            let header = RequestHeader::new(name, Secret::new(value.0.clone()));
            header.map_err(|error| error.to_string())
        });
        settings.headers = headers.collect::<Result<_, _>>()?;
        settings.scopes = self.scope.iter().map(|scope| scope.0.clone()).collect();
        let is_apart = self.read_auth_file.is_some() || self.write_auth_file.is_some();
        settings.separate_writes = is_apart.then_some(true);
        Ok(settings)
    }
}

super::content::texts! {
    /// Which registries a section is for.
    PatternText(RegistryPattern) Eq Ord PartialEq PartialOrd;
    /// A kind of registry.
    KindText(RegistryKind) Eq PartialEq;
    /// A scope of tokens.
    ScopeText(Scope) Eq PartialEq;
}
