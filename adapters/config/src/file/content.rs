//! The keys of windlass' own file: what serde reads, and what the JSON schema is made of.
//!
//! The comments here are the descriptions in the schema.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use windlass_core::config::RouteScope;
use windlass_core::reference::Repository;
use windlass_core::{Origin, Registry};

use super::limits::LimitsSection;
use super::registry::{PatternText, RegistrySection};
use crate::duration;
use crate::hosts::{HostName, HostRule};

/// Configuration of windlass.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Content {
    /// The folder with a folder for each registry and a hosts.toml in it, as containerd has it
    /// (config_path). By default /etc/containerd/certs.d, if that exists.
    pub(super) hosts_dir: Option<PathBuf>,
    /// The registries.conf of podman and skopeo, version 2. By default where these look for it.
    pub(super) registries_conf: Option<PathBuf>,
    /// Whether references without a registry are read as the aliases of registries.conf say. The command does
    /// so only where this or its option asks for it.
    pub(super) short_names: bool,
    /// Roots of folders with certificates by host, as docker and podman have them, the most important
    /// first. By default theirs.
    pub(super) certs_dirs: Option<Vec<PathBuf>>,
    /// The policy.json that says which images may be transferred. By default where podman looks for it.
    pub(super) policy: Option<PathBuf>,
    /// Registries, domains (*.example.com) and repositories that are neither pulled from nor pushed to.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) blocked: Vec<ScopeText>,
    /// How single hosts are reached, by host[:port].
    #[cfg_attr(test, schemars(with = "BTreeMap<String, HostSection>"))]
    pub(super) host: BTreeMap<NameText, HostSection>,
    /// What is asked of single registries, and how, by host[:port], or by a pattern in which * stands for any
    /// characters: *.example.com. A host without a port is for the default port, a pattern without one for every port.
    /// Of several sections, the closest one that says something counts.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, RegistrySection>"))]
    pub(super) registry: BTreeMap<PatternText, RegistrySection>,
    /// Mirrors of registries and of repositories, by host[:port][/path], *.example.com, or * for all.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, MirrorSection>"))]
    pub(super) mirror: BTreeMap<ScopeText, MirrorSection>,
    /// Certificate authorities for all hosts.
    pub(super) tls: TlsSection,
    /// Proxies. Variables such as HTTPS_PROXY come first.
    pub(super) proxy: ProxySection,
    /// Where credentials come from.
    pub(super) credentials: CredentialsSection,
    /// Token services on other hosts that receive the credentials of a registry.
    pub(super) trusted_realm: Vec<RealmSection>,
    /// Concurrency, retries and time limits.
    pub(super) limits: LimitsSection,
}

/// How one host is reached.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct HostSection {
    /// Files with certificate authorities, PEM or DER.
    #[cfg_attr(test, schemars(with = "OneOrMoreTexts"))]
    pub(super) ca: OneOrMore<PathBuf>,
    /// Trust these authorities alone, and not the system's.
    pub(super) only_ca: bool,
    /// A client certificate with its chain, PEM. The key may be in it.
    pub(super) client_cert: Option<PathBuf>,
    /// The private key of the client certificate, PEM.
    pub(super) client_key: Option<PathBuf>,
    /// Accept any certificate. Insecure: any machine on the way can read and change everything. Each use
    /// is reported.
    pub(super) skip_verify: Option<bool>,
    /// The name that the server is asked for and must prove to have, instead of the host's.
    pub(super) server_name: Option<String>,
    /// How long a connection may take to be made, such as "5s".
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) connect_timeout: Option<DurationText>,
    /// Use plain HTTP. Insecure: credentials are sent unencrypted.
    pub(super) plain_http: bool,
}

/// Mirrors of a registry or of repositories.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct MirrorSection {
    /// Where the mirrors are, in the order in which they are tried: https://host[:port][/path]. The path
    /// is put in front of the repository, or in place of the path that this section is for.
    #[cfg_attr(test, schemars(with = "OneOrMoreTexts"))]
    pub(super) url: OneOrMore<Location>,
    /// Whether the registry itself is asked after the mirrors (prefer) or never (replace). Pushes always go
    /// to the registry.
    #[serde(default)]
    pub(super) mode: MirrorMode,
    /// Which references the mirrors are used for.
    #[serde(default)]
    pub(super) references: MirrorReferences,
    /// Send ns=REGISTRY, as mirrors of many registries expect it.
    #[serde(default)]
    pub(super) ns: bool,
    /// Headers of requests to the mirrors.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) header: BTreeMap<String, SecretText>,
}

/// Whether the registry itself is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum MirrorMode {
    /// After the mirrors.
    #[default]
    Prefer,
    /// Never.
    Replace,
}

/// Which references a mirror is used for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum MirrorReferences {
    /// All.
    #[default]
    All,
    /// Those with a digest.
    WithDigest,
    /// Those without a digest.
    WithoutDigest,
}

