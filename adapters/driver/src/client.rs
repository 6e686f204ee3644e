//! A client over any driver, and what is asked of it.

mod artifacts;
mod changes;
mod many;
mod pages;
mod procedure;
mod verbs;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::reference::{Repository, Tag};
use windlass_core::{
    BlobFound, BlobPut, BlobRange, Catalog, Checked, Deleted, Descriptor, Failure, Fetched,
    Manifest, OpenedImage, Put, Reference, Referrers, Registry, Tags, TaskReport,
};
use windlass_store::{StoreEntry, StoreHandle};

pub use self::pages::ListPages;
pub use self::procedure::ProcedureRequest;
pub use self::verbs::{
    AddTags, ForOnePlatform, ListReport, MayReadMirrors, Mount, MovesImage, Pull, Push, PutStream,
    PutsTags, Sends, Transfer, Verb,
};
use crate::address::AddressGuard;
use crate::builder::Builder;
use crate::cancel::CancelHandle;
use crate::limits::TimeLimits;
use crate::observer::Observer;
use crate::reader::{BlobReader, ReaderEnd, Unread};
use crate::request::{BlobContent, BlobStream, ImageLocation, RequestSpec, TypedReport};
use crate::resources::Resources;
use crate::session::ClientSession;
use crate::tls_config::Tls;
use crate::unverified_range::RangePieces;

/// What runs the session of a [`Client`]: threads, or an async runtime.
pub trait Driver: Sized {
    /// What [`Request::run`] and [`ProcedureRequest::run`] return: the result of what ends with the report `R`, or a
    /// future of that result.
    type Running<'a, R: Send + 'static>
    where
        Self: 'a;

    /// A driver made of these parts. Starts nothing yet.
    fn new(parts: Parts) -> Self;

    /// What [`Blob::read`] returns: a [`BlobReader`], or one for async code.
    type Reader;

    /// Runs a request.
    fn run<R: TypedReport>(&self, spec: RequestSpec, watch: Watch) -> Self::Running<'_, R>;

    /// The result of a request within a procedure.
    fn result<'a, R: Send + 'static>(
        running: Self::Running<'a, R>,
    ) -> impl Future<Output = Result<R, Failure>> + Send + 'a
    where
        Self: 'a;

    /// Runs requests of a procedure of which none depends on another: see
    /// [`ask_all`](crate::Requests::ask_all).
    fn run_all<R: TypedReport>(
        &self,
        specs: Vec<RequestSpec>,
        watch: Watch,
    ) -> impl Future<Output = Result<Vec<R>, Failure>> + Send;

    /// Runs a procedure: a future that waits for nothing but [`result`](Self::result)s.
    fn follow<'a, R: Send + 'static>(
        &'a self,
        procedure: impl Future<Output = Result<R, Failure>> + Send + 'a,
    ) -> Self::Running<'a, R>;

    /// Runs the request that fills a reader, beside the caller.
    fn read(&self, fetch: Fetch) -> Self::Reader;

    /// What [`Blob::read_unverified`] returns.
    type UnverifiedReader<'a>
    where
        Self: 'a;

    /// A reader of these pieces.
    fn read_unverified(&self, pieces: RangePieces) -> Self::UnverifiedReader<'_>;
}

/// The request that fills a reader.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fetch {
    /// What it fills.
    pub reader: BlobReader,
    /// The request, which ends with a [`Fetched`](windlass_core::Fetched).
    pub spec: RequestSpec,
    /// Cancelled when the reader is dropped.
    pub watch: Watch,
    /// What is to be told how the request ended.
    pub end: ReaderEnd,
}

/// What a driver is made of.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parts {
    /// The session that it runs.
    pub session: ClientSession,
    /// What its jobs need.
    pub resources: Resources,
    /// How connections are secured.
    pub tls: Tls,
    /// Which addresses may be connected to.
    pub addresses: AddressGuard,
    /// How long it waits.
    pub limits: TimeLimits,
    /// How many requests there are at once at the most, to one host.
    pub in_flight: usize,
}

/// How a request is watched and cancelled.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Watch {
    /// Who watches.
    pub observer: Option<Arc<dyn Observer>>,
    /// What ends it early.
    pub cancel: Option<CancelHandle>,
    /// What tells that the reader of its blob is not read.
    pub unread: Option<Unread>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("observed", &self.observer.is_some())
            .field("cancel", &self.cancel)
            .finish()
    }
}

/// An OCI registry client. Clones are cheap and share one session: tokens, limits and connections.
#[derive(Clone, Debug)]
pub struct Client<D>(D);

impl<D> Client<D> {
    /// A client to be set up.
    pub fn builder() -> Builder<D> {
        Builder::default()
    }

    pub(crate) const fn new(driver: D) -> Self {
        Self(driver)
    }

