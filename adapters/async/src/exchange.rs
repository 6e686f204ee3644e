//! One HTTP exchange through reqwest.
//!
//! Responsible for sending a request as it is or not at all, and for the limits on waiting. Must not know what a
//! request is for, nor what failures mean (`failures`).
//!
//! reqwest's own read limit counts from the beginning of the request, so an upload that lasts
//! longer than the limit would be killed; a body therefore notes when it was last asked for bytes
//! ([`Outflow`]), and that is what the limit is held against.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode};
use http_body::{Frame, SizeHint};
use reqwest::{Body, Response, Url};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use windlass_core::Origin;
use windlass_core::call::{Interrupted, Payload, TransportError, TransportErrorKind};
use windlass_driver::{
    AddressGuard, Connections, KeptConnections, Proxy, ProxySelector, TimeLimits, Tls, UNHEARD,
    may_repeat,
};

use crate::failures::sort;
#[cfg(feature = "tower")]
use crate::failures::sort_service;
use crate::pools::{Pools, Route};
#[cfg(feature = "tower")]
use crate::service::Sends;

/// Sends requests over kept connections.
#[derive(Debug)]
pub(crate) struct Exchanges {
    limits: TimeLimits,
    pools: Pools,
    kept: KeptConnections,
    addresses: AddressGuard,
    /// What sends requests instead of reqwest's client.
    #[cfg(feature = "tower")]
    service: Option<Box<dyn Sends>>,
}

/// A stored body, which can be sent more than once.
pub(crate) trait Content: Send {
    /// Opens the body at its first byte.
    ///
    /// # Errors
    ///
    /// If it was the content that ended the try before, or it cannot be read.
    fn open(&mut self) -> impl Future<Output = Result<Outflow, Interrupted>> + Send;
}

impl Exchanges {
    pub(crate) fn new(
        tls: Tls,
        limits: TimeLimits,
        in_flight: usize,
        proxies: Arc<dyn ProxySelector>,
        addresses: AddressGuard,
    ) -> Self {
        Self {
            limits,
            pools: Pools::new(tls, limits.connect, in_flight, proxies, addresses.clone()),
            kept: KeptConnections::default(),
            addresses,
            #[cfg(feature = "tower")]
            service: None,
        }
    }

    /// Sends requests through a service.
    #[cfg(feature = "tower")]
    pub(crate) fn through(mut self, service: Box<dyn Sends>) -> Self {
        self.service = Some(service);
        self
    }

    /// Sends a request, with `stored` as its body if its payload says so, and waits for the head
    /// of its answer.
    pub(crate) async fn send(
        &self,
        request: &Request<Payload>,
        mut stored: Option<&mut impl Content>,
    ) -> Result<Response, Interrupted> {
        #[cfg(feature = "tower")]
        if let Some(service) = &self.service {
            return self.send_through(&**service, request, stored).await;
        }
        let mut url = unaltered(request)?;
        let origin = target(request)?;
        let proxy = self.proxy(&origin)?;
        let renamed = self.rename(&mut url, &origin, proxy.as_ref())?;
        let forwards = proxy.as_ref().filter(|_| url.scheme() == "http");
        let host = authority(request);
        let mut connections = if stored.is_some() || !may_repeat(request) {
            self.kept.for_once(&host)
        } else {
            Connections::Any
        };
        let pool = self.pools.here();
        let is_secure = url.scheme() == "https" || proxy.is_some();
        let route = match &proxy {
            Some(_) => Route::Proxy,
            None => self.direct(&url)?,
        };
        loop {
            let client = self
                .pools
                .client(&pool, &origin, route, is_secure, connections);
            let client = client.await;
            let client = client.map_err(Interrupted::NotSent)?;
            let mut sent = reqwest::Request::new(request.method().clone(), url.clone());
            *sent.headers_mut() = request.headers().clone();
            if let Some(host) = &renamed {
                sent.headers_mut().insert(HOST, host.clone());
            }
            let flow;
            (*sent.body_mut(), flow) = body(request, &mut stored).await?;
            let answer = self.watched(client.execute(sent), flow.as_deref()).await?;
            let error = match answer {
                Ok(answer) => {
                    if connections == Connections::Any {
                        pool.note_answer(&host);
                    }
                    if answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
                        && let Some(proxy) = forwards
                    {
                        return Err(Interrupted::Transport(proxy.refusal()));
                    }
                    return Ok(answer);
                }
                Err(error) => match &proxy {
                    Some(proxy) => proxy.named_in(sort(&error)),
                    None => sort(&error),
                },
            };
            let again = connections == Connections::Any
                && error.kind == TransportErrorKind::Reset
                // A body that ends before its length broke the connection itself.
                && !flow.as_ref().is_some_and(|flow| flow.is_starved())
                && pool.is_stale(&host);
            if again {
                self.kept.note_broken(&host);
                connections = Connections::Fresh;
            }
            let again = again && may_repeat(request);
            if !again || flow.is_some_and(|flow| flow.moved() > UNHEARD) {
                return Err(Interrupted::Transport(error));
            }
        }
    }

