//! The table of registries: what is known of services and software that many use.
//!
//! Responsible for the table, and for telling a service by its name. Must not know the configuration.
//!
//! All of it is hints. A registry whose name tells nothing, or tells wrong, costs a refused request or an error
//! without advice, and nothing fails: what a registry does is found out by its answers
//! (`capabilities`). Software that people run themselves has no names; its
//! [`kind`](super::RegistrySettings::kind) can be configured.
//!
//! Not in the table is what would hide something once a registry learns it, such as that it has no referrers API.

use core::fmt;
use core::str::FromStr;

use super::pattern::closeness;
use crate::registry::Registry;

/// A registry service, or registry software.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "they are names; the table says what they stand for"
)]
pub enum RegistryKind {
    DockerHub,
    Ghcr,
    Ecr,
    EcrPublic,
    Acr,
    Gar,
    Mcr,
    Quay,
    Harbor,
    GitLab,
    Artifactory,
    Nexus,
    Cloudflare,
    Zot,
    Distribution,
}

/// What is known of a kind of registry.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Habits {
    /// Which one.
    pub kind: RegistryKind,
    /// Its name in configurations.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// The names of its registries, as in [`RegistryPattern`](super::RegistryPattern). None for software.
    pub hosts: &'static [&'static str],
    /// The size of chunks that are tried after a body was refused because of its size.
    pub chunks: ChunkSizes,
    /// Blobs of more bytes than this are sent in chunks of this many from the start.
    pub chunk_from: Option<u64>,
    /// Whether it stores a blob whose bytes come with the POST that begins its upload.
    pub posts: bool,
    /// How many blobs are best uploaded at once from one source. `None`: as many as requests.
    pub uploads: Option<usize>,
    /// What it does not have, with advice for who asks for it.
    pub lacks: &'static [(Lack, &'static str)],
    /// Where this is known from: documentation and public reports.
    pub sources: &'static [&'static str],
}

/// The sizes of chunks, all but the last, that a registry takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ChunkSizes {
    /// The smallest.
    pub least: u64,
    /// The largest.
    pub most: u64,
}

impl ChunkSizes {
    /// All sizes.
    pub const ANY: Self = Self {
        least: 0,
        most: u64::MAX,
    };
    /// None: it takes no blob in several requests, or was seen to damage those.
    pub const NONE: Self = Self {
        least: u64::MAX,
        most: u64::MAX,
    };

    /// The size of these that is nearest to another one; where none is taken a blob is never larger.
    pub(crate) fn nearest(self, size: u64) -> u64 {
        size.clamp(self.least, self.most)
    }
}

/// What some registries do not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Lack {
    /// A list of its repositories.
    Catalog,
    /// Lists of tags.
    Tags,
    /// Deletion of tags or manifests by this protocol, or of all of them.
    Deletion,
    /// Repositories that are created by a push.
    NewRepositories,
    /// Pushes.
    Pushes,
}

impl RegistryKind {
    /// All of them, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|habits| habits.kind)
    }

    /// The kind of a registry, if its name tells.
    pub fn of(registry: &Registry) -> Option<Self> {
        let is_named = |habits: &&Habits| {
            let mut hosts = habits.hosts.iter();
            hosts.any(|pattern| closeness(pattern, registry).is_some())
        };
        TABLE.iter().find(is_named).map(|habits| habits.kind)
    }

    /// What is known of it.
    pub fn habits(self) -> &'static Habits {
        let habits = TABLE.iter().find(|habits| habits.kind == self);
        habits.expect("a test shows that each kind is in the table")
    }
}

impl Habits {
    /// The advice for who asks for something that it does not have.
    pub(crate) fn advice(&self, lack: Lack) -> Option<&'static str> {
        let found = self.lacks.iter().find(|(lacking, _)| *lacking == lack);
        found.map(|(_, advice)| *advice)
    }
}

const MIB: u64 = 1 << 20;

/// A registry of which nothing differs.
const PLAIN: Habits = Habits {
    kind: RegistryKind::Distribution,
    id: "distribution",
    name: "CNCF distribution",
    hosts: &[],
    chunks: ChunkSizes::ANY,
    chunk_from: None,
    // It ignores the digest of a POST, and answers 202 without a look at the bytes.
    posts: false,
    uploads: None,
    lacks: &[],
    // Its sessions are appended to by PATCH in any size; what it says of them is in `op/blob_put/parts`.
    sources: &[
        "distribution/distribution registry/handlers/blobupload.go",
        "distribution-spec#590",
    ],
};

