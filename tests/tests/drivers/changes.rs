//! Images and indexes that both clients change, and the choice of an entry.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use windlass_core::manifest::media_type::OCI_CONFIG;
use windlass_core::{Descriptor, ErrorKind, ImageChange, Platform, Platforms, Reference};
use windlass_driver::{
    ChangeImage, ChangeIndex, Choose, ImageLocation, IndexChanged, LayerContent, RequestSpec,
};
use windlass_testbed::{Answer, Image, Model, Options, Request, Server, image, image_for, index};
use windlass_tests::drivers::{Ask, Driver, Faults, Setup, Shelf, Ways, serve};
use windlass_tests::through_both;
use windlass_tests::world::scenes::{digest, reference, two_platforms};

through_both!(
    a_layer_is_put_on_top,
    a_changed_image_goes_to_another_repository,
    what_a_change_cannot_be_made_of,
    an_index_is_made_of_images,
    an_index_is_changed,
    images_of_other_registries,
    the_caller_chooses,
    several_platforms,
    another_client_changes_the_index,
    many_clients_change_one_index,
);

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn at(server: &Server, name: &str) -> Reference {
    reference(&format!("{}/{name}", server.host()))
}

/// What a registry has at a tag.
fn there(server: &Server, repository: &str, tag: &str) -> Value {
    server.with_model(|model| {
        let digest = model.tag(repository, tag).unwrap().clone();
        serde_json::from_slice(model.manifest_bytes(repository, &digest).unwrap().1).unwrap()
    })
}

fn put_on_top(content: &[u8]) -> LayerContent {
    LayerContent::new(LAYER, content, digest(content)).created_by("a test")
}

fn annotated(name: &str, value: &str) -> ImageChange {
    let mut change = ImageChange::default();
    change.annotations.insert(name.into(), Some(value.into()));
    change
}

fn a_layer_is_put_on_top<D: Driver>() {
    let (model, amd64, _) = two_platforms(Options::default());
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let mut change = annotated("n", "v");
    change.env.insert("A".into(), Some("1".into()));
    let mut change = ChangeImage::new(&at(&server, "a/b:v1"), &at(&server, "a/b:v2"), change);
    change.platform(Platform::new("linux", "amd64"));
    change.layer(put_on_top(b"one more"));
    let changed = client.follow(change, Ways::default()).unwrap();
    assert_eq!(changed.base, digest(&amd64.manifest));
    assert_eq!(changed.layers[0].blob.digest, digest(b"one more"));

    let manifest = there(&server, "a/b", "v2");
    let before: Value = serde_json::from_slice(&amd64.manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers[..2], before["layers"].as_array().unwrap()[..]);
    assert_eq!(layers[2]["digest"], digest(b"one more").as_str());
    assert_eq!(manifest["annotations"]["n"], "v");
    assert_eq!(manifest["config"]["digest"], changed.config.digest.as_str());
    // It is an image whose configuration fits.
    let image = client.open(&format!("{}/a/b:v2", server.host())).unwrap();
    assert_eq!(image.digest(), &changed.put.descriptor.digest);
    assert_eq!(image.config_descriptor().media_type, OCI_CONFIG);
    let layers = image.layers();
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let expected = [&b"for amd64"[..], b"shared", b"one more"];
    assert_eq!(diff_ids, expected.map(|tar| Some(digest(tar))));
    assert_eq!(image.config().unwrap().config.env, ["A=1"]);
}

