//! A raw HTTP server that sends exactly what a test tells it to: wrong lengths, endless bodies,
//! stalls, resets. It keeps every request, byte for byte, so that tests can count attempts and search
//! for misplaced credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::certs::{Ca, Leaf};
use crate::images::{self, Blob, Image, Layout};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// Its method.
    pub method: String,
    /// Its target, byte for byte.
    pub target: String,
    /// Its header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The head, byte for byte.
    pub head: Vec<u8>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header field, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// The value of a parameter of the query, still percent-encoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The user and password of a Basic authorization.
    pub fn basic(&self) -> Option<(String, String)> {
        use base64::Engine as _;
        let coded = self.header("authorization")?.strip_prefix("Basic ")?;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(coded)
            .ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    /// The interval of a `Range: bytes=a-b` or `bytes=a-`.
    pub fn range(&self) -> Option<(u64, Option<u64>)> {
        let (first, last) = self
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()))
    }
}

/// What comes after the bytes of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    /// The next request.
    Continue,
    /// The end of the connection.
    Close,
    /// Nothing, until the client goes away.
    Stall,
}

/// An answer: a head, a body, and what comes after them.
#[derive(Clone, Debug)]
pub struct Reply {
    status: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    length: Length,
    /// How often the body is repeated.
    repeat: u64,
    then: Then,
    raw: Option<Vec<u8>>,
    delay: Duration,
}

/// How the length of an answer is announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Length {
    True,
    Claimed(u64),
    Chunked,
    /// Ends with the connection.
    None,
}

impl Reply {
    /// An answer with this status and no body.
    pub fn new(status: u16) -> Self {
        Self {
            status: format!("{status} Whatever"),
            headers: Vec::new(),
            body: Vec::new(),
            length: Length::True,
            repeat: 1,
            then: Then::Continue,
            raw: None,
            delay: Duration::ZERO,
        }
    }

    /// Exactly these bytes, then the body if it has one, then the end of the connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::new(200).then_close();
        reply.raw = Some(bytes.into());
        reply
    }

    /// Nothing at all, and the connection stays.
    pub fn silence() -> Self {
        let mut reply = Self::raw([]);
        reply.then = Then::Stall;
        reply
    }

    /// An error as registries write it.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
        Self::new(status)
            .header("Content-Type", "application/json")
            .body(body)
    }

    /// A header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Repeats the body, for bodies too large to hold in memory.
    #[must_use]
    pub const fn repeated(mut self, times: u64) -> Self {
        self.repeat = times;
        self
    }

    /// Announces this many bytes, whatever is sent; the connection ends after the body.
    #[must_use]
    pub const fn claiming(mut self, length: u64) -> Self {
        self.length = Length::Claimed(length);
        self.then = Then::Close;
        self
    }

    /// Sends the body in the chunked coding.
    #[must_use]
    pub const fn chunked(mut self) -> Self {
        self.length = Length::Chunked;
        self
    }

    /// Announces no length: the body ends with the connection.
    #[must_use]
    pub const fn without_length(mut self) -> Self {
        self.length = Length::None;
        self.then = Then::Close;
        self
    }

    /// Ends the connection afterwards.
    #[must_use]
    pub const fn then_close(mut self) -> Self {
        self.then = Then::Close;
        self
    }

    /// Says nothing afterwards and keeps the connection.
    #[must_use]
    pub const fn then_stall(mut self) -> Self {
        self.then = Then::Stall;
        self
    }

    /// Waits before the first byte.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// What a test tells the server to say.
type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// What a test tells the server to say before it reads a request's body, if anything.
type Early = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// The server. Ends when dropped.
pub struct Hostile {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hostile")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

struct Shared {
    handler: Box<Handler>,
    early: Option<Box<Early>>,
    tls: Option<Arc<rustls::ServerConfig>>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    body_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    stop: AtomicBool,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Hostile {
    /// A server over plain http that answers what `handler` says.
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, Box::new(handler), None)
    }

