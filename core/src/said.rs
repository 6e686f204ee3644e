//! What error answers say: their bodies, read leniently, escaped and cut (ERR-01 to ERR-05).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;

use crate::digest::Digest;
use crate::error::{Said, SaidEntry};
use crate::header::escape;

/// How many bytes of one message are shown.
const MESSAGE: usize = 512;
/// How many errors of one answer are looked at.
const ENTRIES: usize = 32;
/// How many bytes of a body that is no JSON are shown.
const TEXT: usize = 200;

/// Reads an error body of any shape.
pub(crate) fn read(body: &[u8]) -> Said {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() {
        return Said::default();
    }
    if text.starts_with('{')
        && let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text)
    {
        if let Some(Value::Array(errors)) = object.get("errors") {
            return Said {
                entries: errors.iter().take(ENTRIES).filter_map(entry).collect(),
            };
        }
        // Other shapes met in the field (ERR-04), with OAuth's among them.
        let code = word(object.get("error"));
        let message = ["error_description", "message", "details", "detail"]
            .iter()
            .map(|name| word(object.get(*name)))
            .find(|message| !message.is_empty())
            .unwrap_or_default();
        if code.is_empty() && message.is_empty() {
            return Said::default();
        }
        return Said {
            entries: alloc::vec![SaidEntry {
                code,
                message,
                digests: Vec::new()
            }],
        };
    }
    let (code, message) = if text.starts_with('<') {
        // Storage services speak XML, and agree on these two; the rest of it may be what was signed.
        match (element(text, "Code"), element(text, "Message")) {
            // A page of a proxy: its markup helps nobody.
            (None, None) => (String::new(), "an HTML page".to_string()),
            (code, message) => {
                let shown =
                    |it: Option<&str>| it.map_or_else(String::new, |it| escape(it, MESSAGE));
                (shown(code), shown(message))
            }
        }
    } else {
        (String::new(), escape(text, TEXT))
    };
    Said {
        entries: alloc::vec![SaidEntry {
            code,
            message,
            digests: Vec::new()
        }],
    }
}

/// The text of the first XML element of a name, if it is nothing but text, none of it encoded.
pub(crate) fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&alloc::format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&alloc::format!("</{name}>"))?;
    (!inside.contains(['<', '&'])).then(|| inside.trim())
}

fn entry(error: &Value) -> Option<SaidEntry> {
    let object = error.as_object()?;
    let mut digests = Vec::new();
    if let Some(detail) = object.get("detail") {
        collect_digests(detail, &mut digests, 0);
    }
    Some(SaidEntry {
        code: word(object.get("code")),
        message: word(object.get("message")),
        digests,
    })
}

fn word(value: Option<&Value>) -> String {
    value
        .and_then(Value::as_str)
        .map(|text| escape(text, MESSAGE))
        .unwrap_or_default()
}

fn collect_digests(value: &Value, digests: &mut Vec<Digest>, depth: usize) {
    if depth > 4 || digests.len() >= ENTRIES {
        return;
    }
    match value {
        Value::String(text) => digests.extend(text.parse::<Digest>().ok()),
        Value::Array(values) => {
            values
                .iter()
                .for_each(|value| collect_digests(value, digests, depth + 1));
        }
        Value::Object(object) => {
            object
                .values()
                .for_each(|value| collect_digests(value, digests, depth + 1));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V-G error bodies and ERR-04.
    #[test]
    fn bodies_of_every_shape_are_read() {
        let shown = |body: &str| read(body.as_bytes()).to_string();
        assert_eq!(
            shown(
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#
            ),
            " (MANIFEST_UNKNOWN: manifest unknown)"
        );
        assert_eq!(shown(r#"{"errors":[]}"#), "");
        assert_eq!(shown(r#"{"errors":[{}]}"#), "");
        assert_eq!(shown(r#"{"errors":null}"#), "");
        assert_eq!(
            shown(r#"{"details":"Resource not found"}"#),
            " (Resource not found)"
        );
        assert_eq!(
            shown(r#"{"error":"invalid_grant","error_description":"no"}"#),
            " (invalid_grant: no)"
        );
        assert_eq!(
            shown(r#"{"errors":[{"status":403,"message":"Forbidden"}]}"#),
            " (Forbidden)"
        );
        assert_eq!(shown("<html><body>413</body></html>"), " (an HTML page)");
        assert_eq!(
            shown(
                "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has \
                 expired\n</Message><Expires>x</Expires></Error>"
            ),
            " (AccessDenied: Request has expired)"
        );
        assert_eq!(shown("<Error><Code>SlowDown</Code></Error>"), " (SlowDown)");
        assert_eq!(shown("<Message></Error>"), " (an HTML page)");
        assert_eq!(shown("<Code><b>x</b></Code>"), " (an HTML page)");
        assert_eq!(shown(""), "");
        assert!(shown(&"a".repeat(1 << 20)).len() < 300);
        assert!(!shown("\u{1b}[2Jhello").contains('\u{1b}'), "SEC-11");
    }

    #[test]
    fn digests_are_found_in_details() {
        let digest = Digest::of(crate::digest::Algorithm::Sha256, b"x");
        let body = alloc::format!(
            r#"{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","detail":{{"digest":"{digest}"}}}}]}}"#
        );
        let said = read(body.as_bytes());
        assert!(said.has("MANIFEST_BLOB_UNKNOWN"));
        assert_eq!(said.entries[0].digests, [digest]);
    }
}
