//! `GET /v2/<name>/manifests/<reference>` (PULLM-01).

use alloc::format;
use alloc::string::{String, ToString};

use http::{Method, header};

use super::{Answer, Draft, OpOutcome, Operation, Site, Verdict};
use crate::call::{Expect, Flaw, Received};
use crate::descriptor::Descriptor;
use crate::error::{Error, Measure};
use crate::error_body;
use crate::header::{content_type, encoding};
use crate::manifest::media_type::accept;
use crate::manifest::{Declared, Document, DocumentError};
use crate::reference::Target;

/// Fetches a manifest or index and verifies it.
#[derive(Clone, Debug)]
pub(crate) struct ManifestGet {
    pub(crate) site: Site,
    pub(crate) target: Target,
    /// The descriptor, if known: it determines the type and the size.
    pub(crate) descriptor: Option<Descriptor>,
    pub(crate) limit: u64,
    /// Set on the second attempt, after a digest mismatch.
    pub(crate) again: bool,
    /// The document will be modified and put back: it must match the digest in the response, if
    /// there is one, so that damage is not put back.
    pub(crate) is_rewritten: bool,
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
            is_rewritten: false,
        }
    }

    pub(super) fn draft(&self) -> Draft {
        let url = self.site.url(&format!("manifests/{}", self.target));
        let own = self.descriptor.as_ref().map(|it| it.media_type.as_str());
        Draft::new(Method::GET, url, Expect::Document { limit: self.limit })
            .with(header::ACCEPT, &accept(own))
    }

    pub(super) fn answer(mut self, answer: Answer) -> Verdict {
        if !answer.status.is_success() {
            return Verdict::Failed(answer.failure(&self.what()));
        }
        if let Some(flaw) = &answer.flaw {
            return Verdict::Failed(self.flawed(flaw, &answer));
        }
        let content_type = content_type(&answer.headers).map(ToString::to_string);
        let encoding = encoding(&answer.headers);
        let bytes = match &answer.body {
            Received::Collected { bytes, .. } => bytes.clone(),
            Received::Nothing | Received::Stored { .. } | Received::Relayed { .. } => {
                return Verdict::Failed(answer.peer("sent no body"));
            }
        };
        if let Some(descriptor) = &self.descriptor
            && descriptor.size != bytes.len() as u64
        {
            let found = Measure::of_size(bytes.len() as u64).adding(&encoding);
            let expected = Measure::of_size(descriptor.size);
            return self.mismatch(&answer, expected, found);
        }
        let declared = match &self.descriptor {
            Some(descriptor) => Declared::Descriptor(&descriptor.media_type),
            None => Declared::ContentType(content_type.as_deref()),
        };
        let named = match &self.target {
            Target::Digest(digest) => Some(digest.clone()),
            Target::Tag(_) if self.is_rewritten => answer
                .content_digest()
                .filter(|digest| digest.algorithm().is_some()),
            Target::Tag(_) => None,
        };
        let parsed = match named {
            Some(digest) => Document::parse_as(bytes, declared, &digest),
            None => Document::parse(bytes, declared),
        };
        match parsed {
            Ok(document) => Verdict::Done(OpOutcome::Document {
                document: document.into(),
                etag: etag(&answer),
            }),
            Err(DocumentError::Digest { .. })
                if !self.again && !error_body::is_error(answer.bytes()) =>
            {
                self.again = true;
                Verdict::Next(Operation::ManifestGet(self))
            }
            Err(DocumentError::Digest { expected, found }) => {
                let found = Measure::from(&found).adding(&encoding);
                self.mismatch(&answer, Measure::from(&expected), found)
            }
            Err(error) => {
                let otherwise = || answer.peer(format!("sent {}: {error}{encoding}", self.what()));
                let error = answer.error_with_200(&self.what());
                Verdict::Failed(error.unwrap_or_else(otherwise))
            }
        }
    }

    fn mismatch(self, answer: &Answer, expected: Measure, found: Measure) -> Verdict {
        let what = self.what();
        let error = answer.error_with_200(&what);
        Verdict::Failed(error.unwrap_or_else(|| Error::mismatch(what, expected, found)))
    }

    fn flawed(&self, flaw: &Flaw, answer: &Answer) -> Error {
        match flaw {
            Flaw::TooLarge { limit } => {
                answer.peer(format!("sent a manifest of more than {limit} bytes"))
            }
            Flaw::Whole
            | Flaw::TooLong { .. }
            | Flaw::Length { .. }
            | Flaw::Range { .. }
            | Flaw::Digest { .. } => answer.peer("sent a body that contradicts its headers"),
        }
    }

    fn what(&self) -> String {
        format!(
            "manifest `{}` of `{}/{}`",
            self.target, self.site.registry, self.site.repository
        )
    }
}

