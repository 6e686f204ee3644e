//! Limits on waiting. No limit is asserted from above but by a bound that only a hang exceeds.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use windlass_core::call::TransportErrorKind;

use crate::servers::{CHUNKED, CREATED, INTERIM, OK, after_head, endless, hanging};
use crate::{Exchange, Setup, Zeros, get, kind, put};

/// A server that hangs does so for 30 s.
const HUNG: Duration = Duration::from_secs(20);

/// Longer than the idle limit, since registries hash before they answer.
pub fn a_silent_server_is_given_up_after_the_answer_limit<E: Exchange>() {
    let driver = E::new(&Setup::with_limits(300));
    let base = hanging(|_| {});
    let begun = Instant::now();
    assert_eq!(kind(driver.send(&get(&base))), TransportErrorKind::Answer);
    let uploaded = driver.upload(&put(&base, 1000), Zeros::new(1000));
    assert_eq!(kind(uploaded.status), TransportErrorKind::Answer);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(2 * 600), "{took:?}");
    assert!(took < HUNG, "{took:?}");
}

/// Although the answer began.
pub fn a_stalled_download_is_given_up_after_the_idle_limit<E: Exchange>() {
    let base = hanging(|stream| stream.write_all(&OK[..OK.len() - 2]).unwrap());
    let driver = E::new(&Setup::with_limits(300));
    assert_eq!(kind(driver.send(&get(&base))), TransportErrorKind::Idle);
}

/// As a whole it takes longer than the limit.
pub fn a_slow_download_passes<E: Exchange>() {
    const LEN: usize = 150;
    let base = after_head(|stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n").unwrap();
        for _ in 0..LEN {
            stream.write_all(b"x").unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    let answer = E::new(&Setup::with_limits(2000)).send(&get(&base));
    assert_eq!(answer.unwrap().body, [b'x'; LEN]);
}

/// The buffers of sockets hold a few MiB.
pub fn trailers_without_end_are_left_after_so_many_bytes<E: Exchange>() {
    let again = b"X-A: b\r\n";
    let (base, counts) = endless(CHUNKED, again, Duration::ZERO);
    let result = E::new(&Setup::patient()).send(&get(&base));
    assert_eq!(kind(result), TransportErrorKind::Protocol);
    let sent = counts.recv().unwrap() * again.len() as u64;
    assert!(sent < 32 << 20, "{sent} bytes were taken");
}

/// Bytes that come now and then are not enough.
pub fn what_never_becomes_an_answer_keeps_no_limit_going<E: Exchange>() {
    let pause = Duration::from_millis(100);
    let driver = E::new(&Setup::with_limits(1000));
    let (base, _counts) = endless(CHUNKED, b"X-A: b\r\n", pause);
    assert_eq!(kind(driver.send(&get(&base))), TransportErrorKind::Idle);
    let (base, _counts) = endless(b"", INTERIM, pause);
    assert_eq!(kind(driver.send(&get(&base))), TransportErrorKind::Answer);
}

/// As long as bytes move.
pub fn an_upload_may_last_longer_than_the_idle_limit<E: Exchange>() {
    let base = after_head(|stream| {
        stream.read_exact(&mut [0; 1500]).unwrap();
        stream.write_all(CREATED).unwrap();
    });
    let slow = Zeros::new(1500).slowly(10, Duration::from_millis(20));
    let uploaded = E::new(&Setup::with_limits(2000)).upload(&put(&base, 1500), slow);
    assert_eq!((uploaded.status, uploaded.read), (Ok(201), 1500));
}

/// After what the buffers of sockets hold.
pub fn a_peer_that_stops_reading_is_noticed<E: Exchange>() {
    let base = hanging(|_| {});
    let begun = Instant::now();
    let driver = E::new(&Setup::with_limits(400));
    let uploaded = driver.upload(&put(&base, 1 << 30), Zeros::new(1 << 30));
    assert_eq!(kind(uploaded.status), TransportErrorKind::Idle);
    assert!(uploaded.read < 1 << 26, "{} bytes", uploaded.read);
    assert!(begun.elapsed() < HUNG, "{:?}", begun.elapsed());
}
