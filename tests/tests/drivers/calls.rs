//! Whole calls through both clients: everything they can be asked, and many calls at once.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use windlass_core::call::TransportErrorKind;
use windlass_core::{Amount, Error, ErrorKind, Event, Registry, TaskReport};
use windlass_driver::TlsRoots;
use windlass_testbed::{
    Auth, Basic, Bearer, Delivery, Image, Model, Options, Server, Storage, User, image, image_for,
    index,
};
use windlass_tests::certs::Ca;
use windlass_tests::drivers::{
    Ask, Driver, Faults, PASSWORD, Setup, Shelf, Watch, gets_blob, puts_blob, serve,
};
use windlass_tests::hostile::{Hostile, Reply};
use windlass_tests::images::noise;
use windlass_tests::registry::{self, Version};
use windlass_tests::tokens::Tokens;
use windlass_tests::{needs, through_both};

through_both!(
    pull_push_resolve,
    every_transfer_is_told_to_its_end,
    pull_again_moves_nothing,
    copy_in_one_registry_mounts,
    a_push_mounts_what_the_client_has_seen,
    a_push_mounts_from_the_repositories_that_are_named,
    copy_between_registries,
    an_index_and_one_of_its_images,
    basic,
    bearer,
    checks,
    a_token_that_cannot_be_sent,
    storage_gets_no_token,
    a_real_registry,
    a_real_registry_with_tokens,
    a_real_registry_over_tls,
    one_client_many_calls,
    an_early_refusal_of_a_big_upload,
    a_body_that_is_too_large,
    an_answer_right_after_the_body_is_not_early,
);

/// Three layers, one of them of three MiB.
fn app() -> Image {
    image(&[noise(3 << 20, 1), noise(100_000, 2), noise(10, 3)])
}

fn with_app(options: Options) -> Model {
    let mut model = Model::new(options);
    model.put_image("team/app", Some("v1"), &app());
    model
}

fn alice() -> User {
    User::new(PASSWORD)
}

fn bearer_options() -> Options {
    Options {
        auth: Auth::Bearer(Bearer {
            users: [("alice".into(), alice())].into(),
            anonymous_pull: false,
            ..Bearer::default()
        }),
        ..Options::default()
    }
}

fn at(server: &Server, name: &str) -> String {
    format!("{}/{name}", server.host())
}

/// The image is in that repository, byte for byte, under that tag.
#[track_caller]
fn check_pushed(server: &Server, repository: &str, tag: &str, image: &Image) {
    server.with_model(|model| {
        for blob in image.blobs() {
            let digest = windlass_testbed::Digest::sha256(blob);
            assert_eq!(model.blob_bytes(repository, &digest), Some(blob));
        }
        assert_eq!(model.tag(repository, tag), Some(&image.digest));
        let manifest = model.manifest_bytes(repository, &image.digest);
        assert_eq!(manifest.expect("pushed").1, &image.manifest);
    });
}

fn count(server: &Server, matches: impl Fn(&windlass_testbed::Entry) -> bool) -> usize {
    let requests = server.requests();
    requests.iter().filter(|entry| matches(entry)).count()
}

fn pull_push_resolve<D: Driver>() {
    let server = Server::start(with_app(Options::default())).unwrap();
    let client = D::new(&Setup::new());
    let resolved = client
        .resolve(Ask::resolve(&at(&server, "team/app:v1")))
        .unwrap();
    assert_eq!(resolved.digest.to_string(), app().digest.to_string());
    let (shelf, watch) = (Shelf::new(), Watch::new());
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    let pulled = client.run(ask.watched(&watch)).unwrap();
    shelf.check_holds(&app());
    let size: usize = app().blobs().map(|blob| blob.len()).sum();
    assert_eq!((pulled.moved, pulled.bytes), (4, size as u64));
    assert_eq!(watch.furthest(), 3 << 20);
    let totals = watch.totals();
    let known = Amount::new(4, size as u64);
    assert!(totals.iter().all(|it| it.known == known), "{totals:?}");
    let ends = [totals.first(), totals.last()].map(|it| it.unwrap().moved);
    assert_eq!(ends, [Amount::default(), known]);
    let watch = Watch::new();
    let ask = Ask::push(&shelf.store, &at(&server, "other/app:v2"));
    // This one has not seen the blobs in the first repository, and so sends them.
    let client = D::new(&Setup::new());
    let pushed = client.run(ask.watched(&watch)).unwrap();
    assert_eq!((pushed.moved, pushed.bytes), (4, size as u64));
    assert_eq!(watch.furthest(), 3 << 20);
    check_pushed(&server, "other/app", "v2", &app());
}

