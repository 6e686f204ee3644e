//! Regressions of sessions: each test failed before its fix.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use http::StatusCode;
use windlass_core::call::{Call, TransportErrorKind};
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{
    Config, CopyTask, Descriptor, Digest, Error, ErrorKind, Job, Output, Platform, Platforms,
    Session, StoreError, StoreErrorKind, StoreId, Task, TaskId, TaskLocation, Time,
};
use windlass_store::Store as _;
use windlass_testbed::{
    Answer, Auth, Bearer, Image, Model, OCI_INDEX, OCI_MANIFEST, Options, Ranges, Request,
    Signature, Storage, User, descriptor, image, index,
};
use windlass_tests::world::scenes::{
    alice, basic, bearer, bearer_with, check_holds, check_pushed, copy_within, digest, fill, is,
    large, one_at_a_time, open, pull, pulling, push, pushing, reference, small, spooling,
    two_platforms, with_image, world,
};
use windlass_tests::world::{Fate, Lot, Memory, World};

const TWO: &str = "reg.example/d/e:v1";

/// Jobs that are this step about this blob.
fn step(name: &'static str, digest: &Digest) -> impl Fn(&Job) -> bool + 'static {
    let digest = digest.clone();
    move |job| matches!(job, Job::Store(call) if call.op().name() == name && call.op().digest() == Some(&digest))
}

/// Jobs that are this step about any blob.
fn steps(name: &'static str) -> impl Fn(&Job) -> bool + 'static {
    move |job| matches!(job, Job::Store(call) if call.op().name() == name)
}

/// Holds the jobs that this is true of.
fn hold(world: &mut World, held: impl Fn(&Job) -> bool + 'static) {
    world.lot = Box::new(move |job| if held(job) { Lot::Hold } else { Lot::Run });
}

/// Loses the jobs that this is true of.
fn lose(world: &mut World, lost: impl Fn(&Job) -> bool + 'static) {
    world.lot = Box::new(move |job| if lost(job) { Lot::Lose } else { Lot::Run });
}

/// How many requests went out, with this in their lines.
fn requests(world: &World, method: &str, part: &str) -> usize {
    let lines = world.lines_with(&format!(" > {method} https://"));
    lines.iter().filter(|line| line.contains(part)).count()
}

/// An image whose configuration is `{}`, which no registry needs to be asked for.
fn embedded(name: &str) -> Image {
    let mut image = image(&[]);
    image.config = "{}".into();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[],"annotations":{{"name":"{name}"}}}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", b"{}")
    );
    image.digest = windlass_testbed::Digest::sha256(manifest.as_bytes());
    image.manifest = manifest.into();
    image
}

/// A world with an image at one registry, `src.example`, and an empty one, `reg.example`.
fn two_registries(config: Config, image: &Image) -> World {
    let mut world = World::new(config);
    world.registry(&["reg.example"], Model::new(open()));
    world.registry(&["src.example"], with_image(open(), image));
    world
}

fn forbidden() -> Fate {
    Fate::Say(Answer::error(StatusCode::FORBIDDEN, "DENIED", "not you"))
}

fn gone() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "gone")
}

/// Design §4, contract 6. Only a token service that says 403 is in the way of a HEAD.
#[test]
fn a_resolve_that_gets_no_token_ends() {
    let (mut world, ..) = pulling(Config::default(), bearer(), &small());
    world.all(is("GET", "/token"), forbidden());
    let task = world.start(Task::resolve(reference("reg.example/a/b:v1")));
    let failure = world.resolve(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    let log = world.take_log(0);
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(log[0], "HEAD /v2/a/b/manifests/v1 401");
    assert!(log[1].starts_with("GET /token") && log[1].ends_with(" 403"));
}

/// Design §4, contracts 6 and 8. A denial that is found while polling passes the claim on, and the
/// next one's request needs a token of its own: all of that follows in one poll.
#[test]
fn a_claim_that_passes_on_while_polling_goes_on() {
    let image = image(&[b"layer".to_vec()]);
    let mut model = with_image(bearer(), &image);
    model.put_image("d/e", Some("v1"), &image);
    let mut world = world(Config::default(), model);
    world.credential("reg.example", alice(), &["reg.example"]);
    let (spool, _) = world.store();
    let copy = |from, to| copy_within(from, to, Some(spool));
    let one = world.start(copy("reg.example/a/b:v1", "reg.example/c:v1"));
    hold(
        &mut world,
        |job| matches!(job, Job::Http(call) if call.request().method() == "POST"),
    );
    world.run_still();
    let two = world.start(copy(TWO, "reg.example/c:v2"));
    world.run_still();
    assert_eq!(requests(&world, "POST", "/v2/c/"), 2, "the first one's");
    world.models[0].revoke_tokens();
    world.all(is("GET", "/token"), forbidden());
    world.let_go();
    for task in [one, two] {
        let failure = world.run(task).unwrap_err();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
    }
    world.run_all();
}

/// Design §4, contract 5: a deadline passes just when a partial is to be given back.
#[test]
fn a_deadline_while_a_partial_is_given_back() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(Config::default(), open(), &image);
    world.nth(1, is("GET", "/blobs/"), Fate::Say(gone()));
    // The manifest takes 10 ms, the first blob 10 more.
    let task = world.start(pull(store).by(Time::from_micros(20_000)));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.errors(), [Error::Deadline]);
    assert_eq!(world.lines_with(": release ").len(), 2);
    assert_eq!(memory.taken(), []);
}

