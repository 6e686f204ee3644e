//! Where tasks read.

use serde::{Deserialize, Serialize};

/// Where a task reads.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "bool", into = "bool")]
pub(crate) enum ReadAt {
    /// At the endpoints of the route: mirrors first.
    #[default]
    Mirrors,
    /// Where it would write.
    Registry,
}

impl ReadAt {
    pub(super) fn is_mirrors(&self) -> bool {
        *self == Self::Mirrors
    }
}

impl From<bool> for ReadAt {
    fn from(is_without_mirrors: bool) -> Self {
        if is_without_mirrors {
            Self::Registry
        } else {
            Self::Mirrors
        }
    }
}

impl From<ReadAt> for bool {
    fn from(read_at: ReadAt) -> Self {
        read_at == ReadAt::Registry
    }
}
