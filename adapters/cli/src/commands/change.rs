//! `windlass append`, `windlass mutate` and `windlass index`: images and indexes that are changed in a registry.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_core::{Descriptor, Digest, Error, ImageChange, Reference};
use windlass_driver::{ChangeImage, ChangeIndex, ImageChanged, IndexChanged, LayerContent};

use super::manifest::put_json;
use super::{Context, unlisted};
use crate::args;
use crate::exit::Problem;

pub(super) fn append(context: &Context, words: &args::Append) -> Result<(), Problem> {
    let change = ImageChange::default();
    let mut layers = Vec::new();
    for path in &words.files {
        let layer = LayerContent::file(path);
        let layer = layer.map_err(|error| Problem::failed(Error::Store(error)))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        layers.push(layer.created_by(format!("windlass append {name}")));
    }
    context.keep_uploads(&words.resume);
    image(context, (&words.reference, &words.result), change, layers)
}

pub(super) fn mutate(context: &Context, words: &args::Mutate) -> Result<(), Problem> {
    let words_of = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let mut change = ImageChange::default();
    change.annotations = changes(&words.annotations, &words.remove_annotation);
    change.labels = changes(&words.labels, &words.remove_label);
    change.env = changes(&words.env, &words.remove_env);
    change.entrypoint = words_of(&words.entrypoint);
    change.cmd = words_of(&words.cmd);
    change.user.clone_from(&words.user);
    change.working_dir.clone_from(&words.workdir);
    if change.is_empty() && words.result.created.is_none() {
        let why = "nothing is to be changed: `windlass copy` copies an image as it is";
        return Err(Problem::Usage(why.to_owned()));
    }
    image(
        context,
        (&words.reference, &words.result),
        change,
        Vec::new(),
    )
}

/// What is set and what is removed, by names.
fn changes(set: &[(String, String)], remove: &[String]) -> BTreeMap<String, Option<String>> {
    let removed = remove.iter().map(|name| (name.clone(), None));
    let set = set.iter();
    let set = set.map(|(name, value)| (name.clone(), Some(value.clone())));
    removed.chain(set).collect()
}

fn image(
    context: &Context,
    (reference, result): (&Reference, &args::ChangedImage),
    mut change: ImageChange,
    layers: Vec<LayerContent>,
) -> Result<(), Problem> {
    change.created.clone_from(&result.created);
    let mut change = ChangeImage::new(reference, &result.to, change);
    layers.into_iter().for_each(|layer| change.layer(layer));
    if let Some(platform) = &result.platform {
        change.platform(platform.clone());
    }
    let changed = context
        .asker_for(&[&result.to, reference])?
        .follow(change)?;
    let ImageChanged {
        base,
        put,
        index,
        config,
        layers,
        ..
    } = changed;
    let printer = &context.printer;
    let digest = &put.descriptor.digest;
    let within = index.as_ref().map(|index| &index.descriptor.digest);
    printer.note(&match within {
        Some(index) => format!(
            "made {digest} of {base} in the index {index} at {}",
            result.to
        ),
        None => format!("made {digest} of {base} at {}", result.to),
    });
    let line = if printer.is_json() {
        let mut line = put_json(&result.to, &put);
        line["base"] = json!(base.as_str());
        line["index"] = json!(within.map(|index| index.as_str()));
        line["config"] = json!(config.digest.as_str());
        let layers = layers.iter().map(|layer| {
            json!({
                "digest": layer.blob.digest.as_str(),
                "size": layer.blob.size,
                "diffId": layer.diff_id.as_str(),
            })
        });
        line["layers"] = layers.collect();
        line.to_string()
    } else {
        digest.to_string()
    };
    printer.result(&line).map_err(Problem::Output)?;
    unlisted::of_put(&put)
}

