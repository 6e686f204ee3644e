//! What the tests with a [`World`] have in common: small images, registries, tasks, checks.

use serde_json::Value;
use windlass_core::config::Concurrency;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{
    Config, CopyTask, Descriptor, Digest, Platforms, Reference, StoreId, Task, TaskLocation,
};
use windlass_store::Store as _;
use windlass_testbed::{
    Auth, Basic, Bearer, Image, Model, Options, Request, User, descriptor, image, image_for, index,
};

use super::{Memory, World};
use crate::sim::{Picture, companions};

const OCI_MANIFEST: &str = windlass_testbed::OCI_MANIFEST;

/// A reference that is one.
pub fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// The client's digest of some bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    windlass_testbed::Digest::sha256(bytes)
        .as_str()
        .parse()
        .unwrap()
}

/// One job at a time, so that a transcript reads from top to bottom.
pub fn one_at_a_time() -> Config {
    let mut config = Config::default();
    config.in_flight = Concurrency::at_most(1);
    config
}

/// A configuration in which blobs between registries go through the spool.
pub fn spooling() -> Config {
    let mut config = Config::default();
    config.relays = false;
    config
}

/// An image with two small layers.
pub fn small() -> Image {
    image(&[b"first layer".to_vec(), b"second layer".to_vec()])
}

/// An image with one layer of this many bytes.
pub fn large(size: usize) -> Image {
    let layer = (0..size).map(|i| (i % 251) as u8).collect();
    image(&[layer])
}

/// The media type of Docker's foreign layers.
pub const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// The media type of OCI layers that are not to be distributed.
pub const NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";

/// The same image on top of a foreign layer. The layer is not among the image's own.
pub fn on_foreign(image: &Image, media_type: &str, layer: &[u8], urls: &[&str]) -> Image {
    let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    let mut foreign = descriptor(media_type, layer);
    if !urls.is_empty() {
        foreign["urls"] = urls.into();
    }
    let layers = manifest["layers"].as_array_mut().unwrap();
    layers.insert(0, foreign);
    with_manifest(image, &manifest)
}

/// The same image, which says that it is an SBOM about another one.
pub fn about(image: &Image, subject: &Image) -> Image {
    let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["artifactType"] = "application/vnd.example.sbom".into();
    manifest["annotations"] = serde_json::json!({ "of": "an image" });
    manifest["subject"] = descriptor(OCI_MANIFEST, &subject.manifest);
    with_manifest(image, &manifest)
}

/// The same image with another manifest.
pub fn with_manifest(image: &Image, manifest: &Value) -> Image {
    let manifest = manifest.to_string().into_bytes();
    Image {
        digest: windlass_testbed::Digest::sha256(&manifest),
        manifest: manifest.into(),
        ..image.clone()
    }
}

/// A registry that is open to everybody.
pub fn open() -> Options {
    Options {
        scheme: "https",
        ..Options::default()
    }
}

/// A registry that wants tokens; anybody may pull, and `alice` everything.
pub fn bearer() -> Options {
    bearer_with(Bearer::default())
}

/// The same with other settings.
pub fn bearer_with(bearer: Bearer) -> Options {
    Options {
        auth: Auth::Bearer(Bearer {
            realm: "https://{host}/token".into(),
            users: [("alice".into(), User::new("pa55-of-alice"))].into(),
            ..bearer
        }),
        ..open()
    }
}

/// A registry that wants user name and password.
pub fn basic() -> Options {
    Options {
        auth: Auth::Basic(Basic {
            users: [("alice".into(), User::new("pa55-of-alice"))].into(),
            anonymous_pull: false,
        }),
        ..open()
    }
}

/// The credential of `alice`.
pub fn alice() -> CredentialAnswer {
    CredentialAnswer::Basic {
        username: "alice".into(),
        password: Secret::new("pa55-of-alice"),
    }
}

/// A model with this image as `a/b:v1`.
pub fn with_image(options: Options, image: &Image) -> Model {
    let mut model = Model::new(options);
    model.put_image("a/b", Some("v1"), image);
    model
}

/// A world with one registry, `reg.example`, and its storage.
pub fn world(config: Config, model: Model) -> World {
    let mut world = World::new(config);
    world.registry(&["reg.example", "cdn.example"], model);
    world
}

