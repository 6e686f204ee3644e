//! Tests of windlass against models, scripts and real registries.
//!
//! The library is the harness; the tests are in `tests/`. Its parts:
//!
//! - [`registry`]: a real registry as a child process, and what its access log says
//! - [`ggcr`]: the registry of go-containerregistry, which has the referrers API
//! - [`tokens`]: a token service that signs, checks and misbehaves on request
//! - [`hostile`]: a raw HTTP server that sends exactly what a test tells it to
//! - [`front`]: nginx and tinyproxy in front of a registry
//! - [`proxy`]: a slow, breaking or stalling link between a client and a server
//! - [`family`]: an index with referrers at every level
//! - [`images`]: layouts to push, and what must come out of a pull
//! - [`certs`]: a test CA
//! - [`drivers`]: the blocking and the async client behind one trait
//! - [`command`]: the `windlass` command, run as a child with a clean environment
//! - [`peers`]: other tools
//! - [`personas`]: options of the model for each kind of registry in the field
//! - [`world`]: a session against models, without sockets, threads or clocks
//! - [`tapes`]: tapes in memory, and committed ones
//! - [`fuzz`]: the functions behind the fuzz targets
//! - [`sim`]: simulated worlds with faults and oracles
//!
//! Tests that need an external program run only with `WINDLASS_REAL=1` (set by `tests/run`) and print
//! `skipped: …` otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "it panics into a test's output"
)]

#[cfg(feature = "sockets")]
pub mod certs;
#[cfg(feature = "sockets")]
pub mod command;
#[cfg(feature = "sockets")]
pub mod drivers;
pub mod family;
#[cfg(feature = "sockets")]
pub mod front;
pub mod fuzz;
#[cfg(feature = "sockets")]
pub mod ggcr;
#[cfg(feature = "sockets")]
pub mod hostile;
#[cfg(feature = "sockets")]
pub mod images;
#[cfg(feature = "sockets")]
pub mod peers;
pub mod personas;
#[cfg(feature = "sockets")]
pub mod proxy;
#[cfg(feature = "sockets")]
pub mod registry;
pub mod sim;
pub mod tapes;
#[cfg(feature = "sockets")]
pub mod tokens;
pub mod world;

use std::io::Write;
use std::path::{Path, PathBuf};

/// Says that the running test is skipped and why: on standard error, past the capture of the test
/// runner, and in the file that `WINDLASS_SKIPS` names, where `tests/run` counts.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("?"));
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(file) = std::env::var_os("WINDLASS_SKIPS") {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// Why tests with real programs cannot run here, if they cannot: they are not wanted, or one of
/// `programs` is missing.
pub fn missing(programs: &[&str]) -> Option<String> {
    if std::env::var_os("WINDLASS_REAL").is_none_or(|value| value != "1") {
        return Some("WINDLASS_REAL=1 is not set (tests/run sets it)".to_owned());
    }
    let absent: Vec<_> = programs
        .iter()
        .filter(|name| program(name).is_none())
        .collect();
    (!absent.is_empty()).then(|| format!("not installed: {absent:?}"))
}

/// Skips the test, with a word, unless real programs are wanted and these are here.
#[macro_export]
macro_rules! needs {
    ($($program:expr),* $(,)?) => {
        if let Some(why) = $crate::missing(&[$($program),*]) {
            $crate::skipped(&why);
            return;
        }
    };
}

/// Where a program is: in the folder that `WINDLASS_PEERS` names, or in `PATH`. `registry` (CNCF
/// distribution v3) and `token-server` are taken from the folder only, their names are too common.
pub fn program(name: &str) -> Option<PathBuf> {
    if let Some(peers) = std::env::var_os("WINDLASS_PEERS") {
        let path = Path::new(&peers).join(name);
        if path.is_file() {
            return Some(path);
        }
    }
    if matches!(name, "registry" | "token-server") {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    // Debian keeps servers in sbin, which is not in everybody's PATH.
    std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// An address on which no process listens or can start to: a connection holds its port.
#[derive(Debug)]
pub struct Nobody {
    stream: std::net::TcpStream,
    _listener: std::net::TcpListener,
}

impl Nobody {
    /// Another one.
    #[expect(
        clippy::new_without_default,
        reason = "it takes a port from the machine"
    )]
    pub fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self {
            stream,
            _listener: listener,
        }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.stream.local_addr().unwrap().to_string()
    }
}

/// A port that was free a moment ago, for programs that need a fixed one. Another process may have
/// taken it since; the caller has to check.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until `condition` holds; panics with `what` after 20 seconds, a guard against hanging and
/// not something a test measures.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed().as_secs() < 20, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The whole of `path`, recursively: every file below it.
pub fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(path) else {
        return found;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            Ok(_) => found.push(entry.path()),
            Err(_) => {}
        }
    }
    found.sort();
    found
}
