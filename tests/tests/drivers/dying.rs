//! Credentials that die, through both clients: the clock and the source are real ones.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use http::StatusCode;
use windlass_core::credential::{CredentialAnswer, Question, Secret, TimedAnswer};
use windlass_core::{ErrorKind, Event};
use windlass_driver::Credentials;
use windlass_testbed::{Auth, Basic, Image, Model, Options, Server, User, image};
use windlass_tests::drivers::{Ask, Driver, PASSWORD, Setup, Shelf, Watch};
use windlass_tests::images::noise;
use windlass_tests::through_both;

through_both!(
    an_expired_login_is_asked_for_again,
    an_expired_login_for_a_public_image,
);

/// Gives a password, and another one when it is asked again.
#[derive(Debug, Default)]
struct Renewed(AtomicUsize);

impl Credentials for Renewed {
    fn find(&self, question: &Question) -> TimedAnswer {
        self.0.fetch_add(1, Ordering::SeqCst);
        let password = if question.is_again() { PASSWORD } else { "old" };
        let answer = CredentialAnswer::Basic {
            username: "alice".into(),
            password: Secret::new(password),
        };
        answer.into()
    }
}

fn app() -> Image {
    image(&[noise(1000, 1)])
}

/// A registry as ECR: it forbids what it does not know, and takes this password.
fn registry(password: &str) -> Server {
    let mut model = Model::new(Options {
        auth: Auth::Basic(Basic {
            users: [("alice".into(), User::new(password))].into(),
            anonymous_pull: false,
        }),
        expired_login: Some(StatusCode::FORBIDDEN),
        ..Options::default()
    });
    model.put_image("team/app", Some("v1"), &app());
    Server::start(model).unwrap()
}

/// The basic options of the registry.
fn basic_of(model: &mut Model) -> &mut Basic {
    match &mut model.options_mut().auth {
        Auth::Basic(basic) => basic,
        other @ (Auth::Open | _) => panic!("{other:?}"),
    }
}

fn forbidden(server: &Server) -> usize {
    let log = server.requests();
    let statuses = log.iter().filter_map(|it| it.status);
    statuses.filter(|it| *it == StatusCode::FORBIDDEN).count()
}

fn an_expired_login_is_asked_for_again<D: Driver>() {
    let server = registry("old");
    let source = Arc::new(Renewed::default());
    let mut setup = Setup::new();
    setup.credentials = Some(Arc::<Renewed>::clone(&source));
    let client = D::new(&setup);
    let reference = format!("{}/team/app:v1", server.host());
    client.resolve(Ask::resolve(&reference)).unwrap();
    // Younger answers are not asked for again.
    sleep(Duration::from_millis(5_100));
    let renewed = User::new(PASSWORD);
    server.with_model(|model| basic_of(model).users.insert("alice".into(), renewed));
    let shelf = Shelf::new();
    client.run(Ask::pull(&reference, &shelf.store)).unwrap();
    shelf.check_holds(&app());
    assert_eq!(source.0.load(Ordering::SeqCst), 2);
    assert_eq!(forbidden(&server), 1);
}

fn an_expired_login_for_a_public_image<D: Driver>() {
    for fallback in [true, false] {
        let server = registry("another");
        let mut setup = Setup::new().alice();
        setup.config.anonymous_fallback = fallback;
        let client = D::new(&setup);
        let reference = format!("{}/team/app:v1", server.host());
        let failure = client.resolve(Ask::resolve(&reference)).unwrap_err();
        assert_eq!(failure.first().kind(), ErrorKind::Auth);
        // The HEAD and the GET.
        assert_eq!(forbidden(&server), 2);
        server.with_model(|model| basic_of(model).anonymous_pull = true);
        let (watch, shelf) = (Watch::new(), Shelf::new());
        let ask = Ask::pull(&reference, &shelf.store).watched(&watch);
        let pulled = client.run(ask);
        assert_eq!(pulled.is_ok(), fallback, "{pulled:?}");
        let is_told = |it: &Event| matches!(it, Event::Warning(it) if it.contains("anonymously"));
        assert_eq!(watch.events().iter().any(is_told), fallback);
    }
}
