//! Large blobs that both clients fetch in several ranges at once: what is asked for over real connections, and
//! what becomes of one of them that breaks, stalls, or brings something else.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use http::{StatusCode, header};
use windlass_core::config::Parts;
use windlass_core::{Error, ErrorKind, Event, Extents, Failure, Report};
use windlass_driver::CancelHandle;
use windlass_testbed::{
    Answer, Delivery, Entry, Image, Model, Options, Ranges, Request, Server, Signature, Storage,
    image,
};
use windlass_tests::drivers::{Ask, Driver, Faults, Setup, Shelf, Watch, serve};
use windlass_tests::images::noise;
use windlass_tests::{through_both, wait_for};

through_both!(
    a_large_blob_comes_in_parts,
    each_part_asks_for_an_address_of_its_own,
    a_part_that_breaks_off_goes_on_where_it_was,
    a_part_that_stalls_is_given_up_and_the_others_are_not,
    a_registry_without_ranges_sends_one_stream,
    the_whole_blob_instead_of_a_part,
    a_part_that_is_refused_or_is_another_one,
    less_than_was_asked_for,
    a_wrong_byte_costs_one_more_stream,
    a_wrong_byte_twice_is_an_error,
    parts_that_stall_are_cancelled,
);

const SIZE: u64 = 4 << 20;
/// The least of a part, and the bytes of the first.
const LEAST: u64 = 128 * 1024;
const FIRST: u64 = LEAST / 8;

fn setup() -> Setup {
    let mut setup = Setup::new();
    setup.config.parts = Parts::of_at_least(LEAST);
    setup
}

/// A registry with an image that has one large layer, and a layout for it.
struct Scene {
    image: Image,
    server: Server,
    faults: Arc<Faults>,
    shelf: Shelf,
    watch: Arc<Watch>,
}

impl Scene {
    /// A registry that does this with answers to requests for the layer, counted from 0.
    fn with(
        options: Options,
        act: impl Fn(usize, &Request, &mut Delivery) + Send + Sync + 'static,
    ) -> Self {
        let image = image(&[noise(SIZE as usize, 1)]);
        let mut model = Model::new(options);
        model.put_image("a/b", Some("v1"), &image);
        let (layer, seen) = (layer(&image), AtomicUsize::new(0));
        let faults = Faults::new().deliver(move |request, _, answer| {
            let mut delivery = Delivery::from(answer);
            if request.target.contains(&layer) {
                // Long enough for a client to make further requests.
                thread::sleep(Duration::from_millis(5));
                act(seen.fetch_add(1, Ordering::SeqCst), request, &mut delivery);
            }
            delivery
        });
        let (server, faults) = serve(model, faults);
        Self {
            image,
            server,
            faults,
            shelf: Shelf::new(),
            watch: Watch::new(),
        }
    }

    fn new(act: impl Fn(usize, &Request, &mut Delivery) + Send + Sync + 'static) -> Self {
        Self::with(Options::default(), act)
    }

    fn ask(&self) -> Ask {
        let reference = format!("{}/a/b:v1", self.server.host());
        Ask::pull(&reference, &self.shelf.store).watched(&self.watch)
    }

    fn pull<D: Driver>(&self, setup: &Setup) -> Result<Report, Failure> {
        D::new(setup).run(self.ask())
    }

    /// Pulls, which is good, after this much more than the blob was received.
    #[track_caller]
    fn good<D: Driver>(&self, more: u64) {
        let report = self.pull::<D>(&setup()).unwrap();
        self.shelf.check_holds(&self.image);
        assert_eq!(self.shelf.files.partials(), [0; 0], "a partial stays");
        let blobs = SIZE + self.image.config.len() as u64;
        assert_eq!(report.bytes, blobs + more, "{:?}", self.asked());
        assert_eq!(self.watch.furthest(), SIZE);
    }

