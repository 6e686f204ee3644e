//! Error bodies: what they say, read leniently, escaped and cut (ERR-01 to ERR-05).
//!
//! Responsible for codes, messages and digests in bodies of every shape, and for what is shown of a body
//! that has none. Must not know secrets: they are redacted before.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::json::replace_lone_surrogates;
use crate::redact::redact_urls;
use crate::sanitize::escape;

/// How many bytes of one message are shown.
const MESSAGE: usize = 512;
/// How many errors of one answer are looked at.
const ENTRIES: usize = 32;
/// How many bytes of a body that is no JSON are shown.
const TEXT: usize = 200;
/// How many bytes are shown of what is no document.
const START: usize = 60;

/// The codes that [`codes`] keeps: those of OCI and distribution, of OAuth, of storage services, and
/// others that registries are known to send.
const CODES: &str = "\
    BLOB_UNKNOWN BLOB_UPLOAD_INVALID BLOB_UPLOAD_UNKNOWN DIGEST_INVALID MANIFEST_BLOB_UNKNOWN \
    MANIFEST_INVALID MANIFEST_UNKNOWN MANIFEST_UNVERIFIED NAME_INVALID NAME_UNKNOWN SIZE_INVALID \
    TAG_INVALID TAG_IMMUTABLE UNAUTHORIZED DENIED UNSUPPORTED TOOMANYREQUESTS UNAVAILABLE UNKNOWN \
    RANGE_INVALID NOT_FOUND FORBIDDEN BAD_REQUEST CONFLICT PRECONDITION INTERNAL_SERVER_ERROR \
    invalid_request invalid_client invalid_grant invalid_scope invalid_token unauthorized_client \
    unsupported_grant_type insufficient_scope access_denied server_error temporarily_unavailable \
    denied unauthorized AccessDenied AuthenticationFailed AuthorizationFailure BlobNotFound \
    ExpiredToken InternalError InvalidArgument NoSuchKey RequestTimeTooSkewed ServerBusy \
    SignatureDoesNotMatch SlowDown";

/// What ECR says about a login that has expired, with status 400 or 403.
const EXPIRED_LOGIN: &str = "authorization token has expired";

/// The error codes and messages of an error response, escaped and truncated.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RegistryErrors {
    /// In the order of the response.
    pub entries: Vec<RegistryError>,
    /// The id by which the registry's operators find the request, escaped, if the response has one.
    pub request_id: Option<String>,
}

/// One entry of an error response.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RegistryError {
    /// The code, for instance `MANIFEST_UNKNOWN`; empty if absent.
    pub code: String,
    /// The message, escaped.
    pub message: String,
    /// The digests in the error's detail.
    pub digests: Vec<Digest>,
    /// The detail, as JSON that is escaped and truncated to 512 bytes; a text as it is.
    pub detail: Option<String>,
}

impl RegistryErrors {
    /// Whether an entry has this code.
    pub fn has(&self, code: &str) -> bool {
        self.entries.iter().any(|entry| entry.code == code)
    }
}

/// In brackets after a space, to follow the text of windlass. Empty if there are no entries.
impl fmt::Display for RegistryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = |entry: &&RegistryError| !entry.code.is_empty() || !entry.message.is_empty();
        let entries: Vec<&RegistryError> = self.entries.iter().filter(says).collect();
        let id = self.request_id.as_ref();
        if entries.is_empty() {
            return id.map_or(Ok(()), |id| write!(f, " (request id {id})"));
        }
        for (i, entry) in entries.iter().take(3).enumerate() {
            f.write_str(if i == 0 { " (" } else { "; " })?;
            match (entry.code.as_str(), entry.message.as_str()) {
                (code, "") => f.write_str(code)?,
                ("", message) => f.write_str(message)?,
                (code, message) => write!(f, "{code}: {message}")?,
            }
        }
        if entries.len() > 3 {
            write!(f, " and {} more", entries.len() - 3)?;
        }
        if let Some(id) = id {
            write!(f, "; request id {id}")?;
        }
        f.write_str(")")
    }
}

