//! Partials with gaps: what is left of them after a crash.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "a set of parts may have one"
)]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::rc::Rc;

use windlass_core::{Extents, StoreError};

use super::*;
use crate::layout::blob::Probed;
use crate::layout::sys::tests::with_failing_syncs;

mod waiting;

const SIZE: u64 = 10_000;

fn content() -> Vec<u8> {
    (0..SIZE).map(|n| (n % 251) as u8).collect()
}

fn blob() -> Digest {
    sha256(&content())
}

fn bytes(part: &Range<u64>) -> Vec<u8> {
    let at = |n: u64| usize::try_from(n).expect("small");
    content()[at(part.start)..at(part.end)].to_vec()
}

fn write(partial: &mut dyn Partial, part: &Range<u64>) {
    let written = partial.write_at(part.start, &bytes(part));
    written.expect("it fits");
}

fn preserve(partial: &mut dyn Partial) -> Result<(), StoreError> {
    partial.preserve().map_or(Ok(()), |preserve| preserve())
}

fn extents(partial: &dyn Partial) -> Extents {
    partial.extents().into_iter().collect()
}

fn parts(parts: &[Range<u64>]) -> Extents {
    parts.iter().cloned().collect()
}

/// The same layout as another process finds it after this one was killed.
fn after_kill(layout: &Layout) -> (TempDir, Layout) {
    let (dir, copy) = fresh();
    copy.ensure_private(&copy.private()).expect("a folder");
    copy.ensure_private(&copy.partials()).expect("a folder");
    for name in partials(layout) {
        let to = copy.partials().join(&name);
        fs::copy(layout.partials().join(&name), &to).expect("copy");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    (dir, copy)
}

/// What another process goes on with. All of it is there.
fn left_by(layout: &Layout) -> Extents {
    let (_dir, copy) = after_kill(layout);
    let partial = ours(&copy, &blob(), SIZE);
    let file = File::open(copy.partials().join(&partials(&copy)[0])).expect("open");
    for part in partial.extents() {
        let mut stored = vec![0; bytes(&part).len()];
        file.read_exact_at(&mut stored, part.start).expect("read");
        assert_eq!(stored, bytes(&part), "{part:?}");
    }
    extents(&*partial)
}

#[test]
fn parts_are_there_after_a_kill_as_far_as_they_were_recorded() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    assert!(!partial.is_append_only());
    write(&mut *partial, &(0..100));
    assert_eq!(left_by(&layout), parts(&[0..100]), "its length says it");
    write(&mut *partial, &(500..600));
    write(&mut *partial, &(100..150));
    assert_eq!(left_by(&layout), parts(&[0..100]), "before the gap");
    preserve(&mut *partial).expect("recorded");
    assert_eq!(left_by(&layout), parts(&[0..150, 500..600]));
    write(&mut *partial, &(9000..SIZE));
    assert_eq!(left_by(&layout), parts(&[0..150, 500..600]), "not yet");
    preserve(&mut *partial).expect("recorded");
    assert_eq!(left_by(&layout), parts(&[0..150, 500..600, 9000..SIZE]));
    assert_eq!(partial.len(), 150);
}

#[test]
fn parts_are_there_after_a_partial_is_given_back() {
    let (_dir, layout) = fresh();
    for (part, expected) in [
        (300..400, parts(&[300..400])),
        (700..701, parts(&[300..400, 700..701])),
        (0..300, parts(&[0..400, 700..701])),
        (400..700, parts(&[0..701])),
    ] {
        let mut partial = ours(&layout, &blob(), SIZE);
        write(&mut *partial, &part);
        drop(partial);
        assert_eq!(left_by(&layout), expected);
    }
    let path = layout.partials().join(&partials(&layout)[0]);
    let len = fs::metadata(path).expect("there").len();
    assert_eq!(len, 701, "without gaps its length says it, as ever");
}

#[test]
fn a_blob_of_parts_has_its_bytes_and_nothing_behind() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    for part in [9000..SIZE, 0..10, 5000..9000, 10..5000] {
        write(&mut *partial, &part);
        preserve(&mut *partial).expect("recorded");
    }
    let late = partial.preserve().expect("it is always time");
    let mut read = Vec::new();
    let mut source = partial.read(0).expect("read");
    source.read_to_end(&mut read).expect("read");
    drop(source);
    assert!(read == content());
    partial.commit().expect("commit");
    late().expect("what was prepared before is void");
    assert!(load(&layout, &blob()) == Some(content()));
    assert!(partials(&layout).is_empty());
}

#[test]
fn a_blob_with_a_gap_gets_no_name() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(0..10));
    write(&mut *partial, &(11..SIZE));
    let error = partial.commit().expect_err("a byte is missing");
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
    assert_eq!(left_by(&layout), parts(&[0..10, 11..SIZE]), "kept");
}

#[test]
fn what_is_stored_is_not_written_over() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(100..200));
    for (offset, len) in [
        (150, 1),
        (99, 2),
        (199, 2),
        (0, 300),
        (SIZE - 1, 2),
        (u64::MAX, 1),
    ] {
        let written = partial.write_at(offset, &vec![1; len]);
        let error = written.expect_err("refused");
        assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{offset} {len}");
    }
    partial.write_at(150, b"").expect("nothing");
    assert_eq!(extents(&*partial), parts(&[100..200]));
}

