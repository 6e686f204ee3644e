//! Descriptors: pointers from one document to another.
//!
//! Responsible for parsing them so that every value is valid (`MT-05`): the digest follows its
//! grammar, the size is an integer from 0 to 2^63-1. Optional members of a wrong type count as
//! absent.

pub(crate) mod platform;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use self::platform::Platform;
use crate::digest::Digest;
use crate::json::carried;

/// A typed, sized, verifiable pointer to content (image-spec `descriptor.md`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Descriptor {
    /// The content's media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Other places that have the content. Used only if a task includes foreign layers
    /// ([`Task::including_nondistributable`](crate::Task::including_nondistributable), PULLB-07).
    #[serde(
        default,
        deserialize_with = "texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// The annotations that are strings.
    #[serde(
        default,
        deserialize_with = "annotations",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The content, if embedded. Not verified.
    #[serde(default, with = "embedded", skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<u8>>,
    /// The artifact type.
    #[serde(
        default,
        deserialize_with = "carried",
        skip_serializing_if = "Option::is_none"
    )]
    pub artifact_type: Option<String>,
    /// The platform, in an index. An invalid one is `unknown/unknown`, which matches no platform.
    #[serde(
        default,
        deserialize_with = "platform",
        skip_serializing_if = "Option::is_none"
    )]
    ///
    /// In a box, since a layer has none: an image may have thousands of layers.
    pub platform: Option<Box<Platform>>,
}

impl Descriptor {
    /// A descriptor with the three required fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            artifact_type: None,
            platform: None,
        }
    }

    /// Whether the media type is that of a layer not to be uploaded (`nondistributable`, Docker's
    /// `foreign`).
    pub fn is_nondistributable(&self) -> bool {
        self.media_type
            .starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self
                .media_type
                .starts_with("application/vnd.docker.image.rootfs.foreign.")
    }

    /// Whether this is a foreign layer: nondistributable, or with `urls`. Registries often do not
    /// hold such layers.
    pub fn is_foreign(&self) -> bool {
        self.is_nondistributable() || !self.urls.is_empty()
    }
}

/// The annotations that are strings.
pub(crate) fn annotations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let Value::Object(all) = Value::deserialize(deserializer)? else {
        return Ok(BTreeMap::new());
    };
    let texts = all
        .into_iter()
        .filter_map(|(name, value)| Some((name, text_of(value)?)));
    Ok(texts.collect())
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let Value::Array(all) = Value::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    Ok(all.into_iter().filter_map(text_of).collect())
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn platform<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Platform>>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value.is_null() {
        return Ok(None);
    }
    let platform = Platform::deserialize(value);
    let platform = platform.unwrap_or_else(|_| Platform::new("unknown", "unknown"));
    Ok(Some(Box::new(platform)))
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if i64::try_from(size).is_err() {
        return Err(serde::de::Error::custom("size is larger than 2^63-1"));
    }
    Ok(size)
}

mod embedded {
    use base64::Engine as _;

    use super::{Deserializer, STANDARD, Serializer, String, Vec, carried};

