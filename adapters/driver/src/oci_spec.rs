//! Conversions from and to the types of the crate `oci-spec`.
//!
//! Responsible for them alone. They go by the JSON that both sides read and write, so a conversion has the values that
//! a registry would see. What `oci-spec` refuses (a digest of an unknown algorithm, an invalid platform) is an error.
//! A manifest's or a configuration's bytes are what its digest is of: one that comes from `oci-spec` gets new bytes, and
//! so another digest than the one that it may have been read from. Members that `oci-spec` does not know are lost there.
//!
//! ```
//! use windlass_core::Platform;
//! use windlass_driver::{FromOciSpec as _, ToOciSpec as _};
//!
//! let ours = Platform::new("linux", "arm64");
//! let theirs: oci_spec::image::Platform = ours.to_oci_spec()?;
//! assert_eq!(Platform::from_oci_spec(&theirs)?, ours);
//! # Ok::<(), windlass_driver::OciSpecError>(())
//! ```

use ::oci_spec::{distribution, image};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use windlass_core::{
    Algorithm, Descriptor, Digest, ImageConfig, Manifest, OpenedImage, Platform, Reference,
    sanitize,
};

/// What can be had as a type of `oci-spec`.
pub trait ToOciSpec<T> {
    /// The same as a type of `oci-spec`.
    ///
    /// # Errors
    ///
    /// If `oci-spec` has no value for it.
    fn to_oci_spec(&self) -> Result<T, OciSpecError>;
}

/// What can be made of a type of `oci-spec`.
pub trait FromOciSpec<T>: Sized {
    /// The same as a type of windlass.
    ///
    /// # Errors
    ///
    /// If windlass has no value for it.
    fn from_oci_spec(theirs: &T) -> Result<Self, OciSpecError>;
}

/// A value cannot be converted.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OciSpecError {
    /// What is wrong.
    pub why: String,
}

impl std::fmt::Display for OciSpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it cannot be converted: {}", self.why)
    }
}

impl std::error::Error for OciSpecError {}

fn error(why: impl std::fmt::Display) -> OciSpecError {
    OciSpecError {
        why: sanitize::escape(&why.to_string(), 200),
    }
}

/// Members that `oci-spec` names otherwise than the specification does: (the specification's name, its own).
const RENAMED: [(&str, &str); 2] = [("os.version", "os_version"), ("os.features", "os_features")];

/// Ours as one of theirs, by way of JSON.
fn to_theirs<T: DeserializeOwned>(mut json: Value) -> Result<T, OciSpecError> {
    rename(&mut json, |(name, theirs)| (name, theirs));
    serde_json::from_value(json).map_err(error)
}

/// The JSON of one of theirs, as the specification has it.
fn from_theirs(theirs: &impl Serialize) -> Result<Value, OciSpecError> {
    let mut json = serde_json::to_value(theirs).map_err(error)?;
    rename(&mut json, |(name, theirs)| (theirs, name));
    Ok(json)
}

/// Renames members of a platform: of the value itself, of its member, and of those of the entries of an index.
fn rename<'a>(json: &mut Value, how: impl Copy + Fn((&'a str, &'a str)) -> (&'a str, &'a str)) {
    let Some(object) = json.as_object_mut() else {
        return;
    };
    for (from, to) in RENAMED.map(how) {
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
    if let Some(platform) = object.get_mut("platform") {
        rename(platform, how);
    }
    if let Some(Value::Array(manifests)) = object.get_mut("manifests") {
        manifests.iter_mut().for_each(|entry| rename(entry, how));
    }
}

fn json_of(value: &impl Serialize) -> Result<Value, OciSpecError> {
    serde_json::to_value(value).map_err(error)
}

fn json_in(bytes: &[u8]) -> Result<Value, OciSpecError> {
    serde_json::from_slice(bytes).map_err(error)
}

impl ToOciSpec<image::Descriptor> for Descriptor {
    fn to_oci_spec(&self) -> Result<image::Descriptor, OciSpecError> {
        to_theirs(json_of(self)?)
    }
}

impl FromOciSpec<image::Descriptor> for Descriptor {
    fn from_oci_spec(theirs: &image::Descriptor) -> Result<Self, OciSpecError> {
        serde_json::from_value(from_theirs(theirs)?).map_err(error)
    }
}

impl ToOciSpec<image::Platform> for Platform {
    fn to_oci_spec(&self) -> Result<image::Platform, OciSpecError> {
        to_theirs(json_of(self)?)
    }
}

impl FromOciSpec<image::Platform> for Platform {
    fn from_oci_spec(theirs: &image::Platform) -> Result<Self, OciSpecError> {
        serde_json::from_value(from_theirs(theirs)?).map_err(error)
    }
}

impl ToOciSpec<distribution::Reference> for Reference {
    fn to_oci_spec(&self) -> Result<distribution::Reference, OciSpecError> {
        self.to_string().parse().map_err(error)
    }
}

impl FromOciSpec<distribution::Reference> for Reference {
    fn from_oci_spec(theirs: &distribution::Reference) -> Result<Self, OciSpecError> {
        theirs.to_string().parse().map_err(error)
    }
}

impl ToOciSpec<image::ImageManifest> for Manifest {
    fn to_oci_spec(&self) -> Result<image::ImageManifest, OciSpecError> {
        to_theirs(json_in(&self.bytes)?)
    }
}

impl ToOciSpec<image::ImageIndex> for Manifest {
    fn to_oci_spec(&self) -> Result<image::ImageIndex, OciSpecError> {
        to_theirs(json_in(&self.bytes)?)
    }
}