/// However quick a transfer is: its last byte is told, and before the task is through.
fn every_transfer_is_told_to_its_end<D: Driver>() {
    let layers: Vec<_> = (0..100).map(|seed| noise(2000, seed)).collect();
    let image = image(&layers);
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &image);
    let server = Server::start(model).unwrap();
    let shelf = Shelf::new();
    let pull = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    let push = Ask::push(&shelf.store, &at(&server, "other/app:v2"));
    for ask in [pull, push] {
        let watch = Watch::new();
        // The one that has pulled the blobs would have them mounted.
        D::new(&Setup::new()).run(ask.watched(&watch)).unwrap();
        let mut ends = 0;
        for event in watch.events() {
            if let Event::Started { transfer, size, .. } = event {
                assert_eq!(watch.position(transfer), Some(size), "{transfer}");
                ends += 1;
            }
        }
        assert_eq!(ends, 101, "a hundred layers and what configures them");
    }
}

fn pull_again_moves_nothing<D: Driver>() {
    let server = Server::start(with_app(Options::default())).unwrap();
    let client = D::new(&Setup::new());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    client.run(ask.clone()).unwrap();
    let before = server.requests().len();
    let again = client.run(ask).unwrap();
    assert_eq!((again.moved, again.bytes, again.present), (0, 0, 4));
    assert_eq!(server.requests().len() - before, 1);
}

fn copy_in_one_registry_mounts<D: Driver>() {
    let server = Server::start(with_app(Options::default())).unwrap();
    let client = D::new(&Setup::new());
    let ask = Ask::copy(&at(&server, "team/app:v1"), &at(&server, "other/app:v2"));
    let report = client.run(ask).unwrap();
    assert_eq!((report.mounted, report.moved, report.bytes), (4, 0, 0));
    check_pushed(&server, "other/app", "v2", &app());
    assert_eq!(count(&server, |e| e.target.contains("/blobs/sha256:")), 0);
}

/// No one has to say where: the client has pulled the blobs from there.
fn a_push_mounts_what_the_client_has_seen<D: Driver>() {
    let server = Server::start(with_app(Options::default())).unwrap();
    let (shelf, client) = (Shelf::new(), D::new(&Setup::new()));
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    client.run(ask).unwrap();
    let to = at(&server, "other/app:v2");
    let report = client.run(Ask::push(&shelf.store, &to)).unwrap();
    assert_eq!((report.mounted, report.moved, report.bytes), (4, 0, 0));
    check_pushed(&server, "other/app", "v2", &app());
    assert_eq!(count(&server, |e| e.target.contains("from=team/app")), 4);
    // The layers that it has mounted there it neither sends nor asks for again.
    let layers = [noise(3 << 20, 1), noise(100_000, 2), noise(10, 3)];
    let next = image(&[&layers[..], &[noise(20, 4)]].concat());
    server.with_model(|model| drop(model.put_image("team/app", Some("v2"), &next)));
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v2"), &shelf.store);
    client.run(ask).unwrap();
    let before = server.requests().len();
    let ask = Ask::push(&shelf.store, &at(&server, "other/app:v3"));
    let report = client.run(ask).unwrap();
    let expected = (2, 0, 3);
    assert_eq!((report.mounted, report.moved, report.present), expected);
    assert_eq!(server.requests().len() - before, 2 + 2 + 1);
    check_pushed(&server, "other/app", "v3", &next);
}

