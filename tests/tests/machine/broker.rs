//! The auth broker from outside: the requests to registries and token services.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use http::StatusCode;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{Config, ErrorKind, Platforms, Task, TaskId};
use windlass_testbed::{
    Announced, Answer, Auth, Bearer, Model, Options, Unions, UnreadableMount, User, image,
};
use windlass_tests::world::scenes::{
    alice, basic, bearer, bearer_with, check_holds, check_pushed, copy_within, fill, is,
    one_at_a_time, open, pull, pulling, push, pushing, reference, small, with_image, world,
};
use windlass_tests::world::{Fate, World};

fn tokens(world: &World) -> usize {
    let log = world.models[0].log().iter();
    log.filter(|entry| entry.target.starts_with("/token"))
        .count()
}

fn refused(world: &World) -> usize {
    let log = world.models[0].log().iter();
    log.filter(|entry| entry.status == Some(StatusCode::UNAUTHORIZED))
        .count()
}

/// AUTH-71: one token for 30 blobs at once, and one 401.
#[test]
fn many_blobs_share_one_token() {
    let layers: Vec<Vec<u8>> = (0..30).map(|n| vec![n; 3]).collect();
    let image = image(&layers);
    for last_first in [false, true] {
        let (mut world, store, memory) = pulling(Config::default(), bearer(), &image);
        if last_first {
            world.pick = Box::new(|jobs| jobs.len() - 1);
        }
        let task = world.start(pull(store));
        world.run(task).unwrap();
        world.run_all();
        check_holds(&memory, &image);
        assert_eq!((tokens(&world), refused(&world)), (1, 1));
    }
}

/// Many tasks begin at once at a host that nothing is known of: one finds out.
#[test]
fn many_tasks_share_one_probe() {
    let mut model = Model::new(bearer());
    let images: Vec<_> = (0..10).map(|n| image(&[vec![n; 3]])).collect();
    for (n, image) in images.iter().enumerate() {
        model.put_image("a/b", Some(&format!("v{n}")), image);
    }
    let mut world = world(Config::default(), model);
    let (store, _) = world.store();
    let start = |world: &mut World, n| {
        let reference = reference(&format!("reg.example/a/b:v{n}"));
        world.start(Task::pull(
            reference,
            store,
            Some(format!("v{n}")),
            Platforms::All,
        ))
    };
    let ids: Vec<TaskId> = (0..10).map(|n| start(&mut world, n)).collect();
    for id in ids {
        world.run(id).unwrap();
    }
    assert_eq!((tokens(&world), refused(&world)), (1, 1));
}

/// The first of them is cancelled while it finds out: another one does instead.
#[test]
fn a_probe_that_is_cancelled_is_replaced() {
    let image = small();
    let (mut world, store, memory) = pulling(Config::default(), bearer(), &image);
    let one = world.start(pull(store));
    let two = world.start(pull(store));
    world.run_until(|world| world.lines_with("> GET").len() == 1);
    world.cancel(one);
    world.run(one).unwrap_err();
    world.run(two).unwrap();
    world.run_all();
    check_holds(&memory, &image);
}

/// A token that expires by the model's clock is replaced before it is used.
#[test]
fn tokens_are_renewed_before_they_expire() {
    let layers: Vec<Vec<u8>> = (0..20).map(|n| vec![n; 3]).collect();
    let image = image(&layers);
    let options = bearer_with(Bearer {
        life: Duration::from_secs(100),
        ..Bearer::default()
    });
    let (mut world, store, memory) = pulling(one_at_a_time(), options, &image);
    world.latency = Duration::from_secs(7);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &image);
    assert_eq!((tokens(&world), refused(&world)), (2, 1));
}

/// Tokens that live shorter than announced are replaced once each when they are refused.
#[test]
fn tokens_that_die_early_are_fetched_anew() {
    let layers: Vec<Vec<u8>> = (0..20).map(|n| vec![n; 3]).collect();
    let image = image(&layers);
    let options = bearer_with(Bearer {
        life: Duration::from_secs(30),
        announced: Announced::Seconds(3600),
        ..Bearer::default()
    });
    for (config, latency) in [(one_at_a_time(), 7), (Config::default(), 1)] {
        let (mut world, store, memory) = pulling(config, options.clone(), &image);
        world.latency = Duration::from_secs(latency);
        let task = world.start(pull(store));
        let result = world.run(task);
        assert!(result.is_ok(), "{}", world.transcript());
        check_holds(&memory, &image);
    }
}

