//! Tag lists and the catalog.
//!
//! Responsible for: TAGS, and pages with `Link`.
//! Must not know: who asks.

use http::StatusCode;
use serde_json::json;

use super::Model;
use super::message::{Answer, Refusal};
use super::options::Pages;
use super::target::{Target, encode};

impl Model {
    pub(crate) fn tags(&self, name: &str, target: &Target<'_>) -> Result<Answer, Refusal> {
        let repository = self.repositories.get(name).ok_or_else(|| {
            let message = "repository name not known to registry";
            Refusal::new(404, "NAME_UNKNOWN", message).details(vec![json!({"name": name})])
        })?;
        let page = page(repository.tags.keys(), target, self.options.pages)?;
        let answer = Answer::new(StatusCode::OK);
        Ok(page
            .link(answer, target)
            .json(&json!({"name": name, "tags": page.entries})))
    }

    pub(crate) fn catalog(&self, target: &Target<'_>) -> Result<Answer, Refusal> {
        if !self.options.catalog {
            return Err(Refusal::new(404, "UNSUPPORTED", "no such endpoint"));
        }
        let page = page(self.repositories.keys(), target, self.options.pages)?;
        let answer = Answer::new(StatusCode::OK);
        Ok(page
            .link(answer, target)
            .json(&json!({"repositories": page.entries})))
    }
}

/// One page of a list.
pub(crate) struct Page {
    pub(crate) entries: Vec<String>,
    /// The size and the last entry of this page, if there are more.
    next: Option<(usize, String)>,
}

impl Page {
    /// TAGS-04: where to go on. The parameters that are not about paging stay.
    pub(crate) fn link(&self, answer: Answer, target: &Target<'_>) -> Answer {
        let Some((n, last)) = &self.next else {
            return answer;
        };
        let others = target.query.split('&').filter(|pair| {
            !pair.is_empty() && !pair.starts_with("n=") && !pair.starts_with("last=")
        });
        let mut query: Vec<String> = others.map(str::to_owned).collect();
        query.push(format!("last={}", encode(last)));
        query.push(format!("n={n}"));
        answer.header(
            "link",
            format!("<{}?{}>; rel=\"next\"", target.path, query.join("&")),
        )
    }
}

/// TAGS-03, TAGS-05 and TAGS-10; the entries come in ASCII order.
pub(crate) fn page<'a>(
    all: impl Iterator<Item = &'a String>,
    target: &Target<'_>,
    pages: Pages,
) -> Result<Page, Refusal> {
    let invalid = || {
        Refusal::new(
            400,
            "PAGINATION_NUMBER_INVALID",
            "invalid number of results",
        )
    };
    let n = match target.parameter("n") {
        Some(n) => Some(n.parse::<usize>().map_err(|_| invalid())?),
        None => None,
    };
    let n = match (n, pages.cap) {
        (Some(n), Some(cap)) if n > cap && pages.refuse_above_cap => return Err(invalid()),
        (n, cap) => n.unwrap_or(usize::MAX).min(cap.unwrap_or(usize::MAX)),
    };
    let after = target.parameter("last");
    let mut rest = all.filter(|entry| after.as_ref().is_none_or(|after| *entry > after));
    let entries: Vec<String> = rest.by_ref().take(n).cloned().collect();
    let more = rest.next().is_some();
    let next = entries
        .last()
        .filter(|_| more)
        .map(|last| (n, last.clone()));
    Ok(Page { entries, next })
}
