//! What the simulation found, each told again as a scene.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::config::InFlight;
use windlass_core::reference::Repository;
use windlass_core::{Config, Copy, Job, Place, Platforms, Task};
use windlass_testbed::{Answer, Bearer, Request, Unions};
use windlass_tests::world::scenes::{
    alice, bearer, bearer_with, check_holds, check_pushed, copy_within, digest, fill, is,
    one_at_a_time, open, pull, pulling, reference, small,
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
    let place = |store| Place::Store { store, name: None };
    let task = world.start(Task::copy(Copy {
        source: place(source),
        destination: place(store),
        platforms: Platforms::All,
        spool: None,
        from: None,
    }));
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
    config.in_flight = InFlight::at_most(2);
    let options = bearer_with(Bearer {
        unions: Unions::RefusedAtRegistry,
        ..Bearer::default()
    });
    let (mut world, store, _) = pulling(config, options, &small());
    world.credential("reg.example", alice(), &["reg.example"]);
    let (source, contents) = world.store();
    fill(&contents, &small());
    // The pull finds out that tokens are wanted; the push, whose token is for both repositories, gets
    // one first, and nobody knows yet that it is of no use.
    world.lot = Box::new(|job| {
        let is_pulled_from = |it: &Repository| it.as_str() == "a/b";
        let holds = if let Job::Credentials(call) = job {
            call.repository().is_some_and(is_pulled_from)
        } else if let Job::Http(call) = job {
            call.request().method() == "HEAD"
        } else {
            false
        };
        if holds { Lot::Hold } else { Lot::Run }
    });
    let pulled = world.start(pull(store));
    let pushed = world.start(Task::copy(Copy {
        source: Place::Store {
            store: source,
            name: None,
        },
        destination: Place::Registry(reference("reg.example/c/d:v1")),
        platforms: Platforms::All,
        spool: None,
        from: Some("a/b".parse().unwrap()),
    }));
    world.run_still();
    world.let_go();
    world.run(pushed).unwrap();
    world.run(pulled).unwrap();
    world.run_all();
    check_pushed(&world, "c/d", &small());
    assert_snapshot!(world.transcript());
}