/// Tokens that are no good from the start: it ends, soon.
#[test]
fn useless_tokens_end() {
    for announced in [Announced::Real, Announced::Seconds(0), Announced::Omitted] {
        let options = bearer_with(Bearer {
            life: Duration::ZERO,
            announced,
            ..Bearer::default()
        });
        let (mut world, store, _) = pulling(Config::default(), options, &small());
        let task = world.start(pull(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
        assert_eq!(world.models[0].log().len(), 3, "401, a token, 401");
    }
}

#[test]
fn refusals_for_ever_end() {
    let bearer = r#"Bearer realm="https://reg.example/token",service="testbed""#;
    for challenge in [bearer, r#"Basic realm="x""#, "Negotiate", ""] {
        for credential in [CredentialAnswer::None, alice()] {
            let (mut world, store, _) = pushing(Config::default(), self::bearer(), &small());
            let no = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "no");
            let no = match challenge {
                "" => no,
                _ => no.header("www-authenticate", challenge),
            };
            world.all(|request| request.target.starts_with("/v2/"), Fate::Say(no));
            world.credential("reg.example", credential, &["reg.example"]);
            let task = world.start(push(store));
            let failure = world.run(task).unwrap_err();
            world.run_all();
            assert_eq!(failure.first().kind(), ErrorKind::Auth, "{challenge}");
            assert!(
                world.models[0].log().len() <= 5,
                "{challenge}: {:?}",
                world.take_log(0)
            );
        }
    }
}

/// GitLab's token service refuses a union of scopes: it is split once, and that is remembered.
#[test]
fn a_refused_union_is_split_once() {
    for unions in [
        Unions::RefusedAtRealm,
        Unions::RefusedAtRegistry,
        Unions::FirstOnly,
    ] {
        let image = small();
        let mut options = bearer_with(Bearer {
            unions,
            ..Bearer::default()
        });
        options.uploads.unreadable_mount = UnreadableMount::Session;
        let mut model = with_image(options, &image);
        model.put_image("other", None, &image);
        let mut world = world(one_at_a_time(), model);
        world.credential("reg.example", alice(), &["reg.example"]);
        let (store, memory) = world.store();
        fill(&memory, &image);
        let task = Task::copy(
            windlass_core::CopyTask::new(
                windlass_core::TaskLocation::Store { store, name: None },
                windlass_core::TaskLocation::Registry(reference("reg.example/c:v1")),
            )
            .mount_from(["other".parse().unwrap()]),
        );
        let task = world.start(task);
        world.run(task).unwrap();
        world.run_all();
        check_pushed(&world, "c", &image);
        let expected = if unions == Unions::FirstOnly { 1 } else { 3 };
        assert_eq!(tokens(&world), expected, "{unions:?}");
    }
}

/// Reading world, seed 12874204128268319497: when the token for two repositories was refused, the mount had the
/// credentials asked for again, as they were some seconds old, and the registry's challenge forgotten. The other
/// upload, whose token was refused as well, found it out and was taken for one that has no credentials.
#[test]
fn an_upload_beside_a_refused_union_finds_out_the_challenge() {
    let (shared, own) = (vec![1; 3], vec![2; 3]);
    let mut model = Model::new(bearer_with(Bearer {
        unions: Unions::RefusedAtRegistry,
        ..Bearer::default()
    }));
    model.put_image("a/b", Some("v1"), &image(std::slice::from_ref(&shared)));
    let mut world = world(Config::default(), model);
    world.credential("reg.example", alice(), &["reg.example"]);
    let (store, _) = world.store();
    let task = world.start(pull(store));
    world.run(task).unwrap();
    for layers in [vec![vec![3; 3]], vec![shared, own]] {
        let (source, memory) = world.store();
        let pushed = image(&layers);
        fill(&memory, &pushed);
        let to = reference("reg.example/c/d:v1");
        let task = world.start(Task::push(source, None, to, Platforms::All));
        world.run(task).unwrap();
        check_pushed(&world, "c/d", &pushed);
        world.pass(Duration::from_secs(10));
    }
    world.run_all();
}

/// Harbor answers a token that is not enough with a Basic challenge: the Bearer one stands.
#[test]
fn basic_after_bearer_does_not_lead_astray() {
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), bearer(), &image);
    let harbor = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "unauthorized")
        .header("www-authenticate", r#"Basic realm="harbor""#);
    world.nth(2, is("GET", "/blobs/"), Fate::Say(harbor));
    world.credential("reg.example", alice(), &["reg.example"]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &image);
    let log = world.models[0].log().iter();
    let basics = log.filter(|entry| {
        entry.credentials == windlass_testbed::Credentials::Basic
            && entry.target.starts_with("/v2/")
    });
    assert_eq!(basics.count(), 0);
}

