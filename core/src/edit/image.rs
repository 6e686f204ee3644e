//! Changes of an image: its manifest and its configuration.
//!
//! Responsible for the digests that have to agree: those of new layers in both documents, and that of the configuration in
//! the manifest. Must not know the content of layers.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{EditError, is_time};
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::manifest::media_type::{DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, is_type};
use crate::manifest::members::Members;
use crate::manifest::{Content, Document, Image};
use crate::sanitize::escape;

/// What is to be changed of an image. The default changes nothing.
///
/// Of annotations, labels and variables the value `None` removes one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ImageChange {
    /// Layers to be put on top, the lowest first.
    pub layers: Vec<NewLayer>,
    /// When the image, and each of the new layers, is said to be made: see [`is_time`]. Not said if there is none.
    pub created: Option<String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, Option<String>>,
    /// Labels of the configuration.
    pub labels: BTreeMap<String, Option<String>>,
    /// Variables of the environment, by their names.
    pub env: BTreeMap<String, Option<String>>,
    /// The program and its first arguments. Setting it removes the further arguments, as docker does, unless they are
    /// set, too.
    pub entrypoint: Option<Vec<String>>,
    /// The further arguments.
    pub cmd: Option<Vec<String>>,
    /// The user.
    pub user: Option<String>,
    /// The folder that the program starts in.
    pub working_dir: Option<String>,
}

/// A layer to be put on top of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NewLayer {
    /// The layer as it is stored, with the media type of an OCI layer.
    pub blob: Descriptor,
    /// The digest of its tar.
    pub diff_id: Digest,
    /// How it was made, for the image's history.
    pub created_by: Option<String>,
}

impl NewLayer {
    /// A layer of which nothing is said but what it is.
    pub const fn new(blob: Descriptor, diff_id: Digest) -> Self {
        Self {
            blob,
            diff_id,
            created_by: None,
        }
    }
}

/// An image that was changed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ChangedImage {
    /// Its manifest, of the same media type as before.
    pub manifest: Vec<u8>,
    /// Its configuration; `None` if that is as before.
    pub config: Option<Vec<u8>>,
    /// The descriptor of its configuration.
    pub config_descriptor: Descriptor,
}

