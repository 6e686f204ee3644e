//! `windlass blob`: single blobs.

use serde_json::json;
use windlass_core::{BlobDelivery, BlobFound, BlobPut, Error};
use windlass_driver::{BlobContent, RequestSpec};

use super::manifest::deleted;
use super::{Context, blob_get, input};
use crate::args;
use crate::exit::Problem;

/// The most bytes of a blob that comes from standard input: it is held in memory.
const MOST: u64 = 64 << 20;

pub(super) fn run(context: &Context, command: &args::Blob) -> Result<(), Problem> {
    match command {
        args::Blob::Get(words) => blob_get::run(context, words),
        args::Blob::Head(words) => head(context, words),
        args::Blob::Put(words) => put(context, words),
        args::Blob::Delete(words) => {
            let spec = RequestSpec::delete_blob(&words.reference);
            deleted(context, &words.reference, spec, &words.missing)
        }
    }
}

fn head(context: &Context, words: &args::BlobHead) -> Result<(), Problem> {
    let spec = RequestSpec::find_blob(&words.reference);
    let BlobFound { digest, size, .. } = context.ask(&words.reference, spec)?;
    let line = if context.printer.is_json() {
        json!({
            "reference": words.reference.to_string(),
            "digest": digest.as_str(),
            "size": size,
        })
        .to_string()
    } else {
        size.to_string()
    };
    context.printer.result(&line).map_err(Problem::Output)
}

fn put(context: &Context, words: &args::BlobPut) -> Result<(), Problem> {
    let algorithm = words.repository.digest().and_then(|it| it.algorithm());
    let content = if input::is_standard(&words.file) {
        BlobContent::from(input::read(&words.file, MOST)?)
    } else {
        let content = match algorithm {
            Some(algorithm) => BlobContent::file_hashed(&words.file, algorithm),
            None => BlobContent::file(&words.file),
        };
        content.map_err(|error| Problem::failed(Error::Store(error)))?
    };
    let mut spec = RequestSpec::put_blob(&words.repository, content);
    if let Some(from) = &words.from {
        spec.from(from.clone());
    }
    let BlobPut {
        digest, size, how, ..
    } = context.ask(&words.repository, spec)?;
    let how = match how {
        BlobDelivery::Sent(_) => "sent",
        BlobDelivery::Mounted => "mounted",
        BlobDelivery::Present => "present",
        _ => "there",
    };
    context.printer.note(&format!("{size} bytes, {how}"));
    let line = if context.printer.is_json() {
        let (registry, repository) = (words.repository.registry(), words.repository.repository());
        json!({
            "repository": format!("{registry}/{repository}"),
            "digest": digest.as_str(),
            "size": size,
            "how": how,
        })
        .to_string()
    } else {
        digest.to_string()
    };
    context.printer.result(&line).map_err(Problem::Output)
}