fn a_changed_image_goes_to_another_repository<D: Driver>() {
    let mut model = Model::new(Options::default());
    let base = image(&[b"the base".to_vec()]);
    model.put_image("base", Some("v1"), &base);
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let by_digest = |name: &str| {
        let text = format!("{}/{name}@{}", server.host(), base.digest);
        reference(&text)
    };
    // Without a tag it is found by its new digest.
    let change = annotated("n", "v");
    let change = ChangeImage::new(&at(&server, "base:v1"), &by_digest("mine"), change);
    let changed = client.follow(change, Ways::default()).unwrap();
    assert_eq!(
        (changed.put.tags.len(), changed.config.digest),
        (0, digest(&base.config))
    );
    server.with_model(|model| {
        let new = changed.put.descriptor.digest.to_string();
        let mine = model.manifest_digests("mine");
        assert!(mine.iter().any(|digest| digest.to_string() == new));
        assert_eq!(mine.len(), 2, "with the image that it was made of");
        assert_eq!(model.blob_digests("mine"), model.blob_digests("base"));
    });
    let mounts = server.requests();
    let mounts = mounts
        .iter()
        .filter(|entry| entry.target.contains("mount="));
    assert_eq!(mounts.count(), 2);
}

fn what_a_change_cannot_be_made_of<D: Driver>() {
    let docker = {
        let base = image(&[]);
        let manifest = std::str::from_utf8(&base.manifest).unwrap();
        let manifest = manifest
            .replace(
                "vnd.oci.image.manifest.v1+json",
                "vnd.docker.distribution.manifest.v2+json",
            )
            .replace(
                "vnd.oci.image.config.v1+json",
                "vnd.docker.container.image.v1+json",
            );
        Image {
            digest: windlass_testbed::Digest::sha256(manifest.as_bytes()),
            manifest: manifest.into_bytes().into(),
            ..base
        }
    };
    let mut model = Model::new(Options::default());
    docker
        .blobs()
        .for_each(|blob| drop(model.put_blob("a", blob.clone())));
    let docker_type = "application/vnd.docker.distribution.manifest.v2+json";
    model.put_manifest("a", Some("docker"), docker_type, docker.manifest);
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let new = at(&server, "a:new");
    let change = ChangeImage::new(&at(&server, "a:docker"), &new, annotated("n", "v"));
    let failure = client.follow(change, Ways::default()).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Refused);
    assert!(
        failure.to_string().contains("cannot have annotations"),
        "{failure}"
    );
    let change = ChangeImage::new(&at(&server, "a:absent"), &new, annotated("n", "v"));
    let failure = client.follow(change, Ways::default()).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(server.with_model(|model| model.tag("a", "new").is_none()));
}

fn platforms(changed: &IndexChanged) -> Vec<String> {
    let entries = changed.entries.iter();
    entries
        .map(|entry| {
            entry
                .platform
                .as_ref()
                .map_or_else(String::new, ToString::to_string)
        })
        .collect()
}

fn an_index_is_made_of_images<D: Driver>() {
    let mut model = Model::new(Options::default());
    let amd64 = image_for("linux/amd64", &[b"of amd64".to_vec()]);
    let arm = image_for("linux/arm/v7", &[b"of arm".to_vec()]);
    model.put_image("app", Some("amd64"), &amd64);
    model.put_image("other", Some("arm"), &arm);
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let mut create = ChangeIndex::create(&at(&server, "app:v1"));
    create.add(&at(&server, "app:amd64"));
    create.add(&at(&server, "other:arm"));
    create.annotation("n", Some("v".into()));
    let made = client.follow(create, Ways::default()).unwrap();
    assert_eq!(platforms(&made), ["linux/amd64", "linux/arm/v7"]);
    assert_eq!(made.copied, [digest(&arm.manifest)]);
    let document = there(&server, "app", "v1");
    assert_eq!(document["annotations"]["n"], "v");
    assert_eq!(document["manifests"].as_array().unwrap().len(), 2);
    // All of it is there, in one repository.
    let target = at(&server, "app:v1");
    let choose = Choose::new(&target, |entries: &[Descriptor]| {
        entries.len().checked_sub(1)
    });
    let chosen = client.follow(choose, Ways::default()).unwrap();
    let image = client.open(&chosen.to_string()).unwrap();
    assert_eq!(image.config_bytes(), arm.config);
}

