//! How the end of a job is written.
//!
//! Responsible for a form that holds everything a session reads of an end. Must not know what is
//! secret in it (`scrub`) nor whether it fits its job (`player`).

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::call::{
    Exchanged, Flaw, Interrupted, Outcome, Received, TransportError, TransportErrorKind,
};
use crate::credential::{CredentialAnswer, Secret};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::hashing::Hashing;
use crate::header;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind};
use crate::written::Text;

/// What came of a job.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum End {
    Http(HttpForm),
    Store(StoreForm),
    Credentials(CredentialForm),
    Lost,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct HttpForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// Names and values, in the order of [`header::READ`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Vec<(String, Octets)>,
    #[serde(default, skip_serializing_if = "BodyForm::is_nothing")]
    pub(super) body: BodyForm,
    /// Bytes of a blob that went out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) sent: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) flaw: Option<FlawForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) broken: Option<BrokenForm>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BodyForm {
    #[default]
    Nothing,
    Collected {
        bytes: Octets,
        #[serde(default, skip_serializing_if = "is_false")]
        cut: bool,
    },
    Stored {
        from: u64,
        end: u64,
        hashed: HashForm,
    },
}

impl BodyForm {
    const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A hash under way: how many bytes, and their digest so far. The hash's own state would hold the last
/// of them, and no byte of a blob is written down.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct HashForm {
    pub(super) len: u64,
    pub(super) digest: Text<Digest>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FlawForm {
    TooLarge { limit: u64 },
    TooLong { expected: u64 },
    Length { expected: u64, declared: u64 },
    Range { said: Option<String> },
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BrokenForm {
    Transport(TransportForm),
    NotSent(TransportForm),
    Store(StoreErrorForm),
    Damaged { found: Option<Text<Digest>> },
    Aborted,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct TransportForm {
    #[serde(with = "TransportKind")]
    kind: TransportErrorKind,
    pub(super) detail: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct StoreErrorForm {
    #[serde(with = "StoreKind")]
    kind: StoreErrorKind,
    pub(super) detail: String,
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "TransportErrorKind", rename_all = "lowercase")]
enum TransportKind {
    Resolve,
    Connect,
    Descriptors,
    Tls,
    ProxyAuth,
    Reset,
    Idle,
    Answer,
    Protocol,
    Other,
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "StoreErrorKind", rename_all = "lowercase")]
enum StoreKind {
    NoSuchName,
    Ambiguous,
    Absent,
    Damaged,
    Full,
    Denied,
    NotALayout,
    TooLarge,
    Locked,
    Descriptors,
    Io,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "lives for the length of a line")]
pub(super) enum StoreForm {
    Absent,
    Complete,
    Partial(u64),
    Busy(u64),
    Loaded(Octets),
    Hashed(HashForm),
    Written,
    Found(Descriptor),
    Several(Vec<Descriptor>),
    Failed(StoreErrorForm),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CredentialForm {
    None,
    Basic { username: String, password: String },
    Bearer(String),
    Refresh(String),
    Failed(String),
}

/// Bytes: text where they are text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Octets {
    Text(String),
    Base64 { base64: String },
}

impl Octets {
    pub(super) fn new(bytes: &[u8]) -> Self {
        match core::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Base64 {
                base64: STANDARD.encode(bytes),
            },
        }
    }

    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Base64 { base64 } => STANDARD.decode(base64).ok(),
        }
    }
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Http(exchanged) => Self::Http((&**exchanged).into()),
            Outcome::Store(answer) => Self::Store(answer.into()),
            Outcome::Credentials(answer) => Self::Credentials(answer.into()),
            Outcome::Lost => Self::Lost,
        }
    }
}

impl End {
    /// What the session is handed; says what is wrong if that is nothing that can be.
    pub(super) fn into_outcome(self) -> Result<Outcome, &'static str> {
        Ok(match self {
            Self::Http(form) => Outcome::Http(form.into_exchanged()?.into()),
            Self::Store(form) => Outcome::Store(form.into_answer()?),
            Self::Credentials(form) => Outcome::Credentials(form.into()),
            Self::Lost => Outcome::Lost,
        })
    }
}

