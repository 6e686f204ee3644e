//! Nothing unverified goes out, and no end comes early.

use std::cell::Cell;
use std::ops::Range;

use windlass_core::{Algorithm, Hashing};

use super::*;

const KIB: usize = 1024;

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

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// A reader of `stored`, which is announced as `blob`, with a hash over its first bytes.
fn part(
    stored: &[u8],
    blob: &[u8],
    part: Range<usize>,
    hashing: Hashing,
    step: usize,
) -> OutgoingReader {
    let (digest, size) = (sha256(blob), blob.len() as u64);
    let part = part.start as u64..part.end as u64;
    let outgoing = Outgoing::new(digest.clone(), size, part, hashing).expect("a meter");
    let position = usize::try_from(outgoing.position()).expect("small");
    let source = stored.get(position..).unwrap_or_default();
    let source = Slow(io::Cursor::new(source.to_vec()), step);
    OutgoingReader::new(Box::new(source), &digest, outgoing)
}

/// The same with nothing hashed yet.
fn reader(stored: &[u8], blob: &[u8], offset: u64, len: u64, step: usize) -> OutgoingReader {
    let [start, end] = [offset, offset + len].map(|at| usize::try_from(at).expect("small"));
    let begins = Hashing::new(Algorithm::Sha256);
    part(stored, blob, start..end, begins, step)
}

/// What comes out, and whether the end was a good one.
fn drain(reader: &mut OutgoingReader, step: usize) -> (Vec<u8>, bool) {
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
            assert_eq!(reader.outcome().failure(), None);
        }
    }
}

/// PUSHB-21.
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
            let found = Some(sha256(&stored));
            assert_eq!(
                reader.outcome().failure(),
                Some(Interrupted::Damaged { found })
            );
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
            let reason = reader.outcome().failure();
            assert_eq!(reason, Some(Interrupted::Damaged { found: None }));
        }
    }
}

#[test]
fn an_empty_body_of_a_blob_that_is_not_empty_content_fails() {
    let begins = Hashing::new(Algorithm::Sha256);
    let outgoing = Outgoing::new(sha256(b"other"), 0, 0..0, begins).expect("a meter");
    let source = Box::new(io::empty());
    let mut reader = OutgoingReader::new(source, &sha256(b"other"), outgoing);
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
            assert!(ended, "{size} {offset}: {:?}", good.outcome().failure());
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

/// What is hashed before the request begins is not read again, and a job that is to end does not go on with it.
#[test]
fn what_was_sent_before_is_hashed_before_the_request() {
    let blob = content(500 * KIB);
    let of = |offset: u64| reader(&blob, &blob, offset, blob.len() as u64 - offset, 10 * KIB);
    let mut body = of(300 * KIB as u64);
    body.catch_up(|| false).expect("it can be read");
    let position = |body: &OutgoingReader| body.outgoing.as_ref().expect("a meter").position();
    assert_eq!(position(&body), 300 * KIB as u64);
    let (out, good) = drain(&mut body, 64 * KIB);
    assert!(good && out == blob[300 * KIB..]);

    let mut body = of(300 * KIB as u64);
    let asked = Cell::new(0);
    let end = body.catch_up(|| asked.replace(asked.get() + 1) == 3);
    assert!(matches!(end, Err(Interrupted::Aborted)), "{end:?}");
    assert_eq!(position(&body), 30 * KIB as u64);

    let mut short = reader(&blob[..100 * KIB], &blob, 300 * KIB as u64, 1, 10 * KIB);
    let end = short.catch_up(|| false);
    assert!(matches!(end, Err(Interrupted::Damaged { .. })), "{end:?}");
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
    let outcome = reader.outcome();
    assert!(!drain(&mut reader, 10).1);
    let Some(Interrupted::Store(error)) = outcome.failure() else {
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

/// Sends a blob in two parts, and shows how much of the second went out, and whether its end was good.
fn two_parts(stored: &[u8], blob: &[u8], cut: usize) -> (usize, bool) {
    let begins = Hashing::new(Algorithm::Sha256);
    let mut first = part(stored, blob, 0..cut, begins, 16 * KIB);
    let outcome = first.outcome();
    let (out, good) = drain(&mut first, 8 * KIB);
    assert!(good && out == stored[..cut], "nothing of it is held back");
    let meter = outcome.outgoing().expect("it was read to its end");
    assert!(outcome.outgoing().is_none(), "there is one");
    let hashing = meter.into_hashing();
    assert_eq!(hashing.len(), cut as u64);
    let mut second = part(stored, blob, cut..blob.len(), hashing, 16 * KIB);
    let (out, good) = drain(&mut second, 8 * KIB);
    assert!(out == stored[cut..][..out.len()]);
    (out.len(), good)
}

#[test]
fn the_hash_goes_on_in_the_next_part() {
    let size = 300 * KIB;
    let blob = content(size);
    for cut in [1, 100 * KIB, size - 64 * KIB, size - 10 * KIB] {
        assert_eq!(two_parts(&blob, &blob, cut), (size - cut, true), "{cut}");
        for at in [0, cut, size - 1] {
            let mut stored = blob.clone();
            stored[at] ^= 1;
            let held = (size - cut).min(64 * KIB);
            let sent = (size - cut - held, false);
            assert_eq!(
                two_parts(&stored, &blob, cut),
                sent,
                "{cut}, damaged at {at}"
            );
        }
    }
}

/// The registry has acknowledged less than was sent: the bytes between are sent again.
#[test]
fn what_was_hashed_and_is_sent_again_is_hashed_once() {
    let size = 300 * KIB;
    let blob = content(size);
    for hashed in [150 * KIB, size - 10, size] {
        let mut hashing = Hashing::new(Algorithm::Sha256);
        hashing.update(&blob[..hashed]);
        let mut reader = part(&blob, &blob, 100 * KIB..size, hashing, 16 * KIB);
        let (out, good) = drain(&mut reader, 8 * KIB);
        assert!(good && out == blob[100 * KIB..], "{hashed}");
    }
}

/// A part that breaks off brings its hash home, too.
#[test]
fn the_meter_of_a_body_that_breaks_off_comes_home() {
    let blob = content(300 * KIB);
    let mut reader = reader(&blob, &blob, 0, blob.len() as u64, usize::MAX);
    let outcome = reader.outcome();
    let mut buffer = vec![0; 100 * KIB];
    assert_eq!(reader.read(&mut buffer).expect("read"), 100 * KIB);
    assert!(outcome.outgoing().is_none());
    drop(reader);
    let hashing = outcome.outgoing().expect("it came home").into_hashing();
    assert_eq!(hashing.digest(), sha256(&blob[..100 * KIB]));
}
