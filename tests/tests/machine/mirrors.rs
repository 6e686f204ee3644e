//! Routes: mirrors before the registry, what becomes of those that fail, and what is blocked. The
//! snapshots are transcripts, see `transcripts.rs`.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::config::{
    Capabilities, Endpoint, Mode, Prefix, References, RequestHeader, Route, RouteError,
};
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{Config, Error, ErrorKind, Failure, Paging, Platforms, Report, StoreId, Task};
use windlass_testbed::{
    Answer, Auth, Basic, Bearer, Image, Model, Options, Request, Storage, User,
};
use windlass_tests::world::scenes::{
    FOREIGN, alice, basic, bearer, check_holds, check_pushed, copy_within, digest, fill, large,
    on_foreign, one_at_a_time, open, pull, push, reference, small, with_image,
};
use windlass_tests::world::{Fate, Memory, World};

const MIRROR: &str = "m.example";

fn mirror() -> Endpoint {
    mirror_at(MIRROR)
}

fn mirror_at(host: &str) -> Endpoint {
    Endpoint::mirror(format!("https://{host}").parse().unwrap()).with_ns()
}

fn route(mode: Mode, endpoints: Vec<Endpoint>) -> Route {
    Route::new("reg.example".parse().unwrap(), "the rule", mode, endpoints)
}

fn config(mode: Mode, endpoints: Vec<Endpoint>) -> Config {
    let mut config = one_at_a_time();
    config.routes.push(route(mode, endpoints));
    config
}

/// The registry, and a mirror of it.
struct Scene {
    world: World,
    store: StoreId,
    memory: Memory,
}

const REGISTRY: usize = 0;
const AT_MIRROR: usize = 1;

impl Scene {
    fn new(config: Config, registry: Model, mirror: Model) -> Self {
        let mut world = World::new(config);
        world.registry(&["reg.example", "cdn.example"], registry);
        world.registry(&[MIRROR, "cdn.m.example"], mirror);
        let (store, memory) = world.store();
        Self {
            world,
            store,
            memory,
        }
    }

    /// Both have the image, and anybody may read it.
    fn open(config: Config, image: &Image) -> Self {
        Self::new(config, with_image(open(), image), with_image(open(), image))
    }

    fn pull(&mut self) -> Result<Report, Failure> {
        let task = self.world.start(pull(self.store));
        let result = self.world.run(task);
        self.world.run_all();
        result
    }

    fn asked(&self, model: usize) -> usize {
        self.world.models[model].log().len()
    }

    /// How many manifests and blobs came from a host.
    fn served(report: &Report, host: &str) -> Option<u64> {
        let origin = format!("https://{host}").parse().unwrap();
        report.served.get(&origin).copied()
    }
}

fn at_mirror(request: &Request) -> bool {
    request.host == MIRROR
}

fn blob_at_mirror(request: &Request) -> bool {
    at_mirror(request) && request.method == "GET" && request.target.contains("/blobs/")
}

