//! Refusals without a challenge: when `/v2/` is asked for one.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{Config, ErrorKind, Job, Platforms, Task};
use windlass_testbed::{Answer, Auth, Basic, Credentials, Model, Options, image};
use windlass_tests::world::scenes::{
    alice, basic, bearer, check_holds, check_pushed, copy_within, fill, is, one_at_a_time, open,
    pull, pulling, push, pushing, reference, small, with_image, world,
};
use windlass_tests::world::{Fate, Lot, World};

const STATUSES: [StatusCode; 3] = [
    StatusCode::NOT_FOUND,
    StatusCode::FORBIDDEN,
    StatusCode::UNAUTHORIZED,
];

/// A registry that has its challenge at `/v2/` only.
fn hidden(options: Options, status: StatusCode) -> Options {
    Options {
        hidden: Some(status),
        ..options
    }
}

/// Everybody may read, and writers must be known; they are told so at `/v2/` only.
fn open_to_read(status: StatusCode) -> Options {
    let mut options = hidden(basic(), status);
    if let Auth::Basic(Basic { anonymous_pull, .. }) = &mut options.auth {
        *anonymous_pull = true;
    }
    options
}

fn pings(world: &World) -> usize {
    let log = world.models[0].log().iter();
    log.filter(|entry| entry.target == "/v2/").count()
}

fn questions(world: &World) -> usize {
    world.lines_with("> credentials for").len()
}

fn shown(world: &World) -> usize {
    let log = world.models[0].log().iter();
    log.filter(|entry| entry.credentials != Credentials::None)
        .count()
}

/// AUTH-06: 404, 403 and a bare 401 are not final as long as credentials were not shown.
#[test]
fn a_pull_from_a_registry_that_hides() {
    let image = small();
    for status in STATUSES {
        for options in [basic(), bearer()] {
            let mut options = hidden(options, status);
            if let Auth::Bearer(bearer) = &mut options.auth {
                bearer.anonymous_pull = false;
            }
            let (mut world, store, memory) = pulling(Config::default(), options, &image);
            world.credential("reg.example", alice(), &["reg.example"]);
            let task = world.start(pull(store));
            world.run(task).unwrap();
            world.run_all();
            check_holds(&memory, &image);
            assert_eq!((pings(&world), questions(&world)), (1, 1), "{status}");
            let log = world.models[0].log().iter();
            let refused =
                log.filter(|entry| entry.status == Some(status) && entry.target != "/v2/");
            assert_eq!(refused.count(), 1, "{status}");
        }
    }
}

#[test]
fn a_push_to_a_registry_that_hides() {
    let image = small();
    for status in STATUSES {
        for options in [
            hidden(basic(), status),
            hidden(bearer(), status),
            open_to_read(status),
        ] {
            let (mut world, store, _) = pushing(Config::default(), options, &image);
            world.credential("reg.example", alice(), &["reg.example"]);
            let task = world.start(push(store));
            world.run(task).unwrap();
            world.run_all();
            check_pushed(&world, "a/b", &image);
            assert_eq!((pings(&world), questions(&world)), (1, 1), "{status}");
        }
    }
}

/// What is there already is seen to be there: the first HEAD is asked again.
#[test]
fn a_push_of_what_is_there_already() {
    let image = small();
    let mut world = world(
        Config::default(),
        with_image(hidden(basic(), StatusCode::NOT_FOUND), &image),
    );
    world.credential("reg.example", alice(), &["reg.example"]);
    let (store, memory) = world.store();
    fill(&memory, &image);
    let task = world.start(push(store));
    assert_eq!(world.run(task).unwrap().moved, 0);
    assert_eq!(
        world.take_log(0),
        [
            "HEAD /v2/a/b/manifests/v1 404",
            "GET /v2/ 401",
            "HEAD /v2/a/b/manifests/v1 200",
        ]
    );
}

#[test]
fn a_copy_between_repositories_that_are_hidden() {
    let image = small();
    let options = hidden(basic(), StatusCode::NOT_FOUND);
    let mut world = world(one_at_a_time(), with_image(options, &image));
    world.credential("reg.example", alice(), &["reg.example"]);
    let task = copy_within("reg.example/a/b:v1", "reg.example/c/d:v1", None);
    let task = world.start(task);
    world.run(task).unwrap();
    check_pushed(&world, "c/d", &image);
    assert_eq!(pings(&world), 1);
}