/// The `ETag`, if strong: weak ones cannot be used in conditions (RFC 9110 section 13.1.1).
fn etag(answer: &Answer) -> Option<String> {
    /// More than a digest with quotes needs.
    const LONGEST: usize = 200;
    let etag = answer.header(header::ETAG)?;
    let is_strong = etag.len() > 1 && etag.starts_with('"') && etag.ends_with('"');
    (is_strong && etag.len() <= LONGEST).then(|| etag.into())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::manifest::media_type::{ACCEPT_MANIFESTS, OCI_ARTIFACT, OCI_INDEX, OCI_MANIFEST};

    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

    fn get(target: Target, descriptor: Option<Descriptor>) -> ManifestGet {
        ManifestGet::new(site(), target, descriptor, 1000)
    }

    fn shown(verdict: Verdict) -> String {
        match verdict {
            Verdict::Done(OpOutcome::Document { document, .. }) => document.media_type().into(),
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
            (
                "no type of a manifest",
                tag(),
                None,
                200,
                text,
                INDEX,
                OCI_INDEX,
            ),
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

    /// A document that is put back must match its digest; one that is only read need not.
    #[test]
    fn what_is_rewritten_has_the_digest_that_is_named() {
        let tag = || Target::Tag("v1".parse().expect("a tag"));
        let other = Digest::of(Algorithm::Sha256, b"another").to_string();
        let unknown = "sha256+b64u:LCa0a2j_xo";
        for (named, is_rewritten, again, expected) in [
            (other.as_str(), true, false, "again"),
            (&other, true, true, "Mismatch"),
            (&other, false, false, OCI_INDEX),
            (digest().as_str(), true, false, OCI_INDEX),
            (unknown, true, false, OCI_INDEX),
            ("", true, false, OCI_INDEX),
        ] {
            let op = ManifestGet {
                is_rewritten,
                again,
                ..get(tag(), None)
            };
            let headers = [
                ("docker-content-digest", named),
                ("content-type", OCI_INDEX),
            ];
            let found = shown(op.answer(answer(200, &headers, INDEX.as_bytes())));
            assert_eq!(found, expected, "{named}");
        }
    }

    #[test]
    fn etags() {
        let long = format!("\"{}\"", "x".repeat(200));
        for (said, expected) in [
            ("\"a\"", Some("\"a\"")),
            ("W/\"a\"", None),
            ("a", None),
            ("\"", None),
            (&long, None),
        ] {
            let found = etag(&answer(200, &[("etag", said)], b""));
            assert_eq!(found.as_deref(), expected, "{said}");
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

    /// HTTP-16: an encoding is no error. If the content does not match, the error names it.
    #[test]
    fn encodings() {
        let tag = || Target::Tag("v1".parse().expect("a tag"));
        let by_digest = || Target::Digest(digest());
        let described = |size| Some(Descriptor::new(OCI_INDEX, digest(), size));
        let last = |target, descriptor| ManifestGet {
            again: true,
            ..get(target, descriptor)
        };
        let gzip = b"\x1f\x8b\x08 and so on";
        for coding in ["gzip", "aws-chunked", "identity", ""] {
            let headers = [("content-encoding", coding)];
            for target in [tag(), by_digest()] {
                let good = answer(200, &headers, INDEX.as_bytes());
                assert_eq!(shown(get(target, None).answer(good)), OCI_INDEX, "{coding}");
            }
            for op in [
                last(tag(), None),
                last(by_digest(), None),
                last(by_digest(), described(gzip.len() as u64)),
                last(by_digest(), described(7)),
            ] {
                let Verdict::Failed(error) = op.answer(answer(200, &headers, gzip)) else {
                    panic!("it is no manifest");
                };
                let said = error.to_string();
                let is_one = !matches!(coding, "identity" | "");
                let name = format!("(sent with Content-Encoding `{coding}`)");
                assert_eq!(said.contains(&name), is_one, "{coding}: {said}");
            }
        }
    }

    /// An error body with status 200 is that error, also for a request by digest.
    #[test]
    fn errors_with_200() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"#,
                "NotFound",
            ),
            (r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, "NotFound"),
            (r#"{"errors":[{"code":"DENIED"}]}"#, "Auth"),
            (
                r#"{"errors":[{"code":"UNAUTHORIZED"}],"config":null}"#,
                "Auth",
            ),
            (
                r#"{"errors":[{"code":"UNSUPPORTED","message":"say why"}]}"#,
                "Refused",
            ),
            (r#"{"error":"say why"}"#, "Refused"),
        ] {
            for (target, descriptor) in [
                (Target::Tag("v1".parse().expect("a tag")), None),
                (Target::Digest(digest()), None),
                (
                    Target::Digest(digest()),
                    Some(Descriptor::new(OCI_INDEX, digest(), 7)),
                ),
            ] {
                let kind = ("content-type", OCI_MANIFEST);
                let op = get(target, descriptor);
                let Verdict::Failed(error) = op.answer(answer(200, &[kind], body.as_bytes()))
                else {
                    panic!("{body}: an error");
                };
                assert_eq!(format!("{:?}", error.kind()), expected, "{body}");
                if body.contains("say why") {
                    assert!(error.to_string().contains("say why"), "{error}");
                }
            }
        }
        // A manifest that has such a member is a manifest.
        let index = r#"{"manifests":[],"errors":[{"code":"DENIED"}]}"#;
        let op = get(Target::Tag("v1".parse().expect("a tag")), None);
        assert_eq!(
            shown(op.answer(answer(200, &[], index.as_bytes()))),
            OCI_INDEX
        );
    }

    /// Otherwise a registry that looks for the artifact's type in `Accept` answers 404.
    #[test]
    fn accept_names_the_type_of_a_child() {
        let accept = |descriptor: Option<&str>| {
            let descriptor = descriptor.map(|it| Descriptor::new(it, digest(), 7));
            let draft = get(Target::Digest(digest()), descriptor).draft();
            let value = draft.headers[header::ACCEPT].to_str().expect("text");
            String::from(value)
        };
        let usual = String::from(ACCEPT_MANIFESTS);
        for known in [None, Some(OCI_INDEX), Some(OCI_MANIFEST), Some("a/b\n")] {
            assert_eq!(accept(known), usual, "PULLM-03");
        }
        assert_eq!(accept(Some(OCI_ARTIFACT)), usual + ", " + OCI_ARTIFACT);
    }

    #[test]
    fn flaws() {
        for flaw in [Flaw::TooLarge { limit: 7 }, Flaw::TooLong { expected: 7 }] {
            let mut answer = answer(200, &[], INDEX.as_bytes());
            answer.flaw = Some(flaw);
            let op = get(Target::Tag("v1".parse().expect("a tag")), None);
            assert_eq!(shown(op.answer(answer)), "Refused");
        }
    }
}
