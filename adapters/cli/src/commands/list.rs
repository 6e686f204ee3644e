//! `windlass tags` and `windlass catalog`: lists of names, one a line.

use serde_json::json;
use windlass_core::{Catalog, Reference, Tags};
use windlass_driver::RequestSpec;

use super::Context;
use crate::args::{self, Part};
use crate::exit::Problem;

pub(super) fn tags(context: &Context, words: &args::Tags) -> Result<(), Problem> {
    let repository = &words.repository;
    let mut spec = RequestSpec::tags(repository);
    words.part.apply(&mut spec);
    let Tags { tags, has_more, .. } = context.ask(repository, spec)?;
    let name = format!("{}/{}", repository.registry(), repository.repository());
    let tags: Vec<&str> = tags.iter().map(|tag| tag.as_str()).collect();
    print(context, ("repository", &name), ("tags", &tags), has_more)
}

pub(super) fn catalog(context: &Context, words: &args::Catalog) -> Result<(), Problem> {
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