impl From<&Exchanged> for HttpForm {
    fn from(exchanged: &Exchanged) -> Self {
        let headers = exchanged.headers.iter();
        Self {
            status: exchanged.status.map(|status| status.as_u16()),
            headers: headers
                .map(|(name, value)| (name.to_string(), Octets::new(value.as_bytes())))
                .collect(),
            body: (&exchanged.body).into(),
            sent: exchanged.sent,
            flaw: exchanged.flaw.as_ref().map(Into::into),
            broken: exchanged.interrupted.as_ref().map(Into::into),
        }
    }
}

impl HttpForm {
    fn into_exchanged(self) -> Result<Exchanged, &'static str> {
        let status = self.status.map(StatusCode::from_u16).transpose();
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let name = name.parse::<HeaderName>();
            let name = name.map_err(|_| "a header that is none")?;
            if !header::is_read(&name) {
                return Err("a header that is not read");
            }
            let value = value.bytes().ok_or("a value that is no base64")?;
            let value = HeaderValue::from_bytes(&value).map_err(|_| "a value no header has")?;
            headers.append(name, value);
        }
        Ok(Exchanged {
            status: status.map_err(|_| "a status that is none")?,
            headers,
            body: self.body.into_received()?,
            sent: self.sent,
            flaw: self.flaw.map(Into::into),
            interrupted: self.broken.map(Into::into),
        })
    }
}

impl From<&Received> for BodyForm {
    fn from(received: &Received) -> Self {
        match received {
            Received::Nothing => Self::Nothing,
            Received::Collected { bytes, cut } => Self::Collected {
                bytes: Octets::new(bytes),
                cut: *cut,
            },
            Received::Stored {
                hashing,
                from,
                range_end,
            } => Self::Stored {
                from: *from,
                end: *range_end,
                hashed: hashing.into(),
            },
        }
    }
}

impl BodyForm {
    fn into_received(self) -> Result<Received, &'static str> {
        Ok(match self {
            Self::Nothing => Received::Nothing,
            Self::Collected { bytes, cut } => Received::Collected {
                bytes: bytes.bytes().ok_or("a body that is no base64")?,
                cut,
            },
            Self::Stored { from, end, hashed } => Received::Stored {
                hashing: hashed.into_hashing()?,
                from,
                range_end: end,
            },
        })
    }
}

impl From<&Hashing> for HashForm {
    fn from(hashing: &Hashing) -> Self {
        Self {
            len: hashing.len(),
            digest: Text(hashing.clone().digest()),
        }
    }
}

impl HashForm {
    fn into_hashing(self) -> Result<Hashing, &'static str> {
        Hashing::told(self.len, self.digest.0).ok_or("a hash of an algorithm that is not known")
    }
}

impl From<&Flaw> for FlawForm {
    fn from(flaw: &Flaw) -> Self {
        match flaw.clone() {
            Flaw::TooLarge { limit } => Self::TooLarge { limit },
            Flaw::TooLong { expected } => Self::TooLong { expected },
            Flaw::Length { expected, declared } => Self::Length { expected, declared },
            Flaw::Range { said } => Self::Range { said },
        }
    }
}

impl From<FlawForm> for Flaw {
    fn from(form: FlawForm) -> Self {
        match form {
            FlawForm::TooLarge { limit } => Self::TooLarge { limit },
            FlawForm::TooLong { expected } => Self::TooLong { expected },
            FlawForm::Length { expected, declared } => Self::Length { expected, declared },
            FlawForm::Range { said } => Self::Range { said },
        }
    }
}

impl From<&Interrupted> for BrokenForm {
    fn from(interrupted: &Interrupted) -> Self {
        match interrupted {
            Interrupted::Transport(error) => Self::Transport(error.into()),
            Interrupted::NotSent(error) => Self::NotSent(error.into()),
            Interrupted::Store(error) => Self::Store(error.into()),
            Interrupted::Damaged { found } => Self::Damaged {
                found: found.clone().map(Text),
            },
            Interrupted::Aborted => Self::Aborted,
        }
    }
}

