//! Connections to addresses that are not allowed.

use windlass_core::call::{Interrupted, TransportError, TransportErrorKind};
use windlass_driver::AddressGuard;

use crate::servers::{listening, proxy};
use crate::{Exchange, Setup, get};

fn refusal<E: Exchange>(setup: &Setup, target: &str) -> TransportError {
    match E::new(setup).send(&get(target)) {
        Err(Interrupted::Transport(error)) => error,
        other => panic!("{target}: {other:?}"),
    }
}

/// Whether the host is a name, an address or another spelling of one. Nothing is sent.
pub fn an_address_that_is_not_allowed_is_not_connected_to<E: Exchange>() {
    let (base, heads) = listening();
    let port = base.rsplit_once(':').expect("a port").1;
    let setup = Setup::patient().guarded(AddressGuard::public_only());
    for host in [
        "localhost",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
    ] {
        let error = refusal::<E>(&setup, &format!("http://{host}:{port}/v2/"));
        assert_eq!(error.kind, TransportErrorKind::Forbidden, "{host}: {error}");
        assert!(
            error.detail.contains("it is not a public address"),
            "{error}"
        );
        assert!(error.detail.contains("127.0.0.1") || error.detail.contains("::1"));
    }
    let error = refusal::<E>(&setup, &format!("https://localhost:{port}/v2/?secret"));
    assert!(error.detail.starts_with("localhost is at "), "{error}");
    assert!(!error.detail.contains("secret"), "{error}");
    assert!(heads.try_recv().is_err());
}

/// The guard sees the host as the URL has it, and each of its addresses with the port.
pub fn an_address_that_is_allowed_is_connected_to<E: Exchange>() {
    let (base, _heads) = listening();
    let (_, port) = base.rsplit_once(':').expect("a port");
    let port: u16 = port.parse().expect("a port");
    let guard = AddressGuard::new(|host, address| {
        if address.ip().is_loopback() && host != "127.0.0.1" {
            return Ok(());
        }
        Err("only localhost is allowed".to_owned())
    });
    let setup = Setup::patient().guarded(guard);
    let driver = E::new(&setup);
    let answer = driver.send(&get(&format!("http://localhost:{port}/v2/")));
    assert_eq!(answer.unwrap().body, b"hello");
    let error = refusal::<E>(&setup, &format!("http://127.0.0.1:{port}/v2/"));
    assert_eq!(
        error.detail,
        "127.0.0.1 is at 127.0.0.1: only localhost is allowed"
    );
}

/// What a proxy connects to is its own business, and so is where the proxy is.
pub fn a_proxy_is_not_judged<E: Exchange>() {
    let (base, _heads) = listening();
    let (url, asked) = proxy();
    let setup = Setup::patient()
        .through(url)
        .guarded(AddressGuard::public_only());
    let answer = E::new(&setup).send(&get(&base));
    assert_eq!(answer.unwrap().body, b"hello");
    assert!(asked.try_recv().is_ok());
}
