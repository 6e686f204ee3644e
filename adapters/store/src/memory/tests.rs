//! Blobs, partials and names of a store in memory.

use windlass_core::Algorithm;

use super::*;

fn digest(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn ours(memory: &Memory, digest: &Digest, size: u64) -> Box<dyn Partial> {
    match memory.begin(digest, size) {
        Ok(Begun::Ours(partial)) => partial,
        other => panic!("not ours: {other:?}"),
    }
}

fn read(memory: &Memory, digest: &Digest, offset: u64) -> Vec<u8> {
    let source = memory.open(digest, offset).expect("it can be read");
    let mut bytes = Vec::new();
    let read = source.expect("it is there").read_to_end(&mut bytes);
    read.expect("it is in memory");
    bytes
}

#[test]
fn a_blob_from_begin_to_remove() {
    let memory = Memory::new(100);
    let name = digest(b"hello");
    let mut partial = ours(&memory, &name, 5);
    assert!(partial.is_empty());
    partial.append(b"help").expect("it fits");
    partial.truncate(3).expect("it can be cut");
    partial.append(b"lo").expect("it fits");
    assert!(memory.open(&name, 0).expect("it can be asked").is_none());
    partial.commit().expect("it can be named");
    assert_eq!(memory.used(), 5);
    assert_eq!(memory.partials(), []);
    assert_eq!(memory.digests(), std::slice::from_ref(&name));
    assert_eq!(read(&memory, &name, 0), b"hello");
    assert_eq!(read(&memory, &name, 3), b"lo");
    assert_eq!(read(&memory, &name, 9), b"");
    assert!(matches!(memory.begin(&name, 5), Ok(Begun::Complete)));
    assert!(memory.contains(&name, 5).expect("it can be asked"));
    // Of another size it counts as absent.
    assert!(!memory.contains(&name, 6).expect("it can be asked"));
    drop(ours(&memory, &name, 6));
    memory.remove(&name).expect("it can be removed");
    memory.remove(&name).expect("nothing to do");
    assert_eq!(memory.used(), 0);
    assert!(memory.blob(&name).is_none());
}

#[test]
fn a_partial_has_one_owner_and_keeps_its_bytes() {
    let memory = Memory::new(100);
    let name = digest(b"hello");
    let mut partial = ours(&memory, &name, 5);
    partial.append(b"hel").expect("it fits");
    assert!(matches!(memory.begin(&name, 5), Ok(Begun::Busy { len: 3 })));
    let listed = MemoryPartial {
        digest: name.clone(),
        len: 3,
        is_owned: true,
    };
    assert_eq!(memory.partials(), std::slice::from_ref(&listed));
    drop(partial);
    let is_owned = false;
    assert_eq!(memory.partials(), [MemoryPartial { is_owned, ..listed }]);
    let mut partial = ours(&memory, &name, 5);
    let mut bytes = Vec::new();
    let mut source = partial.read(0).expect("it can be read");
    source.read_to_end(&mut bytes).expect("it is in memory");
    drop(source);
    assert_eq!(bytes, b"hel");
    // Nothing is kept of one that is empty.
    partial.truncate(0).expect("it can be cut");
    drop(partial);
    assert_eq!((memory.partials(), memory.used()), (vec![], 0));
}

#[test]
fn a_private_partial_leaves_its_blobs_owner_alone() {
    let memory = Memory::new(100);
    let name = digest(b"hello");
    let mut first = ours(&memory, &name, 5);
    first.append(b"hel").expect("it fits");
    let private = || match memory.begin_private(&name, 5) {
        Ok(Begun::Ours(partial)) => partial,
        other => panic!("not ours: {other:?}"),
    };
    let mut second = private();
    second.append(b"he").expect("it fits");
    drop(second);
    assert_eq!(memory.used(), 3);
    let mut third = private();
    third.append(b"hello").expect("it fits");
    third.commit().expect("it can be named");
    assert_eq!(read(&memory, &name, 0), b"hello");
    // The second commit names the same bytes.
    first.append(b"lo").expect("it fits");
    first.commit().expect("it can be named");
    assert_eq!((memory.partials(), memory.used()), (vec![], 5));
}

#[test]
fn more_than_its_limit_does_not_fit() {
    let memory = Memory::new(8);
    let full = |error: StoreError| assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
    full(memory.begin(&digest(b"large"), 9).expect_err("too large"));
    let name = digest(b"hello");
    let mut partial = ours(&memory, &name, 5);
    partial.append(b"hell").expect("it fits");
    full(memory.put(&digest(b"other"), b"other").expect_err("full"));
    memory.put(&digest(b"four"), b"four").expect("it fits");
    full(partial.append(b"o").expect_err("full"));
    assert_eq!(partial.len(), 4, "what was there stays");
    memory.remove(&digest(b"four")).expect("it can be removed");
    partial.append(b"o").expect("there is room again");
    partial.commit().expect("it can be named");
    // What is replaced needs no room twice, once it is replaced.
    memory.put(&digest(b"two"), b"tw").expect("it fits");
    assert_eq!(memory.used(), 7);
}

#[test]
fn names_are_found_replaced_and_listed() {
    let memory = Memory::new(100);
    let entry = |bytes: &[u8]| Descriptor::new("text/plain", digest(bytes), bytes.len() as u64);
    let fails = |name: Option<&str>| {
        let error = memory.find(name).expect_err("no such entry");
        (error.kind(), error.to_string())
    };
    assert_eq!(
        fails(None),
        (
            StoreErrorKind::NoSuchName,
            "the store in memory holds nothing".into()
        )
    );
    memory.tag(Some("v1"), &entry(b"one")).expect("named");
    memory.tag(Some("v1"), &entry(b"two")).expect("replaced");
    assert_eq!(memory.find(None).expect("the only one"), entry(b"two"));
    // An unnamed entry is added only if nothing stands for its digest yet.
    memory.tag(None, &entry(b"two")).expect("it is there");
    assert_eq!(memory.names().len(), 1);
    memory.tag(None, &entry(b"three")).expect("added");
    memory.tag(None, &entry(b"three")).expect("it is there");
    assert_eq!(memory.names().len(), 2);
    assert_eq!(memory.find(Some("v1")).expect("named"), entry(b"two"));
    assert_eq!(fails(None).0, StoreErrorKind::Ambiguous);
    let (kind, why) = fails(Some("v2"));
    assert_eq!(kind, StoreErrorKind::NoSuchName);
    assert!(why.contains("\"v2\"") && why.contains("\"v1\""), "{why}");
}

#[test]
fn an_unknown_algorithm_is_refused() {
    let memory = Memory::new(100);
    let name: Digest = "blake3:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        .parse()
        .expect("a digest");
    let error = memory.begin(&name, 1).expect_err("unknown");
    assert_eq!(error.kind(), StoreErrorKind::Denied);
}

fn extents(partial: &dyn Partial) -> Vec<(u64, u64)> {
    let extents = partial.extents().into_iter();
    extents.map(|part| (part.start, part.end)).collect()
}

/// The parts of a blob come in any order.
#[test]
fn bytes_are_written_at_any_offset() {
    let memory = Memory::new(100);
    let name = digest(b"0123456789");
    let mut partial = ours(&memory, &name, 10);
    assert!(!partial.is_append_only());
    for (offset, bytes, parts) in [
        (8, b"89".as_slice(), vec![(8, 10)]),
        (3, b"34", vec![(3, 5), (8, 10)]),
        (5, b"", vec![(3, 5), (8, 10)]),
        (5, b"5", vec![(3, 6), (8, 10)]),
        (0, b"0", vec![(0, 1), (3, 6), (8, 10)]),
        (1, b"12", vec![(0, 6), (8, 10)]),
    ] {
        partial.write_at(offset, bytes).expect("it fits");
        assert_eq!(extents(&*partial), parts);
    }
    assert_eq!((partial.len(), memory.used()), (6, 8));
    let mut bytes = Vec::new();
    let mut source = partial.read(4).expect("it can be read");
    source.read_to_end(&mut bytes).expect("it is in memory");
    drop(source);
    assert_eq!(bytes, b"45", "nothing is read behind a gap");
    for (offset, bytes) in [(5, b"56".as_slice()), (7, b"78"), (u64::MAX, b"x")] {
        let error = partial.write_at(offset, bytes).expect_err("unwritable");
        assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{error}");
    }
    assert_eq!(
        (extents(&*partial), memory.used()),
        (vec![(0, 6), (8, 10)], 8)
    );
    partial.append(b"67").expect("it fits");
    assert_eq!((partial.len(), extents(&*partial)), (10, vec![(0, 10)]));
    partial.commit().expect("it can be named");
    assert_eq!(read(&memory, &name, 0), b"0123456789");
    assert_eq!(memory.used(), 10);
}

/// A gap is never taken for bytes: not at the commit, and not by who goes on with the partial.
#[test]
fn what_is_behind_a_gap_does_not_count() {
    let memory = Memory::new(100);
    let name = digest(b"0123456789");
    let with_gap = || {
        let mut partial = ours(&memory, &name, 10);
        partial.truncate(0).expect("it can be cut");
        for (offset, bytes) in [(0, b"01".as_slice()), (4, b"456"), (8, b"89")] {
            partial.write_at(offset, bytes).expect("it fits");
        }
        partial
    };
    let error = with_gap().commit().expect_err("there is a gap");
    assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
    assert!(memory.blob(&name).is_none());
    drop(with_gap());
    let found = ours(&memory, &name, 10);
    assert_eq!((found.len(), memory.used()), (2, 7));
    assert_eq!(extents(&*found), [(0, 2), (4, 7), (8, 10)], "kept");
    drop(found);
    for (len, parts) in [
        (9, vec![(0, 2), (4, 7), (8, 9)]),
        (8, vec![(0, 2), (4, 7)]),
        (5, vec![(0, 2), (4, 5)]),
        (4, vec![(0, 2)]),
        (1, vec![(0, 1)]),
    ] {
        let mut partial = with_gap();
        partial.truncate(len).expect("it can be cut");
        let used = parts.iter().map(|(from, to)| to - from).sum::<u64>();
        assert_eq!((extents(&*partial), memory.used()), (parts, used), "{len}");
    }
}

/// A store that only appends implements no more than it must.
#[derive(Debug, Default)]
struct Appended(Vec<u8>);

impl Partial for Appended {
    fn len(&self) -> u64 {
        length(&self.0)
    }

    fn read(&mut self, _: u64) -> Result<Box<dyn Read + '_>, StoreError> {
        Err(StoreError::new(StoreErrorKind::Io, "it is not read"))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, _: u64) -> Result<(), StoreError> {
        Err(StoreError::new(StoreErrorKind::Io, "it is not cut"))
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn a_simple_store_only_appends() {
    let mut partial = Appended::default();
    assert!(partial.is_append_only() && partial.is_empty());
    assert_eq!(extents(&partial), []);
    partial.write_at(0, b"01").expect("it is the end");
    partial.write_at(2, b"23").expect("it is the end");
    assert_eq!(extents(&partial), [(0, 4)]);
    for offset in [0, 3, 5] {
        let error = partial.write_at(offset, b"x").expect_err("not the end");
        assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{error}");
    }
    assert_eq!(partial.0, b"0123");
}