/// The bytes first, then the record that names them.
#[test]
fn a_record_names_only_what_is_synced() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(0..100));
    let log = Rc::new(RefCell::new(Vec::new()));
    let look = {
        let (log, layout) = (Rc::clone(&log), layout.clone());
        move |_: &str| {
            let path = layout.partials().join(&partials(&layout)[0]);
            let file = Arc::new(File::open(&path).expect("open"));
            let len = file.metadata().expect("there").len();
            let record = crate::layout::record::Record::read(&file, path, (SIZE, len), true);
            log.borrow_mut().push(record.map(|(_, extents)| extents));
            false
        }
    };
    with_failing_syncs(look, || {
        write(&mut *partial, &(500..600));
        write(&mut *partial, &(700..800));
        preserve(&mut *partial).expect("recorded");
        drop(partial);
    });
    let first = Some(parts(&[0..100]));
    let all = Some(parts(&[0..100, 500..600, 700..800]));
    let expected = [
        // Begun, for the bytes before the gap.
        None,
        first.clone(),
        first,
        all.clone(),
        // Given back.
        all.clone(),
        all,
    ];
    assert_eq!(*log.borrow(), expected);
}

#[test]
fn parts_that_could_not_be_synced_are_gone() {
    for which in 1..=4 {
        let (_dir, layout) = fresh();
        let mut partial = ours(&layout, &blob(), SIZE);
        let seen = Cell::new(0);
        let fails = move |_: &str| seen.replace(seen.get() + 1) + 1 == which;
        let failed = with_failing_syncs(fails, || {
            partial.write_at(500, &bytes(&(500..600)))?;
            preserve(&mut *partial)?;
            partial.write_at(700, &bytes(&(700..800)))?;
            preserve(&mut *partial)
        });
        let error = failed.expect_err("a sync failed");
        assert!(error.detail().starts_with("sync "), "{which}: {error}");
        drop(partial);
        assert!(partials(&layout).is_empty(), "{which}");
    }
}

#[test]
fn a_torn_record_leaves_the_one_before() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(500..600));
    preserve(&mut *partial).expect("recorded");
    let before = left_by(&layout);
    write(&mut *partial, &(800..900));
    preserve(&mut *partial).expect("recorded");
    let path = layout.partials().join(&partials(&layout)[0]);
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("open");
    let len = file.metadata().expect("there").len();
    let slots = [len - 8192, len - 4096];
    let newest = slots.map(|at| {
        let mut slot = vec![0; 4096];
        file.read_exact_at(&mut slot, at).expect("read");
        String::from_utf8_lossy(&slot).contains("800-900")
    });
    let (new, old) = if newest[0] {
        (slots[0], slots[1])
    } else {
        (slots[1], slots[0])
    };
    file.write_all_at(b"torn", new + 40).expect("write");
    assert_eq!(left_by(&layout), before);
    file.write_all_at(b"torn", old + 40).expect("write");
    assert_eq!(left_by(&layout), Extents::default(), "begun anew");
}

#[test]
fn a_blob_of_another_size_is_begun_anew() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(500..600));
    drop(partial);
    for size in [SIZE - 1, SIZE + 1, 1, 2 * SIZE] {
        let (_dir, copy) = after_kill(&layout);
        let mut partial = ours(&copy, &blob(), size);
        // That file is shorter than the blob, or longer: only the hash tells.
        if size < SIZE * 2 {
            assert_eq!(partial.len(), 0, "{size}");
        }
        partial.truncate(0).expect("truncate");
        partial.append(b"x").expect("append");
        assert_eq!(extents(&*partial), parts(&[0..1]), "{size}");
    }
}

#[test]
fn bytes_that_are_dropped_are_not_recorded() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(0..100));
    write(&mut *partial, &(500..600));
    write(&mut *partial, &(800..900));
    preserve(&mut *partial).expect("recorded");
    let late = partial.preserve().expect("it is always time");
    partial.truncate(550).expect("truncate");
    late().expect("it is void");
    assert_eq!(left_by(&layout), parts(&[0..100, 500..550]));
    partial.truncate(100).expect("truncate");
    assert_eq!(left_by(&layout), parts(&[0..100]));
    partial.truncate(0).expect("truncate");
    write(&mut *partial, &(0..20));
    assert_eq!(left_by(&layout), parts(&[0..20]));
}

/// A spool does not outlive its process: nothing is synced for it.
#[test]
fn parts_in_a_spool_are_not_synced() {
    with_failing_syncs(
        |_| true,
        || {
            let spool = Layout::temporary().expect("spool");
            let begin = || match spool.begin(&blob(), SIZE) {
                Ok(Begun::Ours(partial)) => partial,
                other => panic!("{other:?}"),
            };
            let mut partial = begin();
            write(&mut *partial, &(500..SIZE));
            preserve(&mut *partial).expect("nothing is synced");
            drop(partial);
            let mut partial = begin();
            assert_eq!(extents(&*partial), parts(&[500..SIZE]));
            write(&mut *partial, &(0..500));
            partial.commit().expect("commit");
        },
    );
}

