//! An artifact is pulled into a folder.
//!
//! Responsible for fetching what has a name, and for giving the names when all of it is there, verified. Must not know
//! which names are accepted (`windlass_core::artifact`), nor how files are put into a folder ([`Folder`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use windlass_core::artifact::titled;
use windlass_core::manifest::Content;
use windlass_core::{
    Descriptor, Digest, Error, Failure, Fetched, Manifest, Platform, Platforms, Reference,
    StoreError,
};
use windlass_store::Folder;

use crate::procedure::{Procedure, Requests, refused};
use crate::repository::parsed;
use crate::request::RequestSpec;

/// Pulls the files of an artifact into a folder.
#[derive(Debug)]
pub struct PullArtifact {
    reference: Reference,
    platform: Option<Platform>,
    folder: PathBuf,
}

/// An artifact that was pulled.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PulledArtifact {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its files: their names in the folder, with `/` between folders, and what they are.
    pub files: Vec<(String, Descriptor)>,
    /// The parts that have no name. They were not fetched.
    pub untitled: Vec<Descriptor>,
    /// The bytes received.
    pub bytes: u64,
}

impl PullArtifact {
    /// Into this folder, which is created if it does not exist.
    pub fn new(reference: &Reference, folder: impl AsRef<Path>) -> Self {
        Self {
            reference: reference.clone(),
            platform: None,
            folder: folder.as_ref().to_owned(),
        }
    }

    /// Of an index, what is for this platform.
    pub fn platform(&mut self, platform: Platform) {
        self.platform = Some(platform);
    }
}

impl Procedure for PullArtifact {
    type Report = PulledArtifact;

    async fn run(self, requests: &impl Requests) -> Result<PulledArtifact, Failure> {
        let mut spec = RequestSpec::manifest(&self.reference);
        if let Some(platform) = self.platform {
            spec.platforms(Platforms::One(platform));
        }
        let manifest: Manifest = requests.ask(spec).await?;
        let titled = titled(&parts(&manifest)?).map_err(|error| refused(&error))?;
        let mut report = PulledArtifact {
            manifest,
            files: titled.files,
            untitled: titled.untitled,
            bytes: 0,
        };
        if report.files.is_empty() {
            return Ok(report);
        }
        let folder = Folder::open_or_create(self.folder).map_err(failed)?;
        let layout = folder.layout();
        // A part may be there under several names.
        let mut blobs: BTreeMap<&Digest, (&Descriptor, Vec<&str>)> = BTreeMap::new();
        for (name, part) in &report.files {
            let blob = blobs.entry(&part.digest).or_insert((part, Vec::new()));
            blob.1.push(name);
        }
        for (part, _) in blobs.values() {
            let spec = RequestSpec::fetch_blob(&self.reference, part, layout);
            report.bytes += requests.ask::<Fetched>(spec).await?.bytes;
        }
        for (digest, (_, names)) in &blobs {
            folder.put(digest, names).map_err(failed)?;
        }
        folder.finish().map_err(failed)?;
        Ok(report)
    }
}

/// The parts of an artifact.
fn parts(manifest: &Manifest) -> Result<Vec<Descriptor>, Failure> {
    let document = parsed(manifest)?;
    match document.content() {
        Content::Image(image) => Ok(image.layers.clone()),
        Content::Artifact(artifact) => Ok(artifact.blobs.clone()),
        Content::Index(_) | _ => {
            let what = format!(
                "{} is an index: choose a platform, or one of its digests",
                document.digest()
            );
            Err(Failure::new(vec![Error::Policy { what }]))
        }
    }
}

fn failed(error: StoreError) -> Failure {
    Failure::new(vec![Error::Store(error)])
}
