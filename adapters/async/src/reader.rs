//! A blob that is read while it arrives, in async code.
//!
//! Responsible for the traits of tokio and futures over the driver's reader. Must not know how bytes arrive.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_core::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use windlass_core::{BlobRange, Descriptor, Failure};
use windlass_driver::{Driver as _, RangePieces, Watch, io_error};

use crate::client::{Running, Tokio};

/// Reads a blob while it is fetched: verified, and resumed where a connection breaks. An [`AsyncRead`], and a
/// [`Stream`] of its bytes.
///
/// The bytes come in order. They are not verified until the end: **the last read fails if the digest or the
/// size does not match**, so what was made of them must not count before the reader returned no bytes, or the
/// stream `None`. Each further read fails with the same error. The [`Failure`] is the source of the
/// [`io::Error`].
///
/// It holds about a MiB, and, until it is read or dropped, a connection to the registry and a blocking thread of the
/// runtime. It also is one of the requests that a client makes to the registry at once (`Config::in_flight`), but not
/// while it is not read: after 0.2 s another request takes its place. That is so for 256 readers of a client at once;
/// **a program that keeps more than those and `in_flight` others without reading them waits for ever** for its next
/// request. A registry that closes a connection which is not read for long is asked for the rest when reading goes on.
/// Dropping it cancels the request, which runs on the runtime on which the reader was made.
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

/// Reads some bytes of a blob. They are **not verified**. What a request fails with is the source of the error; the next
/// read tries again.
pub struct UnverifiedReader<'a> {
    tokio: &'a Tokio,
    pieces: RangePieces,
    /// The request for the next piece.
    running: Option<Running<'a, BlobRange>>,
}

impl<'a> UnverifiedReader<'a> {
    pub(crate) const fn new(tokio: &'a Tokio, pieces: RangePieces) -> Self {
        Self {
            tokio,
            pieces,
            running: None,
        }
    }
}

impl AsyncRead for UnverifiedReader<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let (None, Some(spec)) = (&this.running, this.pieces.wanted()) {
            this.running = Some(this.tokio.run(spec, Watch::default()));
        }
        if let Some(running) = &mut this.running {
            let piece = ready!(running.as_mut().poll(cx));
            this.running = None;
            this.pieces.got(piece.map_err(io_error)?);
        }
        let taken = this.pieces.take(buffer.initialize_unfilled());
        buffer.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for UnverifiedReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedReader")
            .field("pieces", &self.pieces)
            .finish_non_exhaustive()
    }
}
