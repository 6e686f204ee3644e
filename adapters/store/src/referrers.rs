//! The list of what refers to a manifest, kept in a store as in a registry without the referrers API: an index at
//! the referrers tag.
//!
//! Responsible for reading and adding to that list. Must not know what else a store has that refers to a manifest.

use std::io::Read as _;

use windlass_core::config::Limits;
use windlass_core::manifest::media_type::OCI_INDEX;
use windlass_core::manifest::{Declared, Document};
use windlass_core::{Algorithm, Descriptor, Digest, StoreError, StoreErrorKind, referrers};

use crate::store::Store;

/// What the list at the tag has.
pub(crate) fn listed<S: Store + ?Sized>(
    store: &S,
    subject: &Digest,
) -> Result<Vec<Descriptor>, StoreError> {
    let Some(list) = read(store, subject)? else {
        return Ok(Vec::new());
    };
    let entries = referrers::entries(&list).map_err(|why| unusable(store, subject, &why))?;
    Ok(entries.to_vec())
}

/// Adds to the list at the tag. No other writer may change it meanwhile.
pub(crate) fn add<S: Store + ?Sized>(
    store: &S,
    subject: &Digest,
    entries: &[Descriptor],
) -> Result<(), StoreError> {
    let before = read(store, subject)?;
    let limit = Limits::default().document;
    let after = referrers::with(before.as_ref(), entries, limit)
        .map_err(|why| unusable(store, subject, &why))?;
    if before.is_some_and(|before| before.bytes()[..] == after) {
        return Ok(());
    }
    let digest = Digest::of(Algorithm::Sha256, &after);
    store.put(&digest, &after)?;
    let name = referrers::tag(subject);
    let descriptor = Descriptor::new(OCI_INDEX, digest, after.len() as u64);
    store.tag(Some(name.as_str()), &descriptor)
}

/// A document of a store, verified; `None` if the store does not have it.
pub(crate) fn document<S: Store + ?Sized>(
    store: &S,
    descriptor: &Descriptor,
) -> Result<Option<Document>, StoreError> {
    let Descriptor {
        digest, media_type, ..
    } = descriptor;
    let Some(blob) = store.open(digest, 0)? else {
        return Ok(None);
    };
    let failed = |kind, why: &dyn std::fmt::Display| {
        let title = store.title();
        StoreError::new(kind, format!("{title}: manifest {digest}: {why}"))
    };
    let limit = Limits::default().document;
    let mut bytes = Vec::new();
    blob.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(StoreErrorKind::Io, &error))?;
    if bytes.len() as u64 > limit {
        let why = format!("it has more than {limit} bytes");
        return Err(failed(StoreErrorKind::TooLarge, &why));
    }
    Document::parse_as(bytes, Declared::ContentType(Some(media_type)), digest)
        .map(Some)
        .map_err(|error| failed(StoreErrorKind::Damaged, &error))
}

fn read<S: Store + ?Sized>(store: &S, subject: &Digest) -> Result<Option<Document>, StoreError> {
    match store.find(Some(referrers::tag(subject).as_str())) {
        Ok(descriptor) => document(store, &descriptor),
        Err(error) if error.kind() == StoreErrorKind::NoSuchName => Ok(None),
        Err(error) => Err(error),
    }
}

fn unusable<S: Store + ?Sized>(store: &S, subject: &Digest, why: &str) -> StoreError {
    let title = store.title();
    let what = format!("{title}: the list of the referrers of {subject} cannot be used: {why}");
    StoreError::new(StoreErrorKind::Damaged, what)
}
