//! Mirrors through both clients: two servers on loopback, of which one dies, lies or is silent.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use windlass_core::config::{Endpoint, Mode, Route, RouteError};
use windlass_core::credential::{CredentialAnswer, Question, Secret, TimedAnswer};
use windlass_core::{Error, Event, ImageChange, Origin, Platform};
use windlass_driver::{Artifact, Attach, ChangeImage, ChangeIndex, Credentials, RequestSpec};
use windlass_testbed::{
    Answer, Auth, Basic, Delivery, Image, Model, Options, Request, Server, User, image, image_for,
    index,
};
use windlass_tests::drivers::{Ask, Driver, Faults, Setup, Shelf, Watch, Ways, gets_blob, serve};
use windlass_tests::images::noise;
use windlass_tests::through_both;
use windlass_tests::world::scenes::{digest, reference};

through_both!(
    a_mirror_that_dies_in_a_blob,
    a_mirror_that_lies,
    a_silent_mirror_is_asked_once,
    a_push_does_not_go_to_a_mirror,
    what_is_blocked_is_not_asked_for,
    what_is_put_back_is_not_read_at_a_mirror,
);

fn app() -> Image {
    image(&[noise(2 << 20, 1), noise(10, 2)])
}

/// A registry with the image that `user` may read and write.
fn model(user: &str) -> Model {
    let users = [(user.to_owned(), User::new(password(user)))];
    let mut model = Model::new(Options {
        auth: Auth::Basic(Basic {
            users: users.into(),
            anonymous_pull: false,
        }),
        ..Options::default()
    });
    model.put_image("team/app", Some("v1"), &app());
    model
}

fn password(user: &str) -> String {
    format!("pa55-of-{user}")
}

/// The header that `user` is known by.
fn basic(user: &str) -> String {
    let pair = format!("{user}:{}", password(user));
    format!("Basic {}", STANDARD.encode(pair))
}

/// The credentials of alice for the registry and of bob for the mirror.
#[derive(Debug)]
struct Known {
    registry: String,
    mirror: String,
}

impl Credentials for Known {
    fn find(&self, question: &Question) -> TimedAnswer {
        let (of, to) = (question.registry(), question.recipient());
        let host = format!("{}:{}", to.host(), to.port());
        assert_eq!(of.as_str(), host, "each is asked for by its own name");
        let user = match of.as_str() {
            of if of == self.registry => "alice",
            of if of == self.mirror => "bob",
            _ => return CredentialAnswer::None.into(),
        };
        let answer = CredentialAnswer::Basic {
            username: user.into(),
            password: Secret::new(password(user)),
        };
        answer.into()
    }
}

/// A registry, its mirror, and how a client is told of both.
struct Scene {
    registry: Server,
    mirror: Server,
    setup: Setup,
}

impl Scene {
    fn new(faults: Faults) -> Self {
        Self::with(model("bob"), faults)
    }

