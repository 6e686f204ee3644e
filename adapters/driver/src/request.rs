//! What is asked of a client.

mod blob;
pub mod reports;
mod stream;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::reference::{Repository, Tag};
use windlass_core::{
    Carry, CopyTask, Descriptor, Digest, Failure, MountFrom, Paging, Platform, Platforms,
    Reference, Registry, StoreId, Task, TaskLocation, TaskReport, Time,
};
use windlass_store::{Layout, Memory, Store, StoreEntry, StoreHandle};

pub use self::blob::BlobContent;
pub use self::stream::BlobStream;
use crate::spool::LazySpool;
use crate::stores::Stores;

/// Where an image is or goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ImageLocation {
    /// A registry.
    Registry(Reference),
    /// A store, under this name; without one, the only entry or an unnamed one.
    Store {
        /// The store.
        store: Arc<dyn Store>,
        /// The entry's name there.
        name: Option<String>,
    },
}

impl ImageLocation {
    /// An entry of a store, for instance of an image layout.
    pub fn store(store: impl Into<StoreHandle>, name: Option<String>) -> Self {
        Self::Store {
            store: Arc::clone(store.into().store()),
            name,
        }
    }

    /// An entry, which has this name if none was said.
    fn entry(entry: &StoreEntry, default: Option<&str>) -> Self {
        Self::store(entry.store(), entry.name_or(default))
    }

    fn location(&self, stores: &mut StoreGuard) -> TaskLocation {
        match self {
            Self::Registry(reference) => TaskLocation::Registry(reference.clone()),
            Self::Store { store, name } => TaskLocation::Store {
                store: stores.add(store),
                name: name.clone(),
            },
        }
    }
}

impl From<&Reference> for ImageLocation {
    fn from(reference: &Reference) -> Self {
        Self::Registry(reference.clone())
    }
}

/// If no name was said: the only entry of the store, or a new one that has none.
impl From<StoreEntry> for ImageLocation {
    fn from(entry: StoreEntry) -> Self {
        Self::entry(&entry, None)
    }
}

impl From<&Layout> for ImageLocation {
    fn from(layout: &Layout) -> Self {
        Self::store(layout, None)
    }
}

impl From<&Memory> for ImageLocation {
    fn from(memory: &Memory) -> Self {
        Self::store(memory, None)
    }
}

impl From<Reference> for ImageLocation {
    fn from(reference: Reference) -> Self {
        Self::Registry(reference)
    }
}

/// The report of one kind of task, which a request for such a task returns.
pub trait TypedReport: Sized + Send + 'static {
    /// Takes it out of what a task ended with.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`](windlass_core::Error::Internal) if the task was of another kind.
    fn of(report: TaskReport) -> Result<Self, Failure>;
}

/// What a client is asked to do, with stores and references instead of ids.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    verb: Verb,
    options: Options,
}

/// The options of requests. Each applies to some kinds only.
#[derive(Clone, Debug)]
struct Options {
    platforms: Platforms,
    spool: Option<Arc<dyn Store>>,
    mount_from: Vec<MountFrom>,
    missing_from: Option<Reference>,
    more_tags: Vec<Tag>,
    carry: Carry,
    paging: Paging,
    deadline: Option<Duration>,
    nondistributable: bool,
    without_mirrors: bool,
}

#[derive(Clone, Debug)]
enum Verb {
    Check(Registry),
    Resolve(Reference),
    Tags(Reference),
    Catalog(Registry),
    Manifest(Reference),
    PutManifest {
        destination: Reference,
        bytes: Arc<[u8]>,
        media_type: String,
        tags: Vec<Tag>,
        replaces: Option<Digest>,
    },
    Tag(Reference, Vec<Tag>),
    Delete(Reference),
    DeleteManifest(Reference),
    Referrers(Reference, Option<String>),
    FindBlob(Reference),
    PutBlob(Reference, BlobContent),
    PutStream(Reference, BlobStream),
    MountBlob {
        from: Repository,
        to: Reference,
    },
    DeleteBlob(Reference),
    Open(Reference),
    FetchBlob {
        source: Reference,
        blob: Box<Descriptor>,
        store: Arc<dyn Store>,
    },
    ReadRange {
        source: Reference,
        digest: Digest,
        range: Range<u64>,
    },
    Copy {
        source: ImageLocation,
        destination: ImageLocation,
    },
}

