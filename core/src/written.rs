//! How values that are not this crate's are written, and credentials: on tapes, in checkpoints, in configurations.
//!
//! Responsible for the forms of durations, statuses, headers, bodies and credentials. The rest is derived where the
//! types are, so this is below all of them. Details of errors are skipped there: a tape has their kinds only. Must
//! not know tapes: which text may be kept (`tape::allow`), nor whether a result fits its job (`tape::player`).

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::credential::{CredentialAnswer, Secret, TimedAnswer};

/// Writes `$value` as `$repr`, for serde's `with`.
macro_rules! written_as {
    ($module:ident, $value:ty, $repr:ty, $to:expr, $from:expr) => {
        pub(crate) mod $module {
            use super::*;

            pub(crate) fn serialize<S: Serializer>(
                value: &$value,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let to: fn(&$value) -> $repr = $to;
                to(value).serialize(serializer)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$value, D::Error> {
                let from: fn($repr) -> Option<$value> = $from;
                let value = from(<$repr>::deserialize(deserializer)?);
                value.ok_or_else(|| D::Error::custom(concat!("invalid ", stringify!($module))))
            }
        }
    };
}

written_as!(
    micros,
    Duration,
    u64,
    |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
    |micros| Some(Duration::from_micros(micros))
);
written_as!(
    status,
    Option<StatusCode>,
    Option<u16>,
    |status| status.map(|it| it.as_u16()),
    |code| code.map(StatusCode::from_u16).transpose().ok()
);
written_as!(headers, HeaderMap, Vec<(String, String)>, pairs, map);
written_as!(
    text,
    Vec<u8>,
    String,
    |bytes| String::from_utf8_lossy(bytes).into_owned(),
    |text| Some(text.into_bytes())
);
// Only placeholders are written (`allow`).
written_as!(
    secret,
    Secret,
    String,
    |secret| secret.expose().into(),
    |text| Some(Secret::new(text))
);

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.as_str().into(), text(value)))
        .collect()
}

fn map(pairs: Vec<(String, String)>) -> Option<HeaderMap> {
    let pairs = pairs.into_iter().map(|(name, value)| {
        let name: HeaderName = name.parse().ok()?;
        let value = HeaderValue::try_from(value).ok()?;
        crate::header::is_read(&name).then_some((name, value))
    });
    pairs.collect()
}

written_as!(
    credential,
    TimedAnswer,
    CredentialLine,
    |timed| CredentialLine::of(timed),
    |line| Some(line.timed())
);

/// An answer, or an answer and how long it can be used.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum CredentialLine {
    Timed {
        answer: Credential,
        #[serde(rename = "validFor", with = "micros")]
        valid_for: Duration,
    },
    Untimed(Credential),
}

#[derive(Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Credential(#[serde(with = "CredentialRepr")] CredentialAnswer);

impl CredentialLine {
    fn of(timed: &TimedAnswer) -> Self {
        let answer = Credential(timed.answer.clone());
        match timed.valid_for {
            Some(valid_for) => Self::Timed { answer, valid_for },
            None => Self::Untimed(answer),
        }
    }

    fn timed(self) -> TimedAnswer {
        match self {
            Self::Timed { answer, valid_for } => answer.0.valid_for(valid_for),
            Self::Untimed(answer) => answer.0.into(),
        }
    }
}

/// A credential, with placeholders.
#[derive(Deserialize, Serialize)]
#[serde(remote = "CredentialAnswer", rename_all = "lowercase")]
enum CredentialRepr {
    None,
    Basic {
        username: String,
        #[serde(with = "secret")]
        password: Secret,
    },
    Bearer(#[serde(with = "secret")] Secret),
    Refresh(#[serde(with = "secret")] Secret),
    Failed(#[serde(skip, default = "no_detail")] String),
}

/// What stands for the detail of an error that was on a tape.
pub(crate) fn no_detail() -> String {
    "details are not on a tape".into()
}
