//! What both clients tell of how far a transfer is, when it begins again and when it does not.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use windlass_core::config::Parts;
use windlass_testbed::{Delivery, Image, Model, Options, Ranges, Request, image};
use windlass_tests::drivers::{Ask, Driver, Faults, Setup, Shelf, Watch, gets_blob, serve};
use windlass_tests::images::{Layout, noise};
use windlass_tests::proxy::Proxy;
use windlass_tests::through_both;

through_both!(
    a_pull_that_goes_on_does_not_go_back,
    a_pull_that_begins_again_goes_back,
    a_pull_of_wrong_bytes_goes_back,
    parts_go_back_only_if_they_were_wrong,
    a_push_that_begins_again_goes_back,
);

const MIB: u64 = 1 << 20;
const SIZE: u64 = 8 * MIB;
/// Where the first connection breaks.
const AT: u64 = 3 * MIB + 5;

fn large(size: u64) -> Image {
    image(&[noise(usize::try_from(size).unwrap(), 1)])
}

fn single() -> Setup {
    let mut setup = Setup::new();
    setup.config.parts = Parts::NONE;
    setup
}

/// The positions told while the large blob is pulled, of whose answers the first ones are spoiled.
fn pulled<D: Driver>(
    setup: &Setup,
    ranges: Ranges,
    spoil: impl Fn(usize, &mut Delivery) + Send + Sync + 'static,
) -> Vec<u64> {
    let image = large(SIZE);
    let mut model = Model::new(Options {
        ranges,
        ..Options::default()
    });
    model.put_image("a/b", Some("v1"), &image);
    let (small, seen) = (image.blob_digests()[0].to_string(), AtomicUsize::new(0));
    let is_large = move |request: &Request| gets_blob(request) && !request.target.contains(&small);
    let faults = Faults::new().deliver(move |request, _, answer| {
        let mut delivery = Delivery::from(answer);
        if is_large(request) {
            spoil(seen.fetch_add(1, Ordering::SeqCst), &mut delivery);
        }
        delivery
    });
    let (server, _) = serve(model, faults);
    let (shelf, watch) = (Shelf::new(), Watch::new());
    let ask = Ask::pull(&format!("{}/a/b:v1", server.host()), &shelf.store);
    D::new(setup).run(ask.watched(&watch)).unwrap();
    shelf.check_holds(&image);
    told(&watch, SIZE)
}

/// All that was told, which ends with the last byte.
#[track_caller]
fn told(watch: &Arc<Watch>, size: u64) -> Vec<u64> {
    let told = watch.positions(size);
    assert_eq!(told.last(), Some(&size), "{told:?}");
    assert!(told.iter().all(|it| *it <= size), "{told:?}");
    told
}

/// From where to where each step back went.
fn back(told: &[u64]) -> Vec<(u64, u64)> {
    let steps = told.windows(2).map(|pair| (pair[0], pair[1]));
    steps.filter(|(from, to)| to < from).collect()
}

fn cut_first(nth: usize, delivery: &mut Delivery) {
    if nth == 0 {
        delivery.cut_body_after = Some(AT);
    }
}

fn damage_first(nth: usize, delivery: &mut Delivery) {
    if nth == 0 {
        let mut body = delivery.answer.body.to_vec();
        body[0] ^= 1;
        delivery.answer.body = body.into();
    }
}

fn a_pull_that_goes_on_does_not_go_back<D: Driver>() {
    let told = pulled::<D>(&single(), Ranges::Honoured, cut_first);
    assert_eq!(back(&told), [], "{told:?}");
    assert!(told.contains(&AT), "{told:?}");
}

/// From the last byte that arrived.
fn a_pull_that_begins_again_goes_back<D: Driver>() {
    let told = pulled::<D>(&single(), Ranges::Ignored, cut_first);
    let back = back(&told);
    assert_eq!(back.len(), 1, "{told:?}");
    assert!(back[0].0 == AT && back[0].1 < 2 * MIB, "{told:?}");
}

fn a_pull_of_wrong_bytes_goes_back<D: Driver>() {
    let told = pulled::<D>(&single(), Ranges::Honoured, damage_first);
    let back = back(&told);
    assert_eq!(back.len(), 1, "{told:?}");
    assert!(back[0].0 == SIZE && back[0].1 < 2 * MIB, "{told:?}");
}

/// However their ends come together.
fn parts_go_back_only_if_they_were_wrong<D: Driver>() {
    let mut setup = Setup::new();
    setup.config.parts = Parts::of_at_least(64 * 1024);
    let cut = |nth, delivery: &mut Delivery| {
        if nth % 5 == 1 {
            delivery.cut_body_after = Some(1000);
        }
    };
    let told = pulled::<D>(&setup, Ranges::Honoured, cut);
    assert_eq!(back(&told), [], "{told:?}");
    let told = pulled::<D>(&setup, Ranges::Honoured, damage_first);
    let back = back(&told);
    assert_eq!(back.len(), 1, "{told:?}");
    assert!(back[0].0 == SIZE && back[0].1 < 2 * MIB, "{told:?}");
}

/// More than the kernel's buffers take, to a registry that keeps nothing of what broke off.
fn a_push_that_begins_again_goes_back<D: Driver>() {
    let (files, image) = Layout::with_image(1, 24 << 20, 1);
    let size = image.layers[0].size;
    let mut options = Options::default();
    options.uploads.keep_partial = false;
    let (server, _) = serve(Model::new(options), Faults::new());
    let proxy = Proxy::to(&server.host());
    proxy.cut_after_up(AT);
    let (shelf, watch) = (Shelf::of(files), Watch::new());
    let ask = Ask::push(&shelf.store, &format!("{}/a/b:v1", proxy.host()));
    D::new(&single()).run(ask.watched(&watch)).unwrap();
    assert!(!proxy.will_cut_up(), "it was not cut");
    let told = told(&watch, size);
    let back = back(&told);
    assert_eq!(back.len(), 1, "{told:?}");
    assert!(back[0].0 >= 2 * MIB && back[0].1 < 2 * MIB, "{told:?}");
}
