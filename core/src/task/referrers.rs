//! What refers to a manifest.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Task, TaskKind, TaskReport};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
#[cfg(doc)]
use crate::error::Error;
use crate::reference::Reference;

impl Task {
    /// List the manifests whose subject is what a reference stands for, of one artifact type or of all.
    ///
    /// Where the registry has no referrers API, the list is read that clients keep at a tag. Lists name wrong types at
    /// times: if one type is asked for, the manifests at such a tag are read for their types, and those that the API
    /// lists with another type or none. It fails with
    /// [`Error::NotFound`] if the repository is unknown, or what a tag stands for.
    pub const fn referrers(reference: Reference, artifact_type: Option<String>) -> Self {
        Self::new(TaskKind::Referrers(ReferrersTask {
            reference,
            artifact_type,
        }))
    }
}

impl TaskReport {
    /// What refers to a manifest, if the task was to list that.
    pub fn referrers(self) -> Option<Referrers> {
        if let Self::Referrers(referrers) = self {
            return Some(referrers);
        }
        None
    }
}

/// A list of referrers to be read.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReferrersTask {
    pub(crate) reference: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
}

/// The manifests that have another one as their subject: signatures, SBOMs and other artifacts.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Referrers {
    /// The manifest that they refer to.
    pub subject: Digest,
    /// Their descriptors, each once, by artifact type and digest. What the list says of them is not verified, with one
    /// exception: if one artifact type was asked for, the type of each is what its manifest says, unless the registry
    /// itself lists that type, or the manifest is gone.
    pub referrers: Vec<Descriptor>,
    /// Where the list comes from.
    pub source: ReferrersSource,
}

impl Referrers {
    /// What a store lists, of one artifact type or of all.
    pub fn listed(subject: Digest, found: Vec<Descriptor>, artifact_type: Option<&str>) -> Self {
        let mut referrers = found;
        referrers.retain(|entry| {
            artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
        });
        let key = |entry: &Descriptor| (entry.artifact_type.clone(), entry.digest.clone());
        referrers.sort_by_cached_key(key);
        let source = ReferrersSource::Tag;
        Self {
            subject,
            referrers,
            source,
        }
    }
}

/// Where a list of referrers comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReferrersSource {
    /// The registry lists them.
    Api,
    /// The registry has no referrers API; clients keep the list at a tag.
    Tag,
    /// The registry has no referrers API, and there is no such tag: no client that keeps the list has put a
    /// referrer.
    Nothing,
}

/// One line, as in transcripts.
impl fmt::Display for Referrers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.source {
            ReferrersSource::Api => "",
            ReferrersSource::Tag => " at the tag",
            ReferrersSource::Nothing => ", without API or tag",
        };
        write!(f, "{} referrers{by}", self.referrers.len())
    }
}
