//! Exchanges against servers made of raw sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use http::{Request, header};
use windlass_core::call::{Interrupted, Payload, TransportErrorKind};
use windlass_store::driver::{TimeLimits, Trust};

use crate::control::Control;
use crate::exchange::{Exchanges, Upload, read_interrupted};
use crate::tls::Tls;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Runs `serve` once per connection, counting from 0, and says where.
fn server(serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let serve = serve.clone();
            thread::spawn(move || serve(count, stream.unwrap()));
        }
    });
    base
}

/// Reads a request's head.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A server that answers with OK and hands over the request heads.
fn listening() -> (String, Receiver<String>) {
    let (sender, receiver) = channel();
    let base = server(move |_, mut stream| {
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

fn limits(millis: u64) -> TimeLimits {
    let mut limits = TimeLimits::default();
    limits.connect = Duration::from_millis(millis);
    limits.idle = Duration::from_millis(millis);
    limits.answer = Duration::from_millis(2 * millis);
    limits
}

fn exchanges(millis: u64) -> Exchanges {
    let tls = Tls::new(&Trust::default()).unwrap();
    Exchanges::new(tls, &limits(millis), 4)
}

fn request(method: &str, target: &str, body: Payload) -> Request<Payload> {
    let mut request = Request::builder().method(method).uri(target);
    match &body {
        Payload::Empty if method != "POST" && method != "PUT" => {}
        Payload::Empty => request = request.header(header::CONTENT_LENGTH, 0),
        Payload::Bytes(bytes) => request = request.header(header::CONTENT_LENGTH, bytes.len()),
        _ => unreachable!(),
    }
    request.body(body).unwrap()
}

/// Sends, and reads the answer's body to its end.
fn run(
    exchanges: &Exchanges,
    request: &Request<Payload>,
    control: &Arc<Control>,
) -> Result<(u16, Vec<u8>), Interrupted> {
    let _entered = control.enter();
    let response = exchanges.send(request, None, None, control)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let read = response.into_body().into_reader().read_to_end(&mut body);
    read.map_err(|error| read_interrupted(&error, control))?;
    Ok((status, body))
}

/// Sends `len` bytes of `source`. How many were taken from it is the second answer.
fn upload(
    exchanges: &Exchanges,
    base: &str,
    len: u64,
    control: &Arc<Control>,
    source: &mut dyn Read,
) -> (Result<u16, Interrupted>, u64) {
    let _entered = control.enter();
    let target = format!("{base}/upload?state=1&digest=sha256:0");
    let mut request = request("PUT", &target, Payload::Empty);
    request
        .headers_mut()
        .insert(header::CONTENT_LENGTH, len.into());
    let mut moved = 0;
    let mut count = |more| moved += more;
    let upload = Upload::new(source, len, control, &mut count);
    let result = exchanges.send(&request, Some(upload), None, control);
    (result.map(|response| response.status().as_u16()), moved)
}

fn kind(result: Result<impl std::fmt::Debug, Interrupted>) -> TransportErrorKind {
    match result.unwrap_err() {
        Interrupted::Transport(error) => error.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn target_and_headers_arrive_byte_for_byte() {
    let (base, heads) = listening();
    let exchanges = exchanges(2000);
    let target = "/v2//a/%2F/../b;p/'x'?_state=a+b%2F%2f'c'&d=;e&digest=sha256:0//";
    let mut odd = request("GET", &format!("{base}{target}"), Payload::Empty);
    odd.headers_mut()
        .insert("accept-encoding", "identity".parse().unwrap());
    odd.headers_mut()
        .insert("range", "bytes=500-1233".parse().unwrap());
    run(&exchanges, &odd, &Arc::default()).unwrap();
    let head = heads.recv().unwrap();
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), format!("GET {target} HTTP/1.1"));
    lines.sort_unstable();
    let host = format!("host: {}", base.trim_start_matches("http://"));
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            host.as_str(),
            "range: bytes=500-1233"
        ]
    );
}

#[test]
fn an_empty_post_sends_its_length_and_nothing_else() {
    let (base, heads) = listening();
    let exchanges = exchanges(2000);
    for method in ["POST", "PUT"] {
        run(
            &exchanges,
            &request(method, &format!("{base}/x"), Payload::Empty),
            &Arc::default(),
        )
        .unwrap();
        let head = heads.recv().unwrap().to_lowercase();
        assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
    }
}

#[test]
fn a_small_body_is_not_chunked() {
    let (sender, bodies) = channel();
    let base = server(move |_, mut stream| {
        let head = head(&mut stream);
        let mut body = [0; 3];
        stream.read_exact(&mut body).unwrap();
        sender.send((head, body)).unwrap();
        stream.write_all(OK).unwrap();
    });
    let document = Payload::Bytes(Arc::from(&b"{ }"[..]));
    run(
        &exchanges(2000),
        &request("PUT", &base, document),
        &Arc::default(),
    )
    .unwrap();
    let (head, body) = bodies.recv().unwrap();
    assert!(head.contains("content-length: 3\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(&body, b"{ }");
}

#[test]
fn connections_are_kept() {
    let (sender, counts) = channel();
    let base = server(move |count, mut stream| {
        while !head(&mut stream).is_empty() {
            sender.send(count).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let exchanges = exchanges(2000);
    for _ in 0..3 {
        run(
            &exchanges,
            &request("GET", &base, Payload::Empty),
            &Arc::default(),
        )
        .unwrap();
        assert_eq!(counts.recv().unwrap(), 0);
    }
}

#[test]
fn a_kept_connection_that_closes_is_replaced_silently() {
    // Every connection takes two requests, but answers one only.
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream.write_all(OK).unwrap();
        head(&mut stream);
    });
    let exchanges = exchanges(2000);
    for method in ["GET", "POST", "GET"] {
        let request = request(method, &base, Payload::Empty);
        assert_eq!(run(&exchanges, &request, &Arc::default()).unwrap().0, 200);
    }
    // What may not be done twice is not.
    let request = request("PATCH", &base, Payload::Empty);
    assert_eq!(
        kind(run(&exchanges, &request, &Arc::default())),
        TransportErrorKind::Reset
    );
}

#[test]
fn a_silent_server_is_given_up_after_the_answer_limit() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        thread::sleep(Duration::from_secs(5));
    });
    let begun = Instant::now();
    let result = run(
        &exchanges(300),
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(kind(result), TransportErrorKind::Answer);
    assert!(
        begun.elapsed() >= Duration::from_millis(600),
        "longer than idle is fine"
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_stalled_download_is_given_up_after_the_idle_limit() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream.write_all(&OK[..OK.len() - 2]).unwrap();
        thread::sleep(Duration::from_secs(5));
    });
    let result = run(
        &exchanges(300),
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(kind(result), TransportErrorKind::Idle);
}

#[test]
fn a_slow_download_passes() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        for byte in OK {
            stream.write_all(&[*byte]).unwrap();
            thread::sleep(Duration::from_millis(15));
        }
    });
    let result = run(
        &exchanges(400),
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(result.unwrap().1, b"hello");
}

