//! Images that are changed in a registry: layers on top, other annotations and another configuration.
//!
//! Responsible for what the changed image needs at its destination: the layers that it keeps, the new ones, the
//! configuration, then the manifest. Must not know what a change means for the documents ([`ImageChange`]).

#[cfg(feature = "decompress")]
mod layer;

use windlass_core::edit::{ChangedImage, EditError};
use windlass_core::manifest::Content;
use windlass_core::reference::Target;
use windlass_core::{
    Algorithm, BlobPut, Descriptor, Digest, Error, Failure, ImageChange, IndexEdit, NewLayer,
    OpenedImage, Platform, Platforms, Put, Reference,
};

use crate::procedure::{Procedure, Requests, refused};
use crate::repository::{copy, is_in_place, is_same, parsed, place};
use crate::request::{BlobContent, RequestSpec};

/// A layer and its content.
#[derive(Clone, Debug)]
pub struct LayerContent {
    layer: NewLayer,
    content: BlobContent,
}

impl LayerContent {
    /// A layer with the media type of an OCI layer, and the digest of its tar.
    pub fn new(
        media_type: impl Into<String>,
        content: impl Into<BlobContent>,
        diff_id: Digest,
    ) -> Self {
        let content = content.into();
        let (digest, size) = content.described();
        let layer = NewLayer::new(Descriptor::new(media_type, digest, size), diff_id);
        Self { layer, content }
    }

    /// How it was made, for the image's history.
    #[must_use]
    pub fn created_by(mut self, what: impl Into<String>) -> Self {
        self.layer.created_by = Some(what.into());
        self
    }
}

/// Changes an image, and puts the result at another reference or in its place.
#[derive(Debug)]
pub struct ChangeImage {
    source: Reference,
    destination: Reference,
    platform: Option<Platform>,
    change: ImageChange,
    contents: Vec<BlobContent>,
}

/// An image that was changed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ImageChanged {
    /// The image from which it was made.
    pub base: Digest,
    /// Its manifest.
    pub put: Put,
    /// The index of which it is an entry now, if one was in its place.
    pub index: Option<Put>,
    /// Its configuration.
    pub config: Descriptor,
    /// The layers that were put on top.
    pub layers: Vec<NewLayer>,
}

impl ChangeImage {
    /// Changes the image at `source`, of an index the one for Linux on this machine's architecture, and puts the result at
    /// `destination`: by its tag, or by its digest alone if the destination has no tag but a digest, whatever that is.
    ///
    /// An index at `source` that would be replaced by the one image is kept: with a [`platform`](Self::platform) its entry
    /// is changed, without one it is an error.
    pub fn new(source: &Reference, destination: &Reference, change: ImageChange) -> Self {
        Self {
            source: source.clone(),
            destination: destination.clone(),
            platform: None,
            change,
            contents: Vec::new(),
        }
    }

    /// One more layer on top.
    pub fn layer(&mut self, layer: LayerContent) {
        self.change.layers.push(layer.layer);
        self.contents.push(layer.content);
    }

    /// Of an index, the image for this platform.
    pub fn platform(&mut self, platform: Platform) {
        self.platform = Some(platform);
    }
}

impl Procedure for ChangeImage {
    type Report = ImageChanged;

    async fn run(self, requests: &impl Requests) -> Result<ImageChanged, Failure> {
        let index = self.index(requests).await?;
        let image = self.open(index.as_ref(), requests).await?;
        let document = parsed(&image.manifest)?;
        let changed = self.change.apply(&document, image.config_bytes());
        let ChangedImage {
            manifest,
            config,
            config_descriptor,
            ..
        } = changed.map_err(|error| refused(&error))?;
        if !is_same(&image.reference, &self.destination) {
            copy(&image.reference, &self.destination, requests).await?;
        }
        let config = config.map(BlobContent::from);
        for content in self.contents.into_iter().chain(config) {
            let blob = self
                .destination
                .with_target(Target::Digest(content.described().0));
            let _put: BlobPut = requests.ask(RequestSpec::put_blob(&blob, content)).await?;
        }
        let destination = match &index {
            Some(_) => {
                let digest = Digest::of(Algorithm::Sha256, &manifest);
                self.destination.with_target(Target::Digest(digest))
            }
            None => place(&self.destination, &manifest),
        };
        let spec = RequestSpec::put_manifest(&destination, manifest, document.media_type());
        let put: Put = requests.ask(spec).await?;
        let index = match index {
            Some((_, index)) => {
                let changed = with(index, document.digest(), &put.descriptor);
                let changed = changed.map_err(|error| refused(&error))?;
                let destination = place(&self.destination, &changed.encode());
                let media_type = changed.media_type().to_owned();
                let spec = RequestSpec::put_manifest(&destination, changed.encode(), media_type);
                Some(requests.ask(spec).await?)
            }
            None => None,
        };
        Ok(ImageChanged {
            base: document.digest().clone(),
            put,
            index,
            config: config_descriptor,
            layers: self.change.layers,
        })
    }
}

impl ChangeImage {
    /// The index that the image would replace, and its digest.
    async fn index(
        &self,
        requests: &impl Requests,
    ) -> Result<Option<(Digest, IndexEdit)>, Failure> {
        if !is_in_place(&self.source, &self.destination) {
            return Ok(None);
        }
        let mut spec = RequestSpec::manifest(&self.source);
        spec.without_mirrors();
        let document = parsed(&requests.ask(spec).await?)?;
        if !matches!(document.content(), Content::Index(_)) {
            return Ok(None);
        }
        if self.platform.is_none() {
            let what = format!(
                "{} is an index, which one image would replace: say for which platform its image is to be changed in it, \
                 or put the changed image at another tag",
                self.source
            );
            return Err(Failure::new(vec![Error::Policy { what }]));
        }
        let index = IndexEdit::of(&document).map_err(|error| refused(&error))?;
        Ok(Some((document.digest().clone(), index)))
    }

    /// The image: what is put back must not be made of the older one of a mirror.
    async fn open(
        &self,
        index: Option<&(Digest, IndexEdit)>,
        requests: &impl Requests,
    ) -> Result<OpenedImage, Failure> {
        let source = match index {
            Some((digest, _)) => self.source.with_target(Target::Digest(digest.clone())),
            None => self.source.clone(),
        };
        let mut spec = RequestSpec::open(&source);
        if let Some(platform) = &self.platform {
            spec.platforms(Platforms::One(platform.clone()));
        }
        if is_same(&self.source, &self.destination) {
            spec.without_mirrors();
        }
        requests.ask(spec).await
    }
}

/// The index with another image in the place of an entry, for the same platform.
fn with(mut index: IndexEdit, entry: &Digest, image: &Descriptor) -> Result<IndexEdit, EditError> {
    let known = index.entries().find(|it| it.digest == *entry).cloned();
    let mut new = known.unwrap_or_else(|| image.clone());
    new.digest = image.digest.clone();
    new.size = image.size;
    new.data = None;
    index.replace(entry, &new)?;
    Ok(index)
}
