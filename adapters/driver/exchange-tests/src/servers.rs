//! Servers made of raw sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use windlass_driver::TlsRoots;

/// An answer with a body.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// An answer without a body.
pub const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
/// A chunked body to its last chunk, after which trailers come.
pub const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
/// An interim answer.
pub const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Another one.
pub const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n";

/// A stream of bytes both ways.
pub trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Runs `serve` once per connection, counting from 0, and returns the URL.
pub fn server(serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let serve = serve.clone();
            thread::spawn(move || serve(count, stream.unwrap()));
        }
    });
    base
}

/// Reads a request's head; an empty one if the client is gone.
pub fn head(stream: &mut (impl Read + ?Sized)) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A server that answers with [`OK`] and hands over the heads of requests.
pub fn listening() -> (String, Receiver<String>) {
    let (sender, receiver) = channel();
    let base = server(move |_, mut stream| answer(&mut stream, &sender));
    (base, receiver)
}

fn answer(stream: &mut dyn ReadWrite, sender: &Sender<String>) {
    loop {
        let head = head(stream);
        if head.is_empty() {
            return;
        }
        sender.send(head).unwrap();
        stream.write_all(OK).unwrap();
    }
}

/// A server that does this after the head of a request, and closes the connection.
pub fn after_head(serve: impl Fn(&mut TcpStream) + Clone + Send + 'static) -> String {
    server(move |_, mut stream| {
        head(&mut stream);
        serve(&mut stream);
    })
}

/// A server that does this after the head of a request, and then hangs.
pub fn hanging(serve: impl Fn(&mut TcpStream) + Clone + Send + 'static) -> String {
    after_head(move |stream| {
        serve(stream);
        thread::sleep(Duration::from_secs(30));
    })
}

/// A server that says this, and then the same again and again. Sends how often, once the client is gone.
pub fn endless(
    begin: &'static [u8],
    again: &'static [u8],
    pause: Duration,
) -> (String, Receiver<u64>) {
    let (sender, counts) = channel();
    let base = after_head(move |stream| {
        stream.write_all(begin).unwrap();
        let mut count = 0;
        while stream.write_all(again).is_ok() {
            count += 1;
            thread::sleep(pause);
        }
        // The test may be over.
        let _ = sender.send(count);
    });
    (base, counts)
}

/// A URL where nothing listens, as long as the sockets are kept.
pub fn unreachable() -> (TcpListener, TcpStream, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let base = format!("http://{}", stream.local_addr().unwrap());
    (listener, stream, base)
}

/// The configuration of a TLS server, and the roots of a client that trusts it.
pub fn identity(name: &str) -> (Arc<rustls::ServerConfig>, TlsRoots) {
    let identity = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key.unwrap())
        .unwrap();
    let roots = TlsRoots::only(vec![identity.cert.der().to_vec()]);
    (Arc::new(config), roots)
}

/// A TLS server, which runs `serve` once per connection.
pub fn tls_server(
    config: Arc<rustls::ServerConfig>,
    serve: impl Fn(&mut dyn ReadWrite) + Clone + Send + 'static,
) -> String {
    let base = server(move |_, stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        serve(&mut rustls::StreamOwned::new(connection, stream));
    });
    base.replace("http://127.0.0.1", "https://localhost")
}

/// A TLS server that answers with [`OK`] and hands over the heads of requests.
pub fn tls_listening(config: Arc<rustls::ServerConfig>) -> (String, Receiver<String>) {
    let (sender, receiver) = channel();
    let base = tls_server(config, move |stream| answer(stream, &sender));
    (base, receiver)
}

/// A proxy that tunnels https and answers everything else itself with [`OK`]; it hands over what it was asked. Its
/// URL has the credentials `user:p@ss`.
pub fn proxy() -> (String, Receiver<String>) {
    let (sender, receiver) = channel();
    let url = server(move |_, mut stream| {
        loop {
            let asked = head(&mut stream);
            if asked.is_empty() {
                return;
            }
            let (method, rest) = asked.split_once(' ').unwrap();
            let target = rest.split(' ').next().unwrap().to_owned();
            let tunnels = method == "CONNECT";
            sender.send(asked.clone()).unwrap();
            if !tunnels {
                stream.write_all(OK).unwrap();
                continue;
            }
            let mut there = TcpStream::connect(target).unwrap();
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let (mut back, mut from) = (stream.try_clone().unwrap(), there.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut back));
            drop(std::io::copy(&mut stream, &mut there));
            return;
        }
    });
    (url.replace("http://", "http://user:p%40ss@"), receiver)
}
