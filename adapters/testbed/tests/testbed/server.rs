//! The server over raw sockets.

use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use windlass_testbed::{
    Answer, Auth, Bearer, Delivery, Digest, Interceptor, Model, Options, Request, Server, Storage,
};

/// A server with one blob of `0..=255` repeated, and its target.
fn blob_server(size: usize, interceptor: Arc<dyn Interceptor>) -> (Server, String) {
    let mut model = Model::new(Options::default());
    let blob: Vec<u8> = (0..=255).cycle().take(size).collect();
    let digest = model.put_blob("app", blob);
    let server = Server::start_with(model, interceptor).expect("a loopback port");
    (server, format!("/v2/app/blobs/{digest}"))
}

fn spoil(change: impl Fn(&mut Delivery) + Send + Sync + 'static) -> Arc<dyn Interceptor> {
    Arc::new(move |_: &Request, _: usize, answer: Answer| {
        let mut delivery = Delivery::from(answer);
        change(&mut delivery);
        delivery
    })
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.addr()).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout can be set");
    stream
}

fn send(stream: &mut TcpStream, line: &str, fields: &str, body: &[u8]) {
    let head = format!("{line} HTTP/1.1\r\nHost: registry.test\r\n{fields}\r\n");
    stream
        .write_all(head.as_bytes())
        .expect("the head goes out");
    stream.write_all(body).expect("the body goes out");
}

/// One answer with a `Content-Length`: status, head and body.
fn receive(stream: &mut TcpStream, has_body: bool) -> (u16, String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)
        .expect("heads are text")
        .to_lowercase();
    let status = head[9..12].parse().expect("a status");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |n| n.parse().expect("a length"));
    let mut body = vec![0; if has_body { length } else { 0 }];
    stream.read_exact(&mut body).expect("a whole body");
    (status, head, body)
}

/// Everything until the end of the stream, without the head.
fn rest(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let head = all
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map_or(all.len(), |at| at + 4);
    Ok(all.split_off(head))
}

#[test]
fn keep_alive_and_log() {
    let (server, target) = blob_server(1000, spoil(|_| ()));
    let mut stream = connect(&server);
    for _ in 0..3 {
        send(&mut stream, &format!("GET {target}"), "X-Test: a\r\n", b"");
        let (status, _, body) = receive(&mut stream, true);
        assert_eq!((status, body.len(), body[999]), (200, 1000, 231));
        send(&mut stream, &format!("HEAD {target}"), "", b"");
        let (status, head, _) = receive(&mut stream, false);
        assert_eq!(status, 200);
        assert!(head.contains("content-length: 1000\r\n"));
    }
    let log = server.requests();
    assert_eq!(log.len(), 6);
    assert_eq!(log[0].line(), format!("GET {target} 200"));
    assert_eq!(log[0].host, "registry.test");
    assert_eq!(log[0].headers["x-test"], "a");
}

/// Two requests in one segment are answered in order.
#[test]
fn pipelining() {
    let (server, target) = blob_server(10, spoil(|_| ()));
    let mut stream = connect(&server);
    let one = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let two = "GET /v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{one}{two}").as_bytes()).unwrap();
    assert_eq!(receive(&mut stream, true).2.len(), 10);
    assert_eq!(receive(&mut stream, true).0, 200);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// Bodies by length, chunked, and after `100-continue`.
#[test]
fn uploads() {
    let server = Server::start(Model::new(Options::default())).unwrap();
    let mut stream = connect(&server);
    let location = |head: &str| {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        line.unwrap().to_owned()
    };
    send(
        &mut stream,
        "POST /v2/app/blobs/uploads/",
        "Content-Length: 0\r\n",
        b"",
    );
    let (status, head, _) = receive(&mut stream, true);
    assert_eq!(status, 202);

    let fields = "Transfer-Encoding: chunked\r\n";
    let chunks = b"5\r\nhello\r\n1;x=y\r\n \r\n0\r\nTrailer: x\r\n\r\n";
    send(
        &mut stream,
        &format!("PATCH {}", location(&head)),
        fields,
        chunks,
    );
    let (status, head, _) = receive(&mut stream, true);
    assert_eq!(status, 202);
    assert!(head.contains("range: 0-5\r\n"));

    let body = vec![b'w'; 3_000_000];
    let fields = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    send(
        &mut stream,
        &format!("PATCH {}", location(&head)),
        &fields,
        b"",
    );
    let (status, _, _) = receive(&mut stream, false);
    assert_eq!(status, 100);
    stream.write_all(&body).unwrap();
    let (status, head, _) = receive(&mut stream, true);
    assert_eq!(status, 202);

    let whole = [b"hello ".as_slice(), &body].concat();
    let digest = Digest::sha256(&whole);
    let put = format!("PUT {}&digest={digest}", location(&head));
    send(&mut stream, &put, "Content-Length: 0\r\n", b"");
    assert_eq!(receive(&mut stream, true).0, 201);
    let stored = server.with_model(|model| model.blob_bytes("app", &digest).map(|b| b.len()));
    assert_eq!(stored, Some(3_000_006));
}

