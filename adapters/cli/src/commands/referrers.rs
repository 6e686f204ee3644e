//! `windlass referrers`: what refers to an image, and what refers to that, as a tree.

use serde_json::{Value, json};
use windlass_core::reference::Target;
use windlass_core::{Descriptor, Digest, Manifest, Platforms, Reference, ReferrersSource};
use windlass_driver::RequestSpec;

use super::{Asker, Context};
use crate::args;
use crate::exit::Problem;

/// The most manifests of a tree: each is a request.
const MOST: usize = 10_000;

/// A manifest that refers to another one.
struct Node {
    descriptor: Descriptor,
    referrers: Vec<Self>,
}

pub(super) fn run(context: &Context, words: &args::Referrers) -> Result<(), Problem> {
    let asker = context.asker(&words.reference)?;
    let reference = match &words.platform {
        Some(platform @ Platforms::One(_)) => {
            let mut spec = RequestSpec::manifest(&words.reference);
            spec.platforms(platform.clone());
            let chosen: Manifest = asker.ask(spec)?;
            let digest = chosen.descriptor.digest;
            words.reference.with_target(Target::Digest(digest))
        }
        Some(Platforms::All) | None => words.reference.clone(),
    };
    let mut tree = Tree {
        asker,
        repository: words.reference.clone(),
        left: MOST,
    };
    let wanted = words.artifact_type.clone();
    let (subject, source, nodes) = tree.read(&reference, wanted, words.depth)?;
    if source == ReferrersSource::Nothing {
        context
            .printer
            .note("the registry has no referrers API, and there is no list at the referrers tag");
    }
    print(context, words, (&subject, source), &nodes)
}

struct Tree<'a> {
    asker: Asker<'a>,
    repository: Reference,
    left: usize,
}

impl Tree<'_> {
    fn read(
        &mut self,
        reference: &Reference,
        artifact_type: Option<String>,
        depth: usize,
    ) -> Result<(Digest, ReferrersSource, Vec<Node>), Problem> {
        let spec = RequestSpec::referrers(reference, artifact_type);
        let found: windlass_core::Referrers = self.asker.ask(spec)?;
        let mut nodes = Vec::new();
        for descriptor in found.referrers {
            let Some(left) = self.left.checked_sub(1) else {
                let why = format!("more than {MOST} manifests refer to it; give --depth 1");
                return Err(Problem::Usage(why));
            };
            self.left = left;
            let referrers = if depth > 1 {
                let target = Target::Digest(descriptor.digest.clone());
                let below = self.repository.with_target(target);
                self.read(&below, None, depth - 1)?.2
            } else {
                Vec::new()
            };
            nodes.push(Node {
                descriptor,
                referrers,
            });
        }
        Ok((found.subject, found.source, nodes))
    }
}

fn print(
    context: &Context,
    words: &args::Referrers,
    (subject, source): (&Digest, ReferrersSource),
    nodes: &[Node],
) -> Result<(), Problem> {
    let printer = &context.printer;
    if !printer.is_json() {
        return print_lines(context, nodes, 0);
    }
    let source = match source {
        ReferrersSource::Api => json!("api"),
        ReferrersSource::Tag => json!("tag"),
        ReferrersSource::Nothing | _ => Value::Null,
    };
    let line = json!({
        "reference": words.reference.to_string(),
        "subject": subject.as_str(),
        "source": source,
        "referrers": described(nodes),
    });
    printer.result(&line.to_string()).map_err(Problem::Output)
}

fn print_lines(context: &Context, nodes: &[Node], depth: usize) -> Result<(), Problem> {
    for node in nodes {
        let Descriptor {
            digest,
            artifact_type,
            ..
        } = &node.descriptor;
        // It is text of the registry's.
        let artifact_type = artifact_type.as_deref().unwrap_or("-").escape_debug();
        let line = format!("{}{digest} {artifact_type}", "  ".repeat(depth));
        context.printer.data(&line).map_err(Problem::Output)?;
        print_lines(context, &node.referrers, depth + 1)?;
    }
    Ok(())
}

fn described(nodes: &[Node]) -> Value {
    let described = nodes.iter().map(|node| {
        let descriptor = &node.descriptor;
        json!({
            "digest": descriptor.digest.as_str(),
            "mediaType": descriptor.media_type,
            "size": descriptor.size,
            "artifactType": descriptor.artifact_type,
            "annotations": descriptor.annotations,
            "referrers": described(&node.referrers),
        })
    });
    described.collect()
}
