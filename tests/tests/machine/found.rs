//! Regressions that the simulation found, each as a scene.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::config::Concurrency;
use windlass_core::reference::Repository;
use windlass_core::{Config, CopyTask, Descriptor, Job, Platform, Platforms, Task, TaskLocation};
use windlass_store::Store as _;
use windlass_testbed::{
    Answer, Bearer, Labels, Model, OCI_INDEX, Request, Storage, Unions, image_for, index,
};
use windlass_tests::world::scenes::{
    alice, bearer, bearer_with, check_holds, check_pushed, copy_within, digest, fill, is, large,
    one_at_a_time, open, pull, pulling, push, pushing, reference, small, spooling,
};
use windlass_tests::world::{Fate, Lot};

fn redirect(location: &str) -> Fate {
    Fate::Say(Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", location))
}

/// Seed 395: somebody else must not choose what is asked of the registry with our credentials.
#[test]
fn credentials_do_not_come_back_with_a_redirect_that_leads_back() {
    let (mut world, store, _) = pulling(one_at_a_time(), bearer(), &small());
    world.credential("reg.example", alice(), &["reg.example"]);
    let blob = |request: &Request| request.target.contains("/blobs/");
    world.nth(1, blob, redirect("https://cdn.example/elsewhere"));
    let elsewhere = |request: &Request| request.host == "cdn.example";
    world.nth(
        1,
        elsewhere,
        redirect("https://reg.example/v2/a/b/tags/list"),
    );
    let task = world.start(pull(store));
    world.run(task).unwrap_err();
    world.run_all();
    let back = world.models[0]
        .log()
        .iter()
        .find(|it| it.target.ends_with("/tags/list"));
    assert!(!back.unwrap().headers.contains_key("authorization"));
    assert_snapshot!(world.transcript());
}

/// Seed 206: a partial that a crash has spoiled is no reason to refuse a good blob of another layout.
#[test]
fn a_wrong_partial_is_copied_anew_between_layouts() {
    let (mut world, source, contents) = pulling(one_at_a_time(), open(), &small());
    fill(&contents, &small());
    let (store, memory) = world.store();
    memory.partial(&digest(b"first layer"), b"worst");
    let place = |store| TaskLocation::Store { store, name: None };
    let task = world.start(Task::copy(CopyTask::new(place(source), place(store))));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &small());
    assert_snapshot!(world.transcript());
}

/// Seed 5667: a copy whose mounts are refused asks what is missing before it sends it again.
#[test]
fn a_copy_that_heals_itself_sends_what_is_missing() {
    let (mut world, _, _) = pulling(one_at_a_time(), open(), &small());
    let (spool, _) = world.store();
    let forbidden = Answer::error(StatusCode::FORBIDDEN, "DENIED", "no mounts");
    world.all(is("POST", "mount="), Fate::Say(forbidden));
    let forgotten = Answer::new(StatusCode::CREATED);
    world.nth(1, is("PUT", "/blobs/uploads/"), Fate::Say(forgotten));
    let copy = copy_within("reg.example/a/b:v1", "reg.example/c/d:v1", Some(spool));
    let task = world.start(copy);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "c/d", &small());
    let puts = world.lines_with("> PUT https://reg.example/v2/c/d/blobs/");
    assert_eq!(puts.len(), 4, "one of the three blobs was sent twice");
    assert_snapshot!(world.transcript());
}

/// Usual world, seed 503: a registry that takes no token for two repositories refuses a pull that
/// went out with the token of a push beside it. The pull's own token is still to be tried.
#[test]
fn a_refused_token_of_another_task_is_followed_by_ones_own() {
    let mut config = Config::default();
    config.in_flight = Concurrency::at_most(2);
    let options = bearer_with(Bearer {
        unions: Unions::RefusedAtRegistry,
        ..Bearer::default()
    });
    let (mut world, store, _) = pulling(config, options, &small());
    world.credential("reg.example", alice(), &["reg.example"]);
    let (source, contents) = world.store();
    fill(&contents, &small());
    // The pull gets the challenge; the push, whose token is for both repositories, gets its token
    // first, and it is not known yet that the registry refuses it.
    world.lot = Box::new(|job| {
        let is_pulled_from = |it: &Repository| it.as_str() == "a/b";
        let holds = if let Job::Credentials(call) = job {
            call.question().repository().is_some_and(is_pulled_from)
        } else if let Job::Http(call) = job {
            call.request().method() == "HEAD"
        } else {
            false
        };
        if holds { Lot::Hold } else { Lot::Run }
    });
    let pulled = world.start(pull(store));
    let pushed = world.start(Task::copy(
        CopyTask::new(
            TaskLocation::Store {
                store: source,
                name: None,
            },
            TaskLocation::Registry(reference("reg.example/c/d:v1")),
        )
        .mount_from(["a/b".parse().unwrap()]),
    ));
    world.run_still();
    world.let_go();
    world.run(pushed).unwrap();
    world.run(pulled).unwrap();
    world.run_all();
    check_pushed(&world, "c/d", &small());
    assert_snapshot!(world.transcript());
}

