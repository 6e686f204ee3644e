//! What registries have been found to support.
//!
//! Responsible for what one exchange learns about a registry and later ones adapt to. Operations write
//! it (`learn`) and consult it (`adapt`); `exchanges` calls both and forgets a registry together with
//! its host. Must not know how an operation uses it.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::reference::Repository;
use crate::registry::{Origin, Registry};

/// What is known of one registry. The default is what the specification promises.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    /// Repositories that it refuses to mount from: every further mount would cost a round trip for
    /// nothing (users.md 16.2).
    pub(crate) unmountable: BTreeSet<Repository>,
    /// It takes the bytes of a blob by PATCH, and no PUT with a body.
    pub(crate) needs_patch: bool,
    /// It ignores tags that are put with a manifest by its digest.
    pub(crate) takes_no_tags: bool,
    /// It has no referrers API.
    pub(crate) lists_no_referrers: bool,
    /// The size of chunks to send, after a larger body was refused.
    pub(crate) chunk: Option<u64>,
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

/// Which chunks a registry takes. It decides what is tried after a body was refused, never what is sent
/// first: a PUT of the whole blob works everywhere that a proxy does not prevent it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Chunks {
    /// The least size of all chunks but the last.
    least: u64,
    /// The largest size.
    most: u64,
}

impl Chunks {
    /// Sizes to try. 16 MiB are few round trips; proxies are known to limit bodies to 100 MB (Cloudflare),
    /// 10 MiB and 1 MiB (nginx, by default).
    const SIZES: [u64; 5] = [16 << 20, 4 << 20, 1 << 20, 256 << 10, 64 << 10];

    /// What is known of a registry. clients.md C.2, C.3, C.5; needs.md 9.
    pub(crate) fn of(registry: &Registry) -> Self {
        let host = registry.as_str();
        let (least, most) = if host == "ghcr.io" {
            (0, 4 << 20)
        } else if host == "public.ecr.aws" || host.contains(".dkr.ecr.") {
            (5 << 20, u64::MAX)
        } else if host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev") {
            // Artifact Registry takes none.
            (u64::MAX, u64::MAX)
        } else {
            (0, u64::MAX)
        };
        Self { least, most }
    }

    /// The size to try after a body of `refused` bytes was too large. `least` is what the registry has
    /// asked for. `None` if there is no smaller one.
    pub(crate) fn below(self, refused: u64, least: u64) -> Option<u64> {
        let least = self.least.max(least);
        let sizes = Self::SIZES.into_iter();
        let mut sizes = sizes.map(|size| size.min(self.most).max(least));
        sizes.find(|size| *size < refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_smaller_as_far_as_a_registry_allows() {
        const MIB: u64 = 1 << 20;
        for (registry, refused, least, expected) in [
            ("reg.example", 100 * MIB, 0, Some(16 * MIB)),
            ("reg.example", 16 * MIB, 0, Some(4 * MIB)),
            ("reg.example", MIB + 1, 0, Some(MIB)),
            ("reg.example", MIB, 0, Some(MIB / 4)),
            ("reg.example", 64 * 1024, 0, None),
            ("reg.example", 16 * MIB, 10 * MIB, Some(10 * MIB)),
            ("reg.example", 10 * MIB, 10 * MIB, None),
            ("ghcr.io", 100 * MIB, 0, Some(4 * MIB)),
            (
                "1234.dkr.ecr.eu-west-1.amazonaws.com",
                16 * MIB,
                0,
                Some(5 * MIB),
            ),
            ("public.ecr.aws", 5 * MIB, 0, None),
            ("europe-docker.pkg.dev", 100 * MIB, 0, None),
        ] {
            let registry = registry.parse().expect("a registry");
            let found = Chunks::of(&registry).below(refused, least);
            assert_eq!(found, expected, "{registry} {refused} {least}");
        }
    }
}