/// One after the other, as many as the size of the blob is worth.
fn a_push_mounts_from_the_repositories_that_are_named<D: Driver>() {
    let image = image(&[noise(200 * 1024, 1)]);
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &image);
    let server = Server::start(model).unwrap();
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    D::new(&Setup::new()).run(ask).unwrap();
    let ask = Ask::push(&shelf.store, &at(&server, "other/app:v2"))
        .mount_from("no/where")
        .mount_from("team/app");
    let report = D::new(&Setup::new()).run(ask).unwrap();
    // The configuration is too small for a second try.
    assert_eq!((report.mounted, report.moved), (1, 1));
    check_pushed(&server, "other/app", "v2", &image);
    assert_eq!(count(&server, |e| e.target.contains("from=no/where")), 2);
    assert_eq!(count(&server, |e| e.target.contains("from=team/app")), 1);
    let open = server.with_model(|model| model.open_uploads());
    assert_eq!(open, 0);
}

fn copy_between_registries<D: Driver>() {
    let source = Server::start(with_app(bearer_options())).unwrap();
    let destination = Server::start(Model::new(bearer_options())).unwrap();
    let client = D::new(&Setup::new().alice());
    let ask = Ask::copy(
        &at(&source, "team/app:v1"),
        &at(&destination, "other/app:v2"),
    );
    let spool = Shelf::new();
    client.run(ask.clone().spool(&spool.store)).unwrap();
    check_pushed(&destination, "other/app", "v2", &app());
    assert_eq!(count(&source, |e| e.target.contains("/blobs/sha256:")), 4);
    // Without a spool of ours there is a temporary one.
    destination.with_model(|model| *model = Model::new(bearer_options()));
    client.run(ask).unwrap();
    check_pushed(&destination, "other/app", "v2", &app());
}

fn an_index_and_one_of_its_images<D: Driver>() {
    let ours = image_for("linux/amd64", &[noise(5000, 1), noise(7000, 2)]);
    let theirs = image_for("linux/arm64", &[noise(5000, 1), noise(9000, 3)]);
    let index = index(&[("linux/amd64", &ours), ("linux/arm64", &theirs)]);
    let mut model = Model::new(Options::default());
    model.put_image("team/app", None, &ours);
    model.put_image("team/app", None, &theirs);
    model.put_index("team/app", Some("v1"), &index);
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());

    let all = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &all.store);
    let report = client.run(ask.all_platforms()).unwrap();
    assert_eq!(report.root.digest.to_string(), index.digest.to_string());
    all.check_holds_all(&[&ours, &theirs], 1);
    let ask = Ask::push(&all.store, &at(&server, "other/app:v2"));
    client.run(ask).unwrap();
    check_pushed_index(&server, &index.digest);

    if cfg!(target_arch = "x86_64") {
        let one = Shelf::new();
        let ask = Ask::pull(&at(&server, "team/app:v1"), &one.store);
        let report = client.run(ask).unwrap();
        assert_eq!(report.root.digest.to_string(), ours.digest.to_string());
        one.check_holds(&ours);
    }
}

#[track_caller]
fn check_pushed_index(server: &Server, index: &windlass_testbed::Digest) {
    server.with_model(|model| {
        assert_eq!(model.tag("other/app", "v2"), Some(index));
        assert_eq!(model.manifest_digests("other/app").len(), 3);
        assert_eq!(model.blob_digests("other/app").len(), 5);
    });
}

fn basic<D: Driver>() {
    let options = Options {
        auth: Auth::Basic(Basic {
            users: [("alice".into(), alice())].into(),
            anonymous_pull: false,
        }),
        ..Options::default()
    };
    let server = Server::start(with_app(options)).unwrap();
    there_and_back::<D>(&server);
    assert_eq!(count(&server, |e| e.status.unwrap() == 401), 1);
}

