//! `windlass referrers`: what refers to an image, and what refers to that, as a tree.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Args as ClapArgs;
use serde_json::{Value, json};
use windlass_core::reference::Target;
use windlass_core::{
    Descriptor, Digest, ErrorKind, Manifest, Platforms, Reference, Referrers, ReferrersSource,
};
use windlass_driver::RequestSpec;
use windlass_store::{Layout, Store as _};

use super::{Asker, Context, store_failed};
use crate::client;
use crate::exit::Problem;
use crate::failure;
use crate::location::{self, Location};

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass referrers alpine:3.20
  windlass referrers --artifact-type application/spdx+json --platform linux/arm64 registry.example/app:v1")]
pub(crate) struct ListReferrers {
    /// The image: REF, docker://REF, oci:DIR[:NAME] or oci:DIR@DIGEST
    #[arg(value_name = "REF")]
    location: Location,
    /// Only what has this artifact type, and what refers to that
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,
    /// Of an index, what refers to the image for PLATFORM [default: to the index]
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system).
    #[arg(long, value_name = "PLATFORM", value_parser = location::platform)]
    platform: Option<Platforms>,
    /// How many levels of the tree to read, a request for each manifest
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = depth)]
    depth: usize,
}

fn depth(text: &str) -> Result<usize, String> {
    let depth = text.parse().ok().filter(|depth| (1..=10).contains(depth));
    depth.ok_or_else(|| "from 1 to 10".into())
}

/// The members of what `--json` prints.
pub(super) const JSON_HELP: &str = "\
referrers:
  reference
  subject                   the manifest that they refer to
  source                    api, tag or layout; null if there is none of them
  referrers                 list of: digest, mediaType, size, artifactType,
                            annotations, referrers; and error and failure, if
                            what refers to it could not be listed";

/// The most manifests of a tree: each is a request.
const MOST: usize = 10_000;

/// How many lists are asked for at once.
const AT_ONCE: usize = 8;

/// A manifest that refers to another one.
struct Node {
    descriptor: Descriptor,
    /// What refers to it, by their places in the tree.
    referrers: Vec<usize>,
    /// Why that could not be listed.
    problem: Option<Problem>,
}

pub(super) fn run(context: &Context, words: &ListReferrers) -> Result<(), Problem> {
    let wanted = words.artifact_type.clone();
    let (within, root) = match &words.location {
        Location::Registry(reference) => {
            let asker = context.asker(reference)?;
            let root = chosen(&asker, reference, words.platform.as_ref())?;
            let found: Referrers = asker.ask(RequestSpec::referrers(&root, wanted))?;
            (Within::Registry(asker, reference.clone()), found)
        }
        Location::Layout(_) if words.platform.is_some() => {
            let why = "--platform is for registries; in a layout, name the image by its digest";
            return Err(Problem::Usage(why.to_owned()));
        }
        Location::Layout(location) => {
            let layout = client::layout(&location.path).map_err(store_failed)?;
            let root = layout.find(location.wanted().as_deref());
            let within = Within::Layout(layout);
            let found = within.list(&root.map_err(store_failed)?.digest, wanted)?;
            (within, found)
        }
    };
    let (subject, source) = (root.subject, root.source);
    let tree = Tree::new(&within, root.referrers, words.depth)?;
    if source == ReferrersSource::Nothing {
        context
            .printer
            .note("the registry has no referrers API, and there is no list at the referrers tag");
    }
    let source = match (&within, source) {
        (Within::Layout(_), _) => Some("layout"),
        (Within::Registry(..), ReferrersSource::Api) => Some("api"),
        (Within::Registry(..), ReferrersSource::Tag) => Some("tag"),
        (Within::Registry(..), _) => None,
    };
    print(context, words, (&subject, source), &tree)?;
    tree.problem(context)
}

/// The image of an index for a platform, if one is wanted.
fn chosen(
    asker: &Asker<'_>,
    reference: &Reference,
    platform: Option<&Platforms>,
) -> Result<Reference, Problem> {
    let Some(platform @ Platforms::One(_)) = platform else {
        return Ok(reference.clone());
    };
    let mut spec = RequestSpec::manifest(reference);
    spec.platforms(platform.clone());
    let chosen: Manifest = asker.ask(spec)?;
    Ok(reference.with_target(Target::Digest(chosen.descriptor.digest)))
}

/// Where the manifests are.
enum Within<'a> {
    Registry(Asker<'a>, Reference),
    Layout(Layout),
}

