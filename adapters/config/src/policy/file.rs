//! The form of policy.json.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use windlass_core::sanitize::escape;

use super::is_same;

/// A whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    pub(super) default: Requirements,
    #[serde(default)]
    transports: Unique<Scopes>,
}

type Scopes = Unique<Requirements>;

impl PolicyFile {
    pub(super) fn transport(&self, name: &str) -> Option<&BTreeMap<String, Requirements>> {
        self.transports.0.get(name).map(|scopes| &scopes.0)
    }

    /// A scope that would never apply, or that is there in two spellings, is a mistake.
    fn check(&self) -> Result<(), String> {
        let layouts = self.transport("oci").into_iter().flatten();
        for scope in layouts.map(|(scope, _)| scope) {
            if !scope.is_empty() && !is_folder(scope) {
                return Err(format!(
                    "transports.oci[{scope:?}]: a scope is the absolute path of a folder below `/`, without \
                     `.`, `..` and a `/` at its end"
                ));
            }
        }
        let images = self.transport("docker").into_iter().flatten();
        let scopes: Vec<&String> = images.map(|(scope, _)| scope).collect();
        for (at, scope) in scopes.iter().enumerate() {
            if let Some(other) = scopes[..at].iter().find(|other| is_same(other, scope)) {
                return Err(format!(
                    "transports.docker: {other:?} and {scope:?} are the same scope"
                ));
            }
        }
        Ok(())
    }
}

/// Whether it is a path as links and `..` leave it.
fn is_folder(scope: &str) -> bool {
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    scope
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(is_name))
}

pub(super) fn parse(text: &[u8]) -> Result<PolicyFile, String> {
    /// As much as names what is wrong and where.
    const SHOWN: usize = 500;
    let invalid = |error: serde_json::Error| escape(&error.to_string(), SHOWN);
    let file: PolicyFile = serde_json::from_slice(text).map_err(invalid)?;
    file.check().map_err(|why| escape(&why, SHOWN))?;
    Ok(file)
}

/// What an image has to meet: all of them.
#[derive(Clone, Debug)]
pub(super) struct Requirements(pub(super) Vec<Requirement>);

impl<'de> Deserialize<'de> for Requirements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let requirements = Vec::<Requirement>::deserialize(deserializer)?;
        if requirements.is_empty() {
            return Err(D::Error::custom("a list of requirements must not be empty"));
        }
        Ok(Self(requirements))
    }
}

/// A requirement. What a signature has to look like is for the program that verifies it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Requirement {
    /// Anything is accepted.
    InsecureAcceptAnything {},
    /// Nothing is accepted.
    Reject {},
    /// A simple signature by one of these keys.
    #[serde(rename_all = "camelCase")]
    SignedBy {
        /// The type of key: `GPGKeys` and others.
        key_type: String,
        /// A file with keys.
        key_path: Option<String>,
        /// Files with keys.
        key_paths: Option<Vec<String>>,
        /// Keys, in base64.
        key_data: Option<String>,
        /// Which name a signature has to have.
        signed_identity: Option<Value>,
    },
    /// A sigstore signature.
    #[serde(rename_all = "camelCase")]
    SigstoreSigned {
        /// A file with a key.
        key_path: Option<String>,
        /// Files with keys.
        key_paths: Option<Vec<String>>,
        /// A key, in base64.
        key_data: Option<String>,
        /// Keys, in base64.
        key_datas: Option<Vec<String>>,
        /// A certificate authority that issues certificates for identities.
        fulcio: Option<Value>,
        /// Certificates instead of keys.
        pki: Option<Value>,
        /// A file with the key of a transparency log.
        rekor_public_key_path: Option<String>,
        /// Files with keys of a transparency log.
        rekor_public_key_paths: Option<Vec<String>>,
        /// The key of a transparency log, in base64.
        rekor_public_key_data: Option<String>,
        /// Keys of a transparency log, in base64.
        rekor_public_key_datas: Option<Vec<String>>,
        /// Which name a signature has to have.
        signed_identity: Option<Value>,
    },
}

impl Requirement {
    /// The type of signature, if one is required.
    pub(super) const fn verification(&self) -> Option<&'static str> {
        match self {
            Self::SignedBy { .. } => Some("signedBy"),
            Self::SigstoreSigned { .. } => Some("sigstoreSigned"),
            Self::InsecureAcceptAnything {} | Self::Reject {} => None,
        }
    }
}

/// An object in which no key occurs twice: the second one would replace a rule.
#[derive(Clone, Debug)]
pub(super) struct Unique<V>(pub(super) BTreeMap<String, V>);

impl<V> Default for Unique<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = BTreeMap<String, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(format!("the key {key:?} occurs twice")));
                    }
                    entries.insert(key, map.next_value()?);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(Entries(PhantomData)).map(Self)
    }
}
