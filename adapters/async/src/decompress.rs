//! What is compressed in a layer, in async code.
//!
//! Responsible for the decoders of async code. Must not know what is compared at the end, which is the
//! driver's.

use std::fmt;
use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader, Chain, ReadBuf};
use windlass_core::Digest;
use windlass_driver::{Compression, DiffId};

type Whole<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// Reads what is compressed in a layer: gzip, zstd, or plain, whatever its media type says.
///
/// **The last read fails** if the layer is not what its digest says, if the decompressed bytes are not what the
/// `diff_id` says, or if the compressed data is damaged. Without a `diff_id` what comes out is not compared with
/// anything, but the layer itself still is: all of it is read, also what is behind the compressed data. The size of what
/// comes out is not bounded: a small layer can become a large tar.
pub struct Decompressed<R> {
    state: State<R>,
    diff_id: DiffId,
}

enum State<R> {
    /// The first bytes are being read.
    First(Option<R>, Vec<u8>),
    Plain(Whole<R>),
    Gzip(Box<GzipDecoder<Whole<R>>>),
    Zstd(Box<ZstdDecoder<Whole<R>>>),
}

impl<R: AsyncRead + Unpin> Decompressed<R> {
    /// Reads what is compressed in `source`. With a `diff_id`, its end is an error if the digest of what came out is
    /// another one.
    pub fn new(source: R, diff_id: Option<&Digest>) -> Self {
        Self {
            state: State::First(Some(source), Vec::new()),
            diff_id: DiffId::new(diff_id),
        }
    }
}

impl<R: AsyncRead + Unpin> State<R> {
    /// Reads the first bytes, and chooses the decoder.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::First(source, first) = self else {
            return Poll::Ready(Ok(()));
        };
        while first.len() < Compression::MAGIC {
            let Some(reader) = source else {
                let error = io::Error::other("the first bytes could not be read");
                return Poll::Ready(Err(error));
            };
            let mut bytes = [0; Compression::MAGIC];
            let mut buffer = ReadBuf::new(&mut bytes[first.len()..]);
            ready!(Pin::new(reader).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            first.extend_from_slice(buffer.filled());
        }
        let compression = Compression::of(first);
        let first = Cursor::new(std::mem::take(first));
        let Some(source) = source.take() else {
            return Poll::Ready(Err(io::Error::other("the source is gone")));
        };
        let whole = BufReader::new(first.chain(source));
        *self = match compression {
            Compression::Gzip => {
                let mut decoder = GzipDecoder::new(whole);
                decoder.multiple_members(true);
                Self::Gzip(decoder.into())
            }
            Compression::Zstd => {
                let mut decoder = ZstdDecoder::new(whole);
                decoder.multiple_members(true);
                Self::Zstd(decoder.into())
            }
            Compression::None | _ => Self::Plain(whole),
        };
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::First(..) => Poll::Ready(Err(io::Error::other("it is not open"))),
            Self::Plain(source) => Pin::new(source).poll_read(cx, buffer),
            Self::Gzip(decoder) => Pin::new(&mut **decoder).poll_read(cx, buffer),
            Self::Zstd(decoder) => Pin::new(&mut **decoder).poll_read(cx, buffer),
        }
    }

    /// Reads what is behind the compressed data: the source's own end is what verifies it.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rest = match self {
            Self::First(..) => return Poll::Ready(Ok(())),
            Self::Plain(source) => Pin::new(source),
            Self::Gzip(decoder) => Pin::new(decoder.get_mut()),
            Self::Zstd(decoder) => Pin::new(decoder.get_mut()),
        };
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(rest.as_mut().poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Decompressed<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(self.state.poll_open(cx))?;
        ready!(self.state.poll_read(cx, buffer))?;
        if buffer.filled().len() == before {
            ready!(self.state.poll_drain(cx))?;
            return Poll::Ready(self.diff_id.check());
        }
        self.diff_id.update(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<R> fmt::Debug for Decompressed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressed")
            .field("diff_id", &self.diff_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use windlass_core::{Algorithm, ErrorKind, Failure};

    use super::*;

    const TEXT: &[u8] = b"what is compressed in a layer";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).expect("in memory")
    }

    #[tokio::test]
    async fn each_compression_is_recognised() {
        let (first, second) = TEXT.split_at(10);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
        for (name, bytes) in [
            ("plain", TEXT.to_vec()),
            ("gzip", gzip(TEXT)),
            ("members", [gzip(first), gzip(second)].concat()),
            ("zstd", zstd(TEXT)),
            (
                "frames",
                [zstd(first), zstd(second), skippable.clone()].concat(),
            ),
            ("skippable first", [skippable, zstd(TEXT)].concat()),
        ] {
            let right = Digest::of(Algorithm::Sha256, TEXT);
            let wrong = Digest::of(Algorithm::Sha256, b"another one");
            for (diff_id, is_right) in [(None, true), (Some(&right), true), (Some(&wrong), false)] {
                // A byte at a time, as a slow connection may bring them.
                let slow = BufReader::with_capacity(1, &*bytes);
                let mut reader = Decompressed::new(slow, diff_id);
                let mut out = Vec::new();
                let end = reader.read_to_end(&mut out).await;
                assert_eq!(out, TEXT, "{name}");
                assert_eq!(end.is_ok(), is_right, "{name} {end:?}");
                if let Err(error) = end {
                    let source = error.get_ref().and_then(|it| it.downcast_ref::<Failure>());
                    assert_eq!(source.map(Failure::kind), Some(ErrorKind::Mismatch));
                }
            }
        }
    }

    #[tokio::test]
    async fn data_that_is_cut_is_an_error() {
        for bytes in [gzip(TEXT), zstd(TEXT)] {
            let mut reader = Decompressed::new(&bytes[..bytes.len() - 3], None);
            let end = reader.read_to_end(&mut Vec::new()).await;
            end.expect_err("it is cut");
        }
    }
}
