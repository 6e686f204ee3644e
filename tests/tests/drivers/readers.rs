//! Blobs that are read while they arrive, through both clients: verified, resumed, bounded.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::error::Error as _;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use windlass_core::{Algorithm, Descriptor, Digest, ErrorKind, Failure};
use windlass_testbed::{Model, Options, Server, image};
use windlass_tests::drivers::{Driver, Setup};
use windlass_tests::hostile::{Good, Hostile, Reply, Request};
use windlass_tests::images::{Layout, MANIFEST, gzip, noise};
use windlass_tests::world::scenes::{digest, with_manifest};
use windlass_tests::{through_both, wait_for};

through_both!(
    a_blob_is_read_to_its_end,
    a_reader_goes_on_where_connections_break,
    a_reader_gets_each_byte_once_from_a_server_without_ranges,
    a_wrong_last_byte_is_an_error_at_the_end,
    bytes_that_changed_meanwhile_are_an_error_at_the_end,
    a_layer_without_a_diff_id_is_verified_as_it_is_stored,
    a_layer_that_is_not_what_its_configuration_says,
    a_blob_that_is_not_there,
    a_reader_that_is_not_read_holds_little,
    a_reader_that_is_dropped_frees_its_slot,
    more_readers_than_requests_at_once_are_read_in_any_order,
    a_reader_that_is_not_read_holds_up_no_other_request,
    many_ranges_cost_one_token,
    a_range_is_what_was_asked_for,
    a_range_is_read_in_pieces_when_they_are_wanted,
    an_image_is_opened_and_its_layers_are_read,
    a_configuration_that_is_another_one,
    a_huge_configuration_is_not_read,
);

fn descriptor(bytes: &[u8]) -> Descriptor {
    let digest = Digest::of(Algorithm::Sha256, bytes);
    Descriptor::new("application/octet-stream", digest, bytes.len() as u64)
}

/// The blob, or the range of it that is asked for.
fn answer(request: &Request, bytes: &[u8]) -> Reply {
    let Some((first, last)) = request.range() else {
        return Reply::new(200).body(bytes);
    };
    let size = bytes.len();
    let first = usize::try_from(first).unwrap();
    let last = last.map_or(size - 1, |last| {
        usize::try_from(last).unwrap().min(size - 1)
    });
    let range = format!("bytes {first}-{last}/{size}");
    Reply::new(206)
        .header("Content-Range", range)
        .body(&bytes[first..=last])
}

/// A server that counts the GETs of the blob and answers the nth of them so.
fn serving(
    answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
) -> (Hostile, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Hostile::start(move |request| {
        if request.method == "HEAD" {
            // The first request to a host, which shows whether it wants credentials.
            return Reply::new(200);
        }
        answer(counted.fetch_add(1, Ordering::SeqCst), request)
    });
    (server, count)
}

fn read<D: Driver>(server: &Hostile, blob: &Descriptor) -> (Vec<u8>, io::Result<usize>) {
    let client = D::new(&Setup::new());
    let repository = server.reference("a/b");
    let mut reader = client.reader(&repository, blob);
    let mut bytes = Vec::new();
    let end = reader.read_to_end(&mut bytes);
    // The end stays what it was.
    match (&end, reader.read(&mut [0; 8])) {
        (Ok(_), again) => assert_eq!(again.unwrap(), 0),
        (Err(error), again) => assert_eq!(again.unwrap_err().kind(), error.kind()),
    }
    (bytes, end)
}

#[track_caller]
fn failure(error: &io::Error) -> &Failure {
    let failure = error.get_ref().unwrap().downcast_ref();
    failure.unwrap_or_else(|| panic!("{error:?}, because of {:?}", error.source()))
}

fn a_blob_is_read_to_its_end<D: Driver>() {
    for size in [0, 1, 100_000, 5_000_000] {
        let bytes = noise(size, 1);
        let served = bytes.clone();
        let (server, count) = serving(move |_, request| answer(request, &served));
        let (read, end) = read::<D>(&server, &descriptor(&bytes));
        assert_eq!(end.unwrap(), bytes.len());
        assert!(read == bytes, "{size}");
        // What is empty is not asked for.
        assert_eq!(count.load(Ordering::SeqCst), usize::from(size > 0));
    }
}

