//! Exchanges against servers made of raw sockets: those that every driver is tested with, and what this one alone
//! does.

use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use http::Request;
use windlass_core::Origin;
use windlass_core::call::{Interrupted, Payload, TransportErrorKind};
use windlass_driver::{Proxy, ProxySelector, Tls, TlsRoots};
use windlass_exchange_tests::servers::{
    HINTS, INTERIM, OK, ReadWrite, after_head, endless, hanging, head, identity, listening,
    tls_server,
};
use windlass_exchange_tests::{
    Answer, Exchange, Setup, Uploaded, Zeros, exchange_tests, get, kind, put,
};

use crate::control::Control;
use crate::exchange::{Content, Exchanges, Upload, read_interrupted};
use crate::stream::{Stream, Under, is_wait};

/// This driver as the common tests use it.
struct Blocking {
    exchanges: Exchanges,
    proxies: Arc<dyn ProxySelector>,
}

impl Blocking {
    fn proxy(&self, request: &Request<Payload>) -> Option<Proxy> {
        let (scheme, authority) = (request.uri().scheme()?, request.uri().authority()?);
        let origin: Origin = format!("{scheme}://{authority}").parse().unwrap();
        self.proxies.proxy(&origin)
    }

    /// The same under a control of the test's own.
    fn send_under(
        &self,
        request: &Request<Payload>,
        control: &Arc<Control>,
    ) -> Result<Answer, Interrupted> {
        let _entered = control.enter();
        let proxy = self.proxy(request);
        let response = self
            .exchanges
            .send(request, None, proxy.as_ref(), control)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let read = response.into_body().read_to_end(&mut body);
        read.map_err(|error| read_interrupted(&error, control))?;
        Ok(Answer { status, body })
    }

    fn upload_under(
        &self,
        request: &Request<Payload>,
        body: Zeros,
        control: &Arc<Control>,
    ) -> Uploaded {
        let _entered = control.enter();
        let mut source = Source::new(body);
        let upload = Upload::new(&mut source, body.len, control);
        let proxy = self.proxy(request);
        let sent = self
            .exchanges
            .send(request, Some(upload), proxy.as_ref(), control);
        Uploaded {
            status: sent.map(|response| response.status().as_u16()),
            read: source.read,
            opened: source.opened,
        }
    }
}

