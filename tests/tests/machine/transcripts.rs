//! Whole sessions against models, line by line. A changed snapshot means changed requests or messages.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{
    Config, CopyTask, Descriptor, Done, ErrorKind, Job, Output, Platform, Platforms, Session, Task,
    TaskLocation, Time,
};
use windlass_store::Store as _;
use windlass_testbed::{
    Announced, Answer, Auth, Bearer, Model, OCI_INDEX, Options, Ranges, Storage, UnreadableMount,
    User, index,
};
use windlass_tests::world::scenes::{
    alice, basic, bearer, bearer_with, check_holds, check_pushed, copy_within, digest, fill, is,
    large, one_at_a_time, open, pull, pulling, push, pushing, reference, small, two_platforms,
    with_image, world,
};
use windlass_tests::world::{Fate, World};

#[test]
fn anonymous_pull_with_a_token() {
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), bearer(), &image);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_snapshot!(world.transcript());
}

#[test]
fn push_of_two_layers() {
    let image = small();
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_snapshot!(world.transcript());
}

#[test]
fn pushing_again_is_one_request() {
    let image = small();
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.take_log(0);
    let task = world.start(push(store));
    let report = world.run(task).unwrap();
    assert_eq!(report.moved, 0);
    assert_eq!(world.take_log(0), ["HEAD /v2/a/b/manifests/v1 200"]);
}

#[test]
fn copy_in_one_registry_mounts() {
    let image = small();
    let mut world = world(one_at_a_time(), with_image(open(), &image));
    let task = world.start(copy_within("reg.example/a/b:v1", "reg.example/c:v1", None));
    assert_eq!(world.run(task).unwrap().mounted, 3);
    world.run_all();
    check_pushed(&world, "c", &image);
    assert_snapshot!(world.transcript());
}

/// Pushing with `from`: the source may not be read, which the registry says with a 401 (CNCF).
fn push_from_unreadable(options: Options) -> World {
    let image = small();
    let mut model = with_image(options, &image);
    model.put_image("secret/x", None, &image);
    let mut world = world(one_at_a_time(), model);
    world.credential("reg.example", alice(), &["reg.example"]);
    let (store, memory) = world.store();
    fill(&memory, &image);
    let task = world.start(Task::copy(
        CopyTask::new(
            TaskLocation::Store { store, name: None },
            TaskLocation::Registry(reference("reg.example/c:v1")),
        )
        .mount_from(["secret/x".parse().unwrap()]),
    ));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "c", &image);
    world
}

fn limited(insufficient: StatusCode, unreadable: UnreadableMount) -> Options {
    let user = User::limited("pa55-of-alice").with("c", &["pull", "push"]);
    let mut options = bearer_with(Bearer {
        anonymous_pull: false,
        insufficient,
        ..Bearer::default()
    });
    options.uploads.unreadable_mount = unreadable;
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.users = [("alice".into(), user)].into();
    }
    options
}

#[test]
fn mount_refused_with_401_becomes_a_plain_upload() {
    let options = limited(StatusCode::UNAUTHORIZED, UnreadableMount::Refused);
    let world = push_from_unreadable(options);
    assert_snapshot!(world.transcript());
}

#[test]
fn mount_refused_with_403_becomes_a_plain_upload() {
    let options = limited(StatusCode::FORBIDDEN, UnreadableMount::Refused);
    let world = push_from_unreadable(options);
    assert_snapshot!(world.transcript());
}

#[test]
fn mount_answered_with_a_session_goes_on_in_it() {
    let options = limited(StatusCode::UNAUTHORIZED, UnreadableMount::Session);
    let world = push_from_unreadable(options);
    assert_snapshot!(world.transcript());
}