/// Design §4, contract 5: the same with a cancellation, for a partial that is spoiled, too.
#[test]
fn a_cancellation_while_a_partial_is_given_back() {
    let image = large(3000);
    for answer in [gone(), Answer::new(StatusCode::OK).body(vec![7; 3000])] {
        let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
        let layer = digest(&image.layers[0]);
        let target = format!("/v2/a/b/blobs/{layer}");
        let spoils = answer.status == StatusCode::OK;
        world.all(move |request| request.target == target, Fate::Say(answer));
        let task = world.start(pull(store));
        // A blob that is wrong is fetched once more.
        let (end, times) = match spoils {
            true => ("stored up to 3000 of 3000", 2),
            false => ("< 404", 1),
        };
        world.run_until(|world| world.lines_with(end).len() == times);
        assert_eq!(
            memory.taken(),
            std::slice::from_ref(&layer),
            "it is about to be given back"
        );
        world.cancel(task);
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Cancelled);
        assert_eq!(memory.taken(), []);
        let discarded = world.lines_with(&format!(": discard {layer}")).len();
        assert_eq!(discarded, usize::from(spoils));
        assert_eq!(memory.partials()[&layer], 0);
    }
}

/// Design §4, contract 8: two copies share a blob in the first one's spool, which is removed with the
/// first task; the second starts over with its own.
#[test]
fn a_copy_outlives_the_one_whose_spool_it_shared() {
    let image = large(3000);
    let layer = digest(&image.layers[0]);
    let get = format!("/blobs/{layer}");
    let put = format!("digest={}", layer.to_string().replace(':', "%3A"));
    for sending in [false, true] {
        let mut world = two_registries(spooling(), &image);
        let (get, put, raw) = (get.clone(), put.clone(), format!("digest={layer}"));
        world.nth(
            1,
            move |request| {
                let sends = request.target.contains(&put) || request.target.contains(&raw);
                match sending {
                    true => request.method == "PUT" && sends,
                    false => request.method == "GET" && request.target.contains(&get),
                }
            },
            Fate::Hang,
        );
        let spools = [(); 2].map(|()| world.store());
        let tasks = [0, 1].map(|n| {
            let (spool, _) = spools[n];
            world.start(copy_within(
                "src.example/a/b:v1",
                "reg.example/a/b:v1",
                Some(spool),
            ))
        });
        world.run_still();
        assert_eq!(world.outside(|_| true), 1, "only what hangs");
        world.cancel(tasks[0]);
        let failure = world.run(tasks[0]).unwrap_err();
        assert_eq!(failure.first().kind(), ErrorKind::Cancelled);
        world.forget(spools[0].0);
        world.run(tasks[1]).unwrap();
        world.run_all();
        check_pushed(&world, "a/b", &image);
        assert_eq!(spools[1].1.blobs(), [].into(), "its spool is cleared");
        let fetched = requests(&world, "GET", &format!("src.example/v2/a/b/blobs/{layer}"));
        assert_eq!(fetched, 2, "once for each spool");
    }
}

/// Design §4, contracts 1 and 6: while the answer about a busy partial is outstanding it is not
/// asked again, however often the session is polled; and then twice a second.
#[test]
fn one_question_at_a_time_about_a_busy_partial() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(Config::default(), open(), &image);
    let layer = digest(&image.layers[0]);
    let windlass_store::Begun::Ours(mut other) = memory.begin(&layer, 3000).unwrap() else {
        panic!("nobody else has it")
    };
    let task = world.start(pull(store));
    world.run_until(|world| world.lines_with("busy").len() == 1);
    let asks = step("begin", &layer);
    hold(&mut world, step("begin", &layer));
    world.run_until(|world| world.outside(&asks) == 1);
    for _ in 0..20 {
        world.run_still();
        assert_eq!(world.outside(&asks), 1);
    }
    world.let_go();
    let since = world.now();
    let before = world.lines_with("busy").len();
    world.run_until(|world| world.now().since(since) >= Duration::from_secs(10));
    assert_eq!(world.lines_with("busy").len() - before, 20);
    other.append(&image.layers[0]).unwrap();
    other.commit().unwrap();
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
}

/// A pull that asks the registry for blobs first: its manifest is there.
fn blobs_first(options: Options, image: &Image) -> (World, Memory, TaskId) {
    let (mut world, store, memory) = pulling(Config::default(), options, image);
    memory.blob(&digest(&image.manifest), &image.manifest);
    let reference = reference(&format!("reg.example/a/b@{}", image.digest));
    let task = world.start(Task::pull(reference, store, None, Platforms::All));
    (world, memory, task)
}

/// Design §4, auth broker: what goes wrong with the probe goes wrong for all that wait for it.
#[test]
fn a_probe_that_fails_ends_what_waits_for_it() {
    let attempts = Config::default().retry.attempts as usize;
    let no = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "no");
    let fates = [
        (
            Fate::NotSent(TransportErrorKind::Tls),
            ErrorKind::Refused,
            1,
        ),
        (
            Fate::NotSent(TransportErrorKind::Connect),
            ErrorKind::Temporary,
            attempts,
        ),
        (Fate::Unanswered, ErrorKind::Temporary, attempts),
        (Fate::Say(no), ErrorKind::Auth, 1),
    ];
    for (fate, kind, expected) in fates {
        let (mut world, memory, task) = blobs_first(open(), &small());
        world.all(|_| true, fate.clone());
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), kind, "{fate:?}: {failure}");
        assert_eq!(requests(&world, "HEAD", "/blobs/"), expected, "{fate:?}");
        assert_eq!(requests(&world, "GET", ""), 0, "{fate:?}");
        assert_eq!(memory.taken(), []);
    }
}

/// HTTP-21: that a HEAD is refused says nothing of a GET.
#[test]
fn a_probe_that_is_refused_does_not_stop_a_pull() {
    for status in [403, 404, 405, 501] {
        let (mut world, memory, task) = blobs_first(open(), &small());
        let status = StatusCode::from_u16(status).unwrap();
        let refused = Answer::error(status, "UNSUPPORTED", "no HEAD");
        world.all(is("HEAD", "/blobs/"), Fate::Say(refused));
        world.run(task).unwrap();
        world.run_all();
        assert_eq!(requests(&world, "HEAD", "/blobs/"), 1);
        check_holds(&memory, &small());
    }
}