impl Exchange for Blocking {
    fn refused_tunnel(status: &'static str) -> &'static str {
        status
    }

    fn new(setup: &Setup) -> Self {
        let tls = Tls::new(&setup.roots, None).unwrap();
        let tls = tls.with_hosts(Arc::clone(&setup.hosts));
        Self {
            exchanges: Exchanges::new(tls, &setup.limits, 4, setup.addresses.clone()),
            proxies: Arc::clone(&setup.proxies),
        }
    }

    fn send(&self, request: &Request<Payload>) -> Result<Answer, Interrupted> {
        self.send_under(request, &Arc::default())
    }

    fn upload(&self, request: &Request<Payload>, body: Zeros) -> Uploaded {
        self.upload_under(request, body, &Arc::default())
    }
}

exchange_tests!(Blocking);

/// A body that counts what is read of it.
struct Source {
    zeros: Zeros,
    left: u64,
    read: u64,
    opened: u32,
}

impl Source {
    const fn new(zeros: Zeros) -> Self {
        Self {
            zeros,
            left: zeros.there,
            read: 0,
            opened: 1,
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        thread::sleep(self.zeros.pause);
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let read = buffer.len().min(self.zeros.piece).min(left);
        buffer[..read].fill(0);
        self.left -= read as u64;
        self.read += read as u64;
        Ok(read)
    }
}

impl Content for Source {
    fn rewind(&mut self) -> Result<(), Interrupted> {
        self.left = self.zeros.there;
        self.opened += 1;
        Ok(())
    }
}

fn patient() -> Blocking {
    Blocking::new(&Setup::patient())
}

fn trusting(roots: TlsRoots) -> Blocking {
    Blocking::new(&Setup::patient().trusting(roots))
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

/// Also what other HTTP libraries would write otherwise; and no `accept` is added.
#[test]
fn odd_targets_arrive_byte_for_byte() {
    let (base, heads) = listening();
    let target = "/v2//a/%2F/../b;p/'x'?_state=a+b%2F%2f'c'&d=;e&digest=sha256:0//";
    patient().send(&get(&format!("{base}{target}"))).unwrap();
    let head = heads.recv().unwrap();
    let host = base.trim_start_matches("http://");
    assert_eq!(
        head,
        format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")
    );
}

#[test]
fn a_stopped_read_ends_at_once() {
    let base = hanging(|stream| stream.write_all(&OK[..OK.len() - 2]).unwrap());
    let control = Arc::<Control>::default();
    let result = stopped(&control, || patient().send_under(&get(&base), &control));
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
    let get = get(&format!("http://{address}"));
    let result = stopped(&control, || patient().send_under(&get, &control));
    assert_eq!(result, Err(Interrupted::Aborted));
}

/// Trailers without end are tested with every driver.
#[test]
fn interim_answers_without_end_are_left_after_so_many_bytes() {
    for again in [INTERIM, HINTS] {
        let (base, counts) = endless(b"", again, Duration::ZERO);
        let result = patient().send(&get(&base));
        assert_eq!(kind(result), TransportErrorKind::Protocol);
        // Buffers of sockets hold a few MiB.
        let sent = counts.recv().unwrap() * again.len() as u64;
        assert!(sent < 32 << 20, "{sent} bytes were taken");
    }
}

#[test]
fn a_stopped_upload_ends_at_once() {
    let base = hanging(|_| {});
    let control = Arc::<Control>::default();
    let (put, zeros) = (put(&base, 1 << 30), Zeros::new(1 << 30));
    let uploaded = stopped(&control, || patient().upload_under(&put, zeros, &control));
    assert_eq!(uploaded.status, Err(Interrupted::Aborted));
}

/// A server that closes with bytes unread resets the connection.
#[test]
fn an_early_refusal_is_heard_when_the_peer_closes() {
    let base = after_head(|stream| {
        stream.write_all(REFUSAL).unwrap();
    });
    for _ in 0..10 {
        let uploaded = patient().upload(&put(&base, 1 << 30), Zeros::new(1 << 30));
        assert_eq!(uploaded.status, Ok(401));
        assert!(uploaded.read < 1 << 26, "{} bytes", uploaded.read);
    }
}

const REFUSAL: &[u8] =
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Like a worker: on a thread with a worker's stack.
fn on_a_worker<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let builder = thread::Builder::new().stack_size(crate::pool::STACK);
    builder.spawn(work).unwrap().join().unwrap()
}

#[test]
fn tls_works_on_a_workers_stack_and_keeps_connections() {
    let (config, roots) = identity("localhost");
    let (sender, counts) = channel();
    let base = tls_server(config, move |stream| {
        let mut served = 0;
        while !head(stream).is_empty() {
            served += 1;
            sender.send(served).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    on_a_worker(move || {
        let driver = trusting(roots);
        for served in 1..4 {
            assert_eq!(driver.send(&get(&base)).unwrap().body, b"hello");
            assert_eq!(counts.recv().unwrap(), served);
        }
    });
}

#[test]
fn tls_moves_large_bodies_both_ways() {
    const LEN: u64 = 20 << 20;
    let (config, roots) = identity("localhost");
    let base = tls_server(config, |stream: &mut dyn ReadWrite| {
        head(stream);
        std::io::copy(&mut stream.take(LEN), &mut std::io::sink()).unwrap();
        write!(
            stream,
            "HTTP/1.1 201 Created\r\nContent-Length: {LEN}\r\n\r\n"
        )
        .unwrap();
        std::io::copy(&mut std::io::repeat(7).take(LEN), stream).unwrap();
    });
    let driver = trusting(roots);
    let uploaded = driver.upload(&put(&base, LEN), Zeros::new(LEN));
    assert_eq!((uploaded.status, uploaded.read), (Ok(201), LEN));
    let control = Arc::default();
    let mut source = Source::new(Zeros::new(LEN));
    let body = Upload::new(&mut source, LEN, &control);
    let _entered = Control::enter(&control);
    let answer = driver
        .exchanges
        .send(&put(&base, LEN), Some(body), None, &control)
        .unwrap();
    let mut reader = answer.into_body();
    let read = std::io::copy(&mut reader, &mut std::io::sink());
    assert_eq!(read.unwrap(), LEN);
}

#[test]
fn tls_hears_an_early_refusal() {
    let (config, roots) = identity("localhost");
    let base = tls_server(config, |stream| {
        head(stream);
        stream.write_all(REFUSAL).unwrap();
        stream.flush().unwrap();
        thread::sleep(Duration::from_secs(1));
    });
    let uploaded = trusting(roots).upload(&put(&base, 1 << 30), Zeros::new(1 << 30));
    assert_eq!(uploaded.status, Ok(401));
    assert!(uploaded.read < 1 << 26, "{} bytes", uploaded.read);
}

#[test]
fn tls_stops_at_once() {
    let (config, roots) = identity("localhost");
    let base = tls_server(config, |stream| {
        head(stream);
        thread::sleep(Duration::from_secs(10));
    });
    let control = Arc::<Control>::default();
    let driver = trusting(roots);
    let result = stopped(&control, || driver.send_under(&get(&base), &control));
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
    let config = Tls::new(&trust, None).unwrap().config().unwrap();
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

/// Not a test of correctness: `cargo test --release -- --ignored --nocapture gibibyte`.
#[test]
#[ignore = "measures"]
fn a_gibibyte_over_loopback() {
    const LEN: u64 = 1 << 30;
    let base = after_head(|stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n").unwrap();
        let piece = vec![7; 1 << 20];
        for _ in 0..LEN >> 20 {
            stream.write_all(&piece).unwrap();
        }
    });
    let driver = patient();
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
    let response = driver.exchanges.send(&get(&base), None, None, &control);
    let mut body = response.unwrap().into_body();
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
