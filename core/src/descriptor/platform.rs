//! The platform of a descriptor: parsing, normalising.
//!
//! Responsible for what is one platform in several spellings, in documents and as people type it. Must not know
//! which entry of an index is for it (`platform`), nor the platform of this machine.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::json::nullable;

/// A platform, as written. Two spellings of one platform differ; compare them
/// [`normalized`](Self::normalized).
///
/// # Example: what people type
///
/// ```
/// # use windlass_core::Platform;
/// let platform: Platform = "linux/arm/v7".parse()?;
/// assert_eq!(platform.variant.as_deref(), Some("v7"));
/// assert_eq!("arm64".parse::<Platform>()?.to_string(), "linux/arm64");
/// # Ok::<(), windlass_core::platform::PlatformError>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Platform {
    /// The operating system, as Go names it; [`ANY_OS`](Self::ANY_OS) in a choice by the architecture alone.
    #[serde(default, deserialize_with = "nullable")]
    pub os: String,
    /// The architecture, as Go names it.
    #[serde(default, deserialize_with = "nullable")]
    pub architecture: String,
    /// The variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The version of the operating system.
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Features the operating system must have.
    #[serde(
        default,
        deserialize_with = "nullable",
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
}

impl Platform {
    /// In a platform that is wanted: any operating system. `*/arm64` takes the first entry for this architecture.
    pub const ANY_OS: &str = "*";

    /// A platform without variant, version and features.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: None,
            os_version: None,
            os_features: Vec::new(),
        }
    }

    /// The canonical spelling: lower case, no aliases, no redundant variant (IDX-06).
    #[must_use]
    pub fn normalized(&self) -> Self {
        let lower = |text: &str| text.to_ascii_lowercase();
        let os = match lower(&self.os).as_str() {
            "macos" => "darwin".into(),
            other => String::from(other),
        };
        let variant = self.variant.as_deref().map(lower).unwrap_or_default();
        let architecture = lower(&self.architecture);
        let (architecture, variant) = normalize(&architecture, &variant);
        Self {
            os,
            architecture: architecture.into(),
            variant: Some(variant).filter(|variant| !variant.is_empty()),
            os_version: self
                .os_version
                .clone()
                .filter(|version| !version.is_empty()),
            os_features: self.os_features.clone(),
        }
    }
}

fn normalize<'a>(architecture: &'a str, variant: &str) -> (&'a str, String) {
    let (architecture, variant) = match architecture {
        "aarch64" => ("arm64", variant),
        "x86_64" | "x86-64" => ("amd64", variant),
        "i386" => ("386", variant),
        "armhf" => ("arm", "v7"),
        "armel" => ("arm", "v6"),
        other => (other, variant),
    };
    let variant = match (architecture, variant) {
        ("arm", "") => "v7",
        ("arm", "5") => "v5",
        ("arm", "6") => "v6",
        ("arm", "7") => "v7",
        ("arm", "8") => "v8",
        ("arm64", "8" | "v8" | "v8.0") | ("amd64", "v1") => "",
        ("arm64", "v9.0") => "v9",
        (_, other) => other,
    };
    (architecture, variant.into())
}

/// `os[(version[+feature]…)]/architecture[/variant]`
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if self.os_version.is_some() || !self.os_features.is_empty() {
            write!(f, "({}", self.os_version.as_deref().unwrap_or_default())?;
            for feature in &self.os_features {
                write!(f, "+{feature}")?;
            }
            f.write_str(")")?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Parses what users type (IDX-18); an architecture alone means Linux, `*/arm64` any operating system.
impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let mut parts = text.split('/');
        let first = parts.next().unwrap_or_default();
        let (second, variant) = (parts.next(), parts.next());
        let words = second.into_iter().chain(variant);
        if parts.next().is_some() || !words.clone().all(is_word) {
            return Err(PlatformError::Format);
        }
        let Some(architecture) = second else {
            return alone(first);
        };
        let mut platform = Self::new("", architecture);
        platform.variant = variant.map(Into::into);
        if first == Self::ANY_OS {
            platform.os = first.into();
            return Ok(platform);
        }
        let Some((os, rest)) = first.split_once('(') else {
            platform.os = word(first)?.into();
            return Ok(platform);
        };
        platform.os = word(os)?.into();
        let mut inner = rest
            .strip_suffix(')')
            .ok_or(PlatformError::Format)?
            .split('+');
        let version = inner.next().filter(|version| !version.is_empty());
        platform.os_version = version.map(word).transpose()?.map(Into::into);
        for feature in inner {
            platform.os_features.push(word(feature)?.into());
        }
        Ok(platform)
    }
}

