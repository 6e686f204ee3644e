//! Indexes that are made and changed in a registry.
//!
//! Responsible for what the entries say of the images, and for these being at the destination. Must not know the form of
//! an index ([`IndexEdit`]).

use std::collections::BTreeMap;

use windlass_core::edit::EditError;
use windlass_core::manifest::{Content, replace_lone_surrogates};
use windlass_core::reference::Target;
use windlass_core::{
    Descriptor, Digest, Error, Failure, IndexEdit, Manifest, OpenedImage, Platform, Put, Reference,
};

use crate::procedure::{Procedure, Requests, refused};
use crate::repository::{copy, is_in_place, is_same, parsed, place};
use crate::request::RequestSpec;

/// Makes an index, or changes one, and puts it at a reference.
#[derive(Debug)]
pub struct ChangeIndex {
    base: Option<Reference>,
    destination: Reference,
    remove: Vec<Digest>,
    keep: Vec<Platform>,
    add: Vec<Reference>,
    beside: bool,
    annotations: BTreeMap<String, Option<String>>,
}

/// An index that was made or changed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct IndexChanged {
    /// The index.
    pub put: Put,
    /// Its entries.
    pub entries: Vec<Descriptor>,
    /// The entries that are not in it any more because images for their platforms were added.
    pub replaced: Vec<Digest>,
    /// Those that were copied into its repository from others of the registry. Blobs were mounted where it does that.
    pub copied: Vec<Digest>,
}

impl ChangeIndex {
    /// Makes an index at `destination`.
    pub fn create(destination: &Reference) -> Self {
        Self {
            base: None,
            destination: destination.clone(),
            remove: Vec::new(),
            keep: Vec::new(),
            add: Vec::new(),
            beside: false,
            annotations: BTreeMap::new(),
        }
    }

    /// Changes the index at `base`, and puts the result at `destination`: by its tag, or by its digest alone if the
    /// destination has no tag but a digest, whatever that is.
    pub fn of(base: &Reference, destination: &Reference) -> Self {
        Self {
            base: Some(base.clone()),
            ..Self::create(destination)
        }
    }

    /// Adds an image, whose platform is that of its configuration; or, of an index, all entries. It replaces those at
    /// `base` for the same platform, with what is about them.
    pub fn add(&mut self, reference: &Reference) {
        self.add.push(reference.clone());
    }

    /// What is added replaces no entries for the same platform. Clients take the first of several.
    pub const fn beside(&mut self) {
        self.beside = true;
    }

    /// Removes an entry.
    pub fn remove(&mut self, digest: Digest) {
        self.remove.push(digest);
    }

    /// Keeps of the entries at `base` only those for this platform, and for others that are named so.
    pub fn keep(&mut self, platform: Platform) {
        self.keep.push(platform);
    }

    /// Sets an annotation of the index, or removes it.
    pub fn annotation(&mut self, name: impl Into<String>, value: Option<String>) {
        self.annotations.insert(name.into(), value);
    }
}

impl Procedure for ChangeIndex {
    type Report = IndexChanged;