/// AUTH-71: once the probe has its challenge it has done its work; its HEAD is not sent again.
#[test]
fn a_probe_that_was_challenged_is_not_repeated() {
    let image = small();
    let (mut world, memory, task) = blobs_first(bearer(), &image);
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    let log = world.take_log(0);
    let heads = log.iter().filter(|line| line.starts_with("HEAD ")).count();
    assert_eq!((heads, log.len()), (1, 1 + 1 + 3), "{log:?}");
}

/// A push of an index that the registry claims to have and has not.
fn claimed_index() -> (World, Vec<Digest>, TaskId) {
    let (_, amd64, arm64) = two_platforms(open());
    let mut world = world(Config::default(), Model::new(open()));
    let (store, memory) = world.store();
    fill(&memory, &amd64);
    fill(&memory, &arm64);
    let both = index(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
    let root = digest(&both.manifest);
    memory.blob(&root, &both.manifest);
    let size = both.manifest.len() as u64;
    let entry = Descriptor::new(OCI_INDEX, root.clone(), size);
    memory.tag(Some("both"), &entry).unwrap();
    let target = format!("/v2/a/b/manifests/{root}");
    let there = Answer::new(StatusCode::OK)
        .header("docker-content-digest", root.to_string())
        .header("content-length", size.to_string());
    world.nth(
        1,
        move |request| request.method == "HEAD" && request.target == target,
        Fate::Say(there),
    );
    let task = world.start(Task::push(
        store,
        Some("both".into()),
        reference("reg.example/a/b:v1"),
        Platforms::All,
    ));
    let children = [&amd64, &arm64].map(|image| digest(&image.manifest));
    (world, children.into(), task)
}

fn check_claimed(world: &mut World, children: &[Digest], task: TaskId) {
    let result = world.run(task);
    assert!(result.is_ok(), "{}", world.transcript());
    world.run_all();
    assert_eq!(world.lines_with("sending what is missing").len(), 1);
    for child in children {
        let child = windlass_testbed::Digest::parse(child.as_str()).unwrap();
        assert!(world.models[0].manifest_bytes("a/b", &child).is_some());
    }
    assert!(world.models[0].tag("a/b", "v1").is_some());
}

/// Mounting or sending a blob that is there makes distribution forget it for a moment. So nothing
/// below a manifest is touched before the registry has said that it lacks the manifest, and if it
/// has it, nothing but the name is put.
#[test]
fn nothing_is_begun_below_a_manifest_that_is_asked_about() {
    let (mut world, children, task) = claimed_index();
    hold(&mut world, |job| match job {
        Job::Http(call) => call.request().method() == "PUT",
        Job::Relay(_) | Job::Store(_) | Job::Credentials(_) => false,
    });
    world.run_still();
    let log = world.take_log(0);
    assert!(log.iter().all(|line| line.starts_with("HEAD ")), "{log:?}");
    assert_eq!((log.len(), world.outside(steps("load"))), (2, 0), "{log:?}");
    assert!(
        children
            .iter()
            .all(|child| world.lines_with(child.as_str()).is_empty())
    );
    world.let_go();
    check_claimed(&mut world, &children, task);
}

/// RNG, HTTP: all of a blob came before the connection broke, so there is nothing to fetch.
#[test]
fn a_whole_body_on_a_broken_connection_is_whole() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    let layer = format!("/blobs/{}", digest(&image.layers[0]));
    let target = layer.clone();
    world.nth(
        1,
        move |request| request.target.ends_with(&target),
        Fate::Cut(3000),
    );
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.lines_with("broke off").len(), 1);
    assert_eq!(requests(&world, "GET", &layer), 1);
    assert_eq!(world.lines_with("* try"), [""; 0]);
}

/// ERR: the status says it all, so an error answer is one also if its body breaks off or is short.
#[test]
fn an_error_answer_with_a_cut_body_is_an_answer() {
    let short = gone().header("content-length", "5000");
    for fate in [Fate::SayCut(short.clone(), 3), Fate::Say(short)] {
        let (mut world, store, _) = pulling(one_at_a_time(), open(), &small());
        world.nth(1, is("GET", "/manifests/"), fate.clone());
        let task = world.start(pull(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::NotFound, "{fate:?}");
        assert_eq!(world.models[0].log().len(), 1, "{fate:?}");
    }
    // A challenge in it counts.
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), bearer(), &image);
    world.nth(1, is("GET", "/manifests/"), Fate::Cut(3));
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &image);
    assert_eq!(world.models[0].log().len(), 3 + 3);
}

