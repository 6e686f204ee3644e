//! Files that become layers.
//!
//! Responsible for both digests of a layer, and for its media type. Must not know what is in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use windlass_core::hashing::Hashing;
use windlass_core::{Algorithm, StoreError};
use windlass_store::error_kind;

use super::LayerContent;
use crate::compression::Compression;
use crate::decompress::Decompressed;
use crate::request::BlobContent;

impl LayerContent {
    /// A file: a tar, compressed with gzip or zstd, or not at all. It is read twice now, once for each of its digests. If
    /// it changes before it is sent, the request fails.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is neither compressed data nor a tar.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let failed = |error: &std::io::Error| {
            let what = format!("cannot read the layer {}: {error}", path.display());
            StoreError::new(error_kind(error), what)
        };
        let content = BlobContent::file(path)?;
        let mut first = Vec::new();
        let file = File::open(path).map_err(|error| failed(&error))?;
        let read = file.take(Compression::MAGIC as u64).read_to_end(&mut first);
        read.map_err(|error| failed(&error))?;
        let media_type = Compression::of(&first).layer_type();
        let file = File::open(path).map_err(|error| failed(&error))?;
        let mut tar = Decompressed::new(file, None);
        let mut hashing = Hashing::new(Algorithm::Sha256);
        let mut buffer = vec![0; 128 * 1024];
        let mut start = Vec::with_capacity(BLOCK);
        loop {
            let len = tar.read(&mut buffer).map_err(|error| failed(&error))?;
            if len == 0 {
                break;
            }
            let missing = (BLOCK - start.len()).min(len);
            start.extend_from_slice(&buffer[..missing]);
            hashing.update(&buffer[..len]);
        }
        if !is_tar(&start) {
            return Err(failed(&std::io::Error::other("it is no tar")));
        }
        Ok(Self::new(media_type, content, hashing.digest()))
    }
}

/// The size of a block of a tar.
const BLOCK: usize = 512;

/// Whether this is the first block of a tar: a header whose checksum is right, or zeros, if nothing is in it. A file that
/// is something else would make an image that cannot be unpacked.
fn is_tar(block: &[u8]) -> bool {
    /// Where the checksum is, which counts as spaces in itself.
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    if block.len() < BLOCK {
        return false;
    }
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    let field = String::from_utf8_lossy(&block[CHECKSUM]);
    let field = field.trim_matches([' ', '\0']);
    let Ok(said) = u32::from_str_radix(field, 8) else {
        return false;
    };
    let counted = block.iter().enumerate();
    let counted = counted.map(|(n, byte)| {
        let byte = if CHECKSUM.contains(&n) { b' ' } else { *byte };
        u32::from(byte)
    });
    counted.sum::<u32>() == said
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

    use std::io::Write as _;

    use windlass_core::{Digest, NewLayer};

    use super::*;

    /// A tar with one empty file.
    fn tar() -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..4].copy_from_slice(b"file");
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(b"00000000000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.extend(vec![0; 2 * BLOCK]);
        block
    }

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn each_layer_has_two_digests() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar()).unwrap();
        let zstd = zstd::encode_all(&*tar(), 1).unwrap();
        let diff_id = Digest::of(Algorithm::Sha256, &tar());
        for (ending, content) in [
            ("", tar()),
            ("+gzip", gzip.finish().unwrap()),
            ("+zstd", zstd),
        ] {
            let NewLayer {
                blob,
                diff_id: found,
                ..
            } = LayerContent::file(file(&content)).unwrap().layer;
            let tar = "application/vnd.oci.image.layer.v1.tar";
            assert_eq!(blob.media_type, format!("{tar}{ending}"));
            assert_eq!(
                blob.digest,
                Digest::of(Algorithm::Sha256, &content),
                "{ending}"
            );
            assert_eq!((blob.size, found), (content.len() as u64, diff_id.clone()));
        }
        LayerContent::file(file(&[0; 2 * BLOCK])).expect("a tar without files");
    }

    #[test]
    fn what_is_no_layer() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"text").unwrap();
        let gzip = gzip.finish().unwrap();
        let mut damaged = tar();
        damaged[0] = b'g';
        for (name, content, why) in [
            ("text", &b"text"[..], "it is no tar"),
            ("empty", b"", "it is no tar"),
            ("damaged", &damaged, "it is no tar"),
            ("compressed text", &gzip, "it is no tar"),
            ("cut", &gzip[..gzip.len() - 3], "cannot read the layer"),
        ] {
            let error = LayerContent::file(file(content)).unwrap_err();
            assert!(error.to_string().contains(why), "{name}: {error}");
        }
    }
}
