//! Blobs that are put while they are read, from async code.
//!
//! ```text
//!  AsyncRead, or a stream of Bytes ─▶ a task of the runtime ─▶ one piece ─▶ a store's job, which blocks
//! ```
//!
//! Responsible for an end that is only seen where there was one, and for reading no further than what is taken.
//! Must not know what becomes of the bytes.

use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_core::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use windlass_driver::{BlobStream, CancelHandle};

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// A [`BlobStream`] that reads an [`AsyncRead`]. It is read by a task of the runtime that this is called on, as far
/// as the request needs it; without a runtime the request fails.
pub fn stream_of_reader(reader: impl AsyncRead + Send + 'static) -> BlobStream {
    piped(|pieces| async move {
        let mut reader = pin!(reader);
        loop {
            let piece = read_piece(reader.as_mut()).await?;
            if piece.is_empty() {
                return Ok(());
            }
            pieces.give(piece).await?;
        }
    })
}

/// The same with a [`Stream`] of bytes.
pub fn stream_of_bytes<E>(
    stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> BlobStream
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    piped(|pieces| async move {
        let mut stream = pin!(stream);
        while let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            let piece = piece.map_err(io::Error::other)?;
            if !piece.is_empty() {
                pieces.give(piece).await?;
            }
        }
        Ok(())
    })
}

async fn read_piece(mut reader: Pin<&mut impl AsyncRead>) -> io::Result<Bytes> {
    let mut piece = BytesMut::zeroed(PIECE);
    let mut buffer = ReadBuf::new(&mut piece);
    poll_fn(|cx| reader.as_mut().poll_read(cx, &mut buffer)).await?;
    let len = buffer.filled().len();
    piece.truncate(len);
    Ok(piece.freeze())
}

/// A stream of the pieces that a future gives, until it returns.
fn piped<F>(read: impl FnOnce(Pieces) -> F) -> BlobStream
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(1);
    let reading = read(Pieces(sender.clone()));
    let (unread, stopped) = (CancelHandle::new(), Arc::new(Notify::new()));
    let stop = Arc::clone(&stopped);
    let listening = unread.on_cancel(move || stop.notify_one());
    let reading = async move {
        let _listening = listening;
        let end = tokio::select! {
            // The request has ended, or was never made.
            () = stopped.notified() => return,
            () = sender.closed() => return,
            end = reading => end,
        };
        // Without this the reader sees no end, but an error.
        let _unread = sender.send(end.map(|()| Bytes::new())).await;
    };
    // Without a runtime it is dropped, and with it the sender.
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn(reading));
    }
    BlobStream::new(Piped {
        pieces,
        rest: Bytes::new(),
        has_ended: false,
    })
    .cancelling(&unread)
}

/// Where pieces go.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Pieces {
    /// Gives a piece that is not empty, once the one before was taken.
    async fn give(&self, piece: Bytes) -> io::Result<()> {
        let given = self.0.send(Ok(piece)).await;
        given.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Reads the pieces. An empty one is the end.
struct Piped {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
    has_ended: bool,
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && !self.has_ended {
            let next = self.pieces.blocking_recv();
            self.rest = next.unwrap_or_else(|| {
                let what = "the runtime that read the stream is gone";
                Err(io::Error::other(what))
            })?;
            self.has_ended = self.rest.is_empty();
        }
        let len = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).build().expect("a runtime")
    }

    fn piped_from(pieces: Vec<io::Result<Bytes>>) -> Piped {
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece).expect("there is room");
        }
        Piped {
            pieces: receiver,
            rest: Bytes::new(),
            has_ended: false,
        }
    }

    #[test]
    fn only_an_end_is_an_end() {
        let pieces = |pieces: &[&'static str]| {
            let pieces = pieces
                .iter()
                .map(|it| Ok(Bytes::from_static(it.as_bytes())));
            piped_from(pieces.collect())
        };
        let mut read = String::new();
        let end = pieces(&["ab", "c", ""]).read_to_string(&mut read);
        assert_eq!((end.expect("it ends"), &*read), (3, "abc"));
        let error = pieces(&["ab", "c"]).read_to_string(&mut String::new());
        let error = error.expect_err("it breaks off");
        assert_eq!(
            error.to_string(),
            "the runtime that read the stream is gone"
        );
        let mut fails = piped_from(vec![Ok("ab".into()), Err(io::Error::other("planned"))]);
        let error = fails.read_to_end(&mut Vec::new()).expect_err("it fails");
        assert_eq!(error.to_string(), "planned");
    }

    /// It would read for ever otherwise.
    #[test]
    fn a_stream_that_nothing_reads_is_dropped() {
        struct Endless(#[expect(dead_code, reason = "it is dropped")] Arc<()>);
        impl AsyncRead for Endless {
            fn poll_read(
                self: Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                buffer.put_slice(b"x");
                std::task::Poll::Ready(Ok(()))
            }
        }
        let alive = Arc::new(());
        let runtime = runtime();
        let entered = runtime.enter();
        let stream = stream_of_reader(Endless(Arc::clone(&alive)));
        drop(stream);
        drop(entered);
        for _ in 0..1000 {
            if Arc::strong_count(&alive) == 1 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("it is still read");
    }
}