fn an_index_is_changed<D: Driver>() {
    let (mut model, amd64, arm64) = two_platforms(Options::default());
    let s390x = image_for("linux/s390x", &[b"of s390x".to_vec()]);
    model.put_image("a/b", Some("s390x"), &s390x);
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let v1 = at(&server, "a/b:v1");
    let follow = |change| client.follow(change, Ways::default());

    let mut add = ChangeIndex::of(&v1, &v1);
    add.add(&at(&server, "a/b:s390x"));
    let added = follow(add).unwrap();
    assert_eq!(
        platforms(&added),
        ["linux/amd64", "linux/arm64", "linux/s390x"]
    );
    assert_eq!(added.copied, []);

    let mut filter = ChangeIndex::of(&v1, &at(&server, "a/b:some"));
    filter.keep(Platform::new("linux", "s390x"));
    filter.keep(Platform::new("linux", "amd64"));
    assert_eq!(
        platforms(&follow(filter).unwrap()),
        ["linux/amd64", "linux/s390x"]
    );

    let mut remove = ChangeIndex::of(&v1, &v1);
    remove.remove(digest(&amd64.manifest));
    let removed = follow(remove).unwrap();
    assert_eq!(platforms(&removed), ["linux/arm64", "linux/s390x"]);
    assert_eq!(removed.entries[0].digest, digest(&arm64.manifest));

    let mut absent = ChangeIndex::of(&v1, &v1);
    absent.remove(digest(&amd64.manifest));
    let failure = follow(absent).unwrap_err();
    assert!(
        failure.to_string().contains("the index has no entry"),
        "{failure}"
    );
    let mut absent = ChangeIndex::of(&v1, &v1);
    absent.keep(Platform::new("linux", "amd64"));
    let failure = follow(absent).unwrap_err();
    assert!(
        failure.to_string().contains("nothing for linux/amd64"),
        "{failure}"
    );
    let image = at(&server, "a/b:s390x");
    let failure = follow(ChangeIndex::of(&image, &image)).unwrap_err();
    assert!(failure.to_string().contains("it is no index"), "{failure}");
}

/// What is at another registry has to be there already.
fn images_of_other_registries<D: Driver>() {
    let here = Server::start(Model::new(Options::default())).unwrap();
    let mut model = Model::new(Options::default());
    let theirs = image(&[b"theirs".to_vec()]);
    model.put_image("theirs", Some("v1"), &theirs);
    let elsewhere = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let create = || {
        let mut create = ChangeIndex::create(&at(&here, "app:v1"));
        create.add(&at(&elsewhere, "theirs:v1"));
        client.follow(create, Ways::default())
    };
    let failure = create().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Refused);
    let copy = format!(
        "is at another registry: copy it into {}/app first",
        here.host()
    );
    assert!(failure.to_string().contains(&copy), "{failure}");
    here.with_model(|model| model.put_image("app", None, &theirs));
    let made = create().unwrap();
    assert_eq!(
        (made.copied.len(), platforms(&made)),
        (0, vec!["linux/amd64".into()])
    );
}

fn the_caller_chooses<D: Driver>() {
    let (mut model, amd64, arm64) = two_platforms(Options::default());
    let outer = index(&[("linux/amd64", &amd64)]);
    let text = std::str::from_utf8(&outer.manifest).unwrap();
    let inner = model.tag("a/b", "v1").unwrap().to_string();
    let inner_size = model
        .manifest_bytes("a/b", model.tag("a/b", "v1").unwrap())
        .unwrap()
        .1
        .len();
    let text = text
        .replace(amd64.digest.as_str(), &inner)
        .replace(
            &format!("\"size\":{}", amd64.manifest.len()),
            &format!("\"size\":{inner_size}"),
        )
        .replace("image.manifest.v1", "image.index.v1");
    let index_type = "application/vnd.oci.image.index.v1+json";
    model.put_manifest("a/b", Some("nested"), index_type, text.into_bytes());
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let last = |entries: &[Descriptor]| entries.len().checked_sub(1);
    for name in ["a/b:v1", "a/b:nested"] {
        let choose = Choose::new(&at(&server, name), last);
        let chosen = client.follow(choose, Ways::default()).unwrap();
        assert_eq!(chosen.digest(), Some(&digest(&arm64.manifest)), "{name}");
        assert_eq!(chosen.tag(), at(&server, name).tag(), "{name}");
    }
    let single = reference(&format!("{}/a/b@{}", server.host(), amd64.digest));
    let never = |_: &[Descriptor]| panic!("it is no index");
    let chosen = client.follow(Choose::new(&single, never), Ways::default());
    assert_eq!(chosen, Ok(single));
    for choose in [|_: &[Descriptor]| None, |_: &[Descriptor]| Some(99)] {
        let choose = Choose::new(&at(&server, "a/b:v1"), choose);
        let failure = client.follow(choose, Ways::default()).unwrap_err();
        assert!(failure.to_string().contains("was chosen"), "{failure}");
    }
}