    /// The requests for the layer at the registry.
    fn requests(&self) -> Vec<Entry> {
        let mut requests = self.server.requests();
        let blob = format!("/blobs/{}", layer(&self.image));
        requests.retain(|entry| entry.method == "GET" && entry.target.contains(&blob));
        requests
    }

    /// The ranges that the layer was asked for with; all of it if there was none.
    fn asked(&self) -> Vec<Range<u64>> {
        let requests = self.requests();
        let ranges = requests.iter().map(|it| asked_of(&it.headers));
        ranges.collect()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for event in self.watch.events() {
            if let Event::Warning(warning) = event {
                warnings.push(warning);
            }
        }
        warnings
    }
}

fn layer(image: &Image) -> String {
    windlass_testbed::Digest::sha256(&image.layers[0]).to_string()
}

/// RNG-13: every range is closed.
fn asked_of(headers: &http::HeaderMap) -> Range<u64> {
    let Some(range) = headers.get(header::RANGE) else {
        return 0..SIZE;
    };
    let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    first.parse().unwrap()..last.parse::<u64>().unwrap() + 1
}

fn len(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// Each byte was asked for once.
#[track_caller]
fn check_disjoint(asked: &[Range<u64>]) {
    let mut known = Extents::default();
    asked.iter().for_each(|range| known.add(range.clone()));
    let total: u64 = asked.iter().map(len).sum();
    assert_eq!((known.prefix(), total), (SIZE, SIZE), "{asked:?}");
}

/// As one stream, and without a `Range`.
#[track_caller]
fn check_ends_whole(scene: &Scene) {
    let requests = scene.requests();
    let whole = |entry: &&Entry| !entry.headers.contains_key(header::RANGE);
    assert_eq!(requests.iter().filter(whole).count(), 1, "{requests:?}");
    assert!(requests.last().as_ref().is_some_and(whole), "{requests:?}");
}

fn a_large_blob_comes_in_parts<D: Driver>() {
    let scene = Scene::new(|_, _, _| {});
    scene.good::<D>(0);
    let asked = scene.asked();
    check_disjoint(&asked);
    assert_eq!(asked[0], 0..FIRST);
    let most = SIZE / LEAST;
    assert!((8..=most).contains(&(asked.len() as u64)), "{asked:?}");
    let answers = scene.requests();
    let answers = answers.iter().map(|it| it.status);
    assert!({ answers }.all(|it| it == Some(StatusCode::PARTIAL_CONTENT)));
    let beside = scene.faults.most_open();
    assert!((2..=12).contains(&beside), "{beside} beside each other");
    assert_eq!(scene.warnings(), [""; 0]);
}

/// HTTP-15: a signed URL may be good for one request. None of them gets what the registry gets.
fn each_part_asks_for_an_address_of_its_own<D: Driver>() {
    let scene = Scene::new(|_, _, _| {});
    let storage = scene.server.listen_also().unwrap().to_string();
    scene.server.with_model(|model| {
        let mut there = Storage::new(format!("http://{storage}"));
        there.signature = Signature::OneTime;
        model.options_mut().storage = Some(there);
    });
    scene.good::<D>(0);
    check_disjoint(&scene.asked());
    let requests = scene.server.requests();
    let there = requests.iter().filter(|it| it.host == storage);
    let there = there.filter(|it| it.headers.contains_key(header::RANGE));
    let there: Vec<_> = there.map(|it| asked_of(&it.headers)).collect();
    check_disjoint(&there);
    assert!(there.len() >= 8, "{there:?}");
}

/// RNG-05, RNG-13: what arrived is not asked for again, whichever it is, and no other part is.
fn a_part_that_breaks_off_goes_on_where_it_was<D: Driver>() {
    const KEPT: u64 = 7000;
    for nth in [0, 1, 9] {
        let scene = Scene::new(move |n, _, delivery| {
            if n == nth {
                delivery.cut_body_after = Some(KEPT);
            }
        });
        scene.good::<D>(0);
        let mut asked = scene.asked();
        let twice = |range: &Range<u64>| asked.iter().any(|it| it.start == range.start + KEPT);
        let broken = asked.iter().position(twice).unwrap();
        let part = asked[broken].clone();
        let rest = part.start + KEPT..part.end;
        if nth > 0 {
            assert!(asked.contains(&rest), "{rest:?} of {asked:?}");
        }
        asked[broken].end = part.start + KEPT;
        check_disjoint(&asked);
    }
}

/// The others end meanwhile.
fn a_part_that_stalls_is_given_up_and_the_others_are_not<D: Driver>() {
    const KEPT: u64 = 7000;
    let scene = Scene::new(|n, _, delivery| {
        if n == 3 {
            delivery.stall_after = Some(KEPT);
        }
    });
    let limits = setup().limits(Duration::from_secs(2), Duration::from_secs(60));
    scene.pull::<D>(&limits).unwrap();
    scene.shelf.check_holds(&scene.image);
    let mut asked = scene.asked();
    let is_rest = |of: &Range<u64>, it: &Range<u64>| *it == (of.start + KEPT..of.end);
    let stalled = asked
        .iter()
        .position(|of| asked.iter().any(|it| is_rest(of, it)));
    let stalled = stalled.unwrap_or_else(|| panic!("no rest in {asked:?}"));
    asked[stalled].end = asked[stalled].start + KEPT;
    check_disjoint(&asked);
}

/// RNG-06: the first request shows it, and its answer is what is wanted.
fn a_registry_without_ranges_sends_one_stream<D: Driver>() {
    let options = Options {
        ranges: Ranges::Ignored,
        ..Options::default()
    };
    let scene = Scene::with(options, |_, _, _| {});
    scene.good::<D>(0);
    let first = 0..FIRST;
    assert_eq!(scene.asked(), std::slice::from_ref(&first));
    let status = scene.requests()[0].status;
    assert_eq!(status, Some(StatusCode::OK));
}

/// RNG-06, RNG-13: it is not read to its end, as what the other parts bring need not come again.
fn the_whole_blob_instead_of_a_part<D: Driver>() {
    let whole = noise(SIZE as usize, 1);
    let scene = Scene::new(move |n, _, delivery| {
        if n == 4 {
            delivery.answer = Answer::new(StatusCode::OK).body(whole.clone());
        }
    });
    scene.good::<D>(0);
    let mut asked = scene.asked();
    let again = |range: &Range<u64>| asked.iter().filter(|it| it.start == range.start).count() == 2;
    let refused = asked.iter().position(again);
    asked.remove(refused.unwrap_or_else(|| panic!("{asked:?}")));
    check_disjoint(&asked);
    let warnings = scene.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("answered a Range with the whole blob"));
}