pub(super) fn index(context: &Context, command: &args::Index) -> Result<(), Problem> {
    match command {
        args::Index::Create(words) => {
            let mut change = ChangeIndex::create(&words.destination);
            words.images.iter().for_each(|image| change.add(image));
            for (name, value) in &words.annotations.all {
                change.annotation(name, Some(value.clone()));
            }
            follow(context, change, &words.destination, &words.images)
        }
        args::Index::Add(words) => {
            let (mut change, to) = changed(&words.index);
            words.images.iter().for_each(|image| change.add(image));
            if words.beside {
                change.beside();
            }
            let sources = [std::slice::from_ref(&words.index.reference), &words.images];
            follow(context, change, to, &sources.concat())
        }
        args::Index::Remove(words) => {
            let (mut change, to) = changed(&words.index);
            words
                .digests
                .iter()
                .for_each(|digest| change.remove(digest.clone()));
            follow(
                context,
                change,
                to,
                std::slice::from_ref(&words.index.reference),
            )
        }
        args::Index::Filter(words) => {
            let (mut change, to) = changed(&words.index);
            words
                .platform
                .iter()
                .for_each(|platform| change.keep(platform.clone()));
            follow(
                context,
                change,
                to,
                std::slice::from_ref(&words.index.reference),
            )
        }
    }
}

fn changed(index: &args::ChangedIndex) -> (ChangeIndex, &Reference) {
    let to = index.to.as_ref().unwrap_or(&index.reference);
    let mut change = ChangeIndex::of(&index.reference, to);
    for (name, value) in changes(&index.annotations.all, &index.remove_annotation) {
        change.annotation(name, value);
    }
    (change, to)
}

fn follow(
    context: &Context,
    change: ChangeIndex,
    destination: &Reference,
    sources: &[Reference],
) -> Result<(), Problem> {
    let references: Vec<&Reference> = std::iter::once(destination).chain(sources).collect();
    let IndexChanged {
        put,
        entries,
        replaced,
        copied,
        ..
    } = context.asker_for(&references)?.follow(change)?;
    let printer = &context.printer;
    for digest in &copied {
        printer.note(&format!("copied {digest} into the repository"));
    }
    for digest in &replaced {
        printer.note(&format!(
            "replaced {digest}, which was for the same platform"
        ));
    }
    if let Some(warning) = rivals(&entries) {
        printer.warning(&warning);
    }
    let (digest, count) = (&put.descriptor.digest, entries.len());
    printer.note(&format!(
        "put {digest} with {count} entries at {destination}"
    ));
    let line = if printer.is_json() {
        let mut line = put_json(destination, &put);
        line["entries"] = entries.iter().map(described).collect();
        line["replaced"] = replaced
            .iter()
            .map(|digest| json!(digest.as_str()))
            .collect();
        line["copied"] = copied.iter().map(|digest| json!(digest.as_str())).collect();
        line.to_string()
    } else {
        digest.to_string()
    };
    printer.result(&line).map_err(Problem::Output)?;
    unlisted::of_put(&put)
}

/// A warning about images for one platform, of which clients take the first.
fn rivals(entries: &[Descriptor]) -> Option<String> {
    let mut seen: BTreeMap<String, &Digest> = BTreeMap::new();
    for entry in entries {
        let platform = entry.platform.as_ref().filter(|it| it.os != "unknown");
        let Some(platform) = platform.filter(|_| entry.artifact_type.is_none()) else {
            continue;
        };
        let platform = format!("{:?}", platform.normalized());
        if let Some(first) = seen.insert(platform, &entry.digest)
            && *first != entry.digest
        {
            let platform = entry.platform.as_ref().map(ToString::to_string);
            return Some(format!(
                "{first} and {} are both for {}: clients take the first",
                entry.digest,
                platform.unwrap_or_default().escape_debug()
            ));
        }
    }
    None
}

fn described(entry: &Descriptor) -> Value {
    let platform = entry.platform.as_ref().map(ToString::to_string);
    json!({
        "digest": entry.digest.as_str(),
        "mediaType": entry.media_type,
        "size": entry.size,
        "platform": platform,
    })
}
