//! Putting a manifest at a tag in the place of what was read there (PUSHM-15).
//!
//! ```text
//!  in line for the tag ─▶ looking ─┬─ it is what is to be put ─▶ over
//!                          ▲       ├─ it is what was read ─┐
//!                          │       └─ another one ─────────┼───▶ outdated
//!                          └─────────── putting ◀──────────┘
//! ```
//!
//! Responsible for not replacing what another client has put meanwhile: by a condition, and, since most registries ignore
//! those, by looking at what is there right before and right after. Must not know what a manifest contains, so it
//! cannot add to what is there: the caller reads that again.

use alloc::format;
use alloc::string::String;

use crate::digest::Digest;
use crate::error::Error;
use crate::ids::NodeId;
use crate::manifest::Document;
use crate::op::{Condition, ManifestGet, Operation, Site};
use crate::reference::{Tag, Target};
use crate::scope::Scopes;
use crate::tasks::TaskPorts;
use crate::tasks::lists::ListKey;

/// How often it is put: again only if the registry does not understand the condition, or lost the manifest.
const PUTS: u8 = 3;

/// The place of a manifest that is to be replaced.
#[derive(Debug)]
pub(super) struct Replacing {
    /// The tag: one task at a time writes it.
    pub(super) key: ListKey,
    /// What was read there.
    old: Digest,
    puts: u8,
    condition: Option<Condition>,
    /// Whether the request that is under way asks what is there.
    is_looking: bool,
}

impl Replacing {
    pub(super) const fn new(site: Site, tag: Tag, old: Digest) -> Self {
        Self {
            key: (site, tag),
            old,
            puts: 0,
            condition: None,
            is_looking: false,
        }
    }

    /// Looks at what is there.
    pub(super) fn look(&mut self, node: NodeId, scopes: Scopes, ports: &mut TaskPorts<'_>) {
        let (site, tag) = self.key.clone();
        let limit = ports.limits().document;
        let op = ManifestGet::new(site.clone(), Target::Tag(tag), None, limit);
        ports.exchange(node, site, Operation::ManifestGet(op), scopes);
        self.is_looking = true;
    }

    /// Whether the request under way is the GET of the tag. Only then does a 404 mean that nothing is there.
    pub(super) const fn is_looking(&self) -> bool {
        self.is_looking
    }

    /// Takes what is there. On which condition the manifest is to be put, unless it is there.
    pub(super) fn found(
        &mut self,
        found: &Document,
        etag: Option<String>,
        new: &Digest,
    ) -> Result<Option<Option<Condition>>, Error> {
        self.is_looking = false;
        if found.digest() == new {
            return Ok(None);
        }
        if *found.digest() != self.old || self.puts == PUTS {
            return Err(self.outdated(Some(found.digest()), new));
        }
        self.puts += 1;
        // A condition that was refused although nothing has changed is not understood.
        let condition = etag.map(Condition::Unchanged);
        self.condition = condition.filter(|it| self.condition.as_ref() != Some(it));
        Ok(Some(self.condition.clone()))
    }

    /// Another manifest is at the tag, or none.
    pub(super) fn outdated(&self, found: Option<&Digest>, new: &Digest) -> Error {
        let (site, tag) = &self.key;
        let expected = if self.puts == 0 { &self.old } else { new };
        Error::Outdated {
            place: format!("{}/{}:{tag}", site.registry, site.repository),
            expected: expected.clone(),
            found: found.cloned(),
        }
    }
}