#[test]
fn private_parts_leave_nothing() {
    let (_dir, layout) = fresh();
    let _owner = ours(&layout, &blob(), SIZE);
    let Begun::Ours(mut partial) = layout.begin_private(&blob(), SIZE).expect("begin") else {
        panic!("it is never busy");
    };
    write(&mut *partial, &(500..600));
    assert!(partial.preserve().is_none());
    drop(partial);
    assert_eq!(partials(&layout).len(), 1);
}

/// Others see how far it is, and abandoned ones count as what they take up.
#[test]
fn gaps_count_for_nothing() {
    let (_dir, layout) = fresh();
    let size = 1 << 30;
    let mut partial = ours(&layout, &blob(), size);
    let busy = || match layout.begin(&blob(), size) {
        Ok(Begun::Busy { len }) => len,
        other => panic!("{other:?}"),
    };
    partial
        .write_at(1 << 29, &vec![1; 1 << 16])
        .expect("it fits");
    let before = busy();
    partial
        .write_at(1 << 20, &vec![1; 1 << 16])
        .expect("it fits");
    let after = busy();
    assert!(before < after && after < 1 << 20, "{before} {after}");
    drop(partial);
    let path = layout.partials().join(&partials(&layout)[0]);
    let file = fs::metadata(path).expect("there");
    assert!(file.len() > size && file.blocks() * 512 < 1 << 20);
    let collected = layout.gc().expect("gc");
    assert!(collected.partial_bytes < 1 << 20, "{collected:?}");
}

/// The same where gaps are filled with zeros, as on vfat.
fn without_sparse_files(layout: &Layout) {
    let probed = Probed {
        mode: 0o644,
        is_sparse: false,
    };
    layout.shared.probed.set(probed).expect("not probed yet");
}

#[test]
fn without_sparse_files_there_are_no_gaps() {
    let (_dir, layout) = fresh();
    without_sparse_files(&layout);
    let mut partial = ours(&layout, &blob(), SIZE);
    assert!(partial.is_append_only());
    write(&mut *partial, &(0..100));
    let written = partial.write_at(101, &bytes(&(101..200)));
    let error = written.expect_err("there would be a gap");
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    drop(partial);
    assert_eq!(left_by(&layout), parts(&[0..100]));
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(100..SIZE));
    partial.commit().expect("commit");
    assert!(load(&layout, &blob()) == Some(content()));
}

/// A layout with a partial that has gaps was copied to where there are none.
#[test]
fn without_sparse_files_what_is_behind_a_gap_goes() {
    let (_dir, layout) = fresh();
    let mut partial = ours(&layout, &blob(), SIZE);
    write(&mut *partial, &(0..100));
    write(&mut *partial, &(500..600));
    preserve(&mut *partial).expect("recorded");
    let (_dir, copy) = after_kill(&layout);
    without_sparse_files(&copy);
    let mut partial = ours(&copy, &blob(), SIZE);
    assert_eq!(extents(&*partial), parts(&[0..100]));
    let path = copy.partials().join(&partials(&copy)[0]);
    assert_eq!(fs::metadata(path).expect("there").len(), 100);
    write(&mut *partial, &(100..SIZE));
    partial.commit().expect("commit");
    assert!(load(&copy, &blob()) == Some(content()));
}

/// Any writes and saves in any order: whatever is left by a kill was written.
#[test]
fn of_any_parts_only_what_was_written_is_left() {
    let mut seed = 7_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for _ in 0..12 {
        let (_dir, layout) = fresh();
        let mut partial = ours(&layout, &blob(), SIZE);
        let mut prepared = Vec::new();
        for _ in 0..25 {
            match draw(8) {
                0 => prepared.extend(partial.preserve()),
                1 => prepared.drain(..).for_each(|save| save().expect("saved")),
                2 => preserve(&mut *partial).expect("saved"),
                3 => {
                    drop(partial);
                    partial = ours(&layout, &blob(), SIZE);
                }
                4 if draw(3) == 0 => partial.truncate(draw(SIZE)).expect("truncate"),
                _ => {
                    let missing = extents(&*partial);
                    let gaps: Vec<_> = missing.gaps(SIZE).collect();
                    let Some(gap) = gaps.get(usize::try_from(draw(3)).expect("small")) else {
                        continue;
                    };
                    let start = gap.start + draw(gap.end - gap.start);
                    let end = (start + 1 + draw(2000)).min(gap.end);
                    write(&mut *partial, &(start..end));
                }
            }
            let written = extents(&*partial);
            for part in left_by(&layout).iter() {
                let known = written
                    .iter()
                    .any(|it| it.start <= part.start && part.end <= it.end);
                assert!(known, "{part:?} of {written:?}");
            }
        }
        let gaps: Vec<_> = extents(&*partial).gaps(SIZE).collect();
        gaps.iter().for_each(|gap| write(&mut *partial, gap));
        partial.commit().expect("commit");
        assert!(load(&layout, &blob()) == Some(content()));
    }
}