/// Certificate authorities for all hosts.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct TlsSection {
    /// Files with certificate authorities, PEM or DER.
    #[cfg_attr(test, schemars(with = "OneOrMoreTexts"))]
    pub(super) ca: OneOrMore<PathBuf>,
    /// Trust these authorities alone, and not the system's.
    pub(super) only_ca: bool,
}

/// Proxies.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct ProxySection {
    /// The proxy for plain HTTP: http://host[:port].
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) http: Option<SecretText>,
    /// The proxy for TLS: http://host[:port].
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) https: Option<SecretText>,
    /// Hosts that are reached directly: names, .suffixes, addresses, networks such as 10.0.0.0/8, each but
    /// the last with or without a port. Loopback addresses always are.
    pub(super) no_proxy: Option<Vec<String>>,
    /// The user name at the proxies.
    pub(super) username: Option<String>,
    /// A file whose first line is the password at the proxies.
    pub(super) password_file: Option<PathBuf>,
}

/// Where credentials come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct CredentialsSection {
    /// The file to read instead of podman's and docker's.
    pub(super) auth_file: Option<PathBuf>,
    /// Credential helpers for all registries, by name without docker-credential-.
    pub(super) helpers: Vec<String>,
    /// Ask anonymously where stored credentials are refused for reading.
    pub(super) anonymous_fallback: Option<bool>,
}

/// A token service on another host.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RealmSection {
    /// The registry, host[:port].
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) registry: RegistryText,
    /// The token service, https://host[:port].
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) realm: OriginText,
}

impl HostSection {
    pub(super) fn rule(&self, beside: &impl Fn(&PathBuf) -> PathBuf) -> Result<HostRule, String> {
        let clients = match (&self.client_cert, &self.client_key) {
            (None, None) => Vec::new(),
            (Some(certificate), key) => vec![(beside(certificate), key.as_ref().map(beside))],
            (None, Some(_)) => return Err("client-key needs client-cert".to_owned()),
        };
        if self.only_ca && self.ca.0.is_empty() {
            return Err("only-ca needs ca".to_owned());
        }
        Ok(HostRule {
            ca: self.ca.iter().map(beside).collect(),
            only_ca: self.only_ca,
            clients,
            skip_verify: self.skip_verify,
            server_name: self.server_name.clone(),
            connect: self.connect_timeout.map(|limit| limit.0),
        })
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub(super) struct OneOrMore<T>(pub(super) Vec<T>);

/// What it looks like in a schema.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "describes texts that are read otherwise")]
pub(super) enum OneOrMoreTexts {
    One(String),
    More(Vec<String>),
}

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> OneOrMore<T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let one = T::deserialize(serde::de::value::StrDeserializer::new(text));
                one.map(|one| OneOrMore(vec![one]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(OneOrMore(all))
            }
        }
        from.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// A text that may hold a secret, and is not printed.
#[derive(Clone, Deserialize)]
pub(super) struct SecretText(pub(super) String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a mirror is.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Location {
    pub(super) origin: Origin,
    pub(super) path: Option<Repository>,
}

impl TryFrom<String> for Location {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", &text));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let origin = format!("{scheme}://{authority}").parse::<Origin>();
        let origin =
            origin.map_err(|error| format!("expected https://host[:port][/path]: {error}"))?;
        let path = match path.trim_end_matches('/') {
            "" => None,
            "v2" => return Err("/v2 is added to it: write https://host[:port][/path]".to_owned()),
            path => {
                let path = path.parse::<Repository>();
                let wrong = "the path must be one that repositories can have";
                Some(path.map_err(|_| wrong.to_owned())?)
            }
        };
        Ok(Self { origin, path })
    }
}

/// Texts that are something else once they are read.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident($inner:ty) $($derive:ident)*;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, $($derive),*)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) $inner);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse::<$inner>().map(Self).map_err(|error| error.to_string())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

pub(super) use texts;

texts! {
    /// A host as in references.
    NameText(HostName) Eq Ord PartialEq PartialOrd;
    /// A registry.
    RegistryText(Registry) Eq Ord PartialEq PartialOrd;
    /// The origin of a token service.
    OriginText(Origin) Eq Ord PartialEq PartialOrd;
}

/// What a mirror is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ScopeText(pub(super) RouteScope);

impl TryFrom<String> for ScopeText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let scope = text.parse::<RouteScope>();
        scope.map(Self).map_err(|error| error.to_string())
    }
}

impl Eq for ScopeText {}

impl PartialEq for ScopeText {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Ord for ScopeText {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.to_string().cmp(&other.0.to_string())
    }
}

impl PartialOrd for ScopeText {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A duration such as `200ms`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub(super) struct DurationText(pub(super) Duration);

impl TryFrom<String> for DurationText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        duration::parse(&text).map(Self)
    }
}
