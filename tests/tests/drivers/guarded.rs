//! Clients that may not connect to every address: whatever leads there is refused, by host and address.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_core::call::TransportErrorKind;
use windlass_core::{Error, ErrorKind, Failure};
use windlass_driver::AddressGuard;
use windlass_tests::drivers::{Ask, Driver, Setup, Shelf};
use windlass_tests::hostile::{Good, Hostile, Reply};
use windlass_tests::images::Layout;
use windlass_tests::through_both;

through_both!(
    a_registry_that_is_not_allowed,
    a_redirect_to_an_address_that_is_not_allowed,
    an_upload_to_an_address_that_is_not_allowed,
    a_token_service_that_is_not_allowed,
);

/// By its name the loopback interface may be connected to, by its address it may not: as if names led to other
/// places than addresses, which tests cannot have.
fn by_name_only() -> Setup {
    let mut setup = Setup::new().attempts(3).alice();
    setup.addresses = AddressGuard::new(|host, _| match host {
        "localhost" => Ok(()),
        _ => Err("only names are allowed".to_owned()),
    });
    setup
}

fn by_name(server: &Hostile, name: &str) -> String {
    server.reference(name).replace("127.0.0.1", "localhost")
}

#[track_caller]
fn refused(failure: &Failure) {
    let Error::Transport { error, .. } = failure.first() else {
        panic!("{failure}");
    };
    assert_eq!(error.kind, TransportErrorKind::Forbidden, "{failure}");
    assert_eq!(failure.kind(), ErrorKind::Refused);
    let why = "127.0.0.1 is at 127.0.0.1: only names are allowed";
    assert!(failure.to_string().contains(why), "{failure}");
}

fn a_registry_that_is_not_allowed<D: Driver>() {
    let server = Hostile::start(|_| Reply::new(200));
    let client = D::new(&by_name_only());
    let resolved = client.resolve(Ask::resolve(&server.reference("some/image:v1")));
    refused(&resolved.unwrap_err());
    // Not tried again, and not even connected to.
    assert_eq!(server.connections(), 0);
}

fn a_redirect_to_an_address_that_is_not_allowed<D: Driver>() {
    let (layout, image) = Layout::with_image(1, 3000, 31);
    let storage = Hostile::start(|_| Reply::new(200));
    let location = format!("{}/blob", storage.url());
    let good = Good::serving(&layout, &image);
    let server = Hostile::start(move |request| {
        let read = request.method == "GET" && request.path().contains("/blobs/");
        match read {
            true => Reply::new(307).header("Location", &location),
            false => good.answer(request),
        }
    });
    let shelf = Shelf::new();
    let client = D::new(&by_name_only());
    let pulled = client.run(Ask::pull(
        &by_name(&server, "some/image:latest"),
        &shelf.store,
    ));
    refused(&pulled.unwrap_err());
    assert_eq!(storage.connections(), 0);
}

fn an_upload_to_an_address_that_is_not_allowed<D: Driver>() {
    let (layout, _) = Layout::with_image(1, 3000, 32);
    let storage = Hostile::start(|_| Reply::new(201));
    let location = format!("{}/upload", storage.url());
    let server = Hostile::start(move |request| match &*request.method {
        "POST" => Reply::new(202).header("Location", &location),
        _ => Reply::new(404),
    });
    let store = windlass_store::Layout::open(&layout.path).unwrap();
    let store: std::sync::Arc<dyn windlass_store::Store> = std::sync::Arc::new(store);
    let client = D::new(&by_name_only());
    let pushed = client.run(Ask::push(&store, &by_name(&server, "some/image:v1")));
    refused(&pushed.unwrap_err());
    assert_eq!(storage.connections(), 0);
}

fn a_token_service_that_is_not_allowed<D: Driver>() {
    let tokens = Hostile::start(|_| Reply::new(200).body(r#"{"token":"t"}"#));
    let realm = format!("Bearer realm=\"{}/token\",service=\"s\"", tokens.url());
    let server = Hostile::start(move |_| Reply::new(401).header("WWW-Authenticate", &realm));
    let client = D::new(&by_name_only());
    let resolved = client.resolve(Ask::resolve(&by_name(&server, "some/image:v1")));
    refused(&resolved.unwrap_err());
    assert_eq!(tokens.connections(), 0);
}
