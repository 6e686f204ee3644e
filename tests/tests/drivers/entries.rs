//! The names of images in stores, and stores in every form in which a program may hold them, through both clients.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;

use windlass_core::{Error, StoreErrorKind};
use windlass_store::{Layout, Memory, Store};
use windlass_testbed::{Image, Model, Options, Server, image};
use windlass_tests::drivers::{Ask, Driver, Setup};
use windlass_tests::through_both;
use windlass_tests::world::scenes::digest;

through_both!(names_of_entries, stores_as_they_are);

fn server() -> (Server, Image) {
    let image = image(&[b"a layer".to_vec()]);
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &image);
    (Server::start(model).unwrap(), image)
}

fn is_named(store: &dyn Store, name: Option<&str>, image: &Image) -> bool {
    store
        .find(name)
        .is_ok_and(|it| it.digest == digest(&image.manifest))
}

/// The tag, unless another name is said, or that there is none.
fn names_of_entries<D: Driver>() {
    let (server, image) = server();
    let client = D::new(&Setup::new());
    let at = |tag: &str| format!("{}/team/app:{tag}", server.host());
    let folder = tempfile::tempdir().unwrap();
    let layout = &Layout::open_or_create(folder.path()).unwrap();

    client.finish(Ask::pull_to(&at("v1"), layout)).unwrap();
    assert!(is_named(layout, Some("v1"), &image));
    client
        .finish(Ask::pull_to(&at("v1"), layout.at("other")))
        .unwrap();
    assert!(is_named(layout, Some("other"), &image));

    // The tag is the name of what is pushed, too.
    client.finish(Ask::push_from(layout, &at("v1"))).unwrap();
    let failure = client
        .finish(Ask::push_from(layout, &at("v2")))
        .unwrap_err();
    let Error::Store(error) = failure.first() else {
        panic!("{failure:?}");
    };
    assert_eq!(error.kind(), StoreErrorKind::NoSuchName);
    client
        .finish(Ask::push_from(layout.at("v1"), &at("v2")))
        .unwrap();
    assert_eq!(
        server.with_model(|model| model.tag("team/app", "v2").cloned()),
        Some(image.digest.clone())
    );

    // Of a digest there is no tag.
    let by_digest = format!("{}/team/app@{}", server.host(), image.digest);
    let memory = Memory::new(1 << 20);
    client.finish(Ask::pull_to(&by_digest, &memory)).unwrap();
    assert!(is_named(&memory, None, &image));
    client
        .finish(Ask::push_from(memory.unnamed(), &at("v3")))
        .unwrap();
    assert_eq!(
        server.with_model(|model| model.tag("team/app", "v3").cloned()),
        Some(image.digest)
    );
}

fn stores_as_they_are<D: Driver>() {
    let (server, image) = server();
    let client = D::new(&Setup::new());
    let from = format!("{}/team/app:v1", server.host());
    let memory = || Memory::new(1 << 20);
    let (lent, shared) = (memory(), Arc::new(memory()));
    let dynamic: Arc<dyn Store> = Arc::new(memory());
    client.finish(Ask::pull_to(&from, &lent)).unwrap();
    client.finish(Ask::pull_to(&from, &shared)).unwrap();
    client.finish(Ask::pull_to(&from, &dynamic)).unwrap();
    for store in [&lent as &dyn Store, &*shared, &*dynamic] {
        assert!(is_named(store, Some("v1"), &image));
    }
    // A store that is handed over is used up, and the image with it.
    client.finish(Ask::pull_to(&from, memory())).unwrap();
}