    async fn run(self, requests: &impl Requests) -> Result<IndexChanged, Failure> {
        let mut sources = BTreeMap::new();
        let mut base = self.base(&mut sources, requests).await?;
        let mut added = Vec::new();
        for reference in &self.add {
            for entry in self.added(reference, requests).await? {
                sources.insert(entry.digest.clone(), reference.clone());
                added.push(entry);
            }
        }
        let (mut copied, mut replaced) = (Vec::new(), Vec::new());
        let mut tries = 0;
        loop {
            tries += 1;
            let mut index = base.index;
            let gone = self.apply(&mut index, &added, tries > 1);
            replaced.extend(gone.map_err(|error| refused(&error))?);
            let entries: Vec<Descriptor> = index.entries().cloned().collect();
            for Descriptor { digest, .. } in &entries {
                if let Some(source) = sources.remove(digest)
                    && !is_same(&source, &self.destination)
                {
                    let source = source.with_target(Target::Digest(digest.clone()));
                    if self.bring(&source, requests).await? {
                        copied.push(digest.clone());
                    }
                }
            }
            match self.put(&index, base.replaced, requests).await {
                Ok(put) => {
                    return Ok(IndexChanged {
                        put,
                        entries,
                        replaced,
                        copied,
                    });
                }
                Err(failure) if tries < TRIES && is_outdated(&failure) => {
                    base = self.base(&mut BTreeMap::new(), requests).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// What is changed.
struct Base {
    index: IndexEdit,
    /// Its digest, if the change takes its place.
    replaced: Option<Digest>,
}

/// How often a change is made again because another client has put another index meanwhile: of several that change one,
/// one gets through each time.
const TRIES: u32 = 20;

fn is_outdated(failure: &Failure) -> bool {
    matches!(failure.first(), Error::Outdated { .. })
}

impl ChangeIndex {
    /// Puts the index, and looks once more whether it stays: another client that had read the one before may have put its
    /// own.
    async fn put(
        &self,
        index: &IndexEdit,
        replaced: Option<Digest>,
        requests: &impl Requests,
    ) -> Result<Put, Failure> {
        let bytes = index.encode();
        let destination = place(&self.destination, &bytes);
        let mut spec = RequestSpec::put_manifest(&destination, bytes, index.media_type());
        let Some(replaced) = replaced else {
            return requests.ask(spec).await;
        };
        spec.replacing(replaced);
        let put: Put = requests.ask(spec).await?;
        let mut spec = RequestSpec::resolve(&destination);
        spec.without_mirrors();
        let found: Descriptor = requests.ask(spec).await?;
        if found.digest != put.descriptor.digest {
            return Err(Failure::new(vec![Error::Outdated {
                place: destination.to_string(),
                expected: put.descriptor.digest,
                found: Some(found.digest),
            }]));
        }
        Ok(put)
    }

    /// Changes the entries and annotations. Which entries what was added has replaced. What was removed may be gone
    /// already, if the change is made again.
    fn apply(
        &self,
        index: &mut IndexEdit,
        added: &[Descriptor],
        is_again: bool,
    ) -> Result<Vec<Digest>, EditError> {
        for digest in &self.remove {
            match index.remove(digest) {
                Err(EditError::NoEntry { .. }) if is_again => {}
                removed => removed?,
            }
        }
        if !self.keep.is_empty() {
            index.keep(&self.keep)?;
        }
        let replaced = if self.beside {
            added.iter().for_each(|entry| index.add(entry));
            Vec::new()
        } else {
            index.supersede(added)
        };
        for (name, value) in &self.annotations {
            index.annotate(name, value.as_deref())?;
        }
        Ok(replaced)
    }

    /// The index that is changed, and where its entries are.
    async fn base(
        &self,
        sources: &mut BTreeMap<Digest, Reference>,
        requests: &impl Requests,
    ) -> Result<Base, Failure> {
        let Some(base) = &self.base else {
            let (index, replaced) = (IndexEdit::new(), None);
            return Ok(Base { index, replaced });
        };
        let manifest = self.read(base, requests).await?;
        let index = IndexEdit::of(&parsed(&manifest)?).map_err(|error| refused(&error))?;
        let digests = index.entries().map(|entry| entry.digest.clone());
        sources.extend(digests.map(|digest| (digest, base.clone())));
        // With a digest, it is not read again.
        let is_read_by_tag = base.digest().is_none() && is_in_place(base, &self.destination);
        let replaced = is_read_by_tag.then_some(manifest.descriptor.digest);
        Ok(Base { index, replaced })
    }

    /// A manifest. What is at the registry of the index is read there and not at a mirror, which may have an older one.
    async fn read(
        &self,
        reference: &Reference,
        requests: &impl Requests,
    ) -> Result<Manifest, Failure> {
        let mut spec = RequestSpec::manifest(reference);
        if reference.registry() == self.destination.registry() {
            spec.without_mirrors();
        }
        requests.ask(spec).await
    }

    /// The entries that a reference adds to the index.
    async fn added(
        &self,
        reference: &Reference,
        requests: &impl Requests,
    ) -> Result<Vec<Descriptor>, Failure> {
        let manifest = self.read(reference, requests).await?;
        let Descriptor {
            media_type,
            digest,
            size,
            ..
        } = manifest.descriptor.clone();
        match parsed(&manifest)?.content() {
            Content::Index(index) => Ok(index.manifests.clone()),
            Content::Image(image) => {
                let mut entry = Descriptor::new(media_type, digest.clone(), size);
                entry.artifact_type.clone_from(&image.artifact_type);
                if image.artifact_type.is_none() {
                    let pinned = reference.with_target(Target::Digest(digest));
                    let image: OpenedImage = requests.ask(RequestSpec::open(&pinned)).await?;
                    entry.platform = platform(image.config_bytes()).map(Box::new);
                }
                Ok(vec![entry])
            }
            Content::Artifact(_) | _ => Ok(vec![Descriptor::new(media_type, digest, size)]),
        }
    }

    /// Sees to it that what an entry stands for is in the repository of the index. Whether it was copied.
    async fn bring(&self, source: &Reference, requests: &impl Requests) -> Result<bool, Failure> {
        if source.registry() == self.destination.registry() {
            copy(source, &self.destination, requests).await?;
            return Ok(true);
        }
        let there = self.destination.with_target(source.target());
        let mut spec = RequestSpec::resolve(&there);
        spec.without_mirrors();
        match requests.ask::<Descriptor>(spec).await {
            Ok(_) => Ok(false),
            Err(failure) if matches!(failure.first(), Error::NotFound(_)) => {
                let (registry, repository) = (there.registry(), there.repository());
                let what = format!(
                    "{source} is at another registry: copy it into {registry}/{repository} first"
                );
                Err(Failure::new(vec![Error::Policy { what }]))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The platform that a configuration names.
fn platform(config: &[u8]) -> Option<Platform> {
    let config = replace_lone_surrogates(config);
    let platform = serde_json::from_slice::<Platform>(&config).ok();
    platform.filter(|platform| !platform.os.is_empty() && !platform.architecture.is_empty())
}