/// Design §4, contract 3: what workers die with is tried as often as anything else.
#[test]
fn lost_requests_end() {
    let attempts = Config::default().retry.attempts as usize;
    let image = large(3000);
    let layer = format!("/blobs/{}", digest(&image.layers[0]));
    for part in ["/manifests/", &layer] {
        let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
        let target = part.to_owned();
        world.all(
            move |request: &Request| request.target.contains(&target),
            Fate::Lost,
        );
        let task = world.start(pull(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Temporary);
        assert!(
            failure.to_string().contains("the driver lost the job"),
            "{failure}"
        );
        assert_eq!(requests(&world, "GET", part), attempts);
        assert_eq!(memory.taken(), []);
    }
}

/// Design §4, contract 3: the effect of a lost store operation is unknown; its task fails.
#[test]
fn lost_steps_end() {
    let image = large(3000);
    for name in ["begin", "hash", "commit", "put", "tag"] {
        let (mut world, store, memory) = pulling(Config::default(), open(), &image);
        memory.partial(&digest(&image.layers[0]), &image.layers[0][..1000]);
        lose(&mut world, steps(name));
        let task = world.start(pull(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Refused, "{name}");
        assert!(!world.lines_with("< lost").is_empty(), "{name}");
        assert_eq!(memory.taken(), [], "{name}");
    }
}

/// Design §4, `CredentialCall`: asked once, also if the question is lost; that is in the hint.
#[test]
fn a_lost_question_for_credentials_ends() {
    let (mut world, store, _) = pulling(Config::default(), basic(), &small());
    world.credential("reg.example", alice(), &["reg.example"]);
    lose(&mut world, |job| matches!(job, Job::Credentials(_)));
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    let hint = Some("the question for credentials was lost");
    assert_eq!(failure.first().hint(), hint);
    assert_eq!(world.lines_with("> credentials for").len(), 1);
    assert_eq!(world.models[0].log().len(), 1);
}

/// IDX-15: the configuration is looked at for a warning only.
#[test]
fn a_configuration_too_large_to_look_at_does_not_matter() {
    let image = small();
    let (mut world, store, memory) = pulling(Config::default(), open(), &image);
    let is_config = step("load", &digest(&image.config));
    world.lot = Box::new(move |job| match is_config(job) {
        true => Lot::Fail(StoreError::new(StoreErrorKind::TooLarge, "too large")),
        false => Lot::Run,
    });
    let wanted = Platforms::One(Platform::new("linux", "amd64"));
    let from = reference("reg.example/a/b:v1");
    let task = world.start(Task::pull(from, store, Some("v1".into()), wanted));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.lines_with("failed: too large").len(), 1);
    assert_eq!(
        memory.find(Some("v1")).unwrap().digest,
        digest(&image.manifest)
    );
}

/// IDX-15: a push of an image for another platform than the one wanted says so, also if it was
/// there already.
#[test]
fn a_push_of_another_platform_says_so() {
    let (mut world, store, _) = pushing(Config::default(), open(), &small());
    let push = |platform: &str| {
        let wanted = Platforms::One(platform.parse().unwrap());
        let to = reference("reg.example/a/b:v1");
        Task::push(store, None, to, wanted)
    };
    for (platform, warnings) in [("linux/amd64", 0), ("linux/s390x", 1), ("linux/s390x", 2)] {
        let task = world.start(push(platform));
        world.run(task).unwrap();
        world.run_all();
        let said = world.lines_with("warning: the image is for linux/amd64, not for linux/s390x");
        assert_eq!(said.len(), warnings, "{platform}");
    }
}

/// PULLM-18, PULLB-10 and design §4, graph: a manifest goes in after its blobs, also after one that
/// came with its descriptor; two manifests that share it both wait.
#[test]
fn manifests_wait_for_embedded_blobs() {
    let (one, two) = (embedded("one"), embedded("two"));
    let mut model = Model::new(open());
    for image in [&one, &two] {
        model.put_manifest("a/b", None, OCI_MANIFEST, image.manifest.clone());
    }
    let both = index(&[("linux/amd64", &one), ("linux/arm64", &two)]);
    model.put_index("a/b", Some("v1"), &both);
    let mut world = world(Config::default(), model);
    let (store, memory) = world.store();
    let shared = digest(b"{}");
    hold(&mut world, step("put", &shared));
    let task = world.start(pull(store));
    world.run_still();
    assert_eq!(requests(&world, "GET", "/manifests/"), 3);
    assert_eq!(world.outside(step("put", &shared)), 1);
    assert_eq!(world.lines_with(": put ").len(), 1, "no manifest yet");
    world.let_go();
    let report = world.run(task).unwrap();
    world.run_all();
    assert_eq!((report.moved, report.present), (0, 1));
    assert_eq!(requests(&world, "GET", "/blobs/"), 0);
    assert_eq!(world.lines_with(": put ").len(), 1 + 2 + 1);
    assert_eq!(memory.blobs().len(), 1 + 2 + 1);
}

/// Runs to the end and looks at the session after each step.
#[track_caller]
fn check_shows_nothing(world: &mut World, secrets: &[&str]) {
    let mut steps = 0;
    while world.step() {
        steps += 1;
        assert!(steps < 10_000);
        let shown = format!("{:?}", world.session);
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} is in {shown}");
        }
        for token in world.models[0].tokens().keys() {
            assert!(!shown.contains(token), "a token is in {shown}");
        }
    }
    let log: String = world.take_log(0).join("\n");
    for secret in secrets.iter().filter(|secret| secret.starts_with("query-")) {
        assert!(log.contains(secret), "{secret} was never sent");
    }
}

