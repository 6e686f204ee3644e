//! Odd labels of real registries that do not matter for content.
//!
//! Responsible for: wrong types and encodings, addresses with characters that no URL has, members of
//! token answers that have other types than they should.
//! Must not know: what is labelled.

use http::header;
use serde_json::{Value, json};

use super::message::Answer;

/// The labels of a registry. By default they are right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The `Content-Type` of every manifest in place of its own; nothing leaves it out.
    pub manifest_type: Option<String>,
    /// The `Content-Encoding` of every manifest and blob. Nothing is encoded.
    pub encoding: Option<String>,
    /// Whether the addresses of storage and of uploads have characters that must be escaped. They are
    /// good if these, and no others, are.
    pub unescaped: bool,
    /// Whether members of token answers that decide nothing are of other types.
    pub odd_tokens: bool,
}

/// What is added to a path and to a query, and how it must be sent.
const PATH: (&str, &str) = (" (\u{fc})", "%20(%C3%BC)");
const QUERY: (&str, &str) = (
    "&for={a b}|\\\"^`<>%7b",
    "&for=%7Ba%20b%7D%7C%5C%22%5E%60%3C%3E%7b",
);

impl Labels {
    /// What is added to the path of an address that is told, and of one that is sent.
    pub(crate) const fn path(&self) -> (&'static str, &'static str) {
        if self.unescaped { PATH } else { ("", "") }
    }

    /// What is added to its query.
    pub(crate) const fn query(&self) -> (&'static str, &'static str) {
        if self.unescaped { QUERY } else { ("", "") }
    }

    pub(crate) fn manifest(&self, mut answer: Answer) -> Answer {
        if let Some(media_type) = &self.manifest_type {
            answer.headers.remove(header::CONTENT_TYPE);
            if !media_type.is_empty() {
                answer = answer.header("content-type", media_type);
            }
        }
        self.content(answer)
    }

    pub(crate) fn content(&self, answer: Answer) -> Answer {
        match &self.encoding {
            Some(encoding) => answer.header("content-encoding", encoding),
            None => answer,
        }
    }

    pub(crate) fn token(&self, body: &mut Value, issued: u64) {
        if !self.odd_tokens {
            return;
        }
        body["issued_at"] = json!(issued.to_string());
        if let Some(seconds) = body.get("expires_in").and_then(Value::as_u64) {
            body["expires_in"] = json!(format!("{seconds}.0"));
        }
        body["scope"] = Value::Null;
        body["refresh_token"] = body.get("refresh_token").cloned().unwrap_or_default();
        body["account"] = json!([7, {}]);
    }
}