impl RequestSpec {
    /// Checks whether a registry accepts the credentials for it.
    pub fn check(registry: &Registry) -> Self {
        Self::new(Verb::Check(registry.clone()), Platforms::All)
    }

    /// Resolves a reference to a digest.
    pub fn resolve(reference: &Reference) -> Self {
        Self::new(Verb::Resolve(reference.clone()), Platforms::All)
    }

    /// Lists the tags of the reference's repository.
    pub fn tags(repository: &Reference) -> Self {
        Self::new(Verb::Tags(repository.clone()), Platforms::All)
    }

    /// Lists the repositories of a registry.
    pub fn catalog(registry: &Registry) -> Self {
        Self::new(Verb::Catalog(registry.clone()), Platforms::All)
    }

    /// Reads what a reference stands for: see [`Task::manifest`]. Of an index, only with
    /// [`platforms`](Self::platforms) an image in it.
    pub fn manifest(reference: &Reference) -> Self {
        Self::new(Verb::Manifest(reference.clone()), Platforms::All)
    }

    /// Puts a manifest: see [`Task::put_manifest`].
    pub fn put_manifest(
        destination: &Reference,
        bytes: impl Into<Arc<[u8]>>,
        media_type: impl Into<String>,
    ) -> Self {
        let verb = Verb::PutManifest {
            destination: destination.clone(),
            bytes: bytes.into(),
            media_type: media_type.into(),
            tags: Vec::new(),
            replaces: None,
        };
        Self::new(verb, Platforms::All)
    }

    /// Puts a manifest only in the place of this one: see [`Task::replacing`].
    pub fn replacing(&mut self, digest: Digest) {
        if let Verb::PutManifest { replaces, .. } = &mut self.verb {
            *replaces = Some(digest);
        }
    }

    /// Lets further tags refer to what a reference stands for: see [`Task::tag`].
    pub fn tag(reference: &Reference, tags: impl IntoIterator<Item = Tag>) -> Self {
        let tags = tags.into_iter().collect();
        Self::new(Verb::Tag(reference.clone(), tags), Platforms::All)
    }

    /// Deletes a tag, or a manifest by its digest: see [`Task::delete`].
    pub fn delete(reference: &Reference) -> Self {
        Self::new(Verb::Delete(reference.clone()), Platforms::All)
    }

    /// Deletes the manifest that a reference stands for, with all its tags: see [`Task::delete_manifest`].
    pub fn delete_manifest(reference: &Reference) -> Self {
        Self::new(Verb::DeleteManifest(reference.clone()), Platforms::All)
    }

    /// Lists what refers to a manifest, of one artifact type or of all: see [`Task::referrers`].
    pub fn referrers(reference: &Reference, artifact_type: Option<String>) -> Self {
        let verb = Verb::Referrers(reference.clone(), artifact_type);
        Self::new(verb, Platforms::All)
    }

    /// Only those of this artifact type, of a list of referrers.
    pub fn artifact_type(&mut self, wanted: impl Into<String>) {
        if let Verb::Referrers(_, artifact_type) = &mut self.verb {
            *artifact_type = Some(wanted.into());
        }
    }

    /// Finds out whether a repository has the blob that the reference's digest names: see [`Task::find_blob`].
    pub fn find_blob(reference: &Reference) -> Self {
        Self::new(Verb::FindBlob(reference.clone()), Platforms::All)
    }

