//! Blobs that are put while they are read.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use windlass_core::{Algorithm, Digest, Error, Failure, Reference};
use windlass_store::Store;

use crate::cancel::CancelHandle;
use crate::streamed::Streamed;

/// The content of a blob that comes from a reader, of whatever size, and is hashed while it is sent.
///
/// It goes out in chunks of [`Config::chunk_size`](windlass_core::Config::chunk_size) or of 16 MiB. One of them is in
/// memory, so that it can be sent again if the connection breaks. If that does not help, the request fails: the reader
/// is not read again. What fits into one chunk is sent like bytes. For a registry that takes no chunks, all of it goes
/// into a temporary file first.
///
/// It can be put once. A request that is cancelled returns although the reader is being read, and leaves a thread
/// behind, until the reader returns.
#[derive(Clone)]
pub struct BlobStream {
    /// Until a request takes it.
    reader: Arc<Mutex<Option<Box<dyn Read + Send>>>>,
    unread: Option<CancelHandle>,
}

impl BlobStream {
    /// What a reader gives.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        let reader: Box<dyn Read + Send> = Box::new(reader);
        Self {
            reader: Arc::new(Mutex::new(Some(reader))),
            unread: None,
        }
    }

    /// A handle that is cancelled when the request ends, for a reader that can be woken: then it should fail, and no
    /// thread stays behind.
    #[must_use]
    pub fn cancelling(mut self, unread: &CancelHandle) -> Self {
        self.unread = Some(unread.clone());
        self
    }

    /// A store that reads it, for a task that puts it into a repository. The hash is that of the reference's digest,
    /// if it has one.
    pub(crate) fn store(&self, repository: &Reference) -> Result<Arc<dyn Store>, Failure> {
        let algorithm = repository.digest().and_then(Digest::algorithm);
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = reader.take().ok_or_else(|| {
            let what = "a stream can be put once".into();
            Failure::new(vec![Error::Policy { what }])
        })?;
        let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
        let unread = self.unread.clone();
        Ok(Arc::new(Streamed::new(reader, algorithm, unread)))
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobStream")
    }
}
