//! `windlass artifact` and `windlass attach`: files as artifacts, and artifacts as files.

use serde_json::{Value, json};
use windlass_core::artifact::check_title;
use windlass_core::{Descriptor, Error};
use windlass_driver::{
    Artifact, Attach, Attached, Part, PullArtifact, PulledArtifact, PushArtifact,
};

use super::manifest::{print_put, put_json};
use super::{Context, additional_tags, unlisted};
use crate::args::{self, Typed};
use crate::exit::Problem;
use crate::progress::Size;

/// The media type of a file that has none.
const BYTES: &str = "application/octet-stream";

pub(super) fn run(context: &Context, command: &args::Artifact) -> Result<(), Problem> {
    match command {
        args::Artifact::Push(words) => push(context, words),
        args::Artifact::Pull(words) => pull(context, words),
    }
}

fn push(context: &Context, words: &args::ArtifactPush) -> Result<(), Problem> {
    let more_tags = additional_tags::wanted(&words.additional_tags, Some(&words.reference))?;
    let mut artifact = made(&words.artifact_type, &words.files, &words.annotations)?;
    if let Some(config) = &words.artifact_config {
        let Some(media_type) = &config.media_type else {
            let why = "the configuration has a media type of its own: write FILE:MEDIATYPE";
            return Err(Problem::Usage(why.to_owned()));
        };
        artifact = artifact.config(part(config, media_type)?);
    }
    context.keep_uploads(&words.resume);
    let asker = context.asker(&words.reference)?;
    let mut pushing = PushArtifact::new(&words.reference, artifact);
    pushing.and_tags(more_tags);
    let put = asker.follow(pushing)?;
    print_put(context, &words.reference, &put)
}

pub(super) fn attach(context: &Context, words: &args::Attach) -> Result<(), Problem> {
    let artifact = made(&words.artifact_type, &words.files, &words.annotations)?;
    let mut attach = Attach::new(&words.reference, artifact);
    if let Some(platform) = &words.platform {
        attach.platform(platform.clone());
    }
    context.keep_uploads(&words.resume);
    let asker = context.asker(&words.reference)?;
    let Attached {
        subject, artifact, ..
    } = asker.follow(attach)?;
    let printer = &context.printer;
    let digest = &artifact.descriptor.digest;
    printer.note(&format!("attached {digest} to {}", subject.digest));
    let line = if printer.is_json() {
        let mut line = put_json(&words.reference, &artifact);
        line["subject"] = json!(subject.digest.as_str());
        line.to_string()
    } else {
        digest.to_string()
    };
    printer.result(&line).map_err(Problem::Output)?;
    unlisted::of_put(&artifact)
}

fn pull(context: &Context, words: &args::ArtifactPull) -> Result<(), Problem> {
    let mut pull = PullArtifact::new(&words.reference, &words.folder);
    if let Some(platform) = &words.platform {
        pull.platform(platform.clone());
    }
    let PulledArtifact {
        manifest,
        files,
        untitled,
        bytes,
        ..
    } = context.asker(&words.reference)?.follow(pull)?;
    let (printer, root) = (&context.printer, &manifest.descriptor);
    let (count, folder) = (files.len(), words.folder.display());
    printer.note(&format!(
        "pulled {} into {folder}: {count} files, {} moved",
        root.digest,
        Size(bytes)
    ));
    if !untitled.is_empty() {
        let count = untitled.len();
        printer.note(&format!(
            "{count} parts have no name and were not fetched; `windlass manifest get` lists them"
        ));
    }
    if !printer.is_json() {
        return files
            .iter()
            .try_for_each(|(name, _)| printer.data(name).map_err(Problem::Output));
    }
    let files = files.iter().map(|(name, part)| {
        let mut file = described(part);
        file["name"] = json!(name);
        file
    });
    let mut line = described(root);
    line["reference"] = json!(words.reference.to_string());
    line["files"] = files.collect();
    line["untitled"] = untitled.iter().map(described).collect();
    line["bytesMoved"] = json!(bytes);
    printer.result(&line.to_string()).map_err(Problem::Output)
}

fn described(descriptor: &Descriptor) -> Value {
    json!({
        "digest": descriptor.digest.as_str(),
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
    })
}

/// An artifact of these files.
fn made(
    artifact_type: &str,
    files: &[Typed],
    annotations: &args::Annotations,
) -> Result<Artifact, Problem> {
    let mut artifact = Artifact::new(artifact_type);
    for file in files {
        let media_type = file.media_type.as_deref().unwrap_or(BYTES);
        artifact = artifact.layer(part(file, media_type)?);
    }
    for (name, value) in &annotations.all {
        artifact = artifact.annotation(name, value);
    }
    Ok(artifact)
}

/// A file as a part. Its title is the path, if that is one that can be pulled again; else its name.
fn part(file: &Typed, media_type: &str) -> Result<Part, Problem> {
    let part = Part::file(&file.path, media_type);
    let part = part.map_err(|error| Problem::failed(Error::Store(error)))?;
    let path = file.path.to_str().unwrap_or_default();
    let path = path.strip_prefix("./").unwrap_or(path);
    Ok(match check_title(path) {
        Ok(()) => part.title(path),
        Err(_) => part,
    })
}
