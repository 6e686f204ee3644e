//! What is compressed in a layer, verified against its `diff_id`.
//!
//! ```text
//!  reader ─▶ first bytes: gzip, zstd, or neither ─▶ decoder ─▶ hash ─▶ the caller
//! ```
//!
//! Responsible for recognising the compression by the first bytes (media types are often wrong about it), and
//! for reading what is behind the compressed data, too, so that the reader below can verify all of it. Must not
//! know where the bytes come from.

use std::fmt;
use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;
use windlass_core::{Digest, Error, Failure, Hashing};
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::compression::Compression;
use crate::reader::io_error;

/// The hash over what was decompressed, which is compared at the end.
#[derive(Clone, Debug)]
pub struct DiffId(Option<(Digest, Hashing)>);

impl DiffId {
    /// The digest that the decompressed bytes are to have. `None`, or one of an algorithm that is not known, is not
    /// compared.
    pub fn new(diff_id: Option<&Digest>) -> Self {
        let known = diff_id.and_then(|digest| Some((digest.clone(), digest.algorithm()?)));
        Self(known.map(|(digest, algorithm)| (digest, Hashing::new(algorithm))))
    }

    /// Takes decompressed bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some((_, hashing)) = &mut self.0 {
            hashing.update(bytes);
        }
    }

    /// Compares, at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`], as the source of an [`io::Error`].
    pub fn check(&self) -> io::Result<()> {
        let Some((expected, hashing)) = &self.0 else {
            return Ok(());
        };
        let found = hashing.clone().digest();
        if found == *expected {
            return Ok(());
        }
        let what = "a decompressed layer (its diff_id)";
        let error = Error::mismatch(what, expected, &found);
        Err(io_error(Failure::new(vec![error])))
    }
}

type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// Reads what is compressed in a layer: gzip, zstd, or plain, whatever its media type says.
///
/// **The last read fails** if the layer is not what its digest says, if the decompressed bytes are not what the
/// `diff_id` says, or if the compressed data is damaged. Without a `diff_id` what comes out is not compared with
/// anything, but the layer itself still is: all of it is read, also what is behind the compressed data. The size of what
/// comes out is not bounded: a small layer can become a large tar.
pub struct Decompressed<R: Read> {
    decoder: Option<Decoder<R>>,
    /// Until the first bytes are read.
    source: Option<R>,
    diff_id: DiffId,
}

enum Decoder<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
    Zstd(Box<ZstdDecoder<'static, BufReader<Whole<R>>>>),
}

impl<R: Read> Decoder<R> {
    fn new(mut source: R) -> io::Result<Self> {
        let mut first = Vec::with_capacity(Compression::MAGIC);
        source
            .by_ref()
            .take(Compression::MAGIC as u64)
            .read_to_end(&mut first)?;
        let compression = Compression::of(&first);
        let whole = Cursor::new(first).chain(source);
        Ok(match compression {
            Compression::None => Self::Plain(whole),
            Compression::Gzip => Self::Gzip(MultiGzDecoder::new(whole).into()),
            Compression::Zstd => Self::Zstd(ZstdDecoder::new(whole)?.into()),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }

    /// Reads what is behind the compressed data: the source's own end is what verifies it.
    fn drain(&mut self) -> io::Result<()> {
        let rest: &mut dyn Read = match self {
            Self::Plain(source) => source,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        };
        io::copy(rest, &mut io::sink()).map(drop)
    }
}

impl<R: Read> Decompressed<R> {
    /// Reads what is compressed in `source`. With a `diff_id`, its end is an error if the digest of what came out is
    /// another one.
    pub fn new(source: R, diff_id: Option<&Digest>) -> Self {
        Self {
            decoder: None,
            source: Some(source),
            diff_id: DiffId::new(diff_id),
        }
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Some(source) = self.source.take() {
            self.decoder = Some(Decoder::new(source)?);
        }
        let Some(decoder) = &mut self.decoder else {
            return Err(io::Error::other("the first bytes could not be read"));
        };
        let read = decoder.read(buffer)?;
        if read == 0 {
            decoder.drain()?;
            self.diff_id.check()?;
        }
        self.diff_id.update(&buffer[..read]);
        Ok(read)
    }
}

impl<R: Read> fmt::Debug for Decompressed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressed")
            .field("diff_id", &self.diff_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;
    use windlass_core::{Algorithm, ErrorKind};

    use super::*;

    const TEXT: &[u8] = b"what is compressed in a layer";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).expect("in memory")
    }

    /// MT-03: several members and frames, and skippable ones, which zstd:chunked appends.
    #[test]
    fn each_compression_is_recognised() {
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
                let mut reader = Decompressed::new(&*bytes, diff_id);
                let mut out = Vec::new();
                let end = reader.read_to_end(&mut out);
                assert_eq!(out, TEXT, "{name}");
                assert_eq!(end.is_ok(), is_right, "{name} {end:?}");
                if let Err(error) = end {
                    let source = error.get_ref().and_then(|it| it.downcast_ref::<Failure>());
                    assert_eq!(source.map(Failure::kind), Some(ErrorKind::Mismatch));
                    assert!(reader.read(&mut [0; 8]).is_err(), "it stays an error");
                }
            }
        }
    }

    #[test]
    fn damaged_data_and_the_sources_own_end_are_errors() {
        for bytes in [gzip(TEXT), zstd(TEXT)] {
            let cut = &bytes[..bytes.len() - 3];
            Decompressed::new(cut, None)
                .read_to_end(&mut Vec::new())
                .expect_err("it is cut");
            // All data is there, and the reader below says at its end that it is not what it should be.
            let source = bytes.chain(Fails);
            let mut out = Vec::new();
            let error = Decompressed::new(source, None)
                .read_to_end(&mut out)
                .expect_err("its source fails at its end");
            assert_eq!(error.to_string(), "not what its digest says");
        }
        assert_eq!(
            Decompressed::new(&b""[..], None)
                .read(&mut [0])
                .expect("empty"),
            0
        );
    }

    struct Fails;

    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("not what its digest says"))
        }
    }
}
