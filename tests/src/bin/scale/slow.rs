//! A slow link: a round trip of 50 ms, and 20 MB/s per connection in each direction.
//!
//! Responsible for the link and what is measured behind it. Must not know how a client is run (`main`).

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use windlass_testbed::{Digest, Server};
use windlass_tests::images::noise;

use super::{Cost, Failed, Registry, at_most, measure, say};

/// How long a byte takes to the server and back.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Bytes per second, of one connection in one direction.
const RATE: f64 = 20e6;
/// The size of the one large layer.
pub(crate) const LARGE: usize = 128 << 20;
/// The small layers: how many, and the size of each.
pub(crate) const SMALL: (usize, usize) = (100, 16 << 10);
/// A pull in parts takes this much of one connection's time, at most.
const SHARE: f64 = 0.18;
/// MiB of memory, whatever the size of the layer.
const PEAK: f64 = 24.0;
/// The number of runs of which the median counts.
const RUNS: usize = 5;
/// What is read at once.
const PIECE: usize = 64 << 10;

pub(crate) fn slow() -> Result<(), Failed> {
    let trip = ROUND_TRIP.as_millis();
    say(&format!(
        "behind a round trip of {trip} ms, with {:.0} MB/s per connection: medians of {RUNS}",
        RATE / 1e6
    ));
    for client in ["blocking", "async"] {
        large(client)?;
        small(client)?;
    }
    Ok(())
}

/// One layer of 128 MiB.
fn large(client: &str) -> Result<(), Failed> {
    let mut plain = Vec::new();
    for _ in 0..RUNS {
        let from = Registry::start(&["slow", "large"])?;
        plain.push(fetch(&from.host)?);
    }
    let plain = median(plain);
    let pull = timed(client, "pull", "large")?;
    let push = timed(client, "push", "large")?;
    let copy = timed(client, "copy", "large")?;
    let slower = pull.0.max(push.0);
    say(&format!(
        "{client:8} 128 MiB  one connection: {:.2} s  pull: {:.2} s ({:.2} of it)  push: {:.2} s  copy: {:.2} s \
         ({:.2} of the slower one)  peaks: {:.0}, {:.0} and {:.0} MiB",
        plain / 1e3,
        pull.0 / 1e3,
        pull.0 / plain,
        push.0 / 1e3,
        copy.0 / 1e3,
        copy.0 / slower,
        pull.1,
        push.1,
        copy.1,
    ));
    let whose = |what: &str| format!("{client}, 128 MiB, {what}");
    let shares = [
        ("pull of one connection", pull.0 / plain, SHARE),
        ("copy of the slower one", copy.0 / slower, 1.1),
    ];
    for (what, share, most) in shares {
        at_most(&whose(what), share, most);
    }
    for (_, peak) in [pull, push, copy] {
        at_most(&whose("MiB"), peak, PEAK);
    }
    Ok(())
}

/// 100 layers of 16 KiB.
fn small(client: &str) -> Result<(), Failed> {
    let trips = |took: f64| took / ROUND_TRIP.as_secs_f64() / 1e3;
    let pull = timed(client, "pull", "small")?;
    let push = timed(client, "push", "small")?;
    say(&format!(
        "{client:8} 100 x 16 KiB  pull: {:.0} ms, {:.1} round trips  push: {:.0} ms, {:.1} round trips",
        pull.0,
        trips(pull.0),
        push.0,
        trips(push.0),
    ));
    for (what, took, most) in [("pull", pull.0, 10.0), ("push", push.0, 12.0)] {
        let what = format!("{client}, 100 x 16 KiB, round trips of a {what}");
        at_most(&what, trips(took), most);
    }
    Ok(())
}

/// The median time in milliseconds, and the largest peak in MiB.
fn timed(client: &str, what: &str, image: &str) -> Result<(f64, f64), Failed> {
    let (mut took, mut peak) = (Vec::new(), 0.0_f64);
    for _ in 0..RUNS {
        let from = Registry::start(&["slow", image])?;
        let to = Registry::start(&["slow", "empty"])?;
        let Cost {
            peak: one, parts, ..
        } = measure(&[client, what, &from.host, &to.host])?;
        took.push(*parts.first().ok_or("no time was taken")?);
        peak = peak.max(one / 1024.0);
    }
    Ok((median(took), peak))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The large layer by one GET, as programs do that know nothing of ranges. Milliseconds.
fn fetch(host: &str) -> Result<f64, Failed> {
    let digest = Digest::sha256(&noise(LARGE, 1));
    let begun = Instant::now();
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "GET /v2/app/blobs/{} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n",
        digest.as_str()
    )?;
    let came = io::copy(&mut stream, &mut io::sink())?;
    if came < LARGE as u64 {
        return Err(format!("{came} bytes came of the large layer").into());
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Puts the link in front of a server, and returns its port.
pub(crate) fn link(server: &Server) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (port, to) = (listener.local_addr()?.port(), server.addr());
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let Ok(to) = TcpStream::connect(to) else {
                continue;
            };
            // What comes first also waits for the handshake.
            direct(&from, &to, ROUND_TRIP);
            direct(&to, &from, Duration::ZERO);
        }
    });
    Ok(port)
}

/// One direction of a connection.
fn direct(from: &TcpStream, to: &TcpStream, first: Duration) {
    let _unsupported = to.set_nodelay(true);
    let (Ok(mut from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    // As much as is under way in one round trip, with room to spare.
    let (pieces, queue) = sync_channel(256);
    thread::spawn(move || take(&mut from, &pieces, first));
    thread::spawn(move || deliver(to, &queue));
}

fn take(from: &mut TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>, first: Duration) {
    let mut extra = first;
    let mut buffer = vec![0; PIECE];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let due = Instant::now() + ROUND_TRIP / 2 + core::mem::take(&mut extra);
        if pieces.send((due, buffer[..len].to_vec())).is_err() {
            return;
        }
    }
}

fn deliver(mut to: TcpStream, queue: &Receiver<(Instant, Vec<u8>)>) {
    let mut free = Instant::now();
    while let Ok((due, piece)) = queue.recv() {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let takes = Duration::from_secs_f64(piece.len() as f64 / RATE);
        free = free.max(Instant::now()) + takes;
        thread::sleep(due.max(free).saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    let _closed = to.shutdown(Shutdown::Write);
}
