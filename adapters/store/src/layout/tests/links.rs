//! Symbolic links: followed by what reads, never by what writes (LAY-14). Special files are neither.

use std::process::Command;

use windlass_core::StoreError;

use super::*;

/// Moves a file or a folder of the layout elsewhere and leaves a link to it.
fn link_away(dir: &TempDir, path: &Path) {
    let to = dir.path().join("cache");
    fs::create_dir_all(&to).expect("create");
    let to = to.join(path.file_name().expect("a name"));
    fs::rename(path, &to).expect("rename");
    symlink(&to, path).expect("link");
}

fn listing(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir)
        .expect("list")
        .map(|it| it.expect("entry").path());
    let mut all: Vec<_> = entries.collect();
    all.sort();
    all
}

fn denied<T>(result: Result<T, StoreError>) {
    let error = result.err().expect("a link");
    assert_eq!(error.kind(), StoreErrorKind::Denied, "{error}");
    assert!(error.detail().contains("symbolic link"), "{error}");
}

fn named() -> (TempDir, Layout, Digest) {
    let (dir, layout) = fresh();
    let digest = store(&layout, b"hello");
    layout.tag(Some("v1"), &descriptor("hello")).expect("tag");
    (dir, layout, digest)
}

/// What is sent of a blob of five bytes. A later part of it is sent under the same conditions.
fn to_send(layout: &Layout, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let read = |offset| {
        let source = layout.open_to_send(digest, 5, offset)?;
        Ok(source.map(|mut source| {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).expect("read");
            bytes
        }))
    };
    let (whole, rest) = (read(0), read(3));
    match (&whole, rest) {
        (Ok(whole), Ok(rest)) => {
            let end = whole.as_deref().map(|whole| &whole[3..]);
            assert_eq!(rest.as_deref(), end);
        }
        (whole, rest) => assert_eq!(whole, &rest),
    }
    whole
}

#[test]
fn what_is_read_may_be_links() {
    let blob = format!("blobs/sha256/{}", sha256(b"hello").encoded());
    let parts = [&*blob, "blobs/sha256", "blobs", "index.json", "oci-layout"];
    let (all_dir, all, _) = named();
    for part in parts {
        let (dir, layout, digest) = named();
        link_away(&dir, &layout.path().join(part));
        link_away(&all_dir, &all.path().join(part));
        for layout in [&layout, &all] {
            let again = Layout::open(layout.path()).expect("a layout");
            let found = again.find(Some("v1")).expect("its name");
            assert_eq!(found.digest, digest);
            assert_eq!(load(&again, &digest).as_deref(), Some(&b"hello"[..]));
            assert!(again.contains(&digest, 5).expect("contains"));
            let sent = to_send(&again, &digest).expect("verified");
            assert_eq!(sent.as_deref(), Some(&b"hello"[..]));
        }
    }
}

#[test]
fn a_layout_that_is_a_link_itself_is_read_and_written() {
    let (dir, layout, digest) = named();
    let link = dir.path().join("link");
    symlink(layout.path(), &link).expect("link");
    let linked = Layout::open_or_create(&link).expect("a layout");
    assert_eq!(load(&linked, &digest).as_deref(), Some(&b"hello"[..]));
    linked.tag(Some("v2"), &descriptor("hello")).expect("tag");
}

#[test]
fn folders_and_an_index_that_are_links_are_not_written_to() {
    for part in [
        "blobs",
        "blobs/sha256",
        ".windlass",
        ".windlass/partial",
        "index.json",
    ] {
        let (dir, layout, _) = named();
        link_away(&dir, &layout.path().join(part));
        let cache = dir.path().join("cache");
        let before = listing(&cache);
        let new = sha256(b"new");
        let is_blobs = part.starts_with("blobs");
        let is_index = part == "index.json";
        if !is_index {
            denied(layout.begin(&new, 3));
            denied(layout.begin_private(&new, 3));
            denied(layout.put(&new, b"new"));
        }
        if !is_blobs {
            denied(layout.tag(Some("v2"), &descriptor("hello")));
        }
        if is_index {
            denied(Layout::open_or_create(layout.path()));
        }
        assert_eq!(listing(&cache), before);
        assert_eq!(layout.find(None).expect("one").digest, sha256(b"hello"));
    }
}

