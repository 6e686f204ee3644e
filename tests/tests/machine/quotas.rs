//! What a registry says of how many requests it still allows, and what the user does.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::{Config, Task, Time};
use windlass_testbed::{Answer, Model};
use windlass_tests::world::scenes::{
    alice, bearer, check_holds, check_pushed, is, one_at_a_time, open, pull, pulling, push,
    pushing, reference, small, with_image, world,
};
use windlass_tests::world::{Fate, World};

const fn second(count: u64) -> Time {
    Time::from_micros(count * 1_000_000)
}

fn later(seconds: &str) -> Fate {
    let status = StatusCode::TOO_MANY_REQUESTS;
    Fate::Say(Answer::error(status, "TOOMANYREQUESTS", "later").header("retry-after", seconds))
}

/// Resolves an image while the registry says how many requests are left.
fn resolve(world: &mut World, tag: &str, remaining: &str) {
    let image = small();
    let answer = Answer::new(StatusCode::OK)
        .header("docker-content-digest", image.digest.to_string())
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .header("content-length", image.manifest.len().to_string())
        .header("ratelimit-limit", "100;w=21600")
        .header("ratelimit-remaining", remaining);
    let target = format!("/manifests/{tag}");
    world.all(
        move |request| request.target.ends_with(&target),
        Fate::Say(answer),
    );
    let task = world.start(Task::resolve(reference(&format!("reg.example/a/b:{tag}"))));
    world.finish(task).unwrap();
}

#[test]
fn that_few_requests_are_left_is_told_once() {
    let mut world = world(Config::default(), Model::new(open()));
    for (tag, remaining, expected) in [
        ("v1", "76;w=21600", 0),
        ("v2", "10;w=21600", 1),
        ("v3", "9;w=21600", 1),
        ("v4", "0;w=21600", 2),
        ("v5", "0;w=21600", 2),
        ("v6", "-1", 2),
    ] {
        resolve(&mut world, tag, remaining);
        assert_eq!(world.lines_with("* warning: ").len(), expected, "{tag}");
    }
    let told = world.lines_with("* warning: ");
    for (line, left) in told.iter().zip(["less than a tenth", "none"]) {
        let expected =
            format!("`reg.example` has {left} left of the 100 requests that it allows in 6 h");
        assert!(line.ends_with(&expected), "{line}");
    }
    world.run_all();
}

/// A storage that a registry redirects to has nothing to say about the registry.
#[test]
fn the_quota_of_a_storage_is_not_the_registrys() {
    let image = small();
    let mut world = world(Config::default(), with_image(open(), &image));
    let elsewhere =
        Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", "https://cdn.example/x");
    world.all(is("GET", "/manifests/"), Fate::Say(elsewhere));
    let gone = Answer::new(StatusCode::NOT_FOUND)
        .header("ratelimit-limit", "100")
        .header("ratelimit-remaining", "0");
    world.all(|request| request.host == "cdn.example", Fate::Say(gone));
    let (store, _) = world.store();
    let task = world.start(pull(store));
    world.finish(task).unwrap_err();
    assert_eq!(world.lines_with("requests that it allows"), [""; 0]);
    world.run_all();
}

/// Docker Hub counts GETs of manifests only: that it allows no more of them is no reason not to push.
#[test]
fn a_quota_for_manifests_holds_up_nothing_else() {
    let image = small();
    let (mut world, source, _) = pushing(one_at_a_time(), open(), &image);
    let (store, memory) = world.store();
    // Who waits for the first request of all waits for what it finds out, too.
    world.models[0].put_image("x/y", Some("v1"), &image);
    let known = world.start(Task::resolve(reference("reg.example/x/y:v1")));
    world.finish(known).unwrap();
    world.nth(1, is("GET", "/manifests/"), later("30"));
    let pulled = world.start(pull(store));
    let pushed = world.start(push(source));
    world.run(pushed).unwrap();
    assert!(world.now() < second(1), "{}", world.now());
    check_pushed(&world, "a/b", &image);
    world.run(pulled).unwrap();
    assert!(world.now() >= second(30), "{}", world.now());
    check_holds(&memory, &image);
    world.run_all();
}

/// The other way round; and what is told to wait in a lane makes the others in it wait, too.
#[test]
fn manifests_go_on_while_everything_else_waits() {
    let image = small();
    let (mut world, source, _) = pushing(one_at_a_time(), open(), &image);
    world.models[0].put_image("x/y", Some("v1"), &image);
    world.nth(1, is("POST", "/blobs/uploads/"), later("30"));
    let pushed = world.start(push(source));
    world.run_until(|world| !world.lines_with("< 429").is_empty());
    let manifest = |of: &str| Task::manifest(reference(of), None);
    let read = world.start(manifest("reg.example/x/y:v1"));
    let found = world.start(Task::resolve(reference("reg.example/x/y:v1")));
    world.finish(read).unwrap();
    assert!(world.now() < second(1), "{}", world.now());
    world.finish(found).unwrap();
    assert!(world.now() >= second(30), "{}", world.now());
    world.run(pushed).unwrap();
    world.run_all();
}

