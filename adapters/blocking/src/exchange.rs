//! One HTTP exchange through ureq.
//!
//! Responsible for sending a request as it is, byte for byte, for sorting what goes wrong, and for
//! one silent second try, on a fresh connection, when a kept connection turns out to be closed.
//! Must not know what a request is for.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{Request, Response, StatusCode, Uri};
use ureq::config::AutoHeaderValue;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, NextTimeout};
use ureq::{Agent, ProxyProtocol, SendBody, Timeout};
use windlass_core::Origin;
use windlass_core::call::{Interrupted, Payload, TransportError, TransportErrorKind};
use windlass_driver::{
    AddressGuard, CLOSED_EARLY, Connections, IDLE_AGE, KeptConnections, Proxy, TimeLimits, Tls,
    UNHEARD, may_repeat, tls_error_kind,
};

use crate::agents::Agents;
use crate::connection::SocketConnector;
use crate::control::Control;
use crate::forward::Tunnels;

/// What one read or write moves at most. A connection at work holds one buffer of each kind; 64
/// KiB is where loopback throughput stops growing, and eight transfers need one MiB.
const BUFFER: usize = 64 * 1024;

/// Sends requests over kept connections.
#[derive(Debug)]
pub(crate) struct Exchanges {
    agents: Agents,
    tls: Tls,
    kept: KeptConnections,
    addresses: AddressGuard,
}

impl Exchanges {
    pub(crate) fn new(
        tls: Tls,
        limits: &TimeLimits,
        in_flight: usize,
        addresses: AddressGuard,
    ) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_connections(in_flight)
            .max_idle_connections_per_host(in_flight)
            .max_idle_age(IDLE_AGE)
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.answer))
            .build();
        let (connect, idle, shared) = (limits.connect, limits.idle, tls.clone());
        let make = move || {
            let sockets = SocketConnector::new(shared.clone(), connect, idle);
            let connector = ().chain(Tunnels::default()).chain(sockets);
            Agent::with_parts(config.clone(), connector, Unresolved)
        };
        Self {
            agents: Agents::new(make),
            tls,
            kept: KeptConnections::default(),
            addresses,
        }
    }

    /// Closes the connections that no request uses.
    pub(crate) fn close_idle(&self) {
        self.agents.forget();
    }

    /// Sends a request whose body is `stored` if its payload says so. Everything a job does to the
    /// answer has to happen on the thread this was called on.
    pub(crate) fn send(
        &self,
        request: &Request<Payload>,
        mut stored: Option<Upload<'_>>,
        proxy: Option<&Proxy>,
        control: &Arc<Control>,
    ) -> Result<Response<Inflow>, Interrupted> {
        let through = proxy.map(as_ureq_has_it).transpose()?;
        let connect = self.connect(request.uri())?;
        let forwards = proxy.filter(|_| request.uri().scheme_str() == Some("http"));
        let host = request.uri().authority().map_or("", Authority::as_str);
        let mut connections = if stored.is_some() || !may_repeat(request) {
            self.kept.for_once(host)
        } else {
            Connections::Any
        };
        // What a proxy connects to is its own business.
        let guard = proxy.is_none().then(|| self.addresses.clone());
        control.guard(guard.unwrap_or_default());
        loop {
            control.begin();
            let sending = Sending {
                proxy: through.as_ref(),
                connect,
                connections,
            };
            let error = match self.once(request, stored.as_mut(), &sending) {
                Ok(response) => {
                    if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
                        && let Some(proxy) = forwards
                    {
                        return Err(Interrupted::Transport(proxy.refusal()));
                    }
                    return Ok(response.map(|body| Inflow::new(body, control)));
                }
                Err(error) => match (interrupted(&error, control), proxy) {
                    (Interrupted::Transport(error), Some(proxy)) => {
                        Interrupted::Transport(proxy.named_in(error))
                    }
                    (error, _) => error,
                },
            };
            // A body that ends before its length broke the connection itself.
            let is_starved = stored.as_ref().is_some_and(|it| it.content.is_starved());
            let again = connections == Connections::Any && control.was_stale() && !is_starved;
            if !again || control.is_stopped() {
                return Err(error);
            }
            self.kept.note_broken(host);
            connections = Connections::Fresh;
            if !may_repeat(request) {
                return Err(error);
            }
            if let Some(stored) = &mut stored {
                stored.begin_again(error)?;
            }
        }
    }

    /// The target's own limit on connecting.
    fn connect(&self, target: &Uri) -> Result<Option<Duration>, Interrupted> {
        let (scheme, authority) = (target.scheme_str(), target.authority());
        let (Some(scheme), Some(authority)) = (scheme, authority) else {
            return Ok(None);
        };
        let Ok(origin) = format!("{scheme}://{authority}").parse::<Origin>() else {
            return Ok(None);
        };
        let own = self.tls.host(&origin).map_err(Interrupted::NotSent)?;
        Ok(own.and_then(|own| own.connect()))
    }

    fn once(
        &self,
        request: &Request<Payload>,
        stored: Option<&mut Upload<'_>>,
        sending: &Sending<'_>,
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        match (request.body(), stored) {
            (Payload::Bytes(document), _) => {
                let mut bytes = Cursor::new(Arc::clone(document));
                let body = SendBody::from_reader(&mut bytes);
                self.run(request, body, sending)
            }
            (_, Some(stored)) => self.run(request, SendBody::from_reader(stored), sending),
            (_, None) => self.run(request, SendBody::none(), sending),
        }
    }

    fn run(
        &self,
        request: &Request<Payload>,
        body: SendBody<'_>,
        sending: &Sending<'_>,
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        let mut sent = Request::new(body);
        *sent.method_mut() = request.method().clone();
        *sent.uri_mut() = request.uri().clone();
        *sent.headers_mut() = request.headers().clone();
        let agent = self.agents.for_uri(sent.uri());
        let mut configured = agent.configure_request(sent);
        if let Some(proxy) = sending.proxy {
            configured = configured.proxy(Some(proxy.clone()));
        }
        if let Some(limit) = sending.connect {
            configured = configured.timeout_connect(Some(limit));
        }
        if sending.connections == Connections::Fresh {
            // ureq drops a kept connection that is older than this, to the same host.
            configured = configured.max_idle_age(Duration::ZERO);
        }
        agent.run(configured.build())
    }
}

