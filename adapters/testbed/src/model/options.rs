//! How a model behaves.
//!
//! Responsible for: every choice between behaviours that registries in the field differ in.
//! Must not know: requests or contents.

use core::time::Duration;
use std::collections::BTreeSet;

use http::StatusCode;

use super::access::Auth;
use super::labels::Labels;

/// The behaviour of a [`Model`](crate::Model). The default is a registry that follows the
/// distribution spec and is close to the CNCF `distribution` server, open to everybody.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who may do what.
    pub auth: Auth,
    /// What a refused request without `Authorization` is answered with, instead of a challenge: 404,
    /// 403, or a 401 without one. Then only `/v2/` has the challenge. `None`: every refusal has it.
    pub hidden: Option<StatusCode>,
    /// What a wrong password is answered with by a registry with [`Auth::Basic`], without a challenge, as private
    /// ECR answers a login that has expired: 403, or 400. `None`: 401.
    pub expired_login: Option<StatusCode>,
    /// The scheme of absolute URLs the model writes, and of `{host}` in realms.
    pub scheme: &'static str,
    /// The authorities that are this registry; empty means every host that is nothing else.
    pub registry_hosts: BTreeSet<String>,
    /// Where blob downloads are redirected to; `None` serves them itself.
    pub storage: Option<Storage>,
    /// What a blob download does with `Range`.
    pub ranges: Ranges,
    /// Upload sessions.
    pub uploads: Uploads,
    /// The largest request body; a larger one is refused with 413.
    pub max_body: Option<u64>,
    /// Whether chunked request bodies are taken; many registries answer 411.
    pub chunked_bodies: bool,
    /// The largest manifest (PUSHM-08).
    pub max_manifest: u64,
    /// Whether a manifest whose type the request's `Accept` does not name is 404 (PULLM-02).
    pub check_accept: bool,
    /// Whether HEAD of a manifest works; otherwise 405 (HTTP-21).
    pub head_manifests: bool,
    /// What a HEAD of a blob leads to.
    pub blob_heads: BlobHeads,
    /// Whether a HEAD of a blob says that it is there if it is in any repository, and a mount says that
    /// it was done and is not: such registries look in a cache that all repositories share.
    pub vouches: bool,
    /// Whether `Docker-Content-Digest` is sent (N-3: older registries omit it).
    pub digest_header: bool,
    /// Manifest types that are refused with 415.
    pub refused_types: BTreeSet<String>,
    /// Whether an index may name manifests that are not there.
    pub sparse_indexes: bool,
    /// Whether `?tag=` on a manifest push is honoured (PUSHM-09).
    pub tag_parameter: bool,
    /// Whether an existing tag refuses to move, with 409.
    pub immutable_tags: bool,
    /// Whether a push creates its repository; otherwise 404 `NAME_UNKNOWN`.
    pub create_repositories: bool,
    /// Whether the referrers API exists (RFR-06: often it does not).
    pub referrers_api: bool,
    /// What becomes of `artifactType` in a request for referrers.
    pub filter: Filter,
    /// Whether `If-Match` and `If-None-Match: *` of a manifest push are looked at, and refused with 412 if
    /// the tag has moved; the CNCF server passes over them.
    pub conditions: bool,
    /// What can be deleted; the rest is 405.
    pub deletes: Deletes,
    /// Whether `_catalog` exists.
    pub catalog: bool,
    /// How lists are paged.
    pub pages: Pages,
    /// What is said beside content.
    pub labels: Labels,
    /// Whether answers carry `Date`.
    pub date: bool,
    /// Whether a manifest is refused as long as something it names is missing (PUSHM-06). Registries
    /// that do not look leave the order to the client.
    pub check_references: bool,
    /// What every token, signature and upload state begins with, so that those of different models
    /// differ and can be found in what a client shows.
    pub mark: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth: Auth::Open,
            hidden: None,
            expired_login: None,
            scheme: "http",
            registry_hosts: BTreeSet::new(),
            storage: None,
            ranges: Ranges::Honoured,
            uploads: Uploads::default(),
            max_body: None,
            chunked_bodies: true,
            max_manifest: 4 * 1024 * 1024,
            check_accept: false,
            head_manifests: true,
            blob_heads: BlobHeads::Answered,
            vouches: false,
            digest_header: true,
            refused_types: BTreeSet::new(),
            sparse_indexes: false,
            tag_parameter: true,
            immutable_tags: false,
            create_repositories: true,
            referrers_api: true,
            filter: Filter::Applied,
            conditions: false,
            deletes: Deletes::default(),
            catalog: true,
            pages: Pages::default(),
            labels: Labels::default(),
            date: true,
            check_references: true,
            mark: String::new(),
        }
    }
}

/// A storage service beside the registry, reached by signed URLs (PULLB-05, HTTP-12).
#[derive(Clone, Debug)]
pub struct Storage {
    /// Its base URL, without a slash at the end: `http://127.0.0.1:4711`.
    pub url: String,
    /// How long a signed URL is good for.
    pub signature: Signature,
    /// The status of the redirect.
    pub status: StatusCode,
}

impl Storage {
    /// A storage service whose URLs work for a minute, reached by 307.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            signature: Signature::Life(Duration::from_secs(60)),
            status: StatusCode::TEMPORARY_REDIRECT,
        }
    }
}

/// How long a signed URL is good for (HTTP-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signature {
    /// For one request.
    OneTime,
    /// For this long.
    Life(Duration),
}

/// What a HEAD of a blob leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobHeads {
    /// Whether it is there.
    Answered,
    /// A refusal with this status.
    Refused(StatusCode),
    /// The storage if the blob is there, as for a GET; its URLs are signed for GET only. Without a
    /// storage it is answered.
    Redirected,
}