/// The token is announced to be good for an hour and is refused in the middle.
#[test]
fn token_revoked_during_a_push() {
    let image = large(3000);
    let options = bearer_with(Bearer {
        announced: Announced::Seconds(3600),
        ..Bearer::default()
    });
    let (mut world, store, _) = pushing(one_at_a_time(), options, &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let task = world.start(push(store));
    world.run_until(|world| !world.lines_with("> PUT").is_empty());
    world.models[0].revoke_tokens();
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_cut_pull_goes_on_where_it_stopped() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    world.nth(2, is("GET", "/blobs/"), Fate::Cut(1000));
    world.nth(3, is("GET", "/blobs/"), Fate::Cut(500));
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_pull_that_is_sent_elsewhere() {
    let options = Options {
        storage: Some(Storage::new("https://cdn.example")),
        ..bearer()
    };
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &image);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    for entry in world.models[0].log() {
        let elsewhere = entry.host == "cdn.example";
        assert!(!elsewhere || !entry.headers.contains_key("authorization"));
    }
    assert_snapshot!(world.transcript());
}

#[test]
fn credentials_are_withheld_from_a_realm_on_another_host() {
    let image = small();
    let mut options = bearer();
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.realm = "https://cdn.example/token".into();
    }
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.lines_with("--trust-realm").len(), 1);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_trusted_realm_gets_the_credentials() {
    let image = small();
    let mut options = bearer_with(Bearer {
        anonymous_pull: false,
        ..Bearer::default()
    });
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.realm = "https://cdn.example/token".into();
    }
    let mut config = one_at_a_time();
    let pair = (
        "reg.example".parse().unwrap(),
        "https://cdn.example".parse().unwrap(),
    );
    config.trusted_realms.push(pair);
    let (mut world, store, memory) = pulling(config, options, &image);
    world.credential("reg.example", alice(), &["cdn.example"]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
}

#[test]
fn basic_authentication() {
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), basic(), &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_snapshot!(world.transcript());
}

#[test]
fn basic_without_credentials_is_asked_once() {
    let (mut world, store, _) = pulling(one_at_a_time(), basic(), &small());
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    assert_eq!(
        failure.first().hint(),
        Some("there are no credentials for `reg.example`")
    );
    assert_snapshot!(world.transcript());
}

#[test]
fn wrong_password() {
    let (mut world, store, _) = pushing(one_at_a_time(), bearer(), &small());
    let wrong = CredentialAnswer::Basic {
        username: "alice".into(),
        password: Secret::new("not-hers"),
    };
    world.credential("reg.example", wrong, &["reg.example"]);
    let task = world.start(push(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    assert_snapshot!(world.transcript());
}

fn too_many(after: &str) -> Fate {
    let status = StatusCode::TOO_MANY_REQUESTS;
    Fate::Say(Answer::error(status, "TOOMANYREQUESTS", "slow down").header("retry-after", after))
}

#[test]
fn too_many_requests_then_good() {
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    world.nth(1, is("GET", "/blobs/"), too_many("7"));
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_wait_beyond_the_cap_ends_the_task() {
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &small());
    world.nth(1, is("GET", "/manifests/"), too_many("3600"));
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Temporary);
    assert_eq!(world.now(), Time::from_micros(10_000));
}

#[test]
fn tries_are_exhausted() {
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &large(3000));
    world.all(is("GET", "/blobs/"), Fate::Unanswered);
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Temporary);
    assert_eq!(memory.taken(), []);
    assert_snapshot!(world.transcript());
}

#[test]
fn cancelled_in_the_middle() {
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &large(3000));
    world.nth(2, is("GET", "/blobs/"), Fate::Hang);
    let task = world.start(pull(store));
    world.run_until(|world| world.lines_with("> GET").len() == 3);
    world.cancel(task);
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Cancelled);
    assert_eq!(memory.taken(), []);
    assert_snapshot!(world.transcript());
}

/// The same, cancelled after each line of an undisturbed run: it always ends, nothing is left
/// taken, and nothing is committed that is not whole.
#[test]
fn cancelled_anywhere() {
    for push_or_pull in [true, false] {
        for at in 0..200 {
            let image = small();
            let (mut world, store, memory, task) = if push_or_pull {
                let (world, store, memory) = pushing(Config::default(), bearer(), &image);
                (world, store, memory, push(store))
            } else {
                let (world, store, memory) = pulling(Config::default(), bearer(), &image);
                (world, store, memory, pull(store))
            };
            let _ = store;
            world.credential("reg.example", alice(), &["reg.example"]);
            let task = world.start(task);
            let mut steps = 0;
            while steps < at && world.step() {
                steps += 1;
            }
            world.cancel(task);
            world.run_all();
            assert_eq!(memory.taken(), []);
        }
    }
}

