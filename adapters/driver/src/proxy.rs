//! Which origin is reached through which proxy, and how the failures of a proxy are named.
//!
//! Responsible for errors that name the proxy, without its credentials, the same in both drivers. Must
//! not know where proxies are configured.

use std::fmt;

use windlass_core::Origin;
use windlass_core::call::{TransportError, TransportErrorKind};

/// An HTTP proxy: the URL it is reached at, which may hold credentials of its own.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Proxy {
    /// `http://[user:password@]host:port`.
    pub url: String,
}

impl Proxy {
    /// A proxy at `http://[user:password@]host:port`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    /// Where it is reached: `host:port`, without credentials.
    pub fn address(&self) -> &str {
        let rest = self.url.split_once("://");
        let rest = rest.map_or(self.url.as_str(), |(_, rest)| rest);
        let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
        address.split(['/', '?', '#']).next().unwrap_or(address)
    }

    /// The failure of an exchange through this proxy, with the proxy named.
    pub fn named_in(&self, error: TransportError) -> TransportError {
        let (address, detail) = (self.address(), &error.detail);
        let detail = match error.kind {
            // It was the proxy that could not be reached, or that could not reach the registry.
            TransportErrorKind::Resolve | TransportErrorKind::Connect => {
                format!("proxy {address}: {detail}")
            }
            TransportErrorKind::ProxyAuth => {
                format!("proxy {address} answered 407: it wants other credentials")
            }
            // A certificate comes from behind the proxy.
            TransportErrorKind::Tls => return error,
            TransportErrorKind::Reset
            | TransportErrorKind::Idle
            | TransportErrorKind::Answer
            | TransportErrorKind::Protocol
            | TransportErrorKind::Other
            | _ => format!("{detail} (through proxy {address})"),
        };
        TransportError::new(error.kind, detail)
    }

    /// The failure of an exchange through a proxy with an invalid URL.
    pub fn invalid() -> TransportError {
        TransportError::new(TransportErrorKind::Other, "invalid URL of the proxy")
    }

    /// The failure of an exchange that the proxy answered itself, with 407.
    pub fn refusal(&self) -> TransportError {
        self.named_in(TransportError::new(TransportErrorKind::ProxyAuth, ""))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy(***)")
    }
}

/// Decides which origin is reached through which proxy.
pub trait ProxySelector: Send + Sync + fmt::Debug {
    /// The proxy for this origin; `None` for a direct connection.
    fn proxy(&self, origin: &Origin) -> Option<Proxy>;
}

/// Direct connections only: what a client does unless it is told otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl ProxySelector for Direct {
    fn proxy(&self, _: &Origin) -> Option<Proxy> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_without_its_credentials() {
        use TransportErrorKind::{Connect, Idle, Other, ProxyAuth, Reset, Resolve, Tls};
        for url in [
            "http://alice:s3cret@proxy.example:3128",
            "http://alice:s3@cret@proxy.example:3128/",
            "http://proxy.example:3128/?s3cret",
            "proxy.example:3128",
        ] {
            let proxy = Proxy::new(url);
            assert_eq!(proxy.address(), "proxy.example:3128");
            for (kind, expected) in [
                (Resolve, "proxy proxy.example:3128: x"),
                (Connect, "proxy proxy.example:3128: x"),
                (
                    ProxyAuth,
                    "proxy proxy.example:3128 answered 407: it wants other credentials",
                ),
                (Tls, "x"),
                (Reset, "x (through proxy proxy.example:3128)"),
                (Idle, "x (through proxy proxy.example:3128)"),
                (Other, "x (through proxy proxy.example:3128)"),
            ] {
                let named = proxy.named_in(TransportError::new(kind, "x"));
                assert_eq!((named.kind, &*named.detail), (kind, expected));
            }
            assert_eq!(proxy.refusal().kind, ProxyAuth);
        }
    }
}
