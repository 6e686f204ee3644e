//! An index of two images, with referrers of the index, of an image, and of a referrer.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_core::{Digest, ReferrersSource};
use windlass_testbed::{
    Image, Index, Model, OCI_INDEX, OCI_MANIFEST, descriptor, image_for, index,
};

/// The media type of an empty configuration.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The tag of the index.
pub const TAG: &str = "v1";

/// An index with everything that refers to it.
#[derive(Clone, Debug)]
pub struct Family {
    /// The index.
    pub index: Index,
    /// Its images.
    pub images: Vec<Image>,
    /// What refers to these, and to each other.
    pub referrers: Vec<Referrer>,
}

/// A manifest that refers to another one.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// The manifest, its configuration and its layer.
    pub artifact: Image,
    /// What it refers to.
    pub subject: Digest,
    /// Its artifact type.
    pub artifact_type: String,
}

impl Default for Family {
    /// A signature of the index, SBOMs of both images, and a signature of the first SBOM.
    fn default() -> Self {
        let images = ["linux/amd64", "linux/arm64"];
        let layers = |platform: &str| vec![format!("for {platform}").into(), b"shared".to_vec()];
        let images: Vec<Image> = images.map(|it| image_for(it, &layers(it))).into();
        let both = index(&[("linux/amd64", &images[0]), ("linux/arm64", &images[1])]);
        let mut family = Self {
            index: both,
            images,
            referrers: Vec::new(),
        };
        let root = family.index.manifest.to_vec();
        family.add(OCI_INDEX, &root, "a/signature", "of the index");
        for n in 0..2 {
            let image = family.images[n].manifest.to_vec();
            family.add(OCI_MANIFEST, &image, "a/sbom", &format!("of image {n}"));
        }
        let sbom = family.referrers[1].artifact.manifest.to_vec();
        family.add(OCI_MANIFEST, &sbom, "a/signature", "of an SBOM");
        family
    }
}

impl Family {
    /// Adds something that refers to a manifest.
    pub fn add(&mut self, media_type: &str, subject: &[u8], artifact_type: &str, content: &str) {
        let artifact = artifact(artifact_type, content, Some((media_type, subject)));
        self.referrers.push(Referrer {
            artifact,
            subject: core_digest(subject),
            artifact_type: artifact_type.into(),
        });
    }

    /// Puts all of it into a repository of a registry, with lists at tags if the registry has no referrers API.
    pub fn put(&self, model: &mut Model, repository: &str) {
        for image in &self.images {
            model.put_image(repository, None, image);
        }
        model.put_index(repository, Some(TAG), &self.index);
        for referrer in &self.referrers {
            model.put_image(repository, None, &referrer.artifact);
        }
        if model.options().referrers_api {
            return;
        }
        for subject in self.subjects() {
            let entries: Vec<Value> = self.about(&subject).map(Referrer::entry).collect();
            if !entries.is_empty() {
                put_list(model, repository, &subject, &entries);
            }
        }
    }

    /// All manifests that could have referrers.
    pub fn subjects(&self) -> Vec<Digest> {
        let images = self.images.iter().map(|image| &image.manifest);
        let artifacts = self.referrers.iter().map(|it| &it.artifact.manifest);
        let all = [&self.index.manifest]
            .into_iter()
            .chain(images)
            .chain(artifacts);
        all.map(|manifest| core_digest(manifest)).collect()
    }

    /// What refers to each manifest, in the order of digests.
    pub fn expected(&self) -> BTreeMap<Digest, Vec<Digest>> {
        let subjects = self.subjects().into_iter().map(|subject| {
            let about = self.about(&subject).map(Referrer::digest);
            let mut about: Vec<Digest> = about.collect();
            about.sort();
            (subject, about)
        });
        subjects.collect()
    }

    /// Panics unless a repository has all manifests and blobs, and the tag.
    #[track_caller]
    pub fn check(&self, model: &Model, repository: &str) {
        assert_eq!(model.tag(repository, TAG), Some(&self.index.digest));
        let artifacts = self.referrers.iter().map(|it| &it.artifact);
        for image in self.images.iter().chain(artifacts) {
            let (_, bytes) = model.manifest_bytes(repository, &image.digest).unwrap();
            assert_eq!(bytes, &image.manifest);
            for (blob, digest) in image.blobs().zip(image.blob_digests()) {
                assert_eq!(model.blob_bytes(repository, &digest), Some(blob));
            }
        }
        let (_, bytes) = model
            .manifest_bytes(repository, &self.index.digest)
            .unwrap();
        assert_eq!(bytes, &self.index.manifest);
    }

    fn about(&self, subject: &Digest) -> impl Iterator<Item = &Referrer> {
        self.referrers
            .iter()
            .filter(move |it| it.subject == *subject)
    }
}

impl Referrer {
    /// Its digest.
    pub fn digest(&self) -> Digest {
        core_digest(&self.artifact.manifest)
    }

    /// Its entry in a list.
    pub fn entry(&self) -> Value {
        let mut entry = descriptor(OCI_MANIFEST, &self.artifact.manifest);
        entry["artifactType"] = self.artifact_type.clone().into();
        entry
    }
}

/// An artifact with one layer.
pub fn artifact(artifact_type: &str, content: &str, subject: Option<(&str, &[u8])>) -> Image {
    let (config, layer) = (b"{}".to_vec(), content.as_bytes().to_vec());
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor(EMPTY, &config),
        "layers": [descriptor("text/plain", &layer)],
    });
    if let Some((media_type, bytes)) = subject {
        manifest["subject"] = descriptor(media_type, bytes);
    }
    let manifest = manifest.to_string().into_bytes();
    Image {
        digest: windlass_testbed::Digest::sha256(&manifest),
        manifest: manifest.into(),
        config: config.into(),
        layers: vec![layer.into()],
    }
}

/// Puts the list of what refers to a manifest at its tag.
pub fn put_list(model: &mut Model, repository: &str, subject: &Digest, entries: &[Value]) {
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    let tag = list_tag(subject);
    model.put_manifest(repository, Some(&tag), OCI_INDEX, list.to_string());
}

/// The tag of the list of what refers to a manifest.
pub fn list_tag(subject: &Digest) -> String {
    subject.to_string().replace(':', "-")
}

/// Where a registry's lists come from, if they are not empty.
pub fn source(model: &Model) -> ReferrersSource {
    if model.options().referrers_api {
        ReferrersSource::Api
    } else {
        ReferrersSource::Tag
    }
}

fn core_digest(bytes: &[u8]) -> Digest {
    Digest::of(windlass_core::Algorithm::Sha256, bytes)
}