/// Reads an error body of any shape.
pub(crate) fn read(body: &[u8]) -> RegistryErrors {
    let Some(text) = text(body) else {
        // Compressed, for instance, although no request asks for that.
        return only("", &format!("{} bytes that are no text", body.len()));
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    match text.chars().next() {
        None => RegistryErrors::default(),
        // Nothing is shown of JSON that was cut: what is in it is not known.
        Some('{' | '[') => {
            match serde_json::from_slice(&replace_lone_surrogates(text.as_bytes())) {
                Ok(object) => read_object(&object),
                Err(_) => only("", "JSON that cannot be read"),
            }
        }
        // Storage services speak XML, and agree on these two elements; the rest of it may be what was
        // signed. Anything else is a page, whose markup is not shown.
        Some('<') => match (element(text, "Code"), element(text, "Message")) {
            (None, None) => only("", "an HTML page"),
            (code, message) => only(
                &shown(code.unwrap_or_default(), MESSAGE),
                &shown(message.unwrap_or_default(), MESSAGE),
            ),
        },
        Some(_) => only("", &shown(text, TEXT)),
    }
}

/// Whether a body is one of an error, whatever came with it: it says so with a code.
pub(crate) fn is_error(body: &[u8]) -> bool {
    let errors = read(body);
    errors.entries.iter().any(|entry| !entry.code.is_empty())
}

/// Whether an error says that the login has expired.
pub(crate) fn is_expired_login(error: &RegistryError) -> bool {
    let message = error.message.to_ascii_lowercase();
    message.contains(EXPIRED_LOGIN)
}

/// An error body reduced to the known codes, the digests in details and the one message that has a meaning:
/// nothing that a server wrote freely.
pub(crate) fn codes(body: &[u8]) -> Vec<u8> {
    let mut errors = read(body).entries;
    errors.retain(|error| {
        !error.code.is_empty() || !error.digests.is_empty() || is_expired_login(error)
    });
    if errors.is_empty() {
        return Vec::new();
    }
    let kept = errors.iter().map(|error| {
        let is_known = error.code.is_empty() || CODES.split(' ').any(|code| code == error.code);
        let code = if is_known { &error.code } else { "OTHER" };
        let mut kept = json!({ "code": code });
        if !error.digests.is_empty() {
            kept["detail"] = json!(error.digests);
        }
        if is_expired_login(error) {
            kept["message"] = json!(EXPIRED_LOGIN);
        }
        kept
    });
    let kept: Vec<_> = kept.collect();
    json!({ "errors": kept }).to_string().into()
}

fn read_object(object: &Map<String, Value>) -> RegistryErrors {
    if let Some(Value::Array(errors)) = object.get("errors") {
        return RegistryErrors {
            entries: errors.iter().take(ENTRIES).filter_map(entry).collect(),
            request_id: None,
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
        return RegistryErrors::default();
    }
    only(&code, &message)
}

fn only(code: &str, message: &str) -> RegistryErrors {
    RegistryErrors {
        entries: alloc::vec![RegistryError {
            code: code.into(),
            message: message.into(),
            digests: Vec::new(),
            detail: None,
        }],
        request_id: None,
    }
}

/// How something that is no document begins, for people; `start` has no white space before it. Of
/// markup and of JSON one word: what follows may have been meant for one person.
pub(crate) fn shown_start(start: &[u8]) -> String {
    let text = text(start).unwrap_or("\u{fffd}");
    let word = text.split_inclusive(['>', ' ', '\t', '\r', '\n']).next();
    match text.chars().next() {
        Some('<') => shown(word.unwrap_or_default().trim_end(), START),
        Some('[') => "[".into(),
        Some(_) | None => shown(text, START),
    }
}

/// The text that a body is, without the part of a character at its end; `None` if it is none.
fn text(body: &[u8]) -> Option<&str> {
    let text = match core::str::from_utf8(body) {
        Ok(text) => text,
        // It was cut there.
        Err(error) if error.error_len().is_none() => {
            core::str::from_utf8(&body[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!text.contains('\0')).then_some(text)
}

/// Text as it may be shown: without secrets in URLs and without control characters.
fn shown(text: &str, max: usize) -> String {
    escape(&redact_urls(text), max)
}

/// A digest that content of ours can have: many a text could be one of another algorithm.
fn digest(text: &str) -> Option<Digest> {
    let digest = text.parse::<Digest>().ok();
    digest.filter(|digest| digest.algorithm().is_some())
}

/// The text of the first XML element of a name, if it is nothing but text, none of it encoded.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    (!inside.contains(['<', '&'])).then(|| inside.trim())
}

fn entry(error: &Value) -> Option<RegistryError> {
    let object = error.as_object()?;
    let mut digests = Vec::new();
    if let Some(detail) = object.get("detail") {
        collect_digests(detail, &mut digests, 0);
    }
    Some(RegistryError {
        code: word(object.get("code")),
        message: word(object.get("message")),
        digests,
        detail: object.get("detail").and_then(detail),
    })
}

/// What is said beside code and message, if anything is.
fn detail(detail: &Value) -> Option<String> {
    let text = match detail {
        Value::Null => return None,
        Value::String(text) => shown(text, MESSAGE),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            shown(&detail.to_string(), MESSAGE)
        }
    };
    Some(text).filter(|text| !text.is_empty())
}

fn word(value: Option<&Value>) -> String {
    value
        .and_then(Value::as_str)
        .map(|text| shown(text, MESSAGE))
        .unwrap_or_default()
}

fn collect_digests(value: &Value, digests: &mut Vec<Digest>, depth: usize) {
    if depth > 4 || digests.len() >= ENTRIES {
        return;
    }
    let each = |value| collect_digests(value, digests, depth + 1);
    match value {
        Value::String(text) => digests.extend(digest(text)),
        Value::Array(values) => values.iter().for_each(each),
        Value::Object(object) => object.values().for_each(each),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    /// ERR-05: beside code and message, for programs.
    #[test]
    fn details_are_kept_as_they_are() {
        let detail = |detail: &str| {
            let body = format!(r#"{{"errors":[{{"code":"X","detail":{detail}}}]}}"#);
            read(body.as_bytes()).entries.remove(0).detail
        };
        let object = r#"{"Tag":"v1","n":[1]}"#;
        assert_eq!(detail("null"), None);
        assert_eq!(detail("\"\""), None);
        assert_eq!(detail("\"a text\"").as_deref(), Some("a text"));
        assert_eq!(detail(object).as_deref(), Some(object));
        let escaped = detail("\"\\u001b[2J\"").expect("a detail");
        assert!(
            !escaped.contains('\u{1b}') && escaped.contains("[2J"),
            "{escaped}"
        );
        let long = detail(&format!("\"{}\"", "x".repeat(10_000))).expect("a detail");
        assert!(long.len() < 600, "{}", long.len());
    }

    /// V-G error bodies, ERR-02 and ERR-04.
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
        assert_eq!(shown("\u{feff} {\"error\":\"e\"} "), " (e)");
        assert_eq!(
            shown(r#"{"errors":[{"code":"A","token":"b","message":"no, \u00e4"#),
            " (JSON that cannot be read)"
        );
        assert_eq!(shown(r#"[{"token":12},"a"#), " (JSON that cannot be read)");
        assert!(shown(&"a".repeat(1 << 20)).len() < 300);
        assert!(!shown("\u{1b}[2Jhello").contains('\u{1b}'), "SEC-11");
    }

    /// SEC-02: what signs a URL is not shown, wherever the URL stands.
    #[test]
    fn queries_are_not_shown() {
        let url = "https://x.example/a?sv=1&sig=b";
        let shown = "https://x.example/a?***";
        for (body, expected) in [
            (format!("Get {url}: no"), format!(" (Get {shown}: no)")),
            (
                format!(r#"{{"errors":[{{"code":"A","message":"Get \"{url}\": no"}}]}}"#),
                format!(r#" (A: Get "{shown}": no)"#),
            ),
            (
                r#"{"detail":"Get https:\/\/x.example\/a?sv=1\u0026sig=b"}"#.into(),
                format!(" (Get {shown})"),
            ),
            (
                r#"{"detail":"https://x.example/a?sv=1\u0026sig=b c"#.into(),
                " (JSON that cannot be read)".into(),
            ),
            (
                "<E><Message>https://x.example/a?sig=b</Message></E>".into(),
                format!(" ({shown})"),
            ),
        ] {
            assert_eq!(read(body.as_bytes()).to_string(), expected, "{body}");
        }
    }

    #[test]
    fn what_codes_keep() {
        let digest = Digest::of(crate::digest::Algorithm::Sha256, b"x");
        for (body, kept) in [
            (r#"{"errors":[{"code":"DENIED","message":"a secret"}]}"#.into(), r#"{"errors":[{"code":"DENIED"}]}"#.into()),
            (r#"{"errors":[{"code":"S3CRET"}]}"#.into(), r#"{"errors":[{"code":"OTHER"}]}"#.into()),
            (
                r#"{"errors":[{"code":"DENIED","message":"Your Authorization token has expired. s3cret"}]}"#.into(),
                r#"{"errors":[{"code":"DENIED","message":"authorization token has expired"}]}"#.into(),
            ),
            (
                format!(r#"{{"errors":[{{"code":"","detail":["s3cret","{digest}"]}}]}}"#),
                format!(r#"{{"errors":[{{"code":"","detail":["{digest}"]}}]}}"#),
            ),
            ("s3cret".into(), String::new()),
        ] {
            assert_eq!(String::from_utf8_lossy(&codes(body.as_bytes())), kept, "{body}");
        }
    }

    #[test]
    fn what_is_no_text_is_counted() {
        for (body, expected) in [
            (&b"\x1f\x8b\x08"[..], " (3 bytes that are no text)"),
            (b"t\0o\0", " (4 bytes that are no text)"),
            (b"cut in an \xc3", " (cut in an)"),
            (b"\xc3", ""),
        ] {
            assert_eq!(read(body).to_string(), expected, "{body:?}");
        }
    }

    #[test]
    fn how_no_document_begins() {
        let long = "é".repeat(40);
        for (start, expected) in [
            ("<!DOCTYPE html>\n<html>", "<!DOCTYPE"),
            ("<html><head>", "<html>"),
            ("<html\nlang=en>", "<html"),
            (r#"[{"token":"a"}]"#, "["),
            ("log in at https://x/?a=b", "log in at https://x/?***"),
            (&long, &format!("{}…", "é".repeat(28))),
            ("a\0", "\u{fffd}"),
            ("", ""),
        ] {
            assert_eq!(shown_start(start.as_bytes()), expected, "{start}");
        }
    }

    #[test]
    fn digests_are_found_in_details() {
        let digest = Digest::of(crate::digest::Algorithm::Sha256, b"x");
        let body = alloc::format!(
            r#"{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","detail":{{"digest":"{digest}"}}}}]}}"#
        );
        let errors = read(body.as_bytes());
        assert!(errors.has("MANIFEST_BLOB_UNKNOWN"));
        assert_eq!(errors.entries[0].digests, [digest]);
    }
}
