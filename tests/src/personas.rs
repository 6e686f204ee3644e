//! Registries as they are in the field: options of the model for each kind in the core's table.
//!
//! Responsible for what these registries do that the model does not do by default, as far as it is known from
//! their documentation and from reports (`RegistryKind::habits` has the sources). Must not know what a client does
//! about it.

use http::StatusCode;
use windlass_core::config::RegistryKind;
use windlass_testbed::{
    Auth, Bearer, Deletes, Location, Options, Pages, Stale, Unions, UnreadableMount, UploadRange,
    Uploads, User,
};

use crate::world::scenes::{basic, bearer, bearer_with, open};

const MIB: u64 = 1 << 20;

/// How a registry of this kind behaves. `alice` may do what its customers may.
pub fn persona(kind: RegistryKind) -> Options {
    match kind {
        RegistryKind::DockerHub => Options {
            catalog: false,
            deletes: nothing(),
            referrers_api: false,
            ..bearer()
        },
        RegistryKind::Ghcr => Options {
            catalog: false,
            deletes: nothing(),
            referrers_api: false,
            uploads: Uploads {
                chunk_max_length: Some(4 * MIB),
                ..Uploads::default()
            },
            ..scopeless()
        },
        RegistryKind::Ecr => ecr(basic()),
        RegistryKind::EcrPublic => {
            let mut options = ecr(bearer());
            options.uploads.whole_chunks = false;
            options
        }
        RegistryKind::Acr => Options {
            uploads: Uploads {
                signed_location: true,
                ..Uploads::default()
            },
            ..bearer()
        },
        RegistryKind::Gar => Options {
            uploads: Uploads {
                several_chunks: false,
                patch_status: StatusCode::NO_CONTENT,
                location: Location::Absolute,
                stale: Stale::Invalid,
                ..Uploads::default()
            },
            ..unions(Unions::RefusedAtRealm)
        },
        RegistryKind::Mcr => Options {
            auth: Auth::Bearer(Bearer {
                realm: "https://{host}/token".into(),
                users: [(
                    "alice".into(),
                    User::limited("pa55-of-alice").with("*", &["pull"]),
                )]
                .into(),
                ..Bearer::default()
            }),
            ..open()
        },
        RegistryKind::Quay => Options {
            pages: paged(50, false),
            uploads: Uploads {
                one_request: true,
                ..Uploads::default()
            },
            ..bearer()
        },
        RegistryKind::Harbor => Options {
            create_repositories: false,
            uploads: Uploads {
                unreadable_mount: UnreadableMount::Session,
                ..Uploads::default()
            },
            ..no_posts(StatusCode::METHOD_NOT_ALLOWED)
        },
        RegistryKind::GitLab => Options {
            referrers_api: false,
            uploads: Uploads {
                location: Location::Absolute,
                ..Uploads::default()
            },
            ..unions(Unions::RefusedAtRealm)
        },
        RegistryKind::Artifactory => no_posts(StatusCode::UNAUTHORIZED),
        RegistryKind::Nexus => Options {
            referrers_api: false,
            ..basic()
        },
        RegistryKind::Cloudflare => Options {
            max_body: Some(100_000_000),
            referrers_api: false,
            ..basic()
        },
        RegistryKind::Zot => Options {
            uploads: Uploads {
                one_request: true,
                range: UploadRange::ChunkOnly,
                help_on_416: true,
                ..Uploads::default()
            },
            ..basic()
        },
        RegistryKind::Distribution => Options {
            referrers_api: false,
            pages: paged(1000, true),
            tag_parameter: false,
            ..bearer()
        },
        other => panic!("{other} has no persona"),
    }
}

/// The same where a real client reaches it: on loopback, without TLS.
pub fn persona_on_loopback(kind: RegistryKind) -> Options {
    let mut options = persona(kind);
    options.scheme = "http";
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.realm = bearer.realm.replace("https://", "http://");
    }
    options
}

fn ecr(options: Options) -> Options {
    Options {
        create_repositories: false,
        pages: paged(1000, true),
        referrers_api: false,
        uploads: Uploads {
            patch_status: StatusCode::CREATED,
            range: UploadRange::FirstChunk,
            untold_least_chunk: Some(5 * MIB),
            // What is known of a status request is that its answer is not better.
            ..Uploads::default()
        },
        ..options
    }
}

/// One whose challenges name no scope.
fn scopeless() -> Options {
    bearer_with(Bearer {
        scope_in_challenge: false,
        ..Bearer::default()
    })
}

fn unions(unions: Unions) -> Options {
    bearer_with(Bearer {
        unions,
        ..Bearer::default()
    })
}

/// One whose token service has no POST.
fn no_posts(status: StatusCode) -> Options {
    bearer_with(Bearer {
        refuse_post: Some(status),
        ..Bearer::default()
    })
}

const fn nothing() -> Deletes {
    Deletes {
        tags: false,
        manifests: false,
        blobs: false,
    }
}

const fn paged(cap: usize, refuse_above_cap: bool) -> Pages {
    Pages {
        cap: Some(cap),
        refuse_above_cap,
    }
}
