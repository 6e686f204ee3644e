//! `windlass blob`: single blobs.

use std::io;

use serde_json::json;
use windlass_core::{BlobDelivery, BlobFound, BlobPut, Error};
use windlass_driver::{BlobContent, BlobStream, RequestSpec};

use super::manifest::deleted;
use super::{Context, blob_get, input};
use crate::args;
use crate::exit::Problem;

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
    let spec = if input::is_standard(&words.file) {
        if !words.mounting.mount_from.is_empty() {
            let what = "--mount-from is for files: a blob is mounted by its digest, which is known at the end of a stream";
            return Err(Problem::Usage(what.into()));
        }
        RequestSpec::put_stream(&words.repository, BlobStream::new(io::stdin()))
    } else {
        context.keep_uploads(&words.resume);
        put_file(words)?
    };
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

fn put_file(words: &args::BlobPut) -> Result<RequestSpec, Problem> {
    let algorithm = words.repository.digest().and_then(|it| it.algorithm());
    let content = match algorithm {
        Some(algorithm) => BlobContent::file_hashed(&words.file, algorithm),
        None => BlobContent::file(&words.file),
    };
    let content = content.map_err(|error| Problem::failed(Error::Store(error)))?;
    let mut spec = RequestSpec::put_blob(&words.repository, content);
    for from in &words.mounting.mount_from {
        spec.mount_from(from.clone());
    }
    Ok(spec)
}