impl ImageChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Changes an image: its manifest, and its configuration, which has to be the one that the manifest names.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub fn apply(&self, manifest: &Document, config: &[u8]) -> Result<ChangedImage, EditError> {
        let Content::Image(image) = manifest.content() else {
            let found = escape(manifest.media_type(), 200);
            return Err(EditError::NotAnImage { found });
        };
        if let Some(created) = self.created.as_ref().filter(|it| !is_time(it)) {
            let found = escape(created, 100);
            return Err(EditError::Created { found });
        }
        let is_docker = is_type(manifest.media_type(), DOCKER_MANIFEST);
        let mut members = Members::parse(manifest.bytes()).map_err(EditError::manifest)?;
        let mut config_descriptor = image.config.clone();
        let config = if self.changes_config() {
            let config = self.config(image, config)?;
            let digest = Digest::of(Algorithm::Sha256, &config);
            config_descriptor.digest = digest;
            config_descriptor.size = config.len() as u64;
            config_descriptor.data = None;
            point(&mut members, &config_descriptor)?;
            Some(config)
        } else {
            None
        };
        self.append(&mut members, is_docker)?;
        self.annotate(&mut members, is_docker)?;
        Ok(ChangedImage {
            manifest: members.to_vec(),
            config,
            config_descriptor,
        })
    }

    fn changes_config(&self) -> bool {
        let annotations = &self.annotations;
        let only = Self {
            annotations: annotations.clone(),
            ..Self::default()
        };
        *self != only
    }

    /// Appends the layers to the manifest.
    fn append(&self, members: &mut Members, is_docker: bool) -> Result<(), EditError> {
        if self.layers.is_empty() {
            return Ok(());
        }
        let layers = members.get::<Vec<Box<RawValue>>>("layers");
        let mut layers = layers.map_err(EditError::manifest)?.unwrap_or_default();
        for layer in &self.layers {
            let mut blob = layer.blob.clone();
            blob.media_type = layer_type(&layer.blob.media_type, is_docker)?;
            layers.push(raw(&blob));
        }
        members.set("layers", &layers);
        Ok(())
    }

    fn annotate(&self, members: &mut Members, is_docker: bool) -> Result<(), EditError> {
        if self.annotations.is_empty() {
            return Ok(());
        }
        if is_docker {
            let what = "annotations";
            return Err(EditError::NotInDocker { what });
        }
        let annotations = members.get::<Members>("annotations");
        let mut annotations = annotations
            .map_err(EditError::manifest)?
            .unwrap_or_default();
        for (name, value) in &self.annotations {
            annotations.set_or_remove(name, value.as_deref());
        }
        put(members, "annotations", &annotations);
        Ok(())
    }

    /// The configuration, changed.
    fn config(&self, image: &Image, config: &[u8]) -> Result<Vec<u8>, EditError> {
        let media_type = &image.config.media_type;
        let is_known = |known: &&str| is_type(media_type, known);
        if ![OCI_CONFIG, DOCKER_CONFIG].iter().any(is_known) {
            let found = escape(media_type, 200);
            return Err(EditError::NotAnImage { found });
        }
        let mut members = Members::parse(config).map_err(EditError::config)?;
        if let Some(created) = &self.created {
            members.set("created", created);
        }
        self.run_as(&mut members)?;
        if !self.layers.is_empty() {
            self.stack(&mut members, image.layers.len())?;
        }
        Ok(members.to_vec())
    }

    /// Changes what a container runs as.
    fn run_as(&self, config: &mut Members) -> Result<(), EditError> {
        let run = config.get::<Members>("config").map_err(EditError::config)?;
        let is_absent = run.is_none();
        let mut run = run.unwrap_or_default();
        if !self.env.is_empty() {
            let env = run.get::<Vec<String>>("Env").map_err(EditError::config)?;
            run.set("Env", &self.variables(env.unwrap_or_default())?);
        }
        if let Some(entrypoint) = &self.entrypoint {
            run.set("Entrypoint", entrypoint);
            run.remove("Cmd");
        }
        if let Some(cmd) = &self.cmd {
            run.set("Cmd", cmd);
        }
        for (name, value) in [("User", &self.user), ("WorkingDir", &self.working_dir)] {
            if let Some(value) = value {
                run.set(name, value);
            }
        }
        if !self.labels.is_empty() {
            let labels = run.get::<Members>("Labels").map_err(EditError::config)?;
            let mut labels = labels.unwrap_or_default();
            for (name, value) in &self.labels {
                labels.set_or_remove(name, value.as_deref());
            }
            put(&mut run, "Labels", &labels);
        }
        if !(is_absent && run.is_empty()) {
            config.set("config", &run);
        }
        Ok(())
    }

    /// The environment: each variable in its place, new ones last.
    fn variables(&self, mut env: Vec<String>) -> Result<Vec<String>, EditError> {
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                let name = escape(name, 200);
                return Err(EditError::Variable { name });
            }
            let is_it = |known: &String| known.split('=').next() == Some(name);
            match value {
                None => env.retain(|known| !is_it(known)),
                Some(value) => {
                    let variable = format!("{name}={value}");
                    match env.iter_mut().find(|known| is_it(known)) {
                        Some(known) => *known = variable,
                        None => env.push(variable),
                    }
                }
            }
        }
        Ok(env)
    }

    /// Adds the layers to the configuration: their digests, and their history.
    fn stack(&self, config: &mut Members, layers: usize) -> Result<(), EditError> {
        let rootfs = config.get::<Members>("rootfs").map_err(EditError::config)?;
        let mut rootfs = rootfs.unwrap_or_default();
        let diff_ids = rootfs.get::<Vec<String>>("diff_ids");
        let diff_ids = diff_ids.map_err(|why| EditError::config(super::at("rootfs", &why)))?;
        let mut diff_ids = diff_ids.unwrap_or_default();
        if diff_ids.len() != layers {
            let found = diff_ids.len();
            return Err(EditError::DiffIds { found, layers });
        }
        let new = self
            .layers
            .iter()
            .map(|layer| layer.diff_id.as_str().to_owned());
        diff_ids.extend(new);
        rootfs.set("type", "layers");
        rootfs.set("diff_ids", &diff_ids);
        config.set("rootfs", &rootfs);
        // A history that leaves out the layers below would be wrong about these.
        let history = config.get::<Vec<Box<RawValue>>>("history");
        let history = history.map_err(EditError::config)?;
        if history.is_none() && layers > 0 {
            return Ok(());
        }
        let mut history = history.unwrap_or_default();
        history.extend(self.layers.iter().map(|layer| self.step(layer)));
        config.set("history", &history);
        Ok(())
    }

    /// The step of the history that made a layer.
    fn step(&self, layer: &NewLayer) -> Box<RawValue> {
        #[derive(Serialize)]
        struct Step<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            created: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            created_by: Option<&'a str>,
        }
        raw(&Step {
            created: self.created.as_deref(),
            created_by: layer.created_by.as_deref(),
        })
    }
}

/// Lets the manifest point to another configuration. What else is said of it stays, but not its old content.
fn point(members: &mut Members, config: &Descriptor) -> Result<(), EditError> {
    let descriptor = members
        .get::<Members>("config")
        .map_err(EditError::manifest)?;
    let mut descriptor = descriptor.unwrap_or_default();
    descriptor.set("digest", &config.digest);
    descriptor.set("size", &config.size);
    descriptor.remove("data");
    members.set("config", &descriptor);
    Ok(())
}

/// Sets an object, or removes it if it is empty.
fn put(members: &mut Members, name: &str, object: &Members) {
    if object.is_empty() {
        members.remove(name);
    } else {
        members.set(name, object);
    }
}

/// The media type of a layer in a manifest: Docker's are other ones than OCI's (MT-04).
fn layer_type(media_type: &str, is_docker: bool) -> Result<String, EditError> {
    const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
    const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    match (media_type.strip_prefix(OCI), is_docker) {
        (Some("" | "+gzip" | "+zstd"), false) => Ok(media_type.into()),
        (Some(""), true) => Ok(DOCKER.into()),
        (Some("+gzip"), true) => Ok(format!("{DOCKER}.gzip")),
        (Some("+zstd"), true) => Err(EditError::NotInDocker {
            what: "zstd layers",
        }),
        (Some(_) | None, _) => Err(EditError::NotALayer {
            found: escape(media_type, 200),
        }),
    }
}

fn raw<T: Serialize>(value: &T) -> Box<RawValue> {
    to_raw_value(value).expect("text, numbers, lists and objects")
}

#[cfg(test)]
mod tests;
