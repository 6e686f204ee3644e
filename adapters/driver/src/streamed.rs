//! A blob that is put while it is read, as a store of one task.
//!
//! ```text
//!  reader ─▶ gather ─▶ one chunk in memory, hashed ─▶ the session's requests, which may read it again
//!                  └─▶ a temporary file, if all of it has to be gathered first
//! ```
//!
//! Responsible for a bound on memory, and for bytes that stay the same until they are not needed any more. Must
//! not know what is sent of them.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::{Algorithm, Descriptor, Digest, Hashing, StoreError, StoreErrorKind};
use windlass_store::{Begun, Gathered, InUse, Store, error_kind};

use crate::cancel::CancelHandle;

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// A reader, as a store that has one blob, or so much of it as was gathered.
#[derive(Debug)]
pub(crate) struct Streamed {
    state: Arc<Mutex<State>>,
    /// What is told when nothing reads it any more.
    unread: Option<CancelHandle>,
}

struct State {
    reader: Box<dyn Read + Send>,
    /// Over all that was read.
    hashing: Hashing,
    kept: Kept,
    has_ended: bool,
    /// Why nothing more can be read.
    failure: Option<StoreError>,
}

/// The bytes that can be read again.
enum Kept {
    /// From the byte `from` of the stream on.
    Memory { from: u64, bytes: VecDeque<u8> },
    /// All of them.
    File(Arc<File>),
}

impl Streamed {
    pub(crate) fn new(
        reader: Box<dyn Read + Send>,
        algorithm: Algorithm,
        unread: Option<CancelHandle>,
    ) -> Self {
        Self {
            unread,
            state: Arc::new(Mutex::new(State {
                reader,
                hashing: Hashing::new(algorithm),
                kept: Kept::Memory {
                    from: 0,
                    bytes: VecDeque::new(),
                },
                has_ended: false,
                failure: None,
            })),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A reader that has panicked is not read again: see `State::read`.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn gather(&mut self, from: u64, upto: Option<u64>) -> Result<Gathered, StoreError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let gathered = self.drop_before(from).and_then(|()| match upto {
            Some(upto) => self.gather_upto(upto),
            None => self.gather_all(),
        });
        if let Err(error) = &gathered {
            self.failure = Some(error.clone());
        }
        gathered?;
        let digest = self.hashing.clone().digest();
        let mut gathered = Gathered::new(digest, self.hashing.len());
        gathered.is_whole = self.has_ended;
        Ok(gathered)
    }

    fn drop_before(&mut self, from: u64) -> Result<(), StoreError> {
        let Kept::Memory { from: kept, bytes } = &mut self.kept else {
            return Ok(());
        };
        let dropped = from.checked_sub(*kept).ok_or_else(gone)?;
        let dropped = usize::try_from(dropped).ok();
        let dropped = dropped.filter(|dropped| *dropped <= bytes.len());
        bytes.drain(..dropped.ok_or_else(gone)?);
        *kept = from;
        Ok(())
    }

    fn gather_upto(&mut self, upto: u64) -> Result<(), StoreError> {
        let mut piece = vec![0; PIECE];
        while let Some(left @ 1..) = upto.checked_sub(self.hashing.len()) {
            let room = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            let read = self.read(&mut piece[..room])?;
            if read == 0 {
                break;
            }
            match &mut self.kept {
                Kept::Memory { bytes, .. } => append(bytes, &piece[..read], left),
                Kept::File(file) => write(file, &piece[..read])?,
            }
        }
        Ok(())
    }

    /// Reads to the end, into a file: its size is not known before.
    fn gather_all(&mut self) -> Result<(), StoreError> {
        if let Kept::Memory { from: 0, bytes } = &mut self.kept {
            let created = tempfile::tempfile();
            let file = created.map_err(|error| failed("create a temporary file", &error))?;
            let (first, second) = bytes.as_slices();
            write(&file, first)?;
            write(&file, second)?;
            self.kept = Kept::File(Arc::new(file));
        } else if let Kept::Memory { .. } = self.kept {
            return Err(gone());
        }
        self.gather_upto(u64::MAX)
    }

    /// Reads some bytes; none at the end, once.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StoreError> {
        if self.has_ended {
            return Ok(0);
        }
        // For the case that it panics.
        self.failure = Some(StoreError::new(
            StoreErrorKind::Io,
            "the reader of a stream has panicked",
        ));
        let read = loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.failure = None;
        let read = read.map_err(|error| failed("read the stream", &error))?;
        self.hashing.update(&buffer[..read]);
        self.has_ended = read == 0;
        Ok(read)
    }

