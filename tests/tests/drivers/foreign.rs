//! Foreign layers through both clients: pulled, pushed and copied, with and without them.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_core::ErrorKind;
use windlass_testbed::{Auth, Basic, Digest, Image, Model, Options, Server, User, image};
use windlass_tests::drivers::{Ask, Driver, PASSWORD, Setup, Shelf};
use windlass_tests::images::noise;
use windlass_tests::through_both;
use windlass_tests::world::scenes::{FOREIGN, digest, on_foreign};

through_both!(pull_push_copy, a_layer_that_is_another_is_not_kept);

fn layer() -> Vec<u8> {
    noise(200_000, 9)
}

/// A server of files, open to everybody.
fn files() -> Server {
    let mut model = Model::new(Options::default());
    model.put_blob("files", layer());
    Server::start(model).unwrap()
}

fn url(files: &Server, content: &[u8]) -> String {
    let digest = Digest::sha256(content);
    format!("http://{}/v2/files/blobs/{digest}", files.host())
}

/// A registry that requires a password, which must not get another registry's.
fn registry() -> Server {
    let auth = Auth::Basic(Basic {
        users: [("alice".into(), User::new(PASSWORD))].into(),
        anonymous_pull: false,
    });
    Server::start(Model::new(Options {
        auth,
        ..Options::default()
    }))
    .unwrap()
}

fn put(registry: &Server, image: &Image) {
    registry.with_model(|model| model.put_image("team/app", Some("v1"), image));
}

fn has(server: &Server, repository: &str, content: &[u8]) -> bool {
    server.with_model(|model| {
        let blob = model.blob_bytes(repository, &Digest::sha256(content));
        blob.is_some()
    })
}

fn pull_push_copy<D: Driver>() {
    let (files, registry, other) = (files(), registry(), registry());
    let url = url(&files, &layer());
    let image = on_foreign(&image(&[noise(10, 1)]), FOREIGN, &layer(), &[&url]);
    put(&registry, &image);
    let client = D::new(&Setup::new().alice());
    let shelf = Shelf::new();
    let app = format!("{}/team/app:v1", registry.host());
    let pull = || Ask::pull(&app, &shelf.store);
    let report = client.run(pull()).unwrap();
    assert_eq!((report.moved, report.left_out), (2, 1));
    assert_eq!(report.left_out_layers[0].digest, digest(&layer()));
    shelf.check_holds(&image);
    assert_eq!(files.requests().len(), 0);

    let push = || Ask::push(&shelf.store, &format!("{}/pushed:v1", registry.host()));
    assert_eq!(client.run(push()).unwrap().left_out, 1);
    let copied = format!("{}/copied:v1", other.host());
    let copy = || Ask::copy(&app, &copied);
    assert_eq!(client.run(copy()).unwrap().left_out, 1);
    assert!(!has(&registry, "pushed", &layer()) && !has(&other, "copied", &layer()));

    // All of them once more, with the layer.
    let report = client.run(pull().foreign()).unwrap();
    assert_eq!((report.moved, report.left_out), (1, 0));
    assert_eq!(report.bytes, layer().len() as u64);
    assert!(shelf.store.contains(&digest(&layer()), 200_000).unwrap());
    assert_eq!(client.run(push().foreign()).unwrap().moved, 1);
    assert_eq!(client.run(copy().foreign()).unwrap().moved, 1);
    assert!(has(&registry, "pushed", &layer()) && has(&other, "copied", &layer()));
    let shown = |it: &windlass_testbed::Entry| it.headers.contains_key("authorization");
    assert!(!files.requests().iter().any(shown), "it is no registry");
}

fn a_layer_that_is_another_is_not_kept<D: Driver>() {
    let (files, registry) = (files(), registry());
    let other = noise(200_000, 10);
    // The file under that URL is another one of the same size.
    let url = url(&files, &layer());
    let image = on_foreign(&image(&[noise(10, 1)]), FOREIGN, &other, &[&url]);
    put(&registry, &image);
    let client = D::new(&Setup::new().alice().attempts(1));
    let shelf = Shelf::new();
    let app = format!("{}/team/app:v1", registry.host());
    let failure = client.run(Ask::pull(&app, &shelf.store).foreign());
    let failure = failure.unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Mismatch, "{failure}");
    assert!(!shelf.store.contains(&digest(&other), 200_000).unwrap());
}
