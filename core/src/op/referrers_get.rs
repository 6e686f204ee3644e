//! `GET /v2/<name>/referrers/<digest>`: a page of the list of what refers to a manifest (RFR).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use http::{Method, header};

use super::name_list::next_page;
use super::{Answer, Draft, OpOutcome, Site, Verdict};
use crate::call::{Expect, Flaw, Received};
use crate::capabilities::Capabilities;
use crate::digest::Digest;
use crate::header::content_type;
use crate::manifest::media_type::{OCI_INDEX, is_type};
use crate::manifest::{Content, Declared, Document};
use crate::uri::Url;

/// Reads one page of a manifest's referrers.
#[derive(Clone, Debug)]
pub(crate) struct ReferrersGet {
    pub(crate) site: Site,
    pub(crate) subject: Digest,
    /// Of this type only. A registry may pass over it.
    pub(crate) artifact_type: Option<String>,
    /// The page that another one links to.
    pub(crate) page: Option<Url>,
    /// The largest page, in bytes.
    pub(crate) limit: u64,
}

impl ReferrersGet {
    pub(super) fn draft(&self) -> Draft {
        let limit = self.limit;
        Draft::new(Method::GET, self.url(), Expect::Document { limit })
            .with(header::ACCEPT, OCI_INDEX)
    }

    fn url(&self) -> Url {
        if let Some(page) = &self.page {
            return page.clone();
        }
        let url = self.site.url(&format!("referrers/{}", self.subject));
        match &self.artifact_type {
            Some(artifact_type) => url.with_encoded_query("artifactType", artifact_type),
            None => url,
        }
    }

    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        if self.is_unsupported(answer) {
            return Verdict::Done(OpOutcome::Unsupported);
        }
        if !answer.status.is_success() {
            return Verdict::Failed(answer.failure(&self.what()));
        }
        if let Some(flaw) = &answer.flaw {
            let what = if let Flaw::TooLarge { limit } = flaw {
                format!("sent more than {limit} bytes of a list at once")
            } else {
                "sent a body that contradicts its headers".into()
            };
            return Verdict::Failed(answer.peer(what));
        }
        let document = match self.read(answer) {
            Ok(document) => document.into(),
            Err(why) => {
                let otherwise = || answer.peer(format!("sent no list of referrers: {why}"));
                let error = answer.error_with_200(&self.what());
                return Verdict::Failed(error.unwrap_or_else(otherwise));
            }
        };
        match next_page(answer, &self.site) {
            Ok(next) => Verdict::Done(OpOutcome::Referrers(Box::new(ReferrersPage {
                document,
                next,
            }))),
            Err(error) => Verdict::Failed(error),
        }
    }

    /// Notes that the registry has no referrers API, if the answer can mean nothing else: what is wrong with one
    /// repository or one request must not hide the referrers of others (RFR-09).
    pub(super) fn learn<'a>(
        &self,
        answer: &Answer,
        registry: impl FnOnce() -> &'a mut Capabilities,
    ) {
        let is_general = match answer.status.as_u16() {
            405 | 501 => true,
            // Of a router that knows no such path, or of a registry that says so.
            404 => {
                let errors = answer.errors();
                errors.has("UNSUPPORTED") || errors.entries.iter().all(|it| it.code.is_empty())
            }
            _ => false,
        };
        if is_general && self.is_unsupported(answer) {
            registry().lists_no_referrers = true;
        }
    }

    /// Whether the answer says that there is no such API, as far as registries say that. A repository that does not
    /// exist is something else (RFR-05), and so is a second page.
    fn is_unsupported(&self, answer: &Answer) -> bool {
        let (status, errors) = (answer.status.as_u16(), answer.errors());
        let is_refused = match status {
            404 => !errors.has("NAME_UNKNOWN"),
            400 | 405 | 406 | 410 | 501 => true,
            // A page for people, or something of a proxy.
            200..=299 => !is_index(answer),
            _ => false,
        };
        is_refused && answer.denied.is_none() && self.page.is_none()
    }

    fn read(&self, answer: &Answer) -> Result<Document, String> {
        let Received::Collected { bytes, .. } = &answer.body else {
            return Err("there is no body".into());
        };
        let declared = Declared::ContentType(content_type(&answer.headers));
        let document = Document::parse(bytes.clone(), declared);
        let document = document.map_err(|error| format!("{error}"))?;
        match document.content() {
            Content::Index(_) => Ok(document),
            Content::Image(_) | Content::Artifact(_) => {
                Err(format!("it is a {}", document.media_type()))
            }
        }
    }

    fn what(&self) -> String {
        format!(
            "referrers of {} in `{}/{}`",
            self.subject, self.site.registry, self.site.repository
        )
    }
}