/// The lists of a mirror are not those of the registry: it is asked for them only where the registry is replaced.
#[test]
fn lists_are_read_at_the_registry_unless_it_is_replaced() {
    for (mode, at_registry, at_mirror) in [(Mode::Prefer, 1, 0), (Mode::Replace, 0, 1)] {
        let image = small();
        let at = format!("reg.example/a/b@{}", digest(&image.manifest));
        let blob = format!("reg.example/a/b@{}", digest(&image.layers[0]));
        for task in [
            Task::tags(reference("reg.example/a/b"), Paging::default()),
            Task::referrers(reference(&at), None),
            Task::find_blob(reference(&blob)),
        ] {
            let mut scene = Scene::open(config(mode, vec![mirror()]), &image);
            let task = scene.world.start(task);
            scene.world.finish(task).unwrap();
            let asked = (scene.asked(REGISTRY), scene.asked(AT_MIRROR));
            assert_eq!(asked, (at_registry, at_mirror), "{mode:?}");
        }
    }
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_not_at_all() {
    let image = small();
    let mut scene = Scene::open(config(Mode::Prefer, vec![mirror()]), &image);
    let report = scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    assert_eq!(scene.asked(REGISTRY), 0);
    assert_eq!(Scene::served(&report, MIRROR), Some(4));
    assert_eq!(report.served.len(), 1);
    let log = scene.world.models[AT_MIRROR].log();
    let named = log
        .iter()
        .filter(|it| it.ns().as_deref() == Some("reg.example"));
    assert_eq!(named.count(), log.len(), "HOSTS-04");
    assert_snapshot!(scene.world.transcript());
}

/// HOSTS-05: what it lacks comes from the registry, which is not told of itself.
#[test]
fn what_a_mirror_lacks_comes_from_the_registry() {
    let image = small();
    let mut model = Model::new(open());
    model.put_blob("a/b", image.layers[0].clone());
    let config = config(Mode::Prefer, vec![mirror()]);
    let mut scene = Scene::new(config, with_image(open(), &image), model);
    let report = scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    assert_eq!(Scene::served(&report, MIRROR), Some(1));
    assert_eq!(Scene::served(&report, "reg.example"), Some(3));
    let log = scene.world.models[REGISTRY].log();
    assert!(log.iter().all(|it| it.ns().is_none()), "HTTP-26");
    assert!(
        scene.world.lines_with("* warning").is_empty(),
        "404 is no fault"
    );
    assert_snapshot!(scene.world.transcript());
}

/// users.md 2.8: the offset is good everywhere, because the digest is the identity.
#[test]
fn a_mirror_that_dies_in_a_blob_is_left_where_it_stopped() {
    let image = large(100_000);
    let mut scene = Scene::open(config(Mode::Prefer, vec![mirror()]), &image);
    scene.world.nth(2, blob_at_mirror, Fate::Cut(30_000));
    scene.world.nth(3, blob_at_mirror, Fate::Unreachable);
    let report = scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    let size: usize = image.blobs().map(|blob| blob.len()).sum();
    assert_eq!(report.bytes, size as u64, "nothing is fetched twice");
    let rest = scene
        .world
        .lines_with("> GET https://reg.example/v2/a/b/blobs/");
    assert!(rest[0].ends_with("bytes=30000-99999"), "{rest:?}");
    let told = scene.world.lines_with("* warning");
    assert!(
        told[0].contains(MIRROR) && told[0].contains("trying `reg.example`"),
        "{told:?}"
    );
    assert_snapshot!(scene.world.transcript());
}

/// Wrong bytes are told, with the name of the mirror, and are not kept.
#[test]
fn a_mirror_that_lies_is_told_and_left() {
    let image = small();
    let mut lies = with_image(open(), &image);
    let layer = windlass_testbed::Digest::sha256(&image.layers[0]);
    lies.put_damaged_blob("a/b", &layer, b"first lAyer".to_vec());
    let config = config(Mode::Prefer, vec![mirror()]);
    let mut scene = Scene::new(config, with_image(open(), &image), lies);
    scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    let told = scene.world.lines_with("* warning");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("`m.example` sent wrong content"),
        "{told:?}"
    );
    let asked = scene.world.models[AT_MIRROR].log().iter();
    let asked = asked.filter(|it| it.target.contains(layer.as_str()));
    assert_eq!(asked.count(), 1, "it is not asked for the same bytes again");
    assert_snapshot!(scene.world.transcript());
}

/// Wrong bytes that came in two parts are not the beginning of what comes from elsewhere.
#[test]
fn a_lie_in_two_parts_is_left_as_a_whole() {
    let image = large(100_000);
    let mut lies = with_image(open(), &image);
    let layer = windlass_testbed::Digest::sha256(&image.layers[0]);
    let mut wrong = image.layers[0].to_vec();
    wrong[10] ^= 1;
    lies.put_damaged_blob("a/b", &layer, wrong);
    let config = config(Mode::Prefer, vec![mirror()]);
    let mut scene = Scene::new(config, with_image(open(), &image), lies);
    scene.world.nth(2, blob_at_mirror, Fate::Cut(70_000));
    let report = scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    assert_eq!(scene.world.lines_with("sent wrong content").len(), 1);
    let asked = scene
        .world
        .lines_with("> GET https://reg.example/v2/a/b/blobs/");
    assert!(
        asked.len() == 1 && !asked[0].contains("bytes="),
        "{asked:?}"
    );
    let config = image.config.len() as u64;
    assert_eq!(report.bytes, 200_000 + config, "also what was for nothing");
}

