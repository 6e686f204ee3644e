//! Requests from the connection.
//!
//! Responsible for: heads, bodies by `Content-Length` and chunked, and what is left of them when
//! the client goes away.
//! Must not know: what is done with them.
//!
//! The last byte of a head or of a body by `Content-Length` is looked at and left in the socket
//! until the connection goes on (`held`): closing a socket with unread bytes resets the connection,
//! which is the only way to a reset with the standard library.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method};

use crate::Request;

/// More than any client's head.
const MOST_HEAD: usize = 256 * 1024;
const MOST_FIELDS: usize = 128;
/// How much is allocated on the word of a `Content-Length`.
const MOST_ROOM: u64 = 16 * 1024 * 1024;
/// Bodies are kept in memory.
const MOST_BODY: u64 = 2 * 1024 * 1024 * 1024;

/// A connection, and whether a byte of it waits to be taken.
pub(super) struct Connection {
    pub(super) stream: Arc<TcpStream>,
    held: bool,
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// The head of a request, as far as the connection has to know it.
pub(super) struct Head {
    pub(super) request: Request,
    pub(super) framing: Framing,
    pub(super) expects_continue: bool,
    pub(super) last: bool,
}

/// What came of a body.
pub(super) enum Body {
    Whole(Vec<u8>),
    /// The client went away, or sent nonsense, after these bytes.
    Cut(Vec<u8>),
}

impl Connection {
    pub(super) fn new(stream: Arc<TcpStream>) -> Self {
        Self {
            stream,
            held: false,
        }
    }

    /// Takes the byte that was left in the socket.
    pub(super) fn release(&mut self) -> io::Result<()> {
        if self.held {
            self.held = false;
            (&*self.stream).read_exact(&mut [0])?;
        }
        Ok(())
    }

    /// The next head; `None` when the client is done. What is not HTTP is an error.
    pub(super) fn head(&mut self) -> io::Result<Option<Head>> {
        self.release()?;
        let mut head = Vec::new();
        let mut seen = [0; 4096];
        loop {
            let n = self.stream.peek(&mut seen)?;
            if n == 0 {
                return Ok(None);
            }
            if head.len() > MOST_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let before = head.len();
            head.extend_from_slice(&seen[..n]);
            if !head[0].is_ascii_alphabetic() {
                // A TLS handshake, most likely: it would wait for us as long as we for it.
                self.take(n)?;
                return Err(io::ErrorKind::InvalidData.into());
            }
            let from = before.saturating_sub(3);
            let Some(end) = head[from..].windows(4).position(|w| w == b"\r\n\r\n") else {
                self.take(n)?;
                continue;
            };
            head.truncate(from + end + 4);
            self.take(head.len() - before - 1)?;
            self.held = true;
            return parse(&head)
                .map(Some)
                .ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }

    /// The body, or its first `most` bytes.
    pub(super) fn body(&mut self, framing: Framing, most: Option<u64>) -> io::Result<Body> {
        self.release()?;
        match framing {
            Framing::Length(length) => Ok(self.by_length(length, most)),
            Framing::Chunked => Ok(self.chunked(most)),
        }
    }

    /// Reads a body and forgets it; `false` when it broke off.
    pub(super) fn discard(&mut self, framing: Framing) -> io::Result<bool> {
        self.release()?;
        match framing {
            Framing::Length(length) => {
                let mut body = (&*self.stream).take(length);
                Ok(io::copy(&mut body, &mut io::sink())? == length)
            }
            Framing::Chunked => Ok(matches!(self.chunked(None), Body::Whole(_))),
        }
    }

    /// Waits until the client goes away.
    pub(super) fn hold(&self) {
        let mut ignored = [0; 4096];
        while matches!((&*self.stream).read(&mut ignored), Ok(n) if n > 0) {}
    }

    fn by_length(&mut self, length: u64, most: Option<u64>) -> Body {
        let mut body = Vec::new();
        if let Some(most) = most.filter(|most| *most < length) {
            let _ = (&*self.stream).take(most).read_to_end(&mut body);
            return Body::Cut(body);
        }
        if length == 0 {
            return Body::Whole(body);
        }
        if length > MOST_BODY {
            return Body::Cut(body);
        }
        // A length is only a promise: beyond some room, more is made as bytes arrive.
        body.reserve_exact(usize::try_from(length.min(MOST_ROOM)).unwrap_or(0));
        let read = (&*self.stream).take(length - 1).read_to_end(&mut body);
        let mut last = [0];
        let whole = read.is_ok_and(|n| n as u64 == length - 1)
            && matches!(self.stream.peek(&mut last), Ok(1));
        if whole {
            self.held = true;
            body.push(last[0]);
            Body::Whole(body)
        } else {
            Body::Cut(body)
        }
    }

    fn chunked(&self, most: Option<u64>) -> Body {
        let mut body = Vec::new();
        loop {
            let Some(size) = self.chunk_size() else {
                return Body::Cut(body);
            };
            if size == 0 {
                // The trailer section: field lines up to an empty one.
                loop {
                    match self.line() {
                        Some(line) if line.is_empty() => return Body::Whole(body),
                        Some(_) => {}
                        None => return Body::Cut(body),
                    }
                }
            }
            let room = most.unwrap_or(MOST_BODY).saturating_sub(body.len() as u64);
            let wanted = size.min(room);
            let read = (&*self.stream).take(wanted).read_to_end(&mut body);
            let whole = wanted == size && read.is_ok_and(|n| n as u64 == size);
            if !whole || self.line().is_none_or(|line| !line.is_empty()) {
                return Body::Cut(body);
            }
        }
    }

    fn chunk_size(&self) -> Option<u64> {
        let line = self.line()?;
        let size = line.split(|&b| b == b';').next()?;
        u64::from_str_radix(core::str::from_utf8(size).ok()?.trim(), 16).ok()
    }

    /// One line without its end.
    fn line(&self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let mut seen = [0; 128];
        while line.len() < 8192 {
            let n = self.stream.peek(&mut seen).ok().filter(|n| *n > 0)?;
            let end = seen[..n].iter().position(|&b| b == b'\n');
            let taken = end.map_or(n, |end| end + 1);
            line.extend_from_slice(&seen[..taken]);
            self.take(taken).ok()?;
            if end.is_some() {
                line.pop();
                line.pop_if(|b| *b == b'\r');
                return Some(line);
            }
        }
        None
    }

    /// Takes bytes that were looked at before.
    fn take(&self, n: usize) -> io::Result<()> {
        let mut taken = [0; 4096];
        (&*self.stream).read_exact(&mut taken[..n.min(4096)])
    }
}

fn parse(head: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).ok()?;
    let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    let mut request = Request::new(method, "", parsed.path?);
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        request.headers.append(name, value);
    }
    request.host = request
        .field(http::header::HOST)
        .unwrap_or_default()
        .to_owned();
    let framing = if request.headers.contains_key(TRANSFER_ENCODING) {
        Framing::Chunked
    } else {
        match request.field(CONTENT_LENGTH) {
            Some(length) => Framing::Length(length.parse().ok()?),
            None => Framing::Length(0),
        }
    };
    let says = |name: &str, what: &str| {
        request
            .field(name)
            .is_some_and(|value| value.to_ascii_lowercase().contains(what))
    };
    let expects_continue = says("expect", "100-continue");
    let last = says("connection", "close") || parsed.version == Some(0);
    Some(Head {
        request,
        framing,
        expects_continue,
        last,
    })
}