/// A helper that cannot be run: anonymously on, and both reasons if that is refused.
#[test]
fn a_failed_credential_is_in_the_hint() {
    let no_pull = bearer_with(Bearer {
        anonymous_pull: false,
        ..Bearer::default()
    });
    for options in [basic(), no_pull] {
        let (mut world, store, _) = pulling(Config::default(), options, &small());
        let why = "docker-credential-x could not be run";
        let failed = CredentialAnswer::Failed(why.into());
        world.credential("reg.example", failed, &[]);
        let task = world.start(pull(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
        assert_eq!(failure.first().hint(), Some(why));
    }
    let (mut world, store, _) = pulling(Config::default(), bearer(), &small());
    world.credential("reg.example", CredentialAnswer::Failed("x".into()), &[]);
    let task = world.start(pull(store));
    world.run(task).unwrap();
}

/// AUTH-74 and AUTH-33.
#[test]
fn ready_tokens_and_identity_tokens() {
    let image = small();
    let no_pull = || {
        bearer_with(Bearer {
            anonymous_pull: false,
            ..Bearer::default()
        })
    };
    let mut model = with_image(no_pull(), &image);
    let identity = model.issue_refresh_token("alice");
    let mut first = world(Config::default(), model);
    let secret = CredentialAnswer::Refresh(Secret::new(identity));
    first.credential("reg.example", secret, &["reg.example"]);
    let (store, memory) = first.store();
    let task = first.start(pull(store));
    first.run(task).unwrap();
    check_holds(&memory, &image);
    assert_eq!(
        first.lines_with("> POST https://reg.example/token").len(),
        1
    );

    let ready = CredentialAnswer::Bearer(Secret::new("ready-token-1234"));
    let (mut world, store, _) = pulling(Config::default(), no_pull(), &image);
    world.credential("reg.example", ready, &["reg.example"]);
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    assert_eq!(tokens(&world), 0, "it is not exchanged");
    let log = world.take_log(0);
    assert_eq!(log.len(), 2, "{log:?}");
}

/// 403 without a challenge is no invitation to try again.
#[test]
fn forbidden_is_asked_once() {
    let (mut world, store, _) = pulling(Config::default(), open(), &small());
    let no = Answer::error(StatusCode::FORBIDDEN, "DENIED", "not you");
    world.all(is("GET", "/manifests/"), Fate::Say(no));
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    assert_eq!(world.models[0].log().len(), 1);
}

/// A user who may pull and not push: the refusal is told, with the registry's own words.
#[test]
fn lack_of_rights_is_told() {
    for insufficient in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let mut options = bearer_with(Bearer {
            insufficient,
            ..Bearer::default()
        });
        let user = User::limited("pa55-of-alice").with("a/b", &["pull"]);
        if let Auth::Bearer(bearer) = &mut options.auth {
            bearer.users = [("alice".into(), user)].into();
        }
        let (mut world, store, _) = pushing(one_at_a_time(), options, &small());
        world.credential("reg.example", alice(), &["reg.example"]);
        let task = world.start(push(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
        assert!(
            failure.to_string().contains("a fresh token of `alice`"),
            "{failure}"
        );
        assert_eq!(tokens(&world), 1, "{}", world.transcript());
    }
}

/// Two users of one process never share a token.
#[test]
fn tokens_belong_to_their_registry() {
    let image = small();
    let mut world = World::new(Config::default());
    for host in ["one.example", "two.example"] {
        let bearer = Bearer {
            realm: format!("https://{host}/token"),
            ..Bearer::default()
        };
        let options = Options {
            auth: Auth::Bearer(bearer),
            ..open()
        };
        let mut model = with_image(options, &image);
        // So that the two do not give out the same tokens.
        if host == "two.example" {
            model.issue_refresh_token("nobody");
        }
        world.registry(&[host], model);
    }
    let (store, _) = world.store();
    for host in ["one.example", "two.example"] {
        let from = reference(&format!("{host}/a/b:v1"));
        let task = world.start(Task::pull(from, store, None, Platforms::All));
        world.run(task).unwrap();
    }
    world.run_all();
}

/// The token service is down: everybody who waits is told, and it is not asked for ever.
#[test]
fn a_token_service_that_is_down() {
    let (mut world, store, _) = pulling(Config::default(), bearer(), &small());
    world.all(is("GET", "/token"), Fate::Unreachable);
    let tasks = [world.start(pull(store)), world.start(pull(store))];
    for task in tasks {
        let failure = world.run(task).unwrap_err();
        assert_eq!(failure.first().kind(), ErrorKind::Temporary);
    }
    world.run_all();
}

/// A redirect of a token request is not followed: it would carry the password.
#[test]
fn a_token_service_that_sends_elsewhere() {
    let (mut world, store, _) = pulling(Config::default(), bearer(), &small());
    let away =
        Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", "https://cdn.example/token");
    world.all(is("GET", "/token"), Fate::Say(away));
    world.credential("reg.example", alice(), &["reg.example"]);
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Refused);
}

/// Docker Hub by all its names is one registry: its credentials, its token service, `library/`, mounts.
#[test]
fn hub_by_its_names() {
    let names = [
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "registry.hub.docker.com",
    ];
    let image = small();
    let mut options = bearer();
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.realm = "https://auth.docker.io/token".into();
        bearer.anonymous_pull = false;
    }
    for name in names {
        let mut model = Model::new(options.clone());
        model.put_image("library/app", Some("v1"), &image);
        let mut world = World::new(one_at_a_time());
        world.registry(&["registry-1.docker.io", "auth.docker.io"], model);
        world.credential("docker.io", alice(), &["auth.docker.io"]);
        let (store, memory) = world.store();
        let from = format!("{name}/app:v1");
        let task = world.start(Task::pull(reference(&from), store, None, Platforms::All));
        world.run(task).unwrap();
        check_holds(&memory, &image);
        for other in names {
            let to = format!("{other}/team/{}:v1", other.replace('.', "-"));
            let task = world.start(copy_within(&from, &to, None));
            assert_eq!(world.run(task).unwrap().mounted, 3, "{from} to {to}");
        }
        world.run_all();
    }
}

/// AUTH-32: a token service without POST gets the identity token by GET, one that refuses it gets it once.
/// 401 and 400 are what Artifactory and ACR answer.
#[test]
fn an_identity_token_by_get() {
    let image = small();
    for (status, works) in [
        (404, true),
        (405, true),
        (401, true),
        (400, true),
        (403, false),
    ] {
        let options = bearer_with(Bearer {
            anonymous_pull: false,
            refuse_post: StatusCode::from_u16(status).ok(),
            ..Bearer::default()
        });
        let mut model = with_image(options, &image);
        let identity = model.issue_refresh_token("alice");
        let mut world = world(Config::default(), model);
        let secret = CredentialAnswer::Refresh(Secret::new(identity));
        world.credential("reg.example", secret, &["reg.example"]);
        let (store, memory) = world.store();
        let task = world.start(pull(store));
        let result = world.run(task);
        world.run_all();
        if works {
            result.unwrap();
            check_holds(&memory, &image);
        } else {
            let failure = result.unwrap_err();
            assert_eq!(failure.first().kind(), ErrorKind::Auth, "{status}");
            let said = failure.first().to_string();
            assert!(said.contains("an identity token"), "{said}");
        }
        let log = world.models[0].log().iter();
        let asked = log.filter(|entry| entry.target.starts_with("/token"));
        let methods: Vec<_> = asked.map(|entry| entry.method.as_str()).collect();
        let expected: &[_] = if works { &["POST", "GET"] } else { &["POST"] };
        assert_eq!(methods, expected, "{status}");
        // It is for the token service alone.
        let log = world.models[0].log().iter();
        let basic = log.filter(|it| it.credentials == windlass_testbed::Credentials::Basic);
        assert!(basic.clone().all(|it| it.target.starts_with("/token")));
    }
}

/// AUTH, section 4.6: the token of a response that broke off was accepted. When it is refused afterwards, it is out of date, and
/// another one is fetched.
#[test]
fn a_token_refused_after_a_response_that_broke_off_is_renewed() {
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), bearer(), &image);
    let expired = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "expired").header(
        "www-authenticate",
        r#"Bearer realm="https://reg.example/token",service="testbed""#,
    );
    // The first one is challenged.
    world.nth(2, is("GET", "/manifests/"), Fate::Cut(10));
    world.nth(3, is("GET", "/manifests/"), Fate::Say(expired));
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &image);
    assert_eq!(tokens(&world), 2);
}
