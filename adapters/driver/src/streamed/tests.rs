use super::*;

/// Bytes that come a few at a time.
struct Slowly(io::Cursor<Vec<u8>>, usize);

impl Read for Slowly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.1);
        self.0.read(&mut buffer[..len])
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

fn streamed(bytes: &[u8], step: usize) -> Streamed {
    let reader = Slowly(io::Cursor::new(bytes.to_vec()), step);
    Streamed::new(Box::new(reader), Algorithm::Sha256, None)
}

fn gathered(bytes: &[u8], is_whole: bool) -> Gathered {
    let digest = Digest::of(Algorithm::Sha256, bytes);
    let mut gathered = Gathered::new(digest, bytes.len() as u64);
    gathered.is_whole = is_whole;
    gathered
}

fn read(store: &Streamed, digest: &Digest, offset: u64) -> Vec<u8> {
    let mut read = Vec::new();
    let opened = store.open(digest, offset).expect("it is kept");
    let mut opened = opened.expect("it is there");
    opened.read_to_end(&mut read).expect("it is kept");
    read
}

/// How many bytes are in memory, and room for how many.
fn held(store: &Streamed) -> (usize, usize) {
    match &lock(&store.state).kept {
        Kept::Memory { bytes, .. } => (bytes.len(), bytes.capacity()),
        Kept::File(_) => (0, 0),
    }
}

#[test]
fn chunks_are_kept_until_they_are_not_needed() {
    const CHUNK: usize = 100_000;
    for step in [1000, PIECE, usize::MAX] {
        let all = bytes(2 * CHUNK + 7);
        let store = streamed(&all, step);
        for (from, upto, is_whole) in [
            (0, CHUNK, false),
            (CHUNK, 2 * CHUNK, false),
            (2 * CHUNK, 3 * CHUNK, true),
        ] {
            let answer = store.gather(from as u64, Some(upto as u64));
            let end = upto.min(all.len());
            assert_eq!(answer, Ok(gathered(&all[..end], is_whole)));
            let (len, room) = held(&store);
            assert_eq!(len, end - from);
            assert!(room <= CHUNK + PIECE, "{room} bytes for a chunk");
            let digest = answer.expect("it is there").digest;
            for offset in [from, from + 1, end - 1, end] {
                assert_eq!(read(&store, &digest, offset as u64), all[offset..end]);
            }
            // Neither what is gone nor what it was before.
            if from > 0 {
                let error = store.open(&digest, from as u64 - 1).err();
                assert_eq!(error.map(|it| it.kind()), Some(StoreErrorKind::Unsupported));
                let before = Digest::of(Algorithm::Sha256, &all[..from]);
                assert!(matches!(store.open(&before, from as u64), Ok(None)));
            }
        }
        assert_eq!(
            store.gather(2 * CHUNK as u64, Some(u64::MAX)),
            Ok(gathered(&all, true)),
            "its end stays its end"
        );
    }
}

#[test]
fn all_of_it_goes_to_a_file() {
    let all = bytes(3 * PIECE + 5);
    let store = streamed(&all, 999);
    assert_eq!(store.gather(0, Some(10)), Ok(gathered(&all[..10], false)));
    assert_eq!(store.gather(0, None), Ok(gathered(&all, true)));
    assert_eq!(held(&store), (0, 0));
    let digest = Digest::of(Algorithm::Sha256, &all);
    assert!(store.contains(&digest, all.len() as u64).expect("it has"));
    for offset in [0, 1, PIECE, all.len()] {
        assert_eq!(read(&store, &digest, offset as u64), all[offset..]);
    }
}

#[test]
fn what_is_gone_is_an_error() {
    let all = bytes(100);
    for upto in [Some(60), None] {
        let store = streamed(&all, 100);
        assert!(store.gather(0, Some(50)).is_ok() && store.gather(50, Some(60)).is_ok());
        let from = if upto.is_some() { 49 } else { 50 };
        let error = store.gather(from, upto).expect_err("it is gone");
        assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{error}");
    }
    let store = streamed(&all, 100);
    assert!(store.gather(0, Some(50)).is_ok());
    assert!(store.gather(51, Some(60)).is_err(), "it was not read");
}

#[test]
fn an_empty_stream_has_ended() {
    let store = streamed(b"", 1);
    assert_eq!(store.gather(0, Some(10)), Ok(gathered(b"", true)));
}

/// Gives one byte, and then fails.
struct Fails {
    calls: usize,
    panics: bool,
}

impl Read for Fails {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        match self.calls {
            1 => {
                buffer[0] = 1;
                Ok(1)
            }
            2 => Err(io::ErrorKind::Interrupted.into()),
            3 if self.panics => panic!("planned"),
            3 => Err(io::Error::other("planned")),
            _ => panic!("it is read again"),
        }
    }
}

#[test]
fn a_reader_that_fails_is_not_read_again() {
    for panics in [false, true] {
        let store = Streamed::new(
            Box::new(Fails { calls: 0, panics }),
            Algorithm::Sha256,
            None,
        );
        let gather = || store.gather(0, Some(10));
        let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(gather));
        assert_eq!(first.is_err(), panics);
        let error = gather().expect_err("it has failed");
        assert_eq!(error.kind(), StoreErrorKind::Io);
        let expected = if panics {
            "the reader of a stream has panicked"
        } else {
            "cannot read the stream: planned"
        };
        assert_eq!(error.detail(), expected);
    }
}

#[test]
fn nothing_else_can_be_done_with_it() {
    let store = streamed(b"x", 1);
    let digest = Digest::of(Algorithm::Sha256, b"x");
    let descriptor = Descriptor::new("a/b", digest.clone(), 1);
    for error in [
        store.begin(&digest, 1).err(),
        store.put(&digest, b"x").err(),
        store.remove(&digest).err(),
        store.find(None).err(),
        store.tag(None, &descriptor).err(),
    ] {
        assert_eq!(error.map(|it| it.kind()), Some(StoreErrorKind::Unsupported));
    }
}