#[test]
fn a_blob_that_is_a_link_is_replaced_and_what_it_leads_to_is_left() {
    for whole in [true, false] {
        let (dir, layout, digest) = named();
        link_away(&dir, &layout.blob_path(&digest));
        let behind = dir.path().join("cache").join(digest.encoded());
        if whole {
            layout.put(&digest, b"hello").expect("put");
        } else {
            let mut partial = ours(&layout, &digest, 5);
            partial.append(b"hello").expect("append");
            partial.commit().expect("commit");
        }
        assert!(!sys::is_link(&layout.blob_path(&digest)).expect("there"));
        assert_eq!(fs::read(behind).expect("left"), b"hello");
    }
}

#[test]
fn an_index_that_is_a_link_to_nothing_is_not_made() {
    let (dir, layout, _) = named();
    fs::remove_file(layout.index_path()).expect("remove");
    let elsewhere = dir.path().join("elsewhere");
    symlink(&elsewhere, layout.index_path()).expect("link");
    denied(Layout::open_or_create(layout.path()));
    denied(layout.tag(Some("v1"), &descriptor("a")));
    let error = layout.find(None).expect_err("nothing there");
    assert_eq!(error.kind(), StoreErrorKind::NotALayout, "{error}");
    assert!(!elsewhere.exists());
}

#[test]
fn what_is_behind_a_link_is_hashed_before_it_is_sent() {
    // Large enough that bytes would go out before the last is hashed.
    let (dir, layout, digest) = named();
    let secret = dir.path().join("secret");
    for content in [&b"HELLO"[..], b"hell", b"hello and more"] {
        fs::write(&secret, content).expect("write");
        let path = layout.blob_path(&digest);
        fs::remove_file(&path).expect("remove");
        symlink(&secret, &path).expect("link");
        let error = to_send(&layout, &digest).expect_err("another file");
        assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
    }
    fs::remove_file(&secret).expect("remove");
    assert_eq!(to_send(&layout, &digest).expect("absent"), None);
    // A huge file is not read.
    let file = fs::File::create(&secret).expect("create");
    file.set_len(1 << 42).expect("a sparse file");
    to_send(&layout, &digest).expect_err("too large");
}

#[test]
fn links_in_a_circle_and_special_files_are_refused() {
    let (dir, layout, digest) = named();
    let path = layout.blob_path(&digest);
    fs::remove_file(&path).expect("remove");
    symlink(&path, &path).expect("link");
    let error = Store::open(&layout, &digest, 0)
        .map(|_| ())
        .expect_err("a circle");
    assert!(error.detail().contains("symbolic link"), "{error}");
    fs::remove_file(layout.index_path()).expect("remove");
    symlink(layout.index_path(), layout.index_path()).expect("link");
    let error = layout.find(None).expect_err("a circle");
    assert!(error.detail().contains("symbolic link"), "{error}");

    let pipe = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    for to in [pipe.as_path(), Path::new("/dev/zero"), dir.path()] {
        for path in [layout.index_path(), path.clone()] {
            fs::remove_file(&path).expect("remove");
            symlink(to, &path).expect("link");
        }
        let refused = [
            layout.find(None).map(|_| ()),
            Store::open(&layout, &digest, 0).map(|_| ()),
            to_send(&layout, &digest).map(|_| ()),
            Layout::open(layout.path()).map(|_| ()),
        ];
        for error in refused.map(|it| it.expect_err("no file")) {
            assert_eq!(error.kind(), StoreErrorKind::Denied, "{error}");
            assert!(error.detail().contains("not a regular file"), "{error}");
        }
    }
}

#[test]
fn a_pipe_in_place_of_a_blob_does_not_hang() {
    let (_dir, layout) = fresh();
    let digest = store(&layout, b"hello");
    fs::remove_file(layout.blob_path(&digest)).expect("remove");
    let made = Command::new("mkfifo")
        .arg(layout.blob_path(&digest))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    let error = Store::open(&layout, &digest, 0)
        .map(|_| ())
        .expect_err("a pipe");
    assert!(error.detail().contains("a special file"), "{error}");
}