#[test]
fn a_short_answer_is_a_reset() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream.write_all(&OK[..OK.len() - 2]).unwrap();
    });
    let result = run(
        &exchanges(2000),
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(kind(result), TransportErrorKind::Reset);
}

#[test]
fn a_stopped_read_ends_at_once() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream.write_all(&OK[..OK.len() - 2]).unwrap();
        thread::sleep(Duration::from_secs(20));
    });
    let control = Arc::<Control>::default();
    let stopper = Arc::clone(&control);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stopper.stop();
    });
    let begun = Instant::now();
    let result = run(
        &exchanges(60_000),
        &request("GET", &base, Payload::Empty),
        &control,
    );
    assert_eq!(result, Err(Interrupted::Aborted));
    assert!(
        begun.elapsed() < Duration::from_millis(1000),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_stopped_connect_ends_at_once() {
    // A backlog of one that is full does not answer.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut full = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        full.push(stream);
        if full.len() > 5000 {
            return;
        }
    }
    let control = Arc::<Control>::default();
    let stopper = Arc::clone(&control);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stopper.stop();
    });
    let begun = Instant::now();
    let result = run(
        &exchanges(60_000),
        &request("GET", &format!("http://{address}"), Payload::Empty),
        &control,
    );
    assert_eq!(result, Err(Interrupted::Aborted));
    assert!(
        begun.elapsed() < Duration::from_millis(1000),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn refused_and_unknown_hosts_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let exchanges = exchanges(2000);
    let result = run(
        &exchanges,
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(kind(result), TransportErrorKind::Connect);
    let result = run(
        &exchanges,
        &request("GET", "http://no.such.host.invalid/", Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(kind(result), TransportErrorKind::Resolve);
}

#[test]
fn what_is_no_http_is_a_protocol_error() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").unwrap();
    });
    let result = run(
        &exchanges(2000),
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(kind(result), TransportErrorKind::Protocol);
}

/// Zeros, a few at a time.
struct Drip {
    pause: Duration,
    chunk: usize,
}

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        thread::sleep(self.pause);
        let read = buffer.len().min(self.chunk);
        buffer[..read].fill(0);
        Ok(read)
    }
}

