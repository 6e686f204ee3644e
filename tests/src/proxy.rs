//! A TCP proxy: a slow, breaking or stalling link, which counts all bytes and keeps what clients sent.
//!
//! "Up" is from the client to the server, "down" the other way.

mod requests;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use requests::Place;
use requests::{Cut, Found, Requests};

/// What of a client's bytes is kept per connection. Heads of requests, not their bodies.
const KEPT: usize = 1 << 20;

/// The proxy. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    plan: Mutex<Plan>,
    up: AtomicU64,
    /// Those of `up` that the server got.
    passed_up: AtomicU64,
    down: AtomicU64,
    sent_up: Mutex<Vec<Vec<u8>>>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Plan {
    rate_down: Option<u64>,
    rate_up: Option<u64>,
    delay: Duration,
    fault: Option<(u64, Fault)>,
    /// The bytes between two cuts.
    every: Option<u64>,
    hold: Option<(Vec<u8>, Duration)>,
    /// The number of bytes up after which the connection that carries the last of them is cut.
    cut_up: Option<u64>,
    /// A cut at a place of a request.
    cut_in: Option<Cut>,
}

/// What both directions of a connection know.
#[derive(Debug, Default)]
struct Line {
    /// What the client has sent, where that is followed.
    requests: Mutex<Requests>,
    /// Whether it is cut after the next answer.
    ends: AtomicBool,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It ends, in the middle of whatever it carried.
    Cut,
    /// Nothing passes any more, in either direction, and the connection stays open.
    Stall,
}