#[test]
fn two_tasks_want_the_same_blob() {
    let image = small();
    let mut model = with_image(open(), &image);
    model.put_image("a/c", Some("v1"), &image);
    let mut world = world(Config::default(), model);
    let (store, memory) = world.store();
    let one = world.start(pull(store));
    let reference = reference("reg.example/a/c:v1");
    let two = world.start(Task::pull(
        reference,
        store,
        Some("two".into()),
        Platforms::All,
    ));
    world.run(one).unwrap();
    world.run(two).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.take_log(0).len(), 2 + 3);
    assert_snapshot!(world.transcript());
}

/// The one who fetches it fails, and the other fetches it from elsewhere.
#[test]
fn a_claim_passes_on() {
    let image = large(3000);
    let mut model = with_image(open(), &image);
    model.put_image("a/c", Some("v1"), &image);
    let mut world = world(Config::default(), model);
    let blob = digest(&image.layers[0]);
    let gone = Answer::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "gone");
    let target = format!("/v2/a/b/blobs/{blob}");
    world.all(move |request| request.target == target, Fate::Say(gone));
    let (store, memory) = world.store();
    let one = world.start(pull(store));
    let reference = reference("reg.example/a/c:v1");
    let two = world.start(Task::pull(
        reference,
        store,
        Some("two".into()),
        Platforms::All,
    ));
    let failure = world.run(one).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::NotFound);
    world.run(two).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_snapshot!(world.transcript());
}

/// The registry says it has a blob, and refuses the manifest because it has not.
#[test]
fn a_push_heals_itself() {
    let image = large(300 * 1024);
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    let layer = format!("/blobs/{}", image.blob_digests()[1]);
    let present = Answer::new(StatusCode::OK).header("content-length", "307200");
    world.nth(
        1,
        move |request| request.method == "HEAD" && request.target.contains(&layer),
        Fate::Say(present),
    );
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_snapshot!(world.transcript());
}

/// IDX-20.
#[test]
fn one_platform_of_an_index() {
    let (model, _, arm64) = two_platforms(open());
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    let wanted = Platforms::One(Platform::new("linux", "arm64"));
    let reference = reference("reg.example/a/b:v1");
    let task = world.start(Task::pull(reference, store, None, wanted));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &arm64);
    assert_snapshot!(world.transcript());
}

/// IDX-20.
#[test]
fn all_platforms_of_an_index() {
    let (model, ..) = two_platforms(open());
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    assert_eq!(memory.blobs().len(), 1 + 2 + 5);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_partial_of_an_earlier_process_is_continued() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    memory.partial(&digest(&image.layers[0]), &image.layers[0][..1000]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.lines_with("bytes=1000-2999").len(), 1);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_range_that_is_not_honoured_starts_over() {
    let image = large(3000);
    let options = Options {
        ranges: Ranges::Ignored,
        ..open()
    };
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &image);
    memory.partial(&digest(&image.layers[0]), &image.layers[0][..1000]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_snapshot!(world.transcript());
}

#[test]
fn shortened_ranges_are_continued() {
    let image = large(3000);
    let options = Options {
        ranges: Ranges::Shortened(900),
        ..open()
    };
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &image);
    memory.partial(&digest(&image.layers[0]), &image.layers[0][..1000]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.lines_with(" bytes=").len(), 3);
}

#[test]
fn a_partial_of_full_size_needs_no_request() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    memory.partial(&digest(&image.layers[0]), &image.layers[0]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.take_log(0).len(), 2);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_partial_that_is_wrong_is_fetched_anew() {
    let image = large(3000);
    for len in [1000, 3000, 4000] {
        let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
        memory.partial(&digest(&image.layers[0]), &vec![0xff; len]);
        let task = world.start(pull(store));
        world.run(task).unwrap();
        world.run_all();
        check_holds(&memory, &image);
    }
}

/// Another process writes the blob: it is asked about now and then, and taken as it is at the end.
#[test]
fn a_busy_partial_is_waited_for() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    let layer = digest(&image.layers[0]);
    let windlass_store::Begun::Ours(mut other) = memory.begin(&layer, 3000).unwrap() else {
        panic!("nobody else has it")
    };
    let task = world.start(pull(store));
    world.run_until(|world| world.lines_with("busy").len() == 2);
    other.append(&image.layers[0]).unwrap();
    world.run_until(|world| world.lines_with("busy 3000").len() == 1);
    other.commit().unwrap();
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_snapshot!(world.transcript());
}

