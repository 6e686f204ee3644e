//! Layers that are compressed while they are read, so that an image is built without a file.
//!
//! ```text
//!  tar ─▶ hash: the diff_id ─▶ gzip, zstd, or neither ─▶ put_stream, which hashes what comes out
//! ```
//!
//! Responsible for both digests of a layer. Must not know what is in a layer, nor where it goes.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::read::GzEncoder;
use windlass_core::{Algorithm, BlobPut, Descriptor, Digest, Hashing};
use zstd::stream::read::Encoder as ZstdEncoder;

use crate::compression::Compression;
use crate::request::BlobStream;

/// A layer that is made of a tar. [`stream`](Self::stream) is what is put; when it was put, the layer has a
/// [`descriptor`](Self::descriptor) for a manifest and a [`diff_id`](Self::diff_id) for a configuration.
///
/// The tar is compressed on the thread that reads the stream. Of gzip the header has no time and no name, so that the
/// same tar becomes the same layer, with the same version of the library that compresses it.
#[derive(Clone, Debug)]
pub struct LayerStream {
    compression: Compression,
    stream: BlobStream,
    tar: Arc<Mutex<Tar>>,
}

/// What was read of a tar.
#[derive(Debug)]
struct Tar {
    hashing: Hashing,
    has_ended: bool,
}

impl LayerStream {
    /// A layer of this uncompressed tar. [`Compression::None`] leaves it as it is.
    ///
    /// # Errors
    ///
    /// If the compression cannot begin, for lack of memory.
    pub fn new(tar: impl Read + Send + 'static, compression: Compression) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Tar {
            hashing: Hashing::new(Algorithm::Sha256),
            has_ended: false,
        }));
        let tar = Hashed {
            tar,
            shared: Arc::clone(&shared),
        };
        Ok(Self {
            compression,
            stream: match compression {
                Compression::None => BlobStream::new(tar),
                Compression::Gzip => {
                    BlobStream::new(GzEncoder::new(tar, flate2::Compression::default()))
                }
                Compression::Zstd => BlobStream::new(ZstdEncoder::new(tar, LEVEL)?),
            },
            tar: shared,
        })
    }

    /// What is put, once.
    pub fn stream(&self) -> BlobStream {
        self.stream.clone()
    }

    /// The digest of the tar, once it was read to its end.
    pub fn diff_id(&self) -> Option<Digest> {
        let tar = lock(&self.tar);
        tar.has_ended.then(|| tar.hashing.clone().digest())
    }

    /// The layer in a manifest, by what became of its stream.
    pub fn descriptor(&self, put: &BlobPut) -> Descriptor {
        Descriptor::new(self.compression.layer_type(), put.digest.clone(), put.size)
    }
}

/// Zstandard's own default.
const LEVEL: i32 = 3;

/// Hashes a tar while it is read.
struct Hashed<R> {
    tar: R,
    shared: Arc<Mutex<Tar>>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.tar.read(buffer)?;
        let mut shared = lock(&self.shared);
        shared.hashing.update(&buffer[..read]);
        shared.has_ended |= read == 0 && !buffer.is_empty();
        drop(shared);
        Ok(read)
    }
}

fn lock(tar: &Mutex<Tar>) -> MutexGuard<'_, Tar> {
    // Each change is a single step.
    tar.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R> fmt::Debug for Hashed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashed").finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "decompress"))]
mod tests {
    use std::io::Cursor;

    use windlass_core::Reference;

    use super::*;
    use crate::decompress::Decompressed;

    /// What comes out of the stream of a layer.
    fn read(layer: &LayerStream) -> io::Result<Vec<u8>> {
        let repository: Reference = "reg.example/a".parse().map_err(io::Error::other)?;
        let store = layer.stream().store(&repository);
        let store = store.map_err(io::Error::other)?;
        let gathered = store.gather(0, Some(u64::MAX));
        let gathered = gathered.map_err(io::Error::other)?;
        let opened = store.open(&gathered.digest, 0).map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        let mut opened = opened.ok_or(io::ErrorKind::NotFound)?;
        opened.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn both_digests_are_known_at_the_end() {
        let tar: Vec<u8> = (0..300_000_u32).map(|n| (n / 7 % 251) as u8).collect();
        let diff_id = Digest::of(Algorithm::Sha256, &tar);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let layer = || LayerStream::new(Cursor::new(tar.clone()), compression);
            let first = layer().expect("it begins");
            assert_eq!(first.diff_id(), None);
            let bytes = read(&first).expect("it is read");
            assert_eq!(first.diff_id(), Some(diff_id.clone()));
            assert_eq!(Compression::of(&bytes[..4]), compression);
            assert!(compression == Compression::None || bytes.len() < tar.len());
            let mut again = Vec::new();
            let mut decompressed = Decompressed::new(&*bytes, Some(&diff_id));
            decompressed.read_to_end(&mut again).expect("it is the tar");
            assert!(again == tar, "{compression:?}");
            // The same tar is the same layer.
            let second = read(&layer().expect("it begins")).expect("it is read");
            assert!(second == bytes, "{compression:?}");
        }
    }

    #[test]
    fn a_tar_that_fails_has_no_digest() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("planned"))
            }
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let layer = LayerStream::new(Cursor::new(vec![7; 1000]).chain(Fails), compression);
            let layer = layer.expect("it begins");
            let error = read(&layer).expect_err("its tar fails");
            assert!(error.to_string().contains("planned"), "{error}");
            assert_eq!(layer.diff_id(), None);
        }
    }
}