/// Design §9 and SEC: nothing that can be printed has a secret in it, at any time.
#[test]
fn a_session_shows_no_query_and_no_secret() {
    let image = image(&[b"layer".to_vec()]);
    let mut options = bearer_with(Bearer {
        anonymous_pull: false,
        ..Bearer::default()
    });
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.realm = "https://reg.example/token?key=query-of-realm".into();
    }
    options.storage = Some(Storage::new("https://cdn.example"));
    let away = |to: &str| Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", to);
    let secrets = ["query-of-realm", "query-of-redirect", "pa55-of-alice"];

    let (mut world, store, memory) = pulling(one_at_a_time(), options.clone(), &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let elsewhere = away("https://cdn.example/hop?sig=query-of-redirect");
    world.nth(1, is("GET", "/v2/a/b/blobs/"), Fate::Say(elsewhere));
    let back = Answer::new(StatusCode::OK).body(image.config.clone());
    world.all(is("GET", "query-of-redirect"), Fate::Say(back));
    world.start(pull(store));
    check_shows_nothing(&mut world, &secrets);
    check_holds(&memory, &image);

    let secrets = ["query-of-realm", "query-of-upload", "pa55-of-alice"];
    let (mut world, store, _) = pushing(one_at_a_time(), options, &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let session = "/v2/a/b/blobs/uploads/x?_state=query-of-upload";
    let opened = Answer::new(StatusCode::ACCEPTED).header("location", session);
    world.nth(1, is("POST", "/blobs/uploads/"), Fate::Say(opened));
    world.start(push(store));
    check_shows_nothing(&mut world, &secrets);
    check_pushed(&world, "a/b", &image);
}

fn relay(world: &mut World, to: &str, spool: StoreId) -> TaskId {
    world.start(copy_within("src.example/a/b:v1", to, Some(spool)))
}

/// Design §4, contract 8: no task relies on a blob that is being removed from a spool.
#[test]
fn a_blob_that_leaves_a_spool_is_spooled_again() {
    let image = large(3000);
    let layer = digest(&image.layers[0]);
    let mut world = two_registries(spooling(), &image);
    for model in &mut world.models {
        model.options_mut().uploads.mounts = false;
    }
    let (spool, memory) = world.store();
    let one = relay(&mut world, "reg.example/a/b:v1", spool);
    hold(&mut world, step("remove", &layer));
    world.run_still();
    assert_eq!(world.outside(step("remove", &layer)), 1);
    let two = relay(&mut world, "reg.example/c:v1", spool);
    world.run_still();
    let begun = format!(": begin {layer}");
    assert_eq!(world.lines_with(&begun).len(), 1, "not before it is gone");
    world.let_go();
    world.run(one).unwrap();
    world.run(two).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    check_pushed(&world, "c", &image);
    assert_eq!(world.lines_with(&begun).len(), 2);
    assert_eq!(memory.blobs(), [].into());
}

/// The same with many orders of jobs.
#[test]
fn two_copies_through_one_spool_do_not_disturb_each_other() {
    let image = small();
    for picks in 0..4 {
        for sent_first in 0..40 {
            let mut world = two_registries(spooling(), &image);
            let mut turn = 0_usize;
            world.pick = Box::new(move |jobs| {
                turn += 1;
                match picks {
                    0 => 0,
                    1 => jobs.len() - 1,
                    2 => turn % jobs.len(),
                    _ => (turn * turn / 3) % jobs.len(),
                }
            });
            let (spool, memory) = world.store();
            let one = relay(&mut world, "reg.example/a/b:v1", spool);
            for _ in 0..sent_first {
                world.step();
            }
            let two = relay(&mut world, "reg.example/c:v1", spool);
            for task in [one, two] {
                let result = world.run(task);
                assert!(result.is_ok(), "{}", world.transcript());
            }
            world.run_all();
            check_pushed(&world, "a/b", &image);
            check_pushed(&world, "c", &image);
            assert_eq!(memory.taken(), []);
            let left = memory.blobs();
            assert!(left.is_empty(), "{left:?}: {}", world.transcript());
        }
    }
}

/// Two copies through one spool, at the same time: when both are through, it is as it was.
#[test]
fn two_copies_through_one_spool_clear_it() {
    let image = small();
    let mut world = two_registries(spooling(), &image);
    let (spool, memory) = world.store();
    let one = relay(&mut world, "reg.example/a/b:v1", spool);
    let two = relay(&mut world, "reg.example/c:v1", spool);
    world.run(one).unwrap();
    world.run(two).unwrap();
    world.run_all();
    assert_eq!(memory.blobs(), [].into());
}

/// A copy that is cancelled while it sends leaves nothing in a spool that stays.
#[test]
fn a_cancelled_copy_clears_its_spool() {
    let image = large(3000);
    let mut world = two_registries(spooling(), &image);
    let (spool, memory) = world.store();
    let sends = |request: &Request| request.method == "PUT" && request.body.len() == 3000;
    world.nth(1, sends, Fate::Hang);
    let task = relay(&mut world, "reg.example/a/b:v1", spool);
    world.run_still();
    world.cancel(task);
    world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(memory.blobs(), [].into());
}

/// The same while a blob is getting its name there.
#[test]
fn a_copy_that_is_cancelled_too_late_clears_its_spool() {
    let image = large(3000);
    let mut world = two_registries(spooling(), &image);
    let (spool, memory) = world.store();
    let task = relay(&mut world, "reg.example/a/b:v1", spool);
    hold(&mut world, steps("commit"));
    world.run_still();
    world.cancel(task);
    world.let_go();
    world.run(task).unwrap_err();
    world.run_all();
    let left = memory.blobs();
    assert!(left.is_empty(), "{left:?}: {}", world.transcript());
}

/// What was in the user's own spool before stays there, and is not fetched.
#[test]
fn a_blob_that_was_in_the_spool_before_stays() {
    let image = large(3000);
    let layer = digest(&image.layers[0]);
    let mut world = two_registries(spooling(), &image);
    let (spool, memory) = world.store();
    memory.blob(&layer, &image.layers[0]);
    let task = relay(&mut world, "reg.example/a/b:v1", spool);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let left: Vec<Digest> = memory.blobs().into_keys().collect();
    assert_eq!(left, std::slice::from_ref(&layer));
    assert_eq!(requests(&world, "GET", &format!("/blobs/{layer}")), 0);
    assert_eq!(world.lines_with(": remove ").len(), 1, "the configuration");
}

/// PULLM-10: a registry that says another digest than was asked for is not believed.
#[test]
fn resolving_a_digest_refuses_another() {
    let image = small();
    let (mut world, ..) = pulling(Config::default(), open(), &image);
    let other = Answer::new(StatusCode::OK)
        .header("content-type", OCI_MANIFEST)
        .header("content-length", "5")
        .header("docker-content-digest", digest(b"other").to_string());
    world.all(is("HEAD", "/manifests/"), Fate::Say(other));
    let target = reference(&format!("reg.example/a/b@{}", image.digest));
    let task = world.start(Task::resolve(target));
    let failure = world.resolve(task).unwrap_err();
    world.run_all();
    let Error::Mismatch(mismatch) = failure.first() else {
        panic!("{failure}")
    };
    let (expected, found) = (mismatch.expected.digest(), mismatch.found.digest());
    assert_eq!(expected.unwrap().as_str(), image.digest.as_str());
    assert_eq!(found.unwrap().as_str(), digest(b"other").as_str());
    assert_eq!(world.models[0].log().len(), 1);
}

/// Design §4, contract 5: a cancellation asks for the end of steps, too, and waits for it.
#[test]
fn steps_that_are_outside_are_aborted() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(Config::default(), open(), &image);
    hold(&mut world, steps("begin"));
    let task = world.start(pull(store));
    world.run_still();
    assert_eq!(world.outside(steps("begin")), 2);
    world.cancel(task);
    world.cancel(task);
    world.run_still();
    assert_eq!(world.lines_with("> abort").len(), 2);
    assert_eq!(
        world.lines_with("* failed"),
        [""; 0],
        "not before they are back"
    );
    world.let_go();
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Cancelled);
    assert_eq!(
        failure.errors().len(),
        1,
        "the second time says nothing new"
    );
    assert_eq!(memory.taken(), []);

    // A node's step.
    let (mut world, store, _) = pushing(Config::default(), open(), &image);
    hold(&mut world, steps("find"));
    let task = world.start(push(store));
    world.run_still();
    world.cancel(task);
    world.run_still();
    assert_eq!(world.lines_with("> abort").len(), 1);
    assert_eq!(
        world.lines_with("* failed"),
        [""; 0],
        "not before it is back"
    );
    world.let_go();
    world.run(task).unwrap_err();
}

