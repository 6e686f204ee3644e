//! Lists of names: the tags of a repository, and the repositories of a registry.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Task, TaskKind, TaskReport};
use crate::reference::{Reference, Repository, Tag};
use crate::registry::Registry;

impl Task {
    /// List the tags of the reference's repository; its tag and digest do not matter.
    ///
    /// It is read at the registry itself, never at a mirror, page by page, each with the usual number of
    /// attempts. It fails rather than report a part as the whole list, unless [`Paging::most`] ends it.
    pub const fn tags(repository: Reference, paging: Paging) -> Self {
        Self::list(ListOf::Tags(repository), paging)
    }

    /// List the repositories of a registry, an extension that many registries do not have, likewise.
    pub const fn catalog(registry: Registry, paging: Paging) -> Self {
        Self::list(ListOf::Catalog(registry), paging)
    }

    const fn list(of: ListOf, paging: Paging) -> Self {
        Self::new(TaskKind::List(ListTask { of, paging }))
    }
}

impl TaskReport {
    /// The tags of a repository, if the task was to list them.
    pub fn tags(self) -> Option<Tags> {
        if let Self::Tags(tags) = self {
            return Some(tags);
        }
        None
    }

    /// The repositories of a registry, if the task was to list them.
    pub fn catalog(self) -> Option<Catalog> {
        if let Self::Catalog(catalog) = self {
            return Some(catalog);
        }
        None
    }
}

/// A list to be read.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListTask {
    pub(crate) of: ListOf,
    #[serde(default)]
    pub(crate) paging: Paging,
}

/// What is listed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ListOf {
    /// The tags of the reference's repository.
    Tags(Reference),
    /// The repositories of a registry.
    Catalog(Registry),
}

/// Which part of a list is read, and in pages of which size. By default all of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Paging {
    /// Names per page, at least 1; 1000 by default. A registry may send fewer. One that refuses the number
    /// is asked again without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
    /// Begin after this name, in the registry's order. It need not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// End after this many names. The report says whether there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
    /// End after one page, if the next one can be asked for by the last name of this one: then the report says how
    /// (`next`). The list of a registry whose pages are linked in another way is read to its end, as otherwise.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub one_page: bool,
}

/// The tags of a repository.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tags {
    /// The tags, each once, in the registry's order.
    pub tags: Vec<Tag>,
    /// Whether there are more: if [`Paging::most`] or [`Paging::one_page`] ended the list, or if the registry does not
    /// list all of them, of which a warning tells.
    pub has_more: bool,
    /// Where the next page begins, for [`Paging::after`]: of a list that is read [page by page](Paging::one_page). It
    /// may be empty.
    pub next: Option<String>,
    /// How many entries are no tags. They are left out.
    pub invalid: usize,
}

/// The repositories of a registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Catalog {
    /// The repositories, each once, in the registry's order.
    pub repositories: Vec<Repository>,
    /// Whether there are more: if [`Paging::most`] or [`Paging::one_page`] ended the list, or if the registry does not
    /// list all of them, of which a warning tells.
    pub has_more: bool,
    /// Where the next page begins, for [`Paging::after`]: of a list that is read [page by page](Paging::one_page). It
    /// may be empty.
    pub next: Option<String>,
    /// How many entries are no names of repositories. They are left out.
    pub invalid: usize,
}

/// One line, as in transcripts.
impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.tags.len(), "tags", self.has_more)
    }
}

/// One line, as in transcripts.
impl fmt::Display for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.repositories.len(), "repositories", self.has_more)
    }
}

fn listed(f: &mut fmt::Formatter<'_>, len: usize, what: &str, has_more: bool) -> fmt::Result {
    let more = if has_more { ", and more" } else { "" };
    write!(f, "{len} {what}{more}")
}