impl Proxy {
    /// A proxy in front of `host` (`127.0.0.1:port`).
    pub fn to(host: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: host.parse().unwrap(),
            plan: Mutex::default(),
            up: AtomicU64::new(0),
            passed_up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            sent_up: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let for_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.stop.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = stream {
                    connection(&for_thread, client);
                }
            }
        });
        Self { address, shared }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Limits the bytes per second to the client, on each connection.
    pub fn limit_down(&self, bytes_per_second: u64) {
        self.shared.plan.lock().unwrap().rate_down = Some(bytes_per_second);
    }

    /// Limits the bytes per second from the client, on each connection.
    pub fn limit_up(&self, bytes_per_second: u64) {
        self.shared.plan.lock().unwrap().rate_up = Some(bytes_per_second);
    }

    /// Removes both limits.
    pub fn unlimit(&self) {
        let mut plan = self.shared.plan.lock().unwrap();
        plan.rate_down = None;
        plan.rate_up = None;
    }

    /// A round trip takes this much longer.
    pub fn round_trip(&self, time: Duration) {
        self.shared.plan.lock().unwrap().delay = time / 2;
    }

    /// After `bytes` more bytes down, on all connections together, `fault` happens once to the
    /// connection that carries the last of them (a stall: to all).
    pub fn after_down(&self, bytes: u64, fault: Fault) {
        self.at_down(self.down() + bytes, fault);
    }

    /// The same after `at` bytes down since the start: while bytes flow, a relative number would have
    /// no defined start.
    pub fn at_down(&self, at: u64, fault: Fault) {
        let mut plan = self.shared.plan.lock().unwrap();
        plan.fault = Some((at, fault));
        plan.every = None;
    }

    /// After every `bytes` bytes down, the connection that carries the last of them is cut.
    pub fn cut_every(&self, bytes: u64) {
        self.after_down(bytes, Fault::Cut);
        self.shared.plan.lock().unwrap().every = Some(bytes);
    }

    /// After `bytes` more bytes up, on all connections together, the connection that carries the last of
    /// them is cut.
    pub fn cut_after_up(&self, bytes: u64) {
        let at = self.shared.passed_up.load(Ordering::SeqCst) + bytes;
        self.shared.plan.lock().unwrap().cut_up = Some(at);
    }

    /// Cuts the connection at this place of the next request with this method, or of the nth after it. Of PUTs
    /// only those count that have no body.
    pub fn cut_in(&self, method: &'static str, nth: usize, place: Place) {
        self.shared.plan.lock().unwrap().cut_in = Some(Cut {
            method,
            before: nth,
            place,
        });
    }

    /// Bytes from clients that the server got.
    pub fn passed_up(&self) -> u64 {
        self.shared.passed_up.load(Ordering::SeqCst)
    }

    /// Whether a cut is still to come.
    pub fn will_cut_up(&self) -> bool {
        let plan = self.shared.plan.lock().unwrap();
        plan.cut_up.is_some() || plan.cut_in.is_some()
    }

    /// Holds back the first chunk from a client that begins with `start`.
    pub fn hold(&self, start: &str, long: Duration) {
        self.shared.plan.lock().unwrap().hold = Some((start.as_bytes().to_vec(), long));
    }

    /// Bytes that came from clients so far.
    pub fn up(&self) -> u64 {
        self.shared.up.load(Ordering::SeqCst)
    }

    /// Bytes that went to clients so far.
    pub fn down(&self) -> u64 {
        self.shared.down.load(Ordering::SeqCst)
    }

    /// What clients sent, one string per connection in order, cut after 1 MiB.
    pub fn heard(&self) -> Vec<String> {
        let sent = self.shared.sent_up.lock().unwrap();
        sent.iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    /// The `Range` values that clients sent, in order of connections, as (first, last).
    pub fn ranges(&self) -> Vec<(u64, Option<u64>)> {
        let mut ranges = Vec::new();
        for text in self.heard() {
            for line in text.lines() {
                let Some((name, value)) = line.split_once(':') else {
                    continue;
                };
                if !name.eq_ignore_ascii_case("range") {
                    continue;
                }
                let value = value.trim().strip_prefix("bytes=").expect("bytes");
                let (first, last) = value.split_once('-').expect("an interval");
                ranges.push((first.parse().unwrap(), last.parse().ok()));
            }
        }
        ranges
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn connection(shared: &Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect(shared.server) else {
        return;
    };
    let number = {
        let mut sent = shared.sent_up.lock().unwrap();
        sent.push(Vec::new());
        sent.len() - 1
    };
    for socket in [&client, &server] {
        let _ = socket.set_nodelay(true);
        // So that threads notice the end of the test.
        let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
    }
    let pipes = [
        (
            client.try_clone().unwrap(),
            server.try_clone().unwrap(),
            Some(number),
        ),
        (server, client, None),
    ];
    let line = Arc::new(Line::default());
    for (from, to, up) in pipes {
        let (shared, line) = (shared.clone(), line.clone());
        std::thread::spawn(move || {
            pump(&shared, line, from, to, up);
        });
    }
}

/// Moves bytes one way until either end closes, with whatever the plan has for them.
fn pump(
    shared: &Arc<Shared>,
    line: Arc<Line>,
    mut from: TcpStream,
    to: TcpStream,
    up: Option<usize>,
) {
    // A delay line: what was read waits in the queue until its time has come, so that a round
    // trip costs its time once and not once per piece.
    let (send, receive) = std::sync::mpsc::sync_channel::<(Instant, Vec<u8>)>(64);
    let mut sink = to.try_clone().unwrap();
    let source = from.try_clone().unwrap();
    let for_writer = shared.clone();
    let writer = std::thread::spawn(move || {
        while let Ok((due, bytes)) = receive.recv() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let sockets = (&source, &mut sink);
            let goes_on = match up {
                Some(_) => deliver_up(&for_writer, &line, sockets, &bytes),
                None => deliver_down(&for_writer, &line, sockets, &bytes),
            };
            if !goes_on {
                return;
            }
        }
        let _ = sink.shutdown(Shutdown::Write);
    });
    let mut chunk = [0; 16 << 10];
    while !shared.stop.load(Ordering::SeqCst) {
        let n = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                if writer.is_finished() {
                    return;
                }
                continue;
            }
            Err(_) => {
                let _ = to.shutdown(Shutdown::Both);
                break;
            }
        };
        let (delay, rate, hold) = {
            let mut plan = shared.plan.lock().unwrap();
            let rate = if up.is_some() {
                plan.rate_up
            } else {
                plan.rate_down
            };
            let held = up.is_some()
                && plan
                    .hold
                    .as_ref()
                    .is_some_and(|(start, _)| chunk[..n].starts_with(start));
            (plan.delay, rate, held.then(|| plan.hold.take()).flatten())
        };
        if let Some(number) = up {
            shared.up.fetch_add(n as u64, Ordering::SeqCst);
            let kept = &mut shared.sent_up.lock().unwrap()[number];
            let room = KEPT.saturating_sub(kept.len()).min(n);
            kept.extend_from_slice(&chunk[..room]);
        }
        if let Some((_, long)) = hold {
            std::thread::sleep(long);
        }
        if let Some(rate) = rate {
            std::thread::sleep(Duration::from_secs_f64(n as f64 / rate as f64));
        }
        if send
            .send((Instant::now() + delay, chunk[..n].to_vec()))
            .is_err()
        {
            return;
        }
    }
    drop(send);
    let _ = writer.join();
}

