//! What registries have been found to support.
//!
//! Responsible for what one exchange learns about a registry and later ones adapt to. Operations write
//! it (`learn`) and consult it (`adapt`); `exchanges` calls both and forgets a registry together with
//! its host. Must not know how an operation uses it.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::reference::Repository;
use crate::registry::Origin;

/// What is known of one registry. The default is what the specification promises.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    /// Repositories that it refuses to mount from: every further mount would cost a round trip for
    /// nothing (users.md 16.2).
    pub(crate) unmountable: BTreeSet<Repository>,
    /// It takes the bytes of a blob by PATCH, and no PUT with a body.
    pub(crate) needs_patch: bool,
}

/// The capabilities of all registries.
#[derive(Debug, Default)]
pub(crate) struct Registries {
    known: BTreeMap<Origin, Capabilities>,
}

impl Registries {
    /// What differs from the default at a registry, if anything does.
    pub(crate) fn known(&self, origin: &Origin) -> Option<&Capabilities> {
        self.known.get(origin)
    }

    /// What is known of a registry, to be written.
    pub(crate) fn entry(&mut self, origin: &Origin) -> &mut Capabilities {
        self.known.entry(origin.clone()).or_default()
    }

    /// Forgets registries.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&Origin) -> bool) {
        self.known.retain(|origin, _| is_kept(origin));
    }
}