/// The token service refuses two exchanges at once. The end of the first has the second blob begun again
/// for another task, so the end of the second exchange is nobody's any more.
#[test]
fn the_end_of_an_exchange_is_not_taken_for_that_of_the_next_one() {
    let options = bearer_with(Bearer {
        life: Duration::from_secs(60),
        ..Bearer::default()
    });
    let (mut world, source, _) = pushing(spooling(), options, &small());
    world.credential("reg.example", alice(), &["reg.example"]);
    let mut model = Model::new(open());
    model.put_image("x/y", Some("v1"), &small());
    world.registry(&["two.example"], model);
    let (spool, _) = world.store();
    let slower = Answer::error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "slower");
    let slower = slower.header("retry-after", "59");
    world.nth(1, is("POST", "/blobs/uploads/"), Fate::Say(slower));
    let who = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who is asking?");
    world.nth(2, is("GET", "/token"), Fate::Say(who));
    let copy = copy_within("two.example/x/y:v1", "reg.example/a/b:v1", Some(spool));
    let copied = world.start(copy);
    let pushed = world.start(push(source));
    world.run(copied).unwrap_err();
    world.run(pushed).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &small());
    assert_snapshot!(world.transcript());
}

/// Two tasks send one blob, and the one that its mount was for is cancelled: the session that the mount
/// opened is given back all the same.
#[test]
fn what_a_cancelled_task_has_opened_is_given_back_for_the_next_one() {
    let image = large(300_000);
    let mut config = Config::default();
    config.in_flight = Concurrency::at_most(2);
    let (mut world, source, _) = pushing(config, open(), &image);
    let mounting = |tag: &str| {
        Task::copy(
            CopyTask::new(
                TaskLocation::Store {
                    store: source,
                    name: None,
                },
                TaskLocation::Registry(reference(tag)),
            )
            .mount_from(["other/repository".parse().unwrap()]),
        )
    };
    let (first, second) = (
        mounting("reg.example/a/b:v1"),
        mounting("reg.example/a/b:v2"),
    );
    let (first, second) = (world.start(first), world.start(second));
    // It is not mounted, but there when the registry is asked.
    world.models[0].put_blob("a/b", image.layers[0].clone());
    let layer = digest(&image.layers[0]).to_string();
    world.lot = Box::new(move |job| match job {
        Job::Http(call) if call.request().uri().to_string().contains(&layer) => Lot::Hold,
        Job::Http(_) | Job::Relay(_) | Job::Store(_) | Job::Credentials(_) => Lot::Run,
    });
    world.run_still();
    world.cancel(first);
    world.let_go();
    world.run(first).unwrap_err();
    world.run(second).unwrap();
    world.run_all();
    assert_snapshot!(world.transcript());
}

/// A worker that dies behind a redirect: the retry names the address that was asked.
#[test]
fn a_lost_job_is_told_of_the_address_behind_the_redirect() {
    let (mut world, store, _) = pulling(Config::default(), open(), &small());
    let away = redirect("https://cdn.example/v2/a/b/manifests/v1");
    world.nth(1, |it| it.host == "reg.example", away);
    world.nth(1, |it| it.host == "cdn.example", Fate::Lost);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    let retries = world.lines_with("try 1 failed");
    assert_eq!(retries.len(), 1, "{retries:?}");
    assert!(retries[0].contains("https://cdn.example/"), "{retries:?}");
}

