//! Only files that are this user's alone are written to.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::PathBuf;

use super::*;

/// Somebody else. Only root can give files away; other users skip these tests.
const STRANGER: u32 = 61001;

fn give_away(path: &Path) -> bool {
    let given = chown(path, Some(STRANGER), None).is_ok();
    if !given {
        println!("skipped: only root can make files of another user");
    }
    given
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn partial_path(layout: &Layout, digest: &Digest) -> PathBuf {
    let name = format!("sha256-{}", digest.encoded());
    layout.partials().join(name)
}

/// A layout in which a partial of "hello" was planted.
fn planted(plant: impl FnOnce(&Path, &Path)) -> (TempDir, Layout, Digest) {
    let (dir, layout) = fresh();
    store(&layout, b"something else");
    let digest = sha256(b"hello");
    plant(dir.path(), &partial_path(&layout, &digest));
    (dir, layout, digest)
}

/// The planted partial is not gone on with, and the blob is a file of our own.
fn is_fetched_afresh(layout: &Layout, digest: &Digest) {
    let mut partial = ours(layout, digest, 5);
    assert_eq!(partial.len(), 0, "what was planted is not gone on with");
    partial.append(b"hello").expect("append");
    partial.commit().expect("commit");
    let stored = fs::metadata(layout.blob_path(digest)).expect("there");
    assert_eq!((stored.nlink(), stored.uid()), (1, sys::user()));
    assert_eq!(load(layout, digest).as_deref(), Some(&b"hello"[..]));
}

#[test]
fn a_partial_with_a_second_name_is_left_as_it_is() {
    // As an archive brings it: empty, short, whole and too long.
    for content in ["", "hel", "hello", "hello and more"] {
        let mut victim = PathBuf::new();
        let (_dir, layout, digest) = planted(|dir, partial| {
            victim = dir.join(".profile");
            fs::write(&victim, content).expect("write");
            chmod(&victim, 0o600);
            fs::hard_link(&victim, partial).expect("link");
        });
        is_fetched_afresh(&layout, &digest);
        let there = fs::metadata(&victim).expect("there");
        assert_eq!((there.mode() & 0o777, there.nlink()), (0o600, 1));
        assert_eq!(fs::read_to_string(&victim).expect("read"), content);
    }
}

#[test]
fn a_partial_that_others_may_write_is_set_aside() {
    for mode in [0o660, 0o606, 0o666, 0o620] {
        let (_dir, layout, digest) = planted(|_, partial| {
            fs::write(partial, "hel").expect("write");
            chmod(partial, mode);
        });
        let open = fs::File::options()
            .write(true)
            .open(partial_path(&layout, &digest));
        is_fetched_afresh(&layout, &digest);
        open.expect("open").write_all(b"EVIL!").expect("write");
        assert_eq!(load(&layout, &digest).as_deref(), Some(&b"hello"[..]));
    }
    // What others may read only is ours.
    let (_dir, layout, digest) = planted(|_, partial| {
        fs::write(partial, "hel").expect("write");
        chmod(partial, 0o644);
    });
    assert_eq!(ours(&layout, &digest, 5).len(), 3);
}

#[test]
fn a_partial_of_another_user_is_set_aside() {
    for mode in [0o600, 0o644, 0o666] {
        let mut is_root = true;
        let (_dir, layout, digest) = planted(|_, partial| {
            fs::write(partial, "hel").expect("write");
            chmod(partial, mode);
            is_root = give_away(partial);
        });
        if is_root {
            is_fetched_afresh(&layout, &digest);
        }
    }
}

#[test]
fn a_partial_that_gets_a_second_name_later_gets_no_name_as_a_blob() {
    let (dir, layout) = fresh();
    let digest = sha256(b"hello");
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"hello").expect("append");
    let second = dir.path().join("second");
    fs::hard_link(partial_path(&layout, &digest), &second).expect("link");
    let error = partial.commit().expect_err("it has a second name");
    assert_eq!(error.kind(), StoreErrorKind::Denied, "{error}");
    assert!(!layout.contains(&digest, 5).expect("contains"));
    is_fetched_afresh(&layout, &digest);
    assert_eq!(fs::read(&second).expect("read"), b"hello");
}

