//! `windlass tags` and `windlass catalog`: lists of names, one a line.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_core::{Catalog, Reference, Registry, Tags};
use windlass_driver::RequestSpec;

use super::Context;
use crate::exit::Problem;
use crate::location;

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass tags ghcr.io/org/app
  windlass tags --limit 100 --after 1.27 docker.io/library/nginx")]
pub(crate) struct ListTags {
    /// The repository: [registry/]repository
    #[arg(value_name = "REPO", value_parser = location::repository)]
    repository: Reference,
    #[command(flatten)]
    part: Part,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass catalog registry.example:5000")]
pub(crate) struct ListCatalog {
    /// The registry: host[:port]
    #[arg(value_name = "HOST", value_parser = location::login_host)]
    registry: Registry,
    #[command(flatten)]
    part: Part,
}

/// Which part of a list is printed.
#[derive(ClapArgs, Debug)]
struct Part {
    /// Begin after NAME, in the registry's order
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// End after N names
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Ask for N names at once [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page_size: Option<u32>,
}

/// The members of what `--json` prints.
pub(super) const JSON_HELP: &str = "\
tags:
  repository, tags          the names
  hasMore                   whether --limit ended the list
catalog:
  registry, repositories, hasMore";

pub(super) fn tags(context: &Context, words: &ListTags) -> Result<(), Problem> {
    let repository = &words.repository;
    let mut spec = RequestSpec::tags(repository);
    words.part.apply(&mut spec);
    let Tags { tags, has_more, .. } = context.ask(repository, spec)?;
    let name = format!("{}/{}", repository.registry(), repository.repository());
    let tags: Vec<&str> = tags.iter().map(|tag| tag.as_str()).collect();
    print(context, ("repository", &name), ("tags", &tags), has_more)
}

pub(super) fn catalog(context: &Context, words: &ListCatalog) -> Result<(), Problem> {
    let registry = &words.registry;
    let mut spec = RequestSpec::catalog(registry);
    words.part.apply(&mut spec);
    // No file names it, so that only what is for the registry as a whole counts.
    let anything = format!("{registry}/windlass/catalog").parse::<Reference>();
    let anything = anything.map_err(|error| Problem::Usage(error.to_string()))?;
    let report: Catalog = context.ask(&anything, spec)?;
    let names = report.repositories.iter();
    let names: Vec<&str> = names.map(|name| name.as_str()).collect();
    let of = ("registry", registry.as_str());
    print(context, of, ("repositories", &names), report.has_more)
}

impl Part {
    fn apply(&self, spec: &mut RequestSpec) {
        let paging = spec.paging();
        paging.after.clone_from(&self.after);
        paging.most = self.limit;
        paging.page_size = self.page_size;
    }
}

fn print(
    context: &Context,
    (of, name): (&str, &str),
    (what, names): (&str, &[&str]),
    has_more: bool,
) -> Result<(), Problem> {
    let printer = &context.printer;
    if printer.is_json() {
        let line = json!({ of: name, what: names, "hasMore": has_more });
        return printer.result(&line.to_string()).map_err(Problem::Output);
    }
    for name in names {
        printer.data(name).map_err(Problem::Output)?;
    }
    if let (true, Some(last)) = (has_more, names.last()) {
        printer.note(&format!("there are more {what}; go on with --after {last}"));
    }
    Ok(())
}