/// The same for documents: a manifest, and what a HEAD says.
#[test]
fn a_mirror_that_lies_about_a_manifest_is_told_and_left() {
    let image = small();
    let wrong = image.digest.to_string();
    for is_resolve in [true, false] {
        let mut scene = Scene::open(config(Mode::Prefer, vec![mirror()]), &image);
        let other = Answer::new(StatusCode::OK)
            .header("content-type", windlass_testbed::OCI_MANIFEST)
            .header("content-length", "2")
            .header(
                "docker-content-digest",
                format!("sha256:{}", "0".repeat(64)),
            );
        let other = if is_resolve { other } else { other.body("{}") };
        scene.world.all(at_mirror, Fate::Say(other));
        let by_digest = reference(&format!("reg.example/a/b@{wrong}"));
        let task = if is_resolve {
            Task::resolve(by_digest)
        } else {
            Task::pull(by_digest, scene.store, None, Platforms::All)
        };
        let task = scene.world.start(task);
        let report = scene.world.finish(task).unwrap();
        scene.world.run_all();
        assert_eq!(report.root().unwrap().digest, digest(&image.manifest));
        let told = scene.world.lines_with("sent wrong content: manifest");
        assert_eq!(told.len(), 1, "{}", scene.world.transcript());
    }
}

/// users.md 11.2: a login page is no manifest.
#[test]
fn a_mirror_that_answers_with_a_page_is_left() {
    let image = small();
    let mut scene = Scene::open(config(Mode::Prefer, vec![mirror()]), &image);
    let page = Answer::new(StatusCode::OK).header("content-type", "text/html");
    let page = page.body("<html>sign in</html>");
    scene.world.all(at_mirror, Fate::Say(page));
    scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    let told = scene.world.lines_with("* warning");
    assert!(
        told[0].contains("https://m.example/v2/a/b/manifests/v1"),
        "{told:?}"
    );
}

fn secret_of(name: &str) -> (Options, CredentialAnswer) {
    let password = format!("pa55-of-{name}");
    let users = [(name.to_owned(), User::new(password.clone()))];
    let options = Options {
        auth: Auth::Basic(Basic {
            users: users.into(),
            anonymous_pull: false,
        }),
        ..open()
    };
    let answer = CredentialAnswer::Basic {
        username: name.into(),
        password: Secret::new(password),
    };
    (options, answer)
}

/// CRED-46, HTTP-27: each is asked for by its own name and shown its own. The world checks who sees what.
#[test]
fn a_mirror_has_credentials_of_its_own() {
    let image = small();
    let (options, bob) = secret_of("bob");
    let mut model = Model::new(options);
    model.put_manifest(
        "a/b",
        Some("v1"),
        windlass_testbed::OCI_MANIFEST,
        image.manifest.clone(),
    );
    let config = config(Mode::Prefer, vec![mirror()]);
    let mut scene = Scene::new(config, with_image(basic(), &image), model);
    scene
        .world
        .credential("reg.example", alice(), &["reg.example"]);
    scene.world.credential(MIRROR, bob, &[MIRROR]);
    let report = scene.pull().unwrap();
    assert_eq!(Scene::served(&report, MIRROR), Some(1));
    check_holds(&scene.memory, &image);
    assert_snapshot!(scene.world.transcript());
}

/// users.md 12.2: whom a mirror refuses, it does not stop, and it is not asked again for that repository.
#[test]
fn a_mirror_that_refuses_is_left() {
    let image = small();
    let (options, _) = secret_of("bob");
    let config = config(Mode::Prefer, vec![mirror()]);
    let mut scene = Scene::new(
        config,
        with_image(open(), &image),
        with_image(options, &image),
    );
    scene.world.credential("reg.example", alice(), &[]);
    scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    assert_eq!(scene.asked(AT_MIRROR), 1, "{}", scene.world.transcript());
    let told = scene.world.lines_with("* warning");
    assert!(told[0].contains("401 with no credentials"), "{told:?}");
}

