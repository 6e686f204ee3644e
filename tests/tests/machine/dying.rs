//! Credentials that die while they are used: in a push of ten blobs, and in sessions that live long.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{Config, ErrorKind};
use windlass_testbed::{Auth, Bearer, Image, Options, User, image};
use windlass_tests::world::World;
use windlass_tests::world::scenes::{
    alice, basic, bearer, bearer_with, check_holds, check_pushed, is, one_at_a_time, pull, pulling,
    push, pushing, small,
};

const HOSTS: &[&str] = &["reg.example"];

fn password(password: &str) -> CredentialAnswer {
    CredentialAnswer::Basic {
        username: "alice".into(),
        password: Secret::new(password),
    }
}

fn ten_blobs() -> Image {
    let layers: Vec<Vec<u8>> = (0..9).map(|n| vec![n; 3]).collect();
    image(&layers)
}

/// The registry takes this password of `alice`'s, and no other.
fn takes(world: &mut World, password: &str) {
    let users = match &mut world.models[0].options_mut().auth {
        Auth::Basic(basic) => &mut basic.users,
        Auth::Bearer(bearer) => &mut bearer.users,
        other @ (Auth::Open | _) => panic!("{other:?} has no users"),
    };
    users.insert("alice".into(), User::new(password));
}

fn questions(world: &World) -> usize {
    world.lines_with("> credentials for").len()
}

/// A world that pushes ten blobs, a second for each exchange, until five are there.
fn half_pushed(config: Config, options: Options) -> (World, windlass_core::TaskId, Image) {
    let image = ten_blobs();
    let (mut world, store, _) = pushing(config, options, &image);
    world.latency = Duration::from_secs(1);
    world.credential("reg.example", alice(), HOSTS);
    let task = world.start(push(store));
    world.run_until(|world| world.models[0].blob_digests("a/b").len() == 5);
    (world, task, image)
}

/// The registry learns of another password, and its source has it: one question more, and the push goes on.
#[test]
fn a_password_dies_in_a_push_of_ten_blobs() {
    let (mut world, task, image) = half_pushed(one_at_a_time(), basic());
    takes(&mut world, "another-pa55");
    world.credential("reg.example", password("another-pa55"), HOSTS);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(questions(&world), 2);
    assert_snapshot!(world.transcript());
}

/// The same where the password buys tokens, and all tokens are dead, too. Many requests at once.
#[test]
fn a_password_for_tokens_dies_in_a_push_of_ten_blobs() {
    for config in [one_at_a_time(), Config::default()] {
        let (mut world, task, image) = half_pushed(config, bearer());
        takes(&mut world, "another-pa55");
        world.models[0].revoke_tokens();
        world.credential("reg.example", password("another-pa55"), HOSTS);
        world.run(task).unwrap();
        world.run_all();
        check_pushed(&world, "a/b", &image);
        assert_eq!(questions(&world), 2, "{}", world.transcript());
        let refused = world.models[0].log().iter();
        let refused = refused.filter(|it| {
            it.target.starts_with("/token") && it.status.is_some_and(|it| it.as_u16() == 401)
        });
        assert_eq!(refused.count(), 1, "{}", world.transcript());
    }
}

/// An identity token is replaced like a password.
#[test]
fn an_identity_token_dies() {
    let image = small();
    let options = bearer_with(Bearer {
        anonymous_pull: false,
        ..Bearer::default()
    });
    let (mut world, store, memory) = pulling(Config::default(), options, &image);
    let first = world.models[0].issue_refresh_token("alice");
    let second = world.models[0].issue_refresh_token("alice");
    let identity = |token: &str| CredentialAnswer::Refresh(Secret::new(token));
    world.credential("reg.example", identity(&first), HOSTS);
    let task = world.start(windlass_core::Task::resolve(
        "reg.example/a/b:v1".parse().unwrap(),
    ));
    world.resolve(task).unwrap();
    world.models[0].revoke_refresh_token(&first);
    world.models[0].revoke_tokens();
    world.credential("reg.example", identity(&second), HOSTS);
    world.latency = Duration::from_secs(6);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(questions(&world), 2);
}

