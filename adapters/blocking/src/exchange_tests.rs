//! Exchanges against servers made of raw sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use http::{Request, header};
use windlass_core::call::{Interrupted, Payload, TransportErrorKind};
use windlass_driver::{TimeLimits, Tls, TlsRoots};

use crate::control::Control;
use crate::exchange::{Content, Exchanges, Upload, read_interrupted};
use crate::stream::{Stream, Under, is_wait};

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
    let tls = Tls::new(&TlsRoots::default()).unwrap();
    Exchanges::new(tls, &limits(millis), 4)
}

fn request(method: &str, target: &str, body: Payload) -> Request<Payload> {
    let mut request = Request::builder().method(method).uri(target);
    match &body {
        Payload::Empty if method != "POST" && method != "PUT" => {}
        Payload::Empty => request = request.header(header::CONTENT_LENGTH, 0),
        Payload::Bytes(bytes) => request = request.header(header::CONTENT_LENGTH, bytes.len()),
        Payload::Body(_) | _ => unreachable!(),
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
    let read = response.into_body().read_to_end(&mut body);
    read.map_err(|error| read_interrupted(&error, control))?;
    Ok((status, body))
}

/// A source of bytes that counts what is taken from it, and how often it was rewound.
struct Counted<'a> {
    source: &'a mut dyn Read,
    moved: u64,
    /// `None`: it cannot be read again.
    rewound: Option<u32>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.moved += read as u64;
        Ok(read)
    }
}

impl Content for Counted<'_> {
    fn rewind(&mut self) -> Result<(), Interrupted> {
        let Some(rewound) = &mut self.rewound else {
            panic!("this must not be sent again");
        };
        *rewound += 1;
        Ok(())
    }
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
    let mut counted = Counted {
        source,
        moved: 0,
        rewound: None,
    };
    let upload = Upload::new(&mut counted, len, control);
    let result = exchanges.send(&request, Some(upload), None, control);
    (
        result.map(|response| response.status().as_u16()),
        counted.moved,
    )
}

/// Stops the job while `work` is at it, and says how that ended; it has to end soon after.
fn stopped<T>(control: &Arc<Control>, work: impl FnOnce() -> T) -> T {
    let stopper = Arc::clone(control);
    let stopping = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stopper.stop();
        Instant::now()
    });
    let result = work();
    let took = stopping.join().unwrap().elapsed();
    // A second is what is promised; a loaded machine is given more, and limits are far longer.
    assert!(took < Duration::from_secs(5), "{took:?}");
    result
}

/// A port that stays nobody's: it is in use, but not listened on.
fn nobody() -> (TcpListener, TcpStream, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let base = format!("http://{}", stream.local_addr().unwrap());
    (listener, stream, base)
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
    let exchanges = exchanges(20_000);
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
    let exchanges = exchanges(20_000);
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
        &exchanges(20_000),
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
    let exchanges = exchanges(20_000);
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
    let exchanges = exchanges(20_000);
    for method in ["GET", "POST", "GET", "DELETE"] {
        let request = request(method, &base, Payload::Empty);
        assert_eq!(run(&exchanges, &request, &Arc::default()).unwrap().0, 200);
    }
}

/// A server whose connections take two requests each, but answer one; each request is told with the
/// number of its connection, after its body was read.
fn answering_once(body: usize) -> (String, Receiver<(usize, String)>) {
    let (sender, requests) = channel();
    let base = server(move |count, mut stream| {
        for answers in [true, false] {
            let head = head(&mut stream);
            let method = head.split(' ').next().unwrap_or_default().to_owned();
            if method == "PUT" {
                drop(stream.read_exact(&mut vec![0; body]));
            }
            sender.send((count, method)).unwrap();
            if answers {
                stream.write_all(OK).unwrap();
            }
        }
    });
    (base, requests)
}