/// A realm that the registry's credentials may go to is none of a mirror's.
#[test]
fn realms_are_judged_for_the_mirrors_own_name() {
    let image = small();
    let there = Bearer {
        realm: "https://auth.example/token".into(),
        users: [("alice".into(), User::new("pa55-of-alice"))].into(),
        ..Bearer::default()
    };
    let options = Options {
        auth: Auth::Bearer(there),
        ..open()
    };
    let mut config = config(Mode::Prefer, vec![mirror()]);
    let pair = (
        "reg.example".parse().unwrap(),
        "https://auth.example".parse().unwrap(),
    );
    config.trusted_realms.push(pair);
    let mut world = World::new(config);
    world.registry(&["reg.example"], with_image(open(), &image));
    world.registry(&[MIRROR, "auth.example"], with_image(options, &image));
    // Not even the mirror's own credentials go to that realm.
    world.credential(MIRROR, alice(), &[MIRROR]);
    let (store, memory) = world.store();
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    check_holds(&memory, &image);
}

/// A mirror that fails is put back for a while, and what waits for it goes elsewhere.
#[test]
fn a_dead_mirror_is_not_asked_again_for_a_while() {
    let image = small();
    let mut scene = Scene::open(config(Mode::Prefer, vec![mirror()]), &image);
    scene.world.all(at_mirror, Fate::Unreachable);
    scene.pull().unwrap();
    let asked = |scene: &Scene| scene.world.lines_with("> GET https://m.example/").len();
    assert_eq!(asked(&scene), 1, "{}", scene.world.transcript());
    assert_eq!(scene.world.lines_with("* warning").len(), 1);
    scene.pull().unwrap();
    assert_eq!(asked(&scene), 1);
    let later = scene.world.now() + Duration::from_secs(61);
    scene.world.latency = later.since(scene.world.now());
    scene.pull().unwrap();
    scene.pull().unwrap();
    assert!(asked(&scene) > 1, "{}", scene.world.transcript());
}

/// Several requests may be under way when it dies; those that wait for a slot are not sent.
#[test]
fn what_waits_for_a_dead_mirror_goes_to_the_registry() {
    let layers: Vec<Vec<u8>> = (0..12_u8).map(|n| vec![n; 100]).collect();
    let image = windlass_testbed::image(&layers);
    let mut config = config(Mode::Prefer, vec![mirror()]);
    config.in_flight = windlass_core::config::Concurrency::at_most(2);
    let mut scene = Scene::open(config, &image);
    scene.world.all(blob_at_mirror, Fate::Unreachable);
    scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    let asked = scene
        .world
        .lines_with("> GET https://m.example/v2/a/b/blobs")
        .len();
    assert_eq!(asked, 2, "{}", scene.world.transcript());
}

/// A 5xx is tried once more, "later" and no connection are not.
#[test]
fn how_often_a_mirror_is_tried() {
    let say = |status: u16, after: Option<&'static str>| {
        let answer = Answer::new(StatusCode::from_u16(status).unwrap());
        Fate::Say(match after {
            Some(after) => answer.header("retry-after", after),
            None => answer,
        })
    };
    for (fate, times) in [
        (say(500, None), 2),
        (say(502, None), 2),
        (say(503, None), 1),
        (say(429, None), 1),
        (say(429, Some("30")), 1),
        (say(500, Some("30")), 1),
        (say(404, None), 1),
        (say(400, None), 1),
        (Fate::Unreachable, 1),
        (Fate::Unanswered, 1),
    ] {
        let image = small();
        let mut scene = Scene::open(config(Mode::Prefer, vec![mirror()]), &image);
        let manifest = |request: &Request| at_mirror(request) && request.target.contains("/v1");
        scene.world.all(manifest, fate.clone());
        scene.pull().unwrap();
        let asked = scene
            .world
            .lines_with("> GET https://m.example/v2/a/b/manifests/");
        assert_eq!(asked.len(), times, "{fate:?}\n{}", scene.world.transcript());
        let waited = scene.world.now().since(windlass_core::Time::ZERO);
        assert!(waited < Duration::from_secs(10), "{fate:?} {waited:?}");
    }
}

/// Alone, it is what a registry is: tried as often, and the end.
#[test]
fn a_mirror_in_place_of_the_registry_is_tried_like_one() {
    let image = small();
    let mut scene = Scene::open(config(Mode::Replace, vec![mirror()]), &image);
    scene.world.all(at_mirror, Fate::Unreachable);
    let failure = scene.pull().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Temporary);
    assert!(
        failure.to_string().contains("https://m.example/"),
        "{failure}"
    );
    assert!(failure.to_string().contains("tried 5 times"), "{failure}");
    assert_eq!(scene.asked(REGISTRY), 0);
}