    pub(super) fn serialize<S: Serializer>(
        data: &Option<Vec<u8>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        match data {
            Some(data) => s.serialize_str(&STANDARD.encode(data)),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text: Option<String> = carried(d)?;
        // What does not decode counts as absent: the content can still be fetched.
        Ok(text.and_then(|text| STANDARD.decode(text).ok()))
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString as _;

    use super::*;
    use crate::testing::mutations;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn with(fields: &str) -> String {
        format!(r#"{{"mediaType":"a/b","digest":"{DIGEST}"{fields}}}"#)
    }

    #[test]
    fn descriptors_are_read() {
        let long = DIGEST.replace("ff8a", "ff8");
        let table = [
            ("MT-05", with(r#","size":2"#), true),
            ("MT-05 no size", with(""), false),
            ("MT-05 null size", with(r#","size":null"#), false),
            (
                "MT-05 no digest",
                r#"{"mediaType":"a/b","size":2}"#.into(),
                false,
            ),
            (
                "MT-05 no type",
                format!(r#"{{"digest":"{DIGEST}","size":2}}"#),
                false,
            ),
            ("MT-05 negative", with(r#","size":-1"#), false),
            ("SEC-13 exponent", with(r#","size":1e3"#), false),
            ("SEC-13 fraction", with(r#","size":2.0"#), false),
            ("SEC-13 text", with(r#","size":"2""#), false),
            (
                "SEC-13 beyond 2^53",
                with(r#","size":9007199254740993"#),
                true,
            ),
            ("MT-05 2^63-1", with(r#","size":9223372036854775807"#), true),
            ("MT-05 2^63", with(r#","size":9223372036854775808"#), false),
            ("MT-05 2^64", with(r#","size":18446744073709551616"#), false),
            (
                "SEC-04 path",
                r#"{"mediaType":"a/b","digest":"sha256:../../x","size":2}"#.into(),
                false,
            ),
            (
                "SEC-04 63 hex",
                format!(r#"{{"mediaType":"a/b","digest":"{long}","size":2}}"#),
                false,
            ),
            (
                "REF-06",
                r#"{"mediaType":"a/b","digest":"sha256+b64u:LCa0a2j_xo","size":2}"#.into(),
                true,
            ),
            (
                "N-19",
                with(
                    r#","size":2,"urls":null,"annotations":null,"data":null,"artifactType":null,"platform":null"#,
                ),
                true,
            ),
            ("PULLM-15", with(r#","size":2,"new":[1,{}]"#), true),
            ("MT-06", with(r#","size":2,"annotations":{"a":1}"#), true),
            ("urls", with(r#","size":2,"urls":{"a":1}"#), true),
            ("data", with(r#","size":2,"data":[1]"#), true),
            ("artifactType", with(r#","size":2,"artifactType":1"#), true),
            ("platform", with(r#","size":2,"platform":"linux""#), true),
            ("IDX-01", with(r#","size":2,"platform":{}"#), true),
            ("twice", with(r#","size":2,"size":2"#), false),
        ];
        for (row, json, is_valid) in table {
            let found = serde_json::from_str::<Descriptor>(&json);
            assert_eq!(found.is_ok(), is_valid, "{row}: {found:?}");
            mutations(&json, |json| {
                let Ok(found) = serde_json::from_str::<Descriptor>(json) else {
                    return;
                };
                let printed = serde_json::to_string(&found).expect("a descriptor is printed");
                let again = serde_json::from_str(&printed).expect("and read back");
                assert_eq!(found, again, "{json}");
            });
        }
    }

    #[test]
    fn of_what_is_carried_along_the_texts_are_kept() {
        let json = with(
            r#","size":2,"annotations":{"a":"1","b":null,"c":2},"urls":["x",null,7,"y"],"platform":{"os":5,"architecture":"amd64"}"#,
        );
        let found: Descriptor = serde_json::from_str(&json).expect("a descriptor");
        let annotations = BTreeMap::from_iter([("a".to_string(), "1".to_string())]);
        assert_eq!(found.annotations, annotations);
        assert_eq!(found.urls, ["x", "y"]);
        assert_eq!(
            found.platform,
            Some(Platform::new("unknown", "unknown").into())
        );
    }

    #[test]
    fn sizes_are_exact() {
        let json = with(r#","size":9007199254740993"#);
        let found: Descriptor = serde_json::from_str(&json).expect("SEC-13");
        assert_eq!(found.size.to_string(), "9007199254740993", "SEC-13");
    }

    #[test]
    fn embedded_data() {
        let table = [
            ("RFR-14", r#","size":2,"data":"e30=""#, Some("{}")),
            ("PULLM-18 no padding", r#","size":2,"data":"e30""#, None),
            ("PULLM-18 bad", r#","size":2,"data":"!!""#, None),
        ];
        for (row, fields, expected) in table {
            let found: Descriptor = serde_json::from_str(&with(fields)).expect(row);
            assert_eq!(found.data.as_deref(), expected.map(str::as_bytes), "{row}");
        }
    }

    #[test]
    fn layers_that_are_not_uploaded() {
        let digest: Digest = DIGEST.parse().expect("a digest");
        let table = [
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                true,
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                true,
            ),
            ("application/vnd.oci.image.layer.v1.tar+gzip", false),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", false),
        ];
        for (media_type, expected) in table {
            let descriptor = Descriptor::new(media_type, digest.clone(), 2);
            assert_eq!(
                descriptor.is_nondistributable(),
                expected,
                "MT {media_type}"
            );
            assert_eq!(descriptor.is_foreign(), expected, "{media_type}");
            let mut elsewhere = descriptor;
            elsewhere.urls.push("https://example.com/layer".into());
            assert!(elsewhere.is_foreign(), "{media_type} with urls");
        }
    }
}
