//! Platforms, and the entry of an index for one.
//!
//! Responsible for which entry of an index runs where (`protocol.md` 16): containerd's order,
//! whether or not the base level of an architecture is spelled out. Must not know how a platform is written, which
//! is a part of descriptors, nor the platform of this machine.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use crate::descriptor::Descriptor;
use crate::manifest::media_type::{is_index_type, is_manifest_type};
use crate::sanitize::escape;

pub use crate::descriptor::platform::{Platform, PlatformError};

/// The best entry for `wanted`.
///
/// # Errors
///
/// [`NoMatch`] with the available platforms; never just the first entry (IDX-17). If no entry has a
/// platform, none is chosen, except an index that is the only entry, which has to be inspected
/// (IDX-04).
pub fn choose<'a>(wanted: &Platform, entries: &'a [Descriptor]) -> Result<&'a Descriptor, NoMatch> {
    let found = order(wanted, entries);
    let is_blind = entries
        .iter()
        .filter(|entry| is_candidate(entry))
        .all(|entry| platform(entry).is_none());
    let best = found.first().map(|best| &entries[*best]);
    let best =
        best.filter(|best| !is_blind || (found.len() == 1 && is_index_type(&best.media_type)));
    best.ok_or_else(|| NoMatch {
        wanted: wanted.to_string(),
        offered: offered(entries),
        any_os: of_any_os(wanted, entries),
        entries: if is_blind {
            listed(entries)
        } else {
            Vec::new()
        },
    })
}

/// The entries that run on `wanted`, best first; equal ones in the order of the index (IDX-02).
///
/// Attestations and entries that are neither manifests nor indexes are left out (IDX-03, IDX-13).
/// Entries without a platform come last, indexes among them after manifests: their platform is
/// known only after a look inside (IDX-04, IDX-14).
pub fn order(wanted: &Platform, entries: &[Descriptor]) -> Vec<usize> {
    let wanted = wanted.normalized();
    let rank = |entry: &Descriptor| rank(&wanted, entry);
    let mut found: Vec<_> = entries.iter().enumerate().collect();
    found.retain(|(_, entry)| is_candidate(entry));
    let mut found: Vec<_> = found
        .into_iter()
        .filter_map(|(index, entry)| Some((rank(entry)?, index)))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, index)| index).collect()
}