    /// Reads bytes that were gathered, from this byte of the stream on.
    fn read_again(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.kept {
            Kept::File(file) => file.read_at(buffer, position),
            Kept::Memory { from, bytes } => {
                let skipped = position.checked_sub(*from).ok_or_else(gone);
                let skipped = skipped.map_err(io::Error::other)?;
                let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
                let (first, second) = bytes.as_slices();
                let rest = match first.get(skipped..) {
                    Some(rest @ [_, ..]) => rest,
                    Some([]) | None => second
                        .get(skipped.saturating_sub(first.len())..)
                        .unwrap_or_default(),
                };
                let len = rest.len().min(buffer.len());
                buffer[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
        }
    }
}

/// Adds bytes to those in memory, of which there will be at most `left` more.
fn append(bytes: &mut VecDeque<u8>, more: &[u8], left: u64) {
    if bytes.capacity() - bytes.len() < more.len() {
        // Twice as much as usual, but not more than a chunk needs.
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        bytes.reserve_exact(left.min(bytes.len().max(PIECE)).max(more.len()));
    }
    bytes.extend(more);
}

fn write(mut file: &File, bytes: &[u8]) -> Result<(), StoreError> {
    let written = file.write_all(bytes);
    written.map_err(|error| failed("write a stream to a temporary file", &error))
}

fn failed(what: &str, error: &io::Error) -> StoreError {
    StoreError::new(error_kind(error), format!("cannot {what}: {error}"))
}

fn gone() -> StoreError {
    unsupported("a stream cannot be read again from a byte that was sent")
}

fn unsupported(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, what)
}

impl Store for Streamed {
    fn title(&self) -> String {
        "the stream".into()
    }

    fn begin(&self, _: &Digest, _: u64) -> Result<Begun, StoreError> {
        Err(unsupported("nothing is written to a stream that is read"))
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let state = lock(&self.state);
        let hashing = state.hashing.clone();
        Ok(state.has_ended && hashing.len() == size && hashing.digest() == *digest)
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let state = lock(&self.state);
        if state.hashing.clone().digest() != *digest {
            return Ok(None);
        }
        if matches!(&state.kept, Kept::Memory { from, .. } if offset < *from) {
            return Err(gone());
        }
        Ok(Some(Box::new(Again {
            state: Arc::clone(&self.state),
            position: offset,
        })))
    }

    fn gather(&self, from: u64, upto: Option<u64>) -> Result<Gathered, StoreError> {
        lock(&self.state).gather(from, upto)
    }

    /// The use ends with the request, also if a job of it still reads.
    fn in_use(&self) -> Result<Option<InUse>, StoreError> {
        let unread = self.unread.clone();
        Ok(unread.map(|unread| InUse::new(ReaderGuard(unread))))
    }

    fn put(&self, _: &Digest, _: &[u8]) -> Result<(), StoreError> {
        Err(unsupported("a stream has one blob"))
    }

    fn remove(&self, _: &Digest) -> Result<(), StoreError> {
        Err(unsupported("nothing is removed from a stream"))
    }

    fn find(&self, _: Option<&str>) -> Result<Descriptor, StoreError> {
        Err(unsupported("a stream has no names"))
    }

    fn tag(&self, _: Option<&str>, _: &Descriptor) -> Result<(), StoreError> {
        Err(unsupported("a stream has no names"))
    }
}

/// Tells at its end that nothing reads the stream any more.
#[derive(Debug)]
struct ReaderGuard(CancelHandle);

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Reads what was gathered.
struct Again {
    state: Arc<Mutex<State>>,
    position: u64,
}

impl Read for Again {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = lock(&self.state).read_again(self.position, buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = match &self.kept {
            Kept::Memory { from, bytes } => format!("{} bytes from {from}", bytes.len()),
            Kept::File(_) => "a file".into(),
        };
        f.debug_struct("State")
            .field("hashing", &self.hashing)
            .field("kept", &kept)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
