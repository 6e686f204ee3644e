//! How the result of a job is written.
//!
//! Responsible for the forms of what the crate does not define (statuses, headers, bodies) and of
//! credentials. The rest is derived where the types are. Details of errors are skipped there: a tape has
//! their kinds only. Must not know which text may be kept (`allow`) nor whether a result fits its job
//! (`player`).

use alloc::boxed::Box;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::call::{Exchanged, Outcome};
use crate::credential::{CredentialAnswer, Secret};
use crate::store::{StoreAnswer, StoreError};

/// What came of a job.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum End {
    Http(Box<Exchanged>),
    Store(Result<StoreAnswer, StoreError>),
    Credentials(Credential),
    Lost,
}

/// A credential, with placeholders.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Credential {
    None,
    Basic { username: String, password: String },
    Bearer(String),
    Refresh(String),
    Failed,
}

impl From<End> for Outcome {
    fn from(end: End) -> Self {
        match end {
            End::Http(exchanged) => Self::Http(exchanged),
            End::Store(answer) => Self::Store(answer),
            End::Credentials(credential) => Self::Credentials(match credential {
                Credential::None => CredentialAnswer::None,
                Credential::Basic { username, password } => CredentialAnswer::Basic {
                    username,
                    password: Secret::new(password),
                },
                Credential::Bearer(token) => CredentialAnswer::Bearer(Secret::new(token)),
                Credential::Refresh(token) => CredentialAnswer::Refresh(Secret::new(token)),
                Credential::Failed => CredentialAnswer::Failed(no_detail()),
            }),
            End::Lost => Self::Lost,
        }
    }
}

/// What stands for the detail of an error that was on a tape.
pub(crate) fn no_detail() -> String {
    "details are not on a tape".into()
}

/// A status as its number.
pub(crate) mod status {
    use http::StatusCode;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it")]
    pub(crate) fn serialize<S: Serializer>(
        status: &Option<StatusCode>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        status.map(|it| it.as_u16()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<StatusCode>, D::Error> {
        let status = Option::<u16>::deserialize(deserializer)?;
        let status = status.map(StatusCode::from_u16).transpose();
        status.map_err(|_| D::Error::custom("invalid status"))
    }
}

/// Headers as pairs, in their order.
pub(crate) mod headers {
    use alloc::string::String;
    use alloc::vec::Vec;

    use http::{HeaderMap, HeaderName, HeaderValue};
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        headers: &HeaderMap,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let pairs = headers.iter().map(|(name, value)| {
            let value = value.to_str().map_err(S::Error::custom)?;
            Ok((name.as_str(), value))
        });
        pairs
            .collect::<Result<Vec<_>, S::Error>>()?
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<HeaderMap, D::Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in Vec::<(String, String)>::deserialize(deserializer)? {
            let name: HeaderName = name.parse().map_err(D::Error::custom)?;
            if !crate::header::is_read(&name) {
                return Err(D::Error::custom("a header that is not read"));
            }
            let value = HeaderValue::try_from(value).map_err(D::Error::custom)?;
            headers.append(name, value);
        }
        Ok(headers)
    }
}

/// Bytes that are text.
pub(crate) mod text {
    use alloc::string::String;
    use alloc::vec::Vec;

    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(core::str::from_utf8(bytes).map_err(S::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        String::deserialize(deserializer).map(String::into_bytes)
    }
}
