//! Where a registry's API is, as configuration files have it.

use std::fmt;

use windlass_core::config::ApiPath;
use windlass_core::{Origin, Scheme};

/// An origin and the path of its API, `/v2` unless said otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiUrl {
    /// Scheme, host and port.
    pub origin: Origin,
    /// The path below which the API is.
    pub api: ApiPath,
}

impl ApiUrl {
    /// The API at its usual place.
    pub fn of(origin: Origin) -> Self {
        Self {
            origin,
            api: ApiPath::default(),
        }
    }

    /// A URL, or `host[:port][/path]` for https. `/v2` is appended unless the path ends with it or is the
    /// whole root of the API (`override_path`).
    pub(crate) fn parse(text: &str, is_whole: bool) -> Result<Self, String> {
        // What is before the colons may be the beginning of a host's name.
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some(_) => return Err("the scheme must be http or https".to_owned()),
            None => (Scheme::Https, text),
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let origin = format!("{scheme}://{authority}").parse::<Origin>();
        let origin = origin.map_err(|error| error.to_string())?;
        // As containerd cleans it.
        let parts = path.split('/').filter(|part| !part.is_empty());
        let mut root: String = parts.flat_map(|part| ["/", part]).collect();
        if !is_whole && !root.ends_with("/v2") {
            root.push_str("/v2");
        }
        let api = root.parse::<ApiPath>();
        let api = api.map_err(|error| error.to_string())?;
        Ok(Self { origin, api })
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.api)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V-G, and what is refused.
    #[test]
    fn urls() {
        let table = [
            ("reg", false, "https://reg/v2"),
            ("https://m/x", false, "https://m/x/v2"),
            ("https://m/x", true, "https://m/x"),
            ("https://m/x/", true, "https://m/x"),
            ("https://m/v2", false, "https://m/v2"),
            ("https://m/v2/", false, "https://m/v2"),
            ("https://m/v2/x", false, "https://m/v2/x/v2"),
            ("https://m/v2/x", true, "https://m/v2/x"),
            ("https://m", true, "https://m"),
            ("http://m:5000/", false, "http://m:5000/v2"),
            ("http://m:5000//a//b", false, "http://m:5000/a/b/v2"),
            ("HTTPS://M:443/x", false, "https://m/x/v2"),
            ("m:5000/x", false, "https://m:5000/x/v2"),
            ("https://[::1]:5000", false, "https://[::1]:5000/v2"),
            (
                "http-mirror.example",
                false,
                "https://http-mirror.example/v2",
            ),
            ("ftp://m", false, "!"),
            ("https://", false, "!"),
            ("", false, "!"),
            ("https://user:s3cret@m", false, "!"),
            ("https://m/../x", false, "!"),
            ("https://m/x?y=s3cret", false, "!"),
            ("https://m/x#y", false, "!"),
            ("https://m/%2e%2e/x", false, "!"),
            ("https://m\\@n", false, "!"),
            ("https://m:0", false, "!"),
            ("https://m n", false, "!"),
        ];
        for (text, is_whole, expected) in table {
            match ApiUrl::parse(text, is_whole) {
                Ok(url) => assert_eq!(url.to_string(), expected, "{text}"),
                Err(why) => {
                    assert_eq!(expected, "!", "{text}: {why}");
                    assert!(!why.contains("s3cret"), "{why}");
                }
            }
        }
    }
}