/// The source has nothing better: one question more, and the push fails with what was refused.
#[test]
fn a_dead_password_without_another_one() {
    for options in [basic(), bearer()] {
        let (mut world, task, _) = half_pushed(Config::default(), options);
        takes(&mut world, "another-pa55");
        world.models[0].revoke_tokens();
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
        let said = failure.first().to_string();
        assert!(
            said.contains("401 with the credentials of `alice`"),
            "{said}"
        );
        let hint = failure.hint().unwrap();
        assert!(
            hint.contains("asked for again, and there are no others"),
            "{hint}"
        );
        assert_eq!(questions(&world), 2, "{}", world.transcript());
    }
}

/// A registry as private ECR: a login that has expired is answered with this status, and no challenge.
fn expiring(status: u16) -> Options {
    Options {
        expired_login: StatusCode::from_u16(status).ok(),
        ..basic()
    }
}

/// How often the registry answered with this status.
fn answered(world: &World, status: u16) -> usize {
    let log = world.models[0].log().iter();
    log.filter(|it| it.status.is_some_and(|it| it == status))
        .count()
}

/// One request is refused for want of a challenge, one question is asked, and the push goes on.
#[test]
fn a_login_expires_in_a_push_of_ten_blobs() {
    for status in [403, 400] {
        let (mut world, task, image) = half_pushed(one_at_a_time(), expiring(status));
        takes(&mut world, "another-pa55");
        world.credential("reg.example", password("another-pa55"), HOSTS);
        world.run(task).unwrap();
        world.run_all();
        check_pushed(&world, "a/b", &image);
        assert_eq!(questions(&world), 2);
        assert_eq!(answered(&world, status), 1, "{}", world.transcript());
        assert_eq!(answered(&world, 401), 1, "the first request");
    }
}

/// The same in many requests at once: one question for all.
#[test]
fn a_login_expires_under_many_requests() {
    let (mut world, task, image) = half_pushed(Config::default(), expiring(403));
    takes(&mut world, "another-pa55");
    world.credential("reg.example", password("another-pa55"), HOSTS);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(questions(&world), 2, "{}", world.transcript());
}

/// The source has nothing better: the registry's own refusal is the error.
#[test]
fn an_expired_login_without_another_one() {
    for status in [403, 400] {
        let (mut world, task, _) = half_pushed(Config::default(), expiring(status));
        takes(&mut world, "another-pa55");
        let failure = world.run(task).unwrap_err();
        world.run_all();
        let said = failure.first().to_string();
        assert!(
            said.contains("Your authorization token has expired"),
            "{said}"
        );
        assert!(said.contains(&status.to_string()), "{said}");
        let kind = failure.first().kind();
        assert_eq!(kind == ErrorKind::Auth, status == 403, "{kind:?}");
        assert_eq!(questions(&world), 2, "{}", world.transcript());
    }
}