/// Usual world, seed 1820014355927410434: a registry vouches for a layer that two manifests share, and refuses
/// both of them twice. What the second refusal of one has sent, the other one waits for.
#[test]
fn a_manifest_waits_for_what_another_ones_refusal_has_sent() {
    let [amd64, arm64] = ["amd64", "arm64"].map(|architecture| {
        let layers = [format!("for {architecture}").into(), b"shared".to_vec()];
        image_for(&format!("linux/{architecture}"), &layers)
    });
    let both = index(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
    let (mut world, store, memory) = pushing(Config::default(), open(), &amd64);
    fill(&memory, &arm64);
    memory.blob(&digest(&both.manifest), &both.manifest);
    let size = both.manifest.len() as u64;
    let root = Descriptor::new(OCI_INDEX, digest(&both.manifest), size);
    memory.tag(Some("both"), &root).unwrap();
    let shared = digest(b"shared").encoded().to_owned();
    let is_shared = move |request: &Request| request.target.contains(&shared);
    let forgets = {
        let is_shared = is_shared.clone();
        move |request: &Request| request.method == "PUT" && is_shared(request)
    };
    world.nth(1, forgets, Fate::Say(Answer::new(StatusCode::CREATED)));
    let vouches = move |request: &Request| request.method == "HEAD" && is_shared(request);
    world.all(vouches, Fate::Say(Answer::new(StatusCode::OK)));
    let name = Some("both".into());
    let to = reference("reg.example/a/b:v1");
    let task = world.start(Task::push(store, name, to, Platforms::All));
    world.run(task).unwrap();
    world.run_all();
    assert_eq!(world.models[0].tag("a/b", "v1"), Some(&both.digest));
    let layer = windlass_testbed::Digest::sha256(b"shared");
    assert!(world.models[0].blob_bytes("a/b", &layer).is_some());
    let refusals = world.lines_with("sending what is missing");
    assert_eq!(refusals.len(), 4, "each manifest is refused twice");
}

/// Reading world, seed 51: a registry says of everything that it is encoded, which nothing is. A pull goes by the
/// digests, and so does what opens an image.
#[test]
fn an_image_is_opened_whatever_its_encoding_is_said_to_be() {
    let image = small();
    let mut options = open();
    options.labels = Labels {
        encoding: Some("gzip".into()),
        ..Labels::default()
    };
    let (mut world, _, _) = pulling(Config::default(), options, &image);
    let name = reference("reg.example/a/b:v1");
    let task = world.start(Task::open(name, Platform::new("linux", "amd64")));
    let opened = world.finish(task).unwrap().opened().unwrap();
    assert_eq!(opened.config_bytes(), &image.config[..]);
}

/// Reading world, seed 1354: the address of a configuration in the registry's storage has expired. The registry is
/// asked for another one, as it is for blobs that are fetched.
#[test]
fn an_image_is_opened_although_an_address_has_expired() {
    let image = small();
    let mut options = open();
    options.storage = Some(Storage::new("https://cdn.example"));
    let (mut world, _, _) = pulling(Config::default(), options, &image);
    let expired = Answer::new(StatusCode::BAD_REQUEST);
    world.nth(1, |it| it.host == "cdn.example", Fate::Say(expired));
    let name = reference("reg.example/a/b:v1");
    let task = world.start(Task::open(name, Platform::new("linux", "amd64")));
    let opened = world.finish(task).unwrap().opened().unwrap();
    assert_eq!(opened.config_bytes(), &image.config[..]);
}

/// Optional world, seed 3702: a request with tags is redirected to itself. The replay, too, has to see that.
#[test]
fn a_redirect_with_the_tags_of_its_request_replays() {
    let (mut world, store, _) = pushing(Config::default(), open(), &small());
    let digest = digest(&small().manifest);
    let target = format!("https://reg.example/v2/a/b/manifests/{digest}?tag=a.1&tag=a.2");
    world.all(|it| it.target.contains("?tag="), redirect(&target));
    let tags = ["a.1", "a.2"].map(|tag| tag.parse().unwrap());
    let task = world.start(push(store).and_tags(tags));
    let failure = world.run(task).unwrap_err();
    assert!(
        failure.to_string().contains("redirects in a circle"),
        "{failure}"
    );
    world.run_all();
}