    /// The same through a service, which has connections of its own.
    #[cfg(feature = "tower")]
    async fn send_through(
        &self,
        service: &dyn Sends,
        request: &Request<Payload>,
        mut stored: Option<&mut impl Content>,
    ) -> Result<Response, Interrupted> {
        if let Ok(url) = Url::parse(&request.uri().to_string()) {
            self.direct(&url)?;
        }
        let (body, flow) = body(request, &mut stored).await?;
        let mut sent = Request::new(body.unwrap_or_default());
        *sent.method_mut() = request.method().clone();
        *sent.uri_mut() = request.uri().clone();
        *sent.headers_mut() = request.headers().clone();
        let answer = self.watched(service.send(sent), flow.as_deref()).await?;
        answer.map_err(|error| Interrupted::Transport(sort_service(&*error)))
    }

    /// The next piece of an answer's body; `None` is its end.
    pub(crate) async fn chunk(
        &self,
        response: &mut Response,
    ) -> Result<Option<Bytes>, Interrupted> {
        match timeout(self.limits.idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Interrupted::Transport(sort(&error))),
            Err(_) => Err(self.idle()),
        }
    }

    /// Waits for the head of an answer, as long as bytes of the body move or the limit for the
    /// answer lasts.
    async fn watched<T>(
        &self,
        answer: impl Future<Output = T>,
        flow: Option<&Flow>,
    ) -> Result<T, Interrupted> {
        let TimeLimits {
            connect,
            idle,
            answer: limit,
            ..
        } = self.limits;
        let begun = Instant::now();
        let mut answer = std::pin::pin!(answer);
        loop {
            let phase = flow.map(Flow::phase);
            let now = Instant::now();
            let deadline = match phase {
                // Connecting has a limit of its own.
                None => begun + connect + limit,
                Some(Phase::Waiting) => begun + connect + idle,
                Some(Phase::Sending(asked)) => asked + idle,
                Some(Phase::Reading) => now + idle,
                Some(Phase::Sent(at)) => at + limit,
            };
            // The next phase may have a shorter limit, which must not be noticed late.
            if let Ok(answer) = timeout_at(deadline.min(now + idle), answer.as_mut()).await {
                return Ok(answer);
            }
            match phase {
                Some(Phase::Reading) => {}
                _ if now < deadline => {}
                Some(Phase::Waiting | Phase::Sending(_)) => return Err(self.idle()),
                None | Some(Phase::Sent(_)) => {
                    let why = format!("request sent, no answer began for {limit:?}");
                    let why = TransportError::new(TransportErrorKind::Answer, why);
                    return Err(Interrupted::Transport(why));
                }
            }
        }
    }

    fn idle(&self) -> Interrupted {
        let why = format!("no byte moved for {:?}", self.limits.idle);
        Interrupted::Transport(TransportError::new(TransportErrorKind::Idle, why))
    }

    /// A direct connection. An address in the URL is judged here, since reqwest resolves names only; in its
    /// form of the URL `127.1` and `0x7f.1` are addresses, too.
    fn direct(&self, url: &Url) -> Result<Route, Interrupted> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        match self.addresses.check_literal(host, port) {
            Ok(()) => Ok(Route::Direct),
            Err(error) => Err(Interrupted::Transport(error)),
        }
    }

    /// The proxy that requests to an origin go through.
    fn proxy(&self, origin: &Origin) -> Result<Option<Proxy>, Interrupted> {
        let proxy = self.pools.proxies().proxy(origin);
        if let Some(Proxy { url, .. }) = &proxy
            && reqwest::Proxy::all(url.as_str()).is_err()
        {
            // reqwest would connect directly.
            return Err(Interrupted::NotSent(Proxy::invalid()));
        }
        Ok(proxy)
    }

    /// Puts the server's other name into the URL, if it has one, and returns the `Host` header that the
    /// request has to have then.
    fn rename(
        &self,
        url: &mut Url,
        origin: &Origin,
        proxy: Option<&Proxy>,
    ) -> Result<Option<HeaderValue>, Interrupted> {
        let own = self.pools.host(origin).map_err(Interrupted::NotSent)?;
        let Some(name) = own.as_ref().and_then(|own| own.server_name()) else {
            return Ok(None);
        };
        let refuse = |why: &str| {
            let why = TransportError::new(TransportErrorKind::Other, why);
            Interrupted::NotSent(why)
        };
        if proxy.is_some() {
            // The proxy would be asked for a connection to that name.
            let why = "this client cannot set a server name through a proxy";
            return Err(refuse(why));
        }
        let invalid = || refuse("the server name that is set is invalid");
        let host = url.authority().to_owned();
        let host = HeaderValue::from_str(&host).map_err(|_| invalid())?;
        url.set_host(Some(&name.to_str())).map_err(|_| invalid())?;
        Ok(Some(host))
    }
}