fn bearer<D: Driver>() {
    let server = Server::start(with_app(bearer_options())).unwrap();
    there_and_back::<D>(&server);
    // One token to pull, one to push, one to mount.
    assert_eq!(count(&server, |e| e.target.starts_with("/token")), 3);
}

/// What `windlass login` asks.
fn checks<D: Driver>() {
    let server = Server::start(with_app(bearer_options())).unwrap();
    let check = || Ask::check(&server.host());
    let checked = D::new(&Setup::new().alice()).finish(check());
    let anonymous = |checked: TaskReport| checked.checked().unwrap().anonymous;
    assert!(!anonymous(checked.unwrap()));
    let asked = |it: &windlass_testbed::Entry| {
        it.target.starts_with("/token") && !it.target.contains("scope")
    };
    assert_eq!(count(&server, asked), 1, "AUTH-24");
    server.with_model(|model| {
        let Auth::Bearer(bearer) = &mut model.options_mut().auth else {
            panic!("it is a registry with tokens");
        };
        bearer.users.get_mut("alice").unwrap().password = "another".into();
    });
    let refused = D::new(&Setup::new().alice()).finish(check());
    assert_eq!(refused.unwrap_err().first().kind(), ErrorKind::Auth);
}

/// Pulls and pushes as `alice`; a stranger is refused.
fn there_and_back<D: Driver>(server: &Server) {
    let client = D::new(&Setup::new().alice());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(server, "team/app:v1"), &shelf.store);
    client.run(ask.clone()).unwrap();
    shelf.check_holds(&app());
    let push = Ask::push(&shelf.store, &at(server, "other/app:v2"));
    client.run(push).unwrap();
    check_pushed(server, "other/app", "v2", &app());

    let log = server.requests();
    let stranger = D::new(&Setup::new());
    let failure = stranger.resolve(ask).unwrap_err();
    assert_eq!(failure.first().kind(), ErrorKind::Auth, "{failure}");
    // What the stranger did is not for the caller to count.
    server.with_model(|model| {
        model.clear_log();
        for entry in log {
            let target = windlass_testbed::Request::new(entry.method, entry.host, entry.target);
            model.note(&target, entry.status, entry.at);
        }
    });
}

