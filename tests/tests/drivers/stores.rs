//! Stores that are full, lie or panic, and observers that panic: the call fails with the reason, no
//! wrong content gets a final name, and the client stays usable.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use windlass_core::credential::{Question, TimedAnswer};
use windlass_core::{Digest, Error, ErrorKind, Event, StoreErrorKind};
use windlass_driver::Credentials;
use windlass_store::Begun;
use windlass_testbed::{Auth, Basic, Image, Model, Options, Server, image};
use windlass_tests::drivers::{Ask, Driver, Rigged, Setup, Shelf, Watch};
use windlass_tests::images::noise;
use windlass_tests::through_both;

through_both!(
    a_full_disk_keeps_what_was_written,
    with_few_files_fewer_blobs_are_open_at_once,
    a_step_that_found_no_file_descriptor_is_tried_again,
    without_any_file_descriptor_it_may_pass,
    a_partial_that_lies_is_started_over,
    a_whole_partial_that_lies_is_started_over,
    a_stored_blob_that_was_damaged_is_not_pushed,
    a_store_that_panics,
    an_observer_that_panics_at_bytes,
    an_observer_that_panics_at_an_event,
    a_credential_helper_that_panics,
);

const SIZE: usize = 2_000_000;

fn app() -> Image {
    image(&[noise(SIZE, 5)])
}

fn server() -> Server {
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &app());
    Server::start(model).unwrap()
}

fn at(server: &Server) -> String {
    format!("{}/team/app:v1", server.host())
}

fn layer() -> Digest {
    let digest = windlass_testbed::Digest::sha256(&app().layers[0]);
    digest.as_str().parse().unwrap()
}

fn ranges(server: &Server) -> Vec<String> {
    let requests = server.requests();
    let values = requests
        .iter()
        .filter_map(|entry| entry.headers.get("range"));
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

/// The client still works.
#[track_caller]
fn check_usable<D: Driver>(client: &D) {
    let server = server();
    let shelf = Shelf::new();
    client.run(Ask::pull(&at(&server), &shelf.store)).unwrap();
    shelf.check_holds(&app());
}

fn a_full_disk_keeps_what_was_written<D: Driver>() {
    let server = server();
    let shelf = Shelf::new();
    let rigged = Rigged::new(&shelf.store);
    let client = D::new(&Setup::new());
    let config = app().config.len() as u64;
    rigged.room(Some(700_001 + config));
    let ask = Ask::pull(&at(&server), &rigged.store());
    let failure = client.run(ask.clone()).unwrap_err();
    let Error::Store(error) = failure.first() else {
        panic!("{failure:?}");
    };
    assert_eq!(error.kind(), StoreErrorKind::Full);
    let layer = layer().to_string();
    assert!(!shelf.files.has(&layer));
    shelf.files.check();
    let kept = shelf.files.partials();
    assert!(matches!(kept[..], [700_001..=701_000]), "{kept:?}");

    rigged.room(None);
    client.run(ask).unwrap();
    shelf.check_holds(&app());
    assert_eq!(ranges(&server), [format!("bytes={}-1999999", kept[0])]);
}

fn many_layers() -> (Image, Server) {
    let layers: Vec<Vec<u8>> = (0..12).map(|seed| noise(20_000, seed)).collect();
    let image = image(&layers);
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &image);
    (image, Server::start(model).unwrap())
}

fn with_few_files_fewer_blobs_are_open_at_once<D: Driver>() {
    let (image, server) = many_layers();
    for files in [1, 3] {
        let shelf = Shelf::new();
        let rigged = Rigged::new(&shelf.store);
        rigged.files(files);
        let ask = Ask::pull(&at(&server), &rigged.store());
        D::new(&Setup::new()).run(ask).unwrap();
        shelf.check_holds(&image);
        assert_eq!(rigged.most_open(), files);
    }
}

fn a_step_that_found_no_file_descriptor_is_tried_again<D: Driver>() {
    let (image, server) = many_layers();
    for step in ["begin", "put", "tag"] {
        let shelf = Shelf::new();
        let rigged = Rigged::new(&shelf.store);
        rigged.short(step, 2);
        let ask = Ask::pull(&at(&server), &rigged.store());
        D::new(&Setup::new()).run(ask).unwrap();
        shelf.check_holds(&image);
    }
    for step in ["open", "find"] {
        let shelf = Shelf::new();
        let client = D::new(&Setup::new());
        client.run(Ask::pull(&at(&server), &shelf.store)).unwrap();
        let rigged = Rigged::new(&shelf.store);
        rigged.short(step, 2);
        let to = format!("{}/team/{step}:v1", server.host());
        client.run(Ask::push(&rigged.store(), &to)).unwrap();
    }
}

fn without_any_file_descriptor_it_may_pass<D: Driver>() {
    let server = server();
    let shelf = Shelf::new();
    let rigged = Rigged::new(&shelf.store);
    rigged.short("begin", u32::MAX);
    let ask = Ask::pull(&at(&server), &rigged.store());
    let client = D::new(&Setup::new());
    let failure = client.run(ask).unwrap_err();
    let Error::Store(error) = failure.first() else {
        panic!("{failure:?}");
    };
    assert_eq!(error.kind(), StoreErrorKind::Descriptors);
    assert_eq!(failure.first().kind(), ErrorKind::Temporary);
    check_usable(&client);
}

/// Leaves these bytes behind as a partial of the layer.
fn lie(shelf: &Shelf, bytes: &[u8]) {
    let Begun::Ours(mut partial) = shelf.store.begin(&layer(), SIZE as u64).unwrap() else {
        panic!("nobody else has it");
    };
    partial.append(bytes).unwrap();
}