/// How one try is sent.
struct Sending<'a> {
    proxy: Option<&'a ureq::Proxy>,
    /// The host's own limit on connecting.
    connect: Option<Duration>,
    connections: Connections,
}

/// Only what is spoken to in HTTP; ureq would go past any other proxy.
fn as_ureq_has_it(proxy: &Proxy) -> Result<ureq::Proxy, Interrupted> {
    let parsed = ureq::Proxy::new(&proxy.url).ok();
    let known = parsed.filter(|proxy| proxy.protocol() == ProxyProtocol::Http);
    known.ok_or_else(|| Interrupted::NotSent(Proxy::invalid()))
}

/// What a body is read from. A read that would block for long ends with [`io::ErrorKind::WouldBlock`].
pub(crate) trait Content: Read {
    /// Goes back to the first byte, to send the body once more.
    ///
    /// # Errors
    ///
    /// If it was the content that ended the first try, or it cannot be read again.
    fn rewind(&mut self) -> Result<(), Interrupted>;

    /// Whether it ended before its length.
    fn is_starved(&self) -> bool {
        false
    }
}

/// A body of known length on its way out.
pub(crate) struct Upload<'a> {
    content: &'a mut dyn Content,
    len: u64,
    left: u64,
    control: Arc<Control>,
}

impl<'a> Upload<'a> {
    /// `len` bytes of `content`.
    pub(crate) fn new(content: &'a mut dyn Content, len: u64, control: &Arc<Control>) -> Self {
        Self {
            content,
            len,
            left: len,
            control: Arc::clone(control),
        }
    }

    /// Prepares the second try after a kept connection broke with this error.
    fn begin_again(&mut self, error: Interrupted) -> Result<(), Interrupted> {
        let is_reset = matches!(&error, Interrupted::Transport(error) if error.kind == TransportErrorKind::Reset);
        if !is_reset || self.len - self.left > UNHEARD {
            return Err(error);
        }
        self.left = self.len;
        self.content.rewind()
    }
}