/// A client that goes away in the middle of a PATCH: the session has what arrived.
#[test]
fn broken_upload() {
    let server = Server::start(Model::new(Options::default())).unwrap();
    let mut stream = connect(&server);
    send(&mut stream, "POST /v2/app/blobs/uploads/", "", b"");
    let (_, head, _) = receive(&mut stream, true);
    let session = head
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap();
    send(
        &mut stream,
        &format!("PATCH {session}"),
        "Content-Length: 100\r\n",
        &[7; 60],
    );
    drop(stream);
    while server.requests().len() < 2 {
        std::thread::yield_now();
    }
    let log = server.requests();
    assert_eq!((log[1].status, log[1].body), (None, 60));
    let mut stream = connect(&server);
    send(&mut stream, &format!("GET {session}"), "", b"");
    let (status, head, _) = receive(&mut stream, true);
    assert_eq!(status, 204);
    assert!(head.contains("range: 0-59\r\n"), "{head}");
}

#[test]
fn cut_and_lies() {
    let (server, target) = blob_server(200_000, spoil(|d| d.cut_body_after = Some(123_456)));
    let mut stream = connect(&server);
    send(&mut stream, &format!("GET {target}"), "", b"");
    assert_eq!(rest(&mut stream).unwrap().len(), 123_456);

    let (server, target) = blob_server(10, spoil(|d| d.lie_content_length = Some(7)));
    let mut stream = connect(&server);
    send(&mut stream, &format!("GET {target}"), "", b"");
    assert_eq!(receive(&mut stream, true).2.len(), 7);

    let (server, target) = blob_server(10, spoil(|d| d.raw = Some(b"SSH-2.0-x\r\n".to_vec())));
    let mut stream = connect(&server);
    send(&mut stream, &format!("GET {target}"), "", b"");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"SSH-2.0-x\r\n");
}

#[test]
fn reset() {
    let (server, target) = blob_server(10, spoil(|d| d.reset_before_head = true));
    let mut stream = connect(&server);
    send(&mut stream, &format!("GET {target}"), "", b"");
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // After a body by length as well.
    let mut stream = connect(&server);
    send(
        &mut stream,
        "PUT /v2/app/manifests/x",
        "Content-Length: 5\r\n",
        b"hello",
    );
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // The model has answered nevertheless: the client cannot know.
    assert_eq!(server.requests()[1].body, 5);
}

/// A stall ends with the client, or with the server, at once.
#[test]
fn stall() {
    let (server, target) = blob_server(1000, spoil(|d| d.stall_after = Some(100)));
    let mut stream = connect(&server);
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    send(&mut stream, &format!("GET {target}"), "", b"");
    let mut got = 0;
    let mut buffer = [0; 4096];
    let error = loop {
        match stream.read(&mut buffer) {
            Ok(n) => got += n,
            Err(error) => break error,
        }
    };
    assert!(got > 100, "the head and 100 bytes");
    assert!(matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    ));
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(matches!(stream.read(&mut buffer), Ok(0) | Err(_)));
}