/// IDX-20: the index unchanged, with some of its images.
fn several_platforms<D: Driver>() {
    let mut model = Model::new(Options {
        sparse_indexes: true,
        ..Options::default()
    });
    let names = ["linux/amd64", "linux/arm64", "linux/s390x"];
    let images = names.map(|name| image_for(name, &[name.as_bytes().to_vec()]));
    let all: Vec<_> = names.into_iter().zip(&images).collect();
    images
        .iter()
        .for_each(|image| drop(model.put_image("a", None, image)));
    let both = index(&all);
    model.put_index("a", Some("v1"), &both);
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let only = |names: &[&str]| {
        let wanted = names.iter().map(|name| name.parse().unwrap());
        Platforms::Several(wanted.collect())
    };
    let copy = |from: ImageLocation, to: ImageLocation, names: &[&str]| {
        let mut spec = RequestSpec::copy(from, to);
        spec.platforms(only(names));
        client.run(Ask::other(spec))
    };
    let (v1, b1) = (at(&server, "a:v1"), at(&server, "b:v1"));

    let shelf = Shelf::new();
    let named = || ImageLocation::store(&shelf.store, Some("v1".into()));
    let pulled = copy((&v1).into(), named(), &["arm64", "amd64"]).unwrap();
    assert_eq!(pulled.root.digest, digest(&both.manifest));
    assert_eq!((pulled.absent, pulled.moved), (1, 4));
    shelf.check_holds_all(&[&images[0], &images[1]], 1);
    // Out of the layout, and then the others from the registry.
    let pushed = copy(named(), (&b1).into(), &["amd64"]).unwrap();
    // The client has seen the blobs in the other repository.
    assert_eq!((pushed.absent, pushed.mounted), (2, 2));
    let rest = copy((&v1).into(), (&b1).into(), &["s390x", "amd64"]).unwrap();
    assert_eq!((rest.absent, rest.mounted, rest.moved), (1, 2, 0));
    server.with_model(|model| {
        let there = model.manifest_digests("b");
        let has = images.each_ref().map(|image| there.contains(&image.digest));
        assert_eq!(has, [true, false, true]);
        assert_eq!(model.tag("b", "v1"), Some(&both.digest));
    });

    let failure = copy((&v1).into(), named(), &["amd64", "linux/ppc64le"]).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound, "IDX-17");
    // A registry that wants all of it says so.
    server.with_model(|model| model.options_mut().sparse_indexes = false);
    let failure = copy((&v1).into(), at(&server, "c:v1").into(), &["amd64"]).unwrap_err();
    assert!(
        failure.to_string().contains("MANIFEST_BLOB_UNKNOWN"),
        "{failure}"
    );
    // What is no index has nothing to choose from.
    let single = at(&server, "b:v1").with_target(windlass_core::reference::Target::Digest(digest(
        &images[0].manifest,
    )));
    let copied = copy((&single).into(), named(), &["amd64", "arm64"]).unwrap();
    assert_eq!(copied.absent, 0);
}