    /// Copies an image from a registry into a store, under the name of the entry, which is the tag of the reference
    /// unless another one is said (`layout.at("3.20")`): of an index, the image for Linux on this machine's
    /// architecture, unless [`platform`](Request::platform) or [`all_platforms`](Request::all_platforms) says
    /// otherwise.
    pub fn pull(
        &self,
        reference: &Reference,
        store: impl Into<StoreEntry>,
    ) -> Request<'_, D, Pull> {
        self.typed(RequestSpec::pull(reference, store))
    }

    /// Copies an image from a store into a registry, with everything below it: the entry whose name is the tag of the
    /// reference, unless another one is said.
    pub fn push(
        &self,
        store: impl Into<StoreEntry>,
        reference: &Reference,
    ) -> Request<'_, D, Push> {
        self.typed(RequestSpec::push(store, reference))
    }

    /// Copies an image from one place to another, with everything below it.
    pub fn copy(
        &self,
        source: impl Into<ImageLocation>,
        destination: impl Into<ImageLocation>,
    ) -> Request<'_, D, Transfer> {
        self.typed(RequestSpec::copy(source.into(), destination.into()))
    }

    /// Resolves a reference to the descriptor of its manifest.
    pub fn resolve(&self, reference: &Reference) -> Request<'_, D, Descriptor> {
        self.typed(RequestSpec::resolve(reference))
    }

    /// Opens an image: reads its manifest and its configuration, verified. Its layers are read one by one, with
    /// [`blob`](Self::blob), at the [`reference`](OpenedImage::reference) of what was opened. Of an index the
    /// image for Linux on this machine's architecture, unless [`platform`](Request::platform) is another.
    pub fn open(&self, reference: &Reference) -> Request<'_, D, OpenedImage> {
        self.typed(RequestSpec::open(reference))
    }

    /// One blob of the reference's repository, of whatever size, without a manifest that names it.
    pub fn blob(&self, repository: &Reference, blob: &Descriptor) -> Blob<'_, D> {
        Blob {
            client: self,
            repository: repository.clone(),
            blob: blob.clone(),
        }
    }

    /// Checks whether a registry accepts the credentials for it, with one request that needs them.
    pub fn check(&self, registry: &Registry) -> Request<'_, D, Checked> {
        self.typed(RequestSpec::check(registry))
    }

    /// Lists the tags of the reference's repository, all of them unless [`most`](Request::most) says
    /// otherwise.
    pub fn tags(&self, repository: &Reference) -> Request<'_, D, Tags> {
        self.typed(RequestSpec::tags(repository))
    }

    /// Lists the repositories of a registry, which many registries do not allow, likewise.
    pub fn catalog(&self, registry: &Registry) -> Request<'_, D, Catalog> {
        self.typed(RequestSpec::catalog(registry))
    }

    /// Reads the manifest or index that a reference stands for: its bytes, verified. Its descriptor alone is what
    /// [`resolve`](Self::resolve) returns.
    pub fn manifest(&self, reference: &Reference) -> Request<'_, D, Manifest> {
        self.typed(RequestSpec::manifest(reference))
    }

    /// Puts a manifest byte for byte, by the reference's tag or digest. What it refers to must be in the
    /// repository.
    pub fn put_manifest(
        &self,
        reference: &Reference,
        bytes: impl Into<Arc<[u8]>>,
        media_type: impl Into<String>,
    ) -> Request<'_, D, Put> {
        self.typed(RequestSpec::put_manifest(reference, bytes, media_type))
    }

    /// Lets further tags refer to what a reference stands for, without moving a blob.
    pub fn tag(
        &self,
        reference: &Reference,
        tags: impl IntoIterator<Item = Tag>,
    ) -> Request<'_, D, AddTags> {
        self.typed(RequestSpec::tag(reference, tags))
    }

    /// Deletes a tag and nothing else; or, if the reference has a digest, the manifest with all its tags. Fails
    /// where a tag cannot be deleted alone, with a hint that names the other tags of its manifest.
    pub fn delete(&self, reference: &Reference) -> Request<'_, D, Deleted> {
        self.typed(RequestSpec::delete(reference))
    }

    /// Deletes the manifest that a reference stands for, with all its tags.
    pub fn delete_manifest(&self, reference: &Reference) -> Request<'_, D, Deleted> {
        self.typed(RequestSpec::delete_manifest(reference))
    }

    /// Lists the manifests whose subject is what a reference stands for: signatures, SBOMs and other artifacts.
    pub fn referrers(&self, reference: &Reference) -> Request<'_, D, Referrers> {
        self.typed(RequestSpec::referrers(reference, None))
    }

    /// Finds out whether a repository has the blob that the reference's digest names, and its size.
    pub fn find_blob(&self, reference: &Reference) -> Request<'_, D, BlobFound> {
        self.typed(RequestSpec::find_blob(reference))
    }

    /// Puts a blob into the reference's repository.
    pub fn put_blob(
        &self,
        repository: &Reference,
        content: impl Into<BlobContent>,
    ) -> Request<'_, D, BlobPut> {
        self.typed(RequestSpec::put_blob(repository, content))
    }

    /// Puts a blob into the reference's repository while it is read, without knowing its digest and size before its
    /// end.
    pub fn put_stream(
        &self,
        repository: &Reference,
        stream: BlobStream,
    ) -> Request<'_, D, PutStream> {
        self.typed(RequestSpec::put_stream(repository, stream))
    }

    /// Mounts the blob that the reference's digest names from another repository of the registry. If the registry
    /// does not mount it, it is moved.
    pub fn mount_blob(&self, from: Repository, to: &Reference) -> Request<'_, D, Mount> {
        self.typed(RequestSpec::mount_blob(from, to))
    }

    /// Deletes the blob that the reference's digest names from its repository.
    pub fn delete_blob(&self, reference: &Reference) -> Request<'_, D, Deleted> {
        self.typed(RequestSpec::delete_blob(reference))
    }

    /// A request from its specification.
    pub fn request(&self, spec: RequestSpec) -> Request<'_, D, TaskReport> {
        self.typed(spec)
    }

    fn typed<V>(&self, spec: RequestSpec) -> Request<'_, D, V> {
        Request {
            driver: &self.0,
            spec,
            watch: Watch::default(),
            verb: PhantomData,
        }
    }
}