/// PUSHB-54: however a mount fails, a plain upload is tried, once.
#[test]
fn a_mount_that_fails_becomes_a_plain_upload() {
    let image = small();
    for status in [500, 501, 503] {
        let mut world = world(Config::default(), with_image(open(), &image));
        let no = Answer::error(StatusCode::from_u16(status).unwrap(), "UNKNOWN", "no mount");
        world.all(is("POST", "mount="), Fate::Say(no));
        let (spool, _) = world.store();
        let copy = copy_within("reg.example/a/b:v1", "reg.example/c:v1", Some(spool));
        let task = world.start(copy);
        let report = world.run(task).unwrap();
        world.run_all();
        check_pushed(&world, "c", &image);
        assert_eq!((report.moved, report.mounted), (3, 0));
        let log = world.take_log(0);
        let posts = |mounts: bool| {
            let posts = log.iter().filter(|line| line.starts_with("POST "));
            posts
                .filter(|line| line.contains("mount=") == mounts)
                .count()
        };
        assert_eq!((posts(true), posts(false)), (3, 3), "{status} {log:#?}");
    }
}

/// RNG-03: no arithmetic with a length that no body has.
#[test]
fn a_length_near_the_largest_number_is_refused() {
    let image = large(3000);
    let layer = digest(&image.layers[0]);
    for length in [u64::MAX, u64::MAX - 999, u64::MAX - 1000] {
        let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
        memory.partial(&layer, &image.layers[0][..1000]);
        let absurd = Answer::new(StatusCode::PARTIAL_CONTENT)
            .header("content-range", "bytes 1000-2999/3000")
            .header("content-length", length.to_string());
        let target = format!("/v2/a/b/blobs/{layer}");
        world.all(move |request| request.target == target, Fate::Say(absurd));
        let task = world.start(pull(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        // A second response to a request without a range is none.
        assert_eq!(failure.first().kind(), ErrorKind::Refused, "{failure}");
        assert_eq!(requests(&world, "GET", "bytes=1000-2999"), 1);
        assert!(!memory.blobs().contains_key(&layer));
    }
}

/// Each partial holds a file open: 64 at once, and all of them in the end, or given back.
#[test]
fn at_most_64_partials_are_open() {
    let layers: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; 3]).collect();
    let image = image(&layers);
    for cancelled in [false, true] {
        let (mut world, store, memory) = pulling(Config::default(), open(), &image);
        let task = world.start(pull(store));
        let mut most = 0;
        let mut steps = 0;
        while world.step() {
            most = most.max(memory.taken().len());
            steps += 1;
            if cancelled && steps == 400 {
                world.cancel(task);
            }
        }
        assert_eq!(most, 64);
        assert_eq!(memory.taken(), []);
        match world.run(task) {
            Ok(_) => check_holds(&memory, &image),
            Err(failure) => assert!(cancelled, "{failure}"),
        }
        assert_eq!(cancelled, memory.blobs().len() < 202);
    }
}

/// SEC-06, IDX-21 and contract 8: two manifests say different sizes of one blob; its bytes decide.
#[test]
fn the_size_that_is_true_wins() {
    let image = large(3000);
    let layer = digest(&image.layers[0]);
    let cases = [4000, 2000].map(|lie| [("d/e", lie), ("a/b", lie)]);
    let cases = cases.concat().into_iter();
    for ((repository, lie), honest_first) in cases.flat_map(|case| [(case, true), (case, false)]) {
        let mut model = with_image(open(), &image);
        let manifest = String::from_utf8(image.manifest.to_vec()).unwrap();
        let lying = manifest.replace(r#""size":3000"#, &format!(r#""size":{lie}"#));
        assert_ne!(lying, manifest);
        for blob in image.blobs() {
            model.put_blob(repository, blob.clone());
        }
        model.put_manifest(repository, Some("lie"), OCI_MANIFEST, lying);
        let mut world = world(Config::default(), model);
        let (store, memory) = world.store();
        let from_other = || {
            let name = Some("lie".into());
            let from = format!("reg.example/{repository}:lie");
            Task::pull(reference(&from), store, name, Platforms::All)
        };
        let (honest, liar) = if honest_first {
            let honest = world.start(pull(store));
            (honest, world.start(from_other()))
        } else {
            let liar = world.start(from_other());
            (world.start(pull(store)), liar)
        };
        let result = world.run(honest);
        assert!(result.is_ok(), "{}", world.transcript());
        let failure = world.run(liar).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Mismatch, "{failure}");
        assert_eq!(memory.blobs()[&layer], image.layers[0]);
        assert_eq!(memory.taken(), []);
        memory.find(Some("lie")).unwrap_err();
    }
}