/// The body of a request, and how it moves if it comes from a store.
async fn body(
    request: &Request<Payload>,
    stored: &mut Option<&mut impl Content>,
) -> Result<(Option<Body>, Option<Arc<Flow>>), Interrupted> {
    Ok(match (request.body(), stored) {
        (Payload::Bytes(bytes), _) => (Some(Bytes::copy_from_slice(bytes).into()), None),
        (_, Some(stored)) => {
            let stored = stored.open().await?;
            let flow = stored.flow();
            (Some(Body::wrap(stored)), Some(flow))
        }
        (_, None) => (None, None),
    })
}

/// Where a request goes.
fn target(request: &Request<Payload>) -> Result<Origin, Interrupted> {
    let authority = request.uri().authority().map(Authority::as_str);
    origin(request.uri().scheme_str(), authority).ok_or_else(|| {
        let why = "a target without an origin";
        Interrupted::NotSent(TransportError::new(TransportErrorKind::Protocol, why))
    })
}

/// Where a request goes, as routes know it.
pub(crate) fn origin(scheme: Option<&str>, authority: Option<&str>) -> Option<Origin> {
    format!("{}://{}", scheme?, authority?).parse().ok()
}

fn authority(request: &Request<Payload>) -> String {
    request
        .uri()
        .authority()
        .map_or_else(String::new, ToString::to_string)
}

/// The request's URL, if reqwest's idea of it is the same: it writes `'` as `%27` and resolves
/// dots, but what a registry handed out must come back byte for byte.
fn unaltered(request: &Request<Payload>) -> Result<Url, Interrupted> {
    let refuse = |why: &str| {
        let why = TransportError::new(TransportErrorKind::Protocol, why);
        Err(Interrupted::NotSent(why))
    };
    let uri = request.uri();
    let Ok(url) = Url::parse(&uri.to_string()) else {
        return refuse("the target is no URL");
    };
    if url.path() != uri.path() || url.query() != uri.query() {
        return refuse("the target cannot be sent unaltered by this HTTP client");
    }
    Ok(url)
}

/// A body of known length on its way out.
#[derive(Debug)]
pub(crate) struct Outflow {
    left: u64,
    flow: Arc<Flow>,
}

