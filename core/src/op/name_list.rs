//! `GET /v2/<name>/tags/list` and `GET /v2/_catalog`: a page of names (TAGS-01, TAGS-11).

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use http::Method;
use serde::Deserialize;

use super::{Answer, Draft, KeptList, OpOutcome, Operation, Site, Verdict};
use crate::call::{Expect, Flaw};
use crate::config::Lack;
use crate::error::Error;
use crate::header::next_link;
use crate::reference::{Repository, Tag};
use crate::scope::Scopes;
use crate::uri::Url;

/// Reads one page of a list. The next one is an operation of its own, so that each page is tried as often
/// as any request.
#[derive(Clone, Debug)]
pub(crate) struct NameList {
    pub(crate) site: Site,
    pub(crate) of: NamesOf,
    pub(crate) page: Page,
    /// The largest page, in bytes.
    pub(crate) limit: u64,
}

/// What is listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NamesOf {
    Tags,
    Catalog,
}

/// Which page is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Page {
    /// The one after a name, or the first one. Without a size, the registry decides.
    After {
        name: Option<String>,
        size: Option<u32>,
    },
    /// The one that another page links to. Its URL is opaque (TAGS-04).
    At(Url),
}

/// A page of names.
#[derive(Debug)]
pub(crate) struct NamePage {
    pub(crate) names: Vec<String>,
    pub(crate) next: Option<Url>,
    /// The size that was asked for.
    pub(crate) size: Option<u32>,
}

impl NamesOf {
    /// What a registry may not have that refuses such a list.
    pub(super) const fn lacks(self) -> &'static [Lack] {
        match self {
            Self::Tags => &[Lack::Tags],
            Self::Catalog => &[Lack::Catalog],
        }
    }
}

/// The lists of names that a response can have. Either may be `null` or absent (TAGS-01).
#[derive(Deserialize)]
#[serde(rename = "Body")] // errors say this name
pub(super) struct NameLists {
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

impl NameLists {
    /// What a tape keeps of a response, if it can have such lists.
    pub(super) fn kept(bytes: &[u8]) -> Option<Vec<KeptList>> {
        let Self { tags, repositories } = serde_json::from_slice(bytes).ok()?;
        let is_tag = |name: &str| name.parse::<Tag>().is_ok();
        let is_repository = |name: &str| name.parse::<Repository>().is_ok();
        Some(vec![
            KeptList::new("tags", tags, is_tag),
            KeptList::new("repositories", repositories, is_repository),
        ])
    }
}

impl NameList {
    pub(super) fn needs(&self) -> Scopes {
        match self.of {
            NamesOf::Tags => Scopes::pull(&self.site.repository),
            NamesOf::Catalog => Scopes::catalog(),
        }
    }

    pub(super) fn draft(&self) -> Draft {
        let limit = self.limit;
        Draft::new(Method::GET, self.url(), Expect::Document { limit })
    }

    pub(super) fn answer(mut self, answer: &Answer) -> Verdict {
        if !answer.status.is_success() {
            // TAGS-10: a registry may refuse the number, which is no need of the caller's.
            if let Page::After { size, .. } = &mut self.page
                && answer.status.as_u16() == 400
                && size.take().is_some()
            {
                return Verdict::Next(Operation::NameList(self));
            }
            let failure = answer.failure(&self.what());
            return Verdict::Failed(self.hinted(failure));
        }
        if let Some(flaw) = &answer.flaw {
            return Verdict::Failed(self.flawed(flaw, answer));
        }
        let names = match self.read(answer.bytes()) {
            Ok(names) => names,
            Err(error) => {
                let otherwise = || answer.peer(format!("sent no list of names: {error}"));
                let error = answer.error_with_200(&self.what());
                return Verdict::Failed(error.unwrap_or_else(otherwise));
            }
        };
        // An error is an object as well, and no list without names.
        if names.is_empty()
            && let Some(error) = answer.error_with_200(&self.what())
        {
            return Verdict::Failed(error);
        }
        match next_page(answer, &self.site) {
            Ok(next) => Verdict::Done(OpOutcome::Names(NamePage {
                names,
                next,
                size: match self.page {
                    Page::After { size, .. } => size,
                    Page::At(_) => None,
                },
            })),
            Err(error) => Verdict::Failed(error),
        }
    }

