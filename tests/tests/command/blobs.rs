//! `windlass blob get` against registries that give less than was asked for, and beside folders of others.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::path::Path;

use windlass_tests::command::{Outcome, REFUSED, USAGE, Windlass};
use windlass_tests::hostile::{Hostile, Reply, Request};
use windlass_tests::images::{digest, noise};

/// A registry that serves one blob, and never more than `most` bytes of it for one range.
fn serving(bytes: Vec<u8>, most: usize) -> Hostile {
    Hostile::start(move |request: &Request| {
        if request.method == "HEAD" {
            return Reply::new(200).body(&*bytes);
        }
        let Some((first, last)) = request.range() else {
            return Reply::new(200).body(&*bytes);
        };
        let first = usize::try_from(first).unwrap();
        if first >= bytes.len() {
            return Reply::new(416).header("Content-Range", format!("bytes */{}", bytes.len()));
        }
        let last = last.map_or(bytes.len(), |last| usize::try_from(last).unwrap() + 1);
        let end = last.min(first + most).min(bytes.len());
        let range = format!("bytes {first}-{}/{}", end - 1, bytes.len());
        let reply = Reply::new(206).header("Content-Range", range);
        reply.body(&bytes[first..end])
    })
}

fn at(server: &Hostile, bytes: &[u8]) -> String {
    server.reference(&format!("a/b@{}", digest(bytes)))
}

/// `blob get --range` of these bytes into a file.
fn get(server: &Hostile, bytes: &[u8], range: &str, file: &Path) -> Outcome {
    let words = ["blob", "get", "--range", range, &at(server, bytes), "-o"];
    Windlass::new(words).args([file]).run()
}

/// RNG-05: ranges that are shortened are gone on with until all is there, in a file and on standard output.
#[test]
fn shortened_ranges_are_gone_on_with() {
    let bytes = noise(500_000, 1);
    let server = serving(bytes.clone(), 100_000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("piece");
    get(&server, &bytes, "1000-450000", &file).ended_with(0);
    assert!(std::fs::read(&file).unwrap() == bytes[1000..=450_000]);
    assert_eq!(
        server.requests().iter().filter_map(Request::range).count(),
        5
    );
    // To beyond the end: what there is.
    get(&server, &bytes, "499990-600000", &file).ended_with(0);
    assert!(std::fs::read(&file).unwrap() == bytes[499_990..]);
}

/// RNG-05: crumbs are not gone on with for ever.
#[test]
fn crumbs_are_given_up() {
    let bytes = noise(500_000, 2);
    let server = serving(bytes.clone(), 100);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("piece");
    let done = get(&server, &bytes, "0-499999", &file);
    done.failed(REFUSED, "less than 64 KiB per range 17 times");
    assert_eq!(
        server.requests().iter().filter_map(Request::range).count(),
        17
    );
}

/// RNG-07: a range behind the end is refused by the registry, and no file is made.
#[test]
fn a_range_behind_the_end_is_an_error() {
    let bytes = noise(1000, 3);
    let server = serving(bytes.clone(), 1000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("piece");
    let done = get(&server, &bytes, "1000-1999", &file);
    done.failed(REFUSED, "416");
    assert!(!file.exists());
}

/// What is beside the file under the name of its partial belongs to others, and stays.
#[test]
fn a_folder_of_others_is_left_alone() {
    let bytes = noise(1000, 4);
    let server = serving(bytes.clone(), 1000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("layer");
    let theirs = folder.path().join("layer.partial/blobs/sha256");
    std::fs::create_dir_all(&theirs).unwrap();
    let theirs = theirs.join(&digest(b"another one")["sha256:".len()..]);
    std::fs::write(&theirs, b"another one").unwrap();
    let get = || {
        let words = ["blob", "get", &at(&server, &bytes), "-o"];
        Windlass::new(words).args([&file]).run()
    };
    get().failed(USAGE, "layer.partial has other blobs");
    assert!(!file.exists());
    assert_eq!(std::fs::read(&theirs).unwrap(), b"another one");
    // Any other folder of that name is no layout, and not taken for one either.
    std::fs::remove_file(&theirs).unwrap();
    std::fs::remove_dir_all(folder.path().join("layer.partial/blobs")).unwrap();
    std::fs::write(folder.path().join("layer.partial/notes"), b"mine").unwrap();
    let done = get();
    assert_ne!(done.code(), 0, "{done}");
    let notes = folder.path().join("layer.partial/notes");
    assert_eq!(std::fs::read(notes).unwrap(), b"mine");
}
