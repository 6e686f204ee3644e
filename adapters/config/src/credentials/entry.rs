//! An entry of `auths` (CRED-03, CRED-04, CRED-11).
//!
//! Responsible for what an entry means as a credential, and for the entry that a login writes. Must
//! not know keys or files.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use windlass_core::credential::{CredentialAnswer, Secret};

/// An entry of `auths`. An empty string counts as absent.
///
/// The user name `<token>` is special in the answer of a helper only (CRED-24): OpenShift writes
/// entries with it whose password is meant as one.
#[derive(Default, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl Entry {
    /// The entry's credential; the strongest form wins (CRED-11). An error says what is wrong with
    /// its `auth`, and does not quote it.
    pub(super) fn credential(&self) -> Result<Option<CredentialAnswer>, &'static str> {
        fn filled(text: Option<&String>) -> Option<&str> {
            text.map(String::as_str).filter(|text| !text.is_empty())
        }
        if let Some(token) = filled(self.registrytoken.as_ref()) {
            return Ok(Some(bearer(token)));
        }
        if let Some(token) = filled(self.identitytoken.as_ref()) {
            return Ok(Some(refresh(token)));
        }
        if let Some(auth) = filled(self.auth.as_ref()) {
            return decode(auth).map(Some);
        }
        let pair = filled(self.username.as_ref()).zip(filled(self.password.as_ref()));
        Ok(pair.map(|(username, password)| basic(username, password)))
    }
}

pub(super) fn basic(username: &str, password: &str) -> CredentialAnswer {
    CredentialAnswer::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

pub(super) fn bearer(token: &str) -> CredentialAnswer {
    CredentialAnswer::Bearer(Secret::new(token))
}

pub(super) fn refresh(token: &str) -> CredentialAnswer {
    CredentialAnswer::Refresh(Secret::new(token))
}

/// The `auth` of an entry with this user name and password.
pub(super) fn encode(username: &str, password: &Secret) -> String {
    // The file is where a password without a helper is stored, and only its owner can read it.
    STANDARD.encode(format!("{username}:{}", password.expose()))
}

/// Base64 of `user:password`, split at the first colon (CRED-04). Padding may be missing and white
/// space may be anywhere: `base64` without `-w0` breaks lines.
fn decode(auth: &str) -> Result<CredentialAnswer, &'static str> {
    const FORGIVING: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let mut auth = auth.to_owned();
    auth.retain(|char| !char.is_ascii_whitespace());
    let bytes = FORGIVING.decode(auth).map_err(|_| "is not valid base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "is not text")?;
    let (username, password) = text
        .split_once(':')
        .ok_or("has no colon between user name and password")?;
    if username.is_empty() {
        return Err("has no user name");
    }
    Ok(basic(username, password.trim_end_matches('\0')))
}