/// The second try takes a fresh connection, whatever others are kept, and so does every body after
/// that: it is not sent in vain.
#[test]
fn a_body_goes_again_on_a_fresh_connection() {
    let (base, requests) = answering_once(1000);
    let exchanges = exchanges(20_000);
    let get = request("GET", &base, Payload::Empty);
    // Two connections are kept.
    let first = Arc::<Control>::default();
    let entered = first.enter();
    let open = exchanges.send(&get, None, None, &first).unwrap();
    drop(entered);
    run(&exchanges, &get, &Arc::default()).unwrap();
    let entered = first.enter();
    drop(open.into_body().read_to_end(&mut Vec::new()));
    drop(entered);
    for (sent, rewound) in [(2000, Some(1)), (1000, Some(0))] {
        let control = Arc::<Control>::default();
        let _entered = control.enter();
        let mut put = request("PUT", &base, Payload::Empty);
        put.headers_mut()
            .insert(header::CONTENT_LENGTH, 1000.into());
        let mut zeros = Counted {
            source: &mut std::io::repeat(0),
            moved: 0,
            rewound: Some(0),
        };
        let body = Upload::new(&mut zeros, 1000, &control);
        let answer = exchanges.send(&put, Some(body), None, &control);
        assert_eq!(answer.unwrap().status(), 200);
        assert_eq!((zeros.moved, zeros.rewound), (sent, rewound));
    }
    let put = |count| (count, "PUT".to_owned());
    let requests: Vec<_> = requests.try_iter().filter(|(_, it)| it == "PUT").collect();
    assert!(requests[0].0 < 2, "{requests:?}");
    assert_eq!(requests[1..], [put(2), put(3)]);
}

/// A fresh connection that breaks is a failure: the session decides what follows.
#[test]
fn a_body_is_sent_twice_at_the_most() {
    let base = server(|count, mut stream| {
        head(&mut stream);
        if count == 0 {
            stream.write_all(OK).unwrap();
            head(&mut stream);
        }
    });
    let exchanges = exchanges(20_000);
    let get = request("GET", &base, Payload::Empty);
    run(&exchanges, &get, &Arc::default()).unwrap();
    let control = Arc::<Control>::default();
    let _entered = control.enter();
    let mut put = request("PUT", &base, Payload::Empty);
    put.headers_mut().insert(header::CONTENT_LENGTH, 5.into());
    let mut zeros = Counted {
        source: &mut std::io::repeat(0),
        moved: 0,
        rewound: Some(0),
    };
    let body = Upload::new(&mut zeros, 5, &control);
    let result = exchanges.send(&put, Some(body), None, &control);
    assert_eq!(kind(result.map(|_| ())), TransportErrorKind::Reset);
    assert_eq!(zeros.rewound, Some(1));
}