/// Pull `a/b:v1` into a store.
pub fn pull(store: StoreId) -> Task {
    Task::pull(reference("reg.example/a/b:v1"), store, None, Platforms::All)
}

/// Push to `a/b:v1` from a store.
pub fn push(store: StoreId) -> Task {
    Task::push(store, None, reference("reg.example/a/b:v1"), Platforms::All)
}

/// Puts an image into a store.
pub fn fill(memory: &Memory, image: &Image) {
    for blob in image.blobs() {
        memory.blob(&digest(blob), blob);
    }
    memory.blob(&digest(&image.manifest), &image.manifest);
    let size = image.manifest.len() as u64;
    let root = Descriptor::new(OCI_MANIFEST, digest(&image.manifest), size);
    memory.tag(None, &root).unwrap();
}

/// Puts an image or an index of images into a store, under a name.
pub(crate) fn fill_picture(memory: &Memory, picture: &Picture, name: &str) {
    let lacks = picture.lacks();
    for image in &picture.images {
        for blob in image.blobs().chain([&image.manifest]) {
            let digest = digest(blob);
            if !lacks.contains(&digest) {
                memory.blob(&digest, blob);
            }
        }
    }
    let (media_type, root) = match &picture.index {
        Some(index) => (windlass_testbed::OCI_INDEX, &index.manifest),
        None => (OCI_MANIFEST, &picture.images[0].manifest),
    };
    memory.blob(&digest(root), root);
    let root = Descriptor::new(media_type, digest(root), root.len() as u64);
    memory.tag(Some(name), &root).unwrap();
    companions::fill(memory, &picture.companions);
}

/// A world with a model and a store with this image.
pub fn pushing(config: Config, options: Options, image: &Image) -> (World, StoreId, Memory) {
    let mut world = world(config, Model::new(options));
    let (store, memory) = world.store();
    fill(&memory, image);
    (world, store, memory)
}

/// A world with this image at the registry, and an empty store.
pub fn pulling(config: Config, options: Options, image: &Image) -> (World, StoreId, Memory) {
    let mut world = world(config, with_image(options, image));
    let (store, memory) = world.store();
    (world, store, memory)
}

/// The store has exactly this image and nothing half done.
#[track_caller]
pub fn check_holds(memory: &Memory, image: &Image) {
    let mut expected: Vec<Digest> = image.blobs().map(|blob| digest(blob)).collect();
    expected.push(digest(&image.manifest));
    expected.sort();
    expected.dedup();
    let held: Vec<Digest> = memory.blobs().into_keys().collect();
    assert_eq!(held, expected);
    assert_eq!(memory.partials(), [].into());
}

/// The tag `v1` stands for this image, and all of it is there.
#[track_caller]
pub fn check_pushed(world: &World, repository: &str, image: &Image) {
    let model = &world.models[0];
    assert_eq!(model.tag(repository, "v1"), Some(&image.digest));
    for blob in image.blob_digests() {
        assert!(model.blob_bytes(repository, &blob).is_some(), "{blob}");
    }
}

/// Requests with this method and this in their target.
pub fn is(method: &'static str, part: &'static str) -> impl Fn(&Request) -> bool {
    move |request| request.method == method && request.target.contains(part)
}

/// A copy from one registry to another or the same.
pub fn copy_within(from: &str, to: &str, spool: Option<StoreId>) -> Task {
    Task::copy(
        CopyTask::new(
            TaskLocation::Registry(reference(from)),
            TaskLocation::Registry(reference(to)),
        )
        .spool(spool),
    )
}

/// An index `a/b:v1` of two images that share a layer.
pub fn two_platforms(options: Options) -> (Model, Image, Image) {
    let mut model = Model::new(options);
    let amd64 = image_for("linux/amd64", &[b"for amd64".to_vec(), b"shared".to_vec()]);
    let arm64 = image_for("linux/arm64", &[b"for arm64".to_vec(), b"shared".to_vec()]);
    model.put_image("a/b", None, &amd64);
    model.put_image("a/b", None, &arm64);
    let both = index(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
    model.put_index("a/b", Some("v1"), &both);
    (model, amd64, arm64)
}
