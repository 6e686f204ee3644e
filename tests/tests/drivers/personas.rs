//! Registries as they are in the field, and habits of uploads that few of them have, through both clients.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::io::Cursor;
use std::sync::Arc;

use http::StatusCode;
use windlass_core::config::{ChunkSizes, Parts, RegistryKind, RegistrySettings};
use windlass_core::{Error, ErrorKind, Event, Failure, Report};
use windlass_driver::RequestSpec;
use windlass_testbed::{
    Answer, Delivery, Digest, Entry, Image, Model, Options, Request, Server, image,
};
use windlass_tests::drivers::{Ask, Driver, Faults, Setup, Shelf, Watch, serve};
use windlass_tests::images::noise;
use windlass_tests::proxy::{Place, Proxy};
use windlass_tests::through_both;
use windlass_tests::world::scenes::reference;

through_both!(
    images_go_to_every_registry_and_back,
    what_a_registry_lost_of_chunks_is_sent_as_a_whole,
    a_stream_of_which_a_registry_lost_chunks_is_an_error,
    a_registry_that_loses_chunks_and_takes_nothing_else,
    an_upload_that_a_registry_does_not_know_is_begun_again_once,
    an_end_that_is_refused_although_it_was_taken,
    an_end_whose_answer_is_lost_is_not_sent_again,
);

const KIB: usize = 1024;
/// The bytes of a chunk, and of the large layer.
const CHUNK: usize = 256 * KIB;
const SIZE: usize = 8 * CHUNK;

/// A large layer and small ones.
fn app() -> Image {
    image(&[noise(SIZE, 1), noise(100 * KIB, 2), noise(10, 3)])
}

/// The image is in the registry, byte for byte, and nothing is left over.
#[track_caller]
fn check_pushed(server: &Server, image: &Image, what: &str) {
    server.with_model(|model| {
        for blob in image.blobs() {
            let there = model.blob_bytes("a/b", &Digest::sha256(blob));
            assert!(there == Some(blob), "{what}: a blob is another one");
        }
        assert_eq!(model.tag("a/b", "v1"), Some(&image.digest), "{what}");
    });
}

/// A layout with what was pulled from a registry that is not under test.
fn filled<D: Driver>(image: &Image) -> Shelf {
    let mut model = Model::new(Options::default());
    model.put_image("x/y", Some("v1"), image);
    let (source, _) = serve(model, Faults::new());
    let shelf = Shelf::new();
    let ask = Ask::pull(&format!("{}/x/y:v1", source.host()), &shelf.store);
    D::new(&Setup::new()).run(ask).unwrap();
    shelf
}

/// Habits are hints: with them and without, a large blob goes there in one request, and in chunks where chunks
/// are taken; and back as one stream and in parts.
fn images_go_to_every_registry_and_back<D: Driver>() {
    let image = app();
    let from = filled::<D>(&image);
    for kind in RegistryKind::all().filter(|kind| *kind != RegistryKind::Mcr) {
        let takes_chunks = kind.habits().chunks != ChunkSizes::NONE;
        for (is_known, chunked) in [(false, false), (true, false), (true, takes_chunks)] {
            let what = format!("{kind}, known: {is_known}, chunks: {chunked}");
            let mut model = Model::new(windlass_tests::personas::persona_on_loopback(kind));
            let other = windlass_testbed::image(&[noise(10, 9)]);
            model.put_image("a/b", Some("other"), &other);
            let (server, _) = serve(model, Faults::new());
            let mut setup = Setup::new().alice();
            let mut settings = RegistrySettings::new(server.host().parse().unwrap(), "test");
            settings.kind = is_known.then_some(kind);
            settings.chunk_size = chunked.then_some(CHUNK as u64);
            setup.config.registries.push(settings);
            if chunked {
                setup.config.parts = Parts::of_at_least(CHUNK as u64 / 2);
            }
            let at = format!("{}/a/b:v1", server.host());
            let client = D::new(&setup);
            let pushed = client.run(Ask::push(&from.store, &at));
            pushed.unwrap_or_else(|error| panic!("{what}: {error}"));
            check_pushed(&server, &image, &what);
            let patches = statuses(&server, "PATCH").len();
            assert_eq!(patches > 0, chunked, "{what}: {patches} chunks");
            let shelf = Shelf::new();
            let pulled = client.run(Ask::pull(&at, &shelf.store));
            pulled.unwrap_or_else(|error| panic!("{what}: {error}"));
            shelf.check_holds(&image);
            let ranges = statuses(&server, "GET").into_iter();
            let ranges = ranges.filter(|it| *it == Some(StatusCode::PARTIAL_CONTENT));
            assert_eq!(ranges.count() > 4, chunked, "{what}");
        }
    }
}

/// How the requests with this method were answered.
fn statuses(server: &Server, method: &str) -> Vec<Option<StatusCode>> {
    let requests = server.requests();
    let these = requests.iter().filter(|entry| entry.method == method);
    these.map(|entry| entry.status).collect()
}

fn chunked() -> Setup {
    let mut setup = Setup::new();
    setup.config.chunk_size = Some(CHUNK as u64);
    setup
}

/// A registry that keeps the last chunk of a blob.
fn losing(max_body: Option<u64>) -> Server {
    let mut options = Options {
        max_body,
        ..Options::default()
    };
    options.uploads.last_chunk_only = true;
    serve(Model::new(options), Faults::new()).0
}

fn push<D: Driver>(setup: &Setup, server: &Server, image: &Image) -> Result<Report, Failure> {
    let from = filled::<D>(image);
    let at = format!("{}/a/b:v1", server.host());
    D::new(setup).run(Ask::push(&from.store, &at))
}