    fn url(&self) -> Url {
        let (name, size) = match &self.page {
            Page::At(url) => return url.clone(),
            Page::After { name, size } => (name, size),
        };
        let mut url = match self.of {
            NamesOf::Tags => self.site.url("tags/list"),
            NamesOf::Catalog => self.site.of_registry("_catalog"),
        };
        if let Some(size) = size {
            url = url.with_query("n", &format!("{size}"));
        }
        if let Some(name) = name {
            url = url.with_encoded_query("last", name);
        }
        url
    }

    fn read(&self, bytes: &[u8]) -> Result<Vec<String>, serde_json::Error> {
        let lists: NameLists = serde_json::from_slice(bytes)?;
        let names = match self.of {
            NamesOf::Tags => lists.tags,
            NamesOf::Catalog => lists.repositories,
        };
        Ok(names.unwrap_or_default())
    }

    fn what(&self) -> String {
        match self.of {
            NamesOf::Tags => format!("tags of `{}/{}`", self.site.registry, self.site.repository),
            NamesOf::Catalog => format!("list of the repositories of `{}`", self.site.registry),
        }
    }

    /// TAGS-11: it is an extension.
    fn hinted(&self, mut error: Error) -> Error {
        if self.of == NamesOf::Catalog {
            error.suggest("many registries do not list their repositories, or not to everybody");
        }
        error
    }