    /// Puts a blob into the reference's repository. If the reference has a digest, it must be that of the blob.
    /// The registry is asked to mount it first, if it may have it: see [`mount_from`](Self::mount_from).
    pub fn put_blob(repository: &Reference, content: impl Into<BlobContent>) -> Self {
        let verb = Verb::PutBlob(repository.clone(), content.into());
        Self::new(verb, Platforms::All)
    }

    /// Puts a stream into the reference's repository. If the reference has a digest, it must be that of the stream.
    pub fn put_stream(repository: &Reference, stream: BlobStream) -> Self {
        let verb = Verb::PutStream(repository.clone(), stream);
        Self::new(verb, Platforms::All)
    }

    /// Mounts the blob that the reference's digest names from another repository of the registry: see
    /// [`Task::mount_blob`].
    pub fn mount_blob(from: Repository, to: &Reference) -> Self {
        let to = to.clone();
        Self::new(Verb::MountBlob { from, to }, Platforms::All)
    }

    /// Deletes the blob that the reference's digest names.
    pub fn delete_blob(reference: &Reference) -> Self {
        Self::new(Verb::DeleteBlob(reference.clone()), Platforms::All)
    }

    /// Fetch one blob of the reference's repository into a store.
    pub fn fetch_blob(
        source: &Reference,
        blob: &Descriptor,
        store: impl Into<StoreHandle>,
    ) -> Self {
        let verb = Verb::FetchBlob {
            source: source.clone(),
            blob: blob.clone().into(),
            store: Arc::clone(store.into().store()),
        };
        Self::new(verb, Platforms::All)
    }

    /// Read the manifest and the configuration of an image: of an index, the image for Linux on this machine's
    /// architecture.
    pub fn open(reference: &Reference) -> Self {
        Self::new(
            Verb::Open(reference.clone()),
            Platforms::One(host_platform()),
        )
    }

    /// Read some bytes of a blob, not verified.
    pub fn read_range(source: &Reference, digest: &Digest, range: Range<u64>) -> Self {
        let verb = Verb::ReadRange {
            source: source.clone(),
            digest: digest.clone(),
            range,
        };
        Self::new(verb, Platforms::All)
    }

    /// Copies an image into a store: of an index, the image for Linux on this machine's architecture. The tag is the
    /// name of the entry, unless another one is said.
    pub fn pull(reference: &Reference, store: impl Into<StoreEntry>) -> Self {
        let name = reference.tag().map(Tag::as_str);
        let verb = Verb::Copy {
            source: reference.into(),
            destination: ImageLocation::entry(&store.into(), name),
        };
        Self::new(verb, Platforms::One(host_platform()))
    }

    /// Copies an image from a store into a registry, with everything below it: the entry whose name is the tag,
    /// unless another one is said.
    pub fn push(store: impl Into<StoreEntry>, reference: &Reference) -> Self {
        let name = reference.tag().map(Tag::as_str);
        Self::copy(ImageLocation::entry(&store.into(), name), reference.into())
    }

    /// Copies an image from one place to another, with everything below it.
    pub fn copy(source: ImageLocation, destination: ImageLocation) -> Self {
        let verb = Verb::Copy {
            source,
            destination,
        };
        Self::new(verb, Platforms::All)
    }

    /// Which platforms of an index are wanted.
    pub fn platforms(&mut self, platforms: Platforms) {
        self.options.platforms = platforms;
    }

    /// A store for blobs of a copy that cannot be sent while they are fetched.
    pub fn spool(&mut self, spool: impl Into<StoreHandle>) {
        self.options.spool = Some(Arc::clone(spool.into().store()));
    }

    /// One more place where the destination's registry may have the blobs, to mount them from: see
    /// [`CopyTask::mount_from`].
    pub fn mount_from(&mut self, from: impl Into<MountFrom>) {
        self.options.mount_from.push(from.into());
    }

