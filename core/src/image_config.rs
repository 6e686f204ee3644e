//! The configuration of an image, typed (image-spec `config.md`).
//!
//! Responsible for reading what registries have, which tools of many kinds wrote: a member of a wrong type
//! counts as absent, except for the digests of the layers, which decide about content. Must not know how a
//! configuration is fetched.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::json::replace_lone_surrogates;
use crate::sanitize::escape;

/// What an image is to run as, and the digests of its layers before compression.
///
/// The bytes of the configuration are the truth: see
/// [`OpenedImage::config_bytes`](crate::OpenedImage::config_bytes).
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
#[non_exhaustive]
pub struct ImageConfig {
    /// When the image was made, as RFC 3339 has it.
    #[serde(deserialize_with = "lenient")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(deserialize_with = "lenient")]
    pub author: Option<String>,
    /// The architecture, as Go names it.
    #[serde(deserialize_with = "lenient")]
    pub architecture: Option<String>,
    /// The variant of the architecture.
    #[serde(deserialize_with = "lenient")]
    pub variant: Option<String>,
    /// The operating system, as Go names it.
    #[serde(deserialize_with = "lenient")]
    pub os: Option<String>,
    /// The version of the operating system.
    #[serde(deserialize_with = "lenient", rename = "os.version")]
    pub os_version: Option<String>,
    /// What a container runs as, unless it is told otherwise.
    #[serde(deserialize_with = "lenient")]
    pub config: Execution,
    /// The layers before compression, the base first.
    pub rootfs: RootFs,
    /// How each layer was made, and steps that made none.
    #[serde(deserialize_with = "lenient")]
    pub history: Vec<History>,
    /// All other members.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// What a container runs as.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Execution {
    /// The user, and perhaps a group.
    #[serde(deserialize_with = "lenient")]
    pub user: Option<String>,
    /// Ports, such as `80/tcp`.
    #[serde(deserialize_with = "names")]
    pub exposed_ports: BTreeSet<String>,
    /// Variables, as `NAME=value`.
    #[serde(deserialize_with = "lenient")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(deserialize_with = "lenient")]
    pub entrypoint: Vec<String>,
    /// Further arguments, or the program.
    #[serde(deserialize_with = "lenient")]
    pub cmd: Vec<String>,
    /// Folders that are volumes.
    #[serde(deserialize_with = "names")]
    pub volumes: BTreeSet<String>,
    /// The folder that it starts in.
    #[serde(deserialize_with = "lenient")]
    pub working_dir: Option<String>,
    /// Labels.
    #[serde(deserialize_with = "lenient")]
    pub labels: BTreeMap<String, String>,
    /// The signal that ends it.
    #[serde(deserialize_with = "lenient")]
    pub stop_signal: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// The layers of an image before compression.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
#[non_exhaustive]
pub struct RootFs {
    /// The digests of the layers' tars, the base first.
    #[serde(deserialize_with = "digests")]
    pub diff_ids: Vec<Digest>,
}

/// A step that made an image.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
#[non_exhaustive]
pub struct History {
    /// When it was made.
    #[serde(deserialize_with = "lenient")]
    pub created: Option<String>,
    /// The command.
    #[serde(deserialize_with = "lenient")]
    pub created_by: Option<String>,
    /// A comment.
    #[serde(deserialize_with = "lenient")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(deserialize_with = "lenient")]
    pub empty_layer: bool,
    /// All other members.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Why bytes are not the configuration of an image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the configuration of an image: {why}")]
#[non_exhaustive]
pub struct ImageConfigError {
    /// What is wrong, and where.
    pub why: String,
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// [`ImageConfigError`] if the bytes are no JSON object, or a digest of a layer is invalid.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ImageConfigError> {
        let read: Result<Self, _> = serde_json::from_slice(&replace_lone_surrogates(bytes));
        read.map_err(|error| ImageConfigError {
            why: escape(&error.to_string(), 200),
        })
    }
}

/// The value, or the default for `null` and other types.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).unwrap_or_default())
}

/// The names of an object's members: a set, as Go writes it.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let members: Map<String, Value> = lenient(deserializer)?;
    Ok(members.into_iter().map(|(name, _)| name).collect())
}

fn digests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF_ID: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn what_docker_writes() {
        let text = alloc::format!(
            r#"{{"architecture":"arm64","variant":"v8","os":"linux","created":"2026-01-02T03:04:05Z",
                "config":{{"User":"1000:1000","ExposedPorts":{{"80/tcp":{{}}}},"Env":["PATH=/bin"],
                "Cmd":["sh"],"Entrypoint":null,"WorkingDir":"/w","Labels":{{"a":"b"}},
                "OnBuild":["RUN x"],"ArgsEscaped":true}},
                "rootfs":{{"type":"layers","diff_ids":["{DIFF_ID}"]}},
                "history":[{{"created_by":"ADD x","empty_layer":true}}],"moby.x":{{"y":1}}}}"#
        );
        let config = ImageConfig::from_json(text.as_bytes()).expect("a configuration");
        assert_eq!(config.architecture.as_deref(), Some("arm64"));
        assert_eq!(config.rootfs.diff_ids[0].as_str(), DIFF_ID);
        let run = &config.config;
        assert_eq!(
            (&*run.env, &*run.cmd),
            (&["PATH=/bin".into()][..], &["sh".into()][..])
        );
        assert!(run.entrypoint.is_empty() && run.exposed_ports.contains("80/tcp"));
        assert_eq!(run.labels["a"], "b");
        assert!(run.others.contains_key("OnBuild") && run.others.contains_key("ArgsEscaped"));
        assert!(config.history[0].empty_layer);
        assert!(config.others.contains_key("moby.x"));
    }

    /// IDX-22: what decides nothing never fails.
    #[test]
    fn members_of_wrong_types_are_absent() {
        for text in [
            r#"{}"#,
            r#"{"config":null,"rootfs":{"diff_ids":null},"history":null}"#,
            r#"{"os":3,"config":[],"history":"x","created":{}}"#,
            r#"{"config":{"Env":"x","Labels":null,"Volumes":[1]}}"#,
        ] {
            let config = ImageConfig::from_json(text.as_bytes()).expect(text);
            assert_eq!(config.config.env, [""; 0], "{text}");
            assert!(config.rootfs.diff_ids.is_empty() && config.history.is_empty());
        }
        for text in ["", "[]", "{", r#"{"rootfs":{"diff_ids":["sha256:x"]}}"#] {
            let error = ImageConfig::from_json(text.as_bytes()).expect_err(text);
            assert!(
                error.to_string().starts_with("not the configuration"),
                "{error}"
            );
        }
    }
}
