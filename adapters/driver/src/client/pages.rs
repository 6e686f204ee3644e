//! Lists of names, page by page.
//!
//! Responsible for asking for one page after the other, each by a request of its own, and for ending. Must not know
//! how a registry links its pages (the core's `tasks/list`).

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use windlass_core::{Error, Failure};

use super::verbs::ListReport;
use super::{Driver, Watch};
use crate::request::RequestSpec;

/// The pages of a list of tags or repositories: an [`Iterator`] in the blocking client, a [`Stream`] in the async one.
/// Made by [`Request::pages`](super::Request::pages).
///
/// Each page is requested when it is asked for, and comes in the registry's order. A name can be in several pages if
/// the list changes meanwhile. A registry whose pages cannot be asked for by name has one page, which is the whole
/// list. An error ends it.
pub struct ListPages<'a, D: Driver, R: ListReport> {
    driver: &'a D,
    spec: RequestSpec,
    watch: Watch,
    running: Option<D::Running<'a, R>>,
    /// Where pages began: a list that leads back to one of them has no end.
    begun: BTreeSet<String>,
    next: Next,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Page,
    /// It was read already.
    Loop,
    Nothing,
}

impl<'a, D: Driver, R: ListReport> ListPages<'a, D, R> {
    pub(super) fn new(driver: &'a D, mut spec: RequestSpec, watch: Watch) -> Self {
        let paging = spec.paging();
        paging.one_page = true;
        let begun = paging.after.iter().cloned().collect();
        Self {
            driver,
            spec,
            watch,
            running: None,
            begun,
            next: Next::Page,
        }
    }

    /// Begins to read the next page, if there is one.
    fn begin(&mut self) -> Option<Result<D::Running<'a, R>, Failure>> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Page => Some(Ok(self.driver.run(self.spec.clone(), self.watch.clone()))),
            Next::Loop => {
                let what = "the list leads back to a page that was read".into();
                Some(Err(Failure::new(vec![Error::Policy { what }])))
            }
            Next::Nothing => None,
        }
    }

    /// Takes a page, and notes which one is next.
    fn take(&mut self, page: Result<R, Failure>) -> Result<R, Failure> {
        let page = page?;
        let paging = self.spec.paging();
        if let Some(most) = &mut paging.most {
            *most = most.saturating_sub(page.names());
        }
        if let Some(after) = page.next()
            && paging.most != Some(0)
        {
            paging.after = Some(after.to_owned());
            let is_new = self.begun.insert(after.to_owned());
            self.next = if is_new { Next::Page } else { Next::Loop };
        }
        Ok(page)
    }
}

impl<'a, D, R> Iterator for ListPages<'a, D, R>
where
    D: Driver<Running<'a, R> = Result<R, Failure>>,
    R: ListReport,
{
    type Item = Result<R, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let page = self.begin()?.and_then(|page| page);
        Some(self.take(page))
    }
}

impl<'a, D, R> Stream for ListPages<'a, D, R>
where
    D: Driver,
    D::Running<'a, R>: Future<Output = Result<R, Failure>> + Unpin,
    R: ListReport,
{
    type Item = Result<R, Failure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.running.is_none() {
            match this.begin() {
                Some(Ok(running)) => this.running = Some(running),
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                None => return Poll::Ready(None),
            }
        }
        let Some(running) = &mut this.running else {
            return Poll::Ready(None);
        };
        let page = ready!(Pin::new(running).poll(context));
        this.running = None;
        Poll::Ready(Some(this.take(page)))
    }
}

impl<D: Driver, R: ListReport> fmt::Debug for ListPages<'_, D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListPages")
            .field("spec", &self.spec)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