    /// Where blobs come from that the store of a pushed image lacks: see [`Task::missing_from`].
    pub fn missing_from(&mut self, repository: &Reference) {
        self.options.missing_from = Some(repository.clone());
    }

    /// Further tags for an image that is sent to a registry: see [`Task::and_tags`].
    pub fn and_tags(&mut self, tags: impl IntoIterator<Item = Tag>) {
        self.options.more_tags.extend(tags);
    }

    /// What is copied with an image because it belongs to it.
    pub fn carry(&mut self, carry: Carry) {
        self.options.carry = carry;
    }

    /// One more tag for a manifest that is put.
    pub fn add_tag(&mut self, tag: Tag) {
        if let Verb::PutManifest { tags, .. } | Verb::Tag(_, tags) = &mut self.verb {
            tags.push(tag);
        }
    }

    /// Which part of a list is read.
    pub const fn paging(&mut self) -> &mut Paging {
        &mut self.options.paging
    }

    /// Moves foreign layers too: see [`Task::including_nondistributable`].
    pub const fn include_nondistributable(&mut self) {
        self.options.nondistributable = true;
    }

    /// Reads at the registry itself and at none of its mirrors: see [`Task::without_mirrors`].
    pub const fn without_mirrors(&mut self) {
        self.options.without_mirrors = true;
    }

    /// The longest that the request may take.
    pub fn deadline(&mut self, deadline: Duration) {
        self.options.deadline = Some(deadline);
    }

    /// The task for a session, and what keeps its stores known.
    ///
    /// # Errors
    ///
    /// If a temporary store is needed and cannot be made.
    pub fn task(self, stores: &Arc<Stores>, now: Time) -> Result<(Task, StoreGuard), Failure> {
        let mut guard = StoreGuard {
            stores: Arc::clone(stores),
            ids: Vec::new(),
        };
        let Self { verb, options } = self;
        let task = verb.task(&options, &mut guard)?;
        Ok((options.apply(task, now), guard))
    }

    fn new(verb: Verb, platforms: Platforms) -> Self {
        let options = Options {
            platforms,
            spool: None,
            mount_from: Vec::new(),
            missing_from: None,
            more_tags: Vec::new(),
            carry: Carry::NOTHING,
            paging: Paging::default(),
            deadline: None,
            nondistributable: false,
            without_mirrors: false,
        };
        Self { verb, options }
    }
}

impl Verb {
    /// The task, whose stores are added to those of the session.
    fn task(self, options: &Options, guard: &mut StoreGuard) -> Result<Task, Failure> {
        Ok(match self {
            Self::Check(registry) => Task::check(registry),
            Self::Resolve(reference) => Task::resolve(reference),
            Self::Tags(repository) => Task::tags(repository, options.paging.clone()),
            Self::Catalog(registry) => Task::catalog(registry, options.paging.clone()),
            Self::Manifest(reference) => Task::manifest(reference, options.platform()),
            Self::PutManifest {
                destination,
                bytes,
                media_type,
                tags,
                replaces,
            } => {
                let (store, digest) = blob::held(&bytes, destination.digest())?;
                let blob = (guard.add(&store), digest);
                let put = Task::put_manifest(blob, media_type, destination, tags);
                match replaces {
                    Some(replaced) => put.replacing(replaced),
                    None => put,
                }
            }
            Self::Tag(reference, tags) => Task::tag(reference, tags),
            Self::Delete(reference) => Task::delete(reference),
            Self::DeleteManifest(reference) => Task::delete_manifest(reference),
            Self::Referrers(reference, artifact_type) => Task::referrers(reference, artifact_type),
            Self::FindBlob(reference) => Task::find_blob(reference),
            Self::PutBlob(repository, content) => {
                let (store, to, size) = content.at(&repository)?;
                Task::put_blob(guard.add(&store), size, to, options.mount_from.clone())
            }
            Self::PutStream(repository, stream) => {
                let store = stream.store(&repository)?;
                Task::put_stream(guard.add(&store), repository)
            }
            Self::MountBlob { from, to } => {
                let spool = options.spool.clone().unwrap_or_else(temporary_spool);
                Task::mount_blob(from, to, guard.add(&spool))
            }
            Self::DeleteBlob(reference) => Task::delete_blob(reference),
            Self::Open(reference) => {
                let platform = options.platform().unwrap_or_else(host_platform);
                Task::open(reference, platform)
            }
            Self::FetchBlob {
                source,
                blob,
                store,
            } => Task::fetch_blob(source, *blob, guard.add(&store)),
            Self::ReadRange {
                source,
                digest,
                range,
            } => Task::read_range(source, digest, range),
            Self::Copy {
                source,
                destination,
            } => options.copy(&source, &destination, guard),
        })
    }
}

