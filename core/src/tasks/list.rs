//! Reading a list of names: the tags of a repository, or the repositories of a registry.
//!
//! ```text
//!  a page ─┬─ it links to the next one, or may be cut off ──▶ the next page
//!          └─ it is the last one, or one is enough ─────────▶ listed
//! ```
//!
//! Some registries do not know `last`: they begin with the first name again. That shows if the name after which the
//! list was to begin is in it; what comes before is left out then.
//!
//! Responsible for the order of pages, for their bounds, and for never taking a part of a list for all of
//! it. Must not know what a page looks like (`op`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use super::pages::Pages;
use crate::error::Error;
use crate::event::Event;
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::op::{NameList, NamePage, NamesOf, OpOutcome, Operation, Page, Site};
use crate::task::{Catalog, ListOf, ListTask, Tags, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::machine::{TaskMachine, unexpected};
use crate::uri::Url;

/// How many names are asked for at once. What crane asks for; a page of as many tags of the greatest length
/// is well below the limit of a document.
const PAGE_SIZE: u32 = 1000;

/// A list that is being read.
#[derive(Debug)]
pub(crate) struct ListState {
    task: ListTask,
    site: Site,
    names: Vec<String>,
    pages: Pages,
    /// The name after which the page that is being read begins, if it was asked for although nothing
    /// linked to it.
    probed: Option<String>,
    /// The name after which the caller wants the list to begin, until it is found in a page.
    after: Option<String>,
    /// Where a list that is read page by page goes on.
    next: Option<String>,
}

/// How a list ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// With its last name.
    Whole,
    /// Before names that were not read, or may not have been.
    Cut,
}

/// What a name costs beside its bytes: a registry could send millions of empty ones.
const NAME: u64 = 40;

impl ListState {
    pub(super) fn new(task: ListTask, exchanges: &Exchanges) -> Self {
        let site = match &task.of {
            // The list of a mirror is not that of the registry.
            ListOf::Tags(reference) => exchanges.lists(reference),
            ListOf::Catalog(registry) => exchanges.registry(registry),
        };
        Self {
            after: task.paging.after.clone(),
            next: None,
            probed: None,
            task,
            site,
            names: Vec::new(),
            pages: Pages::default(),
        }
    }
}

impl TaskMachine for ListState {
    fn requested(&self) -> TaskKind {
        TaskKind::List(self.task.clone())
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        match &self.task.of {
            ListOf::Tags(reference) => drop(ports.config().lists(reference)?),
            ListOf::Catalog(registry) => ports.config().admits(registry)?,
        }
        let name = self.task.paging.after.clone();
        let size = self.page_size();
        self.read(Page::After { name, size }, ports);
        Ok(())
    }

    fn exchange_ended(
        &mut self,
        _node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        match result {
            Ok(OpOutcome::Names(page)) => self.page_read(page, ports),
            Ok(_) => Err(unexpected("reading a list")),
            Err(error) => match self.probed.take() {
                // Nothing linked to that page: those before may be all.
                Some(last) if refuses_last(&error) => {
                    self.may_be_cut(&format!("what follows `{last}`: {error}"), ports);
                    Ok(())
                }
                Some(_) | None => Err(error),
            },
        }
    }
}

impl ListState {
    fn page_read(&mut self, page: NamePage, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let NamePage { names, next, size } = page;
        let is_full = size.is_some_and(|size| names.len() as u64 >= u64::from(size));
        let last = names.last().cloned();
        self.pages
            .read(names.iter().map(|name| name.len() as u64 + NAME).sum());
        let is_exact = size.is_some_and(|size| names.len() as u64 == u64::from(size));
        self.names.extend(names);
        self.leave_out_before(ports);
        let most = self.task.paging.most.unwrap_or(usize::MAX);
        if self.names.len() > most || (self.names.len() == most && next.is_some()) {
            self.finish(End::Cut, ports);
            return Ok(());
        }
        let paging = &self.task.paging;
        // Page by page, the one before ended with the name that this one begins after.
        let before = paging.after.clone().filter(|_| paging.one_page);
        let probed = self.probed.take().or(before);
        if paging.one_page
            && let Some(last) = last.as_ref().filter(|last| probed.as_ref() != Some(last))
            && next
                .as_ref()
                .map_or(is_full, |next| begins_after(next, last))
        {
            self.next = Some(last.clone());
            self.finish(End::Cut, ports);
            return Ok(());
        }
        let next = match (next, last) {
            (Some(url), _) => {
                let what = self.what();
                self.pages.follow(&url, ports.limits(), &what)?;
                Page::At(url)
            }
            // Whether a page without a link that is as long as it was asked to be is the last one, only
            // the next one shows. A registry that knows no `last` sends the same one again.
            (None, Some(last)) if is_full && probed.as_ref() != Some(&last) => {
                self.probed = Some(last.clone());
                let name = Some(last);
                Page::After { name, size }
            }
            (None, last) if is_exact && last.is_some() && probed == last => {
                self.may_be_cut("what follows a page that it sent twice", ports);
                return Ok(());
            }
            (None, _) => {
                self.finish(End::Whole, ports);
                return Ok(());
            }
        };
        self.pages.check(ports.limits(), &self.what())?;
        self.read(next, ports);
        Ok(())
    }

