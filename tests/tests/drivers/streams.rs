//! Streams that are put through both clients: hashed on the way, resumed, bounded.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::io::{self, Cursor, Read};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use windlass_async::stream_of_bytes;
use windlass_blocking::{Compression, Decompressed, LayerStream};
use windlass_core::{BlobDelivery, ErrorKind, Failure, Reference};
use windlass_driver::{BlobStream, CancelHandle, RequestSpec};
use windlass_testbed::{Digest, Entry, Model, Options, Server};
use windlass_tests::drivers::{Ask, Driver, Faults, Many, Setup, serve};
use windlass_tests::images::noise;
use windlass_tests::proxy::Proxy;
use windlass_tests::through_both;

through_both!(
    a_stream_is_put,
    a_stream_goes_on_where_connections_break,
    a_broken_chunk_is_sent_again_from_memory,
    a_stream_goes_in_chunks_that_the_registry_takes,
    one_chunk_is_held,
    a_reader_that_fails_ends_the_request,
    a_request_returns_although_its_reader_does_not,
    a_stream_is_put_once,
    an_image_is_built_of_streams,
);

/// The least that a chunk can be configured to.
const CHUNK: usize = 64 * 1024;

fn setup() -> Setup {
    let mut setup = Setup::new();
    setup.config.chunk_size = Some(CHUNK as u64);
    setup
}

fn registry() -> Server {
    serve(Model::new(Options::default()), Faults::new()).0
}

fn to(host: &str) -> Reference {
    format!("{host}/a/b").parse().unwrap()
}

fn put(client: &impl Driver, host: &str, stream: BlobStream) -> Result<(String, u64), Failure> {
    let ask = Ask::other(RequestSpec::put_stream(&to(host), stream));
    let put = client.finish(ask)?.blob_put().unwrap();
    assert!(
        matches!(put.how, BlobDelivery::Sent(sent) if sent >= put.size),
        "{put:?}"
    );
    Ok((put.digest.to_string(), put.size))
}

#[track_caller]
fn check(registry: &Server, put: Result<(String, u64), Failure>, bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    assert_eq!(put.unwrap(), (digest.to_string(), bytes.len() as u64));
    let is_there = registry.with_model(|model| {
        assert_eq!(model.open_uploads(), 0);
        model
            .blob_bytes("a/b", &digest)
            .is_some_and(|it| **it == *bytes)
    });
    assert!(is_there, "other bytes are there");
}

fn a_stream_is_put<D: Driver>() {
    let registry = registry();
    let client = D::new(&setup());
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
        let bytes = noise(len, 1);
        let stream = client.stream(Cursor::new(bytes.clone()));
        check(&registry, put(&client, &registry.host(), stream), &bytes);
    }
}

/// In every half of every chunk.
fn a_stream_goes_on_where_connections_break<D: Driver>() {
    let bytes = noise(8 * CHUNK, 2);
    let registry = registry();
    let client = D::new(&setup());
    for half in 1..16 {
        let proxy = Proxy::to(&registry.host());
        proxy.cut_after_up((half * CHUNK / 2) as u64);
        let stream = client.stream(Cursor::new(bytes.clone()));
        check(&registry, put(&client, &proxy.host(), stream), &bytes);
        assert!(!proxy.will_cut_up(), "it was not cut");
        let most = (bytes.len() + 2 * CHUNK) as u64;
        assert!(proxy.passed_up() <= most, "{} bytes", proxy.passed_up());
    }
}

/// A registry that keeps nothing of a request that broke off gets the whole chunk again, and no other.
fn a_broken_chunk_is_sent_again_from_memory<D: Driver>() {
    const CHUNKS: usize = 4;
    let bytes = noise(CHUNKS * CHUNK, 6);
    let client = D::new(&setup());
    for broken in 1..CHUNKS {
        let mut options = Options::default();
        options.uploads.keep_partial = false;
        let (registry, _) = serve(Model::new(options), Faults::new());
        let proxy = Proxy::to(&registry.host());
        proxy.cut_after_up((broken * CHUNK + CHUNK / 2) as u64);
        let stream = client.stream(Cursor::new(bytes.clone()));
        check(&registry, put(&client, &proxy.host(), stream), &bytes);
        assert!(!proxy.will_cut_up(), "it was not cut");
        let all: Vec<String> = (0..CHUNKS).map(chunk).collect();
        assert_eq!(patches(&registry, Some(202)), all);
        assert_eq!(patches(&registry, None), [chunk(broken)]);
        let most = (bytes.len() + CHUNK + CHUNK / 4) as u64;
        assert!(proxy.passed_up() <= most, "{} bytes", proxy.passed_up());
    }
}

