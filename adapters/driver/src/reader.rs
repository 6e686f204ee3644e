//! A blob that is read while it arrives.
//!
//! ```text
//!  session ─▶ Pipe (a store) ─▶ at most 1 MiB ─▶ BlobReader ─▶ the caller
//!             waits while it is full              hashes; its end is an error
//!                                                 unless the digest matches
//! ```
//!
//! Responsible for bytes in order, each once, also if the session receives some of them again; for a bound on
//! memory; and for an end that is only reached with the right digest. Must not know how a driver runs the
//! task that fills the pipe.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use windlass_core::error::Measure;
use windlass_core::{
    Descriptor, Digest, Error, ErrorKind, Failure, Fetched, Hashing, StoreError, StoreErrorKind,
};
use windlass_store::{Begun, Partial, Store};

use crate::cancel::CancelHandle;

/// The bytes that wait for the reader. More would hide no more latency: TCP has its own window.
const ROOM: usize = 1 << 20;
/// Up to here chunks are gathered, while the reader does not take them.
const GATHERED: usize = 64 * 1024;
/// A reader that takes nothing for this time while bytes wait is not read for now. One that is slow takes some.
const UNREAD: Duration = Duration::from_millis(200);

/// A blob that is fetched into memory bit by bit, as a store for one task.
#[derive(Debug)]
struct Pipe(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    blob: Descriptor,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Vec<u8>>,
    /// The bytes in `chunks`.
    waiting: usize,
    /// How many bytes of the blob, from its first, were put into `chunks` so far.
    passed: u64,
    /// The reader is gone.
    is_closed: bool,
    /// How the task ended.
    end: Option<Result<(), Failure>>,
    reader: Option<Waker>,
    /// Is told when the reader is not read.
    listener: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("waiting", &self.waiting)
            .field("passed", &self.passed)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single step, so a panic elsewhere left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes whatever waits for that.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let reader = state.reader.take();
        drop(state);
        self.changed.notify_all();
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }

    /// Hands bytes over, once there is room for them.
    fn push(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.lock();
        let mut is_told = false;
        loop {
            if state.is_closed || state.end.is_some() {
                return Err(unsupported("the reader of the blob is gone"));
            }
            if state.waiting == 0 || state.waiting + bytes.len() <= ROOM {
                break;
            }
            if is_told {
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.changed.wait_timeout(state, UNREAD);
            let (waited, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if timeout.timed_out() {
                is_told = true;
                let listener = state.listener.clone();
                // It locks the client, which must not wait for a reader.
                drop(state);
                listener.inspect(|listener| listener());
                state = self.lock();
            }
        }
        drop(state);
        self.change(|state| {
            state.waiting += bytes.len();
            state.passed += bytes.len() as u64;
            match state.chunks.back_mut() {
                // A server may send a byte at a time, and each chunk has its overhead.
                Some(last) if last.len() + bytes.len() <= GATHERED => last.extend_from_slice(bytes),
                Some(_) | None => state.chunks.push_back(bytes.to_vec()),
            }
        });
        Ok(())
    }
}

fn unsupported(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, what)
}

impl Store for Pipe {
    fn title(&self) -> String {
        "the reader".into()
    }

    fn begin(&self, _: &Digest, _: u64) -> Result<Begun, StoreError> {
        let shared = Arc::clone(&self.0);
        Ok(Begun::Ours(Box::new(Stream {
            shared,
            position: 0,
        })))
    }

    fn contains(&self, _: &Digest, _: u64) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn open(&self, _: &Digest, _: u64) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        Ok(None)
    }

    fn put(&self, _: &Digest, _: &[u8]) -> Result<(), StoreError> {
        Err(unsupported("a reader takes one blob"))
    }

    fn remove(&self, _: &Digest) -> Result<(), StoreError> {
        Err(unsupported("a reader keeps nothing"))
    }

    fn find(&self, _: Option<&str>) -> Result<Descriptor, StoreError> {
        Err(unsupported("a reader has no names"))
    }

    fn tag(&self, _: Option<&str>, _: &Descriptor) -> Result<(), StoreError> {
        Err(unsupported("a reader has no names"))
    }
}

