//! What may be written of a document: of a manifest all of it, or it would be another one.
//!
//! Responsible for telling manifests from what is none: an image's configuration, of which the
//! platform is read, a page that came instead. Must not know which secrets are known.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::manifest::media_type::OCI_ARTIFACT;
use crate::manifest::replace_lone_surrogates;
use crate::said;
use crate::shown::filler;

/// What a document is.
pub(super) enum Form {
    /// A manifest or an index, and the digest of its configuration if it has one.
    Manifest { config: Option<Digest> },
    /// Another object.
    Object(Map<String, Value>),
    /// No object at all.
    Other,
}

/// Looks at the shape that every client looks at; whether it is right in detail does not matter. What
/// is loaded as a configuration is no manifest, whatever its shape.
pub(super) fn form(bytes: &[u8], is_config: bool) -> Form {
    let json = replace_lone_surrogates(bytes);
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(&json) else {
        return Form::Other;
    };
    let is_list = |name| {
        let list = object.get(name).and_then(Value::as_array);
        list.is_some_and(|list| list.iter().all(|entry| digest(entry).is_some()))
    };
    let config = object.get("config").and_then(digest);
    let is_artifact = object.get("mediaType").and_then(Value::as_str) == Some(OCI_ARTIFACT);
    let is_image = config.is_some() && is_list("layers");
    let is_manifest = is_image || is_list("manifests") || (is_artifact && is_list("blobs"));
    if is_manifest && !is_config {
        let config = config.and_then(|digest| digest.parse().ok());
        return Form::Manifest { config };
    }
    Form::Object(object)
}

/// The digest in a descriptor.
fn digest(entry: &Value) -> Option<&str> {
    entry.get("digest").and_then(Value::as_str)
}

/// An object with nothing in it but a platform, and the number that tells old manifests, of this
/// length.
pub(super) fn reduced(object: &Map<String, Value>, len: usize) -> Vec<u8> {
    let is_text = |value: &Value| value.is_string();
    let is_read = |name: &str, value: &Value| match name {
        "schemaVersion" => value.is_u64(),
        "os.features" => value.as_array().is_some_and(|all| all.iter().all(is_text)),
        _ => is_text(value),
    };
    let names = [
        "schemaVersion",
        "os",
        "architecture",
        "variant",
        "os.version",
        "os.features",
    ];
    let members = names.iter().filter_map(|name| {
        let value = object.get(*name).filter(|value| is_read(name, value))?;
        Some(((*name).to_string(), value.clone()))
    });
    let reduced = serde_json::to_vec(&members.collect::<Map<_, _>>());
    let mut reduced = reduced
        .ok()
        .filter(|reduced| reduced.len() <= len)
        .unwrap_or_else(|| b"{}".to_vec());
    reduced.resize(len, b' ');
    reduced
}

/// What is no object: as much of its beginning as people are shown.
pub(super) fn start(bytes: &[u8], clean: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if bytes.starts_with(MARK) {
        // That much is said of it.
        let rest = filler(bytes.len() - MARK.len());
        return [MARK, rest.as_bytes()].concat();
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        return filler(bytes.len()).into_bytes();
    }
    said::kept_start(bytes, clean)
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::manifest::{Declared, Document};

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn what_is_a_manifest() {
        let entry = format!(r#"{{"mediaType":"a/b","digest":"{DIGEST}","size":2}}"#);
        let table = [
            (format!(r#"{{"manifests":[{entry}]}}"#), "manifest"),
            (r#"{"schemaVersion":2,"manifests":[]}"#.into(), "manifest"),
            (
                format!(r#"{{"config":{entry},"layers":[{entry},{entry}]}}"#),
                "image",
            ),
            (
                format!(r#"{{"mediaType":"{OCI_ARTIFACT}","blobs":[{entry}]}}"#),
                "manifest",
            ),
            (format!(r#"{{"config":{entry}}}"#), "object"),
            (r#"{"config":{"Env":["A=b"]},"layers":[]}"#.into(), "object"),
            (
                r#"{"mediaType":"a/b","blobs":[],"schemaVersion":2}"#.into(),
                "object",
            ),
            (r#"{"manifests":["a"]}"#.into(), "object"),
            (r#"{"manifests":{}}"#.into(), "object"),
            (r#"{"manifests":[]"#.into(), "other"),
            ("[]".into(), "other"),
            (String::new(), "other"),
        ];
        for (text, expected) in table {
            let found = match form(text.as_bytes(), false) {
                Form::Manifest { config: Some(_) } => "image",
                Form::Manifest { config: None } => "manifest",
                Form::Object(_) => "object",
                Form::Other => "other",
            };
            assert_eq!(found, expected, "{text}");
            let as_config = form(text.as_bytes(), true);
            assert!(!matches!(as_config, Form::Manifest { .. }), "{text}");
        }
    }

    #[test]
    fn what_is_left_of_an_object() {
        let table = [
            (
                r#"{"os":"linux","config":{"Env":["A=b"]},"architecture":"arm64","os.features":["x"]}"#,
                r#"{"architecture":"arm64","os":"linux","os.features":["x"]}"#,
            ),
            (
                r#"{"schemaVersion":1,"variant":7,"os":{"a":"b"},"os.features":["x",1]}"#,
                r#"{"schemaVersion":1}"#,
            ),
            (r#"{"os":"\u0061"}"#, r#"{"os":"a"}"#),
            ("{}", "{}"),
        ];
        for (text, expected) in table {
            let Form::Object(object) = form(text.as_bytes(), true) else {
                panic!("{text}");
            };
            let left = reduced(&object, text.len());
            assert_eq!(left.len(), text.len());
            assert_eq!(left.trim_ascii_end(), expected.as_bytes(), "{text}");
        }
    }

    /// What comes instead of a manifest is refused in the same words.
    #[test]
    fn the_same_is_said_of_what_is_left() {
        let pages = [
            "<!DOCTYPE html>\n<meta name=\"csrf\" content=\"0123456789\">",
            "\u{feff}{\"token\":\"0123456789\"}",
            "[{\"token\":\"0123456789\"}]",
            "log in at https://h/?token=0123456789",
            "\0\u{1}0123456789",
            r#"{"token":"0123456789"}"#,
            r#"{"schemaVersion":1,"history":["0123456789"]}"#,
        ];
        for page in pages {
            let refused = |bytes: Vec<u8>| {
                let refused = Document::parse(bytes, Declared::ContentType(None));
                refused.expect_err("it is no manifest").to_string()
            };
            let left = match form(page.as_bytes(), false) {
                Form::Object(object) => reduced(&object, page.len()),
                Form::Manifest { .. } | Form::Other => start(page.as_bytes(), <[u8]>::to_vec),
            };
            assert!(!String::from_utf8_lossy(&left).contains("0123"), "{page}");
            assert_eq!(refused(left), refused(page.into()), "{page}");
        }
        assert_eq!(start(br#"{"token":"a""#, <[u8]>::to_vec), [b'x'; 12]);
    }
}