/// The place of a chunk, as requests name it.
fn chunk(n: usize) -> String {
    format!("{}-{}", n * CHUNK, (n + 1) * CHUNK - 1)
}

/// What was brought by the PATCHes that were answered so, or broke off.
fn patches(registry: &Server, status: Option<u16>) -> Vec<String> {
    let requests = registry.requests();
    let found = requests.iter().filter(|entry| {
        let answered = entry.status.map(|it| it.as_u16());
        entry.method == "PATCH" && answered == status
    });
    let range = |entry: &Entry| entry.headers["content-range"].to_str().unwrap().to_owned();
    found.map(range).collect()
}

/// After a 413 the same bytes go in smaller chunks; nothing is read again.
fn a_stream_goes_in_chunks_that_the_registry_takes<D: Driver>() {
    let bytes = noise(4 * CHUNK + 7, 7);
    let options = Options {
        max_body: Some(CHUNK as u64),
        ..Options::default()
    };
    let (registry, _) = serve(Model::new(options), Faults::new());
    let mut setup = setup();
    setup.config.chunk_size = Some(4 * CHUNK as u64);
    let client = D::new(&setup);
    let stream = client.stream(Cursor::new(bytes.clone()));
    check(&registry, put(&client, &registry.host(), stream), &bytes);
    let last = format!("{}-{}", 4 * CHUNK, 4 * CHUNK + 6);
    let expected: Vec<String> = (0..4).map(chunk).chain([last]).collect();
    assert_eq!(patches(&registry, Some(202)), expected);
}

/// What was read and did not go to the registry yet is held.
struct Bounded {
    proxy: Arc<Proxy>,
    read: u64,
    left: usize,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let held = self.read.saturating_sub(self.proxy.passed_up());
        assert!(held <= CHUNK as u64, "{held} bytes are held");
        let len = buffer.len().min(self.left);
        self.left -= len;
        buffer[..len].fill(7);
        self.read += len as u64;
        Ok(len)
    }
}

fn one_chunk_is_held<D: Driver>() {
    let registry = registry();
    let client = D::new(&setup());
    let proxy = Arc::new(Proxy::to(&registry.host()));
    let size = 40 * CHUNK + 1;
    // Read by the store's job, in both clients: what comes through a task is a piece ahead.
    let stream = BlobStream::new(Bounded {
        proxy: Arc::clone(&proxy),
        read: 0,
        left: size,
    });
    let (_, put) = put(&client, &proxy.host(), stream).unwrap();
    assert_eq!(put, size as u64);
}

fn a_reader_that_fails_ends_the_request<D: Driver>() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("planned"))
        }
    }
    let registry = registry();
    let client = D::new(&setup());
    for len in [0, 10, 2 * CHUNK + 5] {
        let stream = client.stream(Cursor::new(noise(len, 3)).chain(Fails));
        let failure = put(&client, &registry.host(), stream).unwrap_err();
        assert_eq!(failure.to_string(), "cannot read the stream: planned");
        assert_eq!(failure.kind(), ErrorKind::Refused);
        registry.with_model(|model| {
            assert_eq!(model.open_uploads(), 0);
            assert!(model.blob_digests("a/b").is_empty(), "after {len} bytes");
        });
    }
}

fn a_request_returns_although_its_reader_does_not<D: Driver>() {
    struct Hangs(mpsc::Receiver<()>, usize);
    impl Read for Hangs {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(self.1);
            if len == 0 {
                // Until the test is over.
                let _over = self.0.recv();
            }
            self.1 -= len;
            Ok(len)
        }
    }
    let registry = registry();
    let client = D::new(&setup());
    for before in [0, CHUNK + 1] {
        let (over, reader) = mpsc::channel();
        let stream = BlobStream::new(Hangs(reader, before));
        let cancel = CancelHandle::new();
        let spec = RequestSpec::put_stream(&to(&registry.host()), stream);
        let ask = Ask::other(spec).cancelled_by(&cancel);
        let running = {
            let client = client.clone();
            thread::spawn(move || client.finish(ask))
        };
        thread::sleep(Duration::from_millis(200));
        let since = Instant::now();
        cancel.cancel();
        let failure = running.join().unwrap().unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Cancelled);
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "{:?}",
            since.elapsed()
        );
        windlass_tests::wait_for("the upload is deleted", || {
            registry.with_model(|model| model.open_uploads()) == 0
        });
        drop(over);
    }
}