impl Within<'_> {
    /// The lists for several subjects, in their order, some of them at once.
    fn lists(&self, subjects: &[Digest]) -> Vec<Result<Referrers, Problem>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut found = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(subject) = subjects.get(at) else {
                    return found;
                };
                found.push((at, self.list(subject, None)));
            }
        };
        let mut found = thread::scope(|scope| {
            let workers = (0..AT_ONCE.min(subjects.len())).map(|_| scope.spawn(work));
            let workers: Vec<_> = workers.collect();
            let found = workers.into_iter().flat_map(|worker| match worker.join() {
                Ok(found) => found,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            found.collect::<Vec<_>>()
        });
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, list)| list).collect()
    }

    fn list(&self, subject: &Digest, artifact_type: Option<String>) -> Result<Referrers, Problem> {
        match self {
            Self::Registry(asker, repository) => {
                let reference = repository.with_target(Target::Digest(subject.clone()));
                asker.ask(RequestSpec::referrers(&reference, artifact_type))
            }
            Self::Layout(layout) => {
                let found = layout.referrers(subject).map_err(store_failed)?;
                Ok(Referrers::listed(
                    subject.clone(),
                    found,
                    artifact_type.as_deref(),
                ))
            }
        }
    }
}

/// What refers to a manifest, directly or not.
struct Tree {
    nodes: Vec<Node>,
    /// What refers to the manifest itself.
    roots: Vec<usize>,
}

impl Tree {
    /// Asks level by level, so that what does not depend on each other is asked for at once.
    fn new(within: &Within<'_>, referrers: Vec<Descriptor>, depth: usize) -> Result<Self, Problem> {
        let mut tree = Self {
            nodes: Vec::new(),
            roots: Vec::new(),
        };
        tree.roots = tree.add(referrers)?;
        let mut level = tree.roots.clone();
        for _ in 1..depth {
            let subjects = level
                .iter()
                .map(|at| tree.nodes[*at].descriptor.digest.clone());
            let lists = within.lists(&subjects.collect::<Vec<_>>());
            let mut next = Vec::new();
            for (at, list) in level.into_iter().zip(lists) {
                match list {
                    Ok(found) => {
                        let added = tree.add(found.referrers)?;
                        next.extend(&added);
                        tree.nodes[at].referrers = added;
                    }
                    Err(problem) if problem.kind() == ErrorKind::Cancelled => return Err(problem),
                    Err(problem) => tree.nodes[at].problem = Some(problem),
                }
            }
            level = next;
        }
        Ok(tree)
    }

    fn add(&mut self, referrers: Vec<Descriptor>) -> Result<Vec<usize>, Problem> {
        let first = self.nodes.len();
        if referrers.len() > MOST - first {
            let why = format!("more than {MOST} manifests refer to it; give --depth 1");
            return Err(Problem::Usage(why));
        }
        let nodes = referrers.into_iter().map(|descriptor| Node {
            descriptor,
            referrers: Vec::new(),
            problem: None,
        });
        self.nodes.extend(nodes);
        Ok((first..self.nodes.len()).collect())
    }

    /// Tells what could not be listed.
    fn problem(&self, context: &Context) -> Result<(), Problem> {
        let failed = self.nodes.iter();
        let failed = failed.filter_map(|node| Some((node, node.problem.as_ref()?)));
        let failed: Vec<_> = failed.collect();
        let Some((_, first)) = failed.first() else {
            return Ok(());
        };
        for (node, problem) in &failed {
            let digest = &node.descriptor.digest;
            let why = problem.in_words();
            context.printer.error(&format!("{digest}: {why}"));
        }
        let what = format!(
            "what refers to {} manifests could not be listed",
            failed.len()
        );
        Err(Problem::Incomplete {
            what,
            kind: first.kind(),
            hint: None,
        })
    }
}

fn print(
    context: &Context,
    words: &ListReferrers,
    (subject, source): (&Digest, Option<&str>),
    tree: &Tree,
) -> Result<(), Problem> {
    let printer = &context.printer;
    if !printer.is_json() {
        return print_lines(context, tree, &tree.roots, 0);
    }
    let line = json!({
        "reference": words.location.to_string(),
        "subject": subject.as_str(),
        "source": source,
        "referrers": described(tree, &tree.roots),
    });
    printer.result(&line.to_string()).map_err(Problem::Output)
}

fn print_lines(
    context: &Context,
    tree: &Tree,
    nodes: &[usize],
    depth: usize,
) -> Result<(), Problem> {
    for node in nodes.iter().map(|at| &tree.nodes[*at]) {
        let Descriptor {
            digest,
            artifact_type,
            ..
        } = &node.descriptor;
        // It is text of the registry's.
        let artifact_type = artifact_type.as_deref().unwrap_or("-").escape_debug();
        let line = format!("{}{digest} {artifact_type}", "  ".repeat(depth));
        context.printer.data(&line).map_err(Problem::Output)?;
        print_lines(context, tree, &node.referrers, depth + 1)?;
    }
    Ok(())
}

fn described(tree: &Tree, nodes: &[usize]) -> Value {
    let described = nodes.iter().map(|at| {
        let node = &tree.nodes[*at];
        let descriptor = &node.descriptor;
        let mut line = json!({
            "digest": descriptor.digest.as_str(),
            "mediaType": descriptor.media_type,
            "size": descriptor.size,
            "artifactType": descriptor.artifact_type,
            "annotations": descriptor.annotations,
            "referrers": described(tree, &node.referrers),
        });
        if let Some(problem) = &node.problem {
            line["error"] = problem.in_words().into();
            line["failure"] = failure::described(problem);
        }
        line
    });
    described.collect()
}