/// Writes a piece to the server, or its beginning and cuts the connection; false if it has ended.
fn deliver_up(
    shared: &Arc<Shared>,
    line: &Line,
    (from, to): (&TcpStream, &mut TcpStream),
    bytes: &[u8],
) -> bool {
    let passed = shared.passed_up.load(Ordering::SeqCst);
    let cut = {
        let mut plan = shared.plan.lock().unwrap();
        let reaches = |at: &mut u64| passed + bytes.len() as u64 >= *at;
        let cut = plan.cut_up.take_if(reaches);
        let cut = cut.map(|at| at.saturating_sub(passed) as usize);
        match line
            .requests
            .lock()
            .unwrap()
            .follow(bytes, &mut plan.cut_in)
        {
            Found::Nothing => cut,
            Found::Cut(at) => Some(cut.map_or(at, |it| it.min(at))),
            Found::CutAnswered => {
                line.ends.store(true, Ordering::SeqCst);
                cut
            }
        }
    };
    let allowed = cut.unwrap_or(bytes.len());
    shared.passed_up.fetch_add(allowed as u64, Ordering::SeqCst);
    let written = to.write_all(&bytes[..allowed]).is_ok();
    if cut.is_some() {
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
        return false;
    }
    written
}

/// Writes a piece to the client, or does what the plan says instead; false if the connection has ended.
fn deliver_down(
    shared: &Arc<Shared>,
    line: &Line,
    (from, to): (&TcpStream, &mut TcpStream),
    bytes: &[u8],
) -> bool {
    let (allowed, fault) = {
        let mut plan = shared.plan.lock().unwrap();
        let down = shared.down.load(Ordering::SeqCst);
        match plan.fault {
            Some((at, fault)) if down + bytes.len() as u64 >= at => {
                if fault == Fault::Cut {
                    plan.fault = plan.every.map(|every| (at + every, Fault::Cut));
                }
                let allowed = at.saturating_sub(down) as usize;
                shared.down.fetch_add(allowed as u64, Ordering::SeqCst);
                (allowed, Some(fault))
            }
            _ => {
                shared.down.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                (bytes.len(), None)
            }
        }
    };
    let written = to.write_all(&bytes[..allowed]).is_ok();
    match fault {
        None if line.ends.load(Ordering::SeqCst) => {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            false
        }
        None => {
            if !written {
                // The server must learn at once that the client is gone.
                let _ = from.shutdown(Shutdown::Both);
            }
            written
        }
        Some(Fault::Cut) => {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            false
        }
        Some(Fault::Stall) => {
            while !shared.stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
                // Lifted by the next plan: the bytes held back are lost, so the connection ends.
                if shared.plan.lock().unwrap().fault
                    != Some((shared.down.load(Ordering::SeqCst), Fault::Stall))
                {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            false
        }
    }
}
