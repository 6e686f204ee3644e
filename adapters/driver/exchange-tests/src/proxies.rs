//! Requests through proxies.

use std::io::Write as _;
use std::sync::Arc;

use http::header;
use windlass_core::call::{Interrupted, Payload, TransportErrorKind};

use crate::servers::{after_head, identity, listening, proxy, server, tls_listening, unreachable};
use crate::{Exchange, Setup, get, request};

/// `user:p@ss`, in lower case.
const LOGIN: &str = "proxy-authorization: basic dxnlcjpwqhnz\r\n";

/// Enough of them that a client which keeps its connections reuses one.
const REQUESTS: usize = 10;

/// The proxy sees its own credentials only, the server none of them.
pub fn https_is_tunnelled_through_a_proxy<E: Exchange>() {
    let (config, roots) = identity("localhost");
    let (base, heads) = tls_listening(config);
    let (url, asked) = proxy();
    let driver = E::new(&Setup::patient().trusting(roots).through(url));
    let mut get = get(&base);
    let secret = "Bearer secret".parse().unwrap();
    get.headers_mut().insert(header::AUTHORIZATION, secret);
    // A client may dial before it sees that the connection of the last answer is free again.
    let mut tunnels = 0;
    for _ in 0..REQUESTS {
        assert_eq!(driver.send(&get).unwrap().body, b"hello");
        let head = heads.recv().unwrap().to_lowercase();
        assert!(head.contains("authorization: bearer secret\r\n"), "{head}");
        assert!(!head.contains("proxy-"), "{head}");
        for asked in asked.try_iter() {
            tunnels += 1;
            let authority = base.trim_start_matches("https://");
            assert!(asked.starts_with(&format!("CONNECT {authority} HTTP/1.1\r\n")));
            let asked = asked.to_lowercase();
            assert!(asked.contains(LOGIN), "{asked}");
            assert!(!asked.contains("secret"), "{asked}");
        }
    }
    assert!(
        (1..REQUESTS).contains(&tunnels),
        "{tunnels} tunnels for {REQUESTS} requests"
    );
}

/// The target in absolute form, and byte for byte.
pub fn http_is_forwarded_by_a_proxy<E: Exchange>() {
    let (url, asked) = proxy();
    let driver = E::new(&Setup::patient().through(url));
    let (_listener, _stream, base) = unreachable();
    for target in ["/v2//a/%2F?b=c&d=;e", "/v2/"] {
        for method in ["GET", "POST"] {
            let sent = request(method, &format!("{base}{target}"), Payload::Empty);
            assert_eq!(driver.send(&sent).unwrap().body, b"hello");
            let head = asked.recv().unwrap();
            let line = format!("{method} {base}{target} HTTP/1.1\r\n");
            assert!(head.starts_with(&line), "{head}");
            let head = head.to_lowercase();
            assert_eq!(head.matches(LOGIN).count(), 1, "{head}");
            let host = format!("host: {}\r\n", base.trim_start_matches("http://"));
            assert_eq!(head.matches(&host).count(), 1, "{head}");
        }
    }
    // A body that looks like a head is none.
    let document = Payload::Bytes(Arc::from(&b"GET / x\r\n"[..]));
    let answer = driver.send(&request("PUT", &base, document));
    assert_eq!(answer.unwrap().status, 200);
}

fn says(status: &'static str) -> String {
    after_head(move |stream| {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        drop(stream.write_all(answer.as_bytes()));
    })
}

const WRONG: &str = "407 Proxy Authentication Required";

/// What a proxy itself does wrong is told with its name, and without its password.
pub fn a_failing_proxy_is_named<E: Exchange>() {
    use TransportErrorKind::{Connect, ProxyAuth, Reset, Resolve};

    let closes = server(|_, stream| drop(stream));
    let (_listener, _stream, closed) = unreachable();
    let unknown = "http://proxy.invalid:1";
    let table = [
        ("https", says(WRONG), ProxyAuth, "answered 407"),
        ("http", says(WRONG), ProxyAuth, "answered 407"),
        ("https", says("502 No"), Connect, E::refused_tunnel("502")),
        ("https", says("403 No"), Connect, E::refused_tunnel("403")),
        ("https", closed.clone(), Connect, "refused"),
        ("http", closed, Connect, "refused"),
        ("http", closes, Reset, "(through proxy"),
        ("https", unknown.into(), Resolve, "proxy.invalid"),
    ];
    for (scheme, url, expected, says) in table {
        let address = url.trim_start_matches("http://").to_owned();
        let url = url.replace("http://", "http://user:s3cret@");
        let driver = E::new(&Setup::patient().through(url));
        let result = driver.send(&get(&format!("{scheme}://r.invalid/v2/")));
        let Err(Interrupted::Transport(error)) = result else {
            panic!("{scheme} {address}: no failure of the connection");
        };
        assert_eq!(error.kind, expected, "{scheme} {address}: {error}");
        let named = format!("proxy {address}");
        assert!(error.detail.contains(&named), "{error}");
        assert!(error.detail.contains(says), "{error}");
        assert!(!error.detail.contains("s3cret"), "{error}");
    }
}

/// The session decides what it means.
pub fn a_407_without_a_proxy_is_an_answer<E: Exchange>() {
    let answer = E::new(&Setup::patient()).send(&get(&says(WRONG)));
    assert_eq!(answer.unwrap().status, 407);
}

/// Going past it would tell the server who asks.
pub fn a_proxy_of_another_kind_is_not_passed_by<E: Exchange>() {
    let (base, heads) = listening();
    let driver = E::new(&Setup::patient().through("socks5://127.0.0.1:1".into()));
    driver.send(&get(&base)).expect_err("it is no HTTP proxy");
    assert!(heads.try_recv().is_err());
}