/// RNG: the rest is asked for, by a range.
fn a_reader_goes_on_where_connections_break<D: Driver>() {
    let bytes = noise(3_000_000, 2);
    let served = bytes.clone();
    let (server, count) = serving(move |n, request| {
        let (first, _) = request.range().unwrap_or((0, None));
        let rest = &served[usize::try_from(first).unwrap()..];
        if n == 3 {
            return answer(request, &served);
        }
        let reply = Reply::new(if n == 0 { 200 } else { 206 });
        let range = format!("bytes {first}-{}/{}", served.len() - 1, served.len());
        let reply = reply.header("Content-Range", range);
        reply.body(&rest[..700_000]).claiming(rest.len() as u64)
    });
    let (read, end) = read::<D>(&server, &descriptor(&bytes));
    assert_eq!(end.unwrap(), bytes.len());
    assert!(read == bytes);
    assert_eq!(count.load(Ordering::SeqCst), 4);
    let firsts = server.requests();
    let firsts = firsts.iter().filter_map(Request::range);
    let firsts: Vec<_> = firsts.map(|(first, _)| first).collect();
    assert_eq!(firsts, [700_000, 1_400_000, 2_100_000]);
}

fn a_reader_gets_each_byte_once_from_a_server_without_ranges<D: Driver>() {
    let bytes = noise(1_000_000, 3);
    let served = bytes.clone();
    let (server, count) = serving(move |n, _| match n {
        0 => Reply::new(200).body(&served[..600_000]).claiming(1_000_000),
        _ => Reply::new(200).body(&*served),
    });
    let (read, end) = read::<D>(&server, &descriptor(&bytes));
    assert_eq!(end.unwrap(), bytes.len());
    assert!(read == bytes);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

fn a_wrong_last_byte_is_an_error_at_the_end<D: Driver>() {
    let mut bytes = noise(300_000, 4);
    let blob = descriptor(&bytes);
    *bytes.last_mut().unwrap() ^= 1;
    let served = bytes.clone();
    let (server, _) = serving(move |_, request| answer(request, &served));
    let (read, end) = read::<D>(&server, &blob);
    assert!(
        read == bytes,
        "they are given out before they are known to be wrong"
    );
    let error = end.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(failure(&error).kind(), ErrorKind::Mismatch, "{error}");
}

/// What was read is the start of one content, and what would follow is the end of another one.
fn bytes_that_changed_meanwhile_are_an_error_at_the_end<D: Driver>() {
    let bytes = noise(1_000_000, 5);
    let blob = descriptor(&bytes);
    let served = bytes.clone();
    let (server, _) = serving(move |n, _| {
        let wrong = vec![7; 600_000];
        match n {
            0 => Reply::new(200).body(wrong).claiming(1_000_000),
            _ => Reply::new(200).body(&*served),
        }
    });
    let (read, end) = read::<D>(&server, &blob);
    assert_eq!(read.len(), bytes.len());
    let error = end.unwrap_err();
    assert_eq!(failure(&error).kind(), ErrorKind::Mismatch, "{error}");
}

/// Nothing says what should come out of the decoder, but the layer's own digest is verified.
fn a_layer_without_a_diff_id_is_verified_as_it_is_stored<D: Driver>() {
    let tar = noise(300_000, 13);
    let right = gzip(&tar);
    let blob = descriptor(&right);
    let mut wrong = right.clone();
    // The byte that names the operating system: the same comes out of both.
    wrong[9] ^= 1;
    for (served, is_right) in [(right, true), (wrong, false)] {
        let (server, _) = serving(move |_, request| answer(request, &served));
        let client = D::new(&Setup::new());
        let mut reader = client.decompressed(&server.reference("a/b"), &blob, None);
        let mut out = Vec::new();
        let end = reader.read_to_end(&mut out);
        assert!(out == tar);
        assert_eq!(end.is_ok(), is_right);
        if let Err(error) = end {
            assert_eq!(failure(&error).kind(), ErrorKind::Mismatch, "{error}");
            assert!(error.to_string().contains(blob.digest.as_str()), "{error}");
        }
    }
}

/// An image whose configuration lies about its layer. What came before the end was right as a blob.
fn a_layer_that_is_not_what_its_configuration_says<D: Driver>() {
    let tar = noise(300_000, 13);
    for stored in [gzip(&tar), tar.clone()] {
        let mut lying = image(std::slice::from_ref(&stored));
        let (wrong, found) = (digest(b"another layer"), digest(&tar));
        let config = String::from_utf8(lying.config.to_vec()).unwrap();
        let config = config.replace(digest(&stored).as_str(), wrong.as_str());
        let manifest = String::from_utf8(lying.manifest.to_vec()).unwrap();
        let manifest = manifest.replace(
            digest(&lying.config).as_str(),
            digest(config.as_bytes()).as_str(),
        );
        lying.config = config.into();
        lying = with_manifest(&lying, &serde_json::from_str(&manifest).unwrap());
        let mut model = Model::new(Options::default());
        model.put_image("a/b", Some("v1"), &lying);
        let server = Server::start(model).unwrap();
        let client = D::new(&Setup::new());
        let opened = client.open(&format!("{}/a/b:v1", server.host())).unwrap();
        let layer = &opened.layers()[0];
        assert_eq!(layer.diff_id.as_ref(), Some(&wrong));
        let at = opened.reference.to_string();
        let mut reader = client.decompressed(&at, &layer.blob, layer.diff_id.as_ref());
        let mut out = Vec::new();
        let error = reader.read_to_end(&mut out).unwrap_err();
        assert!(out == tar, "all of it came");
        assert_eq!(failure(&error).kind(), ErrorKind::Mismatch, "{error}");
        for digest in [&wrong, &found] {
            assert!(error.to_string().contains(digest.as_str()), "{error}");
        }
        // By the digest that it has, it is good.
        let mut reader = client.decompressed(&at, &layer.blob, Some(&found));
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), tar.len());
    }
}

