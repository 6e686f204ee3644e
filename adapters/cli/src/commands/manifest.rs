//! `windlass manifest`, `windlass tag` and `windlass delete`: single manifests.

use serde_json::{Value, json};
use windlass_core::{Deleted, ErrorKind, Manifest, Platforms, Put, Reference};
use windlass_driver::RequestSpec;

use super::{Context, digest, input, unlisted};
use crate::args;
use crate::exit::Problem;

/// The most bytes of a manifest: what registries take.
const MOST: u64 = 4 << 20;

pub(super) fn run(context: &Context, command: &args::Manifest) -> Result<(), Problem> {
    match command {
        args::Manifest::Get(words) => get(context, words),
        args::Manifest::Head(words) => digest::print(context, &words.reference),
        args::Manifest::Put(words) => put(context, words),
        args::Manifest::Delete(words) => {
            let spec = RequestSpec::delete_manifest(&words.reference);
            deleted(context, &words.reference, spec, &words.missing)
        }
    }
}

pub(super) fn tag(context: &Context, words: &args::TagImage) -> Result<(), Problem> {
    let spec = RequestSpec::tag(&words.reference, words.tags.iter().cloned());
    let report: Put = context.ask(&words.reference, spec)?;
    print_put(context, &words.reference, &report)
}

pub(super) fn delete(context: &Context, words: &args::Delete) -> Result<(), Problem> {
    let reference = &words.reference;
    let spec = if words.with_manifest {
        RequestSpec::delete_manifest(reference)
    } else {
        RequestSpec::delete(reference)
    };
    deleted(context, reference, spec, &words.missing)
}

fn get(context: &Context, words: &args::ManifestGet) -> Result<(), Problem> {
    let mut spec = RequestSpec::manifest(&words.reference);
    if let Some(platform @ Platforms::One(_)) = &words.platform {
        spec.platforms(platform.clone());
    }
    let Manifest {
        descriptor, bytes, ..
    } = context.ask(&words.reference, spec)?;
    let printer = &context.printer;
    if !printer.is_json() {
        return printer.bytes(&bytes).map_err(Problem::Output);
    }
    // It was parsed before.
    let manifest: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let line = json!({
        "reference": words.reference.to_string(),
        "digest": descriptor.digest.as_str(),
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        "manifest": manifest,
    });
    printer.result(&line.to_string()).map_err(Problem::Output)
}

fn put(context: &Context, words: &args::ManifestPut) -> Result<(), Problem> {
    let bytes = input::read(&words.file, MOST)?;
    let media_type = match &words.media_type {
        Some(media_type) => media_type.clone(),
        None => media_type(&bytes).ok_or_else(|| {
            let why = "the manifest does not say its media type; give --media-type";
            Problem::Usage(why.to_owned())
        })?,
    };
    let mut spec = RequestSpec::put_manifest(&words.reference, bytes, media_type);
    for tag in &words.tag {
        spec.add_tag(tag.clone());
    }
    let report: Put = context.ask(&words.reference, spec)?;
    print_put(context, &words.reference, &report)
}

/// The media type that a manifest says it has.
fn media_type(manifest: &[u8]) -> Option<String> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    manifest["mediaType"].as_str().map(str::to_owned)
}

pub(super) fn print_put(
    context: &Context,
    reference: &Reference,
    report: &Put,
) -> Result<(), Problem> {
    let digest = &report.descriptor.digest;
    let tags: Vec<&str> = report.tags.iter().map(|tag| tag.as_str()).collect();
    let (registry, repository) = (reference.registry(), reference.repository());
    context.printer.note(&match &tags[..] {
        [] => format!("put {digest} into {registry}/{repository}"),
        tags => format!("{} in {registry}/{repository}: {digest}", tags.join(", ")),
    });
    let line = if context.printer.is_json() {
        put_json(reference, report).to_string()
    } else {
        digest.to_string()
    };
    context.printer.result(&line).map_err(Problem::Output)?;
    unlisted::of_put(report)
}

/// A manifest that was put, for `--json`.
pub(super) fn put_json(reference: &Reference, report: &Put) -> Value {
    let tags: Vec<&str> = report.tags.iter().map(|tag| tag.as_str()).collect();
    json!({
        "reference": reference.to_string(),
        "digest": report.descriptor.digest.as_str(),
        "mediaType": report.descriptor.media_type,
        "size": report.descriptor.size,
        "tags": tags,
        "unlisted": report.unlisted.as_ref().map(unlisted::described),
    })
}

/// Deletes something, and prints what was deleted: a tag or `repository@digest`. Nothing if there was nothing.
pub(super) fn deleted(
    context: &Context,
    reference: &Reference,
    spec: RequestSpec,
    missing: &args::Missing,
) -> Result<(), Problem> {
    let deleted = match context.ask::<Deleted>(reference, spec) {
        Ok(deleted) => Some(deleted),
        Err(Problem::Failed { failure, .. })
            if missing.ignore_missing && failure.kind() == ErrorKind::NotFound =>
        {
            context.printer.note(&format!("{reference} is not there"));
            None
        }
        Err(problem) => return Err(with_option(problem)),
    };
    let digest = deleted.as_ref().and_then(|it| it.digest.as_ref());
    if context.printer.is_json() {
        let list = deleted.as_ref().and_then(|it| it.unlisted.as_ref());
        let line = json!({
            "reference": reference.to_string(),
            "deleted": deleted.is_some(),
            "digest": digest.map(|digest| digest.as_str()),
            "unlisted": list.map(unlisted::described),
        });
        let printed = context.printer.result(&line.to_string());
        printed.map_err(Problem::Output)?;
        return unlisted::of_deleted(reference, deleted.as_ref());
    }
    let line = match (&deleted, digest) {
        (None, _) => return Ok(()),
        (Some(_), None) => reference.to_string(),
        (Some(_), Some(digest)) => {
            let (registry, repository) = (reference.registry(), reference.repository());
            format!("{registry}/{repository}@{digest}")
        }
    };
    context.printer.result(&line).map_err(Problem::Output)?;
    unlisted::of_deleted(reference, deleted.as_ref())
}

/// Adds the option that deletes a manifest to the hint that it would be needed.
fn with_option(problem: Problem) -> Problem {
    let Problem::Failed {
        failure,
        hint: None,
    } = problem
    else {
        return problem;
    };
    let is_meant = failure
        .hint()
        .is_some_and(|hint| hint.contains("deletes no tag alone"));
    let hint = is_meant.then(|| "--with-manifest deletes the manifest with all its tags".into());
    Problem::Failed { failure, hint }
}
