//! How exchanges fail.

use std::io::Write as _;
use std::sync::Arc;

use windlass_core::call::{Interrupted, TransportErrorKind};

use crate::servers::{
    CHUNKED, HINTS, INTERIM, OK, after_head, identity, listening, tls_listening, unreachable,
};
use crate::{Exchange, Setup, get, kind};

/// What the session decides on.
pub fn failures_are_told_apart<E: Exchange>() {
    let driver = E::new(&Setup::patient());
    let says = |bytes: &'static [u8]| after_head(move |stream| stream.write_all(bytes).unwrap());
    let (_listener, _stream, closed) = unreachable();
    for (base, expected) in [
        (says(&OK[..OK.len() - 2]), TransportErrorKind::Reset),
        (says(b""), TransportErrorKind::Reset),
        (
            says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
            TransportErrorKind::Protocol,
        ),
        (closed, TransportErrorKind::Connect),
        (
            "http://no.such.host.invalid/".into(),
            TransportErrorKind::Resolve,
        ),
    ] {
        assert_eq!(kind(driver.send(&get(&base))), expected, "{base}");
    }
}

/// They may hold secrets.
pub fn errors_do_not_name_targets<E: Exchange>() {
    let closing = after_head(|_| {});
    let target = format!("{closing}/secret?token=secret");
    let why = E::new(&Setup::patient()).send(&get(&target)).unwrap_err();
    assert!(!format!("{why:?}").contains("secret"), "{why:?}");
}

/// It is not read to its end.
pub fn a_head_that_is_too_long_is_a_protocol_error<E: Exchange>() {
    let base = after_head(|stream| {
        let field = "a".repeat(1 << 20);
        drop(write!(stream, "HTTP/1.1 200 OK\r\nX: {field}"));
    });
    let result = E::new(&Setup::patient()).send(&get(&base));
    assert_eq!(kind(result), TransportErrorKind::Protocol);
}

/// They are passed over.
pub fn a_few_interim_answers_and_trailers_are_fine<E: Exchange>() {
    let base = after_head(|stream| {
        for part in [INTERIM, HINTS, INTERIM, CHUNKED, b"X-A: b\r\n\r\n"] {
            stream.write_all(part).unwrap();
        }
    });
    let answer = E::new(&Setup::patient()).send(&get(&base)).unwrap();
    assert_eq!((answer.status, answer.body), (200, b"hello".to_vec()));
}

/// Neither another name nor another authority.
pub fn tls_trusts_only_its_roots<E: Exchange>() {
    let (config, roots) = identity("localhost");
    let (base, heads) = tls_listening(Arc::clone(&config));
    let driver = E::new(&Setup::patient().trusting(roots));
    for _ in 0..2 {
        assert_eq!(driver.send(&get(&base)).unwrap().body, b"hello");
        assert!(heads.recv().unwrap().starts_with("GET / HTTP/1.1\r\n"));
    }
    let (_, others) = identity("localhost");
    let stranger = E::new(&Setup::patient().trusting(others));
    assert_eq!(kind(stranger.send(&get(&base))), TransportErrorKind::Tls);
    let (config, roots) = identity("other.example");
    let (base, _heads) = tls_listening(config);
    let misnamed = E::new(&Setup::patient().trusting(roots));
    assert_eq!(kind(misnamed.send(&get(&base))), TransportErrorKind::Tls);
}

/// A server of plain HTTP waits for the end of a line, answers in plain text, or hangs up.
pub fn tls_to_a_server_without_it_is_an_error<E: Exchange>() {
    let (base, _heads) = listening();
    let (_, roots) = identity("localhost");
    let driver = E::new(&Setup::with_limits(1000).trusting(roots));
    let result = driver.send(&get(&base.replace("http:", "https:")));
    let Err(Interrupted::Transport(error)) = &result else {
        panic!("{result:?}");
    };
    let expected = [TransportErrorKind::Tls, TransportErrorKind::Connect];
    assert!(expected.contains(&error.kind), "{error}");
}
