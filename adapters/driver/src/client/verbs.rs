//! What a request is: its report, and which options it has.
//!
//! Responsible for what can be said to which request, so that what makes no sense does not compile. Must not know what
//! an option does (`request`).
//!
//! ```compile_fail
//! # fn example<D>(client: &windlass_driver::Client<D>, reference: &windlass_core::Reference) {
//! let platform = windlass_driver::host_platform();
//! client.tags(reference).platform(platform); // a list has no platforms
//! # }
//! ```
//!
//! ```compile_fail
//! # fn example<D>(client: &windlass_driver::Client<D>, reference: &windlass_core::Reference, layout: &windlass_store::Layout) {
//! client.pull(reference, layout).spool(layout); // nothing is between two registries
//! # }
//! ```
//!
//! ```compile_fail
//! # fn example<D>(client: &windlass_driver::Client<D>, reference: &windlass_core::Reference, layout: &windlass_store::Layout) {
//! client.pull(reference, layout).mount_from(windlass_core::MountFrom::Anywhere); // a store mounts nothing
//! # }
//! ```
//!
//! ```compile_fail
//! # fn example<D>(client: &windlass_driver::Client<D>, reference: &windlass_core::Reference, stream: windlass_driver::BlobStream) {
//! client.put_stream(reference, stream).mount_from(windlass_core::MountFrom::Anywhere); // its digest is not known
//! # }
//! ```
//!
//! ```compile_fail
//! # fn example<D>(client: &windlass_driver::Client<D>, reference: &windlass_core::Reference, digest: windlass_core::Digest) {
//! client.tag(reference, []).replacing(digest); // no manifest is put in the place of another
//! # }
//! ```
//!
//! And what makes sense does:
//!
//! ```
//! # fn example<D>(client: &windlass_driver::Client<D>, reference: &windlass_core::Reference, layout: &windlass_store::Layout, digest: windlass_core::Digest, tag: windlass_core::reference::Tag, stream: windlass_driver::BlobStream) {
//! let platform = windlass_driver::host_platform();
//! client.tag(reference, []).tag(tag);
//! client.put_manifest(reference, *b"{}", "application/json").replacing(digest);
//! client.put_blob(reference, b"{}".to_vec()).mount_from(windlass_core::MountFrom::Anywhere);
//! client.put_stream(reference, stream);
//! client.tags(reference).page_size(100);
//! client.pull(reference, layout.at("v1")).platform(platform);
//! client.push(layout, reference).mount_from(windlass_core::MountFrom::Anywhere);
//! client.copy(reference, reference).all_platforms().spool(layout);
//! # }
//! ```

use windlass_core::reference::Tag;
use windlass_core::{
    BlobPut, BlobRange, Carry, Catalog, Descriptor, Digest, Fetched, Manifest, MountFrom,
    OpenedImage, Platform, Platforms, Put, Reference, Referrers, Report, Tags,
};
use windlass_store::StoreHandle;

use super::pages::ListPages;
use super::{Driver, Request};
use crate::request::TypedReport;

/// A kind of request. A report that only one kind of request has stands for that kind.
pub trait Verb {
    /// What it ends with.
    type Report: TypedReport;
}

impl<R: TypedReport> Verb for R {
    type Report = R;
}

/// An image is copied from a registry into a store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Pull;

/// An image is copied from a store into a registry.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Push;

/// An image is copied from one place to another.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Transfer;

/// A blob is mounted from another repository.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Mount;

/// A blob is put while it is read. Its digest is known at its end only, so it cannot be mounted.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PutStream;

/// Further tags are put for a manifest that is there.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AddTags;

impl Verb for Pull {
    type Report = Report;
}

impl Verb for Push {
    type Report = Report;
}

impl Verb for Transfer {
    type Report = Report;
}

impl Verb for Mount {
    type Report = BlobPut;
}

impl Verb for PutStream {
    type Report = BlobPut;
}

impl Verb for AddTags {
    type Report = Put;
}

/// A request that moves an image: [`Pull`], [`Push`], [`Transfer`].
pub trait MovesImage: Verb<Report = Report> {}

impl MovesImage for Pull {}

impl MovesImage for Push {}

impl MovesImage for Transfer {}

/// A request that may send blobs whose digests it knows to a registry: [`Push`], [`Transfer`], [`BlobPut`].
pub trait Sends: Verb {}

impl Sends for Push {}

impl Sends for Transfer {}

impl Sends for BlobPut {}

/// A request that puts a manifest at tags: [`Put`], [`AddTags`].
pub trait PutsTags: Verb {}

impl PutsTags for Put {}

impl PutsTags for AddTags {}

/// A request that can be for one image of an index: those that move one, and a [`Manifest`] or an [`OpenedImage`].
pub trait ForOnePlatform: Verb {}

impl ForOnePlatform for Pull {}

impl ForOnePlatform for Push {}

impl ForOnePlatform for Transfer {}

impl ForOnePlatform for Manifest {}

impl ForOnePlatform for OpenedImage {}

/// A request that may be answered by a mirror.
pub trait MayReadMirrors: Verb {}

impl MayReadMirrors for Pull {}

impl MayReadMirrors for Transfer {}

impl MayReadMirrors for Descriptor {}

impl MayReadMirrors for Manifest {}

impl MayReadMirrors for OpenedImage {}

impl MayReadMirrors for Fetched {}

impl MayReadMirrors for BlobRange {}

/// A list of names: [`Tags`], [`Catalog`].
pub trait ListReport: TypedReport {
    /// Where the next page begins, of a list that is read page by page.
    fn next(&self) -> Option<&str>;