/// All errors are told, the registry's own first, and the kind is that of the first.
#[test]
fn all_endpoints_are_in_the_error() {
    let image = small();
    let endpoints = || vec![mirror(), mirror_at("n.example")];
    let run = |mode| {
        let mut scene = Scene::new(
            config(mode, endpoints()),
            Model::new(open()),
            Model::new(open()),
        );
        let at_second = |request: &Request| request.host == "n.example";
        scene.world.all(at_second, Fate::Unreachable);
        let failure = scene.pull().unwrap_err();
        assert_eq!(failure.errors().len(), 1);
        failure
    };
    let failure = run(Mode::Prefer);
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(matches!(failure.first(), Error::Endpoints { .. }));
    assert_eq!(
        failure.to_string(),
        "manifest `v1` of `reg.example/a/b`: not found (MANIFEST_UNKNOWN: manifest unknown); \
         elsewhere: manifest `v1` of `m.example/a/b`: not found (MANIFEST_UNKNOWN: manifest unknown); \
         GET https://n.example/v2/a/b/manifests/v1?***: cannot connect: planned (tried once)"
    );
    // Without the registry: what is known for certain before what may pass.
    let failure = run(Mode::Replace);
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(
        failure
            .to_string()
            .starts_with("manifest `v1` of `m.example/a/b`"),
        "{failure}"
    );
    drop(image);
}

/// HOSTS-03: who is trusted for bytes only is not asked what a tag stands for, and what the registry says
/// of it pins the rest.
#[test]
fn a_mirror_without_resolve_is_not_asked_for_tags() {
    let image = small();
    let bytes = mirror().with_capabilities(Capabilities::PULL);
    let mut scene = Scene::open(config(Mode::Prefer, vec![bytes]), &image);
    // It has another image under that tag.
    scene.world.models[AT_MIRROR].put_image("a/b", Some("v1"), &large(10));
    let report = scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    assert_eq!(Scene::served(&report, MIRROR), Some(3));
    let log = scene.world.models[AT_MIRROR].log();
    assert!(log.iter().all(|it| !it.target.contains("/v1")));
    assert_snapshot!(scene.world.transcript());
}

/// HOSTS-41: `digest-only` and `tag-only`.
#[test]
fn a_mirror_for_some_references_is_asked_for_those() {
    let image = small();
    let by_digest = format!("reg.example/a/b@{}", image.digest);
    for (references, tag, by) in [
        (References::All, true, true),
        (References::WithDigest, false, true),
        (References::WithoutDigest, true, false),
    ] {
        for (reference, is_asked) in [("reg.example/a/b:v1", tag), (&by_digest, by)] {
            let some = mirror().with_capabilities(Capabilities::ALL.only(references));
            let mut scene = Scene::open(config(Mode::Prefer, vec![some]), &image);
            let task = Task::pull(
                self::reference(reference),
                scene.store,
                None,
                Platforms::All,
            );
            let task = scene.world.start(task);
            scene.world.run(task).unwrap();
            assert_eq!(
                scene.asked(AT_MIRROR) > 0,
                is_asked,
                "{references:?} {reference}"
            );
        }
    }
}

/// HOSTS-43: nothing is pushed to a mirror, nor is it asked what is there.
#[test]
fn a_push_goes_to_the_registry() {
    let image = small();
    let all = mirror().with_capabilities(Capabilities::ALL);
    for mode in [Mode::Prefer, Mode::Replace] {
        let config = config(mode, vec![all.clone()]);
        let mut scene = Scene::new(config, Model::new(open()), Model::new(open()));
        fill(&scene.memory, &image);
        let task = scene.world.start(push(scene.store));
        scene.world.run(task).unwrap();
        scene.world.run_all();
        check_pushed(&scene.world, "a/b", &image);
        assert_eq!(scene.asked(AT_MIRROR), 0);
    }
}