/// The blob on its way. What was passed on cannot be taken back: bytes that come again are dropped, and the
/// reader's hash over those that it got decides.
#[derive(Debug)]
struct Stream {
    shared: Arc<Shared>,
    position: u64,
}

impl Partial for Stream {
    fn len(&self) -> u64 {
        self.position
    }

    fn read(&mut self, _: u64) -> Result<Box<dyn Read + '_>, StoreError> {
        Err(unsupported("the reader has the bytes already"))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let passed = self.shared.lock().passed;
        let again = usize::try_from(passed.saturating_sub(self.position));
        let fresh = bytes.get(again.unwrap_or(usize::MAX)..).unwrap_or_default();
        if !fresh.is_empty() {
            self.shared.push(fresh)?;
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        if len < self.position && self.shared.lock().passed >= self.shared.blob.size {
            // Fetching it again would not help: the reader has all bytes, and they are wrong.
            let what = "all bytes of the blob were read already";
            return Err(StoreError::new(StoreErrorKind::Damaged, what));
        }
        self.position = self.position.min(len);
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Reads a blob while it is fetched: verified, and resumed where a connection breaks.
///
/// The bytes come in order. They are not verified until the end: **the last read fails if the digest or the
/// size does not match**, so what was made of them must not count before the reader returned `Ok(0)`, or
/// `None` as a stream. Each further read fails with the same error. The [`Failure`] is the source of the
/// [`io::Error`].
///
/// It holds about a MiB, and, until it is read or dropped, a connection to the registry and a thread. It also is one of
/// the requests that a client makes to the registry at once (`Config::in_flight`), but not while it is not read: after
/// 0.2 s another request takes its place. That is so for 256 readers of a client at once; **a program that keeps more
/// than those and `in_flight` others without reading them waits for ever** for its next request. A registry that closes
/// a connection which is not read for long is asked for the rest when reading goes on. Dropping it cancels the request.
#[derive(Debug)]
pub struct BlobReader {
    shared: Arc<Shared>,
    cancel: CancelHandle,
    /// The hash over what was taken out; `None` for an algorithm that is not known.
    hashing: Option<Hashing>,
    /// The rest of a chunk for [`Read`], and how much of it was read.
    chunk: (Vec<u8>, usize),
    failure: Option<Failure>,
}

impl BlobReader {
    /// A reader, the store to fetch the blob into, and what is to be told how that ended. `cancel` is cancelled
    /// if the reader is dropped.
    pub fn new(blob: &Descriptor, cancel: &CancelHandle) -> (Self, Arc<dyn Store>, ReaderEnd) {
        let shared = Arc::new(Shared {
            blob: blob.clone(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let reader = Self {
            shared: Arc::clone(&shared),
            cancel: cancel.clone(),
            hashing: blob.digest.algorithm().map(Hashing::new),
            chunk: (Vec::new(), 0),
            failure: None,
        };
        let store = Arc::new(Pipe(Arc::clone(&shared)));
        (reader, store, ReaderEnd(shared))
    }

    /// The blob that is read.
    pub fn blob(&self) -> &Descriptor {
        &self.shared.blob
    }

    /// What is compressed in the blob, a layer: see [`Decompressed`](crate::Decompressed).
    #[cfg(feature = "decompress")]
    pub fn decompressed(self, diff_id: Option<&Digest>) -> crate::Decompressed<Self> {
        crate::Decompressed::new(self, diff_id)
    }

    /// The next bytes, once there are some; `None` at the end, if they were the blob's.
    ///
    /// # Errors
    ///
    /// The failure of the request, or a mismatch.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if let Some(next) = self.try_take(&mut state) {
                drop(state);
                shared.changed.notify_all();
                return self.checked(next);
            }
            let waited = shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same for futures.
    pub fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Vec<u8>>, Failure>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let Some(next) = self.try_take(&mut state) else {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        drop(state);
        shared.changed.notify_all();
        Poll::Ready(self.checked(next))
    }

    fn try_take(&self, state: &mut State) -> Option<Result<Option<Vec<u8>>, Failure>> {
        if let Some(failure) = &self.failure {
            return Some(Err(failure.clone()));
        }
        if let Some(chunk) = state.chunks.pop_front() {
            state.waiting -= chunk.len();
            return Some(Ok(Some(chunk)));
        }
        let end = state.end.clone()?;
        Some(end.map(|()| None))
    }

    /// Hashes what was taken, and compares at the end.
    fn checked(
        &mut self,
        next: Result<Option<Vec<u8>>, Failure>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if let (Ok(Some(chunk)), Some(hashing)) = (&next, &mut self.hashing) {
            hashing.update(chunk);
            return next;
        }
        let next = match (next, self.mismatch()) {
            // It explains why the task failed, or why it should have.
            (Ok(None) | Err(_), Some(mismatch)) => Err(mismatch),
            (next, _) => next,
        };
        if let Err(failure) = &next {
            self.failure = Some(failure.clone());
        }
        next
    }

    /// What is wrong with the bytes, if all of them were read.
    fn mismatch(&self) -> Option<Failure> {
        let Descriptor { digest, size, .. } = &self.shared.blob;
        let is_whole = self.shared.lock().passed >= *size;
        let hashing = self.hashing.clone().filter(|_| is_whole)?;
        let (len, found) = (hashing.len(), hashing.digest());
        if len == *size && found == *digest {
            return None;
        }
        Some(Failure::new(vec![Error::mismatch(
            format!("blob {digest}"),
            Measure::of(digest, *size),
            Measure::of(&found, len),
        )]))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.chunk.1 == self.chunk.0.len() {
            match self.next_chunk().map_err(io_error)? {
                Some(chunk) => self.chunk = (chunk, 0),
                None => return Ok(0),
            }
        }
        let (chunk, read) = &mut self.chunk;
        let rest = &chunk[*read..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        *read += len;
        Ok(len)
    }
}

impl Drop for BlobReader {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.is_closed = true;
            state.chunks.clear();
        });
        self.cancel.cancel();
    }
}

/// Says when a [`BlobReader`] is not read, although bytes wait for that.
#[derive(Clone, Debug)]
pub struct Unread(Arc<Shared>);

impl Unread {
    /// For drivers: calls `listener` each time the reader takes nothing for a while, until the guard is dropped. There is
    /// one listener at a time.
    pub fn on_unread(&self, listener: impl Fn() + Send + Sync + 'static) -> UnreadGuard {
        self.0.lock().listener = Some(Arc::new(listener));
        UnreadGuard(Arc::clone(&self.0))
    }
}

/// Ends [`Unread::on_unread`] when it is dropped.
#[derive(Debug)]
#[must_use = "the listener is not called once this is dropped"]
pub struct UnreadGuard(Arc<Shared>);

impl Drop for UnreadGuard {
    fn drop(&mut self) {
        self.0.lock().listener = None;
    }
}

/// Tells a [`BlobReader`] how its task ended. A reader whose end is dropped untold fails.
#[derive(Debug)]
#[must_use = "the reader waits for it"]
pub struct ReaderEnd(Arc<Shared>);

impl ReaderEnd {
    /// What tells when the reader is not read.
    pub fn unread(&self) -> Unread {
        Unread(Arc::clone(&self.0))
    }

    /// The task is over.
    pub fn finish(self, result: Result<Fetched, Failure>) {
        self.end(result.map(drop));
    }

    fn end(&self, result: Result<(), Failure>) {
        self.0.change(|state| {
            state.end.get_or_insert(result);
        });
    }
}

impl Drop for ReaderEnd {
    fn drop(&mut self) {
        let what = "the request that a reader reads was dropped".into();
        self.end(Err(Failure::new(vec![Error::Driver { what }])));
    }
}

/// An error of a reader: the failure is its source.
pub fn io_error(failure: Failure) -> io::Error {
    let kind = match failure.kind() {
        ErrorKind::Mismatch => io::ErrorKind::InvalidData,
        ErrorKind::Auth => io::ErrorKind::PermissionDenied,
        ErrorKind::NotFound => io::ErrorKind::NotFound,
        ErrorKind::Temporary => io::ErrorKind::ConnectionAborted,
        ErrorKind::Refused | ErrorKind::Cancelled | ErrorKind::Internal | _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, failure)
}

#[cfg(test)]
mod tests;
