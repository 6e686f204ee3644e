//! Relays of which one side ends before the other one, in both clients.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use windlass_testbed::{Answer, Delivery, Image, Model, Options, Request, Server, image};
use windlass_tests::drivers::{Ask, Driver, Faults, Setup, Shelf, gets_blob, puts_blob, serve};
use windlass_tests::images::noise;
use windlass_tests::through_both;

through_both!(
    a_source_that_stalls_is_not_waited_for_after_the_destination_answered,
    a_source_that_breaks_early_does_not_send_the_request_twice,
);

const SIZE: usize = 4 << 20;

/// An image at the first registry, and the second one.
fn registries(source: Faults, sink: Faults) -> (Image, Server, Server) {
    let image = image(&[noise(SIZE, 7)]);
    let mut model = Model::new(Options::default());
    model.put_image("a/b", Some("v1"), &image);
    let ((source, _), (sink, _)) = (serve(model, source), serve(Model::default(), sink));
    (image, source, sink)
}

fn copy<D: Driver>(source: &Server, sink: &Server) {
    let from = format!("{}/a/b:v1", source.host());
    let to = format!("{}/c/d:v1", sink.host());
    let ask = Ask::copy(&from, &to).spool(&Shelf::new().store);
    D::new(&Setup::new()).run(ask).unwrap();
}

#[track_caller]
fn check(image: &Image, sink: &Server) {
    sink.with_model(|model| {
        assert_eq!(model.tag("c/d", "v1"), Some(&image.digest));
        for blob in image.blob_digests() {
            assert!(model.blob_bytes("c/d", &blob).is_some(), "{blob}");
        }
    });
}

/// Does this to the first answer with the layer.
fn on_layer(act: impl Fn(&mut Delivery) + Send + Sync + 'static) -> Faults {
    let seen = AtomicUsize::new(0);
    Faults::new().deliver(move |request, _, answer: Answer| {
        let is_layer = gets_blob(request) && answer.body.len() == SIZE;
        let mut delivery = Delivery::from(answer);
        if is_layer && seen.fetch_add(1, Ordering::SeqCst) == 0 {
            act(&mut delivery);
        }
        delivery
    })
}

fn puts_layer(request: &Request) -> bool {
    let length = request.field("content-length");
    puts_blob(request) && length == Some(&SIZE.to_string())
}

/// The destination says that it has the blob of which it has half. What the source has still to send is of no use.
fn a_source_that_stalls_is_not_waited_for_after_the_destination_answered<D: Driver>() {
    let source = on_layer(|delivery| delivery.stall_after = Some(SIZE as u64 / 2));
    let seen = AtomicUsize::new(0);
    let sink = Faults::new().before(move |request, _| {
        let is_first = puts_layer(request) && seen.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| Answer::new(StatusCode::CREATED).into())
    });
    let (image, source, sink) = registries(source, sink);
    let begun = Instant::now();
    copy::<D>(&source, &sink);
    // The limit for a connection on which nothing moves is a minute.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(30), "{}: {took:?}", D::NAME);
    check(&image, &sink);
}

/// The connection that the session was opened on is used again, and breaks because there is nothing to send: it is
/// not the server that has closed it.
fn a_source_that_breaks_early_does_not_send_the_request_twice<D: Driver>() {
    let broken = AtomicUsize::new(0);
    let source =
        on_layer(|delivery| delivery.cut_body_after = Some(30_000)).before(move |request, _| {
            // The rest is not to be had at once.
            let is_rest = gets_blob(request) && request.field("range").is_some();
            let is_first = is_rest && broken.fetch_add(1, Ordering::SeqCst) == 0;
            is_first.then(|| Answer::error(StatusCode::BAD_GATEWAY, "UNAVAILABLE", "later").into())
        });
    let (image, source, sink) = registries(source, Faults::new());
    copy::<D>(&source, &sink);
    check(&image, &sink);
    let requests = sink.requests();
    let puts = requests.iter().filter(|it| {
        let length = it.headers.get("content-length");
        let is_layer = length.and_then(|it| it.to_str().ok()) == Some(&SIZE.to_string());
        it.method == "PUT" && is_layer
    });
    // The one that broke off may not have got as far as to be seen.
    let puts = puts.count();
    assert!((1..=2).contains(&puts), "{}: {puts}", D::NAME);
}
