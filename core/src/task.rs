//! Tasks: what a session is asked to do. What it reports of them is in `report`.

mod blob;
mod carry;
mod copy;
mod failure;
mod fetch;
mod kind;
mod list;
mod manifest;
mod mount;
mod open;
mod referrers;
mod report;

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

pub(crate) use self::blob::{BlobAction, BlobTask, StreamTask};
pub use self::blob::{BlobDelivery, BlobFound, BlobPut};
pub use self::carry::{Carried, Carry, NotCarried};
pub(crate) use self::copy::Foreign;
pub use self::copy::{CopyTask, Platforms, Report, TaskLocation, URLS, Unlisted};
pub use self::failure::Failure;
pub use self::fetch::{BlobRange, Fetched};
pub(crate) use self::fetch::{FetchTask, RangeTask};
pub(crate) use self::kind::{ReadAt, TaskKind};
pub use self::list::{Catalog, Paging, Tags};
pub(crate) use self::list::{ListOf, ListTask};
pub(crate) use self::manifest::{DeleteTask, Extent, ManifestTask, PutSource, PutTask};
pub use self::manifest::{Deleted, Manifest, Put};
pub use self::mount::MountFrom;
pub(crate) use self::open::OpenTask;
pub use self::open::{ImageLayer, OpenedImage};
pub(crate) use self::referrers::ReferrersTask;
pub use self::referrers::{Referrers, ReferrersSource};
pub use self::report::{Checked, TaskReport};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
#[cfg(doc)]
use crate::error::Error;
use crate::platform::Platform;
use crate::reference::{Reference, Repository, Tag};
use crate::registry::Registry;
use crate::store::StoreId;
use crate::time::Time;

pub use crate::ids::TaskId;

/// A task and its deadline.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Task {
    #[serde(flatten)]
    pub(crate) kind: TaskKind,
    /// On tapes and in checkpoints: microseconds since the session began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline: Option<Time>,
    #[serde(
        default,
        rename = "nondistributable",
        skip_serializing_if = "Foreign::is_left_out"
    )]
    pub(crate) foreign: Foreign,
    #[serde(
        default,
        rename = "withoutMirrors",
        skip_serializing_if = "ReadAt::is_mirrors"
    )]
    pub(crate) read_at: ReadAt,
    #[serde(
        default,
        rename = "missingFrom",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) missing_from: Option<Reference>,
    #[serde(default, rename = "moreTags", skip_serializing_if = "Vec::is_empty")]
    pub(crate) more_tags: Vec<Tag>,
}

impl Task {
    /// Check whether a registry accepts the credentials for it, with `GET /v2/`.
    ///
    /// The driver is asked for credentials only if the registry wants some, and for the whole registry: without
    /// a repository. It fails with [`Error::Auth`] if they are refused.
    pub const fn check(registry: Registry) -> Self {
        Self::new(TaskKind::Check(registry))
    }

    /// List the tags of the reference's repository; its tag and digest do not matter.
    ///
    /// It is read at the registry itself, never at a mirror, page by page, each with the usual number of
    /// attempts. It fails rather than report a part as the whole list, unless [`Paging::most`] ends it.
    pub const fn tags(repository: Reference, paging: Paging) -> Self {
        Self::list(ListOf::Tags(repository), paging)
    }

    /// List the repositories of a registry, an extension that many registries do not have, likewise.
    pub const fn catalog(registry: Registry, paging: Paging) -> Self {
        Self::list(ListOf::Catalog(registry), paging)
    }

    const fn list(of: ListOf, paging: Paging) -> Self {
        Self::new(TaskKind::List(ListTask { of, paging }))
    }

    /// Read a manifest: what a reference stands for; of an index with a `platform`, the image that suits it best.
    pub const fn manifest(reference: Reference, platform: Option<Platform>) -> Self {
        Self::new(TaskKind::Manifest(ManifestTask {
            reference,
            platform,
        }))
    }

    /// Put a manifest that a store has as a blob, with this media type, at a reference: by its tag (`latest` if it
    /// has neither tag nor digest), or by its digest. Further `tags` refer to it, too: in one request where the
    /// registry takes that, else one by one.
    ///
    /// The bytes are sent as they are. What the manifest refers to must be in the repository, except its subject; if
    /// the registry lists no referrers itself, the manifest is added to the list of its subject.
    pub fn put_manifest(
        (store, digest): (StoreId, Digest),
        media_type: String,
        destination: Reference,
        tags: Vec<Tag>,
    ) -> Self {
        Self::new(TaskKind::Put(PutTask {
            source: PutSource::Store {
                store,
                digest,
                media_type,
            },
            destination,
            tags,
            replaces: None,
        }))
    }