    /// A server over plain http that may answer before it has read a request's body: `early` is
    /// asked first for requests that announce one, and `handler` for all that it leaves.
    pub fn start_impatient(
        early: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(None, Box::new(handler), Some(Box::new(early)))
    }

    /// A server over TLS with a certificate of `ca` for 127.0.0.1.
    pub fn start_tls(ca: &Ca, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with_certificate(ca.leaf(), handler)
    }

    /// A server over TLS with this certificate.
    pub fn start_with_certificate(
        leaf: Leaf,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.cert_der.into()],
                rustls::pki_types::PrivateKeyDer::try_from(leaf.key_der).unwrap(),
            )
            .unwrap();
        Self::start_with(Some(Arc::new(config)), Box::new(handler), None)
    }

    fn start_with(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: Box<Handler>,
        early: Option<Box<Early>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler,
            early,
            tls,
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            body_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let for_thread = shared.clone();
        std::thread::spawn(move || accept(&listener, &for_thread));
        Self { address, shared }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:port` or `https://…`
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// A reference to a repository and tag here.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many requests had this method and a path that ends so.
    pub fn count(&self, method: &str, path_end: &str) -> usize {
        let requests = self.shared.requests.lock().unwrap();
        requests
            .iter()
            .filter(|r| r.method == method && r.path().ends_with(path_end))
            .count()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies were sent to clients.
    pub fn sent(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies came from clients.
    pub fn received(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::SeqCst)
    }

    /// Asserts that none of these secrets is in any byte of any request, raw, base64 or
    /// percent-encoded (the oracle of design §8, on the wire).
    #[track_caller]
    pub fn never_heard(&self, secrets: &[&str]) {
        use base64::Engine as _;
        for request in self.requests() {
            assert!(
                request.header("authorization").is_none(),
                "an authorization came to {}: {}",
                self.address,
                String::from_utf8_lossy(&request.head),
            );
            let basic = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
            for secret in secrets {
                for form in [(*secret).to_owned(), basic(secret), percent(secret)] {
                    let found = [&request.head, &request.body].into_iter().any(|bytes| {
                        bytes
                            .windows(form.len())
                            .any(|part| part == form.as_bytes())
                    });
                    assert!(!found, "{secret:?} came to {}", self.address);
                }
            }
        }
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = shared.clone();
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            let _ = connection(&shared, stream, number);
        });
    }
}

fn connection(shared: &Shared, tcp: TcpStream, number: usize) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    // Long enough for anything a test does, short enough that threads end.
    tcp.set_read_timeout(Some(Duration::from_secs(120)))?;
    let socket = tcp.try_clone()?;
    let mut stream: Box<dyn Stream> = match &shared.tls {
        None => Box::new(tcp),
        Some(config) => {
            let tls = rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            Box::new(rustls::StreamOwned::new(tls, tcp))
        }
    };
    let mut buffer = Vec::new();
    while let Some(mut request) = read_head(&mut *stream, &mut buffer)? {
        request.connection = number;
        let at = {
            let mut requests = shared.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let length = request
            .header("content-length")
            .and_then(|v| v.parse::<usize>().ok());
        let mut reply = None;
        if let Some(length) = length.filter(|length| *length > 0) {
            reply = shared.early.as_ref().and_then(|early| early(&request));
            if reply.is_none() {
                if request.header("expect").is_some() {
                    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                read_body(shared, &mut *stream, &mut buffer, length, &mut request)?;
                shared.requests.lock().unwrap()[at]
                    .body
                    .clone_from(&request.body);
            }
        }
        let reply = reply.unwrap_or_else(|| (shared.handler)(&request));
        match answer(shared, &mut *stream, &request, &reply)? {
            Then::Continue => {}
            Then::Close => {
                let _ = stream.flush();
                let _ = socket.shutdown(Shutdown::Write);
                // Read what still comes for a moment, else the kernel resets the connection and
                // the client never sees the answer.
                socket.set_read_timeout(Some(Duration::from_millis(300)))?;
                let mut rest = [0; 16 << 10];
                for _ in 0..64 {
                    if matches!(stream.read(&mut rest), Ok(0) | Err(_)) {
                        break;
                    }
                }
                return Ok(());
            }
            Then::Stall => {
                while !shared.stop.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
            }
        }
    }
    Ok(())
}

fn read_head(stream: &mut dyn Stream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            return Ok(Some(parse_head(head)));
        }
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk)?;
        if n == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&chunk[..n]);
    }
}