fn a_blob_that_is_not_there<D: Driver>() {
    let (server, _) = serving(|_, _| Reply::error(404, "BLOB_UNKNOWN", "no"));
    let (read, end) = read::<D>(&server, &descriptor(b"hello"));
    assert!(read.is_empty());
    let error = end.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(failure(&error).kind(), ErrorKind::NotFound, "{error}");
}

fn a_reader_that_is_not_read_holds_little<D: Driver>() {
    const SIZE: u64 = 256 << 20;
    // It is not read to its end, so the digest does not matter.
    let mut blob = descriptor(b"zeros");
    blob.size = SIZE;
    let (server, _) = serving(|_, _| Reply::new(200).body(vec![0; 1 << 20]).repeated(256));
    let client = D::new(&Setup::new());
    let repository = server.reference("a/b");
    let mut reader = client.reader(&repository, &blob);
    reader.read_exact(&mut [0; 10]).unwrap();
    thread::sleep(Duration::from_millis(300));
    // What is in flight is in buffers of the system, which are some MiB.
    let sent = server.sent();
    assert!(sent < SIZE / 4, "{sent} bytes were sent");
    let mut bytes = vec![0; 50 << 20];
    reader.read_exact(&mut bytes).unwrap();
}

fn a_reader_that_is_dropped_frees_its_slot<D: Driver>() {
    let bytes = noise(3_000_000, 6);
    let blob = descriptor(&bytes);
    let (server, count) = serving(move |n, request| match n {
        0 => Reply::new(200)
            .body(&bytes[..100_000])
            .claiming(3_000_000)
            .then_stall(),
        _ => answer(request, &bytes),
    });
    let client = D::new(&Setup::new().in_flight(1));
    let repository = server.reference("a/b");
    let mut reader = client.reader(&repository, &blob);
    reader.read_exact(&mut [0; 1000]).unwrap();
    drop(reader);
    let mut reader = client.reader(&repository, &blob);
    let mut all = Vec::new();
    assert_eq!(reader.read_to_end(&mut all).unwrap(), 3_000_000);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    wait_for("the connection of the first is closed", || {
        server.connections() >= 2
    });
}