/// The other process stands still: after a minute the blob is fetched apart from it.
#[test]
fn a_busy_partial_that_stands_still() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    let layer = digest(&image.layers[0]);
    let other = memory.begin(&layer, 3000).unwrap();
    let task = world.start(pull(store));
    world.run(task).unwrap();
    assert_eq!(world.lines_with(" apart").len(), 1);
    assert!(world.now().since(Time::ZERO) < Duration::from_secs(62));
    drop(other);
    world.run_all();
    assert_eq!(memory.blobs().len(), 3);
}

#[test]
fn a_deadline() {
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &large(3000));
    world.all(is("GET", "/blobs/"), Fate::Unreachable);
    let task = world.start(pull(store).by(Time::from_micros(1_000_000)));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.errors(), [windlass_core::Error::Deadline]);
    assert_eq!(world.now(), Time::from_micros(1_000_000));
    assert_eq!(memory.taken(), []);
    assert_snapshot!(world.transcript());
}

/// HEAD finds the index while its children are still being read from the store.
#[test]
fn children_that_come_late_do_not_matter() {
    let (model, amd64, arm64) = two_platforms(open());
    let mut world = world(Config::default(), model);
    let (store, memory) = world.store();
    fill(&memory, &amd64);
    fill(&memory, &arm64);
    let both = index(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
    memory.blob(&digest(&both.manifest), &both.manifest);
    let size = both.manifest.len() as u64;
    let root = Descriptor::new(OCI_INDEX, digest(&both.manifest), size);
    memory.tag(Some("both"), &root).unwrap();
    // What is read from the store comes after the second HEAD and before the PUT.
    world.pick = Box::new(|jobs| {
        let head = jobs
            .iter()
            .position(|job| matches!(job, Job::Http(call) if call.request().method() == "HEAD"));
        let step = jobs.iter().position(|job| matches!(job, Job::Store(_)));
        head.or(step).unwrap_or(0)
    });
    let reference = reference("reg.example/a/b:v2");
    let task = world.start(Task::push(
        store,
        Some("both".into()),
        reference,
        Platforms::All,
    ));
    world.run(task).unwrap();
    world.run_all();
    assert_eq!(world.take_log(0).len(), 3);
}

/// A task fails, and is cancelled before its partial could be given back.
#[test]
fn cancelled_while_a_partial_is_given_back() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    let gone = Answer::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "gone");
    world.nth(1, is("GET", "/blobs/"), Fate::Say(gone));
    let task = world.start(pull(store));
    world.run_until(|world| !world.lines_with("< 404").is_empty());
    world.cancel(task);
    world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(memory.taken(), []);
}

/// Two copies to one place go through two spools; the one whose spool is used is cancelled.
#[test]
fn a_spool_goes_away_with_its_task() {
    let image = large(3000);
    let mut config = Config::default();
    config.relays = false;
    let mut world = World::new(config);
    world.registry(&["reg.example"], Model::new(open()));
    world.registry(&["src.example"], with_image(open(), &image));
    let tasks = [(); 2].map(|()| {
        let (spool, _) = world.store();
        let copy = copy_within("src.example/a/b:v1", "reg.example/a/b:v1", Some(spool));
        world.start(copy)
    });
    let asked = "> HEAD https://reg.example/v2/a/b/manifests/sha256";
    world.run_until(|world| world.lines_with(asked).len() == 2);
    let fetches = "> GET https://src.example/v2/a/b/blobs";
    world.run_until(|world| world.lines_with(fetches).len() == 2);
    world.cancel(tasks[0]);
    world.run(tasks[0]).unwrap_err();
    world.run(tasks[1]).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
}

#[test]
fn copy_between_registries_is_relayed() {
    let image = small();
    let mut world = World::new(one_at_a_time());
    world.registry(&["reg.example"], Model::new(open()));
    world.registry(&["src.example"], with_image(open(), &image));
    let (spool, _) = world.store();
    let copy = copy_within("src.example/a/b:v1", "reg.example/a/b:v1", Some(spool));
    let task = world.start(copy);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(
        world.lines_with(" > store ").len(),
        0,
        "the spool is not used"
    );
    assert_snapshot!(world.transcript());
}