/// A HEAD after the last chunk shows it.
fn what_a_registry_lost_of_chunks_is_sent_as_a_whole<D: Driver>() {
    let (server, image) = (losing(None), app());
    push::<D>(&chunked(), &server, &image).unwrap();
    check_pushed(&server, &image, "it was sent again");
    let requests = server.requests();
    let bodies = requests.iter().filter(|entry| entry.method == "PUT");
    let whole = bodies.filter(|entry| entry.body == SIZE as u64);
    assert_eq!(whole.count(), 1);
    assert_eq!(statuses(&server, "PATCH").len(), SIZE / CHUNK);
}

/// What was read cannot be read again.
fn a_stream_of_which_a_registry_lost_chunks_is_an_error<D: Driver>() {
    let server = losing(None);
    let client = D::new(&chunked());
    let stream = client.stream(Cursor::new(noise(SIZE, 1)));
    let to = reference(&format!("{}/a/b", server.host()));
    let put = client.finish(Ask::other(RequestSpec::put_stream(&to, stream)));
    check_lost(&put.unwrap_err());
}

#[track_caller]
fn check_lost(failure: &Failure) {
    let is_mismatch = matches!(failure.first(), Error::Mismatch(_));
    assert!(is_mismatch, "{failure:?}");
    assert_eq!(failure.kind(), ErrorKind::Mismatch);
    let said = failure.to_string();
    assert!(said.contains(&format!("{CHUNK} bytes")), "{said}");
}

/// Nothing refers to what is there.
fn a_registry_that_loses_chunks_and_takes_nothing_else<D: Driver>() {
    let server = losing(Some(CHUNK as u64));
    let failure = push::<D>(&chunked(), &server, &app()).unwrap_err();
    check_lost(&failure);
    assert_eq!(
        server.with_model(|model| model.tag("a/b", "v1").cloned()),
        None
    );
    let patches = statuses(&server, "PATCH").into_iter();
    let taken = patches.filter(|it| *it == Some(StatusCode::ACCEPTED));
    assert_eq!(taken.count(), 2 * SIZE / CHUNK);
}

/// PUSHB-38: a chunk breaks off, and the registry does not say what it has of it.
fn an_upload_that_a_registry_does_not_know_is_begun_again_once<D: Driver>() {
    const NTH: usize = 3;
    let image = app();
    for status in [404, 405, 400, 501] {
        let is_status = |request: &Request| {
            request.method == "GET" && request.target.contains("/blobs/uploads/")
        };
        let refused = Answer::new(StatusCode::from_u16(status).unwrap());
        let faults = Faults::new()
            .before(move |request, _| is_status(request).then(|| refused.clone().into()));
        let (server, _) = serve(Model::new(Options::default()), faults);
        let proxy = Proxy::to(&server.host());
        proxy.cut_in("PATCH", NTH, Place::Body(CHUNK as u64 / 2));
        let (from, watch) = (filled::<D>(&image), Watch::new());
        let at = format!("{}/a/b:v1", proxy.host());
        let ask = Ask::push(&from.store, &at).watched(&watch);
        D::new(&chunked()).run(ask).unwrap();
        assert!(!proxy.will_cut_up(), "{status}: it was not cut");
        check_pushed(&server, &image, "after a restart");
        let patches = statuses(&server, "PATCH").into_iter();
        let patches = patches.filter(|it| *it == Some(StatusCode::ACCEPTED));
        assert_eq!(patches.count(), NTH + SIZE / CHUNK, "{status}");
        let told = warnings(&watch);
        assert_eq!(told.len(), 1, "{status}: {told:?}");
        assert!(told[0].contains(&format!("answers {status} ")), "{told:?}");
        assert!(told[0].contains("all of it is sent again"), "{told:?}");
    }
}

fn warnings(watch: &Arc<Watch>) -> Vec<String> {
    let mut warnings = Vec::new();
    for event in watch.events() {
        if let Event::Warning(warning) = event {
            warnings.push(warning);
        }
    }
    warnings
}

/// PUSHB-22: the session sends the request that ends an upload once more if its answer was lost, and 2.8 refuses that
/// one while it still stores the blob. Nothing is sent again.
fn an_end_that_is_refused_although_it_was_taken<D: Driver>() {
    let image = app();
    let faults = Faults::new().deliver(|request, _, answer| {
        let is_end = request.method == "PUT" && request.body.is_empty();
        if is_end && answer.status == StatusCode::CREATED {
            let digest = "provided digest did not match uploaded content";
            return Answer::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", digest).into();
        }
        answer.into()
    });
    let (server, _) = serve(Model::new(Options::default()), faults);
    push::<D>(&chunked(), &server, &image).unwrap();
    check_pushed(&server, &image, "it was there");
    assert_eq!(statuses(&server, "PATCH").len(), SIZE / CHUNK);
    let found = statuses(&server, "HEAD").into_iter();
    assert_eq!(found.filter(|it| *it == Some(StatusCode::OK)).count(), 1);
}

/// PUSHB-23: the blob is asked for. Two such requests at once may both fail at a registry that stores it just then.
fn an_end_whose_answer_is_lost_is_not_sent_again<D: Driver>() {
    let image = app();
    let faults = Faults::new().deliver(|request, _, answer| {
        let is_end = request.method == "PUT" && request.body.is_empty();
        let mut delivery = Delivery::from(answer);
        delivery.reset_before_head = is_end;
        delivery
    });
    let (server, _) = serve(Model::new(Options::default()), faults);
    push::<D>(&chunked(), &server, &image).unwrap();
    check_pushed(&server, &image, "it was there");
    let requests = server.requests();
    let is_end = |entry: &&Entry| entry.method == "PUT" && entry.body == 0;
    assert_eq!(requests.iter().filter(is_end).count(), 1);
    assert_eq!(statuses(&server, "PATCH").len(), SIZE / CHUNK);
}
