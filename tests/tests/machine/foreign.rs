//! Foreign layers: left out by default and reported; fetched and sent on request. The snapshots are
//! transcripts, see `transcripts.rs`.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::{CopyTask, ErrorKind, Failure, Report, StoreId, Task, TaskLocation};
use windlass_testbed::{Answer, Image, Model, Options, Request, index};
use windlass_tests::world::scenes::{
    FOREIGN, NONDISTRIBUTABLE, alice, basic, bearer, check_holds, digest, on_foreign,
    one_at_a_time, open, pull, pulling, push, pushing, reference, small, with_image, world,
};
use windlass_tests::world::{Fate, Memory, World};

const LAYER: &[u8] = b"a base layer that is not for distribution";
const URLS: [&str; 2] = [
    "https://gone.example/layer",
    "https://cdn.example.net/layer?sig=pa55",
];

fn windows() -> Image {
    on_foreign(&small(), FOREIGN, LAYER, &URLS)
}

/// What the hosts of the URLs say: the first one has nothing, the second one the layer.
fn at_urls(world: &mut World) {
    world.all(
        |request: &Request| request.host == "gone.example",
        Fate::Say(Answer::new(StatusCode::NOT_FOUND)),
    );
    world.all(
        |request: &Request| request.host == "cdn.example.net",
        Fate::Say(Answer::new(StatusCode::OK).body(LAYER)),
    );
}

fn included(task: Task) -> Task {
    task.including_nondistributable()
}

fn finish(world: &mut World, task: Task) -> Result<Report, Failure> {
    let task = world.start(task);
    let result = world.run(task);
    world.run_all();
    result
}

#[track_caller]
fn check_told(report: &Report, image: &Image) {
    assert_eq!(report.root.digest, digest(&image.manifest));
    assert_eq!(report.left_out, 1);
    let layer = &report.left_out_layers[0];
    assert_eq!(layer.digest, digest(LAYER));
    assert_eq!(layer.size, LAYER.len() as u64);
}

#[track_caller]
fn holds_layer(memory: &Memory) {
    assert_eq!(memory.bytes(&digest(LAYER)).as_deref(), Some(LAYER));
}

#[track_caller]
fn has_layer(world: &World, model: usize, repository: &str) {
    let layer = windlass_testbed::Digest::sha256(LAYER);
    let bytes = world.models[model].blob_bytes(repository, &layer);
    assert_eq!(bytes.map(|bytes| &bytes[..]), Some(LAYER));
}

/// PULLB-08.
#[test]
fn a_pull_leaves_it_out_and_says_so() {
    let image = windows();
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    let report = finish(&mut world, pull(store)).unwrap();
    check_told(&report, &image);
    check_holds(&memory, &image);
    assert_snapshot!(world.transcript());
}

/// It is a foreign layer by its media type or by its `urls`.
#[test]
fn what_is_foreign() {
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let zstd = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
    for (media_type, urls, is_foreign) in [
        (FOREIGN, &URLS[..], true),
        (FOREIGN, &[], true),
        (NONDISTRIBUTABLE, &[], true),
        (zstd, &[], true),
        (layer, &URLS[..], true),
        (layer, &[], false),
    ] {
        let image = on_foreign(&small(), media_type, LAYER, urls);
        let (mut world, store, _) = pulling(one_at_a_time(), open(), &image);
        let result = finish(&mut world, pull(store));
        match result {
            Ok(report) => check_told(&report, &image),
            Err(failure) => assert_eq!(failure.first().kind(), ErrorKind::NotFound),
        }
        let found = world.lines_with("not distributable").len() == 1;
        assert_eq!(found, is_foreign, "{media_type} {urls:?}");
    }
}

/// An image is of no use without its configuration: that is never left out.
#[test]
fn a_configuration_is_not_foreign() {
    let image = small();
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["config"]["urls"] = URLS[..].into();
    manifest["config"]["mediaType"] = FOREIGN.into();
    let image = windlass_tests::world::scenes::with_manifest(&image, &manifest);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    let report = finish(&mut world, pull(store)).unwrap();
    assert_eq!(report.left_out, 0);
    check_holds(&memory, &image);
}

/// One layer of several images of an index is one layer.
#[test]
fn it_is_told_once() {
    let [one, two] = [b"one".to_vec(), b"two".to_vec()].map(|layer| {
        let image = windlass_testbed::image(&[layer]);
        on_foreign(&image, FOREIGN, LAYER, &URLS)
    });
    let mut model = Model::new(open());
    model.put_image("a/b", None, &one);
    model.put_image("a/b", None, &two);
    let both = index(&[("windows/amd64", &one), ("windows/arm64", &two)]);
    model.put_index("a/b", Some("v1"), &both);
    let mut world = world(one_at_a_time(), model);
    let (store, _) = world.store();
    let report = finish(&mut world, pull(store)).unwrap();
    assert_eq!((report.left_out, report.left_out_layers.len()), (1, 1));
    assert_eq!(world.lines_with("not distributable").len(), 1);
}