static TABLE: [Habits; 15] = [
    Habits {
        kind: RegistryKind::DockerHub,
        id: "docker-hub",
        name: "Docker Hub",
        hosts: &["docker.io"],
        lacks: &[
            (
                Lack::Catalog,
                "Docker Hub does not list its repositories; its web site searches them",
            ),
            (
                Lack::Deletion,
                "Docker Hub deletes tags on its web site, or by an API of its own",
            ),
        ],
        sources: &[
            "containers/image docker/docker_client.go: searches in place of a catalog",
            "regclient scheme/reg/tag.go: tags are deleted by the web API",
        ],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Ghcr,
        id: "ghcr",
        name: "GitHub Container Registry",
        hosts: &["ghcr.io", "lscr.io"],
        // A PUT of the whole blob is not limited. Reports of what a PATCH may have differ; none has less.
        chunks: ChunkSizes {
            least: 0,
            most: 4 * MIB,
        },
        sources: &["oras-project/rust-oci-client#35", "ocx-sh/ocx#237"],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Ecr,
        id: "ecr",
        name: "Amazon ECR",
        hosts: &["*.dkr.ecr.*", "*.dkr-ecr.*"],
        // Some reports say that it takes 10 MiB at most. Sizes between both are tried first.
        chunks: ChunkSizes {
            least: 5 * MIB,
            most: 10 * MIB,
        },
        // Several at once were broken off so often that pushes failed.
        uploads: Some(1),
        lacks: &[(Lack::NewRepositories, ECR_REPOSITORIES)],
        sources: &[
            "dotnet/sdk#33019",
            "dotnet/sdk-container-builds#279: layers are uploaded one after another",
            "dotnet/sdk-container-builds#279: a push to a repository that does not exist",
            "aws/containers-roadmap#2831: the Range of chunks is stale",
        ],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::EcrPublic,
        id: "ecr-public",
        name: "Amazon ECR Public",
        hosts: &["public.ecr.aws"],
        // The digest of a blob that came in chunks was found wrong at its end.
        chunks: ChunkSizes::NONE,
        lacks: &[
            (Lack::NewRepositories, ECR_REPOSITORIES),
            (
                Lack::Tags,
                "Amazon ECR Public does not list tags; gallery.ecr.aws shows them",
            ),
        ],
        sources: &[
            "containers/skopeo cmd/skopeo/inspect.go: no list of tags",
            "dotnet/sdk-container-builds#472: chunks end with a digest that does not match",
        ],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Acr,
        id: "acr",
        name: "Azure Container Registry",
        hosts: &["*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"],
        // What it refuses above 20 MB are bodies without a length, which are never sent.
        sources: &["dotnet/sdk-container-builds#258", "Azure/acr#217"],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Gar,
        id: "gar",
        name: "Google Artifact Registry",
        hosts: &["gcr.io", "*.gcr.io", "*.pkg.dev"],
        chunks: ChunkSizes::NONE,
        lacks: &[(
            Lack::Deletion,
            "Google deletes a manifest only after all its tags were deleted",
        )],
        sources: &["dotnet/sdk-container-builds#287", "genuinetools/reg#136"],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Mcr,
        id: "mcr",
        name: "Microsoft Artifact Registry",
        hosts: &["mcr.microsoft.com"],
        lacks: &[(
            Lack::Pushes,
            "only Microsoft publishes at mcr.microsoft.com",
        )],
        sources: &["microsoft/containerregistry docs/client-firewall-rules.md"],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Quay,
        id: "quay",
        name: "Quay",
        hosts: &["quay.io"],
        posts: true,
        // Pages are linked by an opaque token, and a mount needs its source: both are always so here.
        sources: &[
            "go-containerregistry pkg/v1/remote/write.go",
            "distribution-spec#563",
            "quay/quay endpoints/v2/blob.py: a POST with a digest",
        ],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Harbor,
        id: "harbor",
        name: "Harbor",
        lacks: &[(
            Lack::NewRepositories,
            "the first component of the repository must be a project of Harbor",
        )],
        sources: &["goharbor/harbor#17097", "goharbor/harbor#18856"],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::GitLab,
        id: "gitlab",
        name: "GitLab",
        hosts: &["registry.gitlab.com"],
        // That it takes the tag sha256-… for a digest is found out by what it sends.
        sources: &[
            "google/go-containerregistry#220",
            "oras-project/oras-go#1396",
        ],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Artifactory,
        id: "artifactory",
        name: "JFrog Artifactory",
        hosts: &["*.jfrog.io"],
        chunks: ChunkSizes::NONE,
        sources: &["wasmCloud/wasmCloud#3405: it kept only the last chunk"],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Nexus,
        id: "nexus",
        name: "Sonatype Nexus",
        sources: &["sonatype/nexus-public#117", "sonatype/nexus-public#1011"],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Cloudflare,
        id: "cloudflare",
        name: "Cloudflare",
        hosts: &["registry.cloudflare.com"],
        // It refuses bodies of 100 MB, and its storage wants chunks of one size.
        chunk_from: Some(64 * MIB),
        sources: &[
            "cloudflare/serverless-registry#67",
            "cloudflare/serverless-registry#69",
        ],
        ..PLAIN
    },
    Habits {
        kind: RegistryKind::Zot,
        id: "zot",
        name: "zot",
        posts: true,
        sources: &[
            "regclient/regclient#961",
            "project-zot/zot#3983",
            "project-zot/zot pkg/api/routes.go: a POST with a digest",
        ],
        ..PLAIN
    },
    PLAIN,
];