    /// How many names it has, with those that are invalid.
    fn names(&self) -> usize;
}

impl ListReport for Tags {
    fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    fn names(&self) -> usize {
        self.tags.len() + self.invalid
    }
}

impl ListReport for Catalog {
    fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    fn names(&self) -> usize {
        self.repositories.len() + self.invalid
    }
}

impl<D, V: ForOnePlatform> Request<'_, D, V> {
    /// Only the image of an index that suits this platform best.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.spec.platforms(Platforms::One(platform));
        self
    }
}

impl<D, V: MayReadMirrors> Request<'_, D, V> {
    /// Reads at the registry itself and at none of its mirrors, which may have an older image at a tag: for what is
    /// changed and put back. See [`Task::without_mirrors`](windlass_core::Task::without_mirrors).
    pub fn without_mirrors(mut self) -> Self {
        self.spec.without_mirrors();
        self
    }
}

impl<D, V: MovesImage> Request<'_, D, V> {
    /// Of an index the images that suit these platforms best, and the unchanged index, which is then sparse: it has
    /// entries that are not there. The report says how many, and some registries refuse such an index.
    pub fn platforms(mut self, platforms: impl IntoIterator<Item = Platform>) -> Self {
        let platforms = platforms.into_iter().collect();
        self.spec.platforms(Platforms::Several(platforms));
        self
    }

    /// All of an index.
    pub fn all_platforms(mut self) -> Self {
        self.spec.platforms(Platforms::All);
        self
    }

    /// Copies what belongs to the image along with it: referrers such as signatures and SBOMs, and what cosign keeps
    /// at tags. By default nothing is. What could not be copied is in the report, as
    /// [`carried`](windlass_core::Report::carried).
    pub fn carry(mut self, carry: Carry) -> Self {
        self.spec.carry(carry);
        self
    }

    /// Moves foreign layers too: those whose media type says that they must not be distributed, and those
    /// whose descriptor has `urls`, from which they are fetched without credentials if the registry
    /// lacks them. By default they are left out, and the report says so. See
    /// [`Task::including_nondistributable`](windlass_core::Task::including_nondistributable).
    pub fn include_nondistributable(mut self) -> Self {
        self.spec.include_nondistributable();
        self
    }
}

impl<D, V: Sends> Request<'_, D, V> {
    /// One more repository in which the destination's registry may have the blobs, to mount them from, or
    /// [`MountFrom::Anywhere`]. Repositories in which this client has seen a blob are tried by themselves, and
    /// first: see [`CopyTask::mount_from`](windlass_core::CopyTask::mount_from). For a small blob one is tried.
    pub fn mount_from(mut self, from: impl Into<MountFrom>) -> Self {
        self.spec.mount_from(from);
        self
    }
}

impl<D> Request<'_, D, Push> {
    /// Takes blobs that the store lacks from this repository, where the image comes from: they are mounted, or sent
    /// while they are fetched. See [`Task::missing_from`](windlass_core::Task::missing_from).
    pub fn missing_from(mut self, repository: &Reference) -> Self {
        self.spec.missing_from(repository);
        self
    }
}

impl<D, V: Sends + MovesImage> Request<'_, D, V> {
    /// Lets further tags refer to the image, if it comes into a registry; the report names them as
    /// [`tags`](windlass_core::Report::tags). See [`Task::and_tags`](windlass_core::Task::and_tags).
    pub fn and_tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.spec.and_tags(tags);
        self
    }
}

impl<D> Request<'_, D, Transfer> {
    /// A store for blobs of a copy that cannot be sent while they are fetched. By default a temporary one, which
    /// is made when it is needed.
    pub fn spool(mut self, spool: impl Into<StoreHandle>) -> Self {
        self.spec.spool(spool);
        self
    }
}

impl<D, V: PutsTags> Request<'_, D, V> {
    /// One more tag that refers to the manifest.
    pub fn tag(mut self, tag: Tag) -> Self {
        self.spec.add_tag(tag);
        self
    }
}

impl<D> Request<'_, D, Put> {
    /// Puts a manifest only if the tag still stands for this one, which was read there. Else it fails with
    /// [`Error::Outdated`](windlass_core::Error::Outdated): see [`Task::replacing`](windlass_core::Task::replacing).
    pub fn replacing(mut self, digest: Digest) -> Self {
        self.spec.replacing(digest);
        self
    }
}

impl<D> Request<'_, D, Referrers> {
    /// Only those of this artifact type.
    pub fn artifact_type(mut self, artifact_type: impl Into<String>) -> Self {
        self.spec.artifact_type(artifact_type);
        self
    }
}

impl<'a, D, R: ListReport> Request<'a, D, R> {
    /// How many names to ask for at once, 1000 by default. A registry may send fewer.
    pub fn page_size(mut self, size: u32) -> Self {
        self.spec.paging().page_size = Some(size);
        self
    }

    /// Begins after this name, in the registry's order.
    pub fn after(mut self, name: impl Into<String>) -> Self {
        self.spec.paging().after = Some(name.into());
        self
    }

    /// Ends after this many names. The report says whether there are more.
    pub fn most(mut self, names: usize) -> Self {
        self.spec.paging().most = Some(names);
        self
    }

    /// Reads the list page by page, instead of all of it before the first name is there: an iterator over the pages
    /// in the blocking client, a stream of them in the async one. A deadline is one for each page.
    pub fn pages(self) -> ListPages<'a, D, R>
    where
        D: Driver,
    {
        ListPages::new(self.driver, self.spec, self.watch)
    }
}