/// The list in the report is bounded, the count is not.
#[test]
fn the_list_is_bounded() {
    let mut image = small();
    for n in 0_u8..120 {
        image = on_foreign(&image, FOREIGN, &[n], &[]);
    }
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &image);
    let report = finish(&mut world, pull(store)).unwrap();
    assert_eq!(report.left_out, 120);
    assert_eq!(report.left_out_layers.len(), Report::LISTED);
}

/// From the registry if it has it; then no URL is asked.
#[test]
fn the_registry_is_asked_first() {
    let image = windows();
    let mut model = with_image(open(), &image);
    model.put_blob("a/b", LAYER.to_vec());
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    let report = finish(&mut world, included(pull(store))).unwrap();
    assert_eq!((report.moved, report.left_out), (4, 0));
    holds_layer(&memory);
}

/// From its URLs, in order and without credentials (which the world checks), if the registry has not
/// got it. A pull that left it out is completed by one that does not.
#[test]
fn a_later_pull_completes_the_layout_from_the_urls() {
    let image = windows();
    let (mut world, store, memory) = pulling(one_at_a_time(), bearer(), &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    at_urls(&mut world);
    finish(&mut world, pull(store)).unwrap();
    let report = finish(&mut world, included(pull(store))).unwrap();
    assert_eq!((report.moved, report.left_out), (1, 0));
    assert_eq!(report.bytes, LAYER.len() as u64);
    holds_layer(&memory);
    assert_snapshot!(world.transcript());
}

/// PULLB-07: a URL that leads back to the registry gets no credentials either.
#[test]
fn a_url_at_the_registry_gets_no_credentials() {
    let image = on_foreign(&small(), FOREIGN, LAYER, &["https://reg.example/layer"]);
    let mut world = world(one_at_a_time(), with_image(basic(), &image));
    let (store, _) = world.store();
    world.credential("reg.example", alice(), &["reg.example"]);
    let failure = finish(&mut world, included(pull(store))).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::NotFound, "{failure}");
    let log = world.models[0].log();
    let asked = log.iter().filter(|it| it.target == "/layer");
    let shown = |it: &&windlass_testbed::Entry| it.headers.contains_key("authorization");
    assert_eq!(asked.clone().count(), 1);
    assert_eq!(asked.filter(shown).count(), 0);
}

/// What broke off at one URL goes on there, and at the next one.
#[test]
fn what_came_from_one_url_is_kept_for_the_next() {
    let image = windows();
    let mut config = one_at_a_time();
    config.retry.attempts = 2;
    let (mut world, store, memory) = pulling(config, open(), &image);
    let whole = Answer::new(StatusCode::OK).body(LAYER);
    let first = |request: &Request| request.host == "gone.example";
    world.nth(1, first, Fate::SayCut(whole, 10));
    world.all(first, Fate::Unreachable);
    let rest = Answer::new(StatusCode::PARTIAL_CONTENT)
        .header(
            "content-range",
            format!("bytes 10-{}/{}", LAYER.len() - 1, LAYER.len()),
        )
        .body(&LAYER[10..]);
    let second = |request: &Request| request.host == "cdn.example.net";
    world.all(second, Fate::Say(rest));
    let report = finish(&mut world, included(pull(store))).unwrap();
    assert_eq!(report.left_out, 0);
    holds_layer(&memory);
    assert_snapshot!(world.transcript());
}

/// How a pull of a layer that is nowhere ends, by what its one URL is and says.
fn refused(url: &str, says: Option<Fate>) -> (Failure, World) {
    let image = on_foreign(&small(), FOREIGN, LAYER, &[url]);
    let mut config = one_at_a_time();
    config.retry.attempts = 2;
    let (mut world, store, memory) = pulling(config, open(), &image);
    if let Some(fate) = says {
        world.all(|request: &Request| request.host != "reg.example", fate);
    }
    let failure = finish(&mut world, included(pull(store))).unwrap_err();
    assert_eq!(memory.bytes(&digest(LAYER)), None, "{url}");
    assert!(memory.names().is_empty(), "{url}");
    (failure, world)
}

#[test]
fn a_url_with_a_private_address_is_not_asked() {
    for url in [
        "http://127.0.0.1:9/layer",
        "https://localhost/layer",
        "https://169.254.169.254/layer",
        "http://[fd00::1]/layer",
    ] {
        let (failure, world) = refused(url, None);
        assert_eq!(failure.first().kind(), ErrorKind::Refused, "{url}");
        let text = failure.to_string();
        assert!(text.contains("private address"), "{url}: {text}");
        let registry = "https://reg.example/";
        let asked = world.lines_with("> GET ").len();
        assert_eq!(world.lines_with(registry).len(), asked, "{url}");
    }
}