#[test]
fn copy_between_registries_goes_through_the_spool() {
    let image = small();
    let mut config = one_at_a_time();
    config.relays = false;
    let mut world = World::new(config);
    world.registry(&["reg.example"], Model::new(open()));
    world.registry(&["src.example"], with_image(open(), &image));
    let (spool, memory) = world.store();
    let copy = copy_within("src.example/a/b:v1", "reg.example/a/b:v1", Some(spool));
    let task = world.start(copy);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(memory.blobs().len(), 0, "the spool is cleared");
    assert_snapshot!(world.transcript());
}

#[test]
fn a_lost_job_is_begun_anew() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    world.nth(2, is("GET", "/blobs/"), Fate::Lost);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
}

/// A worker that dies each time is a failure that ends.
#[test]
fn a_worker_that_always_dies() {
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &large(3000));
    world.all(is("GET", "/blobs/"), Fate::Lost);
    let task = world.start(pull(store));
    world.run(task).unwrap_err();
}

/// The answer to a PUT is lost: it is asked whether the blob arrived, and it did.
#[test]
fn a_lost_answer_to_an_upload() {
    let image = large(3000);
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    world.nth(1, is("PUT", "/blobs/uploads/"), Fate::Unanswered);
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(world.lines_with("> PUT").len(), 2 + 1);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_broken_upload_goes_on() {
    let image = large(300 * 1024);
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    world.nth(2, is("PUT", "/blobs/uploads/"), Fate::Broken(1000));
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_damaged_layout_is_not_pushed() {
    let image = large(3000);
    let (mut world, store, memory) = pushing(one_at_a_time(), open(), &image);
    memory.blob(&digest(&image.layers[0]), &[7; 3000]);
    let task = world.start(push(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Mismatch);
    assert!(world.models[0].blob_digests("a/b").len() < 2);
}

#[test]
fn a_lying_registry() {
    let image = large(3000);
    let mut model = with_image(open(), &image);
    model.put_damaged_blob("a/b", &image.blob_digests()[1], vec![7; 3000]);
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::Mismatch);
    let path = failure
        .first()
        .request()
        .map(windlass_core::error::RequestLine::path);
    assert!(
        path.is_some_and(|path| path.ends_with(image.blob_digests()[1].as_str())),
        "{path:?}"
    );
    assert_eq!(memory.partials().into_values().sum::<usize>(), 0);
    assert_snapshot!(world.transcript());
}

/// RNG: a length no body has, on an answer to a Range.
#[test]
fn an_absurd_length() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    memory.partial(&digest(&image.layers[0]), &image.layers[0][..1000]);
    let absurd = Answer::new(StatusCode::PARTIAL_CONTENT)
        .header("content-range", "bytes 1000-2999/3000")
        .header("content-length", u64::MAX.to_string());
    world.nth(2, is("GET", "/blobs/"), Fate::Say(absurd));
    let task = world.start(pull(store));
    // It is asked again, without the range.
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
}

/// The last steps of a pull in another order than they were asked for.
#[test]
fn jobs_in_the_opposite_order() {
    let image = small();
    let (mut world, store, memory) = pulling(Config::default(), bearer(), &image);
    world.pick = Box::new(|jobs| jobs.len() - 1);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
}

/// A job that came back by itself is not aborted any more.
#[test]
fn a_job_that_is_back_is_not_aborted() {
    let mut session = Session::new(Config::default(), 1);
    let task = session.start(Task::resolve(reference("reg.example/a/b:v1")));
    let Output::Job(job) = session.poll(Time::ZERO) else {
        panic!("there is something to do")
    };
    session.cancel(task);
    session.handle(Done::lost(job.id()), Time::ZERO);
    let output = session.poll(Time::ZERO);
    assert!(matches!(output, Output::Event(..)), "{output:?}");
    let output = session.poll(Time::ZERO);
    assert!(matches!(output, Output::Idle), "{output:?}");
}

/// The connection breaks after the last byte of a blob: it is whole, there is nothing to ask for.
#[test]
fn broken_after_the_last_byte() {
    let image = large(3000);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    world.nth(2, is("GET", "/blobs/"), Fate::Cut(3000));
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.take_log(0).len(), 3);
}