/// Who has no credentials pays no request, and the first answer is the error.
#[test]
fn without_credentials_nothing_is_asked() {
    let failed = || CredentialAnswer::Failed("no helper".into());
    for status in STATUSES {
        for credential in [CredentialAnswer::None, failed()] {
            let options = hidden(basic(), status);
            let (mut world, store, _) = pulling(Config::default(), options, &small());
            world.credential("reg.example", credential, &[]);
            let task = world.start(pull(store));
            let failure = world.run(task).unwrap_err();
            let kind = match status {
                StatusCode::NOT_FOUND => ErrorKind::NotFound,
                _ => ErrorKind::Auth,
            };
            assert_eq!(failure.first().kind(), kind);
            assert_eq!(world.take_log(0).len(), 1, "{status}");
            assert_eq!(questions(&world), 1);
        }
    }
}

/// CRED-42: a file may have credentials for some repositories of a registry only. That there are none for one
/// says nothing about its neighbour.
#[test]
fn each_repository_is_asked_for() {
    let image = small();
    let mut model = Model::new(hidden(basic(), StatusCode::NOT_FOUND));
    model.put_image("team/app", Some("v1"), &image);
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    world.credential("reg.example", CredentialAnswer::None, &[]);
    for absent in ["team/other", "team/deep/one", "public/app", "team/other"] {
        let image = reference(&format!("reg.example/{absent}:v1"));
        let task = world.start(Task::pull(image, store, None, Platforms::All));
        let failure = world.run(task).unwrap_err();
        assert_eq!(failure.first().kind(), ErrorKind::NotFound, "{absent}");
    }
    assert_eq!((pings(&world), questions(&world)), (0, 3));
    world.credential("reg.example", alice(), &["reg.example"]);
    let app = reference("reg.example/team/app:v1");
    let task = world.start(Task::pull(app, store, Some("v1".into()), Platforms::All));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!((pings(&world), questions(&world)), (1, 4));
}

/// The credentials of one repository cannot meet the challenge of `/v2/`; those of its neighbour can, and
/// `/v2/` is not asked again.
#[test]
fn a_challenge_that_only_a_neighbour_meets() {
    let image = small();
    let mut model = Model::new(hidden(basic(), StatusCode::NOT_FOUND));
    model.put_image("team/app", Some("v1"), &image);
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    let identity = CredentialAnswer::Refresh(Secret::new("1dent1ty"));
    world.credential("reg.example", identity, &["reg.example"]);
    let pull = |name: &str| {
        let image = reference(&format!("reg.example/{name}:v1"));
        Task::pull(image, store, Some("v1".into()), Platforms::All)
    };
    let task = world.start(pull("team/other"));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::NotFound);
    world.credential("reg.example", alice(), &["reg.example"]);
    let task = world.start(pull("team/app"));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
    assert_eq!((pings(&world), questions(&world)), (1, 2));
    // Of neither repository anything was shown for the other.
    let log = world.models[0].log().iter();
    let shown = log.filter(|it| it.credentials != Credentials::None);
    assert!(shown.clone().count() > 0);
    assert!(shown.into_iter().all(|it| it.target.contains("/team/app/")));
}

/// `/v2/` has no challenge: the first response is final, and `/v2/` is not asked again. If its answer
/// is unclear, the next task asks again.
#[test]
fn no_challenge_at_all_is_remembered() {
    let image = small();
    let mut nothing = vec![
        Answer::new(StatusCode::OK),
        Answer::new(StatusCode::NO_CONTENT),
        Answer::error(StatusCode::NOT_FOUND, "NOT_FOUND", "no"),
        Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "no"),
        Answer::error(StatusCode::FORBIDDEN, "DENIED", "no"),
        Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "no")
            .header("www-authenticate", "Negotiate"),
    ];
    // Not followed: what another place wants to know is not this host's challenge.
    for to in ["https://cdn.example/v2/", "https://reg.example/elsewhere"] {
        nothing.push(Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", to));
    }
    for answer in nothing {
        let mut world = world(one_at_a_time(), with_image(open(), &image));
        let said = format!("{answer:?}");
        world.all(|request| request.target == "/v2/", Fate::Say(answer));
        world.credential("reg.example", alice(), &[]);
        let (store, _) = world.store();
        for tag in ["none", "neither"] {
            let image = reference(&format!("reg.example/a/b:{tag}"));
            let task = world.start(Task::pull(image, store, None, Platforms::All));
            let failure = world.run(task).unwrap_err();
            assert_eq!(failure.first().kind(), ErrorKind::NotFound, "{said}");
        }
        let expected = if said.contains("location") { 2 } else { 1 };
        assert_eq!((pings(&world), questions(&world)), (expected, 1), "{said}");
        assert_eq!(shown(&world), 0);
        // And what is open is open.
        let task = world.start(pull(store));
        world.run(task).unwrap();
        assert_eq!(shown(&world), 0);
    }
}

