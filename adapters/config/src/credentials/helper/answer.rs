//! The answers of credential helpers (CRED-21, CRED-22, CRED-24, CRED-25).
//!
//! Responsible for their JSON, and for errors that quote nothing of it. Must not know how a helper is
//! run.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use windlass_core::credential::CredentialAnswer;

use crate::credentials::entry::{basic, refresh};

/// The user name that marks an identity token.
const TOKEN: &str = "<token>";

/// Reads the answer to `get`. `None`: neither a user name nor a secret.
///
/// Names of members count in any case, as in helpers written in Go. `ServerURL` is not read: where
/// the credential goes was decided before the helper was asked.
///
/// # Errors
///
/// What is wrong with it, without quoting it.
pub fn parse_credential(answer: &[u8]) -> Result<Option<CredentialAnswer>, String> {
    let members: BTreeMap<String, Box<RawValue>> = parse(answer)?;
    let text = |name: &str| -> Result<String, String> {
        let mut found = members
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let Some((key, value)) = found.next() else {
            return Ok(String::new());
        };
        if found.next().is_some() {
            return Err(format!("has `{key}` twice"));
        }
        let text: Option<String> = serde_json::from_str(value.get())
            .map_err(|_| format!("has a `{key}` that is not a string"))?;
        Ok(text.unwrap_or_default())
    };
    let (username, secret) = (text("Username")?, text("Secret")?);
    Ok(match (username.as_str(), secret.as_str()) {
        ("", "") => None,
        // Without a user name it cannot be a password (AUTH-73).
        ("" | TOKEN, token) if !token.is_empty() => Some(refresh(token)),
        (TOKEN, _) => return Err("has a user name `<token>` and no secret".to_owned()),
        (username, password) => Some(basic(username, password)),
    })
}

/// Reads the answer to `list`: the user name for each URL.
///
/// # Errors
///
/// What is wrong with it, without quoting it.
pub fn parse_list(answer: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let listed: Option<_> = parse(answer)?;
    Ok(listed.unwrap_or_default())
}

fn parse<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, String> {
    if answer.trim_ascii().is_empty() {
        return Err("is empty".to_owned());
    }
    // The message of serde_json quotes the text.
    serde_json::from_slice(answer).map_err(|error| {
        let what = if error.is_data() {
            "is not the expected JSON"
        } else {
            "is not valid JSON"
        };
        format!(
            "{what}, at line {}, column {}",
            error.line(),
            error.column()
        )
    })
}