    /// Let further tags refer to what a reference stands for, in its repository.
    pub fn tag(reference: Reference, tags: Vec<Tag>) -> Self {
        Self::new(TaskKind::Put(PutTask {
            source: PutSource::Repository(reference.clone()),
            destination: reference,
            tags,
            replaces: None,
        }))
    }

    /// Put a manifest only in the place of this one, which was read at the destination's tag. It fails with
    /// [`Error::Outdated`] if another one is there: then it was not put, or was replaced by another client at once. A
    /// condition (`If-Match`) rules out the latter, but most registries ignore it, so the tag is looked at before and
    /// after. For other tasks than [`put_manifest`](Self::put_manifest), and without a tag, this has no meaning.
    #[must_use]
    pub fn replacing(mut self, digest: Digest) -> Self {
        if let TaskKind::Put(put) = &mut self.kind {
            put.replaces = Some(digest);
        }
        self
    }

    /// Delete a tag and nothing else; or, if the reference has a digest, the manifest with all its tags.
    ///
    /// If the registry cannot delete a tag alone, the task fails, and the error's hint names the tags that
    /// [`delete_manifest`](Self::delete_manifest) would delete with it. A deleted manifest is removed from the
    /// referrers list of its subject, if there is such a list.
    pub const fn delete(reference: Reference) -> Self {
        let extent = Extent::Tag;
        Self::new(TaskKind::Delete(DeleteTask {
            reference,
            extent,
            again: false,
        }))
    }

    /// Delete the manifest that a reference stands for, with all its tags.
    pub const fn delete_manifest(reference: Reference) -> Self {
        let extent = Extent::Manifest;
        Self::new(TaskKind::Delete(DeleteTask {
            reference,
            extent,
            again: false,
        }))
    }

    /// Find out whether the repository has the blob that the reference's digest names, and its size.
    pub const fn find_blob(reference: Reference) -> Self {
        Self::blob(reference, BlobAction::Stat)
    }

    /// Put a blob of `size` bytes from a store into the reference's repository, under the reference's digest, unless
    /// the registry mounts it from one of `mount_from`: see [`CopyTask::mount_from`].
    pub const fn put_blob(
        store: StoreId,
        size: u64,
        reference: Reference,
        mount_from: Vec<MountFrom>,
    ) -> Self {
        let action = BlobAction::Put {
            store,
            size,
            mount_from,
        };
        Self::blob(reference, action)
    }

    /// Put a stream from a store into the reference's repository, without knowing its digest and size before its
    /// end. If the reference has a digest, it must be that of the stream.
    ///
    /// The store is asked to [`Gather`](crate::StoreOp::Gather) a chunk at a time, of
    /// [`Config::chunk_size`](crate::Config::chunk_size). What ends within the first one is sent like every blob. For
    /// a registry that takes no chunks, all of the stream is gathered first. A stream cannot be read again, so a task
    /// from a checkpoint fails.
    pub const fn put_stream(store: StoreId, repository: Reference) -> Self {
        Self::new(TaskKind::Stream(StreamTask { repository, store }))
    }

    /// Mount the blob that the reference's digest names from the repository `from` of the same registry. If the
    /// registry does not mount it, it is moved by way of the spool.
    pub const fn mount_blob(from: Repository, reference: Reference, spool: StoreId) -> Self {
        Self::blob(reference, BlobAction::Mount { from, spool })
    }

    /// Delete the blob that the reference's digest names from its repository.
    pub const fn delete_blob(reference: Reference) -> Self {
        Self::blob(reference, BlobAction::Delete)
    }

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

    const fn blob(reference: Reference, action: BlobAction) -> Self {
        Self::new(TaskKind::Blob(BlobTask {
            reference,
            action,
            again: false,
        }))
    }

    /// It is from a checkpoint: what it deletes may be gone already.
    pub(crate) const fn resumed(mut self) -> Self {
        if let TaskKind::Delete(DeleteTask { again, .. }) | TaskKind::Blob(BlobTask { again, .. }) =
            &mut self.kind
        {
            *again = true;
        }
        self
    }

    const fn new(kind: TaskKind) -> Self {
        Self {
            kind,
            deadline: None,
            foreign: Foreign::LeftOut,
            read_at: ReadAt::Mirrors,
            missing_from: None,
            more_tags: Vec::new(),
        }
    }

    /// Fetch one blob of a repository into a store, verified. What the store has of it already is not fetched.
    ///
    /// Only the registry and the repository of `source` count. It fails with [`Error::Mismatch`] if the blob
    /// is not what its descriptor says.
    pub const fn fetch_blob(source: Reference, blob: Descriptor, store: StoreId) -> Self {
        Self::new(TaskKind::Fetch(FetchTask {
            source,
            blob,
            store,
        }))
    }