/// A host that fails at `/v2/` has no challenge, and what was answered first is told.
#[test]
fn a_ping_that_fails_changes_nothing() {
    let (mut world, store, _) = pulling(Config::default(), open(), &small());
    let down = Answer::error(StatusCode::BAD_GATEWAY, "X", "down");
    world.all(|request| request.target == "/v2/", Fate::Say(down));
    world.credential("reg.example", alice(), &[]);
    let image = reference("reg.example/a/b:none");
    let task = world.start(Task::pull(image, store, None, Platforms::All));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::NotFound);
    assert_eq!(pings(&world), 5);
    world.run_all();
}

/// Hostile: the challenge at `/v2/` names a token service that may not have the credentials. The first
/// answer stands, and nothing is asked of that service.
#[test]
fn a_challenge_that_leads_elsewhere() {
    for (realm, warned) in [
        ("https://cdn.example/token", true),
        ("http://reg.example/token", false),
        ("https://169.254.169.254/token", false),
    ] {
        let (mut world, store, _) = pulling(Config::default(), open(), &small());
        let answer = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who?").header(
            "www-authenticate",
            format!(r#"Bearer realm="{realm}",service="x""#),
        );
        world.all(|request| request.target == "/v2/", Fate::Say(answer));
        world.credential("reg.example", alice(), &[]);
        let image = reference("reg.example/a/b:none");
        let task = world.start(Task::pull(image, store, None, Platforms::All));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::NotFound, "{realm}");
        assert_eq!(world.models[0].log().len(), 2, "{realm}");
        let warnings = world.lines_with("--trust-realm reg.example=https://cdn.example");
        assert_eq!(warnings.len(), usize::from(warned), "{realm}");
    }
}

/// An identity token is never shown as a password.
#[test]
fn an_identity_token_is_no_password() {
    let options = hidden(basic(), StatusCode::NOT_FOUND);
    let (mut world, store, _) = pulling(Config::default(), options, &small());
    let identity = CredentialAnswer::Refresh(Secret::new("identity-token-1234"));
    world.credential("reg.example", identity, &[]);
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::NotFound);
    assert_eq!(world.take_log(0).len(), 2);
}