#[test]
fn a_silent_server_is_given_up_after_the_answer_limit() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        thread::sleep(Duration::from_secs(30));
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
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_stalled_download_is_given_up_after_the_idle_limit() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream.write_all(&OK[..OK.len() - 2]).unwrap();
        thread::sleep(Duration::from_secs(30));
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
    const LEN: usize = 150;
    let base = server(|_, mut stream| {
        head(&mut stream);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n").unwrap();
        for _ in 0..LEN {
            stream.write_all(b"x").unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    // As a whole it takes longer than the limit.
    let result = run(
        &exchanges(2000),
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(result.unwrap().1, [b'x'; LEN]);
}

#[test]
fn a_short_answer_is_a_reset() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        stream.write_all(&OK[..OK.len() - 2]).unwrap();
    });
    let result = run(
        &exchanges(20_000),
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
    let result = stopped(&control, || {
        run(
            &exchanges(60_000),
            &request("GET", &base, Payload::Empty),
            &control,
        )
    });
    assert_eq!(result, Err(Interrupted::Aborted));
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
    let result = stopped(&control, || {
        run(
            &exchanges(60_000),
            &request("GET", &format!("http://{address}"), Payload::Empty),
            &control,
        )
    });
    assert_eq!(result, Err(Interrupted::Aborted));
}

#[test]
fn refused_and_unknown_hosts_are_told_apart() {
    let (_listener, _stream, base) = nobody();
    // A resolver may ask several servers before it knows that a name is nobody's.
    let exchanges = exchanges(60_000);
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
        &exchanges(20_000),
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(kind(result), TransportErrorKind::Protocol);
}

/// A server that says this, and then the same again and again. Sends how often, once nobody
/// listens.
fn endless(begin: &'static [u8], again: &'static [u8], pause: Duration) -> (String, Receiver<u64>) {
    let (sender, counts) = channel();
    let base = server(move |_, mut stream| {
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
const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n";

#[test]
fn what_never_becomes_an_answer_is_left_after_so_many_bytes() {
    let get = |base: &str| request("GET", base, Payload::Empty);
    for (begin, again) in [(CHUNKED, &b"X-A: b\r\n"[..]), (b"", INTERIM), (b"", HINTS)] {
        let (base, counts) = endless(begin, again, Duration::ZERO);
        let result = run(&exchanges(60_000), &get(&base), &Arc::default());
        assert_eq!(kind(result), TransportErrorKind::Protocol);
        // Buffers of sockets hold a few MiB.
        let sent = counts.recv().unwrap() * again.len() as u64;
        assert!(sent < 32 << 20, "{sent} bytes were taken");
    }
}

#[test]
fn a_head_that_is_too_long_is_a_protocol_error() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        let field = "a".repeat(1 << 20);
        // Nobody reads it to its end.
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nX: {field}");
    });
    let get = request("GET", &base, Payload::Empty);
    let result = run(&exchanges(20_000), &get, &Arc::default());
    assert_eq!(kind(result), TransportErrorKind::Protocol);
}

#[test]
fn what_never_becomes_an_answer_keeps_no_limit_going() {
    let pause = Duration::from_millis(100);
    let get = |base: &str| request("GET", base, Payload::Empty);
    let (base, _counts) = endless(CHUNKED, b"X-A: b\r\n", pause);
    let result = run(&exchanges(1000), &get(&base), &Arc::default());
    assert_eq!(kind(result), TransportErrorKind::Idle);
    let (base, _counts) = endless(b"", INTERIM, pause);
    let result = run(&exchanges(1000), &get(&base), &Arc::default());
    assert_eq!(kind(result), TransportErrorKind::Answer);
}

#[test]
fn a_few_interim_answers_and_trailers_are_fine() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        for part in [INTERIM, HINTS, INTERIM, CHUNKED, b"X-A: b\r\n\r\n"] {
            stream.write_all(part).unwrap();
        }
    });
    let result = run(
        &exchanges(20_000),
        &request("GET", &base, Payload::Empty),
        &Arc::default(),
    );
    assert_eq!(result, Ok((200, b"hello".to_vec())));
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
        stream.read_exact(&mut [0; 1500]).unwrap();
        stream
            .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let mut drip = Drip {
        pause: Duration::from_millis(20),
        chunk: 10,
    };
    let (result, moved) = upload(&exchanges(2000), &base, 1500, &Arc::default(), &mut drip);
    assert_eq!(result, Ok(201));
    assert_eq!(moved, 1500);
}

#[test]
fn a_peer_that_stops_reading_is_noticed() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        thread::sleep(Duration::from_secs(30));
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
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_stopped_upload_ends_at_once() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        thread::sleep(Duration::from_secs(10));
    });
    let control = Arc::<Control>::default();
    let (result, _) = stopped(&control, || {
        upload(
            &exchanges(60_000),
            &base,
            1 << 30,
            &control,
            &mut std::io::repeat(0),
        )
    });
    assert_eq!(result, Err(Interrupted::Aborted));
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
            &exchanges(20_000),
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
        thread::sleep(Duration::from_secs(30));
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
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_connection_lost_while_sending_is_a_reset() {
    let base = server(|_, mut stream| {
        head(&mut stream);
        drop(stream.shutdown(Shutdown::Both));
    });
    let (result, _) = upload(
        &exchanges(20_000),
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
        &exchanges(60_000),
        &base,
        1000,
        &Arc::default(),
        &mut &[0; 10][..],
    );
    assert_eq!(kind(result), TransportErrorKind::Reset);
    assert_eq!(moved, 10);
    assert!(begun.elapsed() < Duration::from_secs(20));
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
        &exchanges(20_000),
        &base,
        1000,
        &Arc::default(),
        &mut std::io::repeat(0),
    );
    assert_eq!(result, Ok(201));
    assert_eq!(moved, 1000);
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

