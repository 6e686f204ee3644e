//! Further tags of what is put into a registry.
//!
//! Responsible for which destinations can have them, and for telling which tags refer to an image. Must not know how tags
//! are written.

use serde_json::{Value, json};
use windlass_core::reference::Tag;
use windlass_core::{Reference, Report};

use super::transfer::reference;
use crate::args::AdditionalTags;
use crate::exit::Problem;
use crate::location::Location;

/// The tags of the option, if what is at the destination can have further ones. The destination is `None` for a layout.
pub(super) fn wanted(
    tags: &AdditionalTags,
    destination: Option<&Reference>,
) -> Result<Vec<Tag>, Problem> {
    if tags.additional_tag.is_empty() {
        return Ok(Vec::new());
    }
    let why = match destination {
        Some(to) if to.tag().is_none() && to.digest().is_some() => format!(
            "--additional-tag needs a destination with a tag: write {}/{}:TAG",
            to.registry(),
            to.repository()
        ),
        Some(_) => return Ok(tags.additional_tag.clone()),
        None => {
            "--additional-tag needs a destination in a registry: an entry of a layout has one name"
                .to_owned()
        }
    };
    Err(Problem::Usage(why))
}

/// The same for several destinations: those that are registries get the tags.
pub(super) fn wanted_at_each(
    tags: &AdditionalTags,
    destinations: &[Location],
) -> Result<Vec<Tag>, Problem> {
    let mut registries = destinations.iter().filter_map(reference).peekable();
    if registries.peek().is_none() {
        return wanted(tags, None);
    }
    registries.try_for_each(|to| wanted(tags, Some(to)).map(drop))?;
    Ok(tags.additional_tag.clone())
}

/// A line about the tags that refer to the image, if its destination does not say it all.
pub(super) fn note(to: &Location, report: &Report) -> Option<String> {
    let to = reference(to).filter(|_| report.tags.len() > 1)?;
    let tags: Vec<&str> = report.tags.iter().map(Tag::as_str).collect();
    Some(format!(
        "tags in {}/{}: {}",
        to.registry(),
        to.repository(),
        tags.join(", ")
    ))
}

pub(super) fn json(report: &Report) -> Value {
    let tags = report.tags.iter().map(Tag::as_str);
    json!(tags.collect::<Vec<_>>())
}
