//! Lists of names: the tags of a repository, and the repositories of a registry.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::reference::{Reference, Repository, Tag};
use crate::registry::Registry;

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
}

/// The tags of a repository.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tags {
    /// The tags, each once, in the registry's order.
    pub tags: Vec<Tag>,
    /// Whether there are more: only if [`Paging::most`] ended the list.
    pub has_more: bool,
    /// How many entries are no tags. They are left out.
    pub invalid: usize,
}

/// The repositories of a registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Catalog {
    /// The repositories, each once, in the registry's order.
    pub repositories: Vec<Repository>,
    /// Whether there are more: only if [`Paging::most`] ended the list.
    pub has_more: bool,
    /// How many entries are no names of repositories. They are left out.
    pub invalid: usize,
}