/// A TLS server on one connection after the other.
fn tls_server(
    config: Arc<rustls::ServerConfig>,
    serve: impl Fn(&mut dyn ReadWrite) + Clone + Send + 'static,
) -> String {
    let base = server(move |_, stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        serve(&mut rustls::StreamOwned::new(connection, stream));
    });
    base.replace("http://127.0.0.1", "https://localhost")
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn tls_head(stream: &mut dyn ReadWrite) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn trusting(trust: &TlsRoots, millis: u64) -> Exchanges {
    Exchanges::new(Tls::new(trust).unwrap(), &limits(millis), 4)
}

/// Like a worker: on a thread with a worker's stack.
fn on_a_worker<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let builder = thread::Builder::new().stack_size(crate::pool::STACK);
    builder.spawn(work).unwrap().join().unwrap()
}

#[test]
fn tls_works_on_a_workers_stack_and_keeps_connections() {
    let (config, trust) = identity("localhost");
    let (sender, counts) = channel();
    let base = tls_server(config, move |stream| {
        let mut served = 0;
        while !tls_head(stream).is_empty() {
            served += 1;
            sender.send(served).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    on_a_worker(move || {
        let exchanges = trusting(&trust, 20_000);
        for served in 1..4 {
            let answer = run(
                &exchanges,
                &request("GET", &base, Payload::Empty),
                &Arc::default(),
            );
            assert_eq!(answer.unwrap().1, b"hello");
            assert_eq!(counts.recv().unwrap(), served);
        }
    });
}

#[test]
fn tls_moves_large_bodies_both_ways() {
    const LEN: usize = 20 << 20;
    let (config, trust) = identity("localhost");
    let base = tls_server(config, |stream| {
        tls_head(stream);
        std::io::copy(&mut stream.take(LEN as u64), &mut std::io::sink()).unwrap();
        write!(
            stream,
            "HTTP/1.1 201 Created\r\nContent-Length: {LEN}\r\n\r\n"
        )
        .unwrap();
        std::io::copy(&mut std::io::repeat(7).take(LEN as u64), stream).unwrap();
    });
    let exchanges = trusting(&trust, 20_000);
    let control = Arc::default();
    let (result, moved) = upload(
        &exchanges,
        &base,
        LEN as u64,
        &control,
        &mut std::io::repeat(0),
    );
    assert_eq!((result, moved), (Ok(201), LEN as u64));
    let mut put = request("PUT", &base, Payload::Empty);
    put.headers_mut().insert(header::CONTENT_LENGTH, LEN.into());
    let mut zeros = Counted {
        source: &mut std::io::repeat(0),
        moved: 0,
        rewound: None,
    };
    let body = Upload::new(&mut zeros, LEN as u64, &control);
    let _entered = control.enter();
    let answer = exchanges.send(&put, Some(body), None, &control).unwrap();
    let mut reader = answer.into_body();
    assert_eq!(
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap(),
        LEN as u64
    );
}

#[test]
fn tls_refuses_strangers_for_good() {
    let (config, trust) = identity("other.example");
    let base = tls_server(Arc::clone(&config), |stream| drop(tls_head(stream)));
    let get = request("GET", &base, Payload::Empty);
    assert_eq!(
        kind(run(&trusting(&trust, 20_000), &get, &Arc::default())),
        TransportErrorKind::Tls
    );
    let (_, others) = identity("localhost");
    assert_eq!(
        kind(run(&trusting(&others, 20_000), &get, &Arc::default())),
        TransportErrorKind::Tls
    );
}

#[test]
fn tls_to_a_server_without_it_is_a_tls_error() {
    let (base, _heads) = listening();
    let (_, trust) = identity("localhost");
    let get = request("GET", &base.replace("http:", "https:"), Payload::Empty);
    let result = run(&trusting(&trust, 1000), &get, &Arc::default()).unwrap_err();
    let Interrupted::Transport(error) = &result else {
        panic!("{result:?}")
    };
    // A server of plain HTTP waits for the end of a line, answers in plain text, or hangs up.
    assert!(
        matches!(
            error.kind,
            TransportErrorKind::Tls | TransportErrorKind::Connect
        ),
        "{error}"
    );
}

#[test]
fn tls_hears_an_early_refusal() {
    let (config, trust) = identity("localhost");
    let base = tls_server(config, |stream| {
        tls_head(stream);
        stream
            .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        stream.flush().unwrap();
        thread::sleep(Duration::from_secs(1));
    });
    let exchanges = trusting(&trust, 20_000);
    let control = Arc::default();
    let (result, moved) = upload(
        &exchanges,
        &base,
        1 << 30,
        &control,
        &mut std::io::repeat(0),
    );
    assert_eq!(result, Ok(401));
    assert!(moved < 1 << 26, "{moved}");
}

#[test]
fn tls_stops_at_once() {
    let (config, trust) = identity("localhost");
    let base = tls_server(config, |stream| {
        tls_head(stream);
        thread::sleep(Duration::from_secs(10));
    });
    let control = Arc::<Control>::default();
    let get = request("GET", &base, Payload::Empty);
    let exchanges = trusting(&trust, 60_000);
    let result = stopped(&control, || run(&exchanges, &get, &control));
    assert_eq!(result, Err(Interrupted::Aborted));
}

#[test]
fn tls_without_data_does_not_keep_a_read() {
    const TICKETS: usize = 200;
    let (config, trust) = identity("localhost");
    let mut config = Arc::unwrap_or_clone(config);
    config.send_tls13_tickets = TICKETS;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, listener.accept().unwrap().0);
        stream.write_all(OK).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let stream = TcpStream::connect(address).unwrap();
    let under = Under::Direct(stream);
    let config = Tls::new(&trust).unwrap().config().unwrap();
    let mut stream = Stream::tls(config, "localhost".try_into().unwrap(), under).unwrap();
    while stream.shake_hands().unwrap() {}
    let (mut buffer, mut waits) = ([0; 100], 0);
    let read = loop {
        match stream.read(&mut buffer) {
            Err(error) if is_wait(&error) => waits += 1,
            done => break done.unwrap(),
        }
    };
    assert_eq!(&buffer[..read], OK);
    // A read of rustls takes 4 KiB or more; a ticket has at least 50 bytes.
    assert!(waits > 1, "{TICKETS} tickets came within {waits} reads");
}

/// A proxy that tunnels what is for https and answers the rest itself; sends what it was asked.
fn proxy(sender: std::sync::mpsc::Sender<String>) -> windlass_driver::Proxy {
    let url = server(move |_, mut stream| {
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
    windlass_driver::Proxy { url }
}

/// `user:p@ss`
const PROXY_LOGIN: &str = "proxy-authorization: basic dxnlcjpwqhnz\r\n";

#[test]
fn https_is_tunnelled_through_a_proxy() {
    let (config, trust) = identity("localhost");
    let (heads, origin) = channel();
    let base = tls_server(config, move |stream| {
        loop {
            let head = tls_head(stream);
            if head.is_empty() {
                return;
            }
            heads.send(head.to_lowercase()).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let (sender, asked) = channel();
    let proxy = proxy(sender);
    let exchanges = trusting(&trust, 20_000);
    for reused in [false, true] {
        let control = Arc::default();
        let mut get = request("GET", &base, Payload::Empty);
        let secret = "Bearer secret".parse().unwrap();
        get.headers_mut().insert(header::AUTHORIZATION, secret);
        let _entered = Control::enter(&control);
        let response = exchanges.send(&get, None, Some(&proxy), &control).unwrap();
        let mut body = response.into_body();
        assert_eq!(std::io::read_to_string(&mut body).unwrap(), "hello");
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
            assert!(!asked.contains("user-agent"), "{asked}");
        }
    }
}

#[test]
fn http_is_forwarded_by_a_proxy() {
    let (sender, asked) = channel();
    let proxy = proxy(sender);
    let exchanges = exchanges(20_000);
    let (_held, _stream, base) = nobody();
    for target in ["/v2//a/%2F?b='c'&d=;e", "/v2/"] {
        for method in ["GET", "POST"] {
            let control = Arc::default();
            let sent = request(method, &format!("{base}{target}"), Payload::Empty);
            let _entered = Control::enter(&control);
            let response = exchanges.send(&sent, None, Some(&proxy), &control).unwrap();
            let mut body = response.into_body();
            assert_eq!(std::io::read_to_string(&mut body).unwrap(), "hello");
            let head = asked.recv().unwrap();
            let line = format!("{method} {base}{target} HTTP/1.1\r\n");
            assert!(head.starts_with(&line), "{head}");
            let head = head.to_lowercase();
            assert_eq!(head.matches(PROXY_LOGIN).count(), 1, "{head}");
            let host = format!("host: {}\r\n", base.trim_start_matches("http://"));
            assert_eq!(head.matches(&host).count(), 1, "{head}");
        }
    }
    // A body is nobody's head.
    let put = request("PUT", &base, Payload::Bytes(Arc::from(&b"GET / x\r\n"[..])));
    let control = Arc::default();
    let _entered = Control::enter(&control);
    let response = exchanges.send(&put, None, Some(&proxy), &control).unwrap();
    assert_eq!(response.status(), 200);
}

#[test]
fn a_proxy_of_another_kind_is_not_passed_by() {
    let (base, heads) = listening();
    let url = "socks5://127.0.0.1:1".to_owned();
    let socks = windlass_driver::Proxy { url };
    let get = request("GET", &base, Payload::Empty);
    let result = exchanges(20_000).send(&get, None, Some(&socks), &Arc::default());
    assert!(matches!(result, Err(Interrupted::NotSent(_))));
    assert!(heads.try_recv().is_err());
}

/// What a proxy itself does wrong is told with its name, and without its password.
#[test]
fn a_failing_proxy_is_named() {
    use TransportErrorKind::{Connect, ProxyAuth, Reset, Resolve};

    let says = |status: &'static str| {
        server(move |_, mut stream| {
            head(&mut stream);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            drop(stream.write_all(answer.as_bytes()));
        })
    };
    let closes = || server(|_, stream| drop(stream));
    let (_held, _stream, unreachable) = nobody();
    let wrong = || says("407 Proxy Authentication Required");
    let table = [
        ("https", wrong(), ProxyAuth, "answered 407"),
        ("http", wrong(), ProxyAuth, "answered 407"),
        ("https", says("502 No"), Connect, "502"),
        ("https", says("403 No"), Connect, "403"),
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
        let proxy = windlass_driver::Proxy { url };
        let target = format!("{scheme}://r.invalid/v2/");
        let get = request("GET", &target, Payload::Empty);
        let control = Arc::default();
        let _entered = Control::enter(&control);
        let result = exchanges(20_000).send(&get, None, Some(&proxy), &control);
        let Err(Interrupted::Transport(error)) = result.map(drop) else {
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
    // Without a proxy, and from behind one, it is an answer like any other.
    let get = request("GET", &wrong(), Payload::Empty);
    let control = Arc::default();
    let _entered = Control::enter(&control);
    let response = exchanges(20_000).send(&get, None, None, &control);
    assert_eq!(response.unwrap().status(), 407);
}

/// Not a test of correctness: `cargo test --release -- --ignored --nocapture gibibyte`.
#[test]
#[ignore = "measures"]
fn a_gibibyte_over_loopback() {
    const LEN: u64 = 1 << 30;
    let base = server(|_, mut stream| {
        head(&mut stream);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n").unwrap();
        let piece = vec![7; 1 << 20];
        for _ in 0..LEN >> 20 {
            stream.write_all(&piece).unwrap();
        }
    });
    let exchanges = exchanges(20_000);
    let control = Arc::default();
    let _entered = Control::enter(&control);
    let cpu = || {
        // User and system time of this thread, in ticks of 10 ms.
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let mut fields = stat.rsplit(") ").next().unwrap().split(' ').skip(11);
        let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
        (next(), next())
    };
    let before = cpu();
    let begun = Instant::now();
    let get = request("GET", &base, Payload::Empty);
    let response = exchanges.send(&get, None, None, &control).unwrap();
    let mut body = response.into_body();
    let (mut buffer, mut total, mut reads) = (vec![0; 64 * 1024], 0, 0);
    while let Ok(read @ 1..) = body.read(&mut buffer) {
        total += read as u64;
        reads += 1;
    }
    let after = cpu();
    assert_eq!(total, LEN);
    let (user, system) = (after.0 - before.0, after.1 - before.1);
    println!(
        "{:?}, {reads} reads, user {user}0 ms, system {system}0 ms",
        begun.elapsed()
    );
}