fn a_stream_is_put_once<D: Driver>() {
    let registry = registry();
    let client = D::new(&setup());
    let stream = client.stream(Cursor::new(b"some".to_vec()));
    check(
        &registry,
        put(&client, &registry.host(), stream.clone()),
        b"some",
    );
    let failure = put(&client, &registry.host(), stream).unwrap_err();
    assert_eq!(failure.to_string(), "a stream can be put once");
}

/// Compressed on the way; what is read again is the tar, by its diff_id.
fn an_image_is_built_of_streams<D: Driver>() {
    let registry = registry();
    let client = D::new(&setup());
    for (compression, len) in [
        (Compression::None, CHUNK + 1),
        (Compression::Gzip, 5 * CHUNK),
        (Compression::Zstd, 5 * CHUNK),
        (Compression::Zstd, 0),
    ] {
        // Half of it can be compressed.
        let tar = [noise(len, 5), vec![7; len]].concat();
        let layer = LayerStream::new(Cursor::new(tar.clone()), compression).unwrap();
        let spec = RequestSpec::put_stream(&to(&registry.host()), layer.stream());
        let put = client.finish(Ask::other(spec)).unwrap().blob_put().unwrap();
        let blob = layer.descriptor(&put);
        assert_eq!((&blob.digest, blob.size), (&put.digest, put.size));
        assert_eq!(blob.media_type, compression.layer_type());
        let diff_id = layer.diff_id().unwrap();
        let reader = client.reader(&format!("{}/a/b", registry.host()), &blob);
        let mut again = Vec::new();
        let mut decompressed = Decompressed::new(reader, Some(&diff_id));
        decompressed.read_to_end(&mut again).unwrap();
        assert!(again == tar, "{compression:?}");
    }
}

/// The pieces, and then perhaps an error.
struct Pieces(Vec<Result<Bytes, io::Error>>);

impl Stream for Pieces {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready((!self.0.is_empty()).then(|| self.0.remove(0)))
    }
}

/// Pieces of any size, none of which is an end.
#[test]
fn a_stream_of_bytes_is_put() {
    let registry = registry();
    let client = Many::new(&setup());
    let bytes = noise(5 * CHUNK, 4);
    let all = Bytes::from(bytes.clone());
    let pieces = || {
        let pieces = [0..0, 0..1, 1..1, 1..3 * CHUNK, 3 * CHUNK..5 * CHUNK];
        pieces.map(|range| Ok(all.slice(range))).into_iter()
    };
    let stream = client.block_on(async { stream_of_bytes(Pieces(pieces().collect())) });
    check(&registry, put(&client, &registry.host(), stream), &bytes);
    let fails = pieces().chain([Err(io::Error::other("planned"))]).collect();
    let stream = client.block_on(async { stream_of_bytes(Pieces(fails)) });
    let failure = put(&client, &registry.host(), stream).unwrap_err();
    assert_eq!(failure.to_string(), "cannot read the stream: planned");
}

/// A request that is not waited for any more does not read on.
#[test]
fn a_dropped_request_drops_its_stream() {
    let registry = registry();
    let client = Many::new(&setup());
    let alive = Arc::new(());
    let first = Some(Ok(Bytes::from(vec![7; 2 * CHUNK])));
    let stream = Waits(first, Arc::clone(&alive));
    let stream = client.block_on(async { stream_of_bytes(stream) });
    let ask = Ask::other(RequestSpec::put_stream(&to(&registry.host()), stream));
    client.block_on(async {
        let long = Duration::from_millis(300);
        let ended = tokio::time::timeout(long, client.ask(ask)).await;
        assert!(ended.is_err(), "the stream has no end");
    });
    let is_dropped = || Arc::strong_count(&alive) == 1;
    // The job that waits for it is given up after half a second.
    windlass_tests::wait_for("the stream is dropped", is_dropped);
}

/// A piece, and then nothing for ever.
struct Waits(
    Option<Result<Bytes, io::Error>>,
    #[expect(dead_code, reason = "it is dropped with the stream")] Arc<()>,
);

impl Stream for Waits {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.take() {
            Some(piece) => Poll::Ready(Some(piece)),
            None => Poll::Pending,
        }
    }
}

/// Without a runtime nothing reads it, which is an error and no end.
#[test]
fn a_stream_without_a_runtime_fails() {
    let registry = registry();
    let client = Many::new(&setup());
    let stream = stream_of_bytes(Pieces(vec![Ok(Bytes::from_static(b"some"))]));
    let failure = put(&client, &registry.host(), stream).unwrap_err();
    assert!(failure.to_string().contains("runtime"), "{failure}");
}