/// What a user may not do is not tried twice, and the source is asked once at most.
#[test]
fn a_user_who_may_not_push() {
    let image = small();
    let (mut world, store, _) = pushing(Config::default(), basic(), &image);
    if let Auth::Basic(basic) = &mut world.models[0].options_mut().auth {
        let reader = User::limited("pa55-of-alice").with("*", &["pull"]);
        basic.users.insert("alice".into(), reader);
    }
    world.latency = Duration::from_secs(6);
    world.credential("reg.example", alice(), HOSTS);
    for _ in 0..2 {
        let task = world.start(push(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
        let said = failure.first().to_string();
        assert!(
            said.contains("requested access to the resource is denied"),
            "{said}"
        );
        assert_eq!(questions(&world), 2, "{}", world.transcript());
    }
}

/// A wrong password is not asked for again: it was just given.
#[test]
fn a_wrong_password_is_asked_for_once() {
    for options in [basic(), bearer()] {
        let (mut world, store, _) = pushing(Config::default(), options, &small());
        world.credential("reg.example", password("wrong-pa55"), HOSTS);
        let task = world.start(push(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
        assert_eq!(questions(&world), 1);
    }
}

/// A token of a cloud that says how long it lives is renewed before the registry refuses it: no request is
/// refused but the first.
#[test]
fn a_credential_with_a_lifetime_is_renewed_in_time() {
    let image = ten_blobs();
    let (mut world, store, _) = pushing(one_at_a_time(), basic(), &image);
    world.latency = Duration::from_secs(3);
    let renewed = || alice().valid_for(Duration::from_secs(30));
    world.credential("reg.example", renewed(), HOSTS);
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let log = world.models[0].log().iter();
    let refused = log.filter(|it| it.status.is_some_and(|it| it.as_u16() == 401));
    assert_eq!(refused.count(), 1);
    let questions = questions(&world);
    assert!(questions >= 3, "{questions}");
    let again = world.lines_with("credentials for").join("\n");
    assert_eq!(again.matches(", again").count(), questions - 1, "{again}");
    let answers = world.lines_with("user name and password, for 30 s");
    assert_eq!(answers.len(), questions);
}

/// Answers that have expired when they come are not asked for in a loop.
#[test]
fn a_source_that_is_always_late() {
    let image = small();
    let (mut world, store, memory) = pulling(Config::default(), basic(), &image);
    world.credential("reg.example", alice().valid_for(Duration::ZERO), HOSTS);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(questions(&world), 1);
}

fn with_fallback() -> Config {
    let mut config = Config::default();
    config.anonymous_fallback = true;
    config
}

/// A public image is pulled although the password is wrong, and the user is told.
#[test]
fn a_public_image_in_spite_of_a_wrong_password() {
    let image = small();
    let (mut world, store, memory) = pulling(with_fallback(), bearer(), &image);
    world.credential("reg.example", password("wrong-pa55"), HOSTS);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!(world.lines_with("going on anonymously").len(), 1);
    assert_snapshot!(world.transcript());
}

/// The same at a registry that forbids what it does not know, without a challenge (ECR Public).
#[test]
fn a_public_image_in_spite_of_an_expired_login() {
    for public in [true, false] {
        let image = small();
        let (mut world, store, memory) = pulling(with_fallback(), expiring(403), &image);
        world.credential("reg.example", alice(), HOSTS);
        let tag = windlass_core::Task::resolve("reg.example/a/b:v1".parse().unwrap());
        let task = world.start(tag);
        world.resolve(task).unwrap();
        takes(&mut world, "another-pa55");
        let task = world.start(pull(store));
        if let Auth::Basic(basic) = &mut world.models[0].options_mut().auth {
            basic.anonymous_pull = public;
        }
        let result = world.run(task);
        world.run_all();
        assert_eq!(world.lines_with("going on anonymously").len(), 1);
        assert_eq!(answered(&world, 403), 1, "{}", world.transcript());
        assert_eq!(questions(&world), 1);
        if public {
            result.unwrap();
            check_holds(&memory, &image);
        } else {
            let failure = result.unwrap_err();
            assert_eq!(failure.first().kind(), ErrorKind::Auth);
            let hint = failure.hint().unwrap();
            let expected = "were refused, so that the request was anonymous";
            assert!(hint.contains(expected), "{hint}");
        }
    }
}

/// Without being told so, it is not: AUTH-47.
#[test]
fn no_public_image_with_a_wrong_password() {
    let (mut world, store, _) = pulling(Config::default(), bearer(), &small());
    world.credential("reg.example", password("wrong-pa55"), HOSTS);
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    world.run_all();
}

/// A push never goes on anonymously, not even to a registry that would take it.
#[test]
fn a_push_does_not_go_on_anonymously() {
    for options in [basic(), bearer()] {
        let (mut world, store, _) = pushing(with_fallback(), options, &small());
        world.credential("reg.example", password("wrong-pa55"), HOSTS);
        let task = world.start(push(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
        assert!(world.lines_with("anonymously").is_empty());
        let log = world.models[0].log().iter();
        let after = log.skip_while(|it| it.credentials != windlass_testbed::Credentials::Basic);
        let anonymous = after.filter(|it| it.credentials == windlass_testbed::Credentials::None);
        assert_eq!(anonymous.count(), 0, "{}", world.transcript());
    }
}

/// A private image stays private: the error says what was tried.
#[test]
fn a_private_image_with_a_wrong_password() {
    let options = bearer_with(Bearer {
        anonymous_pull: false,
        ..Bearer::default()
    });
    let (mut world, store, _) = pulling(with_fallback(), options, &small());
    world.credential("reg.example", password("wrong-pa55"), HOSTS);
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    let hint = failure.hint().unwrap();
    assert!(
        hint.contains("were refused, so that the request was anonymous"),
        "{hint}"
    );
    // The next task shows them again, and is not refused any more.
    takes(&mut world, "wrong-pa55");
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    let shown = world.models[0].log().iter();
    let shown = shown.filter(|it| {
        is("GET", "/token")(&windlass_testbed::Request::new(
            it.method.clone(),
            "reg.example",
            it.target.clone(),
        ))
    });
    assert!(shown.count() >= 3);
}
