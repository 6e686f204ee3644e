//! Steps against real layouts, and partials between two steps.

use std::fs::File;
use std::time::{Duration, SystemTime};

use windlass_core::{Algorithm, Descriptor, Extents};
use windlass_store::Layout;

use super::*;

struct World {
    stores: Stores,
    store: Arc<dyn Store>,
    id: StoreId,
}

fn world() -> World {
    let store: Arc<dyn Store> = Arc::new(Layout::temporary().expect("spool"));
    let stores = Stores::default();
    let id = stores.add(&store);
    World { stores, store, id }
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn hashed(answer: StoreAnswer) -> Hashing {
    let StoreAnswer::Hashed(hashing) = answer else {
        panic!("expected a hash, got {answer:?}");
    };
    hashing
}

/// Goes on with a hash.
fn from(digest: &Digest, hashing: Hashing, upto: u64) -> StoreOp {
    StoreOp::Hash {
        digest: digest.clone(),
        hashing,
        upto,
    }
}

impl World {
    fn step(&self, op: &StoreOp) -> Result<StoreAnswer, StoreError> {
        self.stores.step(self.id, op)
    }

    fn begin(&self, digest: &Digest, size: u64) -> StoreAnswer {
        let digest = digest.clone();
        self.step(&StoreOp::Begin {
            digest,
            size,
            private: false,
        })
        .expect("begin")
    }

    fn append(&self, digest: &Digest, bytes: &[u8]) {
        let lease = self.stores.lease(self.id, digest).expect("held");
        let appended = lease.with(|partial| partial.append(bytes));
        appended.expect("append");
    }

    fn hash(&self, digest: &Digest, upto: u64) -> Result<Digest, StoreError> {
        let hashing = Hashing::new(Algorithm::Sha256);
        Ok(hashed(self.step(&from(digest, hashing, upto))?).digest())
    }
}

#[test]
fn a_store_keeps_its_id_while_it_is_used() {
    let World { stores, store, id } = world();
    let other: Arc<dyn Store> = Arc::new(Layout::temporary().expect("spool"));
    let second = stores.add(&other);
    assert_ne!(second, id);
    assert_eq!(stores.add(&store), id);
    stores.forget(id);
    assert_eq!(stores.add(&store), id);
    stores.forget(id);
    stores.forget(id);
    stores.forget(id);
    let find = StoreOp::Find { name: None };
    stores.step(id, &find).expect_err("forgotten");
    let third = stores.add(&store);
    assert!(third != id && third != second, "ids are not used again");
}

#[test]
fn a_blob_from_begin_to_commit() {
    let world = world();
    let digest = sha256(b"hello");
    assert!(matches!(
        world.begin(&digest, 5),
        StoreAnswer::Extents(it) if it == Extents::first(0)
    ));
    world.append(&digest, b"hel");
    assert!(matches!(
        world.begin(&digest, 5),
        StoreAnswer::Extents(it) if it == Extents::first(3)
    ));
    assert_eq!(world.hash(&digest, 3).expect("hash"), sha256(b"hel"));
    assert_eq!(world.hash(&digest, 2).expect("hash"), sha256(b"he"));
    // A hash goes on from where it is.
    let hashing = hashed(
        world
            .step(&from(&digest, Hashing::new(Algorithm::Sha256), 1))
            .expect("hash"),
    );
    assert_eq!(hashing.len(), 1);
    let hashing = hashed(world.step(&from(&digest, hashing, 3)).expect("hash"));
    assert_eq!(hashing.digest(), sha256(b"hel"));
    let error = world.hash(&digest, 4).expect_err("too short");
    assert_eq!(error.kind(), StoreErrorKind::Io);

    let commit = StoreOp::Commit {
        digest: digest.clone(),
        size: 5,
    };
    world.step(&commit).expect_err("too short");
    world.append(&digest, b"lo");
    world.step(&commit).expect("commit");
    world.step(&commit).expect_err("no longer open");
    assert!(matches!(world.begin(&digest, 5), StoreAnswer::Complete));

    let load = |limit| {
        let digest = digest.clone();
        world.step(&StoreOp::Load { digest, limit })
    };
    assert!(matches!(load(5), Ok(StoreAnswer::Loaded(bytes)) if bytes == b"hello"));
    assert_eq!(
        load(4).expect_err("too large").kind(),
        StoreErrorKind::TooLarge
    );
    let remove = StoreOp::Remove {
        digest: digest.clone(),
    };
    world.step(&remove).expect("remove");
    assert!(matches!(load(5), Ok(StoreAnswer::Absent)));
}

#[test]
fn a_released_partial_is_free_for_others() {
    let world = world();
    let digest = sha256(b"hello");
    world.begin(&digest, 5);
    world.append(&digest, b"hel");
    let begun = world.store.begin(&digest, 5).expect("begin");
    assert!(matches!(begun, Begun::Busy { len: 3 }));
    let release = StoreOp::Release {
        digest: digest.clone(),
    };
    world.step(&release).expect("release");
    world.step(&release).expect("twice is fine");
    let begun = world.store.begin(&digest, 5).expect("begin");
    let Begun::Ours(partial) = begun else {
        panic!("free");
    };
    assert!(matches!(
        world.begin(&digest, 5),
        StoreAnswer::Busy { len: 3 }
    ));
    drop(partial);
    assert!(matches!(
        world.begin(&digest, 5),
        StoreAnswer::Extents(it) if it == Extents::first(3)
    ));
    let discard = StoreOp::Discard {
        digest: digest.clone(),
    };
    world.step(&discard).expect("discard");
    assert!(matches!(
        world.begin(&digest, 5),
        StoreAnswer::Extents(it) if it == Extents::first(0)
    ));
}

#[test]
fn forgetting_a_store_releases_its_partials() {
    let world = world();
    let digest = sha256(b"hello");
    world.begin(&digest, 5);
    let lease = world.stores.lease(world.id, &digest).expect("held");
    world.stores.forget(world.id);
    // The worker that it was lent to releases it.
    drop(lease);
    let begun = world.store.begin(&digest, 5).expect("begin");
    assert!(matches!(begun, Begun::Ours(_)), "{begun:?}");
}

#[test]
fn a_store_is_known_until_each_that_added_it_forgets_it() {
    let stores = Stores::default();
    let [first, second]: [Arc<dyn Store>; 2] =
        [(); 2].map(|()| Arc::new(Layout::temporary().expect("spool")) as _);
    let (id, other) = (stores.add(&first), stores.add(&second));
    assert_ne!(id, other);
    assert_eq!(stores.add(&first), id);
    stores.forget(id);
    assert_eq!(stores.add(&first), id);
    for id in [id, other, id, other] {
        stores.forget(id);
    }
    let table = stores.shared.table();
    assert!(table.stores.is_empty() && table.ids.is_empty());
    drop(table);
    assert!(![id, other].contains(&stores.add(&first)));
}

#[test]
fn an_import_goes_on_and_hashes_the_whole() {
    let world = world();
    let from: Arc<dyn Store> = Arc::new(Layout::temporary().expect("spool"));
    let from_id = world.stores.add(&from);
    let blob = vec![7; 600 * 1024];
    let digest = sha256(&blob);
    let import = |size| StoreOp::Import {
        from: from_id,
        digest: digest.clone(),
        size,
    };
    let size = blob.len() as u64;
    world.begin(&digest, size);
    world.append(&digest, &blob[..1000]);
    let absent = world.step(&import(size)).expect("import");
    assert!(matches!(absent, StoreAnswer::Absent));
    from.put(&digest, &blob).expect("put");
    let answer = world.step(&import(size)).expect("import");
    assert_eq!(hashed(answer).digest(), digest);
    for wrong in [size - 1, size + 1] {
        let error = world.step(&import(wrong)).expect_err("wrong size");
        assert_eq!(error.kind(), StoreErrorKind::Damaged);
    }
}

#[test]
fn names_and_documents_pass_through() {
    let world = world();
    let digest = sha256(b"{}");
    let put = StoreOp::Put {
        digest: digest.clone(),
        bytes: b"{}".as_slice().into(),
    };
    world.step(&put).expect("put");
    let load = StoreOp::Load {
        digest: digest.clone(),
        limit: 2,
    };
    let loaded = world.step(&load).expect("load");
    assert!(matches!(loaded, StoreAnswer::Loaded(bytes) if bytes == b"{}"));
    let tag = StoreOp::Tag {
        name: Some("v1".into()),
        descriptor: Descriptor::new("application/json", digest.clone(), 2),
    };
    world.step(&tag).expect("tag");
    let find = StoreOp::Find { name: None };
    let found = world.step(&find).expect("find");
    assert!(matches!(found, StoreAnswer::Found(found) if found.digest == digest));
}

/// Design §6, a partial has one owner: a worker that was given up wants to write after the blob was begun
/// again. It has lost the partial.
#[test]
fn a_late_partial_never_replaces_a_newer_one() {
    let world = world();
    let digest = sha256(b"hello");
    world.begin(&digest, 5);
    let late = world.stores.lease(world.id, &digest).expect("held");
    let release = StoreOp::Release {
        digest: digest.clone(),
    };
    world.step(&release).expect("given up");
    let begin = |private| {
        let digest = digest.clone();
        world.step(&StoreOp::Begin {
            digest,
            size: 5,
            private,
        })
    };
    assert!(matches!(begin(false), Ok(StoreAnswer::Extents(it)) if it == Extents::first(0)));
    world.append(&digest, b"hel");
    let write = |partial: &mut dyn Partial| partial.append(b"xyz");
    late.with(write).expect_err("it was released");
    let late = world.stores.lease(world.id, &digest).expect("held");
    assert!(matches!(begin(false), Ok(StoreAnswer::Extents(it)) if it == Extents::first(3)));
    late.with(write).expect_err("the blob was begun again");
    assert_eq!(world.hash(&digest, 3).expect("hash"), sha256(b"hel"));
    world.append(&digest, b"lo");
    let commit = StoreOp::Commit {
        digest: digest.clone(),
        size: 5,
    };
    world.step(&commit).expect("commit");
    let load = StoreOp::Load { digest, limit: 5 };
    let loaded = world.step(&load);
    assert!(matches!(loaded, Ok(StoreAnswer::Loaded(bytes)) if bytes == b"hello"));
}

/// The worker hangs within a write: what it writes to is not waited for.
#[test]
fn a_partial_that_is_being_written_to_is_busy_when_the_blob_is_begun_again() {
    let world = world();
    let digest = sha256(b"hello");
    world.begin(&digest, 5);
    let late = world.stores.lease(world.id, &digest).expect("held");
    let begun = late.with(|_| Ok(world.begin(&digest, 5)));
    assert!(
        matches!(begun, Ok(StoreAnswer::Busy { len: 0 })),
        "{begun:?}"
    );
    drop(late);
    assert!(matches!(
        world.begin(&digest, 5),
        StoreAnswer::Extents(it) if it == Extents::first(0)
    ));
}

/// A store in memory takes bytes at any offset, from several workers at once.
#[test]
fn several_workers_write_to_one_partial() {
    let store: Arc<dyn Store> = Arc::new(windlass_store::Memory::new(1 << 20));
    let stores = Stores::default();
    let id = stores.add(&store);
    let blob: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = sha256(&blob);
    let begin = StoreOp::Begin {
        digest: digest.clone(),
        size: blob.len() as u64,
        private: false,
    };
    let begun = stores.step(id, &begin);
    assert!(
        matches!(&begun, Ok(StoreAnswer::Extents(it)) if it.is_empty()),
        "{begun:?}"
    );
    std::thread::scope(|scope| {
        for (n, part) in blob.chunks(50_000).enumerate().rev() {
            let lease = stores.lease(id, &digest).expect("held");
            scope.spawn(move || {
                for (k, chunk) in part.chunks(1000).enumerate() {
                    let offset = (n * 50_000 + k * 1000) as u64;
                    let written = lease.with(|partial| partial.write_at(offset, chunk));
                    written.expect("it fits");
                }
            });
        }
    });
    let begun = stores.step(id, &begin);
    let Ok(StoreAnswer::Extents(extents)) = begun else {
        panic!("{begun:?}");
    };
    assert_eq!(extents.prefix(), 200_000);
    let hash = from(&digest, Hashing::new(Algorithm::Sha256), 200_000);
    assert_eq!(
        hashed(stores.step(id, &hash).expect("hash")).digest(),
        digest
    );
}

/// A step that calls a blob complete notes the use first, or `gc` would remove the blob under the task.
#[test]
fn a_store_is_in_use_from_the_first_blob_until_it_is_forgotten() {
    let dir = tempfile::tempdir().expect("a folder");
    let layout = Layout::open_or_create(dir.path()).expect("a layout");
    let digest = sha256(b"found");
    layout.put(&digest, b"found").expect("put");
    let path = dir.path().join("blobs/sha256").join(digest.encoded());
    let earlier = SystemTime::now() - Duration::from_secs(10);
    let file = File::open(path).expect("open");
    file.set_modified(earlier).expect("set the time");

    let world = world();
    let store: Arc<dyn Store> = Arc::new(layout.clone());
    let id = world.stores.add(&store);
    let begin = StoreOp::Begin {
        digest,
        size: 5,
        private: false,
    };
    let begun = world.stores.step(id, &begin);
    assert!(matches!(begun, Ok(StoreAnswer::Complete)), "{begun:?}");
    assert_eq!(layout.gc().expect("gc").blobs, 0);
    world.stores.forget(id);
    assert_eq!(layout.gc().expect("gc").blobs, 1);
}

/// A worker that died left the pipe to a reader behind: it takes the blob from its first byte again.
#[test]
fn a_pipe_begins_again_at_its_first_byte() {
    let blob = Descriptor::new("a/b", Digest::of(Algorithm::Sha256, b"hello"), 5);
    let (mut reader, store, end) = crate::BlobReader::new(&blob, &crate::CancelHandle::new());
    let stores = Stores::default();
    let id = stores.add(&store);
    let begin = StoreOp::Begin {
        digest: blob.digest.clone(),
        size: 5,
        private: false,
    };
    stores.step(id, &begin).expect("begun");
    let append = |bytes: &[u8]| {
        let lease = stores.lease(id, &blob.digest).expect("held");
        let appended = lease.with(|partial| partial.append(bytes));
        appended.expect("there is room");
    };
    append(b"hel");
    let answer = stores.step(id, &begin).expect("begun again");
    assert!(
        matches!(answer, StoreAnswer::Partial { len: 0, .. }),
        "{answer:?}"
    );
    append(b"hello");
    drop(end);
    let mut bytes = Vec::new();
    // Its end was not told; the bytes are the blob's.
    reader
        .read_to_end(&mut bytes)
        .expect_err("the end was not told");
    assert_eq!(bytes, b"hello");
}