/// A known architecture, so that `linux` or a typing error does not pass for one.
fn alone(text: &str) -> Result<Platform, PlatformError> {
    const ARCHITECTURES: &[&str] = &[
        "386", "aarch64", "amd64", "arm", "arm64", "armel", "armhf", "i386", "loong64", "mips",
        "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm", "x86-64",
        "x86_64",
    ];
    const SYSTEMS: &[&str] = &[
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "macos",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
    ];
    let lower = text.to_ascii_lowercase();
    if ARCHITECTURES.contains(&lower.as_str()) {
        Ok(Platform::new("linux", text))
    } else if SYSTEMS.contains(&lower.as_str()) {
        Err(PlatformError::NoArchitecture)
    } else {
        Err(PlatformError::Format)
    }
}

fn word(text: &str) -> Result<&str, PlatformError> {
    if is_word(text) {
        Ok(text)
    } else {
        Err(PlatformError::Format)
    }
}

fn is_word(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !text.is_empty() && text.bytes().all(is_inner)
}

/// Why a text is not a platform.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// It does not follow the grammar.
    #[error("not a platform: expected `os/architecture[/variant]`, as in `linux/arm64`")]
    Format,
    /// It is only an operating system.
    #[error("the platform lacks an architecture: expected `os/architecture[/variant]`")]
    NoArchitecture,
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;
    use crate::testing::mutations;

    #[test]
    fn platforms_are_read_and_printed() {
        let table = [
            ("V-F", "linux/amd64", Ok("linux/amd64")),
            ("V-F", "linux/arm/v7", Ok("linux/arm/v7")),
            ("V-F", "arm64", Ok("linux/arm64")),
            ("V-F", "linux", Err(PlatformError::NoArchitecture)),
            (
                "V-F",
                "windows(10.0.17763)/amd64",
                Ok("windows(10.0.17763)/amd64"),
            ),
            ("V-F", "linux(+gpu)/amd64", Ok("linux(+gpu)/amd64")),
            (
                "IDX-18",
                "windows(10.0.17763+win32k)/amd64",
                Ok("windows(10.0.17763+win32k)/amd64"),
            ),
            ("IDX-05", "linux/arm64/v8", Ok("linux/arm64/v8")),
            ("IDX-05", "linux/arm64/v8.1", Ok("linux/arm64/v8.1")),
            ("IDX-05", "linux/amd64/v1", Ok("linux/amd64/v1")),
            (
                "IDX-05",
                "linux/riscv64/rva20u64",
                Ok("linux/riscv64/rva20u64"),
            ),
            ("IDX-05", "linux/ppc64le/power8", Ok("linux/ppc64le/power8")),
            ("IDX-05", "linux/arm/v5", Ok("linux/arm/v5")),
            ("V-F", "linux/arm/v7/x", Err(PlatformError::Format)),
            ("V-F", "", Err(PlatformError::Format)),
            ("V-F", "linux/", Err(PlatformError::Format)),
            ("V-F", "li nux/amd64", Err(PlatformError::Format)),
            ("V-F", "*", Err(PlatformError::Format)),
            ("any system", "*/arm64", Ok("*/arm64")),
            ("any system", "*/arm/v7", Ok("*/arm/v7")),
            ("any system", "*(1)/arm64", Err(PlatformError::Format)),
            ("any system", "linux/*", Err(PlatformError::Format)),
            ("V-F", "all", Err(PlatformError::Format)),
            ("IDX-18", "linux(/amd64", Err(PlatformError::Format)),
            ("IDX-18", "linux(+)/amd64", Err(PlatformError::Format)),
        ];
        for (row, text, expected) in table {
            let found = text
                .parse::<Platform>()
                .map(|platform| platform.to_string());
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{row} {text}");
            mutations(text, |text| {
                if let Ok(platform) = text.parse::<Platform>() {
                    assert_eq!(platform.to_string().parse(), Ok(platform.clone()), "{text}");
                    let normal = platform.normalized();
                    assert_eq!(normal.normalized(), normal, "{text}");
                }
            });
        }
    }

    #[test]
    fn platforms_are_normalized() {
        let table = [
            ("macos/x86_64", "darwin/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/x86-64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/i386", "linux/386"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
        ];
        for (text, expected) in table {
            let platform: Platform = text.parse().expect(text);
            assert_eq!(platform.normalized().to_string(), expected, "IDX-06 {text}");
        }
    }

    #[test]
    fn json_may_be_incomplete() {
        let json = r#"{"os":null,"architecture":"arm","variant":null,"os.features":null,"x":1}"#;
        let platform: Platform = serde_json::from_str(json).expect("IDX-01");
        assert_eq!(platform, Platform::new("", "arm"), "IDX-01, N-19");
        let json = r#"{"os":"windows","architecture":"amd64","os.version":"10.0.1"}"#;
        let platform: Platform = serde_json::from_str(json).expect("IDX-01");
        assert_eq!(platform.to_string(), "windows(10.0.1)/amd64");
        assert_eq!(
            serde_json::to_string(&platform).expect("it is plain"),
            r#"{"os":"windows","architecture":"amd64","os.version":"10.0.1"}"#
        );
    }
}
