//! The registry of go-containerregistry as a child process: in memory, with the referrers API.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running registry. Killed when dropped.
#[derive(Debug)]
pub struct GgcrRegistry {
    port: u16,
    child: Child,
}

impl GgcrRegistry {
    /// Starts one and waits until it listens.
    pub fn start() -> Self {
        let program = crate::program("ggcr-registry").expect("the test asked for it");
        // Another process may take the port between the check and its use: then retry.
        for _ in 0..10 {
            let port = crate::free_port();
            let address = format!("127.0.0.1:{port}");
            let child = Command::new(&program)
                .arg(&address)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut registry = Self { port, child };
            if registry.listens() {
                return registry;
            }
        }
        panic!("{} does not start", program.display());
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts manifests into a repository, under these names, over one connection: they are many.
    pub fn put_manifests<'a>(
        &self,
        repository: &str,
        media_type: &str,
        manifests: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        for (name, bytes) in manifests {
            let head = format!(
                "PUT /v2/{repository}/manifests/{name} HTTP/1.1\r\nHost: {}\r\n\
                 Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
                self.host(),
                bytes.len(),
            );
            stream
                .write_all(&[head.as_bytes(), bytes].concat())
                .unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.extend(byte);
            }
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 201 "), "{name}: {answer}");
            assert!(answer.contains("\r\nContent-Length: 0\r\n"), "{answer}");
        }
    }

    fn listens(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if crate::registry::listens_itself(&self.child, self.port) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for GgcrRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
