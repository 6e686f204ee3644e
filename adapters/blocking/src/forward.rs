//! Requests that a proxy forwards.
//!
//! Proxies forward what is for http and tunnel what is for https (RFC 9112 §3.2.2, RFC 9110 §9.3.6):
//! many refuse a tunnel to another port than 443. ureq knows tunnels only, so requests to be
//! forwarded get their form here, on their way out. Responsible for that form, and for who is
//! tunnelled. Must not know sockets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::Proxy;
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Either, Transport,
};

/// Opens a tunnel through the proxy, unless the proxy is to forward or there is none.
#[derive(Debug, Default)]
pub(crate) struct Tunnels(ConnectProxyConnector);

impl<In: Transport> Connector<In> for Tunnels {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if Forward::needed(details).is_some() {
            return Ok(chained.map(Either::A));
        }
        self.0.connect(details, chained)
    }
}

/// What a proxy that forwards needs to be told.
#[derive(Debug)]
pub(crate) struct Forward {
    /// What makes a target absolute.
    origin: String,
    /// A whole line, or nothing.
    authorization: String,
}

impl Forward {
    /// The proxy that is to forward requests over this connection, if any.
    pub(crate) fn needed<'a>(details: &'a ConnectionDetails<'_>) -> Option<&'a Proxy> {
        details.config.proxy().filter(|_| !details.needs_tls())
    }

    pub(crate) fn new(details: &ConnectionDetails<'_>, proxy: &Proxy) -> Self {
        let authority = details.uri.authority().map_or("", |it| it.as_str());
        let authorization = match (proxy.username(), proxy.password()) {
            (None, None) => String::new(),
            (user, password) => {
                let (user, password) = (user.unwrap_or_default(), password.unwrap_or_default());
                let coded = STANDARD.encode(format!("{user}:{password}"));
                format!("proxy-authorization: Basic {coded}\r\n")
            }
        };
        Self {
            origin: format!("http://{authority}"),
            authorization,
        }
    }

    /// The head of a request as the proxy wants it: the target absolute, and the proxy's own
    /// credentials after the first line, so that the proxy does not pass them on. `head` may have
    /// anything after that line.
    pub(crate) fn head(&self, head: &[u8]) -> Vec<u8> {
        let method = head.iter().position(|byte| *byte == b' ');
        let line = head.iter().position(|byte| *byte == b'\n');
        let (Some(method), Some(line)) = (method, line) else {
            return head.to_vec();
        };
        let mut absolute = Vec::with_capacity(head.len() + 512);
        absolute.extend(&head[..=method]);
        absolute.extend(self.origin.as_bytes());
        absolute.extend(&head[method + 1..=line]);
        absolute.extend(self.authorization.as_bytes());
        absolute.extend(&head[line + 1..]);
        absolute
    }
}