/// No entry of an index runs on the platform.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NoMatch {
    /// The wanted platform, as printed.
    pub wanted: String,
    /// The platforms of the entries, safe to print, each once, at most 64.
    pub offered: Vec<String>,
    /// The wanted platform with [any operating system](Platform::ANY_OS), if an entry is for that.
    pub any_os: Option<String>,
    /// If no entry has a platform: their digests and types, safe to print, at most 64.
    pub entries: Vec<String>,
}

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.entries.is_empty() {
            let entries = self.entries.join(", ");
            return write!(
                f,
                "no entry of the index says for which platform it is: {entries}. \
                 Ask for one by its digest, or for all platforms"
            );
        }
        write!(f, "no entry for {}, ", self.wanted)?;
        if self.offered.is_empty() {
            return f.write_str("nor for any other platform");
        }
        write!(f, "only {}", self.offered.join(", "))?;
        match &self.any_os {
            Some(any) => write!(f, ". Ask for {any} to take any operating system"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for NoMatch {}

/// The wanted architecture alone, if that is what some entry is for.
fn of_any_os(wanted: &Platform, entries: &[Descriptor]) -> Option<String> {
    let mut any = Platform::new(Platform::ANY_OS, wanted.architecture.clone());
    any.variant = wanted.variant.clone();
    let os = wanted.normalized().os;
    let found = order(&any, entries);
    let mut systems = found.iter().filter_map(|at| platform(&entries[*at]));
    let is_other = systems.any(|offered| offered.normalized().os != os);
    is_other.then(|| escape(&any.to_string(), 100))
}

fn offered(entries: &[Descriptor]) -> Vec<String> {
    let mut offered = Vec::new();
    let platforms = entries
        .iter()
        .filter(|entry| is_candidate(entry))
        .filter_map(platform);
    for platform in platforms {
        let text = escape(&platform.to_string(), 100);
        if offered.len() < 64 && !offered.contains(&text) {
            offered.push(text);
        }
    }
    offered
}

fn listed(entries: &[Descriptor]) -> Vec<String> {
    let candidates = entries.iter().filter(|entry| is_candidate(entry));
    let shown = |entry: &Descriptor| {
        let what = format!("{} ({})", entry.digest, entry.media_type);
        escape(&what, 200)
    };
    candidates.take(64).map(shown).collect()
}

fn is_candidate(entry: &Descriptor) -> bool {
    let is_attestation = entry.annotations.contains_key("vnd.docker.reference.type")
        || platform(entry).is_some_and(|p| p.os == "unknown" && p.architecture == "unknown");
    is_manifest_type(&entry.media_type) && !is_attestation
}

/// The platform of an entry; an empty object counts as none.
fn platform(entry: &Descriptor) -> Option<&Platform> {
    let says_something = |p: &&Platform| !(p.os.is_empty() && p.architecture.is_empty());
    entry.platform.as_deref().filter(says_something)
}

/// The sort key of an entry, smallest first.
type Rank = (u32, Reverse<usize>, Reverse<u32>);

const NO_PLATFORM: u32 = u32::MAX - 1;
/// The rank from which 32-bit fall-backs begin.
const OTHER_ARCHITECTURE: u32 = 1 << 20;

fn rank(wanted: &Platform, entry: &Descriptor) -> Option<Rank> {
    let Some(platform) = platform(entry) else {
        let rank = NO_PLATFORM + u32::from(is_index_type(&entry.media_type));
        return Some((rank, Reverse(0), Reverse(0)));
    };
    let offered = platform.normalized();
    if offered.os != wanted.os && wanted.os != Platform::ANY_OS {
        return None;
    }
    let level = level(wanted, &offered)?;
    let mut build = 0;
    if wanted.os == "windows" {
        build = windows_build(wanted, &offered)?;
    }
    // Every Windows but a nano server has `win32k`.
    let is_needed = |feature: &&String| wanted.os != "windows" || *feature != "win32k";
    let mut needed = offered.os_features.iter().filter(is_needed);
    let has = |feature: &String| wanted.os_features.contains(feature);
    if !needed.all(has) {
        return None;
    }
    let matching = offered
        .os_features
        .iter()
        .filter(|feature| has(feature))
        .count();
    Some((level, Reverse(matching), Reverse(build)))
}

/// How far the offered architecture is below the wanted one; `None` if it does not run there
/// (IDX-07, IDX-09). Both are normalized.
fn level(wanted: &Platform, offered: &Platform) -> Option<u32> {
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let (want, have) = (variant(wanted), variant(offered));
    if wanted.architecture != offered.architecture {
        return match (wanted.architecture.as_str(), offered.architecture.as_str()) {
            ("amd64", "386") if have.is_empty() => Some(OTHER_ARCHITECTURE),
            ("arm64", "arm") => Some(OTHER_ARCHITECTURE + arm_distance("v8", &have)?),
            _ => None,
        };
    }
    if want == have {
        return Some(0);
    }
    match wanted.architecture.as_str() {
        "amd64" => {
            let number = |text: &str| {
                if text.is_empty() {
                    Some(1)
                } else {
                    version(text)
                }
            };
            number(&want)?.checked_sub(number(&have)?)
        }
        "arm" => arm_distance(&want, &have),
        "arm64" => arm64_distance(&want, &have),
        "riscv64" => {
            const PROFILES: [&str; 4] = ["", "rva20u64", "rva22u64", "rva23u64"];
            let index = |text: &str| PROFILES.iter().position(|p| *p == text);
            // The base level may be spelled out or not.
            let (want, have) = (index(&want)?.max(1), index(&have)?.max(1));
            u32::try_from(want.checked_sub(have)?).ok()
        }
        // No variant means the base level of any architecture.
        _ => have.is_empty().then_some(1),
    }
}

fn arm_distance(want: &str, have: &str) -> Option<u32> {
    let have = version(have).filter(|version| *version >= 5)?;
    version(want)?.checked_sub(have)
}

/// v9.x runs what v8.(x+5) runs.
fn arm64_distance(want: &str, have: &str) -> Option<u32> {
    let parse = |text: &str| {
        let text = if text.is_empty() { "v8" } else { text };
        match text.split_once('.') {
            Some((major, minor)) => Some((version(major)?, number(minor)?)),
            None => Some((version(text)?, 0)),
        }
    };
    match (parse(want)?, parse(have)?) {
        ((8, want), (8, have)) | ((9, want), (9, have)) => want.checked_sub(have),
        ((9, want), (8, have)) => Some(want + 1 + (want + 5).checked_sub(have)?),
        _ => None,
    }
}

fn version(text: &str) -> Option<u32> {
    number(text.strip_prefix('v')?)
}

/// At most three digits, so that sums cannot overflow.
fn number(text: &str) -> Option<u32> {
    let is_number = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// The offered build if it runs on the wanted one (IDX-11); 0 if either is unknown.
fn windows_build(wanted: &Platform, offered: &Platform) -> Option<u32> {
    /// Long-term service releases. Later builds run what was made for older ones, back to the
    /// long-term release before them.
    const LONG_TERM: [u32; 2] = [20348, 26100];
    let (Some(want), Some(have)) = (&wanted.os_version, &offered.os_version) else {
        return Some(0);
    };
    let ((release, want), (offered, have)) = (windows_version(want)?, windows_version(have)?);
    let before = LONG_TERM.iter().rev().find(|build| **build < want);
    let oldest = before.copied().unwrap_or(want);
    (release == offered && (oldest..=want).contains(&have)).then_some(have)
}

/// `major.minor` and the build; the revision does not matter.
fn windows_version(text: &str) -> Option<((u32, u32), u32)> {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    let mut next = || parts.next().flatten();
    Some(((next()?, next()?), next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};

    /// `-` has no platform.
    fn entry(media_type: &str, platform: &str) -> Descriptor {
        let digest = Digest::of(Algorithm::Sha256, platform.as_bytes());
        let mut entry = Descriptor::new(media_type, digest, 1);
        if platform != "-" {
            entry.platform = Some(platform.parse::<Platform>().expect("a platform").into());
        }
        entry
    }

    /// Item, wanted, entries, order.
    const TABLE: &[(&str, &str, &str, &[usize])] = &[
        ("V-F 1", "linux/amd64", "linux/arm64 linux/amd64", &[1]),
        ("V-F 2", "linux/amd64", "linux/386", &[0]),
        ("V-F 3", "linux/amd64", "linux/386 linux/amd64", &[1, 0]),
        (
            "V-F 5",
            "linux/amd64",
            "linux/amd64/v3 linux/amd64/v1",
            &[1],
        ),
        (
            "V-F 6",
            "linux/amd64/v3",
            "linux/amd64 linux/amd64/v2 linux/amd64/v4",
            &[1, 0],
        ),
        (
            "V-F 7",
            "linux/amd64/v3",
            "linux/amd64 linux/amd64/v3 linux/amd64/v2",
            &[1, 2, 0],
        ),
        ("V-F 9", "linux/arm64", "linux/arm/v6 linux/arm/v7", &[1, 0]),
        (
            "V-F 10",
            "linux/arm64",
            "linux/arm64 linux/arm64/v8",
            &[0, 1],
        ),
        (
            "V-F 11",
            "linux/arm64/v8.1",
            "linux/arm64 linux/arm64/v8.2",
            &[0],
        ),
        (
            "V-F 13",
            "linux/arm/v7",
            "linux/arm/v5 linux/arm/v6",
            &[1, 0],
        ),
        ("V-F 14", "linux/arm/v7", "linux/arm linux/arm/v6", &[0, 1]),
        ("V-F 15", "linux/arm/v6", "linux/arm", &[]),
        (
            "V-F 17",
            "linux/amd64",
            "unknown/unknown linux/amd64 unknown/unknown",
            &[1],
        ),
        ("V-F 18", "linux/amd64", "linux/amd64 linux/amd64", &[0, 1]),
        ("V-F 19", "linux/amd64", "- linux/amd64", &[1, 0]),
        ("V-F 21", "linux/s390x", "linux/amd64 linux/arm64", &[]),
        ("V-F 22", "linux/aarch64", "linux/amd64 linux/arm64", &[1]),
        ("V-F 23", "macos/x86_64", "darwin/amd64", &[0]),
        (
            "V-F 25",
            "windows(10.0.26100)/amd64",
            "windows(10.0.17763.1)/amd64 windows(10.0.20348.5)/amd64 windows(10.0.26100.1)/amd64",
            &[2, 1],
        ),
        (
            "V-F 26",
            "windows(10.0.22621)/amd64",
            "windows(10.0.26100.1)/amd64 windows(10.0.20348.5)/amd64",
            &[1],
        ),
        (
            "V-F 27",
            "windows/amd64",
            "windows(10.0.20348.5+win32k)/amd64",
            &[0],
        ),
        (
            "IDX-11 old hosts",
            "windows(10.0.17763.9)/amd64",
            "windows(10.0.14393)/amd64 windows(10.0.17763.1)/amd64 windows/amd64",
            &[1, 2],
        ),
        (
            "IDX-11 release",
            "windows(10.0.20348)/amd64",
            "windows(11.0.20348)/amd64",
            &[],
        ),
        (
            "V-F 29",
            "linux(+gpu)/amd64",
            "linux/amd64 linux(+gpu)/amd64",
            &[1, 0],
        ),
        ("IDX-10", "linux/amd64", "linux(+gpu)/amd64", &[]),
        ("V-F 30", "linux/riscv64", "linux/riscv64/rva20u64", &[0]),
        ("V-F 30", "linux/riscv64", "linux/riscv64/rva22u64", &[]),
        (
            "V-F 31",
            "linux/ppc64le",
            "linux/ppc64le/power9 linux/ppc64le",
            &[1],
        ),
        (
            "IDX-09",
            "linux/ppc64le/power9",
            "linux/ppc64le linux/ppc64le/power9",
            &[1, 0],
        ),
        (
            "any system",
            "*/arm64",
            "linux/amd64 darwin/arm64 linux/arm64 windows(10.0.26100)/arm64 linux/arm/v7",
            &[1, 2, 3, 4],
        ),
        (
            "any system",
            "*/arm/v6",
            "linux/arm/v7 freebsd/arm/v5",
            &[1],
        ),
        ("V-F 33", "linux/amd64", "Linux/AMD64", &[0]),
        ("V-F 34", "linux/386", "linux/amd64 linux/386", &[1]),
        ("V-F 35", "linux/arm64/v8", "linux/arm64", &[0]),
        (
            "IDX-07 v9",
            "linux/arm64/v9.1",
            "linux/arm64 linux/arm64/v8.6 linux/arm64/v8.7 linux/arm64/v9 linux/arm64/v9.1 linux/arm",
            &[4, 3, 1, 0, 5],
        ),
        (
            "odd variants",
            "linux/arm64/v8.9999999999",
            "linux/arm64/v8.1 linux/arm64/vx.y",
            &[],
        ),
    ];

    /// IDX-02, IDX-08, IDX-12.
    #[test]
    fn entries_are_ordered() {
        for (row, wanted, entries, expected) in TABLE {
            let entries: Vec<_> = entries.split(' ').map(|p| entry(OCI_MANIFEST, p)).collect();
            let wanted = wanted.parse().expect(row);
            assert_eq!(order(&wanted, &entries), *expected, "{row}");
            let chosen = choose(&wanted, &entries).ok();
            assert_eq!(
                chosen,
                expected.first().map(|best| &entries[*best]),
                "{row}"
            );
        }
    }

    #[test]
    fn types_and_attestations() {
        let wanted = "linux/amd64".parse().expect("a platform");
        let mut attestation = entry(OCI_MANIFEST, "-");
        let kind = (
            "vnd.docker.reference.type".into(),
            "attestation-manifest".into(),
        );
        attestation.annotations.extend([kind]);
        let mut empty = entry(OCI_MANIFEST, "-");
        empty.platform = Some(Platform::new("", "").into());
        let entries = [
            entry(OCI_INDEX, "-"),
            attestation,
            entry("application/vnd.x+json", "linux/amd64"),
            empty,
            entry(OCI_INDEX, "linux/amd64"),
            entry(OCI_MANIFEST, "linux/amd64"),
        ];
        assert_eq!(
            order(&wanted, &entries),
            [4, 5, 3, 0],
            "IDX-03, IDX-04, IDX-13, IDX-14"
        );
    }

    /// IDX-17: without platforms none is chosen.
    #[test]
    fn an_index_without_platforms() {
        let wanted = "linux/amd64".parse().expect("a platform");
        let named = |kind, name: &str| {
            let digest = Digest::of(Algorithm::Sha256, name.as_bytes());
            Descriptor::new(kind, digest, 1)
        };
        let (a, b) = (named(OCI_MANIFEST, "a"), named(OCI_MANIFEST, "b"));
        let (inner, other) = (named(OCI_INDEX, "c"), named(OCI_INDEX, "d"));
        let attestation = entry(OCI_MANIFEST, "unknown/unknown");
        let mut empty = a.clone();
        empty.platform = Some(Platform::new("", "").into());
        let arm = entry(OCI_MANIFEST, "linux/arm64");
        let table: &[(&str, &[&Descriptor], Option<&Descriptor>)] = &[
            ("one", &[&a], None),
            ("one, and an attestation", &[&attestation, &a], None),
            ("several", &[&a, &b], None),
            ("an empty platform", &[&empty, &b], None),
            ("an index beside it", &[&a, &inner], None),
            ("only an index", &[&inner, &attestation], Some(&inner)),
            ("several indexes", &[&inner, &other], None),
            ("IDX-14 another platform beside it", &[&arm, &a], Some(&a)),
        ];
        for (row, entries, expected) in table {
            let entries: Vec<Descriptor> = entries.iter().map(|it| (*it).clone()).collect();
            let found = choose(&wanted, &entries);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{row}");
        }
        let error = choose(&wanted, &[a.clone(), b.clone()]).expect_err("IDX-17");
        let said = error.to_string();
        for entry in [a, b] {
            assert!(said.contains(&entry.digest.to_string()), "{said}");
            assert!(said.contains(OCI_MANIFEST), "{said}");
        }
        let nothing = choose(&wanted, &[]).expect_err("IDX-17").to_string();
        assert!(nothing.contains("nor for any other"), "{nothing}");
    }

    #[test]
    fn what_was_offered_is_told() {
        let entries = [
            "linux/amd64",
            "linux/arm64",
            "unknown/unknown",
            "linux/amd64",
        ]
        .map(|platform| entry(OCI_MANIFEST, platform));
        let wanted = "linux/s390x".parse().expect("a platform");
        let error = choose(&wanted, &entries).expect_err("V-F 21");
        assert_eq!(error.offered, ["linux/amd64", "linux/arm64"], "V-F 21");
        let text = "no entry for linux/s390x, only linux/amd64, linux/arm64";
        assert_eq!(error.to_string(), text, "IDX-17");

        let wanted = "darwin/arm64".parse().expect("a platform");
        let error = choose(&wanted, &entries).expect_err("another system");
        let text = "no entry for darwin/arm64, only linux/amd64, linux/arm64. \
                    Ask for */arm64 to take any operating system";
        assert_eq!(error.to_string(), text);
        let any = error.any_os.expect("there is one").parse();
        let chosen = choose(&any.expect("a platform"), &entries);
        assert_eq!(chosen, Ok(&entries[1]));
    }
}