/// PUSHM-15: of two changes of one index none is lost, whether the registry looks at conditions or not.
fn another_client_changes_the_index<D: Driver>() {
    for (conditions, is_after) in [(true, false), (false, true)] {
        let options = Options {
            conditions,
            ..Options::default()
        };
        let (mut model, amd64, arm64) = two_platforms(options);
        let [s390x, riscv64] = ["linux/s390x", "linux/riscv64"]
            .map(|name| image_for(name, &[name.as_bytes().to_vec()]));
        model.put_image("a/b", Some("s390x"), &s390x);
        model.put_image("a/b", None, &riscv64);
        let theirs = index(&[
            ("linux/amd64", &amd64),
            ("linux/arm64", &arm64),
            ("linux/riscv64", &riscv64),
        ]);
        let registry: Arc<OnceLock<Server>> = Arc::default();
        let times = Arc::new(AtomicUsize::new(1));
        // Puts theirs, as long as it is to.
        let (place, left) = (Arc::clone(&registry), Arc::clone(&times));
        let change = Arc::new(move |request: &Request| {
            let is_put = request.method == "PUT" && request.target.ends_with("/manifests/v1");
            let takes = |left: usize| left.checked_sub(1);
            let order = Ordering::SeqCst;
            if is_put && left.fetch_update(order, order, takes).is_ok() {
                let server = place.get().unwrap();
                server.with_model(|model| model.put_index("a/b", Some("v1"), &theirs));
            }
        });
        let early = Arc::clone(&change);
        let faults = Faults::new()
            .before(move |request: &Request, _| {
                if !is_after {
                    early(request);
                }
                None
            })
            .deliver(move |request: &Request, _, answer: Answer| {
                if is_after {
                    change(request);
                }
                answer.into()
            });
        let (server, _) = serve(model, faults);
        assert!(registry.set(server).is_ok());
        let server = registry.get().unwrap();
        let client = D::new(&Setup::new());
        let v1 = at(server, "a/b:v1");
        let add = || {
            let mut add = ChangeIndex::of(&v1, &v1);
            add.add(&at(server, "a/b:s390x"));
            client.follow(add, Ways::default())
        };
        let added = add().unwrap();
        let expected = ["linux/amd64", "linux/arm64", "linux/riscv64", "linux/s390x"];
        assert_eq!(platforms(&added), expected, "{conditions}");
        let now = there(server, "a/b", "v1");
        assert_eq!(now["manifests"].as_array().unwrap().len(), 4);

        // One that changes it again and again wins.
        if !is_after {
            continue;
        }
        times.store(usize::MAX, Ordering::SeqCst);
        let mut remove = ChangeIndex::of(&v1, &v1);
        remove.remove(digest(&amd64.manifest));
        let failure = client.follow(remove, Ways::default()).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Temporary);
        assert!(
            failure.to_string().contains("was changed meanwhile"),
            "{failure}"
        );
    }
}

/// As several jobs of a build do.
fn many_clients_change_one_index<D: Driver>() {
    let mut model = Model::new(Options {
        conditions: true,
        ..Options::default()
    });
    let images: Vec<Image> = (0..6)
        .map(|n| image_for(&format!("linux/cpu{n}"), &[vec![n; 10]]))
        .collect();
    for (n, image) in images.iter().enumerate() {
        model.put_image("app", Some(&format!("t{n}")), image);
    }
    model.put_index("app", Some("v1"), &index(&[("linux/cpu0", &images[0])]));
    let server = Server::start(model).unwrap();
    std::thread::scope(|scope| {
        for n in 1..images.len() {
            let server = &server;
            scope.spawn(move || {
                let v1 = at(server, "app:v1");
                let mut add = ChangeIndex::of(&v1, &v1);
                add.add(&at(server, &format!("app:t{n}")));
                D::new(&Setup::new()).follow(add, Ways::default()).unwrap();
            });
        }
    });
    let now = there(&server, "app", "v1");
    assert_eq!(now["manifests"].as_array().unwrap().len(), images.len());
}