/// The registry is the same behind a redirect that leads to it, as is what it asks for.
#[test]
fn a_quota_behind_a_redirect_to_the_registry_is_for_manifests() {
    let image = small();
    let mut world = world(one_at_a_time(), with_image(open(), &image));
    world.models[0].put_image("x/y", Some("v1"), &image);
    let here = Answer::new(StatusCode::TEMPORARY_REDIRECT)
        .header("location", "/v2/a/b/manifests/v1?moved=1");
    world.nth(1, is("GET", "/manifests/v1"), Fate::Say(here));
    world.nth(1, is("GET", "moved=1"), later("30"));
    let manifest = |of: &str| Task::manifest(reference(of), None);
    let moved = world.start(manifest("reg.example/a/b:v1"));
    world.run_until(|world| !world.lines_with("< 429").is_empty());
    let other = world.start(manifest("reg.example/x/y:v1"));
    let found = world.start(Task::resolve(reference("reg.example/x/y:v1")));
    world.finish(found).unwrap();
    assert!(world.now() < second(1), "{}", world.now());
    world.finish(other).unwrap();
    assert!(world.now() >= second(30), "{}", world.now());
    world.finish(moved).unwrap();
    world.run_all();
}

fn with_budget(budget: &str) -> Config {
    let mut config = Config::default();
    config.manifests = Some(budget.parse().unwrap());
    config
}

/// Two in a minute: the others wait, and are told for how long. That the registry asks who wants to know does not
/// count.
#[test]
fn a_budget_for_manifests_is_waited_for() {
    let image = small();
    let mut world = world(with_budget("2/1m"), with_image(bearer(), &image));
    world.credential("reg.example", alice(), &["reg.example"]);
    let read = || Task::manifest(reference("reg.example/a/b:v1"), None);
    let tasks = [(); 4].map(|()| world.start(read()));
    world.finish(tasks[1]).unwrap();
    assert!(world.now() < second(1), "{}", world.now());
    world.finish(tasks[2]).unwrap();
    assert!(world.now() >= second(60), "{}", world.now());
    world.finish(tasks[3]).unwrap();
    assert!(world.now() < second(61), "{}", world.now());
    let told = world.lines_with("may be asked for 2/1m manifests");
    assert_eq!(told.len(), 2, "{told:?}");
    // One of both is still on the list: nothing is left until the first one is over.
    let late = world.start(read());
    world.finish(late).unwrap();
    assert!(world.now() >= second(120), "{}", world.now());
    world.run_all();
    assert_snapshot!(world.transcript());
}

/// A GET that the registry redirects to itself counts twice.
#[test]
fn a_redirect_to_the_registry_counts_for_the_budget() {
    let mut world = world(with_budget("2/1m"), with_image(open(), &small()));
    let here = Answer::new(StatusCode::TEMPORARY_REDIRECT)
        .header("location", "/v2/a/b/manifests/v1?moved=1");
    world.nth(1, is("GET", "/manifests/v1"), Fate::Say(here));
    let read = || Task::manifest(reference("reg.example/a/b:v1"), None);
    for least in [0, 60] {
        let task = world.start(read());
        world.finish(task).unwrap();
        assert!(world.now() >= second(least), "{}", world.now());
        assert!(world.now() < second(least + 1), "{}", world.now());
    }
    world.run_all();
}

/// A task that is cancelled, or has no time to wait, does not wait.
#[test]
fn who_waits_for_a_budget_can_be_ended() {
    let mut world = world(with_budget("1/1h"), with_image(open(), &small()));
    let read = || Task::manifest(reference("reg.example/a/b:v1"), None);
    let first = world.start(read());
    world.finish(first).unwrap();
    let (late, cancelled) = (world.start(read().by(second(9))), world.start(read()));
    let failure = world.finish(late).unwrap_err();
    assert_eq!(world.now(), second(9), "{failure}");
    world.cancel(cancelled);
    world.finish(cancelled).unwrap_err();
    world.run_all();
    assert_eq!(world.now(), second(9));
}

/// Blobs are no manifests, however many there are.
#[test]
fn a_budget_for_manifests_holds_up_no_blobs() {
    let image = small();
    let (mut world, store, memory) = pulling(with_budget("1/1h"), open(), &image);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    assert!(world.now() < second(1), "{}", world.now());
    assert_eq!(world.lines_with("may be asked for"), [""; 0]);
    check_holds(&memory, &image);
    world.run_all();
}
