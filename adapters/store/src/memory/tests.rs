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