/// RNG-03 to RNG-05, RNG-11: not one byte of it is taken.
fn a_part_that_is_refused_or_is_another_one<D: Driver>() {
    let other = |range: &str| {
        let answer = Answer::new(StatusCode::PARTIAL_CONTENT).header("content-range", range);
        answer.body(vec![7; LEAST as usize])
    };
    let refusal = |status| Answer::new(StatusCode::from_u16(status).unwrap());
    for (name, answer) in [
        ("416", refusal(416)),
        ("400", refusal(400)),
        ("501", refusal(501)),
        ("the first bytes", other("bytes 0-131071/4194304")),
        ("another size", other("bytes 16384-147455/4194305")),
        ("no range", other("bytes */4194304")),
        ("no number", other("bytes all")),
        ("nothing", Answer::new(StatusCode::PARTIAL_CONTENT)),
    ] {
        let scene = Scene::new(move |n, _, delivery| {
            if n == 5 {
                delivery.answer = answer.clone();
            }
        });
        let report = scene.pull::<D>(&setup());
        report.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        scene.shelf.check_holds(&scene.image);
        let asked = scene.asked();
        let total: u64 = asked.iter().map(len).sum();
        assert!(total > SIZE, "{name}: nothing was asked for again");
    }
}

/// RNG-05: a server may send less, and it may send less than it said.
fn less_than_was_asked_for<D: Driver>() {
    let options = Options {
        ranges: Ranges::Shortened(100_000),
        ..Options::default()
    };
    Scene::with(options, |_, _, _| {}).good::<D>(0);
    // `Content-Range` is what was asked for, `Content-Length` is not.
    let scene = Scene::new(|n, _, delivery| {
        if n == 5 {
            let half = delivery.answer.body.len() / 2;
            delivery.answer.body.truncate(half);
            delivery.lie_content_length = Some(half as u64);
        }
    });
    scene.good::<D>(0);
    let total: u64 = scene.asked().iter().map(len).sum();
    assert!(total > SIZE, "nothing was asked for again");
}