    /// Read the manifest and the configuration of an image, verified: of an index, the image for the platform.
    ///
    /// It fails with [`Error::Policy`] if that is no image, or the configuration is larger than
    /// [`Limits::document`](crate::config::Limits::document), since it is in memory.
    pub const fn open(reference: Reference, platform: Platform) -> Self {
        Self::new(TaskKind::Open(OpenTask {
            reference,
            platform,
        }))
    }

    /// Read some bytes of a blob. They are **not verified**: a digest is over a whole blob.
    ///
    /// Only the registry and the repository of `source` count. The report may have fewer bytes than `range`, as
    /// the registry may return fewer; it has none if `range` is empty. It fails with [`Error::Policy`] if
    /// `range` is longer than [`Limits::document`](crate::config::Limits::document), since the bytes are in
    /// memory, and with [`Error::Registry`] (416) if it begins behind the end of the blob.
    pub const fn read_range(source: Reference, digest: Digest, range: Range<u64>) -> Self {
        Self::new(TaskKind::ReadRange(RangeTask {
            source,
            digest,
            range,
        }))
    }

    /// Resolve a reference to a digest.
    pub const fn resolve(reference: Reference) -> Self {
        Self::new(TaskKind::Resolve(reference))
    }

    /// Pull an image from a registry into a store, where it is tagged `name`.
    pub const fn pull(
        source: Reference,
        store: StoreId,
        name: Option<String>,
        platforms: Platforms,
    ) -> Self {
        Self::copy(CopyTask {
            source: TaskLocation::Registry(source),
            destination: TaskLocation::Store { store, name },
            platforms,
            spool: None,
            mount_from: Vec::new(),
            carry: Carry::NOTHING,
        })
    }

    /// Push the image tagged `name` from a store to a registry.
    pub const fn push(
        store: StoreId,
        name: Option<String>,
        destination: Reference,
        platforms: Platforms,
    ) -> Self {
        Self::copy(CopyTask {
            source: TaskLocation::Store { store, name },
            destination: TaskLocation::Registry(destination),
            platforms,
            spool: None,
            mount_from: Vec::new(),
            carry: Carry::NOTHING,
        })
    }

    /// Copy an image.
    pub const fn copy(copy: CopyTask) -> Self {
        Self::new(TaskKind::Copy(copy))
    }

    /// Let these tags refer to what a push or a copy has put into a registry, too, after its own: all in one request
    /// where the registry takes them with the manifest (`?tag=`), else in one each. The report names them
    /// ([`Report::tags`]); if one cannot be put, the task fails, and the image and the tags before it stay. Has no effect
    /// on other tasks.
    #[must_use]
    pub fn and_tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.more_tags.extend(tags);
        self
    }

    /// Include foreign layers: those with a nondistributable media type, and those whose descriptor
    /// has `urls`. By default a task leaves them out and lists them in its report.
    ///
    /// A layer is fetched from the source registry first. If that fails, the descriptor's first
    /// [`URLS`] `urls` are tried in order: http and https only, without credentials, and verified
    /// like every blob. A URL on a literal loopback, private or link-local address, or on
    /// `localhost`, is refused with [`Error::Policy`], unless the registry's own host is a literal
    /// address in the same kind of network.
    #[must_use]
    pub const fn including_nondistributable(mut self) -> Self {
        self.foreign = Foreign::Included;
        self
    }

    /// Read at the registry itself and at none of its mirrors, which may have an older image at a tag: for what is
    /// changed and put back. Without this a task asks the endpoints of the [`Route`](crate::config::Route) in their
    /// order. What writes, deletes or lists never asks a mirror.
    #[must_use]
    pub const fn without_mirrors(mut self) -> Self {
        self.read_at = ReadAt::Registry;
        self
    }

    /// Take the blobs of a push that its store lacks from the repository of `source`, where the image comes from: they
    /// are mounted if it is in the destination's registry, else sent while they are fetched, and verified like every
    /// blob. The store must have all manifests. [`CopyTask::spool`] is for those that can be neither mounted nor
    /// relayed. Only the registry and the repository of `source` count; for other tasks this has no meaning.
    #[must_use]
    pub fn missing_from(mut self, source: Reference) -> Self {
        self.missing_from = Some(source);
        self
    }

    /// Fail the task if it has not finished by `deadline`.
    #[must_use]
    pub const fn by(mut self, deadline: Time) -> Self {
        self.deadline = Some(deadline);
        self
    }
}
