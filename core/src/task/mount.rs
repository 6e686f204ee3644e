//! Where blobs may be mounted from.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::reference::{ReferenceError, Repository};

/// Where a registry may have a blob already, so that it can mount it instead of receiving it.
///
/// As text it is the repository, or `*` for anywhere.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum MountFrom {
    /// In this repository.
    Repository(Repository),
    /// In any repository that the registry lets the caller read: the registry is to look for it (PUSHB-52). Few
    /// registries do; one that answers such a mount once is asked again for other blobs.
    Anywhere,
}

impl MountFrom {
    const ANYWHERE: &str = "*";

    /// The repository, if there is one.
    pub(crate) const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Repository(repository) => Some(repository),
            Self::Anywhere => None,
        }
    }
}

impl From<Repository> for MountFrom {
    fn from(repository: Repository) -> Self {
        Self::Repository(repository)
    }
}

impl FromStr for MountFrom {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text == Self::ANYWHERE {
            return Ok(Self::Anywhere);
        }
        text.parse().map(Self::Repository)
    }
}

impl TryFrom<String> for MountFrom {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<MountFrom> for String {
    fn from(from: MountFrom) -> Self {
        alloc::format!("{from}")
    }
}

impl fmt::Display for MountFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(repository) => write!(f, "{repository}"),
            Self::Anywhere => f.write_str(Self::ANYWHERE),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn a_place_to_mount_from_is_read_as_it_was_written() {
        let repository: Repository = "team/app".parse().expect("a repository");
        for (text, expected) in [
            ("team/app", Some(MountFrom::Repository(repository))),
            ("*", Some(MountFrom::Anywhere)),
            ("**", None),
            ("", None),
            ("Team", None),
        ] {
            let read: Option<MountFrom> = text.parse().ok();
            assert_eq!(read, expected, "{text}");
            if let Some(read) = read {
                assert_eq!(read.to_string(), text);
                let json = serde_json::to_string(&read).expect("JSON");
                assert_eq!(serde_json::from_str(&json).ok(), Some(read), "{json}");
            }
        }
    }
}