impl From<BrokenForm> for Interrupted {
    fn from(form: BrokenForm) -> Self {
        match form {
            BrokenForm::Transport(error) => Self::Transport(error.into()),
            BrokenForm::NotSent(error) => Self::NotSent(error.into()),
            BrokenForm::Store(error) => Self::Store(error.into()),
            BrokenForm::Damaged { found } => Self::Damaged {
                found: found.map(|Text(found)| found),
            },
            BrokenForm::Aborted => Self::Aborted,
        }
    }
}

impl From<&TransportError> for TransportForm {
    fn from(error: &TransportError) -> Self {
        Self {
            kind: error.kind,
            detail: error.detail.clone(),
        }
    }
}

impl From<TransportForm> for TransportError {
    fn from(form: TransportForm) -> Self {
        Self::new(form.kind, form.detail)
    }
}

impl From<&StoreError> for StoreErrorForm {
    fn from(error: &StoreError) -> Self {
        Self {
            kind: error.kind(),
            detail: error.detail().into(),
        }
    }
}

impl From<StoreErrorForm> for StoreError {
    fn from(form: StoreErrorForm) -> Self {
        Self::new(form.kind, form.detail)
    }
}

impl From<&Result<StoreAnswer, StoreError>> for StoreForm {
    fn from(answer: &Result<StoreAnswer, StoreError>) -> Self {
        match answer {
            Ok(StoreAnswer::Absent) => Self::Absent,
            Ok(StoreAnswer::Complete) => Self::Complete,
            Ok(StoreAnswer::Partial { len }) => Self::Partial(*len),
            Ok(StoreAnswer::Busy { len }) => Self::Busy(*len),
            Ok(StoreAnswer::Loaded(bytes)) => Self::Loaded(Octets::new(bytes)),
            Ok(StoreAnswer::Hashed(hashing)) => Self::Hashed(hashing.into()),
            Ok(StoreAnswer::Written) => Self::Written,
            Ok(StoreAnswer::Found(descriptor)) => Self::Found(descriptor.clone()),
            Ok(StoreAnswer::Several(entries)) => Self::Several(entries.clone()),
            Err(error) => Self::Failed(error.into()),
        }
    }
}

impl StoreForm {
    fn into_answer(self) -> Result<Result<StoreAnswer, StoreError>, &'static str> {
        Ok(Ok(match self {
            Self::Absent => StoreAnswer::Absent,
            Self::Complete => StoreAnswer::Complete,
            Self::Partial(len) => StoreAnswer::Partial { len },
            Self::Busy(len) => StoreAnswer::Busy { len },
            Self::Loaded(bytes) => {
                StoreAnswer::Loaded(bytes.bytes().ok_or("a document that is no base64")?)
            }
            Self::Hashed(hashed) => StoreAnswer::Hashed(hashed.into_hashing()?),
            Self::Written => StoreAnswer::Written,
            Self::Found(descriptor) => StoreAnswer::Found(descriptor),
            Self::Several(entries) => StoreAnswer::Several(entries),
            Self::Failed(error) => return Ok(Err(error.into())),
        }))
    }
}

impl From<&CredentialAnswer> for CredentialForm {
    fn from(answer: &CredentialAnswer) -> Self {
        match answer {
            CredentialAnswer::None => Self::None,
            CredentialAnswer::Basic { username, password } => Self::Basic {
                username: username.clone(),
                // What takes its place is `scrub`'s to say; nothing writes this form before.
                password: password.expose().into(),
            },
            CredentialAnswer::Bearer(secret) => Self::Bearer(secret.expose().into()),
            CredentialAnswer::Refresh(secret) => Self::Refresh(secret.expose().into()),
            CredentialAnswer::Failed(why) => Self::Failed(why.clone()),
        }
    }
}

impl From<CredentialForm> for CredentialAnswer {
    fn from(form: CredentialForm) -> Self {
        match form {
            CredentialForm::None => Self::None,
            CredentialForm::Basic { username, password } => Self::Basic {
                username,
                password: Secret::new(password),
            },
            CredentialForm::Bearer(secret) => Self::Bearer(Secret::new(secret)),
            CredentialForm::Refresh(secret) => Self::Refresh(Secret::new(secret)),
            CredentialForm::Failed(why) => Self::Failed(why),
        }
    }
}
