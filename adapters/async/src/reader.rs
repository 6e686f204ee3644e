//! A blob that is read while it arrives, in async code.
//!
//! Responsible for the traits of tokio and futures over the driver's reader. Must not know how bytes arrive.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_core::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use windlass_core::{Descriptor, Failure};
use windlass_driver::io_error;

/// Reads a blob while it is fetched: verified, and resumed where a connection breaks. An [`AsyncRead`], and a
/// [`Stream`] of its bytes.
///
/// The bytes come in order. They are not verified until the end: **the last read fails if the digest or the
/// size does not match**, so what was made of them must not count before the reader returned no bytes, or the
/// stream `None`. Each further read fails with the same error. The [`Failure`] is the source of the
/// [`io::Error`].
///
/// It holds about a MiB, and, until it is read or dropped, a connection to the registry and one of the requests that
/// a client makes to it at once (`Config::in_flight`): **a program that keeps more readers than that without reading
/// them waits for ever** for its next request to the registry. A registry that closes a connection which is not
/// read for long is asked for the rest when reading goes on. Dropping it cancels the request, which runs on the
/// runtime on which the reader was made.
#[derive(Debug)]
pub struct BlobReader {
    reader: windlass_driver::BlobReader,
    /// The rest of a chunk.
    chunk: Bytes,
}

impl BlobReader {
    pub(crate) const fn new(reader: windlass_driver::BlobReader) -> Self {
        Self {
            reader,
            chunk: Bytes::new(),
        }
    }

    /// The blob that is read.
    pub fn blob(&self) -> &Descriptor {
        self.reader.blob()
    }

    /// What is compressed in the blob, a layer: see [`Decompressed`](crate::Decompressed).
    #[cfg(feature = "decompress")]
    pub fn decompressed(
        self,
        diff_id: Option<&windlass_core::Digest>,
    ) -> crate::Decompressed<Self> {
        crate::Decompressed::new(self, diff_id)
    }
}

impl AsyncRead for BlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.chunk.is_empty() {
            let next = ready!(self.reader.poll_chunk(cx)).map_err(io_error)?;
            self.chunk = next.unwrap_or_default().into();
        }
        let len = self.chunk.len().min(buffer.remaining());
        buffer.put_slice(&self.chunk[..len]);
        self.chunk.advance(len);
        Poll::Ready(Ok(()))
    }
}

/// What was taken by `poll_read` does not come again.
impl Stream for BlobReader {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.chunk))));
        }
        let next = ready!(self.reader.poll_chunk(cx));
        Poll::Ready(next.transpose().map(|next| next.map(Into::into)))
    }
}