/// A byte of the nth range that is answered is wrong, and what is not a range is, if so.
fn damaged(nth: usize, stays: bool) -> impl Fn(usize, &Request, &mut Delivery) + Send + Sync {
    move |n, request, delivery| {
        let is_whole = !request.headers.contains_key(header::RANGE);
        if n == nth || (is_whole && stays) {
            let mut body = delivery.answer.body.to_vec();
            let middle = body.len() / 2;
            body[middle] ^= 1;
            delivery.answer.body = body.into();
        }
    }
}

/// Which part it was is not known.
fn a_wrong_byte_costs_one_more_stream<D: Driver>() {
    for nth in [0, 1, 7] {
        let scene = Scene::new(damaged(nth, false));
        scene.good::<D>(SIZE);
        let mut asked = scene.asked();
        assert_eq!(asked.pop(), Some(0..SIZE));
        check_disjoint(&asked);
        check_ends_whole(&scene);
    }
}

fn a_wrong_byte_twice_is_an_error<D: Driver>() {
    let scene = Scene::new(damaged(7, true));
    let failure = scene.pull::<D>(&setup()).unwrap_err();
    assert!(matches!(failure.first(), Error::Mismatch(_)), "{failure:?}");
    assert_eq!(failure.kind(), ErrorKind::Mismatch);
    check_ends_whole(&scene);
    let files = &scene.shelf.files;
    assert!(!files.has(&layer(&scene.image)));
    // What else is under a final name is what its name says.
    files.check();
    assert_eq!(files.partials(), [0; 0], "wrong bytes are kept");
}

/// At once, although their server ends none of them. What arrived stays for the next client.
fn parts_that_stall_are_cancelled<D: Driver>() {
    const GOOD: usize = 8;
    let stalls = Arc::new(AtomicBool::new(true));
    let good = Arc::new(Mutex::new(Vec::new()));
    let (still, served) = (Arc::clone(&stalls), Arc::clone(&good));
    let scene = Scene::new(move |n, request, delivery| {
        if n >= GOOD && still.load(Ordering::SeqCst) {
            delivery.stall_after = Some(0);
        } else {
            served.lock().unwrap().push(asked_of(&request.headers));
        }
    });
    let cancel = CancelHandle::new();
    let took = thread::scope(|scope| {
        let pull = scope.spawn(|| {
            let result = D::new(&setup()).run(scene.ask().cancelled_by(&cancel));
            (result, Instant::now())
        });
        wait_for("others stall", || scene.asked().len() > GOOD + 2);
        scene.watch.wait_for_standstill(Duration::from_secs(1));
        let cancelled = Instant::now();
        cancel.cancel();
        let (result, end) = pull.join().unwrap();
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
        end.duration_since(cancelled)
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    stalls.store(false, Ordering::SeqCst);
    scene.pull::<D>(&setup()).unwrap();
    scene.shelf.check_holds(&scene.image);
    check_disjoint(&good.lock().unwrap());
}