    fn read(&self, page: Page, ports: &mut TaskPorts<'_>) {
        let of = match self.task.of {
            ListOf::Tags(_) => NamesOf::Tags,
            ListOf::Catalog(_) => NamesOf::Catalog,
        };
        let op = NameList {
            site: self.site.clone(),
            of,
            page,
            limit: ports.limits().document,
        };
        ports.ask(&self.site, Operation::NameList(op));
    }

    /// Leaves out what a registry that ignores `last` lists before the name that the list was to begin after.
    fn leave_out_before(&mut self, ports: &mut TaskPorts<'_>) {
        let Some(after) = &self.after else { return };
        let Some(at) = self.names.iter().position(|name| name == after) else {
            return;
        };
        self.names.drain(..=at);
        if self.task.paging.one_page {
            return;
        }
        let what = format!(
            "the registry ignores where {} is to begin: it was read from its first name on",
            self.what()
        );
        self.after = None;
        ports.event(Event::Warning(what));
    }

    /// Ends the list with what was read, although there may be more.
    fn may_be_cut(&mut self, why: &str, ports: &mut TaskPorts<'_>) {
        let what = format!(
            "{} may be incomplete: the registry does not list {why}",
            self.what()
        );
        ports.event(Event::Warning(what));
        self.finish(End::Cut, ports);
    }

    fn finish(&mut self, end: End, ports: &mut TaskPorts<'_>) {
        let mut names = core::mem::take(&mut self.names);
        let most = self.task.paging.most.unwrap_or(usize::MAX);
        let has_more = end == End::Cut || names.len() > most;
        names.truncate(most);
        keep_first(&mut names);
        let next = self.next.take();
        let (report, invalid) = match self.task.of {
            ListOf::Tags(_) => {
                let (tags, invalid) = parsed(&names);
                let tags = Tags {
                    tags,
                    has_more,
                    next,
                    invalid,
                };
                (TaskReport::Tags(tags), invalid)
            }
            ListOf::Catalog(_) => {
                let (repositories, invalid) = parsed(&names);
                let catalog = Catalog {
                    repositories,
                    has_more,
                    next,
                    invalid,
                };
                (TaskReport::Catalog(catalog), invalid)
            }
        };
        if invalid > 0 {
            let what = format!("{} has {invalid} invalid entries, left out", self.what());
            ports.event(Event::Warning(what));
        }
        ports.finish(report);
    }

    fn page_size(&self) -> Option<u32> {
        let paging = &self.task.paging;
        let size = paging.page_size.unwrap_or(PAGE_SIZE).max(1);
        let most = paging.most.and_then(|most| u32::try_from(most).ok());
        Some(most.map_or(size, |most| size.min(most.max(1))))
    }

    fn what(&self) -> String {
        match &self.task.of {
            ListOf::Tags(reference) => format!(
                "the list of the tags of `{}/{}`",
                reference.registry(),
                reference.repository()
            ),
            ListOf::Catalog(registry) => {
                format!("the list of the repositories of `{registry}`")
            }
        }
    }
}

/// Whether a link to the next page asks for what follows this name (TAGS-05). Others are opaque
/// (TAGS-04).
fn begins_after(link: &Url, name: &str) -> bool {
    let query = link.query().unwrap_or_default();
    let values = query.split('&').filter_map(|it| it.strip_prefix("last="));
    let mut names = values.map(|value| value.replace("%2F", "/").replace("%2f", "/"));
    names.any(|it| it == name)
}

/// Whether a registry cannot be asked for what follows a name.
fn refuses_last(error: &Error) -> bool {
    matches!(error, Error::Registry(refusal) if matches!(refusal.status, 400 | 405 | 501))
}

/// The names that are of this form, and how many are not (TAGS-12).
fn parsed<T: FromStr>(names: &[String]) -> (Vec<T>, usize) {
    let parsed: Vec<T> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let invalid = names.len() - parsed.len();
    (parsed, invalid)
}

/// Keeps the first of equal names, in their order.
fn keep_first(names: &mut Vec<String>) {
    let mut sorted: Vec<usize> = (0..names.len()).collect();
    sorted.sort_by(|a, b| names[*a].cmp(&names[*b]));
    let mut is_first = alloc::vec![true; names.len()];
    for pair in sorted.windows(2) {
        if let [before, after] = pair
            && names[*before] == names[*after]
        {
            is_first[*after] = false;
        }
    }
    let mut is_first = is_first.into_iter();
    names.retain(|_| is_first.next().unwrap_or(true));
}

#[cfg(test)]
mod tests;
