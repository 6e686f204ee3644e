//! Exchanges against servers made of raw sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use windlass_core::call::{Interrupted, Payload, TransportErrorKind};
use windlass_driver::{Proxy, ProxySelector, TimeLimits, Tls, TlsRoots};

use crate::exchange::{Content, Exchanges, Flow, Outflow};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

/// Runs `serve` once per connection and says where.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    base
}

/// Reads a request's head.
fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A server that answers with OK and hands over the request heads.
fn listening() -> (String, Receiver<String>) {
    let (sender, receiver) = channel();
    let base = server(move |mut stream| {
        loop {
            let head = head(&mut stream);
            if head.is_empty() {
                break;
            }
            sender.send(head).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    (base, receiver)
}

/// A server that does this after the head of a request, and then hangs.
fn hanging(answer: impl Fn(&mut TcpStream) + Clone + Send + 'static) -> String {
    server(move |mut stream| {
        head(&mut stream);
        answer(&mut stream);
        thread::sleep(Duration::from_secs(30));
    })
}

fn exchanges(trust: &TlsRoots, millis: u64) -> Exchanges {
    let mut limits = TimeLimits::default();
    limits.connect = Duration::from_millis(millis);
    limits.idle = Duration::from_millis(millis);
    limits.answer = Duration::from_millis(2 * millis);
    Exchanges::new(
        Tls::new(trust).unwrap(),
        limits,
        4,
        Arc::new(windlass_driver::Direct),
    )
}

fn request(method: &str, target: &str, body: Payload) -> Request<Payload> {
    let mut request = Request::builder().method(method).uri(target);
    match &body {
        Payload::Bytes(bytes) => request = request.header(header::CONTENT_LENGTH, bytes.len()),
        Payload::Empty if method == "GET" => {}
        Payload::Empty | Payload::Body(_) | _ => {
            request = request.header(header::CONTENT_LENGTH, 0);
        }
    }
    request.body(body).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let result = runtime.block_on(future);
    // A pump that hangs would be a defect.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

async fn run(exchanges: &Exchanges, request: &Request<Payload>) -> Result<Vec<u8>, Interrupted> {
    let mut response = exchanges.send(request, None::<&mut Zeros>).await?;
    let mut body = Vec::new();
    while let Some(chunk) = exchanges.chunk(&mut response).await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn get(millis: u64, target: &str) -> Result<Vec<u8>, Interrupted> {
    let get = request("GET", target, Payload::Empty);
    block_on(async { run(&exchanges(&TlsRoots::default(), millis), &get).await })
}

/// So many zeros of which only some are there, each piece after a pause.
struct Zeros {
    len: u64,
    there: u64,
    piece: (usize, Duration),
    flow: Option<Arc<Flow>>,
    pump: Option<tokio::task::JoinHandle<u64>>,
    opened: u32,
}

impl Content for Zeros {
    async fn open(&mut self) -> Result<Outflow, Interrupted> {
        let (there, piece) = (self.there, self.piece);
        let (sender, source) = tokio::sync::mpsc::channel(4);
        let pump = tokio::task::spawn_blocking(move || {
            let mut moved = 0;
            while moved < there {
                thread::sleep(piece.1);
                if sender.blocking_send(Bytes::from(vec![0; piece.0])).is_err() {
                    break;
                }
                moved += piece.0 as u64;
            }
            moved
        });
        let outflow = Outflow::new(source, self.len);
        self.flow = Some(outflow.flow());
        self.pump = Some(pump);
        self.opened += 1;
        Ok(outflow)
    }
}

/// Sends `len` zeros of which only `there` are there, each `piece` after a pause. Answers the
/// status, and how many were taken.
fn upload(
    exchanges: &Exchanges,
    base: &str,
    len: u64,
    there: u64,
    piece: (usize, Duration),
) -> (Result<u16, Interrupted>, u64) {
    block_on(async {
        let mut zeros = zeros(len, there, piece);
        let result = put(exchanges, base, &mut zeros).await;
        zeros.flow.unwrap().end();
        (result, zeros.pump.unwrap().await.unwrap())
    })
}

const fn zeros(len: u64, there: u64, piece: (usize, Duration)) -> Zeros {
    Zeros {
        len,
        there,
        piece,
        flow: None,
        pump: None,
        opened: 0,
    }
}

async fn put(exchanges: &Exchanges, base: &str, zeros: &mut Zeros) -> Result<u16, Interrupted> {
    let mut put = request("PUT", &format!("{base}/upload?_state=1"), Payload::Empty);
    put.headers_mut()
        .insert(header::CONTENT_LENGTH, zeros.len.into());
    let answer = exchanges.send(&put, Some(zeros)).await?;
    Ok(answer.status().as_u16())
}

const FAST: (usize, Duration) = (64 * 1024, Duration::ZERO);

fn plain(millis: u64) -> Exchanges {
    exchanges(&TlsRoots::default(), millis)
}

fn kind(result: Result<impl std::fmt::Debug, Interrupted>) -> TransportErrorKind {
    let why = result.unwrap_err();
    let Interrupted::Transport(error) = why else {
        panic!("{why:?}");
    };
    error.kind
}

#[test]
fn target_and_headers_arrive_byte_for_byte() {
    let (base, heads) = listening();
    let target = "/v2//a/%2F/%2f;p/x?_state=a+b%2F%2f%27c&d=;e&digest=sha256:0//";
    let mut odd = request("GET", &format!("{base}{target}"), Payload::Empty);
    odd.headers_mut()
        .insert("accept-encoding", "identity".parse().unwrap());
    odd.headers_mut().insert("accept", "a/b".parse().unwrap());
    odd.headers_mut()
        .insert("range", "bytes=500-1233".parse().unwrap());
    block_on(async { run(&plain(20_000), &odd).await }).unwrap();
    let head = heads.recv().unwrap();
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), format!("GET {target} HTTP/1.1"));
    lines.sort_unstable();
    let host = format!("host: {}", base.trim_start_matches("http://"));
    let expected = [
        "accept-encoding: identity",
        "accept: a/b",
        &host,
        "range: bytes=500-1233",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_target_that_would_be_altered_is_not_sent() {
    let (base, heads) = listening();
    for target in ["/v2/a?state='x'", "/a/../b", "/a/%2e%2e/b", "/a?b=\"c\""] {
        let Ok(uri) = format!("{base}{target}").parse::<http::Uri>() else {
            continue;
        };
        let result = get(20_000, &uri.to_string());
        let Err(Interrupted::NotSent(why)) = &result else {
            panic!("{target}: {result:?}")
        };
        assert_eq!(why.kind, TransportErrorKind::Protocol);
    }
    assert!(heads.try_recv().is_err());
}

#[test]
fn an_empty_post_sends_its_length_and_nothing_else() {
    let (base, heads) = listening();
    for method in ["POST", "PUT"] {
        let empty = request(method, &format!("{base}/x"), Payload::Empty);
        block_on(async { run(&plain(20_000), &empty).await }).unwrap();
        let head = heads.recv().unwrap().to_lowercase();
        assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
    }
}

#[test]
fn bodies_are_not_chunked() {
    let (sender, heads) = channel();
    let base = server(move |mut stream| {
        sender.send(head(&mut stream)).unwrap();
        stream.read_exact(&mut [0; 3]).unwrap();
        stream.write_all(CREATED).unwrap();
    });
    let put = request("PUT", &base, Payload::Bytes(Arc::from(&b"{ }"[..])));
    block_on(async { run(&plain(20_000), &put).await }).unwrap();
    assert_eq!(
        upload(&plain(20_000), &base, 3, 3, (3, Duration::ZERO)),
        (Ok(201), 3)
    );
    for _ in 0..2 {
        let head = heads.recv().unwrap();
        assert!(head.contains("content-length: 3\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
    }
}

#[test]
fn a_kept_connection_that_closes_is_replaced_silently() {
    // Every connection takes two requests, but answers one only.
    let base = server(|mut stream| {
        head(&mut stream);
        stream.write_all(OK).unwrap();
        head(&mut stream);
    });
    block_on(async {
        let exchanges = plain(20_000);
        for method in ["GET", "POST", "GET", "DELETE"] {
            let request = request(method, &base, Payload::Empty);
            assert_eq!(run(&exchanges, &request).await.unwrap(), b"hello");
        }
    });
}

/// The second try takes a fresh connection, whatever others are kept, and so does every body after
/// that: it is not sent in vain.
#[test]
fn a_body_goes_again_on_a_fresh_connection() {
    // Connections take two requests each, but answer one.
    let (sender, puts) = channel();
    let count = Arc::new(AtomicU32::new(0));
    let base = server(move |mut stream| {
        let count = count.fetch_add(1, Relaxed);
        for answers in [true, false] {
            if head(&mut stream).starts_with("PUT") {
                drop(stream.read_exact(&mut [0; 1000]));
                sender.send(count).unwrap();
            }
            if answers {
                stream.write_all(OK).unwrap();
            }
        }
    });
    block_on(async {
        let exchanges = plain(20_000);
        let get = request("GET", &base, Payload::Empty);
        // Two connections are kept.
        let (one, other) = tokio::join!(run(&exchanges, &get), run(&exchanges, &get));
        one.and(other).unwrap();
        // Their tasks give them back to the pool.
        tokio::time::sleep(Duration::from_millis(100)).await;
        for opened in [2, 1] {
            let mut zeros = zeros(1000, 1000, (1000, Duration::ZERO));
            assert_eq!(put(&exchanges, &base, &mut zeros).await, Ok(200));
            assert_eq!(zeros.opened, opened);
        }
    });
    let puts: Vec<_> = puts.try_iter().collect();
    assert!(puts[0] < 2 && puts[1..] == [2, 3], "{puts:?}");
}

/// A fresh connection that breaks is a failure: the session decides what follows.
#[test]
fn a_body_is_sent_twice_at_the_most() {
    let count = Arc::new(AtomicU32::new(0));
    let base = server(move |mut stream| {
        head(&mut stream);
        if count.fetch_add(1, Relaxed) == 0 {
            stream.write_all(OK).unwrap();
            head(&mut stream);
        }
    });
    block_on(async {
        let exchanges = plain(20_000);
        let get = request("GET", &base, Payload::Empty);
        run(&exchanges, &get).await.unwrap();
        let mut zeros = zeros(5, 5, (5, Duration::ZERO));
        let result = put(&exchanges, &base, &mut zeros).await;
        assert_eq!(kind(result), TransportErrorKind::Reset);
        assert_eq!(zeros.opened, 2);
    });
}

#[test]
fn a_silent_server_is_given_up_after_the_answer_limit() {
    let begun = Instant::now();
    assert_eq!(kind(get(200, &hanging(|_| {}))), TransportErrorKind::Answer);
    assert!(begun.elapsed() < Duration::from_secs(20));
    let (result, _) = upload(
        &plain(200),
        &hanging(|_| {}),
        1000,
        1000,
        (1000, Duration::ZERO),
    );
    assert_eq!(kind(result), TransportErrorKind::Answer);
}

#[test]
fn a_stalled_download_is_given_up_after_the_idle_limit() {
    let base = hanging(|stream| stream.write_all(&OK[..OK.len() - 2]).unwrap());
    assert_eq!(kind(get(300, &base)), TransportErrorKind::Idle);
}

#[test]
fn a_slow_download_passes() {
    const LEN: usize = 150;
    let base = server(|mut stream| {
        head(&mut stream);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n").unwrap();
        for _ in 0..LEN {
            stream.write_all(b"x").unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    // As a whole it takes longer than the limit.
    assert_eq!(get(2000, &base).unwrap(), [b'x'; LEN]);
}

/// A server that says this, and then the same again and again. Sends how often, once nobody
/// listens.
fn endless(begin: &'static [u8], again: &'static [u8], pause: Duration) -> (String, Receiver<u64>) {
    let (sender, counts) = channel();
    let base = server(move |mut stream| {
        head(&mut stream);
        stream.write_all(begin).unwrap();
        let mut count = 0;
        while stream.write_all(again).is_ok() {
            count += 1;
            thread::sleep(pause);
        }
        // Nobody counts any more if the test is over.
        let _ = sender.send(count);
    });
    (base, counts)
}

/// A chunked body to its last chunk, after which trailers come.
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn trailers_without_end_are_left_after_so_many_bytes() {
    let (base, counts) = endless(CHUNKED, b"X-A: b\r\n", Duration::ZERO);
    assert_eq!(kind(get(60_000, &base)), TransportErrorKind::Protocol);
    // Buffers of sockets hold a few MiB.
    assert!(counts.recv().unwrap() * 8 < 32 << 20);
}

#[test]
fn what_never_becomes_an_answer_keeps_no_limit_going() {
    let pause = Duration::from_millis(100);
    let (base, _counts) = endless(CHUNKED, b"X-A: b\r\n", pause);
    assert_eq!(kind(get(1000, &base)), TransportErrorKind::Idle);
    // hyper does not count interim answers: the limit for the answer ends them.
    let (base, _counts) = endless(b"", INTERIM, pause);
    assert_eq!(kind(get(1000, &base)), TransportErrorKind::Answer);
}

#[test]
fn failures_are_told_apart() {
    let short = server(|mut stream| {
        head(&mut stream);
        stream.write_all(&OK[..OK.len() - 2]).unwrap();
    });
    assert_eq!(kind(get(20_000, &short)), TransportErrorKind::Reset);
    let closing = server(|mut stream| drop(head(&mut stream)));
    assert_eq!(kind(get(20_000, &closing)), TransportErrorKind::Reset);
    let other = server(|mut stream| {
        head(&mut stream);
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").unwrap();
    });
    assert_eq!(kind(get(20_000, &other)), TransportErrorKind::Protocol);
    // In use, so that it stays nobody's, and not listened on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let base = format!("http://{}", stream.local_addr().unwrap());
    assert_eq!(kind(get(20_000, &base)), TransportErrorKind::Connect);
    // A resolver may ask several servers before it knows that a name is nobody's.
    assert_eq!(
        kind(get(60_000, "http://no.such.host.invalid/")),
        TransportErrorKind::Resolve
    );
}

#[test]
fn errors_do_not_name_targets() {
    let closing = server(|mut stream| drop(head(&mut stream)));
    let why = get(20_000, &format!("{closing}/secret?token=secret")).unwrap_err();
    assert!(!format!("{why:?}").contains("secret"), "{why:?}");
}

#[test]
fn an_upload_may_last_longer_than_the_idle_limit() {
    let base = server(|mut stream| {
        head(&mut stream);
        stream.read_exact(&mut [0; 1500]).unwrap();
        stream.write_all(CREATED).unwrap();
    });
    let slow = (10, Duration::from_millis(20));
    assert_eq!(
        upload(&plain(2000), &base, 1500, 1500, slow),
        (Ok(201), 1500)
    );
}

#[test]
fn a_peer_that_stops_reading_is_noticed() {
    let begun = Instant::now();
    let (result, moved) = upload(&plain(400), &hanging(|_| {}), 1 << 30, 1 << 30, FAST);
    assert_eq!(kind(result), TransportErrorKind::Idle);
    assert!(moved < 1 << 26);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

const REFUSAL: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

#[test]
fn an_early_refusal_is_heard() {
    // As servers close that mean to be heard: they end their side and wait a little.
    let lingering = server(|mut stream| {
        head(&mut stream);
        stream.write_all(REFUSAL).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        thread::sleep(Duration::from_millis(500));
    });
    let stalling = hanging(|stream| stream.write_all(REFUSAL).unwrap());
    for base in [lingering, stalling] {
        let begun = Instant::now();
        let (result, moved) = upload(&plain(20_000), &base, 1 << 30, 1 << 30, FAST);
        assert_eq!(result, Ok(401));
        assert!(moved < 1 << 26, "{moved}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn an_early_refusal_may_drown_in_a_reset() {
    // hyper gives up when a write fails, even if an answer is there to be read. Here the blocking
    // client does better; the core sends no blob where it may be refused out of hand.
    let abrupt = server(|mut stream| {
        head(&mut stream);
        stream.write_all(REFUSAL).unwrap();
    });
    let (result, _) = upload(&plain(20_000), &abrupt, 1 << 30, 1 << 30, FAST);
    assert!(result == Ok(401) || kind(result) == TransportErrorKind::Reset);
}

#[test]
fn a_source_that_comes_up_short_is_an_error() {
    let base = server(|mut stream| {
        head(&mut stream);
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let (result, _) = upload(&plain(20_000), &base, 1000, 10, (10, Duration::ZERO));
    assert_eq!(kind(result), TransportErrorKind::Reset);
}

#[test]
fn a_source_that_has_too_much_is_cut() {
    let (sender, lengths) = channel();
    let base = server(move |mut stream| {
        head(&mut stream);
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream.write_all(CREATED).unwrap();
        let mut rest = Vec::new();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        drop(stream.read_to_end(&mut rest));
        sender.send(rest.len()).unwrap();
    });
    let (result, _) = upload(&plain(20_000), &base, 1000, 2000, (400, Duration::ZERO));
    assert_eq!(result, Ok(201));
    assert_eq!(lengths.recv().unwrap(), 0);
}

/// A TLS server's configuration, and the client's trust in it.
fn identity(name: &str) -> (Arc<rustls::ServerConfig>, TlsRoots) {
    let identity = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key.unwrap())
        .unwrap();
    let trust = TlsRoots {
        roots: Some(Arc::new(vec![identity.cert.der().to_vec()])),
        extra: Vec::new(),
    };
    (Arc::new(config), trust)
}

#[test]
fn tls_trusts_whom_it_is_told_to() {
    let (config, trust) = identity("localhost");
    let base = server(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        while !head(&mut stream).is_empty() {
            stream.write_all(OK).unwrap();
        }
    });
    let base = base.replace("http://127.0.0.1", "https://localhost");
    let get = request("GET", &base, Payload::Empty);
    block_on(async {
        let trusting = exchanges(&trust, 20_000);
        for _ in 0..2 {
            assert_eq!(run(&trusting, &get).await.unwrap(), b"hello");
        }
        let (_, others) = identity("localhost");
        let result = run(&exchanges(&others, 20_000), &get).await;
        assert_eq!(kind(result), TransportErrorKind::Tls);
    });
}

/// A proxy that tunnels what is for https and answers the rest itself; sends what it was asked.
fn proxy(sender: std::sync::mpsc::Sender<String>) -> Arc<dyn ProxySelector> {
    let url = server(move |mut stream| {
        loop {
            let asked = head(&mut stream);
            if asked.is_empty() {
                return;
            }
            let (method, rest) = asked.split_once(' ').unwrap();
            let target = rest.split(' ').next().unwrap().to_owned();
            let tunnels = method == "CONNECT";
            sender.send(asked.clone()).unwrap();
            if !tunnels {
                stream.write_all(OK).unwrap();
                continue;
            }
            let mut there = TcpStream::connect(target).unwrap();
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let (mut back, mut from) = (stream.try_clone().unwrap(), there.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut back));
            drop(std::io::copy(&mut stream, &mut there));
            return;
        }
    });
    let url = url.replace("http://", "http://user:p%40ss@");
    Arc::new(Through(Proxy { url }))
}

/// Everything goes through this proxy.
#[derive(Debug)]
struct Through(Proxy);

impl ProxySelector for Through {
    fn proxy(&self, _: &windlass_core::Origin) -> Option<Proxy> {
        Some(self.0.clone())
    }
}

/// `user:p@ss`
const PROXY_LOGIN: &str = "proxy-authorization: basic dxnlcjpwqhnz\r\n";

fn through(trust: &TlsRoots, route: Arc<dyn ProxySelector>) -> Exchanges {
    let tls = Tls::new(trust).unwrap();
    Exchanges::new(tls, TimeLimits::default(), 4, route)
}

#[test]
fn https_is_tunnelled_through_a_proxy() {
    let (config, trust) = identity("localhost");
    let (heads, origin) = channel();
    let base = server(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        loop {
            let head = head(&mut stream);
            if head.is_empty() {
                return;
            }
            heads.send(head.to_lowercase()).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let base = base.replace("http://127.0.0.1", "https://localhost");
    let (sender, asked) = channel();
    let exchanges = through(&trust, proxy(sender));
    let mut get = request("GET", &base, Payload::Empty);
    let secret = "Bearer secret".parse().unwrap();
    get.headers_mut().insert(header::AUTHORIZATION, secret);
    block_on(async {
        for reused in [false, true] {
            assert_eq!(run(&exchanges, &get).await.unwrap(), b"hello");
            let head = origin.recv().unwrap();
            assert!(head.contains("authorization: bearer secret\r\n"), "{head}");
            assert!(!head.contains("proxy-"), "{head}");
            let asked = asked.try_recv();
            assert_eq!(asked.is_err(), reused);
            if let Ok(asked) = asked {
                let authority = base.trim_start_matches("https://");
                assert!(asked.starts_with(&format!("CONNECT {authority} HTTP/1.1\r\n")));
                let asked = asked.to_lowercase();
                assert!(asked.contains(PROXY_LOGIN), "{asked}");
                assert!(!asked.contains("secret"), "{asked}");
            }
        }
    });
}

#[test]
fn http_is_forwarded_by_a_proxy() {
    let (sender, asked) = channel();
    let exchanges = through(&TlsRoots::default(), proxy(sender));
    // In use, so that it stays nobody's, and not listened on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let base = format!("http://{}", stream.local_addr().unwrap());
    block_on(async {
        for target in ["/v2//a/%2F?b=c&d=;e", "/v2/"] {
            for method in ["GET", "POST"] {
                let sent = request(method, &format!("{base}{target}"), Payload::Empty);
                assert_eq!(run(&exchanges, &sent).await.unwrap(), b"hello");
                let head = asked.recv().unwrap();
                let line = format!("{method} {base}{target} HTTP/1.1\r\n");
                assert!(head.starts_with(&line), "{head}");
                let head = head.to_lowercase();
                assert_eq!(head.matches(PROXY_LOGIN).count(), 1, "{head}");
                let host = format!("host: {}\r\n", base.trim_start_matches("http://"));
                assert_eq!(head.matches(&host).count(), 1, "{head}");
            }
        }
    });
}

/// What a proxy itself does wrong is told with its name, and without its password.
#[test]
fn a_failing_proxy_is_named() {
    use TransportErrorKind::{Connect, ProxyAuth, Reset, Resolve};

    let says = |status: &'static str| {
        server(move |mut stream| {
            head(&mut stream);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            drop(stream.write_all(answer.as_bytes()));
        })
    };
    let closes = || server(drop);
    // In use, so that it stays nobody's, and not listened on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let unreachable = format!("http://{}", stream.local_addr().unwrap());
    let wrong = || says("407 Proxy Authentication Required");
    let table = [
        ("https", wrong(), ProxyAuth, "answered 407"),
        ("http", wrong(), ProxyAuth, "answered 407"),
        ("https", says("502 No"), Connect, "unsuccessful"),
        ("https", says("403 No"), Connect, "unsuccessful"),
        ("https", unreachable.clone(), Connect, "refused"),
        ("http", unreachable, Connect, "refused"),
        ("http", closes(), Reset, "(through proxy"),
        (
            "https",
            "http://proxy.invalid:1".into(),
            Resolve,
            "proxy.invalid",
        ),
    ];
    for (scheme, url, expected, says) in table {
        let address = url.trim_start_matches("http://").to_owned();
        let url = url.replace("http://", "http://user:s3cret@");
        let exchanges = through(&TlsRoots::default(), Arc::new(Through(Proxy { url })));
        let target = format!("{scheme}://r.invalid/v2/");
        let get = request("GET", &target, Payload::Empty);
        let Err(Interrupted::Transport(error)) = block_on(run(&exchanges, &get)) else {
            panic!("{scheme} {address}: no failure of the connection");
        };
        assert_eq!(error.kind, expected, "{scheme} {address}: {error}");
        assert!(
            error.detail.contains(&format!("proxy {address}")),
            "{error}"
        );
        assert!(error.detail.contains(says), "{error}");
        assert!(!error.detail.contains("s3cret"), "{error}");
    }
    // Without a proxy it is an answer like any other.
    let get = request("GET", &wrong(), Payload::Empty);
    let tls = Tls::new(&TlsRoots::default()).unwrap();
    let exchanges = Exchanges::new(
        tls,
        TimeLimits::default(),
        4,
        Arc::new(windlass_driver::Direct),
    );
    let answer = block_on(exchanges.send(&get, None::<&mut Zeros>));
    assert_eq!(answer.unwrap().status(), 407);
}

#[test]
fn the_future_of_a_request_can_be_spawned() {
    fn is_send(_: &impl Send) {}
    fn check(request: crate::Request<'_>) {
        is_send(&request.run());
    }
    let _ = check;
}