    fn with(mirror: Model, faults: Faults) -> Self {
        let registry = Server::start(model("alice")).unwrap();
        let (mirror, _) = serve(mirror, faults);
        let origin = format!("http://{}", mirror.host()).parse().unwrap();
        let endpoints = vec![Endpoint::mirror(origin).with_ns()];
        let scope = registry.host().parse().unwrap();
        let mut setup = Setup::new();
        let route = Route::new(scope, "the test", Mode::Prefer, endpoints);
        setup.config.routes.push(route);
        setup.credentials = Some(Arc::new(Known {
            registry: registry.host(),
            mirror: mirror.host(),
        }));
        Self {
            registry,
            mirror,
            setup,
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    /// Each server has seen its own user only, and the mirror alone whom it is a mirror of.
    fn check_secrets(&self) {
        for (server, user, ns) in [
            (&self.registry, "alice", None),
            (&self.mirror, "bob", Some(self.registry.host())),
        ] {
            let own = basic(user);
            for entry in server.requests() {
                let shown = entry.headers.get("authorization");
                assert!(shown.is_none_or(|it| it.as_bytes() == own.as_bytes()));
                if entry.target.contains("/team/") {
                    assert_eq!(entry.ns(), ns, "{}", entry.target);
                }
            }
        }
    }
}

fn a_mirror_that_dies_in_a_blob<D: Driver>() {
    let dead = Arc::new(AtomicBool::new(false));
    let (dies, died) = (Arc::clone(&dead), Arc::clone(&dead));
    let faults = Faults::new()
        .before(move |_: &Request, _| {
            let mut gone = Delivery::from(Answer::new(http::StatusCode::OK));
            gone.reset_before_head = true;
            died.load(Ordering::SeqCst).then_some(gone)
        })
        .deliver(move |request: &Request, _, answer: Answer| {
            let is_large = gets_blob(request) && answer.body.len() > 1_000_000;
            let mut delivery = Delivery::from(answer);
            if is_large && !dies.swap(true, Ordering::SeqCst) {
                delivery.cut_body_after = Some(700_001);
            }
            delivery
        });
    let scene = Scene::new(faults);
    let client = D::new(&scene.setup);
    let (shelf, watch) = (Shelf::new(), Watch::new());
    let ask = Ask::pull(&scene.name("team/app:v1"), &shelf.store).watched(&watch);
    let report = client.run(ask).unwrap();
    shelf.check_holds(&app());
    let size: usize = app().blobs().map(|blob| blob.len()).sum();
    assert_eq!(report.bytes, size as u64, "nothing is fetched twice");
    let log = scene.registry.requests();
    let ranges = log.iter().filter_map(|it| it.headers.get("range"));
    let ranges: Vec<_> = ranges.map(|it| it.to_str().unwrap().to_owned()).collect();
    assert_eq!(ranges, ["bytes=700001-2097151"]);
    let mirror: Origin = format!("http://{}", scene.mirror.host()).parse().unwrap();
    assert!(report.served[&mirror] >= 1, "{:?}", report.served);
    let told = |event: &Event| matches!(event, Event::Warning(text) if text.contains("trying"));
    assert_eq!(watch.events().iter().filter(|it| told(it)).count(), 1);
    scene.check_secrets();
}

fn a_mirror_that_lies<D: Driver>() {
    let mut lies = model("bob");
    let large = noise(2 << 20, 1);
    let mut wrong = large.clone();
    wrong[1_000_000] ^= 1;
    let name = windlass_testbed::Digest::sha256(&large);
    lies.put_damaged_blob("team/app", &name, wrong);
    let scene = Scene::with(lies, Faults::new());
    let (shelf, watch) = (Shelf::new(), Watch::new());
    let ask = Ask::pull(&scene.name("team/app:v1"), &shelf.store).watched(&watch);
    D::new(&scene.setup).run(ask).unwrap();
    shelf.check_holds(&app());
    let events = watch.events();
    let said = format!("`{}` sent wrong content", scene.mirror.host());
    let told = |event: &&Event| matches!(event, Event::Warning(text) if text.contains(&said));
    assert_eq!(events.iter().filter(told).count(), 1, "{events:?}");
    let registry: Origin = format!("http://{}", scene.registry.host()).parse().unwrap();
    let from_registry = Event::Served {
        digest: digest(&large),
        origin: registry,
    };
    let served = |event: &&Event| **event == from_registry;
    assert_eq!(events.iter().filter(served).count(), 1, "{events:?}");
    scene.check_secrets();
}

fn a_silent_mirror_is_asked_once<D: Driver>() {
    let silent = |_: &Request, _, answer: Answer| {
        let mut delivery = Delivery::from(answer);
        delivery.delay = Some(Duration::from_secs(600));
        delivery
    };
    let scene = Scene::new(Faults::new().deliver(silent));
    let limit = Duration::from_millis(300);
    let client = D::new(&scene.setup.clone().limits(limit, limit));
    for _ in 0..2 {
        let shelf = Shelf::new();
        let ask = Ask::pull(&scene.name("team/app:v1"), &shelf.store);
        client.run(ask).unwrap();
        shelf.check_holds(&app());
    }
    // The answer that was not waited for is not in the log yet.
    assert!(scene.mirror.requests().len() <= 1);
    scene.check_secrets();
}

fn a_push_does_not_go_to_a_mirror<D: Driver>() {
    let scene = Scene::new(Faults::new());
    let client = D::new(&scene.setup);
    let shelf = Shelf::new();
    let pull = Ask::pull(&scene.name("team/app:v1"), &shelf.store);
    client.run(pull).unwrap();
    let before = scene.mirror.requests().len();
    let push = Ask::push(&shelf.store, &scene.name("pushed:v1"));
    client.run(push).unwrap();
    assert_eq!(scene.mirror.requests().len(), before);
    let tag = |model: &mut Model| model.tag("pushed", "v1").cloned();
    assert_eq!(scene.registry.with_model(tag), Some(app().digest));
    scene.check_secrets();
}

fn what_is_blocked_is_not_asked_for<D: Driver>() {
    let mut scene = Scene::new(Faults::new());
    let scope = scene.name("team").parse().unwrap();
    scene.setup.config.routes = vec![Route::blocked(scope, "/etc/x.conf: registry[0]")];
    let shelf = Shelf::new();
    let ask = Ask::pull(&scene.name("team/app:v1"), &shelf.store);
    let failure = D::new(&scene.setup).run(ask).unwrap_err();
    let Error::Route(error) = failure.first() else {
        panic!("{failure:?}");
    };
    assert!(matches!(**error, RouteError::Blocked { .. }));
    let text = failure.to_string();
    assert!(
        text.ends_with("is blocked by /etc/x.conf: registry[0]"),
        "{text}"
    );
    assert!(scene.registry.requests().is_empty() && scene.mirror.requests().is_empty());
}

/// What is changed and put back, or attached to, is what the registry has at the tag, although a pull takes the older
/// image of the mirror.
fn what_is_put_back_is_not_read_at_a_mirror<D: Driver>() {
    let [amd64, arm64, s390x, old] = ["linux/amd64", "linux/arm64", "linux/s390x", "linux/s390x"]
        .map(|name| image_for(name, &[]));
    let old = Image {
        manifest: [&*old.manifest, b"\n"].concat().into(),
        ..old
    };
    let mut stale = model("bob");
    stale.put_image("team/app", None, &amd64);
    stale.put_index("team/app", Some("all"), &index(&[("linux/amd64", &amd64)]));
    let oci = "application/vnd.oci.image.manifest.v1+json";
    old.blobs()
        .for_each(|blob| drop(stale.put_blob("team/app", blob.clone())));
    stale.put_manifest("team/app", Some("s390x"), oci, old.manifest.to_vec());
    let scene = Scene::with(stale, Faults::new());
    let all = index(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
    scene.registry.with_model(|model| {
        for image in [&amd64, &arm64] {
            model.put_image("team/app", None, image);
        }
        model.put_image("team/app", Some("s390x"), &s390x);
        model.put_index("team/app", Some("all"), &all);
    });
    let client = D::new(&scene.setup);
    let [all_tag, s390x_tag] = ["team/app:all", "team/app:s390x"].map(|it| scene.name(it));
    let pulled = client.resolve(Ask::resolve(&s390x_tag)).unwrap();
    assert_eq!(
        pulled.digest,
        digest(&old.manifest),
        "the mirror is asked first"
    );
    let mut itself = RequestSpec::resolve(&reference(&s390x_tag));
    itself.without_mirrors();
    let found = client.resolve(Ask::other(itself)).unwrap();
    assert_eq!(found.digest, digest(&s390x.manifest));

    let artifact = Artifact::new("application/spdx+json");
    let platform = Platform::new("linux", "arm64");
    for (platform, expected) in [(None, &all.manifest), (Some(platform), &arm64.manifest)] {
        let mut attach = Attach::new(&reference(&all_tag), artifact.clone());
        platform.into_iter().for_each(|it| attach.platform(it));
        let attached = client.follow(attach, Ways::default()).unwrap();
        assert_eq!(attached.subject.digest, digest(expected));
    }

    let [all_tag, s390x_tag] = [all_tag, s390x_tag].map(|it| reference(&it));
    let mut add = ChangeIndex::of(&all_tag, &all_tag);
    add.add(&s390x_tag);
    let added = client.follow(add, Ways::default()).unwrap();
    let entries: Vec<_> = added.entries.iter().map(|it| it.digest.clone()).collect();
    let expected = [&amd64, &arm64, &s390x].map(|it| digest(&it.manifest));
    assert_eq!(entries, expected);

    let mut change = ImageChange::default();
    change.labels.insert("x".into(), Some("y".into()));
    let change = ChangeImage::new(&s390x_tag, &s390x_tag, change);
    let changed = client.follow(change, Ways::default()).unwrap();
    assert_eq!(changed.base, digest(&s390x.manifest));
    scene.check_secrets();
}
