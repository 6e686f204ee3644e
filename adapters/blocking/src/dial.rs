//! Resolving names and opening connections, stoppable.
//!
//! Neither can be interrupted in std, so both happen on helper threads while the worker waits in
//! slices. Responsible for addresses and TCP. Must not know TLS or HTTP.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use windlass_core::call::{TransportError, TransportErrorKind};
use windlass_driver::is_out_of_descriptors;

use crate::control::Control;

/// How long any wait lasts before the stop flag is looked at: well below the second within which
/// a cancelled call has to return, and no load worth mentioning with some hundred threads waiting.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// The head start of one address over the next (RFC 8305 §5 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses tried at most; more are a mistake or an attack.
const ADDRESSES: usize = 8;

/// glibc's resolver puts buffers of up to 64 KiB on the stack.
const STACK: usize = 256 * 1024;

/// Opens a connection to `host` (an IPv6 address in brackets or without).
pub(crate) fn dial(host: &str, port: u16, limit: Duration) -> Result<TcpStream, TransportError> {
    let deadline = Instant::now() + limit;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match host.parse() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => resolve(host, port, deadline)?,
    };
    let addresses = match Control::current() {
        Some(control) => control.addresses().allowed(host, addresses)?,
        None => addresses,
    };
    let stream = race(&alternate(addresses), deadline)?;
    stream.set_nodelay(true).map_err(refused)?;
    stream.set_read_timeout(Some(SLICE)).map_err(refused)?;
    stream.set_write_timeout(Some(SLICE)).map_err(refused)?;
    Ok(stream)
}

fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, TransportError> {
    let (sender, receiver) = channel();
    let name = host.to_owned();
    helper(move || {
        let found = (name.as_str(), port).to_socket_addrs();
        // The receiver is gone if the job was stopped.
        drop(sender.send(found.map(Iterator::collect::<Vec<_>>)));
    })?;
    let failed = |why: String| TransportError::new(TransportErrorKind::Resolve, why);
    let unresolved = |error: std::io::Error| {
        let kind = sort(&error, TransportErrorKind::Resolve);
        TransportError::new(kind, format!("{host}: {error}"))
    };
    match wait(&receiver, deadline) {
        Some(Ok(addresses)) if addresses.is_empty() => {
            Err(failed(format!("{host} has no address")))
        }
        Some(Ok(addresses)) => Ok(addresses),
        Some(Err(error)) => Err(unresolved(error)),
        None => Err(failed(format!("{host}: no answer in time"))),
    }
}

/// Tries one address after the other, each with a head start over the next; the first that
/// answers wins.
fn race(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, TransportError> {
    let (sender, receiver) = channel();
    let mut last = None;
    let mut running = 0_usize;
    let mut waiting = addresses.iter();
    loop {
        let until = match waiting.next() {
            Some(address) => {
                connect(*address, deadline, sender.clone())?;
                running += 1;
                deadline.min(Instant::now() + STAGGER)
            }
            None => deadline,
        };
        match wait(&receiver, until) {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => {
                last = Some(error);
                running -= 1;
            }
            None if Instant::now() >= deadline || stopped() => break,
            None => {}
        }
        if running == 0 && waiting.as_slice().is_empty() {
            break;
        }
    }
    Err(last.map_or_else(
        || TransportError::new(TransportErrorKind::Connect, "no connection in time"),
        refused,
    ))
}

fn connect(
    address: SocketAddr,
    deadline: Instant,
    sender: Sender<std::io::Result<TcpStream>>,
) -> Result<(), TransportError> {
    let limit = deadline.saturating_duration_since(Instant::now());
    helper(move || {
        let limit = limit.max(Duration::from_millis(1));
        // The receiver is gone if another address was faster.
        drop(sender.send(TcpStream::connect_timeout(&address, limit)));
    })
}

fn helper(work: impl FnOnce() + Send + 'static) -> Result<(), TransportError> {
    let builder = thread::Builder::new()
        .name("windlass-dial".into())
        .stack_size(STACK);
    builder.spawn(work).map(drop).map_err(|error| {
        TransportError::new(
            TransportErrorKind::Other,
            format!("no thread to connect: {error}"),
        )
    })
}

/// Waits for a message until the deadline, or until the current job is to stop.
fn wait<T>(receiver: &Receiver<T>, deadline: Instant) -> Option<T> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(SLICE)) {
            Ok(message) => return Some(message),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() && !stopped() => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn stopped() -> bool {
    Control::current().is_some_and(|control| control.is_stopped())
}

/// The resolver's order of preference, families taking turns (RFC 8305 §4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut mixed = Vec::new();
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed.truncate(ADDRESSES);
    mixed
}

fn refused(error: std::io::Error) -> TransportError {
    let kind = sort(&error, TransportErrorKind::Connect);
    TransportError::new(kind, error.to_string())
}

fn sort(error: &std::io::Error, otherwise: TransportErrorKind) -> TransportErrorKind {
    if is_out_of_descriptors(error) {
        TransportErrorKind::Descriptors
    } else {
        otherwise
    }
}