/// A challenge that an identity token cannot meet does not hide the one at `/v2/`.
#[test]
fn a_challenge_that_does_not_fit_is_not_the_last_word() {
    let image = small();
    for status in STATUSES {
        let mut options = hidden(bearer(), status);
        if let Auth::Bearer(bearer) = &mut options.auth {
            bearer.anonymous_pull = false;
        }
        let mut model = with_image(options, &image);
        let identity = CredentialAnswer::Refresh(Secret::new(model.issue_refresh_token("alice")));
        let mut world = world(one_at_a_time(), model);
        let basic = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who?")
            .header("www-authenticate", r#"Basic realm="x""#);
        world.nth(
            1,
            |it| it.target.ends_with("/manifests/v1"),
            Fate::Say(basic),
        );
        world.credential("reg.example", identity, &["reg.example"]);
        let (store, memory) = world.store();
        // The first task learns the wrong challenge, and fails.
        let task = world.start(pull(store));
        let first = world.run(task);
        let task = world.start(pull(store));
        let second = world.run(task);
        world.run_all();
        assert!(first.is_err(), "{status}");
        second.unwrap();
        check_holds(&memory, &image);
        assert_eq!(pings(&world), 1, "{status}");
    }
}

/// Where a redirect led, another host said no: that is no reason to show it anything, nor to ask.
#[test]
fn another_host_is_never_asked() {
    for status in [
        StatusCode::NOT_FOUND,
        StatusCode::FORBIDDEN,
        StatusCode::UNAUTHORIZED,
    ] {
        let (mut world, store, _) = pulling(Config::default(), open(), &small());
        let away = Answer::new(StatusCode::TEMPORARY_REDIRECT)
            .header("location", "https://cdn.example/v2/a/b/manifests/v1");
        world.all(|it| it.host == "reg.example", Fate::Say(away));
        let no = Answer::error(status, "X", "no");
        world.all(|it| it.host == "cdn.example", Fate::Say(no));
        world.credential("reg.example", alice(), &[]);
        let task = world.start(pull(store));
        world.run(task).unwrap_err();
        world.run_all();
        assert_eq!((pings(&world), questions(&world)), (0, 0), "{status}");
    }
}

/// Credentials that are refused are named; the error is no "not found" any more.
#[test]
fn refused_credentials_are_named() {
    let wrong = || CredentialAnswer::Basic {
        username: "alice".into(),
        password: Secret::new("expired"),
    };
    for status in STATUSES {
        for options in [basic(), bearer()] {
            let options = hidden(options, status);
            let (mut world, store, _) = pulling(Config::default(), options, &small());
            world.credential("reg.example", wrong(), &["reg.example"]);
            let task = world.start(pull(store));
            let failure = world.run(task).unwrap_err();
            assert_eq!(failure.first().kind(), ErrorKind::Auth, "{status}");
            let said = failure.first().to_string();
            assert!(said.contains("the credentials of `alice`"), "{said}");
        }
    }
}

/// Many at once ask one question and one `/v2/`.
#[test]
fn many_tasks_share_one_ping() {
    let mut model = Model::new(hidden(basic(), StatusCode::NOT_FOUND));
    let images: Vec<_> = (0..10).map(|n| image(&[vec![n; 3]])).collect();
    for (n, image) in images.iter().enumerate() {
        model.put_image("a/b", Some(&format!("v{n}")), image);
    }
    for last_first in [false, true] {
        let mut world = world(Config::default(), model.clone());
        if last_first {
            world.pick = Box::new(|jobs| jobs.len() - 1);
        }
        world.credential("reg.example", alice(), &["reg.example"]);
        let (store, memory) = world.store();
        for n in 0..10 {
            let image = reference(&format!("reg.example/a/b:v{n}"));
            let name = Some(format!("v{n}"));
            world.start(Task::pull(image, store, name, Platforms::All));
        }
        let finished = world.run_all();
        assert!(finished.values().all(Result::is_ok));
        assert_eq!(memory.blobs().len(), 30);
        assert_eq!((pings(&world), questions(&world)), (1, 1));
    }
}

/// The task that asks `/v2/`, or for credentials, is cancelled: another one goes on.
#[test]
fn who_asks_is_cancelled() {
    for what in ["GET https://reg.example/v2/", "credentials for"] {
        let image = small();
        let options = hidden(basic(), StatusCode::NOT_FOUND);
        let (mut world, store, memory) = pulling(Config::default(), options, &image);
        world.credential("reg.example", alice(), &["reg.example"]);
        let one = world.start(pull(store));
        let two = world.start(pull(store));
        world.run_until(|world| world.lines_with(what).len() == 1);
        world.cancel(one);
        world.run(one).unwrap_err();
        world.run(two).unwrap();
        world.run_all();
        check_holds(&memory, &image);
    }
}

/// The worker that asks `/v2/` dies: it is asked again.
#[test]
fn a_lost_ping_is_sent_again() {
    let image = small();
    let options = hidden(basic(), StatusCode::NOT_FOUND);
    let (mut world, store, memory) = pulling(Config::default(), options, &image);
    world.credential("reg.example", alice(), &["reg.example"]);
    let mut left = 1;
    world.lot = Box::new(move |job| {
        let is_ping = matches!(job, Job::Http(call) if call.request().uri().path() == "/v2/");
        if is_ping && left > 0 {
            left -= 1;
            return Lot::Lose;
        }
        Lot::Run
    });
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &image);
}

/// A user without rights: with credentials it is 403, and that is the answer.
#[test]
fn who_was_known_is_not_asked_again() {
    let options = hidden(basic(), StatusCode::NOT_FOUND);
    let (mut world, store, _) = pulling(Config::default(), options, &small());
    world.credential("reg.example", alice(), &["reg.example"]);
    let no = Answer::error(StatusCode::FORBIDDEN, "DENIED", "not you");
    world.nth(2, is("GET", "/manifests/"), Fate::Say(no));
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    let said = failure.first().to_string();
    assert!(
        said.contains("403 with the credentials of `alice`"),
        "{said}"
    );
    assert_eq!((pings(&world), shown(&world)), (1, 1));
}
