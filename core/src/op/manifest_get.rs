//! `GET /v2/<name>/manifests/<reference>` (PULLM-01).

use alloc::format;
use alloc::string::{String, ToString};

use http::{Method, header};

use super::{Answer, Draft, Operation, Outcome, Site, Verdict};
use crate::call::{Expect, Flaw, Received};
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::header::content_type;
use crate::manifest::media_type::ACCEPT_MANIFESTS;
use crate::manifest::{Declared, Document, DocumentError};
use crate::reference::Target;

/// Fetches a manifest or index and verifies it.
#[derive(Clone, Debug)]
pub(crate) struct ManifestGet {
    pub(crate) site: Site,
    pub(crate) target: Target,
    /// The descriptor that led here, if one did: its type and size rule.
    pub(crate) descriptor: Option<Descriptor>,
    pub(crate) limit: u64,
    /// Set on the second try after content that did not match.
    pub(crate) again: bool,
}

impl ManifestGet {
    pub(crate) const fn new(
        site: Site,
        target: Target,
        descriptor: Option<Descriptor>,
        limit: u64,
    ) -> Self {
        Self {
            site,
            target,
            descriptor,
            limit,
            again: false,
        }
    }

    pub(super) fn draft(&self) -> Draft {
        let url = self.site.url(&format!("manifests/{}", self.target));
        Draft::new(Method::GET, url, Expect::Document { limit: self.limit })
            .with(header::ACCEPT, ACCEPT_MANIFESTS)
    }

    pub(super) fn answer(mut self, answer: Answer) -> Verdict {
        if !answer.status.is_success() {
            return Verdict::Failed(answer.failure(&self.what()));
        }
        if let Some(flaw) = &answer.flaw {
            return Verdict::Failed(self.flawed(flaw, &answer));
        }
        let content_type = content_type(&answer.headers).map(ToString::to_string);
        let peer = |error: &DocumentError| answer.peer(format!("sent {}: {error}", self.what()));
        let bytes = match &answer.body {
            Received::Collected { bytes, .. } => bytes.clone(),
            Received::Nothing | Received::Stored { .. } => {
                return Verdict::Failed(answer.peer("sent no body"));
            }
        };
        if let Some(descriptor) = &self.descriptor
            && descriptor.size != bytes.len() as u64
        {
            let found = format!("{} bytes", bytes.len());
            let expected = format!("{} bytes", descriptor.size);
            return self.mismatch(expected, found);
        }
        let declared = match &self.descriptor {
            Some(descriptor) => Declared::Descriptor(&descriptor.media_type),
            None => Declared::ContentType(content_type.as_deref()),
        };
        let parsed = match &self.target {
            Target::Tag(_) => Document::parse(bytes, declared),
            Target::Digest(digest) => Document::parse_as(bytes, declared, digest),
        };
        match parsed {
            Ok(document) => Verdict::Done(Outcome::Document(document.into())),
            Err(DocumentError::Digest { expected, found }) if !self.again => {
                let _ = (expected, found);
                self.again = true;
                Verdict::Next(Operation::ManifestGet(self))
            }
            Err(DocumentError::Digest { expected, found }) => {
                self.mismatch(expected.to_string(), found.to_string())
            }
            Err(error) => Verdict::Failed(peer(&error)),
        }
    }

    fn mismatch(self, expected: String, found: String) -> Verdict {
        Verdict::Failed(Error::Mismatch {
            what: self.what(),
            expected,
            found,
        })
    }

    fn flawed(&self, flaw: &Flaw, answer: &Answer) -> Error {
        match flaw {
            Flaw::TooLarge { limit } => {
                answer.peer(format!("sent a manifest of more than {limit} bytes"))
            }
            Flaw::Encoded { coding } => {
                answer.peer(format!("sent a manifest with Content-Encoding `{coding}`"))
            }
            Flaw::TooLong { .. } | Flaw::Length { .. } | Flaw::Range { .. } => {
                answer.peer("sent a body that does not fit its head")
            }
        }
    }

    fn what(&self) -> String {
        format!(
            "manifest `{}` of `{}/{}`",
            self.target, self.site.registry, self.site.repository
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};

    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

    fn get(target: Target, descriptor: Option<Descriptor>) -> ManifestGet {
        ManifestGet::new(site(), target, descriptor, 1000)
    }

    fn shown(verdict: Verdict) -> String {
        match verdict {
            Verdict::Done(Outcome::Document(document)) => document.media_type().into(),
            Verdict::Done(outcome) => format!("{outcome:?}"),
            Verdict::Failed(error) => format!("{:?}", error.kind()),
            Verdict::Next(Operation::ManifestGet(op)) if op.again => "again".into(),
            next @ Verdict::Next(_) => format!("{next:?}"),
        }
    }

    fn digest() -> Digest {
        Digest::of(Algorithm::Sha256, INDEX.as_bytes())
    }

    #[test]
    fn answers() {
        let tag = || Target::Tag("v1".parse().expect("a tag"));
        let by_digest = || Target::Digest(digest());
        let describe = |size| Some(Descriptor::new(OCI_INDEX, digest(), size));
        let whole = INDEX.len() as u64;
        let kind = ("content-type", OCI_INDEX);
        let text = ("content-type", "text/plain; charset=utf-8");
        let wrong = ("content-type", OCI_MANIFEST);
        type Row<'a> = (
            &'a str,
            Target,
            Option<Descriptor>,
            u16,
            (&'static str, &'a str),
            &'a str,
            &'a str,
        );
        let table: &[Row<'_>] = &[
            ("by tag", tag(), None, 200, kind, INDEX, OCI_INDEX),
            ("another type", tag(), None, 200, wrong, INDEX, "Refused"),
            ("no document", tag(), None, 200, kind, "<html>", "Refused"),
            ("by digest", by_digest(), None, 200, kind, INDEX, OCI_INDEX),
            ("damaged", by_digest(), None, 200, kind, "{}", "again"),
            (
                "descriptor",
                by_digest(),
                describe(whole),
                200,
                text,
                INDEX,
                OCI_INDEX,
            ),
            (
                "a wrong size",
                by_digest(),
                describe(7),
                200,
                kind,
                INDEX,
                "Mismatch",
            ),
            ("not there", tag(), None, 404, text, "", "NotFound"),
            ("denied", tag(), None, 403, text, "", "Auth"),
            ("refused", tag(), None, 400, text, "", "Refused"),
        ];
        for (row, target, descriptor, status, header, body, expected) in table {
            let op = get(target.clone(), descriptor.clone());
            let found = shown(op.answer(answer(*status, &[*header], body.as_bytes())));
            assert_eq!(found, *expected, "{row}");
        }
    }

    #[test]
    fn a_damaged_document_is_fetched_twice() {
        let op = ManifestGet {
            again: true,
            ..get(Target::Digest(digest()), None)
        };
        assert_eq!(shown(op.answer(answer(200, &[], b"{}"))), "Mismatch");
    }

    #[test]
    fn flaws() {
        for flaw in [
            Flaw::TooLarge { limit: 7 },
            Flaw::Encoded {
                coding: "gzip".into(),
            },
            Flaw::TooLong { expected: 7 },
        ] {
            let mut answer = answer(200, &[], INDEX.as_bytes());
            answer.flaw = Some(flaw);
            let op = get(Target::Tag("v1".parse().expect("a tag")), None);
            assert_eq!(shown(op.answer(answer)), "Refused");
        }
    }
}
