//! Connections as ureq sees them.
//!
//! Responsible for the limits on waiting, for the stop flag, and for hearing an early answer while
//! a body is being sent. Must not know requests.
//!
//! ureq gives up when a write fails. A registry that refuses an upload answers at once and closes,
//! so the write fails although an answer is there to be read. Here the connection discards what is
//! left of the body instead (the body's reader stops producing it), and ureq gets to the answer.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use ureq::Timeout;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};
use windlass_core::call::{TransportError, TransportErrorKind};
use windlass_core::{Origin, Scheme};
use windlass_driver::{HostTls, Tls};

use crate::control::Control;
use crate::dial::dial;
use crate::forward::Forward;
use crate::head::Heads;
use crate::stream::{Stream, Under, is_wait};

/// After how many bytes sent it is worth a system call to see whether the peer spoke already.
const EARLY: usize = 1024 * 1024;

/// How many bytes may come without making a head, or a piece of a body: enough for the largest head
/// that ureq takes, 64 KiB, with interim answers before it, and for a tunnel, where bytes count twice.
const UNMADE: usize = 256 * 1024;

/// Makes connections.
#[derive(Debug)]
pub(crate) struct SocketConnector {
    tls: Tls,
    idle: Duration,
    connect: Duration,
}

impl SocketConnector {
    pub(crate) const fn new(tls: Tls, connect: Duration, idle: Duration) -> Self {
        Self { tls, idle, connect }
    }

    /// How a host is reached that has settings of its own.
    fn own(
        &self,
        host: &str,
        port: u16,
        details: &ConnectionDetails<'_>,
    ) -> Result<Option<Arc<HostTls>>, ureq::Error> {
        let scheme = if details.needs_tls() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let Ok(origin) = Origin::new(scheme, host, port) else {
            return Ok(None);
        };
        self.tls.host(&origin).map_err(other)
    }

    fn connection(&self, stream: Stream, details: &ConnectionDetails<'_>) -> Connection {
        let config = details.config;
        Connection {
            stream,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            idle: self.idle,
            connect: self.connect,
            made: Instant::now(),
            forward: None,
            begins: true,
            heads: Heads::default(),
            user: None,
            sent: 0,
            discarding: None,
        }
    }
}

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        tunnel: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let host = details.uri.host().unwrap_or_default();
        let default = if details.needs_tls() { 443 } else { 80 };
        let port = details.uri.port_u16().unwrap_or(default);
        let own = self.own(host, port, details)?;
        let connect = own.as_ref().and_then(|own| own.connect());
        let limit = (*details.timeout.after).min(connect.unwrap_or(self.connect));
        let begun = Instant::now();
        if !details.needs_tls() {
            if let Some(tunnel) = tunnel {
                return Ok(Some(Box::new(tunnel)));
            }
            if let Some(proxy) = Forward::needed(details) {
                let stream = dial(proxy.host(), proxy.port(), limit).map_err(other)?;
                let mut connection = self.connection(Stream::Plain(stream), details);
                connection.forward = Some(Forward::new(details, proxy));
                return Ok(Some(Box::new(connection)));
            }
            let stream = dial(host, port, limit).map_err(other)?;
            return Ok(Some(Box::new(
                self.connection(Stream::Plain(stream), details),
            )));
        }
        let config = match &own {
            Some(own) => self.tls.config_for(own),
            None => self.tls.config(),
        };
        let config = config.map_err(other)?;
        let under = match tunnel {
            Some(tunnel) => {
                let clock = Arc::clone(&details.current_time);
                Under::Tunnel(Box::new(TransportAdapter::new(Box::new(tunnel), clock)))
            }
            None => Under::Direct(dial(host, port, limit).map_err(other)?),
        };
        let name = match own.as_ref().and_then(|own| own.server_name()) {
            Some(name) => name.clone(),
            None => server_name(host)?,
        };
        let mut stream = Stream::tls(config, name, under).map_err(ureq_io)?;
        stream.set_timeout(details.timeout);
        let mut connection = self.connection(stream, details);
        let left = limit.saturating_sub(begun.elapsed());
        connection.shake_hands(left)?;
        Ok(Some(Box::new(connection)))
    }
}

