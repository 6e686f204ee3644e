//! Which registries a setting is for.
//!
//! Responsible for the grammar of patterns, and for which of two is the closer one. Must not know settings.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::registry::Registry;

/// The registries that a setting is for: one (`reg.example:5000`), or all whose names match a pattern in which
/// `*` stands for one or more characters (`*.dkr.ecr.*.amazonaws.com`). A name without a port is for the default port alone, as
/// in a reference; with a `*`, what has no port is for every port.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RegistryPattern(Pattern);

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Pattern {
    One(Registry),
    /// In lower case.
    Matching(Arc<str>),
}

/// How closely a pattern describes a registry; the larger one counts. A name is closer than a pattern, and a
/// pattern with more characters beside `*` than one with fewer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Closeness(bool, usize);

impl RegistryPattern {
    /// How closely it describes a registry, if it is for it.
    pub fn closeness(&self, registry: &Registry) -> Option<Closeness> {
        match &self.0 {
            Pattern::One(name) => {
                (name.credential_key() == registry.credential_key()).then_some(Closeness(true, 0))
            }
            Pattern::Matching(pattern) => closeness(pattern, registry),
        }
    }
}

/// How closely a pattern in lower case describes a registry. Docker Hub is `docker.io` by all its names.
pub(super) fn closeness(pattern: &str, registry: &Registry) -> Option<Closeness> {
    let hub = Registry::docker_hub();
    let registry = if registry.is_docker_hub() {
        &hub
    } else {
        registry
    };
    let name = if pattern.contains(':') {
        registry.as_str()
    } else {
        registry.host()
    };
    let is_match = matches(pattern.as_bytes(), name.to_ascii_lowercase().as_bytes());
    let characters = pattern.bytes().filter(|byte| *byte != b'*').count();
    is_match.then_some(Closeness(!pattern.contains('*'), characters))
}

/// Whether a name matches a pattern. After a mismatch the last `*` takes one character more, so this takes at most
/// as many steps as the product of both lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            seen += 1;
            star = Some((at, seen));
        } else if pattern.get(at) == name.get(seen) {
            at += 1;
            seen += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, seen) = (after, taken + 1);
        } else {
            return false;
        }
    }
    at == pattern.len()
}

impl From<Registry> for RegistryPattern {
    fn from(registry: Registry) -> Self {
        Self(Pattern::One(registry))
    }
}

impl fmt::Display for RegistryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::One(registry) => registry.fmt(f),
            Pattern::Matching(pattern) => f.write_str(pattern),
        }
    }
}

impl FromStr for RegistryPattern {
    type Err = RegistryPatternError;

    fn from_str(text: &str) -> Result<Self, RegistryPatternError> {
        let error = || RegistryPatternError {
            text: crate::sanitize::escape(text, 100),
        };
        if !text.contains('*') {
            let registry: Registry = text.parse().map_err(|_| error())?;
            return Ok(registry.into());
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"*.-_:".contains(&byte);
        if text.len() > 255 || !text.bytes().all(is_part) {
            return Err(error());
        }
        Ok(Self(Pattern::Matching(text.to_ascii_lowercase().into())))
    }
}

/// A text is not a pattern for registries.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{text}` is neither a registry, host[:port], nor a pattern for some, such as `*.example.com`"
)]
pub struct RegistryPatternError {
    text: String,
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn patterns_of_registries() {
        for (pattern, registry, expected) in [
            ("reg.example", "reg.example", Some((true, 0))),
            ("reg.example", "REG.example:443", Some((true, 0))),
            ("reg.example", "reg.example:5000", None),
            ("docker.io", "index.docker.io", Some((true, 0))),
            ("*", "reg.example:5000", Some((false, 0))),
            ("*.example", "reg.example", Some((false, 8))),
            ("*.example", "reg.example:5000", Some((false, 8))),
            ("*.example:5000", "reg.example:5000", Some((false, 13))),
            ("*.example:5000", "reg.example", None),
            ("*.example", "reg.example.org", None),
            ("*.Example", "Reg.eXample", Some((false, 8))),
            ("*.docker.io", "registry-1.docker.io", None),
            ("docker.*", "registry-1.docker.io", Some((false, 7))),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "1234.dkr.ecr.eu-west-1.amazonaws.com",
                Some((false, 23)),
            ),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "1234.dkr.ecr.amazonaws.com",
                None,
            ),
            ("a*a*a", "aab.aaba", Some((false, 3))),
            ("a*a*b", "aab.aaba", None),
            ("**", "a.b", Some((false, 0))),
        ] {
            let pattern: RegistryPattern = pattern.parse().expect("a pattern");
            let registry = registry.parse().expect("a registry");
            let found = pattern.closeness(&registry).map(|it| (it.0, it.1));
            assert_eq!(found, expected, "{pattern} {registry}");
        }
    }

    #[test]
    fn texts_that_are_no_patterns() {
        let long = "*".repeat(256);
        for text in ["", "word", "*/a", "*.exa mple", "*\n", "https://*", &long] {
            let error = text.parse::<RegistryPattern>().expect_err("no pattern");
            assert!(error.to_string().contains("nor a pattern"), "{error}");
        }
    }
}