fn more_readers_than_requests_at_once_are_read_in_any_order<D: Driver>() {
    const READERS: usize = 40;
    let bytes = noise(3_000_000, 11);
    let blob = descriptor(&bytes);
    let served = bytes.clone();
    let (server, count) = serving(move |_, request| answer(request, &served));
    let client = D::new(&Setup::new().in_flight(8));
    let repository = server.reference("a/b");
    let readers = (0..READERS).map(|_| client.reader(&repository, &blob));
    let mut readers: Vec<_> = readers.collect();
    let mut starts = vec![[0; 1000]; READERS];
    for (reader, start) in readers.iter_mut().zip(&mut starts) {
        reader.read_exact(start).unwrap();
    }
    // All of them are under way, although 8 requests may be.
    assert_eq!(count.load(Ordering::SeqCst), READERS);
    for (mut reader, start) in readers.into_iter().zip(starts).rev() {
        let mut all = start.to_vec();
        reader.read_to_end(&mut all).unwrap();
        assert!(all == bytes);
    }
    assert_eq!(
        count.load(Ordering::SeqCst),
        READERS,
        "nothing is fetched twice"
    );
    let tape = client.tape();
    assert!(tape.matches("{\"yield\":").count() >= READERS - 8);
    assert_eq!(windlass_core::tape::replay(&tape).end, Ok(()));
}

fn a_reader_that_is_not_read_holds_up_no_other_request<D: Driver>() {
    let (layout, image) = Layout::with_image(1, 3_000_000, 12);
    let layer = image.layers[0].digest.clone();
    let good = Good::serving(&layout, &image);
    let server = Hostile::start(move |request| good.answer(request));
    let client = D::new(&Setup::new().in_flight(1));
    let repository = server.reference("a/b");
    let bytes = layout.read(&layer);
    let mut reader = client.reader(&repository, &descriptor(&bytes));
    reader.read_exact(&mut [0; 1000]).unwrap();
    let opened = client.open(&server.reference("a/b:latest")).unwrap();
    assert_eq!(opened.digest().as_str(), image.manifest.digest);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest == bytes[1000..]);
    // The HEAD that shows whether credentials are wanted, the blob, the manifest and the configuration.
    assert_eq!(server.requests().len(), 4);
}

fn many_ranges_cost_one_token<D: Driver>() {
    let bytes = noise(400 << 10, 7);
    let served = bytes.clone();
    let server = Hostile::start(move |request| {
        if request.path() == "/token" {
            return Reply::new(200).body(r#"{"token":"t0k","expires_in":300}"#);
        }
        if request.header("authorization") != Some("Bearer t0k") {
            let challenge = "Bearer realm=\"/token\",service=\"s\"";
            return Reply::new(401).header("WWW-Authenticate", challenge);
        }
        answer(request, &served)
    });
    let client = D::new(&Setup::new());
    let (repository, blob) = (server.reference("a/b"), descriptor(&bytes));
    for n in 0..100_u64 {
        let first = n * 4096;
        let range = client
            .range(&repository, &blob, first..first + 4096)
            .unwrap();
        let first = usize::try_from(first).unwrap();
        assert!(range.bytes == bytes[first..first + 4096], "{n}");
        assert_eq!(range.total, Some(blob.size));
    }
    assert_eq!(server.count("GET", "/token"), 1);
    // One is refused first.
    assert_eq!(server.requests().len(), 102);
    assert!(!client.tape().contains("t0k"));
}

fn a_range_is_what_was_asked_for<D: Driver>() {
    let (server, count) = serving(|_, request| {
        let (first, _) = request.range().unwrap_or((0, None));
        match first {
            9 => Reply::new(416),
            // Not from where it was asked.
            2 => Reply::new(206)
                .header("Content-Range", "bytes 1-2/5")
                .body("el"),
            1 => Reply::new(200).body("hello"),
            _ => answer(request, b"hello"),
        }
    });
    let client = D::new(&Setup::new());
    let (repository, blob) = (server.reference("a/b"), descriptor(b"hello"));
    let range = |range| client.range(&repository, &blob, range);
    assert_eq!(range(3..5).unwrap().bytes, b"lo");
    assert_eq!(range(0..9).unwrap().bytes, b"hello");
    assert!(range(3..3).unwrap().bytes.is_empty());
    assert_eq!(count.load(Ordering::SeqCst), 2, "nothing is not asked for");
    for (first, text) in [(9, "416"), (2, "bytes 1-2/5"), (1, "the whole blob")] {
        let failure = range(first..first + 2).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Refused);
        assert!(failure.to_string().contains(text), "{failure}");
    }
    let failure = range(0..1 << 40).unwrap_err();
    assert!(failure.to_string().contains("into memory"), "{failure}");
}

