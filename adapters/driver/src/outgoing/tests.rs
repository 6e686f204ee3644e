//! Nothing unverified goes out, and no end comes early.

use windlass_core::{Algorithm, Hashing};

use super::*;

const KIB: usize = 1024;

/// Releases by the rules of [`Outgoing`], which only the core can make.
struct Rules {
    digest: Digest,
    hashing: Option<Hashing>,
    len: u64,
}

impl Meter for Rules {
    fn total(&self) -> u64 {
        self.len
    }

    fn hash(&mut self, bytes: &[u8]) -> Result<u64, Interrupted> {
        let hashing = self.hashing.as_mut().ok_or_else(damaged)?;
        if hashing.len() + bytes.len() as u64 > self.len {
            return Err(damaged());
        }
        hashing.update(bytes);
        if hashing.len() < self.len {
            let releasable = self.len.saturating_sub(Outgoing::HELD_BACK);
            return Ok(hashing.len().min(releasable));
        }
        let found = self.hashing.take().map(Hashing::digest);
        if found.as_ref() == Some(&self.digest) {
            Ok(self.len)
        } else {
            Err(Interrupted::Damaged { found })
        }
    }
}

/// A reader that returns at most this many bytes at once.
struct Slow(io::Cursor<Vec<u8>>, usize);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(self.1);
        self.0.read(&mut buffer[..room])
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| u8::try_from(n % 251).expect("small"))
        .collect()
}

/// A reader of `stored`, which is announced as `blob`.
fn reader(stored: &[u8], blob: &[u8], offset: u64, len: u64, step: usize) -> HeldBack<Rules> {
    let digest = Digest::of(Algorithm::Sha256, blob);
    let rules = Rules {
        digest: digest.clone(),
        hashing: Some(Hashing::new(Algorithm::Sha256)),
        len: blob.len() as u64,
    };
    let source = Slow(io::Cursor::new(stored.to_vec()), step);
    HeldBack::new(Box::new(source), Some(digest), offset, len, rules)
}

/// What comes out, and whether the end was a good one.
fn drain(reader: &mut HeldBack<Rules>, step: usize) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut buffer = vec![0; step];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return (out, true),
            Ok(read) => out.extend_from_slice(&buffer[..read]),
            Err(_) => {
                reader.read(&mut buffer).expect_err("stays failed");
                return (out, false);
            }
        }
    }
}

const SIZES: [usize; 6] = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 1024 * KIB];

#[test]
fn a_good_blob_goes_out_whole() {
    for size in SIZES {
        for step in [997, 16 * KIB, 2048 * KIB] {
            let blob = content(size);
            let mut reader = reader(&blob, &blob, 0, size as u64, step);
            let (out, good) = drain(&mut reader, 8 * KIB);
            assert!(good, "{size} {step}");
            assert!(out == blob, "{size} {step}");
            assert_eq!(reader.failure.take(), None);
        }
    }
}

#[test]
fn the_end_of_a_damaged_blob_is_held_back() {
    for size in SIZES {
        let blob = content(size);
        for at in [0, size / 2, size.saturating_sub(1)] {
            let mut stored = blob.clone();
            let Some(byte) = stored.get_mut(at) else {
                continue;
            };
            *byte ^= 1;
            let mut reader = reader(&stored, &blob, 0, size as u64, 16 * KIB);
            let (out, good) = drain(&mut reader, 8 * KIB);
            assert!(!good);
            assert_eq!(out.len(), size.saturating_sub(64 * KIB), "{size} {at}");
            let found = Some(Digest::of(Algorithm::Sha256, &stored));
            assert_eq!(reader.failure.take(), Some(Interrupted::Damaged { found }));
        }
    }
}

#[test]
fn a_blob_of_the_wrong_length_never_ends_well() {
    for size in SIZES {
        let blob = content(size);
        let longer = content(size + 1);
        let mut stored = vec![&longer[..]];
        if size > 0 {
            stored.extend([&blob[..size - 1], &blob[..size / 2], &[]]);
        }
        for stored in stored {
            let mut reader = reader(stored, &blob, 0, size as u64, 16 * KIB);
            let (out, good) = drain(&mut reader, 8 * KIB);
            assert!(!good, "{size} {}", stored.len());
            assert!(out.len() <= size.saturating_sub(64 * KIB));
            let reason = reader.failure.take();
            assert_eq!(reason, Some(Interrupted::Damaged { found: None }));
        }
    }
}

#[test]
fn an_empty_body_of_a_blob_that_is_not_empty_content_fails() {
    let mut reader = reader(b"", b"", 0, 0, 1);
    reader.meter.digest = Digest::of(Algorithm::Sha256, b"other");
    assert!(!drain(&mut reader, 10).1);
}

#[test]
fn what_was_sent_before_is_hashed_and_not_sent_again() {
    for size in SIZES {
        let blob = content(size);
        for offset in [0, 1, size / 3, size.saturating_sub(10), size] {
            let offset = offset.min(size);
            let len = (size - offset) as u64;
            let mut good = reader(&blob, &blob, offset as u64, len, 16 * KIB);
            let (out, ended) = drain(&mut good, 8 * KIB);
            assert!(ended, "{size} {offset}: {:?}", good.failure.take());
            assert!(out == blob[offset..], "{size} {offset}");
            if offset == 0 {
                continue;
            }
            let mut stored = blob.clone();
            stored[0] ^= 1;
            let mut bad = reader(&stored, &blob, offset as u64, len, 16 * KIB);
            let (out, ended) = drain(&mut bad, 8 * KIB);
            assert!(!ended, "damage before the offset counts");
            assert!(out.len() <= size.saturating_sub(64 * KIB).saturating_sub(offset));
        }
    }
}

#[test]
fn a_chunk_from_the_middle_ends_where_it_should() {
    let size = 1024 * KIB;
    let blob = content(size);
    for (offset, end) in [
        (0, 10),
        (500, 300 * KIB),
        (10, size - 5),
        (size - 100, size - 50),
    ] {
        let mut reader = reader(&blob, &blob, offset as u64, (end - offset) as u64, 16 * KIB);
        let (out, good) = drain(&mut reader, 8 * KIB);
        assert!(good);
        assert!(out == blob[offset..end], "{offset} {end}");
    }
}

#[test]
fn a_failure_to_read_is_the_stores() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad sector"))
        }
    }
    let mut reader = reader(b"", b"hello", 0, 5, 1);
    reader.source = Box::new(Broken);
    let failure = reader.failure.clone();
    assert!(!drain(&mut reader, 10).1);
    let Some(Interrupted::Store(error)) = failure.take() else {
        panic!("the store's fault");
    };
    assert!(error.detail().contains("bad sector"), "{error}");
    assert!(error.detail().contains("sha256:2cf24dba"), "{error}");
}

#[test]
fn bytes_before_the_tail_go_straight_into_the_callers_buffer() {
    let blob = content(1024 * KIB);
    let mut reader = reader(&blob, &blob, 0, blob.len() as u64, usize::MAX);
    let mut buffer = vec![0; 256 * KIB];
    assert_eq!(reader.read(&mut buffer).expect("read"), 256 * KIB);
    assert!(reader.tail.is_none());
}
