//! Whether a host speaks TLS.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use windlass_core::{Origin, Scheme};
use windlass_driver::ProxySelector as _;

use crate::Proxies;

/// Finds out whether the host of an origin speaks TLS. podman asks each registry that is declared insecure.
#[derive(Clone)]
pub struct Probe(Arc<Ask>);

type Ask = dyn Fn(&Origin) -> Option<Scheme> + Send + Sync;

impl Probe {
    /// Asks this function, which returns `None` where it cannot tell.
    pub fn new(ask: impl Fn(&Origin) -> Option<Scheme> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Connects directly and sends a request without credentials over plain HTTP: a registry answers it, and
    /// a server that speaks TLS does not, or with 400. Takes at most a few seconds. Must not be used where a
    /// proxy carries requests.
    pub fn direct() -> Self {
        Self::new(|origin| ask(origin).ok().flatten())
    }

    /// The same for hosts that no proxy is for. What is behind a proxy is not asked.
    pub fn beside(proxies: Proxies) -> Self {
        let is_direct = move |origin: &Origin| proxies.proxy(origin).is_none();
        Self::new(move |origin| match is_direct(origin) {
            true => ask(origin).ok().flatten(),
            false => None,
        })
    }

    pub(crate) fn scheme(&self, origin: &Origin) -> Option<Scheme> {
        (self.0)(origin)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

fn ask(origin: &Origin) -> std::io::Result<Option<Scheme>> {
    /// A registry in a local network answers at once.
    const PATIENCE: Duration = Duration::from_secs(3);
    let host = origin.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (bare, origin.port()).to_socket_addrs()?;
    let mut stream = None;
    for address in addresses.take(2) {
        if let Ok(connected) = TcpStream::connect_timeout(&address, PATIENCE) {
            stream = Some(connected);
            break;
        }
    }
    let Some(mut stream) = stream else {
        return Ok(None);
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET /v2/ HTTP/1.1\r\nHost: {host}:{}\r\nConnection: close\r\n\r\n",
        origin.port()
    );
    stream.write_all(request.as_bytes())?;
    let mut begin = [0; 12];
    let mut read = 0;
    while read < begin.len() {
        match stream.read(&mut begin[read..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => read += more,
        }
    }
    Ok(match &begin[..read] {
        // An alert: it expected a handshake.
        [0x15, 0x03, ..] => Some(Scheme::Https),
        // Servers that understand both know what was meant.
        b"HTTP/1.1 400" | b"HTTP/1.0 400" => Some(Scheme::Https),
        begin if begin.starts_with(b"HTTP/") => Some(Scheme::Http),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answering(answer: &'static [u8]) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).expect("a request");
            assert!(asked[..read].starts_with(b"GET /v2/ HTTP/1.1\r\n"));
            stream.write_all(answer).expect("it listens");
        });
        format!("https://{address}").parse().expect("an origin")
    }

    #[test]
    fn what_a_host_speaks() {
        let table: [(&[u8], Option<Scheme>); 6] = [
            (b"HTTP/1.1 200 OK\r\n\r\n", Some(Scheme::Http)),
            (b"HTTP/1.1 401 Unauthorized\r\n\r\n", Some(Scheme::Http)),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", Some(Scheme::Https)),
            (
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent",
                Some(Scheme::Https),
            ),
            (b"\x15\x03\x01\x00\x02\x02\x46", Some(Scheme::Https)),
            (b"", None),
        ];
        for (answer, expected) in table {
            let origin = answering(answer);
            assert_eq!(Probe::direct().scheme(&origin), expected, "{answer:?}");
        }
        // A proxy that is set is not passed by.
        let proxies = Proxies::new(None, Some("proxy.invalid"), "").expect("a good URL");
        let behind: Origin = "https://reg.invalid".parse().expect("an origin");
        assert_eq!(Probe::beside(proxies).scheme(&behind), None);
        let nobody: Origin = "https://127.0.0.1:1".parse().expect("an origin");
        assert_eq!(Probe::direct().scheme(&nobody), None);
    }
}
