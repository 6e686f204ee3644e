//! Parts of requests to one endpoint: the path of its API, and its headers.
//!
//! Responsible for their grammar, and for headers that are not shown. Must not know routes.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use http::{HeaderName, HeaderValue, header};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::credential::Secret;
use crate::reference::Repository;
use crate::uri::Url;

/// What is before the name of a repository in the path of a request: `/v2`, if nothing else is said.
///
/// Empty, or one or more components of letters, digits, `.`, `_`, `~` and `-`, each with a `/` before it
/// and none of them `.` or `..`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ApiPath(Arc<str>);

impl ApiPath {
    /// The path, without a `/` at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The repository below which such an API has all others, if it is below `/v2`: then it is the API
    /// of one registry, whose token service knows the whole name.
    pub(super) fn repository(&self) -> Option<Repository> {
        self.0.strip_prefix("/v2/")?.parse().ok()
    }
}

impl Default for ApiPath {
    fn default() -> Self {
        Self("/v2".into())
    }
}

impl fmt::Display for ApiPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ApiPath {
    type Err = ApiPathError;

    /// Parses a path. A `/` at its end does not matter.
    fn from_str(text: &str) -> Result<Self, ApiPathError> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let is_component =
            |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_inner);
        let mut parts = path.split('/');
        if path.len() <= 1024 && parts.next() == Some("") && parts.all(is_component) {
            Ok(Self(path.into()))
        } else {
            Err(ApiPathError)
        }
    }
}

/// A text is not the path of an API.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the path of an API begins with `/` and has letters, digits, `.`, `_`, `~`, `-` and `/` only"
)]
pub struct ApiPathError;

/// A header of requests to one endpoint. Its value may be a secret: it is not shown, and not written to
/// tapes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestHeader {
    name: String,
    value: Secret,
}

/// Headers that belong to the protocol or to the connection.
const RESERVED: [HeaderName; 13] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl RequestHeader {
    /// A header. If it is `Authorization`, no other credentials are asked for or sent.
    ///
    /// # Errors
    ///
    /// [`RequestHeaderError`], which does not show the value.
    pub fn new(name: &str, value: Secret) -> Result<Self, RequestHeaderError> {
        let shown = || crate::sanitize::escape(name, 100);
        let parsed: HeaderName = name
            .parse()
            .map_err(|_| RequestHeaderError::Name { name: shown() })?;
        if RESERVED.contains(&parsed) {
            return Err(RequestHeaderError::Reserved { name: shown() });
        }
        if HeaderValue::from_str(value.expose()).is_err() {
            return Err(RequestHeaderError::Value { name: shown() });
        }
        let name = parsed.as_str().into();
        Ok(Self { name, value })
    }

    /// The name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    pub const fn value(&self) -> &Secret {
        &self.value
    }

    /// Both, for a request.
    pub(crate) fn to_http(&self) -> Option<(HeaderName, HeaderValue)> {
        let name = self.name.parse().ok()?;
        // It goes into the request that it was configured for.
        let value = self.value.expose();
        // An address without a user name is none, such as the one that Dragonfly is told.
        let is_public = Url::parse(value).is_ok_and(|url| url.query().is_none());
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(!is_public);
        Some((name, value))
    }

    /// What stands for the value on a tape. Of an authorisation the scheme stays, because transcripts
    /// show it.
    fn placeholder(&self) -> String {
        let scheme = self
            .value
            .expose()
            .split_once(' ')
            .map(|(scheme, _)| scheme);
        let is_known = |it: &&str| matches!(*it, "Basic" | "Bearer");
        match scheme.filter(|it| self.name == "authorization" && is_known(it)) {
            Some(scheme) => format!("{scheme} secret-header"),
            None => "secret-header".into(),
        }
    }
}

/// Why a header cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestHeaderError {
    /// The name is not one of a header.
    #[error("`{name}` is not the name of a header")]
    Name {
        /// The name.
        name: String,
    },
    /// The protocol or the connection sets it.
    #[error("the header `{name}` cannot be configured")]
    Reserved {
        /// The name.
        name: String,
    },
    /// The value has characters that no header can have.
    #[error("the value of the header `{name}` has invalid characters")]
    Value {
        /// The name.
        name: String,
    },
}

/// The form of a header on a tape.
#[derive(Deserialize, Serialize)]
struct HeaderRepr {
    name: String,
    value: String,
}

impl Serialize for RequestHeader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, value) = (self.name.clone(), self.placeholder());
        HeaderRepr { name, value }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RequestHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let HeaderRepr { name, value } = HeaderRepr::deserialize(deserializer)?;
        Self::new(&name, Secret::new(value)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn paths_of_apis() {
        for (text, path) in [
            ("/v2", "/v2"),
            ("/v2/", "/v2"),
            ("", ""),
            ("/", ""),
            ("/v2/hub-remote", "/v2/hub-remote"),
            (
                "/artifactory/api/docker/x_y~z/v2",
                "/artifactory/api/docker/x_y~z/v2",
            ),
        ] {
            let parsed: ApiPath = text.parse().expect("a path");
            assert_eq!(parsed.as_str(), path);
        }
        for text in [
            "v2", "//", "/a//b", "/a/../b", "/.", "/a?b", "/a#b", "/a b", "/%2e", "/é",
        ] {
            assert_eq!(text.parse::<ApiPath>(), Err(ApiPathError), "{text}");
        }
    }

    #[test]
    fn a_header_is_not_shown_and_not_written() {
        let new = |name: &str, value: &str| RequestHeader::new(name, Secret::new(value));
        for (value, written) in [
            ("Basic c2VjcmV0", "Basic secret-header"),
            ("Bearer hidden", "Bearer secret-header"),
            ("Custom hidden", "secret-header"),
            ("hidden", "secret-header"),
        ] {
            let header = new("Authorization", value).expect("a header");
            let json = serde_json::to_string(&header).expect("JSON");
            assert_eq!(
                json,
                format!(r#"{{"name":"authorization","value":"{written}"}}"#)
            );
            assert!(serde_json::from_str::<RequestHeader>(&json).is_ok());
            assert!(!format!("{header:?}").contains("c2VjcmV0"), "{header:?}");
            assert!(!format!("{header:?}").contains("hidden"), "{header:?}");
        }
        for (name, value, error) in [
            ("a b", "x", "`a b` is not the name of a header"),
            ("", "x", "`` is not the name of a header"),
            ("Host", "x", "the header `Host` cannot be configured"),
            (
                "Content-Length",
                "1",
                "the header `Content-Length` cannot be configured",
            ),
            (
                "X-A",
                "hidden\n",
                "the value of the header `X-A` has invalid characters",
            ),
        ] {
            let refused = new(name, value).expect_err("it cannot be sent");
            assert_eq!(format!("{refused}"), error);
        }
        let json = r#"{"name":"host","value":"x"}"#;
        assert!(serde_json::from_str::<RequestHeader>(json).is_err());
    }
}