/// Whatever the HTTP library would make of it: it is the token service's mistake.
fn a_token_that_cannot_be_sent<D: Driver>() {
    for token in [
        "s3cret\\r\\nX-Evil: 1",
        "s3cret\\tx",
        "s3crét",
        "s3cret\\u0085",
    ] {
        let server = Hostile::start(move |request| {
            let host = request.header("host").unwrap();
            let realm = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
            match request.path() {
                "/token" => Reply::new(200).body(format!(r#"{{"token":"{token}"}}"#)),
                _ => Reply::new(401).header("WWW-Authenticate", realm),
            }
        });
        let client = D::new(&Setup::new());
        let failure = client.resolve(Ask::resolve(&server.reference("a:v1")));
        let failure = failure.unwrap_err();
        let said = failure.to_string();
        assert_eq!(failure.first().kind(), ErrorKind::Refused, "{said}");
        assert!(said.contains("/token"), "{said}");
        assert!(
            said.contains("a token that is invalid in a header"),
            "{said}"
        );
        assert!(!said.contains("s3cr"), "{said}");
        assert_eq!(server.requests().len(), 2, "nothing is sent with it");
    }
}

fn storage_gets_no_token<D: Driver>() {
    let server = Server::start(with_app(bearer_options())).unwrap();
    let storage = server.listen_also().unwrap().to_string();
    server.with_model(|model| {
        model.options_mut().storage = Some(Storage::new(format!("http://{storage}")));
    });
    let client = D::new(&Setup::new().alice());
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v1"), &shelf.store);
    client.run(ask).unwrap();
    shelf.check_holds(&app());
    let requests = server.requests();
    let there: Vec<_> = requests.iter().filter(|e| e.host == storage).collect();
    assert_eq!(there.len(), 4);
    for entry in there {
        // The storage answers 400 to a token, and anything re-encoded is no signature.
        assert_eq!(entry.status.unwrap(), 200);
        assert!(!entry.headers.contains_key("authorization"));
    }
}

/// CNCF distribution v3 and Debian's, open.
fn a_real_registry<D: Driver>() {
    needs!("docker-registry", "registry");
    for version in Version::ALL {
        round_trip::<D>(&Setup::new(), &|| registry::Setup::new(version));
    }
}

/// The same with tokens of a service that signs and checks.
fn a_real_registry_with_tokens<D: Driver>() {
    needs!("docker-registry", "registry");
    for version in Version::ALL {
        let tokens = Tokens::for_user("alice", PASSWORD);
        let start = || registry::Setup::new(version).tokens(&tokens);
        round_trip::<D>(&Setup::new().alice(), &start);
        let requests = tokens.requests();
        assert!(!requests.is_empty());
        assert!(requests.iter().all(|it| it.basic().is_some()));

        let registry = start().start();
        let stranger = D::new(&Setup::new());
        let ask = Ask::resolve(&registry.reference("team/app:v1"));
        let failure = stranger.resolve(ask).unwrap_err();
        assert_eq!(failure.first().kind(), ErrorKind::Auth, "{failure}");
    }
}

/// From a model to one registry, within it, to another one, to a store and back.
fn round_trip<D: Driver>(setup: &Setup, registry: &dyn Fn() -> registry::Setup) {
    let server = Server::start(with_app(Options::default())).unwrap();
    let (one, two) = (registry().start(), registry().start());
    let client = D::new(setup);
    let there = one.reference("team/app:v1");
    client
        .run(Ask::copy(&at(&server, "team/app:v1"), &there))
        .unwrap();
    let mounted = Ask::copy(&there, &one.reference("other/app:v2"));
    assert_eq!(client.run(mounted).unwrap().mounted, 4);
    client
        .run(Ask::copy(&there, &two.reference("app:v3")))
        .unwrap();
    let shelf = Shelf::new();
    let ask = Ask::pull(&two.reference("app:v3"), &shelf.store);
    client.run(ask).unwrap();
    shelf.check_holds(&app());
    let push = Ask::push(&shelf.store, &two.reference("app:v4"));
    assert_eq!(client.run(push).unwrap().moved, 0);
    let digest = app().digest.to_string();
    assert_eq!(two.tagged("app", "v4"), Some(digest.clone()));
    assert_eq!(one.tagged("other/app", "v2"), Some(digest));
}

fn a_real_registry_over_tls<D: Driver>() {
    needs!("docker-registry", "registry", "htpasswd");
    for version in Version::ALL {
        over_tls::<D>(version);
    }
}

fn over_tls<D: Driver>(version: Version) {
    let ca = Ca::new();
    let real = registry::Setup::new(version)
        .basic("alice", PASSWORD)
        .tls(&ca)
        .start();
    let root = CertificateDer::from_pem_file(&ca.pem).unwrap();
    let mut setup = Setup::new().alice();
    setup.trust = TlsRoots::only(vec![root.to_vec()]);
    let registry: Registry = real.host().parse().unwrap();
    let origin = format!("https://{}", real.host()).parse().unwrap();
    setup.config.endpoints.insert(registry, origin);
    let client = D::new(&setup);

    let server = Server::start(with_app(Options::default())).unwrap();
    let there = real.reference("team/app:v1");
    client
        .run(Ask::copy(&at(&server, "team/app:v1"), &there))
        .unwrap();
    let shelf = Shelf::new();
    client.run(Ask::pull(&there, &shelf.store)).unwrap();
    shelf.check_holds(&app());
    let other = image(&[noise(2 << 20, 9)]);
    server.with_model(|model| model.put_image("team/app", Some("v2"), &other));
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "team/app:v2"), &shelf.store);
    client.run(ask).unwrap();
    let there = real.reference("team/app:v2");
    client.run(Ask::push(&shelf.store, &there)).unwrap();
    let resolved = client.resolve(Ask::resolve(&there)).unwrap();
    assert_eq!(resolved.digest.to_string(), other.digest.to_string());

    // Whom another CA vouches for is refused, once.
    let root = CertificateDer::from_pem_file(&Ca::new().pem).unwrap();
    setup.trust.roots = Some(Arc::new(vec![root.to_vec()]));
    let watch = Watch::new();
    let ask = Ask::resolve(&there).watched(&watch);
    let failure = D::new(&setup).resolve(ask).unwrap_err();
    let Error::Transport { error, .. } = failure.first() else {
        panic!("{failure:?}");
    };
    assert_eq!(error.kind, TransportErrorKind::Tls, "{failure}");
    let sent = watch
        .lines()
        .iter()
        .filter(|line| line.contains(" > HEAD "))
        .count();
    assert!(sent <= 1, "{:?}", watch.lines());
}