#[test]
fn endless() {
    let (server, target) = blob_server(1000, spoil(|d| d.endless = true));
    let mut stream = connect(&server);
    send(&mut stream, &format!("GET {target}"), "", b"");
    let mut buffer = vec![0; 1_000_000];
    stream.read_exact(&mut buffer).unwrap();
    assert!(!String::from_utf8_lossy(&buffer[..500]).contains("content-length"));
    // The client does not read on, so the server is stuck in a write: dropping it still works.
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn delay_and_throttle() {
    let (server, target) = blob_server(
        1000,
        spoil(|d| {
            d.delay = Some(Duration::from_millis(50));
            d.throttle = Some(5000);
        }),
    );
    let mut stream = connect(&server);
    let began = Instant::now();
    send(&mut stream, &format!("GET {target}"), "", b"");
    assert_eq!(receive(&mut stream, true).2.len(), 1000);
    assert!(began.elapsed() > Duration::from_millis(200));
}

struct Before(fn(&Request) -> Option<Delivery>);

impl Interceptor for Before {
    fn before(&self, request: &Request, _nth: usize) -> Option<Delivery> {
        self.0(request)
    }

    fn early(&self, _request: &Request, _nth: usize) -> bool {
        true
    }
}

/// An answer before the body: the connection goes on when the body has come in.
#[test]
fn early_answer() {
    let options = Options {
        auth: Auth::Bearer(Bearer::default()),
        ..Options::default()
    };
    let server = Server::start_with(Model::new(options), Arc::new(Before(|_| None))).unwrap();
    let mut stream = connect(&server);
    send(
        &mut stream,
        "PUT /v2/app/blobs/uploads/x",
        "Content-Length: 1000\r\n",
        b"",
    );
    assert_eq!(receive(&mut stream, true).0, 401);
    stream.write_all(&[0; 1000]).unwrap();
    send(&mut stream, "GET /v2/", "", b"");
    assert_eq!(receive(&mut stream, true).0, 401);
    assert_eq!(server.requests().len(), 2);
    // With 100-continue the body never comes.
    let fields = "Content-Length: 1000\r\nExpect: 100-continue\r\n";
    send(&mut stream, "PUT /v2/app/blobs/uploads/x", fields, b"");
    let (status, head, _) = receive(&mut stream, true);
    assert_eq!(status, 401);
    assert!(head.contains("connection: close\r\n"));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn before_the_model() {
    let interceptor = Before(|request| {
        let answer = Answer::error(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "slow down",
        );
        let answer = answer.header("retry-after", "1");
        (request.target == "/v2/").then(|| Delivery::from(answer))
    });
    let server = Server::start_with(Model::new(Options::default()), Arc::new(interceptor)).unwrap();
    let mut stream = connect(&server);
    send(&mut stream, "GET /v2/", "", b"");
    let (status, head, body) = receive(&mut stream, true);
    assert_eq!(status, 429);
    assert!(head.contains("retry-after: 1\r\n"));
    assert!(body.starts_with(b"{\"errors\":"));
    assert_eq!(
        server.requests()[0].status,
        Some(StatusCode::TOO_MANY_REQUESTS)
    );
}

/// A peer that stops reading: writes fill the buffers and then block.
#[test]
fn refuse_to_read() {
    let interceptor = Before(|_| {
        let mut delivery = Delivery::from(Answer::new(StatusCode::OK));
        delivery.refuse_to_read_after = Some(1000);
        Some(delivery)
    });
    let server = Server::start_with(Model::new(Options::default()), Arc::new(interceptor)).unwrap();
    let mut stream = connect(&server);
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let head = "PATCH /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![0; 1 << 20];
    let blocked = (0..500).find_map(|_| stream.write_all(&piece).err());
    assert!(blocked.is_some());
    assert_eq!(
        (server.requests()[0].status, server.requests()[0].body),
        (None, 1000)
    );
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Another port is another host; time can jump.
#[test]
fn ports_and_time() {
    let (server, target) = blob_server(10, spoil(|_| ()));
    let other = server.listen_also().unwrap();
    server.with_model(|model| {
        model.options_mut().storage = Some(Storage::new(format!("http://{other}")));
    });
    let mut stream = connect(&server);
    send(&mut stream, &format!("GET {target}"), "", b"");
    let (status, head, _) = receive(&mut stream, true);
    assert_eq!(status, 307);
    let mut raw = head
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap();
    raw = raw.strip_prefix(&format!("http://{other}")).unwrap();
    // `receive` lowered the case; the log of the next request shows what arrived.
    let get = format!("GET {raw} HTTP/1.1\r\nHost: {other}\r\nConnection: close\r\n\r\n");
    let mut there = TcpStream::connect(other).unwrap();
    there.write_all(get.as_bytes()).unwrap();
    assert_eq!(receive(&mut there, true).0, 403);
    assert_eq!(server.requests()[1].host, other.to_string());
    let before = server.requests()[1].at;
    server.advance(Duration::from_secs(3600));
    send(&mut stream, "GET /v2/", "", b"");
    receive(&mut stream, true);
    assert!(server.requests()[2].at - before >= Duration::from_secs(3600));
}

/// Many connections at once, some idle, some gone, and garbage: all of them end.
#[test]
fn crowd() {
    let (server, target) = blob_server(100_000, spoil(|_| ()));
    let idle: Vec<TcpStream> = (0..10).map(|_| connect(&server)).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut stream = connect(&server);
                for _ in 0..20 {
                    send(&mut stream, &format!("GET {target}"), "", b"");
                    assert_eq!(receive(&mut stream, true).2.len(), 100_000);
                }
            });
        }
    });
    let mut garbage = connect(&server);
    // The beginning of a TLS handshake, of a client that tries https first.
    garbage.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    assert_eq!(receive(&mut garbage, true).0, 400);
    let mut garbage = connect(&server);
    garbage.write_all(b"no http\r\n\r\n").unwrap();
    assert_eq!(receive(&mut garbage, true).0, 400);
    assert_eq!(server.requests().len(), 160);
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(idle);
}