#[test]
fn an_upload_may_last_longer_than_the_idle_limit() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream
            .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let mut drip = Drip {
        pause: Duration::from_millis(100),
        chunk: 100,
    };
    let (result, moved) = upload(&exchanges(300), &base, 1000, &Arc::default(), &mut drip);
    assert_eq!(result, Ok(201));
    assert_eq!(moved, 1000);
}

#[test]
fn a_peer_that_stops_reading_is_noticed() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        thread::sleep(Duration::from_secs(10));
    });
    let begun = Instant::now();
    let (result, moved) = upload(
        &exchanges(400),
        &base,
        1 << 30,
        &Arc::default(),
        &mut std::io::repeat(0),
    );
    assert_eq!(kind(result), TransportErrorKind::Idle);
    assert!(moved < 1 << 26);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_stopped_upload_ends_at_once() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        thread::sleep(Duration::from_secs(10));
    });
    let control = Arc::<Control>::default();
    let stopper = Arc::clone(&control);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stopper.stop();
    });
    let begun = Instant::now();
    let (result, _) = upload(
        &exchanges(60_000),
        &base,
        1 << 30,
        &control,
        &mut std::io::repeat(0),
    );
    assert_eq!(result, Err(Interrupted::Aborted));
    assert!(
        begun.elapsed() < Duration::from_millis(1000),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn an_early_refusal_is_heard_when_the_peer_closes() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream
            .write_all(
                b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )
            .unwrap();
    });
    for _ in 0..10 {
        let (result, moved) = upload(
            &exchanges(2000),
            &base,
            1 << 30,
            &Arc::default(),
            &mut std::io::repeat(0),
        );
        assert_eq!(result, Ok(401));
        assert!(moved < 1 << 26, "{moved}");
    }
}

#[test]
fn an_early_refusal_is_heard_when_the_peer_just_stops_reading() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        thread::sleep(Duration::from_secs(10));
    });
    let begun = Instant::now();
    let (result, _) = upload(
        &exchanges(60_000),
        &base,
        1 << 30,
        &Arc::default(),
        &mut std::io::repeat(0),
    );
    assert_eq!(result, Ok(413));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_connection_lost_while_sending_is_a_reset() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        drop(stream.shutdown(Shutdown::Both));
    });
    let (result, _) = upload(
        &exchanges(2000),
        &base,
        1 << 30,
        &Arc::default(),
        &mut std::io::repeat(0),
    );
    assert_eq!(kind(result), TransportErrorKind::Reset);
}

#[test]
fn a_source_that_comes_up_short_does_not_hang() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let begun = Instant::now();
    let (result, moved) = upload(
        &exchanges(5000),
        &base,
        1000,
        &Arc::default(),
        &mut &[0; 10][..],
    );
    assert_eq!(kind(result), TransportErrorKind::Reset);
    assert_eq!(moved, 10);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_source_that_has_too_much_is_cut() {
    let (sender, lengths) = channel();
    let base = server(move |_, mut stream| {
        head(&mut stream);
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream
            .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        let mut rest = Vec::new();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        drop(stream.read_to_end(&mut rest));
        sender.send(rest.len()).unwrap();
    });
    let (result, moved) = upload(
        &exchanges(2000),
        &base,
        1000,
        &Arc::default(),
        &mut std::io::repeat(0),
    );
    assert_eq!(result, Ok(201));
    assert_eq!(moved, 1000);
    assert_eq!(lengths.recv().unwrap(), 0);
}