/// Eight pulls of one image at once into two stores: one token, no more requests at a time than
/// allowed, and each blob crosses the network once per store.
fn one_client_many_calls<D: Driver>() {
    const MOST: u32 = 3;
    // Responses are delayed, so that excess requests would be open at the same time.
    let faults = Faults::new().deliver(|_, _, answer| {
        std::thread::sleep(Duration::from_millis(15));
        answer.into()
    });
    let (server, faults) = serve(with_app(bearer_options()), faults);
    let client = D::new(&Setup::new().alice().in_flight(MOST));
    let shelves = [Shelf::new(), Shelf::new()];
    let reference = at(&server, "team/app:v1");
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let ask = Ask::pull(&reference, &shelves[caller % 2].store);
            let client = client.clone();
            scope.spawn(move || client.run(ask).unwrap());
        }
    });
    for shelf in &shelves {
        shelf.check_holds(&app());
    }
    assert_eq!(count(&server, |e| e.target.starts_with("/token")), 1);
    assert!(
        faults.most_open() <= MOST as usize,
        "{}",
        faults.most_open()
    );
    assert!(faults.most_open() > 1, "nothing was concurrent");
    for digest in app().blob_digests() {
        let end = format!("/blobs/{digest}");
        let fetched = count(&server, |e| e.method == "GET" && e.target.ends_with(&end));
        assert_eq!(fetched, 2, "{digest}");
    }
}

/// The token is useless by the time the big body is sent, and the registry says so before it has
/// read it: the client hears it, gets a new token and sends the body again.
fn an_early_refusal_of_a_big_upload<D: Driver>() {
    for closes in [false, true] {
        let refused = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&refused);
        let faults = Faults::new().early().before(move |request, _| {
            let first = puts_blob(request) && !flag.swap(true, Ordering::SeqCst);
            if !first {
                return None;
            }
            let challenge = format!(
                r#"Bearer realm="http://{}/token",service="testbed",scope="repository:other/app:pull,push""#,
                request.host
            );
            let answer = windlass_testbed::Answer::error(
                http::StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "authentication required",
            );
            let mut delivery = Delivery::from(answer.header("www-authenticate", challenge));
            delivery.close_after = closes;
            Some(delivery)
        });
        let (server, _) = serve(Model::new(bearer_options()), faults);
        let big = image(&[noise(24 << 20, 4)]);
        let shelf = filled::<D>(&big);
        let client = D::new(&Setup::new().alice());
        let ask = Ask::push(&shelf.store, &at(&server, "other/app:v2"));
        let watch = Watch::new();
        let report = client.run(ask.watched(&watch));
        let report = report.unwrap_or_else(|e| panic!("{e}\n{}", watch.lines().join("\n")));
        assert!(refused.load(Ordering::SeqCst));
        check_pushed(&server, "other/app", "v2", &big);
        assert_eq!(report.moved, 2);
        if !closes {
            // Heard, and not taken for a broken connection.
            let broken = |line: &String| line.contains("broke off");
            assert!(
                !watch.lines().iter().any(broken),
                "{}",
                watch.lines().join("\n")
            );
        }
    }
}