/// A copy reads from the mirror and writes to the registry.
#[test]
fn a_copy_reads_from_the_mirror() {
    let image = small();
    let config = config(Mode::Prefer, vec![mirror()]);
    let mut scene = Scene::new(config, Model::new(open()), with_image(open(), &image));
    let (spool, held) = scene.world.store();
    let copy = copy_within("reg.example/a/b:v1", "reg.example/c:v1", Some(spool));
    let task = scene.world.start(copy);
    let report = scene.world.run(task).unwrap();
    scene.world.run_all();
    check_pushed(&scene.world, "c", &image);
    assert_eq!(Scene::served(&report, MIRROR), Some(4));
    assert!(held.blobs().is_empty());
    let log = scene.world.models[AT_MIRROR].log();
    assert!(
        log.iter()
            .all(|it| it.method == "GET" || it.method == "HEAD")
    );
}

/// Before any request, for everything that would read or write, and with the name of the rule.
#[test]
fn what_is_blocked_is_not_asked_for() {
    let image = small();
    let mut config = one_at_a_time();
    let scope = "reg.example/a".parse().unwrap();
    config
        .routes
        .push(Route::blocked(scope, "/etc/x.conf: registry[3]"));
    let mut scene = Scene::open(config, &image);
    fill(&scene.memory, &image);
    let (spool, _) = scene.world.store();
    for task in [
        pull(scene.store),
        push(scene.store),
        Task::resolve(reference("reg.example/a/b:v1")),
        copy_within("reg.example/a/b:v1", "m.example/c:v1", Some(spool)),
        copy_within("m.example/a/b:v1", "reg.example/a/c:v1", Some(spool)),
    ] {
        let task = scene.world.start(task);
        let failure = scene.world.finish(task).unwrap_err();
        let Error::Route(error) = failure.first() else {
            panic!("{failure:?}");
        };
        assert!(matches!(**error, RouteError::Blocked { .. }), "{error:?}");
        assert_eq!(failure.kind(), ErrorKind::Refused);
        let text = failure.to_string();
        assert!(text.contains("/etc/x.conf: registry[3]"), "{text}");
    }
    assert_eq!((scene.asked(REGISTRY), scene.asked(AT_MIRROR)), (0, 0));
}

/// Of a blocked registry nothing is asked either, and its credentials are not looked for.
#[test]
fn a_blocked_registry_is_not_asked_for_its_repositories() {
    let mut config = one_at_a_time();
    let scope = "reg.example".parse().unwrap();
    config.routes.push(Route::blocked(scope, "/etc/x.conf"));
    let mut scene = Scene::open(config, &small());
    let registry: windlass_core::Registry = "reg.example".parse().unwrap();
    for task in [
        Task::catalog(registry.clone(), Paging::default()),
        Task::check(registry),
    ] {
        let task = scene.world.start(task);
        let failure = scene.world.finish(task).unwrap_err();
        assert!(matches!(failure.first(), Error::Route(_)), "{failure:?}");
    }
    assert_eq!(scene.asked(REGISTRY), 0);
}

/// HOSTS-42: the name at the mirror is in the path and in the scope of the token; what is reported has the
/// name that was asked for.
#[test]
fn a_mirror_has_names_of_its_own() {
    let image = small();
    let mut model = Model::new(bearer());
    model.put_image("hub/a/b", Some("v1"), &image);
    let named = mirror().with_prefix(Prefix::Replaced("hub".parse().unwrap()));
    let config = config(Mode::Replace, vec![named]);
    let mut scene = Scene::new(config, Model::new(open()), model);
    scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    let log = scene.world.models[AT_MIRROR].log();
    let token = log.iter().find(|it| it.target.starts_with("/token"));
    let target = &token.unwrap().target;
    assert!(target.contains("scope=repository:hub/a/b:pull"), "{target}");
}

/// HOSTS-02: an API that is not below `/v2`.
#[test]
fn a_mirror_has_an_api_elsewhere() {
    let image = small();
    let there = mirror().with_api("/api/docker/hub/v2".parse().unwrap());
    let mut scene = Scene::open(config(Mode::Prefer, vec![there]), &image);
    scene
        .world
        .all(at_mirror, Fate::Say(Answer::new(StatusCode::NOT_FOUND)));
    scene.pull().unwrap();
    let asked = scene.world.lines_with("https://m.example");
    let expected = "> GET https://m.example/api/docker/hub/v2/a/b/manifests/v1?***";
    assert!(asked[0].ends_with(expected), "{asked:?}");
}