/// PUSHB-22: what the registry finds wrong twice is wrong.
#[test]
fn a_blob_is_sent_twice_at_most() {
    let image = image(&[b"layer".to_vec()]);
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    let no = Answer::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not the digest");
    world.all(is("PUT", "/blobs/uploads/"), Fate::Say(no));
    let task = world.start(push(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Mismatch, "{failure}");
    assert_eq!(requests(&world, "PUT", ""), 2);
}

/// Design §5: pushing again is one request, also to a reference without a tag.
#[test]
fn pushing_to_a_digest_that_is_there_is_one_request() {
    let image = small();
    let mut world = world(Config::default(), with_image(open(), &image));
    let (store, memory) = world.store();
    fill(&memory, &image);
    let to = reference(&format!("reg.example/a/b@{}", image.digest));
    let push = |to| {
        Task::copy(CopyTask::new(
            TaskLocation::Store { store, name: None },
            TaskLocation::Registry(to),
        ))
    };
    // One at a time, the question before the blobs.
    world.pick = Box::new(|jobs| {
        let head = jobs
            .iter()
            .position(|job| matches!(job, Job::Http(call) if call.request().method() == "HEAD"));
        head.unwrap_or(0)
    });
    let task = world.start(push(to));
    let report = world.run(task).unwrap();
    world.run_all();
    assert_eq!(report.moved, 0);
    assert_eq!(report.root.digest, digest(&image.manifest));
    let log = world.take_log(0);
    let expected = format!("HEAD /v2/a/b/manifests/{} 200", image.digest);
    assert_eq!(log, [expected]);
}

/// RNG-05: less than was asked for is legal, crumbs for ever are not.
#[test]
fn a_blob_in_crumbs_is_given_up() {
    let image = large(3000);
    let options = Options {
        ranges: Ranges::Shortened(10),
        ..open()
    };
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &image);
    let layer = digest(&image.layers[0]);
    memory.partial(&layer, &image.layers[0][..1]);
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert!(
        failure.to_string().contains("per range request"),
        "{failure}"
    );
    assert_eq!(requests(&world, "GET", &format!("/blobs/{layer}")), 16 + 1);
    assert_eq!(memory.partials()[&layer], 1 + 10 * 17, "what came is kept");
    assert_eq!(memory.taken(), []);
}

/// RNG-05: pieces of some size are no crumbs, however many they are.
#[test]
fn a_blob_in_many_pieces_is_fetched() {
    let image = large(40 * 64 * 1024);
    let options = Options {
        ranges: Ranges::Shortened(64 * 1024),
        ..open()
    };
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &image);
    let layer = digest(&image.layers[0]);
    memory.partial(&layer, &image.layers[0][..64 * 1024]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(requests(&world, "GET", &format!("/blobs/{layer}")), 39);
}

/// The next HTTP job, if one goes out now.
fn call_at(session: &mut Session, now: Time) -> Option<Box<Call>> {
    loop {
        match session.poll(now) {
            Output::Job(Job::Http(call)) => return Some(call),
            Output::Job(job) => panic!("no other job is expected: {job:?}"),
            Output::Abort(_) | Output::Event(..) => {}
            Output::Wait(_) | Output::Idle => return None,
        }
    }
}

/// What a registry asked of a task that is over holds for the others: it is the same registry.
#[test]
fn later_said_to_who_is_gone_is_later_for_all() {
    let second = |count: u64| Time::from_micros(count * 1_000_000);
    let mut session = Session::new(Config::default(), 1);
    let gone = session.start(Task::resolve(reference(TWO)));
    let mut call = call_at(&mut session, second(0)).unwrap();
    session.cancel(gone);
    let head = http::Response::builder()
        .status(429)
        .header("retry-after", "5");
    call.head(head.body(()).unwrap());
    session.handle(call.finish(Ok(())), second(0));
    session.start(Task::resolve(reference(TWO)));
    assert!(call_at(&mut session, second(1)).is_none());
    assert!(call_at(&mut session, second(4)).is_none());
    assert!(call_at(&mut session, second(5)).is_some());
}

/// HTTP-15: an address of the storage is good for a minute, and a request may have waited for longer:
/// the registry is asked for another one.
#[test]
fn an_address_of_the_storage_that_has_expired_is_asked_for_anew() {
    let image = large(3000);
    let storage = Storage {
        signature: Signature::Life(Duration::from_secs(30)),
        ..Storage::new("https://cdn.example")
    };
    let options = Options {
        storage: Some(storage),
        ..open()
    };
    let (mut world, store, memory) = pulling(Config::default(), options, &image);
    // The first is told to wait, so the second one does, and the address that it got expires.
    let slower = Answer::error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "slower");
    let slower = Fate::Say(slower.header("retry-after", "50"));
    world.nth(1, is("GET", "/blobs/"), slower);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.lines_with("< 403").len(), 1);
    // A manifest, and two blobs that are asked for twice each.
    assert_eq!(requests(&world, "GET", "reg.example/"), 1 + 2 + 2);
    assert_eq!(requests(&world, "GET", "cdn.example/"), 1 + 2);
}

/// HTTP-15, ERR-01: storage that does not take what the registry signs a moment ago is the end, and it
/// is not the credentials' fault.
#[test]
fn storage_that_refuses_for_good_is_asked_twice() {
    let options = Options {
        storage: Some(Storage::new("https://cdn.example")),
        ..open()
    };
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &small());
    let body = "<Error><Code>AccessDenied</Code><Message>not from there</Message></Error>";
    let refusal = Answer::new(StatusCode::FORBIDDEN).body(body);
    let at_storage = |request: &Request| request.host == "cdn.example";
    world.all(at_storage, Fate::Say(refusal));
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(memory.taken(), []);
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    let said = failure.first().to_string();
    assert!(
        said.ends_with("403 with the registry's signed URL (AccessDenied: not from there)"),
        "{said}"
    );
    assert_eq!(
        failure.first().hint(),
        Some("the registry's storage may not serve your network")
    );
    // And the next blob had begun.
    assert_eq!(requests(&world, "GET", "reg.example/"), 1 + 2 + 1);
    assert_eq!(requests(&world, "GET", "cdn.example/"), 2);
}

/// A fresh token that is refused once may be a trouble that passes. It was held against everything that
/// the session pushed to that repository from then on.
#[test]
fn one_refused_token_is_not_held_against_later_pushes() {
    let image = small();
    let (mut world, store, _) = pushing(one_at_a_time(), bearer(), &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let refusal = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "not now");
    world.nth(2, is("HEAD", "/manifests/"), Fate::Say(refusal));
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
}