fn a_partial_that_lies_is_started_over<D: Driver>() {
    let server = server();
    let shelf = Shelf::new();
    lie(&shelf, &noise(900_000, 99));
    let watch = Watch::new();
    let ask = Ask::pull(&at(&server), &shelf.store).watched(&watch);
    D::new(&Setup::new()).run(ask).unwrap();
    shelf.check_holds(&app());
    assert_eq!(ranges(&server), ["bytes=900000-1999999"]);
    // Started over once, from the begin.
    assert_eq!(gets(&server), 2);
    assert!(shelf.files.partials().is_empty());
}

/// How often the layer was asked for.
fn gets(server: &Server) -> usize {
    let end = format!("/blobs/{}", layer());
    let requests = server.requests();
    requests
        .iter()
        .filter(|entry| entry.target.ends_with(&end))
        .count()
}

fn a_whole_partial_that_lies_is_started_over<D: Driver>() {
    let server = server();
    let shelf = Shelf::new();
    lie(&shelf, &noise(SIZE, 99));
    let ask = Ask::pull(&at(&server), &shelf.store);
    D::new(&Setup::new()).run(ask).unwrap();
    shelf.check_holds(&app());
    assert_eq!((ranges(&server).len(), gets(&server)), (0, 1));
}

/// Its end is held back, so that the registry cannot have committed it.
fn a_stored_blob_that_was_damaged_is_not_pushed<D: Driver>() {
    let source = server();
    let shelf = Shelf::new();
    let client = D::new(&Setup::new());
    client.run(Ask::pull(&at(&source), &shelf.store)).unwrap();
    let path = shelf.files.blob_path(&layer().to_string());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[SIZE / 2] ^= 1;
    let writable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&path, writable).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let server = Server::start(Model::new(Options::default())).unwrap();
    let failure = client
        .run(Ask::push(&shelf.store, &at(&server)))
        .unwrap_err();
    assert!(
        matches!(failure.first().kind(), ErrorKind::Mismatch),
        "{failure:?}"
    );
    server.with_model(|model| {
        assert_eq!(model.tag("team/app", "v1"), None);
        assert!(model.blob_digests("team/app").len() <= 1);
    });
    check_usable(&client);
}

fn a_store_that_panics<D: Driver>() {
    let server = server();
    for step in ["begin", "append", "commit", "tag"] {
        let shelf = Shelf::new();
        let rigged = Rigged::new(&shelf.store);
        rigged.panics(Some(step));
        let client = D::new(&Setup::new().attempts(2));
        let ask = Ask::pull(&at(&server), &rigged.store());
        let failure = client.run(ask.clone());
        failure.expect_err(step);
        shelf.files.check();
        // The same store, now that it is well again, and any other.
        rigged.panics(None);
        let again = client.run(ask);
        again.unwrap_or_else(|error| panic!("{step}: {error}"));
        shelf.check_holds(&app());
        check_usable(&client);
    }
    let shelf = Shelf::new();
    let client = D::new(&Setup::new().attempts(2));
    client.run(Ask::pull(&at(&server), &shelf.store)).unwrap();
    let rigged = Rigged::new(&shelf.store);
    rigged.panics(Some("open"));
    let empty = Server::start(Model::new(Options::default())).unwrap();
    let ask = Ask::push(&rigged.store(), &at(&empty));
    client.run(ask.clone()).unwrap_err();
    rigged.panics(None);
    client.run(ask).unwrap();
}

fn an_observer_that_panics_at_bytes<D: Driver>() {
    let server = server();
    let shelf = Shelf::new();
    let client = D::new(&Setup::new().attempts(2));
    let watch = Watch::on_bytes(|_| panic!("the observer panics, as the test wants"));
    let ask = Ask::pull(&at(&server), &shelf.store);
    // It ends: badly, or well if the panic came after the last byte, which is not moved again.
    drop(client.run(ask.clone().watched(&watch)));
    client.run(ask).unwrap();
    shelf.check_holds(&app());
    let empty = Server::start(Model::new(Options::default())).unwrap();
    let ask = Ask::push(&shelf.store, &at(&empty));
    drop(client.run(ask.clone().watched(&watch)));
    client.run(ask).unwrap();
    check_usable(&client);
}

/// Events are told by the caller's own thread, which it may panic as it likes.
fn an_observer_that_panics_at_an_event<D: Driver>() {
    let server = server();
    let shelf = Shelf::new();
    let client = D::new(&Setup::new());
    let watch = Watch::on_event(|event| {
        assert!(!matches!(event, Event::Started { .. }), "as the test wants");
    });
    let ask = Ask::pull(&at(&server), &shelf.store);
    let watched = ask.clone().watched(&watch);
    catch_unwind(AssertUnwindSafe(|| client.run(watched))).unwrap_err();
    client.run(ask).unwrap();
    shelf.check_holds(&app());
}

#[derive(Debug, Default)]
struct Panicking(AtomicBool);

impl Credentials for Panicking {
    fn find(&self, _: &Question) -> TimedAnswer {
        self.0.store(true, Ordering::SeqCst);
        panic!("the helper panics, as the test wants")
    }
}

fn a_credential_helper_that_panics<D: Driver>() {
    let server = Server::start(Model::new(Options {
        auth: Auth::Basic(Basic::default()),
        ..Options::default()
    }))
    .unwrap();
    let helper = Arc::new(Panicking::default());
    let mut setup = Setup::new();
    let credentials: Arc<dyn Credentials> = Arc::<Panicking>::clone(&helper);
    setup.credentials = Some(credentials);
    let client = D::new(&setup);
    let failure = client.resolve(Ask::resolve(&at(&server))).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Auth, "{failure}");
    assert!(helper.0.load(Ordering::SeqCst));
    check_usable(&client);
}