fn parse_head(head: Vec<u8>) -> Request {
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Request {
        method,
        target,
        headers,
        head,
        ..Request::default()
    }
}

fn read_body(
    shared: &Shared,
    stream: &mut dyn Stream,
    buffer: &mut Vec<u8>,
    length: usize,
    request: &mut Request,
) -> io::Result<()> {
    request.body = buffer.drain(..buffer.len().min(length)).collect();
    let mut chunk = [0; 64 << 10];
    while request.body.len() < length {
        let want = chunk.len().min(length - request.body.len());
        let n = stream.read(&mut chunk[..want])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.body.extend_from_slice(&chunk[..n]);
    }
    shared.body_bytes.fetch_add(length as u64, Ordering::SeqCst);
    Ok(())
}

fn answer(
    shared: &Shared,
    stream: &mut dyn Stream,
    request: &Request,
    reply: &Reply,
) -> io::Result<Then> {
    std::thread::sleep(reply.delay);
    if let Some(raw) = &reply.raw {
        stream.write_all(raw)?;
        for _ in 0..reply.repeat {
            stream.write_all(&reply.body)?;
            let len = reply.body.len() as u64;
            shared.sent_bytes.fetch_add(len, Ordering::SeqCst);
        }
        return Ok(reply.then);
    }
    let mut head = format!("HTTP/1.1 {}\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let total = reply.body.len() as u64 * reply.repeat;
    match reply.length {
        Length::True if reply.status.starts_with("204") => {}
        Length::True => head += &format!("Content-Length: {total}\r\n"),
        Length::Claimed(length) => head += &format!("Content-Length: {length}\r\n"),
        Length::Chunked => head += "Transfer-Encoding: chunked\r\n",
        Length::None => head += "Connection: close\r\n",
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if request.method != "HEAD" {
        for _ in 0..reply.repeat {
            if shared.stop.load(Ordering::SeqCst) {
                return Ok(Then::Close);
            }
            if reply.body.is_empty() {
                break;
            }
            if reply.length == Length::Chunked {
                stream.write_all(format!("{:x}\r\n", reply.body.len()).as_bytes())?;
            }
            stream.write_all(&reply.body)?;
            if reply.length == Length::Chunked {
                stream.write_all(b"\r\n")?;
            }
            shared
                .sent_bytes
                .fetch_add(reply.body.len() as u64, Ordering::SeqCst);
        }
        if reply.length == Length::Chunked && reply.then == Then::Continue {
            stream.write_all(b"0\r\n\r\n")?;
        }
    }
    stream.flush()?;
    Ok(reply.then)
}

/// A small registry that behaves: tests let it answer whatever they do not want to break.
#[derive(Debug, Default)]
pub struct Good {
    content: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    tags: Mutex<BTreeMap<String, String>>,
    sessions: AtomicUsize,
}

impl Good {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry that serves an image under any repository and the tag `latest`.
    pub fn serving(layout: &Layout, image: &Image) -> Self {
        let good = Self::new();
        good.add_all(layout, image.all());
        good.tag("latest", &image.manifest);
        good
    }

    /// Adds blobs of a layout.
    pub fn add_all<'a>(&self, layout: &Layout, blobs: impl Iterator<Item = &'a Blob>) {
        let mut content = self.content.lock().unwrap();
        for blob in blobs {
            let entry = (blob.media_type.clone(), layout.read(&blob.digest));
            content.insert(blob.digest.clone(), entry);
        }
    }

    /// Points a tag at content.
    pub fn tag(&self, tag: &str, blob: &Blob) {
        self.tags
            .lock()
            .unwrap()
            .insert(tag.to_owned(), blob.digest.clone());
    }

    /// Whether content with this digest was committed here.
    pub fn has(&self, digest: &str) -> bool {
        self.content.lock().unwrap().contains_key(digest)
    }

    /// What a tag points at.
    pub fn tagged(&self, tag: &str) -> Option<String> {
        self.tags.lock().unwrap().get(tag).cloned()
    }

    /// The answer of a registry that behaves.
    pub fn answer(&self, request: &Request) -> Reply {
        let path = request.path().to_owned();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        match request.method.as_str() {
            "GET" | "HEAD" if path.contains("/manifests/") => self.manifest(&name),
            "GET" | "HEAD" if path.contains("/blobs/sha256:") => self.blob(request, &name),
            "PUT" if path.contains("/manifests/") => {
                let digest = images::digest(&request.body);
                let kind = request
                    .header("content-type")
                    .unwrap_or_default()
                    .to_owned();
                self.content
                    .lock()
                    .unwrap()
                    .insert(digest.clone(), (kind, request.body.clone()));
                if !name.contains(':') {
                    self.tags.lock().unwrap().insert(name, digest.clone());
                }
                Reply::new(201)
                    .header("Location", &path)
                    .header("Docker-Content-Digest", digest)
            }
            "POST" => {
                let number = self.sessions.fetch_add(1, Ordering::SeqCst);
                Reply::new(202).header("Location", format!("{path}{number}?state=s{number}"))
            }
            "PUT" => {
                let want = request
                    .query("digest")
                    .unwrap_or_default()
                    .replace("%3A", ":");
                let digest = images::digest(&request.body);
                if want != digest {
                    return Reply::error(400, "DIGEST_INVALID", "the digest is another one");
                }
                let entry = ("application/octet-stream".to_owned(), request.body.clone());
                self.content.lock().unwrap().insert(digest.clone(), entry);
                Reply::new(201).header("Location", format!("/v2/x/blobs/{digest}"))
            }
            "DELETE" => Reply::new(204),
            _ if path == "/v2/" => Reply::new(200).body("{}"),
            _ => Reply::error(404, "UNSUPPORTED", "nothing here"),
        }
    }

    fn manifest(&self, name: &str) -> Reply {
        let digest = self.tagged(name).unwrap_or_else(|| name.to_owned());
        let content = self.content.lock().unwrap();
        let Some((kind, bytes)) = content.get(&digest) else {
            return Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        };
        Reply::new(200)
            .header("Content-Type", kind)
            .header("Docker-Content-Digest", &digest)
            .body(bytes.clone())
    }

    fn blob(&self, request: &Request, digest: &str) -> Reply {
        let content = self.content.lock().unwrap();
        let Some((_, bytes)) = content.get(digest) else {
            return Reply::error(404, "BLOB_UNKNOWN", "blob unknown");
        };
        let reply = Reply::new(200).header("Content-Type", "application/octet-stream");
        let Some((first, last)) = request.range().filter(|_| request.method == "GET") else {
            return reply.body(bytes.clone());
        };
        let size = bytes.len() as u64;
        if first >= size {
            return Reply::new(416).header("Content-Range", format!("bytes */{size}"));
        }
        let last = last.unwrap_or(size - 1).min(size - 1);
        let range = format!("bytes {first}-{last}/{size}");
        Reply::new(206)
            .header("Content-Type", "application/octet-stream")
            .header("Content-Range", range)
            .body(&bytes[first as usize..=last as usize])
    }
}