/// An open registry that says once that it wants tokens: what it wants is found out again when there
/// are none to be had.
#[test]
fn a_challenge_that_was_a_mistake_is_forgotten() {
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let mistake = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who?").header(
        "www-authenticate",
        r#"Bearer realm="https://reg.example/token""#,
    );
    world.nth(1, is("GET", "/manifests/"), Fate::Say(mistake));
    let first = world.start(pull(store));
    let failure = world.run(first).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Refused, "{failure}");
    let second = world.start(pull(store));
    world.run(second).unwrap();
    world.run_all();
    check_holds(&memory, &image);
}

/// An identity token, and a service that says with its token what it is good for: neither that scope
/// nor `Bearer` is a secret. The scene is replayed from its tape, as all of them are.
#[test]
fn what_a_token_is_good_for_is_no_secret() {
    let user = User::limited("pa55-of-alice").with("a/b", &["pull"]);
    let mut options = bearer_with(Bearer {
        anonymous_pull: false,
        ..Bearer::default()
    });
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.users = [("alice".into(), user)].into();
    }
    let (mut world, store, _) = pushing(one_at_a_time(), options, &small());
    let refresh = world.models[0].issue_refresh_token("alice");
    let refresh = CredentialAnswer::Refresh(Secret::new(refresh));
    world.credential("reg.example", refresh, &["reg.example"]);
    let task = world.start(push(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    assert_eq!(requests(&world, "POST", "/token"), 1);
    let tape = world.tape();
    let scope = r#"scope=\"repository:a/b:pull,push\""#;
    assert!(tape.contains(scope), "{tape}");
}

/// A page in answer to a request for a manifest: people are told how it begins, and no more of it is
/// on the tape.
#[test]
fn a_page_instead_of_a_manifest() {
    let page = r#"<!DOCTYPE html><meta name="csrf-token" content="0123456789"><p>log in</p>"#;
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &small());
    let page = Answer::new(StatusCode::OK).body(page);
    world.nth(1, is("GET", "/manifests/"), Fate::Say(page));
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    let said = failure.first().to_string();
    assert!(
        said.ends_with("not a manifest: it begins with `<!DOCTYPE`"),
        "{said}"
    );
    let tape = world.tape();
    assert!(
        !tape.contains("csrf") && !tape.contains("0123456789"),
        "{tape}"
    );
}

/// A page under a digest, twice: the tape has neither, and replays to the same two requests.
#[test]
fn a_page_under_a_digest_is_not_on_the_tape() {
    let page = r#"<html><meta name="csrf-token" content="0123456789"></html>"#;
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &small());
    world.all(
        is("GET", "/manifests/"),
        Fate::Say(Answer::new(StatusCode::OK).body(page)),
    );
    let named = format!("reg.example/a/b@{}", digest(&small().manifest));
    let task = Task::pull(reference(&named), store, None, Platforms::All);
    let task = world.start(task);
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Mismatch);
    let tape = world.tape();
    assert!(
        !tape.contains("csrf") && !tape.contains("0123456789"),
        "{tape}"
    );
    let replay = windlass_core::tape::replay(&tape);
    assert_eq!(replay.end, Ok(()), "{tape}");
    let asked = "> GET https://reg.example/v2/a/b/manifests/sha256:";
    let asked = replay.lines.iter().filter(|line| line.contains(asked));
    assert_eq!(asked.count(), 2, "{tape}");
}

/// Of an image's configuration the platform is on the tape, and what is said about it.
#[test]
fn a_configuration_is_not_on_the_tape() {
    let mut image = small();
    let secrets =
        r#"{"os":"linux","architecture":"arm64","config":{"Env":["KEY=0123456789"]},"layers":[]}"#;
    image.config = secrets.into();
    image.manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[]}}"#,
        descriptor(
            "application/vnd.oci.image.config.v1+json",
            secrets.as_bytes()
        )
    )
    .into();
    image.digest = windlass_testbed::Digest::sha256(&image.manifest);
    image.layers.clear();
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &image);
    let wanted = Platforms::One(Platform::new("linux", "amd64"));
    let task = Task::pull(reference("reg.example/a/b:v1"), store, None, wanted);
    let task = world.start(task);
    world.run(task).unwrap();
    world.run_all();
    let warning = "* warning: the image is for linux/arm64, not for linux/amd64";
    assert_eq!(world.lines_with(warning).len(), 1);
    let tape = world.tape();
    assert!(
        tape.contains(warning) && !tape.contains("0123456789"),
        "{tape}"
    );
}

/// An error that quotes a signed URL, also one that was cut, and one that is no text: what signs the URL
/// is neither shown nor on the tape.
#[test]
fn what_signs_a_url_is_not_shown() {
    let url = "https://x.blob.example/a?sv=1&sig=0123456789";
    let quoted =
        format!(r#"{{"errors":[{{"code":"UNKNOWN","message":"Get \"{url}\": timeout"}}]}}"#)
            .replace('&', "\\u0026");
    let of = |body: &[u8]| {
        let (mut world, store, _) = pulling(one_at_a_time(), open(), &small());
        let refusal = Answer::new(StatusCode::BAD_REQUEST).body(body.to_vec());
        world.nth(1, is("GET", "/manifests/"), Fate::Say(refusal));
        let task = world.start(pull(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        let tape = world.tape();
        assert!(!tape.contains("0123456789"), "{tape}");
        failure.first().to_string()
    };
    let said = of(quoted.as_bytes());
    let shown = r#"(UNKNOWN: Get "https://x.blob.example/a?***": timeout)"#;
    assert!(said.ends_with(shown), "{said}");
    let said = of(&quoted.as_bytes()[..90]);
    assert!(said.ends_with("(JSON that cannot be read)"), "{said}");
    let said = of(b"\x1f\x8b0123456789");
    assert!(said.ends_with("(12 bytes that are no text)"), "{said}");
}