/// What was moved before, and what goes on with it: the tag has been moved in between.
fn restarted(options: Options, platforms: Platforms) -> World {
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &image);
    let task = Task::pull(
        reference("reg.example/a/b:v1"),
        store,
        Some("mine".into()),
        platforms,
    );
    let task = world.start(task.by(Time::from_micros(60_000_000)));
    world.run_until(|world| !world.lines_with("* stored").is_empty());
    let before = world.now();
    world.models[0].put_image("a/b", Some("v1"), &large(100));
    let [task] = world.restart()[..] else {
        panic!("one task of {task}")
    };
    let report = world.run(task).unwrap();
    world.run_all();
    assert_eq!(report.root.digest, digest(&image.manifest));
    assert_eq!(report.moved, 2, "one was moved before, {before} in");
    check_holds(&memory, &image);
    let names = memory.names();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].0.as_deref(), Some("mine"));
    assert_eq!(names[0].1.digest, digest(&image.manifest));
    world
}

#[test]
fn a_resumed_pull_goes_on_with_what_its_tag_stood_for() {
    let world = restarted(open(), Platforms::All);
    assert_snapshot!(world.transcript());
}

#[test]
fn a_resumed_pull_asks_for_its_token_again() {
    let world = restarted(bearer(), Platforms::All);
    assert_snapshot!(world.transcript());
}

/// The index is what is pinned: the same image is chosen from it again, with its platform.
#[test]
fn a_resumed_pull_of_one_platform_chooses_the_same() {
    let (model, _, arm64) = two_platforms(open());
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    let platform = Platform::new("linux", "arm64");
    let task = Task::pull(
        reference("reg.example/a/b:v1"),
        store,
        Some("v1".into()),
        Platforms::One(platform.clone()),
    );
    world.start(task);
    world.run_until(|world| !world.lines_with("* resolved").is_empty());
    world.models[0].put_image("a/b", Some("v1"), &large(100));
    let tasks = world.restart();
    world.run(tasks[0]).unwrap();
    world.run_all();
    check_holds(&memory, &arm64);
    let (_, root) = &memory.names()[0];
    assert_eq!(root.platform.as_deref(), Some(&platform));
    assert_snapshot!(world.transcript());
}

/// A push whose entry was read goes on with that, whatever has the entry's name by now.
#[test]
fn a_resumed_push_goes_on_with_what_it_began_with() {
    let image = small();
    let (mut world, store, memory) = pushing(one_at_a_time(), open(), &image);
    world.start(push(store));
    world.run_until(|world| !world.lines_with("* stored").is_empty());
    let other = large(100);
    for blob in other.blobs().chain([&other.manifest]) {
        memory.blob(&digest(blob), blob);
    }
    let root = Descriptor::new(
        windlass_testbed::OCI_MANIFEST,
        digest(&other.manifest),
        other.manifest.len() as u64,
    );
    memory.tag(None, &root).unwrap();
    let tasks = world.restart();
    world.run(tasks[0]).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_snapshot!(world.transcript());
}

/// A copy checks what exists at the destination.
#[test]
fn a_resumed_copy_in_one_registry_mounts_the_rest() {
    let image = small();
    let mut world = world(one_at_a_time(), with_image(open(), &image));
    world.start(copy_within("reg.example/a/b:v1", "reg.example/c:v1", None));
    world.run_until(|world| !world.lines_with("mounted").is_empty());
    world.models[0].put_image("a/b", Some("v1"), &large(100));
    let tasks = world.restart();
    let report = world.run(tasks[0]).unwrap();
    world.run_all();
    assert_eq!(report.root.digest, digest(&image.manifest));
    check_pushed(&world, "c", &image);
    assert_snapshot!(world.transcript());
}

/// Content that is gone is an error that names it, not something else under the same tag.
#[test]
fn a_resumed_pull_whose_content_is_gone_fails() {
    let image = small();
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &image);
    world.start(pull(store));
    world.run_until(|world| !world.lines_with("* resolved").is_empty());
    let gone = Answer::error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "gone");
    world.all(is("GET", "/manifests/sha256:"), Fate::Say(gone));
    let tasks = world.restart();
    let failure = world.run(tasks[0]).unwrap_err();
    world.run_all();
    assert_eq!(failure.first().kind(), ErrorKind::NotFound);
    let said = failure.to_string();
    assert!(said.contains(digest(&image.manifest).as_str()), "{said}");
}
