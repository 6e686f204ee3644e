//! Which repositories have which blobs, as far as this session has seen.
//!
//! Responsible for remembering that within bounds, and for the order in which repositories are tried for a
//! mount. What is remembered saves requests and decides nothing: a registry that misses something says so when
//! the manifest is put, and then it is asked. Must not know how blobs move.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use crate::digest::Digest;
use crate::op::Site;
use crate::reference::Repository;
use crate::registry::Origin;
use crate::time::Time;

/// How many registries are remembered. Those that were not used for the longest time are forgotten.
const HOSTS: usize = 16;
/// How many blobs are remembered of one registry, likewise: those of some dozens of large images.
const BLOBS: usize = 4096;
/// For how long a blob that was seen in a repository is taken to be there. Blobs without a manifest are removed
/// by registries' garbage collections, which spare those of the last hours.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// After this number of mounts in a row that did not happen, one repository is tried for each blob: at some registries
/// mounting is a setting, which is off (users.md 16.4).
const VAIN: u32 = 4;

/// The blobs that were seen in repositories.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hosts: BTreeMap<Origin, HostSightings>,
    /// How many sightings there were: they are numbered.
    sightings: u64,
}

#[derive(Debug, Default)]
struct HostSightings {
    blobs: BTreeMap<(Digest, Repository), Sighting>,
    by_age: BTreeMap<u64, (Digest, Repository)>,
    /// Mounts of seen blobs that did not happen, since the last one that did.
    vain: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sighting {
    number: u64,
    at: Time,
    /// The size that the blob had.
    size: u64,
}

impl Seen {
    /// A repository has a blob.
    pub(super) fn note(&mut self, site: &Site, (digest, size): (&Digest, u64), now: Time) {
        self.sightings += 1;
        let sighting = Sighting {
            number: self.sightings,
            at: now,
            size,
        };
        let key = (digest.clone(), site.repository.clone());
        let host = self.hosts.entry(site.origin.clone()).or_default();
        if let Some(before) = host.blobs.insert(key.clone(), sighting) {
            host.by_age.remove(&before.number);
        }
        host.by_age.insert(sighting.number, key);
        if host.by_age.len() > BLOBS
            && let Some((_, oldest)) = host.by_age.pop_first()
        {
            host.blobs.remove(&oldest);
        }
        self.forget_hosts();
    }

    /// A repository may not have a blob any more.
    pub(super) fn forget(&mut self, site: &Site, digest: &Digest) {
        self.forget_in(&site.origin, digest, &site.repository);
    }

    /// Whether a repository had a blob within the last hour, and of this size: if another manifest says another one, the
    /// registry is asked (SEC-02, PUSHB-02).
    pub(super) fn has(&self, site: &Site, (digest, size): (&Digest, u64), now: Time) -> bool {
        let key = (digest.clone(), site.repository.clone());
        let host = self.hosts.get(&site.origin);
        let sighting = host.and_then(|host| host.blobs.get(&key));
        sighting.is_some_and(|it| it.size == size && now.since(it.at) <= FRESH)
    }

    /// The other repositories of the registry that had a blob. First those whose names are most like that of the
    /// destination: they are likely to belong to the same owner. Among those, the one that was seen last.
    pub(super) fn candidates(&self, to: &Site, digest: &Digest) -> Vec<Repository> {
        let Some(host) = self.hosts.get(&to.origin) else {
            return Vec::new();
        };
        let first = (digest.clone(), Repository::none());
        let found = host.blobs.range(first..);
        let found = found.take_while(|((of, _), _)| of == digest);
        let mut found: Vec<_> = found
            .filter(|((_, repository), _)| *repository != to.repository)
            .map(|((_, repository), sighting)| {
                let likeness = likeness(repository, &to.repository);
                (Reverse((likeness, sighting.number)), repository)
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, found)| found.clone()).collect()
    }

    /// How many repositories are tried for a blob of this size: as many as in docker, where a mount of more than
    /// 10 MiB may fail three times before the blob is sent, one of more than 100 KiB twice.
    pub(super) fn tries(&self, origin: &Origin, size: u64) -> usize {
        let host = self.hosts.get(origin);
        if host.is_some_and(|host| host.vain >= VAIN) {
            return 1;
        }
        match size {
            0..=0x1_9000 => 1,
            0x1_9001..=0xa0_0000 => 3,
            _ => 4,
        }
    }

    /// The registry has mounted something.
    pub(super) fn mounted(&mut self, origin: &Origin) {
        if let Some(host) = self.hosts.get_mut(origin) {
            host.vain = 0;
        }
    }

    /// The registry did not mount a blob from a repository: it is not tried again.
    pub(super) fn not_mounted(&mut self, origin: &Origin, digest: &Digest, from: &Repository) {
        if self.forget_in(origin, digest, from)
            && let Some(host) = self.hosts.get_mut(origin)
        {
            host.vain = host.vain.saturating_add(1);
        }
    }