impl Read for Upload<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let buffer = &mut buffer[..most];
        if self.control.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        let read = if self.control.has_peer_stopped_reading() {
            // It is discarded: ureq only has to get to the end.
            buffer.len()
        } else {
            match self.content.read(buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // ureq 3.5.1 transmits these no bytes, which is when the connection listens, and asks again.
                    self.control.listen();
                    return Ok(0);
                }
                Err(error) => return Err(error),
            }
        };
        self.left -= read as u64;
        if read == 0 && self.left > 0 {
            // ureq 3.5.1 asks again and again for ever when a body ends before its length.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}

/// The body of an answer.
pub(crate) struct Inflow {
    reader: ureq::BodyReader<'static>,
    control: Arc<Control>,
}

impl Inflow {
    fn new(body: ureq::Body, control: &Arc<Control>) -> Self {
        Self {
            reader: body.into_reader(),
            control: Arc::clone(control),
        }
    }
}

impl Read for Inflow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.control.begin_read();
        self.reader.read(buffer)
    }
}

/// What a failure of ureq's means to the session.
pub(crate) fn interrupted(error: &ureq::Error, control: &Control) -> Interrupted {
    if control.is_stopped() {
        return Interrupted::Aborted;
    }
    Interrupted::Transport(sort(error))
}

/// The same for a failure while a body is read.
pub(crate) fn read_interrupted(error: &io::Error, control: &Control) -> Interrupted {
    if control.is_stopped() {
        return Interrupted::Aborted;
    }
    Interrupted::Transport(sort_io(error))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "not our enum, and it may grow"
)]
fn sort(error: &ureq::Error) -> TransportError {
    use TransportErrorKind as Kind;
    fn new(kind: Kind, detail: impl Into<String>) -> TransportError {
        TransportError::new(kind, detail)
    }
    match error {
        ureq::Error::Other(inner) => match inner.downcast_ref::<TransportError>() {
            Some(ours) => ours.clone(),
            None => new(Kind::Other, "unknown failure of the connection"),
        },
        ureq::Error::Io(error) => sort_io(error),
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            new(Kind::Connect, "no connection in time")
        }
        ureq::Error::Timeout(Timeout::RecvResponse) => new(Kind::Answer, "request sent, no answer"),
        ureq::Error::Timeout(which) => new(Kind::Idle, format!("time limit: {which}")),
        ureq::Error::HostNotFound => new(Kind::Resolve, "host not found"),
        ureq::Error::ConnectionFailed => new(Kind::Connect, "connection failed"),
        // The status is in its text only, after a slash.
        ureq::Error::ConnectProxyFailed(why) if why.ends_with("/407") => new(Kind::ProxyAuth, ""),
        ureq::Error::ConnectProxyFailed(why) => new(Kind::Connect, why.clone()),
        ureq::Error::Tls(why) => new(Kind::Tls, *why),
        ureq::Error::Protocol(error) => new(Kind::Protocol, error.to_string()),
        ureq::Error::LargeResponseHeader(size, limit) => new(
            Kind::Protocol,
            format!("response head over its limit: {size} > {limit} bytes"),
        ),
        ureq::Error::BodyStalled => new(Kind::Protocol, "body cannot be decoded"),
        // Its text is ours to vouch for: these name no header and no part of a URL.
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => new(Kind::Other, "invalid request"),
        ureq::Error::BodyExceedsLimit(limit) => new(
            Kind::Other,
            format!("body longer than its Content-Length: {limit}"),
        ),
        _ => new(Kind::Other, "ureq failed in an unexpected way"),
    }
}

fn sort_io(error: &io::Error) -> TransportError {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        return sort(error);
    }
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<TransportError>()) {
        return error.clone();
    }
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return TransportError::new(tls_error_kind(error), error.to_string());
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return TransportError::new(TransportErrorKind::Reset, CLOSED_EARLY);
    }
    TransportError::new(TransportErrorKind::Reset, error.to_string())
}

/// Names are resolved where connections are made, where that can be stopped.
#[derive(Debug)]
struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