/// What the registry says arrives, although it closes the connection without reading the body. The blob
/// goes in smaller parts then, if there are any that the registry takes.
fn a_body_that_is_too_large<D: Driver>() {
    for (limit, size, is_taken) in [(1 << 20, 24 << 20, true), (10_000, 300_000, false)] {
        let faults = Faults::new().early().deliver(|_, _, answer| {
            let refused = answer.status == 413;
            let mut delivery = Delivery::from(answer);
            if refused {
                delivery.answer = delivery.answer.header("connection", "close");
            }
            delivery
        });
        let options = Options {
            max_body: Some(limit),
            ..Options::default()
        };
        let (server, _) = serve(Model::new(options), faults);
        let shelf = filled::<D>(&image(&[noise(size, 4)]));
        // The end of a connection may overtake what it carried, for each of the sizes that are tried.
        let client = D::new(&Setup::new().attempts(60));
        let ask = Ask::push(&shelf.store, &at(&server, "other/app:v2"));
        let watch = Watch::new();
        let pushed = client.run(ask.watched(&watch));
        let lines = watch.lines().join("\n");
        assert!(lines.contains(" < 413"), "{lines}");
        if is_taken {
            assert_eq!(pushed.expect("it goes in chunks").moved, 2);
        } else {
            let failure = pushed.unwrap_err();
            let Error::Registry(refusal) = failure.first() else {
                panic!("{failure:?}\n{lines}");
            };
            assert_eq!(refusal.status, 413);
        }
        // The connection that was closed is not missed.
        let found = client.resolve(Ask::resolve(&at(&server, "other/app:v2")));
        assert_eq!(found.is_ok(), is_taken);
    }
}

/// Registries may answer as soon as they have the last byte, which is before the client has looked
/// up from sending it. Sizes on the edge of how often it does.
fn an_answer_right_after_the_body_is_not_early<D: Driver>() {
    let server = Server::start(Model::new(Options::default())).unwrap();
    let shelf = filled::<D>(&image(&[noise(2 << 20, 6)]));
    for nth in 0..20 {
        // A connection and a session of its own, so that its bytes are counted from the start.
        let client = D::new(&Setup::new());
        let watch = Watch::new();
        let ask = Ask::push(&shelf.store, &at(&server, &format!("r{nth}:v1")));
        client.run(ask.watched(&watch)).unwrap();
        let broken = watch
            .lines()
            .into_iter()
            .find(|line| line.contains("broke off"));
        assert_eq!(broken, None, "push {nth}");
    }
}

/// A shelf that holds this image.
fn filled<D: Driver>(image: &Image) -> Shelf {
    let mut model = Model::new(Options::default());
    model.put_image("seed", Some("v1"), image);
    let server = Server::start(model).unwrap();
    let shelf = Shelf::new();
    let ask = Ask::pull(&at(&server, "seed:v1"), &shelf.store);
    D::new(&Setup::new()).run(ask).unwrap();
    // Of a large layer the first bytes come alone, and the rest in as many parts as the time of those suggests.
    let gets = count(&server, |e| gets_blob(&request(e)));
    assert!(gets >= 2, "{gets}");
    shelf
}

fn request(entry: &windlass_testbed::Entry) -> windlass_testbed::Request {
    windlass_testbed::Request::new(entry.method.clone(), &entry.host, &entry.target)
}