/// The part of a body that stays in reach while reqwest has it.
#[derive(Debug)]
pub(crate) struct Flow(Mutex<Flowing>);

#[derive(Debug)]
struct Flowing {
    phase: Phase,
    /// Bytes that were handed out.
    moved: u64,
    /// What is sent before the source, until it is.
    first: Option<Bytes>,
    /// The same, until more is taken: so far the body can be sent once more.
    kept: Option<Bytes>,
    /// Whether the source ended too early.
    is_starved: bool,
    /// `None` once nothing more is to be sent.
    source: Option<mpsc::Receiver<Bytes>>,
}

/// Where the sending of a body stands.
#[derive(Clone, Debug)]
enum Phase {
    /// The first byte was not asked for yet.
    Waiting,
    /// Bytes were handed out then, and no more were asked for since.
    Sending(Instant),
    /// More was asked for than is there; it is the source that takes its time.
    Reading,
    /// All was handed out.
    Sent(Instant),
}

impl Flow {
    /// Whether all of the body was handed out.
    pub(crate) fn is_through(&self) -> bool {
        matches!(self.phase(), Phase::Sent(_))
    }

    /// Whether the source ended before its length.
    pub(crate) fn is_starved(&self) -> bool {
        self.lock().is_starved
    }

    /// Gives the first piece and the source back if nothing was taken from the source, so that the body can be sent
    /// once more.
    pub(crate) fn take_back(&self) -> Option<(Bytes, mpsc::Receiver<Bytes>)> {
        let mut flowing = self.lock();
        let source = flowing.source.take();
        flowing.kept.take().zip(source)
    }

    fn moved(&self) -> u64 {
        self.lock().moved
    }

    /// Sends nothing more and lets the source go, even if the connection is stuck.
    pub(crate) fn end(&self) {
        self.lock().source = None;
    }

    fn phase(&self) -> Phase {
        self.lock().phase.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Flowing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outflow {
    /// `len` bytes of `source`. What it has beyond is not sent; that it ends before is an error.
    pub(crate) fn new(source: mpsc::Receiver<Bytes>, len: u64) -> Self {
        let phase = if len == 0 {
            Phase::Sent(Instant::now())
        } else {
            Phase::Waiting
        };
        let flowing = Flowing {
            phase,
            moved: 0,
            first: None,
            kept: None,
            is_starved: false,
            source: Some(source),
        };
        Self {
            left: len,
            flow: Arc::new(Flow(Mutex::new(flowing))),
        }
    }

    /// `len` bytes of a first piece and what follows it.
    pub(crate) fn after(first: Bytes, source: mpsc::Receiver<Bytes>, len: u64) -> Self {
        let outflow = Self::new(source, len);
        let mut flowing = outflow.flow.lock();
        flowing.kept = Some(first.clone());
        flowing.first = Some(first);
        drop(flowing);
        outflow
    }

    pub(crate) fn flow(&self) -> Arc<Flow> {
        Arc::clone(&self.flow)
    }
}

impl http_body::Body for Outflow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let flow = Arc::clone(&self.flow);
        let mut flowing = flow.lock();
        let first = flowing.first.take();
        let flowing = &mut *flowing;
        let polled = match (first, &mut flowing.source) {
            (Some(first), _) => Poll::Ready(Some(first)),
            (None, Some(source)) => {
                let polled = source.poll_recv(context);
                if polled.is_ready() {
                    flowing.kept = None;
                }
                polled
            }
            (None, None) => Poll::Ready(None),
        };
        let now = Instant::now();
        match polled {
            Poll::Pending => {
                flowing.phase = Phase::Reading;
                Poll::Pending
            }
            Poll::Ready(None) => {
                flowing.is_starved = flowing.source.is_some();
                flowing.phase = Phase::Sending(now);
                Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())))
            }
            Poll::Ready(Some(mut bytes)) => {
                let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                bytes.truncate(most);
                self.left -= bytes.len() as u64;
                flowing.moved += bytes.len() as u64;
                let is_last = self.left == 0;
                flowing.phase = if is_last {
                    Phase::Sent(now)
                } else {
                    Phase::Sending(now)
                };
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