/// Nor is one that a URL leads to.
#[test]
fn a_url_that_leads_to_a_private_address_is_not_followed() {
    let to = Answer::new(StatusCode::FOUND).header("location", "https://10.0.0.1/layer");
    let (failure, world) = refused("https://cdn.example.net/layer", Some(Fate::Say(to)));
    assert_eq!(failure.first().kind(), ErrorKind::Refused);
    assert!(failure.to_string().contains("private address"), "{failure}");
    assert_eq!(world.lines_with("> GET https://10.0.0.1").len(), 0);
}

#[test]
fn redirects_of_a_url_have_an_end() {
    let to = Answer::new(StatusCode::FOUND).header("location", "/layer");
    let (failure, _) = refused("https://cdn.example.net/layer", Some(Fate::Say(to)));
    assert!(failure.to_string().contains("circle"), "{failure}");
}

#[test]
fn a_url_with_another_layer_is_a_mismatch() {
    let mut wrong = LAYER.to_vec();
    wrong[0] ^= 1;
    let says = Fate::Say(Answer::new(StatusCode::OK).body(wrong));
    let (failure, _) = refused("https://cdn.example.net/layer", Some(says));
    assert_eq!(failure.first().kind(), ErrorKind::Mismatch, "{failure}");
}

#[test]
fn a_url_without_an_end_is_a_mismatch() {
    let endless = vec![0; 1 << 20];
    let says = Fate::Say(Answer::new(StatusCode::OK).body(endless));
    let (failure, _) = refused("https://cdn.example.net/layer", Some(says));
    assert_eq!(failure.first().kind(), ErrorKind::Mismatch, "{failure}");
}

#[test]
fn a_url_that_asks_for_credentials_gets_none() {
    let asks =
        Answer::new(StatusCode::UNAUTHORIZED).header("www-authenticate", "Basic realm=\"x\"");
    let (failure, _) = refused("https://cdn.example.net/layer", Some(Fate::Say(asks)));
    assert_eq!(failure.first().kind(), ErrorKind::Refused, "{failure}");
    assert!(
        failure.to_string().contains("only on direct requests"),
        "{failure}"
    );
}

/// At most `Task::FOREIGN_URLS` of them are tried.
#[test]
fn urls_have_a_bound() {
    let urls: Vec<String> = (0..50)
        .map(|n| format!("https://cdn.example.net/{n}"))
        .collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let image = on_foreign(&small(), FOREIGN, LAYER, &urls);
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &image);
    let gone = Answer::new(StatusCode::NOT_FOUND);
    world.all(
        |request: &Request| request.host != "reg.example",
        Fate::Say(gone),
    );
    let failure = finish(&mut world, included(pull(store))).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::NotFound, "{failure}");
    let asked = world.lines_with("> GET https://cdn.example.net/").len();
    assert_eq!(asked, Task::FOREIGN_URLS);
}

/// The layer is not in the layout, and the manifest is sent as it is. A push that includes it sends it
/// to a registry that has the rest, and nothing but it.
#[test]
fn a_push_leaves_it_out_and_a_later_one_sends_it() {
    let image = windows();
    let (mut world, store, memory) = pushing(one_at_a_time(), open(), &image);
    let report = finish(&mut world, push(store)).unwrap();
    check_told(&report, &image);
    assert_eq!(world.models[0].tag("a/b", "v1"), Some(&image.digest));
    memory.blob(&digest(LAYER), LAYER);
    let report = finish(&mut world, included(push(store))).unwrap();
    assert_eq!((report.moved, report.left_out), (1, 0));
    has_layer(&world, 0, "a/b");
    assert_snapshot!(world.transcript());
}

#[test]
fn a_push_of_what_the_layout_has_not_got_is_refused() {
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &windows());
    let failure = finish(&mut world, included(push(store))).unwrap_err();
    let text = failure.to_string();
    assert!(text.contains(digest(LAYER).as_str()), "{text}");
}

/// Some registries demand ordinary layers also if they have `urls`, but never get the others.
#[test]
fn a_registry_that_demands_layers_with_urls_gets_them() {
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let image = on_foreign(&small(), layer, LAYER, &URLS);
    let image = on_foreign(&image, NONDISTRIBUTABLE, b"never", &URLS);
    let (mut world, store, memory) = pushing(one_at_a_time(), open(), &image);
    memory.blob(&digest(LAYER), LAYER);
    memory.blob(&digest(b"never"), b"never");
    let report = finish(&mut world, push(store)).unwrap();
    assert_eq!(report.left_out, 1);
    assert_eq!(report.left_out_layers[0].digest, digest(b"never"));
    let never = windlass_testbed::Digest::sha256(b"never");
    assert_eq!(world.models[0].blob_bytes("a/b", &never), None);
    assert_eq!(world.models[0].tag("a/b", "v1"), Some(&image.digest));
}

