//! A service of the caller's in place of reqwest's client.
//!
//! Responsible for how requests and responses become those of a service, and for one that is not ready. Must not know
//! what a request is for.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;
use windlass_driver::BuildError;

use crate::{Builder, Client, Tokio};

/// An error of a service or of a body.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The response to come.
pub(crate) type Answering =
    Pin<Box<dyn Future<Output = Result<reqwest::Response, BoxError>> + Send>>;

/// The body of a request that a service is to send. Of one that has none, `is_end_stream` is true.
#[derive(Debug)]
pub struct ServiceBody(pub(crate) reqwest::Body);

impl Body for ServiceBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.0).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Makes a client that sends its requests through a service, such as a client of hyper below layers of tower.
///
/// The service gets each request with an absolute URI, HTTP/1.1 and a `Host` only where the session sets one. It has
/// to send it as it is and return the response as it comes: it follows no redirect, repeats nothing, decodes no
/// `Content-Encoding`, and adds no credentials. The session does that, and knows to whom they may be shown.
///
/// What concerns connections is the service's: TLS and its settings by host, proxies, which address a name stands for,
/// and the time to connect. The builder's settings for those are not used, except that addresses in URLs are still
/// judged ([`Builder::addresses`]). The limits for a response and for idleness hold; so do concurrency, retries and
/// resumption, which are the session's.
///
/// An error of the service counts as a connection that broke, and the session tries again, unless a
/// [`TransportError`](windlass_core::call::TransportError), an [`io::Error`](std::io::Error) or a
/// [`rustls::Error`] among its sources says more.
///
/// # Errors
///
/// Those of [`Builder::build`].
pub fn client_with_service<S, B>(builder: Builder, service: S) -> Result<Client, BuildError>
where
    S: Service<http::Request<ServiceBody>, Response = http::Response<B>>,
    S: Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    let service: Box<dyn Sends> = Box::new(Shared(Mutex::new(service)));
    builder.build_with(|parts| Tokio::with_service(parts, service))
}

/// A service of any type.
pub(crate) trait Sends: Send + Sync {
    fn send(&self, request: http::Request<reqwest::Body>) -> Answering;
}

impl fmt::Debug for dyn Sends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

/// Cloned for each request.
struct Shared<S>(Mutex<S>);

impl<S, B> Sends for Shared<S>
where
    S: Service<http::Request<ServiceBody>, Response = http::Response<B>>,
    S: Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    fn send(&self, request: http::Request<reqwest::Body>) -> Answering {
        let mut service = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Box::pin(async move {
            let ready = poll_fn(|context| service.poll_ready(context)).await;
            ready.map_err(Into::into)?;
            let response = service.call(request.map(ServiceBody)).await;
            let response = response.map_err(Into::into)?;
            Ok(response.map(reqwest::Body::wrap).into())
        })
    }
}