#[test]
fn a_partial_that_is_too_long_is_not_cut_before_a_byte_came() {
    let (_dir, layout, digest) = planted(|_, partial| {
        fs::write(partial, "hello and more").expect("write");
        chmod(partial, 0o600);
    });
    let path = partial_path(&layout, &digest);
    drop(ours(&layout, &digest, 5));
    assert_eq!(fs::read(&path).expect("kept"), b"hello and more");
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"h").expect("append");
    assert_eq!(fs::read(&path).expect("cut"), b"h");
    partial.append(b"ello").expect("append");
    partial.commit().expect("commit");
}

#[test]
fn a_lock_with_a_second_name_is_replaced() {
    let (dir, layout) = fresh();
    let lock = layout.private().join("index.lock");
    let victim = dir.path().join(".profile");
    for mode in [0o400, 0o600, 0o644] {
        fs::write(&victim, "").expect("write");
        chmod(&victim, mode);
        fs::remove_file(&lock).expect("it was made with the layout");
        fs::hard_link(&victim, &lock).expect("link");
        let name = format!("m{mode}");
        layout.tag(Some(&name), &descriptor("a")).expect("tag");
        let there = fs::metadata(&victim).expect("there");
        assert_eq!((there.mode() & 0o777, there.nlink()), (mode, 1));
        fs::remove_file(&victim).expect("remove");
    }
}

#[test]
fn a_lock_of_another_user_is_replaced() {
    let (_dir, layout) = fresh();
    let lock = layout.private().join("index.lock");
    if give_away(&lock) {
        layout.tag(Some("v1"), &descriptor("a")).expect("tag");
        assert_eq!(fs::metadata(&lock).expect("there").uid(), sys::user());
    }
}

#[test]
fn files_of_a_layout_that_have_second_names_are_replaced_and_not_written_to() {
    let (dir, layout) = fresh();
    let digest = store(&layout, b"hello");
    let files = [layout.index_path(), layout.blob_path(&digest)];
    let copies = ["index", "blob"].map(|name| dir.path().join(name));
    for (file, copy) in files.iter().zip(&copies) {
        fs::hard_link(file, copy).expect("link");
    }
    let before = copies.each_ref().map(|copy| fs::read(copy).expect("read"));
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    fs::write(&copies[1], "hell").expect("damaged through the other name");
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"hello").expect("append");
    partial.commit().expect("commit");
    assert_eq!(fs::read(&copies[0]).expect("read"), before[0]);
    assert_eq!(fs::read(&copies[1]).expect("read"), b"hell");
    assert_eq!(load(&layout, &digest).as_deref(), Some(&b"hello"[..]));
}

#[test]
fn a_private_folder_of_another_user_is_refused() {
    for below in ["", "partial"] {
        let (_dir, layout) = fresh();
        let digest = sha256(b"hello");
        let private = layout.private().join(below);
        if !give_away(&private) {
            return;
        }
        for mode in [0o700, 0o777, 0o1777] {
            chmod(&private, mode);
            let refused = [
                layout.begin(&digest, 5).map(|_| ()),
                layout.begin_private(&digest, 5).map(|_| ()),
                layout.put(&digest, b"hello"),
                layout.tag(Some("v1"), &descriptor("a")),
            ];
            for error in refused.map(|it| it.expect_err("not ours")) {
                assert_eq!(error.kind(), StoreErrorKind::Denied, "{error}");
                assert!(error.detail().contains("another user"), "{error}");
            }
            let there = fs::metadata(&private).expect("there");
            assert_eq!(there.mode() & 0o7777, mode, "it is not changed");
        }
    }
}

#[test]
fn a_private_folder_that_others_may_write_to_is_closed() {
    for below in ["", "partial"] {
        for mode in [0o770, 0o777, 0o1777, 0o702] {
            let (_dir, layout) = fresh();
            let private = layout.private().join(below);
            chmod(&private, mode);
            let digest = store(&layout, b"hello");
            assert_eq!(load(&layout, &digest).as_deref(), Some(&b"hello"[..]));
            let there = fs::metadata(&private).expect("there");
            assert_eq!(there.mode() & 0o777, 0o700);
        }
    }
}

#[test]
fn a_folder_that_everybody_may_write_to_holds_blobs_of_ours() {
    let dir = TempDir::new().expect("temporary directory");
    chmod(dir.path(), 0o1777);
    let layout = Layout::open_or_create(dir.path()).expect("layout");
    let digest = store(&layout, b"hello");
    let stored = fs::metadata(layout.blob_path(&digest)).expect("there");
    assert_eq!(stored.uid(), sys::user());
    assert_eq!(stored.mode() & 0o022, 0);
}