/// What a blob download does with a `Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ranges {
    /// 206 or 416 as asked.
    Honoured,
    /// 200 with the whole blob (RNG-06).
    Ignored,
    /// 206 with this many bytes at most, which is legal (RNG-05).
    Shortened(u64),
}

/// How upload sessions behave.
#[derive(Clone, Debug)]
pub struct Uploads {
    /// Whether a POST with `?digest=` and a body stores the blob; the CNCF server ignores it
    /// (PUSHB-18).
    pub one_request: bool,
    /// How a session's `Location` is written.
    pub location: Location,
    /// Where the requests with a body are redirected to, with 307 and an address that is good for one of them
    /// (HTTP-15); `None` takes them itself.
    pub redirects: Option<String>,
    /// Whether a `Location` only works with its query unchanged byte for byte (PUSHB-07).
    pub signed_location: bool,
    /// What an outdated `Location` leads to.
    pub stale: Stale,
    /// The value of `OCI-Chunk-Min-Length`, if it is sent.
    pub chunk_min_length: Option<u64>,
    /// Whether a blob may come in several PATCHes; otherwise the second one is refused with 400 (Artifact Registry).
    pub several_chunks: bool,
    /// Whether a blob that came in several PATCHes is itself; otherwise its digest is wrong at the end (ECR Public).
    pub whole_chunks: bool,
    /// Whether of a blob that came in several PATCHes only the last is kept, under the digest of the whole
    /// (Artifactory).
    pub last_chunk_only: bool,
    /// The least PATCH that another one may follow, which it does not tell: that is refused with 400 (ECR).
    pub untold_least_chunk: Option<u64>,
    /// The largest PATCH; a larger one is refused with 416 (GHCR).
    pub chunk_max_length: Option<u64>,
    /// The status of an accepted PATCH: 202, or 201 (ECR), or 204 (Artifact Registry).
    pub patch_status: StatusCode,
    /// What the `Range` of upload answers says.
    pub range: UploadRange,
    /// Whether a 416 carries `Location` and `Range` (PUSHB-37).
    pub help_on_416: bool,
    /// How long an untouched session lives.
    pub life: Option<Duration>,
    /// Whether bytes of a request whose body broke off are kept in the session.
    pub keep_partial: bool,
    /// Whether the closing PUT may bring bytes; otherwise it is 405, and they come by PATCH (Pulp).
    pub put_bodies: bool,
    /// Whether a blob can be mounted; otherwise a mount opens a session, as at many registries (PUSHB-55).
    pub mounts: bool,
    /// Whether a mount without `from` looks through all repositories (PUSHB-52).
    pub anonymous_mount: bool,
    /// What a mount whose source the caller may not read leads to (PUSHB-53).
    pub unreadable_mount: UnreadableMount,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            one_request: false,
            location: Location::Relative,
            redirects: None,
            signed_location: false,
            stale: Stale::OutOfRange,
            chunk_min_length: None,
            several_chunks: true,
            whole_chunks: true,
            last_chunk_only: false,
            untold_least_chunk: None,
            chunk_max_length: None,
            patch_status: StatusCode::ACCEPTED,
            range: UploadRange::Correct,
            help_on_416: false,
            life: None,
            keep_partial: true,
            put_bodies: true,
            mounts: true,
            anonymous_mount: false,
            unreadable_mount: UnreadableMount::Refused,
        }
    }
}

/// How the `Location` of a session is written (PUSHB-05).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A path and a query.
    Relative,
    /// With scheme and host, the ones the request went to.
    Absolute,
    /// On this other origin (`http://127.0.0.1:4712`), where the `Location` itself is the right to
    /// upload and an `Authorization` is refused (PUSHB-09).
    Elsewhere(String),
}

/// What a request with an outdated `_state` leads to (PUSHB-38).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stale {
    /// 416 to PATCH and PUT; the status GET and the cancel work (CNCF v3).
    OutOfRange,
    /// 404 `BLOB_UPLOAD_INVALID` whatever the method, and the session is gone (CNCF v2.8).
    Invalid,
}

/// What the `Range` of an upload answer says (PUSHB-31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UploadRange {
    /// `0-<last byte of the blob so far>`, and `0-0` for an empty session (PUSHB-32).
    Correct,
    /// The interval of the chunk just received.
    ChunkOnly,
    /// The interval of the first chunk, whatever came after it.
    FirstChunk,
    /// `0-<number of bytes>`, one too many.
    OffByOne,
    /// No header.
    Absent,
}

/// What a mount leads to whose source the caller may not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnreadableMount {
    /// 401 or 403 (CNCF, AUTH-61).
    Refused,
    /// 202 with a session, as if the blob were not there.
    Session,
}

/// What can be deleted (DEL-01 to DEL-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletes {
    /// Tags, by tag.
    pub tags: bool,
    /// Manifests, by digest.
    pub manifests: bool,
    /// Blobs.
    pub blobs: bool,
}

impl Default for Deletes {
    fn default() -> Self {
        Self {
            tags: true,
            manifests: true,
            blobs: true,
        }
    }
}

/// What a registry does if referrers of one artifact type are asked for (RFR-07).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// It lists those, and says `OCI-Filters-Applied`.
    #[default]
    Applied,
    /// It lists all.
    Ignored,
    /// It lists all, and says `OCI-Filters-Applied`.
    Claimed,
}

/// How tag lists, the catalog and referrers are paged (TAGS-10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// The most entries on a page.
    pub cap: Option<usize>,
    /// Whether an `n` above the cap is refused with 400 instead of lowered.
    pub refuse_above_cap: bool,
}