/// It is in the manifest twice, and one of the two must not be sent for its own sake.
#[test]
fn a_layer_that_is_demanded_is_sent_whatever_it_is_besides() {
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    for [first, second] in [[layer, NONDISTRIBUTABLE], [NONDISTRIBUTABLE, layer]] {
        let image = on_foreign(&small(), first, LAYER, &URLS);
        let image = on_foreign(&image, second, LAYER, &URLS);
        let (mut world, store, memory) = pushing(one_at_a_time(), open(), &image);
        memory.blob(&digest(LAYER), LAYER);
        let report = finish(&mut world, push(store)).unwrap();
        assert_eq!(report.left_out, 0);
        has_layer(&world, 0, "a/b");
        assert_eq!(world.models[0].tag("a/b", "v1"), Some(&image.digest));
    }
}

/// A registry that looks for blobs in all repositories says it has the layer that it demands.
#[test]
fn a_layer_that_is_demanded_is_sent_whatever_a_head_says() {
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let image = on_foreign(&small(), layer, LAYER, &URLS);
    let options = Options {
        vouches: true,
        ..open()
    };
    let (mut world, store, memory) = pushing(one_at_a_time(), options, &image);
    memory.blob(&digest(LAYER), LAYER);
    world.models[0].put_blob("else/where", LAYER);
    let report = finish(&mut world, push(store)).unwrap();
    assert_eq!(report.left_out, 0);
    has_layer(&world, 0, "a/b");
    assert_eq!(world.models[0].tag("a/b", "v1"), Some(&image.digest));
}

fn between(world: &mut World) -> Task {
    let (spool, _) = world.store();
    Task::copy(
        CopyTask::new(
            TaskLocation::Registry(reference("reg.example/a/b:v1")),
            TaskLocation::Registry(reference("other.example/c:v1")),
        )
        .spool(spool),
    )
}

fn two_registries(image: &Image) -> World {
    let mut world = world(one_at_a_time(), with_image(open(), image));
    world.registry(&["other.example"], Model::new(open()));
    world
}

#[test]
fn a_copy_leaves_it_out_and_a_later_one_fetches_and_sends_it() {
    let image = windows();
    let mut world = two_registries(&image);
    at_urls(&mut world);
    let task = between(&mut world);
    let report = finish(&mut world, task).unwrap();
    check_told(&report, &image);
    assert_eq!(world.models[1].tag("c", "v1"), Some(&image.digest));
    let task = included(between(&mut world));
    let report = finish(&mut world, task).unwrap();
    assert_eq!((report.moved, report.left_out), (1, 0));
    has_layer(&world, 1, "c");
    assert_snapshot!(world.transcript());
}

/// An index that is there is looked through for images that may lack theirs.
#[test]
fn a_copy_of_an_index_that_is_there_sends_what_is_foreign_below_it() {
    let image = windows();
    let mut model = Model::new(open());
    model.put_image("a/b", None, &image);
    model.put_index("a/b", Some("v1"), &index(&[("windows/amd64", &image)]));
    let mut world = world(one_at_a_time(), model);
    world.registry(&["other.example"], Model::new(open()));
    at_urls(&mut world);
    let task = between(&mut world);
    finish(&mut world, task).unwrap();
    world.take_log(1);
    let task = included(between(&mut world));
    finish(&mut world, task).unwrap();
    has_layer(&world, 1, "c");
    let log = world.take_log(1);
    let puts: Vec<_> = log.iter().filter(|line| line.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 1, "the layer and nothing else: {log:?}");
}

/// What windlass pushed, windlass can pull, also between layouts.
#[test]
fn what_was_pushed_can_be_pulled() {
    let image = windows();
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    finish(&mut world, push(store)).unwrap();
    let (second, memory) = world.store();
    check_told(&finish(&mut world, pull(second)).unwrap(), &image);
    check_holds(&memory, &image);
    let (third, memory) = world.store();
    let layout = |store: StoreId| TaskLocation::Store { store, name: None };
    let copy = Task::copy(CopyTask::new(layout(second), layout(third)));
    check_told(&finish(&mut world, copy).unwrap(), &image);
    check_holds(&memory, &image);
}

/// A process that goes on from a checkpoint still includes the layer.
#[test]
fn a_checkpoint_keeps_what_was_asked_for() {
    let image = windows();
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    at_urls(&mut world);
    world.start(included(pull(store)));
    world.run_until(|world| !world.lines_with("* resolved").is_empty());
    let [task] = world.restart()[..] else {
        panic!("one task")
    };
    assert_eq!(world.run(task).unwrap().left_out, 0);
    world.run_all();
    holds_layer(&memory);
}