impl FromOciSpec<image::ImageManifest> for Manifest {
    fn from_oci_spec(theirs: &image::ImageManifest) -> Result<Self, OciSpecError> {
        let media_type = theirs.media_type().as_ref();
        written(
            theirs,
            media_type.unwrap_or(&image::MediaType::ImageManifest),
        )
    }
}

impl FromOciSpec<image::ImageIndex> for Manifest {
    fn from_oci_spec(theirs: &image::ImageIndex) -> Result<Self, OciSpecError> {
        let media_type = theirs.media_type().as_ref();
        written(theirs, media_type.unwrap_or(&image::MediaType::ImageIndex))
    }
}

/// A manifest of the bytes that `oci-spec` writes.
fn written(
    theirs: &impl Serialize,
    media_type: &image::MediaType,
) -> Result<Manifest, OciSpecError> {
    let bytes = serde_json::to_vec(&from_theirs(theirs)?).map_err(error)?;
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let descriptor = Descriptor::new(media_type.to_string(), digest, bytes.len() as u64);
    Ok(Manifest::new(descriptor, bytes))
}

impl ToOciSpec<image::ImageConfiguration> for OpenedImage {
    fn to_oci_spec(&self) -> Result<image::ImageConfiguration, OciSpecError> {
        to_theirs(json_in(self.config_bytes())?)
    }
}

impl FromOciSpec<image::ImageConfiguration> for ImageConfig {
    fn from_oci_spec(theirs: &image::ImageConfiguration) -> Result<Self, OciSpecError> {
        let bytes = serde_json::to_vec(&from_theirs(theirs)?).map_err(error)?;
        Self::from_json(&bytes).map_err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
        let digest = Digest::of(Algorithm::Sha256, content);
        Descriptor::new(media_type, digest, content.len() as u64)
    }

    #[test]
    fn a_reference_is_the_same_text() {
        let digest = Digest::of(Algorithm::Sha256, b"a");
        for text in [
            "registry.example:5000/team/app:v1".to_owned(),
            format!("registry.example/app@{digest}"),
            format!("docker.io/library/alpine:3@{digest}"),
        ] {
            let ours: Reference = text.parse().unwrap();
            let theirs: distribution::Reference = ours.to_oci_spec().unwrap();
            assert_eq!(theirs.whole(), text);
            assert_eq!(Reference::from_oci_spec(&theirs).unwrap(), ours);
        }
    }

    #[test]
    fn descriptors_and_platforms_there_and_back() {
        let mut full = descriptor("application/vnd.oci.image.manifest.v1+json", b"x");
        full.annotations.insert("a".to_owned(), "b".to_owned());
        full.artifact_type = Some("application/vnd.example".to_owned());
        full.data = Some(b"x".to_vec());
        full.urls = vec!["https://a.example/x".to_owned()];
        full.platform = Some(Platform::new("linux", "arm64"));
        for ours in [descriptor("text/plain", b""), full] {
            let theirs: image::Descriptor = ours.to_oci_spec().expect("a descriptor");
            assert_eq!(Descriptor::from_oci_spec(&theirs).expect("ours"), ours);
        }
        let mut windows = Platform::new("windows", "amd64");
        windows.os_version = Some("10.0.1".to_owned());
        windows.os_features = vec!["win32k".to_owned()];
        for ours in [windows, Platform::new("linux", "amd64")] {
            let theirs: image::Platform = ours.to_oci_spec().expect("a platform");
            assert_eq!(Platform::from_oci_spec(&theirs).expect("ours"), ours);
        }
    }

    #[test]
    fn manifests_there_and_back() {
        const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
        let config: image::Descriptor = descriptor(CONFIG, b"{}").to_oci_spec().expect("one");
        let theirs = image::ImageManifestBuilder::default()
            .schema_version(2_u32)
            .config(config.clone())
            .layers(vec![config.clone()])
            .build()
            .expect("a manifest");
        let ours = Manifest::from_oci_spec(&theirs).expect("ours");
        assert_eq!(
            ours.descriptor.digest,
            Digest::of(Algorithm::Sha256, &ours.bytes)
        );
        assert_eq!(
            ours.descriptor.media_type,
            "application/vnd.oci.image.manifest.v1+json"
        );
        let back: image::ImageManifest = ours.to_oci_spec().expect("theirs");
        assert_eq!(back, theirs);

        let theirs = image::ImageIndexBuilder::default()
            .schema_version(2_u32)
            .manifests(vec![config])
            .build()
            .expect("an index");
        let ours = Manifest::from_oci_spec(&theirs).expect("ours");
        assert_eq!(
            ours.descriptor.media_type,
            "application/vnd.oci.image.index.v1+json"
        );
        let back: image::ImageIndex = ours.to_oci_spec().expect("theirs");
        assert_eq!(back, theirs);
        let wrong: Result<image::ImageManifest, _> = ours.to_oci_spec();
        let error = wrong.expect_err("an index is no manifest");
        assert!(error.to_string().contains("config"), "{error}");
    }

    #[test]
    fn a_configuration() {
        let theirs = image::ImageConfigurationBuilder::default()
            .architecture("arm64")
            .os("linux")
            .build()
            .expect("a configuration");
        let ours = ImageConfig::from_oci_spec(&theirs).expect("ours");
        assert_eq!(ours.architecture.as_deref(), Some("arm64"));
        assert_eq!(ours.os.as_deref(), Some("linux"));
    }
}
