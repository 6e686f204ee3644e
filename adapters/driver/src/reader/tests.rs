//! The pipe, without a session that fills it.

use std::thread;

use windlass_core::Algorithm;

use super::*;

fn blob() -> Descriptor {
    let digest = Digest::of(Algorithm::Sha256, b"hello");
    Descriptor::new("application/octet-stream", digest, 5)
}

struct Bench {
    reader: BlobReader,
    partial: Box<dyn Partial>,
    end: ReaderEnd,
    cancel: CancelHandle,
}

impl Bench {
    fn new(blob: &Descriptor) -> Self {
        let cancel = CancelHandle::new();
        let (reader, store, end) = BlobReader::new(blob, &cancel);
        let Ok(Begun::Ours(partial)) = store.begin(&blob.digest, blob.size) else {
            panic!("it is ours");
        };
        Self {
            reader,
            partial,
            end,
            cancel,
        }
    }

    fn read(&mut self) -> Result<String, ErrorKind> {
        let chunk = self.reader.next_chunk().map_err(|failure| failure.kind())?;
        Ok(chunk.map_or_else(|| "end".into(), |it| String::from_utf8(it).expect("text")))
    }
}

/// Of a task that failed.
fn cancelled() -> Result<Fetched, Failure> {
    Err(Failure::new(vec![Error::Cancelled]))
}

/// A 200 to a range: the blob comes from its first byte again.
#[test]
fn bytes_that_come_again_are_passed_on_once() {
    let mut bench = Bench::new(&blob());
    bench.partial.append(b"he").expect("there is room");
    assert_eq!(bench.read(), Ok("he".into()));
    bench.partial.truncate(0).expect("there is more to come");
    assert_eq!(bench.partial.len(), 0);
    for part in ["h", "el", "lo"] {
        bench
            .partial
            .append(part.as_bytes())
            .expect("there is room");
    }
    assert_eq!(bench.partial.len(), 5);
    // Small chunks that wait are one.
    assert_eq!(bench.read(), Ok("llo".into()));
    let error = bench.partial.truncate(0).expect_err("all was read");
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
}

/// The reader's own hash decides, whatever the task says.
#[test]
fn wrong_bytes_are_a_mismatch_whatever_the_end_is() {
    for bytes in [b"hello", b"hullo"] {
        let mut bench = Bench::new(&blob());
        bench.partial.append(bytes).expect("there is room");
        bench.read().expect("bytes");
        bench.end.finish(cancelled());
        let kind = if bytes == b"hello" {
            ErrorKind::Cancelled
        } else {
            ErrorKind::Mismatch
        };
        let mut reader = bench.reader;
        for _ in 0..2 {
            let failure = reader.next_chunk().expect_err("it failed");
            assert_eq!(failure.kind(), kind);
        }
    }
}

#[test]
fn an_end_that_is_not_told_is_an_error() {
    let mut bench = Bench::new(&blob());
    bench.partial.append(b"hel").expect("there is room");
    drop(bench.end);
    let mut reader = bench.reader;
    let mut bytes = Vec::new();
    let error = reader.read_to_end(&mut bytes).expect_err("it broke off");
    assert_eq!(bytes, b"hel");
    let failure = error.get_ref().and_then(|it| it.downcast_ref::<Failure>());
    let first = failure.expect("it is the source").first();
    assert!(matches!(first, Error::Driver { .. }), "{first}");
}

#[test]
fn a_writer_waits_for_room_and_ends_with_the_reader() {
    let mut large = blob();
    large.size = 3 * ROOM as u64;
    let mut bench = Bench::new(&large);
    bench.partial.append(&vec![0; ROOM]).expect("there is room");
    let mut partial = bench.partial;
    let writer = thread::spawn(move || {
        partial
            .append(&[1; 10])
            .expect("there is room after a read");
        loop {
            if let Err(error) = partial.append(&[2; ROOM]) {
                break error.kind();
            }
        }
    });
    let mut reader = bench.reader;
    for len in [ROOM, 10, ROOM] {
        let chunk = reader.next_chunk().expect("bytes");
        assert_eq!(chunk.map(|chunk| chunk.len()), Some(len));
    }
    assert!(!bench.cancel.is_cancelled());
    drop(reader);
    assert!(bench.cancel.is_cancelled());
    let kind = writer.join().expect("it ended");
    assert_eq!(kind, StoreErrorKind::Unsupported);
}
