//! `PUT /v2/<name>/manifests/<reference>` (PUSHM-01).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use http::{Method, StatusCode, header};

use super::{Answer, Draft, Operation, Outcome, Site, Verdict};
use crate::call::{Expect, Payload};
use crate::capabilities::Capabilities;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::reference::{Tag, Target};

/// Puts a manifest, byte for byte.
#[derive(Clone, Debug)]
pub(crate) struct ManifestPut {
    pub(crate) site: Site,
    pub(crate) target: Target,
    /// Tags that are put with it: only if the target is a digest (PUSHM-09).
    pub(crate) tags: Vec<Tag>,
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Arc<[u8]>,
    /// The manifest's subject.
    pub(crate) subject: Option<Digest>,
    /// What must be at the target for the PUT to succeed.
    pub(crate) condition: Option<Condition>,
}

/// The condition of a `PUT`, so that another writer's change is not lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Condition {
    /// The target still has this `ETag`.
    Unchanged(String),
    /// The target still does not exist.
    Absent,
}

impl ManifestPut {
    pub(super) fn draft(&self) -> Draft {
        let mut url = self.site.url(&format!("manifests/{}", self.target));
        for tag in &self.tags {
            url = url.with_query("tag", tag.as_str());
        }
        let mut draft = Draft::new(Method::PUT, url, Expect::Head)
            .with(header::CONTENT_TYPE, &self.descriptor.media_type);
        draft = match &self.condition {
            Some(Condition::Unchanged(etag)) => draft.with(header::IF_MATCH, etag),
            Some(Condition::Absent) => draft.with(header::IF_NONE_MATCH, "*"),
            None => draft,
        };
        draft.payload = Payload::Bytes(self.bytes.clone());
        draft
    }

    pub(super) fn answer(mut self, answer: &Answer) -> Verdict {
        if answer.status.is_success() {
            // PUSHM-04. A digest of another algorithm cannot be compared.
            let ours = &self.descriptor.digest;
            let said = answer.content_digest();
            return match said.filter(|said| said.algorithm() == ours.algorithm()) {
                Some(said) if said != *ours => Verdict::Failed(
                    answer.peer(format!("says it stored {said}, but was sent {ours}")),
                ),
                Some(_) | None => Verdict::Done(self.put(answer)),
            };
        }
        if self.condition.is_some() && answer.status == StatusCode::PRECONDITION_FAILED {
            return Verdict::Done(Outcome::Outdated);
        }
        // It does without the tags, then.
        if matches!(answer.status.as_u16(), 414 | 431) && !self.tags.is_empty() {
            self.tags.clear();
            return Verdict::Next(Operation::ManifestPut(self));
        }
        let failure = answer.failure(&format!(
            "repository `{}/{}`",
            self.site.registry, self.site.repository
        ));
        let errors = answer.errors();
        if answer.denied.is_none()
            && (errors.has("MANIFEST_BLOB_UNKNOWN") || errors.has("BLOB_UNKNOWN"))
        {
            return Verdict::Done(Outcome::Childless(failure));
        }
        Verdict::Failed(failure)
    }