/// Whether a response says that it is an index.
fn is_index(answer: &Answer) -> bool {
    content_type(&answer.headers).is_some_and(|it| is_type(it, OCI_INDEX))
}

/// A page of referrers: an index.
#[derive(Debug)]
pub(crate) struct ReferrersPage {
    pub(crate) document: Box<Document>,
    pub(crate) next: Option<Url>,
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::Algorithm;

    const LIST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

    fn get(page: Option<&str>, artifact_type: Option<&str>) -> ReferrersGet {
        ReferrersGet {
            site: site(),
            subject: Digest::of(Algorithm::Sha256, b"subject"),
            artifact_type: artifact_type.map(Into::into),
            page: page.map(|page| Url::parse(page).expect("a URL")),
            limit: 1000,
        }
    }

    #[test]
    fn requests() {
        let subject = get(None, None).subject;
        let all = format!("https://reg.example/v2/a/b/referrers/{subject}");
        let page = "https://reg.example/v2/x?next=1";
        for (op, expected) in [
            (get(None, None), all.clone()),
            (
                get(None, Some("application/vnd.x+json")),
                format!("{all}?artifactType=application/vnd.x%2Bjson"),
            ),
            (get(Some(page), Some("a/b")), page.into()),
        ] {
            let draft = op.draft();
            assert_eq!(draft.url.as_str(), expected, "RFR-08");
            assert_eq!(draft.headers[header::ACCEPT], OCI_INDEX);
        }
    }

    #[test]
    fn answers() {
        let index = ("content-type", OCI_INDEX);
        let html = ("content-type", "text/html; charset=utf-8");
        let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;
        let image = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        for (status, header, body, first, later) in [
            (200, index, LIST, "Referrers", "Referrers"),
            (200, index, image, "Refused", "Refused"),
            (200, index, "<html>", "Refused", "Refused"),
            (200, html, LIST, "Unsupported", "Referrers"),
            (200, html, "<html>", "Unsupported", "Refused"),
            (404, html, "404 page not found", "Unsupported", "NotFound"),
            (404, index, unknown, "NotFound", "NotFound"),
            (400, html, "", "Unsupported", "Refused"),
            (405, html, "", "Unsupported", "Refused"),
            (406, html, "", "Unsupported", "Refused"),
            (501, html, "", "Unsupported", "Refused"),
            (401, html, "", "Auth", "Auth"),
            (403, html, "", "Auth", "Auth"),
        ] {
            let page = "https://reg.example/v2/x";
            for (op, expected) in [(get(None, None), first), (get(Some(page), None), later)] {
                let answer = answer(status, &[header], body.as_bytes());
                let mut known = Capabilities::default();
                op.learn(&answer, || &mut known);
                let found = match op.answer(&answer) {
                    Verdict::Done(OpOutcome::Referrers(_)) => "Referrers".into(),
                    Verdict::Done(outcome) => format!("{outcome:?}"),
                    Verdict::Failed(error) => format!("{:?}", error.kind()),
                    next @ Verdict::Next(_) => format!("{next:?}"),
                };
                assert_eq!(found, expected, "RFR-05, 10.2 {status} {body}");
                // One repository or request says nothing about the others.
                let is_general = match status {
                    405 | 501 => true,
                    404 => !body.contains("errors") || body.contains("UNSUPPORTED"),
                    _ => false,
                };
                let is_noted = expected == "Unsupported" && is_general;
                assert_eq!(known.lists_no_referrers, is_noted, "RFR-09 {status} {body}");
            }
        }
    }

    #[test]
    fn links() {
        for (link, expected) in [
            ("<?n=2>; rel=next", Some(true)),
            ("<https://other.example/v2/>; rel=next", None),
            ("</x>; rel=prev", Some(false)),
        ] {
            let headers = [("content-type", OCI_INDEX), ("link", link)];
            let verdict = get(None, None).answer(&answer(200, &headers, LIST.as_bytes()));
            let found = match verdict {
                Verdict::Done(OpOutcome::Referrers(page)) => Some(page.next.is_some()),
                Verdict::Done(_) | Verdict::Failed(_) | Verdict::Next(_) => None,
            };
            assert_eq!(found, expected, "{link}");
        }
    }

    #[test]
    fn a_page_that_is_too_large() {
        let mut large = answer(200, &[("content-type", OCI_INDEX)], b"{");
        large.flaw = Some(Flaw::TooLarge { limit: 7 });
        let verdict = get(None, None).answer(&large);
        assert!(
            matches!(verdict, Verdict::Failed(error) if format!("{error}").contains("7 bytes"))
        );
    }
}