impl Options {
    /// The platform, if a single one is wanted.
    fn platform(&self) -> Option<Platform> {
        self.platforms.one().cloned()
    }

    fn copy(&self, source: &ImageLocation, to: &ImageLocation, guard: &mut StoreGuard) -> Task {
        let spool = match (&self.spool, source, to) {
            (Some(spool), _, _) => Some(Arc::clone(spool)),
            _ if self.missing_from.is_some() => Some(temporary_spool()),
            (None, ImageLocation::Registry(_), ImageLocation::Registry(_)) => {
                Some(temporary_spool())
            }
            (None, _, _) => None,
        };
        Task::copy(
            CopyTask::new(source.location(guard), to.location(guard))
                .platforms(self.platforms.clone())
                .spool(spool.map(|spool| guard.add(&spool)))
                .mount_from(self.mount_from.iter().cloned())
                .carry(self.carry.clone()),
        )
    }

    /// Sets on a task the options that every kind of task takes.
    fn apply(self, task: Task, now: Time) -> Task {
        let mut task = task.and_tags(self.more_tags);
        if let Some(deadline) = self.deadline {
            task = task.by(now + deadline);
        }
        if let Some(repository) = self.missing_from {
            task = task.missing_from(repository);
        }
        if self.nondistributable {
            task = task.including_nondistributable();
        }
        if self.without_mirrors {
            task = task.without_mirrors();
        }
        task
    }
}

/// Registers the stores of a task. They are forgotten when this is dropped, which must be after the task's last
/// job.
#[derive(Debug)]
#[must_use = "the task's stores are forgotten when this is dropped"]
pub struct StoreGuard {
    stores: Arc<Stores>,
    ids: Vec<StoreId>,
}

impl StoreGuard {
    fn add(&mut self, store: &Arc<dyn Store>) -> StoreId {
        let id = self.stores.add(store);
        self.ids.push(id);
        id
    }
}

impl Drop for StoreGuard {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            self.stores.forget(id);
        }
    }
}

/// Linux on this machine's architecture: what containers on it run.
pub fn host_platform() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", None),
        "aarch64" => ("arm64", None),
        "x86" => ("386", None),
        "arm" => ("arm", Some("v7")),
        "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
        "powerpc64" => ("ppc64", None),
        "loongarch64" => ("loong64", None),
        // riscv64 and s390x have the same name in Go.
        other => (other, None),
    };
    let mut platform = serde_json::json!({ "os": "linux", "architecture": architecture });
    if let Some(variant) = variant {
        platform["variant"] = variant.into();
    }
    serde_json::from_value(platform).expect("these are the fields of a platform")
}

/// A store that is made when it is needed, and removes itself with its last user.
fn temporary_spool() -> Arc<dyn Store> {
    Arc::new(LazySpool::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IDX-19.
    #[test]
    fn the_host_platform_is_linux() {
        let platform = host_platform();
        assert_eq!(platform.os, "linux");
        assert_ne!(platform.architecture, "x86_64");
    }
}
