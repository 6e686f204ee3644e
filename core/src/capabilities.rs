//! What registries have been found to support.
//!
//! Responsible for what one exchange learns about a registry and later ones adapt to. Operations write
//! it (`learn`) and consult it (`adapt`); `exchanges` calls both and forgets a registry together with
//! its host. Must not know how an operation uses it.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::config::ChunkSizes;
use crate::reference::Repository;
use crate::registry::Origin;
use crate::task::MountFrom;

/// What is known of one registry. The default is what the specification promises.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    /// Repositories that it refuses to mount from: every further mount would cost a round trip for
    /// nothing (users.md 16.2).
    pub(crate) unmountable: BTreeSet<Repository>,
    /// Whether it looks through its repositories for a blob that is to be mounted from anywhere. `None`: that was
    /// not found out.
    pub(crate) searches_for_mounts: Option<bool>,
    /// It takes the bytes of a blob by PATCH, and no PUT with a body.
    pub(crate) needs_patch: bool,
    /// It stores no blob whose bytes come with the POST that begins an upload.
    pub(crate) takes_no_posts: bool,
    /// It ignores tags that are put with a manifest by its digest.
    pub(crate) takes_no_tags: bool,
    /// Whether it looks at the condition of a PUT. `None`: that was not found out.
    pub(crate) looks_at_conditions: Option<bool>,
    /// It has no referrers API.
    pub(crate) lists_no_referrers: bool,
    /// The size of chunks to send, after a larger body was refused.
    pub(crate) chunk: Option<u64>,
    /// It takes no blob in parts, whatever their size.
    pub(crate) takes_no_parts: bool,
}

impl Capabilities {
    /// Whether it is of no use to ask for a mount.
    pub(crate) fn refuses_mount(&self, from: &MountFrom) -> bool {
        match from {
            MountFrom::Repository(from) => self.unmountable.contains(from),
            MountFrom::Anywhere => self.searches_for_mounts == Some(false),
        }
    }
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

/// The size of chunks to try after a body of `refused` bytes was too large, of those that a registry is known to
/// take. `least` is what it has asked for. `None` if there is no smaller one.
///
/// This decides what is tried after a refusal, never what is sent first: a PUT of the whole blob works everywhere
/// that a proxy does not prevent it.
pub(crate) fn smaller_chunk(known: ChunkSizes, refused: u64, least: u64) -> Option<u64> {
    /// 16 MiB are few round trips; proxies are known to limit bodies to 100 MB (Cloudflare), 10 MiB and 1 MiB
    /// (nginx, by default).
    const SIZES: [u64; 5] = [16 << 20, 4 << 20, 1 << 20, 256 << 10, 64 << 10];
    let least = known.least.max(least);
    let sizes = SIZES.into_iter();
    let mut sizes = sizes.map(|size| size.min(known.most).max(least));
    sizes.find(|size| *size < refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RegistryKind;

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
                Some(10 * MIB),
            ),
            (
                "1234.dkr.ecr.eu-west-1.amazonaws.com",
                10 * MIB,
                0,
                Some(5 * MIB),
            ),
            ("public.ecr.aws", 5 * MIB, 0, None),
            ("europe-docker.pkg.dev", 100 * MIB, 0, None),
        ] {
            let registry = registry.parse().expect("a registry");
            let kind = RegistryKind::of(&registry);
            let known = kind.map_or(ChunkSizes::ANY, |kind| kind.habits().chunks);
            let found = smaller_chunk(known, refused, least);
            assert_eq!(found, expected, "{registry} {refused} {least}");
        }
    }
}
