//! Bodies that are not sent to their end, or have another length than was said.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use windlass_core::call::TransportErrorKind;

use crate::servers::{CREATED, after_head, hanging};
use crate::{Exchange, Setup, Zeros, kind, put};

const REFUSAL: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

/// A server that means to be heard ends its side and waits a little, or just stops reading.
pub fn an_early_refusal_is_heard<E: Exchange>() {
    let lingering = after_head(|stream| {
        stream.write_all(REFUSAL).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        thread::sleep(Duration::from_millis(500));
    });
    let stalling = hanging(|stream| stream.write_all(REFUSAL).unwrap());
    for base in [lingering, stalling] {
        let begun = Instant::now();
        let driver = E::new(&Setup::patient());
        let uploaded = driver.upload(&put(&base, 1 << 30), Zeros::new(1 << 30));
        assert_eq!(uploaded.status, Ok(401));
        assert!(uploaded.read < 1 << 26, "{} bytes", uploaded.read);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

/// It may pass.
pub fn a_connection_lost_while_sending_is_a_reset<E: Exchange>() {
    let base = after_head(|stream| drop(stream.shutdown(Shutdown::Both)));
    let driver = E::new(&Setup::patient());
    let uploaded = driver.upload(&put(&base, 1 << 30), Zeros::new(1 << 30));
    assert_eq!(kind(uploaded.status), TransportErrorKind::Reset);
}

/// It neither hangs nor is cut silently.
pub fn a_source_that_comes_up_short_is_an_error<E: Exchange>() {
    let base = after_head(|stream| drop(stream.read_to_end(&mut Vec::new())));
    let begun = Instant::now();
    let short = Zeros::new(1000).of_which(10).slowly(10, Duration::ZERO);
    let uploaded = E::new(&Setup::patient()).upload(&put(&base, 1000), short);
    assert_eq!(kind(uploaded.status), TransportErrorKind::Reset);
    assert_eq!(uploaded.read, 10);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// The request that follows on the connection would be garbled.
pub fn a_source_that_has_too_much_is_cut<E: Exchange>() {
    let (sender, lengths) = channel();
    let base = after_head(move |stream| {
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream.write_all(CREATED).unwrap();
        let mut rest = Vec::new();
        let limit = Duration::from_millis(300);
        stream.set_read_timeout(Some(limit)).unwrap();
        drop(stream.read_to_end(&mut rest));
        sender.send(rest.len()).unwrap();
    });
    let long = Zeros::new(1000).of_which(2000).slowly(400, Duration::ZERO);
    let uploaded = E::new(&Setup::patient()).upload(&put(&base, 1000), long);
    assert_eq!(uploaded.status, Ok(201));
    assert_eq!(lengths.recv().unwrap(), 0);
}