/// A connection.
#[derive(Debug)]
struct Connection {
    stream: Stream,
    buffers: LazyBuffers,
    idle: Duration,
    connect: Duration,
    made: Instant,
    /// The peer is a proxy that forwards.
    forward: Option<Forward>,
    /// What is sent next begins a request.
    begins: bool,
    heads: Heads,
    /// The job that it serves, or served last.
    user: Option<Arc<Control>>,
    /// Bytes sent since the peer was last listened to.
    sent: usize,
    /// Why what is still to be sent is discarded, once the peer has stopped reading.
    discarding: Option<TransportError>,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let control = self.serve();
        if self.discarding.is_some() {
            return Ok(());
        }
        self.stream.set_timeout(timeout);
        let mut patience = self.idle_patience();
        let mut data = &self.buffers.output()[..amount];
        let begins = std::mem::take(&mut self.begins);
        if begins {
            self.heads.begin(data);
        }
        let absolute = self.forward.as_ref().filter(|_| begins);
        let absolute = absolute.map(|forward| forward.head(data));
        if let Some(absolute) = &absolute {
            data = absolute;
        }
        self.sent += amount;
        if control.takes_listen() && self.stream.has_answer() {
            self.discarding = Some(answered_early());
        }
        while self.discarding.is_none() && (!data.is_empty() || self.stream.is_pending()) {
            patience.check(&control)?;
            // Before the write: once the last byte is out, an answer is no longer early.
            if self.sent >= EARLY {
                self.sent = 0;
                if self.stream.has_answer() {
                    self.discarding = Some(answered_early());
                    break;
                }
            }
            match self.stream.write(data) {
                Ok(taken) => {
                    data = &data[taken..];
                    patience.renew();
                }
                Err(error) if is_wait(&error) => self.sent = EARLY,
                Err(error) => self.discarding = Some(broken(&error, "while sending")),
            }
        }
        if self.discarding.is_some() {
            control.note_peer_stopped_reading();
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let control = self.serve();
        self.begins = true;
        self.stream.set_timeout(timeout);
        let patience = self.listening_patience(&timeout, &control);
        loop {
            patience.check(&control)?;
            if control.heard() >= UNMADE {
                let why = format!("{UNMADE} bytes came and no answer among them");
                return Err(other(TransportError::new(
                    TransportErrorKind::Protocol,
                    why,
                )));
            }
            let room = self.buffers.input_append_buf();
            if room.is_empty() {
                // Reading nothing would look like the end.
                let why = "a head or a line of the answer is too long";
                return Err(other(TransportError::new(
                    TransportErrorKind::Protocol,
                    why,
                )));
            }
            let given = self.heads.give(room);
            if given > 0 {
                self.buffers.input_appended(given);
                return Ok(true);
            }
            match self.stream.read(room) {
                Ok(0) if self.discarding.is_some() => break,
                Ok(read) => {
                    if read > 0 {
                        control.note_heard(read);
                    }
                    if !self.heads.is_idle() {
                        self.heads.take(&room[..read]);
                        if read > 0 || !self.heads.is_idle() {
                            continue;
                        }
                    }
                    self.buffers.input_appended(read);
                    return Ok(read > 0);
                }
                Err(error) if is_wait(&error) => {}
                Err(_) if self.discarding.is_some() => break,
                Err(error) => return Err(ureq_io(error)),
            }
        }
        // Nothing was there to be heard: what broke first is the reason.
        let why = self
            .discarding
            .clone()
            .expect("only a connection that discards gets here");
        Err(other(why))
    }

    fn is_open(&mut self) -> bool {
        self.discarding.is_none() && self.heads.is_idle() && self.stream.is_open()
    }

    fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }
}

impl Connection {
    fn shake_hands(&mut self, limit: Duration) -> Result<(), ureq::Error> {
        let control = self.serve();
        let patience = Patience::new(
            limit,
            TransportErrorKind::Connect,
            "TLS handshake took too long",
        );
        loop {
            patience.check(&control)?;
            match self.stream.shake_hands() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(ureq_io(error)),
            }
        }
        // The handshake belongs to the first request: that one does not *re*use the connection.
        self.user = None;
        Ok(())
    }

    /// The control of the current job, which is told if the connection served another one before.
    fn serve(&mut self) -> Arc<Control> {
        let now = Control::current().unwrap_or_default();
        match &self.user {
            Some(before) if Arc::ptr_eq(before, &now) => return now,
            Some(_) => now.note_reused(),
            None => {}
        }
        self.user = Some(Arc::clone(&now));
        now
    }

    /// While a request is sent, every byte that the peer takes is a sign of life.
    fn idle_patience(&self) -> Patience {
        Patience::new(self.idle, TransportErrorKind::Idle, "no byte moved")
    }

    /// While an answer is awaited its own limit holds, while a connection is made that of
    /// connecting, else that of an idle connection. Bytes alone are no sign of life here: they may
    /// be interim answers, chunk headers or trailers without end.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "not our enum, and it may grow"
    )]
    fn listening_patience(&self, timeout: &NextTimeout, control: &Control) -> Patience {
        match timeout.reason {
            Timeout::RecvResponse if self.discarding.is_none() => Patience::new(
                *timeout.after,
                TransportErrorKind::Answer,
                "request sent, no answer began",
            ),
            Timeout::Connect => Patience {
                since: self.made,
                ..Patience::new(
                    self.connect,
                    TransportErrorKind::Connect,
                    "the proxy took too long",
                )
            },
            _ => {
                let mut patience = self.idle_patience();
                patience.since = control.reads_since().unwrap_or(patience.since);
                patience
            }
        }
    }
}

/// How long nothing may happen.
struct Patience {
    since: Instant,
    limit: Duration,
    kind: TransportErrorKind,
    why: &'static str,
}

impl Patience {
    fn new(limit: Duration, kind: TransportErrorKind, why: &'static str) -> Self {
        Self {
            since: Instant::now(),
            limit,
            kind,
            why,
        }
    }

    fn renew(&mut self) {
        self.since = Instant::now();
    }

    fn check(&self, control: &Control) -> Result<(), ureq::Error> {
        if control.is_stopped() {
            let why = TransportError::new(TransportErrorKind::Other, "stopped");
            return Err(other(why));
        }
        if self.since.elapsed() < self.limit {
            return Ok(());
        }
        let why = format!("{} for {:?}", self.why, self.limit);
        Err(other(TransportError::new(self.kind, why)))
    }
}

fn answered_early() -> TransportError {
    let why = "the peer ended the exchange while the request was being sent";
    TransportError::new(TransportErrorKind::Reset, why)
}

fn server_name(host: &str) -> Result<ServerName<'static>, ureq::Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned());
    name.map_err(|_| {
        other(TransportError::new(
            TransportErrorKind::Tls,
            "invalid host name",
        ))
    })
}

fn other(error: TransportError) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

fn ureq_io(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ureq::Error {
    let error = error.into();
    match error.downcast::<io::Error>() {
        Ok(error) => ureq::Error::from(*error),
        Err(error) => ureq::Error::from(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn broken(error: &io::Error, when: &str) -> TransportError {
    TransportError::new(TransportErrorKind::Reset, format!("{when}: {error}"))
}