fn a_range_is_read_in_pieces_when_they_are_wanted<D: Driver>() {
    let bytes = noise(3_000_000, 14);
    let served = bytes.clone();
    let (server, count) = serving(move |n, request| match n {
        1 => Reply::error(404, "BLOB_UNKNOWN", "not for now"),
        _ => answer(request, &served),
    });
    let client = D::new(&Setup::new());
    let (repository, blob) = (server.reference("a/b"), descriptor(&bytes));
    let mut reader = client.unverified(&repository, &blob, 1000..9_000_000);
    assert_eq!(count.load(Ordering::SeqCst), 0, "nothing is read yet");
    let mut out = vec![0; 1 << 20];
    reader.read_exact(&mut out).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let error = reader.read(&mut [0; 10]).unwrap_err();
    assert_eq!(failure(&error).kind(), ErrorKind::NotFound, "{error}");
    // The next read tries again, and the blob's end is the end.
    reader.read_to_end(&mut out).unwrap();
    assert!(out == bytes[1000..]);
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(Request::range)
        .collect();
    let starts = [1000, 1_049_576, 1_049_576, 2_098_152];
    assert_eq!(
        ranges.iter().map(|(first, _)| *first).collect::<Vec<_>>(),
        starts
    );
    let mut nothing = client.unverified(&repository, &blob, 5..5);
    assert_eq!(nothing.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

fn an_image_is_opened_and_its_layers_are_read<D: Driver>() {
    let (layout, image) = Layout::with_image(3, 200_000, 8);
    let good = Good::serving(&layout, &image);
    let server = Hostile::start(move |request| good.answer(request));
    let client = D::new(&Setup::new());
    let opened = client.open(&server.reference("a/b:latest")).unwrap();
    assert_eq!(opened.digest().as_str(), image.manifest.digest);
    assert_eq!(&*opened.manifest.bytes, layout.read(&image.manifest.digest));
    assert_eq!(opened.config_bytes(), layout.read(&image.config.digest));
    assert_eq!(
        server.requests().len(),
        2,
        "the manifest and the configuration"
    );
    let config = opened.config().unwrap();
    assert_eq!(config.os.as_deref(), Some("linux"));
    let layers = opened.layers();
    assert_eq!(layers.len(), 3);
    for (layer, expected) in layers.iter().zip(&image.layers) {
        let mut bytes = Vec::new();
        let repository = opened.reference.to_string();
        let mut reader = client.reader(&repository, &layer.blob);
        reader.read_to_end(&mut bytes).unwrap();
        assert!(bytes == layout.read(&expected.digest));
    }
    assert_eq!(server.requests().len(), 5);
}

fn a_configuration_that_is_another_one<D: Driver>() {
    let (layout, image) = Layout::with_image(1, 1000, 9);
    let good = Good::serving(&layout, &image);
    let config = image.config.clone();
    let mut wrong = layout.read(&config.digest);
    wrong[0] ^= 1;
    let server = Hostile::start(move |request| {
        if request.path().ends_with(&config.digest) {
            return Reply::new(200).body(&*wrong);
        }
        good.answer(request)
    });
    let failure = D::new(&Setup::new()).open(&server.reference("a/b:latest"));
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Mismatch, "{failure}");
    assert!(
        failure.to_string().contains(&image.config.digest),
        "{failure}"
    );
}

fn a_huge_configuration_is_not_read<D: Driver>() {
    let (layout, mut image) = Layout::with_image(1, 1000, 10);
    let mut manifest: Value = serde_json::from_slice(&layout.read(&image.manifest.digest)).unwrap();
    manifest["config"]["size"] = (1_u64 << 40).into();
    image.manifest = layout.add(manifest.to_string().as_bytes(), MANIFEST);
    let good = Good::serving(&layout, &image);
    let server = Hostile::start(move |request| good.answer(request));
    let failure = D::new(&Setup::new()).open(&server.reference("a/b:latest"));
    let failure = failure.unwrap_err();
    assert!(
        failure.to_string().contains("not read into memory"),
        "{failure}"
    );
    assert_eq!(server.requests().len(), 1);
}