/// A blob in a repository.
#[must_use = "nothing happens before it is read"]
pub struct Blob<'a, D> {
    client: &'a Client<D>,
    repository: Reference,
    blob: Descriptor,
}

impl<'a, D> Blob<'a, D> {
    /// Reads it while it arrives, verified at its end. The request begins at once; dropping the reader cancels
    /// it. A reader that is not read keeps a connection to the registry.
    pub fn read(&self) -> D::Reader
    where
        D: Driver,
    {
        let cancel = CancelHandle::new();
        let (reader, store, end) = BlobReader::new(&self.blob, &cancel);
        self.client.0.read(Fetch {
            reader,
            spec: RequestSpec::fetch_blob(&self.repository, &self.blob, &store),
            watch: Watch {
                observer: None,
                cancel: Some(cancel),
                unread: Some(end.unread()),
            },
            end,
        })
    }

    /// Fetches it into a store, verified; what the store has of it is not fetched again.
    pub fn fetch(&self, store: impl Into<StoreHandle>) -> Request<'a, D, Fetched> {
        let spec = RequestSpec::fetch_blob(&self.repository, &self.blob, store);
        self.client.typed(spec)
    }

    /// Reads some bytes of it as a stream. They are **not verified**: nothing says what a part of a blob should be. Each
    /// MiB is a request of its own, made when it is read, so that a reader that is not read holds nothing.
    pub fn read_unverified(&self, range: Range<u64>) -> D::UnverifiedReader<'a>
    where
        D: Driver,
    {
        let (repository, digest) = (self.repository.clone(), self.blob.digest.clone());
        let pieces = RangePieces::new(repository, digest, range);
        self.client.0.read_unverified(pieces)
    }

    /// Reads some bytes of it. They are **not verified**, and may be fewer than requested: see
    /// [`Task::read_range`](windlass_core::Task::read_range).
    pub fn range(&self, range: Range<u64>) -> Request<'a, D, BlobRange> {
        let spec = RequestSpec::read_range(&self.repository, &self.blob.digest, range);
        self.client.typed(spec)
    }
}

impl<D> fmt::Debug for Blob<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("repository", &self.repository)
            .field("blob", &self.blob.digest)
            .finish_non_exhaustive()
    }
}

/// A request and its options. Which options it takes depends on its kind ([`Verb`]). Nothing happens before
/// [`run`](Self::run).
#[must_use = "nothing happens before run"]
pub struct Request<'a, D, V> {
    driver: &'a D,
    spec: RequestSpec,
    watch: Watch,
    verb: PhantomData<fn() -> V>,
}

impl<'a, D, V> Request<'a, D, V> {
    /// Fails if it takes longer than this in all.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.spec.deadline(deadline);
        self
    }

    /// Who watches.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.watch.observer = Some(observer);
        self
    }

    /// A handle that ends it early.
    pub fn cancel(mut self, cancel: &CancelHandle) -> Self {
        self.watch.cancel = Some(cancel.clone());
        self
    }

    /// Runs the request to completion. The blocking client returns a `Result`, the async client a future of
    /// one: the report of its kind of task, for copies a [`Report`](windlass_core::Report), or the
    /// [`Failure`](windlass_core::Failure) that names the most telling reason first.
    pub fn run(self) -> D::Running<'a, V::Report>
    where
        D: Driver,
        V: Verb,
    {
        self.driver.run(self.spec, self.watch)
    }
}

impl<D, V> fmt::Debug for Request<'_, D, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}
