//! A loopback HTTP/1.1 server around a [`Model`].
//!
//! Responsible for: ports, threads, the server's time, and ending all of it promptly.
//! Must not know: what requests mean (the model does), or how answers are spoiled (see
//! [`Interceptor`]).
//!
//! ```text
//!   port ──┐                      before?    ┌──────── model ────────┐   deliver
//!   port ──┴▶ connection ─▶ head ───┬──────▶ early? ─▶ body ─▶ answer ──────┬────▶ wire
//!             (a thread)            └───────────────────────────────────────┘
//! ```

mod connection;
mod delivery;
mod read;
mod write;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::{Entry, Model};

pub use delivery::{Delivery, Interceptor, Plain};

/// A running server. Dropping it closes every connection and waits for every thread.
#[must_use = "dropping the server stops it"]
pub struct Server {
    shared: Arc<Shared>,
    addr: SocketAddr,
    ports: Mutex<Vec<(SocketAddr, JoinHandle<()>)>>,
}

impl Server {
    /// Serves `model` on a free loopback port.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start(model: Model) -> io::Result<Self> {
        Self::start_with(model, Arc::new(Plain))
    }

    /// Serves `model` on a free loopback port; `interceptor` may spoil what is delivered.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start_with(model: Model, interceptor: Arc<dyn Interceptor>) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(model, interceptor));
        let (addr, thread) = listen(&shared)?;
        Ok(Self {
            shared,
            addr,
            ports: Mutex::new(vec![(addr, thread)]),
        })
    }

    /// Opens one more port to the same model, which can tell it apart by the `Host` header.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn listen_also(&self) -> io::Result<SocketAddr> {
        let (addr, thread) = listen(&self.shared)?;
        lock(&self.ports).push((addr, thread));
        Ok(addr)
    }

    /// The address of the first port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The authority of the first port, as it stands in a reference: `127.0.0.1:4711`.
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// Looks at the model, or changes it, between two requests.
    pub fn with_model<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        look(&mut lock(&self.shared.model))
    }

    /// Every request so far: [`Model::log`].
    pub fn requests(&self) -> Vec<Entry> {
        self.with_model(|model| model.log().to_vec())
    }

    /// Lets the model's time jump ahead, so that tokens, sessions and signatures grow old.
    pub fn advance(&self, by: Duration) {
        let mut jumped = lock(&self.shared.jumped);
        *jumped = jumped.saturating_add(by);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.now();
        // Ends every read and write in progress. No connection registers after `stop`.
        for connection in lock(&self.shared.connections).open.values() {
            if let Some(stream) = connection.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        let ports = core::mem::take(&mut *lock(&self.ports));
        for (addr, thread) in ports {
            // A listener only looks up when somebody connects.
            let _ = TcpStream::connect_timeout(&addr, Duration::from_secs(1));
            let _ = thread.join();
        }
        let threads = core::mem::take(&mut lock(&self.shared.connections).threads);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// What the threads share.
struct Shared {
    model: Mutex<Model>,
    interceptor: Arc<dyn Interceptor>,
    requests: AtomicUsize,
    connections: Mutex<Connections>,
    stop: Stop,
    started: Instant,
    since_epoch: Duration,
    jumped: Mutex<Duration>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: BTreeMap<u64, Weak<TcpStream>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    fn new(model: Model, interceptor: Arc<dyn Interceptor>) -> Self {
        Self {
            model: Mutex::new(model),
            interceptor,
            requests: AtomicUsize::new(0),
            connections: Mutex::default(),
            stop: Stop::default(),
            started: Instant::now(),
            since_epoch: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            jumped: Mutex::default(),
        }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// The time of day, as it was at the start, plus what has passed: it never goes back.
    fn now(&self) -> Duration {
        self.since_epoch + self.started.elapsed() + *lock(&self.jumped)
    }

    /// Starts a thread for a connection, unless the server is stopping.
    fn admit(self: &Arc<Self>, stream: TcpStream) {
        let mut connections = lock(&self.connections);
        if self.stop.is_set() {
            return;
        }
        connections.threads.retain(|thread| !thread.is_finished());
        let id = connections.next;
        connections.next += 1;
        let stream = Arc::new(stream);
        connections.open.insert(id, Arc::downgrade(&stream));
        let shared = Arc::clone(self);
        connections.threads.push(std::thread::spawn(move || {
            connection::serve(&shared, stream);
            lock(&shared.connections).open.remove(&id);
        }));
    }
}

/// Tells the threads to end, and wakes those that wait for time to pass.
#[derive(Default)]
struct Stop {
    set: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Stop {
    fn now(&self) {
        let _guard = lock(&self.lock);
        self.set.store(true, Ordering::SeqCst);
        self.wake.notify_all();
    }

    fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits; `false` when the server is stopping.
    fn sleep(&self, time: Duration) -> bool {
        let guard = lock(&self.lock);
        let _ = self
            .wake
            .wait_timeout_while(guard, time, |()| !self.is_set());
        !self.is_set()
    }
}

fn listen(shared: &Arc<Shared>) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    let shared = Arc::clone(shared);
    let thread = std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.stop.is_set() {
                return;
            }
            match stream {
                Ok(stream) => shared.admit(stream),
                // Out of descriptors, most likely: do not spin.
                Err(_) => {
                    shared.stop.sleep(Duration::from_millis(10));
                }
            }
        }
    });
    Ok((addr, thread))
}

/// A panic in one connection must not hide the model from the test that looks for the reason.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