    fn flawed(&self, flaw: &Flaw, answer: &Answer) -> Error {
        match flaw {
            Flaw::TooLarge { limit } => answer.peer(format!(
                "sent more than {limit} bytes of a list at once; ask for fewer names per page"
            )),
            Flaw::Whole
            | Flaw::TooLong { .. }
            | Flaw::Length { .. }
            | Flaw::Range { .. }
            | Flaw::Digest { .. } => answer.peer("sent a body that contradicts its headers"),
        }
    }
}

/// The page after the one in a response. It must be at the registry: it is requested with the registry's
/// credentials (TAGS-08).
pub(super) fn next_page(answer: &Answer, site: &Site) -> Result<Option<Url>, Error> {
    let next = next_link(&answer.headers, &answer.url);
    let next = next.map_err(|error| answer.peer(format!("{error}")))?;
    match next {
        Some(url) if *url.origin() != site.origin => {
            Err(answer.peer("the next page is at another scheme, host or port"))
        }
        next => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::super::testing::{answer, site};
    use super::*;

    fn list(of: NamesOf, page: Page) -> NameList {
        let limit = 1000;
        NameList {
            site: site(),
            of,
            page,
            limit,
        }
    }

    fn first(size: Option<u32>) -> Page {
        Page::After { name: None, size }
    }

    #[test]
    fn requests() {
        let after = |name: &str| Page::After {
            name: Some(name.into()),
            size: Some(7),
        };
        let opaque = "https://reg.example/v2/a/b/tags/list?next_page=gA%3D&n=50";
        for (of, page, expected) in [
            (
                NamesOf::Tags,
                first(Some(1000)),
                "https://reg.example/v2/a/b/tags/list?n=1000",
            ),
            (
                NamesOf::Tags,
                first(None),
                "https://reg.example/v2/a/b/tags/list",
            ),
            (
                NamesOf::Tags,
                after("v&1"),
                "https://reg.example/v2/a/b/tags/list?n=7&last=v%261",
            ),
            (
                NamesOf::Catalog,
                after("c/d"),
                "https://reg.example/v2/_catalog?n=7&last=c/d",
            ),
            (
                NamesOf::Tags,
                Page::At(Url::parse(opaque).expect("a URL")),
                opaque,
            ),
        ] {
            let draft = list(of, page).draft();
            assert_eq!(draft.url.as_str(), expected, "TAGS-03, TAGS-04, TAGS-05");
        }
    }

    fn shown(verdict: Verdict) -> String {
        match verdict {
            Verdict::Done(OpOutcome::Names(page)) => {
                let next = page.next.map_or("", |_| " and more");
                format!("{:?}{next}", page.names)
            }
            Verdict::Failed(error) => format!("{:?}", error.kind()),
            Verdict::Next(Operation::NameList(op)) => format!("again {:?}", op.page),
            other @ (Verdict::Done(_) | Verdict::Next(_)) => format!("{other:?}"),
        }
    }

    /// ERR-03: a code refines what the status says, and does not replace it. TAGS-02: the names stay in the
    /// registry's order.
    #[test]
    fn pages() {
        use NamesOf::{Catalog, Tags};
        for (of, status, body, expected) in [
            (
                Tags,
                200,
                r#"{"name":"a/b","tags":["b","a"]}"#,
                r#"["b", "a"]"#,
            ),
            (Tags, 200, r#"{"name":"a/b","tags":null}"#, "[]"),
            (Tags, 200, r#"{"name":"a/b"}"#, "[]"),
            (Tags, 200, r#"{"tags":[]}"#, "[]"),
            (
                Tags,
                200,
                r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#,
                "NotFound",
            ),
            (Tags, 200, r#"{"tags":["a"],"tags":["b"]}"#, "Refused"),
            (Tags, 200, r#"{"tags":[1]}"#, "Refused"),
            (Tags, 200, r#"{"tags":"a"}"#, "Refused"),
            (Tags, 200, "<html>", "Refused"),
            (Tags, 200, "", "Refused"),
            (Tags, 200, r#"["a"]"#, "Refused"),
            (Catalog, 200, r#"{"repositories":["a/b"]}"#, r#"["a/b"]"#),
            (Catalog, 200, r#"{"repositories":null}"#, "[]"),
            (
                Tags,
                404,
                r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#,
                "NotFound",
            ),
            (Tags, 404, r#"{"errors":[{"code":"FOO_BAR"}]}"#, "NotFound"),
            (Tags, 403, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, "Auth"),
            (Tags, 403, "", "Auth"),
            (Tags, 405, "", "Refused"),
            (Catalog, 404, "", "NotFound"),
            (Catalog, 401, "", "Auth"),
            (Catalog, 405, "", "Refused"),
        ] {
            let op = list(of, first(None));
            let found = shown(op.answer(&answer(status, &[], body.as_bytes())));
            assert_eq!(found, expected, "TAGS-01, TAGS-11 {status} {body}");
        }
    }

    /// TAGS-10.
    #[test]
    fn a_number_that_is_refused_is_left_out() {
        let refusal = || {
            answer(
                400,
                &[],
                br#"{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}"#,
            )
        };
        let verdict = list(NamesOf::Tags, first(Some(9))).answer(&refusal());
        let expected = format!("again {:?}", first(None));
        assert_eq!(shown(verdict), expected);
        let verdict = list(NamesOf::Tags, first(None)).answer(&refusal());
        assert_eq!(shown(verdict), "Refused");
    }

    #[test]
    fn a_catalog_that_is_refused_is_explained() {
        for status in [401, 403, 404, 405] {
            let op = list(NamesOf::Catalog, first(None));
            let Verdict::Failed(error) = op.answer(&answer(status, &[], b"")) else {
                panic!("{status} is a failure");
            };
            assert!(error.hint().is_some(), "TAGS-11 {status}: {error}");
        }
    }

    /// TAGS-07.
    #[test]
    fn links() {
        let body = br#"{"tags":["a"]}"#;
        for (link, expected) in [
            (
                "</v2/a/b/tags/list?last=a>; rel=\"next\"",
                "[\"a\"] and more",
            ),
            ("<?last=a>; rel=next", "[\"a\"] and more"),
            ("<https://other.example/v2/>; rel=next", "Refused"),
            ("<http://reg.example/v2/a/b/tags/list>; rel=next", "Refused"),
            ("<>; rel=next", "Refused"),
            ("</x>; rel=prev", "[\"a\"]"),
        ] {
            let op = list(NamesOf::Tags, first(None));
            let verdict = op.answer(&answer(200, &[("link", link)], body));
            assert_eq!(shown(verdict), expected, "V-C, TAGS-08 {link}");
        }
    }

    #[test]
    fn a_page_elsewhere_is_not_requested() {
        let mut redirected = answer(200, &[("link", "<?n=2>; rel=next")], b"{}");
        redirected.url = Url::parse("https://cdn.example/x").expect("a URL");
        let error = next_page(&redirected, &site()).expect_err("it is at another host");
        assert!(error.to_string().contains("another scheme"), "{error}");
    }

    #[test]
    fn a_page_that_is_too_large() {
        let mut large = answer(200, &[], b"{");
        large.flaw = Some(Flaw::TooLarge { limit: 7 });
        let Verdict::Failed(error) = list(NamesOf::Tags, first(None)).answer(&large) else {
            panic!("it is not read");
        };
        assert!(
            error.to_string().contains("fewer names per page"),
            "{error}"
        );
    }
}