    /// Notes whether the registry takes tags with a manifest.
    pub(super) fn learn<'a>(
        &self,
        answer: &Answer,
        registry: impl FnOnce() -> &'a mut Capabilities,
    ) {
        let is_ignored = answer.status.is_success() && !answer.headers.contains_key("oci-tag");
        if is_ignored && !self.tags.is_empty() {
            registry().takes_no_tags = true;
        }
    }

    fn put(&self, answer: &Answer) -> Outcome {
        let listed = self.is_listed(answer);
        if self.tags.is_empty() {
            return Outcome::Put { listed };
        }
        // PUSHM-10: a list, over several lines.
        let lines = answer.headers.get_all("oci-tag");
        let lines = lines.iter().filter_map(|line| line.to_str().ok());
        let tags = lines.flat_map(|line| line.split(',')).map(str::trim);
        let tags = answer
            .headers
            .contains_key("oci-tag")
            .then(|| tags.map(Into::into).collect());
        Outcome::Tagged { listed, tags }
    }

    /// Whether the registry adds the manifest to its subject's referrers (RFR-01).
    fn is_listed(&self, answer: &Answer) -> bool {
        let Some(subject) = &self.subject else {
            return true;
        };
        let said = answer.header("oci-subject");
        said.is_some_and(|said| said.parse().as_ref() == Ok(subject))
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::Algorithm;

    fn of(bytes: &[u8]) -> ManifestPut {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        ManifestPut {
            site: site(),
            target: Target::Digest(digest.clone()),
            tags: Vec::new(),
            descriptor: Descriptor::new("a/b", digest, bytes.len() as u64),
            bytes: bytes.into(),
            subject: None,
            condition: None,
        }
    }

    fn put(status: u16, headers: &[(&'static str, &str)], code: &str) -> String {
        let op = of(b"x");
        assert_eq!(op.draft().headers[header::CONTENT_TYPE], "a/b", "PUSHM-02");
        let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
        match op.answer(&answer(status, headers, body.as_bytes())) {
            Verdict::Done(Outcome::Childless(error)) => format!("childless {:?}", error.kind()),
            Verdict::Done(outcome) => format!("{outcome:?}"),
            Verdict::Failed(error) => {
                format!("{:?} {}", error.kind(), error.hint().unwrap_or_default())
            }
            next @ Verdict::Next(_) => format!("{next:?}"),
        }
    }

    /// RFR-01: only the subject's digest in the response shows that the registry processed it.
    #[test]
    fn who_lists_it() {
        let subject = Digest::of(Algorithm::Sha256, b"subject");
        let other = Digest::of(Algorithm::Sha256, b"other").to_string();
        for (headers, expected) in [
            (&[][..], false),
            (&[("oci-subject", subject.as_str())], true),
            (&[("oci-subject", other.as_str())], false),
            (&[("oci-subject", "yes")], false),
        ] {
            let op = ManifestPut {
                subject: Some(subject.clone()),
                ..of(b"x")
            };
            let Verdict::Done(Outcome::Put { listed }) = op.answer(&answer(201, headers, b""))
            else {
                panic!("it was put")
            };
            assert_eq!(listed, expected, "{headers:?}");
        }
    }

    fn tagged(tags: &[&str]) -> ManifestPut {
        ManifestPut {
            tags: tags.iter().map(|tag| tag.parse().expect("a tag")).collect(),
            ..of(b"x")
        }
    }

    /// PUSHM-09, PUSHM-10, V-G.
    #[test]
    fn several_tags() {
        let op = || tagged(&["1.2.3", "1.2", "1", "latest", "edge"]);
        let url = op().draft().url;
        let query = url.query().expect("tags");
        assert_eq!(query, "tag=1.2.3&tag=1.2&tag=1&tag=latest&tag=edge");
        for (lines, expected) in [
            (
                &[("oci-tag", "1.2.3, 1.2 ,1"), ("oci-tag", "latest")][..],
                r#"Some(["1.2.3", "1.2", "1", "latest"])"#,
            ),
            (&[("oci-tag", "")], r#"Some([""])"#),
            (&[], "None"),
        ] {
            let mut known = Capabilities::default();
            op().learn(&answer(201, lines, b""), || &mut known);
            assert_eq!(known.takes_no_tags, lines.is_empty());
            match op().answer(&answer(201, lines, b"")) {
                Verdict::Done(Outcome::Tagged { listed: true, tags }) => {
                    assert_eq!(format!("{tags:?}"), expected);
                }
                other @ (Verdict::Done(_) | Verdict::Failed(_) | Verdict::Next(_)) => {
                    panic!("{other:?}")
                }
            }
        }
        for status in [414, 431] {
            let Verdict::Next(Operation::ManifestPut(next)) =
                op().answer(&answer(status, &[], b""))
            else {
                panic!("{status}: again without the tags")
            };
            assert!(next.tags.is_empty());
            let verdict = next.answer(&answer(status, &[], b""));
            assert!(matches!(verdict, Verdict::Failed(_)), "{status}");
        }
        let refused = op().answer(&answer(400, &[], b""));
        assert!(matches!(refused, Verdict::Failed(_)));
        op().learn(&answer(500, &[], b""), || unreachable!("it failed"));
        of(b"x").learn(&answer(201, &[], b""), || unreachable!("it has no tags"));
    }

    #[test]
    fn what_is_replaced() {
        assert_eq!(of(b"x").draft().headers.get(header::IF_MATCH), None);
        let conditional = || ManifestPut {
            condition: Some(Condition::Unchanged("\"a\"".into())),
            ..of(b"x")
        };
        assert_eq!(conditional().draft().headers[header::IF_MATCH], "\"a\"");
        let new = ManifestPut {
            condition: Some(Condition::Absent),
            ..of(b"x")
        };
        assert_eq!(new.draft().headers[header::IF_NONE_MATCH], "*");
        let refused = answer(412, &[], b"");
        let verdict = conditional().answer(&refused);
        assert!(matches!(verdict, Verdict::Done(Outcome::Outdated)));
        let verdict = of(b"x").answer(&refused);
        assert!(matches!(verdict, Verdict::Failed(_)), "nothing was asked");
    }

    #[test]
    fn answers() {
        let of = |bytes: &[u8], algorithm| Digest::of(algorithm, bytes).to_string();
        let ours = of(b"x", Algorithm::Sha256);
        let theirs = of(b"y", Algorithm::Sha256);
        let other = of(b"y", Algorithm::Sha512);
        let named = |digest| put(201, &[("docker-content-digest", digest)], "");
        assert_eq!(named(&ours), "Put { listed: true }", "PUSHM-04");
        assert_eq!(named(&theirs), "Refused ", "PUSHM-04");
        assert_eq!(named(&other), "Put { listed: true }", "PUSHM-04");
        for (status, code, expected) in [
            (201, "", "Put { listed: true }"),
            (200, "", "Put { listed: true }"),
            (202, "", "Put { listed: true }"),
            (400, "MANIFEST_BLOB_UNKNOWN", "childless Refused"),
            (404, "MANIFEST_BLOB_UNKNOWN", "childless NotFound"),
            (404, "BLOB_UNKNOWN", "childless NotFound"),
            (400, "MANIFEST_INVALID", "Refused "),
            (409, "", "Refused the tag may be immutable"),
            (400, "TAG_IMMUTABLE", "Refused the tag is immutable"),
            (
                404,
                "NAME_UNKNOWN",
                "NotFound the registry does not know the repository",
            ),
            (
                415,
                "",
                "Refused the registry does not take this type of manifest",
            ),
            (403, "DENIED", "Auth "),
        ] {
            assert_eq!(put(status, &[], code), expected, "{status} {code}");
        }
    }
}