fn header(name: &str, value: &str) -> RequestHeader {
    RequestHeader::new(name, Secret::new(value)).unwrap()
}

/// Headers of the configuration go to their origin, and neither to its storage nor to the registry.
#[test]
fn headers_go_to_their_origin() {
    let image = small();
    // alice:pa55-of-alice
    let basic_auth = "Basic YWxpY2U6cGE1NS1vZi1hbGljZQ==";
    let with = mirror()
        .with_header(header("Authorization", basic_auth))
        .with_header(header("X-Secret", "wOnd3rful"));
    let options = Options {
        storage: Some(Storage::new("https://cdn.m.example")),
        ..basic()
    };
    let mut model = with_image(options, &image);
    model.options_mut().registry_hosts.clear();
    let config = config(Mode::Prefer, vec![with]);
    let mut scene = Scene::new(config, with_image(open(), &image), model);
    // One blob comes from the registry.
    scene.world.nth(
        2,
        blob_at_mirror,
        Fate::Say(Answer::new(StatusCode::NOT_FOUND)),
    );
    scene.pull().unwrap();
    check_holds(&scene.memory, &image);
    let log = scene.world.models[AT_MIRROR].log().iter();
    let log = log.chain(scene.world.models[REGISTRY].log());
    for entry in log {
        let is_there = entry.host == MIRROR;
        for name in ["authorization", "x-secret"] {
            let has = entry.headers.contains_key(name);
            assert_eq!(has, is_there, "{name} {} {}", entry.host, entry.target);
        }
    }
    assert!(scene.world.lines_with("> credentials").is_empty());
    for text in [scene.world.transcript(), scene.world.tape()] {
        assert!(
            !text.contains("wOnd3rful") && !text.contains("YWxpY2U6"),
            "{text}"
        );
    }
    assert!(!format!("{:?}", scene.world.session).contains("wOnd3rful"));
}

/// A header that is refused is the end there: nothing else is shown.
#[test]
fn a_header_that_is_refused_is_not_replaced() {
    let image = small();
    let with = mirror().with_header(header("Authorization", "hidden-t0ken"));
    let config = config(Mode::Replace, vec![with]);
    let mut scene = Scene::new(config, Model::new(open()), with_image(basic(), &image));
    scene.world.credential(MIRROR, alice(), &[]);
    let failure = scene.pull().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Auth);
    let text = failure.to_string();
    assert!(text.contains("401 with the configured header"), "{text}");
    assert_eq!(scene.asked(AT_MIRROR), 1);
    assert!(!scene.world.transcript().contains("hidden-t0ken"));
    assert!(!scene.world.tape().contains("hidden-t0ken"));
}

/// SEC-08: a manifest of a public registry does not reach into the network of a private mirror.
#[test]
fn a_private_mirror_does_not_open_its_network() {
    let url = "https://10.0.0.7/layer";
    let image = on_foreign(&small(), FOREIGN, b"a base layer", &[url]);
    let inside = Endpoint::mirror("https://10.0.0.1".parse().unwrap());
    let mut world = World::new(config(Mode::Replace, vec![inside]));
    world.registry(&["10.0.0.1"], with_image(open(), &image));
    let (store, _) = world.store();
    let task = world.start(pull(store).including_nondistributable());
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert!(failure.to_string().contains("private address"), "{failure}");
    assert!(
        world
            .lines_with("https://10.0.0.7")
            .iter()
            .all(|it| !it.contains("> GET"))
    );
}

/// What it was resumed with it goes on with, at the mirror too.
#[test]
fn a_resumed_pull_goes_on_at_the_mirror() {
    let image = large(100_000);
    let mut scene = Scene::open(config(Mode::Prefer, vec![mirror()]), &image);
    scene.world.start(pull(scene.store));
    scene
        .world
        .run_until(|world| !world.lines_with("* resolved").is_empty());
    let [task] = scene.world.restart()[..] else {
        panic!("one task")
    };
    scene.world.run(task).unwrap();
    scene.world.run_all();
    check_holds(&scene.memory, &image);
    assert_eq!(scene.asked(REGISTRY), 0);
}