    /// Whether it was known.
    fn forget_in(&mut self, origin: &Origin, digest: &Digest, repository: &Repository) -> bool {
        let Some(host) = self.hosts.get_mut(origin) else {
            return false;
        };
        let key = (digest.clone(), repository.clone());
        let Some(sighting) = host.blobs.remove(&key) else {
            return false;
        };
        host.by_age.remove(&sighting.number);
        true
    }

    fn forget_hosts(&mut self) {
        if self.hosts.len() <= HOSTS {
            return;
        }
        let newest = |host: &HostSightings| host.by_age.last_key_value().map(|(number, _)| *number);
        let oldest = self.hosts.iter().min_by_key(|(_, host)| newest(host));
        if let Some(origin) = oldest.map(|(origin, _)| origin.clone()) {
            self.hosts.remove(&origin);
        }
    }
}

/// How many of the first components two names share.
fn likeness(one: &Repository, other: &Repository) -> usize {
    let pairs = one.as_str().split('/').zip(other.as_str().split('/'));
    pairs.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::digest::Algorithm;
    use crate::op::testing::site_of;

    fn blob(n: u64) -> Digest {
        Digest::of(Algorithm::Sha256, &n.to_be_bytes())
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn candidates_are_ordered_by_name_and_then_by_age() {
        let mut seen = Seen::default();
        for (n, repository) in [
            "reg.example/other",
            "reg.example/team/web/old",
            "reg.example/team/db",
            "reg.example/team/web/new",
            "reg.example/team/web/app",
            "else.example/team/web/app2",
            "reg.example/more",
        ]
        .iter()
        .enumerate()
        {
            seen.note(&site_of(repository), (&blob(1), 4), at(n as u64));
        }
        seen.note(&site_of("reg.example/team/web/app3"), (&blob(2), 4), at(9));
        let found = seen.candidates(&site_of("reg.example/team/web/app"), &blob(1));
        let found: Vec<&str> = found.iter().map(Repository::as_str).collect();
        let expected = ["team/web/new", "team/web/old", "team/db", "more", "other"];
        assert_eq!(found, expected);
        seen.note(&site_of("reg.example/team/web/old"), (&blob(1), 4), at(10));
        let found = seen.candidates(&site_of("reg.example/team/web/app"), &blob(1));
        assert_eq!(found[0].as_str(), "team/web/old");
    }

    #[test]
    fn a_blob_is_there_for_an_hour_unless_it_is_forgotten() {
        let mut seen = Seen::default();
        let site = site_of("reg.example/a");
        seen.note(&site, (&blob(1), 4), at(0));
        assert!(seen.has(&site, (&blob(1), 4), at(3600)));
        assert!(!seen.has(&site, (&blob(1), 4), at(3601)));
        assert!(!seen.has(&site_of("reg.example/b"), (&blob(1), 4), at(0)));
        assert!(!seen.has(&site_of("else.example/a"), (&blob(1), 4), at(0)));
        assert!(!seen.has(&site, (&blob(1), 5), at(0)), "of another size");
        seen.forget(&site, &blob(1));
        assert!(!seen.has(&site, (&blob(1), 4), at(0)));
    }

    #[test]
    fn the_number_of_tries_depends_on_the_size_and_on_success() {
        let mut seen = Seen::default();
        let site = site_of("reg.example/a");
        let tries = |seen: &Seen| {
            let sizes = [0, 100 << 10, (100 << 10) + 1, 10 << 20, (10 << 20) + 1];
            sizes.map(|size| seen.tries(&site.origin, size))
        };
        assert_eq!(tries(&seen), [1, 1, 3, 3, 4]);
        for n in 0..4 {
            assert_eq!(tries(&seen), [1, 1, 3, 3, 4]);
            seen.note(&site, (&blob(n), 4), at(0));
            // One that was not known to be there says nothing.
            seen.not_mounted(&site.origin, &blob(n), &"b".parse().expect("a name"));
            seen.not_mounted(&site.origin, &blob(n), &site.repository);
            assert!(!seen.has(&site, (&blob(n), 4), at(0)));
        }
        assert_eq!(tries(&seen), [1; 5]);
        seen.mounted(&site.origin);
        assert_eq!(tries(&seen), [1, 1, 3, 3, 4]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen::default();
        let site = site_of("reg.example/a");
        for n in 0..BLOBS as u64 + 10 {
            seen.note(&site, (&blob(n), 4), at(0));
        }
        assert!(!seen.has(&site, (&blob(9), 4), at(0)) && seen.has(&site, (&blob(10), 4), at(0)));
        for n in 0..HOSTS {
            seen.note(&site_of(&format!("h{n}.example/a")), (&blob(1), 4), at(0));
        }
        assert_eq!(seen.hosts.len(), HOSTS);
        assert!(!seen.hosts.contains_key(&site.origin));
        assert!(seen.has(&site_of("h0.example/a"), (&blob(1), 4), at(0)));
        let host = &seen.hosts[&site_of("h0.example/a").origin];
        assert_eq!(host.blobs.len(), host.by_age.len());
    }
}