const ECR_REPOSITORIES: &str = "unless the account has a template for it, Amazon ECR does not create a repository that is pushed to";

impl fmt::Display for RegistryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.habits().id)
    }
}

impl FromStr for RegistryKind {
    type Err = RegistryKindError;

    fn from_str(text: &str) -> Result<Self, RegistryKindError> {
        let found = TABLE.iter().find(|habits| habits.id == text);
        found.map(|habits| habits.kind).ok_or(RegistryKindError)
    }
}

/// A text is not the name of a kind of registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", Ids)]
#[non_exhaustive]
pub struct RegistryKindError;

/// Displays which names there are.
struct Ids;

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kind of a registry must be one of")?;
        for (index, habits) in TABLE.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma} {}", habits.id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::string::ToString as _;

    use super::*;
    use crate::config::RegistryPattern;

    /// Every kind has a row: the match is exhaustive, and each of its arms is looked up.
    #[test]
    fn each_kind_is_in_the_table_once() {
        use RegistryKind::{
            Acr, Artifactory, Cloudflare, Distribution, DockerHub, Ecr, EcrPublic, Gar, Ghcr,
            GitLab, Harbor, Mcr, Nexus, Quay, Zot,
        };
        let kinds: BTreeSet<_> = RegistryKind::all().collect();
        assert_eq!(kinds.len(), TABLE.len());
        for kind in kinds {
            let number = match kind {
                DockerHub => 0,
                Ghcr => 1,
                Ecr => 2,
                EcrPublic => 3,
                Acr => 4,
                Gar => 5,
                Mcr => 6,
                Quay => 7,
                Harbor => 8,
                GitLab => 9,
                Artifactory => 10,
                Nexus => 11,
                Cloudflare => 12,
                Zot => 13,
                Distribution => 14,
            };
            assert_eq!(TABLE[number].kind, kind);
            assert_eq!(kind.habits().kind, kind);
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!(TABLE.len(), 15, "as many as the numbers above");
    }

    #[test]
    fn rows_are_sound() {
        for habits in &TABLE {
            assert!(!habits.sources.is_empty(), "{}", habits.id);
            for pattern in habits.hosts {
                assert!(pattern.parse::<RegistryPattern>().is_ok(), "{pattern}");
                assert_eq!(*pattern, pattern.to_ascii_lowercase());
            }
            let chunks = habits.chunks;
            assert!(chunks.least <= chunks.most, "{}", habits.id);
        }
    }

    #[test]
    fn kinds_by_name() {
        for (registry, kind) in [
            ("docker.io", Some(RegistryKind::DockerHub)),
            ("registry-1.docker.io", Some(RegistryKind::DockerHub)),
            ("GHCR.io", Some(RegistryKind::Ghcr)),
            ("1.dkr.ecr.eu-west-1.amazonaws.com", Some(RegistryKind::Ecr)),
            (
                "1.dkr.ecr.cn-north-1.amazonaws.com.cn",
                Some(RegistryKind::Ecr),
            ),
            ("1.dkr-ecr.eu-west-1.on.aws", Some(RegistryKind::Ecr)),
            ("public.ecr.aws", Some(RegistryKind::EcrPublic)),
            ("mine.azurecr.io", Some(RegistryKind::Acr)),
            ("eu.gcr.io", Some(RegistryKind::Gar)),
            ("europe-docker.pkg.dev", Some(RegistryKind::Gar)),
            ("mcr.microsoft.com", Some(RegistryKind::Mcr)),
            ("quay.io", Some(RegistryKind::Quay)),
            ("registry.gitlab.com", Some(RegistryKind::GitLab)),
            ("team.jfrog.io", Some(RegistryKind::Artifactory)),
            ("registry.cloudflare.com", Some(RegistryKind::Cloudflare)),
            ("reg.example", None),
            ("notghcr.io", None),
            ("ghcr.io.example", None),
            ("azurecr.io.example", None),
        ] {
            let registry = registry.parse().expect("a registry");
            assert_eq!(RegistryKind::of(&registry), kind, "{registry}");
        }
        let error = "ECR".parse::<RegistryKind>().expect_err("another name");
        assert!(error.to_string().contains(" ecr, ecr-public,"), "{error}");
    }
}
