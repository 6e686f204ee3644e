//! `PUT /v2/<name>/manifests/<reference>` (PUSHM-01).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use http::{Method, StatusCode, header};

use super::{Answer, Draft, OpOutcome, Operation, Site, Verdict};
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
    /// The registry refused the request with the tags in it: this one is without them.
    pub(crate) tags_refused: bool,
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
    /// What no target meets: it shows whether the registry looks at conditions.
    Never,
}

impl Condition {
    /// No registry makes such an `ETag`: they are made of digests, sizes or times.
    const NO_ETAG: &str = "\"there is no such manifest\"";
}

impl ManifestPut {
    pub(super) fn draft(&self) -> Draft {
        let mut url = self.site.url(&format!("manifests/{}", self.target));
        let tags = if self.tags_refused {
            &[][..]
        } else {
            &self.tags
        };
        for tag in tags {
            url = url.with_query("tag", tag.as_str());
        }
        let mut draft = Draft::new(Method::PUT, url, Expect::Head)
            .with(header::CONTENT_TYPE, &self.descriptor.media_type);
        draft = match &self.condition {
            Some(Condition::Unchanged(etag)) => draft.with(header::IF_MATCH, etag),
            Some(Condition::Absent) => draft.with(header::IF_NONE_MATCH, "*"),
            Some(Condition::Never) => draft.with(header::IF_MATCH, Condition::NO_ETAG),
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
            return Verdict::Done(OpOutcome::Outdated);
        }
        if self.refuses_tags(answer) {
            self.tags_refused = true;
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
            return Verdict::Done(OpOutcome::Childless(failure));
        }
        Verdict::Failed(failure)
    }

    /// Notes whether the registry takes tags with a manifest, and whether it looks at conditions.
    pub(super) fn learn<'a>(
        &self,
        answer: &Answer,
        registry: impl FnOnce() -> &'a mut Capabilities,
    ) {
        let is_put = answer.status.is_success();
        if self.condition == Some(Condition::Never) {
            if is_put || answer.status == StatusCode::PRECONDITION_FAILED {
                registry().looks_at_conditions = Some(!is_put);
            }
            return;
        }
        let is_ignored = is_put && !answer.headers.contains_key("oci-tag");
        if (is_ignored && !self.tags.is_empty()) || self.refuses_tags(answer) {
            registry().takes_no_tags = true;
        }
    }

    /// Whether the request may succeed without the tags: its line was too long, or the registry does not
    /// take the query.
    fn refuses_tags(&self, answer: &Answer) -> bool {
        const OF_THE_MANIFEST: [&str; 3] =
            ["MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"];
        !self.tags.is_empty()
            && !self.tags_refused
            && match answer.status.as_u16() {
                414 | 431 => true,
                400 => {
                    let errors = answer.errors();
                    !OF_THE_MANIFEST.iter().any(|code| errors.has(code))
                }
                _ => false,
            }
    }

    fn put(&self, answer: &Answer) -> OpOutcome {
        let listed = self.is_listed(answer);
        if self.tags.is_empty() {
            return OpOutcome::Put { listed };
        }
        if self.tags_refused {
            return OpOutcome::Tagged { listed, tags: None };
        }
        // PUSHM-10: a list, over several lines.
        let lines = answer.headers.get_all("oci-tag");
        let lines = lines.iter().filter_map(|line| line.to_str().ok());
        let tags = lines.flat_map(|line| line.split(',')).map(str::trim);
        let tags = answer
            .headers
            .contains_key("oci-tag")
            .then(|| tags.map(Into::into).collect());
        OpOutcome::Tagged { listed, tags }
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
            tags_refused: false,
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
            Verdict::Done(OpOutcome::Childless(error)) => format!("childless {:?}", error.kind()),
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
            let Verdict::Done(OpOutcome::Put { listed }) = op.answer(&answer(201, headers, b""))
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
                Verdict::Done(OpOutcome::Tagged { listed: true, tags }) => {
                    assert_eq!(format!("{tags:?}"), expected);
                }
                other @ (Verdict::Done(_) | Verdict::Failed(_) | Verdict::Next(_)) => {
                    panic!("{other:?}")
                }
            }
        }
        for status in [414, 431, 400] {
            let mut known = Capabilities::default();
            op().learn(&answer(status, &[], b""), || &mut known);
            assert!(known.takes_no_tags, "{status}");
            let again = || match op().answer(&answer(status, &[], b"")) {
                Verdict::Next(Operation::ManifestPut(next)) => next,
                other @ (Verdict::Done(_) | Verdict::Failed(_) | Verdict::Next(_)) => {
                    panic!("{status}: {other:?}")
                }
            };
            assert_eq!(again().draft().url.query(), None);
            let verdict = again().answer(&answer(status, &[], b""));
            assert!(matches!(verdict, Verdict::Failed(_)), "{status}");
            // None of the tags exists, whatever such an answer names.
            let verdict = again().answer(&answer(201, &[("oci-tag", "latest")], b""));
            let Verdict::Done(OpOutcome::Tagged { tags: None, .. }) = verdict else {
                panic!("{status}: {verdict:?}")
            };
        }
        for code in ["MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN"] {
            let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
            let refused = op().answer(&answer(400, &[], body.as_bytes()));
            assert!(!matches!(refused, Verdict::Next(_)), "{code}");
        }
        op().learn(&answer(500, &[], b""), || unreachable!("it failed"));
        of(b"x").learn(&answer(201, &[], b""), || unreachable!("it has no tags"));
    }

    /// PUSHM-15.
    #[test]
    fn what_is_replaced() {
        assert_eq!(of(b"x").draft().headers.get(header::IF_MATCH), None);
        assert_eq!(of(b"x").draft().headers.get(header::IF_NONE_MATCH), None);
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
        let never = || ManifestPut {
            condition: Some(Condition::Never),
            ..of(b"x")
        };
        assert_eq!(
            never().draft().headers[header::IF_MATCH],
            "\"there is no such manifest\""
        );
        for (status, expected) in [(201, Some(false)), (412, Some(true)), (500, None)] {
            let mut known = Capabilities::default();
            never().learn(&answer(status, &[], b""), || &mut known);
            assert_eq!(known.looks_at_conditions, expected, "{status}");
            // Another condition may have been met, or not be understood.
            new.learn(&answer(status, &[], b""), || unreachable!("{status}"));
        }
        let refused = answer(412, &[], b"");
        let verdict = conditional().answer(&refused);
        assert!(matches!(verdict, Verdict::Done(OpOutcome::Outdated)));
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
